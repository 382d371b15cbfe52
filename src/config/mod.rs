//! What did the operator ask for? Settings: one table, the file format, and changes at run time.
//!
//! - [`Config`] is one immutable value with a typed field per setting, made from the rows of `table.rs`.
//! - [`file`] and [`cmdline`] make the first one; [`live::Live`] shares the present one and replaces it as a whole.
//! - [`Config::get`] and [`Config::set`] are CONFIG GET and CONFIG SET; [`rewrite`] is CONFIG REWRITE.
//!
//! Invariants: a change that fails anywhere changes nothing. No value can be set that a rewritten file would
//! not give back.

mod checks;
pub mod choices;
pub mod cmdline;
pub mod example;
pub mod file;
pub mod kinds;
pub mod live;
pub mod rewrite;
pub mod table;
pub mod values;

#[cfg(test)]
mod tests;

use crate::config::kinds::How;
use crate::config::table::{FIXED, HIDDEN, NOT_LOADING, PROTECTED, REREAD, SECRET, SETTINGS, Setting};
use crate::util::glob;
use crate::value::Limits;

pub use crate::config::table::Config;

/// The version of Redis that the server behaves like and tells its clients.
pub const REDIS_VERSION: &str = "8.2.3";

/// The row of a name or an older name, whatever its case.
#[must_use]
pub fn find(name: &[u8]) -> Option<&'static Setting> {
    named(name).map(|(setting, _)| setting)
}

/// The row of a name, and the name as the table writes it.
fn named(name: &[u8]) -> Option<(&'static Setting, &'static str)> {
    names().find(|(_, known)| name.eq_ignore_ascii_case(known.as_bytes()))
}

/// Every name of every row.
fn names() -> impl Iterator<Item = (&'static Setting, &'static str)> {
    SETTINGS.iter().flat_map(|setting| {
        let names = std::iter::once(setting.name).chain(setting.aliases.iter().copied());
        names.map(move |name| (setting, name))
    })
}

/// Whether the value of this CONFIG SET argument must be kept out of SLOWLOG, MONITOR and the log.
#[must_use]
pub fn is_secret(name: &[u8]) -> bool {
    find(name).is_some_and(|setting| setting.is(SECRET))
}

/// Who asks for a change, and when.
#[derive(Clone, Copy, Debug)]
pub struct Asking {
    /// The client connects from this machine.
    pub local: bool,
    /// The data is being loaded.
    pub loading: bool,
}

/// A configuration that differs from the present one.
#[derive(Debug)]
pub struct Change {
    /// The whole new configuration.
    pub config: Config,
    /// The rows whose effect has to be applied, each once, in the order of the command.
    pub settings: Vec<&'static Setting>,
}

/// Why CONFIG SET did nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetError {
    /// One of the settings has to wait until the data is loaded.
    Loading,
    /// There is no such setting.
    Unknown(Vec<u8>),
    /// A setting refused its value.
    Failed {
        /// Which one.
        name: Vec<u8>,
        /// Why.
        reason: String,
    },
}

impl SetError {
    /// The error of a setting whose new value was fine and could not be applied.
    #[must_use]
    pub fn failed(name: &str, reason: &str) -> Self {
        Self::Failed { name: name.into(), reason: reason.into() }
    }

    /// The error reply, without the `-` in front and the line end.
    #[must_use]
    pub fn reply(&self) -> Vec<u8> {
        let mut reply = match self {
            Self::Loading => b"LOADING Redis is loading the dataset in memory".to_vec(),
            Self::Unknown(name) => {
                let start = &b"ERR Unknown option or number of arguments for CONFIG SET - '"[..];
                [start, name, b"'"].concat()
            }
            Self::Failed { name, reason } => {
                let start = &b"ERR CONFIG SET failed (possibly related to argument '"[..];
                [start, name, b"') - ", reason.as_bytes()].concat()
            }
        };
        // The name is the client's own text; it must not end the reply early.
        for byte in &mut reply {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
        reply
    }
}

impl Config {
    /// What INFO and HELLO call the server.
    #[must_use]
    pub fn mode(&self) -> &'static str {
        if self.cluster_enabled { "cluster" } else { "standalone" }
    }

    /// When values change their encoding.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            hash_max_listpack_entries: self.hash_max_listpack_entries,
            hash_max_listpack_value: self.hash_max_listpack_value,
            list_max_listpack_size: self.list_max_listpack_size,
            list_compress_depth: self.list_compress_depth,
            set_max_intset_entries: self.set_max_intset_entries,
            set_max_listpack_entries: self.set_max_listpack_entries,
            set_max_listpack_value: self.set_max_listpack_value,
            zset_max_listpack_entries: self.zset_max_listpack_entries,
            zset_max_listpack_value: self.zset_max_listpack_value,
            hll_sparse_max_bytes: self.hll_sparse_max_bytes,
            stream_node_max_bytes: self.stream_node_max_bytes,
            stream_node_max_entries: self.stream_node_max_entries,
        }
    }

    /// CONFIG GET: the names that match one of the patterns, each once, with their values. A name without
    /// wildcards is looked up, and comes back as it was written.
    #[must_use]
    pub fn get(&self, patterns: &[&[u8]]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut seen: Vec<&'static str> = Vec::new();
        for pattern in patterns {
            if !pattern.iter().any(|byte| matches!(byte, b'[' | b'*' | b'?')) {
                if let Some((setting, name)) = named(pattern)
                    && !seen.contains(&name)
                {
                    seen.push(name);
                    found.push((pattern.to_vec(), (setting.print)(self)));
                }
                continue;
            }
            for (setting, name) in names() {
                if !setting.is(HIDDEN)
                    && !seen.contains(&name)
                    && glob::matches(pattern, name.as_bytes(), true)
                {
                    seen.push(name);
                    found.push((name.into(), (setting.print)(self)));
                }
            }
        }
        found
    }

    /// CONFIG SET: a new configuration with all of the changes, or none.
    ///
    /// # Errors
    /// The first setting that is unknown or refused, before any that does not take its value.
    pub fn set(&self, pairs: &[(&[u8], &[u8])], asking: Asking) -> Result<Change, SetError> {
        let rows = self.settable(pairs, asking)?;
        let mut config = self.clone();
        for ((setting, name), (_, value)) in rows.iter().zip(pairs) {
            let words: Vec<&[u8]> = match value {
                _ if !setting.several => vec![value],
                [] => Vec::new(),
                _ => value.split(|byte| *byte == b' ').collect(),
            };
            (setting.parse)(&mut config, &words, How::Replace)
                .map_err(|reason| SetError::Failed { name: (*name).into(), reason })?;
        }
        config.settle();
        let settings = rows
            .into_iter()
            .map(|(setting, _)| setting)
            .filter(|setting| setting.is(REREAD) || !(setting.same)(self, &config))
            .collect();
        Ok(Change { config, settings })
    }

    /// The rows that CONFIG SET names, all of which may be set now.
    fn settable(
        &self,
        pairs: &[(&[u8], &[u8])],
        asking: Asking,
    ) -> Result<Vec<(&'static Setting, &'static str)>, SetError> {
        let mut rows: Vec<(&'static Setting, &'static str)> = Vec::with_capacity(pairs.len());
        for (asked, _) in pairs {
            let refuse = |reason: &str| Err(SetError::Failed { name: asked.to_vec(), reason: reason.into() });
            let (setting, name) = named(asked).ok_or_else(|| SetError::Unknown(asked.to_vec()))?;
            if setting.is(FIXED) {
                return refuse("can't set immutable config");
            }
            if setting.is(PROTECTED) && !self.enable_protected_configs.allows(asking.local) {
                return refuse("can't set protected config");
            }
            if setting.is(NOT_LOADING) && asking.loading {
                return Err(SetError::Loading);
            }
            // Two names of one setting are the same setting.
            if rows.iter().any(|(row, _)| row.name == setting.name) {
                return refuse("duplicate parameter");
            }
            rows.push((setting, name));
        }
        Ok(rows)
    }

    /// Brings values that are hints into the range that works.
    pub(crate) fn settle(&mut self) {
        self.hz = self.hz.clamp(1, 500);
        self.repl_backlog_size = self.repl_backlog_size.max(16 << 10);
    }
}
