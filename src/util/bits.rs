//! How is a string read and written as bits? SETBIT, BITCOUNT, BITPOS, BITFIELD and BITOP.
//!
//! ```text
//! byte      0               1
//! bit   0 1 2 3 4 5 6 7 | 8 9 ...      bit 0 is the most significant bit of byte 0
//! ```
//!
//! Invariants: a string is zero beyond its end, so reads past it give zeros; writes never grow it,
//! the caller does that after checking the size against the limit.

/// What the indexes of BITCOUNT and BITPOS count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Whole bytes, the default.
    Byte,
    /// Bits.
    Bit,
}

/// The bit at `offset`; false beyond the end.
pub fn get_bit(bytes: &[u8], offset: u64) -> bool {
    usize::try_from(offset / 8).ok().and_then(|at| bytes.get(at)).is_some_and(|byte| byte & mask(offset) != 0)
}

/// Sets the bit at `offset` and gives what it was. Beyond the end nothing changes.
pub fn set_bit(bytes: &mut [u8], offset: u64, on: bool) -> bool {
    let Some(byte) = usize::try_from(offset / 8).ok().and_then(|at| bytes.get_mut(at)) else { return false };
    let was = *byte & mask(offset) != 0;
    *byte = if on { *byte | mask(offset) } else { *byte & !mask(offset) };
    was
}

fn mask(offset: u64) -> u8 {
    0x80 >> (offset & 7)
}

/// How many bits are set.
pub fn popcount(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    // Sums of 32-bit lanes vectorise; 2^20 words of 64 bits stay far below 2^32.
    let whole: u64 = words
        .chunks(1 << 20)
        .map(|block| u64::from(block.iter().map(|w| u64::from_ne_bytes(*w).count_ones()).sum::<u32>()))
        .sum();
    whole + rest.iter().map(|b| u64::from(b.count_ones())).sum::<u64>()
}

/// BITCOUNT with a range: indexes as the client gave them, negative ones from the end, both inclusive.
pub fn count_range(bytes: &[u8], start: i64, end: i64, unit: Unit) -> u64 {
    if start < 0 && end < 0 && start > end {
        return 0;
    }
    let Some((first, last)) = resolve(bytes.len(), start, end, unit) else { return 0 };
    let (from, to) = ((first / 8) as usize, (last / 8) as usize);
    let before = (bytes[from] & !(0xff >> (first & 7))).count_ones();
    let after = (bytes[to] & !(0xff << (7 - (last & 7)))).count_ones();
    popcount(&bytes[from..=to]) - u64::from(before) - u64::from(after)
}

/// BITPOS on an existing string: the first bit equal to `bit` in the range, or `None` (replied as -1).
/// With no `end` the string counts as followed by zeros, so looking for a clear bit always succeeds,
/// unless the range is empty.
pub fn position(bytes: &[u8], bit: bool, start: i64, end: Option<i64>, unit: Unit) -> Option<u64> {
    let (first, last) = resolve(bytes.len(), start, end.unwrap_or(i64::MAX), unit)?;
    let (from, to) = ((first / 8) as usize, (last / 8) as usize);
    let skip = if bit { 0x00 } else { 0xff };
    // The byte, with the bits outside of the range made uninteresting.
    let clipped = |at: usize| {
        let mut keep = 0xffu8;
        keep &= if at == from { 0xff >> (first & 7) } else { 0xff };
        keep &= if at == to { 0xff << (7 - (last & 7)) } else { 0xff };
        (bytes[at] & keep) | (skip & !keep)
    };
    let found = if clipped(from) != skip {
        Some(from)
    } else if from == to {
        None
    } else {
        let middle = &bytes[from + 1..to];
        let (words, _) = middle.as_chunks::<8>();
        let skipped = words.iter().take_while(|word| **word == [skip; 8]).count() * 8;
        let at = middle[skipped..].iter().position(|&byte| byte != skip);
        at.map(|at| from + 1 + skipped + at).or_else(|| (clipped(to) != skip).then_some(to))
    };
    match found {
        Some(at) => {
            let byte = if bit { clipped(at) } else { !clipped(at) };
            Some(at as u64 * 8 + u64::from(byte.leading_zeros()))
        }
        None if !bit && end.is_none() => Some(bytes.len() as u64 * 8),
        None => None,
    }
}

/// The first and last bit of a range of a string, or `None` when it is empty.
fn resolve(len: usize, start: i64, end: i64, unit: Unit) -> Option<(u64, u64)> {
    // A string's length fits 60 bits by far, so its bits fit an i64.
    let len = len as i64 * if unit == Unit::Bit { 8 } else { 1 };
    let start = if start < 0 { (start + len).max(0) } else { start };
    let end = if end < 0 { (end + len).max(0) } else { end }.min(len - 1);
    if start > end {
        return None;
    }
    let (start, end) = (start as u64, end as u64);
    Some(if unit == Unit::Bit { (start, end) } else { (start * 8, end * 8 + 7) })
}

/// An integer type of BITFIELD: `i1` to `i64`, `u1` to `u63`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    signed: bool,
    bits: u8,
}

/// What BITFIELD does with a value that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// Keep the low bits.
    Wrap,
    /// Stop at the limit.
    Saturate,
    /// Do nothing and reply null.
    Fail,
}

impl Field {
    /// Reads `i8`, `u63` and the like.
    pub fn parse(text: &[u8]) -> Option<Field> {
        let (signed, digits) = match text {
            [b'i', digits @ ..] => (true, digits),
            [b'u', digits @ ..] => (false, digits),
            _ => return None,
        };
        let bits = u8::try_from(super::number::parse_i64(digits)?).ok()?;
        (1..=if signed { 64 } else { 63 }).contains(&bits).then_some(Field { signed, bits })
    }

    /// Width in bits, 1 to 64.
    pub fn bits(self) -> u32 {
        u32::from(self.bits)
    }

    fn limits(self) -> (i128, i128) {
        let span = 1i128 << (self.bits - u8::from(self.signed));
        (if self.signed { -span } else { 0 }, span - 1)
    }

    /// The value at a bit offset; zeros beyond the end.
    pub fn get(self, bytes: &[u8], offset: u64) -> i64 {
        let window = window(bytes, offset);
        let raw = (window << (offset & 7)) >> (128 - self.bits());
        let unused = 64 - self.bits();
        if self.signed { ((raw as u64) << unused) as i64 >> unused } else { raw as i64 }
    }

    /// Stores the low bits of a value. What lies beyond the end is not written.
    pub fn set(self, bytes: &mut [u8], offset: u64, value: i64) {
        let shift = 128 - self.bits() - (offset & 7) as u32;
        let mask = (u128::from(u64::MAX >> (64 - self.bits()))) << shift;
        let window = window(bytes, offset) & !mask | (u128::from(value as u64) << shift) & mask;
        let Ok(at) = usize::try_from(offset / 8) else { return };
        // Only the bytes the field touches are written back.
        let touched = ((offset & 7) as usize + usize::from(self.bits)).div_ceil(8);
        for (to, from) in bytes.iter_mut().skip(at).zip(window.to_be_bytes()).take(touched) {
            *to = from;
        }
    }

    /// Redis's check of a signed field narrower than 64 bits computes `max - value` in 64 bits; for a SET
    /// far below the minimum that wraps, and the value saturates at the *upper* end.
    fn wraps_upwards(self, value: i128, max: i128) -> bool {
        self.signed && self.bits < 64 && max - value > i128::from(i64::MAX)
    }

    /// `value + increment` as this type, or `None` when it does not fit and must fail.
    ///
    /// For SET the increment is zero and `value` is the argument; an unsigned field takes its 64 bits
    /// as an unsigned number, so that a negative argument saturates upwards, as in Redis.
    pub fn add(self, value: i64, increment: i64, overflow: Overflow) -> Option<i64> {
        let (min, max) = self.limits();
        let value = if self.signed { i128::from(value) } else { i128::from(value as u64) };
        let sum = value + i128::from(increment);
        if (min..=max).contains(&value) && (min..=max).contains(&sum) {
            return Some(sum as i64);
        }
        match overflow {
            Overflow::Fail => None,
            Overflow::Saturate => {
                Some(if sum < min && !self.wraps_upwards(value, max) { min as i64 } else { max as i64 })
            }
            Overflow::Wrap => {
                let unused = 64 - self.bits();
                let low = (sum as u64) << unused;
                Some(if self.signed { low as i64 >> unused } else { (low >> unused) as i64 })
            }
        }
    }
}

/// Sixteen bytes from the byte of a bit offset on, zero padded, big-endian.
fn window(bytes: &[u8], offset: u64) -> u128 {
    let mut window = [0; 16];
    let rest = usize::try_from(offset / 8).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
    let len = rest.len().min(16);
    window[..len].copy_from_slice(&rest[..len]);
    u128::from_be_bytes(window)
}

/// An operation of BITOP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitOp {
    /// Set in all.
    And,
    /// Set in any.
    Or,
    /// Set in an odd number.
    Xor,
    /// Not set in the only one.
    Not,
    /// Set in the first and in none of the others.
    Diff,
    /// Set in any of the others and not in the first.
    Diff1,
    /// Set in the first and in any of the others.
    AndOr,
    /// Set in exactly one.
    One,
}

/// Working set of a block: small enough that all passes over it stay in the first-level cache.
const BLOCK: usize = 4096;

/// Combines strings bit by bit. The result is as long as the longest; shorter ones count as zero padded.
pub fn bitop(op: BitOp, inputs: &[&[u8]]) -> Vec<u8> {
    let len = inputs.iter().map(|input| input.len()).max().unwrap_or(0);
    let mut out = vec![0; len];
    for (index, block) in out.chunks_mut(BLOCK).enumerate() {
        let start = index * BLOCK;
        let part = |input: &&'_ [u8]| -> std::ops::Range<usize> {
            start.min(input.len())..(start + block.len()).min(input.len())
        };
        let parts =
            inputs.iter().map(|input| &input[part(input)]).collect::<smallvec::SmallVec<[&[u8]; 16]>>();
        combine(op, &parts, block);
    }
    out
}

/// Combines the parts of one block; `out` starts as zeros. The loops are over plain bytes so that the
/// compiler can make them as wide as the machine is.
fn combine(op: BitOp, parts: &[&[u8]], out: &mut [u8]) {
    let Some((first, others)) = parts.split_first() else { return };
    match op {
        BitOp::And => {
            copy(out, first);
            for other in others {
                apply(out, other, |a, b| a & b);
                out[other.len()..].fill(0);
            }
        }
        BitOp::Or => parts.iter().for_each(|part| apply(out, part, |a, b| a | b)),
        BitOp::Xor => parts.iter().for_each(|part| apply(out, part, |a, b| a ^ b)),
        BitOp::Not => {
            copy(out, first);
            out.iter_mut().for_each(|byte| *byte = !*byte);
        }
        BitOp::Diff => {
            copy(out, first);
            others.iter().for_each(|other| apply(out, other, |a, b| a & !b));
        }
        BitOp::Diff1 => {
            others.iter().for_each(|other| apply(out, other, |a, b| a | b));
            apply(out, first, |a, b| a & !b);
        }
        BitOp::AndOr => {
            others.iter().for_each(|other| apply(out, other, |a, b| a | b));
            apply(out, first, |a, b| a & b);
            out[first.len()..].fill(0);
        }
        BitOp::One => {
            let mut repeated = [0u8; BLOCK];
            for part in parts {
                for ((seen, again), byte) in out.iter_mut().zip(&mut repeated).zip(*part) {
                    *again |= *seen & byte;
                    *seen |= byte;
                }
            }
            apply(out, &repeated, |seen, again| seen & !again);
        }
    }
}

fn copy(out: &mut [u8], from: &[u8]) {
    out[..from.len()].copy_from_slice(from);
}

fn apply(out: &mut [u8], other: &[u8], f: impl Fn(u8, u8) -> u8) {
    out.iter_mut().zip(other).for_each(|(a, b)| *a = f(*a, *b));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn field(text: &str) -> Field {
        Field::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn field_types() {
        for bad in ["", "i", "u", "i0", "u0", "u64", "i65", "8", "x8", "i08", "u-1", "I8", "u8 "] {
            assert_eq!(Field::parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!((field("i64").bits(), field("u63").bits()), (64, 63));
    }

    #[test]
    fn overflow_rules() {
        use Overflow::*;
        // (type, value, increment, wrap, saturate)
        let cases = [
            ("u8", 255, 1, 0, 255),
            ("u8", 0, -1, 255, 0),
            ("u8", -1, 0, 255, 255),
            ("u63", i64::MAX, 1, 0, i64::MAX),
            ("i8", 127, 1, -128, 127),
            ("i8", -128, -1, 127, -128),
            ("i8", 200, 0, -56, 127),
            ("i8", -200, 0, 56, -128),
            ("i8", i64::MIN, 0, 0, 127), // sic
            ("i64", i64::MAX, 1, i64::MIN, i64::MAX),
            ("i64", i64::MIN, -1, i64::MAX, i64::MIN),
            ("u1", 1, i64::MAX, 0, 1),
        ];
        for (name, value, increment, wrapped, saturated) in cases {
            let field = field(name);
            assert_eq!(field.add(value, increment, Wrap), Some(wrapped), "{name} {value} {increment}");
            assert_eq!(field.add(value, increment, Saturate), Some(saturated), "{name} {value} {increment}");
            assert_eq!(field.add(value, increment, Fail), None, "{name} {value} {increment}");
        }
        assert_eq!(field("i8").add(100, 27, Fail), Some(127));
    }

    #[test]
    fn reads_beyond_the_end_are_zero_and_writes_do_nothing() {
        let mut bytes = vec![0xff; 2];
        assert_eq!(field("u16").get(&bytes, 8), 0xff00);
        assert_eq!(field("i64").get(&bytes, u64::MAX), 0);
        assert!(!get_bit(&bytes, u64::MAX));
        assert!(!set_bit(&mut bytes, 16, true));
        field("u16").set(&mut bytes, u64::MAX - 15, -1);
        field("u16").set(&mut bytes, 8, 0);
        assert_eq!(bytes, [0xff, 0]);
    }

    #[test]
    fn empty_strings_have_no_positions() {
        assert_eq!(position(b"", false, 0, None, Unit::Byte), None);
        assert_eq!(position(&[0xff; 3], false, 0, None, Unit::Byte), Some(24));
        assert_eq!(position(&[0xff; 3], false, 0, Some(-1), Unit::Byte), None);
        assert_eq!(position(&[0xff; 3], false, 3, None, Unit::Byte), None);
    }

    fn naive_range(len: usize, start: i64, end: i64) -> Vec<usize> {
        let len = len as i128;
        let at = |i: i64| if i < 0 { (i128::from(i) + len).max(0) } else { i128::from(i) };
        (at(start)..=at(end).min(len - 1)).map(|i| i as usize).collect()
    }

    fn indexes() -> impl Strategy<Value = i64> {
        prop_oneof![-30i64..30, Just(i64::MIN), Just(i64::MAX), -300i64..300]
    }

    fn holey() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop_oneof![3 => Just(0u8), 3 => Just(0xffu8), 1 => any::<u8>()], 0..40)
    }

    proptest! {
        #[test]
        fn counts_and_positions(bytes in holey(), start in indexes(), end in indexes(), bits: bool, bit: bool) {
            let unit = if bits { Unit::Bit } else { Unit::Byte };
            let units = if bits { bytes.len() * 8 } else { bytes.len() };
            let chosen: Vec<usize> = naive_range(units, start, end)
                .into_iter()
                .flat_map(|i| if bits { i..i + 1 } else { i * 8..i * 8 + 8 })
                .collect();
            let at = |i: &usize| get_bit(&bytes, *i as u64);
            let both_backwards = start < 0 && end < 0 && start > end;
            let count = if both_backwards { 0 } else { chosen.iter().filter(|i| at(i)).count() };
            prop_assert_eq!(count_range(&bytes, start, end, unit), count as u64);
            let first = chosen.iter().find(|i| at(i) == bit).map(|i| *i as u64);
            prop_assert_eq!(position(&bytes, bit, start, Some(end), unit), first);
        }

        #[test]
        fn fields_read_back(mut bytes: Vec<u8>, offset in 0u64..200, value: i64, bits in 1u8..=64, signed: bool) {
            let field = Field { signed, bits: if signed { bits } else { bits.min(63) } };
            bytes.resize(40, 0x5a);
            let before = bytes.clone();
            field.set(&mut bytes, offset, value);
            prop_assert_eq!(Some(field.get(&bytes, offset)), field.add(value, 0, Overflow::Wrap));
            for bit in 0..bytes.len() as u64 * 8 {
                if bit < offset || bit >= offset + u64::from(field.bits()) {
                    prop_assert_eq!(get_bit(&bytes, bit), get_bit(&before, bit));
                } else if bit == offset + u64::from(field.bits()) - 1 {
                    prop_assert_eq!(get_bit(&bytes, bit), value & 1 == 1);
                }
            }
        }

        #[test]
        fn bitops_bit_by_bit(
            inputs in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 2..6),
            pad in prop_oneof![Just(0usize), Just(BLOCK - 3)],
        ) {
            let inputs: Vec<Vec<u8>> = inputs.into_iter().map(|i| [vec![0x5a; pad], i].concat()).collect();
            let slices: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
            use BitOp::*;
            for op in [And, Or, Xor, Diff, Diff1, AndOr, One] {
                let out = bitop(op, &slices);
                prop_assert_eq!(out.len(), inputs.iter().map(Vec::len).max().unwrap());
                for bit in pad as u64 * 8..out.len() as u64 * 8 {
                    let set: Vec<bool> = inputs.iter().map(|i| get_bit(i, bit)).collect();
                    let ones = set.iter().filter(|b| **b).count();
                    let others = ones - usize::from(set[0]);
                    let expect = match op {
                        And => ones == set.len(),
                        Or => ones > 0,
                        Xor => ones % 2 == 1,
                        Diff => set[0] && others == 0,
                        Diff1 => !set[0] && others > 0,
                        AndOr => set[0] && others > 0,
                        _ => ones == 1,
                    };
                    prop_assert_eq!(get_bit(&out, bit), expect, "{:?} {}", op, bit);
                }
            }
            prop_assert_eq!(bitop(Not, &slices[..1]), inputs[0].iter().map(|b| !b).collect::<Vec<_>>());
        }
    }
}
