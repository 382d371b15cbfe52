//! What is in a key? One file per type; each owns its encodings and the switches between them.

pub mod hll;
pub mod limits;
pub mod list;
pub mod set;
pub mod stream;
pub mod zset;
