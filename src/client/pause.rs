//! Which commands wait because of a pause? A kind of commands, until a point in time. CLIENT PAUSE holds them back, and so
//! does a server that waits for its replicas before it ends; neither ends what the other began.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// What a pause holds back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Paused {
    /// Commands that may change data.
    Writes,
    /// All commands.
    All,
}

/// Who holds commands back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// CLIENT PAUSE.
    Client = 0,
    /// The server's end.
    End = 1,
}

/// The pauses in force. Times are monotonic milliseconds.
#[derive(Debug, Default)]
pub struct Pause {
    /// When the last one ends, 0 without any: what every command reads.
    end: AtomicU64,
    /// By holder: what, and until when.
    held: Mutex<[Option<(Paused, u64)>; 2]>,
}

impl Pause {
    /// Begins a pause. One that the holder has in force is never shortened nor made to hold back less.
    pub fn begin(&self, holder: Holder, what: Paused, now: u64, end: u64) {
        let mut held = self.held.lock();
        let mine = &mut held[holder as usize];
        let running = mine.filter(|(_, before)| *before > now);
        *mine = Some(running.map_or((what, end), |(w, before)| (w.max(what), end.max(before))));
        self.publish(&held);
    }

    /// Ends a holder's pause.
    pub fn end(&self, holder: Holder) {
        let mut held = self.held.lock();
        held[holder as usize] = None;
        self.publish(&held);
    }

    fn publish(&self, held: &[Option<(Paused, u64)>; 2]) {
        let last = held.iter().flatten().map(|(_, end)| *end).max();
        self.end.store(last.unwrap_or(0), Ordering::Release);
    }

    /// What is held back, and until when at least.
    pub fn now(&self, now: u64) -> Option<(Paused, u64)> {
        if self.end.load(Ordering::Acquire) <= now {
            return None;
        }
        self.held.lock().iter().flatten().filter(|(_, end)| *end > now).max().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_neither_shortened_nor_loosened() {
        let pause = Pause::default();
        let begin = |what, now, end| pause.begin(Holder::Client, what, now, end);
        assert_eq!(pause.now(0), None);
        begin(Paused::All, 0, 100);
        begin(Paused::Writes, 10, 50);
        assert_eq!(pause.now(99), Some((Paused::All, 100)));
        assert_eq!(pause.now(100), None);
        begin(Paused::Writes, 100, 150);
        assert_eq!(pause.now(120), Some((Paused::Writes, 150)));
        pause.end(Holder::Client);
        assert_eq!(pause.now(120), None);
    }

    #[test]
    fn nobody_ends_what_somebody_else_began() {
        let pause = Pause::default();
        pause.begin(Holder::End, Paused::Writes, 0, u64::MAX);
        pause.begin(Holder::Client, Paused::All, 0, 100);
        assert_eq!(pause.now(50), Some((Paused::All, 100)));
        assert_eq!(pause.now(100), Some((Paused::Writes, u64::MAX)));
        pause.end(Holder::Client);
        assert_eq!(pause.now(50), Some((Paused::Writes, u64::MAX)));
        pause.end(Holder::End);
        assert_eq!(pause.now(0), None);
    }
}
