//! How are some dozens of (score, member) pairs kept in one buffer, in order?
//!
//! Byte layout of a leaf of `n` items; every section holds the items in ascending order:
//!
//! ```text
//! | scores: n x f64 | sizes: n x u8 | tags: n x u8 | stored bytes, one after another |
//! 0                8n              9n            10n                                 len
//! ```
//!
//! A size byte has the number of stored bytes in its low seven bits. Its top bit says that the
//! stored bytes are not the member but the four-byte number of a member kept elsewhere, because it
//! was longer than [`INLINE_MAX`]. A tag is eight bits of the member's hash.
//!
//! Invariants: sections are exactly as long as drawn; the capacity of the buffer is a size class of
//! the allocator, so that what was asked for is what is used.

use crate::ds::cache::prefetch;

/// Members longer than this many bytes are kept outside of the leaf.
pub(super) const INLINE_MAX: usize = 127;
/// Bytes that an item takes besides its stored bytes.
pub(super) const ITEM_OVERHEAD: usize = 10;
/// No leaf: the end of the chain of leaves.
pub(super) const NONE: u32 = u32::MAX;

const OUTSIDE: u8 = 0x80;
const SIZE_MASK: u8 = 0x7f;

/// The bytes of a member as a leaf holds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored<'a> {
    /// The member itself.
    Inline(&'a [u8]),
    /// The number under which a long member is kept.
    Outside(u32),
}

/// A run of items in ascending order, chained to its neighbours.
#[derive(Debug)]
pub(super) struct Leaf {
    buf: Vec<u8>,
    n: u16,
    pub(super) prev: u32,
    pub(super) next: u32,
}

impl Default for Leaf {
    fn default() -> Self {
        Leaf { buf: Vec::new(), n: 0, prev: NONE, next: NONE }
    }
}

/// The allocator's size class that holds `need` bytes: four classes per doubling.
fn size_class(need: usize) -> usize {
    let step = (need.next_power_of_two() / 8).max(16);
    need.div_ceil(step) * step
}

impl Leaf {
    /// How many items are here.
    #[inline]
    pub(super) fn len(&self) -> usize {
        usize::from(self.n)
    }

    /// Bytes in use.
    pub(super) fn bytes(&self) -> usize {
        self.buf.len()
    }

    /// Bytes allocated.
    pub(super) fn capacity(&self) -> usize {
        self.buf.capacity()
    }

    #[inline]
    pub(super) fn score(&self, i: usize) -> f64 {
        let (scores, _) = self.buf[..8 * self.len()].as_chunks::<8>();
        f64::from_le_bytes(scores[i])
    }

    /// All scores, ascending.
    #[inline]
    pub(super) fn scores(&self) -> impl ExactSizeIterator<Item = f64> {
        let (scores, _) = self.buf[..8 * self.len()].as_chunks::<8>();
        scores.iter().map(|&score| f64::from_le_bytes(score))
    }

    /// Overwrites a score; the caller has checked that the order stays.
    pub(super) fn set_score(&mut self, i: usize, score: f64) {
        debug_assert!(i < self.len());
        self.buf[8 * i..8 * i + 8].copy_from_slice(&score.to_le_bytes());
    }

    #[inline]
    fn sizes(&self) -> &[u8] {
        let n = self.len();
        &self.buf[8 * n..9 * n]
    }

    /// One hash tag per item.
    #[inline]
    pub(super) fn tags(&self) -> &[u8] {
        let n = self.len();
        &self.buf[9 * n..10 * n]
    }

    /// Brings into the cache what is asked first of items that are looked for by their members.
    pub(super) fn fetch_tags(&self) {
        let n = self.len();
        self.buf[8 * n..10 * n].chunks(64).for_each(|line| prefetch(line.as_ptr()));
    }

    /// Brings everything into the cache.
    pub(super) fn fetch(&self) {
        self.buf.chunks(64).for_each(|line| prefetch(line.as_ptr()));
    }

    /// Stored bytes of item `i`, without the bytes that every item takes.
    #[inline]
    pub(super) fn stored_size(&self, i: usize) -> usize {
        usize::from(self.sizes()[i] & SIZE_MASK)
    }

    /// Where the stored bytes of item `i` begin; `i` may be the number of items.
    #[inline]
    pub(super) fn offset(&self, i: usize) -> usize {
        // A leaf is far below 2^32 bytes; without overflow checks the sum is vectorised.
        let before = self.sizes()[..i].iter().fold(0u32, |n, &s| n.wrapping_add(u32::from(s & SIZE_MASK)));
        ITEM_OVERHEAD * self.len() + before as usize
    }

    /// The member of item `i`, whose stored bytes begin at `offset`.
    #[inline]
    pub(super) fn stored_at(&self, i: usize, offset: usize) -> Stored<'_> {
        let size = self.sizes()[i];
        let bytes = &self.buf[offset..offset + usize::from(size & SIZE_MASK)];
        match (size & OUTSIDE, bytes.first_chunk::<4>()) {
            (0, _) | (_, None) => Stored::Inline(bytes),
            (_, Some(id)) => Stored::Outside(u32::from_le_bytes(*id)),
        }
    }

    /// The member of item `i`.
    #[inline]
    pub(super) fn stored(&self, i: usize) -> Stored<'_> {
        self.stored_at(i, self.offset(i))
    }

    /// Puts an item before item `i`.
    pub(super) fn insert(&mut self, i: usize, score: f64, tag: u8, stored: Stored<'_>) {
        let id_bytes;
        let (bytes, flag) = match stored {
            Stored::Inline(bytes) => (bytes, 0),
            Stored::Outside(id) => {
                id_bytes = id.to_le_bytes();
                (&id_bytes[..], OUTSIDE)
            }
        };
        debug_assert!(bytes.len() <= INLINE_MAX && i <= self.len());
        let (n, len, size, at) = (self.len(), self.buf.len(), bytes.len(), self.offset(i));
        let new_len = len + ITEM_OVERHEAD + size;
        if new_len > self.buf.capacity() {
            self.buf.reserve_exact(size_class(new_len) - len);
        }
        self.buf.resize(new_len, 0);
        // Last section first: each piece moves up by what has been put in below it.
        self.buf.copy_within(at..len, at + ITEM_OVERHEAD + size);
        self.buf.copy_within(9 * n + i..at, 9 * n + i + 10);
        self.buf.copy_within(8 * n + i..9 * n + i, 8 * n + i + 9);
        self.buf.copy_within(8 * i..8 * n + i, 8 * i + 8);
        let n = n + 1;
        self.n += 1;
        self.buf[8 * i..8 * i + 8].copy_from_slice(&score.to_le_bytes());
        self.buf[8 * n + i] = size as u8 | flag;
        self.buf[9 * n + i] = tag;
        let at = at + ITEM_OVERHEAD;
        self.buf[at..at + size].copy_from_slice(bytes);
    }

    /// Takes items `from..to` out.
    pub(super) fn remove(&mut self, from: usize, to: usize) {
        debug_assert!(from <= to && to <= self.len());
        let (n, k, len) = (self.len(), to - from, self.buf.len());
        let (begin, end) = (self.offset(from), self.offset(to));
        // First section first: each piece moves down by what has been taken out below it.
        self.buf.copy_within(8 * to..8 * n + from, 8 * from);
        self.buf.copy_within(8 * n + to..9 * n + from, 8 * (n - k) + from);
        self.buf.copy_within(9 * n + to..begin, 9 * (n - k) + from);
        self.buf.copy_within(end..len, begin - ITEM_OVERHEAD * k);
        self.buf.truncate(len - ITEM_OVERHEAD * k - (end - begin));
        self.n -= k as u16;
        let fit = size_class(self.buf.len());
        if fit < self.buf.capacity() / 4 * 3 {
            self.buf.shrink_to(fit);
        }
    }

    /// Moves items `at..` into a new leaf, which is not chained yet.
    pub(super) fn split_off(&mut self, at: usize) -> Leaf {
        let (n, begin) = (self.len(), self.offset(at));
        let tail = [
            &self.buf[8 * at..8 * n],
            &self.buf[8 * n + at..9 * n],
            &self.buf[9 * n + at..10 * n],
            &self.buf[begin..],
        ];
        let mut buf = Vec::with_capacity(size_class(tail.iter().map(|t| t.len()).sum()));
        tail.iter().for_each(|piece| buf.extend_from_slice(piece));
        self.remove(at, n);
        Leaf { buf, n: (n - at) as u16, prev: NONE, next: NONE }
    }

    /// Puts all items of `other` behind those of this leaf.
    pub(super) fn append(&mut self, other: &Leaf) {
        let (n, m) = (self.len(), other.len());
        let mut buf = Vec::with_capacity(size_class(self.buf.len() + other.buf.len()));
        for (from, to) in [(0, 8), (8, 9), (9, 10)] {
            buf.extend_from_slice(&self.buf[from * n..to * n]);
            buf.extend_from_slice(&other.buf[from * m..to * m]);
        }
        buf.extend_from_slice(&self.buf[10 * n..]);
        buf.extend_from_slice(&other.buf[10 * m..]);
        self.buf = buf;
        self.n += other.n;
    }

    /// Gives back what the allocation has to spare.
    pub(super) fn shrink(&mut self) {
        self.buf.shrink_to(size_class(self.buf.len()));
    }

    /// The number of items to leave behind so that both halves have about as many bytes.
    pub(super) fn middle(&self) -> usize {
        let half = self.buf.len() / 2;
        let mut sum = 0;
        for (i, size) in self.sizes().iter().enumerate() {
            sum += ITEM_OVERHEAD + usize::from(size & SIZE_MASK);
            if sum >= half {
                return (i + 1).min(self.len() - 1);
            }
        }
        self.len() / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Row = (f64, u8, Vec<u8>);

    fn rows(leaf: &Leaf) -> Vec<Row> {
        (0..leaf.len())
            .map(|i| {
                let member = match leaf.stored(i) {
                    Stored::Inline(m) => m.to_vec(),
                    Stored::Outside(id) => id.to_be_bytes().to_vec(),
                };
                (leaf.score(i), leaf.tags()[i], member)
            })
            .collect()
    }

    #[test]
    fn size_classes_are_those_of_the_allocator() {
        for (need, class) in [(1, 16), (17, 32), (129, 160), (513, 640), (1025, 1280), (1281, 1536)] {
            assert_eq!(size_class(need), class);
        }
    }

    #[test]
    fn long_members_are_numbers() {
        let mut leaf = Leaf::default();
        leaf.insert(0, 1.0, 7, Stored::Outside(0xdead_beef));
        leaf.insert(1, 2.0, 8, Stored::Inline(b""));
        assert_eq!(leaf.stored(0), Stored::Outside(0xdead_beef));
        assert_eq!(leaf.stored(1), Stored::Inline(b""));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 200 }) })]
        #[test]
        fn a_leaf_is_a_vector(ops in prop::collection::vec(
            (0u8..10, any::<prop::sample::Index>(), any::<prop::sample::Index>(),
             -5.0f64..5.0, prop::collection::vec(any::<u8>(), 0..40)), 1..40)) {
            let mut leaf = Leaf::default();
            let mut model: Vec<Row> = Vec::new();
            for (op, a, b, score, member) in ops {
                match op {
                    0..=6 => {
                        let at = a.index(model.len() + 1);
                        leaf.insert(at, score, op, Stored::Inline(&member));
                        model.insert(at, (score, op, member));
                    }
                    7 | 8 => {
                        let (x, y) = (a.index(model.len() + 1), b.index(model.len() + 1));
                        leaf.remove(x.min(y), x.max(y));
                        model.drain(x.min(y)..x.max(y));
                    }
                    _ => {
                        let at = a.index(model.len() + 1);
                        let right = leaf.split_off(at);
                        prop_assert_eq!(rows(&right), &model[at..]);
                        prop_assert_eq!(rows(&leaf), &model[..at]);
                        leaf.append(&right);
                    }
                }
                prop_assert_eq!(rows(&leaf), &model[..]);
                prop_assert_eq!(leaf.bytes(), model.iter().map(|r| r.2.len() + 10).sum::<usize>());
            }
        }
    }
}
