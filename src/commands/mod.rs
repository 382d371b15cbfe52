//! What does each command do? One file per family: its table rows on top, its functions below in the same order.

pub(crate) mod prelude;
pub(crate) mod scan_args;

pub mod config;
pub mod connection;
pub mod debug;
pub mod expire;
pub mod info;
pub mod keys;
pub mod object;
pub mod pubsub;
pub mod strings;
pub mod transactions;

use crate::dispatch::spec::Command;

/// All families, in the order of the table.
pub const FAMILIES: &[&[Command]] = &[
    config::COMMANDS,
    connection::COMMANDS,
    debug::COMMANDS,
    expire::COMMANDS,
    info::COMMANDS,
    keys::COMMANDS,
    object::COMMANDS,
    pubsub::COMMANDS,
    strings::COMMANDS,
    transactions::COMMANDS,
];
