//! The cjson library: how do scripts write and read JSON?
//!
//! Behaviour of lua-cjson 2.1.0 as Redis ships it: lenient numbers, `cjson.null`, sparse arrays,
//! 14 digits, 1000 levels. Encoding walks tables inside the VM (`lua/cjson.lua`); decoding is here.
//!
//! Invariants: decoding keeps its own stack of open containers, no more than [`DEEPEST`] of them;
//! settings that a script changes are back at their defaults when the next one runs, because
//! interpreters are per thread and a script must not depend on which one it meets.

use std::borrow::Cow;
use std::cell::Cell;
use std::rc::Rc;

use mlua::{Function, Lua, MultiValue, Result, Table, Value};

use super::build::{Builder, Kind, Leaf};
use super::fail::{Args, PRELUDE_CHUNK, bad_argument, c_int, failure_of, raise};

/// Levels beyond which nothing is decoded, whatever `decode_max_depth` says.
const DEEPEST: usize = 2600;
const ENCODER: &str = include_str!("../../lua/cjson.lua");

/// What a script can set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Settings {
    sparse_convert: i32,
    sparse_ratio: i32,
    sparse_safe: i32,
    encode_depth: i32,
    decode_depth: i32,
    /// 0 refuse, 1 write as they are, 2 write as null.
    encode_invalid: i32,
    decode_invalid: i32,
    precision: i32,
    keep_buffer: i32,
}

impl Settings {
    const DEFAULT: Self = Self {
        sparse_convert: 0,
        sparse_ratio: 2,
        sparse_safe: 10,
        encode_depth: 1000,
        decode_depth: 1000,
        encode_invalid: 0,
        decode_invalid: 1,
        precision: 14,
        keep_buffer: 1,
    };
}

/// The settings of one `cjson` table.
#[derive(Clone)]
pub struct Shared(Rc<Cell<Settings>>);

impl Shared {
    /// Back to the defaults.
    pub fn reset(&self) {
        self.0.set(Settings::DEFAULT);
    }
}

// ---- settings ----

fn integer_option(args: &Args<'_>, n: usize, setting: &mut i32, (min, max): (i32, i32)) -> Result<Value> {
    if !matches!(args.get(n), None | Some(Value::Nil)) {
        let value = c_int(args.number(n)?);
        if value < min || value > max {
            let why = format!("expected integer between {min} and {max}");
            return Err(bad_argument(args.lua(), 1, why));
        }
        *setting = value;
    }
    Ok(Value::Integer(i64::from(*setting)))
}

fn enum_option(args: &Args<'_>, n: usize, setting: &mut i32, options: &[&'static str]) -> Result<Value> {
    match args.get(n) {
        None | Some(Value::Nil) => {}
        Some(Value::Boolean(b)) => *setting = i32::from(*b),
        Some(_) => {
            let name = args.string(n)?;
            let name = name.as_bytes();
            match (0..).zip(options).find(|(_, option)| option.as_bytes() == &*name) {
                Some((index, _)) => *setting = index,
                None => {
                    let why = format!("invalid option '{}'", String::from_utf8_lossy(&name));
                    return Err(bad_argument(args.lua(), n, why));
                }
            }
        }
    }
    match options.get(*setting as usize) {
        Some(option) if *setting > 1 => args.lua().create_string(option.as_bytes()).map(Value::String),
        _ => Ok(Value::Boolean(*setting == 1)),
    }
}

const SWITCH: &[&str] = &["off", "on"];
const INVALID: &[&str] = &["off", "on", "null"];

type Setter = fn(&Args<'_>, &mut Settings) -> Result<Vec<Value>>;

/// Name, most arguments, and what each settings function does.
const SETTERS: &[(&str, usize, Setter)] = &[
    ("encode_sparse_array", 3, |args, s| {
        Ok(vec![
            enum_option(args, 1, &mut s.sparse_convert, SWITCH)?,
            integer_option(args, 2, &mut s.sparse_ratio, (0, i32::MAX))?,
            integer_option(args, 3, &mut s.sparse_safe, (0, i32::MAX))?,
        ])
    }),
    ("encode_max_depth", 1, |args, s| Ok(vec![integer_option(args, 1, &mut s.encode_depth, (1, i32::MAX))?])),
    ("decode_max_depth", 1, |args, s| Ok(vec![integer_option(args, 1, &mut s.decode_depth, (1, i32::MAX))?])),
    ("encode_number_precision", 1, |args, s| Ok(vec![integer_option(args, 1, &mut s.precision, (1, 14))?])),
    ("encode_keep_buffer", 1, |args, s| Ok(vec![enum_option(args, 1, &mut s.keep_buffer, SWITCH)?])),
    ("encode_invalid_numbers", 1, |args, s| Ok(vec![enum_option(args, 1, &mut s.encode_invalid, INVALID)?])),
    ("decode_invalid_numbers", 1, |args, s| Ok(vec![enum_option(args, 1, &mut s.decode_invalid, SWITCH)?])),
];

// ---- decoding ----

enum Token<'b> {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    String(Cow<'b, [u8]>),
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    Error(&'static str),
}

impl Token<'_> {
    fn name(&self) -> &'static str {
        match self {
            Self::ObjectBegin => "T_OBJ_BEGIN",
            Self::ObjectEnd => "T_OBJ_END",
            Self::ArrayBegin => "T_ARR_BEGIN",
            Self::ArrayEnd => "T_ARR_END",
            Self::String(_) => "T_STRING",
            Self::Number(_) => "T_NUMBER",
            Self::Boolean(_) => "T_BOOLEAN",
            Self::Null => "T_NULL",
            Self::Colon => "T_COLON",
            Self::Comma => "T_COMMA",
            Self::End => "T_END",
            Self::Error(why) => why,
        }
    }
}

/// Reads tokens. Input ends at its end or at the first NUL outside a string.
struct Lexer<'b> {
    data: &'b [u8],
    at: usize,
    /// Where the last token began, or where it went wrong.
    start: usize,
    lenient: bool,
}

impl<'b> Lexer<'b> {
    fn peek(&self, ahead: usize) -> u8 {
        self.data.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn rest(&self) -> &'b [u8] {
        self.data.get(self.at..).unwrap_or_default()
    }

    fn error(&mut self, why: &'static str) -> Token<'b> {
        self.start = self.at;
        Token::Error(why)
    }

    fn skip(&mut self, n: usize, token: Token<'b>) -> Token<'b> {
        self.at += n;
        token
    }

    fn next(&mut self) -> Token<'b> {
        while matches!(self.peek(0), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        self.start = self.at;
        match self.peek(0) {
            0 => Token::End,
            b'{' => self.skip(1, Token::ObjectBegin),
            b'}' => self.skip(1, Token::ObjectEnd),
            b'[' => self.skip(1, Token::ArrayBegin),
            b']' => self.skip(1, Token::ArrayEnd),
            b',' => self.skip(1, Token::Comma),
            b':' => self.skip(1, Token::Colon),
            b'"' => self.string(),
            b'-' | b'0'..=b'9' if self.lenient || !self.not_json() => self.number(),
            b'-' | b'0'..=b'9' => self.error("invalid number"),
            b't' if self.rest().starts_with(b"true") => self.skip(4, Token::Boolean(true)),
            b'f' if self.rest().starts_with(b"false") => self.skip(5, Token::Boolean(false)),
            b'n' if self.rest().starts_with(b"null") => self.skip(4, Token::Null),
            b'i' | b'I' | b'n' | b'N' | b't' | b'f' | b'+' if self.lenient && self.not_json() => {
                self.number()
            }
            _ => self.error("invalid token"),
        }
    }

    /// Whether what stands here is a number to `strtod`, but none that JSON allows.
    fn not_json(&self) -> bool {
        let sign = usize::from(self.peek(0) == b'-');
        match self.peek(sign) {
            b'+' => sign == 0,
            b'0' => matches!(self.peek(sign + 1), b'x' | b'X' | b'0'..=b'9'),
            0..=b'9' => false,
            _ => {
                let word = self.data.get(self.at + sign..self.at + sign + 3).unwrap_or_default();
                word.eq_ignore_ascii_case(b"inf") || word.eq_ignore_ascii_case(b"nan")
            }
        }
    }

    fn number(&mut self) -> Token<'b> {
        match strtod(self.rest()) {
            Some((n, length)) => self.skip(length, Token::Number(n)),
            None => self.error("invalid number"),
        }
    }

    fn string(&mut self) -> Token<'b> {
        self.at += 1;
        let plain = |b: &u8| matches!(b, b'"' | b'\\' | 0);
        let rest = self.rest();
        let run = rest.iter().position(plain).unwrap_or(rest.len());
        if rest.get(run) == Some(&b'"') {
            return self.skip(run + 1, Token::String(Cow::Borrowed(&rest[..run])));
        }
        let mut text = Vec::new();
        loop {
            let rest = self.rest();
            let run = rest.iter().position(plain).unwrap_or(rest.len());
            text.extend_from_slice(&rest[..run]);
            self.at += run;
            match self.peek(0) {
                b'"' => return self.skip(1, Token::String(Cow::Owned(text))),
                b'\\' => {}
                _ => return self.error("unexpected end of string"),
            }
            let plain = match self.peek(1) {
                b'u' => {
                    let Some((char, length)) = unicode_escape(self.rest()) else {
                        return self.error("invalid unicode escape code");
                    };
                    push_utf8(&mut text, char);
                    self.at += length;
                    continue;
                }
                b'b' => 8,
                b't' => b'\t',
                b'n' => b'\n',
                b'f' => 12,
                b'r' => b'\r',
                same @ (b'"' | b'\\' | b'/') => same,
                _ => return self.error("invalid escape code"),
            };
            text.push(plain);
            self.at += 2;
        }
    }
}

fn hex4(text: &[u8]) -> Option<u32> {
    let digits = text.get(..4)?;
    digits.iter().try_fold(0, |n, d| Some(n * 16 + char::from(*d).to_digit(16)?))
}

/// Reads `\uXXXX`, or two of them that make a pair: the code point and the bytes it took.
fn unicode_escape(text: &[u8]) -> Option<(u32, usize)> {
    let first = hex4(text.get(2..)?)?;
    if first & 0xf800 != 0xd800 {
        return Some((first, 6));
    }
    if first & 0x400 != 0 || text.get(6..8)? != b"\\u" {
        return None;
    }
    let second = hex4(text.get(8..)?)?;
    (second & 0xfc00 == 0xdc00).then(|| ((((first & 0x3ff) << 10) | (second & 0x3ff)) + 0x1_0000, 12))
}

fn push_utf8(text: &mut Vec<u8>, code: u32) {
    // Surrogates never get here, so every code point is a character.
    let char = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    text.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
}

/// The longest prefix that C's `strtod` reads, and its length: decimal, hexadecimal, inf, nan.
pub fn strtod(text: &[u8]) -> Option<(f64, usize)> {
    let sign = usize::from(matches!(text.first(), Some(b'-' | b'+')));
    let negative = text.first() == Some(&b'-');
    let body = text.get(sign..)?;
    let (n, length) = unsigned_prefix(body)?;
    Some((if negative { -n } else { n }, sign + length))
}

fn unsigned_prefix(body: &[u8]) -> Option<(f64, usize)> {
    let starts = |word: &[u8]| body.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word));
    if starts(b"infinity") {
        return Some((f64::INFINITY, 8));
    }
    if starts(b"inf") {
        return Some((f64::INFINITY, 3));
    }
    if starts(b"nan") {
        let word = |b: &&u8| b.is_ascii_alphanumeric() || **b == b'_';
        let inside = body.get(4..).unwrap_or_default().iter().take_while(word).count();
        let closed = body.get(3) == Some(&b'(') && body.get(4 + inside) == Some(&b')');
        return Some((f64::NAN, if closed { 5 + inside } else { 3 }));
    }
    if starts(b"0x") {
        if let Some(found) = hexadecimal(body.get(2..).unwrap_or_default()) {
            return Some((found.0, found.1 + 2));
        }
        return Some((0.0, 1));
    }
    let digits =
        |at: usize| body.get(at..).unwrap_or_default().iter().take_while(|b| b.is_ascii_digit()).count();
    let whole = digits(0);
    let mut end = whole;
    if body.get(end) == Some(&b'.') {
        let fraction = digits(end + 1);
        if whole + fraction > 0 {
            end += 1 + fraction;
        }
    }
    if end == 0 {
        return None;
    }
    if matches!(body.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(body.get(end + 1), Some(b'-' | b'+')));
        let exponent = digits(end + 1 + sign);
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    let text = std::str::from_utf8(body.get(..end)?).ok()?;
    Some((text.parse().ok()?, end))
}

fn hexadecimal(body: &[u8]) -> Option<(f64, usize)> {
    let (mut mantissa, mut exponent, mut digits, mut end) = (0_u64, 0_i64, 0_usize, 0_usize);
    let mut after_point = false;
    for &byte in body {
        if byte == b'.' && !after_point {
            after_point = true;
        } else if let Some(digit) = char::from(byte).to_digit(16) {
            digits += 1;
            if mantissa >> 60 == 0 {
                mantissa = (mantissa << 4) | u64::from(digit);
                exponent -= if after_point { 4 } else { 0 };
            } else {
                mantissa |= u64::from(digit != 0);
                exponent += if after_point { 0 } else { 4 };
            }
        } else {
            break;
        }
        end += 1;
    }
    if digits == 0 {
        return None;
    }
    if body.get(end).is_some_and(|b| b.eq_ignore_ascii_case(&b'p')) {
        let tail = body.get(end + 1..).unwrap_or_default();
        let sign = usize::from(matches!(tail.first(), Some(b'-' | b'+')));
        let count = tail.iter().skip(sign).take_while(|b| b.is_ascii_digit()).count();
        if count > 0 {
            let size = tail[sign..sign + count]
                .iter()
                .fold(0_i64, |n, d| (n * 10 + i64::from(d - b'0')).min(100_000));
            exponent += if tail[0] == b'-' { -size } else { size };
            end += 1 + sign + count;
        }
    }
    // Two steps, so that results near the ends of the range are not lost on the way.
    let exponent = exponent.clamp(-3000, 3000) as i32;
    Some((mantissa as f64 * 2_f64.powi(exponent / 2) * 2_f64.powi(exponent - exponent / 2), end))
}

struct Decoder<'l, 'b> {
    lua: &'l Lua,
    lexer: Lexer<'b>,
    out: Builder<'l, 'b>,
    max_depth: usize,
}

impl<'b> Decoder<'_, 'b> {
    fn expected(&self, what: &str, found: &Token<'_>) -> mlua::Error {
        let at = self.lexer.start + 1;
        raise(self.lua, format!("Expected {what} but found {} at character {at}", found.name()))
    }

    fn descend(&mut self, kind: Kind) -> Result<()> {
        let depth = self.out.depth() + 1;
        if depth > self.max_depth {
            let at = self.lexer.at;
            let why = format!("Found too many nested data structures ({depth}) at character {at}");
            return Err(raise(self.lua, why));
        }
        self.out.open(kind)
    }

    /// Takes a key and its colon; what follows is a value.
    fn key(&mut self, token: Token<'b>) -> Result<Token<'b>> {
        let Token::String(key) = token else {
            return Err(self.expected("object key string", &token));
        };
        self.out.place(Leaf::Bytes(key))?;
        match self.lexer.next() {
            Token::Colon => Ok(self.lexer.next()),
            other => Err(self.expected("colon", &other)),
        }
    }

    /// After a complete value: the token that starts the next one, or `None` at the end.
    fn after_value(&mut self) -> Result<Option<Token<'b>>> {
        while self.out.depth() > 0 {
            let token = self.lexer.next();
            match (token, self.out.in_map()) {
                (Token::ObjectEnd, true) | (Token::ArrayEnd, false) => self.out.close()?,
                (Token::Comma, true) => {
                    let token = self.lexer.next();
                    return self.key(token).map(Some);
                }
                (Token::Comma, false) => return Ok(Some(self.lexer.next())),
                (other, true) => return Err(self.expected("comma or object end", &other)),
                (other, false) => return Err(self.expected("comma or array end", &other)),
            }
        }
        Ok(None)
    }

    fn run(mut self) -> Result<Value> {
        let mut token = self.lexer.next();
        loop {
            match token {
                Token::String(bytes) => self.out.place(Leaf::Bytes(bytes))?,
                Token::Number(n) => self.out.place(Leaf::Number(n))?,
                Token::Boolean(b) => self.out.place(Leaf::Bool(b))?,
                Token::Null => self.out.place(Leaf::Null)?,
                Token::ObjectBegin => {
                    self.descend(Kind::Map)?;
                    let first = self.lexer.next();
                    if matches!(first, Token::ObjectEnd) {
                        self.out.close()?;
                    } else {
                        token = self.key(first)?;
                        continue;
                    }
                }
                Token::ArrayBegin => {
                    self.descend(Kind::Array)?;
                    token = self.lexer.next();
                    if !matches!(token, Token::ArrayEnd) {
                        continue;
                    }
                    self.out.close()?;
                }
                other => return Err(self.expected("value", &other)),
            }
            match self.after_value()? {
                Some(next) => token = next,
                None => break,
            }
        }
        match self.lexer.next() {
            Token::End => Ok(self.out.finish().pop().unwrap_or(Value::Nil)),
            other => Err(self.expected("the end", &other)),
        }
    }
}

fn decode(lua: &Lua, args: MultiValue, settings: Settings) -> Result<Value> {
    let args = Args::new(lua, args);
    if args.len() != 1 {
        return Err(bad_argument(lua, 1, "expected 1 argument"));
    }
    let text = args.string(1)?;
    let data = text.as_bytes();
    if data.len() >= 2 && (data[0] == 0 || data[1] == 0) {
        return Err(raise(lua, "JSON parser does not support UTF-16 or UTF-32"));
    }
    let lexer = Lexer { data: &data, at: 0, start: 0, lenient: settings.decode_invalid != 0 };
    let max_depth = usize::try_from(settings.decode_depth).unwrap_or(0).min(DEEPEST);
    Decoder { lua, lexer, out: Builder::new(lua), max_depth }.run()
}

// ---- encoding ----

fn encode(lua: &Lua, args: MultiValue, encoder: &Function, s: Settings) -> Result<Value> {
    if args.len() != 1 {
        return Err(bad_argument(lua, 1, "expected 1 argument"));
    }
    let value = args.into_iter().next().unwrap_or(Value::Nil);
    let settings = (
        value,
        s.sparse_convert != 0,
        s.sparse_ratio,
        s.sparse_safe,
        s.encode_depth,
        s.encode_invalid,
        s.precision,
    );
    encoder.call(settings).map_err(|error| match failure_of(&error) {
        super::fail::Failure::Text(text) => raise(lua, text),
        other => other.into(),
    })
}

// ---- the table ----

fn library(lua: &Lua, encoder: &Function) -> Result<(Table, Shared)> {
    let table = lua.create_table()?;
    let shared = Shared(Rc::new(Cell::new(Settings::DEFAULT)));
    let (encoder_of_encode, settings) = (encoder.clone(), shared.clone());
    let f = lua.create_function(move |lua, args: MultiValue| {
        encode(lua, args, &encoder_of_encode, settings.0.get())
    })?;
    table.raw_set("encode", f)?;
    let settings = shared.clone();
    let f = lua.create_function(move |lua, args: MultiValue| decode(lua, args, settings.0.get()))?;
    table.raw_set("decode", f)?;
    for &(name, most, set) in SETTERS {
        let settings = shared.clone();
        let f = lua.create_function(move |lua, args: MultiValue| {
            let args = Args::new(lua, args);
            args.at_most(most)?;
            let mut changed = settings.0.get();
            let results = set(&args, &mut changed)?;
            settings.0.set(changed);
            Ok(MultiValue::from(results))
        })?;
        table.raw_set(name, f)?;
    }
    let encoder = encoder.clone();
    let new =
        lua.create_function(move |lua, _: MultiValue| library(lua, &encoder).map(|(table, _)| table))?;
    table.raw_set("new", new)?;
    table.raw_set("null", Value::NULL)?;
    table.raw_set("_NAME", "cjson")?;
    table.raw_set("_VERSION", "2.1.0")?;
    Ok((table, shared))
}

/// Builds the `cjson` table. `tables` maps protected tables to what is behind them.
pub fn open(lua: &Lua, tables: &Table) -> Result<(Table, Shared)> {
    let globals = lua.globals();
    let natives =
        |library: &str, name: &str| -> Result<Function> { globals.get::<Table>(library)?.get(name) };
    let encoder: Function = lua.load(ENCODER).set_name(PRELUDE_CHUNK).call((
        globals.get::<Function>("type")?,
        globals.get::<Function>("next")?,
        globals.get::<Function>("rawget")?,
        natives("math", "floor")?,
        natives("string", "format")?,
        natives("string", "find")?,
        natives("string", "gsub")?,
        natives("table", "concat")?,
        globals.get::<Function>("error")?,
        tables,
    ))?;
    library(lua, &encoder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strtod_reads_what_c_reads() {
        let cases: &[(&str, f64, usize)] = &[
            ("12", 12.0, 2),
            ("-1.5e3x", -1500.0, 6),
            ("1e", 1.0, 1),
            ("1e+", 1.0, 1),
            ("1.", 1.0, 2),
            (".5", 0.5, 2),
            ("0x10", 16.0, 4),
            ("0x1p4", 16.0, 5),
            ("0x.8", 0.5, 4),
            ("0xg", 0.0, 1),
            ("inf", f64::INFINITY, 3),
            ("-Infinity", f64::NEG_INFINITY, 9),
            ("1e400", f64::INFINITY, 5),
            ("0123", 123.0, 4),
        ];
        for (text, n, length) in cases {
            assert_eq!(strtod(text.as_bytes()), Some((*n, *length)), "{text}");
        }
        assert!(strtod(b"nan(12)x").is_some_and(|(n, length)| n.is_nan() && length == 7));
        for bad in ["", "-", "+", ".", "e5", "x"] {
            assert_eq!(strtod(bad.as_bytes()), None, "{bad}");
        }
    }
}
