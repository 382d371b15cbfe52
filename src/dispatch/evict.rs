//! How is memory kept below `maxmemory`? Keys are evicted before a command takes its locks, one at a time, by the
//! thread that is about to run it; what takes too long goes on in the background.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::client::Session;
use crate::client::registry::Client;
use crate::config::choices::MaxmemoryPolicy;
use crate::dispatch::block;
use crate::dispatch::call;
use crate::dispatch::core::Core;
use crate::dispatch::ctx::Ctx;
use crate::dispatch::worker::Worker;
use crate::keyspace::effects::Garbage;
use crate::keyspace::evict::{self, Candidates, Moment};
use crate::stats::latency::Event;

/// What a thread keeps to evict with.
#[derive(Debug)]
pub struct Evictor {
    candidates: Candidates,
    session: Session,
}

/// How long a shard is waited for in which there may be something to evict.
const PATIENCE: Duration = Duration::from_millis(50);

impl Evictor {
    fn new() -> Self {
        Evictor { candidates: Candidates::default(), session: nobody() }
    }
}

/// A session of the server itself.
pub(crate) fn nobody() -> Session {
    Session::internal(Arc::new(Client::new(0, 0, String::new(), String::new(), -1, 0)))
}

/// Evictions between two looks at the clock.
const ROUND: u32 = 16;

/// Brings memory below `maxmemory` if it can, and keeps [`Core::over_memory`] true to how that went. Call it without
/// holding any lock. False when it ran out of time; the background goes on then.
pub fn make_room(core: &Core, worker: &mut Worker) -> bool {
    let config = &worker.config;
    let ignored = config.replica_ignore_maxmemory && core.replication.link.is_replica();
    let limit = if ignored { 0 } else { usize::try_from(config.maxmemory).unwrap_or(usize::MAX) };
    let mut outcome = Room::Enough;
    if limit > 0 && excess(core, limit) > 0 {
        outcome = match worker.config.maxmemory_policy {
            MaxmemoryPolicy::Noeviction => Room::None,
            policy => evict(core, worker, policy, limit),
        };
    }
    let full = outcome == Room::None;
    if core.over_memory() != full {
        core.memory_full.store(full, Ordering::Relaxed);
    }
    if outcome == Room::Later {
        core.upkeep.wake();
    }
    outcome != Room::Later
}

/// Allocated bytes without those that are already on their way to be freed.
fn used(core: &Core) -> usize {
    crate::ALLOCATOR.used().saturating_sub(core.reaper.pending_bytes())
}

/// Allocated bytes that count for nothing: what waits for replicas beyond the backlog, and for the append-only file.
/// Evicting adds to both.
pub fn not_counted(core: &Core) -> usize {
    let waiting = core.replication.all().iter().map(|replica| replica.feed.waiting()).max().unwrap_or(0);
    let streamed = waiting.saturating_sub(core.config.load().repl_backlog_size);
    usize::try_from(streamed).unwrap_or(usize::MAX).saturating_add(core.log.waiting())
}

/// Bytes over the limit.
fn excess(core: &Core, limit: usize) -> usize {
    let over = used(core).saturating_sub(limit);
    if over == 0 { 0 } else { over.saturating_sub(not_counted(core)) }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    Enough,
    /// The time is over, and there may be more to evict.
    Later,
    /// There is nothing left to evict.
    None,
}

/// How long a command may be kept waiting, in microseconds, by `maxmemory-eviction-tenacity`: half a millisecond at
/// 10, proportionally less below, 15 per cent more for each step above, and without end at 100.
fn patience(tenacity: u32) -> u64 {
    match tenacity {
        0..=10 => 50 * u64::from(tenacity),
        11..=99 => (500.0 * 1.15f64.powi(tenacity as i32 - 10)) as u64,
        _ => u64::MAX,
    }
}

fn evict(core: &Core, worker: &mut Worker, policy: MaxmemoryPolicy, limit: usize) -> Room {
    let began = core.clock.monotonic_us();
    let patience = patience(worker.config.maxmemory_eviction_tenacity);
    let mut evictor = worker.evictor.take().unwrap_or_else(|| Box::new(Evictor::new()));
    evictor.candidates.begin(policy);
    // No more than what is too much now: telling clients of evictions takes memory too, and must not cause more of
    // them.
    let wanted = excess(core, limit);
    let (mut evicted, mut freed) = (0, 0);
    let outcome = loop {
        if freed >= wanted || excess(core, limit) == 0 {
            break Room::Enough;
        }
        let Some(bytes) = evictor.evict_one(core, worker, policy) else { break Room::None };
        freed += bytes;
        evicted += 1;
        if evicted % ROUND == 0 && core.clock.monotonic_us().saturating_sub(began) > patience {
            break Room::Later;
        }
    };
    worker.evictor = Some(evictor);
    let took = core.clock.monotonic_us().saturating_sub(began);
    core.stats.latency.record(
        worker.config.latency_monitor_threshold,
        Event::EvictionCycle,
        worker.now_ms,
        took,
    );
    if outcome == Room::Later {
        core.stats.eviction_micros.fetch_add(took, Ordering::Relaxed);
    }
    outcome
}

fn moment(worker: &Worker) -> Moment {
    Moment { now_ms: worker.now_ms, lfu_decay: worker.config.lfu_decay_time.into() }
}

impl Evictor {
    /// Evicts one key, and returns about how many bytes that gives back; `None` when there is no key that the policy
    /// allows.
    fn evict_one(&mut self, core: &Core, worker: &mut Worker, policy: MaxmemoryPolicy) -> Option<usize> {
        let volatile = evict::only_volatile(policy);
        loop {
            if self.sample(core, worker, policy, volatile) == 0 {
                return None;
            }
            let moment = moment(worker);
            // Candidates of earlier rounds may be gone by now, or have been used since.
            while let Some(candidate) = self.candidates.best() {
                let stop = || core.scripts.board.is_busy();
                let locks = call::lock_names(core, &[(candidate.db, candidate.name.clone())], &stop)?;
                let mut ctx =
                    Ctx::new(core, &mut *worker, &mut self.session, locks, core.table.entry(0), None);
                let gone = ctx.evict(candidate.db, &candidate.name, |slot| {
                    (!volatile || slot.expire().is_some()) && candidate.still_stands(policy, slot, moment)
                });
                let bytes = ctx.fx.garbage.iter().map(Garbage::memory).sum();
                block::settle(&mut ctx);
                ctx.end();
                if gone {
                    return Some(bytes);
                }
            }
        }
    }

    /// Enters some keys into the pool, one shard after the other from a random one on until there are enough. Returns
    /// how many were looked at.
    fn sample(&mut self, core: &Core, worker: &mut Worker, policy: MaxmemoryPolicy, volatile: bool) -> usize {
        let moment = moment(worker);
        let want = worker.config.maxmemory_samples;
        let shards = core.keyspace.shard_count();
        let start = worker.rng.index(shards);
        let mut seen = 0;
        for i in 0..shards {
            // One that a script holds for long is not looked at.
            let shard = core.keyspace.lock_one_within((start + i) % shards, PATIENCE);
            let Some(mut shard) = shard else { continue };
            for (index, db) in shard.dbs.iter_mut().enumerate() {
                let (random, candidates, rng) =
                    (worker.rng.next_u64(), &mut self.candidates, &mut worker.rng);
                seen += evict::sample(db, random, want, volatile, &mut |slot| {
                    let score = evict::score(policy, slot, moment, rng.next_u64());
                    candidates.offer(score, index, slot.key());
                });
            }
            if seen >= want {
                break;
            }
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_grows_with_tenacity() {
        assert_eq!((patience(0), patience(10), patience(100)), (0, 500, u64::MAX));
        assert!((11..=99).all(|t| patience(t) > patience(t - 1)));
    }
}
