//! Where inside a segment is an item? In its home bucket, or at most three buckets further on.
//!
//! A segment is a ring of 1 to 64 buckets, one allocation. The home bucket of a hash is an
//! order-preserving map of the bits after the segment's prefix, so buckets are in hash order:
//!
//! ```text
//! hash   | depth bits: which segment | the next bits, times n: which bucket | .. 16 unused | fp: 8 |
//!        `------------------ position: the upper 48 bits -----------------'
//! ```
//!
//! [`Seg`] is a directory entry, a tagged pointer to the buckets (64-aligned, below 2^48):
//!
//! ```text
//!  63    56 55                                      6 5       0
//! +--------+----------------------------------------+---------+
//! | depth  | address, zero for a segment without items | n - 1 |
//! +--------+----------------------------------------+---------+
//! ```

use super::bucket::{Bucket, REACH, SLOTS, Word};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::{self, NonNull};

/// Sizes a segment may have, in buckets: about sqrt(2) apart, and each an allocator size class. At 40 the halves of a
/// full segment have just enough room, and most segments of a large table have come from a split.
/// (Under Miri few items must do to make segments split.)
pub(super) const SIZES: &[usize] =
    if cfg!(miri) { &[1, 2, 3] } else { &[1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 40, 48, 64] };
/// Buckets of the largest segment.
pub(super) const LARGEST: usize = SIZES[SIZES.len() - 1];
/// How far from home a hole is looked for: at 12, segments fill to 90 percent and more before they grow.
const FARTHEST: usize = 12;
/// No directory is deeper; hashes that still collide there are not hashes.
pub(super) const DEEPEST: u32 = 32;

/// The smallest size that holds `items` at 80 percent or less, or the largest.
pub(super) fn size_for(items: usize) -> usize {
    SIZES.iter().copied().find(|n| items * 5 <= n * SLOTS * 4).unwrap_or(LARGEST)
}

/// The part of a hash that orders items: its upper 48 bits.
#[inline]
pub(super) fn position(hash: u64) -> u64 {
    hash >> 16
}

/// The fingerprint of a hash, never 0.
#[inline]
pub(super) fn fingerprint(hash: u64) -> u8 {
    ((hash & 0xff) as u8).max(1)
}

/// The home bucket of `hash` in a segment of `n` buckets whose prefix is `depth` bits.
#[inline]
pub(super) fn home(hash: u64, depth: u32, n: usize) -> usize {
    let local = (position(hash) << 16).wrapping_shl(depth);
    ((u128::from(local) * n as u128) >> 64) as usize
}

/// The first position whose home is `bucket` (or a later one; `n` gives the segment's end), in the
/// segment that holds `position`.
pub(super) fn first_position(position: u64, depth: u32, n: usize, bucket: usize) -> u64 {
    let bits = 48 - depth;
    let prefix = position >> bits << bits;
    prefix + ((bucket as u64) << bits).div_ceil(n as u64)
}

/// `at` steps into a ring of `n`, for `at < 2 n`.
#[inline]
pub(super) fn wrap(at: usize, n: usize) -> usize {
    if at >= n { at - n } else { at }
}

/// A directory entry: see the drawing above.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seg(*mut Bucket);

impl Seg {
    /// A segment without buckets.
    pub(super) fn empty(depth: u32) -> Seg {
        Seg(ptr::without_provenance_mut((depth as usize) << 56))
    }

    /// A segment of `n` empty buckets.
    pub(super) fn alloc(depth: u32, n: usize) -> Seg {
        let layout = Seg::layout(n);
        // SAFETY: the layout is not empty.
        let base = unsafe { alloc_zeroed(layout) };
        if base.is_null() {
            handle_alloc_error(layout);
        }
        debug_assert!(base.addr() >> 48 == 0 && base.addr() & 63 == 0);
        Seg(base.cast::<Bucket>().map_addr(|a| a | (depth as usize) << 56 | (n - 1)))
    }

    fn layout(n: usize) -> Layout {
        match Layout::array::<Bucket>(n) {
            Ok(layout) => layout,
            Err(_) => unreachable!("at most {LARGEST} buckets"),
        }
    }

    /// Gives the buckets back.
    ///
    /// # Safety
    /// No copy of this entry may be used again, and the items must have been moved out.
    pub(super) unsafe fn free(self) {
        if !self.base().is_null() {
            // SAFETY: allocated in `alloc` with this layout, and freed once by the caller's promise.
            unsafe { dealloc(self.base().cast(), Seg::layout(self.n())) }
        }
    }

    /// Length of the hash prefix that all items of the segment share, in bits.
    #[inline]
    pub(super) fn depth(self) -> u32 {
        (self.0.addr() >> 56) as u32
    }

    #[inline]
    fn base(self) -> *mut Bucket {
        self.0.map_addr(|a| a & 0xffff_ffff_ffc0)
    }

    /// Number of buckets; 0 without an allocation.
    #[inline]
    pub(super) fn n(self) -> usize {
        if self.base().is_null() { 0 } else { (self.0.addr() & 63) + 1 }
    }

    /// The home bucket of a hash.
    ///
    /// # Safety
    /// The segment is alive.
    #[inline]
    pub(super) unsafe fn home(self, hash: u64) -> Option<NonNull<Bucket>> {
        let base = NonNull::new(self.base())?;
        // SAFETY: `home` is less than the number of buckets.
        Some(unsafe { base.add(home(hash, self.depth(), (self.0.addr() & 63) + 1)) })
    }

    /// Where `is` accepts the pointer, among the slots whose fingerprint matches. Looks past the home bucket
    /// only when its hint says so.
    ///
    /// # Safety
    /// The segment is alive, and nobody writes to it meanwhile.
    #[inline]
    pub(super) unsafe fn find(
        self,
        hash: u64,
        mut is: impl FnMut(Word) -> bool,
    ) -> Option<(NonNull<Bucket>, usize)> {
        // SAFETY: by the caller's promise.
        let (at, first) = unsafe {
            let at = self.home(hash)?;
            (at, at.as_ref())
        };
        if let Some(slot) = find_in(first, 0, fingerprint(hash), &mut is) {
            return Some((at, slot));
        }
        if first.hint() == 0 {
            return None;
        }
        // SAFETY: by the caller's promise.
        unsafe { self.find_far(hash, is) }
    }

    /// # Safety
    /// As for [`Seg::find`].
    #[inline(never)]
    unsafe fn find_far(
        self,
        hash: u64,
        mut is: impl FnMut(Word) -> bool,
    ) -> Option<(NonNull<Bucket>, usize)> {
        // SAFETY: by the caller's promise.
        let buckets = unsafe { self.buckets() };
        let (n, base) = (buckets.len(), NonNull::new(self.base())?);
        let home = home(hash, self.depth(), n);
        (1..=REACH.min(n - 1)).filter(|distance| buckets[home].reaches(*distance)).find_map(|distance| {
            let bucket = wrap(home + distance, n);
            let slot = find_in(&buckets[bucket], distance, fingerprint(hash), &mut is)?;
            // SAFETY: `bucket` is less than the number of buckets.
            Some((unsafe { base.add(bucket) }, slot))
        })
    }

    /// The buckets, empty without an allocation.
    ///
    /// # Safety
    /// The segment is alive, and nobody writes to it, during `'a`.
    #[inline]
    pub(super) unsafe fn buckets<'a>(self) -> &'a [Bucket] {
        let base = NonNull::new(self.base()).unwrap_or(NonNull::dangling());
        // SAFETY: `alloc` made `n` buckets there; zero buckets may dangle.
        unsafe { std::slice::from_raw_parts(base.as_ptr(), self.n()) }
    }

    /// The buckets, to be changed.
    ///
    /// # Safety
    /// The segment is alive, and nobody else reads or writes it, during `'a`.
    #[inline]
    pub(super) unsafe fn buckets_mut<'a>(self) -> &'a mut [Bucket] {
        let base = NonNull::new(self.base()).unwrap_or(NonNull::dangling());
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(base.as_ptr(), self.n()) }
    }
}

/// Where an item is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Spot {
    pub(super) bucket: usize,
    pub(super) slot: usize,
}

/// The slot of `bucket` where `is` accepts the pointer, among those with this fingerprint and distance.
#[inline]
fn find_in(bucket: &Bucket, distance: usize, fp: u8, is: &mut impl FnMut(Word) -> bool) -> Option<usize> {
    let mut matches = bucket.matches(fp);
    while matches != 0 {
        let slot = matches.trailing_zeros() as usize;
        let word = bucket.word(slot);
        if word.distance() == distance && is(word) {
            return Some(slot);
        }
        matches &= matches - 1;
    }
    None
}

/// Puts an item as near to its home as it can be, moving others aside if that helps.
/// `None`: the segment must grow.
#[inline]
pub(super) fn place(buckets: &mut [Bucket], home: usize, fp: u8, word: Word) -> Option<Spot> {
    let first = buckets.get_mut(home)?;
    if let Some(slot) = first.free() {
        first.put(slot, fp, word.with_distance(0));
        return Some(Spot { bucket: home, slot });
    }
    place_far(buckets, home, fp, word)
}

/// Finds the nearest hole and, while it is out of reach, brings it nearer by moving items into it that may
/// be that far from their own homes (hopscotch hashing: Herlihy, Shavit, Tzafrir 2008).
fn place_far(buckets: &mut [Bucket], home: usize, fp: u8, word: Word) -> Option<Spot> {
    let n = buckets.len();
    let (mut away, mut slot) = (1..=FARTHEST.min(n - 1))
        .find_map(|away| buckets[wrap(home + away, n)].free().map(|slot| (away, slot)))?;
    while away > REACH {
        let hole = Spot { bucket: wrap(home + away, n), slot };
        let (steps, left) =
            (1..=REACH).rev().find_map(|steps| push_on(buckets, hole, steps).map(|left| (steps, left)))?;
        (away, slot) = (away - steps, left);
    }
    put_far(buckets, home, away, slot, fp, word)
}

fn put_far(
    buckets: &mut [Bucket],
    home: usize,
    distance: usize,
    slot: usize,
    fp: u8,
    word: Word,
) -> Option<Spot> {
    if !buckets[home].may_add(distance) {
        return None;
    }
    let bucket = wrap(home + distance, buckets.len());
    buckets[bucket].put(slot, fp, word.with_distance(distance));
    buckets[home].add(distance);
    Some(Spot { bucket, slot })
}

/// Moves some item of the (full) bucket `steps` before `hole` into it; returns the slot it left.
fn push_on(buckets: &mut [Bucket], hole: Spot, steps: usize) -> Option<usize> {
    let n = buckets.len();
    let from = wrap(hole.bucket + n - steps, n);
    for slot in 0..SLOTS {
        let word = buckets[from].word(slot);
        let (old, new) = (word.distance(), word.distance() + steps);
        let owner = wrap(from + n - old, n);
        if new <= REACH && (old >= 2 || buckets[owner].may_add(new)) {
            let fp = buckets[from].fp(slot);
            buckets[hole.bucket].put(hole.slot, fp, word.with_distance(new));
            buckets[from].wipe(slot);
            buckets[owner].subtract(old);
            buckets[owner].add(new);
            return Some(slot);
        }
    }
    None
}

/// Takes the item at `spot` out and returns its pointer.
#[inline]
pub(super) fn take(buckets: &mut [Bucket], spot: Spot) -> Word {
    let word = buckets[spot.bucket].word(spot.slot);
    buckets[spot.bucket].wipe(spot.slot);
    let distance = word.distance();
    if distance > 0 {
        let n = buckets.len();
        buckets[wrap(spot.bucket + n - distance, n)].subtract(distance);
    }
    word
}

/// Number of items.
pub(super) fn count(buckets: &[Bucket]) -> usize {
    buckets.iter().map(|bucket| bucket.occupied().count_ones() as usize).sum()
}

/// A new segment holding `items` (pointer and hash) in at least `n` buckets (none at all for none);
/// `None` when 64 are not enough.
pub(super) fn build(items: &[(Word, u64)], depth: u32, n: usize) -> Option<Seg> {
    if n == 0 && items.is_empty() {
        return Some(Seg::empty(depth));
    }
    SIZES.iter().copied().filter(|size| *size >= n && size * SLOTS >= items.len()).find_map(|n| {
        let seg = Seg::alloc(depth, n);
        // SAFETY: just made, and nobody else knows of it.
        let buckets = unsafe { seg.buckets_mut() };
        let fits = items
            .iter()
            .all(|(word, hash)| place(buckets, home(*hash, depth, n), fingerprint(*hash), *word).is_some());
        if !fits {
            // SAFETY: nobody else knows of it; the items stay with the caller.
            unsafe { seg.free() }
        }
        fits.then_some(seg)
    })
}
