//! How do threads reach each other's clients? One mailbox per I/O thread, one wake-up per batch of messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

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
            | Message::Served { to, .. }
            | Message::Kill { to }
            | Message::Look { to } => *to,
        }
    }
}

/// Where messages for one thread's clients are left.
#[derive(Debug, Default)]
pub struct Mailbox {
    queue: Mutex<Vec<Message>>,
    filled: AtomicBool,
    wake: Notify,
}

impl Mailbox {
    /// Leaves a message; the first one since the mailbox was emptied wakes its thread.
    pub fn post(&self, message: Message) {
        self.queue.lock().push(message);
        if !self.filled.swap(true, Ordering::AcqRel) {
            self.wake.notify_one();
        }
    }

    /// Takes all messages, in the order in which they were left.
    pub fn take(&self, into: &mut Vec<Message>) {
        if self.filled.swap(false, Ordering::AcqRel) {
            into.append(&mut self.queue.lock());
        }
    }

    /// True when there is something to take.
    pub fn is_filled(&self) -> bool {
        self.filled.load(Ordering::Acquire)
    }

    /// Waits until a message has been left.
    pub async fn filled(&self) {
        self.wake.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_in_order_and_once() {
        let mailbox = Mailbox::default();
        mailbox.post(Message::Kill { to: 1 });
        mailbox.post(Message::Look { to: 2 });
        let mut got = Vec::new();
        mailbox.take(&mut got);
        assert_eq!(got.iter().map(Message::to).collect::<Vec<_>>(), [1, 2]);
        got.clear();
        mailbox.take(&mut got);
        assert!(got.is_empty());
    }
}
