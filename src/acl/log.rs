//! What was refused lately? The entries of ACL LOG, newest first. What happens again within a minute is counted.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Entries whose last refusals lie at most so many milliseconds apart are one.
const SAME_WITHIN: u64 = 60_000;
/// How many of the newest entries a refusal is compared with.
const COMPARED: usize = 10;

/// What was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A login.
    Auth = 0,
    /// A command.
    Command = 1,
    /// A key.
    Key = 2,
    /// A channel.
    Channel = 3,
}

impl Reason {
    /// As ACL LOG names it.
    pub const fn name(self) -> &'static str {
        match self {
            Reason::Auth => "auth",
            Reason::Command => "command",
            Reason::Key => "key",
            Reason::Channel => "channel",
        }
    }
}

/// Where the refused request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    /// The client itself.
    TopLevel,
    /// A transaction.
    Multi,
    /// A script.
    Lua,
}

impl Context {
    /// As ACL LOG names it.
    pub const fn name(self) -> &'static str {
        match self {
            Context::TopLevel => "toplevel",
            Context::Multi => "multi",
            Context::Lua => "lua",
        }
    }
}

/// A refusal.
#[derive(Debug, Clone)]
pub struct Event {
    /// What was refused.
    pub reason: Reason,
    /// Where it came from.
    pub context: Context,
    /// The command, key or channel.
    pub object: Box<[u8]>,
    /// The name of the user.
    pub user: Box<[u8]>,
    /// The client, as CLIENT INFO describes it.
    pub client: Vec<u8>,
}

/// An entry.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The last refusal.
    pub event: Event,
    /// How many there were.
    pub count: u64,
    /// Counts entries.
    pub id: u64,
    /// Unix milliseconds of the first.
    pub created_ms: u64,
    /// Unix milliseconds of the last.
    pub updated_ms: u64,
}

/// The log.
#[derive(Debug, Default)]
pub struct AclLog {
    entries: Mutex<(VecDeque<Entry>, u64)>,
    counts: [AtomicU64; 4],
}

impl AclLog {
    /// How often this was refused.
    pub fn count(&self, reason: Reason) -> u64 {
        self.counts[reason as usize].load(Ordering::Relaxed)
    }

    /// CONFIG RESETSTAT.
    pub fn reset_counts(&self) {
        self.counts.iter().for_each(|count| count.store(0, Ordering::Relaxed));
    }

    /// Enters a refusal; at most `most` entries are kept.
    pub fn add(&self, event: Event, now_ms: u64, most: usize) {
        self.counts[event.reason as usize].fetch_add(1, Ordering::Relaxed);
        let (entries, next_id) = &mut *self.entries.lock();
        if most > 0 {
            let same = |old: &Entry| {
                (old.event.reason, old.event.context) == (event.reason, event.context)
                    && now_ms.abs_diff(old.updated_ms) <= SAME_WITHIN
                    && old.event.object == event.object
                    && old.event.user == event.user
            };
            let known = entries.iter().take(COMPARED).position(same);
            let entry = match known.and_then(|at| entries.remove(at)) {
                Some(old) => Entry { event, count: old.count + 1, updated_ms: now_ms, ..old },
                None => {
                    *next_id += 1;
                    Entry { event, count: 1, id: *next_id - 1, created_ms: now_ms, updated_ms: now_ms }
                }
            };
            entries.push_front(entry);
        }
        entries.truncate(most);
    }

    /// The newest entries.
    pub fn newest(&self, most: usize) -> Vec<Entry> {
        self.entries.lock().0.iter().take(most).cloned().collect()
    }

    /// Forgets all entries.
    pub fn clear(&self) {
        self.entries.lock().0.clear();
    }
}
