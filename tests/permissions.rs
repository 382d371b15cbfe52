//! Does a user reach nothing but what its rules allow? Random commands of every family and of the whole table, by a user
//! with two keys of each type, next to keys that it must neither see nor touch.
//!
//! This is the proof that the keys which are judged are all the keys that a command works on: what a handler touched
//! beyond them would show as a changed or leaked secret.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use support::client::Client;
use support::differential::generate::{Generator, Step, families};
use support::differential::rows;
use support::server::Server;

/// What the keys hold that are out of reach.
const SECRET: &str = "S3CR3T";
/// The keys that the user has nothing to do with: the last digits of their names.
const HIDDEN: [u8; 4] = [2, 3, 4, 5];
/// Commands that would end the test, or that have the server at heart and not its keys.
const RULES: &str =
    "on nopass ~*:0 ~*:1 +@all -@dangerous +sort +sort_ro +restore -@connection +ping +echo -script";

fn words(line: &str) -> Vec<Vec<u8>> {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

fn ask(client: &mut Client, line: &str) -> String {
    client.send(&words(line)).unwrap();
    String::from_utf8_lossy(&client.read().unwrap().raw).into_owned()
}

/// Fills the hidden keys, one of each type for each number.
fn hide(admin: &mut Client) {
    for i in HIDDEN {
        for line in [
            format!("SET str:{i} {SECRET}"),
            format!("SET bit:{i} {SECRET}"),
            format!("HSET hash:{i} {SECRET} {SECRET}"),
            format!("RPUSH list:{i} {SECRET} {SECRET}"),
            format!("SADD set:{i} {SECRET}"),
            format!("ZADD zset:{i} 1 {SECRET}"),
            format!("ZADD lexset:{i} 0 {SECRET}"),
            format!("XADD stream:{i} 1-1 {SECRET} {SECRET}"),
            format!("PFADD hll:{i} {SECRET}"),
            format!("GEOADD geo:{i} 13 38 {SECRET}"),
        ] {
            assert!(ask(admin, &line).starts_with([':', '+', '$']), "{line}");
        }
        assert_eq!(ask(admin, &format!("XGROUP CREATE stream:{i} g0 0")), "+OK\r\n");
    }
}

fn digest(admin: &mut Client) -> String {
    let types = ["str", "bit", "hash", "list", "set", "zset", "lexset", "stream", "hll", "geo"];
    let names = types.iter().flat_map(|kind| HIDDEN.map(|i| format!("{kind}:{i}")));
    ask(admin, &format!("DEBUG DIGEST-VALUE {}", names.collect::<Vec<_>>().join(" ")))
}

/// Plays random commands as the user, and says what came out that should not have.
fn play(generator: Generator, commands: usize) {
    let mut generator = generator;
    let server = Server::peregrine(&["--enable-debug-command", "yes"]);
    let mut admin = server.connect();
    hide(&mut admin);
    let before = digest(&mut admin);
    assert_eq!(ask(&mut admin, &format!("ACL SETUSER guest {RULES}")), "+OK\r\n");
    let mut guest = server.connect();
    assert_eq!(ask(&mut guest, "AUTH guest x"), "+OK\r\n");
    let (mut sent, mut ran) = (0, 0);
    while sent < commands {
        for step in generator.next() {
            let Step::Command(args) = step else { continue };
            // What may be asked by everybody, whatever the rules say, would make another user of it.
            if ["AUTH", "HELLO", "RESET", "QUIT"]
                .iter()
                .any(|name| args[0].eq_ignore_ascii_case(name.as_bytes()))
            {
                continue;
            }
            sent += 1;
            guest.send(&args).unwrap();
            let raw = guest.read().unwrap().raw;
            ran += usize::from(raw.first() != Some(&b'-'));
            let leaked = raw.windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
            let shown: Vec<_> = args.iter().map(|arg| String::from_utf8_lossy(arg)).collect();
            assert!(!leaked, "{} read what is hidden", shown.join(" "));
            if sent % 64 == 0 {
                assert_eq!(
                    digest(&mut admin),
                    before,
                    "one of the last 64 commands, before {}",
                    shown.join(" ")
                );
            }
        }
    }
    assert_eq!(digest(&mut admin), before);
    assert!(ran > sent / 20, "of {sent} commands only {ran} were not refused");
    let names = ask(&mut admin, "KEYS *");
    let own = |name: &str| name.ends_with(":0") || name.ends_with(":1");
    let hidden = |name: &str| HIDDEN.iter().any(|i| name.ends_with(&format!(":{i}")));
    let stray: Vec<_> =
        names.lines().filter(|l| !l.starts_with(['*', '$'])).filter(|n| !own(n) && !hidden(n)).collect();
    assert!(stray.is_empty(), "keys were made outside of what is allowed: {stray:?}");
}

/// Row PR#15371: who hears of every change in broadcast mode hears only of keys that its user may read.
#[test]
fn broadcasts_name_only_keys_that_may_be_read() {
    let server = Server::peregrine(&[]);
    let mut admin = server.connect();
    ask(&mut admin, "ACL SETUSER guest on nopass +@all %R~open:* %W~box:* (%R~extra +client)");
    let mut guest = server.connect();
    guest.send(&words("HELLO 3 AUTH guest x")).unwrap();
    guest.read().unwrap();
    assert_eq!(ask(&mut guest, "CLIENT TRACKING ON BCAST"), "+OK\r\n");
    ask(&mut admin, "MSET secret 1 open:1 1 box:1 1 extra 1");
    ask(&mut admin, "SET secret 2");
    ask(&mut admin, "SET open:2 2");
    let mut heard = || String::from_utf8_lossy(&guest.read().unwrap().raw).replace("\r\n", " ");
    assert_eq!(heard(), ">2 $10 invalidate *2 $5 extra $6 open:1 ");
    assert_eq!(heard(), ">2 $10 invalidate *1 $6 open:2 ");
    // What it may not read any more, it does not hear of any more.
    ask(&mut admin, "ACL SETUSER guest resetkeys ~other");
    ask(&mut admin, "SET open:3 3");
    ask(&mut admin, "SET other 3");
    assert_eq!(heard(), ">2 $10 invalidate *1 $5 other ");
}

#[test]
fn families_stay_within_their_keys() {
    play(Generator::new(7, families(), Vec::new()), 6_000);
}

#[test]
fn every_command_of_the_table_stays_within_its_keys() {
    let rows: Vec<_> = rows::all().into_iter().filter(|row| row.is_sent()).collect();
    play(Generator::new(11, families(), rows), 10_000);
}
