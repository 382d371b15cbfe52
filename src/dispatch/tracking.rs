//! What must clients that cache be told, and when? Reads are remembered and changes told under the locks under which
//! they happen. Messages reach their clients through the mailboxes, and the client that causes one after its reply.

use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::client::message::Stale;
use crate::client::registry::{
    TRACKING, TRACKING_BCAST, TRACKING_CACHING, TRACKING_NOLOOP, TRACKING_OPTIN, TRACKING_OPTOUT,
};
use crate::client::tracking::{encode, tell};
use crate::dispatch::core::Core;
use crate::dispatch::ctx::{Ctx, Mode};
use crate::dispatch::keys;
use crate::dispatch::spec::{PUBSUB, READONLY, SCRIPTING};
use crate::dispatch::worker::Worker;
use crate::keyspace::Key;
use crate::keyspace::tracked::Readers;

/// Keys that are forgotten at most before a command runs, over `tracking-table-max-keys`.
const EFFORT: usize = 100;

impl Ctx<'_> {
    /// Remembers what the command has read, if its client caches it. Of a script it is the commands that it called.
    pub(crate) fn remember_reads(&mut self, argv: &[&[u8]]) {
        let client = &self.session.client;
        let row = self.entry.row;
        let reads = row.is(READONLY) && !row.is(PUBSUB) && row.acl & SCRIPTING == 0;
        if !reads || client.has(TRACKING_BCAST) || self.mode == Mode::Replay {
            return;
        }
        let said = client.has(TRACKING_CACHING);
        if (client.has(TRACKING_OPTIN) && !said) || (client.has(TRACKING_OPTOUT) && said) {
            return;
        }
        let mut at = Vec::new();
        if keys::extract(row, argv, &mut at).is_none() {
            return;
        }
        let id = client.id;
        for name in at.iter().filter_map(|k| argv.get(k.index)) {
            let key = self.key(name);
            if let Some(shard) = self.locks.shard(key.shard) {
                let (keys, items) = shard.tracked.remember(&key, id);
                let totals = &self.core.clients.tracking;
                totals.keys.fetch_add(keys, Ordering::Relaxed);
                totals.items.fetch_add(items, Ordering::Relaxed);
            }
        }
    }

    /// A key has changed, by the hand of a client (0: of nobody): tells who has read it, and notes it for those who
    /// listen to prefixes.
    pub(crate) fn tell_trackers(&mut self, key: &Key<'_>, by: u64) {
        if let Some(readers) = self.locks.shard(key.shard).and_then(|shard| shard.tracked.forget(key)) {
            let me = &self.session.client;
            let text = forgotten(self.core, key.name, &readers, me.id);
            if readers.binary_search(&me.id).is_ok() && !me.has(TRACKING_NOLOOP) {
                self.fx.own.extend(text.map(|text| (me.id, text)));
            }
        }
        if self.core.clients.tracking.prefixes() > 0 {
            self.fx.changes.push((key.name.into(), by));
        }
    }

    /// Everything may have changed: all clients that cache are told so. Needs all locks.
    pub fn everything_is_stale(&mut self) {
        let clients = &self.core.clients;
        self.locks.each(|_, shard| shard.tracked.clear());
        clients.tracking.keys.store(0, Ordering::Relaxed);
        clients.tracking.items.store(0, Ordering::Relaxed);
        if clients.tracking.is_active() {
            clients.all().iter().filter(|c| c.has(TRACKING)).for_each(|c| tell(clients, c, Stale::All));
        }
    }
}

/// Tells those who had read a key that is no longer remembered, but not the client `me`. Returns what they are told.
fn forgotten(core: &Core, name: &[u8], readers: &Readers, me: u64) -> Option<Bytes> {
    let clients = &core.clients;
    clients.tracking.keys.fetch_sub(1, Ordering::Relaxed);
    clients.tracking.items.fetch_sub(readers.len(), Ordering::Relaxed);
    let text = encode(std::iter::once(name))?;
    readers.iter().filter(|id| **id != me).for_each(|id| tell_reader(core, *id, &text));
    Some(text)
}

/// Tells a client that had read something, unless it listens to prefixes by now, or to nothing.
pub(crate) fn tell_reader(core: &Core, id: u64, text: &Bytes) {
    let client = core.clients.get(id).filter(|c| c.has(TRACKING) && !c.has(TRACKING_BCAST));
    if let Some(client) = client {
        tell(&core.clients, &client, Stale::Keys(text.clone()));
    }
}

/// Keeps the number of keys that are remembered below its limit, with some effort: whoever has read what is forgotten
/// is told. Call it holding no lock. True when it told somebody.
pub fn forget_some(core: &Core, worker: &mut Worker) -> bool {
    let tracking = &core.clients.tracking;
    let limit = worker.config.tracking_table_max_keys;
    let over = || tracking.is_active() && limit > 0 && tracking.keys.load(Ordering::Relaxed) > limit;
    let mut told = false;
    let shards = core.keyspace.shard_count();
    for _ in 0..EFFORT {
        if !over() {
            break;
        }
        let start = worker.rng.index(shards);
        let found = (0..shards).find_map(|i| {
            let mut shard = core.keyspace.lock_one((start + i) % shards);
            let (name, readers) = shard.tracked.forget_any(|| worker.rng.next_u64())?;
            forgotten(core, &name, &readers, 0);
            Some(())
        });
        told |= found.is_some();
        if found.is_none() {
            break;
        }
    }
    told
}
