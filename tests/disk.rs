//! What does the server do when its disk fails, and when another server wants the same files? The real persistence on a
//! disk in memory that is full, broken or slow; the wishes are those of docs/durability.md.
//!
//! In each case: what was acknowledged is there afterwards, what could not be kept is refused, and reads go on.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use peregrine::config::choices::Appendfsync;
use peregrine::persist::aof::{State, rewrite};
use peregrine::persist::disk::Disk;
use peregrine::persist::{cron, save};
use peregrine::util::clock::ManualClock;
use support::life::{DIR, Data, Keeping, Life};
use support::rng::Rng;
use support::server::{self, Server};
use support::simdisk::{Call, Fault, Loss, SimDisk};

const ENOSPC: i32 = 28;
const EIO: i32 = 5;

/// A server with an append-only file, and the test's hands on its disk and clock.
struct Bench {
    disk: SimDisk,
    clock: ManualClock,
    policy: Appendfsync,
    life: Life,
    last_sync: u64,
}

impl Bench {
    fn new(policy: Appendfsync) -> Bench {
        let (disk, clock) = (SimDisk::new(Path::new(DIR)), ManualClock::new(1_700_000_000_000_000));
        let life = Bench::start(&disk, &clock, policy);
        Bench { disk, clock, policy, life, last_sync: 0 }
    }

    fn start(disk: &SimDisk, clock: &ManualClock, policy: Appendfsync) -> Life {
        let life = Life::new(disk, Keeping::Log(policy), true, 1_700_000_000);
        life.start(clock).unwrap();
        life
    }

    /// Sets a key. Returns the log's offset at which that is acknowledged.
    fn set(&self, key: u64, value: u64) -> u64 {
        self.life.operate(&[key], value.to_string().as_bytes())
    }

    fn acknowledged(&self, end: u64) -> bool {
        self.life.persist.aof.safe() >= end
    }

    fn refusal(&self) -> Option<String> {
        let error = self.life.persist.refusal(&self.life.config.load());
        error.map(|error| error.as_str().to_owned())
    }

    /// Time passes, and the log's thread looks after the file.
    fn beat(&mut self) {
        self.clock.advance_ms(1100);
        self.life.persist.aof.beat(self.life.world(&self.clock), &mut self.last_sync);
    }

    /// The regular work: what is due is begun and done.
    fn tick(&self) {
        cron::tick(self.life.world(&self.clock));
        self.life.persist.work_pending(self.life.world(&self.clock));
    }

    /// The power goes, and the server starts on what is left.
    fn power_cut(&mut self, loss: Loss) -> Data {
        self.disk.break_down(None);
        self.disk.crash(loss, &mut Rng::new(7));
        self.life = Bench::start(&self.disk, &self.clock, self.policy);
        self.life.data()
    }

    fn increment(&self) -> PathBuf {
        let dir = Path::new(DIR).join("appendonlydir");
        let mut names: Vec<_> = self.disk.list(&dir).unwrap();
        names.retain(|name| name.ends_with(".incr.aof"));
        names.sort();
        dir.join(names.pop().unwrap())
    }
}

fn data(pairs: &[(u64, u64)]) -> Data {
    pairs.iter().copied().collect()
}

#[test]
fn while_the_disk_is_full_writes_are_refused_and_then_all_goes_on() {
    for (policy, code) in
        [Appendfsync::Always, Appendfsync::Everysec, Appendfsync::No].into_iter().zip([ENOSPC, ENOSPC, EIO])
    {
        let mut bench = Bench::new(policy);
        let first = bench.set(1, 1);
        bench.beat();
        assert!(bench.acknowledged(first), "{policy:?}");
        bench.disk.break_down(Some((Call::Write, code)));
        let second = bench.set(2, 2);
        bench.beat();
        bench.beat();
        assert!(!bench.acknowledged(second), "{policy:?}: nobody is told what is not written");
        let refusal = bench.refusal().unwrap();
        assert!(refusal.starts_with("MISCONF Errors writing to the AOF file: "), "{refusal}");
        assert_eq!(bench.life.data(), data(&[(1, 1), (2, 2)]), "reads go on");
        bench.disk.break_down(None);
        bench.beat();
        assert!(bench.acknowledged(second) && bench.refusal().is_none(), "{policy:?}");
        let loss = if policy == Appendfsync::No { Loss::Nothing } else { Loss::Prefix };
        assert_eq!(bench.power_cut(loss), data(&[(1, 1), (2, 2)]), "{policy:?}");
    }
}

#[test]
fn a_write_that_was_done_in_part_leaves_no_torn_record_in_the_middle() {
    for policy in [Appendfsync::Always, Appendfsync::Everysec] {
        // The second fault strikes as the torn part is cut off.
        for faults in [vec![Fault::Short], vec![Fault::Short, Fault::Error(EIO)]] {
            let mut bench = Bench::new(policy);
            bench.set(1, 1);
            bench.beat();
            bench.set(2, 2);
            bench.disk.plan((0..).zip(faults));
            bench.beat();
            bench.beat();
            bench.beat();
            let third = bench.set(3, 3);
            bench.beat();
            assert!(bench.acknowledged(third) && bench.disk.struck() > 0, "{policy:?}");
            assert_eq!(bench.power_cut(Loss::Nothing), data(&[(1, 1), (2, 2), (3, 3)]), "{policy:?}");
        }
    }
}

#[test]
fn after_an_fsync_that_failed_the_file_is_not_trusted_again() {
    for policy in [Appendfsync::Always, Appendfsync::Everysec] {
        let mut bench = Bench::new(policy);
        let first = bench.set(1, 1);
        bench.beat();
        assert!(bench.acknowledged(first));
        bench.disk.break_down(Some((Call::Sync, EIO)));
        let second = bench.set(2, 2);
        bench.beat();
        // With everysec it was acknowledged when it was written.
        assert_eq!(bench.acknowledged(second), policy == Appendfsync::Everysec);
        assert!(bench.refusal().unwrap().contains("Input/output error"));
        // A new file cannot be made durable either, for some minutes.
        for _ in 0..8 {
            bench.tick();
            assert!(bench.refusal().is_some());
            bench.clock.advance_ms(61_000);
        }
        // Now an fsync would succeed: the disk has forgotten what it did not write.
        bench.disk.break_down(None);
        bench.beat();
        bench.beat();
        assert_eq!(bench.acknowledged(second), policy == Appendfsync::Everysec);
        assert!(bench.refusal().is_some(), "{policy:?}: what the disk says now proves nothing");
        assert_eq!(bench.life.data(), data(&[(1, 1), (2, 2)]), "reads go on");
        // The rewrite needs no asking for.
        bench.tick();
        assert_eq!(bench.refusal(), None, "{policy:?}");
        let third = bench.set(3, 3);
        bench.beat();
        assert!(bench.acknowledged(second) && bench.acknowledged(third), "{policy:?}");
        assert_eq!(bench.power_cut(Loss::Prefix), data(&[(1, 1), (2, 2), (3, 3)]), "{policy:?}");
    }
}

#[test]
fn what_no_sync_has_taken_is_not_durable_whoever_was_answered() {
    let mut bench = Bench::new(Appendfsync::Always);
    bench.life.config.update(|config| config.no_appendfsync_on_rewrite = true);
    assert!(save::begin_background(bench.life.world(&bench.clock)).unwrap());
    let first = bench.set(1, 1);
    bench.beat();
    assert!(bench.acknowledged(first) && bench.life.persist.aof.durable() < first);
    bench.life.persist.work_pending(bench.life.world(&bench.clock));
    bench.beat();
    assert_eq!(bench.life.persist.aof.durable(), first);
}

#[test]
fn a_new_base_makes_durable_what_it_holds_and_no_more() {
    let mut bench = Bench::new(Appendfsync::No);
    let first = bench.set(1, 1);
    assert!(rewrite::begin(bench.life.world(&bench.clock)).unwrap());
    let second = bench.set(2, 2);
    bench.life.persist.work_pending(bench.life.world(&bench.clock));
    bench.beat();
    assert!(bench.acknowledged(second));
    assert_eq!(bench.life.persist.aof.durable(), first);
    let left = bench.power_cut(Loss::Prefix);
    assert_eq!(left.get(&1), Some(&1));
}

#[test]
fn nobody_but_who_waits_for_the_disk_feels_a_slow_one() {
    for policy in [Appendfsync::Always, Appendfsync::Everysec] {
        let bench = Bench::new(policy);
        let (slow, mut last_sync) = (bench.disk.slow_syncs(), 0);
        let held = slow.lock().unwrap();
        bench.set(1, 1);
        bench.clock.advance_ms(1100);
        std::thread::scope(|scope| {
            // The log's thread, which comes back when the disk does.
            scope.spawn(|| bench.life.persist.aof.beat(bench.life.world(&bench.clock), &mut last_sync));
            let (sender, done) = mpsc::channel();
            let bench = &bench;
            scope.spawn(move || {
                assert_eq!(bench.life.data(), data(&[(1, 1)]));
                let end = bench.set(2, 2);
                assert_eq!(bench.life.data(), data(&[(1, 1), (2, 2)]));
                if policy == Appendfsync::Everysec {
                    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                    runtime.block_on(bench.life.persist.aof.flush(bench.life.world(&bench.clock)));
                }
                assert_eq!(bench.acknowledged(end), policy == Appendfsync::Everysec);
                sender.send(()).unwrap();
            });
            let result = done.recv_timeout(Duration::from_secs(20));
            drop(held);
            assert!(result.is_ok(), "{policy:?}: somebody waited for the disk");
        });
    }
}

#[test]
fn a_file_that_is_deleted_is_written_anew() {
    for policy in [Appendfsync::Always, Appendfsync::Everysec] {
        let mut bench = Bench::new(policy);
        bench.set(1, 1);
        bench.beat();
        bench.disk.remove(&bench.increment()).unwrap();
        bench.set(2, 2);
        bench.beat();
        bench.tick();
        let third = bench.set(3, 3);
        bench.beat();
        assert!(bench.acknowledged(third) && bench.life.persist.aof.state() == State::On);
        assert_eq!(bench.power_cut(Loss::Prefix), data(&[(1, 1), (2, 2), (3, 3)]), "{policy:?}");
    }
}

#[test]
fn a_snapshot_that_finds_no_room_leaves_the_old_one_and_nothing_else() {
    for (call, code) in [(Call::Write, ENOSPC), (Call::Sync, EIO), (Call::Other, EIO)] {
        let (disk, clock) = (SimDisk::new(Path::new(DIR)), ManualClock::new(1_700_000_000_000_000));
        let life = Life::new(&disk, Keeping::Snapshots, true, 1_700_000_000);
        let world = life.world(&clock);
        life.operate(&[1], b"1");
        save::now(world).unwrap().unwrap();
        life.operate(&[2], b"2");
        disk.break_down(Some((call, code)));
        assert!(save::begin_background(world).unwrap());
        life.persist.work_pending(world);
        let told = life.persist.status.last_ok.load(std::sync::atomic::Ordering::Acquire);
        disk.break_down(None);
        assert!(!told, "{call:?}");
        let left: Vec<_> = disk.list(Path::new(DIR)).unwrap();
        assert!(
            left.iter().all(|name| name == "dump.rdb" || name == "dump.rdb.previous"),
            "{call:?}: {left:?}"
        );
        let again = Life::new(&disk, Keeping::Snapshots, true, 1_700_000_000);
        again.start(&clock).unwrap();
        assert_eq!(again.data(), data(&[(1, 1)]), "{call:?}");
        assert!(save::now(world).unwrap().is_ok(), "{call:?}: there is room again");
    }
}

#[test]
fn a_new_name_is_durable_when_the_directory_is() {
    let (from, to) = (Path::new("/data/temp"), Path::new("/data/named"));
    let mut lost = 0;
    for seed in 0..50 {
        for durably in [true, false] {
            let disk = SimDisk::new(Path::new(DIR));
            let file = disk.create(from).unwrap();
            file.write(b"all of it").unwrap();
            file.sync().unwrap();
            if durably {
                disk.publish(from, to).unwrap()
            } else {
                disk.rename(from, to).unwrap()
            }
            disk.crash(Loss::Prefix, &mut Rng::new(seed));
            if durably {
                assert_eq!(disk.len(to).unwrap(), 9);
            } else {
                lost += u64::from(!disk.exists(to));
            }
        }
    }
    assert!(lost > 0, "a disk that loses nothing proves nothing");
}

/// What a second server says to these arguments, which would share the directory of the first: nothing when it starts.
fn second(dir: &Path, args: &[&str]) -> Option<String> {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut child = Command::new(server::peregrine_bin())
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"])
        .arg(dir)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let up = || support::client::Client::connect(port).and_then(|mut client| client.send(&["PING"])).is_ok();
    let mut starts = false;
    while child.try_wait().unwrap().is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(300));
        starts = child.try_wait().unwrap().is_none() && up();
        if starts {
            break;
        }
    }
    let _ = child.kill();
    let out = child.wait_with_output().unwrap();
    (!starts).then(|| String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned())
}

#[test]
fn of_two_servers_that_would_write_the_same_files_the_second_is_refused() {
    let saving = ["--save", "3600 1"];
    let first = Server::peregrine(&saving);
    let dir = first.dir.path().to_owned();
    let refused = second(&dir, &saving).expect("two servers write one snapshot");
    assert!(refused.contains("dump.rdb belongs to another server that is running"), "{refused}");
    // Those who write other files, or none, are welcome.
    assert_eq!(second(&dir, &["--save", ""]), None);
    assert_eq!(second(&dir, &["--save", "3600 1", "--dbfilename", "other.rdb"]), None);
    // However the first one ends, its lock ends with it.
    let pid = first.pid();
    Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    assert_eq!(second(&dir, &saving), None);

    let logging = ["--appendonly", "yes"];
    let first = Server::peregrine(&logging);
    let refused =
        second(first.dir.path(), &["--save", "", "--appendonly", "yes"]).expect("two servers write one log");
    assert!(refused.contains("is in use by another server"), "{refused}");
    let other = ["--save", "", "--appendonly", "yes", "--appendfilename", "other.aof"];
    assert_eq!(second(first.dir.path(), &other), None);
    // Nor can it be turned on over the other's.
    let third = Server::peregrine(&["--dir", first.dir.path().to_str().unwrap()]);
    let mut client = third.connect();
    client.send(&["CONFIG", "SET", "appendonly", "yes"]).unwrap();
    let reply = client.read().unwrap();
    assert!(reply.raw.starts_with(b"-ERR"), "{:?}", String::from_utf8_lossy(&reply.raw));
}
