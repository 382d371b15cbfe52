//! Which settings reach beyond the data, and how? Sockets, the log's level, the process title, the kernel's OOM score,
//! the allocator's thread.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::config::Config;
use crate::config::choices::OomScoreAdj;
use crate::dispatch::core::Outside;
use crate::ds::alloc;
use crate::server::daemon::supervisor;
use crate::server::logging::Log;
use crate::server::ports::Ports;
use crate::server::title::Title;

/// Where the kernel keeps the score of this process.
const SCORE: &str = "/proc/self/oom_score_adj";

/// What the server has beyond its data.
pub struct Reach {
    log: Log,
    title: Title,
    /// The sockets that it listens on.
    pub ports: Arc<Ports>,
    /// The OOM score that the process had before it was changed, as long as it is.
    score: Mutex<Option<i32>>,
}

impl Reach {
    /// With the settings as they are at the start put into effect, where they can be.
    pub fn new(log: Log, config: &Config, title: Title) -> Reach {
        let reach = Reach { log, title, ports: Arc::default(), score: Mutex::default() };
        if config.set_proc_title {
            reach.title.show(config);
        }
        if let Err(error) = reach.adjust_score(config) {
            tracing::warn!("Unable to change oom_score_adj: {error}");
        }
        alloc::keep_unused_briefly();
        if let Err(error) = alloc::purge_in_background(config.jemalloc_bg_thread) {
            tracing::warn!("Unused memory is given back by the way only: {error}");
        }
        reach
    }

    /// Tells the kernel how willingly it should end this process for its memory.
    fn adjust_score(&self, config: &Config) -> io::Result<()> {
        let mut before = self.score.lock();
        let [own, replica, _] = config.oom_score_adj_values.0;
        let wanted = if config.replicaof.0.is_some() { replica } else { own };
        let score = match (config.oom_score_adj, *before) {
            (OomScoreAdj::No, None) => return Ok(()),
            (OomScoreAdj::No, Some(base)) => base,
            (OomScoreAdj::Absolute, _) => wanted,
            (OomScoreAdj::Relative, Some(base)) => base + wanted,
            (OomScoreAdj::Relative, None) => read_score()? + wanted,
        };
        let base = match *before {
            Some(base) => base,
            None => read_score()?,
        };
        std::fs::write(SCORE, score.clamp(-1000, 1000).to_string())?;
        *before = (config.oom_score_adj != OomScoreAdj::No).then_some(base);
        Ok(())
    }
}

fn read_score() -> io::Result<i32> {
    std::fs::read_to_string(SCORE)?.trim().parse().map_err(io::Error::other)
}

impl Outside for Reach {
    fn is_supervised(&self, config: &Config) -> bool {
        supervisor(config).is_some()
    }

    fn apply(&self, setting: &str, old: &Config, new: &Config) -> Result<(), &'static str> {
        match setting {
            "loglevel" => self.log.set_level(new.loglevel),
            "proc-title-template" if new.set_proc_title => self.title.show(new),
            "oom-score-adj" | "oom-score-adj-values" => self.adjust_score(new).map_err(|error| {
                tracing::warn!("Unable to write oom_score_adj: {error}");
                "Failed to set current oom_score_adj. Check server logs."
            })?,
            "port" | "tls-port" => {
                self.ports
                    .change(old, new)
                    .map_err(|_| "Unable to listen on this port. Check server logs.")?;
                if new.set_proc_title {
                    self.title.show(new);
                }
            }
            "jemalloc-bg-thread" => alloc::purge_in_background(new.jemalloc_bg_thread).map_err(|error| {
                tracing::warn!("Unable to start or stop the allocator's thread: {error}");
                "Failed to change jemalloc-bg-thread. Check server logs."
            })?,
            "bind" => self.ports.change(old, new).map_err(|_| "Failed to bind to specified addresses.")?,
            name if name.starts_with("tls-") && new.tls_port > 0 => self
                .ports
                .renew_tls(new)
                .map_err(|_| "Unable to update TLS configuration. Check server logs.")?,
            _ => {}
        }
        Ok(())
    }
}
