//! Which structures hold the data? Containers that know nothing of the server: no clock, no
//! protocol, no commands. All of the crate's `unsafe` lives in this room, and all of it runs under Miri.

pub mod alloc;
mod cache;
pub mod entry;
pub mod intset;
pub mod lend;
pub mod listpack;
pub mod lua_debug;
pub mod quicklist;
pub mod ranktree;
pub mod table;
pub mod thin;
mod thinbuf;
pub mod wire;
