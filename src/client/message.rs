//! What do threads tell each other's clients? Messages, left in the mailbox of the client's I/O thread.

use std::sync::Arc;

use bytes::Bytes;

/// A published message, shared by all its receivers.
#[derive(Debug)]
pub struct Published {
    /// The channel it was sent to.
    pub channel: Bytes,
    /// The payload.
    pub payload: Bytes,
    /// True for a shard channel (`smessage`).
    pub sharded: bool,
}

/// What a client that caches must forget.
#[derive(Debug, Clone)]
pub enum Stale {
    /// Everything.
    All,
    /// An array of keys, encoded.
    Keys(Bytes),
}

/// Something for a client of another thread.
#[derive(Debug)]
pub enum Message {
    /// A published message; `pattern` is the subscription that matched, if it was a pattern.
    Published {
        /// The client.
        to: u64,
        /// The message.
        message: Arc<Published>,
        /// The pattern that matched.
        pattern: Option<Bytes>,
    },
    /// Bytes to append to the client's output: a MONITOR line, an invalidation.
    Raw {
        /// The client.
        to: u64,
        /// RESP in the client's protocol.
        bytes: Bytes,
    },
    /// What the client, or one that has its invalidations sent to it, must forget.
    Stale {
        /// The client.
        to: u64,
        /// It is another one that caches.
        redirected: bool,
        /// What has changed.
        what: Stale,
    },
    /// The client that its invalidations go to is gone.
    RedirectGone {
        /// The client.
        to: u64,
        /// The one that is gone.
        redirect: u64,
    },
    /// The reply of a blocking command that has been served.
    Served {
        /// The client.
        to: u64,
        /// Which of its blocking calls.
        ticket: u64,
        /// The reply.
        reply: Vec<u8>,
    },
    /// Close the connection (CLIENT KILL, shutdown).
    Kill {
        /// The client.
        to: u64,
    },
    /// What its user may do has changed: it may have to go.
    Review {
        /// The client.
        to: u64,
    },
    /// A shard channel is no longer served here.
    SlotLost {
        /// The client.
        to: u64,
        /// The channel.
        channel: Bytes,
    },
    /// Look at the shared flags of the client again.
    Look {
        /// The client.
        to: u64,
    },
}

impl Message {
    /// The client that it is for.
    pub fn to(&self) -> u64 {
        match self {
            Message::Published { to, .. }
            | Message::Raw { to, .. }
            | Message::Stale { to, .. }
            | Message::RedirectGone { to, .. }
            | Message::Served { to, .. }
            | Message::SlotLost { to, .. }
            | Message::Kill { to }
            | Message::Review { to }
            | Message::Look { to } => *to,
        }
    }
}
