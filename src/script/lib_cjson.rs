//! The cjson library: JSON for scripts.
