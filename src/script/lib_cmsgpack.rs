//! The cmsgpack library: how do scripts write and read MessagePack?
//!
//! Behaviour of lua-cmsgpack 0.4.0: numbers take their smallest encoding, a table whose keys are
//! exactly 1..n is an array, tables deeper than 16 become nil, several values follow one another.
//!
//! Invariants: packing recurses at most [`MAX_NESTING`] deep; unpacking does not recur at all,
//! and allocates for the bytes it was given, not for the lengths they announce.

use std::borrow::Cow;

use mlua::{Lua, MultiValue, Result, Table, Value};

use super::build::{Builder, Kind, Leaf};
use super::fail::{Args, Failure, MAX_RESULTS, bad_argument, c_i64, raise};

/// Tables nested deeper than this are packed as nil.
const MAX_NESTING: u32 = 16;
/// Containers nested deeper than this are refused by unpack.
const MAX_UNPACK_DEPTH: usize = 4000;
const TOO_MANY: &str =
    "stack overflow (too many return values at once; use unpack_one or unpack_limit instead.)";
const TOO_DEEP: &str = "stack overflow (in function mp_decode_to_lua_array)";

/// Writes the header of a string, array or map: the compact form, then one, two or four bytes.
fn header(out: &mut Vec<u8>, n: usize, compact: (usize, u8), wide: [Option<u8>; 3]) {
    match (u8::try_from(n), u16::try_from(n)) {
        (Ok(small), _) if n < compact.0 => out.push(compact.1 | small),
        (Ok(byte), _) if wide[0].is_some() => out.extend([wide[0].unwrap_or_default(), byte]),
        (_, Ok(short)) => {
            out.push(wide[1].unwrap_or_default());
            out.extend(short.to_be_bytes());
        }
        _ => {
            out.push(wide[2].unwrap_or_default());
            // Lengths of 2^32 and more are beyond what the format can say; like the original.
            out.extend((n as u32).to_be_bytes());
        }
    }
}

fn pack_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    header(out, bytes.len(), (32, 0xa0), [Some(0xd9), Some(0xda), Some(0xdb)]);
    out.extend_from_slice(bytes);
}

fn pack_integer(out: &mut Vec<u8>, n: i64) {
    match n {
        -32..=0x7f => out.push(n as u8),
        0x80..=0xff => out.extend([0xcc, n as u8]),
        0x100..=0xffff => {
            out.push(0xcd);
            out.extend((n as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(0xce);
            out.extend((n as u32).to_be_bytes());
        }
        0x1_0000_0000.. => {
            out.push(0xcf);
            out.extend(n.to_be_bytes());
        }
        -0x80..=-33 => out.extend([0xd0, n as u8]),
        -0x8000..=-0x81 => {
            out.push(0xd1);
            out.extend((n as i16).to_be_bytes());
        }
        -0x8000_0000..=-0x8001 => {
            out.push(0xd2);
            out.extend((n as i32).to_be_bytes());
        }
        _ => {
            out.push(0xd3);
            out.extend(n.to_be_bytes());
        }
    }
}

fn pack_number(out: &mut Vec<u8>, n: f64) {
    if n.is_finite() && c_i64(n) as f64 == n {
        return pack_integer(out, c_i64(n));
    }
    let short = n as f32;
    if f64::from(short) == n {
        out.push(0xca);
        out.extend(short.to_be_bytes());
    } else {
        out.push(0xcb);
        out.extend(n.to_be_bytes());
    }
}

/// The length of a table whose keys are exactly 1..n; `None` for every other table.
fn array_length(table: &Table) -> Result<Option<usize>> {
    let (mut count, mut max) = (0_usize, 0_usize);
    let mut is_array = true;
    let walked = table.for_each(|key: Value, _: bool| {
        match key {
            Value::Integer(i) if i > 0 && i <= i64::from(i32::MAX) => {
                max = max.max(i as usize);
                count += 1;
                Ok(())
            }
            _ => {
                is_array = false;
                // Ends the walk; never seen by anyone.
                Err(Failure::Killed.into())
            }
        }
    });
    if is_array {
        walked?;
    }
    Ok((is_array && max == count).then_some(count))
}

fn pack_table(out: &mut Vec<u8>, table: &Table, level: u32) -> Result<()> {
    if let Some(length) = array_length(table)? {
        header(out, length, (16, 0x90), [None, Some(0xdc), Some(0xdd)]);
        for index in 1..=length {
            pack_value(out, &table.raw_get(index)?, level + 1)?;
        }
        return Ok(());
    }
    let mut length = 0_usize;
    table.for_each(|_: bool, _: bool| {
        length += 1;
        Ok(())
    })?;
    header(out, length, (16, 0x80), [None, Some(0xde), Some(0xdf)]);
    table.for_each(|key: Value, value: Value| {
        pack_value(out, &key, level + 1)?;
        pack_value(out, &value, level + 1)
    })
}

fn pack_value(out: &mut Vec<u8>, value: &Value, level: u32) -> Result<()> {
    match value {
        Value::String(bytes) => pack_bytes(out, &bytes.as_bytes()),
        Value::Boolean(b) => out.push(if *b { 0xc3 } else { 0xc2 }),
        Value::Integer(i) => pack_number(out, *i as f64),
        Value::Number(n) => pack_number(out, *n),
        Value::Table(table) if level < MAX_NESTING => return pack_table(out, table, level),
        _ => out.push(0xc0),
    }
    Ok(())
}

fn pack(lua: &Lua, args: MultiValue) -> Result<Value> {
    let args = Args::new(lua, args);
    if args.is_empty() {
        return Err(bad_argument(lua, 0, "MessagePack pack needs input."));
    }
    let mut out = Vec::new();
    for value in args.iter() {
        pack_value(&mut out, value, 0)?;
    }
    lua.create_string(out).map(Value::String)
}

/// Why reading stopped.
enum Bad {
    Missing,
    Format,
    Lua(mlua::Error),
}

type Read<T> = std::result::Result<T, Bad>;

impl From<mlua::Error> for Bad {
    fn from(error: mlua::Error) -> Self {
        Self::Lua(error)
    }
}

fn take<'b>(input: &mut &'b [u8], n: usize) -> Read<&'b [u8]> {
    let (head, tail) = input.split_at_checked(n).ok_or(Bad::Missing)?;
    *input = tail;
    Ok(head)
}

fn unsigned(input: &mut &[u8], width: usize) -> Read<u64> {
    Ok(take(input, width)?.iter().fold(0, |n, b| (n << 8) | u64::from(*b)))
}

fn signed(input: &mut &[u8], width: usize) -> Read<f64> {
    let unused = 64 - 8 * width as u32;
    Ok((((unsigned(input, width)? << unused) as i64) >> unused) as f64)
}

/// Reads one element: a leaf, or the opening of a container.
fn read_one<'b>(input: &mut &'b [u8], out: &mut Builder<'_, 'b>) -> Read<()> {
    let tag = take(input, 1)?.first().copied().unwrap_or_default();
    let leaf = match tag {
        0x00..=0x7f => Leaf::Number(f64::from(tag)),
        0xe0..=0xff => Leaf::Number(f64::from(tag as i8)),
        0xa0..=0xbf => Leaf::Bytes(Cow::Borrowed(take(input, usize::from(tag & 0x1f))?)),
        0x90..=0x9f => return Ok(out.open_counted(Kind::Array, u64::from(tag & 0xf), None)?),
        0x80..=0x8f => return Ok(out.open_counted(Kind::Map, 2 * u64::from(tag & 0xf), None)?),
        0xc0 => Leaf::Nil,
        0xc2 => Leaf::Bool(false),
        0xc3 => Leaf::Bool(true),
        0xca => Leaf::Number(f64::from(f32::from_bits(unsigned(input, 4)? as u32))),
        0xcb => Leaf::Number(f64::from_bits(unsigned(input, 8)?)),
        // An unsigned integer of 8 bytes passes through a signed one on its way to a double.
        0xcc..=0xcf => Leaf::Number(unsigned(input, 1 << (tag - 0xcc))? as i64 as f64),
        0xd0..=0xd3 => Leaf::Number(signed(input, 1 << (tag - 0xd0))?),
        0xd9..=0xdb => {
            let length = unsigned(input, 1 << (tag - 0xd9))?;
            Leaf::Bytes(Cow::Borrowed(take(input, length as usize)?))
        }
        0xdc | 0xdd => {
            let count = unsigned(input, 2 << (tag - 0xdc))?;
            return Ok(out.open_counted(Kind::Array, count, None)?);
        }
        0xde | 0xdf => {
            let count = unsigned(input, 2 << (tag - 0xde))?;
            return Ok(out.open_counted(Kind::Map, 2 * count, None)?);
        }
        _ => return Err(Bad::Format),
    };
    Ok(out.place(leaf)?)
}

/// Unpacks up to `limit` values from `offset` on; everything when both are 0.
fn unpack_full(lua: &Lua, data: &[u8], limit: i64, offset: i64) -> Result<MultiValue> {
    if limit < 0 || offset < 0 {
        let why = format!(
            "Invalid request to unpack with offset of {} and limit of {}.",
            offset as i32,
            data.len() as i32
        );
        return Err(raise(lua, why));
    }
    let Some(mut input) = usize::try_from(offset).ok().and_then(|at| data.get(at..)) else {
        let why = format!("Start offset {} greater than input length {}.", offset as i32, data.len() as i32);
        return Err(raise(lua, why));
    };
    let all = limit == 0 && offset == 0;
    let limit = if all { usize::MAX } else { limit as usize };
    let mut out = Builder::new(lua);
    while out.depth() > 0 || (!input.is_empty() && out.finished() < limit) {
        if out.depth() > MAX_UNPACK_DEPTH {
            return Err(raise(lua, TOO_DEEP));
        }
        if out.finished() >= MAX_RESULTS {
            return Err(raise(lua, TOO_MANY));
        }
        read_one(&mut input, &mut out).map_err(|bad| match bad {
            Bad::Missing => raise(lua, "Missing bytes in input."),
            Bad::Format => raise(lua, "Bad data format in input."),
            Bad::Lua(error) => error,
        })?;
    }
    let mut values = out.finish();
    if !all {
        let next = if input.is_empty() { -1 } else { (data.len() - input.len()) as i64 };
        values.insert(0, Value::Integer(next));
    }
    Ok(values.into())
}

fn unpack(lua: &Lua, args: MultiValue) -> Result<MultiValue> {
    let data = Args::new(lua, args).string(1)?;
    unpack_full(lua, &data.as_bytes(), 0, 0)
}

fn unpack_one(lua: &Lua, args: MultiValue) -> Result<MultiValue> {
    let args = Args::new(lua, args);
    let offset = args.integer_or(2, 0)?;
    let data = args.string(1)?;
    unpack_full(lua, &data.as_bytes(), 1, offset)
}

fn unpack_limit(lua: &Lua, args: MultiValue) -> Result<MultiValue> {
    let args = Args::new(lua, args);
    let limit = args.integer(2)?;
    let offset = args.integer_or(3, 0)?;
    let data = args.string(1)?;
    unpack_full(lua, &data.as_bytes(), limit, offset)
}

/// Builds the `cmsgpack` table.
pub fn open(lua: &Lua) -> Result<Table> {
    let library = lua.create_table()?;
    library.raw_set("pack", lua.create_function(pack)?)?;
    library.raw_set("unpack", lua.create_function(unpack)?)?;
    library.raw_set("unpack_one", lua.create_function(unpack_one)?)?;
    library.raw_set("unpack_limit", lua.create_function(unpack_limit)?)?;
    library.raw_set("_NAME", "cmsgpack")?;
    library.raw_set("_VERSION", "lua-cmsgpack 0.4.0")?;
    library.raw_set("_COPYRIGHT", "Copyright (C) 2012, Salvatore Sanfilippo")?;
    library.raw_set("_DESCRIPTION", "MessagePack C implementation for Lua")?;
    Ok(library)
}
