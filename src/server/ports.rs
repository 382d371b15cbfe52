//! Where does the server listen? On its addresses with and without TLS, and on its unix socket.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::config::Config;
use crate::dispatch::core::Core;
use crate::net::listener::{self, Spread, TlsAcceptor};
use crate::net::tls;

/// Turns true when clients may come in.
pub type Gate = tokio::sync::watch::Receiver<bool>;

/// Opens everything that the settings name; clients are accepted once the gate opens.
///
/// # Errors
/// When an address that must be there cannot be bound, or TLS cannot be set up.
pub fn open(core: &Arc<Core>, spread: &Spread, gate: &Gate) -> io::Result<()> {
    let config = core.config.load();
    if config.port > 0 {
        bind_all(core, &config, config.port, None, spread, gate)?;
    }
    if config.tls_port > 0 {
        let acceptor = tls::acceptor(&config)?;
        bind_all(core, &config, config.tls_port, Some(&acceptor), spread, gate)?;
    }
    if !config.unixsocket.is_empty() {
        let path = config.unixsocket.to_string();
        let mode = (config.unixsocketperm != 0).then_some(config.unixsocketperm);
        let socket = listener::bind_unix(&path, mode, config.tcp_backlog)?;
        let accept = listener::accept_unix(core.clone(), socket, path, spread.clone());
        tokio::spawn(behind(gate.clone(), accept));
    }
    Ok(())
}

/// Waits for the gate; a server that ends before it opens accepts nobody.
async fn behind(mut gate: Gate, accept: impl Future<Output = ()>) {
    if gate.wait_for(|open| *open).await.is_ok() {
        accept.await;
    }
}

/// The addresses of `bind`: `*` stands for all of IPv4, `::*` of IPv6; one with `-` in front may be missing here.
fn bind_all(
    core: &Arc<Core>,
    config: &Config,
    port: u16,
    tls: Option<&TlsAcceptor>,
    spread: &Spread,
    gate: &Gate,
) -> io::Result<()> {
    let what = if tls.is_some() { "tls" } else { "tcp" };
    for address in &config.bind.0 {
        let address = address.to_string();
        let bare = address.trim_start_matches('-');
        let bound =
            resolve(bare).and_then(|ip| listener::bind_tcp(SocketAddr::new(ip, port), config.tcp_backlog));
        match bound {
            Ok(socket) => {
                let accept = listener::accept_tcp(core.clone(), socket, tls.cloned(), spread.clone());
                tokio::spawn(behind(gate.clone(), accept));
            }
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
    Ok(())
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
