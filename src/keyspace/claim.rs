//! Who answers a blocked client? Whoever holds its claim: many may try, one does.
//!
//! A client may wait for keys of several shards, time out, be unblocked and close its connection, all at the same
//! instant. Each of these parties takes the claim, a lock of the client's own, before it answers. An attempt that comes
//! to nothing (the key was not what the client waits for) just lets go: whoever came meanwhile was kept waiting and has
//! its own try now, so neither a wake-up nor a time-out is lost to an attempt that failed.
//!
//! It is the last lock that anyone takes but the log's and the mailboxes': whoever holds it holds its shards already and
//! asks for nothing else, so nobody waits for it in a circle.

use crate::util::sync::{AtomicBool, Mutex, MutexGuard, Ordering};

/// The right to answer one blocked client.
#[derive(Debug, Default)]
pub struct Claim {
    turn: Mutex<()>,
    answered: AtomicBool,
}

impl Claim {
    /// Waits for whoever is trying, then tries; `None` when the client has been answered.
    pub fn attempt(&self) -> Option<Attempt<'_>> {
        let turn = self.turn.lock();
        (!self.is_answered()).then_some(Attempt { claim: self, _turn: turn })
    }

    /// True once somebody has answered.
    pub fn is_answered(&self) -> bool {
        self.answered.load(Ordering::Acquire)
    }
}

/// Somebody's try to answer; nobody else answers while it lives.
pub struct Attempt<'a> {
    claim: &'a Claim,
    _turn: MutexGuard<'a, ()>,
}

impl Attempt<'_> {
    /// The client has been answered, for good.
    pub fn succeed(self) {
        self.claim.answered.store(true, Ordering::Release);
    }
}
