//! Who else learns of a command? Monitors see it go by, and the slow log keeps it if it took long. Passwords among its
//! arguments are shown to neither.

use bytes::Bytes;

use crate::client::Session;
use crate::client::registry::UNIX_SOCKET;
use crate::dispatch::ctx::{Ctx, Mode};
use crate::dispatch::spec::{ADMIN, FAST, SCRIPTING, SKIP_MONITOR, SKIP_SLOWLOG};
use crate::dispatch::table::Entry;
use crate::stats::latency::Event;
use crate::util::quote::quoted;

/// What takes the place of a secret.
const REDACTED: &[u8] = b"(redacted)";
/// Settings whose values are secrets.
const SECRETS: &[&str] =
    &["masterauth", "masteruser", "requirepass", "tls-client-key-file-pass", "tls-key-file-pass"];

/// Before a command runs: scripts show themselves ahead of what they call.
pub(crate) fn before(ctx: &Ctx<'_>, argv: &[&[u8]]) {
    let row = ctx.entry.row;
    if ctx.core.clients.monitors.count() > 0 && row.is(SKIP_MONITOR) && row.acl & SCRIPTING != 0 {
        feed(ctx, argv);
    }
}

/// After a command ran, for so many microseconds.
pub(crate) fn after(ctx: &Ctx<'_>, argv: &[&[u8]], took_us: u64) {
    if ctx.mode == Mode::Replay {
        return;
    }
    watch(ctx, took_us);
    let slower_than = ctx.worker.config.slowlog_log_slower_than;
    let slow = u64::try_from(slower_than).is_ok_and(|limit| took_us >= limit);
    if slow && ctx.wait.is_none() {
        record(ctx, argv, took_us);
    }
    let quiet = SKIP_MONITOR | ADMIN;
    if ctx.core.clients.monitors.count() > 0 && ctx.entry.row.flags & quiet == 0 && ctx.mode != Mode::Serving
    {
        feed(ctx, argv);
    }
}

/// Tells the latency monitor of a command that took too long.
fn watch(ctx: &Ctx<'_>, took_us: u64) {
    let threshold = ctx.worker.config.latency_monitor_threshold;
    if threshold > 0 && ctx.wait.is_none() {
        let event = if ctx.entry.row.is(FAST) { Event::FastCommand } else { Event::Command };
        ctx.core.stats.latency.record(threshold, event, ctx.worker.now_ms, took_us);
    }
}

fn record(ctx: &Ctx<'_>, argv: &[&[u8]], took_us: u64) {
    let most = ctx.worker.config.slowlog_max_len;
    if most == 0 || ctx.entry.row.is(SKIP_SLOWLOG) {
        return;
    }
    let client = &ctx.session.client;
    let name = client.labels.lock().name.clone();
    let shown = redacted(ctx.entry, argv);
    ctx.core.stats.slow.push(most, ctx.worker.now_ms / 1000, took_us, &shown, client.addr.clone(), name);
}

/// Sends the line of a command to all monitors:
/// `+1700000000.123456 [0 127.0.0.1:5000] "set" "key" "value"`.
fn feed(ctx: &Ctx<'_>, argv: &[&[u8]]) {
    let now = ctx.core.clock.now_us();
    let (db, whence) = (ctx.session.db, source(ctx.session, ctx.mode));
    let mut line = format!("+{}.{:06} [{db} {whence}]", now / 1_000_000, now % 1_000_000).into_bytes();
    for arg in redacted(ctx.entry, argv) {
        line.push(b' ');
        line.extend(quoted(arg));
    }
    line.extend(b"\r\n");
    ctx.core.clients.monitors.feed(&ctx.core.clients, &Bytes::from(line));
}

fn source(session: &Session, mode: Mode) -> String {
    let client = &session.client;
    match mode {
        Mode::Script => "lua".to_owned(),
        _ if client.has(UNIX_SOCKET) => {
            format!("unix:{}", client.addr.strip_suffix(":0").unwrap_or(&client.addr))
        }
        _ => client.addr.clone(),
    }
}

/// The arguments with secrets replaced.
fn redacted<'a>(entry: &Entry, argv: &[&'a [u8]]) -> Vec<&'a [u8]> {
    let mut shown = argv.to_vec();
    let is = |at: usize, word: &str| argv.get(at).is_some_and(|a| a.eq_ignore_ascii_case(word.as_bytes()));
    let mut hide = |from: usize, to: usize| {
        let end = to.min(argv.len());
        shown.get_mut(from.min(end)..end).unwrap_or_default().fill(REDACTED);
    };
    match entry.name.as_str() {
        "auth" if argv.len() <= 3 => hide(1, 3),
        "acl|setuser" | "acl|deluser" | "acl|getuser" => hide(2, argv.len()),
        "config|set" => {
            for at in (2..argv.len()).step_by(2).filter(|&at| SECRETS.iter().any(|s| is(at, s))) {
                hide(at + 1, at + 2);
            }
        }
        "hello" => {
            if let Some(at) = (2..argv.len()).find(|&at| is(at, "auth")) {
                hide(at + 1, at + 3);
            }
        }
        "migrate" => {
            if let Some(at) = (6..argv.len()).find(|&at| is(at, "auth") || is(at, "auth2")) {
                hide(at + 1, at + if is(at, "auth2") { 3 } else { 2 });
            }
        }
        _ => {}
    }
    shown
}
