//! What is a replica's connection sent? Lines and the snapshot first, then the log's stream.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Buf, Bytes};

use crate::log::Log;
use crate::net::thread::Thread;
use crate::replication::transfer::{Ended, Source};
use crate::replication::{Phase, Replica, Replication};

/// Bytes of a snapshot that are read at a time.
const CHUNK: usize = 64 * 1024;

/// Where the sending stands.
enum Stage {
    /// Lines, until there is a snapshot or the replica needs none.
    Lines,
    /// The snapshot, of which so many bytes have been read.
    Snapshot(Source, u64),
    /// The stream.
    Stream,
}

/// What is sent to one replica.
pub struct Sender {
    replica: Arc<Replica>,
    stage: Stage,
    /// What is being sent.
    chunk: Bytes,
    from_stream: bool,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sender")
    }
}

impl Sender {
    /// The sender for the connection of a client that has become a replica.
    pub fn find(thread: &Thread, client: u64) -> Option<Box<Sender>> {
        let replica = thread.core.replication.get(client)?;
        Some(Box::new(Sender { replica, stage: Stage::Lines, chunk: Bytes::new(), from_stream: false }))
    }

    /// Bytes of the stream that have not been sent.
    pub fn waiting(&self) -> u64 {
        self.replica.feed.waiting()
    }

    /// What is to be sent next; empty when there is nothing now.
    ///
    /// # Errors
    /// When there will never be any more.
    pub fn next(&mut self, log: &Log, replication: &Replication) -> io::Result<&[u8]> {
        if self.chunk.is_empty() {
            // Whatever is appended from here on wakes the connection again.
            self.replica.feed.woken.store(false, Ordering::Release);
            self.from_stream = false;
            while self.chunk.is_empty() && self.refill(log, replication)? {}
        }
        Ok(&self.chunk)
    }

    /// So many bytes have been sent.
    pub fn sent(&mut self, n: usize) {
        self.chunk.advance(n);
        if self.from_stream {
            self.replica.feed.sent(n);
        }
    }

    /// Finds the next chunk. False when there is nothing now.
    fn refill(&mut self, log: &Log, replication: &Replication) -> io::Result<bool> {
        match &mut self.stage {
            Stage::Lines => {
                let mut outbox = self.replica.outbox.lock();
                self.chunk = std::mem::take(&mut outbox.head).into();
                if !self.chunk.is_empty() {
                    return Ok(true);
                }
                if let Some(source) = outbox.source.take() {
                    self.stage = Stage::Snapshot(source, 0);
                    return Ok(true);
                }
                if self.replica.phase() == Phase::Online {
                    self.stage = Stage::Stream;
                    return Ok(true);
                }
                if outbox.has_failed() {
                    return Err(io::Error::other("the snapshot could not be made"));
                }
                Ok(false)
            }
            Stage::Snapshot(source, read) => {
                // In this order: nothing is written after the end has been announced.
                let ended = source.transfer.ended();
                let left = source.transfer.written().saturating_sub(*read);
                if left > 0 {
                    let mut chunk = vec![0; CHUNK.min(left as usize)];
                    let n = source.reader.read(&mut chunk)?;
                    if n == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    chunk.truncate(n);
                    *read += n as u64;
                    self.chunk = chunk.into();
                    return Ok(true);
                }
                match ended {
                    Ended::No => Ok(false),
                    Ended::Failed => Err(io::Error::other("the snapshot could not be made")),
                    Ended::Whole => {
                        self.chunk = source.transfer.trailer.clone().unwrap_or_default().into();
                        self.stage = Stage::Stream;
                        replication.delivered(&self.replica);
                        Ok(true)
                    }
                }
            }
            Stage::Stream => {
                if !self.replica.ready.load(Ordering::Acquire) {
                    return Ok(false);
                }
                let feed = &self.replica.feed;
                let next = feed.pop().or_else(|| {
                    log.feed();
                    feed.pop()
                });
                self.from_stream = true;
                self.chunk = next.unwrap_or_default();
                Ok(false)
            }
        }
    }
}
