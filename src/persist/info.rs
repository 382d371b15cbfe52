//! What does INFO tell of persistence? The section's lines, in Redis's order.

use std::sync::atomic::Ordering;

use crate::persist::aof::State;
use crate::persist::{Child, World};

/// The lines of the section.
pub fn lines(world: World<'_>, loading: bool) -> Vec<(&'static str, String)> {
    let status = &world.persist.status;
    let child = world.persist.child();
    let since = |busy: bool| {
        let began = status.began.load(Ordering::Acquire);
        if busy { world.now_s().saturating_sub(began).to_string() } else { "-1".to_owned() }
    };
    let ok = |good: bool| if good { "ok" } else { "err" }.to_owned();
    let flag = |on: bool| u8::from(on).to_string();
    let num = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Acquire).to_string();
    let changes = world.changes().saturating_sub(status.saved_changes.load(Ordering::Acquire));
    let under_way = Way::of(world);
    let mut lines = vec![
        ("loading", flag(loading)),
        ("async_loading", flag(false)),
        ("current_cow_peak", under_way.ahead.to_string()),
        ("current_cow_size", under_way.ahead.to_string()),
        ("current_cow_size_age", "0".to_owned()),
        ("current_fork_perc", format!("{:.2}", under_way.percent())),
        ("current_save_keys_processed", under_way.saved.to_string()),
        ("current_save_keys_total", under_way.total.to_string()),
        ("rdb_changes_since_last_save", changes.to_string()),
        ("rdb_bgsave_in_progress", flag(child == Child::Rdb)),
        ("rdb_last_save_time", num(&status.last_save)),
        ("rdb_last_bgsave_status", ok(status.last_ok.load(Ordering::Acquire))),
        ("rdb_last_bgsave_time_sec", status.last_took.load(Ordering::Acquire).to_string()),
        ("rdb_current_bgsave_time_sec", since(child == Child::Rdb)),
        ("rdb_saves", num(&status.saves)),
        ("rdb_last_cow_size", num(&status.last_ahead[0])),
        ("rdb_last_load_keys_expired", num(&status.loaded[0])),
        ("rdb_last_load_keys_loaded", num(&status.loaded[1])),
    ];
    lines.extend(append_only(world, child));
    if loading {
        lines.extend(progress(world));
    }
    lines
}

/// How far the snapshot under way has come. Redis tells of pages that were copied because they changed: here, of
/// the bytes of values that had to be saved before they changed.
#[derive(Default)]
struct Way {
    total: u64,
    saved: u64,
    ahead: u64,
}

impl Way {
    fn of(world: World<'_>) -> Way {
        let stopper = world.persist.stopper.lock();
        let Some(progress) = stopper.as_ref().map(|stopper| stopper.progress()) else {
            return Way::default();
        };
        Way {
            total: progress.total.load(Ordering::Relaxed),
            saved: progress.saved.load(Ordering::Relaxed),
            ahead: progress.ahead.load(Ordering::Relaxed),
        }
    }

    fn percent(&self) -> f64 {
        if self.total == 0 { 0.0 } else { self.saved as f64 * 100.0 / self.total as f64 }
    }
}

/// How far the load under way has come.
fn progress(world: World<'_>) -> Vec<(&'static str, String)> {
    let [start, total, done] = &world.persist.status.loading;
    let (start, total, done) =
        (start.load(Ordering::Acquire), total.load(Ordering::Acquire), done.load(Ordering::Acquire));
    let elapsed = world.now_s().saturating_sub(start);
    let left = total.saturating_sub(done);
    let eta = elapsed.saturating_mul(left).checked_div(done).unwrap_or(1);
    let percent = if total == 0 { 0.0 } else { done as f64 * 100.0 / total as f64 };
    vec![
        ("loading_start_time", start.to_string()),
        ("loading_total_bytes", total.to_string()),
        ("loading_rdb_used_mem", "0".to_owned()),
        ("loading_loaded_bytes", done.to_string()),
        ("loading_loaded_perc", format!("{percent:.2}")),
        ("loading_eta_seconds", eta.to_string()),
    ]
}

/// The append-only file.
fn append_only(world: World<'_>, child: Child) -> Vec<(&'static str, String)> {
    let aof = &world.persist.aof;
    let rewrites = &aof.rewrites;
    let ok = |good: bool| if good { "ok" } else { "err" }.to_owned();
    let busy = child == Child::Aof;
    let began = world.persist.status.began.load(Ordering::Acquire);
    let current = if busy { world.now_s().saturating_sub(began).to_string() } else { "-1".to_owned() };
    let scheduled = aof.scheduled.load(Ordering::Acquire);
    let mut lines = vec![
        ("aof_enabled", u8::from(aof.state() != State::Off).to_string()),
        ("aof_rewrite_in_progress", u8::from(busy).to_string()),
        ("aof_rewrite_scheduled", u8::from(scheduled).to_string()),
        ("aof_last_rewrite_time_sec", rewrites.last_took.load(Ordering::Acquire).to_string()),
        ("aof_current_rewrite_time_sec", current),
        ("aof_last_bgrewrite_status", ok(rewrites.last_ok.load(Ordering::Acquire))),
        ("aof_rewrites", rewrites.count.load(Ordering::Acquire).to_string()),
        ("aof_rewrites_consecutive_failures", rewrites.failures.load(Ordering::Acquire).to_string()),
        ("aof_last_write_status", ok(aof.writes_well())),
        ("aof_last_cow_size", world.persist.status.last_ahead[1].load(Ordering::Acquire).to_string()),
        ("module_fork_in_progress", "0".to_owned()),
        ("module_fork_last_cow_size", "0".to_owned()),
    ];
    if aof.state() != State::Off {
        let (length, base) = aof.lengths();
        lines.extend([
            ("aof_current_size", length.to_string()),
            ("aof_base_size", base.to_string()),
            ("aof_pending_rewrite", u8::from(scheduled).to_string()),
            ("aof_buffer_length", aof.backlog(world.log).to_string()),
            ("aof_pending_bio_fsync", "0".to_owned()),
            ("aof_delayed_fsync", "0".to_owned()),
        ]);
    }
    lines
}
