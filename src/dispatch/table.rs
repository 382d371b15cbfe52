//! Which row does a name mean? The command table as this server knows it, renames applied.

use std::collections::HashMap;

use crate::dispatch::spec::Command;
use crate::error::{Error, Result};

/// The longest command name, so that look-ups can fold the case in a fixed buffer.
const MAX_NAME: usize = 64;

/// A row in the table, with what was worked out from it once.
#[derive(Debug)]
pub struct Entry {
    /// Index of the entry: names it in statistics, ACL bitmaps and queued transactions.
    pub id: usize,
    /// The row.
    pub row: &'static Command,
    /// `get`, or `config|get` of a subcommand.
    pub name: String,
    /// Its container's entry.
    pub parent: Option<usize>,
    /// Entries of its subcommands.
    pub subcommands: Vec<usize>,
    /// See [`Command::single_key`].
    pub single_key: bool,
    /// Arguments in front of a subcommand's own: 2, otherwise 1.
    pub head: usize,
}

/// All commands.
#[derive(Debug, Default)]
pub struct Table {
    entries: Vec<Entry>,
    by_name: HashMap<Box<[u8]>, usize, foldhash::fast::FixedState>,
    subs: HashMap<(usize, Box<[u8]>), usize>,
}

impl Table {
    /// Builds the table from the families' rows, in their order.
    pub fn new(families: &[&'static [Command]]) -> Self {
        let mut table = Table::default();
        for row in families.iter().flat_map(|rows| rows.iter()) {
            let id = table.add(row, row.name.to_owned(), None);
            table.by_name.insert(row.name.as_bytes().into(), id);
            for sub in row.subcommands {
                let sub_id = table.add(sub, format!("{}|{}", row.name, sub.name), Some(id));
                table.subs.insert((id, sub.name.as_bytes().into()), sub_id);
                table.entries[id].subcommands.push(sub_id);
            }
        }
        table
    }

    fn add(&mut self, row: &'static Command, name: String, parent: Option<usize>) -> usize {
        let id = self.entries.len();
        let single_key = parent.is_none() && row.single_key() && row.subcommands.is_empty();
        let head = if parent.is_some() { 2 } else { 1 };
        self.entries.push(Entry { id, row, name, parent, subcommands: Vec::new(), single_key, head });
        id
    }

    /// `rename-command`: an empty new name removes the command. Says no when the old name is unknown or the new
    /// one is taken.
    pub fn rename(&mut self, old: &str, new: &str) -> std::result::Result<(), &'static str> {
        let old = old.to_ascii_lowercase();
        let id = self.by_name.remove(old.as_bytes()).ok_or("No such command in rename-command")?;
        if !new.is_empty() {
            let new = new.to_ascii_lowercase();
            if self.by_name.contains_key(new.as_bytes()) {
                return Err("Target command name already exists");
            }
            self.by_name.insert(new.as_bytes().into(), id);
        }
        Ok(())
    }

    /// All entries; an entry's `id` is its position.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry with an id.
    pub fn entry(&self, id: usize) -> &Entry {
        &self.entries[id]
    }

    /// The entry of a name, in any case; `config|get` names a subcommand.
    pub fn by_name(&self, name: &[u8]) -> Option<&Entry> {
        if let Some(bar) = memchr::memchr(b'|', name) {
            let parent = self.by_name(&name[..bar])?;
            let sub = name[bar + 1..].to_ascii_lowercase();
            return self.subs.get(&(parent.id, sub.into())).map(|&id| &self.entries[id]);
        }
        self.by_request(name)
    }

    /// The entry that a request's first argument names: never a subcommand.
    pub fn by_request(&self, name: &[u8]) -> Option<&Entry> {
        let mut folded = [0u8; MAX_NAME];
        let folded = folded.get_mut(..name.len())?;
        folded.copy_from_slice(name);
        folded.make_ascii_lowercase();
        self.by_name.get(&*folded).map(|&id| &self.entries[id])
    }

    /// The entry that a request means, its subcommand resolved.
    pub fn resolve(&self, argv: &[&[u8]]) -> Result<&Entry> {
        let name = argv.first().copied().unwrap_or_default();
        let entry = self.by_request(name).ok_or_else(|| Error::unknown_command(argv))?;
        self.resolve_sub(entry, argv)
    }

    /// The entry that a request names, a container where it names no subcommand; `None` when there is none of that
    /// name.
    pub fn look_up(&self, argv: &[&[u8]]) -> Option<&Entry> {
        let entry = self.by_request(argv.first()?)?;
        if argv.len() == 1 { Some(entry) } else { self.resolve_sub(entry, argv).ok() }
    }

    /// The subcommand that a request to `entry` means, or `entry` itself when it has none.
    pub fn resolve_sub<'t>(&'t self, entry: &'t Entry, argv: &[&[u8]]) -> Result<&'t Entry> {
        if entry.subcommands.is_empty() {
            return Ok(entry);
        }
        let Some(&sub) = argv.get(1) else {
            return if entry.row.admits(1) { Ok(entry) } else { Err(Error::arity(&entry.name)) };
        };
        match self.subs.get(&(entry.id, sub.to_ascii_lowercase().into())) {
            Some(&id) => Ok(&self.entries[id]),
            None => Err(Error::unknown_subcommand(&entry.name, sub)),
        }
    }
}
