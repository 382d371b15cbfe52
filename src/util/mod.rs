//! What does everyone need that belongs to no one? Small tools without state.

pub mod bits;
pub mod clock;
pub mod crc;
pub mod geohash;
pub mod glob;
pub mod hash;
pub mod lcs;
pub mod lzf;
pub mod number;
pub mod quote;
pub mod rng;
pub mod stripes;
pub mod sync;
