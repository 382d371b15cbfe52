//! What runs on an I/O thread? Its connections, its mailbox, its cron: all on one current-thread runtime, so nothing
//! here needs a lock.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;

use crate::client::message::Message;
use crate::dispatch::core::Core;
use crate::dispatch::tracking;
use crate::dispatch::worker::Worker;
use crate::net::connection::{self, Conn};
use crate::net::deliver;
use crate::net::limits::Rules;
use crate::net::listener::Accepted;
use crate::net::standin::{self, StandIn};

/// Bytes that one read takes at most; shared by all connections of the thread.
const READ_SIZE: usize = 64 * 1024;

/// One I/O thread.
pub struct Thread {
    /// Its index.
    pub id: usize,
    /// The shared parts of the server.
    pub core: Arc<Core>,
    /// The thread's own state.
    pub worker: RefCell<Worker>,
    /// Its connections.
    pub conns: RefCell<HashMap<u64, Rc<Conn>>>,
    /// Where sockets are read into; a connection keeps only what is left of an incomplete request.
    pub read: RefCell<Vec<u8>>,
    /// Room for messages while they are delivered.
    pub mail: RefCell<Vec<Message>>,
    /// Connections whose output waits for the log.
    pub holding: RefCell<Vec<Rc<Conn>>>,
    /// Connections that have been accepted for it.
    pub accepted: RefCell<UnboundedReceiver<Accepted>>,
    /// Serves the connections from inside a script that hogs the thread.
    pub stand_in: RefCell<Option<StandIn>>,
    flush: tokio::sync::Notify,
}

impl Thread {
    /// The state of a thread.
    pub fn new(core: Arc<Core>, mut worker: Worker, accepted: UnboundedReceiver<Accepted>) -> Rc<Self> {
        Rc::new_cyclic(|this: &Weak<Thread>| {
            let this = this.clone();
            worker.meanwhile = Some(Rc::new(move || {
                if let Some(thread) = this.upgrade() {
                    standin::attend(&thread);
                }
            }));
            Thread {
                id: worker.id,
                mail: RefCell::default(),
                core,
                worker: RefCell::new(worker),
                conns: RefCell::default(),
                read: RefCell::new(vec![0; READ_SIZE]),
                holding: RefCell::default(),
                accepted: RefCell::new(accepted),
                stand_in: RefCell::default(),
                flush: tokio::sync::Notify::new(),
            }
        })
    }

    /// Takes on accepted connections until the server stops.
    pub async fn run(self: Rc<Self>) {
        tokio::task::spawn_local(mail(self.clone()));
        tokio::task::spawn_local(cron(self.clone()));
        tokio::task::spawn_local(flush(self.clone()));
        let next = |cx: &mut Context<'_>| self.accepted.borrow_mut().poll_recv(cx);
        while let Some(accepted) = std::future::poll_fn(next).await {
            tokio::task::spawn_local(connection::serve(self.clone(), accepted));
        }
    }
}

impl Thread {
    /// Keeps a connection's output back until the log is safe; it is woken then.
    pub fn hold(&self, conn: &Rc<Conn>) {
        self.holding.borrow_mut().push(conn.clone());
        self.flush.notify_one();
    }
}

/// Makes the log safe for the connections that wait for it: once for all that ran in this turn of the loop.
async fn flush(thread: Rc<Thread>) {
    loop {
        thread.flush.notified().await;
        // Whoever is ready to run gets to append first.
        tokio::task::yield_now().await;
        thread.core.flush_log().await;
        let held = std::mem::take(&mut *thread.holding.borrow_mut());
        held.iter().for_each(|conn| conn.wake());
    }
}

/// Hands messages to the thread's clients as they come.
async fn mail(thread: Rc<Thread>) {
    loop {
        thread.core.clients.mailbox(thread.id).filled().await;
        let worker = &mut *thread.worker.borrow_mut();
        worker.tick(&thread.core);
        let rules = Rules { core: &thread.core, config: &worker.config, now_ms: worker.mono_ms };
        deliver::mail(&thread, rules, None);
    }
}

/// Looks after the thread's clients ten times a second.
async fn cron(thread: Rc<Thread>) {
    let mut every = tokio::time::interval(Duration::from_millis(100));
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        thread.worker.borrow_mut().tick(&thread.core);
        if thread.core.persist.knobs.cron_paused.load(Ordering::Relaxed) {
            continue;
        }
        if thread.id == 0 {
            let worker = &mut *thread.worker.borrow_mut();
            // Commands do some of this too; so much of it at once keeps nobody waiting.
            (0..50).take_while(|_| tracking::forget_some(&thread.core, worker)).for_each(drop);
        }
        let conns: Vec<Rc<Conn>> = thread.conns.borrow().values().cloned().collect();
        for conn in conns {
            connection::look_after(&thread, &conn);
        }
    }
}
