//! How is something left for another thread? In its mailbox: many writers, one reader, one wake-up per batch.

use crate::util::sync::{AtomicBool, Mutex, Ordering, Wake};

/// Where messages for one thread are left.
#[derive(Debug)]
pub struct Mailbox<M> {
    queue: Mutex<Vec<M>>,
    filled: AtomicBool,
    wake: Wake,
}

impl<M> Default for Mailbox<M> {
    fn default() -> Self {
        Mailbox { queue: Mutex::new(Vec::new()), filled: AtomicBool::new(false), wake: Wake::default() }
    }
}

impl<M> Mailbox<M> {
    /// Leaves a message; the first one since the mailbox was emptied wakes its thread.
    pub fn post(&self, message: M) {
        self.queue.lock().push(message);
        if !self.filled.swap(true, Ordering::AcqRel) {
            self.wake.wake();
        }
    }

    /// Takes all messages, in the order in which they were left. Those of one writer keep their order.
    pub fn take(&self, into: &mut Vec<M>) {
        // The mark goes before the messages: who posts after this line marks and wakes again.
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
        self.wake.woken().await;
    }
}
