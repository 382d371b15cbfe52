//! What does a connection run over? TCP, a unix socket, or TLS over TCP, behind one pair of poll functions.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// A connected socket.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
    /// TLS over TCP, after its handshake.
    Tls(Box<TlsStream<TcpStream>>),
    /// None any more: a debugger has it.
    Gone,
}

impl Stream {
    /// Reads into `buf`; `Ready(0)` when the peer has closed.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        let done = match self {
            Stream::Tcp(s) => Pin::new(s).poll_read(cx, &mut buf),
            Stream::Unix(s) => Pin::new(s).poll_read(cx, &mut buf),
            Stream::Tls(s) => Pin::new(s).poll_read(cx, &mut buf),
            Stream::Gone => Poll::Ready(Ok(())),
        };
        done.map_ok(|()| buf.filled().len())
    }

    /// Reads what is there, past the runtime: it need not know that there is something.
    pub fn read_now(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(s) => (&*SockRef::from(&*s)).read(buf),
            Stream::Unix(s) => (&*SockRef::from(&*s)).read(buf),
            Stream::Tls(s) => {
                let (socket, tls) = s.get_mut();
                match tls.read_tls(&mut &*SockRef::from(&*socket)) {
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                    _ => tls.process_new_packets().map_err(io::Error::other)?,
                };
                tls.reader().read(buf)
            }
            Stream::Gone => Ok(0),
        }
    }

    /// Writes what can be written at once, past the runtime.
    pub fn write_now(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(s) => (&*SockRef::from(&*s)).write(bytes),
            Stream::Unix(s) => (&*SockRef::from(&*s)).write(bytes),
            Stream::Tls(s) => {
                let (socket, tls) = s.get_mut();
                let n = tls.writer().write(bytes)?;
                // What the socket does not take now stays with the session, and goes out with the next write.
                while tls.wants_write() && tls.write_tls(&mut &*SockRef::from(&*socket)).is_ok() {}
                Ok(n)
            }
            Stream::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Says goodbye past the runtime.
    pub fn close_now(&mut self) {
        // A socket that cannot be shut down is closed already.
        let _ = match self {
            Stream::Tcp(s) => SockRef::from(&*s).shutdown(Shutdown::Both),
            Stream::Unix(s) => SockRef::from(&*s).shutdown(Shutdown::Both),
            Stream::Tls(s) => SockRef::from(s.get_ref().0).shutdown(Shutdown::Both),
            Stream::Gone => Ok(()),
        };
    }

    /// Writes some of `bytes`.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Stream::Tcp(s) => Pin::new(s).poll_write(cx, bytes),
            Stream::Unix(s) => Pin::new(s).poll_write(cx, bytes),
            Stream::Tls(s) => Pin::new(s).poll_write(cx, bytes),
            Stream::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Pushes what TLS has buffered to the socket.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tls(s) => Pin::new(s).poll_flush(cx),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Says goodbye in the manner of the transport.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(s) => Pin::new(s).poll_shutdown(cx),
            Stream::Unix(s) => Pin::new(s).poll_shutdown(cx),
            Stream::Tls(s) => Pin::new(s).poll_shutdown(cx),
            Stream::Gone => Poll::Ready(Ok(())),
        }
    }
}
