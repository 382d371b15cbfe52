//! What is inside of a stream? XINFO.

use crate::commands::prelude::*;
use crate::commands::streams::{reply_entries, reply_entry, reply_id};
use crate::commands::streams_groups::no_group_in;
use crate::value::Stream;
use crate::value::stream::{Consumer, ConsumerId, Group, Pending, StreamId};

/// The row of XINFO.
pub const COMMANDS: &[Command] = &[Command::container("xinfo", XINFO).doc(
    "stream",
    "5.0.0",
    "Depends on subcommand.",
    "Looks into a stream.",
    "",
)];

const XINFO: &[Command] = &[
    Command::new("stream", xinfo_stream)
        .arity(-3)
        .flags(READONLY)
        .acl(STREAM)
        .keys(&[one(RO | ACCESS, 2)])
        .doc(
            "stream",
            "5.0.0",
            "O(1)",
            "Shows the size and the ids of a stream, or all about it.",
            "key:key@0 [full-block{FULL [COUNT count:int]}]",
        ),
    Command::new("help", xinfo_help).arity(2).flags(LOADING | STALE).acl(STREAM).doc(
        "stream",
        "5.0.0",
        "O(1)",
        "Shows the subcommands.",
        "",
    ),
    Command::new("groups", xinfo_groups)
        .arity(3)
        .flags(READONLY)
        .acl(STREAM)
        .keys(&[one(RO | ACCESS, 2)])
        .doc("stream", "5.0.0", "O(1)", "Lists the groups of a stream.", "key:key@0"),
    Command::new("consumers", xinfo_consumers)
        .arity(4)
        .flags(READONLY)
        .acl(STREAM)
        .keys(&[one(RO | ACCESS, 2)])
        .tips(&["nondeterministic_output"])
        .doc("stream", "5.0.0", "O(1)", "Lists the consumers of a group.", "key:key@0 group:str"),
];

fn reply_count(out: &mut Reply<'_>, name: &str, n: u64) {
    out.bulk(name.as_bytes());
    // Two's complement, as Redis prints them: XSETID may have put a counter at the edge.
    out.int(n.cast_signed());
}

fn reply_named_id(out: &mut Reply<'_>, name: &str, id: StreamId) {
    out.bulk(name.as_bytes());
    reply_id(out, id);
}

/// A number that may not be known.
fn reply_known(out: &mut Reply<'_>, name: &str, n: Option<i64>) {
    out.bulk(name.as_bytes());
    match n {
        Some(n) => out.int(n),
        None => out.null(),
    }
}

/// What a group has read, and how far it is behind.
fn reply_progress(out: &mut Reply<'_>, stream: &Stream, group: &Group) {
    let read = group.entries_read.map(u64::cast_signed);
    reply_known(out, "entries-read", read);
    reply_known(out, "lag", stream.meta().lag(group));
}

/// Reads `[FULL [COUNT count]]`: the count of entries to show in full, 0 for all.
fn full_count(args: &mut Args<'_>) -> Result<Option<usize>> {
    if args.left() == 0 {
        return Ok(None);
    }
    if !matches!(args.left(), 1 | 3) || !args.word("FULL") {
        return Err(args.bad_subcommand());
    }
    if args.left() == 0 {
        return Ok(Some(10));
    }
    if !args.word("COUNT") {
        return Err(args.bad_subcommand());
    }
    let n = args.int()?;
    Ok(Some(if n < 0 { 10 } else { usize::try_from(n).unwrap_or(usize::MAX) }))
}

fn xinfo_stream(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let stream = ctx.read::<Stream>(&key)?.ok_or(error::NO_SUCH_KEY)?;
    let full = full_count(args)?;
    let meta = stream.meta();
    out.map(if full.is_some() { 9 } else { 10 });
    reply_count(out, "length", stream.len());
    reply_count(out, "radix-tree-keys", stream.nodes().len() as u64);
    reply_count(out, "radix-tree-nodes", stream.radix_nodes() as u64);
    reply_named_id(out, "last-generated-id", meta.last_id);
    reply_named_id(out, "max-deleted-entry-id", meta.max_deleted_id);
    reply_count(out, "entries-added", meta.entries_added);
    reply_named_id(out, "recorded-first-entry-id", meta.first_id);
    match full {
        Some(count) => reply_full(out, stream, count),
        None => {
            reply_count(out, "groups", stream.groups().len() as u64);
            for (name, entry) in [
                ("first-entry", stream.iter().next()),
                ("last-entry", stream.range_rev(StreamId::MIN..=StreamId::MAX).next()),
            ] {
                out.bulk(name.as_bytes());
                match entry {
                    Some(entry) => reply_entry(out, &entry),
                    None => out.null(),
                }
            }
        }
    }
    Ok(())
}

/// The entries and groups of XINFO STREAM FULL.
fn reply_full(out: &mut Reply<'_>, stream: &Stream, count: usize) {
    out.bulk(b"entries");
    reply_entries(out, stream.iter(), count);
    out.bulk(b"groups");
    out.array(stream.groups().len());
    for (name, group) in stream.groups() {
        out.map(7);
        out.bulk(b"name");
        out.bulk(name);
        reply_named_id(out, "last-delivered-id", group.last_id);
        reply_progress(out, stream, group);
        reply_count(out, "pel-count", group.pending_count() as u64);
        out.bulk(b"pending");
        reply_pending(out, group.pending_range(StreamId::MIN..=StreamId::MAX), count, Some(group));
        out.bulk(b"consumers");
        out.array(group.consumer_count());
        for (id, consumer) in group.consumers() {
            reply_consumer(out, group, id, consumer, count);
        }
    }
}

fn reply_consumer(out: &mut Reply<'_>, group: &Group, id: ConsumerId, consumer: &Consumer, count: usize) {
    out.map(5);
    out.bulk(b"name");
    out.bulk(consumer.name());
    out.bulk(b"seen-time");
    out.int(consumer.seen_time);
    out.bulk(b"active-time");
    out.int(consumer.active_time);
    reply_count(out, "pel-count", consumer.pending_count() as u64);
    out.bulk(b"pending");
    reply_pending(out, group.consumer_pending(id, StreamId::MIN..=StreamId::MAX), count, None);
}

/// Pending entries; with their owners if `owners` is given.
fn reply_pending<'a>(
    out: &mut Reply<'_>,
    records: impl Iterator<Item = (StreamId, &'a Pending)>,
    count: usize,
    owners: Option<&Group>,
) {
    let (mark, mut n) = (out.open(), 0);
    for (id, record) in records.take(if count == 0 { usize::MAX } else { count }) {
        out.array(if owners.is_some() { 4 } else { 3 });
        reply_id(out, id);
        if let Some(group) = owners {
            out.bulk(group.consumer(record.consumer).map_or(b"", |c| c.name()));
        }
        out.int(record.delivery_time);
        out.int(record.delivery_count.cast_signed());
        n += 1;
    }
    out.close_array(mark, n);
}

fn xinfo_groups(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let stream = ctx.read::<Stream>(&key)?.ok_or(error::NO_SUCH_KEY)?;
    out.array(stream.groups().len());
    for (name, group) in stream.groups() {
        out.map(6);
        out.bulk(b"name");
        out.bulk(name);
        reply_count(out, "consumers", group.consumer_count() as u64);
        reply_count(out, "pending", group.pending_count() as u64);
        reply_named_id(out, "last-delivered-id", group.last_id);
        reply_progress(out, stream, group);
    }
    Ok(())
}

fn xinfo_consumers(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let name = args.next()?;
    let now = i64::try_from(ctx.now_ms()).unwrap_or(i64::MAX);
    let stream = ctx.read::<Stream>(&key)?.ok_or(error::NO_SUCH_KEY)?;
    let group = stream.group(name).ok_or_else(|| no_group_in(key.name, name))?;
    out.array(group.consumer_count());
    for (_, consumer) in group.consumers() {
        out.map(4);
        out.bulk(b"name");
        out.bulk(consumer.name());
        reply_count(out, "pending", consumer.pending_count() as u64);
        out.bulk(b"idle");
        out.int(now.saturating_sub(consumer.seen_time).max(0));
        out.bulk(b"inactive");
        // -1 stands for a consumer that was never active.
        out.int(if consumer.active_time == -1 { -1 } else { now.saturating_sub(consumer.active_time) });
    }
    Ok(())
}

fn xinfo_help(_: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let lines = [
        ("CONSUMERS <key> <groupname>", "List the consumers of a group."),
        ("GROUPS <key>", "List the groups of a stream."),
        ("STREAM <key> [FULL [COUNT <count>]", "Describe a stream."),
    ];
    help(out, "XINFO", &lines);
    Ok(())
}
