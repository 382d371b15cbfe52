//! What is a set? Sorted integers, a listpack, or a table of members.
//!
//! A set starts as integers; the first member that is none makes it packed, and growing past the
//! limits makes it a table. It never goes back, except by [`Set::make_ints`]. OBJECT ENCODING calls
//! the three "intset", "listpack" and "hashtable".
//!
//! Invariants: members are unique; the encoding is the one Redis 8.2 would have after the same
//! commands. Commands delete a key whose set became empty.

use crate::ds::alloc::sampled;
use crate::ds::intset::{self, Intset};
use crate::ds::listpack::{self, Corrupt, Listpack, LpValue};
use crate::ds::table::{self, Table};
use crate::ds::thin::Member;
use crate::util::hash::Seed;
use crate::util::number::parse_i64;
use crate::util::rng::Rng;
use crate::value::limits::Limits;
use std::mem;

/// Beyond this, members are not kept as sorted integers whatever the setting says: inserting moves
/// half of them.
const MOST_INTS: usize = 1 << 26;

/// When no more than a fifth as many members stay as are popped, it is the members that stay which are drawn.
const FEW_REMAIN: usize = 5;

/// A set, 16 bytes.
pub enum Set {
    /// Integers, sorted.
    Ints(Intset),
    /// Few and short members, in one allocation.
    Packed(Listpack),
    /// Any number of members.
    Table(Box<Table<Member>>),
}

const _: () = assert!(size_of::<Set>() == 16);

impl Default for Set {
    fn default() -> Self {
        Self::new()
    }
}

impl Set {
    /// Without members; integers as long as only integers are added.
    pub fn new() -> Self {
        Set::Ints(Intset::new())
    }

    /// Without members, in the encoding Redis chooses before it adds `hint` members, of which this
    /// is the first.
    pub fn for_member(first: &[u8], hint: usize, limits: &Limits, seed: Seed) -> Self {
        if hint <= limits.set_max_intset_entries && parse_i64(first).is_some() {
            Set::Ints(Intset::new())
        } else if hint <= limits.set_max_listpack_entries {
            Set::Packed(Listpack::new())
        } else {
            Set::Table(Box::new(Table::new(seed)))
        }
    }

    /// Told that `hint` members are about to be added, becomes a table at once if so many would not fit.
    pub fn prepare(&mut self, hint: usize, limits: &Limits, seed: Seed) {
        let too_many = match self {
            Set::Ints(_) => hint > limits.set_max_intset_entries,
            Set::Packed(_) => hint > limits.set_max_listpack_entries,
            Set::Table(_) => false,
        };
        if too_many {
            self.make_table(seed);
        }
    }

    /// Takes over a listpack from outside (RDB, RESTORE). It becomes a table if it is past the limits.
    ///
    /// # Errors
    /// [`Corrupt`] if a member is there twice.
    pub fn from_listpack(lp: Listpack, limits: &Limits, seed: Seed) -> Result<Self, Corrupt> {
        if has_duplicates(lp.iter()) {
            return Err(Corrupt);
        }
        let past = lp.len() > limits.set_max_listpack_entries;
        let mut set = Set::Packed(lp);
        if past {
            set.make_table(seed);
        }
        Ok(set)
    }

    /// Takes over an intset from outside. It becomes a table if it is past the limit.
    pub fn from_intset(ints: Intset, limits: &Limits, seed: Seed) -> Self {
        let mut set = Set::Ints(ints);
        set.check_ints(limits, seed);
        set
    }

    /// A copy in the same encoding.
    pub fn duplicate(&self) -> Self {
        match self {
            Set::Ints(ints) => Set::Ints(ints.clone()),
            Set::Packed(lp) => Set::Packed(lp.clone()),
            Set::Table(table) => {
                let mut copy = Box::new(Table::new(table.seed()));
                for member in table.iter() {
                    let bytes = member.bytes();
                    copy.insert(table.hash(bytes), Member::new(bytes), false);
                }
                Set::Table(copy)
            }
        }
    }

    /// The name OBJECT ENCODING answers.
    pub fn encoding(&self) -> &'static str {
        match self {
            Set::Ints(_) => "intset",
            Set::Packed(_) => "listpack",
            Set::Table(_) => "hashtable",
        }
    }

    // ---- encodings ----

    fn make_table(&mut self, seed: Seed) {
        if matches!(self, Set::Table(_)) {
            return;
        }
        let mut table = Box::new(Table::new(seed));
        let mut buf = itoa::Buffer::new();
        for member in self.iter() {
            let bytes = member.as_bytes(&mut buf);
            table.insert(table.hash(bytes), Member::new(bytes), false);
        }
        *self = Set::Table(table);
    }

    fn check_ints(&mut self, limits: &Limits, seed: Seed) {
        if let Set::Ints(ints) = self
            && ints.len() > limits.set_max_intset_entries.min(MOST_INTS)
        {
            self.make_table(seed);
        }
    }

    /// Makes it a set of integers if all members are integers and no more than the limit: what
    /// SINTERSTORE does to its result.
    pub fn make_ints(&mut self, limits: &Limits) {
        if self.len() > limits.set_max_intset_entries.min(MOST_INTS) {
            return;
        }
        if let Some(ints) = self.iter().map(LpValue::as_int).collect::<Option<Intset>>() {
            *self = Set::Ints(ints);
        }
    }

    /// Makes room for a member that is no integer: the set of integers becomes packed or a table.
    fn leave_ints(&mut self, member: &[u8], limits: &Limits, seed: Seed) {
        let Set::Ints(ints) = self else { return };
        let digits = |i: Option<i64>| i.map_or(0, |i| LpValue::Int(i).len_as_text());
        let longest =
            digits(ints.get(0)).max(digits(ints.len().checked_sub(1).and_then(|last| ints.get(last))));
        if ints.len() < limits.set_max_listpack_entries
            && member.len().max(longest) <= limits.set_max_listpack_value
        {
            let mut lp = Listpack::new();
            ints.iter().for_each(|i| lp.push_back_int(i));
            *self = Set::Packed(lp);
        } else {
            self.make_table(seed);
        }
    }

    // ---- changing ----

    /// Adds a member; says whether it is new.
    pub fn add(&mut self, member: &[u8], limits: &Limits, seed: Seed) -> bool {
        match self {
            Set::Table(table) => {
                let hash = table.hash(member);
                match table.entry(hash, member) {
                    table::Slot::Occupied(_) => false,
                    table::Slot::Vacant(place) => {
                        place.insert(Member::new(member), false);
                        true
                    }
                }
            }
            Set::Packed(lp) => {
                if lp.find(member, 0).is_some() {
                    return false;
                }
                let fits = lp.len() < limits.set_max_listpack_entries
                    && member.len() <= limits.set_max_listpack_value
                    && lp.fits(member.len());
                if fits {
                    lp.push_back(member);
                    return true;
                }
                self.make_table(seed);
                self.add(member, limits, seed)
            }
            Set::Ints(ints) => match parse_i64(member) {
                Some(i) => {
                    let new = ints.insert(i);
                    self.check_ints(limits, seed);
                    new
                }
                None => {
                    self.leave_ints(member, limits, seed);
                    match self {
                        // Checked by `leave_ints`; the limit on entries is looked at before adding.
                        Set::Packed(lp) => lp.push_back(member),
                        _ => return self.add(member, limits, seed),
                    }
                    true
                }
            },
        }
    }

    /// [`Set::add`] of a member of another set.
    pub fn add_value(&mut self, value: LpValue<'_>, limits: &Limits, seed: Seed) -> bool {
        match (&mut *self, value) {
            (Set::Ints(ints), LpValue::Int(i)) => {
                let new = ints.insert(i);
                self.check_ints(limits, seed);
                new
            }
            _ => self.add(value.as_bytes(&mut itoa::Buffer::new()), limits, seed),
        }
    }

    /// Removes a member; says whether it was there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match self {
            Set::Ints(ints) => parse_i64(member).is_some_and(|i| ints.remove(i)),
            Set::Packed(lp) => lp.find(member, 0).map(|pos| lp.remove(pos)).is_some(),
            Set::Table(table) => table.remove(table.hash(member), member).is_some(),
        }
    }

    /// Removes a random member and gives it.
    pub fn pop_random(&mut self, rng: &mut Rng) -> Option<Vec<u8>> {
        match self {
            Set::Packed(lp) => {
                let pos = lp.seek(rng.index(lp.len()))?;
                let member = lp.value(pos)?.to_vec();
                lp.remove(pos);
                Some(member)
            }
            _ => {
                let member = self.random(rng)?.to_vec();
                self.remove(&member);
                Some(member)
            }
        }
    }

    /// Removes `n` random members, which must be fewer than there are, after showing each to `f`. A table
    /// of which little is left starts again from a packed set, as in Redis.
    pub fn pop_many(
        &mut self,
        n: usize,
        rng: &mut Rng,
        limits: &Limits,
        seed: Seed,
        mut f: impl FnMut(LpValue<'_>),
    ) {
        let remaining = self.len().saturating_sub(n);
        if let Set::Packed(lp) = self {
            let (mut kept, mut left) = (Listpack::new(), n);
            for (i, value) in lp.iter().enumerate() {
                // Taken with the chance that makes every choice of n equally likely.
                if rng.index(remaining + n - i) < left {
                    left -= 1;
                    f(value);
                } else {
                    kept.push_back(value.as_bytes(&mut itoa::Buffer::new()));
                }
            }
            *lp = kept;
        } else if remaining.saturating_mul(FEW_REMAIN) > n {
            for member in (0..n).map_while(|_| self.pop_random(rng)) {
                f(LpValue::Str(&member));
            }
        } else {
            let mut kept = if let Set::Ints(_) = self { Set::new() } else { Set::Packed(Listpack::new()) };
            for member in (0..remaining).map_while(|_| self.pop_random(rng)) {
                kept.add(&member, limits, seed);
            }
            self.iter().for_each(f);
            *self = kept;
        }
    }

    /// Frees about `members` members' worth of memory; returns whether all is freed.
    pub fn drain_step(&mut self, members: usize) -> bool {
        match self {
            Set::Table(table) => table.drain_step(members),
            _ => {
                drop(mem::take(self));
                true
            }
        }
    }

    // ---- reading ----

    /// Number of members.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Set::Ints(ints) => ints.len(),
            Set::Packed(lp) => lp.len(),
            Set::Table(table) => table.len(),
        }
    }

    /// Has it no members?
    pub fn is_empty(&self) -> bool {
        match self {
            Set::Packed(lp) => lp.is_empty(),
            _ => self.len() == 0,
        }
    }

    /// Is this a member?
    pub fn contains(&self, member: &[u8]) -> bool {
        match self {
            Set::Ints(ints) => parse_i64(member).is_some_and(|i| ints.contains(i)),
            Set::Packed(lp) => lp.find(member, 0).is_some(),
            Set::Table(table) => table.get(table.hash(member), member).is_some(),
        }
    }

    /// Is this member of another set a member?
    pub fn contains_value(&self, value: LpValue<'_>) -> bool {
        match (self, value) {
            (Set::Ints(ints), LpValue::Int(i)) => ints.contains(i),
            _ => self.contains(value.as_bytes(&mut itoa::Buffer::new())),
        }
    }

    /// [`Set::remove`] of a member of another set.
    pub fn remove_value(&mut self, value: LpValue<'_>) -> bool {
        match (&mut *self, value) {
            (Set::Ints(ints), LpValue::Int(i)) => ints.remove(i),
            _ => self.remove(value.as_bytes(&mut itoa::Buffer::new())),
        }
    }

    /// A random member, each equally likely.
    pub fn random(&self, rng: &mut Rng) -> Option<LpValue<'_>> {
        match self {
            Set::Ints(ints) => ints.get(rng.index(ints.len())).map(LpValue::Int),
            Set::Packed(lp) => lp.get(rng.index(lp.len())),
            Set::Table(table) => table.random(|| rng.next_u64()).map(|item| LpValue::Str(item.into_key())),
        }
    }

    /// All members: integers ascending, packed ones in order of addition, others in any order.
    pub fn iter(&self) -> Iter<'_> {
        Iter(match self {
            Set::Ints(ints) => Inner::Ints(ints.iter()),
            Set::Packed(lp) => Inner::Packed(lp.iter()),
            Set::Table(table) => Inner::Table(table.iter()),
        })
    }

    /// Visits members for SSCAN: at least `count` of them, a small set at once. Starts from and
    /// ends with cursor 0. A member that stays is visited whatever else comes and goes.
    pub fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(LpValue<'_>)) -> u64 {
        let Set::Table(table) = self else {
            self.iter().for_each(visit);
            return 0;
        };
        let (mut cursor, mut seen, mut steps) = (cursor, 0, 0usize);
        loop {
            cursor = table.scan(cursor, &mut |member| {
                seen += 1;
                visit(LpValue::Str(member.bytes()));
            });
            steps += 1;
            // Empty buckets are not members: a sparse table must not hold a caller for long.
            if cursor == 0 || seen >= count || steps >= count.saturating_mul(10) {
                return cursor;
            }
        }
    }

    /// Bytes taken from the allocator, without these 16. Members of a table are estimated from
    /// `samples` of them (0: all are counted).
    pub fn memory(&self, samples: usize) -> usize {
        match self {
            Set::Ints(ints) => ints.memory(),
            Set::Packed(lp) => lp.memory(),
            Set::Table(table) => {
                let members = sampled(table.iter().map(|m| m.memory()), table.len(), samples);
                size_of::<Table<Member>>() + table.memory() + members
            }
        }
    }
}

impl Clone for Set {
    fn clone(&self) -> Self {
        match self {
            Set::Ints(ints) => Set::Ints(ints.clone()),
            Set::Packed(lp) => Set::Packed(lp.clone()),
            Set::Table(table) => {
                let mut copy = Box::new(Table::new(table.seed()));
                for member in table.iter() {
                    let bytes = member.bytes();
                    copy.insert(copy.hash(bytes), Member::new(bytes), false);
                }
                Set::Table(copy)
            }
        }
    }
}

/// Is a text there twice?
pub(crate) fn has_duplicates<'a>(values: impl Iterator<Item = LpValue<'a>>) -> bool {
    // Text of a crafted listpack may be a number kept as a string: compare what they mean.
    let mut values: Vec<LpValue<'a>> = values
        .map(|value| match value {
            LpValue::Str(s) => LpValue::of(s),
            int => int,
        })
        .collect();
    values.sort_unstable();
    values.windows(2).any(|pair| pair[0] == pair[1])
}

enum Inner<'a> {
    Ints(intset::Iter<'a>),
    Packed(listpack::Iter<'a>),
    Table(table::Iter<'a, Member>),
}

/// Members of a set.
pub struct Iter<'a>(Inner<'a>);

impl<'a> Iterator for Iter<'a> {
    type Item = LpValue<'a>;

    #[inline]
    fn next(&mut self) -> Option<LpValue<'a>> {
        match &mut self.0 {
            Inner::Ints(iter) => iter.next().map(LpValue::Int),
            Inner::Packed(iter) => iter.next(),
            Inner::Table(iter) => iter.next().map(|item| LpValue::Str(item.into_key())),
        }
    }
}

#[cfg(test)]
mod tests;
