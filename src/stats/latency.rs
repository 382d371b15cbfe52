//! What took longer than `latency-monitor-threshold`? For each kind of event the last times that it did.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::Mutex;

/// Samples of one kind that are kept.
const MOST: usize = 160;

/// What may take long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A command.
    Command,
    /// A command that should never take long.
    FastCommand,
    /// A sweep for expired keys.
    ExpireCycle,
    /// An eviction because of `maxmemory`.
    EvictionCycle,
    /// Writing to the append-only file.
    AofWrite,
    /// Making it durable with `appendfsync always`.
    AofFsyncAlways,
}

impl Event {
    /// Its name in replies.
    pub const fn name(self) -> &'static str {
        match self {
            Event::Command => "command",
            Event::FastCommand => "fast-command",
            Event::ExpireCycle => "expire-cycle",
            Event::EvictionCycle => "eviction-cycle",
            Event::AofWrite => "aof-write",
            Event::AofFsyncAlways => "aof-fsync-always",
        }
    }
}

/// When something took long, and how long: unix seconds, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Unix seconds.
    pub time: u64,
    /// Milliseconds.
    pub ms: u64,
}

/// All that is known of one kind of event, oldest first.
#[derive(Debug, Clone, Default)]
pub struct Series {
    /// At most one sample a second: the longest.
    pub samples: VecDeque<Sample>,
    /// The longest ever, in milliseconds.
    pub max: u64,
}

impl Series {
    fn add(&mut self, sample: Sample) {
        self.max = self.max.max(sample.ms);
        match self.samples.back_mut() {
            Some(last) if last.time == sample.time => last.ms = last.ms.max(sample.ms),
            _ => {
                if self.samples.len() == MOST {
                    self.samples.pop_front();
                }
                self.samples.push_back(sample);
            }
        }
    }
}

/// The samples of all events.
#[derive(Debug, Default)]
pub struct Monitor {
    events: Mutex<BTreeMap<&'static str, Series>>,
}

impl Monitor {
    /// Keeps a sample when it reaches the threshold; a threshold of 0 keeps none.
    pub fn record(&self, threshold_ms: u64, event: Event, now_ms: u64, took_us: u64) {
        let ms = took_us / 1000;
        if threshold_ms > 0 && ms >= threshold_ms {
            self.events.lock().entry(event.name()).or_default().add(Sample { time: now_ms / 1000, ms });
        }
    }

    /// The samples of one kind, if there are any.
    pub fn series(&self, event: &[u8]) -> Option<Series> {
        self.events.lock().get(std::str::from_utf8(event).ok()?).cloned()
    }

    /// All kinds that there are samples of.
    pub fn all(&self) -> Vec<(&'static str, Series)> {
        self.events.lock().iter().map(|(name, series)| (*name, series.clone())).collect()
    }

    /// Forgets one kind, or all. Returns how many kinds that were.
    pub fn reset(&self, event: Option<&[u8]>) -> usize {
        let mut events = self.events.lock();
        let before = events.len();
        match event {
            None => events.clear(),
            Some(event) => events.retain(|name, _| !event.eq_ignore_ascii_case(name.as_bytes())),
        }
        before - events.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sample_a_second_and_the_last_ones() {
        let monitor = Monitor::default();
        let add = |time: u64, ms: u64| monitor.record(10, Event::Command, time * 1000, ms * 1000 + 999);
        [(1, 9), (1, 20), (1, 30), (1, 10), (2, 15)].into_iter().for_each(|(t, ms)| add(t, ms));
        let series = monitor.series(b"command").unwrap();
        assert_eq!(series.samples, [Sample { time: 1, ms: 30 }, Sample { time: 2, ms: 15 }]);
        assert_eq!(series.max, 30);
        (3..300).for_each(|t| add(t, 10));
        let series = monitor.series(b"command").unwrap();
        assert_eq!((series.samples.len(), series.samples[0].time, series.max), (160, 140, 30));
        monitor.record(0, Event::AofWrite, 0, 1 << 40);
        assert_eq!((monitor.reset(Some(b"aof-write")), monitor.reset(None), monitor.all().len()), (0, 1, 0));
    }
}
