//! Which locks and atomics do the primitives between threads stand on?
//!
//! [`crate::util::stripes`], [`crate::keyspace::claim`] and [`crate::client::mailbox`] name theirs through this module
//! only: `tests/models.rs` compiles the same three files over the model checker's locks and atomics.

pub use std::sync::atomic::{AtomicBool, Ordering};

pub use parking_lot::{Mutex, MutexGuard};

/// Wakes one sleeping task. A wake-up that comes before the sleep is not lost.
#[derive(Debug, Default)]
pub struct Wake(tokio::sync::Notify);

impl Wake {
    /// Ends the sleep, or the next one.
    pub fn wake(&self) {
        self.0.notify_one();
    }

    /// Sleeps until woken.
    pub async fn woken(&self) {
        self.0.notified().await;
    }
}
