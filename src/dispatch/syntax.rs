//! Which arguments does a command take? The notation of the rows' `syntax`, and what COMMAND DOCS makes of it.
//!
//! ```text
//! key:key@0             a value: name, type, and the key specification that finds it
//! addr/ip:port:str      shown to people under another name
//! WITHSCORES            a word; `CH=change` when its name is not the word itself
//! COUNT count:int       a value behind a word
//! by(A | b:int)         one of several
//! limit{a:int b:int}    several together
//! [..]                  optional
//! x:int...              several times; `x:int+` several times with its word
//! x:int^6.2.0!7.0.0     since when, and deprecated since when
//! ```

/// What an argument is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A value of a type, under its Redis name: `string`, `integer`, `double`, `key`, `pattern`, `unix-time`.
    Value(&'static str),
    /// The word itself.
    Word,
    /// One of its arguments.
    OneOf,
    /// All of its arguments.
    Block,
}

impl Kind {
    /// The name that clients read.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Value(name) => name,
            Kind::Word => "pure-token",
            Kind::OneOf => "oneof",
            Kind::Block => "block",
        }
    }
}

/// One argument of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arg {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// The name that people see, if that is another.
    pub display: Option<&'static str>,
    /// The key specification that finds it.
    pub key_spec: Option<i64>,
    /// The word in front of it, or that it is.
    pub token: Option<&'static str>,
    /// The version that brought it.
    pub since: Option<&'static str>,
    /// The version that deprecated it.
    pub deprecated: Option<&'static str>,
    /// It may be missing.
    pub optional: bool,
    /// It may come several times.
    pub multiple: bool,
    /// With its word each time.
    pub multiple_token: bool,
    /// What it consists of.
    pub args: Vec<Arg>,
}

impl Arg {
    /// The name that people see; containers have none.
    pub fn display_text(&self) -> Option<&str> {
        let named = !matches!(self.kind, Kind::OneOf | Kind::Block);
        named.then(|| self.display.unwrap_or(&self.name))
    }

    /// Names of its flags.
    pub fn flags(&self) -> Vec<&'static str> {
        let all = [
            (self.optional, "optional"),
            (self.multiple, "multiple"),
            (self.multiple_token, "multiple_token"),
        ];
        all.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect()
    }
}

const TYPES: &[(&str, &str)] = &[
    ("str", "string"),
    ("int", "integer"),
    ("dbl", "double"),
    ("key", "key"),
    ("pat", "pattern"),
    ("time", "unix-time"),
];

/// The arguments of a row's syntax; what cannot be understood is left out. Rows are nested a few levels deep at most.
pub fn parse(syntax: &'static str) -> Vec<Arg> {
    let mut cursor = Cursor { rest: syntax };
    cursor.sequence()
}

struct Cursor {
    rest: &'static str,
}

impl Cursor {
    fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Arguments up to a closing bracket or the end, whether separated by blanks or bars.
    fn sequence(&mut self) -> Vec<Arg> {
        let mut args = Vec::new();
        loop {
            while self.eat(" ") || self.eat("| ") {}
            match self.rest.chars().next() {
                None | Some(')' | '}' | ']') => return args,
                Some('[') => {
                    self.eat("[");
                    let inner = self.sequence();
                    self.eat("]");
                    args.extend(inner.into_iter().map(|arg| Arg { optional: true, ..arg }));
                }
                Some(_) => args.push(self.argument()),
            }
        }
    }

    fn word(&mut self) -> &'static str {
        let all = self.rest;
        let mut end = all.find(|c| " ([{)]}^".contains(c)).unwrap_or(all.len());
        // What is behind a suffix is no part of the word; a word of one character is no suffix.
        let word = all.get(..end).unwrap_or_default();
        end =
            ["...", "+", "!"].iter().filter_map(|s| word.find(s).filter(|at| *at > 0)).fold(end, usize::min);
        let (word, rest) = all.split_at(end);
        self.rest = rest;
        word
    }

    fn argument(&mut self) -> Arg {
        let first = self.word();
        let takes_value = !first.contains(':') && !first.contains(|c: char| c.is_ascii_lowercase());
        let behind = self.rest.strip_prefix(' ').and_then(|rest| rest.chars().next());
        let (token, word) = if takes_value && behind.is_some_and(|c| c.is_ascii_lowercase()) {
            self.eat(" ");
            (Some(if first == "\"\"" { "" } else { first }), self.word())
        } else {
            (None, first)
        };
        let mut arg = self.described(token, word);
        self.suffixes(&mut arg);
        arg
    }

    fn described(&mut self, token: Option<&'static str>, word: &'static str) -> Arg {
        let mut arg = Arg {
            name: String::new(),
            kind: Kind::Word,
            display: None,
            key_spec: None,
            token,
            since: None,
            deprecated: None,
            optional: false,
            multiple: false,
            multiple_token: false,
            args: Vec::new(),
        };
        let mut label = word;
        if self.eat("(") {
            (arg.kind, arg.args) = (Kind::OneOf, self.sequence());
            self.eat(")");
        } else if self.eat("{") {
            (arg.kind, arg.args) = (Kind::Block, self.sequence());
            self.eat("}");
        } else if let Some((named, typed)) = value(word) {
            label = named;
            let (short, spec) = typed.split_once('@').unwrap_or((typed, ""));
            let name = TYPES.iter().find(|(s, _)| *s == short).map_or("string", |(_, name)| *name);
            (arg.kind, arg.key_spec) = (Kind::Value(name), spec.parse().ok());
        } else {
            let (token, name) = split_word(word);
            arg.token = Some(if token == "\"\"" { "" } else { token });
            arg.name = name.map_or_else(|| token.to_ascii_lowercase(), str::to_owned);
            return arg;
        }
        let (name, display) = label.split_once('/').map_or((label, None), |(n, d)| (n, Some(d)));
        (arg.name, arg.display) = (name.to_owned(), display);
        arg
    }

    fn suffixes(&mut self, arg: &mut Arg) {
        loop {
            if self.eat("...") {
                arg.multiple = true;
            } else if self.eat("+") {
                (arg.multiple, arg.multiple_token) = (true, true);
            } else if self.eat("^") {
                arg.since = Some(self.version());
            } else if self.eat("!") {
                arg.deprecated = Some(self.version());
            } else {
                return;
            }
        }
    }

    fn version(&mut self) -> &'static str {
        let end = self.rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(self.rest.len());
        let text = self.rest.get(..end).unwrap_or_default().trim_end_matches('.');
        self.rest = self.rest.get(text.len()..).unwrap_or_default();
        text
    }
}

/// Splits `name:type@spec` at the last colon that a type follows.
fn value(word: &'static str) -> Option<(&'static str, &'static str)> {
    let (name, typed) = word.rsplit_once(':')?;
    let short = typed.split('@').next().unwrap_or_default();
    TYPES.iter().any(|(s, _)| *s == short).then_some((name, typed))
}

/// Splits `TOKEN=name`; the token may itself be an equals sign.
fn split_word(word: &'static str) -> (&'static str, Option<&'static str>) {
    match word.char_indices().skip(1).find(|(_, c)| *c == '=') {
        Some((at, _)) => (&word[..at], word.get(at + 1..)),
        None => (word, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_the_notation_is_understood() {
        let args = parse(
            "key:key@0 [LIMIT limit{offset:int count:int}^2.6.0] [GET pattern/glob:pat@1+] [CH=change] \
             op(==equal | ~=nearly)^6.2.0!7.0.0 [BYTE] addr/ip:port:str^6.0.0... ",
        );
        let names: Vec<&str> = args.iter().map(|a| a.name.as_str()).collect();
        assert_eq!(names, ["key", "limit", "pattern", "change", "op", "byte", "addr"]);
        assert_eq!(args[0].key_spec, Some(0));
        assert_eq!((args[1].token, args[1].args.len(), args[1].since), (Some("LIMIT"), 2, Some("2.6.0")));
        assert_eq!(args[2].flags(), ["optional", "multiple", "multiple_token"]);
        assert_eq!((args[2].display_text(), args[2].kind.name()), (Some("glob"), "pattern"));
        assert_eq!((args[3].token, args[3].optional), (Some("CH"), true));
        assert_eq!(args[4].args.iter().map(|a| a.token).collect::<Vec<_>>(), [Some("="), Some("~")]);
        assert_eq!((args[4].since, args[4].deprecated), (Some("6.2.0"), Some("7.0.0")));
        assert_eq!(
            (args[6].display, args[6].since, args[6].multiple),
            (Some("ip:port"), Some("6.0.0"), true)
        );
    }
}
