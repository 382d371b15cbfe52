//! How does a command run? Resolve, check, lock, call, settle: one function each, in this order.
//!
//! Everything that a unit of work (a command, a transaction, a script) did is settled while its locks are still held:
//! events are published, the log is appended to, waiting clients are served. Then the locks go, and only then is the
//! reply on its way, so that nobody sees a reply before the effect.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use crate::client::Session;
use crate::client::registry::TRACKING;
use crate::client::session::Debugging;
use crate::dispatch::args::Args;
use crate::dispatch::block;
use crate::dispatch::core::Core;
use crate::dispatch::crash;
use crate::dispatch::ctx::{Blocked, Ctx, Mode};
use crate::dispatch::evict;
use crate::dispatch::gate::{self, Request};
use crate::dispatch::keys;
use crate::dispatch::multi;
use crate::dispatch::observe;
use crate::dispatch::permit;
use crate::dispatch::route;
use crate::dispatch::spec::{ADMIN, ALLOW_BUSY, Lock, LockNeed, READONLY};
use crate::dispatch::table::Entry;
use crate::dispatch::tracking;
use crate::dispatch::worker::Worker;
use crate::error::Error;
use crate::keyspace::{Key, Locked};
use crate::log::entry::{Logged, encode_command};
use crate::persist::Child;
use crate::resp::reply::{Proto, Reply};

/// What a request came to, besides its reply.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The client waits: no reply has been written.
    pub blocked: Option<Blocked>,
    /// It was not run because of a pause: it must be run again when that is over.
    pub postponed: bool,
    /// That is because a snapshot wants the value that it would change: it may be run again in a moment.
    pub unsaved: bool,
    /// The log offset behind what it wrote; 0 when it wrote nothing.
    pub logged: u64,
}

/// Shards as small as they usually are.
pub(crate) type Shards = SmallVec<[u16; 8]>;

/// Makes room for the next request of a client, holding no lock yet: memory, and what is remembered for clients that
/// cache. True when somebody was told something on the way, which comes before the reply.
pub fn prepare(core: &Core, worker: &mut Worker) -> bool {
    if worker.stands_in || core.scripts.board.is_busy() {
        return false;
    }
    let tracking = core.clients.tracking.is_active();
    let evicts = worker.config.maxmemory > 0 || core.over_memory();
    if evicts {
        evict::make_room(core, worker);
    }
    (tracking && evicts) | (tracking && tracking::forget_some(core, worker))
}

/// Runs one request of a client. `known` is its row and first key when the batch has looked them up already.
pub fn run<'a>(
    core: &'a Core,
    worker: &'a mut Worker,
    session: &'a mut Session,
    argv: &'a [&'a [u8]],
    known: Option<(&'a Entry, Option<Key<'a>>)>,
    out: &mut Reply<'_>,
) -> Outcome {
    if !permit::renew(core, session) {
        return Outcome::default();
    }
    let start = out.position();
    let found = match known {
        Some((entry, key)) => Ok((entry, key)),
        None => core.table.resolve(argv).map(|entry| (entry, None)),
    };
    let (entry, key) = match found {
        Ok((entry, key)) if entry.row.admits(argv.len()) => (entry, key),
        Ok((entry, _)) => {
            refuse(core, worker, session, Some(entry), &Error::arity(&entry.name), out);
            return Outcome::default();
        }
        Err(error) => {
            refuse(core, worker, session, None, &error, out);
            return Outcome::default();
        }
    };
    session.client.last_command.store(entry.id as u32 + 1, Ordering::Relaxed);
    if let Err(error) = gate::check(&Request { core, worker, session, entry, argv }) {
        refuse(core, worker, session, Some(entry), &error, out);
        return Outcome::default();
    }
    if gate::is_paused(&Request { core, worker, session, entry, argv }) {
        return Outcome { postponed: true, ..Outcome::default() };
    }
    if gate::is_queued(session, entry) {
        multi::queue(session, entry, argv);
        out.simple("QUEUED");
        return Outcome::default();
    }
    let (mut locks, key) = loop {
        if let Some(locked) = lock(core, worker, session, entry, argv, key) {
            break locked;
        }
        // A script hogs them, or did a moment ago.
        if entry.row.is(ALLOW_BUSY) {
            return Outcome { postponed: true, ..Outcome::default() };
        }
        if let Some(error) = core.scripts.board.refusal() {
            refuse(core, worker, session, Some(entry), &error, out);
            return Outcome::default();
        }
    };
    if core.persist.child() != Child::None && is_unsaved(core, worker, session, entry, argv, key, &mut locks)
    {
        return Outcome { postponed: true, unsaved: true, ..Outcome::default() };
    }
    let mut ctx = Ctx::new(core, worker, session, locks, entry, key);
    guarded(&mut ctx, argv, out, start);
    let outcome = block::settle(&mut ctx);
    ctx.end();
    outcome
}

/// True when a command may change a value that a snapshot has not saved yet, and that takes long to save: all others
/// would wait for that, so it is the command that waits. One whose keys are not known beforehand does not.
fn is_unsaved(
    core: &Core,
    worker: &Worker,
    session: &Session,
    entry: &Entry,
    argv: &[&[u8]],
    key: Option<Key<'_>>,
    locks: &mut Locked<'_>,
) -> bool {
    if entry.row.is(READONLY) {
        return false;
    }
    let mut unsaved = |db: usize, key: &Key<'_>| {
        locks.with_shard(usize::from(key.shard), |shard| shard.is_to_be_saved(db, key))
    };
    if let Some(key) = key {
        return unsaved(session.db, &key);
    }
    let mut names = Vec::new();
    let known = needs(core, worker, session, entry, argv, None, &mut names).is_continue();
    known && names.iter().any(|(db, name)| unsaved(*db, &core.keyspace.key(name)))
}

/// Runs a command that was read from the log: no check objects, nothing expires, nothing is logged again.
///
/// # Errors
/// The name of a command that does not exist.
pub fn replay<'a>(
    core: &'a Core,
    worker: &'a mut Worker,
    session: &'a mut Session,
    argv: &'a [&'a [u8]],
    out: &mut Reply<'_>,
) -> std::result::Result<(), String> {
    let start = out.position();
    let name = || crate::error::clip(argv.first().copied().unwrap_or_default(), 128);
    let entry = core.table.resolve(argv).map_err(|_| name())?;
    if !entry.row.admits(argv.len()) {
        tracing::warn!("A '{}' of the append only file has the wrong number of arguments", entry.name);
        return Ok(());
    }
    let Some((locks, key)) = lock(core, worker, session, entry, argv, None) else { return Ok(()) };
    let mut ctx = Ctx::new(core, worker, session, locks, entry, key);
    ctx.mode = Mode::Replay;
    guarded(&mut ctx, argv, out, start);
    block::settle(&mut ctx);
    ctx.end();
    Ok(())
}

/// What a primary has sent.
#[derive(Debug, Clone, Copy)]
pub struct Relay<'r> {
    /// The bytes of the command, or of the transaction that it ends.
    pub raw: &'r [u8],
    /// The database that was selected in front of them.
    pub db: usize,
    /// Of the link that they came through.
    pub epoch: u64,
}

/// What the primary could do cannot be done here: the data is not the same.
fn tell_divergence(error: &str, name: &str) {
    tracing::error!(
        "== CRITICAL == This replica is sending an error to its master: '{}' after processing the command '{name}'",
        error.trim_end()
    );
}

/// Runs a command that the primary has sent, and passes its bytes on under the same locks. False when the server is
/// no replica of that primary any more.
pub fn follow<'a>(
    core: &'a Core,
    worker: &'a mut Worker,
    session: &'a mut Session,
    argv: &'a [&'a [u8]],
    stream: &Relay<'_>,
) -> bool {
    let entry = core.table.resolve(argv).ok().filter(|entry| entry.row.admits(argv.len()));
    let Some(entry) = entry.filter(|entry| !entry.row.is(ADMIN)) else {
        // REPLCONF, an empty line, or something that this server does not know: counted, and passed on.
        if let Some(name) = argv.first().filter(|name| !name.eq_ignore_ascii_case(b"REPLCONF")) {
            tell_divergence(
                "ERR it is not known or has other arguments here",
                &crate::error::clip(name, 128),
            );
        }
        return core.log.relay(stream.raw, None, session.db, stream.epoch).is_some();
    };
    let Some((locks, key)) = lock(core, worker, session, entry, argv, None) else { return false };
    if !core.replication.link.is_current(stream.epoch) {
        return false;
    }
    let mut reply = Vec::new();
    let mut ctx = Ctx::new(core, worker, session, locks, entry, key);
    ctx.mode = Mode::Replay;
    ctx.follows = true;
    guarded(&mut ctx, argv, &mut Reply::new(&mut reply, Proto::Resp2), 0);
    if let Some(error) = reply.strip_prefix(b"-") {
        tell_divergence(&String::from_utf8_lossy(error), &entry.name);
    }
    let changed = ctx.fx.dirty > 0;
    let passed = core.log.relay(stream.raw, changed.then_some(stream.db), ctx.session.db, stream.epoch);
    block::settle(&mut ctx);
    ctx.end();
    core.replication.wake();
    passed.is_some()
}

/// Answers a request that does not run; a transaction that it was part of will abort, or is over if it was its EXEC.
fn refuse(
    core: &Core,
    worker: &Worker,
    session: &mut Session,
    entry: Option<&Entry>,
    error: &Error,
    out: &mut Reply<'_>,
) {
    if let Some(multi) = &mut session.multi {
        multi.refused = true;
    }
    if let Some(entry) = entry {
        core.stats.threads[worker.id].commands[entry.id].rejected.add(1);
    }
    let aborts = entry.is_some_and(|entry| matches!(entry.row.lock, Lock::Queue));
    let aborted = aborts.then(|| {
        multi::abandon(core, session);
        if route::is_redirection(error) {
            return error.clone();
        }
        let text = error.as_str();
        let why = text.strip_prefix("ERR ").unwrap_or(text);
        Error::text(format!("EXECABORT Transaction discarded because of: {why}"))
    });
    let error = aborted.as_ref().unwrap_or(error);
    core.stats.error(worker.id, error.code());
    out.error(error);
}

/// Locks what a command needs, and what serving the clients that wait for its keys needs; with it comes the key, hashed,
/// if there is one only. `None` when a script hogs the locks; never for a session of our own.
fn lock<'a>(
    core: &'a Core,
    worker: &mut Worker,
    session: &Session,
    entry: &Entry,
    argv: &'a [&'a [u8]],
    key: Option<Key<'a>>,
) -> Option<(Locked<'a>, Option<Key<'a>>)> {
    let keyspace = &core.keyspace;
    let stop = || !session.internal && core.scripts.board.is_busy();
    if session.debugging == Debugging::Attached {
        return keyspace.locked_all_unless(&stop).map(|locks| (locks, key));
    }
    let asked = match entry.row.lock {
        Lock::Ask(ask) => Some(ask(core, worker, argv)),
        _ => None,
    };
    let key = key.or_else(|| only_key(core, entry, argv, asked?));
    if let Some(key) = &key {
        let locks = keyspace.locked_key(key, &stop)?;
        // Who waits for this key has been counted before its shard was let go.
        if core.clients.blocked.load(Ordering::Relaxed) == 0 {
            return Some((locks, Some(*key)));
        }
    }
    if matches!(entry.row.lock, Lock::Walk) {
        return Some((keyspace.locked_none().with_meanwhile(worker.meanwhile.clone()), key));
    }
    let mut names: Vec<(usize, Box<[u8]>)> = Vec::new();
    let locks = match needs(core, worker, session, entry, argv, asked, &mut names) {
        ControlFlow::Break(()) => keyspace.locked_all_unless(&stop),
        ControlFlow::Continue(()) => lock_names(core, &names, &stop),
    };
    locks.map(|locks| (locks, key))
}

/// The key of a command that locks just this one, though its row does not say so (EVALSHA with one key).
fn only_key<'a>(core: &'a Core, entry: &Entry, argv: &'a [&'a [u8]], asked: LockNeed) -> Option<Key<'a>> {
    if asked != LockNeed::Keys {
        return None;
    }
    let mut at = Vec::new();
    keys::extract(entry.row, argv, &mut at)?;
    let [only] = at.as_slice() else { return None };
    argv.get(only.index).map(|name| core.keyspace.key(name))
}

/// Locks the shards of keys in databases, and those that serving the clients that wait for the keys needs; unless
/// `stop` says so.
pub(crate) fn lock_names<'a>(
    core: &'a Core,
    names: &[(usize, Box<[u8]>)],
    stop: &dyn Fn() -> bool,
) -> Option<Locked<'a>> {
    let keyspace = &core.keyspace;
    let mut shards: Shards = names.iter().map(|(_, name)| keyspace.key(name).shard).collect();
    loop {
        let mut locks = keyspace.locked_some(&shards, stop)?;
        match block::wider(core, &mut locks, names) {
            None => return Some(locks),
            Some(more) => shards.extend(more),
        }
    }
}

/// Collects the keys, with their databases, that a command will touch; breaks off when it needs all shards. `asked` is
/// what a row that has to be asked said, if it has been.
fn needs(
    core: &Core,
    worker: &Worker,
    session: &Session,
    entry: &Entry,
    argv: &[&[u8]],
    asked: Option<LockNeed>,
    names: &mut Vec<(usize, Box<[u8]>)>,
) -> ControlFlow<()> {
    let need = match entry.row.lock {
        Lock::All => return ControlFlow::Break(()),
        Lock::Walk => return ControlFlow::Continue(()),
        Lock::Queue => return multi_needs(core, worker, session, names),
        Lock::Ask(ask) => asked.unwrap_or_else(|| ask(core, worker, argv)),
        Lock::Keys => LockNeed::Keys,
    };
    let other = match need {
        LockNeed::All => return ControlFlow::Break(()),
        LockNeed::KeysIn(db) => Some(db),
        LockNeed::Keys => None,
    };
    let mut at = Vec::new();
    // Arguments that make no sense as keys are refused by the handler before it touches any.
    if keys::extract(entry.row, argv, &mut at).is_some() {
        for name in at.iter().filter_map(|k| argv.get(k.index)) {
            names.extend([Some(session.db), other].into_iter().flatten().map(|db| (db, Box::from(*name))));
        }
    }
    ControlFlow::Continue(())
}

/// What a transaction needs: the keys of all its commands, and those that it watches.
fn multi_needs(
    core: &Core,
    worker: &Worker,
    session: &Session,
    names: &mut Vec<(usize, Box<[u8]>)>,
) -> ControlFlow<()> {
    names.extend(session.watched.iter().cloned());
    let Some(multi) = &session.multi else { return ControlFlow::Continue(()) };
    for queued in &multi.queue {
        let argv: Vec<&[u8]> = queued.argv.iter().map(|a| &**a).collect();
        let entry = core.table.entry(queued.command);
        if matches!(entry.row.lock, Lock::Walk) {
            return ControlFlow::Break(());
        }
        needs(core, worker, session, entry, &argv, None, names)?;
    }
    ControlFlow::Continue(())
}

/// Calls the handler; a panic that changed nothing becomes an error, one that did ends the process.
fn guarded(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Reply<'_>, start: usize) {
    let run = std::panic::AssertUnwindSafe(|| ctx.call(argv, out));
    if let Err(panic) = std::panic::catch_unwind(run) {
        let why = panic_text(&panic);
        ctx.stats.running.go_back(0);
        let name = &ctx.entry.name;
        if ctx.fx.dirty > 0 || ctx.written {
            tracing::error!("BUG: {name} panicked after it had changed data: {why}. The server stops.");
            crash::end(ctx.core, "A command panicked after it had changed data", &crash::command(ctx, argv));
        }
        tracing::error!("BUG: {name} panicked and changed nothing: {why}. The server goes on.");
        out.truncate(start);
        out.error(&Error::new("ERR internal error: the command failed, see the server's log"));
        *ctx.fx = Default::default();
    }
}

fn panic_text(panic: &Box<dyn std::any::Any + Send>) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        _ => "no message".to_owned(),
    }
}

impl<'a> Ctx<'a> {
    /// Runs the command of this context, counts it and collects what goes into the log. False when it failed.
    pub(crate) fn call(&mut self, argv: &[&[u8]], out: &mut Reply<'_>) -> bool {
        let (entry, start) = (self.entry, out.position());
        let (db, dirty, nested) = (self.session.db, self.fx.dirty, self.nested);
        let began = self.worker.stamp_us;
        self.fx.instead = None;
        let mut args = Args::new_at(argv, entry.head);
        observe::before(self, argv);
        let outer = self.stats.running.begin(entry.id, began);
        let result = (entry.row.run)(self, &mut args, out);
        self.stats.running.go_back(outer);
        // The end of one command is the beginning of the next: one look at the clock for each.
        self.worker.stamp_us = self.core.clock.monotonic_us();
        let took_us = self.worker.stamp_us.saturating_sub(began);
        let stats = &self.stats.commands[entry.id];
        let counted = self.mode != Mode::Replay || self.follows;
        if counted {
            self.stats.processed.add(1);
            if self.wait.is_none() {
                stats.ran(took_us, self.worker.config.latency_tracking);
            }
        }
        observe::after(self, argv, took_us);
        if self.session.client.has(TRACKING) {
            self.remember_reads(argv);
        }
        let instead = self.fx.instead.take();
        if self.fx.dirty != dirty && self.nested == nested {
            self.log(db, argv, instead);
        }
        if let Err(error) = &result {
            out.truncate(start);
            out.error(error);
            if counted {
                stats.failed.add(1);
                self.core.stats.error(self.worker.id, error.code());
            }
        }
        result.is_ok()
    }

    /// Runs another command within this unit of work: a queued one of EXEC, or one that a script calls. Its keys must
    /// be covered by the locks that are held.
    pub fn call_nested(&mut self, entry: &'a Entry, mode: Mode, argv: &[&[u8]], out: &mut Reply<'_>) -> bool {
        let outer = (std::mem::replace(&mut self.entry, entry), std::mem::replace(&mut self.mode, mode));
        let instead = self.fx.instead.take();
        let ok = self.call(argv, out);
        (self.entry, self.mode) = outer;
        self.fx.instead = instead;
        self.nested += 1;
        ok
    }

    /// True when the locks cover every key of a command.
    pub fn covers(&self, entry: &Entry, argv: &[&[u8]]) -> bool {
        if self.locks.is_all() {
            return true;
        }
        match entry.row.lock {
            Lock::All | Lock::Walk => return false,
            Lock::Ask(ask) if ask(self.core, self.worker, argv) == LockNeed::All => return false,
            _ => {}
        }
        let covers = |name: &&[u8]| self.locks.covers(self.key(name).shard);
        if entry.single_key {
            return argv.get(1).is_none_or(covers);
        }
        let mut at = Vec::new();
        if keys::extract(entry.row, argv, &mut at).is_none() {
            return true;
        }
        at.iter().filter_map(|k| argv.get(k.index)).all(covers)
    }

    fn log(&mut self, db: usize, argv: &[&[u8]], instead: Option<Vec<Vec<u8>>>) {
        if !self.core.log.is_enabled() || self.mode == Mode::Replay {
            return;
        }
        match instead {
            Some(commands) => self.fx.log.extend(commands.into_iter().map(|bytes| Logged::new(db, bytes))),
            None => self.fx.log.push(Logged::new(db, encode_command(argv))),
        }
    }
}
