//! What do several sorted sets have in common, or together? ZUNION, ZINTER, ZDIFF and the commands that store or count
//! their results. A plain set counts as one whose scores are all 1.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

use crate::commands::prelude::*;
use crate::commands::zsets::{collect, reply_items, store};
use crate::ds::entry::View;
use crate::ds::listpack::LpValue;
use crate::util::number;
use crate::value::{Set, Value, Zset, set, zset};

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::new("zdiff", zdiff).arity(-3).flags(READONLY | MOVABLE_KEYS).acl(SORTEDSET).keys(&[numbered(RO | ACCESS, 1)]).doc("sorted-set", "6.2.0", "O(L + (N-K)log(N)) worst case where L is the total number of elements in all the sets, N is the size of the first set, and K is the size of the result set.", "Gets the members of the first set that no other set has.", "numkeys:int key:key@0... [WITHSCORES]"),
    Command::new("zdiffstore", zdiffstore).arity(-4).flags(WRITE | DENYOOM | MOVABLE_KEYS).acl(SORTEDSET).keys(&[one(OW | UPDATE, 1), numbered(RO | ACCESS, 2)]).doc("sorted-set", "6.2.0", "O(L + (N-K)log(N)) worst case where L is the total number of elements in all the sets, N is the size of the first set, and K is the size of the result set.", "Stores the members of the first set that no other set has.", "destination:key@0 numkeys:int key:key@1..."),
    Command::new("zinter", zinter).arity(-3).flags(READONLY | MOVABLE_KEYS).acl(SORTEDSET).keys(&[numbered(RO | ACCESS, 1)]).doc("sorted-set", "6.2.0", "O(N*K)+O(M*log(M)) worst case with N being the smallest input sorted set, K being the number of input sorted sets and M being the number of elements in the resulting sorted set.", "Gets the members that several sets have in common.", "numkeys:int key:key@0... [WEIGHTS weight:int...] [AGGREGATE aggregate(SUM | MIN | MAX)] [WITHSCORES]"),
    Command::new("zintercard", zintercard).arity(-3).flags(READONLY | MOVABLE_KEYS).acl(SORTEDSET).keys(&[numbered(RO | ACCESS, 1)]).doc("sorted-set", "7.0.0", "O(N*K) worst case with N being the smallest input sorted set, K being the number of input sorted sets.", "Counts the members that several sets have in common.", "numkeys:int key:key@0... [LIMIT limit:int]"),
    Command::new("zinterstore", zinterstore).arity(-4).flags(WRITE | DENYOOM | MOVABLE_KEYS).acl(SORTEDSET).keys(&[one(OW | UPDATE, 1), numbered(RO | ACCESS, 2)]).doc("sorted-set", "2.0.0", "O(N*K)+O(M*log(M)) worst case with N being the smallest input sorted set, K being the number of input sorted sets and M being the number of elements in the resulting sorted set.", "Stores the members that several sets have in common.", "destination:key@0 numkeys:int key:key@1... [WEIGHTS weight:int...] [AGGREGATE aggregate(SUM | MIN | MAX)]"),
    Command::new("zunion", zunion).arity(-3).flags(READONLY | MOVABLE_KEYS).acl(SORTEDSET).keys(&[numbered(RO | ACCESS, 1)]).doc("sorted-set", "6.2.0", "O(N)+O(M*log(M)) with N being the sum of the sizes of the input sorted sets, and M being the number of elements in the resulting sorted set.", "Gets the members of any of several sets.", "numkeys:int key:key@0... [WEIGHTS weight:int...] [AGGREGATE aggregate(SUM | MIN | MAX)] [WITHSCORES]"),
    Command::new("zunionstore", zunionstore).arity(-4).flags(WRITE | DENYOOM | MOVABLE_KEYS).acl(SORTEDSET).keys(&[one(OW | UPDATE, 1), numbered(RO | ACCESS, 2)]).doc("sorted-set", "2.0.0", "O(N)+O(M log(M)) with N being the sum of the sizes of the input sorted sets, and M being the number of elements in the resulting sorted set.", "Stores the members of any of several sets.", "destination:key@0 numkeys:int key:key@1... [WEIGHTS weight:int...] [AGGREGATE aggregate(SUM | MIN | MAX)]"),
];

/// The operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Union,
    Inter,
    Diff,
}

/// What becomes of the scores of a member that several sets have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn of(self, so_far: f64, score: f64) -> f64 {
        match self {
            // Infinities of opposite signs come to nothing.
            Aggregate::Sum => not_nan(so_far + score),
            Aggregate::Min if score < so_far => score,
            Aggregate::Max if score > so_far => score,
            _ => so_far,
        }
    }
}

fn not_nan(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// What is asked for.
struct Query<'a> {
    op: Op,
    keys: Vec<Key<'a>>,
    weights: Vec<f64>,
    aggregate: Aggregate,
    scores: bool,
    /// ZINTERCARD: stop at this many; 0 for no limit.
    limit: u64,
}

/// Which options a command takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Reply,
    Store,
    Count,
}

impl<'a> Query<'a> {
    /// Reads the arguments from the number of keys on. The keys are looked up before the options are read, as in
    /// Redis: a wrong type is reported first.
    fn parse(ctx: &mut Ctx<'_>, args: &mut Args<'a>, op: Op, form: Form) -> Result<Self> {
        let n = args.int()?;
        if n < 1 {
            let name = &ctx.entry.name;
            return Err(Error::text(format!("ERR at least 1 input key is needed for '{name}' command")));
        }
        let names = args.take(usize::try_from(n).unwrap_or(usize::MAX))?;
        let keys: Vec<Key<'a>> = names.iter().map(|name| ctx.key(name)).collect();
        for key in &keys {
            match ctx.view(key) {
                None | Some(View::Value(Value::Zset(_) | Value::Set(_))) => {}
                Some(_) => return Err(error::WRONG_TYPE),
            }
        }
        let weights = vec![1.0; keys.len()];
        let mut query = Query { op, keys, weights, aggregate: Aggregate::Sum, scores: false, limit: 0 };
        query.options(args, form)?;
        Ok(query)
    }

    fn options(&mut self, args: &mut Args<'a>, form: Form) -> Result {
        let weighs = self.op != Op::Diff && form != Form::Count;
        while args.left() > 0 {
            if weighs && args.left() > self.keys.len() && args.word("WEIGHTS") {
                for weight in &mut self.weights {
                    let text = args.next()?;
                    *weight = number::parse_f64(text).ok_or(Error::new("ERR weight value is not a float"))?;
                }
            } else if weighs && args.left() > 1 && args.word("AGGREGATE") {
                self.aggregate = match () {
                    () if args.word("SUM") => Aggregate::Sum,
                    () if args.word("MIN") => Aggregate::Min,
                    () if args.word("MAX") => Aggregate::Max,
                    () => return Err(error::SYNTAX),
                };
            } else if form == Form::Reply && args.word("WITHSCORES") {
                self.scores = true;
            } else if form == Form::Count && args.left() > 1 && args.word("LIMIT") {
                let limit = args.int_in(0, i64::MAX, Error::new("ERR LIMIT can't be negative"))?;
                self.limit = limit.unsigned_abs();
            } else {
                return Err(error::SYNTAX);
            }
        }
        Ok(())
    }

    /// The operands, of which the smallest come first where the order does not matter. Sums are made in this order.
    fn sources<'c>(&self, ctx: &'c Ctx<'_>) -> Vec<Source<'c>> {
        let found = self.keys.iter().zip(&self.weights).map(|(key, &weight)| Source {
            weight,
            operand: match ctx.seen(key) {
                Some(View::Value(Value::Zset(zset))) => Operand::Zset(zset),
                Some(View::Value(Value::Set(set))) => Operand::Set(set),
                _ => Operand::Missing,
            },
        });
        let mut sources: Vec<_> = found.collect();
        if self.op != Op::Diff {
            sources.sort_by_key(Source::len);
        }
        sources
    }

    /// The members of the result with their scores, in order.
    fn result<'c>(&self, ctx: &'c Ctx<'_>) -> Vec<Item<'c>> {
        let sources = self.sources(ctx);
        let mut items = match self.op {
            Op::Union => union(&sources, self.aggregate),
            Op::Inter => inter(&sources, self.aggregate).collect(),
            Op::Diff => diff(&sources),
        };
        items.sort_unstable_by(in_order);
        items
    }
}

/// A member and its score.
type Item<'v> = (LpValue<'v>, f64);

fn in_order(a: &Item<'_>, b: &Item<'_>) -> Ordering {
    a.1.partial_cmp(&b.1).unwrap_or(Ordering::Equal).then_with(|| {
        let (mut text_a, mut text_b) = (itoa::Buffer::new(), itoa::Buffer::new());
        a.0.as_bytes(&mut text_a).cmp(b.0.as_bytes(&mut text_b))
    })
}

/// The one form of a member that every encoding of it has, to be compared and hashed.
fn canonical(member: LpValue<'_>) -> LpValue<'_> {
    match member {
        LpValue::Str(text) => LpValue::of(text),
        LpValue::Int(_) => member,
    }
}

enum Operand<'v> {
    Missing,
    Set(&'v Set),
    Zset(&'v Zset),
}

struct Source<'v> {
    operand: Operand<'v>,
    weight: f64,
}

impl<'v> Source<'v> {
    fn len(&self) -> usize {
        match self.operand {
            Operand::Missing => 0,
            Operand::Set(set) => set.len(),
            Operand::Zset(zset) => zset.len(),
        }
    }

    /// The score of a member, without its weight.
    fn score(&self, member: &[u8]) -> Option<f64> {
        match self.operand {
            Operand::Missing => None,
            Operand::Set(set) => set.contains(member).then_some(1.0),
            Operand::Zset(zset) => zset.score(member),
        }
    }

    fn iter(&self) -> Items<'v> {
        match self.operand {
            Operand::Missing => Items::Nothing,
            Operand::Set(set) => Items::Set(set.iter()),
            Operand::Zset(zset) => Items::Zset(zset.iter()),
        }
    }
}

enum Items<'v> {
    Nothing,
    Set(set::Iter<'v>),
    Zset(zset::Iter<'v>),
}

impl<'v> Iterator for Items<'v> {
    type Item = Item<'v>;

    fn next(&mut self) -> Option<Item<'v>> {
        match self {
            Items::Nothing => None,
            Items::Set(members) => members.next().map(|member| (member, 1.0)),
            Items::Zset(items) => items.next(),
        }
    }
}

fn union<'v>(sources: &[Source<'v>], aggregate: Aggregate) -> Vec<Item<'v>> {
    let mut places: HashMap<LpValue<'v>, usize> = HashMap::new();
    let mut items: Vec<Item<'v>> = Vec::new();
    for source in sources {
        for (member, score) in source.iter() {
            let score = not_nan(score * source.weight);
            let place = *places.entry(canonical(member)).or_insert(items.len());
            match items.get_mut(place) {
                Some(item) => item.1 = aggregate.of(item.1, score),
                None => items.push((member, score)),
            }
        }
    }
    items
}

/// What all sources have; the first is the smallest.
fn inter<'v>(sources: &[Source<'v>], aggregate: Aggregate) -> impl Iterator<Item = Item<'v>> {
    let (first, others) = match sources.split_first() {
        Some((first, others)) => (Some(first), others),
        None => (None, sources),
    };
    let mut text = itoa::Buffer::new();
    first.into_iter().flat_map(|first| first.iter().map(|item| (item, first.weight))).filter_map(
        move |((member, score), weight)| {
            let name = member.as_bytes(&mut text);
            let mut sum = not_nan(score * weight);
            for other in others {
                sum = aggregate.of(sum, other.score(name)? * other.weight);
            }
            Some((member, sum))
        },
    )
}

/// What only the first source has.
fn diff<'v>(sources: &[Source<'v>]) -> Vec<Item<'v>> {
    let Some((first, others)) = sources.split_first() else { return Vec::new() };
    let total = others.iter().map(Source::len).fold(0, usize::saturating_add);
    if total < first.len() {
        // Fewer to walk than to look up.
        let gone: HashSet<_> = others.iter().flat_map(Source::iter).map(|(m, _)| canonical(m)).collect();
        return first.iter().filter(|(member, _)| !gone.contains(&canonical(*member))).collect();
    }
    let mut text = itoa::Buffer::new();
    let mut elsewhere = |member: LpValue<'_>| {
        let name = member.as_bytes(&mut text);
        others.iter().any(|other| other.score(name).is_some())
    };
    first.iter().filter(|(member, _)| !elsewhere(*member)).collect()
}

fn reply_result(ctx: &mut Ctx<'_>, args: &mut Args<'_>, op: Op, out: &mut Reply<'_>) -> Result {
    let query = Query::parse(ctx, args, op, Form::Reply)?;
    reply_items(out, query.result(ctx).into_iter(), query.scores);
    Ok(())
}

fn store_result(
    ctx: &mut Ctx<'_>,
    args: &mut Args<'_>,
    op: Op,
    event: &'static str,
    out: &mut Reply<'_>,
) -> Result {
    let to = ctx.key(args.next()?);
    let query = Query::parse(ctx, args, op, Form::Store)?;
    let result = collect(query.result(ctx).iter().copied(), &ctx.limits());
    out.len(result.len());
    store(ctx, &to, result, 1, event);
    Ok(())
}

fn zdiff(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    reply_result(ctx, args, Op::Diff, out)
}

fn zdiffstore(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    store_result(ctx, args, Op::Diff, "zdiffstore", out)
}

fn zinter(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    reply_result(ctx, args, Op::Inter, out)
}

fn zinterstore(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    store_result(ctx, args, Op::Inter, "zinterstore", out)
}

fn zunion(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    reply_result(ctx, args, Op::Union, out)
}

fn zunionstore(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    store_result(ctx, args, Op::Union, "zunionstore", out)
}

fn zintercard(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let query = Query::parse(ctx, args, Op::Inter, Form::Count)?;
    let limit =
        if query.limit == 0 { usize::MAX } else { usize::try_from(query.limit).unwrap_or(usize::MAX) };
    out.len(inter(&query.sources(ctx), query.aggregate).take(limit).count());
    Ok(())
}
