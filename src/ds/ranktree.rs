//! How are sorted sets ordered, with rank queries in O(log n)?
