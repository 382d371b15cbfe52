//! Peregrine: a Redis-compatible in-memory server.

pub mod config;
pub mod ds;
pub mod script;
pub mod util;
pub mod value;
