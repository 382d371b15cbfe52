//! What time is it? Injected, so that tests can stop and jump it.
//!
//! Invariants: `monotonic_us` never goes back; `now_us` follows the machine's wall clock and may jump
//! either way. Whoever compares deadlines with `now_us` decides what a jump means; nothing here does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A source of time.
pub trait Clock: Send + Sync {
    /// Wall time in microseconds since the Unix epoch. May jump.
    fn now_us(&self) -> u64;

    /// Microseconds since an arbitrary start. Never goes back; for durations and timeouts.
    fn monotonic_us(&self) -> u64;

    /// Wall time in milliseconds since the Unix epoch, the unit of key deadlines.
    fn now_ms(&self) -> u64 {
        self.now_us() / 1000
    }
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts at zero now.
    pub fn new() -> Self {
        SystemClock { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

fn to_us(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Clock for SystemClock {
    fn now_us(&self) -> u64 {
        // A machine set before 1970 reads as 1970.
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, to_us)
    }

    fn monotonic_us(&self) -> u64 {
        to_us(self.start.elapsed())
    }
}

/// A clock that only moves when told to.
#[derive(Debug, Default)]
pub struct ManualClock {
    wall: AtomicU64,
    monotonic: AtomicU64,
}

impl ManualClock {
    /// A clock stopped at this wall time (microseconds since the epoch) and at monotonic zero.
    pub fn new(now_us: u64) -> Self {
        ManualClock { wall: AtomicU64::new(now_us), monotonic: AtomicU64::new(0) }
    }

    /// Lets time pass: both clocks move.
    pub fn advance_us(&self, us: u64) {
        self.wall.fetch_add(us, Ordering::SeqCst);
        self.monotonic.fetch_add(us, Ordering::SeqCst);
    }

    /// [`ManualClock::advance_us`] in milliseconds.
    pub fn advance_ms(&self, ms: u64) {
        self.advance_us(ms.saturating_mul(1000));
    }

    /// Sets the wall clock, forwards or back, as an administrator or NTP would; no time passes.
    pub fn jump_to_us(&self, now_us: u64) {
        self.wall.store(now_us, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_us(&self) -> u64 {
        self.wall.load(Ordering::SeqCst)
    }

    fn monotonic_us(&self) -> u64 {
        self.monotonic.load(Ordering::SeqCst)
    }
}

/// Microseconds of CPU time that this thread has used.
pub fn thread_cpu_us() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_time_is_after_this_was_written_and_monotonic_rises() {
        let clock = SystemClock::new();
        assert!(clock.now_ms() > 1_700_000_000_000);
        let before = clock.monotonic_us();
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(clock.monotonic_us() >= before + 2000);
    }

    #[test]
    fn a_jump_moves_the_wall_only() {
        let clock = ManualClock::new(5_000_000);
        clock.advance_ms(3);
        clock.jump_to_us(1_000);
        assert_eq!((clock.now_us(), clock.now_ms(), clock.monotonic_us()), (1_000, 1, 3_000));
    }
}
