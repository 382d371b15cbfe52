//! How does one walk a table? By position (scans, which survive any growth and shrinking between two
//! calls), by chance (random, sample), or all at once (iter).
//!
//! A cursor is a position: the upper 48 bits of a hash. A scan call visits what is at home in one bucket,
//! from the cursor on, and returns the first position of the next bucket. What the items of a bucket are
//! may change between calls; positions never do, so nothing is missed and nothing is seen twice.

use super::bucket::{Bucket, REACH, SLOTS, Word};
use super::segment::{LARGEST, Seg, Spot, first_position, home, position, take, wrap};
use super::{Item, ItemMut, ItemRef, Table, peek, slots};
use crate::ds::cache::prefetch;
use std::marker::PhantomData;

/// One past the last position.
const END: u64 = 1 << 48;

/// What a cursor points at.
struct Stop {
    seg: Seg,
    depth: u32,
    n: usize,
    home: usize,
    /// The first position of the home bucket; the cursor may be past it.
    first: u64,
    /// The first position of the next one; 0 when there is none.
    next: u64,
}

impl<I: Item> Table<I> {
    /// Where a hash is in the order of scans: below [`Table::scan`]'s cursor means already visited.
    #[inline]
    pub fn position(hash: u64) -> u64 {
        position(hash)
    }

    fn stop(&self, cursor: u64) -> Option<Stop> {
        if cursor >= END {
            return None;
        }
        let hash = cursor << 16;
        let seg = *self.directory.get(self.index(hash))?;
        let (depth, n) = (seg.depth(), seg.n());
        if n == 0 {
            let first = first_position(cursor, depth, 1, 0);
            let next = first_position(cursor, depth, 1, 1) % END;
            return Some(Stop { seg, depth, n, home: 0, first, next });
        }
        let home = home(hash, depth, n);
        let first = first_position(cursor, depth, n, home);
        let next = first_position(cursor, depth, n, home + 1) % END;
        Some(Stop { seg, depth, n, home, first, next })
    }

    /// The spots of the items at home in a bucket, from the cursor on.
    fn spots(&self, stop: &Stop, cursor: u64) -> Vec<Spot> {
        // SAFETY: directory entries are alive; `&self` keeps writers away.
        let buckets = unsafe { stop.seg.buckets() };
        let Some(first) = buckets.get(stop.home) else { return Vec::new() };
        let mut spots = Vec::with_capacity(SLOTS);
        for distance in 0..=REACH.min(stop.n - 1) {
            if distance > 0 && !first.reaches(distance) {
                continue;
            }
            let bucket = wrap(stop.home + distance, stop.n);
            let here = &buckets[bucket];
            spots.extend(
                slots(here.occupied())
                    .filter(|slot| here.word(*slot).distance() == distance)
                    .map(|slot| Spot { bucket, slot }),
            );
        }
        let word = |spot: &Spot| buckets[spot.bucket].word(spot.slot);
        spots.iter().for_each(|spot| prefetch(word(spot).ptr().as_ptr()));
        if cursor > stop.first {
            spots.retain(|spot| position(self.hash(peek::<I>(word(spot)).key())) >= cursor);
        }
        spots
    }

    /// Visits the items at home in the bucket at `cursor` (0 at first) whose position is not below it, and
    /// returns the next cursor, 0 at the end. Over a whole scan, an item that stays in the table is
    /// visited exactly once, whatever else comes and goes; the order is that of hashes.
    pub fn scan(&self, cursor: u64, visit: &mut dyn FnMut(&I)) -> u64 {
        let Some(stop) = self.stop(cursor) else { return 0 };
        for spot in self.spots(&stop, cursor) {
            // SAFETY: directory entries are alive; `&self` keeps writers away.
            visit(&peek(unsafe { stop.seg.buckets() }[spot.bucket].word(spot.slot)));
        }
        stop.next
    }

    /// As [`Table::scan`], with items that may be changed or removed.
    pub fn scan_mut(&mut self, cursor: u64, visit: &mut dyn FnMut(ItemMut<'_, I>)) -> u64 {
        let Some(stop) = self.stop(cursor) else { return 0 };
        let len = self.len;
        for spot in self.spots(&stop, cursor) {
            if let Some(item) = self.item_at(stop.first.max(cursor) << 16, spot) {
                visit(item);
            }
        }
        if self.len < len {
            self.shrink(cursor << 16);
        }
        stop.next
    }

    /// Visits marked items only, bucket by bucket from `cursor` (0 at first), until `budget` buckets have
    /// been looked at or the end is reached; returns the next cursor, 0 at the end. A bucket without marks
    /// costs one cache line. For sweeps: while the table grows or shrinks an item may be seen twice, or not
    /// until the next round.
    pub fn scan_marked(&mut self, cursor: u64, budget: usize, visit: &mut dyn FnMut(ItemMut<'_, I>)) -> u64 {
        let mut cursor = cursor;
        for _ in 0..budget {
            let Some(stop) = self.stop(cursor) else { return 0 };
            let len = self.len;
            self.marked_in(&stop, visit);
            if self.len < len {
                self.shrink(cursor << 16);
            }
            cursor = stop.next;
            if cursor == 0 {
                return 0;
            }
        }
        cursor
    }

    fn marked_in(&mut self, stop: &Stop, visit: &mut dyn FnMut(ItemMut<'_, I>)) {
        // SAFETY: directory entries are alive; the borrow ends before anything is changed.
        let Some(bucket) = unsafe { stop.seg.buckets() }.get(stop.home) else { return };
        if !bucket.any_marked() {
            return;
        }
        let marked: Vec<(usize, usize)> = slots(bucket.occupied())
            .filter(|slot| bucket.word(*slot).marked())
            .map(|slot| (slot, bucket.word(slot).distance()))
            .collect();
        for (slot, distance) in marked {
            let home = wrap(stop.home + stop.n - distance, stop.n);
            let at = first_position(stop.first, stop.depth, stop.n, home) << 16;
            if let Some(item) = self.item_at(at, Spot { bucket: stop.home, slot }) {
                visit(item);
            }
        }
    }

    /// Some item, each with the same chance; `random` gives uniform 64-bit numbers.
    pub fn random(&self, mut random: impl FnMut() -> u64) -> Option<ItemRef<'_, I>> {
        const TRIES: usize = 4096;
        if self.len == 0 {
            return None;
        }
        let log = self.log();
        let bound = if log == 0 { self.directory.first()?.n() } else { LARGEST } as u64;
        for _ in 0..TRIES {
            let r = random();
            let index = self.index(r);
            let seg = *self.directory.get(index)?;
            // A shallow segment has several entries: only the first one counts, or it would be favoured.
            if index & ((1 << (log - seg.depth())) - 1) != 0 {
                continue;
            }
            // The directory took the upper bits, at most 32; 32 are left for a slot of at most 64 * 9.
            let at = (((r & 0xffff_ffff) * bound * SLOTS as u64) >> 32) as usize;
            // SAFETY: directory entries are alive; `&self` keeps writers away.
            if let Some(bucket) = unsafe { seg.buckets() }.get(at / SLOTS)
                && bucket.fp(at % SLOTS) != 0
            {
                return Some(ItemRef::new(bucket.word(at % SLOTS)));
            }
        }
        // A nearly empty table that has yet to shrink. Fairness is lost, an answer is not.
        let start = self.index(random());
        let words = |bucket: &Bucket| slots(bucket.occupied()).next().map(|slot| bucket.word(slot));
        let (before, after) = self.directory.split_at(start);
        // SAFETY: as above.
        let mut buckets = after.iter().chain(before).flat_map(|seg| unsafe { seg.buckets() });
        buckets.find_map(words).map(ItemRef::new)
    }

    /// Visits up to `n` items that lie together, from a random slot on, so that none is favoured by its place in its
    /// bucket: cheap candidates for eviction. With `marked`, only marked ones. Looks at no more than `16 * n` buckets;
    /// returns how many it visited.
    pub fn sample(
        &self,
        random: u64,
        n: usize,
        marked: bool,
        visit: &mut dyn FnMut(ItemRef<'_, I>),
    ) -> usize {
        let (mut cursor, mut seen) = (position(random), 0);
        let before = (1u32 << (((random & 0xffff) * SLOTS as u64) >> 16)) - 1;
        let mut start = None;
        for _ in 0..n.saturating_mul(16) {
            let Some(stop) = self.stop(cursor) else { break };
            let around = start == Some(stop.first);
            let wanted = match start {
                None => !before,
                _ if around => before,
                _ => !0,
            };
            start = start.or(Some(stop.first));
            // SAFETY: directory entries are alive; `&self` keeps writers away.
            if let Some(bucket) = unsafe { stop.seg.buckets() }.get(stop.home)
                && (!marked || bucket.any_marked())
            {
                let words = slots(bucket.occupied() & wanted).map(|slot| bucket.word(slot));
                for word in words.filter(|word| !marked || word.marked()).take(n - seen) {
                    visit(ItemRef::new(word));
                    seen += 1;
                }
            }
            if seen == n || around {
                break;
            }
            cursor = stop.next;
        }
        seen
    }

    /// Every item, in no particular order.
    pub fn iter(&self) -> Iter<'_, I> {
        Iter { table: self, index: 0, bucket: 0, left: 0, items: PhantomData }
    }

    /// Takes out and drops up to `n` items, segment after segment, giving memory back on the way. `true`:
    /// the table is empty and has no allocation left. For freeing big tables in pieces; what is still in
    /// the table can be used as ever.
    pub fn drain_step(&mut self, n: usize) -> bool {
        let mut left = n;
        while (self.drained as usize) < self.directory.len() {
            let index = self.drained as usize;
            let seg = self.directory[index];
            while let Some(word) = self.take_last(seg) {
                drop(std::mem::ManuallyDrop::into_inner(peek::<I>(word)));
                left = left.saturating_sub(1);
                if left == 0 {
                    return false;
                }
            }
            let span = 1usize << (self.log() - seg.depth());
            let start = index & !(span - 1);
            self.directory[start..start + span].fill(Seg::empty(seg.depth()));
            self.drained = (start + span) as u32;
            // SAFETY: every copy of the entry was just replaced, and no item is left in the segment.
            unsafe { self.discard(seg) }
        }
        self.drained = 0;
        if self.len == 0 || self.directory.iter().all(|seg| seg.n() == 0) {
            self.set_directory(Vec::new());
            (self.len, self.deepest) = (0, 0);
            return true;
        }
        false
    }

    /// Takes one item out of a segment.
    fn take_last(&mut self, seg: Seg) -> Option<Word> {
        // SAFETY: directory entries are alive; `&mut self` keeps everyone else away.
        let buckets = unsafe { seg.buckets_mut() };
        let bucket = buckets.iter().rposition(|bucket| bucket.occupied() != 0)?;
        let slot = slots(buckets[bucket].occupied()).next()?;
        self.len -= 1;
        Some(take(buckets, Spot { bucket, slot }))
    }
}

/// See [`Table::iter`].
pub struct Iter<'a, I: Item> {
    table: &'a Table<I>,
    index: usize,
    /// The next bucket of the segment at `index`.
    bucket: usize,
    /// Slots of the bucket before it that are still to come.
    left: u32,
    items: PhantomData<&'a I>,
}

impl<'a, I: Item> Iterator for Iter<'a, I> {
    type Item = ItemRef<'a, I>;

    fn next(&mut self) -> Option<ItemRef<'a, I>> {
        loop {
            let seg = *self.table.directory.get(self.index)?;
            // SAFETY: directory entries are alive; the table is borrowed.
            let buckets = unsafe { seg.buckets() };
            if self.left != 0 {
                let slot = self.left.trailing_zeros() as usize;
                self.left &= self.left - 1;
                return Some(ItemRef::new(buckets[self.bucket - 1].word(slot)));
            }
            if let Some(bucket) = buckets.get(self.bucket) {
                self.left = bucket.occupied();
                self.bucket += 1;
                slots(self.left).for_each(|slot| prefetch(bucket.word(slot).ptr().as_ptr()));
            } else {
                self.index += 1 << (self.table.log() - seg.depth());
                self.bucket = 0;
            }
        }
    }
}

impl<'a, I: Item> IntoIterator for &'a Table<I> {
    type Item = ItemRef<'a, I>;
    type IntoIter = Iter<'a, I>;

    fn into_iter(self) -> Iter<'a, I> {
        self.iter()
    }
}
