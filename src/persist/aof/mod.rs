//! How does every write survive? The log's bytes go to a file, before the clients that wrote them are answered.
//!
//! With `everysec` and `no` the I/O thread itself hands them to the operating system, once per turn of its loop, so that
//! a crash of the process loses nothing. With `always` the log's thread writes and makes durable, over and over, all
//! that has come meanwhile: one fsync serves everyone who waits, and no I/O thread ever waits for the disk.
//!
//! ```text
//! append .. | written, a crash loses none of it | durable, a loss of power loses none of it
//!           `- safe with everysec and no          `- safe with always
//! ```
//!
//! Invariants: bytes are written in the log's order, by whoever holds the writer's lock; after an error what is in the
//! file ends where a whole write ended. After an fsync that failed nothing in the file is trusted any more, and no fsync
//! of it is tried: a rewrite makes new files from memory. Until what went wrong has been put right, further writes are
//! refused, and with `always` those that wait for the disk go on waiting: they hear that they are safe when they are.

pub mod load;
pub mod manifest;
pub mod rewrite;
pub mod scan;
pub mod values;
mod writer;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::config::choices::Appendfsync;
use crate::config::values::reason;
use crate::log::Log;
use crate::persist::aof::manifest::Manifest;
use crate::persist::aof::writer::{Notes, Writer};
use crate::persist::{Child, World};
use crate::stats::latency::Event;

/// How long the log's thread sleeps when nobody wakes it.
const BEAT: Duration = Duration::from_millis(100);
/// Microseconds between two fsyncs with `everysec`, and between two tries after an error.
const SECOND: u64 = 1_000_000;

/// Whether there is an append-only file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// There is none.
    Off = 0,
    /// It has been turned on, and its first base is being written.
    Waiting = 1,
    /// There is.
    On = 2,
}

/// The append-only file.
pub struct Aof {
    state: AtomicU8,
    /// Replies to writes up to here may be sent.
    safe: AtomicU64,
    written: AtomicU64,
    durable: AtomicU64,
    writer: Mutex<Writer>,
    /// Wakes the log's thread.
    wanted: Mutex<bool>,
    work: Condvar,
    /// Wakes who waits for `safe`.
    progress: tokio::sync::Notify,
    /// Writing, or making durable, failed.
    failed: [AtomicBool; 2],
    why: Mutex<String>,
    manifest: Mutex<Manifest>,
    /// A rewrite is to begin when it can.
    pub scheduled: AtomicBool,
    /// What INFO tells of rewrites.
    pub rewrites: rewrite::Status,
    /// Length of the base, and of all increments but the last.
    sizes: [AtomicU64; 2],
    /// How often making durable failed.
    sync_failures: AtomicU64,
    /// What the last file held when it was read: the bytes behind its last checksum, and theirs.
    tail: Mutex<writer::Tail>,
}

impl Default for Aof {
    fn default() -> Self {
        Aof {
            state: 0.into(),
            safe: u64::MAX.into(),
            written: 0.into(),
            durable: 0.into(),
            writer: Mutex::default(),
            wanted: Mutex::default(),
            work: Condvar::new(),
            progress: tokio::sync::Notify::new(),
            failed: Default::default(),
            why: Mutex::default(),
            manifest: Mutex::default(),
            scheduled: false.into(),
            rewrites: rewrite::Status::default(),
            sizes: Default::default(),
            sync_failures: 0.into(),
            tail: Mutex::default(),
        }
    }
}

/// Does something that INFO and LATENCY want to know the duration of.
fn timed<T>(world: World<'_>, event: Event, work: impl FnOnce() -> T) -> T {
    let began = world.clock.monotonic_us();
    let result = work();
    let took = world.clock.monotonic_us().saturating_sub(began);
    world.stats.aof_micros.fetch_add(took, Ordering::Relaxed);
    let threshold = world.config.load().latency_monitor_threshold;
    world.stats.latency.record(threshold, event, world.now_s() * 1000, took);
    result
}

impl Aof {
    /// Whether there is an append-only file.
    pub fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            0 => State::Off,
            1 => State::Waiting,
            _ => State::On,
        }
    }

    fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Release);
    }

    /// The log's offset up to which replies may be sent.
    pub fn safe(&self) -> u64 {
        self.safe.load(Ordering::Acquire)
    }

    /// The log's offset up to which it has been made durable.
    pub fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// True when writing failed and has not succeeded since.
    pub fn has_failed(&self) -> bool {
        self.failed.iter().any(|f| f.load(Ordering::Relaxed))
    }

    /// True when the last write succeeded.
    pub fn writes_well(&self) -> bool {
        !self.has_failed()
    }

    /// Why writing failed.
    pub fn why(&self) -> String {
        self.why.lock().clone()
    }

    /// Lengths in bytes: everything, and the base.
    pub fn lengths(&self) -> (u64, u64) {
        let [base, before] = &self.sizes;
        let base = base.load(Ordering::Acquire);
        (base + before.load(Ordering::Acquire) + self.writer.lock().size(), base)
    }

    /// Bytes that are waiting to be written.
    pub fn backlog(&self, log: &Log) -> usize {
        self.writer.lock().backlog() + log.waiting()
    }

    /// Hands what has been appended to the operating system; `last`: nothing follows. True when that succeeded.
    fn write_out(&self, world: World<'_>, last: bool) -> bool {
        let config = world.config.load();
        let us = world.persist.knobs.flush_sleep_us.load(Ordering::Relaxed);
        if us > 0 {
            std::thread::sleep(Duration::from_micros(us));
        }
        let notes = Notes {
            stamp: config.aof_timestamp_enabled.then(|| world.now_s()),
            sums: config.aof_checksums,
            now_us: world.clock.monotonic_us(),
            last,
        };
        let mut writer = self.writer.lock();
        writer.take(world.log, notes);
        match writer.write(notes) {
            Ok(()) => {
                self.written.store(writer.end(), Ordering::Release);
                if self.failed[0].swap(false, Ordering::AcqRel) {
                    tracing::warn!("AOF write error looks solved. The server can write again.");
                }
                true
            }
            Err(error) => {
                // At once, should the process end before the next try.
                writer.mend();
                *self.why.lock() = reason(&error);
                if !self.failed[0].swap(true, Ordering::AcqRel) {
                    tracing::warn!("Error writing to the AOF file: {}", reason(&error));
                }
                false
            }
        }
    }

    /// Makes durable what has been written.
    fn sync(&self) -> io::Result<()> {
        let (files, upto) = {
            let mut writer = self.writer.lock();
            (writer.unsynced(), self.written.load(Ordering::Acquire))
        };
        for file in files {
            file.sync()?;
        }
        // After a failure the next success proves nothing about what the system may have forgotten.
        if !self.failed[1].load(Ordering::Acquire) {
            self.durable.fetch_max(upto, Ordering::AcqRel);
        }
        Ok(())
    }

    /// Makes the log as safe as the settings ask, up to its present end.
    pub async fn flush(&self, world: World<'_>) {
        if self.state() == State::Off {
            return;
        }
        if world.config.load().appendfsync != Appendfsync::Always
            && timed(world, Event::AofWrite, || self.write_out(world, false))
        {
            self.publish(Appendfsync::Everysec);
            return;
        }
        let target = world.log.end();
        self.ask();
        loop {
            let progress = self.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            if self.safe() >= target {
                return;
            }
            progress.await;
        }
    }

    /// With `always`, makes safe what no client waits for (what the sweep deletes) at once, not at the next beat.
    pub fn hurry(&self, world: World<'_>) {
        if self.state() != State::Off && world.config.load().appendfsync == Appendfsync::Always {
            self.ask();
        }
    }

    /// Wakes the log's thread.
    fn ask(&self) {
        *self.wanted.lock() = true;
        self.work.notify_one();
    }

    /// Says how far the log is safe under a policy, to whoever waits for that.
    fn publish(&self, policy: Appendfsync) {
        let safe = match (self.state(), policy) {
            (State::On, Appendfsync::Always) => self.durable.load(Ordering::Acquire),
            (State::On, _) => self.written.load(Ordering::Acquire),
            _ => u64::MAX,
        };
        self.safe.store(safe, Ordering::Release);
        self.progress.notify_waiters();
    }

    /// The log's thread: writes and makes durable, for as long as the server lives.
    pub fn keep(&self, world: World<'_>) {
        let mut last_sync = 0;
        loop {
            {
                let mut wanted = self.wanted.lock();
                if !*wanted {
                    self.work.wait_for(&mut wanted, BEAT);
                }
                *wanted = false;
            }
            if !self.beat(world, &mut last_sync) {
                // The next try is not before a while.
                std::thread::sleep(BEAT);
            }
        }
    }

    /// What the log's thread does over and over. `last_sync` is its memory of when it made the file durable: monotonic
    /// microseconds, 0 at first. False when the file could not be written.
    pub fn beat(&self, world: World<'_>, last_sync: &mut u64) -> bool {
        if self.state() == State::Off {
            return true;
        }
        let config = world.config.load();
        let now = world.clock.monotonic_us();
        let policy = config.appendfsync;
        let due = policy == Appendfsync::Always || now.saturating_sub(*last_sync) >= SECOND;
        if !due && !(self.failed[0].load(Ordering::Acquire)) {
            return true;
        }
        if !timed(world, Event::AofWrite, || self.write_out(world, false)) {
            return false;
        }
        *last_sync = now;
        self.look_for_file();
        let spared = config.no_appendfsync_on_rewrite && world.persist.child() != Child::None;
        let trusted = !self.failed[1].load(Ordering::Acquire);
        let behind = self.durable.load(Ordering::Acquire) < self.written.load(Ordering::Acquire);
        if policy != Appendfsync::No && behind && trusted && !spared {
            // With `everysec` nobody waits for it, however long it takes.
            let synced = match policy {
                Appendfsync::Always => timed(world, Event::AofFsyncAlways, || self.sync()),
                _ => self.sync(),
            };
            if let Err(error) = synced {
                self.distrust(&error);
            }
        }
        // While the disk is spared replies do not wait for it; what it has not taken is not durable all the same.
        self.publish(if spared && trusted { Appendfsync::No } else { policy });
        true
    }

    /// A file that somebody has deleted survives no restart: a rewrite makes new ones.
    fn look_for_file(&self) {
        if self.writer.lock().has_vanished() && !self.scheduled.swap(true, Ordering::AcqRel) {
            tracing::error!(
                "The AOF file has been deleted while the server writes to it. It is written anew."
            );
        }
    }

    /// An fsync failed: whatever the next one would say, what was written since the last success may not be there.
    fn distrust(&self, error: &io::Error) {
        *self.why.lock() = reason(error);
        self.failed[1].store(true, Ordering::Release);
        self.sync_failures.fetch_add(1, Ordering::AcqRel);
        // At once, however often rewrites have failed before.
        self.rewrites.not_before.store(0, Ordering::Release);
        self.scheduled.store(true, Ordering::Release);
        tracing::warn!(
            "Fail to fsync the AOF file: {}. It is not trusted any more: it is written anew, and writes are refused until then.",
            reason(error)
        );
    }

    /// Writes and makes durable everything, under all locks: the server ends.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn finish(&self, world: World<'_>) -> io::Result<()> {
        if self.state() == State::Off {
            return Ok(());
        }
        if !self.write_out(world, true) {
            return Err(io::Error::other(self.why()));
        }
        self.sync()?;
        self.publish(world.config.load().appendfsync);
        Ok(())
    }
}
