//! Where in memory is a key? In the compact segmented hash table.
//!
//! Items are owned thin pointers ([`Item`]); the table keeps 48 bits of each, and one byte of its hash,
//! in 64-byte buckets of nine ([`bucket`]). Buckets are grouped in segments of 1 to 64 ([`segment`]),
//! and a directory of `2^g` entries finds the segment by the top `g` bits of the hash (extendible hashing):
//!
//! ```text
//! directory    000 001 010 011 100 101 110 111      g = 3
//!               `-.-'   |   |   `---.-------'
//! segments    depth 2   3   3     depth 1           each 1..=64 buckets, in hash order
//! ```
//!
//! Everything is in hash order, so a 48-bit prefix of a hash (a *position*) is a scan cursor that
//! stays valid while segments grow, split, shrink and merge. Growth and shrinking touch one segment at a time
//! (at most 576 items); only the directory itself is copied as a whole, 8 bytes per ~400 items.
//!
//! Invariants: an item is in its home bucket or at most three further on in the same segment; a key
//! is present once; `len` is the number of items; a segment of depth `d` fills `2^(g-d)` directory entries;
//! some segment has depth `g`. The caller passes `hash(seed, key)` with the table's own [`Table::seed`].

mod bucket;
mod segment;
#[cfg(test)]
mod tests;
mod visit;

use super::cache::prefetch;
use crate::util::hash::{Seed, hash};
use bucket::{Bucket, SLOTS, Word};
use segment::{DEEPEST, LARGEST, SIZES, Seg, Spot, build, count, fingerprint, home, place, size_for};
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
pub use visit::Iter;

/// Something a [`Table`] can own: one allocation behind a thin pointer, with its key inside.
///
/// # Safety
/// `into_raw` returns an 8-aligned address below 2^48; `from_raw` of that pointer is the same value
/// again, and moving the value does not change what it points to.
///
/// (An item whose key changes while it is in a table will not be found again; that is a fault, but not one
/// of memory safety.)
pub unsafe trait Item: Sized {
    /// Gives up ownership of the allocation.
    fn into_raw(self) -> NonNull<u8>;

    /// Takes it back.
    ///
    /// # Safety
    /// `raw` came from `into_raw`, and only one of the values made from it is used as an owner.
    unsafe fn from_raw(raw: NonNull<u8>) -> Self;

    /// The bytes the item is found by.
    fn key(&self) -> &[u8];
}

/// The table; see the module's documentation. Empty, it is 64 bytes and has no allocation.
pub struct Table<I: Item> {
    /// `2^g` entries, or none before the first item.
    directory: Vec<Seg>,
    len: usize,
    seed: Seed,
    /// Buckets of all segments, for `memory`.
    buckets: u32,
    /// Segments of depth `g`: when none is left the directory halves.
    deepest: u32,
    /// Where `drain_step` goes on.
    drained: u32,
    /// 63 - g.
    shift: u8,
    /// Counts removals, so that not each of them looks for something to shrink.
    ticks: u8,
    items: PhantomData<I>,
}

// SAFETY: the table owns its items, and its pointers lead to nothing else.
unsafe impl<I: Item + Send> Send for Table<I> {}
// SAFETY: a shared table gives out shared items only.
unsafe impl<I: Item + Sync> Sync for Table<I> {}

impl<I: Item> Table<I> {
    /// An empty table; allocates nothing.
    pub const fn new(seed: Seed) -> Table<I> {
        Table {
            directory: Vec::new(),
            len: 0,
            seed,
            buckets: 0,
            deepest: 0,
            drained: 0,
            shift: 63,
            ticks: 0,
            items: PhantomData,
        }
    }

    /// The seed under which keys are hashed.
    pub fn seed(&self) -> Seed {
        self.seed
    }

    /// The hash of a key in this table.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        hash(self.seed, key)
    }

    /// Number of items.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no item.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of the table itself: buckets and directory, without the items and this struct.
    pub fn memory(&self) -> usize {
        self.buckets as usize * size_of::<Bucket>() + self.directory.capacity() * size_of::<Seg>()
    }

    /// The directory entry for a hash. The shift in two parts works for a directory of one, too.
    #[inline]
    fn index(&self, hash: u64) -> usize {
        (hash >> 1).wrapping_shr(u32::from(self.shift)) as usize
    }

    /// log2 of the directory's length, `g`; 0 also without a directory.
    #[inline]
    fn log(&self) -> u32 {
        63 - u32::from(self.shift)
    }

    /// Puts in a directory of `2^g` entries, or none.
    fn set_directory(&mut self, directory: Vec<Seg>) {
        debug_assert!(directory.is_empty() || directory.len().is_power_of_two());
        self.shift = 63 - directory.len().checked_ilog2().unwrap_or(0) as u8;
        self.directory = directory;
    }

    /// The segment a hash leads to.
    #[inline]
    fn seg(&self, hash: u64) -> Option<Seg> {
        self.directory.get(self.index(hash)).copied()
    }

    #[inline]
    fn find(&self, hash: u64, key: &[u8]) -> Option<(NonNull<Bucket>, usize)> {
        // SAFETY: directory entries are alive; `&self` keeps writers away.
        unsafe { self.seg(hash)?.find(hash, |word| same(peek::<I>(word).key(), key)) }
    }

    /// The item under `key`.
    #[inline]
    pub fn get(&self, hash: u64, key: &[u8]) -> Option<ItemRef<'_, I>> {
        let (bucket, slot) = self.find(hash, key)?;
        // SAFETY: `find` returns buckets of the table.
        Some(ItemRef::new(unsafe { bucket.as_ref() }.word(slot)))
    }

    /// Where the item under `key` is: to look first and decide then, without looking for it twice.
    #[inline]
    pub fn locate(&self, hash: u64, key: &[u8]) -> Option<At> {
        let (bucket, slot) = self.find(hash, key)?;
        // SAFETY: directory entries are alive; `&self` keeps writers away.
        let first = unsafe { self.seg(hash)?.buckets() }.as_ptr();
        let bucket = (bucket.as_ptr().addr() - first.addr()) / size_of::<Bucket>();
        Some(At { hash, bucket: bucket as u8, slot: slot as u8 })
    }

    /// The item at a place.
    ///
    /// # Panics
    /// If the table has been changed since, and nothing is there any more.
    #[inline]
    pub fn at(&self, at: At) -> ItemRef<'_, I> {
        // SAFETY: directory entries are alive; `&self` keeps writers away.
        let buckets = self.seg(at.hash).map_or(&[][..], |seg| unsafe { seg.buckets() });
        let bucket = &buckets[usize::from(at.bucket)];
        assert!(bucket.is_occupied(usize::from(at.slot)), "{GONE}");
        ItemRef::new(bucket.word(usize::from(at.slot)))
    }

    /// The item at a place, to be changed or removed.
    ///
    /// # Panics
    /// If the table has been changed since, and nothing is there any more.
    #[inline]
    pub fn at_mut(&mut self, at: At) -> ItemMut<'_, I> {
        // SAFETY: directory entries are alive; `&mut self` keeps everyone else away.
        let buckets = self.seg(at.hash).map_or(&mut [][..], |seg| unsafe { seg.buckets_mut() });
        let bucket = &mut buckets[usize::from(at.bucket)];
        assert!(bucket.is_occupied(usize::from(at.slot)), "{GONE}");
        let bucket = NonNull::from(bucket);
        ItemMut::new(self, at.hash, bucket, usize::from(at.slot), true)
    }

    /// The item under `key`, to be changed or removed.
    #[inline]
    pub fn get_mut(&mut self, hash: u64, key: &[u8]) -> Option<ItemMut<'_, I>> {
        let (bucket, slot) = self.find(hash, key)?;
        Some(ItemMut::new(self, hash, bucket, slot, true))
    }

    /// Finds the item under `key` or the place for it: hashes and probes once.
    #[inline]
    pub fn entry(&mut self, hash: u64, key: &[u8]) -> Slot<'_, I> {
        match self.find(hash, key) {
            Some((bucket, slot)) => Slot::Occupied(ItemMut::new(self, hash, bucket, slot, true)),
            None => Slot::Vacant(Vacant { table: self, hash }),
        }
    }

    /// Puts in an item whose key is absent (checked in debug builds only: a second item of one key
    /// would be found at random). `mark` is the caller's bit, see [`ItemRef::mark`].
    #[inline]
    pub fn insert(&mut self, hash: u64, item: I, mark: bool) -> ItemMut<'_, I> {
        debug_assert!(self.find(hash, item.key()).is_none(), "the key is present");
        let word = Word::new(item.into_raw(), mark);
        self.len += 1;
        loop {
            if let Some(seg) = self.seg(hash) {
                // SAFETY: directory entries are alive; `&mut self` keeps everyone else away.
                let buckets = unsafe { seg.buckets_mut() };
                let home = home(hash, seg.depth(), buckets.len());
                if let Some(spot) = place(buckets, home, fingerprint(hash), word) {
                    let bucket = NonNull::from(&mut buckets[spot.bucket]);
                    return ItemMut::new(self, hash, bucket, spot.slot, true);
                }
            }
            self.grow(hash);
        }
    }

    /// Takes out the item under `key`.
    #[inline]
    pub fn remove(&mut self, hash: u64, key: &[u8]) -> Option<I> {
        self.get_mut(hash, key).map(ItemMut::remove)
    }

    /// The item at a spot of the segment that `hash` leads to; a removal does not shrink anything.
    fn item_at(&mut self, hash: u64, spot: Spot) -> Option<ItemMut<'_, I>> {
        // SAFETY: directory entries are alive; `&mut self` keeps everyone else away.
        let buckets = unsafe { self.seg(hash)?.buckets_mut() };
        let bucket = NonNull::from(buckets.get_mut(spot.bucket)?);
        Some(ItemMut::new(self, hash, bucket, spot.slot, false))
    }

    /// Brings the bucket of a hash into the cache.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        // SAFETY: directory entries are alive.
        if let Some(bucket) = self.seg(hash).and_then(|seg| unsafe { seg.home(hash) }) {
            prefetch(bucket.as_ptr().cast());
        }
    }

    /// Brings the item of a hash into the cache, once its bucket is there: the one in the home bucket
    /// whose fingerprint matches.
    #[inline]
    pub fn prefetch_item(&self, hash: u64) {
        // SAFETY: directory entries are alive; `&self` keeps writers away.
        if let Some(bucket) = self.seg(hash).and_then(|seg| unsafe { Some(seg.home(hash)?.as_ref()) }) {
            let matches = bucket.matches(fingerprint(hash));
            if matches != 0 {
                let at = bucket.word(matches.trailing_zeros() as usize).ptr().as_ptr();
                prefetch(at);
                prefetch(at.wrapping_add(48));
            }
        }
    }

    /// Brings what [`Table::get`] looks at into the cache: the bucket in step 0, the item in step 1.
    pub fn prefetch_step(&self, key: &[u8], step: u32) {
        match step {
            0 => self.prefetch(self.hash(key)),
            1 => self.prefetch_item(self.hash(key)),
            _ => {}
        }
    }

    /// Takes out and drops every item, and gives the memory back.
    pub fn clear(&mut self) {
        while !self.drain_step(usize::MAX) {}
    }

    /// Makes the segment that `hash` leads to bigger, or splits it.
    #[cold]
    fn grow(&mut self, hash: u64) {
        if self.directory.is_empty() {
            self.set_directory(vec![Seg::empty(0)]);
            self.deepest = 1;
        }
        let seg = self.directory[self.index(hash)];
        let n = SIZES.iter().copied().find(|size| *size > seg.n());
        let items = self.collect(&[seg]);
        let prefix = (hash >> 1) >> (63 - seg.depth());
        self.install(prefix, seg.depth(), &items, n);
        // SAFETY: `install` replaced every copy of the entry, and the items are in its successors.
        unsafe { self.discard(seg) }
    }

    /// Puts `items` into a new segment of at least `n` buckets for `prefix` (the top `depth` bits of their
    /// hashes) or, when `n` is `None` or no size suffices, into two segments one bit deeper.
    fn install(&mut self, prefix: u64, depth: u32, items: &[(Word, u64)], n: Option<usize>) {
        if let Some(seg) = n.and_then(|n| build(items, depth, n)) {
            self.buckets += seg.n() as u32;
            let span = 1usize << (self.log() - depth);
            let start = prefix as usize * span;
            self.directory[start..start + span].fill(seg);
            return;
        }
        assert!(depth < DEEPEST, "the hash does not spread its keys");
        if depth == self.log() {
            let mut double = Vec::with_capacity(self.directory.len() * 2);
            self.directory.iter().for_each(|seg| double.extend([*seg, *seg]));
            self.set_directory(double);
            self.deepest = 0;
        }
        if depth + 1 == self.log() {
            self.deepest += 2;
        }
        let (right, left): (Vec<_>, Vec<_>) =
            items.iter().partition(|(_, hash)| hash >> (63 - depth) & 1 == 1);
        for (prefix, items) in [(prefix * 2, left), (prefix * 2 + 1, right)] {
            self.install(prefix, depth + 1, &items, Some(size_for(items.len())));
        }
    }

    /// Pointers and hashes of the items of some segments. Fetches the items ahead of hashing them.
    fn collect(&self, segs: &[Seg]) -> Vec<(Word, u64)> {
        const AHEAD: usize = 12;
        let mut items = Vec::with_capacity(segs.iter().map(|seg| seg.n() * SLOTS).sum());
        for seg in segs {
            // SAFETY: directory entries are alive; `&self` keeps writers away.
            for bucket in unsafe { seg.buckets() } {
                items.extend(slots(bucket.occupied()).map(|slot| (bucket.word(slot), 0)));
            }
        }
        let touch = |word: Word| {
            prefetch(word.ptr().as_ptr());
            prefetch(word.ptr().as_ptr().wrapping_add(24));
        };
        items.iter().take(AHEAD).for_each(|(word, _)| touch(*word));
        for i in 0..items.len() {
            if let Some((word, _)) = items.get(i + AHEAD) {
                touch(*word);
            }
            items[i].1 = self.hash(peek::<I>(items[i].0).key());
        }
        items
    }

    /// Frees the buckets of a replaced segment.
    ///
    /// # Safety
    /// As for [`Seg::free`].
    unsafe fn discard(&mut self, seg: Seg) {
        self.buckets -= seg.n() as u32;
        // SAFETY: by the caller's promise.
        unsafe { seg.free() }
    }

    /// One item less at `hash`; shrinks something now and then.
    #[inline]
    fn removed(&mut self, hash: u64) {
        self.len -= 1;
        self.ticks = self.ticks.wrapping_add(1);
        let n = self.seg(hash).map_or(0, Seg::n);
        if n <= 4 || self.ticks & 7 == 0 {
            self.shrink(hash);
        }
    }

    /// Makes the segment that `hash` leads to smaller, or one with its sibling, when it is rather empty.
    #[cold]
    fn shrink(&mut self, hash: u64) {
        // Half of what a split leaves in the two: no ping-pong.
        const TOGETHER: usize = LARGEST * SLOTS * 2 / 5;
        if self.len == 0 && self.directory.len() > 1 {
            self.clear();
            return;
        }
        let index = self.index(hash);
        let seg = self.directory[index];
        let depth = seg.depth();
        // SAFETY: directory entries are alive.
        let items = count(unsafe { seg.buckets() });
        let prefix = (hash >> 1) >> (63 - depth);
        if depth > 0 && items < TOGETHER {
            let sibling = self.directory[index ^ 1 << (self.log() - depth)];
            // SAFETY: directory entries are alive.
            if sibling.depth() == depth && items + count(unsafe { sibling.buckets() }) < TOGETHER {
                self.merge(prefix, seg, sibling);
                return;
            }
        }
        let n = if items == 0 && depth > 0 { 0 } else { size_for(items) };
        if n < seg.n() && items * 5 <= seg.n() * SLOTS * 2 {
            let items = self.collect(&[seg]);
            self.install(prefix, depth, &items, Some(n));
            // SAFETY: `install` replaced every copy of the entry, and the items are in its successor.
            unsafe { self.discard(seg) }
        }
    }

    fn merge(&mut self, prefix: u64, seg: Seg, sibling: Seg) {
        let depth = seg.depth();
        let items = self.collect(&[seg, sibling]);
        if depth == self.log() {
            self.deepest -= 2;
        }
        self.install(prefix >> 1, depth - 1, &items, Some(size_for(items.len())));
        // SAFETY: `install` replaced every copy of both entries, and the items are in the successor.
        unsafe {
            self.discard(seg);
            self.discard(sibling);
        }
        while self.deepest == 0 && self.directory.len() > 1 {
            self.set_directory(self.directory.iter().step_by(2).copied().collect());
            let log = self.log();
            self.deepest = self.directory.iter().filter(|seg| seg.depth() == log).count() as u32;
        }
    }
}

impl<I: Item> Drop for Table<I> {
    fn drop(&mut self) {
        self.clear();
    }
}

impl<I: Item> fmt::Debug for Table<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("len", &self.len)
            .field("buckets", &self.buckets)
            .field("directory", &self.directory.len())
            .finish_non_exhaustive()
    }
}

/// Where an item is, good until the table is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    hash: u64,
    bucket: u8,
    slot: u8,
}

const GONE: &str = "the table has been changed since the item was located";

/// An item of a table, to be read.
pub struct ItemRef<'a, I: Item> {
    item: ManuallyDrop<I>,
    mark: bool,
    table: PhantomData<&'a I>,
}

impl<'a, I: Item> ItemRef<'a, I> {
    /// The key, for as long as the table is borrowed.
    #[inline]
    pub fn into_key(self) -> &'a [u8] {
        // SAFETY: the key's bytes are in the item's allocation, which outlives the borrow `'a` of the
        // table, and do not change meanwhile; that this value (a copy of the pointer) goes matters not.
        unsafe { std::mem::transmute::<&[u8], &'a [u8]>(self.item.key()) }
    }

    #[inline]
    fn new(word: Word) -> Self {
        ItemRef { item: peek(word), mark: word.marked(), table: PhantomData }
    }

    /// The caller's bit, which the table keeps beside the pointer.
    #[inline]
    pub fn mark(&self) -> bool {
        self.mark
    }
}

impl<I: Item> Deref for ItemRef<'_, I> {
    type Target = I;

    #[inline]
    fn deref(&self) -> &I {
        &self.item
    }
}

/// An item of a table, to be changed or removed. Its allocation may move: the table learns the new
/// address when this is dropped. (Should it be forgotten instead, the item leaks.)
pub struct ItemMut<'a, I: Item> {
    table: &'a mut Table<I>,
    item: ManuallyDrop<I>,
    bucket: NonNull<Bucket>,
    hash: u64,
    slot: usize,
    fp: u8,
    /// While the caller may be moving the item, the slot is empty.
    out: bool,
    /// Whether a removal may shrink the table at once.
    settle: bool,
}

impl<'a, I: Item> ItemMut<'a, I> {
    /// `hash` need only lead to the home bucket: the fingerprint is taken from the slot.
    #[inline]
    fn new(table: &'a mut Table<I>, hash: u64, bucket: NonNull<Bucket>, slot: usize, settle: bool) -> Self {
        // SAFETY: the caller got the bucket from the table, and `table` is borrowed for as long as we are.
        let (word, fp) = unsafe { (bucket.as_ref().word(slot), bucket.as_ref().fp(slot)) };
        ItemMut { table, item: peek(word), bucket, hash, slot, fp, out: false, settle }
    }

    #[inline]
    fn bucket(&mut self) -> &mut Bucket {
        // SAFETY: `table` is borrowed for as long as we are, and nothing moves its buckets meanwhile.
        unsafe { self.bucket.as_mut() }
    }

    /// The caller's bit, which the table keeps beside the pointer.
    #[inline]
    pub fn mark(&self) -> bool {
        // SAFETY: as in `bucket`.
        unsafe { self.bucket.as_ref() }.word(self.slot).marked()
    }

    /// Changes the caller's bit.
    #[inline]
    pub fn set_mark(&mut self, mark: bool) {
        let slot = self.slot;
        let word = self.bucket().word(slot).with_mark(mark);
        self.bucket().set_word(slot, word);
    }

    /// Takes the item out of the table.
    #[inline]
    pub fn remove(self) -> I {
        let mut this = ManuallyDrop::new(self);
        let (hash, slot, settle) = (this.hash, this.slot, this.settle);
        let distance = this.bucket().word(slot).distance();
        this.bucket().wipe(slot);
        if distance > 0
            && let Some(seg) = this.table.seg(hash)
        {
            // SAFETY: directory entries are alive; `table` is borrowed by this item alone.
            let home = unsafe { seg.home(hash).map(|mut home| home.as_mut()) };
            home.into_iter().for_each(|home| home.subtract(distance));
        }
        if settle {
            this.table.removed(hash);
        } else {
            this.table.len -= 1;
        }
        // SAFETY: `this` is never dropped nor used again, so this is the only owner.
        unsafe { ManuallyDrop::take(&mut this.item) }
    }
}

impl<I: Item> Deref for ItemMut<'_, I> {
    type Target = I;

    #[inline]
    fn deref(&self) -> &I {
        &self.item
    }
}

impl<I: Item> DerefMut for ItemMut<'_, I> {
    #[inline]
    fn deref_mut(&mut self) -> &mut I {
        self.out = true;
        let slot = self.slot;
        self.bucket().set_fp(slot, 0);
        &mut self.item
    }
}

impl<I: Item> Drop for ItemMut<'_, I> {
    #[inline]
    fn drop(&mut self) {
        if self.out {
            // SAFETY: the field is not used again.
            let item = unsafe { ManuallyDrop::take(&mut self.item) };
            let (slot, fp) = (self.slot, self.fp);
            let (raw, old) = (item.into_raw(), self.bucket().word(slot));
            if raw != old.ptr() {
                let new = Word::new(raw, old.marked()).with_distance(old.distance());
                self.bucket().set_word(slot, new);
            }
            self.bucket().set_fp(slot, fp);
        }
    }
}

/// What [`Table::entry`] found.
pub enum Slot<'a, I: Item> {
    /// The item.
    Occupied(ItemMut<'a, I>),
    /// No item, but the place for one.
    Vacant(Vacant<'a, I>),
}

/// An absent key's place.
pub struct Vacant<'a, I: Item> {
    table: &'a mut Table<I>,
    hash: u64,
}

impl<'a, I: Item> Vacant<'a, I> {
    /// Puts in the item, which has the key that was looked up.
    #[inline]
    pub fn insert(self, item: I, mark: bool) -> ItemMut<'a, I> {
        self.table.insert(self.hash, item, mark)
    }
}

/// The item behind a stored pointer, to be looked at while it stays in the table.
#[inline]
fn peek<I: Item>(word: Word) -> ManuallyDrop<I> {
    // SAFETY: occupied slots hold pointers made by `into_raw`; the copy is never dropped as an owner
    // while the slot still counts as one.
    ManuallyDrop::new(unsafe { I::from_raw(word.ptr()) })
}

/// Whether two keys are equal; those of 8 to 16 bytes without a call.
#[inline]
fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    match (a.first_chunk::<8>(), a.last_chunk::<8>(), b.first_chunk::<8>(), b.last_chunk::<8>()) {
        (Some(a_head), Some(a_tail), Some(b_head), Some(b_tail)) if a.len() <= 16 => {
            (a_head == b_head) & (a_tail == b_tail)
        }
        _ => a == b,
    }
}

/// The members of a bit set, low to high.
#[inline]
fn slots(mut set: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let slot = set.trailing_zeros() as usize;
        let some = set != 0;
        set &= set.wrapping_sub(1);
        some.then_some(slot)
    })
}
