//! How many distinct elements, in 12 KB? HyperLogLog in Redis's string format.
