//! What does a command cost without a socket? Parsed from bytes, looked up, run and answered, as a batch is.
//!
//! `cargo bench --bench commands`; `-- --quick` for a first look. The group `threads` runs the same on one and two
//! threads at once, over keys of their own, keys that all use, and one key: the ratio is the price of sharing.

#![allow(missing_docs)] // criterion_group makes public functions
#![allow(clippy::expect_used)]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use peregrine::client::Session;
use peregrine::client::registry::Client;
use peregrine::config::cmdline::Invocation;
use peregrine::config::file;
use peregrine::dispatch::call;
use peregrine::dispatch::core::Core;
use peregrine::dispatch::worker::Worker;
use peregrine::resp::reply::{Proto, Reply};
use peregrine::resp::request;
use peregrine::server::{Server, logging};
use peregrine::util::rng::Rng;

/// Keys that are there.
const KEYS: u64 = 100_000;

/// A server that is not started: its parts, and no ports.
fn core(threads: usize) -> Arc<Core> {
    let args = ["--port", "0", "--save", "", "--loglevel", "nothing", "--io-threads"];
    let mut args: Vec<_> = args.iter().map(std::ffi::OsString::from).collect();
    args.push(threads.to_string().into());
    let Invocation::Serve(command) = Invocation::parse(&args) else {
        unreachable!("settings and nothing else")
    };
    let loaded = file::load(&command, &mut std::io::empty(), &std::env::temp_dir()).expect("settings");
    let log = logging::start(&loaded.config).expect("a log");
    let core = Server::new(loaded, log).expect("a server").core();
    core.loading.store(false, Ordering::Release);
    core
}

/// One client of one thread.
struct Caller {
    core: Arc<Core>,
    worker: Worker,
    session: Session,
    out: Vec<u8>,
    chance: Rng,
}

impl Caller {
    fn new(core: &Arc<Core>, thread: usize) -> Caller {
        let worker = Worker::new(thread, core, Rng::from_os().expect("randomness"));
        let client =
            Arc::new(Client::new(core.clients.next_id(), thread, "bench:1".into(), String::new(), -1, 0));
        core.clients.add(client.clone());
        let session = Session::new(client, core.acl.first_login(), true);
        let chance = Rng::from_os().expect("randomness");
        Caller { core: core.clone(), worker, session, out: Vec::new(), chance }
    }

    /// Runs one request, given as it comes from a socket.
    fn run(&mut self, request: &[u8]) {
        let mut argv = Vec::with_capacity(8);
        request::quick(request, &mut argv).expect("a request");
        self.out.clear();
        let mut out = Reply::new(&mut self.out, Proto::Resp2);
        call::run(&self.core, &mut self.worker, &mut self.session, &argv, None, &mut out);
        assert!(!self.out.starts_with(b"-"), "{}", String::from_utf8_lossy(&self.out));
    }

    /// Twelve digits of a key.
    fn digits(&mut self) -> String {
        format!("{:012}", self.chance.next_u64() % KEYS)
    }
}

/// A request; `#` in an argument becomes twelve digits.
fn encode(command: &str, digits: &str) -> Vec<u8> {
    let words: Vec<String> = command.split(' ').map(|word| word.replace('#', digits)).collect();
    let mut text = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        text.extend(format!("${}\r\n{word}\r\n", word.len()).bytes());
    }
    text
}

const COMMANDS: &[(&str, &str)] = &[
    ("get", "GET key:#"),
    ("set", "SET key:# xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
    ("incr", "INCR counter:#"),
    ("lpush", "LPUSH list element-#"),
    ("hset", "HSET hash field:# value"),
    ("sadd", "SADD set member:#"),
    ("zadd", "ZADD zset # member:#"),
    ("xadd", "XADD stream MAXLEN ~ 100000 * user 42 temp 21"),
    ("expire", "EXPIRE key:# 1000"),
    ("hgetall-25", "HGETALL hash-25"),
    ("lrange-100", "LRANGE list-100 0 99"),
    ("zrange-byscore", "ZRANGE zset # +inf BYSCORE LIMIT 0 10"),
    ("eval", "EVAL return(redis.call('incrby',KEYS[1],ARGV[1])) 1 counter:# 1"),
];

fn fill(caller: &mut Caller) {
    for i in 0..KEYS {
        let digits = format!("{i:012}");
        for command in ["SET key:# xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "ZADD zset # member:#"] {
            caller.run(&encode(command, &digits));
        }
    }
    for i in 0..100 {
        caller.run(&encode("RPUSH list-100 element-#", &format!("{i:012}")));
    }
    for i in 0..25 {
        caller.run(&encode("HSET hash-25 field-# value-#", &format!("{i:012}")));
    }
}

/// One server for all: its log can be started once.
fn all(c: &mut Criterion) {
    let core = core(2);
    let mut caller = Caller::new(&core, 0);
    fill(&mut caller);
    commands(c, &mut caller);
    threads(c, &core);
}

fn commands(c: &mut Criterion, caller: &mut Caller) {
    let mut group = c.benchmark_group("command");
    group.throughput(Throughput::Elements(1));
    for (name, command) in COMMANDS {
        let requests: Vec<_> = (0..4096).map(|_| encode(command, &caller.digits())).collect();
        let mut next = requests.iter().cycle();
        group.bench_function(*name, |b| b.iter(|| caller.run(next.next().expect("a cycle"))));
    }
    group.finish();
}

/// Runs `rounds` requests on each of `threads` threads at once; returns the time until the last is done.
fn together(
    core: &Arc<Core>,
    threads: usize,
    rounds: u64,
    request: impl Fn(usize, u64) -> Vec<u8> + Sync,
) -> Duration {
    let start = std::sync::Barrier::new(threads + 1);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (start, request) = (&start, &request);
            scope.spawn(move || {
                let mut caller = Caller::new(core, thread);
                let requests: Vec<_> = (0..4096).map(|i| request(thread, i)).collect();
                start.wait();
                for request in requests.iter().cycle().take(rounds as usize) {
                    caller.run(request);
                }
                start.wait();
            });
        }
        start.wait();
        let began = Instant::now();
        start.wait();
        began.elapsed()
    })
}

fn threads(c: &mut Criterion, core: &Arc<Core>) {
    let mut group = c.benchmark_group("threads");
    group.throughput(Throughput::Elements(1)).sample_size(10);
    let mixed = |i: u64| (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) % KEYS;
    for n in [1, 2] {
        for (name, key) in [
            (
                "own keys",
                &(|thread: usize, i: u64| format!("{:012}", mixed(i) / 2 * 2 + thread as u64))
                    as &(dyn Fn(usize, u64) -> String + Sync),
            ),
            ("shared keys", &|thread: usize, i: u64| format!("{:012}", mixed(i + 77 * thread as u64))),
            ("one key", &|_: usize, _: u64| "000000000000".to_owned()),
        ] {
            group.bench_function(format!("incr, {name}, {n}"), |b| {
                b.iter_custom(|rounds| {
                    together(core, n, rounds, |t, i| encode("INCR counter:#", &key(t, i)))
                });
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = all
}
criterion_main!(benches);
