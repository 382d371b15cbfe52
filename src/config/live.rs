//! How do settings change while the server runs, and how do threads see it?
//!
//! The present [`Config`] is an immutable value behind an `Arc`. A change makes a new one and swaps it in as
//! a whole, then raises the version. Each thread keeps a [`View`]: its own `Arc` and the version that it
//! belongs to. Looking at a setting is one relaxed-cost load of the version and a field access; the lock is
//! taken only after a change.
//!
//! Invariants: changes happen one after another; a reader sees all settings of one change or none; the
//! version is raised after the swap, so that a view which has the new version has the new value.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::config::table::Setting;
use crate::config::{Asking, Config, SetError};

/// The present configuration, shared by all threads.
#[derive(Debug)]
pub struct Live {
    current: RwLock<Arc<Config>>,
    version: AtomicU64,
    /// Held while a change is applied, which may take long; readers never wait for it.
    changing: Mutex<()>,
}

impl Live {
    /// Starts with a configuration.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { current: RwLock::new(Arc::new(config)), version: AtomicU64::new(0), changing: Mutex::new(()) }
    }

    /// The present configuration. Threads that ask often keep a [`View`].
    #[must_use]
    pub fn load(&self) -> Arc<Config> {
        Arc::clone(&self.current.read())
    }

    /// How many times it changed.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// CONFIG SET: all of the pairs or none. `apply` gets the old and the new configuration and the rows to
    /// put into effect; when it fails nothing is changed, and it must itself have undone what it had done.
    ///
    /// # Errors
    /// A setting that is refused, or the error of `apply`.
    pub fn set(
        &self,
        pairs: &[(&[u8], &[u8])],
        asking: Asking,
        apply: impl FnOnce(&Config, &Config, &[&'static Setting]) -> Result<(), SetError>,
    ) -> Result<(), SetError> {
        let _changing = self.changing.lock();
        let old = self.load();
        let change = old.set(pairs, asking)?;
        apply(&old, &change.config, &change.settings)?;
        self.publish(change.config);
        Ok(())
    }

    /// A change that the server makes by itself: REPLICAOF, the pid file of a background process.
    pub fn update(&self, change: impl FnOnce(&mut Config)) {
        let _changing = self.changing.lock();
        let mut config = Config::clone(&self.load());
        change(&mut config);
        self.publish(config);
    }

    fn publish(&self, config: Config) {
        *self.current.write() = Arc::new(config);
        self.version.fetch_add(1, Ordering::Release);
    }
}

/// One thread's view of the configuration.
#[derive(Clone, Debug)]
pub struct View {
    seen: u64,
    config: Arc<Config>,
}

impl View {
    /// The view of a thread that starts.
    #[must_use]
    pub fn new(live: &Live) -> Self {
        // The version first: a change in between makes the next look take the lock once too often, never too
        // seldom.
        let seen = live.version();
        Self { seen, config: live.load() }
    }

    /// The present configuration; once per batch is often enough.
    pub fn get(&mut self, live: &Live) -> &Arc<Config> {
        let version = live.version();
        if version != self.seen {
            self.config = live.load();
            self.seen = version;
        }
        &self.config
    }
}
