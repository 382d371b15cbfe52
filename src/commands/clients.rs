//! How do clients look at each other, and after each other? CLIENT.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::client::message::Message;
use crate::client::pause::{Holder, Paused};
use crate::client::registry::{BLOCKED, ClientType, NO_EVICT, NO_TOUCH};
use crate::client::session::ReplyMode;
use crate::client::{Client, registry};
use crate::commands::clients_tracking;
use crate::commands::connection::check_label;
use crate::commands::prelude::*;
use crate::dispatch::client_line::{Moment, describe};
use crate::dispatch::core::Core;
use crate::util::number;

/// The family's rows.
pub const COMMANDS: &[Command] = &[Command::container("client", CLIENT).doc(
    "connection",
    "2.4.0",
    "Depends on subcommand.",
    "Looks at connections and steers them.",
    "",
)];

const CLIENT: &[Command] = &[
    Command::new("tracking", clients_tracking::tracking).arity(-3).flags(NOSCRIPT | LOADING | STALE).acl(CONNECTION).doc("connection", "6.0.0", "O(1). Some options may introduce additional complexity.", "Sets whether the server tells this connection when keys that it has read change.", "status(ON | OFF) [REDIRECT client-id:int] [PREFIX prefix:str+] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]"),
    Command::new("caching", clients_tracking::caching).arity(3).flags(NOSCRIPT | LOADING | STALE).acl(CONNECTION).doc("connection", "6.0.0", "O(1)", "Sets whether what the next command reads is tracked.", "mode(YES | NO)"),
    Command::new("info", client_info).arity(2).flags(NOSCRIPT | LOADING | STALE).acl(CONNECTION).tips(&["nondeterministic_output"]).doc("connection", "6.2.0", "O(1)", "Describes this connection.", ""),
    Command::new("no-touch", client_no_touch).arity(3).flags(NOSCRIPT | LOADING | STALE).acl(CONNECTION).doc("connection", "7.2.0", "O(1)", "Sets whether the commands of this connection count as use of keys.", "enabled(ON | OFF)"),
    Command::new("help", client_help).arity(2).flags(LOADING | STALE).acl(CONNECTION).doc("connection", "5.0.0", "O(1)", "Lists the subcommands.", ""),
    Command::new("setname", client_setname).arity(3).flags(NOSCRIPT | LOADING | STALE).acl(CONNECTION).tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]).doc("connection", "2.6.9", "O(1)", "Names the connection.", "connection-name:str"),
    Command::new("unpause", client_unpause).arity(2).flags(ADMIN | NOSCRIPT | LOADING | STALE).acl(CONNECTION).doc("connection", "6.2.0", "O(N) Where N is the number of paused clients", "Ends a pause.", ""),
    Command::new("no-evict", client_no_evict).arity(3).flags(ADMIN | NOSCRIPT | LOADING | STALE).acl(CONNECTION).doc("connection", "7.0.0", "O(1)", "Sets whether this connection is spared when clients must be dropped.", "enabled(ON | OFF)"),
    Command::new("trackinginfo", clients_tracking::trackinginfo).arity(2).flags(NOSCRIPT | LOADING | STALE).acl(CONNECTION).doc("connection", "6.2.0", "O(1)", "Tells how this connection tracks keys.", ""),
    Command::new("getname", client_getname).arity(2).flags(NOSCRIPT | LOADING | STALE).acl(CONNECTION).doc("connection", "2.6.9", "O(1)", "Answers the name of the connection.", ""),
    Command::new("kill", client_kill).arity(-3).flags(ADMIN | NOSCRIPT | LOADING | STALE).acl(CONNECTION).doc("connection", "2.4.0", "O(N) where N is the number of client connections", "Closes connections.", "filter(old-format/ip:port:str!2.8.12 | new-format([ID client-id:int^2.8.12] | [TYPE client-type(NORMAL | MASTER^3.2.0 | SLAVE | REPLICA^5.0.0 | PUBSUB)^2.8.12] | [USER username:str] | [ADDR addr/ip:port:str] | [LADDR laddr/ip:port:str^6.2.0] | [SKIPME skipme(YES | NO)] | [MAXAGE maxage:int^7.4.0])...)"),
    Command::new("reply", client_reply).arity(3).flags(NOSCRIPT | LOADING | STALE).acl(CONNECTION).doc("connection", "3.2.0", "O(1)", "Sets whether commands are answered.", "action(ON | OFF | SKIP)"),
    Command::new("id", client_id).arity(2).flags(NOSCRIPT | LOADING | STALE).acl(CONNECTION).doc("connection", "5.0.0", "O(1)", "Answers the number of the connection.", ""),
    Command::new("unblock", client_unblock).arity(-3).flags(ADMIN | NOSCRIPT | LOADING | STALE).acl(CONNECTION).doc("connection", "5.0.0", "O(log N) where N is the number of client connections", "Ends the wait of a client in a blocking command.", "client-id:int [unblock-type(TIMEOUT | ERROR)]"),
    Command::new("pause", client_pause).arity(-3).flags(ADMIN | NOSCRIPT | LOADING | STALE).acl(CONNECTION).doc("connection", "3.0.0", "O(1)", "Holds commands back for some time.", "timeout:int [mode(WRITE | ALL)^6.2.0]"),
    Command::new("setinfo", client_setinfo).arity(4).flags(NOSCRIPT | LOADING | STALE).acl(CONNECTION).tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]).doc("connection", "7.2.0", "O(1)", "Says which library the client uses.", "attr(LIB-NAME libname:str | LIB-VER libver:str)"),
    Command::new("list", client_list).arity(-2).flags(ADMIN | NOSCRIPT | LOADING | STALE).acl(CONNECTION).tips(&["nondeterministic_output"]).doc("connection", "2.4.0", "O(N) where N is the number of client connections", "Describes all connections.", "[TYPE client-type(NORMAL | MASTER | REPLICA | PUBSUB)^5.0.0] [ID client-id:int^6.2.0...]"),
    Command::new("getredir", clients_tracking::getredir).arity(2).flags(NOSCRIPT | LOADING | STALE).acl(CONNECTION).doc("connection", "6.0.0", "O(1)", "Answers which client gets the invalidations of this one.", ""),
];

fn client_id(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    out.int(i64::try_from(ctx.session.client.id).unwrap_or(i64::MAX));
    Ok(())
}

fn moment(ctx: &Ctx<'_>, args: &Args<'_>) -> Moment {
    let memory = args.argv().iter().map(|a| a.len()).sum();
    Moment { now_ms: ctx.worker.mono_ms, asking: ctx.session.client.id, asking_memory: memory }
}

fn client_info(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let mut text = Vec::new();
    describe(ctx.core, &ctx.session.client, &moment(ctx, args), &mut text);
    out.verbatim("txt", &text);
    Ok(())
}

fn client_type(name: &[u8]) -> Result<ClientType> {
    match name.to_ascii_lowercase().as_slice() {
        b"normal" => Ok(ClientType::Normal),
        b"slave" | b"replica" => Ok(ClientType::Replica),
        b"pubsub" => Ok(ClientType::PubSub),
        b"master" => Ok(ClientType::Master),
        _ => Err(Error::text(format!("ERR Unknown client type '{}'", error::clip(name, 128)))),
    }
}

fn client_list(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let at = moment(ctx, args);
    let chosen: Vec<Arc<Client>> = if args.left() == 0 {
        ctx.core.clients.all()
    } else if args.left() == 2 && args.word("type") {
        let kind = client_type(args.next()?)?;
        ctx.core.clients.all().into_iter().filter(|c| c.kind() == kind).collect()
    } else if args.left() >= 2 && args.word("id") {
        let mut chosen = Vec::new();
        while args.left() > 0 {
            let id = args.int_or(Error::new("ERR Invalid client ID"))?;
            chosen.extend(u64::try_from(id).ok().and_then(|id| ctx.core.clients.get(id)));
        }
        chosen
    } else {
        return Err(error::SYNTAX);
    };
    let mut text = Vec::new();
    // Who is being closed is gone already, as far as others are concerned.
    for client in chosen.into_iter().filter(|client| !client.has(registry::KILLED)) {
        describe(ctx.core, &client, &at, &mut text);
    }
    out.verbatim("txt", &text);
    Ok(())
}

/// Which clients CLIENT KILL means.
#[derive(Default)]
struct Kill<'a> {
    id: Option<u64>,
    kind: Option<ClientType>,
    user: Option<&'a [u8]>,
    addr: Option<&'a [u8]>,
    laddr: Option<&'a [u8]>,
    /// Seconds.
    older_than: Option<u64>,
    spare_me: bool,
}

impl<'a> Kill<'a> {
    fn parse(core: &Core, args: &mut Args<'a>) -> Result<Self> {
        if args.left() == 1 {
            return Ok(Kill { addr: args.maybe(), ..Kill::default() });
        }
        let mut kill = Kill { spare_me: true, ..Kill::default() };
        while args.left() > 0 {
            if args.left() < 2 {
                return Err(error::SYNTAX);
            }
            if args.word("id") {
                let bad = Error::new("ERR client-id should be greater than 0");
                kill.id = u64::try_from(args.int_in(1, i64::MAX, bad)?).ok();
            } else if args.word("maxage") {
                let age = args.int_or(Error::new("ERR maxage is not an integer or out of range"))?;
                let age = u64::try_from(age).ok().filter(|n| *n > 0);
                kill.older_than = Some(age.ok_or(Error::new("ERR maxage should be greater than 0"))?);
            } else if args.word("type") {
                kill.kind = Some(client_type(args.next()?)?);
            } else if args.word("addr") {
                kill.addr = args.maybe();
            } else if args.word("laddr") {
                kill.laddr = args.maybe();
            } else if args.word("user") {
                kill.user = Some(known_user(core, args.next()?)?);
            } else if args.word("skipme") {
                kill.spare_me = yes_or_no(args, "yes", "no")?;
            } else {
                return Err(error::SYNTAX);
            }
        }
        Ok(kill)
    }

    fn means(&self, client: &Client, now_ms: u64) -> bool {
        let user = |name: &[u8]| *client.user_name() == *name;
        self.id.is_none_or(|id| client.id == id)
            && self.kind.is_none_or(|kind| client.kind() == kind)
            && self.addr.is_none_or(|addr| client.addr.as_bytes() == addr)
            && self.laddr.is_none_or(|addr| client.laddr.as_bytes() == addr)
            && self.user.is_none_or(user)
            && self.older_than.is_none_or(|age| now_ms.saturating_sub(client.since_ms) / 1000 >= age)
    }
}

/// Refuses the name of a user that there is not.
fn known_user<'n>(core: &Core, name: &'n [u8]) -> Result<&'n [u8]> {
    if core.acl.user(name).is_some() {
        return Ok(name);
    }
    Err(Error::text(format!("ERR No such user '{}'", error::clip(name, 128))))
}

/// Reads one of two words.
fn yes_or_no(args: &mut Args<'_>, yes: &str, no: &str) -> Result<bool> {
    if args.word(yes) {
        Ok(true)
    } else if args.word(no) {
        Ok(false)
    } else {
        Err(error::SYNTAX)
    }
}

fn client_kill(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let old_form = args.left() == 1;
    let kill = Kill::parse(ctx.core, args)?;
    let (me, now) = (ctx.session.client.id, ctx.worker.mono_ms);
    let mut killed = 0;
    for client in ctx.core.clients.all() {
        if !kill.means(&client, now) || (client.id == me && kill.spare_me) {
            continue;
        }
        if client.id == me {
            killed += 1;
            ctx.session.close = true;
            client.set(registry::CLOSE_AFTER_REPLY, true);
        } else if client.kill() {
            killed += 1;
            if client.kind() == ClientType::Master {
                ctx.core.replication.link.cut();
            }
            ctx.post(Message::Kill { to: client.id });
        }
    }
    match (old_form, killed) {
        (true, 0) => return Err(Error::new("ERR No such client")),
        (true, _) => out.ok(),
        (false, n) => out.int(n),
    }
    Ok(())
}

fn client_setname(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let name = args.next()?;
    check_label(name, "Client names")?;
    ctx.session.client.labels.lock().name = name.into();
    out.ok();
    Ok(())
}

fn client_getname(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let labels = ctx.session.client.labels.lock();
    out.bulk_or_null((!labels.name.is_empty()).then_some(&labels.name));
    Ok(())
}

fn client_setinfo(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let (what, text) = (args.next()?, args.next()?);
    let (name, version) = (what.eq_ignore_ascii_case(b"lib-name"), what.eq_ignore_ascii_case(b"lib-ver"));
    if !name && !version {
        return Err(Error::text(format!("ERR Unrecognized option '{}'", error::clip(what, 128))));
    }
    // A text ends at its first NUL, for the check.
    let end = text.iter().position(|b| *b == 0).unwrap_or(text.len());
    check_label(text.get(..end).unwrap_or(text), &error::clip(what, 16))?;
    let mut labels = ctx.session.client.labels.lock();
    *(if name { &mut labels.lib_name } else { &mut labels.lib_ver }) = text.into();
    out.ok();
    Ok(())
}

fn client_reply(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let mode = &mut ctx.session.reply_mode;
    if args.word("on") {
        *mode = ReplyMode::On;
        out.ok();
    } else if args.word("off") {
        *mode = ReplyMode::Off;
    } else if args.word("skip") {
        if *mode != ReplyMode::Off {
            *mode = ReplyMode::SkipNext;
        }
    } else {
        return Err(error::SYNTAX);
    }
    Ok(())
}

fn client_unblock(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let id = args.next()?;
    let how = match args.maybe() {
        None => 1,
        Some(word) if word.eq_ignore_ascii_case(b"timeout") => 1,
        Some(word) if word.eq_ignore_ascii_case(b"error") => 2,
        Some(_) => {
            args.end_of_subcommand()?;
            return Err(Error::new("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"));
        }
    };
    args.end_of_subcommand()?;
    let id = number::parse_i64(id).ok_or(error::NOT_INTEGER)?;
    let client = u64::try_from(id).ok().and_then(|id| ctx.core.clients.get(id)).filter(|c| c.has(BLOCKED));
    if let Some(client) = &client {
        client.unblock.store(how, Ordering::Release);
        ctx.post(Message::Look { to: client.id });
    }
    out.flag(client.is_some());
    Ok(())
}

fn client_pause(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let time = args.next()?;
    let what = match args.maybe() {
        None => Paused::All,
        Some(word) if word.eq_ignore_ascii_case(b"write") => Paused::Writes,
        Some(word) if word.eq_ignore_ascii_case(b"all") => Paused::All,
        Some(_) => {
            args.end_of_subcommand()?;
            return Err(Error::new("ERR CLIENT PAUSE mode must be WRITE or ALL"));
        }
    };
    args.end_of_subcommand()?;
    let time = number::parse_i64(time).ok_or(Error::new("ERR timeout is not an integer or out of range"))?;
    let time = u64::try_from(time).map_err(|_| error::TIMEOUT_NEGATIVE)?;
    if time > (i64::MAX as u64).saturating_sub(ctx.now_ms()) {
        return Err(error::TIMEOUT_RANGE);
    }
    let now = ctx.worker.mono_ms;
    ctx.core.clients.pause.begin(Holder::Client, what, now, now.saturating_add(time));
    out.ok();
    Ok(())
}

fn client_unpause(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    ctx.core.clients.resume(Holder::Client);
    out.ok();
    Ok(())
}

fn set_bit(ctx: &Ctx<'_>, args: &mut Args<'_>, bit: u32, out: &mut Reply<'_>) -> Result {
    let on = yes_or_no(args, "on", "off")?;
    ctx.session.client.set(bit, on);
    out.ok();
    Ok(())
}

fn client_no_evict(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    set_bit(ctx, args, NO_EVICT, out)
}

fn client_no_touch(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    set_bit(ctx, args, NO_TOUCH, out)
}

fn client_help(_: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    help(
        out,
        "CLIENT",
        &[
            (
                "CACHING (YES|NO)",
                "Sets whether what the next command reads is tracked, in the modes OPTIN and OPTOUT.",
            ),
            ("GETNAME", "The name of this connection."),
            ("GETREDIR", "The client that gets the invalidations of this one."),
            ("ID", "The number of this connection."),
            ("INFO", "A description of this connection."),
            ("KILL <ip:port>", "Closes the connection from an address."),
            (
                "KILL <option> <value> [<option> <value> [...]]",
                "Closes connections by ADDR, LADDR, ID, TYPE, USER and MAXAGE; SKIPME NO may mean this one too.",
            ),
            ("LIST [TYPE (NORMAL|MASTER|REPLICA|PUBSUB)] [ID <id> ...]", "A description of connections."),
            ("NO-EVICT (ON|OFF)", "Spares this connection when clients must be dropped."),
            ("NO-TOUCH (ON|OFF)", "Leaves the access times of keys alone."),
            ("PAUSE <timeout> [WRITE|ALL]", "Holds back commands, or writes only, for some milliseconds."),
            ("REPLY (ON|OFF|SKIP)", "Sets whether this connection is answered."),
            ("SETINFO <option> <value>", "Says which library is used: LIB-NAME, LIB-VER."),
            ("SETNAME <name>", "Names this connection."),
            (
                "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]] [OPTIN] [OPTOUT] [NOLOOP]",
                "Sets whether this connection is told when keys that it has read change.",
            ),
            ("TRACKINGINFO", "How this connection tracks keys."),
            ("UNBLOCK <clientid> [TIMEOUT|ERROR]", "Ends the wait of a blocked client."),
            ("UNPAUSE", "Ends a pause."),
        ],
    );
    Ok(())
}
