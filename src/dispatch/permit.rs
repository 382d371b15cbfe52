//! May this user do it? What a request wants is worked out from its row and judged by the rules of its user; refusals
//! are counted and logged.
//!
//! Invariants: the keys that are judged are those of [`keys::extract`], the same that are locked. Who may do everything
//! is known by one flag, and nothing is worked out for them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::acl::log::{Context, Event, Reason};
use crate::acl::{KeyUse, READ, Refusal, User, WRITE, Wanted};
use crate::client::Session;
use crate::client::message::Message;
use crate::client::registry::Client;
use crate::dispatch::client_line::{Moment, describe};
use crate::dispatch::core::Core;
use crate::dispatch::ctx::Ctx;
use crate::dispatch::gate::Request;
use crate::dispatch::keys;
use crate::dispatch::spec::{ACCESS, Channels, DELETE, INSERT, KeyAt, NO_AUTH, NOT_KEY, UPDATE};
use crate::dispatch::table::Entry;
use crate::dispatch::worker::Worker;
use crate::error::{Error, clip};
use crate::pubsub::Space;

/// Looks at a session's user again if users have changed. False when it has been deleted: the session is over.
#[must_use]
pub fn renew(core: &Core, session: &mut Session) -> bool {
    if session.internal || !session.login.is_stale(&core.acl) || session.login.renew(&core.acl) {
        return true;
    }
    dismiss(core, session);
    false
}

/// Takes a session's user away, and ends it once its replies have been sent.
fn dismiss(core: &Core, session: &mut Session) {
    session.login = core.acl.first_login();
    session.authenticated = false;
    session.client.labels.lock().user = None;
    session.close = true;
}

/// True when a connection that has not logged in may use commands: the default user needs no password.
pub fn has_entered(core: &Core, session: &Session) -> bool {
    session.authenticated || core.acl.is_open()
}

/// What a key's flags need permission for.
fn access(flags: u16) -> u8 {
    let reads = if flags & ACCESS != 0 { READ } else { 0 };
    let writes = if flags & (INSERT | DELETE | UPDATE) != 0 { WRITE } else { 0 };
    reads | writes
}

/// The keys of a request. One whose arguments make no sense has none: its handler refuses it.
fn keys_of(entry: &Entry, argv: &[&[u8]]) -> Vec<KeyUse> {
    let mut found: Vec<KeyAt> = Vec::new();
    if keys::extract(entry.row, argv, &mut found).is_none() {
        return Vec::new();
    }
    let keys = found.iter().filter(|key| key.flags & NOT_KEY == 0 && key.index < argv.len());
    keys.map(|key| KeyUse { index: key.index, access: access(key.flags) }).collect()
}

/// Describes a request as rules see it.
fn with_wanted<R>(user: &User, entry: &Entry, argv: &[&[u8]], judge: impl FnOnce(&Wanted<'_>) -> R) -> R {
    let keys = if user.asks_for_keys() { keys_of(entry, argv) } else { Vec::new() };
    let first = entry.head.min(argv.len());
    let channels = match entry.row.channels {
        Channels::None => (0, 0),
        Channels::First => (first, (first + 1).min(argv.len())),
        Channels::All | Channels::Patterns => (first, argv.len()),
    };
    judge(&Wanted {
        command: entry.id,
        for_all: entry.row.is(NO_AUTH),
        argv,
        head: entry.head,
        keys: &keys,
        channels,
        patterns: entry.row.channels == Channels::Patterns,
    })
}

/// Says why a user may not run a request.
///
/// # Errors
/// The reason.
pub fn judge(user: &User, entry: &Entry, argv: &[&[u8]]) -> Result<(), Refusal> {
    if user.is_unrestricted() {
        return Ok(());
    }
    with_wanted(user, entry, argv, |wanted| user.check(wanted))
}

/// Judges a request of a session; a refusal is logged.
///
/// # Errors
/// The reason of the refusal.
pub fn check(request: &Request<'_>, context: Context) -> Result<(), Refusal> {
    if request.session.internal {
        return Ok(());
    }
    let judged = judge(&request.session.login.user, request.entry, request.argv);
    if let Err(refusal) = judged {
        let object = |index: usize| request.argv.get(index).copied().unwrap_or_default();
        let (reason, object) = match refusal {
            Refusal::Command => (Reason::Command, request.entry.name.as_bytes()),
            Refusal::Key(index) => (Reason::Key, object(index)),
            Refusal::Channel(index) => (Reason::Channel, object(index)),
        };
        log(request.core, request.worker, request.session, reason, context, object, None);
    }
    judged
}

/// Enters a refusal into ACL LOG.
pub fn log(
    core: &Core,
    worker: &Worker,
    session: &Session,
    reason: Reason,
    context: Context,
    object: &[u8],
    user: Option<&[u8]>,
) {
    let mut client = Vec::new();
    let moment = Moment { now_ms: worker.mono_ms, asking: session.client.id, asking_memory: 0 };
    describe(core, &session.client, &moment, &mut client);
    // The line without its end.
    client.pop();
    let user = user.unwrap_or(&session.login.user.name).into();
    let event = Event { reason, context, object: object.into(), user, client };
    core.acl.log.add(event, worker.now_ms, worker.config.acllog_max_len);
}

/// Where a request comes from that a client sends now.
pub fn context_of(session: &Session) -> Context {
    if session.multi.is_some() { Context::Multi } else { Context::TopLevel }
}

/// What is refused, in the words that clients read. `verbose` names keys and channels.
pub fn reason(refusal: Refusal, user: &User, entry: &Entry, argv: &[&[u8]], verbose: bool) -> String {
    let name = String::from_utf8_lossy(&user.name);
    let (index, what) = match refusal {
        Refusal::Command => {
            return format!("User {name} has no permissions to run the '{}' command", entry.name);
        }
        Refusal::Key(index) => (index, "key"),
        Refusal::Channel(index) => (index, "channel"),
    };
    if !verbose {
        return format!("No permissions to access a {what}");
    }
    let object = clip(argv.get(index).copied().unwrap_or_default(), usize::MAX);
    format!("User {name} has no permissions to access the '{object}' {what}")
}

/// The reply to a request that is refused.
pub fn error(refusal: Refusal, user: &User, entry: &Entry, argv: &[&[u8]]) -> Error {
    Error::text(format!("NOPERM {}", reason(refusal, user, entry, argv, false)))
}

/// True when the running command may read every key there is, besides what its arguments name.
pub fn may_read_all_keys(ctx: &Ctx<'_>, argv: &[&[u8]]) -> bool {
    let user = &ctx.session.login.user;
    user.is_unrestricted() || with_wanted(user, ctx.entry, argv, |wanted| user.may_read_all_keys(wanted))
}

/// Closes the connections of users that are gone, or that may not hear any more what they have subscribed to.
/// `users` are those that may be concerned.
pub fn close_unwelcome(ctx: &mut Ctx<'_>, users: &[u64]) {
    let core = ctx.core;
    if users.is_empty() {
        return;
    }
    let present: HashMap<u64, Arc<User>> = core.acl.all().into_iter().map(|user| (user.id, user)).collect();
    let default = core.acl.first_login().user.id;
    let id = |client: &Client| client.labels.lock().user.as_ref().map_or(default, |user| user.id);
    let mine = ctx.session.client.id;
    let others = core.clients.all().into_iter().filter(|client| client.id != mine);
    let concerned: Vec<_> = others.map(|c| (id(&c), c)).filter(|(id, _)| users.contains(id)).collect();
    let mut unwelcome: HashSet<u64> = HashSet::new();
    unwelcome.extend(concerned.iter().filter(|(id, _)| !present.contains_key(id)).map(|(_, c)| c.id));
    core.pubsub.each(|space, name, client| {
        let id = id(client);
        let refuses = |user: &Arc<User>| !user.may_use_channel(name, space == Space::Pattern);
        if client.id != mine && users.contains(&id) && present.get(&id).is_some_and(refuses) {
            unwelcome.insert(client.id);
        }
    });
    for (_, client) in concerned {
        let to = client.id;
        // Who subscribes at this very moment finds out by itself.
        let message = if unwelcome.contains(&to) { Message::Kill { to } } else { Message::Review { to } };
        if !matches!(message, Message::Kill { .. }) || client.kill() {
            core.clients.post(message);
        }
    }
    // The one who asks reads the reply before it has to go.
    if users.contains(&ctx.session.login.user.id) && !review(core, ctx.session) {
        ctx.session.close = true;
    }
}

/// False when a connection has to be closed: its user is gone, or may not hear what it has subscribed to.
#[must_use]
pub fn review(core: &Core, session: &mut Session) -> bool {
    if !renew(core, session) {
        return false;
    }
    let user = &session.login.user;
    let stays = session.patterns.iter().all(|name| user.may_use_channel(name, true))
        && session.channels.iter().all(|name| user.may_use_channel(name, false))
        && session.shard_channels.iter().all(|name| user.may_use_channel(name, false));
    if !stays {
        dismiss(core, session);
    }
    stays
}
