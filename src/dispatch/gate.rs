//! May this command run now? An ordered list of checks between the table and the handler; the first that objects
//! decides what the client reads.

use crate::client::Session;
use crate::client::pause::Paused;
use crate::client::registry::MONITOR;
use crate::dispatch::busy::Code;
use crate::dispatch::core::Core;
use crate::dispatch::permit;
use crate::dispatch::route;
use crate::dispatch::spec::{
    self, ALLOW_BUSY, DENYOOM, FOR_SUBSCRIBERS, LOADING, Lock, NO_AUTH, NO_MULTI, STALE, TELLS_HEALTH, WRITE,
};
use crate::dispatch::table::Entry;
use crate::dispatch::worker::Worker;
use crate::error::{self, Error, Result};
use crate::script::cache::parse_sha;
use crate::script::shebang::{Flags, script_flags};

/// What a check may look at.
pub struct Request<'r> {
    /// The shared parts of the server.
    pub core: &'r Core,
    /// This thread.
    pub worker: &'r Worker,
    /// The client.
    pub session: &'r Session,
    /// The command.
    pub entry: &'r Entry,
    /// Its arguments.
    pub argv: &'r [&'r [u8]],
}

/// Runs all checks, unless it is plain that none of them objects.
#[inline]
pub fn check(request: &Request<'_>) -> Result {
    if request.session.internal {
        return Ok(());
    }
    if nothing_is_up(request) { Ok(()) } else { checks(request) }
}

/// True when nothing is the case that any of the checks asks about, which is usual and told in a few instructions: this
/// is on every command's path. What a new check asks about has to be asked here as well.
#[inline]
fn nothing_is_up(r: &Request<'_>) -> bool {
    let Request { core, worker, session, entry, .. } = r;
    let of_command = entry.row.flags & (spec::NEEDS_DEBUG | spec::NEEDS_MODULE) != 0;
    let of_client = session.multi.is_some()
        || !session.login.user.is_unrestricted()
        || !permit::has_entered(core, session)
        || session.client.has(MONITOR)
        || session.subscriber_mode();
    let of_server = core.cluster.is_some()
        || core.over_memory()
        || core.persist.has_failed()
        || worker.config.min_replicas_to_write > 0
        || core.replication.link.is_replica()
        || core.is_loading()
        || worker.stands_in
        || core.scripts.board.is_busy();
    !(of_command || of_client || of_server)
}

/// The checks, in the order in which Redis objects.
fn checks(request: &Request<'_>) -> Result {
    enabled(request)?;
    authentication(request)?;
    transaction(request)?;
    permission(request)?;
    cluster(request)?;
    memory(request)?;
    disk(request)?;
    replicas(request)?;
    replica(request)?;
    subscriber(request)?;
    stale(request)?;
    loading(request)?;
    busy(request)?;
    monitor(request)
}

/// Commands that could break the server are off until a setting turns them on.
fn enabled(r: &Request<'_>) -> Result {
    if r.entry.row.flags & (spec::NEEDS_DEBUG | spec::NEEDS_MODULE) == 0 {
        return Ok(());
    }
    let config = &r.worker.config;
    let guards = [
        (spec::NEEDS_DEBUG, config.enable_debug_command, "debug"),
        (spec::NEEDS_MODULE, config.enable_module_command, "module"),
    ];
    let local = r.session.client.is_local();
    let refused = guards.iter().find(|(flag, allowed, _)| r.entry.row.is(*flag) && !allowed.allows(local));
    let Some((.., name)) = refused else { return Ok(()) };
    Err(Error::text(format!(
        "ERR {} command not allowed. If the enable-{name}-command option is set to \"local\", you can run it from a \
         local connection, otherwise you need to set this option in the configuration file, and then restart the \
         server.",
        name.to_ascii_uppercase()
    )))
}

fn authentication(r: &Request<'_>) -> Result {
    if permit::has_entered(r.core, r.session) || r.entry.row.is(NO_AUTH) {
        Ok(())
    } else {
        Err(error::NO_AUTH)
    }
}

fn transaction(r: &Request<'_>) -> Result {
    if r.session.multi.is_some() && r.entry.row.is(NO_MULTI) {
        return Err(Error::new("ERR Command not allowed inside a transaction"));
    }
    Ok(())
}

fn permission(r: &Request<'_>) -> Result {
    permit::check(r, permit::context_of(r.session))
        .map_err(|refusal| permit::error(refusal, &r.session.login.user, r.entry, r.argv))
}

/// In cluster mode the keys must be in one slot, and that must be served here.
fn cluster(r: &Request<'_>) -> Result {
    match &r.core.cluster {
        Some(cluster) => route::check(r, cluster),
        None => Ok(()),
    }
}

fn loading(r: &Request<'_>) -> Result {
    if r.core.is_loading() && !r.entry.row.is(LOADING) { Err(error::LOADING) } else { Ok(()) }
}

/// What a command does, for the checks here: what its row says, or what the script has declared that it runs.
fn flags(core: &Core, entry: &Entry, argv: &[&[u8]]) -> u32 {
    let own = entry.row.flags;
    let Some(declared) = declared(core, entry, argv).filter(|flags| !flags.has(Flags::COMPAT)) else {
        return own;
    };
    let writes = !declared.has(Flags::NO_WRITES);
    let mut flags = own & !(STALE | DENYOOM | WRITE | spec::MAY_REPLICATE);
    for (flag, on) in [
        (WRITE, writes),
        (DENYOOM, writes && !declared.has(Flags::ALLOW_OOM)),
        (STALE, declared.has(Flags::ALLOW_STALE)),
    ] {
        flags |= if on { flag } else { 0 };
    }
    flags
}

/// What the script has declared that a command runs.
fn declared(core: &Core, entry: &Entry, argv: &[&[u8]]) -> Option<Flags> {
    let script = *argv.get(1)?;
    match entry.name.as_str() {
        "eval" | "eval_ro" => script_flags(script).ok().map(|(flags, _)| flags),
        "evalsha" | "evalsha_ro" => {
            parse_sha(script).and_then(|sha| core.scripts.cache.get(&sha)).map(|s| s.flags)
        }
        "fcall" | "fcall_ro" => {
            let (library, at) = core.scripts.libraries.find(script)?;
            Some(library.functions.get(at)?.flags)
        }
        _ => None,
    }
}

/// The flags of what EXEC runs.
fn queued_flags<'r>(r: &Request<'r>) -> impl Iterator<Item = u32> + 'r {
    let (core, runs_queue) = (r.core, matches!(r.entry.row.lock, Lock::Queue));
    let queue = r.session.multi.iter().filter(move |_| runs_queue).flat_map(|multi| &multi.queue);
    queue.map(|queued| {
        let argv: Vec<&[u8]> = queued.argv.iter().map(|arg| &**arg).collect();
        flags(core, core.table.entry(queued.command), &argv)
    })
}

/// True when the command has a flag, or runs a queued one that has it.
fn implies(r: &Request<'_>, flag: u32) -> bool {
    flags(r.core, r.entry, r.argv) & flag != 0 || queued_flags(r).any(|flags| flags & flag != 0)
}

fn memory(r: &Request<'_>) -> Result {
    if r.core.over_memory() && implies(r, DENYOOM) { Err(error::OOM) } else { Ok(()) }
}

/// Data that cannot be made to last is not changed any further, and whoever asks how the server is doing is told.
fn disk(r: &Request<'_>) -> Result {
    if r.core.persist.has_failed() && (implies(r, WRITE) || r.entry.row.is(TELLS_HEALTH)) {
        return r.core.persist.refusal(&r.worker.config).map_or(Ok(()), Err);
    }
    Ok(())
}

/// A primary that too few replicas follow takes no writes.
fn replicas(r: &Request<'_>) -> Result {
    let config = &r.worker.config;
    if config.min_replicas_to_write > 0
        && implies(r, WRITE)
        && !r.core.replication.suffices(config, r.worker.mono_ms)
    {
        return Err(error::NO_REPLICAS);
    }
    Ok(())
}

/// A replica's data is its primary's.
fn replica(r: &Request<'_>) -> Result {
    let refuses = r.core.replication.link.is_replica() && r.worker.config.replica_read_only;
    if refuses && implies(r, WRITE) { Err(error::READ_ONLY) } else { Ok(()) }
}

/// What a replica has without its primary may be old.
fn stale(r: &Request<'_>) -> Result {
    let link = &r.core.replication.link;
    let refuses = link.is_replica() && !link.is_up() && !r.worker.config.replica_serve_stale_data;
    if !refuses {
        return Ok(());
    }
    let may = |flags: u32| flags & STALE != 0;
    let runs = may(flags(r.core, r.entry, r.argv)) && queued_flags(r).all(may);
    if runs { Ok(()) } else { Err(error::MASTER_DOWN) }
}

fn subscriber(r: &Request<'_>) -> Result {
    if !r.session.subscriber_mode() || r.entry.row.is(FOR_SUBSCRIBERS) {
        return Ok(());
    }
    Err(Error::text(format!(
        "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
        r.entry.name
    )))
}

/// While a script hogs the server, little but stopping it is allowed.
fn busy(r: &Request<'_>) -> Result {
    if r.entry.row.is(ALLOW_BUSY) {
        return Ok(());
    }
    match r.core.scripts.board.refusal() {
        None if r.worker.stands_in => Err(Code::Script.refusal()),
        None => Ok(()),
        Some(error) => Err(error),
    }
}

fn monitor(r: &Request<'_>) -> Result {
    let touches = r.entry.row.flags & (spec::READONLY | spec::WRITE | spec::MAY_REPLICATE) != 0;
    if touches && r.session.client.has(MONITOR) {
        return Err(Error::new("ERR Replica can't interact with the keyspace"));
    }
    Ok(())
}

/// True when the command has to wait for the end of CLIENT PAUSE.
pub fn is_paused(r: &Request<'_>) -> bool {
    let Some((what, _)) = r.core.clients.pause.now(r.worker.mono_ms) else { return false };
    if r.session.internal || what == Paused::All {
        return !r.session.internal;
    }
    implies(r, spec::WRITE | spec::MAY_REPLICATE)
}

/// True when the command must be queued because its client is in a transaction.
pub fn is_queued(session: &Session, entry: &Entry) -> bool {
    session.multi.is_some() && !entry.row.is(spec::RUNS_IN_MULTI)
}
