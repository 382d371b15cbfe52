//! How are small collections packed into one allocation?
