//! What do tests of the server need? DEBUG, which no program should.

use crate::commands::prelude::*;
use crate::persist::load;
use crate::util::number;
use std::time::Duration;

/// The family's rows.
pub const COMMANDS: &[Command] = &[Command::new("debug", debug)
    .arity(-2)
    .flags(ADMIN | NOSCRIPT | LOADING | STALE)
    .lock(Lock::All)
    .doc("server", "1.0.0", "Depends on subcommand.", "For testing the server.", "")
    .syscmd()];

type Sub = fn(&mut Ctx<'_>, &mut Args<'_>, &mut Reply<'_>) -> Result;

/// The subcommands, which COMMAND does not list.
const SUBCOMMANDS: &[(&str, Sub)] = &[
    ("sleep", sleep),
    ("jmap", accepted),
    ("set-active-expire", set_active_expire),
    ("quicklist-packed-threshold", accepted),
    ("set-disable-deny-scripts", accepted),
    ("replybuffer", accepted),
    ("dict-resizing", accepted),
    ("listpack", accepted),
    ("object", object),
    ("reload", reload),
    ("loadaof", loadaof),
    ("stringmatch-len", stringmatch_len),
    ("log", log),
];

fn debug(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    if !ctx.config().enable_debug_command.allows(ctx.session.client.is_local()) {
        return Err(Error::new(
            "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it \
             from a local connection, otherwise you need to set this option in the configuration file, and then \
             restart the server.",
        ));
    }
    let name = args.next()?;
    match SUBCOMMANDS.iter().find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes())) {
        Some((_, run)) => run(ctx, args, out),
        None => Err(Error::unknown_subcommand("debug", name)),
    }
}

/// Nothing to do here, and nothing to see.
fn accepted(_: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    out.ok();
    Ok(())
}

fn sleep(_: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let seconds = number::parse_f64(args.next()?).filter(|s| s.is_finite() && *s >= 0.0).unwrap_or(0.0);
    std::thread::sleep(Duration::from_secs_f64(seconds.min(3600.0)));
    out.ok();
    Ok(())
}

fn set_active_expire(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let on = args.int()? != 0;
    ctx.core.active_expire.store(on, std::sync::atomic::Ordering::Relaxed);
    out.ok();
    Ok(())
}

fn object(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let slot = ctx.slot(&key).ok_or(error::NO_SUCH_KEY)?;
    let encoding = crate::commands::prelude::encoding(&slot);
    out.simple(&format!(
        "Value at:0x7f0000000000 refcount:1 encoding:{encoding} serializedlength:{} lru:{} lru_seconds_idle:0",
        slot.memory(),
        slot.lru(),
    ));
    Ok(())
}

/// RELOAD [NOSAVE] [NOFLUSH] [MERGE]: saves, empties and loads again, or parts of that.
fn reload(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let (mut save, mut flush, mut merge) = (true, true, false);
    while args.left() > 0 {
        if args.word("merge") {
            merge = true;
        } else if args.word("noflush") {
            flush = false;
        } else if args.word("nosave") {
            save = false;
        } else {
            return Err(Error::new("ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options."));
        }
    }
    let world = ctx.core.world();
    load::reload(world, &mut ctx.locks, save, flush, merge)
        .map_err(|_| Error::new("ERR Error trying to load the RDB dump, check server logs."))?;
    tracing::warn!("DB reloaded by DEBUG RELOAD");
    out.ok();
    Ok(())
}

/// LOADAOF: empties and loads the append-only file.
fn loadaof(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    crate::boot::reload_append_only(ctx)
        .map_err(|_| Error::new("ERR Error trying to load the AOF files, check server logs."))?;
    tracing::warn!("Append Only File loaded by DEBUG LOADAOF");
    out.ok();
    Ok(())
}

fn stringmatch_len(_: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let n = usize::try_from(args.int()?).unwrap_or(0).min(1 << 24);
    let pattern = args.next()?;
    out.flag(crate::util::glob::matches(pattern, &vec![b'a'; n], false));
    Ok(())
}

fn log(_: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    tracing::warn!("DEBUG LOG: {}", String::from_utf8_lossy(args.next()?));
    out.ok();
    Ok(())
}
