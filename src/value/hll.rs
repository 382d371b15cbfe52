//! How many distinct elements were added, roughly? HyperLogLog, in Redis's very bytes, inside a string.
//!
//! ```text
//! 0     "HYLL"
//! 4     encoding: 0 dense, 1 sparse
//! 5     3 unused bytes
//! 8     cached cardinality, u64 little-endian; its top bit set means "stale"
//! 16    registers
//!
//! dense   16384 registers of 6 bits, from the least significant bit of each byte on (12288 bytes)
//! sparse  runs:  00xxxxxx           x+1 registers of value 0            (ZERO)
//!                01xxxxxx yyyyyyyy  xy+1 registers of value 0           (XZERO)
//!                1vvvvvxx           x+1 registers of value v+1          (VAL)
//! ```
//!
//! Invariants: a value comes from a client's SET as easily as from PFADD, so nothing in it is believed:
//! no run is followed past its end or past register 16384. The estimate is that of Otmar Ertl, "New
//! cardinality estimation algorithms for HyperLogLog sketches" (2017), formula for formula as in Redis.

use crate::util::rng::Rng;

/// Registers of every HyperLogLog.
pub const REGISTERS: usize = 1 << INDEX_BITS;

const INDEX_BITS: u32 = 14;
/// Bits of the hash that are not the index; a register holds at most one more.
const RUN_BITS: usize = 64 - INDEX_BITS as usize;
const HEADER: usize = 16;
const DENSE_SIZE: usize = HEADER + REGISTERS * 6 / 8;
const MAGIC: &[u8; 4] = b"HYLL";
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
const STALE: u8 = 0x80;
/// The largest value and the longest runs that the sparse encoding can say.
const MAX_SPARSE_VALUE: u8 = 32;
const MAX_VAL_RUN: usize = 4;
const MAX_ZERO_RUN: usize = 64;

/// What is wrong with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HllError {
    /// "WRONGTYPE Key is not a valid HyperLogLog string value."
    NotHll,
    /// "INVALIDOBJ Corrupted HLL object detected"
    Corrupted,
}

/// The two encodings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Six bits per register.
    Dense,
    /// Runs of equal registers.
    Sparse,
}

impl Encoding {
    /// The name PFDEBUG ENCODING replies.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Dense => "dense",
            Encoding::Sparse => "sparse",
        }
    }
}

/// The value of a new key: sparse, all registers zero, cardinality 0 cached.
pub fn empty() -> Vec<u8> {
    let mut hll = vec![0; HEADER];
    hll[..4].copy_from_slice(MAGIC);
    hll[4] = SPARSE;
    push_zeros(&mut hll, REGISTERS);
    hll
}

/// Looks at the header only, which is what makes a string acceptable to the PF commands.
///
/// # Errors
/// [`HllError::NotHll`].
pub fn encoding(hll: &[u8]) -> Result<Encoding, HllError> {
    if hll.len() < HEADER || &hll[..4] != MAGIC {
        return Err(HllError::NotHll);
    }
    match hll[4] {
        DENSE if hll.len() == DENSE_SIZE => Ok(Encoding::Dense),
        SPARSE => Ok(Encoding::Sparse),
        _ => Err(HllError::NotHll),
    }
}

/// Adds an element and tells whether a register changed, in which case the cached cardinality is stale.
/// A sparse value becomes dense when it would exceed `sparse_max` bytes (header included).
///
/// # Errors
/// See [`HllError`]; the value is unchanged then.
pub fn add(hll: &mut Vec<u8>, element: &[u8], sparse_max: usize) -> Result<bool, HllError> {
    let (index, value) = index_and_value(element);
    let changed = set(hll, index, value, sparse_max)?;
    if changed {
        invalidate(hll);
    }
    Ok(changed)
}

/// The cached cardinality, unless it is stale.
pub fn cached(hll: &[u8]) -> Option<u64> {
    let bytes: [u8; 8] = hll.get(8..HEADER)?.try_into().ok()?;
    (bytes[7] & STALE == 0).then_some(u64::from_le_bytes(bytes))
}

/// Caches a cardinality in the header.
pub fn store_cached(hll: &mut [u8], cardinality: u64) {
    if let Some(cache) = hll.get_mut(8..HEADER) {
        cache.copy_from_slice(&cardinality.to_le_bytes());
    }
}

/// Marks the cached cardinality as stale.
pub fn invalidate(hll: &mut [u8]) {
    if let Some(top) = hll.get_mut(HEADER - 1) {
        *top |= STALE;
    }
}

/// Estimates the cardinality from the registers, regardless of the cache.
///
/// # Errors
/// See [`HllError`].
pub fn count(hll: &[u8]) -> Result<u64, HllError> {
    let mut histogram = [0u32; 64];
    match encoding(hll)? {
        Encoding::Dense => dense_histogram(&hll[HEADER..], &mut histogram),
        Encoding::Sparse => {
            for run in runs(&hll[HEADER..]) {
                let run = run?;
                histogram[usize::from(run.value)] += run.len as u32;
            }
        }
    }
    Ok(estimate(&histogram))
}

/// Converts to the dense encoding; the cached cardinality stays. Tells whether there was anything to do.
///
/// # Errors
/// See [`HllError`]; the value is unchanged then.
pub fn to_dense(hll: &mut Vec<u8>) -> Result<bool, HllError> {
    if encoding(hll)? == Encoding::Dense {
        return Ok(false);
    }
    let mut dense = vec![0; DENSE_SIZE];
    dense[..HEADER].copy_from_slice(&hll[..HEADER]);
    dense[4] = DENSE;
    let mut index = 0;
    for run in runs(&hll[HEADER..]) {
        let run = run?;
        if run.value > 0 {
            (index..index + run.len).for_each(|at| dense_set(&mut dense[HEADER..], at, run.value));
        }
        index += run.len;
    }
    *hll = dense;
    Ok(true)
}

/// The runs of a sparse value as PFDEBUG DECODE shows them, or `None` for a dense one.
///
/// # Errors
/// See [`HllError`].
pub fn decode(hll: &[u8]) -> Result<Option<String>, HllError> {
    if encoding(hll)? == Encoding::Dense {
        return Ok(None);
    }
    let mut shown = Vec::new();
    for run in runs(&hll[HEADER..]) {
        let run = run?;
        shown.push(match (run.value, run.bytes) {
            (0, 1) => format!("z:{}", run.len),
            (0, _) => format!("Z:{}", run.len),
            (value, _) => format!("v:{value},{}", run.len),
        });
    }
    Ok(Some(shown.join(" ")))
}

/// All registers, one byte each: the union of any number of values.
pub struct Union {
    registers: Box<[u8; REGISTERS]>,
    dense: bool,
}

impl Default for Union {
    fn default() -> Self {
        Self::new()
    }
}

impl Union {
    /// The union of nothing.
    pub fn new() -> Self {
        Union { registers: Box::new([0; REGISTERS]), dense: false }
    }

    /// Adds a value to the union.
    ///
    /// # Errors
    /// See [`HllError`]; the union is of no use then.
    pub fn merge(&mut self, hll: &[u8]) -> Result<(), HllError> {
        match encoding(hll)? {
            Encoding::Dense => {
                self.dense = true;
                let (groups, _) = hll[HEADER..].as_chunks::<3>();
                for (four, group) in self.registers.chunks_exact_mut(4).zip(groups) {
                    for (own, other) in four.iter_mut().zip(unpack(group)) {
                        *own = (*own).max(other);
                    }
                }
            }
            Encoding::Sparse => {
                let mut index = 0;
                for run in runs(&hll[HEADER..]) {
                    let run = run?;
                    if run.value > 0 {
                        let own = &mut self.registers[index..index + run.len];
                        own.iter_mut().for_each(|register| *register = (*register).max(run.value));
                    }
                    index += run.len;
                }
            }
        }
        Ok(())
    }

    /// Estimates the cardinality of the union.
    pub fn count(&self) -> u64 {
        let mut histogram = [0u32; 64];
        self.registers.iter().for_each(|&register| histogram[usize::from(register & 63)] += 1);
        estimate(&histogram)
    }

    /// Writes the union into PFMERGE's destination (a valid value, see [`empty`], that is part of the
    /// union) and marks its cache as stale. Dense when any part was, or when sparse gets too long.
    ///
    /// # Errors
    /// See [`HllError`].
    pub fn write_to(&self, hll: &mut Vec<u8>, sparse_max: usize) -> Result<(), HllError> {
        if self.dense {
            to_dense(hll)?;
        }
        for (index, &value) in self.registers.iter().enumerate().filter(|(_, value)| **value > 0) {
            set(hll, index, value, sparse_max)?;
        }
        invalidate(hll);
        Ok(())
    }

    /// The registers, for PFDEBUG GETREG.
    pub fn registers(&self) -> &[u8; REGISTERS] {
        &self.registers
    }
}

/// One run of a sparse value.
#[derive(Clone, Copy)]
struct Run {
    value: u8,
    len: usize,
    /// Bytes of its opcode.
    bytes: usize,
}

impl Run {
    /// The first run of these opcodes, or `None` when they are cut off.
    fn first_of(opcodes: &[u8]) -> Option<Run> {
        match *opcodes {
            [op, ..] if op & 0x80 != 0 => {
                Some(Run { value: (op >> 2 & 31) + 1, len: usize::from(op & 3) + 1, bytes: 1 })
            }
            [op, ..] if op & 0x40 == 0 => Some(Run { value: 0, len: usize::from(op) + 1, bytes: 1 }),
            [op, low, ..] => {
                Some(Run { value: 0, len: (usize::from(op & 63) << 8 | usize::from(low)) + 1, bytes: 2 })
            }
            _ => None,
        }
    }
}

/// Walks all runs; fails where they are cut off, pass the last register or end before it.
fn runs(opcodes: &[u8]) -> impl Iterator<Item = Result<Run, HllError>> {
    let (mut rest, mut covered, mut done) = (opcodes, 0, false);
    std::iter::from_fn(move || {
        if done {
            return None;
        }
        if rest.is_empty() {
            done = true;
            return (covered != REGISTERS).then_some(Err(HllError::Corrupted));
        }
        match Run::first_of(rest) {
            Some(run) if covered + run.len <= REGISTERS => {
                covered += run.len;
                rest = &rest[run.bytes..];
                Some(Ok(run))
            }
            _ => {
                done = true;
                Some(Err(HllError::Corrupted))
            }
        }
    })
}

/// Raises a register to a value and tells whether that changed it.
fn set(hll: &mut Vec<u8>, index: usize, value: u8, sparse_max: usize) -> Result<bool, HllError> {
    if encoding(hll)? == Encoding::Sparse {
        if value <= MAX_SPARSE_VALUE
            && let Some(changed) = sparse_set(hll, index, value, sparse_max)?
        {
            return Ok(changed);
        }
        to_dense(hll)?;
    }
    let registers = &mut hll[HEADER..];
    let higher = value > dense_get(registers, index);
    if higher {
        dense_set(registers, index, value);
    }
    Ok(higher)
}

/// [`set`] in the sparse encoding; `None` when the result would be too long.
fn sparse_set(
    hll: &mut Vec<u8>,
    index: usize,
    value: u8,
    sparse_max: usize,
) -> Result<Option<bool>, HllError> {
    // Find the run that covers the register, and the one before it.
    let (mut at, mut before, mut first) = (HEADER, HEADER, 0);
    let run = loop {
        let run = Run::first_of(&hll[at..]).ok_or(HllError::Corrupted)?;
        if index < first + run.len {
            break run;
        }
        before = at;
        at += run.bytes;
        first += run.len;
    };
    if run.value >= value {
        return Ok(Some(false));
    }
    // Split it in three: what precedes the register, the register, what follows it.
    let mut split = Vec::with_capacity(5);
    for (len, value) in [(index - first, run.value), (1, value), (first + run.len - index - 1, run.value)] {
        match (len, value) {
            (0, _) => {}
            (len, 0) => push_zeros(&mut split, len),
            (len, value) => split.push(val(value, len)),
        }
    }
    if split.len() > run.bytes && hll.len() + split.len() - run.bytes > sparse_max {
        return Ok(None);
    }
    hll.splice(at..at + run.bytes, split);
    join(hll, before);
    Ok(Some(true))
}

/// Joins neighbouring VAL runs of one value near a change: looks at five runs, as Redis does.
fn join(hll: &mut Vec<u8>, mut at: usize) {
    for _ in 0..5 {
        let Some(run) = Run::first_of(&hll[at.min(hll.len())..]) else { return };
        if run.value > 0
            && let Some(next) = Run::first_of(&hll[at + 1..])
            && next.value == run.value
            && run.len + next.len <= MAX_VAL_RUN
        {
            hll[at] = val(run.value, run.len + next.len);
            hll.remove(at + 1);
        } else {
            at += run.bytes;
        }
    }
}

fn val(value: u8, len: usize) -> u8 {
    0x80 | (value - 1) << 2 | (len - 1) as u8
}

/// Appends a run of zeros, `1..=16384` long, in the shortest form.
fn push_zeros(out: &mut Vec<u8>, len: usize) {
    let stored = len - 1;
    if len > MAX_ZERO_RUN {
        out.push(0x40 | (stored >> 8) as u8);
    }
    out.push(stored as u8);
}

/// The four registers in three bytes.
fn unpack(group: &[u8; 3]) -> [u8; 4] {
    let [a, b, c] = *group;
    [a & 63, (a >> 6 | b << 2) & 63, (b >> 4 | c << 4) & 63, c >> 2]
}

fn dense_get(registers: &[u8], index: usize) -> u8 {
    let (groups, _) = registers.as_chunks::<3>();
    unpack(&groups[index / 4])[index % 4]
}

fn dense_set(registers: &mut [u8], index: usize, value: u8) {
    let (groups, _) = registers.as_chunks_mut::<3>();
    let group = &mut groups[index / 4];
    let mut four = unpack(group);
    four[index % 4] = value;
    let [a, b, c, d] = four;
    *group = [a | b << 6, b >> 2 | c << 4, c >> 4 | d << 2];
}

fn dense_histogram(registers: &[u8], histogram: &mut [u32; 64]) {
    // Equal neighbours are common; separate counters keep them from waiting for one another.
    let mut counters = [[0u32; 64]; 4];
    let (groups, _) = registers.as_chunks::<3>();
    for group in groups {
        for (counter, register) in counters.iter_mut().zip(unpack(group)) {
            counter[usize::from(register)] += 1;
        }
    }
    for counter in counters {
        histogram.iter_mut().zip(counter).for_each(|(sum, count)| *sum += count);
    }
}

/// The register an element belongs to, and the position of the first set bit in the rest of its hash.
fn index_and_value(element: &[u8]) -> (usize, u8) {
    let hash = murmur64a(element, 0xadc8_3b19);
    let index = hash as usize & (REGISTERS - 1);
    let rest = hash >> INDEX_BITS | 1 << RUN_BITS;
    (index, rest.trailing_zeros() as u8 + 1)
}

/// MurmurHash64A of Austin Appleby, reading little-endian everywhere.
fn murmur64a(bytes: &[u8], seed: u64) -> u64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    let mut hash = seed ^ (bytes.len() as u64).wrapping_mul(M);
    let (words, tail) = bytes.as_chunks::<8>();
    for word in words {
        let mut k = u64::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 47;
        hash = (hash ^ k.wrapping_mul(M)).wrapping_mul(M);
    }
    if !tail.is_empty() {
        let mut word = [0; 8];
        word[..tail.len()].copy_from_slice(tail);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(M);
    }
    hash = (hash ^ hash >> 47).wrapping_mul(M);
    hash ^ hash >> 47
}

/// The cardinality that a histogram of register values suggests.
fn estimate(histogram: &[u32; 64]) -> u64 {
    const ALPHA_INFINITY: f64 = 0.721_347_520_444_481_7; // 1 / (2 ln 2)
    const M: f64 = REGISTERS as f64;
    let mut z = M * tau((M - f64::from(histogram[RUN_BITS + 1])) / M);
    for &count in histogram[1..=RUN_BITS].iter().rev() {
        z = (z + f64::from(count)) * 0.5;
    }
    z += M * sigma(f64::from(histogram[0]) / M);
    let estimate = (ALPHA_INFINITY * M * M / z).round();
    // Made-up registers can give infinity, which x86-64 converts to the least 64-bit integer.
    if estimate < (1u64 << 63) as f64 { estimate as u64 } else { 1 << 63 }
}

/// Ertl's sigma: the correction for registers that are still zero.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if before == z {
            return z;
        }
    }
}

/// Ertl's tau: the correction for registers at their maximum.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if before == z {
            return z / 3.0;
        }
    }
}

/// PFSELFTEST: registers keep their values apart, both encodings agree, and the error is within six
/// standard deviations at every power of ten up to a million.
///
/// # Errors
/// What failed, as the client is told.
pub fn self_test(rng: &mut Rng, sparse_max: usize) -> Result<(), String> {
    let mut dense = empty();
    to_dense(&mut dense).map_err(|_| "TESTFAILED conversion to dense")?;
    let values: Vec<u8> = (0..REGISTERS).map(|_| rng.below(64) as u8).collect();
    values.iter().enumerate().for_each(|(index, &value)| dense_set(&mut dense[HEADER..], index, value));
    for (index, &value) in values.iter().enumerate() {
        let found = dense_get(&dense[HEADER..], index);
        if found != value {
            return Err(format!("TESTFAILED Register {index} should be {value} but is {found}"));
        }
    }
    dense[HEADER..].fill(0);
    let (mut either, seed, mut checkpoint) = (empty(), rng.next_u64(), 1u64);
    let corrupted = |_| "TESTFAILED corrupted";
    for n in 1..=1_000_000u64 {
        let element = (n ^ seed).to_le_bytes();
        add(&mut dense, &element, sparse_max).map_err(corrupted)?;
        add(&mut either, &element, sparse_max).map_err(corrupted)?;
        if n != checkpoint {
            continue;
        }
        if n < sparse_max as u64 / 2 && encoding(&either) != Ok(Encoding::Sparse) {
            return Err("TESTFAILED sparse encoding not used".into());
        }
        let counted = count(&dense).map_err(corrupted)?;
        if Ok(counted) != count(&either) {
            return Err("TESTFAILED dense/sparse disagree".into());
        }
        let standard_error = 1.04 / (REGISTERS as f64).sqrt();
        let tolerated = if n == 10 { 1 } else { (standard_error * 6.0 * n as f64).ceil() as u64 };
        let error = counted.abs_diff(n);
        if error > tolerated {
            return Err(format!("TESTFAILED Too big error. card:{n} abserr:{error}"));
        }
        checkpoint *= 10;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::rng::Rng;
    use proptest::prelude::*;

    const MAX: usize = 3000;

    fn filled(count: u64) -> Vec<u8> {
        let mut hll = empty();
        for n in 0..count {
            add(&mut hll, n.to_string().as_bytes(), MAX).unwrap();
        }
        hll
    }

    fn sparse(opcodes: &[u8]) -> Vec<u8> {
        let mut hll = empty();
        hll.truncate(HEADER);
        hll.extend_from_slice(opcodes);
        hll
    }

    #[test]
    fn the_bytes_are_those_of_redis() {
        // The runs are what a Redis 8.2.3 shows after the same commands.
        let mut hll = empty();
        assert_eq!(hll, [b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\0".as_slice(), &[0x7f, 0xff]].concat());
        for element in [b"a", b"b", b"c"] {
            assert_eq!(add(&mut hll, element, MAX), Ok(true));
            assert_eq!(add(&mut hll, element, MAX), Ok(false));
        }
        assert_eq!(cached(&hll), None);
        assert_eq!(count(&hll), Ok(3));
        assert_eq!(decode(&hll).unwrap().unwrap(), "Z:8436 v:1,1 Z:4274 v:2,1 Z:3068 v:1,1 Z:603");
        store_cached(&mut hll, 3);
        assert_eq!(cached(&hll), Some(3));
    }

    #[test]
    fn grows_dense_and_stays_near() {
        assert_eq!(encoding(&filled(500)), Ok(Encoding::Sparse));
        let big = filled(20_000);
        assert_eq!((encoding(&big), big.len()), (Ok(Encoding::Dense), DENSE_SIZE));
        assert!(count(&big).unwrap().abs_diff(20_000) < 600);
        assert_eq!(decode(&big), Ok(None));
        assert_eq!(self_test(&mut Rng::new(3), MAX), Ok(()));
    }

    #[test]
    fn foreign_strings_are_not_hlls() {
        let mut dense = filled(1);
        to_dense(&mut dense).unwrap();
        let shorter = &dense[..DENSE_SIZE - 1];
        let mut unknown = empty();
        unknown[4] = 2;
        for bytes in [b"".as_slice(), b"HYLL", b"hello, world, and more", shorter, &unknown] {
            assert_eq!(encoding(bytes), Err(HllError::NotHll));
            assert_eq!(count(bytes), Err(HllError::NotHll));
        }
    }

    #[test]
    fn overrunning_runs_are_corrupted() {
        let over: [&[u8]; 7] = [
            &[0x7f, 0xff, 0x7f, 0xff], // twice all registers
            &[0x7f],                   // cut off
            &[0x7f, 0xfe],             // one register short
            &[0x7f, 0xff, 0x80],       // a value past the end
            &[0x7f, 0xfe, 0x83],       // a value across the end
            &[],
            &[0x3f; 255],
        ];
        for opcodes in over {
            let hll = sparse(opcodes);
            assert_eq!(count(&hll), Err(HllError::Corrupted), "{opcodes:?}");
            assert_eq!(Union::new().merge(&hll), Err(HllError::Corrupted));
            assert_eq!(decode(&hll), Err(HllError::Corrupted));
            assert_eq!(to_dense(&mut hll.clone()), Err(HllError::Corrupted));
        }
    }

    #[test]
    fn made_up_registers_do_not_break_the_estimate() {
        let mut hll = empty();
        to_dense(&mut hll).unwrap();
        hll[HEADER..].fill(0xff);
        assert_eq!(count(&hll), Ok(1 << 63));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn sparse_and_dense_agree(writes in prop::collection::vec((0usize..300, 1u8..=33), 1..200), max in 16usize..400) {
            let (mut a, mut b) = (empty(), empty());
            to_dense(&mut b).unwrap();
            let mut model = [0u8; REGISTERS];
            for (index, value) in writes {
                let changed = value > model[index];
                model[index] = model[index].max(value);
                prop_assert_eq!(set(&mut a, index, value, max), Ok(changed));
                prop_assert_eq!(set(&mut b, index, value, max), Ok(changed));
            }
            prop_assert_eq!(count(&a), count(&b));
            let mut union = Union::new();
            union.merge(&a).unwrap();
            prop_assert_eq!(union.registers().as_slice(), model.as_slice());
            let mut merged = empty();
            union.write_to(&mut merged, MAX).unwrap();
            prop_assert_eq!(count(&merged), Ok(union.count()));
            to_dense(&mut a).unwrap();
            prop_assert_eq!(&a[HEADER..], &b[HEADER..]);
        }

        #[test]
        fn hostile_bytes_do_no_harm(opcodes in prop::collection::vec(any::<u8>(), 0..60), element: u64, encoded in 0u8..3) {
            let mut hll = sparse(&opcodes);
            hll[4] = encoded;
            let _ = (count(&hll), decode(&hll), Union::new().merge(&hll));
            let before = hll.clone();
            if add(&mut hll, &element.to_le_bytes(), MAX).is_err() {
                prop_assert_eq!(&hll, &before);
            }
            let _ = to_dense(&mut hll);
        }
    }
}
