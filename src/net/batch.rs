//! How are the requests of one read run? All complete ones are parsed first, their keys are hashed and fetched into
//! the cache, and then they run one after the other.

use std::ops::Range;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use crate::client::registry::TRACKING_CACHING;
use crate::client::session::ReplyMode;
use crate::dispatch::call;
use crate::dispatch::core::Core;
use crate::dispatch::permit;
use crate::dispatch::spec::{FOR_SUBSCRIBERS, PUBSUB};
use crate::dispatch::table::Entry;
use crate::dispatch::worker::Worker;
use crate::error::Error;
use crate::keyspace::{Key, Target};
use crate::net::connection::{self, Conn, State};
use crate::net::deliver;
use crate::net::limits::{self, Rules};
use crate::net::thread::Thread;
use crate::resp::reply::Reply;
use crate::resp::request::{self, Limits, Parsed};

/// Requests that one turn runs at most.
const BATCH: usize = 64;

/// Room for the places of so many arguments is kept between requests: longer ones are rare.
const KEPT_ARGS: usize = 1024;

/// What feeding bytes came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fed {
    /// No whole request was there.
    Nothing,
    /// All whole requests have been run.
    All,
    /// A batch has been run, and there may be more.
    Turn,
}

/// A request of the batch: its arguments, and where it ends in the data.
struct Request {
    args: Range<usize>,
    end: usize,
}

/// The requests of one batch, as parsed.
struct Batch<'d> {
    argv: Vec<&'d [u8]>,
    requests: SmallVec<[Request; 16]>,
    /// Bytes of the data that have been understood.
    end: usize,
    /// Why the stream cannot be understood any further.
    broken: Option<String>,
}

/// Runs the complete requests at the start of `data`, batch after batch, unless others should get a turn. Returns how
/// many bytes of it are done with.
pub fn feed_all(
    thread: &Rc<Thread>,
    conn: &Rc<Conn>,
    worker: &mut Worker,
    state: &mut State,
    data: &[u8],
) -> (usize, Fed) {
    let (used, fed) = feed_batches(thread, conn, worker, state, data);
    // Before its replies are sent: who has got them may ask.
    conn.client.query[0].store(data.len() - used, Ordering::Relaxed);
    (used, fed)
}

fn feed_batches(
    thread: &Rc<Thread>,
    conn: &Rc<Conn>,
    worker: &mut Worker,
    state: &mut State,
    data: &[u8],
) -> (usize, Fed) {
    let (mut used, mut fed) = (0, Fed::Nothing);
    // Inline requests are batches of one.
    for _ in 0..BATCH {
        let (more, did) = feed(thread, conn, worker, state, data.get(used..).unwrap_or_default());
        used += more;
        if did == Fed::Nothing {
            return (used, fed);
        }
        fed = did;
        let goes_on = did == Fed::All && more > 0 && used < data.len();
        if !goes_on || !state.may_run() || state.killed {
            return (used, fed);
        }
    }
    (used, Fed::Turn)
}

/// Runs a batch of the complete requests at the start of `data`. Returns how many bytes of it are done with.
fn feed(
    thread: &Rc<Thread>,
    conn: &Rc<Conn>,
    worker: &mut Worker,
    state: &mut State,
    data: &[u8],
) -> (usize, Fed) {
    worker.tick(&thread.core);
    let (began, ran) = (worker.stamp_us, &thread.core.stats.threads[worker.id].processed);
    let before = ran.get();
    let fed = run_all(thread, conn, worker, state, data);
    let turns = &thread.core.stats.threads[worker.id].turns;
    turns.took(worker.stamp_us.saturating_sub(began), ran.get().saturating_sub(before));
    fed
}

fn run_all(
    thread: &Rc<Thread>,
    conn: &Rc<Conn>,
    worker: &mut Worker,
    state: &mut State,
    data: &[u8],
) -> (usize, Fed) {
    let core = &*thread.core;
    let entered = permit::has_entered(core, &state.session);
    let limits = Limits { max_bulk: worker.config.proto_max_bulk_len as i64, authenticated: entered };
    let mut words = Vec::new();
    let batch = parse(state, data, limits, &mut words);
    conn.client.last_ms.store(worker.mono_ms, Ordering::Relaxed);
    let mut known = SmallVec::with_capacity(batch.requests.len());
    look_up(core, &batch, &mut known);
    prefetch(core, state.session.db, &batch, &known);
    let mut ran = Fed::Nothing;
    let mut done = 0;
    let most =
        if entered { limits::most_output(&worker.config, conn.client.kind()) } else { limits::STRANGER };
    conn.client.query[0].store(data.len(), Ordering::Relaxed);
    for (request, &(entry, key)) in batch.requests.iter().zip(&known) {
        let argv = batch.argv.get(request.args.clone()).unwrap_or_default();
        ran = Fed::All;
        if entry.is_none() && speaks_http(argv) {
            reject_attack(thread, conn, worker, state);
            return (request.end, Fed::All);
        }
        if !argv.is_empty() {
            let outcome = run_one(thread, conn, worker, state, argv, entry.map(|e| (e, key)));
            if outcome == Ran::Postponed {
                state.parser.restart();
                connection::postpone(thread, conn, state);
                return (done, Fed::All);
            }
            connection::count(&conn.client.traffic[2], 1);
        }
        if state.waiting() >= most {
            rules(thread, worker).check_output(&conn.client, state);
        }
        if state.blocked.is_some() || state.session.close || state.killed {
            // What was parsed ahead is parsed again when its turn comes.
            state.parser.restart();
            return (request.end, Fed::All);
        }
        done = request.end;
    }
    if let Some(why) = batch.broken {
        let proto = state.session.proto;
        Reply::new(&mut state.output, proto).error(&Error::text(format!("ERR Protocol error: {why}")));
        state.session.close = true;
        return (data.len(), Fed::All);
    }
    if batch.requests.len() >= BATCH && batch.end < data.len() {
        ran = Fed::Turn;
    }
    (batch.end, ran)
}

/// Parses up to [`BATCH`] requests; inline ones are unquoted into `words`, and end the batch.
fn parse<'d>(state: &mut State, data: &'d [u8], limits: Limits, words: &'d mut Vec<Vec<u8>>) -> Batch<'d> {
    let mut batch = Batch { argv: Vec::with_capacity(64), requests: SmallVec::new(), end: 0, broken: None };
    // Who has not authenticated may be allowed more by its next command.
    let most = if limits.authenticated { BATCH } else { 1 };
    while batch.requests.len() < most {
        let rest = data.get(batch.end..).unwrap_or_default();
        let from = batch.argv.len();
        if limits.authenticated && !state.parser.in_request() {
            if let Some(len) = request::quick(rest, &mut batch.argv) {
                batch.end += len;
                batch.requests.push(Request { args: from..batch.argv.len(), end: batch.end });
                continue;
            }
            batch.argv.truncate(from);
        }
        match state.parser.next(rest, limits) {
            Parsed::Request { len } => {
                batch.argv.extend(state.parser.args().iter().filter_map(|r| rest.get(r.clone())));
                state.parser.shrink_to(KEPT_ARGS);
                batch.end += len;
                batch.requests.push(Request { args: from..batch.argv.len(), end: batch.end });
            }
            Parsed::Inline { words: inline, len } => {
                *words = inline;
                batch.argv.extend(words.iter().map(Vec::as_slice));
                batch.end += len;
                batch.requests.push(Request { args: from..batch.argv.len(), end: batch.end });
                return batch;
            }
            Parsed::Incomplete => return batch,
            Parsed::Broken(why) => {
                batch.broken = Some(why);
                return batch;
            }
        }
    }
    batch
}

type Known<'k> = SmallVec<[(Option<&'k Entry>, Option<Key<'k>>); 16]>;

/// Finds the rows of a batch's commands and hashes their keys; with several, brings their entries into the cache.
fn look_up<'k>(core: &'k Core, batch: &Batch<'k>, known: &mut Known<'k>) {
    let mut last: Option<(&[u8], &Entry)> = None;
    for request in &batch.requests {
        let argv = batch.argv.get(request.args.clone()).unwrap_or_default();
        let Some(&name) = argv.first() else {
            known.push((None, None));
            continue;
        };
        let entry = match last {
            Some((same, entry)) if same == name => Some(entry),
            _ => core.table.by_request(name),
        };
        let Some(entry) = entry else {
            known.push((None, None));
            continue;
        };
        last = Some((name, entry));
        let key = argv.get(1).filter(|_| entry.single_key).map(|k| core.keyspace.key(k));
        known.push((entry.subcommands.is_empty().then_some(entry), key));
    }
}

/// Brings what several commands will look at into the cache.
fn prefetch(core: &Core, db: usize, batch: &Batch<'_>, known: &Known<'_>) {
    let targets = batch.requests.iter().zip(known).filter_map(|(request, (entry, key))| {
        let element = entry.and_then(|entry| entry.row.element);
        let element = element.and_then(|at| batch.argv.get(request.args.clone())?.get(usize::from(at)));
        key.as_ref().map(|key| Target { key, element: element.copied() })
    });
    let mut targets: SmallVec<[Target<'_>; BATCH]> = targets.collect();
    if targets.len() > 1 {
        core.keyspace.prefetch(db, &mut targets);
    }
}

/// Milliseconds after which a command is tried again that waits for a snapshot to save its value.
const UNSAVED_MS: u64 = 2;

/// What running a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ran {
    /// It has been answered, or waits.
    Done,
    /// It must be run again when a pause is over.
    Postponed,
}

/// True for lines that web browsers send and no client of ours does: someone may have a browser attack the server.
fn speaks_http(argv: &[&[u8]]) -> bool {
    argv.first().is_some_and(|name| name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:"))
}

/// Closes the connection without another word, and tells the operator, but not all the time.
fn reject_attack(thread: &Thread, conn: &Conn, worker: &Worker, state: &mut State) {
    const MINUTE: u64 = 60_000;
    let last = &thread.core.stats.attack_ms;
    let before = last.load(Ordering::Relaxed);
    if before == 0 || worker.mono_ms.saturating_sub(before) > MINUTE {
        last.store(worker.mono_ms.max(1), Ordering::Relaxed);
        tracing::warn!(
            "Possible SECURITY ATTACK: {} sends POST or Host: as a browser does that is abused to reach this server. \
             The connection is closed.",
            conn.client.addr
        );
    }
    state.killed = true;
}

fn rules<'r>(thread: &'r Thread, worker: &'r Worker) -> Rules<'r> {
    Rules { core: &thread.core, config: &worker.config, now_ms: worker.mono_ms }
}

fn is_client(argv: &[&[u8]]) -> bool {
    argv.first().is_some_and(|name| name.eq_ignore_ascii_case(b"client"))
}

/// Runs one request and deals with what it came to.
fn run_one<'r>(
    thread: &Rc<Thread>,
    conn: &Rc<Conn>,
    worker: &'r mut Worker,
    state: &'r mut State,
    argv: &'r [&'r [u8]],
    known: Option<(&'r Entry, Option<Key<'r>>)>,
) -> Ran {
    if call::prepare(&thread.core, worker) {
        deliver::mail(thread, rules(thread, worker), Some((conn, &mut *state)));
    }
    let start = state.output.len();
    let before = state.session.reply_mode;
    let proto = state.session.proto;
    let now = worker.mono_ms;
    let most = limits::most_output(&worker.config, conn.client.kind());
    let mut out = Reply::new(&mut state.output, proto).at_most(most.saturating_add(state.sent));
    let outcome = call::run(&thread.core, worker, &mut state.session, argv, known, &mut out);
    if outcome.postponed {
        state.retry_ms = if outcome.unsaved { now + UNSAVED_MS } else { 0 };
        return Ran::Postponed;
    }
    if outcome.logged > 0 {
        state.hold = outcome.logged;
    }
    if let Some(blocked) = outcome.blocked {
        connection::begin_wait(conn, now, &blocked);
        state.blocked = Some(blocked);
    }
    let silenced = match (before, state.session.reply_mode) {
        (_, ReplyMode::SkipNext) => {
            state.session.reply_mode = ReplyMode::Skip;
            true
        }
        // Of a command that waits, the reply to come is skipped.
        (ReplyMode::Skip, ReplyMode::Skip) if state.blocked.is_none() => {
            state.session.reply_mode = ReplyMode::On;
            true
        }
        (_, mode) => mode == ReplyMode::Off,
    };
    // Confirmations of subscriptions are messages, not replies.
    let is_message = known.is_some_and(|(entry, _)| entry.row.is(PUBSUB | FOR_SUBSCRIBERS));
    if silenced && !is_message {
        state.output.truncate(start);
    }
    // CLIENT CACHING is for the command or transaction after it.
    if conn.client.has(TRACKING_CACHING) && state.session.multi.is_none() && !is_client(argv) {
        conn.client.set(TRACKING_CACHING, false);
    }
    // What the command told its own client comes after its reply, and before the next one.
    if thread.core.clients.mailbox(worker.id).is_filled() {
        deliver::mail(thread, rules(thread, worker), Some((conn, state)));
    }
    Ran::Done
}
