//! What may a command handler do? Everything goes through [`Ctx`]: it finds and changes keys (see `access`), reports
//! changes, waits, and calls other commands. Handlers see neither shards nor threads nor sockets.

use std::sync::Arc;

use crate::client::Session;
use crate::client::message::Message;
use crate::config::Config;
use crate::config::values::OnSignal;
use crate::dispatch::core::Core;
use crate::dispatch::table::Entry;
use crate::dispatch::worker::Worker;
use crate::keyspace::effects::{Effects, Event};
use crate::keyspace::event::{self, Class};
use crate::keyspace::waiter::{Waiter, Wish};
use crate::keyspace::{Key, Keyspace, Locked};
use crate::log::entry::{Logged, Readers, encode_command};
use crate::replication::Goal;
use crate::resp::reply::Reply;
use crate::stats::ThreadStats;
use crate::util::hash::Seed;
use crate::value::{Kind, Limits};

/// On whose behalf a command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A client's request.
    Direct,
    /// A queued command of EXEC.
    Transaction,
    /// Called by a script.
    Script,
    /// Run again for a client that was waiting.
    Serving,
    /// Replayed from the log, or loading.
    Replay,
}

/// What a client reads when its wait ends without success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnTimeout {
    /// A null.
    Null,
    /// A null array.
    NullArray,
    /// How many have acknowledged by then (WAIT, WAITAOF).
    Acknowledged(Goal),
}

impl OnTimeout {
    /// Writes it.
    pub fn write(self, core: &Core, out: &mut Reply<'_>) {
        match self {
            OnTimeout::Null => out.null(),
            OnTimeout::NullArray => out.null_array(),
            OnTimeout::Acknowledged(goal) => {
                let (local, replicas) = goal.reached(core.site());
                if goal.durable {
                    out.array(2);
                    out.int(i64::from(local));
                }
                out.int(replicas as i64);
            }
        }
    }
}

/// A wait that a command asked for.
#[derive(Debug)]
pub struct Wait {
    /// The keys that may end it.
    pub keys: Vec<Box<[u8]>>,
    /// All keys that the command touches when it is served.
    pub touches: Vec<Box<[u8]>>,
    /// What makes them ready.
    pub wish: Wish,
    /// Monotonic milliseconds after which it is over; `None` waits for ever.
    pub deadline: Option<u64>,
    /// The reply then.
    pub on_timeout: OnTimeout,
    /// The command to run again.
    pub argv: Vec<Box<[u8]>>,
    /// What ends it.
    pub until: Until,
}

/// What ends a wait before its time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// A key is ready.
    Ready,
    /// What the command removed has been freed: `+OK` comes then.
    Freed,
    /// Enough replicas have acknowledged.
    Acknowledged(Goal),
    /// The server has ended; the command asks for that.
    Ended(OnSignal),
}

impl Wait {
    /// A wait at no key.
    fn keyless(until: Until, on_timeout: OnTimeout) -> Self {
        Wait {
            keys: Vec::new(),
            touches: Vec::new(),
            wish: Wish { kind: Kind::String, or_gone: false },
            deadline: None,
            on_timeout,
            argv: Vec::new(),
            until,
        }
    }
}

/// A client that is waiting, as its connection keeps it.
#[derive(Debug, Clone)]
pub struct Blocked {
    /// Listed at the keys.
    pub waiter: Arc<Waiter>,
    /// Monotonic milliseconds.
    pub deadline: Option<u64>,
    /// The reply when the time is over.
    pub on_timeout: OnTimeout,
}

/// The world of one running command.
pub struct Ctx<'a> {
    /// The shared parts of the server.
    pub core: &'a Core,
    /// This thread's state.
    pub worker: &'a mut Worker,
    /// The client.
    pub session: &'a mut Session,
    /// The shards that are held.
    pub(crate) locks: Locked<'a>,
    /// What has been changed.
    pub fx: Box<Effects>,
    /// On whose behalf.
    pub mode: Mode,
    /// The running command.
    pub entry: &'a Entry,
    /// A wait that the command asked for.
    pub wait: Option<Wait>,
    /// Commands called by the running one.
    pub(crate) nested: u32,
    /// Data may have been changed: a panic from here on is the end.
    pub(crate) written: bool,
    /// The command came from the primary.
    pub(crate) follows: bool,
    pub(crate) stats: &'a ThreadStats,
    memo: Option<Key<'a>>,
}

impl<'a> Ctx<'a> {
    /// A context for one unit of work. `memo` is the first key of its command, already hashed.
    pub fn new(
        core: &'a Core,
        worker: &'a mut Worker,
        session: &'a mut Session,
        locks: Locked<'a>,
        entry: &'a Entry,
        memo: Option<Key<'a>>,
    ) -> Self {
        let stats = &core.stats.threads[worker.id];
        let fx = worker.effects.take().unwrap_or_default();
        Ctx {
            core,
            worker,
            session,
            locks,
            fx,
            mode: Mode::Direct,
            entry,
            wait: None,
            nested: 0,
            written: false,
            follows: false,
            stats,
            memo,
        }
    }

    /// Ends the context; what it collected effects in serves the next one.
    pub(crate) fn end(self) {
        let Ctx { mut fx, worker, .. } = self;
        fx.clear();
        worker.effects = Some(fx);
    }

    /// The data.
    pub fn keyspace(&self) -> &'a Keyspace {
        &self.core.keyspace
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.worker.config
    }

    /// Hashes a key's name, unless it is the one that dispatch has hashed already, for the command itself or for the
    /// script that calls it.
    pub fn key<'k>(&self, name: &'k [u8]) -> Key<'k> {
        match &self.memo {
            Some(memo) if std::ptr::eq(memo.name, name) || memo.name == name => Key { name, ..*memo },
            _ => self.keyspace().key(name),
        }
    }

    /// When values change their encoding.
    pub fn limits(&self) -> Limits {
        self.worker.limits
    }

    /// What large sets and hashes hash with.
    pub fn seed(&self) -> Seed {
        self.core.keyspace.seed()
    }

    /// The selected database.
    pub fn db(&self) -> usize {
        self.session.db
    }

    /// Wall clock, unix milliseconds, the same during a whole batch.
    pub fn now_ms(&self) -> u64 {
        self.worker.now_ms
    }

    /// Reports a change of a key: dirty count, WATCH, waiting clients, and a keyspace event. The only way to do so.
    pub fn changed(&mut self, key: &Key<'_>, class: Class, name: &'static str) {
        self.changed_by(1, key, class, name);
    }

    /// Like [`Ctx::changed`], for `n` changes at once.
    pub fn changed_by(&mut self, n: u64, key: &Key<'_>, class: Class, name: &'static str) {
        self.changed_in(self.session.db, n, key, class, name);
    }

    /// Like [`Ctx::changed_by`], in another database (MOVE, COPY).
    pub fn changed_in(&mut self, db: usize, n: u64, key: &Key<'_>, class: Class, name: &'static str) {
        self.touched_in(db, n, key);
        self.notify_in(db, key, class, name);
    }

    /// A change without an event of its own.
    pub fn touched_in(&mut self, db: usize, n: u64, key: &Key<'_>) {
        self.touched_by(self.session.client.id, db, n, key);
    }

    /// A change that a client made, or nobody (0).
    pub(crate) fn touched_by(&mut self, client: u64, db: usize, n: u64, key: &Key<'_>) {
        self.fx.dirty += n;
        let mut tracked = self.core.clients.tracking.prefixes() > 0;
        if let Some(shard) = self.locks.shard(key.shard) {
            let data = &shard.dbs[db];
            data.touch_watchers(key.name);
            if data.waiters.has(key.name) {
                self.fx.ready.push((db, key.name.into()));
            }
            tracked |= !shard.tracked.is_empty();
        }
        if tracked {
            self.tell_trackers(key, client);
        }
    }

    /// `n` changes that neither WATCH nor waiting clients see: what consumer groups know about a stream.
    pub fn changed_unseen(&mut self, n: u64) {
        self.fx.dirty += n;
    }

    /// Lets the clients that wait for a key look at it again, though it has not changed.
    pub fn wake(&mut self, key: &Key<'_>) {
        let db = self.session.db;
        if self.data(key).waiters.has(key.name) {
            self.fx.ready.push((db, key.name.into()));
        }
    }

    /// A change without an event of its own, in the selected database.
    pub fn touched(&mut self, n: u64, key: &Key<'_>) {
        self.touched_in(self.session.db, n, key);
    }

    /// Publishes a keyspace event that is no change by itself, or goes with one that was reported.
    pub fn notify(&mut self, key: &Key<'_>, class: Class, name: &'static str) {
        self.notify_in(self.session.db, key, class, name);
    }

    /// [`Ctx::notify`] in another database.
    pub fn notify_in(&mut self, db: usize, key: &Key<'_>, class: Class, name: &'static str) {
        if self.worker.notify.contains(class) && !self.worker.notify.is_silent() {
            self.fx.events.push(Event { db, class, name, key: key.name.into() });
        }
    }

    /// The log gets this command instead of the one that is running; call it again for several. For commands whose
    /// outcome depends on chance, on the time or on what was there.
    pub fn propagate_as<T: AsRef<[u8]>>(&mut self, argv: &[T]) {
        let encoded = if self.core.log.is_enabled() { encode_command(argv) } else { Vec::new() };
        self.fx.instead.get_or_insert_default().push(encoded);
    }

    /// True when what is propagated goes anywhere: commands ask before they put together what is costly.
    pub fn is_logged(&self) -> bool {
        self.core.log.is_enabled()
    }

    /// The log gets nothing for the running command.
    pub fn propagate_nothing(&mut self) {
        self.fx.instead.get_or_insert_default();
    }

    /// The log gets this command in front of the running one.
    pub(crate) fn log_before(&mut self, db: usize, argv: &[&[u8]]) {
        if self.core.log.is_enabled() && self.mode != Mode::Replay {
            self.fx.log.push(Logged::new(db, encode_command(argv)));
        }
    }

    /// True when the command may leave its client waiting.
    pub fn may_wait(&self) -> bool {
        self.mode == Mode::Direct
    }

    /// Leaves the client waiting until one of `keys` is ready, or answers at once with what a time-out answers when
    /// it may not wait (in a transaction or script). `timeout_ms` of 0 is for ever. The command runs again when a
    /// key is ready; if it then calls this again the client goes on waiting in its place.
    pub fn wait_for(
        &mut self,
        argv: &[&[u8]],
        keys: &[&[u8]],
        wish: Wish,
        timeout_ms: u64,
        on_timeout: OnTimeout,
        out: &mut Reply<'_>,
    ) {
        match self.mode {
            Mode::Direct | Mode::Serving => {
                let owned = |list: &[&[u8]]| list.iter().map(|k| Box::from(*k)).collect::<Vec<Box<[u8]>>>();
                let mut at = Vec::new();
                let found = crate::dispatch::keys::extract(self.entry.row, argv, &mut at);
                let touches = match found {
                    Some(()) => at.iter().filter_map(|k| argv.get(k.index)).map(|k| Box::from(*k)).collect(),
                    None => owned(keys),
                };
                let deadline = (timeout_ms > 0).then(|| self.worker.mono_ms.saturating_add(timeout_ms));
                let (keys, argv) = (owned(keys), owned(argv));
                let until = Until::Ready;
                self.wait = Some(Wait { keys, touches, wish, deadline, on_timeout, argv, until });
            }
            _ => on_timeout.write(self.core, out),
        }
    }

    /// Leaves the client waiting until what its command removed has been freed, or frees it now where nobody may
    /// wait. Answers `+OK` then.
    pub fn wait_until_freed(&mut self, out: &mut Reply<'_>) {
        if !self.may_wait() || self.fx.garbage.is_empty() {
            self.fx.garbage.clear();
            out.ok();
            return;
        }
        self.wait = Some(Wait::keyless(Until::Freed, OnTimeout::Null));
    }

    /// Asks for the server's end, and leaves the client waiting for it.
    pub fn wait_until_ended(&mut self, how: OnSignal) {
        self.wait = Some(Wait::keyless(Until::Ended(how), OnTimeout::Null));
    }

    /// Leaves the client waiting until a goal is met, or answers with what has been reached where nobody may wait.
    pub fn wait_acknowledged(&mut self, goal: Goal, timeout_ms: u64, out: &mut Reply<'_>) {
        let on_timeout = OnTimeout::Acknowledged(goal);
        if !self.may_wait() || goal.is_met(self.core.site()) {
            on_timeout.write(self.core, out);
            return;
        }
        let deadline = (timeout_ms > 0).then(|| self.worker.mono_ms.saturating_add(timeout_ms));
        self.wait = Some(Wait { deadline, ..Wait::keyless(Until::Acknowledged(goal), on_timeout) });
    }

    /// Replicas get this command, and the append-only file does not (PUBLISH).
    pub fn tell_replicas(&mut self, argv: &[&[u8]]) {
        if self.core.log.is_streaming() && self.mode != Mode::Replay {
            let (db, to) = (self.session.db, Readers::REPLICAS);
            self.fx.log.push(Logged { db, bytes: encode_command(argv), to });
        }
    }

    /// Sends a message to subscribers, once the command is done. Returns how many will hear it.
    pub fn publish(&mut self, sharded: bool, channel: &[u8], payload: &[u8]) -> usize {
        self.core.pubsub.publish(&self.core.clients, sharded, channel, payload)
    }

    /// Leaves a message for another client.
    pub fn post(&self, message: Message) {
        self.core.clients.post(message);
    }

    /// Publishes the events that the unit collected.
    pub(crate) fn publish_events(&mut self) {
        let events = std::mem::take(&mut self.fx.events);
        if !self.core.pubsub.is_active() {
            return;
        }
        let selected = self.worker.notify;
        for e in events {
            if selected.contains(event::KEYSPACE) {
                let channel = [format!("__keyspace@{}__:", e.db).as_bytes(), &e.key].concat();
                self.publish(false, &channel, e.name.as_bytes());
            }
            if selected.contains(event::KEYEVENT) {
                let channel = format!("__keyevent@{}__:{}", e.db, e.name);
                self.publish(false, channel.as_bytes(), &e.key);
            }
        }
    }
}
