//! What concerns the connection itself? Greeting, choosing a database, leaving.

use crate::commands::prelude::*;
use std::sync::atomic::Ordering;

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    Command::new("ping", ping)
        .arity(-1)
        .flags(FAST)
        .acl(CONNECTION)
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .doc("connection", "1.0.0", "O(1)", "Answers PONG, or what it was given.", "[message:str]"),
    Command::new("echo", echo).arity(2).flags(LOADING | STALE | FAST).acl(CONNECTION).doc(
        "connection",
        "1.0.0",
        "O(1)",
        "Answers what it was given.",
        "message:str",
    ),
    Command::new("quit", quit)
        .arity(-1)
        .flags(NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY)
        .acl(CONNECTION)
        .doc("connection", "1.0.0", "O(1)", "Closes the connection.", "")
        .deprecated("7.2.0", "just closing the connection"),
    Command::new("select", select).arity(2).flags(LOADING | STALE | FAST).acl(CONNECTION).doc(
        "connection",
        "1.0.0",
        "O(1)",
        "Chooses the database of the connection.",
        "index:int",
    ),
];

fn ping(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let message = args.maybe();
    if args.left() > 0 {
        return Err(Error::arity("ping"));
    }
    if ctx.session.subscriber_mode() {
        out.array(2);
        out.bulk(b"pong");
        out.bulk(message.unwrap_or_default());
        return Ok(());
    }
    match message {
        Some(message) => out.bulk(message),
        None => out.simple("PONG"),
    }
    Ok(())
}

fn echo(_: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    out.bulk(args.next()?);
    Ok(())
}

fn quit(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    ctx.session.close = true;
    out.ok();
    Ok(())
}

fn select(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let n = args.int_or(Error::new("ERR value is not an integer or out of range"))?;
    let db = usize::try_from(n).map_err(|_| error::DB_RANGE)?;
    if db >= ctx.keyspace().databases() {
        return Err(error::DB_RANGE);
    }
    ctx.session.db = db;
    ctx.session.client.db.store(db, Ordering::Relaxed);
    out.ok();
    Ok(())
}
