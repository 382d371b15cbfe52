//! What does a message do to the client that it is for? It becomes bytes in the client's output, or ends a wait.

use std::rc::Rc;

use crate::client::message::{Message, Published};
use crate::net::connection::Conn;
use crate::net::thread::Thread;
use crate::resp::reply::Reply;

/// Delivers one message to a client of this thread.
pub fn deliver(thread: &Rc<Thread>, conn: &Rc<Conn>, message: Message) {
    let mut state = conn.state.borrow_mut();
    match message {
        Message::Published { message, pattern, .. } => {
            let proto = state.session.proto;
            let mut out = Reply::new(&mut state.output, proto);
            published(&mut out, &message, pattern.as_deref());
        }
        Message::Raw { bytes, .. } => state.output.extend_from_slice(&bytes),
        Message::Served { ticket, reply, .. } => {
            let waits = state.blocked.as_ref().is_some_and(|b| b.waiter.ticket == ticket);
            if waits {
                state.blocked = None;
                state.output.extend_from_slice(&reply);
            }
        }
        Message::Kill { .. } => state.killed = true,
        Message::Look { .. } => {}
    }
    drop(state);
    let _ = thread;
    conn.wake();
}

fn published(out: &mut Reply<'_>, message: &Published, pattern: Option<&[u8]>) {
    match pattern {
        Some(pattern) => {
            out.push(4);
            out.bulk(b"pmessage");
            out.bulk(pattern);
        }
        None => {
            out.push(3);
            out.bulk(if message.sharded { b"smessage" } else { b"message" });
        }
    }
    out.bulk(&message.channel);
    out.bulk(&message.payload);
}
