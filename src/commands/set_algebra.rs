//! What do several sets have in common, together, or only the first one? Intersections, unions, differences.
//!
//! All sets are looked up first, so that a key of another type is refused before anything changes; then they are held
//! together, read-only. Which encoding a stored result has follows from the order in which Redis adds its members.

use std::cmp::Reverse;

use crate::commands::prelude::*;
use crate::commands::sets::reply_set;
use crate::dispatch::access::Expiry;
use crate::ds::entry::View;
use crate::ds::listpack::LpValue;
use crate::ds::table::Table;
use crate::util::hash::Seed;
use crate::value::{Limits, Set, Value};

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    Command::new("sinter", sinter)
        .arity(-2)
        .flags(READONLY)
        .acl(SET)
        .keys(&[range(RO | ACCESS, 1, -1, 1)])
        .tips(&["nondeterministic_output_order"])
        .doc(
            "set",
            "1.0.0",
            "O(N*M) for M sets of which the smallest has N members",
            "Gets the members that all sets have.",
            "key:key@0...",
        ),
    Command::new("sinterstore", sinterstore)
        .arity(-3)
        .flags(WRITE | DENYOOM)
        .acl(SET)
        .keys(&[one(OW | UPDATE, 1), range(RO | ACCESS, 2, -1, 1)])
        .doc(
            "set",
            "1.0.0",
            "O(N*M) for M sets of which the smallest has N members",
            "Makes a set of the members that all sets have.",
            "destination:key@0 key:key@1...",
        ),
    Command::new("sintercard", sintercard)
        .arity(-3)
        .flags(READONLY | MOVABLE_KEYS)
        .acl(SET)
        .keys(&[numbered(RO | ACCESS, 1)])
        .doc(
            "set",
            "7.0.0",
            "O(N*M) for M sets of which the smallest has N members",
            "Counts the members that all sets have.",
            "numkeys:int key:key@0... [LIMIT limit:int]",
        ),
    Command::new("sunion", sunion)
        .arity(-2)
        .flags(READONLY)
        .acl(SET)
        .keys(&[range(RO | ACCESS, 1, -1, 1)])
        .tips(&["nondeterministic_output_order"])
        .doc(
            "set",
            "1.0.0",
            "O(N) for N members in all sets",
            "Gets the members that any of the sets has.",
            "key:key@0...",
        ),
    Command::new("sunionstore", sunionstore)
        .arity(-3)
        .flags(WRITE | DENYOOM)
        .acl(SET)
        .keys(&[one(OW | UPDATE, 1), range(RO | ACCESS, 2, -1, 1)])
        .doc(
            "set",
            "1.0.0",
            "O(N) for N members in all sets",
            "Makes a set of the members that any of the sets has.",
            "destination:key@0 key:key@1...",
        ),
    Command::new("sdiff", sdiff)
        .arity(-2)
        .flags(READONLY)
        .acl(SET)
        .keys(&[range(RO | ACCESS, 1, -1, 1)])
        .tips(&["nondeterministic_output_order"])
        .doc(
            "set",
            "1.0.0",
            "O(N) for N members in all sets",
            "Gets the members of the first set that no other set has.",
            "key:key@0...",
        ),
    Command::new("sdiffstore", sdiffstore)
        .arity(-3)
        .flags(WRITE | DENYOOM)
        .acl(SET)
        .keys(&[one(OW | UPDATE, 1), range(RO | ACCESS, 2, -1, 1)])
        .doc(
            "set",
            "1.0.0",
            "O(N) for N members in all sets",
            "Makes a set of the members of the first set that no other set has.",
            "destination:key@0 key:key@1...",
        ),
];

/// The keys with sets among `names`, in order; `None` for a key that does not exist. Counted as the client's reads.
fn look_up<'k>(ctx: &mut Ctx<'_>, names: &[&'k [u8]]) -> Result<Vec<Option<Key<'k>>>> {
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        let key = ctx.key(name);
        found.push(ctx.read::<Set>(&key)?.map(|_| key));
    }
    Ok(found)
}

/// The set of a key that has been looked up.
fn held<'c>(ctx: &'c Ctx<'_>, key: &Key<'_>) -> Option<&'c Set> {
    match ctx.seen(key) {
        Some(View::Value(Value::Set(set))) => Some(set),
        _ => None,
    }
}

/// The sets of keys that have been looked up; `None` for those that do not exist.
fn all_held<'c>(ctx: &'c Ctx<'_>, keys: &[Option<Key<'_>>]) -> Vec<Option<&'c Set>> {
    keys.iter().map(|key| key.as_ref().and_then(|key| held(ctx, key))).collect()
}

/// Replaces the target by a result, or deletes it when the result is empty; replies with the number of members.
fn store(ctx: &mut Ctx<'_>, target: &[u8], result: Set, event: &'static str, out: &mut Reply<'_>) {
    let (key, len) = (ctx.key(target), result.len());
    if len > 0 {
        ctx.set_value(&key, Value::Set(result), Expiry::Clear);
        ctx.changed(&key, event::SET, event);
    } else if ctx.remove(&key) {
        ctx.changed(&key, event::GENERIC, "del");
    }
    out.len(len);
}

/// Replies with members whose number is not known before.
fn reply_members<'s>(members: impl Iterator<Item = LpValue<'s>>, out: &mut Reply<'_>) {
    let (mark, mut n) = (out.open(), 0);
    members.for_each(|member| {
        out.element(member);
        n += 1;
    });
    out.close_set(mark, n);
}

/// The sets that an intersection goes through, the smallest first; `None` when one is missing, hence the result empty.
fn by_size<'c>(ctx: &'c Ctx<'_>, keys: &[Option<Key<'_>>]) -> Option<Vec<&'c Set>> {
    let mut sets = all_held(ctx, keys).into_iter().collect::<Option<Vec<&Set>>>()?;
    sets.sort_by_key(|set| set.len());
    // A key given twice is one set.
    sets.dedup_by(|a, b| std::ptr::eq(*a, *b));
    Some(sets)
}

/// The members of the first set that all others have.
fn intersection<'c>(sets: &[&'c Set]) -> impl Iterator<Item = LpValue<'c>> {
    let first = sets.first().copied();
    first
        .into_iter()
        .flat_map(Set::iter)
        .filter(|member| sets.iter().skip(1).all(|s| s.contains_value(*member)))
}

fn sinter(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let keys = look_up(ctx, args.take_rest())?;
    match by_size(ctx, &keys) {
        Some(sets) => reply_members(intersection(&sets), out),
        None => out.set(0),
    }
    Ok(())
}

fn sinterstore(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let target = args.next()?;
    let keys = look_up(ctx, args.take_rest())?;
    let (limits, seed) = (ctx.limits(), ctx.seed());
    let result = match by_size(ctx, &keys) {
        Some(sets) => {
            // What comes from integers is kept as integers; the rest is packed, and made integers if it is that.
            let from_ints = matches!(sets.first(), Some(Set::Ints(_)));
            let mut result = if from_ints { Set::new() } else { Set::Packed(Default::default()) };
            intersection(&sets).for_each(|member| {
                result.add_value(member, &limits, seed);
            });
            result.make_ints(&limits);
            result
        }
        None => Set::new(),
    };
    store(ctx, target, result, "sinterstore", out);
    Ok(())
}

fn sintercard(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let n = args.int_in(1, i64::MAX, Error::new("ERR numkeys should be greater than 0"))?;
    let too_many = Error::new("ERR Number of keys can't be greater than number of args");
    let names = usize::try_from(n).ok().and_then(|n| args.take(n).ok()).ok_or(too_many)?;
    let mut limit = 0;
    while args.left() > 0 {
        if args.left() < 2 || !args.word("LIMIT") {
            return Err(error::SYNTAX);
        }
        limit = args.int_in(0, i64::MAX, Error::new("ERR LIMIT can't be negative"))?;
    }
    let limit = usize::try_from(limit).ok().filter(|&limit| limit > 0).unwrap_or(usize::MAX);
    let keys = look_up(ctx, names)?;
    out.len(by_size(ctx, &keys).map_or(0, |sets| match sets.as_slice() {
        [only] => only.len().min(limit),
        sets => intersection(sets).take(limit).count(),
    }));
    Ok(())
}

/// All members of all sets. A result that is to be stored begins as integers, as in Redis; one that is only read may
/// as well be a table from the start.
fn union(sets: &[&Set], stored: bool, limits: &Limits, seed: Seed) -> Set {
    let ints = sets.iter().all(|set| matches!(set, Set::Ints(_)));
    let mut result = if stored || ints { Set::new() } else { Set::Table(Box::new(Table::new(seed))) };
    for member in sets.iter().flat_map(|set| set.iter()) {
        result.add_value(member, limits, seed);
    }
    result
}

fn sunion(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let keys = look_up(ctx, args.take_rest())?;
    let mut sets: Vec<&Set> = all_held(ctx, &keys).into_iter().flatten().collect();
    sets.dedup_by(|a, b| std::ptr::eq(*a, *b));
    match sets.as_slice() {
        [only] => reply_set(only, out),
        sets => reply_set(&union(sets, false, &ctx.limits(), ctx.seed()), out),
    }
    Ok(())
}

fn sunionstore(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let target = args.next()?;
    let keys = look_up(ctx, args.take_rest())?;
    let sets: Vec<&Set> = all_held(ctx, &keys).into_iter().flatten().collect();
    let result = union(&sets, true, &ctx.limits(), ctx.seed());
    store(ctx, target, result, "sunionstore", out);
    Ok(())
}

/// How a difference is computed.
enum Difference<'c> {
    /// It is empty without looking at members.
    Empty,
    /// Each member of the first set is looked for in the others, of which the largest come first.
    Sieve(&'c Set, Vec<&'c Set>),
    /// The members of the others are removed from a copy of the first.
    Subtract(&'c Set, Vec<&'c Set>),
}

impl<'c> Difference<'c> {
    /// Chooses the way that looks cheaper, by Redis's estimate: it decides how a stored result is encoded.
    fn of(sets: &[Option<&'c Set>]) -> Self {
        let Some((Some(first), others)) = sets.split_first() else { return Difference::Empty };
        let mut others: Vec<&Set> = others.iter().copied().flatten().collect();
        if others.iter().any(|other| std::ptr::eq(*other, *first)) {
            return Difference::Empty;
        }
        let sieve = first.len().saturating_mul(others.len() + 1) / 2;
        let subtract = others.iter().fold(first.len(), |sum, set| sum.saturating_add(set.len()));
        if sieve > subtract {
            return Difference::Subtract(first, others);
        }
        others.sort_by_key(|set| Reverse(set.len()));
        Difference::Sieve(first, others)
    }
}

/// The members of `first` that none of `others` has.
fn sieve<'c>(first: &'c Set, others: &[&Set]) -> impl Iterator<Item = LpValue<'c>> {
    first.iter().filter(|member| !others.iter().any(|set| set.contains_value(*member)))
}

/// What is left of `first`, added to `result`, when the members of `others` have been removed.
fn subtract(first: &Set, others: &[&Set], mut result: Set, limits: &Limits, seed: Seed) -> Set {
    for member in first.iter() {
        result.add_value(member, limits, seed);
    }
    for other in others {
        if result.is_empty() {
            break;
        }
        for member in other.iter() {
            result.remove_value(member);
        }
    }
    result
}

fn sdiff(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let keys = look_up(ctx, args.take_rest())?;
    match Difference::of(&all_held(ctx, &keys)) {
        Difference::Empty => out.set(0),
        Difference::Sieve(first, others) => reply_members(sieve(first, &others), out),
        Difference::Subtract(first, others) => {
            let seed = ctx.seed();
            let scratch = match first {
                Set::Ints(_) => Set::new(),
                _ => Set::Table(Box::new(Table::new(seed))),
            };
            reply_set(&subtract(first, &others, scratch, &ctx.limits(), seed), out);
        }
    }
    Ok(())
}

fn sdiffstore(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let target = args.next()?;
    let keys = look_up(ctx, args.take_rest())?;
    let (limits, seed) = (ctx.limits(), ctx.seed());
    let result = match Difference::of(&all_held(ctx, &keys)) {
        Difference::Empty => Set::new(),
        Difference::Sieve(first, others) => {
            let mut result = Set::new();
            for member in sieve(first, &others) {
                result.add_value(member, &limits, seed);
            }
            result
        }
        Difference::Subtract(first, others) => subtract(first, &others, Set::new(), &limits, seed),
    };
    store(ctx, target, result, "sdiffstore", out);
    Ok(())
}
