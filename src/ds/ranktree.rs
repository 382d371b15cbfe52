//! How are sorted sets ordered, with rank queries in O(log n)? A B+tree over packed leaves.
//!
//! Members and scores live nowhere but in the leaves ([`leaf`]); inner nodes ([`nodes`]) hold the
//! first score of, and the number of items below, each child; a hash index ([`index`]) says in
//! which leaf a member is. So an item costs its own bytes, ten of overhead, about eight of index,
//! and a few per cent of slack; a range is read from consecutive memory; and dropping a tree frees
//! one buffer per some dozens of items.
//!
//! ```text
//! inner   (first score, count, child) ..            at most 64 children
//!           |            \
//! leaf    [scores|sizes|tags|members] <-> [..] <-> [..]      at most 2 KB each
//!           ^
//! index   hash(member) -> leaf
//! ```
//!
//! Order is by score, then by the bytes of the member. The caller keeps NaN out.
//!
//! Invariants: every item has one slot in the index; `first` and `count` of every child are exact;
//! no leaf is empty unless the tree is; `first`/`last` are the ends of the chain of leaves.

mod index;
mod iter;
mod leaf;
mod nodes;
#[cfg(test)]
mod tests;

use super::cache::prefetch;
use foldhash::quality::RandomState;
use index::{Hashes, MemberIndex};
pub use iter::Range;
use leaf::{INLINE_MAX, ITEM_OVERHEAD, Leaf, NONE, Stored};
use nodes::{FAN_OUT, Inner, Kid, Slab};
use smallvec::SmallVec;
use std::cmp::Ordering;
use std::hash::{BuildHasher, Hasher};

/// No leaf grows beyond this many bytes.
const LEAF_MAX: usize = 2048;
/// A leaf below this many bytes looks for a neighbour to merge with.
const LEAF_MIN: usize = LEAF_MAX / 4;
/// An inner node with fewer children looks for a neighbour to merge with.
const INNER_MIN: usize = FAN_OUT / 4;

/// Inner nodes from the root down, each with the position of the child that was taken.
type Path = SmallVec<[(u32, usize); 8]>;

/// Where a member is, or would be. Good until the tree is next changed.
#[derive(Clone, Copy, Debug)]
pub struct Location {
    hash: u64,
    found: Option<(u32, usize, f64)>,
}

impl Location {
    /// The score, if the member is there.
    pub fn score(&self) -> Option<f64> {
        self.found.map(|(_, _, score)| score)
    }
}

/// Leaves, long members, and the hash: what it takes to get from a place to a member.
#[derive(Debug)]
struct Store {
    leaves: Slab<Leaf>,
    long: Slab<Box<[u8]>>,
    hasher: RandomState,
}

impl Store {
    fn hash(&self, member: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(member);
        hasher.finish()
    }

    fn resolve<'a>(&'a self, stored: Stored<'a>) -> &'a [u8] {
        match stored {
            Stored::Inline(member) => member,
            Stored::Outside(id) => self.long.get(id),
        }
    }

    fn member(&self, leaf: u32, i: usize) -> &[u8] {
        self.resolve(self.leaves.get(leaf).stored(i))
    }

    /// The place of `member` in a leaf.
    fn find(&self, leaf: u32, tag: u8, member: &[u8]) -> Option<usize> {
        let node = self.leaves.get(leaf);
        memchr::memchr_iter(tag, node.tags()).find(|&i| self.resolve(node.stored(i)) == member)
    }
}

impl Hashes for Store {
    fn with_tag(&self, leaf: u32, tag: u8, mut f: impl FnMut(u64)) {
        let node = self.leaves.get(leaf);
        for i in memchr::memchr_iter(tag, node.tags()) {
            f(self.hash(self.resolve(node.stored(i))));
        }
    }
}

/// What a search looks for: a point in the order of items.
trait Seek {
    /// How many of the items of a node come before the point, given their scores and access to
    /// their members.
    fn before<'a>(
        &self,
        scores: impl ExactSizeIterator<Item = f64>,
        member: impl Fn(usize) -> &'a [u8],
    ) -> usize;
}

/// Before, or with `after` behind, this very item.
struct At<'m> {
    score: f64,
    member: &'m [u8],
    after: bool,
}

impl Seek for At<'_> {
    fn before<'a>(
        &self,
        scores: impl ExactSizeIterator<Item = f64>,
        member: impl Fn(usize) -> &'a [u8],
    ) -> usize {
        // Counted from end to end: cache misses overlap then, as those of a binary search do not.
        // Without overflow checks, which would keep the loop from being vectorised.
        let (mut less, mut not_more) = (0, 0);
        for score in scores {
            less = usize::wrapping_add(less, usize::from(score < self.score));
            not_more = usize::wrapping_add(not_more, usize::from(score <= self.score));
        }
        let before = |i| match member(less + i).cmp(self.member) {
            Ordering::Less => true,
            Ordering::Equal => self.after,
            Ordering::Greater => false,
        };
        less + partition(not_more - less, before)
    }
}

/// Behind all items for whose score the function holds.
struct ByScore<F>(F);

impl<F: Fn(f64) -> bool> Seek for ByScore<F> {
    fn before<'a>(&self, scores: impl ExactSizeIterator<Item = f64>, _: impl Fn(usize) -> &'a [u8]) -> usize {
        scores.fold(0, |n, score| n.wrapping_add(usize::from((self.0)(score))))
    }
}

/// Behind all items for whose member the function holds.
struct ByMember<F>(F);

impl<F: Fn(&[u8]) -> bool> Seek for ByMember<F> {
    fn before<'a>(
        &self,
        scores: impl ExactSizeIterator<Item = f64>,
        member: impl Fn(usize) -> &'a [u8],
    ) -> usize {
        partition(scores.len(), |i| (self.0)(member(i)))
    }
}

/// A place between items, and how to get there.
struct Place {
    path: Path,
    leaf: u32,
    /// Position in the leaf; may be one past its last item.
    at: usize,
    rank: u64,
}

/// A set of members ordered by (score, member), with ranks.
#[derive(Debug)]
pub struct RankTree {
    store: Store,
    inners: Slab<Inner>,
    index: MemberIndex,
    root: u32,
    /// Levels of inner nodes, at least one.
    height: u32,
    first: u32,
    last: u32,
    len: u64,
    /// Bytes allocated by the buffers of leaves and by long members.
    buffers: usize,
    /// What was here before a drop in steps began.
    doomed: Option<Box<Doomed>>,
}

/// The remains of a tree that is dropped in steps.
#[derive(Debug)]
struct Doomed {
    store: Store,
    inners: Slab<Inner>,
    index: MemberIndex,
}

impl Default for RankTree {
    fn default() -> Self {
        Self::new()
    }
}

impl RankTree {
    /// An empty tree.
    pub fn new() -> RankTree {
        let mut store =
            Store { leaves: Slab::default(), long: Slab::default(), hasher: RandomState::default() };
        let mut inners = Slab::<Inner>::default();
        let leaf = store.leaves.add(Leaf::default());
        let mut inner = Inner::default();
        inner.insert(0, 0.0, Kid { count: 0, child: leaf, first_leaf: leaf });
        let root = inners.add(inner);
        RankTree {
            store,
            inners,
            index: MemberIndex::new(),
            root,
            height: 1,
            first: leaf,
            last: leaf,
            len: 0,
            buffers: 0,
            doomed: None,
        }
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes allocated for the tree, its index and its members.
    pub fn memory(&self) -> usize {
        // Inner nodes are one in some thousands of items; to sum them up is no work.
        let inner: usize = self.inners.iter().map(Inner::memory).sum();
        size_of::<RankTree>()
            + self.store.leaves.memory()
            + self.store.long.memory()
            + self.inners.memory()
            + inner
            + self.index.memory()
            + self.buffers
    }

    /// Looks a member up, for the score and for [`RankTree::put`] or [`RankTree::take`].
    pub fn locate(&self, member: &[u8]) -> Location {
        let hash = self.store.hash(member);
        let found = self.index.find(hash, |leaf| {
            let at = self.store.find(leaf, hash as u8, member)?;
            Some((leaf, at, self.store.leaves.get(leaf).score(at)))
        });
        Location { hash, found }
    }

    /// Brings what [`RankTree::locate`] will look at into the cache, in three steps; each needs what the one before it
    /// has fetched.
    pub fn prefetch(&self, member: &[u8], step: u32) {
        let hash = self.store.hash(member);
        let each = |f: &dyn Fn(&Leaf)| {
            self.index.find(hash, |leaf| {
                f(self.store.leaves.get(leaf));
                None::<()>
            });
        };
        match step {
            0 => self.index.fetch(hash),
            1 => each(&|leaf| prefetch(std::ptr::from_ref(leaf).cast())),
            _ => each(&Leaf::fetch_tags),
        }
    }

    /// The score of a member.
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        self.locate(member).score()
    }

    /// Adds a member or changes its score; returns the score it had.
    pub fn insert(&mut self, member: &[u8], score: f64) -> Option<f64> {
        let location = self.locate(member);
        self.put(location, member, score);
        location.score()
    }

    /// Adds or updates the member that was located.
    pub fn put(&mut self, location: Location, member: &[u8], score: f64) {
        debug_assert!(!score.is_nan());
        let Some((leaf, at, old)) = location.found else {
            return self.add(location.hash, member, score);
        };
        let node = self.store.leaves.get_mut(leaf);
        // Strictly between its neighbours, and not the first: nothing else changes.
        if at > 0 && at + 1 < node.len() && node.score(at - 1) < score && score < node.score(at + 1) {
            return node.set_score(at, score);
        }
        let stored = match node.stored(at) {
            Stored::Outside(id) => Stored::Outside(id),
            Stored::Inline(_) => Stored::Inline(member),
        };
        // Where it goes to comes into the cache while it is taken from where it was.
        let (_, next, _) = self.descend_inner(&At { score, member, after: false });
        self.store.leaves.get(next).fetch();
        let path = self.path_to(member, old, leaf);
        self.cut(path, leaf, at, at + 1);
        let to = self.place(location.hash, member, stored, score);
        self.index.relabel(location.hash, leaf, to);
    }

    /// Removes a member; returns the score it had.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let location = self.locate(member);
        self.take(location, member)
    }

    /// Removes the member that was located; returns the score it had.
    pub fn take(&mut self, location: Location, member: &[u8]) -> Option<f64> {
        let (leaf, at, score) = location.found?;
        let path = self.path_to(member, score, leaf);
        self.remove_run(path, leaf, at, at + 1);
        Some(score)
    }

    /// The rank of a member, and its score.
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        let score = self.score(member)?;
        let place = self.descend(At { score, member, after: false });
        Some((place.rank as usize, score))
    }

    /// How many items come first for which `before` holds of the score; `before` must not hold of
    /// any item after one of which it does not hold.
    pub fn rank_by_score(&self, before: impl Fn(f64) -> bool) -> usize {
        self.descend(ByScore(before)).rank as usize
    }

    /// How many items come first for which `before` holds of the member, in a set whose scores are
    /// all the same. If they are not, the answer is some rank.
    pub fn rank_by_member(&self, before: impl Fn(&[u8]) -> bool) -> usize {
        self.descend(ByMember(before)).rank as usize
    }

    /// The item of a rank.
    pub fn get(&self, rank: usize) -> Option<(&[u8], f64)> {
        self.range(rank, rank.saturating_add(1)).next()
    }

    /// The items of ranks `start..end`, cut to what is there; from both ends.
    pub fn range(&self, start: usize, end: usize) -> Range<'_> {
        Range::new(self, start, end)
    }

    /// All items.
    pub fn iter(&self) -> Range<'_> {
        self.range(0, self.len())
    }

    /// Removes the items of ranks `start..end`, cut to what is there; returns how many.
    pub fn remove_range(&mut self, start: usize, end: usize) -> usize {
        let (start, end) = (start as u64, (end as u64).min(self.len));
        let mut left = end.saturating_sub(start);
        let removed = left;
        while left > 0 {
            let place = self.descend_to_rank(start);
            let at = place.at;
            let run = (self.store.leaves.get(place.leaf).len() - at).min(left as usize);
            self.remove_run(place.path, place.leaf, at, at + run);
            left -= run as u64;
        }
        removed as usize
    }

    /// Visits members in the order of their hashes. Starts from and ends with cursor 0; returns the
    /// cursor to go on from, after at least `count` members or at the end. A member that is in the
    /// tree from the first call to the last is visited at least once.
    pub fn scan(&self, cursor: u64, count: usize, mut f: impl FnMut(&[u8], f64)) -> u64 {
        let mut at = cursor << CURSOR_SHIFT;
        let mut seen = 0;
        loop {
            at = self.index.scan(at, |leaf, tag, first, last| {
                let node = self.store.leaves.get(leaf);
                for i in memchr::memchr_iter(tag, node.tags()) {
                    let member = self.store.resolve(node.stored(i));
                    if (first..=last).contains(&self.store.hash(member)) {
                        seen += 1;
                        f(member, node.score(i));
                    }
                }
            });
            if at == 0 || seen >= count {
                return at >> CURSOR_SHIFT;
            }
        }
    }

    /// Frees about `items` items' worth of memory and returns whether all is freed. From the first
    /// step on the tree is empty.
    pub fn drain_step(&mut self, items: usize) -> bool {
        let mut doomed = match self.doomed.take() {
            Some(doomed) => doomed,
            None => {
                let RankTree { store, inners, index, .. } = std::mem::take(self);
                Box::new(Doomed { store, inners, index })
            }
        };
        // A chunk of leaves or a segment of the index stands for some hundreds of items or more.
        for _ in 0..=items / 1024 {
            let more = doomed.store.leaves.drop_chunk()
                || doomed.index.drop_segment()
                || doomed.store.long.drop_chunk()
                || doomed.inners.drop_chunk();
            if !more {
                return true;
            }
        }
        self.doomed = Some(doomed);
        false
    }
}

/// Home groups of the index are never narrower than this many bits of the hash; see `scan`.
const CURSOR_SHIFT: u32 = 16;

/// Ways down, and changes on the way back up.
impl RankTree {
    /// Goes to a point in the order of items.
    fn descend(&self, point: impl Seek) -> Place {
        let (path, node, rank) = self.descend_inner(&point);
        let leaf = self.store.leaves.get(node);
        let at = point.before(leaf.scores(), |i| self.store.resolve(leaf.stored(i)));
        Place { path, leaf: node, at, rank: rank + at as u64 }
    }

    /// Goes to the leaf that has the last item before a point: path, leaf, items before the leaf.
    fn descend_inner(&self, point: &impl Seek) -> (Path, u32, u64) {
        let mut path = Path::new();
        let (mut node, mut rank) = (self.root, 0);
        for _ in 0..self.height {
            let inner = self.inners.get(node);
            let kids = &inner.kids[..];
            // The last child whose first item comes before; else the first child.
            let first_item = |i: usize| self.store.member(kids[i + 1].first_leaf, 0);
            let at = point.before(inner.first[1..].iter().copied(), first_item);
            rank += kids[..at].iter().fold(0u64, |n, kid| n.wrapping_add(kid.count));
            path.push((node, at));
            node = kids[at].child;
        }
        (path, node, rank)
    }

    /// The path to a leaf, by an item that is in it.
    fn path_to(&self, member: &[u8], score: f64, leaf: u32) -> Path {
        let (path, found, _) = self.descend_inner(&At { score, member, after: true });
        debug_assert_eq!(found, leaf);
        path
    }

    /// Goes to the item of a rank, which must be less than the length.
    fn descend_to_rank(&self, rank: u64) -> Place {
        let mut path = Path::new();
        let (mut node, mut left) = (self.root, rank);
        for _ in 0..self.height {
            let kids = &self.inners.get(node).kids[..];
            let mut at = 0;
            while at + 1 < kids.len() && left >= kids[at].count {
                left -= kids[at].count;
                at += 1;
            }
            path.push((node, at));
            node = kids[at].child;
        }
        Place { path, leaf: node, at: left as usize, rank }
    }

    /// Changes a leaf and keeps account of its buffer.
    fn edit<R>(&mut self, leaf: u32, f: impl FnOnce(&mut Leaf) -> R) -> R {
        let node = self.store.leaves.get_mut(leaf);
        let before = node.capacity();
        let result = f(node);
        self.buffers = self.buffers + node.capacity() - before;
        result
    }

    /// Adds a member that is not there.
    fn add(&mut self, hash: u64, member: &[u8], score: f64) {
        self.index.reserve(hash, &self.store);
        let stored = if member.len() > INLINE_MAX {
            self.buffers += member.len();
            Stored::Outside(self.store.long.add(member.into()))
        } else {
            Stored::Inline(member)
        };
        let leaf = self.place(hash, member, stored, score);
        self.index.insert(hash, leaf);
    }

    /// Puts an item into the leaf where it belongs, which is returned. The index is left to do.
    fn place(&mut self, hash: u64, member: &[u8], stored: Stored<'_>, score: f64) -> u32 {
        let need = ITEM_OVERHEAD + member.len().min(INLINE_MAX);
        let point = || At { score, member, after: false };
        let mut place = self.descend(point());
        let node = self.store.leaves.get(place.leaf);
        if node.bytes() + need > LEAF_MAX {
            let (next, prev, n) = (node.next, node.prev, node.len());
            if place.at == n && next == NONE {
                // Ascending inserts fill leaves to the brim.
                self.edit(place.leaf, Leaf::shrink);
                place = self.chain_new(place, 1, Leaf::default());
            } else if place.at == 0 && prev == NONE {
                self.edit(place.leaf, Leaf::shrink);
                place = self.chain_new(place, 0, Leaf::default());
            } else {
                self.split_leaf(place);
                place = self.descend(point());
            }
        }
        let (leaf, at) = (place.leaf, place.at);
        self.edit(leaf, |l| l.insert(at, score, hash as u8, stored));
        self.len += 1;
        self.count_up(&place.path, |count| *count += 1);
        if at == 0 {
            self.refresh_first(&place.path);
        }
        leaf
    }

    /// Moves the second half of a leaf into a new one.
    fn split_leaf(&mut self, place: Place) {
        let right = self.edit(place.leaf, |l| {
            let middle = l.middle();
            l.split_off(middle)
        });
        self.buffers += right.capacity();
        let from = place.leaf;
        let place = self.chain_new(place, 1, right);
        self.relabel_all(place.leaf, from, place.leaf);
    }

    /// Tells the index that all items that are now in `leaf` have moved from leaf `from` to `to`.
    fn relabel_all(&mut self, leaf: u32, from: u32, to: u32) {
        let node = self.store.leaves.get(leaf);
        let mut offset = node.offset(0);
        for i in 0..node.len() {
            let hash = self.store.hash(self.store.resolve(node.stored_at(i, offset)));
            self.index.relabel(hash, from, to);
            offset += node.stored_size(i);
        }
    }

    /// Chains a leaf in, before (`side` 0) or after (`side` 1) the one at `place`.
    fn chain_new(&mut self, place: Place, side: usize, mut new: Leaf) -> Place {
        let here = self.store.leaves.get(place.leaf);
        (new.prev, new.next) = if side == 1 { (place.leaf, here.next) } else { (here.prev, place.leaf) };
        let (prev, next) = (new.prev, new.next);
        let id = self.store.leaves.add(new);
        self.link(prev, id);
        self.link(id, next);
        let mut path = place.path;
        if let Some(last) = path.last_mut() {
            let (first, kid) = self.describe_leaf(id);
            let (inner, at) = *last;
            let (old_first, old_kid) = self.describe_leaf(place.leaf);
            let node = self.inners.get_mut(inner);
            (node.first[at], node.kids[at]) = (old_first, old_kid);
            node.insert(at + side, first, kid);
            last.1 += side;
        }
        let path = self.split_up(path);
        Place { path, leaf: id, at: 0, rank: 0 }
    }

    /// Makes two leaves neighbours; [`NONE`] on either side makes the other an end.
    fn link(&mut self, left: u32, right: u32) {
        match left {
            NONE => self.first = right,
            _ => self.store.leaves.get_mut(left).next = right,
        }
        match right {
            NONE => self.last = left,
            _ => self.store.leaves.get_mut(right).prev = left,
        }
    }

    fn describe_leaf(&self, id: u32) -> (f64, Kid) {
        let leaf = self.store.leaves.get(id);
        let first = if leaf.len() == 0 { 0.0 } else { leaf.score(0) };
        (first, Kid { count: leaf.len() as u64, child: id, first_leaf: id })
    }

    fn describe_inner(&self, id: u32) -> (f64, Kid) {
        let inner = self.inners.get(id);
        let kid = Kid { count: inner.total(), child: id, first_leaf: inner.kids[0].first_leaf };
        (inner.first[0], kid)
    }

    /// Writes down anew what the parent says of the node on `level` of the path.
    fn redescribe(&mut self, path: &Path, level: usize) {
        let (first, kid) = self.describe_inner(path[level].0);
        let (parent, at) = path[level - 1];
        let parent = self.inners.get_mut(parent);
        (parent.first[at], parent.kids[at]) = (first, kid);
    }

    /// Splits the nodes of a path that have too many children, from the bottom up, and returns the
    /// path to the same child.
    fn split_up(&mut self, mut path: Path) -> Path {
        for level in (0..path.len()).rev() {
            let (node, at) = path[level];
            if self.inners.get(node).len() > FAN_OUT {
                // Where children are added at the end, leave the left node nearly full.
                let middle = if at == FAN_OUT { FAN_OUT - 2 } else { FAN_OUT / 2 };
                let right = self.inners.get_mut(node).split_off(middle);
                let right = self.inners.add(right);
                if level == 0 {
                    let mut root = Inner::default();
                    let (first, kid) = self.describe_inner(node);
                    root.insert(0, first, kid);
                    self.root = self.inners.add(root);
                    self.height += 1;
                    path.insert(0, (self.root, 0));
                    self.hang_right(&mut path, 1, right, middle);
                    return path;
                }
                self.hang_right(&mut path, level, right, middle);
            } else if level > 0 {
                self.redescribe(&path, level);
            }
        }
        path
    }

    /// Hangs the second half of a split node beside the first, and bends the path if it leads there.
    fn hang_right(&mut self, path: &mut Path, level: usize, right: u32, middle: usize) {
        self.redescribe(path, level);
        let (first, kid) = self.describe_inner(right);
        let (parent, at) = path[level - 1];
        self.inners.get_mut(parent).insert(at + 1, first, kid);
        if path[level].1 >= middle {
            path[level] = (right, path[level].1 - middle);
            path[level - 1].1 += 1;
        }
    }

    fn count_up(&mut self, path: &Path, f: impl Fn(&mut u64)) {
        for &(node, at) in path {
            f(&mut self.inners.get_mut(node).kids[at].count);
        }
    }

    /// Carries a new first item of the leaf up, as far as it is the first of its parent.
    fn refresh_first(&mut self, path: &Path) {
        let Some(&(node, at)) = path.last() else { return };
        let leaf = self.inners.get(node).kids[at].first_leaf;
        let score = self.store.leaves.get(leaf).score(0);
        for &(node, at) in path.iter().rev() {
            let inner = self.inners.get_mut(node);
            inner.first[at] = score;
            inner.kids[at].first_leaf = leaf;
            if at > 0 {
                break;
            }
        }
    }

    /// Removes items `from..to` of the leaf at the end of a path.
    fn remove_run(&mut self, path: Path, leaf: u32, from: usize, to: usize) {
        let node = self.store.leaves.get(leaf);
        let mut offset = node.offset(from);
        let mut long: SmallVec<[u32; 8]> = SmallVec::new();
        for i in from..to {
            let stored = node.stored_at(i, offset);
            let hash = self.store.hash(self.store.resolve(stored));
            self.index.remove(hash, leaf);
            if let Stored::Outside(id) = stored {
                long.push(id);
            }
            offset += node.stored_size(i);
        }
        for id in long {
            self.buffers -= self.store.long.take(id).len();
        }
        self.cut(path, leaf, from, to);
    }

    /// Takes items `from..to` out of the leaf at the end of a path, and nowhere else.
    fn cut(&mut self, path: Path, leaf: u32, from: usize, to: usize) {
        self.edit(leaf, |l| l.remove(from, to));
        let removed = (to - from) as u64;
        self.len -= removed;
        self.count_up(&path, |count| *count -= removed);
        let node = self.store.leaves.get(leaf);
        let thin = node.bytes() < LEAF_MIN;
        if from == 0 && node.len() > 0 {
            self.refresh_first(&path);
        }
        if thin {
            self.thin_leaf(path, leaf);
        }
    }

    /// Unchains an empty leaf, or merges a thin one with a neighbour below the same parent.
    fn thin_leaf(&mut self, path: Path, leaf: u32) {
        let Some(&(parent, at)) = path.last() else { return };
        if self.len == 0 {
            return;
        }
        if self.store.leaves.get(leaf).len() == 0 {
            self.unchain(leaf);
            self.inners.get_mut(parent).remove(at);
            return self.thin_up(path);
        }
        let kids = &self.inners.get(parent).kids;
        for left in [Some(at), at.checked_sub(1)].into_iter().flatten() {
            let (Some(a), Some(b)) = (kids.get(left), kids.get(left + 1)) else { continue };
            let (a, b) = (a.child, b.child);
            let sum = self.store.leaves.get(a).bytes() + self.store.leaves.get(b).bytes();
            if sum <= LEAF_MAX / 4 * 3 {
                self.relabel_all(b, b, a);
                let gone = self.unchain(b);
                self.edit(a, |l| l.append(&gone));
                let (first, kid) = self.describe_leaf(a);
                let node = self.inners.get_mut(parent);
                (node.first[left], node.kids[left]) = (first, kid);
                node.remove(left + 1);
                return self.thin_up(path);
            }
        }
    }

    /// Takes a leaf out of the chain and of the store.
    fn unchain(&mut self, id: u32) -> Leaf {
        let leaf = self.store.leaves.take(id);
        self.link(leaf.prev, leaf.next);
        self.buffers -= leaf.capacity();
        leaf
    }

    /// After a child was taken out at the bottom of the path: removes empty nodes, merges thin
    /// ones with a neighbour, and lowers the tree.
    fn thin_up(&mut self, path: Path) {
        for level in (1..path.len()).rev() {
            let (node, _) = path[level];
            let (parent, at) = path[level - 1];
            let n = self.inners.get(node).len();
            if n == 0 {
                self.inners.take(node);
                self.inners.get_mut(parent).remove(at);
                continue;
            }
            self.redescribe(&path, level);
            if n >= INNER_MIN {
                continue;
            }
            let kids = &self.inners.get(parent).kids;
            for left in [Some(at), at.checked_sub(1)].into_iter().flatten() {
                let (Some(a), Some(b)) = (kids.get(left), kids.get(left + 1)) else { continue };
                let (a, b) = (a.child, b.child);
                if self.inners.get(a).len() + self.inners.get(b).len() <= FAN_OUT / 4 * 3 {
                    let right = self.inners.take(b);
                    self.inners.get_mut(a).append(right);
                    let (first, kid) = self.describe_inner(a);
                    let parent = self.inners.get_mut(parent);
                    (parent.first[left], parent.kids[left]) = (first, kid);
                    parent.remove(left + 1);
                    break;
                }
            }
        }
        while self.height > 1 && self.inners.get(self.root).len() == 1 {
            let root = self.inners.take(self.root);
            self.root = root.kids[0].child;
            self.height -= 1;
        }
    }
}

/// The number of leading positions below `n` for which `before` holds.
fn partition(n: usize, before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, n);
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}
