//! How many distinct elements were there? HyperLogLogs, which are strings of a special form.

use crate::commands::prelude::*;
use crate::dispatch::access::Text;
use crate::value::Value;
use crate::value::hll::{self, Encoding, HllError, Union};

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    Command::new("pfadd", pfadd)
        .arity(-2)
        .flags(WRITE | DENYOOM | FAST)
        .acl(HYPERLOGLOG)
        .keys(&[one(RW | INSERT, 1)])
        .doc(
            "hyperloglog",
            "2.8.9",
            "O(1) per element",
            "Adds elements to a HyperLogLog, creating it if need be.",
            "key:key@0 [element:str...]",
        ),
    Command::new("pfcount", pfcount)
        .arity(-2)
        .flags(READONLY)
        .also(MAY_REPLICATE)
        .acl(HYPERLOGLOG)
        .keys(&[range(RW | ACCESS, 1, -1, 1)])
        .doc(
            "hyperloglog",
            "2.8.9",
            "O(1) for one key, O(N) for N keys with a larger constant",
            "Estimates how many distinct elements HyperLogLogs have seen together.",
            "key:key@0...",
        ),
    Command::new("pfdebug", pfdebug)
        .arity(3)
        .flags(WRITE | DENYOOM | ADMIN)
        .acl(HYPERLOGLOG)
        .keys(&[one(RW | ACCESS, 2)])
        .doc(
            "hyperloglog",
            "2.8.9",
            "N/A",
            "Shows the inner workings of a HyperLogLog.",
            "subcommand:str key:key@0",
        )
        .syscmd(),
    Command::new("pfmerge", pfmerge)
        .arity(-2)
        .flags(WRITE | DENYOOM)
        .acl(HYPERLOGLOG)
        .keys(&[one(RW | ACCESS | INSERT, 1), range(RO | ACCESS, 2, -1, 1)])
        .doc(
            "hyperloglog",
            "2.8.9",
            "O(N) for N keys, with a large constant",
            "Merges HyperLogLogs into one.",
            "destkey:key@0 [sourcekey:key@1...]",
        ),
    Command::new("pfselftest", pfselftest)
        .arity(1)
        .flags(ADMIN)
        .acl(HYPERLOGLOG)
        .doc("hyperloglog", "2.8.9", "N/A", "Checks that HyperLogLogs count as they should.", "")
        .syscmd(),
];

fn refusal(error: HllError) -> Error {
    match error {
        HllError::NotHll => error::NOT_HLL,
        HllError::Corrupted => error::CORRUPT_HLL,
    }
}

/// The encoding of the HyperLogLog at a key, without counting as a read; `None` when there is no key.
fn kind(ctx: &mut Ctx<'_>, key: &Key<'_>) -> Result<Option<Encoding>> {
    match ctx.string_for_update(key)? {
        None => Ok(None),
        Some(text) => hll::encoding(text.bytes(&mut itoa::Buffer::new())).map(Some).map_err(refusal),
    }
}

fn pfadd(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let sparse_max = ctx.limits().hll_sparse_max_bytes;
    let mut updated = 0;
    if kind(ctx, &key)?.is_none() {
        ctx.insert(&key, Value::Str(hll::empty()), None);
        updated += 1;
    }
    let value = ctx.string_buffer(&key)?;
    for element in args.take_rest() {
        updated += u64::from(hll::add(value, element, sparse_max).map_err(refusal)?);
    }
    if updated > 0 {
        hll::invalidate(value);
        ctx.changed_by(updated, &key, event::STRING, "pfadd");
    }
    out.flag(updated > 0);
    Ok(())
}

/// Adds the HyperLogLog at a key to a union.
fn merge(ctx: &mut Ctx<'_>, name: &[u8], union: &mut Union) -> Result {
    let key = ctx.key(name);
    if let Some(text) = ctx.string(&key)? {
        union.merge(text.bytes(&mut itoa::Buffer::new())).map_err(refusal)?;
    }
    Ok(())
}

fn pfcount(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let names = args.take_rest();
    if let [name] = names {
        let n = count(ctx, name)?;
        out.int(i64::try_from(n).unwrap_or(i64::MAX));
        return Ok(());
    }
    let mut union = Union::new();
    for name in names {
        merge(ctx, name, &mut union)?;
    }
    out.int(i64::try_from(union.count()).unwrap_or(i64::MAX));
    Ok(())
}

/// The cardinality of one HyperLogLog, which is kept with it until something is added.
fn count(ctx: &mut Ctx<'_>, name: &[u8]) -> Result<u64> {
    let key = ctx.key(name);
    let Some(text) = ctx.string(&key)? else { return Ok(0) };
    let mut digits = itoa::Buffer::new();
    let value = text.bytes(&mut digits);
    hll::encoding(value).map_err(refusal)?;
    if let Some(n) = hll::cached(value) {
        return Ok(n);
    }
    let n = hll::count(value).map_err(refusal)?;
    hll::store_cached(ctx.string_buffer(&key)?, n);
    ctx.touched(1, &key);
    Ok(n)
}

fn pfmerge(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let names = args.take_rest();
    let mut union = Union::new();
    for name in names {
        merge(ctx, name, &mut union)?;
    }
    let Some(dest) = names.first() else { return Err(error::SYNTAX) };
    let key = ctx.key(dest);
    let sparse_max = ctx.limits().hll_sparse_max_bytes;
    if !ctx.exists(&key) {
        ctx.insert(&key, Value::Str(hll::empty()), None);
    }
    union.write_to(ctx.string_buffer(&key)?, sparse_max).map_err(refusal)?;
    ctx.changed(&key, event::STRING, "pfadd");
    out.ok();
    Ok(())
}

/// Makes the HyperLogLog at a key dense; true when it was not.
fn make_dense(ctx: &mut Ctx<'_>, key: &Key<'_>) -> Result<bool> {
    let changed = hll::to_dense(ctx.string_buffer(key)?).map_err(refusal)?;
    ctx.changed_unseen(u64::from(changed));
    Ok(changed)
}

fn pfdebug(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let (word, name) = (args.next()?, args.next()?);
    let is = |other: &str| word.eq_ignore_ascii_case(other.as_bytes());
    if is("SIMD") {
        // Nothing to switch: the compiler has vectorised what there is.
        let on = name.eq_ignore_ascii_case(b"ON");
        if !on && !name.eq_ignore_ascii_case(b"OFF") {
            return Err(Error::new("ERR Argument must be ON or OFF"));
        }
        out.simple(if on { "enabled" } else { "disabled" });
        return Ok(());
    }
    let key = ctx.key(name);
    let encoding = kind(ctx, &key)?.ok_or(Error::new("ERR The specified key does not exist"))?;
    if is("GETREG") {
        make_dense(ctx, &key)?;
        let mut union = Union::new();
        merge(ctx, name, &mut union)?;
        out.array(union.registers().len());
        union.registers().iter().for_each(|&register| out.int(register.into()));
    } else if is("DECODE") {
        let text = ctx.string_for_update(&key)?.unwrap_or(Text::Bytes(b""));
        let runs = hll::decode(text.bytes(&mut itoa::Buffer::new())).map_err(refusal)?;
        out.bulk(runs.ok_or(Error::new("ERR HLL encoding is not sparse"))?.as_bytes());
    } else if is("ENCODING") {
        out.simple(encoding.name());
    } else if is("TODENSE") {
        out.flag(make_dense(ctx, &key)?);
    } else {
        let word = error::quote(word);
        return Err(Error::text(format!("ERR Unknown PFDEBUG subcommand '{word}'")));
    }
    Ok(())
}

/// Elements that PFSELFTEST counts.
const SELF_TEST: u64 = 100_000;

/// Counts distinct elements in a sparse and a dense HyperLogLog side by side: at every power of ten they must agree,
/// and be right within six standard errors.
fn pfselftest(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let sparse_max = ctx.limits().hll_sparse_max_bytes;
    let seed = ctx.worker.rng.next_u64();
    let (mut sparse, mut dense) = (hll::empty(), hll::empty());
    hll::to_dense(&mut dense).map_err(refusal)?;
    let mut checkpoint = 1;
    for n in 1..=SELF_TEST {
        let element = (n ^ seed).to_le_bytes();
        for value in [&mut sparse, &mut dense] {
            hll::add(value, &element, sparse_max).map_err(refusal)?;
        }
        if n != checkpoint {
            continue;
        }
        let counted = hll::count(&dense).map_err(refusal)?;
        if counted != hll::count(&sparse).map_err(refusal)? {
            return Err(Error::new("ERR TESTFAILED dense/sparse disagree"));
        }
        // Collisions among few elements are rare, but far more than a standard error.
        let allowed = (1.04 / 128.0 * 6.0 * n as f64).ceil().max(1.0) as u64;
        let off = counted.abs_diff(n);
        if off > allowed {
            let text = format!("ERR TESTFAILED Too big error. card:{n} abserr:{off}");
            return Err(Error::text(text));
        }
        checkpoint *= 10;
    }
    out.ok();
    Ok(())
}
