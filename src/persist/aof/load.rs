//! How is the append-only file read back? The base first, then the commands of each increment, in order. The end of
//! the last file may be missing, if the server stopped in the middle of a write; anything else that is wrong means that
//! the server does not start.

use std::io;
use std::path::Path;

use crate::config::Config;
use crate::keyspace::Locked;
use crate::persist::aof::State;
use crate::persist::aof::manifest::{Manifest, Names, Part};
use crate::persist::rdb::Bad;
use crate::persist::rdb::source::Source;
use crate::persist::snapshot::Beside;
use crate::persist::{World, load, save, snapshot};

use std::sync::atomic::Ordering;

/// Longest line that announces a count or a length.
const LINE_MAX: usize = 1024;

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

/// How a file ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    /// Cut short; so many bytes of it are good.
    Short(u64),
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
        let end = file(world, &names.path(&part.name), replay)?;
        if let End::Short(good) = end {
            if i + 1 < parts.len() {
                tracing::error!("Fatal error: the truncated file is not the last file");
                return Err(io::Error::other("the truncated file is not the last file"));
            }
            cut_short(world, &config, &names.path(&part.name), good)?;
        }
        let took = world.clock.monotonic_us().saturating_sub(began) as f64 / 1e6;
        let what = if is_base { "base" } else { "incr" };
        tracing::info!("DB loaded from {what} file {}: {took:.3} seconds", part.name);
    }
    *world.persist.aof.manifest.lock() = manifest;
    Ok(true)
}

/// A file from before there were manifests becomes the base.
fn adopt_old_file(world: World<'_>, config: &Config, names: &Names) -> io::Result<Option<Manifest>> {
    let disk = &*world.persist.disk;
    let old = config.dir.join(&names.prefix);
    if !disk.exists(&old) {
        return Ok(None);
    }
    disk.make_dir(&names.dir)?;
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
    let orphan = list.iter().find(|n| n.starts_with(&prefix) && (n.ends_with(".aof") || n.ends_with(".rdb")));
    let Some(orphan) = orphan else { return Ok(()) };
    tracing::error!(
        "{} holds {orphan} but no manifest. Restore {}, or move the files away to start without them.",
        names.dir.display(),
        names.manifest().display()
    );
    Err(io::Error::other("append-only files without a manifest"))
}

/// Cuts the last file where its last whole command ends, if the settings allow it.
fn cut_short(world: World<'_>, config: &Config, path: &Path, good: u64) -> io::Result<()> {
    let name = path.display();
    if !config.aof_load_truncated {
        tracing::error!(
            "Unexpected end of file reading the append only file {name}. You can: 1) Make a backup of your AOF file, then use ./redis-check-aof --fix <filename.manifest>. 2) Alternatively you can set the 'aof-load-truncated' configuration option to yes and restart the server."
        );
        return Err(io::Error::other("unexpected end of the append only file"));
    }
    tracing::warn!("!!! Warning: short read while loading the AOF file {name}!!!");
    tracing::warn!("!!! Truncating the AOF {name} at offset {good} !!!");
    world.persist.disk.truncate(path, good)?;
    tracing::warn!("AOF {name} loaded anyway because aof-load-truncated is enabled");
    Ok(())
}

/// Why reading commands stops.
enum Stop {
    Short,
    Malformed,
    /// Nothing but zeros follows: space that was taken and never written.
    Zeros,
    Failed(io::Error),
}

impl From<Bad> for Stop {
    fn from(bad: Bad) -> Stop {
        match bad {
            Bad::Io(error) => Stop::Failed(error),
            Bad::Short => Stop::Short,
            _ => Stop::Malformed,
        }
    }
}

/// Reads one file: a snapshot, commands, or one behind the other.
fn file(world: World<'_>, path: &Path, replay: &mut dyn Replay) -> io::Result<End> {
    let disk = &*world.persist.disk;
    replay.begin_file();
    let mut input = disk.read(path)?;
    let mut source = Source::new(&mut input);
    if source.at_end().map_err(to_io)? {
        return Ok(End::Whole);
    }
    if source.leftover().starts_with(b"REDIS") {
        tracing::info!("Reading RDB base file on AOF loading...");
        let rules = load::Rules { keep_expired: true, merge: false };
        replay.with_locks(&mut |locks| load::stream(world, locks, &mut source, rules)).map_err(|bad| {
            tracing::error!("Error reading the RDB base file {}, AOF loading aborted: {bad}", path.display());
            to_io(bad)
        })?;
    }
    let mut good = source.offset();
    let stop = commands(&mut source, &mut good, path, replay);
    match stop {
        Ok(()) => Ok(End::Whole),
        Err(Stop::Short | Stop::Zeros) => Ok(End::Short(good)),
        Err(Stop::Failed(error)) => {
            tracing::error!("Unrecoverable error reading the append only file {}: {error}", path.display());
            Err(error)
        }
        Err(Stop::Malformed) => {
            tracing::error!(
                "Bad file format reading the append only file {}: make a backup of your AOF file, then use ./redis-check-aof --fix <filename.manifest> (the damage is behind offset {good})",
                path.display()
            );
            Err(io::Error::other("bad format of the append only file"))
        }
    }
}

fn to_io(bad: Bad) -> io::Error {
    match bad {
        Bad::Io(error) => error,
        other => io::Error::other(other.to_string()),
    }
}

/// Runs commands up to the end. `good` is where the last one ended, or the transaction that it belongs to began.
fn commands(
    source: &mut Source<'_>,
    good: &mut u64,
    path: &Path,
    replay: &mut dyn Replay,
) -> Result<(), Stop> {
    let mut transaction: Option<Vec<Vec<Vec<u8>>>> = None;
    let mut run = |argv: &[Vec<u8>]| {
        let argv: Vec<&[u8]> = argv.iter().map(Vec::as_slice).collect();
        replay.run(&argv).map_err(|unknown| {
            tracing::error!("Unknown command '{unknown}' reading the append only file {}", path.display());
            Stop::Failed(io::Error::other("unknown command in the append only file"))
        })
    };
    while !source.at_end()? {
        let Some(argv) = command(source)? else { continue };
        let is = |name: &[u8]| argv.first().is_some_and(|n| n.eq_ignore_ascii_case(name));
        match &mut transaction {
            None if is(b"multi") => {
                transaction = Some(Vec::new());
                continue;
            }
            None => run(&argv)?,
            Some(queue) if is(b"exec") => {
                // Whole, or not at all.
                queue.iter().try_for_each(|argv| run(argv))?;
                transaction = None;
            }
            Some(queue) => {
                queue.push(argv);
                continue;
            }
        }
        *good = source.offset();
    }
    if transaction.is_some() {
        tracing::warn!("Revert incomplete MULTI/EXEC transaction in AOF file {}", path.display());
        return Err(Stop::Short);
    }
    Ok(())
}

/// Reads one command; `None` for an annotation.
fn command(source: &mut Source<'_>) -> Result<Option<Vec<Vec<u8>>>, Stop> {
    let first = source.byte()?;
    match first {
        b'#' => {
            line(source)?;
            return Ok(None);
        }
        b'*' => {}
        0 => return zeros(source),
        _ => return Err(Stop::Malformed),
    }
    let n = number(source)?;
    if n < 1 {
        return Err(Stop::Malformed);
    }
    let mut argv = Vec::new();
    for _ in 0..n {
        if source.byte()? != b'$' {
            return Err(Stop::Malformed);
        }
        let len = number(source)?;
        argv.push(source.bytes(u64::try_from(len).map_err(|_| Stop::Malformed)?)?);
        if source.array::<2>()? != *b"\r\n" {
            return Err(Stop::Malformed);
        }
    }
    Ok(Some(argv))
}

/// Decides what a zero in the place of a command means.
fn zeros(source: &mut Source<'_>) -> Result<Option<Vec<Vec<u8>>>, Stop> {
    while !source.at_end()? {
        if source.byte()? != 0 {
            return Err(Stop::Malformed);
        }
    }
    Err(Stop::Zeros)
}

fn line(source: &mut Source<'_>) -> Result<Vec<u8>, Stop> {
    let mut line = Vec::new();
    loop {
        match source.byte()? {
            b'\n' => return Ok(line),
            byte if line.len() < LINE_MAX => line.push(byte),
            _ => return Err(Stop::Malformed),
        }
    }
}

fn number(source: &mut Source<'_>) -> Result<i64, Stop> {
    let line = line(source)?;
    crate::util::number::parse_i64(line.trim_ascii()).ok_or(Stop::Malformed)
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
    disk.make_dir(&names.dir)?;
    let mut manifest = aof.manifest.lock();
    let mut next = manifest.clone();
    if next.base.is_none() && next.increments.is_empty() {
        let part = names.base(next.next(0));
        tracing::info!("Creating AOF base file {} on server start", part.name);
        let mut locks = world.keyspace.locked_all();
        let temporary = names.temporary_base();
        let options = save::options(&config, world.now_s());
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
    clean(world, &names);
    if next != *manifest {
        next.save(disk, &names)?;
    }
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
    aof.writer.lock().restart(Some(file), size);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::entry::encode_command;

    #[derive(Default)]
    struct Seen(Vec<String>);

    impl Replay for Seen {
        fn with_locks(&mut self, _: &mut dyn FnMut(&mut Locked<'_>) -> Result<(), Bad>) -> Result<(), Bad> {
            Err(Bad::Short)
        }

        fn begin_file(&mut self) {}

        fn run(&mut self, argv: &[&[u8]]) -> Result<(), String> {
            self.0.push(String::from_utf8_lossy(&argv.concat()).into_owned());
            Ok(())
        }
    }

    fn read(bytes: &[u8]) -> (Vec<String>, u64, Result<(), Stop>) {
        let (mut input, mut good, mut seen) = (bytes, 0, Seen::default());
        let stop = commands(&mut Source::new(&mut input), &mut good, Path::new("x"), &mut seen);
        (seen.0, good, stop)
    }

    #[test]
    fn a_file_cut_anywhere_is_good_up_to_a_whole_unit() {
        let units: [&[&[&str]]; 4] = [
            &[&["SELECT", "0"]],
            &[&["SET", "k", "a\r\nb"]],
            &[&["MULTI"], &["INCR", "a"], &["INCR", "b"], &["EXEC"]],
            &[&["DEL", "k"]],
        ];
        // Where each unit ends, and how many commands have run by then.
        let (mut bytes, mut ends) = (Vec::new(), vec![(0, 0)]);
        let mut ran = 0;
        for unit in units {
            unit.iter().for_each(|argv| bytes.extend(encode_command(argv)));
            ran += unit.iter().filter(|argv| argv.len() > 1).count();
            ends.push((bytes.len(), ran));
        }
        for cut in 0..=bytes.len() {
            let (seen, good, stop) = read(&bytes[..cut]);
            let (end, ran) = ends.iter().rev().find(|(end, _)| *end <= cut).unwrap();
            assert_eq!((good, seen.len()), (*end as u64, *ran), "cut at {cut}");
            assert!(if *end == cut { stop.is_ok() } else { matches!(stop, Err(Stop::Short)) });
            // Space that was taken and never written looks like zeros.
            let zeros = [&bytes[..*end], &[0; 100]].concat();
            assert!(matches!(read(&zeros), (_, g, Err(Stop::Zeros)) if g == *end as u64));
        }
    }

    #[test]
    fn damage_is_no_end() {
        let good = encode_command(&["SET", "k", "v"]);
        let with = |tail: &[u8]| [&good, tail].concat();
        for tail in [
            &b"!!!"[..],
            b"\0\0x",
            b"*0\r\n",
            b"*1\r\n#3\r\n",
            b"*1\r\n$-1\r\n",
            b"*1\r\n$1\r\nabc",
            b"*x\r\n",
        ] {
            let (seen, at, stop) = read(&with(tail));
            assert!(matches!(stop, Err(Stop::Malformed)), "{tail:?}");
            assert_eq!((seen.len(), at), (1, good.len() as u64));
        }
        let annotated = [b"#TS:1234\r\n", &good[..]].concat();
        assert!(read(&annotated).2.is_ok());
        assert!(matches!(read(b"*1\r\n$99999999999\r\nabc").2, Err(Stop::Short)));
    }
}
