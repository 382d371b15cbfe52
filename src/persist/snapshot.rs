//! How is a picture of one moment taken while everything goes on? Each entry carries a bit that says to which epoch it
//! belongs. A snapshot begins by turning the epoch under all locks, which takes as long as there are shards; then a
//! walker goes through the shards bucket by bucket and saves what is still of the old epoch. Whoever wants to change
//! such an entry first saves it as it is ([`Preimage`]).
//!
//! ```text
//! begin   all locks: parity turned, preimage set, the log cut      the moment of the picture
//! walk    one lock at a time, some entries or a piece at a time    stream -> file
//! write   entry.parity != shard.parity ? save it, then change it   stream -> file
//! end     shard by shard: preimage taken away
//! ```
//!
//! Invariants: every entry of the moment is saved exactly once; a walk always comes to its end, saving or not, so that
//! all entries have the parity of their shard when the next snapshot begins. Memory is bounded: writers wait while more
//! than [`FULL`] bytes are waiting for the disk.
//!
//! A big value is walked in pieces, and its lock is let go between them. One such record is open at a time; what others
//! save meanwhile is set aside until it is closed, as records cannot stand inside each other. Whoever changes the value
//! of the open record writes the rest of it first; a client that wants to change a very big one waits until it has been
//! saved in pieces, before any other ([`Preimage::hurry`]), and nobody waits with it.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::ds::entry::View;
use crate::ds::table::Table;
use crate::keyspace::db::{Preimage, Slot};
use crate::keyspace::{Keyspace, Locked, Shard};
use crate::log::Mark;
use crate::persist::World;
use crate::persist::aof::values::Commands;
use crate::persist::load::Delay;
use crate::persist::rdb::VERSION;
use crate::persist::rdb::encode::{Encoder, Usage};
use crate::persist::rdb::pieces::{self, Miscounted, Progress};
use crate::persist::save::Output;
use crate::value::Value;

/// Bytes that go to the disk at a time.
const CHUNK: usize = 256 * 1024;
/// Bytes waiting for the disk at which writers wait too.
const FULL: usize = 64 << 20;
/// Buckets that the walker visits under one lock, and bytes after which it stops before.
const BUCKETS: usize = 8;
const GULP: usize = 64 * 1024;
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
    /// As commands, not as RDB (a base with `aof-use-rdb-preamble no`).
    pub commands: bool,
    /// Microseconds to wait after each key of a snapshot that is written under all locks.
    pub delay: i32,
}

/// How entries become bytes.
enum Form {
    Rdb(Encoder),
    Commands(Commands),
}

/// A big value of which a part has been written.
struct Open {
    db: usize,
    key: Box<[u8]>,
    progress: Progress,
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
    form: Form,
    /// What goes to the file behind the open record.
    aside: Vec<u8>,
    open: Option<Open>,
    selected: Option<usize>,
    /// Databases whose sizes have been announced.
    announced: BTreeSet<usize>,
    /// Keys and expiring keys of each database at the moment of the picture.
    sizes: Vec<(u64, u64)>,
    marks: Marks,
    /// What has been written is no snapshot.
    spoilt: bool,
}

impl Stream {
    fn new(options: Options, sizes: Vec<(u64, u64)>, fields_expire: bool) -> Self {
        let version = if fields_expire { VERSION } else { options.version };
        let form = match options.commands {
            true => Form::Commands(Commands::default()),
            false => Form::Rdb(Encoder::new(version, options.compress)),
        };
        Stream {
            form,
            aside: Vec::new(),
            open: None,
            selected: None,
            announced: BTreeSet::new(),
            sizes,
            marks: options.marks,
            spoilt: false,
        }
    }

    fn out(&mut self) -> &mut Vec<u8> {
        match &mut self.form {
            Form::Rdb(encoder) => &mut encoder.out,
            Form::Commands(commands) => &mut commands.out,
        }
    }

    /// The version of RDB; `None` for commands.
    fn version(&self) -> Option<u16> {
        if let Form::Rdb(encoder) = &self.form { Some(encoder.version()) } else { None }
    }

    fn select(&mut self, db: usize) {
        if self.selected == Some(db) {
            return;
        }
        self.selected = Some(db);
        match &mut self.form {
            Form::Rdb(encoder) => {
                encoder.select(db);
                if self.announced.insert(db)
                    && let Some((keys, expiring)) = self.sizes.get(db)
                {
                    encoder.resize(*keys, *expiring);
                }
            }
            Form::Commands(commands) => commands.select(db),
        }
    }

    fn usage(&self, entry: &Slot) -> Usage {
        match self.marks {
            Marks::None => Usage::Unknown,
            Marks::Lru(now) => Usage::Idle(u64::from(now.wrapping_sub(entry.lru()) & 0xff_ffff)),
            Marks::Lfu => Usage::Frequency((entry.lru() & 0xff) as u8),
        }
    }

    fn is_open(&self, db: usize, key: &[u8]) -> bool {
        self.open.as_ref().is_some_and(|open| open.db == db && *open.key == *key)
    }

    /// Writes an entry, or all the rest of it.
    fn put(&mut self, db: usize, entry: &Slot) {
        if self.is_open(db, entry.key()) {
            self.piece(db, entry, true);
            return;
        }
        // A record stands behind the open one, not in it.
        let open = self.open.take();
        let between = open.is_some() && matches!(self.form, Form::Rdb(_));
        let record = between.then(|| {
            let aside = std::mem::take(&mut self.aside);
            std::mem::replace(self.out(), aside)
        });
        if pieces::is_big(&entry.view()) {
            self.piece(db, entry, true);
        } else {
            self.select(db);
            let usage = self.usage(entry);
            match &mut self.form {
                Form::Rdb(encoder) => encoder.record(entry.key(), &entry.view(), entry.expire(), usage),
                Form::Commands(commands) => commands.record(entry.key(), &entry.view(), entry.expire()),
            }
        }
        if let Some(record) = record {
            self.aside = std::mem::replace(self.out(), record);
        }
        self.open = open;
    }

    /// Writes some more of a big value, or all the rest; begins with it if it is not the open one. True at its end.
    /// While one is open, no other may be begun.
    fn piece(&mut self, db: usize, entry: &Slot, all: bool) -> bool {
        let (key, view) = (entry.key(), entry.view());
        let usage = self.usage(entry);
        let mut open = match self.open.take() {
            Some(open) => open,
            None => {
                self.select(db);
                let progress = match &mut self.form {
                    Form::Rdb(encoder) => encoder.begin(key, &view, entry.expire(), usage),
                    Form::Commands(_) => Progress::start(&view),
                };
                Open { db, key: key.into(), progress }
            }
        };
        // Bytes that wait behind this record must not pile up.
        let all = all || self.aside.len() > FULL;
        if matches!(self.form, Form::Commands(_)) {
            self.select(db);
        }
        let went = match &mut self.form {
            Form::Rdb(encoder) => encoder.go_on(&view, &mut open.progress, all),
            Form::Commands(commands) => commands.go_on(key, &view, &mut open.progress, all),
        };
        let done = went.unwrap_or_else(|Miscounted| {
            self.spoilt = true;
            true
        });
        if !done {
            self.open = Some(open);
            return false;
        }
        if let Form::Commands(commands) = &mut self.form {
            commands.expire(key, entry.expire());
        }
        let mut aside = std::mem::take(&mut self.aside);
        self.out().append(&mut aside);
        true
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
    /// Very big values that somebody waits for to change them, with their databases. They come first.
    urgent: Mutex<Vec<(usize, Box<[u8]>)>>,
    progress: Counters,
}

/// How far a snapshot has come.
#[derive(Debug, Default)]
pub struct Counters {
    /// Keys that it is to hold.
    pub total: AtomicU64,
    /// Keys that have been saved.
    pub saved: AtomicU64,
    /// Bytes of values that writers saved before they changed them.
    pub ahead: AtomicU64,
}

/// About how many bytes an entry takes.
fn weight(entry: &Slot, encoded: usize) -> u64 {
    let bytes = match entry.view() {
        View::Str(bytes) => bytes.len(),
        View::Value(Value::Str(bytes)) => bytes.len(),
        _ => encoded,
    };
    (bytes.max(encoded) + entry.key().len()) as u64
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
        while stream.out().len() > FULL && !self.0.is_stopped() {
            self.0.room.wait_for(&mut stream, PATIENCE);
        }
        if !self.0.is_stopped() {
            let before = stream.out().len() + stream.aside.len();
            stream.put(db, entry);
            let encoded = stream.out().len() + stream.aside.len() - before;
            drop(stream);
            self.0.progress.saved.fetch_add(1, Ordering::Relaxed);
            self.0.progress.ahead.fetch_add(weight(entry, encoded), Ordering::Relaxed);
        }
    }

    fn hurry(&mut self, db: usize, entry: &Slot) -> bool {
        if self.0.is_stopped() || !pieces::is_very_big(&entry.view()) {
            return false;
        }
        let mut urgent = self.0.urgent.lock();
        if !urgent.iter().any(|(of, key)| *of == db && **key == *entry.key()) {
            urgent.push((db, entry.key().into()));
        }
        true
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

    /// How far it has come.
    pub fn progress(&self) -> &Counters {
        &self.0.progress
    }
}

/// A snapshot under way. It must be walked to its end, see [`Snapshot::walk`].
#[must_use]
pub struct Snapshot {
    shared: Arc<Shared>,
    parity: bool,
    version: Option<u16>,
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
    let total: u64 = sizes.iter().map(|(keys, _)| keys).sum();
    let stream = Stream::new(options, sizes, fields_expire);
    let version = stream.version();
    let shared = Arc::new(Shared {
        stream: Mutex::new(stream),
        room: Condvar::new(),
        stopped: AtomicBool::new(false),
        orphans: Mutex::default(),
        urgent: Mutex::default(),
        progress: Counters { total: total.into(), ..Counters::default() },
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
    /// The version of RDB that it is written in; `None` when it is written as commands.
    pub fn version(&self) -> Option<u16> {
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
    pub fn walk(self, keyspace: &Keyspace, write: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        self.walk_slowly(keyspace, || 0, write)
    }

    /// [`Snapshot::walk`] with a pause after each key, see [`Delay::after`].
    ///
    /// # Errors
    /// Those of [`Snapshot::walk`].
    pub fn walk_slowly(
        self,
        keyspace: &Keyspace,
        pause: impl Fn() -> i32,
        mut write: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut result = Ok(());
        let mut delay = Delay::default();
        let pause = || if self.shared.is_stopped() { 0 } else { pause() };
        for shard in 0..keyspace.shard_count() {
            let mut step = Step::default();
            loop {
                delay.after(std::mem::take(&mut step.saved), pause);
                self.drain(CHUNK, &mut write, &mut result);
                self.save_urgent(keyspace, &mut write, &mut result);
                let Some(mut locked) = keyspace.lock_one_within(shard, PATIENCE) else { continue };
                if let Some((db, key)) = step.big.last() {
                    if self.piece(keyspace, &mut locked, *db, key) {
                        step.big.pop();
                        step.saved += 1;
                    }
                } else if self.advance(&mut locked, &mut step) {
                    locked.preimage = None;
                    break;
                }
            }
            self.save_orphans(&mut write, &mut result);
        }
        self.drain(0, &mut write, &mut result);
        if self.shared.stream.lock().spoilt {
            tracing::error!("BUG: a value has changed while it was saved. The snapshot is given up.");
            return Err(io::Error::other("a value has changed while it was saved"));
        }
        if result.is_ok() && self.shared.is_stopped() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        result
    }

    /// Saves some more of a shard. True at its end.
    fn advance(&self, shard: &mut Shard, step: &mut Step) -> bool {
        if step.swaps != shard.swaps {
            // Tables have changed places: start over. What has been saved says so.
            (step.db, step.cursor, step.swaps) = (0, 0, shard.swaps);
        }
        let mut gulped = 0;
        for _ in 0..BUCKETS {
            let Some(db) = shard.dbs.get_mut(step.db) else { return true };
            let was = db.was;
            let stopped = self.shared.is_stopped();
            step.cursor = db.table.scan_mut(step.cursor, &mut |mut item| {
                if item.parity() == self.parity {
                    return;
                }
                if !stopped {
                    if pieces::is_big(&item.view()) {
                        step.big.push((was, item.key().into()));
                        return;
                    }
                    gulped += self.put(was, &item);
                    step.saved += 1;
                }
                item.set_parity(self.parity);
            });
            if step.cursor == 0 {
                step.db += 1;
            }
            if gulped > GULP || !step.big.is_empty() {
                return false;
            }
        }
        false
    }

    /// Saves an entry; returns the bytes that it took.
    fn put(&self, db: usize, entry: &Slot) -> usize {
        let mut stream = self.shared.stream.lock();
        let before = stream.out().len();
        stream.put(db, entry);
        self.shared.progress.saved.fetch_add(1, Ordering::Relaxed);
        stream.out().len().saturating_sub(before)
    }

    /// Saves a piece of a big value that was in database `db`. True at its end, or when somebody else has saved it.
    fn piece(&self, keyspace: &Keyspace, shard: &mut Shard, db: usize, name: &[u8]) -> bool {
        let key = keyspace.key(name);
        let table = shard.dbs.iter_mut().find(|d| d.was == db).map(|d| &mut d.table);
        if let Some(mut item) = table.and_then(|table| table.get_mut(key.hash, name))
            && item.parity() != self.parity
        {
            let done = self.shared.is_stopped() || self.shared.stream.lock().piece(db, &item, false);
            if done {
                item.set_parity(self.parity);
                self.shared.progress.saved.fetch_add(1, Ordering::Relaxed);
            }
            return done;
        }
        // Its table may have left the keyspace, with a part of it written.
        let mut stream = self.shared.stream.lock();
        if stream.is_open(db, name) && !self.shared.is_stopped() {
            let mut orphans = self.shared.orphans.lock();
            for (_, table) in orphans.iter_mut().filter(|(was, _)| *was == db) {
                if let Some(mut item) = table.get_mut(key.hash, name).filter(|i| i.parity() != self.parity) {
                    stream.piece(db, &item, true);
                    item.set_parity(self.parity);
                }
            }
        }
        true
    }

    /// Saves, piece by piece, what somebody waits for. A record that is open is closed first, by who began it.
    fn save_urgent(
        &self,
        keyspace: &Keyspace,
        write: &mut impl FnMut(&[u8]) -> io::Result<()>,
        result: &mut io::Result<()>,
    ) {
        while self.shared.stream.lock().open.is_none() {
            let Some((db, name)) = self.shared.urgent.lock().pop() else { return };
            let shard = usize::from(keyspace.key(&name).shard);
            loop {
                self.drain(CHUNK, write, result);
                if let Some(mut locked) = keyspace.lock_one_within(shard, PATIENCE)
                    && self.piece(keyspace, &mut locked, db, &name)
                {
                    break;
                }
            }
        }
    }

    /// Saves what is unsaved in tables that left the keyspace, and frees them.
    fn save_orphans(&self, write: &mut impl FnMut(&[u8]) -> io::Result<()>, result: &mut io::Result<()>) {
        loop {
            let orphan = self.shared.orphans.lock().pop();
            let Some((db, mut table)) = orphan else { return };
            for entry in table.iter().filter(|entry| entry.parity() != self.parity) {
                while !self.shared.is_stopped() {
                    let done = match pieces::is_big(&entry.view()) {
                        true => self.shared.stream.lock().piece(db, &entry, false),
                        false => self.put(db, &entry) > 0,
                    };
                    self.drain(CHUNK, write, result);
                    if done {
                        break;
                    }
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
            if stream.out().len() <= above {
                return;
            }
            std::mem::take(stream.out())
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
#[derive(Default)]
struct Step {
    db: usize,
    cursor: u64,
    swaps: u64,
    /// Big values that have been met and not been saved, with their databases.
    big: Vec<(usize, Box<[u8]>)>,
    /// Keys that have been saved since the last pause.
    saved: u64,
}

/// Writes everything while all locks are held: for a save that nothing may follow. `open` is told the version.
///
/// # Errors
/// Those of `open`, and the first one of writing.
pub fn at_once(
    locks: &mut Locked<'_>,
    options: Options,
    open: impl FnOnce(Option<u16>) -> io::Result<Output>,
) -> io::Result<Output> {
    let (sizes, fields_expire) = survey(locks);
    let mut stream = Stream::new(options, sizes, fields_expire);
    let mut output = open(stream.version())?;
    let (mut result, mut delay) = (Ok(()), Delay::default());
    locks.each(|_, shard| {
        for (i, db) in shard.dbs.iter().enumerate() {
            for entry in &db.table {
                if result.is_ok() {
                    stream.put(i, &entry);
                    delay.after(1, || options.delay);
                    if stream.out().len() > CHUNK {
                        result = output.write(stream.out());
                        stream.out().clear();
                    }
                }
            }
        }
    });
    result?;
    output.write(stream.out())?;
    Ok(output)
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
