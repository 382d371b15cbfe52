//! When does a key go away? Setting, reading and removing its expiry.

use crate::commands::prelude::*;
use crate::util::number;

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    Command::new("expire", expire)
        .arity(-3)
        .flags(WRITE | FAST)
        .acl(KEYSPACE)
        .keys(&[one(RW | UPDATE, 1)])
        .doc(
            "generic",
            "1.0.0",
            "O(1)",
            "Lets a key expire after some seconds.",
            "key:key@0 seconds:int [condition(NX | XX | GT | LT)^7.0.0]",
        ),
    Command::new("pexpire", pexpire)
        .arity(-3)
        .flags(WRITE | FAST)
        .acl(KEYSPACE)
        .keys(&[one(RW | UPDATE, 1)])
        .doc(
            "generic",
            "2.6.0",
            "O(1)",
            "Lets a key expire after some milliseconds.",
            "key:key@0 milliseconds:int [condition(NX | XX | GT | LT)^7.0.0]",
        ),
    Command::new("expireat", expireat)
        .arity(-3)
        .flags(WRITE | FAST)
        .acl(KEYSPACE)
        .keys(&[one(RW | UPDATE, 1)])
        .doc(
            "generic",
            "1.2.0",
            "O(1)",
            "Lets a key expire at a unix time in seconds.",
            "key:key@0 unix-time-seconds:time [condition(NX | XX | GT | LT)^7.0.0]",
        ),
    Command::new("pexpireat", pexpireat)
        .arity(-3)
        .flags(WRITE | FAST)
        .acl(KEYSPACE)
        .keys(&[one(RW | UPDATE, 1)])
        .doc(
            "generic",
            "2.6.0",
            "O(1)",
            "Lets a key expire at a unix time in milliseconds.",
            "key:key@0 unix-time-milliseconds:time [condition(NX | XX | GT | LT)^7.0.0]",
        ),
    Command::new("ttl", ttl)
        .arity(2)
        .flags(READONLY | FAST)
        .acl(KEYSPACE)
        .keys(&[one(RO | ACCESS, 1)])
        .tips(&["nondeterministic_output"])
        .doc("generic", "1.0.0", "O(1)", "Gets the seconds that a key has left.", "key:key@0"),
    Command::new("pttl", pttl)
        .arity(2)
        .flags(READONLY | FAST)
        .acl(KEYSPACE)
        .keys(&[one(RO | ACCESS, 1)])
        .tips(&["nondeterministic_output"])
        .doc("generic", "2.6.0", "O(1)", "Gets the milliseconds that a key has left.", "key:key@0"),
    Command::new("expiretime", expiretime)
        .arity(2)
        .flags(READONLY | FAST)
        .acl(KEYSPACE)
        .keys(&[one(RO | ACCESS, 1)])
        .doc(
            "generic",
            "7.0.0",
            "O(1)",
            "Gets the unix time in seconds at which a key expires.",
            "key:key@0",
        ),
    Command::new("pexpiretime", pexpiretime)
        .arity(2)
        .flags(READONLY | FAST)
        .acl(KEYSPACE)
        .keys(&[one(RO | ACCESS, 1)])
        .doc(
            "generic",
            "7.0.0",
            "O(1)",
            "Gets the unix time in milliseconds at which a key expires.",
            "key:key@0",
        ),
    Command::new("persist", persist)
        .arity(2)
        .flags(WRITE | FAST)
        .acl(KEYSPACE)
        .keys(&[one(RW | UPDATE, 1)])
        .doc("generic", "2.2.0", "O(1)", "Takes the expiry off a key.", "key:key@0"),
];

/// How a command expresses a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Seconds from now.
    Seconds,
    /// Milliseconds from now.
    Millis,
    /// Unix time in seconds.
    UnixSeconds,
    /// Unix time in milliseconds.
    UnixMillis,
}

impl Unit {
    /// True when it counts from a moment that has a name.
    pub(crate) fn is_date(self) -> bool {
        matches!(self, Unit::UnixSeconds | Unit::UnixMillis)
    }
}

/// The unix time in milliseconds that `n` means, not checked for being positive; `None` outside 64 bits.
fn absolute(ctx: &Ctx<'_>, n: i64, unit: Unit) -> Option<i64> {
    let now = i64::try_from(ctx.now_ms()).ok()?;
    match unit {
        Unit::Seconds => n.checked_mul(1000)?.checked_add(now),
        Unit::Millis => n.checked_add(now),
        Unit::UnixSeconds => n.checked_mul(1000),
        Unit::UnixMillis => Some(n),
    }
}

/// A time option of SET and its kin as unix milliseconds; it must be positive.
pub(crate) fn deadline(ctx: &Ctx<'_>, text: &[u8], unit: Unit, name: &str) -> Result<u64> {
    let n = number::parse_i64(text).ok_or(error::NOT_INTEGER)?;
    if n <= 0 {
        return Err(Error::invalid_expire(name));
    }
    absolute(ctx, n, unit).and_then(|at| u64::try_from(at).ok()).ok_or_else(|| Error::invalid_expire(name))
}

/// The conditions NX, XX, GT and LT.
#[derive(Debug, Default, Clone, Copy)]
struct Conditions {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Conditions {
    fn parse(args: &mut Args<'_>) -> Result<Self> {
        let mut c = Conditions::default();
        while let Some(word) = args.maybe() {
            match word.to_ascii_uppercase().as_slice() {
                b"NX" => c.nx = true,
                b"XX" => c.xx = true,
                b"GT" => c.gt = true,
                b"LT" => c.lt = true,
                _ => return Err(Error::text(format!("ERR Unsupported option {}", error::clip(word, 128)))),
            }
        }
        if c.nx && (c.xx || c.gt || c.lt) {
            return Err(Error::new("ERR NX and XX, GT or LT options at the same time are not compatible"));
        }
        if c.gt && c.lt {
            return Err(Error::new("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(c)
    }

    /// True when a key that expires at `old` may be given `new`. Without an expiry a key lives for ever.
    fn admit(self, old: Option<u64>, new: i64) -> bool {
        let old = old.map(|at| i64::try_from(at).unwrap_or(i64::MAX));
        !(self.nx && old.is_some()
            || self.xx && old.is_none()
            || self.gt && old.is_none_or(|old| new <= old)
            || self.lt && old.is_some_and(|old| new >= old))
    }
}

fn expire(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    set_expiry(ctx, args, Unit::Seconds, "expire", out)
}

fn pexpire(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    set_expiry(ctx, args, Unit::Millis, "pexpire", out)
}

fn expireat(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    set_expiry(ctx, args, Unit::UnixSeconds, "expireat", out)
}

fn pexpireat(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    set_expiry(ctx, args, Unit::UnixMillis, "pexpireat", out)
}

fn set_expiry(ctx: &mut Ctx<'_>, args: &mut Args<'_>, unit: Unit, name: &str, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let time = args.next()?;
    let conditions = Conditions::parse(args)?;
    let n = number::parse_i64(time).ok_or(error::NOT_INTEGER)?;
    let at = absolute(ctx, n, unit).ok_or_else(|| Error::invalid_expire(name))?;
    let Some(old) = ctx.expiry(&key) else {
        out.flag(false);
        return Ok(());
    };
    if !conditions.admit(old, at) {
        out.flag(false);
        return Ok(());
    }
    let now = i64::try_from(ctx.now_ms()).unwrap_or(i64::MAX);
    if at <= now && ctx.mode != Mode::Replay {
        ctx.remove(&key);
        ctx.changed(&key, event::GENERIC, "del");
        let del: &[u8] = if ctx.config().lazyfree_lazy_expire { b"UNLINK" } else { b"DEL" };
        ctx.propagate_as(&[del, key.name]);
    } else {
        let at = u64::try_from(at).unwrap_or(0);
        ctx.set_expiry(&key, Some(at));
        if unit.is_date() {
            ctx.date_expiry(&key);
        }
        ctx.changed(&key, event::GENERIC, "expire");
        if unit != Unit::UnixMillis {
            let at = at.to_string();
            let mut argv = args.argv().to_vec();
            (argv[0], argv[2]) = (b"PEXPIREAT", at.as_bytes());
            ctx.propagate_as(&argv);
        }
    }
    out.flag(true);
    Ok(())
}

fn ttl(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    reply_expiry(ctx, args, out, |at, now| (at.saturating_sub(now) + 500) / 1000)
}

fn pttl(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    reply_expiry(ctx, args, out, |at, now| at.saturating_sub(now))
}

fn expiretime(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    reply_expiry(ctx, args, out, |at, _| (at + 500) / 1000)
}

fn pexpiretime(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    reply_expiry(ctx, args, out, |at, _| at)
}

/// -2 for a missing key, -1 for one without expiry, otherwise what `show` makes of the expiry and the time.
fn reply_expiry(
    ctx: &mut Ctx<'_>,
    args: &mut Args<'_>,
    out: &mut Reply<'_>,
    show: fn(u64, u64) -> u64,
) -> Result {
    let key = ctx.key(args.next()?);
    let now = ctx.now_ms();
    match ctx.expiry(&key) {
        None => out.int(-2),
        Some(None) => out.int(-1),
        Some(Some(at)) => out.int(i64::try_from(show(at, now)).unwrap_or(i64::MAX)),
    }
    Ok(())
}

fn persist(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let had = ctx.expiry(&key).flatten().is_some();
    if had {
        ctx.set_expiry(&key, None);
        ctx.changed(&key, event::GENERIC, "persist");
    }
    out.flag(had);
    Ok(())
}
