//! How are numbers and strings read from a snapshot? From any stream, counting and summing what goes by, and never
//! taking memory for a length before its bytes have come.

use std::io::{self, Read};

use crate::persist::rdb::Bad;
use crate::util::{crc, lzf};

/// Bytes fetched at a time, unless the reader says otherwise.
const CHUNK: usize = 64 * 1024;

/// A stream that is being read.
pub struct Source<'r> {
    input: &'r mut dyn Read,
    chunk: usize,
    buf: Vec<u8>,
    pos: usize,
    /// Where the bytes start that the checksum does not cover yet.
    summed: usize,
    crc: u64,
    passed: u64,
}

/// A number, or the sign that a string stands in a special form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Len {
    /// A number.
    Plain(u64),
    /// The form of a string: 0 to 2 integers, 3 compressed.
    Form(u8),
}

impl<'r> Source<'r> {
    /// Reads from a stream.
    pub fn new(input: &'r mut dyn Read) -> Self {
        Source::in_chunks(input, CHUNK)
    }

    /// Reads from a stream, so many bytes at a time: few, where little is likely to be read.
    pub fn in_chunks(input: &'r mut dyn Read, chunk: usize) -> Self {
        Source { input, chunk, buf: Vec::new(), pos: 0, summed: 0, crc: 0, passed: 0 }
    }

    /// How many bytes have been read.
    pub fn offset(&self) -> u64 {
        self.passed + self.pos as u64
    }

    /// The checksum of what has been read.
    pub fn checksum(&mut self) -> u64 {
        self.sum();
        self.crc
    }

    /// The checksum begins here.
    pub fn begin_checksum(&mut self) {
        self.sum();
        self.crc = 0;
    }

    fn sum(&mut self) {
        self.crc = crc::crc64(self.crc, &self.buf[self.summed..self.pos]);
        self.summed = self.pos;
    }

    /// Fetches more. False at the end.
    fn fill(&mut self) -> Result<bool, Bad> {
        self.sum();
        self.passed += self.pos as u64;
        self.buf.resize(self.chunk, 0);
        (self.pos, self.summed) = (0, 0);
        loop {
            match self.input.read(&mut self.buf) {
                Ok(n) => {
                    self.buf.truncate(n);
                    return Ok(n > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.buf.clear();
                    return Err(Bad::Io(error));
                }
            }
        }
    }

    /// True when nothing is left.
    ///
    /// # Errors
    /// When the stream cannot be read.
    pub fn at_end(&mut self) -> Result<bool, Bad> {
        Ok(self.pos == self.buf.len() && !self.fill()?)
    }

    /// What has been fetched and not read yet: the stream goes on behind it.
    pub fn leftover(&self) -> &[u8] {
        &self.buf[self.pos..]
    }

    /// One byte.
    ///
    /// # Errors
    /// At the end.
    pub fn byte(&mut self) -> Result<u8, Bad> {
        if self.at_end()? {
            return Err(Bad::Short);
        }
        self.pos += 1;
        Ok(self.buf[self.pos - 1])
    }

    /// A fixed number of bytes.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Bad> {
        let mut array = [0; N];
        let mut at = 0;
        while at < N {
            if self.at_end()? {
                return Err(Bad::Short);
            }
            let n = (N - at).min(self.buf.len() - self.pos);
            array[at..at + n].copy_from_slice(&self.buf[self.pos..self.pos + n]);
            self.pos += n;
            at += n;
        }
        Ok(array)
    }

    /// So many bytes.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn bytes(&mut self, n: u64) -> Result<Vec<u8>, Bad> {
        let n = usize::try_from(n).map_err(|_| Bad::corrupt("a length beyond the address space"))?;
        let mut bytes = Vec::with_capacity(n.min(CHUNK));
        while bytes.len() < n {
            if self.at_end()? {
                return Err(Bad::Short);
            }
            let more = (n - bytes.len()).min(self.buf.len() - self.pos);
            bytes.extend_from_slice(&self.buf[self.pos..self.pos + more]);
            self.pos += more;
        }
        Ok(bytes)
    }

    /// A number or a form.
    ///
    /// # Errors
    /// At the end, or when it is neither.
    pub fn len_or_form(&mut self) -> Result<Len, Bad> {
        let first = self.byte()?;
        Ok(Len::Plain(match first >> 6 {
            0 => u64::from(first),
            1 => u64::from(first & 0x3f) << 8 | u64::from(self.byte()?),
            3 => return Ok(Len::Form(first & 0x3f)),
            _ => match first {
                0x80 => u64::from(u32::from_be_bytes(self.array()?)),
                0x81 => u64::from_be_bytes(self.array()?),
                _ => return Err(Bad::Corrupt(format!("unknown length encoding {first}"))),
            },
        }))
    }

    /// A number.
    ///
    /// # Errors
    /// At the end, or when it is none.
    pub fn number(&mut self) -> Result<u64, Bad> {
        match self.len_or_form()? {
            Len::Plain(n) => Ok(n),
            Len::Form(_) => Err(Bad::corrupt("a length was expected")),
        }
    }

    /// A string.
    ///
    /// # Errors
    /// When it is damaged or cut short.
    pub fn string(&mut self) -> Result<Vec<u8>, Bad> {
        let int = |n: i64| Ok(itoa::Buffer::new().format(n).as_bytes().to_vec());
        match self.len_or_form()? {
            Len::Plain(n) => self.bytes(n),
            Len::Form(0) => int(i64::from(self.byte()? as i8)),
            Len::Form(1) => int(i64::from(i16::from_le_bytes(self.array()?))),
            Len::Form(2) => int(i64::from(i32::from_le_bytes(self.array()?))),
            Len::Form(3) => {
                let (packed, claimed) = (self.number()?, self.number()?);
                let packed = self.bytes(packed)?;
                let claimed = usize::try_from(claimed).unwrap_or(usize::MAX);
                lzf::decompress(&packed, claimed).map_err(|_| Bad::corrupt("invalid LZF compressed string"))
            }
            Len::Form(other) => Err(Bad::Corrupt(format!("unknown string encoding {other}"))),
        }
    }

    /// A time in milliseconds.
    ///
    /// # Errors
    /// At the end.
    pub fn time(&mut self) -> Result<i64, Bad> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// A binary double.
    ///
    /// # Errors
    /// At the end.
    pub fn double(&mut self) -> Result<f64, Bad> {
        Ok(f64::from_le_bytes(self.array()?))
    }

    /// A double as text, with its length in one byte; 253 to 255 stand for NaN and the infinities.
    ///
    /// # Errors
    /// At the end, or when it is no number.
    pub fn old_double(&mut self) -> Result<f64, Bad> {
        match self.byte()? {
            253 => Ok(f64::NAN),
            254 => Ok(f64::INFINITY),
            255 => Ok(f64::NEG_INFINITY),
            n => {
                let text = self.bytes(u64::from(n))?;
                crate::util::number::parse_f64(&text).ok_or_else(|| Bad::corrupt("a score that is no number"))
            }
        }
    }
}
