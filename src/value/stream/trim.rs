//! How is a stream cut short? Whole nodes at a time, or to the entry, as Redis does it.

use super::{RefPolicy, Stream, StreamId, node};
use smallvec::SmallVec;
use std::ops::Bound;

/// What is to be left of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrimBy {
    /// The last so many entries.
    MaxLen(u64),
    /// The entries from this id on.
    MinId(StreamId),
}

/// The trimming that XTRIM and XADD ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trim {
    /// What is to be left.
    pub by: TrimBy,
    /// Only remove whole nodes (`~`).
    pub approx: bool,
    /// Remove at most so many entries; 0 for any number.
    pub limit: u64,
    /// What becomes of references.
    pub refs: RefPolicy,
}

impl Stream {
    /// Removes entries from the beginning; returns how many.
    ///
    /// The rules of Redis 8.2: without `approx`, a node that cannot go as a whole is cut and is the
    /// last one looked at. `approx` has no effect but with [`RefPolicy::Keep`].
    pub fn trim(&mut self, trim: &Trim) -> u64 {
        let mut deleted = 0;
        let mut at = Bound::Unbounded;
        loop {
            let next = self.nodes.range((at, Bound::Unbounded)).next();
            let Some((&master, lp)) = next else { break };
            let Some(head) = node::header(lp) else { break };
            let (count, len) = (head.count, self.meta.len);
            let whole = match trim.by {
                TrimBy::MaxLen(most) if len <= most => break,
                TrimBy::MaxLen(most) => len.saturating_sub(count) >= most,
                TrimBy::MinId(least) => {
                    node::Backward::new(master, lp).and_then(|mut e| e.next()).is_none_or(|e| e.id < least)
                }
            };
            if trim.limit > 0 && deleted + count > trim.limit {
                break;
            }
            if whole && trim.refs == RefPolicy::Keep {
                self.nodes.remove(&master);
                self.meta.len = len.saturating_sub(count);
                deleted += count;
                continue;
            }
            if trim.approx {
                break;
            }
            let cut = self.cut(master, trim);
            deleted += cut;
            if cut == count {
                self.nodes.remove(&master);
            }
            if !whole {
                break;
            }
            at = Bound::Excluded(master);
        }
        if deleted > 0 || self.meta.len == 0 {
            self.find_first();
        }
        deleted
    }

    /// Deletes what is to go from one node; returns how many entries.
    fn cut(&mut self, master: StreamId, trim: &Trim) -> u64 {
        let Some(lp) = self.nodes.get_mut(&master) else { return 0 };
        let groups = &self.groups;
        let mut len = self.meta.len;
        let mut gone: SmallVec<[StreamId; 16]> = SmallVec::new();
        let cut = node::delete(master, lp, |id| {
            let stop = match trim.by {
                TrimBy::MaxLen(most) => len <= most,
                TrimBy::MinId(least) => id >= least,
            };
            if stop {
                return None;
            }
            if trim.refs == RefPolicy::Acked && groups.values().any(|g| g.refers_to(id)) {
                return Some(false);
            }
            if trim.refs == RefPolicy::Delete {
                gone.push(id);
            }
            len -= 1;
            Some(true)
        });
        for id in gone {
            self.groups.values_mut().for_each(|group| {
                group.ack(id);
            });
        }
        self.meta.len = len;
        cut
    }
}
