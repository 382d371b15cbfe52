//! Who is a user? A name, passwords, and what is allowed. A [`User`] never changes: a change makes another one.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use crate::acl::catalogue::Catalogue;
use crate::acl::selector::{Fault, READ, Refusal, Selector, Wanted};
use crate::util::{quote, rng};

/// What the meaning of rules depends on.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'c> {
    /// The commands.
    pub catalogue: &'c Catalogue,
    /// New users may use all channels (`acl-pubsub-default`).
    pub all_channels: bool,
}

/// A rule that was not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bad {
    /// This parenthesis is never closed.
    Open(Vec<u8>),
    /// This rule is wrong.
    Rule(Vec<u8>, Fault),
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Stays the same through all changes, and is never used again.
    pub id: u64,
    /// Its name.
    pub name: Box<[u8]>,
    /// It may log in.
    enabled: bool,
    /// Any password will do.
    nopass: bool,
    /// What it restores is looked through first.
    sanitize: bool,
    passwords: Vec<[u8; 32]>,
    /// The rules of its own; then those in parentheses.
    root: Selector,
    selectors: Vec<Selector>,
    unrestricted: bool,
}

/// True for what may name a user: nothing that would end a word or a line where users are listed.
pub fn is_name(name: &[u8]) -> bool {
    !name.iter().any(|b| *b == b' ' || b.is_ascii_control())
}

fn digest(password: &[u8]) -> [u8; 32] {
    Sha256::digest(password).into()
}

/// Reads a SHA-256 in lower-case hexadecimal.
fn parse_digest(text: &[u8]) -> Result<[u8; 32], Fault> {
    let mut digest = [0; 32];
    let digit = |b: u8| match b {
        b'0'..=b'9' => Ok(b - b'0'),
        b'a'..=b'f' => Ok(b - b'a' + 10),
        _ => Err(Fault::BadHash),
    };
    if text.len() != 64 {
        return Err(Fault::BadHash);
    }
    for (byte, pair) in digest.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Ok(digest)
}

/// Puts the words of a selector together that was given as several.
///
/// # Errors
/// The word whose parenthesis is not closed.
pub fn join_selectors<'w>(words: &[&'w [u8]]) -> Result<Vec<Cow<'w, [u8]>>, Bad> {
    let mut joined = Vec::with_capacity(words.len());
    let mut open: Option<(&[u8], Vec<u8>)> = None;
    for word in words {
        if let Some((first, mut whole)) = open.take() {
            whole.push(b' ');
            whole.extend_from_slice(word);
            if word.ends_with(b")") {
                joined.push(Cow::Owned(whole));
            } else {
                open = Some((first, whole));
            }
        } else if word.starts_with(b"(") && !word.ends_with(b")") {
            open = Some((word, word.to_vec()));
        } else {
            joined.push(Cow::Borrowed(*word));
        }
    }
    match open {
        Some((first, _)) => Err(Bad::Open(first.to_vec())),
        None => Ok(joined),
    }
}

impl User {
    /// A user that may do nothing, and not log in.
    pub fn new(id: u64, name: &[u8], setting: Setting<'_>) -> Self {
        let root = Selector::new(setting.catalogue, setting.all_channels);
        User {
            id,
            name: name.into(),
            enabled: false,
            nopass: false,
            sanitize: true,
            passwords: Vec::new(),
            root,
            selectors: Vec::new(),
            unrestricted: false,
        }
    }

    /// A user that may do everything, for what the server does by itself.
    pub fn internal() -> Self {
        let nothing = Catalogue::default();
        let mut user = User::new(0, b"default", Setting { catalogue: &nothing, all_channels: true });
        (user.enabled, user.nopass, user.unrestricted) = (true, true, true);
        user
    }

    /// The user that comes of applying rules.
    ///
    /// # Errors
    /// The first rule that is none.
    pub fn with_rules(&self, words: &[&[u8]], setting: Setting<'_>) -> Result<User, Bad> {
        let mut user = self.clone();
        for rule in join_selectors(words)? {
            user.apply(&rule, setting).map_err(|fault| Bad::Rule(rule.into_owned(), fault))?;
        }
        Ok(user)
    }

    /// Applies one rule; the words of a selector are one.
    ///
    /// # Errors
    /// When it is none.
    pub fn apply(&mut self, rule: &[u8], setting: Setting<'_>) -> Result<(), Fault> {
        let is = |word: &str| rule.eq_ignore_ascii_case(word.as_bytes());
        if is("on") || is("off") {
            self.enabled = is("on");
        } else if is("skip-sanitize-payload") || is("sanitize-payload") {
            self.sanitize = is("sanitize-payload");
        } else if is("nopass") || is("resetpass") {
            self.nopass = is("nopass");
            self.passwords.clear();
        } else if is("clearselectors") {
            self.selectors.clear();
        } else if is("reset") {
            *self = User::new(self.id, &self.name, setting);
        } else {
            match rule {
                [] => {}
                [b'>', password @ ..] => self.add_password(digest(password)),
                [b'#', hash @ ..] => self.add_password(parse_digest(hash)?),
                [b'<', password @ ..] => self.remove_password(digest(password))?,
                [b'!', hash @ ..] => self.remove_password(parse_digest(hash)?)?,
                [b'(', rules @ .., b')'] => self.add_selector(rules, setting)?,
                _ => self.root.apply(rule, setting.catalogue)?,
            }
        }
        let unrestricted = self.all().any(Selector::allows_everything);
        self.unrestricted = unrestricted;
        Ok(())
    }

    fn add_password(&mut self, digest: [u8; 32]) {
        if !self.passwords.contains(&digest) {
            self.passwords.push(digest);
        }
        self.nopass = false;
    }

    fn remove_password(&mut self, digest: [u8; 32]) -> Result<(), Fault> {
        let at = self.passwords.iter().position(|known| *known == digest).ok_or(Fault::NoSuchPassword)?;
        self.passwords.remove(at);
        Ok(())
    }

    fn add_selector(&mut self, rules: &[u8], setting: Setting<'_>) -> Result<(), Fault> {
        let mut selector = Selector::new(setting.catalogue, setting.all_channels);
        for rule in quote::split(rules).ok_or(Fault::Syntax)? {
            selector.apply(&rule, setting.catalogue)?;
        }
        self.selectors.push(selector);
        Ok(())
    }

    fn all(&self) -> impl Iterator<Item = &Selector> {
        std::iter::once(&self.root).chain(&self.selectors)
    }

    /// True when nothing is forbidden: no request has to be looked at.
    pub fn is_unrestricted(&self) -> bool {
        self.unrestricted
    }

    /// True when it may log in.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// True when it may log in with any password, and, as the default user, without.
    pub fn needs_no_password(&self) -> bool {
        self.nopass
    }

    /// True when its keys have to be known before a request can be judged.
    pub fn asks_for_keys(&self) -> bool {
        !self.all().all(Selector::allows_all_keys)
    }

    /// True when this is a password of the user. Takes the same time wherever the difference is.
    pub fn has_password(&self, password: &[u8]) -> bool {
        let given = digest(password);
        let differs = |known: &[u8; 32]| known.iter().zip(&given).fold(0, |diff, (x, y)| diff | (x ^ y)) != 0;
        self.nopass || self.passwords.iter().fold(false, |found, known| found | !differs(known))
    }

    /// Says why a request may not run.
    ///
    /// # Errors
    /// The most telling reason among those of its selectors.
    pub fn check(&self, wanted: &Wanted<'_>) -> Result<(), Refusal> {
        if self.unrestricted {
            return Ok(());
        }
        let mut worst = Refusal::Command;
        for selector in self.all() {
            match selector.check(wanted) {
                Ok(()) => return Ok(()),
                Err(refusal) => worst = worst.max(refusal),
            }
        }
        Err(worst)
    }

    /// True when a request may run and read every key there is: what it will read cannot be told beforehand.
    pub fn may_read_all_keys(&self, wanted: &Wanted<'_>) -> bool {
        self.unrestricted || self.all().any(|s| s.check(wanted).is_ok() && s.allows_any_key(READ))
    }

    /// True when a key may be read: what may be told of it.
    pub fn may_read_key(&self, name: &[u8]) -> bool {
        self.unrestricted || self.all().any(|s| s.allows_key(name, READ))
    }

    /// True when a channel may be used.
    pub fn may_use_channel(&self, name: &[u8], is_pattern: bool) -> bool {
        self.unrestricted || self.all().any(|s| s.allows_channel(name, is_pattern))
    }

    /// True when something that `before` might hear cannot be heard by this user.
    pub fn loses_channels(&self, before: &User) -> bool {
        if self.all().any(Selector::allows_all_channels) {
            return false;
        }
        let kept = |name: &[u8]| self.all().any(|s| s.channels().iter().any(|kept| **kept == *name));
        !before.all().all(|s| !s.allows_all_channels() && s.channels().iter().all(|name| kept(name)))
    }

    /// Its flags as ACL GETUSER shows them.
    pub fn flags(&self) -> Vec<&'static str> {
        let mut flags = vec![if self.enabled { "on" } else { "off" }];
        if self.nopass {
            flags.push("nopass");
        }
        flags.push(if self.sanitize { "sanitize-payload" } else { "skip-sanitize-payload" });
        flags
    }

    /// Its passwords' SHA-256 in hexadecimal.
    pub fn password_hashes(&self) -> impl ExactSizeIterator<Item = String> {
        self.passwords.iter().map(|digest| rng::to_hex(digest))
    }

    /// The rules of its own.
    pub fn root(&self) -> &Selector {
        &self.root
    }

    /// The rules in parentheses.
    pub fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    /// The rules that make such a user.
    pub fn words(&self) -> Vec<Vec<u8>> {
        let mut words: Vec<Vec<u8>> = self.flags().into_iter().map(Vec::from).collect();
        words.extend(self.password_hashes().map(|hash| format!("#{hash}").into_bytes()));
        words.extend(self.root.words());
        words.extend(self.selectors.iter().map(Selector::parenthesised));
        words
    }

    /// The line that ACL LIST shows and an ACL file holds: `user NAME RULE ...`.
    pub fn line(&self) -> Vec<u8> {
        let words = self.words();
        [&b"user "[..], &self.name, b" ", &words.join(&b' ')].concat()
    }

    /// What follows `user` in a configuration file, where quotes mean something.
    pub fn directive(&self) -> Vec<u8> {
        let line = [&self.name, &b" "[..], &self.words().join(&b' ')].concat();
        let words = line.split(|b| *b == b' ').map(|word| {
            let plain = word.iter().all(|b| (b'!'..=b'~').contains(b) && !matches!(b, b'"' | b'\''));
            if plain && !word.is_empty() { word.to_vec() } else { quote::quoted(word) }
        });
        words.collect::<Vec<_>>().join(&b' ')
    }
}
