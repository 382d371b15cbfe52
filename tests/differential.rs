//! Does Peregrine answer a random stream of commands as Redis 8.2.3 does? See `support/differential`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use support::differential::{Options, campaign, rows};

/// Every family with the limits that the real server starts with.
#[test]
fn with_default_limits() {
    campaign(Options::from_env(12_000, "1", &[]));
}

/// A command that is neither sent nor declared with a reason in `normalise` could differ unseen.
#[test]
fn every_command_of_the_table_is_sent() {
    let sent: Vec<_> = rows::all().into_iter().filter(|row| row.is_sent()).collect();
    for row in &sent {
        assert_eq!(row.template().name(), row.words[0].to_uppercase());
    }
    let not_sent: Vec<_> =
        rows::all().iter().filter(|row| !row.is_sent()).map(|r| r.words.join(" ")).collect();
    assert!(sent.len() > 250 && not_sent.len() < 60, "{} are sent, these are not: {not_sent:?}", sent.len());
}

/// Small limits, so that every value passes from its compact encoding to the large one, and back where it can.
#[test]
fn with_small_limits() {
    campaign(Options::from_env(
        12_000,
        "4",
        &[
            "--hash-max-listpack-entries",
            "6",
            "--hash-max-listpack-value",
            "12",
            "--set-max-intset-entries",
            "6",
            "--set-max-listpack-entries",
            "6",
            "--set-max-listpack-value",
            "12",
            "--zset-max-listpack-entries",
            "6",
            "--zset-max-listpack-value",
            "12",
            "--list-max-listpack-size",
            "4",
            "--stream-node-max-entries",
            "3",
            "--hll-sparse-max-bytes",
            "100",
        ],
    ));
}
