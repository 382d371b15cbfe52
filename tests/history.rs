//! Do many threads serve one keyspace as if they were one? Histories of many connections, checked.
//!
//! Every test runs against Peregrine on 1, 2 and 8 I/O threads and, to test the test, against Redis 8.2.3.
//! `ROUNDS` multiplies the work, `SEED` chooses it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};
use support::client::Client;
use support::history::{check, workload};
use support::resp::Value;
use support::rng::{Rng, env_number};
use support::server::Server;

macro_rules! on_every_server {
    ($($name:ident)*) => {
        mod redis_server {
            $(#[test] fn $name() { super::$name(&super::Server::oracle(&["--io-threads", "2"])); })*
        }
        mod one_thread {
            $(#[test] fn $name() { super::on_threads("1", super::$name); })*
        }
        mod two_threads {
            $(#[test] fn $name() { super::on_threads("2", super::$name); })*
        }
        mod eight_threads {
            $(#[test] fn $name() { super::on_threads("8", super::$name); })*
        }
    };
}

on_every_server! {
    units_have_one_order multi_key_commands_are_seen_whole moved_things_are_in_one_place
    a_push_is_answered_after_the_blocked_are_served the_blocked_are_served_first_come_first_served
    a_client_blocked_on_many_keys_is_served_once nothing_is_lost_between_pushers_and_blocked_poppers
    watch_loses_no_update watch_sees_nothing_that_did_not_happen messages_arrive_in_order
    an_expired_key_is_never_seen_again pushes_and_replies_do_not_tear_each_other
    what_is_cached_is_invalidated what_a_prefix_covers_is_invalidated
}

fn on_threads(threads: &str, test: fn(&Server)) {
    let mut server = Server::peregrine(&["--io-threads", threads]);
    test(&server);
    assert!(server.is_running(), "Peregrine died; its log:\n{}", server.log());
}

fn rounds() -> usize {
    env_number("ROUNDS", 1) as usize
}

fn seed() -> u64 {
    env_number("SEED", 1)
}

fn int(value: Value) -> i64 {
    value.number().unwrap_or_else(|| panic!("not a number: {value:?}"))
}

/// Waits until this many clients are blocked.
fn wait_blocked(control: &mut Client, count: usize) {
    let deadline = Instant::now() + Duration::from_secs(10);
    let wanted = format!("blocked_clients:{count}\r\n");
    while !control.cmd("INFO clients").text().contains(&wanted) {
        assert!(Instant::now() < deadline, "{count} clients should be blocked");
        std::thread::sleep(Duration::from_millis(1));
    }
}

// Property 1: one order of all commands, transactions and scripts.

fn units_have_one_order(server: &Server) {
    for round in 0..rounds() as u64 {
        server.connect().cmd("FLUSHALL");
        let history = workload::run(server, 8, 250, seed() + round);
        let faults = check::check(&history);
        assert!(
            faults.is_empty(),
            "seed {}: {} faults, the first:\n{}",
            seed() + round,
            faults.len(),
            faults[0]
        );
    }
}

/// MSET gives all its keys one value, in several ways; MGET, transactions and scripts must never see two values.
fn multi_key_commands_are_seen_whole(server: &Server) {
    let keys = ["a", "b", "c", "{t}1", "{t}2"];
    let writers = AtomicU64::new(4);
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let writers = &writers;
            scope.spawn(move || {
                let mut c = server.connect();
                for n in 0..400 * rounds() {
                    let value = format!("{writer}-{n}");
                    let mut set = vec!["MSET"];
                    keys.iter().for_each(|k| set.extend([*k, &value]));
                    match n % 4 {
                        0 | 1 => assert_eq!(c.call(&set).text(), "OK"),
                        2 => {
                            c.cmd("MULTI");
                            keys.iter().for_each(|k| drop(c.call(&["SET", k, &value])));
                            assert_eq!(c.cmd("EXEC").items().unwrap().len(), keys.len());
                        }
                        _ => {
                            let script =
                                "for i = 1, #KEYS do redis.call('SET', KEYS[i], ARGV[1]) end return 1";
                            let call = [&["EVAL", script, "5"][..], &keys, &[&value]].concat();
                            assert_eq!(int(c.call(&call)), 1);
                        }
                    }
                }
                writers.fetch_sub(1, Ordering::SeqCst);
            });
        }
        for reader in 0..4 {
            let writers = &writers;
            scope.spawn(move || {
                let mut c = server.connect();
                while writers.load(Ordering::SeqCst) > 0 {
                    let reply = match reader % 2 {
                        0 => c.call(&[&["MGET"][..], &keys].concat()),
                        _ => {
                            let script = "local r = {} for i = 1, #ARGV do r[i] = redis.call('GET', ARGV[i]) end return r";
                            c.call(&[&["EVAL", script, "0"][..], &keys].concat())
                        }
                    };
                    let seen = reply.items().unwrap_or_else(|| panic!("{reply:?}"));
                    assert!(seen.iter().all(|v| *v == seen[0]), "a torn MSET: {reply:?}");
                }
            });
        }
    });
}

/// SMOVE, RENAME, LMOVE and a script move things back and forth; whoever looks at both places sees each thing once.
fn moved_things_are_in_one_place(server: &Server) {
    let mut c = server.connect();
    for item in 0..20 {
        c.cmd(&format!("SADD set:a {item}"));
        c.cmd(&format!("RPUSH l:a {item}"));
    }
    c.cmd("SET name:a x");
    let movers = AtomicU64::new(4);
    std::thread::scope(|scope| {
        for mover in 0..4 {
            let movers = &movers;
            scope.spawn(move || {
                let mut c = server.connect();
                let mut rng = Rng::new(seed() * 10 + mover);
                for _ in 0..600 * rounds() {
                    let (from, to) = if rng.chance(50) { ("a", "b") } else { ("b", "a") };
                    match rng.below(4) {
                        0 => drop(c.cmd(&format!("SMOVE set:{from} set:{to} {}", rng.below(20)))),
                        1 => drop(c.cmd(&format!("RENAMENX name:{from} name:{to}"))),
                        2 => drop(c.cmd(&format!("LMOVE l:{from} l:{to} LEFT RIGHT"))),
                        _ => {
                            let script = "local v = redis.call('LPOP', ARGV[1]) if v then redis.call('RPUSH', ARGV[2], v) end";
                            c.call(&["EVAL", script, "0", &format!("l:{from}"), &format!("l:{to}")]);
                        }
                    }
                }
                movers.fetch_sub(1, Ordering::SeqCst);
            });
        }
        for _ in 0..3 {
            let movers = &movers;
            scope.spawn(move || {
                let mut c = server.connect();
                while movers.load(Ordering::SeqCst) > 0 {
                    let looks = [
                        "MULTI",
                        "SCARD set:a",
                        "SCARD set:b",
                        "LLEN l:a",
                        "LLEN l:b",
                        "EXISTS name:a name:b",
                        "EXEC",
                    ];
                    let seen = looks.map(|look| c.cmd(look)).into_iter().next_back().unwrap();
                    let n: Vec<i64> = seen.items().unwrap().iter().map(|v| v.number().unwrap()).collect();
                    assert_eq!(
                        (n[0] + n[1], n[2] + n[3], n[4]),
                        (20, 20, 1),
                        "things in both places, or in none"
                    );
                    assert_eq!(c.cmd("SINTER set:a set:b").items().unwrap().len(), 0);
                    assert_eq!(c.cmd("SUNION set:a set:b").items().unwrap().len(), 20);
                }
            });
        }
    });
}

// Property 4: blocked clients.

fn a_push_is_answered_after_the_blocked_are_served(server: &Server) {
    let (mut control, mut pusher, mut other) = (server.connect(), server.connect(), server.connect());
    for round in 0..60 * rounds() {
        let key = format!("q:{round}");
        let waiting = round % 4;
        let mut blocked: Vec<Client> = (0..waiting).map(|_| server.connect()).collect();
        for client in &mut blocked {
            client.send(&["BLPOP", &key, "0"]).unwrap();
        }
        wait_blocked(&mut control, waiting);
        let pushed = int(pusher.cmd(&format!("RPUSH {key} 1 2 3 4 5")));
        assert_eq!(pushed, 5, "the push is answered the length before the blocked took theirs");
        let left = int(if round % 2 == 0 {
            pusher.cmd(&format!("LLEN {key}"))
        } else {
            other.cmd(&format!("LLEN {key}"))
        });
        assert_eq!(left, 5 - waiting as i64, "after the push is answered, the blocked have what is theirs");
        for client in &mut blocked {
            assert_eq!(client.read().unwrap().value.items().unwrap().len(), 2);
        }
    }
}

fn the_blocked_are_served_first_come_first_served(server: &Server) {
    let (mut control, mut pusher) = (server.connect(), server.connect());
    for round in 0..20 * rounds() {
        let key = format!("fair:{round}");
        let mut blocked: Vec<Client> = (0..6).map(|_| server.connect()).collect();
        for (n, client) in blocked.iter_mut().enumerate() {
            client.send(&["BLPOP", &key, "0"]).unwrap();
            wait_blocked(&mut control, n + 1);
        }
        match round % 3 {
            0 => drop(pusher.cmd(&format!("RPUSH {key} 0 1 2 3 4 5"))),
            1 => (0..6).for_each(|n| drop(pusher.cmd(&format!("RPUSH {key} {n}")))),
            _ => {
                pusher.cmd("MULTI");
                (0..6).for_each(|n| drop(pusher.cmd(&format!("RPUSH {key} {n}"))));
                pusher.cmd("EXEC");
            }
        }
        for (n, client) in blocked.iter_mut().enumerate() {
            assert_eq!(
                client.read().unwrap().value.items().unwrap()[1].text(),
                n.to_string(),
                "first come, first served"
            );
        }
        assert_eq!(int(pusher.cmd(&format!("EXISTS {key}"))), 0);
    }
}

fn a_client_blocked_on_many_keys_is_served_once(server: &Server) {
    let mut control = server.connect();
    for round in 0..40 * rounds() {
        let keys: Vec<String> = (0..4).map(|n| format!("many:{round}:{n}")).collect();
        let mut blocked = server.connect();
        let mut command = vec!["BLPOP"];
        command.extend(keys.iter().map(String::as_str));
        command.push("0");
        blocked.send(&command).unwrap();
        wait_blocked(&mut control, 1);
        let barrier = Barrier::new(keys.len());
        std::thread::scope(|scope| {
            for key in &keys {
                let barrier = &barrier;
                scope.spawn(move || {
                    let mut c = server.connect();
                    c.cmd("PING");
                    barrier.wait();
                    assert_eq!(int(c.call(&["RPUSH", key, "x"])), 1);
                });
            }
        });
        assert_eq!(blocked.read().unwrap().value.items().unwrap().len(), 2);
        let left: i64 = keys.iter().map(|key| int(control.call(&["LLEN", key]))).sum();
        assert_eq!(left, 3, "one of four elements was for the blocked client");
        assert_eq!(blocked.cmd("PING").text(), "PONG");
    }
}

/// Pushers and blocked poppers on several keys, with timeouts that race with pushes: each element is taken once.
fn nothing_is_lost_between_pushers_and_blocked_poppers(server: &Server) {
    const KEYS: usize = 4;
    let each = 300 * rounds();
    let pushing = AtomicU64::new(4);
    let taken = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for pusher in 0..4 {
            let pushing = &pushing;
            scope.spawn(move || {
                let mut c = server.connect();
                let mut rng = Rng::new(seed() * 100 + pusher);
                for n in 0..each {
                    let key = rng.below(KEYS);
                    match rng.below(3) {
                        0 => drop(c.cmd(&format!("RPUSH work:{key} {pusher}-{n}"))),
                        1 => drop(c.cmd(&format!("LPUSH work:{key} {pusher}-{n}"))),
                        _ => drop(c.call(&[
                            "EVAL",
                            "return redis.call('RPUSH', ARGV[1], ARGV[2])",
                            "0",
                            &format!("work:{key}"),
                            &format!("{pusher}-{n}"),
                        ])),
                    }
                }
                pushing.fetch_sub(1, Ordering::SeqCst);
            });
        }
        for popper in 0..6 {
            let (pushing, taken) = (&pushing, &taken);
            scope.spawn(move || {
                let mut c = server.connect();
                let mut rng = Rng::new(seed() * 200 + popper);
                let mut mine = Vec::new();
                loop {
                    let over = pushing.load(Ordering::SeqCst) == 0;
                    let key = rng.below(KEYS);
                    let reply = match rng.below(4) {
                        0 => c.cmd("BLPOP work:0 work:1 work:2 work:3 0.005"),
                        1 => c.cmd("BLMPOP 0.005 4 work:3 work:2 work:1 work:0 RIGHT COUNT 2"),
                        2 => c.cmd(&format!("BLMOVE work:{key} done LEFT RIGHT 0.003")),
                        _ => c.cmd(&format!("BRPOP work:{key} 0.003")),
                    };
                    let idle = reply.is_null();
                    match reply {
                        Value::Array(pair) => {
                            mine.extend(pair[1].items().unwrap_or(&pair[1..]).iter().map(Value::text))
                        }
                        Value::Bulk(_) | Value::NullBulk | Value::NullArray => {}
                        other => panic!("{other:?}"),
                    }
                    if over && idle && (0..KEYS).all(|k| int(c.cmd(&format!("LLEN work:{k}"))) == 0) {
                        break;
                    }
                }
                taken.lock().unwrap().extend(mine);
            });
        }
    });
    let mut taken = taken.into_inner().unwrap();
    let moved = server.connect().cmd("LRANGE done 0 -1");
    taken.extend(moved.items().unwrap().iter().map(Value::text));
    taken.sort();
    let mut pushed: Vec<String> = (0..4).flat_map(|p| (0..each).map(move |n| format!("{p}-{n}"))).collect();
    pushed.sort();
    assert_eq!(taken.len(), pushed.len());
    assert!(taken == pushed, "each element is taken exactly once");
}

// Property 5: WATCH.

fn watch_loses_no_update(server: &Server) {
    let successes = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            let successes = &successes;
            scope.spawn(move || {
                let mut c = server.connect();
                for _ in 0..250 * rounds() {
                    c.cmd("WATCH counter shadow");
                    let n = c.cmd("GET counter").number().unwrap_or(0);
                    let shadow = c.cmd("GET shadow").number().unwrap_or(0);
                    c.cmd("MULTI");
                    c.cmd(&format!("SET counter {}", n + 1));
                    c.cmd(&format!("SET shadow {}", shadow + 1));
                    if !c.cmd("EXEC").is_null() {
                        assert_eq!(n, shadow, "what was read was written by one transaction");
                        successes.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    let mut c = server.connect();
    let successes = successes.load(Ordering::SeqCst) as i64;
    assert!(successes > 0);
    assert_eq!(int(c.cmd("GET counter")), successes);
    assert_eq!(int(c.cmd("GET shadow")), successes);
}

/// Nobody touches these keys, much happens beside them: no EXEC may fail.
fn watch_sees_nothing_that_did_not_happen(server: &Server) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for noise in 0..3 {
            let stop = &stop;
            scope.spawn(move || {
                let mut c = server.connect();
                for n in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    c.cmd(&format!("SET noise:{noise}:{} x PX 1", n % 50));
                    c.cmd(&format!("DEL noise:{noise}:{}", (n + 7) % 50));
                    c.cmd("SREM still:0 nosuch");
                }
            });
        }
        let mut workers = Vec::new();
        for worker in 0..3 {
            workers.push(scope.spawn(move || {
                let mut c = server.connect();
                let key = format!("still:{worker}");
                c.cmd(&format!("SADD {key} x"));
                for _ in 0..200 * rounds() {
                    c.cmd(&format!("WATCH {key} absent:{worker}"));
                    c.cmd("MULTI");
                    c.cmd(&format!("SCARD {key}"));
                    let reply = c.cmd("EXEC");
                    assert_eq!(reply, Value::Array(vec![Value::Int(1)]), "nothing changed");
                }
            }));
        }
        let failed = workers.into_iter().map(|w| w.join()).filter(Result::is_err).count();
        stop.store(true, Ordering::SeqCst);
        assert_eq!(failed, 0);
    });
}

// Property 6: messages.

fn messages_arrive_in_order(server: &Server) {
    const PUBLISHERS: usize = 3;
    let each = 400 * rounds();
    let ready = Barrier::new(PUBLISHERS + 4);
    std::thread::scope(|scope| {
        for subscriber in 0..4 {
            let ready = &ready;
            scope.spawn(move || {
                let mut c = server.connect();
                c.cmd(if subscriber % 2 == 0 { "SUBSCRIBE news" } else { "PSUBSCRIBE n*s" });
                ready.wait();
                let mut next: BTreeMap<String, usize> = BTreeMap::new();
                for _ in 0..PUBLISHERS * each {
                    let message = c.read().unwrap().value.items().unwrap().last().unwrap().text();
                    let (publisher, n) = message.split_once('-').unwrap();
                    let expected = next.entry(publisher.into()).or_default();
                    assert_eq!(n.parse::<usize>().unwrap(), *expected, "publisher {publisher}");
                    *expected += 1;
                }
            });
        }
        for publisher in 0..PUBLISHERS {
            let ready = &ready;
            scope.spawn(move || {
                let mut c = server.connect();
                ready.wait();
                for chunk in (0..each).collect::<Vec<_>>().chunks(20) {
                    let publish = |n: &usize| {
                        ["PUBLISH", "news", &format!("{publisher}-{n}")]
                            .map(|w| w.as_bytes().to_vec())
                            .to_vec()
                    };
                    let replies = c.pipeline(&chunk.iter().map(publish).collect::<Vec<_>>()).unwrap();
                    assert!(replies.iter().all(|r| r.value == Value::Int(4)));
                }
            });
        }
    });
}

/// A RESP3 connection that subscribes and works at once: its replies are in order, pushes only stand between them.
fn pushes_and_replies_do_not_tear_each_other(server: &Server) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut c = server.connect();
            let message = "m".repeat(300);
            while !stop.load(Ordering::SeqCst) {
                c.call(&["PUBLISH", "chatter", &message]);
                c.cmd("SET tracked x");
            }
        });
        let mut c = server.connect();
        c.cmd("HELLO 3");
        c.cmd("SUBSCRIBE chatter");
        c.cmd("CLIENT TRACKING ON BCAST PREFIX tracked");
        let mut pushes = 0;
        for round in 0..60 * rounds() {
            for n in 0..50 {
                c.send(&["ECHO", &format!("{round}:{n}:{}", "e".repeat(n))]).unwrap();
            }
            let mut n = 0;
            while n < 50 {
                match c.read().unwrap().value {
                    Value::Push(items) => {
                        pushes += 1;
                        assert!(["message", "subscribe", "invalidate"].contains(&items[0].text().as_str()));
                    }
                    Value::Bulk(text) => {
                        assert_eq!(text, format!("{round}:{n}:{}", "e".repeat(n)).into_bytes());
                        n += 1;
                    }
                    Value::Simple(_) => {}
                    other => panic!("{other:?}"),
                }
            }
        }
        stop.store(true, Ordering::SeqCst);
        assert!(pushes > 0);
    });
}

// Client-side caching: what a client has read and not been told to forget is what the server has.

/// A client that caches as the documentation tells it to.
struct Caching {
    connection: Client,
    cache: HashMap<String, Value>,
    told: usize,
}

impl Caching {
    fn new(server: &Server, how: &str) -> Caching {
        let mut connection = server.connect();
        connection.cmd("HELLO 3");
        connection.cmd(&format!("CLIENT TRACKING ON {how}"));
        Caching { connection, cache: HashMap::new(), told: 0 }
    }

    /// Sends a command and returns its reply; what comes before it is taken to heart.
    fn ask(&mut self, command: &str) -> Value {
        self.connection.send(&command.split_whitespace().collect::<Vec<_>>()).unwrap();
        loop {
            match self.connection.read().unwrap().value {
                Value::Push(items) => self.forget(&items[1]),
                reply => return reply,
            }
        }
    }

    fn forget(&mut self, what: &Value) {
        self.told += 1;
        match what {
            Value::Array(keys) => keys.iter().for_each(|key| drop(self.cache.remove(&key.text()))),
            _ => self.cache.clear(),
        }
    }

    fn read(&mut self, key: &str) {
        let value = self.ask(&format!("GET {key}"));
        self.cache.insert(key.to_owned(), value);
    }
}

fn what_is_cached_is_invalidated(server: &Server) {
    caches_are_true(server, "");
}

fn what_a_prefix_covers_is_invalidated(server: &Server) {
    caches_are_true(server, "BCAST");
}

/// Writers change keys in every way while clients cache them. Once all is quiet, no cache holds anything outdated.
fn caches_are_true(server: &Server, how: &str) {
    const KEYS: usize = 6;
    let writing = AtomicU64::new(3);
    std::thread::scope(|scope| {
        for writer in 0..3 {
            let writing = &writing;
            scope.spawn(move || {
                let (mut c, mut rng) = (server.connect(), Rng::new(seed() + writer));
                for n in 0..400 * rounds() {
                    let (a, b) = (rng.below(KEYS), rng.below(KEYS));
                    match rng.below(8) {
                        0 => c.cmd(&format!("DEL k{a} k{b}")),
                        1 => c.cmd(&format!("SET k{a} {writer}-{n} PX 1")),
                        2 => c.cmd(&format!("MSET k{a} {writer}-{n} k{b} {writer}+{n}")),
                        3 => c.cmd(&format!(
                            "EVAL return(redis.call('SET',KEYS[1],ARGV[1])) 1 k{a} {writer}-{n}"
                        )),
                        4 if n % 50 == 0 => c.cmd("FLUSHALL"),
                        _ => c.cmd(&format!("SET k{a} {writer}-{n}")),
                    };
                }
                writing.fetch_sub(1, Ordering::SeqCst);
            });
        }
        for reader in 0..2 {
            let writing = &writing;
            scope.spawn(move || {
                let (mut c, mut rng) = (Caching::new(server, how), Rng::new(seed() + 100 + reader));
                while writing.load(Ordering::SeqCst) > 0 {
                    c.read(&format!("k{}", rng.below(KEYS)));
                }
                // What is about to expire does, and the last messages arrive.
                std::thread::sleep(Duration::from_millis(400));
                c.ask("PING");
                c.ask("PING");
                let mut other = server.connect();
                other.cmd("HELLO 3");
                for (key, value) in std::mem::take(&mut c.cache) {
                    let now = other.cmd(&format!("GET {key}"));
                    assert_eq!(value, now, "{key} is cached and has changed");
                }
                assert!(c.told > 0);
            });
        }
    });
}

// Property 7: expiry.

/// Once anybody has seen that a key is gone, nobody who asks later sees its value.
fn an_expired_key_is_never_seen_again(server: &Server) {
    let keys = 5;
    for round in 0..15 * rounds() {
        let start = Instant::now();
        let reads = Mutex::new(Vec::new());
        let barrier = Barrier::new(5);
        std::thread::scope(|scope| {
            for reader in 0..4 {
                let (reads, barrier) = (&reads, &barrier);
                scope.spawn(move || {
                    let mut c = server.connect();
                    c.cmd("PING");
                    barrier.wait();
                    let mut mine = Vec::new();
                    let end = Instant::now() + Duration::from_millis(20);
                    let mut alive = keys;
                    while Instant::now() < end || alive > 0 {
                        alive = 0;
                        for key in 0..keys {
                            let key = format!("mortal:{round}:{key}");
                            let invoked = start.elapsed();
                            let seen = match reader {
                                0 => !c.call(&["GET", &key]).is_null(),
                                1 => int(c.call(&["EXISTS", &key])) == 1,
                                2 => c.call(&["TYPE", &key]).text() == "string",
                                _ => {
                                    int(c.call(&["EVAL", "return redis.call('STRLEN', ARGV[1])", "0", &key]))
                                        > 0
                                }
                            };
                            alive += usize::from(seen);
                            mine.push((key, invoked, start.elapsed(), seen));
                        }
                    }
                    reads.lock().unwrap().extend(mine);
                });
            }
            let mut c = server.connect();
            for key in 0..keys {
                c.cmd(&format!("SET mortal:{round}:{key} x PX {}", 8 + key * 2));
            }
            barrier.wait();
        });
        let reads = reads.into_inner().unwrap();
        let mut gone: HashMap<&String, Duration> = HashMap::new();
        for (key, _, completed, seen) in reads.iter() {
            if !seen {
                let first = gone.entry(key).or_insert(*completed);
                *first = (*first).min(*completed);
            }
        }
        for (key, invoked, _, seen) in reads.iter() {
            let risen = *seen && gone.get(key).is_some_and(|first| first < invoked);
            assert!(!risen, "{key} was gone and was seen again");
        }
    }
}
