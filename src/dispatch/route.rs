//! Whose keys are these? In cluster mode a command runs only where all its keys live: in one hash slot, served here.
//!
//! The answer is found before any lock is taken, from the same keys that the locks come from ([`keys::extract`]).

use std::sync::Arc;

use crate::client::message::Message;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::dispatch::block;
use crate::dispatch::ctx::Ctx;
use crate::dispatch::gate::Request;
use crate::dispatch::keys;
use crate::dispatch::spec::{Command, Lock, PUBSUB, WRITE};
use crate::dispatch::table::Entry;
use crate::error::{self, Error, Result};
use crate::keyspace::waiter::Waiter;
use crate::resp::reply::Reply;
use crate::util::crc::key_slot;

/// Checks a client's request, and notes its slot in the session.
pub(crate) fn check(r: &Request<'_>, cluster: &Cluster) -> Result {
    r.session.slot.set(None);
    let mut asked = Asked::default();
    match (&r.session.multi, r.entry.row.lock) {
        (Some(multi), Lock::Queue) => {
            for queued in &multi.queue {
                let argv: Vec<&[u8]> = queued.argv.iter().map(|a| &**a).collect();
                asked.add(r.core.table.entry(queued.command).row, &argv, cluster)?;
            }
        }
        _ => asked.add(r.entry.row, r.argv, cluster)?,
    }
    asked.admit(cluster, &r.worker.config)?;
    r.session.slot.set(asked.slot);
    Ok(())
}

/// Checks a command that a script calls; `slot` is that of the keys which the script has used or declared, unless it
/// may use any.
pub(crate) fn check_script(
    cluster: &Cluster,
    config: &Config,
    entry: &Entry,
    argv: &[&[u8]],
    slot: &mut Option<u16>,
    any_slots: bool,
) -> Result {
    const CROSS: Error = Error::new("ERR Script attempted to access keys that do not hash to the same slot");
    let mut asked = Asked::default();
    asked.add(entry.row, argv, cluster).and_then(|()| asked.admit(cluster, config)).map_err(|error| {
        if error == error::SLOT_NOT_SERVED {
            Error::new("ERR Script attempted to access a slot not served")
        } else if error == error::CLUSTER_DOWN {
            Error::new("ERR Script attempted to execute a command while the cluster is down")
        } else if error == error::CLUSTER_READ_ONLY {
            Error::new(
                "ERR Script attempted to execute a write command while the cluster is down and readonly",
            )
        } else {
            Error::text(format!(
                "ERR Command '{}' in script attempted to access keys that don't hash to the same slot",
                entry.name
            ))
        }
    })?;
    match (asked.slot, *slot) {
        (Some(_), _) if any_slots => Ok(()),
        (Some(now), Some(before)) if now != before => Err(CROSS),
        (now, before) => {
            *slot = before.or(now);
            Ok(())
        }
    }
}

/// True for the errors that tell a client to go elsewhere, or that there is nowhere to go.
pub(crate) fn is_redirection(error: &Error) -> bool {
    matches!(error.code(), "CROSSSLOT" | "CLUSTERDOWN" | "MOVED" | "ASK" | "TRYAGAIN")
}

/// Tells those who wait for keys, or listen to shard channels, of slots that are no longer served. Needs all locks.
pub(crate) fn turn_away(ctx: &mut Ctx<'_>) {
    let Some(cluster) = &ctx.core.cluster else { return };
    let healthy = cluster.is_healthy(ctx.config());
    let mut waiting: Vec<Arc<Waiter>> = Vec::new();
    ctx.locks.each(|_, shard| {
        let waiters = &shard.db(0).waiters;
        for name in waiters.all_keys().filter(|name| !healthy || !cluster.serves(key_slot(name))) {
            waiting.extend(waiters.of(name));
        }
    });
    for waiter in waiting {
        let served = waiter.keys.iter().all(|name| cluster.serves(key_slot(name)));
        let why = if healthy && !served { error::SLOT_NOT_SERVED } else { error::CLUSTER_DOWN };
        let mut reply = Vec::new();
        Reply::new(&mut reply, waiter.proto).error(&why);
        block::answer(ctx.core, &waiter, reply);
        for name in &waiter.keys {
            let shard = ctx.keyspace().key(name).shard;
            ctx.locks.with_shard(usize::from(shard), |shard| shard.db(0).waiters.drop_waiter(name, &waiter));
        }
    }
    for (name, clients) in ctx.core.pubsub.listeners(|name| !cluster.serves(key_slot(name))) {
        for client in clients {
            ctx.core.clients.post(Message::SlotLost { to: client, channel: name.clone() });
        }
    }
}

/// What a request is about.
#[derive(Debug, Default)]
struct Asked {
    slot: Option<u16>,
    writes: bool,
    /// Shard channels rather than keys.
    channels: bool,
}

impl Asked {
    /// Adds a command: its keys must be in the slot of those before them.
    fn add(&mut self, row: &Command, argv: &[&[u8]], cluster: &Cluster) -> Result {
        self.writes |= row.is(WRITE);
        self.channels |= row.is(PUBSUB) && keys::has_keys(row);
        let mut at = Vec::new();
        // Arguments that make no sense as keys are refused by the handler.
        let _ = keys::extract(row, argv, &mut at);
        for name in at.iter().filter_map(|key| argv.get(key.index)) {
            let slot = key_slot(name);
            match self.slot {
                None if !cluster.serves(slot) => return Err(error::SLOT_NOT_SERVED),
                None => self.slot = Some(slot),
                Some(first) if first != slot => return Err(error::CROSS_SLOT),
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Whether the cluster as a whole serves such requests. Those without keys are always served.
    fn admit(&self, cluster: &Cluster, config: &Config) -> Result {
        if self.slot.is_none() || cluster.is_healthy(config) {
            return Ok(());
        }
        if self.channels {
            let served = config.cluster_allow_pubsubshard_when_down;
            return if served { Ok(()) } else { Err(error::CLUSTER_DOWN) };
        }
        match (config.cluster_allow_reads_when_down, self.writes) {
            (false, _) => Err(error::CLUSTER_DOWN),
            (true, true) => Err(error::CLUSTER_READ_ONLY),
            (true, false) => Ok(()),
        }
    }
}
