//! How are commands and replies written for people? One line, quoted where needed, and read back the same.
//!
//! ```text
//! +OK  -ERR text  :1  "bulk"  $-1  *-1  _  ,1.5  #t  (123  =txt:"x"  -"ERR nested"  <x*600>  (600 times x)
//! [ array ]  ~[ set ]  >[ push ]  { "key" => :1 }
//! ```

use super::resp::Value;

/// Bytes in double quotes, with `\n \r \t \" \\ \xHH`; 40 or more of one byte become `<b*count>`.
pub fn quote(bytes: &[u8]) -> String {
    if let Some(&first) = bytes.first()
        && bytes.len() >= 40
        && first.is_ascii_alphanumeric()
        && bytes.iter().all(|&b| b == first)
    {
        return format!("<{}*{}>", first as char, bytes.len());
    }
    let mut out = String::from("\"");
    for &b in bytes {
        match b {
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            0x20..=0x7e => out.push(b as char),
            _ => out.push_str(&format!("\\x{b:02x}")),
        }
    }
    out.push('"');
    out
}

/// A command as one line: words that need no quotes go without.
pub fn command(args: &[Vec<u8>]) -> String {
    let plain = |b: &u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\'' | b'\\' | b'<' | b'#');
    let word = |arg: &Vec<u8>| match arg.is_empty() || !arg.iter().all(plain) || arg.len() > 200 {
        true => quote(arg),
        false => String::from_utf8_lossy(arg).into_owned(),
    };
    args.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// The words of a line: bare, `"escaped"`, `'raw'` or `<x*600>`.
pub fn split(line: &str) -> Result<Vec<Vec<u8>>, String> {
    let mut words = Vec::new();
    let bytes = line.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b' ' | b'\t' => at += 1,
            b'"' | b'\'' => {
                let (word, next) = quoted(bytes, at)?;
                words.push(word);
                at = next;
            }
            _ => {
                let end = bytes[at..].iter().position(|b| *b == b' ').map_or(bytes.len(), |n| at + n);
                words.push(repeated(&bytes[at..end]).unwrap_or_else(|| bytes[at..end].to_vec()));
                at = end;
            }
        }
    }
    Ok(words)
}

fn repeated(word: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(word).ok()?;
    let (unit, count) = text.strip_prefix('<')?.strip_suffix('>')?.rsplit_once('*')?;
    Some(unit.as_bytes().repeat(count.parse().ok()?))
}

fn quoted(bytes: &[u8], open: usize) -> Result<(Vec<u8>, usize), String> {
    let (mut out, mut at) = (Vec::new(), open + 1);
    loop {
        match bytes.get(at) {
            None => return Err("a quote is never closed".into()),
            Some(b) if *b == bytes[open] => return Ok((out, at + 1)),
            Some(b'\\') if bytes[open] == b'"' => {
                let escaped = *bytes.get(at + 1).ok_or("a backslash ends the line")?;
                at += 2;
                match escaped {
                    b'n' => out.push(b'\n'),
                    b'r' => out.push(b'\r'),
                    b't' => out.push(b'\t'),
                    b'x' => {
                        let hex = bytes.get(at..at + 2).ok_or("\\x needs two digits")?;
                        let hex = std::str::from_utf8(hex).map_err(|e| e.to_string())?;
                        out.push(u8::from_str_radix(hex, 16).map_err(|e| e.to_string())?);
                        at += 2;
                    }
                    other => out.push(other),
                }
            }
            Some(b) => {
                out.push(*b);
                at += 1;
            }
        }
    }
}

/// The tokens of a reply; `render` puts spaces between them.
pub fn tokens(value: &Value) -> Vec<String> {
    let mut out = Vec::new();
    write_tokens(value, &mut out, true);
    out
}

/// A reply as one line.
pub fn render(value: &Value) -> String {
    tokens(value).join(" ")
}

fn write_tokens(value: &Value, out: &mut Vec<String>, top: bool) {
    let lossy = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    let group = |open: &str, items: &[Value], out: &mut Vec<String>| {
        out.push(open.into());
        items.iter().for_each(|v| write_tokens(v, out, false));
        out.push("]".into());
    };
    match value {
        Value::Simple(b) if b.contains(&b' ') => out.push(format!("+{}", quote(b))),
        Value::Simple(b) => out.push(format!("+{}", lossy(b))),
        Value::Error(b) if top => out.push(format!("-{}", lossy(b))),
        Value::Error(b) => out.push(format!("-{}", quote(b))),
        Value::BlobError(b) => out.push(format!("!{}", quote(b))),
        Value::Int(n) => out.push(format!(":{n}")),
        Value::Bulk(b) => out.push(quote(b)),
        Value::NullBulk => out.push("$-1".into()),
        Value::NullArray => out.push("*-1".into()),
        Value::Null => out.push("_".into()),
        Value::Bool(b) => out.push(if *b { "#t".into() } else { "#f".into() }),
        Value::Double(b) => out.push(format!(",{}", lossy(b))),
        Value::Big(b) => out.push(format!("({}", lossy(b))),
        Value::Verbatim(b) => {
            out.push(format!("={}{}", lossy(&b[..4.min(b.len())]), quote(&b[4.min(b.len())..])))
        }
        Value::Array(items) => group("[", items, out),
        Value::Set(items) => group("~[", items, out),
        Value::Push(items) => group(">[", items, out),
        Value::Map(pairs) => {
            out.push("{".into());
            for (k, v) in pairs {
                write_tokens(k, out, false);
                out.push("=>".into());
                write_tokens(v, out, false);
            }
            out.push("}".into());
        }
    }
}
