//! How does a script reach the commands? [`Caller`] is the server as a running script sees it: it checks what the
//! script may call and runs it within the script's own unit of work, under the locks that the script holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::acl::log::Context;
use crate::dispatch::busy::{self, Board, Code, Told};
use crate::dispatch::core::Core;
use crate::dispatch::ctx::{Ctx, Mode};
use crate::dispatch::gate::Request;
use crate::dispatch::keys;
use crate::dispatch::permit;
use crate::dispatch::route;
use crate::dispatch::spec::{
    ADMIN, CONNECTION, DENYOOM, FAST, Lock, LockNeed, MAY_REPLICATE, NOSCRIPT, READONLY, STALE, WRITE,
};
use crate::dispatch::table::Entry;
use crate::dispatch::worker::Worker;
use crate::error::{self, Error, Result};
use crate::log::entry::Readers;
use crate::resp::reply::{Proto, Reply};
use crate::script::api::{Host, Tick, repl};
use crate::script::cache::{Script, ScriptCache, parse_sha, sha_of};
use crate::script::convert::ReplySink;
use crate::script::engine::{Engine, Settings};
use crate::script::keys_proof::MAX_SOURCE;
use crate::script::library::{FunctionEngine, Libraries, Library, Restore};
use crate::script::shebang::Flags;

/// Microseconds that a library may take to load when a client brings it.
const LOAD_TIMEOUT_US: u64 = 500_000;

/// The scripts and functions of a server, and what becomes of those that do not end.
#[derive(Debug)]
pub struct Scripts {
    /// The scripts by SHA1.
    pub cache: ScriptCache,
    /// The function libraries.
    pub libraries: Libraries,
    /// What runs.
    pub board: Board,
    /// For tests: commands that scripts may not call are allowed (DEBUG SET-DISABLE-DENY-SCRIPTS).
    pub allow_all: AtomicBool,
}

impl Scripts {
    /// None yet, for so many threads.
    pub fn new(threads: usize) -> Self {
        Scripts {
            cache: ScriptCache::new(),
            libraries: Libraries::new(),
            board: Board::new(threads),
            allow_all: false.into(),
        }
    }
}

/// The thread's engine for scripts, made when the first one comes.
pub fn engine(worker: &mut Worker) -> &mut Engine {
    worker.engine.get_or_insert_with(|| Box::new(Engine::new(Settings::default())))
}

/// The thread's engine for functions, made when the first library comes.
pub fn functions(worker: &mut Worker) -> &mut FunctionEngine {
    worker.functions.get_or_insert_with(|| Box::new(FunctionEngine::new(Settings::default())))
}

// ---- which locks ----

/// What EVAL has to lock: the shards of its keys when its text proves that it touches no others.
pub fn lock_by_source(core: &Core, worker: &Worker, argv: &[&[u8]]) -> LockNeed {
    let (Some(source), cache) = (argv.get(1), &core.scripts.cache) else { return LockNeed::All };
    if let Some(known) = worker.engine.as_ref().and_then(|engine| engine.recall(cache, source)) {
        return lock_need(core, Some(known));
    }
    let sha = (source.len() <= MAX_SOURCE && !cache.is_empty()).then(|| sha_of(source));
    lock_need(core, sha.and_then(|sha| cache.get(&sha)).as_ref())
}

/// The same for EVALSHA.
pub fn lock_by_sha(core: &Core, worker: &Worker, argv: &[&[u8]]) -> LockNeed {
    let (Some(sha), cache) = (argv.get(1).and_then(|sha| parse_sha(sha)), &core.scripts.cache) else {
        return LockNeed::All;
    };
    match worker.engine.as_ref().and_then(|engine| engine.recall_sha(cache, &sha)) {
        Some(known) => lock_need(core, Some(known)),
        None => lock_need(core, cache.get(&sha).as_ref()),
    }
}

/// A script that is not known yet, or may turn out to be one that is not, runs alone this time.
fn lock_need(core: &Core, script: Option<&Arc<Script>>) -> LockNeed {
    let is_key = |command: &[u8], argc: usize, position: usize| is_key(core, command, argc, position);
    match script {
        Some(script) if script.keeps_to_its_keys(&is_key) => LockNeed::Keys,
        _ => LockNeed::All,
    }
}

/// Whether an argument of a command is a key. `None` for commands that touch anything but the keys among their
/// arguments, those that change what later commands mean (SELECT), and those whose keys depend on what is in the
/// arguments.
fn is_key(core: &Core, command: &[u8], argc: usize, position: usize) -> Option<bool> {
    let entry = core.table.by_request(command)?;
    let row = entry.row;
    let plain = matches!(row.lock, Lock::Keys)
        && entry.subcommands.is_empty()
        && row.acl & CONNECTION == 0
        && row.flags & (NOSCRIPT | ADMIN) == 0
        && (!row.keys.is_empty() || row.is(FAST));
    let keys = keys::fixed(row, argc).filter(|_| plain)?;
    Some(keys.iter().any(|key| key.index == position))
}

// ---- running ----

/// What a command runs.
#[derive(Debug, Clone)]
pub enum Runs {
    /// A script.
    Script(Arc<Script>),
    /// A function: its library, and its index in it.
    Function((Arc<Library>, usize)),
}

impl Runs {
    /// What it declares.
    pub fn flags(&self) -> Flags {
        match self {
            Runs::Script(script) => script.flags,
            Runs::Function((library, index)) => library.functions[*index].flags,
        }
    }

    fn code(&self) -> Code {
        match self {
            Runs::Script(_) => Code::Script,
            Runs::Function(_) => Code::Function,
        }
    }

    fn name(&self) -> &[u8] {
        match self {
            Runs::Script(script) => &script.sha,
            Runs::Function((library, index)) => &library.functions[*index].name,
        }
    }
}

/// True on a replica that does not know how old its data is, and was told not to show it then.
fn is_stale(ctx: &Ctx<'_>) -> bool {
    let link = &ctx.core.replication.link;
    link.is_replica() && !link.is_up() && !ctx.worker.config.replica_serve_stale_data
}

/// Whether what a command runs may run now: the checks that depend on what it declares.
fn admit(ctx: &Ctx<'_>, flags: Flags, read_only: bool) -> Result {
    if flags.has(Flags::COMPAT) {
        return if is_stale(ctx) { Err(error::MASTER_DOWN) } else { Ok(()) };
    }
    if ctx.core.cluster.is_some() && flags.has(Flags::NO_CLUSTER) {
        return Err(Error::new("ERR Can not run script on cluster, 'no-cluster' flag is set."));
    }
    let writes = !flags.has(Flags::NO_WRITES);
    let (link, config) = (&ctx.core.replication.link, &ctx.worker.config);
    if is_stale(ctx) && !flags.has(Flags::ALLOW_STALE) {
        return Err(Error::new(
            "MASTERDOWN Link with MASTER is down, replica-serve-stale-data is set to 'no' and 'allow-stale' flag is not set on the script.",
        ));
    }
    if writes && !ctx.session.internal && link.is_replica() && config.replica_read_only {
        return Err(error::READ_ONLY);
    }
    if writes && !ctx.core.replication.suffices(config, ctx.worker.mono_ms) {
        return Err(error::NO_REPLICAS);
    }
    if writes
        && !ctx.session.internal
        && ctx.core.persist.has_failed()
        && let Some(error) = ctx.core.persist.refusal(&ctx.worker.config)
    {
        let text = error.as_str();
        return Err(match text.strip_prefix("MISCONF Errors writing to the AOF file: ") {
            Some(why) => Error::text(format!(
                "MISCONF Redis is configured to persist data to AOF, but it's currently unable to persist to disk. Writable scripts are blocked. Use 'no-writes' flag for read only scripts. AOF error: {why}"
            )),
            None => Error::new(
                "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Writable scripts are blocked. Use 'no-writes' flag for read only scripts.",
            ),
        });
    }
    if writes && read_only {
        return Err(Error::new("ERR Can not execute a script with write flag using *_ro command."));
    }
    if writes && ctx.core.over_memory() && !flags.has(Flags::ALLOW_OOM) {
        return Err(Error::new(
            "OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'",
        ));
    }
    Ok(())
}

/// Runs a script or a function with its keys and arguments, on behalf of the command `argv`.
///
/// # Errors
/// When what it declares does not allow it to run now.
pub fn run(
    ctx: &mut Ctx<'_>,
    runs: &Runs,
    argv: &[&[u8]],
    [keys, args]: [&[&[u8]]; 2],
    out: &mut Reply<'_>,
) -> Result {
    let read_only = ctx.entry.row.is(READONLY);
    let flags = runs.flags();
    admit(ctx, flags, read_only)?;
    let (db, proto) = (ctx.session.db, ctx.session.proto);
    let core = ctx.core;
    let mut failed = Vec::new();
    let mut sink = Sink { out, failed: &mut failed, erred: false };
    // The engine leaves its place while it runs: the script has the whole context.
    match runs {
        Runs::Script(script) => {
            engine(ctx.worker);
            let Some(mut engine) = ctx.worker.engine.take() else { return Ok(()) };
            let mut caller = Caller::new(ctx, runs, argv, read_only);
            engine.run(script, keys, args, &mut caller, &mut sink);
            drop(caller);
            ctx.stats.lua_bytes[0].set(engine.used_memory() as u64);
            ctx.worker.engine = Some(engine);
        }
        Runs::Function(found) => {
            functions(ctx.worker);
            let Some(mut engine) = ctx.worker.functions.take() else { return Ok(()) };
            let mut caller = Caller::new(ctx, runs, argv, read_only);
            engine.run(&core.scripts.libraries, found, [keys, args], &mut caller, &mut sink);
            drop(caller);
            ctx.stats.lua_bytes[1].set(engine.used_memory() as u64);
            ctx.worker.functions = Some(engine);
        }
    }
    let erred = sink.erred;
    ctx.session.db = db;
    ctx.session.proto = proto;
    if erred && ctx.mode != Mode::Replay {
        ctx.stats.commands[ctx.entry.id].failed.add(1);
    }
    for code in failed {
        core.stats.error(ctx.worker.id, &code);
    }
    Ok(())
}

/// The server as the running script reaches it.
struct Caller<'c, 'a, 'r> {
    ctx: &'c mut Ctx<'a>,
    runs: &'r Runs,
    argv: &'r [&'r [u8]],
    /// Write commands are refused.
    read_only: bool,
    /// When it began: monotonic microseconds.
    began_us: u64,
    wrote: bool,
    noticed: bool,
    overdue: Option<Code>,
    /// Where its writes go: see [`repl`].
    repl: u8,
    /// In cluster mode, the slot of the keys that it has declared or used.
    slot: Option<u16>,
}

impl<'c, 'a, 'r> Caller<'c, 'a, 'r> {
    fn new(ctx: &'c mut Ctx<'a>, runs: &'r Runs, argv: &'r [&'r [u8]], read_only: bool) -> Self {
        let began_us = ctx.worker.stamp_us;
        let read_only = read_only || runs.flags().has(Flags::NO_WRITES);
        let (repl, slot) = (repl::ALL, ctx.session.slot.get());
        let (wrote, noticed, overdue) = (false, false, None);
        Caller { ctx, runs, argv, read_only, began_us, wrote, noticed, overdue, repl, slot }
    }

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
        if row.is(NOSCRIPT) && !core.scripts.allow_all.load(Ordering::Relaxed) {
            return Err(error::NO_SCRIPT_HERE);
        }
        if is_stale(self.ctx) && !row.is(STALE) {
            return Err(Error::new("ERR Can not execute the command on a stale replica"));
        }
        let (worker, session) = (&*self.ctx.worker, &*self.ctx.session);
        let request = Request { core, worker, session, entry, argv };
        permit::check(&request, Context::Lua).map_err(|refusal| {
            let why = permit::reason(refusal, &session.login.user, entry, argv, false);
            Error::text(format!("ERR ACL failure in script: {why}"))
        })?;
        if self.read_only && row.flags & (WRITE | MAY_REPLICATE) != 0 {
            return Err(Error::new("ERR Write commands are not allowed from read-only scripts."));
        }
        let config = &self.ctx.worker.config;
        let link = &core.replication.link;
        if row.is(WRITE) && link.is_replica() && config.replica_read_only && self.ctx.mode != Mode::Replay {
            return Err(error::READ_ONLY);
        }
        if row.is(WRITE) && !self.wrote && !core.replication.suffices(config, self.ctx.worker.mono_ms) {
            return Err(error::NO_REPLICAS);
        }
        let any_memory = self.wrote || self.runs.flags().has(Flags::ALLOW_OOM);
        if row.is(DENYOOM) && !any_memory && core.over_memory() {
            return Err(error::OOM);
        }
        self.stay_in_slot(entry, argv)?;
        if !self.ctx.covers(entry, argv) {
            return Err(Error::new("ERR Script attempted to access a non local key in a script"));
        }
        if row.is(WRITE) {
            if self.noticed && !core.scripts.board.may_write(self.ctx.worker.id) {
                return Err(Error::new("ERR Script killed by user with SCRIPT KILL."));
            }
            self.wrote = true;
        }
        let logged = self.ctx.fx.log.len();
        self.ctx.call_nested(entry, Mode::Script, argv, out);
        if self.repl != repl::ALL {
            let to = Readers { file: self.repl & repl::AOF != 0, replicas: self.repl & repl::REPLICA != 0 };
            self.ctx.fx.log.iter_mut().skip(logged).for_each(|record| record.to = record.to.and(to));
        }
        Ok(())
    }

    /// In cluster mode a script keeps to the slot that it began with, unless it declares otherwise.
    fn stay_in_slot(&mut self, entry: &Entry, argv: &[&[u8]]) -> Result {
        let Some(cluster) = self.ctx.core.cluster.as_ref().filter(|_| !self.ctx.session.internal) else {
            return Ok(());
        };
        let flags = self.runs.flags();
        let any = flags.has(Flags::COMPAT) || flags.has(Flags::ALLOW_CROSS_SLOT);
        route::check_script(cluster, &self.ctx.worker.config, entry, argv, &mut self.slot, any)
    }

    /// Enters the script in the board.
    fn notice(&mut self) {
        self.noticed = true;
        let told = Told {
            code: self.runs.code(),
            name: self.runs.name().to_vec(),
            command: self.argv.iter().map(|a| a.to_vec()).collect(),
            began_us: self.began_us,
            from_primary: self.ctx.session.internal,
        };
        self.ctx.core.scripts.board.notice(self.ctx.worker.id, told, self.wrote);
    }
}

impl Drop for Caller<'_, '_, '_> {
    fn drop(&mut self) {
        if self.noticed {
            self.ctx.core.scripts.board.clear(self.ctx.worker.id, self.overdue);
        }
    }
}

impl Host for Caller<'_, '_, '_> {
    fn call(&mut self, argv: &[&[u8]], resp3: bool, reply: &mut Vec<u8>) -> bool {
        let proto = if resp3 { Proto::Resp3 } else { Proto::Resp2 };
        let mut out = Reply::new(reply, proto);
        let ran = self.try_call(argv, &mut out);
        if let Err(error) = &ran {
            let core = self.ctx.core;
            if let Ok(entry) = core.table.resolve(argv) {
                self.ctx.stats.commands[entry.id].rejected.add(1);
            }
            core.stats.error(self.ctx.worker.id, error.code());
            out.error(error);
        }
        ran.is_ok()
    }

    fn acl_check(&mut self, argv: &[&[u8]]) -> Option<bool> {
        let entry = self.ctx.core.table.resolve(argv).ok()?;
        Some(permit::judge(&self.ctx.session.login.user, entry, argv).is_ok())
    }

    fn log(&mut self, level: u8, message: &[u8]) {
        log(level, message);
    }

    fn set_repl(&mut self, flags: u8) {
        self.repl = flags;
    }

    fn tick(&mut self) -> Tick {
        let core = self.ctx.core;
        let took_us = core.clock.monotonic_us().saturating_sub(self.began_us);
        let threshold_us = core.config.load().busy_reply_threshold.saturating_mul(1000);
        let is_overdue = threshold_us > 0 && took_us >= threshold_us;
        if !self.noticed && (is_overdue || took_us >= busy::NOTICED_US) {
            self.notice();
        }
        if is_overdue && self.overdue.is_none() {
            let code = self.runs.code();
            tracing::warn!(
                "Slow script detected: still in execution after {} milliseconds. You can try killing the script using the {} command. Script name is: {}.",
                took_us / 1000,
                code.killer(),
                String::from_utf8_lossy(self.runs.name())
            );
            core.scripts.board.overdue(code);
            self.overdue = Some(code);
        }
        if self.noticed && core.scripts.board.is_killed(self.ctx.worker.id) {
            return Tick::Kill;
        }
        // Everybody else of this thread waits for it too, and some of them may want to stop it.
        if self.overdue.is_some()
            && let Some(meanwhile) = self.ctx.worker.meanwhile.clone()
        {
            meanwhile();
        }
        Tick::Continue
    }
}

/// Writes what a script has to say to the server's log.
fn log(level: u8, message: &[u8]) {
    let text = String::from_utf8_lossy(message);
    match level {
        0 => tracing::trace!("{text}"),
        1 => tracing::debug!("{text}"),
        2 => tracing::info!("{text}"),
        _ => tracing::warn!("{text}"),
    }
}

// ---- libraries ----

/// The server as a library sees it while it loads.
struct Loading<'c> {
    core: &'c Core,
    /// When it has taken too long: monotonic microseconds.
    deadline_us: u64,
}

impl Host for Loading<'_> {
    fn call(&mut self, _: &[&[u8]], _: bool, reply: &mut Vec<u8>) -> bool {
        Reply::new(reply, Proto::Resp2).error(&error::NO_SCRIPT_HERE);
        false
    }

    fn acl_check(&mut self, _: &[&[u8]]) -> Option<bool> {
        None
    }

    fn log(&mut self, level: u8, message: &[u8]) {
        log(level, message);
    }

    fn set_repl(&mut self, _: u8) {}

    fn tick(&mut self) -> Tick {
        if self.core.clock.monotonic_us() >= self.deadline_us { Tick::Kill } else { Tick::Continue }
    }
}

/// Changes the libraries and tells persistence. `patient`: whoever brings code is trusted to have loaded it before. The
/// caller holds all locks.
pub fn change_libraries<T>(
    core: &Core,
    worker: &mut Worker,
    patient: bool,
    change: impl FnOnce(&Libraries, &mut FunctionEngine, &mut dyn Host) -> T,
) -> T {
    let now = core.clock.monotonic_us();
    let deadline_us = if patient { u64::MAX } else { now.saturating_add(LOAD_TIMEOUT_US) };
    let mut host = Loading { core, deadline_us };
    let changed = change(&core.scripts.libraries, functions(worker), &mut host);
    core.persist.follow_libraries(Arc::new(core.scripts.libraries.sources()));
    changed
}

/// Makes the libraries whose sources have been read from a file run.
///
/// # Errors
/// Why they cannot.
pub fn install_libraries(
    core: &Core,
    worker: &mut Worker,
    policy: Restore,
) -> std::result::Result<(), String> {
    let sources = core.persist.libraries();
    let sources: Vec<&[u8]> = sources.iter().map(|source| &**source).collect();
    change_libraries(core, worker, true, |libraries, engine, host| {
        libraries.restore(engine, &sources, policy, host)
    })
}

/// Writes a script's result as the reply of its command.
struct Sink<'s, 'o> {
    out: &'s mut Reply<'o>,
    /// The codes of errors that nobody has counted yet.
    failed: &'s mut Vec<String>,
    /// There is an error in the reply.
    erred: bool,
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
        self.erred = true;
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
