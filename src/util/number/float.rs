//! How are doubles read and printed?

use super::round::{BINARY64, Rounded, parse_hex, round};
use super::{SmallBuf, grisu, int};
use std::fmt::Write;

/// Splits an optional sign off.
pub(super) fn split_sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    }
}

/// `inf`, `infinity`, in any case, without a sign.
pub(super) fn is_infinity(text: &[u8]) -> bool {
    text.eq_ignore_ascii_case(b"inf") || text.eq_ignore_ascii_case(b"infinity")
}

/// Decimal text, `inf` or `nan` to the nearest double; overflow gives infinity, underflow zero.
fn parse_decimal(text: &[u8]) -> Option<f64> {
    // The grammar of `f64::from_str` is that of strtod less hexadecimal: optional sign, digits with at
    // most one point, at least one digit, optional exponent with digits; inf, infinity and nan.
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Reads a double argument (scores, increments, radii): the grammar of C's `strtod` over the whole of
/// `text`, hexadecimal and `inf`/`infinity` included, no leading space. Rejected are `nan`, numbers
/// that overflow to infinity, and non-zero numbers that underflow to zero.
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    if let Some(value) = short_integer(text) {
        return Some(value);
    }
    let (negative, digits) = split_sign(text);
    if let [b'0', b'x' | b'X', ..] = digits {
        let (mantissa, exp, sticky) = parse_hex(digits)?;
        let value = match round(mantissa, exp, sticky, BINARY64) {
            Rounded::Overflow => return None,
            Rounded::Finite(0, _) if mantissa != 0 => return None,
            Rounded::Finite(mantissa, exp) => compose(mantissa, exp),
        };
        return Some(if negative { -value } else { value });
    }
    let value = parse_decimal(text)?;
    let out_of_range = (value.is_infinite() && !is_infinity(digits)) || (value == 0.0 && !is_zero(digits));
    (!value.is_nan() && !out_of_range).then_some(value)
}

/// Up to 15 digits without sign games are exact in a double: the common score.
#[inline]
fn short_integer(text: &[u8]) -> Option<f64> {
    if text.is_empty() || text.len() > 15 {
        return None;
    }
    let mut value = 0u64;
    for &byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    Some(value as f64)
}

/// Whether the mantissa of a decimal number has only zeros.
fn is_zero(text: &[u8]) -> bool {
    text.iter().take_while(|b| !matches!(b, b'e' | b'E')).all(|b| matches!(b, b'0' | b'.'))
}

/// Builds the double `mantissa * 2^exp`, both as [`round`] gives them for [`BINARY64`].
fn compose(mantissa: u64, exp: i64) -> f64 {
    if mantissa == 0 {
        return 0.0;
    }
    // The leading bit, when present, is bit 52 and makes the biased exponent one higher by itself.
    f64::from_bits((((exp - BINARY64.min_exp) as u64) << 52) + mantissa)
}

/// Reads one end of a score range (`1.5`, `(1.5`, `-inf`): the value and whether it is exclusive.
///
/// As in Redis this is a laxer reading than [`parse_f64`]: empty text is zero, text ends at a NUL,
/// out-of-range numbers become infinity or zero; but hexadecimal is rejected, as is `nan`.
pub fn parse_score_bound(text: &[u8]) -> Option<(f64, bool)> {
    let (exclusive, text) = match text {
        [b'(', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    parse_lax(text).map(|value| (value, exclusive))
}

/// Reads a SORT weight, by the same lax rules as [`parse_score_bound`] but without `(`.
pub fn parse_sort_weight(text: &[u8]) -> Option<f64> {
    parse_lax(text)
}

fn parse_lax(text: &[u8]) -> Option<f64> {
    let text = text.split(|&b| b == 0).next().unwrap_or_default();
    if text.is_empty() {
        return Some(0.0);
    }
    parse_decimal(text).filter(|value| !value.is_nan())
}

/// The text of a double in a reply (scores, RESP3 doubles), up to 24 bytes: integers without a point,
/// otherwise as `fmt_shortest`.
pub fn fmt_double(value: f64) -> SmallBuf {
    const SAFE: f64 = (1u64 << 62) as f64;
    if value != 0.0 && (-SAFE..=SAFE).contains(&value) && value.trunc() == value {
        return int::fmt_i64(value as i64);
    }
    fmt_shortest(value)
}

/// Few digits that read back the same, up to 24 bytes, `1e+21` style when that is shorter; `inf`, `-inf`, `nan`, `-0`.
pub fn fmt_shortest(value: f64) -> SmallBuf {
    if value.is_nan() {
        return SmallBuf::of(b"nan");
    }
    if value.is_infinite() {
        return SmallBuf::of(if value < 0.0 { b"-inf" } else { b"inf" });
    }
    if value == 0.0 {
        return SmallBuf::of(if value.is_sign_negative() { b"-0" } else { b"0" });
    }
    let mut out = SmallBuf::new();
    if value < 0.0 {
        out.push(b'-');
    }
    let digits = grisu::digits(value.abs());
    lay_out(&digits.text[..digits.len], digits.exp10, &mut out);
    out
}

/// Places the point: plain with up to seven zeros appended, up to six decimals, or down to 0.0001; else
/// scientific.
fn lay_out(digits: &[u8], exp10: i32, out: &mut SmallBuf) {
    let count = digits.len() as i32;
    let scientific = exp10 + count - 1;
    let magnitude = scientific.abs();
    if exp10 >= 0 && magnitude < count + 7 {
        out.extend(digits);
        out.fill(b'0', exp10 as usize);
        return;
    }
    if exp10 < 0 && (exp10 > -7 || magnitude < 4) {
        let before = count + exp10;
        if before <= 0 {
            out.extend(b"0.");
            out.fill(b'0', before.unsigned_abs() as usize);
            out.extend(digits);
        } else {
            out.extend(&digits[..before as usize]);
            out.push(b'.');
            out.extend(&digits[before as usize..]);
        }
        return;
    }
    out.push(digits[0]);
    if count > 1 {
        out.push(b'.');
        out.extend(&digits[1..]);
    }
    out.extend(if scientific < 0 { b"e-" } else { b"e+" });
    out.extend(itoa::Buffer::new().format(magnitude).as_bytes());
}

/// C's `%.{digits}f` for short results, by scaling to a 64-bit integer: GEODIST's four digits.
/// `digits` is 1 to 17; a value that does not fit after scaling saturates to `i64::MIN`, as in Redis.
pub fn fmt_fixed(value: f64, digits: u32) -> SmallBuf {
    let scaled = (value * 10f64.powi(digits as i32)).round_ties_even();
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    let scaled = if (-LIMIT..LIMIT).contains(&scaled) { scaled as i64 } else { i64::MIN };
    let unit = 10u64.pow(digits);
    let magnitude = scaled.unsigned_abs();
    let mut out = SmallBuf::new();
    let sign = if scaled < 0 { "-" } else { "" };
    // The capacity holds 20 digits, a sign and a point, so this cannot fail.
    let _ = write!(out, "{sign}{}.{:0width$}", magnitude / unit, magnitude % unit, width = digits as usize);
    out
}

/// C's `%.17g`.
pub fn fmt_g17(value: f64) -> SmallBuf {
    fmt_g(value, 17)
}

/// C's `%.14g`, Lua's number format.
pub fn fmt_g14(value: f64) -> SmallBuf {
    fmt_g(value, 14)
}

/// C's `%g`.
pub fn fmt_g6(value: f64) -> SmallBuf {
    fmt_g(value, 6)
}

/// C's `%.{precision}g`: that many significant digits, correctly rounded, trailing zeros cut.
fn fmt_g(value: f64, precision: usize) -> SmallBuf {
    if value.is_nan() {
        return SmallBuf::of(if value.is_sign_negative() { b"-nan" } else { b"nan" });
    }
    if value.is_infinite() {
        return SmallBuf::of(if value < 0.0 { b"-inf" } else { b"inf" });
    }
    let mut raw = SmallBuf::new();
    // `d.ddde-ddd` takes at most 17 + 7 bytes.
    let _ = write!(raw, "{:.*e}", precision - 1, value.abs());
    let text = raw.as_str();
    let (mantissa, exp) = text.split_once('e').unwrap_or((text, "0"));
    let exp: i32 = exp.parse().unwrap_or(0);
    let mut digits = SmallBuf::new();
    mantissa.bytes().filter(|&b| b != b'.').for_each(|b| digits.push(b));
    let significant = digits.iter().rposition(|&b| b != b'0').map_or(1, |at| at + 1);
    let digits = &digits[..significant];

    let mut out = SmallBuf::new();
    if value.is_sign_negative() {
        out.push(b'-');
    }
    let with_point = |out: &mut SmallBuf, before: usize| {
        let shown = before.min(digits.len());
        out.extend(&digits[..shown]);
        out.fill(b'0', before - shown);
        if digits.len() > shown {
            out.push(b'.');
            out.extend(&digits[shown..]);
        }
    };
    if exp < -4 || exp >= precision as i32 {
        with_point(&mut out, 1);
        let sign = if exp < 0 { '-' } else { '+' };
        let _ = write!(out, "e{sign}{:02}", exp.abs());
    } else if exp < 0 {
        out.extend(b"0.");
        out.fill(b'0', (-exp - 1) as usize);
        out.extend(digits);
    } else {
        with_point(&mut out, exp as usize + 1);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn double(value: f64) -> String {
        fmt_double(value).to_string()
    }

    #[test]
    fn doubles_as_redis_prints_them() {
        let cases = [
            (3.0, "3"),
            (-0.0, "-0"),
            (0.1, "0.1"),
            (1e18, "1000000000000000000"),
            (1e20, "1e+20"),
            (1e21, "1e+21"),
            (4611686018427387904.0, "4611686018427387904"),
            (4611686018427388928.0, "4611686018427389000"),
            (1.2345678901234568e29, "1.2345678901234568e+29"),
            (1e-6, "0.000001"),
            (1e-7, "1e-7"),
            (1.5e-5, "0.000015"),
            (1.234567e-5, "1.234567e-5"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::NEG_INFINITY, "-inf"),
            (-1.5e300, "-1.5e+300"),
        ];
        for (value, text) in cases {
            assert_eq!(double(value), text);
        }
        assert_eq!(double(f64::NAN), "nan");
    }

    #[test]
    fn arguments_as_strtod_reads_them() {
        let good: [(&str, f64); 14] = [
            ("1.", 1.0),
            (".5", 0.5),
            ("+1e+5", 1e5),
            ("00012", 12.0),
            ("0x10", 16.0),
            ("-0X1.8P1", -3.0),
            ("0x.8", 0.5),
            ("inf", f64::INFINITY),
            ("-INFINITY", f64::NEG_INFINITY),
            ("3e-324", 5e-324),
            ("0e99999", 0.0),
            ("9007199254740993", 9007199254740992.0),
            ("0x1p-1074", 5e-324),
            ("0x1.fffffffffffff8p1022", f64::MAX / 2.0 + 2f64.powi(970)),
        ];
        for (text, value) in good {
            assert_eq!(parse_f64(text.as_bytes()), Some(value), "{text}");
        }
        assert!(parse_f64(b"-0").unwrap().is_sign_negative());
        assert!(parse_f64(b"-0x0").unwrap().is_sign_negative());
        let bad = "|.|1e|1e+|infinit|nan|-nan|nan(1)|1e309|-1e309|1e-400|2e-324| 1|1 |-|+|1_0|1\0|0x|0x1p|\
                   0x1p1024|0x1p-1076|+-1|--1|e5|1.0.0|1d|\u{663}|0x1p99999999999999999999|1e99999999999999999999";
        for text in bad.split('|') {
            assert_eq!(parse_f64(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn score_bounds() {
        assert_eq!(parse_score_bound(b"1.5"), Some((1.5, false)));
        assert_eq!(parse_score_bound(b"(1.5"), Some((1.5, true)));
        assert_eq!(parse_score_bound(b"("), Some((0.0, true)));
        assert_eq!(parse_score_bound(b""), Some((0.0, false)));
        assert_eq!(parse_score_bound(b"(+inf"), Some((f64::INFINITY, true)));
        assert_eq!(parse_score_bound(b"1e400"), Some((f64::INFINITY, false)));
        assert_eq!(parse_score_bound(b"-1e-400"), Some((0.0, false)));
        assert_eq!(parse_score_bound(b"1\0x"), Some((1.0, false)));
        for bad in ["0x10", "nan", "((1", "(nan", " 1", "1 ", "1e"] {
            assert_eq!(parse_score_bound(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn g_formats_as_c_prints_them() {
        // Expected values printed by C.
        let cases = [
            (0.1, "0.10000000000000001", "0.1"),
            (1e17, "1e+17", "1e+17"),
            (123456789012345680.0, "1.2345678901234568e+17", "1.2345678901235e+17"),
            (1e-5, "1.0000000000000001e-05", "1e-05"),
            (0.0001, "0.0001", "0.0001"),
            (3.5, "3.5", "3.5"),
            (100000000000000.0, "100000000000000", "1e+14"),
            (-1e300, "-1.0000000000000001e+300", "-1e+300"),
            (0.0, "0", "0"),
            (-0.0, "-0", "-0"),
            (5e-324, "4.9406564584124654e-324", "4.9406564584125e-324"),
        ];
        for (value, g17, g14) in cases {
            assert_eq!(fmt_g17(value).as_str(), g17);
            assert_eq!(fmt_g14(value).as_str(), g14);
        }
    }

    #[test]
    fn fixed_point() {
        assert_eq!(fmt_fixed(166274.15156960033, 4).as_str(), "166274.1516");
        assert_eq!(fmt_fixed(0.0, 4).as_str(), "0.0000");
        assert_eq!(fmt_fixed(0.00005, 4).as_str(), "0.0000");
        assert_eq!(fmt_fixed(-0.775, 2).as_str(), "-0.78");
        assert_eq!(fmt_fixed(1e18, 4).as_str(), "-922337203685477.5808");
    }

    proptest! {
        #[test]
        fn printed_doubles_read_back(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(!value.is_nan());
            prop_assert_eq!(parse_f64(&fmt_double(value)), Some(value));
            prop_assert_eq!(parse_f64(&fmt_g17(value)), Some(value));
        }

        #[test]
        fn small_doubles_read_back(units: i32, scale in 0i32..12) {
            let value = f64::from(units) / 10f64.powi(scale);
            prop_assert_eq!(double(value).parse::<f64>().unwrap(), value);
        }
    }
}
