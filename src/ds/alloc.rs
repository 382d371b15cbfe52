//! How much memory is in use, exactly, and by which thread?
