//! How are strings compressed in snapshots? In the LZF format, as Redis writes it.
//!
//! ```text
//! 000LLLLL  L+1 bytes               copy these 1..=32 bytes
//! LLLooooo  oooooooo                copy L+2 (3..=8) bytes from o+1 back, o < 8192
//! 111ooooo  LLLLLLLL  oooooooo      copy L+9 (9..=264) bytes from o+1 back
//! ```
//!
//! The compressor makes the choices liblzf's "very fast" setting makes (its hash, its one candidate
//! per hash, its stinginess at the end), so that a dump of ours equals one of Redis. The format is
//! Marc Lehmann's, <http://software.schmorp.de/pkg/liblzf.html>; the code is our own.

const MAX_LITERAL: usize = 32;
const MAX_OFFSET: usize = 1 << 13;
const MAX_MATCH: usize = 264;
/// The longest match costs three bytes: no input grows by more than this factor.
const MAX_RATIO: usize = MAX_MATCH / 3;
const SLOTS: usize = 1 << 16;
/// Output space taken before any of it has been produced.
const MAX_PREALLOC: usize = 1 << 20;

/// This is not LZF data of the claimed length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LzfError;

/// Compresses. Holds a table of 256 KiB, so keep one for many strings.
pub struct Compressor {
    /// By hash of three bytes: where they were last seen, as `base` + position. What is not
    /// beyond `base` was left by an earlier string.
    slots: Box<[u32]>,
    base: u32,
}

impl Default for Compressor {
    fn default() -> Self {
        Self::new()
    }
}

fn slot_of(three: &[u8]) -> usize {
    let h = u32::from_be_bytes([0, three[0], three[1], three[2]]);
    (h >> 8).wrapping_sub(h.wrapping_mul(5)) as usize & (SLOTS - 1)
}

/// Length of the match at `here` with the earlier `there`, three bytes of which are known to agree.
/// The last two bytes are left out of longer searches, as liblzf does.
fn match_len(input: &[u8], there: usize, here: usize) -> usize {
    let max = (input.len() - here - 2).min(MAX_MATCH);
    let agree = |len: usize| input[there + len] == input[here + len];
    let mut len = 3;
    if max > 16 {
        while len < 19 && agree(len) {
            len += 1;
        }
        if len < 19 {
            return len;
        }
    }
    while len < max && agree(len) {
        len += 1;
    }
    len
}

/// Output under construction: literals are collected behind a count that is written when the run ends.
struct Sink<'a> {
    out: &'a mut Vec<u8>,
    limit: usize,
    literals: usize,
}

impl Sink<'_> {
    fn start_run(&mut self) {
        self.literals = 0;
        self.out.push(0);
    }

    fn end_run(&mut self) {
        let header = self.out.len() - self.literals - 1;
        if self.literals == 0 {
            self.out.truncate(header);
        } else {
            self.out[header] = self.literals as u8 - 1;
        }
    }

    fn literal(&mut self, byte: u8) {
        self.out.push(byte);
        self.literals += 1;
        if self.literals == MAX_LITERAL {
            self.end_run();
            self.start_run();
        }
    }

    fn reference(&mut self, offset: usize, len: usize) {
        self.end_run();
        let (high, code) = ((offset >> 8) as u8, len - 2);
        if code < 7 {
            self.out.push(high | (code as u8) << 5);
        } else {
            self.out.extend_from_slice(&[high | 0xE0, (code - 7) as u8]);
        }
        self.out.push(offset as u8);
        self.start_run();
    }
}

impl Compressor {
    /// With an empty table.
    pub fn new() -> Self {
        Compressor { slots: vec![0; SLOTS].into_boxed_slice(), base: 0 }
    }

    /// Appends the compressed form of `input` to `out`, if it takes at most `max_len` bytes. Says
    /// whether it did; if not, `out` is as before. Redis asks for `input.len() - 4`.
    pub fn compress(&mut self, input: &[u8], max_len: usize, out: &mut Vec<u8>) -> bool {
        let before = out.len();
        if input.is_empty() || max_len == 0 || input.len() >= 1 << 31 {
            return false;
        }
        if u32::try_from(input.len()).ok().and_then(|n| self.base.checked_add(n)).is_none() {
            self.slots.fill(0);
            self.base = 0;
        }
        let done = self.run(input, &mut Sink { out, limit: before + max_len, literals: 0 });
        self.base += input.len() as u32;
        if !done {
            out.truncate(before);
        }
        done
    }

    fn run(&mut self, input: &[u8], sink: &mut Sink<'_>) -> bool {
        let searchable = input.len().saturating_sub(2);
        let mut here = 0;
        sink.start_run();
        while here < searchable {
            let found = self.swap(input, here);
            // Position 0 is never referred to: liblzf takes it for an empty slot.
            let matched = found.filter(|&there| {
                there > 0 && here - there <= MAX_OFFSET && input[there..there + 3] == input[here..here + 3]
            });
            let Some(there) = matched else {
                if sink.out.len() >= sink.limit {
                    return false;
                }
                sink.literal(input[here]);
                here += 1;
                continue;
            };
            if sink.out.len() - usize::from(sink.literals == 0) + 4 >= sink.limit {
                return false;
            }
            let len = match_len(input, there, here);
            sink.reference(here - there - 1, len);
            here += len;
            if here >= searchable {
                break;
            }
            self.swap(input, here - 2);
            self.swap(input, here - 1);
        }
        if sink.out.len() + 3 > sink.limit {
            return false;
        }
        input[here..].iter().for_each(|&byte| sink.literal(byte));
        sink.end_run();
        true
    }

    /// Notes the position of the three bytes at `at`; gives where they (or others of the same
    /// hash) were seen before.
    fn swap(&mut self, input: &[u8], at: usize) -> Option<usize> {
        let slot = &mut self.slots[slot_of(&input[at..])];
        // `at` < input.len(), and compress() made sure that base + input.len() fits.
        let old = std::mem::replace(slot, self.base + at as u32);
        (old > self.base).then(|| (old - self.base) as usize)
    }
}

/// Decompresses to exactly `claimed` bytes.
///
/// # Errors
/// [`LzfError`] if the input is damaged, or makes less or more than `claimed` bytes. No more than
/// `claimed` bytes are ever produced, and memory is taken as output appears, whatever is claimed.
pub fn decompress(input: &[u8], claimed: usize) -> Result<Vec<u8>, LzfError> {
    if claimed > input.len().saturating_mul(MAX_RATIO) {
        return Err(LzfError);
    }
    let mut out = Vec::with_capacity(claimed.min(MAX_PREALLOC));
    let mut rest = input;
    while let [control, after @ ..] = rest {
        let control = usize::from(*control);
        if control < MAX_LITERAL {
            let (run, after) = after.split_at_checked(control + 1).ok_or(LzfError)?;
            if run.len() > claimed - out.len() {
                return Err(LzfError);
            }
            out.extend_from_slice(run);
            rest = after;
            continue;
        }
        let (len, low, after) = match (control >> 5, after) {
            (7, [more, low, after @ ..]) => (9 + usize::from(*more), low, after),
            (7, _) | (_, []) => return Err(LzfError),
            (code, [low, after @ ..]) => (code + 2, low, after),
        };
        let offset = ((control & 0x1F) << 8 | usize::from(*low)) + 1;
        let from = out.len().checked_sub(offset).ok_or(LzfError)?;
        if len > claimed - out.len() {
            return Err(LzfError);
        }
        copy_within(&mut out, from, len);
        rest = after;
    }
    if out.len() == claimed { Ok(out) } else { Err(LzfError) }
}

/// Appends `len` bytes from `from` on. They may overlap what is being appended, which then
/// repeats: each round copies all there is, so the period is kept and doubles.
fn copy_within(out: &mut Vec<u8>, from: usize, mut len: usize) {
    while len > 0 {
        let n = len.min(out.len() - from);
        out.extend_from_within(from..from + n);
        len -= n;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn squeeze(input: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        Compressor::new().compress(input, input.len().saturating_sub(4), &mut out).then_some(out)
    }

    fn fnv(bytes: &[u8]) -> u64 {
        bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3))
    }

    fn letters(n: usize, alphabet: u64) -> Vec<u8> {
        let mut x = 1u64;
        let mut next = || {
            x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            97 + ((x >> 33) % alphabet) as u8
        };
        (0..n).map(|_| next()).collect()
    }

    /// Lengths and FNV-1a sums of what Redis 8.2.3 wrote for these strings in DUMP.
    #[test]
    fn output_is_that_of_redis() {
        let words: Vec<String> = (0..60).map(|i| format!("user:{i}:name=peregrine")).collect();
        let words = words.join(" ").into_bytes();
        let mut far = letters(9000, 30);
        far.extend_from_within(..500);
        let mut tail = b"abcdefghijklmnopqrst".repeat(2);
        tail.extend(b"xy");
        let cases: [(Vec<u8>, usize, u64); 7] = [
            (vec![b'a'; 100], 9, 0xf143_7d7f_b130_cd9e),
            (words[..400].to_vec(), 112, 0x5f4e_2bee_d145_83c6),
            (words.repeat(9), 577, 0xa33c_ece9_0da3_e3a8),
            (letters(300, 4), 221, 0x1012_fdb7_e82f_d34f),
            (letters(3000, 2), 1499, 0x9d1d_7f42_1de9_8d6d),
            (tail, 28, 0x1d6c_3b1b_3403_63db),
            (far, 9306, 0x6b66_0dd2_4780_d3ad),
        ];
        let mut shared = Compressor::new();
        for (input, len, sum) in cases {
            let packed = squeeze(&input).unwrap();
            assert_eq!((packed.len(), fnv(&packed)), (len, sum), "{}", String::from_utf8_lossy(&input[..20]));
            let mut again = b"before".to_vec();
            assert!(shared.compress(&input, input.len() - 4, &mut again));
            assert_eq!(again[6..], packed[..], "a table used before changes nothing");
            assert_eq!(decompress(&packed, input.len()), Ok(input));
        }
        assert_eq!(squeeze(&letters(200, 20)), None, "Redis keeps this one plain");
    }

    #[test]
    fn table_restarts_when_positions_run_out() {
        let text = letters(3000, 3);
        let mut c = Compressor::new();
        c.base = u32::MAX - 3500;
        for _ in 0..3 {
            let mut out = Vec::new();
            assert!(c.compress(&text, text.len(), &mut out));
            assert_eq!(decompress(&out, text.len()).as_ref(), Ok(&text));
        }
        assert_eq!(c.base, 6000);
    }

    #[test]
    fn refuses_what_is_not_lzf() {
        let bad: [(&[u8], usize); 9] = [
            (&[], 1),
            (&[0], 1),                       // a literal without its byte
            (&[0, b'a'], 2),                 // shorter than claimed
            (&[1, b'a', b'b'], 1),           // longer than claimed
            (&[0x20, 0], 3),                 // reaches before the start
            (&[0, b'a', 0x20], 4),           // no offset
            (&[0, b'a', 0xE0, 1], 11),       // no offset after the length
            (&[0, b'a', 0x20, 1], 4),        // one too far back
            (&[0, b'a', 0xE0, 255, 0], 264), // the match would overshoot
        ];
        for (input, claimed) in bad {
            assert_eq!(decompress(input, claimed), Err(LzfError), "{input:?}");
        }
        assert_eq!(decompress(&[0, b'a'], usize::MAX), Err(LzfError));
        assert_eq!(decompress(&[0, b'a', 0xE0, 255, 0], 265), Ok(vec![b'a'; 265]));
        assert_eq!(decompress(&[], 0), Ok(vec![]));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]
        #[test]
        fn round_trips(alphabet in 1u64..40, n in 0usize..3000, max in 0usize..3000, at in any::<usize>(), flip in any::<u8>()) {
            let input = letters(n, alphabet);
            let mut out = vec![7];
            if Compressor::new().compress(&input, max, &mut out) {
                prop_assert!(out.len() - 1 <= max);
                prop_assert_eq!(decompress(&out[1..], n), Ok(input));
                let at = 1 + at % (out.len() - 1);
                out[at] ^= flip;
                if let Ok(damaged) = decompress(&out[1..], n) {
                    prop_assert_eq!(damaged.len(), n);
                }
            } else {
                prop_assert_eq!(out, vec![7]);
            }
        }

        #[test]
        fn survives_noise(noise in prop::collection::vec(any::<u8>(), 0..400), claimed in 0usize..5000) {
            if let Ok(out) = decompress(&noise, claimed) {
                prop_assert_eq!(out.len(), claimed);
            }
        }
    }
}
