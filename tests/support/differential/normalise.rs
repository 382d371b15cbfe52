//! Which differences between two servers mean nothing? Those that `RULES` declares, and no others.
//!
//! A reply is compared byte for byte first; a rule is asked only when the bytes differ. Order is forgiven only
//! where the real server hashes (see `order`): what lives in a listpack or an intset has an order that
//! programs can see, and we keep it.

use super::super::resp::Value;

/// What may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Nothing.
    Exact,
    /// The order of the items (or of the pairs, when the reply is flat field-value text) if the value is hashed.
    Order,
    /// The order of the items, always: the order of keys is nobody's promise.
    AnyOrder,
    /// The values, but not their types or their number.
    Shape,
    /// A serialized value: its type always, its bytes unless it is hashed or holds times.
    Payload,
    /// Integers above a thousand, by 5 seconds of milliseconds or 5 of seconds: what is left of a TTL.
    Remaining,
    /// Idle times and delivery times in the replies about consumer groups.
    Idle,
    /// Everything: the reply describes the server, not the data. An error is still the same error.
    Anything,
    /// It is not sent by random tests.
    NotSent,
}

/// Command, first argument (or `*`), what may differ, and why. The first row that matches counts.
const RULES: &[(&str, &str, Rule, &str)] = &[
    ("*", "HELP", Rule::Anything, "words are our own"),
    ("DUMP", "*", Rule::Payload, "the order of a hash table; times of fields and consumers"),
    ("SMEMBERS", "*", Rule::Order, HASHED),
    ("SINTER", "*", Rule::Order, HASHED),
    ("SUNION", "*", Rule::AnyOrder, "gathered in a hash table, whatever the sources are"),
    ("SDIFF", "*", Rule::AnyOrder, "as SUNION"),
    ("SSCAN", "*", Rule::Order, HASHED),
    ("SORT", "*", Rule::Order, HASHED),
    ("SORT_RO", "*", Rule::Order, HASHED),
    ("HGETALL", "*", Rule::Order, HASHED),
    ("HKEYS", "*", Rule::Order, HASHED),
    ("HVALS", "*", Rule::Order, HASHED),
    ("HSCAN", "*", Rule::Order, HASHED),
    ("ZSCAN", "*", Rule::Order, HASHED),
    ("KEYS", "*", Rule::AnyOrder, HASHED),
    ("SCAN", "*", Rule::AnyOrder, HASHED),
    ("SPOP", "*", Rule::Shape, RANDOM),
    ("SRANDMEMBER", "*", Rule::Shape, RANDOM),
    ("HRANDFIELD", "*", Rule::Shape, RANDOM),
    ("ZRANDMEMBER", "*", Rule::Shape, RANDOM),
    ("RANDOMKEY", "*", Rule::Shape, RANDOM),
    ("TIME", "*", Rule::Shape, CLOCK),
    ("LASTSAVE", "*", Rule::Shape, CLOCK),
    ("DBSIZE", "*", Rule::Shape, "expired keys count until the sweep has met them, on either side"),
    ("TTL", "*", Rule::Remaining, CLOCK),
    ("PTTL", "*", Rule::Remaining, CLOCK),
    ("EXPIRETIME", "*", Rule::Remaining, CLOCK),
    ("PEXPIRETIME", "*", Rule::Remaining, CLOCK),
    ("HTTL", "*", Rule::Remaining, CLOCK),
    ("HPTTL", "*", Rule::Remaining, CLOCK),
    ("HEXPIRETIME", "*", Rule::Remaining, CLOCK),
    ("HPEXPIRETIME", "*", Rule::Remaining, CLOCK),
    ("OBJECT", "IDLETIME", Rule::Shape, CLOCK),
    ("XPENDING", "*", Rule::Idle, CLOCK),
    ("XINFO", "CONSUMERS", Rule::Idle, CLOCK),
    ("XINFO", "STREAM", Rule::Idle, CLOCK),
    ("CONFIG", "GET", Rule::AnyOrder, HASHED),
    ("CONFIG", "RESETSTAT", Rule::Exact, ""),
    (
        "CONFIG",
        "*",
        Rule::NotSent,
        "what is set stays set for later epochs; the tests of src/config compare it",
    ),
    ("PUBSUB", "CHANNELS", Rule::AnyOrder, HASHED),
    ("PUBSUB", "SHARDCHANNELS", Rule::AnyOrder, HASHED),
    ("ACL", "CAT", Rule::Anything, "the sets of commands differ by those that are newer, and by vector sets"),
    ("MSETEX", "*", Rule::NotSent, NEWER),
    ("DELEX", "*", Rule::NotSent, NEWER),
    ("DIGEST", "*", Rule::NotSent, NEWER),
    ("ACL", "GENPASS", Rule::Shape, RANDOM),
    ("ACL", "LOG", Rule::NotSent, CLOCK),
    ("ACL", "SETUSER", Rule::NotSent, LASTING),
    ("ACL", "DELUSER", Rule::NotSent, LASTING),
    ("ACL", "LOAD", Rule::NotSent, LASTING),
    ("ACL", "SAVE", Rule::NotSent, LASTING),
    ("AUTH", "*", Rule::NotSent, LASTING),
    ("HELLO", "*", Rule::NotSent, LASTING),
    ("RESET", "*", Rule::NotSent, LASTING),
    ("COMMAND", "GETKEYS", Rule::Exact, ""),
    ("COMMAND", "GETKEYSANDFLAGS", Rule::Exact, ""),
    ("COMMAND", "*", Rule::Anything, "tests/commands.rs compares the rows; words are our own"),
    ("LOLWUT", "*", Rule::Anything, "a picture"),
    ("INFO", "*", Rule::Anything, SERVER),
    ("ROLE", "*", Rule::Shape, SERVER),
    ("CLIENT", "ID", Rule::Shape, SERVER),
    ("CLIENT", "INFO", Rule::Anything, SERVER),
    ("CLIENT", "LIST", Rule::Anything, SERVER),
    ("CLIENT", "KILL", Rule::NotSent, FRAMES),
    ("CLIENT", "PAUSE", Rule::NotSent, FRAMES),
    ("CLIENT", "REPLY", Rule::NotSent, FRAMES),
    ("CLIENT", "TRACKING", Rule::NotSent, FRAMES),
    ("CLUSTER", "*", Rule::Exact, ""),
    ("MEMORY", "USAGE", Rule::Shape, "our structures have their own sizes"),
    ("MEMORY", "DOCTOR", Rule::Anything, SERVER),
    ("MEMORY", "STATS", Rule::Anything, SERVER),
    ("MEMORY", "MALLOC-STATS", Rule::Anything, SERVER),
    ("SLOWLOG", "GET", Rule::Anything, CLOCK),
    ("SLOWLOG", "LEN", Rule::Shape, CLOCK),
    ("LATENCY", "DOCTOR", Rule::Anything, CLOCK),
    ("LATENCY", "HISTOGRAM", Rule::Anything, CLOCK),
    ("LATENCY", "HISTORY", Rule::Anything, CLOCK),
    ("LATENCY", "LATEST", Rule::Anything, CLOCK),
    ("LATENCY", "RESET", Rule::Shape, CLOCK),
    ("MODULE", "LIST", Rule::Anything, "the real server has a built-in module"),
    ("FUNCTION", "DUMP", Rule::Anything, "libraries are listed in the order of a hash table"),
    ("FUNCTION", "LIST", Rule::AnyOrder, HASHED),
    ("FUNCTION", "STATS", Rule::Exact, ""),
    ("SCRIPT", "DEBUG", Rule::NotSent, "turns a connection into a debugger's"),
    ("DEBUG", "DIGEST", Rule::Exact, ""),
    ("DEBUG", "*", Rule::NotSent, "its subcommands are no interface; transcripts have those that tests use"),
    ("SAVE", "*", Rule::NotSent, DISK),
    ("BGSAVE", "*", Rule::NotSent, DISK),
    ("BGREWRITEAOF", "*", Rule::NotSent, DISK),
    ("SHUTDOWN", "*", Rule::NotSent, FRAMES),
    ("QUIT", "*", Rule::NotSent, FRAMES),
    ("MONITOR", "*", Rule::NotSent, FRAMES),
    ("SUBSCRIBE", "*", Rule::NotSent, FRAMES),
    ("PSUBSCRIBE", "*", Rule::NotSent, FRAMES),
    ("SSUBSCRIBE", "*", Rule::NotSent, FRAMES),
    ("UNSUBSCRIBE", "*", Rule::NotSent, FRAMES),
    ("PUNSUBSCRIBE", "*", Rule::NotSent, FRAMES),
    ("SUNSUBSCRIBE", "*", Rule::NotSent, FRAMES),
    ("SYNC", "*", Rule::NotSent, REPLICA),
    ("PSYNC", "*", Rule::NotSent, REPLICA),
    ("REPLCONF", "*", Rule::NotSent, REPLICA),
    ("REPLICAOF", "*", Rule::NotSent, REPLICA),
    ("SLAVEOF", "*", Rule::NotSent, REPLICA),
    ("FAILOVER", "*", Rule::NotSent, REPLICA),
    ("MIGRATE", "*", Rule::NotSent, "needs a third server"),
    ("PFDEBUG", "*", Rule::NotSent, "no interface; it may not be asked of keys that are no HyperLogLog"),
    ("PFSELFTEST", "*", Rule::NotSent, "takes the real server seconds"),
    ("DISCARD", "*", Rule::Exact, ""),
];

const HASHED: &str = "the order of a hash table";
const RANDOM: &str = "chance";
const CLOCK: &str = "the clock";
const SERVER: &str = "describes the server, not the data";
const LASTING: &str = "changes what later epochs start from; transcripts have it";
const FRAMES: &str = "ends the connection, or replies no longer match requests; transcripts have it";
const REPLICA: &str = "the tests of replication have it";
const NEWER: &str = "came after 8.2.3";
const DISK: &str = "the tests of durability have it";

/// Rows of the table that declare something and say no reason for it.
pub fn without_reason() -> Vec<&'static str> {
    RULES.iter().filter(|row| row.2 != Rule::Exact && row.3.is_empty()).map(|row| row.0).collect()
}

/// The rule of a command.
pub fn rule(args: &[Vec<u8>]) -> Rule {
    // Where a scan stops is the server's business, unless it was asked for everything at once.
    let name = args[0].to_ascii_uppercase();
    let from_start = |at: usize| args.get(at).is_some_and(|cursor| cursor == b"0");
    let whole = from_start(if name == b"SCAN" { 1 } else { 2 }) && args.iter().any(|a| a == b"10000");
    if name.ends_with(b"SCAN") && !whole {
        return Rule::Anything;
    }
    let has = |word: &[u8]| args.iter().any(|a| a.eq_ignore_ascii_case(word));
    // A part of an order that a hashed set leaves open is any part of it.
    if name.starts_with(b"SORT") && has(b"nosort") && has(b"limit") {
        return Rule::Shape;
    }
    let same = |word: &str, arg: Option<&Vec<u8>>| {
        word == "*" || arg.is_some_and(|a| a.eq_ignore_ascii_case(word.as_bytes()))
    };
    let row =
        RULES.iter().find(|(command, first, ..)| same(command, args.first()) && same(first, args.get(1)));
    row.map_or(Rule::Exact, |(_, _, rule, _)| *rule)
}

/// How two replies compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The same, or different as declared.
    Same,
    /// The same but for the order of a value that should be hashed for this to be right.
    OrderOnly,
    /// Different.
    Different,
}

/// Compares the replies to one command, which may be items of an EXEC's reply.
pub fn compare_values(args: &[Vec<u8>], real: &Value, ours: &Value) -> Verdict {
    let same = |yes: bool| if yes { Verdict::Same } else { Verdict::Different };
    if real == ours {
        return Verdict::Same;
    }
    if real.is_error() || ours.is_error() {
        return Verdict::Different;
    }
    match rule(args) {
        Rule::Exact => Verdict::Different,
        Rule::Anything | Rule::NotSent => Verdict::Same,
        Rule::Shape => same(shape(real) == shape(ours)),
        Rule::AnyOrder => same(sorted(real) == sorted(ours)),
        Rule::Order if sorted(real) == sorted(ours) => Verdict::OrderOnly,

        Rule::Order => Verdict::Different,
        Rule::Payload => payload(real, ours),
        Rule::Remaining => same(near(real, ours)),
        Rule::Idle => same(idle(real, ours)),
    }
}

/// Numbers of the RDB types whose payloads hold times: streams with consumers, and hashes with fields that end.
const TIMED: [u8; 5] = [15, 19, 21, 24, 25];

fn payload(real: &Value, ours: &Value) -> Verdict {
    match (real, ours) {
        (Value::Bulk(a), Value::Bulk(b)) if a.first() == b.first() => match a.first() {
            Some(kind) if TIMED.contains(kind) => Verdict::Same,
            _ => Verdict::OrderOnly,
        },
        _ => Verdict::Different,
    }
}

/// A copy with every group's items in order. Flat field-value lists are sorted by pairs where they are even:
/// sorting single items would forgive a value that moved to another field.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(items) if items.iter().any(|v| v.items().is_some()) => {
            // [cursor, [items]] of the SCAN family, or a list of pairs.
            let mut items: Vec<_> = items.iter().map(sorted).collect();
            if items.len() != 2 || items[0].items().is_some() {
                items.sort();
            }
            Value::Array(items)
        }
        Value::Array(items) | Value::Set(items) => {
            let mut items = items.clone();
            items.sort();
            Value::Array(items)
        }
        Value::Map(pairs) => {
            let mut pairs = pairs.clone();
            pairs.sort();
            Value::Map(pairs)
        }
        other => other.clone(),
    }
}

fn shape(value: &Value) -> String {
    match value {
        Value::Array(v) | Value::Set(v) => {
            // Random picks with a positive count are distinct, so the number of items is known; what they hold is not.
            format!("{}{:?}", v.len(), v.first().map(shape))
        }
        other => format!("{:?}", std::mem::discriminant(other)),
    }
}

fn near(real: &Value, ours: &Value) -> bool {
    match (real, ours) {
        (Value::Int(a), Value::Int(b)) if *a > 1000 && *b > 1000 => {
            (a - b).abs()
                <= if *a > 1_000_000 && *a < 1_000_000_000 || *a > 10_000_000_000 { 5000 } else { 5 }
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| near(a, b)),
        _ => real == ours,
    }
}

/// Equal but for integers that are times: after the names of idle times, in the idle place of an XPENDING row,
/// and milliseconds since 1970 everywhere.
fn idle(real: &Value, ours: &Value) -> bool {
    let close =
        |a: &Value, b: &Value| matches!((a, b), (Value::Int(a), Value::Int(b)) if (a - b).abs() <= 5000);
    let epoch = |v: &Value| matches!(v, Value::Int(n) if *n > 1_000_000_000_000);
    match (real, ours) {
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let row = a.len() == 4 && matches!(a[1], Value::Bulk(_)) && matches!(a[3], Value::Int(_));
            (0..a.len()).all(|i| {
                let named = i > 0 && is_time_name(&a[i - 1]) && a[i - 1] == b[i - 1];
                idle(&a[i], &b[i]) || ((named || row && i == 2) && close(&a[i], &b[i]))
            })
        }
        (Value::Map(a), Value::Map(b)) if a.len() == b.len() => a
            .iter()
            .zip(b)
            .all(|((ka, va), (kb, vb))| ka == kb && (idle(va, vb) || is_time_name(ka) && close(va, vb))),
        (a, b) => a == b || epoch(a) && epoch(b) && close(a, b),
    }
}

fn is_time_name(value: &Value) -> bool {
    ["idle", "inactive", "seen-time", "active-time"].iter().any(|n| value.bytes() == Some(n.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::super::super::resp::parse;
    use super::*;

    fn verdict(command: &str, real: &str, ours: &str) -> Verdict {
        let args: Vec<Vec<u8>> = command.split(' ').map(|w| w.as_bytes().to_vec()).collect();
        let value = |text: &str| parse(text.as_bytes()).unwrap().unwrap().0;
        compare_values(&args, &value(real), &value(ours))
    }

    #[test]
    fn what_may_differ_has_a_reason() {
        assert_eq!(without_reason(), Vec::<&str>::new());
    }

    #[test]
    fn only_declared_differences_are_forgiven() {
        let (ab, ba) = ("*2\r\n+a\r\n+b\r\n", "*2\r\n+b\r\n+a\r\n");
        assert_eq!(verdict("SMEMBERS s", ab, ba), Verdict::OrderOnly);
        assert_eq!(verdict("KEYS *", ab, ba), Verdict::Same);
        assert_eq!(verdict("LRANGE l 0 -1", ab, ba), Verdict::Different);
        assert_eq!(verdict("SMEMBERS s", ab, "*2\r\n+a\r\n+c\r\n"), Verdict::Different);
        assert_eq!(verdict("TTL k", ":5000\r\n", ":4999\r\n"), Verdict::Same);
        assert_eq!(verdict("TTL k", ":5000\r\n", ":4000\r\n"), Verdict::Different);
        assert_eq!(verdict("TTL k", ":-1\r\n", ":-2\r\n"), Verdict::Different);
        assert_eq!(verdict("GET k", ":1\r\n", "$1\r\n1\r\n"), Verdict::Different);
        assert_eq!(verdict("SPOP s", "$1\r\na\r\n", "$-1\r\n"), Verdict::Different);
        let row = |idle: u32, count: u32| format!("*1\r\n*4\r\n+1-1\r\n$1\r\nc\r\n:{idle}\r\n:{count}\r\n");
        assert_eq!(verdict("XPENDING s g - + 1", &row(1, 1), &row(3, 1)), Verdict::Same);
        assert_eq!(verdict("XPENDING s g - + 1", &row(1, 1), &row(1, 2)), Verdict::Different);
    }
}
