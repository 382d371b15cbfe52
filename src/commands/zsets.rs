//! What can be done with sorted sets? Adding, removing and asking for members; ranges, pops and set operations are in
//! the files next to this one.

use std::collections::HashSet;

use smallvec::SmallVec;

use crate::commands::prelude::*;
use crate::commands::scan_args::{self, ScanArgs, Walked};
use crate::commands::zsets_range::{lex_range, score_range};
use crate::dispatch::access::Expiry;
use crate::ds::listpack::LpValue;
use crate::util::number;
use crate::util::rng::Rng;
use crate::value::zset::{AddFlags, Added};
use crate::value::{Limits, Value, Zset};

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    Command::new("zadd", zadd).arity(-4).element(3).flags(WRITE | DENYOOM | FAST).acl(SORTEDSET).keys(&[one(RW | UPDATE, 1)]).doc("sorted-set", "1.2.0", "O(log(N)) for each item added, where N is the number of elements in the sorted set.", "Adds members with their scores, or changes the scores of members that are there.", "key:key@0 [condition(NX | XX)^3.0.2] [comparison(GT | LT)^6.2.0] [CH=change^3.0.2] [INCR=increment^3.0.2] data{score:dbl member:str}..."),
    Command::new("zcard", zcard).arity(2).flags(READONLY | FAST).acl(SORTEDSET).keys(&[one(RO, 1)]).doc("sorted-set", "1.2.0", "O(1)", "Counts the members.", "key:key@0"),
    Command::new("zcount", zcount).arity(4).flags(READONLY | FAST).acl(SORTEDSET).keys(&[one(RO | ACCESS, 1)]).doc("sorted-set", "2.0.0", "O(log(N)) with N being the number of elements in the sorted set.", "Counts the members with scores in a range.", "key:key@0 min:dbl max:dbl"),
    Command::new("zincrby", zincrby).arity(4).element(3).flags(WRITE | DENYOOM | FAST).acl(SORTEDSET).keys(&[one(RW | ACCESS | UPDATE, 1)]).doc("sorted-set", "1.2.0", "O(log(N)) where N is the number of elements in the sorted set.", "Adds to the score of a member; a missing one counts as 0.", "key:key@0 increment:int member:str"),
    Command::new("zlexcount", zlexcount).arity(4).flags(READONLY | FAST).acl(SORTEDSET).keys(&[one(RO | ACCESS, 1)]).doc("sorted-set", "2.8.9", "O(log(N)) with N being the number of elements in the sorted set.", "Counts the members in a range of names, when all scores are equal.", "key:key@0 min:str max:str"),
    Command::new("zmscore", zmscore).arity(-3).element(2).flags(READONLY | FAST).acl(SORTEDSET).keys(&[one(RO | ACCESS, 1)]).doc("sorted-set", "6.2.0", "O(N) where N is the number of members being requested.", "Gets the scores of several members.", "key:key@0 member:str..."),
    Command::new("zrandmember", zrandmember).arity(-2).flags(READONLY).acl(SORTEDSET).keys(&[one(RO | ACCESS, 1)]).tips(&["nondeterministic_output"]).doc("sorted-set", "6.2.0", "O(N) where N is the number of members returned", "Gets members by chance.", "key:key@0 [options{count:int [WITHSCORES]}]"),
    Command::new("zrank", zrank).arity(-3).element(2).flags(READONLY | FAST).acl(SORTEDSET).keys(&[one(RO | ACCESS, 1)]).doc("sorted-set", "2.0.0", "O(log(N))", "Tells how many members come before one, lowest score first.", "key:key@0 member:str [WITHSCORE]"),
    Command::new("zrem", zrem).arity(-3).element(2).flags(WRITE | FAST).acl(SORTEDSET).keys(&[one(RW | DELETE, 1)]).doc("sorted-set", "1.2.0", "O(M*log(N)) with N being the number of elements in the sorted set and M the number of elements to be removed.", "Removes members.", "key:key@0 member:str..."),
    Command::new("zrevrank", zrevrank).arity(-3).element(2).flags(READONLY | FAST).acl(SORTEDSET).keys(&[one(RO | ACCESS, 1)]).doc("sorted-set", "2.0.0", "O(log(N))", "Tells how many members come before one, highest score first.", "key:key@0 member:str [WITHSCORE]"),
    Command::new("zscan", zscan).arity(-3).flags(READONLY).acl(SORTEDSET).keys(&[one(RO | ACCESS, 1)]).tips(&["nondeterministic_output"]).doc("sorted-set", "2.8.0", "O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to return back to 0. N is the number of elements inside the collection.", "Visits the members with their scores, some at a time.", "key:key@0 cursor:int [MATCH pattern:pat] [COUNT count:int]"),
    Command::new("zscore", zscore).arity(3).element(2).flags(READONLY | FAST).acl(SORTEDSET).keys(&[one(RO | ACCESS, 1)]).doc("sorted-set", "1.2.0", "O(1)", "Gets the score of a member.", "key:key@0 member:str"),
];

/// Writes the header of a list of `n` members: with scores it is flat in RESP2 and of pairs in RESP3.
pub(super) fn reply_header(out: &mut Reply<'_>, n: usize, scores: bool) {
    out.array(if scores && !out.is_resp3() { n.saturating_mul(2) } else { n });
}

/// Writes one item of such a list.
pub(super) fn reply_item(out: &mut Reply<'_>, (member, score): (LpValue<'_>, f64), scores: bool) {
    if scores && out.is_resp3() {
        out.array(2);
    }
    out.element(member);
    if scores {
        out.double(score);
    }
}

/// Writes a list of members.
pub(super) fn reply_items<'v>(
    out: &mut Reply<'_>,
    items: impl ExactSizeIterator<Item = (LpValue<'v>, f64)>,
    scores: bool,
) {
    reply_header(out, items.len(), scores);
    for item in items {
        reply_item(out, item, scores);
    }
}

/// A set of members that are all different, given in ascending order of score, then member.
pub(super) fn collect<'v>(
    items: impl ExactSizeIterator<Item = (LpValue<'v>, f64)> + Clone,
    limits: &Limits,
) -> Zset {
    let mut text = itoa::Buffer::new();
    let longest = items.clone().map(|(m, _)| m.as_bytes(&mut text).len()).max().unwrap_or(0);
    let mut zset = Zset::with_hint(items.len(), longest, limits);
    for (member, score) in items {
        zset.add_new(member.as_bytes(&mut text), score, limits);
    }
    zset
}

/// Gives a key this set, counted as `changes` changes; an empty set removes the key. What all `..STORE` commands end
/// with.
pub(super) fn store(ctx: &mut Ctx<'_>, key: &Key<'_>, zset: Zset, changes: u64, event: &'static str) {
    if !zset.is_empty() {
        ctx.set_value(key, Value::Zset(zset), Expiry::Clear);
        ctx.changed_by(changes, key, event::ZSET, event);
    } else if ctx.remove(key) {
        ctx.changed(key, event::GENERIC, "del");
    }
}

/// Reports that `n` members were taken out, and removes the key if none is left.
pub(super) fn report_removal(ctx: &mut Ctx<'_>, key: &Key<'_>, n: usize, emptied: bool, event: &'static str) {
    if n > 0 {
        ctx.changed_by(n as u64, key, event::ZSET, event);
    }
    if emptied {
        ctx.remove_emptied(key);
    }
}

/// What ZADD, ZINCRBY and GEOADD are asked to do.
#[derive(Default)]
pub(super) struct Addition<'a> {
    /// Conditions.
    pub flags: AddFlags,
    /// Count changed members too.
    pub ch: bool,
    /// What to add.
    pub pairs: SmallVec<[(f64, &'a [u8]); 4]>,
}

impl<'a> Addition<'a> {
    /// Reads the options and pairs of ZADD; with `incr` those of ZINCRBY.
    fn parse(args: &mut Args<'a>, incr: bool) -> Result<Self> {
        let mut a = Addition { flags: AddFlags { incr, ..AddFlags::default() }, ..Addition::default() };
        loop {
            match () {
                () if args.word("NX") => a.flags.nx = true,
                () if args.word("XX") => a.flags.xx = true,
                () if args.word("CH") => a.ch = true,
                () if args.word("INCR") => a.flags.incr = true,
                () if args.word("GT") => a.flags.gt = true,
                () if args.word("LT") => a.flags.lt = true,
                () => break,
            }
        }
        let rest = args.take_rest();
        if rest.is_empty() || !rest.len().is_multiple_of(2) {
            return Err(error::SYNTAX);
        }
        let AddFlags { nx, xx, gt, lt, incr } = a.flags;
        if nx && xx {
            return Err(Error::new("ERR XX and NX options at the same time are not compatible"));
        }
        if (nx && (gt || lt)) || (gt && lt) {
            return Err(Error::new("ERR GT, LT, and/or NX options at the same time are not compatible"));
        }
        if incr && rest.len() > 2 {
            return Err(Error::new("ERR INCR option supports a single increment-element pair"));
        }
        for pair in rest.chunks_exact(2) {
            a.pairs.push((number::parse_f64(pair[0]).ok_or(error::NOT_FLOAT)?, pair[1]));
        }
        Ok(a)
    }

    /// Does it and answers.
    pub fn run(&self, ctx: &mut Ctx<'_>, key: &Key<'_>, out: &mut Reply<'_>) -> Result {
        let limits = ctx.limits();
        let (mut added, mut updated, mut score) = (0, 0, None);
        if !self.flags.xx || ctx.exists(key) {
            let longest = self.pairs.first().map_or(0, |(_, member)| member.len());
            let fresh = || Value::Zset(Zset::with_hint(self.pairs.len(), longest, &limits));
            let zset = ctx.create_with::<Zset>(key, fresh)?;
            zset.prepare(self.pairs.len(), &limits);
            for &(new, member) in &self.pairs {
                let done = zset.add(member, new, self.flags, &limits);
                match done.map_err(|_| Error::new("ERR resulting score is not a number (NaN)"))? {
                    Added::New(now) => (added, score) = (added + 1, Some(now)),
                    Added::Updated(now) => (updated, score) = (updated + 1, Some(now)),
                    Added::Same(now) => score = Some(now),
                    Added::Skipped => {}
                }
            }
        }
        if added + updated > 0 {
            let event = if self.flags.incr { "zincr" } else { "zadd" };
            ctx.changed_by(added + updated, key, event::ZSET, event);
        }
        match score {
            Some(score) if self.flags.incr => out.double(score),
            None if self.flags.incr => out.null(),
            _ => out.int(if self.ch { added + updated } else { added } as i64),
        }
        Ok(())
    }
}

fn zadd(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    Addition::parse(args, false)?.run(ctx, &key, out)
}

fn zincrby(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    Addition::parse(args, true)?.run(ctx, &key, out)
}

fn zcard(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    out.len(ctx.read::<Zset>(&key)?.map_or(0, Zset::len));
    Ok(())
}

fn zcount(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let range = score_range(args.next()?, args.next()?)?;
    out.len(ctx.read::<Zset>(&key)?.map_or(0, |zset| zset.ranks_by_score(&range).len()));
    Ok(())
}

fn zlexcount(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let (min, max) = lex_range(args.next()?, args.next()?)?;
    out.len(ctx.read::<Zset>(&key)?.map_or(0, |zset| zset.ranks_by_lex(min, max).len()));
    Ok(())
}

fn zmscore(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let zset = ctx.read::<Zset>(&key)?;
    let members = args.take_rest();
    out.array(members.len());
    for member in members {
        reply_score(out, zset, member);
    }
    Ok(())
}

fn zscore(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    reply_score(out, ctx.read::<Zset>(&key)?, args.next()?);
    Ok(())
}

fn reply_score(out: &mut Reply<'_>, zset: Option<&Zset>, member: &[u8]) {
    match zset.and_then(|z| z.score(member)) {
        Some(score) => out.double(score),
        None => out.null(),
    }
}

fn zscan(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let cursor = scan_args::cursor(args)?;
    let Some(zset) = ctx.read::<Zset>(&key)? else {
        scan_args::reply_empty(out);
        return Ok(());
    };
    let scan = ScanArgs::parse(args, Walked::Members)?;
    // Redis prints the scores of large sets with all digits here, and as doubles nowhere.
    let score_text = if matches!(zset, Zset::Packed(_)) { number::fmt_double } else { number::fmt_g17 };
    let (mut text, mut found, mut bytes) = (itoa::Buffer::new(), 0, Vec::new());
    let mut elements = Reply::new(&mut bytes, out.proto());
    let next = zset.scan(cursor, scan.count, |member, score| {
        let member = member.as_bytes(&mut text);
        if scan.admits(member) {
            elements.bulk(member);
            elements.bulk(score_text(score).as_ref());
            found += 2;
        }
    });
    scan_args::reply_found(out, next, found, &bytes);
    Ok(())
}

fn zrem(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let Some(zset) = ctx.write::<Zset>(&key)? else {
        out.int(0);
        return Ok(());
    };
    let removed = args.take_rest().iter().filter(|member| zset.remove(member)).count();
    let emptied = zset.is_empty();
    report_removal(ctx, &key, removed, emptied, "zrem");
    out.len(removed);
    Ok(())
}

fn zrank(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    reply_rank(ctx, args, |_, rank| rank, out)
}

fn zrevrank(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    reply_rank(ctx, args, |len, rank| len - 1 - rank, out)
}

fn reply_rank(
    ctx: &mut Ctx<'_>,
    args: &mut Args<'_>,
    show: fn(usize, usize) -> usize,
    out: &mut Reply<'_>,
) -> Result {
    let key = ctx.key(args.next()?);
    let member = args.next()?;
    if args.left() > 1 {
        return Err(Error::arity(&ctx.entry.name));
    }
    let with_score = args.word("WITHSCORE");
    args.end()?;
    let found = ctx.read::<Zset>(&key)?.and_then(|zset| Some((zset.len(), zset.rank(member)?)));
    match found {
        Some((len, (rank, score))) => {
            if with_score {
                out.array(2);
            }
            out.len(show(len, rank));
            if with_score {
                out.double(score);
            }
        }
        None if with_score => out.null_array(),
        None => out.null(),
    }
    Ok(())
}

fn zrandmember(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    if args.left() == 0 {
        let mut rng = ctx.worker.rng.clone();
        match ctx.read::<Zset>(&key)?.and_then(|zset| zset.get(rng.index(zset.len()))) {
            Some((member, _)) => out.element(member),
            None => out.null(),
        }
        ctx.worker.rng = rng;
        return Ok(());
    }
    let count = args.int()?;
    if count == i64::MIN {
        let text =
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807";
        return Err(Error::new(text));
    }
    let scores = args.word("WITHSCORES");
    args.end()?;
    if scores && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(error::OUT_OF_RANGE);
    }
    let mut rng = ctx.worker.rng.clone();
    let zset = ctx.read::<Zset>(&key)?;
    let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    match zset {
        None => out.array(0),
        Some(zset) if count < 0 => {
            reply_header(out, wanted, scores);
            each_draw(zset, wanted, &mut rng, |item| reply_item(out, item, scores));
        }
        Some(zset) => {
            let n = wanted.min(zset.len());
            reply_header(out, n, scores);
            each_sample(zset, n, &mut rng, |item| reply_item(out, item, scores));
        }
    }
    ctx.worker.rng = rng;
    Ok(())
}

/// Shows a random member `n` times.
fn each_draw<'v>(zset: &'v Zset, n: usize, rng: &mut Rng, mut show: impl FnMut((LpValue<'v>, f64))) {
    if matches!(zset, Zset::Packed(_)) && n > 1 {
        // A position in a listpack has to be walked to: once for all draws.
        let items: Vec<_> = zset.iter().collect();
        (0..n).filter_map(|_| items.get(rng.index(items.len()))).for_each(|item| show(*item));
        return;
    }
    (0..n).filter_map(|_| zset.get(rng.index(zset.len()))).for_each(show);
}

/// Shows `n` different members by chance; `n` is no more than there are.
fn each_sample<'v>(zset: &'v Zset, n: usize, rng: &mut Rng, mut show: impl FnMut((LpValue<'v>, f64))) {
    // Of many, a few are drawn until they are different; otherwise one walk takes each with the chance that is due.
    if n.saturating_mul(3) <= zset.len() && !matches!(zset, Zset::Packed(_)) {
        let mut seen = HashSet::new();
        while seen.len() < n {
            let rank = rng.index(zset.len());
            if seen.insert(rank)
                && let Some(item) = zset.get(rank)
            {
                show(item);
            }
        }
        return;
    }
    let mut left = n;
    for (rank, item) in zset.iter().enumerate() {
        if rng.index(zset.len() - rank) < left {
            left -= 1;
            show(item);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn numbers(members: u32, packed: usize) -> Zset {
        let limits = Limits { zset_max_listpack_entries: packed, ..Limits::default() };
        let mut zset = Zset::new();
        (0..members).for_each(|i| zset.add_new(i.to_string().as_bytes(), f64::from(i), &limits));
        zset
    }

    #[test]
    fn samples_are_different_and_every_member_has_its_chance() {
        let mut rng = Rng::new(1);
        for (packed, n) in [(0, 5), (0, 20), (128, 5), (128, 20), (0, 40), (128, 40), (0, 0)] {
            let zset = numbers(40, packed);
            let mut times: HashMap<String, u32> = HashMap::new();
            for _ in 0..400 {
                let mut shown = HashSet::new();
                each_sample(&zset, n, &mut rng, |(member, score)| {
                    let name = String::from_utf8(member.to_vec()).unwrap();
                    assert_eq!(name.parse(), Ok(score));
                    assert!(shown.insert(name));
                });
                assert_eq!(shown.len(), n);
                shown.into_iter().for_each(|name| *times.entry(name).or_default() += 1);
            }
            // 400 * n / 40 are expected of each.
            let expected = 10 * n as u32;
            let fair = |&n: &u32| n >= expected / 3 && n <= expected * 3;
            assert!(n == 0 || times.len() == 40 && times.values().all(fair), "{packed} {n} {times:?}");
        }
    }

    #[test]
    fn draws_are_as_many_as_asked_for() {
        let mut rng = Rng::new(2);
        for packed in [0, 128] {
            let zset = numbers(2, packed);
            let mut counts = [0u32; 2];
            each_draw(&zset, 1000, &mut rng, |(_, score)| counts[score as usize] += 1);
            assert!(counts[0] + counts[1] == 1000 && counts[0].abs_diff(counts[1]) < 200, "{counts:?}");
        }
    }
}
