//! What did a command change? Collected while it runs, acted upon when it is done, under the same locks.

use crate::ds::entry::View;
use crate::keyspace::db::Slot;
use crate::keyspace::event::Class;
use crate::value::Value;

/// A keyspace event that is waiting to be published.
#[derive(Debug)]
pub struct Event {
    /// Database.
    pub db: usize,
    /// Class, as selected by `notify-keyspace-events`.
    pub class: Class,
    /// The event's name, e.g. `set`.
    pub name: &'static str,
    /// The key.
    pub key: Box<[u8]>,
}

/// A command for the log, as RESP bytes.
#[derive(Debug)]
pub struct Logged {
    /// The database that it applies to.
    pub db: usize,
    /// The encoded command.
    pub bytes: Vec<u8>,
}

/// Something that may take long to free, and is freed by someone with time.
#[derive(Debug)]
pub enum Garbage {
    /// A value that was replaced.
    Value(Value),
    /// A key that was removed.
    Slot(Slot),
}

impl Garbage {
    /// About how many allocations have to be freed.
    pub fn effort(&self) -> usize {
        match self {
            Garbage::Value(value) => value.effort(),
            Garbage::Slot(slot) => match slot.view() {
                View::Value(value) => value.effort(),
                _ => 1,
            },
        }
    }
}

/// The effects of one unit of work: a command, or a whole transaction or script.
#[derive(Debug, Default)]
pub struct Effects {
    /// Number of changes, as `rdb_changes_since_last_save` counts them.
    pub dirty: u64,
    /// Events to publish, in order.
    pub events: Vec<Event>,
    /// Keys that somebody waits for and that changed.
    pub ready: Vec<(usize, Box<[u8]>)>,
    /// What goes into the log, in order.
    pub log: Vec<Logged>,
    /// Said by the running command: these commands go into the log in its place.
    pub instead: Option<Vec<Vec<u8>>>,
    /// Values to free.
    pub garbage: Vec<Garbage>,
}

/// Encodes a command as RESP.
pub fn encode_command<T: AsRef<[u8]>>(argv: &[T]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(argv.iter().map(|a| a.as_ref().len() + 16).sum());
    let mut digits = itoa::Buffer::new();
    bytes.push(b'*');
    bytes.extend_from_slice(digits.format(argv.len()).as_bytes());
    for arg in argv {
        let arg = arg.as_ref();
        bytes.extend_from_slice(b"\r\n$");
        bytes.extend_from_slice(digits.format(arg.len()).as_bytes());
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(arg);
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_encoded_as_requests() {
        assert_eq!(encode_command(&["SET", "k", ""]), b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n");
    }
}
