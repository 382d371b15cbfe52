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

/// The sum of `sizes`, of which there are `len`: estimated from the first `samples` of them, 0 for all.
pub fn sampled(sizes: impl Iterator<Item = usize>, len: usize, samples: usize) -> usize {
    let n = if samples == 0 { len } else { samples.min(len) };
    let sum: usize = sizes.take(n).sum();
    if n == len { sum } else { (sum as f64 / n as f64 * len as f64) as usize }
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

/// What is asked of the allocator below. It is told that C's `malloc` aligns to 16 bytes, and so asks for no more than
/// the size when that is enough; but with a quantum of 8 the classes of 24, 40 and 56 bytes are aligned to 8 only. A
/// size that is a multiple of 16 falls into a class that is one, too.
#[inline]
const fn padded(layout: Layout) -> Layout {
    if layout.align() > 8 { layout.pad_to_align() } else { layout }
}

// SAFETY: every call is passed on with a layout that is made from the caller's in the same way each time, no smaller
// and of the same alignment; counting neither allocates nor unwinds.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Counting<A> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let layout = padded(layout);
        // SAFETY: the caller's promise is passed on.
        let at = unsafe { self.inner.alloc(layout) };
        if !at.is_null() {
            self.count(class(layout.size()));
        }
        at
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let layout = padded(layout);
        // SAFETY: the caller's promise is passed on.
        let at = unsafe { self.inner.alloc_zeroed(layout) };
        if !at.is_null() {
            self.count(class(layout.size()));
        }
        at
    }

    #[inline]
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        let layout = padded(layout);
        self.count(-class(layout.size()));
        // SAFETY: the caller's promise is passed on.
        unsafe { self.inner.dealloc(at, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let layout = padded(layout);
        let new_size = if layout.align() > 8 { new_size.next_multiple_of(layout.align()) } else { new_size };
        // SAFETY: the caller's promise is passed on; it includes that the size can be rounded up to the alignment.
        let new = unsafe { self.inner.realloc(at, layout, new_size) };
        if !new.is_null() {
            self.count(class(new_size) - class(layout.size()));
        }
        new
    }
}

/// How long the allocator keeps pages that nobody uses, in milliseconds: long enough for those that are about to be
/// used again, and short enough for what a large key has taken to be seen to be gone soon after it is deleted.
#[cfg(not(miri))]
const DECAY_MS: isize = 500;

/// Sets how long an arena keeps unused pages; with `arenas`, those that are yet to come.
#[cfg(not(miri))]
fn set_decay(arena: &str, ms: isize) {
    let name = format!("{arena}.dirty_decay_ms\0");
    // An arena that nobody has used yet does not know the name, and has nothing to give.
    // SAFETY: the value of this name is an `ssize_t`.
    let _ = unsafe { tikv_jemalloc_ctl::raw::write(name.as_bytes(), ms) };
}

#[cfg(not(miri))]
fn each_arena() -> impl Iterator<Item = String> {
    let arenas = tikv_jemalloc_ctl::arenas::narenas::read().unwrap_or(0);
    (0..arenas).map(|arena| format!("arena.{arena}"))
}

/// Lets the allocator give back unused pages after half a second, rather than ten. To be called once, at the start.
#[cfg(not(miri))]
pub fn keep_unused_briefly() {
    set_decay("arenas", DECAY_MS);
    each_arena().for_each(|arena| set_decay(&arena, DECAY_MS));
}

/// Gives all unused pages back to the system at once: for a moment they may stay for no time at all.
#[cfg(not(miri))]
pub fn purge() {
    for arena in each_arena() {
        set_decay(&arena, 0);
        set_decay(&arena, DECAY_MS);
    }
}

/// Whether the allocator gives back unused pages in a thread of its own. Otherwise whoever allocates or frees does it
/// by the way, and nobody while nothing is allocated nor freed.
///
/// # Errors
/// When the system has no thread to give.
#[cfg(not(miri))]
pub fn purge_in_background(on: bool) -> std::io::Result<()> {
    tikv_jemalloc_ctl::background_thread::write(on).map_err(|error| std::io::Error::other(error.to_string()))
}

/// Miri's allocator has nothing to give back.
#[cfg(miri)]
pub fn purge() {}
/// Miri's allocator keeps nothing.
#[cfg(miri)]
pub fn keep_unused_briefly() {}
/// Miri's allocator has no threads.
///
/// # Errors
/// Never.
#[cfg(miri)]
pub fn purge_in_background(_: bool) -> std::io::Result<()> {
    Ok(())
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

    #[cfg(not(miri))]
    #[test]
    fn memory_is_aligned_as_asked() {
        for (size, align) in (1..200).flat_map(|size| [8, 16, 32, 64].map(|align| (size, align))) {
            let layout = Layout::from_size_align(size, align).expect("a layout");
            // Several at a time, since the first of a slab is aligned to a page.
            // SAFETY: grown and freed below with matching layouts.
            let all: Vec<*mut u8> = (0..8).map(|_| unsafe { crate::ALLOCATOR.alloc(layout) }).collect();
            let grown = Layout::from_size_align(size + 37, align).expect("a layout");
            for at in all {
                assert!(at.addr().is_multiple_of(align), "{size} aligned to {align}: {at:p}");
                // SAFETY: allocated above with this layout.
                let at = unsafe { crate::ALLOCATOR.realloc(at, layout, grown.size()) };
                assert!(at.addr().is_multiple_of(align), "{} aligned to {align}: {at:p}", grown.size());
                // SAFETY: reallocated to this layout.
                unsafe { crate::ALLOCATOR.dealloc(at, grown) };
            }
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
