//! What time is it? Injected, so that tests can stop and jump it.
//!
//! Invariants: `monotonic_us` never goes back; `now_us` follows the machine's wall clock and may jump
//! either way. Whoever compares deadlines with wall time takes it from [`Steady`], which does not jump: it goes on as
//! before until somebody has moved the deadlines and says so.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

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
    start_us: u64,
}

/// Microseconds since the machine started. Time that it spends asleep counts: nobody's lock waits for it to wake up.
fn since_boot() -> u64 {
    read_us(ClockId::Boottime)
}

impl SystemClock {
    /// A clock whose monotonic time starts at zero now.
    pub fn new() -> Self {
        SystemClock { start_us: since_boot() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

/// Microseconds that a clock of the system shows. Asked directly: `Instant` checks every sum, and the monotonic clock is
/// asked at every command.
fn read_us(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    now.tv_sec.unsigned_abs() * 1_000_000 + now.tv_nsec.unsigned_abs() / 1000
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
        since_boot().saturating_sub(self.start_us)
    }
}

/// How far the wall clock may be from where it should be before that is a jump, in microseconds. Corrections of less
/// are followed as they come.
const JUMP_US: u64 = 250_000;

/// Wall time that does not jump. It follows the wall clock; when that is set, forwards or back, it goes on with the time
/// that really passes, until [`Steady::settle`] takes over the new time.
#[derive(Debug)]
pub struct Steady {
    /// Wall time less monotonic time, in microseconds, when they were last looked at.
    apart: AtomicI64,
}

/// Longest time between two readings of the clocks for them to count as one, in microseconds, and how often that is
/// tried: a thread that was put aside in between would see a jump where there was none.
const AT_ONCE_US: u64 = 10_000;
const TRIES: usize = 10;

/// Wall time less monotonic time, if they could be read at once.
fn apart(clock: &dyn Clock) -> Option<i64> {
    (0..TRIES).find_map(|_| {
        let before = clock.monotonic_us();
        let wall = i64::try_from(clock.now_us()).unwrap_or(i64::MAX);
        let late = clock.monotonic_us().saturating_sub(before) > AT_ONCE_US;
        (!late).then(|| wall.saturating_sub_unsigned(before))
    })
}

impl Steady {
    /// Begins with the time that it is.
    pub fn new(clock: &dyn Clock) -> Steady {
        let apart = std::iter::repeat_with(|| apart(clock)).flatten().next();
        Steady { apart: apart.unwrap_or(0).into() }
    }

    /// The time in microseconds since the epoch, when the clock shows these two.
    pub fn now_us(&self, wall_us: u64, monotonic_us: u64) -> u64 {
        let steady = monotonic_us.saturating_add_signed(self.apart.load(Ordering::Relaxed));
        if steady.abs_diff(wall_us) < JUMP_US { wall_us } else { steady }
    }

    /// By how many microseconds the wall clock has been set forwards, or back, since it was last looked at.
    pub fn jump(&self, clock: &dyn Clock) -> Option<i64> {
        let now = apart(clock)?;
        let jump = now.saturating_sub(self.apart.load(Ordering::Relaxed));
        if jump.unsigned_abs() >= JUMP_US {
            return Some(jump);
        }
        self.apart.store(now, Ordering::Relaxed);
        None
    }

    /// Takes over a jump: whatever was compared with the time has been moved by as much.
    pub fn settle(&self, jump: i64) {
        self.apart.fetch_add(jump, Ordering::Relaxed);
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
    read_us(ClockId::ThreadCPUTime)
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
    fn steady_time_follows_corrections_and_not_jumps() {
        let clock = ManualClock::new(5_000_000_000);
        let steady = Steady::new(&clock);
        let now = |steady: &Steady| steady.now_us(clock.now_us(), clock.monotonic_us());
        clock.advance_ms(1000);
        clock.jump_to_us(clock.now_us() + 200_000);
        assert_eq!((now(&steady), steady.jump(&clock)), (5_001_200_000, None));
        // A small one on top of that is another small one.
        clock.jump_to_us(clock.now_us() + 200_000);
        assert_eq!((now(&steady), steady.jump(&clock)), (5_001_400_000, None));
        for by in [86_400_000_000, -86_400_000_000, 250_000, -250_000] {
            let before = now(&steady);
            clock.jump_to_us(clock.now_us().saturating_add_signed(by));
            clock.advance_ms(10);
            assert_eq!(now(&steady), before + 10_000, "{by}");
            assert_eq!(steady.jump(&clock), Some(by));
            steady.settle(by);
            assert_eq!((now(&steady), steady.jump(&clock)), (clock.now_us(), None));
        }
    }

    /// A machine so busy that a thread rests for half a second between any two readings.
    struct Busy(ManualClock);

    impl Clock for Busy {
        fn now_us(&self) -> u64 {
            self.0.advance_ms(500);
            self.0.now_us()
        }

        fn monotonic_us(&self) -> u64 {
            self.0.advance_ms(500);
            self.0.monotonic_us()
        }
    }

    #[test]
    fn a_thread_that_was_put_aside_sees_no_jump() {
        let clock = ManualClock::new(5_000_000_000);
        let steady = Steady::new(&clock);
        let busy = Busy(clock);
        assert_eq!(steady.jump(&busy), None);
        busy.0.jump_to_us(9_000_000_000);
        assert_eq!(steady.jump(&busy), None, "not now: when there is time to look");
        assert!(steady.jump(&busy.0).is_some());
    }

    #[test]
    fn a_jump_moves_the_wall_only() {
        let clock = ManualClock::new(5_000_000);
        clock.advance_ms(3);
        clock.jump_to_us(1_000);
        assert_eq!((clock.now_us(), clock.now_ms(), clock.monotonic_us()), (1_000, 1, 3_000));
    }
}
