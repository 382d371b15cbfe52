//! What did the client pass? A cursor over the arguments that reads them as what they should be.

use crate::error::{self, Error, Result};
use crate::util::number::{self, LongDouble};

/// The arguments of one command; the cursor starts behind the name.
#[derive(Debug, Clone, Copy)]
pub struct Args<'a> {
    argv: &'a [&'a [u8]],
    pos: usize,
}

impl<'a> Args<'a> {
    /// A cursor over `argv`, whose first element is the command's name.
    pub fn new(argv: &'a [&'a [u8]]) -> Self {
        Args { argv, pos: 1 }
    }

    /// A cursor that starts behind a subcommand's name.
    pub fn new_at(argv: &'a [&'a [u8]], pos: usize) -> Self {
        Args { argv, pos }
    }

    /// The whole vector, name included.
    pub fn argv(&self) -> &'a [&'a [u8]] {
        self.argv
    }

    /// Number of arguments, name included.
    pub fn count(&self) -> usize {
        self.argv.len()
    }

    /// Number of arguments not read yet.
    pub fn left(&self) -> usize {
        self.argv.len().saturating_sub(self.pos)
    }

    /// Position of the next argument in the vector.
    pub fn position(&self) -> usize {
        self.pos
    }

    /// The arguments not read yet.
    pub fn rest(&self) -> &'a [&'a [u8]] {
        self.argv.get(self.pos..).unwrap_or_default()
    }

    /// Reads all that is left.
    pub fn take_rest(&mut self) -> &'a [&'a [u8]] {
        let rest = self.rest();
        self.pos = self.argv.len();
        rest
    }

    /// Reads `n` arguments.
    pub fn take(&mut self, n: usize) -> Result<&'a [&'a [u8]]> {
        let end = self.pos.checked_add(n).ok_or(error::SYNTAX)?;
        let taken = self.argv.get(self.pos..end).ok_or(error::SYNTAX)?;
        self.pos = end;
        Ok(taken)
    }

    /// The argument at an absolute position.
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        self.argv.get(index).copied()
    }

    /// The next argument without reading it.
    pub fn peek(&self) -> Option<&'a [u8]> {
        self.argv.get(self.pos).copied()
    }

    /// The next argument, if there is one.
    pub fn maybe(&mut self) -> Option<&'a [u8]> {
        let arg = self.peek()?;
        self.pos += 1;
        Some(arg)
    }

    /// The next argument; a syntax error when there is none.
    #[expect(clippy::should_implement_trait, reason = "an iterator could not say what is wrong")]
    pub fn next(&mut self) -> Result<&'a [u8]> {
        self.maybe().ok_or(error::SYNTAX)
    }

    /// Reads the next argument if it is this word, in any case.
    pub fn word(&mut self, word: &str) -> bool {
        let yes = self.peek().is_some_and(|a| a.eq_ignore_ascii_case(word.as_bytes()));
        self.pos += usize::from(yes);
        yes
    }

    /// The next argument as an integer.
    pub fn int(&mut self) -> Result<i64> {
        self.int_or(error::NOT_INTEGER)
    }

    /// The next argument as an integer, or the given error.
    pub fn int_or(&mut self, error: Error) -> Result<i64> {
        number::parse_i64(self.next()?).ok_or(error)
    }

    /// The next argument as an integer within bounds; the error tells the bounds as Redis does.
    pub fn int_in(&mut self, min: i64, max: i64, error: Error) -> Result<i64> {
        let n = self.int_or(error.clone())?;
        if (min..=max).contains(&n) { Ok(n) } else { Err(error) }
    }

    /// The next argument as an integer of 32 bits.
    pub fn int32(&mut self) -> Result<i32> {
        const RANGE: Error =
            Error::new("ERR value is out of range, value must between -2147483648 and 2147483647");
        i32::try_from(self.int()?).map_err(|_| RANGE)
    }

    /// The next argument as an integer whose sign can be turned: all but the smallest.
    pub fn int_of_either_sign(&mut self) -> Result<i64> {
        match self.int()? {
            i64::MIN => Err(error::NOT_NEGATABLE),
            n => Ok(n),
        }
    }

    /// The next argument as a floating-point number.
    pub fn float(&mut self) -> Result<f64> {
        number::parse_f64(self.next()?).ok_or(error::NOT_FLOAT)
    }

    /// The next argument as a time-out in seconds: milliseconds, rounded up; 0 is for ever. `now` is unix time in
    /// milliseconds, since the end of the wait must not overflow.
    pub fn timeout(&mut self, now: u64) -> Result<u64> {
        let seconds = LongDouble::parse(self.next()?).ok_or(error::TIMEOUT_NOT_FLOAT)?.format();
        let seconds: f64 =
            std::str::from_utf8(&seconds).ok().and_then(|s| s.parse().ok()).unwrap_or(f64::NAN);
        let millis = (seconds * 1000.0).ceil();
        if millis < 0.0 {
            return Err(error::TIMEOUT_NEGATIVE);
        }
        // The conversion saturates.
        let millis = millis as u64;
        if millis > (i64::MAX as u64).saturating_sub(now) {
            return Err(error::TIMEOUT_RANGE);
        }
        Ok(millis)
    }

    /// The refusal of a subcommand's arguments.
    pub fn bad_subcommand(&self) -> Error {
        let word = |at| error::clip(self.get(at).unwrap_or_default(), 128);
        let container = word(0).to_ascii_uppercase();
        let sub = word(1);
        Error::text(format!(
            "ERR unknown subcommand or wrong number of arguments for '{sub}'. Try {container} HELP."
        ))
    }

    /// Refuses arguments beyond the last that a subcommand knows.
    pub fn end_of_subcommand(&self) -> Result {
        if self.left() == 0 { Ok(()) } else { Err(self.bad_subcommand()) }
    }

    /// A syntax error unless everything has been read.
    pub fn end(&self) -> Result {
        if self.left() == 0 { Ok(()) } else { Err(error::SYNTAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_reads_in_order() {
        let argv: Vec<&[u8]> = vec![b"CMD", b"12", b"limit", b"x"];
        let mut args = Args::new(&argv);
        assert_eq!(args.int(), Ok(12));
        assert!(!args.word("COUNT"));
        assert!(args.word("LIMIT"));
        assert_eq!(args.int(), Err(error::NOT_INTEGER));
        assert_eq!(args.next(), Err(error::SYNTAX));
        assert_eq!(args.end(), Ok(()));
    }

    #[test]
    fn time_outs_are_seconds_with_a_fraction() {
        let read = |text: &[u8]| Args::new(&[b"CMD".as_slice(), text]).timeout(1_700_000_000_000);
        assert_eq!(read(b"0"), Ok(0));
        assert_eq!(read(b"1.5"), Ok(1500));
        assert_eq!(read(b"0.0001"), Ok(1));
        assert_eq!(read(b"-1"), Err(error::TIMEOUT_NEGATIVE));
        assert_eq!(read(b"-inf"), Err(error::TIMEOUT_NEGATIVE));
        assert_eq!(read(b"x"), Err(error::TIMEOUT_NOT_FLOAT));
        for beyond in ["inf", "1e400", "9223372036854775"] {
            assert_eq!(read(beyond.as_bytes()), Err(error::TIMEOUT_RANGE), "{beyond}");
        }
    }
}
