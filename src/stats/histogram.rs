//! How long do the calls of a command take? A histogram that its thread counts in and others read and add up.
//!
//! Values are nanoseconds. They fall into slots of two significant digits, the layout of HdrHistogram (Gil Tene,
//! <http://hdrhistogram.org>), so that percentiles come out as Redis prints them:
//!
//! ```text
//! segment  0: 0..128        one slot per nanosecond
//! segment  n: 2^(n+6)..2^(n+7), 128 slots of 2^(n-1) nanoseconds each
//! ```
//!
//! A segment is made when the first value falls into it: most commands live in three or four of them.

use std::sync::OnceLock;

use crate::stats::Counter;

/// Slots of a segment.
const SLOTS: usize = 128;
/// Segments up to the longest time that is told apart.
const SEGMENTS: usize = 24;
/// Longer times count as this one: a second.
const LONGEST: u64 = 1_000_000_000;
/// The first step of the cumulative distribution, as a power of two, and the last.
const STEPS: std::ops::RangeInclusive<u32> = 10..=30;

type Segment = [Counter; SLOTS];

/// Where a value is counted.
fn place(nanos: u64) -> (usize, usize) {
    let nanos = nanos.clamp(1, LONGEST);
    let bits = 63 - nanos.leading_zeros();
    if bits < 7 {
        return (0, nanos as usize);
    }
    (bits as usize - 6, (nanos >> (bits - 7)) as usize - SLOTS)
}

/// The lowest and the highest value that are counted at a place.
fn bounds(segment: usize, slot: usize) -> (u64, u64) {
    if segment == 0 {
        return (slot as u64, slot as u64);
    }
    let shift = segment - 1;
    let low = ((SLOTS + slot) as u64) << shift;
    (low, low + (1 << shift) - 1)
}

/// The calls of one command on one thread.
#[derive(Debug, Default)]
pub struct Histogram {
    segments: [OnceLock<Box<Segment>>; SEGMENTS],
}

impl Histogram {
    /// Counts a call; only the owning thread may do so.
    pub fn record(&self, nanos: u64) {
        let (segment, slot) = place(nanos);
        let slots = self.segments.get(segment).map(|s| s.get_or_init(fresh));
        if let Some(counter) = slots.and_then(|slots| slots.get(slot)) {
            counter.add(1);
        }
    }

    /// Forgets all calls.
    pub fn reset(&self) {
        self.segments
            .iter()
            .filter_map(OnceLock::get)
            .for_each(|slots| slots.iter().for_each(Counter::reset));
    }

    fn add_to(&self, sum: &mut [u64]) {
        for (slots, sums) in self.segments.iter().zip(sum.chunks_mut(SLOTS)) {
            let Some(slots) = slots.get() else { continue };
            slots.iter().zip(sums).for_each(|(counter, sum)| *sum += counter.get());
        }
    }
}

fn fresh() -> Box<Segment> {
    Box::new(std::array::from_fn(|_| Counter::default()))
}

/// The calls of one command on all threads.
#[derive(Debug)]
pub struct Distribution {
    counts: Vec<u64>,
    /// Calls in all.
    pub total: u64,
}

impl Distribution {
    /// The sum of some histograms.
    pub fn of<'h>(histograms: impl Iterator<Item = &'h Histogram>) -> Self {
        let mut counts = vec![0; SLOTS * SEGMENTS];
        histograms.for_each(|one| one.add_to(&mut counts));
        let total = counts.iter().sum();
        Distribution { counts, total }
    }

    /// The places that are in use, in ascending order: lowest and highest value, and how many.
    fn used(&self) -> impl Iterator<Item = (u64, u64, u64)> {
        self.counts.iter().enumerate().filter(|(_, n)| **n > 0).map(|(i, n)| {
            let (low, high) = bounds(i / SLOTS, i % SLOTS);
            (low, high, *n)
        })
    }

    /// The nanoseconds that so many per cent of the calls did not exceed; 0 when there were none.
    pub fn percentile(&self, percent: f64) -> u64 {
        let want = ((percent.min(100.0) / 100.0 * self.total as f64 + 0.5) as u64).max(1);
        let mut seen = 0;
        for (low, high, n) in self.used() {
            seen += n;
            if seen >= want {
                return if percent == 0.0 { low } else { high };
            }
        }
        0
    }

    /// The cumulative distribution in steps of powers of two: microseconds, and how many calls took no longer. Steps
    /// that add nothing are left out.
    pub fn cumulative(&self) -> Vec<(u64, u64)> {
        let mut steps = Vec::new();
        let mut places = self.used().peekable();
        let mut seen = 0;
        for step in STEPS {
            let before = seen;
            while let Some((_, _, n)) = places.next_if(|(low, _, _)| *low <= 1 << step) {
                seen += n;
            }
            if seen > before {
                let last = step == *STEPS.end();
                let (segment, slot) = place(1 << step);
                let high = if last { (1 << step) - 1 } else { bounds(segment, slot).1 };
                steps.push((high / 1000, seen));
            }
        }
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[u64]) -> Distribution {
        let one = Histogram::default();
        values.iter().for_each(|v| one.record(*v));
        Distribution::of([&one].into_iter())
    }

    #[test]
    fn percentiles_are_those_of_redis() {
        // What Redis 8.2 prints for times like these, in nanoseconds.
        assert_eq!(of(&[0]).percentile(50.0), 1);
        for (nanos, printed) in [
            (1000, 1003),
            (6000, 6015),
            (8000, 8031),
            (11_000, 11_007),
            (24_000, 24_063),
            (192_000, 192_511),
            (659_000, 659_455),
            (720_000, 720_895),
        ] {
            assert_eq!(of(&[nanos]).percentile(50.0), printed);
        }
        assert_eq!(of(&[700_000_000]).percentile(99.9), 700_448_767);
        assert_eq!(of(&[1_200_000_000]).percentile(100.0), 1_002_438_655);
        assert_eq!(of(&[1000, 2000, 3000]).percentile(50.0), 2007);
        assert_eq!(of(&[1000, 2000]).percentile(0.0), 1000);
        assert_eq!(of(&[]).percentile(50.0), 0);
    }

    #[test]
    fn the_distribution_goes_up_in_powers_of_two() {
        assert_eq!(of(&[700_000_000, 1_200_000_000]).cumulative(), [(1_073_741, 2)]);
        assert_eq!(of(&[0, 1000, 3000, 3000, 40_000]).cumulative(), [(1, 2), (4, 4), (66, 5)]);
        assert_eq!(of(&[]).cumulative(), []);
    }

    #[test]
    fn threads_are_added_up_and_forget() {
        let (one, two) = (Histogram::default(), Histogram::default());
        one.record(5000);
        two.record(9_000_000);
        let both = || Distribution::of([&one, &two].into_iter());
        assert_eq!((both().total, both().percentile(100.0) / 1000), (2, 9043));
        one.reset();
        assert_eq!(both().total, 1);
    }

    proptest! {
        #[test]
        fn every_value_lies_within_its_place(nanos in 1..=LONGEST) {
            let (segment, slot) = place(nanos);
            prop_assert!(segment < SEGMENTS && slot < SLOTS);
            let (low, high) = bounds(segment, slot);
            prop_assert!(low <= nanos && nanos <= high);
            prop_assert!((high - low) * 100 <= nanos);
        }
    }
}
