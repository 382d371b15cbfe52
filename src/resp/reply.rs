//! How is a reply written? [`Reply`] appends RESP to a buffer; whether that is RESP2 or RESP3 is decided here only.
//!
//! Handlers write what they mean (a map, a set, a double); a RESP2 client gets the older form of it. Aggregates of
//! unknown length are opened with [`Reply::open`] and closed with the count.

use crate::ds::listpack::LpValue;
use crate::ds::wire;
use crate::error::Error;
use crate::util::number;

/// The protocol version that a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Proto {
    /// RESP2, the default of a new connection.
    #[default]
    Resp2,
    /// RESP3, after `HELLO 3`.
    Resp3,
}

/// A place in the buffer where the header of an aggregate is written once its length is known.
#[derive(Debug)]
#[must_use = "an opened aggregate must be closed"]
pub struct Mark(usize);

/// Appends one command's reply to a buffer.
#[derive(Debug)]
pub struct Reply<'a> {
    buf: &'a mut Vec<u8>,
    proto: Proto,
    most: usize,
}

impl<'a> Reply<'a> {
    /// Writes to the end of `buf` in the given protocol.
    pub fn new(buf: &'a mut Vec<u8>, proto: Proto) -> Self {
        Reply { buf, proto, most: usize::MAX }
    }

    /// The client is dropped when the buffer grows to this length.
    pub fn at_most(mut self, most: usize) -> Self {
        self.most = most;
        self
    }

    /// True when nobody will read what is written from now on: handlers whose replies have no natural end may stop.
    pub fn is_in_vain(&self) -> bool {
        self.buf.len() >= self.most
    }

    /// The protocol in force.
    pub fn proto(&self) -> Proto {
        self.proto
    }

    /// Changes the protocol for what follows (HELLO).
    pub fn set_proto(&mut self, proto: Proto) {
        self.proto = proto;
    }

    /// True for RESP3.
    pub fn is_resp3(&self) -> bool {
        self.proto == Proto::Resp3
    }

    /// Bytes in the buffer, earlier replies included.
    pub fn position(&self) -> usize {
        self.buf.len()
    }

    /// Forgets everything written after `position`.
    pub fn truncate(&mut self, position: usize) {
        self.buf.truncate(position);
    }

    /// The bytes written since `position`.
    pub fn since(&self, position: usize) -> &[u8] {
        self.buf.get(position..).unwrap_or_default()
    }

    /// A reply that has been encoded before, in this protocol.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }

    fn header(&mut self, kind: u8, n: i64) {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(n).as_bytes();
        // One piece: a kind, at most 20 digits, and the line's end.
        let mut line = [0; 24];
        line[0] = kind;
        line[1..=digits.len()].copy_from_slice(digits);
        line[digits.len() + 1..digits.len() + 3].copy_from_slice(b"\r\n");
        self.buf.extend_from_slice(&line[..digits.len() + 3]);
    }

    fn count(&mut self, kind: u8, n: usize) {
        self.header(kind, i64::try_from(n).unwrap_or(i64::MAX));
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        self.buf.push(kind);
        self.buf.extend(text.iter().map(|&b| if b == b'\r' || b == b'\n' { b' ' } else { b }));
        self.buf.extend_from_slice(b"\r\n");
    }

    /// `+OK`.
    pub fn ok(&mut self) {
        self.buf.extend_from_slice(b"+OK\r\n");
    }

    /// A simple string; line breaks become spaces.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// A simple string from bytes that a script or client made.
    pub fn simple_bytes(&mut self, text: &[u8]) {
        self.line(b'+', text);
    }

    /// An error.
    pub fn error(&mut self, error: &Error) {
        let line = error.line();
        // What a client sent may be quoted at the end, line breaks included.
        let end = line.iter().rposition(|b| !matches!(b, b'\r' | b'\n')).map_or(0, |last| last + 1);
        self.line(b'-', line.get(..end).unwrap_or(&line));
    }

    /// An error line from bytes that a script made; no code is added.
    pub fn error_bytes(&mut self, text: &[u8]) {
        self.line(b'-', text);
    }

    /// A 64-bit integer.
    pub fn int(&mut self, n: i64) {
        if (0..10).contains(&n) {
            self.buf.extend_from_slice(&[b':', b'0' + n as u8, b'\r', b'\n']);
        } else {
            self.header(b':', n);
        }
    }

    /// A length or count.
    pub fn len(&mut self, n: usize) {
        self.int(i64::try_from(n).unwrap_or(i64::MAX));
    }

    /// 1 or 0, in both protocols (most commands answer so; see [`Reply::boolean`]).
    pub fn flag(&mut self, yes: bool) {
        self.buf.extend_from_slice(if yes { b":1\r\n" } else { b":0\r\n" });
    }

    /// A RESP3 boolean; 1 or 0 in RESP2.
    pub fn boolean(&mut self, yes: bool) {
        match self.proto {
            Proto::Resp2 => self.flag(yes),
            Proto::Resp3 => self.buf.extend_from_slice(if yes { b"#t\r\n" } else { b"#f\r\n" }),
        }
    }

    /// A binary-safe string.
    pub fn bulk(&mut self, bytes: &[u8]) {
        wire::push_bulk(self.buf, bytes);
    }

    /// An integer as a bulk string.
    pub fn bulk_int(&mut self, n: i64) {
        let mut digits = itoa::Buffer::new();
        self.bulk(digits.format(n).as_bytes());
    }

    /// An element of a collection, as a string.
    pub fn element(&mut self, value: LpValue<'_>) {
        match value {
            LpValue::Str(bytes) => self.bulk(bytes),
            LpValue::Int(n) => self.bulk_int(n),
        }
    }

    /// A bulk string or null.
    pub fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(b) => self.bulk(b),
            None => self.null(),
        }
    }

    /// Null: `$-1` in RESP2, `_` in RESP3.
    pub fn null(&mut self) {
        self.buf.extend_from_slice(match self.proto {
            Proto::Resp2 => b"$-1\r\n",
            Proto::Resp3 => b"_\r\n",
        });
    }

    /// A null where an array was expected: `*-1` in RESP2, `_` in RESP3.
    pub fn null_array(&mut self) {
        self.buf.extend_from_slice(match self.proto {
            Proto::Resp2 => b"*-1\r\n",
            Proto::Resp3 => b"_\r\n",
        });
    }

    /// The header of an array of `n` replies.
    pub fn array(&mut self, n: usize) {
        self.count(b'*', n);
    }

    /// The header of a map of `n` pairs; a flat array of 2n in RESP2.
    pub fn map(&mut self, n: usize) {
        match self.proto {
            Proto::Resp2 => self.count(b'*', n.saturating_mul(2)),
            Proto::Resp3 => self.count(b'%', n),
        }
    }

    /// The header of a set of `n` replies; an array in RESP2.
    pub fn set(&mut self, n: usize) {
        self.count(if self.is_resp3() { b'~' } else { b'*' }, n);
    }

    /// The header of an out-of-band message of `n` replies; an array in RESP2.
    pub fn push(&mut self, n: usize) {
        self.count(if self.is_resp3() { b'>' } else { b'*' }, n);
    }

    /// The header of an attribute of `n` pairs (RESP3 only; callers check).
    pub fn attribute(&mut self, n: usize) {
        self.count(b'|', n);
    }

    /// A double; a bulk string of its shortest text in RESP2.
    pub fn double(&mut self, value: f64) {
        let text = number::fmt_double(value);
        match self.proto {
            Proto::Resp2 => self.bulk(text.as_ref()),
            Proto::Resp3 => self.line(b',', text.as_ref()),
        }
    }

    /// An integer beyond 64 bits, as text; a bulk string in RESP2.
    pub fn big_number(&mut self, digits: &[u8]) {
        match self.proto {
            Proto::Resp2 => self.bulk(digits),
            Proto::Resp3 => self.line(b'(', digits),
        }
    }

    /// Text with a three-letter format (`txt`, `mkd`); a bulk string in RESP2.
    pub fn verbatim(&mut self, format: &str, text: &[u8]) {
        match self.proto {
            Proto::Resp2 => self.bulk(text),
            Proto::Resp3 => {
                self.count(b'=', text.len().saturating_add(4));
                self.buf.extend_from_slice(format.as_bytes());
                self.buf.push(b':');
                self.buf.extend_from_slice(text);
                self.buf.extend_from_slice(b"\r\n");
            }
        }
    }

    /// An array of bulk strings.
    pub fn bulks<T: AsRef<[u8]>>(&mut self, items: impl ExactSizeIterator<Item = T>) {
        self.array(items.len());
        for item in items {
            self.bulk(item.as_ref());
        }
    }

    /// Opens an aggregate whose length is not known yet.
    pub fn open(&mut self) -> Mark {
        Mark(self.buf.len())
    }

    fn close(&mut self, mark: Mark, kind: u8, n: usize) {
        let mut digits = itoa::Buffer::new();
        let text = digits.format(n).as_bytes();
        let header = [&[kind][..], text, b"\r\n"].concat();
        self.buf.splice(mark.0..mark.0, header);
    }

    /// Closes an aggregate as an array of `n` replies.
    pub fn close_array(&mut self, mark: Mark, n: usize) {
        self.close(mark, b'*', n);
    }

    /// Closes an aggregate as a set of `n` replies.
    pub fn close_set(&mut self, mark: Mark, n: usize) {
        self.close(mark, if self.is_resp3() { b'~' } else { b'*' }, n);
    }

    /// Closes an aggregate as a map of `n` pairs.
    pub fn close_map(&mut self, mark: Mark, n: usize) {
        match self.proto {
            Proto::Resp2 => self.close(mark, b'*', n.saturating_mul(2)),
            Proto::Resp3 => self.close(mark, b'%', n),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(proto: Proto, f: impl FnOnce(&mut Reply<'_>)) -> String {
        let mut buf = Vec::new();
        f(&mut Reply::new(&mut buf, proto));
        String::from_utf8(buf).unwrap()
    }

    #[test]
    fn line_breaks_never_reach_a_line_reply() {
        assert_eq!(written(Proto::Resp2, |r| r.error(&Error::text("ERR x\r\n+OK"))), "-ERR x  +OK\r\n");
        assert_eq!(written(Proto::Resp2, |r| r.simple("a\nb")), "+a b\r\n");
    }

    #[test]
    fn deferred_aggregates_get_their_header_in_front() {
        let text = written(Proto::Resp3, |r| {
            let mark = r.open();
            r.bulk(b"k");
            r.int(1);
            r.close_map(mark, 1);
        });
        assert_eq!(text, "%1\r\n$1\r\nk\r\n:1\r\n");
    }

    #[test]
    fn older_clients_get_the_older_form() {
        assert_eq!(written(Proto::Resp2, |r| r.map(2)), "*4\r\n");
        assert_eq!(written(Proto::Resp2, |r| r.double(1.5)), "$3\r\n1.5\r\n");
        assert_eq!(written(Proto::Resp3, |r| r.double(1.5)), ",1.5\r\n");
        assert_eq!(written(Proto::Resp2, |r| r.null_array()), "*-1\r\n");
    }
}
