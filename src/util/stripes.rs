//! How are many locks taken without a deadlock? In ascending order, all of them before anything is touched.
//!
//! [`Held`] is the only way to hold more than one stripe, and it takes them all at once: there is no operation that
//! adds a stripe to those that are held.

use std::time::Duration;

use smallvec::SmallVec;

use crate::util::sync::{Mutex, MutexGuard};

/// How long a lock is waited for before whoever waits looks up.
const LOOK_UP: Duration = Duration::from_millis(5);

/// A lock on a cache line of its own.
#[repr(align(128))]
struct Padded<T>(Mutex<T>);

/// Data in parts, each behind its own lock.
pub struct Stripes<T>(Box<[Padded<T>]>);

impl<T> Stripes<T> {
    /// Puts each part behind a lock. No more than 65,536 parts can be named.
    pub fn new(parts: impl IntoIterator<Item = T>) -> Self {
        Stripes(parts.into_iter().map(|part| Padded(Mutex::new(part))).collect())
    }

    /// Number of stripes.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Locks one stripe. Whoever holds another one already must not call this.
    pub fn one(&self, stripe: usize) -> MutexGuard<'_, T> {
        self.0[stripe].0.lock()
    }

    /// Locks one stripe if nobody holds it.
    pub fn try_one(&self, stripe: usize) -> Option<MutexGuard<'_, T>> {
        self.0[stripe].0.try_lock()
    }

    /// Locks one stripe unless that takes longer than `patience`.
    pub fn one_within(&self, stripe: usize, patience: Duration) -> Option<MutexGuard<'_, T>> {
        self.0[stripe].0.try_lock_for(patience)
    }

    /// Locks one stripe, to be held as a set of one.
    pub fn held_one(&self, stripe: u16) -> Held<'_, T> {
        Held::One(stripe, self.one(usize::from(stripe)))
    }

    /// Locks a set of stripes; `stripes` may be in any order and hold duplicates.
    pub fn held_some(&self, stripes: &[u16]) -> Held<'_, T> {
        let mut order: SmallVec<[u16; 16]> = stripes.into();
        order.sort_unstable();
        order.dedup();
        match order.as_slice() {
            [] => Held::None,
            [one] => self.held_one(*one),
            several => Held::Some(several.iter().map(|&s| (s, self.one(usize::from(s)))).collect()),
        }
    }

    /// Locks one stripe, unless `stop` says so while it is waited for.
    fn one_unless(&self, stripe: u16, stop: &dyn Fn() -> bool) -> Option<MutexGuard<'_, T>> {
        let stripe = usize::from(stripe);
        if let Some(guard) = self.try_one(stripe) {
            return Some(guard);
        }
        loop {
            match self.one_within(stripe, LOOK_UP) {
                None if stop() => return None,
                None => {}
                locked => return locked,
            }
        }
    }

    /// [`Stripes::held_one`], unless `stop` says so while it is waited for.
    pub fn held_one_unless(&self, stripe: u16, stop: &dyn Fn() -> bool) -> Option<Held<'_, T>> {
        self.one_unless(stripe, stop).map(|guard| Held::One(stripe, guard))
    }

    /// [`Stripes::held_some`], unless `stop` says so while one is waited for.
    pub fn held_some_unless(&self, stripes: &[u16], stop: &dyn Fn() -> bool) -> Option<Held<'_, T>> {
        let mut order: SmallVec<[u16; 16]> = stripes.into();
        order.sort_unstable();
        order.dedup();
        match order.as_slice() {
            [] => Some(Held::None),
            [one] => self.held_one_unless(*one, stop),
            several => {
                let lock = |&s: &u16| self.one_unless(s, stop).map(|guard| (s, guard));
                several.iter().map(lock).collect::<Option<_>>().map(Held::Some)
            }
        }
    }

    /// [`Stripes::held_all`], unless `stop` says so while one is waited for.
    pub fn held_all_unless(&self, stop: &dyn Fn() -> bool) -> Option<Held<'_, T>> {
        (0..self.0.len()).map(|s| self.one_unless(s as u16, stop)).collect::<Option<_>>().map(Held::All)
    }

    /// Locks everything.
    pub fn held_all(&self) -> Held<'_, T> {
        Held::All(self.0.iter().map(|s| s.0.lock()).collect())
    }

    /// Locks everything, unless a stripe cannot be had within `patience`.
    pub fn held_all_within(&self, patience: Duration) -> Option<Held<'_, T>> {
        self.0.iter().map(|s| s.0.try_lock_for(patience)).collect::<Option<_>>().map(Held::All)
    }
}

/// The stripes that somebody holds, in ascending order.
pub enum Held<'a, T> {
    /// None.
    None,
    /// One, the usual case.
    One(u16, MutexGuard<'a, T>),
    /// Several.
    Some(SmallVec<[(u16, MutexGuard<'a, T>); 4]>),
    /// All of them: nobody else holds anything.
    All(Vec<MutexGuard<'a, T>>),
}

impl<T> Held<'_, T> {
    /// True when the stripe is held.
    pub fn covers(&self, stripe: u16) -> bool {
        match self {
            Held::None => false,
            Held::One(s, _) => *s == stripe,
            Held::Some(list) => list.iter().any(|(s, _)| *s == stripe),
            Held::All(_) => true,
        }
    }

    /// What is in the stripe, if it is held.
    pub fn get(&self, stripe: u16) -> Option<&T> {
        match self {
            Held::None => None,
            Held::One(s, guard) => (*s == stripe).then_some(&**guard),
            Held::Some(list) => list.iter().find(|(s, _)| *s == stripe).map(|(_, g)| &**g),
            Held::All(list) => list.get(usize::from(stripe)).map(|g| &**g),
        }
    }

    /// What is in the stripe, if it is held, to change it.
    pub fn get_mut(&mut self, stripe: u16) -> Option<&mut T> {
        match self {
            Held::None => None,
            Held::One(s, guard) => (*s == stripe).then_some(&mut **guard),
            Held::Some(list) => list.iter_mut().find(|(s, _)| *s == stripe).map(|(_, g)| &mut **g),
            Held::All(list) => list.get_mut(usize::from(stripe)).map(|g| &mut **g),
        }
    }

    /// Runs `f` on every held stripe, in ascending order.
    pub fn each(&mut self, mut f: impl FnMut(u16, &mut T)) {
        match self {
            Held::None => {}
            Held::One(s, guard) => f(*s, guard),
            Held::Some(list) => list.iter_mut().for_each(|(s, g)| f(*s, g)),
            Held::All(list) => list.iter_mut().enumerate().for_each(|(i, g)| f(i as u16, g)),
        }
    }

    /// The stripes that are held.
    pub fn stripes(&self) -> SmallVec<[u16; 8]> {
        match self {
            Held::None => SmallVec::new(),
            Held::One(s, _) => SmallVec::from_slice(&[*s]),
            Held::Some(list) => list.iter().map(|(s, _)| *s).collect(),
            Held::All(list) => (0..list.len() as u16).collect(),
        }
    }
}
