//! How does a snapshot become a file? Under a temporary name first; it gets its own only when every byte of it is
//! durable, so that the previous file stays good until the moment there is a better one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::config::choices::RdbVersion;
use crate::config::{Config, REDIS_VERSION};
use crate::keyspace::Locked;
use crate::persist::aof::values::Commands;
use crate::persist::disk::{Disk, DiskFile};
use crate::persist::rdb::encode::Encoder;
use crate::persist::rdb::file::{self, Preamble};
use crate::persist::rdb::op;
use crate::persist::snapshot::{self, Beside, Marks, Options, Snapshot};
use crate::persist::{Child, Job, World};
use crate::util::crc;

/// With `rdb-save-incremental-fsync`, bytes after which the file is made durable so far.
const SYNC_EVERY: u64 = 4 << 20;

/// The options of snapshots under the settings.
pub fn options(config: &Config, now_s: u64) -> Options {
    let version = match config.rdb_version {
        RdbVersion::V9 => 9,
        RdbVersion::Auto | RdbVersion::V10 => 10,
        RdbVersion::V11 => 11,
        RdbVersion::V12 => 12,
    };
    let policy = config.maxmemory_policy;
    let marks = if policy.counts_uses() {
        Marks::Lfu
    } else if config.maxmemory > 0 {
        Marks::Lru(now_s as u32 & 0xff_ffff)
    } else {
        Marks::None
    };
    Options {
        version,
        compress: config.rdbcompression,
        marks,
        commands: false,
        delay: config.rdb_key_save_delay,
    }
}

/// A snapshot file that is being written.
pub struct Output {
    file: Arc<dyn DiskFile>,
    crc: u64,
    summed: bool,
    unsynced: u64,
    incremental: bool,
    written: u64,
    /// It is RDB, which has an end; commands have none.
    rdb: bool,
}

impl Output {
    /// Makes a file and writes its beginning: of RDB in a version, or of commands.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn create(
        world: World<'_>,
        path: &Path,
        version: Option<u16>,
        aof_base: bool,
        beside: &Beside,
    ) -> io::Result<Output> {
        let config = world.config.load();
        let mut output = Output {
            file: world.persist.disk.create(path)?,
            crc: 0,
            summed: if version.is_some() { config.rdbchecksum } else { config.aof_checksums },
            unsynced: 0,
            incremental: match aof_base {
                true => config.aof_rewrite_incremental_fsync,
                false => config.rdb_save_incremental_fsync,
            },
            written: 0,
            rdb: version.is_some(),
        };
        let Some(version) = version else {
            let mut commands = Commands::default();
            if config.aof_timestamp_enabled {
                commands.out.extend_from_slice(format!("#TS:{}\r\n", world.now_s()).as_bytes());
            }
            for source in &beside.libraries {
                commands.function(source);
            }
            output.write(&commands.out)?;
            return Ok(output);
        };
        let mut encoder = Encoder::new(version, config.rdbcompression);
        let preamble = Preamble {
            redis_version: REDIS_VERSION,
            created: world.now_s(),
            used_memory: crate::ALLOCATOR.used() as u64,
            aof_base,
            mark: beside.mark,
        };
        file::begin(&mut encoder, &preamble);
        for source in &beside.libraries {
            encoder.function(source);
        }
        output.write(&encoder.out)?;
        Ok(output)
    }

    /// Appends records.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.summed {
            self.crc = crc::crc64(self.crc, bytes);
        }
        self.file.write(bytes)?;
        self.written += bytes.len() as u64;
        self.unsynced += bytes.len() as u64;
        if self.incremental && self.unsynced >= SYNC_EVERY {
            self.unsynced = 0;
            self.file.sync()?;
        }
        Ok(())
    }

    /// Writes the end and makes all of it durable. Returns the length.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn finish(self) -> io::Result<u64> {
        let file = self.file.clone();
        let written = self.close()?;
        file.sync()?;
        Ok(written)
    }

    /// Writes the end. Returns the length.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn close(mut self) -> io::Result<u64> {
        if !self.rdb {
            let sum = format!("#CRC:{:016x}\r\n", self.crc);
            if self.summed && self.written > 0 {
                self.write(sum.as_bytes())?;
            }
            return Ok(self.written);
        }
        self.write(&[op::END])?;
        let crc = if self.summed { self.crc } else { 0 };
        self.file.write(&crc.to_le_bytes())?;
        Ok(self.written + 8)
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.written
    }
}

/// The temporary name of a snapshot file.
fn temporary(config: &Config) -> PathBuf {
    config.dir.join(&format!("temp-{}.rdb", std::process::id()))
}

/// Removes a snapshot that is being written: the process ends.
pub(super) fn remove_temporary(world: World<'_>) {
    let _ = world.persist.disk.remove(&temporary(&world.config.load()));
}

/// Where the snapshot before the present one is.
pub fn previous(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".previous");
    name.into()
}

/// Keeps the present snapshot when another is about to take its name. That it could not is no reason not to save.
fn keep_previous(disk: &dyn Disk, path: &Path) {
    let kept = previous(path);
    if disk.exists(path) {
        let _ = disk.remove(&kept);
        if let Err(error) = disk.link(path, &kept) {
            tracing::warn!("The snapshot before this one is not kept: {error}");
        }
    }
}

/// Gives a whole file its own name, or removes what was made of it.
fn publish(disk: &dyn Disk, written: io::Result<u64>, from: &Path, to: &Path) -> io::Result<u64> {
    let result = written.and_then(|n| disk.publish(from, to).map(|()| n));
    if result.is_err() {
        let _ = disk.remove(from);
    }
    result
}

/// Walks a snapshot into a file of this name, by way of a temporary one.
///
/// # Errors
/// Those of the disk; the walk has come to its end nevertheless.
pub fn write(
    world: World<'_>,
    snapshot: Snapshot,
    from: &Path,
    to: &Path,
    aof_base: bool,
) -> io::Result<u64> {
    // Other servers are kept away until it is published.
    let guarded = if aof_base { Ok(None) } else { world.persist.owner.guard(&*world.persist.disk, to) };
    let mut output = guarded
        .as_ref()
        .map_err(|error| io::Error::new(error.kind(), error.to_string()))
        .and_then(|_| Output::create(world, from, snapshot.version(), aof_base, snapshot.beside()));
    let pause = || world.config.load().rdb_key_save_delay;
    let walked = snapshot.walk_slowly(world.keyspace, pause, |bytes| match &mut output {
        Ok(output) => output.write(bytes),
        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
    });
    let written = walked.and_then(|()| output.and_then(Output::finish));
    if written.is_ok() && !aof_base && world.config.load().rdb_keep_previous {
        keep_previous(&*world.persist.disk, to);
    }
    publish(&*world.persist.disk, written, from, to)
}

/// Begins a background save: this is the moment of its picture. False while another task is under way. The caller
/// holds no lock.
///
/// # Errors
/// When the saver is gone.
pub fn begin_background(world: World<'_>) -> io::Result<bool> {
    let persist = world.persist;
    if !persist.claim(Child::Rdb) {
        return Ok(false);
    }
    persist.save_scheduled.store(false, Ordering::Release);
    persist.status.last_try.store(world.now_s(), Ordering::Release);
    persist.status.began.store(world.now_s(), Ordering::Release);
    let snapshot = begin(world);
    tracing::info!("Background saving started");
    persist.start(Job::Save(snapshot))?;
    Ok(true)
}

/// Saves a snapshot for replicas that take files, as a background save would. Returns where, and how long it is.
///
/// # Errors
/// Those of the disk.
pub fn for_replicas(world: World<'_>, snapshot: Snapshot) -> io::Result<(PathBuf, u64)> {
    let config = world.config.load();
    let changes = snapshot.changes();
    let path = config.dir.join(&config.dbfilename);
    let length = write(world, snapshot, &temporary(&config), &path, false);
    world.persist.status.last_ok.store(length.is_ok(), Ordering::Release);
    let length = length?;
    note_saved(world, changes);
    Ok((path, length))
}

/// Takes the picture. The task must have been claimed.
fn begin(world: World<'_>) -> Snapshot {
    let options = options(&world.config.load(), world.now_s());
    let mut locks = world.keyspace.locked_all();
    let mut snapshot = snapshot::begin(&mut locks, options);
    snapshot.remember(world.changes(), Beside::now(world));
    *world.persist.stopper.lock() = Some(snapshot.stopper());
    snapshot
}

/// Writes the file of a picture and notes how that went.
pub(super) fn finish(world: World<'_>, snapshot: Snapshot) {
    let config = world.config.load();
    let status = &world.persist.status;
    let changes = snapshot.changes();
    let path = config.dir.join(&config.dbfilename);
    let result = write(world, snapshot, &temporary(&config), &path, false);
    let took = world.now_s().saturating_sub(status.began.load(Ordering::Acquire));
    match result {
        Ok(_) => {
            note_saved(world, changes);
            status.last_ok.store(true, Ordering::Release);
            tracing::info!("DB saved on disk");
            tracing::info!("Background saving terminated with success");
        }
        // Stopped on purpose: neither good nor bad.
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            tracing::warn!("Background saving terminated by signal");
        }
        Err(error) => {
            status.last_ok.store(false, Ordering::Release);
            if changes <= status.saved_changes.load(Ordering::Acquire) {
                // It was the empty dataset that could not be saved, and it has to be.
                world.persist.flushed.store(true, Ordering::Release);
            }
            tracing::warn!("Error saving DB on disk ({}): {error}", path.display());
            tracing::warn!("Background saving error");
        }
    }
    status.last_took.store(took as i64, Ordering::Release);
    world.persist.release();
}

fn note_saved(world: World<'_>, changes: u64) {
    let status = &world.persist.status;
    // All data may have been deleted meanwhile, which is as good as saved.
    status.saved_changes.fetch_max(changes, Ordering::AcqRel);
    status.last_save.store(world.now_s(), Ordering::Release);
    status.saves.fetch_add(1, Ordering::AcqRel);
}

/// SAVE: takes a picture and writes it on this thread, which holds no lock. `None` while another task is under way.
pub fn now(world: World<'_>) -> Option<io::Result<()>> {
    let persist = world.persist;
    // A rewrite of the append-only file keeps the walker busy: its end is waited for.
    loop {
        if persist.claim(Child::Rdb) {
            break;
        }
        let refused = persist.child() == Child::Rdb && !persist.saves_empty.load(Ordering::Acquire);
        if refused || persist.ending.load(Ordering::Acquire) {
            return None;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let snapshot = begin(world);
    let config = world.config.load();
    let changes = snapshot.changes();
    let path = config.dir.join(&config.dbfilename);
    let result = write(world, snapshot, &temporary(&config), &path, false);
    match &result {
        Ok(_) => {
            note_saved(world, changes);
            persist.status.last_ok.store(true, Ordering::Release);
            tracing::info!("DB saved on disk");
        }
        Err(error) => tracing::warn!("Error saving DB on disk ({}): {error}", path.display()),
    }
    persist.release();
    Some(result.map(|_| ()))
}

/// Saves while all locks are held, on this thread (DEBUG RELOAD, the end of the server). No background save may be
/// under way: it would write over this one.
///
/// # Errors
/// Those of the disk.
pub fn under_locks(world: World<'_>, locks: &mut Locked<'_>) -> io::Result<()> {
    let config = world.config.load();
    let (from, to) = (temporary(&config), config.dir.join(&config.dbfilename));
    let _guard = world.persist.owner.guard(&*world.persist.disk, &to)?;
    let beside = Beside::now(world);
    let open = |version| Output::create(world, &from, version, false, &beside);
    let written = snapshot::at_once(locks, options(&config, world.now_s()), open).and_then(Output::finish);
    if written.is_ok() && config.rdb_keep_previous {
        keep_previous(&*world.persist.disk, &to);
    }
    publish(&*world.persist.disk, written, &from, &to)?;
    note_saved(world, world.changes());
    tracing::info!("DB saved on disk");
    Ok(())
}
