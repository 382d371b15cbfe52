//! How does INCRBYFLOAT add? In C's `long double`, which on the reference platform is the x87's 80-bit
//! extended format; here it is done in integers, so that every machine gives the same digits.
//!
//! Invariants: a finite value is `mantissa * 2^exp` with the mantissa's top bit set, unless the value is
//! subnormal (`exp` = -16445) or zero; results are rounded to nearest, ties to even, once.
//!
//! Redis keeps the *text* of the result, so parsing, adding and printing are all there is.

use super::big::Big;
use super::float::{is_infinity, split_sign};
use super::int::{parse_i64, push_u64};
use super::round::{EXTENDED, Rounded, parse_exponent, parse_hex, round};
use std::ops::Add;

/// An 80-bit extended float: C's `long double` on x86-64.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LongDouble {
    negative: bool,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Finite { mantissa: u64, exp: i64 },
    Infinite,
    Nan,
}

/// Longer arguments are rejected unread, as in Redis (its buffer is 5 KiB with the NUL).
const MAX_TEXT: usize = 5 * 1024 - 1;
/// Digits printed after the point.
const FRACTION_DIGITS: usize = 17;

impl LongDouble {
    /// Positive zero, the value of an absent key.
    pub const ZERO: LongDouble = LongDouble { negative: false, kind: Kind::Finite { mantissa: 0, exp: 0 } };

    /// Reads an argument or a stored string by the rules of `strtold` over the whole text: decimal or
    /// hexadecimal, `inf`, `infinity`; no leading space. Rejected are `nan`, overflow, underflow to
    /// zero, and text of 5 KiB or more.
    pub fn parse(text: &[u8]) -> Option<LongDouble> {
        if let Some(value) = parse_i64(text) {
            return Some(value.into());
        }
        if text.len() > MAX_TEXT {
            return None;
        }
        let (negative, digits) = split_sign(text);
        if is_infinity(digits) {
            return Some(LongDouble { negative, kind: Kind::Infinite });
        }
        let (rounded, is_zero) = if let [b'0', b'x' | b'X', ..] = digits {
            let (mantissa, exp, sticky) = parse_hex(digits)?;
            (round(mantissa, exp, sticky, EXTENDED), mantissa == 0)
        } else {
            parse_decimal(digits)?
        };
        match rounded {
            Rounded::Overflow => None,
            Rounded::Finite(0, _) if !is_zero => None,
            Rounded::Finite(mantissa, exp) => {
                Some(LongDouble { negative, kind: Kind::Finite { mantissa, exp } })
            }
        }
    }

    /// Neither infinite nor NaN.
    pub fn is_finite(self) -> bool {
        matches!(self.kind, Kind::Finite { .. })
    }

    /// The text Redis stores and replies: `%.17Lf` with trailing zeros cut, `-0` as `0`; up to 4951 bytes.
    pub fn format(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24);
        self.push_to(&mut out);
        out
    }

    /// Appends the text of [`LongDouble::format`].
    pub fn push_to(self, out: &mut Vec<u8>) {
        let Kind::Finite { mantissa, exp } = self.kind else {
            let text: &[u8] = match (self.kind, self.negative) {
                (Kind::Nan, _) => b"nan",
                (_, true) => b"-inf",
                (_, false) => b"inf",
            };
            out.extend_from_slice(text);
            return;
        };
        let start = out.len();
        if self.negative {
            out.push(b'-');
        }
        if exp >= 0 {
            let mut whole = Big::from_u64(mantissa);
            whole.shl(exp.unsigned_abs());
            whole.push_decimal(out);
        } else {
            push_fractional(mantissa, exp.unsigned_abs(), out);
        }
        if &out[start..] == b"-0" {
            out.remove(start);
        }
    }
}

/// Prints `mantissa / 2^shift` (`shift` > 0) rounded to [`FRACTION_DIGITS`] digits, ties to even.
fn push_fractional(mantissa: u64, shift: u64, out: &mut Vec<u8>) {
    const SCALE: u128 = 10u128.pow(FRACTION_DIGITS as u32);
    let (whole, rest) =
        if shift < 64 { (mantissa >> shift, mantissa & ((1 << shift) - 1)) } else { (0, mantissa) };
    // rest < 2^64 and SCALE < 2^57, so this is exact in 121 bits.
    let scaled = u128::from(rest) * SCALE;
    let fraction = match shift {
        0..=127 => {
            let (kept, lost, half) = (scaled >> shift, scaled & ((1 << shift) - 1), 1 << (shift - 1));
            kept + u128::from(lost > half || (lost == half && kept & 1 == 1))
        }
        // Below 2^121 / 2^128: nothing is left at the 17th digit.
        _ => 0,
    };
    let (whole, fraction) =
        if fraction == SCALE { (u128::from(whole) + 1, 0) } else { (u128::from(whole), fraction) };
    match u64::try_from(whole) {
        Ok(whole) => push_u64(out, whole),
        Err(_) => out.extend_from_slice(whole.to_string().as_bytes()),
    }
    if fraction != 0 {
        let mut digits = [b'0'; FRACTION_DIGITS];
        let mut rest = fraction as u64;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        let len = digits.iter().rposition(|&digit| digit != b'0').map_or(0, |at| at + 1);
        out.push(b'.');
        out.extend_from_slice(&digits[..len]);
    }
}

/// Decimal text without a sign, and whether its mantissa is all zeros.
fn parse_decimal(text: &[u8]) -> Option<(Rounded, bool)> {
    let (mantissa, exp10) = match text.iter().position(|b| matches!(b, b'e' | b'E')) {
        Some(at) => (&text[..at], parse_exponent(&text[at + 1..])?),
        None => (text, 0),
    };
    let (mut point, mut digits) = (None, Vec::with_capacity(mantissa.len()));
    for &byte in mantissa {
        match byte {
            b'0'..=b'9' => digits.push(byte),
            b'.' if point.is_none() => point = Some(digits.len()),
            _ => return None,
        }
    }
    if digits.is_empty() {
        return None;
    }
    let mut exp10 = exp10 - (digits.len() - point.unwrap_or(digits.len())) as i64;
    let first = digits.iter().position(|&d| d != b'0');
    let (Some(first), Some(last)) = (first, digits.iter().rposition(|&d| d != b'0')) else {
        return Some((Rounded::Finite(0, 0), true));
    };
    exp10 += (digits.len() - 1 - last) as i64;
    Some((decimal_to_binary(&digits[first..=last], exp10), false))
}

/// Rounds `digits * 10^exp10`; the digits neither start nor end with a zero.
fn decimal_to_binary(digits: &[u8], exp10: i64) -> Rounded {
    // The format spans 10^-4951 to 10^4932; far outside there is nothing to compute.
    let magnitude = exp10 + digits.len() as i64;
    if magnitude > 4940 {
        return Rounded::Overflow;
    }
    if magnitude < -4960 {
        return Rounded::Finite(0, 0);
    }
    if digits.len() <= 19 && (-19..=19).contains(&exp10) {
        let value = digits.iter().fold(0u64, |v, b| v * 10 + u64::from(b - b'0'));
        return short_decimal(value, exp10);
    }
    let mut numerator = Big::from_digits(digits);
    if exp10 >= 0 {
        numerator.mul_pow10(exp10.unsigned_abs());
        let (top, dropped, sticky) = numerator.top();
        return round(top, dropped as i64, sticky, EXTENDED);
    }
    let mut denominator = Big::from_u64(1);
    denominator.mul_pow10(exp10.unsigned_abs());
    let (quotient, exp, sticky) = numerator.div(denominator);
    round(quotient, exp, sticky, EXTENDED)
}

/// `value * 10^exp10` for the numbers people write, in 128-bit arithmetic; `value` is not zero.
fn short_decimal(value: u64, exp10: i64) -> Rounded {
    let power = 10u64.pow(exp10.unsigned_abs() as u32);
    if exp10 >= 0 {
        return round(u128::from(value) * u128::from(power), 0, false, EXTENDED);
    }
    // Numerator with its top bit at 127, denominator below 2^62: the quotient has 66 bits or more.
    let up = u128::from(value).leading_zeros();
    let numerator = u128::from(value) << up;
    let down = 2u32.saturating_sub(power.leading_zeros());
    if down == 0 {
        let (quotient, rest) = (numerator / u128::from(power), numerator % u128::from(power));
        return round(quotient, -i64::from(up), rest != 0, EXTENDED);
    }
    // 10^19 needs all 64 bits; halve it exactly, it is even.
    let power = power >> down;
    let (quotient, rest) = (numerator / u128::from(power), numerator % u128::from(power));
    round(quotient, -i64::from(up) - i64::from(down), rest != 0, EXTENDED)
}

impl From<i64> for LongDouble {
    fn from(value: i64) -> Self {
        LongDouble { negative: value < 0, ..LongDouble::exact(value.unsigned_abs(), 0) }
    }
}

impl From<f64> for LongDouble {
    fn from(value: f64) -> Self {
        let (bits, negative) = (value.to_bits(), value.is_sign_negative());
        let (biased, fraction) = ((bits >> 52 & 0x7ff) as i64, bits & ((1 << 52) - 1));
        match (biased, fraction) {
            (0x7ff, 0) => LongDouble { negative, kind: Kind::Infinite },
            (0x7ff, _) => LongDouble { negative, kind: Kind::Nan },
            (0, _) => LongDouble { negative, ..LongDouble::exact(fraction, -1074) },
            _ => LongDouble { negative, ..LongDouble::exact(fraction | 1 << 52, biased - 1075) },
        }
    }
}

impl LongDouble {
    /// `mantissa * 2^exp`, for exponents of integers and doubles: well inside the format.
    fn exact(mantissa: u64, exp: i64) -> LongDouble {
        let shift = mantissa.leading_zeros();
        let kind = match mantissa {
            0 => Kind::Finite { mantissa: 0, exp: 0 },
            _ => Kind::Finite { mantissa: mantissa << shift, exp: exp - i64::from(shift) },
        };
        LongDouble { negative: false, kind }
    }
}

impl Add for LongDouble {
    type Output = LongDouble;

    /// IEEE addition: `inf - inf` is NaN, overflow is infinity.
    fn add(self, other: LongDouble) -> LongDouble {
        let (Kind::Finite { mantissa: a, exp: a_exp }, Kind::Finite { mantissa: b, exp: b_exp }) =
            (self.kind, other.kind)
        else {
            return match (self.kind, other.kind) {
                (Kind::Finite { .. }, _) => other,
                (_, Kind::Finite { .. }) => self,
                (Kind::Infinite, Kind::Infinite) if self.negative == other.negative => self,
                _ => LongDouble { negative: false, kind: Kind::Nan },
            };
        };
        // The sign of zero never shows: "-0" is printed as "0".
        if a == 0 {
            return other;
        }
        if b == 0 {
            return self;
        }
        let ((big, big_exp, negative), (small, small_exp)) = if (a_exp, a) >= (b_exp, b) {
            ((a, a_exp, self.negative), (b, b_exp))
        } else {
            ((b, b_exp, other.negative), (a, a_exp))
        };
        // 62 guard bits below the larger number; what falls off the end stays as a sticky last bit,
        // which is enough for a correctly rounded sum as well as difference.
        const GUARD: i64 = 62;
        let gap = (big_exp - small_exp).unsigned_abs();
        let wide_small = u128::from(small) << GUARD;
        let shifted = match gap {
            0..=127 => wide_small >> gap | u128::from(wide_small & ((1 << gap) - 1) != 0),
            _ => 1,
        };
        let wide_big = u128::from(big) << GUARD;
        let sum = if self.negative == other.negative { wide_big + shifted } else { wide_big - shifted };
        match round(sum, big_exp - GUARD, false, EXTENDED) {
            Rounded::Overflow => LongDouble { negative, kind: Kind::Infinite },
            Rounded::Finite(0, _) => LongDouble::ZERO,
            Rounded::Finite(mantissa, exp) => LongDouble { negative, kind: Kind::Finite { mantissa, exp } },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> LongDouble {
        LongDouble::parse(text.as_bytes()).unwrap_or_else(|| panic!("{text:?} is rejected"))
    }

    fn sum(a: &str, b: &str) -> String {
        String::from_utf8((parse(a) + parse(b)).format()).unwrap()
    }

    fn show(text: &str) -> String {
        String::from_utf8(parse(text).format()).unwrap()
    }

    #[test]
    fn known_sums() {
        // Replies of a Redis 8.2.3 on x86-64.
        assert_eq!(sum("10.50", "0.1"), "10.6");
        assert_eq!(sum("5.0e3", "2.0e2"), "5200");
        assert_eq!(sum("3.0", "1.000000000000000005"), "4.00000000000000001");
        assert_eq!(sum("17179869184", "1.5"), "17179869185.5");
        assert_eq!(sum("9007199254740993", "0"), "9007199254740993");
        assert_eq!(sum("123456789012345678901234567890", "0"), "123456789012345678899921813504");
        assert_eq!(sum("1e-20", "-1e-19"), "0");
        assert_eq!(sum("0x10", "0x1p-1"), "16.5");
        assert!(show("1e308").starts_with("99999999999999999996685879655845645660560099847415"));
        assert!(show("1e400").starts_with("10000000000000000000281880683947586514586453433629"));
        assert_eq!(show("18446744073709551615.9"), "18446744073709551616");
    }

    #[test]
    fn limits() {
        for bad in
            ["1e4933", "-1e5000", "1e-4960", "1e99999999999999999999", "nan", "-nan", "", ".", "1e", "1 "]
        {
            assert_eq!(LongDouble::parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(LongDouble::parse(&[b'1'; 5120]), None);
        assert_eq!(LongDouble::parse(&[b'0'; 5119]), Some(LongDouble::ZERO));
        assert_eq!(show("1e4932").len(), 4933);
        assert_eq!(show("4e-4951"), "0");
        assert!(!(parse("1e4932") + parse("1e4932")).is_finite());
        assert!(!(parse("inf") + parse("1")).is_finite());
        assert_eq!((parse("inf") + parse("-inf")).format(), b"nan");
        assert_eq!((parse("-inf") + parse("1")).format(), b"-inf");
    }

    proptest! {
        #[test]
        fn integers_add_exactly(a in i64::MIN / 2..i64::MAX / 2, b in i64::MIN / 2..i64::MAX / 2) {
            prop_assert_eq!(sum(&a.to_string(), &b.to_string()), (a + b).to_string());
        }

        /// The two decimal paths (128-bit and big-number) agree.
        #[test]
        fn short_and_long_paths_agree(value in 1u64..10_000_000_000_000_000_000, exp10 in -19i64..=19) {
            let text = value.to_string();
            let trimmed = text.trim_end_matches('0');
            let exp10 = exp10 + (text.len() - trimmed.len()) as i64;
            prop_assume!(exp10 <= 19);
            // Leading zeros push the digits past the short path.
            let long = format!("{}{trimmed}", "0".repeat(20));
            prop_assert_eq!(
                decimal_to_binary(trimmed.as_bytes(), exp10),
                decimal_to_binary(long.as_bytes(), exp10)
            );
        }

        /// A double's exact decimal expansion reads back as that very value.
        #[test]
        fn exact_expansions_read_back(value in -1e30f64..1e30) {
            prop_assert_eq!(parse(&format!("{value:.1100}")), LongDouble::from(value));
        }

        #[test]
        fn sums_of_narrow_doubles_are_exact(a: f32, b: f32) {
            prop_assume!(a.is_finite() && b.is_finite());
            let (a, b) = (f64::from(a), f64::from(b));
            // Exact in f64 whenever the error term of the sum vanishes (Knuth's two-sum).
            let total = a + b;
            let part = total - a;
            let error = (a - (total - part)) + (b - part);
            prop_assume!(error == 0.0 && total != 0.0);
            prop_assert_eq!(LongDouble::from(a) + LongDouble::from(b), LongDouble::from(total));
        }

        /// Below one, 64 bits of mantissa carry all 17 printed digits.
        #[test]
        fn fractions_print_as_typed(text in "-?0\\.[0-9]{0,16}[1-9]") {
            prop_assert_eq!(show(&text), text);
        }
    }
}
