//! Do rules mean what they say? Descriptions, refusals, files and the log, over a small catalogue.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::catalogue::Known;
use super::log::{Context, Event, Reason};
use super::user::{is_name, join_selectors};
use super::*;

const CATEGORIES: &[(u32, &str)] = &[(1, "read"), (2, "write"), (4, "admin")];

/// get set config config|get config|set select ping
fn catalogue() -> Catalogue {
    let known = |name: &str, parent, categories| Known { name: name.into(), parent, categories };
    Catalogue::new(
        vec![
            known("get", None, 1),
            known("set", None, 2),
            known("config", None, 0),
            known("config|get", Some(2), 4),
            known("config|set", Some(2), 4),
            known("select", None, 0),
            known("ping", None, 0),
        ],
        CATEGORIES,
    )
}

fn acl() -> Acl {
    Acl::new(catalogue())
}

fn words(text: &str) -> Vec<&[u8]> {
    text.split(' ').map(str::as_bytes).collect()
}

/// The description of a user that these rules make; the text of what is wrong with them otherwise.
fn described(rules: &[&str]) -> String {
    let acl = acl();
    let rules: Vec<&[u8]> = rules.iter().map(|rule| rule.as_bytes()).collect();
    match acl.set(b"u", &rules, false) {
        Ok(_) => String::from_utf8(acl.user(b"u").unwrap().line()).unwrap(),
        Err(Bad::Open(word)) => format!("open: {}", String::from_utf8_lossy(&word)),
        Err(Bad::Rule(rule, fault)) => format!("{}: {}", String::from_utf8_lossy(&rule), fault.text()),
    }
}

#[test]
fn descriptions_keep_what_matters() {
    let cases: &[(&[&str], &str)] = &[
        (&[], "user u off sanitize-payload resetchannels -@all"),
        (&["on", "nopass", "~*", "&*", "+@all"], "user u on nopass sanitize-payload ~* &* +@all"),
        (&["+get", "+set", "-GET"], "user u off sanitize-payload resetchannels -@all +set -get"),
        (&["+config|get", "+config"], "user u off sanitize-payload resetchannels -@all +config"),
        (&["+config", "-CONFIG|set"], "user u off sanitize-payload resetchannels -@all +config -config|set"),
        (&["+@READ", "-@write", "+@read"], "user u off sanitize-payload resetchannels -@all -@write +@read"),
        (&["+@all", "-get", "+@all"], "user u off sanitize-payload resetchannels +@all"),
        (
            &["+select|0", "+SELECT|One"],
            "user u off sanitize-payload resetchannels -@all +select|0 +select|one",
        ),
        (&["+select|0", "+select"], "user u off sanitize-payload resetchannels -@all +select"),
        (&["%R~a", "%w~a", "%rw~b", "%W~c"], "user u off sanitize-payload ~a ~b %W~c resetchannels -@all"),
        (&["&a", "&b", "&a"], "user u off sanitize-payload resetchannels &a &b -@all"),
        (&["skip-sanitize-payload"], "user u off skip-sanitize-payload resetchannels -@all"),
        (
            &["(~a +get)", "(", "+set", ")"],
            "user u off sanitize-payload resetchannels -@all (~a resetchannels -@all +get) (resetchannels -@all +set)",
        ),
        (&["(+get)", "clearselectors"], "user u off sanitize-payload resetchannels -@all"),
        (&["on", "~*", "(+get)", ">p", "reset"], "user u off sanitize-payload resetchannels -@all"),
        (&[">p", "<p", ""], "user u off sanitize-payload resetchannels -@all"),
        (&[">p", "nopass"], "user u off nopass sanitize-payload resetchannels -@all"),
    ];
    for (rules, want) in cases {
        assert_eq!(described(rules), *want, "{rules:?}");
    }
}

#[test]
fn malformed_rules_are_refused() {
    let syntax = [
        "%~k",
        "%",
        "%R",
        "%RWX~",
        "%RR~x",
        ")",
        "((+get))",
        "(+get (+set))",
        "(off)",
        "(>p)",
        "(\"\")",
        "~a b",
        "&a\nb",
        "foo",
        "+select|",
        "+select|a b",
        "(~\"a b\")",
        "(\"~a)",
        "(~a) (~b)",
    ];
    for rule in syntax {
        assert_eq!(described(&[rule]), format!("{rule}: Syntax error"));
    }
    for rule in
        ["+", "-", "+@", "-@nope", "+nope", "-select|0", "+config|nope", "+|x", "+@all|x", "+config|get|"]
    {
        let got = described(&[rule]);
        let known = got.contains("Unknown command or category") || got.contains("first-arg of a subcommand");
        assert!(known, "{rule}: {got}");
    }
    let hash =
        "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters";
    for rule in ["#", "#abc", "!abc", &format!("#{}", "A".repeat(64)), &format!("#{}", "é".repeat(32))] {
        assert_eq!(described(&[rule]), format!("{rule}: {hash}"));
    }
    for rule in ["(", "(+get ~a", "(+get) x", "(\""] {
        assert_eq!(described(&[rule]), format!("open: {rule}"));
    }
    assert!(described(&["<p"]).contains("does not exist"));
    assert!(described(&["~*", "~a"]).contains("'resetkeys'"));
    assert!(described(&["&*", "&a"]).contains("'resetchannels'"));
    // Deep nesting costs no stack.
    assert!(described(&[&"(".repeat(50_000)]).starts_with("open: "));
    assert!(described(&[&"()".repeat(50_000)]).ends_with("Syntax error"));
}

/// What a user with these rules may do with a request; keys are `r:k`, `w:k` or `rw:k`.
fn judged(rules: &str, command: &str, arguments: &str) -> Result<(), Refusal> {
    let acl = acl();
    let rules: Vec<&[u8]> = rules.split(", ").map(str::as_bytes).collect();
    acl.set(b"u", &rules, false).unwrap();
    let user = acl.user(b"u").unwrap();
    let (mut argv, mut keys) = (vec![command.as_bytes()], Vec::new());
    for argument in arguments.split(' ').filter(|a| !a.is_empty()) {
        let (access, name) = argument.split_once(':').unwrap_or(("", argument));
        let bits =
            [("r", READ), ("w", WRITE)].iter().filter(|(c, _)| access.contains(c)).map(|(_, bit)| bit).sum();
        if argument.contains(':') {
            keys.push(KeyUse { index: argv.len(), access: bits });
        }
        argv.push(name.as_bytes());
    }
    let command = acl.catalogue().find(command.as_bytes()).unwrap();
    user.check(&Wanted {
        command,
        for_all: false,
        argv: &argv,
        head: 1,
        keys: &keys,
        channels: (0, 0),
        patterns: false,
    })
}

#[test]
fn requests_are_judged_by_each_selector() {
    let (command, key) = (Err(Refusal::Command), |n| Err(Refusal::Key(n)));
    assert_eq!(judged("+get, ~a*", "get", "r:abc"), Ok(()));
    assert_eq!(judged("+get, ~a*", "get", "r:b"), key(1));
    assert_eq!(judged("+get, ~a*", "set", "w:a"), command);
    assert_eq!(judged("+@all, %R~a", "get", "r:a"), Ok(()));
    assert_eq!(judged("+@all, %R~a", "set", "w:a"), key(1));
    assert_eq!(judged("+@all, %R~a, %W~*", "get", "r:a w:b r:c"), key(3));
    // Two patterns do not add up to both rights.
    assert_eq!(judged("+@all, %R~a*, %W~*", "get", "rw:ab"), key(1));
    // A key that is neither read nor written must still be named by a pattern.
    assert_eq!(judged("+@all, %W~a", "get", ":a"), Ok(()));
    assert_eq!(judged("+@all, %W~a", "get", ":b"), key(1));
    // Neither do two selectors.
    assert_eq!(judged("+get, (~*)", "get", "r:a"), key(1));
    assert_eq!(judged("+get, (~* +get)", "get", "r:a"), Ok(()));
    assert_eq!(judged("+get, ~a, (~b +get)", "get", "r:a r:b"), key(2));
    assert_eq!(judged("+config, -config|set", "config|set", ""), command);
    assert_eq!(judged("+@all, -config", "config|get", ""), command);
    assert_eq!(judged("+@admin", "config|get", ""), Ok(()));
    assert_eq!(judged("+select|0", "select", "0"), Ok(()));
    assert_eq!(judged("+select|0", "select", "1"), command);
    assert_eq!(judged("+select|0", "select", ""), command);
    assert_eq!(judged("+select|0, -select", "select", "0"), command);
}

#[test]
fn one_flag_says_that_everything_is_allowed() {
    let free = |rules: &str| {
        let acl = acl();
        acl.set(b"u", &words(rules), false).unwrap();
        acl.user(b"u").unwrap().is_unrestricted()
    };
    assert!(acl().user(DEFAULT).unwrap().is_unrestricted());
    assert!(free("~* &* +@all"));
    assert!(free("~* &* +@all -get +get"));
    assert!(free("off (~* &* +@all)"));
    for rules in ["~* +@all", "&* +@all", "~* &*", "~* &* +@all -get", "~* &* +@all -@all"] {
        assert!(!free(rules), "{rules}");
    }
}

#[test]
fn passwords_open_only_their_user() {
    let acl = acl();
    acl.set(b"u", &words(">one >two"), false).unwrap();
    assert!(acl.authenticate(b"u", b"one").is_none(), "it is off");
    acl.set(b"u", &words("on <one"), false).unwrap();
    assert!(acl.authenticate(b"u", b"one").is_none());
    assert!(acl.authenticate(b"u", b"two").is_some());
    assert!(acl.authenticate(b"v", b"two").is_none());
    acl.set(b"u", &words("#3fc9b689459d738f8c88a3a48aa9e33542016b7a4052e001aaa536fca74813cb"), false)
        .unwrap();
    assert!(acl.authenticate(b"u", b"something").is_some(), "the SHA-256 of it");
    assert!(acl.is_open());
    acl.set_default_password(b"pw");
    assert!(!acl.is_open() && acl.authenticate(DEFAULT, b"pw").is_some());
    acl.set_default_password(b"");
    assert!(acl.is_open());
    acl.set(DEFAULT, &words("off"), false).unwrap();
    assert!(!acl.is_open());
}

#[test]
fn logins_follow_their_user_and_no_other() {
    let acl = acl();
    acl.set(b"u", &words("on nopass"), false).unwrap();
    let mut login = acl.authenticate(b"u", b"").unwrap();
    assert!(!login.is_stale(&acl));
    acl.set(b"u", &words("+get"), false).unwrap();
    assert!(login.is_stale(&acl) && login.renew(&acl) && !login.is_stale(&acl));
    assert!(login.user.line().ends_with(b"+get"));
    assert_eq!(acl.remove(&words("u nobody")), [login.user.id]);
    acl.set(b"u", &words("on nopass +@all"), false).unwrap();
    assert!(!login.renew(&acl), "another user has the name now");
}

#[test]
fn a_failed_change_changes_nothing() {
    let acl = acl();
    acl.set(b"u", &words("on"), false).unwrap();
    let (version, before) = (acl.version(), acl.user(b"u").unwrap());
    assert!(acl.set(b"u", &words("off >p +nope"), false).is_err());
    assert!(acl.set(b"v", &words("+nope"), false).is_err());
    assert_eq!((acl.version(), acl.user(b"u").unwrap(), acl.user(b"v")), (version, before, None));
}

#[test]
fn lost_channels_are_noticed() {
    let lost = |before: &str, change: &str| {
        let acl = acl();
        acl.set(b"u", &words(before), false).unwrap();
        !acl.set(b"u", &words(change), false).unwrap().is_empty()
    };
    assert!(!lost("&a &b", "&c"));
    assert!(!lost("&a", "allchannels"));
    assert!(!lost("&a", "resetchannels &b &a"));
    assert!(!lost("&a", "resetchannels (&a)"));
    assert!(lost("&a &b", "resetchannels &a"));
    assert!(lost("allchannels", "resetchannels &*a"));
    assert!(lost("(&a)", "clearselectors"));
}

#[test]
fn files_are_taken_as_a_whole_or_not_at_all() {
    let catalogue = catalogue();
    let setting = Setting { catalogue: &catalogue, all_channels: false };
    let parse = |text: &str| file::parse(text.as_bytes(), "f", setting, |_| 7);
    let users = parse("\n  user a on ~x (~a +get)  \r\nuser b off\n").unwrap();
    let lines: Vec<_> = users.iter().map(|user| String::from_utf8(user.line()).unwrap()).collect();
    assert_eq!(
        lines,
        [
            "user a on sanitize-payload ~x resetchannels -@all (~a resetchannels -@all +get)",
            "user b off sanitize-payload resetchannels -@all"
        ]
    );
    let end = "WARNING: ACL errors detected, no change to the previously active ACL rules was performed";
    let cases = [
        ("# no", "f:1 should start with user keyword followed by the username. "),
        ("user", "f:1 should start with user keyword followed by the username. "),
        ("user a\x01b on", "'f:1: username 'a\x01b' contains invalid characters. "),
        ("user a\nuser a", "WARNING: Duplicate user 'a' found on line 2. "),
        (
            "\nuser a +nope +no",
            "f:2: Error in applying operation '+nope': Unknown command or category name in ACL. \
            f:2: Error in applying operation '+no': Unknown command or category name in ACL. ",
        ),
        ("user a foo bar", "f:1: Syntax error. "),
        ("user a (~a +get", "f:1: Unmatched parenthesis in selector definition."),
        ("user a \0\u{fffd}\x7f", "f:1: Syntax error. "),
    ];
    for (text, want) in cases {
        assert_eq!(parse(text).unwrap_err(), format!("{want}{end}"), "{text:?}");
    }
}

#[test]
fn loading_keeps_the_ids_of_those_who_stay() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users.acl");
    let path = path.to_str().unwrap();
    let acl = acl();
    for user in ["kept", "gone", "deaf"] {
        acl.set(user.as_bytes(), &words("on nopass &a"), false).unwrap();
    }
    let id = |name: &str| acl.user(name.as_bytes()).unwrap().id;
    let (kept, gone, deaf, default) = (id("kept"), id("gone"), id("deaf"), id("default"));
    std::fs::write(path, "user kept on allchannels\nuser deaf on\nuser new on\n").unwrap();
    let mut affected = acl.load(path, false).unwrap();
    affected.sort_unstable();
    assert_eq!(affected, [gone, deaf]);
    assert_eq!((id("kept"), id("default")), (kept, default));
    assert!(acl.user(DEFAULT).unwrap().is_unrestricted(), "it is as at first when the file does not name it");
    let text = acl.file_text();
    std::fs::write(path, &text).unwrap();
    assert_eq!(acl.load(path, false), Ok(vec![]));
    assert_eq!(acl.file_text(), text);
    std::fs::write(path, "user x foo").unwrap();
    assert!(acl.load(path, false).is_err());
    assert_eq!(acl.file_text(), text, "a bad file changes nothing");
    assert!(acl.load("/nonexistent/users.acl", false).unwrap_err().contains("No such file"));
}

#[test]
fn names_cannot_end_a_line() {
    assert!(is_name(b"alice") && is_name("älice".as_bytes()) && is_name(b""));
    for name in [&b"a b"[..], b"a\n", b"\0", b"a\tb", b"\x1b[31m", b"\x7f"] {
        assert!(!is_name(name), "{name:?}");
    }
}

#[test]
fn the_log_counts_what_happens_again() {
    let log = AclLog::default();
    let add = |object: &str, at: u64, most: usize| {
        let (reason, context) = (Reason::Key, Context::TopLevel);
        let event = Event {
            reason,
            context,
            object: object.as_bytes().into(),
            user: b"u"[..].into(),
            client: vec![],
        };
        log.add(event, at, most);
    };
    let shown = || {
        let entries = log.newest(9).into_iter();
        entries
            .map(|e| (String::from_utf8(e.event.object.to_vec()).unwrap(), e.count, e.id))
            .collect::<Vec<_>>()
    };
    let entry = |object: &str, count: u64, id: u64| (object.to_owned(), count, id);
    add("a", 0, 3);
    add("b", 10, 3);
    add("a", 60_000, 3);
    assert_eq!(shown(), [entry("a", 2, 0), entry("b", 1, 1)]);
    add("b", 60_011, 3);
    assert_eq!(shown()[0], entry("b", 1, 2), "more than a minute later it is another entry");
    add("c", 60_012, 3);
    assert_eq!(shown().len(), 3);
    add("d", 60_013, 0);
    assert_eq!((shown().len(), log.count(Reason::Key)), (0, 6));
}

/// Rules that apply in any order.
fn rule() -> impl Strategy<Value = Vec<u8>> {
    let pattern =
        proptest::collection::vec(any::<u8>().prop_filter("blank", |b| !selector::has_blanks(&[*b])), 0..4);
    let fixed = [
        "on",
        "off",
        "nopass",
        ">p",
        "+@all",
        "-@all",
        "+get",
        "-get",
        "+config",
        "-config|set",
        "+config|get",
        "+@read",
        "-@admin",
        "+select|0",
        "+select|a'b",
        "-select",
        "&*",
        "resetchannels",
        "~*",
        "resetkeys",
        "skip-sanitize-payload",
        "(+get)",
        "(+@all -@read ~* &x)",
    ];
    let pick = proptest::sample::select(fixed.to_vec()).prop_map(|rule| rule.as_bytes().to_vec());
    let sign = proptest::sample::select(vec!["~", "%R~", "%W~", "&"]);
    let open = (sign.clone(), pattern.clone()).prop_map(|(sign, p)| [sign.as_bytes(), &p].concat());
    let inner = (sign, pattern).prop_map(|(sign, p)| {
        [b"(", &*crate::util::quote::quoted(&[sign.as_bytes(), &p].concat()), b" +get)"].concat()
    });
    prop_oneof![3 => pick, 1 => open, 1 => inner]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn what_is_described_comes_back(rules in proptest::collection::vec(rule(), 0..12)) {
        let catalogue = catalogue();
        let setting = Setting { catalogue: &catalogue, all_channels: false };
        let mut user = User::new(7, b"u", setting);
        for rule in &rules {
            let _ = user.apply(rule, setting);
        }
        let read = file::parse(&user.line(), "f", setting, |_| 7);
        prop_assert_eq!(read, Ok(vec![user.clone()]), "from a file");
        let words = crate::util::quote::split(&user.directive()).unwrap();
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        prop_assert_eq!(words[0], b"u");
        let read = User::new(7, b"u", setting).with_rules(&words[1..], setting);
        prop_assert_eq!(read, Ok(user), "from a configuration");
    }

    #[test]
    fn no_rule_is_too_strange(rules in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9), 0..4)) {
        let rules: Vec<&[u8]> = rules.iter().map(Vec::as_slice).collect();
        let _ = join_selectors(&rules);
        let _ = acl().set(b"u", &rules, true);
    }
}
