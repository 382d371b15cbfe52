//! What did the server answer? One RESP2 or RESP3 reply, parsed from bytes that are kept as they came.
//!
//! ```text
//! +simple  -error  :int  $bulk  *array            RESP2 and RESP3; $-1 and *-1 are the two RESP2 nulls
//! _null  #bool  ,double  (big  !error  =verbatim  %map  ~set  >push  |attribute   RESP3 only
//! ```
//! Doubles stay text, since `,1e3` and `,1000` are different answers.

/// One reply.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Value {
    /// `+text`
    Simple(Vec<u8>),
    /// `-text`
    Error(Vec<u8>),
    /// `!len text`, the long form of an error
    BlobError(Vec<u8>),
    /// `:number`
    Int(i64),
    /// `$len bytes`
    Bulk(Vec<u8>),
    /// `$-1`
    NullBulk,
    /// `*-1`
    NullArray,
    /// `_`
    Null,
    /// `#t` and `#f`
    Bool(bool),
    /// `,text`
    Double(Vec<u8>),
    /// `(digits`
    Big(Vec<u8>),
    /// `=len txt:bytes`, the three letters and the colon included
    Verbatim(Vec<u8>),
    /// `*n`
    Array(Vec<Value>),
    /// `~n`
    Set(Vec<Value>),
    /// `>n`
    Push(Vec<Value>),
    /// `%n`, pairs in the order sent
    Map(Vec<(Value, Value)>),
}

impl Value {
    /// The items of an array, a set or a push.
    pub fn items(&self) -> Option<&[Value]> {
        match self {
            Value::Array(v) | Value::Set(v) | Value::Push(v) => Some(v),
            _ => None,
        }
    }

    /// The bytes of anything that is text.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Simple(b) | Value::Error(b) | Value::BlobError(b) | Value::Bulk(b) => Some(b),
            Value::Double(b) | Value::Big(b) => Some(b),
            Value::Verbatim(b) => Some(b.get(4..).unwrap_or(&[])),
            _ => None,
        }
    }

    /// The text of anything that is text, for people; bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> String {
        match self {
            Value::Int(n) => n.to_string(),
            other => String::from_utf8_lossy(other.bytes().unwrap_or(b"")).into_owned(),
        }
    }

    /// The number in an integer reply, or in text that is one.
    pub fn number(&self) -> Option<i64> {
        match self {
            Value::Int(n) => Some(*n),
            other => std::str::from_utf8(other.bytes()?).ok()?.parse().ok(),
        }
    }

    /// True for both kinds of error.
    pub fn is_error(&self) -> bool {
        matches!(self, Value::Error(_) | Value::BlobError(_))
    }

    /// True for the three nulls.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::NullBulk | Value::NullArray | Value::Null)
    }
}

/// A parsed reply and the bytes it came as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What it says.
    pub value: Value,
    /// How it was said.
    pub raw: Vec<u8>,
}

/// One reply from the front of `buf` and the bytes it took; `None` while it is incomplete.
/// An error means that the bytes are not RESP.
pub fn parse(buf: &[u8]) -> Result<Option<(Value, usize)>, String> {
    let Some(end) = line_end(buf) else { return Ok(None) };
    let (line, next) = (&buf[1..end], end + 2);
    let text = || line.to_vec();
    Ok(Some(match buf[0] {
        b'+' => (Value::Simple(text()), next),
        b'-' => (Value::Error(text()), next),
        b':' => (Value::Int(number(line)?), next),
        b',' => (Value::Double(text()), next),
        b'(' => (Value::Big(text()), next),
        b'_' => (Value::Null, next),
        b'#' if line == b"t" => (Value::Bool(true), next),
        b'#' if line == b"f" => (Value::Bool(false), next),
        b'$' if line == b"-1" => (Value::NullBulk, next),
        b'*' if line == b"-1" => (Value::NullArray, next),
        kind @ (b'$' | b'=' | b'!') => {
            let len = usize::try_from(number(line)?).map_err(|e| e.to_string())?;
            let Some(rest) = buf.get(next..next + len + 2) else { return Ok(None) };
            if &rest[len..] != b"\r\n" {
                return Err(format!("a bulk of {len} bytes does not end in CRLF"));
            }
            let bytes = rest[..len].to_vec();
            let value = match kind {
                b'$' => Value::Bulk(bytes),
                b'=' => Value::Verbatim(bytes),
                _ => Value::BlobError(bytes),
            };
            (value, next + len + 2)
        }
        kind @ (b'*' | b'~' | b'>' | b'%' | b'|') => return aggregate(kind, number(line)?, buf, next),
        other => return Err(format!("a reply cannot start with {:?}", other as char)),
    }))
}

fn aggregate(kind: u8, count: i64, buf: &[u8], mut next: usize) -> Result<Option<(Value, usize)>, String> {
    let count = usize::try_from(count).map_err(|e| e.to_string())?;
    let pairs = matches!(kind, b'%' | b'|');
    let mut items = Vec::new();
    for _ in 0..if pairs { count * 2 } else { count } {
        let Some((value, used)) = parse(&buf[next..])? else { return Ok(None) };
        items.push(value);
        next += used;
    }
    let value = match kind {
        b'*' => Value::Array(items),
        b'~' => Value::Set(items),
        b'>' => Value::Push(items),
        b'%' => {
            let mut items = items.into_iter();
            let mut map = Vec::with_capacity(count);
            while let (Some(k), Some(v)) = (items.next(), items.next()) {
                map.push((k, v));
            }
            Value::Map(map)
        }
        // An attribute precedes the value that it describes; no reply that we compare needs what it says.
        _ => {
            let Some((value, used)) = parse(&buf[next..])? else { return Ok(None) };
            next += used;
            value
        }
    };
    Ok(Some((value, next)))
}

fn line_end(buf: &[u8]) -> Option<usize> {
    buf.windows(2).position(|w| w == b"\r\n").filter(|&end| end > 0)
}

fn number(line: &[u8]) -> Result<i64, String> {
    let text = std::str::from_utf8(line).map_err(|e| e.to_string())?;
    text.parse().map_err(|_| format!("{text:?} is not a number"))
}

/// The request of these arguments, as clients send it.
pub fn encode<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        out.extend_from_slice(format!("${}\r\n", arg.as_ref().len()).as_bytes());
        out.extend_from_slice(arg.as_ref());
        out.extend_from_slice(b"\r\n");
    }
    out
}
