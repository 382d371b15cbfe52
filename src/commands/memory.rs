//! Where does the memory go? MEMORY.

use crate::commands::info_memory::{self, Usage};
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
        .lock(Lock::Walk)
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
        .lock(Lock::Walk)
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

/// The lines that are numbers, the ratios among them as such.
enum Value {
    Bytes(u64),
    Ratio(f64),
}

fn memory_stats(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let u = Usage::now(ctx);
    let keys: u64 = u.databases.iter().map(|(keys, _)| keys).sum();
    let (bytes, ratio) = (Value::Bytes, Value::Ratio);
    let beyond = u.resident.saturating_sub(u.used);
    let before = [
        ("peak.allocated", bytes(u.peak.0)),
        ("total.allocated", bytes(u.used)),
        ("startup.allocated", bytes(u.startup)),
        ("replication.backlog", bytes(u.backlog)),
        ("replica.fullsync.buffer", bytes(0)),
        ("clients.slaves", bytes(u.replicas)),
        ("clients.normal", bytes(u.clients)),
        ("cluster.links", bytes(0)),
        ("aof.buffer", bytes(u.aof_buffer)),
        ("lua.caches", bytes(u.scripts)),
        ("functions.caches", bytes(u.functions)),
        ("script.VMs", bytes(u.interpreters.iter().sum())),
    ];
    let behind = [
        ("overhead.db.hashtable.lut", bytes(u.tables())),
        ("overhead.db.hashtable.rehashing", bytes(0)),
        ("overhead.total", bytes(u.overhead())),
        ("db.dict.rehashing.count", bytes(0)),
        ("keys.count", bytes(keys)),
        ("keys.bytes-per-key", bytes(u.used.saturating_sub(u.startup).checked_div(keys).unwrap_or(0))),
        ("dataset.bytes", bytes(u.dataset())),
        ("dataset.percentage", ratio(u.dataset_percent())),
        ("peak.percentage", ratio(u.peak_percent())),
        ("allocator.allocated", bytes(u.used)),
        ("allocator.active", bytes(u.used)),
        ("allocator.resident", bytes(u.resident)),
        ("allocator.muzzy", bytes(0)),
        ("allocator-fragmentation.ratio", ratio(1.0)),
        ("allocator-fragmentation.bytes", bytes(0)),
        ("allocator-rss.ratio", ratio(info_memory::ratio(u.resident, u.used))),
        ("allocator-rss.bytes", bytes(beyond)),
        ("rss-overhead.ratio", ratio(1.0)),
        ("rss-overhead.bytes", bytes(0)),
        ("fragmentation", ratio(info_memory::ratio(u.resident, u.used))),
        ("fragmentation.bytes", bytes(beyond)),
    ];
    let used: Vec<(usize, u64)> =
        u.databases.iter().map(|db| db.1).enumerate().filter(|db| db.1 > 0).collect();
    out.map(before.len() + used.len() + behind.len());
    before.into_iter().for_each(|line| write_line(out, line));
    for (db, bytes) in used {
        out.bulk(format!("db.{db}").as_bytes());
        out.map(2);
        write_line(out, ("overhead.hashtable.main", Value::Bytes(bytes)));
        // When a key expires is kept with the key.
        write_line(out, ("overhead.hashtable.expires", Value::Bytes(0)));
    }
    behind.into_iter().for_each(|line| write_line(out, line));
    Ok(())
}

fn write_line(out: &mut Reply<'_>, (name, value): (&str, Value)) {
    out.bulk(name.as_bytes());
    match value {
        Value::Bytes(n) => out.len(usize::try_from(n).unwrap_or(usize::MAX)),
        Value::Ratio(n) => out.double(n),
    }
}

/// A server with less than this is not worth an opinion.
const LITTLE: u64 = 5 << 20;

fn memory_doctor(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let u = Usage::now(ctx);
    let text = if u.used < LITTLE {
        "There is next to nothing in memory, so there is nothing to say about it.\n".to_owned()
    } else {
        let found: Vec<String> = findings(ctx, &u);
        match found.is_empty() {
            true => "Nothing about the memory of this server looks unhealthy.\n".to_owned(),
            false => format!("Worth a look:\n\n{}", found.concat()),
        }
    };
    out.verbatim("txt", text.as_bytes());
    Ok(())
}

/// What is out of the ordinary, a line each.
fn findings(ctx: &Ctx<'_>, u: &Usage) -> Vec<String> {
    let clients = ctx.core.clients.count().max(1) as u64;
    let mebibytes = |bytes: u64| bytes >> 20;
    let mut found = Vec::new();
    if u.peak.0 > u.used / 2 * 3 {
        found.push(format!(
            " * At its peak the data took {} MB, now {}: the process may hold on to memory that it needed then.\n",
            mebibytes(u.peak.0),
            mebibytes(u.used)
        ));
    }
    if u.resident > u.used / 5 * 7 && u.resident - u.used > LITTLE * 2 {
        found.push(format!(
            " * {} MB are resident and only {} in use: memory is fragmented, or was freed a moment ago. MEMORY PURGE \
             gives back what can be given back.\n",
            mebibytes(u.resident),
            mebibytes(u.used)
        ));
    }
    if u.clients / clients > 200 << 10 {
        found.push(
            " * Clients hold more than 200 KB each on average: some may not read their replies.\n".to_owned(),
        );
    }
    if u.replicas > 10 << 20 {
        found.push(" * Replicas hold more than 10 MB of output: one may be slow, or its link.\n".to_owned());
    }
    if ctx.core.scripts.cache.len() > 1000 {
        found.push(
            " * There are more than 1000 scripts: give them arguments instead of new texts.\n".to_owned(),
        );
    }
    found
}

fn memory_purge(_: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    crate::ds::alloc::purge();
    out.ok();
    Ok(())
}

fn memory_malloc_stats(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let u = Usage::now(ctx);
    let text = format!(
        "___ Begin jemalloc statistics ___\nVersion: 5.3.0, its own statistics compiled out\nAllocated: {}, resident: \
         {}, allocated at the most: {}\n--- End jemalloc statistics ---\n",
        u.used, u.resident, u.peak.0
    );
    out.verbatim("txt", text.as_bytes());
    Ok(())
}

fn memory_help(_: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    help(
        out,
        "MEMORY",
        &[
            ("DOCTOR", "Gives an opinion on the use of memory."),
            ("MALLOC-STATS", "Shows what is counted of the allocator."),
            ("PURGE", "Asks the allocator to give memory back."),
            ("STATS", "Tells what memory is used for."),
            ("USAGE <key> [SAMPLES <count>]", "Measures a key with its value, and so many of its elements."),
        ],
    );
    Ok(())
}
