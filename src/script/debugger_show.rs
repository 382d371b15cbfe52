//! How do values and replies read in the debugger? On one line each, like Redis shows them.
//!
//! Invariant: what is shown is bounded, however deep, wide or circular a value is.

use mlua::{Table, Value};

use crate::util::number::fmt_g6;
use crate::util::quote;

/// Tables inside tables that are shown.
const DEEPEST: usize = 10;
/// Bytes of one value that are shown, whatever `maxlen` says.
const LONGEST: usize = 1 << 20;

/// Appends a value. An array shows its values, any other table also its keys.
pub fn value(out: &mut Vec<u8>, shown: &Value) {
    nested(out, shown, 0);
}

fn nested(out: &mut Vec<u8>, shown: &Value, depth: usize) {
    if depth == DEEPEST {
        return out.extend_from_slice(b"<max recursion level reached! Nested table?>");
    }
    match shown {
        Value::Nil => out.extend_from_slice(b"nil"),
        Value::Boolean(true) => out.extend_from_slice(b"true"),
        Value::Boolean(false) => out.extend_from_slice(b"false"),
        // A Lua 5.1 number is a double, so the integer came from one and goes back unchanged.
        Value::Integer(n) => out.extend_from_slice(fmt_g6(*n as f64).as_ref()),
        Value::Number(n) => out.extend_from_slice(fmt_g6(*n).as_ref()),
        Value::String(text) => out.extend_from_slice(&quote::quoted(&text.as_bytes())),
        Value::Table(inner) => table(out, inner, depth + 1),
        other => {
            let name = match other {
                Value::LightUserData(_) => "light-userdata",
                other => super::fail::type_name(other),
            };
            out.extend_from_slice(format!("\"{name}@{:p}\"", other.to_pointer()).as_bytes());
        }
    }
}

/// True when the keys are 1, 2, 3 and so on, in this order.
fn is_array(table: &Table) -> bool {
    (1_i64..)
        .zip(table.pairs::<Value, Value>())
        .all(|(index, pair)| matches!(pair, Ok((Value::Integer(key), _)) if key == index))
}

fn table(out: &mut Vec<u8>, table: &Table, depth: usize) {
    let with_keys = !is_array(table);
    out.push(b'{');
    for (i, pair) in table.pairs::<Value, Value>().enumerate() {
        // Fails only for want of memory.
        let Ok((key, value)) = pair else { break };
        if i > 0 {
            out.extend_from_slice(b"; ");
        }
        if out.len() > LONGEST {
            out.extend_from_slice(b"...");
            break;
        }
        if with_keys {
            out.push(b'[');
            nested(out, &key, depth);
            out.extend_from_slice(b"]=");
        }
        nested(out, &value, depth);
    }
    out.push(b'}');
}

/// Appends a command's complete reply.
pub fn reply(out: &mut Vec<u8>, bytes: &[u8]) {
    one_reply(out, bytes);
}

/// Appends the reply at the start of `bytes` and returns what is behind it. Replies are our own, so they are whole, and
/// as deep as a command makes them.
fn one_reply<'b>(out: &mut Vec<u8>, bytes: &'b [u8]) -> &'b [u8] {
    let end = memchr::memchr(b'\r', bytes).unwrap_or(bytes.len());
    let (line, rest) = (bytes.get(..end).unwrap_or_default(), bytes.get(end + 2..).unwrap_or_default());
    let (tag, head) = line.split_first().map_or((0, line), |(tag, head)| (*tag, head));
    let count = std::str::from_utf8(head).ok().and_then(|text| text.parse::<usize>().ok());
    match (tag, count) {
        (b':' | b'(', _) => out.extend_from_slice(head),
        (b'+' | b'-', _) => out.extend_from_slice(&quote::quoted(line)),
        (b'_', _) => out.extend_from_slice(b"(null)"),
        (b'#', _) => out.extend_from_slice(if head == b"t" { b"#true" } else { b"#false" }),
        (b',', _) => out.extend_from_slice(&[b"(double) ", head].concat()),
        (b'$' | b'=', Some(length)) => {
            out.extend_from_slice(&quote::quoted(rest.get(..length).unwrap_or_default()));
            return rest.get(length + 2..).unwrap_or_default();
        }
        (b'*' | b'>', Some(count)) => return several(out, rest, count, ["[", "]"], false),
        (b'~', Some(count)) => return several(out, rest, count, ["~(", ")"], false),
        (b'%', Some(count)) => return several(out, rest, count, ["{", "}"], true),
        _ => out.extend_from_slice(b"NULL"),
    }
    rest
}

fn several<'b>(
    out: &mut Vec<u8>,
    bytes: &'b [u8],
    count: usize,
    [open, close]: [&str; 2],
    pairs: bool,
) -> &'b [u8] {
    let mut rest = bytes;
    out.extend_from_slice(open.as_bytes());
    for i in 0..count {
        if i > 0 {
            out.push(b',');
        }
        rest = one_reply(out, rest);
        if pairs {
            out.extend_from_slice(b" => ");
            rest = one_reply(out, rest);
        }
    }
    out.extend_from_slice(close.as_bytes());
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        reply(&mut out, bytes);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn replies_read_as_in_redis() {
        assert_eq!(shown(b":12\r\n"), "12");
        assert_eq!(shown(b"+OK\r\n"), "\"+OK\"");
        assert_eq!(shown(b"-ERR no\r\n"), "\"-ERR no\"");
        assert_eq!(shown(b"$3\r\na\nb\r\n"), "\"a\\nb\"");
        assert_eq!(shown(b"$-1\r\n"), "NULL");
        assert_eq!(shown(b"*-1\r\n"), "NULL");
        assert_eq!(shown(b"*3\r\n:1\r\n*0\r\n$1\r\nx\r\n"), "[1,[],\"x\"]");
        assert_eq!(shown(b"%2\r\n+a\r\n:1\r\n+b\r\n_\r\n"), "{\"+a\" => 1,\"+b\" => (null)}");
        assert_eq!(shown(b"~2\r\n#t\r\n#f\r\n"), "~(#true,#false)");
        assert_eq!(shown(b",1.5\r\n"), "(double) 1.5");
    }

    #[test]
    fn circles_and_crowds_have_an_end() {
        let lua = mlua::Lua::new();
        let wide: Value = lua.load("t = {} for i = 1, 100 do t[i] = t end return t").eval().unwrap();
        let mut out = Vec::new();
        value(&mut out, &wide);
        assert!(out.len() < 2 * LONGEST, "{}", out.len());
        let plain: Value = lua.load("return {1, 'x', {a = true}, {1, nil, 3}, 0.1, 1e15}").eval().unwrap();
        out.clear();
        value(&mut out, &plain);
        assert_eq!(String::from_utf8(out).unwrap(), "{1; \"x\"; {[\"a\"]=true}; {[1]=1; [3]=3}; 0.1; 1e+15}");
    }
}
