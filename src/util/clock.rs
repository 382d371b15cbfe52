//! What time is it? Injected, so that tests can stop and jump it.
