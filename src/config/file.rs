//! How is redis.conf read?
//!
//! Lines of words (see [`quote`](crate::util::quote)), comments after `#`, `include` with wildcards. The
//! sources are read one after another, the later wins: the file, standard input, the options of the command
//! line.
//!
//! Invariants: reading changes nothing but the result (and creates the log file, to see that it can be
//! written). Files, depth, bytes and line lengths are bounded, so that no input can exhaust the stack or the
//! memory.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use crate::config::cmdline::CommandLine;
use crate::config::kinds::How;
use crate::config::values::{Dir, reason};
use crate::config::{Config, REDIS_VERSION, find};
use crate::util::glob;
use crate::util::quote::split;

/// The longest line; `user` lines with many rules are the longest that anyone needs.
const MAX_LINE: usize = 1 << 20;
/// The most bytes of all sources together.
const MAX_BYTES: u64 = 64 << 20;
/// The most files of all includes together, and of one wildcard.
const MAX_FILES: usize = 1024;
/// How deep files may include files.
const MAX_DEPTH: usize = 16;

/// A line of configuration, and where it stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directive {
    /// The file; none for standard input and the command line.
    pub file: Option<PathBuf>,
    /// Its number, from 1.
    pub line: usize,
    /// The line without the blanks around it.
    pub text: Vec<u8>,
    /// Its words; the first is the name, in lower case.
    pub words: Vec<Vec<u8>>,
}

impl Directive {
    /// The error of a line that turns out to be wrong, also later: an unknown command to rename, a bad user
    /// rule.
    #[must_use]
    pub fn fatal(&self, reason: impl Into<String>) -> Fatal {
        Fatal::Line { directive: Box::new(self.clone()), reason: reason.into() }
    }
}

/// All that was configured.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// The absolute path of the file, which CONFIG REWRITE rewrites.
    pub file: Option<PathBuf>,
    /// The `user` lines: name and rules follow the first word.
    pub users: Vec<Directive>,
    /// The `rename-command` lines: the present and the new name follow the first word.
    pub renames: Vec<Directive>,
    /// What the operator should read in the log.
    pub warnings: Vec<String>,
}

/// Why the server cannot start. Printed to the standard error before exit code 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fatal {
    /// A file cannot be read.
    Open {
        /// Which one.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A line is wrong.
    Line {
        /// The line.
        directive: Box<Directive>,
        /// What is wrong.
        reason: String,
    },
    /// The settings do not go together.
    Whole(String),
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = match self {
            Self::Open { path, reason } => {
                return write!(f, "Fatal error, can't open config file '{}': {reason}", path.display());
            }
            Self::Line { reason, .. } | Self::Whole(reason) => reason,
        };
        write!(f, "\n*** FATAL CONFIG FILE ERROR (Redis {REDIS_VERSION}) ***")?;
        if let Self::Line { directive, .. } = self {
            if let Some(file) = &directive.file {
                write!(f, "\nIn the file '{}'", file.display())?;
            }
            write!(f, "\nReading the configuration file, at line {}", directive.line)?;
            write!(f, "\n>>> '{}'", shown(&directive.text))?;
        }
        write!(f, "\n{reason}")
    }
}

impl std::error::Error for Fatal {}

/// The beginning of a line as a terminal can show it.
fn shown(line: &[u8]) -> String {
    const MOST: usize = 500;
    let mut text: String = String::from_utf8_lossy(&line[..line.len().min(MOST)])
        .chars()
        .map(|c| if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c })
        .collect();
    if line.len() > MOST {
        text.push_str("...");
    }
    text
}

/// Reads everything that the command line names. Relative paths start from `cwd`, and from `dir` once that is
/// set.
///
/// # Errors
/// What is wrong and where; the process should print it and exit with code 1.
pub fn load(command: &CommandLine, stdin: &mut dyn Read, cwd: &Path) -> Result<Loaded, Fatal> {
    let mut reader = Reader::new(cwd);
    let mut lines_before = 0;
    let mut sources = Vec::new();
    if let Some(file) = &command.file {
        let path = std::path::absolute(cwd.join(file)).unwrap_or_else(|_| cwd.join(file));
        let source = reader.open(&path, Some(file))?;
        lines_before += source.line_count();
        sources.push(source);
        reader.loaded.file = Some(path);
    }
    if command.stdin {
        let mut text = Vec::new();
        let read = stdin.take(MAX_BYTES).read_to_end(&mut text);
        read.map_err(|error| Fatal::Whole(format!("Can't read the standard input: {}", reason(&error))))?;
        let source = Source { file: None, text, at: 0, line: lines_before };
        lines_before += source.line_count();
        sources.push(source);
    }
    // Redis puts a line end between the file and the options and counts on.
    sources.push(Source { file: None, text: command.options.clone(), at: 0, line: lines_before + 1 });
    for source in sources {
        reader.run(source)?;
    }
    reader.finish()
}

/// A text that is being read.
struct Source {
    file: Option<PathBuf>,
    text: Vec<u8>,
    /// Where the next line begins.
    at: usize,
    /// The number of the line before it.
    line: usize,
}

impl Source {
    fn line_count(&self) -> usize {
        memchr::memchr_iter(b'\n', &self.text).count()
    }

    /// The next line that says something.
    fn next(&mut self) -> Option<Directive> {
        while self.at < self.text.len() {
            let rest = &self.text[self.at..];
            let length = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let text = rest[..length].trim_ascii();
            self.at += length + 1;
            self.line += 1;
            if !text.is_empty() && !text.starts_with(b"#") {
                let (file, text) = (self.file.clone(), text.to_vec());
                return Some(Directive { file, line: self.line, text, words: Vec::new() });
            }
        }
        None
    }
}

/// The state of reading.
struct Reader {
    loaded: Loaded,
    /// The settings that had a line already, so that a second one can add to it.
    seen: Vec<&'static str>,
    bytes_left: u64,
    files_left: usize,
}

impl Reader {
    fn new(cwd: &Path) -> Self {
        let dir = fs::canonicalize(cwd).unwrap_or_else(|_| cwd.to_path_buf());
        let config = Config { dir: Dir(dir), ..Config::default() };
        Self {
            loaded: Loaded {
                config,
                file: None,
                users: Vec::new(),
                renames: Vec::new(),
                warnings: Vec::new(),
            },
            seen: Vec::new(),
            bytes_left: MAX_BYTES,
            files_left: MAX_FILES,
        }
    }

    fn open(&mut self, path: &Path, named: Option<&PathBuf>) -> Result<Source, Fatal> {
        let fail = |reason: String| Fatal::Open { path: named.map_or(path, PathBuf::as_path).into(), reason };
        self.files_left = self
            .files_left
            .checked_sub(1)
            .ok_or_else(|| fail(format!("more than {MAX_FILES} files are included")))?;
        let mut text = Vec::new();
        File::open(path)
            .and_then(|file| file.take(self.bytes_left + 1).read_to_end(&mut text))
            .map_err(|error| fail(reason(&error)))?;
        self.bytes_left =
            u64::try_from(text.len())
                .ok()
                .and_then(|read| self.bytes_left.checked_sub(read))
                .ok_or_else(|| fail(format!("there is more than {MAX_BYTES} bytes of configuration")))?;
        Ok(Source { file: Some(path.into()), text, at: 0, line: 0 })
    }

    /// Reads a source and all that it includes. The sources wait on a stack of our own, with the present one
    /// on top.
    fn run(&mut self, source: Source) -> Result<(), Fatal> {
        // Each level holds the files of one include, the next one last.
        let mut levels = vec![vec![source]];
        while let Some(level) = levels.last_mut() {
            let Some(source) = level.last_mut() else {
                levels.pop();
                continue;
            };
            let Some(mut directive) = source.next() else {
                level.pop();
                continue;
            };
            if directive.text.len() > MAX_LINE {
                return Err(directive.fatal(format!("The line is longer than {MAX_LINE} bytes")));
            }
            if directive.text.contains(&0) {
                return Err(directive.fatal("The line has a zero byte: this is not a text file"));
            }
            let words = split(&directive.text);
            directive.words =
                words.ok_or_else(|| directive.fatal("Unbalanced quotes in configuration line"))?;
            if let Some(name) = directive.words.first_mut() {
                name.make_ascii_lowercase();
                if let Some(included) = self.directive(directive)? {
                    if levels.len() >= MAX_DEPTH {
                        return Err(included
                            .directive
                            .fatal(format!("Files include each other more than {MAX_DEPTH} deep")));
                    }
                    levels.push(included.sources);
                }
            }
        }
        Ok(())
    }

    /// Does what a line says; an `include` is handed back.
    fn directive(&mut self, directive: Directive) -> Result<Option<Included>, Fatal> {
        let words: Vec<&[u8]> = directive.words.iter().map(Vec::as_slice).collect();
        match words.as_slice() {
            [name, values @ ..] if find(name).is_some() => {
                self.setting(name, values).map_err(|reason| directive.fatal(reason))?;
            }
            // Settings of the past that older files still have.
            [b"list-max-ziplist-entries" | b"list-max-ziplist-value", _]
            | [b"lua-replicate-commands" | b"io-threads-do-reads", _] => {}
            [b"include", path] => return self.include(path, &directive).map(Some),
            [b"rename-command", _, _] => self.loaded.renames.push(directive),
            [b"user", _, ..] => self.loaded.users.push(directive),
            [b"loadmodule", _, ..] => {
                return Err(directive.fatal(
                    "Modules can't be loaded: this server is not built in C and has no module interface. \
                     Remove the line to start without the module",
                ));
            }
            [b"sentinel", ..] => {
                return Err(directive.fatal("sentinel directive while not in sentinel mode"));
            }
            _ => return Err(directive.fatal("Bad directive or wrong number of arguments")),
        }
        Ok(None)
    }

    fn setting(&mut self, name: &[u8], values: &[&[u8]]) -> Result<(), String> {
        let Some(setting) = find(name) else { return Ok(()) };
        let how = if self.seen.contains(&setting.name) { How::Append } else { How::Replace };
        self.seen.push(setting.name);
        let config = &mut self.loaded.config;
        match values {
            // Several words may come as one: --save "900 1".
            [value] if setting.several && !value.is_empty() => {
                let words = split(value).ok_or("Unbalanced quotes in configuration line")?;
                let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
                (setting.parse)(config, &words, how)
            }
            [_] => (setting.parse)(config, values, how),
            _ if setting.several => (setting.parse)(config, values, how),
            _ => Err("wrong number of arguments".into()),
        }
    }

    fn include(&mut self, path: &[u8], directive: &Directive) -> Result<Included, Fatal> {
        let path = std::str::from_utf8(path).map_err(|_| directive.fatal("The path is not UTF-8 text"))?;
        let full = self.loaded.config.dir.join(path);
        let paths = if path.contains(['*', '?', '[']) {
            matching(&full).ok_or_else(|| directive.fatal(format!("More than {MAX_FILES} files match")))?
        } else {
            vec![full]
        };
        let mut sources = paths.iter().map(|path| self.open(path, None)).collect::<Result<Vec<_>, _>>()?;
        sources.reverse();
        Ok(Included { sources, directive: directive.clone() })
    }

    fn finish(mut self) -> Result<Loaded, Fatal> {
        let config = &mut self.loaded.config;
        if !config.logfile.is_empty() {
            let opened = OpenOptions::new().append(true).create(true).open(config.dir.join(&config.logfile));
            opened.map_err(|error| Fatal::Whole(format!("Can't open the log file: {}", reason(&error))))?;
        }
        if config.cluster_enabled && config.replicaof.0.is_some() {
            return Err(Fatal::Whole("replicaof directive not allowed in cluster mode".into()));
        }
        if config.cluster_enabled && config.databases > 1 {
            self.loaded.warnings.push(format!(
                "WARNING: Changing databases number from {} to 1 since we are in cluster mode",
                config.databases
            ));
            config.databases = 1;
        }
        config.settle();
        Ok(self.loaded)
    }
}

/// The files of an `include`, the first one last, and the line.
struct Included {
    sources: Vec<Source>,
    directive: Directive,
}

/// The paths that match a pattern, in order; `None` when there are too many. A name that begins with a dot
/// must be asked for with a dot, and a directory that cannot be read has no matches.
fn matching(pattern: &Path) -> Option<Vec<PathBuf>> {
    let mut found = vec![PathBuf::new()];
    for component in pattern.components() {
        let Component::Normal(name) = component else {
            found.iter_mut().for_each(|path| path.push(component));
            continue;
        };
        let name = name.as_encoded_bytes();
        if !name.iter().any(|byte| matches!(byte, b'*' | b'?' | b'[')) {
            found.iter_mut().for_each(|path| path.push(component));
            found.retain(|path| path.symlink_metadata().is_ok());
            continue;
        }
        let mut next = Vec::new();
        for directory in &found {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                let entry = entry.file_name();
                let bytes = entry.as_encoded_bytes();
                if bytes.starts_with(b".") == name.starts_with(b".") && glob::matches(name, bytes, false) {
                    next.push(directory.join(&entry));
                }
                if next.len() > MAX_FILES {
                    return None;
                }
            }
        }
        found = next;
    }
    found.sort();
    Some(found)
}
