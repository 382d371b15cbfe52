//! Which slot is a key in, and is a file intact? CRC16 and CRC64.
//!
//! Both walk eight bytes per step ("slicing by 8", Kounavis and Berry 2008): table `k` holds the
//! checksum of a byte followed by `k` zero bytes. The tables are computed at compile time.

/// Number of hash slots of a Redis Cluster.
pub const SLOTS: u16 = 16384;

/// CRC16/XMODEM: polynomial 0x1021, most significant bit first, no reflection, start 0.
const CRC16: [[u16; 256]; 8] = {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut at = 1;
    while at < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[at - 1][byte];
            tables[at][byte] = before << 8 ^ tables[0][(before >> 8) as usize];
            byte += 1;
        }
        at += 1;
    }
    tables
};

/// CRC64 of RDB files and DUMP: the Jones polynomial 0xad93d23594c935a9, reflected, start 0.
static CRC64: [[u64; 256]; 8] = {
    const REFLECTED: u64 = 0xad93_d235_94c9_35a9u64.reverse_bits();
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 != 0 { crc >> 1 ^ REFLECTED } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut at = 1;
    while at < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[at - 1][byte];
            tables[at][byte] = before >> 8 ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        at += 1;
    }
    tables
};

/// CRC16/XMODEM of some bytes.
#[inline]
pub fn crc16(bytes: &[u8]) -> u16 {
    static TABLES: [[u16; 256]; 8] = CRC16;
    let t = &TABLES;
    let mut crc = 0u16;
    let (chunks, rest) = bytes.as_chunks::<8>();
    for c in chunks {
        crc = t[7][usize::from(c[0] ^ (crc >> 8) as u8)]
            ^ t[6][usize::from(c[1] ^ crc as u8)]
            ^ t[5][usize::from(c[2])]
            ^ t[4][usize::from(c[3])]
            ^ t[3][usize::from(c[4])]
            ^ t[2][usize::from(c[5])]
            ^ t[1][usize::from(c[6])]
            ^ t[0][usize::from(c[7])];
    }
    for &byte in rest {
        crc = crc << 8 ^ t[0][usize::from((crc >> 8) as u8 ^ byte)];
    }
    crc
}

/// The part of a key that decides its slot: what is between the first `{` and the next `}`, when
/// there is something, else the whole key.
#[inline]
pub fn hash_tag(key: &[u8]) -> &[u8] {
    if !has_open_brace(key) {
        return key;
    }
    let Some(open) = key.iter().position(|&b| b == b'{') else { return key };
    let inner = &key[open + 1..];
    match inner.iter().position(|&b| b == b'}') {
        Some(len) if len > 0 => &inner[..len],
        _ => key,
    }
}

/// Whether there is a `{`, eight bytes at a time: a byte that equals it leaves a zero, and subtracting one from each byte
/// borrows into the top bit of the lowest zero (Mycroft, 1987).
#[inline]
fn has_open_brace(key: &[u8]) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let (words, rest) = key.as_chunks::<8>();
    words.iter().any(|word| {
        let x = u64::from_le_bytes(*word) ^ (ONES * b'{' as u64);
        x.wrapping_sub(ONES) & !x & (ONES << 7) != 0
    }) || rest.contains(&b'{')
}

/// The hash slot of a key, `0..16384`.
#[inline]
pub fn key_slot(key: &[u8]) -> u16 {
    crc16(hash_tag(key)) & (SLOTS - 1)
}

/// Continues a CRC64 over more bytes; start with 0. `crc64(crc64(0, a), b)` is the CRC of `a` then `b`.
pub fn crc64(crc: u64, bytes: &[u8]) -> u64 {
    let t = &CRC64;
    let mut crc = crc;
    let (chunks, rest) = bytes.as_chunks::<8>();
    for chunk in chunks {
        let c = (crc ^ u64::from_le_bytes(*chunk)).to_le_bytes();
        crc = t[7][usize::from(c[0])]
            ^ t[6][usize::from(c[1])]
            ^ t[5][usize::from(c[2])]
            ^ t[4][usize::from(c[3])]
            ^ t[3][usize::from(c[4])]
            ^ t[2][usize::from(c[5])]
            ^ t[1][usize::from(c[6])]
            ^ t[0][usize::from(c[7])];
    }
    for &byte in rest {
        crc = crc >> 8 ^ t[0][usize::from(crc as u8 ^ byte)];
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_values() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(crc64(0, b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(crc64(0, b""), 0);
        assert_eq!(key_slot(b"foo"), 12182);
        assert_eq!(key_slot(b""), 0);
    }

    #[test]
    fn tags() {
        for (key, tag) in [
            ("{user1000}.following", "user1000"),
            ("foo{}{bar}", "foo{}{bar}"),
            ("foo{{bar}}zap", "{bar"),
            ("foo{bar}{zap}", "bar"),
            ("foo{bar", "foo{bar"),
            ("foo}bar{x}", "x"),
            ("{", "{"),
        ] {
            assert_eq!(hash_tag(key.as_bytes()), tag.as_bytes());
        }
    }

    fn crc64_bitwise(bytes: &[u8]) -> u64 {
        bytes
            .iter()
            .fold(0u64, |crc, byte| {
                (0..8).fold(crc ^ (u64::from(byte.reverse_bits()) << 56), |crc, _| {
                    if crc >> 63 == 1 { crc << 1 ^ 0xad93_d235_94c9_35a9 } else { crc << 1 }
                })
            })
            .reverse_bits()
    }

    proptest! {
        #[test]
        fn crc16_agrees_with_the_crate(bytes: Vec<u8>) {
            prop_assert_eq!(crc16(&bytes), crc16::State::<crc16::XMODEM>::calculate(&bytes));
        }

        #[test]
        fn crc64_agrees_with_bit_by_bit(a: Vec<u8>, b: Vec<u8>) {
            let whole = [a.as_slice(), b.as_slice()].concat();
            prop_assert_eq!(crc64(crc64(0, &a), &b), crc64_bitwise(&whole));
        }
    }
}
