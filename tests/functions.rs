//! Do function libraries outlive the server, and reach its replicas? Whatever keeps the data keeps them too.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::{Duration, Instant};

use support::resp::Value;
use support::server::Server;

const LIBRARY: &str = "#!lua name=counting\nredis.register_function('count', function(keys, args)
return redis.call('INCRBY', keys[1], args[1]) end)
redis.register_function{function_name='peek', callback=function(keys) return redis.call('GET', keys[1]) end,
flags={'no-writes'}, description='looks'}";

fn with_dir(dir: &str, args: &[&str]) -> Server {
    Server::peregrine(&[&["--dir", dir, "--enable-debug-command", "yes"], args].concat())
}

fn call(server: &Server, args: &[&str]) -> Value {
    server.connect().call(args)
}

/// The library is there as it was loaded, and works: the counter goes on.
fn assert_works(server: &Server, count: i64) {
    let Value::Array(libraries) = call(server, &["FUNCTION", "LIST", "WITHCODE"]) else { panic!("no list") };
    let shown = format!("{libraries:?}");
    assert_eq!(libraries.len(), 1, "{shown}");
    assert!(shown.contains(&format!("{:?}", Value::Bulk(LIBRARY.into()))), "{shown}");
    assert!(shown.contains(&format!("{:?}", Value::Bulk("looks".into()))), "{shown}");
    assert_eq!(call(server, &["FCALL_RO", "peek", "1", "k"]), Value::Bulk(count.to_string().into()));
}

fn restarted(args: &[&str], before_the_end: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let mut server = with_dir(path, args);
    assert_eq!(
        call(&server, &["FUNCTION", "LOAD", "#!lua name=gone\nredis.register_function('f', function() end)"]),
        Value::Bulk("gone".into())
    );
    assert_eq!(call(&server, &["FUNCTION", "LOAD", LIBRARY]), Value::Bulk("counting".into()));
    assert_eq!(call(&server, &["FUNCTION", "DELETE", "gone"]), Value::Simple("OK".into()));
    assert_eq!(call(&server, &["FCALL", "count", "1", "k", "3"]), Value::Int(3));
    if !before_the_end.is_empty() {
        call(&server, before_the_end);
    }
    for round in 0..2 {
        drop(server);
        server = with_dir(path, args);
        assert_works(&server, 3 + round);
        assert_eq!(call(&server, &["FCALL", "count", "1", "k", "1"]), Value::Int(4 + round));
        if !before_the_end.is_empty() {
            call(&server, before_the_end);
        }
    }
}

#[test]
fn libraries_are_in_the_snapshot() {
    restarted(&["--appendonly", "no"], &["SAVE"]);
}

#[test]
fn libraries_are_in_the_log() {
    restarted(&["--appendonly", "yes", "--appendfsync", "always"], &[]);
}

#[test]
fn libraries_are_in_the_log_after_a_rewrite() {
    for preamble in ["yes", "no"] {
        let args = ["--appendonly", "yes", "--appendfsync", "always", "--aof-use-rdb-preamble", preamble];
        // DEBUG RELOAD and the log must agree, and what follows the new base counts too.
        restarted(&args, &["BGREWRITEAOF"]);
    }
}

#[test]
fn with_both_the_log_is_read() {
    restarted(&["--appendonly", "yes", "--appendfsync", "always"], &["SAVE"]);
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn libraries_reach_replicas_with_the_snapshot_and_with_the_stream() {
    let (primary, early) = (Server::peregrine(&[]), Server::peregrine(&[]));
    let (late, redis) = (Server::peregrine(&[]), Server::oracle(&[]));
    let port = primary.port.to_string();
    call(&primary, &["CONFIG", "SET", "repl-diskless-sync-delay", "0"]);
    let up = |replica: &Server| {
        format!("{:?}", call(replica, &["ROLE"])).contains(&format!("{:?}", Value::Bulk("connected".into())))
    };
    let follow = |replica: &Server| {
        call(replica, &["REPLICAOF", "127.0.0.1", &port]);
        wait_until("the link is up", || up(replica));
    };
    follow(&early);
    call(&primary, &["FUNCTION", "LOAD", LIBRARY]);
    call(&primary, &["FCALL", "count", "1", "k", "3"]);
    follow(&late);
    follow(&redis);
    call(&primary, &["FCALL", "count", "1", "k", "1"]);
    for replica in [&early, &late, &redis] {
        let four = Value::Bulk("4".into());
        wait_until("the last write has come", || call(replica, &["GET", "k"]) == four);
        assert_works(replica, 4);
    }
    call(&primary, &["FUNCTION", "FLUSH"]);
    for replica in [&early, &late, &redis] {
        wait_until("the library is gone", || {
            call(replica, &["FUNCTION", "LIST"]) == Value::Array(Vec::new())
        });
    }
}
