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
    /// Integers above a thousand, by 5 seconds of milliseconds or 5 of seconds: what is left of a TTL.
    Remaining,
    /// Idle times and delivery times in the replies about consumer groups.
    Idle,
    /// Everything: the reply describes the server, not the data.
    Anything,
}

/// Command, first argument (or `*`), what may differ. The first row that matches counts.
const RULES: &[(&str, &str, Rule)] = &[
    ("SMEMBERS", "*", Rule::Order),
    ("SINTER", "*", Rule::Order),
    // The real server gathers unions and differences in a hash table, whatever the sources are.
    ("SUNION", "*", Rule::AnyOrder),
    ("SDIFF", "*", Rule::AnyOrder),
    ("SSCAN", "*", Rule::Order),
    ("SORT", "*", Rule::Order),
    ("SORT_RO", "*", Rule::Order),
    ("HGETALL", "*", Rule::Order),
    ("HKEYS", "*", Rule::Order),
    ("HVALS", "*", Rule::Order),
    ("HSCAN", "*", Rule::Order),
    ("ZSCAN", "*", Rule::Order),
    ("KEYS", "*", Rule::AnyOrder),
    ("SCAN", "*", Rule::AnyOrder),
    ("SPOP", "*", Rule::Shape),
    ("SRANDMEMBER", "*", Rule::Shape),
    ("HRANDFIELD", "*", Rule::Shape),
    ("ZRANDMEMBER", "*", Rule::Shape),
    ("RANDOMKEY", "*", Rule::Shape),
    ("TIME", "*", Rule::Shape),
    ("TTL", "*", Rule::Remaining),
    ("PTTL", "*", Rule::Remaining),
    ("EXPIRETIME", "*", Rule::Remaining),
    ("PEXPIRETIME", "*", Rule::Remaining),
    ("HTTL", "*", Rule::Remaining),
    ("HPTTL", "*", Rule::Remaining),
    ("HEXPIRETIME", "*", Rule::Remaining),
    ("HPEXPIRETIME", "*", Rule::Remaining),
    ("XPENDING", "*", Rule::Idle),
    ("XINFO", "CONSUMERS", Rule::Idle),
    ("XINFO", "STREAM", Rule::Idle),
    ("CONFIG", "GET", Rule::AnyOrder),
    ("PUBSUB", "CHANNELS", Rule::AnyOrder),
    ("PUBSUB", "SHARDCHANNELS", Rule::AnyOrder),
    ("ACL", "CAT", Rule::AnyOrder),
    ("COMMAND", "LIST", Rule::AnyOrder),
    ("COMMAND", "GETKEYS", Rule::Exact),
    ("COMMAND", "*", Rule::Anything),
    ("HELLO", "*", Rule::Anything),
    ("LOLWUT", "*", Rule::Anything),
];

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
    let same =
        |word: &str, arg: Option<&Vec<u8>>| arg.is_some_and(|a| a.eq_ignore_ascii_case(word.as_bytes()));
    let row = RULES.iter().find(|(command, first, _)| {
        same(command, args.first()) && (*first == "*" || same(first, args.get(1)))
    });
    row.map_or(Rule::Exact, |(_, _, rule)| *rule)
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
        Rule::Anything => Verdict::Same,
        Rule::Shape => same(shape(real) == shape(ours)),
        Rule::AnyOrder => same(sorted(real) == sorted(ours)),
        Rule::Order if sorted(real) == sorted(ours) => Verdict::OrderOnly,
        Rule::Order => Verdict::Different,
        Rule::Remaining => same(near(real, ours)),
        Rule::Idle => same(idle(real, ours)),
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
                <= if *a > 1_000_000 && *a < 1_000_000_000 || *a > 100_000_000_000 { 5000 } else { 5 }
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
