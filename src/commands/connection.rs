//! What concerns the connection itself? Greeting, authenticating, choosing a database, leaving.

use std::sync::atomic::Ordering;

use crate::acl::DEFAULT;
use crate::acl::log::Reason;
use crate::client::registry::{CLOSE_AFTER_REPLY, RESP3};
use crate::client::session::ReplyMode;
use crate::commands::clients_tracking;
use crate::commands::keys::index;
use crate::commands::prelude::*;
use crate::commands::pubsub;
use crate::config::REDIS_VERSION;
use crate::dispatch::{multi, permit};
use crate::resp::reply::Proto;
use crate::util::number;

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    Command::new("ping", ping)
        .arity(-1)
        .flags(FAST)
        .acl(CONNECTION)
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .also(FOR_SUBSCRIBERS | TELLS_HEALTH)
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
        .also(FOR_SUBSCRIBERS | RUNS_IN_MULTI)
        .doc("connection", "1.0.0", "O(1)", "Closes the connection.", "")
        .deprecated("7.2.0", "just closing the connection"),
    Command::new("select", select).arity(2).flags(LOADING | STALE | FAST).acl(CONNECTION).doc(
        "connection",
        "1.0.0",
        "O(1)",
        "Chooses the database of the connection.",
        "index:int",
    ),
    Command::new("hello", hello)
        .arity(-1)
        .flags(NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY)
        .acl(CONNECTION)
        .doc(
            "connection",
            "6.0.0",
            "O(1)",
            "Greets the server: protocol version, authentication and name in one.",
            "[arguments{protover:int [AUTH auth{username:str password:str}] [SETNAME clientname:str]}]",
        ),
    Command::new("auth", auth)
        .arity(-2)
        .flags(NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY)
        .acl(CONNECTION)
        .doc(
            "connection",
            "1.0.0",
            "O(N) where N is the number of passwords defined for the user",
            "Authenticates the connection.",
            "[username:str^6.0.0] password:str",
        ),
    Command::new("reset", reset)
        .arity(1)
        .flags(NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY)
        .acl(CONNECTION)
        .also(FOR_SUBSCRIBERS | RUNS_IN_MULTI)
        .lock(Lock::Walk)
        .doc(
            "connection",
            "6.2.0",
            "O(1)",
            "Gives the connection the state that it had when it was new.",
            "",
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
    ctx.session.client.set(CLOSE_AFTER_REPLY, true);
    out.ok();
    Ok(())
}

fn select(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let n = args.int32()?;
    if ctx.core.cluster.is_some() && n != 0 {
        return Err(Error::new("ERR SELECT is not allowed in cluster mode"));
    }
    let db = index(ctx, n)?;
    ctx.session.db = db;
    ctx.session.client.db.store(db, Ordering::Relaxed);
    out.ok();
    Ok(())
}

/// Logs the connection in.
pub(crate) fn log_in(ctx: &mut Ctx<'_>, name: &[u8], password: &[u8], said: &[u8]) -> Result {
    let Some(login) = ctx.core.acl.authenticate(name, password) else {
        let context = permit::context_of(ctx.session);
        permit::log(ctx.core, ctx.worker, ctx.session, Reason::Auth, context, said, Some(name));
        return Err(Error::new("WRONGPASS invalid username-password pair or user is disabled."));
    };
    ctx.session.client.labels.lock().user = Some(login.user.clone());
    ctx.session.login = login;
    ctx.session.authenticated = true;
    Ok(())
}

fn auth(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let said = args.get(0).unwrap_or_default();
    let first = args.next()?;
    match args.maybe() {
        _ if args.left() > 0 => return Err(error::SYNTAX),
        Some(password) => log_in(ctx, first, password, said)?,
        None if ctx.core.acl.first_login().user.needs_no_password() => {
            return Err(Error::new(
                "ERR AUTH <password> called without any password configured for the default user. \
                 Are you sure your configuration is correct?",
            ));
        }
        None => log_in(ctx, DEFAULT, first, said)?,
    }
    out.ok();
    Ok(())
}

/// Refuses names that would break the lines of CLIENT LIST.
pub(crate) fn check_label(text: &[u8], what: &str) -> Result {
    if text.iter().all(|b| (b'!'..=b'~').contains(b)) {
        return Ok(());
    }
    Err(Error::text(format!("ERR {what} cannot contain spaces, newlines or special characters.")))
}

fn hello(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let mut proto = ctx.session.proto;
    if let Some(version) = args.maybe() {
        let bad = Error::new("ERR Protocol version is not an integer or out of range");
        proto = match number::parse_i64(version).ok_or(bad)? {
            2 => Proto::Resp2,
            3 => Proto::Resp3,
            _ => return Err(Error::new("NOPROTO unsupported protocol version")),
        };
    }
    let (mut login, mut name) = (None, None);
    while args.left() > 0 {
        if args.left() > 2 && args.word("AUTH") {
            login = Some((args.next()?, args.next()?));
        } else if args.left() > 1 && args.word("SETNAME") {
            let label = args.next()?;
            check_label(label, "Client names")?;
            name = Some(label);
        } else {
            let word = error::clip(args.next()?, 128);
            return Err(Error::text(format!("ERR Syntax error in HELLO option '{word}'")));
        }
    }
    if let Some((user, password)) = login {
        log_in(ctx, user, password, args.get(0).unwrap_or_default())?;
    }
    if !permit::has_entered(ctx.core, ctx.session) {
        return Err(Error::new(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH \
             <user> <pass> option can be used to authenticate the client and select the RESP protocol version at \
             the same time",
        ));
    }
    if let Some(name) = name {
        ctx.session.client.labels.lock().name = name.into();
    }
    set_proto(ctx, proto);
    out.set_proto(proto);
    greet(ctx, out);
    Ok(())
}

fn set_proto(ctx: &mut Ctx<'_>, proto: Proto) {
    ctx.session.proto = proto;
    ctx.session.client.set(RESP3, proto == Proto::Resp3);
}

fn greet(ctx: &Ctx<'_>, out: &mut Reply<'_>) {
    out.map(7);
    out.bulk(b"server");
    out.bulk(b"redis");
    out.bulk(b"version");
    out.bulk(REDIS_VERSION.as_bytes());
    out.bulk(b"proto");
    out.int(if out.is_resp3() { 3 } else { 2 });
    out.bulk(b"id");
    out.int(i64::try_from(ctx.session.client.id).unwrap_or(i64::MAX));
    out.bulk(b"mode");
    out.bulk(ctx.config().mode().as_bytes());
    out.bulk(b"role");
    out.bulk(b"master");
    out.bulk(b"modules");
    out.array(0);
}

fn reset(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    multi::end(ctx.session);
    multi::unwatch(ctx);
    pubsub::drop_all(ctx);
    ctx.core.clients.monitors.remove(&ctx.session.client);
    clients_tracking::disable(ctx);
    ctx.session.reply_mode = ReplyMode::On;
    ctx.session.db = 0;
    ctx.session.client.db.store(0, Ordering::Relaxed);
    {
        let mut labels = ctx.session.client.labels.lock();
        labels.name = Box::default();
        labels.user = None;
    }
    set_proto(ctx, Proto::Resp2);
    out.set_proto(Proto::Resp2);
    ctx.session.login = ctx.core.acl.first_login();
    ctx.session.authenticated = ctx.core.acl.is_open();
    out.simple("RESET");
    Ok(())
}
