//! When is another order of the same items right? When the real server hashed them, now or on their way here.
//!
//! A set or a hash that is hashed has no order to keep. Neither has a small set that `SINTERSTORE` and its kin
//! gathered from hashed ones, nor any copy of it: such keys are found by reading the epoch's commands again.

use super::generate::Step;
use super::{Answers, Pair, command_of};
use crate::support::resp::Value;
use std::collections::HashSet;

/// Whether the order that differs in `answers` is open, after `history` (the command itself included).
pub fn is_open(pair: &mut Pair, history: &[Step], answers: &Answers) -> bool {
    let gathered = gathered(history);
    let args = &answers.args;
    args[1..].iter().any(|a| gathered.contains(a)) || hashed(pair, args, &answers.real.value)
}

/// The keys whose order comes from a hash table by way of a command that stores a set.
fn gathered(history: &[Step]) -> HashSet<Vec<u8>> {
    let mut keys = HashSet::new();
    for args in history.iter().filter_map(command_of) {
        let (Some(first), second) = (args.get(1), args.get(2)) else { continue };
        match args[0].to_ascii_uppercase().as_slice() {
            b"SINTERSTORE" | b"SUNIONSTORE" | b"SDIFFSTORE" => drop(keys.insert(first.clone())),
            b"COPY" | b"RENAME" | b"RENAMENX" if keys.contains(first) => {
                keys.extend(second.cloned());
            }
            _ => {}
        }
    }
    keys
}

/// Whether the real server hashes a value that the command reads, or the reply is too long for a compact one.
fn hashed(pair: &mut Pair, args: &[Vec<u8>], real: &Value) -> bool {
    let long = |v: &Value| v.items().is_some_and(|i| i.len() > 256 || i.iter().any(|v| v.text().len() > 64));
    if long(real) || real.items().is_some_and(|i| i.iter().any(long)) {
        return true;
    }
    args[1..].iter().any(|key| {
        let encoding = pair.real.try_call(&[&b"OBJECT"[..], b"ENCODING", key]);
        // A key that is gone by now (the rest of a pipeline or an EXEC ran) cannot be asked.
        encoding.is_ok_and(|e| e.is_null() || ["hashtable", "skiplist"].contains(&e.text().as_str()))
    })
}
