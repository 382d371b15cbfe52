//! How does data come back? Records are read one by one and put into the keyspace, until the file is at its end and its
//! checksum is right. A file that cannot be read to its end is no data: the server does not start.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::keyspace::{Locked, Slot};
use crate::log::{Id, Mark};
use crate::persist::World;
use crate::persist::check::Console;
use crate::persist::rdb::Bad;
use crate::persist::rdb::decode::{Decoded, Making};
use crate::persist::rdb::encode::Usage;
use crate::persist::rdb::file::{self, Receiver, Record};
use crate::persist::rdb::source::Source;
use crate::util::number;
use crate::value::Value;

/// Longest text of an integer.
const INT_TEXT: usize = 20;

/// What to do with what is read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules {
    /// Keep keys whose time is over: the log that follows will say what became of them.
    pub keep_expired: bool,
    /// A key that is there already is replaced (DEBUG RELOAD MERGE); otherwise it is an error.
    pub merge: bool,
}

/// Waits after keys, for tests that need time (key-load-delay, rdb-key-save-delay).
#[derive(Debug, Default)]
pub struct Delay {
    owed_us: u64,
    passed: u64,
}

impl Delay {
    /// Waits for so many keys: as many microseconds for each as `setting` says, or one for each of its negative. It is
    /// asked again and again, so that a change of it ends a long wait.
    pub fn after(&mut self, keys: u64, setting: impl Fn() -> i32) {
        const SLICE: u64 = 10_000;
        // Sleeping has a price of its own, so that many short sleeps become one.
        const LEAST: u64 = 1000;
        let us = setting();
        match u64::try_from(us) {
            Ok(0) => self.owed_us = 0,
            Ok(us) => self.owed_us = self.owed_us.saturating_add(keys.saturating_mul(us)),
            Err(_) => {
                self.passed += keys;
                let every = u64::from(us.unsigned_abs());
                self.owed_us += self.passed / every;
                self.passed %= every;
            }
        }
        while self.owed_us >= LEAST {
            if setting() != us {
                self.owed_us = 0;
                return;
            }
            let now = self.owed_us.min(SLICE);
            self.owed_us -= now;
            std::thread::sleep(Duration::from_micros(now));
        }
    }
}

/// Where the replicas' stream stood, as a snapshot says.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    id: Option<Id>,
    offset: Option<u64>,
    db: Option<usize>,
}

impl Place {
    fn hear(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b"repl-id" => self.id = value.try_into().ok(),
            b"repl-offset" => self.offset = number::parse_i64(value).and_then(|n| u64::try_from(n).ok()),
            b"repl-stream-db" => self.db = number::parse_i64(value).and_then(|n| usize::try_from(n).ok()),
            _ => {}
        }
    }

    fn mark(&self) -> Option<Mark> {
        Some(Mark { id: self.id?, offset: self.offset?, db: self.db })
    }
}

/// Puts records into the keyspace.
struct Loader<'w, 'l, 'k> {
    world: World<'w>,
    locks: &'l mut Locked<'k>,
    rules: Rules,
    now_ms: u64,
    lru_clock: u32,
    counts_uses: bool,
    loaded: u64,
    place: Place,
    expired: u64,
    empty: u64,
    delay: Delay,
    libraries: Vec<Arc<[u8]>>,
}

impl Receiver for Loader<'_, '_, '_> {
    fn aux(&mut self, name: &[u8], value: &[u8]) {
        self.place.hear(name, value);
        if matches!(name, b"redis-ver" | b"valkey-ver") {
            tracing::info!("Loading RDB produced by version {}", String::from_utf8_lossy(value));
        }
    }

    fn function(&mut self, source: Vec<u8>) -> Result<(), Bad> {
        self.libraries.push(source.into());
        Ok(())
    }

    fn record(&mut self, record: Record) -> Result<(), Bad> {
        let keyspace = self.world.keyspace;
        let db = usize::try_from(record.db).ok().filter(|db| *db < keyspace.databases());
        let Some(db) = db else {
            return Err(Bad::corrupt(
                "FATAL: Data file was created with a Redis server configured to handle more databases",
            ));
        };
        // Replicas that go on from here have them still, and hear of their end from the sweep.
        let kept = self.rules.keep_expired || self.place.mark().is_some();
        if !self.rules.keep_expired && record.expire.is_some_and(|at| at <= self.now_ms) {
            self.expired += 1;
            if !kept {
                return Ok(());
            }
        }
        self.delay.after(1, || self.world.config.load().key_load_delay);
        let mark = self.mark(record.usage);
        let mut slot = slot(&record.key, record.value, record.expire);
        slot.set_lru(mark);
        let key = keyspace.key(&record.key);
        let merge = self.rules.merge;
        let fresh = self.locks.with_shard(usize::from(key.shard), |shard| {
            if shard.db(db).get(&key).is_some() {
                if !merge {
                    return false;
                }
                shard.remove(db, &key);
            }
            shard.insert(db, &key, slot);
            true
        });
        if !fresh {
            let name = crate::error::clip(key.name, 128);
            return Err(Bad::Corrupt(format!("RDB has duplicated key '{name}' in DB {db}")));
        }
        self.loaded += 1;
        Ok(())
    }

    fn skipped_empty(&mut self, key: &[u8]) {
        self.empty += 1;
        tracing::info!("rdbLoadObject skipping empty key: {}", crate::error::clip(key, 128));
    }
}

impl Loader<'_, '_, '_> {
    /// The access mark of an entry that was used like this.
    fn mark(&self, usage: Usage) -> u32 {
        match usage {
            Usage::Frequency(counter) if self.counts_uses => {
                ((self.now_ms / 60_000) as u32 & 0xffff) << 8 | u32::from(counter)
            }
            Usage::Idle(seconds) if !self.counts_uses => {
                self.lru_clock.wrapping_sub(seconds as u32) & 0xff_ffff
            }
            _ if self.counts_uses => ((self.now_ms / 60_000) as u32 & 0xffff) << 8 | 5,
            _ => self.lru_clock,
        }
    }
}

/// An entry for a value that was read.
pub fn slot(key: &[u8], value: Decoded, expire: Option<u64>) -> Slot {
    match value {
        Decoded::Value(value) => Slot::new_value(key, value, expire),
        Decoded::Str(bytes) => match number::parse_i64(&bytes) {
            Some(n) if bytes.len() <= INT_TEXT => Slot::new_int(key, n, expire),
            _ if Slot::embeds(bytes.len()) => Slot::new_str(key, &bytes, expire),
            _ => Slot::new_value(key, Value::Str(bytes), expire),
        },
    }
}

/// What values need to know when they are made, under the settings.
pub fn making(world: World<'_>) -> Making {
    Making { limits: world.config.load().limits(), seed: world.keyspace.seed() }
}

/// Counts bytes for INFO as they are read.
pub struct Counted<'w, R> {
    /// Where they come from.
    pub inner: R,
    /// Whose INFO.
    pub world: World<'w>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.world.persist.status.loading[2].fetch_add(n as u64, Ordering::AcqRel);
        Ok(n)
    }
}

/// Reads a snapshot from a stream into the keyspace, through the locks that are held, or shard by shard.
///
/// # Errors
/// [`Bad`] when it is no whole snapshot.
pub fn stream(
    world: World<'_>,
    locks: &mut Locked<'_>,
    source: &mut Source<'_>,
    rules: Rules,
) -> Result<(), Bad> {
    let config = world.config.load();
    let now_ms = world.clock.now_us() / 1000;
    let mut loader = Loader {
        world,
        locks,
        rules,
        now_ms,
        lru_clock: (now_ms / 1000) as u32 & 0xff_ffff,
        counts_uses: config.maxmemory_policy.counts_uses(),
        loaded: 0,
        place: Place::default(),
        expired: 0,
        empty: 0,
        delay: Delay::default(),
        libraries: Vec::new(),
    };
    let verify = config.rdbchecksum && world.persist.knobs.verifies_payloads();
    file::read(source, &making(world), verify, &mut loader)?;
    let status = &world.persist.status;
    status.loaded[0].store(loader.expired, Ordering::Release);
    status.loaded[1].store(loader.loaded, Ordering::Release);
    tracing::info!(
        "Done loading RDB, keys loaded: {}, keys expired: {}, empty keys skipped: {}.",
        loader.loaded,
        loader.expired,
        loader.empty
    );
    *world.persist.loaded_mark.lock() = loader.place.mark();
    if !loader.libraries.is_empty() {
        world.persist.set_libraries(loader.libraries);
    }
    Ok(())
}

/// Notes for INFO that a load of so many bytes begins.
pub fn note_start(world: World<'_>, bytes: u64) {
    let [start, total, done] = &world.persist.status.loading;
    start.store(world.now_s(), Ordering::Release);
    total.store(bytes, Ordering::Release);
    done.store(0, Ordering::Release);
}

/// Reads a snapshot file. False when there is none.
///
/// # Errors
/// [`Bad`] when it cannot be read or is no whole snapshot.
pub fn snapshot_file(
    world: World<'_>,
    locks: &mut Locked<'_>,
    path: &Path,
    rules: Rules,
) -> Result<bool, Bad> {
    let inner = match world.persist.disk.read(path) {
        Ok(inner) => inner,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(Bad::Io(error)),
    };
    note_start(world, world.persist.disk.len(path).unwrap_or(0));
    let mut input = Counted { inner, world };
    let mut source = Source::new(&mut input);
    match stream(world, locks, &mut source, rules) {
        Ok(()) => Ok(true),
        Err(bad) => {
            tracing::error!(
                "Internal error in RDB reading offset {}: {bad}. The file is {}",
                source.offset(),
                path.display()
            );
            diagnose(world, path);
            tracing::error!("Terminating server after rdb file reading failure.");
            hint(world, path);
            Err(bad)
        }
    }
}

/// Tells in the log what the checker of snapshots has to say: how far it comes, and behind which key.
fn diagnose(world: World<'_>, path: &Path) {
    let mut findings = Vec::new();
    let mut console = Console { disk: &*world.persist.disk, input: &mut io::empty(), out: &mut findings };
    // That it finds something is known.
    let _ = console.rdb(path, world.clock.now_us() / 1000);
    for line in String::from_utf8_lossy(&findings).lines() {
        tracing::error!("{line}");
    }
}

/// What can be done about a snapshot that cannot be read.
fn hint(world: World<'_>, path: &Path) {
    let previous = crate::persist::save::previous(path);
    if world.persist.disk.exists(&previous) {
        tracing::error!(
            "The snapshot before it is {}: to start from that, put it in the place of {}",
            previous.display(),
            path.display()
        );
    }
}

/// DEBUG RELOAD, under all locks: saves, empties the keyspace and reads the file again, or parts of that.
///
/// # Errors
/// What went wrong, for the operator.
pub fn reload(
    world: World<'_>,
    locks: &mut Locked<'_>,
    save: bool,
    flush: bool,
    merge: bool,
) -> Result<(), String> {
    if save {
        crate::persist::save::under_locks(world, locks).map_err(|error| error.to_string())?;
    }
    if flush {
        empty(world, locks);
    }
    let config = world.config.load();
    let path = config.dir.join(&config.dbfilename);
    let rules = Rules { keep_expired: false, merge };
    snapshot_file(world, locks, &path, rules).map_err(|bad| bad.to_string())?;
    Ok(())
}

/// Reads a snapshot file to its end and keeps nothing: can it be loaded? Returns the database that is selected where
/// the stream that follows it begins.
///
/// # Errors
/// [`Bad`] when it cannot.
pub fn check(world: World<'_>, path: &Path) -> Result<Option<usize>, Bad> {
    let mut input = world.persist.disk.read(path).map_err(Bad::Io)?;
    let mut checker = Checker { databases: world.keyspace.databases() as u64, place: Place::default() };
    file::read(&mut Source::new(&mut input), &making(world), true, &mut checker)?;
    Ok(checker.place.db)
}

/// Looks at records and lets go of them.
struct Checker {
    databases: u64,
    place: Place,
}

impl Receiver for Checker {
    fn aux(&mut self, name: &[u8], value: &[u8]) {
        self.place.hear(name, value);
    }

    fn function(&mut self, _: Vec<u8>) -> Result<(), Bad> {
        Ok(())
    }

    fn record(&mut self, record: Record) -> Result<(), Bad> {
        let fits = record.db < self.databases;
        fits.then_some(()).ok_or_else(|| Bad::corrupt("more databases than there are here"))
    }

    fn skipped_empty(&mut self, _: &[u8]) {}
}

/// Deletes everything, under all locks.
pub fn empty(world: World<'_>, locks: &mut Locked<'_>) {
    world.persist.set_libraries(Vec::new());
    let seed = world.keyspace.seed();
    locks.each(|_, shard| {
        for db in 0..shard.dbs.len() {
            drop(shard.take_table(db, seed));
        }
    });
}
