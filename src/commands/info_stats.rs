//! What has the server done? The sections of INFO that come from counters.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use crate::acl::log::Reason;
use crate::commands::info::lines;
use crate::commands::prelude::*;
use crate::pubsub::Space;
use crate::stats::{CommandStats, Counter};

/// A line for each I/O thread.
pub(super) fn threads(ctx: &mut Ctx<'_>, text: &mut String) -> std::fmt::Result {
    let clients = ctx.core.clients.all();
    for id in 0..ctx.core.clients.threads() {
        let Some(thread) = ctx.core.stats.threads.get(id) else { continue };
        let own = clients.iter().filter(|client| client.thread == id).count();
        let [reads, writes] = &thread.socket_calls;
        write!(text, "io_thread_{id}:clients={own},reads={},writes={}\r\n", reads.get(), writes.get())?;
    }
    Ok(())
}

pub(super) fn stats(ctx: &mut Ctx<'_>, text: &mut String) -> std::fmt::Result {
    traffic(ctx, text)?;
    keys(ctx, text)?;
    never(ctx, text)?;
    clients(ctx, text)?;
    loops(ctx, text)
}

fn traffic(ctx: &Ctx<'_>, text: &mut String) -> std::fmt::Result {
    let s = &ctx.core.stats;
    let rates = s.rates.per_second();
    let kilo = |bytes: f64| format!("{:.2}", bytes / 1024.0);
    lines!(text,
        "total_connections_received": s.connections.load(Ordering::Relaxed),
        "total_commands_processed": s.sum(|t| &t.processed),
        "instantaneous_ops_per_sec": rates.commands,
        "total_net_input_bytes": s.sum(|t| &t.bytes_in),
        "total_net_output_bytes": s.sum(|t| &t.bytes_out),
        "total_net_repl_input_bytes": 0,
        "total_net_repl_output_bytes": 0,
        "instantaneous_input_kbps": kilo(rates.net[0]),
        "instantaneous_output_kbps": kilo(rates.net[1]),
        "instantaneous_input_repl_kbps": kilo(rates.replication[0]),
        "instantaneous_output_repl_kbps": kilo(rates.replication[1]),
        "rejected_connections": s.rejected_connections.load(Ordering::Relaxed),
        "sync_full": ctx.core.replication.syncs[0].load(Ordering::Relaxed),
        "sync_partial_ok": ctx.core.replication.syncs[1].load(Ordering::Relaxed),
        "sync_partial_err": ctx.core.replication.syncs[2].load(Ordering::Relaxed),
    )
}

fn keys(ctx: &Ctx<'_>, text: &mut String) -> std::fmt::Result {
    let core = ctx.core;
    let s = &core.stats;
    lines!(text,
        "expired_subkeys": s.sum(|t| &t.expired_fields),
        "expired_keys": s.sum(|t| &t.expired),
        "expired_stale_perc": format_args!("{:.2}", core.upkeep.stale_ppm.load(Ordering::Relaxed) as f64 / 10_000.0),
        "expired_time_cap_reached_count": core.upkeep.capped.load(Ordering::Relaxed),
        "expire_cycle_cpu_milliseconds": core.upkeep.sweep_us.load(Ordering::Relaxed) / 1000,
        "evicted_keys": s.sum(|t| &t.evicted),
        "evicted_clients": s.evicted_clients.load(Ordering::Relaxed),
        "evicted_scripts": core.scripts.cache.evicted(),
        "total_eviction_exceeded_time": s.eviction_micros.load(Ordering::Relaxed) / 1000,
        "current_eviction_exceeded_time": 0,
        "keyspace_hits": s.sum(|t| &t.hits),
        "keyspace_misses": s.sum(|t| &t.misses),
        "pubsub_channels": core.pubsub.distinct(Space::Channel),
        "pubsub_patterns": core.pubsub.distinct(Space::Pattern),
        "pubsubshard_channels": core.pubsub.distinct(Space::Shard),
    )
}

/// What this server never or seldom does. There is no fork, and no active defragmentation; what Redis forks for is
/// counted as if it had been one.
fn never(ctx: &Ctx<'_>, text: &mut String) -> std::fmt::Result {
    lines!(text,
        "latest_fork_usec": 0,
        "total_forks": ctx.core.persist.status.tasks.load(Ordering::Relaxed),
        "migrate_cached_sockets": ctx.core.couriers.len(),
        "slave_expires_tracked_keys": ctx.core.replication.link.remembered(),
        "active_defrag_hits": 0,
        "active_defrag_misses": 0,
        "active_defrag_key_hits": 0,
        "active_defrag_key_misses": 0,
        "total_active_defrag_time": 0,
        "current_active_defrag_time": 0,
    )
}

fn clients(ctx: &Ctx<'_>, text: &mut String) -> std::fmt::Result {
    let s = &ctx.core.stats;
    let [requests, replies] = &s.overflows;
    lines!(text,
        "tracking_total_keys": ctx.core.clients.tracking.keys.load(Ordering::Relaxed),
        "tracking_total_items": ctx.core.clients.tracking.items.load(Ordering::Relaxed),
        "tracking_total_prefixes": ctx.core.clients.tracking.prefixes(),
        "unexpected_error_replies": 0,
        "total_error_replies": s.sum(|t| &t.errors),
        "dump_payload_sanitizations": 0,
        "total_reads_processed": s.sum(|t| &t.socket_calls[0]),
        "total_writes_processed": s.sum(|t| &t.socket_calls[1]),
        "io_threaded_reads_processed": s.sum(|t| &t.socket_calls[0]),
        "io_threaded_writes_processed": s.sum(|t| &t.socket_calls[1]),
        "io_threaded_total_prefetch_batches": 0,
        "io_threaded_total_prefetch_entries": 0,
        "client_query_buffer_limit_disconnections": requests.load(Ordering::Relaxed),
        "client_output_buffer_limit_disconnections": replies.load(Ordering::Relaxed),
        "reply_buffer_shrinks": 0,
        "reply_buffer_expands": 0,
    )
}

/// Turns of all threads stand for the cycles of an event loop.
fn loops(ctx: &Ctx<'_>, text: &mut String) -> std::fmt::Result {
    let s = &ctx.core.stats;
    let rates = s.rates.per_second();
    let denied = |reason| ctx.core.acl.log.count(reason);
    lines!(text,
        "eventloop_cycles": s.sum(|t| &t.turns.count),
        "eventloop_duration_sum": s.sum(|t| &t.turns.micros),
        "eventloop_duration_cmd_sum": s.sum(|t| &t.turns.command_micros),
        "instantaneous_eventloop_cycles_per_sec": rates.turns,
        "instantaneous_eventloop_duration_usec": rates.turn_us,
        "acl_access_denied_auth": denied(Reason::Auth),
        "acl_access_denied_cmd": denied(Reason::Command),
        "acl_access_denied_key": denied(Reason::Key),
        "acl_access_denied_channel": denied(Reason::Channel),
    )
}

pub(super) fn debug(ctx: &mut Ctx<'_>, text: &mut String) -> std::fmt::Result {
    let s = &ctx.core.stats;
    let most = |of: fn(&crate::stats::Turns) -> &Counter| {
        s.threads.iter().map(|t| of(&t.turns).get()).max().unwrap_or(0)
    };
    // Behind the I/O threads comes the one that works in the background.
    let cron = s.threads.get(ctx.core.clients.threads());
    let lua = s.sum(|t| &t.lua_bytes[0]) + s.sum(|t| &t.lua_bytes[1]);
    lines!(text,
        "eventloop_duration_aof_sum": s.aof_micros.load(Ordering::Relaxed),
        "eventloop_duration_cron_sum": cron.map_or(0, |background| background.turns.micros.get()),
        "eventloop_duration_max": most(|t| &t.longest),
        "eventloop_cmd_per_cycle_max": most(|t| &t.most_commands),
        "allocator_allocated_lua": lua,
        "allocator_active_lua": lua,
        "allocator_resident_lua": 0,
        "allocator_frag_bytes_lua": 0,
    )
}

pub(super) fn cpu(_: &mut Ctx<'_>, text: &mut String) -> std::fmt::Result {
    let (user, system) = cpu_seconds("/proc/self/stat");
    let (own_user, own_system) = cpu_seconds("/proc/thread-self/stat");
    lines!(text,
        "used_cpu_sys": format_args!("{system:.6}"),
        "used_cpu_user": format_args!("{user:.6}"),
        "used_cpu_sys_children": "0.000000",
        "used_cpu_user_children": "0.000000",
        "used_cpu_sys_main_thread": format_args!("{own_system:.6}"),
        "used_cpu_user_main_thread": format_args!("{own_user:.6}"),
    )
}

/// Seconds of CPU time in user mode and in the system, as the `stat` file of a process or thread tells them.
fn cpu_seconds(path: &str) -> (f64, f64) {
    let stat = std::fs::read_to_string(path).unwrap_or_default();
    // The name of the program, in parentheses, may hold anything.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let seconds = |at: usize| {
        let ticks: f64 = fields.split_whitespace().nth(at).and_then(|n| n.parse().ok()).unwrap_or(0.0);
        ticks / rustix::param::clock_ticks_per_second().max(1) as f64
    };
    (seconds(11), seconds(12))
}

pub(super) fn commandstats(ctx: &mut Ctx<'_>, text: &mut String) -> std::fmt::Result {
    for entry in ctx.core.table.entries() {
        let sum = |of: fn(&CommandStats) -> &Counter| -> u64 {
            ctx.core.stats.threads.iter().map(|t| of(&t.commands[entry.id]).get()).sum()
        };
        let (calls, usec) = (sum(|c| &c.calls), sum(|c| &c.nanos) / 1000);
        let (rejected, failed) = (sum(|c| &c.rejected), sum(|c| &c.failed));
        if calls + rejected + failed > 0 {
            let per_call = if calls > 0 { usec as f64 / calls as f64 } else { 0.0 };
            let name = &entry.name;
            write!(text, "cmdstat_{name}:calls={calls},usec={usec},usec_per_call={per_call:.2}")?;
            write!(text, ",rejected_calls={rejected},failed_calls={failed}\r\n")?;
        }
    }
    Ok(())
}

pub(super) fn errorstats(ctx: &mut Ctx<'_>, text: &mut String) -> std::fmt::Result {
    for (code, n) in ctx.core.stats.errors.all() {
        // Codes that scripts make up must not break the format.
        let code = code.replace(['#', ':', '\r', '\n'], "_");
        write!(text, "errorstat_{code}:count={n}\r\n")?;
    }
    Ok(())
}

pub(super) fn latencystats(ctx: &mut Ctx<'_>, text: &mut String) -> std::fmt::Result {
    let config = ctx.config();
    if !config.latency_tracking {
        return Ok(());
    }
    let percentiles = &config.latency_tracking_info_percentiles;
    for entry in ctx.core.table.entries() {
        let Some(all) = ctx.core.stats.distribution(entry.id) else { continue };
        let list: Vec<String> = percentiles
            .named()
            .map(|(name, percentile)| format!("p{name}={:.3}", all.percentile(percentile) as f64 / 1000.0))
            .collect();
        write!(text, "latency_percentiles_usec_{}:{}\r\n", entry.name, list.join(","))?;
    }
    Ok(())
}
