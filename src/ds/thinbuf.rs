//! How can a growing byte buffer cost its owner one pointer? It holds its own length.
//!
//! ```text
//! ThinBuf ──> [ u32 length, little-endian, of the whole buffer | body ... | slack up to the size class ]
//! ```
//!
//! Invariants: the length is at least 4 and counts its own four bytes; the allocation is always
//! `good_size(length)` bytes, so no capacity is stored; bytes `0..length` are initialised. A
//! listpack starts with exactly this field, so a listpack *is* such a buffer.
//!
//! Rounding up to size classes wastes nothing the allocator would not waste, and as they are a fixed
//! ratio apart, appending is O(1) amortised.

use super::alloc::good_size;
use super::wire::copy_short;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::ptr::{self, NonNull};

/// No buffer grows past this many bytes: it keeps 32-bit lengths far from wrapping.
pub(crate) const MAX_LEN: usize = 1 << 30;

const PREFIX: usize = 4;

/// An owned byte buffer behind one pointer. See the module for the layout.
pub(crate) struct ThinBuf {
    ptr: NonNull<u8>,
}

// SAFETY: a ThinBuf owns its allocation alone, like a Box<[u8]>.
unsafe impl Send for ThinBuf {}
// SAFETY: `&ThinBuf` only reads plain bytes.
unsafe impl Sync for ThinBuf {}

impl ThinBuf {
    /// A buffer of the length prefix followed by `body`.
    ///
    /// # Panics
    /// If it would be longer than [`MAX_LEN`].
    pub(crate) fn new(body: &[u8]) -> Self {
        let len = PREFIX + body.len();
        assert!(len <= MAX_LEN, "a packed buffer of {len} bytes");
        let layout = Self::layout(len);
        // SAFETY: `good_size` is never 0.
        let raw = unsafe { alloc(layout) };
        let Some(ptr) = NonNull::new(raw) else { handle_alloc_error(layout) };
        // SAFETY: the allocation holds at least `len` = 4 + body.len() bytes and is new, so it
        // cannot overlap `body`. All `len` bytes are initialised here.
        unsafe {
            ptr.as_ptr().cast::<[u8; PREFIX]>().write((len as u32).to_le_bytes());
            ptr::copy_nonoverlapping(body.as_ptr(), ptr.as_ptr().add(PREFIX), body.len());
        }
        ThinBuf { ptr }
    }

    fn layout(len: usize) -> Layout {
        // SAFETY: 8 is a power of two; `len` <= MAX_LEN, so the size is far below isize::MAX.
        unsafe { Layout::from_size_align_unchecked(good_size(len), 8) }
    }

    /// Length in bytes, the prefix included.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        // SAFETY: the first four bytes are always initialised and owned; a byte array has no alignment.
        u32::from_le_bytes(unsafe { self.ptr.as_ptr().cast::<[u8; PREFIX]>().read() }) as usize
    }

    /// Bytes taken from the allocator.
    pub(crate) fn allocated(&self) -> usize {
        good_size(self.len())
    }

    /// All bytes, the prefix included.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: `len` bytes are initialised and live as long as `self`; `&self` forbids writes.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len()) }
    }

    /// The bytes after the prefix, to be changed in place. The prefix itself is out of reach.
    #[inline]
    pub(crate) fn body_mut(&mut self) -> &mut [u8] {
        let len = self.len() - PREFIX;
        // SAFETY: bytes 4..len are initialised, owned, and borrowed alone through `&mut self`.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr().add(PREFIX), len) }
    }

    /// Replaces `del` bytes at offset `at` (counted from the prefix) by the concatenation of `parts`.
    ///
    /// # Panics
    /// If the range is not within the body, or the result would exceed [`MAX_LEN`].
    pub(crate) fn splice(&mut self, at: usize, del: usize, parts: &[&[u8]]) {
        let len = self.len();
        let add: usize = parts.iter().map(|p| p.len()).sum();
        assert!(at >= PREFIX && at <= len && del <= len - at, "splice out of range");
        let new_len = len - del + add;
        assert!(new_len <= MAX_LEN, "a packed buffer of {new_len} bytes");
        self.resize_if(new_len > len && good_size(new_len) > good_size(len), len, new_len);
        // SAFETY: the allocation holds max(len, new_len) bytes: it was grown above if needed and is
        // shrunk only below. The tail len-(at+del) is initialised and ends within both. `parts`
        // cannot overlap: they are borrowed while `self` is borrowed mutably.
        unsafe {
            let hole = self.ptr.as_ptr().add(at);
            if add != del {
                ptr::copy(hole.add(del), hole.add(add), len - at - del);
            }
            let mut to = hole;
            for part in parts {
                copy_short(part, to);
                to = to.add(part.len());
            }
            self.ptr.as_ptr().cast::<[u8; PREFIX]>().write((new_len as u32).to_le_bytes());
        }
        self.resize_if(new_len < len && good_size(new_len) < good_size(len), len, new_len);
    }

    /// Moves to the allocation that suits `new_len`, from the one that suits `old_len`.
    #[inline]
    fn resize_if(&mut self, wanted: bool, old_len: usize, new_len: usize) {
        if !wanted {
            return;
        }
        let layout = Self::layout(new_len);
        // SAFETY: the current allocation was made with `layout(old_len)`; the new size is not 0.
        let raw = unsafe { realloc(self.ptr.as_ptr(), Self::layout(old_len), layout.size()) };
        let Some(ptr) = NonNull::new(raw) else { handle_alloc_error(layout) };
        self.ptr = ptr;
    }
}

impl Drop for ThinBuf {
    fn drop(&mut self) {
        // SAFETY: the allocation was made with the layout of its current length (the invariant).
        unsafe { dealloc(self.ptr.as_ptr(), Self::layout(self.len())) }
    }
}

impl Clone for ThinBuf {
    fn clone(&self) -> Self {
        ThinBuf::new(&self.bytes()[PREFIX..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn handle_is_one_pointer() {
        assert_eq!(std::mem::size_of::<Option<ThinBuf>>(), 8);
    }

    fn cases() -> ProptestConfig {
        ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::with_cases(if cfg!(miri) { 8 } else { 256 })
        }
    }

    proptest! {
        #![proptest_config(cases())]
        #[test]
        fn splices_like_a_vec(ops in prop::collection::vec((any::<u16>(), any::<u8>(), 0usize..200), 1..30)) {
            let mut buf = ThinBuf::new(b"");
            let mut model: Vec<u8> = Vec::new();
            for (at, del, add) in ops {
                let at = at as usize % (model.len() + 1);
                let del = (del as usize).min(model.len() - at);
                let data: Vec<u8> = (0..add).map(|i| (i ^ at) as u8).collect();
                let (a, b) = data.split_at(add / 3);
                buf.splice(PREFIX + at, del, &[a, b]);
                model.splice(at..at + del, data.iter().copied());
                prop_assert_eq!(&buf.bytes()[PREFIX..], &model[..]);
                prop_assert_eq!(buf.len(), model.len() + PREFIX);
                let copy = buf.clone();
                prop_assert_eq!(copy.bytes(), buf.bytes());
                if let Some(b) = buf.body_mut().first_mut() { *b ^= 1; model[0] ^= 1; }
            }
        }
    }
}
