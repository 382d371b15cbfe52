//! How is the server doing? INFO and TIME.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use crate::client::Client;
use crate::client::registry::{ClientType, KILLED};
use crate::commands::prelude::*;
use crate::commands::{info_keyspace, info_memory, info_stats};
use crate::config::REDIS_VERSION;

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    Command::new("info", info)
        .lock(Lock::Walk)
        .arity(-1)
        .flags(LOADING | STALE)
        .acl(DANGEROUS)
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .doc(
            "server",
            "1.0.0",
            "O(1)",
            "Tells how the server is doing, section by section.",
            "[section:str...]",
        ),
    Command::new("time", time).arity(1).flags(LOADING | STALE | FAST).tips(&["nondeterministic_output"]).doc(
        "server",
        "2.6.0",
        "O(1)",
        "Gets the unix time in seconds, and the microseconds within the second.",
        "",
    ),
];

type Section = (&'static str, When, fn(&mut Ctx<'_>, &mut String) -> std::fmt::Result);

/// Who gets to see a section that is not asked for by its name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    /// Everybody.
    Usual,
    /// Who asks for `all` or `everything`.
    All,
    /// Nobody.
    Named,
}

/// The sections in the order in which INFO prints them.
const SECTIONS: &[Section] = &[
    ("Server", When::Usual, server),
    ("Clients", When::Usual, clients),
    ("Memory", When::Usual, info_memory::memory),
    ("Persistence", When::Usual, persistence),
    ("Threads", When::Usual, info_stats::threads),
    ("Stats", When::Usual, info_stats::stats),
    ("Replication", When::Usual, replication),
    ("CPU", When::Usual, info_stats::cpu),
    ("Modules", When::Usual, modules),
    ("Commandstats", When::All, info_stats::commandstats),
    ("Errorstats", When::Usual, info_stats::errorstats),
    ("Latencystats", When::All, info_stats::latencystats),
    ("Cluster", When::Usual, cluster),
    ("Keyspace", When::Usual, info_keyspace::keyspace),
    ("Keysizes", When::All, info_keyspace::keysizes),
    ("Debug", When::Named, info_stats::debug),
];

fn info(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let asked: Vec<String> =
        args.take_rest().iter().map(|a| String::from_utf8_lossy(a).to_ascii_lowercase()).collect();
    let has = |names: &[&str]| asked.iter().any(|a| names.contains(&a.as_str()));
    let (usual, all) = (asked.is_empty() || has(&["default"]), has(&["all", "everything"]));
    let mut text = String::new();
    for (name, when, write) in SECTIONS {
        let lower = name.to_ascii_lowercase();
        let named = asked.contains(&lower) || (lower == "modules" && has(&["module_list"]));
        let shown = match when {
            When::Usual => usual || all,
            // Distributions that take a walk through all keys are left out where nobody asked for them.
            When::All => all && (lower != "keysizes" || info_keyspace::is_small(ctx)),
            When::Named => false,
        };
        if shown || named {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            let _ = write!(text, "# {name}\r\n");
            let _ = write(ctx, &mut text);
        }
    }
    out.verbatim("txt", text.as_bytes());
    Ok(())
}

macro_rules! lines {
    ($text:expr, $($name:literal: $value:expr),* $(,)?) => {{
        $(write!($text, concat!($name, ":{}\r\n"), $value)?;)*
        Ok(())
    }};
}

pub(super) use lines;

fn server(ctx: &mut Ctx<'_>, text: &mut String) -> std::fmt::Result {
    let core = ctx.core;
    let uptime = (core.clock.monotonic_us().saturating_sub(core.started_us)) / 1_000_000;
    let config = ctx.config();
    let shown = |path: std::io::Result<std::path::PathBuf>| path.unwrap_or_default().display().to_string();
    let file = core.config_file.as_ref().map_or_else(String::new, |path| shown(std::path::absolute(path)));
    let supervised = core.outside.is_supervised(config);
    let system = rustix::system::uname();
    let word = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    lines!(text,
        "redis_version": REDIS_VERSION,
        "redis_git_sha1": "00000000",
        "redis_git_dirty": 0,
        "redis_build_id": concat!("peregrine-", env!("CARGO_PKG_VERSION")),
        "peregrine_version": env!("CARGO_PKG_VERSION"),
        "redis_mode": config.mode(),
        "os": format_args!("{} {} {}", word(system.sysname()), word(system.release()), word(system.machine())),
        "arch_bits": usize::BITS,
        "monotonic_clock": "POSIX clock_gettime",
        "multiplexing_api": "epoll",
        "atomicvar_api": "rust",
        "gcc_version": "0.0.0",
        "process_id": std::process::id(),
        "process_supervised": if supervised { "systemd" } else { "no" },
        "run_id": core.run_id,
        "tcp_port": if config.port > 0 { config.port } else { config.tls_port },
        "server_time_usec": core.clock.now_us(),
        "uptime_in_seconds": uptime,
        "uptime_in_days": uptime / 86_400,
        "hz": config.hz,
        "configured_hz": config.hz,
        "lru_clock": ctx.worker.lru_clock(),
        "executable": shown(std::env::current_exe()),
        "config_file": file,
        "io_threads_active": u8::from(core.clients.threads() > 1),
    )?;
    if let Some(left) = core.ending.left_ms(core.clock.monotonic_us() / 1000) {
        writeln!(text, "shutdown_in_milliseconds:{left}\r")?;
    }
    listeners(config, text)
}

/// Where clients can connect, a line for each kind of socket.
fn listeners(config: &crate::config::Config, text: &mut String) -> std::fmt::Result {
    let binds: String = config.bind.0.iter().map(|address| format!(",bind={}", &**address)).collect();
    let mut found = Vec::new();
    if config.port > 0 {
        found.push(format!("name=tcp{binds},port={}", config.port));
    }
    if !config.unixsocket.is_empty() {
        found.push(format!("name=unix,bind={}", &*config.unixsocket));
    }
    if config.tls_port > 0 {
        found.push(format!("name=tls{binds},port={}", config.tls_port));
    }
    found.iter().enumerate().try_for_each(|(n, line)| write!(text, "listener{n}:{line}\r\n"))
}

fn clients(ctx: &mut Ctx<'_>, text: &mut String) -> std::fmt::Result {
    let clients = &ctx.core.clients;
    let mut all = clients.all();
    // Who is being closed is gone already, as far as others are concerned.
    all.retain(|c| !c.has(KILLED));
    let most = |held: fn(&Client) -> usize| all.iter().map(|c| held(c)).max().unwrap_or(0);
    let input = most(|c| c.arguments.load(Ordering::Relaxed) + c.query[0].load(Ordering::Relaxed));
    let output = most(|c| c.output.load(Ordering::Relaxed));
    let subscribed = all.iter().filter(|c| c.subs.iter().any(|n| n.load(Ordering::Relaxed) > 0)).count();
    let watching = all.iter().filter(|c| c.watching.load(Ordering::Relaxed) > 0).count();
    let (mut keys, mut gone, mut watched) = (0, 0, 0);
    for shard in 0..ctx.keyspace().shard_count() {
        ctx.locks.with_shard(shard, |shard| {
            for db in &shard.dbs {
                keys += db.waiters.keys();
                gone += db.waiters.keys_or_gone();
                watched += db.watchers.len();
            }
        });
    }
    lines!(text,
        "connected_clients": all.iter().filter(|c| c.kind() != ClientType::Replica).count(),
        "cluster_connections": 0,
        "maxclients": ctx.config().maxclients,
        "client_recent_max_input_buffer": input,
        "client_recent_max_output_buffer": output,
        "blocked_clients": clients.blocked.load(Ordering::Relaxed) + clients.postponed.load(Ordering::Relaxed),
        "tracking_clients": clients.tracking.clients.load(Ordering::Relaxed),
        "pubsub_clients": subscribed,
        "watching_clients": watching,
        "clients_in_timeout_table": clients.blocked.load(Ordering::Relaxed),
        "total_watched_keys": watched,
        "total_blocking_keys": keys,
        "total_blocking_keys_on_nokey": gone,
    )
}

fn persistence(ctx: &mut Ctx<'_>, text: &mut String) -> std::fmt::Result {
    for (name, value) in crate::persist::info::lines(ctx.core.world(), ctx.core.is_loading()) {
        write!(text, "{name}:{value}\r\n")?;
    }
    Ok(())
}

fn replication(ctx: &mut Ctx<'_>, text: &mut String) -> std::fmt::Result {
    for (name, value) in crate::replication::info::lines(ctx.core.site(), ctx.worker.mono_ms) {
        write!(text, "{name}:{value}\r\n")?;
    }
    Ok(())
}

/// There are none, and there is nothing to say.
fn modules(_: &mut Ctx<'_>, _: &mut String) -> std::fmt::Result {
    Ok(())
}

fn cluster(ctx: &mut Ctx<'_>, text: &mut String) -> std::fmt::Result {
    lines!(text, "cluster_enabled": u8::from(ctx.core.cluster.is_some()))
}

fn time(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    // Time stands still in transactions and scripts.
    let direct = ctx.mode == Mode::Direct;
    let now = if direct { ctx.core.clock.now_us() } else { ctx.now_ms() * 1000 };
    out.bulks([(now / 1_000_000).to_string(), (now % 1_000_000).to_string()].into_iter());
    Ok(())
}
