//! Which scripts does the server know? One cache for all threads, from SHA1 to source; each thread
//! compiles what it runs.
//!
//! Invariants: scripts that came by SCRIPT LOAD stay until SCRIPT FLUSH; of those that came by EVAL
//! at most [`MAX_EVALUATED`] stay, the least recently run go first; whenever a script leaves the
//! cache the generation changes, so a thread that has compiled it cannot answer for it any more.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;

use super::keys_proof::{IsKeyPosition, keys_come_from_keys};
use super::shebang::{Flags, script_flags};

/// Scripts that only EVAL has brought.
pub const MAX_EVALUATED: usize = 500;

/// A SHA1 in lower-case hexadecimal.
pub type Sha = [u8; 40];

/// A script as the server keeps it.
#[derive(Debug)]
pub struct Script {
    /// Its name.
    pub sha: Sha,
    /// Its text, first line included.
    pub source: Arc<[u8]>,
    /// Bytes at its start that the compiler must not see.
    pub skip: usize,
    /// What it declares.
    pub flags: Flags,
    /// It is proven to touch only keys that it is given; asked for by [`Script::keeps_to_its_keys`].
    bounded: OnceLock<bool>,
    /// Loaded by SCRIPT LOAD: never evicted.
    pinned: AtomicBool,
    /// The clock of the cache when it last ran.
    used: AtomicU64,
}

impl Script {
    /// True when its text proves that it touches only keys that it is given. The proof is made once.
    pub fn keeps_to_its_keys(&self, is_key: IsKeyPosition<'_>) -> bool {
        *self.bounded.get_or_init(|| keys_come_from_keys(&self.source, is_key))
    }

    /// The name as text.
    pub fn sha_text(&self) -> &str {
        std::str::from_utf8(&self.sha).unwrap_or_default()
    }
}

/// Who brings a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// EVAL and EVAL_RO.
    Eval,
    /// SCRIPT LOAD, and scripts that come from the log or a snapshot.
    Load,
}

/// The scripts of a server.
#[derive(Debug, Default)]
pub struct ScriptCache {
    scripts: RwLock<HashMap<Sha, Arc<Script>, foldhash::fast::RandomState>>,
    clock: AtomicU64,
    generation: AtomicU64,
    evicted: AtomicU64,
    bytes: AtomicU64,
}

/// The SHA1 of a script.
pub fn sha_of(source: &[u8]) -> Sha {
    let digest = sha1_smol::Sha1::from(source).digest().bytes();
    let mut sha = [0; 40];
    for (pair, byte) in sha.chunks_exact_mut(2).zip(digest) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    sha
}

/// A client's spelling of a SHA1; `None` when it has the wrong length.
pub fn parse_sha(text: &[u8]) -> Option<Sha> {
    let mut sha: Sha = text.try_into().ok()?;
    sha.make_ascii_lowercase();
    Some(sha)
}

impl ScriptCache {
    /// An empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    /// The script of this name.
    pub fn get(&self, sha: &Sha) -> Option<Arc<Script>> {
        self.scripts.read().get(sha).cloned()
    }

    /// Reads a script's first line without keeping it. Errors are texts without a code.
    pub fn prepare(source: &[u8]) -> Result<Script, String> {
        let (flags, skip) = script_flags(source)?;
        Ok(Script {
            sha: sha_of(source),
            source: source.into(),
            skip,
            flags,
            bounded: OnceLock::new(),
            pinned: AtomicBool::new(false),
            used: AtomicU64::new(0),
        })
    }

    /// Keeps a script that compiles. What is there already stays, pinned if SCRIPT LOAD asks so.
    pub fn insert(&self, script: Script, origin: Origin) -> Arc<Script> {
        let mut scripts = self.scripts.write();
        let kept = scripts.get(&script.sha).cloned();
        let script = match kept {
            Some(script) => script,
            None => {
                if origin == Origin::Eval {
                    self.make_room(&mut scripts);
                }
                self.bytes.fetch_add(script.source.len() as u64, Ordering::Relaxed);
                let script = Arc::new(script);
                scripts.insert(script.sha, Arc::clone(&script));
                script
            }
        };
        if origin == Origin::Load {
            script.pinned.store(true, Ordering::Relaxed);
        }
        self.touch(&script);
        script
    }

    fn make_room(&self, scripts: &mut HashMap<Sha, Arc<Script>, foldhash::fast::RandomState>) {
        let evaluated = |s: &&Arc<Script>| !s.pinned.load(Ordering::Relaxed);
        if scripts.values().filter(evaluated).count() < MAX_EVALUATED {
            return;
        }
        let oldest = scripts.values().filter(evaluated);
        let oldest = oldest.min_by_key(|s| s.used.load(Ordering::Relaxed)).map(|s| s.sha);
        if let Some(script) = oldest.and_then(|sha| scripts.remove(&sha)) {
            self.bytes.fetch_sub(script.source.len() as u64, Ordering::Relaxed);
            self.evicted.fetch_add(1, Ordering::Relaxed);
            self.generation.fetch_add(1, Ordering::Release);
        }
    }

    /// Notes that a script runs.
    pub fn touch(&self, script: &Script) {
        if !script.pinned.load(Ordering::Relaxed) {
            script.used.store(self.clock.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }

    /// SCRIPT FLUSH.
    pub fn flush(&self) {
        self.scripts.write().clear();
        self.bytes.store(0, Ordering::Relaxed);
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Changes whenever a script leaves.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// How many scripts there are.
    pub fn len(&self) -> usize {
        self.scripts.read().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of source kept.
    pub fn source_bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// CONFIG RESETSTAT.
    pub fn reset_evicted(&self) {
        self.evicted.store(0, Ordering::Relaxed);
    }

    /// Scripts evicted since the server started, or since CONFIG RESETSTAT.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(cache: &ScriptCache, source: &str, origin: Origin) -> Arc<Script> {
        cache.insert(ScriptCache::prepare(source.as_bytes()).unwrap(), origin)
    }

    #[test]
    fn evaluated_scripts_leave_least_recently_run_first() {
        let cache = ScriptCache::new();
        let loaded = add(&cache, "return 'loaded'", Origin::Load);
        let scripts: Vec<_> =
            (0..MAX_EVALUATED).map(|i| add(&cache, &format!("return {i}"), Origin::Eval)).collect();
        let before = cache.generation();
        cache.touch(&scripts[0]);
        add(&cache, "return 'one more'", Origin::Eval);
        assert_eq!(cache.evicted(), 1);
        assert_ne!(cache.generation(), before);
        assert!(cache.get(&scripts[0].sha).is_some());
        assert!(cache.get(&scripts[1].sha).is_none());
        assert!(cache.get(&loaded.sha).is_some());
        assert_eq!(cache.len(), MAX_EVALUATED + 1);
        cache.flush();
        assert!(cache.is_empty() && cache.source_bytes() == 0);
    }

    #[test]
    fn script_load_pins_what_eval_brought() {
        let cache = ScriptCache::new();
        let script = add(&cache, "return 1", Origin::Eval);
        add(&cache, "return 1", Origin::Load);
        for i in 0..2 * MAX_EVALUATED {
            add(&cache, &format!("return 'x{i}'"), Origin::Eval);
        }
        assert!(cache.get(&script.sha).is_some());
    }

    #[test]
    fn names() {
        assert_eq!(&sha_of(b"return 1"), b"e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
        let upper = b"E0E1F9FABFC9D4800C877A703B823AC0578FF8DB";
        assert_eq!(parse_sha(upper), Some(sha_of(b"return 1")));
        assert_eq!(parse_sha(b"e0"), None);
    }
}
