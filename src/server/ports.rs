//! Where does the server listen? On its addresses with and without TLS, and on its unix socket; CONFIG SET moves it.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::config::Config;
use crate::dispatch::core::Core;
use crate::net::listener::{self, Spread, TlsAcceptor};
use crate::net::tls;

/// Turns true when clients may come in.
pub type Gate = tokio::sync::watch::Receiver<bool>;

/// What accepted clients are handed to.
struct Hall {
    core: Weak<Core>,
    spread: Spread,
    gate: Gate,
    runtime: Handle,
}

/// A socket that is listened on. The task that accepts has a copy of it; shutting it down ends the listening at once.
struct Door {
    socket: socket2::Socket,
    task: tokio::task::AbortHandle,
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        self.task.abort();
    }
}

/// The sockets of the TCP port and of the TLS port. Empty until the server opens them.
#[derive(Default)]
pub struct Ports {
    hall: Mutex<Option<Hall>>,
    doors: Mutex<[Vec<Door>; 2]>,
}

impl Ports {
    /// Opens everything that the settings name; clients are accepted once the gate opens. Call it on the runtime that
    /// is to accept them.
    ///
    /// # Errors
    /// When an address that must be there cannot be bound, or TLS cannot be set up.
    pub fn open(&self, core: &Arc<Core>, spread: &Spread, gate: &Gate) -> io::Result<()> {
        let config = core.config.load();
        let (spread, gate, runtime) = (spread.clone(), gate.clone(), Handle::current());
        if !config.unixsocket.is_empty() {
            let path = config.unixsocket.to_string();
            let mode = (config.unixsocketperm != 0).then_some(config.unixsocketperm);
            let socket = listener::bind_unix(&path, mode, config.tcp_backlog)?;
            let accept = listener::accept_unix(core.clone(), socket, path, spread.clone());
            tokio::spawn(behind(gate.clone(), accept));
        }
        *self.hall.lock() = Some(Hall { core: Arc::downgrade(core), spread, gate, runtime });
        for (secure, doors) in self.doors.lock().iter_mut().enumerate() {
            *doors = self.bind(&config, secure == 1)?;
        }
        Ok(())
    }

    /// Listens where the new settings say, and no longer where the old ones said.
    ///
    /// # Errors
    /// When an address cannot be bound; it is the old ones that are listened on then.
    pub fn change(&self, old: &Config, new: &Config) -> io::Result<()> {
        let mut doors = self.doors.lock();
        for (secure, doors) in doors.iter_mut().enumerate() {
            let secure = secure == 1;
            let port = |config: &Config| if secure { config.tls_port } else { config.port };
            if port(old) == port(new) && old.bind == new.bind {
                continue;
            }
            // The same port can be bound again only when it is free.
            if port(old) == port(new) {
                doors.clear();
            }
            match self.bind(new, secure) {
                Ok(bound) => *doors = bound,
                Err(error) => {
                    if doors.is_empty() {
                        *doors = self.bind(old, secure).unwrap_or_default();
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Listens nowhere any more: who has seen the end of a connection finds nobody to connect to. (As the process ends
    /// the system closes its sockets in no particular order.)
    pub fn close(&self) {
        *self.doors.lock() = Default::default();
    }

    /// Reads the certificates again, for the clients that come from now on.
    ///
    /// # Errors
    /// When they make no sense.
    pub fn renew_tls(&self, config: &Config) -> io::Result<()> {
        tls::acceptor(config)?;
        let doors = &mut self.doors.lock()[1];
        doors.clear();
        *doors = self.bind(config, true)?;
        Ok(())
    }

    /// The addresses of `bind`: `*` stands for all of IPv4, `::*` of IPv6; one with `-` in front may be missing here.
    fn bind(&self, config: &Config, secure: bool) -> io::Result<Vec<Door>> {
        let (port, what) = if secure { (config.tls_port, "tls") } else { (config.port, "tcp") };
        let hall = self.hall.lock();
        let (Some(hall), true) = (&*hall, port > 0) else { return Ok(Vec::new()) };
        let acceptor = if secure { Some(tls::acceptor(config)?) } else { None };
        let mut doors = Vec::new();
        for address in &config.bind.0 {
            let bare = address.trim_start_matches('-');
            let bound = resolve(bare)
                .and_then(|ip| listener::bind_tcp(SocketAddr::new(ip, port), config.tcp_backlog));
            match bound {
                Ok(socket) => doors.extend(hall.admit(socket, acceptor.clone())?),
                Err(_) if address.starts_with('-') => {}
                Err(error) => {
                    tracing::warn!(
                        "Warning: Could not create server TCP listening socket {bare}:{port}: {error}"
                    );
                    tracing::warn!("Failed listening on port {port} ({what}), aborting.");
                    return Err(error);
                }
            }
        }
        Ok(doors)
    }
}

impl Hall {
    /// Accepts clients from a socket; `None` when the server is going down.
    fn admit(&self, socket: TcpListener, tls: Option<TlsAcceptor>) -> io::Result<Option<Door>> {
        let Some(core) = self.core.upgrade() else { return Ok(None) };
        let copy = socket2::Socket::from(socket.try_clone()?);
        let (spread, gate) = (self.spread.clone(), self.gate.clone());
        let task = self.runtime.spawn(async move {
            match tokio::net::TcpListener::from_std(socket) {
                Ok(socket) => behind(gate, listener::accept_tcp(core, socket, tls, spread)).await,
                Err(error) => tracing::warn!("A listening socket cannot be used: {error}"),
            }
        });
        Ok(Some(Door { socket: copy, task: task.abort_handle() }))
    }
}

/// Waits for the gate; a server that ends before it opens accepts nobody.
async fn behind(mut gate: Gate, accept: impl Future<Output = ()>) {
    if gate.wait_for(|open| *open).await.is_ok() {
        accept.await;
    }
}

fn resolve(name: &str) -> io::Result<IpAddr> {
    use std::net::ToSocketAddrs;
    match name {
        "*" => Ok(IpAddr::from([0, 0, 0, 0])),
        "::*" => Ok(IpAddr::from([0u16; 8])),
        _ => match name.parse() {
            Ok(ip) => Ok(ip),
            Err(_) => (name, 0)
                .to_socket_addrs()?
                .next()
                .map(|a| a.ip())
                .ok_or_else(|| io::Error::other(format!("'{name}' has no address"))),
        },
    }
}
