//! How is a picture of one moment taken while everything goes on? Each entry carries a bit that says to which epoch it
//! belongs. A snapshot begins by turning the epoch under all locks, which takes as long as there are shards; then a
//! walker goes through the shards bucket by bucket and saves what is still of the old epoch. Whoever wants to change
//! such an entry first saves it as it is ([`Preimage`]).
//!
//! ```text
//! begin   all locks: parity turned, preimage set, the log cut      the moment of the picture
//! walk    one lock at a time, some entries at a time               stream -> file
//! write   entry.parity != shard.parity ? save it, then change it   stream -> file
//! end     shard by shard: preimage taken away
//! ```
//!
//! Invariants: every entry of the moment is saved exactly once; a walk always comes to its end, saving or not, so that
//! all entries have the parity of their shard when the next snapshot begins. Memory is bounded: writers wait while more
//! than [`FULL`] bytes are waiting for the disk.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::ds::table::Table;
use crate::keyspace::db::{Preimage, Slot};
use crate::keyspace::{Keyspace, Locked, Shard};
use crate::log::Mark;
use crate::persist::World;
use crate::persist::rdb::VERSION;
use crate::persist::rdb::encode::{Encoder, Usage};
use crate::persist::save::Output;

/// Bytes that go to the disk at a time.
const CHUNK: usize = 256 * 1024;
/// Bytes waiting for the disk at which writers wait too.
const FULL: usize = 64 << 20;
/// Buckets that the walker visits under one lock.
const BUCKETS: usize = 8;
/// How long the walker waits for a shard before it looks after the disk.
const PATIENCE: Duration = Duration::from_millis(1);

/// What the entries' access marks mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marks {
    /// Nothing that is worth saving.
    None,
    /// The time of the last access, in seconds modulo 2^24; this is the present.
    Lru(u32),
    /// A counter in the low eight bits.
    Lfu,
}

/// How a snapshot is written.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The version that the settings ask for; a higher one is taken if the data needs it.
    pub version: u16,
    /// Compress strings.
    pub compress: bool,
    /// What access marks mean.
    pub marks: Marks,
}

/// What a snapshot says beside the data.
#[derive(Debug, Clone, Default)]
pub struct Beside {
    /// The sources of the function libraries.
    pub libraries: Vec<Arc<[u8]>>,
    /// Where the replicas' stream stood.
    pub mark: Option<Mark>,
}

impl Beside {
    /// What there is at the moment. The caller holds all locks.
    pub fn now(world: World<'_>) -> Beside {
        let mark = world.log.is_streaming().then(|| world.log.mark());
        Beside { libraries: world.persist.libraries(), mark }
    }
}

/// The bytes of a snapshot on their way to the file.
struct Stream {
    encoder: Encoder,
    selected: Option<usize>,
    /// Databases whose sizes have been announced.
    announced: BTreeSet<usize>,
    /// Keys and expiring keys of each database at the moment of the picture.
    sizes: Vec<(u64, u64)>,
    marks: Marks,
}

impl Stream {
    fn new(options: Options, sizes: Vec<(u64, u64)>, fields_expire: bool) -> Self {
        let version = if fields_expire { VERSION } else { options.version };
        Stream {
            encoder: Encoder::new(version, options.compress),
            selected: None,
            announced: BTreeSet::new(),
            sizes,
            marks: options.marks,
        }
    }

    fn put(&mut self, db: usize, entry: &Slot) {
        if self.selected != Some(db) {
            self.encoder.select(db);
            self.selected = Some(db);
            if self.announced.insert(db)
                && let Some((keys, expiring)) = self.sizes.get(db)
            {
                self.encoder.resize(*keys, *expiring);
            }
        }
        let usage = match self.marks {
            Marks::None => Usage::Unknown,
            Marks::Lru(now) => Usage::Idle(u64::from(now.wrapping_sub(entry.lru()) & 0xff_ffff)),
            Marks::Lfu => Usage::Frequency((entry.lru() & 0xff) as u8),
        };
        self.encoder.record(entry.key(), &entry.view(), entry.expire(), usage);
    }
}

/// What the walker and the savers share.
struct Shared {
    stream: Mutex<Stream>,
    room: Condvar,
    /// Nothing needs to be saved any more: the disk failed, or nobody wants the file.
    stopped: AtomicBool,
    /// Tables that left the keyspace.
    orphans: Mutex<Vec<(usize, Table<Slot>)>>,
}

impl Shared {
    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}

/// Saves entries for one shard.
struct Saver(Arc<Shared>);

impl Preimage for Saver {
    fn save(&mut self, db: usize, entry: &Slot) {
        let mut stream = self.0.stream.lock();
        // The walker empties the stream without waiting for the shard that is held here.
        while stream.encoder.out.len() > FULL && !self.0.is_stopped() {
            self.0.room.wait_for(&mut stream, PATIENCE);
        }
        if !self.0.is_stopped() {
            stream.put(db, entry);
        }
    }

    fn adopt(&mut self, db: usize, table: Table<Slot>) {
        self.0.orphans.lock().push((db, table));
    }
}

/// Stops a snapshot from outside.
#[derive(Clone)]
pub struct Stopper(Arc<Shared>);

impl Stopper {
    /// Nobody wants the file any more.
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::Release);
        self.0.room.notify_all();
    }
}

/// A snapshot under way. It must be walked to its end, see [`Snapshot::walk`].
#[must_use]
pub struct Snapshot {
    shared: Arc<Shared>,
    parity: bool,
    version: u16,
    changes: u64,
    beside: Beside,
}

/// Sizes of the databases, and whether hash fields may expire.
fn survey(locks: &mut Locked<'_>) -> (Vec<(u64, u64)>, bool) {
    let mut sizes = vec![(0, 0); locks.keyspace().databases()];
    let mut fields_expire = false;
    locks.each(|_, shard| {
        for (size, db) in sizes.iter_mut().zip(&shard.dbs) {
            size.0 += db.table.len() as u64;
            size.1 += db.expires as u64;
            fields_expire |= db.field_expires > 0;
        }
    });
    (sizes, fields_expire)
}

/// Begins a snapshot; `locks` are all locks. The caller makes sure that no other snapshot is under way.
pub fn begin(locks: &mut Locked<'_>, options: Options) -> Snapshot {
    let (sizes, fields_expire) = survey(locks);
    let stream = Stream::new(options, sizes, fields_expire);
    let version = stream.encoder.version();
    let shared = Arc::new(Shared {
        stream: Mutex::new(stream),
        room: Condvar::new(),
        stopped: AtomicBool::new(false),
        orphans: Mutex::default(),
    });
    let mut parity = false;
    locks.each(|_, shard| {
        parity = !shard.parity;
        shard.parity = parity;
        shard.preimage = Some(Box::new(Saver(shared.clone())));
        for (i, db) in shard.dbs.iter_mut().enumerate() {
            db.was = i;
        }
    });
    Snapshot { shared, parity, version, changes: 0, beside: Beside::default() }
}

impl Snapshot {
    /// The version that it is written in.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// Notes the count of changes at its moment, and what there was beside the data.
    pub fn remember(&mut self, changes: u64, beside: Beside) {
        self.changes = changes;
        self.beside = beside;
    }

    /// What there was beside the data at its moment.
    pub fn beside(&self) -> &Beside {
        &self.beside
    }

    /// The count of changes at its moment.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// A handle that stops it.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.shared.clone())
    }

    /// Walks through the keyspace and gives the records to `write`, in pieces. When that fails, or when it is stopped,
    /// the walk goes on without saving. Call it from a thread that holds no shard.
    ///
    /// # Errors
    /// The first error of `write`, or `Interrupted` when it was stopped.
    pub fn walk(self, keyspace: &Keyspace, mut write: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut result = Ok(());
        for shard in 0..keyspace.shard_count() {
            let mut step = Step { db: 0, cursor: 0, swaps: 0 };
            loop {
                self.drain(CHUNK, &mut write, &mut result);
                let Some(mut locked) = keyspace.lock_one_within(shard, PATIENCE) else { continue };
                if self.advance(&mut locked, &mut step) {
                    locked.preimage = None;
                    break;
                }
            }
            self.save_orphans(&mut write, &mut result);
        }
        self.drain(0, &mut write, &mut result);
        if result.is_ok() && self.shared.is_stopped() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        result
    }

    /// Saves some more of a shard. True at its end.
    fn advance(&self, shard: &mut Shard, step: &mut Step) -> bool {
        if step.swaps != shard.swaps {
            // Tables have changed places: start over. What has been saved says so.
            *step = Step { db: 0, cursor: 0, swaps: shard.swaps };
        }
        for _ in 0..BUCKETS {
            let Some(db) = shard.dbs.get_mut(step.db) else { return true };
            let was = db.was;
            let stopped = self.shared.is_stopped();
            step.cursor = db.table.scan_mut(step.cursor, &mut |mut item| {
                if item.parity() != self.parity {
                    if !stopped {
                        self.shared.stream.lock().put(was, &item);
                    }
                    item.set_parity(self.parity);
                }
            });
            if step.cursor == 0 {
                step.db += 1;
            }
        }
        false
    }

    /// Saves what is unsaved in tables that left the keyspace, and frees them.
    fn save_orphans(&self, write: &mut impl FnMut(&[u8]) -> io::Result<()>, result: &mut io::Result<()>) {
        loop {
            let orphan = self.shared.orphans.lock().pop();
            let Some((db, mut table)) = orphan else { return };
            if !self.shared.is_stopped() {
                for entry in table.iter().filter(|entry| entry.parity() != self.parity) {
                    self.shared.stream.lock().put(db, &entry);
                    self.drain(CHUNK, write, result);
                }
            }
            while !table.drain_step(1024) {}
        }
    }

    /// Writes what is waiting once it is more than `above` bytes.
    fn drain(
        &self,
        above: usize,
        write: &mut impl FnMut(&[u8]) -> io::Result<()>,
        result: &mut io::Result<()>,
    ) {
        let bytes = {
            let mut stream = self.shared.stream.lock();
            if stream.encoder.out.len() <= above {
                return;
            }
            std::mem::take(&mut stream.encoder.out)
        };
        self.shared.room.notify_all();
        if result.is_ok()
            && !self.shared.is_stopped()
            && let Err(error) = write(&bytes)
        {
            *result = Err(error);
            self.shared.stopped.store(true, Ordering::Release);
            self.shared.room.notify_all();
        }
    }
}

/// Where the walk through a shard stands.
struct Step {
    db: usize,
    cursor: u64,
    swaps: u64,
}

/// Writes everything while all locks are held: for a save that nothing may follow. `open` is told the version.
///
/// # Errors
/// Those of `open`, and the first one of writing.
pub fn at_once(
    locks: &mut Locked<'_>,
    options: Options,
    open: impl FnOnce(u16) -> io::Result<Output>,
) -> io::Result<Output> {
    let (sizes, fields_expire) = survey(locks);
    let mut stream = Stream::new(options, sizes, fields_expire);
    let mut output = open(stream.encoder.version())?;
    let mut result = Ok(());
    locks.each(|_, shard| {
        for (i, db) in shard.dbs.iter().enumerate() {
            for entry in &db.table {
                if result.is_ok() {
                    stream.put(i, &entry);
                    if stream.encoder.out.len() > CHUNK {
                        result = output.write(&stream.encoder.out);
                        stream.encoder.out.clear();
                    }
                }
            }
        }
    });
    result?;
    output.write(&stream.encoder.out)?;
    Ok(output)
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
