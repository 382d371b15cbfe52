//! The struct library: packed binary records for scripts.
