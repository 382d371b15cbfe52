//! How are strings used as bitmaps? Single bits, counts, searches, combinations, and integers of any width.

use std::borrow::Cow;

use crate::commands::prelude::*;
use crate::dispatch::access::{Expiry, Text, text};
use crate::util::bits::{self, BitOp, Field, Overflow, Unit};
use crate::util::number;
use crate::value::Value;

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    Command::new("bitcount", bitcount).arity(-2).flags(READONLY).acl(BITMAP).keys(&[one(RO | ACCESS, 1)]).doc("bitmap", "2.6.0", "O(N)", "Counts the bits of a string that are set.", "key:key@0 [range{start:int end:int [unit(BYTE | BIT)^7.0.0]}]"),
    Command::new("bitfield", bitfield).arity(-2).flags(WRITE | DENYOOM).acl(BITMAP).keys(&[one(RW | ACCESS | UPDATE | VARIABLE_FLAGS, 1)]).key_flags(bitfield_flags).doc("bitmap", "3.2.0", "O(1) per operation", "Reads and writes integers of any width within a string.", "key:key@0 [operation(GET get-block{encoding:str offset:int} | write{[OVERFLOW overflow-block(WRAP | SAT | FAIL)] write-operation(SET set-block{encoding:str offset:int value:int} | INCRBY incrby-block{encoding:str offset:int increment:int})})...]"),
    Command::new("bitfield_ro", bitfield_ro).arity(-2).flags(READONLY | FAST).acl(BITMAP).keys(&[one(RO | ACCESS, 1)]).doc("bitmap", "6.0.0", "O(1) per operation", "Reads integers of any width within a string.", "key:key@0 [GET get-block{encoding:str offset:int}+]"),
    Command::new("bitop", bitop).arity(-4).flags(WRITE | DENYOOM).acl(BITMAP).keys(&[one(OW | UPDATE, 2), range(RO | ACCESS, 3, -1, 1)]).doc("bitmap", "2.6.0", "O(N)", "Combines strings bit by bit and stores the result.", "operation(AND | OR | XOR | NOT | DIFF | DIFF1 | ANDOR | ONE) destkey:key@0 key:key@1..."),
    Command::new("bitpos", bitpos).arity(-3).flags(READONLY).acl(BITMAP).keys(&[one(RO | ACCESS, 1)]).doc("bitmap", "2.8.7", "O(N)", "Finds the first bit that is set, or the first that is not.", "key:key@0 bit:int [range{start:int [end-unit-block{end:int [unit(BYTE | BIT)^7.0.0]}]}]"),
    Command::new("getbit", getbit).arity(3).flags(READONLY | FAST).acl(BITMAP).keys(&[one(RO | ACCESS, 1)]).doc("bitmap", "2.2.0", "O(1)", "Gets one bit of a string.", "key:key@0 offset:int"),
    Command::new("setbit", setbit).arity(4).flags(WRITE | DENYOOM).acl(BITMAP).keys(&[one(RW | ACCESS | UPDATE, 1)]).doc("bitmap", "2.2.0", "O(1)", "Sets or clears one bit of a string and tells what it was.", "key:key@0 offset:int value:int"),
];

/// Reads a bit offset; with `field` also `#n`, the n-th field of that type.
fn bit_offset(ctx: &Ctx<'_>, word: &[u8], field: Option<Field>) -> Result<u64> {
    let (digits, width) = match (word, field) {
        ([b'#', digits @ ..], Some(field)) => (digits, i64::from(field.bits())),
        _ => (word, 1),
    };
    let n = number::parse_i64(digits).and_then(|n| n.checked_mul(width)).ok_or(error::BIT_OFFSET)?;
    let n = u64::try_from(n).map_err(|_| error::BIT_OFFSET)?;
    let max = u64::try_from(ctx.config().proto_max_bulk_len).unwrap_or(u64::MAX);
    if n / 8 >= max && ctx.mode != Mode::Replay {
        return Err(error::BIT_OFFSET);
    }
    Ok(n)
}

/// A key's string, made long enough for a bit, and whether that made it longer.
fn grown<'c>(ctx: &'c mut Ctx<'_>, key: &Key<'_>, bit: u64) -> Result<(&'c mut Vec<u8>, bool)> {
    let need = usize::try_from(bit / 8).ok().and_then(|at| at.checked_add(1)).ok_or(error::BIT_OFFSET)?;
    let buffer = ctx.string_buffer(key)?;
    let grows = buffer.len() < need;
    if grows {
        buffer.resize(need, 0);
    }
    Ok((buffer, grows))
}

fn setbit(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let offset = bit_offset(ctx, args.next()?, None)?;
    let on = args.int_in(0, 1, error::BIT_VALUE)? == 1;
    let (buffer, grew) = grown(ctx, &key, offset)?;
    let was = bits::set_bit(buffer, offset, on);
    if grew || was != on {
        ctx.changed(&key, event::STRING, "setbit");
    }
    out.flag(was);
    Ok(())
}

fn getbit(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let offset = bit_offset(ctx, args.next()?, None)?;
    let text = ctx.string(&key)?.unwrap_or(Text::Bytes(b""));
    out.flag(bits::get_bit(text.bytes(&mut itoa::Buffer::new()), offset));
    Ok(())
}

/// Reads BIT or BYTE, if it is there.
fn unit(args: &mut Args<'_>) -> Result<Unit> {
    match () {
        () if args.left() == 0 => Ok(Unit::Byte),
        () if args.word("BIT") => Ok(Unit::Bit),
        () if args.word("BYTE") => Ok(Unit::Byte),
        () => Err(error::SYNTAX),
    }
}

fn bitcount(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let (start, end, unit) = match args.left() {
        0 => (0, -1, Unit::Byte),
        2 | 3 => (args.int()?, args.int()?, unit(args)?),
        _ => return Err(error::SYNTAX),
    };
    let text = ctx.string(&key)?.unwrap_or(Text::Bytes(b""));
    let n = bits::count_range(text.bytes(&mut itoa::Buffer::new()), start, end, unit);
    out.int(i64::try_from(n).unwrap_or(i64::MAX));
    Ok(())
}

fn bitpos(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let bit = match args.int()? {
        0 => false,
        1 => true,
        _ => return Err(Error::new("ERR The bit argument must be 1 or 0.")),
    };
    if args.left() > 3 {
        return Err(error::SYNTAX);
    }
    let start = if args.left() > 0 { args.int()? } else { 0 };
    let end = args.maybe();
    // The unit is checked before the end that stands in front of it.
    let unit = unit(args)?;
    let end = end.map(|text| number::parse_i64(text).ok_or(error::NOT_INTEGER)).transpose()?;
    let found = match ctx.string(&key)? {
        Some(text) => bits::position(text.bytes(&mut itoa::Buffer::new()), bit, start, end, unit),
        // A missing key is nothing but zeros.
        None => (!bit).then_some(0),
    };
    out.int(found.map_or(-1, |at| i64::try_from(at).unwrap_or(i64::MAX)));
    Ok(())
}

fn operation(word: &[u8]) -> Result<BitOp> {
    Ok(match word.to_ascii_uppercase().as_slice() {
        b"AND" => BitOp::And,
        b"OR" => BitOp::Or,
        b"XOR" => BitOp::Xor,
        b"NOT" => BitOp::Not,
        b"DIFF" => BitOp::Diff,
        b"DIFF1" => BitOp::Diff1,
        b"ANDOR" => BitOp::AndOr,
        b"ONE" => BitOp::One,
        _ => return Err(error::SYNTAX),
    })
}

fn bitop(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let op = operation(args.next()?)?;
    let dest = ctx.key(args.next()?);
    let names = args.take_rest();
    let too_few = match op {
        BitOp::Not if names.len() != 1 => {
            return Err(Error::new("ERR BITOP NOT must be called with a single source key."));
        }
        BitOp::Diff => Some("DIFF"),
        BitOp::Diff1 => Some("DIFF1"),
        BitOp::AndOr => Some("ANDOR"),
        _ => None,
    };
    if let Some(name) = too_few.filter(|_| names.len() < 2) {
        return Err(Error::text(format!("ERR BITOP {name} must be called with at least two source keys.")));
    }
    let keys: Vec<Key<'_>> = names.iter().map(|name| ctx.key(name)).collect();
    for key in &keys {
        ctx.string(key)?;
    }
    let mut inputs: Vec<Cow<'_, [u8]>> = Vec::with_capacity(keys.len());
    for key in &keys {
        inputs.push(match ctx.seen(key).and_then(text) {
            Some(Text::Bytes(bytes)) => Cow::Borrowed(bytes),
            Some(number) => Cow::Owned(number.to_vec()),
            None => Cow::Borrowed(b""),
        });
    }
    let slices: Vec<&[u8]> = inputs.iter().map(|input| &**input).collect();
    let result = bits::bitop(op, &slices);
    let len = result.len();
    if len > 0 {
        ctx.set_value(&dest, Value::Str(result), Expiry::Clear);
        ctx.changed(&dest, event::STRING, "set");
    } else if ctx.remove(&dest) {
        ctx.changed(&dest, event::GENERIC, "del");
    }
    out.len(len);
    Ok(())
}

/// One step of BITFIELD.
struct Step {
    field: Field,
    offset: u64,
    action: Action,
}

#[derive(Clone, Copy)]
enum Action {
    Get,
    Set(i64, Overflow),
    Add(i64, Overflow),
}

fn steps(ctx: &Ctx<'_>, args: &mut Args<'_>) -> Result<Vec<Step>> {
    let (mut steps, mut overflow) = (Vec::new(), Overflow::Wrap);
    while args.left() > 0 {
        let more = args.left() - 1;
        let action = match () {
            () if more > 1 && args.word("GET") => Action::Get,
            () if more > 2 && args.word("SET") => Action::Set(0, overflow),
            () if more > 2 && args.word("INCRBY") => Action::Add(0, overflow),
            () if more > 0 && args.word("OVERFLOW") => {
                overflow = match args.next()?.to_ascii_uppercase().as_slice() {
                    b"WRAP" => Overflow::Wrap,
                    b"SAT" => Overflow::Saturate,
                    b"FAIL" => Overflow::Fail,
                    _ => return Err(Error::new("ERR Invalid OVERFLOW type specified")),
                };
                continue;
            }
            () => return Err(error::SYNTAX),
        };
        let field = Field::parse(args.next()?).ok_or(Error::new(
            "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
        ))?;
        let offset = bit_offset(ctx, args.next()?, Some(field))?;
        let action = match action {
            Action::Get => action,
            Action::Set(_, overflow) => Action::Set(args.int()?, overflow),
            Action::Add(_, overflow) => Action::Add(args.int()?, overflow),
        };
        steps.push(Step { field, offset, action });
    }
    Ok(steps)
}

/// BITFIELD writes nothing if it is asked for GET only. What is not understood is taken for a write.
fn bitfield_flags(argv: &[&[u8]]) -> u16 {
    let mut rest = argv.get(2..).unwrap_or_default();
    while let [option, arguments @ ..] = rest {
        let taken = if option.eq_ignore_ascii_case(b"GET") {
            2
        } else if option.eq_ignore_ascii_case(b"OVERFLOW") {
            1
        } else {
            return RW | ACCESS | UPDATE;
        };
        match arguments.get(taken..) {
            Some(behind) => rest = behind,
            None => return RW | ACCESS | UPDATE,
        }
    }
    RO | ACCESS
}

fn bitfield(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    run_bitfield(ctx, args, false, out)
}

fn bitfield_ro(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    run_bitfield(ctx, args, true, out)
}

fn run_bitfield(ctx: &mut Ctx<'_>, args: &mut Args<'_>, read_only: bool, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let steps = steps(ctx, args)?;
    let writes = steps.iter().filter(|step| !matches!(step.action, Action::Get));
    let last_bit = writes.map(|step| step.offset + u64::from(step.field.bits()) - 1).max();
    let Some(last_bit) = last_bit else {
        let text = ctx.string(&key)?.unwrap_or(Text::Bytes(b""));
        let mut digits = itoa::Buffer::new();
        let bytes = text.bytes(&mut digits);
        out.array(steps.len());
        steps.iter().for_each(|step| out.int(step.field.get(bytes, step.offset)));
        return Ok(());
    };
    if read_only {
        return Err(Error::new("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    let (buffer, grew) = grown(ctx, &key, last_bit)?;
    let mut changes = 0;
    out.array(steps.len());
    for Step { field, offset, action } in steps {
        let old = field.get(buffer, offset);
        let (new, shows_new) = match action {
            Action::Get => {
                out.int(old);
                continue;
            }
            Action::Set(value, overflow) => (field.add(value, 0, overflow), false),
            Action::Add(by, overflow) => (field.add(old, by, overflow), true),
        };
        let Some(new) = new else {
            out.null();
            continue;
        };
        out.int(if shows_new { new } else { old });
        field.set(buffer, offset, new);
        changes += u64::from(grew || old != new);
    }
    if changes > 0 {
        ctx.changed_by(changes, &key, event::STRING, "setbit");
    }
    Ok(())
}
