//! How do several servers hold the same data? A primary sends its replicas a snapshot ([`transfer`]) and then the log's
//! stream from exactly the snapshot's moment on; a replica applies both.
//!
//! ```text
//! replica: PING, AUTH, REPLCONF.., PSYNC id offset >  primary
//!          < +CONTINUE id, then the stream from offset on       the backlog goes back so far
//!          < +FULLRESYNC id offset, a snapshot, then the stream otherwise
//!          REPLCONF ACK offset, once a second >
//! ```
//!
//! Invariants: a replica's queue in the log begins under the locks under which its snapshot begins; what it is sent
//! is decided by the thread of its connection alone.

pub mod cron;
pub mod info;
pub mod link;
pub mod transfer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::client::mailbox::Mailbox;
use crate::client::message::Message;
use crate::client::registry::{Client, ClientType};
use crate::config::Config;
use crate::keyspace::waiter::Waiter;
use crate::log::{Feed, Log};
use crate::persist::World;
use crate::persist::aof::State;
use crate::replication::link::Link;
use crate::replication::transfer::{Outbox, Transfer};

/// The parts of the server that replication works with.
#[derive(Clone, Copy)]
pub struct Site<'a> {
    /// Data, log and files.
    pub world: World<'a>,
    /// What replication remembers.
    pub replication: &'a Replication,
}

/// Where a replica's synchronisation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// It has only introduced itself.
    Greeting = 0,
    /// Its snapshot has not begun.
    Waiting = 1,
    /// Its snapshot is being made, and maybe sent meanwhile.
    Saving = 2,
    /// Its snapshot is made and being sent.
    Sending = 3,
    /// It gets the stream.
    Online = 4,
}

impl Phase {
    /// What INFO and the log call it.
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Greeting | Phase::Waiting | Phase::Saving => "wait_bgsave",
            Phase::Sending => "send_bulk",
            Phase::Online => "online",
        }
    }
}

/// What a replica says of itself.
#[derive(Debug, Clone, Default)]
pub struct Hello {
    /// The port that it listens on.
    pub port: u16,
    /// Its address, when it is not the one of its connection.
    pub address: String,
    /// It takes snapshots whose length is not known beforehand.
    pub eof: bool,
    /// It understands that a history can change its name.
    pub psync2: bool,
    /// It only wants a snapshot.
    pub rdb_only: bool,
    /// It came with SYNC: no line tells it where the stream begins, and it acknowledges nothing.
    pub legacy: bool,
}

/// A replica, as its primary knows it.
pub struct Replica {
    /// Its connection.
    pub client: Arc<Client>,
    /// What it has still to be sent of the stream.
    pub feed: Arc<Feed>,
    /// What it says of itself.
    pub hello: Mutex<Hello>,
    /// What comes in front of the stream.
    pub outbox: Mutex<Outbox>,
    /// The stream may be sent: it has taken the snapshot.
    pub ready: AtomicBool,
    /// Offset that it has applied, and that it has on disk.
    pub acked: [AtomicU64; 2],
    /// When it was last heard of, and since when it has waited: monotonic milliseconds.
    pub heard_ms: AtomicU64,
    phase: AtomicU8,
    mailboxes: Arc<[Mailbox<Message>]>,
}

impl Replica {
    /// Where its synchronisation stands.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Greeting,
            1 => Phase::Waiting,
            2 => Phase::Saving,
            3 => Phase::Sending,
            _ => Phase::Online,
        }
    }

    /// Goes on to another phase.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// Has the connection look after what there is to be sent; once until it has.
    pub fn wake(&self) {
        if !self.feed.woken.swap(true, Ordering::AcqRel) {
            self.mailboxes[self.client.thread].post(Message::Look { to: self.client.id });
        }
    }

    /// Ends the connection.
    pub fn kill(&self) {
        self.mailboxes[self.client.thread].post(Message::Kill { to: self.client.id });
    }

    /// True when it gets the stream and has acknowledged within `max_lag` seconds.
    fn is_good(&self, now_ms: u64, max_lag: u64) -> bool {
        self.phase() == Phase::Online && self.lag(now_ms) <= max_lag
    }

    /// Seconds since it was last heard of.
    pub fn lag(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.heard_ms.load(Ordering::Acquire)) / 1000
    }

    /// Address and port at which it can be reached.
    pub fn address(&self) -> (String, u16) {
        let hello = self.hello.lock();
        let ip = self.client.addr.rsplit_once(':').map_or("", |(ip, _)| ip.trim_matches(['[', ']']));
        (if hello.address.is_empty() { ip.to_owned() } else { hello.address.clone() }, hello.port)
    }
}

/// A client that waits for acknowledgements (WAIT, WAITAOF).
#[derive(Debug, Clone)]
pub struct AckWait {
    /// Who.
    pub waiter: Arc<Waiter>,
    /// What for.
    pub goal: Goal,
}

/// What is to be acknowledged, and by how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Goal {
    /// The stream's offset that replicas must reach.
    pub stream: u64,
    /// The log's offset that is to be durable here.
    pub log: u64,
    /// It must be.
    pub local: bool,
    /// How many replicas.
    pub replicas: u64,
    /// They must have it on disk (WAITAOF).
    pub durable: bool,
}

impl Goal {
    /// Whether the server itself has it on disk, and how many replicas have acknowledged.
    pub fn reached(&self, site: Site<'_>) -> (bool, u64) {
        let aof = &site.world.persist.aof;
        (
            // Before there is a first base nothing is on disk.
            aof.state() == State::On && aof.durable() >= self.log,
            site.replication.acknowledged(self.stream, self.durable),
        )
    }

    /// True when the append-only file that is waited for has been turned off.
    pub fn is_vain(&self, site: Site<'_>) -> bool {
        self.local && site.world.persist.aof.state() == State::Off
    }

    /// True when there is nothing more to wait for.
    pub fn is_met(&self, site: Site<'_>) -> bool {
        let (here, replicas) = self.reached(site);
        replicas >= self.replicas && (here || !self.local)
    }
}

/// What replication remembers.
#[derive(Default)]
pub struct Replication {
    replicas: RwLock<BTreeMap<u64, Arc<Replica>>>,
    /// The link to the primary, if the server is a replica.
    pub link: Link,
    /// Connections that have introduced themselves.
    known: AtomicUsize,
    /// Clients that wait for acknowledgements.
    pub waits: Mutex<Vec<AckWait>>,
    /// Since when there has been no replica: monotonic milliseconds.
    alone_since: AtomicU64,
    pinged: AtomicU64,
    /// Synchronisations: full, partial, and partial ones that were refused.
    pub syncs: [AtomicU64; 3],
}

impl Replication {
    /// The replica of a connection, if it has introduced itself.
    pub fn get(&self, client: u64) -> Option<Arc<Replica>> {
        if self.known.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.replicas.read().get(&client).cloned()
    }

    /// The replica of a connection, which introduces itself.
    pub fn greet(&self, client: &Arc<Client>, mailboxes: &Arc<[Mailbox<Message>]>) -> Arc<Replica> {
        let mut replicas = self.replicas.write();
        let replica = replicas.entry(client.id).or_insert_with(|| {
            self.known.fetch_add(1, Ordering::AcqRel);
            Arc::new(Replica {
                client: client.clone(),
                feed: Arc::default(),
                hello: Mutex::default(),
                outbox: Mutex::default(),
                ready: false.into(),
                acked: Default::default(),
                heard_ms: 0.into(),
                phase: 0.into(),
                mailboxes: mailboxes.clone(),
            })
        });
        replica.clone()
    }

    /// A connection is gone. `now_ms` is monotonic.
    pub fn remove(&self, client: u64, log: &Log, now_ms: u64) {
        if self.known.load(Ordering::Acquire) == 0 {
            return;
        }
        let Some(replica) = self.replicas.write().remove(&client) else { return };
        self.known.fetch_sub(1, Ordering::AcqRel);
        log.detach(&replica.feed);
        replica.outbox.lock().leave();
        if replica.phase() != Phase::Greeting {
            tracing::info!("Connection with replica {} lost.", replica_name(&replica));
            if self.count() == 0 {
                self.alone_since.store(now_ms.max(1), Ordering::Release);
            }
        }
    }

    /// There are no replicas for now, but there is a backlog for those who come back.
    pub fn note_alone(&self, now_ms: u64) {
        self.alone_since.store(now_ms.max(1), Ordering::Release);
    }

    /// All replicas, oldest first.
    pub fn all(&self) -> Vec<Arc<Replica>> {
        if self.known.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let replicas = self.replicas.read();
        replicas.values().filter(|r| r.phase() != Phase::Greeting).cloned().collect()
    }

    /// Ends the connections of all replicas: they will come back and ask for what they need.
    pub fn disconnect(&self) {
        self.all().iter().for_each(|r| r.kill());
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.all().len()
    }

    /// Tells the connections of replicas that the log has something for them.
    pub fn wake(&self) {
        if self.known.load(Ordering::Relaxed) > 0 {
            self.replicas.read().values().filter(|r| r.phase() == Phase::Online).for_each(|r| r.wake());
        }
    }

    /// How many replicas have acknowledged an offset, as applied or as durable.
    pub fn acknowledged(&self, stream: u64, durable: bool) -> u64 {
        let acked = |r: &&Arc<Replica>| r.acked[usize::from(durable)].load(Ordering::Acquire) >= stream;
        self.all().iter().filter(|r| r.phase() == Phase::Online).filter(acked).count() as u64
    }

    /// True when enough replicas follow for writes to be taken.
    pub fn suffices(&self, config: &Config, now_ms: u64) -> bool {
        let (least, lag) = (config.min_replicas_to_write, u64::from(config.min_replicas_max_lag));
        least == 0 || lag == 0 || self.good(config, now_ms) >= u64::from(least)
    }

    /// How many replicas follow closely enough.
    pub fn good(&self, config: &Config, now_ms: u64) -> u64 {
        let lag = u64::from(config.min_replicas_max_lag);
        self.all().iter().filter(|r| r.is_good(now_ms, lag)).count() as u64
    }

    /// Makes a connection a replica that waits for its snapshot.
    pub fn enlist(&self, replica: &Replica, now_ms: u64) {
        replica.client.kind.store(ClientType::Replica as u8, Ordering::Release);
        replica.heard_ms.store(now_ms, Ordering::Release);
        replica.enter(Phase::Waiting);
    }
}

/// How the log names a replica.
pub fn replica_name(replica: &Replica) -> String {
    let (ip, port) = replica.address();
    if port == 0 { format!("client id #{}", replica.client.id) } else { format!("{ip}:{port}") }
}

/// What a transfer and a replica share.
pub type Shared = Arc<Transfer>;
