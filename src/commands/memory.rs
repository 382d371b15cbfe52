//! Where does the memory go? MEMORY.

use crate::commands::prelude::*;
use crate::ds::entry::View;

/// The family's rows.
pub const COMMANDS: &[Command] = &[Command::container("memory", MEMORY).doc(
    "server",
    "4.0.0",
    "Depends on subcommand.",
    "Looks at memory.",
    "",
)];

const MEMORY: &[Command] = &[
    Command::new("stats", memory_stats)
        .arity(2)
        .lock(Lock::Walk)
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .doc("server", "4.0.0", "O(1)", "Tells what memory is used for.", ""),
    Command::new("doctor", memory_doctor)
        .arity(2)
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .doc("server", "4.0.0", "O(1)", "Gives an opinion on the use of memory.", ""),
    Command::new("purge", memory_purge)
        .arity(2)
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .doc("server", "4.0.0", "O(1)", "Asks the allocator to give memory back.", ""),
    Command::new("help", memory_help).arity(2).flags(LOADING | STALE).doc(
        "server",
        "4.0.0",
        "O(1)",
        "Lists the subcommands.",
        "",
    ),
    Command::new("malloc-stats", memory_malloc_stats)
        .arity(2)
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .doc("server", "4.0.0", "O(1)", "Shows what the allocator counts.", ""),
    Command::new("usage", memory_usage).arity(-3).flags(READONLY).keys(&[one(RO, 2)]).doc(
        "server",
        "4.0.0",
        "O(N)",
        "Measures a key with its value, in bytes.",
        "key:key@0 [SAMPLES count:int]",
    ),
];

/// Elements of a collection that are measured unless SAMPLES says otherwise.
const SAMPLES: usize = 5;

fn memory_usage(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let mut samples = SAMPLES;
    while args.left() > 0 {
        if args.left() < 2 || !args.word("samples") {
            return Err(error::SYNTAX);
        }
        samples = match usize::try_from(args.int()?).map_err(|_| error::SYNTAX)? {
            0 => usize::MAX,
            n => n,
        };
    }
    let Some(slot) = ctx.slot(&key) else {
        out.null();
        return Ok(());
    };
    let inside = match slot.view() {
        View::Value(value) => value.memory(samples),
        _ => 0,
    };
    out.len(slot.memory().saturating_add(inside));
    Ok(())
}

fn memory_stats(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let used = crate::ALLOCATOR.used();
    let mut sizes = vec![(0usize, 0usize); ctx.keyspace().databases()];
    for shard in 0..ctx.keyspace().shard_count() {
        ctx.locks.with_shard(shard, |shard| {
            for (size, db) in sizes.iter_mut().zip(&shard.dbs) {
                size.0 += db.table.len();
                size.1 += db.table.memory();
            }
        });
    }
    let (keys, tables) = sizes.iter().fold((0, 0), |sum, size| (sum.0 + size.0, sum.1 + size.1));
    let dataset = used.saturating_sub(tables);
    let mark = out.open();
    let mut n = 0;
    let mut line = |out: &mut Reply<'_>, name: &str, value: usize| {
        out.bulk(name.as_bytes());
        out.len(value);
        n += 1;
    };
    line(out, "peak.allocated", used);
    line(out, "total.allocated", used);
    for name in ["startup.allocated", "replication.backlog", "replica.fullsync.buffer", "clients.slaves"] {
        line(out, name, 0);
    }
    for name in
        ["clients.normal", "cluster.links", "aof.buffer", "lua.caches", "functions.caches", "script.VMs"]
    {
        line(out, name, 0);
    }
    for (db, (_, bytes)) in sizes.iter().enumerate().filter(|(_, size)| size.0 > 0) {
        out.bulk(format!("db.{db}").as_bytes());
        out.map(2);
        out.bulk(b"overhead.hashtable.main");
        out.len(*bytes);
        out.bulk(b"overhead.hashtable.expires");
        out.len(0);
    }
    line(out, "overhead.db.hashtable.lut", tables);
    line(out, "overhead.db.hashtable.rehashing", 0);
    line(out, "overhead.total", tables);
    line(out, "db.dict.rehashing.count", 0);
    line(out, "keys.count", keys);
    line(out, "keys.bytes-per-key", used.checked_div(keys).unwrap_or(0));
    line(out, "dataset.bytes", dataset);
    out.bulk(b"dataset.percentage");
    out.double(if used == 0 { 0.0 } else { dataset as f64 * 100.0 / used as f64 });
    out.bulk(b"peak.percentage");
    out.double(100.0);
    line(out, "allocator.allocated", used);
    let databases = sizes.iter().filter(|size| size.0 > 0).count();
    out.close_map(mark, n + databases + 2);
    Ok(())
}

fn memory_doctor(_: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    out.verbatim("txt", b"Nothing about the memory of this server looks unhealthy.\n");
    Ok(())
}

fn memory_purge(_: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    // The allocator's own threads give unused pages back after a while; there is nothing to hurry along.
    out.ok();
    Ok(())
}

fn memory_malloc_stats(_: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    out.verbatim("txt", format!("jemalloc, bytes allocated: {}\n", crate::ALLOCATOR.used()).as_bytes());
    Ok(())
}

fn memory_help(_: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    const HELP: &[&str] = &[
        "MEMORY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "DOCTOR",
        "    Return memory problems reports.",
        "MALLOC-STATS",
        "    Return internal statistics report from the memory allocator.",
        "PURGE",
        "    Attempt to purge dirty pages for reclamation by the allocator.",
        "STATS",
        "    Return information about the memory usage of the server.",
        "USAGE <key> [SAMPLES <count>]",
        "    Return memory in bytes used by <key> and its value. Nested values are",
        "    sampled up to <count> times (default: 5, 0 means sample all).",
        "HELP",
        "    Print this help.",
    ];
    out.array(HELP.len());
    HELP.iter().for_each(|line| out.simple(line));
    Ok(())
}
