//! How much happens per second? Samples of the counters, taken ten times a second, and what they grew by.

use std::collections::VecDeque;

use parking_lot::Mutex;

/// Samples that a rate is worked out from: those of about the last second and a half.
const MOST: usize = 17;

/// The counters at one moment. They only grow, but for a reset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// When: monotonic microseconds.
    pub at_us: u64,
    /// Commands.
    pub commands: u64,
    /// Bytes received from, and sent to, clients.
    pub net: [u64; 2],
    /// The same for the replication links.
    pub replication: [u64; 2],
    /// Turns of all threads.
    pub turns: u64,
    /// Microseconds that they took.
    pub turns_us: u64,
}

/// What a second sees, on average over the last few samples.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PerSecond {
    /// Commands.
    pub commands: u64,
    /// Bytes received from, and sent to, clients.
    pub net: [f64; 2],
    /// The same for the replication links.
    pub replication: [f64; 2],
    /// Turns of all threads.
    pub turns: u64,
    /// Microseconds that one of them takes.
    pub turn_us: u64,
}

/// The last samples, oldest first.
#[derive(Debug, Default)]
pub struct Rates {
    samples: Mutex<VecDeque<Totals>>,
}

impl Rates {
    /// Adds a sample.
    pub fn sample(&self, totals: Totals) {
        let mut samples = self.samples.lock();
        if samples.len() == MOST {
            samples.pop_front();
        }
        samples.push_back(totals);
    }

    /// What a second sees.
    pub fn per_second(&self) -> PerSecond {
        let samples = self.samples.lock();
        let (Some(first), Some(last)) = (samples.front(), samples.back()) else {
            return PerSecond::default();
        };
        let seconds = last.at_us.saturating_sub(first.at_us) as f64 / 1e6;
        if seconds <= 0.0 {
            return PerSecond::default();
        }
        let rate = |of: fn(&Totals) -> u64| of(last).saturating_sub(of(first)) as f64 / seconds;
        let turns = last.turns.saturating_sub(first.turns);
        PerSecond {
            commands: rate(|t| t.commands) as u64,
            net: [rate(|t| t.net[0]), rate(|t| t.net[1])],
            replication: [rate(|t| t.replication[0]), rate(|t| t.replication[1])],
            turns: rate(|t| t.turns) as u64,
            turn_us: last.turns_us.saturating_sub(first.turns_us).checked_div(turns).unwrap_or(0),
        }
    }

    /// Forgets all samples: the counters begin anew.
    pub fn reset(&self) {
        self.samples.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_the_last_samples() {
        let rates = Rates::default();
        assert_eq!(rates.per_second(), PerSecond::default());
        for n in 0..100u64 {
            let (at_us, commands) = (n * 100_000, if n < 50 { 0 } else { (n - 50) * 70 });
            rates.sample(Totals {
                at_us,
                commands,
                net: [n * 1024, 0],
                turns: n,
                turns_us: n * 7,
                ..Totals::default()
            });
        }
        let now = rates.per_second();
        assert_eq!((now.commands, now.turns, now.turn_us), (700, 10, 7));
        assert_eq!(now.net, [10_240.0, 0.0]);
        rates.reset();
        assert_eq!(rates.per_second().commands, 0);
    }
}
