//! What stands above the leaves? Inner nodes with counts, and the numbered store of all nodes.

/// Most children of an inner node.
pub(super) const FAN_OUT: usize = 64;

/// One child of an inner node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kid {
    /// Items below this child.
    pub(super) count: u64,
    /// The number of the child: a leaf on the lowest level, an inner node above.
    pub(super) child: u32,
    /// The first leaf below this child; its first member settles ties between scores.
    pub(super) first_leaf: u32,
}

/// An inner node. `first[i]` is the score of the first item below `kids[i]`, always exactly.
#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) first: Vec<f64>,
    pub(super) kids: Vec<Kid>,
}

impl Inner {
    pub(super) fn len(&self) -> usize {
        self.kids.len()
    }

    pub(super) fn insert(&mut self, at: usize, first: f64, kid: Kid) {
        self.first.insert(at, first);
        self.kids.insert(at, kid);
    }

    pub(super) fn remove(&mut self, at: usize) {
        self.first.remove(at);
        self.kids.remove(at);
    }

    pub(super) fn split_off(&mut self, at: usize) -> Inner {
        Inner { first: self.first.split_off(at), kids: self.kids.split_off(at) }
    }

    pub(super) fn append(&mut self, mut other: Inner) {
        self.first.append(&mut other.first);
        self.kids.append(&mut other.kids);
    }

    pub(super) fn total(&self) -> u64 {
        self.kids.iter().map(|k| k.count).sum()
    }

    pub(super) fn memory(&self) -> usize {
        self.first.capacity() * size_of::<f64>() + self.kids.capacity() * size_of::<Kid>()
    }
}

const CHUNK: usize = 128;

/// Values under small numbers that stay theirs until freed. Grows by a chunk at a time, so that
/// growth never moves more than one chunk.
#[derive(Debug)]
pub(super) struct Slab<T> {
    chunks: Vec<Vec<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab { chunks: Vec::new(), free: Vec::new() }
    }
}

impl<T: Default> Slab<T> {
    /// Stores `value` and returns its number.
    pub(super) fn add(&mut self, value: T) -> u32 {
        if let Some(id) = self.free.pop() {
            *self.get_mut(id) = value;
            return id;
        }
        let first = self.chunks.is_empty();
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK => chunk.push(value),
            _ => {
                // The first chunk grows by doubling, for the sake of small trees.
                let mut chunk = Vec::with_capacity(if first { 4 } else { CHUNK });
                chunk.push(value);
                self.chunks.push(chunk);
            }
        }
        let last = self.chunks.len() - 1;
        (last * CHUNK + self.chunks[last].len() - 1) as u32
    }

    #[inline]
    pub(super) fn get(&self, id: u32) -> &T {
        &self.chunks[id as usize / CHUNK][id as usize % CHUNK]
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: u32) -> &mut T {
        &mut self.chunks[id as usize / CHUNK][id as usize % CHUNK]
    }

    /// Frees a number and returns what it stood for.
    pub(super) fn take(&mut self, id: u32) -> T {
        self.free.push(id);
        std::mem::take(self.get_mut(id))
    }

    /// Drops one chunk; false when there is none left. Numbers lose their meaning.
    pub(super) fn drop_chunk(&mut self) -> bool {
        self.free = Vec::new();
        self.chunks.pop().is_some()
    }

    /// Bytes of the store itself, without what its values own.
    pub(super) fn memory(&self) -> usize {
        let values: usize = self.chunks.iter().map(Vec::capacity).sum();
        values * size_of::<T>() + self.chunks.capacity() * size_of::<Vec<T>>() + self.free.capacity() * 4
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_reused_and_stable() {
        let mut slab = Slab::default();
        let ids: Vec<u32> = (0..300u64).map(|v| slab.add(v)).collect();
        assert_eq!(ids, (0..300).collect::<Vec<u32>>());
        assert_eq!(slab.take(130), 130);
        assert_eq!(slab.add(7777), 130);
        assert_eq!(*slab.get(299), 299);
        assert_eq!(*slab.get(130), 7777);
        assert_eq!(slab.add(1), 300);
    }
}
