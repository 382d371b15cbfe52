//! In which order did things happen? One stream of commands as RESP bytes, appended to before the locks of the keys
//! that they changed are released, so that the log's order is an order in which everything happened.
//!
//! Readers (the append-only file, later replicas) take what has been appended since they last looked; an offset counts
//! every byte since the server started. With no reader nothing is kept and nothing is locked.

pub mod entry;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::log::entry::{Logged, encode_command};

#[derive(Debug, Default)]
struct Inner {
    pending: Vec<u8>,
    /// Places in `pending` where a new file begins.
    cuts: Vec<usize>,
    selected: Option<usize>,
}

/// What a reader has taken from the log and not dealt with yet.
#[derive(Debug, Default)]
pub struct Taken {
    /// Encoded commands.
    pub bytes: Vec<u8>,
    /// Places in them where a new file begins, ascending.
    pub cuts: Vec<usize>,
    /// The log's offset behind them.
    pub end: u64,
}

/// The log.
#[derive(Debug, Default)]
pub struct Log {
    enabled: AtomicBool,
    inner: Mutex<Inner>,
    end: AtomicU64,
}

impl Log {
    /// Starts or stops keeping what is appended.
    pub fn enable(&self, on: bool) {
        let mut inner = self.inner.lock();
        inner.selected = None;
        inner.pending.clear();
        inner.cuts.clear();
        self.enabled.store(on, Ordering::Release);
    }

    /// True when somebody reads the log.
    pub fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::Acquire)
    }

    /// Appends one unit of work: its commands stand together, inside MULTI and EXEC when there are several.
    /// Returns the offset behind it. Call it while the locks of the changed keys are held.
    pub fn append(&self, unit: &[Logged]) -> u64 {
        let mut inner = self.inner.lock();
        if !self.is_enabled() {
            return self.end();
        }
        let before = inner.pending.len();
        let wrap = unit.len() > 1;
        for (i, logged) in unit.iter().enumerate() {
            if inner.selected != Some(logged.db) {
                let db = logged.db.to_string();
                inner.pending.extend_from_slice(&encode_command(&["SELECT", &db]));
                inner.selected = Some(logged.db);
            }
            if wrap && i == 0 {
                inner.pending.extend_from_slice(b"*1\r\n$5\r\nMULTI\r\n");
            }
            inner.pending.extend_from_slice(&logged.bytes);
        }
        if wrap {
            inner.pending.extend_from_slice(b"*1\r\n$4\r\nEXEC\r\n");
        }
        let grown = (inner.pending.len() - before) as u64;
        self.end.fetch_add(grown, Ordering::AcqRel) + grown
    }

    /// The offset behind everything that has been appended.
    pub fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Adds to `taken` what has been appended since the last call.
    pub fn take(&self, taken: &mut Taken) {
        let mut inner = self.inner.lock();
        let before = taken.bytes.len();
        taken.cuts.extend(inner.cuts.drain(..).map(|cut| before + cut));
        if before == 0 {
            std::mem::swap(&mut taken.bytes, &mut inner.pending);
        } else {
            taken.bytes.append(&mut inner.pending);
        }
        taken.end = self.end();
    }

    /// Bytes that nobody has taken yet.
    pub fn waiting(&self) -> usize {
        self.inner.lock().pending.len()
    }

    /// What is appended from now on belongs to a new file, in which the database is named again. Call it under all
    /// locks, so that the cut is a moment of the data.
    pub fn cut(&self) {
        let mut inner = self.inner.lock();
        inner.selected = None;
        let at = inner.pending.len();
        inner.cuts.push(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_stand_together_and_databases_are_selected_once() {
        let log = Log::default();
        log.enable(true);
        let set = || Logged { db: 1, bytes: encode_command(&["SET", "k", "v"]) };
        log.append(&[set()]);
        let end = log.append(&[set(), set()]);
        let mut taken = Taken::default();
        log.take(&mut taken);
        assert_eq!((taken.end, taken.bytes.len() as u64), (end, end));
        let text = String::from_utf8(taken.bytes).unwrap();
        assert_eq!(text.matches("SELECT").count(), 1);
        assert!(text.contains("MULTI") && text.ends_with("EXEC\r\n"));
    }

    #[test]
    fn a_cut_stays_where_it_was_made() {
        let log = Log::default();
        log.enable(true);
        let set = || Logged { db: 1, bytes: encode_command(&["SET", "k", "v"]) };
        let mut taken = Taken::default();
        log.append(&[set()]);
        log.take(&mut taken);
        let first = log.append(&[set()]) as usize;
        log.cut();
        log.append(&[set()]);
        log.take(&mut taken);
        assert_eq!(taken.cuts, [first]);
        // The new file names its database.
        assert!(taken.bytes[first..].starts_with(b"*2\r\n$6\r\nSELECT"));
    }
}
