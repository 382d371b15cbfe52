//! How are numbers wider than 128 bits handled? A plain natural number, as much as `long double` needs.
//!
//! Layout: little-endian 64-bit limbs, no zero limb on top; zero is the empty vector. Callers bound the
//! size: nothing here exceeds a few hundred limbs.

use std::cmp::Ordering;

/// A natural number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Big(Vec<u64>);

/// The largest power of ten in a limb, and its exponent.
const CHUNK: u64 = 10_000_000_000_000_000_000;
const CHUNK_DIGITS: usize = 19;

impl Big {
    pub fn from_u64(value: u64) -> Self {
        let mut big = Big(vec![value]);
        big.trim();
        big
    }

    /// Reads decimal digits (already checked).
    pub fn from_digits(digits: &[u8]) -> Self {
        let mut big = Big::default();
        for chunk in digits.chunks(CHUNK_DIGITS) {
            let value = chunk.iter().fold(0u64, |v, b| v * 10 + u64::from(b - b'0'));
            big.mul_add(10u64.pow(chunk.len() as u32), value);
        }
        big
    }

    pub fn mul_pow10(&mut self, mut power: u64) {
        while power > 0 {
            let step = power.min(CHUNK_DIGITS as u64);
            self.mul_add(10u64.pow(step as u32), 0);
            power -= step;
        }
    }

    /// `self * factor + addend`.
    fn mul_add(&mut self, factor: u64, addend: u64) {
        let mut carry = addend;
        for limb in &mut self.0 {
            let wide = u128::from(*limb) * u128::from(factor) + u128::from(carry);
            *limb = wide as u64;
            carry = (wide >> 64) as u64;
        }
        if carry != 0 {
            self.0.push(carry);
        }
    }

    pub fn bits(&self) -> u64 {
        match self.0.last() {
            Some(top) => self.0.len() as u64 * 64 - u64::from(top.leading_zeros()),
            None => 0,
        }
    }

    pub fn shl(&mut self, shift: u64) {
        if self.0.is_empty() {
            return;
        }
        let (limbs, bits) = ((shift / 64) as usize, (shift % 64) as u32);
        if bits != 0 {
            let mut carry = 0;
            for limb in &mut self.0 {
                let wide = u128::from(*limb) << bits;
                *limb = wide as u64 | carry;
                carry = (wide >> 64) as u64;
            }
            if carry != 0 {
                self.0.push(carry);
            }
        }
        self.0.splice(0..0, std::iter::repeat_n(0, limbs));
    }

    /// The top 128 bits at most, how many bits below them were cut off, and whether any was set.
    pub fn top(&self) -> (u128, u64, bool) {
        let limb =
            |from_top: usize| self.0.len().checked_sub(from_top).map_or(0, |at| u128::from(self.0[at]));
        if self.0.len() <= 2 {
            return (if self.0.len() == 2 { limb(1) << 64 | limb(2) } else { limb(1) }, 0, false);
        }
        let lower = self.0.len() - 2;
        (limb(1) << 64 | limb(2), lower as u64 * 64, self.0[..lower].iter().any(|&limb| limb != 0))
    }

    fn cmp(&self, other: &Big) -> Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }

    /// `self - other`, which must not be negative.
    fn sub(&mut self, other: &Big) {
        let mut borrow = false;
        for (at, limb) in self.0.iter_mut().enumerate() {
            let (value, first) = limb.overflowing_sub(other.0.get(at).copied().unwrap_or(0));
            let (value, second) = value.overflowing_sub(u64::from(borrow));
            *limb = value;
            borrow = first || second;
        }
        self.trim();
    }

    /// `self / other` as a quotient of at least 65 bits times a power of two, and whether there is a rest.
    /// Schoolbook, bit by bit: the quotient is short, however long the operands are.
    pub fn div(mut self, mut other: Big) -> (u128, i64, bool) {
        const QUOTIENT_BITS: u32 = 68;
        // Bring both to the same length, then the quotient is in [1/2, 2).
        let (a, b) = (self.bits(), other.bits());
        if a < b {
            self.shl(b - a);
        } else {
            other.shl(a - b);
        }
        let mut quotient = 0u128;
        for _ in 0..QUOTIENT_BITS {
            quotient <<= 1;
            if self.cmp(&other) != Ordering::Less {
                self.sub(&other);
                quotient |= 1;
            }
            self.shl(1);
        }
        (quotient, a as i64 - b as i64 - i64::from(QUOTIENT_BITS - 1), !self.0.is_empty())
    }

    /// Appends the decimal text.
    pub fn push_decimal(mut self, out: &mut Vec<u8>) {
        let mut chunks = Vec::new();
        while !self.0.is_empty() {
            let mut rest = 0u64;
            for limb in self.0.iter_mut().rev() {
                let wide = u128::from(rest) << 64 | u128::from(*limb);
                *limb = (wide / u128::from(CHUNK)) as u64;
                rest = (wide % u128::from(CHUNK)) as u64;
            }
            self.trim();
            chunks.push(rest);
        }
        let mut chunks = chunks.into_iter().rev();
        let mut itoa = itoa::Buffer::new();
        out.extend_from_slice(itoa.format(chunks.next().unwrap_or(0)).as_bytes());
        for chunk in chunks {
            let text = itoa.format(chunk).as_bytes();
            out.extend(std::iter::repeat_n(b'0', CHUNK_DIGITS - text.len()));
            out.extend_from_slice(text);
        }
    }

    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn decimal_round_trips(digits in "[1-9][0-9]{0,400}") {
            let mut out = Vec::new();
            Big::from_digits(digits.as_bytes()).push_decimal(&mut out);
            prop_assert_eq!(out, digits.as_bytes());
        }

        #[test]
        fn pow10_appends_zeros(value in 1u64.., power in 0u64..300) {
            let mut big = Big::from_u64(value);
            big.mul_pow10(power);
            let mut out = Vec::new();
            big.push_decimal(&mut out);
            prop_assert_eq!(out, format!("{value}{}", "0".repeat(power as usize)).into_bytes());
        }

        #[test]
        fn shl_is_doubling(value: u64, shift in 0u64..200) {
            let mut shifted = Big::from_u64(value);
            shifted.shl(shift);
            let mut doubled = Big::from_u64(value);
            (0..shift).for_each(|_| doubled.mul_add(2, 0));
            prop_assert_eq!(shifted, doubled);
        }

        #[test]
        fn division_of_u128(a in 1u64.., b in 1u64..) {
            let (quotient, exp, rest) = Big::from_u64(a).div(Big::from_u64(b));
            // a * 2^-exp = quotient * b + rest, when shifted to integers.
            let scaled = u128::from(a) << (-exp).min(64);
            if -exp <= 64 {
                prop_assert_eq!(quotient, scaled / u128::from(b));
                prop_assert_eq!(rest, scaled % u128::from(b) != 0);
            }
            prop_assert!(quotient >> 66 != 0);
        }
    }
}
