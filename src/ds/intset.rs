//! How are small sets of integers kept?
