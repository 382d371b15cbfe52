//! Can a script that does not end be lived with, on one thread and on several? Everybody else is told that the server is
//! busy, within moments; it can be stopped unless it has written; and the server can be ended.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::sync::Mutex;
use std::time::{Duration, Instant};

use support::client::Client;
use support::server::Server;
use support::text::render;

const ENDLESS: &str = "while true do end";
const BUSY: &str = "-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";

fn start(threads: &str) -> Server {
    Server::peregrine(&["--io-threads", threads, "--busy-reply-threshold", "100"])
}

/// One at a time: every server here keeps a core busy.
static TURN: Mutex<()> = Mutex::new(());

/// The reply to one request, soon.
fn ask(client: &mut Client, args: &[&str]) -> String {
    client.send(args).unwrap();
    let began = Instant::now();
    let reply = client.read_within(Duration::from_secs(5)).unwrap();
    assert!(began.elapsed() < Duration::from_secs(3), "{args:?} was answered late");
    render(&reply.unwrap_or_else(|| panic!("{args:?} was not answered")).value)
}

/// The reply that a client waits for.
fn answer(client: &mut Client) -> String {
    render(&client.read_within(Duration::from_secs(10)).unwrap().expect("a reply").value)
}

/// Begins a script and waits until the server is busy with it.
fn hog(server: &Server, script: &str) -> Client {
    let mut client = server.connect();
    client.send(&["EVAL", script, "0"]).unwrap();
    std::thread::sleep(Duration::from_millis(400));
    client
}

fn each(test: impl Fn(&Server)) {
    let _turn = TURN.lock();
    for threads in ["1", "2", "4"] {
        test(&start(threads));
    }
}

#[test]
fn every_client_is_answered_and_may_stop_the_script() {
    each(|server| {
        // Old connections and new ones, on every thread.
        let mut old: Vec<Client> = (0..8).map(|_| server.connect()).collect();
        let mut hog = hog(server, ENDLESS);
        let new = (0..8).map(|_| server.connect());
        for client in old.iter_mut().chain(&mut new.collect::<Vec<_>>()) {
            assert!(ask(client, &["PING"]).contains(&BUSY[1..]));
            assert!(ask(client, &["GET", "k"]).contains(&BUSY[1..]));
            assert!(ask(client, &["FUNCTION", "STATS"]).contains("duration_ms"));
            assert!(ask(client, &["FUNCTION", "KILL"]).contains("SCRIPT KILL"));
        }
        assert!(ask(&mut old[0], &["SCRIPT", "KILL"]).contains("OK"));
        let killed = answer(&mut hog);
        assert!(killed.contains("Script killed by user with SCRIPT KILL"), "{killed}");
        for client in &mut old {
            assert!(ask(client, &["PING"]).contains("PONG"));
        }
        assert!(ask(&mut old[0], &["SCRIPT", "KILL"]).contains("NOTBUSY"));
    });
}

#[test]
fn while_the_append_only_file_is_read_again_everybody_is_told() {
    let _turn = TURN.lock();
    let server = Server::peregrine(&["--appendonly", "yes", "--enable-debug-command", "yes"]);
    let mut client = server.connect();
    (0..10).for_each(|i| _ = client.cmd(&format!("SET k{i} v")));
    client.cmd("CONFIG SET key-load-delay 100000");
    client.send(&["DEBUG", "LOADAOF"]).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    // On every thread but the one that reads.
    let mut others: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    others.iter_mut().for_each(|other| other.send(&["GET", "k0"]).unwrap());
    let replies: Vec<String> = others.iter_mut().map(answer).collect();
    assert!(replies.iter().any(|reply| reply.contains("LOADING")), "{replies:?}");
    assert!(answer(&mut client).contains("OK"));
    assert_eq!(client.cmd("DBSIZE").text(), "10");
}

#[test]
fn commands_that_came_before_the_server_was_busy_are_answered_too() {
    each(|server| {
        let mut clients: Vec<Client> = (0..8).map(|_| server.connect()).collect();
        let mut hog = server.connect();
        hog.send(&["EVAL", &format!("redis.call('get', 'undeclared') {ENDLESS}"), "0"]).unwrap();
        std::thread::sleep(Duration::from_millis(30));
        // They wait for its locks, in every way there is.
        for (n, client) in clients.iter_mut().enumerate() {
            let command: &[&str] = match n % 4 {
                0 => &["SET", "k", "v"],
                1 => &["MSET", "a", "1", "b", "2"],
                2 => &["FLUSHALL"],
                _ => &["SCAN", "0"],
            };
            client.send(command).unwrap();
        }
        std::thread::sleep(Duration::from_millis(400));
        assert!(ask(&mut server.connect(), &["SCRIPT", "KILL"]).contains("OK"));
        answer(&mut hog);
        for client in &mut clients {
            // Some were refused, and walkers could wait.
            answer(client);
            assert!(ask(client, &["PING"]).contains("PONG"));
        }
    });
}

#[test]
fn a_script_that_has_written_can_only_be_ended_with_the_server() {
    let _turn = TURN.lock();
    for threads in ["1", "2"] {
        let mut server = start(threads);
        let _hog = hog(&server, &format!("redis.call('set', 'k', 'v') {ENDLESS}"));
        let mut client = server.connect();
        assert!(ask(&mut client, &["SCRIPT", "KILL"]).contains("UNKILLABLE"));
        assert!(ask(&mut client, &["SHUTDOWN"]).contains("BUSY"));
        client.send(&["SHUTDOWN", "NOSAVE"]).unwrap();
        let began = Instant::now();
        while server.is_running() {
            assert!(began.elapsed() < Duration::from_secs(5), "the server did not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn who_sees_the_server_end_finds_it_gone() {
    let _turn = TURN.lock();
    for _ in 0..5 {
        let server = start("1");
        let _hog = hog(&server, &format!("redis.call('set', 'k', 'v') {ENDLESS}"));
        let mut client = server.connect();
        client.send(&["SHUTDOWN", "NOSAVE"]).unwrap();
        assert!(client.read_within(Duration::from_secs(5)).is_err(), "its connection ends");
        assert!(Client::connect(server.port).is_err(), "somebody listens yet");
    }
}

#[test]
fn a_script_cannot_catch_its_end() {
    let _turn = TURN.lock();
    let server = start("1");
    let mut hog = hog(&server, "while true do pcall(function() while true do end end) end");
    assert!(ask(&mut server.connect(), &["SCRIPT", "KILL"]).contains("OK"));
    assert!(answer(&mut hog).contains("killed"));
}

#[test]
fn transactions_know_what_was_refused() {
    each(|server| {
        let mut clients: Vec<Client> = (0..4).map(|_| server.connect()).collect();
        for client in &mut clients {
            ask(client, &["WATCH", "w"]);
        }
        let mut other = server.connect();
        ask(&mut other, &["MULTI"]);
        ask(&mut other, &["INCR", "x"]);
        let mut hog = hog(server, ENDLESS);
        for client in &mut clients {
            assert!(ask(client, &["MULTI"]).contains("OK"));
            assert!(ask(client, &["INCR", "x"]).contains("BUSY"));
        }
        assert!(ask(&mut clients[0], &["DISCARD"]).contains("OK"));
        assert!(ask(&mut clients[1], &["EXEC"]).contains("EXECABORT"));
        assert!(ask(&mut other, &["EXEC"]).contains("EXECABORT Transaction discarded because of: BUSY"));
        assert!(ask(&mut server.connect(), &["SCRIPT", "KILL"]).contains("OK"));
        answer(&mut hog);
        assert!(ask(&mut clients[2], &["EXEC"]).contains("EXECABORT"));
        assert_eq!(ask(&mut other, &["GET", "x"]), "$-1", "nothing of it was run");
        // Watching goes on to work after watches were let go in the middle of it.
        let (mut a, mut b) = (server.connect(), server.connect());
        for changed in [false, true] {
            ask(&mut a, &["WATCH", "w"]);
            if changed {
                ask(&mut b, &["SET", "w", "1"]);
            }
            ask(&mut a, &["MULTI"]);
            ask(&mut a, &["PING"]);
            assert_eq!(ask(&mut a, &["EXEC"]).contains("PONG"), !changed);
        }
    });
}

#[test]
fn watch_waits_for_the_end_of_the_script() {
    each(|server| {
        let mut client = server.connect();
        let mut hog = hog(server, &format!("redis.call('get', 'undeclared') {ENDLESS}"));
        client.send(&["WATCH", "k"]).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        assert!(ask(&mut server.connect(), &["SCRIPT", "KILL"]).contains("OK"));
        answer(&mut hog);
        assert!(answer(&mut client).contains("OK"));
    });
}

/// Scripts with disjoint keys that are declared run at the same time; one that uses another key waits for them all.
#[test]
fn scripts_with_disjoint_keys_overlap() {
    let _turn = TURN.lock();
    let server = Server::peregrine(&["--io-threads", "2", "--busy-reply-threshold", "0"]);
    // Connections go to the threads in turn, and each thread has some of these.
    let mut clients: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    let mut load =
        |script: &str| ask(&mut clients[0], &["SCRIPT", "LOAD", script]).trim_matches('"').to_owned();
    let endless = load("redis.call('GET', KEYS[1]) while true do end");
    let declared = load("redis.call('INCR', KEYS[1]) return redis.call('GET', KEYS[1])");
    let undeclared = load("local k = 'b' return redis.call('GET', k)");
    let mut hog = clients.remove(0);
    hog.send(&["EVALSHA", &endless, "1", "a"]).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let mut free = Vec::new();
    for mut client in clients {
        client.send(&["EVALSHA", &declared, "1", "b"]).unwrap();
        // Those of the other thread are answered although the first script goes on.
        if let Some(reply) = client.read_within(Duration::from_secs(2)).unwrap() {
            assert_eq!(render(&reply.value), format!("\"{}\"", free.len() + 1));
            free.push(client);
        }
    }
    assert!(!free.is_empty(), "no script ran while the other did");
    let mut other = free.remove(0);
    other.send(&["EVALSHA", &undeclared, "0"]).unwrap();
    assert!(other.read_within(Duration::from_millis(300)).unwrap().is_none(), "it must run alone");
    // That thread waits now, so neither is left to stop the script.
    drop(server);
}
