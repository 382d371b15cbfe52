//! How do keys get to another server? MIGRATE speaks to it as a client does, over connections that are kept for a while.
//!
//! A connection belongs to the one who uses it: it is taken out of the cache and put back. One that failed is not.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Connections that are kept at most.
const KEPT: usize = 64;
/// How long one is kept without being used.
const TTL: Duration = Duration::from_secs(10);
/// A line of a reply is not longer.
const LINE: u64 = 64 * 1024;

/// A connection to another server.
#[derive(Debug)]
pub struct Link {
    stream: BufReader<TcpStream>,
    /// The database that is selected there, if that is known.
    pub db: Option<i64>,
}

/// True when an operation took longer than it may.
pub fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

impl Link {
    fn connect(host: &str, port: u16, timeout: Duration) -> io::Result<Self> {
        let mut last = io::Error::from(ErrorKind::AddrNotAvailable);
        for address in (host, port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, timeout) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(Link { stream: BufReader::new(stream), db: None });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// Those of write(2); a time-out when nothing could be sent for too long.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// The next answer: nothing, or the text of an error.
    ///
    /// # Errors
    /// Those of read(2); a time-out when nothing has come for too long.
    pub fn answer(&mut self) -> io::Result<Result<(), String>> {
        let mut line = Vec::new();
        self.stream.by_ref().take(LINE).read_until(b'\n', &mut line)?;
        match line.trim_ascii_end() {
            [b'-', why @ ..] => Ok(Err(String::from_utf8_lossy(why).into_owned())),
            [b'+', ..] => Ok(Ok(())),
            [] => Err(ErrorKind::UnexpectedEof.into()),
            _ => Err(ErrorKind::InvalidData.into()),
        }
    }

    /// How long sending and waiting may take.
    fn set_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.stream.get_ref().set_read_timeout(Some(timeout))?;
        self.stream.get_ref().set_write_timeout(Some(timeout))
    }
}

/// The connections that are kept, by host and port.
#[derive(Debug, Default)]
pub struct Links {
    kept: Mutex<HashMap<(String, u16), (Link, Instant)>>,
}

impl Links {
    /// A connection to a server: one that is kept, or a new one.
    ///
    /// # Errors
    /// Those of connect(2), or of resolving the name.
    pub fn take(&self, host: &str, port: u16, timeout: Duration) -> io::Result<Link> {
        let kept = self.kept.lock().remove(&(host.to_owned(), port));
        let link = match kept {
            Some((link, _)) => link,
            None => Link::connect(host, port, timeout)?,
        };
        link.set_timeout(timeout)?;
        Ok(link)
    }

    /// Keeps a connection that works.
    pub fn keep(&self, host: &str, port: u16, link: Link) {
        let mut kept = self.kept.lock();
        if kept.len() >= KEPT {
            let oldest = kept.iter().min_by_key(|(_, (_, used))| *used).map(|(name, _)| name.clone());
            oldest.and_then(|name| kept.remove(&name));
        }
        kept.insert((host.to_owned(), port), (link, Instant::now()));
    }

    /// Closes connections that have not been used for a while.
    pub fn close_unused(&self) {
        self.kept.lock().retain(|_, (_, used)| used.elapsed() < TTL);
    }

    /// Number of connections that are kept.
    pub fn len(&self) -> usize {
        self.kept.lock().len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    const SOON: Duration = Duration::from_millis(50);

    #[test]
    fn a_connection_is_used_again_unless_it_failed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let links = Links::default();
        let mut link = links.take("127.0.0.1", port, SOON).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        peer.write_all(b"+OK\r\n-no").unwrap();
        peer.write_all(b"pe\r\n").unwrap();
        assert_eq!(link.answer().unwrap(), Ok(()));
        assert_eq!(link.answer().unwrap(), Err("nope".to_owned()));
        assert!(is_timeout(&link.answer().unwrap_err()));
        link.db = Some(9);
        links.keep("127.0.0.1", port, link);
        assert_eq!(links.len(), 1);
        let mut link = links.take("127.0.0.1", port, SOON).unwrap();
        assert_eq!((link.db, links.len()), (Some(9), 0));
        drop(peer);
        let error = link.answer().unwrap_err();
        assert!(!is_timeout(&error), "{error}");
        links.close_unused();
    }

    #[test]
    fn nobody_listens() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        assert!(Links::default().take("127.0.0.1", port, SOON).is_err());
    }
}
