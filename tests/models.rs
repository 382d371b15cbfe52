//! Do the primitives between threads keep their promises in every interleaving?
//!
//! The three files that the server's threads meet in are compiled here a second time, over loom's locks and atomics
//! instead of the real ones (they name theirs through `util::sync` only). loom then runs each model once for every order
//! in which its threads may take turns, and for every value that a relaxed load may see; it fails on a deadlock by itself.

// The files are used in part here, and their unit tests run with the library.
#![allow(dead_code, clippy::unwrap_used)]

#[path = "."]
mod util {
    pub mod sync {
        //! `src/util/sync.rs`, over loom.

        use std::time::Duration;

        pub use loom::sync::MutexGuard;
        pub use loom::sync::atomic::{AtomicBool, Ordering};

        /// A lock with parking_lot's interface.
        #[derive(Debug, Default)]
        pub struct Mutex<T>(loom::sync::Mutex<T>);

        impl<T> Mutex<T> {
            pub fn new(value: T) -> Self {
                Mutex(loom::sync::Mutex::new(value))
            }

            pub fn lock(&self) -> MutexGuard<'_, T> {
                self.0.lock().unwrap()
            }

            pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
                self.0.try_lock().ok()
            }

            /// Time does not pass in a model: the lock is free or it is not.
            pub fn try_lock_for(&self, _patience: Duration) -> Option<MutexGuard<'_, T>> {
                self.try_lock()
            }
        }

        /// One permit, as tokio's Notify has it.
        #[derive(Debug, Default)]
        pub struct Wake(loom::sync::Mutex<bool>, loom::sync::Condvar);

        impl Wake {
            pub fn wake(&self) {
                *self.0.lock().unwrap() = true;
                self.1.notify_one();
            }

            pub async fn woken(&self) {
                let mut permit = self.0.lock().unwrap();
                while !*permit {
                    permit = self.1.wait(permit).unwrap();
                }
                *permit = false;
            }
        }
    }

    #[path = "../src/util/stripes.rs"]
    pub mod stripes;
}

#[path = "../src/client/mailbox.rs"]
mod mailbox;

#[path = "../src/keyspace/claim.rs"]
mod claim;

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};

use claim::Claim;
use loom::sync::Arc;
use loom::thread;
use mailbox::Mailbox;
use util::stripes::Stripes;

/// Runs the model in every interleaving and says how many there were.
fn model(name: &str, run: impl Fn() + Send + Sync + 'static) {
    let rounds = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = rounds.clone();
    loom::model(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        run();
    });
    let rounds = rounds.load(Ordering::Relaxed);
    println!("models: {name}: {rounds} interleavings");
    assert!(rounds > 1, "a model of one interleaving shows nothing");
}

/// Property 9, no deadlock, and property 1 in small: sets in any order, one stripe, all stripes; each unit sees its
/// stripes as no other unit leaves them midway.
#[test]
fn sets_of_stripes_neither_deadlock_nor_tear() {
    model("sets of stripes", || {
        let stripes = Arc::new(Stripes::new([0, 0, 0]));
        let move_one = |from: u16, to: u16| {
            let stripes = stripes.clone();
            move || {
                let mut held = stripes.held_some(&[from, to, from]);
                assert!(held.covers(from) && held.covers(to));
                *held.get_mut(from).unwrap() -= 1;
                *held.get_mut(to).unwrap() += 1;
            }
        };
        let one = thread::spawn(move_one(0, 2));
        let other = thread::spawn(move_one(2, 0));
        let mut sum = 0;
        stripes.held_all().each(|_, part| sum += *part);
        assert_eq!(sum, 0, "a unit was seen midway");
        one.join().unwrap();
        other.join().unwrap();
    });
}

/// What one blocked client is to the threads: two keys in two shards, each with a queue of elements.
struct Blocked {
    shards: Stripes<Vec<u32>>,
    claim: Claim,
    answers: AtomicUsize,
}

impl Blocked {
    fn new() -> Arc<Self> {
        Arc::new(Blocked {
            shards: Stripes::new([vec![], vec![]]),
            claim: Claim::default(),
            answers: AtomicUsize::new(0),
        })
    }

    /// Pushes to a key and serves the client from it, as `dispatch::block` does: under the shard's lock, and only with an
    /// element that the client wants (it waits for 2 or more, as XREAD waits for later entries).
    fn push(&self, shard: u16, element: u32) {
        let mut held = self.shards.held_one(shard);
        let queue = held.get_mut(shard).unwrap();
        queue.push(element);
        if let Some(attempt) = self.claim.attempt()
            && let Some(at) = queue.iter().position(|&e| e >= 2)
        {
            queue.remove(at);
            self.answers.fetch_add(1, Ordering::Relaxed);
            attempt.succeed();
        }
    }

    /// The time is over, or the connection was closed.
    fn give_up(&self) -> bool {
        match self.claim.attempt() {
            Some(attempt) => {
                attempt.succeed();
                self.answers.fetch_add(1, Ordering::Relaxed);
                true
            }
            None => false,
        }
    }

    fn left(&self) -> usize {
        let mut left = 0;
        self.shards.held_all().each(|_, queue| left += queue.len());
        left
    }
}

/// Property 4: a client that waits for several keys is served once, and nothing is taken for it twice.
#[test]
fn a_client_that_waits_at_two_shards_is_served_once() {
    model("served once", || {
        let blocked = Blocked::new();
        let here = thread::spawn({
            let blocked = blocked.clone();
            move || blocked.push(0, 2)
        });
        blocked.push(1, 2);
        here.join().unwrap();
        assert_eq!(blocked.answers.load(Ordering::Relaxed), 1);
        assert_eq!(blocked.left(), 1, "one element of two was taken");
    });
}

/// Property 9, no lost wake-up: an attempt at one shard that comes to nothing must not make the one at the other shard,
/// which would have served, go away.
#[test]
fn an_attempt_that_fails_loses_no_wake_up() {
    model("failed attempt beside a good one", || {
        let blocked = Blocked::new();
        let unwanted = thread::spawn({
            let blocked = blocked.clone();
            move || blocked.push(0, 1)
        });
        blocked.push(1, 2);
        unwanted.join().unwrap();
        assert_eq!(blocked.answers.load(Ordering::Relaxed), 1);
        assert_eq!(blocked.left(), 1);
    });
}

/// A time-out beside a push: the client is answered once, by one of them; and a push that does not serve leaves the
/// time-out its right.
#[test]
fn a_time_out_and_a_push_answer_once() {
    for element in [1, 2] {
        model("time-out beside a push", move || {
            let blocked = Blocked::new();
            let late = thread::spawn({
                let blocked = blocked.clone();
                move || blocked.give_up()
            });
            blocked.push(0, element);
            let gave_up = late.join().unwrap();
            assert_eq!(blocked.answers.load(Ordering::Relaxed), 1, "answered once, by whom ever");
            assert_eq!(
                blocked.left() == 1,
                gave_up,
                "the element was taken by the client, or is still there"
            );
        });
    }
}

/// A mailbox loses no message and no wake-up, and keeps the order of each writer.
#[test]
fn a_mailbox_loses_nothing() {
    // Two writers of two messages each have more interleavings than anyone can wait for.
    for writers in [&[2][..], &[1, 1]] {
        model("mailbox", move || {
            let mailbox = Arc::new(Mailbox::default());
            let post = |writer: u32, messages: u32| {
                let mailbox = mailbox.clone();
                thread::spawn(move || (0..messages).for_each(|n| mailbox.post(writer * 10 + n)))
            };
            let threads: Vec<_> = writers.iter().enumerate().map(|(w, n)| post(w as u32, *n)).collect();
            let mut got = Vec::new();
            while got.len() < 2 {
                // Ends only when every message has come: a lost wake-up is a deadlock, which loom reports.
                assert!(pin!(mailbox.filled()).poll(&mut Context::from_waker(Waker::noop())).is_ready());
                mailbox.take(&mut got);
            }
            threads.into_iter().for_each(|t| t.join().unwrap());
            mailbox.take(&mut got);
            assert_eq!(got.len(), 2, "each message once");
            assert!(writers.len() > 1 || got == [0, 1], "in the writer's order");
        });
    }
}
