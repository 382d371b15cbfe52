//! Does a glob pattern match? The language of KEYS, SCAN, PSUBSCRIBE and ACL rules:
//!
//! | pattern | matches |
//! |---|---|
//! | `*` | any bytes, none too (but see below) |
//! | `?` | one byte |
//! | `[abc]` `[a-z]` `[^a-z]` | one byte of, or not of, the class |
//! | `\x` | the byte `x` itself |
//!
//! The odd corners are Redis's, and kept: empty text is matched by the empty pattern only, not by `*`;
//! a class without `]` ends with the pattern; `[` alone matches nothing and `[^` any byte; ranges work
//! backwards (`[z-a]`) and compare bytes as signed; an escaped byte in a class keeps its case even when
//! case is ignored; a final `\` is itself; and more than 1000 stars that are not at the end never match.
//!
//! Invariants: no recursion; every byte of text is matched by exactly one atom, so between two stars
//! the leftmost match is as good as any and is never revisited, and what follows the last star can only
//! match at the end. Time is linear for literal text between stars; a segment with `?` or classes costs
//! at most its length per byte of text.

use memchr::memmem;

use crate::util::crc::{hash_tag, key_slot};

/// Redis gives up on a pattern after this many stars.
const MAX_STARS: usize = 1000;

/// Whether `text` matches `pattern`; `nocase` ignores the case of ASCII letters.
pub fn matches(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut pattern, mut text) = (pattern, text);
    // Up to the first star, pattern and text go hand in hand.
    loop {
        let [byte, rest_of_text @ ..] = text else { return only_stars(pattern) };
        match pattern {
            [] => return false,
            [b'*', ..] => break,
            _ => {}
        }
        let (length, hit) = match_atom(pattern, *byte, nocase);
        if !hit {
            return false;
        }
        (pattern, text) = (&pattern[length..], rest_of_text);
    }
    for _ in 0..MAX_STARS {
        let stars = pattern.iter().take_while(|&&b| b == b'*').count();
        pattern = &pattern[stars..];
        if pattern.is_empty() {
            return true;
        }
        let segment = Segment::first_of(pattern);
        if segment.atoms > text.len() {
            return false;
        }
        if segment.pattern.len() == pattern.len() {
            return segment.matches_at(&text[text.len() - segment.atoms..], nocase);
        }
        let Some(at) = segment.find(text, nocase) else { return false };
        text = &text[at + segment.atoms..];
        pattern = &pattern[segment.pattern.len()..];
        if text.is_empty() {
            return only_stars(pattern);
        }
    }
    // What is left starts with a star; it may still be a trailing one.
    only_stars(pattern)
}

/// The bytes a pattern starts with for certain: everything before its first special byte.
/// The whole pattern when it has none, and then it matches only itself.
pub fn fixed_prefix(pattern: &[u8]) -> &[u8] {
    let end = pattern.iter().position(|b| is_special(*b)).unwrap_or(pattern.len());
    &pattern[..end]
}

/// Whether a pattern matches everything but the empty text.
pub fn is_match_all(pattern: &[u8]) -> bool {
    !pattern.is_empty() && only_stars(pattern)
}

fn is_special(byte: u8) -> bool {
    matches!(byte, b'*' | b'?' | b'[' | b'\\')
}

fn only_stars(pattern: &[u8]) -> bool {
    pattern.iter().all(|&b| b == b'*')
}

/// The pattern between two stars.
struct Segment<'a> {
    pattern: &'a [u8],
    /// Bytes of text it matches.
    atoms: usize,
    /// No `?`, class or escape.
    literal: bool,
}

impl<'a> Segment<'a> {
    /// The pattern up to its first star, or all of it.
    fn first_of(pattern: &'a [u8]) -> Self {
        let (mut end, mut atoms, mut literal) = (0, 0, true);
        while let Some(&byte) = pattern.get(end) {
            if byte == b'*' {
                break;
            }
            literal &= !is_special(byte);
            end += atom_length(&pattern[end..]);
            atoms += 1;
        }
        Segment { pattern: &pattern[..end], atoms, literal }
    }

    /// Whether it matches the start of `text`, which has at least `atoms` bytes.
    fn matches_at(&self, text: &[u8], nocase: bool) -> bool {
        if self.literal && !nocase {
            return text.starts_with(self.pattern);
        }
        rest_matches(self.pattern, text, nocase)
    }

    /// The leftmost position in `text` where it matches.
    fn find(&self, text: &[u8], nocase: bool) -> Option<usize> {
        if self.literal && !nocase {
            return memmem::find(text, self.pattern);
        }
        // Classes are worked out once, not per position; but no more of them than this.
        const COMPILED: usize = 256;
        let mut sets = Vec::with_capacity(self.atoms.min(COMPILED));
        let mut rest = self.pattern;
        while !rest.is_empty() && sets.len() < COMPILED {
            let (length, set) = ByteSet::of_atom(rest, nocase);
            sets.push(set);
            rest = &rest[length..];
        }
        (0..=text.len() - self.atoms).find(|&at| {
            sets.iter().zip(&text[at..]).all(|(set, &byte)| set.contains(byte))
                && rest_matches(rest, &text[at + sets.len()..], nocase)
        })
    }
}

/// Whether a star-free pattern matches the start of `text`, atom by atom.
fn rest_matches(mut pattern: &[u8], text: &[u8], nocase: bool) -> bool {
    for &byte in text {
        if pattern.is_empty() {
            break;
        }
        let (length, hit) = match_atom(pattern, byte, nocase);
        if !hit {
            return false;
        }
        pattern = &pattern[length..];
    }
    true
}

/// Bytes of pattern that the first atom takes.
fn atom_length(pattern: &[u8]) -> usize {
    match pattern {
        [b'\\', _, ..] => 2,
        [b'[', class @ ..] => 1 + each_item(class, |_| {}).0,
        _ => 1,
    }
}

/// The length of the first atom, which is not a star, and whether it matches `byte`.
#[inline]
fn match_atom(pattern: &[u8], byte: u8, nocase: bool) -> (usize, bool) {
    let (length, expected) = match pattern {
        [b'?', ..] => return (1, true),
        [b'[', class @ ..] => {
            let mut hit = false;
            let (length, negated) = each_item(class, |item| hit |= item.matches(byte, nocase));
            return (1 + length, hit != negated);
        }
        [b'\\', escaped, ..] => (2, *escaped),
        _ => (1, pattern[0]),
    };
    (length, if nocase { expected.eq_ignore_ascii_case(&byte) } else { expected == byte })
}

/// One member of a class.
enum Item {
    /// `\x`: this byte, in this case.
    Exact(u8),
    Byte(u8),
    /// In the order of signed bytes, low end first.
    Range(i8, i8),
}

impl Item {
    fn matches(&self, byte: u8, nocase: bool) -> bool {
        match *self {
            Item::Exact(own) => own == byte,
            Item::Byte(own) if nocase => own.eq_ignore_ascii_case(&byte),
            Item::Byte(own) => own == byte,
            Item::Range(low, high) if nocase => (lower(low)..=lower(high)).contains(&lower(byte as i8)),
            Item::Range(low, high) => (low..=high).contains(&(byte as i8)),
        }
    }
}

fn lower(byte: i8) -> i8 {
    (byte as u8).to_ascii_lowercase() as i8
}

/// Walks the members of a class; `class` starts after its `[`. Gives how many bytes it takes, its `]`
/// included, and whether it is negated.
fn each_item(class: &[u8], mut visit: impl FnMut(Item)) -> (usize, bool) {
    let negated = class.first() == Some(&b'^');
    let mut at = usize::from(negated);
    loop {
        match &class[at..] {
            [] => return (at, negated),
            [b'\\', escaped, ..] => {
                visit(Item::Exact(*escaped));
                at += 2;
            }
            [b']', ..] => return (at + 1, negated),
            [from, b'-', to, ..] => {
                let (from, to) = (*from as i8, *to as i8);
                visit(Item::Range(from.min(to), from.max(to)));
                at += 3;
            }
            [byte, ..] => {
                visit(Item::Byte(*byte));
                at += 1;
            }
        }
    }
}

/// A set of bytes, one bit each, in signed order so that ranges are runs of bits.
#[derive(Clone, Copy)]
struct ByteSet([u64; 4]);

impl ByteSet {
    /// The bytes that the first atom of `pattern` matches, and its length.
    fn of_atom(pattern: &[u8], nocase: bool) -> (usize, ByteSet) {
        let mut set = ByteSet([0; 4]);
        let (length, expected) = match pattern {
            [b'?', ..] => return (1, ByteSet([!0; 4])),
            [b'[', class @ ..] => {
                let (length, set) = Self::of_class(class, nocase);
                return (1 + length, set);
            }
            [b'\\', escaped, ..] => (2, *escaped),
            _ => (1, pattern[0]),
        };
        set.insert(expected);
        if nocase {
            set.insert(expected.to_ascii_lowercase());
            set.insert(expected.to_ascii_uppercase());
        }
        (length, set)
    }

    fn of_class(class: &[u8], nocase: bool) -> (usize, ByteSet) {
        let (mut set, mut folded) = (ByteSet([0; 4]), ByteSet([0; 4]));
        let (length, negated) = each_item(class, |item| match item {
            Item::Exact(byte) => set.insert(byte),
            Item::Byte(byte) if nocase => folded.insert(byte.to_ascii_lowercase()),
            Item::Byte(byte) => set.insert(byte),
            Item::Range(low, high) if nocase => folded.insert_range(lower(low), lower(high)),
            Item::Range(low, high) => set.insert_range(low, high),
        });
        if nocase {
            (0..=255u8).filter(|b| folded.contains(b.to_ascii_lowercase())).for_each(|b| set.insert(b));
        }
        if negated {
            set.0 = set.0.map(|word| !word);
        }
        (length, set)
    }

    fn insert(&mut self, byte: u8) {
        let bit = byte ^ 0x80;
        self.0[usize::from(bit >> 6)] |= 1 << (bit & 63);
    }

    /// Nothing when `low` is above `high`, which folding the case can bring about.
    fn insert_range(&mut self, low: i8, high: i8) {
        if low > high {
            return;
        }
        let (low, high) = (u32::from(low as u8 ^ 0x80), u32::from(high as u8 ^ 0x80));
        for word in low / 64..=high / 64 {
            let from = low.max(word * 64) % 64;
            let to = high.min(word * 64 + 63) % 64;
            self.0[word as usize] |= (!0 << from) & (!0 >> (63 - to));
        }
    }

    fn contains(&self, byte: u8) -> bool {
        let bit = byte ^ 0x80;
        self.0[usize::from(bit >> 6)] >> (bit & 63) & 1 == 1
    }
}

/// The hash slot of every key that a pattern matches, if they have one in common: nothing in front of the end of the
/// hash tag, or nothing at all, stands for something else than itself.
pub fn slot(pattern: &[u8]) -> Option<u16> {
    let special = |b: &u8| matches!(b, b'*' | b'?' | b'[' | b'\\');
    let tag = hash_tag(pattern);
    let tagged = pattern.len() - tag.len();
    let fixed = if tagged == 0 {
        pattern
    } else {
        let open = pattern.iter().position(|b| *b == b'{')?;
        pattern.get(..=open + tag.len())?
    };
    (!fixed.iter().any(special)).then(|| key_slot(pattern))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    /// The definition, by recursion: a star tries every split.
    fn naive(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
        match (pattern, text) {
            (_, []) => only_stars(pattern),
            ([], _) => false,
            ([b'*', rest @ ..], _) => {
                rest.is_empty()
                    || (0..text.len()).any(|at| naive(rest, &text[at..], nocase))
                    || only_stars(rest)
            }
            (_, [byte, rest @ ..]) => {
                let (length, hit) = match_atom(pattern, *byte, nocase);
                hit && naive(&pattern[length..], rest, nocase)
            }
        }
    }

    #[test]
    fn a_pattern_with_a_plain_tag_has_a_slot() {
        for (pattern, key) in [
            ("{a}*", Some("a")),
            ("x{a}[", Some("a")),
            ("ab", Some("ab")),
            ("{}x", Some("{}x")),
            ("{a", Some("{a")),
        ] {
            assert_eq!(slot(pattern.as_bytes()), key.map(|k| key_slot(k.as_bytes())), "{pattern}");
        }
        for pattern in ["*{a}", "{a*}", "a?", "\\{a}", "{}*", "[x]{a}"] {
            assert_eq!(slot(pattern.as_bytes()), None, "{pattern}");
        }
    }

    #[test]
    fn the_language() {
        let yes = "* a|** a|h?llo hello|h*llo hllo|h*llo heeello|h[ae]llo hallo|h[^e]llo hallo|h[a-b]llo hbllo|\
            h[b-a]llo hallo|a\\*b a*b|a* a|a** ab|*a ba|*a*b*c xaybzc|[^] a|[^ a|[a a|[a- -|[a- a|\\ \\|a\\ a\\|\
            [\\]] ]|[\\-] -|[a-\\]x _x|?? ab|*? a|*?*? ab|[[] [|*[ab]*c zzac|*ab aab|*aab*c aaabc|a*a*a aaa|[a\\ \\";
        for case in yes.split('|') {
            let (pattern, text) = case.split_once(' ').unwrap();
            assert!(matches(pattern.as_bytes(), text.as_bytes(), false), "{case}");
        }
        let no = "h[^e]llo hello|[ a|[] a|[^ab] a|a ab|ab a|*a ab|a*b*c acb|?? a|*?*?* a|[^a- a|a[ a|a? a|\\a b|*ab*b aab";
        for case in no.split('|') {
            let (pattern, text) = case.split_once(' ').unwrap();
            assert!(!matches(pattern.as_bytes(), text.as_bytes(), false), "{case}");
        }
    }

    #[test]
    fn odd_corners() {
        assert!(matches(b"", b"", false));
        assert!(!matches(b"*", b"", false));
        assert!(!matches(b"", b"a", false));
        assert!(matches(b"HeL?o", b"hEllO", true));
        assert!(matches(b"[A-C]", b"b", true));
        assert!(!matches(b"[\\A]", b"a", true));
        assert!(matches(b"\\A", b"a", true));
        // Z-a is a range of seven bytes, but folding turns it around.
        assert!(matches(b"[Z-a]", b"a", false));
        assert!(!matches(b"[Z-a]", b"a", true));
        // Bytes compare as signed: 0xff is below a, and the range is turned around.
        assert!(matches(b"[a-\xff]", b"\x05", false));
        assert!(!matches(b"[a-\xff]", b"z", false));
        assert!(is_match_all(b"**") && !is_match_all(b"") && !is_match_all(b"*a"));
    }

    #[test]
    fn too_many_stars_never_match() {
        let text = [b'a'; 3000];
        for (stars, expect) in [(1000, true), (1001, false)] {
            assert_eq!(matches(&b"*a".repeat(stars), &text, false), expect);
            assert!(matches(&[b"*a".repeat(1000).as_slice(), b"*"].concat(), &text, false));
        }
    }

    #[test]
    fn prefixes() {
        assert_eq!(fixed_prefix(b"user:*"), b"user:");
        assert_eq!(fixed_prefix(b"*"), b"");
        assert_eq!(fixed_prefix(b"plain"), b"plain");
        assert_eq!(fixed_prefix(b"a\\*"), b"a");
    }

    #[test]
    fn hostile_patterns_take_no_time() {
        let repeat = |part: &[u8], times| part.repeat(times);
        let many_stars = [repeat(b"a*", 20), b"b".to_vec()].concat();
        let long_literal = [b"*".to_vec(), repeat(b"a", 50_000), b"b*".to_vec()].concat();
        let short = vec![b'a'; 40];
        let long = vec![b'a'; 100_000];
        let start = Instant::now();
        for text in [&short, &long] {
            assert!(!matches(&many_stars, text, false));
            assert!(!matches(&repeat(b"*?", 50_000), text, false));
            assert!(!matches(&repeat(b"[", 50_000), text, false));
            assert!(!matches(&[b"*".to_vec(), repeat(b"[", 50_000), b"]*b".to_vec()].concat(), text, false));
            assert!(!matches(&repeat(b"\\", 50_000), text, false));
            assert!(!matches(&repeat(b"[^-]", 50_000), text, false));
            assert!(!matches(&long_literal, text, false));
        }
        // Milliseconds when optimised; generous for a debug build on a busy machine.
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }

    fn alphabet() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            Just(b'a'),
            Just(b'b'),
            Just(b'A'),
            Just(b'*'),
            Just(b'?'),
            Just(b'['),
            Just(b']'),
            Just(b'^'),
            Just(b'-'),
            Just(b'\\'),
            Just(b'z'),
            Just(0xff),
        ];
        prop::collection::vec(byte, 0..12)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn agrees_with_the_definition(pattern in alphabet(), text in alphabet(), nocase: bool) {
            let expect = if text.is_empty() { pattern.is_empty() } else { naive(&pattern, &text, nocase) };
            prop_assert_eq!(matches(&pattern, &text, nocase), expect);
        }

        #[test]
        fn sets_agree_with_items(class in alphabet(), nocase: bool) {
            let pattern = [b"[".as_slice(), &class].concat();
            let (length, set) = ByteSet::of_atom(&pattern, nocase);
            for byte in 0..=255 {
                prop_assert_eq!((length, set.contains(byte)), match_atom(&pattern, byte, nocase));
            }
        }
    }
}
