//! Up to which size do values stay in their compact encodings? The settings of those names.

use crate::ds::quicklist::NodeLimit;

/// Limits of compact encodings; the fields are named after their settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most fields of a packed hash.
    pub hash_max_listpack_entries: usize,
    /// Longest field or value of a packed hash, in bytes.
    pub hash_max_listpack_value: usize,
    /// Size of a list node: elements if positive, -1 to -5 for 4 to 64 KiB.
    pub list_max_listpack_size: i32,
    /// Uncompressed nodes at either end of a list; 0 compresses none.
    pub list_compress_depth: u32,
    /// Most members of a set of integers.
    pub set_max_intset_entries: usize,
    /// Most members of a packed set.
    pub set_max_listpack_entries: usize,
    /// Longest member of a packed set, in bytes.
    pub set_max_listpack_value: usize,
    /// Most members of a packed sorted set.
    pub zset_max_listpack_entries: usize,
    /// Longest member of a packed sorted set, in bytes.
    pub zset_max_listpack_value: usize,
    /// Longest sparse HyperLogLog, in bytes.
    pub hll_sparse_max_bytes: usize,
    /// Most bytes of a stream node; 0 for no limit.
    pub stream_node_max_bytes: usize,
    /// Most entries of a stream node; 0 for no limit.
    pub stream_node_max_entries: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            hash_max_listpack_entries: 512,
            hash_max_listpack_value: 64,
            list_max_listpack_size: -2,
            list_compress_depth: 0,
            set_max_intset_entries: 512,
            set_max_listpack_entries: 128,
            set_max_listpack_value: 64,
            zset_max_listpack_entries: 128,
            zset_max_listpack_value: 64,
            hll_sparse_max_bytes: 3000,
            stream_node_max_bytes: 4096,
            stream_node_max_entries: 100,
        }
    }
}

impl Limits {
    /// The limit of a list's nodes.
    pub fn list_node(&self) -> NodeLimit {
        NodeLimit::new(i64::from(self.list_max_listpack_size))
    }
}
