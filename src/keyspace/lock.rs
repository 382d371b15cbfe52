//! Who may touch a shard? Whoever holds its lock; several are taken in ascending order, so nobody deadlocks.
//!
//! Work whose keys are not known beforehand takes every lock: with no shard left to anyone else it runs alone, which
//! is what an exclusive gate would give, without a word that every batch has to write.

use std::rc::Rc;
use std::time::Duration;

use parking_lot::MutexGuard;
use smallvec::SmallVec;

use crate::ds::entry::View;
use crate::keyspace::db::Shard;
use crate::keyspace::key::Key;
use crate::util::hash::Seed;
use crate::util::stripes::{Held, Stripes};
use crate::value::Value;

/// How long a walker waits for a shard before it does something else.
const LOOK_UP: Duration = Duration::from_millis(5);

/// What a command is going to look up.
#[derive(Debug, Clone, Copy)]
pub struct Target<'k> {
    /// A key.
    pub key: &'k Key<'k>,
    /// The element of its collection that the command names.
    pub element: Option<&'k [u8]>,
}

/// What a thread does meanwhile when it must not simply wait for a shard.
pub type Meanwhile = Rc<dyn Fn()>;

/// All shards.
pub struct Keyspace {
    shards: Stripes<Shard>,
    mask: u16,
    seed: Seed,
    databases: usize,
}

impl Keyspace {
    /// An empty keyspace. `shards` is rounded up to a power of two.
    pub fn new(shards: usize, databases: usize, seed: Seed) -> Self {
        let n = shards.clamp(1, 4096).next_power_of_two();
        let shards = Stripes::new((0..n).map(|_| Shard::new(databases, seed)));
        Keyspace { shards, mask: (n - 1) as u16, seed, databases }
    }

    /// Number of databases.
    pub fn databases(&self) -> usize {
        self.databases
    }

    /// Number of shards.
    pub fn shard_count(&self) -> usize {
        self.shards.count()
    }

    /// The seed that all tables, large sets and large hashes hash with.
    pub fn seed(&self) -> Seed {
        self.seed
    }

    /// Hashes a key's name.
    pub fn key<'k>(&self, name: &'k [u8]) -> Key<'k> {
        Key::new(name, self.seed, self.mask)
    }

    /// The shard of a hash slot.
    pub fn shard_of(&self, slot: u16) -> u16 {
        slot & self.mask
    }

    /// Locks one shard. Whoever holds another shard already must not call this.
    pub fn lock_one(&self, shard: usize) -> MutexGuard<'_, Shard> {
        self.shards.one(shard)
    }

    /// Locks one shard if nobody holds it.
    pub fn try_lock_one(&self, shard: usize) -> Option<MutexGuard<'_, Shard>> {
        self.shards.try_one(shard)
    }

    /// Locks one shard unless that takes longer than `patience`.
    pub fn lock_one_within(&self, shard: usize, patience: Duration) -> Option<MutexGuard<'_, Shard>> {
        self.shards.one_within(shard, patience)
    }

    /// Brings what several commands are going to look up into the cache, but for shards that are busy: first all
    /// buckets, so that their misses overlap, then all entries, and what is behind them. `targets` are put into the
    /// order of their shards, and each shard is locked once a pass, not once a key: a lock waits for all loads before
    /// it, and would keep them from overlapping.
    pub fn prefetch(&self, db: usize, targets: &mut [Target<'_>]) {
        targets.sort_unstable_by_key(|target| target.key.shard);
        self.each_free(targets, |shard, target| shard.dbs[db].table.prefetch(target.key.hash));
        self.each_free(targets, |shard, target| shard.dbs[db].table.prefetch_item(target.key.hash));
        if targets.iter().all(|target| target.element.is_none()) {
            return;
        }
        for step in 0..Value::STEPS {
            self.each_free(targets, |shard, Target { key, element }| {
                if let (Some(element), Some(item)) = (element, shard.dbs[db].get(key))
                    && let View::Value(value) = item.view()
                {
                    value.prefetch(element, step);
                }
            });
        }
    }

    /// Runs `f` on targets, which are in the order of their shards, unless those are busy.
    fn each_free(&self, targets: &[Target<'_>], f: impl Fn(&Shard, &Target<'_>)) {
        for of_one in targets.chunk_by(|a, b| a.key.shard == b.key.shard) {
            let shard = of_one.first().and_then(|target| self.try_lock_one(usize::from(target.key.shard)));
            let Some(shard) = shard else { continue };
            of_one.iter().for_each(|target| f(&shard, target));
        }
    }

    /// Holds nothing yet.
    pub fn locked_none(&self) -> Locked<'_> {
        Locked::new(self, Held::None)
    }

    /// Locks the shard of one key, unless `stop` says so while it is waited for.
    pub fn locked_key(&self, key: &Key<'_>, stop: &dyn Fn() -> bool) -> Option<Locked<'_>> {
        self.shards.held_one_unless(key.shard, stop).map(|held| Locked::new(self, held))
    }

    /// Locks a set of shards, unless `stop` says so while one is waited for; `shards` may be in any order and hold
    /// duplicates.
    pub fn locked_some(&self, shards: &[u16], stop: &dyn Fn() -> bool) -> Option<Locked<'_>> {
        self.shards.held_some_unless(shards, stop).map(|held| Locked::new(self, held))
    }

    /// Locks everything, unless a shard cannot be had within `patience`.
    pub fn locked_all_within(&self, patience: Duration) -> Option<Locked<'_>> {
        self.shards.held_all_within(patience).map(|held| Locked::new(self, held))
    }

    /// Locks everything.
    pub fn locked_all(&self) -> Locked<'_> {
        Locked::new(self, self.shards.held_all())
    }

    /// Locks everything, unless `stop` says so while a shard is waited for.
    pub fn locked_all_unless(&self, stop: &dyn Fn() -> bool) -> Option<Locked<'_>> {
        self.shards.held_all_unless(stop).map(|held| Locked::new(self, held))
    }
}

/// The shards that a unit of work holds.
pub struct Locked<'a> {
    keyspace: &'a Keyspace,
    held: Held<'a, Shard>,
    meanwhile: Option<Meanwhile>,
}

impl<'a> Locked<'a> {
    fn new(keyspace: &'a Keyspace, held: Held<'a, Shard>) -> Self {
        Locked { keyspace, held, meanwhile: None }
    }

    /// For whoever holds nothing and takes one shard after the other: what to do while one is not to be had.
    #[must_use]
    pub fn with_meanwhile(mut self, meanwhile: Option<Meanwhile>) -> Self {
        self.meanwhile = meanwhile;
        self
    }

    /// The keyspace that it locks.
    pub fn keyspace(&self) -> &'a Keyspace {
        self.keyspace
    }

    /// True when every shard is held.
    pub fn is_all(&self) -> bool {
        matches!(self.held, Held::All(_))
    }

    /// True when nothing is held.
    pub fn is_none(&self) -> bool {
        matches!(self.held, Held::None)
    }

    /// True when the shard is held.
    pub fn covers(&self, shard: u16) -> bool {
        self.held.covers(shard)
    }

    /// The shard, if it is held.
    pub fn shard(&mut self, shard: u16) -> Option<&mut Shard> {
        self.held.get_mut(shard)
    }

    /// The shard, if it is held, to look at it only.
    pub fn held(&self, shard: u16) -> Option<&Shard> {
        self.held.get(shard)
    }

    /// Runs `f` on every held shard, in ascending order.
    pub fn each(&mut self, f: impl FnMut(u16, &mut Shard)) {
        self.held.each(f);
    }

    /// Runs `f` on one shard: the held one, or locked for the occasion when nothing is held.
    pub fn with_shard<T>(&mut self, shard: usize, f: impl FnOnce(&mut Shard) -> T) -> T {
        match self.shard(shard as u16) {
            Some(held) => f(held),
            None => {
                assert!(self.is_none(), "a shard must not be locked while another is held");
                let Some(meanwhile) = &self.meanwhile else { return f(&mut self.keyspace.lock_one(shard)) };
                loop {
                    if let Some(mut guard) = self.keyspace.lock_one_within(shard, LOOK_UP) {
                        return f(&mut guard);
                    }
                    meanwhile();
                }
            }
        }
    }

    /// The shards that are held.
    pub fn shards(&self) -> SmallVec<[u16; 8]> {
        self.held.stripes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::Slot;
    use crate::value::{Hash, Limits, Set, Zset};

    /// A keyspace with a large collection of each kind that has elements, and a string.
    fn filled() -> (Keyspace, Seed) {
        let seed = Seed::fixed();
        let keyspace = Keyspace::new(4, 1, seed);
        let limits = Limits::default();
        let (mut set, mut hash, mut zset) = (Set::new(), Hash::new(), Zset::default());
        let n = if cfg!(miri) { 200 } else { 20_000 };
        for i in 0..n {
            let member = format!("member:{i}");
            set.add(member.as_bytes(), &limits, seed);
            hash.set(member.as_bytes(), b"value", false, &limits, seed);
            zset.add(member.as_bytes(), f64::from(i), Default::default(), &limits).expect("a number");
        }
        let values = [("set", Value::Set(set)), ("hash", Value::Hash(hash)), ("zset", Value::Zset(zset))];
        for (name, value) in values.into_iter().chain([("text", Value::Str(vec![b'x'; 9]))]) {
            let key = keyspace.key(name.as_bytes());
            let slot = Slot::new_value(name.as_bytes(), value, None);
            keyspace.lock_one(usize::from(key.shard)).insert(0, &key, slot);
        }
        (keyspace, seed)
    }

    #[test]
    fn fetching_ahead_waits_for_nobody_and_minds_nothing() {
        let (keyspace, _) = filled();
        let keys = ["zset", "text", "hash", "none", "set"].map(|name| keyspace.key(name.as_bytes()));
        let names: [&[u8]; 3] = [b"member:7", b"nobody", b""];
        let elements = names.iter().map(|name| Some(*name)).chain([None]);
        let targets = elements.flat_map(|element| keys.iter().map(move |key| Target { key, element }));
        let mut targets: Vec<_> = targets.collect();
        keyspace.prefetch(0, &mut targets);
        assert!(targets.is_sorted_by_key(|target| target.key.shard));
        // Whoever holds the shards is not waited for: this would not end.
        let all = keyspace.locked_all();
        keyspace.prefetch(0, &mut targets);
        drop(all);
    }
}
