//! Who runs a script that its client debugs? A thread of its own, to which the connection is handed over for good: it
//! ends with the session.
//!
//! ```text
//! SCRIPT DEBUG YES    the script runs on a copy of the data, which goes when it ends; nobody notices
//! SCRIPT DEBUG SYNC   it runs on the data, under all locks: everybody who needs data waits, as with Redis
//! ```
//!
//! Invariants: the thread does its own input and output, so that an I/O thread which waits for a lock cannot keep the
//! session from its end; a server that is shut down ends the session like a client that goes away.

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::acl::Login;
use crate::client::Session;
use crate::client::registry::Client;
use crate::client::session::Debugging;
use crate::dispatch::call;
use crate::dispatch::core::Core;
use crate::dispatch::scratch;
use crate::dispatch::worker::Worker;
use crate::resp::reply::{Proto, Reply};
use crate::script::debugger::{Console, Debugger};
use crate::script::engine::{Engine, Settings};
use crate::util::rng::Rng;

/// Milliseconds that a script may run without a word to the client where `busy-reply-threshold` is off.
const DEFAULT_THRESHOLD_MS: u64 = 5000;
/// How long to wait before a script that has to wait for the end of CLIENT PAUSE is tried again.
const PAUSED: Duration = Duration::from_millis(20);

/// A blocking connection, whose reads give up after a while (`WouldBlock`), so that other things can be looked after.
pub trait Peer: Read + Write {}

impl<T: Read + Write> Peer for T {}

/// A client that goes to a debugger: what of its session its script needs.
pub struct Handover {
    argv: Vec<Box<[u8]>>,
    ahead: Vec<u8>,
    client: Arc<Client>,
    login: Login,
    authenticated: bool,
    db: usize,
    proto: Proto,
    live: bool,
}

impl Handover {
    /// Takes it from a session that has asked for a debugger. `ahead`: what it has sent behind its EVAL.
    pub fn of(session: &mut Session, ahead: Vec<u8>) -> Option<Handover> {
        Some(Handover {
            argv: session.to_debug.take()?,
            ahead,
            client: session.client.clone(),
            login: session.login.clone(),
            authenticated: session.authenticated,
            db: session.db,
            proto: session.proto,
            live: session.debugging == Debugging::Live,
        })
    }

    /// Runs the session to its end, on the thread that calls.
    ///
    /// # Errors
    /// Those of the connection, and of the system that gives no randomness.
    pub fn run(self, core: &Arc<Core>, mut peer: Box<dyn Peer>) -> io::Result<()> {
        if self.live {
            tracing::info!("A client debugs a script on the data: others wait");
            return self.run_on(core, 2, core, peer);
        }
        match scratch::copy_of(core) {
            Ok(copy) => self.run_on(&copy, 0, core, peer),
            Err(why) => {
                let error =
                    format!("-ERR The data cannot be copied: can't run EVAL in debugging mode: {why}\r\n");
                peer.write_all(error.as_bytes())
            }
        }
    }

    /// Runs the script on the data of `core`. `spare`: which of the sets of counters behind those of the I/O threads
    /// is this thread's. `server`: the one that the client is connected to.
    fn run_on(
        mut self,
        core: &Core,
        spare: usize,
        server: &Arc<Core>,
        peer: Box<dyn Peer>,
    ) -> io::Result<()> {
        let peer = Rc::new(RefCell::new(peer));
        let since_us = server.clock.monotonic_us();
        let line = Line { core: server.clone(), peer: peer.clone(), since_us };
        let source = self.argv.get(1).map(|source| &**source).unwrap_or_default();
        let debugger = Debugger::new(source, std::mem::take(&mut self.ahead), Box::new(line));
        let debugger = Rc::new(debugger);
        let mut worker = Worker::new(core.clients.threads() + spare, core, Rng::from_os()?);
        worker.engine = Some(Box::new(Engine::debugged(Settings::default(), debugger.clone())));
        let reply = self.evaluate(core, &mut worker)?;
        debugger.end();
        peer.borrow_mut().write_all(&reply)
    }

    /// The reply of the script, once it may be sent.
    fn evaluate(&self, core: &Core, worker: &mut Worker) -> io::Result<Vec<u8>> {
        let mut session = Session::new(self.client.clone(), self.login.clone(), self.authenticated);
        (session.db, session.proto, session.debugging) = (self.db, self.proto, Debugging::Attached);
        let argv: Vec<&[u8]> = self.argv.iter().map(|arg| &**arg).collect();
        let mut reply = Vec::new();
        let logged = loop {
            let mut out = Reply::new(&mut reply, self.proto);
            let outcome = call::run(core, worker, &mut session, &argv, None, &mut out);
            if !outcome.postponed {
                break outcome.logged;
            }
            std::thread::sleep(PAUSED);
            worker.tick(core);
        };
        if logged > core.log_safe() {
            tokio::runtime::Builder::new_current_thread().build()?.block_on(core.flush_log());
        }
        Ok(reply)
    }
}

/// The connection as the debugger uses it.
struct Line {
    core: Arc<Core>,
    peer: Rc<RefCell<Box<dyn Peer>>>,
    /// When the client last said something: monotonic microseconds.
    since_us: u64,
}

impl Line {
    fn is_over(&self) -> bool {
        self.core.ending.is_under_way()
    }
}

impl Console for Line {
    fn send(&mut self, bytes: &[u8]) {
        // What becomes of the connection is seen when it is read.
        let _ = self.peer.borrow_mut().write_all(bytes);
    }

    fn receive(&mut self, input: &mut Vec<u8>) -> bool {
        let mut buffer = [0; 4096];
        loop {
            let read = self.peer.borrow_mut().read(&mut buffer);
            match read {
                Ok(0) => return false,
                Ok(n) => {
                    input.extend_from_slice(buffer.get(..n).unwrap_or_default());
                    self.since_us = self.core.clock.monotonic_us();
                    return true;
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                        if !self.is_over() => {}
                    _ => return false,
                },
            }
        }
    }

    fn is_overdue(&mut self) -> bool {
        let limit_ms = match self.core.config.load().busy_reply_threshold {
            0 => DEFAULT_THRESHOLD_MS,
            ms => ms,
        };
        let ran_us = self.core.clock.monotonic_us().saturating_sub(self.since_us);
        ran_us >= limit_ms.saturating_mul(1000)
    }
}
