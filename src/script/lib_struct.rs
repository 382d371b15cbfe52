//! The struct library: how do scripts pack and unpack binary records?
//!
//! Format letters: `b B h H l L T i[n] I[n] f d s c[n] x`, alignment `![n]`, byte order `<` and `>`.
//!
//! Invariants: a format is read once, left to right; output grows by at most 32 bytes per letter
//! plus the strings given; every size is checked against what is left before it is used.

use mlua::{Lua, MultiValue, Result, Table, Value};

use super::fail::{Args, MAX_RESULTS, bad_argument, c_i64, c_u64, raise, to_number};

/// Widest integer field, in bytes.
const MAX_INTEGER: usize = 32;
/// What `!` without a number aligns to.
const MAX_ALIGN: usize = 8;

/// A format string with a cursor, and the options in force.
struct Format<'a> {
    lua: &'a Lua,
    rest: &'a [u8],
    big_endian: bool,
    align: usize,
}

impl<'a> Format<'a> {
    fn new(lua: &'a Lua, text: &'a [u8]) -> Self {
        // A format is a C string: it ends at the first NUL.
        let rest = text.split(|&b| b == 0).next().unwrap_or_default();
        Self { lua, rest, big_endian: false, align: 1 }
    }

    fn next(&mut self) -> Option<u8> {
        let (&letter, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(letter)
    }

    fn number(&mut self, default: usize) -> Result<usize> {
        if !self.rest.first().is_some_and(u8::is_ascii_digit) {
            return Ok(default);
        }
        let mut n: i32 = 0;
        while let Some(digit) = self.rest.first().filter(|b| b.is_ascii_digit()) {
            n = n
                .checked_mul(10)
                .and_then(|n| n.checked_add(i32::from(digit - b'0')))
                .ok_or_else(|| raise(self.lua, "integral size overflow"))?;
            self.next();
        }
        Ok(n as usize)
    }

    /// Bytes that the letter's element takes; 0 when that depends on the data.
    fn size(&mut self, letter: u8) -> Result<usize> {
        Ok(match letter {
            b'B' | b'b' | b'x' => 1,
            b'H' | b'h' => 2,
            b'L' | b'l' | b'T' | b'd' => 8,
            b'f' => 4,
            b'c' => self.number(1)?,
            b'i' | b'I' => {
                let size = self.number(4)?;
                if size > MAX_INTEGER {
                    let why = format!("integral size {size} is larger than limit of {MAX_INTEGER}");
                    return Err(raise(self.lua, why));
                }
                size
            }
            _ => 0,
        })
    }

    /// Padding in front of an element of `size` bytes at offset `at`.
    fn padding(&self, at: usize, letter: u8, size: usize) -> usize {
        if size == 0 || letter == b'c' {
            return 0;
        }
        let size = size.min(self.align);
        (size - (at & (size - 1))) & (size - 1)
    }

    /// Applies a letter that is not an element.
    fn control(&mut self, letter: u8) -> Result<()> {
        match letter {
            b' ' => {}
            b'>' => self.big_endian = true,
            b'<' => self.big_endian = false,
            b'!' => {
                let align = self.number(MAX_ALIGN)?;
                if !align.is_power_of_two() {
                    let why = format!("alignment {align} is not a power of 2");
                    return Err(raise(self.lua, why));
                }
                self.align = align;
            }
            other => {
                let why = format!("invalid format option '{}'", char::from(other));
                return Err(bad_argument(self.lua, 1, why));
            }
        }
        Ok(())
    }

    fn ordered<const N: usize>(&self, mut little: [u8; N]) -> [u8; N] {
        if self.big_endian {
            little.reverse();
        }
        little
    }
}

fn put_integer(out: &mut Vec<u8>, n: f64, size: usize, big_endian: bool) {
    let value = if n < 0.0 { c_i64(n) as u64 } else { c_u64(n) };
    let mut field = [0_u8; MAX_INTEGER];
    field[..8].copy_from_slice(&value.to_le_bytes());
    let field = &mut field[..size];
    if big_endian {
        field.reverse();
    }
    out.extend_from_slice(field);
}

fn get_integer(field: &[u8], big_endian: bool, signed: bool) -> f64 {
    let push = |acc: u64, byte: &u8| (acc << 8) | u64::from(*byte);
    let value = if big_endian { field.iter().fold(0, push) } else { field.iter().rev().fold(0, push) };
    if !signed {
        return value as f64;
    }
    // The shift count wraps as the processor's does; fields wider than 8 bytes show it.
    let mask = u64::MAX.wrapping_shl((field.len() as u32).wrapping_mul(8).wrapping_sub(1));
    let value = if value & mask != 0 { value | mask } else { value };
    value as i64 as f64
}

fn pack(lua: &Lua, args: MultiValue) -> Result<Value> {
    let args = Args::new(lua, args);
    let text = args.string(1)?;
    let text = text.as_bytes();
    let mut format = Format::new(lua, &text);
    let mut out = Vec::new();
    let mut next = 2;
    while let Some(letter) = format.next() {
        let mut size = format.size(letter)?;
        let padding = format.padding(out.len(), letter, size);
        out.resize(out.len() + padding, 0);
        match letter {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                put_integer(&mut out, number(&args, next)?, size, format.big_endian);
                next += 1;
            }
            b'x' => out.push(0),
            b'f' => {
                let n = number(&args, next)? as f32;
                out.extend_from_slice(&format.ordered(n.to_le_bytes()));
                next += 1;
            }
            b'd' => {
                let n = number(&args, next)?;
                out.extend_from_slice(&format.ordered(n.to_le_bytes()));
                next += 1;
            }
            b'c' | b's' => {
                if args.get(next).is_none() {
                    return Err(missing(lua, next, "string"));
                }
                let data = args.string(next)?;
                let data = data.as_bytes();
                next += 1;
                if size == 0 {
                    size = data.len();
                }
                let Some(field) = data.get(..size) else {
                    return Err(bad_argument(lua, next, "string too short"));
                };
                out.extend_from_slice(field);
                if letter == b's' {
                    out.push(0);
                }
            }
            other => format.control(other)?,
        }
    }
    lua.create_string(out).map(Value::String)
}

fn number(args: &Args<'_>, n: usize) -> Result<f64> {
    if args.get(n).is_none() {
        return Err(missing(args.lua(), n, "number"));
    }
    args.number(n)
}

/// The original keeps a nil behind its arguments, and that is what it finds when one is missing.
fn missing(lua: &Lua, n: usize, expected: &str) -> mlua::Error {
    bad_argument(lua, n, format!("{expected} expected, got nil"))
}

fn unpack(lua: &Lua, args: MultiValue) -> Result<MultiValue> {
    let args = Args::new(lua, args);
    let text = args.string(1)?;
    let text = text.as_bytes();
    let data = args.string(2)?;
    let data = data.as_bytes();
    let start = args.integer_or(3, 1)?;
    if start == 0 {
        return Err(bad_argument(lua, 3, "offset must be 1 or greater"));
    }
    let mut at = (start as u64 as usize).wrapping_sub(1);
    let mut format = Format::new(lua, &text);
    let mut out: Vec<Value> = Vec::new();
    let short = || bad_argument(lua, 2, "data string too short");
    while let Some(letter) = format.next() {
        let mut size = format.size(letter)?;
        at = at.wrapping_add(format.padding(at, letter, size));
        let field =
            |at: usize, size: usize| at.checked_add(size).and_then(|end| data.get(at..end)).ok_or_else(short);
        let bytes = field(at, size)?;
        if out.len() >= MAX_RESULTS {
            return Err(raise(lua, "stack overflow (too many results)"));
        }
        match letter {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                let signed = letter.is_ascii_lowercase();
                out.push(Value::Number(get_integer(bytes, format.big_endian, signed)));
            }
            b'x' => {}
            b'f' => {
                let raw = <[u8; 4]>::try_from(bytes).map_err(|_| short())?;
                out.push(Value::Number(f64::from(f32::from_le_bytes(format.ordered(raw)))));
            }
            b'd' => {
                let raw = <[u8; 8]>::try_from(bytes).map_err(|_| short())?;
                out.push(Value::Number(f64::from_le_bytes(format.ordered(raw))));
            }
            b'c' => {
                if size == 0 {
                    let Some(n) = out.pop().and_then(|value| to_number(lua, &value)) else {
                        return Err(raise(lua, "format 'c0' needs a previous size"));
                    };
                    size = c_u64(n) as usize;
                }
                out.push(Value::String(lua.create_string(field(at, size)?)?));
            }
            b's' => {
                let tail = data.get(at..).ok_or_else(short)?;
                let Some(length) = memchr::memchr(0, tail) else {
                    return Err(raise(lua, "unfinished string in data"));
                };
                out.push(Value::String(lua.create_string(&tail[..length])?));
                size = length + 1;
            }
            other => format.control(other)?,
        }
        at = at.wrapping_add(size);
    }
    out.push(Value::Number(at.wrapping_add(1) as f64));
    Ok(out.into())
}

fn size(lua: &Lua, args: MultiValue) -> Result<f64> {
    let args = Args::new(lua, args);
    let text = args.string(1)?;
    let text = text.as_bytes();
    let mut format = Format::new(lua, &text);
    let mut at = 0_usize;
    while let Some(letter) = format.next() {
        let size = format.size(letter)?;
        at = at.wrapping_add(format.padding(at, letter, size));
        if letter == b's' {
            return Err(bad_argument(lua, 1, "option 's' has no fixed size"));
        }
        if letter == b'c' && size == 0 {
            return Err(bad_argument(lua, 1, "option 'c0' has no fixed size"));
        }
        if !letter.is_ascii_alphanumeric() {
            format.control(letter)?;
        }
        at = at.wrapping_add(size);
    }
    Ok(at as f64)
}

/// Builds the `struct` table.
pub fn open(lua: &Lua) -> Result<Table> {
    let library = lua.create_table()?;
    library.raw_set("pack", lua.create_function(pack)?)?;
    library.raw_set("unpack", lua.create_function(unpack)?)?;
    library.raw_set("size", lua.create_function(size)?)?;
    Ok(library)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_every_width_round_trip() {
        for size in 1..=8 {
            for big in [false, true] {
                for n in [0.0, 1.0, 100.0, -1.0, -100.0] {
                    let mut out = Vec::new();
                    put_integer(&mut out, n, size, big);
                    assert_eq!(get_integer(&out, big, true), n, "{size} {big}");
                }
            }
        }
    }

    #[test]
    fn widths_beyond_eight_bytes_do_not_panic() {
        for size in 0..=MAX_INTEGER {
            let mut out = Vec::new();
            put_integer(&mut out, -5.0, size, true);
            assert_eq!(out.len(), size);
            get_integer(&out, true, true);
        }
    }
}
