//! How are strings compressed in snapshots? The LZF format.
