//! What happened to a key, in the words of keyspace notifications?

/// The classes of events that `notify-keyspace-events` selects, as a bit set.
pub type Class = u32;

/// `K`: publish to `__keyspace@<db>__:<key>`.
pub const KEYSPACE: Class = 1 << 0;
/// `E`: publish to `__keyevent@<db>__:<event>`.
pub const KEYEVENT: Class = 1 << 1;
/// `g`: commands on keys of any type.
pub const GENERIC: Class = 1 << 2;
/// `$`: strings.
pub const STRING: Class = 1 << 3;
/// `l`: lists.
pub const LIST: Class = 1 << 4;
/// `s`: sets.
pub const SET: Class = 1 << 5;
/// `h`: hashes.
pub const HASH: Class = 1 << 6;
/// `z`: sorted sets.
pub const ZSET: Class = 1 << 7;
/// `x`: keys that expired.
pub const EXPIRED: Class = 1 << 8;
/// `e`: keys that were evicted.
pub const EVICTED: Class = 1 << 9;
/// `t`: streams.
pub const STREAM: Class = 1 << 10;
/// `m`: reads of keys that do not exist; not part of `A`.
pub const KEY_MISS: Class = 1 << 11;
/// `d`: modules.
pub const MODULE: Class = 1 << 13;
/// `n`: new keys; not part of `A`.
pub const NEW: Class = 1 << 14;
/// `A`: all classes but `m` and `n`.
pub const ALL: Class =
    GENERIC | STRING | LIST | SET | HASH | ZSET | EXPIRED | EVICTED | STREAM | MODULE;
