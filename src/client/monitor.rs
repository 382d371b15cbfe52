//! Who watches MONITOR? The clients that see every command go by.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::RwLock;

use crate::client::message::Message;
use crate::client::registry::{Client, MONITOR, Registry};

/// The monitors, oldest first.
#[derive(Debug, Default)]
pub struct Monitors {
    list: RwLock<Vec<Arc<Client>>>,
    count: AtomicUsize,
}

impl Monitors {
    /// How many there are; commands ask this before they do anything for monitors.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Makes a client a monitor; a second time has no effect.
    pub fn add(&self, client: &Arc<Client>) {
        let mut list = self.list.write();
        if !client.has(MONITOR) {
            client.set(MONITOR, true);
            list.push(client.clone());
            self.count.store(list.len(), Ordering::Relaxed);
        }
    }

    /// Makes a monitor an ordinary client again.
    pub fn remove(&self, client: &Client) {
        if client.has(MONITOR) {
            let mut list = self.list.write();
            client.set(MONITOR, false);
            list.retain(|c| c.id != client.id);
            self.count.store(list.len(), Ordering::Relaxed);
        }
    }

    /// Sends a line to all monitors.
    pub fn feed(&self, clients: &Registry, line: &Bytes) {
        for monitor in self.list.read().iter() {
            let message = Message::Raw { to: monitor.id, bytes: line.clone() };
            clients.mailbox(monitor.thread).post(message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_monitor_gets_the_line_once() {
        let clients = Registry::new(1);
        let make = |id| Arc::new(Client::new(id, 0, String::new(), String::new(), 0, 0));
        let (one, two) = (make(1), make(2));
        let monitors = Monitors::default();
        [&one, &two, &two].into_iter().for_each(|c| monitors.add(c));
        assert_eq!(monitors.count(), 2);
        monitors.feed(&clients, &Bytes::from_static(b"+x\r\n"));
        monitors.remove(&one);
        monitors.feed(&clients, &Bytes::from_static(b"+y\r\n"));
        let mut got = Vec::new();
        clients.mailbox(0).take(&mut got);
        assert_eq!(got.iter().map(Message::to).collect::<Vec<_>>(), [1, 2, 2]);
    }
}
