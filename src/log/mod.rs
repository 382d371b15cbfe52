//! In which order did things happen? One stream of commands as RESP bytes, appended to before the locks of the keys
//! that they changed are released, so that the log's order is an order in which everything happened.
//!
//! It has two kinds of readers: the append-only file, and the replicas with the backlog that lets them catch up. What
//! is appended is written once, into the open piece; sealed, the piece is shared by all readers. With no reader nothing
//! is kept and nothing is locked.
//!
//! ```text
//! append > [open piece]  seal > [piece] > the file's queue    (take)
//!                                   |---> the backlog         (the last `repl-backlog-size` bytes)
//!                                   '---> each replica's queue (feed)
//! ```
//!
//! Some records are for one kind of reader only (PUBLISH and PING for replicas, SELECT at the head of a new file), so
//! there are two offsets: the log's counts units since the server started, and the stream's counts the bytes that
//! replicas get; that one may begin anywhere, as a replica goes on with its primary's.

pub mod entry;
mod stream;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use crate::log::entry::{Logged, Readers, encode_command};
use crate::log::stream::Stream;

pub use crate::log::stream::{Backlog, Feed, Id, Lost, Mark};

/// Room that a new piece begins with, in bytes.
const ROOM: usize = 16 * 1024;

/// A piece is sealed before it gets longer, in bytes, though nobody asks for it yet: what a slow reader leaves, and what
/// the backlog keeps, then takes hardly more memory than it has bytes.
const LONGEST: usize = 64 * 1024;

/// A part of the append-only file.
#[derive(Debug, Clone)]
pub enum Piece {
    /// Encoded commands.
    Bytes(Bytes),
    /// From here on a new file.
    Cut,
}

/// What the file has taken from the log and not dealt with yet.
#[derive(Debug, Default)]
pub struct Taken {
    /// In order.
    pub pieces: VecDeque<Piece>,
    /// The log's offset behind them.
    pub end: u64,
}

impl Taken {
    /// Bytes of commands in it.
    pub fn len(&self) -> usize {
        let len = |piece: &Piece| if let Piece::Bytes(bytes) = piece { bytes.len() } else { 0 };
        self.pieces.iter().map(len).sum()
    }

    /// True when there is nothing to deal with.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }
}

/// Offsets behind what has been appended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ends {
    /// The log's.
    pub log: u64,
    /// The stream's.
    pub stream: u64,
}

#[derive(Debug, Default)]
struct Inner {
    /// Who reads.
    readers: Readers,
    open: BytesMut,
    /// Who the open piece is for.
    open_for: Readers,
    /// What the file has not taken.
    file: Vec<Piece>,
    file_db: Option<usize>,
    stream: Stream,
}

/// The log.
#[derive(Debug, Default)]
pub struct Log {
    enabled: AtomicBool,
    streaming: AtomicBool,
    inner: Mutex<Inner>,
    end: AtomicU64,
    stream_end: AtomicU64,
}

impl Inner {
    /// Closes the open piece and hands it to whom it is for.
    fn seal(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let piece = self.open.split().freeze();
        if self.open_for.replicas {
            self.stream.push(&piece);
        }
        if self.open_for.file {
            self.file.push(Piece::Bytes(piece));
        }
    }

    /// Makes room for more in the open piece, or begins the next one. Of room that stays empty a slow reader keeps as
    /// much as of what is filled, so it grows by powers of two, which the allocator has no need to round up.
    fn make_room(&mut self, more: usize) {
        if self.open.len() + more > LONGEST {
            self.seal();
        }
        let need = self.open.len() + more;
        let room = if need > LONGEST { need } else { need.next_power_of_two().max(ROOM) };
        let before = std::mem::replace(&mut self.open, BytesMut::with_capacity(room));
        self.open.extend_from_slice(&before);
    }

    fn put(&mut self, bytes: &[u8], to: Readers) {
        let to = to.and(self.readers);
        if to == Readers::NONE {
            return;
        }
        if self.open_for != to {
            self.seal();
            self.open_for = to;
        }
        if self.open.capacity() - self.open.len() < bytes.len() {
            self.make_room(bytes.len());
        }
        self.open.extend_from_slice(bytes);
        if to.replicas {
            self.stream.end += bytes.len() as u64;
        }
    }

    /// Names the database for those who have not been told.
    fn select(&mut self, db: usize, to: Readers) {
        let file = to.file && self.file_db != Some(db);
        let replicas = to.replicas && self.stream.db != Some(db);
        if file || replicas {
            self.put(&encode_command(&["SELECT", &db.to_string()]), Readers { file, replicas });
            if file {
                self.file_db = Some(db);
            }
            if replicas {
                self.stream.db = Some(db);
            }
        }
    }

    /// Appends commands that belong together.
    fn unit(&mut self, unit: &[Logged], to: Readers) {
        // What is for one reader only does not make a transaction of a single write for the other.
        let several =
            |is_for: fn(&Logged) -> bool| unit.iter().filter(|logged| is_for(logged)).nth(1).is_some();
        let (file, replicas) = (several(|logged| logged.to.file), several(|logged| logged.to.replicas));
        let wrap = Readers { file, replicas }.and(to);
        if to.replicas && !self.readers.replicas {
            // Nobody reads the stream: as Redis does, it only counts how much there was.
            self.stream.end += unit.len() as u64;
        }
        self.put(b"*1\r\n$5\r\nMULTI\r\n", wrap);
        for logged in unit {
            let to = logged.to.and(to);
            self.select(logged.db, to);
            self.put(&logged.bytes, to);
        }
        self.put(b"*1\r\n$4\r\nEXEC\r\n", wrap);
    }
}

impl Log {
    fn change(&self, inner: &mut Inner, readers: Readers) {
        inner.readers = readers;
        self.streaming.store(readers.replicas, Ordering::Release);
        self.enabled.store(readers != Readers::NONE, Ordering::Release);
    }

    /// Starts or stops keeping what is appended for the append-only file.
    pub fn enable(&self, on: bool) {
        let mut inner = self.inner.lock();
        inner.seal();
        inner.file.clear();
        inner.file_db = None;
        let readers = Readers { file: on, ..inner.readers };
        self.change(&mut inner, readers);
    }

    /// True when somebody reads the log.
    pub fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::Acquire)
    }

    /// True when the append-only file reads the log.
    pub fn has_file(&self) -> bool {
        self.inner.lock().readers.file
    }

    /// True when there is a backlog, and maybe replicas.
    pub fn is_streaming(&self) -> bool {
        self.streaming.load(Ordering::Acquire)
    }

    /// Appends one unit of work: its commands stand together, inside MULTI and EXEC when there are several.
    /// Returns the offsets behind it. Call it while the locks of the changed keys are held.
    pub fn append(&self, unit: &[Logged]) -> Ends {
        self.add(|inner| {
            // A replica's replicas get what its primary sent, and nothing else.
            let to = Readers { file: true, replicas: inner.stream.relays.is_none() };
            inner.unit(unit, to);
        })
    }

    fn add(&self, write: impl FnOnce(&mut Inner)) -> Ends {
        let mut inner = self.inner.lock();
        if !self.is_enabled() {
            return self.ends();
        }
        write(&mut inner);
        let stream = inner.stream.end;
        self.stream_end.store(stream, Ordering::Release);
        Ends { log: self.end.fetch_add(1, Ordering::AcqRel) + 1, stream }
    }

    /// The log's offset behind everything that has been appended.
    pub fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Both offsets behind everything that has been appended.
    pub fn ends(&self) -> Ends {
        Ends { log: self.end(), stream: self.stream_end.load(Ordering::Acquire) }
    }

    /// Adds to `taken` what has been appended for the file since the last call.
    pub fn take(&self, taken: &mut Taken) {
        let mut inner = self.inner.lock();
        inner.seal();
        taken.pieces.extend(inner.file.drain(..));
        taken.end = self.end();
    }

    /// Bytes that the file has not taken yet.
    pub fn waiting(&self) -> usize {
        let inner = self.inner.lock();
        let open = if inner.open_for.file { inner.open.len() } else { 0 };
        let sealed: usize =
            inner.file.iter().map(|p| if let Piece::Bytes(bytes) = p { bytes.len() } else { 0 }).sum();
        open + sealed
    }

    /// What is appended from now on belongs to a new file, in which the database is named again. Call it under all
    /// locks, so that the cut is a moment of the data.
    pub fn cut(&self) {
        let mut inner = self.inner.lock();
        inner.seal();
        inner.file_db = None;
        inner.file.push(Piece::Cut);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set() -> Logged {
        Logged::new(1, encode_command(&["SET", "k", "v"]))
    }

    fn text(taken: &Taken) -> String {
        let show = |piece: &Piece| match piece {
            Piece::Bytes(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            Piece::Cut => "|".to_owned(),
        };
        let text: String = taken.pieces.iter().map(show).collect();
        let word = |line: &&str| !line.starts_with(['*', '$']) && !line.is_empty();
        text.replace('|', "\r\n|\r\n").split("\r\n").filter(word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn units_stand_together_and_databases_are_selected_once() {
        let log = Log::default();
        log.enable(true);
        log.append(&[set()]);
        let end = log.append(&[set(), set()]).log;
        let mut taken = Taken::default();
        log.take(&mut taken);
        assert_eq!(taken.end, end);
        assert_eq!(text(&taken), "SELECT 1 SET k v MULTI SET k v SET k v EXEC");
    }

    #[test]
    fn a_cut_stays_where_it_was_made_and_the_new_file_names_its_database() {
        let log = Log::default();
        log.enable(true);
        let mut taken = Taken::default();
        log.append(&[set()]);
        log.take(&mut taken);
        log.append(&[set()]);
        log.cut();
        log.append(&[set()]);
        log.take(&mut taken);
        assert_eq!(text(&taken), "SELECT 1 SET k v SET k v | SELECT 1 SET k v");
    }
}
