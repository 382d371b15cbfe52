//! What does the fuzzer try next? Commands are added, taken away and swapped, their arguments replaced by values at
//! which things break, so that few inputs are wasted on what no command of the table looks like.

use std::cell::RefCell;

use crate::requests::{self, MOST, Words};
use crate::support::differential::generate::{Generator, Step, families};
use crate::support::differential::rows;
use crate::support::differential::values::{FLOAT_EDGES, INTEGER_EDGES};
use crate::support::rng::Rng;

thread_local! {
    /// Its grammars are read once.
    static GENERATOR: RefCell<Generator> = RefCell::new(Generator::new(0, families(), rows::all()));
}

/// A mutation of the commands in `data[..size]`, written back; its length. `bytes` mutates bytes.
pub fn commands(
    data: &mut [u8],
    size: usize,
    most: usize,
    seed: u32,
    bytes: impl Fn(&mut [u8], usize, usize) -> usize,
) -> usize {
    let mut rng = Rng::new(u64::from(seed));
    let mut commands = requests::read(&data[..size]);
    if commands.is_empty() || rng.chance(10) {
        return bytes(data, size, most);
    }
    for _ in 0..1 + rng.below(3) {
        change(&mut commands, &mut rng, &bytes);
    }
    let text = requests::write(&commands);
    if text.is_empty() || text.len() > most {
        return bytes(data, size, most);
    }
    data[..text.len()].copy_from_slice(&text);
    text.len()
}

fn change(commands: &mut Vec<Words>, rng: &mut Rng, bytes: &impl Fn(&mut [u8], usize, usize) -> usize) {
    let at = rng.below(commands.len().max(1));
    match rng.below(12) {
        0..4 if commands.len() < MOST => {
            let at = rng.below(commands.len() + 1);
            commands.splice(at..at, made(rng));
        }
        4 if commands.len() > 1 => drop(commands.remove(at)),
        5 => {
            let other = rng.below(commands.len().max(1));
            commands.swap(at, other);
        }
        6 if commands.len() < MOST => commands.insert(at, commands[at].clone()),
        7 => {
            // The same arguments, for a command that they are not meant for.
            if let Some(Step::Command(other)) = made(rng).first().cloned().map(Step::Command) {
                commands[at][0].clone_from(&other[0]);
            }
        }
        _ => argument(commands, at, rng, bytes),
    }
}

/// New commands, from the table or the families.
fn made(rng: &mut Rng) -> Vec<Words> {
    GENERATOR.with_borrow_mut(|generator| {
        *generator.rng() = rng.clone();
        let steps = generator.next();
        *rng = generator.rng().clone();
        steps
            .into_iter()
            .filter_map(|step| if let Step::Command(words) = step { Some(words) } else { None })
            .collect()
    })
}

/// Changes an argument of one command.
fn argument(
    commands: &mut [Words],
    at: usize,
    rng: &mut Rng,
    bytes: &impl Fn(&mut [u8], usize, usize) -> usize,
) {
    let donor = commands[rng.below(commands.len())].clone();
    let words = &mut commands[at];
    let which = rng.below(words.len());
    match rng.below(8) {
        0 | 1 => words[which] = rng.pick(&INTEGER_EDGES).as_bytes().to_vec(),
        2 => words[which] = rng.pick(&FLOAT_EDGES).as_bytes().to_vec(),
        3 => words[which] = rng.pick(&donor).clone(),
        4 => words.insert(which + 1, rng.pick(&donor).clone()),
        5 if words.len() > 1 => drop(words.remove(which)),
        6 => words[which] = words[which].repeat(1 + rng.below(40)),
        _ => {
            let mut room = words[which].clone();
            let (size, most) = (room.len(), room.len() * 2 + 8);
            room.resize(most, 0);
            let size = bytes(&mut room, size, most);
            room.truncate(size);
            words[which] = room;
        }
    }
}

/// A mutation of what a seed shows as text in double quotes: the bytes themselves, from here on.
pub fn unquoted(
    data: &mut [u8],
    size: usize,
    most: usize,
    bytes: impl Fn(&mut [u8], usize, usize) -> usize,
) -> usize {
    let plain = crate::seeds::binary(&data[..size]);
    let size = plain.len().min(most);
    data[..size].copy_from_slice(&plain[..size]);
    bytes(data, size, most)
}
