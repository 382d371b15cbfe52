//! Who may do what? ACL: users, their rules, and what was refused.

use crate::acl::DEFAULT;
use crate::acl::log::Entry;
use crate::acl::selector::Selector;
use crate::acl::user::{Bad, is_name};
use crate::commands::prelude::*;
use crate::config::choices::AclPubsubDefault;
use crate::config::rewrite;
use crate::dispatch::permit;
use crate::util::{number, rng};

/// The family's rows.
pub const COMMANDS: &[Command] = &[Command::container("acl", ACL).doc(
    "server",
    "6.0.0",
    "Depends on subcommand.",
    "Looks at users and what they may do, and changes it.",
    "",
)];

const ACL: &[Command] = &[
    Command::new("users", acl_users).arity(2).flags(ADMIN | NOSCRIPT | LOADING | STALE).doc(
        "server",
        "6.0.0",
        "O(N). Where N is the number of configured users.",
        "Names of all users.",
        "",
    ),
    Command::new("dryrun", acl_dryrun).arity(-4).flags(ADMIN | NOSCRIPT | LOADING | STALE).doc(
        "server",
        "7.0.0",
        "O(1).",
        "Tells whether a user may run a command, without running it.",
        "username:str command:str [arg:str...]",
    ),
    Command::new("help", acl_help).arity(2).flags(LOADING | STALE).doc(
        "server",
        "6.0.0",
        "O(1)",
        "Lists the subcommands.",
        "",
    ),
    Command::new("whoami", acl_whoami).arity(2).flags(NOSCRIPT | LOADING | STALE).doc(
        "server",
        "6.0.0",
        "O(1)",
        "Name of the user of this connection.",
        "",
    ),
    Command::new("deluser", acl_deluser)
        .arity(-3)
        .flags(ADMIN | NOSCRIPT | LOADING | STALE)
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .doc(
            "server",
            "6.0.0",
            "O(1) amortized time considering the typical user.",
            "Deletes users and closes their connections.",
            "username:str...",
        ),
    Command::new("load", acl_load).arity(2).flags(ADMIN | NOSCRIPT | LOADING | STALE).doc(
        "server",
        "6.0.0",
        "O(N). Where N is the number of configured users.",
        "Reads all users from the ACL file again.",
        "",
    ),
    Command::new("genpass", acl_genpass).arity(-2).flags(NOSCRIPT | LOADING | STALE).doc(
        "server",
        "6.0.0",
        "O(1)",
        "Makes up a password.",
        "[bits:int]",
    ),
    Command::new("cat", acl_cat).arity(-2).flags(NOSCRIPT | LOADING | STALE).doc(
        "server",
        "6.0.0",
        "O(1) since the categories and commands are a fixed set.",
        "Names of the categories, or of the commands in one.",
        "[category:str]",
    ),
    Command::new("setuser", acl_setuser)
        .arity(-3)
        .flags(ADMIN | NOSCRIPT | LOADING | STALE)
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .doc(
            "server",
            "6.0.0",
            "O(N). Where N is the number of rules provided.",
            "Makes a user, or changes its rules.",
            "username:str [rule:str...]",
        ),
    Command::new("getuser", acl_getuser).arity(3).flags(ADMIN | NOSCRIPT | LOADING | STALE).doc(
        "server",
        "6.0.0",
        "O(N). Where N is the number of password, command and pattern rules that the user has.",
        "Describes a user.",
        "username:str",
    ),
    Command::new("list", acl_list).arity(2).flags(ADMIN | NOSCRIPT | LOADING | STALE).doc(
        "server",
        "6.0.0",
        "O(N). Where N is the number of configured users.",
        "All users as lines of an ACL file.",
        "",
    ),
    Command::new("log", acl_log).arity(-2).flags(ADMIN | NOSCRIPT | LOADING | STALE).doc(
        "server",
        "6.0.0",
        "O(N) with N being the number of entries shown.",
        "What was refused lately, or forgets it.",
        "[operation(count:int | RESET)]",
    ),
    Command::new("save", acl_save)
        .arity(2)
        .flags(ADMIN | NOSCRIPT | LOADING | STALE)
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .doc(
            "server",
            "6.0.0",
            "O(N). Where N is the number of configured users.",
            "Writes all users to the ACL file.",
            "",
        ),
];

/// The most bits of a password that is made up.
const MOST_BITS: i64 = 4096;
/// Entries of the log that are shown when no number is asked for.
const SHOWN: i64 = 10;

fn all_channels(ctx: &Ctx<'_>) -> bool {
    ctx.config().acl_pubsub_default == AclPubsubDefault::Allchannels
}

fn acl_setuser(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let name = args.next()?;
    if !is_name(name) {
        return Err(Error::new("ERR Usernames can't contain spaces or null characters"));
    }
    let set = ctx.core.acl.set(name, args.take_rest(), all_channels(ctx));
    let affected = set.map_err(|bad| {
        Error::text(match bad {
            Bad::Open(word) => {
                let word = String::from_utf8_lossy(&word);
                format!("ERR Unmatched parenthesis in acl selector starting at '{word}'.")
            }
            Bad::Rule(rule, fault) => {
                let rule = String::from_utf8_lossy(&rule);
                format!("ERR Error in ACL SETUSER modifier '{rule}': {}", fault.text())
            }
        })
    })?;
    permit::close_unwelcome(ctx, &affected);
    out.ok();
    Ok(())
}

fn acl_deluser(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let names = args.take_rest();
    if names.contains(&DEFAULT) {
        return Err(Error::new("ERR The 'default' user cannot be removed"));
    }
    let gone = ctx.core.acl.remove(names);
    permit::close_unwelcome(ctx, &gone);
    out.len(gone.len());
    Ok(())
}

fn joined(words: &[Vec<u8>]) -> Vec<u8> {
    words.join(&b' ')
}

/// The three fields that a selector has in ACL GETUSER.
fn describe(selector: &Selector, out: &mut Reply<'_>) {
    out.bulk(b"commands");
    out.bulk(&joined(&selector.command_words()));
    out.bulk(b"keys");
    out.bulk(&joined(&selector.key_words()));
    out.bulk(b"channels");
    out.bulk(&joined(&selector.channel_words()));
}

fn acl_getuser(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let Some(user) = ctx.core.acl.user(args.next()?) else {
        out.null();
        return Ok(());
    };
    out.map(6);
    out.bulk(b"flags");
    let flags = user.flags();
    out.set(flags.len());
    flags.iter().for_each(|flag| out.bulk(flag.as_bytes()));
    out.bulk(b"passwords");
    out.bulks(user.password_hashes());
    describe(user.root(), out);
    out.bulk(b"selectors");
    out.array(user.selectors().len());
    for selector in user.selectors() {
        out.map(3);
        describe(selector, out);
    }
    Ok(())
}

fn acl_list(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    out.bulks(ctx.core.acl.all().iter().map(|user| user.line()));
    Ok(())
}

fn acl_users(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    out.bulks(ctx.core.acl.all().iter().map(|user| &user.name));
    Ok(())
}

fn acl_whoami(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    out.bulk(&ctx.session.login.user.name);
    Ok(())
}

/// The path of the ACL file.
fn file(ctx: &Ctx<'_>) -> Result<String> {
    let path = &ctx.config().aclfile;
    if path.is_empty() {
        return Err(Error::new(
            "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL \
             SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in \
             order to store users in the Redis configuration.",
        ));
    }
    Ok(path.to_string())
}

fn acl_load(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let loaded = ctx.core.acl.load(&file(ctx)?, all_channels(ctx));
    let affected = loaded.map_err(|why| Error::text(format!("ERR {why}")))?;
    permit::close_unwelcome(ctx, &affected);
    out.ok();
    Ok(())
}

fn acl_save(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let path = file(ctx)?;
    rewrite::replace(std::path::Path::new(&path), &ctx.core.acl.file_text()).map_err(|error| {
        tracing::warn!("ACL SAVE failed: {path}: {error}");
        Error::new(
            "ERR There was an error trying to save the ACLs. Please check the server logs for more information",
        )
    })?;
    out.ok();
    Ok(())
}

fn acl_cat(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let name = args.maybe();
    args.end_of_subcommand()?;
    let Some(name) = name else {
        out.bulks(CATEGORY_NAMES.iter().map(|(_, name)| name));
        return Ok(());
    };
    let catalogue = ctx.core.acl.catalogue();
    let bit = catalogue
        .category(name)
        .ok_or_else(|| Error::text(format!("ERR Unknown category '{}'", error::clip(name, 128))))?;
    let names: Vec<&str> = catalogue.in_category(bit).map(|id| catalogue.name(id)).collect();
    out.bulks(names.iter());
    Ok(())
}

fn acl_genpass(_: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let given = args.maybe();
    args.end_of_subcommand()?;
    let bits = given.map_or(Some(256), number::parse_i64).ok_or(error::NOT_INTEGER)?;
    if !(1..=MOST_BITS).contains(&bits) {
        return Err(Error::text(format!(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to \
             {MOST_BITS}"
        )));
    }
    let digits = usize::try_from(bits).unwrap_or_default().div_ceil(4);
    let mut bytes = vec![0; digits.div_ceil(2)];
    rng::fill_from_os(&mut bytes).map_err(|error| Error::text(format!("ERR no randomness: {error}")))?;
    out.bulk(&rng::to_hex(&bytes).as_bytes()[..digits]);
    Ok(())
}

fn acl_log(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let log = &ctx.core.acl.log;
    if args.left() > 1 {
        args.next()?;
        args.end_of_subcommand()?;
    }
    if args.word("reset") {
        log.clear();
        out.ok();
        return Ok(());
    }
    let most = if args.left() > 0 { args.int()? } else { SHOWN };
    let entries = log.newest(usize::try_from(most).unwrap_or_default());
    out.array(entries.len());
    entries.iter().for_each(|entry| show(entry, ctx.now_ms(), out));
    Ok(())
}

fn show(entry: &Entry, now_ms: u64, out: &mut Reply<'_>) {
    let event = &entry.event;
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let texts: [(&str, &[u8]); 4] = [
        ("reason", event.reason.name().as_bytes()),
        ("context", event.context.name().as_bytes()),
        ("object", &event.object),
        ("username", &event.user),
    ];
    out.map(10);
    out.bulk(b"count");
    out.int(number(entry.count));
    for (name, text) in texts {
        out.bulk(name.as_bytes());
        out.bulk(text);
    }
    out.bulk(b"age-seconds");
    out.double(now_ms.saturating_sub(entry.updated_ms) as f64 / 1000.0);
    out.bulk(b"client-info");
    out.bulk(&event.client);
    let numbers = [
        ("entry-id", entry.id),
        ("timestamp-created", entry.created_ms),
        ("timestamp-last-updated", entry.updated_ms),
    ];
    for (name, n) in numbers {
        out.bulk(name.as_bytes());
        out.int(number(n));
    }
}

fn acl_dryrun(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let name = args.next()?;
    let clipped = |name: &[u8]| error::clip(name, 128);
    let Some(user) = ctx.core.acl.user(name) else {
        return Err(Error::text(format!("ERR User '{}' not found", clipped(name))));
    };
    let argv = args.take_rest();
    let command = argv.first().copied().unwrap_or_default();
    let Some(entry) = ctx.core.table.look_up(argv) else {
        return Err(Error::text(format!("ERR Command '{}' not found", clipped(command))));
    };
    if !entry.row.admits(argv.len()) {
        return Err(Error::arity(&entry.name));
    }
    match permit::judge(&user, entry, argv) {
        Ok(()) => out.ok(),
        Err(refusal) => out.bulk(permit::reason(refusal, &user, entry, argv, true).as_bytes()),
    }
    Ok(())
}

fn acl_help(_: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    help(
        out,
        "ACL",
        &[
            ("CAT [<category>]", "Categories of commands, or the commands of one."),
            ("DELUSER <username> [<username> ...]", "Deletes users."),
            ("DRYRUN <username> <command> [<arg> ...]", "Whether a user may run a command."),
            ("GETUSER <username>", "A description of a user."),
            ("GENPASS [<bits>]", "A password of 256 or so many random bits."),
            ("LIST", "All users as lines of an ACL file."),
            ("LOAD", "Reads all users from the ACL file again."),
            ("LOG [<count> | RESET]", "What was refused lately, or forgets it."),
            ("SAVE", "Writes all users to the ACL file."),
            ("SETUSER <username> <attribute> [<attribute> ...]", "Makes a user, or changes its rules."),
            ("USERS", "Names of all users."),
            ("WHOAMI", "Name of the user of this connection."),
        ],
    );
    Ok(())
}
