//! What does a primary do for its replicas without being asked? It begins their snapshots, pings them, gives up those
//! that are silent, and one day forgets the backlog. Ten times a second.

use std::sync::atomic::Ordering;

use crate::log::entry::encode_command;
use crate::persist::Child;
use crate::replication::{Phase, Replica, Site, replica_name, transfer};
use crate::util::rng;

/// Does what is due.
pub fn tick(site: Site<'_>) {
    let (world, replication) = (site.world, site.replication);
    let now = world.clock.monotonic_us() / 1000;
    let config = world.config.load();
    if world.log.is_streaming() {
        world.log.resize_backlog(config.repl_backlog_size);
    }
    let replicas = replication.all();
    if replicas.is_empty() {
        forget_backlog(site, now);
        return;
    }
    for replica in &replicas {
        look_after(site, replica, now);
    }
    let period = u64::from(config.repl_ping_replica_period) * 1000;
    if now.saturating_sub(replication.pinged.load(Ordering::Acquire)) >= period {
        replication.pinged.store(now, Ordering::Release);
        world.log.tell_replicas(&encode_command(&["PING"]));
        replication.wake();
    }
    if starts_now(site, now) {
        let mut locks = world.keyspace.locked_all();
        if let Err(error) = transfer::begin(site, &mut locks) {
            tracing::warn!("Can't begin a snapshot for replicas: {error}");
        }
    }
}

/// True when a snapshot should begin for those who wait, who may be waited for themselves.
pub fn starts_now(site: Site<'_>, now: u64) -> bool {
    let config = site.world.config.load();
    let mut waiting = site.replication.all();
    waiting.retain(|r| r.phase() == Phase::Waiting);
    let oldest = waiting.iter().map(|r| r.heard_ms.load(Ordering::Acquire)).min();
    let Some(oldest) = oldest.filter(|_| site.world.persist.child() == Child::None) else { return false };
    let diskless = config.repl_diskless_sync && waiting.iter().all(|r| r.hello.lock().eof);
    let most = config.repl_diskless_sync_max_replicas as usize;
    let delay = u64::from(config.repl_diskless_sync_delay) * 1000;
    !diskless || now.saturating_sub(oldest) >= delay || (most > 0 && waiting.len() >= most)
}

fn look_after(site: Site<'_>, replica: &Replica, now: u64) {
    let config = site.world.config.load();
    let silent = now.saturating_sub(replica.heard_ms.load(Ordering::Acquire));
    let legacy = replica.hello.lock().legacy;
    match replica.phase() {
        Phase::Waiting | Phase::Saving => {
            // So that it does not take the primary for dead.
            let mut outbox = replica.outbox.lock();
            if outbox.source.is_none() && now % 1000 < 100 {
                outbox.head.push(b'\n');
                drop(outbox);
                replica.wake();
            }
        }
        Phase::Online if !legacy && silent > u64::from(config.repl_timeout) * 1000 => {
            tracing::warn!("Disconnecting timedout replica (streaming sync): {}", replica_name(replica));
            replica.kill();
        }
        _ => {}
    }
}

/// Without replicas for long enough, there is nobody to catch up.
fn forget_backlog(site: Site<'_>, now: u64) {
    let log = site.world.log;
    let ttl = site.world.config.load().repl_backlog_ttl.saturating_mul(1000);
    let since = site.replication.alone_since.load(Ordering::Acquire);
    if ttl == 0 || since == 0 || now.saturating_sub(since) < ttl || !log.is_streaming() {
        return;
    }
    let mut locks = site.world.keyspace.locked_all();
    if site.replication.count() > 0 {
        return;
    }
    locks.each(|_, _| {});
    // Writes from here on are in no backlog: whoever comes back must not think that he has them.
    if let Ok(id) = rng::hex_id() {
        log.close_stream();
        log.new_history(id.as_bytes().try_into().unwrap_or([b'0'; 40]), false);
        tracing::info!("Replication backlog freed after {} seconds without connected replicas.", ttl / 1000);
    }
}
