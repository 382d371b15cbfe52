//! How do consumers share the entries of a stream? Groups, and what is pending in them.
//!
//! What a group knows is logged as its outcome: XCLAIM for a record of a pending entry, XGROUP SETID for what was
//! received, XGROUP CREATECONSUMER for a consumer that appeared on the way.

use crate::commands::prelude::*;
use crate::commands::streams::{
    Ids, deletions, id_text, interval_end, interval_start, reply_all_missing, reply_deletion, reply_entry,
    reply_id, strict_id, strict_ids,
};
use crate::value::stream::{ClaimOptions, Claimed, ConsumerId, Deletion, Group, Pending, StreamId};
use crate::value::{Stream, Typed};

/// The rows of what has to do with groups.
pub const COMMANDS: &[Command] = &[
    Command::new("xack", xack).arity(-4).flags(WRITE | FAST).acl(STREAM).keys(&[one(RW | UPDATE, 1)]).doc("stream", "5.0.0", "O(1) per entry", "Takes entries off the pending list of a group.", "key:key@0 group:str id:str..."),
    Command::new("xackdel", xackdel).arity(-6).flags(WRITE | FAST).acl(STREAM).keys(&[one(RW | UPDATE | DELETE, 1)]).doc("stream", "8.2.0", "O(1) per entry", "Acknowledges entries for a group and deletes them.", "key:key@0 group:str [condition(KEEPREF | DELREF | ACKED)] IDS ids{numids:int id:str...}"),
    Command::new("xpending", xpending).arity(-3).flags(READONLY).acl(STREAM).keys(&[one(RO | ACCESS, 1)]).tips(&["nondeterministic_output"]).doc("stream", "5.0.0", "O(N) for N returned entries; O(M) for the M looked at with IDLE", "Shows what a group has received but not acknowledged.", "key:key@0 group:str [filters{[IDLE min-idle-time:int^6.2.0] start:str end:str count:int [consumer:str]}]"),
    Command::new("xclaim", xclaim).arity(-6).flags(WRITE | FAST).acl(STREAM).keys(&[one(RW | UPDATE, 1)]).tips(&["nondeterministic_output"]).doc("stream", "5.0.0", "O(log N) for N pending entries", "Gives pending entries to another consumer.", "key:key@0 group:str consumer:str min-idle-time:str id:str... [IDLE ms:int] [TIME unix-time-milliseconds:time] [RETRYCOUNT count:int] [FORCE] [JUSTID] [LASTID lastid:str]"),
    Command::new("xautoclaim", xautoclaim).arity(-6).flags(WRITE | FAST).acl(STREAM).keys(&[one(RW | DELETE, 1)]).tips(&["nondeterministic_output"]).doc("stream", "6.2.0", "O(1) while COUNT is small", "Gives the pending entries that have been idle for long to another consumer.", "key:key@0 group:str consumer:str min-idle-time:str start:str [COUNT count:int] [JUSTID]"),
    Command::container("xgroup", XGROUP).doc("stream", "5.0.0", "Depends on subcommand.", "Manages consumer groups.", ""),
];

const XGROUP: &[Command] = &[
    Command::new("createconsumer", xgroup_createconsumer).arity(5).flags(WRITE | DENYOOM).acl(STREAM).keys(&[one(RW | INSERT, 2)]).doc("stream", "6.2.0", "O(1)", "Adds a consumer to a group.", "key:key@0 group:str consumer:str"),
    Command::new("destroy", xgroup_destroy).arity(4).flags(WRITE).acl(STREAM).keys(&[one(RW | DELETE, 2)]).doc("stream", "5.0.0", "O(N) for N pending entries", "Removes a group.", "key:key@0 group:str"),
    Command::new("help", xgroup_help).arity(2).flags(LOADING | STALE).acl(STREAM).doc("stream", "5.0.0", "O(1)", "Shows the subcommands.", ""),
    Command::new("create", xgroup_create).arity(-5).flags(WRITE | DENYOOM).acl(STREAM).keys(&[one(RW | INSERT, 2)]).doc("stream", "5.0.0", "O(1)", "Adds a group to a stream.", "key:key@0 group:str id-selector(id:str | $=new-id) [MKSTREAM] [ENTRIESREAD entriesread/entries-read:int]"),
    Command::new("delconsumer", xgroup_delconsumer).arity(5).flags(WRITE).acl(STREAM).keys(&[one(RW | DELETE, 2)]).doc("stream", "5.0.0", "O(1)", "Removes a consumer and what is pending for it.", "key:key@0 group:str consumer:str"),
    Command::new("setid", xgroup_setid).arity(-5).flags(WRITE).acl(STREAM).keys(&[one(RW | UPDATE, 2)]).doc("stream", "5.0.0", "O(1)", "Sets which entry a group has received last.", "key:key@0 group:str id-selector(id:str | $=new-id) [ENTRIESREAD entriesread/entries-read:int]"),
];

fn no_group(key: &[u8], group: &[u8]) -> Error {
    Error::text(format!(
        "NOGROUP No such key '{}' or consumer group '{}'",
        error::quote(key),
        error::quote(group)
    ))
}

pub(crate) fn no_group_in(key: &[u8], group: &[u8]) -> Error {
    Error::text(format!(
        "NOGROUP No such consumer group '{}' for key name '{}'",
        error::quote(group),
        error::quote(key)
    ))
}

fn now(ctx: &Ctx<'_>) -> i64 {
    i64::try_from(ctx.now_ms()).unwrap_or(i64::MAX)
}

/// Notes that a consumer asked for something, and makes it if need be: its number, and whether it is new. The caller
/// logs it. An error when there is no such group.
pub(crate) fn see_consumer(
    ctx: &mut Ctx<'_>,
    key: &Key<'_>,
    group: &[u8],
    consumer: &[u8],
) -> Result<(ConsumerId, bool)> {
    let now = now(ctx);
    let no_group = || no_group(key.name, group);
    let group = ctx.write::<Stream>(key)?.and_then(|s| s.group_mut(group)).ok_or_else(no_group)?;
    if let Some(id) = group.find_consumer(consumer) {
        if let Some(consumer) = group.consumer_mut(id) {
            consumer.seen_time = now;
        }
        return Ok((id, false));
    }
    let id = group.create_consumer(consumer, now).ok_or_else(no_group)?;
    ctx.changed_unseen(1);
    ctx.notify(key, event::STREAM, "xgroup-createconsumer");
    Ok((id, true))
}

/// Logs a new consumer.
pub(crate) fn log_consumer(ctx: &mut Ctx<'_>, key: &[u8], group: &[u8], consumer: &[u8]) {
    let create: [&[u8]; 5] = [b"XGROUP", b"CREATECONSUMER", key, group, consumer];
    ctx.propagate_as(&create);
}

/// Logs a record of a pending entry, in a form that can be repeated.
pub(crate) fn log_claim(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    group: &[u8],
    consumer: &[u8],
    id: StreamId,
    record: &Pending,
    last_id: StreamId,
) {
    if !ctx.core.log.is_enabled() {
        return;
    }
    let (id, last_id) = (id_text(id), id_text(last_id));
    let (time, count) = (record.delivery_time.to_string(), record.delivery_count.to_string());
    let (time, count) = (time.as_bytes(), count.as_bytes());
    let claim: [&[u8]; 14] = [
        b"XCLAIM",
        key,
        group,
        consumer,
        b"0",
        &id,
        b"TIME",
        time,
        b"RETRYCOUNT",
        count,
        b"FORCE",
        b"JUSTID",
        b"LASTID",
        &last_id,
    ];
    ctx.propagate_as(&claim);
}

/// Logs what a group has received.
pub(crate) fn log_group_id(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    group: &[u8],
    last_id: StreamId,
    read: Option<u64>,
) {
    let read = read.map_or_else(|| "-1".to_owned(), |n| n.to_string());
    let last_id = id_text(last_id);
    let set: [&[u8]; 7] = [b"XGROUP", b"SETID", key, group, &last_id, b"ENTRIESREAD", read.as_bytes()];
    ctx.propagate_as(&set);
}

/// The name of a consumer, as it stands.
fn name_of(group: &Group, consumer: ConsumerId) -> Vec<u8> {
    group.consumer(consumer).map(|c| c.name().to_vec()).unwrap_or_default()
}

fn xack(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let name = args.next()?;
    if ctx.read::<Stream>(&key)?.and_then(|s| s.group(name)).is_none() {
        out.int(0);
        return Ok(());
    }
    let ids = strict_ids(args.take_rest())?;
    let Some(group) = ctx.write::<Stream>(&key)?.and_then(|s| s.group_mut(name)) else { return Ok(()) };
    let acked = ids.iter().filter(|&&id| group.ack(id).is_some()).count();
    ctx.changed_unseen(acked as u64);
    out.len(acked);
    Ok(())
}

fn xackdel(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let group = args.next()?;
    ctx.peek_as::<Stream>(&key)?;
    let (refs, texts) = deletions(args)?;
    let Some(stream) = ctx.write::<Stream>(&key)?.filter(|s| s.group(group).is_some()) else {
        reply_all_missing(out, texts.len());
        return Ok(());
    };
    let (len, mut done) = (stream.len(), 0);
    let ids = strict_ids(texts)?;
    out.array(ids.len());
    for id in ids {
        let deletion = stream.ack_delete(group, id, refs);
        done += u64::from(deletion != Deletion::Missing);
        reply_deletion(out, deletion);
    }
    // Those that were gone already, or are still referred to, were only acknowledged.
    let deleted = len.saturating_sub(stream.len());
    ctx.changed_unseen(done.saturating_sub(deleted));
    if deleted > 0 {
        ctx.changed_by(deleted, &key, event::STREAM, "xdel");
    }
    Ok(())
}

/// What XPENDING asks for besides the summary.
struct PendingQuery<'a> {
    min_idle: i64,
    start: StreamId,
    end: StreamId,
    count: usize,
    consumer: Option<&'a [u8]>,
}

impl<'a> PendingQuery<'a> {
    /// Reads `[IDLE min-idle] start end count [consumer]`; the count is checked first.
    fn parse(args: &mut Args<'a>) -> Result<Option<PendingQuery<'a>>> {
        if args.left() == 0 {
            return Ok(None);
        }
        if !(3..=6).contains(&args.left()) {
            return Err(error::SYNTAX);
        }
        let mut min_idle = 0;
        if args.word("IDLE") {
            min_idle = args.int()?;
            if args.left() < 3 {
                return Err(error::SYNTAX);
            }
        }
        let (start, end) = (args.next()?, args.next()?);
        let count = usize::try_from(args.int()?.max(0)).unwrap_or(usize::MAX);
        let (start, end) = (interval_start(start)?, interval_end(end)?);
        Ok(Some(PendingQuery { min_idle, start, end, count, consumer: args.maybe() }))
    }
}

fn xpending(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let name = args.next()?;
    let query = PendingQuery::parse(args)?;
    let now = now(ctx);
    let group =
        ctx.read::<Stream>(&key)?.and_then(|s| s.group(name)).ok_or_else(|| no_group(key.name, name))?;
    match query {
        Some(query) => reply_pending(out, group, &query, now),
        None => reply_summary(out, group),
    }
    Ok(())
}

fn reply_summary(out: &mut Reply<'_>, group: &Group) {
    out.array(4);
    out.len(group.pending_count());
    let Some((first, last)) = group.pending_edges() else {
        out.null();
        out.null();
        out.null_array();
        return;
    };
    reply_id(out, first);
    reply_id(out, last);
    let (mark, mut n) = (out.open(), 0);
    for (_, consumer) in group.consumers().filter(|(_, c)| c.pending_count() > 0) {
        out.array(2);
        out.bulk(consumer.name());
        out.bulk(consumer.pending_count().to_string().as_bytes());
        n += 1;
    }
    out.close_array(mark, n);
}

fn reply_pending(out: &mut Reply<'_>, group: &Group, query: &PendingQuery<'_>, now: i64) {
    let ids = query.start..=query.end;
    let Some(name) = query.consumer else {
        return reply_records(out, group, group.pending_range(ids), query, now);
    };
    match group.find_consumer(name) {
        Some(consumer) => reply_records(out, group, group.consumer_pending(consumer, ids), query, now),
        None => out.array(0),
    }
}

fn reply_records<'a>(
    out: &mut Reply<'_>,
    group: &Group,
    records: impl Iterator<Item = (StreamId, &'a Pending)>,
    query: &PendingQuery<'_>,
    now: i64,
) {
    let (mark, mut n) = (out.open(), 0);
    let idle = |record: &Pending| now.saturating_sub(record.delivery_time);
    let matching = records.filter(|(_, r)| query.min_idle == 0 || idle(r) >= query.min_idle);
    for (id, record) in matching.take(query.count) {
        out.array(4);
        reply_id(out, id);
        out.bulk(group.consumer(record.consumer).map_or(b"", |c| c.name()));
        out.int(idle(record).max(0));
        out.int(i64::try_from(record.delivery_count).unwrap_or(i64::MAX));
        n += 1;
    }
    out.close_array(mark, n);
}

/// Reads the options of XCLAIM, and the last id that it sets.
fn claim_options(args: &mut Args<'_>, now: i64) -> Result<(ClaimOptions, StreamId)> {
    let mut o = ClaimOptions::default();
    let (mut time, mut last_id) = (now, StreamId::MIN);
    while args.left() > 0 {
        let more = args.left() > 1;
        let bad = |name: &str| Error::text(format!("ERR Invalid {name} option argument for XCLAIM"));
        if args.word("FORCE") {
            o.force = true;
        } else if args.word("JUSTID") {
            o.just_id = true;
        } else if more && args.word("IDLE") {
            time = now.saturating_sub(args.int_or(bad("IDLE"))?);
        } else if more && args.word("TIME") {
            time = args.int_or(bad("TIME"))?;
        } else if more && args.word("RETRYCOUNT") {
            o.retry_count = u64::try_from(args.int_or(bad("RETRYCOUNT"))?).ok();
        } else if more && args.word("LASTID") {
            last_id = strict_id(args.next()?)?;
        } else {
            let option = error::quote(args.next()?);
            return Err(Error::text(format!("ERR Unrecognized XCLAIM option '{option}'")));
        }
    }
    // A time that cannot be is taken for now: clients' clocks differ.
    o.delivery_time = if (0..=now).contains(&time) { time } else { now };
    Ok((o, last_id))
}

fn xclaim(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let name = args.next()?;
    if ctx.read::<Stream>(&key)?.and_then(|s| s.group(name)).is_none() {
        return Err(no_group(key.name, name));
    }
    let consumer = args.next()?;
    let min_idle = args.int_or(Error::new("ERR Invalid min-idle-time argument for XCLAIM"))?.max(0);
    let mut ids = Ids::new();
    while let Some(id) = args.peek().and_then(|text| StreamId::parse_strict(text, 0)) {
        ids.push(id);
        args.next()?;
    }
    let now = now(ctx);
    let (mut options, last_id) = claim_options(args, now)?;
    options.min_idle = min_idle;
    ctx.propagate_nothing();
    let moved = raise_last_id(ctx, &key, name, last_id)?;
    let (member, created) = see_consumer(ctx, &key, name, consumer)?;
    let Some(stream) = ctx.write::<Stream>(&key)? else { return Ok(()) };
    let mut log = Vec::new();
    let (mark, mut n) = (out.open(), 0);
    for id in ids {
        match stream.claim(name, member, id, &options, now) {
            Claimed::Yes(record) => {
                n += 1;
                match stream.get(id).filter(|_| !options.just_id) {
                    Some(entry) => reply_entry(out, &entry),
                    None => reply_id(out, id),
                }
                log.push((id, record, consumer.to_vec()));
            }
            Claimed::Vanished(Some(record)) => {
                let owner = stream.group(name).map(|g| name_of(g, record.consumer));
                log.push((id, record, owner.unwrap_or_default()));
            }
            Claimed::Vanished(None) | Claimed::No => {}
        }
    }
    out.close_array(mark, n);
    log_claims(ctx, &key, name, consumer, created, &log)?;
    if moved && log.is_empty() {
        let state =
            ctx.peek_as::<Stream>(&key)?.and_then(|s| s.group(name)).map(|g| (g.last_id, g.entries_read));
        ctx.changed_unseen(1);
        if let Some((last_id, read)) = state {
            log_group_id(ctx, key.name, name, last_id, read);
        }
    }
    Ok(())
}

/// Raises what a group has received; true when that changed it.
fn raise_last_id(ctx: &mut Ctx<'_>, key: &Key<'_>, name: &[u8], last_id: StreamId) -> Result<bool> {
    let group = ctx.write::<Stream>(key)?.and_then(|s| s.group_mut(name)).filter(|g| g.last_id < last_id);
    let raised = group.is_some();
    if let Some(group) = group {
        group.last_id = last_id;
    }
    Ok(raised)
}

/// Counts and logs records that changed or went, each with its owner, and the consumer who asked if it is new.
fn log_claims(
    ctx: &mut Ctx<'_>,
    key: &Key<'_>,
    group: &[u8],
    consumer: &[u8],
    created: bool,
    log: &[(StreamId, Pending, Vec<u8>)],
) -> Result {
    if created && !log.iter().any(|(_, _, owner)| owner == consumer) {
        log_consumer(ctx, key.name, group, consumer);
    }
    ctx.changed_unseen(log.len() as u64);
    let last_id =
        ctx.peek_as::<Stream>(key)?.and_then(|s| s.group(group)).map_or(StreamId::MIN, |g| g.last_id);
    for (id, record, owner) in log {
        log_claim(ctx, key.name, group, owner, *id, record, last_id);
    }
    Ok(())
}

/// Redis finds no memory for the ids of so many entries (16 TiB).
const MAX_AUTOCLAIM: i64 = 1 << 40;

fn xautoclaim(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let (name, consumer) = (args.next()?, args.next()?);
    let min_idle = args.int_or(Error::new("ERR Invalid min-idle-time argument for XAUTOCLAIM"))?.max(0);
    let start = interval_start(args.next()?)?;
    let (mut count, mut just_id) = (100, false);
    while args.left() > 0 {
        if args.left() > 1 && args.word("COUNT") {
            count = args.int_in(1, i64::MAX / 16, Error::new("ERR COUNT must be > 0"))?;
        } else if args.word("JUSTID") {
            just_id = true;
        } else {
            return Err(error::SYNTAX);
        }
    }
    if ctx.read::<Stream>(&key)?.and_then(|s| s.group(name)).is_none() {
        return Err(no_group(key.name, name));
    }
    if count > MAX_AUTOCLAIM {
        return Err(Error::new(
            "ERR Insufficient memory, failed allocating transient memory, COUNT too high.",
        ));
    }
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    ctx.propagate_nothing();
    let (member, created) = see_consumer(ctx, &key, name, consumer)?;
    let (now, mut claimed, mut gone) = (now(ctx), Vec::new(), Vec::new());
    let Some(stream) = ctx.write::<Stream>(&key)? else { return Ok(()) };
    // What is claimed and what is gone is listed after where to go on.
    let mut entries = Vec::new();
    let mut list = Reply::new(&mut entries, out.proto());
    let next = stream.claim_idle(name, member, start, count, min_idle, just_id, now, |id, record, entry| {
        match &entry {
            None => gone.push(id),
            Some(_) if just_id => reply_id(&mut list, id),
            Some(entry) => reply_entry(&mut list, entry),
        }
        claimed.push((id, record));
    });
    let owners = stream.group(name);
    let log: Vec<_> = claimed
        .into_iter()
        .map(|(id, record)| (id, record, owners.map(|g| name_of(g, record.consumer)).unwrap_or_default()))
        .collect();
    out.array(3);
    reply_id(out, next);
    out.array(log.len() - gone.len());
    out.raw(&entries);
    out.bulks(gone.iter().map(|&id| id_text(id)));
    log_claims(ctx, &key, name, consumer, created, &log)
}

/// The options of XGROUP CREATE and SETID.
#[derive(Default)]
struct GroupOptions {
    make_stream: bool,
    entries_read: Option<u64>,
}

impl GroupOptions {
    fn parse(args: &mut Args<'_>, for_create: bool) -> Result<GroupOptions> {
        let mut o = GroupOptions::default();
        while args.left() > 0 {
            if for_create && args.word("MKSTREAM") {
                o.make_stream = true;
            } else if args.left() > 1 && args.word("ENTRIESREAD") {
                let n = args.int()?;
                if n < -1 {
                    return Err(Error::new("ERR value for ENTRIESREAD must be positive or -1"));
                }
                o.entries_read = u64::try_from(n).ok();
            } else {
                return Err(args.bad_subcommand());
            }
        }
        Ok(o)
    }
}

fn key_required() -> Error {
    Error::new(
        "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the \
         MKSTREAM option to create an empty stream automatically.",
    )
}

/// The stream of an XGROUP subcommand, and its group.
fn existing<'c>(ctx: &'c mut Ctx<'_>, key: &Key<'_>, group: &[u8]) -> Result<&'c mut Stream> {
    let stream = ctx.write::<Stream>(key)?.ok_or_else(key_required)?;
    if stream.group(group).is_none() {
        return Err(no_group_in(key.name, group));
    }
    Ok(stream)
}

fn xgroup_create(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let (group, text) = (args.next()?, args.next()?);
    let options = GroupOptions::parse(args, true)?;
    let last = ctx.peek_as::<Stream>(&key)?.map(|s| s.meta().last_id);
    if last.is_none() && !options.make_stream {
        return Err(key_required());
    }
    if args.count() > 8 {
        return Err(args.bad_subcommand());
    }
    let id = if text == b"$" { last.unwrap_or_default() } else { strict_id(text)? };
    if last.is_none() {
        ctx.insert(&key, Stream::fresh(), None);
    }
    let Some(stream) = ctx.write::<Stream>(&key)? else { return Err(error::WRONG_TYPE) };
    if !stream.create_group(group, id, options.entries_read) {
        return Err(Error::new("BUSYGROUP Consumer Group name already exists"));
    }
    if last.is_none() {
        ctx.touched(1, &key);
    } else {
        ctx.changed_unseen(1);
    }
    ctx.notify(&key, event::STREAM, "xgroup-create");
    out.ok();
    Ok(())
}

fn xgroup_setid(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let (group, text) = (args.next()?, args.next()?);
    let options = GroupOptions::parse(args, false)?;
    let replay = ctx.mode == Mode::Replay;
    let stream = existing(ctx, &key, group)?;
    if args.count() > 7 {
        return Err(args.bad_subcommand());
    }
    let id = match text {
        b"$" => stream.meta().last_id,
        text => StreamId::parse(text, 0).ok_or(crate::commands::streams::BAD_ID)?,
    };
    stream.set_group_id(group, id, options.entries_read);
    // The log says what was, even when counting on from a number that a client made up led beyond what was added.
    if replay && let Some(group) = stream.group_mut(group) {
        group.entries_read = options.entries_read;
    }
    ctx.changed_unseen(1);
    ctx.notify(&key, event::STREAM, "xgroup-setid");
    out.ok();
    Ok(())
}

fn xgroup_destroy(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let group = args.next()?;
    let stream = ctx.write::<Stream>(&key)?.ok_or_else(key_required)?;
    let removed = stream.remove_group(group).is_some();
    if removed {
        ctx.changed_unseen(1);
        ctx.notify(&key, event::STREAM, "xgroup-destroy");
        // Those that wait for the group are to learn that it is gone.
        ctx.wake(&key);
    }
    out.flag(removed);
    Ok(())
}

fn xgroup_createconsumer(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let (group, consumer) = (args.next()?, args.next()?);
    let now = now(ctx);
    let stream = existing(ctx, &key, group)?;
    let created = stream.group_mut(group).is_some_and(|g| g.create_consumer(consumer, now).is_some());
    if created {
        ctx.changed_unseen(1);
        ctx.notify(&key, event::STREAM, "xgroup-createconsumer");
    }
    out.flag(created);
    Ok(())
}

fn xgroup_delconsumer(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let (group, consumer) = (args.next()?, args.next()?);
    let stream = existing(ctx, &key, group)?;
    let pending = stream.group_mut(group).and_then(|g| g.remove_consumer(consumer));
    if pending.is_some() {
        ctx.changed_unseen(1);
        ctx.notify(&key, event::STREAM, "xgroup-delconsumer");
    }
    out.len(pending.unwrap_or(0));
    Ok(())
}

fn xgroup_help(_: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let lines = [
        (
            "CREATE <key> <groupname> <id|$> [option]",
            "Add a group. MKSTREAM makes the stream, ENTRIESREAD <n> says how many it has read.",
        ),
        ("CREATECONSUMER <key> <groupname> <consumer>", "Add a consumer to a group."),
        ("DELCONSUMER <key> <groupname> <consumer>", "Take a consumer out of a group."),
        ("DESTROY <key> <groupname>", "Take a group away."),
        ("SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]", "Say what a group has received."),
    ];
    help(out, "XGROUP", &lines);
    Ok(())
}
