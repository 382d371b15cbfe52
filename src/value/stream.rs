//! What is a stream? Entries under ascending ids, and groups of consumers that read them.
//!
//! Entries are kept in nodes ([`node`]): listpacks of up to `stream-node-max-bytes` bytes or
//! `stream-node-max-entries` entries, ordered by the id of their first entry. Deleted entries stay
//! in their node, flagged, until all of it is deleted, so that node counts and approximate
//! trimming answer as in Redis. Groups ([`group`]) are apart from the entries: an entry may be
//! deleted while it is still pending.
//!
//! Invariants: ids ascend within and across nodes; `len` is the number of entries not flagged;
//! `first_id` is the first of these, or `0-0`; no entry is above `last_id`.

pub mod group;
pub mod id;
mod node;
mod trim;

pub use group::{Consumer, ConsumerId, Group, Pending};
pub use id::{NewId, StreamId};
pub use node::{Entry, Fields};
pub use trim::{Trim, TrimBy};

use crate::ds::alloc::sampled;
use crate::ds::listpack::{Corrupt, Listpack};
use crate::value::limits::Limits;
use node::{Backward, Forward};
use std::collections::{BTreeMap, btree_map};
use std::ops::RangeInclusive;

/// No entry, and no node, takes more bytes than this.
const NODE_MAX: usize = 1 << 30;

/// What a stream knows about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Entries that are there.
    pub len: u64,
    /// The last id that was ever given.
    pub last_id: StreamId,
    /// The id of the first entry; `0-0` if there is none.
    pub first_id: StreamId,
    /// The greatest id that was ever deleted (trimming does not count).
    pub max_deleted_id: StreamId,
    /// Entries that were ever added.
    pub entries_added: u64,
}

impl Meta {
    /// Was an entry deleted after `id`, other than from the beginning of the stream?
    fn has_gap_after(&self, id: StreamId) -> bool {
        self.len > 0 && self.max_deleted_id != StreamId::MIN && id <= self.max_deleted_id
    }

    /// How many of all entries ever added come up to `id`; `None` where that is not known.
    /// The rules are those of Redis's estimate for `entries-read`.
    pub fn entries_up_to(&self, id: StreamId) -> Option<u64> {
        if self.entries_added == 0 {
            return Some(0);
        }
        if self.len == 0 && id <= self.last_id {
            return Some(self.entries_added);
        }
        if id != StreamId::MIN && id < self.max_deleted_id {
            return None;
        }
        if id >= self.last_id {
            return (id == self.last_id).then_some(self.entries_added);
        }
        if self.max_deleted_id == StreamId::MIN || self.max_deleted_id < self.first_id {
            let trimmed = self.entries_added.wrapping_sub(self.len);
            if id < self.first_id {
                return Some(trimmed);
            }
            if id == self.first_id {
                return Some(trimmed.wrapping_add(1));
            }
        }
        None
    }

    /// How many entries a group has yet to receive; `None` where that is not known.
    pub fn lag(&self, group: &Group) -> Option<i64> {
        let behind = |read: u64| self.entries_added.wrapping_sub(read) as i64;
        if self.entries_added == 0 || self.len == 0 {
            return Some(0);
        }
        if group.last_id < self.first_id && self.max_deleted_id < self.first_id {
            return Some(self.len as i64);
        }
        match group.entries_read {
            Some(read) if !self.has_gap_after(group.last_id) => Some(behind(read)),
            _ => self.entries_up_to(group.last_id).map(behind),
        }
    }
}

/// Why an entry was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddError {
    /// The id is `0-0`.
    Zero,
    /// The id is not above the last one.
    NotAbove,
    /// There is no id above the last one.
    Exhausted,
    /// The fields and values are too many bytes.
    TooLarge,
}

/// Why XSETID was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetIdError {
    /// The id is below the greatest deleted one.
    BelowDeleted,
    /// The id is below the last entry.
    BelowTop,
    /// Fewer entries added than there are.
    AddedBelowLen,
}

/// What becomes of the references that groups hold to an entry that is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RefPolicy {
    /// They stay.
    #[default]
    Keep,
    /// They are deleted too.
    Delete,
    /// Only entries that all groups have received and acknowledged are deleted.
    Acked,
}

/// What a deletion came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// There is no such entry (or, for XACKDEL, it is not pending).
    Missing,
    /// It is deleted.
    Deleted,
    /// It stays, since some group refers to it.
    Referenced,
}

/// How XCLAIM changes the record of a pending entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClaimOptions {
    /// Only if it was delivered at least so many milliseconds ago.
    pub min_idle: i64,
    /// When it is to have been delivered, in milliseconds since the epoch.
    pub delivery_time: i64,
    /// How often it is to have been delivered; else once more, unless `just_id`.
    pub retry_count: Option<u64>,
    /// Make a record if there is none.
    pub force: bool,
    /// Do not count this as a delivery.
    pub just_id: bool,
}

/// What a claim came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// It belongs to the consumer now; the record as it stands.
    Yes(Pending),
    /// The entry is no longer in the stream; the record that it had, which is deleted.
    Vanished(Option<Pending>),
    /// It is not pending, or was delivered too recently.
    No,
}

/// A stream.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    meta: Meta,
    nodes: BTreeMap<StreamId, Listpack>,
    groups: BTreeMap<Box<[u8]>, Group>,
}

/// Entries.
impl Stream {
    /// An empty stream.
    pub fn new() -> Stream {
        Stream::default()
    }

    /// Length, ids and counters.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Number of entries.
    pub fn len(&self) -> u64 {
        self.meta.len
    }

    /// Has it no entries? Such a stream exists nevertheless.
    pub fn is_empty(&self) -> bool {
        self.meta.len == 0
    }

    /// The id that a new entry would get, at `now` milliseconds since the epoch.
    ///
    /// # Errors
    /// All of [`AddError`] but `TooLarge`.
    pub fn resolve(&self, id: NewId, now: u64) -> Result<StreamId, AddError> {
        let last = self.meta.last_id;
        let new = match id {
            NewId::Given(StreamId::MIN) => return Err(AddError::Zero),
            _ if last == StreamId::MAX => return Err(AddError::Exhausted),
            NewId::Given(id) => id,
            NewId::AutoSeq(ms) if ms == last.ms => {
                StreamId::new(ms, last.seq.checked_add(1).ok_or(AddError::NotAbove)?)
            }
            NewId::AutoSeq(ms) => StreamId::new(ms, 0),
            NewId::Auto if now > last.ms => StreamId::new(now, 0),
            NewId::Auto => last.next().ok_or(AddError::Exhausted)?,
        };
        if new > last { Ok(new) } else { Err(AddError::NotAbove) }
    }

    /// Appends an entry of these fields and values.
    ///
    /// # Errors
    /// `NotAbove` or `TooLarge`; nothing is changed then.
    pub fn append<'a>(
        &mut self,
        id: StreamId,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
        limits: &Limits,
    ) -> Result<(), AddError> {
        if id <= self.meta.last_id {
            return Err(AddError::NotAbove);
        }
        let (mut n, mut bytes) = (0usize, 0usize);
        for (field, value) in fields.clone() {
            (n, bytes) = (n + 1, bytes.saturating_add(field.len()).saturating_add(value.len()));
        }
        // What the pieces of an entry, and of a node, take besides their text, at most.
        let framed = bytes.saturating_add(32 * (n + 8));
        if framed > NODE_MAX - 128 {
            return Err(AddError::TooLarge);
        }
        match self.nodes.last_entry().filter(|tail| has_room(tail.get(), bytes, framed, limits)) {
            Some(mut tail) => {
                let master = *tail.key();
                node::append(tail.get_mut(), master, id, fields);
            }
            None => {
                let mut lp = node::new(fields.clone());
                node::append(&mut lp, id, id, fields);
                self.nodes.insert(id, lp);
            }
        }
        let meta = &mut self.meta;
        meta.len += 1;
        meta.entries_added = meta.entries_added.wrapping_add(1);
        meta.last_id = id;
        if meta.len == 1 {
            meta.first_id = id;
        }
        Ok(())
    }

    /// Entries with ids in a range, ascending.
    pub fn range(&self, ids: RangeInclusive<StreamId>) -> Entries<'_> {
        forward(&self.nodes, ids)
    }

    /// Entries with ids in a range, descending.
    pub fn range_rev(&self, ids: RangeInclusive<StreamId>) -> EntriesRev<'_> {
        let nodes = self.nodes.range(..=*ids.end());
        EntriesRev { nodes, node: None, ids }
    }

    /// All entries.
    pub fn iter(&self) -> Entries<'_> {
        self.range(StreamId::MIN..=StreamId::MAX)
    }

    /// One entry.
    pub fn get(&self, id: StreamId) -> Option<Entry<'_>> {
        find(&self.nodes, id)
    }

    /// The id of the last entry that is there.
    pub fn top_id(&self) -> Option<StreamId> {
        self.range_rev(StreamId::MIN..=StreamId::MAX).next().map(|entry| entry.id)
    }

    /// Deletes an entry (XDEL, XDELEX).
    pub fn delete(&mut self, id: StreamId, refs: RefPolicy) -> Deletion {
        match refs {
            RefPolicy::Acked if self.is_referenced(id) => return Deletion::Referenced,
            RefPolicy::Delete => self.groups.values_mut().for_each(|group| {
                group.ack(id);
            }),
            _ => {}
        }
        if self.delete_entry(id) { Deletion::Deleted } else { Deletion::Missing }
    }

    /// Acknowledges an entry and deletes it (XACKDEL). An entry that was pending but is no longer
    /// in the stream counts as deleted.
    pub fn ack_delete(&mut self, group: &[u8], id: StreamId, refs: RefPolicy) -> Deletion {
        if self.groups.get_mut(group).and_then(|g| g.ack(id)).is_none() {
            return Deletion::Missing;
        }
        match self.delete(id, refs) {
            Deletion::Referenced => Deletion::Referenced,
            _ => Deletion::Deleted,
        }
    }

    /// Has some group not yet received, or not yet acknowledged, an entry?
    pub fn is_referenced(&self, id: StreamId) -> bool {
        self.groups.values().any(|group| group.refers_to(id))
    }

    fn delete_entry(&mut self, id: StreamId) -> bool {
        let Some((&master, lp)) = self.nodes.range_mut(..=id).next_back() else { return false };
        let verdict = |other: StreamId| (other <= id).then_some(other == id);
        if node::delete(master, lp, verdict) == 0 {
            return false;
        }
        if node::header(lp).is_none_or(|head| head.count == 0) {
            self.nodes.remove(&master);
        }
        self.meta.len = self.meta.len.saturating_sub(1);
        self.meta.max_deleted_id = self.meta.max_deleted_id.max(id);
        if self.meta.len == 0 || id == self.meta.first_id {
            self.find_first();
        }
        true
    }

    fn find_first(&mut self) {
        self.meta.first_id = self.iter().next().map_or(StreamId::MIN, |entry| entry.id);
    }

    /// Sets what XSETID sets: the last id, and if given the other two.
    ///
    /// # Errors
    /// [`SetIdError`]; nothing is changed then.
    pub fn set_id(
        &mut self,
        last_id: StreamId,
        entries_added: Option<u64>,
        max_deleted_id: Option<StreamId>,
    ) -> Result<(), SetIdError> {
        if last_id < self.meta.max_deleted_id {
            return Err(SetIdError::BelowDeleted);
        }
        if self.top_id().is_some_and(|top| last_id < top) {
            return Err(SetIdError::BelowTop);
        }
        if self.meta.len > 0 && entries_added.is_some_and(|added| added < self.meta.len) {
            return Err(SetIdError::AddedBelowLen);
        }
        self.meta.last_id = last_id;
        self.meta.entries_added = entries_added.unwrap_or(self.meta.entries_added);
        if let Some(id) = max_deleted_id.filter(|&id| id != StreamId::MIN) {
            self.meta.max_deleted_id = id;
        }
        Ok(())
    }
}

fn has_room(lp: &Listpack, bytes: usize, framed: usize, limits: &Limits) -> bool {
    let most = match limits.stream_node_max_bytes {
        0 => NODE_MAX,
        most => most.min(NODE_MAX),
    };
    let entries = limits.stream_node_max_entries;
    lp.bytes() + bytes < most
        && lp.fits(framed)
        && (entries == 0 || node::header(lp).is_some_and(|head| head.count + head.deleted < entries))
}

/// The entries of some nodes with ids in a range.
fn forward(nodes: &BTreeMap<StreamId, Listpack>, ids: RangeInclusive<StreamId>) -> Entries<'_> {
    // The node that may hold the first of them begins at or before it.
    let from = nodes.range(..=*ids.start()).next_back().map_or(*ids.start(), |(&id, _)| id);
    Entries { nodes: nodes.range(from..), node: None, ids }
}

fn find(nodes: &BTreeMap<StreamId, Listpack>, id: StreamId) -> Option<Entry<'_>> {
    let (&master, lp) = nodes.range(..=id).next_back()?;
    Forward::new(master, lp)?.find(|entry| entry.id >= id).filter(|e| e.id == id && !e.is_deleted())
}

/// Groups.
impl Stream {
    /// All groups, ordered by name.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = (&[u8], &Group)> {
        self.groups.iter().map(|(name, group)| (&name[..], group))
    }

    /// A group by name.
    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        self.groups.get(name)
    }

    /// A group by name, to be changed.
    pub fn group_mut(&mut self, name: &[u8]) -> Option<&mut Group> {
        self.groups.get_mut(name)
    }

    /// Adds a group that has received everything up to `last_id` (XGROUP CREATE); false if there is
    /// one of this name. More cannot have been read than was added.
    pub fn create_group(&mut self, name: &[u8], last_id: StreamId, entries_read: Option<u64>) -> bool {
        let added = self.meta.entries_added;
        self.add_group(name, Group::new(last_id, entries_read.map(|read| read.min(added))))
    }

    /// Changes what a group has received (XGROUP SETID); false if there is no such group.
    pub fn set_group_id(&mut self, name: &[u8], last_id: StreamId, entries_read: Option<u64>) -> bool {
        let added = self.meta.entries_added;
        let Some(group) = self.groups.get_mut(name) else { return false };
        group.last_id = last_id;
        group.entries_read = entries_read.map(|read| read.min(added));
        true
    }

    /// Adds a group as it is; false if there is one of this name.
    pub fn add_group(&mut self, name: &[u8], group: Group) -> bool {
        match self.groups.entry(name.into()) {
            btree_map::Entry::Occupied(_) => false,
            btree_map::Entry::Vacant(place) => {
                place.insert(group);
                true
            }
        }
    }

    /// Removes a group.
    pub fn remove_group(&mut self, name: &[u8]) -> Option<Group> {
        self.groups.remove(name)
    }

    /// Delivers up to `count` entries that the group has not received yet (XREADGROUP with `>`) and
    /// shows each to `f`. Without `noack` they become pending for the consumer, at `now`
    /// milliseconds since the epoch. Returns how many.
    pub fn deliver(
        &mut self,
        group: &[u8],
        consumer: ConsumerId,
        count: usize,
        noack: bool,
        now: i64,
        mut f: impl FnMut(Entry<'_>),
    ) -> usize {
        let meta = self.meta;
        let Some(group) = self.groups.get_mut(group) else { return 0 };
        let Some(start) = group.last_id.next() else { return 0 };
        let mut delivered = 0;
        for entry in forward(&self.nodes, start..=StreamId::MAX).take(count) {
            // Counting on is right only where nothing was trimmed or deleted in between.
            let follows = group.last_id >= meta.first_id && !meta.has_gap_after(group.last_id);
            group.entries_read = match group.entries_read {
                Some(read) if follows => Some(read.wrapping_add(1)),
                read if meta.entries_added == 0 => read,
                _ => meta.entries_up_to(entry.id),
            };
            group.last_id = entry.id;
            if !noack {
                let record = Pending { consumer, delivery_time: now, delivery_count: 1 };
                group.set_pending(entry.id, record);
            }
            f(entry);
            delivered += 1;
        }
        if delivered > 0
            && !noack
            && let Some(consumer) = group.consumer_mut(consumer)
        {
            consumer.active_time = now;
        }
        delivered
    }

    /// Shows up to `count` entries that are pending for a consumer to `f`, from id `start` on
    /// (XREADGROUP with an id), and counts that as a delivery. Entries that are no longer in the
    /// stream are shown by their id alone and not counted.
    pub fn redeliver(
        &mut self,
        group: &[u8],
        consumer: ConsumerId,
        start: StreamId,
        count: usize,
        now: i64,
        mut f: impl FnMut(StreamId, Option<Entry<'_>>),
    ) {
        let Some(group) = self.groups.get_mut(group) else { return };
        group.each_of_consumer(consumer, start, count, |id, record| {
            let entry = find(&self.nodes, id);
            if entry.is_some() {
                record.delivery_time = now;
                record.delivery_count = record.delivery_count.wrapping_add(1);
            }
            f(id, entry);
        });
    }

    /// Makes a consumer the owner of a pending entry (XCLAIM).
    pub fn claim(
        &mut self,
        group: &[u8],
        consumer: ConsumerId,
        id: StreamId,
        options: &ClaimOptions,
        now: i64,
    ) -> Claimed {
        let Some(group) = self.groups.get_mut(group) else { return Claimed::No };
        if find(&self.nodes, id).is_none() {
            return Claimed::Vanished(group.ack(id));
        }
        let count = match group.pending(id) {
            Some(record) if now.saturating_sub(record.delivery_time) < options.min_idle => {
                return Claimed::No;
            }
            Some(record) => record.delivery_count,
            None if options.force => 1,
            None => return Claimed::No,
        };
        let delivery_count = match options.retry_count {
            Some(count) => count,
            None => count.wrapping_add(u64::from(!options.just_id)),
        };
        let record = Pending { consumer, delivery_time: options.delivery_time, delivery_count };
        group.set_pending(id, record);
        if let Some(consumer) = group.consumer_mut(consumer) {
            consumer.active_time = now;
        }
        Claimed::Yes(record)
    }

    /// Claims up to `count` pending entries from id `start` on that were delivered at least
    /// `min_idle` milliseconds ago (XAUTOCLAIM). Shows to `f` each one claimed, with its entry, and
    /// each one that is no longer in the stream, without; the latter count too, and are deleted.
    /// Looks at ten times as many at most. Returns where to go on from, `0-0` at the end.
    #[allow(clippy::too_many_arguments)] // They are the arguments of the command.
    pub fn claim_idle(
        &mut self,
        group: &[u8],
        consumer: ConsumerId,
        start: StreamId,
        mut count: usize,
        min_idle: i64,
        just_id: bool,
        now: i64,
        mut f: impl FnMut(StreamId, Pending, Option<Entry<'_>>),
    ) -> StreamId {
        let Some(group) = self.groups.get_mut(group) else { return StreamId::MIN };
        let mut attempts = count.saturating_mul(10);
        let mut at = start;
        loop {
            let next = group.pending_range(at..=StreamId::MAX).next();
            let Some((id, &old)) = next else { return StreamId::MIN };
            if attempts == 0 || count == 0 {
                return id;
            }
            attempts -= 1;
            match find(&self.nodes, id) {
                None => {
                    group.ack(id);
                    f(id, old, None);
                    count -= 1;
                }
                Some(_) if now.saturating_sub(old.delivery_time) < min_idle => {}
                entry => {
                    let delivery_count = old.delivery_count.wrapping_add(u64::from(!just_id));
                    let record = Pending { consumer, delivery_time: now, delivery_count };
                    group.set_pending(id, record);
                    if let Some(consumer) = group.consumer_mut(consumer) {
                        consumer.active_time = now;
                    }
                    f(id, record, entry);
                    count -= 1;
                }
            }
            let Some(next) = id.next() else { return StreamId::MIN };
            at = next;
        }
    }
}

/// The whole of it.
impl Stream {
    /// The nodes as they are saved: the id that each is named after, and its listpack.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = (StreamId, &Listpack)> {
        self.nodes.iter().map(|(&id, lp)| (id, lp))
    }

    /// The nodes from an ID on.
    pub fn nodes_from(&self, id: StreamId) -> impl Iterator<Item = (StreamId, &Listpack)> {
        self.nodes.range(id..).map(|(&id, lp)| (id, lp))
    }

    /// Adds a node from outside (RDB, RESTORE), in ascending order; to be followed by
    /// [`Stream::restore_meta`].
    ///
    /// # Errors
    /// [`Corrupt`] unless it is a node whose entries come after all others.
    pub fn restore_node(&mut self, master: StreamId, lp: Listpack) -> Result<(), Corrupt> {
        let (live, last) = node::validate(master, &lp)?;
        if !self.nodes.is_empty() && master <= self.meta.last_id {
            return Err(Corrupt);
        }
        self.meta.last_id = last;
        self.meta.len += live;
        self.nodes.insert(master, lp);
        Ok(())
    }

    /// Sets what a stream knows about itself, after its nodes. `first_id` is found, not taken.
    ///
    /// # Errors
    /// [`Corrupt`] if it does not agree with the nodes.
    pub fn restore_meta(&mut self, meta: Meta) -> Result<(), Corrupt> {
        if meta.len != self.meta.len || meta.last_id < self.meta.last_id {
            return Err(Corrupt);
        }
        self.meta = meta;
        self.find_first();
        Ok(())
    }

    /// How many nodes Redis's radix tree would have for these nodes (XINFO STREAM says so): one per
    /// listpack, one per fork, and one per run of bytes between them.
    pub fn radix_nodes(&self) -> usize {
        const KEY: u32 = 16;
        let mut count = self.nodes.len().max(1);
        // Depths of the forks on the way to the current key.
        let mut forks: Vec<u32> = Vec::new();
        let mut keys = self.nodes.keys().map(|id| u128::from_be_bytes(id.to_bytes())).peekable();
        while let Some(key) = keys.next() {
            let shared = keys.peek().map(|next| (key ^ next).leading_zeros() / 8);
            // The run that ends in this leaf begins behind the deepest fork that the key is below.
            let above = forks.last().copied().max(shared);
            count += usize::from(above.is_none_or(|fork| fork + 1 < KEY));
            // Forks deeper than the next key's are complete: count the runs that lead to them.
            while let Some(&fork) = forks.last()
                && shared.is_none_or(|shared| fork > shared)
            {
                forks.pop();
                let above = forks.last().copied().max(shared);
                count += 1 + usize::from(above.map_or(fork > 0, |up| up + 1 < fork));
            }
            if let Some(shared) = shared
                && forks.last() != Some(&shared)
            {
                forks.push(shared);
            }
        }
        count
    }

    /// Bytes allocated, about; the nodes are estimated from the first `samples`, 0 for all.
    pub fn memory(&self, samples: usize) -> usize {
        let node = size_of::<StreamId>() + size_of::<Listpack>();
        let each = self.nodes.values().map(|lp| lp.memory() + node * 3 / 2);
        let nodes = sampled(each, self.nodes.len(), samples);
        let groups: usize = self.groups.iter().map(|(n, g)| n.len() + size_of::<Group>() + g.memory()).sum();
        size_of::<Stream>() + nodes + groups
    }

    /// Frees about `n` entries' worth of memory; returns whether all is freed. Nothing else is to be
    /// asked of the stream after that.
    pub fn drain_step(&mut self, n: usize) -> bool {
        for _ in 0..=n / 100 {
            if self.nodes.pop_last().is_none() {
                break;
            }
        }
        self.meta.len = 0;
        if let Some(mut group) = self.groups.last_entry()
            && group.get_mut().drain_step(n)
        {
            group.remove();
        }
        self.nodes.is_empty() && self.groups.is_empty()
    }
}

/// Entries in ascending order.
#[derive(Clone)]
pub struct Entries<'a> {
    nodes: btree_map::Range<'a, StreamId, Listpack>,
    node: Option<Forward<'a>>,
    ids: RangeInclusive<StreamId>,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        loop {
            let Some(entry) = self.node.as_mut().and_then(Iterator::next) else {
                let (&master, lp) = self.nodes.next()?;
                if master > *self.ids.end() {
                    return None;
                }
                self.node = Forward::new(master, lp);
                continue;
            };
            if entry.id > *self.ids.end() {
                return None;
            }
            if entry.id >= *self.ids.start() && !entry.is_deleted() {
                return Some(entry);
            }
        }
    }
}

/// Entries in descending order.
#[derive(Clone)]
pub struct EntriesRev<'a> {
    nodes: btree_map::Range<'a, StreamId, Listpack>,
    node: Option<Backward<'a>>,
    ids: RangeInclusive<StreamId>,
}

impl<'a> Iterator for EntriesRev<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        loop {
            let Some(entry) = self.node.as_mut().and_then(Iterator::next) else {
                let (&master, lp) = self.nodes.next_back()?;
                self.node = Backward::new(master, lp);
                continue;
            };
            if entry.id < *self.ids.start() {
                return None;
            }
            if entry.id <= *self.ids.end() && !entry.is_deleted() {
                return Some(entry);
            }
        }
    }
}

#[cfg(test)]
mod tests;
