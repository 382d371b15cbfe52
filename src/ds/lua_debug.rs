//! How does the debugger see the local variables of a script? Through Lua's debug library, of an interpreter made for it.
//!
//! The binding gives that library to nobody who does not vouch for its use, as it reaches behind every closure; so it is
//! taken out of the interpreter's globals at once and handed to the caller alone.

use mlua::{Lua, LuaOptions, Result, StdLib, Table, Value};

/// An interpreter with these libraries, and its debug library, which no chunk can find. The caller may give out
/// functions that only look (`getinfo`, `getlocal`), and runs no chunk that is not text.
pub fn with_debug_library(libs: StdLib, options: LuaOptions) -> Result<(Lua, Table)> {
    // SAFETY: such an interpreter differs from a safe one in three ways. It may load C modules: there is no `package`
    // library, and hence no loader. It takes binary chunks: the caller compiles text only. It has the debug library:
    // no chunk has run yet, the global is removed before any does, and the registry's copy is reached by `require` only.
    let lua = unsafe { Lua::unsafe_new_with(libs | StdLib::DEBUG, options) };
    let globals = lua.globals();
    let debug = globals.raw_get("debug")?;
    globals.raw_set("debug", Value::Nil)?;
    Ok((lua, debug))
}
