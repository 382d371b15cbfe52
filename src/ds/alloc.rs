//! How much memory is in use? An allocator that counts what it hands out.
//!
//! Each thread adds to a counter of its own, padded to two cache lines, so that counting costs a load, an add
//! and a store, and no traffic between cores. [`Counting::used`] sums the counters; one counter alone may be
//! negative, since memory can be freed by another thread than the one that allocated it.
//!
//! Invariants: a stripe below [`SHARED`] is written by one thread only, ever (stripes are not handed on when
//! threads end, so a counter keeps what its thread left allocated). Threads beyond that share the last
//! stripe with atomic additions.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, AtomicU32, Ordering::Relaxed};

/// Counters; the last one is shared by all threads that came too late for one of their own.
const STRIPES: usize = 128;
const SHARED: u32 = STRIPES as u32 - 1;

/// Allocations of this size come from one size class, of this many bytes: jemalloc's classes with
/// an 8-byte quantum (see `.cargo/config.toml`), four per doubling.
#[inline]
pub const fn good_size(n: usize) -> usize {
    if n <= 64 {
        let n = if n == 0 { 1 } else { n };
        return (n + 7) & !7;
    }
    let delta = 1usize << ((n - 1).ilog2() - 2);
    // Too big for any class is too big for any allocator: leave it as it is.
    match n.checked_add(delta - 1) {
        Some(up) => up & !(delta - 1),
        None => n,
    }
}

#[repr(align(128))]
struct Stripe(AtomicIsize);

/// A [`GlobalAlloc`] that counts live bytes, rounded up to size classes.
///
/// This has to be a `static` (the language asks for one as `#[global_allocator]`), and with it its counters
/// and each thread's stripe number: the one exception to the rule that this crate has no globals.
pub struct Counting<A> {
    inner: A,
    stripes: [Stripe; STRIPES],
}

/// The next stripe to hand out. Not in [`Counting`], so that a thread has one number for all of them.
static NEXT: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// The thread's stripe plus one; 0 before its first allocation.
    static STRIPE: Cell<u32> = const { Cell::new(0) };
}

impl<A> Counting<A> {
    /// Counts for `inner`.
    pub const fn new(inner: A) -> Counting<A> {
        Counting { inner, stripes: [const { Stripe(AtomicIsize::new(0)) }; STRIPES] }
    }

    /// Live bytes of all threads together. A sum over counters that move meanwhile: exact when they rest.
    pub fn used(&self) -> usize {
        // Stripes that no thread has been given yet are empty.
        let given = NEXT.load(Relaxed) as usize;
        let stripes = self.stripes[..given.min(STRIPES - 1)].iter().chain(self.stripes.last());
        let sum = stripes.fold(0isize, |sum, stripe| sum.wrapping_add(stripe.0.load(Relaxed)));
        usize::try_from(sum).unwrap_or(0)
    }

    #[inline]
    fn count(&self, bytes: isize) {
        let stripe = match STRIPE.get() {
            0 => register(),
            stripe => stripe - 1,
        };
        let counter = &self.stripes[stripe as usize % STRIPES].0;
        if stripe == SHARED {
            counter.fetch_add(bytes, Relaxed);
        } else {
            counter.store(counter.load(Relaxed).wrapping_add(bytes), Relaxed);
        }
    }
}

#[cold]
fn register() -> u32 {
    let stripe = NEXT.fetch_update(Relaxed, Relaxed, |next| (next < SHARED).then_some(next + 1));
    let stripe = stripe.unwrap_or(SHARED);
    STRIPE.set(stripe + 1);
    stripe
}

#[inline]
fn class(bytes: usize) -> isize {
    good_size(bytes).cast_signed()
}

// SAFETY: every call is passed on unchanged; counting neither allocates nor unwinds.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Counting<A> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is passed on.
        let at = unsafe { self.inner.alloc(layout) };
        if !at.is_null() {
            self.count(class(layout.size()));
        }
        at
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is passed on.
        let at = unsafe { self.inner.alloc_zeroed(layout) };
        if !at.is_null() {
            self.count(class(layout.size()));
        }
        at
    }

    #[inline]
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        self.count(-class(layout.size()));
        // SAFETY: the caller's promise is passed on.
        unsafe { self.inner.dealloc(at, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promise is passed on.
        let new = unsafe { self.inner.realloc(at, layout, new_size) };
        if !new.is_null() {
            self.count(class(new_size) - class(layout.size()));
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::alloc::System;

    #[test]
    fn sizes_are_the_classes_of_jemalloc() {
        let classes: Vec<usize> = (1..=400).map(good_size).collect();
        assert_eq!(classes[0], 8);
        let mut distinct = classes.clone();
        distinct.dedup();
        let expected = [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448];
        assert_eq!(distinct, expected);
        assert!(classes.iter().enumerate().all(|(i, class)| *class > i));
        assert_eq!([good_size(0), good_size(4097), good_size(1 << 20)], [8, 5120, 1 << 20]);
        assert_eq!(good_size(usize::MAX), usize::MAX);
    }

    #[cfg(not(miri))]
    #[test]
    fn the_allocator_agrees_with_the_formula() {
        for n in (1..2000).chain([4000, 4096, 5000, 14_000, 15_000, 20_000, 100_000]) {
            let buffer = Vec::<u8>::with_capacity(n);
            // SAFETY: `buffer` was allocated by the global allocator, which is jemalloc.
            let real = unsafe { tikv_jemallocator::usable_size(buffer.as_ptr()) };
            assert_eq!(real, good_size(n), "for {n}");
        }
    }

    #[test]
    fn live_bytes_are_counted_across_threads() {
        let counting = Counting::new(System);
        let layout = Layout::from_size_align(51, 8).expect("a layout");
        let threads = if cfg!(miri) { 3 } else { STRIPES * 2 };
        for _ in 0..threads {
            // SAFETY: allocated, grown and freed with matching layouts.
            let at = unsafe { counting.realloc(counting.alloc(layout), layout, 100) } as usize;
            assert_eq!(counting.used(), 112);
            std::thread::scope(|scope| {
                let counting = &counting;
                scope.spawn(move || {
                    let grown = Layout::from_size_align(100, 8).expect("a layout");
                    // SAFETY: as above.
                    unsafe { counting.dealloc(std::ptr::with_exposed_provenance_mut(at), grown) };
                });
            });
            assert_eq!(counting.used(), 0);
        }
    }
}
