//! Who writes the append-only file? The holder of this, in the log's order. What is written are the log's pieces, and
//! notes between them, which begin with `#` and which Redis passes over.
//!
//! ```text
//! #TS:1700000000      the commands that follow were written at this time (aof-timestamp-enabled)
//! #CRC:0123456789abcdef   the CRC64 of all bytes since the last such note, or since the beginning (aof-checksums)
//! #AFTER:4096         at the beginning of a file: the one before it ended at this length (aof-checksums)
//! ```
//!
//! Invariants: a note stands between units, never inside one; a checksum is written when a second has passed since the
//! first byte that has none, or after [`SUM_BYTES`], and at the end of a file that is left.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use crate::log::{Log, Piece, Taken};
use crate::persist::disk::DiskFile;
use crate::util::crc;

/// A checksum is not put off longer than this many bytes and microseconds.
const SUM_BYTES: u64 = 1 << 20;
const SUM_US: u64 = 1_000_000;
/// What a note with a checksum begins with.
pub(super) const SUM: &[u8] = b"#CRC:";
/// What a note with a time begins with.
pub(super) const STAMP: &[u8] = b"#TS:";

/// What a note with the length of the file before begins with.
pub(super) const AFTER: &[u8] = b"#AFTER:";

/// The bytes of a file behind its last checksum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tail {
    /// How many.
    pub len: u64,
    /// Their CRC64.
    pub crc: u64,
}

/// What to write besides the log's pieces.
#[derive(Debug, Clone, Copy)]
pub(super) struct Notes {
    /// The time, in unix seconds.
    pub stamp: Option<u64>,
    /// Checksums.
    pub sums: bool,
    /// Monotonic time.
    pub now_us: u64,
    /// Nothing follows for now: the checksum is written at once.
    pub last: bool,
}

/// The writing end.
#[derive(Default)]
pub(super) struct Writer {
    file: Option<Arc<dyn DiskFile>>,
    /// Length of the file, as far as it consists of whole writes.
    size: u64,
    /// A part of a write may stand behind that.
    torn: bool,
    /// Files that the log's cuts lead to.
    next: VecDeque<Arc<dyn DiskFile>>,
    /// Files that have been left and not been made durable since.
    left: Vec<Arc<dyn DiskFile>>,
    taken: Taken,
    tail: Tail,
    /// When the tail began.
    since_us: u64,
    /// The last time that was written.
    stamped: u64,
}

impl Writer {
    /// Takes what has been appended; the present time stands before it.
    pub fn take(&mut self, log: &Log, notes: Notes) {
        let whole = self.taken.is_empty();
        log.take(&mut self.taken);
        if let Some(now) = notes.stamp.filter(|now| whole && *now > self.stamped)
            && matches!(self.taken.pieces.front(), Some(Piece::Bytes(_)))
        {
            let note = [STAMP, now.to_string().as_bytes(), b"\r\n"].concat();
            self.taken.pieces.push_front(Piece::Bytes(note.into()));
            self.stamped = now;
        }
    }

    /// Writes what has been taken, changing files where the log was cut.
    pub fn write(&mut self, notes: Notes) -> io::Result<()> {
        while let Some(piece) = self.taken.pieces.front() {
            match piece.clone() {
                Piece::Bytes(bytes) => {
                    if self.tail.len == 0 {
                        self.since_us = notes.now_us;
                    }
                    self.put(&bytes)?;
                }
                Piece::Cut => {
                    if notes.sums {
                        self.sum()?;
                    }
                    self.left.extend(self.file.take());
                    self.file = self.next.pop_front();
                    let before = std::mem::take(&mut self.size);
                    (self.tail, self.stamped) = (Tail::default(), 0);
                    if notes.sums {
                        let note = [AFTER, before.to_string().as_bytes(), b"\r\n"].concat();
                        // In the place of the cut: it is written when what follows is.
                        self.taken.pieces.pop_front();
                        self.taken.pieces.push_front(Piece::Bytes(note.into()));
                        continue;
                    }
                }
            }
            self.taken.pieces.pop_front();
        }
        let old = notes.now_us.saturating_sub(self.since_us) >= SUM_US || self.tail.len >= SUM_BYTES;
        if notes.sums && (old || notes.last) { self.sum() } else { Ok(()) }
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(file) = &self.file else { return Err(io::Error::other("no file is open")) };
        if self.torn {
            // A part of a write must not stand in the middle of the file.
            file.cut(self.size)?;
        }
        self.torn = true;
        file.write(bytes)?;
        self.torn = false;
        self.size += bytes.len() as u64;
        self.tail.len += bytes.len() as u64;
        self.tail.crc = crc::crc64(self.tail.crc, bytes);
        Ok(())
    }

    fn sum(&mut self) -> io::Result<()> {
        if self.tail.len > 0 && self.file.is_some() {
            self.put(&[SUM, format!("{:016x}\r\n", self.tail.crc).as_bytes()].concat())?;
            self.tail = Tail::default();
        }
        Ok(())
    }

    /// Takes away what a failed write has left behind.
    pub fn mend(&mut self) {
        if self.torn
            && let Some(file) = &self.file
        {
            self.torn = file.cut(self.size).is_err();
        }
    }

    /// Begins a file, forgetting all that came before.
    pub fn restart(&mut self, file: Option<Arc<dyn DiskFile>>, size: u64, tail: Tail) {
        *self = Writer { file, size, tail, ..Writer::default() };
    }

    /// The file that the log's next cut leads to.
    pub fn queue(&mut self, file: Arc<dyn DiskFile>) {
        self.next.push_back(file);
    }

    /// The files that hold what has not been made durable.
    pub fn unsynced(&mut self) -> Vec<Arc<dyn DiskFile>> {
        let mut files = std::mem::take(&mut self.left);
        files.extend(self.file.clone());
        files
    }

    /// The log's offset behind what has been taken.
    pub fn end(&self) -> u64 {
        self.taken.end
    }

    /// What the files that have been left hold is in another one.
    pub fn forget_left(&mut self) {
        self.left.clear();
    }

    /// Length of the file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes that have been taken and not written.
    pub fn backlog(&self) -> usize {
        self.taken.len()
    }

    /// True when the file has no name any more.
    pub fn has_vanished(&self) -> bool {
        self.file.as_ref().is_some_and(|file| !file.has_name())
    }
}
