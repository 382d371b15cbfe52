//! What does a transcript say, and does a server keep to it?
//!
//! ```text
//! # a comment                       @sleep 20            pause, in milliseconds
//! > SET k v                         @reset               close all connections, FLUSHALL, SCRIPT FLUSH
//! < +OK                             @resp3 A             (re)open connection A, speaking RESP3
//! A> BLPOP q 0                      @close A
//! B> LPUSH q x                      @let id A> CLIENT ID  later ${id} in commands and replies is that reply
//! B< :1                             @server --foo bar    directives for the server, before the first command
//! A< [ "q" "x" ]                    A>> "PING\r\n"       bytes as they are
//! ```
//! Replies are written as `text` writes them; a line that starts with two spaces goes on with the line above.
//! A command without a reply below it must not be answered yet. In place of a value: `<any>`, `<int>`, `<str>`,
//! `<double>`, `:1..9` (a range), `like"*glob*"`, `<...>` (the rest of the items), `<closed>` (the connection).
//! Where `normalise` says that items come in any order, they are written sorted.

use super::client::Client;
use super::differential::normalise::{Rule, rule};
use super::resp::Value;
use super::server::Server;
use super::text;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

/// A command that must block is given this long to be answered by mistake.
const BLOCKED: Duration = Duration::from_millis(60);
/// While recording: what has not come by then does not come.
const SILENCE: Duration = Duration::from_millis(8);
/// Lines are wrapped here when recording.
const WIDTH: usize = 112;

/// One line, continuation lines joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A comment or an empty line.
    Note(String),
    /// `@name rest`
    Directive(String, String),
    /// What a connection sends.
    Send { conn: String, raw: bool, text: String },
    /// What it is answered.
    Expect { conn: String, text: String },
}

/// The lines of a transcript with their numbers.
pub fn read(source: &str) -> Vec<(usize, Line)> {
    let mut lines: Vec<(usize, Line)> = Vec::new();
    for (n, line) in source.lines().enumerate() {
        if let (true, Some((_, Line::Expect { text, .. }))) = (line.starts_with("  "), lines.last_mut()) {
            *text += " ";
            *text += line.trim();
            continue;
        }
        lines.push((n + 1, read_line(line)));
    }
    lines
}

fn read_line(line: &str) -> Line {
    if line.trim().is_empty() || line.starts_with('#') {
        return Line::Note(line.to_string());
    }
    if let Some(rest) = line.strip_prefix('@') {
        let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        return Line::Directive(name.into(), rest.trim().into());
    }
    let name: String = line.chars().take_while(char::is_ascii_alphanumeric).collect();
    let rest = &line[name.len()..];
    if let Some(text) = rest.strip_prefix(">> ") {
        Line::Send { conn: name, raw: true, text: text.into() }
    } else if let Some(text) = rest.strip_prefix("> ") {
        Line::Send { conn: name, raw: false, text: text.into() }
    } else if let Some(text) = rest.strip_prefix("< ") {
        Line::Expect { conn: name, text: text.trim_start().into() }
    } else {
        panic!("not a line of a transcript: {line}")
    }
}

/// The server directives of a transcript.
pub fn directives(lines: &[(usize, Line)]) -> Vec<String> {
    let of = |line: &Line| match line {
        Line::Directive(name, rest) if name == "server" => text::split(rest).expect("words"),
        _ => Vec::new(),
    };
    lines.iter().flat_map(|(_, l)| of(l)).map(|w| String::from_utf8(w).expect("UTF-8")).collect()
}

/// A server that a transcript is played to.
pub struct Player<'a> {
    server: &'a Server,
    connections: BTreeMap<String, Client>,
    /// The last command of each connection, for the order of its reply.
    last: BTreeMap<String, Vec<Vec<u8>>>,
    variables: BTreeMap<String, String>,
}

impl<'a> Player<'a> {
    /// A player without connections.
    pub fn new(server: &'a Server) -> Player<'a> {
        Player { server, connections: BTreeMap::new(), last: BTreeMap::new(), variables: BTreeMap::new() }
    }

    /// Plays the lines and gives every difference as `line: what`.
    pub fn check(&mut self, lines: &[(usize, Line)]) -> Vec<String> {
        let mut faults = Vec::new();
        for (at, (number, line)) in lines.iter().enumerate() {
            match line {
                Line::Note(_) => {}
                Line::Directive(name, rest) => self.directive(name, rest),
                Line::Send { conn, raw, text } => {
                    let answered =
                        lines[at + 1..].iter().take_while(|(_, l)| matches!(l, Line::Expect { .. }));
                    let answered = answered
                        .into_iter()
                        .any(|(_, l)| matches!(l, Line::Expect { conn: c, .. } if c == conn));
                    self.send(conn, *raw, text);
                    if !answered && let Ok(Some(reply)) = self.connection(conn).read_within(BLOCKED) {
                        let reply = text::render(&reply.value);
                        faults.push(format!("{number}: {text}\n    should wait\n    got       {reply}"));
                    }
                }
                Line::Expect { conn, text } => {
                    let got = self.receive(conn, None).unwrap_or_else(|| "(nothing)".into());
                    let expected = self.substitute(text);
                    if !matches(&expected, &got) {
                        let sent = self.last.get(conn).map_or(String::new(), |c| text::command(c));
                        faults.push(format!("{number}: {sent}\n    expected {expected}\n    got      {got}"));
                    }
                    if got == "<closed>" {
                        self.connections.remove(conn);
                    }
                    if got == "(nothing)" || faults.len() > 25 {
                        return faults;
                    }
                }
            }
        }
        for (name, client) in &mut self.connections {
            if let Ok(Some(reply)) = client.read_within(Duration::from_millis(1)) {
                faults.push(format!("end: {name} has an unread reply: {}", text::render(&reply.value)));
            }
        }
        faults
    }

    /// Plays the commands and gives the lines with the replies that came. Replies that matched are left as written.
    pub fn record(&mut self, lines: &[(usize, Line)]) -> Vec<Line> {
        let mut out = Vec::new();
        for (at, (_, line)) in lines.iter().enumerate() {
            match line {
                Line::Expect { .. } => {}
                Line::Note(_) => out.push(line.clone()),
                Line::Directive(name, rest) => {
                    self.directive(name, rest);
                    out.push(line.clone());
                    self.drain(&mut out, None);
                }
                Line::Send { conn, raw, text } => {
                    out.push(line.clone());
                    self.send(conn, *raw, text);
                    let from = out.len();
                    self.drain(&mut out, Some(conn));
                    let old = lines[at + 1..].iter().map(|(_, l)| l);
                    let old: Vec<_> = old.take_while(|l| matches!(l, Line::Expect { .. })).cloned().collect();
                    let same = |(old, new): (&Line, &Line)| match (old, new) {
                        (Line::Expect { conn: a, text: old }, Line::Expect { conn: b, text: new }) => {
                            a == b && matches(&self.substitute(old), new)
                        }
                        _ => false,
                    };
                    if old.len() == out.len() - from && old.iter().zip(&out[from..]).all(same) {
                        out.truncate(from);
                        out.extend(old);
                    }
                }
            }
        }
        out
    }

    fn drain(&mut self, out: &mut Vec<Line>, first: Option<&str>) {
        if let Some(conn) = first
            && let Some(text) = self.receive(conn, Some(Duration::from_millis(150)))
        {
            if text == "<closed>" {
                self.connections.remove(conn);
            }
            out.push(Line::Expect { conn: conn.into(), text });
        }
        let names: Vec<_> = self.connections.keys().cloned().collect();
        for conn in names {
            while let Some(text) = self.receive(&conn, Some(SILENCE)) {
                let closed = text == "<closed>";
                out.push(Line::Expect { conn: conn.clone(), text });
                if closed {
                    self.connections.remove(&conn);
                    break;
                }
            }
        }
    }

    fn directive(&mut self, name: &str, rest: &str) {
        match name {
            "sleep" => std::thread::sleep(Duration::from_millis(rest.parse().expect("milliseconds"))),
            "reset" => {
                self.connections.clear();
                let mut control = self.server.connect();
                control.cmd("FLUSHALL");
                control.cmd("SCRIPT FLUSH");
            }
            "resp3" => {
                self.connections.insert(rest.into(), self.server.connect());
                self.connection(rest).cmd("HELLO 3");
            }
            "close" => drop(self.connections.remove(rest)),
            "let" => {
                let (variable, command) = rest.split_once(' ').expect("@let name A> COMMAND");
                let (conn, command) = command.split_once("> ").expect("@let name A> COMMAND");
                let words = text::split(&self.substitute(command)).expect("words");
                let value = self.connection(conn).call(&words).text();
                self.variables.insert(variable.into(), value);
            }
            "server" => {}
            other => panic!("no directive is called @{other}"),
        }
    }

    fn substitute(&self, text: &str) -> String {
        let mut out = text.to_string();
        for (name, value) in &self.variables {
            out = out.replace(&format!("${{{name}}}"), value);
        }
        out
    }

    fn connection(&mut self, conn: &str) -> &mut Client {
        let server = self.server;
        self.connections.entry(conn.into()).or_insert_with(|| server.connect())
    }

    fn send(&mut self, conn: &str, raw: bool, line: &str) {
        let line = self.substitute(line);
        let words = text::split(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
        let bytes = if raw { words.concat() } else { super::resp::encode(&words) };
        // A server that has closed the connection shows by the reply that does not come.
        let _ = self.connection(conn).send_raw(&bytes);
        self.last.insert(conn.into(), words);
    }

    /// The next reply as text; `None` when none comes in time.
    fn receive(&mut self, conn: &str, limit: Option<Duration>) -> Option<String> {
        let reply = match limit {
            Some(limit) => self.connection(conn).read_within(limit),
            None => self.connection(conn).read_within(Duration::from_secs(6)),
        };
        match reply {
            Ok(None) => None,
            Ok(Some(reply)) => {
                let command = self.last.get(conn).map_or(&[][..], |c| c);
                let pairs = command.first().is_some_and(|name| name.eq_ignore_ascii_case(b"CONFIG"));
                Some(text::render(&if is_any_order(command) {
                    sorted(reply.value, pairs)
                } else {
                    reply.value
                }))
            }
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Some("<closed>".into()),
            Err(e) => Some(format!("({e})")),
        }
    }
}

fn is_any_order(command: &[Vec<u8>]) -> bool {
    let is = |words: &[&[u8]]| {
        words.len() <= command.len() && words.iter().zip(command).all(|(w, c)| c.eq_ignore_ascii_case(w))
    };
    command.first().is_some_and(|name| !name.is_empty())
        // ACL CAT may say anything in random tests, since ours knows newer commands; here only its order is free.
        && (rule(command) == Rule::AnyOrder || is(&[b"SCAN"]) || is(&[b"ACL", b"CAT"]))
}

fn sorted(value: Value, pairs: bool) -> Value {
    match value {
        Value::Array(items) if items.len() == 2 && items[1].items().is_some() => {
            Value::Array(items.into_iter().map(|v| sorted(v, false)).collect())
        }
        // CONFIG GET in RESP2: names and values by turns.
        Value::Array(items) if pairs => {
            let mut pairs: Vec<_> = items.chunks(2).collect();
            pairs.sort();
            Value::Array(pairs.concat())
        }
        Value::Map(mut pairs) => {
            pairs.sort();
            Value::Map(pairs)
        }
        Value::Array(mut items) => {
            items.sort();
            Value::Array(items)
        }
        Value::Set(mut items) => {
            items.sort();
            Value::Set(items)
        }
        other => other,
    }
}

/// The text of a transcript, long replies wrapped.
pub fn write(lines: &[Line]) -> String {
    let mut out = String::new();
    for line in lines {
        match line {
            Line::Note(text) => out += text,
            Line::Directive(name, rest) => out += format!("@{name} {rest}").trim_end(),
            Line::Send { conn, raw, text } => {
                out += &format!("{conn}{} {text}", if *raw { ">>" } else { ">" })
            }
            Line::Expect { conn, text } => out += &wrap(&format!("{conn}<"), text),
        }
        out.push('\n');
    }
    out
}

fn wrap(head: &str, text: &str) -> String {
    let (mut out, mut width) = (head.to_string(), head.len());
    for token in tokenize(text) {
        if width + token.len() + 1 > WIDTH && width > head.len() {
            out += "\n ";
            width = 1;
        }
        out.push(' ');
        out += &token;
        width += token.len() + 1;
    }
    out
}

/// The tokens of a written reply. The error of a whole reply is one token.
pub fn tokenize(text: &str) -> Vec<String> {
    if text.starts_with('-') && !text.starts_with("-\"") {
        return vec![text.to_string()];
    }
    let (mut tokens, mut token, mut quoted, mut escaped) = (Vec::new(), String::new(), false, false);
    for c in text.chars() {
        if !quoted && c == ' ' {
            tokens.extend((!token.is_empty()).then(|| std::mem::take(&mut token)));
            continue;
        }
        token.push(c);
        (quoted, escaped) = match c {
            _ if escaped => (quoted, false),
            '\\' => (quoted, true),
            '"' => (!quoted, false),
            _ => (quoted, false),
        };
    }
    tokens.extend((!token.is_empty()).then_some(token));
    tokens
}

/// Whether a reply as rendered is what was expected, placeholders understood.
pub fn matches(expected: &str, got: &str) -> bool {
    if expected == got {
        return true;
    }
    if let Some(prefix) = expected.strip_suffix("<any>")
        && expected.starts_with('-')
    {
        return got.starts_with(prefix);
    }
    let (expected, got) = (tokenize(expected), tokenize(got));
    let (mut e, mut g) = (0, 0);
    while e < expected.len() {
        if expected[e] == "<...>" {
            let mut depth = 0;
            while g < got.len() {
                depth += level(&got[g]);
                if depth < 0 {
                    break;
                }
                g += 1;
            }
        } else {
            let Some(token) = got.get(g) else { return false };
            if expected[e] == "<any>" {
                let mut depth = level(token);
                while depth > 0 {
                    g += 1;
                    depth += got.get(g).map_or(-depth, |t| level(t));
                }
            } else if !matches_token(&expected[e], token) {
                return false;
            }
            g += 1;
        }
        e += 1;
    }
    g == got.len()
}

fn level(token: &str) -> i32 {
    match token {
        "[" | "~[" | ">[" | "{" => 1,
        "]" | "}" => -1,
        _ => 0,
    }
}

fn matches_token(expected: &str, got: &str) -> bool {
    let int = |t: &str| t.strip_prefix(':').and_then(|n| n.parse::<i64>().ok());
    if let Some((low, high)) = expected.strip_prefix(':').and_then(|r| r.split_once("..")) {
        let (low, high) = (low.parse::<i64>().expect("a range"), high.parse::<i64>().expect("a range"));
        return int(got).is_some_and(|n| (low..=high).contains(&n));
    }
    match expected {
        "<int>" => int(got).is_some(),
        "<str>" => got.starts_with('"') || got.starts_with("<") || got.starts_with('='),
        "<double>" => got.starts_with(','),
        _ => match expected.strip_prefix("like\"") {
            Some(pattern) => got.find('"').is_some_and(|at| glob(pattern, &got[at + 1..])),
            None => expected == got,
        },
    }
}

/// Matches `*` only: all that transcripts need.
fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text
            .strip_prefix(head)
            .is_some_and(|t| (0..=t.len()).any(|n| t.is_char_boundary(n) && glob(rest, &t[n..]))),
    }
}

/// Two recordings as one: what differs between them becomes a placeholder.
pub fn merge(first: Vec<Line>, second: &[Line]) -> Vec<Line> {
    assert_eq!(first.len(), second.len(), "two recordings differ in their lines");
    let merge_line = |(a, b): (Line, &Line)| match (a, b) {
        (Line::Expect { conn, text: a }, Line::Expect { text: b, .. }) if a != *b => {
            let (ta, tb) = (tokenize(&a), tokenize(b));
            let text = match ta.len() == tb.len() {
                true => ta.iter().zip(&tb).map(|(a, b)| placeholder(a, b)).collect::<Vec<_>>().join(" "),
                false => "<any>".into(),
            };
            Line::Expect { conn, text }
        }
        (a, _) => a,
    };
    first.into_iter().zip(second).map(merge_line).collect()
}

fn placeholder(a: &str, b: &str) -> String {
    match a.chars().next() {
        _ if a == b => a,
        Some(':') => "<int>",
        Some('"') => "<str>",
        Some(',') => "<double>",
        _ => "<any>",
    }
    .to_string()
}

/// Plays a file to a server, or records it there, as `update` says; the faults found.
pub fn play(path: &Path, start: &dyn Fn(&[&str]) -> Server, update: bool) -> Vec<String> {
    let source = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let lines = read(&source);
    let directives = directives(&lines);
    let directives: Vec<_> = directives.iter().map(String::as_str).collect();
    if !update {
        return Player::new(&start(&directives)).check(&lines);
    }
    let first = Player::new(&start(&directives)).record(&lines);
    std::thread::sleep(Duration::from_millis(1100));
    let second = Player::new(&start(&directives)).record(&lines);
    std::fs::write(path, write(&merge(first, &second))).expect("transcripts can be written");
    Vec::new()
}
