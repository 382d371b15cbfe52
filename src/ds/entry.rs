//! What is one key, in one allocation?
