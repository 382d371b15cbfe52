//! Which functions does the server offer, and how does a thread come to run them?
//!
//! The shared [`Libraries`] hold code and what it registered; each thread's [`FunctionEngine`] runs
//! a library's code once, when it first needs it, and keeps the callbacks. Upvalues of a library are
//! therefore per thread: a library that counts in a local counts per thread.
//!
//! Invariants: a library is in the store only if its code ran and registered something; function
//! names are unique whatever their case; load, replace and restore happen entirely or not at all;
//! whenever a library leaves, the generation changes and engines drop what they hold of it.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mlua::{Function, Lua, MultiValue, Table, Value};
use parking_lot::RwLock;

use super::api::{Host, reply_error};
use super::convert::{ReplySink, one_line};
use super::engine::{Entry, Outcome, Settings, run_in};
use super::fail::type_name;
use super::sandbox::{Role, Sandbox, engine_failure};
use super::shebang::{BAD_NAME, Flags, is_name, library_head};

/// The only engine there is, as clients see it.
pub const ENGINE: &str = "LUA";
const CHUNK: &str = "@user_function";
const CHUNK_NAME: &str = "user_function";

/// A function as a library registered it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionInfo {
    /// Its name.
    pub name: Vec<u8>,
    /// What it says about itself.
    pub description: Option<Vec<u8>>,
    /// What it declares.
    pub flags: Flags,
}

/// A library in the store.
#[derive(Debug)]
pub struct Library {
    /// Its name.
    pub name: Vec<u8>,
    /// Its code, first line included.
    pub code: Arc<[u8]>,
    /// What it registered, in order.
    pub functions: Vec<FunctionInfo>,
    /// Different for every load.
    id: u64,
}

/// What RESTORE does about libraries that exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restore {
    /// Delete all existing libraries first.
    Flush,
    /// Refuse when a library exists.
    Append,
    /// Replace those that exist.
    Replace,
}

#[derive(Debug, Default, Clone)]
struct Store {
    libraries: BTreeMap<Vec<u8>, Arc<Library>>,
    /// Lower-case function name to library and index.
    functions: HashMap<Vec<u8>, (Arc<Library>, usize), foldhash::fast::RandomState>,
}

impl Store {
    fn unlink(&mut self, name: &[u8]) -> Option<Arc<Library>> {
        let library = self.libraries.remove(name)?;
        for function in &library.functions {
            self.functions.remove(&function.name.to_ascii_lowercase());
        }
        Some(library)
    }

    /// Adds a library whose name is free; its functions must not collide with others.
    fn link(&mut self, library: Arc<Library>) -> Result<(), String> {
        for function in &library.functions {
            if self.functions.contains_key(&function.name.to_ascii_lowercase()) {
                let name = String::from_utf8_lossy(&function.name);
                return Err(format!("Function {name} already exists"));
            }
        }
        for (index, function) in library.functions.iter().enumerate() {
            let entry = (Arc::clone(&library), index);
            self.functions.insert(function.name.to_ascii_lowercase(), entry);
        }
        self.libraries.insert(library.name.clone(), library);
        Ok(())
    }
}

/// The function libraries of a server.
#[derive(Debug, Default)]
pub struct Libraries {
    store: Arc<RwLock<Store>>,
    generation: AtomicU64,
    next_id: AtomicU64,
}

impl Libraries {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs a library's code and keeps it. Answers its name; errors are texts without a code.
    /// `host` is asked by [`Host::tick`] whether loading has taken too long.
    pub fn load(
        &self,
        engine: &mut FunctionEngine,
        code: &[u8],
        replace: bool,
        host: &mut dyn Host,
    ) -> Result<Vec<u8>, String> {
        let library = self
            .prepare(engine, code, host, |name| !replace && self.store.read().libraries.contains_key(name))?;
        let name = library.name.clone();
        let mut store = self.store.write();
        if !replace && store.libraries.contains_key(&name) {
            let name = String::from_utf8_lossy(&name);
            return Err(format!("Library '{name}' already exists"));
        }
        let old = store.unlink(&name);
        if let Err(why) = store.link(Arc::new(library)) {
            if let Some(old) = old {
                // It was there a moment ago, so there is room for it.
                let _ = store.link(old);
            }
            return Err(why);
        }
        self.generation.fetch_add(1, Ordering::Release);
        Ok(name)
    }

    /// Checks and runs code; the library is not yet in the store.
    fn prepare(
        &self,
        engine: &mut FunctionEngine,
        code: &[u8],
        host: &mut dyn Host,
        exists: impl Fn(&[u8]) -> bool,
    ) -> Result<Library, String> {
        let head = library_head(code)?;
        if !is_name(&head.name) {
            return Err(BAD_NAME.into());
        }
        if !head.engine.eq_ignore_ascii_case(ENGINE) {
            return Err(format!("Engine '{}' not found", head.engine));
        }
        if exists(&head.name) {
            let name = String::from_utf8_lossy(&head.name);
            return Err(format!("Library '{name}' already exists"));
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let functions = engine.execute(id, &code[head.length..], host)?;
        if functions.is_empty() {
            return Err("No functions registered".into());
        }
        Ok(Library { name: head.name, code: code.into(), functions, id })
    }

    /// FUNCTION DELETE. Whether there was such a library.
    pub fn delete(&self, name: &[u8]) -> bool {
        let gone = self.store.write().unlink(name).is_some();
        if gone {
            self.generation.fetch_add(1, Ordering::Release);
        }
        gone
    }

    /// FUNCTION FLUSH.
    pub fn flush(&self) {
        *self.store.write() = Store::default();
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// FUNCTION RESTORE: all of these libraries, or none. Errors are texts without a code.
    pub fn restore(
        &self,
        engine: &mut FunctionEngine,
        codes: &[&[u8]],
        policy: Restore,
        host: &mut dyn Host,
    ) -> Result<(), String> {
        let mut fresh = Store::default();
        for code in codes {
            let library = self.prepare(engine, code, host, |name| fresh.libraries.contains_key(name))?;
            fresh.link(Arc::new(library))?;
        }
        let mut store = self.store.write();
        let mut joined = if policy == Restore::Flush { Store::default() } else { store.clone() };
        for name in fresh.libraries.keys() {
            if policy == Restore::Append && joined.libraries.contains_key(name) {
                return Err(format!("Library {} already exists", String::from_utf8_lossy(name)));
            }
            joined.unlink(name);
        }
        for library in fresh.libraries.into_values() {
            joined.link(library)?;
        }
        *store = joined;
        self.generation.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// The library and index of a function, by its name in any case.
    pub fn find(&self, function: &[u8]) -> Option<(Arc<Library>, usize)> {
        self.store.read().functions.get(&function.to_ascii_lowercase()).cloned()
    }

    /// All libraries, by name.
    pub fn all(&self) -> Vec<Arc<Library>> {
        self.store.read().libraries.values().cloned().collect()
    }

    /// How many libraries and functions there are.
    pub fn counts(&self) -> (usize, usize) {
        let store = self.store.read();
        (store.libraries.len(), store.functions.len())
    }

    /// Bytes of code kept.
    pub fn code_bytes(&self) -> usize {
        self.store.read().libraries.values().map(|library| library.code.len()).sum()
    }

    /// Answers, at any time, what the code of all libraries is by then, by name.
    pub fn sources(&self) -> impl Fn() -> Vec<Arc<[u8]>> + Send + Sync + 'static {
        let store = Arc::clone(&self.store);
        move || store.read().libraries.values().map(|library| library.code.clone()).collect()
    }

    fn ids(&self) -> HashSet<u64> {
        self.store.read().libraries.values().map(|library| library.id).collect()
    }
}

/// What a loading library has registered so far.
type Registered = Rc<RefCell<Option<Vec<(FunctionInfo, Function)>>>>;

/// The functions of one thread.
pub struct FunctionEngine {
    settings: Settings,
    sandbox: Option<Sandbox>,
    registered: Registered,
    /// Library id to its callbacks, an array in the order of registration. The interpreter keeps it, and we the table
    /// as a whole: the binding cannot hold more than some thousand values.
    callbacks: Option<Table>,
    /// The ids that are in there.
    loaded: HashSet<u64>,
    generation: u64,
}

impl FunctionEngine {
    /// An engine; the interpreter itself is made when the first library comes.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            sandbox: None,
            registered: Registered::default(),
            callbacks: None,
            loaded: HashSet::new(),
            generation: 0,
        }
    }

    /// Bytes in use by the interpreter.
    pub fn used_memory(&self) -> usize {
        self.sandbox.as_ref().map_or(0, |sandbox| sandbox.lua.used_memory())
    }

    /// Throws the interpreter away.
    pub fn reset(&mut self) {
        self.loaded.clear();
        self.callbacks = None;
        self.registered.take();
        self.sandbox = None;
    }

    fn make_sandbox(&mut self) -> Result<(), String> {
        if self.sandbox.is_none() {
            let registered = Rc::clone(&self.registered);
            let register = move |lua: &Lua| {
                let registered = Rc::clone(&registered);
                lua.create_function(move |_, args: MultiValue| register(&registered, args))
            };
            let Settings { version, memory_limit } = self.settings;
            let made = Sandbox::new(Role::Functions, version, memory_limit, Some(&register));
            let made = made.and_then(|sandbox| Ok((sandbox.lua.create_table()?, sandbox)));
            let (callbacks, sandbox) =
                made.map_err(|error| format!("Failed creating the lua VM: {error}"))?;
            (self.callbacks, self.sandbox) = (Some(callbacks), Some(sandbox));
        }
        Ok(())
    }

    /// Runs a library's code and keeps its callbacks under `id`.
    fn execute(&mut self, id: u64, code: &[u8], host: &mut dyn Host) -> Result<Vec<FunctionInfo>, String> {
        self.make_sandbox()?;
        let (Some(sandbox), Some(all)) = (&self.sandbox, &self.callbacks) else {
            return Err("no interpreter".into());
        };
        sandbox.reset();
        let text = |bytes: &[u8]| String::from_utf8_lossy(&one_line(bytes)).into_owned();
        let chunk = sandbox
            .compile(code, CHUNK)
            .map_err(|why| format!("Error compiling function: {}", text(&why)))?;
        let lines = memchr::memchr_iter(b'\n', code.trim_ascii_end()).count() + 1;
        sandbox.context.fallback.set((CHUNK, CHUNK_NAME, lines));
        sandbox.context.in_host.set(false);
        self.registered.replace(Some(Vec::new()));
        let ran = catch_unwind(AssertUnwindSafe(|| {
            let call = || sandbox.load_library.call::<(bool, Value)>(&chunk);
            sandbox.context.host.during(host, call)
        }));
        let registered = self.registered.take().unwrap_or_default();
        let answer = match ran {
            Ok(answer) => answer,
            Err(panic) if sandbox.context.in_host.get() => resume_unwind(panic),
            Err(_) => Err(reply_error("too many values")),
        };
        if sandbox.context.killed.get() {
            // It was stopped in the middle of who knows what.
            self.reset();
            return Err("Error registering functions: ERR FUNCTION LOAD timeout".into());
        }
        match answer {
            Ok((true, _)) => {
                let (infos, callbacks) = registered.into_iter().unzip::<_, _, Vec<_>, Vec<_>>();
                let table = sandbox.lua.create_sequence_from(callbacks);
                let kept = table.and_then(|table| all.raw_set(id, table));
                kept.map_err(|error| text(&engine_failure(&error)))?;
                self.loaded.insert(id);
                sandbox.tidy();
                Ok(infos)
            }
            Ok((false, error)) => {
                let why = match &error {
                    Value::Table(table) => match table.raw_get("err") {
                        Ok(Value::String(err)) => text(&err.as_bytes()),
                        _ => "ERR unknown error".to_owned(),
                    },
                    Value::String(message) => format!("ERR {}", text(&message.as_bytes())),
                    other => format!("ERR ({})", type_name(other)),
                };
                sandbox.tidy();
                Err(format!("Error registering functions: {why}"))
            }
            Err(error) => {
                let why = text(&engine_failure(&error));
                self.reset();
                Err(format!("Error registering functions: ERR {why}"))
            }
        }
    }

    /// Drops the callbacks of libraries that the store no longer has.
    fn follow(&mut self, libraries: &Libraries) {
        let generation = libraries.generation.load(Ordering::Acquire);
        if generation == self.generation {
            return;
        }
        self.generation = generation;
        let present = libraries.ids();
        self.loaded.retain(|id| {
            let stays = present.contains(id);
            if let (false, Some(all)) = (stays, &self.callbacks) {
                // Setting a field of our own table to nil cannot fail.
                let _ = all.raw_set(*id, Value::Nil);
            }
            stays
        });
        if self.loaded.is_empty() {
            self.reset();
        }
    }

    /// Runs a function found by [`Libraries::find`]. The reply, also that of a failure, goes to
    /// `sink`.
    pub fn run(
        &mut self,
        libraries: &Libraries,
        (library, index): &(Arc<Library>, usize),
        [keys, args]: [&[&[u8]]; 2],
        host: &mut dyn Host,
        sink: &mut dyn ReplySink,
    ) {
        self.follow(libraries);
        if !self.loaded.contains(&library.id) {
            // It loaded on another thread, so it loads here; a time-out does not apply.
            let head = library_head(&library.code).map_or(0, |head| head.length);
            if let Err(why) = self.execute(library.id, &library.code[head..], &mut Patient(host)) {
                return sink.error(format!("ERR {why}").as_bytes(), false);
            }
        }
        let own = self.callbacks.as_ref().map(|all| all.raw_get::<Table>(library.id));
        let callback = own.and_then(Result::ok).map(|table| table.raw_get(*index + 1));
        let (Some(Ok(Value::Function(callback))), Some(sandbox), Some(info)) =
            (callback, &self.sandbox, library.functions.get(*index))
        else {
            return sink.error(b"ERR Function not found", false);
        };
        let last_line = callback.info().last_line_defined.unwrap_or(0);
        sandbox.context.fallback.set((CHUNK, CHUNK_NAME, last_line));
        let name = String::from_utf8_lossy(&info.name);
        let outcome = run_in(sandbox, Entry::Function(&callback), &name, keys, args, host, sink);
        if outcome == Outcome::Broken {
            drop(callback);
            self.reset();
        }
    }
}

/// A host that lets code run to its end, for libraries that are known to load.
struct Patient<'a>(&'a mut dyn Host);

impl Host for Patient<'_> {
    fn call(&mut self, argv: &[&[u8]], resp3: bool, reply: &mut Vec<u8>) -> bool {
        self.0.call(argv, resp3, reply)
    }
    fn acl_check(&mut self, argv: &[&[u8]]) -> Option<bool> {
        self.0.acl_check(argv)
    }
    fn log(&mut self, level: u8, message: &[u8]) {
        self.0.log(level, message);
    }
    fn set_repl(&mut self, flags: u8) {
        self.0.set_repl(flags);
    }
    fn tick(&mut self) -> super::api::Tick {
        super::api::Tick::Continue
    }
}

// ---- redis.register_function ----

fn register(registered: &Registered, args: MultiValue) -> mlua::Result<()> {
    let mut registered = registered.borrow_mut();
    let Some(registered) = registered.as_mut() else {
        let why = "redis.register_function can only be called on FUNCTION LOAD command";
        return Err(reply_error(why));
    };
    let (info, callback) = match (args.len(), args.front()) {
        (1, Some(Value::Table(named))) => named_arguments(named)?,
        (1, _) => {
            return Err(reply_error(
                "calling redis.register_function with a single argument is only applicable to Lua table (representing named arguments).",
            ));
        }
        (2, Some(name)) => {
            let name = string(name)
                .ok_or_else(|| reply_error("first argument to redis.register_function must be a string"))?;
            let Some(Value::Function(callback)) = args.get(1) else {
                let why = "second argument to redis.register_function must be a function";
                return Err(reply_error(why));
            };
            (FunctionInfo { name, description: None, flags: Flags::NONE }, callback.clone())
        }
        _ => return Err(reply_error("wrong number of arguments to redis.register_function")),
    };
    if !is_name(&info.name) {
        return Err(reply_error(BAD_NAME));
    }
    if registered.iter().any(|(other, _)| other.name == info.name) {
        return Err(reply_error("Function already exists in the library"));
    }
    registered.push((info, callback));
    Ok(())
}

/// A string, or a number in its text form.
fn string(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        Value::Integer(n) => Some(n.to_string().into_bytes()),
        Value::Number(n) => Some(crate::util::number::fmt_g14(*n).as_ref().to_vec()),
        _ => None,
    }
}

fn named_arguments(named: &Table) -> mlua::Result<(FunctionInfo, Function)> {
    let (mut name, mut description, mut callback) = (None, None, None);
    let mut flags = Flags::NONE;
    for pair in named.pairs::<Value, Value>() {
        let (key, value) = pair?;
        let key = string(&key).ok_or_else(|| {
            reply_error("named argument key given to redis.register_function is not a string")
        })?;
        let text = |what: &str| {
            string(&value).ok_or_else(|| {
                reply_error(&format!("{what} argument given to redis.register_function must be a string"))
            })
        };
        match &key.to_ascii_lowercase()[..] {
            b"function_name" => name = Some(text("function_name")?),
            b"description" => description = Some(text("description")?),
            b"callback" => match &value {
                Value::Function(f) => callback = Some(f.clone()),
                _ => {
                    return Err(reply_error(
                        "callback argument given to redis.register_function must be a function",
                    ));
                }
            },
            b"flags" => match &value {
                Value::Table(list) => flags = read_flags(list)?,
                _ => {
                    return Err(reply_error(
                        "flags argument to redis.register_function must be a table representing function flags",
                    ));
                }
            },
            _ => return Err(reply_error("unknown argument given to redis.register_function")),
        }
    }
    let name =
        name.ok_or_else(|| reply_error("redis.register_function must get a function name argument"))?;
    let callback =
        callback.ok_or_else(|| reply_error("redis.register_function must get a callback argument"))?;
    Ok((FunctionInfo { name, description, flags }, callback))
}

fn read_flags(list: &Table) -> mlua::Result<Flags> {
    let mut flags = Flags::NONE;
    for index in 1_i64.. {
        let value: Value = list.raw_get(index)?;
        if value.is_nil() {
            break;
        }
        let flag = string(&value)
            .and_then(|name| Flags::named(&name.to_ascii_lowercase()))
            .ok_or_else(|| reply_error("unknown flag given"))?;
        flags = flags.with(flag);
    }
    Ok(flags)
}
