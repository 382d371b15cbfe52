//! What is a stream id? A time in milliseconds and a sequence number, ordered as one 128-bit number.

use crate::util::number::{parse_u64_lenient, push_u64};
use std::fmt;

/// The id of a stream entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// Milliseconds, as a rule since the epoch.
    pub ms: u64,
    /// Number within the millisecond.
    pub seq: u64,
}

/// Longer text is no id.
const MAX_TEXT: usize = 127;

impl StreamId {
    /// `0-0`, which no entry has.
    pub const MIN: StreamId = StreamId { ms: 0, seq: 0 };
    /// The last possible id.
    pub const MAX: StreamId = StreamId { ms: u64::MAX, seq: u64::MAX };

    /// The id of these parts.
    pub const fn new(ms: u64, seq: u64) -> StreamId {
        StreamId { ms, seq }
    }

    /// The id after this one; `None` after the last.
    pub fn next(self) -> Option<StreamId> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(StreamId { seq, ..self }),
            None => Some(StreamId { ms: self.ms.checked_add(1)?, seq: 0 }),
        }
    }

    /// The id before this one; `None` before `0-0`.
    pub fn prev(self) -> Option<StreamId> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(StreamId { seq, ..self }),
            None => Some(StreamId { ms: self.ms.checked_sub(1)?, seq: u64::MAX }),
        }
    }

    /// Reads `ms-seq`, or `ms` alone with `missing_seq` as its sequence number. `-` and `+` are not
    /// ids here.
    pub fn parse_strict(text: &[u8], missing_seq: u64) -> Option<StreamId> {
        match parse(text)? {
            (ms, None) => Some(StreamId { ms, seq: missing_seq }),
            (ms, Some(seq)) => Some(StreamId { ms, seq: parse_u64_lenient(seq)? }),
        }
    }

    /// As [`StreamId::parse_strict`], with `-` for the first and `+` for the last possible id.
    pub fn parse(text: &[u8], missing_seq: u64) -> Option<StreamId> {
        match text {
            b"-" => Some(StreamId::MIN),
            b"+" => Some(StreamId::MAX),
            _ => StreamId::parse_strict(text, missing_seq),
        }
    }

    /// Reads one end of an interval: the id, and whether a `(` before it leaves it out.
    pub fn parse_bound(text: &[u8], missing_seq: u64) -> Option<(StreamId, bool)> {
        match text {
            [b'(', rest @ ..] if !rest.is_empty() => Some((StreamId::parse_strict(rest, missing_seq)?, true)),
            _ => Some((StreamId::parse(text, missing_seq)?, false)),
        }
    }

    /// The text, appended to `out`.
    pub fn write_to(self, out: &mut Vec<u8>) {
        push_u64(out, self.ms);
        out.push(b'-');
        push_u64(out, self.seq);
    }

    /// The sixteen bytes of an id in files: big-endian, so that bytes sort as ids do.
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.ms) << 64 | u128::from(self.seq)).to_be_bytes()
    }

    /// The id of sixteen bytes from a file.
    pub fn from_bytes(bytes: [u8; 16]) -> StreamId {
        let both = u128::from_be_bytes(bytes);
        StreamId { ms: (both >> 64) as u64, seq: both as u64 }
    }

    /// How far this id is from the one that a node is named after, as entries say it.
    pub(super) fn delta(self, master: StreamId) -> (i64, i64) {
        (self.ms.wrapping_sub(master.ms) as i64, self.seq.wrapping_sub(master.seq) as i64)
    }

    /// Undoes [`StreamId::delta`].
    pub(super) fn at(self, ms: i64, seq: i64) -> StreamId {
        StreamId { ms: self.ms.wrapping_add(ms as u64), seq: self.seq.wrapping_add(seq as u64) }
    }
}

/// Milliseconds, and the text of the sequence number if there is one.
fn parse(text: &[u8]) -> Option<(u64, Option<&[u8]>)> {
    if text.len() > MAX_TEXT {
        return None;
    }
    // C strings end at the first NUL.
    let text = text.split(|&b| b == 0).next().unwrap_or_default();
    match memchr::memchr(b'-', text) {
        Some(dash) => Some((parse_u64_lenient(&text[..dash])?, Some(&text[dash + 1..]))),
        None => Some((parse_u64_lenient(text)?, None)),
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// The id that XADD asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewId {
    /// `*`: from the clock.
    Auto,
    /// `ms-*`: the next number of this millisecond.
    AutoSeq(u64),
    /// This id.
    Given(StreamId),
}

impl NewId {
    /// Reads `*`, `ms-*`, `ms-seq`, or `ms` for `ms-0`.
    pub fn parse(text: &[u8]) -> Option<NewId> {
        if text == b"*" {
            return Some(NewId::Auto);
        }
        match parse(text)? {
            (ms, Some(b"*")) => Some(NewId::AutoSeq(ms)),
            _ => StreamId::parse_strict(text, 0).map(NewId::Given),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_redis_reads_them() {
        let id = StreamId::new;
        assert_eq!(StreamId::parse_strict(b"12-3", 9), Some(id(12, 3)));
        assert_eq!(StreamId::parse_strict(b"12", 9), Some(id(12, 9)));
        assert_eq!(StreamId::parse_strict(b"18446744073709551615-0", 0), Some(id(u64::MAX, 0)));
        for bad in
            [&b""[..], b"-", b"+", b"a", b"1-", b"1-a", b"1-2-3", b"18446744073709551616", b"1-*", b"-1-1"]
        {
            assert_eq!(StreamId::parse_strict(bad, 0), None, "{}", bad.escape_ascii());
        }
        assert_eq!(StreamId::parse_strict(&[b'1'; 128], 0), None);
        assert_eq!(StreamId::parse(b"-", 5), Some(StreamId::MIN));
        assert_eq!(StreamId::parse(b"+", 5), Some(StreamId::MAX));
        assert_eq!(StreamId::parse_bound(b"(5", 7), Some((id(5, 7), true)));
        assert_eq!(StreamId::parse_bound(b"(-", 7), None);
        assert_eq!(StreamId::parse_bound(b"(", 7), None);
        assert_eq!(StreamId::parse_bound(b"+", 7), Some((StreamId::MAX, false)));
        assert_eq!(NewId::parse(b"*"), Some(NewId::Auto));
        assert_eq!(NewId::parse(b"7-*"), Some(NewId::AutoSeq(7)));
        assert_eq!(NewId::parse(b"7"), Some(NewId::Given(id(7, 0))));
        assert_eq!(NewId::parse(b"-"), None);
    }

    #[test]
    fn neighbours_and_deltas() {
        let id = StreamId::new;
        assert_eq!(id(1, u64::MAX).next(), Some(id(2, 0)));
        assert_eq!(id(2, 0).prev(), Some(id(1, u64::MAX)));
        assert_eq!((StreamId::MAX.next(), StreamId::MIN.prev()), (None, None));
        for (a, b) in [(id(5, 7), id(9, 1)), (id(0, u64::MAX), StreamId::MAX), (id(3, 3), id(3, 3))] {
            let (ms, seq) = b.delta(a);
            assert_eq!(a.at(ms, seq), b);
            assert_eq!(StreamId::from_bytes(b.to_bytes()), b);
        }
        assert!(id(1, 2).to_bytes() < id(2, 1).to_bytes());
    }
}
