//! How is a key's value kept? OBJECT.

use crate::commands::prelude::*;
use crate::keyspace::evict::lfu;

/// The family's rows.
pub const COMMANDS: &[Command] = &[Command::container("object", OBJECT).doc(
    "generic",
    "2.2.3",
    "Depends on subcommand.",
    "Looks at how a key's value is kept.",
    "",
)];

const OBJECT: &[Command] = &[
    Command::new("help", object_help).arity(2).flags(LOADING | STALE).acl(KEYSPACE).doc(
        "generic",
        "6.2.0",
        "O(1)",
        "Explains the subcommands.",
        "",
    ),
    Command::new("refcount", object_refcount)
        .arity(3)
        .flags(READONLY)
        .acl(KEYSPACE)
        .keys(&[one(RO, 2)])
        .tips(&["nondeterministic_output"])
        .doc("generic", "2.2.3", "O(1)", "Counts the references to a key's value.", "key:key@0"),
    Command::new("encoding", object_encoding)
        .arity(3)
        .flags(READONLY)
        .acl(KEYSPACE)
        .keys(&[one(RO, 2)])
        .tips(&["nondeterministic_output"])
        .doc("generic", "2.2.3", "O(1)", "Names the encoding of a key's value.", "key:key@0"),
    Command::new("freq", object_freq)
        .arity(3)
        .flags(READONLY)
        .acl(KEYSPACE)
        .keys(&[one(RO, 2)])
        .tips(&["nondeterministic_output"])
        .doc(
            "generic",
            "4.0.0",
            "O(1)",
            "Tells how often a key is used, on a logarithmic scale.",
            "key:key@0",
        ),
    Command::new("idletime", object_idletime)
        .arity(3)
        .flags(READONLY)
        .acl(KEYSPACE)
        .keys(&[one(RO, 2)])
        .tips(&["nondeterministic_output"])
        .doc("generic", "2.2.3", "O(1)", "Tells how many seconds ago a key was used.", "key:key@0"),
];

const HELP: &[&str] = &[
    "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "ENCODING <key>",
    "    Return the kind of internal representation used in order to store the value",
    "    associated with a <key>.",
    "FREQ <key>",
    "    Return the access frequency index of the <key>. The returned integer is",
    "    proportional to the logarithm of the recent access frequency of the key.",
    "IDLETIME <key>",
    "    Return the idle time of the <key>, that is the approximated number of",
    "    seconds elapsed since the last access to the key.",
    "REFCOUNT <key>",
    "    Return the number of references of the value associated with the specified",
    "    <key>.",
    "HELP",
    "    Print this help.",
];

fn object_help(_: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    out.array(HELP.len());
    HELP.iter().for_each(|line| out.simple(line));
    Ok(())
}

fn object_refcount(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    match ctx.peek(&key) {
        Some(_) => out.int(1),
        None => out.null(),
    }
    Ok(())
}

fn object_encoding(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    match ctx.slot(&key) {
        Some(slot) => out.bulk(encoding(&slot).as_bytes()),
        None => out.null(),
    }
    Ok(())
}

fn object_freq(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    const NOT_COUNTED: Error = Error::new(
        "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.",
    );
    let key = ctx.key(args.next()?);
    let Some(mark) = ctx.slot(&key).map(|slot| slot.lru()) else {
        out.null();
        return Ok(());
    };
    let config = ctx.config();
    if !config.maxmemory_policy.counts_uses() {
        return Err(NOT_COUNTED);
    }
    let counter = lfu::decayed(mark, (ctx.now_ms() / 60_000) as u16, config.lfu_decay_time.into());
    out.int(counter.into());
    Ok(())
}

fn object_idletime(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    const NOT_TIMED: Error = Error::new(
        "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.",
    );
    let key = ctx.key(args.next()?);
    let Some(mark) = ctx.slot(&key).map(|slot| slot.lru()) else {
        out.null();
        return Ok(());
    };
    if ctx.config().maxmemory_policy.counts_uses() {
        return Err(NOT_TIMED);
    }
    out.int(i64::from(ctx.worker.lru_clock().wrapping_sub(mark) & 0xff_ffff));
    Ok(())
}
