//! How much of a file of commands is whole? It is read to its end before any command of it runs: how units nest, and
//! whether the checksums are right. The server, when it starts, and the checking tool both ask here.
//!
//! ```text
//! unit unit #CRC unit MULTI .. EXEC #CRC unit unit uni
//!                                       |         `- end: cut short, `good` is before it
//!                                       `- `summed`: all before it is as it was written
//! ```
//!
//! A length that was damaged can swallow what follows, and look like an end that is cut short. So what is behind `good`
//! is searched for commands and checksums: if there are any, the damage is in the middle.

use std::io::{self, Read};

use crate::persist::aof::writer::{AFTER, STAMP, SUM, Tail};
use crate::persist::rdb::Bad;
use crate::persist::rdb::source::Source;

/// Longest line that announces a count or a length, or is a note.
const LINE_MAX: usize = 1024;
/// How many bytes behind the good ones are searched at a time.
const WINDOW: u64 = 16 << 20;
/// Bytes that are looked at first where a command may begin.
const GLANCE: usize = 512;
/// Most arguments of a command.
const ARGS_MAX: i64 = 1 << 30;

/// A command's arguments.
pub type Argv = Vec<Vec<u8>>;

/// How a file ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Behind a whole unit.
    Whole,
    /// Within a unit.
    Short,
    /// Nothing but zeros follows: space that was taken and never written.
    Zeros,
    /// What stands there is no command.
    Malformed,
    /// A checksum does not fit what stands before it.
    WrongSum,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// How the file ends, or where reading it ended.
    pub end: End,
    /// The offset behind the last whole unit that is to be believed.
    pub good: u64,
    /// The offset behind the last checksum that is right; 0 if there is none.
    pub summed: u64,
    /// What stands between that and `good`.
    pub tail: Tail,
    /// The offset behind what could be read; beyond `good` when the end is not whole.
    pub read: u64,
    /// A transaction was open at the end.
    pub open: bool,
    /// The offset of the first note of a time after the one that was asked for.
    pub later: Option<u64>,
}

/// Why a command cannot be read.
#[derive(Debug)]
pub enum Stop {
    /// The file ends.
    Short,
    /// It is none.
    Malformed,
    /// Nothing but zeros follows.
    Zeros,
    /// The disk says no.
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

/// What stands in a file.
pub enum Record {
    /// A command.
    Command(Argv),
    /// A note, without its end.
    Note(Vec<u8>),
}

/// Reads one command or note.
///
/// # Errors
/// [`Stop`] when there is none.
pub fn record(source: &mut Source<'_>) -> Result<Record, Stop> {
    match source.byte()? {
        b'#' => {
            let mut note = vec![b'#'];
            note.extend(line(source)?);
            return Ok(Record::Note(note));
        }
        b'*' => {}
        0 => return Err(zeros(source)),
        _ => return Err(Stop::Malformed),
    }
    let n = number(source)?;
    if !(1..=ARGS_MAX).contains(&n) {
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
    Ok(Record::Command(argv))
}

/// Decides what a zero in the place of a command means.
fn zeros(source: &mut Source<'_>) -> Stop {
    loop {
        match source.at_end() {
            Ok(true) => return Stop::Zeros,
            Err(bad) => return bad.into(),
            Ok(false) => {}
        }
        match source.byte() {
            Ok(0) => {}
            Ok(_) => return Stop::Malformed,
            Err(bad) => return bad.into(),
        }
    }
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

/// Exactly as it is written: a sign of damage is no number.
fn number(source: &mut Source<'_>) -> Result<i64, Stop> {
    let line = line(source)?;
    let digits = line.strip_suffix(b"\r").ok_or(Stop::Malformed)?;
    crate::util::number::parse_i64(digits).ok_or(Stop::Malformed)
}

/// True when a command has this name.
pub fn is(argv: &Argv, name: &[u8]) -> bool {
    argv.first().is_some_and(|n| n.eq_ignore_ascii_case(name))
}

/// The checksum that a note holds.
fn sum_of(note: &[u8]) -> Option<u64> {
    let digits = note.strip_prefix(SUM)?.strip_suffix(b"\r")?;
    let plain = digits.len() == 16 && digits.iter().all(|d| matches!(d, b'0'..=b'9' | b'a'..=b'f'));
    let digits = std::str::from_utf8(digits).ok().filter(|_| plain)?;
    u64::from_str_radix(digits, 16).ok()
}

/// The length that the file before this one had when this one was begun, if it says so at its beginning.
///
/// # Errors
/// When the disk says no.
pub fn length_before(input: &mut dyn Read) -> io::Result<Option<u64>> {
    let mut head = Vec::new();
    input.take(64).read_to_end(&mut head)?;
    let line = head.split(|b| *b == b'\r').next().and_then(|line| line.strip_prefix(AFTER));
    Ok(line.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok()))
}

/// The time that a note holds.
fn stamp_of(note: &[u8]) -> Option<u64> {
    std::str::from_utf8(note.strip_prefix(STAMP)?.trim_ascii()).ok()?.parse().ok()
}

/// Reads commands to the end of `source`, from where it stands. `until`: look for the first note of a later time.
///
/// # Errors
/// When the disk says no.
pub fn commands(source: &mut Source<'_>, until: Option<u64>) -> io::Result<Found> {
    source.begin_checksum();
    let start = source.offset();
    let mut found = Found {
        end: End::Whole,
        good: start,
        summed: 0,
        tail: Tail::default(),
        read: start,
        open: false,
        later: None,
    };
    // Where the bytes begin that the next checksum is of.
    let mut since = start;
    loop {
        let at = source.offset();
        let (end, failed) = match source.at_end() {
            Ok(true) => (Some(if found.open { End::Short } else { End::Whole }), None),
            Ok(false) => (None, None),
            Err(bad) => (None, Some(Stop::from(bad))),
        };
        if let Some(end) = end {
            found.end = end;
            return Ok(found);
        }
        let sum = source.checksum();
        let next = failed.map_or_else(|| record(source), Err);
        found.read = source.offset();
        match next {
            Ok(Record::Note(note)) => {
                if let Some(time) = stamp_of(&note).filter(|time| until.is_some_and(|until| *time > until)) {
                    found.later = found.later.or((time > 0).then_some(at));
                }
                if let Some(claimed) = sum_of(&note) {
                    if claimed != sum {
                        found.end = End::WrongSum;
                        found.good = since;
                        found.tail = Tail::default();
                        return Ok(found);
                    }
                    source.begin_checksum();
                    since = source.offset();
                    found.summed = since;
                }
            }
            Ok(Record::Command(argv)) => {
                if is(&argv, b"multi") {
                    found.open = true;
                } else if is(&argv, b"exec") {
                    found.open = false;
                }
            }
            Err(Stop::Failed(error)) => return Err(error),
            Err(stop) => {
                found.end = match stop {
                    Stop::Short => End::Short,
                    Stop::Zeros => End::Zeros,
                    _ => End::Malformed,
                };
                return Ok(found);
            }
        }
        if !found.open {
            found.good = source.offset();
            found.tail = Tail { len: found.good - since, crc: source.checksum() };
        }
    }
}

/// Searches what stands behind `found.good`, from `input`, for a sign that the file went on behind the damage: a whole
/// command, or a checksum. Returns its offset.
///
/// # Errors
/// When the disk says no.
pub fn goes_on(found: &Found, input: &mut dyn Read) -> io::Result<Option<u64>> {
    if matches!(found.end, End::Whole | End::Zeros) {
        return Ok(None);
    }
    // Behind a wrong checksum, which covers all up to it; otherwise behind the first byte of what cannot be read.
    let from = if found.end == End::WrongSum { found.read } else { found.good + 1 };
    io::copy(&mut input.take(from), &mut io::sink())?;
    let mut bytes = Vec::new();
    input.take(WINDOW).read_to_end(&mut bytes)?;
    let mut at = 0;
    while let Some(next) = memchr::memchr2(b'*', b'#', bytes.get(at..).unwrap_or_default()) {
        let here = at + next;
        at = here + 1;
        let mut rest = bytes.get(here..).unwrap_or_default();
        let sign = match record(&mut Source::in_chunks(&mut rest, GLANCE)) {
            // The checksum of what is damaged, if it stands at the end.
            Ok(Record::Note(note)) => sum_of(&note).is_some() && here + note.len() + 1 < bytes.len(),
            // An unfinished command may hold anything, an unfinished transaction whole commands.
            Ok(Record::Command(_)) => found.end != End::Short,
            Err(_) => false,
        };
        if sign {
            return Ok(Some(from + here as u64));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::entry::encode_command;
    use crate::util::crc::crc64;

    fn scan(mut bytes: &[u8]) -> Found {
        commands(&mut Source::new(&mut bytes), None).unwrap()
    }

    fn middle(bytes: &[u8]) -> bool {
        goes_on(&scan(bytes), &mut &bytes[..]).unwrap().is_some()
    }

    /// Units with a checksum behind each second one.
    fn file() -> (Vec<u8>, Vec<usize>) {
        let units: [&[&[&str]]; 6] = [
            &[&["SELECT", "0"]],
            &[&["SET", "k", "a\r\nb"]],
            &[&["MULTI"], &["INCR", "a"], &["INCR", "b"], &["EXEC"]],
            &[&["DEL", "k"]],
            &[&["RPUSH", "list", "one", "two"]],
            &[&["SET", "long", "*1\r\n$4\r\nPING\r\n"]],
        ];
        let (mut bytes, mut ends, mut since) = (Vec::new(), vec![0], 0);
        for (i, unit) in units.iter().enumerate() {
            unit.iter().for_each(|argv| bytes.extend(encode_command(argv)));
            ends.push(bytes.len());
            if i % 2 == 1 {
                let sum = crc64(0, &bytes[since..]);
                bytes.extend([SUM, format!("{sum:016x}\r\n").as_bytes()].concat());
                since = bytes.len();
                ends.push(since);
            }
        }
        (bytes, ends)
    }

    #[test]
    fn a_file_cut_anywhere_is_good_up_to_a_whole_unit() {
        let (bytes, ends) = file();
        for cut in 0..=bytes.len() {
            let found = scan(&bytes[..cut]);
            let end = *ends.iter().rev().find(|end| **end <= cut).unwrap();
            assert_eq!(found.good, end as u64, "cut at {cut}");
            assert_eq!(found.end, if end == cut { End::Whole } else { End::Short });
            assert!(!middle(&bytes[..cut]), "cut at {cut}");
            // Space that was taken and never written looks like zeros.
            let zeros = [&bytes[..end], &[0; 100]].concat();
            assert_eq!((scan(&zeros).end, scan(&zeros).good), (End::Zeros, end as u64));
        }
    }

    #[test]
    fn every_byte_that_is_damaged_is_noticed() {
        let (bytes, _) = file();
        let whole = scan(&bytes);
        assert_eq!((whole.end, whole.summed, whole.tail), (End::Whole, bytes.len() as u64, Tail::default()));
        let last = bytes.len() - b"#CRC:0123456789abcdef\r\n".len();
        for at in 0..bytes.len() {
            for flip in [1, 2, 4, 8, 16, 32, 64, 128, 255] {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                let found = scan(&damaged);
                // A damaged checksum at the very end leaves the commands as they are, and unproven.
                let harmless = at >= last && found.end == End::Whole && found.tail.len > 0;
                assert!(found.end != End::Whole || harmless, "byte {at} ^ {flip:#x}");
            }
        }
    }

    #[test]
    fn damage_in_the_middle_is_told_from_a_torn_end() {
        let (bytes, ends) = file();
        let at = ends[1] + 4;
        for damage in [b'9', b'x', b'*'] {
            let mut damaged = bytes.clone();
            damaged[at + 1] = damage;
            assert!(middle(&damaged), "{damage}");
        }
        // In the last unit, which a wrong checksum follows and nothing else.
        let mut damaged = bytes.clone();
        let at = bytes.windows(4).position(|w| w == b"PING").unwrap();
        damaged[at] ^= 1;
        assert_eq!((scan(&damaged).end, middle(&damaged)), (End::WrongSum, false));
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
            b"*1\n$4\r\nPING\r\n",
        ] {
            let found = scan(&with(tail));
            assert_eq!((found.end, found.good), (End::Malformed, good.len() as u64), "{tail:?}");
        }
        let annotated = [b"#TS:1234\r\n", &good[..]].concat();
        assert_eq!(scan(&annotated).end, End::Whole);
        assert_eq!(scan(b"*1\r\n$99999999999\r\nabc").end, End::Short);
    }

    #[test]
    fn times_are_found() {
        let set = encode_command(&["SET", "k", "v"]);
        let bytes = [b"#TS:10\r\n", &set[..], b"#TS:11\r\n", &set, b"#TS:12\r\n"].concat();
        let later = |until| commands(&mut Source::new(&mut &bytes[..]), Some(until)).unwrap().later;
        let second = set.len() as u64 + 8;
        assert_eq!(
            (later(9), later(10), later(11), later(12)),
            (Some(0), Some(second), Some(2 * second), None)
        );
    }
}
