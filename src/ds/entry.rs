//! What is one key? One allocation behind a thin pointer: header, expiry, payload and key together.
//!
//! ```text
//!  0      1         4       6       8
//!  +------+---------+-------+-------+----------+------------+---------+-----+--------------+
//!  | flags| lru: 24 | klen  | vlen  | expiry 8 | key len 8  | payload | key | string value |
//!  +------+---------+-------+-------+----------+------------+---------+-----+--------------+
//!                           `- or    if EXPIRES  if LONG_KEY  `- 8 bytes for an integer, a `V` for a
//!                              a short integer                   value, nothing for anything else
//!  flags: bits 0-1 kind (0 string, 1 integer, 2 value, 3 short integer), 2 EXPIRES, 3 LONG_KEY, 4 PARITY, 5 RAW,
//!         6 DATED
//! ```
//!
//! A 16-byte key with a 32-byte string takes 56 bytes, with an integer of 16 bits 24, with any other 32. An integer
//! that has become short stays where it is: counters that go up and down about the limit do not move each time.
//! Numbers are native-endian.
//!
//! Invariants: the allocation is 8-aligned and has [`good_size`] of what the header calls for, so its size is
//! known without being stored; `V` is alive exactly while the kind says so.

mod handle;

use super::alloc::good_size;
use super::table::Item;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};

/// Longest string that may be kept inside an entry, in bytes. Longer ones belong in a `V`: moving them whenever
/// the entry moves would cost more than the second allocation.
pub const EMBED_MAX: usize = 1024;

const KIND: u64 = 3;
const STR: u64 = 0;
const INT: u64 = 1;
const VALUE: u64 = 2;
const SHORT: u64 = 3;
const EXPIRES: u64 = 1 << 2;
const LONG_KEY: u64 = 1 << 3;
const PARITY: u64 = 1 << 4;
const RAW: u64 = 1 << 5;
const DATED: u64 = 1 << 6;
const LRU: u64 = 0xff_ffff << 8;
const LAST: u64 = 0xffff << 48;
const HEADER: usize = 8;

/// One key with its value. `V` is the type of all values that are neither short strings nor integers: at
/// most 24 bytes, aligned to at most 8.
pub struct Entry<V> {
    at: NonNull<u8>,
    value: PhantomData<V>,
}

/// The payload of an entry.
#[derive(Debug, PartialEq, Eq)]
pub enum View<'a, V> {
    /// A string kept inside the entry.
    Str(&'a [u8]),
    /// An integer.
    Int(i64),
    /// Anything else.
    Value(&'a V),
}

/// A payload on its way into an entry.
enum Payload<'a, V> {
    Str(&'a [u8]),
    Int(i64),
    Value(V),
}

/// Offsets, all from the header.
#[derive(Clone, Copy)]
struct Parts {
    payload: usize,
    key: usize,
    string: usize,
    end: usize,
}

// SAFETY: an entry owns its bytes and its `V`, and shares them with nobody.
unsafe impl<V: Send> Send for Entry<V> {}
// SAFETY: a shared entry gives out `&V` and plain bytes.
unsafe impl<V: Sync> Sync for Entry<V> {}

// SAFETY: allocations are 8-aligned (`layout`), and user addresses are below 2^48.
unsafe impl<V> Item for Entry<V> {
    #[inline]
    fn into_raw(self) -> NonNull<u8> {
        ManuallyDrop::new(self).at
    }

    #[inline]
    unsafe fn from_raw(at: NonNull<u8>) -> Entry<V> {
        Entry { at, value: PhantomData }
    }

    #[inline]
    fn key(&self) -> &[u8] {
        self.key()
    }
}

/// A short integer in its place in the header.
#[inline]
fn short(value: i16) -> u64 {
    u64::from(value.cast_unsigned()) << 48
}

fn layout(size: usize) -> Layout {
    match Layout::from_size_align(good_size(size), 8) {
        Ok(layout) => layout,
        Err(_) => handle_alloc_error(Layout::new::<u64>()),
    }
}

impl<V> Entry<V> {
    /// Bytes a `V` takes in the entry.
    const VALUE_SIZE: usize = {
        assert!(size_of::<V>() <= 24 && align_of::<V>() <= 8);
        size_of::<V>().next_multiple_of(8)
    };

    /// A key with a string of at most [`EMBED_MAX`] bytes, and when it expires (unix ms).
    ///
    /// # Panics
    /// If the string is longer.
    #[inline]
    pub fn new_str(key: &[u8], value: &[u8], expire: Option<u64>) -> Entry<V> {
        Entry::make(0, key, expire, Payload::Str(value))
    }

    /// A key with an integer.
    #[inline]
    pub fn new_int(key: &[u8], value: i64, expire: Option<u64>) -> Entry<V> {
        Entry::make(0, key, expire, Payload::Int(value))
    }

    /// A key with any other value.
    #[inline]
    pub fn new_value(key: &[u8], value: V, expire: Option<u64>) -> Entry<V> {
        Entry::make(0, key, expire, Payload::Value(value))
    }

    /// `keep`: header bits to start with, of LRU, PARITY, RAW and DATED.
    fn make(keep: u64, key: &[u8], expire: Option<u64>, payload: Payload<'_, V>) -> Entry<V> {
        let mut header = keep;
        if expire.is_some() {
            header |= EXPIRES;
        }
        match u16::try_from(key.len()) {
            Ok(len) => header |= u64::from(len) << 32,
            Err(_) => header |= LONG_KEY,
        }
        match &payload {
            Payload::Str(value) => {
                assert!(value.len() <= EMBED_MAX, "too long to be embedded");
                header |= STR | (value.len() as u64) << 48;
            }
            Payload::Int(value) => match i16::try_from(*value) {
                Ok(value) => header |= SHORT | short(value),
                Err(_) => header |= INT,
            },
            Payload::Value(_) => header |= VALUE,
        }
        let parts = Entry::<V>::parts_of(header, key.len());
        let layout = layout(parts.end);
        // SAFETY: the layout is not empty.
        let Some(at) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        let mut entry = Entry { at, value: PhantomData };
        // SAFETY: `parts` gives the places, in the order of the drawing, within the `end` bytes just allocated;
        // all but key and string are multiples of 8.
        unsafe {
            entry.write(0, header);
            if let Some(expire) = expire {
                entry.write(HEADER, expire);
            }
            if header & LONG_KEY != 0 {
                entry.write(parts.payload - 8, key.len());
            }
            match payload {
                Payload::Str(value) => entry.copy(parts.string, value),
                Payload::Int(value) if header & KIND == INT => entry.write(parts.payload, value),
                Payload::Int(_) => {}
                Payload::Value(value) => entry.write(parts.payload, value),
            }
            entry.copy(parts.key, key);
        }
        entry
    }

    #[inline]
    fn header(&self) -> u64 {
        // SAFETY: every entry starts with its header.
        unsafe { self.at.cast::<u64>().read() }
    }

    #[inline]
    fn set_header(&mut self, header: u64) {
        // SAFETY: as above.
        unsafe { self.at.cast::<u64>().write(header) }
    }

    fn set_flag(&mut self, flag: u64, on: bool) {
        let header = self.header();
        self.set_header(if on { header | flag } else { header & !flag });
    }

    /// # Safety
    /// `offset` is where a `T` belongs.
    #[inline]
    unsafe fn write<T>(&mut self, offset: usize, value: T) {
        // SAFETY: by the caller's promise; 8-aligned places only.
        unsafe { self.at.add(offset).cast::<T>().write(value) }
    }

    /// # Safety
    /// `offset` is where that many bytes belong, and `bytes` is not part of the entry.
    #[inline]
    unsafe fn copy(&mut self, offset: usize, bytes: &[u8]) {
        // SAFETY: by the caller's promise.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.at.as_ptr().add(offset), bytes.len()) }
    }

    #[inline]
    fn parts_of(header: u64, key_len: usize) -> Parts {
        let payload = HEADER + (header & EXPIRES) as usize * 2 + (header & LONG_KEY) as usize;
        let key = payload + [0, 8, Entry::<V>::VALUE_SIZE, 0][(header & KIND) as usize];
        let string = key + key_len;
        let string_len = if header & KIND == STR { (header >> 48) as usize } else { 0 };
        Parts { payload, key, string, end: string + string_len }
    }

    #[inline]
    fn parts(&self) -> Parts {
        let header = self.header();
        let mut key_len = (header >> 32 & 0xffff) as usize;
        if header & LONG_KEY != 0 {
            let offset = HEADER + (header & EXPIRES) as usize * 2;
            // SAFETY: the flag says that the length is there.
            key_len = unsafe { self.at.add(offset).cast::<usize>().read() };
        }
        Entry::<V>::parts_of(header, key_len)
    }

    /// The key's bytes.
    #[inline]
    pub fn key(&self) -> &[u8] {
        let parts = self.parts();
        // SAFETY: written by `make`.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr().add(parts.key), parts.string - parts.key) }
    }

    /// The payload.
    #[inline]
    pub fn view(&self) -> View<'_, V> {
        let parts = self.parts();
        // SAFETY: the kind says what `make` or a setter has put there.
        unsafe {
            match self.header() & KIND {
                STR => View::Str(std::slice::from_raw_parts(
                    self.at.as_ptr().add(parts.string),
                    parts.end - parts.string,
                )),
                INT => View::Int(self.at.add(parts.payload).cast::<i64>().read()),
                SHORT => View::Int(self.header().cast_signed() >> 48),
                _ => View::Value(self.at.add(parts.payload).cast::<V>().as_ref()),
            }
        }
    }

    /// The embedded string, to be changed in place without changing its length.
    #[inline]
    pub fn str_mut(&mut self) -> Option<&mut [u8]> {
        let parts = self.parts();
        (self.header() & KIND == STR).then(|| {
            // SAFETY: the kind says that a string is there.
            unsafe {
                let start = self.at.as_ptr().add(parts.string);
                std::slice::from_raw_parts_mut(start, parts.end - parts.string)
            }
        })
    }

    /// The value, when it is neither an embedded string nor an integer.
    #[inline]
    pub fn value_mut(&mut self) -> Option<&mut V> {
        let parts = self.parts();
        // SAFETY: the kind says that a `V` is there.
        (self.header() & KIND == VALUE).then(|| unsafe { self.at.add(parts.payload).cast::<V>().as_mut() })
    }

    /// Makes the payload a string of at most [`EMBED_MAX`] bytes; clears `raw`, keeps expiry, lru and parity.
    /// In place over a string of the same size class. Returns the `V` that was there, if one was.
    ///
    /// # Panics
    /// If the string is longer.
    #[inline]
    pub fn set_str(&mut self, value: &[u8]) -> Option<V> {
        let header = self.header();
        if header & KIND != STR {
            return self.replace(Payload::Str(value));
        }
        assert!(value.len() <= EMBED_MAX, "too long to be embedded");
        let parts = self.parts();
        let end = parts.string + value.len();
        if good_size(parts.end) != good_size(end) {
            self.resize(parts.end, end);
        }
        self.set_header(header & !RAW & !LAST | (value.len() as u64) << 48);
        // SAFETY: there is room behind the key for that many bytes now.
        unsafe { self.copy(parts.string, value) };
        None
    }

    /// Moves the entry to another size class; what is common to both sizes stays.
    fn resize(&mut self, old: usize, new: usize) {
        let (old, new) = (layout(old), layout(new));
        // SAFETY: allocated with `old`; the size is neither zero nor too large, as `layout` checked.
        match NonNull::new(unsafe { realloc(self.at.as_ptr(), old, new.size()) }) {
            Some(at) => self.at = at,
            None => handle_alloc_error(new),
        }
    }

    /// Makes the payload an integer; as [`Entry::set_str`], in place over an integer with room for it.
    #[inline]
    pub fn set_int(&mut self, value: i64) -> Option<V> {
        let header = self.header();
        match (header & KIND, i16::try_from(value)) {
            (SHORT, Ok(value)) => self.set_header(header & !RAW & !LAST | short(value)),
            (INT, _) => {
                let parts = self.parts();
                self.set_flag(RAW, false);
                // SAFETY: the kind says that an integer is there.
                unsafe { self.write(parts.payload, value) };
            }
            _ => return self.replace(Payload::Int(value)),
        }
        None
    }

    /// Makes the payload a `V`; as [`Entry::set_str`], in place over a `V`.
    #[inline]
    pub fn set_value(&mut self, value: V) -> Option<V> {
        self.set_flag(RAW, false);
        match self.value_mut() {
            Some(old) => Some(std::mem::replace(old, value)),
            None => self.replace(Payload::Value(value)),
        }
    }

    /// Takes the `V` out, if there is one, and leaves the integer 0 in its place.
    pub fn take_value(&mut self) -> Option<V> {
        if self.header() & KIND == VALUE { self.replace(Payload::Int(0)) } else { None }
    }

    /// The `V`, if there is one, without the entry around it.
    pub fn into_value(self) -> Option<V> {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is not used again, not even dropped.
        unsafe { this.dismantle() }
    }

    /// Builds the entry anew with another payload.
    #[cold]
    fn replace(&mut self, payload: Payload<'_, V>) -> Option<V> {
        let keep = self.header() & (LRU | PARITY | DATED);
        let new = Entry::make(keep, self.key(), self.expire(), payload);
        let mut old = ManuallyDrop::new(std::mem::replace(self, new));
        // SAFETY: `old` is not used again.
        unsafe { old.dismantle() }
    }

    /// Frees the allocation and returns its `V`.
    ///
    /// # Safety
    /// The entry must not be used again, not even dropped.
    unsafe fn dismantle(&mut self) -> Option<V> {
        let parts = self.parts();
        let value = (self.header() & KIND == VALUE)
            // SAFETY: the kind says that a `V` is there, and nobody reads it again.
            .then(|| unsafe { self.at.add(parts.payload).cast::<V>().read() });
        // SAFETY: the header called for `end` bytes all along.
        unsafe { dealloc(self.at.as_ptr(), layout(parts.end)) }
        value
    }

    /// When the key expires (unix ms).
    #[inline]
    pub fn expire(&self) -> Option<u64> {
        // SAFETY: the flag says that it is there.
        (self.header() & EXPIRES != 0).then(|| unsafe { self.at.add(HEADER).cast::<u64>().read() })
    }

    /// Changes when the key expires: in place when it has an expiry before and after, or neither. It is not dated.
    #[inline]
    pub fn set_expire(&mut self, expire: Option<u64>) {
        self.set_flag(DATED, false);
        match expire {
            // SAFETY: the flag says that it is there.
            Some(expire) if self.header() & EXPIRES != 0 => unsafe { self.write(HEADER, expire) },
            None if self.header() & EXPIRES == 0 => {}
            _ => self.remake(None, expire),
        }
    }

    /// The same entry under another key.
    #[must_use]
    pub fn with_key(mut self, key: &[u8]) -> Entry<V> {
        let expire = self.expire();
        self.remake(Some(key), expire);
        self
    }

    /// Builds the entry anew with another key or expiry; everything else stays.
    #[cold]
    fn remake(&mut self, key: Option<&[u8]>, expire: Option<u64>) {
        let keep = self.header() & (LRU | PARITY | RAW | DATED);
        let parts = self.parts();
        let key = key.unwrap_or(self.key());
        let payload = match self.view() {
            View::Str(value) => Payload::Str(value),
            View::Int(value) => Payload::Int(value),
            // SAFETY: the kind says that a `V` is there; below, the old entry is freed without dropping it.
            // Until then nothing can unwind with two owners alive: `make` allocates and copies only.
            View::Value(_) => Payload::Value(unsafe { self.at.add(parts.payload).cast::<V>().read() }),
        };
        let new = Entry::make(keep, key, expire, payload);
        let old = ManuallyDrop::new(std::mem::replace(self, new));
        // SAFETY: allocated with this layout, not used again; its `V` has moved on.
        unsafe { dealloc(old.at.as_ptr(), layout(parts.end)) }
    }

    /// Whether somebody named the moment at which the key expires, and not how long it is to stay.
    #[inline]
    pub fn dated(&self) -> bool {
        self.header() & DATED != 0
    }

    /// Changes it.
    #[inline]
    pub fn set_dated(&mut self, on: bool) {
        self.set_flag(DATED, on);
    }

    /// The 24 bits of the eviction clock or counter.
    #[inline]
    pub fn lru(&self) -> u32 {
        ((self.header() & LRU) >> 8) as u32
    }

    /// Changes them; higher bits are dropped.
    #[inline]
    pub fn set_lru(&mut self, lru: u32) {
        let header = self.header() & !LRU | u64::from(lru) << 8 & LRU;
        self.set_header(header);
    }

    /// The snapshot's bit: which epoch the entry belongs to.
    #[inline]
    pub fn parity(&self) -> bool {
        self.header() & PARITY != 0
    }

    /// Changes it.
    #[inline]
    pub fn set_parity(&mut self, on: bool) {
        self.set_flag(PARITY, on);
    }

    /// Whether the string was made by APPEND or SETRANGE (it is reported as "raw" whatever its length).
    #[inline]
    pub fn raw(&self) -> bool {
        self.header() & RAW != 0
    }

    /// Changes it. Every setter of a payload clears it.
    #[inline]
    pub fn set_raw(&mut self, on: bool) {
        self.set_flag(RAW, on);
    }

    /// Bytes of the allocation, without what a `V` owns elsewhere.
    #[inline]
    pub fn memory(&self) -> usize {
        good_size(self.parts().end)
    }
}

impl<V> Drop for Entry<V> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: this is the last use.
        drop(unsafe { self.dismantle() });
    }
}

impl<V: fmt::Debug> fmt::Debug for Entry<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key().escape_ascii().to_string();
        f.debug_struct("Entry").field("key", &key).field("payload", &self.view()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    type E = Entry<Rc<()>>;

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|i| i as u8).collect()
    }

    /// Everything an entry shows, to be compared before and after a change.
    fn shown(entry: &E) -> (Vec<u8>, Option<u64>, u32, [bool; 2]) {
        (entry.key().to_vec(), entry.expire(), entry.lru(), [entry.parity(), entry.dated()])
    }

    #[test]
    fn sizes_are_as_drawn() {
        assert_eq!(E::new_str(&bytes(16), &bytes(32), None).memory(), 56);
        assert_eq!(E::new_str(&bytes(16), &bytes(32), Some(1)).memory(), 64);
        assert_eq!(E::new_int(&bytes(16), 9999, None).memory(), 24);
        assert_eq!(E::new_int(&bytes(16), 40_000, None).memory(), 32);
        assert_eq!(E::new_value(&bytes(16), Rc::new(()), None).memory(), 32);
        assert_eq!(Entry::<[u64; 3]>::new_value(&bytes(16), [1, 2, 3], None).memory(), 48);
        assert_eq!(size_of::<Option<E>>(), 8);
    }

    #[test]
    fn every_payload_replaces_every_other() {
        let keys = [0, 1, 16, 255, 65_535, 65_536, 70_000];
        for key in keys.into_iter().filter(|key| !cfg!(miri) || *key == 1) {
            for expire in [None, Some(123), Some(u64::MAX)] {
                let alive = Rc::new(());
                let mut entry = E::new_str(&bytes(key), b"hello", expire);
                entry.set_lru(0xabcd_ef12);
                entry.set_parity(key % 2 == 0);
                entry.set_dated(key % 3 == 0);
                let before = shown(&entry);
                assert_eq!(before, (bytes(key), expire, 0xcd_ef12, [key % 2 == 0, key % 3 == 0]));
                for (from, to) in (0..6).flat_map(|from| (0..6).map(move |to| (from, to))) {
                    for step in [from, to] {
                        let had = matches!(entry.view(), View::Value(_));
                        entry.set_raw(true);
                        let (old, now) = match step {
                            0 => (entry.set_int(-7), View::Int(-7)),
                            1 => (entry.set_value(alive.clone()), View::Value(&alive)),
                            2 => (entry.set_str(b""), View::Str(b"")),
                            3 => (entry.set_str(b"hello world"), View::Str(b"hello world")),
                            4 => (entry.set_int(i64::MAX - 6), View::Int(i64::MAX - 6)),
                            _ => (entry.set_str(&[7; EMBED_MAX]), View::Str(&[7; EMBED_MAX])),
                        };
                        assert_eq!((old.is_some(), entry.view()), (had, now));
                        assert_eq!((shown(&entry), entry.raw()), (before.clone(), false));
                    }
                }
                entry.set_value(alive.clone());
                assert_eq!(Rc::strong_count(&alive), 2);
                drop(entry);
                assert_eq!(Rc::strong_count(&alive), 1);
            }
        }
    }

    #[test]
    fn expiry_and_key_change_around_any_payload() {
        let alive = Rc::new(());
        let make: [fn(&Rc<()>) -> E; 3] = [
            |_| E::new_str(b"key", b"value", None),
            |_| E::new_int(b"key", i64::MIN, None),
            |alive| E::new_value(b"key", alive.clone(), None),
        ];
        for (i, make) in make.into_iter().enumerate() {
            let payload = |entry: &E| match (i, entry.view()) {
                (0, View::Str(b"value")) | (1, View::Int(i64::MIN)) | (2, View::Value(_)) => {}
                other => panic!("{other:?}"),
            };
            let mut entry = make(&alive);
            entry.set_lru(9);
            entry.set_raw(true);
            for expire in [Some(1), Some(2), None, None, Some(3)] {
                entry.set_expire(expire);
                assert_eq!(shown(&entry), (b"key".to_vec(), expire, 9, [false; 2]));
                payload(&entry);
            }
            let entry = entry.with_key(&bytes(if i == 0 { 65_536 } else { 40 }));
            let entry = entry.with_key(b"a new key");
            assert_eq!((shown(&entry), entry.raw()), ((b"a new key".to_vec(), Some(3), 9, [false; 2]), true));
            payload(&entry);
            // SAFETY: the pointer comes straight from `into_raw`.
            let mut entry = unsafe { E::from_raw(entry.into_raw()) };
            assert_eq!(entry.take_value().is_some(), i == 2);
            assert!(i != 2 || entry.view() == View::Int(0));
            assert_eq!(Rc::strong_count(&alive), 1);
            assert_eq!(make(&alive).into_value().is_some(), i == 2);
            assert_eq!(Rc::strong_count(&alive), 1);
        }
    }

    #[test]
    fn integers_move_only_when_they_outgrow_the_header() {
        for expire in [None, Some(77)] {
            let mut entry = E::new_int(b"counter", 0, expire);
            let short = entry.memory();
            for value in [1, -1, i16::MAX.into(), i16::MIN.into()] {
                let at = entry.at;
                assert!(entry.set_int(value).is_none());
                assert_eq!((entry.view(), entry.at, entry.memory()), (View::Int(value), at, short));
                assert_eq!(E::new_int(b"counter", value, expire).view(), View::Int(value));
            }
            entry.set_int(i64::from(i16::MAX) + 1);
            let (at, long) = (entry.at, entry.memory());
            assert_eq!(long, short + 8);
            for value in [i64::MIN, -5, i64::from(i16::MIN) - 1] {
                entry.set_int(value);
                assert_eq!((entry.view(), entry.at), (View::Int(value), at));
            }
            assert_eq!((entry.key(), entry.expire()), (&b"counter"[..], expire));
        }
    }

    #[test]
    fn payloads_change_in_place() {
        let mut entry = E::new_str(b"key", b"value", None);
        if let Some(bytes) = entry.str_mut() {
            bytes.make_ascii_uppercase();
        }
        assert_eq!(entry.view(), View::Str(b"VALUE"));
        assert!(entry.value_mut().is_none());
        let at = entry.at;
        entry.set_str(b"other");
        assert_eq!(entry.at, at);
        assert!(entry.set_value(Rc::new(())).is_none());
        assert!(entry.str_mut().is_none() && entry.value_mut().is_some());
        fn sent<T: Send>(value: T) -> T {
            value
        }
        drop(sent(Entry::<Vec<u8>>::new_value(b"key", vec![1], None)));
    }
}
