//! What do tests of the server need? DEBUG, which no program should.

use crate::commands::debug_server;
use crate::commands::digest::Digest;
use crate::commands::prelude::*;
use crate::dispatch::follow;
use crate::dispatch::script::install_libraries;
use crate::ds::entry::View;
use crate::persist::load;
use crate::persist::rdb::encode::Encoder;
use crate::script::library::Restore;
use crate::value::Value;

/// The family's rows.
pub const COMMANDS: &[Command] = &[Command::new("debug", debug)
    .arity(-2)
    .flags(ADMIN | NOSCRIPT | LOADING | STALE)
    .also(NEEDS_DEBUG)
    .lock(Lock::All)
    .doc("server", "1.0.0", "Depends on subcommand.", "For testing the server.", "")
    .syscmd()];

/// A subcommand, which COMMAND does not list.
pub(super) struct Sub {
    /// Its name, in capitals.
    pub name: &'static str,
    /// What follows it, for HELP.
    pub usage: &'static str,
    /// How many arguments it takes at least, and at most.
    pub takes: (usize, usize),
    /// What it does, in a sentence.
    pub help: &'static str,
    /// Does it.
    pub run: Handler,
}

/// A row of the tables of subcommands.
pub(super) const fn sub(
    name: &'static str,
    usage: &'static str,
    takes: (usize, usize),
    help: &'static str,
    run: Handler,
) -> Sub {
    Sub { name, usage, takes, help, run }
}

/// However many arguments.
pub(super) const ANY: usize = usize::MAX;

/// What looks at data and changes how it is kept; see `debug_server` for the rest.
const SUBCOMMANDS: &[Sub] = &[
    sub("DIGEST", "", (0, 0), "A checksum of all data.", digest),
    sub("DIGEST-VALUE", "<key> [<key> ...]", (0, ANY), "Checksums of values.", digest_value),
    sub("HTSTATS", "<dbid> [full]", (1, 2), "Elements and bytes of the tables of a database.", htstats),
    sub("HTSTATS-KEY", "<key> [full]", (1, 2), "Elements and bytes of a key's table.", htstats_key),
    sub("LISTPACK", "<key>", (1, 1), "Whether a key is kept in a listpack.", listpack),
    sub("OBJECT", "<key>", (1, 2), "How a key is kept.", object),
    sub("POPULATE", "<count> [<prefix>] [<size>]", (1, 3), "Makes keys key:0, key:1, ...", populate),
    sub("PROTOCOL", "<type>", (1, 1), "A value of a type of the protocol.", protocol),
    sub("RELOAD", "[MERGE] [NOFLUSH] [NOSAVE]", (0, ANY), "Saves all data and loads it again.", reload),
    sub("LOADAOF", "", (0, 0), "Loads the append-only file again.", loadaof),
    sub("SET-ACTIVE-EXPIRE", "<0|1>", (1, 1), "Whether expired keys are looked for.", set_active_expire),
    sub("STRINGMATCH-LEN", "<n> <pattern>", (2, 2), "Matches n letters with a pattern.", stringmatch_len),
    sub(
        "CHANGE-REPL-ID",
        "",
        (0, 0),
        "Begins a new history: no replica can go on where it was.",
        change_repl_id,
    ),
    sub(
        "REPLICATE",
        "<command> [<arg> ...]",
        (1, ANY),
        "Sends replicas a command that is not run here.",
        replicate,
    ),
    sub("DICT-RESIZING", "<0|1>", (1, 1), "Does nothing: tables grow piece by piece.", accepted),
    sub("JMAP", "", (0, 0), "Does nothing.", accepted),
    sub("PAUSE-CRON", "<0|1>", (1, 1), "Stops periodic work.", pause_cron),
    sub("QUICKLIST-PACKED-THRESHOLD", "<size>", (1, 1), "Does nothing.", accepted),
    sub("REPLYBUFFER", "<what> <value>", (2, 2), "Does nothing.", accepted),
    sub(
        "SET-DISABLE-DENY-SCRIPTS",
        "<0|1>",
        (1, 1),
        "Lets scripts call every command.",
        set_disable_deny_scripts,
    ),
    sub(
        "SET-SKIP-CHECKSUM-VALIDATION",
        "<0|1>",
        (1, 1),
        "Whether checksums of payloads and snapshots are looked at.",
        set_skip_checksums,
    ),
    sub("AOF-FLUSH-SLEEP", "<microseconds>", (1, 1), "Waits before the file is written.", aof_flush_sleep),
];

fn debug(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let name = args.next()?;
    let mut all = SUBCOMMANDS.iter().chain(debug_server::SUBCOMMANDS);
    if name.eq_ignore_ascii_case(b"help") && args.left() == 0 {
        let usage = |sub: &Sub| format!("{} {}", sub.name, sub.usage).trim_end().to_owned();
        let lines: Vec<(String, &str)> = all.map(|sub| (usage(sub), sub.help)).collect();
        help(out, "DEBUG", &lines.iter().map(|(usage, text)| (usage.as_str(), *text)).collect::<Vec<_>>());
        return Ok(());
    }
    let fits = |sub: &&Sub| {
        name.eq_ignore_ascii_case(sub.name.as_bytes()) && (sub.takes.0..=sub.takes.1).contains(&args.left())
    };
    match all.find(fits) {
        Some(sub) => (sub.run)(ctx, args, out),
        None => Err(args.bad_subcommand()),
    }
}

fn change_repl_id(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let id = follow::history_id().map_err(|error| Error::text(format!("ERR {error}")))?;
    ctx.core.log.new_history(id, false);
    out.ok();
    Ok(())
}

fn replicate(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    ctx.tell_replicas(args.take_rest());
    out.ok();
    Ok(())
}

/// Nothing to do here, and nothing to see.
fn accepted(_: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    out.ok();
    Ok(())
}

fn pause_cron(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let on = args.int()? != 0;
    ctx.core.persist.knobs.cron_paused.store(on, std::sync::atomic::Ordering::Relaxed);
    out.ok();
    Ok(())
}

fn set_disable_deny_scripts(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let on = args.int()? != 0;
    ctx.core.scripts.allow_all.store(on, std::sync::atomic::Ordering::Relaxed);
    out.ok();
    Ok(())
}

fn set_active_expire(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let on = args.int()? != 0;
    ctx.core.active_expire.store(on, std::sync::atomic::Ordering::Relaxed);
    out.ok();
    Ok(())
}

fn set_skip_checksums(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let on = args.int()? != 0;
    ctx.core.persist.knobs.skip_checksums.store(on, std::sync::atomic::Ordering::Relaxed);
    out.ok();
    Ok(())
}

fn aof_flush_sleep(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let us = u64::try_from(args.int()?).unwrap_or(0);
    ctx.core.persist.knobs.flush_sleep_us.store(us, std::sync::atomic::Ordering::Relaxed);
    out.ok();
    Ok(())
}

fn object(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    /// Type, version and checksum, which a payload has beyond its value.
    const AROUND: usize = 11;
    let key = ctx.key(args.next()?);
    let (clock, by_use) = (ctx.worker.lru_clock(), ctx.config().maxmemory_policy.counts_uses());
    let compress = ctx.config().rdbcompression;
    let slot = ctx.entry_as_it_is(&key).ok_or(error::NO_SUCH_KEY)?;
    let encoding = crate::commands::prelude::encoding(&slot);
    let length = Encoder::new(12, compress).dump(&slot.view()).len().saturating_sub(AROUND);
    let idle = if by_use { 0 } else { clock.wrapping_sub(slot.lru()) & 0xff_ffff };
    out.simple(&format!(
        "Value at:0x7f0000000000 refcount:1 encoding:{encoding} serializedlength:{length} lru:{} lru_seconds_idle:{idle}",
        slot.lru(),
    ));
    Ok(())
}

fn listpack(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let slot = ctx.slot(&key).ok_or(error::NO_SUCH_KEY)?;
    if !crate::commands::prelude::encoding(&slot).starts_with("listpack") {
        return Err(Error::new("ERR Not a listpack encoded object."));
    }
    out.simple("Listpack structure printed on stdout");
    Ok(())
}

/// The sum of everything: databases in order, the keys of each in none. Expired keys count until they are removed.
fn digest(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let databases = ctx.keyspace().databases();
    let mut total = Digest::default();
    for db in 0..databases {
        let mut keys = Digest::default();
        let mut empty = true;
        ctx.locks.each(|_, shard| {
            for slot in shard.db(db).table.iter() {
                let mut one = Digest::default();
                one.mix(slot.key());
                one.entry(&slot);
                keys.xor_sum(&one);
                empty = false;
            }
        });
        if !empty {
            total.mix(&u32::try_from(db).unwrap_or(u32::MAX).to_be_bytes());
            total.join(&keys);
        }
    }
    out.simple(&total.hex());
    Ok(())
}

fn digest_value(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let names = args.take_rest();
    out.array(names.len());
    for name in names {
        let key = ctx.key(name);
        let mut one = Digest::default();
        // Not `slot`, which would remove the key if it has expired.
        if let Some(slot) = ctx.data(&key).get(&key) {
            one.entry(&slot);
        }
        out.simple(&one.hex());
    }
    Ok(())
}

/// RELOAD [NOSAVE] [NOFLUSH] [MERGE]: saves, empties and loads again, or parts of that.
fn reload(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let (mut save, mut flush, mut merge) = (true, true, false);
    while args.left() > 0 {
        if args.word("merge") {
            merge = true;
        } else if args.word("noflush") {
            flush = false;
        } else if args.word("nosave") {
            save = false;
        } else {
            return Err(Error::new("ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options."));
        }
    }
    let world = ctx.core.world();
    let policy = match (flush, merge) {
        (true, _) => Restore::Flush,
        (false, true) => Restore::Replace,
        (false, false) => Restore::Append,
    };
    load::reload(world, &mut ctx.locks, save, flush, merge)
        .and_then(|()| install_libraries(ctx.core, ctx.worker, policy))
        .map_err(|_| Error::new("ERR Error trying to load the RDB dump, check server logs."))?;
    ctx.everything_is_stale();
    tracing::warn!("DB reloaded by DEBUG RELOAD");
    out.ok();
    Ok(())
}

/// LOADAOF: empties and loads the append-only file.
fn loadaof(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    ctx.core
        .while_loading(|| crate::dispatch::boot::reload_append_only(ctx))
        .map_err(|_| Error::new("ERR Error trying to load the AOF files, check server logs."))?;
    ctx.everything_is_stale();
    tracing::warn!("Append Only File loaded by DEBUG LOADAOF");
    out.ok();
    Ok(())
}

fn populate(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    const BIGGEST: i64 = 512 << 20;
    let positive =
        |n: i64| if n < 0 { Err(Error::new("ERR value is out of range, must be positive")) } else { Ok(n) };
    let keys = positive(args.int()?)?;
    let prefix = args.maybe().unwrap_or(b"key");
    let size = if args.left() > 0 { positive(args.int()?)?.min(BIGGEST) } else { 0 };
    for j in 0..keys {
        let name = [prefix, b":", itoa::Buffer::new().format(j).as_bytes()].concat();
        let key = ctx.key(&name);
        if ctx.exists(&key) {
            continue;
        }
        let mut value = format!("value:{j}").into_bytes();
        if size > 0 {
            value.resize(usize::try_from(size).unwrap_or(0), 0);
        }
        ctx.set_string(&key, &value, crate::dispatch::access::Expiry::Clear);
        ctx.touched(0, &key);
    }
    out.ok();
    Ok(())
}

/// One value of each type of the protocol, for tests of clients.
fn protocol(_: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let three = |out: &mut Reply<'_>| (0..3).for_each(|j| out.int(j));
    match args.next()?.to_ascii_lowercase().as_slice() {
        b"string" => out.bulk(b"Hello World"),
        b"integer" => out.int(12345),
        b"double" => out.double(f64::from(3141) / 1000.0),
        b"bignum" => out.big_number(b"1234567999999999999999999999999999999"),
        b"null" => out.null(),
        b"array" => {
            out.array(3);
            three(out);
        }
        b"set" => {
            out.set(3);
            three(out);
        }
        b"map" => {
            out.map(3);
            for j in 0..3 {
                out.int(j);
                out.boolean(j == 1);
            }
        }
        b"attrib" => {
            if out.is_resp3() {
                out.attribute(1);
                out.bulk(b"key-popularity");
                out.array(2);
                out.bulk(b"key:123");
                out.int(90);
            }
            out.bulk(b"Some real reply following the attribute");
        }
        b"push" if out.is_resp3() => {
            out.push(2);
            out.bulk(b"server-cpu-usage");
            out.int(42);
            out.bulk(b"Some real reply following the push reply");
        }
        b"push" => return Err(Error::new("ERR RESP2 is not supported by this command")),
        b"true" => out.boolean(true),
        b"false" => out.boolean(false),
        b"verbatim" => out.verbatim("txt", b"This is a verbatim\nstring"),
        _ => {
            return Err(Error::new(
                "ERR Wrong protocol type name. Please use one of the following: string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
            ));
        }
    }
    Ok(())
}

/// What can be said of tables that grow in place: how many elements they have, and the bytes that they take.
fn table_text(name: &str, elements: usize, bytes: usize) -> String {
    format!("{name}\n number of elements: {elements}\n bytes: {bytes}\n")
}

fn htstats(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let db = usize::try_from(args.int()?).ok().filter(|db| *db < ctx.keyspace().databases());
    let db = db.ok_or(Error::new("ERR Out of range database"))?;
    let (mut keys, mut expires, mut bytes) = (0, 0, 0);
    ctx.locks.each(|_, shard| {
        let data = shard.db(db);
        keys += data.table.len();
        expires += data.expires;
        bytes += data.table.memory();
    });
    let text = table_text("[Dictionary HT]", keys, bytes) + &table_text("[Expires HT]", expires, 0);
    out.verbatim("txt", text.as_bytes());
    Ok(())
}

fn htstats_key(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let slot = ctx.slot(&key).ok_or(error::NO_SUCH_KEY)?;
    let elements = match (slot.view(), crate::commands::prelude::encoding(&slot)) {
        (View::Value(Value::Set(set)), "hashtable") => set.len(),
        (View::Value(Value::Hash(hash)), "hashtable") => hash.len(),
        (View::Value(Value::Zset(zset)), "skiplist") => zset.len(),
        _ => {
            return Err(Error::new(
                "ERR The value stored at the specified key is not represented using an hash table",
            ));
        }
    };
    out.verbatim(
        "txt",
        table_text("Hash table 0 stats (main hash table):", elements, slot.memory()).as_bytes(),
    );
    Ok(())
}

fn stringmatch_len(_: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let n = usize::try_from(args.int()?).unwrap_or(0).min(1 << 24);
    let pattern = args.next()?;
    out.flag(crate::util::glob::matches(pattern, &vec![b'a'; n], false));
    Ok(())
}
