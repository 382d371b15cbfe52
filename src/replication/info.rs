//! What does INFO tell of replication? The section's lines, in Redis's order.

use std::sync::atomic::Ordering;

use crate::log::Id;
use crate::replication::{Phase, Replica, Site};

/// The name of a phase.
fn phase(replica: &Replica) -> &'static str {
    match replica.phase() {
        Phase::Greeting | Phase::Waiting | Phase::Saving => "wait_bgsave",
        Phase::Sending => "send_bulk",
        Phase::Online => "online",
    }
}

fn text(id: &Id) -> String {
    String::from_utf8_lossy(id).into_owned()
}

/// The lines of the section. `now_ms` is monotonic.
pub fn lines(site: Site<'_>, now_ms: u64) -> Vec<(String, String)> {
    let mut lines: Vec<(String, String)> = Vec::new();
    let mut line = |name: &str, value: String| lines.push((name.to_owned(), value));
    let config = site.world.config.load();
    let replicas = site.replication.all();
    line("role", "master".to_owned());
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
            format!("ip={ip},port={port},state={},offset={offset},lag={lag}", phase(replica)),
        );
    }
    history(site, &mut line);
    lines
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
