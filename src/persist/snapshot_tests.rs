//! Is a snapshot the state of one moment, whatever happens while it is taken?

use std::collections::BTreeMap;

use super::*;
use crate::ds::entry::View;
use crate::persist::rdb::Bad;
use crate::persist::rdb::decode::{Decoded, Making};
use crate::persist::rdb::file::{self, Preamble, Receiver, Record};
use crate::persist::rdb::op;
use crate::persist::rdb::source::Source;
use crate::util::hash::Seed;
use crate::util::rng::Rng;
use crate::value::Limits;

const OPTIONS: Options =
    Options { version: 10, compress: false, marks: Marks::None, commands: false, delay: 0 };

type State = BTreeMap<(usize, Vec<u8>), Vec<u8>>;

#[derive(Default)]
struct Collected(State);

impl Receiver for Collected {
    fn aux(&mut self, _: &[u8], _: &[u8]) {}

    fn function(&mut self, _: Vec<u8>) -> Result<(), Bad> {
        Ok(())
    }

    fn record(&mut self, r: Record) -> Result<(), Bad> {
        let Decoded::Str(value) = r.value else { return Err(Bad::Empty) };
        assert!(self.0.insert((r.db as usize, r.key), value).is_none(), "saved twice");
        Ok(())
    }

    fn skipped_empty(&mut self, _: &[u8]) {}
}

fn put(keyspace: &Keyspace, db: usize, name: &[u8], value: &[u8]) {
    let key = keyspace.key(name);
    let mut shard = keyspace.lock_one(usize::from(key.shard));
    shard.remove(db, &key);
    shard.insert(db, &key, Slot::new_str(name, value, None));
}

fn edit(keyspace: &Keyspace, db: usize, name: &[u8], value: &[u8]) {
    let key = keyspace.key(name);
    let mut shard = keyspace.lock_one(usize::from(key.shard));
    if let Some(mut item) = shard.get_mut(db, &key) {
        item.set_str(value);
    }
}

fn state(keyspace: &Keyspace) -> State {
    let mut state = State::new();
    keyspace.locked_all().each(|_, shard| {
        for (i, db) in shard.dbs.iter().enumerate() {
            for entry in &db.table {
                let View::Str(value) = entry.view() else { continue };
                state.insert((i, entry.key().to_vec()), value.to_vec());
            }
        }
    });
    state
}

fn read(snapshot: Snapshot, keyspace: &Keyspace) -> State {
    let mut encoder = Encoder::new(snapshot.version().unwrap(), false);
    file::begin(&mut encoder, &Preamble::default());
    let mut bytes = encoder.out;
    snapshot
        .walk(keyspace, |more| {
            bytes.extend_from_slice(more);
            Ok(())
        })
        .unwrap();
    bytes.push(op::END);
    bytes.extend_from_slice(&[0; 8]);
    let (mut collected, mut input) = (Collected::default(), &bytes[..]);
    let making = Making { limits: Limits::default(), seed: Seed::new([1, 2]) };
    file::read(&mut Source::new(&mut input), &making, true, &mut collected).unwrap();
    collected.0
}

fn name(n: u64) -> Vec<u8> {
    format!("key:{n}").into_bytes()
}

/// Changes the data at random for as long as `going`.
fn disturb(keyspace: &Keyspace, seed: u64, going: &AtomicBool) {
    let mut rng = Rng::new(seed);
    while going.load(Ordering::Acquire) {
        let (n, db) = (rng.next_u64() % 6000, (rng.next_u64() % 3) as usize);
        match rng.next_u64() % 1000 {
            0 => keyspace.locked_all().each(|_, shard| shard.swap(db, 2 - db)),
            1 => keyspace.locked_all().each(|_, shard| drop(shard.take_table(db, keyspace.seed()))),
            2..400 => put(keyspace, db, &name(n), b"new"),
            400..800 => edit(keyspace, db, &name(n), b"changed"),
            _ => {
                let name = name(n);
                let key = keyspace.key(&name);
                keyspace.lock_one(usize::from(key.shard)).remove(db, &key);
            }
        }
    }
}

#[test]
fn the_picture_is_of_one_moment() {
    let keyspace = Keyspace::new(8, 3, Seed::new([1, 2]));
    for round in 0..12 {
        for n in 0..5000 {
            put(&keyspace, (n % 3) as usize, &name(n), format!("{round}").as_bytes());
        }
        let before = state(&keyspace);
        let snapshot = begin(&mut keyspace.locked_all(), OPTIONS);
        let going = AtomicBool::new(true);
        let saved = std::thread::scope(|scope| {
            for seed in 0..2 {
                let (keyspace, going) = (&keyspace, &going);
                scope.spawn(move || disturb(keyspace, round * 2 + seed, going));
            }
            let saved = read(snapshot, &keyspace);
            going.store(false, Ordering::Release);
            saved
        });
        assert!(saved == before, "round {round}: {} and {} keys", saved.len(), before.len());
    }
}

#[test]
fn a_walk_that_fails_leaves_nothing_for_the_next() {
    let keyspace = Keyspace::new(4, 3, Seed::new([1, 2]));
    for n in 0..3000 {
        put(&keyspace, 0, &name(n), b"value");
    }
    let failing = begin(&mut keyspace.locked_all(), OPTIONS);
    edit(&keyspace, 0, &name(7), b"other");
    assert!(failing.walk(&keyspace, |_| Err(io::Error::other("full"))).is_err());
    let stopped = begin(&mut keyspace.locked_all(), OPTIONS);
    stopped.stopper().stop();
    let error = stopped.walk(&keyspace, |_| Ok(())).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Interrupted);
    let before = state(&keyspace);
    let snapshot = begin(&mut keyspace.locked_all(), OPTIONS);
    assert!(read(snapshot, &keyspace) == before);
}

#[test]
fn who_wants_to_change_a_very_big_value_waits_until_it_has_been_saved_first() {
    let keyspace = Keyspace::new(1, 1, Seed::new([1, 2]));
    for n in 0..4 {
        let (name, value) = (name(n), Value::Str(vec![b'a'; 9 << 20]));
        keyspace.lock_one(0).insert(0, &keyspace.key(&name), Slot::new_value(&name, value, None));
    }
    put(&keyspace, 0, b"small", b"value");
    let waits = |name: &[u8]| keyspace.lock_one(0).is_to_be_saved(0, &keyspace.key(name));
    assert!(!waits(&name(3)), "there is no snapshot");
    let snapshot = begin(&mut keyspace.locked_all(), OPTIONS);
    // Asked for twice, as a client does that tries again.
    assert!(waits(&name(3)) && waits(&name(3)) && !waits(b"small"));
    let mut bytes = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while waits(&name(3)) {
                std::thread::sleep(Duration::from_millis(1));
            }
            let key = name(3);
            let mut shard = keyspace.lock_one(0);
            let mut item = shard.get_mut(0, &keyspace.key(&key)).unwrap();
            item.set_value(Value::Str(vec![b'b'; 9 << 20]));
        });
        snapshot
            .walk(&keyspace, |more| {
                bytes.extend_from_slice(more);
                Ok(())
            })
            .unwrap();
    });
    let at = |name: Vec<u8>| bytes.windows(name.len()).position(|window| window == name).unwrap();
    assert!((0..3).all(|n| at(name(3)) < at(name(n))), "it comes first");
    assert!(!bytes.contains(&b'b'), "as it was");
    assert!(!waits(&name(3)), "the snapshot is over");
    // Nobody waits for a snapshot that nobody wants.
    let stopped = begin(&mut keyspace.locked_all(), OPTIONS);
    stopped.stopper().stop();
    assert!(!waits(&name(3)));
    let _ = stopped.walk(&keyspace, |_| Ok(()));
}
