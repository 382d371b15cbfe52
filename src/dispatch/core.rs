//! What do all threads share? The server's parts, put together by `server` and handed to every command.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::acl::Acl;
use crate::client::{Registry, memory};
use crate::cluster::Cluster;
use crate::cluster::courier::Links;
use crate::config::live::Live;
use crate::config::table::Setting;
use crate::config::values::reason;
use crate::config::{Config, SetError};
use crate::dispatch::ending::Ending;
use crate::dispatch::reaper::Reaper;
use crate::dispatch::script::Scripts;
use crate::dispatch::table::Table;
use crate::dispatch::upkeep::Upkeep;
use crate::keyspace::Keyspace;
use crate::keyspace::effects::Garbage;
use crate::log::Log;
use crate::persist::aof::rewrite;
use crate::persist::{Persist, World};
use crate::pubsub::PubSub;
use crate::replication::{Replication, Site};
use crate::stats::Stats;
use crate::util::clock::{Clock, Steady};

/// Puts settings into effect that reach beyond the data: sockets, the log, what the system shows of the process.
pub trait Outside: Send + Sync {
    /// Puts the change of one setting into effect; one that has none outside is fine.
    ///
    /// # Errors
    /// Why not, for the client; nothing has changed then.
    fn apply(&self, setting: &str, old: &Config, new: &Config) -> Result<(), &'static str>;

    /// True when a supervisor has started the server and is told how it is doing.
    fn is_supervised(&self, config: &Config) -> bool;
}

/// The shared parts of a server. Everything in it is safe to use from any thread.
pub struct Core {
    /// The data.
    pub keyspace: Keyspace,
    /// The settings.
    pub config: Live,
    /// The command table.
    pub table: Arc<Table>,
    /// The users.
    pub acl: Arc<Acl>,
    /// The connected clients.
    pub clients: Registry,
    /// The subscriptions.
    pub pubsub: PubSub,
    /// The write log.
    pub log: Log,
    /// What survives a restart.
    pub persist: Persist,
    /// Replicas, and the primary.
    pub replication: Replication,
    /// Connections by which keys go to other servers.
    pub couriers: Links,
    /// The node that it is in cluster mode.
    pub cluster: Option<Arc<Cluster>>,
    /// The counters.
    pub stats: Stats,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The time that expiries are compared with; see [`Core::look_at_clock`].
    pub steady: Steady,
    /// Forty hexadecimal digits that name this run of the server.
    pub run_id: String,
    /// When it started: monotonic microseconds.
    pub started_us: u64,
    /// Changes since the last save.
    pub dirty: AtomicU64,
    /// The program that runs, by its absolute path: DEBUG RESTART runs it again.
    pub executable: Option<PathBuf>,
    /// The file that CONFIG REWRITE rewrites.
    pub config_file: Option<PathBuf>,
    /// Expired keys are swept (DEBUG SET-ACTIVE-EXPIRE).
    pub active_expire: AtomicBool,
    /// True while data is being loaded.
    pub loading: AtomicBool,
    /// Memory is over `maxmemory` and nothing could be evicted; kept up to date by `evict`.
    pub memory_full: AtomicBool,
    /// The scripts.
    pub scripts: Scripts,
    /// The background thread.
    pub upkeep: Upkeep,
    /// Frees big values off the data path.
    pub reaper: Reaper,
    /// How far the server's end has come.
    pub ending: Ending,
    /// What settings reach beyond the data.
    pub outside: Arc<dyn Outside>,
}

impl Core {
    /// The parts that persistence works with.
    pub fn world(&self) -> World<'_> {
        World {
            keyspace: &self.keyspace,
            config: &self.config,
            stats: &self.stats,
            clock: &*self.clock,
            log: &self.log,
            persist: &self.persist,
        }
    }

    /// The parts that replication works with.
    pub fn site(&self) -> Site<'_> {
        Site { world: self.world(), replication: &self.replication }
    }

    /// True while data is being loaded.
    pub fn is_loading(&self) -> bool {
        self.loading.load(Ordering::Relaxed)
    }

    /// Loads data; meanwhile clients are told that the server does.
    pub fn while_loading<T>(&self, load: impl FnOnce() -> T) -> T {
        self.loading.store(true, Ordering::Release);
        let loaded = load();
        self.loading.store(false, Ordering::Release);
        loaded
    }

    /// True when memory is over `maxmemory` and nothing can be evicted.
    pub fn over_memory(&self) -> bool {
        self.memory_full.load(Ordering::Relaxed)
    }

    /// The offset up to which the log is as safe as the settings ask: replies to earlier writes may be sent.
    pub fn log_safe(&self) -> u64 {
        self.persist.aof.safe()
    }

    /// Makes the log safe up to its present end.
    pub async fn flush_log(&self) {
        self.persist.aof.flush(self.world()).await;
    }

    /// Puts changed settings into effect that are not simply read where they matter.
    ///
    /// # Errors
    /// When one of them cannot be; what had been done is undone.
    pub fn apply_settings(
        &self,
        old: &Config,
        new: &Config,
        rows: &[&'static Setting],
    ) -> Result<(), SetError> {
        for (done, row) in rows.iter().enumerate() {
            let applied = self.apply_one(row.name, old, new);
            if let Err(reason) = applied {
                for row in rows.iter().take(done).rev() {
                    // What could be changed can be changed back.
                    let _ = self.apply_one(row.name, new, old);
                }
                return Err(SetError::failed(row.name, &reason));
            }
        }
        Ok(())
    }

    fn apply_one(&self, setting: &str, old: &Config, new: &Config) -> Result<(), String> {
        match setting {
            "dir" => std::env::set_current_dir(&new.dir.0)
                .map_err(|error| reason(&error))
                .and_then(|()| self.own_snapshot(new)),
            "dbfilename" | "save" => self.own_snapshot(new),
            // While data is being loaded, the end of the loading looks after it.
            "appendonly" if self.is_loading() => Ok(()),
            "appendonly" if old.appendonly != new.appendonly => rewrite::turn(self.world(), new.appendonly)
                .map_err(|_| "Unable to turn on AOF. Check server logs.".to_owned()),
            "requirepass" => {
                self.acl.set_default_password(&new.requirepass);
                Ok(())
            }
            _ => self.outside.apply(setting, old, new).map_err(str::to_owned),
        }
    }

    /// Has the machine's clock been set? Then every expiry is moved by as much, so that nothing lives longer or shorter
    /// than it was to, apart from dates that clients have named. The files are to follow. `id` names the thread's
    /// statistics.
    pub fn look_at_clock(&self, id: usize) {
        let Some(jump_us) = self.steady.jump(&*self.clock) else { return };
        let mut moved = 0;
        {
            let mut locks = self.keyspace.locked_all();
            locks.each(|_, shard| moved += shard.move_expiries(jump_us / 1000));
            self.steady.settle(jump_us);
        }
        self.stats.threads[id].dirty.add(moved);
        self.persist.clock_was_set(jump_us / 1_000_000, moved > 0);
        tracing::warn!(
            "The clock was set by {:+.3} seconds: {moved} keys that expire go on to live as long as they were to",
            jump_us as f64 / 1e6
        );
    }

    /// Other servers are to leave the snapshot file of the settings alone.
    fn own_snapshot(&self, config: &Config) -> Result<(), String> {
        self.persist.owner.follow(&*self.persist.disk, config).map_err(|error| error.to_string())
    }

    /// Closes clients, the largest first, if all together hold more than `maxmemory-clients`.
    pub fn evict_clients(&self) {
        let config = self.config.load();
        let limit = config.maxmemory_clients.of(config.maxmemory);
        if limit > 0 && self.clients.held.total() > limit {
            let evicted = memory::evict(&self.clients, limit);
            self.stats.evicted_clients.fetch_add(evicted, Ordering::Relaxed);
        }
    }

    /// Frees values: at once if that is quick, otherwise on the reaper's thread.
    pub fn free_later(&self, garbage: Vec<Garbage>) {
        self.reaper.take(garbage);
    }

    /// Ends the process because its data can no longer be vouched for.
    pub fn crash(&self) -> ! {
        if self.config.load().use_exit_on_panic {
            std::process::exit(1)
        }
        std::process::abort()
    }
}
