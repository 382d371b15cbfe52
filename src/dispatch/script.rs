//! How does a script reach the commands? [`Caller`] is the server as a running script sees it: it checks what the
//! script may call and runs it within the script's own unit of work, under the locks that the script holds.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::dispatch::ctx::{Ctx, Mode};
use crate::dispatch::spec::{DENYOOM, NOSCRIPT, WRITE};
use crate::dispatch::worker::Worker;
use crate::error::{self, Error, Result};
use crate::resp::reply::{Proto, Reply};
use crate::script::api::{Host, Tick};
use crate::script::cache::ScriptCache;
use crate::script::convert::ReplySink;
use crate::script::engine::{Engine, Settings};

/// The scripts of a server, and the state of the one that runs alone.
#[derive(Debug, Default)]
pub struct Scripts {
    /// The scripts by SHA1.
    pub cache: ScriptCache,
    /// A script runs.
    pub running: AtomicBool,
    /// It has written: it can no longer be stopped.
    pub wrote: AtomicBool,
    /// It has been told to stop.
    pub kill: AtomicBool,
}

/// What a script may do.
#[derive(Debug, Clone, Copy)]
pub struct Running {
    /// Write commands are refused.
    pub read_only: bool,
    /// Commands that need memory are not refused over `maxmemory`.
    pub any_memory: bool,
}

/// The thread's engine, made when the first script comes.
pub fn engine(worker: &mut Worker) -> &mut Engine {
    worker.engine.get_or_insert_with(|| Box::new(Engine::new(Settings::default())))
}

/// Runs a script through the thread's engine.
pub fn run(
    ctx: &mut Ctx<'_>,
    running: Running,
    out: &mut Reply<'_>,
    enter: impl FnOnce(&mut Engine, &mut dyn Host, &mut dyn ReplySink),
) {
    engine(ctx.worker);
    let Some(mut engine) = ctx.worker.engine.take() else { return };
    let scripts = &ctx.core.scripts;
    scripts.kill.store(false, Ordering::Release);
    scripts.wrote.store(false, Ordering::Release);
    scripts.running.store(true, Ordering::Release);
    let (db, proto) = (ctx.session.db, ctx.session.proto);
    let mut failed = Vec::new();
    let mut caller = Caller { ctx, running };
    let mut sink = Sink { out, failed: &mut failed };
    enter(&mut engine, &mut caller, &mut sink);
    scripts.running.store(false, Ordering::Release);
    ctx.session.db = db;
    ctx.session.proto = proto;
    ctx.worker.engine = Some(engine);
    for code in failed {
        ctx.core.stats.error(ctx.worker.id, &code);
    }
}

/// The server as the running script reaches it.
struct Caller<'c, 'a> {
    ctx: &'c mut Ctx<'a>,
    running: Running,
}

impl Caller<'_, '_> {
    fn try_call(&mut self, argv: &[&[u8]], out: &mut Reply<'_>) -> Result {
        let core = self.ctx.core;
        let entry = match core.table.resolve(argv) {
            Ok(entry) => entry,
            Err(_) => return Err(Error::new("ERR Unknown Redis command called from script")),
        };
        let row = entry.row;
        if !row.admits(argv.len()) {
            return Err(Error::new("ERR Wrong number of args calling Redis command from script"));
        }
        if row.is(NOSCRIPT) {
            return Err(error::NO_SCRIPT_HERE);
        }
        if self.running.read_only && row.is(WRITE) {
            return Err(Error::new("ERR Write commands are not allowed from read-only scripts."));
        }
        if row.is(DENYOOM) && !self.running.any_memory && core.over_memory() && !core.scripts.wrote() {
            return Err(error::OOM);
        }
        if !self.ctx.covers(entry, argv) {
            return Err(Error::new("ERR Script attempted to access a non local key in a script"));
        }
        if row.is(WRITE) {
            core.scripts.wrote.store(true, Ordering::Release);
        }
        self.ctx.call_nested(entry, Mode::Script, argv, out);
        Ok(())
    }
}

impl Scripts {
    fn wrote(&self) -> bool {
        self.wrote.load(Ordering::Acquire)
    }
}

impl Host for Caller<'_, '_> {
    fn call(&mut self, argv: &[&[u8]], resp3: bool, reply: &mut Vec<u8>) {
        let proto = if resp3 { Proto::Resp3 } else { Proto::Resp2 };
        let mut out = Reply::new(reply, proto);
        if let Err(error) = self.try_call(argv, &mut out) {
            self.ctx.core.stats.error(self.ctx.worker.id, error.code());
            out.error(&error);
        }
    }

    fn acl_check(&mut self, argv: &[&[u8]]) -> Option<bool> {
        self.ctx.core.table.resolve(argv).ok().map(|_| true)
    }

    fn log(&mut self, level: u8, message: &[u8]) {
        let text = String::from_utf8_lossy(message);
        match level {
            0 => tracing::trace!("{text}"),
            1 => tracing::debug!("{text}"),
            2 => tracing::info!("{text}"),
            _ => tracing::warn!("{text}"),
        }
    }

    fn set_repl(&mut self, _flags: u8) {}

    fn tick(&mut self) -> Tick {
        if self.ctx.core.scripts.kill.load(Ordering::Acquire) { Tick::Kill } else { Tick::Continue }
    }
}

/// Writes a script's result as the reply of its command.
struct Sink<'s, 'o> {
    out: &'s mut Reply<'o>,
    failed: &'s mut Vec<String>,
}

impl ReplySink for Sink<'_, '_> {
    fn integer(&mut self, n: i64) {
        self.out.int(n);
    }
    fn bulk(&mut self, bytes: &[u8]) {
        self.out.bulk(bytes);
    }
    fn status(&mut self, text: &[u8]) {
        self.out.simple_bytes(text);
    }
    fn error(&mut self, text: &[u8], counted: bool) {
        if !counted {
            let code = text.split(|b| *b == b' ').next().unwrap_or(b"ERR");
            self.failed.push(String::from_utf8_lossy(code).into_owned());
        }
        self.out.error_bytes(text);
    }
    fn array(&mut self, count: usize) {
        self.out.array(count);
    }
    fn map(&mut self, count: usize) {
        self.out.map(count);
    }
    fn set(&mut self, count: usize) {
        self.out.set(count);
    }
    fn double(&mut self, n: f64) {
        self.out.double(n);
    }
    fn boolean(&mut self, b: bool) {
        self.out.boolean(b);
    }
    fn null(&mut self) {
        self.out.null();
    }
    fn big_number(&mut self, digits: &[u8]) {
        self.out.big_number(digits);
    }
    fn verbatim(&mut self, format: [u8; 3], text: &[u8]) {
        self.out.verbatim(std::str::from_utf8(&format).unwrap_or("txt"), text);
    }
}
