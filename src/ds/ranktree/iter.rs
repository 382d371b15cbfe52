//! How is a run of ranks read? Leaf by leaf along the chain, from either end.

use super::RankTree;
use super::leaf::NONE;

/// A place at an item: leaf, position, and where its stored bytes begin.
#[derive(Clone, Copy, Debug)]
struct Pos {
    leaf: u32,
    at: usize,
    offset: usize,
}

/// The items of a run of ranks, in ascending order; from the back in descending order.
#[derive(Clone, Debug)]
pub struct Range<'a> {
    tree: &'a RankTree,
    start: usize,
    end: usize,
    front: Option<Pos>,
    back: Option<Pos>,
}

impl<'a> Range<'a> {
    pub(super) fn new(tree: &'a RankTree, start: usize, end: usize) -> Range<'a> {
        let end = end.min(tree.len());
        Range { tree, start: start.min(end), end, front: None, back: None }
    }

    fn seek(&self, rank: usize) -> Pos {
        let place = self.tree.descend_to_rank(rank as u64);
        let offset = self.tree.store.leaves.get(place.leaf).offset(place.at);
        Pos { leaf: place.leaf, at: place.at, offset }
    }

    fn item(&self, pos: Pos) -> (&'a [u8], f64) {
        let store = &self.tree.store;
        let leaf = store.leaves.get(pos.leaf);
        (store.resolve(leaf.stored_at(pos.at, pos.offset)), leaf.score(pos.at))
    }

    fn after(&self, pos: Pos) -> Option<Pos> {
        let leaves = &self.tree.store.leaves;
        let leaf = leaves.get(pos.leaf);
        if pos.at + 1 < leaf.len() {
            let offset = pos.offset + leaf.stored_size(pos.at);
            return Some(Pos { at: pos.at + 1, offset, ..pos });
        }
        let next = leaf.next;
        (next != NONE).then(|| Pos { leaf: next, at: 0, offset: leaves.get(next).offset(0) })
    }

    fn before(&self, pos: Pos) -> Option<Pos> {
        let leaves = &self.tree.store.leaves;
        let leaf = leaves.get(pos.leaf);
        if let Some(at) = pos.at.checked_sub(1) {
            let offset = pos.offset - leaf.stored_size(at);
            return Some(Pos { at, offset, ..pos });
        }
        let prev = leaf.prev;
        if prev == NONE {
            return None;
        }
        let leaf = leaves.get(prev);
        let at = leaf.len() - 1;
        Some(Pos { leaf: prev, at, offset: leaf.bytes() - leaf.stored_size(at) })
    }
}

impl<'a> Iterator for Range<'a> {
    type Item = (&'a [u8], f64);

    fn next(&mut self) -> Option<Self::Item> {
        if self.start >= self.end {
            return None;
        }
        let pos = self.front.unwrap_or_else(|| self.seek(self.start));
        self.start += 1;
        self.front = self.after(pos);
        Some(self.item(pos))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.end - self.start, Some(self.end - self.start))
    }
}

impl DoubleEndedIterator for Range<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.start >= self.end {
            return None;
        }
        self.end -= 1;
        let pos = self.back.unwrap_or_else(|| self.seek(self.end));
        self.back = self.before(pos);
        Some(self.item(pos))
    }
}

impl ExactSizeIterator for Range<'_> {}
