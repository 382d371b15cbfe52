//! How is a setting of a common kind (yes/no, number, memory, text, choice) read, printed and rewritten?
//!
//! Invariants: `parse(print(x)) == x` for every value of every kind; nothing that was parsed can break out of
//! the line that CONFIG REWRITE writes for it, because texts refuse control characters and are quoted anyway.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::util::number::parse_i64;
use crate::util::quote::quoted;

/// What happens to the value that a setting has already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The new value takes its place: CONFIG SET, and the first line about it in a file.
    Replace,
    /// Lines that add up (`save`) add to it: a later line of the same file.
    Append,
}

/// One line that CONFIG REWRITE would write, without the name of the setting.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// The arguments, quoted where needed.
    pub text: Vec<u8>,
    /// Write it even where the file has no line about this setting, because the value is not the default.
    pub force: bool,
}

/// A type that a setting can have.
pub trait Field: Clone + PartialEq {
    /// What a row adds to the type: a range, a unit, a check.
    type Rule;
    /// Whether the value is several words, each an argument of its own in a file.
    const SEVERAL: bool = false;

    /// Reads a new value from its words; `self` is the present one.
    ///
    /// # Errors
    /// What is wrong, as the end of the sentence that the client or the operator is told.
    fn parse(&self, words: &[&[u8]], how: How, rule: &Self::Rule) -> Result<Self, String>;

    /// The text that CONFIG GET answers with.
    fn print(&self, rule: &Self::Rule) -> Vec<u8>;

    /// The lines of CONFIG REWRITE. None means that the file must not mention the setting.
    fn lines(&self, default: &Self, rule: &Self::Rule) -> Vec<Line> {
        vec![Line { text: self.print(rule), force: self != default }]
    }
}

/// The only word of a value.
///
/// # Errors
/// When there are none, or more.
pub fn one<'a>(words: &[&'a [u8]]) -> Result<&'a [u8], String> {
    match words {
        [word] => Ok(word),
        _ => Err("wrong number of arguments".into()),
    }
}

/// The rule of a yes/no setting.
pub const fn yes_no() {}

impl Field for bool {
    type Rule = ();

    fn parse(&self, words: &[&[u8]], _: How, (): &()) -> Result<Self, String> {
        let word = one(words)?;
        if word.eq_ignore_ascii_case(b"yes") {
            Ok(true)
        } else if word.eq_ignore_ascii_case(b"no") {
            Ok(false)
        } else {
            Err("argument must be 'yes' or 'no'".into())
        }
    }

    fn print(&self, (): &()) -> Vec<u8> {
        if *self { b"yes".into() } else { b"no".into() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Plain,
    Memory,
    Octal,
}

/// The rule of a number: its range, how it is written, and whether Redis holds it in an unsigned type
/// (which shows in the error text for negative numbers).
#[derive(Clone, Copy, Debug)]
pub struct Int {
    min: i64,
    max: i64,
    unit: Unit,
    unsigned: bool,
}

/// A plain number.
#[must_use]
pub const fn int(min: i64, max: i64) -> Int {
    Int { min, max, unit: Unit::Plain, unsigned: false }
}

/// A plain number of an unsigned type.
#[must_use]
pub const fn uint(min: i64, max: i64) -> Int {
    Int { min, max, unit: Unit::Plain, unsigned: true }
}

/// A number of bytes: `100`, `64kb`, `1g`.
#[must_use]
pub const fn memory(min: i64, max: i64) -> Int {
    Int { min, max, unit: Unit::Memory, unsigned: false }
}

/// A number of bytes of an unsigned type.
#[must_use]
pub const fn umemory(min: i64, max: i64) -> Int {
    Int { min, max, unit: Unit::Memory, unsigned: true }
}

/// An octal number from 0, such as file permissions.
#[must_use]
pub const fn octal(max: i64) -> Int {
    Int { min: 0, max, unit: Unit::Octal, unsigned: true }
}

impl Int {
    fn read(self, word: &[u8]) -> Result<i128, String> {
        let value = match self.unit {
            Unit::Plain => i128::from(parse_i64(word).ok_or("argument couldn't be parsed into an integer")?),
            Unit::Memory => i128::from(bytes(word).ok_or("argument must be a memory value")?),
            Unit::Octal => std::str::from_utf8(word)
                .ok()
                .and_then(|text| i64::from_str_radix(text, 8).ok())
                .map(i128::from)
                .ok_or("argument couldn't be parsed as an octal number")?,
        };
        // Redis holds these in 64 signed bits while it parses, so that huge ones turn up as negative.
        if self.unsigned && !(0..=i128::from(i64::MAX)).contains(&value) {
            return Err("argument must be greater or equal to 0".into());
        }
        if !(i128::from(self.min)..=i128::from(self.max)).contains(&value) {
            return Err(self.range());
        }
        Ok(value)
    }

    fn range(self) -> String {
        let Self { min, max, .. } = self;
        match self.unit {
            Unit::Octal => format!("argument must be between {min:o} and {max:o} inclusive"),
            _ => format!("argument must be between {min} and {max} inclusive"),
        }
    }

    fn text(self, value: i128, rewrite: bool) -> Vec<u8> {
        match self.unit {
            Unit::Octal => format!("{value:o}").into(),
            Unit::Memory if rewrite => human_bytes(value),
            _ => value.to_string().into(),
        }
    }
}

/// A number of bytes in the largest unit that divides it.
#[must_use]
pub fn human_bytes(value: i128) -> Vec<u8> {
    const UNITS: [(i128, &str); 3] = [(1 << 30, "gb"), (1 << 20, "mb"), (1 << 10, "kb")];
    for (size, unit) in UNITS {
        if value != 0 && value % size == 0 {
            return format!("{}{unit}", value / size).into();
        }
    }
    value.to_string().into()
}

/// A number of bytes with an optional unit: k m g are powers of 1000, kb mb gb of 1024. An empty number is 0,
/// a value that does not fit is the largest that does.
#[must_use]
pub fn bytes(word: &[u8]) -> Option<u64> {
    let split = word.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(word.len());
    let (digits, unit) = word.split_at(split);
    let factor: u64 = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    if digits.len() >= 128 {
        return None;
    }
    let number = digits
        .iter()
        .fold(0_u64, |number, digit| number.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    Some(number.saturating_mul(factor))
}

macro_rules! integers {
    ($($type:ty)*) => {$(
        impl Field for $type {
            type Rule = Int;

            fn parse(&self, words: &[&[u8]], _: How, rule: &Int) -> Result<Self, String> {
                Self::try_from(rule.read(one(words)?)?).map_err(|_| rule.range())
            }

            fn print(&self, rule: &Int) -> Vec<u8> {
                rule.text(*self as i128, false)
            }

            fn lines(&self, default: &Self, rule: &Int) -> Vec<Line> {
                vec![Line { text: rule.text(*self as i128, true), force: self != default }]
            }
        }
    )*};
}
integers!(u16 u32 u64 usize i32 i64);

/// A limit that is a number of bytes, or a share of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// So many bytes; 0 is no limit.
    Bytes(u64),
    /// So many percent (0 to 100) of `maxmemory`.
    Percent(u8),
}

impl Limit {
    /// The limit in bytes, given what a percentage is of; 0 is no limit.
    #[must_use]
    pub fn of(self, whole: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            // Divides first: whole can be close to 2^64.
            Self::Percent(share) => (whole / 100).saturating_mul(u64::from(share)),
        }
    }
}

/// The rule of a [`Limit`].
pub const fn limit() {}

impl Field for Limit {
    type Rule = ();

    fn parse(&self, words: &[&[u8]], _: How, (): &()) -> Result<Self, String> {
        const NEITHER: &str = "argument must be a memory or percent value";
        let word = one(words)?;
        if let Some(bytes) = bytes(word) {
            return if i64::try_from(bytes).is_ok() { Ok(Self::Bytes(bytes)) } else { Err(NEITHER.into()) };
        }
        let share = word.strip_suffix(b"%").and_then(parse_i64).filter(|share| *share >= 0).ok_or(NEITHER)?;
        match u8::try_from(share) {
            Ok(share @ 0..=100) => Ok(Self::Percent(share)),
            _ => Err("percentage argument must be less or equal to 100".into()),
        }
    }

    fn print(&self, (): &()) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes.to_string().into(),
            // Redis stores a percentage as a negative number, so that none of it is no limit.
            Self::Percent(0) => b"0".into(),
            Self::Percent(share) => format!("{share}%").into(),
        }
    }

    fn lines(&self, default: &Self, (): &()) -> Vec<Line> {
        let text = match self {
            Self::Bytes(bytes) => human_bytes(i128::from(*bytes)),
            Self::Percent(_) => self.print(&()),
        };
        vec![Line { text, force: self != default }]
    }
}

/// A text: a path, an address, a name. Holds no control characters, but where the rule lets it.
#[derive(Clone, PartialEq, Eq)]
pub struct Text(Arc<str>);

/// Makes a [`Text`] of a default in the table.
#[must_use]
pub fn text(value: &str) -> Text {
    Text(value.into())
}

impl Deref for Text {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a text must be.
pub type Check = fn(&str) -> Result<(), &'static str>;

/// The rule of a text.
#[derive(Clone, Copy)]
pub struct Words {
    /// An empty text means that the setting is absent, and CONFIG REWRITE leaves it out.
    optional: bool,
    /// Control characters are let through.
    raw: bool,
    check: Check,
}

/// A text that may be absent.
#[must_use]
pub const fn optional() -> Words {
    Words { optional: true, raw: false, check: |_| Ok(()) }
}

/// A text that may be absent and is checked.
#[must_use]
pub const fn optional_if(check: Check) -> Words {
    Words { optional: true, raw: false, check }
}

/// A text that has a value always, though it may be empty.
#[must_use]
pub const fn any() -> Words {
    Words { optional: false, raw: false, check: |_| Ok(()) }
}

/// A text that has a value always and is checked.
#[must_use]
pub const fn only_if(check: Check) -> Words {
    Words { optional: false, raw: false, check }
}

/// A text that has a value always, is checked, and may hold control characters: for what no client can set.
#[must_use]
pub const fn raw_if(check: Check) -> Words {
    Words { optional: false, raw: true, check }
}

fn utf8(word: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(word).map_err(|_| "argument must be UTF-8 text".into())
}

/// A word as a text without control characters, which could forge a line of the file at CONFIG REWRITE.
///
/// # Errors
/// What is wrong with it.
pub fn clean(word: &[u8]) -> Result<&str, String> {
    let text = utf8(word)?;
    if text.contains(char::is_control) {
        return Err("argument must not contain control characters".into());
    }
    Ok(text)
}

impl Field for Text {
    type Rule = Words;

    fn parse(&self, words: &[&[u8]], _: How, rule: &Words) -> Result<Self, String> {
        let word = if rule.raw { utf8(one(words)?)? } else { clean(one(words)?)? };
        (rule.check)(word)?;
        Ok(Self(word.into()))
    }

    fn print(&self, _: &Words) -> Vec<u8> {
        self.as_bytes().into()
    }

    fn lines(&self, default: &Self, rule: &Words) -> Vec<Line> {
        if rule.optional && self.is_empty() {
            return Vec::new();
        }
        vec![Line { text: quoted(self.as_bytes()), force: self != default }]
    }
}

/// A password: any bytes, and never in a debug print.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Arc<[u8]>);

impl Deref for Secret {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "none" } else { "(secret)" })
    }
}

/// The rule of a [`Secret`].
pub const fn secret() {}

impl Field for Secret {
    type Rule = ();

    fn parse(&self, words: &[&[u8]], _: How, (): &()) -> Result<Self, String> {
        Ok(Self(one(words)?.into()))
    }

    fn print(&self, (): &()) -> Vec<u8> {
        self.0.to_vec()
    }

    fn lines(&self, _: &Self, (): &()) -> Vec<Line> {
        if self.is_empty() { Vec::new() } else { vec![Line { text: quoted(self), force: true }] }
    }
}

/// The rule of a choice among names.
pub const fn choice() {}

/// What the client is told who chose none of the names.
#[must_use]
pub fn one_of(names: &mut dyn Iterator<Item = &'static str>) -> String {
    let names: Vec<_> = names.collect();
    format!("argument(s) must be one of the following: {}", names.join(", "))
}

/// Declares an enum whose variants have names in the configuration, in the order in which Redis lists them.
/// A variant may have a second name, which is read but not printed.
macro_rules! choices {
    ($( $(#[$doc:meta])* $type:ident { $(
        $(#[$variant_doc:meta])* $variant:ident = $name:literal $(| $second:literal)?
    ),* $(,)? } )*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $type { $( $(#[$variant_doc])* $variant, )* }

        impl $type {
            const NAMES: &'static [(&'static str, Self)] =
                &[$( ($name, Self::$variant), $( ($second, Self::$variant), )? )*];

            /// The name of the choice, as CONFIG GET and INFO print it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )* }
            }
        }

        impl $crate::config::kinds::Field for $type {
            type Rule = ();

            fn parse(&self, words: &[&[u8]], _: $crate::config::kinds::How, (): &()) -> Result<Self, String> {
                let chosen = match words {
                    [word] => Self::NAMES.iter().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes())),
                    _ => None,
                };
                chosen.map(|(_, value)| *value).ok_or_else(|| {
                    $crate::config::kinds::one_of(&mut Self::NAMES.iter().map(|(name, _)| *name))
                })
            }

            fn print(&self, (): &()) -> Vec<u8> {
                self.name().into()
            }
        }
    )*};
}
pub(crate) use choices;
