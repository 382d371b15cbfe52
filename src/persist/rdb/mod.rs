//! How is data written to a snapshot, and read from one? In Redis's RDB format, so that either server loads the other's
//! files.
//!
//! ```text
//! file    "REDIS" version:4 or "VALKEY" version:3 | aux .. | function .. | database .. | 0xFF | CRC64:8
//! aux     0xFA name value
//! base    0xFE number | 0xFB keys expiring | record ..
//! record  [0xFC expiry:8] [0xF8 idle | 0xF9 frequency:1] type:1 key value
//!
//! number  00xxxxxx | 01xxxxxx x:8 | 0x80 x:32 | 0x81 x:64        big-endian
//! string  number bytes | 0xC0 i8 | 0xC1 i16 | 0xC2 i32 | 0xC3 packed-len len LZF        little-endian
//! ```
//!
//! DUMP's payload is a type and a value, the version in two bytes, and the CRC64 of both.

pub mod decode;
pub mod encode;
pub mod file;
pub mod old;
pub mod pieces;
pub mod source;

use std::fmt;
use std::io;

use crate::ds::listpack::Corrupt;

/// The newest version that is read and written.
pub const VERSION: u16 = 12;
/// The version that Valkey 9 writes, which has a numbering of its own from 80 on.
pub const VALKEY_VERSION: u16 = 80;

/// True for the beginning of a snapshot.
pub fn is_snapshot(bytes: &[u8]) -> bool {
    bytes.starts_with(b"REDIS") || bytes.starts_with(b"VALKEY")
}

/// Types of values.
pub mod kind {
    /// A string.
    pub const STRING: u8 = 0;
    /// A list as elements.
    pub const LIST: u8 = 1;
    /// A set as members.
    pub const SET: u8 = 2;
    /// A sorted set with scores as text.
    pub const ZSET: u8 = 3;
    /// A hash as fields and values.
    pub const HASH: u8 = 4;
    /// A sorted set with binary scores.
    pub const ZSET_2: u8 = 5;
    /// A hash as a zipmap (before 2.6).
    pub const HASH_ZIPMAP: u8 = 9;
    /// A list as a ziplist.
    pub const LIST_ZIPLIST: u8 = 10;
    /// A set as sorted integers.
    pub const SET_INTSET: u8 = 11;
    /// A sorted set as a ziplist.
    pub const ZSET_ZIPLIST: u8 = 12;
    /// A hash as a ziplist.
    pub const HASH_ZIPLIST: u8 = 13;
    /// A list of ziplists.
    pub const LIST_QUICKLIST: u8 = 14;
    /// A stream of 5.0.
    pub const STREAM: u8 = 15;
    /// A hash as a listpack.
    pub const HASH_LISTPACK: u8 = 16;
    /// A sorted set as a listpack.
    pub const ZSET_LISTPACK: u8 = 17;
    /// A list of listpacks and large elements.
    pub const LIST_QUICKLIST_2: u8 = 18;
    /// A stream of 7.0, with counters.
    pub const STREAM_2: u8 = 19;
    /// A set as a listpack.
    pub const SET_LISTPACK: u8 = 20;
    /// A stream of 7.2, with the active times of consumers.
    pub const STREAM_3: u8 = 21;
    /// A hash whose fields may expire, as early 7.4 wrote it.
    pub const HASH_EXPIRING_EARLY: u8 = 22;
    /// The same, packed.
    pub const HASH_EXPIRING_PACKED_EARLY: u8 = 23;
    /// A hash whose fields may expire.
    pub const HASH_EXPIRING: u8 = 24;
    /// The same, packed.
    pub const HASH_EXPIRING_PACKED: u8 = 25;
    /// A hash whose fields may expire, as Valkey 9 writes it. In its files this is 22; here it is a number of no file.
    pub const HASH_EXPIRING_VALKEY: u8 = 222;
}

/// What stands between values.
pub mod op {
    /// Slot and sizes (cluster mode): a hint.
    pub const SLOT_INFO: u8 = 244;
    /// The source of a function library.
    pub const FUNCTION: u8 = 245;
    /// The same as early 7.0 wrote it.
    pub const FUNCTION_EARLY: u8 = 246;
    /// Something of a module.
    pub const MODULE_AUX: u8 = 247;
    /// Seconds since the next key was used.
    pub const IDLE: u8 = 248;
    /// How often the next key was used.
    pub const FREQUENCY: u8 = 249;
    /// A name and a value that describe the file.
    pub const AUX: u8 = 250;
    /// How many keys are to come: a hint.
    pub const RESIZE: u8 = 251;
    /// When the next key expires, in milliseconds.
    pub const EXPIRE_MS: u8 = 252;
    /// The same in seconds.
    pub const EXPIRE: u8 = 253;
    /// The database of the next keys.
    pub const SELECT: u8 = 254;
    /// The end.
    pub const END: u8 = 255;
}

/// Why something cannot be read.
#[derive(Debug)]
pub enum Bad {
    /// It ends too early.
    Short,
    /// It is not what it claims to be.
    Corrupt(String),
    /// A collection without elements, which no key may have.
    Empty,
    /// The disk says no.
    Io(io::Error),
}

impl Bad {
    /// Damage described by a fixed text.
    pub fn corrupt(what: &str) -> Bad {
        Bad::Corrupt(what.to_owned())
    }

    /// What went wrong with a packed form, which is called by the name that Redis has for it in its log.
    pub fn packed(form: &str) -> impl Fn(Corrupt) -> Bad {
        move |Corrupt| Bad::Corrupt(format!("{form} integrity check failed."))
    }
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bad::Short => f.write_str("unexpected end of file"),
            Bad::Corrupt(what) => f.write_str(what),
            Bad::Empty => f.write_str("empty collection"),
            Bad::Io(error) => write!(f, "{error}"),
        }
    }
}

#[cfg(test)]
mod tests;
