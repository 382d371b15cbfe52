//! What survives a restart, and how? Snapshots (`rdb`, `snapshot`, `save`), and the append-only file (`aof`) that the
//! write log goes to; all files through one [`disk::Disk`].
//!
//! One background task writes a file at a time ([`Child`]), as Redis has one child process at a time. It runs on the
//! saver's thread, which takes [`Job`]s; `cron` decides ten times a second whether one is due.

pub mod aof;
pub mod check;
pub mod copy;
pub mod cron;
pub mod disk;
pub mod info;
pub mod load;
pub mod owner;
pub mod rdb;
pub mod save;
pub mod shutdown;
pub mod snapshot;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use parking_lot::Mutex;

use crate::config::Config;
use crate::config::live::Live;
use crate::error::Error;
use crate::keyspace::Keyspace;
use crate::log::{Log, Mark};
use crate::persist::aof::Aof;
use crate::persist::disk::{Disk, RealDisk};
use crate::persist::owner::Owner;
use crate::persist::snapshot::{Snapshot, Stopper};
use crate::stats::Stats;
use crate::util::clock::Clock;

/// The parts of the server that persistence works with.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// The data.
    pub keyspace: &'a Keyspace,
    /// The settings.
    pub config: &'a Live,
    /// The counters.
    pub stats: &'a Stats,
    /// The time.
    pub clock: &'a dyn Clock,
    /// The write log.
    pub log: &'a Log,
    /// What persistence remembers.
    pub persist: &'a Persist,
}

impl World<'_> {
    /// Changes of data since the server started.
    pub fn changes(&self) -> u64 {
        self.stats.sum(|t| &t.dirty)
    }

    /// Wall clock, unix seconds.
    pub fn now_s(&self) -> u64 {
        self.clock.now_us() / 1_000_000
    }
}

/// The background task under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Child {
    /// None.
    None = 0,
    /// A snapshot is being saved.
    Rdb = 1,
    /// The append-only file is being rewritten.
    Aof = 2,
    /// Nothing is written: data is being loaded in place of what there was.
    Loading = 3,
    /// Nothing is written: the data is copied for a debugger.
    Copy = 4,
}

/// The reply to writes after a background save that failed.
const MISCONF_SNAPSHOT: Error = Error::new(
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands that may modify the data set are disabled, because this instance is configured to report errors during writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for details about the RDB error.",
);

/// Work for the saver.
pub enum Job {
    /// Save a snapshot as the snapshot file.
    Save(Snapshot),
    /// Make a snapshot the base of the append-only file.
    Rewrite(Snapshot),
    /// Something else that ends by releasing the saver.
    Run(Box<dyn FnOnce(World<'_>) + Send>),
}

impl Job {
    fn run(self, world: World<'_>) {
        match self {
            Job::Save(snapshot) => save::finish(world, snapshot),
            Job::Rewrite(snapshot) => aof::rewrite::finish(world, snapshot),
            Job::Run(run) => run(world),
        }
    }
}

/// Counts and times that INFO tells; unix seconds, and -1 for "never".
#[derive(Debug)]
pub struct Status {
    /// Changes up to the last successful save.
    pub saved_changes: AtomicU64,
    /// When it was.
    pub last_save: AtomicU64,
    /// When the last background save was tried.
    pub last_try: AtomicU64,
    /// The last background save succeeded.
    pub last_ok: AtomicBool,
    /// How long it took, in seconds.
    pub last_took: AtomicI64,
    /// When the background task under way began.
    pub began: AtomicU64,
    /// Saves since the start.
    pub saves: AtomicU64,
    /// Background tasks since the start: what Redis forks for.
    pub tasks: AtomicU64,
    /// Bytes that writers saved during the last save, and during the last rewrite.
    pub last_ahead: [AtomicU64; 2],
    /// Keys that the last load found expired, and those it loaded.
    pub loaded: [AtomicU64; 2],
    /// When the load under way began, its size in bytes, and how many have been read.
    pub loading: [AtomicU64; 3],
}

/// What DEBUG can change.
#[derive(Debug, Default)]
pub struct Knobs {
    /// Checksums of payloads and snapshots are not looked at.
    pub skip_checksums: AtomicBool,
    /// Regular work waits.
    pub cron_paused: AtomicBool,
    /// Microseconds to wait before the append-only file is written.
    pub flush_sleep_us: AtomicU64,
}

impl Knobs {
    /// True when checksums count.
    pub fn verifies_payloads(&self) -> bool {
        !self.skip_checksums.load(Ordering::Relaxed)
    }
}

/// Answers what the sources of the function libraries are.
pub type Sources = Arc<dyn Fn() -> Vec<Arc<[u8]>> + Send + Sync>;

/// What persistence remembers.
pub struct Persist {
    /// Where files are.
    pub disk: Arc<dyn Disk>,
    /// The append-only file.
    pub aof: Aof,
    /// Who writes the snapshot file.
    pub owner: Owner,
    /// What INFO tells.
    pub status: Status,
    /// What DEBUG can change.
    pub knobs: Knobs,
    child: AtomicU8,
    stopper: Mutex<Option<Stopper>>,
    /// BGSAVE came while something else was under way.
    pub save_scheduled: AtomicBool,
    /// The data was emptied: the file on disk should say so soon.
    flushed: AtomicBool,
    /// That is being done. Redis does it inside FLUSHALL, so whoever wants to save meanwhile is not refused.
    pub saves_empty: AtomicBool,
    /// Where the replicas' stream stood when the snapshot that was loaded last was taken, if that is known.
    pub loaded_mark: Mutex<Option<Mark>>,
    /// The sources of the function libraries, for the files that are written.
    libraries: Mutex<Sources>,
    jobs: Sender<Job>,
    receiver: Mutex<Option<Receiver<Job>>>,
    /// Somebody is shutting the server down.
    pub ending: AtomicBool,
}

impl Persist {
    /// Nothing has been saved yet. `now_s`: unix seconds.
    pub fn new(now_s: u64) -> Self {
        Persist::on(Arc::new(RealDisk), now_s)
    }

    /// [`Persist::new`] with another disk.
    pub fn on(disk: Arc<dyn Disk>, now_s: u64) -> Self {
        let (jobs, receiver) = channel();
        Persist {
            disk,
            aof: Aof::default(),
            owner: Owner::default(),
            status: Status {
                saved_changes: 0.into(),
                last_save: now_s.into(),
                last_try: 0.into(),
                last_ok: true.into(),
                last_took: (-1).into(),
                began: 0.into(),
                saves: 0.into(),
                tasks: 0.into(),
                last_ahead: Default::default(),
                loaded: Default::default(),
                loading: Default::default(),
            },
            knobs: Knobs::default(),
            child: 0.into(),
            stopper: Mutex::default(),
            save_scheduled: false.into(),
            flushed: false.into(),
            saves_empty: false.into(),
            loaded_mark: Mutex::default(),
            libraries: Mutex::new(Arc::new(Vec::<Arc<[u8]>>::new)),
            jobs,
            receiver: Mutex::new(Some(receiver)),
            ending: false.into(),
        }
    }

    /// The sources of the function libraries.
    pub fn libraries(&self) -> Vec<Arc<[u8]>> {
        let sources = self.libraries.lock().clone();
        sources()
    }

    /// Says what the function libraries are from now on. The caller holds all locks, as whoever takes a snapshot does.
    pub fn set_libraries(&self, sources: Vec<Arc<[u8]>>) {
        self.follow_libraries(Arc::new(move || sources.clone()));
    }

    /// Says who knows what the function libraries are, from now on. The caller holds all locks.
    pub fn follow_libraries(&self, sources: Sources) {
        *self.libraries.lock() = sources;
    }

    /// The background task under way.
    pub fn child(&self) -> Child {
        match self.child.load(Ordering::Acquire) {
            1 => Child::Rdb,
            2 => Child::Aof,
            _ => Child::None,
        }
    }

    /// Becomes the background task; false while there is another.
    pub(crate) fn claim(&self, child: Child) -> bool {
        !self.ending.load(Ordering::Acquire)
            && self.child.compare_exchange(0, child as u8, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The background task is done.
    pub(crate) fn release(&self) {
        if let Some(stopper) = self.stopper.lock().take() {
            let which = usize::from(self.child() == Child::Aof);
            let ahead = stopper.progress().ahead.load(Ordering::Relaxed);
            self.status.last_ahead[which].store(ahead, Ordering::Release);
        }
        self.saves_empty.store(false, Ordering::Release);
        self.child.store(0, Ordering::Release);
    }

    /// Sets the counters of INFO back to zero.
    pub fn reset_counts(&self) {
        let rewrites = &self.aof.rewrites;
        for counter in [&self.status.saves, &self.status.tasks, &rewrites.count, &rewrites.failures] {
            counter.store(0, Ordering::Release);
        }
    }

    /// Stops the background save, if one is under way: its file would be out of date.
    pub fn stop_save(&self) {
        if self.child() == Child::Rdb
            && let Some(stopper) = &*self.stopper.lock()
        {
            stopper.stop();
        }
    }

    /// To be told when all data has been deleted (FLUSHALL) and that has been counted. If there are save points the
    /// empty dataset is saved soon, and nothing before it needs to be saved any more.
    pub fn flushed(&self, world: World<'_>) {
        if !world.config.load().save.0.is_empty() {
            self.status.saved_changes.store(world.changes(), Ordering::Release);
            self.flushed.store(true, Ordering::Release);
        }
    }

    /// The machine's clock was set, by so many seconds: what is due by it stays as far away as it was. `expiries`: those
    /// in memory have been moved, those in the append-only file have not.
    pub fn clock_was_set(&self, seconds: i64, expiries: bool) {
        let status = &self.status;
        for time in [&status.last_save, &status.last_try, &status.began, &self.aof.rewrites.not_before] {
            let moved = time.load(Ordering::Acquire).saturating_add_signed(seconds);
            time.store(moved, Ordering::Release);
        }
        if expiries && self.aof.state() == aof::State::On {
            self.aof.scheduled.store(true, Ordering::Release);
        }
    }

    /// True when something could not be written: look closer with [`Persist::refusal`]. Asked before every write.
    pub fn has_failed(&self) -> bool {
        !self.status.last_ok.load(Ordering::Relaxed) || self.aof.has_failed()
    }

    /// Why writes are refused, if they are.
    pub fn refusal(&self, config: &Config) -> Option<Error> {
        let snapshots = config.stop_writes_on_bgsave_error && !config.save.0.is_empty();
        if snapshots && !self.status.last_ok.load(Ordering::Acquire) {
            return Some(MISCONF_SNAPSHOT);
        }
        let failed = self.aof.state() != aof::State::Off && self.aof.has_failed();
        failed.then(|| Error::text(format!("MISCONF Errors writing to the AOF file: {}", self.aof.why())))
    }

    /// Notes that a snapshot begins, which the claimed task will write.
    pub(crate) fn note_begin(&self, world: World<'_>, snapshot: &Snapshot) {
        self.status.began.store(world.now_s(), Ordering::Release);
        *self.stopper.lock() = Some(snapshot.stopper());
    }

    /// Takes a job for the saver.
    ///
    /// # Errors
    /// When the saver's thread is gone.
    pub(crate) fn start(&self, job: Job) -> io::Result<()> {
        self.status.tasks.fetch_add(1, Ordering::AcqRel);
        self.jobs.send(job).map_err(|_| io::Error::other("the saver's thread is gone"))
    }

    /// The saver's thread: does one job after the other for as long as the server lives. Does nothing when called
    /// a second time.
    pub fn work(&self, world: World<'_>) {
        let Some(receiver) = self.receiver.lock().take() else { return };
        for job in receiver {
            job.run(world);
        }
    }

    /// Does on this thread what the saver's has been given so far. Does nothing while that one is at work.
    pub fn work_pending(&self, world: World<'_>) {
        let receiver = self.receiver.lock();
        while let Some(job) = receiver.as_ref().and_then(|r| r.try_recv().ok()) {
            job.run(world);
        }
    }
}
