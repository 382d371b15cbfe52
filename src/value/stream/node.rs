//! How are some dozens of stream entries kept in one listpack? In Redis's layout, so that an RDB
//! file holds nodes as they are.
//!
//! ```text
//! node   | count | deleted | n | field 1 .. field n | 0 | entry | entry | ..
//! entry  | flags | ms | seq | value 1 .. value n | pieces |                       same fields
//!        | flags | ms | seq | m | field 1 | value 1 .. value m | pieces |         others
//! ```
//!
//! `ms` and `seq` are counted from the id that the node is named after. `count` is of the entries
//! that are there, `deleted` of those that are flagged as deleted. `pieces` is the number of pieces
//! before it that belong to the entry, for the way back; the 0 ends that way.

use super::id::StreamId;
use crate::ds::listpack::{self, Corrupt, Listpack, LpValue, Pos};
use smallvec::SmallVec;

const DELETED: i64 = 1;
const SAME_FIELDS: i64 = 2;

/// What a node says about itself.
#[derive(Clone)]
pub(super) struct Header<'a> {
    /// Entries that are there.
    pub(super) count: u64,
    /// Entries flagged as deleted.
    pub(super) deleted: u64,
    /// The number of fields that entries with the same fields have.
    n: usize,
    fields: listpack::Iter<'a>,
    entries: listpack::Iter<'a>,
}

fn int(value: Option<LpValue<'_>>) -> Option<i64> {
    value?.as_int()
}

fn unsigned(value: Option<LpValue<'_>>) -> Option<u64> {
    u64::try_from(int(value)?).ok()
}

fn skip(values: &mut listpack::Iter<'_>, n: usize) -> Option<()> {
    for _ in 0..n {
        values.next()?;
    }
    Some(())
}

/// Reads the beginning of a node; `None` if it is no node.
pub(super) fn header(lp: &Listpack) -> Option<Header<'_>> {
    let mut values = lp.iter();
    let count = unsigned(values.next())?;
    let deleted = unsigned(values.next())?;
    let n = usize::try_from(unsigned(values.next())?).ok()?;
    let fields = values.clone();
    skip(&mut values, n)?;
    values.next()?;
    Some(Header { count, deleted, n, fields, entries: values })
}

/// One entry of a stream.
#[derive(Clone)]
pub struct Entry<'a> {
    /// Its id.
    pub id: StreamId,
    flags: i64,
    flags_at: Pos,
    n: usize,
    fields: Option<listpack::Iter<'a>>,
    values: listpack::Iter<'a>,
}

impl<'a> Entry<'a> {
    /// Number of field-value pairs.
    pub fn len(&self) -> usize {
        self.n
    }

    /// Has it no fields? Only in streams that some other program wrote.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// The fields and their values.
    pub fn fields(&self) -> Fields<'a> {
        Fields { left: self.n, fields: self.fields.clone(), values: self.values.clone() }
    }

    pub(super) fn is_deleted(&self) -> bool {
        self.flags & DELETED != 0
    }

    /// Reads an entry where `values` stands, and moves `values` behind it.
    fn read(head: &Header<'a>, master: StreamId, values: &mut listpack::Iter<'a>) -> Option<Entry<'a>> {
        let flags_at = values.pos();
        let flags = int(values.next())?;
        let (ms, seq) = (int(values.next())?, int(values.next())?);
        let same = flags & SAME_FIELDS != 0;
        let n = if same { head.n } else { usize::try_from(unsigned(values.next())?).ok()? };
        let fields = same.then(|| head.fields.clone());
        let entry = Entry { id: master.at(ms, seq), flags, flags_at, n, fields, values: values.clone() };
        let pieces = if same { n } else { n.checked_mul(2)? };
        skip(values, pieces)?;
        values.next()?;
        Some(entry)
    }
}

/// The field-value pairs of an entry.
#[derive(Clone)]
pub struct Fields<'a> {
    left: usize,
    fields: Option<listpack::Iter<'a>>,
    values: listpack::Iter<'a>,
}

impl<'a> Iterator for Fields<'a> {
    type Item = (LpValue<'a>, LpValue<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let field = self.fields.as_mut().unwrap_or(&mut self.values).next()?;
        Some((field, self.values.next()?))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

/// The entries of a node, deleted ones too, in ascending order.
#[derive(Clone)]
pub(super) struct Forward<'a> {
    head: Header<'a>,
    master: StreamId,
    values: listpack::Iter<'a>,
}

impl<'a> Forward<'a> {
    pub(super) fn new(master: StreamId, lp: &'a Listpack) -> Option<Forward<'a>> {
        let head = header(lp)?;
        Some(Forward { values: head.entries.clone(), head, master })
    }
}

impl<'a> Iterator for Forward<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        Entry::read(&self.head, self.master, &mut self.values)
    }
}

/// The entries of a node, deleted ones too, in descending order.
#[derive(Clone)]
pub(super) struct Backward<'a> {
    head: Header<'a>,
    master: StreamId,
    lp: &'a Listpack,
    /// The last piece of the entry that comes next.
    at: Option<Pos>,
}

impl<'a> Backward<'a> {
    pub(super) fn new(master: StreamId, lp: &'a Listpack) -> Option<Backward<'a>> {
        Some(Backward { head: header(lp)?, master, lp, at: lp.last() })
    }
}

impl<'a> Iterator for Backward<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        let mut at = self.at?;
        let pieces = unsigned(self.lp.value(at)).filter(|&n| n > 0)?;
        for _ in 0..pieces {
            at = self.lp.prev(at)?;
        }
        self.at = self.lp.prev(at);
        Entry::read(&self.head, self.master, &mut self.lp.iter_from(at))
    }
}

/// Makes a node for an entry with these fields, without the entry.
pub(super) fn new<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone) -> Listpack {
    let mut lp = Listpack::new();
    let n = fields.clone().count() as i64;
    let mut values: SmallVec<[LpValue<'_>; 16]> = SmallVec::new();
    values.extend([LpValue::Int(0), LpValue::Int(0), LpValue::Int(n)]);
    values.extend(fields.map(|(field, _)| LpValue::of(field)));
    values.push(LpValue::Int(0));
    lp.insert_values(lp.end(), &values);
    lp
}

/// Appends an entry to a node.
pub(super) fn append<'a>(
    lp: &mut Listpack,
    master: StreamId,
    id: StreamId,
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
) {
    let Some(head) = header(lp) else { return };
    let count = head.count;
    let mut ours = head.fields.clone().take(head.n);
    let mut n = 0;
    let mut same = true;
    for (field, _) in fields.clone() {
        n += 1;
        same = same && ours.next().is_some_and(|other| other.eq_bytes(field));
    }
    same &= n == head.n;
    let (ms, seq) = id.delta(master);
    let flags = if same { SAME_FIELDS } else { 0 };
    let mut values: SmallVec<[LpValue<'_>; 16]> = SmallVec::new();
    values.extend([LpValue::Int(flags), LpValue::Int(ms), LpValue::Int(seq)]);
    if same {
        values.extend(fields.map(|(_, value)| LpValue::of(value)));
    } else {
        values.push(LpValue::Int(n as i64));
        values.extend(fields.flat_map(|(field, value)| [LpValue::of(field), LpValue::of(value)]));
    }
    values.push(LpValue::Int(values.len() as i64));
    lp.insert_values(lp.end(), &values);
    set_counts(lp, count as i64 + 1, None);
}

fn set_counts(lp: &mut Listpack, count: i64, deleted: Option<i64>) {
    let Some(at) = lp.first() else { return };
    lp.replace(at, count);
    if let (Some(at), Some(deleted)) = (lp.next(at), deleted) {
        lp.replace(at, deleted);
    }
}

/// Flags entries as deleted: those for which `f` says `Some(true)`, until it says `None`. Returns
/// how many. `f` is not asked about entries that are deleted already.
pub(super) fn delete(
    master: StreamId,
    lp: &mut Listpack,
    mut f: impl FnMut(StreamId) -> Option<bool>,
) -> u64 {
    let mut gone: SmallVec<[(Pos, i64); 4]> = SmallVec::new();
    let Some(entries) = Forward::new(master, lp) else { return 0 };
    let (count, deleted) = (entries.head.count, entries.head.deleted);
    for entry in entries.filter(|e| !e.is_deleted()) {
        match f(entry.id) {
            Some(true) => gone.push((entry.flags_at, entry.flags | DELETED)),
            Some(false) => {}
            None => break,
        }
    }
    // From the back, should a foreign encoder have written longer flags than ours.
    for &(at, flags) in gone.iter().rev() {
        lp.replace(at, flags);
    }
    let n = gone.len() as u64;
    if n > 0 {
        set_counts(lp, count.saturating_sub(n) as i64, Some((deleted + n) as i64));
    }
    n
}

/// Checks a node from outside: returns its number of entries that are there, and the id of its last
/// entry, which may be deleted.
///
/// # Errors
/// [`Corrupt`] if pieces, counts or the order of ids are not as they should be.
pub(super) fn validate(master: StreamId, lp: &Listpack) -> Result<(u64, StreamId), Corrupt> {
    let mut entries = Forward::new(master, lp).ok_or(Corrupt)?;
    let mut terminator = entries.head.fields.clone();
    skip(&mut terminator, entries.head.n).ok_or(Corrupt)?;
    if int(terminator.next()) != Some(0) {
        return Err(Corrupt);
    }
    let (mut live, mut deleted, mut last) = (0, 0, None);
    loop {
        let begin = entries.values.clone();
        if begin.pos() == lp.end() {
            break;
        }
        let entry = entries.next().ok_or(Corrupt)?;
        if !(0..=DELETED | SAME_FIELDS).contains(&entry.flags) || entry.id < master {
            return Err(Corrupt);
        }
        if last.is_some_and(|last| last >= entry.id) {
            return Err(Corrupt);
        }
        last = Some(entry.id);
        if entry.is_deleted() {
            deleted += 1
        } else {
            live += 1
        }
        let pieces = if entry.fields.is_some() { entry.n + 3 } else { entry.n * 2 + 4 };
        let mut values = begin;
        skip(&mut values, pieces).ok_or(Corrupt)?;
        if unsigned(values.next()) != Some(pieces as u64) {
            return Err(Corrupt);
        }
    }
    let last = last.ok_or(Corrupt)?;
    if (live, deleted) != (entries.head.count, entries.head.deleted) {
        return Err(Corrupt);
    }
    Ok((live, last))
}
