//! Which clients are connected? What other threads may know of a client, and the list of all of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::acl::{DEFAULT, User};
use crate::client::mailbox::Mailbox;
use crate::client::memory::Held;
use crate::client::message::Message;
use crate::client::monitor::Monitors;
use crate::client::pause::{Holder, Pause};
use crate::client::tracking::Tracking;

/// Texts that a client set or that rarely change.
#[derive(Debug, Default, Clone)]
pub struct Labels {
    /// CLIENT SETNAME.
    pub name: Box<[u8]>,
    /// CLIENT SETINFO LIB-NAME.
    pub lib_name: Box<[u8]>,
    /// CLIENT SETINFO LIB-VER.
    pub lib_ver: Box<[u8]>,
    /// The user it logged in as, as it was then; `None` is the default user.
    pub user: Option<Arc<User>>,
}

/// The kind of a client, for limits and CLIENT KILL TYPE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ClientType {
    /// Anything else.
    Normal = 0,
    /// A replica.
    Replica = 1,
    /// Subscribed to something.
    PubSub = 2,
    /// Our primary.
    Master = 3,
}

macro_rules! state_bits {
    ($($(#[$doc:meta])* $name:ident = $bit:literal;)*) => {
        $($(#[$doc])* pub const $name: u32 = 1 << $bit;)*
    };
}

state_bits! {
    /// In a transaction.
    IN_MULTI = 0;
    /// Waiting in a blocking command.
    BLOCKED = 1;
    /// Watching MONITOR.
    MONITOR = 2;
    /// To be closed after its replies have been sent.
    CLOSE_AFTER_REPLY = 3;
    /// Never evicted.
    NO_EVICT = 4;
    /// Does not touch access times.
    NO_TOUCH = 5;
    /// Tracking is on.
    TRACKING = 6;
    /// Tracking in broadcast mode.
    TRACKING_BCAST = 7;
    /// Invalidations go to another client that is gone.
    TRACKING_BROKEN = 8;
    /// Came through a unix socket.
    UNIX_SOCKET = 9;
    /// A watched key changed.
    DIRTY_CAS = 10;
    /// Read-only cluster client.
    READONLY_CLUSTER = 11;
    /// Speaks RESP3.
    RESP3 = 12;
    /// Must be closed now.
    KILLED = 13;
    /// Only keys read after CLIENT CACHING YES are tracked.
    TRACKING_OPTIN = 14;
    /// All keys but those read after CLIENT CACHING NO are.
    TRACKING_OPTOUT = 15;
    /// It is not told of its own changes.
    TRACKING_NOLOOP = 16;
    /// CLIENT CACHING was said for the next command.
    TRACKING_CACHING = 17;
}

/// Output up to this length is in a buffer that every client has, for Redis and in what clients are told.
pub const REPLY_BUFFER: usize = 16 * 1024;

/// What every thread may know about a client. Counters are written by its own thread only.
#[derive(Debug)]
pub struct Client {
    /// Unique and never used again.
    pub id: u64,
    /// The I/O thread that owns the connection.
    pub thread: usize,
    /// Remote address as `ip:port`, or `path:0` of a unix socket.
    pub addr: String,
    /// Local address.
    pub laddr: String,
    /// File descriptor, for CLIENT LIST.
    pub fd: i32,
    /// When it connected: monotonic milliseconds.
    pub since_ms: u64,
    /// A union of the state bits.
    pub state: AtomicU32,
    /// Last interaction, monotonic milliseconds.
    pub last_ms: AtomicU64,
    /// Selected database.
    pub db: AtomicUsize,
    /// Number of channel, pattern and shard channel subscriptions.
    pub subs: [AtomicUsize; 3],
    /// Queued commands of its transaction, -1 outside one.
    pub multi: AtomicI64,
    /// Watched keys.
    pub watching: AtomicUsize,
    /// Bytes of an incomplete request that have been parsed.
    pub arguments: AtomicUsize,
    /// Bytes in the query buffer, and free space in it.
    pub query: [AtomicUsize; 2],
    /// Bytes of queued transaction commands.
    pub multi_memory: AtomicUsize,
    /// Bytes waiting to be sent.
    pub output: AtomicUsize,
    /// Capacity of the reply buffer, and the most that it was.
    pub reply: [AtomicUsize; 2],
    /// Bytes that the connection holds in all.
    pub memory: AtomicUsize,
    /// Bytes received and sent, and commands run, since it connected.
    pub traffic: [AtomicU64; 3],
    /// Index of the last command in the command table, plus one.
    pub last_command: AtomicU32,
    /// A [`ClientType`].
    pub kind: AtomicU8,
    /// Receiver of its invalidations, 0 for itself.
    pub redirect: AtomicU64,
    /// Ticket of the blocking call under way, 0 for none.
    pub blocked: AtomicU64,
    /// CLIENT UNBLOCK asked: 1 as if by timeout, 2 with an error.
    pub unblock: AtomicU8,
    /// The stream's offset behind its last write.
    pub written: AtomicU64,
    /// The log's offset behind it.
    pub logged: AtomicU64,
    /// A watched key changed; shared with the watchers' lists.
    pub dirty_cas: Arc<AtomicBool>,
    /// Names.
    pub labels: Mutex<Labels>,
}

impl Client {
    /// A client as it connects.
    pub fn new(id: u64, thread: usize, addr: String, laddr: String, fd: i32, now_ms: u64) -> Self {
        Client {
            id,
            thread,
            addr,
            laddr,
            fd,
            since_ms: now_ms,
            state: AtomicU32::new(0),
            last_ms: AtomicU64::new(now_ms),
            db: AtomicUsize::new(0),
            subs: Default::default(),
            multi: AtomicI64::new(-1),
            watching: AtomicUsize::new(0),
            arguments: AtomicUsize::new(0),
            query: Default::default(),
            multi_memory: AtomicUsize::new(0),
            output: AtomicUsize::new(0),
            reply: Default::default(),
            memory: AtomicUsize::new(0),
            traffic: Default::default(),
            last_command: AtomicU32::new(0),
            kind: AtomicU8::new(0),
            redirect: AtomicU64::new(0),
            blocked: AtomicU64::new(0),
            unblock: AtomicU8::new(0),
            written: AtomicU64::new(0),
            logged: AtomicU64::new(0),
            dirty_cas: Arc::default(),
            labels: Mutex::default(),
        }
    }

    /// True when all of `bits` are set.
    pub fn has(&self, bits: u32) -> bool {
        self.state.load(Ordering::Relaxed) & bits == bits
    }

    /// Sets or clears state bits.
    pub fn set(&self, bits: u32, on: bool) {
        if on {
            self.state.fetch_or(bits, Ordering::AcqRel);
        } else {
            self.state.fetch_and(!bits, Ordering::AcqRel);
        }
    }

    /// Marks it as to be closed; false when somebody has done so already.
    pub fn kill(&self) -> bool {
        self.state.fetch_or(KILLED, Ordering::AcqRel) & KILLED == 0
    }

    /// True when it connects from this machine.
    pub fn is_local(&self) -> bool {
        let ip = self.addr.rsplit_once(':').map(|(ip, _)| ip.trim_matches(['[', ']']));
        let ip = ip.and_then(|ip| ip.parse::<std::net::IpAddr>().ok());
        self.has(UNIX_SOCKET) || ip.is_some_and(|ip| ip.to_canonical().is_loopback())
    }

    /// The name of its user.
    pub fn user_name(&self) -> Box<[u8]> {
        self.labels.lock().user.as_ref().map_or(DEFAULT.into(), |user| user.name.clone())
    }

    /// Its kind.
    pub fn kind(&self) -> ClientType {
        match self.kind.load(Ordering::Relaxed) {
            1 => ClientType::Replica,
            2 => ClientType::PubSub,
            3 => ClientType::Master,
            _ => ClientType::Normal,
        }
    }
}

/// All clients and the mailboxes of all threads.
#[derive(Debug)]
pub struct Registry {
    clients: RwLock<BTreeMap<u64, Arc<Client>>>,
    /// Connections that have been admitted and are not among the clients yet.
    coming: Arc<AtomicUsize>,
    next_id: AtomicU64,
    mailboxes: Arc<[Mailbox<Message>]>,
    /// Clients in blocking commands.
    pub blocked: AtomicUsize,
    /// Clients whose next command waits for the end of a pause.
    pub postponed: AtomicUsize,
    /// Clients that are MONITORs.
    pub monitors: Monitors,
    /// What commands wait for the end of.
    pub pause: Pause,
    /// Memory of clients.
    pub held: Held,
    /// Clients that cache what they read.
    pub tracking: Tracking,
}

/// A place among the clients, kept for one that comes.
#[derive(Debug)]
pub struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Registry {
    /// No clients yet.
    pub fn new(threads: usize) -> Self {
        Registry {
            clients: RwLock::default(),
            coming: Arc::default(),
            next_id: AtomicU64::new(1),
            mailboxes: (0..threads).map(|_| Mailbox::default()).collect(),
            blocked: AtomicUsize::new(0),
            postponed: AtomicUsize::new(0),
            monitors: Monitors::default(),
            pause: Pause::default(),
            held: Held::new(threads),
            tracking: Tracking::default(),
        }
    }

    /// An identifier for the next client.
    pub fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Enters a client.
    pub fn add(&self, client: Arc<Client>) {
        self.clients.write().insert(client.id, client);
    }

    /// Keeps a place for a connection that is on its way to its thread, or has to agree on TLS first; `None` when there
    /// are `most` clients already.
    pub fn admit(&self, most: usize) -> Option<Place> {
        let clients = self.clients.read();
        let coming = self.coming.fetch_add(1, Ordering::AcqRel);
        let place = Place(self.coming.clone());
        (clients.len() + coming < most).then_some(place)
    }

    /// Enters a client in the place that was kept for it.
    pub fn seat(&self, client: Arc<Client>, place: Place) {
        let mut clients = self.clients.write();
        clients.insert(client.id, client);
        // Under the lock: nobody counts it twice, nor not at all.
        drop(place);
    }

    /// Strikes a client off.
    pub fn remove(&self, id: u64) {
        self.clients.write().remove(&id);
    }

    /// The client with this id.
    pub fn get(&self, id: u64) -> Option<Arc<Client>> {
        self.clients.read().get(&id).cloned()
    }

    /// All clients, oldest first.
    pub fn all(&self) -> Vec<Arc<Client>> {
        self.clients.read().values().cloned().collect()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.clients.read().len()
    }

    /// The mailbox of a thread.
    pub fn mailbox(&self, thread: usize) -> &Mailbox<Message> {
        &self.mailboxes[thread]
    }

    /// The mailboxes of all threads, to keep.
    pub fn mailboxes(&self) -> &Arc<[Mailbox<Message>]> {
        &self.mailboxes
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.mailboxes.len()
    }

    /// Ends a holder's pause: commands that it held back are run.
    pub fn resume(&self, holder: Holder) {
        self.pause.end(holder);
        if self.postponed.load(Ordering::Acquire) > 0 {
            for client in self.all() {
                self.mailboxes[client.thread].post(Message::Look { to: client.id });
            }
        }
    }

    /// Leaves a message for a client, if it is still there.
    pub fn post(&self, message: Message) {
        let thread = self.clients.read().get(&message.to()).map(|c| c.thread);
        if let Some(thread) = thread {
            self.mailboxes[thread].post(message);
        }
    }
}
