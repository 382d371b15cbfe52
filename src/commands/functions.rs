//! How do clients keep code in the server, and call it? FUNCTION and FCALL.

use crate::commands::prelude::*;
use crate::commands::scripting::{reader, runner, split};
use crate::dispatch::busy::Code;
use crate::dispatch::script::{self, Runs};
use crate::persist::rdb::encode::Encoder;
use crate::persist::rdb::{self, decode};
use crate::script::library::{ENGINE, Library, Restore};
use crate::util::glob;

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    runner("fcall", fcall).doc(
        "scripting",
        "7.0.0",
        "Depends on the function that is executed.",
        "Calls a function of a library.",
        "function:str numkeys:int [key:key@0...] [arg:str...]",
    ),
    reader("fcall_ro", fcall).doc(
        "scripting",
        "7.0.0",
        "Depends on the function that is executed.",
        "Calls a function of a library that does not write.",
        "function:str numkeys:int [key:key@0...] [arg:str...]",
    ),
    Command::container("function", FUNCTION).doc(
        "scripting",
        "7.0.0",
        "Depends on subcommand.",
        "Manages the function libraries that the server keeps.",
        "",
    ),
];

/// Those that change the libraries hold all locks, as does whoever takes a snapshot of them.
const FUNCTION: &[Command] = &[
    Command::new("help", function_help).arity(2).flags(LOADING | STALE).acl(SCRIPTING).doc(
        "scripting",
        "7.0.0",
        "O(1)",
        "Lists the subcommands.",
        "",
    ),
    Command::new("load", function_load)
        .lock(Lock::All)
        .arity(-3)
        .flags(WRITE | DENYOOM | NOSCRIPT)
        .acl(SCRIPTING)
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .doc(
            "scripting",
            "7.0.0",
            "O(1) (considering compilation time is redundant)",
            "Makes a library from its code.",
            "[REPLACE] function-code:str",
        ),
    Command::new("restore", function_restore)
        .lock(Lock::All)
        .arity(-3)
        .flags(WRITE | DENYOOM | NOSCRIPT)
        .acl(SCRIPTING)
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .doc(
            "scripting",
            "7.0.0",
            "O(N) where N is the number of functions on the payload",
            "Makes the libraries that FUNCTION DUMP gave.",
            "serialized-value:str [policy(FLUSH | APPEND | REPLACE)]",
        ),
    Command::new("stats", function_stats)
        .arity(2)
        .flags(NOSCRIPT | ALLOW_BUSY)
        .acl(SCRIPTING)
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .doc("scripting", "7.0.0", "O(1)", "Tells which function runs, and how many there are.", ""),
    Command::new("flush", function_flush)
        .lock(Lock::All)
        .arity(-2)
        .flags(WRITE | NOSCRIPT)
        .acl(SCRIPTING)
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .doc(
            "scripting",
            "7.0.0",
            "O(N) where N is the number of functions deleted",
            "Deletes all libraries.",
            "[flush-type(ASYNC | SYNC)]",
        ),
    Command::new("list", function_list)
        .arity(-2)
        .flags(NOSCRIPT)
        .acl(SCRIPTING)
        .tips(&["nondeterministic_output_order"])
        .doc(
            "scripting",
            "7.0.0",
            "O(N) where N is the number of functions",
            "Lists the libraries and their functions.",
            "[LIBRARYNAME library-name-pattern:str] [WITHCODE]",
        ),
    Command::new("kill", function_kill)
        .arity(2)
        .flags(NOSCRIPT | ALLOW_BUSY)
        .acl(SCRIPTING)
        .tips(&["request_policy:all_shards", "response_policy:one_succeeded"])
        .doc("scripting", "7.0.0", "O(1)", "Stops the function that is running, unless it has written.", ""),
    Command::new("dump", function_dump).arity(2).flags(NOSCRIPT).acl(SCRIPTING).doc(
        "scripting",
        "7.0.0",
        "O(N) where N is the number of functions",
        "Gives all libraries in a form that FUNCTION RESTORE takes.",
        "",
    ),
    Command::new("delete", function_delete)
        .lock(Lock::All)
        .arity(3)
        .flags(WRITE | NOSCRIPT)
        .acl(SCRIPTING)
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .doc("scripting", "7.0.0", "O(1)", "Deletes a library and its functions.", "library-name:str"),
];

/// FCALL and FCALL_RO.
fn fcall(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let argv = args.argv();
    let found = ctx.core.scripts.libraries.find(args.next()?);
    let found = found.ok_or(Error::new("ERR Function not found"))?;
    let words = split(args, Error::new("ERR Bad number of keys provided"))?;
    script::run(ctx, &Runs::Function(found), argv, words, out)
}

fn function_load(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let mut replace = false;
    while args.left() > 1 {
        if !args.word("replace") {
            let what = error::clip(args.next()?, 128);
            return Err(Error::text(format!("ERR Unknown option given: {what}")));
        }
        replace = true;
    }
    let code = args.next()?;
    let loaded =
        script::change_libraries(ctx.core, ctx.worker, trusted(ctx.session), |libraries, engine, host| {
            libraries.load(engine, code, replace, host)
        });
    out.bulk(&loaded.map_err(failure)?);
    ctx.changed_unseen(1);
    Ok(())
}

/// True when what a client brings is known to load.
fn trusted(session: &crate::client::Session) -> bool {
    session.internal
}

/// A text without a code as a reply.
fn failure(why: String) -> Error {
    Error::text(format!("ERR {why}"))
}

fn function_restore(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let payload = args.next()?;
    if args.left() > 1 {
        return args.end_of_subcommand();
    }
    let policy = if args.left() == 0 || args.word("append") {
        Restore::Append
    } else if args.word("replace") {
        Restore::Replace
    } else if args.word("flush") {
        Restore::Flush
    } else {
        return Err(Error::new(
            "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.",
        ));
    };
    let verify = ctx.core.persist.knobs.verifies_payloads();
    let body = decode::unseal(payload, verify)
        .ok_or(Error::new("ERR DUMP payload version or checksum are wrong"))?;
    let sources = decode::functions(body).map_err(|why| failure(why.into()))?;
    let sources: Vec<&[u8]> = sources.iter().map(Vec::as_slice).collect();
    script::change_libraries(ctx.core, ctx.worker, trusted(ctx.session), |libraries, engine, host| {
        libraries.restore(engine, &sources, policy, host)
    })
    .map_err(failure)?;
    ctx.changed_unseen(1);
    out.ok();
    Ok(())
}

fn function_stats(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let scripts = &ctx.core.scripts;
    out.map(2);
    out.bulk(b"running_script");
    match scripts.board.longest() {
        None => out.null(),
        Some(told) => {
            let took_us = ctx.core.clock.monotonic_us().saturating_sub(told.began_us);
            out.map(3);
            out.bulk(b"name");
            out.bulk(&told.name);
            out.bulk(b"command");
            out.bulks(told.command.iter());
            out.bulk(b"duration_ms");
            out.int(i64::try_from(took_us / 1000).unwrap_or(i64::MAX));
        }
    }
    out.bulk(b"engines");
    out.map(1);
    out.bulk(ENGINE.as_bytes());
    let (libraries, functions) = scripts.libraries.counts();
    out.map(2);
    out.bulk(b"libraries_count");
    out.len(libraries);
    out.bulk(b"functions_count");
    out.len(functions);
    Ok(())
}

fn function_flush(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    if args.left() > 1 {
        return args.end_of_subcommand();
    }
    if args.left() == 1 && !args.word("async") && !args.word("sync") {
        return Err(Error::new("ERR FUNCTION FLUSH only supports SYNC|ASYNC option"));
    }
    script::change_libraries(ctx.core, ctx.worker, true, |libraries, _, _| libraries.flush());
    ctx.changed_unseen(1);
    out.ok();
    Ok(())
}

fn function_list(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let (mut pattern, mut with_code) = (None, false);
    while args.left() > 0 {
        if !with_code && args.word("withcode") {
            with_code = true;
        } else if pattern.is_none() && args.word("libraryname") {
            pattern = Some(args.maybe().ok_or(Error::new("ERR library name argument was not given"))?);
        } else {
            let what = error::clip(args.next()?, 128);
            return Err(Error::text(format!("ERR Unknown argument {what}")));
        }
    }
    let mut libraries = ctx.core.scripts.libraries.all();
    libraries.retain(|library| pattern.is_none_or(|pattern| glob::matches(pattern, &library.name, true)));
    out.array(libraries.len());
    for library in libraries {
        describe(&library, with_code, out);
    }
    Ok(())
}

fn describe(library: &Library, with_code: bool, out: &mut Reply<'_>) {
    out.map(if with_code { 4 } else { 3 });
    out.bulk(b"library_name");
    out.bulk(&library.name);
    out.bulk(b"engine");
    out.bulk(ENGINE.as_bytes());
    out.bulk(b"functions");
    out.array(library.functions.len());
    for function in &library.functions {
        out.map(3);
        out.bulk(b"name");
        out.bulk(&function.name);
        out.bulk(b"description");
        out.bulk_or_null(function.description.as_deref());
        out.bulk(b"flags");
        out.set(function.flags.names().count());
        function.flags.names().for_each(|name| out.simple(name));
    }
    if with_code {
        out.bulk(b"library_code");
        out.bulk(&library.code);
    }
}

fn function_kill(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    ctx.core.scripts.board.kill(Code::Function)?;
    out.ok();
    Ok(())
}

fn function_dump(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let encoder = Encoder::new(rdb::VERSION, ctx.config().rdbcompression);
    let libraries = ctx.core.scripts.libraries.all();
    out.bulk(&encoder.dump_functions(libraries.iter().map(|library| &*library.code)));
    Ok(())
}

fn function_delete(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let name = args.next()?;
    let gone = script::change_libraries(ctx.core, ctx.worker, true, |libraries, _, _| libraries.delete(name));
    if !gone {
        return Err(Error::new("ERR Library not found"));
    }
    ctx.changed_unseen(1);
    out.ok();
    Ok(())
}

fn function_help(_: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    help(
        out,
        "FUNCTION",
        &[
            ("DELETE <library-name>", "Deletes a library and its functions."),
            ("DUMP", "Gives all libraries in a form that RESTORE takes."),
            ("FLUSH [ASYNC|SYNC]", "Deletes all libraries."),
            ("KILL", "Stops the function that is running, unless it has written."),
            ("LIST [LIBRARYNAME <pattern>] [WITHCODE]", "Lists the libraries and their functions."),
            ("LOAD [REPLACE] <code>", "Makes a library from its code."),
            ("RESTORE <payload> [FLUSH|APPEND|REPLACE]", "Makes the libraries that DUMP gave."),
            ("STATS", "Which function runs, and how many there are."),
        ],
    );
    Ok(())
}
