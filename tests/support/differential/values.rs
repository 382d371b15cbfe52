//! Which values do arguments take? Small ones that meet each other, and those at which parsers and ranges break.

use super::super::rng::Rng;

/// The names of the key classes.
pub const TYPES: [&str; 9] = ["str", "bit", "hash", "list", "set", "zset", "stream", "hll", "geo"];

/// Numbers that break parsers and ranges, none of which asks a real server for gigabytes.
pub const JUNK: [&str; 16] = [
    "",
    "abc",
    "-1",
    "0",
    "007",
    "+5",
    " 7",
    "1.5",
    "1e3",
    "nan",
    "-inf",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "18446744073709551616",
    "0x10",
];

/// Around zero and around every width that a number may be kept in.
pub const INTEGER_EDGES: [&str; 28] = [
    "0",
    "-0",
    "1",
    "-1",
    "+1",
    "01",
    " 1",
    "1 ",
    "0x1",
    "1e3",
    "1.0",
    "",
    "nan",
    "2147483647",
    "-2147483648",
    "2147483648",
    "-2147483649",
    "4294967295",
    "4294967296",
    "-4294967296",
    "9007199254740993",
    "9223372036854775806",
    "9223372036854775807",
    "-9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
];

/// What texts of doubles can look like.
pub const FLOAT_EDGES: [&str; 20] = [
    "0",
    "-0",
    "-0.0",
    "inf",
    "-inf",
    "+Infinity",
    "nan",
    "1e308",
    "1e400",
    "-1e400",
    "5e-324",
    "1e-400",
    "0x10",
    ".5",
    "5.",
    " 1",
    "1 ",
    "",
    "9007199254740993",
    "179.99999999999999999999999999999999999999999999999999",
];

const TIME_EDGES: [&str; 14] = [
    "0",
    "-1",
    "",
    "x",
    "1.5",
    "99999999999",
    "9007199254740993",
    "9223372036854775",
    "9223372036854776",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "-9223372036854775",
    " 100000",
];

const ID_EDGES: [&str; 14] = [
    "-",
    "+",
    "$",
    ">",
    "",
    "0",
    "0-0",
    "-1-0",
    "1-",
    "1-x",
    "(0",
    "18446744073709551615-18446744073709551615",
    "18446744073709551616-0",
    "(18446744073709551615-18446744073709551615",
];

/// A value of a class. Key classes are named after the type that usually lives there; a class with `~` at its end
/// is the class of that name, with numbers at which parsers and ranges break among its values.
pub fn draw(class: &str, rng: &mut Rng, clock: &mut u64) -> Vec<u8> {
    if let Some(class) = class.strip_suffix('~') {
        return match rng.chance(25) {
            true => edge(class, rng),
            false => draw(class, rng, clock),
        };
    }
    if TYPES.contains(&class) {
        let kind = if rng.chance(4) { *rng.pick(&TYPES) } else { class };
        return format!("{kind}:{}", rng.below(6)).into_bytes();
    }
    let text = match class {
        "lexset" => format!("lexset:{}", rng.below(3)),
        "any" => format!("{}:{}", rng.pick(&TYPES), rng.below(6)),
        "v" => return value(rng),
        "m" | "f" => return member(rng),
        "int" => integer(rng),
        "small" => rng.range(0, 6).to_string(),
        "idx" => rng.range(-12, 12).to_string(),
        "off" => rng.range(0, 140).to_string(),
        "bit" => rng.below(2).to_string(),
        "count" => rng.range(-3, 8).to_string(),
        "pos" => rng.range(1, 9).to_string(),
        "float" => float(rng),
        // Never for long: a shrunk history runs without the transactions that made them return at once.
        "timeout" => rng.pick(&["0.001", "0.001", "1e-3", "-1", "x", "nan", "1e400", ""]).to_string(),
        "mstimeout" => rng.pick(&["1", "1", "2", "-1", "x", "1.5", ""]).to_string(),
        "score" => score(rng),
        "bound" => bound(rng),
        "lex" => lex(rng),
        "ttl" => rng.range(5_000, 90_000).to_string(),
        "pttl" => rng.range(5_000_000, 90_000_000).to_string(),
        // The year 2100 and the year 2001.
        "at" => (if rng.chance(80) { 4_102_444_800 } else { 1_000_000_000 } + rng.range(0, 9)).to_string(),
        "pat" => {
            (if rng.chance(80) { 4_102_444_800_000 } else { 1_000_000_000_000 } + rng.range(0, 9)).to_string()
        }
        "enc" => format!("{}{}", rng.pick(&["u", "i"]), rng.pick(&[1, 4, 7, 8, 16, 31, 32, 63, 64])),
        "boff" => format!("{}{}", rng.pick(&["", "#"]), rng.range(0, 40)),
        "newid" => {
            *clock += rng.below(3) as u64;
            let sequence = if rng.chance(25) { "*".into() } else { rng.range(0, 9).to_string() };
            format!("{clock}-{sequence}")
        }
        "id" => stream_id(rng, *clock),
        "group" => format!("g{}", rng.below(3)),
        "consumer" => format!("c{}", rng.below(3)),
        "pattern" => {
            rng.pick(&["*", "m*", "*1", "?[0-9]", "[^m]*", "m\\*", "h?sh:*", "", "[a-", "str:*"]).to_string()
        }
        "lon" => format!("{}.{}", rng.range(-180, 180), rng.range(0, 99999)),
        "lat" => format!("{}.{}", rng.range(-85, 85), rng.range(0, 99999)),
        "radius" => rng.pick(&["0", "1", "100", "500.5", "3000", "20000", "-1"]).to_string(),
        "unit" => rng.pick(&["m", "km", "ft", "mi", "KM", "cm"]).to_string(),
        "city" => {
            rng.pick(&["Palermo", "Catania", "Rome", "Oslo", "Quito", "Suva", "Nuuk", "Perth"]).to_string()
        }
        other => return word(other, rng),
    };
    text.into_bytes()
}

/// A value of one of the classes that only the table's templates use.
fn word(class: &str, rng: &mut Rng) -> Vec<u8> {
    let words: &[&str] = match class {
        "cursor" => &["0", "0", "0", "17", "-1", "x", "18446744073709551615", "18446744073709551616"],
        "idle" => &["0", "0", "100000000", "-1", "x"],
        "typename" => &["string", "LIST", "zset", "hash", "none", ""],
        "script" => &[
            "return redis.call('TYPE', KEYS[1])",
            "return {KEYS, ARGV}",
            "return #ARGV",
            "return redis.pcall('SET', KEYS[1], ARGV[1])",
            "return redis.call('INCR', KEYS[1])",
            "return tonumber(ARGV[1])",
            "return nil +",
        ],
        "sha1" => &[
            "d3c21d0c2b9ca22f82737626a27bcaf5d288f99f",
            "D3C21D0C2B9CA22F82737626A27BCAF5D288F99F",
            "ffffffffffffffffffffffffffffffffffffffff",
            "x",
        ],
        "command" => &["get", "SET", "mget", "eval", "object|encoding", "xread", "nosuch", "config", ""],
        "function" => &["f", "g", "lib", "nosuch"],
        "library" => &[
            "#!lua name=lib\nredis.register_function('f', function(keys, args) return #keys end)",
            "#!lua name=lib2\nredis.register_function{function_name='g', callback=function(k, a) return a end, flags={'no-writes'}}",
            "#!lua name=lib\nreturn 1",
            "#!js name=lib\n",
            "x",
        ],
        "section" => &["server", "all", "keyspace", "nosuch"],
        "category" => &["read", "string", "nosuch"],
        "user" => &["nobody", "someone", ""],
        "parameter" => &["maxmemory", "hz", "nosuch", "*list*"],
        "dump" => {
            const STRING: &[u8] = b"\x00\x01v\x0c\x00Z~\xfar\xe3\x12\x14\x87";
            const LIST: &[u8] =
                b"\x12\x01\x02\r\r\x00\x00\x00\x02\x00\x81a\x02\x81b\x02\xff\x0c\x00\xa3\x9d>I\xe9k%\xf8";
            return rng
                .pick(&[STRING, LIST, b"", &STRING[1..], b"\x00\x01v\x0c\x00Z~\xfar\xe3\x12\x14\x88"])
                .to_vec();
        }
        other => panic!("no class is called ${other}"),
    };
    rng.pick(words).as_bytes().to_vec()
}

/// A number at which something may break. Times that are over before the next command, or that would make both
/// servers wait, are not among them; nor are those that ask for gigabytes, which is why `off` and `count` have none.
fn edge(class: &str, rng: &mut Rng) -> Vec<u8> {
    let edges: &[&str] = match class {
        "ttl" | "pttl" | "at" | "pat" => &TIME_EDGES,
        "float" | "lon" | "lat" | "radius" => &FLOAT_EDGES,
        "id" => &ID_EDGES,
        _ => &INTEGER_EDGES,
    };
    rng.pick(edges).as_bytes().to_vec()
}

fn value(rng: &mut Rng) -> Vec<u8> {
    match rng.below(12) {
        0 => Vec::new(),
        1..=4 => integer(rng).into_bytes(),
        5 => float(rng).into_bytes(),
        6 => vec![b'x'; 30 + rng.below(50)],
        7 => (0..rng.below(9)).map(|_| rng.next() as u8).collect(),
        8 => format!("long value {} {}", rng.next(), "y".repeat(rng.below(300))).into_bytes(),
        _ => format!("v{}", rng.below(10)).into_bytes(),
    }
}

fn member(rng: &mut Rng) -> Vec<u8> {
    match rng.below(20) {
        0 => value(rng),
        1..=5 => rng.range(-3, 25).to_string().into_bytes(),
        6 => format!("n{}", rng.below(300)).into_bytes(),
        _ => format!("m{}", rng.below(12)).into_bytes(),
    }
}

fn integer(rng: &mut Rng) -> String {
    match rng.below(10) {
        0 => rng.pick(&["9223372036854775807", "-9223372036854775808", "9223372036854775806"]).to_string(),
        1 => rng.pick(&["007", "+1", "-0", "1.0", "32768", "-32769", "2147483648"]).to_string(),
        2 | 3 => (rng.next() as i32).to_string(),
        _ => rng.range(-20, 20).to_string(),
    }
}

fn float(rng: &mut Rng) -> String {
    match rng.below(8) {
        0 => {
            rng.pick(&["inf", "-inf", "nan", "1e400", "1e-400", "-0", "0x1p3", "1e", ".5", "5."]).to_string()
        }
        1 => rng
            .pick(&["3.0e3", "1e17", "1e21", "123456789012345678", "0.1", "1.7976931348623157e308"])
            .to_string(),
        2 => format!("{}", (rng.next() as i32) as f64 / 1024.0),
        _ => format!("{}.{}", rng.range(-9, 9), rng.range(0, 99)),
    }
}

fn score(rng: &mut Rng) -> String {
    if rng.chance(60) { rng.range(-5, 12).to_string() } else { float(rng) }
}

fn bound(rng: &mut Rng) -> String {
    match rng.below(6) {
        0 => rng.pick(&["-inf", "+inf", "inf", "(", "(inf", "(-inf", "nan", "x"]).to_string(),
        1 => format!("({}", score(rng)),
        _ => score(rng),
    }
}

fn lex(rng: &mut Rng) -> String {
    match rng.below(6) {
        0 => rng.pick(&["-", "+", "[", "(", "", "m", "(+"]).to_string(),
        n => format!("{}m{}", if n % 2 == 0 { "[" } else { "(" }, rng.pick(&["", "1", "3", "5", "7", "9"])),
    }
}

fn stream_id(rng: &mut Rng, clock: u64) -> String {
    let near = clock.saturating_sub(rng.below(40) as u64);
    match rng.below(8) {
        0 => rng
            .pick(&["0", "0-0", "-", "+", "$", "1", "18446744073709551615-18446744073709551615"])
            .to_string(),
        1 => near.to_string(),
        2 => format!("({near}-{}", rng.below(4)),
        _ => format!("{near}-{}", rng.below(10)),
    }
}
