//! How is a sequence of commands written? One to a line, quoted as for redis-cli, so that people can read what was found.

use peregrine::commands::FAMILIES;
use peregrine::util::quote;

/// A command's words.
pub type Words = Vec<Vec<u8>>;

/// Commands that one input may hold.
pub const MOST: usize = 64;

/// Commands that reach beyond the data (files, other servers, the process), or that make a run wait.
const OUT_OF_REACH: &[&str] = &[
    "acl load",
    "acl save",
    "bgrewriteaof",
    "bgsave",
    "client pause",
    "config rewrite",
    "config set",
    "debug",
    "failover",
    "migrate",
    "psync",
    "replconf",
    "replicaof",
    "save",
    "script debug",
    "shutdown",
    "slaveof",
    "sync",
];

/// What looks at data through DEBUG and changes nothing else.
const DEBUG: &[&str] = &[
    "digest",
    "digest-value",
    "htstats",
    "htstats-key",
    "listpack",
    "object",
    "protocol",
    "stringmatch-len",
];

/// Settings of how values are kept, which are put back behind each input.
pub const SETTINGS: &[(&str, &str)] = &[
    ("hash-max-listpack-entries", "128"),
    ("hash-max-listpack-value", "64"),
    ("list-compress-depth", "0"),
    ("list-max-listpack-size", "-2"),
    ("maxmemory-policy", "noeviction"),
    ("notify-keyspace-events", ""),
    ("set-max-intset-entries", "512"),
    ("set-max-listpack-entries", "128"),
    ("stream-node-max-bytes", "4096"),
    ("stream-node-max-entries", "100"),
    ("zset-max-listpack-entries", "128"),
    ("zset-max-listpack-value", "64"),
];

/// The commands of an input; lines that are none are passed over.
pub fn read(data: &[u8]) -> Vec<Words> {
    let lines = data.split(|b| *b == b'\n').filter_map(quote::split);
    lines.filter(|words| !words.is_empty()).take(MOST).collect()
}

/// The input that says these commands.
pub fn write(commands: &[Words]) -> Vec<u8> {
    let mut text = Vec::new();
    for words in commands {
        for (at, word) in words.iter().enumerate() {
            if at > 0 {
                text.push(b' ');
            }
            let plain = |b: &u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\'' | b'\\');
            if !word.is_empty() && word.iter().all(plain) {
                text.extend(word);
            } else {
                text.extend(quote::quoted(word));
            }
        }
        text.push(b'\n');
    }
    text
}

/// Whether a command may run here.
pub fn is_harmless(words: &[Vec<u8>]) -> bool {
    let lower = |at: usize| words.get(at).map(|word| word.to_ascii_lowercase()).unwrap_or_default();
    let (name, sub) = (lower(0), lower(1));
    if name == b"debug" {
        return DEBUG.iter().any(|allowed| sub == allowed.as_bytes());
    }
    if name == b"config" && sub == b"set" {
        let mut names = words.iter().skip(2).step_by(2);
        return names.all(|word| SETTINGS.iter().any(|(s, _)| word.eq_ignore_ascii_case(s.as_bytes())));
    }
    let both = [&name[..], b" ", &sub].concat();
    if OUT_OF_REACH.iter().any(|bad| name == bad.as_bytes() || both == bad.as_bytes()) {
        return false;
    }
    // Scripts that may not end are for the target `lua`, which can stop them.
    let runs = [&b"eval"[..], b"eval_ro", b"script", b"function"].contains(&&name[..]);
    !runs || !words.iter().any(|word| may_loop(word))
}

fn may_loop(code: &[u8]) -> bool {
    let has = |word: &[u8]| code.windows(word.len()).any(|w| w == word);
    // Of functions, one alone: it could call itself only by a name.
    has(b"while")
        || has(b"repeat")
        || has(b"for")
        || has(b"rep(")
        || has(b"local function")
        || has(b"migrate")
}

/// Whether a command's replies are messages, of which there are as many as there are names.
pub fn is_subscription(words: &[Vec<u8>]) -> bool {
    words.first().is_some_and(|name| name.to_ascii_lowercase().ends_with(b"subscribe"))
}

/// Every command and subcommand of the table, in capitals.
pub fn names() -> Vec<Words> {
    let mut names = Vec::new();
    for row in FAMILIES.iter().flat_map(|rows| rows.iter()) {
        let own = row.name.to_ascii_uppercase().into_bytes();
        if row.subcommands.is_empty() || row.admits(1) {
            names.push(vec![own.clone()]);
        }
        names.extend(
            row.subcommands.iter().map(|s| vec![own.clone(), s.name.to_ascii_uppercase().into_bytes()]),
        );
    }
    names
}
