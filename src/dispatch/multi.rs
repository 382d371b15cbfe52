//! How do transactions work? MULTI queues, EXEC runs the queue as one unit, WATCH makes it conditional.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::acl::Refusal;
use crate::acl::log::Context;
use crate::client::Session;
use crate::client::session::{Multi, Queued};
use crate::dispatch::block;
use crate::dispatch::core::Core;
use crate::dispatch::ctx::{Ctx, Mode};
use crate::dispatch::gate::Request;
use crate::dispatch::permit;
use crate::dispatch::reaper::Strike;
use crate::dispatch::table::Entry;
use crate::error::Error;
use crate::keyspace::Db;
use crate::resp::reply::Reply;

/// Adds a command to the transaction.
pub(crate) fn queue(session: &mut Session, entry: &Entry, argv: &[&[u8]]) {
    let Some(multi) = &mut session.multi else { return };
    // A transaction that will abort anyway need not be kept.
    if multi.refused {
        return;
    }
    let argv: Vec<Box<[u8]>> = argv.iter().map(|a| Box::from(*a)).collect();
    multi.bytes += argv.iter().map(|a| a.len() + size_of::<Box<[u8]>>()).sum::<usize>();
    multi.queue.push(Queued { command: entry.id, argv });
    session.client.multi.store(i64::try_from(multi.queue.len()).unwrap_or(i64::MAX), Ordering::Relaxed);
    session.client.multi_memory.store(multi.bytes, Ordering::Relaxed);
}

/// Begins a transaction; false when one is open already.
pub fn begin(session: &mut Session) -> bool {
    if session.multi.is_some() {
        return false;
    }
    session.multi = Some(Multi::default());
    session.client.multi.store(0, Ordering::Relaxed);
    true
}

/// Ends the transaction and returns what was queued. The watched keys stay watched: see [`unwatch`].
pub fn end(session: &mut Session) -> Option<Multi> {
    session.client.multi.store(-1, Ordering::Relaxed);
    session.client.multi_memory.store(0, Ordering::Relaxed);
    session.multi.take()
}

/// Runs queued commands one after the other, as an array of their replies.
pub fn run_queue(ctx: &mut Ctx<'_>, multi: Multi, out: &mut Reply<'_>) {
    let mode = if ctx.mode == Mode::Replay { Mode::Replay } else { Mode::Transaction };
    out.array(multi.queue.len());
    for queued in &multi.queue {
        let argv: Vec<&[u8]> = queued.argv.iter().map(|a| &**a).collect();
        let entry = ctx.core.table.entry(queued.command);
        // HELLO may change the protocol in the middle.
        out.set_proto(ctx.session.proto);
        // What was allowed when it was queued may be forbidden by now.
        let (core, worker, session) = (ctx.core, &*ctx.worker, &*ctx.session);
        match permit::check(&Request { core, worker, session, entry, argv: &argv }, Context::Multi) {
            Ok(()) => _ = ctx.call_nested(entry, mode, &argv, out),
            Err(refusal) => {
                let error = no_longer_allowed(refusal);
                core.stats.error(worker.id, error.code());
                out.error(&error);
            }
        }
    }
}

fn no_longer_allowed(refusal: Refusal) -> Error {
    let reason = match refusal {
        Refusal::Command => "no permission to execute the command or subcommand",
        Refusal::Key(_) => "no permission to touch the specified keys",
        Refusal::Channel(_) => "no permission to access one of the channels used as arguments",
    };
    Error::text(format!(
        "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command \
         is no longer allowed for the following reason: {reason}"
    ))
}

/// Puts a key under WATCH. The caller holds its shard.
pub fn watch(ctx: &mut Ctx<'_>, name: &[u8]) {
    let db = ctx.session.db;
    if ctx.session.watched.iter().any(|(d, n)| *d == db && **n == *name) {
        return;
    }
    let key = ctx.key(name);
    // A key whose time is over counts as gone before the watch begins.
    ctx.peek(&key);
    let flag = ctx.session.client.dirty_cas.clone();
    ctx.data(&key).watchers.entry(name.into()).or_default().push(flag);
    ctx.session.watched.push((db, name.into()));
    ctx.session.takes(name);
    ctx.session.client.watching.store(ctx.session.watched.len(), Ordering::Relaxed);
}

/// True when a watched key has changed. The caller holds the shards of all watched keys.
pub fn is_dirty(ctx: &mut Ctx<'_>) -> bool {
    let watched = std::mem::take(&mut ctx.session.watched);
    for (db, name) in &watched {
        // Looking expires what is due, which marks the watchers.
        let key = ctx.keyspace().key(name);
        ctx.peek_in(*db, &key);
    }
    ctx.session.watched = watched;
    ctx.session.client.dirty_cas.load(Ordering::Acquire)
}

/// Forgets all watched keys, through the shards that `ctx` holds where it does.
pub fn unwatch(ctx: &mut Ctx<'_>) {
    let watched = std::mem::take(&mut ctx.session.watched);
    let flag = ctx.session.client.dirty_cas.clone();
    for (db, name) in &watched {
        ctx.session.drops(name);
        let key = ctx.keyspace().key(name);
        match ctx.locks.shard(key.shard) {
            Some(shard) => strike(shard.db(*db), name, &flag),
            None => let_go(ctx.core, *db, name, &flag),
        }
    }
    ctx.session.client.watching.store(0, Ordering::Relaxed);
    flag.store(false, Ordering::Release);
}

/// Forgets all watched keys of a session outside any command: its connection is gone.
pub fn unwatch_closed(core: &Core, session: &mut Session) {
    for (db, name) in std::mem::take(&mut session.watched) {
        session.drops(&name);
        let_go(core, db, &name, &session.client.dirty_cas);
    }
}

/// Ends a transaction that cannot run, and its watches, outside any command.
pub(crate) fn abandon(core: &Core, session: &mut Session) {
    end(session);
    unwatch_closed(core, session);
    session.client.watching.store(0, Ordering::Relaxed);
    session.client.dirty_cas.store(false, Ordering::Release);
}

/// Strikes a watch off, without waiting for a shard that a script holds for long.
fn let_go(core: &Core, db: usize, name: &[u8], flag: &Arc<AtomicBool>) {
    let shard = usize::from(core.keyspace.key(name).shard);
    match core.keyspace.lock_one_within(shard, block::PATIENCE) {
        Some(mut shard) => strike(shard.db(db), name, flag),
        None => core.reaper.strike(Strike::Watch { db, name: name.into(), flag: flag.clone() }),
    }
}

/// Strikes off one watch. Only one: the client may have come back to the key before a late strike was carried out.
pub(crate) fn strike(db: &mut Db, name: &[u8], flag: &Arc<AtomicBool>) {
    if let Some(flags) = db.watchers.get_mut(name) {
        if let Some(at) = flags.iter().position(|f| Arc::ptr_eq(f, flag)) {
            flags.swap_remove(at);
        }
        if flags.is_empty() {
            db.watchers.remove(name);
        }
    }
}
