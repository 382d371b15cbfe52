//! How do tests talk to a server? Over a plain socket, one reply at a time, raw bytes kept.

use super::resp::{self, Reply, Value};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// How long a reply may take before the test gives up on the server.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One connection.
pub struct Client {
    stream: TcpStream,
    buf: Vec<u8>,
    at: usize,
}

impl Client {
    /// A connection to this port of 127.0.0.1.
    pub fn connect(port: u16) -> io::Result<Client> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        Ok(Client { stream, buf: Vec::new(), at: 0 })
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends one command.
    pub fn send<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<()> {
        self.send_raw(&resp::encode(args))
    }

    /// The next reply, which must come within `PATIENCE`.
    pub fn read(&mut self) -> io::Result<Reply> {
        self.read_within(PATIENCE)?.ok_or_else(|| io::Error::new(io::ErrorKind::TimedOut, "no reply came"))
    }

    /// The next reply, or `None` when nothing complete came in time. A closed connection is an error of kind
    /// `UnexpectedEof`.
    pub fn read_within(&mut self, limit: Duration) -> io::Result<Option<Reply>> {
        let deadline = Instant::now() + limit;
        loop {
            if self.at < self.buf.len() {
                let invalid = |e| io::Error::new(io::ErrorKind::InvalidData, e);
                if let Some((value, used)) = resp::parse(&self.buf[self.at..]).map_err(invalid)? {
                    let raw = self.buf[self.at..self.at + used].to_vec();
                    self.at += used;
                    if self.at == self.buf.len() {
                        self.buf.clear();
                        self.at = 0;
                    }
                    return Ok(Some(Reply { value, raw }));
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.fill(left)? {
                return Ok(None);
            }
        }
    }

    fn fill(&mut self, limit: Duration) -> io::Result<bool> {
        self.stream.set_read_timeout(Some(limit))?;
        let mut chunk = [0; 65536];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection")),
            Ok(n) => {
                self.buf.extend_from_slice(&chunk[..n]);
                Ok(true)
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(false),
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => {
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server reset the connection"))
            }
            Err(e) => Err(e),
        }
    }

    /// One command and its reply.
    pub fn try_call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<Value> {
        self.send(args)?;
        Ok(self.read()?.value)
    }

    /// One command and its reply; a broken connection stops the test.
    pub fn call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Value {
        self.try_call(args).unwrap_or_else(|e| {
            let words: Vec<_> =
                args.iter().map(|a| String::from_utf8_lossy(a.as_ref()).into_owned()).collect();
            panic!("{}: {e}", words.join(" "))
        })
    }

    /// A command of words without spaces, and its reply.
    pub fn cmd(&mut self, line: &str) -> Value {
        self.call(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// Several commands in one write, and all their replies.
    pub fn pipeline(&mut self, commands: &[Vec<Vec<u8>>]) -> io::Result<Vec<Reply>> {
        let bytes: Vec<u8> = commands.iter().flat_map(|c| resp::encode(c)).collect();
        self.send_raw(&bytes)?;
        commands.iter().map(|_| self.read()).collect()
    }
}
