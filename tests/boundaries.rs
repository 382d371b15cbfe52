//! Does any number break a command? Every numeric argument of every command, at every value where something may break.
//!
//! The requests are made from the table: all that a command must have, plus one of the options that it may have, with
//! one number replaced. Replies are compared with those of Redis 8.2.3, and nothing may panic.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use peregrine::dispatch::syntax::{Arg, Kind};
use std::collections::{BTreeMap, HashSet};
use support::differential::generate::Step;
use support::differential::rows::{self, Row};
use support::differential::values::{FLOAT_EDGES, INTEGER_EDGES};
use support::differential::{Options, Pair, signature};
use support::server::Server;
use support::text;

/// A part of a request.
#[derive(Clone)]
enum Token {
    /// Sent as it is.
    Fixed(Vec<u8>),
    /// A number: its class, the value that works, and whether it is one that this request is about.
    Number(&'static str, &'static str, bool),
}

/// All that must be there, and requests with one more of what may be there.
struct Variants {
    least: Vec<Token>,
    more: Vec<Vec<Token>>,
}

/// Data of every type, under the first names of its class.
const DATA: [&str; 12] = [
    "FLUSHALL",
    "SET str:0 10",
    "SET bit:0 abc",
    "HSET hash:0 m1 5 m2 v",
    "RPUSH list:0 a b c",
    "SADD set:0 m1 m2 m3",
    "ZADD zset:0 1 m1 2 m2",
    "ZADD lexset:0 0 a 0 b",
    "XADD stream:0 1-1 m1 v",
    "XGROUP CREATE stream:0 g0 0",
    "PFADD hll:0 a b",
    "GEOADD geo:0 13.361389 38.115556 Palermo",
];

fn request(line: &str) -> Vec<Vec<u8>> {
    line.split(' ').map(|w| w.as_bytes().to_vec()).collect()
}

fn sequence(row: &Row, args: &[Arg]) -> Variants {
    let parts: Vec<Variants> = args.iter().map(|arg| argument(row, arg)).collect();
    let least = parts.iter().flat_map(|p| p.least.clone()).collect();
    let mut more = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        for variant in &part.more {
            let before = parts[..at].iter().flat_map(|p| p.least.clone());
            let after = parts[at + 1..].iter().flat_map(|p| p.least.clone());
            more.push(before.chain(variant.clone()).chain(after).collect());
        }
    }
    Variants { least, more }
}

fn argument(row: &Row, arg: &Arg) -> Variants {
    let mut variants = match arg.kind {
        Kind::Word => {
            let word = if arg.token == Some("*") { "99-1" } else { arg.token.unwrap_or("") };
            Variants { least: vec![Token::Fixed(word.into())], more: Vec::new() }
        }
        Kind::Block => sequence(row, &arg.args),
        Kind::OneOf => {
            let all: Vec<_> = arg.args.iter().map(|a| argument(row, a)).collect();
            let least = all.first().map_or(Vec::new(), |first| first.least.clone());
            let others = all.into_iter().flat_map(|v| std::iter::once(focused(v.least)).chain(v.more));
            Variants { least, more: others.collect() }
        }
        Kind::Value(kind) => value(row, arg, kind),
    };
    if let Some(token) = arg.token.filter(|_| arg.kind != Kind::Word) {
        let word = Token::Fixed(token.into());
        std::iter::once(&mut variants.least)
            .chain(&mut variants.more)
            .for_each(|v| v.insert(0, word.clone()));
    }
    if arg.optional {
        variants.more.push(focused(std::mem::take(&mut variants.least)));
    }
    variants
}

fn value(row: &Row, arg: &Arg, kind: &str) -> Variants {
    let class = row.class(arg, kind);
    let token = match (kind, class) {
        ("integer", "ttl~" | "pttl~") => Token::Number(class, "500000", false),
        ("integer" | "double" | "unix-time", _) => {
            let works = match class {
                "at~" => "4102444800",
                "pat~" => "4102444800000",
                "cursor" | "bit" => "0",
                _ => "1",
            };
            Token::Number(class, works, false)
        }
        ("key", "any") => Token::Fixed(b"str:0".to_vec()),
        ("key", class) => Token::Fixed(format!("{class}:0").into_bytes()),
        (_, "score" | "bound" | "idle" | "id~") => Token::Number(class, "1", false),
        (_, class) => Token::Fixed(text_of(class).into()),
    };
    Variants { least: vec![token], more: Vec::new() }
}

fn text_of(class: &str) -> &'static str {
    match class {
        "m" | "f" => "m1",
        "newid" => "9-1",
        "group" => "g0",
        "consumer" => "c0",
        "enc" => "u8",
        "lex" => "[a",
        "city" => "Palermo",
        "pattern" => "*",
        "typename" => "string",
        "script" => "return 1",
        "dump" => "bad",
        "command" => "get",
        "sha1" => "ffffffffffffffffffffffffffffffffffffffff",
        _ => "5",
    }
}

/// The same tokens, all of whose numbers are what the request is about.
fn focused(mut tokens: Vec<Token>) -> Vec<Token> {
    for token in &mut tokens {
        if let Token::Number(.., focus) = token {
            *focus = true;
        }
    }
    tokens
}

/// The real server keeps 32 bits of this index, and may replace an element that nobody named; we refuse.
fn is_cut(row: &Row, edge: &str) -> bool {
    row.words[0] == "lset" && edge.parse::<i64>().is_ok_and(|n| i32::try_from(n).is_err())
}

/// Values that are not sent: a time that would be over before the next command, bits that would fill half a
/// gigabyte, and numbers of random picks that would.
fn is_heavy(class: &str, edge: &str) -> bool {
    let n: Option<i64> = edge.parse().ok();
    match class {
        "ttl~" | "pttl~" => edge == "1",
        "off" => n.is_some_and(|n| (1 << 24..=1 << 33).contains(&n)),
        "count" => n.is_some_and(|n| (i64::MIN + 1..-1000).contains(&n)),
        _ => false,
    }
}

/// Every request about a row: grouped by variant, since each begins with fresh data.
fn requests(row: &Row) -> Vec<Vec<Vec<Vec<u8>>>> {
    let all = sequence(row, &row.args);
    let mut groups = Vec::new();
    for tokens in std::iter::once(focused(all.least)).chain(all.more) {
        let mut group = Vec::new();
        for at in 0..tokens.len() {
            let Token::Number(class, _, true) = tokens[at] else { continue };
            let edges = INTEGER_EDGES
                .iter()
                .chain(&FLOAT_EDGES)
                .filter(|edge| !is_heavy(class, edge) && !is_cut(row, edge));
            group.extend(edges.map(|edge| with(row, &tokens, at, edge)));
        }
        groups.push(group);
    }
    groups
}

fn with(row: &Row, tokens: &[Token], hole: usize, edge: &str) -> Vec<Vec<u8>> {
    let bytes = |(at, token): (usize, &Token)| match token {
        _ if at == hole => edge.as_bytes().to_vec(),
        Token::Fixed(bytes) => bytes.clone(),
        Token::Number(_, works, _) => works.as_bytes().to_vec(),
    };
    row.name().into_iter().chain(tokens.iter().enumerate().map(bytes)).collect()
}

/// Runs one group on both; notes each different kind of difference once.
fn compare(pair: &mut Pair, row: &Row, group: &[Vec<Vec<u8>>], faults: &mut BTreeMap<String, String>) {
    for batch in group.chunks(64) {
        let mut commands: Vec<Vec<Vec<u8>>> = DATA.iter().map(|line| request(line)).collect();
        let transaction = |word: &str| row.blocks.then(|| request(word));
        for args in batch {
            commands.extend(transaction("MULTI"));
            commands.push(args.clone());
            commands.extend(transaction("EXEC"));
        }
        // Back from a database, or a transaction, that an argument chose.
        commands.extend(["DISCARD", "SELECT 0"].map(request));
        let history: Vec<Step> = commands.iter().cloned().map(Step::Command).collect();
        for answer in pair.run(&commands) {
            if pair.agrees(&history, &answer) {
                continue;
            }
            let ours = answer.ours.as_ref().map_or("nothing".into(), |reply| text::render(&reply.value));
            let report = format!(
                "{}\n  redis:     {}\n  peregrine: {ours}",
                text::command(&answer.args),
                text::render(&answer.real.value)
            );
            faults.entry(signature(&answer.args, &answer)).or_insert(report);
        }
    }
}

#[test]
fn numbers_at_every_boundary_are_answered_as_redis_does() {
    let options = Options::from_env(0, "2", &[]);
    let (ours, real) = (options.start(), Server::oracle(&options.directives));
    let (mut faults, mut seen, mut sent) = (BTreeMap::new(), HashSet::new(), 0);
    for row in rows::all().into_iter().filter(Row::is_sent) {
        let mut pair = Pair::fresh(&real, &ours, 2 + (seen.len() % 2) as u8).unwrap();
        for mut group in requests(&row) {
            group.retain(|args| seen.insert(args.clone()));
            sent += group.len();
            compare(&mut pair, &row, &group, &mut faults);
        }
    }
    println!("boundaries: {sent} requests");
    assert!(sent > 5000, "{sent} requests are too few to mean anything");
    assert!(!ours.log().contains("BUG"), "{}", ours.log());
    let reports: Vec<_> = faults.into_values().collect();
    assert!(reports.is_empty(), "{} differences:\n{}", reports.len(), reports.join("\n"));
}
