//! Who has received what, and not yet acknowledged it? A consumer group.
//!
//! The pending entries list (PEL) of the group owns the records, ordered by id; a record names its
//! consumer by number, and each consumer keeps the ids of its own records.
//!
//! Invariant: an id is in the list of exactly the consumer that its record names.

use super::id::StreamId;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// The number of a consumer within its group; good until the consumer is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsumerId(u32);

/// One delivered entry that waits to be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Who received it.
    pub consumer: ConsumerId,
    /// When it was delivered last, in milliseconds since the epoch.
    pub delivery_time: i64,
    /// How often it was delivered.
    pub delivery_count: u64,
}

/// A member of a group.
#[derive(Clone, Debug)]
pub struct Consumer {
    name: Box<[u8]>,
    /// When it last asked for anything, in milliseconds since the epoch.
    pub seen_time: i64,
    /// When it last received anything; -1 if never.
    pub active_time: i64,
    pending: BTreeSet<StreamId>,
}

impl Consumer {
    /// Its name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// How many entries it has not acknowledged.
    pub fn pending_count(&self) -> usize {
        self.pending.len()
    }
}

/// A consumer group.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// The last entry delivered.
    pub last_id: StreamId,
    /// How many entries were delivered up to `last_id`, of all that were ever added; `None` if unknown.
    pub entries_read: Option<u64>,
    pel: BTreeMap<StreamId, Pending>,
    by_name: BTreeMap<Box<[u8]>, ConsumerId>,
    consumers: Vec<Option<Consumer>>,
    free: Vec<u32>,
}

impl Group {
    /// A group that has received everything up to `last_id`.
    pub fn new(last_id: StreamId, entries_read: Option<u64>) -> Group {
        Group { last_id, entries_read, ..Group::default() }
    }

    // ---- consumers ----

    /// The consumer of a name.
    pub fn find_consumer(&self, name: &[u8]) -> Option<ConsumerId> {
        self.by_name.get(name).copied()
    }

    /// Makes a consumer, seen now and never active; `None` if there is one of this name.
    pub fn create_consumer(&mut self, name: &[u8], now: i64) -> Option<ConsumerId> {
        if self.by_name.contains_key(name) {
            return None;
        }
        let consumer =
            Consumer { name: name.into(), seen_time: now, active_time: -1, pending: BTreeSet::new() };
        let at = match self.free.pop() {
            Some(at) => {
                self.consumers[at as usize] = Some(consumer);
                at
            }
            None => {
                self.consumers.push(Some(consumer));
                (self.consumers.len() - 1) as u32
            }
        };
        let id = ConsumerId(at);
        self.by_name.insert(name.into(), id);
        Some(id)
    }

    /// A consumer by number.
    pub fn consumer(&self, id: ConsumerId) -> Option<&Consumer> {
        self.consumers.get(id.0 as usize)?.as_ref()
    }

    /// A consumer by number, to note when it was seen or active.
    pub fn consumer_mut(&mut self, id: ConsumerId) -> Option<&mut Consumer> {
        self.consumers.get_mut(id.0 as usize)?.as_mut()
    }

    /// All consumers, ordered by name.
    pub fn consumers(&self) -> impl Iterator<Item = (ConsumerId, &Consumer)> {
        self.by_name.values().filter_map(|&id| Some((id, self.consumer(id)?)))
    }

    /// Number of consumers.
    pub fn consumer_count(&self) -> usize {
        self.by_name.len()
    }

    /// Removes a consumer and its pending entries; returns how many these were.
    pub fn remove_consumer(&mut self, name: &[u8]) -> Option<usize> {
        let id = self.by_name.remove(name)?;
        let consumer = self.consumers.get_mut(id.0 as usize)?.take()?;
        self.free.push(id.0);
        for entry in &consumer.pending {
            self.pel.remove(entry);
        }
        Some(consumer.pending.len())
    }

    // ---- pending entries ----

    /// Number of pending entries.
    pub fn pending_count(&self) -> usize {
        self.pel.len()
    }

    /// The record of a pending entry.
    pub fn pending(&self, id: StreamId) -> Option<&Pending> {
        self.pel.get(&id)
    }

    /// The first and last pending id.
    pub fn pending_edges(&self) -> Option<(StreamId, StreamId)> {
        Some((*self.pel.first_key_value()?.0, *self.pel.last_key_value()?.0))
    }

    /// Pending entries with ids in a range, ascending.
    pub fn pending_range(
        &self,
        ids: RangeInclusive<StreamId>,
    ) -> impl DoubleEndedIterator<Item = (StreamId, &Pending)> {
        sound(ids).into_iter().flat_map(|ids| self.pel.range(ids)).map(|(&id, p)| (id, p))
    }

    /// Pending entries of one consumer with ids in a range, ascending.
    pub fn consumer_pending(
        &self,
        consumer: ConsumerId,
        ids: RangeInclusive<StreamId>,
    ) -> impl DoubleEndedIterator<Item = (StreamId, &Pending)> {
        let own = self.consumer(consumer).zip(sound(ids));
        own.into_iter()
            .flat_map(|(c, ids)| c.pending.range(ids))
            .filter_map(|&id| Some((id, self.pel.get(&id)?)))
    }

    /// Calls `f` with up to `count` records of one consumer, from id `start` on.
    pub(super) fn each_of_consumer(
        &mut self,
        consumer: ConsumerId,
        start: StreamId,
        count: usize,
        mut f: impl FnMut(StreamId, &mut Pending),
    ) {
        let Some(Some(own)) = self.consumers.get(consumer.0 as usize) else { return };
        for id in own.pending.range(start..).take(count) {
            if let Some(record) = self.pel.get_mut(id) {
                f(*id, record);
            }
        }
    }

    /// Takes an entry off the list: it was acknowledged, or is gone.
    pub fn ack(&mut self, id: StreamId) -> Option<Pending> {
        let record = self.pel.remove(&id)?;
        if let Some(consumer) = self.consumer_mut(record.consumer) {
            consumer.pending.remove(&id);
        }
        Some(record)
    }

    /// Puts an entry on the list, or changes its record. False, and nothing done, if there is no
    /// such consumer.
    pub fn set_pending(&mut self, id: StreamId, record: Pending) -> bool {
        let Some(consumer) = self.consumer_mut(record.consumer) else { return false };
        consumer.pending.insert(id);
        let old = self.pel.insert(id, record);
        if let Some(old) = old.filter(|old| old.consumer != record.consumer)
            && let Some(consumer) = self.consumer_mut(old.consumer)
        {
            consumer.pending.remove(&id);
        }
        true
    }

    /// May this group still want an entry: because it was not delivered, or not acknowledged?
    pub fn refers_to(&self, id: StreamId) -> bool {
        id > self.last_id || self.pel.contains_key(&id)
    }

    /// Bytes allocated, about.
    pub fn memory(&self) -> usize {
        // A B-tree node has room for eleven entries and is two thirds full on average.
        let tree = |n: usize, size: usize| n * size * 3 / 2;
        let consumers: usize = self
            .consumers
            .iter()
            .flatten()
            .map(|c| 2 * c.name.len() + tree(c.pending.len(), size_of::<StreamId>()))
            .sum();
        tree(self.pel.len(), size_of::<StreamId>() + size_of::<Pending>())
            + tree(self.by_name.len(), size_of::<Box<[u8]>>() + size_of::<ConsumerId>())
            + self.consumers.capacity() * size_of::<Option<Consumer>>()
            + consumers
    }

    /// Frees up to `n` records; returns whether none is left.
    pub(super) fn drain_step(&mut self, n: usize) -> bool {
        for _ in 0..n {
            let Some((id, record)) = self.pel.pop_last() else { return true };
            if let Some(consumer) = self.consumer_mut(record.consumer) {
                consumer.pending.remove(&id);
            }
        }
        self.pel.is_empty()
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        for (id, record) in &self.pel {
            assert!(self.consumer(record.consumer).unwrap().pending.contains(id));
        }
        let owned: usize = self.consumers.iter().flatten().map(Consumer::pending_count).sum();
        assert_eq!(owned, self.pel.len());
        assert_eq!(self.by_name.len(), self.consumers.iter().flatten().count());
    }
}

/// The range, unless it is upside down, which B-trees do not take.
fn sound(ids: RangeInclusive<StreamId>) -> Option<RangeInclusive<StreamId>> {
    (ids.start() <= ids.end()).then_some(ids)
}
