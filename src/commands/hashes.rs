//! What can be done with hashes? Fields set, read, counted, walked over. Their time to live is in `hash_expire`.

use crate::commands::prelude::*;
use crate::commands::scan_args::{self, ScanArgs, Walked};
use crate::ds::listpack::LpValue;
use crate::util::number::{self, LongDouble};
use crate::value::Hash;

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    Command::new("hdel", hdel).arity(-3).element(2).flags(WRITE | FAST).acl(HASH).keys(&[one(RW | DELETE, 1)]).doc("hash", "2.0.0", "O(N) where N is the number of fields to be removed.", "Deletes fields of a hash, and the hash with its last field.", "key:key@0 field:str..."),
    Command::new("hexists", hexists).arity(3).element(2).flags(READONLY | FAST).acl(HASH).keys(&[one(RO, 1)]).doc("hash", "2.0.0", "O(1)", "Tells whether a hash has a field.", "key:key@0 field:str"),
    Command::new("hget", hget).arity(3).element(2).flags(READONLY | FAST).acl(HASH).keys(&[one(RO | ACCESS, 1)]).doc("hash", "2.0.0", "O(1)", "Gets the value of a field.", "key:key@0 field:str"),
    Command::new("hgetall", hgetall).arity(2).flags(READONLY).acl(HASH).keys(&[one(RO | ACCESS, 1)]).tips(&["nondeterministic_output_order"]).doc("hash", "2.0.0", "O(N) where N is the size of the hash.", "Gets all fields and values of a hash.", "key:key@0"),
    Command::new("hincrby", hincrby).arity(4).element(2).flags(WRITE | DENYOOM | FAST).acl(HASH).keys(&[one(RW | ACCESS | UPDATE, 1)]).doc("hash", "2.0.0", "O(1)", "Adds a number to the integer in a field; a missing field counts as 0.", "key:key@0 field:str increment:int"),
    Command::new("hincrbyfloat", hincrbyfloat).arity(4).element(2).flags(WRITE | DENYOOM | FAST).acl(HASH).keys(&[one(RW | ACCESS | UPDATE, 1)]).doc("hash", "2.6.0", "O(1)", "Adds a floating-point number to the number in a field; a missing field counts as 0.", "key:key@0 field:str increment:dbl"),
    Command::new("hkeys", hkeys).arity(2).flags(READONLY).acl(HASH).keys(&[one(RO | ACCESS, 1)]).tips(&["nondeterministic_output_order"]).doc("hash", "2.0.0", "O(N) where N is the size of the hash.", "Gets all fields of a hash.", "key:key@0"),
    Command::new("hlen", hlen).arity(2).flags(READONLY | FAST).acl(HASH).keys(&[one(RO, 1)]).doc("hash", "2.0.0", "O(1)", "Counts the fields of a hash.", "key:key@0"),
    Command::new("hmget", hmget).arity(-3).element(2).flags(READONLY | FAST).acl(HASH).keys(&[one(RO | ACCESS, 1)]).doc("hash", "2.0.0", "O(N) where N is the number of fields being requested.", "Gets the values of several fields at once.", "key:key@0 field:str..."),
    Command::new("hmset", hmset).arity(-4).element(2).flags(WRITE | DENYOOM | FAST).acl(HASH).keys(&[one(RW | UPDATE, 1)]).doc("hash", "2.0.0", "O(N) where N is the number of fields being set.", "Sets several fields at once.", "key:key@0 data{field:str value:str}...").deprecated("4.0.0", "`HSET` with multiple field-value pairs"),
    Command::new("hrandfield", hrandfield).arity(-2).flags(READONLY).acl(HASH).keys(&[one(RO | ACCESS, 1)]).tips(&["nondeterministic_output"]).doc("hash", "6.2.0", "O(N) where N is the number of fields returned", "Gets fields chosen at random.", "key:key@0 [options{count:int [WITHVALUES]}]"),
    Command::new("hscan", hscan).arity(-3).flags(READONLY).acl(HASH).keys(&[one(RO | ACCESS, 1)]).tips(&["nondeterministic_output"]).doc("hash", "2.8.0", "O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to return back to 0. N is the number of elements inside the collection.", "Walks over the fields and values of a hash.", "key:key@0 cursor:int [MATCH pattern:pat] [COUNT count:int] [NOVALUES]"),
    Command::new("hset", hset).arity(-4).element(2).flags(WRITE | DENYOOM | FAST).acl(HASH).keys(&[one(RW | UPDATE, 1)]).doc("hash", "2.0.0", "O(1) for each field/value pair added, so O(N) to add N field/value pairs when the command is called with multiple field/value pairs.", "Sets fields of a hash and tells how many are new.", "key:key@0 data{field:str value:str}..."),
    Command::new("hsetnx", hsetnx).arity(4).element(2).flags(WRITE | DENYOOM | FAST).acl(HASH).keys(&[one(RW | INSERT, 1)]).doc("hash", "2.0.0", "O(1)", "Sets a field unless it exists.", "key:key@0 field:str value:str"),
    Command::new("hstrlen", hstrlen).arity(3).element(2).flags(READONLY | FAST).acl(HASH).keys(&[one(RO, 1)]).doc("hash", "3.2.0", "O(1)", "Gets the length of the value of a field.", "key:key@0 field:str"),
    Command::new("hvals", hvals).arity(2).flags(READONLY).acl(HASH).keys(&[one(RO | ACCESS, 1)]).tips(&["nondeterministic_output_order"]).doc("hash", "2.0.0", "O(N) where N is the size of the hash.", "Gets all values of a hash.", "key:key@0"),
];

/// Removes the fields of a hash whose time is over, before a command looks at it; the hash goes with its last one.
pub(crate) fn sweep(ctx: &mut Ctx<'_>, key: &Key<'_>) -> Result {
    if ctx.peek_as::<Hash>(key)?.is_some() {
        ctx.expire_fields(key, usize::MAX);
    }
    Ok(())
}

/// Removes those of the named fields whose time is over.
pub(crate) fn sweep_named(ctx: &mut Ctx<'_>, key: &Key<'_>, names: &[&[u8]]) -> Result {
    if ctx.peek_as::<Hash>(key)?.is_some() {
        ctx.expire_named(key, names);
    }
    Ok(())
}

/// A hash of which some fields are read: those of them whose time is over are removed. A replica keeps them, and so
/// the time by which they are over comes with it.
fn read<'c>(ctx: &'c mut Ctx<'_>, key: &Key<'_>, names: &[&[u8]]) -> Result<(Option<&'c Hash>, u64)> {
    sweep_named(ctx, key, names)?;
    let now = ctx.field_now();
    Ok((ctx.read::<Hash>(key)?, now))
}

fn hset(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let created = set_pairs(ctx, args, "hset")?;
    out.len(created);
    Ok(())
}

fn hmset(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    set_pairs(ctx, args, "hmset")?;
    out.ok();
    Ok(())
}

fn set_pairs(ctx: &mut Ctx<'_>, args: &mut Args<'_>, name: &str) -> Result<usize> {
    let key = ctx.key(args.next()?);
    let pairs = args.take_rest();
    if !pairs.len().is_multiple_of(2) {
        return Err(Error::arity(name));
    }
    let (limits, seed) = (ctx.limits(), ctx.seed());
    let hash = ctx.create::<Hash>(&key)?;
    let longest = pairs.iter().map(|p| p.len()).max().unwrap_or(0);
    hash.prepare(pairs.len() / 2, longest, &limits, seed);
    let mut created = 0;
    for pair in pairs.chunks_exact(2) {
        created += usize::from(hash.set(pair[0], pair[1], false, &limits, seed));
    }
    ctx.changed_by(pairs.len() as u64 / 2, &key, event::HASH, "hset");
    Ok(created)
}

fn hsetnx(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let (field, value) = (args.next()?, args.next()?);
    sweep_named(ctx, &key, &[field])?;
    if ctx.peek_as::<Hash>(&key)?.is_some_and(|hash| hash.get(field).is_some()) {
        out.flag(false);
        return Ok(());
    }
    let (limits, seed) = (ctx.limits(), ctx.seed());
    ctx.create::<Hash>(&key)?.set(field, value, false, &limits, seed);
    ctx.changed(&key, event::HASH, "hset");
    out.flag(true);
    Ok(())
}

fn hget(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let field = args.next()?;
    let (hash, now) = read(ctx, &key, &[field])?;
    match hash.and_then(|hash| hash.live(field, now)) {
        Some(value) => out.element(value),
        None => out.null(),
    }
    Ok(())
}

fn hmget(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let fields = args.take_rest();
    let (hash, now) = read(ctx, &key, fields)?;
    out.array(fields.len());
    for field in fields {
        match hash.and_then(|hash| hash.live(field, now)) {
            Some(value) => out.element(value),
            None => out.null(),
        }
    }
    Ok(())
}

fn hgetall(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let now = ctx.field_now();
    let Some(hash) = ctx.read::<Hash>(&key)? else {
        out.map(0);
        return Ok(());
    };
    out.map(hash.live_len(now));
    for field in hash.iter().filter(|field| !field.is_over(now)) {
        out.element(field.name);
        out.element(field.value);
    }
    Ok(())
}

fn hkeys(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    reply_each(ctx, args, out, |field| field.name)
}

fn hvals(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    reply_each(ctx, args, out, |field| field.value)
}

fn reply_each(
    ctx: &mut Ctx<'_>,
    args: &mut Args<'_>,
    out: &mut Reply<'_>,
    part: for<'f> fn(crate::value::hash::Field<'f>) -> LpValue<'f>,
) -> Result {
    let key = ctx.key(args.next()?);
    let now = ctx.field_now();
    let Some(hash) = ctx.read::<Hash>(&key)? else {
        out.array(0);
        return Ok(());
    };
    out.array(hash.live_len(now));
    for field in hash.iter().filter(|field| !field.is_over(now)) {
        out.element(part(field));
    }
    Ok(())
}

fn hlen(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    // Those whose time is over count until they are removed.
    let len = ctx.read::<Hash>(&key)?.map_or(0, Hash::len);
    out.len(len);
    Ok(())
}

fn hexists(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let field = args.next()?;
    let (hash, now) = read(ctx, &key, &[field])?;
    out.flag(hash.is_some_and(|hash| hash.live(field, now).is_some()));
    Ok(())
}

fn hstrlen(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let field = args.next()?;
    let (hash, now) = read(ctx, &key, &[field])?;
    out.len(hash.and_then(|hash| hash.live(field, now)).map_or(0, |value| value.to_vec().len()));
    Ok(())
}

fn hdel(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let fields = args.take_rest();
    let (mut removed, mut empty) = (0, false);
    if let Some(hash) = ctx.write::<Hash>(&key)? {
        for field in fields {
            removed += usize::from(hash.remove(field));
            empty = hash.is_empty();
            if empty {
                break;
            }
        }
    }
    if removed > 0 {
        ctx.changed_by(removed as u64, &key, event::HASH, "hdel");
    }
    if removed > 0 && empty {
        ctx.remove_emptied(&key);
    }
    out.len(removed);
    Ok(())
}

fn hincrby(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let field = args.next()?;
    let by = args.int()?;
    sweep_named(ctx, &key, &[field])?;
    let old = match ctx.peek_as::<Hash>(&key)?.and_then(|hash| hash.get(field)) {
        None => 0,
        Some((LpValue::Int(n), _)) => n,
        Some((LpValue::Str(text), _)) => {
            number::parse_i64(text).ok_or(Error::new("ERR hash value is not an integer"))?
        }
    };
    let new = old.checked_add(by).ok_or(error::OVERFLOW)?;
    let (limits, seed) = (ctx.limits(), ctx.seed());
    let mut digits = itoa::Buffer::new();
    ctx.create::<Hash>(&key)?.set(field, digits.format(new).as_bytes(), true, &limits, seed);
    ctx.changed(&key, event::HASH, "hincrby");
    out.int(new);
    Ok(())
}

fn hincrbyfloat(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let field = args.next()?;
    let by = LongDouble::parse(args.next()?).ok_or(error::NOT_FLOAT)?;
    if !by.is_finite() {
        return Err(Error::new("ERR value is NaN or Infinity"));
    }
    sweep_named(ctx, &key, &[field])?;
    let old = match ctx.peek_as::<Hash>(&key)?.and_then(|hash| hash.get(field)) {
        None => LongDouble::from(0),
        Some((value, _)) => {
            LongDouble::parse(&value.to_vec()).ok_or(Error::new("ERR hash value is not a float"))?
        }
    };
    let sum = old + by;
    if !sum.is_finite() {
        return Err(error::NAN_OR_INFINITY);
    }
    let text = sum.format();
    let (limits, seed) = (ctx.limits(), ctx.seed());
    ctx.create::<Hash>(&key)?.set(field, &text, true, &limits, seed);
    ctx.changed(&key, event::HASH, "hincrbyfloat");
    // Replayed as its result, since other machines may round differently.
    ctx.propagate_as(&[b"HSETEX", key.name, b"KEEPTTL", b"FIELDS", b"1", field, &text]);
    out.bulk(&text);
    Ok(())
}

fn hscan(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let cursor = scan_args::cursor(args)?;
    let now = ctx.field_now();
    let Some(hash) = ctx.read::<Hash>(&key)? else {
        scan_args::reply_empty(out);
        return Ok(());
    };
    let scan = ScanArgs::parse(args, Walked::Fields)?;
    let (mut found, mut elements) = (0, Vec::new());
    let mut list = Reply::new(&mut elements, out.proto());
    let next = hash.scan(cursor, scan.count, |field| {
        let mut digits = itoa::Buffer::new();
        if !field.is_over(now) && scan.admits(field.name.as_bytes(&mut digits)) {
            list.element(field.name);
            found += 1;
            if !scan.no_values {
                list.element(field.value);
                found += 1;
            }
        }
    });
    scan_args::reply_found(out, next, found, &elements);
    Ok(())
}

fn hrandfield(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    if args.left() == 0 {
        sweep(ctx, &key)?;
        let mut rng = ctx.worker.rng.clone();
        match ctx.read::<Hash>(&key)?.and_then(|hash| hash.random(&mut rng)) {
            Some(field) => out.element(field.name),
            None => out.null(),
        }
        ctx.worker.rng = rng;
        return Ok(());
    }
    let count = args.int_of_either_sign()?;
    let with_values = args.left() > 0;
    if with_values && (!args.word("WITHVALUES") || args.left() > 0) {
        return Err(error::SYNTAX);
    }
    if with_values && !(-(i64::MAX / 2)..=i64::MAX / 2).contains(&count) {
        return Err(error::OUT_OF_RANGE);
    }
    sweep(ctx, &key)?;
    let mut rng = ctx.worker.rng.clone();
    let Some(hash) = ctx.read::<Hash>(&key)?.filter(|_| count != 0) else {
        out.array(0);
        return Ok(());
    };
    let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if count < 0 {
        repeated(hash, wanted, with_values, &mut rng, out);
    } else {
        distinct(hash, wanted, with_values, &mut rng, out);
    }
    ctx.worker.rng = rng;
    Ok(())
}

fn reply_field(field: &crate::value::hash::Field<'_>, with_values: bool, out: &mut Reply<'_>) {
    if with_values && out.is_resp3() {
        out.array(2);
    }
    out.element(field.name);
    if with_values {
        out.element(field.value);
    }
}

fn header(n: usize, with_values: bool, out: &mut Reply<'_>) {
    out.array(if with_values && !out.is_resp3() { n.saturating_mul(2) } else { n });
}

/// Any field, again and again.
fn repeated(hash: &Hash, n: usize, with_values: bool, rng: &mut crate::util::rng::Rng, out: &mut Reply<'_>) {
    header(n, with_values, out);
    for _ in 0..n {
        if out.is_in_vain() {
            return;
        }
        if let Some(field) = hash.random(rng) {
            reply_field(&field, with_values, out);
        }
    }
}

/// Each field at most once: a selection in one pass over the fields (Knuth, algorithm S).
fn distinct(hash: &Hash, n: usize, with_values: bool, rng: &mut crate::util::rng::Rng, out: &mut Reply<'_>) {
    let n = n.min(hash.len());
    header(n, with_values, out);
    let (mut needed, mut left) = (n, hash.len());
    for field in hash.iter() {
        if needed == 0 {
            break;
        }
        if rng.below(left as u64) < needed as u64 {
            reply_field(&field, with_values, out);
            needed -= 1;
        }
        left -= 1;
    }
}
