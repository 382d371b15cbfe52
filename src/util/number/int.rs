//! How are integers and memory sizes read and printed?

use super::SmallBuf;

/// Reads the canonical decimal text of an `i64`: no spaces, no `+`, no leading zeros, no `-0`.
/// `Some(v)` exactly when printing `v` gives `text` back, so it also decides integer encodings.
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    // Nineteen digits stay below 10^19 < 2^64, so the accumulator cannot wrap.
    let mut value: u64 = 0;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    if negative {
        (value <= 1 << 63).then(|| (value as i64).wrapping_neg())
    } else {
        i64::try_from(value).ok()
    }
}

/// Reads what C's `atoi` does: the number at the start of any text, 0 where there is none; what does not fit in 64 bits
/// is the nearest that does, and of that 32 bits are kept.
pub fn atoi(text: &[u8]) -> i32 {
    let text = text.trim_ascii_start();
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
    let value = digits.fold(0i64, |value, byte| {
        let digit = i64::from(byte - b'0');
        let sign = if negative { -1 } else { 1 };
        value.saturating_mul(10).saturating_add(sign * digit)
    });
    value as i32
}

/// Reads the canonical decimal text of a `u64`: digits only, no leading zeros.
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    match text {
        [b'0'] => return Some(0),
        [b'1'..=b'9', ..] if text.len() <= 20 => {}
        _ => return None,
    }
    digits_to_u64(text)
}

/// Reads a `u64` as C's `strtoull` would in base 10: leading white space, a sign and leading zeros
/// are allowed, and a negative number too large for `i64` wraps (a smaller one is rejected).
/// Stream ids and SCAN cursors are read this way.
pub fn parse_u64_lenient(text: &[u8]) -> Option<u64> {
    // C strings end at the first NUL.
    let text = text.split(|&b| b == 0).next().unwrap_or_default();
    if let Some(value) = parse_i64(text) {
        return u64::try_from(value).ok();
    }
    let skip = text.iter().take_while(|b| matches!(b, b' ' | b'\t'..=b'\r')).count();
    let (negative, digits) = match &text[skip..] {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() {
        return None;
    }
    let value = digits_to_u64(digits)?;
    Some(if negative { value.wrapping_neg() } else { value })
}

/// Decimal digits only, any number of leading zeros; `None` on overflow.
fn digits_to_u64(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |value, &byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// The decimal text of `value`.
pub fn fmt_i64(value: i64) -> SmallBuf {
    SmallBuf::of(itoa::Buffer::new().format(value).as_bytes())
}

/// The decimal text of `value`.
pub fn fmt_u64(value: u64) -> SmallBuf {
    SmallBuf::of(itoa::Buffer::new().format(value).as_bytes())
}

/// Appends the decimal text of `value`.
#[inline]
pub fn push_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends the decimal text of `value`.
#[inline]
pub fn push_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// How many bytes the decimal text of `value` takes.
pub fn u64_len(value: u64) -> usize {
    value.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// How many bytes the decimal text of `value` takes, the sign included.
pub fn i64_len(value: i64) -> usize {
    u64_len(value.unsigned_abs()) + usize::from(value < 0)
}

/// Reads a memory size of the configuration: digits and an optional unit of `b`, `k`, `kb`, `m`,
/// `mb`, `g`, `gb` in any case, where `k` is 1000 and `kb` is 1024. As in Redis, no digits at all
/// count as zero. `None` on anything else and on overflow of 64 bits.
pub fn parse_memory(text: &[u8]) -> Option<u64> {
    let end = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let (digits, unit) = text.split_at(end);
    let unit: u64 = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    digits_to_u64(digits)?.checked_mul(unit)
}

/// A byte count the way INFO shows it: `512B`, `1.50M`, `2.00G`.
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [char; 5] = ['K', 'M', 'G', 'T', 'P'];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let power = bytes.ilog2() as usize / 10;
    match UNITS.get(power - 1) {
        Some(unit) => format!("{:.2}{unit}", bytes as f64 / (1u64 << (10 * power)) as f64),
        None => format!("{bytes}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn atoi_is_as_lax_as_in_c() {
        let cases: [(&str, i32); 13] = [
            ("1", 1),
            ("+1", 1),
            (" \t-7x", -7),
            ("01", 1),
            ("1 2", 1),
            ("", 0),
            ("x", 0),
            ("- 1", 0),
            ("+-1", 0),
            ("2147483648", i32::MIN),
            ("4294967297", 1),
            ("9223372036854775808", -1),
            ("-9223372036854775809", 0),
        ];
        for (text, value) in cases {
            assert_eq!(atoi(text.as_bytes()), value, "{text:?}");
        }
    }

    #[test]
    fn i64_is_canonical_only() {
        for text in ["", "-", "+1", "01", "-0", "-01", " 1", "1 ", "1a", "1.0", "9223372036854775808"] {
            assert_eq!(parse_i64(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(parse_i64(b"-9223372036854775809"), None);
        assert_eq!(parse_i64(b"18446744073709551616"), None);
        assert_eq!(parse_i64(b"99999999999999999999"), None);
        for value in [0, 1, -1, 9, 10, i64::MAX, i64::MIN, i64::MIN + 1] {
            assert_eq!(parse_i64(value.to_string().as_bytes()), Some(value));
        }
    }

    #[test]
    fn u64_forms() {
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_u64(b"18446744073709551616"), None);
        assert_eq!(parse_u64(b"0"), Some(0));
        for text in ["", "00", "01", "+1", "-1", " 1", "1x"] {
            assert_eq!(parse_u64(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(parse_u64_lenient(b" +007"), Some(7));
        assert_eq!(parse_u64_lenient(b"-1"), None);
        assert_eq!(parse_u64_lenient(b"-01"), Some(u64::MAX));
        assert_eq!(parse_u64_lenient(b"-18446744073709551615"), Some(1));
        assert_eq!(parse_u64_lenient(b"18446744073709551616"), None);
        assert_eq!(parse_u64_lenient(b""), None);
        assert_eq!(parse_u64_lenient(b"- 1"), None);
    }

    #[test]
    fn memory_sizes() {
        assert_eq!(parse_memory(b"1gb"), Some(1 << 30));
        assert_eq!(parse_memory(b"100mb"), Some(100 << 20));
        assert_eq!(parse_memory(b"1K"), Some(1000));
        assert_eq!(parse_memory(b"2Mb"), Some(2 << 20));
        assert_eq!(parse_memory(b"3m"), Some(3_000_000));
        assert_eq!(parse_memory(b"7B"), Some(7));
        assert_eq!(parse_memory(b"gb"), Some(0));
        for text in ["-1", "1.5gb", "1tb", "1 gb", "gb1", "99999999999999gb", "18446744073709551616"] {
            assert_eq!(parse_memory(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn human_sizes() {
        assert_eq!(human_bytes(0), "0B");
        assert_eq!(human_bytes(1023), "1023B");
        assert_eq!(human_bytes(1024), "1.00K");
        assert_eq!(human_bytes(1152), "1.12K"); // a tie goes to the even digit, as in C
        assert_eq!(human_bytes(3 << 19), "1.50M");
        assert_eq!(human_bytes((1 << 30) - 1), "1024.00M");
        assert_eq!(human_bytes(1 << 30), "1.00G");
        assert_eq!(human_bytes(1 << 40), "1.00T");
        assert_eq!(human_bytes(1 << 50), "1.00P");
        assert_eq!(human_bytes(1 << 60), "1152921504606846976B");
    }

    proptest! {
        #[test]
        fn i64_round_trips(value: i64) {
            let text = value.to_string();
            prop_assert_eq!(parse_i64(text.as_bytes()), Some(value));
            prop_assert_eq!(&*fmt_i64(value), text.as_bytes());
            prop_assert_eq!(i64_len(value), text.len());
        }

        #[test]
        fn i64_agrees_with_std(text in "-?[0-9]{1,21}") {
            let canonical = text.parse::<i64>().ok().filter(|v| v.to_string() == text);
            prop_assert_eq!(parse_i64(text.as_bytes()), canonical);
            let unsigned = text.parse::<u64>().ok().filter(|v| v.to_string() == text);
            prop_assert_eq!(parse_u64(text.as_bytes()), unsigned);
        }
    }
}
