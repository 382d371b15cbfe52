//! The bit library: 32-bit integer operations for scripts.
