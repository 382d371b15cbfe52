//! What starts, and in which order? The server owns everything: it builds the shared parts, starts the I/O threads,
//! opens the listeners, and takes it all down again.

pub mod daemon;
pub mod logging;
mod outside;
mod ports;
mod title;
mod users;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::client::Registry;
use crate::cluster::Cluster;
use crate::cluster::courier::Links;
use crate::commands::FAMILIES;
use crate::config::file::Loaded;
use crate::config::live::Live;
use crate::config::{Config, REDIS_VERSION};
use crate::dispatch::block;
use crate::dispatch::boot;
use crate::dispatch::core::Core;
use crate::dispatch::crash::{self, Watchdog};
use crate::dispatch::ending::{self, Ending};
use crate::dispatch::follow;
use crate::dispatch::reaper::{self, Reaper};
use crate::dispatch::script::Scripts;
use crate::dispatch::spec::Command;
use crate::dispatch::table::Table;
use crate::dispatch::upkeep::{self, Upkeep};
use crate::dispatch::worker::Worker;
use crate::keyspace::Keyspace;
use crate::log::Log;
use crate::net::listener::{Accepted, Spread};
use crate::net::thread::Thread;
use crate::persist::{self, Persist};
use crate::pubsub::PubSub;
use crate::replication::{self, Replication};
use crate::server::daemon::PidFile;
use crate::server::outside::Reach;
use crate::server::ports::Ports;
use crate::server::title::Title;
use crate::stats::Stats;
use crate::util::clock::{Clock, Steady, SystemClock};
use crate::util::hash::Seed;
use crate::util::rng::{self, Rng};

/// Shards for each I/O thread: enough that two threads seldom want the same one.
const SHARDS_PER_THREAD: usize = 16;

/// How long clients are kept waiting for the data before they are let in and told that it is being loaded.
const LOAD_UNSEEN: Duration = Duration::from_millis(500);

/// A server that has been built and not started.
pub struct Server {
    core: Arc<Core>,
    ports: Arc<Ports>,
    threads: usize,
}

impl Server {
    /// Builds the shared parts.
    ///
    /// # Errors
    /// When the system gives no randomness or no thread.
    pub fn new(loaded: Loaded, log: logging::Log) -> io::Result<Server> {
        Server::with_commands(FAMILIES, loaded, log)
    }

    /// [`Server::new`] with a command table of one's own, for tests of what becomes of faulty commands.
    ///
    /// # Errors
    /// As [`Server::new`].
    pub fn with_commands(
        families: &[&'static [Command]],
        loaded: Loaded,
        log: logging::Log,
    ) -> io::Result<Server> {
        Server::on_clock(Arc::new(SystemClock::new()), families, loaded, log)
    }

    /// [`Server::with_commands`] with a clock of one's own.
    ///
    /// # Errors
    /// As [`Server::new`].
    pub fn on_clock(
        clock: Arc<dyn Clock>,
        families: &[&'static [Command]],
        loaded: Loaded,
        log: logging::Log,
    ) -> io::Result<Server> {
        let title = title(&loaded);
        let mut config = loaded.config;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        config.io_threads = config.io_threads.on(cores);
        let threads = usize::from(config.io_threads.running);
        announce(&config, &loaded.warnings);
        std::env::set_current_dir(&config.dir.0)?;
        let mut table = Table::new(families);
        let acl = users::all(&table, &config, &loaded.users)?;
        for rename in &loaded.renames {
            let word = |i: usize| rename.words.get(i).map(|w| String::from_utf8_lossy(w)).unwrap_or_default();
            table
                .rename(&word(1), &word(2))
                .map_err(|why| io::Error::other(rename.fatal(why).to_string()))?;
        }
        let mut rng = Rng::from_os()?;
        let seed = Seed::new([rng.next_u64(), rng.next_u64()]);
        let databases = config.databases;
        let reach = Arc::new(Reach::new(log, &config, title));
        let ports = reach.ports.clone();
        let cluster = if config.cluster_enabled { Some(Arc::new(Cluster::open(&config)?)) } else { None };
        let core = Core {
            keyspace: Keyspace::new(threads * SHARDS_PER_THREAD, databases, seed),
            stats: Stats::new(threads + 3, table.entries().len()),
            acl: Arc::new(acl),
            clients: Registry::new(threads),
            config: Live::new(config),
            table: Arc::new(table),
            pubsub: PubSub::default(),
            log: Log::default(),
            persist: Persist::new(clock.now_us() / 1_000_000),
            replication: Replication::default(),
            couriers: Links::default(),
            cluster,
            started_us: clock.monotonic_us(),
            steady: Steady::new(&*clock),
            clock,
            run_id: rng::hex_id()?,
            dirty: 0.into(),
            executable: std::env::current_exe().ok(),
            config_file: loaded.file,
            active_expire: AtomicBool::new(true),
            loading: AtomicBool::new(true),
            memory_full: AtomicBool::new(false),
            scripts: Scripts::new(threads + 3),
            upkeep: Upkeep::default(),
            reaper: Reaper::default(),
            ending: Ending::default(),
            outside: reach,
        };
        core.log.new_history(follow::history_id()?, false);
        Ok(Server { core: Arc::new(core), ports, threads })
    }

    /// The shared parts, for benches that run commands without a socket.
    pub fn core(&self) -> Arc<Core> {
        self.core.clone()
    }

    /// Runs until a signal or SHUTDOWN ends the server.
    ///
    /// # Errors
    /// When a port is taken or a thread cannot be started.
    pub fn run(self) -> io::Result<()> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let _pid = PidFile::write(&self.core.config.load());
        runtime.block_on(self.serve())
    }

    async fn serve(self) -> io::Result<()> {
        let mut senders = Vec::new();
        for id in 0..self.threads {
            let (sender, receiver) = mpsc::unbounded_channel();
            start_thread(self.core.clone(), id, receiver)?;
            senders.push(sender);
        }
        reaper::start(&self.core)?;
        upkeep::start(&self.core, self.threads, Rng::from_os()?)?;
        self.core.stats.startup_bytes.store(crate::ALLOCATOR.used() as u64, Ordering::Relaxed);
        tracing::info!("Server initialized");
        let spread = Spread::new(senders);
        let (open, gate) = tokio::sync::watch::channel(false);
        self.ports.open(&self.core, &spread, &gate)?;
        let core = self.core.clone();
        spawn("ending", move || ending::run(&core))?;
        let mut end = std::pin::pin!(self.wait_for_the_end());
        tokio::select! {
            ended = &mut end => ended?,
            started = self.begin(&open) => {
                started?;
                end.await?;
            }
        }
        daemon::tell_supervisor(&self.core.config.load(), "STOPPING=1");
        self.ports.close();
        tracing::info!("Peregrine is now ready to exit, bye bye...");
        Ok(())
    }

    /// Reads the data and lets clients in.
    async fn begin(&self, open: &tokio::sync::watch::Sender<bool>) -> io::Result<()> {
        // Clients of a small data set never hear of its loading; those of a large one are told to wait.
        let mut load = std::pin::pin!(self.load());
        if let Ok(loaded) = tokio::time::timeout(LOAD_UNSEEN, &mut load).await {
            loaded?;
            open.send_replace(true);
        } else {
            open.send_replace(true);
            load.await?;
        }
        tracing::info!("Ready to accept connections tcp");
        daemon::tell_supervisor(&self.core.config.load(), "READY=1\nSTATUS=Ready to accept connections");
        Ok(())
    }

    /// Reads the data, on a thread of its own: meanwhile clients are told to wait. Then persistence begins its work.
    async fn load(&self) -> io::Result<()> {
        let core = self.core.clone();
        let (sender, done) = tokio::sync::oneshot::channel();
        spawn("loader", move || {
            // The receiver waits for this.
            let _ = sender.send(boot::load(&core));
        })?;
        done.await.map_err(io::Error::other)??;
        boot::finish(&self.core)?;
        let core = self.core.clone();
        spawn("log", move || core.persist.aof.keep(core.world()))?;
        let core = self.core.clone();
        spawn("saver", move || core.persist.work(core.world()))?;
        let core = self.core.clone();
        let rng = Rng::from_os()?;
        spawn("link", move || follow::run(&core, rng))?;
        let core = self.core.clone();
        spawn("persist-cron", move || {
            let mut watchdog = Watchdog::new(&core);
            loop {
                std::thread::sleep(Duration::from_millis(100));
                watchdog.look(&core);
                persist::cron::tick(core.world());
                replication::cron::tick(core.site());
                block::answer_acks(&core);
            }
        })
    }

    /// Waits for SHUTDOWN, or for a signal after which nothing keeps the server from ending.
    async fn wait_for_the_end(&self) -> io::Result<()> {
        let mut term = signal(SignalKind::terminate())?;
        let mut int = signal(SignalKind::interrupt())?;
        let mut alarm = signal(SignalKind::alarm())?;
        let mut abort = signal(SignalKind::from_raw(libc::SIGABRT))?;
        loop {
            let config = || self.core.config.load();
            tokio::select! {
                () = self.core.ending.done.notified() => return Ok(()),
                _ = term.recv() => {
                    tracing::warn!("Received SIGTERM scheduling shutdown...");
                    self.core.ending.ask(config().shutdown_on_sigterm, None);
                }
                _ = int.recv() => {
                    if self.core.ending.is_under_way() {
                        persist::shutdown::insist(self.core.world());
                    }
                    tracing::warn!("Received SIGINT scheduling shutdown...");
                    self.core.ending.ask(config().shutdown_on_sigint, None);
                }
                _ = alarm.recv() => crash::tell_threads(&self.core, "Received SIGALRM"),
                _ = abort.recv() => crash::killed(&self.core, libc::SIGABRT),
            }
        }
    }
}

/// The process title before it is changed.
fn title(loaded: &Loaded) -> Title {
    let name = std::env::args().next().unwrap_or_else(|| "peregrine".to_owned());
    let file = loaded.file.as_deref().and_then(|path| std::path::absolute(path).ok()).unwrap_or_default();
    Title::new(name, file.display().to_string())
}

/// What operators and their tools look for first in the log.
fn announce(config: &Config, warnings: &[String]) {
    let (own, pid, port) = (env!("CARGO_PKG_VERSION"), std::process::id(), config.port);
    tracing::info!(
        "Peregrine {own} is starting: Redis version={REDIS_VERSION}, bits={}, pid={pid}",
        usize::BITS
    );
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    tracing::info!(
        "Running mode={}, port={port}, io-threads={}, PID: {pid}",
        config.mode(),
        config.io_threads.running
    );
}

/// Starts one I/O thread.
fn start_thread(core: Arc<Core>, id: usize, accepted: mpsc::UnboundedReceiver<Accepted>) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let rng = Rng::from_os()?;
    std::thread::Builder::new().name(format!("io-{id}")).stack_size(8 << 20).spawn(move || {
        let worker = Worker::new(id, &core, rng);
        let thread = Thread::new(core, worker, accepted);
        LocalSet::new().block_on(&runtime, thread.run());
    })?;
    Ok(())
}

/// Starts a thread that nobody waits for.
fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name.into()).spawn(run).map(|_| ())
}
