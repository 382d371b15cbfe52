//! Does hostile input stay harmless? Requests that have broken servers, each with what must come back.
//!
//! After each row the process is up, another connection is served at once, and the replies are still in step with the
//! requests. Rows that Redis 8.2.3 survives are asked of it too: the replies are the same, byte for byte.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::{Duration, Instant};
use support::client::Client;
use support::resp;
use support::server::Server;
use support::text;

/// How long another client may wait for its PONG, on a machine that does other things too.
const AT_ONCE: Duration = Duration::from_secs(2);

/// How long a pattern may take in a build without optimisation; a careless matcher takes until the end of time.
const A_PATTERN: Duration = Duration::from_secs(20);

/// Requests in the notation of transcripts, and what the last reply begins with.
const ROWS: &[(&[&str], &str)] = &[
    // Offsets and lengths that do not fit.
    (&["SETBIT k 4294967296 1"], "-ERR bit offset is not an integer or out of range"),
    (&["SETBIT k 9223372036854775807 1"], "-ERR bit offset is not an integer or out of range"),
    (&["GETBIT k 9223372036854775807"], "-ERR bit offset is not an integer or out of range"),
    (&["BITFIELD k GET u8 #9223372036854775807"], "-ERR bit offset is not an integer or out of range"),
    (&["BITFIELD k SET i64 #9223372036854775807 1"], "-ERR bit offset is not an integer or out of range"),
    (&["SET k abc", "BITPOS k 1 9223372036854775807"], ":-1"),
    (&["SET k abc", "BITCOUNT k -9223372036854775808 9223372036854775807"], ":10"),
    (&["SET k abc", "GETRANGE k -9223372036854775808 9223372036854775807"], "$3"),
    (&["SETRANGE k 9223372036854775807 A"], "-ERR string exceeds maximum allowed size (proto-max-bulk-len)"),
    (&["SETRANGE k 4294967295 A"], "-ERR string exceeds maximum allowed size (proto-max-bulk-len)"),
    (&["SET a <a*20000>", "SET b <b*20000>", "LCS a b"], "-ERR Insufficient memory"),
    // Counts whose negation or product does not fit.
    (&["RPUSH l 1 2 3", "SORT l LIMIT 2 9223372036854775807"], "*1"),
    (&["RPUSH l 1 2 3", "SORT_RO l BY a LIMIT 2 9223372036854775807"], "*1"),
    (&["RPUSH l a", "LPOS l a RANK -9223372036854775808"], "-ERR"),
    (&["RPUSH l a b", "LRANGE l -9223372036854775808 9223372036854775807"], "*2"),
    (&["RPUSH l a b", "LTRIM l -9223372036854775808 9223372036854775807"], "+OK"),
    (&["HSET h f v", "HRANDFIELD h -9223372036854775808"], "-ERR value is out of range"),
    (&["HSET h f v", "HRANDFIELD h -9223372036854770000 WITHVALUES"], "-ERR value is out of range"),
    (&["ZADD z 1 m", "ZRANDMEMBER z -9223372036854775808"], "-ERR value is out of range"),
    (&["ZADD z 1 m", "ZRANDMEMBER z -9223372036854770000 WITHSCORES"], "-ERR value is out of range"),
    (&["SADD s m", "SRANDMEMBER s -9223372036854775808"], "-ERR value is out of range"),
    (
        &["XGROUP CREATE x g 0 MKSTREAM", "XAUTOCLAIM x g c 0 0 COUNT 8070450532247928833"],
        "-ERR COUNT must be > 0",
    ),
    (&["SCAN 9223372036854775808 MATCH *11*"], "*2"),
    (&["SCAN 18446744073709551616"], "-ERR invalid cursor"),
    (&["HSCAN h 18446744073709551616"], "-ERR invalid cursor"),
    (&["HSET h f v", "HEXPIRE h 100 FIELDS 9223372036854775807 f"], "-ERR"),
    (&["HGETEX h FIELDS"], "-ERR wrong number of arguments"),
    (&["HSETEX h EX 10 FIELDS 1 f v FIELDS 1 f v"], "-ERR"),
    (&["HGETEX h EX 10 FIELDS 1 f FIELDS 1 f"], "-ERR"),
    (&["CONFIG SET maxmemory 99999999999gb"], "-ERR"),
    (&["SET k v", "COPY k l DB 9223372036854775808"], "-ERR"),
    (&["SET k v", "OBJECT FREQ k"], "-ERR An LFU maxmemory policy is not selected"),
    (&["XADD x MAXLEN ~ 9223372036854775807 LIMIT -1 1-1 f v"], "-ERR"),
    // Times that overflow.
    (&["SET k v EX 9223372036854775807"], "-ERR invalid expire time in 'set' command"),
    (&["SET k v", "EXPIRE k 9223372036854775807"], "-ERR invalid expire time in 'expire' command"),
    (&["SET k v", "PEXPIRE k 9223372036854770000"], "-ERR invalid expire time in 'pexpire' command"),
    (&["SET k v", "GETEX k PX 9223372036854775807"], "-ERR invalid expire time in 'getex' command"),
    (&["SETEX k 9223372036854775807 v"], "-ERR invalid expire time in 'setex' command"),
    (&["BLPOP k 1e300"], "-ERR timeout is out of range"),
    (&["BLPOP k nan"], "-ERR timeout is not a float or out of range"),
    // Numbers that are none.
    (&["HSET h f 1", "HINCRBYFLOAT h f nan"], "-ERR value is not a valid float"),
    (&["HSET h f 1", "HINCRBYFLOAT h f inf"], "-ERR"),
    (&["SET k 1", "INCRBYFLOAT k inf"], "-ERR"),
    (&["ZADD z nan m"], "-ERR value is not a valid float"),
    (&["ZADD z inf m", "ZINCRBY z -inf m"], "-ERR resulting score is not a number (NaN)"),
    (&["GEOADD g nan 1 m"], "-ERR"),
    (&["GEOADD g 1 1 m", "GEOSEARCH g FROMMEMBER m BYRADIUS nan m"], "-ERR"),
    (&["GEOADD g 1 1 m", "GEOSEARCH g FROMMEMBER m BYRADIUS inf m"], ""),
    (&["SET k 9223372036854775807", "INCR k"], "-ERR increment or decrement would overflow"),
    (&["SET k 1", "DECRBY k -9223372036854775808"], "-ERR decrement would overflow"),
    // One key or member several times.
    (&["MSETNX k a k b", "GET k"], "$1\r\nb"),
    (&["MSETNX k a k b", "MSETNX k c k d"], ":0"),
    (&["GEOADD g 1 1 m", "GEORADIUS g 1 1 5 km STORE a STOREDIST b", "EXISTS a b"], ":1"),
    (&["XADD x 1-1 f v", "XREAD STREAMS STREAMS x 0"], "-ERR"),
    (&["SUNIONSTORE s s s", "LMPOP 2 l l LEFT"], ""),
    // Numbers of keys that lie.
    (&["COMMAND GETKEYS EVAL x 2147483648 a"], ""),
    (&["COMMAND GETKEYS ZUNION 9223372036854775807 a"], "-ERR Invalid arguments specified for command"),
    (&["EVAL x 9223372036854775807 a"], "-ERR Number of keys can't be greater than number of args"),
    (&["ZUNIONSTORE d 2147483648 a"], "-ERR"),
    // HyperLogLogs made by hand: runs of zeros past the last register, a header without registers.
    (&["SET k HYLL\\x01\\x00\\x00\\x00", "PFCOUNT k"], "-WRONGTYPE"),
    (
        &[
            "SET k \"HYLL\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x80\\x7f\\xff\\x7f\\xff\\x7f\\xff\"",
            "PFADD k a",
        ],
        "",
    ),
    (
        &[
            "SET k \"HYLL\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x80\\x7f\\xff\\x7f\\xff\\x7f\\xff\"",
            "PFCOUNT k",
        ],
        "-INVALIDOBJ",
    ),
    (
        &[
            "SET k \"HYLL\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x80\\x7f\\xff\\x7f\\xff\\x7f\\xff\"",
            "PFMERGE d k",
        ],
        "-INVALIDOBJ",
    ),
    // Line breaks in what an error quotes.
    (&["\"nosuch\\r\\n+OK\" a"], "-ERR unknown command 'nosuch  +OK'"),
    (&["XGROUP \"x\\r\\n:1\""], "-ERR unknown subcommand"),
    (&["CONFIG SET \"a\\r\\nb\" c"], "-ERR"),
    // Payloads that nobody made.
    (
        &["RESTORE k 0 \"\\x00\\xff\\xff\\xff\\xff\\xff\\x0c\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\""],
        "-ERR DUMP payload",
    ),
];

/// Patterns that take exponential time, or a frame of stack for each star, where the matcher is careless.
fn patterns() -> Vec<Vec<u8>> {
    let stars = [b"a*".repeat(20), b"b".to_vec()].concat();
    vec![
        stars,
        b"*?".repeat(50_000),
        b"[".repeat(50_000),
        b"*".repeat(100_000),
        b"[^-]".to_vec(),
        b"[z-".to_vec(),
        b"a\\".to_vec(),
        b"\\".repeat(99_999),
    ]
}

/// Commands that take a pattern, with `PATTERN` in its place.
const MATCHING: [&str; 14] = [
    "KEYS PATTERN",
    "SCAN 0 MATCH PATTERN COUNT 100",
    "PUBSUB CHANNELS PATTERN",
    "CONFIG GET PATTERN",
    "COMMAND LIST FILTERBY PATTERN PATTERN",
    "FUNCTION LIST LIBRARYNAME PATTERN",
    "HSCAN hash 0 MATCH PATTERN",
    "SSCAN set 0 MATCH PATTERN",
    "ACL SETUSER guest on nopass +@all ~PATTERN &PATTERN",
    "ACL DRYRUN guest get aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "ACL DRYRUN guest publish aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa m",
    "CLIENT TRACKING on BCAST PREFIX PATTERN",
    "SET aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab v",
    "CLIENT TRACKING off",
];

fn is_served(server: &Server) {
    let began = Instant::now();
    assert_eq!(server.connect().cmd("PING").text(), "PONG");
    assert!(began.elapsed() < AT_ONCE, "another client waited {:?}", began.elapsed());
}

/// The replies to these requests, after which the connection answers in step.
fn replies(server: &Server, requests: &[Vec<Vec<u8>>]) -> Vec<Vec<u8>> {
    let mut client = server.connect();
    client.cmd("FLUSHALL");
    let replies = client.pipeline(requests).unwrap();
    assert_eq!(client.call(&["ECHO", "in step"]).text(), "in step");
    replies.into_iter().map(|reply| reply.raw).collect()
}

#[test]
fn what_broke_others_is_answered() {
    let (ours, real) = (Server::peregrine(&[]), Server::oracle(&[]));
    let mut wrong = Vec::new();
    for (lines, expected) in ROWS {
        let requests: Vec<_> = lines.iter().map(|line| text::split(line).unwrap()).collect();
        let got = replies(&ours, &requests);
        let shown =
            |raw: &[Vec<u8>]| raw.iter().map(|r| String::from_utf8_lossy(r).into_owned()).collect::<Vec<_>>();
        let last = got.last().unwrap();
        let wanted = replies(&real, &requests);
        if !last.starts_with(expected.as_bytes()) || got != wanted {
            wrong.push(format!(
                "{lines:?}\n  redis:     {:?}\n  peregrine: {:?}",
                shown(&wanted),
                shown(&got)
            ));
        }
        is_served(&ours);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Times 64 this is 0 to the real server, which keeps 64 bits of the product.
    let wraps = text::split("BITFIELD k SET i64 #576460752303423488 1").unwrap();
    assert!(replies(&ours, &[wraps])[0].starts_with(b"-ERR bit offset is not"));
    assert!(!ours.log().contains("BUG"), "{}", ours.log());
}

#[test]
fn patterns_take_no_time_and_no_stack() {
    let server = Server::peregrine(&[]);
    let mut client = server.connect();
    client.call(&["SET", &"a".repeat(40), "v"]);
    client.call(&["HSET", "hash", &"a".repeat(40), "v"]);
    client.call(&["SADD", "set", &"a".repeat(40)]);
    for pattern in patterns() {
        for line in MATCHING {
            let args: Vec<Vec<u8>> = line
                .split(' ')
                .map(|word| match word {
                    "~PATTERN" => [b"~", &pattern[..]].concat(),
                    "&PATTERN" => [b"&", &pattern[..]].concat(),
                    "PATTERN" => pattern.clone(),
                    _ => word.as_bytes().to_vec(),
                })
                .collect();
            let began = Instant::now();
            client.call(&args);
            assert!(began.elapsed() < A_PATTERN, "{line} took {:?}", began.elapsed());
        }
        let mut listener = server.connect();
        listener.call(&[b"PSUBSCRIBE".as_slice(), &pattern]);
        client.call(&["PUBLISH", &"a".repeat(40), "v"]);
        is_served(&server);
    }
}

/// The bytes that a connection gets for these bytes, up to where it is closed or 300 ms of silence.
fn answered(server: &Server, bytes: &[u8]) -> (String, bool) {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    // The server may close while we still write.
    let _ = stream.write_all(bytes);
    let (mut all, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut chunk) {
            Ok(n) if n > 0 => all.extend_from_slice(&chunk[..n]),
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                return (String::from_utf8_lossy(&all).into_owned(), false);
            }
            _ => return (String::from_utf8_lossy(&all).into_owned(), true),
        }
    }
}

#[test]
fn requests_that_are_none_close_their_connection_only() {
    let open = Server::peregrine(&[]);
    let locked = Server::peregrine(&["--requirepass", "secret"]);
    let rows: &[(&Server, &[u8], &str, bool)] = &[
        (&locked, b"*100\r\n", "-ERR Protocol error: unauthenticated multibulk length\r\n", true),
        (&locked, b"*1\r\n$100000000\r\n", "-ERR Protocol error: unauthenticated bulk length\r\n", true),
        (&open, b"*2147483648\r\n", "-ERR Protocol error: invalid multibulk length\r\n", true),
        (&open, b"*1\r\n$4294967296\r\n", "-ERR Protocol error: invalid bulk length\r\n", true),
        (&open, b"*1\r\n$-1\r\n", "-ERR Protocol error: invalid bulk length\r\n", true),
        (&open, b"*1\r\n:1\r\n", "-ERR Protocol error: expected '$', got ':'\r\n", true),
        (&open, b"PING \"a\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n", true),
        (&open, b"*0\r\n*-1\r\n\r\n*1\r\n$4\r\nPING\r\n", "+PONG\r\n", false),
        (&open, b"*-1\r\nPING\r\n", "+PONG\r\n", false),
        (&open, b"\r\n\r\nPING\r\n*0\r\nPING\r\n", "+PONG\r\n+PONG\r\n", false),
    ];
    for (server, bytes, expected, closes) in rows {
        let got = answered(server, bytes);
        assert_eq!(got, ((*expected).to_owned(), *closes), "{:?}", String::from_utf8_lossy(bytes));
        is_served_with(server);
    }
    let long = vec![b'x'; 70_000];
    assert_eq!(answered(&open, &long), ("-ERR Protocol error: too big inline request\r\n".into(), true));
    let header = [b"*".as_slice(), &b"1".repeat(70_000)].concat();
    assert_eq!(
        answered(&open, &header),
        ("-ERR Protocol error: too big mbulk count string\r\n".into(), true)
    );
}

fn is_served_with(server: &Server) {
    let reply = server.connect().cmd("PING").text();
    assert!(reply == "PONG" || reply.starts_with("NOAUTH"), "{reply}");
}

/// A client that has not authenticated and never reads must not make the server keep its replies.
#[test]
fn strangers_cannot_fill_memory() {
    use std::io::Write;
    let server = Server::peregrine(&["--requirepass", "secret"]);
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    let batch = resp::encode(&["GET", "k"]).repeat(10_000);
    let refused = (0..400).any(|_| stream.write_all(&batch).is_err());
    let mut client = server.connect();
    client.cmd("AUTH secret");
    let info = client.cmd("INFO memory").text();
    let used =
        info.lines().find_map(|l| l.strip_prefix("used_memory:")).unwrap().trim().parse::<u64>().unwrap();
    assert!(refused, "100 MB of requests were taken from a stranger who reads nothing");
    assert!(used < 64 << 20, "{used} bytes are used");
}

/// The one who wakes a blocked client closes others that wait for the same key, in the same transaction.
#[test]
fn blocked_clients_may_be_closed_while_others_are_served() {
    let server = Server::peregrine(&["--io-threads", "2"]);
    let mut admin = server.connect();
    for round in 0..20 {
        let mut waiting: Vec<Client> = (0..4).map(|_| server.connect()).collect();
        let ids: Vec<String> = waiting.iter_mut().map(|c| c.cmd("CLIENT ID").text()).collect();
        for client in &mut waiting {
            client.send(&["BLPOP", "l", "0"]).unwrap();
        }
        while !admin.cmd("INFO clients").text().contains("blocked_clients:4") {
            std::thread::sleep(Duration::from_millis(2));
        }
        let requests: Vec<Vec<Vec<u8>>> = [
            "MULTI".to_owned(),
            format!("CLIENT KILL ID {}", ids[round % 4]),
            "RPUSH l a b".to_owned(),
            format!("CLIENT KILL ID {}", ids[(round + 1) % 4]),
            "EXEC".to_owned(),
        ]
        .iter()
        .map(|line| text::split(line).unwrap())
        .collect();
        admin.pipeline(&requests).unwrap();
        for at in [2, 3] {
            waiting[(round + at) % 4].send_raw(b"").unwrap();
        }
        drop(waiting);
        admin.cmd("DEL l");
        is_served(&server);
        while !admin.cmd("INFO clients").text().contains("blocked_clients:0") {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    // A client that closes itself hears of it, and nothing after it is run.
    let (heard, closed) = answered(&server, b"CLIENT KILL SKIPME no TYPE normal\r\nSET after 1\r\n");
    assert!(closed && !heard.contains("+OK"), "{heard}");
    assert_eq!(server.connect().cmd("EXISTS after").text(), "0");
}

/// Whatever holds locks already must not be asked for more: each command that needs no argument, behind a write, in a
/// transaction. (MEMORY DOCTOR once walked all shards from there.)
#[test]
fn every_command_runs_beside_a_key_in_a_transaction() {
    let server = Server::peregrine(&["--io-threads", "2"]);
    let ask = |words: &[&str]| {
        let mut client = server.connect();
        client.send(words).unwrap();
        client.read().unwrap().raw
    };
    let containers =
        ["acl", "client", "cluster", "command", "config", "function", "latency", "memory", "module"];
    let more = ["object", "pubsub", "script", "slowlog", "xgroup", "xinfo"];
    let mut commands: Vec<Vec<String>> = Vec::new();
    for container in containers.iter().chain(&more) {
        let help = String::from_utf8(ask(&[container, "HELP"])).unwrap();
        let names = help.lines().filter(|line| line.starts_with('+') && !line.starts_with("+ "));
        for name in names.filter_map(|line| line[1..].split(' ').next()) {
            commands.push(vec![(*container).to_owned(), name.to_owned()]);
        }
    }
    for plain in
        ["dbsize", "info", "keys *", "scan 0", "randomkey", "lolwut", "role", "lastsave", "time", "flushall"]
    {
        commands.push(plain.split(' ').map(str::to_owned).collect());
    }
    assert!(commands.len() > 60, "{commands:?}");
    for command in &commands {
        let mut client = server.connect();
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        for request in [&["MULTI"][..], &["SET", "beside", "1"], &words, &["EXEC"]] {
            client.send(request).unwrap();
            let reply = client.read().unwrap_or_else(|why| panic!("{words:?}: {why}; {}", server.log()));
            assert!(!reply.raw.windows(12).any(|w| w == b"ERR internal"), "{words:?}");
        }
    }
}
