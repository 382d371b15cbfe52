//! Who hears a message? Channel, pattern and shard-channel subscriptions of all clients.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::RwLock;

use crate::client::message::{Message, Published};
use crate::client::registry::{Client, Registry};
use crate::util::glob;

/// Subscribers in the order of their subscription.
type Subscribers = Vec<Arc<Client>>;

/// All subscriptions.
#[derive(Debug, Default)]
pub struct PubSub {
    channels: RwLock<HashMap<Bytes, Subscribers>>,
    patterns: RwLock<HashMap<Bytes, Subscribers>>,
    shard_channels: RwLock<HashMap<Bytes, Subscribers>>,
    active: AtomicUsize,
}

/// The three name spaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// SUBSCRIBE.
    Channel,
    /// PSUBSCRIBE.
    Pattern,
    /// SSUBSCRIBE.
    Shard,
}

impl PubSub {
    fn space(&self, space: Space) -> &RwLock<HashMap<Bytes, Subscribers>> {
        match space {
            Space::Channel => &self.channels,
            Space::Pattern => &self.patterns,
            Space::Shard => &self.shard_channels,
        }
    }

    /// Adds a subscription that the client does not have yet.
    pub fn subscribe(&self, space: Space, name: Bytes, client: &Arc<Client>) {
        self.space(space).write().entry(name).or_default().push(client.clone());
        self.active.fetch_add(1, Ordering::AcqRel);
    }

    /// Drops a subscription.
    pub fn unsubscribe(&self, space: Space, name: &[u8], client: u64) {
        let mut names = self.space(space).write();
        if let Some(list) = names.get_mut(name) {
            list.retain(|c| c.id != client);
            if list.is_empty() {
                names.remove(name);
            }
            self.active.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// True when somebody is subscribed to something.
    pub fn is_active(&self) -> bool {
        self.active.load(Ordering::Acquire) > 0
    }

    /// Sends a message to everyone who should hear it; returns how many that are.
    pub fn publish(&self, clients: &Registry, sharded: bool, channel: &[u8], payload: &[u8]) -> usize {
        if !self.is_active() {
            return 0;
        }
        let message = Arc::new(Published {
            channel: Bytes::copy_from_slice(channel),
            payload: Bytes::copy_from_slice(payload),
            sharded,
        });
        let space = if sharded { Space::Shard } else { Space::Channel };
        let mut receivers = 0;
        if let Some(list) = self.space(space).read().get(channel) {
            for client in list {
                let (to, message) = (client.id, message.clone());
                clients.mailbox(client.thread).post(Message::Published { to, message, pattern: None });
            }
            receivers += list.len();
        }
        if sharded {
            return receivers;
        }
        for (pattern, list) in &*self.patterns.read() {
            if glob::matches(pattern, channel, false) {
                for client in list {
                    let (to, message, pattern) = (client.id, message.clone(), Some(pattern.clone()));
                    clients.mailbox(client.thread).post(Message::Published { to, message, pattern });
                }
                receivers += list.len();
            }
        }
        receivers
    }

    /// Active channels, or shard channels, that match a pattern.
    pub fn names(&self, space: Space, pattern: Option<&[u8]>) -> Vec<Bytes> {
        let names = self.space(space).read();
        names.keys().filter(|n| pattern.is_none_or(|p| glob::matches(p, n, false))).cloned().collect()
    }

    /// Shard channels that are `meant`, with the clients that listen to them.
    pub fn listeners(&self, meant: impl Fn(&[u8]) -> bool) -> Vec<(Bytes, Vec<u64>)> {
        let names = self.shard_channels.read();
        let meant = names.iter().filter(|(name, _)| meant(name));
        meant.map(|(name, list)| (name.clone(), list.iter().map(|client| client.id).collect())).collect()
    }

    /// Shows all subscriptions.
    pub fn each(&self, mut see: impl FnMut(Space, &[u8], &Client)) {
        for space in [Space::Channel, Space::Pattern, Space::Shard] {
            for (name, list) in &*self.space(space).read() {
                list.iter().for_each(|client| see(space, name, client));
            }
        }
    }

    /// Number of subscribers of one name.
    pub fn count(&self, space: Space, name: &[u8]) -> usize {
        self.space(space).read().get(name).map_or(0, Vec::len)
    }

    /// Number of distinct names.
    pub fn distinct(&self, space: Space) -> usize {
        self.space(space).read().len()
    }
}
