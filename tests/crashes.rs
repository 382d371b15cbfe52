//! Does what was acknowledged survive every crash? The real persistence on a disk in memory that loses power, tears what
//! was being written, forgets names, fills up and lies about syncs; against a model that knows every operation.
//!
//! A universe is a seed: a policy, a workload, and a crash at a random disk operation, again and again on what is left.
//! Each death has several ends, all of which are looked at, and one of which the universe goes on with. After each crash the data must be that of some moment p of the model, whole, and p no earlier than was promised:
//!
//! ```text
//! the process dies   always, everysec, no: every operation that was acknowledged
//! the power is lost  always: the same   everysec: every one older than a second (and the time between two looks)
//!                    no: some moment    snapshots: the last one that was reported saved
//! ```
//!
//! And whatever the log counts as durable (WAITAOF, and what replicas acknowledge so) survives everything.
//!
//! `CRASHES=100000 cargo test --release --test crashes -- --nocapture` for a long run; `SEED` repeats one, `VERBOSE=1`
//! shows what happens in it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::Ordering;

use peregrine::config::choices::Appendfsync;
use peregrine::persist::aof::rewrite;
use peregrine::persist::{Child, save};
use peregrine::util::clock::{Clock, ManualClock};
use support::life::{DIR, Data, Keeping, Life};
use support::rng::Rng;
use support::simdisk::{Died, Fault, Loss, SimDisk};

const KEYS: u64 = 12;
/// Between two looks at the clock of the log's thread, and how long everysec may take besides.
const BEAT_US: u64 = 100_000;
const LATE_US: u64 = 1_000_000 + 3 * BEAT_US;
/// What else could have become of the disk when the process died: so many ends are looked at besides the one that counts.
const OTHER_ENDS: usize = 3;
const LOSSES: [Loss; 4] = [Loss::Nothing, Loss::Prefix, Loss::Zeros, Loss::Holes];
/// Crashes between two lines about how far a long campaign is.
const REPORT_EVERY: u64 = 10_000;

/// One operation of the workload: it sets some keys, all of them or none, to its number.
#[derive(Debug, Clone)]
struct Operation {
    keys: Vec<u64>,
    /// The log's offset behind it, and when it was made.
    end: u64,
    at_us: u64,
}

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

/// What a campaign has seen.
#[derive(Debug, Default)]
struct Tally {
    crashes: u64,
    /// Of the process, and of the power.
    deaths: u64,
    power: u64,
    faults: u64,
    operations: u64,
    /// Starts that were refused for holes in what had not been made durable.
    refused: u64,
    /// Crashes by what was kept, and how.
    by_keeping: BTreeMap<String, u64>,
}

impl Tally {
    fn note(&mut self, keeping: Keeping, loss: Loss) {
        self.crashes += 1;
        match loss {
            Loss::Nothing => self.deaths += 1,
            _ => self.power += 1,
        }
        *self.by_keeping.entry(format!("{keeping:?}")).or_default() += 1;
        if self.crashes.is_multiple_of(REPORT_EVERY) {
            println!("{} crashes, {} faults, no violation so far", self.crashes, self.faults);
        }
    }
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
    /// What was never made durable may have holes, and no start has found out yet.
    holes: bool,
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
        Universe { seed, rng, disk, keeping, clock, model: Model::default(), faulty: false, holes: false }
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
    ///
    /// # Errors
    /// When it does not start.
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

    /// The data after a start must be that of a moment that was promised. Returns the moment.
    fn judge(&self, data: &Data, promised: usize) -> usize {
        let (model, seed) = (&self.model, self.seed);
        let moment = data.values().max().map_or(0, |n| *n as usize);
        assert!(moment <= model.ops.len(), "seed {seed}: data from the future");
        // Operations that only changed keys which later ones changed too cannot be told from those that did not happen.
        assert_eq!(*data, model.data_at(moment), "seed {seed}: no moment of the model");
        assert!(
            moment >= promised,
            "seed {seed} ({:?}): operation {moment} is the last that is there, {promised} were promised",
            self.keeping,
        );
        moment
    }

    /// [`Universe::judge`] for the life that goes on: the model forgets what did not happen.
    fn compare(&mut self, data: &Data) {
        let all = self.judge(data, self.model.promised[0]);
        self.model.ops.truncate(all);
        self.model.promised =
            [all, if matches!(self.keeping, Keeping::Log(Appendfsync::Always)) { all } else { 0 }];
        self.model.ops.iter_mut().for_each(|op| op.end = 0);
        self.holes = false;
    }

    /// Not to start is right only when what was never made durable has holes, and it has to be said where.
    fn excuse(&self, why: &str, holes: bool, tally: &mut Tally) {
        let log = matches!(self.keeping, Keeping::Log(_));
        assert!(holes && log, "seed {} ({:?}): does not start: {why}", self.seed, self.keeping);
        assert!(
            why.contains("behind offset") || why.contains("damage"),
            "seed {}: refused without saying where: {why}",
            self.seed
        );
        tally.refused += 1;
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
        let (safe, now) = (life.persist.aof.safe(), self.clock.monotonic_us());
        let Model { ops, promised } = &mut self.model;
        promised[0] += ops[promised[0]..].iter().take_while(|op| op.end <= safe).count();
        let told = promised[0];
        promised[1] = match policy {
            Appendfsync::Always => told.max(promised[1]),
            Appendfsync::Everysec if !self.faulty => {
                let old = |op: &&Operation| op.at_us + LATE_US <= now;
                let from = promised[1].min(told);
                promised[1].max(from + ops[from..told].iter().take_while(old).count())
            }
            _ => promised[1],
        };
        let durable = life.persist.aof.durable();
        // Those of earlier lives have no number; what is durable now stands behind them.
        let last = ops[promised[1]..].iter().rposition(|op| op.end > 0 && op.end <= durable);
        promised[1] += last.map_or(0, |last| last + 1);
    }

    /// What is still promised after a crash.
    fn promised_after(&self, loss: Loss) -> usize {
        let survives = loss == Loss::Nothing || self.keeping == Keeping::Snapshots;
        self.model.promised[usize::from(!survives)]
    }

    /// What else could have become of the disk: each end is started from, looked at, and forgotten.
    fn other_ends(&mut self, tally: &mut Tally) {
        for _ in 0..OTHER_ENDS {
            let loss = LOSSES[self.rng.below(4)];
            let disk = self.disk.fork();
            disk.crash(loss, &mut self.rng);
            tally.note(self.keeping, loss);
            let life = Life::new(&disk, self.keeping, true, self.clock.now_us() / 1_000_000);
            match life.start(&self.clock) {
                Ok(()) => {
                    self.judge(&life.data(), self.promised_after(loss));
                }
                Err(why) => self.excuse(&why, self.holes || may_have_holes(loss), tally),
            }
        }
    }

    /// What became of the disk when the life ended, and what still holds.
    fn crash(&mut self, tally: &mut Tally) {
        let loss = LOSSES[self.rng.below(4)];
        tally.faults += self.disk.struck();
        tally.operations += self.model.ops.len() as u64;
        self.disk.plan([]);
        self.other_ends(tally);
        tally.note(self.keeping, loss);
        self.disk.crash(loss, &mut self.rng);
        if std::env::var_os("VERBOSE").is_some() {
            let (operations, promised) = (self.model.ops.len(), self.model.promised);
            eprintln!("{loss:?} with {operations} operations, {promised:?} promised\n{}", self.disk);
        }
        self.model.promised[0] = self.promised_after(loss);
        self.holes |= may_have_holes(loss);
    }
}

fn may_have_holes(loss: Loss) -> bool {
    matches!(loss, Loss::Holes | Loss::Zeros)
}

/// Lives and dies until there is a reason not to start.
fn history(seed: u64, crashes: u64, tally: &mut Tally) {
    let mut universe = Universe::new(seed);
    for _ in 0..crashes {
        if let Err(why) = universe.live() {
            return universe.excuse(&why, universe.holes, tally);
        }
        universe.crash(tally);
    }
    let last = Life::new(&universe.disk, universe.keeping, true, universe.clock.now_us() / 1_000_000);
    match last.start(&universe.clock) {
        Ok(()) => universe.compare(&last.data()),
        Err(why) => universe.excuse(&why, universe.holes, tally),
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
    let (wanted, first) = (number("CRASHES", 2000), number("SEED", 1));
    let mut tally = Tally::default();
    let mut seed = first;
    while tally.crashes < wanted {
        history(seed, 20, &mut tally);
        seed += 1;
    }
    println!("seeds {first} to {}: {tally:#?}, no violation", seed - 1);
    // A test in which nothing goes wrong proves nothing.
    assert!(tally.faults > 0 && tally.deaths > 0 && tally.power > 0 && tally.by_keeping.len() == 4);
}
