//! What does every family's file need? One `use` for the vocabulary of rows and handlers.

pub(crate) use crate::dispatch::args::Args;
pub(crate) use crate::dispatch::ctx::{Ctx, Mode};
pub(crate) use crate::dispatch::spec::*;
use crate::ds::entry::View;
use crate::keyspace::Slot;

pub(crate) use crate::error::{self, Error, Result};
pub(crate) use crate::keyspace::Key;
pub(crate) use crate::keyspace::event;
pub(crate) use crate::resp::reply::Reply;

/// Longest text, and longest text and key together, of a string that is reported as "embstr".
const EMBSTR: (usize, usize) = (44, 41);

/// The encoding of an entry's value as OBJECT ENCODING names it. Strings are embedded there when an object with a
/// 16-byte head, a key and a text of at most so many bytes fits into 64.
pub(crate) fn encoding(slot: &Slot) -> &'static str {
    match slot.view() {
        View::Int(_) => "int",
        View::Value(value) => value.encoding(),
        View::Str(bytes) => {
            let short = bytes.len() <= EMBSTR.0 && bytes.len() + slot.key().len() <= EMBSTR.1;
            if short && !slot.raw() { "embstr" } else { "raw" }
        }
    }
}

/// Writes what the HELP subcommand of a container answers: a line for each subcommand, with its description below.
pub(crate) fn help(out: &mut Reply<'_>, name: &str, lines: &[(&str, &str)]) {
    out.array(lines.len() * 2 + 3);
    out.simple(&format!("{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for (usage, description) in lines {
        out.simple(usage);
        out.simple(&format!("    {description}"));
    }
    out.simple("HELP");
    out.simple("    Print this help.");
}
