//! Which files make up the append-only file? The manifest says it: one base, then increments in order, and what is
//! left over from before.
//!
//! ```text
//! file appendonly.aof.2.base.rdb seq 2 type b
//! file appendonly.aof.3.incr.aof seq 3 type i
//! file appendonly.aof.1.base.rdb seq 1 type h
//! ```
//!
//! Invariants: it changes as a whole, by renaming a finished temporary file; a file is in the manifest before anything
//! that must not be lost is in the file.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::persist::disk::Disk;
use crate::util::quote;

/// Longest line.
const LINE_MAX: usize = 1024;
/// Longest manifest that is read.
const MANIFEST_MAX: u64 = 64 << 20;

/// A file of the append-only file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its name within the directory.
    pub name: String,
    /// Its number among those of its type.
    pub seq: u64,
}

/// The manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The data as of some moment.
    pub base: Option<Part>,
    /// The commands since, in order.
    pub increments: Vec<Part>,
    /// What is no longer needed and will be deleted.
    pub history: Vec<Part>,
    /// The greatest numbers that have been given, to bases and to increments.
    pub last: [u64; 2],
}

/// The names of files under the settings.
#[derive(Debug, Clone)]
pub struct Names {
    /// The directory.
    pub dir: PathBuf,
    /// The common beginning of the names.
    pub prefix: String,
}

impl Names {
    /// The names under these settings.
    pub fn new(config: &Config) -> Names {
        Names { dir: config.dir.join(&config.appenddirname), prefix: config.appendfilename.to_string() }
    }

    /// The path of a file of the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The manifest.
    pub fn manifest(&self) -> PathBuf {
        self.path(&format!("{}.manifest", self.prefix))
    }

    /// A base, as a snapshot or as commands.
    pub fn base(&self, seq: u64, rdb: bool) -> Part {
        let kind = if rdb { "rdb" } else { "aof" };
        Part { name: format!("{}.{seq}.base.{kind}", self.prefix), seq }
    }

    /// An increment.
    pub fn increment(&self, seq: u64) -> Part {
        Part { name: format!("{}.{seq}.incr.aof", self.prefix), seq }
    }

    /// A sign that the first files are being made, and that there has been no manifest yet.
    pub fn first(&self) -> PathBuf {
        self.path(&format!("temp-{}.first", self.prefix))
    }

    /// Sets that sign, durably.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn begin_first(&self, disk: &dyn Disk) -> io::Result<()> {
        disk.create(&self.first())?;
        disk.sync_dir(&self.dir)
    }

    /// Where increments go while the first base is being written.
    pub fn temporary_increment(&self) -> PathBuf {
        self.path(&format!("temp-{}.incr", self.prefix))
    }

    /// Where a base is written to.
    pub fn temporary_base(&self) -> PathBuf {
        self.path(&format!("temp-rewriteaof-bg-{}.aof", std::process::id()))
    }
}

/// Why a manifest is not understood: the line's number and text, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// Counted from 1; 0 when it is about no line.
    pub line: usize,
    /// The line.
    pub text: String,
    /// What is wrong.
    pub why: &'static str,
}

impl Manifest {
    /// Reads the text of a manifest.
    ///
    /// # Errors
    /// [`Misfit`] when something is not as it should be.
    pub fn parse(text: &[u8]) -> Result<Manifest, Misfit> {
        let mut manifest = Manifest::default();
        let mut lines = text.split_inclusive(|b| *b == b'\n').enumerate().peekable();
        if lines.peek().is_none() {
            return Err(Misfit { line: 0, text: String::new(), why: "Found an empty AOF manifest" });
        }
        for (i, line) in lines {
            let misfit =
                |why| Misfit { line: i + 1, text: String::from_utf8_lossy(line).trim_end().to_owned(), why };
            if line.starts_with(b"#") {
                continue;
            }
            if line.len() > LINE_MAX || !line.ends_with(b"\n") {
                return Err(misfit("The AOF manifest file contains too long line"));
            }
            manifest.take_line(line).map_err(misfit)?;
        }
        Ok(manifest)
    }

    fn take_line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        const INVALID: &str = "Invalid AOF manifest file format";
        let words = quote::split(line.trim_ascii()).ok_or(INVALID)?;
        if words.len() < 6 || !words.len().is_multiple_of(2) {
            return Err(INVALID);
        }
        let (mut name, mut seq, mut kind) = (None, 0, 0);
        for pair in words.chunks(2) {
            let [key, value] = pair else { return Err(INVALID) };
            match key.to_ascii_lowercase().as_slice() {
                b"file" => {
                    let text = String::from_utf8(value.clone()).map_err(|_| INVALID)?;
                    if text.contains('/') || text == ".." || text == "." {
                        return Err("File can't be a path, just a filename");
                    }
                    name = Some(text);
                }
                b"seq" => {
                    seq = std::str::from_utf8(value).ok().and_then(|n| n.parse().ok()).unwrap_or(0);
                }
                b"type" => kind = value.first().copied().unwrap_or(0),
                // Newer servers say more.
                _ => {}
            }
        }
        let name = name.filter(|n| !n.is_empty() && seq > 0 && kind != 0).ok_or(INVALID)?;
        let part = Part { name, seq };
        match kind {
            b'b' if self.base.is_some() => return Err("Found duplicate base file information"),
            b'b' => {
                self.last[0] = seq;
                self.base = Some(part);
            }
            b'i' if seq <= self.last[1] => return Err("Found a non-monotonic sequence number"),
            b'i' => {
                self.last[1] = seq;
                self.increments.push(part);
            }
            b'h' => self.history.push(part),
            _ => return Err("Unknown AOF file type"),
        }
        Ok(())
    }

    /// The text of the manifest.
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        let mut line = |part: &Part, kind: char| {
            let plain = part.name.bytes().all(|b| b.is_ascii_graphic() && !b"\"'\\".contains(&b));
            text.extend_from_slice(b"file ");
            match plain {
                true => text.extend_from_slice(part.name.as_bytes()),
                false => text.extend_from_slice(&quote::quoted(part.name.as_bytes())),
            }
            text.extend_from_slice(format!(" seq {} type {kind}\n", part.seq).as_bytes());
        };
        self.base.iter().for_each(|part| line(part, 'b'));
        self.history.iter().for_each(|part| line(part, 'h'));
        self.increments.iter().for_each(|part| line(part, 'i'));
        text
    }

    /// Puts it in the place of the one on disk, durably.
    ///
    /// # Errors
    /// Those of the disk; the old one is still there then.
    pub fn save(&self, disk: &dyn Disk, names: &Names) -> io::Result<()> {
        let to = names.manifest();
        let from = names.path(&format!("temp-{}.manifest", names.prefix));
        let file = disk.create(&from)?;
        file.write(&self.text())?;
        file.sync()?;
        // This makes the names of the files that it names durable before its own.
        disk.publish(&from, &to)
    }

    /// Reads the one on disk. `None` when there is none.
    ///
    /// # Errors
    /// Those of the disk, and a [`Misfit`] as one that the log has been told about.
    pub fn load(disk: &dyn Disk, names: &Names) -> io::Result<Option<Manifest>> {
        let path = names.manifest();
        let mut text = Vec::new();
        match disk.read(&path) {
            Ok(input) => input.take(MANIFEST_MAX).read_to_end(&mut text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Manifest::parse(&text).map(Some).map_err(|misfit| {
            tracing::error!("*** FATAL AOF MANIFEST FILE ERROR ***");
            if misfit.line > 0 {
                tracing::error!("Reading the manifest file, at line {}", misfit.line);
                tracing::error!(">>> '{}'", misfit.text);
            }
            tracing::error!("{}", misfit.why);
            io::Error::other(misfit.why)
        })
    }

    /// Deletes what is no longer needed, and forgets it.
    ///
    /// # Errors
    /// Those of saving the manifest; files that cannot be deleted stay.
    pub fn clear_history(&mut self, disk: &dyn Disk, names: &Names) -> io::Result<()> {
        if self.history.is_empty() {
            return Ok(());
        }
        for part in self.history.drain(..) {
            tracing::info!("Removing the history file {} in the background", part.name);
            remove(disk, &names.path(&part.name));
        }
        self.save(disk, names)
    }

    /// The files that hold data, in order.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        self.base.iter().chain(&self.increments)
    }

    /// The numbers of the next base and increment.
    pub fn next(&self, which: usize) -> u64 {
        self.last.get(which).map_or(1, |n| n + 1)
    }
}

fn remove(disk: &dyn Disk, path: &Path) {
    if let Err(error) = disk.remove(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!("Cannot remove {}: {error}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(text: &str) -> &'static str {
        Manifest::parse(text.as_bytes()).unwrap_err().why
    }

    #[test]
    fn what_is_written_is_read_back() {
        let text = "file appendonly.aof.2.base.rdb seq 2 type b\nfile old seq 1 type h\n\
                    file appendonly.aof.3.incr.aof seq 3 type i\nfile \"a b\" seq 4 type i\n";
        let manifest = Manifest::parse(text.as_bytes()).unwrap();
        assert_eq!(manifest.last, [2, 4]);
        assert_eq!(manifest.increments[1].name, "a b");
        assert_eq!(String::from_utf8(manifest.text()).unwrap(), text);
    }

    #[test]
    fn damage_is_named() {
        assert_eq!(why(""), "Found an empty AOF manifest");
        assert_eq!(why("\n"), "Invalid AOF manifest file format");
        assert_eq!(why("file a seq 0 type i\n"), "Invalid AOF manifest file format");
        assert_eq!(why("file a seq 1 type i"), "The AOF manifest file contains too long line");
        assert_eq!(why("file a seq 1 type x\n"), "Unknown AOF file type");
        assert_eq!(why("file ../a seq 1 type i\n"), "File can't be a path, just a filename");
        assert_eq!(
            why("file a seq 2 type i\nfile b seq 1 type i\n"),
            "Found a non-monotonic sequence number"
        );
        assert_eq!(
            why("file a seq 1 type b\nfile b seq 2 type b\n"),
            "Found duplicate base file information"
        );
        let newer = "file a seq 1 type i startoffset 5 endoffset 9\n";
        assert_eq!(Manifest::parse(newer.as_bytes()).unwrap().increments.len(), 1);
    }
}
