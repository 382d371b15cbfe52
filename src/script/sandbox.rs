//! How is an interpreter made that shows scripts what Redis shows them, and nothing else?
//!
//! `lua/sandbox.lua` hides every shared table behind a read-only proxy and replaces the functions
//! that could get around it; here are the parts that need the host's side: error values, positions,
//! the generator behind `math.random`, the hook that counts instructions.
//!
//! Invariants: chunks are compiled from text only, while the collector rests; a script that was
//! killed cannot go on, whatever it catches; the interpreter never holds more memory than its limit.

use std::rc::Rc;

use mlua::{
    ChunkMode, Error, Function, HookTriggers, Lua, LuaOptions, MultiValue, Result, StdLib, Table, Value,
    VmState,
};

use super::api::{self, Context, Tick, Version};
use super::convert::error_table;
use super::debugger::Debugger;
use super::fail::{Args, Failure, PRELUDE_CHUNK, PRELUDE_MARK, bad_argument, c_int, failure_of};
use super::rand48::Rand48;
use super::{lib_bit, lib_cjson, lib_cmsgpack, lib_struct};
use crate::ds::lua_debug;

const PRELUDE: &str = include_str!("../../lua/sandbox.lua");
/// Instructions between two calls of [`super::api::Host::tick`].
const TICK_INSTRUCTIONS: u32 = 100_000;
/// Memory in use after a run from which on everything is collected at once.
const COLLECT_ABOVE: usize = 32 << 20;
/// Pattern items that may be matched one inside the other.
const MAX_PATTERN_ITEMS: usize = 200;
/// Stack frames that are searched for the script's position.
const MAX_FRAMES: usize = 220;

/// Which kind of code an interpreter runs. Scripts and functions never share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// EVAL and its kin.
    Scripts,
    /// Function libraries.
    Functions,
}

/// Makes a function for an interpreter.
pub type MakeFunction = dyn Fn(&Lua) -> Result<Function>;

/// An interpreter ready to run untrusted code.
pub struct Sandbox {
    /// The interpreter.
    pub lua: Lua,
    /// What its functions share.
    pub context: Rc<Context>,
    /// `run_script(id, count, keys and arguments...) -> ok, value`
    pub run_script: Function,
    /// `run_script_tables(id, keys, arguments) -> ok, value`
    pub run_script_tables: Function,
    /// `run_function(callback, count, keys and arguments...) -> ok, value`
    pub run_function: Function,
    /// `run_function_tables(callback, keys, arguments) -> ok, value`
    pub run_function_tables: Function,
    /// `load_library(chunk) -> ok, error`
    pub load_library: Function,
    /// Compiled scripts by number.
    pub scripts: Table,
    /// The interpreter's own `next`.
    pub next: Function,
    cjson: lib_cjson::Shared,
    limit: usize,
}

impl Sandbox {
    /// Builds an interpreter that may use up to `limit` bytes (0 for no limit). `register` is what
    /// a loading library finds as `redis.register_function`.
    pub fn new(role: Role, version: Version, limit: usize, register: Option<&MakeFunction>) -> Result<Self> {
        let sandbox = Self::build(
            Lua::new_with(libraries(), options())?,
            Context::default(),
            role,
            version,
            limit,
            register,
        )?;
        install_hook(&sandbox.lua, &sandbox.context, TICK_INSTRUCTIONS)?;
        Ok(sandbox)
    }

    /// Builds an interpreter for one script, which a debugger watches.
    pub fn debugged(version: Version, limit: usize, debugger: &Rc<Debugger>) -> Result<Self> {
        let (lua, debug) = lua_debug::with_debug_library(libraries(), options())?;
        let sandbox = Self::build(lua, Context::watched(debugger), Role::Scripts, version, limit, None)?;
        debugger.attach(&sandbox.lua, &debug, sandbox.lua.globals())?;
        let debugger = Rc::clone(debugger);
        let triggers = HookTriggers::new().every_line().every_nth_instruction(TICK_INSTRUCTIONS);
        sandbox.lua.set_global_hook(triggers, move |lua, at| debugger.hook(lua, at))?;
        Ok(sandbox)
    }

    fn build(
        lua: Lua,
        context: Context,
        role: Role,
        version: Version,
        limit: usize,
        register: Option<&MakeFunction>,
    ) -> Result<Self> {
        let context = Rc::new(context);
        let tables = weak_keys(&lua)?;
        let host = host_table(&lua, &tables, &context)?;
        let redis = api::open(&lua, &context, version, role == Role::Functions)?;
        let loading = api::open_loading(&lua, &context, version)?;
        if let Some(register) = register {
            loading.raw_set("register_function", register(&lua)?)?;
        }
        let (cjson_table, cjson) = lib_cjson::open(&lua, &tables)?;
        let libraries = lua.create_table()?;
        libraries.raw_set("bit", lib_bit::open(&lua)?)?;
        libraries.raw_set("cjson", cjson_table)?;
        libraries.raw_set("cmsgpack", lib_cmsgpack::open(&lua)?)?;
        libraries.raw_set("struct", lib_struct::open(&lua)?)?;
        libraries.raw_set("loading", loading)?;
        let raw = lua.globals();
        let parts: Table = lua.load(PRELUDE).set_name(PRELUDE_CHUNK).call((
            host,
            &raw,
            redis,
            libraries,
            role == Role::Functions,
        ))?;
        let next = raw.raw_get("next")?;
        lua.set_globals(parts.raw_get("environment")?)?;
        lua.gc_collect()?;
        lua.set_memory_limit(limit)?;
        Ok(Self {
            run_script: parts.raw_get("run_script")?,
            run_script_tables: parts.raw_get("run_script_tables")?,
            run_function: parts.raw_get("run_function")?,
            run_function_tables: parts.raw_get("run_function_tables")?,
            load_library: parts.raw_get("load_library")?,
            scripts: parts.raw_get("scripts")?,
            next,
            cjson,
            context,
            limit,
            lua,
        })
    }

    /// Compiles text. The error is the compiler's message.
    pub fn compile(&self, source: &[u8], name: &str) -> std::result::Result<Function, Vec<u8>> {
        compile(&self.lua, source, name)
    }

    /// Forgets what the last run left behind.
    pub fn reset(&self) {
        self.context.finished.set(false);
        if self.context.killed.replace(false) {
            // Fails only for want of memory; then the next script is watched too closely.
            let _ = install_hook(&self.lua, &self.context, TICK_INSTRUCTIONS);
        }
        self.context.resp3.set(false);
        self.cjson.reset();
    }

    /// Collects everything when that looks worthwhile. There is no collection in need: what is not
    /// collected after a run may be missing in the next.
    pub fn tidy(&self) {
        let enough = if self.limit > 0 { (self.limit / 4).min(COLLECT_ABOVE) } else { COLLECT_ABOVE };
        if self.lua.used_memory() > enough {
            // Fails only when a finalizer does, and there are none.
            let _ = self.lua.gc_collect();
        }
    }

    /// Switches the interpreter's own memory limit off and on again: single operations are several
    /// times cheaper without it.
    pub fn limited(&self, on: bool) {
        // Cannot fail: the state is not embedded in a foreign program.
        let _ = self.lua.set_memory_limit(if on { self.limit } else { 0 });
    }
}

/// What of Lua's own libraries an interpreter begins with.
fn libraries() -> StdLib {
    StdLib::TABLE | StdLib::STRING | StdLib::MATH | StdLib::OS
}

/// Panics are bugs of the host; no script may catch one.
fn options() -> LuaOptions {
    LuaOptions::new().catch_rust_panics(false)
}

/// Compiles text for an interpreter. The error is the compiler's message.
pub fn compile(lua: &Lua, source: &[u8], name: &str) -> std::result::Result<Function, Vec<u8>> {
    // Old parsers have trusted the collector to leave alone what they hold; ours rests.
    lua.gc_stop();
    let compiled = lua.load(source).set_name(name).set_mode(ChunkMode::Text).into_function();
    lua.gc_restart();
    compiled.map_err(|error| {
        if source.first() == Some(&0x1b) {
            let name = name.trim_start_matches(['@', '=']);
            return format!("{name}:1: unexpected symbol near 'char(27)'").into_bytes();
        }
        match failure_of(&error) {
            Failure::Text(text) => text,
            other => other.to_string().into_bytes(),
        }
    })
}

/// A table that does not keep its keys alive.
fn weak_keys(lua: &Lua) -> Result<Table> {
    let table = lua.create_table()?;
    let metatable = lua.create_table()?;
    metatable.raw_set("__mode", "k")?;
    table.set_metatable(Some(metatable))?;
    Ok(table)
}

/// Sets the hook of the running thread. Coroutines inherit it when they are created.
fn install_hook(lua: &Lua, context: &Rc<Context>, every: u32) -> Result<()> {
    let context = Rc::clone(context);
    let triggers = HookTriggers::new().every_nth_instruction(every);
    lua.set_global_hook(triggers, move |lua, _| {
        let tick = context.host.with(|host| {
            context.in_host.set(true);
            let tick = host.tick();
            context.in_host.set(false);
            tick
        });
        let kill = context.killed.get() || tick == Some(Tick::Kill);
        if !kill || tick.is_none() || context.finished.get() {
            return Ok(VmState::Continue);
        }
        // From now on every instruction is refused: where the stack is too deep for a handler the
        // kill turns into an ordinary error, which a script could catch and go on.
        if !context.killed.replace(true) || every > 1 {
            install_hook(lua, &context, 1)?;
        }
        Err(Failure::Killed.into())
    })
}

/// The functions that the prelude takes from here.
fn host_table(lua: &Lua, tables: &Table, context: &Rc<Context>) -> Result<Table> {
    let host = lua.create_table()?;
    host.raw_set("tables", tables)?;
    for (name, convert) in HANDLERS {
        let errors = Errors { hidden: tables.clone(), context: Rc::clone(context) };
        let f = lua.create_function(move |lua, error: Value| convert(&errors, lua, error))?;
        host.raw_set(*name, f)?;
    }
    host.raw_set("is_kill", lua.create_function(|_, e: Value| Ok(is_kill(&e)))?)?;
    let complex = |_: &Lua, pattern: mlua::String| {
        let repeats = |b: &&u8| matches!(b, b'*' | b'+' | b'-' | b'?');
        Ok(pattern.as_bytes().iter().filter(repeats).count() > MAX_PATTERN_ITEMS)
    };
    host.raw_set("is_complex", lua.create_function(complex)?)?;
    let rng = Rc::new(Rand48::default());
    let generator = Rc::clone(&rng);
    let random = lua.create_function(move |lua, args: MultiValue| random(lua, args, &generator))?;
    host.raw_set("random", random)?;
    let seed = lua.create_function(move |lua, args: MultiValue| {
        rng.seed(c_int(Args::new(lua, args).number(1)?));
        Ok(())
    })?;
    host.raw_set("randomseed", seed)?;
    Ok(host)
}

fn random(lua: &Lua, args: MultiValue, rng: &Rand48) -> Result<f64> {
    let fraction = rng.fraction();
    let args = Args::new(lua, args);
    let (low, high) = match args.len() {
        0 => return Ok(fraction),
        1 => (1, c_int(args.number(1)?)),
        2 => (c_int(args.number(1)?), c_int(args.number(2)?)),
        _ => return Err(super::fail::raise(lua, "wrong number of arguments")),
    };
    if low > high {
        return Err(bad_argument(lua, args.len(), "interval is empty"));
    }
    // The width is a 32-bit integer in the original, and wraps as one.
    let width = f64::from(high.wrapping_sub(low).wrapping_add(1));
    Ok((fraction * width).floor() + f64::from(low))
}

// ---- errors ----

fn is_kill(value: &Value) -> bool {
    matches!(value, Value::Error(error) if failure_of(error) == Failure::Killed)
}

/// What the functions that convert error values need.
struct Errors {
    /// Protected tables, which must not be written to.
    hidden: Table,
    context: Rc<Context>,
}

type Convert = fn(&Errors, &Lua, Value) -> Result<Value>;

/// The prelude's names for the conversions. Handlers must not raise, so those that stand as
/// handlers where a script could catch them pass a kill on as it is.
const HANDLERS: &[(&str, Convert)] = &[
    ("locate", Errors::locate),
    ("locate_top", |errors, lua, e| {
        errors.context.finished.set(true);
        errors.locate(lua, e)
    }),
    ("locate_or_kill", |errors, lua, e| if is_kill(&e) { Ok(e) } else { errors.locate(lua, e) }),
    ("plain", Errors::plain),
    ("plain_or_kill", |errors, lua, e| if is_kill(&e) { Ok(e) } else { errors.plain(lua, e) }),
    ("value_of", Errors::value_of),
    ("value_of_top", |errors, lua, e| {
        if is_kill(&e) {
            return lua.create_string(Failure::Killed.to_string()).map(Value::String);
        }
        errors.value_of(lua, e)
    }),
];

impl Errors {
    /// Where the script is: source, short source and line of the innermost frame that is a
    /// script's.
    fn script_frame(&self, lua: &Lua) -> Option<(String, String, usize)> {
        for level in 1..MAX_FRAMES {
            let found = lua.inspect_stack(level, |frame| {
                let at = frame.source();
                let source = at.source.as_deref()?;
                if source == PRELUDE_CHUNK {
                    return None;
                }
                let line = frame.current_line()?;
                let short = at.short_src.as_deref().unwrap_or_default().to_owned();
                Some((source.to_owned(), short, line))
            });
            match found {
                None => break,
                Some(None) => {}
                Some(found) => return found,
            }
        }
        let (source, short, line) = self.context.fallback.get();
        (line > 0).then(|| (source.to_owned(), short.to_owned(), line))
    }

    /// Replaces a position inside the prelude by the script's.
    fn reposition(&self, lua: &Lua, text: &[u8]) -> Option<Vec<u8>> {
        let rest = text.strip_prefix(&[PRELUDE_MARK, b':'])?;
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        let message = rest.get(digits..)?.strip_prefix(b": ").filter(|_| digits > 0)?;
        let position = match self.script_frame(lua) {
            Some((_, short, line)) => format!("{short}:{line}: "),
            None => String::new(),
        };
        Some([position.as_bytes(), message].concat())
    }

    /// The handler of a run: makes any error value the table `{err, source, line}`.
    fn locate(&self, lua: &Lua, error: Value) -> Result<Value> {
        let text = |message: &[u8]| [b"ERR ", message].concat();
        let table = match &error {
            Value::Error(inner) => match failure_of(inner) {
                Failure::Text(message) => error_table(lua, &text(&message), false)?,
                Failure::Reply { err, counted } => error_table(lua, &err, counted)?,
                killed @ Failure::Killed => error_table(lua, &text(killed.to_string().as_bytes()), false)?,
            },
            Value::Table(table) if self.hidden.raw_get::<Value>(table)?.is_nil() => table.clone(),
            Value::Table(_) => error_table(lua, b"ERR unknown error", false)?,
            Value::String(message) => {
                let message = message.as_bytes();
                let moved = self.reposition(lua, &message);
                error_table(lua, &text(moved.as_deref().unwrap_or(&message)), false)?
            }
            other => error_table(lua, &text(printed(lua, other).as_bytes()), false)?,
        };
        if let Some((source, _, line)) = self.script_frame(lua) {
            table.raw_set("source", source)?;
            table.raw_set("line", line)?;
        }
        Ok(Value::Table(table))
    }

    /// What a script gets to see of an error value. A kill passes through it.
    fn value_of(&self, lua: &Lua, error: Value) -> Result<Value> {
        match &error {
            Value::Error(inner) => match failure_of(inner) {
                Failure::Text(message) => lua.create_string(message).map(Value::String),
                Failure::Reply { err, counted } => error_table(lua, &err, counted).map(Value::Table),
                Failure::Killed => Err(Failure::Killed.into()),
            },
            Value::String(message) => match self.reposition(lua, &message.as_bytes()) {
                Some(message) => lua.create_string(message).map(Value::String),
                None => Ok(error),
            },
            _ => Ok(error),
        }
    }

    /// What `pcall` answers: like [`Errors::value_of`], but of an error table only its text,
    /// because error values used to be strings.
    fn plain(&self, lua: &Lua, error: Value) -> Result<Value> {
        let value = self.value_of(lua, error)?;
        if let Value::Table(table) = &value {
            let err: Value = table.raw_get("err")?;
            if matches!(err, Value::String(_) | Value::Integer(_) | Value::Number(_)) {
                return Ok(err);
            }
        }
        Ok(value)
    }
}

/// What `tostring` makes of a value that is not a string.
fn printed(lua: &Lua, value: &Value) -> String {
    match value {
        Value::Nil => "nil".into(),
        Value::Boolean(b) => b.to_string(),
        Value::Integer(_) | Value::Number(_) => match lua.coerce_string(value.clone()) {
            Ok(Some(text)) => text.to_string_lossy(),
            _ => "?".into(),
        },
        other => format!("{}: {:p}", super::fail::type_name(other), other.to_pointer()),
    }
}

/// What is left to say about a run that failed outside the script.
pub fn engine_failure(error: &Error) -> Vec<u8> {
    match failure_of(error) {
        Failure::Text(text) | Failure::Reply { err: text, .. } => text,
        Failure::Killed => Failure::Killed.to_string().into_bytes(),
    }
}
