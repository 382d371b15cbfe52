//! How do clients make several commands one? MULTI, EXEC, DISCARD, WATCH.

use crate::commands::prelude::*;
use crate::dispatch::multi as transaction;

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    Command::new("multi", multi)
        .arity(1)
        .flags(NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY)
        .also(RUNS_IN_MULTI)
        .acl(TRANSACTION)
        .doc(
            "transactions",
            "1.2.0",
            "O(1)",
            "Begins a transaction: the commands that follow are queued.",
            "",
        ),
    Command::new("exec", exec)
        .arity(1)
        .flags(NOSCRIPT | LOADING | STALE | SKIP_SLOWLOG)
        .also(RUNS_IN_MULTI)
        .lock(Lock::Queue)
        .acl(TRANSACTION)
        .doc(
            "transactions",
            "1.2.0",
            "Depends on commands in the transaction",
            "Runs the queued commands as one unit.",
            "",
        ),
    Command::new("discard", discard)
        .arity(1)
        .flags(NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY)
        .also(RUNS_IN_MULTI)
        .lock(Lock::Walk)
        .acl(TRANSACTION)
        .doc(
            "transactions",
            "2.0.0",
            "O(N), when N is the number of queued commands",
            "Forgets the queued commands.",
            "",
        ),
    Command::new("watch", watch)
        .arity(-2)
        .flags(NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY)
        .also(RUNS_IN_MULTI)
        .acl(TRANSACTION)
        .keys(&[range(RO, 1, -1, 1)])
        .doc(
            "transactions",
            "2.2.0",
            "O(1) for every key.",
            "Makes the next transaction fail if one of the keys changes before it.",
            "key:key@0...",
        ),
    Command::new("unwatch", unwatch)
        .arity(1)
        .flags(NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY)
        .lock(Lock::Walk)
        .acl(TRANSACTION)
        .doc("transactions", "2.2.0", "O(1)", "Forgets all watched keys.", ""),
];

fn multi(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    if !transaction::begin(ctx.session) {
        return Err(Error::new("ERR MULTI calls can not be nested"));
    }
    out.ok();
    Ok(())
}

fn exec(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let Some(multi) = transaction::end(ctx.session) else {
        return Err(Error::new("ERR EXEC without MULTI"));
    };
    let dirty = transaction::is_dirty(ctx);
    transaction::unwatch(ctx);
    if multi.refused {
        return Err(error::EXEC_ABORT);
    }
    if dirty {
        out.null_array();
        return Ok(());
    }
    transaction::run_queue(ctx, multi, out);
    Ok(())
}

fn discard(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    if transaction::end(ctx.session).is_none() {
        return Err(Error::new("ERR DISCARD without MULTI"));
    }
    transaction::unwatch(ctx);
    out.ok();
    Ok(())
}

fn watch(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    if ctx.session.multi.is_some() {
        return Err(Error::new("ERR WATCH inside MULTI is not allowed"));
    }
    for name in args.take_rest() {
        transaction::watch(ctx, name);
    }
    out.ok();
    Ok(())
}

fn unwatch(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    transaction::unwatch(ctx);
    out.ok();
    Ok(())
}
