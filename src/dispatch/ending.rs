//! How does the server come to its end? SHUTDOWN or a signal asks for it. Replicas that lag behind get time to catch up,
//! while nobody writes; then persistence does its part, and the process may go.
//!
//! ```text
//!              replicas lag behind      they have caught up, or shutdown-timeout is over
//! None -> Asked -----------------> Waiting --------------------------------------------> Leaving -> (the process ends)
//!   ^       `---------------------------------------------------------------------------^  |
//!   `------------ SHUTDOWN ABORT, from Asked and Waiting; from Leaving when the data cannot be saved
//! ```
//!
//! Invariants: one thread takes all steps but those back to None ([`run`]); clients that have sent SHUTDOWN wait, and are
//! only ever answered that it failed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::client::pause::{Holder, Paused};
use crate::config::values::OnSignal;
use crate::dispatch::block;
use crate::dispatch::core::Core;
use crate::error::Error;
use crate::keyspace::waiter::Waiter;
use crate::log::entry::encode_command;
use crate::persist::shutdown;
use crate::replication::replica_name;
use crate::resp::reply::Reply;

/// How often replicas and DEBUG PAUSE-CRON are looked at.
const TICK: Duration = Duration::from_millis(10);

const FAILED: Error = Error::new("ERR Errors trying to SHUTDOWN. Check logs.");

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Step {
    /// The server goes on.
    #[default]
    None,
    /// Somebody wants it to end; a signal only has its way when the server does its regular work.
    Asked { how: OnSignal, by_signal: bool },
    /// Replicas get time, until then: monotonic milliseconds.
    Waiting { until: u64 },
    /// Data is being saved.
    Leaving,
}

#[derive(Debug, Default)]
struct Plan {
    step: Step,
    /// The clients that wait for it.
    clients: Vec<Arc<Waiter>>,
}

/// How far the server's end has come.
#[derive(Debug, Default)]
pub struct Ending {
    plan: Mutex<Plan>,
    changed: Condvar,
    /// The process may end.
    pub done: tokio::sync::Notify,
}

impl Ending {
    /// Asks for the end, on behalf of a client, which is answered if it comes to nothing, or of a signal. Whoever asks
    /// while it is under way joins in.
    pub fn ask(&self, how: OnSignal, client: Option<Arc<Waiter>>) {
        let mut plan = self.plan.lock();
        if plan.step == Step::None {
            plan.step = Step::Asked { how, by_signal: client.is_none() };
            self.changed.notify_one();
        }
        plan.clients.extend(client);
    }

    /// True when somebody has asked for the end.
    pub fn is_under_way(&self) -> bool {
        self.plan.lock().step != Step::None
    }

    /// Milliseconds that replicas have left to catch up, while they are waited for. `now` is monotonic.
    pub fn left_ms(&self, now: u64) -> Option<u64> {
        match self.plan.lock().step {
            Step::Waiting { until } => Some(until.saturating_sub(now)),
            _ => None,
        }
    }

    /// Takes a step on; false when the end has been called off meanwhile.
    fn step(&self, from: impl Fn(Step) -> bool, to: Step) -> bool {
        let mut plan = self.plan.lock();
        let goes_on = from(plan.step);
        if goes_on {
            plan.step = to;
        }
        goes_on
    }
}

fn now_ms(core: &Core) -> u64 {
    core.clock.monotonic_us() / 1000
}

/// SHUTDOWN ABORT: calls the end off. False when nobody has asked for it, or it is too late.
pub fn abort(core: &Core) -> bool {
    let plan = core.ending.plan.lock();
    if !matches!(plan.step, Step::Asked { .. } | Step::Waiting { .. }) {
        return false;
    }
    call_off(core, plan);
    tracing::warn!("Shutdown manually aborted.");
    true
}

/// The server goes on, and those who wanted otherwise are told.
fn call_off(core: &Core, mut plan: MutexGuard<'_, Plan>) {
    let Plan { clients, .. } = std::mem::take(&mut *plan);
    core.ending.changed.notify_one();
    drop(plan);
    core.clients.resume(Holder::End);
    for waiter in clients {
        let mut reply = Vec::new();
        Reply::new(&mut reply, waiter.proto).error(&FAILED);
        block::answer(core, &waiter, reply);
    }
}

/// Ends the server when somebody asks for it. Returns when the process may go.
pub fn run(core: &Core) {
    while !attempt(core) {}
    core.ending.done.notify_one();
}

/// Waits until somebody asks, and does it; false when it has come to nothing.
fn attempt(core: &Core) -> bool {
    let how = wait_for_wish(core);
    tracing::info!("User requested shutdown...");
    if !wait_for_replicas(core, how) {
        return false;
    }
    report_replicas(core);
    let left = shutdown::prepare(core.world(), how, core.is_loading()).is_ok();
    if !left {
        tracing::warn!("Errors trying to shut down the server. Check the logs for more information.");
        call_off(core, core.ending.plan.lock());
    }
    left
}

fn wait_for_wish(core: &Core) -> OnSignal {
    let mut plan = core.ending.plan.lock();
    loop {
        match plan.step {
            Step::Asked { by_signal: true, .. } if core.persist.knobs.cron_paused.load(Ordering::Acquire) => {
                core.ending.changed.wait_for(&mut plan, TICK);
            }
            Step::Asked { how, .. } => return how,
            _ => core.ending.changed.wait(&mut plan),
        }
    }
}

/// Lets replicas catch up while nobody writes, for as long as the settings allow. False when the end was called off.
fn wait_for_replicas(core: &Core, how: OnSignal) -> bool {
    let asked = |step| matches!(step, Step::Asked { .. });
    let timeout = u64::from(core.config.load().shutdown_timeout) * 1000;
    if how.now || timeout == 0 || lagging(core) == 0 {
        return core.ending.step(asked, Step::Leaving);
    }
    let now = now_ms(core);
    let until = now.saturating_add(timeout);
    if !core.ending.step(asked, Step::Waiting { until }) {
        return false;
    }
    core.clients.pause.begin(Holder::End, Paused::Writes, now, u64::MAX);
    if !core.replication.link.is_replica() {
        core.log.tell_replicas(&encode_command(&["REPLCONF", "GETACK", "*"]));
        core.replication.wake();
    }
    tracing::info!("Waiting for replicas before shutting down.");
    let waiting = |step| step == Step::Waiting { until };
    while now_ms(core) < until && lagging(core) > 0 {
        let mut plan = core.ending.plan.lock();
        if waiting(plan.step) {
            core.ending.changed.wait_for(&mut plan, TICK);
        }
        if !waiting(plan.step) {
            // It may have begun after the end was called off.
            drop(plan);
            core.clients.resume(Holder::End);
            return false;
        }
    }
    core.ending.step(waiting, Step::Leaving)
}

/// How many replicas have not acknowledged everything.
fn lagging(core: &Core) -> usize {
    let end = core.log.mark().offset;
    core.replication.all().iter().filter(|r| r.acked[0].load(Ordering::Acquire) != end).count()
}

/// Tells in the log what the server leaves its replicas with.
fn report_replicas(core: &Core) {
    let (replicas, end) = (core.replication.all(), core.log.mark().offset);
    let mut in_sync = 0;
    for replica in &replicas {
        let acked = replica.acked[0].load(Ordering::Acquire);
        if acked == end {
            in_sync += 1;
            continue;
        }
        tracing::info!(
            "Lagging replica {} reported offset {} behind master, lag={}, state={}.",
            replica_name(replica),
            end.saturating_sub(acked),
            replica.lag(now_ms(core)),
            replica.phase().name()
        );
    }
    if !replicas.is_empty() {
        tracing::info!("{in_sync} of {} replicas are in sync when shutting down.", replicas.len());
    }
}
