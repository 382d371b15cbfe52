//! What can be done with lists? Pushing and popping at the ends, reading and changing by position.
//!
//! What waits for a list to have elements is in `lists_blocking`.

use crate::commands::prelude::*;
use crate::ds::listpack::Needle;
use crate::value::list::End;
use crate::value::{Limits, List};

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    Command::new("lpush", lpush)
        .arity(-3)
        .flags(WRITE | DENYOOM | FAST)
        .acl(LIST)
        .keys(&[one(RW | INSERT, 1)])
        .doc(
            "list",
            "1.0.0",
            "O(N) for N elements",
            "Puts elements in front of a list, creating it if need be; the last one given ends up first.",
            "key:key@0 element:str...",
        ),
    Command::new("rpush", rpush)
        .arity(-3)
        .flags(WRITE | DENYOOM | FAST)
        .acl(LIST)
        .keys(&[one(RW | INSERT, 1)])
        .doc(
            "list",
            "1.0.0",
            "O(N) for N elements",
            "Puts elements behind the others of a list, creating it if need be.",
            "key:key@0 element:str...",
        ),
    Command::new("lpushx", lpushx)
        .arity(-3)
        .flags(WRITE | DENYOOM | FAST)
        .acl(LIST)
        .keys(&[one(RW | INSERT, 1)])
        .doc(
            "list",
            "2.2.0",
            "O(N) for N elements",
            "Puts elements in front of a list that exists.",
            "key:key@0 element:str...",
        ),
    Command::new("rpushx", rpushx)
        .arity(-3)
        .flags(WRITE | DENYOOM | FAST)
        .acl(LIST)
        .keys(&[one(RW | INSERT, 1)])
        .doc(
            "list",
            "2.2.0",
            "O(N) for N elements",
            "Puts elements behind the others of a list that exists.",
            "key:key@0 element:str...",
        ),
    Command::new("lpop", lpop)
        .arity(-2)
        .flags(WRITE | FAST)
        .acl(LIST)
        .keys(&[one(RW | ACCESS | DELETE, 1)])
        .doc(
            "list",
            "1.0.0",
            "O(N) for N elements",
            "Takes elements off the front of a list; an emptied list is deleted.",
            "key:key@0 [count:int^6.2.0]",
        ),
    Command::new("rpop", rpop)
        .arity(-2)
        .flags(WRITE | FAST)
        .acl(LIST)
        .keys(&[one(RW | ACCESS | DELETE, 1)])
        .doc(
            "list",
            "1.0.0",
            "O(N) for N elements",
            "Takes elements off the back of a list; an emptied list is deleted.",
            "key:key@0 [count:int^6.2.0]",
        ),
    Command::new("llen", llen).arity(2).flags(READONLY | FAST).acl(LIST).keys(&[one(RO, 1)]).doc(
        "list",
        "1.0.0",
        "O(1)",
        "Counts the elements of a list.",
        "key:key@0",
    ),
    Command::new("lindex", lindex).arity(3).flags(READONLY).acl(LIST).keys(&[one(RO | ACCESS, 1)]).doc(
        "list",
        "1.0.0",
        "O(N) to the nearer end of the list",
        "Gets one element of a list by its position.",
        "key:key@0 index:int",
    ),
    Command::new("lrange", lrange).arity(4).flags(READONLY).acl(LIST).keys(&[one(RO | ACCESS, 1)]).doc(
        "list",
        "1.0.0",
        "O(S+N) for N elements that are S away from an end",
        "Gets the elements of a list between two positions.",
        "key:key@0 start:int stop:int",
    ),
    Command::new("linsert", linsert)
        .arity(5)
        .flags(WRITE | DENYOOM)
        .acl(LIST)
        .keys(&[one(RW | INSERT, 1)])
        .doc(
            "list",
            "2.2.0",
            "O(N) for N elements in front of the pivot",
            "Puts an element next to the first one that equals a pivot.",
            "key:key@0 where(BEFORE | AFTER) pivot:str element:str",
        ),
    Command::new("lset", lset).arity(4).flags(WRITE | DENYOOM).acl(LIST).keys(&[one(RW | UPDATE, 1)]).doc(
        "list",
        "1.0.0",
        "O(N) to the nearer end of the list",
        "Replaces one element of a list.",
        "key:key@0 index:int element:str",
    ),
    Command::new("lrem", lrem).arity(4).flags(WRITE).acl(LIST).keys(&[one(RW | DELETE, 1)]).doc(
        "list",
        "1.0.0",
        "O(N+M) for a list of N elements of which M go",
        "Deletes elements that equal a value.",
        "key:key@0 count:int element:str",
    ),
    Command::new("ltrim", ltrim).arity(4).flags(WRITE).acl(LIST).keys(&[one(RW | DELETE, 1)]).doc(
        "list",
        "1.0.0",
        "O(N) for N elements that go",
        "Deletes all elements outside two positions.",
        "key:key@0 start:int stop:int",
    ),
    Command::new("lpos", lpos).arity(-3).flags(READONLY).acl(LIST).keys(&[one(RO | ACCESS, 1)]).doc(
        "list",
        "6.0.6",
        "O(N) for N elements looked at",
        "Finds the positions of elements that equal a value.",
        "key:key@0 element:str [RANK rank:int] [COUNT num-matches:int] [MAXLEN len:int]",
    ),
    Command::new("lmove", lmove)
        .arity(5)
        .flags(WRITE | DENYOOM)
        .acl(LIST)
        .keys(&[one(RW | ACCESS | DELETE, 1), one(RW | INSERT, 2)])
        .doc(
            "list",
            "6.2.0",
            "O(1)",
            "Moves an element from one end of a list to one end of another, or of itself.",
            "source:key@0 destination:key@1 wherefrom(LEFT | RIGHT) whereto(LEFT | RIGHT)",
        ),
    Command::new("rpoplpush", rpoplpush)
        .arity(3)
        .flags(WRITE | DENYOOM)
        .acl(LIST)
        .keys(&[one(RW | ACCESS | DELETE, 1), one(RW | INSERT, 2)])
        .doc(
            "list",
            "1.2.0",
            "O(1)",
            "Moves the last element of a list in front of another list.",
            "source:key@0 destination:key@1",
        )
        .deprecated("6.2.0", "`LMOVE` with the `RIGHT` and `LEFT` arguments"),
    Command::new("lmpop", lmpop)
        .arity(-4)
        .flags(WRITE | MOVABLE_KEYS)
        .acl(LIST)
        .keys(&[numbered(RW | ACCESS | DELETE, 1)])
        .doc(
            "list",
            "7.0.0",
            "O(N+M) for N keys and M elements",
            "Takes elements off the first list that is not empty.",
            "numkeys:int key:key@0... where(LEFT | RIGHT) [COUNT count:int]",
        ),
];

/// The event of elements that were pushed.
fn pushed(end: End) -> &'static str {
    if end == End::Head { "lpush" } else { "rpush" }
}

/// The event of elements that were popped.
fn popped(end: End) -> &'static str {
    if end == End::Head { "lpop" } else { "rpop" }
}

/// The command that pops, for the log.
pub(super) fn pop_command(end: End) -> &'static [u8] {
    if end == End::Head { b"LPOP" } else { b"RPOP" }
}

fn lpush(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    push(ctx, args, End::Head, true, out)
}

fn rpush(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    push(ctx, args, End::Tail, true, out)
}

fn lpushx(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    push(ctx, args, End::Head, false, out)
}

fn rpushx(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    push(ctx, args, End::Tail, false, out)
}

fn push(ctx: &mut Ctx<'_>, args: &mut Args<'_>, end: End, create: bool, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let elements = args.take_rest();
    let limits = ctx.limits();
    let list = if create { Some(ctx.create::<List>(&key)?) } else { ctx.write::<List>(&key)? };
    let Some(list) = list else {
        out.flag(false);
        return Ok(());
    };
    list.push(end, elements.iter().copied(), &limits);
    let len = list.len();
    ctx.changed_by(elements.len() as u64, &key, event::LIST, pushed(end));
    out.len(len);
    Ok(())
}

fn lpop(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    pop(ctx, args, End::Head, out)
}

fn rpop(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    pop(ctx, args, End::Tail, out)
}

fn pop(ctx: &mut Ctx<'_>, args: &mut Args<'_>, end: End, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    if args.left() > 1 {
        return Err(Error::arity(&ctx.entry.name));
    }
    let limits = ctx.limits();
    if args.left() == 1 {
        let count = args.int_in(0, i64::MAX, error::NOT_POSITIVE)?;
        let Some(list) = ctx.write::<List>(&key)? else {
            out.null_array();
            return Ok(());
        };
        if count == 0 {
            out.array(0);
            return Ok(());
        }
        let n = reply_popped(list, end, count, &limits, out);
        let emptied = list.is_empty();
        removed(ctx, &key, n, popped(end), emptied);
        return Ok(());
    }
    let Some(list) = ctx.write::<List>(&key)? else {
        out.null();
        return Ok(());
    };
    list.pop(end, &limits, |value| out.element(value));
    let emptied = list.is_empty();
    removed(ctx, &key, 1, popped(end), emptied);
    Ok(())
}

/// Pops up to `count` elements and replies with an array of them; gives how many there were.
fn reply_popped(list: &mut List, end: End, count: i64, limits: &Limits, out: &mut Reply<'_>) -> usize {
    let n = usize::try_from(count).unwrap_or(usize::MAX).min(list.len());
    out.array(n);
    list.pop_many(end, n, limits, |value| out.element(value))
}

/// Reports that `n` elements are gone, and the key with them if none is left.
fn removed(ctx: &mut Ctx<'_>, key: &Key<'_>, n: usize, event: &'static str, emptied: bool) {
    ctx.changed_by(n as u64, key, event::LIST, event);
    if emptied {
        ctx.remove_emptied(key);
    }
}

fn llen(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    out.len(ctx.read::<List>(&key)?.map_or(0, List::len));
    Ok(())
}

/// The index that a position means, negative ones counted from the end; `None` before the first element.
fn index(position: i64, len: usize) -> Option<usize> {
    match usize::try_from(position) {
        Ok(index) => Some(index),
        Err(_) => len.checked_sub(usize::try_from(position.unsigned_abs()).ok()?),
    }
}

/// What the positions `start` to `stop` select of `len` elements: the first index and how many, or `None` for nothing.
fn span(start: i64, stop: i64, len: usize) -> Option<(usize, usize)> {
    let first = index(start, len).unwrap_or(0);
    let last = index(stop, len)?.min(len.checked_sub(1)?);
    (first <= last).then(|| (first, last - first + 1))
}

fn lindex(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let Some(list) = ctx.read::<List>(&key)? else {
        out.null();
        return Ok(());
    };
    match index(args.int()?, list.len()).and_then(|i| list.get(i)) {
        Some(value) => out.element(value),
        None => out.null(),
    }
    Ok(())
}

fn lrange(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let (start, stop) = (args.int()?, args.int()?);
    let Some(list) = ctx.read::<List>(&key)? else {
        out.array(0);
        return Ok(());
    };
    let (first, n) = span(start, stop, list.len()).unwrap_or_default();
    out.array(n);
    list.iter_from(first).take(n).for_each(|value| out.element(value));
    Ok(())
}

fn linsert(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let after = args.word("AFTER");
    if !after && !args.word("BEFORE") {
        return Err(error::SYNTAX);
    }
    let (pivot, element) = (args.next()?, args.next()?);
    let limits = ctx.limits();
    let Some(list) = ctx.write::<List>(&key)? else {
        out.flag(false);
        return Ok(());
    };
    if !list.insert(after, pivot, element, &limits) {
        out.int(-1);
        return Ok(());
    }
    out.len(list.len());
    ctx.changed(&key, event::LIST, "linsert");
    Ok(())
}

fn lset(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let limits = ctx.limits();
    let list = ctx.write::<List>(&key)?.ok_or(error::NO_SUCH_KEY)?;
    let position = args.int()?;
    // Tried even when there is no such element: making room for it changes the encoding, in Redis as here.
    let at = index(position, list.len()).unwrap_or(usize::MAX);
    if !list.set(at, args.next()?, &limits) {
        return Err(error::INDEX_RANGE);
    }
    ctx.changed(&key, event::LIST, "lset");
    out.ok();
    Ok(())
}

fn lrem(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let count = args.int_of_either_sign()?;
    let element = args.next()?;
    let limits = ctx.limits();
    let Some(list) = ctx.write::<List>(&key)? else {
        out.flag(false);
        return Ok(());
    };
    let end = if count < 0 { End::Tail } else { End::Head };
    let most =
        if count == 0 { usize::MAX } else { usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX) };
    let n = list.remove(element, most, end, &limits);
    let emptied = list.is_empty();
    if n > 0 {
        removed(ctx, &key, n, "lrem", emptied);
    }
    out.len(n);
    Ok(())
}

fn ltrim(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let (start, stop) = (args.int()?, args.int()?);
    let limits = ctx.limits();
    if let Some(list) = ctx.write::<List>(&key)? {
        let len = list.len();
        let (first, kept) = span(start, stop, len).unwrap_or_default();
        list.keep_range(first, kept, &limits);
        let emptied = list.is_empty();
        // Told even when nothing went, as Redis does; then it is no change for the log.
        removed(ctx, &key, len - kept, "ltrim", emptied);
    }
    out.ok();
    Ok(())
}

/// What LPOS looks for.
struct Search {
    /// The first match that counts, from 1.
    rank: u64,
    backwards: bool,
    /// How many matches are wanted, 0 for all; `None` for one that is not in an array.
    count: Option<usize>,
    /// How many elements are looked at.
    most: usize,
}

impl Search {
    fn parse(args: &mut Args<'_>) -> Result<Self> {
        let mut search = Search { rank: 1, backwards: false, count: None, most: usize::MAX };
        while args.left() > 0 {
            if args.left() > 1 && args.word("RANK") {
                let rank = args.int_of_either_sign()?;
                if rank == 0 {
                    return Err(Error::new(
                        "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... \
                         or use negative to start from the end of the list",
                    ));
                }
                (search.rank, search.backwards) = (rank.unsigned_abs(), rank < 0);
            } else if args.left() > 1 && args.word("COUNT") {
                let count = args.int_in(0, i64::MAX, Error::new("ERR COUNT can't be negative"))?;
                search.count = Some(usize::try_from(count).unwrap_or(usize::MAX));
            } else if args.left() > 1 && args.word("MAXLEN") {
                let most = args.int_in(0, i64::MAX, Error::new("ERR MAXLEN can't be negative"))?;
                search.most = usize::try_from(most).ok().filter(|&n| n > 0).unwrap_or(usize::MAX);
            } else {
                return Err(error::SYNTAX);
            }
        }
        Ok(search)
    }

    /// The indices of what is found, in the order of the search.
    fn run<'l>(&self, list: &'l List, element: &'l [u8]) -> impl Iterator<Item = usize> + 'l {
        let (needle, backwards, len) = (Needle::new(element), self.backwards, list.len());
        let skip = usize::try_from(self.rank - 1).unwrap_or(usize::MAX);
        let elements = if backwards { list.iter_back() } else { list.iter() };
        elements
            .take(self.most)
            .enumerate()
            .filter(move |(_, value)| needle.matches(*value))
            .map(move |(i, _)| if backwards { len - 1 - i } else { i })
            .skip(skip)
    }
}

fn lpos(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let element = args.next()?;
    let search = Search::parse(args)?;
    let list = ctx.read::<List>(&key)?;
    let mut found = list.into_iter().flat_map(|list| search.run(list, element));
    let Some(count) = search.count else {
        match found.next() {
            Some(index) => out.len(index),
            None => out.null(),
        }
        return Ok(());
    };
    let (mark, mut n) = (out.open(), 0);
    for index in found.take(if count == 0 { usize::MAX } else { count }) {
        out.len(index);
        n += 1;
    }
    out.close_array(mark, n);
    Ok(())
}

/// Reads LEFT or RIGHT.
pub(super) fn end(args: &mut Args<'_>) -> Result<End> {
    if args.word("LEFT") {
        Ok(End::Head)
    } else if args.word("RIGHT") {
        Ok(End::Tail)
    } else {
        Err(error::SYNTAX)
    }
}

fn lmove(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let (source, target) = (ctx.key(args.next()?), ctx.key(args.next()?));
    let (from, to) = (end(args)?, end(args)?);
    move_or_null(ctx, &source, &target, from, to, out)
}

fn rpoplpush(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let (source, target) = (ctx.key(args.next()?), ctx.key(args.next()?));
    move_or_null(ctx, &source, &target, End::Tail, End::Head, out)
}

fn move_or_null(
    ctx: &mut Ctx<'_>,
    source: &Key<'_>,
    target: &Key<'_>,
    from: End,
    to: End,
    out: &mut Reply<'_>,
) -> Result {
    if !move_element(ctx, source, target, from, to, out)? {
        out.null();
    }
    Ok(())
}

/// Moves an element and replies with it; false, and no reply, when the source does not exist.
pub(super) fn move_element(
    ctx: &mut Ctx<'_>,
    source: &Key<'_>,
    target: &Key<'_>,
    from: End,
    to: End,
    out: &mut Reply<'_>,
) -> Result<bool> {
    let limits = ctx.limits();
    if ctx.peek_as::<List>(source)?.is_none() {
        return Ok(false);
    }
    // Nothing may be popped that cannot be pushed.
    ctx.peek_as::<List>(target)?;
    let Some(list) = ctx.write::<List>(source)? else { return Ok(false) };
    let (element, emptied) = if source.name == target.name {
        (list.rotate(from, to, &limits), false)
    } else {
        let element = list.pop(from, &limits, |value| value.to_vec());
        let emptied = list.is_empty();
        if let Some(element) = &element {
            ctx.create::<List>(target)?.push(to, [element.as_slice()], &limits);
        }
        (element, emptied)
    };
    let Some(element) = element else { return Ok(false) };
    ctx.changed(target, event::LIST, pushed(to));
    removed(ctx, source, 0, popped(from), emptied);
    out.bulk(&element);
    Ok(true)
}

/// The arguments of LMPOP and BLMPOP from the number of keys on.
pub(super) struct ManyPop<'a> {
    /// Looked at in this order.
    pub keys: &'a [&'a [u8]],
    /// Where elements are taken.
    pub end: End,
    /// How many at most; positive.
    pub count: i64,
}

impl<'a> ManyPop<'a> {
    /// Reads all that is left.
    pub fn parse(args: &mut Args<'a>) -> Result<Self> {
        let keys = args.int_in(1, i64::MAX, Error::new("ERR numkeys should be greater than 0"))?;
        let keys = args.take(usize::try_from(keys).unwrap_or(usize::MAX))?;
        let end = end(args)?;
        let mut count = None;
        while args.left() > 0 {
            if count.is_some() || args.left() < 2 || !args.word("COUNT") {
                return Err(error::SYNTAX);
            }
            count = Some(args.int_in(1, i64::MAX, Error::new("ERR count should be greater than 0"))?);
        }
        Ok(ManyPop { keys, end, count: count.unwrap_or(1) })
    }

    /// Pops from the first list that there is and replies with its key and the elements; false, and no reply, when
    /// there is none.
    pub fn run(&self, ctx: &mut Ctx<'_>, out: &mut Reply<'_>) -> Result<bool> {
        let limits = ctx.limits();
        for name in self.keys {
            let key = ctx.key(name);
            let Some(list) = ctx.write::<List>(&key)? else { continue };
            out.array(2);
            out.bulk(name);
            let n = reply_popped(list, self.end, self.count, &limits, out);
            let emptied = list.is_empty();
            removed(ctx, &key, n, popped(self.end), emptied);
            ctx.propagate_as(&[pop_command(self.end), name, n.to_string().as_bytes()]);
            return Ok(true);
        }
        Ok(false)
    }
}

fn lmpop(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    if !ManyPop::parse(args)?.run(ctx, out)? {
        out.null_array();
    }
    Ok(())
}

/// Pops one element from the first list that there is and replies with its key and the element; false, and no reply,
/// when there is none.
pub(super) fn pop_first(ctx: &mut Ctx<'_>, keys: &[&[u8]], end: End, out: &mut Reply<'_>) -> Result<bool> {
    let limits = ctx.limits();
    for name in keys {
        let key = ctx.key(name);
        let Some(list) = ctx.write::<List>(&key)? else { continue };
        out.array(2);
        out.bulk(name);
        list.pop(end, &limits, |value| out.element(value));
        let emptied = list.is_empty();
        removed(ctx, &key, 1, popped(end), emptied);
        ctx.propagate_as(&[pop_command(end), name]);
        return Ok(true);
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_select_what_is_there() {
        assert_eq!(span(0, -1, 3), Some((0, 3)));
        assert_eq!(span(-100, 100, 3), Some((0, 3)));
        assert_eq!(span(1, 1, 3), Some((1, 1)));
        assert_eq!(span(-2, -2, 3), Some((1, 1)));
        assert_eq!(span(2, 1, 3), None);
        assert_eq!(span(3, 9, 3), None);
        assert_eq!(span(0, -4, 3), None);
        assert_eq!(span(i64::MIN, i64::MAX, 3), Some((0, 3)));
        assert_eq!(span(i64::MIN, i64::MIN, 3), None);
        assert_eq!(span(0, -1, 0), None);
        assert_eq!(index(-1, 3), Some(2));
        assert_eq!(index(-4, 3), None);
    }
}
