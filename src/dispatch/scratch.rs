//! Where does a client try out what must not last? In a server within the server, that has the same data, commands and
//! users, and nothing that reaches outside: no log, no replicas, no clients but the one.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::client::Registry;
use crate::cluster::courier::Links;
use crate::config::Config;
use crate::config::live::Live;
use crate::dispatch::core::Core;
use crate::dispatch::ending::Ending;
use crate::dispatch::reaper::Reaper;
use crate::dispatch::script::Scripts;
use crate::dispatch::upkeep::Upkeep;
use crate::keyspace::Keyspace;
use crate::log::Log;
use crate::persist::{self, Persist};
use crate::pubsub::PubSub;
use crate::replication::Replication;
use crate::stats::Stats;
use crate::util::clock::Steady;

/// One thread is all that will work with it.
const THREADS: usize = 1;
const SHARDS: usize = 16;

/// A server with the data of `core` as it is at one moment.
///
/// # Errors
/// Those of [`persist::copy::copy`].
pub fn copy_of(core: &Core) -> io::Result<Core> {
    let mut config = Config::clone(&core.config.load());
    config.appendonly = false;
    // The copy has been admitted as a whole; it evicts nothing.
    config.maxmemory = 0;
    let copy = Core {
        keyspace: Keyspace::new(SHARDS, core.keyspace.databases(), core.keyspace.seed()),
        stats: Stats::new(THREADS + 1, core.table.entries().len()),
        acl: core.acl.clone(),
        clients: Registry::new(THREADS),
        config: Live::new(config),
        table: core.table.clone(),
        pubsub: PubSub::default(),
        log: Log::default(),
        persist: Persist::new(core.clock.now_us() / 1_000_000),
        replication: Replication::default(),
        couriers: Links::default(),
        cluster: core.cluster.clone(),
        started_us: core.started_us,
        steady: Steady::new(&*core.clock),
        clock: core.clock.clone(),
        run_id: core.run_id.clone(),
        dirty: 0.into(),
        executable: None,
        config_file: None,
        active_expire: AtomicBool::new(false),
        loading: AtomicBool::new(false),
        memory_full: AtomicBool::new(false),
        scripts: Scripts::new(THREADS + 1),
        upkeep: Upkeep::default(),
        reaper: Reaper::default(),
        ending: Ending::default(),
        outside: Arc::clone(&core.outside),
    };
    persist::copy::copy(core.world(), copy.world())?;
    Ok(copy)
}
