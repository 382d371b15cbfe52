//! What does each command do? One file per family: its table rows on top, its functions below in the same order.

pub(crate) mod prelude;

pub mod config;
pub mod connection;
pub mod debug;
pub mod expire;
pub mod info;
pub mod pubsub;
pub mod strings;
pub mod transactions;

use crate::dispatch::spec::Command;

/// All families, in the order of the table.
pub const FAMILIES: &[&[Command]] =
    &[connection::COMMANDS, expire::COMMANDS, strings::COMMANDS, transactions::COMMANDS];
