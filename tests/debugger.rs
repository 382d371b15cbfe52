//! Does the Lua debugger behave as Redis's does? The same sessions are held with Peregrine and with Redis 8.2.3, and
//! every line of both must be the same; what only Peregrine promises is tested below.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use support::client::Client;
use support::resp::Value;
use support::server::Server;
use support::text::render;

const WALK: &str = "local a = {1,2,'x'}
local b = redis.call('set','k1',ARGV[1])
local c = redis.call('get','k1')
redis.breakpoint()
for i=1,3 do
  redis.debug('i', i, {k=i}, nil, true)
end
local function f(x)
  local y = x + 1
  return y
end
local z = f(3)
redis.call('lpush','k1','v')
return {b,c,z}
";

const NESTED: &str = "local function g(a, ...) local rest = {...}
 for i, v in ipairs(rest) do
  redis.debug(v)
 end
end
g(1,2,3)
local ok = pcall(function()
 redis.breakpoint()
 local inner = 1
 return inner end)
return redis.error_reply('x')";

/// Sessions: a script, and what the client says at its stops, each word by word.
const SESSIONS: &[(&str, &[&str])] = &[
    (
        WALK,
        &[
            "s", "p", "s", "p a", "p ARGV", "p KEYS", "p nosuch", "n", "l", "w", "list 3 1", "list 3 0",
            "list -4",
        ],
    ),
    (
        WALK,
        &[
            "b 9", "b", "b 9", "b 99", "b x", "b 0 2", "b 1 2", "b -2", "b -2", "c", "t", "s", "p", "c", "c",
            "c",
        ],
    ),
    (WALK, &["c", "c", "trace", "c", "c", "c"]),
    (
        WALK,
        &[
            "e return 1+1",
            "e x",
            "e error('a')",
            "e 1,",
            "e 1+1",
            "e {1,nil,3}",
            "e {a=1}",
            "e 0.1",
            "e 1e15",
        ],
    ),
    (
        WALK,
        &["e 0/0", "e 1/0", "e nil", "e 'a\nb'", "e local q = 5", "e #KEYS", "e redis.call('get','k')", "a"],
    ),
    (
        WALK,
        &[
            "r set foo bar",
            "r get foo",
            "r lpush foo x",
            "r nosuch",
            "r get",
            "r debug sleep 0",
            "r",
            "r hgetall no",
        ],
    ),
    (WALK, &["r mget a b c d e f g h i j k l m", "r config get maxmemory", "r info nosuch"]),
    (
        WALK,
        &[
            "m",
            "m 100",
            "m 0",
            "m 5",
            "m x",
            "m 1 2",
            "m -1",
            "zz",
            "s 1",
            "hello\0world",
            "\0hello\0",
            "p x y",
            "w 1",
        ],
    ),
    (NESTED, &["s", "s", "p", "b 3", "c", "t", "p", "p a", "p i", "c", "c", "t", "p", "p ok", "c"]),
    (
        "local function f(n) if n==0 then\n redis.breakpoint()\n return 1 end\n return 1+f(n-1) end\nlocal t={}; t.t=t\nlocal q = f(2)\nreturn redis.pcall('incr','kk')",
        &["c", "t", "p t", "p n", "p", "s", "s", "s"],
    ),
    (
        "local c = coroutine.create(function(a) local q = a\n redis.breakpoint()\n local z = q\n end)\ncoroutine.resume(c, 7)\nreturn 2",
        &["s", "s", "s", "t", "s", "s", "p", "s", "s"],
    ),
    ("-- comment\n\nlocal a = 1\n\n\n", &["l", "p", "s"]),
    ("#!lua flags=no-writes\nlocal a = 1\nredis.call('set','a','b')", &["l", "s", "s"]),
    ("error('boom')", &["s"]),
    ("return 1 +", &[]),
    ("redis.call('set','s','x'); return redis.call('lpush','s',1)", &["s"]),
    (
        "redis.debug(string.rep('x',300))\nredis.call('set','a',string.rep('y',300))\nlocal r = redis.call('get','a')\nreturn redis.status_reply('fine')",
        &["s", "s", "p", "s", "p r", "m 0", "p r", "s"],
    ),
    (
        "redis.setresp(3)\nredis.call('hset','h','f','v')\nredis.call('hgetall','h')\nredis.call('get','nokey')\nredis.call('sadd','se','m')\nredis.call('smembers','se')\nredis.call('zadd','z','1.5','m')\nreturn redis.call('zscore','z','m')",
        &["s"; 8],
    ),
    ("local i=0 while true do i=i+1 end", &["c", "a"]),
    ("return redis.call('dbsize')", &["s"]),
];

fn words(command: &str) -> Vec<&str> {
    command.split(' ').collect()
}

/// A connection on which a script has been started in a mode; the first thing that it reads is where it stops.
fn debug(server: &Server, mode: &str, script: &str) -> Client {
    let mut client = server.connect();
    assert_eq!(render(&client.call(&["SCRIPT", "DEBUG", mode])), "+OK");
    client.send(&["EVAL", script, "1", "key", "v1"]).unwrap();
    client
}

/// The next reply without what differs from run to run; `closed` at the end.
fn next(client: &mut Client) -> String {
    match client.read_within(Duration::from_secs(20)) {
        Ok(Some(reply)) => {
            let text = render(&reply.value);
            let mut parts = text.split("@0x");
            let mut kept = parts.next().unwrap().to_owned();
            for part in parts {
                kept.push_str("@ADDRESS");
                kept.push_str(part.trim_start_matches(|c: char| c.is_ascii_hexdigit()));
            }
            kept
        }
        Ok(None) => "nothing came".to_owned(),
        Err(error) => match error.kind() {
            ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe => "closed".to_owned(),
            other => panic!("{other:?}"),
        },
    }
}

/// All that is read in a session: what is said is followed by one reply, until it ends.
fn transcript(server: &Server, mode: &str, script: &str, said: &[&str]) -> Vec<String> {
    let mut client = debug(server, mode, script);
    let mut read = vec![next(&mut client)];
    for command in said {
        if read.last().unwrap().contains("<endsession>") {
            break;
        }
        client.send(&words(command)).unwrap();
        read.push(format!("{command}: {}", next(&mut client)));
    }
    if !read.last().unwrap().contains("<endsession>") {
        client.send(&["a"]).unwrap();
        read.push(next(&mut client));
    }
    while read.last().unwrap() != "closed" {
        read.push(next(&mut client));
    }
    read
}

#[test]
fn every_session_reads_as_with_redis() {
    let args = ["--busy-reply-threshold", "200"];
    let (ours, oracle) = (Server::peregrine(&args), Server::oracle(&args));
    for mode in ["yes", "sync"] {
        for (script, said) in SESSIONS {
            assert_eq!(
                transcript(&ours, mode, script, said),
                transcript(&oracle, mode, script, said),
                "{mode}: {script}"
            );
        }
        let keys = |server: &Server| {
            let Value::Array(mut keys) = server.connect().call(&["KEYS", "*"]) else { panic!("no array") };
            keys.sort_by_key(render);
            keys.iter().map(render).collect::<Vec<_>>()
        };
        assert_eq!(keys(&ours), keys(&oracle), "{mode}: what stays");
    }
}

#[test]
fn modes_and_what_cannot_be_debugged_are_told_as_by_redis() {
    for server in [Server::peregrine(&[]), Server::oracle(&[])] {
        let mut client = server.connect();
        let mut ask = |args: &[&str]| render(&client.call(args));
        assert_eq!(ask(&["SCRIPT", "DEBUG", "maybe"]), "-ERR Use SCRIPT DEBUG YES/SYNC/NO");
        assert_eq!(ask(&["SCRIPT", "DEBUG", "yes"]), "+OK");
        let sha = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";
        let refused = "-ERR Please use EVAL instead of EVALSHA for debugging";
        assert_eq!(ask(&["EVALSHA", sha, "0"]), refused, "{}", server.name);
        assert_eq!(ask(&["SCRIPT", "DEBUG", "no"]), "+OK");
        assert_eq!(
            ask(&["EVAL", "return {redis.breakpoint(), redis.debug(1)}", "0"]),
            ask(&["EVAL", "return {false}", "0"])
        );
        for garbage in [&b"hello\r\n"[..], b"*0\r\n", b"*1\r\n$2000\r\nl\r\n", b"*2000\r\n$1\r\nl\r\n"] {
            let mut client = debug(&server, "sync", "return 'hello'");
            next(&mut client);
            client.send_raw(garbage).unwrap();
            assert!(next(&mut client).contains("<endsession>"), "{}", server.name);
            assert!(next(&mut client).contains("-ERR protocol error"), "{}", server.name);
        }
    }
}

#[test]
fn a_session_on_a_copy_changes_nothing_and_keeps_nobody_waiting() {
    let server = Server::peregrine(&["--io-threads", "1"]);
    let mut other = server.connect();
    for i in 0..1000 {
        other.call(&["SET", &format!("k{i}"), "old"]);
    }
    other.call(&["RPUSH", "list", "a", "b"]);
    let script = "redis.call('flushall')\nreturn redis.call('dbsize')";
    let mut client = debug(&server, "yes", script);
    assert!(next(&mut client).contains("Stopped at 1"));
    // The copy is of the moment at which the session began.
    other.call(&["SET", "k1", "new"]);
    client.send(&words("r get k1")).unwrap();
    assert!(next(&mut client).contains("old"));
    client.send(&["r", "lrange", "list", "0", "-1"]).unwrap();
    assert!(next(&mut client).contains("a\\\",\\\"b"));
    client.send(&["s"]).unwrap();
    assert!(next(&mut client).contains("Stopped at 2"));
    assert_eq!(render(&other.call(&["DBSIZE"])), ":1001");
    client.send(&["c"]).unwrap();
    assert!(next(&mut client).contains("<endsession>"));
    assert_eq!(next(&mut client), ":0");
    assert_eq!(next(&mut client), "closed");
    assert_eq!(render(&other.call(&["DBSIZE"])), ":1001");
}

#[test]
fn a_copy_that_does_not_fit_is_refused() {
    let server = Server::peregrine(&["--maxmemory", "4mb", "--maxmemory-policy", "allkeys-lru"]);
    let mut other = server.connect();
    other.call(&["SET", "big", &"x".repeat(2 << 20)]);
    let mut client = debug(&server, "yes", "return 1");
    let refusal = next(&mut client);
    assert!(
        refusal.contains("can't run EVAL in debugging mode") && refusal.contains("maxmemory"),
        "{refusal}"
    );
    assert_eq!(next(&mut client), "closed");
    assert_eq!(render(&other.call(&["EXISTS", "big"])), ":1");
}

#[test]
fn a_live_session_has_the_data_to_itself_and_its_writes_last() {
    for threads in ["1", "2"] {
        let server = Server::peregrine(&[
            "--io-threads",
            threads,
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
            "--enable-debug-command",
            "yes",
        ]);
        let mut other = server.connect();
        let mut client = debug(&server, "sync", "redis.call('incr', 'n')\nreturn redis.call('incr', 'n')");
        assert!(next(&mut client).contains("Stopped at 1"));
        other.send(&["INCR", "n"]).unwrap();
        assert!(other.read_within(Duration::from_millis(300)).unwrap().is_none(), "it did not wait");
        client.send(&["c"]).unwrap();
        assert!(next(&mut client).contains("<endsession>"));
        assert_eq!(next(&mut client), ":2");
        assert_eq!(next(&mut other), ":3");
        assert_eq!(render(&server.connect().call(&["DEBUG", "LOADAOF"])), "+OK");
        assert_eq!(render(&other.call(&["GET", "n"])), render(&Value::Bulk(b"3".to_vec())));
    }
}

#[test]
fn who_goes_away_leaves_nothing_behind() {
    let mut server = Server::peregrine(&["--io-threads", "1", "--busy-reply-threshold", "200"]);
    let mut other = server.connect();
    // The script goes on alone, and is stopped if it does not end.
    for script in ["redis.call('set', 'done', '1')", "while true do end"] {
        let mut client = debug(&server, "sync", script);
        assert!(next(&mut client).contains("Stopped at 1"));
        drop(client);
        assert_eq!(render(&other.call(&["EXISTS", "done"])), ":1", "{script}");
    }
    // Code that the client runs by hand has an end as well.
    let mut client = debug(&server, "sync", "return 1");
    next(&mut client);
    client.send(&words("e while true do end")).unwrap();
    assert!(next(&mut client).contains("<endsession>"));
    assert!(next(&mut client).contains("did not come to an end"));
    // A session keeps the server from nothing.
    let mut client = debug(&server, "sync", "redis.call('set', 'x', '1')");
    next(&mut client);
    std::process::Command::new("kill").arg(server.pid().to_string()).status().unwrap();
    let began = Instant::now();
    while server.is_running() {
        assert!(began.elapsed() < Duration::from_secs(5), "the server did not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_user_does_in_the_debugger_what_its_rules_allow() {
    let server = Server::peregrine(&[]);
    let mut admin = server.connect();
    admin.call(&["SET", "secret", "s"]);
    admin.call(&["ACL", "SETUSER", "u", "on", ">p", "~key*", "+eval", "+script|debug", "+get"]);
    for mode in ["yes", "sync"] {
        let mut client = server.connect();
        client.call(&["AUTH", "u", "p"]);
        client.call(&["SCRIPT", "DEBUG", mode]);
        client.send(&["EVAL", "return 1", "0"]).unwrap();
        next(&mut client);
        client.send(&words("r get secret")).unwrap();
        assert!(next(&mut client).contains("ACL failure"));
        client.send(&words("r set key v")).unwrap();
        assert!(next(&mut client).contains("ACL failure"));
        client.send(&words("r get key")).unwrap();
        assert!(next(&mut client).contains("NULL"));
    }
}
