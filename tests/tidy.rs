//! Does the repository keep its own rules? Each rule is a test that names every place that breaks it.
//!
//! The source is read after `blank` has replaced comments, strings and test modules by spaces, line for line, so that
//! a rule sees only the code that ships and a line number is the line number of the file.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

/// Rooms of `src/`, from the one that everybody may import to the one that nobody may. A room imports only from
/// earlier rows and from itself.
const ROOMS: &[&[&str]] = &[
    &["error"],
    &["util"],
    &["ds"],
    &["value"],
    &["resp"],
    &["config"],
    &["acl"],
    &["log"],
    &["keyspace"],
    &["client"],
    &["pubsub", "stats"],
    &["persist", "script"],
    &["replication", "cluster"],
    &["dispatch"],
    &["commands"],
    &["net"],
    &["server"],
    &["main"],
];

const FILE_LINES: usize = 800;
const FUNCTION_LINES: usize = 70;

/// Functions that may be longer, with the reason.
const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[
    ("src/config/tests.rs", "set_answers_like_redis", "a table of cases"),
    ("src/script/keys_proof.rs", "doubts_everything_else", "a table of cases"),
    ("src/script/tests.rs", "nothing_that_is_shared_can_be_changed", "a table of cases"),
];

/// Files that may hold state of the whole process, with the reason.
const GLOBALS: &[(&str, &str)] =
    &[("src/ds/alloc.rs", "an allocator is one for the process, and counts for all")];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Files under `dir` with this extension, with their paths relative to the repository and their text.
fn files(dir: &str, extension: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut dirs = vec![root().join(dir)];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let hidden =
                |p: &Path| ["target", ".git", "node_modules", "__pycache__"].iter().any(|n| p.ends_with(n));
            if path.is_dir() && !hidden(&path) {
                dirs.push(path);
            } else if path.is_file()
                && (extension.is_empty() || path.extension().is_some_and(|e| e == extension))
            {
                let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
                found.extend(std::fs::read_to_string(&path).map(|text| (name, text)));
            }
        }
    }
    found.sort();
    found
}

fn source() -> Vec<(String, String)> {
    files("src", "rs")
}

fn report(rule: &str, broken: Vec<String>) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

/// The code without comments and the contents of strings and character literals; line breaks stay.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = skip(bytes, at);
        if end > at {
            out.extend(bytes[at..end].iter().map(|&b| if b == b'\n' { b'\n' } else { b' ' }));
            at = end;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The end of the comment or literal that starts at `at`, or `at`.
fn skip(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let find = |needle: &[u8], from: usize| {
        rest[from..]
            .windows(needle.len())
            .position(|w| w == needle)
            .map_or(bytes.len(), |n| at + from + n + needle.len())
    };
    let word_before = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    if rest.starts_with(b"//") {
        return find(b"\n", 2).saturating_sub(1).max(at + 2);
    }
    if rest.starts_with(b"/*") {
        return find(b"*/", 2);
    }
    if rest[0] == b'"' {
        return quoted(bytes, at + 1, b'"');
    }
    let raw = rest.strip_prefix(b"b").unwrap_or(rest);
    if !word_before && raw.first() == Some(&b'r') {
        let hashes = raw[1..].iter().take_while(|b| **b == b'#').count();
        if raw.get(1 + hashes) == Some(&b'"') {
            let close = [&b"\""[..], &b"#".repeat(hashes)].concat();
            return find(&close, rest.len() - raw.len() + 2 + hashes);
        }
    }
    // A quote starts a character only if it ends one too; otherwise it names a lifetime.
    if rest[0] == b'\''
        && (rest.get(1) == Some(&b'\\')
            || rest.get(2) == Some(&b'\'')
            || !rest.get(1).is_some_and(u8::is_ascii))
    {
        return quoted(bytes, at + 1, b'\'');
    }
    at
}

fn quoted(bytes: &[u8], mut at: usize, close: u8) -> usize {
    while at < bytes.len() && bytes[at] != close {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

/// The blanked code of a file, test modules blanked too.
fn shipped(name: &str, text: &str) -> String {
    if name.ends_with("tests.rs") || name.contains("/tests/") {
        return String::new();
    }
    let mut code = blank(text);
    while let Some(start) = code.find("#[cfg(test)]") {
        let semicolon = code[start..].find(';').map(|n| start + n);
        let end = match code[start..].find('{').map(|n| start + n) {
            Some(open) if semicolon.is_none_or(|s| open < s) => close_of(&code, open),
            _ => semicolon.map_or(code.len(), |s| s + 1),
        };
        let hole: String = code[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        code.replace_range(start..end, &hole);
    }
    code
}

/// The place after the brace that closes the one at `open`.
fn close_of(code: &str, open: usize) -> usize {
    let mut depth = 0;
    for (n, b) in code.bytes().enumerate().skip(open) {
        depth += match b {
            b'{' => 1,
            b'}' => -1,
            _ => 0,
        };
        if depth == 0 {
            return n + 1;
        }
    }
    code.len()
}

fn line_of(code: &str, at: usize) -> usize {
    1 + code[..at].matches('\n').count()
}

/// Places where `word` stands alone in shipped code.
fn uses(word: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (name, text) in source() {
        let code = shipped(&name, &text);
        let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        for (at, _) in code.match_indices(word) {
            let alone =
                !part(code[..at].chars().next_back()) && !part(code[at + word.len()..].chars().next());
            if alone || !word.ends_with(char::is_alphanumeric) {
                found.push((name.clone(), line_of(&code, at)));
            }
        }
    }
    found
}

fn places(found: Vec<(String, usize)>) -> Vec<String> {
    found.into_iter().map(|(name, line)| format!("{name}:{line}")).collect()
}

#[test]
fn files_import_only_from_rooms_to_their_left() {
    let rank = |room: &str| ROOMS.iter().position(|row| row.contains(&room));
    let mut broken = Vec::new();
    for (name, text) in source() {
        let path = name.trim_start_matches("src/").trim_end_matches(".rs");
        let room = path.split('/').next().unwrap();
        if room == "lib" {
            continue;
        }
        let Some(own) = rank(room) else {
            broken.push(format!("{name}: {room} is no room; add it to ROOMS and to the picture in lib.rs"));
            continue;
        };
        let code = shipped(&name, &text);
        for (at, _) in code.match_indices("crate::") {
            let other: String =
                code[at + 7..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if other != room && rank(&other).is_some_and(|r| r >= own) {
                broken.push(format!("{name}:{} imports {other}", line_of(&code, at)));
            }
        }
    }
    report("a file imports only from rooms to its left", broken);
}

#[test]
fn files_are_short() {
    let all = source()
        .into_iter()
        .chain(files("tests", "rs"))
        .chain(files("benches", "rs"))
        .chain(files("fuzz", "rs"));
    let long = all.filter(|(_, text)| text.lines().count() > FILE_LINES);
    let broken = long.map(|(name, text)| format!("{name}: {} lines", text.lines().count())).collect();
    report("a file past 800 lines has two rooms in it", broken);
}

#[test]
fn functions_are_short() {
    let mut broken = Vec::new();
    for (name, text) in source().into_iter().chain(files("tests", "rs")).chain(files("fuzz", "rs")) {
        let code = blank(&text);
        for (at, _) in code.match_indices("fn ") {
            let starts = at == 0 || code[..at].ends_with([' ', '\n', '(']);
            let function: String =
                code[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let open = code[at..].find('{').map(|n| at + n);
            let semicolon = code[at..].find(';').map_or(code.len(), |n| at + n);
            let (true, false, Some(open)) = (starts, function.is_empty(), open) else { continue };
            // A declaration ends before any brace; an array type in a signature may hold a semicolon.
            let within = &code[at..semicolon.max(at)];
            if semicolon < open && within.matches('[').count() == within.matches(']').count() {
                continue;
            }
            let lines = line_of(&code, close_of(&code, open) - 1) - line_of(&code, at) + 1;
            let excused = LONG_FUNCTIONS.iter().any(|(file, f, _)| *file == name && *f == function);
            if lines > FUNCTION_LINES && !excused {
                broken.push(format!("{name}:{} {function}: {lines} lines", line_of(&code, at)));
            }
        }
    }
    report("a function past 70 lines does two things", broken);
}

#[test]
fn files_open_with_their_question() {
    let all = source()
        .into_iter()
        .chain(files("tests", "rs"))
        .chain(files("benches", "rs"))
        .chain(files("fuzz", "rs"));
    let broken = all.filter(|(_, text)| !text.starts_with("//! ")).map(|(name, _)| name).collect();
    report("a file opens with one //! line that asks and answers its question", broken);
}

#[test]
fn unsafe_lives_in_ds() {
    let found = uses("unsafe").into_iter().filter(|(name, _)| !name.starts_with("src/ds/"));
    report("unsafe code lives in src/ds", places(found.collect()));
}

#[test]
fn every_unsafe_block_says_why() {
    let mut broken = Vec::new();
    for (name, text) in files("src/ds", "rs") {
        let (code, lines) = (blank(&text), text.lines().collect::<Vec<_>>());
        for (at, _) in code.match_indices("unsafe {").chain(code.match_indices("unsafe impl")) {
            let line = line_of(&code, at);
            // The reason stands on the lines above, a statement's first line may lie between.
            let above = &lines[line.saturating_sub(9)..line];
            if !above.iter().any(|l| l.contains("SAFETY:")) {
                broken.push(format!("{name}:{line}"));
            }
        }
    }
    report("an unsafe block has its SAFETY: line", broken);
}

#[test]
fn there_are_no_globals() {
    let excused = |name: &str| GLOBALS.iter().any(|(file, _)| *file == name);
    let mut broken = places(uses("static mut"));
    for word in ["LazyLock", "OnceCell", "LazyCell", "lazy_static", "thread_local"] {
        let found = uses(word).into_iter().filter(|(name, _)| !excused(name)).collect();
        broken.extend(places(found).into_iter().map(|p| format!("{p}: {word}")));
    }
    for (name, text) in source().into_iter().filter(|(name, _)| !excused(name)) {
        let code = shipped(&name, &text);
        for (at, _) in code.match_indices("static ") {
            let statement = &code[at..code[at..].find(['=', ';']).map_or(code.len(), |n| at + n)];
            let item = code[..at].chars().next_back().is_none_or(|c| c.is_whitespace());
            if item && ["Atomic", "Mutex", "RwLock", "Cell", "OnceLock"].iter().any(|w| statement.contains(w))
            {
                broken.push(format!("{name}:{}: {}", line_of(&code, at), statement.trim()));
            }
        }
    }
    report("state is owned and passed, never global", broken);
}

#[test]
fn nothing_unwraps() {
    let found = [".unwrap()", ".expect(", "todo!", "unimplemented!", "dbg!"].iter().flat_map(|w| uses(w));
    report("shipped code neither unwraps nor leaves things to do", places(found.collect()));
}

#[test]
fn nothing_private_is_named() {
    // Put together here so that this file does not name them either.
    let words = [
        ["../sha", "red"],
        ["/wo", "rk/"],
        ["redis", "-suite"],
        ["before", "-stop"],
        ["duplicates", " --change"],
    ];
    let words = words.map(|w| w.concat());
    let mut broken = Vec::new();
    for dir in ["src", "tests", "benches", "examples", "docs", "lua", ".ci", ".cargo", "fuzz"] {
        for (name, text) in files(dir, "") {
            for (n, line) in text.lines().enumerate() {
                broken.extend(
                    words.iter().filter(|w| line.contains(*w)).map(|w| format!("{name}:{}: {w}", n + 1)),
                );
            }
        }
    }
    for name in ["README.md", "CHANGELOG.md", "Makefile", "Cargo.toml", "deny.toml", "redis.conf.example"] {
        let text = std::fs::read_to_string(root().join(name)).unwrap_or_default();
        broken.extend(words.iter().filter(|w| text.contains(*w)).map(|w| format!("{name}: {w}")));
    }
    report("the repository stands on its own", broken);
}

/// Every command and subcommand stands in `fuzz/corpus-seeds/commands/NAME.txt`, so that the fuzzer knows it.
#[test]
fn every_command_has_a_seed() {
    let dir = root().join("fuzz/corpus-seeds/commands");
    let mut broken = Vec::new();
    for row in peregrine::commands::FAMILIES.iter().flat_map(|rows| rows.iter()) {
        let path = dir.join(format!("{}.txt", row.name));
        let seed = std::fs::read_to_string(&path).unwrap_or_default().to_ascii_lowercase();
        let lines: Vec<Vec<&str>> = seed.lines().map(|line| line.split(' ').collect()).collect();
        let mut wanted: Vec<Vec<&str>> = row.subcommands.iter().map(|sub| vec![row.name, sub.name]).collect();
        if wanted.is_empty() {
            wanted.push(vec![row.name]);
        }
        let missing = wanted.into_iter().filter(|words| !lines.iter().any(|line| line.starts_with(words)));
        broken.extend(missing.map(|words| format!("{} in {}", words.join(" "), path.display())));
    }
    report("a command has a seed for the fuzzer: a line that uses it", broken);
}

/// The targets of the fuzzer; `make fuzz` runs those that have seeds.
#[test]
fn every_fuzz_target_has_seeds_and_is_declared() {
    let manifest = std::fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
    let mut broken = Vec::new();
    for (name, _) in files("fuzz/fuzz_targets", "rs") {
        let target = Path::new(&name).file_stem().unwrap().to_string_lossy().into_owned();
        if std::fs::read_dir(root().join("fuzz/corpus-seeds").join(&target)).map_or(0, Iterator::count) < 3 {
            broken.push(format!("{name}: corpus-seeds/{target} has fewer than three seeds"));
        }
        if !manifest.contains(&format!("path = \"{}\"", name.trim_start_matches("fuzz/"))) {
            broken.push(format!("{name} is not in fuzz/Cargo.toml"));
        }
    }
    report("a fuzz target has seeds", broken);
}

#[test]
fn every_dependency_has_a_reason() {
    let mut broken = Vec::new();
    for manifest in ["Cargo.toml", "fuzz/Cargo.toml"] {
        let mut in_dependencies = false;
        for line in std::fs::read_to_string(root().join(manifest)).unwrap().lines() {
            let given = line.contains('=') && !line.starts_with('#');
            if line.starts_with('[') {
                in_dependencies = line.contains("dependencies");
            } else if in_dependencies && given && !line.contains(" # ") {
                broken.push(format!("{manifest}: {line}"));
            }
        }
    }
    report("a dependency says in Cargo.toml what it is for", broken);
}

#[test]
fn the_documents_are_there() {
    let wanted = [
        "README.md",
        "CHANGELOG.md",
        "LICENSE-MIT",
        "LICENSE-APACHE",
        "redis.conf.example",
        "docs/drop-in.md",
        "docs/performance.md",
        "tests/README.md",
        "Makefile",
        "deny.toml",
    ];
    let size = |name: &str| std::fs::metadata(root().join(name)).map_or(0, |m| m.len());
    let broken = wanted.into_iter().filter(|name| size(name) < 200).map(String::from).collect();
    report("documents are present and say something", broken);
}

#[test]
fn comments_and_strings_are_not_code() {
    let code = blank(
        "let a = \"unsafe\"; // unsafe\n/* unsafe */ let c = '\"'; let r = r#\"unsafe \" \"#; fn f<'a>() {}\n",
    );
    assert!(!code.contains("unsafe"), "{code}");
    assert!(code.contains("fn f<'a>() {}"), "{code}");
    let code =
        shipped("src/x.rs", "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { x.unwrap() } }\nfn c() {}\n");
    assert!(!code.contains("unwrap") && code.contains("fn c()"), "{code}");
}
