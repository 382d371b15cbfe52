//! What does every family's file need? One `use` for the vocabulary of rows and handlers.

pub(crate) use crate::dispatch::args::Args;
pub(crate) use crate::dispatch::ctx::{Ctx, Mode};
pub(crate) use crate::dispatch::spec::*;
use crate::ds::entry::View;
use crate::keyspace::{Slot, is_embedded};

pub(crate) use crate::error::{self, Error, Result};
pub(crate) use crate::keyspace::Key;
pub(crate) use crate::keyspace::event;
pub(crate) use crate::resp::reply::Reply;

/// The encoding of an entry's value as OBJECT ENCODING names it.
pub(crate) fn encoding(slot: &Slot) -> &'static str {
    match slot.view() {
        View::Int(_) => "int",
        View::Value(value) => value.encoding(),
        View::Str(_) if is_embedded(slot) => "embstr",
        View::Str(_) => "raw",
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
