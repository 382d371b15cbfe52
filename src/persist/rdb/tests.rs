//! Is every value read back as it was written, and nothing believed that is damaged?

use crate::ds::entry::{Entry, View};
use crate::persist::rdb::decode::{self, Decoded, Making};
use crate::persist::rdb::encode::{Encoder, Usage};
use crate::persist::rdb::file::{self, Preamble, Receiver, Record};
use crate::persist::rdb::source::Source;
use crate::persist::rdb::{Bad, old, op};
use crate::util::hash::Seed;
use crate::value::hash::Hash;
use crate::value::list::End;
use crate::value::stream::{Group, Pending, StreamId};
use crate::value::zset::AddFlags;
use crate::value::{Limits, List, Set, Stream, Value, Zset};

fn making() -> Making {
    Making { limits: Limits::default(), seed: Seed::new([1, 2]) }
}

fn numbered(n: usize) -> Vec<Vec<u8>> {
    (0..n).map(|i| format!("element:{i}").into_bytes()).collect()
}

fn stream() -> Stream {
    let (limits, mut stream) = (Limits::default(), Stream::new());
    for i in 1..300u64 {
        stream.append(StreamId::new(i, 1), [(&b"f"[..], &b"v"[..])].into_iter(), &limits).unwrap();
    }
    let mut group = Group::new(StreamId::new(5, 1), Some(5));
    let a = group.create_consumer(b"alice", 10).unwrap();
    group.create_consumer(b"bob", 11).unwrap();
    group.set_pending(StreamId::new(3, 1), Pending { consumer: a, delivery_time: 77, delivery_count: 2 });
    stream.add_group(b"g", group);
    stream.add_group(b"unknown", Group::new(StreamId::new(9, 9), None));
    stream
}

/// One of every kind and encoding.
fn values() -> Vec<Value> {
    let (limits, seed) = (Limits::default(), Seed::new([1, 2]));
    let mut values = vec![Value::Str(vec![b'x'; 5000]), Value::Str((0..=255).cycle().take(3000).collect())];
    for n in [3, 5000] {
        let all = numbered(n);
        let mut list = List::new();
        list.push(End::Tail, all.iter().map(Vec::as_slice), &limits);
        let (mut set, mut ints) = (Set::new(), Set::new());
        let (mut zset, mut hash) = (Zset::new(), Hash::new());
        let mut expiring = Hash::new();
        for (i, name) in all.iter().enumerate() {
            set.add(name, &limits, seed);
            ints.add(i.to_string().as_bytes(), &limits, seed);
            zset.add(name, i as f64 * 1.5, AddFlags::default(), &limits).unwrap();
            hash.set(name, b"17", false, &limits, seed);
            expiring.set(name, b"value", false, &limits, seed);
        }
        expiring.expire_field(&all[1], 1_000_000);
        expiring.expire_field(&all[2], 2_000_000);
        values.extend([
            Value::List(list),
            Value::Set(set),
            Value::Set(ints),
            Value::Zset(zset),
            Value::Hash(hash),
            Value::Hash(expiring),
        ]);
    }
    let mut large = List::new();
    large.push(End::Tail, [&[7u8; 20_000][..], b"small"], &limits);
    values.extend([Value::List(large), Value::Stream(Box::new(stream()))]);
    values
}

/// The value in the newest form, which says everything about it but the order within tables.
fn canon(value: &Value) -> (u8, Vec<Vec<u8>>) {
    let text = |v: crate::ds::listpack::LpValue<'_>| v.to_vec();
    let (tag, mut parts): (u8, Vec<Vec<u8>>) = match value {
        Value::Str(s) => (0, vec![s.clone()]),
        Value::List(v) => return (1, v.iter().map(text).collect()),
        Value::Set(v) => (2, v.iter().map(text).collect()),
        Value::Zset(v) => {
            (3, v.iter().map(|(m, s)| [m.to_vec(), s.to_le_bytes().to_vec()].concat()).collect())
        }
        Value::Hash(v) => {
            let field = |f: crate::value::hash::Field<'_>| {
                format!("{:?}={:?}@{:?}", f.name.to_vec(), f.value.to_vec(), f.expire).into_bytes()
            };
            (4, v.iter().map(field).collect())
        }
        Value::Stream(_) => (5, vec![Encoder::new(12, false).dump(&View::Value(value))]),
    };
    parts.sort();
    (tag, parts)
}

#[test]
fn every_value_survives_every_version() {
    for value in values() {
        for (version, compress) in [(9, true), (10, true), (10, false), (11, true), (12, true), (12, false)] {
            if version < 11 && matches!(value, Value::Stream(_)) {
                // Older versions leave out what they do not know.
                continue;
            }
            let sealed = Encoder::new(version, compress).dump(&View::Value(&value));
            let payload = decode::unseal(&sealed, true).unwrap();
            let read = match decode::payload(payload, &making()).unwrap() {
                Decoded::Value(read) => read,
                Decoded::Str(bytes) => Value::Str(bytes),
            };
            assert_eq!(canon(&read), canon(&value), "{value:?} in version {version}");
            if version >= 11 {
                assert_eq!(read.encoding(), value.encoding());
            }
        }
    }
}

#[test]
fn strings_and_integers_are_as_redis_writes_them() {
    let dump = |view: View<'_, Value>| Encoder::new(12, true).dump(&view);
    // DUMP of Redis 8.2.3 after SET k 10, SET k hello, SET k 99999999999.
    assert_eq!(&dump(View::Int(10))[..5], b"\x00\xc0\x0a\x0c\x00");
    assert_eq!(&dump(View::Str(b"hello"))[..9], b"\x00\x05hello\x0c\x00");
    assert_eq!(&dump(View::Int(99_999_999_999))[..13], b"\x00\x0b99999999999");
    assert_eq!(&dump(View::Str(b"-300"))[..4], b"\x00\xc1\xd4\xfe");
}

#[test]
fn a_payload_is_refused_when_a_bit_or_a_byte_is_missing() {
    let value = &values()[3];
    let sealed = Encoder::new(12, true).dump(&View::Value(value));
    for at in 0..sealed.len() {
        let mut bad = sealed.clone();
        bad[at] ^= 1 << (at % 8);
        assert!(decode::unseal(&bad, true).is_none());
        assert!(decode::unseal(&sealed[..at], true).is_none());
        // Without the checksum too, no cut is taken for a value, and no flip panics.
        if at < sealed.len() - 10 {
            assert!(decode::payload(&sealed[..at], &making()).is_err());
            let _ = decode::payload(&bad[..sealed.len() - 10], &making());
        }
    }
}

#[test]
fn lengths_without_bytes_cost_nothing() {
    for bytes in [
        &b"\x00\x81\xff\xff\xff\xff\xff\xff\xff\xff"[..],
        b"\x00\x80\xff\xff\xff\xff",
        b"\x00\xc3\x0a\x80\xff\xff\xff\xff0123456789",
        b"\x02\x81\x7f\xff\xff\xff\xff\xff\xff\xff\x01a",
        b"\x04\x81\x7f\xff\xff\xff\xff\xff\xff\xff\x01a\x01b",
        b"\x12\x81\x7f\xff\xff\xff\xff\xff\xff\xff\x02\x01a",
        b"\x15\x81\x7f\xff\xff\xff\xff\xff\xff\xff",
    ] {
        assert!(decode::payload(bytes, &making()).is_err());
    }
    // Nothing in it, twice the same, not a number.
    for bytes in [&b"\x02\x00"[..], b"\x02\x02\x01a\x01a", b"\x05\x01\x01a\0\0\0\0\0\0\xf8\x7f", b"\x06\x01"]
    {
        assert!(decode::payload(bytes, &making()).is_err());
    }
}

/// The texts that operators find in the log; whether fields expire beyond what Redis keeps is looked at in either form.
#[test]
fn damage_is_called_by_the_name_of_its_form() {
    let late = (1u64 << 48).to_le_bytes();
    let expiring = [&b"\x17\x17\x17\0\0\0\x03\0\x81f\x02\x81v\x02\xf4"[..], &late, b"\x09\xff"].concat();
    for (bytes, log) in [
        (&b"\x0f\x01\x10\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\x02\x07\0"[..], "Stream listpack integrity"),
        (b"\x0a\x02\0\0", "List ziplist integrity"),
        (b"\x0c\x02\0\0", "Zset ziplist integrity"),
        (b"\x0d\x02\0\0", "Hash ziplist integrity"),
        (b"\x0b\x02\0\0", "Intset integrity"),
        (b"\x11\x02\0\0", "Zset listpack integrity"),
        (b"\x14\x02\0\0", "Set listpack integrity"),
        (b"\x10\x02\0\0", "Hash listpack integrity"),
        (b"\x09\x02\x00\xff", "Zipmap integrity"),
        (b"\x12\x01\x01\0", "Quicklist with a node of no bytes"),
        (b"\x10\x13\x13\0\0\0\x04\0\x81a\x02\x81b\x02\x81a\x02\x81d\x02\xff", "listpack with dup elements"),
        (&expiring, "invalid expireAt time"),
    ] {
        let bad = decode::payload(bytes, &making()).unwrap_err().to_string();
        assert!(bad.contains(log), "{bad:?} is not {log:?}");
    }
}

#[test]
fn ziplists_are_read() {
    // "hi", 1, -5, 300, 70000, 2^40: entries as Redis 6 lays them out.
    let mut entries = Vec::new();
    for (before, data) in [
        (0u8, &b"\x02hi"[..]),
        (4, b"\xf2"),
        (2, b"\xfe\xfb"),
        (3, b"\xc0\x2c\x01"),
        (4, b"\xf0\x70\x11\x01"),
        (5, b"\xe0\0\0\0\0\0\x01\0\0"),
    ] {
        entries.push(before);
        entries.extend_from_slice(data);
    }
    let tail = 10 + entries.len() - 10;
    let mut ziplist = Vec::new();
    ziplist.extend_from_slice(&((10 + entries.len() + 1) as u32).to_le_bytes());
    ziplist.extend_from_slice(&(tail as u32).to_le_bytes());
    ziplist.extend_from_slice(&6u16.to_le_bytes());
    ziplist.extend_from_slice(&entries);
    ziplist.push(0xff);
    let texts = |lp: &crate::ds::listpack::Listpack| {
        lp.iter().map(|v| String::from_utf8(v.to_vec()).unwrap()).collect::<Vec<_>>()
    };
    let lp = old::from_ziplist(&ziplist).unwrap();
    assert_eq!(texts(&lp), ["hi", "1", "-5", "300", "70000", "1099511627776"]);
    for cut in 0..ziplist.len() {
        assert!(old::from_ziplist(&ziplist[..cut]).is_err());
    }
    for at in 0..10 {
        let mut bad = ziplist.clone();
        bad[at] ^= 1;
        assert!(old::from_ziplist(&bad).is_err(), "header byte {at}");
    }
    let zipmap = b"\x02\x03foo\x03\x00bar\x05hello\x05\x01world?\xff";
    assert_eq!(texts(&old::from_zipmap(zipmap).unwrap()), ["foo", "bar", "hello", "world"]);
    // A small length in the long form (CVE-2026-25243).
    assert!(old::from_zipmap(b"\x01\xfe\x03\x00\x00\x00foo\x03\x00bar\xff").is_err());
}

#[derive(Default)]
struct Collected(Vec<(u64, Vec<u8>, Option<u64>, String)>);

impl Receiver for Collected {
    fn aux(&mut self, _: &[u8], _: &[u8]) {}

    fn function(&mut self, source: Vec<u8>) -> Result<(), Bad> {
        self.0.push((99, source, None, String::new()));
        Ok(())
    }

    fn record(&mut self, r: Record) -> Result<(), Bad> {
        self.0.push((r.db, r.key, r.expire, format!("{:?}", r.usage)));
        Ok(())
    }

    fn skipped_empty(&mut self, _: &[u8]) {}
}

fn a_file() -> Vec<u8> {
    let mut encoder = Encoder::new(10, true);
    file::begin(&mut encoder, &Preamble { redis_version: "8.2.3", ..Preamble::default() });
    encoder.function(b"#!lua name=x\nreturn 1");
    encoder.select(3);
    encoder.resize(2, 1);
    let entry: Entry<Value> = Entry::new_str(b"k", b"v", Some(5_000_000_000_000));
    encoder.record(entry.key(), &entry.view(), entry.expire(), Usage::Idle(7));
    for (i, value) in values().iter().enumerate().filter(|(i, _)| *i < 7) {
        encoder.record(format!("key{i}").as_bytes(), &View::Value(value), None, Usage::Frequency(9));
    }
    encoder.out.push(op::END);
    let crc = crate::util::crc::crc64(0, &encoder.out);
    encoder.out.extend_from_slice(&crc.to_le_bytes());
    encoder.out
}

fn read(bytes: &[u8]) -> Result<Collected, Bad> {
    let mut collected = Collected::default();
    let mut input = bytes;
    file::read(&mut Source::new(&mut input), &making(), true, &mut collected)?;
    Ok(collected)
}

/// Keeps everything.
#[derive(Default)]
struct Kept(Vec<Record>);

impl Receiver for Kept {
    fn aux(&mut self, _: &[u8], _: &[u8]) {}

    fn function(&mut self, _: Vec<u8>) -> Result<(), Bad> {
        Ok(())
    }

    fn record(&mut self, record: Record) -> Result<(), Bad> {
        self.0.push(record);
        Ok(())
    }

    fn skipped_empty(&mut self, _: &[u8]) {}
}

/// A file that valkey-server 9.1.2 has saved: keys are called after what they hold.
#[test]
fn files_of_valkey_are_read() {
    let bytes = include_bytes!("../../../tests/fixtures/valkey-9.1.rdb");
    let mut kept = Kept::default();
    file::read(&mut Source::new(&mut &bytes[..]), &making(), true, &mut kept).unwrap();
    let names: Vec<&str> = kept.0.iter().map(|r| std::str::from_utf8(&r.key).unwrap()).collect();
    assert_eq!(names.len(), 18, "{names:?}");
    let find = |name: &str| &kept.0.iter().find(|r| r.key == name.as_bytes()).unwrap().value;
    let Decoded::Value(Value::Hash(hash)) = find("hash:expiring") else { panic!("no hash") };
    let mut fields: Vec<_> = hash.iter().map(|f| (f.name.to_vec(), f.value.to_vec(), f.expire)).collect();
    fields.sort();
    let field = |name: &[u8], value: &[u8], expire| (name.to_vec(), value.to_vec(), expire);
    assert_eq!(
        fields,
        [
            field(b"f", b"v", Some(70_000_000_000_000)),
            field(b"g", b"w", Some(60_000_000_000_000)),
            field(b"h", b"x", None)
        ]
    );
    let Decoded::Value(Value::Stream(stream)) = find("stream") else { panic!("no stream") };
    assert_eq!(stream.meta().len, 2);
    // Every cut is noticed, and what only Redis writes is not taken for something else.
    for cut in 0..bytes.len() {
        let mut input = &bytes[..cut];
        assert!(file::read(&mut Source::new(&mut input), &making(), true, &mut Kept::default()).is_err());
    }
    for bytes in [&b"VALKEY080\xfe\0\x18\x01k"[..], b"VALKEY081\xff", b"VALKEY", b"KEYDB0080\xff"] {
        let mut input = bytes;
        let bad = file::read(&mut Source::new(&mut input), &making(), true, &mut Kept::default());
        assert!(matches!(bad, Err(Bad::Corrupt(_) | Bad::Short)));
    }
}

#[test]
fn a_file_is_read_whole_or_not_at_all() {
    let whole = a_file();
    let Collected(seen) = read(&whole).unwrap();
    assert_eq!(seen.len(), 9);
    assert_eq!(seen[1], (3, b"k".to_vec(), Some(5_000_000_000_000), "Idle(7)".to_owned()));
    assert_eq!(seen[8].1, b"key6");
    for cut in 0..whole.len() {
        assert!(read(&whole[..cut]).is_err(), "cut at {cut}");
    }
    let step = whole.len() / 300 + 1;
    for at in (0..whole.len()).step_by(step).chain(0..9) {
        let mut bad = whole.clone();
        bad[at] ^= 1 << (at % 8);
        assert!(read(&bad).is_err(), "flip at {at}");
    }
}
