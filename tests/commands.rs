//! Do the rows say what Redis 8.2 says of its commands? Every row that exists is compared with the answers of a real
//! server to COMMAND INFO and COMMAND DOCS, kept in `fixtures/commands.json`, one command a line.
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
