//! What does INFO tell of replication? The section's lines, in Redis's order.

use std::sync::atomic::Ordering;

use crate::log::Id;
use crate::replication::link::{State, Status};
use crate::replication::{Phase, Site};

fn text(id: &Id) -> String {
    String::from_utf8_lossy(id).into_owned()
}

/// The lines of the section. `now_ms` is monotonic.
pub fn lines(site: Site<'_>, now_ms: u64) -> Vec<(String, String)> {
    let mut lines: Vec<(String, String)> = Vec::new();
    let mut line = |name: &str, value: String| lines.push((name.to_owned(), value));
    let config = site.world.config.load();
    let replicas = site.replication.all();
    let link = site.replication.link.status();
    line("role", if link.primary.is_some() { "slave" } else { "master" }.to_owned());
    if let Some((host, port)) = &link.primary {
        line("master_host", host.clone());
        line("master_port", port.to_string());
        primary(site, &link, now_ms, &mut line);
    }
    line("connected_slaves", replicas.len().to_string());
    if config.min_replicas_to_write > 0 && config.min_replicas_max_lag > 0 {
        line("min_slaves_good_slaves", site.replication.good(&config, now_ms).to_string());
    }
    for (i, replica) in replicas.iter().enumerate() {
        let (ip, port) = replica.address();
        let offset = replica.acked[0].load(Ordering::Acquire);
        let lag = if replica.phase() == Phase::Online { replica.lag(now_ms) } else { 0 };
        line(
            &format!("slave{i}"),
            format!("ip={ip},port={port},state={},offset={offset},lag={lag}", replica.phase().name()),
        );
    }
    history(site, &mut line);
    lines
}

/// The link to the primary.
fn primary(site: Site<'_>, link: &Status, now_ms: u64, line: &mut impl FnMut(&str, String)) {
    let config = site.world.config.load();
    let up = link.state == State::Connected;
    let seconds = |since: u64| now_ms.saturating_sub(since) / 1000;
    let offset = site.world.log.mark().offset;
    let syncing = link.state == State::Sync;
    line("master_link_status", if up { "up" } else { "down" }.to_owned());
    let heard = link.heard_ms.filter(|_| up).map_or(-1, |at| seconds(at) as i64);
    line("master_last_io_seconds_ago", heard.to_string());
    line("master_sync_in_progress", u8::from(syncing).to_string());
    line("slave_read_repl_offset", (offset + link.unapplied).to_string());
    line("slave_repl_offset", offset.to_string());
    if syncing {
        let (total, read) = link.snapshot;
        let left = if total < 0 { -1 } else { total - read as i64 };
        let percent = if total > 0 { read as f64 * 100.0 / total as f64 } else { 0.0 };
        line("master_sync_total_bytes", total.to_string());
        line("master_sync_read_bytes", read.to_string());
        line("master_sync_left_bytes", left.to_string());
        line("master_sync_perc", format!("{percent:.2}"));
        line("master_sync_last_io_seconds_ago", link.heard_ms.map_or(0, seconds).to_string());
    }
    if !up {
        line("master_link_down_since_seconds", seconds(link.since_ms).to_string());
    }
    line("replica_full_sync_buffer_size", "0".to_owned());
    line("replica_full_sync_buffer_peak", "0".to_owned());
    line("master_current_sync_attempts", link.tries[0].to_string());
    line("master_total_sync_attempts", link.tries[1].to_string());
    if up {
        line("master_link_up_since_seconds", seconds(link.since_ms).to_string());
    }
    let down = link.down_ms + if up { 0 } else { now_ms.saturating_sub(link.since_ms) };
    line("total_disconnect_time_sec", (down / 1000).to_string());
    line("slave_priority", config.replica_priority.to_string());
    line("slave_read_only", u8::from(config.replica_read_only).to_string());
    line("replica_announced", u8::from(config.replica_announced).to_string());
}

/// Identifiers, offsets, and the backlog.
fn history(site: Site<'_>, line: &mut impl FnMut(&str, String)) {
    let log = site.world.log;
    let (mark, second, backlog) = (log.mark(), log.second(), log.backlog_held());
    line("master_failover_state", "no-failover".to_owned());
    line("master_replid", text(&mark.id));
    line("master_replid2", second.map_or_else(|| "0".repeat(40), |(id, _)| text(&id)));
    line("master_repl_offset", mark.offset.to_string());
    line("second_repl_offset", second.map_or_else(|| "-1".to_owned(), |(_, upto)| (upto + 1).to_string()));
    line("repl_backlog_active", u8::from(backlog.is_some()).to_string());
    line("repl_backlog_size", site.world.config.load().repl_backlog_size.to_string());
    line("repl_backlog_first_byte_offset", backlog.map_or(0, |b| b.start + 1).to_string());
    line("repl_backlog_histlen", backlog.map_or(0, |b| b.len).to_string());
}
