//! How is a family's grammar written? One template a line, read here once and expanded at random many times.
//!
//! ```text
//! 3 SET $str $v [ ( NX | XX ) ] [ GET ]      weight 3 (default 1); $class; [ optional ]; ( one | of )
//! SADD $set { $m }                           { one to four times }
//! ZUNION #{ $zset } [ WEIGHTS @{ $float } ]  #{ count, then that many }; @{ as many again }
//! ```
//! Words are read by `text::split`, so `"quoted words"` and `<x*600>` work. `%` starts a comment line.

use super::super::rng::Rng;
use super::super::text;

/// A piece of a template.
#[derive(Clone, Debug)]
pub enum Piece {
    /// A word sent as it is.
    Word(Vec<u8>),
    /// A value drawn from a named class.
    Class(String),
    /// Present half of the time.
    Optional(Vec<Piece>),
    /// One of the alternatives.
    OneOf(Vec<Vec<Piece>>),
    /// One to four times.
    Repeat(Vec<Piece>),
    /// A count, then that many.
    Counted(Vec<Piece>),
    /// As many as the last count.
    Again(Vec<Piece>),
    /// Each of them or not, in any order, rarely twice. Only templates made from the table have it.
    Options(Vec<Vec<Piece>>),
}

/// A command's template.
#[derive(Clone, Debug)]
pub struct Template {
    /// How often it is picked, relative to its family.
    pub weight: usize,
    /// What it expands.
    pub pieces: Vec<Piece>,
}

impl Template {
    /// The command's name, as written.
    pub fn name(&self) -> String {
        match self.pieces.first() {
            Some(Piece::Word(w)) => String::from_utf8_lossy(w).to_uppercase(),
            _ => String::new(),
        }
    }
}

/// A named list of templates.
#[derive(Clone, Debug)]
pub struct Family {
    /// The name that `FAMILIES` selects it by.
    pub name: &'static str,
    /// Its commands.
    pub templates: Vec<Template>,
}

impl Family {
    /// Reads a family; a malformed template stops the test with the line.
    pub fn read(name: &'static str, source: &str) -> Family {
        let lines = source.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('%'));
        let templates = lines.map(|l| template(l).unwrap_or_else(|e| panic!("{name}: {e}: {l}"))).collect();
        Family { name, templates }
    }

    /// A template, by weight.
    pub fn pick(&self, rng: &mut Rng) -> &Template {
        let total: usize = self.templates.iter().map(|t| t.weight).sum();
        let mut at = rng.below(total);
        self.templates
            .iter()
            .find(|t| match at.checked_sub(t.weight) {
                Some(rest) => {
                    at = rest;
                    false
                }
                None => true,
            })
            .expect("the weights add up")
    }
}

fn template(line: &str) -> Result<Template, String> {
    let mut words = text::split(line)?;
    let weight = std::str::from_utf8(&words[0]).ok().and_then(|w| w.parse().ok());
    if weight.is_some() {
        words.remove(0);
    }
    let mut at = 0;
    let pieces = sequence(&words, &mut at, &[])?;
    Ok(Template { weight: weight.unwrap_or(1), pieces })
}

fn sequence(words: &[Vec<u8>], at: &mut usize, stop: &[&[u8]]) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    while let Some(word) = words.get(*at) {
        if stop.contains(&word.as_slice()) {
            return Ok(pieces);
        }
        *at += 1;
        pieces.push(match word.as_slice() {
            b"[" => Piece::Optional(group(words, at, b"]")?),
            b"{" => Piece::Repeat(group(words, at, b"}")?),
            b"#{" => Piece::Counted(group(words, at, b"}")?),
            b"@{" => Piece::Again(group(words, at, b"}")?),
            b"(" => {
                let mut alternatives = vec![sequence(words, at, &[b"|", b")"])?];
                while words.get(*at).is_some_and(|w| w == b"|") {
                    *at += 1;
                    alternatives.push(sequence(words, at, &[b"|", b")"])?);
                }
                *at += 1;
                Piece::OneOf(alternatives)
            }
            [b'$', class @ ..] if !class.is_empty() => {
                Piece::Class(String::from_utf8(class.to_vec()).map_err(|e| e.to_string())?)
            }
            _ => Piece::Word(word.clone()),
        });
    }
    if stop.is_empty() { Ok(pieces) } else { Err("a group is never closed".into()) }
}

fn group(words: &[Vec<u8>], at: &mut usize, close: &[u8]) -> Result<Vec<Piece>, String> {
    let pieces = sequence(words, at, &[close])?;
    *at += 1;
    Ok(pieces)
}

/// Writes an expansion of `pieces` to `out`; `draw` gives a value of a class.
pub fn expand(
    pieces: &[Piece],
    rng: &mut Rng,
    last: &mut usize,
    draw: &mut dyn FnMut(&str, &mut Rng) -> Vec<u8>,
    out: &mut Vec<Vec<u8>>,
) {
    for piece in pieces {
        match piece {
            Piece::Word(w) => out.push(w.clone()),
            Piece::Class(class) => out.push(draw(class, rng)),
            Piece::Optional(inner) => {
                if rng.chance(40) {
                    expand(inner, rng, last, draw, out);
                }
            }
            Piece::OneOf(alternatives) => {
                let chosen = rng.below(alternatives.len());
                expand(&alternatives[chosen], rng, last, draw, out);
            }
            Piece::Repeat(inner) => {
                for _ in 0..1 + rng.below(4) {
                    expand(inner, rng, last, draw, out);
                }
            }
            Piece::Counted(inner) => {
                let count = 1 + rng.below(3);
                out.push(count.to_string().into_bytes());
                *last = count;
                for _ in 0..count {
                    expand(inner, rng, &mut count.clone(), draw, out);
                }
            }
            Piece::Again(inner) => {
                for _ in 0..*last {
                    expand(inner, rng, &mut last.clone(), draw, out);
                }
            }
            Piece::Options(options) => {
                for option in chosen(options, rng) {
                    expand(option, rng, last, draw, out);
                }
            }
        }
    }
}

/// Some of the options, mostly in their order.
fn chosen<'a>(options: &'a [Vec<Piece>], rng: &mut Rng) -> Vec<&'a Vec<Piece>> {
    let mut chosen: Vec<_> = options.iter().filter(|_| rng.chance(35)).collect();
    if rng.chance(5) {
        chosen.push(rng.pick(options));
    }
    if chosen.len() > 1 && rng.chance(30) {
        let (a, b) = (rng.below(chosen.len()), rng.below(chosen.len()));
        chosen.swap(a, b);
    }
    chosen
}
