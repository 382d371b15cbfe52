//! Which settings are there? One row each.
