//! How are elements sorted? SORT: lists, sets and sorted sets, by themselves or by what other keys hold.

use std::cmp::Ordering;

use crate::commands::prelude::*;
use crate::dispatch::access::Expiry;
use crate::dispatch::core::Core;
use crate::dispatch::permit;
use crate::dispatch::worker::Worker;
use crate::ds::entry::View;
use crate::ds::listpack::LpValue;
use crate::util::glob;
use crate::util::number::parse_sort_weight;
use crate::value::{List, Value, Zset};

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    Command::new("sort", sort).lock(Lock::Ask(lock_need)).find_keys(sort_keys).arity(-2).flags(WRITE | DENYOOM | MOVABLE_KEYS).acl(SET | SORTEDSET | LIST | DANGEROUS).keys(&[one(RO | ACCESS, 1), unknown(RO | ACCESS), unknown(OW | UPDATE)]).doc("generic", "1.0.0", "O(N+M*log(M)) where N is the number of elements, and M the number of those that are returned; O(N) when they are not sorted.", "Sorts the elements of a list, set or sorted set, and replies or stores them.", "key:key@0 [BY by-pattern/pattern:pat@1] [LIMIT limit{offset:int count:int}] [GET get-pattern/pattern:pat@1+] [order(ASC | DESC)] [ALPHA=sorting] [STORE destination:key@2]"),
    Command::new("sort_ro", sort_ro).lock(Lock::Ask(lock_need)).find_keys(sort_ro_keys).arity(-2).flags(READONLY | MOVABLE_KEYS).acl(SET | SORTEDSET | LIST | DANGEROUS).keys(&[one(RO | ACCESS, 1), unknown(RO | ACCESS)]).doc("generic", "7.0.0", "O(N+M*log(M)) where N is the number of elements, and M the number of those that are returned; O(N) when they are not sorted.", "Sorts the elements of a list, set or sorted set, and replies them.", "key:key@0 [BY by-pattern/pattern:pat@1] [LIMIT limit{offset:int count:int}] [GET get-pattern/pattern:pat@1+] [order(ASC | DESC)] [ALPHA=sorting]"),
];

/// Options with arguments, and how many.
const WITH_ARGUMENTS: [(&[u8], usize); 4] = [(b"LIMIT", 2), (b"GET", 1), (b"BY", 1), (b"STORE", 1)];

/// The key to sort and the target of the last STORE. Options are told from their arguments as the command does it:
/// what it stores to must be what was locked.
fn sort_keys(argv: &[&[u8]], keys: &mut Vec<KeyAt>) -> Option<()> {
    argv.get(1)?;
    keys.push(KeyAt { index: 1, flags: RO | ACCESS });
    let (mut at, mut store) = (2, None);
    while let Some(word) = argv.get(at) {
        let skip = WITH_ARGUMENTS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name));
        if word.eq_ignore_ascii_case(b"STORE") && at + 1 < argv.len() {
            store = Some(KeyAt { index: at + 1, flags: OW | UPDATE });
        }
        at += 1 + skip.map_or(0, |(_, n)| *n);
    }
    keys.extend(store);
    Some(())
}

/// The key to sort; SORT_RO has no STORE.
fn sort_ro_keys(argv: &[&[u8]], keys: &mut Vec<KeyAt>) -> Option<()> {
    argv.get(1)?;
    keys.push(KeyAt { index: 1, flags: RO | ACCESS });
    Some(())
}

/// Patterns lead to keys that the arguments do not name.
fn lock_need(_: &Core, _: &Worker, argv: &[&[u8]]) -> LockNeed {
    let patterns = argv.windows(2).skip(2).any(|pair| {
        let option = pair[0].eq_ignore_ascii_case(b"BY") || pair[0].eq_ignore_ascii_case(b"GET");
        option && pair[1].contains(&b'*')
    });
    if patterns { LockNeed::All } else { LockNeed::Keys }
}

/// What SORT was asked to do.
#[derive(Debug, Default)]
struct Plan<'a> {
    desc: bool,
    alpha: bool,
    /// Sort by what this pattern leads to.
    by: Option<&'a [u8]>,
    /// BY without a star: the order stays as it is.
    unsorted: bool,
    get: Vec<&'a [u8]>,
    limit: Option<(i64, i64)>,
    store: Option<&'a [u8]>,
}

impl<'a> Plan<'a> {
    /// `free` says whether the user may read keys that the arguments do not name. `slot` is that of the key, in cluster
    /// mode: patterns must not lead out of it.
    fn parse(args: &mut Args<'a>, stores: bool, free: bool, slot: Option<u16>) -> Result<Self> {
        let admit = |option: &str, pattern: &[u8]| {
            if slot.is_some() && pattern != b"#" && glob::slot(pattern) != slot {
                return Err(Error::text(format!(
                    "ERR {option} option of SORT denied in Cluster mode when keys formed by the pattern may be in \
                     different slots."
                )));
            }
            if !free {
                return Err(Error::text(format!(
                    "ERR {option} option of SORT denied due to insufficient ACL permissions."
                )));
            }
            Ok(())
        };
        let mut plan = Plan::default();
        while args.left() > 0 {
            let left = args.left() - 1;
            if args.word("ASC") {
                plan.desc = false;
            } else if args.word("DESC") {
                plan.desc = true;
            } else if args.word("ALPHA") {
                plan.alpha = true;
            } else if left >= 2 && args.word("LIMIT") {
                plan.limit = Some((args.int()?, args.int()?));
            } else if stores && left >= 1 && args.word("STORE") {
                plan.store = Some(args.next()?);
            } else if left >= 1 && args.word("BY") {
                let pattern = args.next()?;
                if pattern.contains(&b'*') {
                    admit("BY", pattern)?;
                }
                plan.by = Some(pattern);
                // Once said, it stays said, whatever a second BY says.
                plan.unsorted |= !pattern.contains(&b'*');
            } else if left >= 1 && args.word("GET") {
                let pattern = args.next()?;
                admit("GET", pattern)?;
                plan.get.push(pattern);
            } else {
                return Err(error::SYNTAX);
            }
        }
        Ok(plan)
    }

    /// The range of elements that LIMIT leaves of `len`.
    fn range(&self, len: usize) -> std::ops::Range<usize> {
        let (offset, count) = self.limit.unwrap_or((0, -1));
        let start = usize::try_from(offset.max(0)).unwrap_or(usize::MAX).min(len);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        start..start.saturating_add(count).min(len)
    }
}

/// A value that is taken from a key as it is: its text.
type Text = Box<[u8]>;

/// What is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    List,
    Set,
    Zset,
}

fn sort(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    run(ctx, args, true, out)
}

fn sort_ro(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    run(ctx, args, false, out)
}

fn run(ctx: &mut Ctx<'_>, args: &mut Args<'_>, stores: bool, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let free = permit::may_read_all_keys(ctx, args.argv());
    let slot = ctx.core.cluster.as_ref().map(|_| key.slot);
    let mut plan = Plan::parse(args, stores, free, slot)?;
    let (source, mut elements) = load(ctx, &key)?;
    if source == Source::Zset {
        // What Redis does, and OBJECT ENCODING shows: whoever sorts a sorted set makes it a large one.
        let limits = ctx.limits();
        if let Some(set) = ctx.write::<Zset>(&key)? {
            set.prepare(usize::MAX, &limits);
        }
    }
    // A set has no order of its own: what is stored or seen by a script must not depend on chance.
    if plan.unsorted && source == Source::Set && (plan.store.is_some() || ctx.mode == Mode::Script) {
        (plan.unsorted, plan.alpha, plan.by) = (false, true, None);
    }
    let range = plan.range(elements.len());
    if !plan.unsorted {
        elements = sorted(ctx, &plan, elements)?;
    } else if plan.desc && source != Source::Set {
        elements.reverse();
    }
    let chosen = elements.get(range).unwrap_or_default();
    match plan.store {
        None => reply(ctx, &plan, chosen, out),
        Some(target) => store(ctx, &plan, chosen, target, out),
    }
    Ok(())
}

/// The elements in the order in which they are kept.
fn load(ctx: &mut Ctx<'_>, key: &Key<'_>) -> Result<(Source, Vec<Text>)> {
    let text = |value: LpValue<'_>| Text::from(value.as_bytes(&mut itoa::Buffer::new()));
    match ctx.view(key) {
        None => Ok((Source::List, Vec::new())),
        Some(View::Value(Value::List(list))) => Ok((Source::List, list.iter().map(text).collect())),
        Some(View::Value(Value::Set(set))) => Ok((Source::Set, set.iter().map(text).collect())),
        Some(View::Value(Value::Zset(set))) => {
            Ok((Source::Zset, set.iter().map(|(member, _)| text(member)).collect()))
        }
        Some(_) => Err(error::WRONG_TYPE),
    }
}

/// Sorts by weights, which are looked up once for each element. Equal weights keep their order when they are texts,
/// and are in the order of the elements when they are numbers.
fn sorted(ctx: &mut Ctx<'_>, plan: &Plan<'_>, elements: Vec<Text>) -> Result<Vec<Text>> {
    let turn = |order: Ordering| if plan.desc { order.reverse() } else { order };
    if plan.alpha {
        let Some(by) = plan.by else {
            let mut elements = elements;
            elements.sort_by(|a, b| turn(a.cmp(b)));
            return Ok(elements);
        };
        let mut pairs: Vec<(Option<Text>, Text)> =
            elements.into_iter().map(|e| (follow(ctx, by, &e), e)).collect();
        pairs.sort_by(|a, b| turn(a.0.cmp(&b.0)));
        return Ok(pairs.into_iter().map(|(_, e)| e).collect());
    }
    let mut pairs = Vec::with_capacity(elements.len());
    let mut bad = false;
    for element in elements {
        let weight = match plan.by {
            None => parse_sort_weight(&element),
            Some(by) => follow(ctx, by, &element).map_or(Some(0.0), |text| parse_sort_weight(&text)),
        };
        bad |= weight.is_none();
        pairs.push((weight.unwrap_or(0.0), element));
    }
    if bad {
        return Err(Error::new("ERR One or more scores can't be converted into double"));
    }
    pairs.sort_by(|a, b| turn(a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal).then_with(|| a.1.cmp(&b.1))));
    Ok(pairs.into_iter().map(|(_, e)| e).collect())
}

/// What a pattern leads to for an element: `#` to itself, `name_*` to a string, `name_*->field` into a hash.
fn follow(ctx: &mut Ctx<'_>, pattern: &[u8], element: &[u8]) -> Option<Text> {
    if pattern == b"#" {
        return Some(element.into());
    }
    let star = memchr::memchr(b'*', pattern)?;
    let (head, tail) = (&pattern[..star], &pattern[star + 1..]);
    let arrow = memchr::memmem::find(tail, b"->").filter(|at| at + 2 < tail.len());
    let (tail, field) = match arrow {
        Some(at) => (&tail[..at], Some(&tail[at + 2..])),
        None => (tail, None),
    };
    let name = [head, element, tail].concat();
    let key = ctx.key(&name);
    let now = ctx.now_ms();
    let mut digits = itoa::Buffer::new();
    match (ctx.view(&key)?, field) {
        (View::Value(Value::Hash(hash)), Some(field)) => {
            let (value, expire) = hash.get(field)?;
            let alive = expire.is_none_or(|at| at > now);
            alive.then(|| Text::from(value.as_bytes(&mut digits)))
        }
        (View::Str(bytes), None) => Some(bytes.into()),
        (View::Int(n), None) => Some(digits.format(n).as_bytes().into()),
        (View::Value(Value::Str(bytes)), None) => Some(bytes.as_slice().into()),
        _ => None,
    }
}

fn reply(ctx: &mut Ctx<'_>, plan: &Plan<'_>, chosen: &[Text], out: &mut Reply<'_>) {
    out.array(chosen.len().saturating_mul(plan.get.len().max(1)));
    for element in chosen {
        if plan.get.is_empty() {
            out.bulk(element);
        }
        for pattern in &plan.get {
            out.bulk_or_null(follow(ctx, pattern, element).as_deref());
        }
    }
}

fn store(ctx: &mut Ctx<'_>, plan: &Plan<'_>, chosen: &[Text], target: &[u8], out: &mut Reply<'_>) {
    let found: Vec<Text> = if plan.get.is_empty() {
        chosen.to_vec()
    } else {
        let pairs = chosen.iter().flat_map(|element| plan.get.iter().map(move |get| (element, get)));
        pairs.map(|(element, get)| follow(ctx, get, element).unwrap_or_default()).collect()
    };
    let key = ctx.key(target);
    out.len(found.len());
    if found.is_empty() {
        if ctx.remove(&key) {
            ctx.changed(&key, event::GENERIC, "del");
        }
        return;
    }
    let list = List::from_elements(found.iter().map(|e| &**e), &ctx.limits());
    ctx.set_value(&key, Value::List(list), Expiry::Clear);
    ctx.changed_by(found.len() as u64, &key, event::LIST, "sortstore");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<usize> {
        let argv: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
        let mut keys = Vec::new();
        assert!(sort_keys(&argv, &mut keys).is_some());
        keys.iter().map(|k| k.index).collect()
    }

    #[test]
    fn the_target_is_the_last_one_named_and_not_an_argument_of_another_option() {
        assert_eq!(found("SORT k"), [1]);
        assert_eq!(found("SORT k STORE d"), [1, 3]);
        assert_eq!(found("SORT k STORE d store e"), [1, 5]);
        assert_eq!(found("SORT k GET STORE BY STORE LIMIT STORE STORE"), [1]);
        assert_eq!(found("SORT k STORE"), [1]);
        assert_eq!(found("SORT k STORE LIMIT STORE d"), [1, 5]);
    }

    #[test]
    fn limits_never_leave_the_elements() {
        let range = |offset, count| Plan { limit: Some((offset, count)), ..Plan::default() }.range(5);
        assert_eq!(range(1, 2), 1..3);
        assert_eq!(range(-7, 2), 0..2);
        assert_eq!(range(2, i64::MAX), 2..5);
        assert_eq!(range(2, -1), 2..5);
        assert!(range(9, 1).is_empty() && range(0, 0).is_empty() && range(i64::MAX, i64::MIN).is_empty());
        assert_eq!(Plan::default().range(5), 0..5);
    }

    #[test]
    fn weights_are_what_c_reads() {
        assert_eq!(parse_sort_weight(b""), Some(0.0));
        assert_eq!(parse_sort_weight(b"+5."), Some(5.0));
        assert_eq!(parse_sort_weight(b"1e400"), Some(f64::INFINITY));
        assert_eq!(parse_sort_weight(b"-inf"), Some(f64::NEG_INFINITY));
        for text in ["nan", "0x10", " 1", "1 ", "1e", "abc"] {
            assert_eq!(parse_sort_weight(text.as_bytes()), None, "{text}");
        }
    }
}
