//! Where do histories come from? From many connections that append and read at once, in every form of a unit.
//!
//! Forms: one command, a pipeline of commands, MULTI and EXEC, a script with declared keys, a script that builds its
//! keys from arguments (which Peregrine must run alone). Half of the keys share a hash tag, and so a shard.

use super::super::client::Client;
use super::super::resp::Value;
use super::super::rng::Rng;
use super::super::server::Server;
use super::{Element, Op, Unit};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const KEYS: usize = 6;

/// What a unit will do.
#[derive(Clone, Copy, Debug)]
enum Plan {
    Append(usize, Element),
    Read(usize),
}

/// The name of a key: the first three are apart, the others together.
pub fn name(key: usize) -> String {
    if key < 3 { format!("list:{key}") } else { format!("{{tag}}:{key}") }
}

/// Does `op, key, element` in ARGV, one after the other; keys come from KEYS if there are any.
const SCRIPT: &str = "local out = {} for i = 1, #ARGV, 3 do local key = KEYS[(i + 2) / 3] or ARGV[i + 1] \
    if ARGV[i] == 'a' then out[#out + 1] = redis.call('RPUSH', key, ARGV[i + 2]) \
    else out[#out + 1] = redis.call('LRANGE', key, 0, -1) end end return out";

/// Runs `connections` connections of `units` units each and gives their history, ended by a read of every key.
pub fn run(server: &Server, connections: usize, units: usize, seed: u64) -> Vec<Unit> {
    let start = Instant::now();
    let history = Mutex::new(Vec::new());
    let elements = AtomicU64::new(1);
    std::thread::scope(|scope| {
        for connection in 0..connections {
            let (history, elements) = (&history, &elements);
            scope.spawn(move || {
                let mut rng = Rng::new(seed.wrapping_mul(1000).wrapping_add(connection as u64));
                let mut worker = Worker { client: server.connect(), connection, start, done: Vec::new() };
                while worker.done.len() < units {
                    worker.unit(&mut rng, elements);
                }
                history.lock().unwrap().extend(worker.done);
            });
        }
    });
    let mut last = Worker { client: server.connect(), connection: connections, start, done: Vec::new() };
    last.transaction(&(0..KEYS).map(Plan::Read).collect::<Vec<_>>());
    let mut history = history.into_inner().unwrap();
    history.extend(last.done);
    history
}

struct Worker {
    client: Client,
    connection: usize,
    start: Instant,
    done: Vec<Unit>,
}

impl Worker {
    fn unit(&mut self, rng: &mut Rng, elements: &AtomicU64) {
        let plans: Vec<Plan> = (0..1 + rng.below(4))
            .map(|_| match rng.chance(55) {
                true => Plan::Append(rng.below(KEYS), elements.fetch_add(1, Ordering::Relaxed)),
                false => Plan::Read(rng.below(KEYS)),
            })
            .collect();
        match rng.below(10) {
            0..=2 => self.pipeline(&plans[..1], "a command"),
            3 => self.pipeline(&plans, "a command of a pipeline"),
            4..=6 => self.transaction(&plans),
            7 | 8 => self.script(&plans, true),
            _ => self.script(&plans, false),
        }
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// Commands sent at once, each a unit of its own.
    fn pipeline(&mut self, plans: &[Plan], form: &'static str) {
        let invoked = self.now();
        let commands: Vec<_> = plans.iter().map(command).collect();
        let replies = self.client.pipeline(&commands).unwrap();
        let completed = self.now();
        for (plan, reply) in plans.iter().zip(replies) {
            let ops = vec![outcome(plan, &reply.value)];
            self.done.push(Unit { connection: self.connection, invoked, completed, ops, form });
        }
    }

    fn transaction(&mut self, plans: &[Plan]) {
        let invoked = self.now();
        let mut commands = vec![vec![b"MULTI".to_vec()]];
        commands.extend(plans.iter().map(command));
        commands.push(vec![b"EXEC".to_vec()]);
        let replies = self.client.pipeline(&commands).unwrap();
        self.finish(invoked, plans, &replies.last().unwrap().value, "MULTI");
    }

    fn script(&mut self, plans: &[Plan], declared: bool) {
        let keys: Vec<String> = plans
            .iter()
            .map(|p| match p {
                Plan::Append(key, _) | Plan::Read(key) => name(*key),
            })
            .collect();
        let mut args = vec!["EVAL".to_string(), SCRIPT.to_string()];
        args.push(if declared { keys.len() } else { 0 }.to_string());
        args.extend(if declared { keys.clone() } else { Vec::new() });
        for (plan, key) in plans.iter().zip(keys) {
            args.extend(match plan {
                Plan::Append(_, element) => ["a".into(), key, element.to_string()],
                Plan::Read(_) => ["r".into(), key, String::new()],
            });
        }
        let invoked = self.now();
        let reply = self.client.call(&args);
        self.finish(
            invoked,
            plans,
            &reply,
            if declared { "a script" } else { "a script with undeclared keys" },
        );
    }

    fn finish(&mut self, invoked: u64, plans: &[Plan], reply: &Value, form: &'static str) {
        let completed = self.now();
        let items = reply.items().unwrap_or_else(|| panic!("{form} was answered {reply:?}"));
        assert_eq!(items.len(), plans.len(), "{form}: {reply:?}");
        let ops = plans.iter().zip(items).map(|(p, v)| outcome(p, v)).collect();
        self.done.push(Unit { connection: self.connection, invoked, completed, ops, form });
    }
}

fn command(plan: &Plan) -> Vec<Vec<u8>> {
    let words = match plan {
        Plan::Append(key, element) => vec!["RPUSH".into(), name(*key), element.to_string()],
        Plan::Read(key) => vec!["LRANGE".into(), name(*key), "0".into(), "-1".into()],
    };
    words.into_iter().map(String::into_bytes).collect()
}

fn outcome(plan: &Plan, reply: &Value) -> Op {
    match (plan, reply) {
        (Plan::Append(key, element), Value::Int(len)) => Op::Append(*key, *element, Some(*len as usize)),
        (Plan::Read(key), Value::Array(items)) => {
            Op::Read(*key, items.iter().map(|v| v.number().unwrap() as Element).collect())
        }
        other => panic!("not the reply of this command: {other:?}"),
    }
}
