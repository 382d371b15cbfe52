//! Does the configuration agree with Redis's, and the committed example file with the table?

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use peregrine::config::cmdline::CommandLine;
use peregrine::config::example::example;
use peregrine::config::file::{Loaded, load};
use peregrine::config::table::{HIDDEN, OURS, SETTINGS};
use peregrine::config::{Asking, Config};

/// The defaults of redis-server 8.2.3 as CONFIG GET prints them: a flat JSON object of texts, one on each line.
fn reference() -> BTreeMap<String, String> {
    let text = include_str!("fixtures/config-defaults.json");
    let unquote = |text: &str| text.strip_prefix('"')?.strip_suffix('"').map(str::to_owned);
    let pair = |line: &str| {
        let (name, value) = line.trim_end_matches(',').split_once(": ")?;
        Some((unquote(name)?, unquote(value)?))
    };
    let pairs: BTreeMap<_, _> = text.lines().filter_map(pair).collect();
    assert_eq!(pairs.len() + 2, text.lines().count(), "every line but the braces is a pair");
    pairs
}

fn read(text: &str) -> Loaded {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("redis.conf"), text).unwrap();
    let command = CommandLine::from(["redis.conf"]);
    load(&command, &mut std::io::empty(), dir.path()).unwrap_or_else(|fatal| panic!("{fatal}"))
}

#[test]
fn defaults_are_those_of_redis() {
    let mut ours: BTreeMap<String, String> = Config::default()
        .get(&[b"*"])
        .into_iter()
        .map(|(name, value)| (String::from_utf8(name).unwrap(), String::from_utf8(value).unwrap()))
        .collect();
    for setting in SETTINGS.iter().filter(|setting| setting.is(OURS)) {
        ours.remove(setting.name).unwrap();
    }
    ours.insert("dir".into(), "<cwd>".into());
    let reference = reference();
    for (name, value) in &reference {
        assert_eq!(ours.get(name), Some(value), "{name}");
    }
    let extra: Vec<_> = ours.keys().filter(|name| !reference.contains_key(*name)).collect();
    assert!(extra.is_empty(), "not settings of Redis, so mark them OURS: {extra:?}");
}

/// Names that Redis 8.2.3 refuses to set with "can't set immutable config", and with "can't set protected config".
const IMMUTABLE: &str = "aclfile always-show-logo aof-rewrite-cpulist aof_rewrite_cpulist appenddirname appendfilename \
    bgsave-cpulist bgsave_cpulist bio-cpulist bio_cpulist cluster-config-file cluster-enabled cluster-port daemonize \
    databases disable-thp enable-debug-command enable-module-command enable-protected-configs io-threads logfile \
    pidfile rdbchecksum replicaof server-cpulist server_cpulist set-proc-title slaveof socket-mark-id supervised \
    syslog-enabled syslog-facility syslog-ident tcp-backlog unixsocket unixsocketperm";
const PROTECTED: &str = "dbfilename dir";

#[test]
fn what_cannot_be_set_is_what_redis_does_not_let_be_set() {
    let config = Config::default();
    let asking = Asking { local: true, loading: false };
    let refused = |name: &str, value: &[u8]| match config.set(&[(name.as_bytes(), value)], asking) {
        Err(error) => String::from_utf8(error.reply()).unwrap(),
        Ok(_) => String::new(),
    };
    let theirs = reference();
    for (name, value) in config.get(&[b"*"]) {
        let name = String::from_utf8(name).unwrap();
        if !theirs.contains_key(&name) {
            continue;
        }
        let is = |list: &str| list.split_whitespace().any(|known| known == name);
        let why = refused(&name, &value);
        assert_eq!(why.ends_with("can't set immutable config"), is(IMMUTABLE), "{name}: {why}");
        assert_eq!(why.ends_with("can't set protected config"), is(PROTECTED), "{name}: {why}");
    }
}

#[test]
fn the_example_file_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("redis.conf.example");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, example()).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap_or_default() == example(),
        "redis.conf.example is out of date; run: UPDATE=1 cargo test --test config"
    );
}

#[test]
fn the_example_file_says_everything_and_changes_nothing() {
    let example = example();
    let uncommented: String = example
        .lines()
        .filter_map(|line| {
            line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
        })
        .map(|line| format!("{line}\n"))
        .filter(|line| line != "replicaof \"\"\n")
        .collect();
    let mut config = read(&uncommented).config;
    config.dir = Config::default().dir;
    assert_eq!(config, Config::default());
    for setting in SETTINGS.iter().filter(|setting| !setting.is(HIDDEN)) {
        assert!(example.contains(&format!("\n#{} ", setting.name)), "{}", setting.name);
    }
}

/// The shape of the files that the Redis test suite starts servers with.
#[test]
fn a_file_of_the_redis_test_suite() {
    let text = "\
always-show-logo yes
notify-keyspace-events KEA
daemonize no
pidfile /var/run/redis.pid
port 6379
bind 127.0.0.1
loglevel verbose
logfile ''
save ''
slave-serve-stale-data yes
enable-protected-configs yes
enable-debug-command yes
enable-module-command yes
propagation-error-behavior panic
shutdown-on-sigterm force
dir ./
key-load-delay 50
loading-process-events-interval-bytes 1024
list-max-ziplist-size 16
";
    let config = read(text).config;
    assert!(config.save.0.is_empty() && config.shutdown_on_sigterm.force && config.replica_serve_stale_data);
    assert_eq!((config.key_load_delay, config.list_max_listpack_size), (50, 16));
    assert_eq!(config.loglevel.name(), "verbose");
}

#[test]
fn the_file_may_give_the_append_only_file_any_name() {
    let loaded = read("appendfilename \" file seq \\n\\n.aof \"\n");
    assert_eq!(&*loaded.config.appendfilename, " file seq \n\n.aof ");
}
