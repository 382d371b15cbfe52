//! What is a list? One listpack while small, a quicklist beyond.
//!
//! Invariants: the encoding is what OBJECT ENCODING of Redis 8.2 would answer after the same
//! commands. So a listpack becomes a quicklist *before* elements are added that would take it over
//! `list-max-listpack-size`, and a quicklist of one packed node becomes a listpack only when a
//! removal or replacement leaves it at most half of that.

use super::limits::Limits;
use crate::ds::listpack::{self, Listpack, LpValue, Needle};
use crate::ds::quicklist::{self, NodeLimit, Quicklist, remove_from_listpack};
use std::mem;

/// The two ends of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Left, index 0.
    Head,
    /// Right, index -1.
    Tail,
}

/// A list, 16 bytes.
#[derive(Clone)]
pub enum List {
    /// Few elements, in one allocation.
    Packed(Listpack),
    /// Any number of elements.
    Quick(Box<Quicklist>),
}

impl Default for List {
    fn default() -> Self {
        Self::new()
    }
}

impl List {
    /// Without elements.
    pub fn new() -> Self {
        List::Packed(Listpack::new())
    }

    /// From loaded nodes, in the encoding Redis gives a loaded list.
    pub fn from_quicklist(list: Quicklist, limits: &Limits) -> Self {
        let mut list = List::Quick(Box::new(list));
        list.pack_if(|bytes, count| limits.list_node().holds(bytes, count));
        list
    }

    /// From elements in order, in the encoding Redis gives the result of SORT ... STORE.
    pub fn from_elements<'a>(elements: impl IntoIterator<Item = &'a [u8]>, limits: &Limits) -> Self {
        let limit = limits.list_node();
        let mut list = Quicklist::new();
        elements.into_iter().for_each(|element| list.push_back(limit, element));
        if list.is_empty() { List::new() } else { Self::from_quicklist(list, limits) }
    }

    /// The name OBJECT ENCODING answers.
    pub fn encoding(&self) -> &'static str {
        match self {
            List::Packed(_) => "listpack",
            List::Quick(_) => "quicklist",
        }
    }

    /// Number of elements.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            List::Packed(lp) => lp.len(),
            List::Quick(list) => list.len(),
        }
    }

    /// Has it no elements? Then its key must go.
    pub fn is_empty(&self) -> bool {
        match self {
            List::Packed(lp) => lp.is_empty(),
            List::Quick(list) => list.is_empty(),
        }
    }

    /// Frees about `elements` elements' worth of memory; returns whether all is freed.
    pub fn drain_step(&mut self, elements: usize) -> bool {
        match self {
            List::Packed(lp) => *lp = Listpack::new(),
            List::Quick(list) => {
                list.remove_range(list.len().saturating_sub(elements), elements);
            }
        }
        self.is_empty()
    }

    /// Bytes taken from the allocator, without these 16; those of many nodes are estimated from `samples`, 0 for all.
    pub fn memory(&self, samples: usize) -> usize {
        match self {
            List::Packed(lp) => lp.memory(),
            List::Quick(list) => size_of::<Quicklist>() + list.memory(samples),
        }
    }

    // ---- encodings ----

    /// Makes it a quicklist if these elements would take it over the limit.
    fn make_room(&mut self, limit: NodeLimit, add_bytes: usize, add_count: usize) {
        if let List::Packed(lp) = self
            && limit.exceeded_by(lp.bytes().saturating_add(add_bytes), lp.len() + add_count)
        {
            *self = List::Quick(Box::new(Quicklist::from_listpack(mem::take(lp))));
        }
    }

    /// Makes it a listpack if it is a quicklist of one packed node that passes `small`.
    fn pack_if(&mut self, small: impl Fn(usize, usize) -> bool) {
        if let List::Quick(list) = self
            && list.single_listpack().is_some_and(|lp| small(lp.bytes(), lp.len()))
            && let Some(lp) = list.take_single_listpack()
        {
            *self = List::Packed(lp);
        }
    }

    fn shrunk(&mut self, limits: &Limits) {
        if matches!(self, List::Quick(_)) {
            let half = limits.list_node().half();
            self.pack_if(|bytes, count| half.holds(bytes, count));
        }
    }

    // ---- changing ----

    /// Pushes elements one by one at one end.
    pub fn push<'a, I>(&mut self, end: End, elements: I, limits: &Limits)
    where
        I: IntoIterator<Item = &'a [u8]> + Clone,
    {
        let limit = limits.list_node();
        if matches!(self, List::Packed(_)) {
            let (bytes, count) = elements
                .clone()
                .into_iter()
                .fold((0usize, 0), |(b, n), e| (b.saturating_add(e.len()), n + 1));
            self.make_room(limit, bytes, count);
        }
        elements.into_iter().for_each(|element| self.push_unchecked(end, element, limit));
    }

    fn push_unchecked(&mut self, end: End, element: &[u8], limit: NodeLimit) {
        match (self, end) {
            (List::Packed(lp), End::Tail) => lp.push_back(element),
            (List::Packed(lp), End::Head) => lp.push_front(element),
            (List::Quick(list), End::Tail) => list.push_back(limit, element),
            (List::Quick(list), End::Head) => list.push_front(limit, element),
        }
    }

    /// Removes the element at an end after showing it to `f`.
    pub fn pop<R>(&mut self, end: End, limits: &Limits, f: impl FnOnce(LpValue<'_>) -> R) -> Option<R> {
        let result = self.pop_unchecked(end, f);
        self.shrunk(limits);
        result
    }

    fn pop_unchecked<R>(&mut self, end: End, f: impl FnOnce(LpValue<'_>) -> R) -> Option<R> {
        match (self, end) {
            (List::Packed(lp), End::Head) => lp.pop_front_with(f),
            (List::Packed(lp), End::Tail) => lp.pop_back_with(f),
            (List::Quick(list), End::Head) => list.pop_front_with(f),
            (List::Quick(list), End::Tail) => list.pop_back_with(f),
        }
    }

    /// Moves an element from one end to one end of this same list (LMOVE onto itself); gives it.
    /// Unlike a pop and a push it looks at the encoding only when both are done, as Redis does.
    pub fn rotate(&mut self, from: End, to: End, limits: &Limits) -> Option<Vec<u8>> {
        let element = self.pop_unchecked(from, |value| value.to_vec())?;
        self.push(to, [element.as_slice()], limits);
        self.shrunk(limits);
        Some(element)
    }

    /// Removes up to `n` elements from an end after showing each to `f`, the outermost first.
    /// Gives how many there were.
    pub fn pop_many(&mut self, end: End, n: usize, limits: &Limits, f: impl FnMut(LpValue<'_>)) -> usize {
        let (len, n) = (self.len(), n.min(self.len()));
        match end {
            End::Head => self.iter().take(n).for_each(f),
            End::Tail => self.iter_back().take(n).for_each(f),
        }
        self.remove_range(if end == End::Head { 0 } else { len - n }, n, limits)
    }

    /// Replaces the element with this index; says whether there is one.
    pub fn set(&mut self, index: usize, element: &[u8], limits: &Limits) -> bool {
        self.make_room(limits.list_node(), element.len(), 1);
        let done = match self {
            List::Packed(lp) => lp.seek(index).map(|pos| lp.replace(pos, element)).is_some(),
            List::Quick(list) => list.replace(limits.list_node(), index, element),
        };
        if done {
            self.shrunk(limits);
        }
        done
    }

    /// Inserts before or after the first element equal to `pivot`; says whether there is one.
    pub fn insert(&mut self, after: bool, pivot: &[u8], element: &[u8], limits: &Limits) -> bool {
        self.make_room(limits.list_node(), element.len(), 1);
        match self {
            List::Packed(lp) => {
                let Some(pos) = lp.find(pivot, 0) else { return false };
                if after {
                    lp.insert_after(pos, element)
                } else {
                    lp.insert_before(pos, element)
                };
            }
            List::Quick(list) => {
                let needle = Needle::new(pivot);
                let Some(index) = list.iter_from(0).position(|value| needle.matches(value)) else {
                    return false;
                };
                list.insert(limits.list_node(), index + usize::from(after), element);
            }
        }
        true
    }

    /// Removes up to `n` elements from `index` on; gives how many there were.
    pub fn remove_range(&mut self, index: usize, n: usize, limits: &Limits) -> usize {
        let removed = match self {
            List::Packed(lp) => lp.remove_range(index, n),
            List::Quick(list) => list.remove_range(index, n),
        };
        self.shrunk(limits);
        removed
    }

    /// Removes all but the `n` elements from `index` on (LTRIM).
    pub fn keep_range(&mut self, index: usize, n: usize, limits: &Limits) {
        let end = index.saturating_add(n);
        self.remove_range(end, self.len().saturating_sub(end), limits);
        self.remove_range(0, index, limits);
    }

    /// Removes up to `n` elements equal to `element`, the ones nearest to `end`; gives how many.
    pub fn remove(&mut self, element: &[u8], n: usize, end: End, limits: &Limits) -> usize {
        let from_tail = end == End::Tail;
        let removed = match self {
            List::Packed(lp) => remove_from_listpack(lp, &Needle::new(element), n, from_tail),
            List::Quick(list) => list.remove_matching(element, n, from_tail),
        };
        if removed > 0 {
            self.shrunk(limits);
        }
        removed
    }

    // ---- reading ----

    /// The element with this index.
    pub fn get(&self, index: usize) -> Option<LpValue<'_>> {
        match self {
            List::Packed(lp) => lp.get(index),
            List::Quick(list) => list.get(index),
        }
    }

    /// All elements from the head.
    pub fn iter(&self) -> Iter<'_> {
        self.iter_from(0)
    }

    /// All elements from the tail.
    pub fn iter_back(&self) -> Iter<'_> {
        match self {
            List::Packed(lp) => Iter(Inner::Back(lp.iter())),
            List::Quick(list) => Iter(Inner::Quick(list.iter_back_from(list.len().saturating_sub(1)))),
        }
    }

    /// Elements from `index` to the tail; take as many as the range has.
    pub fn iter_from(&self, index: usize) -> Iter<'_> {
        match self {
            List::Packed(lp) => Iter(Inner::Packed(lp.iter_from(lp.seek(index).unwrap_or(lp.end())))),
            List::Quick(list) => Iter(Inner::Quick(list.iter_from(index))),
        }
    }
}

enum Inner<'a> {
    Packed(listpack::Iter<'a>),
    Back(listpack::Iter<'a>),
    Quick(quicklist::Iter<'a>),
}

/// Elements in one direction.
pub struct Iter<'a>(Inner<'a>);

impl<'a> Iterator for Iter<'a> {
    type Item = LpValue<'a>;

    #[inline]
    fn next(&mut self) -> Option<LpValue<'a>> {
        match &mut self.0 {
            Inner::Packed(iter) => iter.next(),
            Inner::Back(iter) => iter.next_back(),
            Inner::Quick(iter) => iter.next(),
        }
    }
}

const _: () = assert!(size_of::<List>() == 16);

#[cfg(test)]
mod tests;
