//! Which commands took long? The last ones that did, with their arguments cut short.

use std::collections::VecDeque;

use parking_lot::Mutex;

/// Arguments that are kept at most; the last one then tells how many are missing.
const MOST_ARGS: usize = 32;
/// Bytes of an argument that are kept at most.
const MOST_BYTES: usize = 128;

/// A command that took long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slow {
    /// Counts all that ever were.
    pub id: u64,
    /// When it ran: unix seconds.
    pub time: u64,
    /// What it took, in microseconds.
    pub micros: u64,
    /// Its arguments, cut.
    pub argv: Vec<Vec<u8>>,
    /// The client's address.
    pub addr: String,
    /// The client's name.
    pub name: Box<[u8]>,
}

/// The slow log, newest first.
#[derive(Debug, Default)]
pub struct SlowLog {
    inner: Mutex<(u64, VecDeque<Slow>)>,
}

impl SlowLog {
    /// Records a command and forgets the oldest beyond `most`.
    pub fn push(&self, most: usize, time: u64, micros: u64, argv: &[&[u8]], addr: String, name: Box<[u8]>) {
        let argv = cut(argv);
        let (next, entries) = &mut *self.inner.lock();
        entries.push_front(Slow { id: *next, time, micros, argv, addr, name });
        entries.truncate(most);
        *next += 1;
    }

    /// The newest `n` entries.
    pub fn newest(&self, n: usize) -> Vec<Slow> {
        self.inner.lock().1.iter().take(n).cloned().collect()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.inner.lock().1.len()
    }

    /// Forgets all; numbers are not used again.
    pub fn reset(&self) {
        self.inner.lock().1.clear();
    }
}

/// The arguments as they are kept.
fn cut(argv: &[&[u8]]) -> Vec<Vec<u8>> {
    let kept = if argv.len() > MOST_ARGS { MOST_ARGS - 1 } else { argv.len() };
    let mut out: Vec<Vec<u8>> = argv.iter().take(kept).map(|arg| cut_one(arg)).collect();
    if argv.len() > kept {
        out.push(format!("... ({} more arguments)", argv.len() - kept).into_bytes());
    }
    out
}

fn cut_one(arg: &[u8]) -> Vec<u8> {
    match arg.get(..MOST_BYTES) {
        Some(head) if arg.len() > MOST_BYTES => {
            [head, format!("... ({} more bytes)", arg.len() - MOST_BYTES).as_bytes()].concat()
        }
        _ => arg.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_commands_are_cut() {
        let long = [b'A'; 129];
        let kept = cut(&[b"set", &long]);
        assert!(kept[1].ends_with(b"A... (1 more bytes)"));
        assert_eq!(kept[1].len(), 128 + 18);
        let many: Vec<&[u8]> = vec![b"x"; 33];
        let kept = cut(&many);
        assert_eq!((kept.len(), kept[31].as_slice()), (32, b"... (2 more arguments)".as_slice()));
        assert_eq!(cut(&many[..32]).last().unwrap(), b"x");
    }

    #[test]
    fn the_newest_come_first_and_the_oldest_go() {
        let log = SlowLog::default();
        for n in 0..5 {
            log.push(3, n, 1, &[b"x"], String::new(), Box::default());
        }
        assert_eq!(log.newest(9).iter().map(|e| e.id).collect::<Vec<_>>(), [4, 3, 2]);
        log.reset();
        assert_eq!(log.count(), 0);
        log.push(3, 5, 1, &[b"x"], String::new(), Box::default());
        assert_eq!(log.newest(1)[0].id, 5);
    }
}
