//! How are keys hashed? With foldhash under a seed drawn once per process: about a nanosecond for a
//! short key, and nobody outside can aim keys at one bucket without knowing the seed.
//!
//! Invariant: equal bytes under equal seeds have equal hashes for the life of the process. Nothing
//! stored or sent may depend on a hash, since the next process draws another seed.

use foldhash::{SharedSeed, quality::FoldHasher};
use std::hash::Hasher;

/// The secret of a hash. Copies are equal; 16 bytes.
#[derive(Clone, Copy, Debug)]
pub struct Seed {
    own: u64,
    shared: &'static SharedSeed,
}

impl Seed {
    /// A seed from 128 random bits. Leaks 48 bytes: call it once per process and pass the copy around
    /// (and use [`Seed::derive`] where tables should differ).
    pub fn new(random: [u64; 2]) -> Seed {
        Seed { own: random[0], shared: Box::leak(Box::new(SharedSeed::from_u64(random[1]))) }
    }

    /// The same seed in every process: for tests and benches, never for a server.
    pub const fn fixed() -> Seed {
        Seed { own: 0x243f_6a88_85a3_08d3, shared: SharedSeed::global_fixed() }
    }

    /// A seed that differs from this one for every `salt` but shares its secret.
    pub const fn derive(self, salt: u64) -> Seed {
        Seed { own: self.own ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15), shared: self.shared }
    }
}

/// The 64-bit hash of `bytes`; every bit is usable.
#[inline]
pub fn hash(seed: Seed, bytes: &[u8]) -> u64 {
    let mut hasher = FoldHasher::with_seed(seed.own, seed.shared);
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_agree_and_others_do_not() {
        let seed = Seed::fixed();
        for len in [0, 1, 3, 4, 7, 8, 15, 16, 17, 31, 100, 300] {
            let key = vec![b'x'; len];
            assert_eq!(hash(seed, &key), hash(seed, &key.clone()));
            assert_ne!(hash(seed, &key), hash(seed.derive(1), &key));
            assert_ne!(hash(seed, &key), hash(seed, &vec![b'x'; len + 1]));
        }
    }

    #[test]
    fn every_byte_of_the_hash_is_spread() {
        let mut counts = [[0u32; 256]; 8];
        let n: u32 = if cfg!(miri) { 0 } else { 256 * 400 };
        for i in 0..n {
            for (byte, count) in
                hash(Seed::fixed(), format!("key:{i}").as_bytes()).to_le_bytes().iter().zip(&mut counts)
            {
                count[usize::from(*byte)] += 1;
            }
        }
        for count in counts.iter().flatten() {
            assert!(n == 0 || (280..520).contains(count), "{count} of 400 expected");
        }
    }
}
