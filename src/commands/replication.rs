//! What does a server without replicas or modules say when it is asked about them?

use crate::commands::prelude::*;
use crate::dispatch::ctx::OnTimeout;
use crate::keyspace::waiter::Wish;
use crate::value::Kind;

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    Command::new("wait", wait)
        .arity(3)
        .flags(BLOCKING)
        .acl(CONNECTION)
        .tips(&["request_policy:all_shards", "response_policy:agg_min"])
        .doc(
            "generic",
            "3.0.0",
            "O(1)",
            "Waits until replicas have acknowledged earlier writes.",
            "numreplicas:int timeout:int",
        ),
    Command::new("waitaof", waitaof)
        .arity(4)
        .flags(BLOCKING)
        .acl(CONNECTION)
        .tips(&["request_policy:all_shards", "response_policy:agg_min"])
        .doc(
            "generic",
            "7.2.0",
            "O(1)",
            "Waits until earlier writes are on disk, here or on replicas.",
            "numlocal:int numreplicas:int timeout:int",
        ),
    Command::new("role", role)
        .arity(1)
        .flags(NOSCRIPT | LOADING | STALE | FAST)
        .acl(CAT_ADMIN | DANGEROUS)
        .doc("server", "2.8.12", "O(1)", "Tells the part that the server plays in replication.", ""),
    Command::new("replicaof", replicaof).arity(3).flags(ADMIN | NOSCRIPT | STALE | NO_ASYNC_LOADING).doc(
        "server",
        "5.0.0",
        "O(1)",
        "Makes the server a replica, or a primary again.",
        "args(host-port{host:str port:int} | no-one{NO ONE})",
    ),
    Command::new("slaveof", replicaof)
        .arity(3)
        .flags(ADMIN | NOSCRIPT | STALE | NO_ASYNC_LOADING)
        .doc(
            "server",
            "1.0.0",
            "O(1)",
            "Makes the server a replica, or a primary again.",
            "args(host-port{host:str port:int} | no-one{NO ONE})",
        )
        .deprecated("5.0.0", "`REPLICAOF`"),
    Command::new("failover", failover).arity(-1).flags(ADMIN | NOSCRIPT | STALE).doc(
        "server",
        "6.2.0",
        "O(1)",
        "Hands the part of the primary to a replica.",
        "[TO target{host:str port:int [FORCE]}] [ABORT] [TIMEOUT milliseconds:int]",
    ),
    Command::new("replconf", replconf)
        .arity(-1)
        .flags(ADMIN | NOSCRIPT | LOADING | STALE | ALLOW_BUSY)
        .doc("server", "3.0.0", "O(1)", "Configures the replication connection that it arrives on.", "")
        .syscmd(),
    Command::container("module", MODULE).doc(
        "server",
        "4.0.0",
        "Depends on subcommand.",
        "Looks at modules.",
        "",
    ),
];

const MODULE: &[Command] = &[
    Command::new("unload", module_refused).arity(3).flags(ADMIN | NOSCRIPT | NO_ASYNC_LOADING).doc(
        "server",
        "4.0.0",
        "O(1)",
        "Unloads a module.",
        "name:str",
    ),
    Command::new("help", module_help).arity(2).flags(LOADING | STALE).doc(
        "server",
        "5.0.0",
        "O(1)",
        "Lists the subcommands.",
        "",
    ),
    Command::new("list", module_list)
        .arity(2)
        .flags(ADMIN | NOSCRIPT)
        .tips(&["nondeterministic_output_order"])
        .doc("server", "4.0.0", "O(N)", "Lists the loaded modules.", ""),
    Command::new("load", module_refused).arity(-3).flags(ADMIN | NOSCRIPT | NO_ASYNC_LOADING).doc(
        "server",
        "4.0.0",
        "O(1)",
        "Loads a module.",
        "path:str [arg:str...]",
    ),
    Command::new("loadex", module_refused).arity(-3).flags(ADMIN | NOSCRIPT | NO_ASYNC_LOADING).doc(
        "server",
        "7.0.0",
        "O(1)",
        "Loads a module with settings.",
        "path:str [CONFIG configs{name:str value:str}+] [ARGS args:str...]",
    ),
];

/// A wish that no key fulfils: only the time ends the wait.
const NEVER: Wish = Wish { kind: Kind::String, or_gone: false };

fn wait(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let argv = args.argv();
    let replicas = args.int()?;
    let timeout = millis(args)?;
    if replicas <= 0 {
        out.int(0);
    } else {
        ctx.wait_for(argv, &[], NEVER, timeout, OnTimeout::Int(0), out);
    }
    Ok(())
}

fn waitaof(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let argv = args.argv();
    let local = args.int_in(0, 1, Error::new("ERR value is out of range, value must between 0 and 1"))?;
    let positive = Error::new("ERR value is out of range, must be positive");
    let replicas = args.int_in(0, i64::MAX, positive)?;
    let timeout = millis(args)?;
    if local > 0 && !ctx.core.log.is_enabled() {
        return Err(Error::new(
            "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.",
        ));
    }
    if replicas == 0 {
        // Replies to writes are held back until the log is as safe as the settings ask.
        OnTimeout::Ints(local, 0).write(out);
    } else {
        ctx.wait_for(argv, &[], NEVER, timeout, OnTimeout::Ints(local, 0), out);
    }
    Ok(())
}

/// A time in milliseconds, 0 for ever.
fn millis(args: &mut Args<'_>) -> Result<u64> {
    let n = args.int_or(Error::new("ERR timeout is not an integer or out of range"))?;
    u64::try_from(n).map_err(|_| Error::new("ERR timeout is negative"))
}

fn role(_: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    out.array(3);
    out.bulk(b"master");
    out.int(0);
    out.array(0);
    Ok(())
}

fn replicaof(_: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let (host, port) = (args.next()?, args.next()?);
    if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
        out.ok();
        return Ok(());
    }
    match crate::util::number::parse_i64(port) {
        Some(0..=65535) => Err(Error::new("ERR This server cannot be a replica yet")),
        _ => Err(Error::new("ERR Invalid master port")),
    }
}

fn failover(_: &mut Ctx<'_>, args: &mut Args<'_>, _: &mut Reply<'_>) -> Result {
    let (mut abort, mut to, mut timeout) = (false, false, false);
    let alone = args.left() == 1;
    while args.left() > 0 {
        if !timeout && args.left() > 1 && args.word("timeout") {
            if args.int()? <= 0 {
                return Err(Error::new("ERR FAILOVER timeout must be greater than 0"));
            }
            timeout = true;
        } else if alone && args.word("abort") {
            abort = true;
        } else if !to && args.left() > 2 && args.word("to") {
            args.next()?;
            args.int()?;
            to = true;
        } else if !(to && args.word("force")) {
            return Err(error::SYNTAX);
        }
    }
    Err(Error::new(if abort {
        "ERR No failover in progress."
    } else {
        "ERR FAILOVER requires connected replicas."
    }))
}

fn replconf(_: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    if args.left() % 2 == 1 {
        return Err(error::SYNTAX);
    }
    out.ok();
    Ok(())
}

fn module_list(_: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    out.array(0);
    Ok(())
}

fn module_refused(_: &mut Ctx<'_>, _: &mut Args<'_>, _: &mut Reply<'_>) -> Result {
    Err(Error::new(
        "ERR MODULE command not allowed. If the enable-module-command option is set to \"local\", you can run it from a local connection, otherwise you need to set this option in the configuration file, and then restart the server.",
    ))
}

fn module_help(_: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    help(
        out,
        "MODULE",
        &[
            ("LIST", "Return a list of loaded modules."),
            (
                "LOAD <path> [<arg> ...]",
                "Load a module library from <path>, passing to it any optional arguments.",
            ),
            (
                "LOADEX <path> [[CONFIG NAME VALUE] [CONFIG NAME VALUE]] [ARGS ...]",
                "Load a module library from <path>, while passing it module configurations and optional arguments.",
            ),
            ("UNLOAD <name>", "Unload a module."),
        ],
    );
    Ok(())
}
