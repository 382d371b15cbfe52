//! How is the server doing? Counters that threads keep for themselves and that INFO adds up.

pub mod errors;
pub mod histogram;
pub mod latency;
pub mod rates;
pub mod slowlog;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::stats::errors::Errors;
use crate::stats::histogram::{Distribution, Histogram};
use crate::stats::rates::Rates;
use crate::stats::slowlog::SlowLog;

/// A counter that one thread writes and others may read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`; only the owning thread may call this.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// The value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Raises it to `n` if it is below; only the owning thread may call this.
    pub fn raise(&self, n: u64) {
        if n > self.get() {
            self.0.store(n, Ordering::Relaxed);
        }
    }

    /// Makes it a gauge; only the owning thread may call this.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// Back to zero (CONFIG RESETSTAT).
    pub fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// What INFO commandstats tells of one command.
#[derive(Debug, Default)]
pub struct CommandStats {
    /// Times it ran.
    pub calls: Counter,
    /// Nanoseconds that it took in all.
    pub nanos: Counter,
    /// Times it was refused before it ran.
    pub rejected: Counter,
    /// Times it answered with an error.
    pub failed: Counter,
    /// How long its calls took, once there was one while `latency-tracking` was on.
    pub latency: OnceLock<Box<Histogram>>,
}

impl CommandStats {
    /// Counts a call that took so many microseconds.
    pub fn ran(&self, took_us: u64, tracked: bool) {
        let nanos = took_us.saturating_mul(1000);
        self.calls.add(1);
        self.nanos.add(nanos);
        if tracked {
            self.latency.get_or_init(Box::default).record(nanos);
        }
    }

    fn reset(&self) {
        [&self.calls, &self.nanos, &self.rejected, &self.failed].into_iter().for_each(Counter::reset);
        if let Some(latency) = self.latency.get() {
            latency.reset();
        }
    }
}

/// How busy one thread is. A turn is a batch of requests of one client, or a round of the background's work.
#[derive(Debug, Default)]
pub struct Turns {
    /// How many there were.
    pub count: Counter,
    /// Microseconds that they took in all.
    pub micros: Counter,
    /// The longest of them, in microseconds.
    pub longest: Counter,
    /// Microseconds that commands took.
    pub command_micros: Counter,
    /// The most commands that were run in one of them.
    pub most_commands: Counter,
}

impl Turns {
    /// Counts one of so many microseconds, in which so many commands ran.
    pub fn took(&self, micros: u64, commands: u64) {
        self.count.add(1);
        self.micros.add(micros);
        self.longest.raise(micros);
        if commands > 0 {
            self.command_micros.add(micros);
            self.most_commands.raise(commands);
        }
    }

    fn reset(&self) {
        let all = [&self.count, &self.micros, &self.longest, &self.command_micros, &self.most_commands];
        all.into_iter().for_each(Counter::reset);
    }
}

/// The command that a thread runs, for others to look at: its index in the command table, counted from 1, in 16 bits,
/// and when it began, in monotonic microseconds, in 48. 0 between commands.
#[derive(Debug, Default)]
pub struct Running(AtomicU64);

impl Running {
    const BEGAN: u64 = (1 << 48) - 1;

    /// A command begins. Returns what [`Running::go_back`] wants when it is over: a command can run others.
    #[inline]
    pub fn begin(&self, command: usize, now_us: u64) -> u64 {
        let outer = self.0.load(Ordering::Relaxed);
        self.0.store((command as u64 + 1) << 48 | (now_us & Self::BEGAN), Ordering::Relaxed);
        outer
    }

    /// The command is over.
    #[inline]
    pub fn go_back(&self, outer: u64) {
        self.0.store(outer, Ordering::Relaxed);
    }

    /// The command that runs, and when it began.
    pub fn now(&self) -> Option<(usize, u64)> {
        let now = self.0.load(Ordering::Relaxed);
        let command = usize::try_from(now >> 48).ok()?.checked_sub(1)?;
        Some((command, now & Self::BEGAN))
    }
}

/// The counters of one I/O thread.
#[derive(Debug)]
pub struct ThreadStats {
    /// By index in the command table.
    pub commands: Box<[CommandStats]>,
    /// Commands processed.
    pub processed: Counter,
    /// Look-ups that found their key.
    pub hits: Counter,
    /// Look-ups that did not.
    pub misses: Counter,
    /// Keys that were found expired or swept.
    pub expired: Counter,
    /// Hash fields that expired.
    pub expired_fields: Counter,
    /// Keys that were evicted.
    pub evicted: Counter,
    /// Bytes received.
    pub bytes_in: Counter,
    /// Bytes sent.
    pub bytes_out: Counter,
    /// Reads and writes of sockets.
    pub socket_calls: [Counter; 2],
    /// Error replies.
    pub errors: Counter,
    /// Changes of data since the start.
    pub dirty: Counter,
    /// How busy it is.
    pub turns: Turns,
    /// The command that it runs.
    pub running: Running,
    /// Bytes that its Lua interpreters hold: that of scripts, and that of functions.
    pub lua_bytes: [Counter; 2],
}

impl ThreadStats {
    fn new(commands: usize) -> Self {
        ThreadStats {
            commands: (0..commands).map(|_| CommandStats::default()).collect(),
            processed: Counter::default(),
            hits: Counter::default(),
            misses: Counter::default(),
            expired: Counter::default(),
            expired_fields: Counter::default(),
            evicted: Counter::default(),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            socket_calls: Default::default(),
            errors: Counter::default(),
            dirty: Counter::default(),
            turns: Turns::default(),
            running: Running::default(),
            lua_bytes: Default::default(),
        }
    }
}

/// All counters.
#[derive(Debug)]
pub struct Stats {
    /// One set for each I/O thread, and one more for the background.
    pub threads: Box<[ThreadStats]>,
    /// Connections accepted.
    pub connections: AtomicU64,
    /// Connections refused at `maxclients`.
    pub rejected_connections: AtomicU64,
    /// Error replies by code.
    pub errors: Errors,
    /// Commands that took long.
    pub slow: SlowLog,
    /// What took longer than it should.
    pub latency: latency::Monitor,
    /// What happens per second.
    pub rates: Rates,
    /// Microseconds spent on writing the append-only file.
    pub aof_micros: AtomicU64,
    /// Times that memory was over `maxmemory` when a command came and no key could go in time: microseconds in all.
    pub eviction_micros: AtomicU64,
    /// Clients that were closed because their requests, and their replies, outgrew their buffers.
    pub overflows: [AtomicU64; 2],
    /// When an attack was last reported: monotonic milliseconds, 0 for never.
    pub attack_ms: AtomicU64,
    /// Clients closed because all together held too much.
    pub evicted_clients: AtomicU64,
    /// Bytes that were in use when the server had started, before it had any data.
    pub startup_bytes: AtomicU64,
    /// The most memory that was ever in use, as far as anybody looked.
    pub peak: Peak,
}

impl Stats {
    /// Zeroes, for so many threads and commands.
    pub fn new(threads: usize, commands: usize) -> Self {
        Stats {
            threads: (0..threads).map(|_| ThreadStats::new(commands)).collect(),
            connections: AtomicU64::new(0),
            rejected_connections: AtomicU64::new(0),
            errors: Errors::default(),
            slow: SlowLog::default(),
            latency: latency::Monitor::default(),
            rates: Rates::default(),
            aof_micros: AtomicU64::new(0),
            eviction_micros: AtomicU64::new(0),
            overflows: Default::default(),
            attack_ms: AtomicU64::new(0),
            evicted_clients: AtomicU64::new(0),
            startup_bytes: AtomicU64::new(0),
            peak: Peak::default(),
        }
    }

    /// Sets what CONFIG RESETSTAT sets back to zero.
    pub fn reset(&self) {
        for t in &self.threads {
            t.commands.iter().for_each(CommandStats::reset);
            t.turns.reset();
            let counters = [&t.processed, &t.hits, &t.misses, &t.expired, &t.expired_fields, &t.evicted];
            counters.into_iter().chain([&t.bytes_in, &t.bytes_out, &t.errors]).for_each(Counter::reset);
            t.socket_calls.iter().for_each(Counter::reset);
        }
        let shared = [&self.connections, &self.rejected_connections, &self.aof_micros, &self.eviction_micros];
        shared
            .into_iter()
            .chain([&self.evicted_clients])
            .chain(&self.overflows)
            .for_each(|n| n.store(0, Ordering::Relaxed));
        self.errors.reset();
        self.rates.reset();
        self.peak.reset();
    }

    /// The sum of one counter over all threads.
    pub fn sum(&self, counter: impl Fn(&ThreadStats) -> &Counter) -> u64 {
        self.threads.iter().map(|t| counter(t).get()).sum()
    }

    /// How long the calls of a command took, on all threads; `None` when there were none.
    pub fn distribution(&self, command: usize) -> Option<Distribution> {
        let mut of = self.threads.iter().filter_map(|t| t.commands.get(command)?.latency.get()).peekable();
        of.peek()?;
        let all = Distribution::of(of.map(|histogram| &**histogram));
        (all.total > 0).then_some(all)
    }

    /// Counts an error reply.
    pub fn error(&self, thread: usize, code: &str) {
        self.threads[thread].errors.add(1);
        self.errors.count(code);
    }
}

/// The most memory that was ever in use, and when.
#[derive(Debug, Default)]
pub struct Peak {
    bytes: AtomicU64,
    at: AtomicU64,
}

impl Peak {
    /// Takes note of what is in use now. Returns the most, and the unix seconds at which it was.
    pub fn note(&self, used: u64, now_s: u64) -> (u64, u64) {
        if self.bytes.fetch_max(used, Ordering::AcqRel) < used {
            self.at.store(now_s, Ordering::Release);
        }
        (self.bytes.load(Ordering::Acquire), self.at.load(Ordering::Acquire))
    }

    fn reset(&self) {
        self.bytes.store(0, Ordering::Release);
    }
}
