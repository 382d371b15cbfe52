//! How is the server doing? Counters that threads keep for themselves and that INFO adds up.

pub mod slowlog;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

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
    pub errors: Mutex<BTreeMap<String, u64>>,
    /// Commands that took long.
    pub slow: SlowLog,
}

impl Stats {
    /// Zeroes, for so many threads and commands.
    pub fn new(threads: usize, commands: usize) -> Self {
        Stats {
            threads: (0..threads).map(|_| ThreadStats::new(commands)).collect(),
            connections: AtomicU64::new(0),
            rejected_connections: AtomicU64::new(0),
            errors: Mutex::default(),
            slow: SlowLog::default(),
        }
    }

    /// Sets what CONFIG RESETSTAT sets back to zero.
    pub fn reset(&self) {
        for t in &self.threads {
            for c in &t.commands {
                for counter in [&c.calls, &c.nanos, &c.rejected, &c.failed] {
                    counter.reset();
                }
            }
            let counters = [&t.processed, &t.hits, &t.misses, &t.expired, &t.expired_fields, &t.evicted];
            counters.into_iter().chain([&t.bytes_in, &t.bytes_out, &t.errors]).for_each(Counter::reset);
            t.socket_calls.iter().for_each(Counter::reset);
        }
        self.connections.store(0, Ordering::Relaxed);
        self.rejected_connections.store(0, Ordering::Relaxed);
        self.errors.lock().clear();
    }

    /// The sum of one counter over all threads.
    pub fn sum(&self, counter: impl Fn(&ThreadStats) -> &Counter) -> u64 {
        self.threads.iter().map(|t| counter(t).get()).sum()
    }

    /// Counts an error reply.
    pub fn error(&self, thread: usize, code: &str) {
        self.threads[thread].errors.add(1);
        let mut errors = self.errors.lock();
        if let Some(n) = errors.get_mut(code) {
            *n += 1;
        } else if errors.len() < 128 {
            // A script can invent codes: new ones are no longer recorded before they fill the memory.
            errors.insert(code.to_owned(), 1);
        }
    }
}
