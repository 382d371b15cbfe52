//! How is an exact binary value rounded to a floating-point format? Round to nearest, ties to even.

/// A binary floating-point format, by its least and greatest exponents of the *last* mantissa bit.
#[derive(Clone, Copy)]
pub(super) struct Format {
    /// Bits of the mantissa, the leading one included.
    pub precision: u32,
    /// Exponent of the last bit of the smallest (subnormal) number.
    pub min_exp: i64,
    /// Exponent of the last bit of the largest finite number.
    pub max_exp: i64,
}

/// IEEE 754 binary64.
pub(super) const BINARY64: Format = Format { precision: 53, min_exp: -1074, max_exp: 971 };
/// The 80-bit extended format of the x87, C's `long double` on x86-64.
pub(super) const EXTENDED: Format = Format { precision: 64, min_exp: -16445, max_exp: 16320 };

/// `mantissa * 2^exp`, or too large for the format.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rounded {
    Finite(u64, i64),
    Overflow,
}

/// Rounds `mantissa * 2^exp`, plus something positive below its last bit when `sticky`, to `format`.
/// The result has its leading bit set unless it is subnormal; zero comes back as `Finite(0, 0)`.
///
/// `sticky` is only meaningful when the mantissa has at least two bits more than the precision, or
/// when bits are dropped anyway; callers normalise first.
pub(super) fn round(mantissa: u128, exp: i64, sticky: bool, format: Format) -> Rounded {
    if mantissa == 0 {
        return Rounded::Finite(0, 0);
    }
    let bits = i64::from(128 - mantissa.leading_zeros());
    // How many low bits to drop: enough to reach the precision, and to reach the least exponent.
    let drop = (bits - i64::from(format.precision)).max(format.min_exp - exp);
    let (mut kept, mut exp) = if drop <= 0 {
        // Exact; move the leading bit up as far as the format's exponents allow.
        (mantissa << drop.unsigned_abs(), exp + drop)
    } else {
        (round_shift(mantissa, drop.unsigned_abs(), sticky), exp + drop)
    };
    if kept == 1 << format.precision {
        kept >>= 1;
        exp += 1;
    }
    if kept == 0 {
        return Rounded::Finite(0, 0);
    }
    if exp > format.max_exp {
        return Rounded::Overflow;
    }
    Rounded::Finite(kept as u64, exp)
}

/// `value / 2^shift` to the nearest integer, ties to even; `sticky` stands for lost lower bits.
fn round_shift(value: u128, shift: u64, sticky: bool) -> u128 {
    if shift > 128 {
        return 0;
    }
    let kept = if shift == 128 { 0 } else { value >> shift };
    let rest = if shift == 128 { value } else { value & ((1 << shift) - 1) };
    let half = 1u128 << (shift - 1);
    let up = rest > half || (rest == half && (sticky || kept & 1 == 1));
    kept + u128::from(up)
}

/// A hexadecimal float as C's `strtod` reads it (after the sign): `0x1.8p-3`. The value is
/// `mantissa * 2^exp`, with `sticky` set when non-zero digits were dropped below it.
pub(super) fn parse_hex(text: &[u8]) -> Option<(u128, i64, bool)> {
    let [b'0', b'x' | b'X', rest @ ..] = text else { return None };
    let (mut mantissa, mut exp, mut sticky) = (0u128, 0i64, false);
    let (mut seen_digit, mut seen_dot, mut at) = (false, false, 0);
    while let Some(&byte) = rest.get(at) {
        if byte == b'.' && !seen_dot {
            seen_dot = true;
        } else if let Some(digit) = (byte as char).to_digit(16) {
            seen_digit = true;
            if mantissa >> 120 == 0 {
                mantissa = mantissa << 4 | u128::from(digit);
                exp -= if seen_dot { 4 } else { 0 };
            } else {
                sticky |= digit != 0;
                exp += if seen_dot { 0 } else { 4 };
            }
        } else {
            break;
        }
        at += 1;
    }
    if !seen_digit {
        return None;
    }
    let tail = &rest[at..];
    if tail.is_empty() {
        return Some((mantissa, exp, sticky));
    }
    let [b'p' | b'P', power @ ..] = tail else { return None };
    Some((mantissa, exp.saturating_add(parse_exponent(power)?), sticky))
}

/// A decimal exponent with an optional sign, clamped far outside of every format's range.
pub(super) fn parse_exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    const FAR: i64 = 1 << 40;
    let value = digits.iter().fold(0i64, |v, b| (v * 10 + i64::from(b - b'0')).min(FAR));
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn to_f64(rounded: Rounded) -> f64 {
        match rounded {
            Rounded::Overflow => f64::INFINITY,
            // Both factors are exact and so is their product: the format fits.
            Rounded::Finite(m, e) if e >= -1022 => m as f64 * 2f64.powi(e as i32),
            Rounded::Finite(m, e) => m as f64 * 2f64.powi(-1022) * 2f64.powi((e + 1022) as i32),
        }
    }

    #[test]
    fn hex_forms() {
        assert_eq!(parse_hex(b"0x10"), Some((16, 0, false)));
        assert_eq!(parse_hex(b"0X1.8p3"), Some((0x18, -1, false)));
        assert_eq!(parse_hex(b"0x.8"), Some((8, -4, false)));
        for bad in ["0x", "0x.", "0x1p", "0x1p+", "0xg", "10", "0x1.1.1", "0x1 "] {
            assert_eq!(parse_hex(bad.as_bytes()), None, "{bad}");
        }
        let (mantissa, exp, sticky) = parse_hex(&[b"0x1".as_slice(), &[b'0'; 99], b"1"].concat()).unwrap();
        assert!(sticky);
        assert_eq!(mantissa.ilog2() as i64 + exp, 400);
    }

    proptest! {
        #[test]
        fn integers_round_as_the_hardware_does(mantissa: u128, exp in 0i64..900) {
            let rounded = to_f64(round(mantissa, exp, false, BINARY64));
            prop_assert_eq!(rounded, mantissa as f64 * 2f64.powi(exp as i32));
        }

        #[test]
        fn subnormals_round_as_the_hardware_does(mantissa: u64, drop in 0i32..80) {
            // mantissa has at most 53 bits, so one multiplication rounds once.
            let mantissa = mantissa >> 11;
            let expect = (mantissa as f64 * 2f64.powi(-1022)) * 2f64.powi(-52 - drop + 10);
            let got = to_f64(round(u128::from(mantissa), i64::from(-1074 - drop + 10), false, BINARY64));
            prop_assert_eq!(got, expect);
        }
    }
}
