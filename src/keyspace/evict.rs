//! Which key goes when memory is full? The worst of some samples, kept from round to round in a pool of candidates.
//!
//! Source: the approximated LRU of the Redis documentation ("Key eviction"): a few random keys a round, of which the
//! sixteen best to evict are remembered.

use crate::config::choices::MaxmemoryPolicy;
use crate::keyspace::db::{Db, Slot};

/// Candidates that are remembered.
const POOL: usize = 16;

/// A key that might be evicted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The higher, the sooner it goes.
    pub score: u64,
    /// Database.
    pub db: usize,
    /// Name.
    pub name: Box<[u8]>,
}

impl Candidate {
    /// Whether the key is still as good to evict as when it was entered: it is not if it has been used since.
    pub fn still_stands(&self, policy: MaxmemoryPolicy, slot: &Slot, moment: Moment) -> bool {
        score(policy, slot, moment, self.score) >= self.score
    }
}

/// The pool of candidates, worst first.
#[derive(Debug, Default)]
pub struct Candidates {
    pool: Vec<Candidate>,
    policy: Option<MaxmemoryPolicy>,
}

impl Candidates {
    /// Forgets everything if the policy has changed: scores of different policies do not compare.
    pub fn begin(&mut self, policy: MaxmemoryPolicy) {
        if self.policy != Some(policy) {
            self.pool.clear();
            self.policy = Some(policy);
        }
    }

    /// Enters a key if there is room or it is better than the worst.
    pub fn offer(&mut self, score: u64, db: usize, name: &[u8]) {
        if self.pool.iter().any(|c| c.db == db && *c.name == *name) {
            return;
        }
        if self.pool.len() >= POOL {
            if self.pool.first().is_some_and(|worst| score <= worst.score) {
                return;
            }
            self.pool.remove(0);
        }
        let at = self.pool.partition_point(|c| c.score < score);
        self.pool.insert(at, Candidate { score, db, name: name.into() });
    }

    /// Takes the best one out.
    pub fn best(&mut self) -> Option<Candidate> {
        self.pool.pop()
    }
}

/// What scores depend on besides the entry.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Unix milliseconds.
    pub now_ms: u64,
    /// `lfu-decay-time`.
    pub lfu_decay: u64,
}

/// True for policies that only take keys with an expiry.
pub const fn only_volatile(policy: MaxmemoryPolicy) -> bool {
    use MaxmemoryPolicy::{VolatileLfu, VolatileLru, VolatileRandom, VolatileTtl};
    matches!(policy, VolatileLfu | VolatileLru | VolatileRandom | VolatileTtl)
}

/// How good it would be to evict an entry: seconds of idleness, rarity of use, nearness of its end, or chance.
pub fn score(policy: MaxmemoryPolicy, slot: &Slot, moment: Moment, chance: u64) -> u64 {
    match policy {
        MaxmemoryPolicy::VolatileTtl => u64::MAX - slot.expire().unwrap_or(u64::MAX),
        MaxmemoryPolicy::AllkeysRandom | MaxmemoryPolicy::VolatileRandom => chance,
        _ if policy.counts_uses() => {
            let minutes = (moment.now_ms / 60_000) as u16;
            255 - u64::from(lfu::decayed(slot.lru(), minutes, moment.lfu_decay))
        }
        _ => u64::from(((moment.now_ms / 1000) as u32).wrapping_sub(slot.lru()) & 0xff_ffff),
    }
}

/// Shows up to `n` keys of a database in a shard, from a random place on; with `volatile`, keys with an expiry. Shows
/// at least one if there is one.
pub fn sample(db: &mut Db, random: u64, n: usize, volatile: bool, visit: &mut dyn FnMut(&Slot)) -> usize {
    if db.table.is_empty() || (volatile && db.expires == 0) {
        return 0;
    }
    // Marked entries may be hashes whose fields expire, and they themselves not.
    let seen = std::cell::Cell::new(0);
    let mut show = |slot: &Slot| {
        if !volatile || slot.expire().is_some() {
            seen.set(seen.get() + 1);
            visit(slot);
        }
    };
    db.table.sample(random, n, volatile, &mut |item| show(&item));
    if seen.get() > 0 || !volatile {
        return seen.get();
    }
    // Keys with an expiry are so rare that none was near: look for one all around the table.
    for mut cursor in [random >> 16, 0] {
        loop {
            cursor = db.table.scan_marked(cursor, 1, &mut |item| show(&item));
            if seen.get() > 0 {
                return seen.get();
            }
            if cursor == 0 {
                break;
            }
        }
    }
    0
}

/// The access counter of LFU in 24 bits: 16 of minutes when it last decayed, 8 of a logarithmic counter.
/// Source: the Redis documentation of its LFU mode (Morris counter, initial value 5).
pub mod lfu {
    /// Counter of a new key, so that it is not the first to go.
    const INIT: u32 = 5;

    /// The mark of a new entry.
    pub fn fresh(minutes: u16) -> u32 {
        u32::from(minutes) << 8 | INIT
    }

    /// The counter after the time that has passed: one less for each `decay` minutes.
    pub fn decayed(mark: u32, minutes: u16, decay: u64) -> u32 {
        let (then, counter) = ((mark >> 8) as u16, mark & 0xff);
        let elapsed = u64::from(minutes.wrapping_sub(then));
        let periods = elapsed.checked_div(decay).unwrap_or(0);
        counter.saturating_sub(u32::try_from(periods).unwrap_or(u32::MAX))
    }

    /// The mark after one more access. `chance` is a random number.
    pub fn touched(mark: u32, minutes: u16, decay: u64, factor: u64, chance: u64) -> u32 {
        let counter = decayed(mark, minutes, decay);
        let base = f64::from(counter.saturating_sub(INIT));
        let p = 1.0 / (base * factor as f64 + 1.0);
        let grow = counter < 255 && ((chance >> 11) as f64 / (1u64 << 53) as f64) < p;
        u32::from(minutes) << 8 | (counter + u32::from(grow))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::Keyspace;
    use crate::util::hash::Seed;

    #[test]
    fn the_pool_keeps_the_best_in_order() {
        let mut pool = Candidates::default();
        pool.begin(MaxmemoryPolicy::AllkeysLru);
        for score in [5, 40, 3, 17, 40].into_iter().chain(0..40) {
            pool.offer(score, 0, score.to_string().as_bytes());
        }
        let order: Vec<u64> = std::iter::from_fn(|| pool.best()).map(|c| c.score).collect();
        assert_eq!(order, (24..=40).rev().filter(|s| *s != 24).collect::<Vec<u64>>());
        pool.offer(1, 0, b"a");
        pool.begin(MaxmemoryPolicy::AllkeysLfu);
        assert_eq!(pool.best(), None);
    }

    #[test]
    fn scores_say_who_goes_first() {
        let moment = Moment { now_ms: 100_000_000, lfu_decay: 1 };
        let with = |lru: u32, expire: Option<u64>| {
            let mut slot = Slot::new_int(b"k", 1, expire);
            slot.set_lru(lru);
            slot
        };
        let lru = |slot| score(MaxmemoryPolicy::AllkeysLru, &slot, moment, 0);
        assert_eq!((lru(with(99_990, None)), lru(with(100_001, None))), (10, 0xff_ffff));
        let ttl = |slot| score(MaxmemoryPolicy::VolatileTtl, &slot, moment, 0);
        assert!(ttl(with(0, Some(1))) > ttl(with(0, Some(2))));
        let lfu = |slot| score(MaxmemoryPolicy::AllkeysLfu, &slot, moment, 0);
        let minutes = (moment.now_ms / 60_000) as u32;
        assert_eq!((lfu(with(minutes << 8 | 7, None)), lfu(with((minutes - 3) << 8 | 7, None))), (248, 251));
    }

    #[test]
    fn a_candidate_that_has_been_used_is_one_no_longer() {
        use MaxmemoryPolicy::{AllkeysLfu, AllkeysLru, AllkeysRandom};
        let at = |now_ms| Moment { now_ms, lfu_decay: 1 };
        let (early, late) = (at(100_000_000), at(100_060_000));
        let minutes = (early.now_ms / 60_000) as u32;
        for (policy, before, after) in
            [(AllkeysLru, 99_990, 100_055), (AllkeysLfu, minutes << 8 | 7, (minutes + 1) << 8 | 8)]
        {
            let mut slot = Slot::new_int(b"k", 1, None);
            slot.set_lru(before);
            let candidate = Candidate { score: score(policy, &slot, early, 0), db: 0, name: b"k"[..].into() };
            assert!([early, late].iter().all(|moment| candidate.still_stands(policy, &slot, *moment)));
            slot.set_lru(after);
            assert!(!candidate.still_stands(policy, &slot, late));
            let random = Candidate { score: 77, ..candidate };
            assert!(random.still_stands(AllkeysRandom, &slot, late));
        }
    }

    #[test]
    fn the_only_key_with_an_expiry_is_found() {
        let keyspace = Keyspace::new(1, 1, Seed::new([3, 4]));
        let mut shard = keyspace.lock_one(0);
        for i in 0..20_000 {
            let name = format!("key:{i}");
            let key = keyspace.key(name.as_bytes());
            shard.insert(0, &key, Slot::new_int(key.name, 0, (i == 777).then_some(5)));
        }
        for random in [0, 1 << 40, u64::MAX / 2, u64::MAX] {
            let mut found = Vec::new();
            sample(shard.db(0), random, 5, true, &mut |slot| found.push(slot.key().to_vec()));
            assert_eq!(found, [b"key:777".to_vec()]);
        }
    }
}
