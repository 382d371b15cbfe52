//! Which users are there at the start? The default user with `requirepass`, and those of the configuration file or of
//! the ACL file.

use std::collections::HashSet;
use std::io;

use crate::acl::catalogue::{Catalogue, Known};
use crate::acl::selector::Fault;
use crate::acl::user::{Bad, is_name};
use crate::acl::{Acl, DEFAULT};
use crate::config::Config;
use crate::config::choices::AclPubsubDefault;
use crate::config::file::Directive;
use crate::dispatch::spec::CATEGORY_NAMES;
use crate::dispatch::table::Table;

/// The users as they were configured.
///
/// # Errors
/// Why the configuration makes no sense.
pub(super) fn all(table: &Table, config: &Config, lines: &[Directive]) -> io::Result<Acl> {
    let acl = Acl::new(catalogue(table));
    acl.set_default_password(&config.requirepass);
    let all_channels = config.acl_pubsub_default == AclPubsubDefault::Allchannels;
    let file = &config.aclfile;
    if !file.is_empty() && !lines.is_empty() {
        return Err(io::Error::other(
            "Users are defined by user lines of the configuration file and by an aclfile. Which of them holds \
             would be easy to mistake, so please use one of the two.",
        ));
    }
    let mut seen = HashSet::new();
    for line in lines {
        define(&acl, line, all_channels, &mut seen)?;
    }
    if !file.is_empty() {
        let path = file.to_string();
        acl.load(&path, all_channels)
            .map_err(|why| io::Error::other(format!("Aborting startup because of ACL errors: {why}")))?;
    }
    warn_of_disabled(&acl);
    Ok(acl)
}

/// The commands of a table as rules see them.
fn catalogue(table: &Table) -> Catalogue {
    let known = table.entries().iter().map(|entry| Known {
        name: entry.name.clone(),
        parent: entry.parent,
        categories: entry.row.categories(),
    });
    Catalogue::new(known.collect(), CATEGORY_NAMES)
}

fn define<'l>(
    acl: &Acl,
    line: &'l Directive,
    all_channels: bool,
    seen: &mut HashSet<&'l [u8]>,
) -> io::Result<()> {
    let fatal = |rule: &[u8], why: &str| {
        let text = format!("Error in user declaration '{}': {why}", String::from_utf8_lossy(rule));
        io::Error::other(line.fatal(text).to_string())
    };
    let words: Vec<&[u8]> = line.words.iter().map(Vec::as_slice).collect();
    let [_, name, rules @ ..] = words.as_slice() else { return Err(fatal(b"", Fault::Syntax.text())) };
    if !is_name(name) {
        return Err(fatal(name, "Spaces not allowed in ACL usernames"));
    }
    if !seen.insert(name) {
        return Err(fatal(name, Fault::Duplicate.text()));
    }
    acl.define(name, rules, all_channels).map_err(|bad| match bad {
        Bad::Open(word) => fatal(&word, "Unmatched parenthesis in selector definition"),
        Bad::Rule(rule, fault) => fatal(&rule, fault.text()),
    })
}

/// A user that nobody can use is allowed, and often a mistake.
fn warn_of_disabled(acl: &Acl) {
    for user in acl.all().iter().filter(|user| !user.is_enabled() && *user.name != *DEFAULT) {
        let name = String::from_utf8_lossy(&user.name);
        tracing::info!("The user '{name}' is disabled: its description does not say 'on'.");
    }
}
