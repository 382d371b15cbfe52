//! How do replies become Lua values, and Lua values replies?
//!
//! ```text
//! reply bytes   +OK  -ERR x  :1  $3  *2  %1  ~1  ,1.5  #t  _  (123  =7 txt:abc  |1 (skipped)
//! Lua           {ok} {err}   num str tab {map} {set} {double} bool nil {big_number} {verbatim_string}
//! ```
//!
//! Invariants: neither direction recurs, whatever the nesting; a reply that is cut short or
//! malformed is an error, never a guess; what is written to a sink is one complete reply.

use std::borrow::Cow;

use mlua::{Function, Lua, Result, Table, Value};

use super::build::{Builder, Kind, Leaf};
use super::fail::{Failure, c_i64};
use crate::util::number::{fmt_double, fmt_i64};

/// Where the reply of a script goes. One call per element; aggregates announce their size and are
/// followed by their elements (a map by twice as many).
pub trait ReplySink {
    /// A 64-bit integer.
    fn integer(&mut self, n: i64);
    /// A binary-safe string.
    fn bulk(&mut self, bytes: &[u8]);
    /// A status; free of line breaks.
    fn status(&mut self, text: &[u8]);
    /// An error without its leading `-`; free of line breaks. `counted` says that it is already in
    /// the error statistics.
    fn error(&mut self, text: &[u8], counted: bool);
    /// An array of `count` elements.
    fn array(&mut self, count: usize);
    /// A map of `count` pairs.
    fn map(&mut self, count: usize);
    /// A set of `count` elements.
    fn set(&mut self, count: usize);
    /// A double.
    fn double(&mut self, n: f64);
    /// A boolean of RESP3 (an integer for clients of RESP2).
    fn boolean(&mut self, b: bool);
    /// The null of the client's protocol.
    fn null(&mut self);
    /// A big number; free of line breaks.
    fn big_number(&mut self, digits: &[u8]);
    /// Text with a format of three characters.
    fn verbatim(&mut self, format: [u8; 3], text: &[u8]);
}

// ---- replies to Lua ----

/// Deepest nesting of a reply that is taken apart. No command nests deeper than 10.
const MAX_REPLY_DEPTH: usize = 128;

fn malformed() -> mlua::Error {
    Failure::Text(b"malformed reply".to_vec()).into()
}

fn line<'b>(input: &mut &'b [u8]) -> Result<&'b [u8]> {
    let end = memchr::memchr(b'\r', input).ok_or_else(malformed)?;
    let (head, tail) = input.split_at(end);
    *input = tail.strip_prefix(b"\r\n").ok_or_else(malformed)?;
    Ok(head)
}

fn integer(text: &[u8]) -> Result<i64> {
    std::str::from_utf8(text).ok().and_then(|t| t.parse().ok()).ok_or_else(malformed)
}

/// The bytes of a string whose header said `length`; `None` for the null string.
fn blob<'b>(input: &mut &'b [u8], length: i64) -> Result<Option<&'b [u8]>> {
    let Ok(length) = usize::try_from(length) else { return Ok(None) };
    let (bytes, tail) = input.split_at_checked(length).ok_or_else(malformed)?;
    *input = tail.strip_prefix(b"\r\n").ok_or_else(malformed)?;
    Ok(Some(bytes))
}

/// A table with one field.
fn tagged(lua: &Lua, name: &str, value: &[u8]) -> Result<Table> {
    let table = lua.create_table()?;
    table.raw_set(name, super::build::text(value))?;
    Ok(table)
}

/// Splits an error text into its code and message the way scripts get to see it: text without a
/// code gets `ERR`, line breaks at the ends are cut.
pub fn normalise_error(text: &[u8]) -> Vec<u8> {
    let trim = |t: &[u8]| -> Vec<u8> {
        let inside = |b: &u8| !matches!(b, b'\r' | b'\n');
        let start = t.iter().position(inside).unwrap_or(t.len());
        let end = t.iter().rposition(inside).map_or(start, |at| at + 1);
        t[start..end].to_vec()
    };
    let (code, message) = match memchr::memchr(b' ', text) {
        Some(at) => (&text[..at], trim(&text[at + 1..])),
        None => (&b"ERR"[..], trim(text)),
    };
    [code, b" ", &message].concat()
}

/// The table in which scripts receive an error.
pub fn error_table(lua: &Lua, err: &[u8], counted: bool) -> Result<Table> {
    let table = tagged(lua, "err", err)?;
    if counted {
        table.raw_set("ignore_error_stats_update", true)?;
    }
    Ok(table)
}

/// What a command answered: a value, or an error (which `redis.call` raises).
pub enum Answer {
    /// A value for the script.
    Value(Value),
    /// A top-level error reply, normalised.
    Error(Vec<u8>),
}

/// Converts one complete reply.
pub fn reply_to_lua(lua: &Lua, reply: &[u8]) -> Result<Answer> {
    let mut input = reply;
    match reply.first() {
        Some(b':') => {
            input = &input[1..];
            return Ok(Answer::Value(Value::Number(integer(line(&mut input)?)? as f64)));
        }
        Some(b'-') => {
            input = &input[1..];
            return Ok(Answer::Error(normalise_error(line(&mut input)?)));
        }
        Some(b'$') => {
            input = &input[1..];
            let length = integer(line(&mut input)?)?;
            return Ok(Answer::Value(match blob(&mut input, length)? {
                Some(bytes) => Value::String(lua.create_string(bytes)?),
                None => Value::Boolean(false),
            }));
        }
        _ => {}
    }
    let mut out = Builder::new(lua);
    while out.finished() == 0 {
        if out.depth() > MAX_REPLY_DEPTH {
            return Err(malformed());
        }
        read_element(lua, &mut input, &mut out)?;
    }
    Ok(Answer::Value(out.finish().pop().unwrap_or(Value::Nil)))
}

fn read_element<'b>(lua: &Lua, input: &mut &'b [u8], out: &mut Builder<'_, 'b>) -> Result<()> {
    let (&tag, rest) = input.split_first().ok_or_else(malformed)?;
    *input = rest;
    let head = line(input)?;
    let count = |width: u64| -> Result<u64> {
        u64::try_from(integer(head)?).ok().and_then(|n| n.checked_mul(width)).ok_or_else(malformed)
    };
    let leaf = match tag {
        b':' => Leaf::Number(integer(head)? as f64),
        b'$' => match blob(input, integer(head)?)? {
            Some(bytes) => Leaf::Bytes(Cow::Borrowed(bytes)),
            None => Leaf::Bool(false),
        },
        b'+' => Leaf::Table(tagged(lua, "ok", head)?),
        b'-' => Leaf::Table(error_table(lua, &normalise_error(head), true)?),
        b'*' if head == b"-1" => Leaf::Bool(false),
        b'*' => return out.open_counted(Kind::Array, count(1)?, None),
        b'%' => return out.open_counted(Kind::Map, count(2)?, Some("map")),
        b'~' => return out.open_counted(Kind::Set, count(1)?, Some("set")),
        // An attribute precedes the value it describes and does not count as one.
        b'|' => return out.open_counted(Kind::Ignored, count(2)?, None),
        b'_' => Leaf::Nil,
        b'#' => Leaf::Bool(head == b"t"),
        b',' => {
            let table = lua.create_table()?;
            let n = super::lib_cjson::strtod(head).ok_or_else(malformed)?.0;
            table.raw_set("double", n)?;
            Leaf::Table(table)
        }
        b'(' => Leaf::Table(tagged(lua, "big_number", head)?),
        b'=' => {
            let text = blob(input, integer(head)?)?.ok_or_else(malformed)?;
            let inner = tagged(lua, "string", text.get(4..).ok_or_else(malformed)?)?;
            inner.raw_set("format", super::build::text(&text[..3]))?;
            let outer = lua.create_table()?;
            outer.raw_set("verbatim_string", inner)?;
            Leaf::Table(outer)
        }
        _ => return Err(malformed()),
    };
    out.place(leaf)
}

// ---- Lua to replies ----

/// Deepest nesting of what a script returns.
const MAX_RETURN_DEPTH: usize = 2000;

/// What of a table is still to be written.
enum Walk {
    Array { table: Table, next: i64, count: i64 },
    Pairs { table: Table, last: Value, keys_only: bool },
    One(Value),
}

/// Line breaks cannot occur in one-line replies; the text ends at a NUL as it does in C.
pub fn one_line(text: &[u8]) -> Vec<u8> {
    let text = text.split(|&b| b == 0).next().unwrap_or_default();
    text.iter().map(|&b| if matches!(b, b'\r' | b'\n') { b' ' } else { b }).collect()
}

/// Writes what a script returned. `resp3` is the protocol the script chose with `redis.setresp`;
/// `next` is the interpreter's own.
pub fn lua_to_reply(value: Value, resp3: bool, next: &Function, sink: &mut dyn ReplySink) -> Result<()> {
    let mut walks: Vec<Walk> = Vec::new();
    let mut current = Some(value);
    loop {
        if let Some(value) = current.take() {
            if walks.len() >= MAX_RETURN_DEPTH {
                sink.error(b"ERR reached lua stack limit", false);
            } else if let Some(walk) = write_value(value, resp3, sink)? {
                walks.push(walk);
            }
        }
        match walks.last_mut() {
            None => return Ok(()),
            Some(Walk::One(value)) => {
                current = Some(std::mem::replace(value, Value::Nil));
                walks.pop();
            }
            Some(Walk::Array { table, next, count }) => {
                if *next > *count {
                    walks.pop();
                } else {
                    current = Some(table.raw_get(*next)?);
                    *next += 1;
                }
            }
            Some(Walk::Pairs { table, last, keys_only }) => {
                let after = std::mem::replace(last, Value::Nil);
                let (key, value): (Value, Value) = next.call((&*table, after))?;
                if key.is_nil() {
                    walks.pop();
                    continue;
                }
                *last = key.clone();
                let keys_only = *keys_only;
                current = Some(key);
                if !keys_only {
                    // The value waits until its key, whatever that is, has been written.
                    walks.push(Walk::One(value));
                }
            }
        }
    }
}

/// Writes a leaf, or the header of an aggregate together with what follows it.
fn write_value(value: Value, resp3: bool, sink: &mut dyn ReplySink) -> Result<Option<Walk>> {
    match value {
        Value::String(bytes) => sink.bulk(&bytes.as_bytes()),
        Value::Integer(n) => sink.integer(n),
        Value::Number(n) => sink.integer(c_i64(n)),
        Value::Boolean(b) if resp3 => sink.boolean(b),
        Value::Boolean(true) => sink.integer(1),
        Value::Table(table) => return write_table(table, sink),
        _ => sink.null(),
    }
    Ok(None)
}

fn write_table(table: Table, sink: &mut dyn ReplySink) -> Result<Option<Walk>> {
    if let Value::String(err) = table.raw_get("err")? {
        let counted = matches!(table.raw_get("ignore_error_stats_update")?, Value::Boolean(true));
        sink.error(&one_line(trim_end(&err.as_bytes())), counted);
        return Ok(None);
    }
    if let Value::String(ok) = table.raw_get("ok")? {
        sink.status(&one_line(&ok.as_bytes()));
        return Ok(None);
    }
    match table.raw_get("double")? {
        Value::Number(n) => {
            sink.double(n);
            return Ok(None);
        }
        Value::Integer(n) => {
            sink.double(n as f64);
            return Ok(None);
        }
        _ => {}
    }
    if let Value::String(digits) = table.raw_get("big_number")? {
        let text = digits.as_bytes();
        let clean = |b: &u8| if matches!(b, b'\r' | b'\n') { b' ' } else { *b };
        sink.big_number(&text.iter().map(clean).collect::<Vec<u8>>());
        return Ok(None);
    }
    if let Value::Table(verbatim) = table.raw_get("verbatim_string")?
        && let Value::String(format) = verbatim.raw_get("format")?
        && let Value::String(text) = verbatim.raw_get("string")?
    {
        let mut three = [b' '; 3];
        let format = format.as_bytes();
        for (to, from) in three.iter_mut().zip(format.iter().take_while(|b| **b != 0)) {
            *to = *from;
        }
        sink.verbatim(three, &text.as_bytes());
        return Ok(None);
    }
    for (name, keys_only) in [("map", false), ("set", true)] {
        if let Value::Table(inner) = table.raw_get(name)? {
            let mut count = 0;
            inner.for_each(|_: bool, _: bool| {
                count += 1;
                Ok(())
            })?;
            if keys_only {
                sink.set(count)
            } else {
                sink.map(count)
            }
            return Ok(Some(Walk::Pairs { table: inner, last: Value::Nil, keys_only }));
        }
    }
    let mut count: i64 = 0;
    while table.raw_get::<Option<bool>>(count + 1)?.is_some() {
        count += 1;
    }
    sink.array(usize::try_from(count).unwrap_or(0));
    Ok(Some(Walk::Array { table, next: 1, count }))
}

fn trim_end(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|b| !matches!(b, b'\r' | b'\n')).map_or(0, |at| at + 1);
    &text[..end]
}

// ---- numbers as command arguments ----

/// Appends a number the way `redis.call` passes it on: whole numbers in full, everything else in
/// the shortest form that reads back the same.
pub fn push_number(out: &mut Vec<u8>, n: f64) {
    const HALF: f64 = (i64::MAX / 2) as f64;
    if (-HALF..=HALF).contains(&n) && (n as i64) as f64 == n {
        out.extend_from_slice(fmt_i64(n as i64).as_ref());
        return;
    }
    if n.is_nan() && n.is_sign_negative() {
        // The processor's own NaN, what 0/0 gives.
        out.push(b'-');
    }
    out.extend_from_slice(fmt_double(n).as_ref());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(n: f64) -> String {
        let mut out = Vec::new();
        push_number(&mut out, n);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_read_as_redis_writes_them() {
        let cases: &[(f64, &str)] = &[
            (1.5, "1.5"),
            (1e15, "1000000000000000"),
            (1e20, "1e+20"),
            (0.1, "0.1"),
            (1.0 / 3.0, "0.3333333333333333"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (-0.0, "0"),
            (1e-7, "1e-7"),
            (123_456_789_012_345_680_000.0, "123456789012345680000"),
            (f64::MAX, "1.7976931348623157e+308"),
            (-2.25, "-2.25"),
            (1e-5, "0.00001"),
        ];
        for (n, text) in cases {
            assert_eq!(number(*n), *text);
        }
    }

    #[test]
    fn errors_get_a_code_and_lose_line_breaks() {
        let cases: &[(&str, &str)] =
            &[("ERR boo", "ERR boo"), ("boo", "ERR boo"), ("My Err\r\n", "My Err"), ("", "ERR ")];
        for (text, expected) in cases {
            assert_eq!(normalise_error(text.as_bytes()), expected.as_bytes(), "{text}");
        }
    }

    #[test]
    fn malformed_replies_are_errors() {
        let lua = Lua::new();
        for bad in [
            "",
            ":",
            ":1",
            "$5\r\nab",
            "*2\r\n:1\r\n",
            "%1\r\n+a\r\n",
            "$1\r\nabc",
            "!x\r\n",
            "*9223372036854775807\r\n",
            "%9223372036854775807\r\n",
            "=1\r\na\r\n",
        ] {
            assert!(reply_to_lua(&lua, bad.as_bytes()).is_err(), "{bad:?}");
        }
        let deep = "*1\r\n".repeat(100_000);
        assert!(reply_to_lua(&lua, deep.as_bytes()).is_err());
    }
}
