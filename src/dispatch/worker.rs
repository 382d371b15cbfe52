//! What does an I/O thread keep for itself? Its clock reading, its settings, its chance: nothing of it is shared.

use std::sync::Arc;

use crate::config::Config;
use crate::config::values::Events;
use crate::dispatch::core::Core;
use crate::dispatch::evict::Evictor;
use crate::keyspace::effects::Effects;
use crate::keyspace::lock::Meanwhile;
use crate::script::engine::Engine;
use crate::script::library::FunctionEngine;
use crate::util::rng::Rng;
use crate::value::Limits;

/// The state of one I/O thread as commands see it.
pub struct Worker {
    /// Index of the thread.
    pub id: usize,
    /// The settings as of the last batch.
    pub config: Arc<Config>,
    config_version: u64,
    /// Wall clock, unix milliseconds, read once per batch.
    pub now_ms: u64,
    /// Monotonic milliseconds, read with it.
    pub mono_ms: u64,
    /// When the last command ended: monotonic microseconds.
    pub stamp_us: u64,
    /// Chance.
    pub rng: Rng,
    /// Runs Lua, once a script has come.
    pub engine: Option<Box<Engine>>,
    /// Runs functions, once a library has come.
    pub functions: Option<Box<FunctionEngine>>,
    /// Serves the thread's clients when a command cannot go on because a script hogs the server.
    pub meanwhile: Option<Meanwhile>,
    /// It stands in for a worker that cannot go on: only what is allowed while the server is busy runs on it.
    pub stands_in: bool,
    /// Evicts keys, once memory has been full.
    pub evictor: Option<Box<Evictor>>,
    /// When values change their encoding.
    pub limits: Limits,
    /// Classes of keyspace events that are published.
    pub notify: Events,
    /// What the last unit of work collected its effects in, emptied.
    pub effects: Option<Box<Effects>>,
}

impl Worker {
    /// The state of thread `id`.
    pub fn new(id: usize, core: &Core, rng: Rng) -> Self {
        let (config, config_version) = (core.config.load(), core.config.version());
        let notify = config.notify_keyspace_events;
        let limits = config.limits();
        let mut worker = Worker {
            engine: None,
            functions: None,
            meanwhile: None,
            stands_in: false,
            evictor: None,
            id,
            limits,
            config,
            config_version,
            now_ms: 0,
            mono_ms: 0,
            stamp_us: 0,
            rng,
            notify,
            effects: None,
        };
        worker.tick(core);
        worker
    }

    /// Reads the clock and picks up changed settings: once per batch.
    pub fn tick(&mut self, core: &Core) {
        self.stamp_us = core.clock.monotonic_us();
        self.now_ms = core.steady.now_us(core.clock.now_us(), self.stamp_us) / 1000;
        self.mono_ms = self.stamp_us / 1000;
        if core.config.version() != self.config_version {
            self.config_version = core.config.version();
            self.config = core.config.load();
            self.limits = self.config.limits();
            self.notify = self.config.notify_keyspace_events;
        }
    }

    /// The 24-bit access clock of entries under LRU: seconds.
    pub fn lru_clock(&self) -> u32 {
        (self.now_ms / 1000) as u32 & 0xff_ffff
    }
}
