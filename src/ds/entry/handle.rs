//! How does what an entry holds outlive the handle it was found by? The bytes and the `V` stay where they are for as
//! long as the table is borrowed, so a handle can be traded for a reference of that lifetime.

use super::{EMBED_MAX, Entry, KIND, LRU, VALUE, View};
use crate::ds::table::{ItemMut, ItemRef};

impl<V> Entry<V> {
    /// Whether a string of so many bytes may be kept inside an entry.
    #[inline]
    pub const fn embeds(len: usize) -> bool {
        len <= EMBED_MAX
    }
}

/// Lengthens the lifetime of a view.
///
/// # Safety
/// The entry must stay where it is, unchanged, for `'a`.
unsafe fn lengthen<'a, V>(view: View<'_, V>) -> View<'a, V> {
    match view {
        // SAFETY: the caller's promise.
        View::Str(bytes) => View::Str(unsafe { &*std::ptr::from_ref(bytes) }),
        View::Int(n) => View::Int(n),
        // SAFETY: the caller's promise.
        View::Value(value) => View::Value(unsafe { &*std::ptr::from_ref(value) }),
    }
}

impl<'a, V> ItemRef<'a, Entry<V>> {
    /// The payload, for as long as the table is borrowed.
    #[inline]
    pub fn into_view(self) -> View<'a, V> {
        // SAFETY: the table is borrowed for 'a, and the payload is in the entry's allocation, not in the handle.
        unsafe { lengthen(self.view()) }
    }
}

impl<'a, V> ItemMut<'a, Entry<V>> {
    /// Sets the entry's 24 bits of access clock, without taking it out of its slot as other changes do.
    #[inline]
    pub fn touch(&mut self, lru: u32) {
        let entry: &Entry<V> = self;
        let header = entry.header() & !LRU | (u64::from(lru) << 8 & LRU);
        // SAFETY: the header is the first word of the allocation, and the table is borrowed exclusively.
        unsafe { entry.at.cast::<u64>().write(header) };
    }

    /// The payload, for as long as the table is borrowed.
    #[inline]
    pub fn into_view(self) -> View<'a, V> {
        // SAFETY: as for `ItemRef::into_view`.
        unsafe { lengthen(self.view()) }
    }

    /// The value that is neither an embedded string nor an integer, for as long as the table is borrowed.
    #[inline]
    pub fn into_value_mut(self) -> Option<&'a mut V> {
        let entry: &Entry<V> = &self;
        let parts = entry.parts();
        // SAFETY: the kind says that a `V` is there; the table is borrowed exclusively for 'a, and the handle,
        // whose drop leaves the slot as it is because it was not dereferenced mutably, is gone.
        (entry.header() & KIND == VALUE).then(|| unsafe { entry.at.add(parts.payload).cast::<V>().as_mut() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ds::table::Table;
    use crate::util::hash::Seed;

    #[test]
    fn views_outlive_their_handles() {
        let mut table: Table<Entry<Vec<u8>>> = Table::new(Seed::fixed());
        let hash = table.hash(b"k");
        table.insert(hash, Entry::new_value(b"k", b"abc".to_vec(), None), false);
        let mut item = table.get_mut(hash, b"k").unwrap();
        item.touch(77);
        item.into_value_mut().unwrap().push(b'd');
        let item = table.get(hash, b"k").unwrap();
        assert_eq!(item.lru(), 77);
        assert_eq!(item.into_view(), View::Value(&b"abcd".to_vec()));
    }
}
