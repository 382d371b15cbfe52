//! The cmsgpack library: MessagePack for scripts.
