//! In which leaf is a member? A hash index of five bytes per slot that holds no members.
//!
//! Hash space is cut into segments (extendible hashing: a directory over the top bits), segments
//! into groups of one cache line, so that position in the index is position in hash space and a
//! scan cursor survives every split and merge.
//!
//! ```text
//! hash   | directory bits | group bits |  ...  | tag: 8 bits |
//! group  | 12 tags | used: u16 | away: u8 | - | 12 x (displaced: 1 bit, leaf: 31 bits) |   64 bytes
//! ```
//!
//! A member's slot is in its home group or, marked as displaced, in the next one of its segment.
//! Two slots with one home, tag and leaf are interchangeable, which is why a member need not be
//! known to move its slot. What a split needs of the hash is read back from the leaves.
//!
//! Invariants: there are exactly as many slots as items; `away` counts the displaced slots whose
//! home is this group. Items whose neighbourhood is full although their segment is nearly empty
//! (nobody who does not know the seed can make such) go to `stash`.

use crate::ds::cache::prefetch;

/// Slots of a group.
const SLOTS: usize = 12;
/// Groups of a full-grown segment, as a power of two.
const FULL: u32 = 6;
/// Groups of the first segment of a small index, as a power of two.
const SMALL: u32 = 4;
/// The directory has at most this many bits.
const MAX_DEPTH: u32 = 30;
const DISPLACED: u32 = 1 << 31;

/// Reads the hashes of items back from the leaves.
pub(super) trait Hashes {
    /// Calls `f` with the hash of every item of `leaf` that has `tag`.
    fn with_tag(&self, leaf: u32, tag: u8, f: impl FnMut(u64));
}

#[derive(Clone, Debug, Default)]
#[repr(C, align(64))]
struct Group {
    tags: [u8; SLOTS],
    used: u16,
    away: u8,
    leaf: [u32; SLOTS],
}

impl Group {
    /// The used slots with this tag, as a bit mask.
    fn matching(&self, tag: u8) -> u16 {
        let mut mask = 0u16;
        for (i, &t) in self.tags.iter().enumerate() {
            mask |= u16::from(t == tag) << i;
        }
        mask & self.used
    }

    fn find(&self, tag: u8, leaf: u32) -> Option<usize> {
        bits(self.matching(tag)).find(|&i| self.leaf[i] == leaf)
    }

    fn put(&mut self, tag: u8, leaf: u32) -> bool {
        let slot = (!self.used).trailing_zeros() as usize;
        if slot >= SLOTS {
            return false;
        }
        self.used |= 1 << slot;
        self.tags[slot] = tag;
        self.leaf[slot] = leaf;
        true
    }
}

fn bits(mut mask: u16) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = mask.trailing_zeros();
        mask &= mask.wrapping_sub(1);
        (bit < 16).then_some(bit as usize)
    })
}

#[derive(Debug, Default)]
struct Segment {
    groups: Vec<Group>,
    /// The top `depth` bits of all hashes here, left-aligned.
    prefix: u64,
    depth: u32,
    count: u32,
}

impl Segment {
    fn new(prefix: u64, depth: u32, groups: u32) -> Segment {
        Segment { groups: vec![Group::default(); 1 << groups], prefix, depth, count: 0 }
    }

    /// The hashes of one home group differ below this many bits.
    fn home_shift(&self) -> u32 {
        64 - self.depth - self.groups.len().trailing_zeros()
    }

    fn home(&self, hash: u64) -> usize {
        (hash >> self.home_shift()) as usize & (self.groups.len() - 1)
    }

    fn next(&self, group: usize) -> usize {
        (group + 1) & (self.groups.len() - 1)
    }

    fn covers(&self, hash: u64) -> bool {
        self.depth == 0 || (hash ^ self.prefix) >> (64 - self.depth) == 0
    }

    fn has_room(&self, home: usize) -> bool {
        let full = |g: usize| self.groups[g].used == (1 << SLOTS) - 1;
        !full(home) || !full(self.next(home))
    }

    fn put(&mut self, home: usize, tag: u8, leaf: u32) -> bool {
        if !self.groups[home].put(tag, leaf) {
            let next = self.next(home);
            if !self.groups[next].put(tag, leaf | DISPLACED) {
                return false;
            }
            self.groups[home].away += 1;
        }
        self.count += 1;
        true
    }

    /// The slots whose home is `home`: (tag, leaf), in no order.
    fn at_home(&self, home: usize) -> impl Iterator<Item = (u8, u32)> {
        let (here, next) = (&self.groups[home], &self.groups[self.next(home)]);
        let near = bits(here.used).map(|i| (here.tags[i], here.leaf[i]));
        let far =
            bits(if here.away > 0 { next.used } else { 0 }).map(|i| (next.tags[i], next.leaf[i] ^ DISPLACED));
        near.chain(far).filter(|&(_, leaf)| leaf < DISPLACED)
    }

    fn find(&self, home: usize, tag: u8, leaf: u32) -> Option<(usize, usize)> {
        if let Some(slot) = self.groups[home].find(tag, leaf) {
            return Some((home, slot));
        }
        if self.groups[home].away == 0 {
            return None;
        }
        let next = self.next(home);
        let slot = self.groups[next].find(tag, leaf | DISPLACED)?;
        Some((next, slot))
    }
}

fn tag_of(hash: u64) -> u8 {
    hash as u8
}

/// Leaf numbers by member hash.
#[derive(Debug)]
pub(super) struct MemberIndex {
    directory: Vec<u32>,
    /// log2 of the length of the directory.
    depth: u32,
    segments: Vec<Segment>,
    free: Vec<u32>,
    stash: Vec<(u64, u32)>,
}

impl MemberIndex {
    pub(super) fn new() -> MemberIndex {
        MemberIndex {
            directory: vec![0],
            depth: 0,
            segments: vec![Segment::new(0, 0, SMALL)],
            free: Vec::new(),
            stash: Vec::new(),
        }
    }

    fn segment_of(&self, hash: u64) -> usize {
        // Shifted twice, since a shift by 64 is none.
        self.directory[(hash >> 1 >> (63 - self.depth)) as usize] as usize
    }

    /// Asks `f` about each leaf that may hold the item of this hash, until it answers.
    pub(super) fn find<R>(&self, hash: u64, mut f: impl FnMut(u32) -> Option<R>) -> Option<R> {
        let segment = &self.segments[self.segment_of(hash)];
        let (home, tag) = (segment.home(hash), tag_of(hash));
        let here = &segment.groups[home];
        for slot in bits(here.matching(tag)) {
            if here.leaf[slot] < DISPLACED
                && let Some(found) = f(here.leaf[slot])
            {
                return Some(found);
            }
        }
        if here.away > 0 {
            let next = &segment.groups[segment.next(home)];
            for slot in bits(next.matching(tag)) {
                if next.leaf[slot] >= DISPLACED
                    && let Some(found) = f(next.leaf[slot] ^ DISPLACED)
                {
                    return Some(found);
                }
            }
        }
        let stashed = self.stash.iter().filter(|&&(h, _)| h == hash);
        stashed.map(|&(_, leaf)| leaf).find_map(f)
    }

    /// Brings the group where a search for this hash begins into the cache.
    pub(super) fn fetch(&self, hash: u64) {
        let segment = &self.segments[self.segment_of(hash)];
        prefetch(std::ptr::from_ref(&segment.groups[segment.home(hash)]).cast());
    }

    /// Makes room for one more item of this hash. To be called while slots and items agree.
    pub(super) fn reserve(&mut self, hash: u64, hashes: &impl Hashes) {
        loop {
            let at = self.segment_of(hash);
            let segment = &self.segments[at];
            if segment.has_room(segment.home(hash)) || !self.worth_splitting(at) {
                return;
            }
            self.split(at, hashes);
        }
    }

    /// Whether a split can help: not if a few items crowd together in a segment that is empty else.
    fn worth_splitting(&self, at: usize) -> bool {
        let segment = &self.segments[at];
        let room = segment.groups.len() * SLOTS;
        // Hashes are even, so no segment is much deeper than the average; the directory stays small.
        let deepest = (self.segments.len().ilog2() + 6).min(MAX_DEPTH);
        segment.depth < deepest && segment.count as usize >= room / 4
    }

    /// Adds an item, after [`MemberIndex::reserve`].
    pub(super) fn insert(&mut self, hash: u64, leaf: u32) {
        debug_assert!(leaf < DISPLACED);
        let at = self.segment_of(hash);
        let segment = &mut self.segments[at];
        if !segment.put(segment.home(hash), tag_of(hash), leaf) {
            self.stash.push((hash, leaf));
        }
    }

    /// Notes that an item has moved from one leaf to another.
    pub(super) fn relabel(&mut self, hash: u64, from: u32, to: u32) {
        // The stash first: what is in it must not be taken for a like item that has a slot.
        if let Some(entry) = self.stash.iter_mut().find(|e| **e == (hash, from)) {
            entry.1 = to;
            return;
        }
        let at = self.segment_of(hash);
        let segment = &mut self.segments[at];
        let home = segment.home(hash);
        if let Some((group, slot)) = segment.find(home, tag_of(hash), from) {
            let displaced = segment.groups[group].leaf[slot] & DISPLACED;
            segment.groups[group].leaf[slot] = to | displaced;
        } else {
            debug_assert!(false, "an item without a slot");
        }
    }

    /// Forgets an item.
    pub(super) fn remove(&mut self, hash: u64, leaf: u32) {
        if let Some(i) = self.stash.iter().position(|e| *e == (hash, leaf)) {
            self.stash.swap_remove(i);
            return;
        }
        let at = self.segment_of(hash);
        let segment = &mut self.segments[at];
        let home = segment.home(hash);
        if let Some((group, slot)) = segment.find(home, tag_of(hash), leaf) {
            segment.groups[group].used &= !(1 << slot);
            segment.groups[home].away -= u8::from(segment.groups[group].leaf[slot] >= DISPLACED);
            segment.count -= 1;
            if (segment.count as usize) < segment.groups.len() * SLOTS / 8 {
                self.try_merge(at);
            }
        } else {
            debug_assert!(false, "an item without a slot");
        }
    }

    /// All items of a segment, those in the stash too, with their full hashes, read back from the
    /// leaves.
    fn read_back(&mut self, at: usize, hashes: &impl Hashes) -> Vec<(u64, u32)> {
        let segment = &self.segments[at];
        let mut slots = Vec::with_capacity(segment.count as usize);
        for home in 0..segment.groups.len() {
            slots.extend(segment.at_home(home).map(|(tag, leaf)| (leaf, tag, home)));
        }
        self.stash.retain(|&(hash, leaf)| {
            let here = segment.covers(hash);
            if here {
                slots.push((leaf, tag_of(hash), segment.home(hash)));
            }
            !here
        });
        let count = slots.len();
        // Interchangeable slots are asked for once and answered once per item.
        slots.sort_unstable();
        slots.dedup();
        let mut items = Vec::with_capacity(count);
        for (leaf, tag, home) in slots {
            hashes.with_tag(leaf, tag, |hash| {
                if segment.covers(hash) && segment.home(hash) == home {
                    items.push((hash, leaf));
                }
            });
        }
        debug_assert_eq!(items.len(), count);
        items
    }

    /// Doubles the groups of a small segment, or makes two segments of a full-grown one.
    fn split(&mut self, at: usize, hashes: &impl Hashes) {
        let items = self.read_back(at, hashes);
        let segment = &mut self.segments[at];
        let (prefix, depth) = (segment.prefix, segment.depth);
        let log = segment.groups.len().trailing_zeros();
        if log < FULL {
            *segment = Segment::new(prefix, depth, log + 1);
        } else {
            *segment = Segment::new(prefix, depth + 1, FULL);
            let right_prefix = prefix | 1 << (63 - depth);
            let right = Segment::new(right_prefix, depth + 1, FULL);
            let right = match self.free.pop() {
                Some(id) => {
                    self.segments[id as usize] = right;
                    id
                }
                None => {
                    self.segments.push(right);
                    (self.segments.len() - 1) as u32
                }
            };
            if depth == self.depth {
                self.directory = self.directory.iter().flat_map(|&s| [s, s]).collect();
                self.depth += 1;
            }
            self.point(right_prefix, depth + 1, right);
        }
        for (hash, leaf) in items {
            self.insert(hash, leaf);
        }
    }

    /// Lets the directory say that `segment` covers a prefix.
    fn point(&mut self, prefix: u64, depth: u32, segment: u32) {
        let first = (prefix >> 1 >> (63 - self.depth)) as usize;
        let run = 1 << (self.depth - depth);
        self.directory[first..first + run].fill(segment);
    }

    /// Makes one segment of two neighbours that are nearly empty.
    fn try_merge(&mut self, at: usize) {
        let Segment { prefix, depth, .. } = self.segments[at];
        if depth == 0 {
            return;
        }
        let bit = 1 << (64 - depth);
        let (left, right) = (self.segment_of(prefix & !bit), self.segment_of(prefix | bit));
        let (a, b) = (&self.segments[left], &self.segments[right]);
        if a.depth != b.depth || (a.count + b.count) as usize > a.groups.len() * SLOTS / 3 {
            return;
        }
        let mut whole = Segment::new(prefix & !bit, depth - 1, FULL);
        for (half, segment) in [a, b].into_iter().enumerate() {
            for group in 0..segment.groups.len() {
                let home = (half << (FULL - 1)) + group / 2;
                for (tag, leaf) in segment.at_home(group) {
                    if !whole.put(home, tag, leaf) {
                        return;
                    }
                }
            }
        }
        self.segments[left] = whole;
        self.segments[right] = Segment::default();
        self.free.push(right as u32);
        self.point(prefix & !bit, depth - 1, left as u32);
    }

    /// Visits the home group at hash position `at`: calls `f` with (leaf, tag, first hash, last
    /// hash) for each kind of slot in it, and returns the position to go on from, 0 at the end.
    pub(super) fn scan(&self, at: u64, mut f: impl FnMut(u32, u8, u64, u64)) -> u64 {
        let segment = &self.segments[self.segment_of(at)];
        let span = u64::MAX >> (64 - segment.home_shift());
        let (first, last) = (at & !span, at | span);
        let mut slots: Vec<_> = segment.at_home(segment.home(at)).collect();
        let stashed = self.stash.iter().filter(|(h, _)| (first..=last).contains(h));
        slots.extend(stashed.map(|&(h, leaf)| (tag_of(h), leaf)));
        slots.sort_unstable();
        slots.dedup();
        for (tag, leaf) in slots {
            f(leaf, tag, first, last);
        }
        last.wrapping_add(1)
    }

    /// Drops one segment; false when there is none left. Only to be followed by more of these.
    pub(super) fn drop_segment(&mut self) -> bool {
        self.segments.pop().is_some()
    }

    /// Bytes allocated.
    pub(super) fn memory(&self) -> usize {
        let groups = (self.segments.len() - self.free.len()) << FULL;
        let groups = if self.depth == 0 { self.segments[0].groups.len() } else { groups };
        groups * size_of::<Group>()
            + self.segments.capacity() * size_of::<Segment>()
            + (self.directory.capacity() + self.free.capacity()) * 4
            + self.stash.capacity() * size_of::<(u64, u32)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    /// What the leaves would answer: leaf -> hashes.
    #[derive(Default)]
    struct Model(BTreeMap<u32, BTreeSet<u64>>);

    impl Hashes for Model {
        fn with_tag(&self, leaf: u32, tag: u8, f: impl FnMut(u64)) {
            let hashes = self.0.get(&leaf).into_iter().flatten().copied();
            hashes.filter(|&h| tag_of(h) == tag).for_each(f);
        }
    }

    fn check(index: &MemberIndex, model: &Model) {
        let mut scanned = BTreeSet::new();
        let mut at = 0;
        loop {
            at = index.scan(at, |leaf, tag, first, last| {
                model.with_tag(leaf, tag, |h| {
                    if (first..=last).contains(&h) {
                        scanned.insert((leaf, h));
                    }
                });
            });
            if at == 0 {
                break;
            }
        }
        let all: BTreeSet<_> = model.0.iter().flat_map(|(&l, hs)| hs.iter().map(move |&h| (l, h))).collect();
        assert_eq!(scanned, all);
        for &(leaf, hash) in &all {
            assert_eq!(index.find(hash, |l| (l == leaf).then_some(())), Some(()));
        }
        let slots: usize = index.segments.iter().map(|s| s.count as usize).sum();
        assert_eq!(slots + index.stash.len(), all.len());
    }

    fn run(ops: Vec<(u8, u64, u32)>, mask: u64) -> MemberIndex {
        let (mut index, mut model) = (MemberIndex::new(), Model::default());
        for (op, seed, leaf) in ops {
            let hash = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) & mask;
            let owner = model.0.iter().find(|(_, hs)| hs.contains(&hash)).map(|(&l, _)| l);
            match (owner, op) {
                (None, 0..=7) => {
                    index.reserve(hash, &model);
                    index.insert(hash, leaf);
                    model.0.entry(leaf).or_default().insert(hash);
                }
                (Some(old), 5..=7) => {
                    index.relabel(hash, old, leaf);
                    model.0.entry(old).or_default().remove(&hash);
                    model.0.entry(leaf).or_default().insert(hash);
                }
                (Some(old), _) => {
                    index.remove(hash, old);
                    model.0.entry(old).or_default().remove(&hash);
                }
                _ => {}
            }
        }
        check(&index, &model);
        index
    }

    #[test]
    fn hashes_that_are_alike_go_to_the_stash() {
        let ops = (0..if cfg!(miri) { 40 } else { 200 }).map(|i| (0, i, 3)).collect();
        let index = run(ops, 0xffff_0000_0000_0000u64 >> 44);
        assert!(!index.stash.is_empty());
        assert!(index.depth < 4);
    }

    #[test]
    fn grows_and_shrinks() {
        let n = if cfg!(miri) { 300 } else { 5000u64 };
        let grow = (0..n).map(|i| (0, i, i as u32 % 50));
        let shrink = (0..n).filter(|i| i % 100 != 0).map(|i| (9, i, 0));
        let index = run(grow.chain(shrink).collect(), u64::MAX);
        assert!(index.segments.len() - index.free.len() <= 2);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 60 }) })]
        #[test]
        fn an_index_is_a_map(ops in prop::collection::vec((0u8..10, 0u64..1500, 0u32..20),
                                                         1..if cfg!(miri) { 60 } else { 3000 }),
                             narrow in any::<bool>()) {
            run(ops, if narrow { 0x00ff_ffff_0000_00f3 } else { u64::MAX });
        }
    }
}
