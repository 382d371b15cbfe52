//! Which clients have read which keys of a shard, and may have cached what they read? Names are the same in all
//! databases, as for Redis.
//!
//! Invariant: a client is remembered under the lock under which it read the key, and forgotten under the one under
//! which the key changes; so everyone who read the old value is told.

use crate::ds::entry::Entry;
use crate::ds::table::{self, Table};
use crate::keyspace::key::Key;
use crate::util::hash::Seed;

/// Clients in ascending order of their ids.
pub type Readers = Vec<u64>;

/// The keys of one shard that somebody has read.
#[derive(Debug)]
pub struct Tracked {
    keys: Table<Entry<Readers>>,
    items: usize,
}

impl Tracked {
    /// Nobody has read anything; allocates nothing.
    pub fn new(seed: Seed) -> Self {
        Tracked { keys: Table::new(seed), items: 0 }
    }

    /// True when nobody is to be told of any change: the usual case, asked at every change.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Number of keys, and of pairs of a key and a client.
    pub fn counts(&self) -> (usize, usize) {
        (self.keys.len(), self.items)
    }

    /// Remembers that a client has read a key. Returns how many keys and pairs that is more.
    pub fn remember(&mut self, key: &Key<'_>, client: u64) -> (usize, usize) {
        let new = match self.keys.entry(key.hash, key.name) {
            table::Slot::Occupied(mut entry) => {
                let Some(readers) = entry.value_mut() else { return (0, 0) };
                match readers.binary_search(&client) {
                    Ok(_) => return (0, 0),
                    Err(at) => readers.insert(at, client),
                }
                0
            }
            table::Slot::Vacant(place) => {
                place.insert(Entry::new_value(key.name, vec![client], None), false);
                1
            }
        };
        self.items += 1;
        (new, 1)
    }

    /// Forgets a key, and returns who had read it.
    pub fn forget(&mut self, key: &Key<'_>) -> Option<Readers> {
        self.take(key.hash, key.name)
    }

    fn take(&mut self, hash: u64, name: &[u8]) -> Option<Readers> {
        let readers = self.keys.remove(hash, name)?.into_value()?;
        self.items -= readers.len();
        Some(readers)
    }

    /// Forgets some key.
    pub fn forget_any(&mut self, random: impl FnMut() -> u64) -> Option<(Box<[u8]>, Readers)> {
        let name: Box<[u8]> = self.keys.random(random)?.key().into();
        let readers = self.take(self.keys.hash(&name), &name)?;
        Some((name, readers))
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.keys.clear();
        self.items = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_are_remembered_once_and_told_once() {
        let seed = Seed::new([1, 2]);
        let mut tracked = Tracked::new(seed);
        let key = |name| Key::new(name, seed, 0);
        for client in [7, 3, 7, 9] {
            tracked.remember(&key(b"a"), client);
        }
        assert_eq!(tracked.remember(&key(b"b"), 3), (1, 1));
        assert_eq!(tracked.counts(), (2, 4));
        assert_eq!(tracked.forget(&key(b"a")).as_deref(), Some(&[3, 7, 9][..]));
        assert_eq!(tracked.forget(&key(b"a")), None);
        assert_eq!(tracked.forget_any(|| 5).map(|(name, _)| name), Some(Box::from(&b"b"[..])));
        assert_eq!((tracked.counts(), tracked.is_empty()), ((0, 0), true));
    }
}
