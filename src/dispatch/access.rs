//! How does a handler reach a value? Look-ups that expire what is due, count hits, keep access times and check types.
//!
//! `peek` leaves no trace; `view`, `read` and `string` are reads of the client's; `write`, `create` and `set_*` change.
//! After a change the handler reports it with `Ctx::changed`.

use crate::dispatch::ctx::{Ctx, Mode};
use crate::dispatch::spec::WRITE;
use crate::ds::entry::View;
use crate::ds::table::{At, ItemMut, ItemRef};
use crate::error::{self, Result};
use crate::keyspace::db::{Db, Shard, Slot};
use crate::keyspace::effects::Garbage;
use crate::keyspace::event;
use crate::keyspace::evict::lfu;
use crate::keyspace::key::Key;
use crate::util::number;
use crate::value::{Hash, Kind, Typed, Value};

/// What becomes of a key's expiry when its value is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// It is cleared.
    Clear,
    /// It stays.
    Keep,
    /// It is set: unix milliseconds.
    At(u64),
}

/// A string value: its bytes, or the integer that it is.
#[derive(Debug, Clone, Copy)]
pub enum Text<'a> {
    /// Bytes.
    Bytes(&'a [u8]),
    /// An integer in its canonical decimal form.
    Int(i64),
}

impl Text<'_> {
    /// The bytes, with a buffer for the digits.
    pub fn bytes<'b>(&'b self, digits: &'b mut itoa::Buffer) -> &'b [u8] {
        match self {
            Text::Bytes(b) => b,
            Text::Int(n) => digits.format(*n).as_bytes(),
        }
    }

    /// Length of the text in bytes.
    pub fn len(&self) -> usize {
        self.bytes(&mut itoa::Buffer::new()).len()
    }

    /// True for the empty string.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A copy of the bytes.
    pub fn to_vec(self) -> Vec<u8> {
        self.bytes(&mut itoa::Buffer::new()).to_vec()
    }

    /// The value as an integer.
    pub fn int(&self) -> Option<i64> {
        match self {
            Text::Int(n) => Some(*n),
            Text::Bytes(b) => number::parse_i64(b),
        }
    }
}

/// The text of a view that is a string.
pub(crate) fn text<'v>(view: View<'v, Value>) -> Option<Text<'v>> {
    match view {
        View::Str(bytes) => Some(Text::Bytes(bytes)),
        View::Int(n) => Some(Text::Int(n)),
        View::Value(Value::Str(bytes)) => Some(Text::Bytes(bytes)),
        View::Value(_) => None,
    }
}

/// The type of what a view shows.
pub fn kind_of(view: &View<'_, Value>) -> Kind {
    match view {
        View::Value(value) => value.kind(),
        _ => Kind::String,
    }
}

/// Longest integer text that is kept as an integer.
const MAX_INT_TEXT: usize = 20;

impl Ctx<'_> {
    /// The held shard of a key. That a command touches only keys that its row names is a property of the table,
    /// and not holding by now would mean touching data without its lock: there is nothing to do but stop.
    fn shard(&mut self, key: &Key<'_>) -> &mut Shard {
        match self.locks.shard(key.shard) {
            Some(shard) => shard,
            None => panic!("{} touched a key that its row does not name", self.entry.name),
        }
    }

    /// The part of the selected database that holds a key.
    pub(crate) fn data(&mut self, key: &Key<'_>) -> &mut Db {
        let db = self.session.db;
        self.shard(key).db(db)
    }

    /// Where a key is that exists, found once. One whose time is over is removed first; a replica leaves that to its
    /// primary, and hides it.
    fn live(&mut self, db: usize, key: &Key<'_>) -> Option<At> {
        let now = self.worker.now_ms;
        let data = self.shard(key).db(db);
        let at = data.table.locate(key.hash, key.name)?;
        if data.expires == 0 {
            return Some(at);
        }
        let due = data.table.at(at).expire().is_some_and(|at| at <= now);
        if !due || self.mode == Mode::Replay {
            return Some(at);
        }
        // A replica that takes writes of its own removes what they meet.
        if !self.keeps_expired() || self.entry.row.is(WRITE) {
            self.expire_now(db, key);
        }
        None
    }

    /// True when what has expired is hidden and stays where it is: a replica leaves it to its primary, and while CLIENT
    /// PAUSE holds writes back nothing changes.
    fn keeps_expired(&self) -> bool {
        let core = self.core;
        core.replication.link.is_replica() || core.clients.pause.now(self.worker.mono_ms).is_some()
    }

    fn expire_now(&mut self, db: usize, key: &Key<'_>) {
        if self.discard(db, key, self.config().lazyfree_lazy_expire, event::EXPIRED, "expired") {
            self.stats.expired.add(1);
        }
    }

    /// Evicts a key; false when it is not there any more, or `is_worst` does not say so of it.
    pub(crate) fn evict(&mut self, db: usize, name: &[u8], is_worst: impl FnOnce(&Slot) -> bool) -> bool {
        let key = self.key(name);
        let Some(at) = self.live(db, &key) else { return false };
        if !is_worst(&self.shard(&key).db(db).table.at(at)) {
            return false;
        }
        let lazy = self.config().lazyfree_lazy_eviction;
        self.stats.evicted.add(1);
        self.discard(db, &key, lazy, event::EVICTED, "evicted")
    }

    /// The one place where the server decides by itself that a key is gone: removes it, tells the log first, then
    /// everyone.
    fn discard(
        &mut self,
        db: usize,
        key: &Key<'_>,
        lazy: bool,
        class: event::Class,
        event: &'static str,
    ) -> bool {
        let Some(slot) = self.shard(key).remove(db, key) else { return false };
        self.fx.garbage.push(Garbage::Slot(slot));
        self.log_before(db, &[if lazy { b"UNLINK" } else { b"DEL" }, key.name]);
        // The command that found it is not the one that changed it.
        self.touched_by(0, db, 0, key);
        self.notify_in(db, key, class, event);
        true
    }

    /// Removes up to `max` fields of a hash in the selected database whose time is over; the hash goes with its last
    /// one. Tells the log, then everyone.
    pub fn expire_fields(&mut self, key: &Key<'_>, max: usize) {
        let now = self.worker.now_ms;
        if self.data(key).field_expires == 0 {
            return;
        }
        let mut gone: Vec<Vec<u8>> = Vec::new();
        self.drop_fields(key, |hash| {
            hash.expire_due(now, max, |name| gone.push(name.to_vec()));
            gone
        });
    }

    /// [`Ctx::expire_fields`] for those of the named fields whose time is over.
    pub fn expire_named(&mut self, key: &Key<'_>, names: &[&[u8]]) {
        let now = self.worker.now_ms;
        if self.data(key).field_expires == 0 {
            return;
        }
        self.drop_fields(key, |hash| {
            let over = |name: &[u8]| matches!(hash.get(name), Some((_, Some(at))) if at <= now);
            let gone: Vec<Vec<u8>> =
                names.iter().filter(|name| over(name)).map(|name| name.to_vec()).collect();
            gone.iter().for_each(|name| {
                hash.remove(name);
            });
            gone
        });
    }

    /// The time by which the fields of a hash are over: never, while the log is replayed.
    pub fn field_now(&self) -> u64 {
        if self.mode == Mode::Replay { 0 } else { self.worker.now_ms }
    }

    /// Removes what `drop` removes from a hash, if the time of any field is over.
    fn drop_fields(&mut self, key: &Key<'_>, drop: impl FnOnce(&mut Hash) -> Vec<Vec<u8>>) {
        let (db, now) = (self.session.db, self.worker.now_ms);
        let due = match self.peek(key) {
            Some(View::Value(Value::Hash(hash))) => hash.next_expiry().is_some_and(|at| at <= now),
            _ => false,
        };
        if !due || self.mode == Mode::Replay || self.keeps_expired() {
            return;
        }
        self.written = true;
        let (mut gone, mut empty) = (Vec::new(), false);
        if let Some(mut item) = self.shard(key).get_mut(db, key)
            && let Some(Value::Hash(hash)) = item.value_mut()
        {
            gone = drop(hash);
            empty = hash.is_empty();
        }
        if gone.is_empty() {
            return;
        }
        for name in &gone {
            self.log_before(db, &[b"HDEL", key.name, name]);
        }
        self.stats.expired_fields.add(gone.len() as u64);
        self.touched_by(0, db, 0, key);
        self.notify_in(db, key, event::HASH, "hexpired");
        if empty {
            self.remove_emptied(key);
        }
    }

    /// Tells the sweep that fields of a hash have been given an expiry. Call it after every such change.
    pub fn fields_will_expire(&mut self, key: &Key<'_>) {
        let db = self.session.db;
        self.shard(key).mark_fields(db, key);
    }

    /// The value of a key without leaving a trace (TYPE, OBJECT, DEBUG).
    pub fn peek(&mut self, key: &Key<'_>) -> Option<View<'_, Value>> {
        self.peek_in(self.session.db, key)
    }

    /// [`Ctx::peek`] in another database.
    pub fn peek_in(&mut self, db: usize, key: &Key<'_>) -> Option<View<'_, Value>> {
        let at = self.live(db, key)?;
        Some(self.shard(key).db(db).table.at(at).into_view())
    }

    /// A value that the command has looked up before, by `view` or `peek`, and has not changed since. Several can be
    /// held at once this way (SINTER, ZUNION).
    pub fn seen(&self, key: &Key<'_>) -> Option<View<'_, Value>> {
        let item = self.locks.held(key.shard)?.dbs.get(self.session.db)?.get(key)?;
        let hidden = self.keeps_expired()
            && self.mode != Mode::Replay
            && item.expire().is_some_and(|at| at <= self.worker.now_ms);
        (!hidden).then(|| item.into_view())
    }

    /// The whole entry of a key, without leaving a trace.
    pub fn slot(&mut self, key: &Key<'_>) -> Option<ItemRef<'_, Slot>> {
        let at = self.live(self.session.db, key)?;
        Some(self.data(key).table.at(at))
    }

    /// The whole entry of a key, even if its time is over (DEBUG).
    pub fn entry_as_it_is(&mut self, key: &Key<'_>) -> Option<ItemRef<'_, Slot>> {
        self.data(key).get(key)
    }

    /// True when a key of a database is there and has an expiry.
    pub(crate) fn expires_in(&mut self, db: usize, key: &Key<'_>) -> bool {
        self.shard(key).db(db).get(key).is_some_and(|item| item.expire().is_some())
    }

    /// True when the key exists.
    pub fn exists(&mut self, key: &Key<'_>) -> bool {
        self.peek(key).is_some()
    }

    /// Reads a key for the client: counts a hit or miss and marks the key as used.
    pub fn view(&mut self, key: &Key<'_>) -> Option<View<'_, Value>> {
        let at = self.hit(key)?;
        let stamp = self.access_stamp();
        let mut item = self.data(key).table.at_mut(at);
        stamp.apply(&mut item);
        Some(item.into_view())
    }

    /// Looks at a key for the client: counts a hit or miss, and leaves it as used as it was.
    pub fn look(&mut self, key: &Key<'_>) -> Option<ItemRef<'_, Slot>> {
        let at = self.hit(key)?;
        Some(self.data(key).table.at(at))
    }

    /// Where a key is that a client reads: counts a hit or miss.
    fn hit(&mut self, key: &Key<'_>) -> Option<At> {
        let at = self.live(self.session.db, key);
        if at.is_none() {
            self.stats.misses.add(1);
            self.notify(key, event::KEY_MISS, "keymiss");
            return None;
        }
        self.stats.hits.add(1);
        at
    }

    /// Marks a key as used, even for a client that leaves no marks; false when it does not exist.
    pub fn touch(&mut self, key: &Key<'_>) -> bool {
        let Some(at) = self.hit(key) else { return false };
        let stamp = self.any_stamp();
        stamp.apply(&mut self.data(key).table.at_mut(at));
        true
    }

    /// Reads a key's string for the client.
    pub fn string(&mut self, key: &Key<'_>) -> Result<Option<Text<'_>>> {
        match self.view(key) {
            None => Ok(None),
            Some(view) => text(view).map(Some).ok_or(error::WRONG_TYPE),
        }
    }

    /// Reads a key's value of type `T` for the client.
    pub fn read<T: Typed>(&mut self, key: &Key<'_>) -> Result<Option<&T>> {
        match self.view(key) {
            None => Ok(None),
            Some(View::Value(value)) => T::of(value).map(Some).ok_or(error::WRONG_TYPE),
            Some(_) => Err(error::WRONG_TYPE),
        }
    }

    /// A key's string about to be replaced by something that depends on it: no hit, no miss.
    pub fn string_for_update(&mut self, key: &Key<'_>) -> Result<Option<Text<'_>>> {
        match self.peek(key) {
            None => Ok(None),
            Some(view) => text(view).map(Some).ok_or(error::WRONG_TYPE),
        }
    }

    /// A key's value of type `T` without leaving a trace, for commands that look before they write.
    pub fn peek_as<T: Typed>(&mut self, key: &Key<'_>) -> Result<Option<&T>> {
        match self.peek(key) {
            None => Ok(None),
            Some(View::Value(value)) => T::of(value).map(Some).ok_or(error::WRONG_TYPE),
            Some(_) => Err(error::WRONG_TYPE),
        }
    }

    /// A key's value of type `T`, to be changed in place.
    pub fn write<T: Typed>(&mut self, key: &Key<'_>) -> Result<Option<&mut T>> {
        match self.live(self.session.db, key) {
            Some(at) => self.write_at(key, at).map(Some),
            None => Ok(None),
        }
    }

    fn write_at<T: Typed>(&mut self, key: &Key<'_>, at: At) -> Result<&mut T> {
        let db = self.session.db;
        let stamp = self.access_stamp();
        self.written = true;
        let mut item = self.shard(key).at_mut(db, at);
        stamp.apply(&mut item);
        item.into_value_mut().and_then(T::of_mut).ok_or(error::WRONG_TYPE)
    }

    /// A key's value of type `T`, to be changed in place; a new empty one if the key does not exist.
    pub fn create<T: Typed>(&mut self, key: &Key<'_>) -> Result<&mut T> {
        self.create_with(key, T::fresh)
    }

    /// [`Ctx::create`] with the empty value given.
    pub fn create_with<T: Typed>(&mut self, key: &Key<'_>, fresh: impl FnOnce() -> Value) -> Result<&mut T> {
        if let Some(at) = self.live(self.session.db, key) {
            return self.write_at(key, at);
        }
        self.insert(key, fresh(), None);
        self.write::<T>(key)?.ok_or(error::WRONG_TYPE)
    }

    /// Gives a key that does not exist a value.
    pub fn insert(&mut self, key: &Key<'_>, value: Value, expire: Option<u64>) {
        self.insert_in(self.session.db, key, value, expire);
    }

    /// [`Ctx::insert`] in another database.
    pub fn insert_in(&mut self, db: usize, key: &Key<'_>, value: Value, expire: Option<u64>) {
        let slot = Slot::new_value(key.name, value, expire);
        self.insert_slot(db, key, slot);
    }

    /// Enters a whole entry under a key that does not exist.
    pub fn insert_slot(&mut self, db: usize, key: &Key<'_>, slot: Slot) {
        self.place(db, key, slot);
        self.notify_in(db, key, event::NEW, "new");
    }

    /// A replica's own expiring keys are its own to remove.
    fn remember_own(&self, db: usize, key: &Key<'_>, expire: Option<u64>) {
        let link = &self.core.replication.link;
        if expire.is_some() && link.is_replica() && self.mode != Mode::Replay {
            link.remember(db, key.name);
        }
    }

    fn place(&mut self, db: usize, key: &Key<'_>, mut slot: Slot) {
        self.remember_own(db, key, slot.expire());
        slot.set_lru(self.fresh_stamp());
        self.written = true;
        self.shard(key).insert(db, key, slot);
    }

    /// Gives a key a value of any type, replacing what is there.
    pub fn set_value(&mut self, key: &Key<'_>, value: Value, expiry: Expiry) {
        let db = self.session.db;
        let kind = value.kind();
        let old = self.take_slot(db, key);
        let expire = match expiry {
            Expiry::Clear => None,
            Expiry::Keep => old.as_ref().and_then(Slot::expire),
            Expiry::At(at) => Some(at),
        };
        let mut slot = Slot::new_value(key.name, value, expire);
        slot.set_dated(matches!(expiry, Expiry::Keep) && old.as_ref().is_some_and(Slot::dated));
        match old {
            None => self.insert_slot(db, key, slot),
            Some(old) => {
                let old_kind = kind_of(&old.view());
                self.fx.garbage.push(Garbage::Slot(old));
                self.place(db, key, slot);
                self.notify_overwritten(db, key, old_kind, kind);
            }
        }
    }

    /// Publishes that a key got a whole new value.
    pub fn notify_overwritten(&mut self, db: usize, key: &Key<'_>, old: Kind, new: Kind) {
        self.notify_in(db, key, event::OVERWRITTEN, "overwritten");
        if old != new {
            self.notify_in(db, key, event::TYPE_CHANGED, "type_changed");
        }
    }

    /// Gives a key a string, replacing what is there. Integers are recognised.
    pub fn set_string(&mut self, key: &Key<'_>, bytes: &[u8], expiry: Expiry) {
        if let Some(old) = self.set_scalar(key, &Scalar::of(bytes), expiry) {
            self.notify_overwritten(self.session.db, key, old, Kind::String);
        }
    }

    /// Gives a key a string that came of the one that is there. It stays text even if it is an integer's.
    pub fn update_string(&mut self, key: &Key<'_>, bytes: &[u8]) {
        self.set_scalar(key, &Scalar::Str(bytes), Expiry::Keep);
    }

    /// Gives a key an integer that came of the one that is there.
    pub fn update_int(&mut self, key: &Key<'_>, n: i64) {
        self.set_scalar(key, &Scalar::Int(n), Expiry::Keep);
    }

    /// Returns the type of what was there.
    fn set_scalar(&mut self, key: &Key<'_>, scalar: &Scalar<'_>, expiry: Expiry) -> Option<Kind> {
        let db = self.session.db;
        let stamp = self.fresh_stamp();
        self.written = true;
        let now = if self.mode == Mode::Replay { 0 } else { self.worker.now_ms };
        match overwrite(self.shard(key), db, key, scalar, expiry, stamp, now) {
            Found::Replaced(old) => {
                if let Expiry::At(at) = expiry {
                    self.remember_own(db, key, Some(at));
                }
                let kind = old.as_ref().map_or(Kind::String, Value::kind);
                self.fx.garbage.extend(old.map(Garbage::Value));
                return Some(kind);
            }
            Found::Due => self.expire_now(db, key),
            Found::Nothing => {}
        }
        let expire = if let Expiry::At(at) = expiry { Some(at) } else { None };
        let slot = match *scalar {
            Scalar::Int(n) => Slot::new_int(key.name, n, expire),
            Scalar::Str(bytes) if Slot::embeds(bytes.len()) => Slot::new_str(key.name, bytes, expire),
            Scalar::Str(bytes) => Slot::new_value(key.name, Value::Str(bytes.to_vec()), expire),
        };
        self.insert_slot(db, key, slot);
        None
    }

    /// A key's string as a buffer that can grow (APPEND, SETRANGE, SETBIT, PFADD); empty if the key does not exist.
    /// From now on it is kept and reported as "raw".
    pub fn string_buffer(&mut self, key: &Key<'_>) -> Result<&mut Vec<u8>> {
        let db = self.session.db;
        let bytes = match self.peek(key) {
            None => {
                self.insert(key, Value::Str(Vec::new()), None);
                None
            }
            Some(View::Value(Value::Str(_))) => None,
            Some(view) => Some(text(view).ok_or(error::WRONG_TYPE)?.to_vec()),
        };
        let stamp = self.access_stamp();
        self.written = true;
        let Some(mut item) = self.shard(key).get_mut(db, key) else { return Err(error::WRONG_TYPE) };
        if let Some(bytes) = bytes {
            item.set_value(Value::Str(bytes));
        }
        item.set_raw(true);
        stamp.apply(&mut item);
        match item.into_value_mut() {
            Some(Value::Str(bytes)) => Ok(bytes),
            _ => Err(error::WRONG_TYPE),
        }
    }

    /// Removes a key; false when it did not exist.
    pub fn remove(&mut self, key: &Key<'_>) -> bool {
        self.take_slot(self.session.db, key).map(|slot| self.fx.garbage.push(Garbage::Slot(slot))).is_some()
    }

    /// Takes a key's whole entry out.
    pub fn take_slot(&mut self, db: usize, key: &Key<'_>) -> Option<Slot> {
        let at = self.live(db, key)?;
        self.written = true;
        Some(self.shard(key).remove_at(db, at))
    }

    /// Removes a key whose collection has become empty, with its event.
    pub fn remove_emptied(&mut self, key: &Key<'_>) {
        if self.remove(key) {
            self.notify(key, event::GENERIC, "del");
        }
    }

    /// A key's expiry in unix milliseconds; the outer `None` when the key does not exist.
    pub fn expiry(&mut self, key: &Key<'_>) -> Option<Option<u64>> {
        self.slot(key).map(|slot| slot.expire())
    }

    /// Sets or clears a key's expiry; false when the key does not exist.
    pub fn set_expiry(&mut self, key: &Key<'_>, at: Option<u64>) -> bool {
        let db = self.session.db;
        self.written = true;
        self.remember_own(db, key, at);
        self.shard(key).set_expire(db, key, at)
    }

    /// Notes that a key's expiry is a date that a client has named: when the machine's clock is set it stays what it is,
    /// and every other one keeps its distance. Files and replicas hold dates only, and do not say which were meant so.
    pub fn date_expiry(&mut self, key: &Key<'_>) {
        let db = self.session.db;
        if self.mode != Mode::Replay
            && let Some(mut item) = self.shard(key).db(db).table.get_mut(key.hash, key.name)
        {
            item.set_dated(true);
        }
    }

    /// Gives an entry an access mark (RESTORE).
    pub fn set_mark(&mut self, key: &Key<'_>, mark: u32) {
        let db = self.session.db;
        if let Some(mut item) = self.shard(key).get_mut(db, key) {
            item.touch(mark);
        }
    }

    /// How an access marks an entry under the policy in force.
    fn access_stamp(&mut self) -> Stamp {
        if self.session.client.has(crate::client::registry::NO_TOUCH) {
            return Stamp::None;
        }
        self.any_stamp()
    }

    /// [`Ctx::access_stamp`] for any client.
    fn any_stamp(&mut self) -> Stamp {
        if self.config().maxmemory_policy.counts_uses() {
            return Stamp::Lfu {
                minutes: (self.worker.now_ms / 60_000) as u16,
                decay: self.config().lfu_decay_time.into(),
                factor: self.config().lfu_log_factor.into(),
                chance: self.worker.rng.next_u64(),
            };
        }
        Stamp::Lru(self.worker.lru_clock())
    }

    /// The access mark of a new entry.
    fn fresh_stamp(&self) -> u32 {
        if self.config().maxmemory_policy.counts_uses() {
            return lfu::fresh((self.worker.now_ms / 60_000) as u16);
        }
        self.worker.lru_clock()
    }
}

/// What [`overwrite`] met.
enum Found {
    /// No key.
    Nothing,
    /// A key whose time is over; it is still there.
    Due,
    /// A key, with the value that was there if it was one of its own.
    Replaced(Option<Value>),
}

/// Gives an existing key a string or integer in place.
fn overwrite(
    shard: &mut Shard,
    db: usize,
    key: &Key<'_>,
    scalar: &Scalar<'_>,
    expiry: Expiry,
    stamp: u32,
    now: u64,
) -> Found {
    let (old, had, expire) = {
        let Some(mut item) = shard.get_mut(db, key) else { return Found::Nothing };
        let had = item.expire();
        if had.is_some_and(|at| at <= now) {
            return Found::Due;
        }
        let old = match *scalar {
            Scalar::Int(n) => item.set_int(n),
            Scalar::Str(bytes) if Slot::embeds(bytes.len()) => item.set_str(bytes),
            Scalar::Str(bytes) => item.set_value(Value::Str(bytes.to_vec())),
        };
        item.set_lru(stamp);
        let expire = match expiry {
            Expiry::Keep => had,
            Expiry::Clear => None,
            Expiry::At(at) => Some(at),
        };
        if expire != had {
            item.set_expire(expire);
            item.set_mark(expire.is_some());
        }
        (old, had, expire)
    };
    let data = shard.db(db);
    data.expires = data.expires + usize::from(expire.is_some()) - usize::from(had.is_some());
    Found::Replaced(old)
}

/// A string or integer on its way into an entry.
enum Scalar<'a> {
    Int(i64),
    Str(&'a [u8]),
}

impl<'a> Scalar<'a> {
    /// An integer if the text is one as it would be printed.
    fn of(bytes: &'a [u8]) -> Self {
        match number::parse_i64(bytes) {
            Some(n) if bytes.len() <= MAX_INT_TEXT => Scalar::Int(n),
            _ => Scalar::Str(bytes),
        }
    }
}

/// The mark that an access leaves on an entry.
enum Stamp {
    None,
    Lru(u32),
    Lfu { minutes: u16, decay: u64, factor: u64, chance: u64 },
}

impl Stamp {
    fn apply(&self, item: &mut ItemMut<'_, Slot>) {
        let stamp = match *self {
            Stamp::None => return,
            Stamp::Lru(seconds) => seconds,
            Stamp::Lfu { minutes, decay, factor, chance } => {
                lfu::touched(item.lru(), minutes, decay, factor, chance)
            }
        };
        if item.lru() != stamp {
            item.touch(stamp);
        }
    }
}
