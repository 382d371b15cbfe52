//! Does what was acknowledged survive every crash? The real persistence on a disk in memory that loses power, tears what
//! was being written, forgets names, fills up and lies about syncs; against a model that knows every operation.
//!
//! A universe is a seed: a policy, a workload, and a crash at a random disk operation, again and again on what is left.
//! After each crash the data must be that of some moment p of the model, whole, and p no earlier than was promised:
//!
//! ```text
//! the process dies   always, everysec, no: every operation that was acknowledged
//! the power is lost  always: the same   everysec: every one older than a second (and the time between two looks)
//!                    no: some moment    snapshots: the last one that was reported saved
//! ```
//!
//! `CRASHES=100000 cargo test --release --test crashes -- --nocapture` for a long run; `SEED` repeats one, `VERBOSE=1`
//! shows what happens in it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use peregrine::config::Config;
use peregrine::config::choices::Appendfsync;
use peregrine::config::live::Live;
use peregrine::config::values::{Dir, SavePoints};
use peregrine::ds::entry::View;
use peregrine::keyspace::{Keyspace, Locked};
use peregrine::log::Log;
use peregrine::log::entry::{Logged, encode_command};
use peregrine::persist::aof::load::Replay;
use peregrine::persist::aof::{self, rewrite};
use peregrine::persist::rdb::Bad;
use peregrine::persist::rdb::decode::Decoded;
use peregrine::persist::{Child, Persist, World, load, save};
use peregrine::stats::Stats;
use peregrine::util::clock::{Clock, ManualClock};
use peregrine::util::hash::Seed;
use support::rng::Rng;
use support::simdisk::{Died, Fault, Loss, SimDisk};

const DIR: &str = "/data";
const KEYS: u64 = 12;
/// Between two looks at the clock of the log's thread, and how long everysec may take besides.
const BEAT_US: u64 = 100_000;
const LATE_US: u64 = 1_000_000 + 3 * BEAT_US;

/// What is kept, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeping {
    Log(Appendfsync),
    Snapshots,
}

/// One operation of the workload: it sets some keys, all of them or none, to its number.
#[derive(Debug, Clone)]
struct Operation {
    keys: Vec<u64>,
    /// The log's offset behind it, and when it was made.
    end: u64,
    at_us: u64,
}

type Data = BTreeMap<u64, u64>;

/// Every operation there was, of which the first `ops.len()` may have happened.
#[derive(Default)]
struct Model {
    ops: Vec<Operation>,
    /// The operation, counted from 1, up to which all are promised to survive the process, and a loss of power.
    promised: [usize; 2],
}

impl Model {
    fn data_at(&self, moment: usize) -> Data {
        let mut data = Data::new();
        for (i, op) in self.ops[..moment].iter().enumerate() {
            op.keys.iter().for_each(|key| {
                data.insert(*key, i as u64 + 1);
            });
        }
        data
    }
}

/// One run of the server, as far as persistence goes.
struct Life {
    keyspace: Keyspace,
    config: Live,
    stats: Stats,
    log: Log,
    persist: Persist,
}

fn die() {
    std::panic::resume_unwind(Box::new(Died));
}

impl Life {
    fn new(disk: &SimDisk, keeping: Keeping, rdb_base: bool, now_s: u64) -> Life {
        let mut config = Config { dir: Dir(DIR.into()), ..Config::default() };
        config.save = SavePoints(Vec::new());
        config.aof_use_rdb_preamble = rdb_base;
        if let Keeping::Log(policy) = keeping {
            config.appendonly = true;
            config.appendfsync = policy;
        }
        let mut persist = Persist::on(Arc::new(disk.clone()), now_s);
        persist.end_process = die;
        Life {
            keyspace: Keyspace::new(4, 1, Seed::new([1, 2])),
            config: Live::new(config),
            stats: Stats::new(1, 1),
            log: Log::default(),
            persist,
        }
    }

    fn world<'a>(&'a self, clock: &'a dyn Clock) -> World<'a> {
        World {
            keyspace: &self.keyspace,
            config: &self.config,
            stats: &self.stats,
            clock,
            log: &self.log,
            persist: &self.persist,
        }
    }

    fn set(locks: &mut Locked<'_>, name: &[u8], value: &[u8]) {
        let key = locks.keyspace().key(name);
        locks.with_shard(usize::from(key.shard), |shard| {
            shard.remove(0, &key);
            shard.insert(0, &key, load::slot(name, Decoded::Str(value.to_vec()), None));
        });
    }

    /// Starts as the server does.
    fn start(&self, clock: &dyn Clock) -> Result<(), String> {
        let world = self.world(clock);
        let on = self.config.load().appendonly;
        let found = on && aof::load::all(world, &mut Player(self)).map_err(|error| error.to_string())?;
        if !found {
            let path = Path::new(DIR).join("dump.rdb");
            load::snapshot_file(world, &mut self.keyspace.locked_none(), &path, load::Rules::default())
                .map_err(|bad| bad.to_string())?;
        }
        if on { aof::load::open(world).map_err(|error| error.to_string()) } else { Ok(()) }
    }

    fn data(&self) -> Data {
        let mut data = Data::new();
        let number =
            |bytes: &[u8]| std::str::from_utf8(bytes).unwrap().trim_end_matches('.').parse().unwrap();
        self.keyspace.locked_all().each(|_, shard| {
            for entry in &shard.dbs[0].table {
                let value = match entry.view() {
                    View::Int(n) => n as u64,
                    View::Str(bytes) => number(bytes),
                    View::Value(peregrine::value::Value::Str(bytes)) => number(bytes),
                    View::Value(_) => panic!("a value that nobody made"),
                };
                data.insert(number(entry.key()), value);
            }
        });
        data
    }

    /// An operation: its effect, and the log, under the locks.
    fn operate(&self, keys: &[u64], value: &[u8]) -> u64 {
        let mut locks = self.keyspace.locked_all();
        let mut unit = Vec::new();
        for key in keys {
            let name = key.to_string();
            Life::set(&mut locks, name.as_bytes(), value);
            unit.push(Logged::new(0, encode_command(&[b"SET", name.as_bytes(), value])));
        }
        self.log.append(&unit).log
    }
}

/// Runs the commands of the log.
struct Player<'l>(&'l Life);

impl Replay for Player<'_> {
    fn with_locks(&mut self, load: &mut dyn FnMut(&mut Locked<'_>) -> Result<(), Bad>) -> Result<(), Bad> {
        load(&mut self.0.keyspace.locked_none())
    }

    fn begin_file(&mut self) {}

    fn run(&mut self, argv: &[&[u8]]) -> Result<(), String> {
        match argv {
            [b"SET", name, value] => Life::set(&mut self.0.keyspace.locked_none(), name, value),
            [b"SELECT", b"0"] => {}
            other => return Err(format!("{other:?}")),
        }
        Ok(())
    }
}

/// What a campaign has seen.
#[derive(Debug, Default)]
struct Tally {
    crashes: u64,
    deaths: u64,
    power: u64,
    faults: u64,
    operations: u64,
    lost: u64,
    refused: u64,
}

struct Universe {
    seed: u64,
    rng: Rng,
    disk: SimDisk,
    keeping: Keeping,
    clock: ManualClock,
    model: Model,
    /// Faults were planned for this life: what is promised for a loss of power then does not hold for everysec.
    faulty: bool,
}

impl Universe {
    fn new(seed: u64) -> Universe {
        let mut rng = Rng::new(seed);
        let keeping = match rng.below(4) {
            0 => Keeping::Log(Appendfsync::Always),
            1 => Keeping::Log(Appendfsync::Everysec),
            2 => Keeping::Log(Appendfsync::No),
            _ => Keeping::Snapshots,
        };
        let clock = ManualClock::new(1_700_000_000_000_000);
        let disk = SimDisk::new(Path::new(DIR));
        Universe { seed, rng, disk, keeping, clock, model: Model::default(), faulty: false }
    }

    fn plan(&mut self) {
        let mut faults = Vec::new();
        self.faulty = self.rng.below(3) == 0;
        if self.faulty {
            for _ in 0..=self.rng.below(4) {
                let what = [Fault::Error(5), Fault::Error(28), Fault::Short][self.rng.below(3)];
                faults.push((self.rng.below(100) as u64, what));
            }
        }
        // Last, so that no other fault takes its place: a life must end.
        faults.push((self.rng.below(150) as u64, Fault::Death));
        self.disk.plan(faults);
    }

    /// A life from a start to a death, on whatever the disk holds.
    fn live(&mut self) -> Result<(), String> {
        let rdb_base = self.rng.below(2) == 0;
        let life = Life::new(&self.disk, self.keeping, rdb_base, self.clock.now_us() / 1_000_000);
        if self.rng.below(3) == 0 {
            // It does not even start.
            self.disk.plan([(self.rng.below(20) as u64, Fault::Death)]);
        }
        match catch_unwind(AssertUnwindSafe(|| life.start(&self.clock))) {
            Ok(started) => started?,
            Err(panic) if panic.is::<Died>() => return Ok(()),
            Err(panic) => std::panic::resume_unwind(panic),
        }
        self.compare(&life.data());
        self.plan();
        let ended = catch_unwind(AssertUnwindSafe(|| self.work(&life)));
        match ended {
            Ok(()) => {}
            Err(panic) if panic.is::<Died>() => {}
            Err(panic) => std::panic::resume_unwind(panic),
        }
        Ok(())
    }

    /// The data after a start must be that of a moment that was promised. The model forgets what did not happen.
    fn compare(&mut self, data: &Data) {
        let model = &mut self.model;
        let moment = data.values().max().map_or(0, |n| *n as usize);
        assert!(moment <= model.ops.len(), "seed {}: data from the future", self.seed);
        // Operations that only changed keys which later ones changed too cannot be told from those that did not happen.
        assert_eq!(*data, model.data_at(moment), "seed {}: no moment of the model", self.seed);
        assert!(
            moment >= model.promised[0],
            "seed {} ({:?}): operation {moment} is the last that is there, {} were promised",
            self.seed,
            self.keeping,
            model.promised[0]
        );
        model.ops.truncate(moment);
        let all = moment;
        model.promised =
            [all, if matches!(self.keeping, Keeping::Log(Appendfsync::Always)) { all } else { 0 }];
        for op in &mut model.ops {
            op.end = 0;
        }
    }

    fn work(&mut self, life: &Life) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut last_sync = self.clock.monotonic_us();
        loop {
            match self.rng.below(20) {
                0..11 => self.write(life),
                11..14 => match self.keeping {
                    Keeping::Log(Appendfsync::Always) => {
                        life.persist.aof.beat(life.world(&self.clock), &mut last_sync);
                    }
                    Keeping::Log(_) => runtime.block_on(async {
                        let flush = life.persist.aof.flush(life.world(&self.clock));
                        // When it cannot write it waits for the log's thread, which is us.
                        tokio::select! { biased; () = flush => {}, () = std::future::ready(()) => {} }
                    }),
                    Keeping::Snapshots => {}
                },
                14..17 => {
                    self.clock.advance_us(BEAT_US);
                    life.persist.aof.beat(life.world(&self.clock), &mut last_sync);
                }
                17 => self.snapshot(life),
                _ => self.finish(life),
            }
            self.promise(life);
        }
    }

    fn write(&mut self, life: &Life) {
        let config = life.config.load();
        if life.persist.refusal(&config).is_some() {
            // A disk operation all the same, so that every life ends.
            let _ = self.disk_tick();
            return;
        }
        let keys: Vec<u64> = (0..=self.rng.below(3)).map(|_| self.rng.below(KEYS as usize) as u64).collect();
        let n = self.model.ops.len() as u64 + 1;
        // Some values are long, and not made of zeros.
        let long = if self.rng.below(8) == 0 { ".".repeat(self.rng.below(3000)) } else { String::new() };
        let end = life.operate(&keys, format!("{n}{long}").as_bytes());
        self.model.ops.push(Operation { keys, end, at_us: self.clock.monotonic_us() });
        if self.keeping == Keeping::Snapshots {
            let _ = self.disk_tick();
        }
    }

    fn disk_tick(&self) -> std::io::Result<()> {
        use peregrine::persist::disk::Disk;
        self.disk.sync_dir(Path::new("/nowhere"))
    }

    fn snapshot(&mut self, life: &Life) {
        let world = life.world(&self.clock);
        let began = match self.keeping {
            Keeping::Snapshots => save::begin_background(world).unwrap(),
            // It may fail to make its files: the log goes on as before.
            Keeping::Log(_) => rewrite::begin(world).unwrap_or(false),
        };
        if began && self.keeping == Keeping::Snapshots {
            // The picture holds what has been done so far.
            self.model.promised[1] = self.model.ops.len();
        }
    }

    fn finish(&mut self, life: &Life) {
        let busy = life.persist.child() != Child::None;
        life.persist.work_pending(life.world(&self.clock));
        let saved = busy && life.persist.status.last_ok.load(Ordering::Acquire);
        if self.keeping == Keeping::Snapshots && saved {
            self.model.promised[0] = self.model.promised[1];
        }
    }

    /// Notes what clients have been told.
    fn promise(&mut self, life: &Life) {
        let Keeping::Log(policy) = self.keeping else { return };
        let safe = life.persist.aof.safe();
        let told = self.model.ops.iter().take_while(|op| op.end <= safe).count();
        let promised = &mut self.model.promised;
        promised[0] = promised[0].max(told);
        let now = self.clock.monotonic_us();
        let old = |op: &&Operation| op.at_us + LATE_US <= now;
        let held = match policy {
            Appendfsync::Always => told,
            Appendfsync::Everysec if !self.faulty => self.model.ops.iter().take(told).take_while(old).count(),
            _ => 0,
        };
        promised[1] = promised[1].max(held);
    }

    /// What became of the disk when the life ended, and what still holds.
    fn crash(&mut self, tally: &mut Tally) {
        let loss = [Loss::Nothing, Loss::Prefix, Loss::Zeros, Loss::Holes][self.rng.below(4)];
        tally.faults += self.disk.struck();
        tally.operations += self.model.ops.len() as u64;
        tally.crashes += 1;
        match loss {
            Loss::Nothing => tally.deaths += 1,
            _ => tally.power += 1,
        }
        self.disk.crash(loss, &mut self.rng);
        if std::env::var_os("VERBOSE").is_some() {
            eprintln!(
                "{:?} with {} operations, {:?} promised",
                loss,
                self.model.ops.len(),
                self.model.promised
            );
            eprintln!("{}", self.disk);
        }
        if loss != Loss::Nothing && self.keeping != Keeping::Snapshots {
            self.model.promised[0] = self.model.promised[1];
        }
        // A start without faults: it is the next life that they are planned for.
        self.disk.plan([]);
    }
}

/// Lives and dies until there is a reason not to start. That may only be a hole in what was never made durable.
fn history(seed: u64, crashes: u64, tally: &mut Tally) {
    let mut universe = Universe::new(seed);
    let mut holes = false;
    for _ in 0..crashes {
        let before = universe.model.ops.len();
        if let Err(why) = universe.live() {
            assert!(holes, "seed {seed} ({:?}): does not start: {why}", universe.keeping);
            assert!(
                why.contains("behind offset") || why.contains("damage"),
                "seed {seed}: refused without saying where: {why}"
            );
            tally.refused += 1;
            return;
        }
        let told = universe.model.promised[0];
        universe.crash(tally);
        holes = matches!(universe.keeping, Keeping::Log(_));
        tally.lost += (universe.model.ops.len().saturating_sub(told.max(before))) as u64;
    }
    let last = Life::new(&universe.disk, universe.keeping, true, universe.clock.now_us() / 1_000_000);
    match last.start(&universe.clock) {
        Ok(()) => universe.compare(&last.data()),
        Err(why) => assert!(holes, "seed {seed}: does not start: {why}"),
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn what_was_acknowledged_survives_every_crash() {
    if std::env::var_os("VERBOSE").is_some() {
        tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    }
    let (wanted, first) = (number("CRASHES", 600), number("SEED", 1));
    let mut tally = Tally::default();
    let mut seed = first;
    while tally.crashes < wanted {
        history(seed, 20, &mut tally);
        seed += 1;
    }
    println!("seeds {first} to {}: {tally:?}, no violation", seed - 1);
    // A test in which nothing goes wrong proves nothing.
    assert!(tally.faults > 0 && tally.deaths > 0 && tally.power > 0);
}
