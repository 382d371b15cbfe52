//! What happened to a key, in the words of keyspace notifications? The classes that `notify-keyspace-events` selects.

use crate::config::values::Events;

/// A class of events.
pub type Class = Events;

/// `g`: commands on keys of any type.
pub const GENERIC: Class = Events::GENERIC;
/// `$`: strings.
pub const STRING: Class = Events::STRING;
/// `l`: lists.
pub const LIST: Class = Events::LIST;
/// `s`: sets.
pub const SET: Class = Events::SET;
/// `h`: hashes.
pub const HASH: Class = Events::HASH;
/// `z`: sorted sets.
pub const ZSET: Class = Events::ZSET;
/// `x`: keys that expired.
pub const EXPIRED: Class = Events::EXPIRED;
/// `e`: keys that were evicted.
pub const EVICTED: Class = Events::EVICTED;
/// `t`: streams.
pub const STREAM: Class = Events::STREAM;
/// `m`: reads of keys that do not exist.
pub const KEY_MISS: Class = Events::KEY_MISS;
/// `n`: new keys.
pub const NEW: Class = Events::NEW;
/// `o`: keys that got a whole new value.
pub const OVERWRITTEN: Class = Events::OVERWRITTEN;
/// `c`: keys that got a value of another type.
pub const TYPE_CHANGED: Class = Events::TYPE_CHANGED;
/// `K`: published to `__keyspace@<db>__:<key>`.
pub const KEYSPACE: Class = Events::KEYSPACE;
/// `E`: published to `__keyevent@<db>__:<event>`.
pub const KEYEVENT: Class = Events::KEYEVENT;
