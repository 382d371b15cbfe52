//! What do Lua scripts see? The interpreter, its sandbox and the libraries scripts may use.

pub mod lib_bit;
pub mod lib_cjson;
pub mod lib_cmsgpack;
pub mod lib_struct;
