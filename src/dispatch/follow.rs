//! How does a replica apply what its primary sends? Each command as the log's own are replayed, a transaction as one
//! unit, and the bytes passed on to the append-only file and the replica's own replicas under the same locks.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::client::Session;
use crate::client::message::Message;
use crate::client::registry::BLOCKED;
use crate::config::kinds::text;
use crate::config::values::Primary;
use crate::dispatch::block;
use crate::dispatch::call;
use crate::dispatch::core::Core;
use crate::dispatch::ctx::{Ctx, Mode};
use crate::dispatch::evict;
use crate::dispatch::multi;
use crate::dispatch::script;
use crate::dispatch::worker::Worker;
use crate::log::{Id, Mark};
use crate::persist::aof::State;
use crate::persist::aof::rewrite;
use crate::persist::load;
use crate::replication::link::{self, Follow};
use crate::script::library::Restore;
use crate::util::rng::{self, Rng};

/// Makes the server a replica of another one, or a primary: the caller holds all locks.
///
/// # Errors
/// When the system gives no randomness.
pub fn aim(core: &Core, primary: Option<(String, u16)>) -> io::Result<()> {
    let link = &core.replication.link;
    let now = core.clock.monotonic_us() / 1000;
    let was_replica = link.is_replica();
    core.config.update(|config| {
        config.replicaof = Primary(primary.as_ref().map(|(host, port)| (text(host), *port)));
    });
    if was_replica != primary.is_some() {
        let config = core.config.load();
        // The kernel's score of replicas may be another one. It has told the log when it cannot be set.
        let _ = core.outside.apply("oom-score-adj", &config, &config);
    }
    let epoch = link.aim(primary.clone(), now);
    if primary.is_some() {
        core.log.follow(Some(epoch));
        core.replication.disconnect();
        unblock_all(core);
        return Ok(());
    }
    core.log.follow(None);
    if was_replica {
        core.log.new_history(history_id()?, true);
        core.replication.disconnect();
        core.replication.note_alone(now);
    }
    Ok(())
}

/// The server begins with a snapshot that says where the replicas' stream stood: a replica goes on from there, and a
/// primary lets those go on that had come exactly so far.
///
/// # Errors
/// When the system gives no randomness.
pub fn resume_history(core: &Core) -> io::Result<()> {
    let Some(mark) = core.persist.loaded_mark.lock().take() else { return Ok(()) };
    let config = core.config.load();
    core.log.adopt(mark, config.repl_backlog_size);
    if config.replicaof.0.is_none() {
        core.log.new_history(history_id()?, true);
        core.replication.note_alone(core.clock.monotonic_us() / 1000);
    }
    Ok(())
}

/// A fresh name for a history.
///
/// # Errors
/// When the system gives no randomness.
pub fn history_id() -> io::Result<Id> {
    rng::hex_id()?.as_bytes().try_into().map_err(io::Error::other)
}

/// Who waits for a primary's keys waits in vain on a replica.
fn unblock_all(core: &Core) {
    for client in core.clients.all() {
        if client.has(BLOCKED) {
            client.unblock.store(3, Ordering::Release);
            core.clients.post(Message::Look { to: client.id });
        }
    }
}

/// The thread of the link, for as long as the server lives.
pub fn run(core: &Arc<Core>, rng: Rng) {
    // There are two more sets of counters than I/O threads: for the background, and for this thread.
    let worker = Worker::new(core.clients.threads() + 1, core, rng);
    let mut follower = Follower { core, worker, session: evict::nobody(), raw: Vec::new(), db: 0 };
    link::run(core.site(), &core.clients, &mut follower);
}

/// Applies what comes.
struct Follower<'c> {
    core: &'c Core,
    worker: Worker,
    session: Session,
    /// Bytes of the transaction that is coming.
    raw: Vec<u8>,
    /// The database that was selected in front of it.
    db: usize,
}

fn changed() -> io::Error {
    io::Error::other("the server's part has changed")
}

impl Follow for Follower<'_> {
    fn is_paused(&self) -> bool {
        self.core.clients.pause.now(self.core.clock.monotonic_us() / 1000).is_some()
    }

    fn apply(&mut self, argv: &[&[u8]], raw: &[u8], epoch: u64) -> io::Result<()> {
        self.worker.tick(self.core);
        let is = |word: &[u8]| argv.first().is_some_and(|name| name.eq_ignore_ascii_case(word));
        if self.session.multi.is_none() {
            self.raw.clear();
            self.db = self.session.db;
        }
        self.raw.extend_from_slice(raw);
        if is(b"MULTI") && multi::begin(&mut self.session) {
            return Ok(());
        }
        if self.session.multi.is_some() && !is(b"EXEC") && !is(b"DISCARD") {
            if let Ok(entry) = self.core.table.resolve(argv) {
                multi::queue(&mut self.session, entry, argv);
            }
            return Ok(());
        }
        let stream = call::Relay { raw: &self.raw, db: self.db, epoch };
        let done = call::follow(self.core, &mut self.worker, &mut self.session, argv, &stream);
        done.then_some(()).ok_or_else(changed)
    }

    fn load(&mut self, path: &Path, id: Id, offset: u64, epoch: u64) -> io::Result<()> {
        let world = self.core.world();
        let db = load::check(world, path).map_err(|bad| {
            tracing::warn!("Failed trying to load the MASTER synchronization DB from disk: {bad}");
            io::Error::other(bad.to_string())
        })?;
        // No save may take a picture of data that is half loaded.
        while !world.persist.claim(crate::persist::Child::Loading) {
            world.persist.stop_save();
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let appends = world.persist.aof.state() != State::Off;
        if appends {
            // It cannot fail: it only stops.
            let _ = rewrite::turn(world, false);
        }
        let core = self.core;
        let result = core.while_loading(|| self.replace(path, Mark { id, offset, db }, epoch));
        world.persist.release();
        if appends && let Err(error) = rewrite::turn(world, true) {
            tracing::error!("The append-only file cannot be turned on again: {error}");
        }
        self.session.db = db.unwrap_or(0);
        result
    }

    fn select(&mut self, db: usize) {
        self.session.db = db;
    }

    fn forget_transaction(&mut self) {
        if multi::end(&mut self.session).is_some() {
            self.session.db = self.db;
        }
    }
}

impl Follower<'_> {
    fn replace(&mut self, path: &Path, mark: Mark, epoch: u64) -> io::Result<()> {
        let core = self.core;
        let world = core.world();
        tracing::info!("MASTER <-> REPLICA sync: Flushing old data");
        self.empty(epoch)?;
        tracing::info!("MASTER <-> REPLICA sync: Loading DB in memory");
        let rules = load::Rules { keep_expired: true, merge: false };
        let loaded = load::snapshot_file(world, &mut core.keyspace.locked_none(), path, rules);
        let whole = loaded.map_err(|bad| io::Error::other(bad.to_string())).and_then(|_| {
            script::install_libraries(core, &mut self.worker, Restore::Flush).map_err(io::Error::other)
        });
        if let Err(error) = whole {
            self.empty(epoch)?;
            return Err(error);
        }
        let _locks = core.keyspace.locked_all();
        if !core.replication.link.is_current(epoch) {
            return Err(changed());
        }
        core.replication.disconnect();
        core.log.adopt(mark, core.config.load().repl_backlog_size);
        Ok(())
    }

    /// Deletes all data, as FLUSHALL would.
    fn empty(&mut self, epoch: u64) -> io::Result<()> {
        let core = self.core;
        let locks = core.keyspace.locked_all();
        if !core.replication.link.is_current(epoch) {
            return Err(changed());
        }
        core.persist.set_libraries(Vec::new());
        let mut ctx = Ctx::new(core, &mut self.worker, &mut self.session, locks, core.table.entry(0), None);
        ctx.mode = Mode::Replay;
        ctx.empty(None);
        block::settle(&mut ctx);
        Ok(())
    }
}
