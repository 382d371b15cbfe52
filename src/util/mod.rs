//! What does everyone need that belongs to no one? Small tools without state.

pub mod clock;
pub mod crc;
pub mod geohash;
pub mod glob;
pub mod hash;
pub mod lzf;
pub mod number;
pub mod quote;
pub mod rng;
