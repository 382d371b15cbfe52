//! How is a big value written without holding its lock for long? In pieces: between two of them the lock is let go,
//! and the value does not change meanwhile, because whoever wants to change it first has the rest written.
//!
//! A string is copied as it is: to compress it, all of it would have to be seen at once.

use crate::ds::entry::View;
use crate::ds::quicklist::NodeRef;
use crate::persist::rdb::encode::{Encoder, Usage};
use crate::persist::rdb::kind;
use crate::value::stream::StreamId;
use crate::value::{Hash, List, Set, Value, Zset};

/// Strings longer than this are big.
const LONG: usize = 1 << 20;
/// Elements of big collections, and nodes of big lists and streams.
const MANY: usize = 1024;
const MANY_NODES: usize = 64;
/// How many times as much, or as many, make a value that takes longer to write than anybody should wait for a lock.
const VERY: usize = 8;
/// What one piece holds: bytes, elements, nodes.
const PIECE_BYTES: usize = 256 << 10;
const PIECE: usize = 512;
const PIECE_NODES: usize = 16;

/// How far a value has been written.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    pub(in crate::persist) at: At,
    /// Elements or nodes that are to come.
    pub(in crate::persist) left: u64,
}

#[derive(Debug, Clone, Copy)]
pub(in crate::persist) enum At {
    /// A byte, a node, or a rank.
    Index(usize),
    /// A place in a table.
    Cursor(u64),
    /// A node of a stream.
    Node(StreamId),
}

/// The elements of a value did not come to the number that was announced: what has been written is no snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Miscounted;

/// True when a value is worth writing in pieces.
pub fn is_big(view: &View<'_, Value>) -> bool {
    exceeds(view, 1)
}

/// True when whoever wants to change a value should wait until it has been written in pieces, rather than write the
/// rest of it under its lock.
pub fn is_very_big(view: &View<'_, Value>) -> bool {
    exceeds(view, VERY)
}

fn exceeds(view: &View<'_, Value>, times: usize) -> bool {
    match view {
        View::Str(_) | View::Int(_) => false,
        View::Value(Value::Str(bytes)) => bytes.len() > times * LONG,
        View::Value(Value::List(List::Quick(nodes))) => nodes.nodes().len() > times * MANY_NODES,
        View::Value(Value::Set(Set::Table(table))) => table.len() > times * MANY,
        View::Value(Value::Zset(Zset::Tree(tree))) => tree.len() > times * MANY,
        View::Value(Value::Hash(hash @ Hash::Table(_))) => hash.len() > times * MANY,
        View::Value(Value::Stream(stream)) => stream.nodes().len() > times * MANY_NODES,
        View::Value(_) => false,
    }
}

impl Progress {
    /// The beginning of a big value.
    pub fn start(view: &View<'_, Value>) -> Progress {
        let index = |n: usize| Progress { at: At::Index(0), left: n as u64 };
        match view {
            View::Value(Value::List(list)) => index(list.len()),
            View::Value(Value::Set(set)) => Progress { at: At::Cursor(0), left: set.len() as u64 },
            View::Value(Value::Zset(zset)) => index(zset.len()),
            View::Value(Value::Hash(hash)) => Progress { at: At::Cursor(0), left: hash.len() as u64 },
            View::Value(Value::Stream(stream)) => {
                Progress { at: At::Node(StreamId::MIN), left: stream.len() }
            }
            _ => index(0),
        }
    }
}

impl Encoder {
    /// Writes what stands before a big value's elements.
    pub fn begin(
        &mut self,
        key: &[u8],
        view: &View<'_, Value>,
        expire: Option<u64>,
        usage: Usage,
    ) -> Progress {
        self.head(expire, usage);
        let at = self.out.len();
        self.out.push(0);
        self.string(key);
        let (kind, progress) = self.announce(view);
        self.out[at] = kind;
        progress
    }

    fn announce(&mut self, view: &View<'_, Value>) -> (u8, Progress) {
        let index = |n: usize| Progress { at: At::Index(0), left: n as u64 };
        let (kind, progress) = match view {
            View::Value(Value::Str(bytes)) => (kind::STRING, index(bytes.len())),
            View::Value(Value::List(list)) if self.version() < 10 => (kind::LIST, index(list.len())),
            View::Value(Value::List(List::Quick(nodes))) => {
                (kind::LIST_QUICKLIST_2, index(nodes.nodes().len()))
            }
            View::Value(Value::Set(set)) => {
                (kind::SET, Progress { at: At::Cursor(0), left: set.len() as u64 })
            }
            View::Value(Value::Zset(zset)) => (kind::ZSET_2, index(zset.len())),
            View::Value(Value::Hash(hash)) => {
                let first = hash.next_expiry();
                self.out.extend(first.map(u64::to_le_bytes).into_iter().flatten());
                let kind = if first.is_some() { kind::HASH_EXPIRING } else { kind::HASH };
                (kind, Progress { at: At::Cursor(0), left: hash.len() as u64 })
            }
            View::Value(Value::Stream(stream)) => {
                let left = stream.nodes().len() as u64;
                (self.stream_kind(), Progress { at: At::Node(StreamId::MIN), left })
            }
            // Not big: written as the first and only piece.
            _ => (self.value(view), Progress { at: At::Index(0), left: 0 }),
        };
        if is_big(view) {
            self.len(progress.left);
        }
        (kind, progress)
    }

    /// Writes some more of a value, or all the rest. True at its end.
    ///
    /// # Errors
    /// [`Miscounted`] when the value has changed since it was begun, which nobody may do.
    pub fn go_on(
        &mut self,
        view: &View<'_, Value>,
        progress: &mut Progress,
        all: bool,
    ) -> Result<bool, Miscounted> {
        loop {
            let (wrote, more) = self.piece(view, progress);
            progress.left = progress.left.checked_sub(wrote).ok_or(Miscounted)?;
            if !more {
                return if progress.left == 0 { Ok(true) } else { Err(Miscounted) };
            }
            if !all {
                return Ok(false);
            }
        }
    }

    /// One piece: how many elements it holds, and whether more follow.
    fn piece(&mut self, view: &View<'_, Value>, progress: &mut Progress) -> (u64, bool) {
        let before = progress.left;
        match (view, &mut progress.at) {
            (View::Value(Value::Str(bytes)), At::Index(at)) => {
                let n = PIECE_BYTES.min(bytes.len() - *at);
                self.out.extend_from_slice(&bytes[*at..*at + n]);
                *at += n;
                (n as u64, *at < bytes.len())
            }
            (View::Value(Value::List(list)), At::Index(at)) => {
                let wrote = self.list_piece(list, *at);
                *at += wrote as usize;
                (wrote, wrote < before)
            }
            (View::Value(Value::Set(set)), At::Cursor(cursor)) => {
                let mut n = 0;
                *cursor = set.scan(*cursor, PIECE, |member| {
                    self.element(member);
                    n += 1;
                });
                (n, *cursor != 0)
            }
            (View::Value(Value::Zset(zset)), At::Index(at)) => {
                let end = zset.len() - *at;
                let start = end.saturating_sub(PIECE);
                for (member, score) in zset.range(start..end).rev() {
                    self.element(member);
                    self.out.extend_from_slice(&score.to_le_bytes());
                }
                *at += end - start;
                ((end - start) as u64, start > 0)
            }
            (View::Value(Value::Hash(hash)), At::Cursor(cursor)) => {
                let (mut n, first) = (0, hash.next_expiry());
                *cursor = hash.scan(*cursor, PIECE, |field| {
                    self.field(field, first);
                    n += 1;
                });
                (n, *cursor != 0)
            }
            (View::Value(Value::Stream(stream)), At::Node(from)) => {
                let mut n = 0;
                for (id, lp) in stream.nodes_from(*from).take(PIECE_NODES) {
                    self.string(&id.to_bytes());
                    self.string(lp.as_bytes());
                    n += 1;
                    *from = id.next().unwrap_or(StreamId::MAX);
                }
                let more = n < before;
                if !more {
                    self.stream_tail(stream);
                }
                (n, more)
            }
            _ => (0, false),
        }
    }

    fn list_piece(&mut self, list: &List, at: usize) -> u64 {
        let mut n = 0;
        match list {
            List::Quick(nodes) if self.version() >= 10 => {
                for node in nodes.nodes_from(at).take(PIECE_NODES) {
                    self.node(node);
                    n += 1;
                }
            }
            _ => {
                for value in list.iter_from(at).take(PIECE) {
                    self.element(value);
                    n += 1;
                }
            }
        }
        n
    }

    /// A node of a list.
    pub(super) fn node(&mut self, node: NodeRef<'_>) {
        match node {
            NodeRef::Packed(lp) => self.packed_node(lp),
            NodeRef::Plain(bytes) => self.plain_node(bytes),
        }
    }
}
