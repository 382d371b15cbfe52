//! Who must hear that a key has changed? Clients that cache: how they are told, and the prefixes of those that want to
//! hear of every change.
//!
//! Which client has read which key is kept in the key's shard ([`crate::keyspace::tracked`]), under the lock under
//! which it is read and changed, so that no change falls between a read and its being remembered. Here are the totals
//! and the prefixes of broadcast mode. All of it costs a load or two where nobody tracks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::RwLock;

use crate::acl::Acl;
use crate::client::message::{Message, Stale};
use crate::client::registry::{
    CLOSE_AFTER_REPLY, Client, KILLED, RESP3, Registry, TRACKING, TRACKING_BCAST, TRACKING_BROKEN,
    TRACKING_CACHING, TRACKING_NOLOOP, TRACKING_OPTIN, TRACKING_OPTOUT,
};
use crate::keyspace::effects::Change;

/// The state bits of a client that belong to tracking.
const MODES: u32 =
    TRACKING_BROKEN | TRACKING_BCAST | TRACKING_OPTIN | TRACKING_OPTOUT | TRACKING_NOLOOP | TRACKING_CACHING;

/// Who listens to a prefix.
type ByPrefix = BTreeMap<Box<[u8]>, Vec<Arc<Client>>>;

/// What all clients that track have in common.
#[derive(Debug, Default)]
pub struct Tracking {
    /// How many there are.
    pub clients: AtomicUsize,
    /// Keys that shards remember.
    pub keys: AtomicUsize,
    /// Pairs of a client and a key that they remember.
    pub items: AtomicUsize,
    /// Who listens to which prefix.
    prefixes: RwLock<ByPrefix>,
    /// How many prefixes there are: what every change asks.
    listening: AtomicUsize,
}

impl Tracking {
    /// True when somebody tracks.
    pub fn is_active(&self) -> bool {
        self.clients.load(Ordering::Acquire) > 0
    }

    /// Number of prefixes that somebody listens to.
    pub fn prefixes(&self) -> usize {
        self.listening.load(Ordering::Acquire)
    }

    /// Turns tracking on for a client, or changes its modes. `modes` is a union of state bits.
    pub fn enable(&self, client: &Client, redirect: u64, modes: u32) {
        if !client.has(TRACKING) {
            self.clients.fetch_add(1, Ordering::AcqRel);
        }
        client.redirect.store(redirect, Ordering::Release);
        let caching = if client.has(TRACKING_CACHING) { TRACKING_CACHING } else { 0 };
        client.set(MODES, false);
        client.set(TRACKING | modes | caching, true);
    }

    /// Makes a client hear of changes of keys that begin with `prefix`.
    pub fn listen(&self, client: &Arc<Client>, prefix: &[u8]) {
        let mut prefixes = self.prefixes.write();
        prefixes.entry(prefix.into()).or_default().push(client.clone());
        self.listening.store(prefixes.len(), Ordering::Release);
    }

    /// Turns tracking off for a client that listens to these prefixes. What shards remember of it stays until the keys
    /// change.
    pub fn disable(&self, client: &Client, prefixes: impl Iterator<Item = Box<[u8]>>) {
        if !client.has(TRACKING) {
            return;
        }
        self.clients.fetch_sub(1, Ordering::AcqRel);
        client.set(TRACKING | MODES, false);
        let mut all = self.prefixes.write();
        for prefix in prefixes {
            if let Some(list) = all.get_mut(&prefix) {
                list.retain(|c| c.id != client.id);
                if list.is_empty() {
                    all.remove(&prefix);
                }
            }
        }
        self.listening.store(all.len(), Ordering::Release);
    }

    /// Tells those who listen to prefixes what has changed: one message for each prefix, its keys in order. Nobody hears
    /// of keys that their user may not read.
    pub fn broadcast(&self, clients: &Registry, acl: &Acl, changes: Vec<Change>) {
        // Of several changes of one key the last one counts.
        let changed: BTreeMap<Box<[u8]>, u64> = changes.into_iter().collect();
        for (prefix, listeners) in &*self.prefixes.read() {
            let keys: Vec<(&[u8], u64)> = changed
                .iter()
                .filter(|(key, _)| key.starts_with(prefix))
                .map(|(k, by)| (&**k, *by))
                .collect();
            if keys.is_empty() {
                continue;
            }
            let all = encode(keys.iter().map(|(key, _)| *key));
            for client in listeners {
                // Whose user is gone will be disconnected.
                let Some(user) = acl.user(&client.user_name()) else { continue };
                let own = |by: u64| by == client.id && client.has(TRACKING_NOLOOP);
                let heard = |(key, by): &&(&[u8], u64)| !own(*by) && user.may_read_key(key);
                let text = if keys.iter().all(|change| heard(&change)) {
                    all.clone()
                } else {
                    encode(keys.iter().filter(heard).map(|(key, _)| *key))
                };
                if let Some(text) = text {
                    tell(clients, client, Stale::Keys(text));
                }
            }
        }
    }
}

/// An array of names; `None` for an empty one.
pub fn encode<'k>(keys: impl Iterator<Item = &'k [u8]>) -> Option<Bytes> {
    let mut text = Vec::new();
    let mut count = 0;
    for key in keys {
        text.extend_from_slice(format!("${}\r\n", key.len()).as_bytes());
        text.extend_from_slice(key);
        text.extend_from_slice(b"\r\n");
        count += 1;
    }
    text.splice(0..0, format!("*{count}\r\n").into_bytes());
    (count > 0).then(|| Bytes::from(text))
}

/// Tells a client that tracks, or whoever it has its invalidations sent to, what it must forget.
pub fn tell(clients: &Registry, client: &Client, what: Stale) {
    let redirect = client.redirect.load(Ordering::Acquire);
    if redirect == 0 {
        // Older clients have no way to be told on the same connection.
        if client.has(RESP3) {
            let message = Message::Stale { to: client.id, redirected: false, what };
            clients.mailbox(client.thread).post(message);
        }
        return;
    }
    let leaving = |c: &Client| c.has(KILLED) || c.has(CLOSE_AFTER_REPLY);
    match clients.get(redirect).filter(|c| !leaving(c)) {
        Some(to) => {
            let message = Message::Stale { to: to.id, redirected: true, what };
            clients.mailbox(to.thread).post(message);
        }
        None => {
            client.set(TRACKING_BROKEN, true);
            if client.has(RESP3) {
                clients.mailbox(client.thread).post(Message::RedirectGone { to: client.id, redirect });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(registry: &Registry, modes: u32) -> Arc<Client> {
        let client = Arc::new(Client::new(registry.next_id(), 0, String::new(), String::new(), 0, 0));
        client.set(RESP3, true);
        registry.add(client.clone());
        registry.tracking.enable(&client, 0, TRACKING_BCAST | modes);
        client
    }

    /// One user, who may do everything.
    fn free() -> Acl {
        Acl::new(crate::acl::catalogue::Catalogue::new(Vec::new(), &[]))
    }

    fn told(registry: &Registry) -> Vec<(u64, String)> {
        let mut messages = Vec::new();
        registry.mailbox(0).take(&mut messages);
        let text = |message: &Message| match message {
            Message::Stale { what: Stale::Keys(keys), .. } => {
                String::from_utf8_lossy(keys).replace("\r\n", " ")
            }
            other => format!("{other:?}"),
        };
        messages.iter().map(|m| (m.to(), text(m))).collect()
    }

    #[test]
    fn listeners_hear_once_of_each_key_but_not_of_their_own_changes() {
        let registry = Registry::new(1);
        let (a, b) = (client(&registry, 0), client(&registry, TRACKING_NOLOOP));
        registry.tracking.listen(&a, b"x");
        registry.tracking.listen(&b, b"");
        let changes = [("xb", b.id), ("xa", a.id), ("y", a.id), ("y", b.id), ("xb", b.id)];
        registry.tracking.broadcast(
            &registry,
            &free(),
            changes.map(|(k, by)| (k.as_bytes().into(), by)).into(),
        );
        let expected = [(b.id, "*1 $2 xa ".to_owned()), (a.id, "*2 $2 xa $2 xb ".to_owned())];
        assert_eq!(told(&registry), expected);
        registry.tracking.disable(&b, [Box::from(&b""[..])].into_iter());
        assert_eq!((registry.tracking.prefixes(), b.has(TRACKING)), (1, false));
    }

    #[test]
    fn a_redirection_that_is_gone_is_reported_to_who_asked_for_it() {
        let registry = Registry::new(1);
        let (a, b) = (client(&registry, 0), client(&registry, 0));
        registry.tracking.enable(&a, b.id, 0);
        tell(&registry, &a, Stale::All);
        registry.remove(b.id);
        tell(&registry, &a, Stale::All);
        let to: Vec<u64> = told(&registry).iter().map(|(to, _)| *to).collect();
        assert_eq!(to, [b.id, a.id]);
        assert!(a.has(TRACKING_BROKEN));
    }
}
