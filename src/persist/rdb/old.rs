//! How were values packed before listpacks? As ziplists (until 7.0) and zipmaps (until 2.6), which are only read.
//!
//! ```text
//! ziplist  bytes:u32 tail:u32 count:u16 | entry .. | 0xFF                        little-endian
//! entry    length of the one before (1 byte, or 0xFE and 4) | encoding | data
//! encoding 00xxxxxx | 01xxxxxx x | 10------ x:u32 big-endian      so many bytes
//!          C0 i16 | D0 i32 | E0 i64 | F0 i24 | FE i8 | F1..FD the numbers 0 to 12
//!
//! zipmap   count:u8 | length key | length free:u8 value spare .. | 0xFF
//! length   1 byte below 0xFE, or 0xFE and u32
//! ```

use crate::ds::listpack::{Corrupt, Listpack, LpValue};

const END: u8 = 0xff;
const HEADER: usize = 10;

fn split(bytes: &[u8], n: usize) -> Result<(&[u8], &[u8]), Corrupt> {
    bytes.split_at_checked(n).ok_or(Corrupt)
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8]), Corrupt> {
    bytes.split_first_chunk::<N>().map(|(head, rest)| (*head, rest)).ok_or(Corrupt)
}

/// The length that an entry gives for the one before it, and what follows.
fn before(bytes: &[u8]) -> Result<(usize, &[u8]), Corrupt> {
    match fixed::<1>(bytes)? {
        ([0xfe], rest) => {
            let (len, rest) = fixed::<4>(rest)?;
            Ok((u32::from_le_bytes(len) as usize, rest))
        }
        ([END], _) => Err(Corrupt),
        ([len], rest) => Ok((usize::from(len), rest)),
    }
}

/// One entry's data, and what follows it.
fn data(bytes: &[u8]) -> Result<(LpValue<'_>, &[u8]), Corrupt> {
    let ([first], rest) = fixed::<1>(bytes)?;
    let int = |n: i64, rest| Ok((LpValue::Int(n), rest));
    let (len, rest) = match first {
        0x00..=0x3f => (usize::from(first), rest),
        0x40..=0x7f => {
            let ([low], rest) = fixed::<1>(rest)?;
            (usize::from(first & 0x3f) << 8 | usize::from(low), rest)
        }
        0x80 => {
            let (len, rest) = fixed::<4>(rest)?;
            (u32::from_be_bytes(len) as usize, rest)
        }
        0xc0 => return fixed::<2>(rest).and_then(|(n, rest)| int(i16::from_le_bytes(n).into(), rest)),
        0xd0 => return fixed::<4>(rest).and_then(|(n, rest)| int(i32::from_le_bytes(n).into(), rest)),
        0xe0 => return fixed::<8>(rest).and_then(|(n, rest)| int(i64::from_le_bytes(n), rest)),
        0xf0 => {
            let ([a, b, c], rest) = fixed::<3>(rest)?;
            return int(i64::from(i32::from_le_bytes([0, a, b, c]) >> 8), rest);
        }
        0xfe => return fixed::<1>(rest).and_then(|([n], rest)| int((n as i8).into(), rest)),
        0xf1..=0xfd => return int(i64::from(first & 0xf) - 1, rest),
        _ => return Err(Corrupt),
    };
    let (text, rest) = split(rest, len)?;
    Ok((LpValue::Str(text), rest))
}

/// Turns a ziplist into a listpack of the same values.
///
/// # Errors
/// [`Corrupt`] when anything in it is out of place, or it is larger than a listpack may be.
pub fn from_ziplist(bytes: &[u8]) -> Result<Listpack, Corrupt> {
    let (total, rest) = fixed::<4>(bytes)?;
    let (tail, rest) = fixed::<4>(rest)?;
    let (count, mut rest) = fixed::<2>(rest)?;
    if u32::from_le_bytes(total) as usize != bytes.len() {
        return Err(Corrupt);
    }
    let (mut n, mut previous, mut last) = (0usize, 0, HEADER);
    let mut lp = Listpack::new();
    // An integer takes at most twice as much in a listpack.
    if !lp.fits(bytes.len().saturating_mul(2)) {
        return Err(Corrupt);
    }
    while rest != [END] {
        let here = bytes.len() - rest.len();
        let (claimed, behind) = before(rest)?;
        let (value, behind) = data(behind)?;
        if claimed != previous {
            return Err(Corrupt);
        }
        let value = if let LpValue::Str(text) = value { LpValue::of(text) } else { value };
        lp.insert_values(lp.end(), &[value]);
        (previous, last, n) = (rest.len() - behind.len(), here, n + 1);
        rest = behind;
    }
    let count = usize::from(u16::from_le_bytes(count));
    if (count != n && count != usize::from(u16::MAX)) || u32::from_le_bytes(tail) as usize != last {
        return Err(Corrupt);
    }
    Ok(lp)
}

/// Turns a zipmap into a listpack of pairs.
///
/// # Errors
/// [`Corrupt`] when anything in it is out of place, a length in a longer form than it needs included, or it is empty.
pub fn from_zipmap(bytes: &[u8]) -> Result<Listpack, Corrupt> {
    let length = |bytes: &'_ [u8]| -> Result<(usize, usize), Corrupt> {
        match bytes {
            [END, ..] | [] => Err(Corrupt),
            [0xfe, a, b, c, d, ..] => {
                let len = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
                if len < 0xfe { Err(Corrupt) } else { Ok((len, 5)) }
            }
            [0xfe, ..] => Err(Corrupt),
            [len, ..] => Ok((usize::from(*len), 1)),
        }
    };
    let (count, mut rest) = bytes.split_first().ok_or(Corrupt)?;
    let mut lp = Listpack::new();
    if !lp.fits(bytes.len().saturating_mul(2)) {
        return Err(Corrupt);
    }
    let mut n = 0usize;
    while rest != [END] {
        let (len, used) = length(rest)?;
        let (key, behind) = split(split(rest, used)?.1, len)?;
        let (len, used) = length(behind)?;
        let ([free], behind) = fixed::<1>(split(behind, used)?.1)?;
        let (value, behind) = split(behind, len)?;
        rest = split(behind, usize::from(free))?.1;
        lp.insert_values(lp.end(), &[LpValue::of(key), LpValue::of(value)]);
        n += 1;
    }
    if n == 0 || (usize::from(*count) != n && *count < 0xfe) {
        return Err(Corrupt);
    }
    Ok(lp)
}
