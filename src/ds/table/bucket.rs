//! What is in one cache line of the table? Nine owned pointers, a byte of each one's hash, and a hint
//! at how many items that belong here had to be put elsewhere.
//!
//! ```text
//!  0        9     10                                            64
//!  +--------+-----+------+------+------+------+--  ...  --+------+
//!  | fp x 9 | far | ptr0 | ptr1 | ptr2 | ptr3 |           | ptr8 |   ptr: 48 bits, little-endian
//!  +--------+-----+------+------+------+------+--  ...  --+------+
//!             |      `- bit 0: the caller's mark; bits 1-2: distance from the home bucket, 0..=3
//!             `- low nibble: items at home here that live one bucket on; high nibble: two or three on
//! ```
//!
//! Invariants: `fp[i] == 0` means slot `i` is empty, and then its pointer is all zero. Both nibbles are
//! exact (an item that would push one past 15 is refused).

use std::ptr::NonNull;

/// Items per bucket.
pub(super) const SLOTS: usize = 9;
/// How many buckets past its home an item may live.
pub(super) const REACH: usize = 3;
const ADDRESS: u64 = 0xffff_ffff_fff8;
const FPS: usize = 9;
const FIRST: usize = 8;

/// A stored pointer with its three tag bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Word(u64);

impl Word {
    #[inline]
    pub(super) fn new(at: NonNull<u8>, mark: bool) -> Word {
        let address = at.as_ptr().expose_provenance() as u64;
        assert!(address & !ADDRESS == 0, "items are 8-aligned and below 2^48");
        Word(address | u64::from(mark))
    }

    #[inline]
    pub(super) fn ptr(self) -> NonNull<u8> {
        let at = std::ptr::with_exposed_provenance_mut::<u8>((self.0 & ADDRESS) as usize);
        debug_assert!(!at.is_null());
        // SAFETY: words are made from non-null pointers (`new`), and slots are read only while their
        // fingerprint says that they hold one.
        unsafe { NonNull::new_unchecked(at) }
    }

    #[inline]
    pub(super) fn marked(self) -> bool {
        self.0 & 1 != 0
    }

    #[inline]
    pub(super) fn distance(self) -> usize {
        (self.0 >> 1 & 3) as usize
    }

    #[inline]
    pub(super) fn with_distance(self, distance: usize) -> Word {
        debug_assert!(distance <= REACH);
        Word(self.0 & !6 | (distance as u64) << 1)
    }

    #[inline]
    pub(super) fn with_mark(self, mark: bool) -> Word {
        Word(self.0 & !1 | u64::from(mark))
    }
}

/// One cache line; see the drawing above.
#[repr(C, align(64))]
pub(super) struct Bucket([u8; 64]);

impl Bucket {
    /// The slots (as a bit set) whose fingerprint is `fp`; with 0, the empty slots.
    #[inline]
    pub(super) fn matches(&self, fp: u8) -> u32 {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_load_si128, _mm_movemask_epi8, _mm_set1_epi8};
            // SAFETY: the bucket is 64 bytes, 64-aligned, and SSE2 is part of x86-64.
            let mask = unsafe {
                let line = _mm_load_si128(self.0.as_ptr().cast());
                _mm_movemask_epi8(_mm_cmpeq_epi8(line, _mm_set1_epi8(fp.cast_signed())))
            };
            mask.cast_unsigned() & 0x1ff
        }
        #[cfg(not(target_arch = "x86_64"))]
        self.matches_portable(fp)
    }

    #[cfg(any(test, not(target_arch = "x86_64")))]
    fn matches_portable(&self, fp: u8) -> u32 {
        const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
        let x = self.load(0) ^ (u64::from(fp) * 0x0101_0101_0101_0101);
        // 1 in the top bit of every byte of `x` that is zero, exactly (no carry crosses bytes).
        let zero = !(((x & LOW) + LOW) | x | LOW);
        let bits = (zero >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        bits as u32 | u32::from(self.0[8] == fp) << 8
    }

    #[inline]
    fn load(&self, offset: usize) -> u64 {
        debug_assert!(offset <= 56);
        // SAFETY: 8 bytes at an offset of at most 56 are within the 64.
        u64::from_le(unsafe { self.0.as_ptr().add(offset).cast::<u64>().read_unaligned() })
    }

    /// The occupied slots, as a bit set.
    #[inline]
    pub(super) fn occupied(&self) -> u32 {
        !self.matches(0) & 0x1ff
    }

    /// Whether there is an item in a slot.
    #[inline]
    pub(super) fn is_occupied(&self, slot: usize) -> bool {
        slot < SLOTS && self.fp(slot) != 0
    }

    /// An empty slot.
    #[inline]
    pub(super) fn free(&self) -> Option<usize> {
        let empty = self.matches(0);
        (empty != 0).then(|| empty.trailing_zeros() as usize)
    }

    /// The pointer in `slot`, which is occupied.
    #[inline]
    pub(super) fn word(&self, slot: usize) -> Word {
        debug_assert!(slot < SLOTS);
        // Six bytes at 10 + 6 * slot, read as the upper six of eight so that the last slot stays inside.
        Word(self.load(FIRST + 6 * slot) >> 16)
    }

    #[inline]
    pub(super) fn set_word(&mut self, slot: usize, word: Word) {
        let offset = FIRST + 6 * slot;
        let value = self.load(offset) & 0xffff | word.0 << 16;
        debug_assert!(slot < SLOTS);
        // SAFETY: as in `load`.
        unsafe { self.0.as_mut_ptr().add(offset).cast::<u64>().write_unaligned(value.to_le()) }
    }

    /// The fingerprint of `slot`.
    #[inline]
    pub(super) fn fp(&self, slot: usize) -> u8 {
        self.0[slot]
    }

    #[inline]
    pub(super) fn set_fp(&mut self, slot: usize, fp: u8) {
        debug_assert!(slot < SLOTS);
        self.0[slot] = fp;
    }

    /// Fills an empty slot.
    #[inline]
    pub(super) fn put(&mut self, slot: usize, fp: u8, word: Word) {
        self.set_fp(slot, fp);
        self.set_word(slot, word);
    }

    /// Empties a slot.
    #[inline]
    pub(super) fn wipe(&mut self, slot: usize) {
        self.put(slot, 0, Word(0));
    }

    /// The hint byte: 0 when everything at home here lives here.
    #[inline]
    pub(super) fn hint(&self) -> u8 {
        self.0[FPS]
    }

    /// Whether some item at home here lives `distance` buckets on (1, 2 or 3).
    #[inline]
    pub(super) fn reaches(&self, distance: usize) -> bool {
        self.hint() & if distance == 1 { 0x0f } else { 0xf0 } != 0
    }

    /// Whether the count for `distance` can take one more.
    #[inline]
    pub(super) fn may_add(&self, distance: usize) -> bool {
        distance < 2 || self.hint() < 0xf0
    }

    /// One more item at home here lives `distance` buckets on.
    #[inline]
    pub(super) fn add(&mut self, distance: usize) {
        self.0[FPS] = self.0[FPS].wrapping_add([0, 0x01, 0x10, 0x10][distance]);
    }

    /// One item fewer.
    #[inline]
    pub(super) fn subtract(&mut self, distance: usize) {
        self.0[FPS] = self.0[FPS].wrapping_sub([0, 0x01, 0x10, 0x10][distance]);
    }

    /// Whether any slot is marked.
    #[inline]
    pub(super) fn any_marked(&self) -> bool {
        // Bit 0 of bytes 10, 16, 22, .. 58: the low byte of each pointer, in the word that holds it.
        const AT: [(usize, u64); 7] = [
            (8, 1 << 16),
            (16, 1 | 1 << 48),
            (24, 1 << 32),
            (32, 1 << 16),
            (40, 1 | 1 << 48),
            (48, 1 << 32),
            (56, 1 << 16),
        ];
        AT.iter().fold(0, |any, (offset, bits)| any | self.load(*offset) & bits) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_matchers_agree() {
        let mut bytes = [0u8; 64];
        for round in 0..200u32 {
            for (i, byte) in bytes.iter_mut().enumerate() {
                *byte = (round.wrapping_mul(2_654_435_761).rotate_left(i as u32 * 7) >> 24) as u8 & 0x83;
            }
            let bucket = Bucket(bytes);
            for fp in [0, 1, 2, 3, 0x80, 0x81, 0x82, 0x83, 0xff] {
                let naive = (0..SLOTS).filter(|i| bytes[*i] == fp).fold(0, |m, i| m | 1 << i);
                assert_eq!(bucket.matches(fp), naive);
                assert_eq!(bucket.matches_portable(fp), naive);
            }
        }
    }

    #[test]
    fn words_keep_their_neighbours() {
        let mut bucket = Bucket([0; 64]);
        let mut expected = [None; SLOTS];
        for (i, expect) in expected.iter_mut().enumerate() {
            let word = Word(0x1234_5678_9ab8 + 8 * i as u64).with_distance(i % 4).with_mark(i % 2 == 1);
            bucket.put(i, i as u8 + 1, word);
            *expect = Some(word);
        }
        bucket.add(1);
        bucket.add(3);
        for (i, expect) in expected.iter().enumerate() {
            assert_eq!(Some(bucket.word(i)), *expect);
            assert_eq!(bucket.fp(i), i as u8 + 1);
            assert_eq!(bucket.word(i).distance(), i % 4);
        }
        assert_eq!(bucket.hint(), 0x11);
        for i in 0..SLOTS {
            let mut one = Bucket([0; 64]);
            one.put(i, 9, Word(0xffff_ffff_fff8));
            assert!(!one.any_marked());
            one.set_word(i, one.word(i).with_mark(true));
            assert!(one.any_marked());
            one.wipe(i);
            assert!(one.0 == [0; 64]);
        }
    }
}
