//! What does a message do to the client that it is for? It becomes bytes in the client's output, or ends a wait.

use std::rc::Rc;

use crate::client::message::{Message, Published, Stale};
use crate::client::{Client, Session};
use crate::dispatch::core::Core;
use crate::dispatch::permit;
use crate::net::connection::{Conn, State};
use crate::net::limits::Rules;
use crate::net::thread::Thread;
use crate::pubsub::Space;
use crate::resp::reply::Reply;

/// Delivers what is in the thread's mailbox. `busy` is a connection whose state the caller has borrowed.
pub fn mail(thread: &Thread, rules: Rules<'_>, mut busy: Option<(&Rc<Conn>, &mut State)>) {
    let mut messages = thread.mail.take();
    thread.core.clients.mailbox(thread.id).take(&mut messages);
    for message in messages.drain(..) {
        let to = message.to();
        match &mut busy {
            Some((conn, state)) if conn.client.id == to => deliver(&conn.client, state, rules, message),
            _ => {
                let conn = thread.conns.borrow().get(&to).cloned();
                if let Some(conn) = conn {
                    deliver(&conn.client, &mut conn.state.borrow_mut(), rules, message);
                    conn.wake();
                }
            }
        }
    }
    thread.mail.replace(messages);
}

/// Delivers one message to a client, and closes it if that is too much for it.
fn deliver(client: &Client, state: &mut State, rules: Rules<'_>, message: Message) {
    if state.killed {
        return;
    }
    write(rules.core, state, message);
    if !rules.check_output(client, state) {
        rules.account(client, state);
    }
}

fn write(core: &Core, state: &mut State, message: Message) {
    let mut out = Reply::new(&mut state.output, state.session.proto);
    match message {
        Message::Published { message, pattern, .. } => published(&mut out, &message, pattern.as_deref()),
        Message::Raw { bytes, .. } => out.raw(&bytes),
        Message::Stale { redirected, what, .. } => stale(&mut out, &state.session, redirected, &what),
        Message::RedirectGone { redirect, .. } => {
            out.push(2);
            out.bulk(b"tracking-redir-broken");
            out.int(i64::try_from(redirect).unwrap_or(i64::MAX));
        }
        Message::Served { ticket, reply, .. } => {
            let waits = state.blocked.as_ref().is_some_and(|b| b.waiter.ticket == ticket);
            if waits {
                state.blocked = None;
                if state.session.answers_late() {
                    state.output.extend_from_slice(&reply);
                }
            }
        }
        Message::SlotLost { to, channel } => {
            if state.session.shard_channels.remove(&channel) {
                core.pubsub.unsubscribe(Space::Shard, &channel, to);
                state.session.tell_subscriptions();
                out.push(3);
                out.bulk(b"sunsubscribe");
                out.bulk(&channel);
                out.len(state.session.shard_channels.len());
            }
        }
        Message::Kill { .. } => state.killed = true,
        Message::Review { .. } => state.killed |= !permit::review(core, &mut state.session),
        Message::Look { .. } => {}
    }
}

/// An invalidation. Older clients get those of others only, as messages of a channel, if they are subscribed.
fn stale(out: &mut Reply<'_>, session: &Session, redirected: bool, what: &Stale) {
    if out.is_resp3() {
        out.push(2);
        out.bulk(b"invalidate");
    } else if redirected && session.subscriptions() > 0 {
        out.push(3);
        out.bulk(b"message");
        out.bulk(b"__redis__:invalidate");
    } else {
        return;
    }
    match what {
        Stale::All => out.null(),
        Stale::Keys(keys) => out.raw(keys),
    }
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
