//! Where does a request end, and what are its arguments? An incremental parser that copies nothing.
//!
//! [`Parser::next`] looks at a buffer and reports the byte ranges of one command's arguments. What it learned from an
//! incomplete request is kept, so that a command of a million arguments that arrives in small pieces is scanned once.
//!
//! ```text
//! multibulk   *<n>\r\n  then n times  $<len>\r\n <len bytes> \r\n
//! inline      words separated by spaces, quoted as in redis-cli, up to \n
//! ```

use std::ops::Range;

use crate::util::quote;

/// Inline requests and the lines of a multibulk header are at most this long.
pub const MAX_INLINE: usize = 64 * 1024;
/// A connection that has not authenticated may not send more arguments than this.
const UNAUTH_ARGS: i64 = 10;
/// A connection that has not authenticated may not send a longer argument than this, in bytes.
const UNAUTH_BULK: i64 = 16 * 1024;

/// What a connection may send.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest argument in bytes (`proto-max-bulk-len`).
    pub max_bulk: i64,
    /// False until the connection has authenticated: then requests must be small.
    pub authenticated: bool,
}

/// What [`Parser::next`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A whole request: its arguments are in [`Parser::args`], and it ends `len` bytes into the buffer. It may
    /// have no arguments at all (`*0`, an empty line): such a request is passed over in silence.
    Request {
        /// Bytes from the start of the request to the start of the next one.
        len: usize,
    },
    /// An inline request, whose words had to be unquoted into memory of their own.
    Inline {
        /// Its words.
        words: Vec<Vec<u8>>,
        /// Bytes to the start of the next request.
        len: usize,
    },
    /// More bytes are needed.
    Incomplete,
    /// The stream can no longer be understood: answer with the text and close.
    Broken(String),
}

/// The state of one connection's request stream. Ranges count from the start of the current request.
#[derive(Debug, Default)]
pub struct Parser {
    args: Vec<Range<usize>>,
    remaining: i64,
    pos: usize,
    bulk: Option<usize>,
    started: bool,
}

impl Parser {
    /// A parser at the start of a request.
    pub fn new() -> Self {
        Self::default()
    }

    /// The argument ranges of the request that [`Parser::next`] last completed.
    pub fn args(&self) -> &[Range<usize>] {
        &self.args
    }

    /// Forgets a request that has been parsed in part.
    pub fn restart(&mut self) {
        self.started = false;
        self.bulk = None;
    }

    /// True between the first and the last byte of a request.
    pub fn in_request(&self) -> bool {
        self.started
    }

    /// Keeps room for so many arguments and no more, unless it is needed for the request under way.
    pub fn shrink_to(&mut self, args: usize) {
        if !self.started && self.args.capacity() > args {
            self.args.clear();
            self.args.shrink_to(args);
        }
    }

    /// Bytes that the places of arguments take.
    pub fn memory(&self) -> usize {
        self.args.capacity() * size_of::<Range<usize>>()
    }

    /// How many bytes of an incomplete request have been understood: what comes before the argument being received.
    pub fn understood(&self) -> usize {
        if self.started { self.pos } else { 0 }
    }

    /// How many bytes the argument that is being received still needs, when that is known.
    pub fn wanted(&self, have: usize) -> usize {
        self.bulk.map_or(0, |len| (self.pos.saturating_add(len).saturating_add(2)).saturating_sub(have))
    }

    /// Parses one request from the start of `buf`. After `Incomplete`, call again with a buffer that begins with
    /// the same bytes and holds more; after a request, with a buffer that begins behind it.
    pub fn next(&mut self, buf: &[u8], limits: Limits) -> Parsed {
        if !self.started {
            match buf.first() {
                None => return Parsed::Incomplete,
                Some(b'*') => match self.header(buf, limits) {
                    Some(stop) => return stop,
                    None => self.started = true,
                },
                Some(_) => return inline(buf),
            }
        }
        self.bulks(buf, limits)
    }

    /// Reads `*<n>\r\n`; `None` when arguments follow.
    fn header(&mut self, buf: &[u8], limits: Limits) -> Option<Parsed> {
        let (line, next) = match line(buf, 0) {
            Line::Whole(line, next) => (line, next),
            Line::Partial => return Some(Parsed::Incomplete),
            Line::TooLong => return Some(Parsed::Broken("too big mbulk count string".into())),
        };
        let n = match crate::util::number::parse_i64(&line[1..]) {
            Some(n) if n <= i64::from(i32::MAX) => n,
            _ => return Some(Parsed::Broken("invalid multibulk length".into())),
        };
        if n > UNAUTH_ARGS && !limits.authenticated {
            return Some(Parsed::Broken("unauthenticated multibulk length".into()));
        }
        self.args.clear();
        if n <= 0 {
            return Some(Parsed::Request { len: next });
        }
        self.remaining = n;
        self.pos = next;
        self.bulk = None;
        None
    }

    /// Reads the arguments, as far as the buffer goes.
    fn bulks(&mut self, buf: &[u8], limits: Limits) -> Parsed {
        while self.remaining > 0 {
            let len = match self.bulk {
                Some(len) => len,
                None => match self.bulk_header(buf, limits) {
                    Ok(len) => len,
                    Err(stop) => return stop,
                },
            };
            let end = self.pos.saturating_add(len);
            if buf.len() < end.saturating_add(2) {
                self.bulk = Some(len);
                return Parsed::Incomplete;
            }
            self.args.push(self.pos..end);
            self.pos = end + 2;
            self.bulk = None;
            self.remaining -= 1;
        }
        self.started = false;
        Parsed::Request { len: self.pos }
    }

    /// Reads `$<len>\r\n` at the current position.
    fn bulk_header(&mut self, buf: &[u8], limits: Limits) -> Result<usize, Parsed> {
        let at = self.pos;
        // The usual header is `$` and one or two digits: read it without searching for the line's end.
        if let Some(&[b'$', d, b'\r', b'\n']) = buf.get(at..at + 4)
            && d.is_ascii_digit()
        {
            self.pos = at + 4;
            return Ok(usize::from(d - b'0'));
        }
        if let Some(&[b'$', d, e, b'\r', b'\n']) = buf.get(at..at + 5)
            && d.is_ascii_digit()
            && e.is_ascii_digit()
            && d != b'0'
        {
            self.pos = at + 5;
            return Ok(usize::from(d - b'0') * 10 + usize::from(e - b'0'));
        }
        let (text, next) = match line(buf, at) {
            Line::Whole(text, next) => (text, next),
            Line::Partial => return Err(Parsed::Incomplete),
            Line::TooLong => return Err(Parsed::Broken("too big bulk count string".into())),
        };
        match text.first() {
            Some(b'$') => {}
            other => {
                let got = other.map_or('\r', |&b| char::from(b));
                return Err(Parsed::Broken(format!("expected '$', got '{got}'")));
            }
        }
        let len = match crate::util::number::parse_i64(&text[1..]) {
            Some(len) if len >= 0 && len <= limits.max_bulk => len,
            _ => return Err(Parsed::Broken("invalid bulk length".into())),
        };
        if len > UNAUTH_BULK && !limits.authenticated {
            return Err(Parsed::Broken("unauthenticated bulk length".into()));
        }
        self.pos = next;
        usize::try_from(len).map_err(|_| Parsed::Broken("invalid bulk length".into()))
    }
}

/// Longest argument and greatest number of arguments that [`quick`] reads.
const QUICK_DIGITS: usize = 4;

/// Appends the arguments of the request at the start of `buf` to `argv` and returns its length, if it is of the usual
/// kind: whole, with few and short arguments, and nothing unusual about its headers. Otherwise returns `None`, and what
/// it has appended means nothing: [`Parser::next`] knows.
#[inline]
pub fn quick<'b>(buf: &'b [u8], argv: &mut Vec<&'b [u8]>) -> Option<usize> {
    let rest = buf.strip_prefix(b"*")?;
    let (args, mut rest) = quick_number(rest)?;
    for _ in 0..args {
        let (len, behind) = quick_number(rest.strip_prefix(b"$")?)?;
        let (arg, behind) = behind.split_at_checked(len)?;
        argv.push(arg);
        // As in the general case, the line's end is not looked at.
        rest = behind.get(2..)?;
    }
    (args > 0).then_some(buf.len() - rest.len())
}

/// Reads up to [`QUICK_DIGITS`] digits and the end of their line.
#[inline]
fn quick_number(buf: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0;
    let mut at = 0;
    while let Some(digit) = buf.get(at).map(|b| b.wrapping_sub(b'0')).filter(|d| *d <= 9) {
        value = value * 10 + usize::from(digit);
        at += 1;
        // No number but zero begins with a zero, and nobody sends zero arguments.
        if value == 0 || at > QUICK_DIGITS {
            break;
        }
    }
    match buf.get(at..) {
        Some([b'\r', b'\n', rest @ ..]) if at > 0 && at <= QUICK_DIGITS => Some((value, rest)),
        _ => None,
    }
}

enum Line<'a> {
    Whole(&'a [u8], usize),
    Partial,
    TooLong,
}

/// The line that starts at `from`, without its end, and where the next one starts.
fn line(buf: &[u8], from: usize) -> Line<'_> {
    let rest = buf.get(from..).unwrap_or_default();
    match memchr::memchr(b'\r', rest) {
        // The byte after \r is taken for \n unseen, as Redis does.
        Some(end) if end + 1 < rest.len() => Line::Whole(&rest[..end], from + end + 2),
        None if rest.len() > MAX_INLINE => Line::TooLong,
        _ => Line::Partial,
    }
}

fn inline(buf: &[u8]) -> Parsed {
    let Some(end) = memchr::memchr(b'\n', buf) else {
        return if buf.len() > MAX_INLINE {
            Parsed::Broken("too big inline request".into())
        } else {
            Parsed::Incomplete
        };
    };
    let mut text = &buf[..end];
    if let Some(stripped) = text.strip_suffix(b"\r") {
        text = stripped;
    }
    match quote::split(text) {
        Some(words) => Parsed::Inline { words, len: end + 1 },
        None => Parsed::Broken("unbalanced quotes in request".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: Limits = Limits { max_bulk: 512 << 20, authenticated: true };

    #[test]
    fn a_request_may_arrive_byte_by_byte() {
        let text = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$12\r\nhello world!\r\nPING\r\n";
        let mut parser = Parser::new();
        for end in 0..text.len() - 6 {
            assert_eq!(parser.next(&text[..end], FREE), Parsed::Incomplete, "at {end}");
        }
        let Parsed::Request { len } = parser.next(text, FREE) else { panic!("not parsed") };
        let args: Vec<&[u8]> = parser.args().iter().map(|r| &text[r.clone()]).collect();
        assert_eq!(args, [&b"SET"[..], b"k", b"hello world!"]);
        assert_eq!(parser.next(&text[len..], FREE), Parsed::Inline { words: vec![b"PING".to_vec()], len: 6 });
    }

    #[test]
    fn malformed_streams_say_why() {
        let broken = |text: &[u8]| match Parser::new().next(text, FREE) {
            Parsed::Broken(why) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(broken(b"*3000000000\r\n"), "invalid multibulk length");
        assert_eq!(broken(b"*3\r\nfoo\r\n"), "expected '$', got 'f'");
        assert_eq!(broken(b"*3\r\n$3\r\nSET\r\n$-10\r\n"), "invalid bulk length");
        assert_eq!(broken(b"\"a\r\n"), "unbalanced quotes in request");
    }

    #[test]
    fn strangers_may_only_send_small_requests() {
        let stranger = Limits { max_bulk: 512 << 20, authenticated: false };
        let why = |text: &[u8]| match Parser::new().next(text, stranger) {
            Parsed::Broken(why) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(why(b"*100\r\n"), "unauthenticated multibulk length");
        assert_eq!(why(b"*1\r\n$100000000\r\n"), "unauthenticated bulk length");
    }

    #[test]
    fn the_quick_way_is_taken_for_the_usual_request_and_no_other() {
        let mut argv = Vec::new();
        let text = b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n*1\r\n";
        assert_eq!(quick(text, &mut argv), Some(text.len() - 4));
        assert_eq!(argv, [&b"GET"[..], b""]);
        let odd: [&[u8]; 8] = [
            b"*0\r\n",
            b"*01\r\n$4\r\nPING\r\n",
            b"*-1\r\n",
            b"*1\n$4\r\nPING\r\n",
            b"*1\r\n$4\r\nPING\r",
            b"*1\r\n$10000\r\n",
            b"*99999\r\n",
            b"PING\r\n",
        ];
        for text in odd {
            assert_eq!(quick(text, &mut Vec::new()), None, "{text:?}");
        }
    }

    proptest::proptest! {
        /// The quick way says what the parser says, or nothing, however a request is damaged.
        #[test]
        fn both_ways_agree(
            args in proptest::collection::vec(proptest::collection::vec(0u8.., 0..120), 0..12),
            damage in proptest::collection::vec((0usize..400, 0u8..), 0..3),
            cut in 0usize..2000,
        ) {
            let mut text = format!("*{}\r\n", args.len()).into_bytes();
            for arg in &args {
                text.extend(format!("${}\r\n", arg.len()).bytes().chain(arg.iter().copied()).chain(*b"\r\n"));
            }
            for (at, byte) in damage {
                if let Some(there) = text.get_mut(at) {
                    *there = byte;
                }
            }
            text.truncate(cut);
            let mut argv = Vec::new();
            if let Some(len) = quick(&text, &mut argv) {
                let mut parser = Parser::new();
                assert_eq!(parser.next(&text, FREE), Parsed::Request { len });
                let slow: Vec<&[u8]> = parser.args().iter().map(|r| &text[r.clone()]).collect();
                assert_eq!(argv, slow);
            }
        }
    }

    #[test]
    fn words_are_quoted_as_in_redis_cli() {
        let words = quote::split(br#"set "a \x41\n" 'it\'s' plain"#).unwrap();
        assert_eq!(words, [&b"set"[..], b"a A\n", b"it's", b"plain"]);
        assert_eq!(quote::split(b"\"open"), None);
        assert_eq!(quote::split(b"\"x\"y"), None);
    }
}
