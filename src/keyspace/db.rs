//! What does one shard hold? For each database a table of entries, the clients that wait for keys, and those that
//! watch them.
//!
//! Invariants: an entry's mark bit in the table is set when the entry has an expiry or is a hash with fields that
//! expire (and perhaps a while longer); `expires` counts the former, and `field_expires` is zero only if there is none
//! of the latter. While a snapshot is being taken (`Shard::preimage`), an entry whose parity differs from the shard's
//! is saved before it changes or goes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::ds::entry::{Entry, View};
use crate::ds::table::{At, ItemMut, ItemRef, Table};
use crate::keyspace::key::Key;
use crate::keyspace::tracked::Tracked;
use crate::keyspace::waiter::WaitList;
use crate::util::hash::Seed;
use crate::value::Value;

/// One key with its value, as the tables own it.
pub type Slot = Entry<Value>;

/// Longest text, and longest text and key together, of a string that Redis embeds in its object: with a head of 16
/// bytes, the lengths, and the time when it has one, it fits into 64.
const EMBEDDED: (usize, usize) = (44, 41);

/// Whether an entry is a string short enough to be embedded, and nothing has made it another kind of text.
pub fn is_embedded(slot: &Slot) -> bool {
    let View::Str(text) = slot.view() else { return false };
    let time = if slot.expire().is_some() { size_of::<u64>() } else { 0 };
    !slot.raw() && text.len() <= EMBEDDED.0 && text.len() + slot.key().len() + time <= EMBEDDED.1
}

/// Receives entries as they were when a snapshot began, before they change.
pub trait Preimage: Send {
    /// Saves an entry; it is about to change or to be removed. `db` is the database that it was in when the
    /// snapshot began.
    fn save(&mut self, db: usize, entry: &Slot);

    /// Whoever wants to change an entry had better wait, since to save it would take long: it is saved soon, without
    /// keeping anybody else waiting. False when there is nothing to wait for.
    fn hurry(&mut self, db: usize, entry: &Slot) -> bool;

    /// Takes over a table that leaves the keyspace as a whole; what is unsaved in it is saved in good time.
    fn adopt(&mut self, db: usize, table: Table<Slot>);
}

/// Sessions that have a key under WATCH: each is told by its flag.
pub type Watchers = HashMap<Box<[u8]>, Vec<Arc<AtomicBool>>>;

/// The part of a database that lives in one shard.
pub struct Db {
    /// The entries.
    pub table: Table<Slot>,
    /// The database that the table belonged to when the snapshot under way began (SWAPDB moves tables).
    pub was: usize,
    /// How many entries have an expiry.
    pub expires: usize,
    /// How many entries are hashes with fields that expire, or more: the sweep counts them anew each time it comes
    /// around.
    pub field_expires: usize,
    /// Clients that wait for keys here.
    pub waiters: WaitList,
    /// Sessions that watch keys here.
    pub watchers: Watchers,
    /// Where the sweep for expired keys stands.
    pub sweep: u64,
    /// Hashes with fields that expire which the present sweep has met, and the last one; and those that came to be
    /// since it began.
    pub(crate) fields_met: [usize; 3],
}

impl Db {
    fn new(seed: Seed) -> Self {
        Db {
            table: Table::new(seed),
            was: 0,
            expires: 0,
            field_expires: 0,
            waiters: WaitList::default(),
            watchers: HashMap::new(),
            sweep: 0,
            fields_met: [0; 3],
        }
    }

    /// The entry of a key, expired or not.
    pub fn get(&self, key: &Key<'_>) -> Option<ItemRef<'_, Slot>> {
        self.table.get(key.hash, key.name)
    }

    fn fields_came(&mut self) {
        self.field_expires = self.field_expires.saturating_add(1);
        self.fields_met[2] = self.fields_met[2].saturating_add(1);
    }

    /// Marks every session that watches a key.
    pub fn touch_watchers(&self, name: &[u8]) {
        if self.watchers.is_empty() {
            return;
        }
        if let Some(flags) = self.watchers.get(name) {
            for flag in flags {
                flag.store(true, Ordering::Release);
            }
        }
    }

    /// Marks every session that watches any key here (FLUSHDB, SWAPDB), if `concerned` says so for the key.
    pub fn touch_all_watchers(&self, mut concerned: impl FnMut(&[u8]) -> bool) {
        for (name, flags) in &self.watchers {
            if concerned(name) {
                for flag in flags {
                    flag.store(true, Ordering::Release);
                }
            }
        }
    }
}

/// True when an entry is a hash with fields that expire.
pub fn fields_expire(slot: &Slot) -> bool {
    matches!(slot.view(), View::Value(Value::Hash(hash)) if hash.next_expiry().is_some())
}

/// True when the sweep has to look at an entry.
pub fn is_marked(slot: &Slot) -> bool {
    slot.expire().is_some() || fields_expire(slot)
}

/// One stripe of the keyspace, behind one lock.
pub struct Shard {
    /// Database 0, 1, ...
    pub dbs: Vec<Db>,
    /// Set while a snapshot is being taken.
    pub preimage: Option<Box<dyn Preimage>>,
    /// Entries of this parity need not be saved.
    pub parity: bool,
    /// Counts how often tables changed places.
    pub swaps: u64,
    /// Who has read which key, of all databases, and tracks.
    pub tracked: Tracked,
}

impl Shard {
    /// A shard with empty databases.
    pub fn new(databases: usize, seed: Seed) -> Self {
        Shard {
            dbs: (0..databases).map(|_| Db::new(seed)).collect(),
            preimage: None,
            parity: false,
            swaps: 0,
            tracked: Tracked::new(seed),
        }
    }

    /// A database; `db` has been checked when the client selected it.
    pub fn db(&mut self, db: usize) -> &mut Db {
        &mut self.dbs[db]
    }

    /// The entry of a key, about to be changed.
    pub fn get_mut(&mut self, db: usize, key: &Key<'_>) -> Option<ItemMut<'_, Slot>> {
        let at = self.dbs[db].table.locate(key.hash, key.name)?;
        Some(self.at_mut(db, at))
    }

    /// The entry at a place of a database's table, about to be changed.
    pub fn at_mut(&mut self, db: usize, at: At) -> ItemMut<'_, Slot> {
        let data = &mut self.dbs[db];
        let mut item = data.table.at_mut(at);
        save_preimage(&mut self.preimage, self.parity, data.was, &mut item);
        item
    }

    /// True when a key is not to be changed yet, see [`Preimage::hurry`].
    pub fn is_to_be_saved(&mut self, db: usize, key: &Key<'_>) -> bool {
        let (Some(preimage), Some(data)) = (&mut self.preimage, self.dbs.get(db)) else { return false };
        let entry = data.get(key).filter(|entry| entry.parity() != self.parity);
        entry.is_some_and(|entry| preimage.hurry(data.was, &entry))
    }

    /// Adds a key that is not there.
    pub fn insert(&mut self, db: usize, key: &Key<'_>, mut entry: Slot) {
        entry.set_parity(self.parity);
        let expires = entry.expire().is_some();
        let db = &mut self.dbs[db];
        db.expires += usize::from(expires);
        let fields = fields_expire(&entry);
        db.table.insert(key.hash, entry, expires || fields);
        if fields {
            db.fields_came();
        }
    }

    /// Fields of a hash have been given an expiry: the sweep will find it.
    pub fn mark_fields(&mut self, db: usize, key: &Key<'_>) {
        let db = &mut self.dbs[db];
        let found = db.table.get_mut(key.hash, key.name).map(|mut item| item.set_mark(true)).is_some();
        if found {
            db.fields_came();
        }
    }

    /// Takes a key out.
    pub fn remove(&mut self, db: usize, key: &Key<'_>) -> Option<Slot> {
        let at = self.dbs[db].table.locate(key.hash, key.name)?;
        Some(self.remove_at(db, at))
    }

    /// Takes out the key at a place of a database's table.
    pub fn remove_at(&mut self, db: usize, at: At) -> Slot {
        let entry = self.at_mut(db, at).remove();
        self.dbs[db].expires -= usize::from(entry.expire().is_some());
        entry
    }

    /// Sets or clears a key's expiry (unix time in milliseconds). False when the key does not exist.
    pub fn set_expire(&mut self, db: usize, key: &Key<'_>, at: Option<u64>) -> bool {
        let Some(mut item) = self.get_mut(db, key) else { return false };
        let had = item.expire().is_some();
        // A text that had no room beside the time is not put back when the time is lifted.
        let raw = item.raw() || matches!(item.view(), View::Str(_)) && !is_embedded(&item);
        item.set_raw(raw);
        item.set_expire(at);
        item.set_mark(is_marked(&item));
        drop(item);
        let db = &mut self.dbs[db];
        db.expires = db.expires + usize::from(at.is_some()) - usize::from(had);
        true
    }

    /// Moves the expiry of everything here by so many milliseconds, apart from those that are dates. Returns how many
    /// keys that concerned.
    pub fn move_expiries(&mut self, ms: i64) -> u64 {
        let to = |at: u64| at.saturating_add_signed(ms).max(1);
        let (preimage, parity, mut moved) = (&mut self.preimage, self.parity, 0);
        for db in self.dbs.iter_mut().filter(|db| db.expires > 0 || db.field_expires > 0) {
            let (was, mut cursor) = (db.was, 0);
            loop {
                cursor = db.table.scan_marked(cursor, usize::MAX, &mut |mut item| {
                    save_preimage(preimage, parity, was, &mut item);
                    if let Some(at) = item.expire().filter(|_| !item.dated()) {
                        item.set_expire(Some(to(at)));
                        moved += 1;
                    }
                    if let Some(Value::Hash(hash)) = item.value_mut()
                        && hash.next_expiry().is_some()
                    {
                        hash.move_expiries(to);
                        moved += 1;
                    }
                });
                if cursor == 0 {
                    break;
                }
            }
        }
        moved
    }

    /// Empties a database and returns its table, to be freed by someone with time. While a snapshot is being taken
    /// the table goes there instead.
    pub fn take_table(&mut self, db: usize, seed: Seed) -> Table<Slot> {
        let data = &mut self.dbs[db];
        data.expires = 0;
        data.field_expires = 0;
        data.sweep = 0;
        data.fields_met = [0; 3];
        let table = std::mem::replace(&mut data.table, Table::new(seed));
        match &mut self.preimage {
            Some(preimage) => {
                preimage.adopt(data.was, table);
                Table::new(seed)
            }
            None => table,
        }
    }

    /// Exchanges the data of two databases. Who waits for keys and who watches them stays.
    pub fn swap(&mut self, a: usize, b: usize) {
        let (low, high) = (a.min(b), a.max(b));
        let (left, right) = self.dbs.split_at_mut(high);
        let (Some(one), Some(other)) = (left.get_mut(low), right.first_mut()) else { return };
        std::mem::swap(&mut one.table, &mut other.table);
        std::mem::swap(&mut one.was, &mut other.was);
        std::mem::swap(&mut one.expires, &mut other.expires);
        std::mem::swap(&mut one.field_expires, &mut other.field_expires);
        std::mem::swap(&mut one.sweep, &mut other.sweep);
        std::mem::swap(&mut one.fields_met, &mut other.fields_met);
        self.swaps += 1;
    }
}

fn save_preimage(
    preimage: &mut Option<Box<dyn Preimage>>,
    parity: bool,
    db: usize,
    item: &mut ItemMut<'_, Slot>,
) {
    if let Some(preimage) = preimage
        && item.parity() != parity
    {
        preimage.save(db, item);
        item.set_parity(parity);
    }
}
