//! What of commands that are about all keys of a database? They count, walk, empty or swap it, shard by shard.
//!
//! A command whose row locks everything sees one moment of the whole database. A walking one (SCAN) holds one shard at
//! a time; what it changes is then a unit of its own, settled before the shard is let go.

use std::ops::Range;

use crate::dispatch::block;
use crate::dispatch::call;
use crate::dispatch::ctx::{Ctx, Mode};
use crate::keyspace::db::{Db, Slot};
use crate::keyspace::effects::Garbage;
use crate::util::crc::key_slot;

/// Positions in a table are below this.
const POSITIONS: u64 = 1 << 48;

/// Keys that a replica looks at in search of one that has not expired.
const HIDDEN_TRIES: usize = 100;

impl Ctx<'_> {
    /// Number of keys in a database, with those that have expired and not been removed.
    pub fn db_len(&mut self, db: usize) -> usize {
        (0..self.keyspace().shard_count())
            .map(|shard| self.locks.with_shard(shard, |shard| shard.db(db).table.len()))
            .sum()
    }

    /// Shows every key of a hash slot, with those that have expired and not been removed. Looks at all keys of the
    /// slot's shard.
    pub fn each_in_slot(&mut self, slot: u16, mut visit: impl FnMut(&Slot)) {
        let (db, shard) = (self.session.db, self.keyspace().shard_of(slot));
        self.locks.with_shard(usize::from(shard), |shard| {
            let items = shard.db(db).table.iter();
            items.filter(|item| key_slot(item.key()) == slot).for_each(|item| visit(&item));
        });
    }

    /// Number of keys in a hash slot.
    pub fn slot_len(&mut self, slot: u16) -> usize {
        let mut n = 0;
        self.each_in_slot(slot, |_| n += 1);
        n
    }

    /// All shards, or that of a slot.
    fn shards_of(&self, slot: Option<u16>) -> Range<usize> {
        match slot.map(|slot| usize::from(self.keyspace().shard_of(slot))) {
            Some(shard) => shard..shard + 1,
            None => 0..self.keyspace().shard_count(),
        }
    }

    /// Shows every key of the selected database that has not expired; `only` leaves out shards without a slot.
    pub fn each_key(&mut self, only: Option<u16>, mut visit: impl FnMut(&Slot)) {
        let (db, now) = (self.session.db, self.worker.now_ms);
        for shard in self.shards_of(only) {
            self.locks.with_shard(shard, |shard| {
                let items = shard.db(db).table.iter();
                items.filter(|item| !is_due(item, now)).for_each(|item| visit(&item));
            });
        }
    }

    /// The names of about `count` keys of the selected database from `cursor` (0 at first) on, those that `keep`
    /// wants, and the next cursor, 0 at the end; `only` leaves out shards without a slot. A key that is there during a
    /// whole walk is in it exactly once.
    ///
    /// A cursor is `position * shards + shard`: within a shard keys are in the order of their hashes.
    pub fn scan_keys(
        &mut self,
        cursor: u64,
        count: u64,
        only: Option<u16>,
        mut keep: impl FnMut(&Slot) -> bool,
    ) -> (u64, Vec<Box<[u8]>>) {
        let (db, now) = (self.session.db, self.worker.now_ms);
        let shards = self.keyspace().shard_count() as u64;
        let (mut shard, mut position) = (cursor % shards, (cursor / shards).min(POSITIONS));
        let within = self.shards_of(only);
        if shard < within.start as u64 {
            (shard, position) = (within.start as u64, 0);
        }
        let (mut names, mut due) = (Vec::new(), Vec::new());
        let (mut seen, mut rounds) = (0, count.saturating_mul(10));
        // Expired keys are passed over by replay and by commands that may not remove them.
        let removes = self.mode != Mode::Replay;
        let next = loop {
            self.locks.with_shard(shard as usize, |shard| {
                let table = &shard.db(db).table;
                loop {
                    position = table.scan(position, &mut |slot| {
                        seen += 1;
                        if keep(slot) {
                            let list = if is_due(slot, now) { &mut due } else { &mut names };
                            list.push(Box::from(slot.key()));
                        }
                    });
                    rounds = rounds.saturating_sub(1);
                    if position == 0 || seen >= count || rounds == 0 {
                        break;
                    }
                }
            });
            if position == 0 {
                shard += 1;
            }
            if shard >= within.end as u64 {
                break 0;
            }
            if seen >= count || rounds == 0 {
                break position * shards + shard;
            }
        };
        if removes {
            self.sweep(db, &due);
        }
        (next, names)
    }

    /// Removes keys that a walk has found expired, unless they have been given a new life meanwhile.
    fn sweep(&mut self, db: usize, due: &[Box<[u8]>]) {
        for name in due {
            let key = self.keyspace().key(name);
            if !self.locks.is_none() {
                self.peek_in(db, &key);
                continue;
            }
            let board = &self.core.scripts.board;
            let locks = call::lock_names(self.core, &[(db, name.clone())], &|| board.is_busy());
            // Another walk will come by.
            let Some(locks) = locks else { return };
            self.locks = locks;
            self.peek_in(db, &key);
            block::settle(self);
            let meanwhile = self.worker.meanwhile.clone();
            self.locks = self.core.keyspace.locked_none().with_meanwhile(meanwhile);
        }
    }

    /// A key of the selected database, each with the same chance. Needs all locks.
    pub fn random_key(&mut self) -> Option<Box<[u8]>> {
        let db = self.session.db;
        let mut tries = 0;
        loop {
            tries += 1;
            let len = self.db_len(db);
            let mut at = usize::try_from(self.worker.rng.below(len as u64)).ok().filter(|_| len > 0)?;
            let mut name: Option<Box<[u8]>> = None;
            for shard in 0..self.keyspace().shard_count() {
                let rng = &mut self.worker.rng;
                let found = self.locks.with_shard(shard, |shard| {
                    let table = &shard.db(db).table;
                    if at >= table.len() {
                        at -= table.len();
                        return None;
                    }
                    table.random(|| rng.next_u64()).map(|item| Box::from(item.key()))
                });
                if found.is_some() {
                    name = found;
                    break;
                }
            }
            let name = name?;
            let key = self.keyspace().key(&name);
            // On a replica all of them may have expired and stay.
            let hidden = self.core.replication.link.is_replica() && tries >= HIDDEN_TRIES;
            if self.mode == Mode::Replay || self.exists(&key) || hidden {
                return Some(name);
            }
            // Keys that expired by the way have nothing to do with each other.
            if self.mode == Mode::Direct {
                block::settle(self);
            }
        }
    }

    /// Empties databases: `db`, or all of them. Needs all locks. Returns how many keys there were.
    pub fn empty(&mut self, db: Option<usize>) -> usize {
        let dbs = db.map_or(0..self.keyspace().databases(), |db| db..db + 1);
        let keyspace = self.keyspace();
        let (garbage, ready) = (&mut self.fx.garbage, &mut self.fx.ready);
        let mut removed = 0;
        self.written = true;
        self.locks.each(|_, shard| {
            for db in dbs.clone() {
                let data = shard.db(db);
                if data.table.is_empty() {
                    continue;
                }
                data.touch_all_watchers(|name| data.get(&keyspace.key(name)).is_some());
                let waited = data.waiters.all_keys();
                ready.extend(waited.filter(|n| data.get(&keyspace.key(n)).is_some()).map(|n| (db, n.into())));
                removed += data.table.len();
                garbage.push(Garbage::Table(shard.take_table(db, keyspace.seed())));
            }
        });
        if db.is_none() {
            self.core.persist.stop_save();
            self.fx.emptied = true;
        }
        self.everything_is_stale();
        removed
    }

    /// Exchanges the contents of two databases. Needs all locks.
    pub fn swap_dbs(&mut self, a: usize, b: usize) {
        let keyspace = self.keyspace();
        // Who watches a key must not take one that had expired before the exchange for a change.
        let mut watched: Vec<Box<[u8]>> = Vec::new();
        self.locks.each(|_, shard| {
            for db in [a, b] {
                watched.extend(shard.dbs[db].watchers.keys().cloned());
            }
        });
        for name in watched {
            let key = keyspace.key(&name);
            self.peek_in(a, &key);
            self.peek_in(b, &key);
        }
        let ready = &mut self.fx.ready;
        self.written = true;
        self.locks.each(|_, shard| {
            for (here, there) in [(a, b), (b, a)] {
                let (here_db, there_db) = (&shard.dbs[here], &shard.dbs[there]);
                let has = |db: &Db, name: &[u8]| db.get(&keyspace.key(name)).is_some();
                here_db.touch_all_watchers(|name| has(here_db, name) || has(there_db, name));
                ready.extend(here_db.waiters.all_keys().map(|name| (here, name.into())));
            }
            shard.swap(a, b);
        });
    }
}

/// True when a key's time is over.
fn is_due(slot: &Slot, now: u64) -> bool {
    slot.expire().is_some_and(|at| at <= now)
}
