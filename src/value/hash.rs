//! What is a hash? A listpack of pairs, a listpack of triples once fields may expire, or a table.
//!
//! ```text
//! Packed    [ field value field value ... ]                      in order of addition
//! Expiring  [ field value expiry field value expiry ... ]        ascending by expiry, 0 (never) last
//! Table     field -> (value, expiry)
//! ```
//!
//! A hash grown past the limits, or holding a longer field or value, becomes a table and stays
//! one. OBJECT ENCODING calls the three "listpack", "listpackex" and "hashtable".
//!
//! Invariants: fields are unique; the encoding is the one Redis 8.2 would have after the same
//! commands. Expiries are unix milliseconds, never 0. A field past its expiry is still here until
//! [`Hash::expire_due`] removes it: readers who must not see it compare with their clock. Commands
//! delete a key whose hash became empty.

use crate::ds::alloc::sampled;
use crate::ds::listpack::{self, Corrupt, Listpack, LpValue, Pos};
use crate::ds::table::{self, Table};
use crate::ds::thin::Pair;
use crate::util::hash::Seed;
use crate::util::rng::Rng;
use crate::value::limits::Limits;
use crate::value::set::has_duplicates;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::mem;

/// A hash, 16 bytes.
#[derive(Clone)]
pub enum Hash {
    /// Few short fields, none of which ever had an expiry.
    Packed(Listpack),
    /// Few short fields that may expire.
    Expiring(Listpack),
    /// Any number of fields.
    Table(Box<Fields>),
}

const _: () = assert!(size_of::<Hash>() == 16);

/// A field as it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its name.
    pub name: LpValue<'a>,
    /// Its value.
    pub value: LpValue<'a>,
    /// When it expires, in unix milliseconds.
    pub expire: Option<u64>,
}

impl Field<'_> {
    /// True when its time is over.
    pub fn is_over(&self, now: u64) -> bool {
        self.expire.is_some_and(|at| at <= now)
    }
}

/// The fields of a big hash, with those that expire in order.
pub struct Fields {
    table: Table<Pair>,
    /// (expiry, place in the table) of every field that has an expiry, and of some that had: an
    /// entry is believed only when a field that is due is found at the place.
    due: BinaryHeap<Reverse<(u64, u64)>>,
    /// Fields that have an expiry.
    expiring: usize,
}

/// Fields that are looked at in one go when all of them are.
const SCAN_STEP: usize = 64;

impl Fields {
    fn new(seed: Seed) -> Self {
        Fields { table: Table::new(seed), due: BinaryHeap::new(), expiring: 0 }
    }

    /// Number of fields.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Brings a field into the cache; see [`Table::prefetch_step`].
    pub(super) fn prefetch(&self, field: &[u8], step: u32) {
        self.table.prefetch_step(field, step);
    }

    /// Adds a field that is not there.
    fn insert_new(&mut self, field: &[u8], value: &[u8], expire: Option<u64>) {
        let hash = self.table.hash(field);
        self.table.insert(hash, Pair::new(field, value, expire), false);
        if let Some(at) = expire {
            self.expiring += 1;
            self.note(at, hash);
        }
    }

    /// Remembers an expiry; forgets outdated ones when they are the most.
    fn note(&mut self, at: u64, hash: u64) {
        self.due.push(Reverse((at, Table::<Pair>::position(hash))));
        if self.due.len() > 2 * self.expiring + 64 {
            let live = self.table.iter().filter_map(|pair| {
                let place = Table::<Pair>::position(self.table.hash(pair.field()));
                pair.expire().map(|at| Reverse((at, place)))
            });
            self.due = live.collect();
        }
    }

    fn set(&mut self, field: &[u8], value: &[u8], keep_expiry: bool) -> bool {
        match self.table.entry(self.table.hash(field), field) {
            table::Slot::Occupied(mut pair) => {
                if keep_expiry || pair.expire().is_none() {
                    pair.set_value(value);
                } else {
                    *pair = Pair::new(field, value, None);
                    self.expiring -= 1;
                }
                false
            }
            table::Slot::Vacant(place) => {
                place.insert(Pair::new(field, value, None), false);
                true
            }
        }
    }

    /// Changes an expiry; says whether there is such a field, and what it had.
    fn set_expire(&mut self, field: &[u8], expire: Option<u64>) -> Option<Option<u64>> {
        let hash = self.table.hash(field);
        let mut pair = self.table.get_mut(hash, field)?;
        let old = pair.expire();
        if old == expire {
            return Some(old);
        }
        pair.set_expire(expire);
        drop(pair);
        self.expiring = self.expiring + usize::from(expire.is_some()) - usize::from(old.is_some());
        if let Some(at) = expire {
            self.note(at, hash);
        }
        Some(old)
    }

    fn remove(&mut self, field: &[u8]) -> bool {
        let Some(pair) = self.table.remove(self.table.hash(field), field) else { return false };
        self.expiring -= usize::from(pair.expire().is_some());
        true
    }

    fn expire_due(&mut self, now: u64, max: usize, mut removed: impl FnMut(LpValue<'_>)) -> usize {
        let mut n = 0;
        while n < max
            && let Some(Reverse((at, place))) = self.due.peek().copied()
            && at <= now
        {
            self.due.pop();
            let mut left_over = false;
            self.table.scan_mut(place, &mut |pair| {
                if pair.expire().is_none_or(|at| at > now) {
                    return;
                }
                if n == max {
                    left_over = true;
                    return;
                }
                removed(LpValue::Str(pair.field()));
                pair.remove();
                n += 1;
            });
            if left_over {
                self.due.push(Reverse((at, place)));
            }
        }
        self.expiring -= n;
        if self.expiring == 0 {
            self.due = BinaryHeap::new();
        }
        n
    }
}

impl Clone for Fields {
    fn clone(&self) -> Self {
        let mut copy = Fields::new(self.table.seed());
        for pair in self.table.iter() {
            copy.insert_new(pair.field(), pair.value(), pair.expire());
        }
        copy
    }
}

impl Default for Hash {
    fn default() -> Self {
        Self::new()
    }
}

/// The expiry as a triple keeps it.
fn stored(expire: Option<u64>) -> LpValue<'static> {
    LpValue::Int(expire.map_or(0, |at| i64::try_from(at).unwrap_or(i64::MAX)))
}

/// What the third of a triple means. `None` if it means nothing.
fn expiry(stored: LpValue<'_>) -> Option<Option<u64>> {
    match stored {
        LpValue::Int(0) => Some(None),
        LpValue::Int(at) => u64::try_from(at).ok().map(Some),
        LpValue::Str(_) => None,
    }
}

/// The next field of a listpack of pairs or triples.
#[inline]
fn next_packed<'a>(iter: &mut listpack::Iter<'a>, triples: bool) -> Option<Field<'a>> {
    let (name, value) = (iter.next()?, iter.next()?);
    let expire = if triples { expiry(iter.next()?)? } else { None };
    Some(Field { name, value, expire })
}

/// Where a triple with this expiry belongs: before the first that does not expire earlier.
fn place_for(lp: &Listpack, at: u64) -> Pos {
    let mut iter = lp.iter();
    loop {
        let pos = iter.pos();
        match next_packed(&mut iter, true) {
            Some(field) if field.expire.is_some_and(|other| other < at) => {}
            Some(_) => return pos,
            None => return lp.end(),
        }
    }
}

/// Moves the triple at `pos` to where its new expiry belongs.
fn move_triple(lp: &mut Listpack, pos: Pos, expire: Option<u64>) {
    let mut iter = lp.iter_from(pos);
    let Some(field) = next_packed(&mut iter, true) else { return };
    let (name, value) = (field.name.to_vec(), field.value.to_vec());
    lp.remove_n(pos, 3);
    let to = expire.map_or(lp.end(), |at| place_for(lp, at));
    lp.insert_values(to, &[LpValue::of(&name), LpValue::of(&value), stored(expire)]);
}

impl Hash {
    /// Without fields.
    pub fn new() -> Self {
        Hash::Packed(Listpack::new())
    }

    /// Takes over a listpack from outside (RDB, RESTORE): of pairs, or of `triples` with expiries.
    /// It becomes a table if it has more fields than the limit.
    ///
    /// # Errors
    /// [`Corrupt`] unless fields are whole, unique, and in order of expiry.
    pub fn from_listpack(lp: Listpack, triples: bool, limits: &Limits, seed: Seed) -> Result<Self, Corrupt> {
        let stride = if triples { 3 } else { 2 };
        let count = lp.len() / stride;
        let fields = || lp.iter().step_by(stride);
        let mut iter = lp.iter();
        let mut earlier = 0;
        for _ in 0..count {
            let at = next_packed(&mut iter, triples).ok_or(Corrupt)?.expire.unwrap_or(u64::MAX);
            if at < earlier {
                return Err(Corrupt);
            }
            earlier = at;
        }
        if !lp.len().is_multiple_of(stride) || has_duplicates(fields()) {
            return Err(Corrupt);
        }
        let mut hash = if triples { Hash::Expiring(lp) } else { Hash::Packed(lp) };
        if count > limits.hash_max_listpack_entries {
            hash.make_table(seed);
        }
        Ok(hash)
    }

    /// The name OBJECT ENCODING answers.
    pub fn encoding(&self) -> &'static str {
        match self {
            Hash::Packed(_) => "listpack",
            Hash::Expiring(_) => "listpackex",
            Hash::Table(_) => "hashtable",
        }
    }

    // ---- encodings ----

    fn make_table(&mut self, seed: Seed) {
        if matches!(self, Hash::Table(_)) {
            return;
        }
        let mut fields = Box::new(Fields::new(seed));
        let (mut a, mut b) = (itoa::Buffer::new(), itoa::Buffer::new());
        for field in self.iter() {
            fields.insert_new(field.name.as_bytes(&mut a), field.value.as_bytes(&mut b), field.expire);
        }
        *self = Hash::Table(fields);
    }

    /// Told that so many fields are about to be set, the longest field or value of which has
    /// `longest` bytes, becomes a table at once if they would not fit.
    pub fn prepare(&mut self, fields: usize, longest: usize, limits: &Limits, seed: Seed) {
        if fields > limits.hash_max_listpack_entries || longest > limits.hash_max_listpack_value {
            self.make_table(seed);
        }
    }

    /// Makes room for expiries; what HEXPIRE and its kin do even before they find no such field.
    pub fn allow_expiry(&mut self) {
        if let Hash::Packed(pairs) = self {
            let mut triples = Listpack::new();
            let mut iter = pairs.iter();
            while let Some(Field { name, value, .. }) = next_packed(&mut iter, false) {
                triples.insert_values(triples.end(), &[name, value, stored(None)]);
            }
            *self = Hash::Expiring(triples);
        }
    }

    fn check_len(&mut self, limits: &Limits, seed: Seed) {
        if !matches!(self, Hash::Table(_)) && self.len() > limits.hash_max_listpack_entries {
            self.make_table(seed);
        }
    }

    // ---- changing ----

    /// Sets a field; says whether it is new. An expiry it had goes, unless `keep_expiry`.
    pub fn set(&mut self, name: &[u8], value: &[u8], keep_expiry: bool, limits: &Limits, seed: Seed) -> bool {
        if let Hash::Packed(lp) | Hash::Expiring(lp) = self
            && (name.len().max(value.len()) > limits.hash_max_listpack_value
                || !lp.fits(name.len().saturating_add(value.len())))
        {
            self.make_table(seed);
        }
        match self {
            Hash::Table(fields) => return fields.set(name, value, keep_expiry),
            Hash::Packed(lp) => match lp.find(name, 1) {
                Some(pos) => {
                    if let Some(at) = lp.next(pos) {
                        lp.replace(at, value);
                    }
                    return false;
                }
                None => lp.insert_values(lp.end(), &[LpValue::of(name), LpValue::of(value)]),
            },
            Hash::Expiring(lp) => match lp.find(name, 2) {
                Some(pos) => {
                    if let Some(at) = lp.next(pos) {
                        lp.replace(at, value);
                    }
                    let expires =
                        next_packed(&mut lp.iter_from(pos), true).is_some_and(|f| f.expire.is_some());
                    if expires && !keep_expiry {
                        move_triple(lp, pos, None);
                    }
                    return false;
                }
                None => lp.insert_values(lp.end(), &[LpValue::of(name), LpValue::of(value), stored(None)]),
            },
        };
        self.check_len(limits, seed);
        true
    }

    /// Removes a field; says whether it was there.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        match self {
            Hash::Packed(lp) => lp.find(name, 1).map(|pos| lp.remove_n(pos, 2)).is_some(),
            Hash::Expiring(lp) => lp.find(name, 2).map(|pos| lp.remove_n(pos, 3)).is_some(),
            Hash::Table(fields) => fields.remove(name),
        }
    }

    /// Frees about `fields` fields' worth of memory; returns whether all is freed.
    pub fn drain_step(&mut self, fields: usize) -> bool {
        match self {
            Hash::Table(table) => {
                table.due = BinaryHeap::new();
                table.expiring = 0;
                table.table.drain_step(fields)
            }
            _ => {
                drop(mem::take(self));
                true
            }
        }
    }

    // ---- expiry ----

    /// Sets when a field expires, in unix milliseconds (0 counts as 1); says whether there is such a field.
    pub fn expire_field(&mut self, name: &[u8], at: u64) -> bool {
        self.allow_expiry();
        self.change_expiry(name, Some(at.max(1))).is_some()
    }

    /// Moves the expiry of every field that has one: `to` is given the old one, in unix milliseconds.
    pub fn move_expiries(&mut self, to: impl Fn(u64) -> u64) {
        let mut expiring: Vec<(Vec<u8>, u64)> = Vec::new();
        let mut cursor = 0;
        loop {
            cursor = self.scan(cursor, SCAN_STEP, |field| {
                expiring.extend(field.expire.map(|at| (field.name.to_vec(), at)));
            });
            if cursor == 0 {
                break;
            }
        }
        for (name, at) in expiring {
            self.expire_field(&name, to(at));
        }
    }

    /// Takes a field's expiry away; says whether it had one.
    pub fn persist_field(&mut self, name: &[u8]) -> bool {
        self.change_expiry(name, None).flatten().is_some()
    }

    /// The old expiry, if there is such a field.
    fn change_expiry(&mut self, name: &[u8], expire: Option<u64>) -> Option<Option<u64>> {
        match self {
            Hash::Packed(lp) => lp.find(name, 1).map(|_| None),
            Hash::Expiring(lp) => {
                let pos = lp.find(name, 2)?;
                let old = next_packed(&mut lp.iter_from(pos), true)?.expire;
                if (old, expire) != (None, None) {
                    move_triple(lp, pos, expire);
                }
                Some(old)
            }
            Hash::Table(fields) => fields.set_expire(name, expire),
        }
    }

    /// Removes up to `max` fields whose expiry is not after `now`, showing each name to `removed`
    /// first. Gives how many there were.
    pub fn expire_due(&mut self, now: u64, max: usize, mut removed: impl FnMut(LpValue<'_>)) -> usize {
        match self {
            Hash::Packed(_) => 0,
            Hash::Expiring(lp) => {
                let mut iter = lp.iter();
                let due = std::iter::from_fn(|| next_packed(&mut iter, true))
                    .take_while(|field| field.expire.is_some_and(|at| at <= now))
                    .take(max);
                let n = due.map(|field| removed(field.name)).count();
                if let Some(first) = lp.first() {
                    lp.remove_n(first, 3 * n);
                }
                n
            }
            Hash::Table(fields) => fields.expire_due(now, max, removed),
        }
    }

    /// No field expires before this time (unix milliseconds); `None` if none has an expiry. Exact
    /// in a packed hash; in a table it may be the time of a field that was removed or changed since.
    pub fn next_expiry(&self) -> Option<u64> {
        match self {
            Hash::Packed(_) => None,
            Hash::Expiring(lp) => next_packed(&mut lp.iter(), true)?.expire,
            Hash::Table(fields) if fields.expiring == 0 => None,
            Hash::Table(fields) => fields.due.peek().map(|Reverse((at, _))| *at),
        }
    }

    // ---- reading ----

    /// Number of fields, those past their expiry included.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Hash::Packed(lp) => lp.len() / 2,
            Hash::Expiring(lp) => lp.len() / 3,
            Hash::Table(fields) => fields.table.len(),
        }
    }

    /// Has it no fields?
    pub fn is_empty(&self) -> bool {
        match self {
            Hash::Packed(lp) | Hash::Expiring(lp) => lp.is_empty(),
            Hash::Table(fields) => fields.table.is_empty(),
        }
    }

    /// A field's value and expiry.
    pub fn get(&self, name: &[u8]) -> Option<(LpValue<'_>, Option<u64>)> {
        let field = match self {
            Hash::Packed(lp) => next_packed(&mut lp.iter_from(lp.find(name, 1)?), false)?,
            Hash::Expiring(lp) => next_packed(&mut lp.iter_from(lp.find(name, 2)?), true)?,
            Hash::Table(fields) => from_parts(fields.table.get(fields.table.hash(name), name)?.into_parts()),
        };
        Some((field.value, field.expire))
    }

    /// The value of a field whose time is not over.
    pub fn live(&self, name: &[u8], now: u64) -> Option<LpValue<'_>> {
        self.get(name).filter(|(_, at)| at.is_none_or(|at| at > now)).map(|(value, _)| value)
    }

    /// Number of fields whose time is not over.
    pub fn live_len(&self, now: u64) -> usize {
        if self.next_expiry().is_none_or(|at| at > now) {
            return self.len();
        }
        self.iter().filter(|field| !field.is_over(now)).count()
    }

    /// A random field, each equally likely.
    pub fn random(&self, rng: &mut Rng) -> Option<Field<'_>> {
        match self {
            Hash::Packed(lp) => {
                let pos = lp.seek(2 * rng.index(lp.len() / 2))?;
                next_packed(&mut lp.iter_from(pos), false)
            }
            Hash::Expiring(lp) => {
                let pos = lp.seek(3 * rng.index(lp.len() / 3))?;
                next_packed(&mut lp.iter_from(pos), true)
            }
            Hash::Table(fields) => {
                fields.table.random(|| rng.next_u64()).map(|pair| from_parts(pair.into_parts()))
            }
        }
    }

    /// All fields.
    pub fn iter(&self) -> Iter<'_> {
        Iter(match self {
            Hash::Packed(lp) => Inner::Packed(lp.iter(), false),
            Hash::Expiring(lp) => Inner::Packed(lp.iter(), true),
            Hash::Table(fields) => Inner::Table(fields.table.iter()),
        })
    }

    /// Visits fields for HSCAN: at least `count` of them, a packed hash at once. Starts from and
    /// ends with cursor 0. A field that stays is visited whatever else comes and goes.
    pub fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(Field<'_>)) -> u64 {
        let Hash::Table(fields) = self else {
            self.iter().for_each(visit);
            return 0;
        };
        let (mut cursor, mut seen, mut steps) = (cursor, 0, 0usize);
        loop {
            cursor = fields.table.scan(cursor, &mut |pair| {
                seen += 1;
                visit(from_parts((pair.field(), pair.value(), pair.expire())));
            });
            steps += 1;
            // Empty buckets are not fields: a sparse table must not hold a caller for long.
            if cursor == 0 || seen >= count || steps >= count.saturating_mul(10) {
                return cursor;
            }
        }
    }

    /// Bytes taken from the allocator, without these 16. Fields of a table are estimated from
    /// `samples` of them (0: all are counted).
    pub fn memory(&self, samples: usize) -> usize {
        match self {
            Hash::Packed(lp) | Hash::Expiring(lp) => lp.memory(),
            Hash::Table(fields) => {
                let table = &fields.table;
                let due = fields.due.capacity() * size_of::<(u64, u64)>();
                let pairs = sampled(table.iter().map(|pair| pair.memory()), table.len(), samples);
                size_of::<Fields>() + table.memory() + due + pairs
            }
        }
    }
}

fn from_parts<'a>((name, value, expire): (&'a [u8], &'a [u8], Option<u64>)) -> Field<'a> {
    Field { name: LpValue::Str(name), value: LpValue::Str(value), expire }
}

enum Inner<'a> {
    /// Whether of triples.
    Packed(listpack::Iter<'a>, bool),
    Table(table::Iter<'a, Pair>),
}

/// Fields of a hash.
pub struct Iter<'a>(Inner<'a>);

impl<'a> Iterator for Iter<'a> {
    type Item = Field<'a>;

    #[inline]
    fn next(&mut self) -> Option<Field<'a>> {
        match &mut self.0 {
            Inner::Packed(iter, triples) => next_packed(iter, *triples),
            Inner::Table(iter) => iter.next().map(|pair| from_parts(pair.into_parts())),
        }
    }
}

#[cfg(test)]
mod tests;
