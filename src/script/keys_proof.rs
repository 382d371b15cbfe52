//! Does a script touch only keys that it declared? If its text proves it, the script runs under the
//! locks of its keys; every other script runs alone.
//!
//! The proof reads tokens, not a syntax tree, and gives up at the first thing it does not know:
//!
//! * `KEYS` is only read: `KEYS[...]`, `#KEYS`, or handed to a function that only reads it;
//! * `redis.call` and `redis.pcall` are only called, directly or by a local that is nothing else;
//! * each call names its command by a plain string, and has in every key position a `KEYS[...]`, or
//!   a name that is bound once, to one, and never assigned;
//! * nothing that makes code from text or reaches the globals by another way occurs.
//!
//! Invariant: a wrong `true` would let a script touch what it has not locked, so doubt is `false`.

use std::collections::{HashMap, HashSet};

/// Longer scripts are not looked at.
pub const MAX_SOURCE: usize = 64 * 1024;
/// How many more arguments an open argument list is tried with.
const OPEN_TRIES: usize = 6;
/// Names whose mere occurrence ends the proof.
const UNKNOWABLE: &[&[u8]] = &[
    b"_G",
    b"load",
    b"loadstring",
    b"getfenv",
    b"setfenv",
    b"rawset",
    b"dofile",
    b"require",
    // The only global that is a string: an unbound name must not be able to become a key.
    b"_VERSION",
];
/// Functions that read a table and keep nothing of it; they must not be redefined.
const READERS: &[&[u8]] = &[b"ipairs", b"pairs", b"unpack"];
/// Members of `redis` that touch no key.
const HARMLESS: &[&[u8]] = &[
    b"error_reply",
    b"status_reply",
    b"sha1hex",
    b"log",
    b"setresp",
    b"set_repl",
    b"replicate_commands",
    b"breakpoint",
    b"debug",
    b"acl_check_cmd",
    b"REDIS_VERSION",
    b"REDIS_VERSION_NUM",
    b"LOG_DEBUG",
    b"LOG_VERBOSE",
    b"LOG_NOTICE",
    b"LOG_WARNING",
    b"REPL_ALL",
    b"REPL_NONE",
    b"REPL_AOF",
    b"REPL_SLAVE",
    b"REPL_REPLICA",
];

/// Whether argument `position` (the command name is 0) of a `command` with `argc` arguments in all
/// is a key. `None` when that cannot be said, and for every command that touches anything but the
/// keys among its arguments.
pub type IsKeyPosition<'a> = &'a dyn Fn(&[u8], usize, usize) -> Option<bool>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Name(&'a [u8]),
    /// A string; `None` when it has escapes or is a long one.
    Text(Option<&'a [u8]>),
    Number,
    Open(u8),
    Close(u8),
    Assign,
    Comma,
    Dot,
    Dots,
    Hash,
    Colon,
    Semicolon,
    Other,
}

// ---- tokens ----

/// The end of a long bracket that opens at `at`, if one does; its content is between.
fn long_bracket(source: &[u8], at: usize) -> Option<Option<usize>> {
    let level = source.get(at + 1..)?.iter().take_while(|b| **b == b'=').count();
    if source.get(at) != Some(&b'[') || source.get(at + 1 + level) != Some(&b'[') {
        return None;
    }
    let closing = [b"]".as_slice(), &vec![b'='; level], b"]"].concat();
    let from = at + 2 + level;
    Some(memchr::memmem::find(&source[from..], &closing).map(|n| from + n + closing.len()))
}

fn tokens(source: &[u8]) -> Option<Vec<Token<'_>>> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(&byte) = source.get(at) {
        let next = source.get(at + 1).copied().unwrap_or(0);
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c => at += 1,
            b'-' if next == b'-' => {
                at = match long_bracket(source, at + 2) {
                    Some(end) => end?,
                    // Either line break ends a comment.
                    None => memchr::memchr2(b'\n', b'\r', &source[at..]).map_or(source.len(), |n| at + n),
                };
            }
            b'[' if matches!(next, b'[' | b'=') => match long_bracket(source, at) {
                Some(end) => {
                    out.push(Token::Text(None));
                    at = end?;
                }
                None => {
                    out.push(Token::Open(b'['));
                    at += 1;
                }
            },
            b'"' | b'\'' => {
                let (token, end) = short_string(source, at, byte)?;
                out.push(token);
                at = end;
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                let word = |b: &&u8| b.is_ascii_alphanumeric() || **b == b'_';
                let end = at + source[at..].iter().take_while(word).count();
                out.push(Token::Name(&source[at..end]));
                at = end;
            }
            b'0'..=b'9' => {
                let digit = |b: &&u8| b.is_ascii_alphanumeric() || **b == b'.';
                at += source[at..].iter().take_while(digit).count();
                out.push(Token::Number);
            }
            0 | 0x80.. => return None,
            _ => {
                let (token, length) = symbol(byte, next, source.get(at + 2).copied());
                out.push(token);
                at += length;
            }
        }
    }
    Some(out)
}

fn short_string(source: &[u8], at: usize, quote: u8) -> Option<(Token<'_>, usize)> {
    let mut end = at + 1;
    let mut plain = true;
    loop {
        match *source.get(end)? {
            b'\\' => {
                plain = false;
                end += 2;
            }
            b'\n' => return None,
            b if b == quote => break,
            _ => end += 1,
        }
    }
    Some((Token::Text(plain.then(|| &source[at + 1..end])), end + 1))
}

fn symbol(byte: u8, next: u8, third: Option<u8>) -> (Token<'static>, usize) {
    match (byte, next) {
        (b'(' | b'{' | b'[', _) => (Token::Open(byte), 1),
        (b')' | b'}' | b']', _) => (Token::Close(byte), 1),
        (b'=' | b'~' | b'<' | b'>', b'=') => (Token::Other, 2),
        (b'=', _) => (Token::Assign, 1),
        (b',', _) => (Token::Comma, 1),
        (b'#', _) => (Token::Hash, 1),
        (b':', _) => (Token::Colon, 1),
        (b';', _) => (Token::Semicolon, 1),
        (b'.', b'.') if third == Some(b'.') => (Token::Dots, 3),
        (b'.', b'.') => (Token::Other, 2),
        (b'.', b'0'..=b'9') => (Token::Number, 1),
        (b'.', _) => (Token::Dot, 1),
        _ => (Token::Other, 1),
    }
}

// ---- the proof ----

struct Proof<'a> {
    tokens: Vec<Token<'a>>,
    /// For each bracket, where its partner is.
    partner: HashMap<usize, usize>,
    /// For each token, whether it stands directly in parentheses or braces (and not at the level
    /// of statements, where a comma may separate the targets of an assignment).
    in_list: Vec<bool>,
    /// Names bound once, to a key.
    keys: HashSet<&'a [u8]>,
    /// Names bound once, to `redis.call` or `redis.pcall`.
    calls: HashSet<&'a [u8]>,
}

impl<'a> Proof<'a> {
    fn new(tokens: Vec<Token<'a>>) -> Option<Self> {
        let mut partner = HashMap::new();
        let mut in_list = Vec::with_capacity(tokens.len());
        // What is open: a bracket with its index, or a block.
        let mut open: Vec<Option<(u8, usize)>> = Vec::new();
        for (at, token) in tokens.iter().enumerate() {
            in_list.push(matches!(open.last(), Some(Some((b'(' | b'{', _)))));
            match token {
                Token::Open(bracket) => open.push(Some((*bracket, at))),
                Token::Close(bracket) => {
                    let (opened, from) = open.pop()??;
                    if !matches!((opened, bracket), (b'(', b')') | (b'{', b'}') | (b'[', b']')) {
                        return None;
                    }
                    partner.insert(from, at);
                }
                Token::Name(b"function" | b"if" | b"do" | b"repeat") => open.push(None),
                Token::Name(b"end" | b"until") if open.pop()?.is_some() => return None,
                _ => {}
            }
        }
        let empty = open.is_empty();
        let (keys, calls) = (HashSet::new(), HashSet::new());
        empty.then_some(Self { tokens, partner, in_list, keys, calls })
    }

    fn at(&self, index: usize) -> Option<Token<'a>> {
        self.tokens.get(index).copied()
    }

    fn before(&self, index: usize) -> Option<Token<'a>> {
        index.checked_sub(1).and_then(|index| self.at(index))
    }

    fn is_name(&self, index: usize, name: &[u8]) -> bool {
        self.at(index) == Some(Token::Name(name))
    }

    /// The index behind `KEYS[...]` that starts here.
    fn key_element(&self, at: usize) -> Option<usize> {
        if !self.is_name(at, b"KEYS") || self.at(at + 1) != Some(Token::Open(b'[')) {
            return None;
        }
        self.partner.get(&(at + 1)).map(|end| end + 1)
    }

    /// The index behind `redis.call` or `redis.pcall` that starts here.
    fn call_function(&self, at: usize) -> Option<usize> {
        let is = self.is_name(at, b"redis")
            && self.at(at + 1) == Some(Token::Dot)
            && (self.is_name(at + 2, b"call") || self.is_name(at + 2, b"pcall"));
        is.then_some(at + 3)
    }

    /// Whether an expression that ends before `at` is complete there (so that nothing is indexed,
    /// called, concatenated or compared any more). At the level of statements the next statement
    /// may follow: a name or keyword other than an operator.
    fn ends(&self, at: usize) -> bool {
        match self.at(at) {
            None | Some(Token::Comma | Token::Semicolon) => true,
            Some(Token::Name(word)) => !matches!(word, b"and" | b"or"),
            _ => false,
        }
    }

    /// Finds the names that stand for a key or for a call, and nothing else.
    fn bind(&mut self) {
        let mut declared: HashMap<&'a [u8], usize> = HashMap::new();
        let mut assigned: HashSet<&'a [u8]> = HashSet::new();
        let (mut keys, mut calls) = (Vec::new(), Vec::new());
        for at in 0..self.tokens.len() {
            match self.at(at) {
                Some(Token::Name(b"local")) if self.is_name(at + 1, b"function") => {
                    self.declare(at + 2, &mut declared);
                }
                Some(Token::Name(b"local")) => {
                    self.locals(at + 1, &mut declared, &mut keys, &mut calls);
                }
                Some(Token::Name(b"for")) => self.loop_names(at + 1, &mut declared, &mut keys),
                Some(Token::Name(b"function")) => self.parameters(at + 1, &mut declared),
                Some(Token::Name(name)) => {
                    let target = match self.at(at + 1) {
                        Some(Token::Assign) => true,
                        Some(Token::Comma) => !self.in_list.get(at).copied().unwrap_or(false),
                        _ => false,
                    };
                    // Fields of constructors and the declarations themselves look the same; a
                    // declaration is told apart by what precedes it.
                    if target && !self.is_declaration(at) {
                        assigned.insert(name);
                    }
                }
                _ => {}
            }
        }
        let once = |name: &&'a [u8]| declared.get(name) == Some(&1) && !assigned.contains(name);
        self.keys = keys.into_iter().filter(once).collect();
        self.calls = calls.into_iter().filter(once).collect();
    }

    /// Whether the name is one of the names of a `local` or `for`.
    fn is_declaration(&self, at: usize) -> bool {
        let mut at = at;
        loop {
            match self.before(at) {
                Some(Token::Name(b"local" | b"for")) => return true,
                Some(Token::Comma) if at >= 2 => match self.at(at - 2) {
                    Some(Token::Name(_)) => at -= 2,
                    _ => return false,
                },
                _ => return false,
            }
        }
    }

    fn declare(&self, at: usize, declared: &mut HashMap<&'a [u8], usize>) {
        if let Some(Token::Name(name)) = self.at(at) {
            *declared.entry(name).or_default() += 1;
        }
    }

    /// The names from `at` on, separated by commas, and the index behind them.
    fn names(&self, at: usize) -> (Vec<&'a [u8]>, usize) {
        let (mut names, mut at) = (Vec::new(), at);
        while let Some(Token::Name(name)) = self.at(at) {
            names.push(name);
            at += 1;
            if self.at(at) != Some(Token::Comma) {
                break;
            }
            at += 1;
        }
        (names, at)
    }

    fn locals(
        &self,
        at: usize,
        declared: &mut HashMap<&'a [u8], usize>,
        keys: &mut Vec<&'a [u8]>,
        calls: &mut Vec<&'a [u8]>,
    ) {
        let (names, mut at) = self.names(at);
        for name in &names {
            *declared.entry(name).or_default() += 1;
        }
        if self.at(at) != Some(Token::Assign) {
            return;
        }
        // As long as the values are understood, each goes to its name.
        let mut names = names.into_iter();
        while let Some(name) = names.next() {
            if self.unpacks_keys(at + 1) && self.ends(at + 5) {
                keys.push(name);
                keys.extend(names);
                return;
            }
            let bound = match (self.key_element(at + 1), self.call_function(at + 1)) {
                (Some(end), _) => (end, &mut *keys),
                (_, Some(end)) => (end, &mut *calls),
                _ => return,
            };
            if !self.ends(bound.0) {
                return;
            }
            bound.1.push(name);
            at = bound.0;
            if self.at(at) != Some(Token::Comma) {
                return;
            }
        }
    }

    /// `for i, key in ipairs(KEYS) do`
    fn loop_names(&self, at: usize, declared: &mut HashMap<&'a [u8], usize>, keys: &mut Vec<&'a [u8]>) {
        let (names, at) = self.names(at);
        for name in &names {
            *declared.entry(name).or_default() += 1;
        }
        let over_keys = self.is_name(at, b"in")
            && (self.is_name(at + 1, b"ipairs") || self.is_name(at + 1, b"pairs"))
            && self.at(at + 2) == Some(Token::Open(b'('))
            && self.is_name(at + 3, b"KEYS")
            && self.at(at + 4) == Some(Token::Close(b')'))
            && self.is_name(at + 5, b"do");
        if let ([_, key], true) = (&names[..], over_keys) {
            keys.push(key);
        }
    }

    /// `function name.of.it(a, b)`: the name and the parameters.
    fn parameters(&self, at: usize, declared: &mut HashMap<&'a [u8], usize>) {
        self.declare(at, declared);
        let mut at = at;
        while !matches!(self.at(at), None | Some(Token::Open(b'('))) {
            at += 1;
        }
        for name in self.names(at + 1).0 {
            *declared.entry(name).or_default() += 1;
        }
    }

    /// Checks every use of a name that matters.
    fn uses_are_known(&self, is_key: IsKeyPosition<'_>) -> bool {
        (0..self.tokens.len()).all(|at| {
            let Some(Token::Name(name)) = self.at(at) else { return true };
            // A field of something else, or a field of a constructor, is not the global.
            if self.before(at) == Some(Token::Dot) {
                return true;
            }
            if UNKNOWABLE.contains(&name) {
                return false;
            }
            if name == b"KEYS" {
                return self.keys_are_read(at);
            }
            if name == b"redis" {
                return self.redis_is_known(at, is_key);
            }
            if READERS.contains(&name) {
                let called = self.at(at + 1) == Some(Token::Open(b'('));
                return called && self.before(at) != Some(Token::Name(b"function"));
            }
            if self.calls.contains(name) && !self.is_declaration(at) {
                return self.call_is_known(at + 1, is_key);
            }
            true
        })
    }

    fn keys_are_read(&self, at: usize) -> bool {
        if let Some(end) = self.key_element(at) {
            return match self.at(end) {
                Some(Token::Assign) => false,
                Some(Token::Comma) => self.in_list.get(at).copied().unwrap_or(false) || self.is_value(at),
                _ => true,
            };
        }
        if self.before(at) == Some(Token::Hash) {
            return true;
        }
        let Some(reader) = at.checked_sub(2) else { return false };
        if self.before(at) != Some(Token::Open(b'(')) {
            return false;
        }
        let prefix = self.before(reader);
        match self.at(reader) {
            // Answers the elements and nothing else. A method or field of that name may not.
            Some(Token::Name(b"unpack")) => {
                !matches!(prefix, Some(Token::Dot | Token::Colon))
                    && matches!(self.at(at + 1), Some(Token::Close(b')') | Token::Comma))
            }
            // These answer the table itself, so only a loop may see it.
            Some(Token::Name(b"ipairs" | b"pairs")) => {
                prefix == Some(Token::Name(b"in"))
                    && self.at(at + 1) == Some(Token::Close(b')'))
                    && self.is_name(at + 2, b"do")
            }
            _ => false,
        }
    }

    /// Whether the element is one of the values of `local a, b = KEYS[1], KEYS[2]`, or of a return.
    fn is_value(&self, at: usize) -> bool {
        match self.before(at) {
            Some(Token::Assign | Token::Name(b"return")) => true,
            Some(Token::Comma) => (0..at - 1)
                .rev()
                .find(|&start| self.key_element(start) == Some(at - 1))
                .is_some_and(|start| self.is_value(start)),
            _ => false,
        }
    }

    fn redis_is_known(&self, at: usize, is_key: IsKeyPosition<'_>) -> bool {
        if let Some(end) = self.call_function(at) {
            // The right side of `local call = redis.call` is known when the name is.
            if let (Some(Token::Assign), Some(Token::Name(name))) =
                (self.before(at), at.checked_sub(2).and_then(|i| self.at(i)))
                && self.calls.contains(name)
            {
                return true;
            }
            return self.call_is_known(end, is_key);
        }
        let member = match (self.at(at + 1), self.at(at + 2)) {
            (Some(Token::Dot), Some(Token::Name(member))) => member,
            _ => return false,
        };
        HARMLESS.contains(&member)
    }

    /// Checks the argument list that opens at `at`.
    fn call_is_known(&self, at: usize, is_key: IsKeyPosition<'_>) -> bool {
        if self.at(at) != Some(Token::Open(b'(')) {
            return false;
        }
        let Some(&end) = self.partner.get(&at) else { return false };
        let arguments = self.arguments(at, end);
        let [(first, after), rest @ ..] = &arguments[..] else { return false };
        let (Some(Token::Text(Some(command))), 1) = (self.at(*first), after - first) else {
            return false;
        };
        // The last argument may be several values, or none.
        let open = rest.last().filter(|(_, after)| self.may_be_many(*after));
        let (fixed, tail) = match open {
            None => (rest, 0..=0),
            Some(_) => (&rest[..rest.len() - 1], 0..=OPEN_TRIES),
        };
        let all_keys = open.is_some_and(|(from, after)| self.is_unpacked_keys(*from, *after));
        tail.clone().all(|more| {
            let argc = 1 + fixed.len() + more;
            let fixed_is_known =
                (1..).zip(fixed).all(|(position, &(from, after))| match is_key(command, argc, position) {
                    Some(false) => true,
                    Some(true) => self.is_key_argument(from, after),
                    None => false,
                });
            fixed_is_known
                && (1 + fixed.len()..argc).all(|position| match is_key(command, argc, position) {
                    Some(key) => !key || all_keys,
                    None => false,
                })
                && (argc > 1 || is_key(command, argc, 1).is_some())
        })
    }

    /// First token and the one behind the last, of each argument.
    fn arguments(&self, open: usize, close: usize) -> Vec<(usize, usize)> {
        let mut out = Vec::new();
        let mut from = open + 1;
        let mut at = open + 1;
        let mut blocks = 0_usize;
        while at < close {
            match self.at(at) {
                Some(Token::Open(_)) => at = self.partner.get(&at).copied().unwrap_or(close),
                Some(Token::Name(b"function" | b"if" | b"do" | b"repeat")) => blocks += 1,
                Some(Token::Name(b"end" | b"until")) => blocks = blocks.saturating_sub(1),
                Some(Token::Comma) if blocks == 0 => {
                    out.push((from, at));
                    from = at + 1;
                }
                _ => {}
            }
            at += 1;
        }
        if from < close {
            out.push((from, close));
        }
        out
    }

    fn is_key_argument(&self, from: usize, after: usize) -> bool {
        if self.key_element(from) == Some(after) {
            return true;
        }
        matches!(self.at(from), Some(Token::Name(name)) if after - from == 1 && self.keys.contains(name))
    }

    /// Whether an argument that ends before `after` may be other than one value: a call or `...`.
    fn may_be_many(&self, after: usize) -> bool {
        match self.before(after) {
            Some(Token::Close(b')' | b'}') | Token::Dots) => true,
            // `f "text"` is a call.
            Some(Token::Text(_)) => {
                matches!(
                    after.checked_sub(2).and_then(|i| self.at(i)),
                    Some(Token::Name(_) | Token::Close(_) | Token::Text(_))
                )
            }
            _ => false,
        }
    }

    /// Whether `unpack(KEYS)` stands here.
    fn unpacks_keys(&self, at: usize) -> bool {
        self.is_unpacked_keys(at, at + 4)
    }

    /// Whether the argument is `unpack(KEYS)` or `unpack(KEYS, ...)`.
    fn is_unpacked_keys(&self, from: usize, after: usize) -> bool {
        self.is_name(from, b"unpack")
            && self.at(from + 1) == Some(Token::Open(b'('))
            && self.is_name(from + 2, b"KEYS")
            && matches!(self.at(from + 3), Some(Token::Comma | Token::Close(b')')))
            && self.partner.get(&(from + 1)) == Some(&(after - 1))
    }
}

/// Whether the text of a script proves that every key it touches comes from `KEYS`.
pub fn keys_come_from_keys(source: &[u8], is_key: IsKeyPosition<'_>) -> bool {
    if source.len() > MAX_SOURCE {
        return false;
    }
    // The first line of a script with a shebang is no Lua.
    let source = match source.strip_prefix(b"#!") {
        Some(rest) => rest.get(memchr::memchr(b'\n', rest).unwrap_or(0)..).unwrap_or_default(),
        None => source,
    };
    let Some(mut proof) = tokens(source).and_then(Proof::new) else { return false };
    proof.bind();
    proof.uses_are_known(is_key)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A few commands, as the dispatcher will answer for them.
    fn is_key(command: &[u8], argc: usize, position: usize) -> Option<bool> {
        match &command.to_ascii_lowercase()[..] {
            b"ping" | b"time" => Some(false),
            b"get" | b"set" | b"incrby" | b"lpush" | b"hset" | b"zadd" | b"expire" | b"hgetall" => {
                Some(position == 1)
            }
            b"del" | b"mget" => Some(position >= 1),
            b"mset" => Some(position % 2 == 1),
            b"rename" => Some(position == 1 || position == 2),
            b"blpop" => Some(position >= 1 && position + 1 < argc),
            _ => None,
        }
    }

    fn proves(source: &str) -> bool {
        keys_come_from_keys(source.as_bytes(), &is_key)
    }

    #[test]
    fn proves_what_programs_write() {
        for source in [
            "return 1",
            "return redis.call('GET', KEYS[1])",
            "return redis.call(\"INCRBY\", KEYS[1], ARGV[1])",
            "local k = KEYS[1] return redis.call('get', k)",
            "local a, b = KEYS[1], KEYS[2]\nredis.call('rename', a, b)",
            "local call = redis.call return call('get', KEYS[1])",
            "for i, k in ipairs(KEYS) do redis.call('set', k, ARGV[i]) end",
            "for i = 1, #KEYS do redis.call('set', KEYS[i], i) end",
            "return redis.call('mget', unpack(KEYS))",
            "local a, b = unpack(KEYS) return redis.call('mget', a, b)",
            "local a = KEYS[1]; local call = redis.call; return call('get', a);",
            "return redis.call('del', KEYS[1], unpack(KEYS, 2))",
            "redis.call('lpush', KEYS[1], unpack(ARGV))",
            "local v = redis.call('get', KEYS[1]) if v == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end",
            "redis.call('set', KEYS[1], tostring(5))",
            "redis.call('set', KEYS[1], redis.call('get', KEYS[2]) .. 'x')",
            "local t = redis.call('time') return t",
            "-- redis.call('get', 'x')\nreturn redis.pcall('get', KEYS[1])",
            "--[[ redis.call('get', 'x') ]] return redis.call('ping')",
            "#!lua flags=no-writes\nreturn redis.call('get', KEYS[1])",
            "local s = 'redis.call(x)' return redis.sha1hex(s)",
            "return {KEYS[1], KEYS[2], ARGV[1]}",
            "local n = tonumber(ARGV[1]) or 0\nredis.log(redis.LOG_NOTICE, n)\nreturn redis.call('expire', KEYS[1], n * 2)",
            "local function f(x) return x + 1 end return redis.call('incrby', KEYS[1], f(1))",
            "if redis.call('get', KEYS[1]) == false then return redis.error_reply('no') end",
        ] {
            assert!(proves(source), "{source}");
        }
    }

    #[test]
    fn doubts_everything_else() {
        for source in [
            "return redis.call('get', ARGV[1])",
            "return redis.call('get', 'fixed')",
            "return redis.call('get', KEYS[1] .. ':x')",
            "return redis.call('get', (KEYS[1]))",
            "return redis.call(ARGV[1], KEYS[1])",
            "return redis.call('keys', '*')",
            "return redis.call('zunionstore', KEYS[1], 1, KEYS[2])",
            "return redis.call('mset', KEYS[1], 1, 'x', 2)",
            "return redis.call('mget', KEYS[1], unpack(ARGV))",
            "return redis.call('mset', KEYS[1], unpack(ARGV))",
            "return redis.call('get', unpack(ARGV))",
            "return redis.call(unpack(ARGV))",
            "return redis.call('get', ...)",
            "return redis.call('get', f 'x')",
            "return redis.call 'ping'",
            "return redis.call{'get', KEYS[1]}",
            "return redis['call']('get', 'x')",
            "local r = redis return r.call('get', 'x')",
            "return pcall(redis.call, 'get', 'x')",
            "local c = redis.call c = f return c('get', 'x')",
            "local c = redis.call return pcall(c, 'get', 'x')",
            "local c = redis.call local function g(c) return c('get', 'x') end",
            "KEYS[1] = 'x' return redis.call('get', KEYS[1])",
            "KEYS[1], y = 'x', 1 return redis.call('get', KEYS[1])",
            "y, KEYS[1] = 'x', 1 return redis.call('get', KEYS[1])",
            "KEYS = ARGV return redis.call('get', KEYS[1])",
            "local KEYS = ARGV return redis.call('get', KEYS[1])",
            "local t = KEYS t[1] = 'x' return redis.call('get', KEYS[1])",
            "table.insert(KEYS, 'x') return redis.call('get', KEYS[2])",
            "rawset(KEYS, 1, 'x') return redis.call('get', KEYS[1])",
            "local k = KEYS[1] k = 'x' return redis.call('get', k)",
            "local k = KEYS[1] k, z = 'x', 1 return redis.call('get', k)",
            "local k = KEYS[1] z, k = 'x', 1 return redis.call('get', k)",
            "local k = KEYS[1] local k = 'x' return redis.call('get', k)",
            "local k = KEYS[1] .. 'x' return redis.call('get', k)",
            "local k = KEYS[1] or 'x' return redis.call('get', k)",
            "local k = KEYS[1] for k = 1, 2 do redis.call('get', k) end",
            "local function f(k) return redis.call('get', k) end f('x')",
            "local k = KEYS[1] local function f(k) return redis.call('get', k) end f('x')",
            "for _, k in ipairs(ARGV) do redis.call('get', k) end",
            "for k in pairs(KEYS) do redis.call('get', k) end",
            "local function ipairs() return evil end for _, k in ipairs(KEYS) do redis.call('get', k) end",
            "local ipairs = f for _, k in ipairs(KEYS) do redis.call('get', k) end",
            "function f(ipairs) for _, k in ipairs(KEYS) do redis.call('get', k) end end",
            "local unpack = function() return 'x' end return redis.call('mget', unpack(KEYS))",
            "loadstring('redis.call(\"get\", \"x\")')()",
            "_G.redis.call('get', 'x')",
            "local f = _G['redis']",
            "return redis.call('get', KEYS[1]",
            "local _, t = ipairs(KEYS) t[1] = 'x' return redis.call('get', KEYS[1])",
            "local t = select(2, pairs(KEYS)) t[1] = 'x' return redis.call('get', KEYS[1])",
            "local t = {unpack = f} t.unpack(KEYS) return redis.call('get', KEYS[1])",
            "t:unpack(KEYS) return redis.call('get', KEYS[1])",
            "local a, b = t.unpack(KEYS) return redis.call('get', a)",
            "local a, b = unpack(KEYS) .. 'x' return redis.call('get', a)",
            "-- comment\rredis.call('get', 'x')",
            "do local _VERSION = KEYS[1] end redis.call('get', _VERSION)",
            "return redis.call('mset', KEYS[1], f'a''b')",
            "return redis.call('mset', KEYS[1], f[[a]])",
            "return redis.call('mset', KEYS[1], f{})",
            "local k = KEYS[1] local t = {k = 1} return redis.call('get', ARGV[1])",
            "local k = KEYS[1] function k() end return redis.call('get', k)",
            "local k = KEYS[1] 'x' return redis.call('get', k)",
            "return redis.call('g\\101t', KEYS[1])",
            "return redis.call([[get]], KEYS[1])",
            "local k <const> = 'x' return redis.call('get', k)",
            "redis.call('blpop', 'x', KEYS[1], 0)",
            "foo(function() KEYS[1], b = 'x', 2 end) redis.call('get', KEYS[1])",
        ] {
            assert!(!proves(source), "{source}");
        }
    }

    #[test]
    fn never_panics_on_noise() {
        let pieces = [
            "redis", ".", "call", "(", ")", "'get'", ",", "KEYS", "[", "]", "1", "local", "k", "=", "for",
            "in", "ipairs", "do", "end", "function", "unpack", "...", "{", "}", "#", "--", "[[", "]]", "\"",
            "if", "then", "return", "\n", "repeat", "until",
        ];
        let mut state = 12345_u64;
        for _ in 0..20_000 {
            let mut source = String::new();
            for _ in 0..12 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                source.push_str(pieces[(state >> 33) as usize % pieces.len()]);
                source.push(' ');
            }
            proves(&source);
        }
    }
}
