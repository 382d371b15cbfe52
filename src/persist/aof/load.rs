//! How is the append-only file read back? The base first, then the commands of each increment, in order. The end of
//! the last file may be missing, if the server stopped in the middle of a write; anything else that is wrong means that
//! the server does not start.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use crate::config::Config;
use crate::keyspace::Locked;
use crate::persist::aof::State;
use crate::persist::aof::manifest::{Manifest, Names, Part};
use crate::persist::aof::rewrite;
use crate::persist::aof::scan::{self, Argv, End, Found, Record};
use crate::persist::aof::writer::Tail;
use crate::persist::load::{Counted, Delay};
use crate::persist::rdb::source::Source;
use crate::persist::rdb::{self, Bad};
use crate::persist::snapshot::Beside;
use crate::persist::{World, load, save, snapshot};

/// Runs what is read.
pub trait Replay {
    /// The locks through which snapshots are loaded.
    fn with_locks(&mut self, load: &mut dyn FnMut(&mut Locked<'_>) -> Result<(), Bad>) -> Result<(), Bad>;

    /// A new file begins: database 0 is selected.
    fn begin_file(&mut self);

    /// Runs a command.
    ///
    /// # Errors
    /// When there is no such command.
    fn run(&mut self, argv: &[&[u8]]) -> Result<(), String>;
}

/// Reads everything that the manifest names. False when there is no append-only file.
///
/// # Errors
/// When it cannot be read; the log has been told why.
pub fn all(world: World<'_>, replay: &mut dyn Replay) -> io::Result<bool> {
    let config = world.config.load();
    let names = Names::new(&config);
    let disk = &*world.persist.disk;
    let manifest = match Manifest::load(disk, &names)? {
        Some(manifest) => {
            finish_adoption(world, &config, &names, &manifest)?;
            manifest
        }
        None => match adopt_old_file(world, &config, &names)? {
            Some(manifest) => manifest,
            None => return refuse_orphans(world, &names).map(|()| false),
        },
    };
    let mut total = 0;
    for part in manifest.parts() {
        total += disk.len(&names.path(&part.name)).map_err(|error| {
            tracing::error!("The append log file {} doesn't exist: {error}", part.name);
            error
        })?;
    }
    // Held while the files are read: another server that writes to them keeps this one from touching them.
    // (DEBUG LOADAOF reads what this server itself has claimed.)
    let last = manifest.increments.last().filter(|_| world.persist.aof.state() == State::Off);
    let _owned = last.map(|part| disk.append(&names.path(&part.name))).transpose()?;
    load::note_start(world, total);
    let parts: Vec<&Part> = manifest.parts().collect();
    for (i, part) in parts.iter().enumerate() {
        let began = world.clock.monotonic_us();
        let is_base = manifest.base.as_ref() == Some(*part);
        let place = Place::of(world, &names, &parts, i, is_base)?;
        let whole = file(world, &names.path(&part.name), replay, place)?;
        let took = world.clock.monotonic_us().saturating_sub(began) as f64 / 1e6;
        let what = if is_base { "base" } else { "incr" };
        tracing::info!("DB loaded from {what} file {}: {took:.3} seconds", part.name);
        if !whole {
            drop_later(world, &names, parts.get(i + 1..).unwrap_or_default())?;
            break;
        }
    }
    *world.persist.aof.manifest.lock() = manifest;
    Ok(true)
}

/// Remembers what the manifest says although the file is off: should it be turned on, its files get other names.
///
/// # Errors
/// When there is a manifest that cannot be read; the log has been told why.
pub fn remember(world: World<'_>) -> io::Result<()> {
    let names = Names::new(&world.config.load());
    if let Some(manifest) = Manifest::load(&*world.persist.disk, &names)? {
        *world.persist.aof.manifest.lock() = manifest;
    }
    Ok(())
}

/// A file from before there were manifests becomes the base.
fn adopt_old_file(world: World<'_>, config: &Config, names: &Names) -> io::Result<Option<Manifest>> {
    let disk = &*world.persist.disk;
    let old = config.dir.join(&names.prefix);
    if !disk.exists(&old) {
        return Ok(None);
    }
    disk.ensure_dir(&names.dir)?;
    let part = Part { name: names.prefix.clone(), seq: 1 };
    let manifest = Manifest { base: Some(part), last: [1, 0], ..Manifest::default() };
    manifest.save(disk, names)?;
    finish_adoption(world, config, names, &manifest)?;
    Ok(Some(manifest))
}

/// Moves the old file to where its manifest says it is; the server may have stopped between the two.
fn finish_adoption(world: World<'_>, config: &Config, names: &Names, manifest: &Manifest) -> io::Result<()> {
    let disk = &*world.persist.disk;
    let (old, new) = (config.dir.join(&names.prefix), names.path(&names.prefix));
    let adopted = manifest.base.as_ref().is_some_and(|part| part.name == names.prefix);
    if !adopted || disk.exists(&new) || !disk.exists(&old) {
        return Ok(());
    }
    disk.publish(&old, &new)?;
    disk.sync_dir(&config.dir.0)?;
    tracing::info!(
        "Successfully migrated an old-style AOF file ({}) into the AOF directory ({}).",
        names.prefix,
        names.dir.display()
    );
    Ok(())
}

/// Increments without a manifest are data that nobody knows the order of: starting empty would lose it.
fn refuse_orphans(world: World<'_>, names: &Names) -> io::Result<()> {
    let Ok(list) = world.persist.disk.list(&names.dir) else { return Ok(()) };
    let prefix = format!("{}.", names.prefix);
    let is_part = |n: &&String| n.starts_with(&prefix) && (n.ends_with(".aof") || n.ends_with(".rdb"));
    if world.persist.disk.exists(&names.first()) {
        // The very first files were being made: nothing has been promised of them.
        list.iter().filter(is_part).try_for_each(|n| world.persist.disk.remove(&names.path(n)))?;
        return Ok(());
    }
    let Some(orphan) = list.iter().find(is_part) else { return Ok(()) };
    tracing::error!(
        "{} holds {orphan} but no manifest. Restore {}, or move the files away to start without them.",
        names.dir.display(),
        names.manifest().display()
    );
    Err(io::Error::other("append-only files without a manifest"))
}

/// Where a damaged tail is kept: beside the file.
fn aside(path: &Path, now_s: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".damaged-{now_s}"));
    name.into()
}

/// Copies what stands behind `good` to a file of its own, and cuts it off.
fn cut_off(world: World<'_>, path: &Path, good: u64) -> io::Result<PathBuf> {
    let disk = &*world.persist.disk;
    let to = aside(path, world.now_s());
    let mut input = disk.read(path)?;
    io::copy(&mut input.by_ref().take(good), &mut io::sink())?;
    let kept = disk.create(&to)?;
    let mut chunk = vec![0; 64 * 1024];
    loop {
        match input.read(&mut chunk)? {
            0 => break,
            n => kept.write(&chunk[..n])?,
        }
    }
    kept.sync()?;
    disk.truncate(path, good)?;
    Ok(to)
}

/// What to do about a file that does not end as it should: the server starts without its tail, or not at all.
fn mend(world: World<'_>, config: &Config, path: &Path, found: &Found) -> io::Result<()> {
    let (name, disk) = (path.display(), &*world.persist.disk);
    let good = found.good;
    let behind = disk.len(path)?.saturating_sub(good);
    let further = scan::goes_on(found, &mut disk.read(path)?)?;
    let refuse = |why: &str| {
        tracing::error!(
            "Bad file format reading the append only file {name}: make a backup of your AOF file, then use ./redis-check-aof --fix <filename.manifest> ({why})"
        );
        Err(io::Error::other(format!("damage in the append only file {name} behind offset {good}: {why}")))
    };
    if let Some(at) = further {
        return refuse(&format!(
            "it is damaged behind offset {good}, and goes on at offset {at}: to repair it means to lose the last {behind} bytes"
        ));
    }
    let torn = matches!(found.end, End::Short | End::Zeros);
    if torn && !config.aof_load_truncated {
        tracing::error!(
            "Unexpected end of file reading the append only file {name}. You can: 1) Make a backup of your AOF file, then use ./redis-check-aof --fix <filename.manifest>. 2) Alternatively you can set the 'aof-load-truncated' configuration option to yes and restart the server."
        );
        return Err(io::Error::other("unexpected end of the append only file"));
    }
    if !torn && behind > config.aof_load_corrupt_tail_max_size {
        return refuse(&format!(
            "its last {behind} bytes, behind offset {good}, are damaged, which is more than aof-load-corrupt-tail-max-size"
        ));
    }
    if found.open {
        tracing::warn!("Revert incomplete MULTI/EXEC transaction in AOF file {name}");
    }
    let what = if torn { "short read while loading" } else { "damaged tail of" };
    tracing::warn!("!!! Warning: {what} the AOF file {name}!!!");
    tracing::warn!("!!! Truncating the AOF {name} at offset {good} !!!");
    if behind == 0 {
        return Ok(());
    }
    let kept = cut_off(world, path, good)?;
    let setting =
        if torn { "aof-load-truncated is enabled" } else { "aof-load-corrupt-tail-max-size allows it" };
    tracing::warn!("AOF {name} loaded anyway because {setting}; what was cut off is in {}", kept.display());
    Ok(())
}

/// Where a file stands among the others.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Its end may be missing: nothing follows it, or nothing that the limit for damaged tails does not allow to lose.
    may_be_cut: bool,
    /// It is shorter than it was when the next file was begun.
    cut: bool,
}

impl Place {
    /// A loss of power can take the end of a file that has been left, as long as the next one is young: then what is in
    /// the next one goes too, so that what survives is a beginning.
    fn of(world: World<'_>, names: &Names, parts: &[&Part], i: usize, is_base: bool) -> io::Result<Place> {
        let disk = &*world.persist.disk;
        let path = |part: &Part| names.path(&part.name);
        let mut later = 0;
        for part in parts.get(i + 1..).unwrap_or_default() {
            later += disk.len(&path(part))?;
        }
        let limit = world.config.load().aof_load_corrupt_tail_max_size;
        let last = i + 1 == parts.len();
        let mut cut = false;
        if let (Some(part), Some(next), false) = (parts.get(i), parts.get(i + 1), is_base) {
            let length = scan::length_before(&mut disk.read(&path(next))?)?;
            cut = length.is_some_and(|length| disk.len(&path(part)).is_ok_and(|is| is < length));
        }
        Ok(Place { may_be_cut: last || (!is_base && later <= limit), cut })
    }
}

/// Empties the files behind one whose end is missing, and keeps what they held aside.
fn drop_later(world: World<'_>, names: &Names, parts: &[&Part]) -> io::Result<()> {
    for part in parts {
        let path = names.path(&part.name);
        if world.persist.disk.len(&path)? > 0 {
            let kept = cut_off(world, &path, 0)?;
            tracing::warn!(
                "{} builds on what is missing before it: what it held is in {}",
                part.name,
                kept.display()
            );
        }
    }
    if !parts.is_empty() {
        *world.persist.aof.tail.lock() = Tail::default();
    }
    Ok(())
}

/// Reads one file: a snapshot, commands, or one behind the other. False when its end is missing.
fn file(world: World<'_>, path: &Path, replay: &mut dyn Replay, place: Place) -> io::Result<bool> {
    let (config, disk) = (world.config.load(), &*world.persist.disk);
    replay.begin_file();
    let mut input = disk.read(path)?;
    let mut source = Source::new(&mut input);
    if source.at_end().map_err(to_io)? {
        *world.persist.aof.tail.lock() = Tail::default();
        return Ok(!place.cut);
    }
    if rdb::is_snapshot(source.leftover()) {
        tracing::info!("Reading RDB base file on AOF loading...");
        let rules = load::Rules { keep_expired: true, merge: false };
        replay.with_locks(&mut |locks| load::stream(world, locks, &mut source, rules)).map_err(|bad| {
            tracing::error!("Error reading the RDB base file {}, AOF loading aborted: {bad}", path.display());
            to_io(bad)
        })?;
    }
    let start = source.offset();
    let mut found = scan::commands(&mut source, None)?;
    if place.cut && found.end == End::Whole {
        found.end = End::Short;
    }
    *world.persist.aof.tail.lock() = found.tail;
    if found.end != End::Whole {
        if !place.may_be_cut && matches!(found.end, End::Short | End::Zeros) {
            tracing::error!("Fatal error: the truncated file is not the last file");
            return Err(io::Error::other("the truncated file is not the last file"));
        }
        mend(world, &config, path, &found)?;
    }
    let mut input = disk.read(path)?;
    io::copy(&mut input.by_ref().take(start), &mut io::sink())?;
    run(world, path, &mut input.take(found.good - start), replay)?;
    Ok(found.end == End::Whole)
}

fn to_io(bad: Bad) -> io::Error {
    match bad {
        Bad::Io(error) => error,
        other => io::Error::other(other.to_string()),
    }
}

/// Runs commands that have been found whole.
fn run(world: World<'_>, path: &Path, input: &mut dyn Read, replay: &mut dyn Replay) -> io::Result<()> {
    let mut transaction: Option<Vec<Argv>> = None;
    let mut delay = Delay::default();
    let mut run = |argv: &Argv| {
        delay.after(1, || world.config.load().key_load_delay);
        let argv: Vec<&[u8]> = argv.iter().map(Vec::as_slice).collect();
        replay.run(&argv).map_err(|unknown| {
            tracing::error!("Unknown command '{unknown}' reading the append only file {}", path.display());
            io::Error::other("unknown command in the append only file")
        })
    };
    let mut counted = Counted { inner: input, world };
    let mut source = Source::new(&mut counted);
    while !source.at_end().map_err(to_io)? {
        let argv = match scan::record(&mut source) {
            Ok(Record::Command(argv)) => argv,
            Ok(Record::Note(_)) => continue,
            Err(_) => return Err(io::Error::other("the append only file has changed while it was read")),
        };
        match &mut transaction {
            None if scan::is(&argv, b"multi") => transaction = Some(Vec::new()),
            None => run(&argv)?,
            Some(queue) if scan::is(&argv, b"exec") => {
                // Whole, or not at all.
                queue.iter().try_for_each(&mut run)?;
                transaction = None;
            }
            Some(queue) => queue.push(argv),
        }
    }
    Ok(())
}

/// Opens the file for appending, once the data is loaded: makes the base if there is none, and goes on with the last
/// increment. The caller holds no lock, and nobody changes data yet.
///
/// # Errors
/// Those of the disk.
pub fn open(world: World<'_>) -> io::Result<()> {
    let config = world.config.load();
    let names = Names::new(&config);
    let (disk, aof) = (&*world.persist.disk, &world.persist.aof);
    disk.ensure_dir(&names.dir)?;
    let mut manifest = aof.manifest.lock();
    let mut next = manifest.clone();
    if next.base.is_none() && next.increments.is_empty() {
        names.begin_first(disk)?;
        let options = rewrite::base_options(world);
        let part = names.base(next.next(0), !options.commands);
        tracing::info!("Creating AOF base file {} on server start", part.name);
        let mut locks = world.keyspace.locked_all();
        let temporary = names.temporary_base();
        let output = snapshot::at_once(&mut locks, options, |version| {
            let beside = Beside { mark: None, ..Beside::now(world) };
            save::Output::create(world, &temporary, version, true, &beside)
        })?;
        output.finish()?;
        disk.publish(&temporary, &names.path(&part.name))?;
        next.last[0] = part.seq;
        next.base = Some(part);
    }
    let part = match next.increments.last() {
        Some(part) => {
            tracing::info!("Opening AOF incr file {} on server start", part.name);
            part.clone()
        }
        None => {
            let part = names.increment(next.next(1));
            tracing::info!("Creating AOF incr file {} on server start", part.name);
            next.last[1] = part.seq;
            next.increments.push(part.clone());
            part
        }
    };
    let path = names.path(&part.name);
    let file = disk.append(&path)?;
    if next != *manifest {
        next.save(disk, &names)?;
    }
    clean(world, &names);
    next.clear_history(disk, &names)?;
    let size = disk.len(&path)?;
    let length = |part: &Part| disk.len(&names.path(&part.name)).unwrap_or(0);
    let base = next.base.as_ref().map_or(0, length);
    let before: u64 = next.increments.iter().filter(|p| **p != part).map(length).sum();
    *manifest = next;
    drop(manifest);
    aof.sizes[0].store(base, Ordering::Release);
    aof.sizes[1].store(before, Ordering::Release);
    aof.rewrites.length_then.store(base + before + size, Ordering::Release);
    let tail = if size == 0 { Tail::default() } else { *aof.tail.lock() };
    aof.writer.lock().restart(Some(file), size, tail);
    world.log.enable(true);
    aof.set_state(State::On);
    aof.publish(config.appendfsync);
    Ok(())
}

/// Removes what an interrupted rewrite has left.
fn clean(world: World<'_>, names: &Names) {
    for name in world.persist.disk.list(&names.dir).unwrap_or_default() {
        if name.starts_with("temp-") {
            let _ = world.persist.disk.remove(&names.path(&name));
        }
    }
}
