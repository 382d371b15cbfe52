//! What did the operator ask for? Settings: one table, the file format, and changes at run time.

pub mod file;
pub mod live;
pub mod table;
