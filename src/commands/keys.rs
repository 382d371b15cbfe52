//! What can be done to a key whatever its type? Remove, rename, copy, move, look at it, and walk over all of them.

use crate::commands::prelude::*;
use crate::commands::scan_args::{self, ScanArgs, Walked};
use crate::dispatch::access::kind_of;
use crate::dispatch::core::Core;
use crate::dispatch::worker::Worker;
use crate::ds::entry::View;
use crate::keyspace::Slot;
use crate::keyspace::effects::Garbage;
use crate::util::{glob, number};
use crate::value::Kind;

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    Command::new("del", del)
        .arity(-2)
        .flags(WRITE)
        .acl(KEYSPACE)
        .keys(&[range(RM | DELETE, 1, -1, 1)])
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .doc(
            "generic",
            "1.0.0",
            "O(N) where N is the number of keys, and for each the size of its value.",
            "Removes keys.",
            "key:key@0...",
        ),
    Command::new("unlink", unlink)
        .arity(-2)
        .flags(WRITE | FAST)
        .acl(KEYSPACE)
        .keys(&[range(RM | DELETE, 1, -1, 1)])
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .doc(
            "generic",
            "4.0.0",
            "O(1) for each key; the values are freed elsewhere.",
            "Removes keys and frees their values in the background.",
            "key:key@0...",
        ),
    Command::new("exists", exists)
        .arity(-2)
        .flags(READONLY | FAST)
        .acl(KEYSPACE)
        .keys(&[range(RO, 1, -1, 1)])
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .doc(
            "generic",
            "1.0.0",
            "O(N) where N is the number of keys.",
            "Counts the keys that exist; a key named twice counts twice.",
            "key:key@0...",
        ),
    Command::new("type", type_).arity(2).flags(READONLY | FAST).acl(KEYSPACE).keys(&[one(RO, 1)]).doc(
        "generic",
        "1.0.0",
        "O(1)",
        "Tells the type of a key's value.",
        "key:key@0",
    ),
    Command::new("touch", touch)
        .arity(-2)
        .flags(READONLY | FAST)
        .acl(KEYSPACE)
        .keys(&[range(RO, 1, -1, 1)])
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .doc(
            "generic",
            "3.2.1",
            "O(N) where N is the number of keys.",
            "Marks keys as just used and counts them.",
            "key:key@0...",
        ),
    Command::new("rename", rename)
        .arity(3)
        .flags(WRITE)
        .acl(KEYSPACE)
        .keys(&[one(RW | ACCESS | DELETE, 1), one(OW | UPDATE, 2)])
        .doc(
            "generic",
            "1.0.0",
            "O(1)",
            "Gives a key another name, over any key of that name.",
            "key:key@0 newkey:key@1",
        ),
    Command::new("renamenx", renamenx)
        .arity(3)
        .flags(WRITE | FAST)
        .acl(KEYSPACE)
        .keys(&[one(RW | ACCESS | DELETE, 1), one(OW | INSERT, 2)])
        .doc(
            "generic",
            "1.0.0",
            "O(1)",
            "Gives a key another name unless that name is taken.",
            "key:key@0 newkey:key@1",
        ),
    Command::new("copy", copy)
        .lock(Lock::Ask(copy_need))
        .arity(-3)
        .flags(WRITE | DENYOOM)
        .acl(KEYSPACE)
        .keys(&[one(RO | ACCESS, 1), one(OW | UPDATE, 2)])
        .doc(
            "generic",
            "6.2.0",
            "O(1) for strings, O(N) where N is the number of elements for other types.",
            "Copies a key's value to another key.",
            "source:key@0 destination:key@1 [DB destination-db:int] [REPLACE]",
        ),
    Command::new("move", move_)
        .lock(Lock::Ask(move_need))
        .arity(3)
        .flags(WRITE | FAST)
        .acl(KEYSPACE)
        .keys(&[one(RW | ACCESS | UPDATE, 1)])
        .doc("generic", "1.0.0", "O(1)", "Moves a key to another database.", "key:key@0 db:int"),
    Command::new("keys", keys)
        .lock(Lock::All)
        .arity(2)
        .flags(READONLY)
        .acl(KEYSPACE | DANGEROUS)
        .tips(&["request_policy:all_shards", "nondeterministic_output_order"])
        .doc(
            "generic",
            "1.0.0",
            "O(N) where N is the number of keys in the database.",
            "Lists the keys that match a pattern.",
            "pattern:pat",
        ),
    Command::new("scan", scan)
        .lock(Lock::Walk)
        .arity(-2)
        .flags(READONLY)
        .acl(KEYSPACE)
        .tips(&["nondeterministic_output", "request_policy:special", "response_policy:special"])
        .doc(
            "generic",
            "2.8.0",
            "O(1) for a call, O(N) for a whole walk, where N is the number of keys.",
            "Walks over the keys of the database, some at a time.",
            "cursor:int [MATCH pattern:pat] [COUNT count:int] [TYPE type:str^6.0.0]",
        ),
    Command::new("dbsize", dbsize)
        .lock(Lock::All)
        .arity(1)
        .flags(READONLY | FAST)
        .acl(KEYSPACE)
        .tips(&["request_policy:all_shards", "response_policy:agg_sum"])
        .doc("server", "1.0.0", "O(1)", "Counts the keys of the database.", ""),
    Command::new("randomkey", randomkey)
        .lock(Lock::All)
        .arity(1)
        .flags(READONLY)
        .acl(KEYSPACE)
        .tips(&["request_policy:all_shards", "response_policy:special", "nondeterministic_output"])
        .doc("generic", "1.0.0", "O(1)", "Names a key by chance.", ""),
    Command::new("flushdb", flushdb)
        .lock(Lock::All)
        .arity(-1)
        .flags(WRITE)
        .acl(KEYSPACE | DANGEROUS)
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .doc(
            "server",
            "1.0.0",
            "O(N) where N is the number of keys in the database",
            "Removes all keys of the selected database.",
            "[flush-type(ASYNC^4.0.0 | SYNC^6.2.0)]",
        ),
    Command::new("flushall", flushall)
        .lock(Lock::All)
        .arity(-1)
        .flags(WRITE)
        .acl(KEYSPACE | DANGEROUS)
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .doc(
            "server",
            "1.0.0",
            "O(N) where N is the number of keys in all databases",
            "Removes all keys of all databases.",
            "[flush-type(ASYNC^4.0.0 | SYNC^6.2.0)]",
        ),
    Command::new("swapdb", swapdb)
        .lock(Lock::All)
        .arity(3)
        .flags(WRITE | FAST)
        .acl(KEYSPACE | DANGEROUS)
        .doc(
            "server",
            "4.0.0",
            "O(N) where N is the number of clients that watch or wait for keys of the two databases.",
            "Exchanges the contents of two databases.",
            "index1:int index2:int",
        ),
];

/// Clients may wait for the key in the database that COPY writes to.
fn copy_need(core: &Core, _: &Worker, argv: &[&[u8]]) -> LockNeed {
    let options = argv.windows(2).skip(3);
    // Several times DB: the last one counts, but one of them that is no number is refused beforehand.
    let mut dbs = options.filter(|pair| pair[0].eq_ignore_ascii_case(b"DB")).map(|pair| pair[1]);
    dbs.next_back().map_or(LockNeed::Keys, |db| keys_in(core, db))
}

/// Clients may wait for the key in the database that MOVE writes to.
fn move_need(core: &Core, _: &Worker, argv: &[&[u8]]) -> LockNeed {
    argv.get(2).map_or(LockNeed::Keys, |db| keys_in(core, db))
}

fn keys_in(core: &Core, db: &[u8]) -> LockNeed {
    let db = number::parse_i64(db).and_then(|db| usize::try_from(db).ok());
    db.filter(|db| *db < core.keyspace.databases()).map_or(LockNeed::Keys, LockNeed::KeysIn)
}

fn del(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let mut removed = 0;
    for name in args.take_rest() {
        let key = ctx.key(name);
        if ctx.remove(&key) {
            ctx.changed(&key, event::GENERIC, "del");
            removed += 1;
        }
    }
    out.int(removed);
    Ok(())
}

fn unlink(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    del(ctx, args, out)
}

fn exists(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let mut found = 0;
    for name in args.take_rest() {
        let key = ctx.key(name);
        found += i64::from(ctx.look(&key).is_some());
    }
    out.int(found);
    Ok(())
}

fn type_(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    out.simple(ctx.look(&key).map_or("none", |slot| kind_of(&slot.view()).name()));
    Ok(())
}

fn touch(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let mut found = 0;
    for name in args.take_rest() {
        let key = ctx.key(name);
        found += i64::from(ctx.touch(&key));
    }
    out.int(found);
    Ok(())
}

fn rename(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    rename_to(ctx, args, false)?;
    out.ok();
    Ok(())
}

fn renamenx(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let renamed = rename_to(ctx, args, true)?;
    out.flag(renamed);
    Ok(())
}

/// Renames a key; false when the new name is taken and has to be free.
fn rename_to(ctx: &mut Ctx<'_>, args: &mut Args<'_>, only_new: bool) -> Result<bool> {
    let (from, to) = (ctx.key(args.next()?), ctx.key(args.next()?));
    if !ctx.exists(&from) {
        return Err(error::NO_SUCH_KEY);
    }
    if from.name == to.name {
        return Ok(!only_new);
    }
    if only_new && ctx.exists(&to) {
        return Ok(false);
    }
    let db = ctx.db();
    let overwritten = take_target(ctx, db, &to);
    let Some(slot) = ctx.take_slot(db, &from) else { return Err(error::NO_SUCH_KEY) };
    let kind = kind_of(&slot.view());
    let raw = encoding(&slot) == "raw";
    let mut slot = slot.with_key(to.name);
    slot.set_raw(raw);
    ctx.insert_slot(db, &to, slot);
    ctx.touched(1, &from);
    ctx.touched(0, &to);
    ctx.notify(&from, event::GENERIC, "rename_from");
    ctx.notify(&to, event::GENERIC, "rename_to");
    if let Some(old) = overwritten {
        ctx.notify_overwritten(db, &to, old, kind);
    }
    Ok(true)
}

/// Removes what is in the way of a new key, and tells its type.
fn take_target(ctx: &mut Ctx<'_>, db: usize, key: &Key<'_>) -> Option<Kind> {
    let slot = ctx.take_slot(db, key)?;
    let kind = kind_of(&slot.view());
    ctx.fx.garbage.push(Garbage::Slot(slot));
    Some(kind)
}

const SAME_OBJECT: Error = Error::new("ERR source and destination objects are the same");

/// What COPY does besides naming two keys.
struct CopyOptions {
    db: usize,
    replace: bool,
}

impl CopyOptions {
    fn parse(ctx: &Ctx<'_>, args: &mut Args<'_>) -> Result<Self> {
        let mut options = CopyOptions { db: ctx.db(), replace: false };
        while args.left() > 0 {
            if args.word("REPLACE") {
                options.replace = true;
            } else if args.left() > 1 && args.word("DB") {
                options.db = database(ctx, args)?;
            } else {
                return Err(error::SYNTAX);
            }
        }
        Ok(options)
    }
}

/// Reads the number of a database.
fn database(ctx: &Ctx<'_>, args: &mut Args<'_>) -> Result<usize> {
    index(ctx, args.int32()?)
}

/// The database of a number, if there is one.
pub(crate) fn index(ctx: &Ctx<'_>, db: i32) -> Result<usize> {
    usize::try_from(db).ok().filter(|db| *db < ctx.keyspace().databases()).ok_or(error::DB_RANGE)
}

fn copy(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let (from, to) = (ctx.key(args.next()?), ctx.key(args.next()?));
    let options = CopyOptions::parse(ctx, args)?;
    let db = options.db;
    if db == ctx.db() && from.name == to.name {
        return Err(SAME_OBJECT);
    }
    if ctx.view(&from).is_none() || (!options.replace && ctx.peek_in(db, &to).is_some()) {
        out.flag(false);
        return Ok(());
    }
    let Some(slot) = ctx.slot(&from).map(|slot| duplicate(&slot, to.name)) else {
        out.flag(false);
        return Ok(());
    };
    let overwritten = take_target(ctx, db, &to);
    let kind = kind_of(&slot.view());
    ctx.insert_slot(db, &to, slot);
    ctx.changed_in(db, 1, &to, event::GENERIC, "copy_to");
    if let Some(old) = overwritten {
        ctx.notify_overwritten(db, &to, old, kind);
    }
    out.flag(true);
    Ok(())
}

/// A copy of an entry under another key.
fn duplicate(slot: &Slot, name: &[u8]) -> Slot {
    let mut copy = match slot.view() {
        View::Str(bytes) => Slot::new_str(name, bytes, slot.expire()),
        View::Int(n) => Slot::new_int(name, n, slot.expire()),
        View::Value(value) => Slot::new_value(name, value.duplicate(), slot.expire()),
    };
    copy.set_raw(encoding(slot) == "raw");
    copy
}

fn move_(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    if ctx.core.cluster.is_some() {
        return Err(Error::new("ERR MOVE is not allowed in cluster mode"));
    }
    let key = ctx.key(args.next()?);
    let (from, to) = (ctx.db(), database(ctx, args)?);
    if from == to {
        return Err(SAME_OBJECT);
    }
    if !ctx.exists(&key) || ctx.peek_in(to, &key).is_some() {
        out.flag(false);
        return Ok(());
    }
    let Some(slot) = ctx.take_slot(from, &key) else { return Err(error::NO_SUCH_KEY) };
    ctx.insert_slot(to, &key, slot);
    ctx.changed_in(from, 1, &key, event::GENERIC, "move_from");
    ctx.changed_in(to, 0, &key, event::GENERIC, "move_to");
    out.flag(true);
    Ok(())
}

fn keys(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let pattern = args.next()?;
    let all = pattern == b"*";
    let mark = out.open();
    let mut n = 0;
    ctx.each_key(glob::slot(pattern), |slot| {
        if !out.is_in_vain() && (all || glob::matches(pattern, slot.key(), false)) {
            out.bulk(slot.key());
            n += 1;
        }
    });
    out.close_array(mark, n);
    Ok(())
}

fn scan(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let cursor = scan_args::cursor(args)?;
    let options = ScanArgs::parse(args, Walked::Keys)?;
    // A type that does not exist is one that no key has.
    let wanted =
        |kind: Kind| options.kind.is_none_or(|name| name.eq_ignore_ascii_case(kind.name().as_bytes()));
    let (next, names) =
        ctx.scan_keys(cursor, options.count as u64, options.pattern.and_then(glob::slot), |slot| {
            wanted(kind_of(&slot.view())) && options.admits(slot.key())
        });
    out.array(2);
    let mut digits = itoa::Buffer::new();
    out.bulk(digits.format(next).as_bytes());
    out.bulks(names.iter());
    Ok(())
}

fn dbsize(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    out.len(ctx.db_len(ctx.db()));
    Ok(())
}

fn randomkey(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    out.bulk_or_null(ctx.random_key().as_deref());
    Ok(())
}

fn flushdb(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let db = ctx.db();
    flush(ctx, args, Some(db), out)
}

fn flushall(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    flush(ctx, args, None, out)
}

fn flush(ctx: &mut Ctx<'_>, args: &mut Args<'_>, db: Option<usize>, out: &mut Reply<'_>) -> Result {
    let asked = (args.word("ASYNC"), args.word("SYNC"));
    args.end()?;
    let sync = match asked {
        (false, false) => !ctx.config().lazyfree_lazy_user_flush,
        (true, true) => return Err(error::SYNTAX),
        (_, sync) => sync,
    };
    let removed = ctx.empty(db);
    // It is in the log even if there was nothing to remove.
    ctx.fx.dirty += removed.max(1) as u64;
    if sync {
        ctx.wait_until_freed(out);
    } else {
        out.ok();
    }
    Ok(())
}

fn swapdb(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    if ctx.core.cluster.is_some() {
        return Err(Error::new("ERR SWAPDB is not allowed in cluster mode"));
    }
    let a = args.int32().map_err(|_| Error::new("ERR invalid first DB index"))?;
    let b = args.int32().map_err(|_| Error::new("ERR invalid second DB index"))?;
    let (a, b) = (index(ctx, a)?, index(ctx, b)?);
    ctx.swap_dbs(a, b);
    ctx.fx.dirty += 1;
    out.ok();
    Ok(())
}
