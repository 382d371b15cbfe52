//! Does a pattern match as its definition says, and in little time? Compared with a table of all prefixes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use peregrine::util::glob;
use rustix::time::{ClockId, clock_gettime};

/// The table is for pairs up to this product of lengths; for longer ones only the time counts.
const COMPARED: usize = 1 << 16;
/// Milliseconds, more than any pair of this size takes; the machine may do other things meanwhile.
const AT_MOST: i64 = 1000;

/// A pattern's parts.
enum Atom {
    Star,
    /// The bytes that it stands for.
    One(Box<[bool; 256]>),
}

fn of(matches: impl Fn(u8) -> bool) -> Atom {
    Atom::One(Box::new(std::array::from_fn(|byte| matches(byte as u8))))
}

fn fold(byte: u8, nocase: bool) -> u8 {
    if nocase { byte.to_ascii_lowercase() } else { byte }
}

fn atoms(pattern: &[u8], nocase: bool) -> Vec<Atom> {
    let (mut atoms, mut at) = (Vec::new(), 0);
    while at < pattern.len() {
        let byte = pattern[at];
        at += 1;
        atoms.push(match byte {
            b'*' => Atom::Star,
            b'?' => of(|_| true),
            b'\\' if at < pattern.len() => {
                at += 1;
                let own = fold(pattern[at - 1], nocase);
                of(|b| fold(b, nocase) == own)
            }
            b'[' => class(pattern, &mut at, nocase),
            own => of(|b| fold(b, nocase) == fold(own, nocase)),
        });
    }
    atoms
}

/// The class whose `[` stands before `at`.
fn class(pattern: &[u8], at: &mut usize, nocase: bool) -> Atom {
    let negated = pattern.get(*at) == Some(&b'^');
    *at += usize::from(negated);
    let mut set = [false; 256];
    while *at < pattern.len() && pattern[*at] != b']' {
        let (first, left) = (pattern[*at], pattern.len() - *at);
        if first == b'\\' && left >= 2 {
            set[usize::from(pattern[*at + 1])] = true;
            *at += 2;
        } else if left >= 3 && pattern[*at + 1] == b'-' {
            // The ends are put in order before their case is folded.
            let (a, b) = (first as i8, pattern[*at + 2] as i8);
            let end = |n: i8| fold(n as u8, nocase) as i8;
            let (low, high) = (end(a.min(b)), end(a.max(b)));
            for byte in 0..=255u8 {
                let n = fold(byte, nocase) as i8;
                set[usize::from(byte)] |= low <= n && n <= high;
            }
            *at += 3;
        } else {
            for byte in 0..=255u8 {
                set[usize::from(byte)] |= fold(byte, nocase) == fold(first, nocase);
            }
            *at += 1;
        }
    }
    *at += usize::from(*at < pattern.len());
    of(|byte| set[usize::from(byte)] != negated)
}

fn naive(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    // reached[n]: what has been read of the pattern matches the first n bytes.
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    for atom in atoms(pattern, nocase) {
        match atom {
            Atom::Star => {
                let first = reached.iter().position(|r| *r).unwrap_or(reached.len());
                reached[first..].fill(true);
            }
            Atom::One(set) => {
                for n in (1..reached.len()).rev() {
                    reached[n] = reached[n - 1] && set[usize::from(text[n - 1])];
                }
                reached[0] = false;
            }
        }
    }
    reached[text.len()]
}

/// Milliseconds that this thread has run.
fn busy_ms() -> i64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec * 1000 + now.tv_nsec / 1_000_000
}

// `0` or `1` (ignore the case), the pattern, the end of its line, the text
fuzz_target!(|data: &[u8]| {
    let [flags, rest @ ..] = data else { return };
    let nocase = flags & 1 == 1;
    let end = rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
    let (pattern, text) = (&rest[..end], rest.get(end + 1..).unwrap_or_default());
    let began = busy_ms();
    let matched = glob::matches(pattern, text, nocase);
    let took = busy_ms() - began;
    assert!(took < AT_MOST, "it took {took} ms");
    let stars = pattern.iter().filter(|b| **b == b'*').count();
    if stars <= 1000 && pattern.len().saturating_mul(text.len()) <= COMPARED {
        assert_eq!(matched, naive(pattern, text, nocase));
    }
    if matched && !nocase {
        assert!(text.starts_with(glob::fixed_prefix(pattern)));
        let slot = peregrine::util::crc::key_slot(text);
        assert!(glob::slot(pattern).is_none_or(|own| own == slot), "the slot is another");
    }
    if glob::is_match_all(pattern) {
        assert_eq!(matched, !text.is_empty());
    }
});
