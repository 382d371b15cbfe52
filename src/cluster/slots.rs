//! Which slots? A set of hash slots as a bitmap, read out in ranges.

use std::ops::RangeInclusive;

use crate::util::crc::SLOTS;

/// A set of hash slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotSet {
    words: Vec<u64>,
}

impl Default for SlotSet {
    fn default() -> Self {
        SlotSet { words: vec![0; usize::from(SLOTS) / 64] }
    }
}

impl SlotSet {
    /// The bitmap: bit `n % 64` of word `n / 64` is slot `n`.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// True when the slot is in the set.
    pub fn contains(&self, slot: u16) -> bool {
        self.words.get(usize::from(slot) / 64).is_some_and(|word| word & 1 << (slot % 64) != 0)
    }

    /// Adds a slot below [`SLOTS`].
    pub fn insert(&mut self, slot: u16) {
        if let Some(word) = self.words.get_mut(usize::from(slot) / 64) {
            *word |= 1 << (slot % 64);
        }
    }

    /// Takes a slot out.
    pub fn remove(&mut self, slot: u16) {
        if let Some(word) = self.words.get_mut(usize::from(slot) / 64) {
            *word &= !(1 << (slot % 64));
        }
    }

    /// Takes all slots out.
    pub fn clear(&mut self) {
        self.words.fill(0);
    }

    /// Number of slots.
    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// The slots in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        (0..SLOTS).filter(|slot| self.contains(*slot))
    }

    /// The slots in ascending order, neighbours together.
    pub fn ranges(&self) -> Vec<RangeInclusive<u16>> {
        let mut ranges: Vec<RangeInclusive<u16>> = Vec::new();
        for slot in self.iter() {
            match ranges.last_mut() {
                Some(last) if last.end() + 1 == slot => *last = *last.start()..=slot,
                _ => ranges.push(slot..=slot),
            }
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_is_a_set(changes in proptest::collection::vec((0..SLOTS, any::<bool>()), 0..200)) {
            let (mut set, mut model) = (SlotSet::default(), BTreeSet::new());
            for (slot, add) in changes {
                if add {
                    set.insert(slot);
                    model.insert(slot);
                } else {
                    set.remove(slot);
                    model.remove(&slot);
                }
            }
            prop_assert_eq!(set.len(), model.len());
            prop_assert_eq!(set.ranges().into_iter().flatten().collect::<Vec<_>>(), model.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn neighbours_are_one_range() {
        let mut set = SlotSet::default();
        [0, 1, 63, 64, 65, 16383].into_iter().for_each(|slot| set.insert(slot));
        assert_eq!(set.ranges(), [0..=1, 63..=65, 16383..=16383]);
    }
}
