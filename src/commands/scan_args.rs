//! How does a client walk a collection? The cursor and options that SCAN, SSCAN, HSCAN and ZSCAN share.
//!
//! Redis's order of errors: the cursor is read first, then the key is looked up (a missing one is an empty walk,
//! whatever the options say), then the options are read.

use crate::commands::prelude::*;
use crate::util::{glob, number};

/// What is walked; some options make sense for one of them only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Walked {
    /// The keys of a database: TYPE is allowed.
    Keys,
    /// The fields of a hash: NOVALUES is allowed.
    Fields,
    /// The members of a set or sorted set.
    Members,
}

/// The options of a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ScanArgs<'a> {
    /// About how many elements to visit; at least 1.
    pub count: usize,
    /// The fields of a hash without their values.
    pub no_values: bool,
    /// Only keys of the type with this name, which may be none.
    pub kind: Option<&'a [u8]>,
    /// What names must match, unless any will do.
    pub pattern: Option<&'a [u8]>,
}

/// Reads a cursor.
pub(crate) fn cursor(args: &mut Args<'_>) -> Result<u64> {
    number::parse_u64_lenient(args.next()?).ok_or(error::BAD_CURSOR)
}

/// The reply of a walk over nothing.
pub(crate) fn reply_empty(out: &mut Reply<'_>) {
    out.array(2);
    out.bulk(b"0");
    out.array(0);
}

/// The reply of a walk: where to go on, and `found` elements that have been encoded already.
pub(crate) fn reply_found(out: &mut Reply<'_>, next: u64, found: usize, elements: &[u8]) {
    out.array(2);
    let mut digits = itoa::Buffer::new();
    out.bulk(digits.format(next).as_bytes());
    out.array(found);
    out.raw(elements);
}

impl<'a> ScanArgs<'a> {
    /// Reads all that is left.
    pub fn parse(args: &mut Args<'a>, walked: Walked) -> Result<Self> {
        let mut scan = ScanArgs { count: 10, no_values: false, kind: None, pattern: None };
        while args.left() > 0 {
            if args.left() > 1 && args.word("COUNT") {
                let count = args.int()?;
                scan.count = usize::try_from(count).ok().filter(|&n| n > 0).ok_or(error::SYNTAX)?;
            } else if args.left() > 1 && args.word("MATCH") {
                // A lone star is no condition at all: it lets the empty text pass.
                scan.pattern = Some(args.next()?).filter(|p| *p != b"*");
            } else if walked == Walked::Keys && args.left() > 1 && args.word("TYPE") {
                scan.kind = Some(args.next()?);
            } else if args.word("NOVALUES") {
                if walked != Walked::Fields {
                    return Err(Error::new("ERR NOVALUES option can only be used in HSCAN"));
                }
                scan.no_values = true;
            } else {
                return Err(error::SYNTAX);
            }
        }
        Ok(scan)
    }

    /// True when the pattern, if there is one, lets a name pass.
    pub fn admits(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, name, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &'static str, walked: Walked) -> Result<ScanArgs<'static>> {
        let argv: Vec<&[u8]> = text.split_whitespace().map(str::as_bytes).collect();
        ScanArgs::parse(&mut Args::new_at(argv.leak(), 0), walked)
    }

    #[test]
    fn options_are_read_in_any_order_and_the_last_one_counts() {
        let scan = parsed("match a* COUNT 3 count 7", Walked::Members).unwrap();
        assert_eq!(scan.count, 7);
        assert!(scan.admits(b"ab") && !scan.admits(b"b"));
        assert!(parsed("MATCH *", Walked::Members).unwrap().admits(b""));
        assert!(!parsed("MATCH **", Walked::Members).unwrap().admits(b""));
        assert!(parsed("NOVALUES", Walked::Fields).unwrap().no_values);
        assert_eq!(parsed("TYPE set", Walked::Keys).unwrap().kind, Some(b"set".as_slice()));
    }

    #[test]
    fn options_that_make_no_sense_are_refused() {
        for text in ["COUNT 0", "COUNT -1", "COUNT", "MATCH", "TYPE set", "foo"] {
            assert_eq!(parsed(text, Walked::Members), Err(error::SYNTAX), "{text}");
        }
        assert_eq!(parsed("COUNT x", Walked::Members), Err(error::NOT_INTEGER));
        assert!(parsed("NOVALUES", Walked::Keys).unwrap_err().as_str().contains("HSCAN"));
        let argv: Vec<&[u8]> = vec![b"12a"];
        assert_eq!(cursor(&mut Args::new_at(&argv, 0)), Err(error::BAD_CURSOR));
    }
}
