//! Which commands wait because of CLIENT PAUSE? A kind of commands, until a point in time.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// What a pause holds back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paused {
    /// Commands that may change data.
    Writes,
    /// All commands.
    All,
}

/// The pause in force. Times are monotonic milliseconds.
#[derive(Debug, Default)]
pub struct Pause {
    /// When it ends, 0 without a pause: what every command reads.
    end: AtomicU64,
    what: Mutex<Option<Paused>>,
}

impl Pause {
    /// Begins a pause. One that is in force is never shortened nor made to hold back less.
    pub fn begin(&self, what: Paused, now: u64, end: u64) {
        let mut kept = self.what.lock();
        let before = self.end.load(Ordering::Acquire);
        let running = kept.filter(|_| before > now);
        *kept = Some(if running == Some(Paused::All) { Paused::All } else { what });
        self.end.store(end.max(before), Ordering::Release);
    }

    /// Ends the pause.
    pub fn end(&self) {
        *self.what.lock() = None;
        self.end.store(0, Ordering::Release);
    }

    /// What is held back, and until when.
    pub fn now(&self, now: u64) -> Option<(Paused, u64)> {
        let end = self.end.load(Ordering::Acquire);
        if end <= now {
            return None;
        }
        self.what.lock().map(|what| (what, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_neither_shortened_nor_loosened() {
        let pause = Pause::default();
        assert_eq!(pause.now(0), None);
        pause.begin(Paused::All, 0, 100);
        pause.begin(Paused::Writes, 10, 50);
        assert_eq!(pause.now(99), Some((Paused::All, 100)));
        assert_eq!(pause.now(100), None);
        pause.begin(Paused::Writes, 100, 150);
        assert_eq!(pause.now(120), Some((Paused::Writes, 150)));
        pause.end();
        assert_eq!(pause.now(120), None);
    }
}
