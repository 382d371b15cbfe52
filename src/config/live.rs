//! How do settings change while the server runs (CONFIG SET, CONFIG REWRITE)?
