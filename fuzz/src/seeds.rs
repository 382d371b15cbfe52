//! How is a seed of bytes written as text? In double quotes, with `\xHH`, over as many lines as are convenient.

use peregrine::util::quote;

/// The bytes that a seed means: those of its quoted words; anything else means itself.
pub fn binary(data: &[u8]) -> Vec<u8> {
    match quote::split(data) {
        Some(words) if data.starts_with(b"\"") => words.concat(),
        _ => data.to_vec(),
    }
}
