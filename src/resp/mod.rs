//! What do these bytes mean? The Redis serialisation protocol, versions 2 and 3, both directions.

pub mod reply;
pub mod request;
