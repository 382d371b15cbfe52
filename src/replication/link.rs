//! How does a replica follow its primary? A thread of its own connects, introduces itself, takes the snapshot if it
//! must, and applies the stream, command by command, for as long as the server is a replica of that primary.
//!
//! ```text
//! CONNECT > CONNECTING > HANDSHAKE > SYNC (a snapshot comes) > CONNECTED
//!    ^------- after an error: a second later, or at once ----------'
//!                 if the link had held for a second
//! ```
//!
//! Invariants: `epoch` changes under all locks whenever the server's part changes, and whatever the thread applies or
//! appends it does only if the epoch is still its own. The stream's offset is counted under the locks under which the
//! command is applied, so that it says exactly what the data holds. The old data goes only after the snapshot has been
//! received and read to its end.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::client::Registry;
use crate::client::registry::{Client, ClientType, KILLED};
use crate::log::Id;
use crate::log::entry::encode_command;
use crate::replication::Site;
use crate::resp::request::{Limits, Parsed, Parser};

/// How long a read waits before the thread looks around.
const BEAT: Duration = Duration::from_millis(50);
/// Milliseconds between two tries, and between two acknowledgements.
const SECOND: u64 = 1000;
/// Longest line of a primary.
const LINE_MAX: usize = 4096;

/// Where the link stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// It is to be made.
    #[default]
    Connect,
    /// The connection is being made.
    Connecting,
    /// The servers introduce themselves.
    Handshake,
    /// A snapshot comes.
    Sync,
    /// The stream comes.
    Connected,
}

impl State {
    /// The name that ROLE shows.
    pub fn name(self) -> &'static str {
        match self {
            State::Connect => "connect",
            State::Connecting => "connecting",
            State::Handshake => "handshake",
            State::Sync => "sync",
            State::Connected => "connected",
        }
    }
}

/// What INFO tells of the link; times are monotonic milliseconds.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// Host and port of the primary.
    pub primary: Option<(String, u16)>,
    /// Where the link stands.
    pub state: State,
    /// When the primary was last heard of, if it has been.
    pub heard_ms: Option<u64>,
    /// Bytes of the snapshot that comes: all (-1 when that is not known), and those received.
    pub snapshot: (i64, u64),
    /// Bytes of the stream that have been received and not applied.
    pub unapplied: u64,
    /// Since when the link has been up, or down.
    pub since_ms: u64,
    /// Tries since the link was last up, and since the server started.
    pub tries: [u64; 2],
    /// Milliseconds that links have been down, but for the present one.
    pub down_ms: u64,
}

/// A database and a key.
pub type OwnKey = (usize, Box<[u8]>);

/// The link of a replica to its primary.
#[derive(Default)]
pub struct Link {
    replica: AtomicBool,
    up: AtomicBool,
    epoch: AtomicU64,
    status: Mutex<Status>,
    /// Keys with an expiry that clients of a writable replica have written: nobody else removes them.
    own: Mutex<BTreeSet<OwnKey>>,
    changed: Condvar,
    /// The connection, to be cut by others.
    socket: Mutex<Option<TcpStream>>,
}

impl Link {
    /// True when the server is a replica.
    pub fn is_replica(&self) -> bool {
        self.replica.load(Ordering::Relaxed)
    }

    /// True when the stream comes in.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// True when the server's part has not changed since.
    pub fn is_current(&self, epoch: u64) -> bool {
        self.epoch.load(Ordering::Acquire) == epoch
    }

    /// Remembers a key that a client of this replica has given an expiry.
    pub fn remember(&self, db: usize, name: &[u8]) {
        self.own.lock().insert((db, name.into()));
    }

    /// How many such keys there are.
    pub fn remembered(&self) -> usize {
        self.own.lock().len()
    }

    /// Such keys, to be looked at now; those that are not due are to be remembered again.
    pub fn take_remembered(&self) -> BTreeSet<OwnKey> {
        std::mem::take(&mut *self.own.lock())
    }

    /// What INFO tells.
    pub fn status(&self) -> Status {
        self.status.lock().clone()
    }

    /// Cuts the connection at once, also when the thread is busy or waits for locks: the primary is not to count on this
    /// replica any more.
    pub fn cut(&self) {
        if let Some(socket) = &*self.socket.lock() {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Gives the server another primary, or makes it one. Call it under all locks. Returns the new epoch.
    pub fn aim(&self, primary: Option<(String, u16)>, now_ms: u64) -> u64 {
        let mut status = self.status.lock();
        let epoch = self.epoch.fetch_add(1, Ordering::AcqRel) + 1;
        self.up.store(false, Ordering::Release);
        self.replica.store(primary.is_some(), Ordering::Release);
        self.own.lock().clear();
        self.cut();
        *status = Status { primary, since_ms: now_ms, ..Status::default() };
        self.changed.notify_all();
        epoch
    }

    /// Waits until there is a primary to connect to.
    fn wait(&self) -> (String, u16, u64) {
        let mut status = self.status.lock();
        loop {
            if let Some((host, port)) = &status.primary {
                return (host.clone(), *port, self.epoch.load(Ordering::Acquire));
            }
            self.changed.wait(&mut status);
        }
    }

    /// Waits a second, or until the server's part changes.
    fn rest(&self, epoch: u64) {
        let mut status = self.status.lock();
        if self.is_current(epoch) {
            self.changed.wait_for(&mut status, Duration::from_millis(SECOND));
        }
    }

    fn note(&self, epoch: u64, change: impl FnOnce(&mut Status)) {
        let mut status = self.status.lock();
        if self.is_current(epoch) {
            change(&mut status);
            self.up.store(status.state == State::Connected, Ordering::Release);
        }
    }
}

/// What the thread has the server do.
pub trait Follow {
    /// Applies a command, of which `raw` are the bytes, and counts them.
    ///
    /// # Errors
    /// When the server's part has changed.
    fn apply(&mut self, argv: &[&[u8]], raw: &[u8], epoch: u64) -> io::Result<()>;

    /// True while nothing is to be applied (CLIENT PAUSE).
    fn is_paused(&self) -> bool;

    /// Puts a snapshot in the place of the data.
    ///
    /// # Errors
    /// When it is no whole snapshot, or the server's part has changed.
    fn load(&mut self, path: &Path, id: Id, offset: u64, epoch: u64) -> io::Result<()>;

    /// The stream goes on where this database is selected.
    fn select(&mut self, db: usize);

    /// The connection is gone: a transaction that came in part will come again.
    fn forget_transaction(&mut self);
}

/// The thread.
pub fn run(site: Site<'_>, clients: &Registry, follow: &mut dyn Follow) -> ! {
    let link = &site.replication.link;
    loop {
        let (host, port, epoch) = link.wait();
        let result = follow_once(site, clients, follow, &host, port, epoch);
        let now = site.world.clock.monotonic_us() / 1000;
        if let Err(error) = result
            && link.is_current(epoch)
        {
            tracing::warn!("Connection with master {host}:{port} lost or not made: {error}");
        }
        follow.forget_transaction();
        // Who goes on at once finds in the backlog what he missed. A link that did not hold is not worth the hurry.
        let mut held = false;
        link.note(epoch, |status| {
            if status.state == State::Connected {
                held = now.saturating_sub(status.since_ms) >= SECOND;
                status.since_ms = now;
                status.tries[0] = 0;
            }
            status.state = State::Connect;
            status.heard_ms = None;
        });
        if !held {
            link.rest(epoch);
        }
    }
}

/// One connection, from its beginning to its end.
fn follow_once(
    site: Site<'_>,
    clients: &Registry,
    follow: &mut dyn Follow,
    host: &str,
    port: u16,
    epoch: u64,
) -> io::Result<()> {
    let link = &site.replication.link;
    // A server that stands still (DEBUG SLEEP, a long script) does not reconnect meanwhile.
    drop(site.world.keyspace.lock_one(0));
    link.note(epoch, |status| {
        status.state = State::Connecting;
        status.tries.iter_mut().for_each(|n| *n += 1);
    });
    tracing::info!("Connecting to MASTER {host}:{port}");
    let mut wire = Wire::connect(site, host, port, epoch)?;
    *link.socket.lock() = Some(wire.socket.try_clone()?);
    let client = wire.register(clients);
    let result = talk(&mut wire, follow);
    *link.socket.lock() = None;
    clients.remove(client.id);
    result
}

fn talk(wire: &mut Wire<'_>, follow: &mut dyn Follow) -> io::Result<()> {
    let (site, epoch) = (wire.site, wire.epoch);
    let link = &site.replication.link;
    link.note(epoch, |status| status.state = State::Handshake);
    wire.introduce()?;
    if let Some((id, offset)) = wire.ask_stream()? {
        link.note(epoch, |status| status.state = State::Sync);
        let path = wire.receive_snapshot()?;
        let loaded = follow.load(&path, id, offset, epoch);
        let _ = site.world.persist.disk.remove(&path);
        loaded?;
        tracing::info!("MASTER <-> REPLICA sync: Finished with success");
    } else if let Some(db) = site.world.log.mark().db {
        follow.select(db);
    }
    link.note(epoch, |status| {
        let now = wire.now();
        status.down_ms += now.saturating_sub(status.since_ms);
        status.since_ms = now;
        status.heard_ms = Some(now);
        status.state = State::Connected;
    });
    wire.stream(follow)
}

/// The connection to the primary.
struct Wire<'s> {
    site: Site<'s>,
    epoch: u64,
    socket: TcpStream,
    client: Option<Arc<Client>>,
    buf: Vec<u8>,
    heard_ms: u64,
    /// Log and stream offsets that belong together, for what is on disk here.
    samples: std::collections::VecDeque<crate::log::Ends>,
}

/// Connects to an address, from `source` if it is not empty.
fn dial(address: SocketAddr, source: &str, patience: Duration) -> io::Result<TcpStream> {
    use socket2::{Domain, Protocol, Socket, Type};
    if source.is_empty() {
        return TcpStream::connect_timeout(&address, patience);
    }
    let mut from = (source, 0).to_socket_addrs()?;
    let from = from.find(|from| from.is_ipv4() == address.is_ipv4());
    let from = from.ok_or_else(|| io::Error::other(format!("bind-source-addr '{source}' has no address")))?;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&from.into())?;
    socket.connect_timeout(&address.into(), patience)?;
    Ok(socket.into())
}

fn refused(what: &str, reply: &str) -> io::Error {
    io::Error::other(format!("{what} from MASTER: {reply}"))
}

impl<'s> Wire<'s> {
    fn connect(site: Site<'s>, host: &str, port: u16, epoch: u64) -> io::Result<Self> {
        let patience = Duration::from_secs(site.world.config.load().repl_timeout.into());
        let mut last = io::Error::other("the name has no address");
        for address in (host, port).to_socket_addrs()? {
            match dial(address, &site.world.config.load().bind_source_addr, patience) {
                Ok(socket) => {
                    socket.set_nodelay(true)?;
                    socket.set_read_timeout(Some(BEAT))?;
                    socket.set_write_timeout(Some(patience))?;
                    let heard_ms = site.world.clock.monotonic_us() / 1000;
                    let samples = Default::default();
                    return Ok(Wire {
                        site,
                        epoch,
                        socket,
                        client: None,
                        buf: Vec::new(),
                        heard_ms,
                        samples,
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn now(&self) -> u64 {
        self.site.world.clock.monotonic_us() / 1000
    }

    /// Shows the connection among the clients, as that of the primary.
    fn register(&mut self, clients: &Registry) -> Arc<Client> {
        let name = |addr: io::Result<std::net::SocketAddr>| addr.map(|a| a.to_string()).unwrap_or_default();
        let (peer, own) = (name(self.socket.peer_addr()), name(self.socket.local_addr()));
        let fd = std::os::fd::AsRawFd::as_raw_fd(&self.socket);
        let client = Arc::new(Client::new(clients.next_id(), 0, peer, own, fd, self.now()));
        client.kind.store(ClientType::Master as u8, Ordering::Release);
        clients.add(client.clone());
        self.client = Some(client.clone());
        client
    }

    /// Reads some more. False when nothing came for a moment.
    fn fill(&mut self) -> io::Result<bool> {
        let killed = self.client.as_ref().is_some_and(|client| client.has(KILLED));
        if killed || !self.site.replication.link.is_current(self.epoch) {
            return Err(io::Error::other("closed"));
        }
        let mut chunk = [0; 64 * 1024];
        match self.socket.read(&mut chunk) {
            Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the primary closed the connection")),
            Ok(n) => {
                self.buf.extend_from_slice(chunk.get(..n).unwrap_or_default());
                self.heard_ms = self.now();
                if let Some(client) = &self.client {
                    client.traffic[0].fetch_add(n as u64, Ordering::Relaxed);
                    client.last_ms.store(self.heard_ms, Ordering::Relaxed);
                }
                let heard = self.heard_ms;
                self.site.replication.link.note(self.epoch, |status| status.heard_ms = Some(heard));
                Ok(true)
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
                ) =>
            {
                let patience = u64::from(self.site.world.config.load().repl_timeout) * 1000;
                if self.now().saturating_sub(self.heard_ms) > patience {
                    tracing::warn!("Timeout connecting to the MASTER, or no data from it...");
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "no data nor PING received"));
                }
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn send<T: AsRef<[u8]>>(&mut self, argv: &[T]) -> io::Result<()> {
        let bytes = encode_command(argv);
        if let Some(client) = &self.client {
            client.traffic[1].fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        self.socket.write_all(&bytes)
    }

    /// The next line that is not empty: empty ones only say that the primary is alive.
    fn line(&mut self) -> io::Result<String> {
        loop {
            while let Some(end) = self.buf.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buf.drain(..=end).collect();
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                if !text.is_empty() {
                    return Ok(text);
                }
            }
            if self.buf.len() > LINE_MAX {
                return Err(io::Error::other("a line without end"));
            }
            self.fill()?;
        }
    }

    fn ask<T: AsRef<[u8]>>(&mut self, argv: &[T]) -> io::Result<String> {
        self.send(argv)?;
        self.line()
    }

    /// PING, AUTH and REPLCONF.
    fn introduce(&mut self) -> io::Result<()> {
        let config = self.site.world.config.load();
        let pong = self.ask(&["PING"])?;
        let tolerable = ["+", "-NOAUTH", "-NOPERM", "-ERR operation not permitted"];
        if !tolerable.iter().any(|start| pong.starts_with(start)) {
            return Err(refused("Error reply to PING", &pong));
        }
        let password = &*config.masterauth;
        if !password.is_empty() {
            let user: &[u8] = config.masteruser.as_bytes();
            let reply = match user {
                [] => self.ask(&[&b"AUTH"[..], password])?,
                user => self.ask(&[&b"AUTH"[..], user, password])?,
            };
            if reply.starts_with('-') {
                return Err(io::Error::other(format!("Unable to AUTH to MASTER: {reply}")));
            }
        }
        let port = match config.replica_announce_port {
            0 => config.port,
            port => port,
        };
        let port = port.to_string();
        let mut greetings: Vec<Vec<&[u8]>> = vec![vec![b"REPLCONF", b"listening-port", port.as_bytes()]];
        if !config.replica_announce_ip.is_empty() {
            greetings.push(vec![b"REPLCONF", b"ip-address", config.replica_announce_ip.as_bytes()]);
        }
        greetings.push(vec![b"REPLCONF", b"capa", b"eof", b"capa", b"psync2"]);
        for greeting in greetings {
            let reply = self.ask(&greeting)?;
            if reply.starts_with('-') {
                let shown = String::from_utf8_lossy(greeting.get(1).copied().unwrap_or_default());
                tracing::info!("(Non critical) Master does not understand REPLCONF {shown}: {reply}");
            }
        }
        Ok(())
    }

    /// Asks for the stream. `None` when it goes on where it was; otherwise a snapshot comes, after which the stream
    /// of a history begins at an offset.
    fn ask_stream(&mut self) -> io::Result<Option<(Id, u64)>> {
        let log = self.site.world.log;
        let mark = log.mark();
        let next = (mark.offset + 1).to_string();
        let reply = if log.is_streaming() {
            let id = String::from_utf8_lossy(&mark.id).into_owned();
            tracing::info!("Trying a partial resynchronization (request {id}:{next}).");
            self.ask(&["PSYNC", &id, &next])?
        } else {
            tracing::info!("Partial resynchronization not possible (no cached master)");
            self.ask(&["PSYNC", "?", "-1"])?
        };
        let words: Vec<&str> = reply.split_ascii_whitespace().collect();
        let id = |text: &str| Id::try_from(text.as_bytes()).map_err(|_| refused("A bad reply", &reply));
        match words.as_slice() {
            ["+CONTINUE", rest @ ..] => {
                tracing::info!("Successful partial resynchronization with master.");
                let id = rest.first().map(|text| id(text)).transpose()?;
                if id.is_some_and(|id| id != mark.id) {
                    // Our own replicas have to learn the history's new name.
                    self.site.replication.disconnect();
                }
                log.continue_as(id.unwrap_or(mark.id), self.site.world.config.load().repl_backlog_size);
                Ok(None)
            }
            ["+FULLRESYNC", name, offset] => {
                tracing::info!("Full resync from master: {name}:{offset}");
                let offset = offset.parse().map_err(|_| refused("A bad reply", &reply))?;
                Ok(Some((id(name)?, offset)))
            }
            _ => Err(refused("Unexpected reply to PSYNC", &reply)),
        }
    }

    /// Receives the snapshot into a file.
    fn receive_snapshot(&mut self) -> io::Result<PathBuf> {
        let head = self.line()?;
        let Some(length) = head.strip_prefix('$') else { return Err(refused("Bad protocol", &head)) };
        let config = self.site.world.config.load();
        let path = config.dir.join(&format!("temp-sync-{}-{}.rdb", std::process::id(), self.epoch));
        let file = self.site.world.persist.disk.create(&path)?;
        let mut received = 0;
        let total = match length.strip_prefix("EOF:") {
            Some(mark) => {
                tracing::info!(
                    "MASTER <-> REPLICA sync: receiving streamed RDB from master with EOF to disk"
                );
                self.copy_until(mark.as_bytes(), &mut |bytes| {
                    received += bytes.len() as u64;
                    file.write(bytes)
                })
            }
            None => {
                let length: u64 = length.parse().map_err(|_| refused("A bad length", &head))?;
                tracing::info!("MASTER <-> REPLICA sync: receiving {length} bytes from master to disk");
                self.site.replication.link.note(self.epoch, |s| s.snapshot.0 = length as i64);
                self.copy(length, &mut |bytes| {
                    received += bytes.len() as u64;
                    file.write(bytes)
                })
            }
        };
        if let Err(error) = total {
            let _ = self.site.world.persist.disk.remove(&path);
            return Err(error);
        }
        Ok(path)
    }

    fn progress(&self, bytes: usize) {
        self.site.replication.link.note(self.epoch, |status| status.snapshot.1 += bytes as u64);
    }

    /// Passes on so many bytes.
    fn copy(&mut self, length: u64, write: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut left = length;
        while left > 0 {
            if self.buf.is_empty() && !self.fill()? {
                continue;
            }
            let n = self.buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            write(self.buf.get(..n).unwrap_or_default())?;
            self.buf.drain(..n);
            self.progress(n);
            left -= n as u64;
        }
        Ok(())
    }

    /// Passes on what comes in front of a mark of forty bytes, behind which nothing comes before it is answered.
    fn copy_until(&mut self, mark: &[u8], write: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        if mark.len() != 40 {
            return Err(io::Error::other("a bad end mark"));
        }
        loop {
            if self.buf.ends_with(mark) {
                let n = self.buf.len() - mark.len();
                write(self.buf.get(..n).unwrap_or_default())?;
                self.buf.clear();
                return Ok(());
            }
            // The mark may have come in part.
            let n = self.buf.len().saturating_sub(mark.len());
            write(self.buf.get(..n).unwrap_or_default())?;
            self.buf.drain(..n);
            self.progress(n);
            self.fill()?;
        }
    }

    /// Applies the stream until the connection ends.
    fn stream(&mut self, follow: &mut dyn Follow) -> io::Result<()> {
        let mut parser = Parser::new();
        let mut last_ack = 0;
        loop {
            if !follow.is_paused() {
                let buf = std::mem::take(&mut self.buf);
                let used = self.apply(&mut parser, &buf, follow)?;
                self.buf = buf;
                self.buf.drain(..used);
            }
            let unapplied = self.buf.len() as u64;
            self.site.replication.link.note(self.epoch, |status| status.unapplied = unapplied);
            if self.now().saturating_sub(last_ack) >= SECOND {
                last_ack = self.now();
                self.acknowledge()?;
            }
            self.fill()?;
        }
    }

    /// Applies the whole commands at the start of `buf`; returns how many bytes they are.
    fn apply(&mut self, parser: &mut Parser, buf: &[u8], follow: &mut dyn Follow) -> io::Result<usize> {
        let limits = Limits { max_bulk: i64::MAX, authenticated: true };
        let mut used = 0;
        loop {
            let rest = buf.get(used..).unwrap_or_default();
            let len = match parser.next(rest, limits) {
                Parsed::Request { len } => {
                    let argv: Vec<&[u8]> =
                        parser.args().iter().filter_map(|range| rest.get(range.clone())).collect();
                    self.one(&argv, rest.get(..len).unwrap_or_default(), follow)?;
                    len
                }
                Parsed::Inline { words, len } => {
                    let argv: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
                    self.one(&argv, rest.get(..len).unwrap_or_default(), follow)?;
                    len
                }
                Parsed::Incomplete => return Ok(used),
                Parsed::Broken(why) => {
                    return Err(io::Error::other(format!("the stream cannot be understood: {why}")));
                }
            };
            used += len;
        }
    }

    fn one(&mut self, argv: &[&[u8]], raw: &[u8], follow: &mut dyn Follow) -> io::Result<()> {
        let is = |i: usize, word: &[u8]| argv.get(i).is_some_and(|arg| arg.eq_ignore_ascii_case(word));
        if is(0, b"REPLCONF") && is(1, b"GETACK") {
            self.acknowledge()?;
        }
        follow.apply(argv, raw, self.epoch)
    }

    /// Tells the primary how far the data goes, and how far what is on disk.
    fn acknowledge(&mut self) -> io::Result<()> {
        let world = self.site.world;
        let offset = world.log.mark().offset.to_string();
        let mut argv = vec!["REPLCONF".to_owned(), "ACK".to_owned(), offset];
        if world.persist.aof.state() == crate::persist::aof::State::On {
            self.samples.push_back(world.log.ends());
            let durable = world.persist.aof.durable();
            while self.samples.get(1).is_some_and(|next| next.log <= durable) || self.samples.len() > 4096 {
                self.samples.pop_front();
            }
            if let Some(reached) = self.samples.front().filter(|ends| ends.log <= durable) {
                argv.extend(["FACK".to_owned(), reached.stream.to_string()]);
            }
        }
        self.send(&argv)
    }
}
