//! How does Redis read and print numbers? Byte for byte as Redis 8.2 does, without C's library.
//!
//! Invariants: nothing here allocates by a length a client chose beyond the length of what it sent;
//! every parser takes the whole argument or rejects it; every printer is the exact text of a reply.
//!
//! | question | answer |
//! |---|---|
//! | an integer argument | [`parse_i64`], [`parse_u64`], [`parse_u64_lenient`] |
//! | a score or other double argument | [`parse_f64`], [`parse_score_bound`], [`parse_sort_weight`] |
//! | a double in a reply | [`fmt_double`], [`fmt_fixed`], [`fmt_g17`], [`fmt_g14`], [`fmt_g6`], [`fmt_shortest`] |
//! | INCRBYFLOAT, HINCRBYFLOAT, GEOPOS | [`LongDouble`] |
//! | memory sizes | [`parse_memory`], [`human_bytes`] |

mod big;
mod float;
mod grisu;
mod int;
mod long_double;
mod round;

pub use float::{
    fmt_double, fmt_fixed, fmt_g6, fmt_g14, fmt_g17, fmt_shortest, parse_f64, parse_score_bound,
    parse_sort_weight,
};
pub use int::{
    atoi, fmt_i64, fmt_u64, human_bytes, i64_len, parse_i64, parse_memory, parse_u64, parse_u64_lenient,
    push_i64, push_u64, u64_len,
};
pub use long_double::LongDouble;

use std::fmt;
use std::ops::Deref;

/// The text of one number, on the stack. Dereferences to its bytes.
#[derive(Clone, Copy)]
pub struct SmallBuf {
    len: u8,
    bytes: [u8; SmallBuf::CAPACITY],
}

impl SmallBuf {
    /// Room for every form printed here: `%.17g` needs 24 bytes, `fmt_fixed` at most 22.
    const CAPACITY: usize = 39;

    pub(crate) const fn new() -> Self {
        SmallBuf { len: 0, bytes: [0; Self::CAPACITY] }
    }

    pub(crate) fn of(text: &[u8]) -> Self {
        let mut buf = Self::new();
        buf.extend(text);
        buf
    }

    pub(crate) fn push(&mut self, byte: u8) {
        self.bytes[usize::from(self.len)] = byte;
        self.len += 1;
    }

    pub(crate) fn extend(&mut self, text: &[u8]) {
        let start = usize::from(self.len);
        self.bytes[start..start + text.len()].copy_from_slice(text);
        self.len += text.len() as u8;
    }

    pub(crate) fn fill(&mut self, byte: u8, times: usize) {
        let start = usize::from(self.len);
        self.bytes[start..start + times].fill(byte);
        self.len += times as u8;
    }

    /// The text; every number is ASCII.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self).unwrap_or_default()
    }
}

impl Deref for SmallBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl AsRef<[u8]> for SmallBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Write for SmallBuf {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if usize::from(self.len) + text.len() > Self::CAPACITY {
            return Err(fmt::Error);
        }
        self.extend(text.as_bytes());
        Ok(())
    }
}

impl fmt::Debug for SmallBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for SmallBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
