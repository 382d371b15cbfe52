//! What can be asked of every command? Templates made from the table's own syntax, so that no command is forgotten.
//!
//! A command's arguments become pieces of a grammar; each value becomes a class by its name, its type and the kind
//! of data that the command works on. Numbers are often ones at which parsers and ranges break.

use super::grammar::{Piece, Template};
use super::normalise::{self, Rule};
use peregrine::commands::FAMILIES;
use peregrine::dispatch::spec::{BLOCKING, Command};
use peregrine::dispatch::syntax::{self, Arg, Kind};

/// A command or subcommand of the table.
#[derive(Clone)]
pub struct Row {
    /// Its name, one word or two.
    pub words: Vec<String>,
    /// It may leave the client waiting, so it is sent inside a transaction.
    pub blocks: bool,
    /// What its documentation files it under.
    pub group: &'static str,
    /// Its arguments.
    pub args: Vec<Arg>,
}

impl Row {
    fn new(words: Vec<String>, command: &Command) -> Row {
        let blocks = command.flags & BLOCKING != 0;
        Row { words, blocks, group: command.doc.group, args: syntax::parse(command.doc.syntax) }
    }

    /// The words of the name.
    pub fn name(&self) -> Vec<Vec<u8>> {
        self.words.iter().map(|w| w.to_uppercase().into_bytes()).collect()
    }

    /// Whether the tests send it at all.
    pub fn is_sent(&self) -> bool {
        normalise::rule(&self.name()) != Rule::NotSent
    }

    /// What it looks like in the grammar of the families.
    pub fn template(&self) -> Template {
        let mut pieces: Vec<Piece> = self.name().into_iter().map(Piece::Word).collect();
        pieces.extend(self.sequence(&self.args));
        Template { weight: 1, pieces }
    }

    /// Arguments one after another; options that follow each other may come in any order, and twice.
    fn sequence(&self, args: &[Arg]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut options: Vec<Vec<Piece>> = Vec::new();
        let mut at = 0;
        while let Some(arg) = args.get(at) {
            at += 1;
            let counts = args.get(at).filter(|next| next.multiple && is_count(arg));
            let piece = match counts {
                Some(next) => {
                    at += 1;
                    vec![Piece::Counted(self.once(next))]
                }
                None => self.argument(arg),
            };
            match arg.optional && counts.is_none() {
                true => options.push(piece),
                false => {
                    flush(&mut options, &mut pieces);
                    pieces.extend(piece);
                }
            }
        }
        flush(&mut options, &mut pieces);
        pieces
    }

    /// An argument with its word, as often as it may come.
    fn argument(&self, arg: &Arg) -> Vec<Piece> {
        let word = arg.token.filter(|_| arg.kind != Kind::Word).map(|t| Piece::Word(t.as_bytes().to_vec()));
        let mut pieces: Vec<Piece> = word.into_iter().collect();
        let inner = self.once(arg);
        if !arg.multiple {
            pieces.extend(inner);
        } else if arg.multiple_token {
            pieces.extend(inner);
            pieces = vec![Piece::Repeat(pieces)];
        } else if arg.name == "weight" {
            pieces.push(Piece::Again(inner));
        } else {
            pieces.push(Piece::Repeat(inner));
        }
        pieces
    }

    fn once(&self, arg: &Arg) -> Vec<Piece> {
        match arg.kind {
            // The clock would choose the id.
            Kind::Word if arg.token == Some("*") => vec![Piece::Class("newid".into())],
            Kind::Word => vec![Piece::Word(arg.token.unwrap_or("").as_bytes().to_vec())],
            Kind::OneOf => vec![Piece::OneOf(arg.args.iter().map(|a| self.argument(a)).collect())],
            Kind::Block => self.sequence(&arg.args),
            Kind::Value(kind) => vec![Piece::Class(self.class(arg, kind).into())],
        }
    }

    /// The class that an argument's values are drawn from.
    pub fn class(&self, arg: &Arg, kind: &str) -> &'static str {
        let (command, name) = (self.words[0].as_str(), arg.name.as_str());
        let lex = command.contains("lex");
        match (kind, name) {
            ("key", _) if lex => "lexset",
            ("key", _) => self.keys(),
            ("pattern", _) => "pattern",
            ("unix-time", "unix-time-seconds") => "at~",
            ("unix-time", _) => "pat~",
            ("double", "timeout") => "timeout",
            ("integer", "timeout" | "milliseconds") if self.blocks => "mstimeout",
            ("integer", "seconds") => "ttl~",
            ("integer", "milliseconds") if self.group != "stream" => "pttl~",
            ("integer", "ttl") => "pttl~",
            ("integer", "bit") => "bit",
            ("integer", "cursor") => "cursor",
            ("integer", "count") if command.ends_with("randmember") || command == "hrandfield" => "count",
            ("integer", "offset") if is_bits(command) => "off",
            ("integer", _) => "int~",
            ("double", "longitude") => "lon~",
            ("double", "latitude") => "lat~",
            ("double", "radius" | "width" | "height") => "radius~",
            ("double", "score") => "score",
            ("double", "min" | "max") => "bound",
            ("double", _) => "float~",
            ("string", _) => self.text(name, lex),
            other => panic!("{}: no class for {other:?}", self.words.join(" ")),
        }
    }

    fn keys(&self) -> &'static str {
        match self.group {
            "string" => "str",
            "bitmap" => "bit",
            "hash" => "hash",
            "list" => "list",
            "set" => "set",
            "sorted-set" => "zset",
            "stream" => "stream",
            "hyperloglog" => "hll",
            "geo" => "geo",
            _ => "any",
        }
    }

    fn text(&self, name: &str, lex: bool) -> &'static str {
        let stream = self.group == "stream";
        match name {
            "min" | "max" if lex => "lex",
            "min" | "max" => "bound",
            "member" | "member1" | "member2" if self.group == "geo" => "city",
            "member" | "element" | "member1" | "member2" => "m",
            "field" => "f",
            "value" if self.words[0] == "setbit" => "bit",
            "id" if self.words[0] == "xadd" => "newid",
            "start" | "end" | "stop" | "id" | "last-id" | "lastid" | "max-deleted-id" | "threshold"
                if stream =>
            {
                "id~"
            }
            "start" | "stop" => "bound",
            "min-idle-time" => "idle",
            "group" => "group",
            "consumer" => "consumer",
            "encoding" => "enc",
            "type" => "typename",
            "script" => "script",
            "sha1" => "sha1",
            "serialized-value" => "dump",
            "command" | "command-name" => "command",
            "function" | "library-name" => "function",
            "function-code" => "library",
            "section" => "section",
            "category" => "category",
            "username" => "user",
            "parameter" => "parameter",
            _ => "v",
        }
    }
}

fn flush(options: &mut Vec<Vec<Piece>>, pieces: &mut Vec<Piece>) {
    if !options.is_empty() {
        pieces.push(Piece::Options(std::mem::take(options)));
    }
}

/// An argument that counts those after it.
fn is_count(arg: &Arg) -> bool {
    matches!(arg.name.as_str(), "numkeys" | "numfields" | "numids")
}

/// Commands whose offset is in bits or bytes of a string that grows up to it.
fn is_bits(command: &str) -> bool {
    matches!(command, "setbit" | "setrange" | "bitfield")
}

/// Every command and subcommand of the table.
pub fn all() -> Vec<Row> {
    let mut rows = Vec::new();
    for command in FAMILIES.iter().flat_map(|family| family.iter()) {
        if command.subcommands.is_empty() {
            rows.push(Row::new(vec![command.name.into()], command));
        }
        for sub in command.subcommands {
            rows.push(Row::new(vec![command.name.into(), sub.name.into()], sub));
        }
    }
    rows
}
