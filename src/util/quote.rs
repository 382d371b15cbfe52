//! How does a line of text become arguments, and an argument become text again?
//!
//! The syntax is the one of redis.conf, inline commands and redis-cli: words separated by blanks, `"..."` with
//! `\n \r \t \b \a \xHH` and `\` before any other character, `'...'` with only `\'`. A closing quote must be
//! followed by a blank or the end. [`quoted`] is the inverse: `split(quoted(x)) == [x]` for every byte string.

/// Splits a line into its arguments; `None` when a quote is not closed, or a closing quote is followed by text.
/// A NUL ends the line, as everywhere in the C family of this format.
#[must_use]
pub fn split(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let end = memchr::memchr(0, line).unwrap_or(line.len());
    let mut rest = &line[..end];
    let mut words = Vec::new();
    loop {
        while let [first, tail @ ..] = rest
            && is_blank(*first)
        {
            rest = tail;
        }
        if rest.is_empty() {
            return Some(words);
        }
        let (word, tail) = one_word(rest)?;
        words.push(word);
        rest = tail;
    }
}

/// The C locale's isspace: also vertical tab and form feed.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// The first word of a text that starts with none blank, and what follows it.
fn one_word(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    let mut rest = text;
    loop {
        match rest {
            [] | [b' ' | b'\t' | b'\n' | b'\r', ..] => return Some((word, rest)),
            [b'"', tail @ ..] => return double_quoted(word, tail),
            [b'\'', tail @ ..] => return single_quoted(word, tail),
            [byte, tail @ ..] => {
                word.push(*byte);
                rest = tail;
            }
        }
    }
}

fn double_quoted(mut word: Vec<u8>, mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    loop {
        match rest {
            [b'\\', b'x', high, low, tail @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                word.push(hex(*high) << 4 | hex(*low));
                rest = tail;
            }
            [b'\\', escaped, tail @ ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                rest = tail;
            }
            [b'"', tail @ ..] => return closed(word, tail),
            [byte, tail @ ..] => {
                word.push(*byte);
                rest = tail;
            }
            [] => return None,
        }
    }
}

fn single_quoted(mut word: Vec<u8>, mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    loop {
        match rest {
            [b'\\', b'\'', tail @ ..] => {
                word.push(b'\'');
                rest = tail;
            }
            [b'\'', tail @ ..] => return closed(word, tail),
            [byte, tail @ ..] => {
                word.push(*byte);
                rest = tail;
            }
            [] => return None,
        }
    }
}

fn closed(word: Vec<u8>, rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    rest.first().is_none_or(|next| is_blank(*next)).then_some((word, rest))
}

/// The value of a hexadecimal digit; the caller has checked that it is one.
fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'A').wrapping_add(10),
    }
}

/// The bytes in double quotes, with everything that is not printable ASCII escaped.
#[must_use]
pub fn quoted(bytes: &[u8]) -> Vec<u8> {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut out = Vec::with_capacity(bytes.len() + 2);
    out.push(b'"');
    for &byte in bytes {
        match byte {
            b'\\' | b'"' => out.extend([b'\\', byte]),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            0x07 => out.extend(b"\\a"),
            0x08 => out.extend(b"\\b"),
            b' '..=b'~' => out.push(byte),
            _ => out.extend([b'\\', b'x', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
        }
    }
    out.push(b'"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(line: &str) -> Option<Vec<String>> {
        split(line.as_bytes())
            .map(|all| all.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect())
    }

    #[test]
    fn lines_of_every_shape() {
        let cases: &[(&str, Option<&[&str]>)] = &[
            ("", Some(&[])),
            ("  \t ", Some(&[])),
            ("save 900 1", Some(&["save", "900", "1"])),
            ("  a\tb \x0b c ", Some(&["a", "b", "c"])),
            (r#"save """#, Some(&["save", ""])),
            ("save ''", Some(&["save", ""])),
            (r#"a "b c" 'd "e"'"#, Some(&["a", "b c", "d \"e\""])),
            (r#""\x41\n\\\"\q""#, Some(&["A\n\\\"q"])),
            (r#""\xZZ""#, Some(&["xZZ"])),
            (r"'it\'s \n'", Some(&[r"it's \n"])),
            (r#"pre"fix ed""#, Some(&["prefix ed"])),
            (r#""open"#, None),
            ("'open", None),
            (r#""a"b"#, None),
            ("'a'b", None),
            (r#""a\"#, None),
            ("a\0b c", Some(&["a"])),
        ];
        for (line, want) in cases {
            let want = want.map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>());
            assert_eq!(words(line), want, "{line:?}");
        }
    }

    #[test]
    fn quoting_escapes_what_could_end_a_line() {
        assert_eq!(quoted(b"a b\"c\\\n\r\t\x07\x08\xff\0~"), br#""a b\"c\\\n\r\t\a\b\xff\x00~""#);
    }

    proptest! {
        #[test]
        fn what_is_quoted_comes_back(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let line = quoted(&bytes);
            prop_assert!(line.iter().all(|byte| (b' '..=b'~').contains(byte)));
            prop_assert_eq!(split(&line), Some(vec![bytes]));
        }

        #[test]
        fn any_line_is_split_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Some(words) = split(&bytes) {
                prop_assert!(words.iter().map(Vec::len).sum::<usize>() <= bytes.len());
            }
        }
    }
}
