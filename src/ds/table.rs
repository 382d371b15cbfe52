//! Where in memory is a key? The compact segmented hash table.
