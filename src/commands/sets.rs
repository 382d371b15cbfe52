//! What can be done with one set? Members come and go, are asked for, drawn by chance and walked over.
//!
//! What is computed from several sets is in `set_algebra`.

use std::collections::HashSet;

use crate::commands::prelude::*;
use crate::commands::scan_args::{self, ScanArgs, Walked};
use crate::ds::listpack::LpValue;
use crate::util::rng::Rng;
use crate::value::{Set, Value};

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    Command::new("sadd", sadd)
        .arity(-3)
        .element(2)
        .flags(WRITE | DENYOOM | FAST)
        .acl(SET)
        .keys(&[one(RW | INSERT, 1)])
        .doc(
            "set",
            "1.0.0",
            "O(N) for N members",
            "Adds members to a set, creating it if need be.",
            "key:key@0 member:str...",
        ),
    Command::new("srem", srem)
        .arity(-3)
        .element(2)
        .flags(WRITE | FAST)
        .acl(SET)
        .keys(&[one(RW | DELETE, 1)])
        .doc(
            "set",
            "1.0.0",
            "O(N) for N members",
            "Removes members from a set; an emptied set is deleted.",
            "key:key@0 member:str...",
        ),
    Command::new("smembers", smembers)
        .arity(2)
        .flags(READONLY)
        .acl(SET)
        .keys(&[one(RO | ACCESS, 1)])
        .tips(&["nondeterministic_output_order"])
        .doc("set", "1.0.0", "O(N) for a set of N members", "Gets all members of a set.", "key:key@0"),
    Command::new("sismember", sismember)
        .arity(3)
        .element(2)
        .flags(READONLY | FAST)
        .acl(SET)
        .keys(&[one(RO, 1)])
        .doc("set", "1.0.0", "O(1)", "Tells whether something is a member of a set.", "key:key@0 member:str"),
    Command::new("smismember", smismember)
        .arity(-3)
        .element(2)
        .flags(READONLY | FAST)
        .acl(SET)
        .keys(&[one(RO | ACCESS, 1)])
        .doc(
            "set",
            "6.2.0",
            "O(N) for N members asked for",
            "Tells of several things whether they are members of a set.",
            "key:key@0 member:str...",
        ),
    Command::new("scard", scard).arity(2).flags(READONLY | FAST).acl(SET).keys(&[one(RO, 1)]).doc(
        "set",
        "1.0.0",
        "O(1)",
        "Counts the members of a set.",
        "key:key@0",
    ),
    Command::new("spop", spop)
        .arity(-2)
        .flags(WRITE | FAST)
        .acl(SET)
        .keys(&[one(RW | ACCESS | DELETE, 1)])
        .tips(&["nondeterministic_output"])
        .doc(
            "set",
            "1.0.0",
            "O(N) for N members",
            "Removes members chosen by chance and gives them.",
            "key:key@0 [count:int^3.2.0]",
        ),
    Command::new("srandmember", srandmember)
        .arity(-2)
        .flags(READONLY)
        .acl(SET)
        .keys(&[one(RO | ACCESS, 1)])
        .tips(&["nondeterministic_output"])
        .doc(
            "set",
            "1.0.0",
            "O(N) for N members",
            "Gets members chosen by chance.",
            "key:key@0 [count:int^2.6.0]",
        ),
    Command::new("smove", smove)
        .arity(4)
        .flags(WRITE | FAST)
        .acl(SET)
        .keys(&[one(RW | ACCESS | DELETE, 1), one(RW | INSERT, 2)])
        .doc(
            "set",
            "1.0.0",
            "O(1)",
            "Moves a member from one set to another.",
            "source:key@0 destination:key@1 member:str",
        ),
    Command::new("sscan", sscan)
        .arity(-3)
        .flags(READONLY)
        .acl(SET)
        .keys(&[one(RO | ACCESS, 1)])
        .tips(&["nondeterministic_output"])
        .doc(
            "set",
            "2.8.0",
            "O(1) a call, O(N) for all N members",
            "Walks over the members of a set.",
            "key:key@0 cursor:int [MATCH pattern:pat] [COUNT count:int]",
        ),
];

fn sadd(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let members = args.take_rest();
    let (limits, seed) = (ctx.limits(), ctx.seed());
    let first = members.first().copied().unwrap_or_default();
    let set =
        ctx.create_with::<Set>(&key, || Value::Set(Set::for_member(first, members.len(), &limits, seed)))?;
    set.prepare(members.len(), &limits, seed);
    let added = members.iter().filter(|member| set.add(member, &limits, seed)).count();
    if added > 0 {
        ctx.changed_by(added as u64, &key, event::SET, "sadd");
    }
    out.len(added);
    Ok(())
}

fn srem(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let Some(set) = ctx.write::<Set>(&key)? else {
        out.flag(false);
        return Ok(());
    };
    let removed = args.take_rest().iter().filter(|member| set.remove(member)).count();
    let emptied = set.is_empty();
    if removed > 0 {
        ctx.changed_by(removed as u64, &key, event::SET, "srem");
    }
    if emptied {
        ctx.remove_emptied(&key);
    }
    out.len(removed);
    Ok(())
}

fn smembers(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    match ctx.read::<Set>(&key)? {
        Some(set) => reply_set(set, out),
        None => out.set(0),
    }
    Ok(())
}

/// Replies with all members.
pub(super) fn reply_set(set: &Set, out: &mut Reply<'_>) {
    out.set(set.len());
    set.iter().for_each(|member| out.element(member));
}

fn sismember(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let set = ctx.read::<Set>(&key)?;
    let member = args.next()?;
    out.flag(set.is_some_and(|set| set.contains(member)));
    Ok(())
}

fn smismember(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let set = ctx.read::<Set>(&key)?;
    let members = args.take_rest();
    out.array(members.len());
    for member in members {
        out.flag(set.is_some_and(|set| set.contains(member)));
    }
    Ok(())
}

fn scard(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    out.len(ctx.read::<Set>(&key)?.map_or(0, Set::len));
    Ok(())
}

fn spop(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    if args.left() > 1 {
        return Err(error::SYNTAX);
    }
    if args.left() == 1 {
        let count = args.int_in(0, i64::MAX, error::NOT_POSITIVE)?;
        return spop_many(ctx, &key, usize::try_from(count).unwrap_or(usize::MAX), out);
    }
    let mut rng = draw(ctx);
    let popped = ctx.write::<Set>(&key)?.map(|set| (set.pop_random(&mut rng), set.is_empty()));
    let Some((Some(member), emptied)) = popped else {
        out.null();
        return Ok(());
    };
    ctx.changed(&key, event::SET, "spop");
    if emptied {
        ctx.remove_emptied(&key);
    }
    ctx.propagate_as(&[b"SREM", key.name, &member]);
    out.bulk(&member);
    Ok(())
}

/// A generator of its own for a command that holds a value while it draws.
fn draw(ctx: &mut Ctx<'_>) -> Rng {
    Rng::new(ctx.worker.rng.next_u64())
}

/// Most members that one SREM in the log names.
const SREM_BATCH: usize = 1024;

fn spop_many(ctx: &mut Ctx<'_>, key: &Key<'_>, count: usize, out: &mut Reply<'_>) -> Result {
    let (limits, seed, mut rng) = (ctx.limits(), ctx.seed(), draw(ctx));
    let Some(set) = ctx.write::<Set>(key)?.filter(|_| count > 0) else {
        out.set(0);
        return Ok(());
    };
    let len = set.len();
    if count >= len {
        reply_set(set, out);
        ctx.changed_by(len as u64, key, event::SET, "spop");
        ctx.remove_emptied(key);
        let del: &[u8] = if ctx.config().lazyfree_lazy_server_del { b"UNLINK" } else { b"DEL" };
        ctx.propagate_as(&[del, key.name]);
        return Ok(());
    }
    let mut popped: Vec<Vec<u8>> = Vec::new();
    out.set(count);
    set.pop_many(count, &mut rng, &limits, seed, |member| {
        out.element(member);
        popped.push(member.to_vec());
    });
    ctx.changed_by(count as u64, key, event::SET, "spop");
    for batch in popped.chunks(SREM_BATCH) {
        let mut srem: Vec<&[u8]> = vec![b"SREM", key.name];
        srem.extend(batch.iter().map(Vec::as_slice));
        ctx.propagate_as(&srem);
    }
    Ok(())
}

/// Most members that SRANDMEMBER draws with repetition: Redis would go on until memory is full.
const MOST_DRAWS: u64 = 1 << 27;

fn srandmember(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    if args.left() > 1 {
        return Err(error::SYNTAX);
    }
    let mut rng = draw(ctx);
    if args.left() == 0 {
        match ctx.read::<Set>(&key)?.and_then(|set| set.random(&mut rng)) {
            Some(member) => out.element(member),
            None => out.null(),
        }
        return Ok(());
    }
    let count = args.int_of_either_sign()?;
    let Some(set) = ctx.read::<Set>(&key)? else {
        out.array(0);
        return Ok(());
    };
    if count < 0 && count.unsigned_abs() > MOST_DRAWS {
        return Err(error::OUT_OF_RANGE);
    }
    let n = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if count < 0 {
        out.array(n);
        each_draw(set, n, &mut rng, |member| out.element(member));
    } else {
        let n = n.min(set.len());
        out.array(n);
        each_sample(set, n, &mut rng, |member| out.element(member));
    }
    Ok(())
}

/// Shows a random member `n` times.
fn each_draw(set: &Set, n: usize, rng: &mut Rng, mut show: impl FnMut(LpValue<'_>)) {
    if let Set::Packed(lp) = set
        && n > 1
    {
        // A position in a listpack has to be walked to: once for all draws.
        let members: Vec<LpValue<'_>> = lp.iter().collect();
        (0..n).filter_map(|_| members.get(rng.index(members.len()))).for_each(|member| show(*member));
        return;
    }
    (0..n).filter_map(|_| set.random(rng)).for_each(show);
}

/// Shows `n` different members; `n` is no more than there are.
fn each_sample(set: &Set, n: usize, rng: &mut Rng, mut show: impl FnMut(LpValue<'_>)) {
    // Of many, a few are drawn until they are different; otherwise one walk takes each with the chance that is due.
    if n.saturating_mul(3) <= set.len() && !matches!(set, Set::Packed(_)) {
        let mut seen = HashSet::new();
        while seen.len() < n {
            let Some(member) = set.random(rng) else { return };
            if seen.insert(member) {
                show(member);
            }
        }
        return;
    }
    let mut left = n;
    for (i, member) in set.iter().enumerate() {
        if left == 0 {
            return;
        }
        if rng.index(set.len() - i) < left {
            left -= 1;
            show(member);
        }
    }
}

fn smove(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let (source, target) = (ctx.key(args.next()?), ctx.key(args.next()?));
    let member = args.next()?;
    let Some(set) = ctx.peek_as::<Set>(&source)? else {
        out.flag(false);
        return Ok(());
    };
    let is_there = set.contains(member);
    ctx.peek_as::<Set>(&target)?;
    if !is_there || source.name == target.name {
        out.flag(is_there);
        return Ok(());
    }
    let (limits, seed) = (ctx.limits(), ctx.seed());
    if let Some(set) = ctx.write::<Set>(&source)? {
        set.remove(member);
        let emptied = set.is_empty();
        ctx.changed(&source, event::SET, "srem");
        if emptied {
            ctx.remove_emptied(&source);
        }
    }
    let fresh = || Value::Set(Set::for_member(member, 1, &limits, seed));
    if ctx.create_with::<Set>(&target, fresh)?.add(member, &limits, seed) {
        ctx.changed(&target, event::SET, "sadd");
    }
    out.flag(true);
    Ok(())
}

fn sscan(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let cursor = scan_args::cursor(args)?;
    let Some(set) = ctx.read::<Set>(&key)? else {
        scan_args::reply_empty(out);
        return Ok(());
    };
    let scan = ScanArgs::parse(args, Walked::Members)?;
    let (mut found, mut n) = (Vec::new(), 0);
    let mut elements = Reply::new(&mut found, out.proto());
    let next = set.scan(cursor, scan.count, |member| {
        if scan.admits(member.as_bytes(&mut itoa::Buffer::new())) {
            elements.element(member);
            n += 1;
        }
    });
    scan_args::reply_found(out, next, n, &found);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::hash::Seed;
    use crate::value::Limits;

    #[test]
    fn samples_are_different_and_every_member_has_its_chance() {
        let (limits, mut rng) = (Limits::default(), Rng::new(1));
        for prefix in ["", "x"] {
            let mut set = Set::new();
            for i in 0..200 {
                set.add(format!("{prefix}{i}").as_bytes(), &limits, Seed::fixed());
            }
            let mut seen = std::collections::HashMap::<Vec<u8>, u32>::new();
            for n in (1..=200).chain([20; 500]) {
                let mut sample = HashSet::new();
                each_sample(&set, n, &mut rng, |m| assert!(sample.insert(m.to_vec())));
                assert_eq!(sample.len(), n);
                sample.into_iter().for_each(|m| *seen.entry(m).or_default() += 1);
            }
            // (200 * 201 / 2 + 500 * 20) / 200 = 150 are expected of each.
            assert!(seen.len() == 200 && seen.values().all(|n| (100..200).contains(n)), "{seen:?}");
        }
    }

    #[test]
    fn draws_are_as_many_as_asked_for() {
        let (limits, mut rng) = (Limits::default(), Rng::new(2));
        let mut set = Set::new();
        set.add(b"a", &limits, Seed::fixed());
        set.add(b"b", &limits, Seed::fixed());
        let mut counts = [0u32; 2];
        each_draw(&set, 1000, &mut rng, |m| counts[usize::from(m.eq_bytes(b"b"))] += 1);
        assert!(counts[0] + counts[1] == 1000 && counts[0].abs_diff(counts[1]) < 200, "{counts:?}");
    }
}
