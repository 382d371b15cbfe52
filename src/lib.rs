//! Peregrine: a Redis-compatible in-memory server.

pub mod boot;
pub mod client;
pub mod commands;
pub mod config;
pub mod dispatch;
pub mod ds;
pub mod error;
pub mod keyspace;
pub mod log;
pub mod net;
pub mod persist;
pub mod pubsub;
pub mod resp;
pub mod script;
pub mod server;
pub mod stats;
pub mod util;
pub mod value;

/// Counts every allocation of the process: `ALLOCATOR.used()`. A `static` because the language asks for one; it
/// is declared in the library so that tests and benches measure with the allocator the server runs on.
#[cfg(not(miri))]
#[global_allocator]
pub static ALLOCATOR: ds::alloc::Counting<tikv_jemallocator::Jemalloc> =
    ds::alloc::Counting::new(tikv_jemallocator::Jemalloc);

/// Miri brings its own allocator; this one counts nothing.
#[cfg(miri)]
pub static ALLOCATOR: ds::alloc::Counting<std::alloc::System> = ds::alloc::Counting::new(std::alloc::System);
