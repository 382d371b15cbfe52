//! How does the server end without losing anything? It lets nobody change data any more, makes the log durable, saves
//! if that is asked for, and only then goes.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::config::values::OnSignal;
use crate::keyspace::Locked;
use crate::persist::{Child, World, aof, save};

/// The data could not be made to last, so the server goes on; the log says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CannotEnd;

/// Does what has to be done before the process may end. `loading`: the data is not whole, so it is not saved. When it
/// succeeds every lock stays held: what can no longer be saved can no longer be done. The caller holds no lock.
///
/// # Errors
/// The data could not be saved, and `force` was not given: the server goes on.
pub fn prepare(world: World<'_>, how: OnSignal, loading: bool) -> Result<(), CannotEnd> {
    let persist = world.persist;
    if persist.ending.swap(true, Ordering::AcqRel) {
        return Err(CannotEnd);
    }
    // While the data is read, whoever reads it holds the locks, and there is nothing to wait for.
    let how = OnSignal { nosave: how.nosave || loading, ..how };
    let save = !loading && (how.save || (!world.config.load().save.0.is_empty() && !how.nosave));
    if persist.aof.state() == aof::State::Waiting && !how.force && !loading {
        tracing::warn!("Writing initial AOF, can't exit.");
        persist.ending.store(false, Ordering::Release);
        return Err(CannotEnd);
    }
    stop_tasks(world);
    let mut locks = everything(world, how);
    if persist.aof.state() != aof::State::Off {
        tracing::info!("Calling fsync() on the AOF file.");
        if let Err(error) = persist.aof.finish(world) {
            tracing::warn!("Fail to fsync the AOF file: {error}.");
        }
    }
    if save && let Some(locks) = &mut locks {
        tracing::info!("Saving the final RDB snapshot before exiting.");
        if let Err(error) = save::under_locks(world, locks) {
            tracing::warn!("Error saving DB on disk: {error}");
            if !how.force {
                tracing::warn!("Error trying to save the DB, can't exit.");
                persist.ending.store(false, Ordering::Release);
                return Err(CannotEnd);
            }
            tracing::warn!("Error trying to save the DB. Exit anyway.");
        }
    }
    std::mem::forget(locks);
    Ok(())
}

/// A second SIGINT, while the server is ending already, ends it at once.
pub fn insist(world: World<'_>) -> ! {
    tracing::warn!("You insist... exiting now.");
    save::remove_temporary(world);
    std::process::exit(1);
}

/// All locks. With NOSAVE the server ends even when they are not to be had: a script that holds them for ever is one of
/// the reasons to end it. Of what it has done so far nobody has been told, and nothing is in the log.
fn everything(world: World<'_>, how: OnSignal) -> Option<Locked<'_>> {
    if how.nosave { world.keyspace.locked_all_within(PATIENCE) } else { Some(world.keyspace.locked_all()) }
}

/// How long a shard is waited for with NOSAVE.
const PATIENCE: Duration = Duration::from_millis(100);

/// Stops the background task and waits until it has cleaned up.
fn stop_tasks(world: World<'_>) {
    if world.persist.child() == Child::Rdb {
        tracing::warn!("There is a child saving an .rdb. Killing it!");
    }
    if world.persist.child() == Child::Aof {
        tracing::warn!("There is a child rewriting the AOF. Killing it!");
    }
    while world.persist.child() != Child::None {
        if let Some(stopper) = &*world.persist.stopper.lock() {
            stopper.stop();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
