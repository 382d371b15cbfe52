//! How are settings read and changed? CONFIG GET, SET, REWRITE and RESETSTAT.

use crate::commands::prelude::*;
use crate::config::{Asking, rewrite};

/// The family's rows.
pub const COMMANDS: &[Command] = &[Command::container("config", CONFIG).doc(
    "server",
    "2.0.0",
    "Depends on subcommand.",
    "Reads and changes settings.",
    "",
)];

const CONFIG: &[Command] = &[
    Command::new("rewrite", config_rewrite)
        .arity(2)
        .flags(ADMIN | NOSCRIPT | LOADING | STALE)
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .doc("server", "2.8.0", "O(1)", "Writes the settings back to the file that they came from.", ""),
    Command::new("help", config_help).arity(2).flags(LOADING | STALE).doc(
        "server",
        "5.0.0",
        "O(1)",
        "Lists the subcommands.",
        "",
    ),
    Command::new("get", config_get).arity(-3).flags(ADMIN | NOSCRIPT | LOADING | STALE).doc(
        "server",
        "2.0.0",
        "O(N) when N is the number of configuration parameters provided",
        "Gets the settings that match patterns.",
        "parameter:str...",
    ),
    Command::new("set", config_set)
        .arity(-4)
        .flags(ADMIN | NOSCRIPT | LOADING | STALE)
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .doc(
            "server",
            "2.0.0",
            "O(N) when N is the number of configuration parameters provided",
            "Changes settings, all of them or none.",
            "data{parameter:str value:str}...",
        ),
    Command::new("resetstat", config_resetstat)
        .arity(2)
        .flags(ADMIN | NOSCRIPT | LOADING | STALE)
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .doc("server", "2.0.0", "O(1)", "Sets the counters of INFO back to zero.", ""),
];

fn config_get(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let found = ctx.config().get(args.take_rest());
    out.map(found.len());
    for (name, value) in found {
        out.bulk(&name);
        out.bulk(&value);
    }
    Ok(())
}

fn config_set(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    if !args.left().is_multiple_of(2) {
        return Err(Error::arity("config|set"));
    }
    let pairs: Vec<(&[u8], &[u8])> = args.take_rest().chunks_exact(2).map(|p| (p[0], p[1])).collect();
    let asking = Asking { local: ctx.session.client.is_local(), loading: ctx.core.is_loading() };
    let core = ctx.core;
    let set = core.config.set(&pairs, asking, |old, new, rows| core.apply_settings(old, new, rows));
    set.map_err(|e| Error::text(String::from_utf8_lossy(&e.reply()).into_owned()))?;
    ctx.worker.tick(core);
    core.evict_clients();
    out.ok();
    Ok(())
}

fn config_resetstat(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    ctx.core.stats.reset();
    ctx.core.persist.reset_counts();
    ctx.core.acl.log.reset_counts();
    ctx.core.scripts.cache.reset_evicted();
    ctx.core.replication.syncs.iter().for_each(|n| n.store(0, std::sync::atomic::Ordering::Relaxed));
    ctx.core.reaper.done.store(0, std::sync::atomic::Ordering::Release);
    ctx.core.upkeep.capped.store(0, std::sync::atomic::Ordering::Relaxed);
    out.ok();
    Ok(())
}

fn config_rewrite(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    rewrite_as(ctx, rewrite::Defaults::Omit)?;
    out.ok();
    Ok(())
}

/// Rewrites the file that the settings came from.
pub(super) fn rewrite_as(ctx: &Ctx<'_>, defaults: rewrite::Defaults) -> Result {
    let Some(path) = &ctx.core.config_file else {
        return Err(Error::new("ERR The server is running without a config file"));
    };
    rewrite::rewrite_file(path, ctx.config(), &ctx.core.acl.directives(), defaults).map_err(|error| {
        tracing::warn!("CONFIG REWRITE failed: {error}");
        Error::text(format!("ERR Rewriting config file: {error}"))
    })?;
    tracing::info!("CONFIG REWRITE executed with success.");
    Ok(())
}

fn config_help(_: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    help(
        out,
        "CONFIG",
        &[
            ("GET <pattern>", "Settings that match the pattern, with their values."),
            ("SET <directive> <value>", "Changes settings, all of them or none."),
            ("RESETSTAT", "Sets the counters of INFO back to zero."),
            ("REWRITE", "Writes the settings back to the file that they came from."),
        ],
    );
    Ok(())
}
