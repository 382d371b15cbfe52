//! What is done without being asked? A thread of its own removes keys whose time is over, and goes on with evictions
//! that took a command too long.
//!
//! The sweep follows the Redis documentation ("How Redis expires keys"): `hz` times a second it looks at some keys
//! with an expiry in every shard and database, and stays where many of them are over, for a share of the time that
//! `active-expire-effort` sets. A sweep that has fallen behind takes twice its share until it has caught up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::client::Session;
use crate::dispatch::block;
use crate::dispatch::call;
use crate::dispatch::core::Core;
use crate::dispatch::ctx::Ctx;
use crate::dispatch::evict;
use crate::dispatch::worker::Worker;
use crate::keyspace::expire::{self, Due, Looked};
use crate::stats::latency;
use crate::stats::rates::Totals;
use crate::util::clock;
use crate::util::rng::Rng;

/// Fields of one hash that are removed at a time.
const FIELDS: usize = 1024;
/// Counters are sampled no more often than this, in microseconds.
const SAMPLE: u64 = 100_000;

/// The background thread's bell and its counters.
#[derive(Debug, Default)]
pub struct Upkeep {
    bell: Condvar,
    rung: Mutex<bool>,
    /// Sweeps that ran out of time.
    pub capped: AtomicU64,
    /// Of the keys with an expiry, how many are over and not removed, as a moving average: millionths.
    pub stale_ppm: AtomicU64,
    /// Per database, the milliseconds that keys with an expiry have left, as a moving average.
    pub time_left: Mutex<Vec<f64>>,
    /// Microseconds that sweeps took in all.
    pub sweep_us: AtomicU64,
}

impl Upkeep {
    /// Wakes the thread: there is something to do.
    pub fn wake(&self) {
        *self.rung.lock() = true;
        self.bell.notify_one();
    }

    fn wait(&self, time: Duration) {
        let mut rung = self.rung.lock();
        if !*rung {
            self.bell.wait_for(&mut rung, time);
        }
        *rung = false;
    }
}

/// Starts the thread; `id` names its statistics. It ends when nobody else holds the core.
///
/// # Errors
/// When the system has no thread to give.
pub fn start(core: &Arc<Core>, id: usize, rng: Rng) -> std::io::Result<()> {
    let core = Arc::downgrade(core);
    std::thread::Builder::new().name("upkeep".into()).spawn(move || run(&core, id, rng))?;
    Ok(())
}

fn run(core: &Weak<Core>, id: usize, rng: Rng) {
    let Some(worker) = core.upgrade().map(|core| Worker::new(id, &core, rng)) else { return };
    let mut sweeper =
        Sweeper { worker, session: evict::nobody(), shard: 0, behind: false, alive: Vec::new() };
    let (mut last, mut sampled) = (0, 0);
    while let Some(core) = core.upgrade() {
        let began = clock::thread_cpu_us();
        sweeper.worker.tick(&core);
        if core.is_loading() {
            core.upkeep.wait(Duration::from_millis(10));
            continue;
        }
        core.look_at_clock(id);
        while !evict::make_room(&core, &mut sweeper.worker) {}
        let period = 1_000_000 / u64::from(sweeper.worker.config.hz.clamp(1, 500));
        let now = core.clock.monotonic_us();
        // A replica's keys are removed by its primary.
        let ours = core.active_expire.load(Ordering::Relaxed) && !core.replication.link.is_replica();
        let due = now.saturating_sub(last) >= period && ours;
        // Nothing changes while CLIENT PAUSE holds writes back.
        if due && core.clients.pause.now(now / 1000).is_none() {
            last = now;
            let logged = core.log.end();
            sweeper.sweep(&core, period);
            if core.log.end() != logged {
                core.persist.aof.hurry(core.world());
            }
            sweeper.swept(&core, began);
        }
        if core.replication.link.is_replica() && core.replication.link.remembered() > 0 {
            sweeper.sweep_own(&core);
        }
        if now.saturating_sub(sampled) >= SAMPLE {
            sampled = now;
            sample(&core, now);
            core.couriers.close_unused();
        }
        core.stats.threads[id].turns.took(clock::thread_cpu_us().saturating_sub(began), 0);
        let took = core.clock.monotonic_us().saturating_sub(last);
        let rest = period.saturating_sub(took).clamp(1000, period);
        core.upkeep.wait(Duration::from_micros(rest));
    }
}

/// Takes note of the counters and of the memory in use, for INFO.
fn sample(core: &Core, now_us: u64) {
    let stats = &core.stats;
    stats.rates.sample(Totals {
        at_us: now_us,
        commands: stats.sum(|t| &t.processed),
        net: [stats.sum(|t| &t.bytes_in), stats.sum(|t| &t.bytes_out)],
        replication: [0, 0],
        turns: stats.sum(|t| &t.turns.count),
        turns_us: stats.sum(|t| &t.turns.micros),
    });
    stats.peak.note(crate::ALLOCATOR.used() as u64, core.clock.now_us() / 1_000_000);
}

/// Removes what is over.
struct Sweeper {
    worker: Worker,
    session: Session,
    /// Where a sweep goes on that ran out of time.
    shard: usize,
    behind: bool,
    /// Per database, the keys that this sweep has met alive, and the milliseconds that they have left.
    alive: Vec<(u64, u64)>,
}

impl Sweeper {
    /// One sweep, `period` microseconds after the last one.
    fn sweep(&mut self, core: &Core, period: u64) {
        let effort = u64::from(self.worker.config.active_expire_effort.saturating_sub(1));
        let share = if self.behind { 50 + 4 * effort } else { 25 + 2 * effort };
        let deadline = core.clock.monotonic_us() + period * share / 100;
        let keys = 20 + 5 * effort as usize;
        let tolerated = 10u64.saturating_sub(effort) as usize;
        let (mut seen, mut gone) = (0, 0);
        self.behind = false;
        self.alive = vec![(0, 0); core.keyspace.databases()];
        let shards = core.keyspace.shard_count();
        for _ in 0..shards {
            for db in 0..core.keyspace.databases() {
                loop {
                    let (looked, due) = self.step(core, self.shard, db, keys);
                    self.alive[db] = (self.alive[db].0 + looked.alive.0, self.alive[db].1 + looked.alive.1);
                    (seen, gone) = (seen + looked.seen, gone + due);
                    if looked.wrapped || due * 100 <= looked.seen * tolerated {
                        break;
                    }
                    if core.clock.monotonic_us() >= deadline {
                        core.upkeep.capped.fetch_add(1, Ordering::Relaxed);
                        self.behind = true;
                        self.note(core, seen, gone);
                        return;
                    }
                }
            }
            self.shard = (self.shard + 1) % shards;
        }
        self.note(core, seen, gone);
    }

    /// Counts a sweep before which the thread had used so much CPU time: waiting for a shard slows nobody down.
    fn swept(&self, core: &Core, before: u64) {
        let took = clock::thread_cpu_us().saturating_sub(before);
        core.upkeep.sweep_us.fetch_add(took, Ordering::Relaxed);
        let threshold = self.worker.config.latency_monitor_threshold;
        core.stats.latency.record(threshold, latency::Event::ExpireCycle, self.worker.now_ms, took);
    }

    fn note(&self, core: &Core, seen: usize, gone: usize) {
        let mut left = core.upkeep.time_left.lock();
        left.resize(self.alive.len(), 0.0);
        for (left, (keys, ms)) in left.iter_mut().zip(&self.alive).filter(|(_, alive)| alive.0 > 0) {
            let now = *ms as f64 / *keys as f64;
            *left = if *left == 0.0 { now } else { *left * 0.9 + now * 0.1 };
        }
        drop(left);
        let now = (gone as u64 * 1_000_000).checked_div(seen as u64).unwrap_or(0);
        let before = core.upkeep.stale_ppm.load(Ordering::Relaxed);
        core.upkeep.stale_ppm.store((now + 19 * before) / 20, Ordering::Relaxed);
    }

    /// Removes what is over of the keys that clients of a replica have written themselves.
    fn sweep_own(&mut self, core: &Core) {
        let link = &core.replication.link;
        // A replica hides what has expired from readers, and removes it for writers: this looks as one of them.
        let Some(writer) = core.table.by_request(b"DEL") else { return };
        for (db, name) in link.take_remembered() {
            let patient = || false;
            let Some(locks) = call::lock_names(core, &[(db, name.clone())], &patient) else { return };
            self.worker.tick(core);
            let mut ctx = Ctx::new(core, &mut self.worker, &mut self.session, locks, writer, None);
            let key = ctx.key(&name);
            ctx.peek_in(db, &key);
            if ctx.expires_in(db, &key) {
                link.remember(db, &name);
            }
            block::settle(&mut ctx);
        }
    }

    /// Looks at some keys of a database in a shard and removes what is over. Returns how much that was.
    fn step(&mut self, core: &Core, shard: usize, db: usize, keys: usize) -> (Looked, usize) {
        let mut due = Due::default();
        // This thread has nothing better to do than to wait.
        let patient = || false;
        let nothing = Looked { wrapped: true, ..Looked::default() };
        let Some(mut locks) = core.keyspace.locked_some(&[shard as u16], &patient) else {
            return (nothing, 0);
        };
        // Once DEBUG SET-ACTIVE-EXPIRE 0 has been answered nothing goes, though a sweep was under way.
        if !core.active_expire.load(Ordering::Acquire) {
            return (nothing, 0);
        }
        let now = self.worker.now_ms;
        let looked = locks.with_shard(shard, |shard| expire::look(shard.db(db), now, keys, &mut due));
        let found = due.keys.len() + due.hashes.len();
        if found == 0 {
            return (looked, 0);
        }
        // Whoever waits for one of the keys may need more shards to be told.
        if core.clients.blocked.load(Ordering::Acquire) > 0 {
            drop(locks);
            let names: Vec<(usize, Box<[u8]>)> =
                due.keys.iter().chain(&due.hashes).map(|name| (db, name.clone())).collect();
            let Some(more) = call::lock_names(core, &names, &patient) else { return (looked, 0) };
            locks = more;
        }
        self.worker.tick(core);
        let mut ctx = Ctx::new(core, &mut self.worker, &mut self.session, locks, core.table.entry(0), None);
        for name in &due.keys {
            let key = ctx.key(name);
            ctx.peek_in(db, &key);
            block::settle(&mut ctx);
        }
        ctx.session.db = db;
        for name in &due.hashes {
            let key = ctx.key(name);
            ctx.expire_fields(&key, FIELDS);
            // The fields have nothing to do with each other: no transaction in the log, as in Redis.
            for deleted in std::mem::take(&mut ctx.fx.log) {
                core.log.append(&[deleted]);
            }
            block::settle(&mut ctx);
        }
        ctx.end();
        (looked, found)
    }
}
