//! Which members are between two bounds? ZRANGE and its kin by rank, score or name, and the commands that store or
//! remove what is there.

use std::ops::Range;

use crate::commands::prelude::*;
use crate::commands::zsets::{collect, reply_items, report_removal, store};
use crate::util::number;
use crate::value::Zset;
use crate::value::zset::{LexBound, ScoreRange};

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::new("zrange", zrange).arity(-4).flags(READONLY).acl(SORTEDSET).keys(&[one(RO | ACCESS, 1)]).doc("sorted-set", "1.2.0", "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements returned.", "Gets the members in a range of ranks, scores or names.", "key:key@0 start:str stop:str [sortby(BYSCORE | BYLEX)^6.2.0] [REV^6.2.0] [LIMIT limit{offset:int count:int}^6.2.0] [WITHSCORES]"),
    Command::new("zrangebylex", zrangebylex).arity(-4).flags(READONLY).acl(SORTEDSET).keys(&[one(RO | ACCESS, 1)]).doc("sorted-set", "2.8.9", "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements being returned. If M is constant (e.g. always asking for the first 10 elements with LIMIT), you can consider it O(log(N)).", "Gets the members in a range of names, ascending, when all scores are equal.", "key:key@0 min:str max:str [LIMIT limit{offset:int count:int}]").deprecated("6.2.0", "`ZRANGE` with the `BYLEX` argument"),
    Command::new("zrangebyscore", zrangebyscore).arity(-4).flags(READONLY).acl(SORTEDSET).keys(&[one(RO | ACCESS, 1)]).doc("sorted-set", "1.0.5", "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements being returned. If M is constant (e.g. always asking for the first 10 elements with LIMIT), you can consider it O(log(N)).", "Gets the members with scores in a range, ascending.", "key:key@0 min:dbl max:dbl [WITHSCORES^2.0.0] [LIMIT limit{offset:int count:int}]").deprecated("6.2.0", "`ZRANGE` with the `BYSCORE` argument"),
    Command::new("zrangestore", zrangestore).arity(-5).flags(WRITE | DENYOOM).acl(SORTEDSET).keys(&[one(OW | UPDATE, 1), one(RO | ACCESS, 2)]).doc("sorted-set", "6.2.0", "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements stored into the destination key.", "Stores the members in a range of ranks, scores or names at another key.", "dst:key@0 src:key@1 min:str max:str [sortby(BYSCORE | BYLEX)] [REV] [LIMIT limit{offset:int count:int}]"),
    Command::new("zremrangebylex", zremrangebylex).arity(4).flags(WRITE).acl(SORTEDSET).keys(&[one(RW | DELETE, 1)]).doc("sorted-set", "2.8.9", "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements removed by the operation.", "Removes the members in a range of names, when all scores are equal.", "key:key@0 min:str max:str"),
    Command::new("zremrangebyrank", zremrangebyrank).arity(4).flags(WRITE).acl(SORTEDSET).keys(&[one(RW | DELETE, 1)]).doc("sorted-set", "2.0.0", "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements removed by the operation.", "Removes the members in a range of ranks.", "key:key@0 start:int stop:int"),
    Command::new("zremrangebyscore", zremrangebyscore).arity(4).flags(WRITE).acl(SORTEDSET).keys(&[one(RW | DELETE, 1)]).doc("sorted-set", "1.2.0", "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements removed by the operation.", "Removes the members with scores in a range.", "key:key@0 min:dbl max:dbl"),
    Command::new("zrevrange", zrevrange).arity(-4).flags(READONLY).acl(SORTEDSET).keys(&[one(RO | ACCESS, 1)]).doc("sorted-set", "1.2.0", "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements returned.", "Gets the members in a range of ranks, highest score first.", "key:key@0 start:int stop:int [WITHSCORES]").deprecated("6.2.0", "`ZRANGE` with the `REV` argument"),
    Command::new("zrevrangebylex", zrevrangebylex).arity(-4).flags(READONLY).acl(SORTEDSET).keys(&[one(RO | ACCESS, 1)]).doc("sorted-set", "2.8.9", "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements being returned. If M is constant (e.g. always asking for the first 10 elements with LIMIT), you can consider it O(log(N)).", "Gets the members in a range of names, descending, when all scores are equal.", "key:key@0 max:str min:str [LIMIT limit{offset:int count:int}]").deprecated("6.2.0", "`ZRANGE` with the `REV` and `BYLEX` arguments"),
    Command::new("zrevrangebyscore", zrevrangebyscore).arity(-4).flags(READONLY).acl(SORTEDSET).keys(&[one(RO | ACCESS, 1)]).doc("sorted-set", "2.2.0", "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements being returned. If M is constant (e.g. always asking for the first 10 elements with LIMIT), you can consider it O(log(N)).", "Gets the members with scores in a range, descending.", "key:key@0 max:dbl min:dbl [WITHSCORES] [LIMIT limit{offset:int count:int}]").deprecated("6.2.0", "`ZRANGE` with the `REV` and `BYSCORE` arguments"),
];

/// Reads a range of scores.
pub(super) fn score_range(min: &[u8], max: &[u8]) -> Result<ScoreRange> {
    let read = |text| number::parse_score_bound(text).ok_or(error::BAD_SCORE_RANGE);
    let ((min, min_open), (max, max_open)) = (read(min)?, read(max)?);
    Ok(ScoreRange { min, min_open, max, max_open })
}

/// Reads a range of names.
pub(super) fn lex_range<'a>(min: &'a [u8], max: &'a [u8]) -> Result<(LexBound<'a>, LexBound<'a>)> {
    Ok((lex_bound(min)?, lex_bound(max)?))
}

fn lex_bound(text: &[u8]) -> Result<LexBound<'_>> {
    match text {
        // What follows a NUL is not looked at.
        [b'-'] | [b'-', 0, ..] => Ok(LexBound::Lowest),
        [b'+'] | [b'+', 0, ..] => Ok(LexBound::Highest),
        [b'[', member @ ..] => Ok(LexBound::Closed(member)),
        [b'(', member @ ..] => Ok(LexBound::Open(member)),
        _ => Err(error::BAD_LEX_RANGE),
    }
}

/// What a range is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Lex,
}

/// The bounds of a range.
#[derive(Debug, Clone, Copy)]
enum Bounds<'a> {
    /// First and last; negative counts from the end.
    Rank(i64, i64),
    Score(ScoreRange),
    Lex(LexBound<'a>, LexBound<'a>),
}

impl<'a> Bounds<'a> {
    fn parse(by: By, min: &'a [u8], max: &'a [u8]) -> Result<Self> {
        let int = |text| number::parse_i64(text).ok_or(error::NOT_INTEGER);
        Ok(match by {
            By::Rank => Bounds::Rank(int(min)?, int(max)?),
            By::Score => Bounds::Score(score_range(min, max)?),
            By::Lex => lex_range(min, max).map(|(min, max)| Bounds::Lex(min, max))?,
        })
    }

    /// The ranks in it, ascending unless ranks are counted from the highest (`rev`).
    fn ranks(&self, zset: &Zset, rev: bool) -> Range<usize> {
        let found = match self {
            Bounds::Score(range) => zset.ranks_by_score(range),
            Bounds::Lex(min, max) => zset.ranks_by_lex(*min, *max),
            Bounds::Rank(first, last) => {
                let len = zset.len();
                let found = ranks(*first, *last, len);
                if rev { len - found.end..len - found.start } else { found }
            }
        };
        found.start..found.end.max(found.start)
    }
}

/// The positions from `first` to `last` in a list of `len`.
fn ranks(first: i64, last: i64, len: usize) -> Range<usize> {
    let from_start = |at: i64| match usize::try_from(at) {
        Ok(at) => Some(at),
        Err(_) => len.checked_sub(usize::try_from(at.unsigned_abs()).unwrap_or(usize::MAX)),
    };
    let start = from_start(first).unwrap_or(0).min(len);
    let end = from_start(last).map_or(0, |last| last.saturating_add(1)).min(len);
    start..end.max(start)
}

/// What ZRANGE is asked for.
struct Query<'a> {
    bounds: Bounds<'a>,
    rev: bool,
    offset: i64,
    count: i64,
    scores: bool,
}

impl<'a> Query<'a> {
    /// Reads bounds and options. `by` and `rev` are what the command's name says; `None` where options say it.
    fn parse(args: &mut Args<'a>, by: Option<By>, rev: Option<bool>, stores: bool) -> Result<Self> {
        let (min, max) = (args.next()?, args.next()?);
        let (mut said_by, mut said_rev) = (by, rev);
        let (mut offset, mut count, mut scores) = (0, -1, false);
        while args.left() > 0 {
            if !stores && args.word("WITHSCORES") {
                scores = true;
            } else if args.left() > 2 && args.word("LIMIT") {
                (offset, count) = (args.int()?, args.int()?);
            } else if rev.is_none() && said_rev.is_none() && args.word("REV") {
                said_rev = Some(true);
            } else if said_by.is_none() && args.word("BYLEX") {
                said_by = Some(By::Lex);
            } else if said_by.is_none() && args.word("BYSCORE") {
                said_by = Some(By::Score);
            } else {
                return Err(error::SYNTAX);
            }
        }
        let (by, rev) = (said_by.unwrap_or(By::Rank), said_rev.unwrap_or(false));
        if count != -1 && by == By::Rank {
            return Err(Error::new(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if scores && by == By::Lex {
            return Err(Error::new("ERR syntax error, WITHSCORES not supported in combination with BYLEX"));
        }
        let (min, max) = if rev && by != By::Rank { (max, min) } else { (min, max) };
        Ok(Query { bounds: Bounds::parse(by, min, max)?, rev, offset, count, scores })
    }

    /// The ranks that it selects.
    fn ranks(&self, zset: &Zset) -> Range<usize> {
        let found = self.bounds.ranks(zset, self.rev);
        if matches!(self.bounds, Bounds::Rank(..)) {
            return found;
        }
        // A negative offset finds nothing.
        let skip = usize::try_from(self.offset).map_or(found.len(), |offset| offset.min(found.len()));
        let left = found.len() - skip;
        let take = usize::try_from(self.count).map_or(left, |count| count.min(left));
        if self.rev {
            found.end - skip - take..found.end - skip
        } else {
            found.start + skip..found.start + skip + take
        }
    }
}

/// Answers with a range.
fn reply_range(
    ctx: &mut Ctx<'_>,
    args: &mut Args<'_>,
    by: Option<By>,
    rev: Option<bool>,
    out: &mut Reply<'_>,
) -> Result {
    let key = ctx.key(args.next()?);
    let query = Query::parse(args, by, rev, false)?;
    let Some(zset) = ctx.read::<Zset>(&key)? else {
        out.array(0);
        return Ok(());
    };
    let items = zset.range(query.ranks(zset));
    if query.rev {
        reply_items(out, items.rev(), query.scores);
    } else {
        reply_items(out, items, query.scores);
    }
    Ok(())
}

fn zrange(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    reply_range(ctx, args, None, None, out)
}

fn zrangebylex(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    reply_range(ctx, args, Some(By::Lex), Some(false), out)
}

fn zrangebyscore(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    reply_range(ctx, args, Some(By::Score), Some(false), out)
}

fn zrevrange(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    reply_range(ctx, args, Some(By::Rank), Some(true), out)
}

fn zrevrangebylex(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    reply_range(ctx, args, Some(By::Lex), Some(true), out)
}

fn zrevrangebyscore(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    reply_range(ctx, args, Some(By::Score), Some(true), out)
}

fn zrangestore(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let (to, from) = (ctx.key(args.next()?), ctx.key(args.next()?));
    let query = Query::parse(args, None, None, true)?;
    let limits = ctx.limits();
    let result = match ctx.read::<Zset>(&from)? {
        Some(zset) => collect(zset.range(query.ranks(zset)), &limits),
        None => Zset::new(),
    };
    out.len(result.len());
    store(ctx, &to, result, 1, "zrangestore");
    Ok(())
}

fn zremrangebylex(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    remove_range(ctx, args, By::Lex, "zremrangebylex", out)
}

fn zremrangebyrank(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    remove_range(ctx, args, By::Rank, "zremrangebyrank", out)
}

fn zremrangebyscore(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    remove_range(ctx, args, By::Score, "zremrangebyscore", out)
}

fn remove_range(
    ctx: &mut Ctx<'_>,
    args: &mut Args<'_>,
    by: By,
    event: &'static str,
    out: &mut Reply<'_>,
) -> Result {
    let key = ctx.key(args.next()?);
    let bounds = Bounds::parse(by, args.next()?, args.next()?)?;
    let Some(zset) = ctx.write::<Zset>(&key)? else {
        out.int(0);
        return Ok(());
    };
    let removed = zset.remove_range(bounds.ranks(zset, false));
    let emptied = zset.is_empty();
    report_removal(ctx, &key, removed, emptied, event);
    out.len(removed);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_count_from_either_end() {
        assert_eq!(ranks(0, -1, 4), 0..4);
        assert_eq!(ranks(-2, -1, 4), 2..4);
        assert_eq!(ranks(-100, 1, 4), 0..2);
        assert_eq!(ranks(1, i64::MAX, 4), 1..4);
        for (first, last) in [(2, 1), (4, 9), (0, -5), (0, i64::MIN), (i64::MAX, i64::MAX)] {
            assert!(ranks(first, last, 4).is_empty(), "{first} {last}");
        }
    }

    fn selected(text: &str, members: usize, packed: usize) -> Range<usize> {
        let limits = crate::value::Limits { zset_max_listpack_entries: packed, ..Default::default() };
        let mut zset = Zset::new();
        for i in 0..members {
            zset.add_new(i.to_string().as_bytes(), i as f64, &limits);
        }
        let argv: Vec<&[u8]> = std::iter::once("ZRANGE").chain(text.split(' ')).map(str::as_bytes).collect();
        Query::parse(&mut Args::new(&argv), None, None, false).unwrap().ranks(&zset)
    }

    #[test]
    fn limits_cut_what_a_range_found() {
        for packed in [0, 128] {
            assert_eq!(selected("2 5 BYSCORE", 9, packed), 2..6);
            assert_eq!(selected("2 5 BYSCORE LIMIT 1 2", 9, packed), 3..5);
            assert_eq!(selected("5 2 BYSCORE REV LIMIT 1 2", 9, packed), 3..5);
            assert_eq!(selected("5 2 BYSCORE REV LIMIT 3 -1", 9, packed), 2..3);
            assert_eq!(selected("2 5 BYSCORE LIMIT 9 1", 9, packed).len(), 0);
            assert_eq!(selected("2 5 BYSCORE LIMIT -1 9", 9, packed).len(), 0);
            assert_eq!(selected("5 2 BYSCORE", 9, packed).len(), 0);
            assert_eq!(selected("0 2 REV", 9, packed), 6..9);
        }
    }
}
