//! How does a client look inside a script while it runs? The debugger stops the script at lines, and there obeys one
//! command after the other until one lets it go on: the protocol of `redis-cli --ldb`.
//!
//! ```text
//! client -> *1 $4 step                          a command, as an array of words
//! client <- *2 +* Stopped at 2, ... +-> 2  x    what there is to say since, a line each
//!           ...
//! client <- *1 +<endsession>                    then the script's reply, and the connection is closed
//! ```
//!
//! Lua's hooks call [`Debugger::hook`] before each line, and from time to time inside one. While it talks the script
//! stands still inside its hook, and no other hook runs on its stack.
//!
//! Invariants: the script sees nothing of the debugger but what `redis.breakpoint` and `redis.debug` answer; code of
//! `eval` runs in a coroutine of its own, where it is watched, so that it comes to an end; nothing of what is borrowed
//! here is held while Lua runs; a client that is gone makes the script run on, but not for ever.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use mlua::{Debug, DebugEvent, Function, Lua, MultiValue, Result, Table, Value, Variadic, VmState};

use super::build::text;
use super::debugger_input::{Input, leading_int};
use super::debugger_show as show;
use super::fail::{Failure, PRELUDE_CHUNK, failure_of};
use crate::util::number::parse_i64;

/// The chunk name of what `eval` runs.
const EVAL_CHUNK: &str = "@ldb_eval";
/// What the names of chunks that are debugged contain.
const SCRIPT: &str = "user_script";
/// Breakpoints that can be set.
const MAX_BREAKPOINTS: usize = 64;
/// Bytes of a value or reply that are shown at first, and the least that can be asked for.
const SHOWN: usize = 256;
const SHOWN_LEAST: i64 = 60;
/// Arguments of a command that are shown.
const SHOWN_ARGS: usize = 10;
/// Stack frames that `trace` looks at.
const MAX_FRAMES: usize = 220;

const UNKNOWN: &str = "<error> Unknown Redis Lua debugger command or wrong number of arguments.";

/// What `help` says.
const HELP: &[&str] = &[
    "Commands of the Lua debugger:",
    "[h]elp               This list.",
    "[s]tep               Runs the current line and stops at the next.",
    "[n]ext               The same.",
    "[c]ontinue           Runs up to the next breakpoint.",
    "[l]ist [line [n]]    The lines around one (0: the current), n of them on each side.",
    "[w]hole              The whole script.",
    "[p]rint [name]       All local variables, or one; also KEYS and ARGV.",
    "[b]reak              The breakpoints.",
    "[b]reak <line>...    Sets breakpoints; with a minus sign removes them, 0 removes all.",
    "[t]race              Where the script is, and who called it.",
    "[e]val <code>        Runs Lua code, which does not see the local variables.",
    "[r]edis <command>    Runs a command of the server.",
    "[m]axlen [bytes]     How much of a value or reply is shown; 0 for all of it.",
    "[a]bort              Ends the script; with SCRIPT DEBUG SYNC what it has written stays.",
    "",
    "In scripts:",
    "redis.debug(...)     Shows values here.",
    "redis.breakpoint()   Stops the script at the next line.",
];

/// The client at the other end.
pub trait Console {
    /// Sends it bytes. That it is gone will be seen when something is to be received.
    fn send(&mut self, bytes: &[u8]);
    /// Waits for bytes and appends them. False when there will be none any more.
    fn receive(&mut self, input: &mut Vec<u8>) -> bool;
    /// True when the script has run for longer than scripts may since the client last said something.
    fn is_overdue(&mut self) -> bool;
}

/// Functions of the interpreter that the debugger calls.
struct Tools {
    find: Function,
    all: Function,
    globals: Table,
}

/// One debugging session.
pub struct Debugger {
    source: Vec<Vec<u8>>,
    console: RefCell<Box<dyn Console>>,
    input: RefCell<Input>,
    /// What has not been sent.
    said: RefCell<Vec<Vec<u8>>>,
    breakpoints: RefCell<Vec<usize>>,
    /// Stops at the next line; until then, commands and their replies are told.
    stepping: Cell<bool>,
    /// `redis.breakpoint` was called.
    called: Cell<bool>,
    /// Where the script is.
    line: Cell<usize>,
    /// Bytes of a value that are shown; 0 for all.
    max_len: Cell<usize>,
    /// The client knows how to see more.
    hinted: Cell<bool>,
    /// What runs is the debugger's, not the script's.
    evaluating: Cell<bool>,
    /// Of the interpreter that it has got to know.
    tools: RefCell<Option<Rc<Tools>>>,
}

impl Debugger {
    /// A session about a script, with what the client has sent ahead. It stops at the first line.
    pub fn new(source: &[u8], ahead: Vec<u8>, console: Box<dyn Console>) -> Self {
        let end = source.iter().rposition(|b| !matches!(b, b'\r' | b'\n')).map_or(0, |last| last + 1);
        let text = source.get(..end).unwrap_or_default();
        Debugger {
            source: text.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect(),
            console: RefCell::new(console),
            input: RefCell::new(Input::new(ahead)),
            said: RefCell::default(),
            breakpoints: RefCell::default(),
            stepping: Cell::new(true),
            called: Cell::new(false),
            line: Cell::new(0),
            max_len: Cell::new(SHOWN),
            hinted: Cell::new(false),
            evaluating: Cell::new(false),
            tools: RefCell::default(),
        }
    }

    /// Gets to know the interpreter: its debug library, and what scripts see as their globals.
    pub fn attach(&self, lua: &Lua, debug: &Table, globals: Table) -> Result<()> {
        let chunk = lua.load(include_str!("../../lua/debugger.lua")).set_name(PRELUDE_CHUNK);
        let (find, all) = chunk.call((debug, PRELUDE_CHUNK))?;
        *self.tools.borrow_mut() = Some(Rc::new(Tools { find, all, globals }));
        Ok(())
    }

    fn tools(&self) -> Option<Rc<Tools>> {
        self.tools.borrow().clone()
    }

    /// The script is over: says what is left to say, and that this was all.
    pub fn end(&self) {
        self.say("<endsession>");
        self.send();
    }

    // ---- what the script does ----

    /// `redis.breakpoint`.
    pub fn breakpoint(&self) {
        self.called.set(true);
    }

    /// `redis.debug`.
    pub fn debug(&self, values: &MultiValue) {
        let mut line = format!("<debug> line {}: ", self.line.get()).into_bytes();
        for (i, value) in values.iter().enumerate() {
            if i > 0 {
                line.extend_from_slice(b", ");
            }
            show::value(&mut line, value);
        }
        self.say(line);
    }

    /// The script calls a command.
    pub fn calls(&self, argv: &[&[u8]]) {
        if !self.stepping.get() {
            return;
        }
        let mut line = b"<redis>".to_vec();
        for arg in argv.iter().take(SHOWN_ARGS) {
            line.push(b' ');
            line.extend_from_slice(arg);
        }
        if argv.len() > SHOWN_ARGS {
            let more = argv.len() - SHOWN_ARGS - 1;
            line.extend_from_slice(format!(" ... ({more} more)").as_bytes());
        }
        self.say(line);
    }

    /// The command has answered. `ran`: it was not refused before.
    pub fn answers(&self, reply: &[u8], ran: bool) {
        if !self.stepping.get() {
            return;
        }
        if reply.first() == Some(&b'-') {
            let error = reply.strip_suffix(b"\r\n").unwrap_or(reply);
            let error = error.strip_prefix(b"-ERR ").filter(|_| !ran).unwrap_or(error);
            self.say([b"<error> ", error].concat());
        }
        if ran {
            let mut line = b"<reply> ".to_vec();
            show::reply(&mut line, reply);
            self.say_trimmed(line);
        }
    }

    // ---- what is said ----

    fn say(&self, line: impl Into<Vec<u8>>) {
        self.said.borrow_mut().push(line.into());
    }

    /// Says no more of a line than the client wants to see; the first time it is told how to see more.
    fn say_trimmed(&self, mut line: Vec<u8>) {
        let most = self.max_len.get();
        let trimmed = most > 0 && line.len() > most;
        if trimmed {
            line.truncate(most);
            line.extend_from_slice(b" ...");
        }
        self.say(line);
        if trimmed && !self.hinted.replace(true) {
            self.say("<hint> The above reply was trimmed. Use 'maxlen 0' to disable trimming.");
        }
    }

    fn say_value(&self, prefix: &[u8], value: &Value) {
        let mut line = prefix.to_vec();
        show::value(&mut line, value);
        self.say_trimmed(line);
    }

    /// Says a line of the source, marked when the script is there (`->`) or it has a breakpoint (`#`).
    fn say_source(&self, line: usize) {
        let arrow = if self.line.get() == line { "->" } else { "  " };
        let mark = if self.is_breakpoint(line) { "#" } else { " " };
        let source = line.checked_sub(1).and_then(|i| self.source.get(i));
        let source = source.map_or(&b"<out of range source code line>"[..], Vec::as_slice);
        self.say([format!("{arrow}{mark}{line:<3} ").as_bytes(), source].concat());
    }

    fn say_around(&self, line: usize, context: usize) {
        let (first, last) = (line.saturating_sub(context).max(1), line.saturating_add(context));
        (first..=last.min(self.source.len())).for_each(|line| self.say_source(line));
    }

    /// Sends what has been said.
    fn send(&self) {
        let lines = std::mem::take(&mut *self.said.borrow_mut());
        let mut bytes = format!("*{}\r\n", lines.len()).into_bytes();
        for line in lines {
            bytes.push(b'+');
            bytes.extend(line.iter().map(|b| if matches!(b, b'\r' | b'\n') { b' ' } else { *b }));
            bytes.extend_from_slice(b"\r\n");
        }
        self.console.borrow_mut().send(&bytes);
    }

    // ---- where the script stops ----

    fn is_breakpoint(&self, line: usize) -> bool {
        self.breakpoints.borrow().contains(&line)
    }

    /// Called before each line, and about every 100,000 instructions.
    pub fn hook(&self, lua: &Lua, at: &Debug<'_>) -> Result<VmState> {
        let counted = at.event() == DebugEvent::Count;
        if self.evaluating.get() {
            let stop = counted && self.console.borrow_mut().is_overdue();
            return if stop { Err(Failure::Killed.into()) } else { Ok(VmState::Continue) };
        }
        let from = at.source();
        let Some(line) = at.current_line().filter(|_| from.source.as_deref() != Some(PRELUDE_CHUNK)) else {
            return Ok(VmState::Continue);
        };
        self.line.set(line);
        if !from.short_src.as_deref().is_some_and(|name| name.contains(SCRIPT)) {
            return Ok(VmState::Continue);
        }
        let (called, stepping) = (self.called.get(), self.stepping.get());
        let wanted = called || stepping || self.is_breakpoint(line);
        let overdue = !wanted && counted && self.console.borrow_mut().is_overdue();
        let reason = match (called, wanted, overdue) {
            (true, ..) => "redis.breakpoint() called",
            _ if self.is_breakpoint(line) => "break point",
            (_, true, _) => "step over",
            (.., true) => "timeout reached, infinite loop?",
            _ => return Ok(VmState::Continue),
        };
        self.stepping.set(false);
        self.called.set(false);
        self.say(format!("* Stopped at {line}, stop reason = {reason}"));
        self.say_source(line);
        self.send();
        if !self.talk(lua)? && overdue {
            return Err(raised("timeout during Lua debugging with client closing connection"));
        }
        Ok(VmState::Continue)
    }

    /// Obeys commands until one lets the script go on. False when the client is gone, and the script goes on alone.
    fn talk(&self, lua: &Lua) -> Result<bool> {
        loop {
            let next = self.input.borrow_mut().next();
            let words = match next.map_err(raised)? {
                Some(words) => words,
                None => {
                    let mut more = Vec::new();
                    if self.console.borrow_mut().receive(&mut more) {
                        self.input.borrow_mut().add(&more).map_err(raised)?;
                        continue;
                    }
                    self.stepping.set(false);
                    self.breakpoints.borrow_mut().clear();
                    return Ok(false);
                }
            };
            let Some((name, args)) = words.split_first() else { continue };
            if self.obey(lua, &name.to_ascii_lowercase(), args)? {
                return Ok(true);
            }
            self.send();
        }
    }

    /// Carries out a command. True when the script is to go on.
    fn obey(&self, lua: &Lua, name: &[u8], args: &[Vec<u8>]) -> Result<bool> {
        match name {
            b"s" | b"step" | b"n" | b"next" => {
                self.stepping.set(true);
                return Ok(true);
            }
            b"c" | b"continue" => return Ok(true),
            b"a" | b"abort" => return Err(raised("script aborted for user request")),
            b"h" | b"help" => HELP.iter().for_each(|line| self.say(*line)),
            b"t" | b"trace" => self.trace(lua),
            b"m" | b"maxlen" => self.set_max_len(args),
            b"b" | b"break" => self.change_breakpoints(args),
            b"e" | b"eval" => self.eval(lua, args)?,
            b"r" | b"redis" if !args.is_empty() => self.redis(args)?,
            b"p" | b"print" => match args {
                [name] => self.print(name)?,
                _ => self.print_all()?,
            },
            b"l" | b"list" => {
                let number = |i: usize| args.get(i).map(|arg| leading_int(arg));
                let line = number(0).and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
                // A negative context is further than any line.
                if let Ok(context) = usize::try_from(number(1).unwrap_or(5)) {
                    self.say_around(line.unwrap_or(self.line.get()), context);
                }
            }
            b"w" | b"whole" => self.say_around(1, self.source.len()),
            _ => self.say(UNKNOWN),
        }
        Ok(false)
    }

    // ---- the commands ----

    fn trace(&self, lua: &Lua) {
        for level in 0..MAX_FRAMES {
            let seen = lua.inspect_stack(level, |frame| {
                let ours = frame.source().short_src.is_some_and(|name| name.contains(SCRIPT));
                let name =
                    frame.names().name.map_or_else(|| "top level".to_owned(), |name| name.into_owned());
                ours.then(|| (name, frame.current_line().unwrap_or(0)))
            });
            let Some(frame) = seen else { break };
            if let Some((name, line)) = frame {
                self.say(format!("{} {name}:", if level == 0 { "In" } else { "From" }));
                self.say_source(line);
            }
        }
    }

    fn set_max_len(&self, args: &[Vec<u8>]) {
        if let [len] = args {
            self.hinted.set(true);
            let len = leading_int(len);
            let len = if len == 0 { 0 } else { len.max(SHOWN_LEAST) };
            self.max_len.set(usize::try_from(len).unwrap_or(0));
        }
        match self.max_len.get() {
            0 => self.say("<value> replies are unlimited."),
            most => self.say(format!("<value> replies are truncated at {most} bytes.")),
        }
    }

    fn change_breakpoints(&self, args: &[Vec<u8>]) {
        if args.is_empty() {
            let lines = self.breakpoints.borrow().clone();
            if lines.is_empty() {
                return self.say("No breakpoints set. Use 'b <line>' to add one.");
            }
            self.say(format!("{} breakpoints set:", lines.len()));
            lines.into_iter().for_each(|line| self.say_source(line));
        }
        for arg in args {
            match parse_i64(arg) {
                None => self.say([b"Invalid argument:'", &arg[..], b"'"].concat()),
                Some(0) => {
                    self.breakpoints.borrow_mut().clear();
                    self.say("All breakpoints removed.");
                }
                Some(line) if line > 0 => self.add_breakpoint(usize::try_from(line).unwrap_or(usize::MAX)),
                Some(line) => {
                    let mut lines = self.breakpoints.borrow_mut();
                    let before = lines.len();
                    lines.retain(|set| *set as u64 != line.unsigned_abs());
                    let removed = lines.len() < before;
                    self.say(if removed {
                        "Breakpoint removed."
                    } else {
                        "No breakpoint in the specified line."
                    });
                }
            }
        }
    }

    fn add_breakpoint(&self, line: usize) {
        if self.breakpoints.borrow().len() == MAX_BREAKPOINTS {
            self.say("Too many breakpoints set.");
        } else if line > self.source.len() || self.is_breakpoint(line) {
            self.say("Wrong line number.");
        } else {
            self.breakpoints.borrow_mut().push(line);
            self.say_around(line, 1);
        }
    }

    fn print(&self, name: &[u8]) -> Result<()> {
        let Some(tools) = self.tools() else { return Ok(()) };
        let (found, value): (bool, Value) = self.by_ourselves(|| tools.find.call(text(name)))?;
        if found {
            self.say_value(b"<value> ", &value);
        } else if matches!(name, b"KEYS" | b"ARGV") {
            let value = self.by_ourselves(|| tools.globals.get(text(name)))?;
            self.say_value(b"<value> ", &value);
        } else {
            self.say("No such variable.");
        }
        Ok(())
    }

    fn print_all(&self) -> Result<()> {
        let Some(tools) = self.tools() else { return Ok(()) };
        let (count, names, values): (i64, Table, Table) = self.by_ourselves(|| tools.all.call(()))?;
        let mut any = false;
        for i in 1..=count {
            let name: mlua::String = names.raw_get(i)?;
            if &*name.as_bytes() != b"(*temporary)" {
                any = true;
                let prefix = [b"<value> ", &name.as_bytes()[..], b" = "].concat();
                self.say_value(&prefix, &values.raw_get(i)?);
            }
        }
        if !any {
            self.say("No local variables in the current context.");
        }
        Ok(())
    }

    /// Runs code: as an expression if it is one, else as a statement. An error is when it had to be stopped.
    fn eval(&self, lua: &Lua, args: &[Vec<u8>]) -> Result<()> {
        let code = args.join(&b" "[..]);
        let expression = super::sandbox::compile(lua, &[b"return ", &code[..]].concat(), EVAL_CHUNK);
        let chunk = match expression.or_else(|_| super::sandbox::compile(lua, &code, EVAL_CHUNK)) {
            Ok(chunk) => chunk,
            Err(why) => {
                self.say([b"<error> ", &why[..]].concat());
                return Ok(());
            }
        };
        let Some(tools) = self.tools() else { return Ok(()) };
        let ran = self.by_ourselves(|| {
            let pcall: Function = tools.globals.get("pcall")?;
            lua.create_thread(pcall)?.resume::<(bool, Value)>(chunk)
        });
        match ran {
            Ok((true, value)) => self.say_value(b"<retval> ", &value),
            Ok((false, Value::String(why))) => self.say([b"<error> ", &why.as_bytes()[..]].concat()),
            Ok((false, why)) => self.say_value(b"<error> ", &why),
            Err(error) if failure_of(&error) == Failure::Killed => {
                return Err(raised("the debugger's eval did not come to an end"));
            }
            Err(error) => self.say(format!("<error> {}", failure_of(&error))),
        }
        Ok(())
    }

    /// Runs a command the way the script would; what happens is told because of `stepping`.
    fn redis(&self, args: &[Vec<u8>]) -> Result<()> {
        let Some(tools) = self.tools() else { return Ok(()) };
        let words: Variadic<_> = args.iter().map(|arg| text(arg)).collect();
        self.stepping.set(true);
        // Its errors have been told as well.
        let _ = self.by_ourselves(|| {
            let redis: Table = tools.globals.get("redis")?;
            redis.get::<Function>("pcall")?.call::<Value>(words)
        });
        self.stepping.set(false);
        Ok(())
    }

    /// Calls into the interpreter on the debugger's own behalf.
    fn by_ourselves<T>(&self, call: impl FnOnce() -> Result<T>) -> Result<T> {
        self.evaluating.set(true);
        let answer = call();
        self.evaluating.set(false);
        answer
    }
}

/// An error that ends the script.
fn raised(why: &str) -> mlua::Error {
    super::api::reply_error(why)
}
