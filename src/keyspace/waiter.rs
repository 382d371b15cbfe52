//! Who waits for a key, in which order?
//!
//! A client that blocks is represented by one [`Waiter`], listed under each of its keys in the keys' shards. Whoever
//! makes a key ready takes the waiter's [`Claim`] and serves it; a timeout, CLIENT UNBLOCK or a closing connection takes it
//! the same way, so it is served or released exactly once. Answered waiters that are still listed elsewhere are dropped
//! when they are met.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::acl::Login;
use crate::keyspace::claim::Claim;
use crate::resp::reply::Proto;
use crate::value::Kind;

/// What a blocked command waits for at its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// Only a value of this type makes the key ready.
    pub kind: Kind,
    /// Also ready when the key is gone or of another type: the command then fails (XREADGROUP).
    pub or_gone: bool,
}

/// A blocked client.
#[derive(Debug)]
pub struct Waiter {
    /// The client.
    pub client: u64,
    /// The I/O thread that owns its connection.
    pub thread: usize,
    /// Counts the client's blocking calls, so that a late message is not taken for a newer one.
    pub ticket: u64,
    /// The database of its keys.
    pub db: usize,
    /// The protocol of its reply.
    pub proto: Proto,
    /// Its user, who may be allowed less by the time it is served.
    pub login: Login,
    /// The command to run again when a key is ready.
    pub argv: Vec<Box<[u8]>>,
    /// The keys that may end the wait.
    pub keys: Vec<Box<[u8]>>,
    /// All keys that the command touches when it is served.
    pub touches: Vec<Box<[u8]>>,
    /// What makes them ready.
    pub wish: Wish,
    /// The right to answer it.
    pub claim: Claim,
}

/// The waiters of one database in one shard, by key, first come first served.
#[derive(Debug, Default)]
pub struct WaitList {
    by_key: HashMap<Box<[u8]>, VecDeque<Arc<Waiter>>>,
}

impl WaitList {
    /// True when nobody waits: the usual case, checked on every write.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Number of keys that are waited for.
    pub fn keys(&self) -> usize {
        self.by_key.len()
    }

    /// Number of keys waited for by someone who is also answered when the key goes away.
    pub fn keys_or_gone(&self) -> usize {
        self.by_key.values().filter(|q| q.iter().any(|w| w.wish.or_gone)).count()
    }

    /// True when someone waits for the key.
    pub fn has(&self, key: &[u8]) -> bool {
        !self.by_key.is_empty() && self.by_key.contains_key(key)
    }

    /// Queues a waiter behind the others.
    pub fn add(&mut self, key: &[u8], waiter: Arc<Waiter>) {
        self.by_key.entry(key.into()).or_default().push_back(waiter);
    }

    /// The waiters of a key that nobody has answered, in order.
    pub fn of(&self, key: &[u8]) -> Vec<Arc<Waiter>> {
        let Some(queue) = self.by_key.get(key) else { return Vec::new() };
        queue.iter().filter(|w| !w.claim.is_answered()).cloned().collect()
    }

    /// Every key that is waited for.
    pub fn all_keys(&self) -> impl Iterator<Item = &[u8]> {
        self.by_key.keys().map(|k| &**k)
    }

    /// Drops one waiter, and answered ones met on the way, from a key's queue.
    pub fn drop_waiter(&mut self, key: &[u8], waiter: &Arc<Waiter>) {
        if let Some(queue) = self.by_key.get_mut(key) {
            queue.retain(|w| !Arc::ptr_eq(w, waiter) && !w.claim.is_answered());
            if queue.is_empty() {
                self.by_key.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(client: u64) -> Arc<Waiter> {
        Arc::new(Waiter {
            client,
            thread: 0,
            ticket: 1,
            db: 0,
            proto: Proto::Resp2,
            login: Login::internal(),
            argv: vec![],
            keys: vec![],
            touches: vec![],
            wish: Wish { kind: Kind::List, or_gone: false },
            claim: Claim::default(),
        })
    }

    #[test]
    fn waiters_keep_their_order_and_leave_no_trace() {
        let mut list = WaitList::default();
        let (a, b) = (waiter(1), waiter(2));
        list.add(b"k", a.clone());
        list.add(b"k", b.clone());
        let order: Vec<u64> = list.of(b"k").iter().map(|w| w.client).collect();
        assert_eq!(order, [1, 2]);
        list.drop_waiter(b"k", &a);
        list.drop_waiter(b"k", &b);
        assert!(list.is_empty());
    }
}
