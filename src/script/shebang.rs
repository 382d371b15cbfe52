//! What does the first line of a script or library say about it?
//!
//! ```text
//! #!lua flags=no-writes,allow-stale        a script
//! #!lua name=mylib                         a library
//! ```

use crate::util::quote::split;

/// What a script has declared about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(u8);

impl Flags {
    /// Will not write.
    pub const NO_WRITES: Self = Self(1);
    /// May run when memory is over its limit.
    pub const ALLOW_OOM: Self = Self(2);
    /// May run on a replica that has lost its primary.
    pub const ALLOW_STALE: Self = Self(4);
    /// Must not run in cluster mode.
    pub const NO_CLUSTER: Self = Self(8);
    /// May touch keys of several slots.
    pub const ALLOW_CROSS_SLOT: Self = Self(16);
    /// A script without a first line that declares anything: nothing is known about it.
    pub const COMPAT: Self = Self(32);

    /// No flag.
    pub const NONE: Self = Self(0);

    /// Names and flags, in the order in which they are listed to clients.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("no-writes", Self::NO_WRITES),
        ("allow-oom", Self::ALLOW_OOM),
        ("allow-stale", Self::ALLOW_STALE),
        ("no-cluster", Self::NO_CLUSTER),
        ("allow-cross-slot-keys", Self::ALLOW_CROSS_SLOT),
    ];

    /// Whether every flag of `other` is set.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The flag of this name.
    pub fn named(name: &[u8]) -> Option<Self> {
        Self::NAMES.iter().find(|(n, _)| n.as_bytes() == name).map(|(_, flag)| *flag)
    }

    /// The names of the flags that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(_, flag)| self.has(*flag)).map(|(name, _)| name)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The end of the first line; a NUL hides what follows it.
fn first_line(source: &[u8]) -> Option<usize> {
    let end = memchr::memchr2(b'\n', 0, source)?;
    (source[end] == b'\n').then_some(end)
}

/// The flags of a script, and how many bytes of its first line the compiler must not see (the
/// line break stays, so that line numbers are right). Errors are complete texts without a code.
pub fn script_flags(source: &[u8]) -> Result<(Flags, usize), String> {
    if !source.starts_with(b"#!") {
        return Ok((Flags::COMPAT, 0));
    }
    let end = first_line(source).ok_or("Invalid script shebang")?;
    let words = split(&source[..end]).filter(|words| !words.is_empty());
    let words = words.ok_or("Invalid engine in script shebang")?;
    if words[0] != b"#!lua" {
        return Err(format!("Unexpected engine in script shebang: {}", text(&words[0])));
    }
    let mut flags = Flags::NONE;
    for word in &words[1..] {
        let Some(list) = word.strip_prefix(b"flags=") else {
            return Err(format!("Unknown lua shebang option: {}", text(word)));
        };
        if list.is_empty() {
            continue;
        }
        for name in list.split(|&b| b == b',') {
            let flag = Flags::named(name)
                .ok_or_else(|| format!("Unexpected flag in script shebang: {}", text(name)))?;
            flags = flags.with(flag);
        }
    }
    Ok((flags, end))
}

/// What the first line of a library says.
#[derive(Debug, PartialEq, Eq)]
pub struct LibraryHead {
    /// Engine name as written.
    pub engine: String,
    /// Library name, not yet checked.
    pub name: Vec<u8>,
    /// Bytes of the first line.
    pub length: usize,
}

/// Reads the first line of a library. Errors are complete texts without a code.
pub fn library_head(source: &[u8]) -> Result<LibraryHead, String> {
    if !source.starts_with(b"#!") {
        return Err("Missing library metadata".into());
    }
    let length = first_line(source).ok_or("Invalid library metadata")?;
    let words = split(&source[..length]).filter(|words| !words.is_empty());
    let words = words.ok_or("Invalid library metadata")?;
    let mut name = None;
    for word in &words[1..] {
        let (key, value) = word.split_at(word.len().min(5));
        if !key.eq_ignore_ascii_case(b"name=") {
            return Err(format!("Invalid metadata value given: {}", text(word)));
        }
        if name.replace(value.to_vec()).is_some() {
            return Err("Invalid metadata value, name argument was given multiple times".into());
        }
    }
    let name = name.ok_or("Library name was not given")?;
    Ok(LibraryHead { engine: text(words[0].get(2..).unwrap_or_default()), name, length })
}

/// Whether this may name a library or a function: letters, digits and underscores.
pub fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
}

/// What clients are told when it may not.
pub const BAD_NAME: &str = "Library names can only contain letters, numbers, or underscores(_) and must be at least one character long";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts() {
        assert_eq!(script_flags(b"return 1"), Ok((Flags::COMPAT, 0)));
        assert_eq!(script_flags(b"#!lua\nreturn 1"), Ok((Flags::NONE, 5)));
        let (flags, length) = script_flags(b"#!lua flags=no-writes,allow-oom\n").unwrap();
        assert!(flags.has(Flags::NO_WRITES) && flags.has(Flags::ALLOW_OOM));
        assert!(!flags.has(Flags::COMPAT) && !flags.has(Flags::ALLOW_STALE));
        assert_eq!(length, 31);
        assert_eq!(script_flags(b"#!lua flags=\nx"), Ok((Flags::NONE, 12)));
        let errors: &[(&[u8], &str)] = &[
            (b"#!lua", "Invalid script shebang"),
            (b"#!\0\n", "Invalid script shebang"),
            (b"#! \n", "Unexpected engine in script shebang: #!"),
            (b"#!js a\n", "Unexpected engine in script shebang: #!js"),
            (b"#!lua foo=a\n", "Unknown lua shebang option: foo=a"),
            (b"#!lua flags=a\n", "Unexpected flag in script shebang: a"),
            (b"#!lua flags=no-writes,\n", "Unexpected flag in script shebang: "),
            (b"#!lua \"\n", "Invalid engine in script shebang"),
        ];
        for (source, error) in errors {
            assert_eq!(script_flags(source), Err((*error).to_owned()));
        }
    }

    #[test]
    fn libraries() {
        let head = library_head(b"#!lua name=mylib\ncode").unwrap();
        assert_eq!((head.engine.as_str(), &head.name[..], head.length), ("lua", &b"mylib"[..], 16));
        let errors: &[(&[u8], &str)] = &[
            (b"x", "Missing library metadata"),
            (b"#!lua", "Invalid library metadata"),
            (b"#!lua\n", "Library name was not given"),
            (b"#!lua foo=a\n", "Invalid metadata value given: foo=a"),
            (b"#!lua x\n", "Invalid metadata value given: x"),
            (b"#!lua name=a name=b\n", "Invalid metadata value, name argument was given multiple times"),
        ];
        for (source, error) in errors {
            assert_eq!(library_head(source), Err((*error).to_owned()));
        }
    }
}
