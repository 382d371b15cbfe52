//! Which command comes next? One drawn from the families, on a small universe of keys so that commands meet.
//!
//! Most commands are valid. A few name a key of another type, lose or gain an argument, or carry a number that
//! is out of range. What would differ between any two servers by itself (clocks, random picks that change data)
//! is kept out here or tolerated in `normalise`; nowhere else.

use super::super::rng::Rng;
use super::grammar::{self, Family, Template};

/// One thing to do on both servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A command.
    Command(Vec<Vec<u8>>),
    /// Milliseconds for both to pass a deadline.
    Sleep(u64),
}

impl Step {
    /// A command of words without spaces.
    pub fn words(line: &str) -> Step {
        Step::Command(line.split(' ').map(|w| w.as_bytes().to_vec()).collect())
    }
}

/// Every family there is, in the order of `FAMILIES`.
pub fn families() -> Vec<Family> {
    macro_rules! read {
        ($($name:literal),*) => {
            vec![$(Family::read($name, include_str!(concat!("families/", $name, ".txt")))),*]
        };
    }
    read!(
        "strings", "bitmaps", "hashes", "hashttl", "lists", "sets", "zsets", "streams", "groups", "hll",
        "geo", "keys", "expire", "sort", "scripts"
    )
}

const TYPES: [&str; 9] = ["str", "bit", "hash", "list", "set", "zset", "stream", "hll", "geo"];

/// Numbers that break parsers and ranges, none of which asks a real server for gigabytes.
const JUNK: [&str; 16] = [
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

/// The source of steps.
pub struct Generator {
    rng: Rng,
    families: Vec<Family>,
    /// Grows with every stream id drawn, so that most XADDs are ahead of the stream.
    clock: u64,
    in_multi: bool,
}

impl Generator {
    /// A generator over these families.
    pub fn new(seed: u64, families: Vec<Family>) -> Generator {
        Generator { rng: Rng::new(seed), families, clock: 1, in_multi: false }
    }

    /// The source of chance, for the driver's own choices.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// Forgets the connection's state, when the driver opens a new one.
    pub fn reconnected(&mut self) {
        self.in_multi = false;
    }

    /// The next steps: nearly always one.
    pub fn next(&mut self) -> Vec<Step> {
        if self.rng.below(1500) == 0 && !self.in_multi {
            let key = self.key_of_any_type();
            let expire = Step::Command(vec![b"PEXPIRE".to_vec(), key.clone(), b"1".to_vec()]);
            // DBSIZE counts what has expired and was not met yet: meet it.
            return vec![expire, Step::Sleep(12), Step::Command(vec![b"EXISTS".to_vec(), key])];
        }
        if self.rng.below(60) == 0 {
            return self.transaction_step();
        }
        let family = self.rng.below(self.families.len());
        let template = self.families[family].pick(&mut self.rng).clone();
        let mut args = self.expand(&template);
        let name = template.name();
        let blocks = matches!(name.as_str(), "BLPOP" | "BRPOP" | "BLMOVE" | "BRPOPLPUSH" | "BLMPOP")
            || matches!(name.as_str(), "BZPOPMIN" | "BZPOPMAX" | "BZMPOP" | "XREAD" | "XREADGROUP" | "WAIT");
        // A wrong score would make the order of a lexset unspecified, in every server.
        let fragile = args.iter().any(|a| a.starts_with(b"lexset"));
        if self.rng.chance(6) && !blocks && !fragile {
            self.mutate(&mut args);
        }
        if name == "LSET" {
            // The real server keeps 32 bits of this index, and may replace an element that nobody named.
            args.iter_mut().skip(2).take(1).for_each(narrow);
        }
        if self.rng.chance(5) {
            args[0].make_ascii_lowercase();
        }
        let mut steps = vec![Step::Command(args)];
        steps.extend(self.settle(&name, &steps));
        steps
    }

    /// What follows a command whose choice is random, to make both servers agree again.
    fn settle(&mut self, name: &str, steps: &[Step]) -> Option<Step> {
        match &steps[0] {
            Step::Command(args) if name == "SPOP" && args.len() > 1 => {
                Some(Step::Command(vec![b"DEL".to_vec(), args[1].clone()]))
            }
            _ => None,
        }
    }

    fn transaction_step(&mut self) -> Vec<Step> {
        if !self.in_multi {
            let mut steps = Vec::new();
            if self.rng.chance(30) {
                let key = self.key_of_any_type();
                steps.push(Step::Command(vec![b"WATCH".to_vec(), key]));
            }
            steps.push(Step::words("MULTI"));
            self.in_multi = true;
            for _ in 0..self.rng.below(6) {
                steps.extend(self.next());
            }
            return steps;
        }
        self.in_multi = false;
        vec![Step::words(if self.rng.chance(85) { "EXEC" } else { "DISCARD" })]
    }

    fn expand(&mut self, template: &Template) -> Vec<Vec<u8>> {
        let mut args = Vec::new();
        let mut clock = self.clock;
        let mut draw = |class: &str, rng: &mut Rng| draw(class, rng, &mut clock);
        grammar::expand(&template.pieces, &mut self.rng, &mut 1, &mut draw, &mut args);
        self.clock = clock;
        args
    }

    fn key_of_any_type(&mut self) -> Vec<u8> {
        draw("any", &mut self.rng, &mut 0)
    }

    fn mutate(&mut self, args: &mut Vec<Vec<u8>>) {
        let at = 1 + self.rng.below(args.len());
        let junk = self.rng.pick(&JUNK).as_bytes().to_vec();
        match self.rng.below(5) {
            0 if at < args.len() => drop(args.remove(at)),
            1 if at < args.len() => args.insert(at, args[at].clone()),
            2 => args.truncate(at),
            3 => args.push(junk),
            _ if at < args.len() => args[at] = junk,
            _ => args.push(b"extra".to_vec()),
        }
    }
}

/// A value of a class. Key classes are named after the type that usually lives there.
fn draw(class: &str, rng: &mut Rng, clock: &mut u64) -> Vec<u8> {
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
        other => panic!("no class is called ${other}"),
    };
    text.into_bytes()
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

/// Replaces an integer beyond 32 bits by one within.
fn narrow(arg: &mut Vec<u8>) {
    let n: Option<i64> = std::str::from_utf8(arg).ok().and_then(|text| text.parse().ok());
    if n.is_some_and(|n| i32::try_from(n).is_err()) {
        *arg = b"2147483647".to_vec();
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
