//! How do the fields of a hash come to their end? Setting, asking and lifting the time of single fields.
//!
//! The log gets absolute times, so that replaying it later comes to the same: a field whose time is over when it is
//! set is removed at once, and logged as HDEL. Replaying never removes by the clock.

use std::collections::HashSet;

use crate::commands::hashes::sweep_named;
use crate::commands::prelude::*;
use crate::ds::listpack::LpValue;
use crate::value::hash::Hash;

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    Command::new("hexpire", hexpire).arity(-6).flags(WRITE | FAST).acl(HASH).keys(&[one(RW | UPDATE, 1)]).doc("hash", "7.4.0", "O(N) where N is the number of specified fields", "Gives fields a time to live in seconds.", "key:key@0 seconds:int [condition(NX | XX | GT | LT)] FIELDS fields{numfields:int field:str...}"),
    Command::new("hpexpire", hpexpire).arity(-6).flags(WRITE | FAST).acl(HASH).keys(&[one(RW | UPDATE, 1)]).doc("hash", "7.4.0", "O(N) where N is the number of specified fields", "Gives fields a time to live in milliseconds.", "key:key@0 milliseconds:int [condition(NX | XX | GT | LT)] FIELDS fields{numfields:int field:str...}"),
    Command::new("hexpireat", hexpireat).arity(-6).flags(WRITE | FAST).acl(HASH).keys(&[one(RW | UPDATE, 1)]).doc("hash", "7.4.0", "O(N) where N is the number of specified fields", "Gives fields a time at which they end, in unix seconds.", "key:key@0 unix-time-seconds:time [condition(NX | XX | GT | LT)] FIELDS fields{numfields:int field:str...}"),
    Command::new("hpexpireat", hpexpireat).arity(-6).flags(WRITE | FAST).acl(HASH).keys(&[one(RW | UPDATE, 1)]).doc("hash", "7.4.0", "O(N) where N is the number of specified fields", "Gives fields a time at which they end, in unix milliseconds.", "key:key@0 unix-time-milliseconds:time [condition(NX | XX | GT | LT)] FIELDS fields{numfields:int field:str...}"),
    Command::new("httl", httl).arity(-5).flags(READONLY | FAST).acl(HASH).keys(&[one(RO | ACCESS, 1)]).tips(&["nondeterministic_output"]).doc("hash", "7.4.0", "O(N) where N is the number of specified fields", "Seconds that fields have left.", "key:key@0 FIELDS fields{numfields:int field:str...}"),
    Command::new("hpttl", hpttl).arity(-5).flags(READONLY | FAST).acl(HASH).keys(&[one(RO | ACCESS, 1)]).tips(&["nondeterministic_output"]).doc("hash", "7.4.0", "O(N) where N is the number of specified fields", "Milliseconds that fields have left.", "key:key@0 FIELDS fields{numfields:int field:str...}"),
    Command::new("hexpiretime", hexpiretime).arity(-5).flags(READONLY | FAST).acl(HASH).keys(&[one(RO | ACCESS, 1)]).doc("hash", "7.4.0", "O(N) where N is the number of specified fields", "When fields end, in unix seconds.", "key:key@0 FIELDS fields{numfields:int field:str...}"),
    Command::new("hpexpiretime", hpexpiretime).arity(-5).flags(READONLY | FAST).acl(HASH).keys(&[one(RO | ACCESS, 1)]).doc("hash", "7.4.0", "O(N) where N is the number of specified fields", "When fields end, in unix milliseconds.", "key:key@0 FIELDS fields{numfields:int field:str...}"),
    Command::new("hpersist", hpersist).arity(-5).flags(WRITE | FAST).acl(HASH).keys(&[one(RW | UPDATE, 1)]).doc("hash", "7.4.0", "O(N) where N is the number of specified fields", "Lifts the time of fields.", "key:key@0 FIELDS fields{numfields:int field:str...}"),
    Command::new("hgetex", hgetex).arity(-5).flags(WRITE | FAST).acl(HASH).keys(&[one(RW | ACCESS | UPDATE, 1)]).doc("hash", "8.0.0", "O(N) where N is the number of specified fields", "Gets fields and sets or lifts their time.", "key:key@0 [expiration(EX seconds:int | PX milliseconds:int | EXAT unix-time-seconds:time | PXAT unix-time-milliseconds:time | PERSIST)] FIELDS fields{numfields:int field:str...}"),
    Command::new("hsetex", hsetex).arity(-6).flags(WRITE | DENYOOM | FAST).acl(HASH).keys(&[one(RW | UPDATE, 1)]).doc("hash", "8.0.0", "O(N) where N is the number of fields being set.", "Sets fields together with their time.", "key:key@0 [condition(FNX | FXX)] [expiration(EX seconds:int | PX milliseconds:int | EXAT unix-time-seconds:time | PXAT unix-time-milliseconds:time | KEEPTTL)] FIELDS fields{numfields:int data{field:str value:str}...}"),
    Command::new("hgetdel", hgetdel).arity(-5).flags(WRITE | FAST).acl(HASH).keys(&[one(RW | ACCESS | DELETE, 1)]).doc("hash", "8.0.0", "O(N) where N is the number of specified fields", "Gets fields and removes them.", "key:key@0 FIELDS fields{numfields:int field:str...}"),
];

/// The latest time that a field can have: unix milliseconds in 46 bits, as Redis keeps them.
const LATEST: i64 = (1 << 46) - 1;

/// When fields may get a new time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Always,
    NoTime,
    SomeTime,
    Later,
    Earlier,
}

impl Condition {
    fn parse(args: &mut Args<'_>) -> Condition {
        let words = [
            ("nx", Condition::NoTime),
            ("xx", Condition::SomeTime),
            ("gt", Condition::Later),
            ("lt", Condition::Earlier),
        ];
        words.iter().find(|(word, _)| args.word(word)).map_or(Condition::Always, |(_, condition)| *condition)
    }

    /// A field without a time lasts longer than any other.
    fn allows(self, old: Option<u64>, new: u64) -> bool {
        match self {
            Condition::Always => true,
            Condition::NoTime => old.is_none(),
            Condition::SomeTime => old.is_some(),
            Condition::Later => old.is_some_and(|old| new > old),
            Condition::Earlier => old.is_none_or(|old| new < old),
        }
    }
}

/// Turns what a client said into unix milliseconds.
fn absolute(ctx: &Ctx<'_>, said: i64, seconds: bool, relative: bool) -> Result<u64> {
    if said < 0 {
        return Err(Error::new("ERR invalid expire time, must be >= 0"));
    }
    let bad = || Error::invalid_expire(&ctx.entry.name);
    let unit = if seconds { 1000 } else { 1 };
    let base = if relative { i64::try_from(ctx.now_ms()).unwrap_or(i64::MAX) } else { 0 };
    let at = said.checked_mul(unit).and_then(|ms| ms.checked_add(base)).filter(|at| *at <= LATEST);
    at.and_then(|at| u64::try_from(at).ok()).ok_or_else(bad)
}

/// Reads `FIELDS n field...` to the end of the arguments.
fn fields<'a>(args: &mut Args<'a>, bad_count: &'static str) -> Result<&'a [&'a [u8]]> {
    if !args.word("fields") {
        return Err(Error::new("ERR Mandatory argument FIELDS is missing or not at the right position"));
    }
    let n = args.int_in(1, i64::MAX, Error::new(bad_count))?;
    if usize::try_from(n).ok() != Some(args.left()) {
        return Err(Error::new("ERR The `numfields` parameter must match the number of arguments"));
    }
    Ok(args.take_rest())
}

const BAD_COUNT: &str = "ERR Number of fields must be a positive integer";
const BAD_COUNT_OF_EXPIRE: &str = "ERR Parameter `numFields` should be greater than 0";

/// Fields that a command touched, by what became of them.
#[derive(Default)]
struct Touched<'a> {
    timed: Vec<&'a [u8]>,
    lifted: Vec<&'a [u8]>,
    removed: Vec<&'a [u8]>,
    /// The log gets a command for each field that was removed.
    removed_apart: bool,
    /// The command that gave all fields their time: the log gets it as it was said, with the absolute time.
    said: &'a [&'a [u8]],
}

impl<'a> Touched<'a> {
    /// Gives a field a time, or removes it when that is over.
    fn set(&mut self, hash: &mut Hash, field: &'a [u8], at: u64, over: bool) {
        if over {
            hash.remove(field);
            self.removed.push(field);
        } else {
            hash.expire_field(field, at);
            self.timed.push(field);
        }
    }

    /// Reports everything and logs it with absolute times.
    fn report(self, ctx: &mut Ctx<'_>, key: &Key<'_>, at: u64) {
        let time = at.to_string();
        let log = |ctx: &mut Ctx<'_>, head: &[&[u8]], fields: &[&[u8]]| {
            let count = fields.len().to_string();
            let counted: &[&[u8]] = if head[0] == b"HDEL" { &[] } else { &[b"FIELDS", count.as_bytes()] };
            ctx.propagate_as(&[head, counted, fields].concat());
        };
        if !self.timed.is_empty() {
            let head: [&[u8]; 3] = [b"HPEXPIREAT", key.name, time.as_bytes()];
            match self.said.get(3..) {
                Some(rest) => ctx.propagate_as(&[&head, rest].concat()),
                None => log(ctx, &head, &self.timed),
            }
            ctx.changed_by(self.timed.len() as u64, key, event::HASH, "hexpire");
            ctx.fields_will_expire(key);
        }
        if !self.lifted.is_empty() {
            log(ctx, &[b"HPERSIST", key.name], &self.lifted);
            ctx.changed_by(self.lifted.len() as u64, key, event::HASH, "hpersist");
        }
        if !self.removed.is_empty() {
            let apart = if self.removed_apart { 1 } else { self.removed.len() };
            self.removed.chunks(apart).for_each(|fields| log(ctx, &[b"HDEL", key.name], fields));
            ctx.changed_by(self.removed.len() as u64, key, event::HASH, "hdel");
            drop_if_empty(ctx, key);
        }
    }
}

fn drop_if_empty(ctx: &mut Ctx<'_>, key: &Key<'_>) {
    if matches!(ctx.peek_as::<Hash>(key), Ok(Some(hash)) if hash.is_empty()) {
        ctx.remove_emptied(key);
    }
}

/// True when fields of this time go at once.
fn is_over(ctx: &Ctx<'_>, at: u64) -> bool {
    ctx.mode != Mode::Replay && at <= ctx.now_ms()
}

fn expire(
    ctx: &mut Ctx<'_>,
    args: &mut Args<'_>,
    seconds: bool,
    relative: bool,
    out: &mut Reply<'_>,
) -> Result {
    let (argv, key) = (args.argv(), ctx.key(args.next()?));
    ctx.peek_as::<Hash>(&key)?;
    let said = args.int()?;
    let at = absolute(ctx, said, seconds, relative)?;
    let condition = Condition::parse(args);
    let names = fields(args, BAD_COUNT_OF_EXPIRE)?;
    let over = is_over(ctx, at);
    let mut touched = Touched::default();
    out.array(names.len());
    if let Some(hash) = ctx.write::<Hash>(&key)? {
        // As in Redis, asking is enough for the encoding with times, even when no such field is there.
        hash.allow_expiry();
        for &name in names {
            match hash.get(name).map(|(_, old)| old) {
                None => out.int(-2),
                Some(old) if !condition.allows(old, at) => out.int(0),
                Some(_) => {
                    touched.set(hash, name, at, over);
                    out.int(if over { 2 } else { 1 });
                }
            }
        }
    } else {
        names.iter().for_each(|_| out.int(-2));
    }
    touched.removed_apart = true;
    if touched.timed.len() == names.len() {
        touched.said = argv;
    }
    touched.report(ctx, &key, at);
    Ok(())
}

fn hexpire(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    expire(ctx, args, true, true, out)
}

fn hpexpire(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    expire(ctx, args, false, true, out)
}

fn hexpireat(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    expire(ctx, args, true, false, out)
}

fn hpexpireat(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    expire(ctx, args, false, false, out)
}

fn ask(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>, show: fn(u64, u64) -> u64) -> Result {
    let key = ctx.key(args.next()?);
    ctx.peek_as::<Hash>(&key)?;
    let names = fields(args, BAD_COUNT)?;
    let (now, over) = (ctx.now_ms(), ctx.field_now());
    let hash = ctx.read::<Hash>(&key)?;
    out.array(names.len());
    for name in names {
        out.int(match hash.and_then(|hash| hash.get(name)) {
            None => -2,
            Some((_, Some(at))) if at <= over => -2,
            Some((_, None)) => -1,
            Some((_, Some(at))) => i64::try_from(show(at, now)).unwrap_or(i64::MAX),
        });
    }
    Ok(())
}

fn httl(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    ask(ctx, args, out, |at, now| at.saturating_sub(now).div_ceil(1000))
}

fn hpttl(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    ask(ctx, args, out, |at, now| at.saturating_sub(now))
}

fn hexpiretime(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    ask(ctx, args, out, |at, _| at.div_ceil(1000))
}

fn hpexpiretime(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    ask(ctx, args, out, |at, _| at)
}

fn hpersist(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    ctx.peek_as::<Hash>(&key)?;
    let names = fields(args, BAD_COUNT)?;
    let now = ctx.field_now();
    let mut touched = Touched::default();
    out.array(names.len());
    match ctx.write::<Hash>(&key)? {
        None => names.iter().for_each(|_| out.int(-2)),
        Some(hash) => {
            for &name in names {
                if hash.live(name, now).is_none() {
                    out.int(-2);
                } else if hash.persist_field(name) {
                    touched.lifted.push(name);
                    out.int(1);
                } else {
                    out.int(-1);
                }
            }
        }
    }
    touched.report(ctx, &key, 0);
    Ok(())
}

/// Whether this word is next.
fn is_word(args: &Args<'_>, word: &str) -> bool {
    args.peek().is_some_and(|next| next.eq_ignore_ascii_case(word.as_bytes()))
}

/// Reads EX, PX, EXAT or PXAT with its value, if one is next.
fn expiration(ctx: &Ctx<'_>, args: &mut Args<'_>) -> Result<Option<u64>> {
    for (word, seconds, relative) in
        [("ex", true, true), ("px", false, true), ("exat", true, false), ("pxat", false, false)]
    {
        if args.word(word) {
            let said = args.int()?;
            return absolute(ctx, said, seconds, relative).map(Some);
        }
    }
    Ok(None)
}

/// Answers the values of fields.
fn answer(hash: Option<&Hash>, names: &[&[u8]], once: bool, out: &mut Reply<'_>) {
    let mut seen: HashSet<&[u8]> = HashSet::new();
    out.array(names.len());
    for name in names {
        let gone = once && !seen.insert(name);
        match hash.filter(|_| !gone).and_then(|hash| hash.get(name)) {
            Some((LpValue::Str(text), _)) => out.bulk(text),
            Some((LpValue::Int(n), _)) => out.bulk_int(n),
            None => out.null(),
        }
    }
}

fn hgetex(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    ctx.peek_as::<Hash>(&key)?;
    let at = expiration(ctx, args)?;
    let persist = at.is_none() && args.word("persist");
    if args.left() == 1 && is_word(args, "fields") {
        return Err(Error::arity("hgetex"));
    }
    let names = fields(args, BAD_COUNT)?;
    sweep_named(ctx, &key, names)?;
    let mut touched = Touched::default();
    // A field that is named twice is gone by the second time, when its new time is over.
    let over = at.is_some_and(|at| is_over(ctx, at));
    answer(ctx.read::<Hash>(&key)?, names, over, out);
    if (at.is_some() || persist)
        && ctx.peek_as::<Hash>(&key)?.is_some()
        && let Some(hash) = ctx.write::<Hash>(&key)?
    {
        hash.allow_expiry();
        for &name in names {
            match at {
                Some(at) if hash.get(name).is_some() => touched.set(hash, name, at, over),
                None if hash.persist_field(name) => touched.lifted.push(name),
                _ => {}
            }
        }
    }
    touched.report(ctx, &key, at.unwrap_or(0));
    Ok(())
}

fn hgetdel(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    ctx.peek_as::<Hash>(&key)?;
    let names = fields(args, BAD_COUNT)?;
    sweep_named(ctx, &key, names)?;
    let mut touched = Touched::default();
    let mut values: Vec<Option<Vec<u8>>> = Vec::new();
    if let Some(hash) = ctx.write::<Hash>(&key)? {
        for &name in names {
            values.push(hash.get(name).map(|(value, _)| value.to_vec()));
            if hash.remove(name) {
                touched.removed.push(name);
            }
        }
    }
    values.resize(names.len(), None);
    out.array(values.len());
    values.iter().for_each(|value| out.bulk_or_null(value.as_deref()));
    touched.report(ctx, &key, 0);
    Ok(())
}

/// The options of HSETEX.
#[derive(Default)]
struct SetEx<'a> {
    at: Option<u64>,
    keep: bool,
    /// All fields must be there (true), or none of them (false).
    present: Option<bool>,
    pairs: &'a [&'a [u8]],
}

impl<'a> SetEx<'a> {
    fn parse(ctx: &Ctx<'_>, args: &mut Args<'a>) -> Result<Self> {
        let mut set = SetEx::default();
        loop {
            let before = args.position();
            let fnx = args.word("fnx");
            let fxx = !fnx && args.word("fxx");
            if fnx || fxx {
                if set.present.replace(fxx).is_some() {
                    return Err(Error::new("ERR Only one of FXX or FNX arguments can be specified"));
                }
                continue;
            }
            if args.word("fields") {
                if args.left() < 3 {
                    return Err(Error::arity("hsetex"));
                }
                let n = args.int_in(1, i64::from(i32::MAX), Error::new("ERR invalid number of fields"))?;
                if usize::try_from(n * 2).ok() != Some(args.left()) {
                    return Err(Error::arity("hsetex"));
                }
                set.pairs = args.take_rest();
                return Ok(set);
            }
            let is_time = ["ex", "px", "exat", "pxat", "keepttl"].iter().any(|word| is_word(args, word));
            // A second time is refused for what it is, before its number is read.
            if is_time && (set.at.is_some() || set.keep) {
                return Err(Error::new(
                    "ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified",
                ));
            }
            if args.word("keepttl") {
                set.keep = true;
                continue;
            }
            set.at = set.at.or(expiration(ctx, args)?);
            if args.position() == before {
                return Err(match args.peek() {
                    Some(word) => Error::text(format!("ERR unknown argument: {}", error::clip(word, 128))),
                    None => Error::new("ERR missing FIELDS argument"),
                });
            }
        }
    }
}

fn hsetex(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let set = SetEx::parse(ctx, args)?;
    if set.present.is_some() {
        let names: Vec<&[u8]> = set.pairs.iter().step_by(2).copied().collect();
        sweep_named(ctx, &key, &names)?;
    }
    let hash = ctx.peek_as::<Hash>(&key)?;
    let there = |pair: &[&[u8]]| hash.is_some_and(|hash| hash.get(pair[0]).is_some());
    if set.present.is_some_and(|want| set.pairs.chunks_exact(2).any(|pair| there(pair) != want)) {
        out.flag(false);
        return Ok(());
    }
    let (limits, seed) = (ctx.limits(), ctx.seed());
    let over = set.at.is_some_and(|at| is_over(ctx, at));
    let hash = ctx.create::<Hash>(&key)?;
    if over {
        hash.allow_expiry();
    }
    for pair in set.pairs.chunks_exact(2) {
        hash.set(pair[0], pair[1], set.keep, &limits, seed);
        match set.at {
            Some(_) if over => {
                hash.remove(pair[0]);
            }
            Some(at) => {
                hash.expire_field(pair[0], at);
            }
            None => {}
        }
    }
    let n = set.pairs.len() as u64 / 2;
    ctx.changed_by(n, &key, event::HASH, "hset");
    if over {
        let names: Vec<&[u8]> = set.pairs.iter().step_by(2).copied().collect();
        Touched { removed: names, ..Touched::default() }.report(ctx, &key, 0);
    } else if let Some(at) = set.at {
        let (time, count) = (at.to_string(), n.to_string());
        let head: [&[u8]; 6] = [b"HSETEX", key.name, b"PXAT", time.as_bytes(), b"FIELDS", count.as_bytes()];
        ctx.propagate_as(&[&head, set.pairs].concat());
        ctx.notify(&key, event::HASH, "hexpire");
        ctx.fields_will_expire(&key);
    }
    out.flag(true);
    Ok(())
}
