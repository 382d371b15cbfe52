//! What does each command do? One file per family: its table rows on top, its functions below in the same order.

pub(crate) mod prelude;
pub(crate) mod scan_args;

pub mod acl;
pub mod bitmaps;
pub mod clients;
mod clients_tracking;
pub mod cluster;
mod cluster_slot_stats;
pub mod command;
pub mod config;
pub mod connection;
pub mod debug;
mod debug_server;
mod digest;
pub mod expire;
pub mod functions;
pub mod geo;
mod geo_search;
pub mod hash_expire;
pub mod hashes;
pub mod hll;
pub mod info;
mod info_keyspace;
mod info_memory;
mod info_stats;
pub mod keys;
pub mod latency;
pub mod lists;
pub mod lists_blocking;
pub mod lolwut;
pub mod memory;
pub mod migrate;
pub mod object;
pub mod persistence;
pub mod pubsub;
pub mod replication;
pub mod scripting;
pub mod set_algebra;
pub mod sets;
pub mod sort;
pub mod streams;
mod streams_groups;
mod streams_info;
mod streams_read;
pub mod strings;
mod strings_compare;
pub mod transactions;
pub mod watching;
pub mod zsets;
mod zsets_ops;
mod zsets_pop;
mod zsets_range;

use crate::dispatch::spec::Command;

/// All families, in the order of the table.
pub const FAMILIES: &[&[Command]] = &[
    acl::COMMANDS,
    bitmaps::COMMANDS,
    clients::COMMANDS,
    command::COMMANDS,
    cluster::COMMANDS,
    config::COMMANDS,
    connection::COMMANDS,
    debug::COMMANDS,
    expire::COMMANDS,
    functions::COMMANDS,
    geo::COMMANDS,
    geo_search::COMMANDS,
    hash_expire::COMMANDS,
    hashes::COMMANDS,
    hll::COMMANDS,
    info::COMMANDS,
    keys::COMMANDS,
    latency::COMMANDS,
    lists::COMMANDS,
    lists_blocking::COMMANDS,
    lolwut::COMMANDS,
    memory::COMMANDS,
    migrate::COMMANDS,
    object::COMMANDS,
    persistence::COMMANDS,
    pubsub::COMMANDS,
    replication::COMMANDS,
    scripting::COMMANDS,
    sort::COMMANDS,
    set_algebra::COMMANDS,
    sets::COMMANDS,
    streams::COMMANDS,
    streams_groups::COMMANDS,
    streams_info::COMMANDS,
    streams_read::COMMANDS,
    strings::COMMANDS,
    strings_compare::COMMANDS,
    transactions::COMMANDS,
    zsets::COMMANDS,
    zsets_ops::COMMANDS,
    zsets_pop::COMMANDS,
    zsets_range::COMMANDS,
    watching::COMMANDS,
];
