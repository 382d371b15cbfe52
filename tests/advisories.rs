//! Has every public advisory about servers of this kind its test? Those that `hostile.rs` has no row for, named after
//! what they were published as.
//!
//! The others: patterns, requests and numbers in `hostile.rs`; floods in `limits.rs`; whether judged keys are the keys
//! that are used in `permissions.rs`; lost wake-ups in `models.rs`; every number of every command in `boundaries.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};
use support::client::Client;
use support::resp;
use support::rng::Rng;
use support::server::Server;
use support::text;

fn ask(client: &mut Client, line: &str) -> String {
    client.send(&text::split(line).unwrap()).unwrap();
    String::from_utf8_lossy(&client.read().unwrap().raw).into_owned()
}

fn used_memory(client: &mut Client) -> u64 {
    let info = client.cmd("INFO memory").text();
    info.lines().find_map(|l| l.strip_prefix("used_memory:")).unwrap().trim().parse().unwrap()
}

fn is_served(server: &Server) {
    let began = Instant::now();
    assert_eq!(server.connect().cmd("PING").text(), "PONG");
    assert!(began.elapsed() < Duration::from_secs(2), "another client waited {:?}", began.elapsed());
}

/// Arguments that are announced and never come take no memory; those that come count against `maxmemory-clients`.
#[test]
fn cve_2025_46686_arguments_count_against_their_client() {
    let server = Server::peregrine(&["--maxmemory-clients", "4mb"]);
    let mut admin = server.connect();
    let before = used_memory(&mut admin);
    let mut waiting: Vec<TcpStream> = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        stream.write_all(b"*1048577\r\n$3\r\nDEL\r\n$500000000\r\nabc").unwrap();
        waiting.push(stream);
    }
    is_served(&server);
    assert!(used_memory(&mut admin) < before + (4 << 20), "what was announced takes memory");
    let mut greedy = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    greedy.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    let _ = greedy.write_all(b"*2147483647\r\n");
    let refused = (0..200).any(|_| greedy.write_all(&b"$1\r\na\r\n".repeat(10_000)).is_err());
    assert!(refused, "14 MB of arguments were taken");
    is_served(&server);
}

/// What is remembered of an unfinished request's arguments counts as its client's memory, not only their bytes.
#[test]
fn cve_2025_46686_places_of_arguments_count_too() {
    let server = Server::peregrine(&[]);
    let mut admin = server.connect();
    let mut many = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    many.write_all(b"*1000000\r\n").unwrap();
    many.write_all(&b"$0\r\n\r\n".repeat(300_000)).unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    let total = |text: &str| -> u64 {
        text.split(' ').find_map(|part| part.strip_prefix("tot-mem=")).unwrap().parse().unwrap()
    };
    let held = |admin: &mut Client| admin.cmd("CLIENT LIST").text().lines().map(total).max().unwrap();
    while held(&mut admin) < 300_000 * (6 + 16) {
        assert!(Instant::now() < until, "{} bytes are counted", held(&mut admin));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Connections that never get to the end of their handshake take places of `maxclients`, and do not keep them.
#[test]
fn handshakes_that_never_end_are_counted_and_ended() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (key, cert) = (at("key"), at("cert"));
    let made = std::process::Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-keyout", &key, "-out", &cert,
        ])
        .output();
    assert!(made.is_ok_and(|made| made.status.success()), "openssl makes no certificate");
    let port = support::server::free_port();
    let args = ["--tls-port", &port.to_string(), "--tls-cert-file", &cert, "--tls-key-file", &key];
    let server =
        Server::peregrine(&[&args[..], &["--tls-auth-clients", "no", "--maxclients", "20"]].concat());
    let mut admin = server.connect();
    let silent: Vec<_> = (0..40).filter_map(|_| TcpStream::connect(("127.0.0.1", port)).ok()).collect();
    let until = Instant::now() + Duration::from_secs(30);
    let rejected = |admin: &mut Client| {
        let info = admin.cmd("INFO stats").text();
        info.lines()
            .find_map(|l| l.strip_prefix("rejected_connections:"))
            .unwrap()
            .trim()
            .parse::<u32>()
            .unwrap()
    };
    while rejected(&mut admin) < 20 {
        assert!(Instant::now() < until, "{} of 40 are refused", rejected(&mut admin));
        std::thread::sleep(Duration::from_millis(50));
    }
    // Those that were let in are sent away after a while, and others have their places.
    while Client::connect(server.port).map(|mut c| c.try_call(&["PING"]).is_ok_and(|r| !r.is_error())).ok()
        != Some(true)
    {
        assert!(Instant::now() < until, "the silent ones stay for ever");
        std::thread::sleep(Duration::from_millis(200));
    }
    drop(silent);
}

/// Limits of 10 GB are taken, and nothing wraps or is set aside for them.
#[test]
fn cve_2021_21309_lengths_are_not_cut_to_32_bits() {
    let server = Server::peregrine(&[]);
    let mut admin = server.connect();
    for (name, value) in [
        ("proto-max-bulk-len", "10gb"),
        ("client-query-buffer-limit", "10gb"),
        ("set-max-intset-entries", "4294967297"),
        ("hash-max-listpack-value", "4294967297"),
        ("zset-max-listpack-entries", "4294967297"),
    ] {
        assert_eq!(ask(&mut admin, &format!("CONFIG SET {name} {value}")), "+OK\r\n", "{name}");
    }
    let before = used_memory(&mut admin);
    for command in ["SET k", "APPEND k", "XADD x * f", "HSET h f", "SADD s", "SETRANGE k 0"] {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        let words: Vec<&str> = command.split(' ').collect();
        let mut request = format!("*{}\r\n", words.len() + 1);
        words.iter().for_each(|word| request += &format!("${}\r\n{word}\r\n", word.len()));
        // 4 GB and three bytes: three bytes where 32 are kept.
        stream.write_all((request + "$4294967299\r\nabc\r\n*1\r\n$4\r\nPING\r\n").as_bytes()).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert!(stream.read(&mut [0; 16]).is_err(), "{command} was answered before its argument was there");
    }
    assert!(used_memory(&mut admin) < before + (4 << 20));
    assert_eq!(ask(&mut admin, "EXISTS k x h s"), ":0\r\n");
    let wraps = "SETRANGE k 9223372036854775807 abc";
    assert!(ask(&mut admin, wraps).starts_with("-ERR string exceeds maximum allowed size"));
    ask(&mut admin, "SADD s 1 2 3 1000000000000");
    ask(&mut admin, "SADD s word");
    assert_eq!(ask(&mut admin, "SCARD s"), ":5\r\n");
}

/// Somebody who answers everybody with the same bytes and then closes.
fn impostor(answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(20).flatten() {
            let mut stream = stream;
            stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            while let Ok(1..) = stream.read(&mut [0; 4096]) {
                if stream.write_all(answer).is_err() {
                    break;
                }
            }
        }
    });
    port
}

/// What other servers answer is as little to be believed as what clients ask.
#[test]
fn cve_2021_32762_hostile_servers_are_left() {
    let deep = b"*1\r\n".repeat(200_000);
    let answers: [&'static [u8]; 7] = [
        b"*1073741823\r\n",
        b"$-2\r\n",
        b"$9223372036854775807\r\n",
        b"+FULLRESYNC 0123456789012345678901234567890123456789\r\n -5\r\n$-1\r\n",
        b"+CONTINUE\r\n*3\r\n$99999999999\r\n",
        b"\0\0\0\0\0\0\0\0",
        deep.leak(),
    ];
    for answer in answers {
        let server = Server::peregrine(&["--repl-timeout", "5"]);
        let mut admin = server.connect();
        let before = used_memory(&mut admin);
        let port = impostor(answer);
        ask(&mut admin, "SET k v");
        let reply = ask(&mut admin, &format!("MIGRATE 127.0.0.1 {port} k 0 1000"));
        assert!(reply.starts_with('-'), "{reply}");
        assert_eq!(ask(&mut admin, "GET k"), "$1\r\nv\r\n", "it was given away");
        ask(&mut admin, &format!("REPLICAOF 127.0.0.1 {port}"));
        std::thread::sleep(Duration::from_millis(800));
        is_served(&server);
        assert!(used_memory(&mut admin) < before + (8 << 20));
        assert!(!server.log().contains("BUG"), "{}", server.log());
        ask(&mut admin, "REPLICAOF NO ONE");
    }
}

/// Buffers grow and shrink while a request is in parts; what was sent is what is understood.
#[test]
fn cve_2023_41056_buffers_keep_what_they_hold() {
    let server = Server::peregrine(&[]);
    let mut rng = Rng::new(41056);
    for _ in 0..20 {
        let mut client = server.connect();
        let mut expected = Vec::new();
        let mut stream = Vec::new();
        for _ in 0..30 {
            let n = *rng.pick(&[0, 1, 100, 1023, 16 * 1024, 32 * 1024, 40_000, 150_000]);
            let word: Vec<u8> = (0..n).map(|i| b'a' + (i % 26) as u8).collect();
            stream.extend(resp::encode(&[b"ECHO".as_slice(), &word]));
            expected.push(word);
        }
        let mut at = 0;
        while at < stream.len() {
            let n = *rng.pick(&[1, 7, 1024, 16 * 1024, 32 * 1024 + 1, 200_000]);
            let end = (at + n).min(stream.len());
            client.send_raw(&stream[at..end]).unwrap();
            at = end;
            if rng.chance(5) {
                // Long enough for idle room to be given back.
                std::thread::sleep(Duration::from_millis(150));
            }
        }
        for word in expected {
            assert!(client.read().unwrap().value.bytes() == Some(&word), "{} bytes", word.len());
        }
    }
}

/// No file descriptor is left for a connection: it has to wait or go, and the others are served.
#[test]
fn cve_2025_48367_a_connection_that_cannot_be_taken_is_one_connection() {
    let server = Server::peregrine(&["--maxclients", "100"]);
    let mut kept = server.connect();
    let limit = std::process::Command::new("prlimit")
        .args(["--pid", &server.pid().to_string(), "--nofile=60:60"])
        .status();
    assert!(limit.is_ok_and(|status| status.success()), "prlimit is missing");
    let flood: Vec<_> =
        (0..120).filter_map(|_| TcpStream::connect(("127.0.0.1", server.port)).ok()).collect();
    let began = Instant::now();
    assert_eq!(kept.cmd("PING").text(), "PONG");
    assert!(began.elapsed() < Duration::from_secs(2));
    drop(flood);
    std::thread::sleep(Duration::from_millis(500));
    is_served(&server);
}

/// Whatever is quoted in an error or a status, it is one line.
#[test]
fn cve_2025_67733_replies_stay_framed() {
    let server = Server::peregrine(&[]);
    let mut client = server.connect();
    let lines = [
        r#"EVAL "return redis.error_reply('x\\r\\n+OK\\r\\n')" 0"#,
        r#"EVAL "return redis.status_reply('x\\r\\n+OK\\r\\n')" 0"#,
        r#"EVAL "return {err='a\\r\\n:1'}" 0"#,
        r#"EVAL "return {ok='a\\r\\n:1'}" 0"#,
        r#"EVAL "error({err='a\\r\\n:1'})" 0"#,
        r#"EVAL "error('a\\r\\n:1')" 0"#,
        r#"EVAL "redis.setresp(3) return {big_number='1\\r\\n:1'}" 0"#,
        r#"EVAL "return redis.call('x\\r\\n:1')" 0"#,
        r#"ACL SETUSER "a\r\nb""#,
        r#"ACL SETUSER u "+x\r\n:1""#,
        r#"ACL DRYRUN "a\r\n:1" get k"#,
        r#"AUTH "a\r\n:1" "b\r\n""#,
        r#"CLIENT SETNAME "a\r\n:1""#,
        r##"FUNCTION LOAD "#!lua name=a\r\n:1""##,
        r#"FCALL "a\r\n:1" 0"#,
        r#"CONFIG SET maxmemory "1\r\n:1""#,
        r#"XADD k "1-\r\n:1" f v"#,
        r#"COMMAND DOCS "a\r\n""#,
        r#"OBJECT "a\r\n:1" k"#,
    ];
    for protocol in ["HELLO 2", "HELLO 3"] {
        ask(&mut client, protocol);
        let requests: Vec<_> = lines.iter().map(|line| text::split(line).unwrap()).collect();
        for (line, reply) in lines.iter().zip(client.pipeline(&requests).unwrap()) {
            let head = reply.raw.split(|b| *b == b'\n').next().unwrap();
            let line_breaks = reply.raw.iter().filter(|b| **b == b'\n').count();
            let one_line = matches!(head[0], b'+' | b'-' | b'(');
            assert!(!one_line || line_breaks == 1, "{line}: {:?}", String::from_utf8_lossy(&reply.raw));
        }
        assert_eq!(client.call(&["ECHO", "in step"]).text(), "in step");
    }
}

/// Whoever can connect meets a socket that has its permissions already.
#[test]
fn cve_2023_45145_a_unix_socket_is_narrow_before_it_listens() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let watched = path.clone();
    let watcher = std::thread::spawn(move || {
        let mut modes = std::collections::BTreeSet::new();
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            if std::os::unix::net::UnixStream::connect(&watched).is_ok() {
                modes.extend(std::fs::metadata(&watched).map(|m| m.permissions().mode() & 0o777));
            }
            std::thread::yield_now();
        }
        modes
    });
    for _ in 0..5 {
        let server = Server::peregrine(&["--unixsocket", path.to_str().unwrap(), "--unixsocketperm", "700"]);
        is_served(&server);
    }
    drop(stop);
    let modes = watcher.join().unwrap();
    assert!(!modes.is_empty() && modes.iter().all(|mode| mode & 0o077 == 0), "{modes:?}");
}

/// Clients close each other, and themselves, from within transactions and scripts, while they wait for messages.
#[test]
fn pr_15094_clients_are_closed_from_within_transactions() {
    let server = Server::peregrine(&["--io-threads", "2"]);
    for _ in 0..10 {
        let (mut admin, mut victim) = (server.connect(), server.connect());
        let id = ask(&mut victim, "CLIENT ID").trim_start_matches(':').trim().to_owned();
        ask(&mut victim, "SSUBSCRIBE news");
        for line in ["MULTI", "SPUBLISH news a", &format!("CLIENT KILL ID {id}"), "SPUBLISH news b"] {
            ask(&mut admin, line);
        }
        assert!(ask(&mut admin, "EXEC").starts_with("*3\r\n:1\r\n:1\r\n"));
        while victim.read().is_ok() {}
        let own = ask(&mut admin, "CLIENT ID").trim_start_matches(':').trim().to_owned();
        for line in ["MULTI", "SET k v", &format!("CLIENT KILL ID {own} SKIPME no"), "SET k w"] {
            ask(&mut admin, line);
        }
        admin.send(&["EXEC"]).unwrap();
        while admin.read().is_ok() {}
        is_served(&server);
    }
    let mut own = server.connect();
    own.send(&["EVAL", "return redis.call('client', 'kill', 'skipme', 'no', 'type', 'normal')", "0"])
        .unwrap();
    let _ = own.read();
    is_served(&server);
}

/// The replies of both servers to these requests, in the notation of transcripts, each on a new connection.
fn both(lines: &[&str]) -> [Vec<String>; 2] {
    [Server::peregrine(&[]), Server::oracle(&[])].map(|server| {
        let mut client = server.connect();
        let replies = lines.iter().map(|line| ask(&mut client, line)).collect();
        is_served(&server);
        assert!(!server.log().contains("BUG"), "{}", server.log());
        replies
    })
}

/// Both servers give the same replies; ours.
fn same(lines: &[&str]) -> Vec<String> {
    let [ours, real] = both(lines);
    for (line, (ours, real)) in lines.iter().zip(ours.iter().zip(&real)) {
        assert_eq!(ours, real, "{}", &line[..line.len().min(200)]);
    }
    ours
}

/// Selectors and key rules that are malformed are errors of syntax, and change nothing.
#[test]
fn cve_2024_31227_malformed_rules_are_refused() {
    let rules = [
        "%~k",
        "%R",
        "%RWX~k",
        "%",
        "%R%W~k",
        "%k",
        "(",
        ")",
        "\"(+get ~a\"",
        "\"(+get ~a))\"",
        "((+get))",
        "(()",
        "( +get ( ~a ) )",
        "+@nosuch",
        "+get|",
        "-get|a",
        "+nosuch",
        "#123",
        "!123",
        "<none",
        "allkeys2",
        "\"%R~a b\"",
        "()",
        "(%R~a",
        "(%~a)",
        "\"\"",
    ];
    let lines: Vec<String> = rules.iter().map(|rule| format!("ACL SETUSER u {rule}")).collect();
    let [ours, real] = both(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    for (line, (ours, real)) in lines.iter().zip(ours.iter().zip(&real)) {
        // The real server takes some of them, such as %R without a pattern.
        assert!(ours.starts_with("-ERR") || ours == real, "{line}: {ours}");
    }
    assert!(ours.iter().filter(|reply| reply.starts_with("-ERR")).count() > rules.len() / 2);
}

/// Numbers of keys that lie, keys by the thousand, commands that have none.
#[test]
fn cve_2023_36824_keys_are_found_within_the_request() {
    let many: String = (0..5000).map(|i| format!(" k{i}")).collect();
    let mut lines = vec!["ACL SETUSER u on nopass ~k* +@all".to_owned()];
    for request in [
        "PFMERGE",
        "PFCOUNT",
        "EVAL x 5 a",
        "EVAL x -1 a",
        "EVAL x 0",
        "EVAL x",
        "EVALSHA_RO x 2 a b",
        "FCALL f 3 a",
        "ZUNION 0",
        "ZUNION 2 a",
        "ZUNION 2147483648 a",
        "ZUNIONSTORE d 2 a",
        "ZDIFFSTORE d 1 a",
        "SINTERCARD 9 a",
        "LMPOP 3 a LEFT",
        "BLMPOP 0 1 a LEFT",
        "MIGRATE h 1 k 0 1",
        "MIGRATE h 1 \"\" 0 1 KEYS a b",
        "MIGRATE h 1 \"\" 0 1 AUTH KEYS KEYS a",
        "SORT a",
        "SORT a STORE",
        "SORT a STORE b STORE c",
        "SORT a BY STORE GET b",
        "XREAD STREAMS",
        "XREAD STREAMS a",
        "XREAD STREAMS a b",
        "XREADGROUP GROUP STREAMS c STREAMS a 0",
        "GEORADIUS a 0 0 1 m STORE b STOREDIST c",
        "GEORADIUS a 0 0 1 m STORE",
        "MSETNX a",
        "MSET a 1 b",
        "BITOP AND",
        "OBJECT ENCODING",
        "MEMORY USAGE",
        "MEMORY USAGE a SAMPLES",
        "PING",
        "nosuch a",
        "COMMAND GETKEYS get a",
        "XGROUP CREATE a",
        "XINFO STREAM",
        "SPUBLISH a b",
        "WATCH a b c",
    ] {
        for asked in ["COMMAND GETKEYS", "COMMAND GETKEYSANDFLAGS", "ACL DRYRUN u"] {
            lines.push(format!("{asked} {request}"));
        }
    }
    for head in ["MSET k v", "DEL", "ZUNION 5000", "ZUNION 4999", "EVAL x 5000", "EVAL x 5001", "SORT l BY"] {
        lines.push(format!("COMMAND GETKEYS {head}{many}"));
        lines.push(format!("COMMAND GETKEYSANDFLAGS {head}{many}"));
        lines.push(format!("ACL DRYRUN u {head}{many}"));
    }
    same(&lines.iter().map(String::as_str).collect::<Vec<_>>());
}

/// The keys that a command will touch, where the real server named none or another one.
#[test]
fn pr_14942_keys_are_those_that_will_be_used() {
    let server = Server::peregrine(&[]);
    let mut client = server.connect();
    ask(&mut client, "ACL SETUSER u on nopass ~k* +@all");
    assert_eq!(ask(&mut client, "COMMAND GETKEYS PFMERGE d"), "*1\r\n$1\r\nd\r\n");
    assert_eq!(ask(&mut client, "COMMAND GETKEYS XREAD COUNT STREAMS STREAMS a 0"), "*1\r\n$1\r\na\r\n");
    let refused = ask(&mut client, "ACL DRYRUN u PFMERGE d");
    assert!(refused.contains("no permissions to access the 'd' key"), "{refused}");
}

/// A user with key patterns and a request whose number of keys, or of arguments, is wrong.
#[test]
fn issue_14843_wrong_requests_of_restricted_users() {
    same(&[
        "ACL SETUSER u on nopass ~a +@all",
        "AUTH u x",
        "EVAL \"return 1\" 5 a",
        "EVAL \"return 1\" -1 b",
        "EVAL \"return 1\" 9223372036854775807 b",
        "EVAL \"return 1\" x b",
        "EVAL \"return 1\" 1 b",
        "EVALSHA ffffffffffffffffffffffffffffffffffffffff 3",
        "ZUNION 5 b",
        "ZUNIONSTORE b 2147483648 a",
        "LMPOP 0 b LEFT",
        "GET",
        "SET b",
        "GET b",
        "XREAD STREAMS b",
        "SORT a STORE b",
        "SORT a BY b*",
        "GEORADIUS a 0 0 1 m STORE a STOREDIST b",
        "COPY a b",
        "MSETNX a 1 b",
    ]);
}

/// What is read back from the log is nobody's request: users may be less than they were.
#[test]
fn pr_14545_the_log_is_replayed_whatever_users_may_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let log = ["--appendonly", "yes", "--appendfsync", "always", "--dir", path];
    let server = Server::peregrine(&log);
    let mut client = server.connect();
    for line in
        ["SET k v", "MULTI", "INCR n", "LPUSH l a", "EXEC", "EVAL \"return redis.call('set', 'e', 1)\" 1 e"]
    {
        ask(&mut client, line);
    }
    drop(server);
    let mut restricted = log.to_vec();
    restricted.extend(["--user", "default", "on", "nopass", "~nothing", "+@connection", "+dbsize", "+acl"]);
    let server = Server::peregrine(&restricted);
    let mut client = server.connect();
    assert_eq!(ask(&mut client, "DBSIZE"), ":4\r\n");
    assert!(ask(&mut client, "GET k").starts_with("-NOPERM"));
}

/// A setting that holds a line break is one setting after CONFIG REWRITE, and a name with one is no name.
#[test]
fn pr_14970_settings_cannot_bring_others_in() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("redis.conf");
    std::fs::write(&file, "maxmemory-policy noeviction\n").unwrap();
    let port = support::server::free_port().to_string();
    let start = || {
        let args = [file.to_str().unwrap(), "--port", &port, "--bind", "127.0.0.1", "--save", ""];
        std::process::Command::new(support::server::peregrine_bin())
            .args(args)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    let connect = || {
        let port = port.parse().unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        let mut client = Client::connect(port);
        while client.is_err() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
            client = Client::connect(port);
        }
        client.unwrap()
    };
    let mut server = start();
    let mut client = connect();
    let secret = "requirepass \"a\\r\\nmaxmemory-policy allkeys-lru\"";
    ask(&mut client, &format!("CONFIG SET {secret}"));
    ask(&mut client, "CONFIG SET proc-title-template \"x\\r\\nmaxmemory-policy allkeys-lru\"");
    for name in ["\"a\\r\\nuser b on\"", "\"a b\"", "\"a\\x00b\""] {
        assert!(ask(&mut client, &format!("ACL SETUSER {name} on")).starts_with("-ERR"), "{name}");
    }
    assert_eq!(ask(&mut client, "CONFIG REWRITE"), "+OK\r\n");
    server.kill().unwrap();
    server.wait().unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.lines().all(|line| !line.starts_with("maxmemory-policy allkeys-lru")), "{text}");
    let mut server = start();
    let mut client = connect();
    ask(&mut client, "AUTH \"a\\r\\nmaxmemory-policy allkeys-lru\"");
    let policy = ask(&mut client, "CONFIG GET maxmemory-policy");
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(policy.contains("noeviction"), "{policy}");
}

/// Scripts and functions may do what their caller may, not what their author may.
#[test]
fn cve_2022_24735_code_runs_as_its_caller() {
    let code = "FUNCTION LOAD \"#!lua name=l\\nredis.register_function('f', function(k) return redis.call('get', 'secret') end)\"";
    let replies = same(&[
        "SET secret v",
        code,
        "SCRIPT LOAD \"return redis.call('get', 'secret')\"",
        "ACL SETUSER u on nopass ~own +@all",
        "AUTH u x",
        "FCALL f 0",
        "EVALSHA 8bf1e58cdccb2b5ae66b9ed8d1a5bc2f0b1e3a10 0",
        "EVAL \"return redis.call('get', 'secret')\" 0",
        "EVAL \"return redis.pcall('get', 'secret')\" 0",
        "EVAL \"return redis.acl_check_cmd('get', 'secret')\" 0",
    ]);
    assert!(
        replies[5].starts_with('-') && replies[7].starts_with('-') && replies[8].starts_with('-'),
        "{replies:?}"
    );
}

/// One setting under two names, one condition beside another that excludes it.
#[test]
fn pr_15322_and_15291_contradictions_are_refused() {
    same(&[
        "CONFIG SET maxmemory 1gb maxmemory 2gb",
        "SET k v NX XX",
        "SET k v EX 10 KEEPTTL",
        "GETEX k EX 10 PERSIST",
    ]);
    // These conditions are newer than the real server here.
    let server = Server::peregrine(&[]);
    let mut client = server.connect();
    for line in [
        "SET k v NX IFEQ v",
        "SET k v IFEQ v XX",
        "SET k v IFEQ a IFNE b",
        "SET k v IFDEQ 00 NX",
        "DELEX k IFEQ a IFNE b",
    ] {
        assert!(ask(&mut client, line).starts_with("-ERR"), "{line}");
    }
}

/// Pending entries whose messages are gone are met one at a time.
#[test]
fn cve_2022_31144_autoclaim_passes_over_deleted_entries() {
    same(&[
        "XADD x 1-0 f v",
        "XADD x 2-0 f v",
        "XADD x 3-0 f v",
        "XGROUP CREATE x g 0",
        "XREADGROUP GROUP g Alice STREAMS x >",
        "XDEL x 1-0 2-0",
        "XAUTOCLAIM x g Bob 0 0-0 COUNT 1",
        "XAUTOCLAIM x g Bob 0 2-0 COUNT 1",
        "XAUTOCLAIM x g Bob 0 0-0 COUNT 1 JUSTID",
        "XPENDING x g",
        "XAUTOCLAIM x g Bob 0 3-0 COUNT 8070450532247928833",
    ]);
}

/// More identifiers than fit wherever a few fit.
#[test]
fn cve_2025_62507_thousands_of_identifiers() {
    let ids: String = (1..=3000).map(|i| format!(" {i}-0")).collect();
    let mut lines: Vec<String> = (1..=3000).map(|i| format!("XADD x {i}-0 f v")).collect();
    lines.push("XGROUP CREATE x g 0".into());
    lines.push("XREADGROUP GROUP g c COUNT 2900 STREAMS x >".into());
    for n in [8, 9, 3000] {
        let some: String = ids.split_inclusive(' ').take(n + 1).collect();
        lines.push(format!("XACKDEL x g KEEPREF IDS {n} {}", some.trim()));
        lines.push(format!("XDELEX x ACKED IDS {n} {}", some.trim()));
    }
    lines.push(format!("XACK x g{ids}"));
    lines.push(format!("XDEL x{ids}"));
    lines.push(format!("XCLAIM x g c 0{ids}"));
    same(&lines.iter().map(String::as_str).collect::<Vec<_>>());
}

/// Elements as long as the steps in how listpacks write lengths, from both ends.
#[test]
fn pr_15151_lengths_at_every_step_of_a_listpack() {
    let sizes = [
        0, 1, 11, 12, 62, 63, 64, 65, 120, 126, 127, 128, 4000, 4095, 4096, 8100, 16380, 16383, 16384, 16390,
    ];
    let mut lines = Vec::new();
    for n in sizes {
        lines.push(format!("RPUSH l <a*{n}>"));
        lines.push(format!("HSET h f{n} <b*{n}>"));
    }
    lines.extend(["LRANGE l 0 -1", "RPOP l 3", "LINDEX l -5", "LLEN l", "HLEN h"].map(String::from));
    for n in sizes {
        lines.push(format!("HSTRLEN h f{n}"));
        lines.push(format!("LPOS l <a*{n}>"));
        lines.push(format!("LREM l -1 <a*{n}>"));
    }
    same(&lines.iter().map(String::as_str).collect::<Vec<_>>());
}

/// Who is served while the memory of clients runs out, and who goes for it, are looked at one at a time.
#[test]
fn cve_2026_23479_clients_are_evicted_while_others_are_served() {
    let server = Server::peregrine(&["--maxmemory-clients", "3mb", "--io-threads", "2"]);
    for _ in 0..5 {
        let mut waiting: Vec<Client> = (0..6).map(|_| server.connect()).collect();
        for client in &mut waiting {
            client.send(&["BLPOP", "l", "0"]).unwrap();
            // It waits behind the command, and counts.
            let _ = client.send_raw(&[&b"*2\r\n$4\r\nECHO\r\n$400000\r\n"[..], &[b'x'; 399_000]].concat());
        }
        let mut admin = server.connect();
        for _ in 0..6 {
            let value = "v".repeat(200_000);
            admin.call(&["RPUSH", "l", &value, &value]);
        }
        drop(waiting);
        is_served(&server);
        admin.cmd("DEL l");
    }
    assert!(!server.log().contains("BUG"), "{}", server.log());
}
