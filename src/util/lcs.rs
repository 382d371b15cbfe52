//! What do two strings have in common? The longest common subsequence, for LCS.
//!
//! Redis fills a table of `(|a|+1) * (|b|+1)` 32-bit lengths and walks back through it. Here a row of
//! the table is a bit vector (Crochemore, Iliopoulos, Pinzon and Reid 2001): bit `j` of row `i` is
//! *clear* when `lcs(a[..i], b[..j+1])` is one more than `lcs(a[..i], b[..j])`. A row takes one addition
//! per 64 bytes of `b`, and the walk back needs nothing but those bits:
//!
//! * bytes equal: step diagonally;
//! * bit clear: the byte of `b` matters, so the length came from the row above: step up;
//! * bit set: nothing is lost by dropping the byte of `b`: step left.
//!
//! Invariant: the walk takes the same steps as Redis's, so ties are broken the same way; and an input is
//! refused exactly when Redis's table would exceed the limit, although this one is some 32 times smaller.

/// Why a comparison is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LcsError {
    /// A string of 4 GiB or more: "String too long for LCS".
    TooLong,
    /// The table would exceed `proto-max-bulk-len`: "Insufficient memory, transient memory for LCS
    /// exceeds proto-max-bulk-len".
    ExceedsLimit,
    /// The allocator has no room: "Insufficient memory, failed allocating transient memory for LCS".
    NoMemory,
}

/// A run of equal bytes, as inclusive positions in both strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// First and last position in `a`.
    pub a: (u32, u32),
    /// First and last position in `b`.
    pub b: (u32, u32),
}

impl Match {
    /// Bytes in the run.
    #[expect(clippy::len_without_is_empty, reason = "a match is never empty")]
    pub fn len(&self) -> u32 {
        self.a.1 - self.a.0 + 1
    }
}

/// The rows of a comparison of two strings.
pub struct Lcs<'a> {
    a: &'a [u8],
    b: &'a [u8],
    length: u32,
    /// Row `i` (from 1) at `(i-1) * stride`: bit `j` is bit `j % 8` of byte `j / 8`.
    rows: Vec<u8>,
    stride: usize,
}

/// The length alone, in one row of memory.
///
/// # Errors
/// See [`LcsError`]; `limit` is `proto-max-bulk-len` in bytes.
pub fn length(a: &[u8], b: &[u8], limit: u64) -> Result<u32, LcsError> {
    check_size(a, b, limit)?;
    sweep(a, b, |_| {})
}

impl<'a> Lcs<'a> {
    /// Compares two strings.
    ///
    /// # Errors
    /// See [`LcsError`]; `limit` is `proto-max-bulk-len` in bytes.
    pub fn new(a: &'a [u8], b: &'a [u8], limit: u64) -> Result<Self, LcsError> {
        check_size(a, b, limit)?;
        let stride = b.len().div_ceil(8);
        let mut rows = Vec::new();
        rows.try_reserve_exact(a.len().saturating_mul(stride)).map_err(|_| LcsError::NoMemory)?;
        let length = sweep(a, b, |row| {
            let mut left = stride;
            for word in row {
                let bytes = word.to_le_bytes();
                rows.extend_from_slice(&bytes[..left.min(8)]);
                left = left.saturating_sub(8);
            }
        })?;
        Ok(Lcs { a, b, length, rows, stride })
    }

    /// Length of the longest common subsequence.
    pub fn length(&self) -> u32 {
        self.length
    }

    /// The subsequence itself.
    pub fn subsequence(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.length as usize);
        self.walk(|i, _| out.push(self.a[i]));
        out.reverse();
        out
    }

    /// The runs that make it up, last one first (Redis's order), those of at least `min_length` bytes.
    pub fn matches(&self, min_length: u64) -> Vec<Match> {
        let mut out = Vec::new();
        let mut run: Option<Match> = None;
        let mut emit = |run: Option<Match>| out.extend(run.filter(|m| u64::from(m.len()) >= min_length));
        self.walk(|i, j| {
            // Both are below 2^32, see check_size.
            let (i, j) = (i as u32, j as u32);
            match &mut run {
                Some(m) if m.a.0 == i + 1 && m.b.0 == j + 1 => (m.a.0, m.b.0) = (i, j),
                _ => emit(run.replace(Match { a: (i, i), b: (j, j) })),
            }
        });
        emit(run);
        out
    }

    /// Calls `pair` with the positions of every byte of the subsequence, from the last to the first.
    fn walk(&self, mut pair: impl FnMut(usize, usize)) {
        let (mut i, mut j) = (self.a.len(), self.b.len());
        while i > 0 && j > 0 {
            if self.a[i - 1] == self.b[j - 1] {
                (i, j) = (i - 1, j - 1);
                pair(i, j);
            } else if self.rows[(i - 1) * self.stride + (j - 1) / 8] >> ((j - 1) % 8) & 1 == 0 {
                i -= 1;
            } else {
                j -= 1;
            }
        }
    }
}

fn check_size(a: &[u8], b: &[u8], limit: u64) -> Result<(), LcsError> {
    const TOO_LONG: u64 = u32::MAX as u64 - 1;
    let (a, b) = (a.len() as u64, b.len() as u64);
    if a >= TOO_LONG || b >= TOO_LONG {
        return Err(LcsError::TooLong);
    }
    let table = (u128::from(a) + 1) * (u128::from(b) + 1) * 4;
    if table > u128::from(limit) { Err(LcsError::ExceedsLimit) } else { Ok(()) }
}

/// Computes all rows in turn and shows each to `see`; gives the length of the subsequence.
fn sweep(a: &[u8], b: &[u8], mut see: impl FnMut(&[u64])) -> Result<u32, LcsError> {
    let words = b.len().div_ceil(64);
    let masks = Masks::new(a, b, words)?;
    let mut row = Vec::new();
    row.try_reserve_exact(words).map_err(|_| LcsError::NoMemory)?;
    row.resize(words, u64::MAX);
    for &byte in a {
        let mut carry = false;
        for (word, mask) in row.iter_mut().zip(masks.of(byte)) {
            let hits = *word & mask;
            let (sum, first) = word.overflowing_add(hits);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            carry = first || second;
            *word = sum | (*word & !mask);
        }
        see(&row);
    }
    let clear: u64 = row.iter().map(|word| u64::from(word.count_zeros())).sum();
    // Bits past the end of b are never in a mask, but a carry may clear them.
    let past = (words * 64 - b.len()) as u32;
    let beyond = match row.last() {
        Some(last) if past > 0 => u64::from((last >> (64 - past) | !(u64::MAX >> (64 - past))).count_zeros()),
        _ => 0,
    };
    Ok((clear - beyond) as u32)
}

/// Where each byte value of `a` occurs in `b`, as bit vectors.
struct Masks {
    /// Which vector belongs to a byte value.
    index: [usize; 256],
    vectors: Vec<u64>,
    words: usize,
}

impl Masks {
    fn new(a: &[u8], b: &[u8], words: usize) -> Result<Self, LcsError> {
        const ABSENT: usize = usize::MAX;
        let (mut index, mut distinct) = ([ABSENT; 256], 0);
        for &byte in a {
            if index[usize::from(byte)] == ABSENT {
                index[usize::from(byte)] = distinct;
                distinct += 1;
            }
        }
        let mut vectors = Vec::new();
        // At most |a| vectors of |b| bits: no more than the rows take.
        vectors.try_reserve_exact(distinct * words).map_err(|_| LcsError::NoMemory)?;
        vectors.resize(distinct * words, 0u64);
        for (at, &byte) in b.iter().enumerate() {
            let vector = index[usize::from(byte)];
            if vector != ABSENT {
                vectors[vector * words + at / 64] |= 1 << (at % 64);
            }
        }
        Ok(Masks { index, vectors, words })
    }

    /// The vector of a byte of `a`.
    fn of(&self, byte: u8) -> &[u64] {
        let start = self.index[usize::from(byte)] * self.words;
        &self.vectors[start..start + self.words]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: u64 = 512 << 20;

    /// The textbook table and walk, ties broken as Redis breaks them.
    fn naive(a: &[u8], b: &[u8]) -> (u32, Vec<(usize, usize)>) {
        let mut table = vec![vec![0u32; b.len() + 1]; a.len() + 1];
        for i in 1..=a.len() {
            for j in 1..=b.len() {
                table[i][j] = if a[i - 1] == b[j - 1] {
                    table[i - 1][j - 1] + 1
                } else {
                    table[i - 1][j].max(table[i][j - 1])
                };
            }
        }
        let (mut i, mut j, mut pairs) = (a.len(), b.len(), Vec::new());
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                (i, j) = (i - 1, j - 1);
                pairs.push((i, j));
            } else if table[i - 1][j] > table[i][j - 1] {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        (table[a.len()][b.len()], pairs)
    }

    #[test]
    fn the_documented_example() {
        let lcs = Lcs::new(b"ohmytext", b"mynewtext", LIMIT).unwrap();
        assert_eq!((lcs.length(), lcs.subsequence()), (6, b"mytext".to_vec()));
        let (tail, head) = (Match { a: (4, 7), b: (5, 8) }, Match { a: (2, 3), b: (0, 1) });
        assert_eq!(lcs.matches(0), [tail, head]);
        assert_eq!(lcs.matches(4), [tail]);
        assert_eq!(tail.len(), 4);
    }

    #[test]
    fn refusals() {
        assert_eq!(length(b"aaa", b"bbb", 63), Err(LcsError::ExceedsLimit));
        assert_eq!(length(b"aaa", b"bbb", 64), Ok(0));
        assert_eq!(length(b"", b"", 4), Ok(0));
        let long = vec![0; 1 << 20];
        assert_eq!(Lcs::new(&long, &long, LIMIT).err(), Some(LcsError::ExceedsLimit));
    }

    #[test]
    fn narrow_tables_stay_small() {
        let long = vec![b'x'; 1 << 20];
        let lcs = Lcs::new(&long, b"x", LIMIT).unwrap();
        assert_eq!((lcs.length(), lcs.rows.len()), (1, 1 << 20));
        assert_eq!(Lcs::new(b"x", &long, LIMIT).unwrap().matches(0)[0].b, ((1 << 20) - 1, (1 << 20) - 1));
    }

    proptest! {
        #[test]
        fn agrees_with_the_textbook(a in "[abc]{0,90}", b in "[abcd]{0,140}") {
            let (a, b) = (a.as_bytes(), b.as_bytes());
            let (expect, pairs) = naive(a, b);
            let lcs = Lcs::new(a, b, LIMIT).unwrap();
            prop_assert_eq!((lcs.length(), length(a, b, LIMIT)), (expect, Ok(expect)));
            let mut walked = Vec::new();
            lcs.walk(|i, j| walked.push((i, j)));
            prop_assert_eq!(&walked, &pairs);
            let matches = lcs.matches(0);
            prop_assert_eq!(matches.iter().map(Match::len).sum::<u32>(), expect);
            for m in &matches {
                prop_assert_eq!(&a[m.a.0 as usize..=m.a.1 as usize], &b[m.b.0 as usize..=m.b.1 as usize]);
            }
            prop_assert!(matches.windows(2).all(|w| w[1].a.1 + 1 < w[0].a.0 || w[1].b.1 + 1 < w[0].b.0));
        }
    }
}
