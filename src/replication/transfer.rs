//! How does a replica get the snapshot? It goes into a file, and the connections of the replicas send the file: as it
//! grows, between two marks, to those who can take that ("diskless": nobody waits for the disk), and when it is whole
//! to the others.
//!
//! ```text
//! $EOF:<40 bytes>\r\n <snapshot> <the same 40 bytes>
//! $<length>\r\n <snapshot>
//! ```
//!
//! However slow a replica is, the snapshot is made at the speed of the disk: writes never wait for a socket.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

use crate::keyspace::Locked;
use crate::log::Mark;
use crate::persist::save::{self, Output};
use crate::persist::snapshot::{self, Beside, Snapshot, Stopper};
use crate::persist::{Child, Job, World};
use crate::replication::{Phase, Replica, Replication, Site, replica_name};
use crate::util::rng;

/// How a transfer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It has not.
    No,
    /// The snapshot is whole.
    Whole,
    /// It could not be made.
    Failed,
}

/// A snapshot on its way to replicas.
pub struct Transfer {
    /// Stands behind it when its length is not known beforehand.
    pub trailer: Option<String>,
    written: AtomicU64,
    ended: AtomicU8,
    /// Replicas that want it.
    wanted: AtomicUsize,
    stopper: Stopper,
}

impl Transfer {
    /// Bytes of the file that can be read.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Whether more will come.
    pub fn ended(&self) -> Ended {
        match self.ended.load(Ordering::Acquire) {
            0 => Ended::No,
            1 => Ended::Whole,
            _ => Ended::Failed,
        }
    }
}

/// A snapshot file that can be sent.
pub struct Source {
    /// Reads it from its beginning.
    pub reader: Box<dyn Read + Send>,
    /// How far it may be read.
    pub transfer: Arc<Transfer>,
}

/// What a replica is sent in front of the stream.
#[derive(Default)]
pub struct Outbox {
    /// Lines.
    pub head: Vec<u8>,
    /// And then the snapshot.
    pub source: Option<Source>,
    transfer: Option<Arc<Transfer>>,
}

impl Outbox {
    /// True when the snapshot that it waits for will never come.
    pub fn has_failed(&self) -> bool {
        self.transfer.as_ref().is_some_and(|transfer| transfer.ended() == Ended::Failed)
    }

    /// The replica is gone; a snapshot that nobody wants any more is not made.
    pub fn leave(&mut self) {
        self.source = None;
        if let Some(transfer) = self.transfer.take()
            && transfer.wanted.fetch_sub(1, Ordering::AcqRel) == 1
            && transfer.ended() == Ended::No
        {
            tracing::warn!("Diskless rdb transfer, last replica dropped, killing fork child.");
            transfer.stopper.stop();
        }
    }
}

/// Begins a snapshot for the replicas that wait for one, if it can begin now. `locks` are all locks: their streams
/// begin at this moment.
///
/// # Errors
/// When the saver is gone or the system gives no randomness.
pub fn begin(site: Site<'_>, locks: &mut Locked<'_>) -> io::Result<()> {
    let (world, config) = (site.world, site.world.config.load());
    let mut replicas = site.replication.all();
    replicas.retain(|r| r.phase() == Phase::Waiting);
    if replicas.is_empty() || !world.persist.claim(Child::Rdb) {
        return Ok(());
    }
    let diskless = config.repl_diskless_sync && replicas.iter().all(|r| r.hello.lock().eof);
    let trailer = if diskless { Some(rng::hex_id()?) } else { None };
    replicas.iter().for_each(|r| world.log.attach(&r.feed));
    let mark = world.log.mark();
    let mut snapshot = snapshot::begin(locks, save::options(&config, world.now_s()));
    snapshot.remember(world.changes(), Beside::now(world));
    world.persist.note_begin(world, &snapshot);
    let transfer = Arc::new(Transfer {
        trailer,
        written: 0.into(),
        ended: 0.into(),
        wanted: replicas.len().into(),
        stopper: snapshot.stopper(),
    });
    let target = if diskless { "replicas sockets" } else { "disk" };
    tracing::info!("Starting BGSAVE for SYNC with target: {target}");
    for replica in &replicas {
        replica.enter(Phase::Saving);
        let mut outbox = replica.outbox.lock();
        if !replica.hello.lock().legacy {
            outbox.head.extend_from_slice(full_resync(&mark).as_bytes());
        }
        outbox.transfer = Some(transfer.clone());
        drop(outbox);
        replica.wake();
    }
    site.replication.syncs[0].fetch_add(replicas.len() as u64, Ordering::AcqRel);
    tracing::info!("Background RDB transfer started");
    world.persist.start(Job::Run(Box::new(move |world| send(world, snapshot, &transfer, &replicas))))
}

fn full_resync(mark: &Mark) -> String {
    format!("+FULLRESYNC {} {}\r\n", String::from_utf8_lossy(&mark.id), mark.offset)
}

/// Makes the file, on the saver's thread.
fn send(world: World<'_>, snapshot: Snapshot, transfer: &Arc<Transfer>, replicas: &[Arc<Replica>]) {
    let result = match &transfer.trailer {
        Some(trailer) => grow(world, snapshot, transfer, trailer, replicas),
        None => whole(world, snapshot, transfer, replicas),
    };
    match &result {
        Ok(()) => tracing::info!("Background RDB transfer terminated with success"),
        Err(error) => tracing::warn!("Background transfer error: {error}"),
    }
    transfer.ended.store(if result.is_ok() { 1 } else { 2 }, Ordering::Release);
    world.persist.release();
    replicas.iter().for_each(|r| r.wake());
}

/// Hands a file to the replicas, with the line in front of it.
fn offer(
    world: World<'_>,
    path: &Path,
    head: &str,
    transfer: &Arc<Transfer>,
    replicas: &[Arc<Replica>],
) -> io::Result<()> {
    for replica in replicas {
        let reader = world.persist.disk.read(path)?;
        let mut outbox = replica.outbox.lock();
        outbox.head.extend_from_slice(head.as_bytes());
        outbox.source = Some(Source { reader, transfer: transfer.clone() });
        drop(outbox);
        replica.wake();
    }
    Ok(())
}

/// A file that is sent while it is made.
fn grow(
    world: World<'_>,
    snapshot: Snapshot,
    transfer: &Arc<Transfer>,
    trailer: &str,
    replicas: &[Arc<Replica>],
) -> io::Result<()> {
    let path: PathBuf =
        world.config.load().dir.join(&format!("temp-repl-{}-{}.rdb", std::process::id(), &trailer[..8]));
    let mut output = Output::create(world, &path, snapshot.version(), false, snapshot.beside());
    let offered = match &output {
        Ok(output) => {
            transfer.written.store(output.written(), Ordering::Release);
            offer(world, &path, &format!("$EOF:{trailer}\r\n"), transfer, replicas)
        }
        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
    };
    // Those who read it have it open.
    let _ = world.persist.disk.remove(&path);
    let pause = || world.config.load().rdb_key_save_delay;
    let walked = snapshot.walk_slowly(world.keyspace, pause, |bytes| {
        let Ok(output) = &mut output else { return Err(io::Error::other("no file")) };
        output.write(bytes)?;
        transfer.written.store(output.written(), Ordering::Release);
        replicas.iter().for_each(|r| r.wake());
        Ok(())
    });
    offered.and(walked)?;
    let written = output?.close()?;
    transfer.written.store(written, Ordering::Release);
    Ok(())
}

/// The snapshot file itself, sent when it is whole.
fn whole(
    world: World<'_>,
    snapshot: Snapshot,
    transfer: &Arc<Transfer>,
    replicas: &[Arc<Replica>],
) -> io::Result<()> {
    let (path, length) = save::for_replicas(world, snapshot)?;
    transfer.written.store(length, Ordering::Release);
    transfer.ended.store(1, Ordering::Release);
    replicas.iter().for_each(|r| r.enter(Phase::Sending));
    offer(world, &path, &format!("${length}\r\n"), transfer, replicas)
}

impl Replication {
    /// The snapshot has been sent: the stream follows, at once or when the replica says that it has taken it.
    pub fn delivered(&self, replica: &Replica) {
        let waits = {
            let mut outbox = replica.outbox.lock();
            let transfer = outbox.transfer.take();
            transfer.is_some_and(|transfer| {
                transfer.wanted.fetch_sub(1, Ordering::AcqRel);
                transfer.trailer.is_some()
            })
        };
        replica.enter(Phase::Online);
        if !waits {
            replica.ready.store(true, Ordering::Release);
        }
        tracing::info!("Synchronization with replica {} succeeded", replica_name(replica));
    }
}
