//! What can be done with strings? GET and SET and their kin, counters, parts of strings.

use crate::commands::expire::{self, Unit};
use crate::commands::prelude::*;
use crate::commands::strings_compare::Compare;
use crate::dispatch::access::{Expiry, Text, text};
use crate::util::lcs::{self, Lcs, LcsError};
use crate::util::number::LongDouble;

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    Command::new("append", append).arity(3).flags(WRITE | DENYOOM | FAST).acl(STRING).keys(&[one(RW | INSERT, 1)]).doc("string", "2.0.0", "O(1). The amortized time complexity is O(1) assuming the appended value is small and the already present value is of any size, since the dynamic string library used by Redis will double the free space available on every reallocation.", "Adds bytes to the end of a string, creating it if need be.", "key:key@0 value:str"),
    Command::new("decr", decr).arity(2).flags(WRITE | DENYOOM | FAST).acl(STRING).keys(&[one(RW | ACCESS | UPDATE, 1)]).doc("string", "1.0.0", "O(1)", "Subtracts one from an integer; a missing key counts as 0.", "key:key@0"),
    Command::new("decrby", decrby).arity(3).flags(WRITE | DENYOOM | FAST).acl(STRING).keys(&[one(RW | ACCESS | UPDATE, 1)]).doc("string", "1.0.0", "O(1)", "Subtracts a number from an integer; a missing key counts as 0.", "key:key@0 decrement:int"),
    Command::new("get", get).arity(2).flags(READONLY | FAST).acl(STRING).keys(&[one(RO | ACCESS, 1)]).doc("string", "1.0.0", "O(1)", "Gets the string at a key.", "key:key@0"),
    Command::new("getdel", getdel).arity(2).flags(WRITE | FAST).acl(STRING).keys(&[one(RW | ACCESS | DELETE, 1)]).doc("string", "6.2.0", "O(1)", "Gets the string at a key and deletes the key.", "key:key@0"),
    Command::new("getex", getex).arity(-2).flags(WRITE | FAST).acl(STRING).keys(&[one(RW | ACCESS | UPDATE, 1)]).doc("string", "6.2.0", "O(1)", "Gets the string at a key and changes when it expires.", "key:key@0 [expiration(EX seconds:int | PX milliseconds:int | EXAT unix-time-seconds:time | PXAT unix-time-milliseconds:time | PERSIST)]"),
    Command::new("getrange", getrange).arity(4).flags(READONLY).acl(STRING).keys(&[one(RO | ACCESS, 1)]).doc("string", "2.4.0", "O(N) where N is the length of the returned string. The complexity is ultimately determined by the returned length, but because creating a substring from an existing string is very cheap, it can be considered O(1) for small strings.", "Gets a part of a string.", "key:key@0 start:int end:int"),
    Command::new("getset", getset).arity(3).flags(WRITE | DENYOOM | FAST).acl(STRING).keys(&[one(RW | ACCESS | UPDATE, 1)]).doc("string", "1.0.0", "O(1)", "Sets a string and gets the one that was there.", "key:key@0 value:str").deprecated("6.2.0", "`SET` with the `!GET` argument"),
    Command::new("incr", incr).arity(2).flags(WRITE | DENYOOM | FAST).acl(STRING).keys(&[one(RW | ACCESS | UPDATE, 1)]).doc("string", "1.0.0", "O(1)", "Adds one to an integer; a missing key counts as 0.", "key:key@0"),
    Command::new("incrby", incrby).arity(3).flags(WRITE | DENYOOM | FAST).acl(STRING).keys(&[one(RW | ACCESS | UPDATE, 1)]).doc("string", "1.0.0", "O(1)", "Adds a number to an integer; a missing key counts as 0.", "key:key@0 increment:int"),
    Command::new("incrbyfloat", incrbyfloat).arity(3).flags(WRITE | DENYOOM | FAST).acl(STRING).keys(&[one(RW | ACCESS | UPDATE, 1)]).doc("string", "2.6.0", "O(1)", "Adds a floating-point number to a number; a missing key counts as 0.", "key:key@0 increment:dbl"),
    Command::new("lcs", lcs).arity(-3).flags(READONLY).acl(STRING).keys(&[range(RO | ACCESS, 1, 1, 1)]).doc("string", "7.0.0", "O(N*M) for strings of N and M bytes", "Finds the longest common subsequence of two strings.", "key1:key@0 key2:key@0 [LEN] [IDX] [MINMATCHLEN min-match-len:int] [WITHMATCHLEN]"),
    Command::new("mget", mget).arity(-2).flags(READONLY | FAST).acl(STRING).keys(&[range(RO | ACCESS, 1, -1, 1)]).tips(&["request_policy:multi_shard"]).doc("string", "1.0.0", "O(N) where N is the number of keys to retrieve.", "Gets the strings at several keys at once.", "key:key@0..."),
    Command::new("mset", mset).arity(-3).flags(WRITE | DENYOOM).acl(STRING).keys(&[range(OW | UPDATE, 1, -1, 2)]).tips(&["request_policy:multi_shard", "response_policy:all_succeeded"]).doc("string", "1.0.1", "O(N) where N is the number of keys to set.", "Sets several strings at once.", "data{key:key@0 value:str}..."),
    Command::new("msetnx", msetnx).arity(-3).flags(WRITE | DENYOOM).acl(STRING).keys(&[range(OW | INSERT, 1, -1, 2)]).doc("string", "1.0.1", "O(N) where N is the number of keys to set.", "Sets several strings at once, unless one of the keys exists.", "data{key:key@0 value:str}..."),
    Command::new("psetex", psetex).arity(4).flags(WRITE | DENYOOM).acl(STRING).keys(&[one(OW | UPDATE, 1)]).doc("string", "2.6.0", "O(1)", "Sets a string that expires after some milliseconds.", "key:key@0 milliseconds:int value:str").deprecated("2.6.12", "`SET` with the `PX` argument"),
    Command::new("set", set).arity(-3).flags(WRITE | DENYOOM).acl(STRING).keys(&[one(RW | ACCESS | UPDATE | VARIABLE_FLAGS, 1)]).key_flags(set_flags).doc("string", "1.0.0", "O(1)", "Sets a string, whatever the key held before.", "key:key@0 value:str [condition(NX | XX)^2.6.12] [GET^6.2.0] [expiration(EX seconds:int^2.6.12 | PX milliseconds:int^2.6.12 | EXAT unix-time-seconds:time^6.2.0 | PXAT unix-time-milliseconds:time^6.2.0 | KEEPTTL^6.0.0)]"),
    Command::new("setex", setex).arity(4).flags(WRITE | DENYOOM).acl(STRING).keys(&[one(OW | UPDATE, 1)]).doc("string", "2.0.0", "O(1)", "Sets a string that expires after some seconds.", "key:key@0 seconds:int value:str").deprecated("2.6.12", "`SET` with the `EX` argument"),
    Command::new("setnx", setnx).arity(3).flags(WRITE | DENYOOM | FAST).acl(STRING).keys(&[one(OW | INSERT, 1)]).doc("string", "1.0.0", "O(1)", "Sets a string unless the key exists.", "key:key@0 value:str").deprecated("2.6.12", "`SET` with the `NX` argument"),
    Command::new("setrange", setrange).arity(4).flags(WRITE | DENYOOM).acl(STRING).keys(&[one(RW | UPDATE, 1)]).doc("string", "2.2.0", "O(1), not counting the time taken to copy the new string in place. Usually, this string is very small so the amortized complexity is O(1). Otherwise, complexity is O(M) with M being the length of the value argument.", "Overwrites a part of a string from an offset on.", "key:key@0 offset:int value:str"),
    Command::new("strlen", strlen).arity(2).flags(READONLY | FAST).acl(STRING).keys(&[one(RO, 1)]).doc("string", "2.2.0", "O(1)", "Gets the length of a string.", "key:key@0"),
    Command::new("substr", substr).arity(4).flags(READONLY).acl(STRING).keys(&[one(RO | ACCESS, 1)]).doc("string", "1.0.0", "O(N) where N is the length of the returned string. The complexity is ultimately determined by the returned length, but because creating a substring from an existing string is very cheap, it can be considered O(1) for small strings.", "Gets a part of a string.", "key:key@0 start:int end:int").deprecated("2.0.0", "`GETRANGE`"),
];

/// Refuses a string that would exceed `proto-max-bulk-len`.
pub(crate) fn check_length(ctx: &Ctx<'_>, len: Option<usize>) -> Result {
    let max = ctx.config().proto_max_bulk_len;
    match len {
        Some(len) if len <= max => Ok(()),
        _ => Err(error::STRING_TOO_LONG),
    }
}

fn reply_text(out: &mut Reply<'_>, text: Option<Text<'_>>) {
    match text {
        None => out.null(),
        Some(Text::Bytes(bytes)) => out.bulk(bytes),
        Some(Text::Int(n)) => out.bulk_int(n),
    }
}

fn append(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let tail = args.next()?;
    let old = ctx.string_for_update(&key)?.map(|t| t.len());
    let Some(old) = old else {
        ctx.set_string(&key, tail, Expiry::Clear);
        ctx.changed(&key, event::STRING, "append");
        out.len(tail.len());
        return Ok(());
    };
    check_length(ctx, old.checked_add(tail.len()))?;
    ctx.string_buffer(&key)?.extend_from_slice(tail);
    ctx.changed(&key, event::STRING, "append");
    out.len(old + tail.len());
    Ok(())
}

fn decr(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    add(ctx, args.next()?, -1, "decrby", out)
}

fn decrby(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = args.next()?;
    let by = args.int()?.checked_neg().ok_or(Error::new("ERR decrement would overflow"))?;
    add(ctx, key, by, "decrby", out)
}

fn incr(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    add(ctx, args.next()?, 1, "incrby", out)
}

fn incrby(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = args.next()?;
    let by = args.int()?;
    add(ctx, key, by, "incrby", out)
}

fn add(ctx: &mut Ctx<'_>, name: &[u8], by: i64, event: &'static str, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(name);
    let old = match ctx.string_for_update(&key)? {
        None => 0,
        Some(text) => text.int().ok_or(error::NOT_INTEGER)?,
    };
    let new = old.checked_add(by).ok_or(error::OVERFLOW)?;
    ctx.update_int(&key, new);
    ctx.changed(&key, event::STRING, event);
    out.int(new);
    Ok(())
}

fn incrbyfloat(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let old = match ctx.string_for_update(&key)? {
        None => LongDouble::from(0),
        Some(text) => LongDouble::parse(&text.to_vec()).ok_or(error::NOT_FLOAT)?,
    };
    let by = LongDouble::parse(args.next()?).ok_or(error::NOT_FLOAT)?;
    let sum = old + by;
    if !sum.is_finite() {
        return Err(error::NAN_OR_INFINITY);
    }
    let text = sum.format();
    ctx.update_string(&key, &text);
    ctx.changed(&key, event::STRING, "incrbyfloat");
    // Replayed as its result, since other machines may round differently.
    ctx.propagate_as(&[b"SET", key.name, &text, b"KEEPTTL"]);
    out.bulk(&text);
    Ok(())
}

fn get(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    reply_text(out, ctx.string(&key)?);
    Ok(())
}

fn getdel(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let Some(text) = ctx.string(&key)? else {
        out.null();
        return Ok(());
    };
    reply_text(out, Some(text));
    ctx.remove(&key);
    ctx.changed(&key, event::GENERIC, "del");
    ctx.propagate_as(&[b"DEL", key.name]);
    Ok(())
}

fn getset(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let value = args.next()?;
    reply_text(out, ctx.string(&key)?);
    ctx.set_string(&key, value, Expiry::Clear);
    ctx.changed(&key, event::STRING, "set");
    ctx.propagate_as(&[b"SET", key.name, value]);
    Ok(())
}

fn getex(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let asked = options(args, false)?.asked;
    let Some(text) = ctx.string(&key)? else {
        out.null();
        return Ok(());
    };
    reply_text(out, Some(text));
    match asked.expiry(ctx, "getex")? {
        Some(Expiry::At(at)) if at <= ctx.now_ms() => {
            ctx.remove(&key);
            ctx.changed(&key, event::GENERIC, "del");
            ctx.propagate_as(&[b"DEL", key.name]);
        }
        Some(Expiry::At(at)) => {
            ctx.set_expiry(&key, Some(at));
            asked.note_date(ctx, &key);
            ctx.changed(&key, event::GENERIC, "expire");
            ctx.propagate_as(&[b"PEXPIREAT", key.name, at.to_string().as_bytes()]);
        }
        Some(Expiry::Clear) if ctx.expiry(&key) != Some(None) => {
            ctx.set_expiry(&key, None);
            ctx.changed(&key, event::GENERIC, "persist");
            ctx.propagate_as(&[b"PERSIST", key.name]);
        }
        _ => {}
    }
    Ok(())
}

/// What SET and GETEX are told about the expiry.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked<'a> {
    /// Nothing.
    #[default]
    Nothing,
    /// KEEPTTL
    Keep,
    /// PERSIST
    Clear,
    /// A time, not looked at yet.
    Time(Unit, &'a [u8]),
}

impl Asked<'_> {
    /// To be called when the key has its expiry.
    pub(super) fn note_date(self, ctx: &mut Ctx<'_>, key: &Key<'_>) {
        if matches!(self, Asked::Time(unit, _) if unit.is_date()) {
            ctx.date_expiry(key);
        }
    }

    pub(super) fn expiry(self, ctx: &Ctx<'_>, name: &str) -> Result<Option<Expiry>> {
        Ok(match self {
            Asked::Nothing => None,
            Asked::Keep => Some(Expiry::Keep),
            Asked::Clear => Some(Expiry::Clear),
            Asked::Time(unit, text) => Some(Expiry::At(expire::deadline(ctx, text, unit, name)?)),
        })
    }
}

/// The options of SET, MSETEX and GETEX.
#[derive(Default)]
pub(super) struct Options<'a> {
    pub nx: bool,
    pub xx: bool,
    pub get: bool,
    pub compare: Option<Compare<'a>>,
    pub asked: Asked<'a>,
}

/// Reads the options of SET, or of GETEX (`for_set` false), which knows PERSIST instead of KEEPTTL. An option may be
/// repeated, the last time counts.
pub(super) fn options<'a>(args: &mut Args<'a>, for_set: bool) -> Result<Options<'a>> {
    let mut o = Options::default();
    while args.left() > 0 {
        if for_set && !o.xx && o.compare.is_none() && args.word("NX") {
            o.nx = true;
        } else if for_set && !o.nx && o.compare.is_none() && args.word("XX") {
            o.xx = true;
        } else if for_set
            && !(o.nx || o.xx || o.compare.is_some())
            && let Some(compare) = Compare::parse(args)?
        {
            o.compare = Some(compare);
        } else if for_set && args.word("GET") {
            o.get = true;
        } else if for_set && matches!(o.asked, Asked::Nothing | Asked::Keep) && args.word("KEEPTTL") {
            o.asked = Asked::Keep;
        } else if !for_set && matches!(o.asked, Asked::Nothing | Asked::Clear) && args.word("PERSIST") {
            o.asked = Asked::Clear;
        } else if let Some(unit) = unit(args)
            && match o.asked {
                Asked::Nothing => true,
                Asked::Time(before, _) => before == unit,
                _ => false,
            }
        {
            o.asked = Asked::Time(unit, args.next()?);
        } else {
            return Err(error::SYNTAX);
        }
    }
    Ok(o)
}

fn unit(args: &mut Args<'_>) -> Option<Unit> {
    // A unit without its number is no option.
    if args.left() < 2 {
        return None;
    }
    [("EX", Unit::Seconds), ("PX", Unit::Millis), ("EXAT", Unit::UnixSeconds), ("PXAT", Unit::UnixMillis)]
        .into_iter()
        .find_map(|(word, unit)| args.word(word).then_some(unit))
}

/// SET that neither gets nor compares does not need to be allowed to read.
fn set_flags(argv: &[&[u8]]) -> u16 {
    let options = || argv.iter().skip(3);
    if options().any(|word| word.eq_ignore_ascii_case(b"get")) {
        RW | ACCESS | UPDATE
    } else if options().any(|word| Compare::word(word).is_some()) {
        RW | UPDATE
    } else {
        OW | UPDATE
    }
}

fn set(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let value = args.next()?;
    if args.left() == 0 {
        ctx.set_string(&key, value, Expiry::Clear);
        ctx.changed(&key, event::STRING, "set");
        out.ok();
        return Ok(());
    }
    let options = options(args, true)?;
    set_with(ctx, &key, value, &options, args.argv(), out)
}

fn set_with(
    ctx: &mut Ctx<'_>,
    key: &Key<'_>,
    value: &[u8],
    o: &Options<'_>,
    argv: &[&[u8]],
    out: &mut Reply<'_>,
) -> Result {
    let expiry = o.asked.expiry(ctx, "set")?.unwrap_or(Expiry::Clear);
    let existed = if o.get {
        let old = ctx.string(key)?;
        let existed = old.is_some();
        reply_text(out, old);
        existed
    } else if o.nx || o.xx {
        ctx.exists(key)
    } else {
        false
    };
    let differs = match &o.compare {
        Some(compare) => !compare.holds(ctx.string(key)?)?,
        None => false,
    };
    if (o.nx && existed) || (o.xx && !existed) || differs {
        if !o.get {
            out.null();
        }
        return Ok(());
    }
    put(ctx, key, value, expiry);
    o.asked.note_date(ctx, key);
    match o.asked {
        // Whoever reads the log need not know how to compare.
        _ if o.compare.is_some() => match expiry {
            Expiry::Clear => ctx.propagate_as(&[b"SET", key.name, value]),
            Expiry::Keep => ctx.propagate_as(&[b"SET", key.name, value, b"KEEPTTL"]),
            Expiry::At(_) => log_absolute(ctx, key, value, expiry),
        },
        // The time is absolute as it was given.
        Asked::Time(Unit::UnixMillis, _) => {}
        Asked::Time(..) => log_absolute(ctx, key, value, expiry),
        _ if o.get => {
            let is_get = |(i, arg): &(usize, &&[u8])| *i > 2 && arg.eq_ignore_ascii_case(b"get");
            let plain = argv.iter().enumerate().filter(|arg| !is_get(arg)).map(|(_, arg)| *arg);
            ctx.propagate_as(&plain.collect::<Vec<_>>());
        }
        _ => {}
    }
    if !o.get {
        out.ok();
    }
    Ok(())
}

/// Sets a string with its events and what the log gets: an absolute time, as Redis does even when it is over already.
pub(super) fn store(ctx: &mut Ctx<'_>, key: &Key<'_>, value: &[u8], expiry: Expiry) {
    put(ctx, key, value, expiry);
    match expiry {
        Expiry::At(_) => log_absolute(ctx, key, value, expiry),
        Expiry::Keep => ctx.propagate_as(&[b"SET", key.name, value, b"KEEPTTL"]),
        Expiry::Clear => {}
    }
}

/// Sets a string with its events. A time that is over already makes a key that nobody will see, as in Redis.
fn put(ctx: &mut Ctx<'_>, key: &Key<'_>, value: &[u8], expiry: Expiry) {
    ctx.set_string(key, value, expiry);
    ctx.changed(key, event::STRING, "set");
    if let Expiry::At(_) = expiry {
        ctx.notify(key, event::GENERIC, "expire");
    }
}

/// The log gets an absolute time.
fn log_absolute(ctx: &mut Ctx<'_>, key: &Key<'_>, value: &[u8], expiry: Expiry) {
    if let Expiry::At(at) = expiry {
        ctx.propagate_as(&[b"SET", key.name, value, b"PXAT", at.to_string().as_bytes()]);
    }
}

fn setnx(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let value = args.next()?;
    let free = !ctx.exists(&key);
    if free {
        ctx.set_string(&key, value, Expiry::Clear);
        ctx.changed(&key, event::STRING, "set");
    }
    out.flag(free);
    Ok(())
}

fn setex(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    set_for(ctx, args, Unit::Seconds, "setex", out)
}

fn psetex(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    set_for(ctx, args, Unit::Millis, "psetex", out)
}

fn set_for(ctx: &mut Ctx<'_>, args: &mut Args<'_>, unit: Unit, name: &str, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let at = expire::deadline(ctx, args.next()?, unit, name)?;
    let value = args.next()?;
    store(ctx, &key, value, Expiry::At(at));
    out.ok();
    Ok(())
}

fn setrange(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let offset = args.int()?;
    let patch = args.next()?;
    let offset = usize::try_from(offset).map_err(|_| Error::new("ERR offset is out of range"))?;
    let old = ctx.string_for_update(&key)?.map(|t| t.len());
    if patch.is_empty() {
        out.len(old.unwrap_or(0));
        return Ok(());
    }
    let end = offset.checked_add(patch.len());
    check_length(ctx, end)?;
    let end = end.ok_or(error::STRING_TOO_LONG)?;
    let buffer = ctx.string_buffer(&key)?;
    if buffer.len() < end {
        buffer.resize(end, 0);
    }
    buffer[offset..end].copy_from_slice(patch);
    let len = buffer.len();
    ctx.changed(&key, event::STRING, "setrange");
    out.len(len);
    Ok(())
}

/// The part of `len` elements between two inclusive positions, which count from the end when negative.
pub(crate) fn span(start: i64, end: i64, len: usize) -> std::ops::Range<usize> {
    let n = i64::try_from(len).unwrap_or(i64::MAX);
    let at = |i: i64| if i < 0 { i.saturating_add(n) } else { i };
    if start < 0 && end < 0 && start > end {
        return 0..0;
    }
    let (first, last) = (at(start).max(0), at(end).max(0).min(n - 1));
    if len == 0 || first > last {
        return 0..0;
    }
    first as usize..last as usize + 1
}

fn getrange(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let (start, end) = (args.int()?, args.int()?);
    let text = ctx.string(&key)?.unwrap_or(Text::Bytes(b""));
    let mut digits = itoa::Buffer::new();
    let bytes = text.bytes(&mut digits);
    out.bulk(bytes.get(span(start, end, bytes.len())).unwrap_or_default());
    Ok(())
}

fn substr(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    getrange(ctx, args, out)
}

fn strlen(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let len = ctx.string(&key)?.map_or(0, |t| t.len());
    out.len(len);
    Ok(())
}

fn mget(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    out.array(args.left());
    for name in args.take_rest() {
        let key = ctx.key(name);
        // Keys of other types read as missing.
        match ctx.string(&key) {
            Ok(text) => reply_text(out, text),
            Err(_) => out.null(),
        }
    }
    Ok(())
}

/// The keys and values of MSET.
fn pairs<'a>(args: &mut Args<'a>, name: &str) -> Result<Vec<(&'a [u8], &'a [u8])>> {
    if !args.left().is_multiple_of(2) {
        return Err(Error::arity(name));
    }
    Ok(args.take_rest().chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}

fn set_pairs(ctx: &mut Ctx<'_>, pairs: &[(&[u8], &[u8])]) {
    for (name, value) in pairs {
        let key = ctx.key(name);
        ctx.set_string(&key, value, Expiry::Clear);
        ctx.changed(&key, event::STRING, "set");
    }
}

fn mset(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let pairs = pairs(args, "mset")?;
    set_pairs(ctx, &pairs);
    out.ok();
    Ok(())
}

fn msetnx(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let pairs = pairs(args, "msetnx")?;
    let free = !pairs.iter().any(|(name, _)| {
        let key = ctx.key(name);
        ctx.exists(&key)
    });
    if free {
        set_pairs(ctx, &pairs);
    }
    out.flag(free);
    Ok(())
}

/// What LCS is asked for.
#[derive(Default)]
struct LcsOptions {
    len: bool,
    idx: bool,
    with_len: bool,
    min_len: u64,
}

impl LcsOptions {
    fn parse(args: &mut Args<'_>) -> Result<LcsOptions> {
        let mut o = LcsOptions::default();
        while args.left() > 0 {
            if args.word("IDX") {
                o.idx = true;
            } else if args.word("LEN") {
                o.len = true;
            } else if args.word("WITHMATCHLEN") {
                o.with_len = true;
            } else if args.left() > 1 && args.word("MINMATCHLEN") {
                o.min_len = u64::try_from(args.int()?).unwrap_or(0);
            } else {
                return Err(error::SYNTAX);
            }
        }
        if o.len && o.idx {
            return Err(Error::new("ERR If you want both the length and indexes, please just use IDX."));
        }
        Ok(o)
    }
}

fn lcs(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let keys = [ctx.key(args.next()?), ctx.key(args.next()?)];
    let strings = keys.iter().all(|key| !matches!(ctx.view(key).map(text), Some(None)));
    if !strings {
        return Err(Error::new("ERR The specified keys must contain string values"));
    }
    let options = LcsOptions::parse(args)?;
    let limit = u64::try_from(ctx.config().proto_max_bulk_len).unwrap_or(u64::MAX);
    let empty = Text::Bytes(b"");
    let [a, b] = keys.each_ref().map(|key| ctx.seen(key).and_then(text).unwrap_or(empty));
    let (mut a_digits, mut b_digits) = (itoa::Buffer::new(), itoa::Buffer::new());
    let (a, b) = (a.bytes(&mut a_digits), b.bytes(&mut b_digits));
    if options.len {
        out.int(lcs::length(a, b, limit).map_err(lcs_error)?.into());
        return Ok(());
    }
    let lcs = Lcs::new(a, b, limit).map_err(lcs_error)?;
    if !options.idx {
        out.bulk(&lcs.subsequence());
        return Ok(());
    }
    let matches = lcs.matches(options.min_len);
    out.map(2);
    out.bulk(b"matches");
    out.array(matches.len());
    for run in matches {
        out.array(if options.with_len { 3 } else { 2 });
        for (first, last) in [run.a, run.b] {
            out.array(2);
            out.int(first.into());
            out.int(last.into());
        }
        if options.with_len {
            out.int(run.len().into());
        }
    }
    out.bulk(b"len");
    out.int(lcs.length().into());
    Ok(())
}

fn lcs_error(error: LcsError) -> Error {
    Error::new(match error {
        LcsError::TooLong => "ERR String too long for LCS",
        LcsError::ExceedsLimit => {
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len"
        }
        LcsError::NoMemory => "ERR Insufficient memory, failed allocating transient memory for LCS",
    })
}
