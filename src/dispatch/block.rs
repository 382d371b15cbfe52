//! What happens when a command is done? Its effects are settled: events, log, and the clients that waited for it.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::acl::log::Context;
use crate::client::Session;
use crate::client::message::Message;
use crate::client::registry::BLOCKED;
use crate::dispatch::access::kind_of;
use crate::dispatch::call::{Outcome, Shards};
use crate::dispatch::core::Core;
use crate::dispatch::ctx::{Blocked, Ctx, Mode, OnTimeout, Until, Wait};
use crate::dispatch::gate::Request;
use crate::dispatch::permit;
use crate::dispatch::reaper::Strike;
use crate::dispatch::table::Entry;
use crate::dispatch::tracking;
use crate::error::{self, Error};
use crate::keyspace::Locked;
use crate::keyspace::claim::Claim;
use crate::keyspace::waiter::Waiter;
use crate::log::entry::encode_command;
use crate::replication::{AckWait, Goal};
use crate::resp::reply::Reply;

/// Settles a unit of work under its locks.
pub(crate) fn settle(ctx: &mut Ctx<'_>) -> Outcome {
    if ctx.fx.is_quiet() && ctx.wait.is_none() {
        count_changes(ctx);
        return Outcome::default();
    }
    settle_effects(ctx)
}

/// [`settle`] when there is more to do than to count.
fn settle_effects(ctx: &mut Ctx<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    finish_unit(ctx, &mut outcome);
    if !ctx.fx.ready.is_empty() {
        // After a long transaction or script, those who waited are served by the present time, and so a key may turn
        // out to have expired.
        ctx.worker.tick(ctx.core);
        serve_ready(ctx, &mut outcome);
        finish_unit(ctx, &mut outcome);
    }
    if !ctx.fx.garbage.is_empty() {
        let garbage = std::mem::take(&mut ctx.fx.garbage);
        ctx.core.free_later(garbage);
    }
    if let Some(wait) = ctx.wait.take() {
        let until = wait.until;
        let blocked = enlist(ctx, wait);
        match until {
            Until::Ready => {}
            Until::Freed => ctx.core.reaper.tell(blocked.waiter.clone()),
            Until::Acknowledged(goal) => ask_replicas(ctx.core, blocked.waiter.clone(), goal),
            Until::Ended(how) => ctx.core.ending.ask(how, Some(blocked.waiter.clone())),
        }
        outcome.blocked = Some(blocked);
    }
    outcome
}

/// Appends the log of what has been done so far.
fn append_log(ctx: &mut Ctx<'_>, outcome: &mut Outcome) {
    if !ctx.fx.log.is_empty() {
        let ends = ctx.core.log.append(&ctx.fx.log);
        outcome.logged = ends.log;
        ctx.session.client.logged.store(ends.log, Ordering::Release);
        ctx.session.client.written.store(ends.stream, Ordering::Release);
        ctx.core.replication.wake();
        ctx.fx.log.clear();
    }
}

#[inline]
fn count_changes(ctx: &mut Ctx<'_>) {
    if ctx.fx.dirty > 0 {
        ctx.stats.dirty.add(ctx.fx.dirty);
        ctx.fx.dirty = 0;
    }
}

/// Appends the log of what has been done so far, and tells who wants to hear of it.
fn finish_unit(ctx: &mut Ctx<'_>, outcome: &mut Outcome) {
    append_log(ctx, outcome);
    count_changes(ctx);
    if std::mem::take(&mut ctx.fx.emptied) {
        ctx.core.persist.flushed(ctx.core.world());
    }
    if !ctx.fx.events.is_empty() {
        ctx.publish_events();
    }
    for (id, text) in std::mem::take(&mut ctx.fx.own) {
        tracking::tell_reader(ctx.core, id, &text);
    }
    if !ctx.fx.changes.is_empty() {
        let clients = &ctx.core.clients;
        clients.tracking.broadcast(clients, &ctx.core.acl, std::mem::take(&mut ctx.fx.changes));
    }
}

/// Lists a client that waits at its keys.
fn enlist(ctx: &mut Ctx<'_>, wait: Wait) -> Blocked {
    let session = &mut *ctx.session;
    session.ticket += 1;
    let client = &session.client;
    let waiter = Arc::new(Waiter {
        client: client.id,
        thread: client.thread,
        ticket: session.ticket,
        db: session.db,
        proto: session.proto,
        login: session.login.clone(),
        argv: wait.argv,
        keys: wait.keys,
        touches: wait.touches,
        wish: wait.wish,
        claim: Claim::default(),
    });
    client.set(BLOCKED, true);
    client.unblock.store(0, Ordering::Release);
    client.blocked.store(session.ticket, Ordering::Release);
    ctx.core.clients.blocked.fetch_add(1, Ordering::AcqRel);
    for name in &waiter.keys {
        let key = ctx.key(name);
        ctx.data(&key).waiters.add(name, waiter.clone());
    }
    Blocked { waiter, deadline: wait.deadline, on_timeout: wait.on_timeout }
}

/// Ends a wait from the waiting side (a time-out, CLIENT UNBLOCK, a closed connection). False when somebody has
/// served it already: the reply is on its way.
pub fn give_up(core: &Core, blocked: &Blocked) -> bool {
    let waiter = &blocked.waiter;
    let Some(attempt) = waiter.claim.attempt() else { return false };
    attempt.succeed();
    delist(core, waiter);
    forget(core, waiter);
    true
}

/// Counts the command of a wait that ended without success, as a call of the thread that it waited on.
pub fn count(core: &Core, thread: usize, blocked: &Blocked, error: Option<&Error>) {
    let argv: Vec<&[u8]> = blocked.waiter.argv.iter().map(|a| &**a).collect();
    let Ok(entry) = core.table.resolve(&argv) else { return };
    let stats = &core.stats.threads[thread].commands[entry.id];
    stats.ran(0, core.config.load().latency_tracking);
    if let Some(error) = error {
        stats.failed.add(1);
        core.stats.error(thread, error.code());
    }
}

/// How long a connection waits for a shard only to tidy up there; after that the reaper's thread does it.
pub(crate) const PATIENCE: std::time::Duration = std::time::Duration::from_millis(5);

/// Strikes an answered waiter off the lists of all its keys. Takes the locks one by one: call it holding none.
pub fn delist(core: &Core, waiter: &Arc<Waiter>) {
    for name in &waiter.keys {
        let key = core.keyspace.key(name);
        match core.keyspace.lock_one_within(usize::from(key.shard), PATIENCE) {
            Some(mut shard) => shard.db(waiter.db).waiters.drop_waiter(name, waiter),
            None => core.reaper.strike(Strike::Waiter { name: name.clone(), waiter: waiter.clone() }),
        }
    }
}

/// Waits for replicas to acknowledge, and asks them to.
fn ask_replicas(core: &Core, waiter: Arc<Waiter>, goal: Goal) {
    core.replication.waits.lock().push(AckWait { waiter, goal });
    if goal.replicas > 0 {
        core.log.tell_replicas(&encode_command(&["REPLCONF", "GETACK", "*"]));
        core.replication.wake();
    }
    answer_acks(core);
}

/// Answers those whose acknowledgements have come.
pub fn answer_acks(core: &Core) {
    let mut waits = core.replication.waits.lock();
    if waits.is_empty() {
        return;
    }
    waits.retain(|wait| !wait.waiter.claim.is_answered());
    let met = |wait: &AckWait| wait.goal.is_met(core.site()) || wait.goal.is_vain(core.site());
    let ready: Vec<AckWait> = waits.iter().filter(|wait| met(wait)).cloned().collect();
    waits.retain(|wait| !ready.iter().any(|r| Arc::ptr_eq(&r.waiter, &wait.waiter)));
    drop(waits);
    for AckWait { waiter, goal } in ready {
        let mut reply = Vec::new();
        let mut out = Reply::new(&mut reply, waiter.proto);
        if goal.is_vain(core.site()) {
            out.error(&error::NO_AOF_TO_WAIT_FOR);
        } else {
            OnTimeout::Acknowledged(goal).write(core, &mut out);
        }
        answer(core, &waiter, reply);
    }
}

/// Answers a client that waits for no key, unless it has given up.
pub(crate) fn answer(core: &Core, waiter: &Arc<Waiter>, reply: Vec<u8>) {
    let Some(attempt) = waiter.claim.attempt() else { return };
    attempt.succeed();
    forget(core, waiter);
    let (to, ticket) = (waiter.client, waiter.ticket);
    core.clients.mailbox(waiter.thread).post(Message::Served { to, ticket, reply });
}

fn forget(core: &Core, waiter: &Waiter) {
    core.clients.blocked.fetch_sub(1, Ordering::AcqRel);
    if let Some(client) = core.clients.get(waiter.client) {
        client.blocked.store(0, Ordering::Release);
        client.set(BLOCKED, false);
    }
}

/// Runs the commands of clients that wait for keys that have become ready, in order, until nobody is ready.
fn serve_ready(ctx: &mut Ctx<'_>, outcome: &mut Outcome) {
    // What made the keys ready may have taken long, and they may have expired since.
    ctx.worker.tick(ctx.core);
    while !ctx.fx.ready.is_empty() {
        let mut seen = HashSet::new();
        let ready: Vec<_> = std::mem::take(&mut ctx.fx.ready);
        for (db, name) in ready.into_iter().filter(|r| seen.insert(r.clone())) {
            let key = ctx.key(&name);
            let Some(shard) = ctx.locks.shard(key.shard) else { continue };
            for waiter in shard.db(db).waiters.of(&name) {
                if is_ready(ctx, db, &name, &waiter)
                    && let Some(attempt) = waiter.claim.attempt()
                    && serve(ctx, &waiter, outcome)
                {
                    attempt.succeed();
                }
            }
        }
    }
}

/// True when the key is what the waiter waits for. An expired key is not; it stays for whoever asks for it.
fn is_ready(ctx: &mut Ctx<'_>, db: usize, name: &[u8], waiter: &Waiter) -> bool {
    let key = ctx.key(name);
    let now = ctx.now_ms();
    let item = ctx.locks.held(key.shard).and_then(|shard| shard.dbs.get(db)?.get(&key));
    let alive = item.filter(|slot| slot.expire().is_none_or(|at| at > now));
    alive.is_some_and(|slot| kind_of(&slot.view()) == waiter.wish.kind) || waiter.wish.or_gone
}

/// Runs a waiter's command on its behalf; its claim is held. False when it has to go on waiting.
fn serve(ctx: &mut Ctx<'_>, waiter: &Arc<Waiter>, outcome: &mut Outcome) -> bool {
    let argv: Vec<&[u8]> = waiter.argv.iter().map(|a| &**a).collect();
    let Ok(entry) = ctx.core.table.resolve(&argv) else { return false };
    if !ctx.covers(entry, &argv) {
        return false;
    }
    // A client that has just closed its connection gives up by itself.
    let Some(client) = ctx.core.clients.get(waiter.client) else { return false };
    let mut session = Session::internal(client);
    session.db = waiter.db;
    session.proto = waiter.proto;
    session.login = waiter.login.clone();
    // Whose user is gone will be disconnected.
    if session.login.is_stale(&ctx.core.acl) && !session.login.renew(&ctx.core.acl) {
        return false;
    }
    let refused = refusal(ctx, &mut session, entry, &argv);
    std::mem::swap(ctx.session, &mut session);
    let wait = ctx.wait.take();
    let mut buf = Vec::new();
    let mut out = Reply::new(&mut buf, waiter.proto);
    match refused {
        Some(error) => {
            ctx.stats.commands[entry.id].rejected.add(1);
            ctx.core.stats.error(ctx.worker.id, error.code());
            out.error(&error);
        }
        None => _ = ctx.call_nested(entry, Mode::Serving, &argv, &mut out),
    }
    let goes_on = std::mem::replace(&mut ctx.wait, wait).is_some();
    std::mem::swap(ctx.session, &mut session);
    if goes_on {
        return false;
    }
    for name in &waiter.keys {
        let key = ctx.keyspace().key(name);
        if let Some(shard) = ctx.locks.shard(key.shard) {
            shard.db(waiter.db).waiters.drop_waiter(name, waiter);
        }
    }
    append_log(ctx, outcome);
    forget(ctx.core, waiter);
    let (to, ticket) = (waiter.client, waiter.ticket);
    ctx.core.clients.mailbox(waiter.thread).post(Message::Served { to, ticket, reply: buf });
    // What its own command told the client comes after the reply.
    finish_unit(ctx, outcome);
    true
}

/// What a client reads whose user may not run any more what it has waited for.
fn refusal(ctx: &Ctx<'_>, session: &mut Session, entry: &Entry, argv: &[&[u8]]) -> Option<Error> {
    session.internal = false;
    let request = Request { core: ctx.core, worker: ctx.worker, session, entry, argv };
    let refused = permit::check(&request, Context::TopLevel).err();
    session.internal = true;
    refused.map(|refusal| permit::error(refusal, &session.login.user, entry, argv))
}

/// The shards that are missing to serve whoever waits for `names`, and whoever waits for what serving them changes.
/// `None` when the locks suffice.
pub(crate) fn wider(core: &Core, locks: &mut Locked<'_>, names: &[(usize, Box<[u8]>)]) -> Option<Shards> {
    if core.clients.blocked.load(Ordering::Acquire) == 0 || locks.is_all() {
        return None;
    }
    let mut missing = Shards::new();
    let mut seen: HashSet<(usize, Box<[u8]>)> = HashSet::new();
    let mut frontier: Vec<(usize, Box<[u8]>)> = names.to_vec();
    while let Some((db, name)) = frontier.pop() {
        if !seen.insert((db, name.clone())) {
            continue;
        }
        let key = core.keyspace.key(&name);
        let Some(shard) = locks.shard(key.shard) else {
            missing.push(key.shard);
            continue;
        };
        for waiter in shard.db(db).waiters.of(&name) {
            frontier.extend(waiter.touches.iter().map(|t| (db, t.clone())));
        }
    }
    (!missing.is_empty()).then_some(missing)
}
