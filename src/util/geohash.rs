//! How do coordinates become sortable integers?
