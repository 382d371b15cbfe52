//! What do all the black-box tests share? Servers on free ports, a client that keeps raw bytes, a seeded generator.
//!
//! Invariants:
//! - every server started here listens on 127.0.0.1, works in its own scratch directory and dies with its handle;
//! - a tool that is missing (the oracle, redis-cli) fails the test and names the command that installs it.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

pub mod bench;
pub mod client;
pub mod differential;
pub mod history;
pub mod life;
pub mod resp;
pub mod rng;
pub mod server;
pub mod simdisk;
pub mod text;
pub mod transcript;
