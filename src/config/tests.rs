//! Do settings parse, print, change and rewrite as those of Redis 8.2? Tables of cases and properties.

use std::path::Path;

use proptest::prelude::*;

use super::cmdline::{CommandLine, Invocation};
use super::file::{Fatal, Loaded, load};
use super::live::{Live, View};
use super::rewrite::{Defaults, replace, rewrite, rewrite_file};
use super::table::{KEPT, OURS};
use super::values::Events;
use super::*;

const LOCAL: Asking = Asking { local: true, loading: false };

fn get(config: &Config, name: &str) -> String {
    match config.get(&[name.as_bytes()]).as_slice() {
        [(_, value)] => String::from_utf8_lossy(value).into_owned(),
        other => panic!("{name}: {other:?}"),
    }
}

fn set(config: &Config, words: &[&str]) -> Result<Config, String> {
    let pairs: Vec<_> = words.chunks(2).map(|pair| (pair[0].as_bytes(), pair[1].as_bytes())).collect();
    match config.set(&pairs, LOCAL) {
        Ok(change) => Ok(change.config),
        Err(error) => Err(String::from_utf8_lossy(&error.reply()).into_owned()),
    }
}

/// The configuration of a file with this text, and options after it.
fn read(text: &[u8], options: &[&str]) -> Result<Loaded, Fatal> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("redis.conf"), text).unwrap();
    read_in(dir.path(), options)
}

fn read_in(dir: &Path, options: &[&str]) -> Result<Loaded, Fatal> {
    let words = std::iter::once("redis.conf").chain(options.iter().copied());
    let words: Vec<_> = words.map(std::ffi::OsString::from).collect();
    let Invocation::Serve(command) = Invocation::parse(&words) else { panic!("{words:?}") };
    load(&command, &mut std::io::empty(), dir)
}

fn options(words: &[&str]) -> Result<Loaded, String> {
    let words: Vec<_> = words.iter().map(std::ffi::OsString::from).collect();
    let Invocation::Serve(command) = Invocation::parse(&words) else { panic!("{words:?}") };
    load(&command, &mut std::io::empty(), Path::new(".")).map_err(|fatal| fatal.to_string())
}

#[test]
fn rows_agree_with_themselves() {
    let mut all = Vec::new();
    for (setting, name) in names() {
        assert!(!all.contains(&name), "{name} is there twice");
        assert_eq!(name, name.to_ascii_lowercase());
        assert_eq!(setting.field, setting.name.replace('-', "_"), "field and name");
        assert!(setting.doc.trim_end().ends_with('.'), "{name}: the text is no sentence");
        all.push(name);
    }
    assert!(all.len() > 200, "{}", all.len());
}

#[test]
fn defaults_come_back_from_their_text() {
    let config = Config::default();
    // The directory is one of the machine, the number of threads printed is the one that runs.
    for setting in SETTINGS.iter().filter(|setting| !["dir", "io-threads"].contains(&setting.name)) {
        let printed = (setting.print)(&config);
        // Set as CONFIG SET would, were it allowed to: empty lists of words have no word.
        let words: Vec<&[u8]> = if setting.several && !printed.is_empty() {
            printed.split(|byte| *byte == b' ').collect()
        } else {
            vec![&printed]
        };
        let mut again = config.clone();
        match (setting.parse)(&mut again, &words, How::Replace) {
            Ok(()) => assert!((setting.same)(&config, &again), "{}", setting.name),
            Err(reason) => assert_eq!(setting.name, "replicaof", "{reason}"),
        }
    }
}

#[test]
fn ranges_fit_their_fields() {
    let mut checked = 0;
    for setting in SETTINGS {
        let mut config = Config::default();
        for extreme in ["-9223372036854775808", "9223372036854775807", "18446744073709551615", "777777"] {
            let Err(reason) = (setting.parse)(&mut config, &[extreme.as_bytes()], How::Replace) else {
                continue;
            };
            let Some(range) = reason.strip_prefix("argument must be between ") else { continue };
            let (min, max) = range.trim_end_matches(" inclusive").split_once(" and ").unwrap();
            for bound in [min, max] {
                // A negative bound of a memory setting cannot be written.
                (setting.parse)(&mut config, &[bound.as_bytes()], How::Replace)
                    .unwrap_or_else(|reason| panic!("{} {bound}: {reason}", setting.name));
                checked += 1;
            }
        }
    }
    assert!(checked > 100, "{checked}");
}

#[test]
fn get_takes_names_and_patterns() {
    let config = Config::default();
    let names = |patterns: &[&str]| {
        let patterns: Vec<_> = patterns.iter().map(|pattern| pattern.as_bytes()).collect();
        let found = config.get(&patterns);
        found.into_iter().map(|(name, _)| String::from_utf8(name).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(names(&["MaxMemory", "maxmemory"]), ["MaxMemory"]);
    assert_eq!(names(&["slaveof", "REPLICAOF"]), ["slaveof", "REPLICAOF"]);
    assert_eq!(names(&["nothing", "sav[e]", "SAVE"]), ["save"]);
    assert_eq!(names(&["*slave-READ-only", "replica-read-*"]), ["slave-read-only", "replica-read-only"]);
    assert_eq!(
        names(&["maxmemory*", "maxmemory"]),
        [
            "maxmemory-clients",
            "maxmemory",
            "maxmemory-policy",
            "maxmemory-samples",
            "maxmemory-eviction-tenacity"
        ]
    );
    assert_eq!(names(&["key-load-delay"]), ["key-load-delay"]);
    assert!(!names(&["*"]).contains(&"key-load-delay".to_owned()), "hidden");
    assert_eq!(names(&["key-load-*"]), [""; 0]);
    let hostile = [b"*?".repeat(50_000), b"[".repeat(50_000), b"\\".to_vec(), b"[^-]".to_vec()];
    for pattern in &hostile {
        assert!(config.get(&[pattern]).is_empty());
    }
}

/// Each line was answered by redis-server 8.2.3.
#[test]
fn set_answers_like_redis() {
    let failed = |name: &str, reason: &str| {
        format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}")
    };
    let cases: &[(&[&str], String)] = &[
        (&["nope", "1"], "ERR Unknown option or number of arguments for CONFIG SET - 'nope'".into()),
        (&["a\nb", "1"], "ERR Unknown option or number of arguments for CONFIG SET - 'a b'".into()),
        (&["maxmemory", "1", "MAXMEMORY", "2"], failed("MAXMEMORY", "duplicate parameter")),
        (&["Daemonize", "yes"], failed("Daemonize", "can't set immutable config")),
        (&["io-threads", "2"], failed("io-threads", "can't set immutable config")),
        (&["dir", "/tmp"], failed("dir", "can't set protected config")),
        (
            &["nope", "1", "daemonize", "yes"],
            "ERR Unknown option or number of arguments for CONFIG SET - 'nope'".into(),
        ),
        (&["daemonize", "yes", "nope", "1"], failed("daemonize", "can't set immutable config")),
        (
            &["HASH-MAX-ziplist-entries", "x"],
            failed("hash-max-ziplist-entries", "argument couldn't be parsed into an integer"),
        ),
        (
            &["hash-max-listpack-entries", "-1"],
            failed("hash-max-listpack-entries", "argument must be greater or equal to 0"),
        ),
        (
            &["list-compress-depth", "01"],
            failed("list-compress-depth", "argument couldn't be parsed into an integer"),
        ),
        (&["hz", "-1"], failed("hz", "argument must be between 0 and 2147483647 inclusive")),
        (&["maxmemory", "-1"], failed("maxmemory", "argument must be a memory value")),
        (
            &["maxmemory", "9223372036854775808"],
            failed("maxmemory", "argument must be greater or equal to 0"),
        ),
        (
            &["repl-backlog-size", "0"],
            failed("repl-backlog-size", "argument must be between 1 and 9223372036854775807 inclusive"),
        ),
        (
            &["maxmemory-clients", "101%"],
            failed("maxmemory-clients", "percentage argument must be less or equal to 100"),
        ),
        (
            &["maxmemory-clients", "-101%"],
            failed("maxmemory-clients", "argument must be a memory or percent value"),
        ),
        (&["appendonly", "maybe"], failed("appendonly", "argument must be 'yes' or 'no'")),
        (
            &["appendfsync", ""],
            failed("appendfsync", "argument(s) must be one of the following: everysec, always, no"),
        ),
        (
            &["oom-score-adj", "x"],
            failed("oom-score-adj", "argument(s) must be one of the following: no, yes, relative, absolute"),
        ),
        (&["save", "900 1 "], failed("save", "Invalid save parameters")),
        (&["save", " "], failed("save", "Invalid save parameters")),
        (&["save", "0 1"], failed("save", "Invalid save parameters")),
        (
            &["shutdown-on-sigint", ""],
            failed(
                "shutdown-on-sigint",
                "argument(s) must be one of the following: default, save, nosave, now, force",
            ),
        ),
        (
            &["shutdown-on-sigint", "save nosave"],
            failed("shutdown-on-sigint", "shutdown options SAVE and NOSAVE can't be used simultaneously"),
        ),
        (
            &["latency-tracking-info-percentiles", "101"],
            failed(
                "latency-tracking-info-percentiles",
                "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]",
            ),
        ),
        (
            &["latency-tracking-info-percentiles", "x"],
            failed(
                "latency-tracking-info-percentiles",
                "Invalid latency-tracking-info-percentiles parameters",
            ),
        ),
        (
            &["notify-keyspace-events", "KEQ"],
            failed("notify-keyspace-events", "Invalid event class character. Use 'Ag$lshzxeKEtmdn'."),
        ),
        (
            &["client-output-buffer-limit", "normal 1 2"],
            failed("client-output-buffer-limit", "Wrong number of arguments in buffer limit configuration."),
        ),
        (
            &["client-output-buffer-limit", "master 1 2 3"],
            failed(
                "client-output-buffer-limit",
                "Invalid client class specified in buffer limit configuration.",
            ),
        ),
        (
            &["client-output-buffer-limit", "normal 1 2 -3"],
            failed(
                "client-output-buffer-limit",
                "Error in hard, soft or soft_seconds setting in buffer limit configuration.",
            ),
        ),
        (&["oom-score-adj-values", "1 2"], failed("oom-score-adj-values", "wrong number of arguments")),
        (
            &["oom-score-adj-values", "1 2 3000"],
            failed(
                "oom-score-adj-values",
                "Invalid oom-score-adj-values, elements must be between -2000 and 2000.",
            ),
        ),
        (
            &["proc-title-template", ""],
            failed("proc-title-template", "template format is invalid or contains unknown variables"),
        ),
        (
            &["proc-title-template", "{title"],
            failed("proc-title-template", "template format is invalid or contains unknown variables"),
        ),
        (
            &["cluster-announce-hostname", "a_b"],
            failed(
                "cluster-announce-hostname",
                "Hostnames may only contain alphanumeric characters, hyphens or dots",
            ),
        ),
        (
            &["maxmemory", "10000001", "maxmemory-clients", "200%", "client-query-buffer-limit", "invalid"],
            failed("maxmemory-clients", "percentage argument must be less or equal to 100"),
        ),
    ];
    for (words, want) in cases {
        assert_eq!(set(&Config::default(), words).map(|_| "OK".to_owned()), Err(want.clone()), "{words:?}");
    }
}

/// Each line was answered by redis-server 8.2.3.
#[test]
fn values_are_printed_like_redis() {
    let cases = [
        ("maxmemory", "", "0"),
        ("maxmemory", "1gb", "1073741824"),
        ("maxmemory", "1G", "1000000000"),
        ("maxmemory", "5B", "5"),
        ("maxmemory-clients", "5%", "5%"),
        ("maxmemory-clients", "0%", "0"),
        ("maxmemory-clients", "1mb", "1048576"),
        ("hz", "0", "1"),
        ("hz", "1000", "500"),
        ("repl-backlog-size", "1", "16384"),
        ("appendonly", "YES", "yes"),
        ("oom-score-adj", "relative", "yes"),
        ("save", "", ""),
        ("save", "900 1", "900 1"),
        ("shutdown-on-sigint", "nosave force now", "nosave now force"),
        ("shutdown-on-sigterm", "default", "default"),
        ("latency-tracking-info-percentiles", "50 99.12345678 0", "50 99.123457 0"),
        ("latency-tracking-info-percentiles", "", ""),
        (
            "client-output-buffer-limit",
            "",
            "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
        ),
        (
            "client-output-buffer-limit",
            "Replica 1mb 2 3",
            "normal 0 0 0 slave 1048576 2 3 pubsub 33554432 8388608 60",
        ),
        ("notify-keyspace-events", "KEA", "AKE"),
        ("notify-keyspace-events", "mKn", "nKm"),
        ("notify-keyspace-events", "AKEnm", "AKEm"),
        ("notify-keyspace-events", "nocmKE", "nocKEm"),
        ("notify-keyspace-events", "AKEoc", "AKE"),
        ("proc-title-template", "{{", "{{"),
        ("proc-title-template", "{port}", "{port}"),
        ("notify-keyspace-events", "g$lshzxetdn", "A"),
        ("bind", "127.0.0.1 -::1", "127.0.0.1 -::1"),
        ("bind", "", ""),
        ("list-max-ziplist-size", "-5", "-5"),
    ];
    for (name, value, want) in cases {
        let config = set(&Config::default(), &[name, value]).unwrap();
        assert_eq!(get(&config, name), want, "{name} {value}");
    }
    assert_eq!(get(&options(&["--unixsocketperm", "0700"]).unwrap().config, "unixsocketperm"), "700");
}

#[test]
fn an_alias_is_the_setting_itself() {
    let config = set(&Config::default(), &["slave-read-only", "no"]).unwrap();
    assert!(!config.replica_read_only);
    assert_eq!(get(&config, "replica-read-only"), "no");
    // Redis sees two settings here, and lets the last one win.
    let error = set(&config, &["lua-time-limit", "1", "busy-reply-threshold", "2"]).unwrap_err();
    assert!(error.contains("duplicate"), "{error}");
}

#[test]
fn protected_and_loading() {
    let ask = |config: &Config, local, loading| {
        let pairs: [(&[u8], &[u8]); 1] = [(b"dir", b"/")];
        config.set(&pairs, Asking { local, loading }).map(|change| change.config.dir.0)
    };
    let mut config = Config::default();
    assert!(matches!(ask(&config, true, false), Err(SetError::Failed { .. })));
    config.enable_protected_configs = choices::Allowed::Local;
    assert!(matches!(ask(&config, false, false), Err(SetError::Failed { .. })));
    assert_eq!(ask(&config, true, false), Ok("/".into()));
    let loading = ask(&config, true, true).unwrap_err();
    assert_eq!(loading.reply(), b"LOADING Redis is loading the dataset in memory");
    config.enable_protected_configs = choices::Allowed::Yes;
    assert_eq!(ask(&config, false, false), Ok("/".into()));
    let error = set(&config, &["dir", "/etc/passwd"]).unwrap_err();
    assert!(error.ends_with("'dir') - Not a directory"), "{error}");
    let error = set(&config, &["dir", "/nonexistent"]).unwrap_err();
    assert!(error.ends_with("'dir') - No such file or directory"), "{error}");
    assert!(is_secret(b"RequirePass") && !is_secret(b"maxmemory"));
}

#[test]
fn a_change_names_the_rows_to_apply() {
    let config = Config::default();
    let pairs: [(&[u8], &[u8]); 4] =
        [(b"maxmemory", b"1"), (b"port", b"6379"), (b"tls-cert-file", b""), (b"hz", b"11")];
    let change = config.set(&pairs, LOCAL).unwrap();
    let names: Vec<_> = change.settings.iter().map(|setting| setting.name).collect();
    assert_eq!(
        names,
        ["maxmemory", "tls-cert-file", "hz"],
        "a file is read again though its name is the same"
    );
}

#[test]
fn no_value_forges_a_line() {
    for name in ["bind", "bind-source-addr", "replica-announce-ip", "dbfilename", "tls-cert-file"] {
        let config = Config { enable_protected_configs: choices::Allowed::Yes, ..Config::default() };
        for value in ["a\nport 1", "a\rb", "a\0b", "\x1b[2J"] {
            let error = set(&config, &[name, value]).unwrap_err();
            assert!(error.ends_with("argument must not contain control characters"), "{name}: {error}");
        }
    }
    // Passwords take anything, and are quoted.
    let config = set(&Config::default(), &["requirepass", "a\nport 1\0\""]).unwrap();
    let text = rewrite(b"", &config, &[], Defaults::Omit);
    assert!(String::from_utf8_lossy(&text).contains(r#"requirepass "a\nport 1\x00\"""#));
    assert_eq!(read(&text, &[]).unwrap().config.requirepass, config.requirepass);
    assert!(!format!("{config:?}").contains("port 1"), "passwords must not be in debug prints");
}

#[test]
fn a_file_of_every_shape() {
    let text = br#"
# a comment
port 7000
   PORT   7001
save 900 1
save 300 10
hash-max-ziplist-entries 5
client-output-buffer-limit normal 1kb 2 3
client-output-buffer-limit pubsub 5mb 6 7
requirepass "two words \x41"
logfile ''
list-max-ziplist-entries 512
io-threads-do-reads yes
rename-command FLUSHALL ""
user bob on >pw ~* +@all
bind 127.0.0.1   ::1
notify-keyspace-events KEA
latency-tracking-info-percentiles 50 99
shutdown-on-sigterm "nosave force"
"#;
    let loaded = read(text, &[]).unwrap();
    let config = &loaded.config;
    assert_eq!(config.port, 7001);
    assert_eq!(get(config, "save"), "900 1 300 10");
    assert_eq!(config.hash_max_listpack_entries, 5);
    assert_eq!(
        get(config, "client-output-buffer-limit"),
        "normal 1024 2 3 slave 268435456 67108864 60 pubsub 5242880 6 7"
    );
    assert_eq!(&*config.requirepass, b"two words A");
    assert_eq!(get(config, "bind"), "127.0.0.1 ::1");
    assert!(
        config.notify_keyspace_events.contains(Events::ALL) && !config.notify_keyspace_events.is_silent()
    );
    assert_eq!(get(config, "shutdown-on-sigterm"), "nosave force");
    assert_eq!(loaded.renames[0].words, [&b"rename-command"[..], b"FLUSHALL", b""]);
    assert_eq!(loaded.users[0].words[1..3], [b"bob", &b"on"[..]]);
    assert!(loaded.file.unwrap().is_absolute());
    assert!(config.dir.0.is_absolute());
}

/// The cases of the Redis test suite (unit/introspection), with the texts it looks for.
#[test]
fn command_lines_that_fail() {
    let cases: &[(&[&str], &str)] = &[
        (&["--invalid"], ">>> 'invalid'\nBad directive or wrong number of arguments"),
        (&["--port"], "at line 2\n>>> 'port'\nwrong number of arguments"),
        (&["--port", "6380", "--loglevel"], "at line 3\n>>> 'loglevel'\nwrong number of arguments"),
        (&["--port", "6379", "6380"], ">>> 'port \"6379\" \"6380\"'\nwrong number of arguments"),
        (
            &["--port", "--loglevel", "verbose"],
            ">>> 'port \"--loglevel\" \"verbose\"'\nwrong number of arguments",
        ),
        (
            &["--port", "--bla", "--loglevel", "verbose"],
            ">>> 'port \"--bla\"'\nargument couldn't be parsed into an integer",
        ),
        (
            &["--logfile", "", "--loglevel", "--bla"],
            ">>> 'loglevel \"--bla\"'\nargument(s) must be one of the following",
        ),
        (&["--shutdown-on-sigint"], ">>> 'shutdown-on-sigint'\nargument(s) must be one of the following"),
        (
            &["--shutdown-on-sigint", "now force", "--shutdown-on-sigterm"],
            ">>> 'shutdown-on-sigterm'\nargument(s) must be one of the following",
        ),
        (&["--replicaof", "127.0.0.1", "abc"], ">>> 'replicaof \"127.0.0.1\" \"abc\"'\nInvalid master port"),
        (
            &["--replicaof", "--127.0.0.1", "abc"],
            ">>> 'replicaof \"--127.0.0.1\" \"abc\"'\nInvalid master port",
        ),
        (
            &["--replicaof", "--127.0.0.1", "--abc"],
            ">>> 'replicaof \"--127.0.0.1\"'\nwrong number of arguments",
        ),
        (&["--save", "900"], ">>> 'save \"900\"'\nInvalid save parameters"),
        (&["--loadmodule", "/x.so"], "Modules can't be loaded"),
        (&["--sentinel"], "sentinel directive while not in sentinel mode"),
        (&["--user"], ">>> 'user'\nBad directive or wrong number of arguments"),
        (&["--dir", "/nonexistent"], ">>> 'dir \"/nonexistent\"'\nNo such file or directory"),
        (
            &["--include", "/nonexistent"],
            "Fatal error, can't open config file '/nonexistent': No such file or directory",
        ),
        (
            &["--cluster-enabled", "yes", "--replicaof", "h", "1"],
            "***\nreplicaof directive not allowed in cluster mode",
        ),
        (&["--logfile", "/nonexistent/x"], "***\nCan't open the log file: No such file or directory"),
        (
            &["/nonexistent.conf"],
            "Fatal error, can't open config file '/nonexistent.conf': No such file or directory",
        ),
    ];
    for (words, want) in cases {
        let fatal = options(words).unwrap_err();
        assert!(fatal.contains(want), "{words:?}: {fatal}");
        assert!(
            fatal.starts_with("\n*** FATAL CONFIG FILE ERROR (Redis 8.2.")
                || fatal.starts_with("Fatal error, "),
            "{fatal}"
        );
    }
}

#[test]
fn command_lines_that_work() {
    type Case = (&'static [&'static str], &'static [(&'static str, &'static str)]);
    let cases: &[Case] = &[
        (&[], &[("port", "6379")]),
        (
            &["--maxmemory 700mb", "--maxmemory-policy volatile-lru"],
            &[("maxmemory", "734003200"), ("maxmemory-policy", "volatile-lru")],
        ),
        (&["--maxmemory '700mb'", "--maxmemory-policy 'volatile-lru'"], &[("maxmemory", "734003200")]),
        (
            &["--proc-title-template", "--my--title--template", "--loglevel", "verbose"],
            &[("proc-title-template", "--my--title--template"), ("loglevel", "verbose")],
        ),
        (
            &["--proc-title-template --my--title", "--loglevel verbose"],
            &[("proc-title-template", "--my--title"), ("loglevel", "verbose")],
        ),
        (&["--save", "--loglevel", "verbose"], &[("save", ""), ("loglevel", "verbose")]),
        (&["--loglevel", "verbose", "--save"], &[("save", ""), ("loglevel", "verbose")]),
        (&["--save", "", "--loglevel", "verbose"], &[("save", ""), ("loglevel", "verbose")]),
        (
            &["--proc-title-template", "--save", "--save", "", "--loglevel", "verbose"],
            &[("proc-title-template", "--save"), ("save", "")],
        ),
        (&["--save", "900", "1", "--save", "300 10"], &[("save", "900 1 300 10")]),
        (
            &["--shutdown-on-sigint", "nosave", "force", "now", "--shutdown-on-sigterm", "nosave force"],
            &[("shutdown-on-sigint", "nosave now force"), ("shutdown-on-sigterm", "nosave force")],
        ),
        (
            &["--client-output-buffer-limit", "normal", "1", "2", "3", "pubsub", "4", "5", "6"],
            &[("client-output-buffer-limit", "normal 1 2 3 slave 268435456 67108864 60 pubsub 4 5 6")],
        ),
        (&["--PORT", "1"], &[("port", "1")]),
        (&["--requirepass", "a b\"c\\"], &[("requirepass", "a b\"c\\")]),
        (&["--cluster-enabled", "yes"], &[("databases", "1")]),
    ];
    for (words, want) in cases {
        let loaded = options(words).unwrap_or_else(|fatal| panic!("{words:?}: {fatal}"));
        for (name, value) in *want {
            assert_eq!(get(&loaded.config, name), *value, "{words:?}");
        }
    }
    let first = |word: &str| Invocation::parse(&[word.into()]);
    assert_eq!(first("-v"), Invocation::Version);
    assert_eq!(first("--version"), Invocation::Version);
    assert_eq!(first("--help"), Invocation::Help);
    assert_eq!(first("--test-memory"), Invocation::TestMemory);
}

#[test]
fn file_then_stdin_then_options() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("f.conf"), "port 1\nhz 11\ntimeout 1\n").unwrap();
    let command = CommandLine::from(["f.conf", "--port", "3", "-"]);
    assert!(command.stdin);
    let mut stdin = &b"port 2\nhz 12"[..];
    let loaded = load(&command, &mut stdin, dir.path()).unwrap();
    let config = &loaded.config;
    assert_eq!((config.port, config.hz, config.timeout), (3, 12, 1));
    assert!(CommandLine::from(["-"]).stdin);
    assert!(!CommandLine::from(["--port", "-", "--hz", "1"]).stdin);
    // Lines are counted through all sources: three of the file, one of the input, an empty one.
    let command = CommandLine::from(["f.conf", "-", "--bad"]);
    let command = CommandLine { stdin: true, options: b"bad".to_vec(), ..command };
    let fatal = load(&command, &mut &b"hz 5\n"[..], dir.path()).unwrap_err().to_string();
    assert!(fatal.contains("at line 6\n>>> 'bad'"), "{fatal}");
}

#[test]
fn includes() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    std::fs::create_dir(dir.path().join("conf.d")).unwrap();
    write("conf.d/20.conf", "port 20\nhz 20");
    write("conf.d/10.conf", "port 10\ntimeout 10\ninclude deep.conf");
    write("conf.d/.hidden.conf", "port 99");
    write("deep.conf", "maxmemory 5");
    write("redis.conf", "include conf.d/*.conf\ninclude nothing-here/*.conf\ntcp-keepalive 7\n");
    let config = read_in(dir.path(), &[]).unwrap().config;
    assert_eq!((config.port, config.hz, config.timeout, config.tcp_keepalive), (20, 20, 10, 7));
    assert_eq!(config.maxmemory, 5);
    write("deep.conf", "\nmaxmemory five");
    let fatal = read_in(dir.path(), &[]).unwrap_err().to_string();
    assert!(
        fatal.contains("deep.conf'\nReading the configuration file, at line 2\n>>> 'maxmemory five'\n"),
        "{fatal}"
    );
    // What follows `dir` starts there.
    write("redis.conf", "dir conf.d\ninclude 20.conf");
    assert_eq!(read_in(dir.path(), &[]).unwrap().config.hz, 20);
}

#[test]
fn hostile_files_end_with_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let fails = |text: &[u8], want: &str| {
        std::fs::write(dir.path().join("redis.conf"), text).unwrap();
        let fatal = read_in(dir.path(), &[]).unwrap_err().to_string();
        assert!(fatal.contains(want), "{fatal}");
        assert!(fatal.len() < 2000, "{}", fatal.len());
    };
    fails(b"include redis.conf", "Files include each other more than 16 deep");
    fails(b"include *.conf\ninclude *.conf", "more than 16 deep");
    fails(b"\n\x7fELF\x02\x01\x01\0\0\0", "at line 2\n>>> '\u{fffd}ELF");
    fails(b"\x89PNG\x1a\xff\xfe", "Bad directive or wrong number of arguments");
    fails(&[&b"user a "[..], &b"x".repeat(10 << 20)].concat(), "The line is longer than 1048576 bytes");
    fails(b"requirepass \"open", "Unbalanced quotes in configuration line");
    fails(b"save \"'900 1\"", "Unbalanced quotes in configuration line");
    fails(b"dbfilename ../x", "dbfilename can't be a path, just a filename");
    fails(b"include .", "Is a directory");
    fails(b"include /dev/zero", "bytes of configuration");
    fails(b"port\xff 1", "Bad directive or wrong number of arguments");
}

/// A file that redis-server 8.2.3 rewrote to the same text, but for the order of the added lines.
#[test]
fn rewriting_keeps_what_the_operator_wrote() {
    let old =
        b"# my conf\nport 0\n\n\nunixsocket /tmp/s\nhash-max-ziplist-entries 77\nsave 900 1\nsave 10 5\n\
        rename-command flushdb badger\nlist-max-ziplist-entries 3\nuser old on\n# tail";
    let mut config = read(old, &[]).unwrap().config;
    config.dir.0 = "/data".into();
    let config = set(
        &config,
        &[
            "hash-max-listpack-entries",
            "2",
            "save",
            "",
            "client-output-buffer-limit",
            "slave 1mb 2 3",
            "notify-keyspace-events",
            "AKEnm",
            "requirepass",
            "a b\"c",
            "maxmemory",
            "2gb",
            "maxmemory-clients",
            "5%",
        ],
    )
    .unwrap();
    let users = [b"default on nopass".to_vec()];
    let text = rewrite(old, &config, &users, Defaults::Omit);
    let want = "# my conf\nport 0\n\nunixsocket \"/tmp/s\"\nhash-max-listpack-entries 2\nsave \"\"\n\n\
        rename-command flushdb badger\n# ??? list-max-ziplist-entries 3\nuser default on nopass\n# tail\n\
        # Generated by CONFIG REWRITE\nrequirepass \"a b\\\"c\"\nmaxmemory-clients 5%\n\
        client-output-buffer-limit replica 1mb 2 3\nnotify-keyspace-events \"AnKEm\"\nmaxmemory 2gb\n\
        dir \"/data\"\nlatency-tracking-info-percentiles 50 99 99.9\n";
    assert_eq!(String::from_utf8_lossy(&text), want);
    // The limit of the first class takes the one line there is; from then on nothing changes.
    let text = rewrite(&text, &config, &users, Defaults::Omit);
    assert!(String::from_utf8_lossy(&text).contains("\nclient-output-buffer-limit normal 0 0 0\n"));
    assert_eq!(rewrite(&text, &config, &users, Defaults::Omit), text);
    // Settings that are back at their defaults keep their lines.
    let config = set(&config, &["maxmemory", "0", "save", "3600 1 60 5"]).unwrap();
    let text = String::from_utf8(rewrite(&text, &config, &users, Defaults::Omit)).unwrap();
    assert!(text.contains("\nmaxmemory 0\n") && text.contains("\nsave 3600 1\n"), "{text}");
    assert!(text.ends_with("\nsave 60 5\n"), "{text}");
    assert_eq!(text.matches("Generated").count(), 1);
}

#[test]
fn users_go_where_the_aclfile_says() {
    let old = b"user a on\nuser b on\naclfile x\n";
    let mut config = Config::default();
    let users = [b"default on".to_vec()];
    let text = |config: &Config| String::from_utf8(rewrite(old, config, &users, Defaults::Omit)).unwrap();
    assert!(text(&config).starts_with("user default on\n\naclfile \"\"\n"));
    config = read(b"aclfile y", &[]).unwrap().config;
    assert!(text(&config).starts_with("\naclfile \"y\"\n"));
}

#[test]
fn everything_rewritten_is_read_again() {
    let config = read(b"dir /", &[]).unwrap().config;
    let text = rewrite(b"", &config, &[], Defaults::Write);
    assert_eq!(read(&text, &[]).unwrap_or_else(|fatal| panic!("{fatal}")).config, config);
}

#[test]
fn the_file_is_replaced_as_a_whole() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("redis.conf");
    let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    replace(&path, b"one").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"one");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(dir.path().join("redis.conf.rewrite-tmp"), "left by a crash").unwrap();
    replace(&path, b"two").unwrap();
    assert_eq!((std::fs::read(&path).unwrap().as_slice(), mode()), (&b"two"[..], 0o600));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file stays");
    assert!(replace(&dir.path().join("none/redis.conf"), b"x").is_err());
    assert!(replace(Path::new("/"), b"x").is_err());
    let config = Config { port: 1, ..Config::default() };
    rewrite_file(&path, &config, &[], Defaults::Omit).unwrap();
    assert!(std::fs::read_to_string(&path).unwrap().contains("port 1\n"));
}

#[test]
fn live_changes_all_or_nothing() {
    let live = Live::new(Config::default());
    let mut view = View::new(&live);
    let mut other = view.clone();
    let set = |pairs: &[(&[u8], &[u8])], outcome: Result<(), SetError>| {
        live.set(pairs, LOCAL, |old, new, rows| {
            assert_eq!((old.maxmemory, new.maxmemory, rows.len()), (0, 7, 2));
            outcome
        })
    };
    let good: [(&[u8], &[u8]); 2] = [(b"maxmemory", b"7"), (b"port", b"1")];
    let refused = SetError::failed("port", "Unable to listen on this port. Check server logs.");
    assert_eq!(set(&good, Err(refused.clone())), Err(refused));
    assert_eq!((live.version(), live.load().maxmemory, view.get(&live).port), (0, 0, 6379));
    let bad: [(&[u8], &[u8]); 2] = [(b"maxmemory", b"7"), (b"port", b"x")];
    assert!(live.set(&bad, LOCAL, |_, _, _| panic!("nothing to apply")).is_err());
    assert_eq!(live.version(), 0);
    assert_eq!(set(&good, Ok(())), Ok(()));
    assert_eq!((live.version(), view.get(&live).maxmemory, view.get(&live).port), (1, 7, 1));
    live.update(|config| config.pidfile = kinds::text("/run/x"));
    let config = other.get(&live);
    assert_eq!((&*config.pidfile, config.maxmemory), ("/run/x", 7));
}

#[test]
fn a_view_never_goes_back() {
    let live = Live::new(Config::default());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut view = View::new(&live);
                let mut last = 0;
                while last < 200 {
                    let config = view.get(&live);
                    assert!(config.maxmemory >= last && config.maxmemory == u64::from(config.timeout));
                    last = config.maxmemory;
                }
            });
        }
        for number in 1..=200 {
            live.update(|config| {
                config.maxmemory = number;
                config.timeout = u32::try_from(number).unwrap();
            });
        }
    });
}

#[test]
fn threads_are_counted_when_the_server_starts() {
    let asked = |words: &[&str]| options(words).unwrap().config.io_threads.on(6);
    assert_eq!((asked(&[]).running, asked(&[]).asked), (6, 0));
    assert_eq!((asked(&["--io-threads", "3"]).running, asked(&["--io-threads", "0"]).running), (3, 6));
    let mut config = Config::default();
    config.io_threads = config.io_threads.on(6);
    assert_eq!(get(&config, "io-threads"), "6");
    let text = rewrite(b"", &config, &[], Defaults::Omit);
    assert!(!String::from_utf8_lossy(&text).contains("io-threads"), "the count of this machine stays out");
}

#[test]
fn the_catalogue_tells_ours_from_theirs() {
    let ours: Vec<_> =
        SETTINGS.iter().filter(|setting| setting.is(OURS)).map(|setting| setting.name).collect();
    assert_eq!(ours, ["rdb-version", "rdb-keep-previous", "aof-load-corrupt-tail-max-size", "aof-checksums"]);
    assert!(find(b"activedefrag").is_some_and(|setting| setting.is(KEPT)));
}

proptest! {
    /// Whatever CONFIG SET takes, the rewritten file gives back.
    #[test]
    fn what_is_set_survives_a_rewrite(
        row in 0..SETTINGS.len(),
        value in prop_oneof![
            "[ -~]{0,12}",
            "-?[0-9]{1,19}(kb|mb|gb|k|m|g|%)?",
            "([0-9]{1,4} ){0,3}[0-9]{1,4}",
            "(normal|replica|slave|pubsub) [0-9]{1,5}(kb|mb)? [0-9]{1,5} [0-9]{1,3}",
            "[KEgslzxetdnmocA$]{0,8}",
            "(yes|no|local|nosave|now|force|always|allkeys-lru|10|auto|optional|debug)",
        ],
        raw in proptest::collection::vec(any::<u8>(), 0..12),
        binary in any::<bool>(),
    ) {
        let setting = &SETTINGS[row];
        let value: &[u8] = if binary { &raw } else { value.as_bytes() };
        let mut config = read(b"dir /", &[]).unwrap().config;
        let words: Vec<&[u8]> =
            if setting.several { value.split(|byte| *byte == b' ').collect() } else { vec![value] };
        // `logfile` would create files, and a cluster has rules of its own at the start.
        let special = ["logfile", "dir", "cluster-enabled"].contains(&setting.name);
        if !special && (setting.parse)(&mut config, &words, How::Replace).is_ok() {
            config.settle();
            let text = rewrite(b"port 6379\n", &config, &[], Defaults::Omit);
            let again = read(&text, &[]).map_err(|fatal| TestCaseError::fail(fatal.to_string()))?;
            prop_assert!((setting.same)(&config, &again.config), "{} {:?}", setting.name, text);
        }
    }
}
