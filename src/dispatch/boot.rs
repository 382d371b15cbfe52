//! With which data does the server begin? With what the append-only file holds if it is on, otherwise with the snapshot.
//!
//! Invariant: what is on disk and cannot be read keeps the server from starting; it never starts empty instead.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::client::Session;
use crate::client::registry::Client;
use crate::dispatch::call;
use crate::dispatch::core::Core;
use crate::dispatch::ctx::{Ctx, Mode};
use crate::dispatch::follow;
use crate::dispatch::script;
use crate::dispatch::worker::Worker;
use crate::keyspace::Locked;
use crate::persist::aof::load::Replay;
use crate::persist::rdb::Bad;
use crate::persist::{aof, load};
use crate::resp::reply::{Proto, Reply};
use crate::script::library::Restore;
use crate::util::rng::Rng;

/// Reads the data that the last run left, and opens the append-only file.
///
/// # Errors
/// When there is data that cannot be read, or the append-only file cannot be written.
pub fn load(core: &Core) -> io::Result<()> {
    let world = core.world();
    let owned = core.persist.owner.follow(&*core.persist.disk, &core.config.load());
    owned.inspect_err(|error| tracing::error!("{error}"))?;
    remove_leftovers(core);
    let on = core.config.load().appendonly;
    if !on {
        aof::load::remember(world)?;
    }
    let found = on && aof::load::all(world, &mut Replayer::new(core)?)?;
    if !found {
        // Turned on for the first time, the append-only file starts from the snapshot.
        load_snapshot(core)?;
        follow::resume_history(core)?;
    }
    let status = &core.persist.status;
    status.saved_changes.store(world.changes(), Ordering::Release);
    status.last_save.store(world.now_s(), Ordering::Release);
    // CONFIG SET may have turned it off meanwhile.
    if on && core.config.load().appendonly {
        aof::load::open(world)?;
    }
    if let Some((host, port)) = &core.config.load().replicaof.0 {
        follow::aim(core, Some((host.to_string(), *port)))?;
    }
    Ok(())
}

/// The data is there: clients are served, and the append-only file is turned on if that was asked for meanwhile.
///
/// # Errors
/// When its first base cannot be begun.
pub fn finish(core: &Core) -> io::Result<()> {
    core.loading.store(false, Ordering::Release);
    let mut result = Ok(());
    // Nobody else changes settings within this: who saw the loading before has published what it set.
    core.config.update(|config| {
        let is_on = core.persist.aof.state() != aof::State::Off;
        if config.appendonly != is_on {
            result = aof::rewrite::turn(core.world(), config.appendonly);
        }
    });
    result
}

/// Removes what saves of processes that are no more have left.
fn remove_leftovers(core: &Core) {
    let config = core.config.load();
    for name in core.persist.disk.list(&config.dir.0).unwrap_or_default() {
        let pid = name
            .strip_prefix("temp-")
            .and_then(|n| n.strip_suffix(".rdb"))
            .and_then(|n| n.parse::<u32>().ok());
        let own = |pid: u32| pid == std::process::id();
        if pid.is_some_and(|pid| own(pid) || !std::path::Path::new(&format!("/proc/{pid}")).exists()) {
            tracing::info!("Removing {name}, which an interrupted save has left");
            let _ = core.persist.disk.remove(&config.dir.join(&name));
        }
    }
}

fn load_snapshot(core: &Core) -> io::Result<()> {
    let began = core.clock.monotonic_us();
    let config = core.config.load();
    let path = config.dir.join(&config.dbfilename);
    let mut replayer = Replayer::new(core)?;
    let rules = load::Rules { keep_expired: config.replicaof.0.is_some(), merge: false };
    let loaded = |locks: &mut Locked<'_>| load::snapshot_file(core.world(), locks, &path, rules);
    let mut found = Ok(false);
    let installed = replayer.with_locks(&mut |locks| {
        found = loaded(locks);
        Ok(())
    });
    match found.and_then(|found| installed.map(|()| found)) {
        Ok(false) => Ok(()),
        Ok(true) => {
            let took = core.clock.monotonic_us().saturating_sub(began) as f64 / 1e6;
            tracing::info!("DB loaded from disk: {took:.3} seconds");
            Ok(())
        }
        Err(bad) => {
            tracing::error!("Fatal error loading the DB, check server logs. Exiting.");
            Err(io::Error::other(format!("cannot load {}: {bad}", path.display())))
        }
    }
}

/// Runs what is read from the append-only file as the server starts.
struct Replayer<'c> {
    core: &'c Core,
    worker: Worker,
    session: Session,
    out: Vec<u8>,
}

impl<'c> Replayer<'c> {
    fn new(core: &'c Core) -> io::Result<Self> {
        // Counted like an I/O thread: there is one more set of counters, for the background.
        let id = core.clients.threads();
        let worker = Worker::new(id, core, Rng::from_os()?);
        let client = Arc::new(Client::new(0, 0, String::new(), String::new(), -1, 0));
        Ok(Replayer { core, worker, session: Session::internal(client), out: Vec::new() })
    }
}

impl Replay for Replayer<'_> {
    fn with_locks(&mut self, load: &mut dyn FnMut(&mut Locked<'_>) -> Result<(), Bad>) -> Result<(), Bad> {
        load(&mut self.core.keyspace.locked_none())?;
        script::install_libraries(self.core, &mut self.worker, Restore::Flush).map_err(Bad::Corrupt)
    }

    fn begin_file(&mut self) {
        self.session.db = 0;
    }

    fn run(&mut self, argv: &[&[u8]]) -> Result<(), String> {
        self.out.clear();
        let mut out = Reply::new(&mut self.out, Proto::Resp2);
        call::replay(self.core, &mut self.worker, &mut self.session, argv, &mut out)
    }
}

/// DEBUG LOADAOF, under all locks: makes the append-only file whole, empties the keyspace and reads the file again.
///
/// # Errors
/// What went wrong, for the operator.
pub fn reload_append_only(ctx: &mut Ctx<'_>) -> Result<(), String> {
    let world = ctx.core.world();
    world.persist.aof.finish(world).map_err(|error| error.to_string())?;
    load::empty(world, &mut ctx.locks);
    let db = ctx.session.db;
    let result = aof::load::all(world, &mut Rerun(ctx));
    ctx.session.db = db;
    result.map(|_| ()).map_err(|error| error.to_string())
}

/// Runs what is read within a command that holds all locks.
struct Rerun<'c, 'a>(&'c mut Ctx<'a>);

impl Replay for Rerun<'_, '_> {
    fn with_locks(&mut self, load: &mut dyn FnMut(&mut Locked<'_>) -> Result<(), Bad>) -> Result<(), Bad> {
        load(&mut self.0.locks)?;
        script::install_libraries(self.0.core, self.0.worker, Restore::Flush).map_err(Bad::Corrupt)
    }

    fn begin_file(&mut self) {
        self.0.session.db = 0;
    }

    fn run(&mut self, argv: &[&[u8]]) -> Result<(), String> {
        let mut buf = Vec::new();
        let mut out = Reply::new(&mut buf, Proto::Resp2);
        let entry = self.0.core.table.resolve(argv).map_err(|error| error.as_str().to_owned())?;
        self.0.call_nested(entry, Mode::Replay, argv, &mut out);
        Ok(())
    }
}
