//! What has the debugging client asked for? Arrays of words, read as forgivingly as Redis reads them: what stands in
//! front of an array is overlooked, and so is what stands behind the last.
//!
//! Invariant: no more than [`MAX_INPUT`] bytes are kept, whatever the client sends.

use memchr::{memchr, memmem};

/// Bytes of commands that are kept.
const MAX_INPUT: usize = 1 << 20;
/// Words of a command, and bytes of a word.
const MOST: i64 = 1024;

const PROTOCOL: &str = "protocol error";

/// What C's `atoi` makes of a text: the number that it begins with, or 0.
pub fn leading_int(text: &[u8]) -> i64 {
    let text = text.trim_ascii_start();
    let sign = usize::from(matches!(text.first(), Some(b'-' | b'+')));
    let digits = text.iter().skip(sign).take_while(|b| b.is_ascii_digit()).count();
    let digits = text.get(sign..sign + digits.min(18)).unwrap_or_default();
    let n = digits.iter().fold(0, |n, digit| n * 10 + i64::from(digit - b'0'));
    if text.first() == Some(&b'-') { -n } else { n }
}

/// Bytes that have been received.
pub struct Input(Vec<u8>);

/// A step through the bytes: the value and what follows it; `None` when more has to be received.
type Step<T> = Result<Option<T>, &'static str>;

impl Input {
    /// What has been received so far.
    pub fn new(bytes: Vec<u8>) -> Self {
        Input(bytes)
    }

    /// More has been received.
    ///
    /// # Errors
    /// When it is too much for one command.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        self.0.extend_from_slice(bytes);
        if self.0.len() > MAX_INPUT {
            self.0 = Vec::new();
            return Err("max client buffer reached");
        }
        Ok(())
    }

    /// Takes the first command; `None` while it is not there as a whole.
    ///
    /// # Errors
    /// When what is there is no command, nor the beginning of one.
    pub fn next(&mut self) -> Step<Vec<Vec<u8>>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let Some((words, used)) = command(&self.0)? else { return Ok(None) };
        self.0.drain(..used);
        let next = memchr(b'*', &self.0).unwrap_or(self.0.len());
        self.0.drain(..next);
        Ok(Some(words))
    }
}

/// The first command, and where it ends.
fn command(bytes: &[u8]) -> Step<(Vec<Vec<u8>>, usize)> {
    let start = memchr(b'*', bytes).ok_or(PROTOCOL)?;
    let Some((count, mut at)) = number(bytes, start + 1)? else { return Ok(None) };
    let mut words = Vec::new();
    for _ in 0..count {
        match bytes.get(at) {
            None => return Ok(None),
            Some(b'$') => {}
            Some(_) => return Err(PROTOCOL),
        }
        let Some((length, from)) = number(bytes, at + 1)? else { return Ok(None) };
        let (Some(word), Some(end)) =
            (bytes.get(from..from + length), bytes.get(from + length..from + length + 2))
        else {
            return Ok(None);
        };
        if end != b"\r\n" {
            return Err(PROTOCOL);
        }
        words.push(word.to_vec());
        at = from + length + 2;
    }
    Ok(Some((words, at)))
}

/// A count or length up to the end of its line, and where the next line begins.
fn number(bytes: &[u8], from: usize) -> Step<(usize, usize)> {
    let rest = bytes.get(from..).unwrap_or_default();
    let Some(end) = memmem::find(rest, b"\r\n") else { return Ok(None) };
    let n = leading_int(rest.get(..end).unwrap_or_default());
    if !(1..=MOST).contains(&n) {
        return Err(PROTOCOL);
    }
    Ok(Some((usize::try_from(n).unwrap_or_default(), from + end + 2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Step<Vec<Vec<u8>>> {
        Input::new(bytes.to_vec()).next()
    }

    #[test]
    fn commands_may_come_in_pieces_and_amid_noise() {
        let whole = b"xx*2\r\n$1\r\nb\r\n$2\r\n1\0\r\n";
        for cut in 1..whole.len() {
            let mut input = Input::new(Vec::new());
            let mut found = None;
            for piece in [&whole[..cut], &whole[cut..]] {
                input.add(piece).unwrap();
                found = input.next().unwrap_or(None).or(found);
            }
            if cut > 2 {
                assert_eq!(found, Some(vec![b"b".to_vec(), b"1\0".to_vec()]), "cut at {cut}");
            }
        }
        let mut two = Input::new(b"*1\r\n$1\r\ns\r\n\r\n*1\r\n$1\r\nn\r\njunk".to_vec());
        assert_eq!(two.next(), Ok(Some(vec![b"s".to_vec()])));
        assert_eq!(two.next(), Ok(Some(vec![b"n".to_vec()])));
        assert_eq!(two.next(), Ok(None));
    }

    #[test]
    fn what_is_no_command_is_told() {
        for bad in [
            &b"hello\r\n"[..],
            b"*0\r\n",
            b"*-1\r\n",
            b"*1025\r\n",
            b"*x\r\n",
            b"*1\r\n+s\r\n",
            b"*1\r\n$0\r\n\r\n",
            b"*1\r\n$1025\r\n",
            b"*1\r\n$1\r\nss\r\n",
            b"*99999999999999999999999\r\n",
        ] {
            assert_eq!(read(bad), Err(PROTOCOL), "{bad:?}");
        }
        let mut full = Input::new(b"*1".to_vec());
        assert_eq!(full.add(&vec![b'1'; MAX_INPUT]), Err("max client buffer reached"));
    }

    #[test]
    fn numbers_end_where_they_end() {
        for (text, n) in [("12", 12), ("-3x", -3), (" +4", 4), ("", 0), ("x", 0), ("-", 0)] {
            assert_eq!(leading_int(text.as_bytes()), n, "{text}");
        }
    }
}
