//! What does the command line ask for?
//!
//! Every `--name value ...` becomes a line of configuration that is read after the file, exactly as
//! redis-server does it:
//!
//! ```text
//! redis.conf - --port 7000 --save 900 1 --save "" "--maxmemory 1gb"
//! '--------' | '---------' '----------' '-------' '---------------'
//!   a file  stdin   name and value(s)     empty     both in one word
//! ```
//!
//! A word that begins with `--` right after a bare name is that name's value; `--save` alone means `save ""`.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use crate::util::quote::{quoted, split};

/// What the process is started for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invocation {
    /// Print the version and end.
    Version,
    /// Print how to use the command and end.
    Help,
    /// Test the memory; this server refuses.
    TestMemory,
    /// Check the system; this server refuses.
    CheckSystem,
    /// Check a snapshot; the arguments.
    CheckRdb(Vec<String>),
    /// Check an append-only file; the arguments.
    CheckAof(Vec<String>),
    /// Serve.
    Serve(CommandLine),
}

/// Where the configuration comes from, in the order in which it is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// The file, as given.
    pub file: Option<PathBuf>,
    /// Whether more follows on the standard input.
    pub stdin: bool,
    /// The options, a line each.
    pub options: Vec<u8>,
}

impl Invocation {
    /// Reads the arguments of the process, and the name under which it was started: under those of Redis's checking
    /// tools it is one of them.
    #[must_use]
    pub fn parse_as(program: &Path, args: &[OsString]) -> Self {
        match program.file_name().map(|name| name.as_bytes()) {
            Some(b"redis-check-rdb" | b"peregrine-check-rdb") => Self::CheckRdb(words(args)),
            Some(b"redis-check-aof" | b"peregrine-check-aof") => Self::CheckAof(words(args)),
            _ => Self::parse(args),
        }
    }

    /// Reads the arguments of the process, without its own name.
    #[must_use]
    pub fn parse(args: &[OsString]) -> Self {
        let Some(first) = args.first() else { return Self::Serve(CommandLine::default()) };
        match first.as_bytes() {
            b"-v" | b"--version" => Self::Version,
            b"-h" | b"--help" => Self::Help,
            b"--test-memory" => Self::TestMemory,
            b"--check-system" => Self::CheckSystem,
            b"--check-rdb" => Self::CheckRdb(words(&args[1..])),
            b"--check-aof" => Self::CheckAof(words(&args[1..])),
            _ => Self::Serve(CommandLine::parse(args)),
        }
    }
}

fn words(args: &[OsString]) -> Vec<String> {
    args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect()
}

impl CommandLine {
    fn parse(args: &[OsString]) -> Self {
        let mut line = Self::default();
        let mut rest = args;
        if let [first, tail @ ..] = args
            && !first.as_bytes().starts_with(b"-")
        {
            line.file = Some(first.into());
            rest = tail;
        }
        let first_option = args.len() - rest.len();
        // Whether the name before this word has what it needs, so that `--` begins another.
        let mut complete = true;
        for (index, word) in rest.iter().enumerate() {
            let bytes = word.as_bytes();
            let last = index + 1 == rest.len();
            if bytes == b"-" && (last || first_option + index == 0) {
                line.stdin = true;
            } else if complete && bytes.starts_with(b"--") {
                complete = line.name(bytes, rest.get(index + 1).map(|next| next.as_bytes()));
            } else {
                line.options.extend(quoted(bytes));
                line.options.push(b' ');
                complete = true;
            }
        }
        line
    }

    /// Begins a line with an option's name; tells whether the next `--` word begins another option.
    fn name(&mut self, word: &[u8], next: Option<&[u8]>) -> bool {
        if !self.options.is_empty() {
            self.options.push(b'\n');
        }
        self.options.extend_from_slice(&word[2..]);
        self.options.push(b' ');
        let bare = split(word).is_some_and(|words| words.len() == 1);
        let starved = next.is_none_or(|next| next.starts_with(b"--"));
        // An empty list of save points, as programs write it that build a command line from an array.
        if bare && starved && word.eq_ignore_ascii_case(b"--save") {
            self.options.extend_from_slice(b"\"\"");
            return true;
        }
        !bare
    }
}

/// The command line of words, for tests and for those who start a server from inside a program.
impl<const N: usize> From<[&str; N]> for CommandLine {
    fn from(words: [&str; N]) -> Self {
        Self::parse(&words.map(|word| OsString::from_vec(word.into())))
    }
}
