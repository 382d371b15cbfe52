//! Where does the memory go? What INFO memory and MEMORY STATS both tell.
//!
//! The allocator is counted by ourselves (`ds::alloc`), with its own statistics compiled out; what the process has
//! beyond that is what the system says that it has resident.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use crate::client::registry::ClientType;
use crate::commands::info::lines;
use crate::commands::prelude::*;
use crate::util::number::human_bytes;

/// Bytes, unless it says otherwise.
#[derive(Debug, Default)]
pub(super) struct Usage {
    /// Allocated now, when the server had started, and at most: the last with the unix seconds of when it was.
    pub used: u64,
    pub startup: u64,
    pub peak: (u64, u64),
    /// Resident according to the system.
    pub resident: u64,
    /// Connections of clients, and of replicas.
    pub clients: u64,
    pub replicas: u64,
    /// What the replication backlog keeps.
    pub backlog: u64,
    /// What waits to be written to the append-only file.
    pub aof_buffer: u64,
    /// Scripts and functions: their texts, and their interpreters.
    pub scripts: u64,
    pub functions: u64,
    pub interpreters: [u64; 2],
    /// Keys, and the bytes of the tables that hold them, by database.
    pub databases: Vec<(u64, u64)>,
}

impl Usage {
    /// As it is now.
    pub fn now(ctx: &mut Ctx<'_>) -> Usage {
        let core = ctx.core;
        let stats = &core.stats;
        let used = crate::ALLOCATOR.used() as u64;
        let mut usage = Usage {
            used,
            startup: stats.startup_bytes.load(Ordering::Relaxed),
            peak: stats.peak.note(used, ctx.now_ms() / 1000),
            resident: resident().unwrap_or(used),
            backlog: core.log.backlog_held().map_or(0, |backlog| backlog.len),
            aof_buffer: core.persist.aof.backlog(&core.log) as u64,
            scripts: core.scripts.cache.source_bytes(),
            functions: core.scripts.libraries.code_bytes() as u64,
            interpreters: [stats.sum(|t| &t.lua_bytes[0]), stats.sum(|t| &t.lua_bytes[1])],
            databases: databases(ctx),
            ..Usage::default()
        };
        for client in core.clients.all() {
            let held = client.memory.load(Ordering::Relaxed);
            let replica = client.kind() == ClientType::Replica;
            *(if replica { &mut usage.replicas } else { &mut usage.clients }) += held as u64;
        }
        usage
    }

    /// The bytes of all tables.
    pub fn tables(&self) -> u64 {
        self.databases.iter().map(|(_, bytes)| bytes).sum()
    }

    /// All that is not data.
    pub fn overhead(&self) -> u64 {
        let parts = [
            self.startup,
            self.clients,
            self.replicas,
            self.backlog,
            self.aof_buffer,
            self.scripts,
            self.functions,
        ];
        parts.into_iter().sum::<u64>() + self.tables()
    }

    /// What is left for data.
    pub fn dataset(&self) -> u64 {
        self.used.saturating_sub(self.overhead())
    }

    /// The same as a share of what has been allocated since the start, in per cent.
    pub fn dataset_percent(&self) -> f64 {
        percent(self.dataset(), self.used.saturating_sub(self.startup))
    }

    /// What is in use as a share of the most that ever was, in per cent.
    pub fn peak_percent(&self) -> f64 {
        percent(self.used, self.peak.0)
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

/// The quotient of two sizes.
pub(super) fn ratio(a: u64, b: u64) -> f64 {
    if b == 0 { 0.0 } else { a as f64 / b as f64 }
}

/// Resident bytes of the process.
fn resident() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// Bytes of memory that the machine has.
fn total_memory() -> u64 {
    let info = rustix::system::sysinfo();
    (info.totalram as u64).saturating_mul(u64::from(info.mem_unit))
}

fn databases(ctx: &mut Ctx<'_>) -> Vec<(u64, u64)> {
    let mut sizes = vec![(0, 0); ctx.keyspace().databases()];
    for shard in 0..ctx.keyspace().shard_count() {
        ctx.locks.with_shard(shard, |shard| {
            for (size, db) in sizes.iter_mut().zip(&shard.dbs) {
                size.0 += db.table.len() as u64;
                size.1 += if db.table.is_empty() { 0 } else { db.table.memory() as u64 };
            }
        });
    }
    sizes
}

pub(super) fn memory(ctx: &mut Ctx<'_>, text: &mut String) -> std::fmt::Result {
    let usage = Usage::now(ctx);
    sizes(&usage, text)?;
    interpreters(ctx, &usage, text)?;
    limits(ctx, &usage, text)
}

fn sizes(u: &Usage, text: &mut String) -> std::fmt::Result {
    let total = total_memory();
    lines!(text,
        "used_memory": u.used,
        "used_memory_human": human_bytes(u.used),
        "used_memory_rss": u.resident,
        "used_memory_rss_human": human_bytes(u.resident),
        "used_memory_peak": u.peak.0,
        "used_memory_peak_human": human_bytes(u.peak.0),
        "used_memory_peak_time": u.peak.1,
        "used_memory_peak_perc": format_args!("{:.2}%", u.peak_percent()),
        "used_memory_overhead": u.overhead(),
        "used_memory_startup": u.startup,
        "used_memory_dataset": u.dataset(),
        "used_memory_dataset_perc": format_args!("{:.2}%", u.dataset_percent()),
        "allocator_allocated": u.used,
        "allocator_active": u.used,
        "allocator_resident": u.resident,
        "allocator_muzzy": 0,
        "total_system_memory": total,
        "total_system_memory_human": human_bytes(total),
    )
}

fn interpreters(ctx: &Ctx<'_>, u: &Usage, text: &mut String) -> std::fmt::Result {
    let scripts = &ctx.core.scripts;
    let (libraries, functions) = scripts.libraries.counts();
    let [eval, fcall] = u.interpreters;
    lines!(text,
        "used_memory_lua": eval,
        "used_memory_vm_eval": eval,
        "used_memory_lua_human": human_bytes(eval),
        "used_memory_scripts_eval": u.scripts,
        "number_of_cached_scripts": scripts.cache.len(),
        "number_of_functions": functions,
        "number_of_libraries": libraries,
        "used_memory_vm_functions": fcall,
        "used_memory_vm_total": eval + fcall,
        "used_memory_vm_total_human": human_bytes(eval + fcall),
        "used_memory_functions": u.functions,
        "used_memory_scripts": u.scripts + u.functions,
        "used_memory_scripts_human": human_bytes(u.scripts + u.functions),
    )
}

fn limits(ctx: &Ctx<'_>, u: &Usage, text: &mut String) -> std::fmt::Result {
    let config = ctx.config();
    let reaper = &ctx.core.reaper;
    let beyond = u.resident.saturating_sub(u.used);
    lines!(text,
        "maxmemory": config.maxmemory,
        "maxmemory_human": human_bytes(config.maxmemory),
        "maxmemory_policy": String::from_utf8_lossy(&config.get(&[b"maxmemory-policy"]).remove(0).1),
        "allocator_frag_ratio": "1.00",
        "allocator_frag_bytes": 0,
        "allocator_rss_ratio": format_args!("{:.2}", ratio(u.resident, u.used)),
        "allocator_rss_bytes": beyond,
        "rss_overhead_ratio": "1.00",
        "rss_overhead_bytes": 0,
        "mem_fragmentation_ratio": format_args!("{:.2}", ratio(u.resident, u.used)),
        "mem_fragmentation_bytes": beyond,
        "mem_not_counted_for_evict": crate::dispatch::evict::not_counted(ctx.core),
        "mem_replication_backlog": u.backlog,
        "mem_total_replication_buffers": u.backlog + u.replicas,
        "mem_replica_full_sync_buffer": 0,
        "mem_clients_slaves": u.replicas,
        "mem_clients_normal": u.clients,
        "mem_cluster_links": 0,
        "mem_aof_buffer": u.aof_buffer,
        "mem_allocator": "jemalloc-5.3.0",
        "mem_overhead_db_hashtable_rehashing": 0,
        "active_defrag_running": 0,
        "lazyfree_pending_objects": reaper.pending.load(Ordering::Acquire),
        "lazyfreed_objects": reaper.done.load(Ordering::Acquire) + ctx.core.stats.errors.dropped(),
    )
}
