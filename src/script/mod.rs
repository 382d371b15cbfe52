//! What do Lua scripts see, and how do they run? The interpreter, its sandbox, the libraries that
//! scripts may use, and the function libraries of the server.
//!
//! `engine` runs scripts of the shared `cache`; `sandbox` builds interpreters from `lua/*.lua`,
//! `api` and the `lib_*` files; `convert` stands between replies and Lua values; `library` keeps
//! function libraries; `keys_proof` decides which scripts may run under the locks of their keys; `debugger` lets a
//! client look inside one that runs.

pub mod api;
mod build;
pub mod cache;
pub mod convert;
pub mod debugger;
mod debugger_input;
mod debugger_show;
pub mod engine;
mod fail;
pub mod keys_proof;
mod lib_bit;
mod lib_cjson;
mod lib_cmsgpack;
mod lib_struct;
pub mod library;
mod rand48;
pub mod sandbox;
pub mod shebang;

#[cfg(test)]
mod tests;
