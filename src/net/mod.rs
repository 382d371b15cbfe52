//! Bytes in, bytes out: listeners, connections and the loop that joins them to the dispatcher.

pub mod batch;
pub mod connection;
pub mod debug;
pub mod deliver;
pub mod feed;
pub mod limits;
pub mod listener;
pub mod standin;
pub mod stream;
pub mod thread;
pub mod tls;
