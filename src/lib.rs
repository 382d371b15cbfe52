//! Peregrine: an in-memory data server that answers as Redis 8.2 does, on all cores, without forking.
//!
//! This page is the architecture document.
//!
//! ```text
//! request: socket > net::connection > net::batch (parse, look up, prefetch) > dispatch::call {gate > locks > handler}
//!          > commands::f(ctx, args, out) > keyspace::shard > value > ds
//! reply:   out: Reply > net::connection > socket                   (RESP2 or RESP3 is decided in resp::reply only)
//! write:   ctx.changed / propagate_as > dispatch::block::settle > log::append > persist (append-only file), replication (replicas)
//! ```
//!
//! # How it executes
//!
//! - **In place.** One current-thread runtime per I/O thread; a connection belongs to one thread, which parses, executes
//!   and answers. Nothing is handed over on the way.
//! - **Striped shards.** A key's hash slot (CRC16 of its `{tag}` or of all of it) picks its shard, and each shard has one
//!   lock. Several keys: their locks in ascending order, all of them before anything is touched ([`dispatch::call`]).
//! - **Alone, when it must.** Work whose keys are not known beforehand (a script whose text does not prove that it keeps
//!   to its keys, a function, FLUSHALL, SORT BY) takes all locks. The paper had a gate that every batch enters instead;
//!   with all locks held nobody else can touch data either, the price of exclusivity is paid by who wants it, and no
//!   batch writes a shared word. When such work does not end, the others are told so ([`dispatch::busy`]), and the
//!   thread that runs it serves its sockets from inside ([`net::standin`]).
//! - **Settled under the locks.** When a unit of work (a command, a transaction, a script) is done, its events are
//!   published, its effects appended to the one log, and the clients that waited for its keys are served, in this order,
//!   before its locks go ([`dispatch::block`]). The locks that serving a waiter needs beyond the command's own are
//!   found out, and taken, before the command runs.
//! - **No fork.** A snapshot flips a parity bit under all locks; a walker saves entry by entry whatever has the old
//!   parity, and whoever changes an entry that has it saves it first ([`keyspace::db::Shard`]).
//! - **Time, chance and disk are injected**: [`util::clock::Clock`], [`util::rng::Rng`], `persist::disk`.
//!
//! # Rooms, low to high
//!
//! A file imports only from rooms to its left; `tests/tidy.rs` holds the line:
//! `error util < ds < value < resp < config < acl < log < keyspace < client < {pubsub stats} < {persist script}
//! < {replication cluster} < dispatch < commands < net < server < main`
//!
//! | room | its question |
//! |---|---|
//! | [`util`] | what does everyone need that belongs to no one? |
//! | [`ds`] | which structures hold the data? All `unsafe` is here |
//! | [`value`] | what is in a key? |
//! | [`resp`] | what do these bytes mean? |
//! | [`config`] | what did the operator ask for? |
//! | [`acl`] | who may do what? |
//! | [`log`] | in which order did things happen? |
//! | [`keyspace`] | where does a key live? |
//! | [`client`] | who is asking? |
//! | [`pubsub`], [`stats`] | who hears a message; how is the server doing? |
//! | [`persist`] | what survives? |
//! | [`cluster`] | which hash slots are served here, and under which name? |
//! | [`replication`] | how do several servers hold the same data? |
//! | [`script`] | what do Lua scripts see? |
//! | [`dispatch`] | may this command run, and how? |
//! | [`commands`] | what does each command do? One file per family, its table rows on top |
//! | [`net`] | bytes in, bytes out |
//! | [`server`] | what starts, and in which order? |
//!
//! # Invariants
//!
//! - A row of the command table is the only place where a command is described; the core never asks which it runs.
//! - One function extracts keys ([`dispatch::keys::extract`]): locks, transactions and COMMAND GETKEYS share it. A handler
//!   that touches a key its row does not name is stopped by an assertion.
//! - [`dispatch::ctx::Ctx::changed`] is the only way to report a write.
//! - Nothing is ever locked while a shard is held, but the log's own short lock and the mailboxes.

pub mod acl;
pub mod client;
pub mod cluster;
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
pub mod replication;
pub mod resp;
pub mod script;
pub mod server;
pub mod stats;
pub mod util;
pub mod value;

/// Counts every allocation of the process: `ALLOCATOR.used()`. A `static` because the language asks for one; it
/// is declared in the library so that tests and benches measure with the allocator the server runs on.
#[cfg(not(any(miri, fuzzing)))]
#[global_allocator]
pub static ALLOCATOR: ds::alloc::Counting<tikv_jemallocator::Jemalloc> =
    ds::alloc::Counting::new(tikv_jemallocator::Jemalloc);

/// A fuzzer watches the system's allocator, so that memory that is used wrongly is seen.
#[cfg(fuzzing)]
#[global_allocator]
pub static ALLOCATOR: ds::alloc::Counting<std::alloc::System> = ds::alloc::Counting::new(std::alloc::System);

/// Miri brings its own allocator; this one counts nothing.
#[cfg(miri)]
pub static ALLOCATOR: ds::alloc::Counting<std::alloc::System> = ds::alloc::Counting::new(std::alloc::System);
