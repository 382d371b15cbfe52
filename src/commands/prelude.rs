//! What does every family's file need? One `use` for the vocabulary of rows and handlers.

pub(crate) use crate::dispatch::args::Args;
pub(crate) use crate::dispatch::ctx::{Ctx, Mode};
pub(crate) use crate::dispatch::spec::*;
pub(crate) use crate::error::{self, Error, Result};
pub(crate) use crate::keyspace::Key;
pub(crate) use crate::keyspace::event;
pub(crate) use crate::resp::reply::Reply;

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
