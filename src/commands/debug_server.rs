//! What do tests of the server do to the server itself? The subcommands of DEBUG that let it sleep, crash, restart.

use std::os::unix::process::CommandExt;
use std::process::Command as Process;
use std::time::Duration;

use crate::commands::debug::{ANY, Sub, sub};
use crate::commands::prelude::*;
use crate::config::rewrite::Defaults;
use crate::dispatch::crash;
use crate::persist::{Child, save};
use crate::util::number;

/// See `debug`.
pub(super) const SUBCOMMANDS: &[Sub] = &[
    sub("ASSERT", "", (0, 0), "Ends the process as a failed assertion does.", assert),
    sub("CONFIG-REWRITE-FORCE-ALL", "", (0, 0), "CONFIG REWRITE with every setting.", rewrite_all),
    sub("CRASH-AND-RECOVER", "[<milliseconds>]", (0, 1), "Starts anew without saving.", crash_and_recover),
    sub("ERROR", "<string>", (1, 1), "Answers an error.", error_reply),
    sub("LEAK", "<string>", (1, 1), "Loses memory.", leak),
    sub("LOG", "<message>", (1, 1), "Writes to the server's log.", log),
    sub("MALLCTL", "<key> [<value>]", (1, 2), "The allocator's settings are fixed here.", mallctl),
    sub("MALLCTL-STR", "<key> [<value>]", (1, 2), "The allocator's settings are fixed here.", mallctl),
    sub("OOM", "", (0, 0), "Ends the process as a failed allocation does.", oom),
    sub("PANIC", "", (0, 0), "Ends the process as a bug does.", panic),
    sub("RESTART", "[<milliseconds>]", (0, 1), "Saves all data and starts anew.", restart),
    sub("SCRIPT", "<LIST|<sha>>", (1, 1), "The text of a script.", script),
    sub("SEGFAULT", "", (0, 0), "Ends the process as a bad memory access does.", segfault),
    sub("SLEEP", "<seconds>", (1, 1), "Lets everybody wait.", sleep),
    sub(
        "STRINGMATCH-TEST",
        "",
        (0, ANY),
        "Matches texts with patterns that are hard to match.",
        stringmatch_test,
    ),
];

fn sleep(_: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let seconds = number::parse_f64(args.next()?).filter(|s| s.is_finite() && *s >= 0.0).unwrap_or(0.0);
    std::thread::sleep(Duration::from_secs_f64(seconds.min(3600.0)));
    out.ok();
    Ok(())
}

fn error_reply(_: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    out.error_bytes(args.next()?);
    Ok(())
}

fn log(_: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    tracing::warn!("DEBUG LOG: {}", String::from_utf8_lossy(args.next()?));
    out.ok();
    Ok(())
}

fn assert(ctx: &mut Ctx<'_>, args: &mut Args<'_>, _: &mut Reply<'_>) -> Result {
    crash::end(ctx.core, "=== ASSERTION FAILED === DEBUG ASSERT", &crash::command(ctx, args.argv()))
}

fn panic(ctx: &mut Ctx<'_>, args: &mut Args<'_>, _: &mut Reply<'_>) -> Result {
    crash::end(ctx.core, "DEBUG PANIC: a panic that was asked for", &crash::command(ctx, args.argv()))
}

fn oom(ctx: &mut Ctx<'_>, args: &mut Args<'_>, _: &mut Reply<'_>) -> Result {
    crash::end(ctx.core, "Out of memory: asked for by DEBUG OOM", &crash::command(ctx, args.argv()))
}

fn segfault(ctx: &mut Ctx<'_>, args: &mut Args<'_>, _: &mut Reply<'_>) -> Result {
    let command = crash::command(ctx, args.argv());
    crash::report(ctx.core, "Peregrine crashed by signal: 11, asked for by DEBUG SEGFAULT", &command);
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::SEGV);
    ctx.core.crash()
}

fn leak(_: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    std::mem::forget(args.next()?.to_vec());
    out.ok();
    Ok(())
}

fn mallctl(_: &mut Ctx<'_>, _: &mut Args<'_>, _: &mut Reply<'_>) -> Result {
    Err(Error::new("ERR The allocator's settings cannot be read or changed here"))
}

/// CONFIG REWRITE that mentions every setting.
fn rewrite_all(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    crate::commands::config::rewrite_as(ctx, Defaults::Write)?;
    out.ok();
    Ok(())
}

/// Sleeps, and replaces the process by a new one with the same arguments. The socket that the client waits at closes.
fn start_anew(ctx: &Ctx<'_>, ms: u64) -> Error {
    std::thread::sleep(Duration::from_millis(ms));
    tracing::warn!("DEBUG: the server starts anew");
    let mut arguments = std::env::args_os();
    let Some(program) = ctx.core.executable.clone().or_else(|| arguments.next().map(Into::into)) else {
        return Error::new("ERR failed to restart the server. Check server logs.");
    };
    let error = Process::new(program).args(std::env::args_os().skip(1)).exec();
    tracing::warn!("The server could not be started anew: {error}");
    Error::new("ERR failed to restart the server. Check server logs.")
}

fn delay(args: &mut Args<'_>) -> Result<u64> {
    if args.left() == 0 { Ok(0) } else { Ok(u64::try_from(args.int()?).unwrap_or(0)) }
}

fn crash_and_recover(ctx: &mut Ctx<'_>, args: &mut Args<'_>, _: &mut Reply<'_>) -> Result {
    let ms = delay(args)?;
    Err(start_anew(ctx, ms))
}

fn restart(ctx: &mut Ctx<'_>, args: &mut Args<'_>, _: &mut Reply<'_>) -> Result {
    let ms = delay(args)?;
    let world = ctx.core.world();
    if ctx.core.persist.child() != Child::None {
        return Err(Error::new("ERR failed to restart the server: a background save is in progress"));
    }
    let saved = ctx.core.persist.aof.finish(world).and_then(|()| save::under_locks(world, &mut ctx.locks));
    if let Err(error) = saved {
        tracing::warn!("The data could not be saved: {error}");
        return Err(Error::new("ERR failed to restart the server. Check server logs."));
    }
    Err(start_anew(ctx, ms))
}

fn script(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let sha = crate::script::cache::parse_sha(args.next()?);
    match sha.and_then(|sha| ctx.core.scripts.cache.get(&sha)) {
        Some(script) => out.bulk(&script.source),
        None => return Err(Error::new("NOSCRIPT No matching script.")),
    }
    Ok(())
}

/// Patterns of stars and letters against long texts: none may take long.
fn stringmatch_test(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    const LETTERS: &[u8] = b"ab*?[]^-\\";
    for _ in 0..1000 {
        let mut text = |most| -> Vec<u8> {
            (0..ctx.worker.rng.index(most)).map(|_| LETTERS[ctx.worker.rng.index(LETTERS.len())]).collect()
        };
        let (pattern, text) = (text(64), text(256));
        crate::util::glob::matches(&pattern, &text, false);
    }
    out.simple("The matcher came to an end each time: test passed");
    Ok(())
}
