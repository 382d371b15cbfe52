//! Is a save due? Asked ten times a second.

use std::sync::atomic::Ordering;

use crate::persist::{Child, World, aof, save};

/// After a save that failed, the next one is tried no sooner than this, in seconds.
const RETRY: u64 = 5;

/// Starts what is due.
pub fn tick(world: World<'_>) {
    let persist = world.persist;
    if persist.knobs.cron_paused.load(Ordering::Acquire) {
        return;
    }
    if persist.child() != Child::None || persist.ending.load(Ordering::Acquire) {
        return;
    }
    if aof::rewrite::is_due(world) {
        // It has told the log when it cannot.
        let _ = aof::rewrite::begin(world);
        return;
    }
    let scheduled = persist.save_scheduled.load(Ordering::Acquire);
    let emptied = !scheduled && emptied(world);
    if scheduled || emptied || point_reached(world) {
        // Before it begins, so that nobody finds it without its reason.
        persist.saves_empty.store(emptied, Ordering::Release);
        if let Err(error) = save::begin_background(world) {
            tracing::warn!("Can't save in background: {error}");
        }
    }
}

/// The data was emptied and there are save points.
fn emptied(world: World<'_>) -> bool {
    may_try(world)
        && world.persist.flushed.swap(false, Ordering::AcqRel)
        && !world.config.load().save.0.is_empty()
}

/// The last save has succeeded, or was long enough ago.
fn may_try(world: World<'_>) -> bool {
    let status = &world.persist.status;
    status.last_ok.load(Ordering::Acquire)
        || world.now_s().saturating_sub(status.last_try.load(Ordering::Acquire)) > RETRY
}

/// Enough has changed for long enough.
fn point_reached(world: World<'_>) -> bool {
    let status = &world.persist.status;
    let config = world.config.load();
    let changes = world.changes().saturating_sub(status.saved_changes.load(Ordering::Acquire));
    let elapsed = world.now_s().saturating_sub(status.last_save.load(Ordering::Acquire));
    let Some(point) = config.save.0.iter().find(|p| changes >= p.changes && elapsed > p.seconds) else {
        return false;
    };
    let may_try = may_try(world);
    if may_try {
        tracing::info!("{} changes in {} seconds. Saving...", point.changes, point.seconds);
    }
    may_try
}
