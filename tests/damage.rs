//! What does the server make of files that have come to harm? Every length an append-only file can be cut to, and every
//! bit of it and of a snapshot that can turn, in a file that is loaded as at a start, in this process.
//!
//! A start is right when it is refused, or when what is there is what was written up to some moment. When something is
//! missing that was whole, the rest must have been put aside: nothing goes without a word.
//!
//! `EVERY_BIT=1` turns each bit; otherwise one of each byte, by the seed `SEED`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::path::{Path, PathBuf};

use peregrine::config::choices::Appendfsync;
use peregrine::persist::aof::rewrite;
use peregrine::persist::disk::Disk;
use peregrine::util::clock::ManualClock;
use support::client::Client;
use support::life::{DIR, Data, Keeping, Life};
use support::rng::Rng;
use support::server::Server;
use support::simdisk::SimDisk;

const NOW: u64 = 1_700_000_000;
const KEEPING: Keeping = Keeping::Log(Appendfsync::Always);

fn clock() -> ManualClock {
    ManualClock::new(NOW * 1_000_000)
}

/// The bits of a file that are to be turned: byte and mask.
fn flips(len: usize) -> impl Iterator<Item = (usize, u8)> {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let (all, mut rng) = (every_bit(), Rng::new(seed));
    (0..len).flat_map(move |at| {
        let one = rng.below(8);
        (0..8).filter(move |bit| all || *bit == one).map(move |bit| (at, 1 << bit))
    })
}

/// A disk with an append-only file: its base, the increment in question, and the data after each operation.
struct Log {
    disk: SimDisk,
    increment: PathBuf,
    moments: Vec<Data>,
}

/// Operations of a file, more when all of its bits are turned.
fn operations() -> u64 {
    if every_bit() { 40 } else { 12 }
}

fn every_bit() -> bool {
    std::env::var_os("EVERY_BIT").is_some()
}

/// Operations, some of them transactions, with checksums now and then if they are wanted.
fn log(sums: bool) -> Log {
    let (disk, clock) = (SimDisk::new(Path::new(DIR)), clock());
    let life = Life::new(&disk, KEEPING, true, NOW);
    life.config.update(|config| config.aof_checksums = sums);
    life.start(&clock).unwrap();
    life.operate(&[0], b"0");
    let (mut moments, mut last_sync) = (vec![life.data()], 0);
    let beat = |last_sync: &mut u64| life.persist.aof.beat(life.world(&clock), last_sync);
    beat(&mut last_sync);
    // The first operation is in the base.
    assert!(rewrite::begin(life.world(&clock)).unwrap());
    life.persist.work_pending(life.world(&clock));
    for n in 1..=operations() {
        // Values that look like commands, and like nothing.
        life.operate(
            &[n % 7, n % 5, n % 3][..1 + n as usize % 3],
            format!("{n}{}", ".".repeat(n as usize % 40)).as_bytes(),
        );
        moments.push(life.data());
        clock.advance_ms(n % 4 * 300);
        beat(&mut last_sync);
    }
    life.persist.aof.finish(life.world(&clock)).unwrap();
    let dir = Path::new(DIR).join("appendonlydir");
    let name = disk.list(&dir).unwrap().into_iter().find(|name| name.ends_with(".incr.aof")).unwrap();
    Log { disk, increment: dir.join(name), moments }
}

/// What a start on a changed increment comes to: the moment that is there, and whether something was put aside. None
/// when it is refused. When it is not a moment of the log, `Err` says what is there.
fn start(log: &Log, sums: bool, change: impl FnOnce(&mut Vec<u8>)) -> Result<Option<(usize, bool)>, Data> {
    let (disk, clock) = (log.disk.fork(), clock());
    disk.change(&log.increment, change);
    let life = Life::new(&disk, KEEPING, true, NOW);
    life.config.update(|config| config.aof_checksums = sums);
    if life.start(&clock).is_err() {
        return Ok(None);
    }
    let data = life.data();
    let moment = log.moments.iter().rposition(|moment| *moment == data).ok_or_else(|| data.clone())?;
    let aside = disk.list(&Path::new(DIR).join("appendonlydir")).unwrap();
    let aside = aside.iter().any(|name| name.contains(".damaged-"));
    // What is written now is there after another start, together with what was there.
    life.operate(&[99], b"99");
    assert!(life.persist.aof.beat(life.world(&clock), &mut 0));
    let again = Life::new(&disk, KEEPING, true, NOW);
    again.start(&clock).expect("what has been mended is whole");
    let mut with = data;
    with.insert(99, 99);
    assert_eq!(again.data(), with);
    Ok(Some((moment, aside)))
}

#[test]
fn an_append_only_file_that_is_cut_anywhere_starts_with_what_is_whole() {
    for sums in [true, false] {
        let log = log(sums);
        let len = log.disk.len(&log.increment).unwrap() as usize;
        let mut last = 0;
        for cut in 0..=len {
            let moment = start(&log, sums, |bytes| bytes.truncate(cut)).expect("a moment of the log");
            let (moment, _) = moment.unwrap_or_else(|| panic!("cut at {cut} of {len} it does not start"));
            assert!(moment >= last, "more is left, and less is there");
            last = moment;
        }
        assert_eq!(last, log.moments.len() - 1);
    }
}

#[test]
fn an_append_only_file_with_a_bit_turned_never_starts_with_other_data() {
    let log = log(true);
    let len = log.disk.len(&log.increment).unwrap() as usize;
    let (mut refused, mut cut, mut harmless) = (0, 0, 0);
    for (at, bit) in flips(len) {
        match start(&log, true, |bytes| bytes[at] ^= bit) {
            Ok(None) => refused += 1,
            Ok(Some((moment, _))) if moment + 1 == log.moments.len() => harmless += 1,
            Ok(Some((_, aside))) => {
                assert!(aside, "byte {at} ^ {bit:#x}: what is missing is nowhere");
                cut += 1;
            }
            Err(data) => panic!("byte {at} ^ {bit:#x} makes it start with {data:?}"),
        }
    }
    println!("{len} bytes: refused {refused}, damaged end cut off and kept {cut}, harmless {harmless}");
    assert!(refused > 0 && cut > 0);
}

/// Without checksums, as Redis writes it: what a turned bit does to how the file is put together is noticed, what it
/// does within a value or a name is not.
#[test]
fn a_plain_append_only_file_with_a_bit_turned_differs_in_one_value_at_most() {
    let log = log(false);
    let len = log.disk.len(&log.increment).unwrap() as usize;
    let mut unnoticed = 0;
    for (at, bit) in flips(len) {
        let mut inside = false;
        let damage = |bytes: &mut Vec<u8>| {
            bytes[at] ^= bit;
            // A byte of a name or value: it was a digit or a dot, and no length.
            let line = bytes[..at].iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1);
            inside = !matches!(bytes[line], b'$' | b'*') || at == line;
        };
        // A name or value that is no number any more is for `Life::data` to complain of.
        let started = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| start(&log, false, damage)));
        if !matches!(started, Ok(Ok(_))) {
            unnoticed += 1;
            assert!(inside, "byte {at} ^ {bit:#x}: a length");
        }
    }
    println!("{len} bytes without checksums: {unnoticed} turned bits went unnoticed");
}

/// A snapshot of the real server with every type and encoding, and its digest.
fn snapshot() -> Vec<u8> {
    let server = Server::peregrine(&[
        "--hash-max-listpack-entries",
        "8",
        "--set-max-listpack-entries",
        "8",
        "--zset-max-listpack-entries",
        "8",
        "--list-max-listpack-size",
        "8",
        "--set-max-intset-entries",
        "8",
        "--stream-node-max-entries",
        "4",
        "--rdb-version",
        "12",
    ]);
    let mut client = server.connect();
    let mut ask = |line: &str| {
        let args: Vec<&str> = line.split(' ').collect();
        client.send(&args).unwrap();
        let reply = client.read().unwrap();
        assert!(!reply.raw.starts_with(b"-"), "{line}: {}", String::from_utf8_lossy(&reply.raw));
    };
    let many = |each: fn(u32) -> String| (0..20).map(each).collect::<Vec<_>>().join(" ");
    for line in [
        "SET string value",
        "SET integer 12345",
        "SET big 9223372036854775807",
        "SET expiring soon EX 1000000",
        "SET packed aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "SETBIT bits 1000 1",
        "PFADD loglog a b c",
        "RPUSH list:short a 1 b",
        "SADD set:numbers 1 2 300000",
        "SADD set:short a b c",
        "HSET hash:short f v g 2",
        "HSET hash:fields f v g w",
        "HEXPIRE hash:fields 1000000 FIELDS 1 f",
        "ZADD zset:short 1 a 2.5 b -inf c",
        "XADD stream 1-1 f v g w",
        "XADD stream 2-1 f v g w",
        "XADD stream 3-1 other fields here too",
        "XGROUP CREATE stream group 0",
        "XREADGROUP GROUP group consumer COUNT 2 STREAMS stream >",
        "XACK stream group 1-1",
        "XDEL stream 2-1",
        "GEOADD geo 13.361389 38.115556 Palermo",
    ] {
        ask(line);
    }
    ask(&format!("RPUSH list:long {}", many(|n| format!("element-{n}"))));
    ask(&format!("SADD set:long {}", many(|n| format!("member-{n}"))));
    ask(&format!("SADD set:many {}", many(|n| (n * 1000).to_string())));
    ask(&format!("HSET hash:long {}", many(|n| format!("field-{n} {n}"))));
    ask(&format!("ZADD zset:long {}", many(|n| format!("{n}.5 member-{n}"))));
    library(&mut client);
    client.send(&["SAVE"]).unwrap();
    assert_eq!(client.read().unwrap().raw, b"+OK\r\n");
    std::fs::read(server.dir.path().join("dump.rdb")).unwrap()
}

fn library(client: &mut Client) {
    let code = "#!lua name=lib\nredis.register_function('f', function() return 1 end)";
    client.send(&["FUNCTION", "LOAD", code]).unwrap();
    assert_eq!(client.read().unwrap().raw, b"$3\r\nlib\r\n");
}

#[test]
fn a_snapshot_with_a_bit_turned_or_cut_anywhere_is_refused() {
    let (bytes, disk) = (snapshot(), SimDisk::new(Path::new(DIR)));
    let path = Path::new(DIR).join("dump.rdb");
    disk.create(&path).unwrap();
    let starts = |bytes: &[u8]| {
        disk.change(&path, |now| *now = bytes.to_vec());
        let life = Life::new(&disk, Keeping::Snapshots, true, NOW);
        life.start(&clock()).map(|()| life.keyspace.locked_all().each(|_, _| {}))
    };
    starts(&bytes).expect("as it is");
    let mut tried = 0;
    for (at, bit) in flips(bytes.len()) {
        let mut damaged = bytes.clone();
        damaged[at] ^= bit;
        assert!(starts(&damaged).is_err(), "byte {at} ^ {bit:#x} goes unnoticed");
        tried += 1;
    }
    for len in 0..bytes.len() {
        assert!(starts(&bytes[..len]).is_err(), "cut to {len} bytes it starts");
    }
    println!("{} bytes: all of {tried} turned bits and {} cuts are refused", bytes.len(), bytes.len());
}
