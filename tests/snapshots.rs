//! Who waits for a snapshot? The server without sockets, and without the thread that saves: nothing has been saved until
//! the test says so.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use support::bench::Bench;

#[test]
fn a_command_that_would_change_a_very_big_value_waits_until_it_is_saved_and_no_other_does() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(dir.path());
    for key in ["big", "other"] {
        for from in (0..10_000).step_by(1000) {
            let fields: Vec<String> = (from..from + 1000).map(|n| format!("f{n} v")).collect();
            bench.ask(&format!("HSET {key} {}", fields.join(" ")));
        }
    }
    bench.ask("SET small 1");
    assert!(bench.ask("BGSAVE").starts_with('+'));
    // There is no saver's thread here, so that nothing has been saved yet.
    for line in ["HSET big f1 changed", "DEL big", "RENAME other small"] {
        let (reply, outcome) = bench.run(line);
        assert!(outcome.postponed && outcome.unsaved && reply.is_empty(), "{line}: {reply}");
    }
    for line in ["HGET big f1", "SET small 2", "HLEN other", "PING"] {
        let (reply, outcome) = bench.run(line);
        assert!(!outcome.postponed && !reply.starts_with('-'), "{line}: {reply}");
    }
    bench.core.persist.work_pending(bench.core.world());
    assert!(!bench.run("HSET big f1 changed").1.postponed);
    assert_eq!(bench.ask("HGET big f1"), "$7\r\nchanged\r\n");
    let saved = std::fs::read(dir.path().join("dump.rdb")).unwrap();
    assert!(!saved.windows(7).any(|window| window == b"changed"), "it holds what was there when it began");
}
