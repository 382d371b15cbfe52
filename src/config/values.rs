//! Which settings have a shape of their own, and what are these shapes?
//!
//! Each type here reads, prints and rewrites itself by [`Field`]; the rules of the common kinds are in
//! `kinds.rs`.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::config::kinds::{Field, How, Line, Text, bytes, clean, human_bytes, one, one_of, text};
use crate::util::number::parse_f64;
use crate::util::quote::quoted;

/// The rule of the types here that need none.
pub const fn own() {}

/// A number the way strtoll(3) takes it: `+5` and `007` will do.
fn number(word: &[u8]) -> Option<i64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// The words with one blank between them.
fn joined<T: AsRef<[u8]>>(words: impl IntoIterator<Item = T>) -> Vec<u8> {
    let mut out = Vec::new();
    for word in words {
        if !out.is_empty() {
            out.push(b' ');
        }
        out.extend_from_slice(word.as_ref());
    }
    out
}

/// A line's value where no value at all would mean the default.
const NOTHING: &[u8] = b"\"\"";

/// Save a snapshot when at least `changes` writes happened within `seconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavePoint {
    /// Seconds, at least 1.
    pub seconds: u64,
    /// Writes; 0 means even without any.
    pub changes: u64,
}

/// The save points; none of them turns automatic snapshots off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavePoints(pub Vec<SavePoint>);

impl SavePoints {
    /// The save points that hold when nothing is configured.
    #[must_use]
    pub fn usual() -> Self {
        Self(
            [(3600, 1), (300, 100), (60, 10000)]
                .map(|(seconds, changes)| SavePoint { seconds, changes })
                .into(),
        )
    }
}

impl Field for SavePoints {
    type Rule = ();
    const SEVERAL: bool = true;

    fn parse(&self, words: &[&[u8]], how: How, (): &()) -> Result<Self, String> {
        const INVALID: &str = "Invalid save parameters";
        if matches!(words, [] | [[]]) {
            return Ok(Self(Vec::new()));
        }
        let mut points = if how == How::Append { self.0.clone() } else { Vec::new() };
        for pair in words.chunks(2) {
            let [seconds, changes] = pair else { return Err(INVALID.into()) };
            let seconds = number(seconds).filter(|seconds| *seconds >= 1);
            let (Some(Ok(seconds)), Some(Ok(changes))) =
                (seconds.map(u64::try_from), number(changes).map(u64::try_from))
            else {
                return Err(INVALID.into());
            };
            points.push(SavePoint { seconds, changes });
        }
        Ok(Self(points))
    }

    fn print(&self, (): &()) -> Vec<u8> {
        joined(self.0.iter().map(|point| format!("{} {}", point.seconds, point.changes)))
    }

    fn lines(&self, _: &Self, (): &()) -> Vec<Line> {
        if self.0.is_empty() {
            return vec![Line { text: NOTHING.into(), force: true }];
        }
        let line = |point: &SavePoint| Line {
            text: format!("{} {}", point.seconds, point.changes).into(),
            force: true,
        };
        self.0.iter().map(line).collect()
    }
}

/// How much output may wait for a client that does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLimit {
    /// Bytes at which the client is dropped at once; 0 is no limit.
    pub hard: u64,
    /// Bytes at which it is dropped after a while; 0 is no limit.
    pub soft: u64,
    /// How long that while is, in seconds.
    pub soft_seconds: u64,
}

/// The output limits of the three classes of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLimits {
    /// Ordinary clients, MONITOR included.
    pub normal: OutputLimit,
    /// Replicas.
    pub replica: OutputLimit,
    /// Clients that subscribe.
    pub pubsub: OutputLimit,
}

impl OutputLimits {
    /// The limit of a class of clients: 1 are replicas, 2 subscribers, everything else is normal.
    #[must_use]
    pub const fn of(&self, class: u8) -> OutputLimit {
        match class {
            1 => self.replica,
            2 => self.pubsub,
            _ => self.normal,
        }
    }

    /// The limits that hold when nothing is configured.
    #[must_use]
    pub const fn usual() -> Self {
        Self {
            normal: OutputLimit { hard: 0, soft: 0, soft_seconds: 0 },
            replica: OutputLimit { hard: 256 << 20, soft: 64 << 20, soft_seconds: 60 },
            pubsub: OutputLimit { hard: 32 << 20, soft: 8 << 20, soft_seconds: 60 },
        }
    }
}

impl Field for OutputLimits {
    type Rule = ();
    const SEVERAL: bool = true;

    fn parse(&self, words: &[&[u8]], _: How, (): &()) -> Result<Self, String> {
        let mut limits = *self;
        for group in words.chunks(4) {
            if group.len() != 4 {
                return Err("Wrong number of arguments in buffer limit configuration.".into());
            }
        }
        for group in words.chunks_exact(4) {
            let class = match group[0].to_ascii_lowercase().as_slice() {
                b"normal" => &mut limits.normal,
                b"slave" | b"replica" => &mut limits.replica,
                b"pubsub" => &mut limits.pubsub,
                _ => return Err("Invalid client class specified in buffer limit configuration.".into()),
            };
            let seconds = number(group[3]).and_then(|seconds| u64::try_from(seconds).ok());
            let (Some(hard), Some(soft), Some(soft_seconds)) = (bytes(group[1]), bytes(group[2]), seconds)
            else {
                return Err(
                    "Error in hard, soft or soft_seconds setting in buffer limit configuration.".into()
                );
            };
            *class = OutputLimit { hard, soft, soft_seconds };
        }
        Ok(limits)
    }

    fn print(&self, (): &()) -> Vec<u8> {
        let classes = [("normal", self.normal), ("slave", self.replica), ("pubsub", self.pubsub)];
        joined(
            classes
                .map(|(name, limit)| format!("{name} {} {} {}", limit.hard, limit.soft, limit.soft_seconds)),
        )
    }

    fn lines(&self, default: &Self, (): &()) -> Vec<Line> {
        let classes = [
            ("normal", self.normal, default.normal),
            ("replica", self.replica, default.replica),
            ("pubsub", self.pubsub, default.pubsub),
        ];
        let line = |(name, limit, default): (&str, OutputLimit, OutputLimit)| {
            let (hard, soft) = (human_bytes(limit.hard.into()), human_bytes(limit.soft.into()));
            let seconds = limit.soft_seconds.to_string();
            let text = joined([name.as_bytes(), &hard, &soft, seconds.as_bytes()]);
            Line { text, force: limit != default }
        };
        classes.into_iter().map(line).collect()
    }
}

/// The out-of-memory scores of a primary, a replica and a background task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OomScores(pub [i32; 3]);

impl Field for OomScores {
    type Rule = ();
    const SEVERAL: bool = true;

    fn parse(&self, words: &[&[u8]], _: How, (): &()) -> Result<Self, String> {
        if words.len() != 3 {
            return Err("wrong number of arguments".into());
        }
        let mut scores = [0; 3];
        for (score, word) in scores.iter_mut().zip(words) {
            let value = number(word).filter(|value| (-2000..=2000).contains(value));
            *score = value
                .and_then(|value| i32::try_from(value).ok())
                .ok_or("Invalid oom-score-adj-values, elements must be between -2000 and 2000.")?;
        }
        Ok(Self(scores))
    }

    fn print(&self, (): &()) -> Vec<u8> {
        joined(self.0.map(|score| score.to_string()))
    }
}

/// Which keyspace events are published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events(u16);

impl Events {
    /// `K`: publish to `__keyspace@<db>__:<key>`.
    pub const KEYSPACE: Self = Self(1);
    /// `E`: publish to `__keyevent@<db>__:<event>`.
    pub const KEYEVENT: Self = Self(1 << 1);
    /// `g`: commands of no type, such as DEL and EXPIRE.
    pub const GENERIC: Self = Self(1 << 2);
    /// `$`: strings.
    pub const STRING: Self = Self(1 << 3);
    /// `l`: lists.
    pub const LIST: Self = Self(1 << 4);
    /// `s`: sets.
    pub const SET: Self = Self(1 << 5);
    /// `h`: hashes.
    pub const HASH: Self = Self(1 << 6);
    /// `z`: sorted sets.
    pub const ZSET: Self = Self(1 << 7);
    /// `x`: a key expired.
    pub const EXPIRED: Self = Self(1 << 8);
    /// `e`: a key was evicted.
    pub const EVICTED: Self = Self(1 << 9);
    /// `t`: streams.
    pub const STREAM: Self = Self(1 << 10);
    /// `m`: a key was looked up and missed. Not part of `A`.
    pub const KEY_MISS: Self = Self(1 << 11);
    /// `d`: module types.
    pub const MODULE: Self = Self(1 << 13);
    /// `n`: a key came to be. Not part of `A`.
    pub const NEW: Self = Self(1 << 14);
    /// `o`: a key was overwritten by a whole new value. Not part of `A`.
    pub const OVERWRITTEN: Self = Self(1 << 15);
    /// `c`: a key was overwritten by a value of another type. Not part of `A`.
    pub const TYPE_CHANGED: Self = Self(1 << 12);
    /// `A`: `g$lshzxetd`.
    pub const ALL: Self = Self(0b0010_0111_1111_1100);

    /// The letters in the order in which they are printed: first those that `A` stands for, `n`, then the
    /// rest.
    const LETTERS: [(u8, Self); 16] = [
        (b'g', Self::GENERIC),
        (b'$', Self::STRING),
        (b'l', Self::LIST),
        (b's', Self::SET),
        (b'h', Self::HASH),
        (b'z', Self::ZSET),
        (b'x', Self::EXPIRED),
        (b'e', Self::EVICTED),
        (b't', Self::STREAM),
        (b'd', Self::MODULE),
        (b'n', Self::NEW),
        (b'o', Self::OVERWRITTEN),
        (b'c', Self::TYPE_CHANGED),
        (b'K', Self::KEYSPACE),
        (b'E', Self::KEYEVENT),
        (b'm', Self::KEY_MISS),
    ];

    /// Whether all of these are on.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether nothing is ever published: one of `K` and `E` is needed for that.
    #[must_use]
    pub const fn is_silent(self) -> bool {
        self.0 & (Self::KEYSPACE.0 | Self::KEYEVENT.0) == 0
    }

    /// The letters; Redis drops `n`, `o` and `c` next to `A`, which would lose them in a file.
    fn letters(self, keep_all: bool) -> Vec<u8> {
        const DROPPED: [Events; 3] = [Events::NEW, Events::OVERWRITTEN, Events::TYPE_CHANGED];
        let all = self.contains(Self::ALL);
        let mut out = if all { vec![b'A'] } else { Vec::new() };
        for (letter, flag) in Self::LETTERS {
            let implied = all && (Self::ALL.contains(flag) || (DROPPED.contains(&flag) && !keep_all));
            if self.contains(flag) && !implied {
                out.push(letter);
            }
        }
        out
    }
}

impl Field for Events {
    type Rule = ();

    fn parse(&self, words: &[&[u8]], _: How, (): &()) -> Result<Self, String> {
        let mut flags = 0;
        for letter in one(words)? {
            let known = Self::LETTERS.iter().find(|(known, _)| known == letter).map(|(_, flag)| *flag);
            let all = (*letter == b'A').then_some(Self::ALL);
            flags |= known.or(all).ok_or("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")?.0;
        }
        Ok(Self(flags))
    }

    fn print(&self, (): &()) -> Vec<u8> {
        self.letters(false)
    }

    fn lines(&self, default: &Self, (): &()) -> Vec<Line> {
        vec![Line { text: quoted(&self.letters(true)), force: self != default }]
    }
}

/// Addresses to listen on. A leading `-` means that a missing address is no error; `*` and `::*` are all of
/// them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses(pub Vec<Text>);

impl Addresses {
    /// Where the server listens when nothing is configured.
    #[must_use]
    pub fn usual() -> Self {
        Self(vec![text("*"), text("-::*")])
    }
}

impl Field for Addresses {
    type Rule = ();
    const SEVERAL: bool = true;

    fn parse(&self, words: &[&[u8]], _: How, (): &()) -> Result<Self, String> {
        if words.len() > 16 {
            return Err("Too many bind addresses specified.".into());
        }
        if matches!(words, [[]]) {
            return Ok(Self(Vec::new()));
        }
        let addresses: Result<_, String> = words.iter().map(|word| clean(word).map(text)).collect();
        Ok(Self(addresses?))
    }

    fn print(&self, (): &()) -> Vec<u8> {
        joined(self.0.iter().map(|address| address.as_bytes()))
    }

    fn lines(&self, default: &Self, (): &()) -> Vec<Line> {
        if self == default {
            return Vec::new();
        }
        let text = if self.0.is_empty() { NOTHING.into() } else { self.print(&()) };
        vec![Line { text, force: true }]
    }
}

/// The primary of this replica, as host and port; none for a primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Primary(pub Option<(Text, u16)>);

impl Field for Primary {
    type Rule = ();
    const SEVERAL: bool = true;

    fn parse(&self, words: &[&[u8]], _: How, (): &()) -> Result<Self, String> {
        let [host, port] = words else { return Err("wrong number of arguments".into()) };
        if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
            return Ok(Self(None));
        }
        let port = number(port).and_then(|port| u16::try_from(port).ok()).ok_or("Invalid master port")?;
        Ok(Self(Some((text(clean(host)?), port))))
    }

    fn print(&self, (): &()) -> Vec<u8> {
        self.0.as_ref().map(|(host, port)| format!("{} {port}", &**host).into()).unwrap_or_default()
    }

    fn lines(&self, _: &Self, (): &()) -> Vec<Line> {
        let line = |(host, port): &(Text, u16)| {
            let host = if host.contains(' ') { quoted(host.as_bytes()) } else { host.as_bytes().to_vec() };
            Line { text: joined([host, port.to_string().into_bytes()]), force: true }
        };
        self.0.iter().map(line).collect()
    }
}

/// The latency percentiles of INFO, each from 0 to 100.
#[derive(Clone, Debug, PartialEq)]
pub struct Percentiles(pub Vec<f64>);

impl Percentiles {
    /// Each with its text: at most six decimals, no zeros at the end.
    pub fn named(&self) -> impl Iterator<Item = (String, f64)> {
        self.0.iter().map(|percentile| {
            let text = format!("{percentile:.6}");
            (text.trim_end_matches('0').trim_end_matches('.').to_owned(), *percentile)
        })
    }
}

impl Field for Percentiles {
    type Rule = ();
    const SEVERAL: bool = true;

    fn parse(&self, words: &[&[u8]], _: How, (): &()) -> Result<Self, String> {
        if matches!(words, [[]]) {
            return Ok(Self(Vec::new()));
        }
        let mut percentiles = Vec::with_capacity(words.len());
        for word in words {
            let percentile = parse_f64(word).ok_or("Invalid latency-tracking-info-percentiles parameters")?;
            if !(0.0..=100.0).contains(&percentile) {
                return Err(
                    "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]".into()
                );
            }
            percentiles.push(percentile);
        }
        Ok(Self(percentiles))
    }

    fn print(&self, (): &()) -> Vec<u8> {
        joined(self.named().map(|(text, _)| text))
    }

    fn lines(&self, _: &Self, (): &()) -> Vec<Line> {
        let text = if self.0.is_empty() { NOTHING.into() } else { self.print(&()) };
        vec![Line { text, force: true }]
    }
}

/// What a signal that ends the process does about the data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OnSignal {
    /// Save even without save points.
    pub save: bool,
    /// Do not save even with save points.
    pub nosave: bool,
    /// Do not wait for replicas that lag behind.
    pub now: bool,
    /// Ignore errors that would prevent the end.
    pub force: bool,
}

impl Field for OnSignal {
    type Rule = ();
    const SEVERAL: bool = true;

    fn parse(&self, words: &[&[u8]], _: How, (): &()) -> Result<Self, String> {
        let names = ["default", "save", "nosave", "now", "force"];
        let mut flags = Self::default();
        for word in words {
            match word.to_ascii_lowercase().as_slice() {
                b"default" => {}
                b"save" => flags.save = true,
                b"nosave" => flags.nosave = true,
                b"now" => flags.now = true,
                b"force" => flags.force = true,
                _ => return Err(one_of(&mut names.into_iter())),
            }
        }
        if words.is_empty() {
            return Err(one_of(&mut names.into_iter()));
        }
        if flags.save && flags.nosave {
            return Err("shutdown options SAVE and NOSAVE can't be used simultaneously".into());
        }
        Ok(flags)
    }

    fn print(&self, (): &()) -> Vec<u8> {
        let flags = [(self.save, "save"), (self.nosave, "nosave"), (self.now, "now"), (self.force, "force")];
        let names: Vec<_> = flags.into_iter().filter(|(on, _)| *on).map(|(_, name)| name).collect();
        if names.is_empty() { b"default".into() } else { joined(names) }
    }
}

/// How many threads serve connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoThreads {
    /// What the operator asked for; 0 is one thread per core.
    pub asked: u16,
    /// How many there are; the server sets it when it starts. CONFIG GET prints this one.
    pub running: u16,
}

impl IoThreads {
    /// What was asked for on a machine with so many cores.
    #[must_use]
    pub fn on(self, cores: usize) -> Self {
        let running = if self.asked == 0 { u16::try_from(cores).unwrap_or(128).min(128) } else { self.asked };
        Self { running: running.max(1), ..self }
    }
}

impl Field for IoThreads {
    type Rule = ();

    fn parse(&self, words: &[&[u8]], how: How, (): &()) -> Result<Self, String> {
        let asked = self.asked.parse(words, how, &crate::config::kinds::int(0, 128))?;
        Ok(Self { asked, running: asked.max(1) })
    }

    fn print(&self, (): &()) -> Vec<u8> {
        self.running.to_string().into()
    }

    fn lines(&self, default: &Self, (): &()) -> Vec<Line> {
        vec![Line { text: self.asked.to_string().into(), force: self.asked != default.asked }]
    }
}

/// The directory of all files that are not named by an absolute path. Itself absolute once a file or a
/// command line was read; the process works in it, so that relative paths mean the same to everyone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dir(pub PathBuf);

impl Dir {
    /// A path as seen from here.
    #[must_use]
    pub fn join(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }
}

impl Field for Dir {
    type Rule = ();

    fn parse(&self, words: &[&[u8]], _: How, (): &()) -> Result<Self, String> {
        let word = clean(one(words)?)?;
        if word.is_empty() {
            return Err("No such file or directory".into());
        }
        enter(&self.0.join(word)).map(Self).map_err(|error| reason(&error))
    }

    fn print(&self, (): &()) -> Vec<u8> {
        self.0.as_os_str().as_bytes().into()
    }

    fn lines(&self, _: &Self, (): &()) -> Vec<Line> {
        vec![Line { text: quoted(self.0.as_os_str().as_bytes()), force: true }]
    }
}

/// The absolute path of a directory that may be entered.
fn enter(path: &Path) -> io::Result<PathBuf> {
    let path = fs::canonicalize(path)?;
    // Naming something inside fails when it is no directory, or one without permission.
    fs::metadata(path.join("."))?;
    Ok(path)
}

/// The bare text of a system error, without the number that Rust adds.
#[must_use]
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}
