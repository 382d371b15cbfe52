//! May this command run, and how? From a parsed request to the handler and back.
//!
//! ```text
//! argv -> table (which row?) -> gate (may it run?) -> keys (which locks?) -> call (handler, effects, log) -> reply
//! ```
//!
//! Nothing here asks *which* command it is running: what is special about one is said on its row.

pub mod access;
pub mod args;
pub mod block;
pub mod boot;
pub mod busy;
pub mod call;
pub mod client_line;
pub mod core;
pub mod crash;
pub mod ctx;
pub mod debug;
pub mod ending;
pub mod evict;
pub mod follow;
pub mod gate;
pub mod keys;
pub mod multi;
pub(crate) mod observe;
pub mod permit;
pub mod reaper;
pub(crate) mod route;
pub mod scratch;
pub mod script;
pub mod spec;
pub mod syntax;
pub mod table;
pub mod tracking;
pub mod upkeep;
pub mod whole;
pub mod worker;
