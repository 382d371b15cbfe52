//! Do both servers hold the same data? Every key's type, encoding, time to live and contents, then the digests.

use super::generate::Step;
use super::normalise::Verdict;
use super::{Answers, Pair};

/// The commands that show a difference of state and the answers to the last of them; `None` if there is none.
pub fn compare(pair: &mut Pair, history: &[Step]) -> Option<(Vec<Vec<Vec<u8>>>, Answers)> {
    for db in ["0", "1"] {
        let select = words(&["SELECT", db]);
        pair.run(std::slice::from_ref(&select));
        // SCAN removes the expired keys that it meets; the digests would count them.
        let keys = words(&["SCAN", "0", "COUNT", "10000"]);
        let answer = pair.run(std::slice::from_ref(&keys)).pop()?;
        let mut names: Vec<_> = answer.real.value.items()?[1].items()?.iter().map(|v| v.text()).collect();
        names.sort();
        if answer.verdict != Verdict::Same {
            return Some((vec![select, keys], answer));
        }
        for name in &names {
            let kind = pair.real.cmd(&format!("TYPE {name}")).text();
            for check in checks(name, &kind) {
                let answer = pair.run(std::slice::from_ref(&check)).pop()?;
                if !pair.agrees(history, &answer) {
                    return Some((vec![select, check], answer));
                }
            }
        }
    }
    let digest = words(&["DEBUG", "DIGEST"]);
    let answer = pair.run(std::slice::from_ref(&digest)).pop()?;
    (answer.verdict != Verdict::Same).then(|| (vec![digest], answer))
}

fn checks(key: &str, kind: &str) -> Vec<Vec<Vec<u8>>> {
    let mut checks = vec![words(&["TYPE", key]), words(&["OBJECT", "ENCODING", key]), words(&["PTTL", key])];
    match kind {
        "string" => checks.push(words(&["GET", key])),
        "list" => checks.push(words(&["LRANGE", key, "0", "-1"])),
        "set" => checks.push(words(&["SMEMBERS", key])),
        "zset" => checks.push(words(&["ZRANGE", key, "0", "-1", "WITHSCORES"])),
        "hash" => checks.push(words(&["HGETALL", key])),
        "stream" => checks.push(words(&["XINFO", "STREAM", key, "FULL", "COUNT", "0"])),
        _ => {}
    }
    checks
}

fn words(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|w| w.as_bytes().to_vec()).collect()
}
