//! Do the rows say what Redis 8.2 says of its commands? Every row that exists is compared with the answers of a real
//! server to COMMAND INFO and COMMAND DOCS, kept in `fixtures/commands.json`, one command a line. Whatever Redis has
//! without modules must be there; docs/compatibility.md has the table.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use peregrine::commands::FAMILIES;
use peregrine::dispatch::spec::{Begin, CATEGORY_NAMES, Command, FLAG_NAMES, Find, KEY_FLAG_NAMES, KeySpec};
use peregrine::dispatch::syntax::{self, Arg};

const FIXTURE: &str = include_str!("fixtures/commands.json");

fn text(s: &str) -> String {
    format!("\"{}\"", s.replace('"', "\\\""))
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

fn names<T: Copy + Into<u64>>(bits: T, all: &[(T, &str)], prefix: &str) -> String {
    let set = all.iter().filter(|(bit, _)| bits.into() & (*bit).into() != 0);
    list(set.map(|(_, name)| text(&format!("{prefix}{name}"))))
}

fn key_spec(spec: &KeySpec) -> String {
    let begin = match spec.begin {
        Begin::Index(n) => format!(r#""index","spec":{{"index":{n}}}"#),
        Begin::Keyword(word, from) => {
            format!(r#""keyword","spec":{{"keyword":"{word}","startfrom":{from}}}"#)
        }
        Begin::Unknown => r#""unknown","spec":{}"#.to_owned(),
    };
    let find = match spec.find {
        Find::Range { last, step, limit } => {
            format!(r#""range","spec":{{"lastkey":{last},"keystep":{step},"limit":{limit}}}"#)
        }
        Find::KeyNum { num, first, step } => {
            format!(r#""keynum","spec":{{"keynumidx":{num},"firstkey":{first},"keystep":{step}}}"#)
        }
        Find::Unknown => r#""unknown","spec":{}"#.to_owned(),
    };
    let flags = names(spec.flags, KEY_FLAG_NAMES, "");
    format!(r#"{{"flags":{flags},"begin_search":{{"type":{begin}}},"find_keys":{{"type":{find}}}}}"#)
}

fn argument(arg: &Arg) -> String {
    let mut out = format!(r#"{{"name":{},"type":{}"#, text(&arg.name), text(arg.kind.name()));
    if let Some(shown) = arg.display_text() {
        out += &format!(r#","display_text":{}"#, text(shown));
    }
    if let Some(index) = arg.key_spec {
        out += &format!(r#","key_spec_index":{index}"#);
    }
    for (name, value) in [("token", arg.token), ("since", arg.since), ("deprecated_since", arg.deprecated)] {
        if let Some(value) = value {
            out += &format!(r#","{name}":{}"#, text(value));
        }
    }
    if !arg.flags().is_empty() {
        out += &format!(r#","flags":{}"#, list(arg.flags().into_iter().map(text)));
    }
    if !arg.args.is_empty() {
        out += &format!(r#","arguments":{}"#, list(arg.args.iter().map(argument)));
    }
    out + "}"
}

fn described(row: &Command) -> String {
    let [first, last, step] = row.legacy_range();
    let mut out = format!(
        r#"{{"arity":{},"flags":{},"first_key":{first},"last_key":{last},"step":{step},"acl_categories":{},"tips":{},"key_specs":{},"since":{},"group":{}"#,
        row.arity,
        names(row.flags, FLAG_NAMES, ""),
        names(row.categories(), CATEGORY_NAMES, "@"),
        list(row.tips.iter().map(|tip| text(tip))),
        list(row.keys.iter().map(key_spec)),
        text(row.doc.since),
        text(row.doc.group),
    );
    let flags = [(row.doc.deprecated.is_some(), "deprecated"), (row.doc.syscmd, "syscmd")];
    let flags: Vec<&str> = flags.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
    if !flags.is_empty() {
        out += &format!(r#","doc_flags":{}"#, list(flags.into_iter().map(text)));
    }
    if let Some((since, _)) = row.doc.deprecated {
        out += &format!(r#","deprecated_since":{}"#, text(since));
    }
    if !row.doc.syntax.is_empty() {
        out += &format!(r#","arguments":{}"#, list(syntax::parse(row.doc.syntax).iter().map(argument)));
    }
    out + "}"
}

/// What Redis says, by name.
fn reference() -> BTreeMap<&'static str, &'static str> {
    let lines = FIXTURE.lines().filter_map(|line| line.trim_end_matches(',').split_once(':'));
    lines.map(|(name, row)| (name.trim_matches('"'), row)).collect()
}

#[test]
fn rows_agree_with_redis() {
    let reference = reference();
    let mut wrong = Vec::new();
    let mut compared = 0;
    for row in FAMILIES.iter().flat_map(|rows| rows.iter()) {
        let subs = row.subcommands.iter().map(|sub| (format!("{}|{}", row.name, sub.name), sub));
        for (name, row) in std::iter::once((row.name.to_owned(), row)).chain(subs) {
            // What Redis does not have is ours to describe.
            let Some(&want) = reference.get(name.as_str()) else { continue };
            compared += 1;
            let got = described(row);
            if got != want {
                wrong.push(format!("{name}\n  redis {want}\n  here  {got}"));
            }
        }
    }
    assert!(compared > 100, "only {compared} rows were compared");
    assert!(wrong.is_empty(), "{} rows differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_row_is_documented() {
    for row in FAMILIES.iter().flat_map(|rows| rows.iter()) {
        for row in std::iter::once(row).chain(row.subcommands) {
            assert!(!row.doc.summary.is_empty() && !row.doc.summary.contains("TODO"), "{}", row.name);
        }
    }
}

/// All names, subcommands as `container|name`.
fn present() -> std::collections::BTreeSet<String> {
    let rows = FAMILIES.iter().flat_map(|rows| rows.iter());
    let named = |row: &Command| {
        let subs = row.subcommands.iter().map(|sub| format!("{}|{}", row.name, sub.name));
        std::iter::once(row.name.to_owned()).chain(subs).collect::<Vec<_>>()
    };
    rows.flat_map(named).collect()
}

#[test]
fn every_command_of_redis_is_there() {
    let present = present();
    let missing: Vec<&str> = reference().into_keys().filter(|name| !present.contains(*name)).collect();
    assert!(missing.is_empty(), "commands of Redis 8.2 that do not exist here: {missing:?}");
}

/// The table of docs/compatibility.md.
fn table() -> String {
    let mut out = String::from("| Command | Here |\n|---|---|\n");
    let (present, reference) = (present(), reference());
    let all: std::collections::BTreeSet<&str> =
        reference.keys().copied().chain(present.iter().map(String::as_str)).collect();
    for name in all {
        let state = match (present.contains(name), reference.contains_key(name)) {
            (true, true) => "as in 8.2",
            (true, false) => "newer than 8.2",
            (false, _) => "missing",
        };
        out += &format!("| {} | {state} |\n", name.to_uppercase().replace('|', " "));
    }
    out
}

#[test]
fn the_table_of_commands_is_fresh() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/compatibility.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (start, end) = ("<!-- commands -->\n", "<!-- end of commands -->\n");
    let (before, rest) = text.split_once(start).expect("the mark where the table begins");
    let (old, after) = rest.split_once(end).expect("the mark where the table ends");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, [before, start, &table(), end, after].concat()).unwrap();
    } else {
        assert!(
            old == table(),
            "the table of commands is stale: UPDATE=1 cargo test --test commands writes it anew"
        );
    }
}
