//! Which errors do clients read? Counts by code, for INFO errorstats.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Codes that are told apart. Scripts can invent codes: they must neither fill the memory nor make INFO slow.
const MOST: usize = 128;
/// What remains when there were more.
const DISABLED: &str = "ERRORSTATS_DISABLED";

/// Error replies by code, until there are too many codes.
#[derive(Debug, Default)]
pub struct Errors {
    by_code: Mutex<(BTreeMap<String, u64>, bool)>,
    dropped: AtomicU64,
}

impl Errors {
    /// Counts a reply.
    pub fn count(&self, code: &str) {
        let (counts, disabled) = &mut *self.by_code.lock();
        if *disabled {
            return;
        }
        if let Some(n) = counts.get_mut(code) {
            *n += 1;
        } else if counts.len() < MOST {
            counts.insert(code.to_owned(), 1);
        } else {
            let codes: Vec<&str> = counts.keys().map(String::as_str).collect();
            tracing::warn!(
                "Errorstats stopped adding new errors because there are too many of them; scripts may be making them \
                 up. CONFIG RESETSTAT starts anew."
            );
            tracing::warn!("Current errors code list: {}", codes.join(", "));
            self.dropped.fetch_add(counts.len() as u64, Ordering::Relaxed);
            *counts = BTreeMap::from([(DISABLED.to_owned(), 1)]);
            *disabled = true;
        }
    }

    /// All codes with their counts.
    pub fn all(&self) -> BTreeMap<String, u64> {
        self.by_code.lock().0.clone()
    }

    /// How many codes were forgotten because there were too many.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Begins anew.
    pub fn reset(&self) {
        *self.by_code.lock() = Default::default();
        self.dropped.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_codes_end_the_counting() {
        let errors = Errors::default();
        (0..MOST).for_each(|n| errors.count(&format!("E{n}")));
        errors.count("E0");
        assert_eq!((errors.all().len(), errors.all()["E0"]), (MOST, 2));
        errors.count("ONE-MORE");
        errors.count("E0");
        assert_eq!((errors.all(), errors.dropped()), (BTreeMap::from([(DISABLED.into(), 1)]), 128));
        errors.reset();
        errors.count("E0");
        assert_eq!((errors.all()["E0"], errors.dropped()), (1, 0));
    }
}
