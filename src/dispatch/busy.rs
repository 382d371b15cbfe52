//! What becomes of a script that does not end? Everybody else is told that the server is busy, and may stop it.
//!
//! Most scripts are over before anyone could ask. One that has run for [`NOTICED_US`] is entered in the [`Board`] by the
//! thread that runs it: from then on it can be seen and stopped. Once it has run for longer than
//! `busy-reply-threshold` it is *overdue*, and while any script is, commands without the ALLOW_BUSY flag are refused.
//!
//! ```text
//! UNSEEN --noticed--> RUNNING --SCRIPT KILL--> KILLED       (the script stops at its next look)
//!                        \-----first write---> WROTE        (nobody can stop it any more)
//! ```
//!
//! The two arrows out of RUNNING are one compare-and-swap each, so a script that somebody was told is dead never writes.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::error::{Error, Result};

/// Microseconds after which a script is entered in the board.
pub const NOTICED_US: u64 = 10_000;

const UNSEEN: u8 = 0;
const RUNNING: u8 = 1;
const WROTE: u8 = 2;
const KILLED: u8 = 3;

/// The command that a client waits for when it has started code that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// EVAL and its kin.
    Script = 0,
    /// FCALL and its kin.
    Function = 1,
}

impl Code {
    /// What every other client reads while it is overdue.
    pub const fn refusal(self) -> Error {
        match self {
            Code::Script => Error::new(
                "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
            ),
            Code::Function => Error::new(
                "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.",
            ),
        }
    }

    /// The command that stops it.
    pub const fn killer(self) -> &'static str {
        match self {
            Code::Script => "SCRIPT KILL",
            Code::Function => "FUNCTION KILL",
        }
    }
}

/// What is known about code that has been running for a while.
#[derive(Debug, Clone)]
pub struct Told {
    /// A script or a function.
    pub code: Code,
    /// The script's SHA1 or the function's name.
    pub name: Vec<u8>,
    /// The client's command.
    pub command: Vec<Vec<u8>>,
    /// When it began: monotonic microseconds.
    pub began_us: u64,
    /// It came from the primary, which waits for it: nobody here may stop it.
    pub from_primary: bool,
}

/// What one thread runs.
#[derive(Debug, Default)]
struct Post {
    state: AtomicU8,
    told: Mutex<Option<Told>>,
}

/// What all threads run.
#[derive(Debug)]
pub struct Board {
    posts: Box<[Post]>,
    /// How many scripts and how many functions are overdue.
    overdue: [AtomicUsize; 2],
}

const NOT_BUSY: Error = Error::new("NOTBUSY No scripts in execution right now.");
const UNKILLABLE: Error = Error::new(
    "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait the script \
     termination or kill the server in a hard way using the SHUTDOWN NOSAVE command.",
);
const UNKILLABLE_PRIMARY: Error = Error::new(
    "UNKILLABLE The busy script was sent by a master instance in the context of replication and cannot be killed.",
);

impl Board {
    /// A board for so many threads.
    pub fn new(threads: usize) -> Self {
        Board { posts: (0..threads).map(|_| Post::default()).collect(), overdue: Default::default() }
    }

    /// Why commands are refused, if they are.
    #[inline]
    pub fn refusal(&self) -> Option<Error> {
        let overdue = |code: Code| self.overdue[code as usize].load(Ordering::Acquire) > 0;
        [Code::Script, Code::Function].into_iter().find(|code| overdue(*code)).map(Code::refusal)
    }

    /// True while any script is overdue.
    pub fn is_busy(&self) -> bool {
        self.refusal().is_some()
    }

    /// Enters what a thread runs.
    pub fn notice(&self, thread: usize, told: Told, wrote: bool) {
        let post = &self.posts[thread];
        *post.told.lock() = Some(told);
        post.state.store(if wrote { WROTE } else { RUNNING }, Ordering::Release);
    }

    /// Notes that what a thread runs is overdue.
    pub fn overdue(&self, code: Code) {
        self.overdue[code as usize].fetch_add(1, Ordering::AcqRel);
    }

    /// True when what the thread runs may write: it has not been stopped, and now it can no longer be.
    pub fn may_write(&self, thread: usize) -> bool {
        let state = &self.posts[thread].state;
        let changed = state.compare_exchange(RUNNING, WROTE, Ordering::AcqRel, Ordering::Acquire);
        changed != Err(KILLED)
    }

    /// True when what the thread runs has been told to stop.
    pub fn is_killed(&self, thread: usize) -> bool {
        self.posts[thread].state.load(Ordering::Acquire) == KILLED
    }

    /// What a thread ran has ended.
    pub fn clear(&self, thread: usize, overdue: Option<Code>) {
        let post = &self.posts[thread];
        post.state.store(UNSEEN, Ordering::Release);
        *post.told.lock() = None;
        if let Some(code) = overdue {
            self.overdue[code as usize].fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// What has been running longest.
    pub fn longest(&self) -> Option<Told> {
        let told = self.posts.iter().filter_map(|post| post.told.lock().clone());
        told.min_by_key(|told| told.began_us)
    }

    /// SCRIPT KILL and FUNCTION KILL: stops all code of this kind that has not written.
    ///
    /// # Errors
    /// When there is nothing to stop, or nothing that can be stopped.
    pub fn kill(&self, code: Code) -> Result {
        let mut outcome = Err(NOT_BUSY);
        for post in &self.posts {
            let told = post.told.lock();
            let Some(told) = &*told else { continue };
            let stopped = if told.from_primary {
                Err(UNKILLABLE_PRIMARY)
            } else if post.state.load(Ordering::Acquire) == WROTE {
                Err(UNKILLABLE)
            } else if told.code != code {
                Err(told.code.refusal())
            } else {
                let swapped =
                    post.state.compare_exchange(RUNNING, KILLED, Ordering::AcqRel, Ordering::Acquire);
                if swapped == Err(WROTE) { Err(UNKILLABLE) } else { Ok(()) }
            };
            if outcome.is_err() {
                outcome = stopped;
            }
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(code: Code) -> Told {
        Told { code, name: b"n".to_vec(), command: Vec::new(), began_us: 1, from_primary: false }
    }

    #[test]
    fn a_script_is_stopped_or_writes_and_never_both() {
        let board = Board::new(2);
        assert_eq!(board.kill(Code::Script).unwrap_err().code(), "NOTBUSY");
        board.notice(0, told(Code::Script), false);
        assert!(!board.is_killed(0));
        board.kill(Code::Script).unwrap();
        assert!(board.is_killed(0) && !board.may_write(0));
        board.clear(0, None);
        board.notice(0, told(Code::Script), false);
        assert!(board.may_write(0) && board.may_write(0));
        assert_eq!(board.kill(Code::Script).unwrap_err().code(), "UNKILLABLE");
        assert!(!board.is_killed(0));
        // Another thread's can be stopped all the same.
        board.notice(1, told(Code::Script), false);
        board.kill(Code::Script).unwrap();
        assert!(board.is_killed(1) && !board.is_killed(0));
    }

    #[test]
    fn each_kind_has_its_own_command() {
        let board = Board::new(1);
        board.notice(0, told(Code::Function), false);
        assert!(board.kill(Code::Script).unwrap_err().as_str().contains("FUNCTION KILL"));
        assert!(!board.is_busy());
        board.overdue(Code::Function);
        assert!(board.refusal().unwrap().as_str().contains("FUNCTION KILL"));
        board.clear(0, Some(Code::Function));
        assert!(!board.is_busy() && board.longest().is_none());
    }
}
