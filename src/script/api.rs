//! What is `redis` to a script, and what must the server offer for it?
//!
//! The server implements [`Host`]; a run lends it to the interpreter (see [`crate::ds::lend`]) and
//! the functions here reach it through the loan. Nothing here knows of commands or keys.
//!
//! Invariants: a host is used by one call at a time; outside a run there is none, and functions
//! that need one say so; `redis.call` raises exactly when the reply is an error.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use mlua::{FromLua, FromLuaMulti, Lua, MultiValue, Result, String as LuaString, Table, Value};
use smallvec::SmallVec;

use super::cache::sha_of;
use super::convert::{Answer, error_table, normalise_error, push_number, reply_to_lua};
use super::debugger::Debugger;
use super::fail::{Args, Failure, c_i64, c_int};
use crate::ds::lend::{Lendable, Loan};

/// Scratch space that grew beyond this many bytes is given back after the call.
const KEEP_SCRATCH: usize = 64 * 1024;

/// Where the writes of a script go: `redis.set_repl`.
pub mod repl {
    /// Nowhere.
    pub const NONE: u8 = 0;
    /// To the append-only file.
    pub const AOF: u8 = 1;
    /// To the replicas.
    pub const REPLICA: u8 = 2;
    /// To both.
    pub const ALL: u8 = 3;
}

/// What [`Host::tick`] decides about a script that has been running for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tick {
    /// Go on.
    Continue,
    /// Stop it (`SCRIPT KILL`, `FUNCTION KILL`, shutdown).
    Kill,
}

/// The server as a running script reaches it.
pub trait Host {
    /// Executes a command and writes its complete reply, in the given protocol, to `reply` (which
    /// is empty). Commands that are refused answer with an error reply, and false.
    fn call(&mut self, argv: &[&[u8]], resp3: bool, reply: &mut Vec<u8>) -> bool;
    /// Whether the caller of the script may run this command; `None` when there is no such command.
    fn acl_check(&mut self, argv: &[&[u8]]) -> Option<bool>;
    /// Writes to the server's log; `level` is 0 (debug) to 3 (warning).
    fn log(&mut self, level: u8, message: &[u8]);
    /// Changes where writes go from here on; `flags` as in [`repl`].
    fn set_repl(&mut self, flags: u8);
    /// Called about every 100,000 instructions.
    fn tick(&mut self) -> Tick;
}

/// Names the family `dyn Host + 'a`.
pub struct Hosts;

impl Lendable for Hosts {
    type Of<'a> = dyn Host + 'a;
}

#[derive(Default)]
struct Scratch {
    bytes: Vec<u8>,
    reply: Vec<u8>,
}

/// What the functions of one interpreter share.
#[derive(Default)]
pub struct Context {
    /// The server, while a script runs.
    pub host: Loan<Hosts>,
    /// The protocol that the script asked for with `redis.setresp`.
    pub resp3: Cell<bool>,
    /// Where to say the script is when its frame is gone because it ended in a tail call: source,
    /// short source, line.
    pub fallback: Cell<(&'static str, &'static str, usize)>,
    /// The outermost handler has run: what is left is ours, and not to be stopped.
    pub finished: Cell<bool>,
    /// The script has been told to stop.
    pub killed: Cell<bool>,
    /// Set while the host executes, so that a panic there can be told from one in the binding.
    pub in_host: Cell<bool>,
    /// Who looks on, if anybody does.
    pub debugger: Option<Rc<Debugger>>,
    scratch: RefCell<Scratch>,
}

impl Context {
    /// Of an interpreter that a debugger watches.
    pub fn watched(debugger: &Rc<Debugger>) -> Self {
        Context { debugger: Some(Rc::clone(debugger)), ..Self::default() }
    }

    /// Uses the host; an error when no script is running.
    fn with_host<R>(&self, f: impl for<'x> FnOnce(&mut (dyn Host + 'x)) -> R) -> Result<R> {
        let answer = self.host.with(|host| {
            self.in_host.set(true);
            let answer = f(host);
            self.in_host.set(false);
            answer
        });
        answer.ok_or_else(|| reply_error("this function can only be called inside a script run"))
    }
}

/// An error of ours in the shape in which scripts see errors of commands.
pub fn reply_error(message: &str) -> mlua::Error {
    Failure::Reply { err: [b"ERR ", message.as_bytes()].concat(), counted: false }.into()
}

// ---- arguments of redis.call ----

/// One argument. Most calls have few, and those pass through here without a list.
enum Arg {
    Missing,
    Bad,
    Text(LuaString),
    Number(f64),
}

impl FromLua for Arg {
    fn from_lua(value: Value, _: &Lua) -> Result<Self> {
        Ok(match value {
            Value::String(text) => Self::Text(text),
            Value::Integer(n) => Self::Number(n as f64),
            Value::Number(n) => Self::Number(n),
            _ => Self::Bad,
        })
    }

    // The binding fills up missing arguments through this function and converts present ones
    // through the other, which is how a nil differs from nothing.
    fn from_lua_arg(_: Value, _: usize, _: Option<&str>, _: &Lua) -> Result<Self> {
        Ok(Self::Missing)
    }
}

/// The arguments beyond the first few.
struct Rest(MultiValue);

impl FromLuaMulti for Rest {
    fn from_lua_multi(values: MultiValue, _: &Lua) -> Result<Self> {
        Ok(Self(values))
    }
}

type CallArgs = (Arg, Arg, Arg, Arg, Arg, Arg, Rest);

const NO_ARGUMENTS: &str = "Please specify at least one argument for this redis lib call";
const BAD_ARGUMENTS: &str = "Lua redis lib command arguments must be strings or integers";

/// Appends the arguments to `bytes`; the end of each.
fn flatten(args: CallArgs, bytes: &mut Vec<u8>) -> std::result::Result<Ends, &'static str> {
    let (a, b, c, d, e, f, Rest(rest)) = args;
    let mut ends = Ends::new();
    let mut add = |arg: Arg| match arg {
        Arg::Missing => Ok(false),
        Arg::Bad => Err(BAD_ARGUMENTS),
        Arg::Text(text) => {
            bytes.extend_from_slice(&text.as_bytes());
            ends.push(bytes.len());
            Ok(true)
        }
        Arg::Number(n) => {
            push_number(bytes, n);
            ends.push(bytes.len());
            Ok(true)
        }
    };
    for arg in [a, b, c, d, e, f] {
        if !add(arg)? {
            break;
        }
    }
    for value in rest {
        add(match value {
            Value::String(text) => Arg::Text(text),
            Value::Integer(n) => Arg::Number(n as f64),
            Value::Number(n) => Arg::Number(n),
            _ => Arg::Bad,
        })?;
    }
    if ends.is_empty() { Err(NO_ARGUMENTS) } else { Ok(ends) }
}

type Ends = SmallVec<[usize; 8]>;

/// The arguments as slices.
fn slices<'a>(bytes: &'a [u8], ends: &Ends) -> SmallVec<[&'a [u8]; 8]> {
    let mut start = 0;
    ends.iter()
        .map(|&end| {
            let arg = bytes.get(start..end).unwrap_or_default();
            start = end;
            arg
        })
        .collect()
}

/// Runs a command for `redis.call` or `redis.pcall`.
fn call(lua: &Lua, context: &Context, args: CallArgs, raise: bool) -> Result<Value> {
    let Ok(mut scratch) = context.scratch.try_borrow_mut() else {
        return Err(reply_error("redis.call may not be called from within itself"));
    };
    let Scratch { bytes, reply } = &mut *scratch;
    bytes.clear();
    reply.clear();
    let failed = |err: Vec<u8>, counted: bool| -> Result<Value> {
        if raise {
            return Err(Failure::Reply { err, counted }.into());
        }
        error_table(lua, &err, counted).map(Value::Table)
    };
    let ends = match flatten(args, bytes) {
        Ok(ends) => ends,
        Err(why) => return failed([b"ERR ", why.as_bytes()].concat(), false),
    };
    let resp3 = context.resp3.get();
    let argv = slices(bytes, &ends);
    if let Some(debugger) = &context.debugger {
        debugger.calls(&argv);
    }
    let ran = context.with_host(|host| host.call(&argv, resp3, reply))?;
    if let Some(debugger) = &context.debugger {
        debugger.answers(reply, ran);
    }
    let answer = reply_to_lua(lua, reply);
    drop(argv);
    if bytes.capacity() > KEEP_SCRATCH || reply.capacity() > KEEP_SCRATCH {
        *scratch = Scratch::default();
    }
    match answer? {
        Answer::Value(value) => Ok(value),
        Answer::Error(err) => failed(err, true),
    }
}

// ---- the other functions ----

fn sha1hex(lua: &Lua, args: MultiValue) -> Result<Value> {
    let args = Args::new(lua, args);
    if args.len() != 1 {
        return Err(reply_error("wrong number of arguments"));
    }
    // What is neither a string nor a number hashes as the empty string.
    let digest = match args.string(1) {
        Ok(text) => sha_of(&text.as_bytes()),
        Err(_) => sha_of(b""),
    };
    lua.create_string(digest).map(Value::String)
}

/// The single string argument of `error_reply` and `status_reply`; else the table they answer with.
fn single_string(lua: &Lua, args: MultiValue) -> Result<std::result::Result<LuaString, Table>> {
    let mut args = args.into_iter();
    match (args.next(), args.next()) {
        (Some(Value::String(text)), None) => Ok(Ok(text)),
        _ => error_table(lua, b"ERR wrong number or type of arguments", false).map(Err),
    }
}

fn error_reply(lua: &Lua, args: MultiValue) -> Result<Table> {
    match single_string(lua, args)? {
        Ok(text) => {
            let text = text.as_bytes();
            let text = text.split(|&b| b == 0).next().unwrap_or_default();
            let text = text.strip_prefix(b"-").unwrap_or(text);
            error_table(lua, &normalise_error(text), false)
        }
        Err(table) => Ok(table),
    }
}

fn status_reply(lua: &Lua, args: MultiValue) -> Result<Table> {
    match single_string(lua, args)? {
        Ok(text) => {
            let table = lua.create_table()?;
            table.raw_set("ok", text)?;
            Ok(table)
        }
        Err(table) => Ok(table),
    }
}

fn log(lua: &Lua, context: &Context, args: MultiValue) -> Result<()> {
    let args = Args::new(lua, args);
    if args.len() < 2 {
        return Err(reply_error("redis.log() requires two arguments or more."));
    }
    let Ok(level) = args.number(1) else {
        return Err(reply_error("First argument must be a number (log level)."));
    };
    let level = match c_int(level) {
        level @ 0..=3 => level as u8,
        _ => return Err(reply_error("Invalid log level.")),
    };
    let mut message = Vec::new();
    for n in 2..=args.len() {
        if let Ok(text) = args.string(n) {
            if n > 2 {
                message.push(b' ');
            }
            message.extend_from_slice(&text.as_bytes());
        }
    }
    context.with_host(|host| host.log(level, &message))
}

/// The single argument as a number; 0 when it is none.
fn lenient_number(lua: &Lua, args: &MultiValue) -> i64 {
    args.front().and_then(|value| super::fail::to_number(lua, value)).map_or(0, c_i64)
}

fn set_resp(lua: &Lua, context: &Context, args: MultiValue) -> Result<()> {
    if args.len() != 1 {
        return Err(reply_error("redis.setresp() requires one argument."));
    }
    match lenient_number(lua, &args) {
        2 => context.resp3.set(false),
        3 => context.resp3.set(true),
        _ => return Err(reply_error("RESP version must be 2 or 3.")),
    }
    Ok(())
}

fn set_repl(lua: &Lua, context: &Context, args: MultiValue) -> Result<()> {
    if args.len() != 1 {
        return Err(reply_error("redis.set_repl() requires one argument."));
    }
    match lenient_number(lua, &args) as i32 {
        flags @ 0..=3 => context.with_host(|host| host.set_repl(flags as u8)),
        _ => {
            Err(reply_error("Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE."))
        }
    }
}

fn acl_check(context: &Context, args: CallArgs) -> Result<bool> {
    let mut bytes = Vec::new();
    let ends = flatten(args, &mut bytes).map_err(reply_error)?;
    let allowed = context.with_host(|host| host.acl_check(&slices(&bytes, &ends)))?;
    allowed.ok_or_else(|| reply_error("Invalid command passed to redis.acl_check_cmd()"))
}

// ---- the tables ----

/// The version that scripts see.
#[derive(Debug, Clone, Copy)]
pub struct Version {
    /// As text.
    pub text: &'static str,
    /// As `0x00MMmmpp`.
    pub number: u32,
}

/// Fields that `redis` has everywhere, also while a library loads.
fn common(lua: &Lua, context: &Rc<Context>, version: Version) -> Result<Table> {
    let redis = lua.create_table()?;
    let c = Rc::clone(context);
    redis.raw_set("log", lua.create_function(move |lua, args| log(lua, &c, args))?)?;
    for (name, level) in [("LOG_DEBUG", 0), ("LOG_VERBOSE", 1), ("LOG_NOTICE", 2), ("LOG_WARNING", 3)] {
        redis.raw_set(name, level)?;
    }
    redis.raw_set("REDIS_VERSION", version.text)?;
    redis.raw_set("REDIS_VERSION_NUM", version.number)?;
    Ok(redis)
}

/// Builds `redis` for scripts (`for_functions` false) or functions.
pub fn open(lua: &Lua, context: &Rc<Context>, version: Version, for_functions: bool) -> Result<Table> {
    let redis = common(lua, context, version)?;
    let c = Rc::clone(context);
    let f = lua.create_function(move |lua, args: CallArgs| call(lua, &c, args, true))?;
    redis.raw_set("call", f)?;
    let c = Rc::clone(context);
    let f = lua.create_function(move |lua, args: CallArgs| call(lua, &c, args, false))?;
    redis.raw_set("pcall", f)?;
    let c = Rc::clone(context);
    redis.raw_set("setresp", lua.create_function(move |lua, args| set_resp(lua, &c, args))?)?;
    let c = Rc::clone(context);
    redis.raw_set("set_repl", lua.create_function(move |lua, args| set_repl(lua, &c, args))?)?;
    let c = Rc::clone(context);
    let f = lua.create_function(move |_, args: CallArgs| acl_check(&c, args))?;
    redis.raw_set("acl_check_cmd", f)?;
    redis.raw_set("sha1hex", lua.create_function(sha1hex)?)?;
    redis.raw_set("error_reply", lua.create_function(error_reply)?)?;
    redis.raw_set("status_reply", lua.create_function(status_reply)?)?;
    for (name, flags) in [
        ("REPL_NONE", repl::NONE),
        ("REPL_AOF", repl::AOF),
        ("REPL_SLAVE", repl::REPLICA),
        ("REPL_REPLICA", repl::REPLICA),
        ("REPL_ALL", repl::ALL),
    ] {
        redis.raw_set(name, flags)?;
    }
    if !for_functions {
        let c = Rc::clone(context);
        let f = lua.create_function(move |_, _: MultiValue| {
            let debugger = &c.debugger;
            if let Some(debugger) = debugger {
                debugger.breakpoint();
            }
            Ok(debugger.is_some())
        })?;
        redis.raw_set("breakpoint", f)?;
        let c = Rc::clone(context);
        let f = lua.create_function(move |_, values: MultiValue| {
            if let Some(debugger) = &c.debugger {
                debugger.debug(&values);
            }
            Ok(())
        })?;
        redis.raw_set("debug", f)?;
        redis.raw_set("replicate_commands", lua.create_function(|_, _: MultiValue| Ok(true))?)?;
    }
    Ok(redis)
}

/// Builds `redis` as a library sees it while it loads, without `register_function`.
pub fn open_loading(lua: &Lua, context: &Rc<Context>, version: Version) -> Result<Table> {
    common(lua, context, version)
}
