//! Does Peregrine answer as Redis does, whatever it is asked? Both run the same seeded commands in lockstep.
//!
//! - An epoch is up to `EPOCH` commands on one connection, RESP2 and RESP3 by turns, from an empty keyspace. At its
//!   end the whole logical state is compared, and `DEBUG DIGEST`.
//! - A difference is shrunk to the fewest commands that show it, then the run goes on from an empty keyspace, so
//!   that one run reports many different faults; each command's fault is reported once.
//! - Everything follows from `SEED`; `tests/README.md` lists the knobs.

pub mod generate;
pub mod grammar;
pub mod normalise;
pub mod order;
pub mod rows;
pub mod shrink;
pub mod state;
pub mod values;

use super::client::Client;
use super::resp::{Reply, Value};
use super::rng::env_number;
use super::server::Server;
use super::text;
use generate::{Generator, Step, families};
use normalise::Verdict;
use std::collections::BTreeMap;
use std::io;

/// Commands between two empty keyspaces.
const EPOCH: usize = 1500;
/// Different faults after which a run stops.
const ENOUGH: usize = 40;

/// A pair of connections, one to each server.
pub struct Pair {
    /// To the real server.
    pub real: Client,
    /// To Peregrine.
    pub ours: Client,
    /// The commands queued since MULTI; their rules apply to the items of EXEC's reply.
    queued: Option<Vec<Vec<Vec<u8>>>>,
}

/// What one command was answered on both sides.
pub struct Answers {
    /// By the real server.
    pub real: Reply,
    /// By Peregrine, or why there is no answer.
    pub ours: io::Result<Reply>,
    /// How they compare.
    pub verdict: Verdict,
    /// The command.
    pub args: Vec<Vec<u8>>,
}

impl Pair {
    /// Connects to both, speaking this version of the protocol, with an empty keyspace.
    pub fn fresh(real: &Server, ours: &Server, protocol: u8) -> io::Result<Pair> {
        let mut pair = Pair { real: real.connect(), ours: Client::connect(ours.port)?, queued: None };
        let version = protocol.to_string();
        let hello: &[&str] = if protocol == 3 { &["HELLO", &version] } else { &["PING"] };
        for args in [hello, &["FLUSHALL"], &["SCRIPT", "FLUSH"], &["FUNCTION", "FLUSH"]] {
            pair.real.try_call(args)?;
            let reply = pair.ours.try_call(args)?;
            assert!(
                args != ["FLUSHALL"] || !reply.is_error(),
                "without FLUSHALL nothing can be compared: {reply:?}"
            );
        }
        Ok(pair)
    }

    /// Runs commands as one pipeline on both.
    pub fn run(&mut self, commands: &[Vec<Vec<u8>>]) -> Vec<Answers> {
        let bytes: Vec<u8> = commands.iter().flat_map(|c| super::resp::encode(c)).collect();
        self.real.send_raw(&bytes).expect("the oracle takes commands");
        let sent = self.ours.send_raw(&bytes);
        let mut answers = Vec::with_capacity(commands.len());
        for args in commands {
            let real = self.real.read().unwrap_or_else(|e| {
                let asked: Vec<_> = commands.iter().map(|c| text::command(c)).collect();
                panic!("the oracle: {e}, asked {}, in:\n{}", text::command(args), asked.join("\n"))
            });
            let ours = match &sent {
                Ok(()) => self.ours.read(),
                Err(e) => Err(io::Error::new(e.kind(), e.to_string())),
            };
            let verdict = match &ours {
                Ok(ours) => self.judge(args, &real, ours),
                Err(_) => Verdict::Different,
            };
            let broken = ours.is_err();
            answers.push(Answers { real, ours, verdict, args: args.clone() });
            if broken {
                break;
            }
        }
        answers
    }

    fn judge(&mut self, args: &[Vec<u8>], real: &Reply, ours: &Reply) -> Verdict {
        let is = |name: &str| args[0].eq_ignore_ascii_case(name.as_bytes());
        if is("EXEC") {
            let queued = self.queued.take().unwrap_or_default();
            if let (Value::Array(a), Value::Array(b)) = (&real.value, &ours.value)
                && a.len() == b.len()
                && a.len() == queued.len()
            {
                let verdicts =
                    a.iter().zip(b).zip(&queued).map(|((a, b), c)| normalise::compare_values(c, a, b));
                let worst = verdicts.max_by_key(|v| *v as u8).unwrap_or(Verdict::Same);
                // What was hashed inside may be gone after the EXEC: an order in it is not judged.
                return if worst == Verdict::OrderOnly { Verdict::Same } else { worst };
            }
        } else if real.raw == b"+QUEUED\r\n" {
            self.queued.get_or_insert_default().push(args.to_vec());
        } else if (is("MULTI") || is("DISCARD")) && !real.value.is_error() {
            self.queued = None;
        }
        match real.raw == ours.raw {
            true => Verdict::Same,
            false => normalise::compare_values(args, &real.value, &ours.value),
        }
    }

    /// Whether the answers agree, an order that is open included; `history` ends with the command.
    pub fn agrees(&mut self, history: &[Step], answers: &Answers) -> bool {
        match answers.verdict {
            Verdict::Same => true,
            Verdict::OrderOnly => order::is_open(self, history, answers),
            Verdict::Different => false,
        }
    }
}

/// What a run is asked for.
pub struct Options {
    /// The seed of everything.
    pub seed: u64,
    /// How many commands.
    pub commands: usize,
    /// Directives for both servers.
    pub directives: Vec<&'static str>,
    /// Peregrine's I/O threads.
    pub threads: &'static str,
}

impl Options {
    /// From the environment: `SEED`, `COMMANDS`.
    pub fn from_env(commands: u64, threads: &'static str, directives: &[&'static str]) -> Options {
        Options {
            threads,
            seed: env_number("SEED", 1),
            commands: env_number("COMMANDS", commands) as usize,
            directives: [directives, &["--enable-debug-command", "yes"]].concat(),
        }
    }
}

impl Options {
    /// Peregrine with what is asked for.
    pub fn start(&self) -> Server {
        Server::peregrine(&[&self.directives[..], &["--io-threads", self.threads]].concat())
    }
}

/// The name in `FAMILIES` of what is made from the table.
const TABLE: &str = "table";

/// The families that `FAMILIES` names (comma separated), or all.
pub fn selected_families() -> Vec<grammar::Family> {
    let Ok(wanted) = std::env::var("FAMILIES") else { return families() };
    let known: Vec<_> = families().iter().map(|f| f.name).chain([TABLE]).collect();
    for name in wanted.split(',') {
        assert!(known.contains(&name), "FAMILIES names {name:?}; there are {}", known.join(" "));
    }
    families().into_iter().filter(|f| wanted.split(',').any(|w| w == f.name)).collect()
}

/// The commands of the table that are sent, if all families are or `FAMILIES` names the table.
fn selected_rows() -> Vec<rows::Row> {
    let wanted = std::env::var("FAMILIES").map_or(true, |names| names.split(',').any(|name| name == TABLE));
    // Transactions are begun and ended by the generator, which must know whether one is open.
    let own = |row: &rows::Row| ["multi", "exec", "discard"].contains(&row.words[0].as_str());
    rows::all().into_iter().filter(|row| wanted && row.is_sent() && !own(row)).collect()
}

/// The state of one run.
pub struct Run {
    real: Server,
    ours: Server,
    options: Options,
    generator: Generator,
    faults: BTreeMap<String, (usize, String)>,
    done: usize,
}

/// Runs a campaign and stops the test if it found a fault.
pub fn campaign(options: Options) {
    let ours = options.start();
    let real = Server::oracle(&options.directives);
    let (families, missing) = known_families(&ours);
    let seed = options.seed;
    let (commands, threads, directives) = (options.commands, options.threads, options.directives.join(" "));
    println!("differential: SEED={seed} COMMANDS={commands} threads {threads} {directives}");
    let generator = Generator::new(seed, families, selected_rows());
    let mut run = Run { real, ours, options, generator, faults: BTreeMap::new(), done: 0 };
    let mut protocol = 2;
    while run.done < run.options.commands && run.faults.len() < ENOUGH {
        run.epoch(protocol);
        protocol = 5 - protocol;
    }
    for (count, report) in run.faults.values() {
        println!("--- {count} times\n{report}");
    }
    println!("differential: {} commands, {} different faults (SEED={seed})", run.done, run.faults.len());
    assert!(missing.is_empty(), "Peregrine does not know {}", missing.join(" "));
    assert!(run.faults.is_empty(), "{} faults, printed above", run.faults.len());
}

/// The selected families without the commands that Peregrine does not know yet, and the names of those.
fn known_families(ours: &Server) -> (Vec<grammar::Family>, Vec<String>) {
    let mut client = ours.connect();
    let mut missing = Vec::new();
    let mut families = selected_families();
    for family in &mut families {
        family.templates.retain(|template| {
            let reply = client.call(&[template.name()]);
            let known = !reply.text().starts_with("ERR unknown command");
            if !known && !missing.contains(&template.name()) {
                missing.push(template.name());
            }
            known
        });
    }
    families.retain(|f| !f.templates.is_empty());
    (families, missing)
}

impl Run {
    /// Commands from an empty keyspace until the epoch is over or a fault spoils it.
    fn epoch(&mut self, protocol: u8) {
        let mut pair = self.connect(protocol);
        self.generator.reconnected();
        let mut history: Vec<Step> = Vec::new();
        while history.len() < EPOCH && self.done < self.options.commands {
            let size = 1 + self.generator.rng().below(32);
            let mut steps = Vec::new();
            while steps.len() < size {
                steps.extend(self.generator.next());
            }
            for batch in steps.split_inclusive(|s| matches!(s, Step::Sleep(_))) {
                let commands: Vec<_> = batch.iter().filter_map(command_of).cloned().collect();
                self.done += commands.len();
                let answers = pair.run(&commands);
                let start = history.len();
                history.extend(batch.iter().cloned());
                for (n, answer) in answers.into_iter().enumerate() {
                    let settled = pair.agrees(&history[..=start + n], &answer);
                    let both_errors = answer.real.value.is_error()
                        && answer.ours.as_ref().is_ok_and(|r| r.value.is_error());
                    if settled {
                        continue;
                    }
                    let known = self.report(&history[..=start + n], answer, protocol);
                    if !(known && both_errors) {
                        return;
                    }
                }
                if let Some(Step::Sleep(ms)) = batch.last() {
                    std::thread::sleep(std::time::Duration::from_millis(*ms));
                }
            }
        }
        // Leave a transaction that the epoch's end cut short, and come back to the first database.
        for step in ["DISCARD", "SELECT 0"].map(Step::words) {
            pair.run(&command_of(&step).cloned().into_iter().collect::<Vec<_>>());
            history.push(step);
        }
        if let Some((check, answer)) = state::compare(&mut pair, &history) {
            history.extend(check.into_iter().map(Step::Command));
            self.report(&history, answer, protocol);
        }
    }

    fn connect(&mut self, protocol: u8) -> Pair {
        if !self.ours.is_running() {
            self.ours = self.options.start();
        }
        Pair::fresh(&self.real, &self.ours, protocol).expect("Peregrine takes connections")
    }

    /// Notes a fault; true if it was known already. A new one is shrunk, which empties both servers.
    fn report(&mut self, history: &[Step], answer: Answers, protocol: u8) -> bool {
        let Some(Step::Command(args)) = history.last() else { return true };
        let signature = signature(args, &answer);
        if let Some((count, _)) = self.faults.get_mut(&signature) {
            *count += 1;
            return true;
        }
        let alive = self.ours.is_running();
        let log =
            if alive { String::new() } else { format!("\nPeregrine died; its log:\n{}", self.ours.log()) };
        if !alive {
            self.ours = self.options.start();
        }
        let shrunk = shrink::shrink(&self.real, &mut self.ours, &self.options, history, protocol, &signature);
        let Some((steps, answer)) = shrunk.or_else(|| {
            // Only the order differed and a slow replay shows that it may: no fault.
            (answer.verdict != Verdict::OrderOnly).then(|| (history.to_vec(), answer))
        }) else {
            return false;
        };
        let report = describe(&steps, &answer, protocol) + &log;
        println!("fault {}: {report}", self.faults.len() + 1);
        self.faults.insert(signature, (1, report));
        false
    }
}

/// The command of a step.
pub fn command_of(step: &Step) -> Option<&Vec<Vec<u8>>> {
    match step {
        Step::Command(args) => Some(args),
        Step::Sleep(_) => None,
    }
}

/// What makes two faults the same fault: the command and the kinds of the two answers.
pub fn signature(args: &[Vec<u8>], answer: &Answers) -> String {
    let name = String::from_utf8_lossy(&args[0]).to_uppercase();
    let kind = |v: &Value| match v {
        // The first word and the rest of an error, without what it quotes.
        Value::Error(e) => {
            let end = e.iter().position(|b| *b == b'\'').unwrap_or(e.len()).min(50);
            String::from_utf8_lossy(&e[..end]).into_owned()
        }
        other => text::tokens(other).first().map_or(String::new(), |t| t.chars().take(1).collect()),
    };
    let ours = answer.ours.as_ref().map_or("nothing".into(), |r| kind(&r.value));
    format!("{name} {} / {ours}", kind(&answer.real.value))
}

fn describe(steps: &[Step], answer: &Answers, protocol: u8) -> String {
    let mut out = format!("RESP{protocol}, {} commands:\n", steps.len());
    for step in &steps[steps.len().saturating_sub(40)..] {
        out += &match step {
            Step::Command(args) => format!("  > {}\n", short(text::command(args))),
            Step::Sleep(ms) => format!("  (sleep {ms} ms)\n"),
        };
    }
    let ours = match &answer.ours {
        Ok(reply) => short(text::render(&reply.value)),
        Err(e) => format!("({e})"),
    };
    out + &format!("  redis:     {}\n  peregrine: {ours}\n", short(text::render(&answer.real.value)))
}

fn short(line: String) -> String {
    match line.char_indices().nth(1000) {
        Some((end, _)) => format!("{}... ({} bytes)", &line[..end], line.len()),
        None => line,
    }
}
