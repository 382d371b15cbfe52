//! What can a client do to the server by not reading, or by sending without end? Nothing that lasts.
//!
//! Every test runs against Peregrine and, to test the test, against Redis 8.2.3.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::{Duration, Instant};
use support::client::Client;
use support::server::Server;

macro_rules! on_both {
    ($($name:ident)*) => {
        mod redis {
            $(#[test] fn $name() { super::$name(&|args| super::Server::oracle(args)); })*
        }
        mod peregrine {
            $(#[test] fn $name() { super::$name(&|args| super::Server::peregrine(args)); })*
        }
    };
}

type Start<'s> = &'s dyn Fn(&[&str]) -> Server;

on_both! {
    strangers_hold_next_to_nothing a_subscriber_that_does_not_read_is_dropped the_largest_client_goes_first
    endless_requests_end a_burst_of_connections_does_not_pass_maxclients an_idle_client_gives_its_buffers_back
    long_requests_are_not_remembered
}

/// The number behind `name:` in a section of INFO.
fn info(client: &mut Client, name: &str) -> u64 {
    let text = client.cmd("INFO everything").text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::to_owned));
    line.unwrap_or_else(|| panic!("INFO has no {name}")).trim().parse().unwrap()
}

/// A number of the line of CLIENT LIST of the client with this name.
fn listed(admin: &mut Client, client: &str, field: &str) -> u64 {
    let text = admin.cmd("CLIENT LIST").text();
    let line = text.lines().find(|line| line.contains(&format!(" name={client} "))).unwrap();
    let word = line.split(' ').find_map(|word| word.strip_prefix(field)?.strip_prefix('='));
    word.unwrap_or_else(|| panic!("{line} has no {field}")).parse().unwrap()
}

/// Sends the same again and again, and reads nothing, until the server closes the connection. Returns how much went.
fn flood(client: &mut Client, bytes: &[u8]) -> usize {
    let (mut sent, start) = (0, Instant::now());
    while start.elapsed() < Duration::from_secs(20) {
        if client.send_raw(bytes).is_err() {
            return sent;
        }
        sent += bytes.len();
    }
    panic!("the server goes on after {sent} bytes");
}

fn strangers_hold_next_to_nothing(start: Start<'_>) {
    let server = start(&["--requirepass", "pw"]);
    let mut admin = server.connect();
    admin.cmd("AUTH pw");
    let before = info(&mut admin, "used_memory");
    flood(&mut server.connect(), &b"GET x\r\n".repeat(1000));
    assert_eq!(info(&mut admin, "client_output_buffer_limit_disconnections"), 1);
    assert!(info(&mut admin, "used_memory") < before + (2 << 20));
}

fn a_subscriber_that_does_not_read_is_dropped(start: Start<'_>) {
    let server = start(&["--client-output-buffer-limit", "pubsub", "1mb", "0", "0"]);
    let (mut lazy, mut keen, mut admin) = (server.connect(), server.connect(), server.connect());
    lazy.cmd("SUBSCRIBE news");
    let message = "m".repeat(100_000);
    let before = info(&mut admin, "used_memory");
    let mut published = 0;
    while admin.call(&["PUBLISH", "news", &message]).number() == Some(1) {
        published += 1;
        assert!(published < 1000, "nobody is dropped");
        // What the system takes on its way does not count.
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(published >= 10, "dropped after {published} messages");
    assert_eq!(info(&mut admin, "client_output_buffer_limit_disconnections"), 1);
    assert!(info(&mut admin, "used_memory") < before + (1 << 20));
    assert_eq!(keen.cmd("PING").text(), "PONG");
}

fn the_largest_client_goes_first(start: Start<'_>) {
    let server = start(&["--maxmemory-clients", "3mb"]);
    let (mut small, mut large, mut admin) = (server.connect(), server.connect(), server.connect());
    small.send_raw(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$500000\r\n").unwrap();
    small.send_raw(&vec![b's'; 400_000]).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    // One that only ever announces more than it may send.
    let _ = large.send_raw(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5000000\r\n");
    let _ = large.send_raw(&vec![b'l'; 4_000_000]);
    assert!(large.read_within(Duration::from_secs(5)).is_err());
    assert_eq!(info(&mut admin, "evicted_clients"), 1);
    small.send_raw(&vec![b's'; 100_000]).unwrap();
    small.send_raw(b"\r\n").unwrap();
    assert_eq!(small.read().unwrap().value.text(), "OK");
    assert_eq!(admin.cmd("STRLEN k").number(), Some(500_000));
}

fn endless_requests_end(start: Start<'_>) {
    let server = start(&["--client-query-buffer-limit", "1mb"]);
    let mut admin = server.connect();
    let mut client = server.connect();
    client.send_raw(b"*1\r\n$100000000\r\n").unwrap();
    let sent = flood(&mut client, &[b'x'; 65536]);
    assert!(sent < 32 << 20, "{sent}");
    assert_eq!(info(&mut admin, "client_query_buffer_limit_disconnections"), 1);
}

fn a_burst_of_connections_does_not_pass_maxclients(start: Start<'_>) {
    let server = start(&["--maxclients", "5", "--io-threads", "2"]);
    let sockets: Vec<_> =
        (0..60).map(|_| std::net::TcpStream::connect(("127.0.0.1", server.port)).unwrap()).collect();
    let is_served = |mut socket: std::net::TcpStream| {
        use std::io::{Read, Write};
        let mut first = [0];
        // One that was refused may be closed already.
        let asked = socket.write_all(b"PING\r\n").and_then(|()| socket.read_exact(&mut first));
        asked.is_ok() && first == *b"+"
    };
    // All stay open until the last has been asked.
    let served = sockets.iter().filter(|socket| is_served(socket.try_clone().unwrap())).count();
    assert!((1..=5).contains(&served), "{served}");
}

fn an_idle_client_gives_its_buffers_back(start: Start<'_>) {
    let server = start(&[]);
    let (mut busy, mut admin) = (server.connect(), server.connect());
    busy.cmd("CLIENT SETNAME busy");
    busy.send_raw(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\na").unwrap();
    let start = Instant::now();
    let room = |admin: &mut Client| listed(admin, "busy", "qbuf") + listed(admin, "busy", "qbuf-free");
    // What comes next has room, and goes on having it. (Arguments that are complete are counted elsewhere.)
    while !(15 << 10..48 << 10).contains(&room(&mut admin)) {
        assert!(start.elapsed() < Duration::from_secs(5), "no room is made for the rest of a request");
    }
    busy.send_raw(b"bc\r\n").unwrap();
    assert_eq!(busy.read().unwrap().value.text(), "OK");
    assert!(room(&mut admin) > 15 << 10);
    busy.call(&["SET", "k", &"v".repeat(10_000)]);
    busy.cmd("GET k");
    let before = listed(&mut admin, "busy", "tot-mem");
    while room(&mut admin) > 0 || listed(&mut admin, "busy", "rbs") > 2048 {
        assert!(start.elapsed() < Duration::from_secs(30), "an idle client holds buffers");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(listed(&mut admin, "busy", "tot-mem") < before - (16 << 10));
    assert_eq!(busy.cmd("STRLEN k").number(), Some(10_000));
}

fn long_requests_are_not_remembered(start: Start<'_>) {
    let server = start(&[]);
    let mut client = server.connect();
    client.cmd("DEL nothing");
    let before = info(&mut client, "used_memory");
    let mut request = vec!["DEL".to_owned()];
    request.extend((0..200_000).map(|i| format!("nosuch:{i}")));
    assert_eq!(client.call(&request).number(), Some(0));
    let start = Instant::now();
    while info(&mut client, "used_memory") > before + (1 << 20) {
        assert!(start.elapsed() < Duration::from_secs(20), "the memory of a long request is kept");
        std::thread::sleep(Duration::from_millis(50));
    }
}
