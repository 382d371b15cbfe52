//! Where does a key live? Sixteen databases of compact tables, striped over shards by hash slot.
//!
//! ```text
//! key -> slot = CRC16 of its {tag} or of all of it, mod 16384
//!     -> shard = slot mod number of shards          one lock each
//!     -> database -> table (by a seeded hash)       one allocation per key
//! ```
//!
//! Invariant: a key is found only in the shard of its slot, so keys that share a hash tag share a lock.

pub mod claim;
pub mod db;
pub mod effects;
pub mod event;
pub mod evict;
pub mod expire;
pub mod key;
pub mod lock;
pub mod tracked;
pub mod waiter;

pub use db::{Db, Shard, Slot, is_embedded};
pub use key::Key;
pub use lock::{Keyspace, Locked, Target};
