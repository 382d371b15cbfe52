//! Which commands can rules speak of? Names, containers and categories of the command table, under the names that it
//! was built with: a renamed command keeps its name in rules.

use std::collections::HashMap;

/// A command as rules see it. Its index is its id in the command table.
#[derive(Debug, Clone)]
pub struct Known {
    /// `get`, or `config|get` of a subcommand; in lower case.
    pub name: String,
    /// The id of its container.
    pub parent: Option<usize>,
    /// A union of category bits.
    pub categories: u32,
}

/// All commands and categories.
#[derive(Debug, Default)]
pub struct Catalogue {
    known: Vec<Known>,
    by_name: HashMap<Box<[u8]>, usize>,
    subcommands: Vec<Vec<usize>>,
    categories: &'static [(u32, &'static str)],
}

impl Catalogue {
    /// The catalogue of these commands, in the order of their ids, and these categories.
    pub fn new(known: Vec<Known>, categories: &'static [(u32, &'static str)]) -> Self {
        let mut subcommands = vec![Vec::new(); known.len()];
        for (id, command) in known.iter().enumerate() {
            if let Some(of) = command.parent.and_then(|parent| subcommands.get_mut(parent)) {
                of.push(id);
            }
        }
        let by_name = known.iter().enumerate().map(|(id, c)| (c.name.as_bytes().into(), id)).collect();
        Catalogue { known, by_name, subcommands, categories }
    }

    /// The id of a command or subcommand, in any case.
    pub fn find(&self, name: &[u8]) -> Option<usize> {
        self.by_name.get(name.to_ascii_lowercase().as_slice()).copied()
    }

    /// The bit of a category, in any case.
    pub fn category(&self, name: &[u8]) -> Option<u32> {
        let named = self.categories.iter().find(|(_, known)| name.eq_ignore_ascii_case(known.as_bytes()));
        named.map(|(bit, _)| *bit)
    }

    /// The full name of a command.
    pub fn name(&self, id: usize) -> &str {
        self.known.get(id).map_or("", |command| &command.name)
    }

    /// True for a subcommand.
    pub fn is_subcommand(&self, id: usize) -> bool {
        self.known.get(id).is_some_and(|command| command.parent.is_some())
    }

    /// The subcommands of a command.
    pub fn subcommands(&self, id: usize) -> &[usize] {
        self.subcommands.get(id).map_or(&[], Vec::as_slice)
    }

    /// The commands of a category, containers before their subcommands.
    pub fn in_category(&self, bit: u32) -> impl Iterator<Item = usize> {
        let commands = self.known.iter().enumerate();
        commands.filter(move |(_, command)| command.categories & bit != 0).map(|(id, _)| id)
    }

    /// How many commands there are.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}
