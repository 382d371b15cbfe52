//! Who serves a thread's clients while a script hogs it? The thread itself, from inside the script.
//!
//! A script runs in place: below it on the stack are the connection that sent it and the runtime's loop, which cannot
//! go on before it is done. Once it is overdue, the interpreter's hook calls [`attend`] every few milliseconds, and so
//! does a command that walks the keyspace and waits for a shard that such a script holds. It looks at every socket of
//! the thread, past the runtime (whose view of them is stale meanwhile, and which finds out by itself afterwards), runs
//! what is there on a worker of its own, and answers. On that worker only commands with the ALLOW_BUSY flag run; those
//! that need a lock nevertheless (WATCH) wait until the script is over.
//!
//! Invariants: no lock is waited for, or the script would wait for itself; the connection whose command runs is not
//! touched; nothing here awaits. New connections are taken on, but for those that begin with a TLS handshake.

use std::io;
use std::rc::Rc;

use crate::dispatch::worker::Worker;
use crate::net::batch;
use crate::net::connection::{self, Conn, State};
use crate::net::thread::Thread;
use crate::util::rng::Rng;

/// Microseconds between two looks at least; a look that takes long is followed by ten times as much script.
const PAUSE_US: u64 = 2_000;

/// What a thread needs to serve its clients from inside a script.
pub struct StandIn {
    worker: Worker,
    buffer: Vec<u8>,
    /// Monotonic microseconds.
    next_us: u64,
}

/// Looks at the thread's sockets once, if a script is overdue and the last look is not too recent.
pub fn attend(thread: &Rc<Thread>) {
    if !thread.core.scripts.board.is_busy() {
        return;
    }
    // Whoever attends already is further up on the stack.
    let Ok(mut place) = thread.stand_in.try_borrow_mut() else { return };
    if place.is_none() {
        let Ok(rng) = Rng::from_os() else { return };
        let mut worker = Worker::new(thread.id, &thread.core, rng);
        worker.stands_in = true;
        *place = Some(StandIn { worker, buffer: vec![0; 16 * 1024], next_us: 0 });
    }
    let Some(stand_in) = &mut *place else { return };
    let began = thread.core.clock.monotonic_us();
    if began < stand_in.next_us {
        return;
    }
    connection::welcome(thread);
    let conns: Vec<Rc<Conn>> = thread.conns.borrow().values().cloned().collect();
    for conn in conns {
        if let Ok(mut state) = conn.state.try_borrow_mut()
            && serve(thread, stand_in, &conn, &mut state).is_err()
        {
            // The connection's own task will meet the same end.
            conn.wake();
        }
    }
    let now = thread.core.clock.monotonic_us();
    stand_in.next_us = now + (now.saturating_sub(began) * 10).max(PAUSE_US);
}

/// Reads what a client has sent, runs it and answers.
fn serve(thread: &Rc<Thread>, stand_in: &mut StandIn, conn: &Rc<Conn>, state: &mut State) -> io::Result<()> {
    if state.killed || state.session.close || state.sender.is_some() {
        return Ok(());
    }
    let n = match conn.stream().read_now(&mut stand_in.buffer) {
        Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(n) => n,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        Err(error) => return Err(error),
    };
    if n == 0 {
        return Ok(());
    }
    state.input.extend_from_slice(stand_in.buffer.get(..n).unwrap_or_default());
    while state.may_run() && !state.input.is_empty() {
        let input = std::mem::take(&mut state.input);
        let (used, _) = batch::feed_all(thread, conn, &mut stand_in.worker, state, &input);
        state.input = input;
        state.input.drain(..used);
        if used == 0 {
            break;
        }
    }
    if state.hold > thread.core.log_safe() {
        return Ok(());
    }
    while let Some(rest) = state.output.get(state.sent..).filter(|rest| !rest.is_empty()) {
        match conn.stream().write_now(rest) {
            Ok(n) => state.sent += n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
            Err(error) => return Err(error),
        }
    }
    state.output.clear();
    state.sent = 0;
    if state.session.close {
        conn.stream().close_now();
        conn.wake();
    }
    Ok(())
}
