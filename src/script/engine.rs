//! How does a script run? One engine per I/O thread: it compiles what the shared cache knows, sets
//! up KEYS and ARGV, lends the server to the script and turns what comes back into a reply.
//!
//! Invariants: every run writes exactly one complete reply to the sink; no error text keeps a line
//! break; a run leaves nothing behind that the next could see; after a failure of the binding
//! itself the interpreter is thrown away; a panic of the host is passed on untouched.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;

use mlua::{Either, IntoLua, Table, Value, Variadic};

use super::api::{Host, Version};
use super::build::text;
use super::cache::{Origin, Script, ScriptCache, Sha};
use super::convert::{ReplySink, lua_to_reply, one_line};
use super::debugger::Debugger;
use super::sandbox::{Role, Sandbox, engine_failure};

/// Keys and arguments that travel on the interpreter's stack; more go through tables.
const MAX_ON_STACK: usize = 100;
/// The chunk name of scripts.
const SCRIPT_CHUNK: &str = "@user_script";
/// The same as positions show it.
const SCRIPT_NAME: &str = "user_script";

/// How an engine is set up.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The version that scripts see.
    pub version: Version,
    /// Bytes an interpreter may use; 0 for no limit.
    pub memory_limit: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { version: Version { text: "8.2.3", number: 0x0008_0203 }, memory_limit: 512 << 20 }
    }
}

/// A script that this thread has compiled.
struct Compiled {
    script: Arc<Script>,
    /// Its number in the interpreter's table.
    id: i64,
    /// The last line with text on it: where a script that ends in a tail call ends.
    last_line: usize,
}

impl Compiled {
    fn new(script: &Arc<Script>, id: i64) -> Self {
        let text = script.source.trim_ascii_end();
        let last_line = memchr::memchr_iter(b'\n', text).count() + 1;
        Self { script: Arc::clone(script), id, last_line }
    }
}

/// The scripts of one thread.
pub struct Engine {
    settings: Settings,
    sandbox: Option<Sandbox>,
    /// Who looks on.
    debugger: Option<Rc<Debugger>>,
    compiled: HashMap<Sha, Compiled, foldhash::fast::RandomState>,
    /// Scripts that EVAL has brought, by their text: what is here need not be hashed by SHA1 again.
    by_source: HashMap<Arc<[u8]>, Arc<Script>, foldhash::fast::RandomState>,
    next_id: i64,
    /// The generation of the cache that `compiled` and `by_source` agree with.
    generation: u64,
}

impl Engine {
    /// An engine; the interpreter itself is made when the first script comes.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            sandbox: None,
            debugger: None,
            compiled: HashMap::default(),
            by_source: HashMap::default(),
            next_id: 1,
            generation: 0,
        }
    }

    /// An engine for the one script that a debugger looks at.
    pub fn debugged(settings: Settings, debugger: Rc<Debugger>) -> Self {
        Self { debugger: Some(debugger), ..Self::new(settings) }
    }

    /// Bytes in use by the interpreter.
    pub fn used_memory(&self) -> usize {
        self.sandbox.as_ref().map_or(0, |sandbox| sandbox.lua.used_memory())
    }

    /// Throws the interpreter away (SCRIPT FLUSH, or after it failed).
    pub fn reset(&mut self) {
        self.compiled.clear();
        self.by_source.clear();
        self.sandbox = None;
    }

    fn sandbox(&mut self) -> Result<&Sandbox, String> {
        if self.sandbox.is_none() {
            let Settings { version, memory_limit } = self.settings;
            let made = match &self.debugger {
                Some(debugger) => Sandbox::debugged(version, memory_limit, debugger),
                None => Sandbox::new(Role::Scripts, version, memory_limit, None),
            };
            let made = made.map_err(|error| format!("ERR Failed creating the lua VM: {error}"))?;
            self.sandbox = Some(made);
        }
        self.sandbox.as_ref().ok_or_else(|| "ERR Failed creating the lua VM".to_owned())
    }

    /// Drops compiled scripts that the cache no longer has.
    fn follow(&mut self, cache: &ScriptCache) {
        let generation = cache.generation();
        if generation == self.generation {
            return;
        }
        self.generation = generation;
        self.by_source.clear();
        if cache.is_empty() {
            self.reset();
            return;
        }
        let gone: Vec<Sha> = self.compiled.keys().filter(|sha| cache.get(sha).is_none()).copied().collect();
        for sha in gone {
            if let (Some(compiled), Some(sandbox)) = (self.compiled.remove(&sha), self.sandbox.as_ref()) {
                // Setting a field of our own table to nil cannot fail.
                let _ = sandbox.scripts.raw_set(compiled.id, Value::Nil);
            }
        }
    }

    /// The script for this source, from the cache or new; compiled, so that a script in the cache
    /// is known to compile. The error is a complete reply text without its `-`.
    pub fn load(
        &mut self,
        cache: &ScriptCache,
        source: &[u8],
        origin: Origin,
    ) -> Result<Arc<Script>, String> {
        self.follow(cache);
        if origin == Origin::Eval
            && let Some(known) = self.recall(cache, source)
        {
            return Ok(Arc::clone(known));
        }
        let known = cache.get(&super::cache::sha_of(source));
        let script = match known {
            Some(known) if origin == Origin::Eval => known,
            Some(_) => cache.insert(Self::prepare(source)?, origin),
            None => {
                let script = Self::prepare(source)?;
                let id = self.compile(&script)?;
                let script = cache.insert(script, origin);
                self.compiled.insert(script.sha, Compiled::new(&script, id));
                script
            }
        };
        if origin == Origin::Eval {
            self.by_source.insert(Arc::clone(&script.source), Arc::clone(&script));
        }
        Ok(script)
    }

    fn prepare(source: &[u8]) -> Result<Script, String> {
        ScriptCache::prepare(source).map_err(|why| format!("ERR {why}"))
    }

    /// The script of this text, if this thread knows it and the cache still has it: without a hash or a lock.
    pub fn recall(&self, cache: &ScriptCache, source: &[u8]) -> Option<&Arc<Script>> {
        self.by_source.get(source).filter(|_| cache.generation() == self.generation)
    }

    /// The same by its name.
    pub fn recall_sha(&self, cache: &ScriptCache, sha: &Sha) -> Option<&Arc<Script>> {
        let compiled = self.compiled.get(sha).filter(|_| cache.generation() == self.generation);
        compiled.map(|compiled| &compiled.script)
    }

    /// The script of this name, without a look at the shared cache when this thread has run it.
    pub fn find(&mut self, cache: &ScriptCache, sha: &Sha) -> Option<Arc<Script>> {
        self.follow(cache);
        match self.compiled.get(sha) {
            Some(compiled) => Some(Arc::clone(&compiled.script)),
            None => cache.get(sha),
        }
    }

    /// Compiles a script and gives it a number.
    fn compile(&mut self, script: &Script) -> Result<i64, String> {
        let id = self.next_id;
        let sandbox = self.sandbox()?;
        let source = script.source.get(script.skip..).unwrap_or_default();
        let function = sandbox.compile(source, SCRIPT_CHUNK).map_err(|why| {
            let why = String::from_utf8_lossy(&one_line(&why)).into_owned();
            format!("ERR Error compiling script (new function): {why}")
        })?;
        sandbox.scripts.raw_set(id, function).map_err(|error| format!("ERR {error}"))?;
        self.next_id += 1;
        Ok(id)
    }

    /// Runs a script. The reply, also that of a failure, goes to `sink`.
    pub fn run(
        &mut self,
        script: &Arc<Script>,
        keys: &[&[u8]],
        args: &[&[u8]],
        host: &mut dyn Host,
        sink: &mut dyn ReplySink,
    ) {
        let known = self.compiled.get(&script.sha).map(|compiled| (compiled.id, compiled.last_line));
        let (id, last_line) = match known {
            Some(known) => known,
            None => match self.compile(script) {
                Ok(id) => {
                    let compiled = Compiled::new(script, id);
                    let last_line = compiled.last_line;
                    self.compiled.insert(script.sha, compiled);
                    (id, last_line)
                }
                Err(why) => return sink.error(why.as_bytes(), false),
            },
        };
        let Some(sandbox) = &self.sandbox else { return sink.null() };
        sandbox.context.fallback.set((SCRIPT_CHUNK, SCRIPT_NAME, last_line));
        let name = script.sha_text();
        if run_in(sandbox, Entry::Script(id), name, keys, args, host, sink) == Outcome::Broken {
            self.reset();
        }
    }
}

/// What is called.
pub(super) enum Entry<'a> {
    /// A compiled script by number.
    Script(i64),
    /// The callback of a registered function.
    Function(&'a mlua::Function),
}

/// Whether the interpreter can be used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It can.
    Sound,
    /// The binding failed inside it.
    Broken,
}

/// Calls an entry with its keys and arguments and writes the reply.
pub(super) fn run_in(
    sandbox: &Sandbox,
    entry: Entry<'_>,
    name: &str,
    keys: &[&[u8]],
    args: &[&[u8]],
    host: &mut dyn Host,
    sink: &mut dyn ReplySink,
) -> Outcome {
    sandbox.reset();
    sandbox.context.in_host.set(false);
    let called = catch_unwind(AssertUnwindSafe(|| {
        sandbox.context.host.during(host, || enter(sandbox, entry, keys, args))
    }));
    sandbox.limited(true);
    let answer = match called {
        Ok(answer) => answer,
        Err(panic) if sandbox.context.in_host.get() => resume_unwind(panic),
        Err(_) => {
            // The binding panics when a script makes it hold more values than fit its stack.
            let why = format!("ERR Error running script {name}, too many values");
            sink.error(why.as_bytes(), false);
            return Outcome::Broken;
        }
    };
    match answer {
        Ok((true, value)) => write_result(sandbox, value, sink),
        Ok((false, error)) => write_error(error, name, sink),
        Err(error) => {
            let mut why = format!("ERR Error running script {name}, ").into_bytes();
            why.extend(one_line(&engine_failure(&error)).into_iter().take(100));
            sink.error(&why, false);
        }
    }
    sandbox.tidy();
    Outcome::Sound
}

fn enter(sandbox: &Sandbox, entry: Entry<'_>, keys: &[&[u8]], args: &[&[u8]]) -> mlua::Result<(bool, Value)> {
    // What comes from the client is already in memory once; the copy needs no limit.
    sandbox.limited(false);
    if keys.len() + args.len() <= MAX_ON_STACK {
        let values = keys.iter().chain(args).map(|bytes| Either::Left(text(bytes)));
        let values: Variadic<_> = values.chain([Either::Right(Limit(sandbox))]).collect();
        return match entry {
            Entry::Script(id) => sandbox.run_script.call((id, keys.len(), values)),
            Entry::Function(f) => sandbox.run_function.call((f, keys.len(), values)),
        };
    }
    let (keys, args) = (list(sandbox, keys)?, list(sandbox, args)?);
    sandbox.limited(true);
    match entry {
        Entry::Script(id) => sandbox.run_script_tables.call((id, keys, args)),
        Entry::Function(f) => sandbox.run_function_tables.call((f, keys, args)),
    }
}

/// The last argument of a call: switches the memory limit on once everything before it has been
/// pushed. Itself it becomes a nil at the end of ARGV, which is to say nothing.
struct Limit<'a>(&'a Sandbox);

impl IntoLua for Limit<'_> {
    fn into_lua(self, _: &mlua::Lua) -> mlua::Result<Value> {
        self.0.limited(true);
        Ok(Value::Nil)
    }
}

fn list(sandbox: &Sandbox, items: &[&[u8]]) -> mlua::Result<Table> {
    let table = sandbox.lua.create_table_with_capacity(items.len(), 0)?;
    for (index, item) in (1_i64..).zip(items) {
        table.raw_set(index, text(item))?;
    }
    Ok(table)
}

fn write_result(sandbox: &Sandbox, value: Value, sink: &mut dyn ReplySink) {
    let resp3 = sandbox.context.resp3.get();
    // Only the call of `next` on a map can fail, for want of memory; its elements are then missing
    // from the reply, so the connection must not go on with it: the sink is told by an error.
    if let Err(error) = lua_to_reply(value, resp3, &sandbox.next, sink) {
        sink.error(&[b"ERR ", &one_line(&engine_failure(&error))[..]].concat(), false);
    }
}

/// Writes an error table as the sandbox's handler made it.
fn write_error(error: Value, name: &str, sink: &mut dyn ReplySink) {
    let Value::Table(table) = error else {
        let mut why = format!("ERR Error running script {name}, ").into_bytes();
        match error {
            Value::String(text) => why.extend(text.as_bytes().iter().take(100)),
            _ => why.extend_from_slice(b"execution failure"),
        }
        return sink.error(&one_line(&why), false);
    };
    let field = |key: &str| -> Option<Vec<u8>> {
        match table.raw_get(key) {
            Ok(Value::String(text)) => Some(text.as_bytes().to_vec()),
            Ok(Value::Integer(n)) => Some(n.to_string().into_bytes()),
            Ok(Value::Number(n)) => Some(crate::util::number::fmt_g14(n).as_ref().to_vec()),
            _ => None,
        }
    };
    let mut message = field("err").unwrap_or_else(|| b"ERR unknown error".to_vec());
    if let (Some(source), Some(line)) = (field("source"), field("line")) {
        message.extend_from_slice(format!(" script: {name}, on ").as_bytes());
        message.extend_from_slice(&source);
        message.push(b':');
        message.extend_from_slice(&line);
        message.push(b'.');
    }
    let counted = matches!(table.raw_get("ignore_error_stats_update"), Ok(Value::Boolean(true)));
    sink.error(&one_line(&message), counted);
}
