//! What can go wrong inside a script, and how does it read?
//!
//! Rust callbacks raise a [`Failure`]; the interpreter carries it as an opaque value and the
//! sandbox turns it back into what a script expects (a string, or a table with an `err` field)
//! wherever a script can see it: `pcall`, `xpcall`, `coroutine.resume` and the outermost handler.
//!
//! Invariant: a `Failure::Killed` can be seen by no script; it unwinds to the engine.

use mlua::{Error, Lua, MultiValue, Result, String as LuaString, Value};

/// Chunk name of our own Lua code; error positions inside it are rewritten to the script's.
pub const PRELUDE_CHUNK: &str = "=\u{1}";
/// How such a position starts once Lua has formatted it.
pub const PRELUDE_MARK: u8 = 1;
/// The most values a callback takes or returns through its stack; the interpreter keeps one
/// reference per value in a stack of 8000 slots.
pub const MAX_RESULTS: usize = 7500;

/// An error raised by a Rust callback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// A plain Lua error message, position included.
    Text(Vec<u8>),
    /// An error in the shape of a reply: a table `{err = ...}`. `counted` says that the command
    /// which failed has already been counted in the error statistics.
    Reply {
        /// Error text with its code in front and without the leading `-`.
        err: Vec<u8>,
        /// Sets `ignore_error_stats_update` in the table.
        counted: bool,
    },
    /// `SCRIPT KILL`: no script may catch it.
    Killed,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) | Self::Reply { err: text, .. } => f.write_str(&String::from_utf8_lossy(text)),
            Self::Killed => f.write_str("Script killed by user with SCRIPT KILL..."),
        }
    }
}

impl std::error::Error for Failure {}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::external(failure)
    }
}

/// Finds the [`Failure`] inside what the interpreter made of it.
pub fn failure_of(error: &Error) -> Failure {
    let mut error = error;
    // Bounded: each step goes one cause deeper, and nesting is limited by the C stack limit.
    loop {
        match error {
            Error::CallbackError { cause, .. } => error = cause,
            Error::ExternalError(external) => {
                return external
                    .downcast_ref::<Failure>()
                    .cloned()
                    .unwrap_or_else(|| Failure::Text(external.to_string().into_bytes()));
            }
            Error::RuntimeError(text) | Error::SyntaxError { message: text, .. } => {
                return Failure::Text(without_traceback(text).as_bytes().to_vec());
            }
            Error::MemoryError(_) => return Failure::Text(b"not enough memory".to_vec()),
            other => return Failure::Text(other.to_string().into_bytes()),
        }
    }
}

/// Drops the traceback which the binding appends to messages that cross it.
fn without_traceback(text: &str) -> &str {
    text.split("\nstack traceback:").next().unwrap_or(text)
}

/// `chunk:line: ` of the function at `level` (0 is the running callback), or nothing when that is
/// not Lua code.
pub fn position(lua: &Lua, level: usize) -> String {
    lua.inspect_stack(level, |frame| {
        let source = frame.source();
        match (frame.current_line(), source.short_src) {
            (Some(line), Some(name)) => format!("{name}:{line}: "),
            _ => String::new(),
        }
    })
    .unwrap_or_default()
}

/// A Lua error raised by the running callback, with its caller's position in front.
pub fn raise(lua: &Lua, message: impl AsRef<[u8]>) -> Error {
    let mut text = position(lua, 1).into_bytes();
    text.extend_from_slice(message.as_ref());
    Failure::Text(text).into()
}

/// "bad argument #n to 'f' (why)", the way Lua's own functions say it.
pub fn bad_argument(lua: &Lua, n: usize, why: impl AsRef<str>) -> Error {
    let name = lua
        .inspect_stack(0, |frame| frame.names().name.map(|n| n.into_owned()))
        .flatten()
        .unwrap_or_else(|| "?".into());
    raise(lua, format!("bad argument #{n} to '{name}' ({})", why.as_ref()))
}

/// The arguments of a callback, checked the way Lua's auxiliary library checks them.
/// Positions count from 1.
pub struct Args<'a> {
    lua: &'a Lua,
    values: MultiValue,
}

impl<'a> Args<'a> {
    /// Wraps the values a callback was given.
    pub fn new(lua: &'a Lua, values: MultiValue) -> Self {
        Self { lua, values }
    }

    /// The interpreter they live in.
    pub fn lua(&self) -> &'a Lua {
        self.lua
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The `n`-th argument, if there is one.
    pub fn get(&self, n: usize) -> Option<&Value> {
        self.values.get(n.wrapping_sub(1))
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Value> {
        self.values.iter()
    }

    /// The error for an argument of the wrong type.
    pub fn wrong_type(&self, n: usize, expected: &str) -> Error {
        let got = self.get(n).map_or("no value", type_name);
        bad_argument(self.lua, n, format!("{expected} expected, got {got}"))
    }

    /// A number, or a string that reads as one.
    pub fn number(&self, n: usize) -> Result<f64> {
        match self.get(n).and_then(|value| to_number(self.lua, value)) {
            Some(number) => Ok(number),
            None => Err(self.wrong_type(n, "number")),
        }
    }

    /// A number as the C library's `lua_Integer` (truncated; out of range is the minimum).
    pub fn integer(&self, n: usize) -> Result<i64> {
        self.number(n).map(c_i64)
    }

    /// Like [`Args::integer`], with a default for an absent or nil argument.
    pub fn integer_or(&self, n: usize, default: i64) -> Result<i64> {
        match self.get(n) {
            None | Some(Value::Nil) => Ok(default),
            Some(_) => self.integer(n),
        }
    }

    /// A string, or a number in its text form.
    pub fn string(&self, n: usize) -> Result<LuaString> {
        match self.get(n) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(value @ (Value::Integer(_) | Value::Number(_))) => {
                self.lua.coerce_string(value.clone())?.ok_or_else(|| self.wrong_type(n, "string"))
            }
            _ => Err(self.wrong_type(n, "string")),
        }
    }

    /// Raises when more than `most` arguments were given.
    pub fn at_most(&self, most: usize) -> Result<()> {
        if self.len() > most {
            return Err(bad_argument(self.lua, most + 1, "found too many arguments"));
        }
        Ok(())
    }
}

/// Lua's name for the type of a value.
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nil",
        Value::Boolean(_) => "boolean",
        Value::LightUserData(_) | Value::UserData(_) | Value::Error(_) => "userdata",
        Value::Integer(_) | Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Table(_) => "table",
        Value::Function(_) => "function",
        Value::Thread(_) => "thread",
        _ => "userdata",
    }
}

/// The number a value is or reads as (`lua_tonumber`).
pub fn to_number(lua: &Lua, value: &Value) -> Option<f64> {
    match value {
        // A Lua 5.1 number is a double, so the integer came from one and goes back unchanged.
        Value::Integer(i) => Some(*i as f64),
        Value::Number(n) => Some(*n),
        Value::String(_) => lua.coerce_number(value.clone()).ok().flatten(),
        _ => None,
    }
}

/// A double as the x86-64 conversion instruction gives it: truncated, and the minimum for
/// everything that does not fit (also NaN). Scripts see these values.
pub fn c_i64(n: f64) -> i64 {
    if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&n) { n as i64 } else { i64::MIN }
}

/// A double as C compilers convert it to an unsigned 64-bit integer on x86-64.
pub fn c_u64(n: f64) -> u64 {
    const HALF: f64 = 9_223_372_036_854_775_808.0;
    if n >= HALF { (c_i64(n - HALF) as u64) ^ (1 << 63) } else { c_i64(n) as u64 }
}

/// A double as a C `int`.
pub fn c_int(n: f64) -> i32 {
    c_i64(n) as i32
}
