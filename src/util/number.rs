//! How does Redis read and print numbers?
