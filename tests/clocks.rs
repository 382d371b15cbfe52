//! What becomes of locks when somebody sets the machine's clock? The server without sockets, on a clock that the test
//! sets: what was to live for some time lives as long, and what was to live until some moment ends at that moment.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use peregrine::util::clock::Clock;
use support::bench::{Bench, NOW_S};

const DAY_MS: i64 = 86_400_000;

#[test]
fn locks_live_as_long_as_they_were_to_whatever_the_clock_says() {
    for jump in [DAY_MS, -DAY_MS, 5000, -5000] {
        for looks in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let mut bench = Bench::new(dir.path());
            for line in [
                "SET lock token NX PX 30000",
                "SET other 5",
                "EXPIRE other 30",
                "SETEX third 30 x",
                "HSET hash f v g v",
                "HPEXPIRE hash 30000 FIELDS 1 f",
                "CONFIG SET hash-max-listpack-entries 1",
                "HSET table f v g v",
                "HPEXPIRE table 30000 FIELDS 1 f",
            ] {
                assert!(!bench.ask(line).starts_with('-'), "{line}");
            }
            // Kept through changes of the value.
            bench.ask("APPEND third yz");
            bench.ask("INCR other");
            bench.clock.advance_ms(1000);
            bench.set_clock(jump, looks);
            for key in ["lock", "other", "third"] {
                assert_eq!(bench.number(&format!("PTTL {key}")), 29_000, "{key}, {jump} ms, {looks}");
            }
            assert_eq!(bench.number("HPTTL hash FIELDS 1 f"), 29_000, "{jump} ms, {looks}");
            assert_eq!(bench.number("HPTTL table FIELDS 1 f"), 29_000, "{jump} ms, {looks}");
            bench.clock.advance_ms(28_900);
            assert_eq!(bench.number("EXISTS lock other third"), 3, "early, {jump} ms, {looks}");
            assert_eq!(bench.number("HLEN hash"), 2);
            bench.core.look_at_clock(0);
            assert_eq!(bench.number("PEXPIRETIME lock") as u64, bench.clock.now_ms() + 100);
            bench.clock.advance_ms(200);
            assert_eq!(bench.number("EXISTS lock other third"), 0, "late, {jump} ms, {looks}");
            assert_eq!(bench.number("HEXISTS hash f"), 0, "late, {jump} ms, {looks}");
            assert_eq!(bench.number("HEXISTS table f"), 0, "late, {jump} ms, {looks}");
        }
    }
}

#[test]
fn dates_that_were_named_are_those_of_the_clock() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(dir.path());
    let at = NOW_S + 3600;
    for (i, line) in
        ["EXPIREAT k0 #", "PEXPIREAT k1 #000", "SET k2 v EXAT #", "GETEX k3 EXAT #"].iter().enumerate()
    {
        bench.ask(&format!("SET k{i} v"));
        bench.ask(&line.replace('#', &at.to_string()));
    }
    // A duration that comes later counts, and the other way round.
    bench.ask("SET k4 v EX 100");
    bench.ask(&format!("EXPIREAT k4 {at}"));
    bench.ask(&format!("SET duration v EXAT {at}"));
    bench.ask("EXPIRE duration 3600");
    // A change of the value changes nothing.
    bench.ask("APPEND k0 more");
    bench.ask("SET k2 7 KEEPTTL");
    bench.set_clock(-600_000, true);
    for i in 0..5 {
        assert_eq!(bench.number(&format!("TTL k{i}")), 4200, "k{i}");
    }
    assert_eq!(bench.number("TTL duration"), 3600);
    bench.set_clock(2 * 3_600_000, true);
    assert_eq!(bench.number("EXISTS k0 k1 k2 k3 k4"), 0);
    assert_eq!(bench.number("TTL duration"), 3600);
}

#[test]
fn a_snapshot_under_way_holds_what_was_there_when_it_began() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(dir.path());
    bench.ask("SET lock token PX 30000");
    let before = bench.number("PEXPIRETIME lock");
    // Begun, and not walked: there is no saver's thread here.
    assert!(bench.ask("BGSAVE").starts_with('+'));
    bench.set_clock(DAY_MS, true);
    assert_eq!(bench.number("PEXPIRETIME lock"), before + DAY_MS);
    bench.core.persist.work_pending(bench.core.world());
    let path = dir.path().join("dump.rdb");
    let bytes = std::fs::read(path).unwrap();
    let time = before.to_le_bytes();
    assert!(bytes.windows(8).any(|window| window == time), "the time that it had then");
}
