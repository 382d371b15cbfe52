//! How are the first or last members taken out? ZPOPMIN and its kin, at once or waiting for a member to come.

use crate::commands::prelude::*;
use crate::commands::zsets::report_removal;
use crate::dispatch::ctx::OnTimeout;
use crate::ds::listpack::LpValue;
use crate::keyspace::waiter::Wish;
use crate::value::{Kind, Zset};

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::new("bzmpop", bzmpop).arity(-5).flags(WRITE | BLOCKING | MOVABLE_KEYS).acl(SORTEDSET).keys(&[numbered(RW | ACCESS | DELETE, 2)]).doc("sorted-set", "7.0.0", "O(K) + O(M*log(N)) where K is the number of provided keys, N being the number of elements in the sorted set, and M being the number of elements popped.", "Takes members out of the first of several keys that has any, and waits for one.", "timeout:dbl numkeys:int key:key@0... where(MIN | MAX) [COUNT count:int]"),
    Command::new("bzpopmax", bzpopmax).arity(-3).flags(WRITE | BLOCKING | FAST).acl(SORTEDSET).keys(&[range(RW | ACCESS | DELETE, 1, -2, 1)]).doc("sorted-set", "5.0.0", "O(log(N)) with N being the number of elements in the sorted set.", "Takes the member with the highest score out of the first key that has any, and waits for one.", "key:key@0... timeout:dbl"),
    Command::new("bzpopmin", bzpopmin).arity(-3).flags(WRITE | BLOCKING | FAST).acl(SORTEDSET).keys(&[range(RW | ACCESS | DELETE, 1, -2, 1)]).doc("sorted-set", "5.0.0", "O(log(N)) with N being the number of elements in the sorted set.", "Takes the member with the lowest score out of the first key that has any, and waits for one.", "key:key@0... timeout:dbl"),
    Command::new("zmpop", zmpop).arity(-4).flags(WRITE | MOVABLE_KEYS).acl(SORTEDSET).keys(&[numbered(RW | ACCESS | DELETE, 1)]).doc("sorted-set", "7.0.0", "O(K) + O(M*log(N)) where K is the number of provided keys, N being the number of elements in the sorted set, and M being the number of elements popped.", "Takes members out of the first of several keys that has any.", "numkeys:int key:key@0... where(MIN | MAX) [COUNT count:int]"),
    Command::new("zpopmax", zpopmax).arity(-2).flags(WRITE | FAST).acl(SORTEDSET).keys(&[one(RW | ACCESS | DELETE, 1)]).doc("sorted-set", "5.0.0", "O(log(N)*M) with N being the number of elements in the sorted set, and M being the number of elements popped.", "Takes the members with the highest scores out.", "key:key@0 [count:int]"),
    Command::new("zpopmin", zpopmin).arity(-2).flags(WRITE | FAST).acl(SORTEDSET).keys(&[one(RW | ACCESS | DELETE, 1)]).doc("sorted-set", "5.0.0", "O(log(N)*M) with N being the number of elements in the sorted set, and M being the number of elements popped.", "Takes the members with the lowest scores out.", "key:key@0 [count:int]"),
];

/// Which end of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Min,
    Max,
}

impl End {
    fn event(self) -> &'static str {
        match self {
            End::Min => "zpopmin",
            End::Max => "zpopmax",
        }
    }
}

/// What a pop's reply looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Member, score, member, score...
    Flat,
    /// Pairs.
    Nested,
    /// The key, member and score.
    Keyed,
    /// The key and pairs.
    KeyedNested,
}

/// Takes up to `count` members out and answers; returns how many there were.
fn pop(
    ctx: &mut Ctx<'_>,
    key: &Key<'_>,
    end: End,
    count: usize,
    shape: Shape,
    out: &mut Reply<'_>,
) -> Result<usize> {
    let Some(zset) = ctx.write::<Zset>(key)? else {
        out.array(0);
        return Ok(0);
    };
    let n = count.min(zset.len());
    match shape {
        Shape::Flat => out.array(n.saturating_mul(2)),
        Shape::Nested => out.array(n),
        Shape::Keyed => {
            out.array(n.saturating_mul(2).saturating_add(1));
            out.bulk(key.name);
        }
        Shape::KeyedNested => {
            out.array(2);
            out.bulk(key.name);
            out.array(n);
        }
    }
    let show = |(member, score): (LpValue<'_>, f64)| {
        if matches!(shape, Shape::Nested | Shape::KeyedNested) {
            out.array(2);
        }
        out.element(member);
        out.double(score);
    };
    match end {
        End::Min => zset.pop_min(n, show),
        End::Max => zset.pop_max(n, show),
    };
    let emptied = zset.is_empty();
    report_removal(ctx, key, n, emptied, end.event());
    Ok(n)
}

fn zpopmin(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    pop_from_one(ctx, args, End::Min, out)
}

fn zpopmax(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    pop_from_one(ctx, args, End::Max, out)
}

fn pop_from_one(ctx: &mut Ctx<'_>, args: &mut Args<'_>, end: End, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    if args.left() > 1 {
        return Err(error::SYNTAX);
    }
    let (count, shape) = match args.left() {
        0 => (1, Shape::Flat),
        _ => {
            let count = args.int_in(0, i64::MAX, error::NOT_POSITIVE)?;
            (count, if out.is_resp3() { Shape::Nested } else { Shape::Flat })
        }
    };
    pop(ctx, &key, end, usize::try_from(count).unwrap_or(usize::MAX), shape, out)?;
    Ok(())
}

/// Takes members out of the first key that holds any; false when none does. `count` of `None` takes one and answers
/// flat. The log gets the pop that it came to.
fn pop_first(
    ctx: &mut Ctx<'_>,
    keys: &[&[u8]],
    end: End,
    count: Option<usize>,
    out: &mut Reply<'_>,
) -> Result<bool> {
    for name in keys {
        let key = ctx.key(name);
        if ctx.peek_as::<Zset>(&key)?.is_none() {
            continue;
        }
        let shape = if count.is_some() { Shape::KeyedNested } else { Shape::Keyed };
        let popped = pop(ctx, &key, end, count.unwrap_or(1), shape, out)?;
        let verb: &[u8] = if end == End::Max { b"ZPOPMAX" } else { b"ZPOPMIN" };
        match count {
            None => ctx.propagate_as(&[verb, name]),
            Some(_) => ctx.propagate_as(&[verb, name, popped.to_string().as_bytes()]),
        }
        return Ok(true);
    }
    Ok(false)
}

/// Leaves the client waiting for a sorted set at one of the keys.
fn wait(ctx: &mut Ctx<'_>, args: &Args<'_>, keys: &[&[u8]], timeout: u64, out: &mut Reply<'_>) {
    let wish = Wish { kind: Kind::Zset, or_gone: false };
    ctx.wait_for(args.argv(), keys, wish, timeout, OnTimeout::NullArray, out);
}

fn bzpopmin(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    pop_or_wait(ctx, args, End::Min, out)
}

fn bzpopmax(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    pop_or_wait(ctx, args, End::Max, out)
}

fn pop_or_wait(ctx: &mut Ctx<'_>, args: &mut Args<'_>, end: End, out: &mut Reply<'_>) -> Result {
    let keys = args.take(args.left().saturating_sub(1))?;
    let timeout = args.timeout(ctx.now_ms())?;
    if !pop_first(ctx, keys, end, None, out)? {
        wait(ctx, args, keys, timeout, out);
    }
    Ok(())
}

/// What ZMPOP is asked for: keys, end and count.
fn mpop_options<'a>(args: &mut Args<'a>) -> Result<(&'a [&'a [u8]], End, usize)> {
    let keys = args.int_in(1, i64::MAX, Error::new("ERR numkeys should be greater than 0"))?;
    let keys = args.take(usize::try_from(keys).unwrap_or(usize::MAX))?;
    let end = match () {
        () if args.word("MIN") => End::Min,
        () if args.word("MAX") => End::Max,
        () => return Err(error::SYNTAX),
    };
    let mut count = 1;
    if args.left() > 1 && args.word("COUNT") {
        count = args.int_in(1, i64::MAX, Error::new("ERR count should be greater than 0"))?;
    }
    args.end()?;
    Ok((keys, end, usize::try_from(count).unwrap_or(usize::MAX)))
}

fn zmpop(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let (keys, end, count) = mpop_options(args)?;
    if !pop_first(ctx, keys, end, Some(count), out)? {
        out.null_array();
    }
    Ok(())
}

fn bzmpop(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let mut timeout = *args;
    args.next()?;
    let (keys, end, count) = mpop_options(args)?;
    let timeout = timeout.timeout(ctx.now_ms())?;
    if !pop_first(ctx, keys, end, Some(count), out)? {
        wait(ctx, args, keys, timeout, out);
    }
    Ok(())
}
