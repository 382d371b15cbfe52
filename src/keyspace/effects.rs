//! What did a command change? Collected while it runs, acted upon when it is done, under the same locks.

use bytes::Bytes;

use crate::ds::entry::View;
use crate::ds::table::Table;
use crate::keyspace::db::Slot;
use crate::keyspace::event::Class;
use crate::log::entry::Logged;
use crate::value::Value;

/// A keyspace event that is waiting to be published.
#[derive(Debug)]
pub struct Event {
    /// Database.
    pub db: usize,
    /// Class, as selected by `notify-keyspace-events`.
    pub class: Class,
    /// The event's name, e.g. `set`.
    pub name: &'static str,
    /// The key.
    pub key: Box<[u8]>,
}

/// Something that may take long to free, and is freed by someone with time.
#[derive(Debug)]
pub enum Garbage {
    /// A value that was replaced.
    Value(Value),
    /// A key that was removed.
    Slot(Slot),
    /// All keys of a database in one shard.
    Table(Table<Slot>),
}

/// Elements that an estimate of memory looks at.
const SAMPLES: usize = 5;

impl Garbage {
    /// About how many allocations have to be freed.
    pub fn effort(&self) -> usize {
        match self {
            Garbage::Value(value) => value.effort(),
            Garbage::Slot(slot) => match slot.view() {
                View::Value(value) => value.effort(),
                _ => 1,
            },
            // However few keys it has: emptying a database is done elsewhere, or while the client waits.
            Garbage::Table(_) => usize::MAX,
        }
    }

    /// About how many bytes freeing it gives back. Of a table only the table itself is counted.
    pub fn memory(&self) -> usize {
        match self {
            Garbage::Value(value) => value.memory(SAMPLES),
            Garbage::Slot(slot) => match slot.view() {
                View::Value(value) => slot.memory() + value.memory(SAMPLES),
                _ => slot.memory(),
            },
            Garbage::Table(table) => table.memory(),
        }
    }

    /// Frees about `n` elements; true when dropping the rest takes no time. Nothing else is to be asked of it after
    /// that.
    pub fn drain_step(&mut self, n: usize) -> bool {
        match self {
            Garbage::Value(value) => value.drain_step(n),
            Garbage::Slot(slot) => slot.value_mut().is_none_or(|value| value.drain_step(n)),
            Garbage::Table(table) => table.drain_step(n),
        }
    }

    /// How many keys it holds.
    pub fn keys(&self) -> usize {
        if let Garbage::Table(table) = self { table.len() } else { 1 }
    }
}

/// A change that clients which cache by prefix must hear of: the key, and the client that made it (0: nobody).
pub type Change = (Box<[u8]>, u64);

/// The effects of one unit of work: a command, or a whole transaction or script.
#[derive(Debug, Default)]
pub struct Effects {
    /// Number of changes, as `rdb_changes_since_last_save` counts them.
    pub dirty: u64,
    /// Events to publish, in order.
    pub events: Vec<Event>,
    /// Changes for clients that cache by prefix, if there are any.
    pub changes: Vec<Change>,
    /// What clients must be told of changes by their own commands, encoded: they are told after the reply.
    pub own: Vec<(u64, Bytes)>,
    /// Keys that somebody waits for and that changed.
    pub ready: Vec<(usize, Box<[u8]>)>,
    /// What goes into the log, in order.
    pub log: Vec<Logged>,
    /// Said by the running command: these commands go into the log in its place.
    pub instead: Option<Vec<Vec<u8>>>,
    /// Values to free.
    pub garbage: Vec<Garbage>,
    /// All databases were emptied.
    pub emptied: bool,
}

/// Room for so many effects of a kind is kept for the next unit of work.
const KEPT: usize = 256;

impl Effects {
    /// True when there is nothing to act upon but the number of changes: the usual case.
    #[inline]
    pub fn is_quiet(&self) -> bool {
        let lists = [self.events.len(), self.changes.len(), self.own.len(), self.ready.len(), self.log.len()];
        let any = lists.iter().fold(self.garbage.len(), |any, len| any | len);
        any == 0 && !self.emptied
    }

    /// Forgets everything, but keeps some room.
    pub fn clear(&mut self) {
        let kept =
            self.log.capacity() <= KEPT && self.events.capacity() <= KEPT && self.ready.capacity() <= KEPT;
        if !kept {
            *self = Effects::default();
            return;
        }
        self.dirty = 0;
        self.instead = None;
        if self.is_quiet() {
            return;
        }
        self.events.clear();
        self.changes.clear();
        self.own.clear();
        self.ready.clear();
        self.log.clear();
        self.garbage.clear();
        self.emptied = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::util::hash::Seed;
    use crate::value::list::End;
    use crate::value::{Hash, List, Set, Zset};

    /// One large value of each type, and a table of keys.
    fn large(n: usize) -> Vec<Garbage> {
        let (limits, seed) = (Config::default().limits(), Seed::new([1, 2]));
        let (mut hash, mut set, mut zset, mut list) = (Hash::new(), Set::new(), Zset::new(), List::new());
        let mut table: Table<Slot> = Table::new(seed);
        for i in 0..n {
            let text = format!("element:{i}");
            hash.set(text.as_bytes(), b"v", false, &limits, seed);
            set.add(text.as_bytes(), &limits, seed);
            zset.add_new(text.as_bytes(), i as f64, &limits);
            list.push(End::Tail, [text.as_bytes()], &limits);
            table.insert(table.hash(text.as_bytes()), Slot::new_int(text.as_bytes(), 1, None), false);
        }
        let values = [Value::Hash(hash), Value::Set(set), Value::Zset(zset), Value::List(list)];
        let slots = values.into_iter().map(|value| Garbage::Slot(Slot::new_value(b"key", value, None)));
        slots.chain([Garbage::Table(table)]).collect()
    }

    #[test]
    fn what_is_large_is_freed_in_pieces() {
        for mut garbage in large(30_000) {
            let (shown, mut steps) = (format!("{garbage:?}"), 1);
            assert!(garbage.effort() > 64, "{shown} would be freed by whoever deletes it");
            while !garbage.drain_step(2048) {
                steps += 1;
            }
            assert!((5..=40).contains(&steps), "{shown}: {steps} steps");
        }
    }

    #[test]
    fn giving_many_pages_back_is_left_to_others() {
        let effort = |bytes: usize| Garbage::Value(Value::Str(Vec::with_capacity(bytes))).effort();
        assert_eq!(effort(2000), 1);
        assert!(effort(1 << 20) < 64 && effort(8 << 20) > 64);
    }

    #[test]
    fn whatever_has_to_be_acted_upon_is_no_quiet() {
        let event =
            || Event { db: 0, class: crate::keyspace::event::GENERIC, name: "del", key: b"k"[..].into() };
        let log = || Logged::new(0, Vec::new());
        let loud: [fn(&mut Effects, Event, Logged); 7] = [
            |fx, event, _| fx.events.push(event),
            |fx, _, log| fx.log.push(log),
            |fx, _, _| fx.changes.push((b"k"[..].into(), 1)),
            |fx, _, _| fx.own.push((1, Bytes::new())),
            |fx, _, _| fx.ready.push((0, b"k"[..].into())),
            |fx, _, _| fx.garbage.push(Garbage::Slot(Slot::new_int(b"k", 1, None))),
            |fx, _, _| fx.emptied = true,
        ];
        for make in loud {
            let mut fx = Effects { dirty: 3, ..Effects::default() };
            assert!(fx.is_quiet());
            make(&mut fx, event(), log());
            assert!(!fx.is_quiet());
            fx.clear();
            assert!(fx.is_quiet() && fx.dirty == 0);
        }
    }
}
