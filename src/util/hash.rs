//! How are keys hashed?
