//! Which shard, and which hash? Both are computed once per key and travel with its name.

use crate::util::crc;
use crate::util::hash::{self, Seed};

/// A key's name with what is needed to find it.
#[derive(Debug, Clone, Copy)]
pub struct Key<'a> {
    /// The bytes of the name.
    pub name: &'a [u8],
    /// The seeded hash that the tables use.
    pub hash: u64,
    /// Hash slot, 0..16384.
    pub slot: u16,
    /// Shard of that slot.
    pub shard: u16,
}

impl<'a> Key<'a> {
    /// Hashes a name. `mask` is the number of shards minus one.
    pub fn new(name: &'a [u8], seed: Seed, mask: u16) -> Self {
        let slot = crc::key_slot(name);
        Key { name, hash: hash::hash(seed, name), slot, shard: slot & mask }
    }
}
