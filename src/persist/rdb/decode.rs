//! How do bytes become a value? Every form that Redis has written since 2.6 is understood, and everything is checked
//! before it is believed.

use crate::ds::intset::Intset;
use crate::ds::listpack::{Corrupt, Listpack};
use crate::ds::quicklist::Quicklist;
use crate::persist::rdb::source::Source;
use crate::persist::rdb::{Bad, encode, kind, old, op};
use crate::util::hash::Seed;
use crate::value::hash::Hash;
use crate::value::list::End;
use crate::value::stream::{Group, Meta, Pending, StreamId};
use crate::value::zset::{AddFlags, Added};
use crate::value::{Limits, List, Set, Stream, Value, Zset};

/// What values need to know when they are made.
#[derive(Debug, Clone, Copy)]
pub struct Making {
    /// When values change their encoding.
    pub limits: Limits,
    /// What large sets and hashes hash with.
    pub seed: Seed,
}

/// A value that has been read.
#[derive(Debug)]
pub enum Decoded {
    /// A string.
    Str(Vec<u8>),
    /// Anything else.
    Value(Value),
}

/// Reads the payload of DUMP, its footer taken off.
///
/// # Errors
/// [`Bad`] when it is not one value and nothing else.
pub fn payload(mut bytes: &[u8], making: &Making) -> Result<Decoded, Bad> {
    let mut source = Source::new(&mut bytes);
    let kind = source.byte()?;
    let value = value(&mut source, kind, making)?;
    if source.at_end()? { Ok(value) } else { Err(Bad::corrupt("something behind the value")) }
}

/// Takes DUMP's footer off, if it is right; whether its checksum is does not matter unless `verify`.
pub fn unseal(sealed: &[u8], verify: bool) -> Option<&[u8]> {
    encode::unseal(sealed, verify)
}

/// Reads the function libraries of an unsealed payload.
///
/// # Errors
/// What is wrong with it, for the client.
pub fn functions(body: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    let mut input = body;
    let mut source = Source::new(&mut input);
    let mut sources = Vec::new();
    while !source.at_end().unwrap_or(true) {
        match source.byte() {
            Ok(op::FUNCTION) => {
                sources.push(source.string().map_err(|_| "failed loading the given functions payload")?);
            }
            Ok(op::FUNCTION_EARLY) => return Err("Pre-GA function format not supported"),
            _ => return Err("given type is not a function"),
        }
    }
    Ok(sources)
}

/// Reads a value of a type.
///
/// # Errors
/// [`Bad`] when it is damaged, cut short, empty or of a type that is not known.
pub fn value(source: &mut Source<'_>, kind: u8, making: &Making) -> Result<Decoded, Bad> {
    let value = match kind {
        kind::STRING => return source.string().map(Decoded::Str),
        kind::LIST => Value::List(list(source, making)?),
        kind::LIST_ZIPLIST => {
            let mut nodes = Quicklist::new();
            nodes.push_packed(ziplist(&source.string()?, "List ziplist")?);
            quicklist(nodes, making)?
        }
        kind::LIST_QUICKLIST | kind::LIST_QUICKLIST_2 => list_of_nodes(source, kind, making)?,
        kind::SET => Value::Set(set(source, making)?),
        kind::SET_INTSET => {
            let ints = Intset::from_bytes(&source.string()?).map_err(Bad::packed("Intset"))?;
            Value::Set(Set::from_intset(ints, &making.limits, making.seed))
        }
        kind::SET_LISTPACK => {
            let form = "Set listpack";
            let set = Set::from_listpack(listpack(source, form)?, &making.limits, making.seed);
            Value::Set(set.map_err(Bad::packed(form))?)
        }
        kind::ZSET | kind::ZSET_2 => Value::Zset(zset(source, kind, making)?),
        kind::ZSET_ZIPLIST | kind::ZSET_LISTPACK => {
            let (lp, form) = match kind {
                kind::ZSET_ZIPLIST => (full(ziplist(&source.string()?, "Zset ziplist")?)?, "Zset ziplist"),
                _ => (listpack(source, "Zset listpack")?, "Zset listpack"),
            };
            Value::Zset(Zset::from_listpack(lp, &making.limits).map_err(Bad::packed(form))?)
        }
        kind::STREAM | kind::STREAM_2 | kind::STREAM_3 => Value::Stream(Box::new(stream(source, kind)?)),
        _ => Value::Hash(any_hash(source, kind, making)?),
    };
    Ok(Decoded::Value(value))
}

/// A listpack, which has elements; `form`: what it is called when it is damaged.
fn listpack(source: &mut Source<'_>, form: &str) -> Result<Listpack, Bad> {
    full(Listpack::from_bytes(&source.string()?).map_err(Bad::packed(form))?)
}

fn ziplist(bytes: &[u8], form: &str) -> Result<Listpack, Bad> {
    old::from_ziplist(bytes).map_err(Bad::packed(form))
}

fn full(lp: Listpack) -> Result<Listpack, Bad> {
    if lp.is_empty() { Err(Bad::Empty) } else { Ok(lp) }
}

/// A number of elements, which is not 0.
fn count(source: &mut Source<'_>) -> Result<u64, Bad> {
    match source.number()? {
        0 => Err(Bad::Empty),
        n => Ok(n),
    }
}

/// The same as a hint for choosing an encoding.
fn hint(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

fn list(source: &mut Source<'_>, making: &Making) -> Result<List, Bad> {
    let n = count(source)?;
    let mut list = List::new();
    for _ in 0..n {
        let element = source.string()?;
        list.push(End::Tail, [element.as_slice()], &making.limits);
    }
    Ok(list)
}

fn list_of_nodes(source: &mut Source<'_>, kind: u8, making: &Making) -> Result<Value, Bad> {
    let n = count(source)?;
    let mut nodes = Quicklist::new();
    for _ in 0..n {
        let form = if kind == kind::LIST_QUICKLIST { 0 } else { source.number()? };
        let bytes = source.string()?;
        match form {
            _ if bytes.is_empty() => return Err(Bad::corrupt("Quicklist with a node of no bytes")),
            0 => nodes.push_packed(ziplist(&bytes, "Ziplist")?),
            1 => nodes.push_plain(bytes.into()),
            2 => nodes.push_packed(Listpack::from_bytes(&bytes).map_err(Bad::packed("Listpack"))?),
            _ => return Err(Bad::corrupt("Quicklist integrity check failed.")),
        }
    }
    quicklist(nodes, making)
}

fn quicklist(nodes: Quicklist, making: &Making) -> Result<Value, Bad> {
    if nodes.is_empty() {
        return Err(Bad::Empty);
    }
    Ok(Value::List(List::from_quicklist(nodes, &making.limits)))
}

fn set(source: &mut Source<'_>, making: &Making) -> Result<Set, Bad> {
    let n = count(source)?;
    let first = source.string()?;
    let (limits, seed) = (&making.limits, making.seed);
    let mut set = Set::for_member(&first, hint(n), limits, seed);
    set.add(&first, limits, seed);
    for _ in 1..n {
        if !set.add(&source.string()?, limits, seed) {
            return Err(Bad::corrupt("Duplicate set members detected"));
        }
    }
    Ok(set)
}

fn zset(source: &mut Source<'_>, kind: u8, making: &Making) -> Result<Zset, Bad> {
    let n = count(source)?;
    let mut zset = Zset::new();
    zset.prepare(hint(n), &making.limits);
    for _ in 0..n {
        let member = source.string()?;
        let score = if kind == kind::ZSET { source.old_double()? } else { source.double()? };
        match zset.add(&member, score, AddFlags::default(), &making.limits) {
            Ok(Added::New(_)) => {}
            Ok(_) => return Err(Bad::corrupt("Zset has duplicate members")),
            Err(_) => return Err(Bad::corrupt("Zset with NAN score detected")),
        }
    }
    Ok(zset)
}

fn any_hash(source: &mut Source<'_>, kind: u8, making: &Making) -> Result<Hash, Bad> {
    let (lp, form, triples) = match kind {
        kind::HASH => return hash(source, making),
        kind::HASH_EXPIRING | kind::HASH_EXPIRING_EARLY | kind::HASH_EXPIRING_VALKEY => {
            return expiring_hash(source, kind, making);
        }
        kind::HASH_ZIPMAP => {
            (old::from_zipmap(&source.string()?).map_err(Bad::packed("Zipmap"))?, "Zipmap", false)
        }
        kind::HASH_ZIPLIST => (ziplist(&source.string()?, "Hash ziplist")?, "Hash ziplist", false),
        kind::HASH_LISTPACK => (listpack(source, "Hash listpack")?, "Hash listpack", false),
        kind::HASH_EXPIRING_PACKED_EARLY => (listpack(source, "Hash listpackex")?, "Hash listpackex", true),
        kind::HASH_EXPIRING_PACKED => {
            // The soonest expiry; it is found again in the fields.
            source.time()?;
            (listpack(source, "Hash listpackex")?, "Hash listpackex", true)
        }
        6 | 7 => return Err(Bad::corrupt("The RDB file contains module data I can't load")),
        _ => return Err(Bad::Corrupt(format!("Unknown RDB encoding type {kind}"))),
    };
    let hash = Hash::from_listpack(full(lp)?, triples, &making.limits, making.seed);
    let mut packed = hash.map_err(|Corrupt| {
        Bad::Corrupt(format!(
            "{form} integrity check failed: torn or unsorted fields, or {form} with dup elements"
        ))
    })?;
    if packed.iter().any(|f| f.expire.is_some_and(|at| at > LATEST)) {
        return Err(invalid_expiry());
    }
    // Longer fields than the limit allows make a table, as they would when set one by one.
    let limit = making.limits.hash_max_listpack_value;
    let longest =
        packed.iter().map(|f| f.name.len_as_text().max(f.value.len_as_text())).max().unwrap_or_default();
    if longest > limit {
        packed.prepare(0, longest, &making.limits, making.seed);
    }
    Ok(packed)
}

fn hash(source: &mut Source<'_>, making: &Making) -> Result<Hash, Bad> {
    let n = count(source)?;
    let mut hash = Hash::new();
    hash.prepare(hint(n), 0, &making.limits, making.seed);
    for _ in 0..n {
        let (field, value) = (source.string()?, source.string()?);
        if !hash.set(&field, &value, false, &making.limits, making.seed) {
            return Err(Bad::corrupt("Hash with dup elements"));
        }
    }
    Ok(hash)
}

/// Redis keeps expiries of fields in 48 bits.
const LATEST: u64 = (1 << 48) - 1;

fn invalid_expiry() -> Bad {
    Bad::corrupt("invalid expireAt time")
}

fn expiring_hash(source: &mut Source<'_>, kind: u8, making: &Making) -> Result<Hash, Bad> {
    let time = |ms: i64| u64::try_from(ms).map_err(|_| invalid_expiry());
    let base = match kind {
        kind::HASH_EXPIRING => time(source.time()?)?,
        _ => 1,
    };
    let n = count(source)?;
    let mut hash = Hash::new();
    hash.prepare(hint(n), 0, &making.limits, making.seed);
    hash.allow_expiry();
    for _ in 0..n {
        // In Redis's forms the time stands in front: 0 for none, 1 for the base.
        let relative = if kind == kind::HASH_EXPIRING_VALKEY { 0 } else { source.number()? };
        let (field, value) = (source.string()?, source.string()?);
        if !hash.set(&field, &value, false, &making.limits, making.seed) {
            return Err(Bad::corrupt("Hash with dup elements"));
        }
        let at = match (kind, relative) {
            (kind::HASH_EXPIRING_VALKEY, _) => {
                Some(source.time()?).filter(|ms| *ms != -1).map(time).transpose()?
            }
            (_, 0) => None,
            _ => Some(base.checked_add(relative - 1).ok_or_else(invalid_expiry)?),
        };
        if let Some(at) = at {
            if at > LATEST {
                return Err(invalid_expiry());
            }
            hash.expire_field(&field, at);
        }
    }
    Ok(hash)
}

fn id(source: &mut Source<'_>) -> Result<StreamId, Bad> {
    Ok(StreamId::new(source.number()?, source.number()?))
}

fn raw_id(source: &mut Source<'_>) -> Result<StreamId, Bad> {
    Ok(StreamId::from_bytes(source.array()?))
}

fn stream(source: &mut Source<'_>, kind: u8) -> Result<Stream, Bad> {
    let mut stream = Stream::new();
    for _ in 0..source.number()? {
        let master = source.string()?;
        let master = <[u8; 16]>::try_from(master)
            .map_err(|_| Bad::corrupt("Stream node key entry is not the size of a stream ID"))?;
        let damaged = Bad::packed("Stream listpack");
        let lp = Listpack::from_bytes(&source.string()?).map_err(&damaged)?;
        stream.restore_node(StreamId::from_bytes(master), lp).map_err(&damaged)?;
    }
    let len = source.number()?;
    let last_id = id(source)?;
    let mut meta = Meta { len, last_id, entries_added: len, ..Meta::default() };
    if kind != kind::STREAM {
        meta.first_id = id(source)?;
        meta.max_deleted_id = id(source)?;
        meta.entries_added = source.number()?;
    }
    stream
        .restore_meta(meta)
        .map_err(|Corrupt| Bad::corrupt("Stream length inconsistent with its entries"))?;
    for _ in 0..source.number()? {
        let name = source.string()?;
        let group = group(source, kind, &stream)?;
        if !stream.add_group(&name, group) {
            return Err(Bad::corrupt("Duplicated consumer group name"));
        }
    }
    Ok(stream)
}

fn group(source: &mut Source<'_>, kind: u8, stream: &Stream) -> Result<Group, Bad> {
    let last_id = id(source)?;
    let entries_read = match kind {
        kind::STREAM => stream.meta().entries_up_to(last_id),
        _ => Some(source.number()?).filter(|n| *n != u64::MAX),
    };
    let mut group = Group::new(last_id, entries_read);
    // The records come before the consumers that they belong to.
    let mut records = std::collections::BTreeMap::new();
    for _ in 0..source.number()? {
        let entry = raw_id(source)?;
        let record = (source.time()?, source.number()?);
        if records.insert(entry, record).is_some() {
            return Err(Bad::corrupt("Duplicated global PEL entry loading stream consumer group"));
        }
    }
    for _ in 0..source.number()? {
        let name = source.string()?;
        let seen = source.time()?;
        let active = if kind == kind::STREAM_3 { source.time()? } else { seen };
        let id = group
            .create_consumer(&name, seen)
            .ok_or_else(|| Bad::corrupt("Duplicate stream consumer detected."))?;
        if let Some(consumer) = group.consumer_mut(id) {
            consumer.active_time = active;
        }
        for _ in 0..source.number()? {
            let entry = raw_id(source)?;
            // A record belongs to one consumer: it is taken by the first that names it.
            let (delivery_time, delivery_count) = records
                .remove(&entry)
                .ok_or_else(|| Bad::corrupt("Consumer entry not found in group global PEL"))?;
            group.set_pending(entry, Pending { consumer: id, delivery_time, delivery_count });
        }
    }
    if records.is_empty() { Ok(group) } else { Err(Bad::corrupt("Stream CG PEL entry without consumer")) }
}
