//! What do replicas read? The stream: numbered bytes of one history, the last of them kept in the backlog, each piece
//! handed to every replica's queue as it is sealed.
//!
//! A history has an identifier. A replica goes on with its primary's history; once it is a primary itself it begins
//! one of its own and remembers the other, up to where it had come ([`Mark`], `second`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::{Buf, Bytes};
use parking_lot::Mutex;

use crate::log::entry::Readers;
use crate::log::{Ends, Log};

/// The identifier of a history: forty hexadecimal digits.
pub type Id = [u8; 40];

/// What a replica has still to be sent. Filled under the log's lock, emptied by the thread of its connection.
#[derive(Debug, Default)]
pub struct Feed {
    queue: Mutex<VecDeque<Bytes>>,
    waiting: AtomicU64,
    /// The connection has been told that there is something.
    pub woken: AtomicBool,
}

impl Feed {
    fn push(&self, piece: Bytes) {
        self.waiting.fetch_add(piece.len() as u64, Ordering::AcqRel);
        self.queue.lock().push_back(piece);
    }

    /// The next piece to be sent.
    pub fn pop(&self) -> Option<Bytes> {
        self.queue.lock().pop_front()
    }

    /// Gives back the part of a piece that could not be sent.
    pub fn put_back(&self, rest: Bytes) {
        self.queue.lock().push_front(rest);
    }

    /// Notes that bytes have been sent.
    pub fn sent(&self, bytes: usize) {
        self.waiting.fetch_sub(bytes as u64, Ordering::AcqRel);
    }

    /// Bytes that have not been sent.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Acquire)
    }
}

/// A place in a history: what a snapshot is followed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Whose.
    pub id: Id,
    /// Bytes of it that have been.
    pub offset: u64,
    /// The database that is selected there.
    pub db: Option<usize>,
}

/// Why a replica cannot go on where it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// It was part of another history, or of a part of it that this server never had.
    History,
    /// What it lacks is not in the backlog, which goes from one offset to another.
    Backlog {
        /// In front of the first byte that is kept.
        start: u64,
        /// Behind the last.
        end: u64,
    },
}

/// What INFO tells of the backlog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// Offset in front of the first byte that is kept.
    pub start: u64,
    /// Bytes that are kept.
    pub len: u64,
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) end: u64,
    pub(super) db: Option<usize>,
    /// The bytes come from a primary, as they are, since this epoch.
    pub(super) relays: Option<u64>,
    id: Id,
    second: Option<(Id, u64)>,
    pieces: VecDeque<Bytes>,
    kept: u64,
    capacity: u64,
    feeds: Vec<Arc<Feed>>,
}

impl Default for Stream {
    fn default() -> Self {
        Stream {
            end: 0,
            db: None,
            relays: None,
            id: [b'0'; 40],
            second: None,
            pieces: VecDeque::new(),
            kept: 0,
            capacity: 1 << 20,
            feeds: Vec::new(),
        }
    }
}

impl Stream {
    /// Takes a sealed piece whose bytes have been counted.
    pub(super) fn push(&mut self, piece: &Bytes) {
        for feed in &self.feeds {
            feed.push(piece.clone());
        }
        self.kept += piece.len() as u64;
        self.pieces.push_back(piece.clone());
        self.trim();
    }

    fn trim(&mut self) {
        while self.kept > self.capacity {
            let over = self.kept - self.capacity;
            let Some(first) = self.pieces.front_mut() else { return };
            let len = first.len() as u64;
            if len <= over {
                self.pieces.pop_front();
                self.kept -= len;
            } else {
                first.advance(over as usize);
                self.kept -= over;
            }
        }
    }

    fn clear(&mut self) {
        self.pieces.clear();
        self.kept = 0;
    }
}

impl Log {
    /// Begins to keep a backlog of so many bytes.
    pub fn open_stream(&self, capacity: u64) {
        let mut inner = self.inner.lock();
        inner.seal();
        inner.stream.capacity = capacity.max(1);
        inner.stream.db = None;
        let readers = Readers { replicas: true, ..inner.readers };
        self.change(&mut inner, readers);
    }

    /// Forgets the backlog. There are no replicas.
    pub fn close_stream(&self) {
        let mut inner = self.inner.lock();
        inner.seal();
        inner.stream.clear();
        let readers = Readers { replicas: false, ..inner.readers };
        self.change(&mut inner, readers);
    }

    /// Changes how much the backlog keeps.
    pub fn resize_backlog(&self, capacity: u64) {
        let mut inner = self.inner.lock();
        inner.seal();
        inner.stream.capacity = capacity.max(1);
        inner.stream.trim();
    }

    /// What the backlog holds; `None` without one.
    pub fn backlog_held(&self) -> Option<Backlog> {
        let mut inner = self.inner.lock();
        inner.seal();
        let stream = &inner.stream;
        inner.readers.replicas.then_some(Backlog { start: stream.end - stream.kept, len: stream.kept })
    }

    /// Adds a replica: from here on it gets everything, and the database is named again. Call it under all locks.
    pub fn attach(&self, feed: &Arc<Feed>) {
        let mut inner = self.inner.lock();
        inner.seal();
        if inner.stream.relays.is_none() {
            inner.stream.db = None;
        }
        inner.stream.feeds.push(feed.clone());
    }

    /// Adds a replica that has everything up to `offset` of the history `id`; returns how many bytes it is behind.
    ///
    /// # Errors
    /// When the history is another, or the backlog does not hold what follows.
    pub fn resume(&self, feed: &Arc<Feed>, id: &[u8], offset: u64) -> Result<u64, Lost> {
        let mut inner = self.inner.lock();
        inner.seal();
        let stream = &mut inner.stream;
        let ours =
            id == stream.id || stream.second.is_some_and(|(second, upto)| id == second && offset <= upto);
        let start = stream.end - stream.kept;
        if !ours {
            return Err(Lost::History);
        }
        if !self.is_streaming() || offset < start || offset > stream.end {
            return Err(Lost::Backlog { start, end: stream.end });
        }
        let mut skip = offset - start;
        for piece in &stream.pieces {
            let len = piece.len() as u64;
            if skip < len {
                feed.push(piece.slice(skip as usize..));
            }
            skip = skip.saturating_sub(len);
        }
        stream.feeds.push(feed.clone());
        Ok(stream.end - offset)
    }

    /// A replica is gone.
    pub fn detach(&self, feed: &Arc<Feed>) {
        self.inner.lock().stream.feeds.retain(|f| !Arc::ptr_eq(f, feed));
    }

    /// Hands what has been appended to the replicas' queues.
    pub fn feed(&self) {
        self.inner.lock().seal();
    }

    /// Appends a command that only replicas get, and that is about no data (PING, REPLCONF GETACK).
    pub fn tell_replicas(&self, command: &[u8]) -> Ends {
        self.add(|inner| {
            if inner.stream.relays.is_none() {
                inner.put(command, Readers::REPLICAS);
            }
        })
    }

    /// From now on the stream is what a primary sends: only [`Log::relay`] adds to it. `None`: it is the server's own
    /// again. Call it under all locks.
    pub fn follow(&self, epoch: Option<u64>) {
        let mut inner = self.inner.lock();
        inner.seal();
        inner.stream.relays = epoch;
        if epoch.is_none() {
            // Whoever goes on with this history is told the database again.
            inner.stream.db = None;
        }
    }

    /// Appends what a primary has sent, as it is, if that is still wanted. `file`: the database in which it changed
    /// data; `db`: the one that is selected behind it. Call it while the locks of the changed keys are held.
    pub fn relay(&self, raw: &[u8], file: Option<usize>, db: usize, epoch: u64) -> Option<Ends> {
        let mut wanted = true;
        let ends = self.add(|inner| {
            wanted = inner.stream.relays == Some(epoch);
            if !wanted {
                return;
            }
            if let Some(before) = file {
                inner.select(before, Readers::FILE);
                inner.file_db = Some(db);
            }
            inner.put(raw, Readers { file: file.is_some(), replicas: true });
            inner.stream.db = Some(db);
        });
        wanted.then_some(ends)
    }

    /// The data is that of a history at an offset. There are no replicas. Call it under all locks.
    pub fn adopt(&self, mark: Mark, capacity: u64) {
        self.open_stream(capacity);
        let mut inner = self.inner.lock();
        let stream = &mut inner.stream;
        stream.clear();
        stream.feeds.clear();
        (stream.id, stream.end, stream.db, stream.second) = (mark.id, mark.offset, mark.db, None);
        self.stream_end.store(mark.offset, Ordering::Release);
    }

    /// The history goes on, maybe under another name.
    pub fn continue_as(&self, id: Id, capacity: u64) {
        if !self.is_streaming() {
            self.open_stream(capacity);
        }
        if self.mark().id != id {
            self.new_history(id, true);
        }
    }

    /// Where the stream stands.
    pub fn mark(&self) -> Mark {
        let inner = self.inner.lock();
        Mark { id: inner.stream.id, offset: inner.stream.end, db: inner.stream.db }
    }

    /// The history that this one continued, and the offset up to which it did.
    pub fn second(&self) -> Option<(Id, u64)> {
        self.inner.lock().stream.second
    }

    /// Begins a new history. `keep`: it continues the present one from here on, for replicas that were part of that.
    pub fn new_history(&self, id: Id, keep: bool) {
        let mut inner = self.inner.lock();
        inner.seal();
        let stream = &mut inner.stream;
        stream.second = keep.then_some((stream.id, stream.end));
        stream.id = id;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::LONGEST;
    use crate::log::entry::{Logged, encode_command};

    fn set(n: usize) -> [Logged; 1] {
        [Logged::new(0, encode_command(&["SET", "k", &n.to_string()]))]
    }

    fn drain(feed: &Feed) -> Vec<u8> {
        std::iter::from_fn(|| feed.pop()).flatten().collect()
    }

    #[test]
    fn replicas_and_file_get_the_same_bytes_but_for_what_is_for_one() {
        let log = Log::default();
        log.enable(true);
        log.append(&set(0));
        log.open_stream(1 << 20);
        // What came before anybody read the stream is counted, and is not in it.
        let start = log.mark().offset;
        assert_eq!(start, 1);
        let feed = Arc::new(Feed::default());
        log.attach(&feed);
        log.append(&set(1));
        log.tell_replicas(&encode_command(&["PING"]));
        log.append(&set(2));
        log.feed();
        let text = String::from_utf8(drain(&feed)).unwrap();
        assert_eq!(text.matches("SELECT").count(), 1);
        assert!(text.contains("PING") && start + text.len() as u64 == log.mark().offset);
        let mut taken = crate::log::Taken::default();
        log.take(&mut taken);
        let file: Vec<u8> = taken
            .pieces
            .iter()
            .flat_map(|p| if let crate::log::Piece::Bytes(b) = p { b.to_vec() } else { Vec::new() })
            .collect();
        let file = String::from_utf8(file).unwrap();
        assert!(!file.contains("PING") && file.matches("SET\r\n").count() == 3);
        assert_eq!(file.matches("SELECT").count(), 1);
    }

    #[test]
    fn what_nobody_fetches_waits_in_pieces_that_are_not_long() {
        let log = Log::default();
        log.open_stream(100);
        let feed = Arc::new(Feed::default());
        log.attach(&feed);
        for n in 0..20_000 {
            log.append(&set(n));
        }
        let waiting = feed.waiting();
        assert!(waiting > 500_000 && log.mark().offset - waiting <= LONGEST as u64);
        assert!(std::iter::from_fn(|| feed.pop()).all(|piece| piece.len() <= LONGEST));
    }

    #[test]
    fn any_offset_in_the_backlog_can_be_resumed_and_no_other() {
        let log = Log::default();
        log.open_stream(100);
        log.new_history([b'a'; 40], false);
        let whole = Arc::new(Feed::default());
        log.attach(&whole);
        for n in 0..50 {
            log.append(&set(n));
            log.feed();
        }
        let all = drain(&whole);
        let end = all.len() as u64;
        for offset in 0..=end + 1 {
            let feed = Arc::new(Feed::default());
            let behind = log.resume(&feed, &[b'a'; 40], offset);
            if (end - 100..=end).contains(&offset) {
                assert_eq!(behind, Ok(end - offset));
                assert_eq!(drain(&feed), &all[offset as usize..]);
            } else {
                assert_eq!(behind, Err(Lost::Backlog { start: end - 100, end }));
            }
            assert_eq!(log.resume(&feed, &[b'b'; 40], offset), Err(Lost::History));
        }
        // After a promotion the old history is good up to where it ended.
        log.new_history([b'c'; 40], true);
        let feed = Arc::new(Feed::default());
        assert!(log.resume(&feed, &[b'a'; 40], end).is_ok());
        log.append(&set(1));
        let end = log.mark().offset;
        assert_eq!(log.resume(&feed, &[b'a'; 40], end), Err(Lost::History));
        assert!(log.resume(&feed, &[b'c'; 40], end).is_ok());
    }
}
