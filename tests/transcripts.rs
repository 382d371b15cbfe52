//! Does every family answer as its transcript says, here and in the real server? See `support/transcript.rs`.
//!
//! Each file is played to Redis 8.2.3 (`redis::`) and to Peregrine (`peregrine::`). `UPDATE=1` writes what the real
//! server answers into the files instead; read the difference before you commit it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::path::Path;
use support::server::Server;
use support::transcript;

/// What Redis 8.2.3 does not have: only Peregrine is asked.
#[test]
fn beyond_strings() {
    play("../beyond/strings", &Server::peregrine, false);
}

fn play(name: &str, start: &dyn Fn(&[&str]) -> Server, update: bool) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/transcripts/{name}.txt"));
    let faults = transcript::play(&path, start, update);
    assert!(faults.is_empty(), "{}: {} faults\n{}", path.display(), faults.len(), faults.join("\n"));
}

macro_rules! transcripts {
    ($($name:ident)* ; not yet: $($later:ident)*) => {
        const NAMES: &[&str] = &[$(stringify!($name),)* $(stringify!($later)),*];
        mod redis {
            use super::*;
            $(#[test] fn $name() { play(stringify!($name), &Server::oracle, std::env::var_os("UPDATE").is_some()); })*
            $(#[test] fn $later() { play(stringify!($later), &Server::oracle, std::env::var_os("UPDATE").is_some()); })*
        }
        mod peregrine {
            use super::*;
            $(#[test] fn $name() { play(stringify!($name), &Server::peregrine, false); })*
            $(#[test] #[ignore = "has commands that are not there yet"] fn $later() { play(stringify!($later), &Server::peregrine, false); })*
        }
    };
}

transcripts! {
    strings bitmaps bitfield hashes hashttl lists sets zsets streams groups hll geo keys expire sort pubsub multi
    blocking scripting functions acl introspection cluster overdue connection protocol
    migrate;
    not yet:
}

#[test]
fn every_file_is_played() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut files: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|f| f.unwrap().file_name().into_string().unwrap())
        .filter_map(|f| f.strip_suffix(".txt").map(String::from))
        .collect();
    files.sort();
    let mut names: Vec<_> = NAMES.iter().map(|n| n.to_string()).collect();
    names.sort();
    assert_eq!(files, names);
}

#[test]
fn placeholders_match_what_they_say() {
    use transcript::matches;
    assert!(matches("[ \"a\" <any> :2 ]", "[ \"a\" [ :1 [ ] ] :2 ]"));
    assert!(!matches("[ \"a\" <any> :2 ]", "[ \"a\" [ :1 [ ] ] :3 ]"));
    assert!(matches("[ \"a\" <...> ]", "[ \"a\" :1 [ :2 ] ]"));
    assert!(matches("{ \"n\" => :1..5 <...> }", "{ \"n\" => :5 \"m\" => \"x y\" }"));
    assert!(!matches(":1..5", ":6"));
    assert!(matches("like\"*version:8.2.*\"", "\"redis version:8.2.3\""));
    assert!(!matches("like\"*version:8.2.*\"", "\"redis version:7.2.3\""));
    assert!(matches("-ERR x <any>", "-ERR x y z"));
    assert!(!matches("<int>", "\"1\""));
    assert!(!matches("[ ]", "[ ] :1"));
}
