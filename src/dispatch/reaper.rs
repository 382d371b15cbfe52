//! Who frees what takes long? A thread of its own; a client that asked to wait for it is told when its turn comes. It
//! also tidies up in shards that are held for long, so that no I/O thread has to wait for them.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::dispatch::block;
use crate::dispatch::core::Core;
use crate::dispatch::multi;
use crate::keyspace::effects::Garbage;
use crate::keyspace::waiter::Waiter;

/// Values of fewer elements are freed where they are.
const SMALL: usize = 64;
/// Elements that are freed, which takes well below a millisecond, between two offers to let other threads have the
/// core.
const STEP: usize = 4096;

/// What a client that has gone on is to be struck off from: the lists of a shard that could not be had at once.
pub enum Strike {
    /// It no longer waits for a key.
    Waiter {
        /// The key.
        name: Box<[u8]>,
        /// Claimed.
        waiter: Arc<Waiter>,
    },
    /// It no longer watches a key.
    Watch {
        /// The database.
        db: usize,
        /// The key.
        name: Box<[u8]>,
        /// What says that it does.
        flag: Arc<AtomicBool>,
    },
}

impl Strike {
    fn carry_out(self, core: &Core) {
        let shard = |name: &[u8]| core.keyspace.lock_one(usize::from(core.keyspace.key(name).shard));
        match self {
            Strike::Waiter { name, waiter } => {
                shard(&name).db(waiter.db).waiters.drop_waiter(&name, &waiter);
            }
            Strike::Watch { db, name, flag } => multi::strike(shard(&name).db(db), &name, &flag),
        }
    }
}

/// Something for the thread to do.
enum Task {
    Strike(Strike),
    Free(Garbage),
    /// Everything that was sent before has been freed.
    Tell(Arc<Waiter>),
}

/// The thread's queue and its counters. Until it is started nothing is freed.
pub struct Reaper {
    queue: Sender<Task>,
    receiver: Mutex<Option<Receiver<Task>>>,
    /// Keys that are not freed yet.
    pub pending: AtomicU64,
    /// Keys freed since the start, or since CONFIG RESETSTAT.
    pub done: AtomicU64,
    pending_bytes: AtomicUsize,
}

impl Default for Reaper {
    fn default() -> Self {
        let (queue, receiver) = mpsc::channel();
        Reaper {
            queue,
            receiver: Mutex::new(Some(receiver)),
            pending: AtomicU64::new(0),
            done: AtomicU64::new(0),
            pending_bytes: AtomicUsize::new(0),
        }
    }
}

/// Starts the thread; it ends when the core goes.
///
/// # Errors
/// When the system has no thread to give.
pub fn start(core: &Arc<Core>) -> std::io::Result<()> {
    let Some(receiver) = core.reaper.receiver.lock().take() else { return Ok(()) };
    let core = Arc::downgrade(core);
    std::thread::Builder::new().name("reaper".into()).spawn(move || run(&core, receiver))?;
    Ok(())
}

fn run(core: &Weak<Core>, tasks: Receiver<Task>) {
    for task in tasks {
        match task {
            Task::Free(mut garbage) => {
                let (keys, bytes) = (garbage.keys() as u64, garbage.memory());
                while !garbage.drain_step(STEP) {
                    std::thread::yield_now();
                }
                drop(garbage);
                let Some(core) = core.upgrade() else { return };
                core.reaper.pending_bytes.fetch_sub(bytes, Ordering::AcqRel);
                core.reaper.pending.fetch_sub(keys, Ordering::AcqRel);
                core.reaper.done.fetch_add(keys, Ordering::AcqRel);
            }
            Task::Strike(strike) => {
                let Some(core) = core.upgrade() else { return };
                strike.carry_out(&core);
            }
            Task::Tell(waiter) => {
                let Some(core) = core.upgrade() else { return };
                block::answer(&core, &waiter, b"+OK\r\n".to_vec());
            }
        }
    }
}

impl Reaper {
    /// About how many bytes are not freed yet.
    pub fn pending_bytes(&self) -> usize {
        self.pending_bytes.load(Ordering::Acquire)
    }

    /// Frees what is small, and leaves the rest to the thread.
    pub fn take(&self, garbage: Vec<Garbage>) {
        for item in garbage {
            if item.effort() > SMALL {
                self.pending.fetch_add(item.keys() as u64, Ordering::AcqRel);
                self.pending_bytes.fetch_add(item.memory(), Ordering::AcqRel);
                // The thread lives as long as the sender.
                let _ = self.queue.send(Task::Free(item));
            }
        }
    }

    /// Strikes a client off once the shard can be had.
    pub fn strike(&self, strike: Strike) {
        let _ = self.queue.send(Task::Strike(strike));
    }

    /// Answers `+OK` to a client once everything that was taken before has been freed.
    pub fn tell(&self, waiter: Arc<Waiter>) {
        let _ = self.queue.send(Task::Tell(waiter));
    }
}
