//! Which command comes next? One drawn from the families, on a small universe of keys so that commands meet.
//!
//! Most commands are valid. A few name a key of another type, lose or gain an argument, or carry a number that
//! is out of range. What would differ between any two servers by itself (clocks, random picks that change data)
//! is kept out here or tolerated in `normalise`; nowhere else.

use super::super::rng::Rng;
use super::grammar::{self, Family, Template};
use super::rows::Row;
use super::values::{JUNK, draw};

/// How many of a hundred commands are made from the table; the others come from the families' own grammars.
const FROM_THE_TABLE: u64 = 30;

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

/// The source of steps.
pub struct Generator {
    rng: Rng,
    families: Vec<Family>,
    rows: Vec<(Row, Template)>,
    /// Grows with every stream id drawn, so that most XADDs are ahead of the stream.
    clock: u64,
    in_multi: bool,
}

impl Generator {
    /// A generator over these families.
    pub fn new(seed: u64, families: Vec<Family>, rows: Vec<Row>) -> Generator {
        let rows = rows.into_iter().map(|row| (row.template(), row)).map(|(t, row)| (row, t)).collect();
        Generator { rng: Rng::new(seed), families, rows, clock: 1, in_multi: false }
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
        if self.families.is_empty() || !self.rows.is_empty() && self.rng.chance(FROM_THE_TABLE) {
            return self.any_command();
        }
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
        narrow_lset(&mut args);
        if self.rng.chance(5) {
            args[0].make_ascii_lowercase();
        }
        let mut steps = prelude(&name);
        steps.push(Step::Command(args));
        steps.extend(self.settle(&name, &steps));
        steps
    }

    /// Any command of the table, its arguments made from its documented syntax.
    fn any_command(&mut self) -> Vec<Step> {
        let (row, template) = self.rng.pick(&self.rows).clone();
        let mut args = self.expand(&template);
        if args.iter().any(|a| a == b"BYLEX") {
            // Where scores differ, ranges by text are whatever the structure makes of them.
            args.iter_mut().filter(|a| a.starts_with(b"zset:")).for_each(|a| *a = b"lexset:0".to_vec());
        }
        let fragile = args.iter().any(|a| a.starts_with(b"lexset"));
        if self.rng.chance(6) && !fragile && !row.blocks {
            self.mutate(&mut args);
        }
        narrow_lset(&mut args);
        let name = row.words[0].to_uppercase();
        let mut steps = prelude(&name);
        steps.push(Step::Command(args));
        if row.blocks && !self.in_multi {
            steps.insert(0, Step::words("MULTI"));
            steps.push(Step::words("EXEC"));
        } else {
            steps.extend(self.settle(&name, &steps));
        }
        steps
    }

    /// What follows a command whose choice is random, to make both servers agree again.
    fn settle(&mut self, name: &str, steps: &[Step]) -> Option<Step> {
        match steps.last()? {
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

/// What goes before a command. The real server's SORT looks at `errno` without having cleared it: after a number out
/// of range, in whatever command, it calls any weight bad. A score that is read and not used clears it.
fn prelude(name: &str) -> Vec<Step> {
    match name {
        "SORT" | "SORT_RO" => vec![Step::words("ZADD zset:none XX 0 m")],
        _ => Vec::new(),
    }
}

/// The real server keeps 32 bits of this index, and may replace an element that nobody named.
fn narrow_lset(args: &mut [Vec<u8>]) {
    if !args[0].eq_ignore_ascii_case(b"LSET") {
        return;
    }
    for arg in args.iter_mut().skip(2).take(1) {
        let n: Option<i64> = std::str::from_utf8(arg).ok().and_then(|text| text.parse().ok());
        if n.is_some_and(|n| i32::try_from(n).is_err()) {
            *arg = b"2147483647".to_vec();
        }
    }
}
