//! Do real clients work? Their own libraries and tools, driven against Peregrine and against Redis 8.2.3.
//!
//! The scripts are in `tests/clients/`; what they need is installed by `make tools clients`. A missing tool is a
//! failure that says so.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::resp;
use support::server::Server;

/// How long a client program may run, in seconds; `timeout` from coreutils ends it.
const LIMIT: &str = "120";

macro_rules! against_both {
    ($($name:ident)*) => {
        mod redis_server { $(#[test] fn $name() { super::$name(&super::Server::oracle(&["--enable-debug-command", "yes"])); })* }
        mod peregrine {
            $(#[test] fn $name() {
                super::$name(&super::Server::peregrine(&["--enable-debug-command", "yes"]));
            })*
        }
    };
}

against_both! {
    redis_py ioredis node_redis redis_rs_resp2 redis_rs_resp3 redis_rs_async cli_replies cli_pipe cli_scan cli_bigkeys
    cli_latency cli_monitor cli_hints cli_rdb benchmark
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn tool(path: &Path, install: &str) -> PathBuf {
    assert!(path.exists(), "{} does not exist: run `{install}`", path.display());
    path.to_path_buf()
}

/// Runs a program to its end, with input; its output. A failure stops the test with everything it said.
fn run(program: &str, args: &[&str], input: &[u8]) -> String {
    let mut command = Command::new("timeout");
    command.args([LIMIT, program]).args(args).env("NODE_MODULES_FROM", root().join("target/node"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{program}: {e}: run `make tools`"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert_ne!(output.status.code(), Some(127), "{program} does not exist: run `make tools`");
    assert!(output.status.success(), "{program} {args:?}: {}\n{said}\n{complained}", output.status);
    said
}

fn cli(server: &Server, args: &[&str]) -> String {
    cli_with(server, args, b"")
}

fn cli_with(server: &Server, args: &[&str], input: &[u8]) -> String {
    let port = server.port.to_string();
    run("redis-cli", &[&["-p", &port], args].concat(), input)
}

fn redis_py(server: &Server) {
    let python = tool(&root().join("target/venv/bin/python"), "make clients");
    let script = root().join("tests/clients/redis_py.py");
    let said = run(python.to_str().unwrap(), &[script.to_str().unwrap(), &server.port.to_string()], b"");
    println!("clients: {} ({})", said.trim(), server.name);
    assert!(said.contains(" checks"), "{said}");
}

fn node(server: &Server, script: &str) {
    tool(&root().join("target/node/node_modules/redis"), "make clients");
    let script = root().join("tests/clients").join(script);
    let said = run("node", &[script.to_str().unwrap(), &server.port.to_string()], b"");
    println!("clients: {} ({})", said.trim(), server.name);
    assert!(said.contains(" checks"), "{said}");
}

fn ioredis(server: &Server) {
    node(server, "ioredis.mjs");
}

fn node_redis(server: &Server) {
    node(server, "node_redis.mjs");
}

fn redis_rs_resp2(server: &Server) {
    redis_rs(server, "resp2");
}

fn redis_rs_resp3(server: &Server) {
    redis_rs(server, "resp3");
}

fn redis_rs(server: &Server, protocol: &str) {
    use redis::Commands;
    use std::collections::HashMap;
    let client =
        redis::Client::open(format!("redis://127.0.0.1:{}/?protocol={protocol}", server.port)).unwrap();
    let mut c = client.get_connection().unwrap();
    let _: () = c.set("k", "v").unwrap();
    assert_eq!(c.get::<_, String>("k").unwrap(), "v");
    assert_eq!(c.get::<_, Option<String>>("nokey").unwrap(), None);
    let _: () = c.hset_multiple("h", &[("a", 1), ("b", 2)]).unwrap();
    assert_eq!(c.hgetall::<_, HashMap<String, i64>>("h").unwrap()["b"], 2);
    let _: () = c.zadd("z", "m", 2.5).unwrap();
    assert_eq!(c.zscore::<_, _, f64>("z", "m").unwrap(), 2.5);
    assert_eq!(c.zrange_withscores::<_, Vec<(String, f64)>>("z", 0, -1).unwrap(), [("m".to_string(), 2.5)]);
    assert_eq!(c.rpush::<_, _, i64>("l", &[1, 2, 3]).unwrap(), 3);
    assert_eq!(c.lrange::<_, Vec<i64>>("l", 0, -1).unwrap(), [1, 2, 3]);
    let (first, second): (i64, i64) =
        redis::pipe().atomic().incr("n", 1).incr("n", 41).query(&mut c).unwrap();
    assert_eq!((first, second), (1, 42));
    let raised: (i64,) = redis::transaction(&mut c, &["n"], |c, pipe| {
        let n: i64 = c.get("n")?;
        pipe.set("n", n * 2).ignore().get("n").query(c)
    })
    .unwrap();
    assert_eq!(raised, (84,));
    let script = redis::Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
    assert_eq!(script.key("n").arg(6).invoke::<i64>(&mut c).unwrap(), 90);
    let error = c.lpush::<_, _, i64>("n", 1).unwrap_err();
    assert_eq!(error.code(), Some("WRONGTYPE"));
    for n in 0..40 {
        let _: () = c.set(format!("scan:{n}"), n).unwrap();
    }
    assert_eq!(c.scan_match::<_, String>("scan:*").unwrap().count(), 40);

    let mut listener = client.get_connection().unwrap();
    let mut pubsub = listener.as_pubsub();
    pubsub.subscribe("c").unwrap();
    assert_eq!(c.publish::<_, _, i64>("c", "hi").unwrap(), 1);
    assert_eq!(pubsub.get_message().unwrap().get_payload::<String>().unwrap(), "hi");
}

fn redis_rs_async(server: &Server) {
    use redis::AsyncCommands;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}/", server.port)).unwrap();
        let c = client.get_multiplexed_async_connection().await.unwrap();
        let tasks = (0..50).map(|n| {
            let mut c = c.clone();
            tokio::spawn(async move {
                let _: () = c.set(format!("k{n}"), n).await.unwrap();
                c.get::<_, i64>(format!("k{n}")).await.unwrap()
            })
        });
        let mut sum = 0;
        for task in tasks.collect::<Vec<_>>() {
            sum += task.await.unwrap();
        }
        assert_eq!(sum, (0..50).sum::<i64>());
    });
}

fn cli_replies(server: &Server) {
    assert_eq!(cli(server, &["SET", "k", "v"]), "OK\n");
    assert_eq!(cli(server, &["--no-raw", "GET", "k"]), "\"v\"\n");
    assert_eq!(cli(server, &["--no-raw", "GET", "nokey"]), "(nil)\n");
    assert_eq!(cli(server, &["--no-raw", "RPUSH", "l", "a", "b"]), "(integer) 2\n");
    assert_eq!(cli(server, &["--no-raw", "LRANGE", "l", "0", "-1"]), "1) \"a\"\n2) \"b\"\n");
    assert_eq!(cli(server, &["-3", "--no-raw", "CONFIG", "GET", "maxmemory"]), "1# \"maxmemory\" => \"0\"\n");
    assert_eq!(cli(server, &["-n", "3", "DBSIZE"]), "0\n");
    assert_eq!(cli_with(server, &["-x", "SET", "input"], b"from stdin"), "OK\n");
    assert_eq!(cli(server, &["GET", "input"]), "from stdin\n");
    assert!(cli(server, &["INFO", "server"]).contains("redis_version:8.2."));
    let session = cli_with(server, &[], b"MULTI\nINCR n\nEXEC\nEVAL \"return 7\" 0\nPING\n");
    assert_eq!(session, "OK\nQUEUED\n1\n7\nPONG\n");
    assert_eq!(cli(server, &["--json", "LRANGE", "l", "0", "-1"]), "[\"a\",\"b\"]\n");
    assert_eq!(cli(server, &["-r", "3", "INCR", "times"]), "1\n2\n3\n");
    let file = server.dir.path().join("script.lua");
    std::fs::write(&file, "return {KEYS[1], ARGV[1]}").unwrap();
    assert_eq!(cli(server, &["--eval", file.to_str().unwrap(), "key", ",", "arg"]), "key\narg\n");
}

fn cli_pipe(server: &Server) {
    let commands = (0..20_000).flat_map(|n| resp::encode(&["SET".into(), format!("key:{n}"), n.to_string()]));
    let said = cli_with(server, &["--pipe"], &commands.collect::<Vec<_>>());
    assert!(said.contains("errors: 0, replies: 20000"), "{said}");
    assert_eq!(cli(server, &["DBSIZE"]), "20000\n");
}

fn fill(server: &Server) {
    let mut c = server.connect();
    for n in 0..500 {
        c.cmd(&format!("SET str:{n} {n}"));
    }
    for n in 0..50 {
        c.cmd(&format!("RPUSH biglist {n}"));
        c.cmd(&format!("HSET bighash f{n} {n}"));
    }
    c.cmd("SADD aset x");
    c.cmd("ZADD azset 1 x");
    c.cmd("XADD astream 1-1 a 1");
}

fn cli_scan(server: &Server) {
    fill(server);
    assert_eq!(cli(server, &["--scan"]).lines().count(), 505);
    assert_eq!(cli(server, &["--scan", "--pattern", "str:*"]).lines().count(), 500);
}

fn cli_bigkeys(server: &Server) {
    fill(server);
    let said = cli(server, &["--bigkeys"]);
    assert!(said.contains("Sampled 505 keys in the keyspace!"), "{said}");
    assert!(said.contains("list found '\"biglist\"' has 50 items"), "{said}");
    let said = cli(server, &["--memkeys"]);
    assert!(said.contains("Sampled 505 keys in the keyspace!"), "{said}");
}

fn cli_latency(server: &Server) {
    let port = server.port.to_string();
    let said = run("sh", &["-c", &format!("timeout 5 redis-cli -p {port} --raw -i 1 --latency")], b"");
    // min max avg samples
    assert_eq!(said.split_whitespace().count(), 4, "{said}");
    let said =
        run("sh", &["-c", &format!("timeout 3 stdbuf -oL redis-cli -p {port} --stat -i 1 || true")], b"");
    assert!(said.contains("keys") && said.lines().count() >= 2, "{said}");
}

fn cli_monitor(server: &Server) {
    let port = server.port.to_string();
    let script = format!(
        "timeout 2 redis-cli -p {port} MONITOR > mon.txt & sleep 0.7; redis-cli -p {port} SET seen 1; wait; cat mon.txt"
    );
    let said = run("sh", &["-c", &format!("cd {} && ({script}) || true", server.dir.path().display())], b"");
    assert!(said.contains("\"SET\" \"seen\" \"1\""), "{said}");
}

fn cli_hints(server: &Server) {
    // What redis-cli builds its hints from.
    let said = cli(server, &["-3", "--no-raw", "COMMAND", "DOCS", "set"]);
    for word in ["summary", "since", "group", "string", "arguments", "KEEPTTL"] {
        assert!(said.contains(word), "{word} is missing: {said}");
    }
    let help = cli(server, &["HELP"]);
    assert!(!help.contains("ERR"), "{help}");
}

fn cli_rdb(server: &Server) {
    fill(server);
    let file = server.dir.path().join("copy.rdb");
    cli(server, &["--rdb", file.to_str().unwrap()]);
    assert!(std::fs::read(&file).unwrap().starts_with(b"REDIS00"));
}

fn benchmark(server: &Server) {
    let port = server.port.to_string();
    let wanted = "PING_INLINE PING_MBULK SET GET INCR LPUSH RPUSH LPOP RPOP SADD HSET SPOP ZADD ZPOPMIN LRANGE_100 \
                  LRANGE_300 LRANGE_500 LRANGE_600 MSET";
    for depth in ["1", "16"] {
        let said = run("redis-benchmark", &["-p", &port, "-q", "-n", "2000", "-c", "20", "-P", depth], b"");
        for name in wanted.split_whitespace() {
            assert!(said.contains(name), "{name} is missing: {said}");
        }
        assert!(!said.contains("rror"), "{said}");
    }
}
