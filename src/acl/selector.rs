//! What does a set of rules allow? Commands, keys and channels; a user has one such set and any number of further ones.
//!
//! Invariant: [`Selector::words`] gives the rules that make an equal selector when they are applied to a new one.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::acl::catalogue::Catalogue;
use crate::util::{glob, quote};

/// A key may be read.
pub const READ: u8 = 1;
/// A key may be written.
pub const WRITE: u8 = 2;

/// Why a rule was not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No such command or category.
    Unknown,
    /// No rule looks like that.
    Syntax,
    /// A key pattern where all keys are allowed already.
    AfterAllKeys,
    /// A channel pattern where all channels are allowed already.
    AfterAllChannels,
    /// A password to remove that is not there.
    NoSuchPassword,
    /// Not a SHA-256 in hexadecimal.
    BadHash,
    /// A first argument of what is a subcommand already.
    FirstArgument,
    /// The same name twice in a file.
    Duplicate,
}

impl Fault {
    /// What clients read.
    pub const fn text(self) -> &'static str {
        match self {
            Fault::Unknown => "Unknown command or category name in ACL",
            Fault::Syntax => "Syntax error",
            Fault::AfterAllKeys => {
                "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any \
                 effect. Try 'resetkeys' to start with an empty list of patterns"
            }
            Fault::AfterAllChannels => {
                "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any \
                 effect. Try 'resetchannels' to start with an empty list of channels"
            }
            Fault::NoSuchPassword => "The password you are trying to remove from the user does not exist",
            Fault::BadHash => {
                "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
            }
            Fault::FirstArgument => "Allowing first-arg of a subcommand is not supported",
            Fault::Duplicate => "Duplicate user found. A user can only be defined once in config files",
        }
    }
}

/// Why a request may not run. Of several reasons the greatest is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// The command itself.
    Command,
    /// The key at this position.
    Key(usize),
    /// The channel at this position.
    Channel(usize),
}

/// A key that a request names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyUse {
    /// Its position.
    pub index: usize,
    /// [`READ`] and [`WRITE`], or neither.
    pub access: u8,
}

/// What a request wants to do.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'r> {
    /// The id of the command.
    pub command: usize,
    /// Everybody may run the command, if its keys are theirs.
    pub for_all: bool,
    /// The arguments.
    pub argv: &'r [&'r [u8]],
    /// The position of the command's first own argument.
    pub head: usize,
    /// The keys.
    pub keys: &'r [KeyUse],
    /// The positions of channels, from and to.
    pub channels: (usize, usize),
    /// They are patterns.
    pub patterns: bool,
}

/// A pattern that keys may match.
#[derive(Debug, Clone, PartialEq, Eq)]
struct KeyPattern {
    pattern: Box<[u8]>,
    access: u8,
}

/// One set of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    all_keys: bool,
    all_channels: bool,
    /// All commands are allowed, those that are yet to come too.
    all_commands: bool,
    /// All commands were given at first.
    begins_with_all: bool,
    keys: Vec<KeyPattern>,
    channels: Vec<Box<[u8]>>,
    /// A bit for each command.
    commands: Vec<u64>,
    /// First arguments with which a command that is not allowed is.
    first_arguments: BTreeMap<usize, BTreeSet<Box<[u8]>>>,
    /// The rules that led to `commands`, as far as they still matter.
    rules: Vec<(bool, Box<[u8]>)>,
}

/// True for bytes that would end a rule where rules are read from.
pub(crate) fn has_blanks(text: &[u8]) -> bool {
    text.iter().any(|b| matches!(b, 0 | b'\t'..=b'\r' | b' '))
}

impl Selector {
    /// Nothing is allowed, or all channels.
    pub fn new(catalogue: &Catalogue, all_channels: bool) -> Self {
        Selector {
            all_keys: false,
            all_channels,
            all_commands: false,
            begins_with_all: false,
            keys: Vec::new(),
            channels: Vec::new(),
            commands: vec![0; catalogue.len().div_ceil(64)],
            first_arguments: BTreeMap::new(),
            rules: Vec::new(),
        }
    }

    /// Applies a rule.
    ///
    /// # Errors
    /// When it is none; the selector is as before then.
    pub fn apply(&mut self, rule: &[u8], catalogue: &Catalogue) -> Result<(), Fault> {
        let is = |word: &str| rule.eq_ignore_ascii_case(word.as_bytes());
        if is("allkeys") || is("~*") || is("resetkeys") {
            self.all_keys = !is("resetkeys");
            self.keys.clear();
        } else if is("allchannels") || is("&*") || is("resetchannels") {
            self.all_channels = !is("resetchannels");
            self.channels.clear();
        } else if is("allcommands") || is("+@all") {
            self.all_or_no_commands(true);
        } else if is("nocommands") || is("-@all") {
            self.all_or_no_commands(false);
        } else {
            return match rule {
                [b'~' | b'%', ..] => self.add_key_pattern(rule),
                [b'&', pattern @ ..] => self.add_channel(pattern),
                [sign @ (b'+' | b'-'), b'@', name @ ..] => self.category(name, *sign == b'+', catalogue),
                [b'+', name @ ..] => self.allow(name, catalogue),
                [b'-', name @ ..] => {
                    let id = catalogue.find(name).ok_or(Fault::Unknown)?;
                    self.set_command(id, false, catalogue);
                    self.note(catalogue.name(id).as_bytes(), false);
                    Ok(())
                }
                _ => Err(Fault::Syntax),
            };
        }
        Ok(())
    }

    fn all_or_no_commands(&mut self, all: bool) {
        self.commands.fill(if all { u64::MAX } else { 0 });
        (self.all_commands, self.begins_with_all) = (all, all);
        self.rules.clear();
        self.first_arguments.clear();
    }

    fn add_key_pattern(&mut self, rule: &[u8]) -> Result<(), Fault> {
        if self.all_keys {
            return Err(Fault::AfterAllKeys);
        }
        let tilde = memchr::memchr(b'~', rule).ok_or(Fault::Syntax)?;
        let access = match rule.get(1..tilde).unwrap_or_default().to_ascii_uppercase().as_slice() {
            b"" if tilde == 0 => READ | WRITE,
            b"R" => READ,
            b"W" => WRITE,
            b"RW" | b"WR" => READ | WRITE,
            _ => return Err(Fault::Syntax),
        };
        let pattern = rule.get(tilde + 1..).unwrap_or_default();
        if has_blanks(pattern) {
            return Err(Fault::Syntax);
        }
        match self.keys.iter_mut().find(|known| *known.pattern == *pattern) {
            Some(known) => known.access |= access,
            None => self.keys.push(KeyPattern { pattern: pattern.into(), access }),
        }
        Ok(())
    }

    fn add_channel(&mut self, pattern: &[u8]) -> Result<(), Fault> {
        if self.all_channels {
            return Err(Fault::AfterAllChannels);
        }
        if has_blanks(pattern) {
            return Err(Fault::Syntax);
        }
        if !self.channels.iter().any(|known| **known == *pattern) {
            self.channels.push(pattern.into());
        }
        Ok(())
    }

    fn category(&mut self, name: &[u8], allow: bool, catalogue: &Catalogue) -> Result<(), Fault> {
        let bit = catalogue.category(name).ok_or(Fault::Unknown)?;
        for id in catalogue.in_category(bit) {
            self.set_command(id, allow, catalogue);
        }
        self.note(&[b"@", name].concat(), allow);
        Ok(())
    }

    fn allow(&mut self, name: &[u8], catalogue: &Catalogue) -> Result<(), Fault> {
        let Some(bar) = memchr::memrchr(b'|', name) else {
            let id = catalogue.find(name).ok_or(Fault::Unknown)?;
            self.set_command(id, true, catalogue);
            self.note(catalogue.name(id).as_bytes(), true);
            return Ok(());
        };
        let (command, argument) = (&name[..bar], &name[bar + 1..]);
        let id = catalogue.find(command).ok_or(Fault::Unknown)?;
        if catalogue.is_subcommand(id) {
            return Err(Fault::FirstArgument);
        }
        if argument.is_empty() || has_blanks(argument) {
            return Err(Fault::Syntax);
        }
        if catalogue.subcommands(id).is_empty() {
            self.first_arguments.entry(id).or_default().insert(argument.to_ascii_lowercase().into());
        } else {
            self.set_command(catalogue.find(name).ok_or(Fault::Unknown)?, true, catalogue);
        }
        self.note(name, true);
        Ok(())
    }

    /// Allows or forbids a command with its subcommands.
    fn set_command(&mut self, id: usize, allow: bool, catalogue: &Catalogue) {
        self.first_arguments.remove(&id);
        for id in std::iter::once(id).chain(catalogue.subcommands(id).iter().copied()) {
            let Some(word) = self.commands.get_mut(id / 64) else { continue };
            let bit = 1 << (id % 64);
            *word = if allow { *word | bit } else { *word & !bit };
        }
        self.all_commands = self.begins_with_all && self.commands.iter().all(|word| *word == u64::MAX);
    }

    /// Remembers a rule about commands. What was said about the same command or category, or about its subcommands,
    /// does not matter any more.
    fn note(&mut self, rule: &[u8], allow: bool) {
        let rule = rule.to_ascii_lowercase();
        self.rules.retain(|(_, old)| match old.strip_prefix(rule.as_slice()) {
            Some(rest) => !rest.is_empty() && rest[0] != b'|',
            None => true,
        });
        self.rules.push((allow, rule.into()));
    }

    /// True when nothing is forbidden.
    pub fn allows_everything(&self) -> bool {
        self.all_commands && self.all_keys && self.all_channels
    }

    /// True when every key may be read and written.
    pub fn allows_all_keys(&self) -> bool {
        self.all_keys
    }

    /// True when every key there is may be used like that, also those that a request does not name.
    pub fn allows_any_key(&self, access: u8) -> bool {
        self.all_keys || self.keys.iter().any(|k| k.access & access == access && *k.pattern == *b"*")
    }

    /// True when every channel is allowed.
    pub fn allows_all_channels(&self) -> bool {
        self.all_channels
    }

    /// The patterns of channels that are allowed.
    pub fn channels(&self) -> &[Box<[u8]>] {
        &self.channels
    }

    /// True when a channel may be used. A pattern that somebody subscribes to must be one of those that are allowed.
    pub fn allows_channel(&self, name: &[u8], is_pattern: bool) -> bool {
        let fits = |allowed: &[u8]| {
            if is_pattern { allowed == name } else { glob::matches(allowed, name, false) }
        };
        self.all_channels || self.channels.iter().any(|allowed| fits(allowed))
    }

    /// True when a key may be used like that.
    pub fn allows_key(&self, name: &[u8], access: u8) -> bool {
        let fits = |k: &KeyPattern| k.access & access == access && glob::matches(&k.pattern, name, false);
        self.all_keys || self.keys.iter().any(fits)
    }

    fn allows_command(&self, wanted: &Wanted<'_>) -> bool {
        let id = wanted.command;
        if self.all_commands || wanted.for_all {
            return true;
        }
        if self.commands.get(id / 64).is_some_and(|word| word & (1 << (id % 64)) != 0) {
            return true;
        }
        let (allowed, first) = (self.first_arguments.get(&id), wanted.argv.get(wanted.head));
        allowed
            .zip(first)
            .is_some_and(|(allowed, first)| allowed.contains(first.to_ascii_lowercase().as_slice()))
    }

    /// Says why a request may not run.
    ///
    /// # Errors
    /// The first reason.
    pub fn check(&self, wanted: &Wanted<'_>) -> Result<(), Refusal> {
        if !self.allows_command(wanted) {
            return Err(Refusal::Command);
        }
        let at = |index: usize| wanted.argv.get(index).copied().unwrap_or_default();
        if let Some(key) = wanted.keys.iter().find(|key| !self.allows_key(at(key.index), key.access)) {
            return Err(Refusal::Key(key.index));
        }
        let (from, to) = wanted.channels;
        match (from..to).find(|&index| !self.allows_channel(at(index), wanted.patterns)) {
            Some(index) => Err(Refusal::Channel(index)),
            None => Ok(()),
        }
    }

    /// The patterns of keys as ACL GETUSER shows them.
    pub fn key_words(&self) -> Vec<Vec<u8>> {
        if self.all_keys {
            return vec![b"~*".to_vec()];
        }
        let prefix = |access: u8| match access {
            READ => &b"%R~"[..],
            WRITE => b"%W~",
            _ => b"~",
        };
        self.keys.iter().map(|k| [prefix(k.access), &k.pattern].concat()).collect()
    }

    /// The patterns of channels as ACL GETUSER shows them.
    pub fn channel_words(&self) -> Vec<Vec<u8>> {
        if self.all_channels {
            return vec![b"&*".to_vec()];
        }
        self.channels.iter().map(|pattern| [b"&", &**pattern].concat()).collect()
    }

    /// The rules about commands.
    pub fn command_words(&self) -> Vec<Vec<u8>> {
        let first = if self.begins_with_all { b"+@all" } else { b"-@all" };
        let rules = self.rules.iter().map(|(allow, rule)| {
            let sign: &[u8] = if *allow { b"+" } else { b"-" };
            [sign, rule].concat()
        });
        std::iter::once(first.to_vec()).chain(rules).collect()
    }

    /// All rules.
    pub fn words(&self) -> Vec<Vec<u8>> {
        let mut words = self.key_words();
        if !self.all_channels {
            words.push(b"resetchannels".to_vec());
        }
        words.extend(self.channel_words());
        words.extend(self.command_words());
        words
    }

    /// All rules as the one word that they are among a user's.
    pub fn parenthesised(&self) -> Vec<u8> {
        let words = self.words();
        let words: Vec<Cow<'_, [u8]>> = words.iter().map(|word| guarded(word)).collect();
        [b"(", &*words.join(&b' '), b")"].concat()
    }
}

/// A rule within parentheses, in quotes where it would otherwise be taken for something else.
fn guarded(word: &[u8]) -> Cow<'_, [u8]> {
    let plain = !word.iter().any(|b| matches!(b, b'"' | b'\'')) && !word.ends_with(b")");
    if plain { Cow::Borrowed(word) } else { Cow::Owned(quote::quoted(word)) }
}
