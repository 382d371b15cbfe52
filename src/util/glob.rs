//! Does a glob pattern match?
