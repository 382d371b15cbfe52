//! What did many connections see, and is there one order that explains it?
//!
//! Lists are only ever appended to, and every value is appended once. A read of a list then shows not only its last
//! version but all versions before it, in order: the idea of Elle (Kingsbury and Alvaro, VLDB 2020), whose
//! list-append checker `check` follows. `workload` makes such histories against a server.

pub mod check;
pub mod workload;

/// A key of the history: an index, not a name.
pub type Key = usize;
/// A value that is appended at most once in a history.
pub type Element = u64;

/// One step of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// The element was appended; the list was this long afterwards, if the reply said so.
    Append(Key, Element, Option<usize>),
    /// The whole list was read.
    Read(Key, Vec<Element>),
}

/// What must happen at one instant: a command, a transaction or a script.
#[derive(Clone, Debug)]
pub struct Unit {
    /// The connection that sent it; the units of one connection are in order.
    pub connection: usize,
    /// Nanoseconds at which it was about to be sent.
    pub invoked: u64,
    /// Nanoseconds at which its reply had been read.
    pub completed: u64,
    /// Its steps, in order.
    pub ops: Vec<Op>,
    /// How it was sent, for reports.
    pub form: &'static str,
}
