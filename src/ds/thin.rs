//! What are the items of big sets, hashes and sorted sets? Byte strings in one allocation each,
//! behind a thin pointer, ready for a [`super::table::Table`].
//!
//! ```text
//! Member   | length: varint | bytes |
//! Pair     | field length * 2 + has expiry: varint | value length: varint | expiry: 8, if any | field | value |
//! Scored   | score: f64 | length: varint | bytes |
//! ```
//!
//! Varints are LEB128: seven bits a byte, least significant first, 1 byte below 128.
//!
//! Invariant: the allocation has [`good_size`] of the bytes the lengths at its head call for, so its size is
//! known without being stored, and a change of length within one size class happens in place.

use super::alloc::good_size;
use super::table::{Item, ItemRef};
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::fmt;
use std::ptr::{self, NonNull};

/// Longest varint of a u64.
const VARINT: usize = 10;

fn varint_len(n: usize) -> usize {
    (n | 1).ilog2() as usize / 7 + 1
}

fn put_varint(out: &mut [u8; VARINT], n: usize) -> &[u8] {
    let (mut n, mut len) = (n, 0);
    loop {
        out[len] = (n & 0x7f) as u8 | if n > 0x7f { 0x80 } else { 0 };
        (n, len) = (n >> 7, len + 1);
        if n == 0 {
            return &out[..len];
        }
    }
}

/// An owned, 8-aligned allocation whose size its user knows.
struct Thin(NonNull<u8>);

impl Thin {
    fn layout(size: usize) -> Layout {
        match Layout::from_size_align(good_size(size), 8) {
            Ok(layout) => layout,
            Err(_) => handle_alloc_error(Layout::new::<u64>()),
        }
    }

    fn alloc(size: usize) -> Thin {
        let layout = Thin::layout(size);
        // SAFETY: `good_size` is at least 8.
        match NonNull::new(unsafe { alloc(layout) }) {
            Some(at) => Thin(at),
            None => handle_alloc_error(layout),
        }
    }

    /// Keeps the first bytes.
    ///
    /// # Safety
    /// `old` is the size it has.
    unsafe fn resize(&mut self, old: usize, new: usize) {
        let (from, to) = (Thin::layout(old), Thin::layout(new));
        if from.size() != to.size() {
            // SAFETY: allocated with `from`; the new size is not zero and was checked by `layout`.
            match NonNull::new(unsafe { realloc(self.0.as_ptr(), from, to.size()) }) {
                Some(at) => self.0 = at,
                None => handle_alloc_error(to),
            }
        }
    }

    /// # Safety
    /// `size` is the size it has, and it is not used again.
    unsafe fn free(&mut self, size: usize) {
        // SAFETY: allocated with this layout.
        unsafe { dealloc(self.0.as_ptr(), Thin::layout(size)) }
    }

    /// # Safety
    /// `offset + bytes.len()` is within the allocation, and `bytes` is not.
    unsafe fn write(&mut self, offset: usize, bytes: &[u8]) -> usize {
        // SAFETY: by the caller's promise.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.0.as_ptr().add(offset), bytes.len()) };
        offset + bytes.len()
    }

    /// # Safety
    /// The range is within the allocation and initialised.
    #[inline]
    unsafe fn read(&self, offset: usize, len: usize) -> &[u8] {
        // SAFETY: by the caller's promise.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().add(offset), len) }
    }

    /// The varint at `offset`, and the offset after it.
    ///
    /// # Safety
    /// There is one.
    #[inline]
    unsafe fn varint(&self, offset: usize) -> (usize, usize) {
        let (mut at, mut n, mut shift) = (offset, 0usize, 0);
        loop {
            // SAFETY: a varint ends with a byte below 128, and this is not past it.
            let byte = unsafe { *self.0.as_ptr().add(at) };
            n |= usize::from(byte & 0x7f) << shift;
            (at, shift) = (at + 1, shift + 7);
            if byte < 0x80 {
                return (n, at);
            }
        }
    }
}

macro_rules! item {
    ($type:ident, $key:ident, $doc:literal) => {
        // SAFETY: the type owns plain bytes and has no interior mutability.
        unsafe impl Send for $type {}
        // SAFETY: as above.
        unsafe impl Sync for $type {}

        // SAFETY: allocations are 8-aligned (`Thin::layout`), user addresses are below 2^48, and the key's
        // bytes are never changed.
        unsafe impl Item for $type {
            #[inline]
            fn into_raw(self) -> NonNull<u8> {
                std::mem::ManuallyDrop::new(self).0.0
            }

            #[inline]
            unsafe fn from_raw(raw: NonNull<u8>) -> $type {
                $type(Thin(raw))
            }

            #[inline]
            fn key(&self) -> &[u8] {
                self.$key()
            }
        }

        impl Drop for $type {
            fn drop(&mut self) {
                let size = self.size();
                // SAFETY: `size` is what was allocated.
                unsafe { self.0.free(size) }
            }
        }

        impl $type {
            /// Bytes of the allocation.
            pub fn memory(&self) -> usize {
                good_size(self.size())
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", $doc, self.$key().escape_ascii())
            }
        }
    };
}

/// A member of a set.
pub struct Member(Thin);

item!(Member, bytes, "Member");

impl Member {
    /// A member with these bytes.
    pub fn new(bytes: &[u8]) -> Member {
        let mut thin = Thin::alloc(varint_len(bytes.len()) + bytes.len());
        // SAFETY: together the size just allocated.
        unsafe {
            let at = thin.write(0, put_varint(&mut [0; VARINT], bytes.len()));
            thin.write(at, bytes);
        }
        Member(thin)
    }

    /// Its bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: written by `new`.
        unsafe {
            let (len, at) = self.0.varint(0);
            self.0.read(at, len)
        }
    }

    fn size(&self) -> usize {
        let len = self.bytes().len();
        varint_len(len) + len
    }
}

/// A member of a sorted set, with its score.
pub struct Scored(Thin);

item!(Scored, bytes, "Scored");

impl Scored {
    /// A member with this score.
    pub fn new(score: f64, bytes: &[u8]) -> Scored {
        let mut thin = Thin::alloc(8 + varint_len(bytes.len()) + bytes.len());
        // SAFETY: together the size just allocated.
        unsafe {
            let at = thin.write(0, &score.to_ne_bytes());
            let at = thin.write(at, put_varint(&mut [0; VARINT], bytes.len()));
            thin.write(at, bytes);
        }
        Scored(thin)
    }

    /// Its bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: written by `new`.
        unsafe {
            let (len, at) = self.0.varint(8);
            self.0.read(at, len)
        }
    }

    /// Its score.
    #[inline]
    pub fn score(&self) -> f64 {
        // SAFETY: written by `new`, at the start of an 8-aligned allocation.
        unsafe { self.0.0.cast::<f64>().read() }
    }

    /// Changes the score, in place.
    #[inline]
    pub fn set_score(&mut self, score: f64) {
        // SAFETY: as above.
        unsafe { self.0.0.cast::<f64>().write(score) }
    }

    fn size(&self) -> usize {
        let len = self.bytes().len();
        8 + varint_len(len) + len
    }
}

impl<'a> ItemRef<'a, Pair> {
    /// Field, value and expiry, for as long as the table is borrowed.
    #[inline]
    pub fn into_parts(self) -> (&'a [u8], &'a [u8], Option<u64>) {
        // SAFETY: the value's bytes are in the item's allocation, which outlives the borrow `'a` of the
        // table, and do not change meanwhile.
        let value = unsafe { std::mem::transmute::<&[u8], &'a [u8]>(self.value()) };
        let expire = self.expire();
        (self.into_key(), value, expire)
    }
}

/// A field of a hash, with its value and perhaps an expiry.
pub struct Pair(Thin);

item!(Pair, field, "Pair");

/// Where the parts of a pair are.
#[derive(Clone, Copy)]
struct Parts {
    /// Offset of the value's length.
    value_len: usize,
    /// Offset of the expiry, or of the field when there is none.
    expiry: usize,
    has_expiry: bool,
    field: usize,
    value: usize,
    end: usize,
}

impl Pair {
    /// A field, its value, and when it expires (unix ms).
    pub fn new(field: &[u8], value: &[u8], expire: Option<u64>) -> Pair {
        let head = field.len() << 1 | usize::from(expire.is_some());
        let fixed = varint_len(head) + varint_len(value.len()) + if expire.is_some() { 8 } else { 0 };
        let mut thin = Thin::alloc(fixed + field.len() + value.len());
        // SAFETY: together the size just allocated.
        unsafe {
            let at = thin.write(0, put_varint(&mut [0; VARINT], head));
            let mut at = thin.write(at, put_varint(&mut [0; VARINT], value.len()));
            if let Some(expire) = expire {
                at = thin.write(at, &expire.to_ne_bytes());
            }
            let at = thin.write(at, field);
            thin.write(at, value);
        }
        Pair(thin)
    }

    #[inline]
    fn parts(&self) -> Parts {
        // SAFETY: both varints were written by `new`.
        unsafe {
            let (head, value_len) = self.0.varint(0);
            let (len, expiry) = self.0.varint(value_len);
            let has_expiry = head & 1 != 0;
            let field = expiry + if has_expiry { 8 } else { 0 };
            let value = field + (head >> 1);
            Parts { value_len, expiry, has_expiry, field, value, end: value + len }
        }
    }

    /// The field's name.
    #[inline]
    pub fn field(&self) -> &[u8] {
        let parts = self.parts();
        // SAFETY: written by `new`.
        unsafe { self.0.read(parts.field, parts.value - parts.field) }
    }

    /// The value.
    #[inline]
    pub fn value(&self) -> &[u8] {
        let parts = self.parts();
        // SAFETY: written by `new` or `set_value`.
        unsafe { self.0.read(parts.value, parts.end - parts.value) }
    }

    /// When the field expires (unix ms).
    #[inline]
    pub fn expire(&self) -> Option<u64> {
        let parts = self.parts();
        // SAFETY: the head says that there are 8 bytes of expiry; they need not be aligned.
        parts.has_expiry.then(|| unsafe { self.0.0.add(parts.expiry).cast::<u64>().read_unaligned() })
    }

    /// Changes when the field expires; moves the pair when it had no expiry before, or has none after.
    pub fn set_expire(&mut self, expire: Option<u64>) {
        let parts = self.parts();
        match expire {
            Some(expire) if parts.has_expiry => {
                // SAFETY: as in `expire`.
                unsafe { self.0.0.add(parts.expiry).cast::<u64>().write_unaligned(expire) }
            }
            None if !parts.has_expiry => {}
            _ => *self = Pair::new(self.field(), self.value(), expire),
        }
    }

    /// Changes the value: in place when the new one is of the same size class.
    pub fn set_value(&mut self, value: &[u8]) {
        let parts = self.parts();
        let len_size = parts.expiry - parts.value_len;
        if varint_len(value.len()) != len_size {
            *self = Pair::new(self.field(), value, self.expire());
            return;
        }
        // SAFETY: `end` is the old size; the new one holds the head as it was, the new length in as many
        // bytes as the old one, and the value behind the field. `value` is not inside, since `self` is borrowed.
        unsafe {
            self.0.resize(parts.end, parts.value + value.len());
            self.0.write(parts.value_len, put_varint(&mut [0; VARINT], value.len()));
            self.0.write(parts.value, value);
        }
    }

    fn size(&self) -> usize {
        self.parts().end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTHS: [usize; 12] = [0, 1, 6, 7, 16, 62, 63, 64, 127, 128, 300, 16_400];

    fn bytes(len: usize, salt: u8) -> Vec<u8> {
        (0..len).map(|i| (i as u8).wrapping_mul(7).wrapping_add(salt)).collect()
    }

    fn lengths() -> impl Iterator<Item = usize> + Clone {
        LENGTHS.into_iter().filter(|len| !cfg!(miri) || *len < 1000)
    }

    #[test]
    fn members_and_scores_read_back() {
        for len in lengths() {
            let member = Member::new(&bytes(len, 1));
            assert_eq!(member.key(), bytes(len, 1));
            let mut scored = Scored::new(1.5, &bytes(len, 2));
            scored.set_score(-0.25);
            assert_eq!((scored.score(), scored.key()), (-0.25, &*bytes(len, 2)));
            // SAFETY: the pointer comes straight from `into_raw`.
            let scored = unsafe { Scored::from_raw(scored.into_raw()) };
            assert_eq!(scored.bytes(), bytes(len, 2));
        }
        assert_eq!(Member::new(&[b'x'; 16]).memory(), 24);
        assert_eq!(Scored::new(0.0, &[b'x'; 16]).memory(), 32);
        assert_eq!(Pair::new(&[b'x'; 16], &[b'y'; 16], None).memory(), 40);
    }

    #[test]
    fn pairs_survive_every_change() {
        for (field, value, next) in lengths()
            .flat_map(|f| lengths().map(move |v| (f, v)))
            .zip(lengths().cycle())
            .map(|((f, v), n)| (f, v, n))
        {
            let (field, value, next) = (bytes(field, 1), bytes(value, 2), bytes(next, 3));
            for expire in [None, Some(u64::MAX - 5)] {
                let mut pair = Pair::new(&field, &value, expire);
                assert_eq!((pair.key(), pair.value(), pair.expire()), (&*field, &*value, expire));
                pair.set_value(&next);
                assert_eq!((pair.key(), pair.value(), pair.expire()), (&*field, &*next, expire));
                pair.set_expire(Some(7));
                assert_eq!((pair.key(), pair.value(), pair.expire()), (&*field, &*next, Some(7)));
                pair.set_value(&value);
                pair.set_expire(None);
                assert_eq!((pair.key(), pair.value(), pair.expire()), (&*field, &*value, None));
            }
        }
    }

    #[test]
    fn parts_outlive_the_item_reference() {
        use crate::ds::table::Table;
        use crate::util::hash::Seed;
        let mut table = Table::new(Seed::fixed());
        for i in 0u8..30 {
            let pair = Pair::new(&[b'f', i], &[b'v', i, i], (i % 3 == 0).then_some(u64::from(i)));
            table.insert(table.hash(pair.field()), pair, false);
        }
        let mut parts: Vec<_> = table.iter().map(ItemRef::into_parts).collect();
        let keys: Vec<&[u8]> = table.iter().map(ItemRef::into_key).collect();
        assert!(parts.iter().map(|part| part.0).eq(keys));
        parts.sort_unstable();
        for (i, part) in (0u8..30).zip(parts) {
            let expire = (i % 3 == 0).then_some(u64::from(i));
            assert_eq!(part, (&[b'f', i][..], &[b'v', i, i][..], expire));
        }
        let found = table.get(table.hash(&[b'f', 7]), &[b'f', 7]).map(|item| item.into_parts());
        assert_eq!(found, Some((&[b'f', 7][..], &[b'v', 7, 7][..], None)));
    }
}
