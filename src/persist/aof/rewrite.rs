//! How does the append-only file stay short? A snapshot becomes its new base, and the increments before the snapshot's
//! moment go.
//!
//! ```text
//! 1  a new increment is made and entered in the manifest
//! 2  all locks: the snapshot begins, and the log is cut to the new increment
//! 3  the snapshot is written, made durable, and named as the next base
//! 4  the manifest changes: new base, new increment, the rest is history    (a crash before: the old files hold all)
//! 5  history is deleted
//! ```
//!
//! When the file is turned on while the server runs, the increment has a temporary name until step 4.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::config::choices::Appendfsync;
use crate::persist::aof::State;
use crate::persist::aof::manifest::{Manifest, Names};
use crate::persist::disk::Disk;
use crate::persist::snapshot::{self, Beside, Options, Snapshot};
use crate::persist::{Child, Job, World, save};

/// Failures in a row after which rewrites are tried more and more seldom.
const PATIENT: u64 = 3;
/// The longest time between tries, in minutes; and while writes are refused until one succeeds.
const MOST_MINUTES: [u64; 2] = [60, 1];

/// What INFO tells of rewrites.
#[derive(Debug)]
pub struct Status {
    /// The last one succeeded.
    pub last_ok: AtomicBool,
    /// How long it took, in seconds; -1 before the first.
    pub last_took: AtomicI64,
    /// Rewrites since the start.
    pub count: AtomicU64,
    /// Failures since the last success.
    pub failures: AtomicU64,
    /// When automatic tries go on: unix seconds.
    pub(in crate::persist) not_before: AtomicU64,
    /// Length of everything after the last rewrite, or at the start.
    pub length_then: AtomicU64,
    /// How often making durable had failed when the rewrite under way began.
    sync_failures_then: AtomicU64,
    /// The log's offset at which it began: its base holds everything up to there.
    end_then: AtomicU64,
}

impl Default for Status {
    fn default() -> Self {
        Status {
            last_ok: true.into(),
            last_took: (-1).into(),
            count: 0.into(),
            failures: 0.into(),
            not_before: 0.into(),
            length_then: 0.into(),
            sync_failures_then: 0.into(),
            end_then: 0.into(),
        }
    }
}

/// How long [`turn`] tries to have all locks. A caller that holds them itself is let off after that; the rewrite begins
/// when it is done.
const PATIENCE: Duration = Duration::from_millis(100);
/// How often in that time a file is asked for that is in use.
const TRIES: u32 = 10;

/// Begins a rewrite: this is the moment of its snapshot. False while another task is under way. The caller holds no
/// lock.
///
/// # Errors
/// Those of the disk; nothing has changed then.
pub fn begin(world: World<'_>) -> io::Result<bool> {
    let persist = world.persist;
    if !persist.claim(Child::Aof) {
        return Ok(false);
    }
    persist.aof.scheduled.store(false, Ordering::Release);
    persist.status.began.store(world.now_s(), Ordering::Release);
    match picture(world) {
        Ok(snapshot) => {
            tracing::info!("Background append only file rewriting started");
            persist.start(Job::Rewrite(snapshot))?;
            Ok(true)
        }
        Err(error) => {
            tracing::warn!("Can't rewrite the append only file: {error}");
            note_failure(world);
            persist.release();
            Err(error)
        }
    }
}

/// How a base is written under the settings.
pub(super) fn base_options(world: World<'_>) -> Options {
    let config = world.config.load();
    Options { commands: !config.aof_use_rdb_preamble, ..save::options(&config, world.now_s()) }
}

/// Another server may be writing to the file that this one is to begin with.
fn ask_for_others(disk: &dyn Disk, names: &Names) -> io::Result<()> {
    let last = Manifest::load(disk, names)?.and_then(|mut manifest| manifest.increments.pop());
    let Some(path) = last.map(|part| names.path(&part.name)).filter(|path| disk.exists(path)) else {
        return Ok(());
    };
    // It may be this server's own thread that is not done with it yet.
    for _ in 1..TRIES {
        match disk.append(&path) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(PATIENCE / TRIES),
            other => return other.map(|_| ()),
        }
    }
    disk.append(&path).map(|_| ())
}

/// Steps 1 and 2.
fn picture(world: World<'_>) -> io::Result<Snapshot> {
    let config = world.config.load();
    let names = Names::new(&config);
    let (disk, aof) = (&*world.persist.disk, &world.persist.aof);
    disk.ensure_dir(&names.dir)?;
    let state = aof.state();
    if state != State::On {
        ask_for_others(disk, &names)?;
    }
    if !disk.exists(&names.manifest()) {
        names.begin_first(disk)?;
    }
    let file = match state {
        State::Off => None,
        State::Waiting => Some(disk.create(&names.temporary_increment())?),
        State::On => {
            let mut manifest = aof.manifest.lock();
            let part = names.increment(manifest.next(1));
            let file = disk.create(&names.path(&part.name))?;
            let mut next = manifest.clone();
            next.last[1] = part.seq;
            tracing::info!("Creating AOF incr file {} on background rewrite", part.name);
            next.increments.push(part);
            next.save(disk, &names)?;
            *manifest = next;
            Some(file)
        }
    };
    let options = base_options(world);
    let mut locks = world.keyspace.locked_all();
    let mut snapshot = snapshot::begin(&mut locks, options);
    snapshot.remember(world.changes(), Beside { mark: None, ..Beside::now(world) });
    aof.rewrites.end_then.store(world.log.end(), Ordering::Release);
    match (state, file) {
        (State::Waiting, file) => {
            let mut writer = aof.writer.lock();
            world.log.enable(true);
            writer.restart(file, 0, Default::default());
        }
        (_, Some(file)) => {
            aof.writer.lock().queue(file);
            world.log.cut();
        }
        (_, None) => {}
    }
    aof.rewrites.sync_failures_then.store(aof.sync_failures.load(Ordering::Acquire), Ordering::Release);
    drop(locks);
    *world.persist.stopper.lock() = Some(snapshot.stopper());
    Ok(snapshot)
}

/// Writes the base of a snapshot and notes how that went.
pub(in crate::persist) fn finish(world: World<'_>, snapshot: Snapshot) {
    let persist = world.persist;
    let took = || world.now_s().saturating_sub(persist.status.began.load(Ordering::Acquire));
    match publish(world, snapshot) {
        Ok(()) => {
            tracing::info!("Background AOF rewrite finished successfully");
            let status = &persist.aof.rewrites;
            status.last_ok.store(true, Ordering::Release);
            status.failures.store(0, Ordering::Release);
            status.count.fetch_add(1, Ordering::AcqRel);
            status.length_then.store(persist.aof.lengths().0, Ordering::Release);
        }
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            tracing::warn!("Background AOF rewrite terminated by signal");
        }
        Err(error) => {
            tracing::warn!("Background AOF rewrite terminated with error: {error}");
            note_failure(world);
        }
    }
    if persist.aof.state() == State::Waiting {
        forget_increment(world);
    }
    persist.aof.rewrites.last_took.store(took() as i64, Ordering::Release);
    persist.release();
}

/// Steps 3 to 5.
fn publish(world: World<'_>, snapshot: Snapshot) -> io::Result<()> {
    let config = world.config.load();
    let names = Names::new(&config);
    let (disk, aof) = (&*world.persist.disk, &world.persist.aof);
    let state = aof.state();
    let base = names.base(aof.manifest.lock().next(0), snapshot.version().is_some());
    let length = save::write(world, snapshot, &names.temporary_base(), &names.path(&base.name), true)?;
    if aof.state() != state {
        // Turned off meanwhile: nobody wants it.
        let _ = disk.remove(&names.path(&base.name));
        return Err(io::ErrorKind::Interrupted.into());
    }
    // What the new increment builds on must be there before it counts.
    let mut manifest = aof.manifest.lock();
    let mut next = Manifest { last: [base.seq, manifest.last[1]], ..Manifest::default() };
    let mut increments = manifest.increments.clone();
    match state {
        State::On => next.increments.extend(increments.pop()),
        State::Waiting => {
            let part = names.increment(manifest.next(1));
            disk.rename(&names.temporary_increment(), &names.path(&part.name))?;
            next.last[1] = part.seq;
            next.increments.push(part);
        }
        State::Off => {}
    }
    // The newest first, as Redis lists it.
    next.history = increments;
    next.history.extend(manifest.base.clone());
    next.history.extend(manifest.history.iter().cloned());
    next.base = Some(base);
    next.save(disk, &names)?;
    *manifest = next;
    let _ = disk.remove(&names.first());
    aof.sizes[0].store(length, Ordering::Release);
    aof.sizes[1].store(0, Ordering::Release);
    aof.durable.fetch_max(aof.rewrites.end_then.load(Ordering::Acquire), Ordering::AcqRel);
    if state == State::Waiting {
        turned_on(world)?;
    }
    if state == State::On {
        trust(world);
    }
    if !config.aof_disable_auto_gc {
        manifest.clear_history(disk, &names)?;
    }
    Ok(())
}

/// The files before the new increment count no more: what could not be made durable in them is in the new base. What
/// came after that is in a file that must not have failed too.
fn trust(world: World<'_>) {
    let aof = &world.persist.aof;
    // The log's cut, if nobody has come to it yet.
    aof.write_out(world, false);
    aof.writer.lock().forget_left();
    if aof.sync_failures.load(Ordering::Acquire) == aof.rewrites.sync_failures_then.load(Ordering::Acquire) {
        aof.failed[1].store(false, Ordering::Release);
    }
}

/// The first base is there: from now on replies wait for the file.
fn turned_on(world: World<'_>) -> io::Result<()> {
    let (aof, policy) = (&world.persist.aof, world.config.load().appendfsync);
    aof.write_out(world, false);
    if policy != Appendfsync::No {
        aof.sync().inspect_err(|error| aof.distrust(error))?;
    }
    aof.set_state(State::On);
    aof.publish(policy);
    Ok(())
}

/// The first base has come to nothing, and with it what was to follow it; the next try begins with a new file.
fn forget_increment(world: World<'_>) {
    let path = Names::new(&world.config.load()).temporary_increment();
    tracing::info!("Removing the temp incr aof file {} in the background", path.display());
    let _ = world.persist.disk.remove(&path);
}

fn note_failure(world: World<'_>) {
    let status = &world.persist.aof.rewrites;
    status.last_ok.store(false, Ordering::Release);
    let failures = status.failures.fetch_add(1, Ordering::AcqRel) + 1;
    let most = MOST_MINUTES[usize::from(world.persist.aof.failed[1].load(Ordering::Acquire))];
    let minutes = match failures {
        0..PATIENT => 0,
        n => 1u64.checked_shl((n - PATIENT).min(32) as u32).unwrap_or(most).min(most),
    };
    if minutes > 0 {
        tracing::warn!(
            "Background AOF rewrite has repeatedly failed and triggered the limit, will retry in {minutes} minutes"
        );
    }
    status.not_before.store(world.now_s() + minutes * 60, Ordering::Release);
}

/// True when a rewrite should begin: it was asked for, the first base is missing, or the file has grown enough.
pub fn is_due(world: World<'_>) -> bool {
    let (config, aof) = (world.config.load(), &world.persist.aof);
    if world.now_s() < aof.rewrites.not_before.load(Ordering::Acquire) {
        return false;
    }
    let distrusted = aof.state() == State::On && aof.failed[1].load(Ordering::Acquire);
    if aof.scheduled.load(Ordering::Acquire) || distrusted || aof.state() == State::Waiting {
        return true;
    }
    if aof.state() != State::On || config.auto_aof_rewrite_percentage == 0 {
        return false;
    }
    let (length, _) = aof.lengths();
    let then = aof.rewrites.length_then.load(Ordering::Acquire).max(1);
    let growth = length.saturating_mul(100) / then;
    let wanted = u64::from(config.auto_aof_rewrite_percentage).saturating_add(100);
    if length <= config.auto_aof_rewrite_min_size || growth < wanted {
        return false;
    }
    tracing::info!("Starting automatic rewriting of AOF on {}% growth", growth - 100);
    true
}

/// BGREWRITEAOF tries again however often it failed.
pub fn forgive(world: World<'_>) {
    let status = &world.persist.aof.rewrites;
    status.failures.store(0, Ordering::Release);
    status.not_before.store(0, Ordering::Release);
}

/// CONFIG SET appendonly: turns the file on or off.
///
/// # Errors
/// When the first base cannot be begun; the file stays off then.
pub fn turn(world: World<'_>, on: bool) -> io::Result<()> {
    let (persist, aof) = (world.persist, &world.persist.aof);
    match (on, aof.state()) {
        (true, State::Off) => {
            aof.set_state(State::Waiting);
            if persist.child() != Child::None {
                tracing::info!(
                    "AOF was enabled but there is already another background operation. An AOF background was scheduled to start when possible."
                );
                aof.scheduled.store(true, Ordering::Release);
                return Ok(());
            }
            if world.keyspace.locked_all_within(PATIENCE).is_none() {
                tracing::info!(
                    "AOF was enabled during a transaction. An AOF background was scheduled to start when possible."
                );
                aof.scheduled.store(true, Ordering::Release);
                return Ok(());
            }
            begin(world).map(|_| ()).inspect_err(|_| aof.set_state(State::Off))
        }
        (false, State::Waiting | State::On) => {
            stop(world);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Makes what is there durable and writes no more.
fn stop(world: World<'_>) {
    let (persist, aof) = (world.persist, &world.persist.aof);
    if let Err(error) = aof.finish(world) {
        tracing::warn!("Fail to fsync the AOF file: {error}");
    }
    aof.set_state(State::Off);
    world.log.enable(false);
    aof.writer.lock().restart(None, 0, Default::default());
    aof.failed.iter().for_each(|f| f.store(false, Ordering::Release));
    aof.publish(Appendfsync::No);
    if persist.child() == Child::Aof
        && let Some(stopper) = &*persist.stopper.lock()
    {
        tracing::info!("Killing running AOF rewrite child");
        stopper.stop();
    }
}
