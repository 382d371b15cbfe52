//! Who is asking? The state of a connection as commands see it, and the list of all connections.

pub mod mailbox;
pub mod memory;
pub mod message;
pub mod monitor;
pub mod pause;
pub mod registry;
pub mod session;
pub mod tracking;

pub use registry::{Client, Registry};
pub use session::Session;
