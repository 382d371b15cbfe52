//! The bit library: what are the 32-bit integer operations that scripts know as `bit.*`?
//!
//! Behaviour of Lua BitOp 1.0.2: arguments are doubles reduced modulo 2^32, results are signed.

use mlua::{Lua, MultiValue, Result, Table, Value};

use super::fail::{Args, to_number};

/// 2^52 + 2^51: adding it leaves the integer part in the low bits of the mantissa, rounded to even.
const BIAS: f64 = 6_755_399_441_055_744.0;

type Unary = fn(u32) -> u32;
type Binary = fn(u32, u32) -> u32;

fn bits(n: f64) -> u32 {
    (n + BIAS).to_bits() as u32
}

fn argument(lua: &Lua, args: &Args<'_>, n: usize) -> Result<u32> {
    match args.get(n).and_then(|value| to_number(lua, value)) {
        Some(number) => Ok(bits(number)),
        None => Err(args.wrong_type(n, "number")),
    }
}

fn signed(b: u32) -> f64 {
    f64::from(b as i32)
}

fn tohex(b: u32, width: i32) -> String {
    let count = width.checked_abs().unwrap_or(i32::MAX).min(8) as usize;
    let text = if width < 0 { format!("{b:08X}") } else { format!("{b:08x}") };
    text.get(8 - count..).unwrap_or_default().to_owned()
}

/// Builds the `bit` table.
pub fn open(lua: &Lua) -> Result<Table> {
    let library = lua.create_table()?;
    let unary: [(&str, Unary); 3] = [("tobit", |b| b), ("bnot", |b| !b), ("bswap", u32::swap_bytes)];
    for (name, op) in unary {
        let f = lua.create_function(move |lua, args: MultiValue| {
            Ok(signed(op(argument(lua, &Args::new(lua, args), 1)?)))
        })?;
        library.raw_set(name, f)?;
    }
    let folds: [(&str, Binary); 3] = [("band", |a, b| a & b), ("bor", |a, b| a | b), ("bxor", |a, b| a ^ b)];
    for (name, op) in folds {
        let f = lua.create_function(move |lua, args: MultiValue| {
            let args = Args::new(lua, args);
            let first = argument(lua, &args, 1)?;
            // The last argument is looked at first, so that is the one an error names.
            let all = (2..=args.len())
                .rev()
                .try_fold(first, |acc, n| Ok::<u32, mlua::Error>(op(acc, argument(lua, &args, n)?)))?;
            Ok(signed(all))
        })?;
        library.raw_set(name, f)?;
    }
    let shifts: [(&str, Binary); 5] = [
        ("lshift", u32::wrapping_shl),
        ("rshift", u32::wrapping_shr),
        ("arshift", |b, n| (b as i32).wrapping_shr(n) as u32),
        ("rol", u32::rotate_left),
        ("ror", u32::rotate_right),
    ];
    for (name, op) in shifts {
        let f = lua.create_function(move |lua, args: MultiValue| {
            let args = Args::new(lua, args);
            let b = argument(lua, &args, 1)?;
            Ok(signed(op(b, argument(lua, &args, 2)? & 31)))
        })?;
        library.raw_set(name, f)?;
    }
    let hex = lua.create_function(|lua, args: MultiValue| {
        let args = Args::new(lua, args);
        let b = argument(lua, &args, 1)?;
        let width = match args.get(2) {
            None => 8,
            Some(_) => argument(lua, &args, 2)? as i32,
        };
        lua.create_string(tohex(b, width)).map(Value::String)
    })?;
    library.raw_set("tohex", hex)?;
    Ok(library)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tohex_survives_every_width() {
        assert_eq!(tohex(65535, i32::MIN), "0000FFFF");
        assert_eq!(tohex(65535, -4), "FFFF");
        assert_eq!(tohex(65535, 0), "");
        assert_eq!(tohex(0xdead_beef, 100), "deadbeef");
        assert_eq!(tohex(0xdead_beef, 2), "ef");
    }

    #[test]
    fn doubles_reduce_modulo_two_to_the_32() {
        assert_eq!(bits(4_294_967_296.0), 0);
        assert_eq!(bits(-1.0), u32::MAX);
        assert_eq!(bits(2.5), 2);
        assert_eq!(bits(3.5), 4);
    }
}
