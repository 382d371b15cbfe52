//! How do clients run scripts? EVAL, EVALSHA and SCRIPT.

use crate::client::session::Debugging;
use crate::commands::prelude::*;
use crate::dispatch::busy::Code;
use crate::dispatch::script::{self, Runs};
use crate::script::cache::{Origin, parse_sha};

/// The keys of a script that may write, and of one that may not.
const WRITTEN: &[KeySpec] = &[numbered(RW | ACCESS | UPDATE, 2)];
const READ: &[KeySpec] = &[numbered(RO | ACCESS, 2)];

/// What the commands that run scripts and functions have in common.
pub(crate) const fn runner(name: &'static str, run: Handler) -> Command {
    Command::new(name, run)
        .lock(Lock::All)
        .arity(-3)
        .flags(NOSCRIPT | STALE | SKIP_MONITOR | NO_MANDATORY_KEYS | MOVABLE_KEYS)
        .also(MAY_REPLICATE)
        .acl(SCRIPTING)
        .keys(WRITTEN)
}

/// The same for those that do not let them write.
pub(crate) const fn reader(name: &'static str, run: Handler) -> Command {
    let mut row = runner(name, run).keys(READ);
    row.flags = row.flags & !MAY_REPLICATE | READONLY;
    row
}

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    runner("eval", eval).lock(Lock::Ask(script::lock_by_source)).doc(
        "scripting",
        "2.6.0",
        "Depends on the script that is executed.",
        "Runs a Lua script.",
        "script:str numkeys:int [key:key@0...] [arg:str...]",
    ),
    runner("evalsha", evalsha).lock(Lock::Ask(script::lock_by_sha)).doc(
        "scripting",
        "2.6.0",
        "Depends on the script that is executed.",
        "Runs a Lua script that the server knows, by its SHA1.",
        "sha1:str numkeys:int [key:key@0...] [arg:str...]",
    ),
    reader("eval_ro", eval).lock(Lock::Ask(script::lock_by_source)).doc(
        "scripting",
        "7.0.0",
        "Depends on the script that is executed.",
        "Runs a Lua script that may not write.",
        "script:str numkeys:int [key:key@0...] [arg:str...]",
    ),
    reader("evalsha_ro", evalsha).lock(Lock::Ask(script::lock_by_sha)).doc(
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

/// The keys and the other arguments of a script, split by the number of keys. `bad` is what a number that is none is
/// answered with.
pub(crate) fn split<'a>(args: &mut Args<'a>, bad: Error) -> Result<[&'a [&'a [u8]]; 2]> {
    let n = args.int_or(bad)?;
    if usize::try_from(n).is_ok_and(|n| n > args.left()) {
        return Err(Error::new("ERR Number of keys can't be greater than number of args"));
    }
    let n = usize::try_from(n).map_err(|_| Error::new("ERR Number of keys can't be negative"))?;
    Ok([args.take(n)?, args.take_rest()])
}

/// The reply to a SHA1 that the server does not know.
const NO_SCRIPT: Error = Error::new("NOSCRIPT No matching script. Please use EVAL.");

/// EVAL and EVAL_RO.
fn eval(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let (argv, core) = (args.argv(), ctx.core);
    if ctx.session.asks_debugger() && ctx.mode == Mode::Direct {
        // The connection is handed over when everything before has been answered.
        ctx.session.to_debug = Some(argv.iter().map(|arg| Box::from(*arg)).collect());
        ctx.session.close = true;
        return Ok(());
    }
    let source = args.next()?;
    // A bad number of keys is told before the script is looked at.
    let words = split(args, error::NOT_INTEGER)?;
    let script = script::engine(ctx.worker).load(&core.scripts.cache, source, Origin::Eval);
    let script = script.map_err(Error::text)?;
    core.scripts.cache.touch(&script);
    script::run(ctx, &Runs::Script(script), argv, words, out)
}

/// EVALSHA and EVALSHA_RO.
fn evalsha(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let (argv, core) = (args.argv(), ctx.core);
    if ctx.session.asks_debugger() {
        return Err(Error::new("ERR Please use EVAL instead of EVALSHA for debugging"));
    }
    // What cannot be a SHA1 is told before a bad number of keys.
    let sha = parse_sha(args.next()?).ok_or(NO_SCRIPT)?;
    let words = split(args, error::NOT_INTEGER)?;
    let script = script::engine(ctx.worker).find(&core.scripts.cache, &sha).ok_or(NO_SCRIPT)?;
    core.scripts.cache.touch(&script);
    script::run(ctx, &Runs::Script(script), argv, words, out)
}

fn script_load(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let core = ctx.core;
    let script = script::engine(ctx.worker).load(&core.scripts.cache, args.next()?, Origin::Load);
    let script = script.map_err(Error::text)?;
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
    ctx.core.scripts.board.kill(Code::Script)?;
    out.ok();
    Ok(())
}

fn script_debug(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    ctx.session.debugging = match args.next()?.to_ascii_uppercase().as_slice() {
        b"NO" => Debugging::Off,
        b"YES" => Debugging::OnCopy,
        b"SYNC" => Debugging::Live,
        _ => return Err(Error::new("ERR Use SCRIPT DEBUG YES/SYNC/NO")),
    };
    out.ok();
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
