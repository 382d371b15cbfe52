//! How much do all clients hold, and who has to go when it is too much?

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::client::message::Message;
use crate::client::registry::{Client, ClientType, KILLED, NO_EVICT, Registry};

/// Bytes that the clients of each thread hold, but those that are never evicted.
#[derive(Debug)]
pub struct Held(Box<[AtomicUsize]>);

impl Held {
    /// Nothing yet.
    pub fn new(threads: usize) -> Self {
        Held((0..threads).map(|_| AtomicUsize::new(0)).collect())
    }

    /// A client of this thread held `before` bytes and holds `now`; only the thread itself may say so.
    pub fn change(&self, thread: usize, before: usize, now: usize) {
        let sum = self.0[thread].load(Ordering::Relaxed).wrapping_sub(before).wrapping_add(now);
        self.0[thread].store(sum, Ordering::Relaxed);
    }

    /// What they hold together.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|n| n.load(Ordering::Relaxed) as u64).sum()
    }
}

/// Closes clients, the largest first, until what is left holds no more than `limit` bytes. Returns how many. Replicas,
/// the primary, and clients that have been exempted neither go nor count.
pub fn evict(clients: &Registry, limit: u64) -> u64 {
    let counts = |c: &Client| {
        !c.has(KILLED) && !c.has(NO_EVICT) && matches!(c.kind(), ClientType::Normal | ClientType::PubSub)
    };
    let mut largest: Vec<(usize, Arc<Client>)> = clients
        .all()
        .into_iter()
        .filter(|c| counts(c))
        .map(|c| (c.memory.load(Ordering::Relaxed), c))
        .collect();
    largest.sort_by_key(|(memory, _)| std::cmp::Reverse(*memory));
    let mut total: u64 = largest.iter().map(|(memory, _)| *memory as u64).sum();
    let mut evicted = 0;
    for (memory, client) in largest {
        if total <= limit {
            break;
        }
        // Two threads may have found that there is too much.
        if client.kill() {
            tracing::info!("Evicting client id={} addr={}: it holds {memory} bytes", client.id, client.addr);
            clients.mailbox(client.thread).post(Message::Kill { to: client.id });
            evicted += 1;
        }
        total -= memory as u64;
    }
    evicted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_go_until_there_is_room() {
        let clients = Registry::new(1);
        let add = |memory: usize, state| {
            let client = Arc::new(Client::new(clients.next_id(), 0, String::new(), String::new(), 0, 0));
            client.memory.store(memory, Ordering::Relaxed);
            client.set(state, true);
            clients.add(client.clone());
            client
        };
        let (small, large, exempt, middle) = (add(10, 0), add(100, 0), add(1000, NO_EVICT), add(50, 0));
        assert_eq!(evict(&clients, 160), 0);
        assert_eq!(evict(&clients, 59), 2);
        let killed = [&small, &large, &exempt, &middle].map(|c| c.has(KILLED));
        assert_eq!(killed, [false, true, false, true]);
    }
}
