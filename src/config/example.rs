//! What does a configuration file look like that says everything and changes nothing?

use std::fmt::Write as _;

use crate::config::Config;
use crate::config::kinds::Line;
use crate::config::table::{FIXED, HIDDEN, KEPT, OURS, PROTECTED, SETTINGS, Setting};

const HEAD: &str = "\
# Every setting of Peregrine with its default, in the syntax of redis.conf.
#
# A line that begins with `# ` explains; one that begins with `#` and a name is a setting at its default, to
# be uncommented and changed. Numbers of bytes take a unit: k, m, g are powers of 1000 and kb, mb, gb powers
# of 1024, in any case.
#
# Files of their own can be pulled in, and wildcards are allowed there:
#
#     include /etc/peregrine/conf.d/*.conf
#
# Users and renamed commands are not settings, and have lines of their own:
#
#     user worker on >secret ~jobs:* +@read +@write
#     rename-command SHUTDOWN \"\"
#
# This file is made from the table in src/config/table.rs; a test says how when it is out of date.
";

/// The whole of `redis.conf.example`.
#[must_use]
pub fn example() -> String {
    let mut out = String::from(HEAD);
    let defaults = Config::default();
    let mut section = "";
    for setting in SETTINGS.iter().filter(|setting| !setting.is(HIDDEN)) {
        if setting.section != section {
            section = setting.section;
            let rule = "#".repeat(30);
            // A String takes everything.
            let _ = write!(out, "\n{rule} {} {rule}\n", section.to_uppercase());
        }
        out.push('\n');
        describe(&mut out, setting);
        for line in lines(setting, &defaults) {
            let _ = writeln!(out, "#{} {line}", setting.name);
        }
    }
    out
}

fn describe(out: &mut String, setting: &Setting) {
    for line in setting.doc.lines() {
        let _ = writeln!(out, "# {}", line.trim());
    }
    let mut notes = Vec::new();
    if setting.is(KEPT) {
        notes.push("accepted for compatibility and without effect".to_owned());
    }
    if setting.is(FIXED) {
        notes.push("read at the start only".into());
    }
    if setting.is(PROTECTED) {
        notes.push("CONFIG SET needs enable-protected-configs".into());
    }
    if setting.is(OURS) {
        notes.push("not known to Redis".into());
    }
    if !setting.aliases.is_empty() {
        notes.push(format!("also called {}", setting.aliases.join(", ")));
    }
    if !notes.is_empty() {
        let _ = writeln!(out, "# ({})", notes.join("; "));
    }
}

/// The default as lines of the file; a setting that is left out by default is shown empty.
fn lines(setting: &Setting, defaults: &Config) -> Vec<String> {
    let lines = (setting.lines)(defaults, defaults);
    let text = |line: &Line| String::from_utf8_lossy(&line.text).into_owned();
    let printed = String::from_utf8_lossy(&(setting.print)(defaults)).into_owned();
    match (setting.name, lines.as_slice()) {
        ("dir", _) => vec!["./".into()],
        (_, []) if printed.is_empty() => vec!["\"\"".into()],
        (_, []) => vec![printed],
        (_, lines) => lines.iter().map(text).collect(),
    }
}
