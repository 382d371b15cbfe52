//! Which keys of a shard are over? One step of the sweep: it looks at some of those that have an expiry, going on
//! where the last step stopped. Removing them is up to the caller, through the same door as a look-up that finds one.

use crate::ds::entry::View;
use crate::keyspace::db::Db;
use crate::value::Value;

/// Buckets of the table (nine keys or less) between two looks at what has been found.
const STRIDE: usize = 16;

/// Strides of one step at most: keys with an expiry may be rare among the others.
const STRIDES: usize = 64;

/// What one step came to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Looked {
    /// Entries with something that expires that it met.
    pub seen: usize,
    /// Keys among them whose time is not over, and the milliseconds that they have left, in all.
    pub alive: (u64, u64),
    /// It reached the end of the table; the next one begins anew.
    pub wrapped: bool,
}

/// What a step found: names of keys.
#[derive(Debug, Default)]
pub struct Due {
    /// Their time is over.
    pub keys: Vec<Box<[u8]>>,
    /// Hashes with fields whose time is over.
    pub hashes: Vec<Box<[u8]>>,
}

/// Looks at `keys` entries with something that expires, or a few more, and appends to `due` what is over at `now` (unix
/// milliseconds).
pub fn look(db: &mut Db, now: u64, keys: usize, due: &mut Due) -> Looked {
    let mut looked = Looked::default();
    if db.expires == 0 && db.field_expires == 0 {
        looked.wrapped = true;
        return looked;
    }
    let mut hashes = 0;
    for _ in 0..STRIDES {
        db.sweep = db.table.scan_marked(db.sweep, STRIDE, &mut |mut item| {
            looked.seen += 1;
            let fields = match item.view() {
                View::Value(Value::Hash(hash)) => hash.next_expiry(),
                _ => None,
            };
            hashes += usize::from(fields.is_some());
            if let Some(left) = item.expire().and_then(|at| at.checked_sub(now)).filter(|left| *left > 0) {
                looked.alive = (looked.alive.0 + 1, looked.alive.1.saturating_add(left));
            }
            if item.expire().is_some_and(|at| at <= now) {
                due.keys.push(item.key().into());
            } else if fields.is_some_and(|at| at <= now) {
                due.hashes.push(item.key().into());
            } else if fields.is_none() && item.expire().is_none() {
                item.set_mark(false);
            }
        });
        looked.wrapped = db.sweep == 0;
        if looked.wrapped || looked.seen >= keys {
            break;
        }
    }
    db.fields_met[0] += hashes;
    if looked.wrapped {
        // While a table grows or shrinks a sweep may miss something: what two in a row have not met is not there.
        let [met, before, new] = db.fields_met;
        db.field_expires = met.max(before) + new;
        db.fields_met = [0, met, 0];
    }
    looked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::keyspace::{Keyspace, Shard, Slot};
    use crate::util::hash::Seed;
    use crate::value::Hash;

    #[test]
    fn a_sweep_meets_every_key_that_is_over_and_no_other() {
        let keyspace = Keyspace::new(1, 1, Seed::new([1, 2]));
        let mut shard = keyspace.lock_one(0);
        for i in 0..5000u64 {
            let name = format!("key:{i}");
            let key = keyspace.key(name.as_bytes());
            let expire = (i % 5 > 0).then_some(i);
            shard.insert(0, &key, Slot::new_int(key.name, 0, expire));
        }
        let (mut found, mut seen, mut alive) = (Due::default(), 0, (0, 0));
        loop {
            let looked = look(shard.db(0), 2500, 20, &mut found);
            seen += looked.seen;
            alive = (alive.0 + looked.alive.0, alive.1 + looked.alive.1);
            if looked.wrapped {
                break;
            }
        }
        assert_eq!(seen, 4000);
        // The keys from 2501 on whose number is no multiple of five.
        assert_eq!(alive, (2000, (2501..5000u64).filter(|i| i % 5 > 0).map(|i| i - 2500).sum()));
        let mut due = found.keys;
        due.sort_unstable();
        due.dedup();
        assert_eq!(due.len(), 2000);
    }

    #[test]
    fn hashes_are_met_for_their_fields_until_those_are_gone() {
        let keyspace = Keyspace::new(1, 1, Seed::new([1, 2]));
        let mut shard = keyspace.lock_one(0);
        let key = keyspace.key(b"h");
        let mut hash = Hash::new();
        hash.set(b"f", b"v", false, &Config::default().limits(), keyspace.seed());
        shard.insert(0, &key, Slot::new_value(key.name, Value::Hash(hash), None));
        assert_eq!(shard.db(0).field_expires, 0);
        let expire = |shard: &mut Shard| {
            let mut item = shard.get_mut(0, &key).unwrap();
            let Some(Value::Hash(hash)) = item.value_mut() else { panic!("no hash") };
            assert!(hash.expire_field(b"f", 5));
            drop(item);
            shard.mark_fields(0, &key);
        };
        expire(&mut shard);
        let met = |shard: &mut Shard, now| {
            let mut due = Due::default();
            assert!(look(shard.db(0), now, 20, &mut due).wrapped);
            due.hashes.len()
        };
        assert_eq!((met(&mut shard, 4), met(&mut shard, 5)), (0, 1));
        shard.remove(0, &key);
        assert_eq!((met(&mut shard, 9), met(&mut shard, 9), shard.db(0).field_expires), (0, 0, 0));
    }

    #[test]
    fn nothing_is_looked_at_where_nothing_expires() {
        let keyspace = Keyspace::new(1, 1, Seed::new([1, 2]));
        let looked = look(keyspace.lock_one(0).db(0), 1, 20, &mut Due::default());
        assert_eq!(looked, Looked { wrapped: true, ..Looked::default() });
    }
}
