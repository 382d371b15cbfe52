//! How do operators watch the server work? MONITOR and SLOWLOG.

use crate::commands::prelude::*;
use crate::util::number;

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    Command::new("monitor", monitor).arity(1).flags(ADMIN | NOSCRIPT | LOADING | STALE).doc(
        "server",
        "1.0.0",
        "",
        "Shows every command that the server runs as it goes by.",
        "",
    ),
    Command::container("slowlog", SLOWLOG).doc(
        "server",
        "2.2.12",
        "Depends on subcommand.",
        "Looks at the commands that took long.",
        "",
    ),
];

const SLOWLOG: &[Command] = &[
    Command::new("len", slowlog_len)
        .arity(2)
        .flags(ADMIN | LOADING | STALE)
        .tips(&["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"])
        .doc("server", "2.2.12", "O(1)", "Number of entries.", ""),
    Command::new("get", slowlog_get)
        .arity(-2)
        .flags(ADMIN | LOADING | STALE)
        .tips(&["request_policy:all_nodes", "nondeterministic_output"])
        .doc(
            "server",
            "2.2.12",
            "O(N) where N is the number of entries returned",
            "Answers the newest entries.",
            "[count:int]",
        ),
    Command::new("help", slowlog_help).arity(2).flags(LOADING | STALE).doc(
        "server",
        "6.2.0",
        "O(1)",
        "Lists the subcommands.",
        "",
    ),
    Command::new("reset", slowlog_reset)
        .arity(2)
        .flags(ADMIN | LOADING | STALE)
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .doc(
            "server",
            "2.2.12",
            "O(N) where N is the number of entries in the slowlog",
            "Forgets all entries.",
            "",
        ),
];

fn monitor(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    if ctx.mode != Mode::Direct {
        return Err(Error::new("ERR MONITOR isn't allowed for DENY BLOCKING client"));
    }
    ctx.core.clients.monitors.add(&ctx.session.client);
    out.ok();
    Ok(())
}

fn slowlog_len(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    out.len(ctx.core.stats.slow.count());
    Ok(())
}

fn slowlog_get(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let bad = Error::new("ERR count should be greater than or equal to -1");
    let count = args.maybe();
    args.end_of_subcommand()?;
    let n = match count {
        None => 10,
        Some(text) => number::parse_i64(text).filter(|n| *n >= -1).ok_or(bad)?,
    };
    let entries = ctx.core.stats.slow.newest(usize::try_from(n).unwrap_or(usize::MAX));
    out.array(entries.len());
    for entry in entries {
        out.array(6);
        out.int(i64::try_from(entry.id).unwrap_or(i64::MAX));
        out.int(i64::try_from(entry.time).unwrap_or(i64::MAX));
        out.int(i64::try_from(entry.micros).unwrap_or(i64::MAX));
        out.bulks(entry.argv.iter());
        out.bulk(entry.addr.as_bytes());
        out.bulk(&entry.name);
    }
    Ok(())
}

fn slowlog_reset(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    ctx.core.stats.slow.reset();
    out.ok();
    Ok(())
}

fn slowlog_help(_: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    help(
        out,
        "SLOWLOG",
        &[
            (
                "GET [<count>]",
                "The newest entries (10; -1 for all): id, unix time, microseconds, arguments, address, client name.",
            ),
            ("LEN", "Number of entries."),
            ("RESET", "Forgets all entries."),
        ],
    );
    Ok(())
}
