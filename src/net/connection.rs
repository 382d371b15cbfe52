//! How is a client served? Read once, run every complete request of what came, write once; then let others go.
//!
//! A connection is one task. Its state is also reached by the thread's mail task (published messages, served waits)
//! and its cron, which wake the task through [`Conn::wake`]; a borrow of the state is never held across an await.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::client::registry::{Client, ClientType, KILLED, REPLY_BUFFER};
use crate::client::session::Session;
use crate::dispatch::ctx::Blocked;
use crate::dispatch::debug::Handover;
use crate::dispatch::{block, multi, permit};
use crate::error;
use crate::net::batch::{self, Fed};
use crate::net::debug;
use crate::net::feed::Sender;
use crate::net::limits::Rules;
use crate::net::listener::{Accepted, Connected};
use crate::net::stream::Stream;
use crate::net::thread::Thread;
use crate::pubsub::Space;
use crate::resp::reply::Reply;
use crate::resp::request::Parser;

/// The room that the rest of a request is received in at least, and how much room is kept for more output.
const KEEP: usize = 16 * 1024;

/// Input buffers are kept from request to request up to so many bytes, as long as requests need them.
const KEEP_INPUT: usize = 1 << 20;

/// Clients that have sent nothing for so many milliseconds hold no buffers.
const IDLE_MS: u64 = 2000;

/// What a connection keeps between turns.
#[derive(Debug)]
pub struct State {
    /// The client as commands see it.
    pub session: Session,
    /// Where it is in its stream of requests.
    pub parser: Parser,
    /// Received bytes that do not make a whole request yet.
    pub input: Vec<u8>,
    /// The most of them that there have been since the connection was last looked after.
    pub peak: usize,
    /// Replies that have not been sent.
    pub output: Vec<u8>,
    /// How much of the output has been.
    pub sent: usize,
    /// The blocking command under way.
    pub blocked: Option<Blocked>,
    /// The next command waits for the end of a pause.
    pub postponed: bool,
    /// And for this: monotonic milliseconds.
    pub retry_ms: u64,
    /// The output may only be sent once the log is safe up to here.
    pub hold: u64,
    /// Close at once.
    pub killed: bool,
    /// What a replica is sent behind the output.
    pub sender: Option<Box<Sender>>,
    /// When the output went over its soft limit: monotonic milliseconds.
    pub soft_since: Option<u64>,
    /// What it has been counted with against `maxmemory-clients`.
    pub counted: usize,
}

impl State {
    /// Bytes that have not been sent.
    pub fn waiting(&self) -> usize {
        let streamed = self.sender.as_ref().map_or(0, |sender| sender.waiting());
        (self.output.len() - self.sent).saturating_add(usize::try_from(streamed).unwrap_or(usize::MAX))
    }

    /// Keeps received bytes until they can be run. Room is made for the argument that is being received, but never
    /// for more than as much again as has been received of it; beyond that `least` bytes, which spare a client that
    /// sends its requests in pieces most allocations.
    fn keep(&mut self, data: &[u8], least: usize) {
        let (len, need) = (self.input.len(), self.input.len() + data.len());
        if need > self.input.capacity() {
            let whole = len.saturating_add(self.parser.wanted(len));
            let room = if whole < need { need } else { whole.min(need.saturating_mul(2)) };
            self.input.reserve_exact(room.max(least) - len);
        }
        self.input.extend_from_slice(data);
        self.peak = self.peak.max(need);
    }

    /// Gives room back: all that holds nothing when the client is idle, and else what it has not needed of late.
    fn trim(&mut self, idle: bool) {
        let keep = if idle { 0 } else { self.peak.max(KEEP) };
        let (len, room) = (self.input.len(), self.input.capacity());
        if room > keep.max(2 * KEEP) || idle && (len == 0 || room - len > KEEP / 4) {
            self.input.shrink_to(keep);
        }
        self.peak = len;
        if idle {
            self.parser.shrink_to(0);
            if self.output.is_empty() {
                self.output = Vec::new();
            }
        }
    }

    /// True when nothing keeps the next request from running.
    pub(crate) fn may_run(&self) -> bool {
        self.blocked.is_none() && !self.postponed && !self.session.close
    }
}

/// A connection.
pub struct Conn {
    /// What others may know of it.
    pub client: Arc<Client>,
    /// Its state.
    pub state: RefCell<State>,
    stream: RefCell<Stream>,
    waker: Cell<Option<Waker>>,
}

impl Conn {
    /// Gives the connection's task a turn.
    pub fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Its socket. Not to be kept across anything that may reach the connection.
    pub(crate) fn stream(&self) -> std::cell::RefMut<'_, Stream> {
        self.stream.borrow_mut()
    }

    fn remember(&self, cx: &Context<'_>) {
        let kept = self.waker.take();
        match kept {
            Some(waker) if waker.will_wake(cx.waker()) => self.waker.set(Some(waker)),
            _ => self.waker.set(Some(cx.waker().clone())),
        }
    }
}

/// Serves one connection until either side closes it.
pub async fn serve(thread: Rc<Thread>, accepted: Accepted) {
    let Some(connected) = accepted.into_stream(&thread).await else { return };
    let conn = open(&thread, connected);
    last(thread, conn).await;
}

/// Takes on the connections that have been accepted meanwhile: at once, so that they can be served before the thread's
/// loop goes on. Those that have to agree on TLS first wait for the loop.
pub(crate) fn welcome(thread: &Rc<Thread>) {
    while let Ok(accepted) = thread.accepted.borrow_mut().try_recv() {
        match accepted.at_once(thread) {
            Ok(Some(connected)) => {
                let conn = open(thread, connected);
                tokio::task::spawn_local(last(thread.clone(), conn));
            }
            Ok(None) => {}
            Err((socket, acceptor, place)) => {
                let accepted = Accepted::Tcp(socket, Some(acceptor), place);
                tokio::task::spawn_local(serve(thread.clone(), accepted));
            }
        }
    }
}

/// Makes a connection of a socket.
fn open(thread: &Rc<Thread>, (stream, client, place): Connected) -> Rc<Conn> {
    let core = &thread.core;
    let session = Session::new(client.clone(), core.acl.first_login(), core.acl.is_open());
    let state = State {
        session,
        parser: Parser::new(),
        input: Vec::new(),
        peak: 0,
        output: Vec::new(),
        sent: 0,
        blocked: None,
        postponed: false,
        retry_ms: 0,
        hold: 0,
        killed: false,
        sender: None,
        soft_since: None,
        counted: 0,
    };
    let conn = Rc::new(Conn {
        client: client.clone(),
        state: RefCell::new(state),
        stream: RefCell::new(stream),
        waker: Cell::new(None),
    });
    core.clients.seat(client.clone(), place);
    thread.conns.borrow_mut().insert(client.id, conn.clone());
    conn
}

/// Serves an open connection to its end.
async fn last(thread: Rc<Thread>, conn: Rc<Conn>) {
    let client = conn.client.clone();
    let ended = std::future::poll_fn(|cx| turn(&thread, &conn, cx)).await;
    if let Err(why) = ended {
        tracing::debug!("Client {} closed: {why}", client.addr);
    }
    thread.conns.borrow_mut().remove(&client.id);
    farewell(&thread, &conn);
    if let Some(handover) = to_debugger(&conn) {
        let stream = conn.stream.replace(Stream::Gone);
        if let Err(why) = debug::start(&thread.core, handover, stream) {
            tracing::warn!("A script cannot be debugged: {why}");
        }
        return;
    }
    let _ = tokio::time::timeout(
        Duration::from_secs(1),
        std::future::poll_fn(|cx| conn.stream.borrow_mut().poll_shutdown(cx)),
    )
    .await;
}

/// What goes to a debugger, if the connection is to go on there.
fn to_debugger(conn: &Conn) -> Option<Handover> {
    let state = &mut *conn.state.borrow_mut();
    let ahead = std::mem::take(&mut state.input);
    Handover::of(&mut state.session, ahead)
}

/// One turn: sends, runs what has been received, receives. Returns `Pending` when there is nothing to do, or
/// when others should get a turn; `Ready` when the connection is over.
fn turn(thread: &Rc<Thread>, conn: &Rc<Conn>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    conn.remember(cx);
    let mut fed = Fed::Nothing;
    loop {
        let state = &mut *conn.state.borrow_mut();
        if state.killed || conn.client.has(KILLED) {
            return Poll::Ready(Err(io::Error::other("killed")));
        }
        // Large replies count while they are here, even if they can be sent at once.
        if state.waiting() > REPLY_BUFFER && settle(thread, conn, state) {
            return Poll::Ready(Err(io::Error::other("over a limit")));
        }
        let flushed = send(thread, conn, state, cx)?;
        if state.session.close && flushed.is_ready() {
            return Poll::Ready(Ok(()));
        }
        // What cannot be sent, or be run yet, is what a client holds for long.
        if (flushed.is_pending() || !state.input.is_empty()) && settle(thread, conn, state) {
            return Poll::Ready(Err(io::Error::other("over a limit")));
        }
        if fed == Fed::Turn {
            // More requests are waiting, but so may be other clients.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if expire_wait(thread, state) {
            // Its reply goes out first.
            continue;
        }
        expire_pause(thread, conn, state);
        let mut used = 0;
        fed = Fed::Nothing;
        if state.may_run() && !state.input.is_empty() {
            let input = std::mem::take(&mut state.input);
            (used, fed) = batch::feed_all(thread, conn, &mut thread.worker.borrow_mut(), state, &input);
            if !state.killed {
                state.input = input;
                state.input.drain(..used);
                if state.input.is_empty() && state.input.capacity() > KEEP_INPUT {
                    state.input = Vec::new();
                }
            }
        }
        if used == 0 && fed == Fed::Nothing {
            match receive(thread, conn, state, cx)? {
                Poll::Ready(did) => fed = did,
                Poll::Pending if settle(thread, conn, state) => {
                    return Poll::Ready(Err(io::Error::other("over a limit")));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// Counts what the connection holds. True when that is too much, and it is to be closed.
fn settle(thread: &Thread, conn: &Conn, state: &mut State) -> bool {
    let worker = thread.worker.borrow();
    let rules = Rules { core: &thread.core, config: &worker.config, now_ms: worker.mono_ms };
    if !rules.check_input(&conn.client, state) {
        rules.account(&conn.client, state);
    }
    state.killed || conn.client.has(KILLED)
}

/// Reads once and runs what came, straight from the thread's buffer when nothing was left over.
fn receive(
    thread: &Rc<Thread>,
    conn: &Rc<Conn>,
    state: &mut State,
    cx: &mut Context<'_>,
) -> io::Result<Poll<Fed>> {
    let mut buffer = thread.read.borrow_mut();
    let n = match conn.stream.borrow_mut().poll_read(cx, &mut buffer) {
        Poll::Pending => return Ok(Poll::Pending),
        Poll::Ready(Ok(0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
        Poll::Ready(n) => n?,
    };
    let stats = &thread.core.stats.threads[thread.id];
    stats.bytes_in.add(n as u64);
    stats.socket_calls[0].add(1);
    count(&conn.client.traffic[0], n as u64);
    let data = buffer.get(..n).unwrap_or_default();
    let least = if permit::has_entered(&thread.core, &state.session) { KEEP } else { 0 };
    if !state.input.is_empty() || !state.may_run() {
        state.keep(data, least);
        return Ok(Poll::Ready(Fed::Nothing));
    }
    let (used, did) = batch::feed_all(thread, conn, &mut thread.worker.borrow_mut(), state, data);
    if let Some(rest) = data.get(used..).filter(|rest| !state.killed && !rest.is_empty()) {
        state.keep(rest, least);
    }
    Ok(Poll::Ready(did))
}

/// Adds to a counter that only this thread writes.
pub(crate) fn count(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

/// Sends what may be sent. `Ready` when nothing is left.
fn send(
    thread: &Rc<Thread>,
    conn: &Rc<Conn>,
    state: &mut State,
    cx: &mut Context<'_>,
) -> io::Result<Poll<()>> {
    if state.output.is_empty() {
        return if conn.client.kind() == ClientType::Replica {
            send_stream(thread, conn, state, cx)
        } else {
            Ok(Poll::Ready(()))
        };
    }
    if state.hold > thread.core.log_safe() {
        thread.hold(conn);
        return Ok(Poll::Pending);
    }
    let stream = &mut *conn.stream.borrow_mut();
    let id = thread.id;
    let stats = &thread.core.stats.threads[id];
    while let Some(rest) = state.output.get(state.sent..).filter(|r| !r.is_empty()) {
        match stream.poll_write(cx, rest) {
            Poll::Pending => {
                // What has been sent is given back while more comes.
                if state.sent >= KEEP && state.sent >= state.output.len() / 2 {
                    state.output.drain(..state.sent);
                    state.sent = 0;
                }
                conn.client.output.store(state.output.len() - state.sent, Ordering::Relaxed);
                return Ok(Poll::Pending);
            }
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(n) => {
                let n = n?;
                state.sent += n;
                stats.bytes_out.add(n as u64);
                stats.socket_calls[1].add(1);
                count(&conn.client.traffic[1], n as u64);
            }
        }
    }
    state.output.clear();
    state.sent = 0;
    state.soft_since = None;
    if state.output.capacity() > KEEP {
        state.output = Vec::new();
    }
    conn.client.output.store(0, Ordering::Relaxed);
    if conn.client.kind() == ClientType::Replica {
        cx.waker().wake_by_ref();
    }
    Ok(stream.poll_flush(cx)?)
}

/// Bytes that a replica is sent before others get a turn.
const STREAM_TURN: usize = 1 << 20;

/// Sends a replica what comes behind its replies. `Ready` when there is nothing now.
fn send_stream(
    thread: &Rc<Thread>,
    conn: &Rc<Conn>,
    state: &mut State,
    cx: &mut Context<'_>,
) -> io::Result<Poll<()>> {
    if state.sender.is_none() {
        state.sender = Sender::find(thread, conn.client.id);
    }
    let Some(sender) = &mut state.sender else { return Ok(Poll::Ready(())) };
    let stream = &mut *conn.stream.borrow_mut();
    let core = &thread.core;
    let stats = &core.stats.threads[thread.id];
    let mut turn = 0;
    loop {
        let chunk = sender.next(&core.log, &core.replication)?;
        if chunk.is_empty() {
            return Ok(stream.poll_flush(cx)?);
        }
        if turn > STREAM_TURN {
            cx.waker().wake_by_ref();
            return Ok(Poll::Pending);
        }
        match stream.poll_write(cx, chunk) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(n) => {
                let n = n?;
                sender.sent(n);
                turn += n;
                stats.bytes_out.add(n as u64);
                stats.socket_calls[1].add(1);
                count(&conn.client.traffic[1], n as u64);
            }
        }
    }
}

/// Ends a wait whose time is over, or that CLIENT UNBLOCK ended; true when it did.
fn expire_wait(thread: &Rc<Thread>, state: &mut State) -> bool {
    let Some(blocked) = &state.blocked else { return false };
    let unblock = state.session.client.unblock.swap(0, Ordering::AcqRel);
    let now = thread.core.clock.monotonic_us() / 1000;
    if unblock == 0 && blocked.deadline.is_none_or(|at| now < at) {
        return false;
    }
    let on_timeout = blocked.on_timeout;
    if !block::give_up(&thread.core, blocked) {
        return false;
    }
    let error = match unblock {
        2 => Some(error::UNBLOCKED),
        3 => Some(error::NOW_A_REPLICA),
        _ => None,
    };
    state.session.close |= unblock == 3;
    block::count(&thread.core, thread.id, blocked, error.as_ref());
    state.blocked = None;
    if !state.session.answers_late() {
        return true;
    }
    let proto = state.session.proto;
    let mut out = Reply::new(&mut state.output, proto);
    match error {
        Some(error) => out.error(&error),
        None => on_timeout.write(&thread.core, &mut out),
    }
    true
}

/// Milliseconds after which a command that waits for the end of a script is tried again.
const BUSY_MS: u64 = 20;

/// Lets a postponed command run once the pause is over.
fn expire_pause(thread: &Rc<Thread>, conn: &Rc<Conn>, state: &mut State) {
    if !state.postponed {
        return;
    }
    let now = thread.core.clock.monotonic_us() / 1000;
    match thread.core.clients.pause.now(now) {
        Some((_, end)) => wake_at(conn, now, end),
        // It needs a lock that a script holds.
        None if thread.core.scripts.board.is_busy() => wake_at(conn, now, now + BUSY_MS),
        None if state.retry_ms > now => wake_at(conn, now, state.retry_ms),
        None => {
            state.postponed = false;
            thread.core.clients.postponed.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Begins a wait: the task is woken when its time is over.
pub(crate) fn begin_wait(conn: &Rc<Conn>, now_ms: u64, blocked: &Blocked) {
    if let Some(deadline) = blocked.deadline {
        wake_at(conn, now_ms, deadline);
    }
}

/// Gives the connection's task a turn at a point in time.
fn wake_at(conn: &Rc<Conn>, now_ms: u64, at: u64) {
    let conn = Rc::downgrade(conn);
    let ms = at.saturating_sub(now_ms).min(u64::from(u32::MAX) * 1000);
    tokio::task::spawn_local(async move {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        if let Some(conn) = conn.upgrade() {
            conn.wake();
        }
    });
}

/// Keeps back the command that the input begins with until the pause is over.
pub(crate) fn postpone(thread: &Rc<Thread>, conn: &Rc<Conn>, state: &mut State) {
    state.postponed = true;
    thread.core.clients.postponed.fetch_add(1, Ordering::AcqRel);
    expire_pause(thread, conn, state);
}

/// Undoes everything that outlives a connection elsewhere.
fn farewell(thread: &Rc<Thread>, conn: &Rc<Conn>) {
    let core = &thread.core;
    let state = &mut *conn.state.borrow_mut();
    if let Some(blocked) = state.blocked.take() {
        block::give_up(core, &blocked);
    }
    multi::unwatch_closed(core, &mut state.session);
    let id = conn.client.id;
    for name in state.session.channels.drain() {
        core.pubsub.unsubscribe(Space::Channel, &name, id);
    }
    for name in std::mem::take(&mut state.session.patterns) {
        core.pubsub.unsubscribe(Space::Pattern, &name, id);
    }
    for name in state.session.shard_channels.drain() {
        core.pubsub.unsubscribe(Space::Shard, &name, id);
    }
    core.clients.monitors.remove(&conn.client);
    core.clients.held.change(thread.id, std::mem::take(&mut state.counted), 0);
    if std::mem::take(&mut state.postponed) {
        core.clients.postponed.fetch_sub(1, Ordering::AcqRel);
    }
    core.replication.remove(id, &core.log, core.clock.monotonic_us() / 1000);
    core.clients.tracking.disable(&conn.client, std::mem::take(&mut state.session.prefixes).into_iter());
    core.clients.remove(id);
}

/// Ten times a second: time-outs, output limits, idle memory.
pub fn look_after(thread: &Rc<Thread>, conn: &Rc<Conn>) {
    let Ok(mut state) = conn.state.try_borrow_mut() else { return };
    let (config, now) = {
        let worker = thread.worker.borrow();
        (worker.config.clone(), worker.mono_ms)
    };
    let client = &conn.client;
    let idle = now.saturating_sub(client.last_ms.load(Ordering::Relaxed));
    let exempt =
        state.blocked.is_some() || state.session.subscriptions() > 0 || client.kind() == ClientType::Replica;
    if config.timeout > 0 && !exempt && idle > u64::from(config.timeout) * 1000 {
        state.killed = true;
    }
    let rules = Rules { core: &thread.core, config: &config, now_ms: now };
    state.trim(idle > IDLE_MS);
    if !rules.check_output(client, &mut state) {
        rules.account(client, &mut state);
    }
    let wake = state.killed;
    drop(state);
    if wake {
        conn.wake();
    }
}
