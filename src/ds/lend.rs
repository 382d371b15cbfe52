//! How does a long-lived callback reach a value that its caller only borrows?
//!
//! A Lua interpreter outlives every command, so the closures behind `redis.call` must be `'static`;
//! the world they act on (the command context, the locked shards) is borrowed for one run. A
//! [`Loan`] bridges the two: [`Loan::during`] lends a `&mut` for the length of a call, and
//! [`Loan::with`] hands it out, to one borrower at a time.
//!
//! Invariants:
//! * the slot is non-empty only while the `&mut` that filled it is alive and untouched by its owner;
//! * whoever takes the pointer out empties the slot until it is done, so there are never two
//!   exclusive references (a re-entrant `with` sees an empty slot);
//! * nested `during` calls restore the outer loan, also when the body unwinds.

use std::cell::Cell;
use std::ptr::NonNull;

/// Names a family of types that differ only by a lifetime, such as `dyn Host + 'a`.
pub trait Lendable {
    /// The member of the family that borrows for `'a`.
    type Of<'a>: ?Sized;
}

/// A slot through which a `&mut F::Of<'_>` is lent for the duration of a call. Not `Sync`.
pub struct Loan<F: Lendable> {
    /// Points at a `&mut F::Of<'_>` that lives in the frame of [`Loan::during`].
    slot: Cell<Option<NonNull<()>>>,
    family: std::marker::PhantomData<F>,
}

/// Puts the previous content of the slot back, however the scope is left.
struct Restore<'s> {
    slot: &'s Cell<Option<NonNull<()>>>,
    before: Option<NonNull<()>>,
}

impl Drop for Restore<'_> {
    fn drop(&mut self) {
        self.slot.set(self.before);
    }
}

impl<F: Lendable> Default for Loan<F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<F: Lendable> Loan<F> {
    /// An empty slot.
    pub const fn new() -> Self {
        Self { slot: Cell::new(None), family: std::marker::PhantomData }
    }

    /// Lends `value` while `body` runs.
    pub fn during<'a, R>(&self, value: &mut F::Of<'a>, body: impl FnOnce() -> R) -> R {
        let mut reference: &mut F::Of<'a> = value;
        let pointer = NonNull::from(&mut reference).cast::<()>();
        let _restore = Restore { slot: &self.slot, before: self.slot.replace(Some(pointer)) };
        body()
    }

    /// Runs `f` on the value on loan; `None` when there is none, or it is already in use.
    pub fn with<R>(&self, f: impl for<'x> FnOnce(&mut F::Of<'x>) -> R) -> Option<R> {
        let pointer = self.slot.take()?;
        let _restore = Restore { slot: &self.slot, before: Some(pointer) };
        // SAFETY: the slot is filled only by `during`, with a pointer to a local `&mut F::Of<'_>`
        // of a frame that is still on the stack (`Restore` empties the slot before that frame
        // ends, also on unwinding, and `Cell` keeps the slot on one thread). The slot was taken,
        // so no other `with` can derive a second reference, and the owner of the value cannot
        // touch it while its `&mut` is reborrowed in `during`. `f` is generic over the lifetime,
        // so it cannot let the reference, or anything that depends on the lifetime, escape.
        let reference: &mut &mut F::Of<'_> = unsafe { pointer.cast::<&mut F::Of<'_>>().as_mut() };
        Some(f(reference))
    }

    /// Whether a value is on loan and free to use.
    pub fn is_lent(&self) -> bool {
        self.slot.get().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    trait Counter {
        fn bump(&mut self) -> u32;
    }

    struct Borrowing<'a>(&'a mut u32);

    impl Counter for Borrowing<'_> {
        fn bump(&mut self) -> u32 {
            *self.0 += 1;
            *self.0
        }
    }

    struct Counters;
    impl Lendable for Counters {
        type Of<'a> = dyn Counter + 'a;
    }

    #[test]
    fn lends_for_the_duration_only() {
        let loan: Rc<Loan<Counters>> = Rc::new(Loan::new());
        let callback = {
            let loan = Rc::clone(&loan);
            move || loan.with(|c| c.bump())
        };
        assert_eq!(callback(), None);
        let mut n = 0;
        let mut counter = Borrowing(&mut n);
        let seen = loan.during(&mut counter, || (callback(), callback(), loan.is_lent()));
        assert_eq!(seen, (Some(1), Some(2), true));
        assert_eq!(counter.bump(), 3);
        assert_eq!(callback(), None);
        assert_eq!(n, 3);
    }

    #[test]
    fn reentry_finds_the_slot_empty() {
        let loan: Loan<Counters> = Loan::new();
        let mut n = 0;
        let mut counter = Borrowing(&mut n);
        loan.during(&mut counter, || {
            let inner = loan.with(|c| {
                c.bump();
                loan.with(|c| c.bump())
            });
            assert_eq!(inner, Some(None));
            assert_eq!(loan.with(|c| c.bump()), Some(2));
        });
    }

    #[test]
    fn nested_loans_and_unwinding_restore_the_slot() {
        let loan: Loan<Counters> = Loan::new();
        let (mut a, mut b) = (0, 10);
        let (mut first, mut second) = (Borrowing(&mut a), Borrowing(&mut b));
        loan.during(&mut first, || {
            loan.during(&mut second, || assert_eq!(loan.with(|c| c.bump()), Some(11)));
            assert_eq!(loan.with(|c| c.bump()), Some(1));
            let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                loan.with(|_| panic!("in the borrower"))
            }));
            assert!(panicked.is_err());
            assert_eq!(loan.with(|c| c.bump()), Some(2));
        });
        assert!(!loan.is_lent());
    }
}
