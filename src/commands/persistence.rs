//! How do clients have data saved, take single values out and put them in, and end the server?

use std::sync::atomic::Ordering;

use crate::commands::prelude::*;
use crate::config::values::OnSignal;
use crate::dispatch::ending;
use crate::keyspace::evict::lfu;
use crate::persist::aof::rewrite;
use crate::persist::rdb::decode::{self, Making};
use crate::persist::rdb::encode::Encoder;
use crate::persist::{Child, load, rdb, save as saving};

/// What RESTORE and RESTORE-ASKING take.
const RESTORE_SYNTAX: &str = "key:key@0 ttl:int serialized-value:str [REPLACE^3.0.0] [ABSTTL^5.0.0] \
     [IDLETIME seconds:int^5.0.0] [FREQ frequency:int^5.0.0]";

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    Command::new("save", save)
        .arity(1)
        .flags(ADMIN | NOSCRIPT | NO_ASYNC_LOADING | NO_MULTI)
        .lock(Lock::Walk)
        .doc(
            "server",
            "1.0.0",
            "O(N) where N is the total number of keys in all databases",
            "Saves all data to disk and waits for it.",
            "",
        ),
    Command::new("bgsave", bgsave)
        .arity(-1)
        .flags(ADMIN | NOSCRIPT | NO_ASYNC_LOADING)
        .lock(Lock::Walk)
        .doc("server", "1.0.0", "O(1)", "Saves all data to disk in the background.", "[SCHEDULE^3.2.2]"),
    Command::new("bgrewriteaof", bgrewriteaof)
        .arity(1)
        .flags(ADMIN | NOSCRIPT | NO_ASYNC_LOADING)
        .lock(Lock::Walk)
        .doc("server", "1.0.0", "O(1)", "Makes the append-only file anew, in the background.", ""),
    Command::new("lastsave", lastsave)
        .arity(1)
        .flags(LOADING | STALE | FAST)
        .acl(CAT_ADMIN | DANGEROUS)
        .tips(&["nondeterministic_output"])
        .doc("server", "1.0.0", "O(1)", "Tells when data was last saved, in unix seconds.", ""),
    Command::new("shutdown", shutdown)
        .arity(-1)
        .flags(ADMIN | NOSCRIPT | LOADING | STALE | NO_MULTI | ALLOW_BUSY)
        .doc(
            "server",
            "1.0.0",
            "O(N) when saving, where N is the total number of keys in all databases when saving data, otherwise O(1)",
            "Saves what is to be saved and ends the server.",
            "[save-selector(NOSAVE | SAVE)] [NOW^7.0.0] [FORCE^7.0.0] [ABORT^7.0.0]",
        ),
    Command::new("dump", dump)
        .arity(2)
        .flags(READONLY)
        .acl(KEYSPACE)
        .keys(&[one(RO | ACCESS, 1)])
        .tips(&["nondeterministic_output"])
        .doc(
            "generic",
            "2.6.0",
            "O(1) for the key and O(N*M) for its N elements of size M",
            "Gives a key's value in a form that RESTORE takes.",
            "key:key@0",
        ),
    Command::new("restore-asking", restore)
        .arity(-4)
        .flags(WRITE | DENYOOM | ASKING)
        .acl(KEYSPACE | DANGEROUS)
        .keys(&[one(OW | UPDATE, 1)])
        .doc("server", "3.0.0", "That of RESTORE", "RESTORE of a key whose slot is moving here.", RESTORE_SYNTAX)
        .syscmd(),
    Command::new("restore", restore)
        .arity(-4)
        .flags(WRITE | DENYOOM)
        .acl(KEYSPACE | DANGEROUS)
        .keys(&[one(OW | UPDATE, 1)])
        .doc(
            "generic",
            "2.6.0",
            "O(1) for the key and O(N*M) for its N elements of size M, O(N*M*log(N)) for sorted sets",
            "Makes a key from what DUMP gave.",
            RESTORE_SYNTAX,
        ),
];

/// Something failed that the server's log tells about.
const FAILED: Error = Error::new("ERR");
const SAVE_IN_PROGRESS: Error = Error::new("ERR Background save already in progress");

fn save(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    match saving::now(ctx.core.world()) {
        None => Err(SAVE_IN_PROGRESS),
        Some(Err(_)) => Err(FAILED),
        Some(Ok(())) => {
            out.ok();
            Ok(())
        }
    }
}

fn bgsave(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let schedule = args.word("schedule");
    args.end()?;
    let persist = &ctx.core.persist;
    let busy = persist.child();
    let may_wait = persist.saves_empty.load(Ordering::Acquire);
    if busy == Child::Rdb && !may_wait {
        return Err(SAVE_IN_PROGRESS);
    }
    let in_exec = ctx.mode != Mode::Direct;
    if in_exec || busy != Child::None {
        if !schedule && !in_exec && !may_wait {
            return Err(Error::new(
                "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order to schedule a BGSAVE whenever possible.",
            ));
        }
        persist.save_scheduled.store(true, Ordering::Release);
        out.simple("Background saving scheduled");
        return Ok(());
    }
    match saving::begin_background(ctx.core.world()) {
        Ok(true) => {
            out.simple("Background saving started");
            Ok(())
        }
        Ok(false) => Err(SAVE_IN_PROGRESS),
        Err(_) => Err(FAILED),
    }
}

fn bgrewriteaof(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let world = ctx.core.world();
    let persist = world.persist;
    if persist.child() == Child::Aof {
        return Err(Error::new("ERR Background append only file rewriting already in progress"));
    }
    if ctx.mode == Mode::Direct && persist.child() == Child::None {
        match rewrite::begin(world) {
            Ok(true) => {
                out.simple("Background append only file rewriting started");
                return Ok(());
            }
            Ok(false) => {}
            Err(_) => {
                return Err(Error::new(
                    "ERR Can't execute an AOF background rewriting. Please check the server logs for more information.",
                ));
            }
        }
    }
    rewrite::forgive(world);
    persist.aof.scheduled.store(true, Ordering::Release);
    out.simple("Background append only file rewriting scheduled");
    Ok(())
}

fn lastsave(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let at = ctx.core.persist.status.last_save.load(Ordering::Acquire);
    out.int(i64::try_from(at).unwrap_or(i64::MAX));
    Ok(())
}

/// The client reads the end of its connection instead of a reply, unless the server goes on after all.
fn shutdown(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let mut how = OnSignal::default();
    let mut abort = false;
    while args.left() > 0 {
        if args.word("nosave") {
            how.nosave = true;
        } else if args.word("save") {
            how.save = true;
        } else if args.word("now") {
            how.now = true;
        } else if args.word("force") {
            how.force = true;
        } else if args.word("abort") {
            abort = true;
        } else {
            return Err(error::SYNTAX);
        }
    }
    if (abort && how != OnSignal::default()) || (how.save && how.nosave) {
        return Err(error::SYNTAX);
    }
    if abort && ending::abort(ctx.core) {
        out.ok();
        return Ok(());
    }
    if abort {
        return Err(Error::new("ERR No shutdown in progress."));
    }
    // The data is in the middle of what an overdue script does: it cannot be saved.
    if let (false, Some(busy)) = (how.nosave, ctx.core.scripts.board.refusal()) {
        return Err(busy);
    }
    ctx.wait_until_ended(how);
    Ok(())
}

fn dump(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let compress = ctx.config().rdbcompression;
    match ctx.view(&key) {
        Some(view) => out.bulk(&Encoder::new(rdb::VERSION, compress).dump(&view)),
        None => out.null(),
    }
    Ok(())
}

/// RESTORE's options.
#[derive(Default)]
struct Options {
    replace: bool,
    absolute: bool,
    idle: Option<u64>,
    frequency: Option<u8>,
}

fn options(args: &mut Args<'_>) -> Result<Options> {
    let mut options = Options::default();
    while args.left() > 0 {
        if args.word("replace") {
            options.replace = true;
        } else if args.word("absttl") {
            options.absolute = true;
        } else if args.left() > 1 && options.frequency.is_none() && args.word("idletime") {
            let refusal = Error::new("ERR Invalid IDLETIME value, must be >= 0");
            options.idle = Some(u64::try_from(args.int()?).map_err(|_| refusal)?);
        } else if args.left() > 1 && options.idle.is_none() && args.word("freq") {
            let refusal = Error::new("ERR Invalid FREQ value, must be >= 0 and <= 255");
            options.frequency = Some(u8::try_from(args.int()?).map_err(|_| refusal)?);
        } else {
            return Err(error::SYNTAX);
        }
    }
    Ok(options)
}

fn restore(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let (key, ttl, payload) = (ctx.key(args.next()?), args.next()?, args.next()?);
    let options = options(args)?;
    if !options.replace && ctx.exists(&key) {
        return Err(Error::new("BUSYKEY Target key name already exists."));
    }
    let ttl = crate::util::number::parse_i64(ttl).ok_or(error::NOT_INTEGER)?;
    let ttl = u64::try_from(ttl).map_err(|_| Error::new("ERR Invalid TTL value, must be >= 0"))?;
    let Some(body) = decode::unseal(payload, ctx.core.persist.knobs.verifies_payloads()) else {
        return Err(Error::new("ERR DUMP payload version or checksum are wrong"));
    };
    let making = Making { limits: ctx.limits(), seed: ctx.seed() };
    let value = decode::payload(body, &making).map_err(|bad| {
        tracing::warn!("A payload of RESTORE is damaged: {bad}");
        Error::new("ERR Bad data format")
    })?;
    let removed = options.replace && ctx.remove(&key);
    let at = match ttl {
        0 => None,
        ttl if options.absolute => Some(ttl),
        // Beyond what a signed number holds, the end wraps around and is over, as in Redis.
        ttl => Some(ttl.saturating_add(ctx.now_ms())).filter(|at| i64::try_from(*at).is_ok()).or(Some(0)),
    };
    if at.is_some_and(|at| at <= ctx.now_ms()) && ctx.mode != Mode::Replay {
        if removed {
            let lazy = ctx.config().lazyfree_lazy_server_del;
            ctx.propagate_as(&[if lazy { &b"UNLINK"[..] } else { b"DEL" }, key.name]);
            ctx.changed(&key, event::GENERIC, "del");
        }
        out.ok();
        return Ok(());
    }
    let slot = load::slot(key.name, value, at);
    ctx.insert_slot(ctx.db(), &key, slot);
    mark_used(ctx, &key, &options);
    if let (Some(at), false) = (at, options.absolute) {
        let at = at.to_string();
        let mut argv = args.argv().to_vec();
        argv[2] = at.as_bytes();
        argv.push(b"ABSTTL");
        ctx.propagate_as(&argv);
    }
    ctx.changed(&key, event::GENERIC, "restore");
    out.ok();
    Ok(())
}

/// Gives a restored entry the access mark that was asked for.
fn mark_used(ctx: &mut Ctx<'_>, key: &Key<'_>, options: &Options) {
    let now = ctx.now_ms();
    let mark = match (options.idle, options.frequency, ctx.config().maxmemory_policy.counts_uses()) {
        (Some(seconds), _, false) => ((now / 1000) as u32).wrapping_sub(seconds as u32) & 0xff_ffff,
        (_, Some(counter), true) => lfu::fresh((now / 60_000) as u16) & !0xff | u32::from(counter),
        _ => return,
    };
    ctx.set_mark(key, mark);
}
