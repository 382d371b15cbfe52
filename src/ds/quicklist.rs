//! How are long lists kept?
//!
//! As a deque of nodes, each a listpack filled up to a limit, or one element too large for any:
//!
//! ```text
//! nodes: [ Packed(listpack of n) | Packed(listpack of n) | Plain(1 large element) | ... ]
//! ```
//!
//! Invariants: no node is empty; `count` is the sum of the nodes' counts; a node's count is its
//! listpack's length, kept beside it so that seeking an index does not touch the listpacks.
//!
//! Both ends are O(1); an index is found by skipping whole nodes from the nearer end. The limit is
//! that of Redis's `list-max-listpack-size` and is passed in, so a change of the setting applies
//! to the next insertion.

use super::alloc::sampled;
use super::listpack::{self, EMPTY_BYTES, Listpack, LpValue, Needle};
use std::collections::VecDeque;

/// Bytes beyond which a node limited by count is full anyway.
const SAFE_BYTES: usize = 8192;
/// What Redis reckons an entry costs beyond its text.
const ENTRY_OVERHEAD: usize = 8;

/// How large a node may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeLimit {
    bytes: usize,
    count: usize,
}

impl NodeLimit {
    /// From `list-max-listpack-size`: -1 to -5 are 4, 8, 16, 32, 64 KiB; 0 and up is a number of
    /// elements, and then 8 KiB.
    pub fn new(setting: i64) -> Self {
        if setting < 0 {
            let level = (setting.unsigned_abs() - 1).min(4);
            return NodeLimit { bytes: 4096 << level, count: usize::MAX };
        }
        NodeLimit { bytes: usize::MAX, count: usize::try_from(setting).unwrap_or(usize::MAX).max(1) }
    }

    /// The most bytes of a node, and of an element that shares one.
    fn max_bytes(&self) -> usize {
        if self.bytes == usize::MAX { SAFE_BYTES } else { self.bytes }
    }

    /// Is a listpack of this many bytes and elements beyond the limit?
    pub fn exceeded_by(&self, bytes: usize, count: usize) -> bool {
        bytes > self.max_bytes() || count > self.count
    }

    /// Would a list with this single node be one listpack? Unlike [`NodeLimit::exceeded_by`], a
    /// limit on the count says nothing about bytes here.
    pub fn holds(&self, bytes: usize, count: usize) -> bool {
        bytes <= self.bytes && count <= self.count
    }

    /// The limit below which a shrinking list goes back to one listpack.
    pub fn half(&self) -> Self {
        let half = |limit: usize| if limit == usize::MAX { limit } else { limit / 2 };
        NodeLimit { bytes: half(self.bytes), count: half(self.count) }
    }

    fn is_large(&self, len: usize) -> bool {
        len > self.max_bytes()
    }
}

enum Data {
    Packed(Listpack),
    /// Two boxes, to be thin: these are rare and large.
    Plain(Box<Box<[u8]>>),
}

struct Node {
    data: Data,
    count: u32,
}

impl Node {
    fn new(limit: NodeLimit, text: &[u8]) -> Self {
        if limit.is_large(text.len()) {
            return Node { data: Data::Plain(Box::new(text.into())), count: 1 };
        }
        let mut lp = Listpack::new();
        lp.push_back(text);
        Node { data: Data::Packed(lp), count: 1 }
    }

    fn packed(lp: Listpack) -> Self {
        let count = lp.len() as u32;
        Node { data: Data::Packed(lp), count }
    }

    /// The listpack, if an element of `len` bytes may go into it. The caller inserts it: it is
    /// counted already.
    #[inline]
    fn claim_room(&mut self, limit: NodeLimit, len: usize) -> Option<&mut Listpack> {
        match &mut self.data {
            Data::Packed(lp)
                if !limit.is_large(len)
                    && !limit.exceeded_by(lp.bytes() + len + ENTRY_OVERHEAD, self.count as usize + 1) =>
            {
                self.count += 1;
                Some(lp)
            }
            _ => None,
        }
    }

    fn memory(&self) -> usize {
        match &self.data {
            Data::Packed(lp) => lp.memory(),
            Data::Plain(text) => text.len() + size_of::<Box<[u8]>>(),
        }
    }
}

/// A long list. See the module.
#[derive(Default)]
pub struct Quicklist {
    nodes: VecDeque<Node>,
    count: usize,
}

/// A node as a snapshot sees it.
#[derive(Clone, Copy, Debug)]
pub enum NodeRef<'a> {
    /// Many elements.
    Packed(&'a Listpack),
    /// One large element.
    Plain(&'a [u8]),
}

impl Quicklist {
    /// Without elements.
    pub fn new() -> Self {
        Self::default()
    }

    /// With the elements of one listpack.
    pub fn from_listpack(lp: Listpack) -> Self {
        let mut list = Self::new();
        list.push_packed(lp);
        list
    }

    /// The listpack that is the only node, if that is so.
    pub fn single_listpack(&self) -> Option<&Listpack> {
        match self.nodes.front() {
            Some(Node { data: Data::Packed(lp), .. }) if self.nodes.len() == 1 => Some(lp),
            _ => None,
        }
    }

    /// Takes the listpack that is the only node, if that is so, and is empty then.
    pub fn take_single_listpack(&mut self) -> Option<Listpack> {
        self.single_listpack()?;
        self.count = 0;
        match self.nodes.pop_front()?.data {
            Data::Packed(lp) => Some(lp),
            Data::Plain(_) => None,
        }
    }

    /// Appends a node, when loading. An empty listpack is dropped.
    pub fn push_packed(&mut self, lp: Listpack) {
        if !lp.is_empty() {
            let node = Node::packed(lp);
            self.count += node.count as usize;
            self.nodes.push_back(node);
        }
    }

    /// Appends a large element as a node of its own, when loading.
    pub fn push_plain(&mut self, text: Box<[u8]>) {
        self.nodes.push_back(Node { data: Data::Plain(Box::new(text)), count: 1 });
        self.count += 1;
    }

    /// The nodes in order.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = NodeRef<'_>> {
        self.nodes_from(0)
    }

    /// The nodes behind the first `skip`.
    pub fn nodes_from(&self, skip: usize) -> impl ExactSizeIterator<Item = NodeRef<'_>> {
        self.nodes.iter().skip(skip).map(|node| match &node.data {
            Data::Packed(lp) => NodeRef::Packed(lp),
            Data::Plain(text) => NodeRef::Plain(text),
        })
    }

    /// Number of elements.
    #[inline]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Has it no elements?
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes taken from the allocator, without the handle; estimated from the first `samples` nodes, 0 for all.
    pub fn memory(&self, samples: usize) -> usize {
        let nodes = sampled(self.nodes.iter().map(Node::memory), self.nodes.len(), samples);
        self.nodes.capacity() * size_of::<Node>() + nodes
    }

    /// Appends.
    pub fn push_back(&mut self, limit: NodeLimit, text: &[u8]) {
        self.count += 1;
        match self.nodes.back_mut().and_then(|node| node.claim_room(limit, text.len())) {
            Some(lp) => lp.push_back(text),
            None => self.nodes.push_back(Node::new(limit, text)),
        }
    }

    /// Prepends.
    pub fn push_front(&mut self, limit: NodeLimit, text: &[u8]) {
        self.count += 1;
        match self.nodes.front_mut().and_then(|node| node.claim_room(limit, text.len())) {
            Some(lp) => lp.push_front(text),
            None => self.nodes.push_front(Node::new(limit, text)),
        }
    }

    /// Removes the first element after showing it to `f`.
    pub fn pop_front_with<R>(&mut self, f: impl FnOnce(LpValue<'_>) -> R) -> Option<R> {
        let node = self.nodes.front_mut()?;
        let result = match &mut node.data {
            Data::Packed(lp) => lp.pop_front_with(f)?,
            Data::Plain(text) => f(LpValue::Str(text)),
        };
        (node.count, self.count) = (node.count - 1, self.count - 1);
        if node.count == 0 {
            self.nodes.pop_front();
        }
        Some(result)
    }

    /// Removes the last element after showing it to `f`.
    pub fn pop_back_with<R>(&mut self, f: impl FnOnce(LpValue<'_>) -> R) -> Option<R> {
        let node = self.nodes.back_mut()?;
        let result = match &mut node.data {
            Data::Packed(lp) => lp.pop_back_with(f)?,
            Data::Plain(text) => f(LpValue::Str(text)),
        };
        (node.count, self.count) = (node.count - 1, self.count - 1);
        if node.count == 0 {
            self.nodes.pop_back();
        }
        Some(result)
    }

    /// Moves the last element to the front.
    pub fn rotate(&mut self, limit: NodeLimit) {
        if let Some(text) = self.pop_back_with(|value| value.to_vec()) {
            self.push_front(limit, &text);
        }
    }

    /// The node that holds the element `index`, and the element's index there.
    fn locate(&self, index: usize) -> Option<(usize, usize)> {
        if index >= self.count {
            return None;
        }
        if index < self.count / 2 {
            let mut offset = index;
            for (at, node) in self.nodes.iter().enumerate() {
                match offset.checked_sub(node.count as usize) {
                    Some(rest) => offset = rest,
                    None => return Some((at, offset)),
                }
            }
            return None;
        }
        let mut from_end = self.count - index; // 1 is the last element
        for (at, node) in self.nodes.iter().enumerate().rev() {
            match (node.count as usize).checked_sub(from_end) {
                Some(offset) => return Some((at, offset)),
                None => from_end -= node.count as usize,
            }
        }
        None
    }

    /// The element with this index.
    pub fn get(&self, index: usize) -> Option<LpValue<'_>> {
        let (at, offset) = self.locate(index)?;
        match &self.nodes[at].data {
            Data::Packed(lp) => lp.get(offset),
            Data::Plain(text) => Some(LpValue::Str(text)),
        }
    }

    /// Replaces the element with this index; says whether there is one.
    pub fn replace(&mut self, limit: NodeLimit, index: usize, text: &[u8]) -> bool {
        let Some((at, offset)) = self.locate(index) else { return false };
        if let Data::Packed(lp) = &mut self.nodes[at].data
            && !limit.is_large(text.len())
            // Replacing may overfill a node, as in Redis, but not without bound.
            && lp.bytes() + text.len() <= 2 * limit.max_bytes().max(SAFE_BYTES)
            && let Some(pos) = lp.seek(offset)
        {
            lp.replace(pos, text);
            return true;
        }
        self.remove_range(index, 1);
        self.insert(limit, index, text);
        true
    }

    /// Inserts so that the new element has this index; beyond the end it appends.
    pub fn insert(&mut self, limit: NodeLimit, index: usize, text: &[u8]) {
        let Some((at, offset)) = self.locate(index) else { return self.push_back(limit, text) };
        if index == 0 {
            return self.push_front(limit, text);
        }
        self.count += 1;
        if let Some(lp) = self.nodes[at].claim_room(limit, text.len()) {
            let pos = lp.seek(offset).unwrap_or(lp.end());
            lp.insert_before(pos, text);
        } else if offset > 0 {
            self.split(at, offset);
            self.insert_between(limit, at + 1, text);
            self.merge_around(limit, at);
        } else {
            self.insert_between(limit, at, text);
        }
    }

    /// Adds an element between the nodes `at - 1` and `at`: to the end of the former if it has room.
    fn insert_between(&mut self, limit: NodeLimit, at: usize, text: &[u8]) {
        match at.checked_sub(1).and_then(|before| self.nodes[before].claim_room(limit, text.len())) {
            Some(lp) => lp.push_back(text),
            None => self.nodes.insert(at, Node::new(limit, text)),
        }
    }

    /// Splits a packed node so that its elements from `offset` on stand in the next one.
    fn split(&mut self, at: usize, offset: usize) {
        let node = &mut self.nodes[at];
        let Data::Packed(lp) = &mut node.data else { return };
        let Some(pos) = lp.seek(offset) else { return };
        let tail = Node::packed(lp.split_off(pos));
        node.count -= tail.count;
        self.nodes.insert(at + 1, tail);
    }

    /// After a split at `at`: joins what now fits together, from its right neighbours to its left.
    fn merge_around(&mut self, limit: NodeLimit, at: usize) {
        for left in [at + 2, at + 1, at, at.wrapping_sub(1)] {
            self.merge(limit, left);
        }
    }

    /// Joins a node with its successor if both are packed and the result is within the limit.
    fn merge(&mut self, limit: NodeLimit, left: usize) {
        let Some(right) = left.checked_add(1) else { return };
        let (Some(a), Some(b)) = (self.nodes.get(left), self.nodes.get(right)) else { return };
        let (Data::Packed(x), Data::Packed(y)) = (&a.data, &b.data) else { return };
        if limit.exceeded_by(x.bytes() + y.bytes() - EMPTY_BYTES, (a.count + b.count) as usize) {
            return;
        }
        let Some(gone) = self.nodes.remove(right) else { return };
        if let (Data::Packed(x), Data::Packed(y)) = (&mut self.nodes[left].data, &gone.data) {
            x.append(y);
            self.nodes[left].count += gone.count;
        }
    }

    /// Removes up to `n` elements from `index` on; gives how many there were.
    pub fn remove_range(&mut self, index: usize, n: usize) -> usize {
        let Some((first, mut offset)) = self.locate(index) else { return 0 };
        let wanted = n.min(self.count - index);
        let (mut left, mut at) = (wanted, first);
        let mut whole = first..first; // nodes that go entirely
        while left > 0 {
            let node = &mut self.nodes[at];
            let here = left.min(node.count as usize - offset);
            if here == node.count as usize {
                if whole.is_empty() {
                    whole = at..at;
                }
                whole.end = at + 1;
            } else if let Data::Packed(lp) = &mut node.data {
                lp.remove_range(offset, here);
                node.count -= here as u32;
            }
            (left, at, offset) = (left - here, at + 1, 0);
        }
        self.nodes.drain(whole);
        self.count -= wanted;
        wanted
    }

    /// Removes up to `limit` elements equal to `text`, from the head or from the tail; gives how many.
    pub fn remove_matching(&mut self, text: &[u8], limit: usize, from_tail: bool) -> usize {
        let needle = Needle::new(text);
        let (mut removed, n) = (0, self.nodes.len());
        for i in 0..n {
            if removed == limit {
                break;
            }
            let node = &mut self.nodes[if from_tail { n - 1 - i } else { i }];
            let here = match &mut node.data {
                Data::Packed(lp) => remove_from_listpack(lp, &needle, limit - removed, from_tail),
                Data::Plain(p) => usize::from(needle.matches(LpValue::Str(p))),
            };
            node.count -= here as u32;
            removed += here;
        }
        if removed > 0 {
            self.count -= removed;
            self.nodes.retain(|node| node.count > 0);
        }
        removed
    }

    /// Elements from `index` to the end.
    pub fn iter_from(&self, index: usize) -> Iter<'_> {
        self.iter(index, false)
    }

    /// Elements from `index` back to the head.
    pub fn iter_back_from(&self, index: usize) -> Iter<'_> {
        self.iter(index, true)
    }

    fn iter(&self, index: usize, backwards: bool) -> Iter<'_> {
        let past_last = if backwards { 0 } else { self.nodes.len() };
        let nothing = Iter { nodes: &self.nodes, at: past_last, inner: Inner::Plain(None), backwards };
        let Some((at, offset)) = self.locate(index) else { return nothing };
        let inner = match &self.nodes[at].data {
            Data::Plain(text) => Inner::Plain(Some(text)),
            Data::Packed(lp) => match lp.seek(offset) {
                Some(pos) if backwards => Inner::Packed(lp.iter_through(pos)),
                Some(pos) => Inner::Packed(lp.iter_from(pos)),
                None => return nothing,
            },
        };
        Iter { at, inner, ..nothing }
    }
}

/// Removes up to `limit` entries that match, from either side; gives how many.
pub(crate) fn remove_from_listpack(
    lp: &mut Listpack,
    needle: &Needle<'_>,
    limit: usize,
    from_tail: bool,
) -> usize {
    let mut removed = 0;
    let mut next = if from_tail { lp.last() } else { lp.first() };
    while let Some(pos) = next
        && removed < limit
    {
        let hit = lp.value(pos).is_some_and(|value| needle.matches(value));
        removed += usize::from(hit);
        next = match (hit, from_tail) {
            (false, false) => lp.next(pos),
            (false, true) => lp.prev(pos),
            (true, false) => lp.remove(pos),
            (true, true) => {
                lp.remove(pos);
                lp.prev(pos)
            }
        };
    }
    removed
}

enum Inner<'a> {
    Packed(listpack::Iter<'a>),
    Plain(Option<&'a [u8]>),
}

/// Elements from some index on, in one direction.
pub struct Iter<'a> {
    nodes: &'a VecDeque<Node>,
    at: usize,
    inner: Inner<'a>,
    backwards: bool,
}

impl<'a> Iterator for Iter<'a> {
    type Item = LpValue<'a>;

    #[inline]
    fn next(&mut self) -> Option<LpValue<'a>> {
        loop {
            let value = match &mut self.inner {
                Inner::Packed(iter) if self.backwards => iter.next_back(),
                Inner::Packed(iter) => iter.next(),
                Inner::Plain(text) => text.take().map(LpValue::Str),
            };
            if value.is_some() {
                return value;
            }
            self.at = if self.backwards { self.at.checked_sub(1)? } else { self.at + 1 };
            self.inner = match &self.nodes.get(self.at)?.data {
                Data::Packed(lp) => Inner::Packed(lp.iter()),
                Data::Plain(text) => Inner::Plain(Some(text)),
            };
        }
    }
}

impl Clone for Quicklist {
    fn clone(&self) -> Self {
        let mut copy = Self::new();
        copy.nodes.reserve_exact(self.nodes.len());
        for node in self.nodes() {
            match node {
                NodeRef::Packed(lp) => copy.push_packed(lp.clone()),
                NodeRef::Plain(text) => copy.push_plain(text.into()),
            }
        }
        copy
    }
}

#[cfg(test)]
mod tests;
