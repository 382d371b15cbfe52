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

/// The encoding of an entry, as OBJECT ENCODING names it.
pub(crate) fn encoding(slot: &Slot) -> &'static str {
    match slot.view() {
        View::Int(_) => "int",
        // Redis embeds strings of up to 44 bytes that were set whole.
        View::Str(bytes) if bytes.len() <= 44 && !slot.raw() => "embstr",
        View::Str(_) => "raw",
        View::Value(value) => value.encoding(),
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
