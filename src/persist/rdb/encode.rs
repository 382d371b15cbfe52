//! How does a value become bytes? Packed values are copied as they are; everything else is written element by element.
//!
//! A version below 12 leaves out what older servers do not know: the caller picks one that carries the data
//! (hash fields that expire need 12).

use crate::ds::entry::View;
use crate::ds::listpack::{Listpack, LpValue};
use crate::persist::rdb::{VERSION, kind, op};
use crate::util::lzf::Compressor;
use crate::util::{crc, number};
use crate::value::hash::{Field, Hash};
use crate::value::stream::{ConsumerId, Group};
use crate::value::{List, Set, Stream, Value, Zset};

/// Strings up to this length are not worth compressing.
const INCOMPRESSIBLE: usize = 20;
/// Longest text that may be an integer of 32 bits.
const INT_TEXT: usize = 11;
/// Nodes of a list: one large element, or a listpack.
const PLAIN: u64 = 1;
const PACKED: u64 = 2;

/// How recently or how often a key was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// Not said.
    Unknown,
    /// Seconds since the last use.
    Idle(u64),
    /// The logarithmic counter of uses.
    Frequency(u8),
}

/// Appends what it is given to a buffer, as RDB.
pub struct Encoder {
    /// What has been written.
    pub out: Vec<u8>,
    version: u16,
    /// `None` when strings are kept as they are.
    lzf: Option<Compressor>,
}

impl Encoder {
    /// An encoder that writes a version, with compressed strings or not.
    pub fn new(version: u16, compress: bool) -> Self {
        Encoder { out: Vec::new(), version, lzf: compress.then(Compressor::new) }
    }

    /// The version that it writes.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// A number of objects or bytes.
    pub fn len(&mut self, n: u64) {
        match n {
            0..0x40 => self.out.push(n as u8),
            0x40..0x4000 => self.out.extend_from_slice(&(0x4000 | n as u16).to_be_bytes()),
            0x4000..=0xffff_ffff => {
                self.out.push(0x80);
                self.out.extend_from_slice(&(n as u32).to_be_bytes());
            }
            _ => {
                self.out.push(0x81);
                self.out.extend_from_slice(&n.to_be_bytes());
            }
        }
    }

    /// A string.
    pub fn string(&mut self, bytes: &[u8]) {
        if bytes.len() <= INT_TEXT
            && let Some(n) = number::parse_i64(bytes).and_then(|n| i32::try_from(n).ok())
        {
            return self.small_int(n);
        }
        if bytes.len() > INCOMPRESSIBLE && self.compressed(bytes) {
            return;
        }
        self.raw(bytes);
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.len(bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }

    fn small_int(&mut self, n: i32) {
        if let Ok(n) = i8::try_from(n) {
            self.out.extend_from_slice(&[0xc0, n as u8]);
        } else if let Ok(n) = i16::try_from(n) {
            self.out.push(0xc1);
            self.out.extend_from_slice(&n.to_le_bytes());
        } else {
            self.out.push(0xc2);
            self.out.extend_from_slice(&n.to_le_bytes());
        }
    }

    fn compressed(&mut self, bytes: &[u8]) -> bool {
        let Some(lzf) = &mut self.lzf else { return false };
        let mut packed = Vec::new();
        if !lzf.compress(bytes, bytes.len() - 4, &mut packed) {
            return false;
        }
        self.out.push(0xc3);
        self.len(packed.len() as u64);
        self.len(bytes.len() as u64);
        self.out.extend_from_slice(&packed);
        true
    }

    /// An integer as a string.
    pub fn int(&mut self, n: i64) {
        match i32::try_from(n) {
            Ok(n) => self.small_int(n),
            Err(_) => self.raw(itoa::Buffer::new().format(n).as_bytes()),
        }
    }

    pub(super) fn element(&mut self, value: LpValue<'_>) {
        match value {
            LpValue::Int(n) => self.int(n),
            LpValue::Str(bytes) => self.string(bytes),
        }
    }

    /// A name and a value that describe the file.
    pub fn aux(&mut self, name: &str, value: &str) {
        self.out.push(op::AUX);
        self.string(name.as_bytes());
        self.string(value.as_bytes());
    }

    /// The database of what follows.
    pub fn select(&mut self, db: usize) {
        self.out.push(op::SELECT);
        self.len(db as u64);
    }

    /// How many keys a database has, and how many of them expire.
    pub fn resize(&mut self, keys: u64, expiring: u64) {
        self.out.push(op::RESIZE);
        self.len(keys);
        self.len(expiring);
    }

    /// The source of a function library.
    pub fn function(&mut self, source: &[u8]) {
        self.out.push(op::FUNCTION);
        self.string(source);
    }

    /// The payload of FUNCTION DUMP: function libraries, with the footer that [`unseal`] checks.
    pub fn dump_functions<'s>(mut self, sources: impl Iterator<Item = &'s [u8]>) -> Vec<u8> {
        sources.for_each(|source| self.function(source));
        seal(self.out, self.version)
    }

    /// A key with its value.
    pub fn record(&mut self, key: &[u8], view: &View<'_, Value>, expire: Option<u64>, usage: Usage) {
        self.head(expire, usage);
        // The type stands before the key; the value's writer knows it.
        let at = self.out.len();
        self.out.push(0);
        self.string(key);
        self.out[at] = self.value(view);
    }

    /// What stands before a record's type.
    pub(super) fn head(&mut self, expire: Option<u64>, usage: Usage) {
        if let Some(at) = expire {
            self.out.push(op::EXPIRE_MS);
            self.out.extend_from_slice(&at.to_le_bytes());
        }
        match usage {
            Usage::Unknown => {}
            Usage::Idle(seconds) => {
                self.out.push(op::IDLE);
                self.len(seconds);
            }
            Usage::Frequency(counter) => self.out.extend_from_slice(&[op::FREQUENCY, counter]),
        }
    }

    /// A payload as DUMP gives it.
    pub fn dump(mut self, view: &View<'_, Value>) -> Vec<u8> {
        self.out.push(0);
        self.out[0] = self.value(view);
        seal(self.out, self.version)
    }

    /// Writes a value and returns its type.
    pub(super) fn value(&mut self, view: &View<'_, Value>) -> u8 {
        match view {
            View::Str(bytes) => self.string(bytes),
            View::Int(n) => self.int(*n),
            View::Value(Value::Str(bytes)) => self.string(bytes),
            View::Value(Value::List(list)) => return self.list(list),
            View::Value(Value::Set(set)) => return self.set(set),
            View::Value(Value::Zset(zset)) => return self.zset(zset),
            View::Value(Value::Hash(hash)) => return self.hash(hash),
            View::Value(Value::Stream(stream)) => return self.stream(stream),
        }
        kind::STRING
    }

    fn list(&mut self, list: &List) -> u8 {
        if self.version < 10 {
            self.len(list.len() as u64);
            list.iter().for_each(|value| self.element(value));
            return kind::LIST;
        }
        match list {
            List::Packed(lp) => {
                self.len(1);
                self.packed_node(lp);
            }
            List::Quick(nodes) => {
                self.len(nodes.nodes().len() as u64);
                nodes.nodes().for_each(|node| self.node(node));
            }
        }
        kind::LIST_QUICKLIST_2
    }

    pub(super) fn packed_node(&mut self, lp: &Listpack) {
        self.len(PACKED);
        self.string(lp.as_bytes());
    }

    pub(super) fn plain_node(&mut self, bytes: &[u8]) {
        self.len(PLAIN);
        self.string(bytes);
    }

    fn set(&mut self, set: &Set) -> u8 {
        match set {
            Set::Ints(ints) => {
                self.string(ints.as_bytes());
                kind::SET_INTSET
            }
            Set::Packed(lp) if self.version >= 11 => {
                self.string(lp.as_bytes());
                kind::SET_LISTPACK
            }
            _ => {
                self.len(set.len() as u64);
                set.iter().for_each(|member| self.element(member));
                kind::SET
            }
        }
    }

    fn zset(&mut self, zset: &Zset) -> u8 {
        if let Zset::Packed(lp) = zset
            && self.version >= 10
        {
            self.string(lp.as_bytes());
            return kind::ZSET_LISTPACK;
        }
        self.len(zset.len() as u64);
        // From the highest score down, as Redis does: its own structure is quicker to fill that way.
        for (member, score) in zset.iter().rev() {
            self.element(member);
            self.out.extend_from_slice(&score.to_le_bytes());
        }
        kind::ZSET_2
    }

    fn hash(&mut self, hash: &Hash) -> u8 {
        let first = hash.iter().filter_map(|field| field.expire).min();
        match hash {
            Hash::Packed(lp) if self.version >= 10 => {
                self.string(lp.as_bytes());
                kind::HASH_LISTPACK
            }
            Hash::Expiring(lp) if self.version >= 12 => {
                self.out.extend_from_slice(&first.unwrap_or(0).to_le_bytes());
                self.string(lp.as_bytes());
                kind::HASH_EXPIRING_PACKED
            }
            _ => {
                if let Some(first) = first {
                    self.out.extend_from_slice(&first.to_le_bytes());
                }
                self.len(hash.len() as u64);
                hash.iter().for_each(|field| self.field(field, first));
                if first.is_some() { kind::HASH_EXPIRING } else { kind::HASH }
            }
        }
    }

    /// A field of a hash; `first` is a time before which none expires, if any does.
    pub(super) fn field(&mut self, field: Field<'_>, first: Option<u64>) {
        if let Some(first) = first {
            // Relative to the first one; 0 is for fields that do not expire.
            self.len(field.expire.map_or(0, |at| at.saturating_sub(first) + 1));
        }
        self.element(field.name);
        self.element(field.value);
    }

    fn stream(&mut self, stream: &Stream) -> u8 {
        self.len(stream.nodes().len() as u64);
        for (id, lp) in stream.nodes() {
            self.string(&id.to_bytes());
            self.string(lp.as_bytes());
        }
        self.stream_tail(stream);
        self.stream_kind()
    }

    /// The type of streams in this version.
    pub(super) fn stream_kind(&self) -> u8 {
        match self.version {
            ..10 => kind::STREAM,
            10 => kind::STREAM_2,
            _ => kind::STREAM_3,
        }
    }

    /// What follows a stream's nodes.
    pub(super) fn stream_tail(&mut self, stream: &Stream) {
        let meta = stream.meta();
        self.len(meta.len);
        let mut ids = vec![meta.last_id];
        if self.version >= 10 {
            ids.extend([meta.first_id, meta.max_deleted_id]);
        }
        for id in ids {
            self.len(id.ms);
            self.len(id.seq);
        }
        if self.version >= 10 {
            self.len(meta.entries_added);
        }
        self.len(stream.groups().len() as u64);
        for (name, group) in stream.groups() {
            self.group(name, group);
        }
    }

    fn group(&mut self, name: &[u8], group: &Group) {
        use crate::value::stream::StreamId;
        let all = StreamId::MIN..=StreamId::MAX;
        self.string(name);
        self.len(group.last_id.ms);
        self.len(group.last_id.seq);
        if self.version >= 10 {
            // Redis keeps "unknown" as -1.
            self.len(group.entries_read.unwrap_or(u64::MAX));
        }
        self.len(group.pending_count() as u64);
        for (id, pending) in group.pending_range(all.clone()) {
            self.out.extend_from_slice(&id.to_bytes());
            self.out.extend_from_slice(&pending.delivery_time.to_le_bytes());
            self.len(pending.delivery_count);
        }
        self.len(group.consumer_count() as u64);
        let consumers: Vec<ConsumerId> = group.consumers().map(|(id, _)| id).collect();
        for id in consumers {
            let Some(consumer) = group.consumer(id) else { continue };
            self.string(consumer.name());
            self.out.extend_from_slice(&consumer.seen_time.to_le_bytes());
            if self.version >= 11 {
                self.out.extend_from_slice(&consumer.active_time.to_le_bytes());
            }
            self.len(consumer.pending_count() as u64);
            for (entry, _) in group.consumer_pending(id, all.clone()) {
                self.out.extend_from_slice(&entry.to_bytes());
            }
        }
    }
}

/// Puts DUMP's footer behind a payload: version and checksum.
pub fn seal(mut payload: Vec<u8>, version: u16) -> Vec<u8> {
    payload.extend_from_slice(&version.to_le_bytes());
    let crc = crc::crc64(0, &payload);
    payload.extend_from_slice(&crc.to_le_bytes());
    payload
}

/// The payload without its footer, if the footer is right; its checksum only counts when it is to be verified.
pub fn unseal(sealed: &[u8], verify: bool) -> Option<&[u8]> {
    let (body, sum) = sealed.split_last_chunk::<8>()?;
    let (payload, version) = body.split_last_chunk::<2>()?;
    let known = u16::from_le_bytes(*version) <= VERSION;
    (known && (!verify || crc::crc64(0, body) == u64::from_le_bytes(*sum))).then_some(payload)
}
