//! How is a client described? The line of CLIENT LIST and CLIENT INFO: `name=value` words in a fixed order.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::acl::DEFAULT;
use crate::client::Client;
use crate::client::registry::{self, ClientType, REPLY_BUFFER};
use crate::dispatch::core::Core;

/// When, and on whose behalf, clients are described.
pub struct Moment {
    /// Monotonic milliseconds.
    pub now_ms: u64,
    /// The client that asks.
    pub asking: u64,
    /// Bytes of the arguments that it asks with.
    pub asking_memory: usize,
}

/// The letters of a client's state; `N` when there are none.
fn flags(client: &Client) -> String {
    let kind = client.kind();
    let letters = [
        ('O', client.has(registry::MONITOR)),
        ('S', kind == ClientType::Replica),
        ('M', kind == ClientType::Master),
        ('P', kind == ClientType::PubSub),
        ('x', client.multi.load(Ordering::Relaxed) >= 0),
        ('b', client.has(registry::BLOCKED)),
        ('t', client.has(registry::TRACKING)),
        ('R', client.has(registry::TRACKING_BROKEN)),
        ('B', client.has(registry::TRACKING_BCAST)),
        ('d', client.dirty_cas.load(Ordering::Relaxed)),
        ('c', client.has(registry::CLOSE_AFTER_REPLY)),
        ('A', client.has(registry::KILLED)),
        ('U', client.has(registry::UNIX_SOCKET)),
        ('r', client.has(registry::READONLY_CLUSTER)),
        ('e', client.has(registry::NO_EVICT)),
        ('T', client.has(registry::NO_TOUCH)),
    ];
    let set: String = letters.iter().filter(|(_, on)| *on).map(|(letter, _)| *letter).collect();
    if set.is_empty() { "N".to_owned() } else { set }
}

/// Appends the line of a client, with its line break.
pub fn describe(core: &Core, client: &Client, at: &Moment, text: &mut Vec<u8>) {
    let get = |cell: &AtomicUsize| cell.load(Ordering::Relaxed);
    let seconds = |since: u64| at.now_ms.saturating_sub(since) / 1000;
    let labels = client.labels.lock().clone();
    let user = labels.user.as_ref().map_or(DEFAULT, |user| &user.name);
    let command = match client.last_command.load(Ordering::Relaxed) {
        0 => "NULL",
        n => core.table.entries().get(n as usize - 1).map_or("NULL", |entry| entry.name.as_str()),
    };
    let output = get(&client.output);
    let (fixed, listed) = if output <= REPLY_BUFFER { (output, 0) } else { (0, output) };
    let own = if client.id == at.asking { at.asking_memory } else { 0 };
    let argv_memory = own + get(&client.arguments);
    let memory = get(&client.memory) + own;
    let redirect = if client.has(registry::TRACKING) {
        client.redirect.load(Ordering::Relaxed).to_string()
    } else {
        "-1".to_owned()
    };
    let traffic = client.traffic.each_ref().map(|n| n.load(Ordering::Relaxed));
    let mut word = |name: &str, value: &dyn std::fmt::Display| {
        // Writing to memory cannot fail.
        let _ = write!(text, "{name}={value} ");
    };
    word("id", &client.id);
    word("addr", &client.addr);
    word("laddr", &client.laddr);
    word("fd", &client.fd);
    word("name", &String::from_utf8_lossy(&labels.name));
    word("age", &seconds(client.since_ms));
    word("idle", &seconds(client.last_ms.load(Ordering::Relaxed)));
    word("flags", &flags(client));
    word("db", &get(&client.db));
    word("sub", &get(&client.subs[0]));
    word("psub", &get(&client.subs[1]));
    word("ssub", &get(&client.subs[2]));
    word("multi", &client.multi.load(Ordering::Relaxed));
    word("watch", &get(&client.watching));
    word("qbuf", &get(&client.query[0]));
    word("qbuf-free", &get(&client.query[1]));
    word("argv-mem", &argv_memory);
    word("multi-mem", &get(&client.multi_memory));
    word("rbs", &get(&client.reply[0]));
    word("rbp", &get(&client.reply[1]));
    word("obl", &fixed);
    word("oll", &usize::from(listed > 0));
    word("omem", &listed);
    word("tot-mem", &memory);
    word("events", &if output > 0 { "rw" } else { "r" });
    word("cmd", &command);
    word("user", &String::from_utf8_lossy(user));
    word("redir", &redirect);
    word("resp", &if client.has(registry::RESP3) { 3 } else { 2 });
    word("lib-name", &String::from_utf8_lossy(&labels.lib_name));
    word("lib-ver", &String::from_utf8_lossy(&labels.lib_ver));
    word("io-thread", &client.thread);
    word("tot-net-in", &traffic[0]);
    word("tot-net-out", &traffic[1]);
    word("tot-cmds", &traffic[2]);
    text.pop();
    text.push(b'\n');
}
