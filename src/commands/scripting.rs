//! How do clients run scripts? EVAL, EVALSHA and SCRIPT.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::commands::prelude::*;
use crate::dispatch::script::{self, Running};
use crate::script::cache::{Origin, Script, parse_sha};
use crate::script::shebang::Flags;

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    Command::new("eval", eval)
        .lock(Lock::All)
        .arity(-3)
        .flags(NOSCRIPT | STALE | SKIP_MONITOR | NO_MANDATORY_KEYS | MOVABLE_KEYS)
        .also(MAY_REPLICATE)
        .acl(SCRIPTING)
        .keys(&[numbered(RW | ACCESS | UPDATE, 2)])
        .doc(
            "scripting",
            "2.6.0",
            "Depends on the script that is executed.",
            "Runs a Lua script.",
            "script:str numkeys:int [key:key@0...] [arg:str...]",
        ),
    Command::new("evalsha", evalsha)
        .lock(Lock::All)
        .arity(-3)
        .flags(NOSCRIPT | STALE | SKIP_MONITOR | NO_MANDATORY_KEYS | MOVABLE_KEYS)
        .also(MAY_REPLICATE)
        .acl(SCRIPTING)
        .keys(&[numbered(RW | ACCESS | UPDATE, 2)])
        .doc(
            "scripting",
            "2.6.0",
            "Depends on the script that is executed.",
            "Runs a Lua script that the server knows, by its SHA1.",
            "sha1:str numkeys:int [key:key@0...] [arg:str...]",
        ),
    Command::new("eval_ro", eval_ro)
        .lock(Lock::All)
        .arity(-3)
        .flags(READONLY | NOSCRIPT | STALE | SKIP_MONITOR | NO_MANDATORY_KEYS | MOVABLE_KEYS)
        .acl(SCRIPTING)
        .keys(&[numbered(RO | ACCESS, 2)])
        .doc(
            "scripting",
            "7.0.0",
            "Depends on the script that is executed.",
            "Runs a Lua script that may not write.",
            "script:str numkeys:int [key:key@0...] [arg:str...]",
        ),
    Command::new("evalsha_ro", evalsha_ro)
        .lock(Lock::All)
        .arity(-3)
        .flags(READONLY | NOSCRIPT | STALE | SKIP_MONITOR | NO_MANDATORY_KEYS | MOVABLE_KEYS)
        .acl(SCRIPTING)
        .keys(&[numbered(RO | ACCESS, 2)])
        .doc(
            "scripting",
            "7.0.0",
            "Depends on the script that is executed.",
            "Runs a Lua script that may not write, by its SHA1.",
            "sha1:str numkeys:int [key:key@0...] [arg:str...]",
        ),
    Command::container("script", SCRIPT).doc(
        "scripting",
        "2.6.0",
        "Depends on subcommand.",
        "Manages the scripts that the server knows.",
        "",
    ),
];

const SCRIPT: &[Command] = &[
    Command::new("help", script_help).arity(2).flags(LOADING | STALE).acl(SCRIPTING).doc("scripting", "5.0.0", "O(1)", "Lists the subcommands.", ""),
    Command::new("debug", script_debug).arity(3).flags(NOSCRIPT).acl(SCRIPTING).doc("scripting", "3.2.0", "O(1)", "Sets the debugging mode of scripts.", "mode(YES | SYNC | NO)"),
    Command::new("flush", script_flush).arity(-2).flags(NOSCRIPT).acl(SCRIPTING).tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]).doc("scripting", "2.6.0", "O(N) with N being the number of scripts in cache", "Forgets all scripts.", "[flush-type(ASYNC | SYNC)^6.2.0]"),
    Command::new("load", script_load).arity(3).flags(NOSCRIPT | STALE).acl(SCRIPTING).tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]).doc("scripting", "2.6.0", "O(N) with N being the length in bytes of the script body.", "Keeps a script and answers its SHA1.", "script:str"),
    Command::new("exists", script_exists).arity(-3).flags(NOSCRIPT).acl(SCRIPTING).tips(&["request_policy:all_shards", "response_policy:agg_logical_and"]).doc("scripting", "2.6.0", "O(N) with N being the number of scripts to check (so checking a single script is an O(1) operation).", "Tells which scripts the server knows.", "sha1:str..."),
    Command::new("kill", script_kill).arity(2).flags(NOSCRIPT | ALLOW_BUSY).acl(SCRIPTING).tips(&["request_policy:all_shards", "response_policy:one_succeeded"]).doc("scripting", "2.6.0", "O(1)", "Stops the script that is running, unless it has written.", ""),
];

/// Some of a command's arguments.
type Words<'a> = &'a [&'a [u8]];

/// The keys and the other arguments of a script, split by the number of keys.
fn split<'a>(args: &mut Args<'a>) -> Result<(Words<'a>, Words<'a>)> {
    let n = args.int()?;
    let n = usize::try_from(n).map_err(|_| Error::new("ERR Number of keys can't be negative"))?;
    if n > args.left() {
        return Err(Error::new("ERR Number of keys can't be greater than number of args"));
    }
    Ok((args.take(n)?, args.take_rest()))
}

/// Finds or compiles the script of EVAL.
fn by_source(ctx: &mut Ctx<'_>, source: &[u8], origin: Origin) -> Result<Arc<Script>> {
    let core = ctx.core;
    script::engine(ctx.worker).load(&core.scripts.cache, source, origin).map_err(Error::text)
}

/// The reply to a SHA1 that the server does not know.
const NO_SCRIPT: Error = Error::new("NOSCRIPT No matching script. Please use EVAL.");

/// Finds the script of EVALSHA.
fn by_sha(ctx: &mut Ctx<'_>, text: &[u8]) -> Result<Arc<Script>> {
    let core = ctx.core;
    parse_sha(text)
        .and_then(|sha| script::engine(ctx.worker).find(&core.scripts.cache, &sha))
        .ok_or(NO_SCRIPT)
}

fn run(
    ctx: &mut Ctx<'_>,
    script: &Arc<Script>,
    args: &mut Args<'_>,
    read_only: bool,
    out: &mut Reply<'_>,
) -> Result {
    let (keys, rest) = split(args)?;
    if read_only && !script.flags.has(Flags::NO_WRITES) && !script.flags.has(Flags::COMPAT) {
        return Err(Error::new("ERR Can not execute a script with write flag using *_ro command."));
    }
    if ctx.core.over_memory() && !read_only && !script.flags.has(Flags::COMPAT) {
        let exempt = script.flags.has(Flags::ALLOW_OOM) || script.flags.has(Flags::NO_WRITES);
        if !exempt {
            return Err(Error::new(
                "OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'",
            ));
        }
    }
    let running = Running {
        read_only: read_only || script.flags.has(Flags::NO_WRITES),
        any_memory: script.flags.has(Flags::ALLOW_OOM),
    };
    ctx.core.scripts.cache.touch(script);
    script::run(ctx, running, out, |engine, host, sink| engine.run(script, keys, rest, host, sink));
    Ok(())
}

fn eval(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let source = args.next()?;
    check_keys(args)?;
    let script = by_source(ctx, source, Origin::Eval)?;
    run(ctx, &script, args, false, out)
}

fn evalsha(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let sha = args.next()?;
    // What cannot be a SHA1 is told before a bad number of keys.
    parse_sha(sha).ok_or(NO_SCRIPT)?;
    check_keys(args)?;
    let script = by_sha(ctx, sha)?;
    run(ctx, &script, args, false, out)
}

fn eval_ro(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let source = args.next()?;
    check_keys(args)?;
    let script = by_source(ctx, source, Origin::Eval)?;
    run(ctx, &script, args, true, out)
}

fn evalsha_ro(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let sha = args.next()?;
    // What cannot be a SHA1 is told before a bad number of keys.
    parse_sha(sha).ok_or(NO_SCRIPT)?;
    check_keys(args)?;
    let script = by_sha(ctx, sha)?;
    run(ctx, &script, args, true, out)
}

/// A bad number of keys is told before the script is looked for.
fn check_keys(args: &Args<'_>) -> Result {
    split(&mut args.clone()).map(|_| ())
}

fn script_load(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let script = by_source(ctx, args.next()?, Origin::Load)?;
    out.bulk(&script.sha);
    Ok(())
}

fn script_exists(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    out.array(args.left());
    for text in args.take_rest() {
        out.flag(parse_sha(text).is_some_and(|sha| ctx.core.scripts.cache.get(&sha).is_some()));
    }
    Ok(())
}

fn script_flush(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    if args.left() > 1 || (args.left() == 1 && !args.word("ASYNC") && !args.word("SYNC")) {
        return Err(Error::new("ERR SCRIPT FLUSH only support SYNC|ASYNC option"));
    }
    ctx.core.scripts.cache.flush();
    out.ok();
    Ok(())
}

fn script_kill(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let scripts = &ctx.core.scripts;
    if !scripts.running.load(Ordering::Acquire) {
        return Err(Error::new("NOTBUSY No scripts in execution right now."));
    }
    if scripts.wrote.load(Ordering::Acquire) {
        return Err(Error::new(
            "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait \
             the script termination or kill the server in a hard way using the SHUTDOWN NOSAVE command.",
        ));
    }
    scripts.kill.store(true, Ordering::Release);
    out.ok();
    Ok(())
}

fn script_debug(_: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    match args.next()?.to_ascii_uppercase().as_slice() {
        b"NO" => out.ok(),
        b"YES" | b"SYNC" => {
            return Err(Error::new("ERR The Lua debugger is not supported by this server"));
        }
        _ => return Err(Error::new("ERR Use SCRIPT DEBUG YES/SYNC/NO")),
    }
    Ok(())
}

fn script_help(_: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    help(
        out,
        "SCRIPT",
        &[
            ("DEBUG (YES|SYNC|NO)", "Sets the debugging mode of scripts."),
            ("EXISTS <sha1> [<sha1> ...]", "Which of these scripts the server knows."),
            ("FLUSH [ASYNC|SYNC]", "Forgets all scripts."),
            ("KILL", "Stops the script that is running, unless it has written."),
            ("LOAD <script>", "Keeps a script and answers its SHA1."),
        ],
    );
    Ok(())
}
