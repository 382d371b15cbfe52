//! How are streams read as they grow? XREAD and XREADGROUP, which may wait for entries.

use crate::commands::prelude::*;
use crate::commands::streams::{id_text, reply_entries, reply_entry, reply_id, strict_id};
use crate::commands::streams_groups::{log_claim, log_consumer, log_group_id, see_consumer};
use crate::dispatch::ctx::OnTimeout;
use crate::keyspace::waiter::Wish;
use crate::util::number;
use crate::value::stream::{Pending, StreamId};
use crate::value::{Kind, Stream};

/// The reading commands' rows.
pub const COMMANDS: &[Command] = &[
    Command::new("xread", xread).arity(-4).flags(READONLY | BLOCKING | MOVABLE_KEYS).acl(STREAM).keys(&[after(RO | ACCESS, "STREAMS", 1, -1, 1, 2)]).find_keys(read_keys).doc("stream", "5.0.0", "", "Gets the entries behind an id from several streams, waiting for some if asked to.", "[COUNT count:int] [BLOCK milliseconds:int] STREAMS streams{key:key@0... id:str...}"),
    Command::new("xreadgroup", xreadgroup).arity(-7).flags(WRITE | BLOCKING | MOVABLE_KEYS).acl(STREAM).keys(&[after(RO | ACCESS, "STREAMS", 4, -1, 1, 2)]).find_keys(read_keys).doc("stream", "5.0.0", "O(M) per stream for M returned entries; a writer pays O(N) to serve N waiting clients", "Gets entries that a group has not received yet, or those pending for a consumer.", "GROUP group-block{group:str consumer:str} [COUNT count:int] [BLOCK milliseconds:int] [NOACK] STREAMS streams{key:key@0... id:str...}"),
];

/// Finds the keys as the handlers do: option by option. A group may be called STREAMS.
fn read_keys(argv: &[&[u8]], keys: &mut Vec<KeyAt>) -> Option<()> {
    let mut at = 1;
    loop {
        let option = argv.get(at)?;
        let is = |word: &str| option.eq_ignore_ascii_case(word.as_bytes());
        at += match () {
            () if is("STREAMS") => break,
            () if is("BLOCK") || is("COUNT") => 2,
            () if is("GROUP") => 3,
            () if is("NOACK") => 1,
            () => return None,
        };
    }
    let first = at + 1;
    // One too many makes a request that the handler refuses; its keys are named all the same.
    let n = argv.len().checked_sub(first).filter(|n| *n > 1)? / 2;
    keys.extend((first..first + n).map(|index| KeyAt { index, flags: RO | ACCESS }));
    Some(())
}

/// The arguments of either command.
struct Reading<'a> {
    /// Most entries per stream; 0 for all.
    count: usize,
    /// How long to wait, in milliseconds, if at all; 0 is for ever.
    block: Option<u64>,
    keys: &'a [&'a [u8]],
    ids: &'a [&'a [u8]],
    /// Group and consumer.
    group: Option<(&'a [u8], &'a [u8])>,
    noack: bool,
}

impl<'a> Reading<'a> {
    fn parse(ctx: &Ctx<'_>, args: &mut Args<'a>, for_group: bool) -> Result<Reading<'a>> {
        let mut r = Reading { count: 0, block: None, keys: &[], ids: &[], group: None, noack: false };
        let only = |option: &str| {
            let text =
                format!("ERR The {option} option is only supported by XREADGROUP. You called XREAD instead.");
            if for_group { Ok(()) } else { Err(Error::text(text)) }
        };
        while args.left() > 0 {
            let more = args.left() - 1;
            if more > 0 && args.word("BLOCK") {
                r.block = Some(millis(ctx, args.next()?)?);
            } else if more > 0 && args.word("COUNT") {
                r.count = usize::try_from(args.int()?.max(0)).unwrap_or(usize::MAX);
            } else if more > 0 && args.word("STREAMS") {
                let rest = args.take_rest();
                if !rest.len().is_multiple_of(2) {
                    return Err(unbalanced(for_group));
                }
                (r.keys, r.ids) = rest.split_at(rest.len() / 2);
            } else if more > 1 && args.word("GROUP") {
                only("GROUP")?;
                r.group = Some((args.next()?, args.next()?));
            } else if args.word("NOACK") {
                only("NOACK")?;
                r.noack = true;
            } else {
                return Err(error::SYNTAX);
            }
        }
        if r.keys.is_empty() {
            return Err(error::SYNTAX);
        }
        Ok(r)
    }

    /// Waits for entries, or answers that there are none.
    fn wait(&self, ctx: &mut Ctx<'_>, argv: &[&[u8]], or_gone: bool, out: &mut Reply<'_>) {
        match self.block {
            Some(timeout) => {
                let wish = Wish { kind: Kind::Stream, or_gone };
                ctx.wait_for(argv, self.keys, wish, timeout, OnTimeout::NullArray, out);
            }
            None => out.null_array(),
        }
    }
}

fn unbalanced(for_group: bool) -> Error {
    let (name, ids) = if for_group { ("xreadgroup", "ID or '>'") } else { ("xread", "ID, '+', or '$'") };
    Error::text(format!(
        "ERR Unbalanced '{name}' list of streams: for each stream key an {ids} must be specified."
    ))
}

/// A time-out in milliseconds.
fn millis(ctx: &Ctx<'_>, text: &[u8]) -> Result<u64> {
    let n = number::parse_i64(text).ok_or(Error::new("ERR timeout is not an integer or out of range"))?;
    let n = u64::try_from(n).map_err(|_| error::TIMEOUT_NEGATIVE)?;
    if n > (i64::MAX as u64).saturating_sub(ctx.now_ms()) {
        return Err(error::TIMEOUT_RANGE);
    }
    Ok(n)
}

/// Opens what one stream adds to the reply: an array of two, or a pair of the map.
fn reply_key(out: &mut Reply<'_>, name: &[u8]) {
    if !out.is_resp3() {
        out.array(2);
    }
    out.bulk(name);
}

fn xread(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let reading = Reading::parse(ctx, args, false)?;
    // Where each stream is read from, and whether it has something there.
    let mut from = Vec::with_capacity(reading.keys.len());
    for (name, text) in reading.keys.iter().zip(reading.ids) {
        let key = ctx.key(name);
        let stream = ctx.read::<Stream>(&key)?;
        let id = match *text {
            b"$" => stream.map_or(StreamId::MIN, |s| s.meta().last_id),
            b"+" => stream.and_then(Stream::top_id).and_then(StreamId::prev).unwrap_or(StreamId::MIN),
            b">" => {
                return Err(Error::new(
                    "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.",
                ));
            }
            text => strict_id(text)?,
        };
        from.push((id, stream.is_some_and(|s| has_after(s, id))));
    }
    let ready = from.iter().filter(|(_, ready)| *ready).count();
    if ready == 0 {
        // Entries that come from now on are what `$` means; `+` goes on to mean the last one.
        let texts: Vec<Vec<u8>> = from.iter().map(|(id, _)| id_text(*id)).collect();
        let mut argv = args.argv().to_vec();
        let ids_at = argv.len() - texts.len();
        for (arg, text) in argv[ids_at..].iter_mut().zip(&texts).filter(|(arg, _)| **arg == b"$") {
            *arg = text;
        }
        reading.wait(ctx, &argv, false, out);
        return Ok(());
    }
    if out.is_resp3() {
        out.map(ready);
    } else {
        out.array(ready);
    }
    for (name, (id, _)) in reading.keys.iter().zip(from).filter(|(_, (_, ready))| *ready) {
        let key = ctx.key(name);
        if let (Some(stream), Some(start)) = (ctx.peek_as::<Stream>(&key)?, id.next()) {
            reply_key(out, name);
            reply_entries(out, stream.range(start..=StreamId::MAX), reading.count);
        }
    }
    Ok(())
}

/// Has the stream an entry after `id`?
fn has_after(stream: &Stream, id: StreamId) -> bool {
    id < stream.meta().last_id && stream.top_id().is_some_and(|top| top > id)
}

fn xreadgroup(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let reading = Reading::parse(ctx, args, true)?;
    let (group, consumer) = reading.group.ok_or(Error::new("ERR Missing GROUP option for XREADGROUP"))?;
    // `None` asks for what the group has not received yet.
    let mut from = Vec::with_capacity(reading.keys.len());
    for (name, text) in reading.keys.iter().zip(reading.ids) {
        let key = ctx.key(name);
        if ctx.read::<Stream>(&key)?.and_then(|s| s.group(group)).is_none() {
            return Err(Error::text(format!(
                "NOGROUP No such key '{}' or consumer group '{}' in XREADGROUP with GROUP option",
                error::quote(name),
                error::quote(group)
            )));
        }
        from.push(match *text {
            b"$" | b"+" => return Err(meaningless(text)),
            b">" => None,
            // Behind the last possible id there is nothing: in Redis, too, it is another way to write `>`.
            text => Some(strict_id(text)?).filter(|&id| id != StreamId::MAX),
        });
    }
    ctx.propagate_nothing();
    let (mark, mut served) = (out.open(), 0);
    for (name, id) in reading.keys.iter().zip(from) {
        served += usize::from(read_group(ctx, name, id, group, consumer, &reading, out)?);
    }
    if served == 0 {
        reading.wait(ctx, args.argv(), true, out);
    } else if out.is_resp3() {
        out.close_map(mark, served);
    } else {
        out.close_array(mark, served);
    }
    Ok(())
}

fn meaningless(id: &[u8]) -> Error {
    let id = error::quote(id);
    Error::text(format!(
        "ERR The {id} ID is meaningless in the context of XREADGROUP: you want to read the history of this \
         consumer by specifying a proper ID, or use the > ID to get new messages. The {id} ID would just \
         return an empty result set."
    ))
}

/// Reads one stream for a consumer: its own pending entries after `id`, or new ones. False when it got none.
fn read_group(
    ctx: &mut Ctx<'_>,
    name: &[u8],
    id: Option<StreamId>,
    group: &[u8],
    consumer: &[u8],
    reading: &Reading<'_>,
    out: &mut Reply<'_>,
) -> Result<bool> {
    let key = ctx.key(name);
    let now = i64::try_from(ctx.now_ms()).unwrap_or(i64::MAX);
    let logs = ctx.core.log.is_enabled();
    let (member, created) = see_consumer(ctx, &key, group, consumer)?;
    let Some(stream) = ctx.write::<Stream>(&key)? else { return Ok(false) };
    let count = if reading.count == 0 { usize::MAX } else { reading.count };
    if let Some(id) = id {
        reply_key(out, name);
        let (mark, mut n) = (out.open(), 0);
        stream.redeliver(group, member, id.next().unwrap_or(StreamId::MAX), count, now, |id, entry| {
            n += 1;
            match entry {
                Some(entry) => reply_entry(out, &entry),
                None => {
                    out.array(2);
                    reply_id(out, id);
                    out.null_array();
                }
            }
        });
        out.close_array(mark, n);
        if created {
            log_consumer(ctx, name, group, consumer);
        }
        return Ok(true);
    }
    let last = stream.group(group).map_or(StreamId::MAX, |g| g.last_id);
    let mut delivered = Vec::new();
    let fresh = has_after(stream, last);
    if fresh {
        reply_key(out, name);
        let (mark, mut n) = (out.open(), 0);
        stream.deliver(group, member, count, reading.noack, now, |entry| {
            n += 1;
            if logs && !reading.noack {
                delivered.push(entry.id);
            }
            reply_entry(out, &entry);
        });
        out.close_array(mark, n);
    }
    let state = stream.group(group).map(|g| (g.last_id, g.entries_read));
    // Claims create the consumer, too.
    if created && delivered.is_empty() {
        log_consumer(ctx, name, group, consumer);
    }
    let record = Pending { consumer: member, delivery_time: now, delivery_count: 1 };
    for id in delivered {
        log_claim(ctx, name, group, consumer, id, &record, id);
    }
    if let Some((last_id, read)) = state.filter(|_| fresh) {
        ctx.changed_unseen(1);
        log_group_id(ctx, name, group, last_id, read);
    }
    Ok(fresh)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<Vec<usize>> {
        let argv: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
        let mut keys = Vec::new();
        read_keys(&argv, &mut keys)?;
        Some(keys.iter().map(|k| k.index).collect())
    }

    #[test]
    fn keys_are_found_behind_the_option_not_behind_a_name() {
        assert_eq!(found("XREAD COUNT 1 STREAMS a b 0 0"), Some(vec![4, 5]));
        assert_eq!(found("XREADGROUP GROUP streams streams streams k >"), Some(vec![5]));
        assert_eq!(found("XREADGROUP NOACK GROUP g STREAMS BLOCK 0 STREAMS k >"), Some(vec![8]));
        assert_eq!(found("XREAD STREAMS a b 0"), Some(vec![2]));
        for none in ["XREAD STREAMS a", "XREAD STREAMS", "XREAD COUNT STREAMS a 0", "XREAD k STREAMS a 0"] {
            assert_eq!(found(none), None, "{none}");
        }
    }
}
