//! Which arguments are keys? The one answer that locks, ACL, tracking, cluster routing and COMMAND GETKEYS share.

use crate::dispatch::spec::{Begin, Command, Find, INCOMPLETE, KeyAt, KeySpec, NOT_KEY};
use crate::util::number;

/// Appends the keys of a command; `None` when the arguments contradict the row (a count of keys that is no number).
/// `argv` begins with the command's name, also for subcommands (`OBJECT ENCODING key`: the key is at 2).
pub fn extract(command: &Command, argv: &[&[u8]], keys: &mut Vec<KeyAt>) -> Option<()> {
    if let Some(find) = command.find_keys {
        return find(argv, keys);
    }
    let first = keys.len();
    let mut lax = None;
    for spec in command.keys {
        let start = keys.len();
        if by_spec(spec, argv, keys)? == Count::Lax {
            lax = Some(start);
        }
    }
    if let (Some(start), Some(all)) = (lax, keys.get_mut(first..)) {
        // Redis then asks a second reader, which names the counted keys first and knows nothing of their use.
        all.rotate_left(start - first);
        all.iter_mut().for_each(|key| key.flags = 0);
    }
    if let Some(flags) = command.key_flags {
        let flags = flags(argv);
        keys.iter_mut().skip(first).for_each(|key| key.flags = flags);
    }
    Some(())
}

/// The keys of a command with so many arguments, when nothing but their number decides where they are.
pub fn fixed(command: &Command, argc: usize) -> Option<Vec<KeyAt>> {
    let argv = vec![&b""[..]; argc];
    let mut keys = Vec::new();
    for spec in command.keys {
        let plain = matches!((spec.begin, spec.find), (Begin::Index(_), Find::Range { .. }));
        if !plain || spec.flags & INCOMPLETE != 0 {
            return None;
        }
        by_spec(spec, &argv, &mut keys)?;
    }
    Some(keys)
}

/// True when the row says how to find at least one key.
pub fn has_keys(command: &Command) -> bool {
    command.find_keys.is_some() || command.keys.iter().any(|spec| spec.flags & NOT_KEY == 0)
}

/// How the count of keys was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Count {
    /// As a number, or there is none.
    Strict,
    /// As C's `atoi` would; the command itself refuses such a count.
    Lax,
}

fn by_spec(spec: &KeySpec, argv: &[&[u8]], keys: &mut Vec<KeyAt>) -> Option<Count> {
    let mut count = Count::Strict;
    let argc = i64::try_from(argv.len()).ok()?;
    let first = match spec.begin {
        Begin::Index(i) => i64::from(i),
        Begin::Keyword(word, from) => match keyword(argv, word, from) {
            Some(at) => at,
            None => return Some(count),
        },
        Begin::Unknown => return Some(count),
    };
    let (first, last, step) = match spec.find {
        Find::Range { last, step, limit } => {
            let last = match i64::from(last) {
                n if n >= 0 => first + n,
                _ if limit > 1 => first + (argc - first) / i64::from(limit) + i64::from(last),
                n => argc + n,
            };
            (first, last, i64::from(step))
        }
        Find::KeyNum { num, first: offset, step } => {
            let at = usize::try_from(first + i64::from(num)).ok()?;
            let text = argv.get(at)?;
            let possible = |n: &i64| (0..=argc).contains(n);
            let n = number::parse_i64(text).filter(possible).or_else(|| {
                count = Count::Lax;
                Some(i64::from(number::atoi(text))).filter(possible)
            })?;
            let from = first + i64::from(offset);
            (from, from + (n - 1) * i64::from(step), i64::from(step))
        }
        Find::Unknown => return Some(count),
    };
    if first >= argc && matches!(spec.find, Find::Range { .. }) {
        return Some(count);
    }
    if last >= argc {
        return if spec.flags & INCOMPLETE != 0 { Some(count) } else { None };
    }
    let mut at = first;
    while at <= last {
        keys.push(KeyAt { index: usize::try_from(at).ok()?, flags: spec.flags });
        at += step.max(1);
    }
    Some(count)
}

/// The argument behind a word; `from` counts from the end when negative.
fn keyword(argv: &[&[u8]], word: &str, from: i32) -> Option<i64> {
    let is = |i: &usize| argv.get(*i).is_some_and(|a| a.eq_ignore_ascii_case(word.as_bytes()));
    let at = if from >= 0 {
        (from as usize..argv.len()).find(is)?
    } else {
        let start = argv.len().checked_sub(from.unsigned_abs() as usize)?;
        (1..=start).rev().find(is)?
    };
    i64::try_from(at).ok().map(|at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::spec::{ACCESS, RO, RW, after, numbered, one, range};

    fn found(specs: &'static [KeySpec], text: &str) -> Option<Vec<usize>> {
        let argv: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
        let mut keys = Vec::new();
        for spec in specs {
            by_spec(spec, &argv, &mut keys)?;
        }
        Some(keys.iter().map(|k| k.index).collect())
    }

    #[test]
    fn keys_are_found_by_position_count_and_word() {
        const MSET: &[KeySpec] = &[range(RW, 1, -1, 2)];
        const BLPOP: &[KeySpec] = &[range(RW, 1, -2, 1)];
        const EVAL: &[KeySpec] = &[numbered(RW, 2)];
        const XREAD: &[KeySpec] = &[after(RO | ACCESS, "STREAMS", 1, -1, 1, 2)];
        const GET: &[KeySpec] = &[one(RO, 1)];
        assert_eq!(found(GET, "GET k"), Some(vec![1]));
        assert_eq!(found(MSET, "MSET a 1 b 2"), Some(vec![1, 3]));
        assert_eq!(found(BLPOP, "BLPOP a b 0"), Some(vec![1, 2]));
        assert_eq!(found(EVAL, "EVAL s 2 a b c"), Some(vec![3, 4]));
        assert_eq!(found(EVAL, "EVAL s 0 a"), Some(vec![]));
        assert_eq!(found(EVAL, "EVAL s 9 a"), None);
        assert_eq!(found(EVAL, "EVAL s x a"), Some(vec![]));
        assert_eq!(found(EVAL, "EVAL s +1 a"), Some(vec![3]));
        assert_eq!(found(XREAD, "XREAD COUNT 1 STREAMS a b 0 0"), Some(vec![4, 5]));
    }
}
