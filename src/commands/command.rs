//! What does the server tell about its commands? COMMAND, answered from the rows.

use crate::commands::prelude::*;
use crate::dispatch::keys;
use crate::dispatch::syntax::{self, Arg};
use crate::dispatch::table::Entry;
use crate::util::glob;

/// The family's rows.
pub const COMMANDS: &[Command] = &[Command::new("command", command)
    .arity(-1)
    .subcommands(SUBCOMMANDS)
    .flags(LOADING | STALE)
    .acl(CONNECTION)
    .tips(&["nondeterministic_output_order"])
    .doc(
        "server",
        "2.8.13",
        "O(N) where N is the total number of Redis commands",
        "Describes all commands.",
        "",
    )];

const SUBCOMMANDS: &[Command] = &[
    Command::new("count", command_count).arity(2).flags(LOADING | STALE).acl(CONNECTION).doc(
        "server",
        "2.8.13",
        "O(1)",
        "Number of commands.",
        "",
    ),
    Command::new("info", command_info)
        .arity(-2)
        .flags(LOADING | STALE)
        .acl(CONNECTION)
        .tips(&["nondeterministic_output_order"])
        .doc(
            "server",
            "2.8.13",
            "O(N) where N is the number of commands to look up",
            "Describes some commands, or all.",
            "[command-name:str...]",
        ),
    Command::new("getkeys", command_getkeys).arity(-3).flags(LOADING | STALE).acl(CONNECTION).doc(
        "server",
        "2.8.13",
        "O(N) where N is the number of arguments to the command",
        "Finds the keys in a command line.",
        "command:str [arg:str...]",
    ),
    Command::new("help", command_help).arity(2).flags(LOADING | STALE).acl(CONNECTION).doc(
        "server",
        "5.0.0",
        "O(1)",
        "Lists the subcommands.",
        "",
    ),
    Command::new("list", command_list)
        .arity(-2)
        .flags(LOADING | STALE)
        .acl(CONNECTION)
        .tips(&["nondeterministic_output_order"])
        .doc(
            "server",
            "7.0.0",
            "O(N) where N is the total number of Redis commands",
            "Names of commands.",
            "[FILTERBY filterby(MODULE module-name:str | ACLCAT category:str | PATTERN pattern:pat)]",
        ),
    Command::new("getkeysandflags", command_getkeysandflags)
        .arity(-3)
        .flags(LOADING | STALE)
        .acl(CONNECTION)
        .doc(
            "server",
            "7.0.0",
            "O(N) where N is the number of arguments to the command",
            "Finds the keys in a command line, and what would be done to them.",
            "command:str [arg:str...]",
        ),
    Command::new("docs", command_docs)
        .arity(-2)
        .flags(LOADING | STALE)
        .acl(CONNECTION)
        .tips(&["nondeterministic_output_order"])
        .doc(
            "server",
            "7.0.0",
            "O(N) where N is the number of commands to look up",
            "Documentation of some commands, or of all.",
            "[command-name:str...]",
        ),
];

fn command(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let all: Vec<&Entry> = top_level(ctx).collect();
    out.array(all.len());
    all.iter().for_each(|entry| describe(ctx, entry, out));
    Ok(())
}

/// The commands that are no subcommands, less those that were renamed away.
fn top_level<'a>(ctx: &Ctx<'a>) -> impl Iterator<Item = &'a Entry> + use<'a> {
    ctx.core.table.entries().iter().filter(|entry| entry.parent.is_none())
}

fn command_count(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    out.len(top_level(ctx).count());
    Ok(())
}

fn command_info(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    if args.left() == 0 {
        return command(ctx, args, out);
    }
    out.array(args.left());
    for name in args.take_rest() {
        match ctx.core.table.by_name(name) {
            Some(entry) => describe(ctx, entry, out),
            None => out.null(),
        }
    }
    Ok(())
}

/// A set of simple strings.
fn statuses<'s>(out: &mut Reply<'_>, names: impl Iterator<Item = &'s str>) {
    let names: Vec<&str> = names.collect();
    out.set(names.len());
    names.iter().for_each(|name| out.simple(name));
}

/// Names of the bits that are set.
fn named<T: Copy + Into<u64>>(
    bits: T,
    names: &'static [(T, &'static str)],
) -> impl Iterator<Item = &'static str> {
    let bits = bits.into();
    names.iter().filter(move |(bit, _)| bits & (*bit).into() != 0).map(|(_, name)| *name)
}

/// What COMMAND INFO answers for one command: ten elements.
fn describe(ctx: &Ctx<'_>, entry: &Entry, out: &mut Reply<'_>) {
    let row = entry.row;
    out.array(10);
    out.bulk(entry.name.as_bytes());
    out.int(row.arity.into());
    statuses(out, named(row.flags, FLAG_NAMES));
    row.legacy_range().into_iter().for_each(|n| out.int(n.into()));
    let categories: Vec<String> = named(row.categories(), CATEGORY_NAMES).map(|c| format!("@{c}")).collect();
    statuses(out, categories.iter().map(String::as_str));
    out.set(row.tips.len());
    row.tips.iter().for_each(|tip| out.bulk(tip.as_bytes()));
    out.set(row.keys.len());
    row.keys.iter().for_each(|spec| describe_keys(spec, out));
    out.set(entry.subcommands.len());
    // A subcommand has none of its own.
    for &id in &entry.subcommands {
        describe(ctx, ctx.core.table.entry(id), out);
    }
}

/// A kind of search and its parameters.
fn search(out: &mut Reply<'_>, name: &str, kind: &str, spec: &[(&str, i32)], word: Option<&str>) {
    out.bulk(name.as_bytes());
    out.map(2);
    out.bulk(b"type");
    out.bulk(kind.as_bytes());
    out.bulk(b"spec");
    out.map(spec.len() + usize::from(word.is_some()));
    if let Some(word) = word {
        out.bulk(b"keyword");
        out.bulk(word.as_bytes());
    }
    for (name, n) in spec {
        out.bulk(name.as_bytes());
        out.int((*n).into());
    }
}

fn describe_keys(spec: &KeySpec, out: &mut Reply<'_>) {
    out.map(3);
    out.bulk(b"flags");
    statuses(out, named(spec.flags, KEY_FLAG_NAMES));
    let begin = "begin_search";
    match spec.begin {
        Begin::Index(n) => search(out, begin, "index", &[("index", n)], None),
        Begin::Keyword(word, from) => search(out, begin, "keyword", &[("startfrom", from)], Some(word)),
        Begin::Unknown => search(out, begin, "unknown", &[], None),
    }
    let find = "find_keys";
    match spec.find {
        Find::Range { last, step, limit } => {
            search(out, find, "range", &[("lastkey", last), ("keystep", step), ("limit", limit)], None);
        }
        Find::KeyNum { num, first, step } => {
            search(out, find, "keynum", &[("keynumidx", num), ("firstkey", first), ("keystep", step)], None);
        }
        Find::Unknown => search(out, find, "unknown", &[], None),
    }
}

fn command_docs(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let chosen: Vec<&Entry> = if args.left() == 0 {
        top_level(ctx).collect()
    } else {
        args.take_rest().iter().filter_map(|name| ctx.core.table.by_name(name)).collect()
    };
    out.map(chosen.len());
    for entry in chosen {
        out.bulk(entry.name.as_bytes());
        document(ctx, entry, out);
    }
    Ok(())
}

fn field(out: &mut Reply<'_>, n: &mut usize, name: &str, text: &str) {
    out.bulk(name.as_bytes());
    out.bulk(text.as_bytes());
    *n += 1;
}

/// What COMMAND DOCS answers for one command.
fn document(ctx: &Ctx<'_>, entry: &Entry, out: &mut Reply<'_>) {
    let doc = &entry.row.doc;
    let (mark, mut n) = (out.open(), 0);
    field(out, &mut n, "summary", doc.summary);
    field(out, &mut n, "since", doc.since);
    field(out, &mut n, "group", doc.group);
    if !doc.complexity.is_empty() {
        field(out, &mut n, "complexity", doc.complexity);
    }
    if doc.deprecated.is_some() || doc.syscmd {
        out.bulk(b"doc_flags");
        let flags = [(doc.deprecated.is_some(), "deprecated"), (doc.syscmd, "syscmd")];
        statuses(out, flags.iter().filter(|(on, _)| *on).map(|(_, name)| *name));
        n += 1;
    }
    if let Some((since, instead)) = doc.deprecated {
        field(out, &mut n, "deprecated_since", since);
        if !instead.is_empty() {
            field(out, &mut n, "replaced_by", instead);
        }
    }
    if !doc.syntax.is_empty() {
        out.bulk(b"arguments");
        arguments(&syntax::parse(doc.syntax), out);
        n += 1;
    }
    if !entry.subcommands.is_empty() {
        out.bulk(b"subcommands");
        out.map(entry.subcommands.len());
        for sub in entry.subcommands.iter().map(|&id| ctx.core.table.entry(id)) {
            out.bulk(sub.name.as_bytes());
            document(ctx, sub, out);
        }
        n += 1;
    }
    out.close_map(mark, n);
}

fn arguments(args: &[Arg], out: &mut Reply<'_>) {
    out.array(args.len());
    for arg in args {
        let (mark, mut n) = (out.open(), 0);
        field(out, &mut n, "name", &arg.name);
        field(out, &mut n, "type", arg.kind.name());
        if let Some(text) = arg.display_text() {
            field(out, &mut n, "display_text", text);
        }
        if let Some(index) = arg.key_spec {
            out.bulk(b"key_spec_index");
            out.int(index);
            n += 1;
        }
        let texts = [("token", arg.token), ("since", arg.since), ("deprecated_since", arg.deprecated)];
        for (name, text) in texts {
            if let Some(text) = text {
                field(out, &mut n, name, text);
            }
        }
        let flags = arg.flags();
        if !flags.is_empty() {
            out.bulk(b"flags");
            statuses(out, flags.into_iter());
            n += 1;
        }
        if !arg.args.is_empty() {
            out.bulk(b"arguments");
            arguments(&arg.args, out);
            n += 1;
        }
        out.close_map(mark, n);
    }
}

fn command_list(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let entries = ctx.core.table.entries().iter();
    let names: Vec<&str> = if args.left() == 0 {
        entries.map(|entry| entry.name.as_str()).collect()
    } else if args.left() == 3 && args.word("filterby") {
        let (by, text) = (args.next()?.to_ascii_lowercase(), args.next()?);
        match by.as_slice() {
            b"module" => Vec::new(),
            b"aclcat" => {
                let named =
                    CATEGORY_NAMES.iter().find(|(_, name)| text.eq_ignore_ascii_case(name.as_bytes()));
                let bit = named.map_or(0, |(bit, _)| *bit);
                entries.filter(|e| e.row.categories() & bit != 0).map(|e| e.name.as_str()).collect()
            }
            b"pattern" => entries
                .map(|entry| entry.name.as_str())
                .filter(|name| glob::matches(text, name.as_bytes(), true))
                .collect(),
            _ => return Err(error::SYNTAX),
        }
    } else {
        return Err(error::SYNTAX);
    };
    args.end_of_subcommand()?;
    out.bulks(names.iter());
    Ok(())
}

/// The keys of the command that is quoted in the arguments.
fn quoted_keys<'a>(ctx: &Ctx<'_>, args: &mut Args<'a>) -> Result<Vec<(&'a [u8], u16)>> {
    let argv = args.take_rest();
    const NO_KEYS: Error = Error::new("ERR The command has no key arguments");
    let container = |name: &&[u8]| argv.len() == 1 && ctx.core.table.by_request(name).is_some();
    let entry = ctx.core.table.resolve(argv).map_err(|_| match argv.first().is_some_and(container) {
        true => NO_KEYS,
        false => Error::new("ERR Invalid command specified"),
    })?;
    if !keys::has_keys(entry.row) {
        return Err(NO_KEYS);
    }
    if !entry.row.admits(argv.len()) {
        return Err(Error::new("ERR Invalid number of arguments specified for command"));
    }
    let mut found = Vec::new();
    let understood = keys::extract(entry.row, argv, &mut found).is_some();
    if (!understood || found.is_empty()) && !entry.row.is(NO_MANDATORY_KEYS) {
        return Err(Error::new("ERR Invalid arguments specified for command"));
    }
    Ok(found.iter().filter_map(|at| argv.get(at.index).map(|name| (*name, at.flags))).collect())
}

fn command_getkeys(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let keys = quoted_keys(ctx, args)?;
    out.bulks(keys.iter().map(|(name, _)| name));
    Ok(())
}

fn command_getkeysandflags(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let keys = quoted_keys(ctx, args)?;
    out.array(keys.len());
    for (name, flags) in keys {
        out.array(2);
        out.bulk(name);
        statuses(out, named(flags, KEY_FLAG_NAMES));
    }
    Ok(())
}

fn command_help(_: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    help(
        out,
        "COMMAND",
        &[
            ("(no subcommand)", "Describes all commands."),
            ("COUNT", "Number of commands."),
            ("DOCS [<command-name> ...]", "Documentation of commands, or of all."),
            ("GETKEYS <full-command>", "The keys in a command line."),
            ("GETKEYSANDFLAGS <full-command>", "The keys in a command line, and what would be done to them."),
            ("INFO [<command-name> ...]", "Describes commands, or all."),
            ("LIST [FILTERBY (MODULE <name>|ACLCAT <category>|PATTERN <pattern>)]", "Names of commands."),
        ],
    );
    Ok(())
}
