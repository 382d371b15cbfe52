//! Do primaries and replicas hold the same data, whoever is which? Peregrine replicates from and to a real Redis 8.2.3
//! and itself, under load, while links are cut.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use support::client::Client;
use support::resp::Value;
use support::rng::Rng;
use support::server::Server;

/// The backlog holds whatever is written while a link is down, however long a busy machine takes to mend it.
const ARGS: &[&str] = &[
    "--enable-debug-command",
    "yes",
    "--repl-diskless-sync-delay",
    "0",
    "--repl-ping-replica-period",
    "1",
    "--repl-backlog-size",
    "256mb",
];

fn peregrine() -> Server {
    Server::peregrine(ARGS)
}

fn oracle() -> Server {
    Server::oracle(ARGS)
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Bulk(bytes) | Value::Simple(bytes) | Value::Error(bytes) => {
            String::from_utf8_lossy(bytes).into_owned()
        }
        other => format!("{other:?}"),
    }
}

fn info(server: &Server, field: &str) -> String {
    let all = text(&server.connect().cmd("INFO everything"));
    let line = all.lines().find_map(|line| line.strip_prefix(&format!("{field}:")).map(str::to_owned));
    line.unwrap_or_default()
}

fn follow(replica: &Server, primary: &Server) {
    replica.connect().cmd(&format!("REPLICAOF 127.0.0.1 {}", primary.port));
}

fn is_up(replica: &Server) -> bool {
    info(replica, "master_link_status") == "up"
}

fn partial_syncs(server: &Server) -> u32 {
    info(server, "sync_partial_ok").parse().unwrap()
}

fn digest(server: &Server) -> String {
    text(&server.connect().cmd("DEBUG DIGEST"))
}

/// Waits until a replica has everything and compares the data.
fn assert_same(primary: &Server, replica: &Server) {
    // No key may expire between one digest and the other.
    primary.connect().cmd("DEBUG SET-ACTIVE-EXPIRE 0");
    wait_until("the replica is level", || {
        is_up(replica) && info(primary, "master_repl_offset") == info(replica, "slave_repl_offset")
    });
    let (a, b) = (digest(primary), digest(replica));
    assert!(a.len() == 40, "{a}");
    assert_eq!(a, b, "{} and {}; the replica's log:\n{}", primary.name, replica.name, replica.log());
}

/// One write of many kinds.
fn write(rng: &mut Rng, n: u64) -> Vec<String> {
    let key = |rng: &mut Rng| format!("{}{}", ["s", "l", "h", "z", "x", "t"][rng.below(6)], rng.below(50));
    let k = rng.below(50);
    let line = match rng.below(16) {
        0 => format!("SET s{k} {n}"),
        1 => format!("SET s{k} {n} PX {}", 1 + rng.below(3000)),
        2 => format!("INCRBYFLOAT f{k} 0.1"),
        3 => format!("LPUSH l{k} {n} {}", n + 1),
        4 => format!("RPOP l{k}"),
        5 => format!("HSET h{k} f{} {n}", n % 20),
        6 => format!("ZADD z{k} {n} m{}", n % 30),
        7 => format!("ZPOPMIN z{k}"),
        8 => format!("SADD t{k} {n} a b c"),
        9 => format!("SPOP t{k} 2"),
        10 => format!("XADD x{k} * f {n}"),
        11 => format!("DEL {}", key(rng)),
        12 => format!("EXPIRE {} 100", key(rng)),
        13 => format!("EVAL redis.call('incr','c{k}');redis.call('lpush','l{k}',redis.call('time')[2]) 0"),
        14 => format!("RENAME {0} {0}n", key(rng)),
        _ => format!("APPEND s{k} {n}"),
    };
    line.split(' ').map(str::to_owned).collect()
}

/// Writes from several connections for as long as `run` takes.
fn under_load(primary: &Server, run: impl FnOnce()) {
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..3)
        .map(|id| {
            let (stop, mut client) = (stop.clone(), primary.connect());
            std::thread::spawn(move || {
                let mut rng = Rng::new(id);
                let mut n = id * 1_000_000;
                while !stop.load(Ordering::Relaxed) {
                    let unit = rng.below(4) == 0;
                    let mut commands = Vec::new();
                    if unit {
                        commands.push(vec!["MULTI".to_owned()]);
                    }
                    for _ in 0..8 {
                        n += 1;
                        commands.push(write(&mut rng, n));
                    }
                    if unit {
                        commands.push(vec!["SELECT".to_owned(), (n % 2).to_string()]);
                        commands.push(vec!["EXEC".to_owned()]);
                    }
                    let bytes = |c: &Vec<String>| c.iter().map(|a| a.clone().into_bytes()).collect();
                    client.pipeline(&commands.iter().map(bytes).collect::<Vec<_>>()).unwrap();
                    std::thread::sleep(Duration::from_millis(2));
                }
            })
        })
        .collect();
    run();
    stop.store(true, Ordering::Relaxed);
    writers.into_iter().for_each(|writer| writer.join().unwrap());
}

fn pause() {
    std::thread::sleep(Duration::from_millis(700));
}

#[test]
fn peregrine_follows_redis_through_cut_links_and_others_follow_it() {
    let (primary, middle, leaf, redis_leaf) = (oracle(), peregrine(), peregrine(), oracle());
    under_load(&primary, || {
        pause();
        follow(&middle, &primary);
        wait_until("the first link is up", || is_up(&middle));
        follow(&leaf, &middle);
        follow(&redis_leaf, &middle);
        wait_until("all links are up", || is_up(&leaf) && is_up(&redis_leaf));
        // Each cut link is taken up again before the next is cut.
        for cuts in
            [&[(&middle, &primary)][..], &[(&middle, &primary), (&leaf, &middle)], &[(&redis_leaf, &middle)]]
        {
            pause();
            let before: Vec<u32> = cuts.iter().map(|(_, above)| partial_syncs(above)).collect();
            for (server, _) in cuts {
                server.connect().cmd("CLIENT KILL TYPE master");
            }
            wait_until("the links are taken up again", || {
                cuts.iter().zip(&before).all(|((_, above), before)| partial_syncs(above) > *before)
            });
        }
    });
    for replica in [&middle, &leaf, &redis_leaf] {
        assert_same(&primary, replica);
    }
    // What was missed came from the backlog.
    assert_eq!(info(&primary, "sync_full"), "1", "{}", primary.log());
    assert_eq!(info(&middle, "sync_full"), "2", "{}", middle.log());
}

#[test]
fn a_link_that_had_held_is_taken_up_again_at_once() {
    let (primary, replica) = (peregrine(), peregrine());
    follow(&replica, &primary);
    wait_until("the link is up", || is_up(&replica));
    // A second of rest would show in every round; a busy machine in some.
    let shortest = (0..5).map(|round: u64| {
        std::thread::sleep(Duration::from_millis(1200));
        let cut = Instant::now();
        replica.connect().cmd("CLIENT KILL TYPE master");
        let taken_up = (round + 1).to_string();
        wait_until("the link is up again", || info(&primary, "sync_partial_ok") == taken_up);
        cut.elapsed()
    });
    assert!(shortest.min().unwrap() < Duration::from_millis(900));
}

#[test]
fn redis_and_peregrine_follow_peregrine_through_cut_links() {
    let (primary, redis, own) = (peregrine(), oracle(), peregrine());
    under_load(&primary, || {
        pause();
        follow(&redis, &primary);
        follow(&own, &primary);
        wait_until("the links are up", || is_up(&redis) && is_up(&own));
        for _ in 0..3 {
            primary.connect().cmd("CLIENT KILL TYPE replica");
            pause();
        }
    });
    assert_same(&primary, &redis);
    assert_same(&primary, &own);
    assert_eq!(info(&primary, "sync_full"), "2");
}

#[test]
fn a_killed_link_is_cut_though_the_replica_stands_still() {
    let (primary, replica) = (peregrine(), peregrine());
    follow(&replica, &primary);
    wait_until("the link is up", || is_up(&replica));
    under_load(&primary, || {
        pause();
        let mut client = replica.connect();
        for line in ["MULTI", "CLIENT KILL TYPE master", "DEBUG SLEEP 4"] {
            client.cmd(line);
        }
        let sleeper = std::thread::spawn(move || {
            client.cmd("EXEC");
            Instant::now()
        });
        wait_until("the primary has lost its replica", || info(&primary, "connected_slaves") == "0");
        let lost = Instant::now();
        assert!(lost < sleeper.join().unwrap());
    });
    assert_same(&primary, &replica);
}

#[test]
fn a_snapshot_for_replicas_heeds_the_delay_between_keys() {
    let (primary, replica) = (peregrine(), peregrine());
    let mut client = primary.connect();
    client.cmd("DEBUG POPULATE 100");
    client.cmd("CONFIG SET rdb-key-save-delay 1000000");
    follow(&replica, &primary);
    wait_until("the snapshot comes", || info(&replica, "master_sync_in_progress") == "1");
    pause();
    assert_eq!(info(&primary, "rdb_bgsave_in_progress"), "1");
    assert!(!is_up(&replica));
    client.cmd("CONFIG SET rdb-key-save-delay 0");
    wait_until("the link is up", || is_up(&replica));
    assert_same(&primary, &replica);
}

/// Everything that an older Redis knows.
fn fill(server: &Server) {
    let mut client = server.connect();
    let long = "x".repeat(20_000);
    for line in [
        "SET s 1",
        &format!("SET long {long}"),
        "SET gone 1 PX 100000",
        "RPUSH l a b 3",
        &format!("RPUSH l {long} {long}"),
        "SADD numbers 1 2 3",
        "SADD t a b 3",
        "HSET h a 1 b 2",
        &format!("HSET h c {long}"),
        "ZADD z 1 a 2.5 b",
        "XADD x 1-1 a 1",
        "XADD x 2-1 a 1",
        "XGROUP CREATE x g 0",
        "XREADGROUP GROUP g me COUNT 1 STREAMS x >",
        "PFADD p a b c",
        "SELECT 3",
        "SET other 1",
    ] {
        let reply = client.cmd(line);
        assert!(!matches!(reply, Value::Error(_)), "{line}: {}", text(&reply));
    }
}

/// A replica takes a snapshot and then the stream, is cut off, and goes on; then the two change places.
fn exchange(primary: &Server, replica: &Server) {
    fill(primary);
    follow(replica, primary);
    wait_until("the link is up", || is_up(replica));
    assert_same(primary, replica);
    under_load(primary, || {
        pause();
        replica.connect().cmd("CLIENT KILL TYPE master");
        pause();
    });
    assert_same(primary, replica);
    assert_eq!((info(primary, "sync_full"), info(primary, "sync_partial_ok")), ("1".into(), "1".into()));
    replica.connect().cmd("REPLICAOF NO ONE");
    follow(primary, replica);
    wait_until("the link is up the other way", || is_up(primary));
    under_load(replica, pause);
    assert_same(replica, primary);
    assert_eq!((info(replica, "sync_full"), info(replica, "sync_partial_ok")), ("0".into(), "1".into()));
}

#[test]
fn an_older_redis_follows_and_leads() {
    exchange(&peregrine(), &Server::older(ARGS));
    exchange(&Server::older(ARGS), &peregrine());
}

#[test]
fn a_promoted_replica_goes_on_with_the_history() {
    let (first, second, third) = (peregrine(), peregrine(), oracle());
    follow(&second, &first);
    follow(&third, &first);
    wait_until("the links are up", || is_up(&second) && is_up(&third));
    first.connect().cmd("SET k 1");
    assert_same(&first, &second);
    assert_same(&first, &third);
    second.connect().cmd("REPLICAOF NO ONE");
    second.connect().cmd("SET k 2");
    follow(&third, &second);
    follow(&first, &second);
    wait_until("the links are up again", || is_up(&first) && is_up(&third));
    assert_same(&second, &third);
    assert_same(&second, &first);
    assert_eq!((info(&second, "sync_full"), info(&second, "sync_partial_ok")), ("0".into(), "2".into()));
    assert_eq!(text(&first.connect().cmd("GET k")), "2");
}

#[test]
fn a_restarted_replica_goes_on_from_its_snapshot() {
    let primary = peregrine();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let port = primary.port.to_string();
    let with_dir = |more: &[&str]| {
        let mut args = ARGS.to_vec();
        args.extend(["--dir", path]);
        args.extend(more);
        Server::peregrine(&args)
    };
    let replica = with_dir(&[]);
    follow(&replica, &primary);
    wait_until("the link is up", || is_up(&replica));
    let mut client = primary.connect();
    client.cmd("SELECT 5");
    client.cmd("SET k 1");
    assert_same(&primary, &replica);
    replica.connect().cmd("SAVE");
    drop(replica);
    // In the database that was selected before.
    client.cmd("SET k 2");
    let replica = with_dir(&["--replicaof", &format!("127.0.0.1 {port}")]);
    wait_until("the link is up again", || is_up(&replica));
    assert_same(&primary, &replica);
    assert_eq!((info(&primary, "sync_full"), info(&primary, "sync_partial_ok")), ("1".into(), "1".into()));
}

#[test]
fn wait_counts_real_acknowledgements() {
    let (primary, replica) = (peregrine(), peregrine());
    follow(&replica, &primary);
    wait_until("the link is up", || is_up(&replica));
    let mut client = primary.connect();
    client.cmd("SET k 1");
    assert_eq!(client.cmd("WAIT 1 10000"), Value::Int(1));
    assert_eq!(text(&replica.connect().cmd("GET k")), "1");
    assert_eq!(client.cmd("WAIT 2 100"), Value::Int(1));
    primary.connect().cmd("CONFIG SET min-replicas-to-write 2");
    assert!(text(&client.cmd("SET k 2")).starts_with("NOREPLICAS"));
}

fn pair(here: i64, replicas: i64) -> Value {
    Value::Array(vec![Value::Int(here), Value::Int(replicas)])
}

#[test]
fn waitaof_counts_replicas_that_have_it_on_disk() {
    let primary = peregrine();
    let log_on = ["--appendonly", "yes", "--appendfsync", "no", "--auto-aof-rewrite-percentage", "0"];
    let replica = Server::peregrine(&[ARGS, &log_on].concat());
    follow(&replica, &primary);
    wait_until("the link is up", || is_up(&replica));
    wait_until("its log has begun anew", || info(&replica, "aof_rewrites") == "1");
    let mut client = primary.connect();
    client.cmd("SET k 1");
    assert_eq!(client.cmd("WAIT 1 10000"), Value::Int(1));
    // It has been written there, but nobody has asked the disk to keep it.
    assert_eq!(client.cmd("WAITAOF 0 1 1500"), pair(0, 0));
    replica.connect().cmd("CONFIG SET appendfsync everysec");
    assert_eq!(client.cmd("WAITAOF 0 1 20000"), pair(0, 1));
}

#[test]
fn nothing_is_on_disk_before_the_log_has_a_base() {
    let server = peregrine();
    let mut client = server.connect();
    client.cmd("SET k 1");
    client.cmd("CONFIG SET rdb-key-save-delay 100000000");
    client.cmd("BGSAVE");
    client.cmd("CONFIG SET appendonly yes");
    client.cmd("SET k 2");
    assert_eq!(client.cmd("WAITAOF 1 0 100"), pair(0, 0));
    client.cmd("CONFIG SET rdb-key-save-delay 0");
    assert_eq!(client.cmd("WAITAOF 1 0 20000"), pair(1, 0));
}

#[test]
fn a_replica_takes_no_writes_and_hides_what_has_expired() {
    let (primary, replica) = (oracle(), peregrine());
    follow(&replica, &primary);
    wait_until("the link is up", || is_up(&replica));
    let mut client = replica.connect();
    assert!(text(&client.cmd("SET k 1")).starts_with("READONLY"));
    primary.connect().cmd("DEBUG SET-ACTIVE-EXPIRE 0");
    primary.connect().cmd("SET k 1 PX 50");
    wait_until("the key has come", || client.cmd("DBSIZE") == Value::Int(1));
    std::thread::sleep(Duration::from_millis(80));
    for (command, reply) in
        [("EXISTS k", Value::Int(0)), ("TTL k", Value::Int(-2)), ("DBSIZE", Value::Int(1))]
    {
        assert_eq!(client.cmd(command), reply, "{command}");
    }
    // The primary finds it, and says so.
    primary.connect().cmd("GET k");
    wait_until("the key is gone", || client.cmd("DBSIZE") == Value::Int(0));
    client.cmd("CONFIG SET replica-serve-stale-data no");
    drop(primary);
    wait_until("the link is down", || !is_up(&replica));
    assert!(text(&client.cmd("GET k")).starts_with("MASTERDOWN"));
    // Nor from a transaction that was allowed when it was queued.
    client.cmd("CONFIG SET replica-serve-stale-data yes");
    client.cmd("MULTI");
    client.cmd("GET k");
    replica.connect().cmd("CONFIG SET replica-serve-stale-data no");
    assert!(text(&client.cmd("EXEC")).contains("MASTERDOWN"));
}

fn signal(server: &Server, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(server.pid()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// What a client reads by then.
fn reply(client: &mut Client, ms: u64) -> Option<Value> {
    client.read_within(Duration::from_millis(ms)).unwrap().map(|reply| reply.value)
}

#[test]
fn a_server_that_ends_waits_for_its_replicas() {
    let (mut primary, replica) = (peregrine(), peregrine());
    follow(&replica, &primary);
    wait_until("the link is up", || is_up(&replica));
    let mut client = primary.connect();
    client.cmd("SET k 1");
    assert_same(&primary, &replica);
    // Only clients are counted: this one, and the one that asks.
    wait_until("two are counted", || info(&primary, "connected_clients") == "2");
    signal(&replica, Signal::STOP);
    client.cmd("INCR k");
    let mut leavers = [primary.connect(), primary.connect()];
    leavers.iter_mut().for_each(|leaver| leaver.send(&["SHUTDOWN"]).unwrap());
    wait_until("both wait", || info(&primary, "blocked_clients") == "2");
    assert!(info(&primary, "shutdown_in_milliseconds").parse::<u64>().unwrap() <= 10_000);
    // Meanwhile nobody writes, and that is no pause of CLIENT PAUSE.
    client.cmd("CLIENT UNPAUSE");
    let mut writer = primary.connect();
    writer.send(&["INCR", "k"]).unwrap();
    assert_eq!(reply(&mut writer, 300), None);
    assert_eq!(text(&client.cmd("GET k")), "2");
    assert_eq!(text(&client.cmd("SHUTDOWN ABORT")), "OK");
    for leaver in &mut leavers {
        assert!(text(&reply(leaver, 5000).unwrap()).contains("Errors trying to SHUTDOWN"));
    }
    assert_eq!(reply(&mut writer, 5000), Some(Value::Int(3)));
    assert!(text(&client.cmd("SHUTDOWN ABORT")).contains("No shutdown in progress"));
    // A signal does the same, and goes through once the replica has everything.
    signal(&primary, Signal::TERM);
    wait_until("the replica is waited for", || !info(&primary, "shutdown_in_milliseconds").is_empty());
    signal(&replica, Signal::CONT);
    wait_until("the primary has ended", || !primary.is_running());
    assert!(primary.log().contains("1 of 1 replicas are in sync"), "{}", primary.log());
    assert_eq!(text(&replica.connect().cmd("GET k")), "3");
}

#[test]
fn a_server_that_ends_waits_no_longer_than_it_may() {
    for (command, log) in [("SHUTDOWN", "0 of 1 replicas are in sync"), ("SHUTDOWN NOW", "User requested")] {
        let (mut primary, replica) = (peregrine(), peregrine());
        follow(&replica, &primary);
        wait_until("the link is up", || is_up(&replica));
        signal(&replica, Signal::STOP);
        let mut client = primary.connect();
        client.cmd("SET k 1");
        let timeout = if command == "SHUTDOWN" { 1 } else { 3600 };
        client.cmd(&format!("CONFIG SET shutdown-timeout {timeout}"));
        client.send(&command.split(' ').collect::<Vec<_>>()).unwrap();
        wait_until("the primary has ended", || !primary.is_running());
        assert!(primary.log().contains(log), "{}", primary.log());
    }
}

/// A primary that sends a snapshot with a wrong byte.
fn damaged_primary() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let Ok(mut socket) = socket else { return };
            let mut seen = Vec::new();
            let mut chunk = [0; 1024];
            while let Ok(n) = socket.read(&mut chunk) {
                if n == 0 {
                    break;
                }
                seen.extend_from_slice(&chunk[..n]);
                let reply: &[u8] = if seen.windows(5).any(|w| w == b"PSYNC") {
                    b"+FULLRESYNC 0123456789012345678901234567890123456789 0\r\n$29\r\nREDIS0011\xfe\x00\x00\x01k\x01v\xff01234567AAAA"
                } else if seen.starts_with(b"*1\r\n$4\r\nPING") {
                    b"+PONG\r\n"
                } else {
                    b"+OK\r\n"
                };
                seen.clear();
                if socket.write_all(reply).is_err() {
                    break;
                }
            }
        }
    });
    port
}

#[test]
fn a_damaged_snapshot_does_not_cost_the_replica_its_data() {
    let replica = peregrine();
    replica.connect().cmd("SET precious 1");
    replica.connect().cmd(&format!("REPLICAOF 127.0.0.1 {}", damaged_primary()));
    wait_until("the snapshot has been refused", || replica.log().contains("Failed trying to load"));
    assert_eq!(text(&replica.connect().cmd("GET precious")), "1");
}

#[test]
fn a_replica_has_the_oom_score_of_replicas() {
    for start in [Server::oracle, Server::peregrine] {
        let server = start(&["--oom-score-adj", "yes", "--oom-score-adj-values", "10 20 30"]);
        let score = || -> i32 {
            let path = format!("/proc/{}/oom_score_adj", server.pid());
            std::fs::read_to_string(path).unwrap().trim().parse().unwrap()
        };
        let primary = score();
        server.connect().cmd("REPLICAOF 127.0.0.1 1");
        assert_eq!(score(), (primary + 10).min(1000));
    }
}
