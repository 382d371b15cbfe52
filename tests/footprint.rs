//! How many bytes does an item take? Not more than it did: a layout that grows fails here.
//!
//! Counted is what the server has allocated, rounded up to the allocator's size classes (`used_memory`), over several
//! sizes of the data, since tables are fuller at some than at others. `benches/compare` has the resident bytes, beside
//! those of Redis.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fmt::Write;
use support::client::Client;
use support::server::Server;

/// Where the memory is looked at: items.
const SIZES: [usize; 4] = [40_000, 46_000, 53_000, 61_000];
/// Commands sent at once.
const BATCH: usize = 500;

/// What is stored, and the most that it may take.
struct Row {
    name: &'static str,
    /// Bytes of an item that are not counted.
    payload: f64,
    /// Bytes per item, at most.
    bound: f64,
    /// Items that one command adds.
    step: usize,
    /// Appends the command that adds the items from a number on.
    add: fn(&mut Vec<String>, usize),
}

/// One item a command, under a key of its own.
macro_rules! key {
    ($name:literal, $payload:literal, $bound:literal, $($word:expr),+) => {
        Row { name: $name, payload: $payload, bound: $bound, step: 1, add: |words, i| {
            $(words.push(($word)(i));)+
        }}
    };
}

/// A hundred items a command, all in one value.
macro_rules! large {
    ($name:literal, $bound:literal, $command:literal, $($word:expr),+) => {
        Row { name: $name, payload: 0.0, bound: $bound, step: 100, add: |words, i| {
            words.extend([$command.to_owned(), "large".to_owned()]);
            for i in i..i + 100 {
                $(words.push(($word)(i));)+
            }
        }}
    };
}

fn word(text: &'static str) -> impl Fn(usize) -> String {
    move |_| text.to_owned()
}

fn key(i: usize) -> String {
    format!("key:{i:012}")
}

fn text(i: usize) -> String {
    format!("text:{i:011}")
}

fn thirty_two(_: usize) -> String {
    "x".repeat(32)
}

fn rows() -> [Row; 9] {
    [
        key!("string, 16 B key + 32 B value", 48.0, 17.6, word("SET"), key, thirty_two),
        key!("the same with a TTL", 48.0, 25.8, word("SET"), key, thirty_two, word("EX"), word("86400")),
        key!("16 B key + small integer", 16.0, 17.6, word("SET"), key, |i: usize| (i % 10_000).to_string()),
        key!(
            "hash of 5 small fields",
            0.0,
            121.6,
            word("HSET"),
            key,
            word("name"),
            |i: usize| format!("user{}", i % 1000),
            word("age"),
            |i: usize| (i % 90).to_string(),
            word("city"),
            word("london"),
            word("plan"),
            word("free"),
            word("n"),
            |i: usize| (i % 100).to_string()
        ),
        large!("sorted set, 16 B members", 39.8, "ZADD", |i: usize| i.to_string(), text),
        large!("set, 16 B members", 33.3, "SADD", text),
        large!("hash, 16 B fields and values", 49.5, "HSET", key, text),
        large!("list, 16 B elements", 18.4, "RPUSH", text),
        Row {
            name: "stream, 2 fields an entry",
            payload: 0.0,
            bound: 16.2,
            step: 1,
            add: |words, i| {
                let id = format!("{}-1", i + 1);
                let (user, temp) = ((i % 1000).to_string(), (i % 50).to_string());
                let all = [
                    "XADD".to_owned(),
                    "stream".to_owned(),
                    id,
                    "user".to_owned(),
                    user,
                    "temp".to_owned(),
                    temp,
                ];
                words.extend(all);
            },
        },
    ]
}

fn used(client: &mut Client) -> f64 {
    let text = client.cmd("INFO memory").text();
    let line = text.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
    line.trim().parse().unwrap()
}

fn fill(client: &mut Client, row: &Row, from: usize, to: usize) {
    let mut starts = (from..to).step_by(row.step).peekable();
    while starts.peek().is_some() {
        let commands: Vec<Vec<Vec<u8>>> = starts
            .by_ref()
            .take(BATCH.div_ceil(row.step))
            .map(|i| {
                let mut words = Vec::new();
                (row.add)(&mut words, i);
                words.into_iter().map(String::into_bytes).collect()
            })
            .collect();
        let replies = client.pipeline(&commands).unwrap();
        assert!(replies.iter().all(|reply| reply.raw[0] != b'-'), "{}: {:?}", row.name, replies[0].value);
    }
}

#[test]
fn items_take_no_more_than_they_did() {
    let mut report = String::new();
    let mut over = false;
    for row in rows() {
        // On a busy machine commands look slow, and the slow log keeps their arguments.
        let server = Server::peregrine(&["--io-threads", "1", "--slowlog-log-slower-than", "-1"]);
        let mut client = server.connect();
        fill(&mut client, &row, 0, 1000); // buffers have their sizes now
        let (empty, mut there, mut sum) = (used(&mut client), 1000, 0.0);
        for size in SIZES {
            fill(&mut client, &row, there, size);
            there = size;
            sum += (used(&mut client) - empty) / (size - 1000) as f64 - row.payload;
        }
        let each = sum / SIZES.len() as f64;
        over |= each > row.bound;
        let verdict = if each > row.bound { "TOO MUCH" } else { "" };
        writeln!(report, "{:32} {each:7.2} bytes, {:6.1} allowed {verdict}", row.name, row.bound).unwrap();
    }
    println!("{report}");
    assert!(!over, "{report}");
}
