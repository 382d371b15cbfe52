//! How is the server doing? INFO and TIME.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use crate::commands::prelude::*;
use crate::config::REDIS_VERSION;
use crate::keyspace::Keyspace;
use crate::util::number::human_bytes;

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
    Command::new("lolwut", lolwut).arity(-1).flags(READONLY | FAST).doc(
        "server",
        "5.0.0",
        "",
        "Shows the version, and a little art.",
        "[VERSION version:int]",
    ),
];

type Section = (&'static str, fn(&mut Ctx<'_>, &mut String) -> std::fmt::Result);

/// The sections in the order in which INFO prints them.
const SECTIONS: &[Section] = &[
    ("Server", server),
    ("Clients", clients),
    ("Memory", memory),
    ("Persistence", persistence),
    ("Stats", stats),
    ("Replication", replication),
    ("CPU", cpu),
    ("Commandstats", commandstats),
    ("Errorstats", errorstats),
    ("Cluster", cluster),
    ("Keyspace", keyspace),
];

/// Sections that only `all`, `everything` or their own name show.
const EXTRA: &[&str] = &["Commandstats", "Latencystats"];

fn info(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let asked: Vec<String> =
        args.take_rest().iter().map(|a| String::from_utf8_lossy(a).to_ascii_lowercase()).collect();
    let has = |names: &[&str]| asked.iter().any(|a| names.contains(&a.as_str()));
    let mut text = String::new();
    for (name, write) in SECTIONS {
        let usual = (asked.is_empty() || has(&["default"])) && !EXTRA.contains(name);
        if usual || has(&["all", "everything"]) || asked.contains(&name.to_ascii_lowercase()) {
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

fn server(ctx: &mut Ctx<'_>, text: &mut String) -> std::fmt::Result {
    let uptime = (ctx.core.clock.monotonic_us().saturating_sub(ctx.core.started_us)) / 1_000_000;
    let config = ctx.config();
    lines!(text,
        "redis_version": REDIS_VERSION,
        "redis_git_sha1": "00000000",
        "redis_git_dirty": 0,
        "peregrine_version": env!("CARGO_PKG_VERSION"),
        "redis_mode": "standalone",
        "os": std::env::consts::OS,
        "arch_bits": usize::BITS,
        "multiplexing_api": "epoll",
        "process_id": std::process::id(),
        "run_id": ctx.core.run_id,
        "tcp_port": config.port,
        "server_time_usec": ctx.core.clock.now_us(),
        "uptime_in_seconds": uptime,
        "uptime_in_days": uptime / 86_400,
        "hz": config.hz,
        "configured_hz": config.hz,
        "lru_clock": ctx.worker.lru_clock(),
        "io_threads_active": u8::from(ctx.core.clients.threads() > 1),
    )
}

fn clients(ctx: &mut Ctx<'_>, text: &mut String) -> std::fmt::Result {
    let clients = &ctx.core.clients;
    let all = clients.all();
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
        "connected_clients": all.len(),
        "cluster_connections": 0,
        "maxclients": ctx.config().maxclients,
        "client_recent_max_input_buffer": 0,
        "client_recent_max_output_buffer": 0,
        "blocked_clients": clients.blocked.load(Ordering::Relaxed) + clients.postponed.load(Ordering::Relaxed),
        "tracking_clients": clients.tracking.load(Ordering::Relaxed),
        "pubsub_clients": subscribed,
        "watching_clients": watching,
        "clients_in_timeout_table": clients.blocked.load(Ordering::Relaxed),
        "total_watched_keys": watched,
        "total_blocking_keys": keys,
        "total_blocking_keys_on_nokey": gone,
    )
}

fn memory(ctx: &mut Ctx<'_>, text: &mut String) -> std::fmt::Result {
    let used = crate::ALLOCATOR.used() as u64;
    let config = ctx.config();
    lines!(text,
        "used_memory": used,
        "used_memory_human": human_bytes(used),
        "maxmemory": config.maxmemory,
        "maxmemory_human": human_bytes(config.maxmemory),
        "maxmemory_policy": String::from_utf8_lossy(&config.get(&[b"maxmemory-policy"]).remove(0).1),
        "mem_allocator": "jemalloc-5.3.0",
        "lazyfree_pending_objects": ctx.core.reaper.pending.load(Ordering::Acquire),
        "lazyfreed_objects": ctx.core.reaper.done.load(Ordering::Acquire),
    )
}

fn persistence(ctx: &mut Ctx<'_>, text: &mut String) -> std::fmt::Result {
    for (name, value) in crate::persist::info::lines(ctx.core.world(), ctx.core.is_loading()) {
        write!(text, "{name}:{value}\r\n")?;
    }
    Ok(())
}

fn stats(ctx: &mut Ctx<'_>, text: &mut String) -> std::fmt::Result {
    let s = &ctx.core.stats;
    lines!(text,
        "total_connections_received": s.connections.load(Ordering::Relaxed),
        "total_commands_processed": s.sum(|t| &t.processed),
        "instantaneous_ops_per_sec": 0,
        "total_net_input_bytes": s.sum(|t| &t.bytes_in),
        "total_net_output_bytes": s.sum(|t| &t.bytes_out),
        "rejected_connections": s.rejected_connections.load(Ordering::Relaxed),
        "expired_subkeys": s.sum(|t| &t.expired_fields),
        "expired_keys": s.sum(|t| &t.expired),
        "expired_stale_perc": format_args!("{:.2}", ctx.core.upkeep.stale_ppm.load(Ordering::Relaxed) as f64 / 10_000.0),
        "expired_time_cap_reached_count": ctx.core.upkeep.capped.load(Ordering::Relaxed),
        "evicted_keys": s.sum(|t| &t.evicted),
        "evicted_clients": 0,
        "keyspace_hits": s.sum(|t| &t.hits),
        "keyspace_misses": s.sum(|t| &t.misses),
        "pubsub_channels": ctx.core.pubsub.distinct(crate::pubsub::Space::Channel),
        "pubsub_patterns": ctx.core.pubsub.distinct(crate::pubsub::Space::Pattern),
        "pubsubshard_channels": ctx.core.pubsub.distinct(crate::pubsub::Space::Shard),
        "total_error_replies": s.sum(|t| &t.errors),
        "total_reads_processed": s.sum(|t| &t.socket_calls[0]),
        "total_writes_processed": s.sum(|t| &t.socket_calls[1]),
    )
}

fn replication(ctx: &mut Ctx<'_>, text: &mut String) -> std::fmt::Result {
    lines!(text,
        "role": "master",
        "connected_slaves": 0,
        "master_failover_state": "no-failover",
        "master_replid": ctx.core.run_id,
        "master_replid2": "0000000000000000000000000000000000000000",
        "master_repl_offset": 0,
        "second_repl_offset": -1,
        "repl_backlog_active": 0,
        "repl_backlog_size": ctx.config().repl_backlog_size,
        "repl_backlog_first_byte_offset": 0,
        "repl_backlog_histlen": 0,
    )
}

fn cpu(_: &mut Ctx<'_>, text: &mut String) -> std::fmt::Result {
    let clock = |id| {
        let t = rustix::time::clock_gettime(id);
        t.tv_sec as f64 + t.tv_nsec as f64 / 1e9
    };
    lines!(text, "used_cpu_user": format!("{:.6}", clock(rustix::time::ClockId::ProcessCPUTime)))
}

fn commandstats(ctx: &mut Ctx<'_>, text: &mut String) -> std::fmt::Result {
    for entry in ctx.core.table.entries() {
        let sum = |f: fn(&crate::stats::CommandStats) -> &crate::stats::Counter| -> u64 {
            ctx.core.stats.threads.iter().map(|t| f(&t.commands[entry.id]).get()).sum()
        };
        let (calls, usec) = (sum(|c| &c.calls), sum(|c| &c.nanos) / 1000);
        let (rejected, failed) = (sum(|c| &c.rejected), sum(|c| &c.failed));
        if calls + rejected + failed > 0 {
            let per_call = if calls > 0 { usec as f64 / calls as f64 } else { 0.0 };
            write!(
                text,
                "cmdstat_{}:calls={calls},usec={usec},usec_per_call={per_call:.2},rejected_calls={rejected},failed_calls={failed}\r\n",
                entry.name
            )?;
        }
    }
    Ok(())
}

fn errorstats(ctx: &mut Ctx<'_>, text: &mut String) -> std::fmt::Result {
    for (code, n) in &*ctx.core.stats.errors.lock() {
        write!(text, "errorstat_{code}:count={n}\r\n")?;
    }
    Ok(())
}

fn cluster(_: &mut Ctx<'_>, text: &mut String) -> std::fmt::Result {
    lines!(text, "cluster_enabled": 0)
}

fn keyspace(ctx: &mut Ctx<'_>, text: &mut String) -> std::fmt::Result {
    let keyspace: &Keyspace = ctx.keyspace();
    let mut totals = vec![(0usize, 0usize); keyspace.databases()];
    for shard in 0..keyspace.shard_count() {
        ctx.locks.with_shard(shard, |shard| {
            for (total, db) in totals.iter_mut().zip(&shard.dbs) {
                total.0 += db.table.len();
                total.1 += db.expires;
            }
        });
    }
    for (i, (keys, expires)) in totals.iter().enumerate().filter(|(_, t)| t.0 > 0) {
        write!(text, "db{i}:keys={keys},expires={expires},avg_ttl=0,subexpiry=0\r\n")?;
    }
    Ok(())
}

fn time(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let now = ctx.core.clock.now_us();
    out.bulks([(now / 1_000_000).to_string(), (now % 1_000_000).to_string()].into_iter());
    Ok(())
}

fn lolwut(_: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let art = format!("    __\n ~=( o\\__\n    \\___/~>\nPeregrine ver. {REDIS_VERSION}\n");
    out.verbatim("txt", art.as_bytes());
    Ok(())
}
