//! Where do connections come from? TCP ports, a unix socket, and the same with TLS, spread over the I/O threads.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::mpsc::UnboundedSender;

use crate::client::registry::{self, Client, Place};
use crate::dispatch::core::Core;
use crate::net::stream::Stream;
use crate::net::thread::Thread;

/// A connection on its way from the listener to its thread.
#[derive(Debug)]
pub enum Accepted {
    /// TCP, with TLS to be negotiated when an acceptor is given.
    Tcp(std::net::TcpStream, Option<TlsAcceptor>, Place),
    /// A unix socket; the path is for CLIENT LIST.
    Unix(std::os::unix::net::UnixStream, String, Place),
}

/// A connection on its thread, and the place among the clients that is kept for it.
pub type Connected = (Stream, Arc<Client>, Place);

/// How long negotiating TLS may take: who never gets to its end keeps a place from others.
const HANDSHAKE: std::time::Duration = std::time::Duration::from_secs(10);

/// Negotiates TLS.
#[derive(Clone)]
pub struct TlsAcceptor(pub tokio_rustls::TlsAcceptor);

impl std::fmt::Debug for TlsAcceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsAcceptor")
    }
}

impl Accepted {
    /// The connection on its thread's runtime. `None` when it is gone already or TLS failed.
    pub async fn into_stream(self, thread: &Thread) -> Option<Connected> {
        match self.at_once(thread) {
            Ok(connected) => connected,
            Err((socket, acceptor, place)) => {
                let (stream, client) = tcp(socket, thread)?;
                let stream = tokio::time::timeout(HANDSHAKE, acceptor.0.accept(stream)).await.ok()?.ok()?;
                Some((Stream::Tls(Box::new(stream)), client, place))
            }
        }
    }

    /// The same without waiting.
    ///
    /// # Errors
    /// What has to agree on TLS first.
    pub fn at_once(self, thread: &Thread) -> Result<Option<Connected>, NeedsTls> {
        match self {
            Accepted::Tcp(socket, Some(acceptor), place) => Err((socket, acceptor, place)),
            Accepted::Tcp(socket, None, place) => {
                Ok(tcp(socket, thread).map(|(stream, client)| (Stream::Tcp(stream), client, place)))
            }
            Accepted::Unix(socket, path, place) => {
                Ok(unix(socket, &path, thread).map(|(stream, client)| (stream, client, place)))
            }
        }
    }
}

/// A connection that begins with a handshake.
pub type NeedsTls = (std::net::TcpStream, TlsAcceptor, Place);

fn tcp(socket: std::net::TcpStream, thread: &Thread) -> Option<(TcpStream, Arc<Client>)> {
    let addr = socket.peer_addr().ok()?.to_string();
    let laddr = socket.local_addr().ok()?.to_string();
    let client = client(thread, addr, laddr, socket.as_raw_fd());
    Some((TcpStream::from_std(socket).ok()?, Arc::new(client)))
}

fn unix(
    socket: std::os::unix::net::UnixStream,
    path: &str,
    thread: &Thread,
) -> Option<(Stream, Arc<Client>)> {
    let name = format!("{path}:0");
    let client = client(thread, name.clone(), name, socket.as_raw_fd());
    client.set(registry::UNIX_SOCKET, true);
    Some((Stream::Unix(UnixStream::from_std(socket).ok()?), Arc::new(client)))
}

fn client(thread: &Thread, addr: String, laddr: String, fd: i32) -> Client {
    let now = thread.core.clock.monotonic_us() / 1000;
    Client::new(thread.core.clients.next_id(), thread.id, addr, laddr, fd, now)
}

/// Hands accepted connections to the threads in turn.
#[derive(Debug, Clone)]
pub struct Spread {
    threads: Arc<[UnboundedSender<Accepted>]>,
    next: Arc<AtomicUsize>,
}

impl Spread {
    /// Spreads over these threads.
    pub fn new(threads: Vec<UnboundedSender<Accepted>>) -> Self {
        Spread { threads: threads.into(), next: Arc::default() }
    }

    fn give(&self, accepted: Accepted) {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.threads.len();
        // A thread that has ended serves nobody: the server is stopping.
        let _ = self.threads[turn].send(accepted);
    }
}

/// Refuses a connection with a reason, as far as its socket takes it at once.
fn refuse(socket: impl io::Write, why: &str) {
    let mut socket = socket;
    let _ = socket.write(why.as_bytes());
}

/// A place for a connection, or why it is not welcome.
fn admit(core: &Core, peer_is_local: bool) -> Result<Place, &'static str> {
    let config = core.config.load();
    let Some(place) = core.clients.admit(config.maxclients as usize) else {
        core.stats.rejected_connections.fetch_add(1, Ordering::Relaxed);
        return Err("-ERR max number of clients reached\r\n");
    };
    if config.protected_mode && !peer_is_local && default_needs_no_password(core) {
        return Err(PROTECTED);
    }
    Ok(place)
}

fn default_needs_no_password(core: &Core) -> bool {
    core.acl.first_login().user.needs_no_password()
}

/// What a stranger reads while the server is protected.
const PROTECTED: &str = "-DENIED Peregrine is running in protected mode because protected mode is enabled and no \
password is set for the default user. In this mode connections are only accepted from the loopback interface. \
To connect from elsewhere, set a password (requirepass) or turn protected-mode off.\r\n";

/// Accepts TCP connections for as long as the server runs.
pub async fn accept_tcp(core: Arc<Core>, listener: TcpListener, tls: Option<TlsAcceptor>, spread: Spread) {
    loop {
        let (socket, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                pause_after(&error).await;
                continue;
            }
        };
        core.stats.connections.fetch_add(1, Ordering::Relaxed);
        let Ok(socket) = socket.into_std() else { continue };
        let place = match admit(&core, peer.ip().to_canonical().is_loopback()) {
            Ok(place) => place,
            Err(why) => {
                refuse(&socket, why);
                continue;
            }
        };
        let _ = socket.set_nodelay(true);
        let keepalive = core.config.load().tcp_keepalive;
        if keepalive > 0 {
            let time = std::time::Duration::from_secs(keepalive.into());
            let options = socket2::TcpKeepalive::new()
                .with_time(time)
                .with_interval((time / 3).max(std::time::Duration::from_secs(1)));
            let _ = socket2::SockRef::from(&socket).set_tcp_keepalive(&options);
        }
        spread.give(Accepted::Tcp(socket, tls.clone(), place));
    }
}

/// Accepts connections on a unix socket for as long as the server runs.
pub async fn accept_unix(core: Arc<Core>, listener: UnixListener, path: String, spread: Spread) {
    loop {
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) => {
                pause_after(&error).await;
                continue;
            }
        };
        core.stats.connections.fetch_add(1, Ordering::Relaxed);
        let Ok(socket) = socket.into_std() else { continue };
        match admit(&core, true) {
            Err(why) => refuse(&socket, why),
            Ok(place) => spread.give(Accepted::Unix(socket, path.clone(), place)),
        }
    }
}

/// One connection that failed is no reason to stop; having no descriptor left is a reason to wait.
async fn pause_after(error: &io::Error) {
    tracing::warn!("Accepting client connection: {error}");
    let exhausted = matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM));
    tokio::time::sleep(std::time::Duration::from_millis(if exhausted { 50 } else { 1 })).await;
}

/// Opens a TCP port. The socket is made by hand for its backlog and for IPv6-only addresses.
///
/// # Errors
/// When the address is taken or not ours.
pub fn bind_tcp(address: std::net::SocketAddr, backlog: i32) -> io::Result<std::net::TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

/// Opens a unix socket whose permissions hold from the first moment: it is bound under another name, given its
/// permissions, and only then listened on.
///
/// # Errors
/// When the path cannot be written.
pub fn bind_unix(path: &str, mode: Option<u32>, backlog: i32) -> io::Result<UnixListener> {
    use socket2::{Domain, SockAddr, Socket, Type};
    use std::os::unix::fs::PermissionsExt;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    if let Some(mode) = mode {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    socket.listen(backlog)?;
    UnixListener::from_std(socket.into())
}
