//! Are the files good? What `redis-check-rdb` and `redis-check-aof` do, under those names or as options of the server.
//!
//! Invariants: a file is changed only when that was asked for (`--fix`, `--truncate-to-timestamp`), and only cut; what
//! is printed begins as Redis's tools print it, for those who look for it.

use std::io::{self, BufRead, Read, Write};
use std::path::{Path, PathBuf};

use crate::persist::aof::manifest::Manifest;
use crate::persist::aof::scan::{self, End, Found};
use crate::persist::disk::Disk;
use crate::persist::rdb::decode::Making;
use crate::persist::rdb::file::{self, Receiver, Record};
use crate::persist::rdb::source::Source;
use crate::persist::rdb::{self, Bad};
use crate::util::hash::Seed;
use crate::value::Limits;

/// What to do with an append-only file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AofCheck {
    /// The manifest, or a file.
    pub path: PathBuf,
    /// Cut what is damaged off.
    pub fix: bool,
    /// Cut everything off that was written after this time, in unix seconds.
    pub until: Option<u64>,
}

impl AofCheck {
    /// Reads the arguments; `None` when they make no sense.
    pub fn parse<S: AsRef<str>>(args: &[S]) -> Option<AofCheck> {
        let mut check = AofCheck::default();
        let mut args = args.iter().map(AsRef::as_ref);
        let mut path = None;
        while let Some(arg) = args.next() {
            match arg {
                "--fix" => check.fix = true,
                "--truncate-to-timestamp" => check.until = Some(args.next()?.parse().ok()?),
                other if other.starts_with("--") || path.is_some() => return None,
                other => path = Some(PathBuf::from(other)),
            }
        }
        check.path = path?;
        Some(check)
    }
}

/// Why a check ends badly; it has been printed.
#[derive(Debug)]
pub struct Failed;

impl From<io::Error> for Failed {
    fn from(_: io::Error) -> Failed {
        Failed
    }
}

/// Where a check reads, asks and prints.
pub struct Console<'c> {
    /// The files.
    pub disk: &'c dyn Disk,
    /// Answers.
    pub input: &'c mut dyn BufRead,
    /// Questions and findings.
    pub out: &'c mut dyn Write,
}

/// Counts what it is given.
#[derive(Default)]
struct Counter {
    keys: u64,
    expires: u64,
    expired: u64,
    now_ms: u64,
    last: Vec<u8>,
}

impl Receiver for Counter {
    fn aux(&mut self, _: &[u8], _: &[u8]) {}

    fn function(&mut self, _: Vec<u8>) -> Result<(), Bad> {
        Ok(())
    }

    fn record(&mut self, record: Record) -> Result<(), Bad> {
        self.keys += 1;
        self.expires += u64::from(record.expire.is_some());
        self.expired += u64::from(record.expire.is_some_and(|at| at < self.now_ms));
        self.last = record.key;
        Ok(())
    }

    fn skipped_empty(&mut self, _: &[u8]) {}
}

impl Console<'_> {
    /// Checks a snapshot. `now_ms`: unix milliseconds.
    ///
    /// # Errors
    /// [`Failed`] when it is not whole.
    pub fn rdb(&mut self, path: &Path, now_ms: u64) -> Result<(), Failed> {
        writeln!(self.out, "[offset 0] Checking RDB file {}", path.display())?;
        let mut input = self.open(path)?;
        let mut source = Source::new(&mut input);
        self.snapshot(&mut source, now_ms)?;
        writeln!(self.out, "[offset {}] \\o/ RDB looks OK! \\o/", source.offset())?;
        Ok(())
    }

    fn snapshot(&mut self, source: &mut Source<'_>, now_ms: u64) -> Result<(), Failed> {
        let mut counter = Counter { now_ms, ..Counter::default() };
        let making = Making { limits: Limits::default(), seed: Seed::new([0, 0]) };
        let result = file::read(source, &making, true, &mut counter);
        let at = source.offset();
        if let Err(bad) = &result {
            writeln!(self.out, "--- RDB ERROR DETECTED ---")?;
            writeln!(self.out, "[offset {at}] {bad}")?;
            if !counter.last.is_empty() {
                let last = crate::error::clip(&counter.last, 128);
                writeln!(self.out, "[additional info] The last key that could be read is '{last}'")?;
            }
        } else {
            writeln!(self.out, "[offset {at}] Checksum OK")?;
        }
        writeln!(self.out, "[info] {} keys read", counter.keys)?;
        writeln!(self.out, "[info] {} expires", counter.expires)?;
        writeln!(self.out, "[info] {} already expired", counter.expired)?;
        result.map_err(|_| Failed)
    }

    fn open(&mut self, path: &Path) -> Result<Box<dyn Read + Send>, Failed> {
        self.disk.read(path).map_err(|error| {
            let _ = writeln!(self.out, "Cannot open file {}: {error}, aborting...", path.display());
            Failed
        })
    }

    /// Checks an append-only file, and repairs it if that is asked for.
    ///
    /// # Errors
    /// [`Failed`] when it is not good, or cannot be made good.
    pub fn aof(&mut self, check: &AofCheck, now_ms: u64) -> Result<(), Failed> {
        let name = check.path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let mut text = Vec::new();
        self.open(&check.path)?.take(64 << 20).read_to_end(&mut text)?;
        // A manifest's first line names a file; a command or a snapshot begins otherwise.
        let is_manifest = name.ends_with(".manifest") || text.starts_with(b"file ");
        if !is_manifest {
            writeln!(self.out, "Start checking Old-Style AOF")?;
            return self.part(check, &check.path.clone(), "AOF", true, now_ms);
        }
        writeln!(self.out, "Start checking Multi Part AOF")?;
        let manifest = Manifest::parse(&text).map_err(|misfit| {
            let _ = writeln!(self.out, "{} (line {}): {}", misfit.why, misfit.line, misfit.text);
            Failed
        })?;
        let dir = check.path.parent().unwrap_or(Path::new("")).to_owned();
        let parts = manifest.parts().count();
        if let Some(base) = &manifest.base {
            let path = dir.join(&base.name);
            let rdb = self.begins_as_rdb(&path)?;
            let kind = if rdb { "RDB" } else { "RESP" };
            writeln!(self.out, "Start to check BASE AOF ({kind} format).")?;
            self.part(check, &path, "BASE AOF", parts == 1, now_ms)?;
        }
        if !manifest.increments.is_empty() {
            writeln!(self.out, "Start to check INCR files.")?;
        }
        for (i, part) in manifest.increments.iter().enumerate() {
            let last = i + 1 == manifest.increments.len();
            self.part(check, &dir.join(&part.name), "INCR AOF", last, now_ms)?;
        }
        writeln!(self.out, "All AOF files and manifest are valid")?;
        Ok(())
    }

    fn begins_as_rdb(&mut self, path: &Path) -> Result<bool, Failed> {
        let mut head = Vec::new();
        self.open(path)?.take(6).read_to_end(&mut head)?;
        Ok(rdb::is_snapshot(&head))
    }

    /// The number of the line that an offset of a file is in, counted from 1.
    fn line_at(&mut self, path: &Path, offset: u64) -> Result<usize, Failed> {
        let mut before = io::BufReader::new(self.open(path)?.take(offset));
        let mut line = 1;
        loop {
            let bytes = before.fill_buf()?;
            let read = bytes.len();
            if read == 0 {
                return Ok(line);
            }
            line += memchr::memchr_iter(b'\n', bytes).count();
            before.consume(read);
        }
    }

    /// Checks one file, `what` says which of them; only the last one may be cut.
    fn part(
        &mut self,
        check: &AofCheck,
        path: &Path,
        what: &str,
        last: bool,
        now_ms: u64,
    ) -> Result<(), Failed> {
        let mut input = self.open(path)?;
        let mut source = Source::new(&mut input);
        if self.begins_as_rdb(path)? {
            self.snapshot(&mut source, now_ms)?;
            writeln!(self.out, "RDB preamble is OK, proceeding with AOF tail...")?;
        }
        let begin = source.offset();
        let found = scan::commands(&mut source, check.until)?;
        let size = self.disk.len(path)?;
        let name = path.display();
        if check.until.is_some()
            && let Some(at) = found.later
        {
            return self.cut_to_time(path, at, begin, last);
        }
        let (good, diff) = (found.good, size - found.good);
        if diff == 0 {
            writeln!(self.out, "AOF analyzed: filename={name}, size={size}, ok_up_to={good}, diff=0")?;
            writeln!(self.out, "{what} {name} is valid")?;
            return Ok(());
        }
        let line = self.line_at(path, good)?;
        writeln!(
            self.out,
            "AOF analyzed: filename={name}, size={size}, ok_up_to={good}, ok_up_to_line={line}, diff={diff}"
        )?;
        self.explain(path, &found)?;
        if !check.fix {
            writeln!(self.out, "AOF {name} is not valid. Use the --fix option to try fixing it.")?;
            return Err(Failed);
        }
        if !last {
            writeln!(self.out, "Failed to truncate AOF {name} because it is not the last file")?;
            return Err(Failed);
        }
        writeln!(
            self.out,
            "This will shrink the AOF {name} from {size} bytes, with {diff} bytes, to {good} bytes"
        )?;
        write!(self.out, "Continue? [y/N]: ")?;
        self.out.flush()?;
        let mut answer = String::new();
        self.input.read_line(&mut answer)?;
        if !answer.trim_start().starts_with(['y', 'Y']) {
            writeln!(self.out, "Aborting...")?;
            return Err(Failed);
        }
        self.disk.truncate(path, good)?;
        writeln!(self.out, "Successfully truncated AOF {name}")?;
        Ok(())
    }

    /// Says what is wrong, and what would be lost.
    fn explain(&mut self, path: &Path, found: &Found) -> Result<(), Failed> {
        let what = match found.end {
            End::Whole => return Ok(()),
            End::Short if found.open => "reached the end of the file before EXEC",
            End::Short => "the last command is cut short",
            End::Zeros => "nothing but zeros follows",
            End::Malformed => "what follows is no command",
            End::WrongSum => "a checksum does not fit the commands before it",
        };
        writeln!(self.out, "{:#18x}: {what}", found.good)?;
        if let Some(at) = scan::goes_on(found, &mut self.open(path)?)? {
            writeln!(
                self.out,
                "The damage is in the middle: whole commands follow at offset {at}, and fixing loses them."
            )?;
        }
        Ok(())
    }

    fn cut_to_time(&mut self, path: &Path, at: u64, begin: u64, last: bool) -> Result<(), Failed> {
        let name = path.display();
        if at <= begin {
            writeln!(self.out, "AOF {name} has nothing before the requested timestamp, aborting...")?;
            return Err(Failed);
        }
        if !last {
            writeln!(self.out, "Failed to truncate AOF {name} to timestamp because it is not the last file")?;
            return Err(Failed);
        }
        self.disk.truncate(path, at)?;
        writeln!(self.out, "Successfully truncated AOF {name} to offset {at}")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::entry::encode_command;
    use crate::persist::disk::RealDisk;

    fn run(args: &[&str], answer: &str) -> (bool, String) {
        let (mut input, mut out) = (answer.as_bytes(), Vec::new());
        let mut console = Console { disk: &RealDisk, input: &mut input, out: &mut out };
        let ok = console.aof(&AofCheck::parse(args).unwrap(), 0).is_ok();
        (ok, String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_torn_file_is_shown_and_cut_only_when_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.aof");
        let name = path.to_str().unwrap();
        let good = encode_command(&["SET", "k", "v"]);
        std::fs::write(&path, [&good[..], b"*2\r\n$3\r\n"].concat()).unwrap();
        let (ok, text) = run(&[name], "");
        assert!(!ok && text.contains("is not valid") && text.contains("Old-Style"), "{text}");
        assert!(text.contains("ok_up_to=27, ok_up_to_line=8, diff=8"), "{text}");
        assert!(!run(&["--fix", name], "n\n").0);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), good.len() as u64 + 8);
        assert!(run(&["--fix", name], "y\n").1.contains("Successfully truncated AOF"));
        assert_eq!(std::fs::read(&path).unwrap(), good);
        assert!(run(&[name], "").1.contains("is valid"));
    }

    #[test]
    fn a_file_is_cut_back_to_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.aof");
        let name = path.to_str().unwrap();
        let set = encode_command(&["SET", "k", "v"]);
        let first = [b"#TS:10\r\n", &set[..]].concat();
        std::fs::write(&path, [&first[..], b"#TS:20\r\n", &set].concat()).unwrap();
        let (ok, text) = run(&["--truncate-to-timestamp", "9", name], "");
        assert!(!ok && text.contains("aborting"));
        assert!(run(&["--truncate-to-timestamp", "10", name], "").0);
        assert_eq!(std::fs::read(&path).unwrap(), first);
    }

    #[test]
    fn a_manifest_leads_to_all_files() {
        let dir = tempfile::tempdir().unwrap();
        let set = encode_command(&["SET", "k", "v"]);
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("a.base.aof"), &set).unwrap();
        std::fs::write(at("a.1.incr.aof"), &set[..9]).unwrap();
        std::fs::write(at("a.2.incr.aof"), &set).unwrap();
        let text =
            "file a.base.aof seq 1 type b\nfile a.1.incr.aof seq 1 type i\nfile a.2.incr.aof seq 2 type i\n";
        std::fs::write(at("a.manifest"), text).unwrap();
        let name = at("a.manifest");
        let (ok, out) = run(&["--fix", name.to_str().unwrap()], "y\n");
        assert!(!ok && out.contains("not the last file"), "{out}");
        std::fs::write(at("a.1.incr.aof"), &set).unwrap();
        let (ok, out) = run(&[name.to_str().unwrap()], "");
        assert!(ok && out.contains("All AOF files and manifest are valid"), "{out}");
        for part in ["(RESP format)", "BASE AOF", "INCR AOF"] {
            assert!(out.contains(part), "{out}");
        }
    }

    #[test]
    fn arguments_that_make_no_sense_are_refused() {
        for args in [&[][..], &["a", "b"], &["--truncate-to-timestamp", "x", "a"], &["--what", "a"]] {
            assert_eq!(AofCheck::parse(args), None);
        }
    }
}
