//! May this command run now? An ordered list of checks between the table and the handler; the first that objects
//! decides what the client reads.

use crate::client::Session;
use crate::dispatch::core::Core;
use crate::dispatch::spec::{
    self, DENYOOM, FOR_SUBSCRIBERS, LOADING, NO_AUTH, NO_MULTI, TELLS_HEALTH, WRITE,
};
use crate::dispatch::table::Entry;
use crate::dispatch::worker::Worker;
use crate::error::{self, Error, Result};

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

type Check = fn(&Request<'_>) -> Result;

/// The checks, in the order in which Redis objects.
const CHECKS: &[Check] = &[authentication, transaction, loading, memory, disk, subscriber];

/// Runs all checks.
pub fn check(request: &Request<'_>) -> Result {
    if request.session.internal {
        return Ok(());
    }
    CHECKS.iter().try_for_each(|check| check(request))
}

fn authentication(r: &Request<'_>) -> Result {
    if r.session.authenticated || r.entry.row.is(NO_AUTH) { Ok(()) } else { Err(error::NO_AUTH) }
}

fn transaction(r: &Request<'_>) -> Result {
    if r.session.multi.is_some() && r.entry.row.is(NO_MULTI) {
        return Err(Error::new("ERR Command not allowed inside a transaction"));
    }
    Ok(())
}

fn loading(r: &Request<'_>) -> Result {
    if r.core.is_loading() && !r.entry.row.is(LOADING) { Err(error::LOADING) } else { Ok(()) }
}

fn memory(r: &Request<'_>) -> Result {
    if r.entry.row.is(DENYOOM) && r.core.over_memory() { Err(error::OOM) } else { Ok(()) }
}

/// Data that cannot be made to last is not changed any further, and whoever asks how the server is doing is told.
fn disk(r: &Request<'_>) -> Result {
    if (r.entry.row.is(WRITE) || r.entry.row.is(TELLS_HEALTH)) && r.core.persist.has_failed() {
        return r.core.persist.refusal(&r.worker.config).map_or(Ok(()), Err);
    }
    Ok(())
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

/// True when the command must be queued because its client is in a transaction.
pub fn is_queued(session: &Session, entry: &Entry) -> bool {
    session.multi.is_some() && !entry.row.is(spec::RUNS_IN_MULTI)
}
