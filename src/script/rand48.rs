//! Which sequence does `math.random` give? The 48-bit linear congruential generator of POSIX
//! (`drand48`), so that a seed gives the same numbers here, in Redis, and on every machine.

use std::cell::Cell;

const MULTIPLIER: u64 = 0x5_DEEC_E66D;
const INCREMENT: u64 = 0xB;
const MASK: u64 = (1 << 48) - 1;
/// The state before any seed was given.
const INITIAL: u64 = 0x1234_ABCD_330E;

/// The generator of one interpreter.
pub struct Rand48(Cell<u64>);

impl Default for Rand48 {
    fn default() -> Self {
        Self(Cell::new(INITIAL))
    }
}

impl Rand48 {
    /// Starts over from a seed, as `srand48` does.
    pub fn seed(&self, seed: i32) {
        self.0.set((u64::from(seed as u32) << 16) | 0x330E);
    }

    /// The next 31 bits, as `lrand48` gives them.
    pub fn next(&self) -> u32 {
        let next = self.0.get().wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT) & MASK;
        self.0.set(next);
        (next >> 17) as u32
    }

    /// A number in [0, 1).
    pub fn fraction(&self) -> f64 {
        const MAX: u32 = i32::MAX as u32;
        f64::from(self.next() % MAX) / f64::from(MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_posix_sequence() {
        let rng = Rand48::default();
        rng.seed(0);
        // The first values of lrand48 after srand48(0).
        assert_eq!([rng.next(), rng.next(), rng.next()], [366_850_414, 1_610_402_240, 206_956_554]);
    }
}
