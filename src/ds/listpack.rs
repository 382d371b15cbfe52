//! How are small collections packed into one allocation?
//!
//! In the listpack format of Redis, byte for byte, so that saving one is a copy:
//!
//! ```text
//! [ u32 total bytes | u16 count | entry | entry | ... | 0xFF ]
//! entry = [ encoding and length | data | back-length ]
//!
//! 0xxxxxxx                    integer 0..=127
//! 10llllll  data              string, length < 64
//! 110iiiii  iiiiiiii          integer, 13 bits, two's complement, high bits first
//! 1110llll  llllllll data     string, length < 4096, high bits first
//! 11110000  u32 data          string, any length, little-endian
//! 1111000n  2,3,4,8 bytes     integer, n = 1,2,3,4, little-endian
//! 11111111                    the end
//! ```
//!
//! The back-length is the size of the entry without it, in 7-bit groups whose last byte comes
//! first when read backwards: a set high bit says that another group stands to the left.
//!
//! Invariants: bytes are always a valid listpack (built here or passed through [`Listpack::validate`]);
//! text that is a canonical i64 is kept as an integer; the count is exact below 65535, and 65535
//! means "count them". Numbers are little-endian. Reading is bounds-checked safe code; the
//! allocation is [`ThinBuf`]'s.

use super::thinbuf::{MAX_LEN, ThinBuf};
use crate::util::number::parse_i64;
use smallvec::SmallVec;
use std::fmt;

const HEADER: usize = 6;
const END: u8 = 0xFF;
const COUNT_UNKNOWN: u16 = u16::MAX;
/// Bytes of a listpack without entries.
pub const EMPTY_BYTES: usize = HEADER + 1;

/// A packed sequence of strings and integers behind one pointer.
#[derive(Clone)]
pub struct Listpack {
    buf: ThinBuf,
}

/// The place of an entry, or the end. Any change to the listpack before or at it makes it stale; a
/// stale position reads garbage or `None`, never out of bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pos(u32);

/// These bytes are not a valid listpack (or intset).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

/// An entry's value. The order is none that Redis knows: it serves to find duplicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LpValue<'a> {
    /// Kept as bytes.
    Str(&'a [u8]),
    /// Kept as a number; its text is the canonical decimal form.
    Int(i64),
}

impl<'a> LpValue<'a> {
    /// The value as a listpack keeps it: an integer if the text is a canonical one.
    #[inline]
    pub fn of(text: &'a [u8]) -> Self {
        parse_i64(text).map_or(LpValue::Str(text), LpValue::Int)
    }

    /// Appends the text to `out`.
    pub fn write_to(self, out: &mut Vec<u8>) {
        match self {
            LpValue::Str(s) => out.extend_from_slice(s),
            LpValue::Int(i) => out.extend_from_slice(itoa::Buffer::new().format(i).as_bytes()),
        }
    }

    /// The text; a number is printed into `buf`.
    #[inline]
    pub fn as_bytes<'b>(self, buf: &'b mut itoa::Buffer) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            LpValue::Str(s) => s,
            LpValue::Int(i) => buf.format(i).as_bytes(),
        }
    }

    /// The text, owned.
    pub fn to_vec(self) -> Vec<u8> {
        self.as_bytes(&mut itoa::Buffer::new()).to_vec()
    }

    /// Is this the text?
    #[inline]
    pub fn eq_bytes(self, text: &[u8]) -> bool {
        match self {
            LpValue::Str(s) => s == text,
            LpValue::Int(i) => parse_i64(text) == Some(i),
        }
    }

    /// Length of the text in bytes.
    pub fn len_as_text(self) -> usize {
        match self {
            LpValue::Str(s) => s.len(),
            LpValue::Int(i) => itoa::Buffer::new().format(i).len(),
        }
    }

    /// The number, if the text is a canonical i64.
    pub fn as_int(self) -> Option<i64> {
        match self {
            LpValue::Str(s) => parse_i64(s),
            LpValue::Int(i) => Some(i),
        }
    }
}

/// A text to look for, parsed once.
#[derive(Clone, Copy, Debug)]
pub struct Needle<'a> {
    text: &'a [u8],
    int: Option<i64>,
}

impl<'a> Needle<'a> {
    /// Looks for this text.
    #[inline]
    pub fn new(text: &'a [u8]) -> Self {
        Needle { text, int: parse_i64(text) }
    }

    /// Is it this value?
    #[inline]
    pub fn matches(&self, value: LpValue<'_>) -> bool {
        match value {
            LpValue::Str(s) => s == self.text,
            LpValue::Int(i) => self.int == Some(i),
        }
    }
}

impl<'a> From<&'a [u8]> for LpValue<'a> {
    fn from(text: &'a [u8]) -> Self {
        LpValue::of(text)
    }
}

impl From<i64> for LpValue<'_> {
    fn from(i: i64) -> Self {
        LpValue::Int(i)
    }
}

/// An entry ready to be copied in: header or integer, string bytes, back-length.
struct Encoded<'a> {
    head: [u8; 9],
    head_len: u8,
    body: &'a [u8],
    back: [u8; 5],
    back_len: u8,
}

impl<'a> Encoded<'a> {
    #[inline]
    fn new(value: LpValue<'a>) -> Self {
        let mut head = [0u8; 9];
        let (head_len, body): (u8, &[u8]) = match value {
            LpValue::Int(i) => (encode_int(i, &mut head), &[]),
            LpValue::Str(s) => (encode_str_head(s.len(), &mut head), s),
        };
        let (back, back_len) = encode_back(usize::from(head_len) + body.len());
        Encoded { head, head_len, body, back, back_len }
    }

    #[inline]
    fn parts(&self) -> [&[u8]; 3] {
        [&self.head[..usize::from(self.head_len)], self.body, &self.back[..usize::from(self.back_len)]]
    }
}

fn encode_int(i: i64, head: &mut [u8; 9]) -> u8 {
    let le = i.to_le_bytes();
    let (tag, n) = match i {
        0..=127 => {
            head[0] = le[0];
            return 1;
        }
        -4096..=4095 => {
            head[0] = 0xC0 | (le[1] & 0x1F);
            head[1] = le[0];
            return 2;
        }
        -0x8000..=0x7FFF => (0xF1, 2),
        -0x80_0000..=0x7F_FFFF => (0xF2, 3),
        -0x8000_0000..=0x7FFF_FFFF => (0xF3, 4),
        _ => (0xF4, 8),
    };
    head[0] = tag;
    head[1..=n].copy_from_slice(&le[..n]);
    n as u8 + 1
}

fn encode_str_head(len: usize, head: &mut [u8; 9]) -> u8 {
    match len {
        0..=63 => {
            head[0] = 0x80 | len as u8;
            1
        }
        64..=4095 => {
            head[0] = 0xE0 | (len >> 8) as u8;
            head[1] = len as u8;
            2
        }
        _ => {
            head[0] = 0xF0;
            // A length beyond u32 cannot stay: ThinBuf refuses the whole entry at MAX_LEN.
            head[1..5].copy_from_slice(&(len as u32).to_le_bytes());
            5
        }
    }
}

/// How many bytes the back-length of an entry of `size` bytes takes. The odd bounds (16383 takes
/// three bytes although it fits in two) are the format's.
#[inline]
fn back_size(size: usize) -> usize {
    match size {
        0..=127 => 1,
        128..16383 => 2,
        16383..2097151 => 3,
        2097151..268435455 => 4,
        _ => 5,
    }
}

#[inline]
fn encode_back(size: usize) -> ([u8; 5], u8) {
    let n = back_size(size);
    let mut back = [0u8; 5];
    for (i, byte) in back[..n].iter_mut().enumerate() {
        let group = (size >> (7 * (n - 1 - i))) as u8 & 0x7F;
        *byte = if i == 0 { group } else { group | 0x80 };
    }
    (back, n as u8)
}

/// Reads the back-length that ends just before `at`; gives the start of the entry it belongs to.
#[inline]
fn entry_before(b: &[u8], at: usize) -> Option<usize> {
    let mut size = 0usize;
    for i in 0..5 {
        let byte = *b.get(at.checked_sub(i + 1)?)?;
        size |= usize::from(byte & 0x7F) << (7 * i);
        if byte & 0x80 == 0 {
            return at.checked_sub(size + back_size(size)).filter(|&start| start >= HEADER);
        }
    }
    None
}

#[inline]
fn int_le<const N: usize>(entry: &[u8]) -> Option<i64> {
    let mut le = [0u8; 8];
    le[8 - N..].copy_from_slice(entry.get(1..=N)?);
    Some(i64::from_le_bytes(le) >> (64 - 8 * N)) // the shift extends the sign
}

/// Reads the entry at `at`: its value and where the next one starts. `None` at the end marker.
#[inline]
fn decode(b: &[u8], at: usize) -> Option<(LpValue<'_>, usize)> {
    let entry = b.get(at..)?;
    let first = *entry.first()?;
    let string = |head: usize, len: usize| Some((LpValue::Str(entry.get(head..head + len)?), head + len));
    let (value, size) = match first {
        0..=0x7F => (LpValue::Int(i64::from(first)), 1),
        0x80..=0xBF => string(1, usize::from(first & 0x3F))?,
        0xC0..=0xDF => {
            let raw = u16::from_be_bytes([first, *entry.get(1)?]) << 3;
            (LpValue::Int(i64::from(raw as i16 >> 3)), 2)
        }
        0xE0..=0xEF => string(2, usize::from(first & 0x0F) << 8 | usize::from(*entry.get(1)?))?,
        0xF0 => {
            let len: [u8; 4] = entry.get(1..5)?.try_into().ok()?;
            string(5, u32::from_le_bytes(len) as usize)?
        }
        0xF1 => (LpValue::Int(int_le::<2>(entry)?), 3),
        0xF2 => (LpValue::Int(int_le::<3>(entry)?), 4),
        0xF3 => (LpValue::Int(int_le::<4>(entry)?), 5),
        0xF4 => (LpValue::Int(int_le::<8>(entry)?), 9),
        _ => return None,
    };
    Some((value, at + size + back_size(size)))
}

impl Default for Listpack {
    fn default() -> Self {
        Self::new()
    }
}

impl Listpack {
    /// Without entries.
    pub fn new() -> Self {
        Listpack { buf: ThinBuf::new(&[0, 0, END]) }
    }

    /// Copies a listpack received from elsewhere, checking every entry.
    ///
    /// # Errors
    /// [`Corrupt`] if [`Listpack::validate`] says so, or if it is longer than 1 GiB.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Corrupt> {
        Self::validate(bytes)?;
        if bytes.len() > MAX_LEN {
            return Err(Corrupt);
        }
        Ok(Listpack { buf: ThinBuf::new(&bytes[4..]) })
    }

    /// Checks header, every entry, every back-length, the count and the end; gives the count.
    ///
    /// # Errors
    /// [`Corrupt`] if anything is out of place.
    pub fn validate(bytes: &[u8]) -> Result<usize, Corrupt> {
        let (header, end) = (bytes.get(..HEADER).ok_or(Corrupt)?, bytes.len() - 1);
        let total = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        if total as usize != bytes.len() || bytes.len() < EMPTY_BYTES || bytes[end] != END {
            return Err(Corrupt);
        }
        let (mut at, mut count) = (HEADER, 0usize);
        while at < end {
            let (_, next) = decode(bytes, at).ok_or(Corrupt)?;
            if next > end || entry_before(bytes, next) != Some(at) {
                return Err(Corrupt);
            }
            (at, count) = (next, count + 1);
        }
        let claimed = u16::from_le_bytes([header[4], header[5]]);
        if claimed != COUNT_UNKNOWN && usize::from(claimed) != count {
            return Err(Corrupt);
        }
        Ok(count)
    }

    /// The serialised form.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.buf.bytes()
    }

    /// Length of the serialised form in bytes.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.buf.len()
    }

    /// Bytes taken from the allocator, without the handle.
    pub fn memory(&self) -> usize {
        self.buf.allocated()
    }

    /// May `add` bytes of elements be added? Every insertion panics where this says no; element
    /// limits keep listpacks far smaller, so only a caller with huge limits needs to ask.
    pub fn fits(&self, add: usize) -> bool {
        add <= MAX_LEN && self.bytes() + add <= MAX_LEN - 64
    }

    /// Number of entries: O(1) below 65535, O(n) from there on.
    #[inline]
    pub fn len(&self) -> usize {
        match self.stored_count() {
            COUNT_UNKNOWN => self.iter().count(),
            count => usize::from(count),
        }
    }

    /// Has it no entries?
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes() == EMPTY_BYTES
    }

    #[inline]
    fn stored_count(&self) -> u16 {
        let b = self.as_bytes();
        u16::from_le_bytes([b[4], b[5]])
    }

    fn set_count(&mut self, count: usize) {
        let stored = u16::try_from(count).unwrap_or(COUNT_UNKNOWN);
        self.buf.body_mut()[..2].copy_from_slice(&stored.to_le_bytes());
    }

    fn count_added(&mut self, n: usize) {
        if self.stored_count() != COUNT_UNKNOWN {
            self.set_count(usize::from(self.stored_count()) + n);
        }
    }

    fn count_removed(&mut self, n: usize) {
        match self.stored_count() {
            // Entries take at least two bytes: below this size the count certainly fits again.
            COUNT_UNKNOWN if self.bytes() < 2 * usize::from(COUNT_UNKNOWN) => {
                self.set_count(self.iter().count())
            }
            COUNT_UNKNOWN => {}
            count => self.set_count(usize::from(count).saturating_sub(n)),
        }
    }

    // ---- positions ----

    /// Where the next appended entry will be.
    #[inline]
    pub fn end(&self) -> Pos {
        Pos((self.bytes() - 1) as u32)
    }

    /// The first entry.
    #[inline]
    pub fn first(&self) -> Option<Pos> {
        (!self.is_empty()).then_some(Pos(HEADER as u32))
    }

    /// The last entry.
    #[inline]
    pub fn last(&self) -> Option<Pos> {
        self.prev(self.end())
    }

    /// The entry after `pos`.
    #[inline]
    pub fn next(&self, pos: Pos) -> Option<Pos> {
        let next = self.after(pos);
        (next < self.end()).then_some(next)
    }

    /// The entry before `pos`, which may be [`Listpack::end`].
    #[inline]
    pub fn prev(&self, pos: Pos) -> Option<Pos> {
        entry_before(self.as_bytes(), pos.0 as usize).map(|at| Pos(at as u32))
    }

    /// Where the entry at `pos` ends.
    #[inline]
    fn after(&self, pos: Pos) -> Pos {
        decode(self.as_bytes(), pos.0 as usize).map_or(self.end(), |(_, next)| Pos(next as u32))
    }

    /// The entry with this index, sought from the nearer side.
    pub fn seek(&self, index: usize) -> Option<Pos> {
        let count = match self.stored_count() {
            COUNT_UNKNOWN => usize::MAX,
            count => usize::from(count),
        };
        if index >= count {
            return None;
        }
        if index > count / 2 && count != usize::MAX {
            return self.seek_back(count - 1 - index);
        }
        let mut pos = self.first()?;
        for _ in 0..index {
            pos = self.next(pos)?;
        }
        Some(pos)
    }

    /// The entry with this index counted from the end: 0 is the last one. Always walks backwards.
    pub fn seek_back(&self, index: usize) -> Option<Pos> {
        let mut pos = self.last()?;
        for _ in 0..index {
            pos = self.prev(pos)?;
        }
        Some(pos)
    }

    // ---- reading ----

    /// The value at `pos`; `None` at the end.
    #[inline]
    pub fn value(&self, pos: Pos) -> Option<LpValue<'_>> {
        decode(self.as_bytes(), pos.0 as usize).map(|(value, _)| value)
    }

    /// The value with this index.
    pub fn get(&self, index: usize) -> Option<LpValue<'_>> {
        self.value(self.seek(index)?)
    }

    /// All values, from either end.
    #[inline]
    pub fn iter(&self) -> Iter<'_> {
        self.iter_from(Pos(HEADER as u32))
    }

    /// The values from `pos` to the end.
    #[inline]
    pub fn iter_from(&self, pos: Pos) -> Iter<'_> {
        Iter { b: self.as_bytes(), front: pos.0 as usize, back: self.bytes() - 1 }
    }

    /// The values before `pos`; iterate it with `.rev()` to walk from `pos` to the head.
    pub fn iter_before(&self, pos: Pos) -> Iter<'_> {
        Iter { b: self.as_bytes(), front: HEADER, back: pos.0 as usize }
    }

    /// The values up to and including the one at `pos`; `.rev()` walks from it to the head.
    pub fn iter_through(&self, pos: Pos) -> Iter<'_> {
        self.iter_before(self.after(pos))
    }

    /// The first entry equal to `text`, comparing one entry and then skipping `skip`:
    /// 0 in a list or set, 1 for the fields of field-value pairs, 2 for triples.
    pub fn find(&self, text: &[u8], skip: usize) -> Option<Pos> {
        self.find_from(Pos(HEADER as u32), text, skip)
    }

    /// As [`Listpack::find`], from `pos` on.
    pub fn find_from(&self, pos: Pos, text: &[u8], skip: usize) -> Option<Pos> {
        let b = self.as_bytes();
        let needle = Needle::new(text);
        let mut at = pos.0 as usize;
        while let Some((value, next)) = decode(b, at) {
            if needle.matches(value) {
                return Some(Pos(at as u32));
            }
            at = next;
            for _ in 0..skip {
                at = decode(b, at)?.1;
            }
        }
        None
    }

    // ---- changing ----

    /// Inserts values so that the first of them stands at `at` (an entry, or [`Listpack::end`]).
    /// One move of the tail and at most one reallocation for all. `Str` values are kept as given:
    /// make them with [`LpValue::of`] unless they are known not to be integers. Gives the place of
    /// the first, which is `at`.
    ///
    /// # Panics
    /// If the result would exceed 1 GiB; see [`Listpack::fits`].
    pub fn insert_values(&mut self, at: Pos, values: &[LpValue<'_>]) -> Pos {
        // All in one go: one move of what is behind, and no allocation for the usual few values.
        let encoded: SmallVec<[Encoded<'_>; 16]> = values.iter().map(|value| Encoded::new(*value)).collect();
        let parts: SmallVec<[&[u8]; 32]> = encoded.iter().flat_map(Encoded::parts).collect();
        self.buf.splice(at.0 as usize, 0, &parts);
        self.count_added(values.len());
        at
    }

    #[inline]
    fn insert_one(&mut self, at: Pos, value: LpValue<'_>) -> Pos {
        self.buf.splice(at.0 as usize, 0, &Encoded::new(value).parts());
        self.count_added(1);
        at
    }

    /// Inserts before the entry at `pos`; gives the new entry's place, which is `pos`.
    pub fn insert_before<'v>(&mut self, pos: Pos, value: impl Into<LpValue<'v>>) -> Pos {
        self.insert_one(pos, value.into())
    }

    /// Inserts after the entry at `pos`; gives the new entry's place.
    pub fn insert_after<'v>(&mut self, pos: Pos, value: impl Into<LpValue<'v>>) -> Pos {
        self.insert_one(self.after(pos), value.into())
    }

    /// Appends text, as an integer if it is one.
    #[inline]
    pub fn push_back(&mut self, text: &[u8]) {
        self.insert_one(self.end(), LpValue::of(text));
    }

    /// Prepends text, as an integer if it is one.
    pub fn push_front(&mut self, text: &[u8]) {
        self.insert_one(Pos(HEADER as u32), LpValue::of(text));
    }

    /// Appends an integer.
    pub fn push_back_int(&mut self, i: i64) {
        self.insert_one(self.end(), LpValue::Int(i));
    }

    /// Appends a value taken from another listpack.
    pub fn push_back_value(&mut self, value: LpValue<'_>) {
        self.insert_one(self.end(), value);
    }

    /// Prepends a value taken from another listpack.
    pub fn push_front_value(&mut self, value: LpValue<'_>) {
        self.insert_one(Pos(HEADER as u32), value);
    }

    /// Replaces the value at `pos`, which stays valid. At the end it does nothing.
    pub fn replace<'v>(&mut self, pos: Pos, value: impl Into<LpValue<'v>>) {
        let (at, next) = (pos.0 as usize, self.after(pos).0 as usize);
        if next > at {
            self.buf.splice(at, next - at, &Encoded::new(value.into()).parts());
        }
    }

    /// Removes the entry at `pos`; gives the one that follows.
    pub fn remove(&mut self, pos: Pos) -> Option<Pos> {
        self.remove_n(pos, 1);
        (pos < self.end()).then_some(pos)
    }

    /// Removes up to `n` entries from `pos` on; gives how many there were. `pos` then names the
    /// entry that followed, or the end.
    pub fn remove_n(&mut self, pos: Pos, n: usize) -> usize {
        let (b, start) = (self.as_bytes(), pos.0 as usize);
        let (mut at, mut removed) = (start, 0);
        while removed < n
            && let Some((_, next)) = decode(b, at)
        {
            (at, removed) = (next, removed + 1);
        }
        if removed > 0 {
            self.buf.splice(start, at - start, &[]);
            self.count_removed(removed);
        }
        removed
    }

    /// Removes up to `n` entries from `index` on; gives how many there were.
    pub fn remove_range(&mut self, index: usize, n: usize) -> usize {
        self.seek(index).map_or(0, |pos| self.remove_n(pos, n))
    }

    /// Removes the first entry after showing it to `f`.
    pub fn pop_front_with<R>(&mut self, f: impl FnOnce(LpValue<'_>) -> R) -> Option<R> {
        self.take_with(self.first()?, f)
    }

    /// Removes the last entry after showing it to `f`.
    pub fn pop_back_with<R>(&mut self, f: impl FnOnce(LpValue<'_>) -> R) -> Option<R> {
        self.take_with(self.last()?, f)
    }

    fn take_with<R>(&mut self, pos: Pos, f: impl FnOnce(LpValue<'_>) -> R) -> Option<R> {
        let result = f(self.value(pos)?);
        self.remove(pos);
        Some(result)
    }

    /// Appends all entries of `other`: one copy.
    ///
    /// # Panics
    /// If the result would exceed 1 GiB.
    pub fn append(&mut self, other: &Listpack) {
        let entries = &other.as_bytes()[HEADER..other.bytes() - 1];
        self.buf.splice(self.end().0 as usize, 0, &[entries]);
        self.count_added(other.len());
    }

    /// Cuts off the entries from `pos` on and gives them as a listpack of their own.
    pub fn split_off(&mut self, pos: Pos) -> Listpack {
        let (start, end) = (pos.0 as usize, self.bytes() - 1);
        let mut tail = Listpack::new();
        tail.buf.splice(HEADER, 0, &[&self.as_bytes()[start..end]]);
        let moved = tail.iter().count();
        tail.set_count(moved);
        self.buf.splice(start, end - start, &[]);
        self.count_removed(moved);
        tail
    }
}

/// Values of a listpack, from either end.
#[derive(Clone)]
pub struct Iter<'a> {
    b: &'a [u8],
    front: usize,
    back: usize,
}

impl Iter<'_> {
    /// The place of the entry that `next` will give (the end, when nothing is left).
    pub fn pos(&self) -> Pos {
        Pos(self.front as u32)
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = LpValue<'a>;

    #[inline]
    fn next(&mut self) -> Option<LpValue<'a>> {
        if self.front >= self.back {
            return None;
        }
        let (value, next) = decode(self.b, self.front)?;
        self.front = next;
        Some(value)
    }
}

impl DoubleEndedIterator for Iter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.front >= self.back {
            return None;
        }
        self.back = entry_before(self.b, self.back)?;
        decode(self.b, self.back).map(|(value, _)| value)
    }
}

impl<'a> IntoIterator for &'a Listpack {
    type Item = LpValue<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl<'a> FromIterator<&'a [u8]> for Listpack {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(texts: I) -> Self {
        let mut lp = Listpack::new();
        texts.into_iter().for_each(|text| lp.push_back(text));
        lp
    }
}

impl PartialEq for Listpack {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Listpack {}

impl fmt::Debug for Listpack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests;
