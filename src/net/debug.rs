//! How does a connection leave its I/O thread for a debugger? Its socket is taken from the runtime and made a blocking
//! one; a thread is started for it. Nothing of it stays behind.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio_rustls::rustls::StreamOwned;

use crate::dispatch::core::Core;
use crate::dispatch::debug::{Handover, Peer};
use crate::net::stream::Stream;

/// How long a read waits before the debugger looks after other things, and a write before the client is given up.
const READ: Duration = Duration::from_millis(100);
const WRITE: Duration = Duration::from_secs(5);
/// Scripts may be nested as deep as on an I/O thread.
const STACK: usize = 8 << 20;

/// Gives a client to a debugger.
///
/// # Errors
/// When the system has no thread for it, or takes its socket for broken.
pub fn start(core: &Arc<Core>, handover: Handover, stream: Stream) -> io::Result<()> {
    let core = core.clone();
    let socket = blocking(stream)?;
    std::thread::Builder::new().name("debugger".into()).stack_size(STACK).spawn(move || {
        if let Err(error) = handover.run(&core, socket) {
            tracing::debug!("A debugging session broke off: {error}");
        }
        tracing::info!("A debugging session has ended");
    })?;
    Ok(())
}

fn blocking(stream: Stream) -> io::Result<Box<dyn Peer + Send>> {
    Ok(match stream {
        Stream::Tcp(socket) => Box::new(set_blocking(socket.into_std()?)?),
        Stream::Unix(socket) => Box::new(set_blocking(socket.into_std()?)?),
        Stream::Tls(tls) => {
            let (socket, session) = tls.into_inner();
            Box::new(StreamOwned::new(session, set_blocking(socket.into_std()?)?))
        }
        Stream::Gone => return Err(io::ErrorKind::NotConnected.into()),
    })
}

fn set_blocking<S: AsFd>(socket: S) -> io::Result<S> {
    let options = SockRef::from(&socket);
    options.set_nonblocking(false)?;
    options.set_read_timeout(Some(READ))?;
    options.set_write_timeout(Some(WRITE))?;
    Ok(socket)
}
