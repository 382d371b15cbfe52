//! How are small sets of integers kept?
//!
//! Sorted, in the intset format of Redis, byte for byte:
//!
//! ```text
//! [ u32 width | u32 count | integers of `width` bytes, ascending ... ]     all little-endian
//! ```
//!
//! The width is 2, 4 or 8 bytes: what the widest integer ever added needed. It never shrinks.
//!
//! Invariants: strictly ascending; `8 + count * width` bytes. In memory the buffer's own length
//! prefix stands before them (see [`ThinBuf`]), so that a set costs its owner one pointer.

use super::listpack::Corrupt;
use super::thinbuf::{MAX_LEN, ThinBuf};
use std::fmt;

/// Bytes of the buffer before the first integer: its length, width, count.
const HEADER: usize = 12;

/// A sorted set of integers behind one pointer.
#[derive(Clone)]
pub struct Intset {
    buf: ThinBuf,
}

/// The width Redis keeps a value with.
#[inline]
fn width_of(value: i64) -> usize {
    if i16::try_from(value).is_ok() {
        2
    } else if i32::try_from(value).is_ok() {
        4
    } else {
        8
    }
}

/// The integer with this index among `ints`.
#[inline]
fn read(ints: &[u8], width: usize, index: usize) -> i64 {
    let b = &ints[index * width..(index + 1) * width];
    match *b {
        [a, b] => i64::from(i16::from_le_bytes([a, b])),
        [a, b, c, d] => i64::from(i32::from_le_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h] => i64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => 0, // widths are 2, 4 and 8
    }
}

impl Default for Intset {
    fn default() -> Self {
        Self::new()
    }
}

impl Intset {
    /// Without members, two bytes wide.
    pub fn new() -> Self {
        Intset { buf: ThinBuf::new(&[2, 0, 0, 0, 0, 0, 0, 0]) }
    }

    /// Copies an intset received from elsewhere, checking all of it.
    ///
    /// # Errors
    /// [`Corrupt`] if the width is none, the length does not match, the integers are not strictly
    /// ascending, there are none, or it is longer than 1 GiB.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Corrupt> {
        let (&header, ints) = bytes.split_first_chunk::<8>().ok_or(Corrupt)?;
        let [w0, w1, w2, w3, c0, c1, c2, c3] = header;
        let width = u32::from_le_bytes([w0, w1, w2, w3]) as usize;
        let count = u32::from_le_bytes([c0, c1, c2, c3]) as usize;
        if !matches!(width, 2 | 4 | 8) || count == 0 || count.checked_mul(width) != Some(ints.len()) {
            return Err(Corrupt);
        }
        let sorted = (1..count).all(|i| read(ints, width, i - 1) < read(ints, width, i));
        if !sorted || bytes.len() >= MAX_LEN - HEADER {
            return Err(Corrupt);
        }
        Ok(Intset { buf: ThinBuf::new(bytes) })
    }

    /// The serialised form.
    pub fn as_bytes(&self) -> &[u8] {
        &self.buf.bytes()[4..]
    }

    /// Bytes taken from the allocator, without the handle.
    pub fn memory(&self) -> usize {
        self.buf.allocated()
    }

    /// Number of members.
    #[inline]
    pub fn len(&self) -> usize {
        let b = self.buf.bytes();
        u32::from_le_bytes([b[8], b[9], b[10], b[11]]) as usize
    }

    /// Has it no members?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    fn width(&self) -> usize {
        usize::from(self.buf.bytes()[4])
    }

    fn set_header(&mut self, width: usize, count: usize) {
        let header = &mut self.buf.body_mut()[..8];
        header[..4].copy_from_slice(&(width as u32).to_le_bytes());
        header[4..].copy_from_slice(&(count as u32).to_le_bytes());
    }

    #[inline]
    fn ints(&self) -> &[u8] {
        &self.buf.bytes()[HEADER..]
    }

    /// The member with this index in ascending order.
    #[inline]
    pub fn get(&self, index: usize) -> Option<i64> {
        (index < self.len()).then(|| read(self.ints(), self.width(), index))
    }

    /// Members in ascending order.
    pub fn iter(&self) -> Iter<'_> {
        Iter { ints: self.ints(), width: self.width() }
    }

    /// The index of `value`, or where it would be inserted.
    fn search(&self, value: i64) -> Result<usize, usize> {
        let (ints, width, count) = (self.ints(), self.width(), self.len());
        // Ascending insertion is common: look at the last one first.
        if count == 0 || read(ints, width, count - 1) < value {
            return Err(count);
        }
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low.midpoint(high);
            if read(ints, width, middle) < value { low = middle + 1 } else { high = middle }
        }
        if read(ints, width, low) == value { Ok(low) } else { Err(low) }
    }

    /// Is `value` a member?
    pub fn contains(&self, value: i64) -> bool {
        width_of(value) <= self.width() && self.search(value).is_ok()
    }

    /// Adds `value`; says whether it is new.
    ///
    /// # Panics
    /// If the set would take more than 1 GiB (a hundred million members).
    pub fn insert(&mut self, value: i64) -> bool {
        if width_of(value) > self.width() {
            self.widen(width_of(value));
        }
        let Err(index) = self.search(value) else { return false };
        let (width, count) = (self.width(), self.len());
        self.buf.splice(HEADER + index * width, 0, &[&value.to_le_bytes()[..width]]);
        self.set_header(width, count + 1);
        true
    }

    fn widen(&mut self, width: usize) {
        let ints: Vec<u8> = self.iter().flat_map(|i| i.to_le_bytes().into_iter().take(width)).collect();
        let (old, count) = (self.ints().len(), self.len());
        self.buf.splice(HEADER, old, &[&ints]);
        self.set_header(width, count);
    }

    /// Removes `value`; says whether it was there.
    pub fn remove(&mut self, value: i64) -> bool {
        if !self.contains(value) {
            return false;
        }
        let Ok(index) = self.search(value) else { return false };
        let (width, count) = (self.width(), self.len());
        self.buf.splice(HEADER + index * width, width, &[]);
        self.set_header(width, count - 1);
        true
    }
}

/// Members in ascending order.
#[derive(Clone)]
pub struct Iter<'a> {
    ints: &'a [u8],
    width: usize,
}

impl Iterator for Iter<'_> {
    type Item = i64;

    #[inline]
    fn next(&mut self) -> Option<i64> {
        let (first, rest) = self.ints.split_at_checked(self.width)?;
        self.ints = rest;
        Some(read(first, self.width, 0))
    }
}

impl fmt::Debug for Intset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl FromIterator<i64> for Intset {
    fn from_iter<I: IntoIterator<Item = i64>>(values: I) -> Self {
        let mut set = Intset::new();
        values.into_iter().for_each(|value| {
            set.insert(value);
        });
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// From DUMP of Redis 8.2.3.
    #[test]
    fn bytes_are_those_of_redis() {
        let narrow: Intset = [5, -3, 100, -32768, 32767].into_iter().collect();
        assert_eq!(
            narrow.as_bytes(),
            [2, 0, 0, 0, 5, 0, 0, 0, 0, 0x80, 0xFD, 0xFF, 5, 0, 100, 0, 0xFF, 0x7F]
        );
        let middle: Intset = [1, -2147483648, 70000].into_iter().collect();
        assert_eq!(middle.as_bytes(), [4, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0x80, 1, 0, 0, 0, 0x70, 0x11, 1, 0]);
        let wide: Intset = [1, -5, 1 << 40, i64::MIN].into_iter().collect();
        let mut expect = vec![8, 0, 0, 0, 4, 0, 0, 0];
        [i64::MIN, -5, 1, 1 << 40].iter().for_each(|i| expect.extend(i.to_le_bytes()));
        assert_eq!(wide.as_bytes(), expect);
        assert_eq!(std::mem::size_of::<Option<Intset>>(), 8);
    }

    #[test]
    fn refuses_damage() {
        let good: Intset = [1, 2, 300].into_iter().collect();
        let bytes = good.as_bytes();
        assert!(Intset::from_bytes(bytes).is_ok());
        for cut in 0..bytes.len() {
            assert!(Intset::from_bytes(&bytes[..cut]).is_err());
        }
        for (at, value) in [(0, 4), (0, 3), (0, 0), (3, 1), (4, 4), (4, 2), (4, 0), (7, 0xFF), (8, 2), (8, 3)]
        {
            let mut bad = bytes.to_vec();
            bad[at] = value;
            assert!(Intset::from_bytes(&bad).is_err(), "byte {at} = {value}");
        }
        assert!(Intset::from_bytes(&[2, 0, 0, 0, 0, 0, 0, 0]).is_err());
    }

    fn number() -> impl Strategy<Value = i64> {
        prop_oneof![
            8 => -50i64..50,
            2 => any::<i16>().prop_map(i64::from),
            1 => any::<i32>().prop_map(i64::from),
            1 => any::<i64>(),
        ]
    }

    fn cases() -> ProptestConfig {
        let cases = if cfg!(miri) { 6 } else { 256 };
        ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
    }

    proptest! {
        #![proptest_config(cases())]
        #[test]
        fn behaves_like_a_btree_set(ops in prop::collection::vec((any::<bool>(), number()), 1..120)) {
            let (mut set, mut model) = (Intset::new(), BTreeSet::new());
            for (add, value) in ops {
                if add {
                    prop_assert_eq!(set.insert(value), model.insert(value));
                } else {
                    prop_assert_eq!(set.contains(value), model.contains(&value));
                    prop_assert_eq!(set.remove(value), model.remove(&value));
                }
                prop_assert_eq!(set.len(), model.len());
                prop_assert!(set.iter().eq(model.iter().copied()));
                prop_assert!(model.is_empty() || Intset::from_bytes(set.as_bytes()).is_ok());
            }
            prop_assert_eq!(set.get(0), model.first().copied());
            prop_assert_eq!(set.get(set.len()), None);
        }
    }
}
