//! What does the server know about the connection whose command runs? State that only its own thread touches.

use std::cell::Cell;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::acl::Login;
use crate::client::registry::{Client, ClientType};
use crate::resp::reply::Proto;

/// A command queued by MULTI.
#[derive(Debug)]
pub struct Queued {
    /// Index in the command table.
    pub command: usize,
    /// The arguments, name included.
    pub argv: Vec<Box<[u8]>>,
}

/// A transaction being assembled.
#[derive(Debug, Default)]
pub struct Multi {
    /// Commands so far.
    pub queue: Vec<Queued>,
    /// A command was refused: EXEC will abort.
    pub refused: bool,
    /// Bytes of the queued arguments.
    pub bytes: usize,
}

/// CLIENT REPLY.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReplyMode {
    /// Every command is answered.
    #[default]
    On,
    /// None is.
    Off,
    /// The command after this one is not.
    SkipNext,
    /// This command is not.
    Skip,
}

impl ReplyMode {
    /// True when nothing is answered.
    pub fn is_silent(self) -> bool {
        matches!(self, ReplyMode::Off | ReplyMode::Skip)
    }
}

/// SCRIPT DEBUG: what becomes of the scripts that a client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Debugging {
    /// They run.
    #[default]
    Off,
    /// A debugger runs the next one, on a copy of the data.
    OnCopy,
    /// A debugger runs the next one, on the data.
    Live,
    /// It is a debugger's session: its script has the data to itself, whatever keys it names.
    Attached,
}

/// About how many bytes it takes to keep a name in two tables.
const NAME: usize = 160;

/// The state of one connection.
#[derive(Debug)]
pub struct Session {
    /// What others may see of it.
    pub client: Arc<Client>,
    /// Selected database.
    pub db: usize,
    /// Protocol version.
    pub proto: Proto,
    /// The user it runs as.
    pub login: Login,
    /// It has logged in, or had no need to when it connected.
    pub authenticated: bool,
    /// The transaction being assembled.
    pub multi: Option<Multi>,
    /// Keys under WATCH, by database.
    pub watched: Vec<(usize, Box<[u8]>)>,
    /// CLIENT REPLY.
    pub reply_mode: ReplyMode,
    /// SCRIPT DEBUG.
    pub debugging: Debugging,
    /// The EVAL with which the connection goes to a debugger.
    pub to_debug: Option<Vec<Box<[u8]>>>,
    /// Prefixes of CLIENT TRACKING in broadcast mode.
    pub prefixes: BTreeSet<Box<[u8]>>,
    /// Subscribed channels, patterns and shard channels.
    pub channels: HashSet<Bytes>,
    /// Patterns.
    pub patterns: BTreeSet<Bytes>,
    /// Shard channels.
    pub shard_channels: HashSet<Bytes>,
    /// Bytes of the names that it subscribed to, watches or tracks by, with what it takes to find them.
    pub names_bytes: usize,
    /// In cluster mode, the hash slot of the running command's keys, if it has any.
    pub slot: Cell<Option<u16>>,
    /// Counts blocking calls.
    pub ticket: u64,
    /// Close once the reply has been sent.
    pub close: bool,
    /// True for sessions that replay the log, load data or serve a waiter: they pass every gate.
    pub internal: bool,
}

impl Session {
    /// The state of a new connection.
    pub fn new(client: Arc<Client>, login: Login, authenticated: bool) -> Self {
        Session {
            client,
            db: 0,
            proto: Proto::Resp2,
            login,
            authenticated,
            multi: None,
            watched: Vec::new(),
            reply_mode: ReplyMode::On,
            debugging: Debugging::Off,
            to_debug: None,
            prefixes: BTreeSet::new(),
            channels: HashSet::new(),
            patterns: BTreeSet::new(),
            shard_channels: HashSet::new(),
            names_bytes: 0,
            slot: Cell::new(None),
            ticket: 0,
            close: false,
            internal: false,
        }
    }

    /// A session without a connection: it replays the log, loads data, or serves a blocked client.
    pub fn internal(client: Arc<Client>) -> Self {
        let mut session = Session::new(client, Login::internal(), true);
        session.internal = true;
        session
    }

    /// True when its next EVAL is to run in a debugger.
    pub fn asks_debugger(&self) -> bool {
        matches!(self.debugging, Debugging::OnCopy | Debugging::Live)
    }

    /// True when the reply of a command that had to wait is to be sent.
    pub fn answers_late(&mut self) -> bool {
        let answers = !self.reply_mode.is_silent();
        if self.reply_mode == ReplyMode::Skip {
            self.reply_mode = ReplyMode::On;
        }
        answers
    }

    /// Counts a name that it subscribes to, watches or tracks by.
    pub fn takes(&mut self, name: &[u8]) {
        self.names_bytes += name.len() + NAME;
    }

    /// Counts a name that it no longer does.
    pub fn drops(&mut self, name: &[u8]) {
        self.names_bytes = self.names_bytes.saturating_sub(name.len() + NAME);
    }

    /// Subscriptions of all kinds.
    pub fn subscriptions(&self) -> usize {
        self.channels.len() + self.patterns.len() + self.shard_channels.len()
    }

    /// Tells the other threads what the client has become.
    pub fn tell_subscriptions(&self) {
        let counts = [self.channels.len(), self.patterns.len(), self.shard_channels.len()];
        for (cell, n) in self.client.subs.iter().zip(counts) {
            cell.store(n, Ordering::Relaxed);
        }
        let kind = if self.subscriptions() > 0 { ClientType::PubSub } else { ClientType::Normal };
        self.client.kind.store(kind as u8, Ordering::Relaxed);
    }

    /// True when a RESP2 client may only use the commands of subscribers.
    pub fn subscriber_mode(&self) -> bool {
        self.proto == Proto::Resp2 && self.subscriptions() > 0
    }
}
