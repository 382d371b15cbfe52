//! Which few commands show a fault? The history of its epoch with everything taken out that can go.
//!
//! First only the commands that share an argument with the failing one are tried, then chunks are removed, halving
//! the chunk each round (ddmin: Zeller and Hildebrandt, 2002). Every attempt starts from an empty keyspace.

use super::super::server::Server;
use super::generate::Step;
use super::{Answers, Options, Pair, command_of, signature};
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// How long one fault may take to shrink.
const LIMIT: Duration = Duration::from_secs(15);

/// The fewest steps found that end in a fault of this signature, and its answers; `None` if it does not recur.
pub fn shrink(
    real: &Server,
    ours: &mut Server,
    options: &Options,
    history: &[Step],
    protocol: u8,
    wanted: &str,
) -> Option<(Vec<Step>, Answers)> {
    let deadline = Instant::now() + LIMIT;
    let mut replay = |steps: &[Step]| {
        if !ours.is_running() {
            *ours = options.start();
        }
        replay(real, ours, steps, protocol, wanted)
    };
    let related = related(history);
    let mut best = match replay(&related) {
        Some(answers) => (related, answers),
        None => (history.to_vec(), replay(history)?),
    };
    let mut chunk = best.0.len() / 2;
    while chunk > 0 {
        let mut at = 0;
        while at + 1 < best.0.len() && Instant::now() < deadline {
            let mut fewer = best.0.clone();
            let end = (at + chunk).min(fewer.len() - 1);
            fewer.drain(at..end);
            match replay(&fewer) {
                Some(answers) => best = (fewer, answers),
                None => at += chunk,
            }
        }
        chunk /= 2;
    }
    Some(best)
}

/// The commands that share a key with the last one, or with one that does, before it.
fn related(history: &[Step]) -> Vec<Step> {
    let (last, before) = history.split_last().expect("a fault has a command");
    let Some(args) = command_of(last) else { return history.to_vec() };
    let is_key = |arg: &&Vec<u8>| arg.contains(&b':') && arg.len() < 12;
    let mut keys: HashSet<&Vec<u8>> = args.iter().skip(1).filter(is_key).collect();
    let mut kept: Vec<Step> = vec![last.clone()];
    for step in before.iter().rev() {
        let Step::Command(args) = step else {
            kept.push(step.clone());
            continue;
        };
        let named: Vec<_> = args.iter().skip(1).filter(is_key).collect();
        if named.iter().any(|key| keys.contains(key)) {
            keys.extend(named);
            kept.push(step.clone());
        }
    }
    kept.reverse();
    kept
}

/// Runs the steps on empty servers; the last command's answers if they show the wanted fault.
fn replay(real: &Server, ours: &Server, steps: &[Step], protocol: u8, wanted: &str) -> Option<Answers> {
    let mut pair = Pair::fresh(real, ours, protocol).ok()?;
    let mut last = None;
    for batch in steps.split_inclusive(|s| matches!(s, Step::Sleep(_))) {
        let commands: Vec<_> = batch.iter().filter_map(command_of).cloned().collect();
        let mut answers = pair.run(&commands);
        let complete = answers.len() == commands.len();
        last = answers.pop().zip(commands.get(answers.len()).cloned());
        if !complete {
            break;
        }
        if let Some(Step::Sleep(ms)) = batch.last() {
            std::thread::sleep(Duration::from_millis(*ms));
        }
    }
    let (answers, args) = last?;
    let fault = !pair.agrees(steps, &answers);
    (fault && signature(&args, &answers) == wanted).then_some(answers)
}
