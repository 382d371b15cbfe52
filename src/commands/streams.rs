//! What can be done with the entries of a stream? Adding, trimming, deleting, ranges.

use smallvec::SmallVec;

use crate::commands::prelude::*;
use crate::ds::listpack::LpValue;
use crate::util::number;
use crate::value::Stream;
use crate::value::stream::{AddError, Deletion, Entry, NewId, RefPolicy, SetIdError, StreamId, Trim, TrimBy};

/// The family's rows; those of groups, of XINFO and of the reading commands are in their own files.
pub const COMMANDS: &[Command] = &[
    Command::new("xadd", xadd).arity(-5).flags(WRITE | DENYOOM | FAST).acl(STREAM).keys(&[one(RW | UPDATE, 1)]).tips(&["nondeterministic_output"]).doc("stream", "5.0.0", "O(1), and O(N) for the N entries that it trims", "Appends an entry to a stream, creating it if need be.", "key:key@0 [NOMKSTREAM^6.2.0] [condition(KEEPREF | DELREF | ACKED)] [trim{strategy(MAXLEN | MINID^6.2.0) [operator(==equal | ~=approximately)] threshold:str [LIMIT count:int^6.2.0]}] id-selector(*=auto-id | id:str) data{field:str value:str}..."),
    Command::new("xtrim", xtrim).arity(-4).flags(WRITE).acl(STREAM).keys(&[one(RW | DELETE, 1)]).tips(&["nondeterministic_output"]).doc("stream", "5.0.0", "O(N) for N removed entries; whole nodes go at once", "Removes the oldest entries of a stream.", "key:key@0 trim{strategy(MAXLEN | MINID^6.2.0) [operator(==equal | ~=approximately)] threshold:str [LIMIT count:int^6.2.0] [condition(KEEPREF | DELREF | ACKED)]}"),
    Command::new("xdel", xdel).arity(-3).flags(WRITE | FAST).acl(STREAM).keys(&[one(RW | DELETE, 1)]).doc("stream", "5.0.0", "O(1) per entry", "Deletes entries of a stream by their ids.", "key:key@0 id:str..."),
    Command::new("xdelex", xdelex).arity(-5).flags(WRITE | FAST).acl(STREAM).keys(&[one(RW | DELETE, 1)]).doc("stream", "8.2.0", "O(1) per entry", "Deletes entries, with a say in what groups still refer to.", "key:key@0 [condition(KEEPREF | DELREF | ACKED)] IDS ids{numids:int id:str...}"),
    Command::new("xlen", xlen).arity(2).flags(READONLY | FAST).acl(STREAM).keys(&[one(RO, 1)]).doc("stream", "5.0.0", "O(1)", "Counts the entries of a stream.", "key:key@0"),
    Command::new("xrange", xrange).arity(-4).flags(READONLY).acl(STREAM).keys(&[one(RO | ACCESS, 1)]).doc("stream", "5.0.0", "O(N) for N returned entries", "Gets the entries between two ids, oldest first.", "key:key@0 start:str end:str [COUNT count:int]"),
    Command::new("xrevrange", xrevrange).arity(-4).flags(READONLY).acl(STREAM).keys(&[one(RO | ACCESS, 1)]).doc("stream", "5.0.0", "O(N) for N returned entries", "Gets the entries between two ids, newest first.", "key:key@0 end:str start:str [COUNT count:int]"),
    Command::new("xsetid", xsetid).arity(-3).flags(WRITE | DENYOOM | FAST).acl(STREAM).keys(&[one(RW | UPDATE, 1)]).doc("stream", "5.0.0", "O(1)", "Sets the last id and the counters of a stream (for replication).", "key:key@0 last-id:str [ENTRIESADDED entries-added:int^7.0.0] [MAXDELETEDID max-deleted-id:str^7.0.0]"),
];

/// The reply to text that is no stream id.
pub(crate) const BAD_ID: Error = Error::new("ERR Invalid stream ID specified as stream command argument");

/// Ids as a command names them; few, as a rule.
pub(crate) type Ids = SmallVec<[StreamId; 8]>;

/// Reads an id that `-` and `+` are not.
pub(crate) fn strict_id(text: &[u8]) -> Result<StreamId> {
    StreamId::parse_strict(text, 0).ok_or(BAD_ID)
}

/// Reads ids, all or none.
pub(crate) fn strict_ids(texts: &[&[u8]]) -> Result<Ids> {
    texts.iter().map(|text| strict_id(text)).collect()
}

/// The first id of an interval.
pub(crate) fn interval_start(text: &[u8]) -> Result<StreamId> {
    match StreamId::parse_bound(text, 0).ok_or(BAD_ID)? {
        (id, false) => Ok(id),
        (id, true) => id.next().ok_or(Error::new("ERR invalid start ID for the interval")),
    }
}

/// The last id of an interval.
pub(crate) fn interval_end(text: &[u8]) -> Result<StreamId> {
    match StreamId::parse_bound(text, u64::MAX).ok_or(BAD_ID)? {
        (id, false) => Ok(id),
        (id, true) => id.prev().ok_or(Error::new("ERR invalid end ID for the interval")),
    }
}

/// The text of an id.
pub(crate) fn id_text(id: StreamId) -> Vec<u8> {
    let mut text = Vec::with_capacity(24);
    id.write_to(&mut text);
    text
}

/// Replies an id.
pub(crate) fn reply_id(out: &mut Reply<'_>, id: StreamId) {
    out.bulk(&id_text(id));
}

/// Replies an entry: its id, and its fields and values in one array.
pub(crate) fn reply_entry(out: &mut Reply<'_>, entry: &Entry<'_>) {
    out.array(2);
    reply_id(out, entry.id);
    out.array(entry.len().saturating_mul(2));
    let mut piece = |value: LpValue<'_>| match value {
        LpValue::Str(bytes) => out.bulk(bytes),
        LpValue::Int(n) => out.bulk_int(n),
    };
    for (field, value) in entry.fields() {
        piece(field);
        piece(value);
    }
}

/// Replies up to `count` entries as an array; 0 is all of them.
pub(crate) fn reply_entries<'a>(out: &mut Reply<'_>, entries: impl Iterator<Item = Entry<'a>>, count: usize) {
    let (mark, mut n) = (out.open(), 0);
    for entry in entries.take(if count == 0 { usize::MAX } else { count }) {
        reply_entry(out, &entry);
        n += 1;
    }
    out.close_array(mark, n);
}

/// KEEPREF, DELREF or ACKED, if that is the next argument.
fn ref_policy(args: &mut Args<'_>) -> Option<RefPolicy> {
    [("KEEPREF", RefPolicy::Keep), ("DELREF", RefPolicy::Delete), ("ACKED", RefPolicy::Acked)]
        .into_iter()
        .find_map(|(word, policy)| args.word(word).then_some(policy))
}

/// The options of XADD and XTRIM.
#[derive(Default)]
struct TrimOptions {
    by: Option<TrimBy>,
    approx: bool,
    limit: Option<u64>,
    refs: Option<RefPolicy>,
    no_create: bool,
    /// Where the threshold is; `=` or `~` is right in front of it when it is approximate.
    threshold_at: usize,
}

impl TrimOptions {
    /// Reads options up to what is none: the id of XADD.
    fn parse(args: &mut Args<'_>, for_add: bool) -> Result<TrimOptions> {
        let mut o = TrimOptions::default();
        while args.left() > 0 {
            let more = args.left() > 1;
            if more && args.word("MAXLEN") {
                let text = o.threshold(args)?;
                let n = number::parse_i64(text).ok_or(error::NOT_INTEGER)?;
                let n = u64::try_from(n).map_err(|_| Error::new("ERR The MAXLEN argument must be >= 0."))?;
                o.by = Some(TrimBy::MaxLen(n));
            } else if more && args.word("MINID") {
                let text = o.threshold(args)?;
                o.by = Some(TrimBy::MinId(strict_id(text)?));
            } else if more && args.word("LIMIT") {
                let n = args.int()?;
                let n = u64::try_from(n).map_err(|_| Error::new("ERR The LIMIT argument must be >= 0."))?;
                o.limit = Some(n);
            } else if for_add && args.word("NOMKSTREAM") {
                o.no_create = true;
            } else if o.refs.is_none()
                && let Some(policy) = ref_policy(args)
            {
                o.refs = Some(policy);
            } else if for_add {
                break;
            } else {
                return Err(error::SYNTAX);
            }
        }
        Ok(o)
    }

    /// Reads `[= | ~] threshold`.
    fn threshold<'a>(&mut self, args: &mut Args<'a>) -> Result<&'a [u8]> {
        if self.by.is_some() {
            return Err(Error::new(
                "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
            ));
        }
        self.approx = args.left() > 1 && args.word("~");
        if !self.approx && args.left() > 1 {
            args.word("=");
        }
        self.threshold_at = args.position();
        args.next()
    }

    /// Checks that the options fit together, and says how to trim, if at all.
    fn trim(&self, ctx: &Ctx<'_>, for_add: bool) -> Result<Option<Trim>> {
        if self.by.is_none() && self.limit.is_some_and(|limit| limit > 0) {
            return Err(Error::new(
                "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
            ));
        }
        if self.by.is_none() && !for_add {
            return Err(Error::new("ERR syntax error, XTRIM must be called with a trimming strategy"));
        }
        // What the log says was exact: it holds what the limit led to.
        let replay = ctx.mode == Mode::Replay;
        if self.limit.is_some() && !self.approx && !replay {
            return Err(Error::new("ERR syntax error, LIMIT cannot be used without the special ~ option"));
        }
        let limit = match self.limit {
            _ if replay || !self.approx => 0,
            Some(limit) => limit,
            None => match ctx.limits().stream_node_max_entries.saturating_mul(100) {
                0 => 10_000,
                n => n.min(1_000_000),
            },
        };
        let refs = self.refs.unwrap_or_default();
        Ok(self.by.map(|by| Trim { by, approx: self.approx, limit, refs }))
    }

    /// Replaces an approximate threshold in `argv` by the exact one that leads to what `stream` has become.
    fn make_exact(&self, argv: &mut [Vec<u8>], stream: &Stream) {
        let text = match self.by {
            Some(TrimBy::MaxLen(_)) => stream.len().to_string().into_bytes(),
            Some(TrimBy::MinId(_)) if stream.is_empty() => id_text(StreamId::MAX),
            _ => id_text(stream.meta().first_id),
        };
        let at = self.threshold_at;
        if let Some([sign, threshold]) = at.checked_sub(1).and_then(|from| argv.get_mut(from..=at)) {
            (*sign, *threshold) = (b"=".to_vec(), text);
        }
    }
}

fn owned(argv: &[&[u8]]) -> Vec<Vec<u8>> {
    argv.iter().map(|arg| arg.to_vec()).collect()
}

fn xadd(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let options = TrimOptions::parse(args, true)?;
    let id_at = args.position();
    let new = match args.maybe() {
        Some(text) => Some(NewId::parse(text).ok_or(BAD_ID)?),
        None => None,
    };
    let trim = options.trim(ctx, true)?;
    let pieces = args.take_rest();
    let Some(new) = new.filter(|_| pieces.len() >= 2 && pieces.len().is_multiple_of(2)) else {
        return Err(Error::arity("xadd"));
    };
    if new == NewId::Given(StreamId::MIN) {
        return Err(add_error(AddError::Zero));
    }
    let (now, limits, logged) = (ctx.now_ms(), ctx.limits(), ctx.is_logged());
    let created = !ctx.exists(&key);
    if created && options.no_create {
        out.null();
        return Ok(());
    }
    let stream = ctx.create::<Stream>(&key)?;
    let added = stream.resolve(new, now).and_then(|id| {
        let fields = pieces.chunks_exact(2).map(|pair| (pair[0], pair[1]));
        stream.append(id, fields, &limits).map(|()| id)
    });
    let id = match added {
        Ok(id) => id,
        Err(error) => {
            if created {
                ctx.remove(&key);
            }
            return Err(add_error(error));
        }
    };
    let trimmed = trim.map_or(0, |trim| stream.trim(&trim));
    let text = id_text(id);
    let mut instead = None;
    if logged && (options.approx || !matches!(new, NewId::Given(_))) {
        let mut argv = owned(args.argv());
        argv[id_at] = text.clone();
        if options.approx {
            options.make_exact(&mut argv, stream);
        }
        instead = Some(argv);
    }
    ctx.changed(&key, event::STREAM, "xadd");
    if trimmed > 0 {
        ctx.notify(&key, event::STREAM, "xtrim");
    }
    if let Some(argv) = instead {
        ctx.propagate_as(&argv);
    }
    out.bulk(&text);
    Ok(())
}

fn add_error(error: AddError) -> Error {
    Error::new(match error {
        AddError::Zero => "ERR The ID specified in XADD must be greater than 0-0",
        AddError::NotAbove => {
            "ERR The ID specified in XADD is equal or smaller than the target stream top item"
        }
        AddError::Exhausted => "ERR The stream has exhausted the last possible ID, unable to add more items",
        AddError::TooLarge => "ERR Elements are too large to be stored",
    })
}

fn xtrim(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let options = TrimOptions::parse(args, false)?;
    let trim = options.trim(ctx, false)?;
    let Some((stream, trim)) = ctx.write::<Stream>(&key)?.zip(trim) else {
        out.int(0);
        return Ok(());
    };
    let deleted = stream.trim(&trim);
    if deleted > 0 {
        let mut argv = None;
        if options.approx {
            options.make_exact(argv.insert(owned(args.argv())), stream);
        }
        ctx.changed_by(deleted, &key, event::STREAM, "xtrim");
        if let Some(argv) = argv {
            ctx.propagate_as(&argv);
        }
    }
    out.int(i64::try_from(deleted).unwrap_or(i64::MAX));
    Ok(())
}

fn xdel(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let Some(stream) = ctx.write::<Stream>(&key)? else {
        out.int(0);
        return Ok(());
    };
    let ids = strict_ids(args.take_rest())?;
    let gone = |&&id: &&StreamId| stream.delete(id, RefPolicy::Keep) == Deletion::Deleted;
    let deleted = ids.iter().filter(gone).count();
    if deleted > 0 {
        ctx.changed_by(deleted as u64, &key, event::STREAM, "xdel");
    }
    out.len(deleted);
    Ok(())
}

/// Reads `[KEEPREF | DELREF | ACKED] IDS numids id..`, in any order: the policy and the texts of the ids.
pub(crate) fn deletions<'a>(args: &mut Args<'a>) -> Result<(RefPolicy, &'a [&'a [u8]])> {
    let (mut refs, mut ids) = (None, None);
    while args.left() > 0 {
        if refs.is_none()
            && let Some(policy) = ref_policy(args)
        {
            refs = Some(policy);
        } else if args.left() > 1 && args.word("IDS") {
            let bad = Error::new("ERR Number of IDs must be a positive integer");
            let n = args.int_in(1, i64::MAX, bad)?;
            let n = usize::try_from(n).ok().filter(|&n| n <= args.left());
            let n = n.ok_or(Error::new("ERR The `numids` parameter must match the number of arguments"))?;
            ids = Some(args.take(n)?);
        } else {
            return Err(error::SYNTAX);
        }
    }
    Ok((refs.unwrap_or_default(), ids.ok_or(error::SYNTAX)?))
}

/// Replies what became of one entry.
pub(crate) fn reply_deletion(out: &mut Reply<'_>, deletion: Deletion) {
    out.int(match deletion {
        Deletion::Missing => -1,
        Deletion::Deleted => 1,
        Deletion::Referenced => 2,
    });
}

/// Replies that none of `n` entries is there.
pub(crate) fn reply_all_missing(out: &mut Reply<'_>, n: usize) {
    out.array(n);
    (0..n).for_each(|_| reply_deletion(out, Deletion::Missing));
}

fn xdelex(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    ctx.peek_as::<Stream>(&key)?;
    let (refs, texts) = deletions(args)?;
    let Some(stream) = ctx.write::<Stream>(&key)? else {
        reply_all_missing(out, texts.len());
        return Ok(());
    };
    let ids = strict_ids(texts)?;
    let pending = |stream: &Stream| stream.groups().map(|(_, group)| group.pending_count()).sum::<usize>();
    let (pending_before, mut deleted) = (pending(stream), 0);
    out.array(ids.len());
    for id in ids {
        let deletion = stream.delete(id, refs);
        deleted += u64::from(deletion == Deletion::Deleted);
        reply_deletion(out, deletion);
    }
    let only_refs = deleted == 0 && pending(stream) != pending_before;
    if deleted > 0 {
        ctx.changed_by(deleted, &key, event::STREAM, "xdel");
    } else if only_refs {
        // Redis forgets to log that references to entries that are gone went away.
        ctx.changed_unseen(1);
    }
    Ok(())
}

fn xlen(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let len = ctx.read::<Stream>(&key)?.map_or(0, Stream::len);
    out.int(i64::try_from(len).unwrap_or(i64::MAX));
    Ok(())
}

fn xrange(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    range_of(ctx, args, false, out)
}

fn xrevrange(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    range_of(ctx, args, true, out)
}

fn range_of(ctx: &mut Ctx<'_>, args: &mut Args<'_>, backwards: bool, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let (first, second) = (args.next()?, args.next()?);
    let (start, end) = if backwards { (second, first) } else { (first, second) };
    let ids = interval_start(start)?..=interval_end(end)?;
    let mut count = None;
    while args.left() > 0 {
        if args.left() == 1 || !args.word("COUNT") {
            return Err(error::SYNTAX);
        }
        count = Some(usize::try_from(args.int()?.max(0)).unwrap_or(usize::MAX));
    }
    let Some(stream) = ctx.read::<Stream>(&key)? else {
        out.array(0);
        return Ok(());
    };
    if count == Some(0) {
        out.null_array();
    } else if ids.start() > ids.end() {
        out.array(0);
    } else if backwards {
        reply_entries(out, stream.range_rev(ids), count.unwrap_or(0));
    } else {
        reply_entries(out, stream.range(ids), count.unwrap_or(0));
    }
    Ok(())
}

fn xsetid(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let id = strict_id(args.next()?)?;
    let (mut added, mut max_deleted) = (None, None);
    while args.left() > 0 {
        if args.left() > 1 && args.word("ENTRIESADDED") {
            let n = args.int()?;
            added = Some(u64::try_from(n).map_err(|_| Error::new("ERR entries_added must be positive"))?);
        } else if args.left() > 1 && args.word("MAXDELETEDID") {
            let deleted = strict_id(args.next()?)?;
            if id < deleted {
                return Err(Error::new(
                    "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
                ));
            }
            max_deleted = Some(deleted);
        } else {
            return Err(error::SYNTAX);
        }
    }
    let stream = ctx.write::<Stream>(&key)?.ok_or(error::NO_SUCH_KEY)?;
    stream.set_id(id, added, max_deleted).map_err(|error| {
        Error::new(match error {
            SetIdError::BelowDeleted => {
                "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id"
            }
            SetIdError::BelowTop => {
                "ERR The ID specified in XSETID is smaller than the target stream top item"
            }
            SetIdError::AddedBelowLen => {
                "ERR The entries_added specified in XSETID is smaller than the target stream length"
            }
        })
    })?;
    ctx.changed_unseen(1);
    ctx.notify(&key, event::STREAM, "xsetid");
    out.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str, for_add: bool) -> Result<(TrimOptions, usize)> {
        let argv: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
        let mut args = Args::new_at(&argv, 2);
        TrimOptions::parse(&mut args, for_add).map(|o| (o, args.position()))
    }

    #[test]
    fn the_id_of_xadd_ends_its_options() {
        let (o, id_at) = options("XADD k MAXLEN ~ 5 LIMIT 3 DELREF NOMKSTREAM * f v", true).unwrap();
        assert_eq!((o.by, o.approx, o.limit), (Some(TrimBy::MaxLen(5)), true, Some(3)));
        assert_eq!((o.refs, o.no_create), (Some(RefPolicy::Delete), true));
        assert_eq!((o.threshold_at, id_at), (4, 9));
        assert_eq!(options("XTRIM k MAXLEN 5 NOMKSTREAM", false).err(), Some(error::SYNTAX));
        assert_eq!(options("XTRIM k MINID x", false).err(), Some(BAD_ID));
    }

    #[test]
    fn an_approximate_threshold_is_logged_as_what_it_led_to() {
        let mut stream = Stream::new();
        for ms in 1..=3 {
            let fields = [(&b"f"[..], &b"v"[..])].into_iter();
            stream.append(StreamId::new(ms, 0), fields, &Default::default()).unwrap();
        }
        let exact = |text: &str, stream: &Stream| {
            let argv: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
            let mut argv = owned(&argv);
            options(text, false).unwrap().0.make_exact(&mut argv, stream);
            String::from_utf8(argv.join(&b' ')).unwrap()
        };
        assert_eq!(exact("XTRIM k MAXLEN ~ 1 LIMIT 2", &stream), "XTRIM k MAXLEN = 3 LIMIT 2");
        assert_eq!(exact("XTRIM k MINID ~ 9", &stream), "XTRIM k MINID = 1-0");
        // Of an empty stream nothing is left, whatever the threshold was.
        let all = format!("XTRIM k MINID = {}", StreamId::MAX);
        assert_eq!(exact("XTRIM k MINID ~ 9", &Stream::new()), all);
    }

    #[test]
    fn deletions_are_read_in_any_order() {
        let read = |text: &str| {
            let argv: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
            deletions(&mut Args::new_at(&argv, 2)).map(|(refs, ids)| (refs, ids.len()))
        };
        assert_eq!(read("XDELEX k IDS 2 1 2 ACKED"), Ok((RefPolicy::Acked, 2)));
        assert_eq!(read("XDELEX k ACKED IDS 1 1"), Ok((RefPolicy::Acked, 1)));
        assert_eq!(read("XDELEX k ACKED DELREF IDS 1 1"), Err(error::SYNTAX));
        assert_eq!(read("XDELEX k ACKED"), Err(error::SYNTAX));
        assert!(read("XDELEX k IDS 9223372036854775807 1").is_err());
    }
}
