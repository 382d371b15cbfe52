//! Which keys of a shard are over? One step of the sweep: it looks at some of those that have an expiry, going on
//! where the last step stopped. Removing them is up to the caller, through the same door as a look-up that finds one.

use crate::keyspace::db::Db;

/// Buckets of the table (nine keys or less) between two looks at what has been found.
const STRIDE: usize = 16;

/// Strides of one step at most: keys with an expiry may be rare among the others.
const STRIDES: usize = 64;

/// What one step came to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Looked {
    /// Keys with an expiry that it met.
    pub seen: usize,
    /// It reached the end of the table; the next one begins anew.
    pub wrapped: bool,
}

/// Looks at `keys` keys with an expiry or a few more, and appends the names of those that are over at `now` (unix
/// milliseconds) to `due`.
pub fn look(db: &mut Db, now: u64, keys: usize, due: &mut Vec<Box<[u8]>>) -> Looked {
    let mut looked = Looked::default();
    if db.expires == 0 {
        looked.wrapped = true;
        return looked;
    }
    for _ in 0..STRIDES {
        db.sweep = db.table.scan_marked(db.sweep, STRIDE, &mut |item| {
            looked.seen += 1;
            if item.expire().is_some_and(|at| at <= now) {
                due.push(item.key().into());
            }
        });
        looked.wrapped = db.sweep == 0;
        if looked.wrapped || looked.seen >= keys {
            break;
        }
    }
    looked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::{Keyspace, Slot};
    use crate::util::hash::Seed;

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
        let (mut due, mut seen) = (Vec::new(), 0);
        loop {
            let looked = look(shard.db(0), 2500, 20, &mut due);
            seen += looked.seen;
            if looked.wrapped {
                break;
            }
        }
        assert_eq!(seen, 4000);
        due.sort_unstable();
        due.dedup();
        assert_eq!(due.len(), 2000);
    }

    #[test]
    fn nothing_is_looked_at_where_nothing_expires() {
        let keyspace = Keyspace::new(1, 1, Seed::new([1, 2]));
        let looked = look(keyspace.lock_one(0).db(0), 1, 20, &mut Vec::new());
        assert_eq!(looked, Looked { seen: 0, wrapped: true });
    }
}
