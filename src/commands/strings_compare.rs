//! What can be done to a string on condition that it is still the same? DELEX, DIGEST and MSETEX of Redis 8.4, and what
//! SET compares with.

use xxhash_rust::xxh3::xxh3_64;

use crate::commands::prelude::*;
use crate::commands::strings::{options, store};
use crate::dispatch::access::{Expiry, Text};

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    Command::new("delex", delex)
        .key_flags(delex_flags)
        .arity(-2)
        .flags(WRITE | FAST)
        .acl(STRING)
        .keys(&[one(RW | DELETE | VARIABLE_FLAGS, 1)])
        .doc(
            "string",
            "8.4.0",
            "O(1) for IFEQ/IFNE, O(N) for IFDEQ/IFDNE where N is the length of the string value.",
            "Deletes a key if its value, or the digest of it, is the one that is expected.",
            "key:key@0 [condition(IFEQ ifeq-value:str | IFNE ifne-value:str | IFDEQ ifdeq-digest:str | IFDNE \
             ifdne-digest:str)]",
        ),
    Command::new("digest", digest)
        .arity(2)
        .flags(READONLY | FAST)
        .acl(STRING)
        .keys(&[one(RO | ACCESS, 1)])
        .doc(
            "string",
            "8.4.0",
            "O(N) where N is the length of the string value.",
            "Gets the XXH3 digest of a string.",
            "key:key@0",
        ),
    Command::new("msetex", msetex)
        .arity(-4)
        .flags(WRITE | DENYOOM | MOVABLE_KEYS)
        .acl(STRING)
        .keys(&[KeySpec {
            flags: OW | UPDATE,
            begin: Begin::Index(1),
            find: Find::KeyNum { num: 0, first: 1, step: 2 },
        }])
        .tips(&["request_policy:multi_shard", "response_policy:all_succeeded"])
        .doc(
            "string",
            "8.4.0",
            "O(N) where N is the number of keys to set.",
            "Sets several strings that expire at the same time, all or none of them.",
            "numkeys:int data{key:key@0 value:str}... [condition(NX | XX)] [expiration(EX seconds:int | PX \
             milliseconds:int | EXAT unix-time-seconds:time | PXAT unix-time-milliseconds:time | KEEPTTL)]",
        ),
];

/// What a string is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Compare<'a> {
    how: How,
    with: &'a [u8],
}

/// How it is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// IFEQ: it has this value.
    Same,
    /// IFNE: it does not.
    Other,
    /// IFDEQ: it has this digest.
    SameDigest,
    /// IFDNE: it does not.
    OtherDigest,
}

/// Hexadecimal digits of a digest.
const DIGITS: usize = 16;

impl<'a> Compare<'a> {
    /// The comparison that a word stands for.
    pub fn word(word: &[u8]) -> Option<How> {
        const WORDS: [(&[u8], How); 4] = [
            (b"ifeq", How::Same),
            (b"ifne", How::Other),
            (b"ifdeq", How::SameDigest),
            (b"ifdne", How::OtherDigest),
        ];
        WORDS.into_iter().find(|(known, _)| word.eq_ignore_ascii_case(known)).map(|(_, how)| how)
    }

    /// Takes the word and what follows it from the arguments, if they begin with one.
    pub fn parse(args: &mut Args<'a>) -> Result<Option<Compare<'a>>> {
        let Some(how) = args.peek().and_then(Compare::word) else { return Ok(None) };
        if args.left() < 2 {
            return Err(error::SYNTAX);
        }
        args.next()?;
        Ok(Some(Compare { how, with: args.next()? }))
    }

    /// Whether a string is as expected; a missing one has neither this value nor this digest.
    pub fn holds(&self, text: Option<Text<'_>>) -> Result<bool> {
        let Some(text) = text else { return Ok(matches!(self.how, How::Other | How::OtherDigest)) };
        let mut digits = itoa::Buffer::new();
        let bytes = text.bytes(&mut digits);
        let digest = || -> Result<bool> {
            if self.with.len() != DIGITS {
                return Err(Error::new("ERR must be exactly 16 hexadecimal characters"));
            }
            Ok(hex(bytes).as_bytes().eq_ignore_ascii_case(self.with))
        };
        Ok(match self.how {
            How::Same => bytes == self.with,
            How::Other => bytes != self.with,
            How::SameDigest => digest()?,
            How::OtherDigest => !digest()?,
        })
    }
}

/// The digest of a value as clients see it.
fn hex(value: &[u8]) -> String {
    format!("{:016x}", xxh3_64(value))
}

fn digest(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let mut digits = itoa::Buffer::new();
    match ctx.string(&key)? {
        Some(text) => out.bulk(hex(text.bytes(&mut digits)).as_bytes()),
        None => out.null(),
    }
    Ok(())
}

/// Without a condition it is a DEL; with one it reads the key too.
fn delex_flags(argv: &[&[u8]]) -> u16 {
    if argv.len() > 2 { RW | DELETE } else { RM | DELETE }
}

fn delex(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    if !matches!(args.left(), 0 | 2) {
        return Err(Error::arity("delex"));
    }
    if args.left() > 0 && ctx.exists(&key) {
        let Some(compare) = Compare::parse(args)? else {
            return Err(Error::new("ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE"));
        };
        let text = ctx.string(&key);
        let text =
            text.map_err(|_| Error::new("ERR Key should be of string type if conditions are specified"))?;
        if !compare.holds(text)? {
            out.int(0);
            return Ok(());
        }
    }
    let removed = ctx.remove(&key);
    if removed {
        ctx.changed(&key, event::GENERIC, "del");
        ctx.propagate_as(&[b"DEL", key.name]);
    }
    out.flag(removed);
    Ok(())
}

fn msetex(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let count = args.int().ok().and_then(|n| i32::try_from(n).ok()).and_then(|n| usize::try_from(n).ok());
    let count = count.filter(|n| *n > 0).ok_or(Error::new("ERR invalid numkeys value"))?;
    if args.left() / 2 < count {
        return Err(Error::new("ERR wrong number of key-value pairs"));
    }
    let mut pairs = Vec::new();
    for _ in 0..count {
        pairs.push((args.next()?, args.next()?));
    }
    let o = options(args, true)?;
    if o.get || o.compare.is_some() {
        return Err(error::SYNTAX);
    }
    let expiry = o.asked.expiry(ctx, "msetex")?.unwrap_or(Expiry::Clear);
    let mut exists = |(name, _): &(&[u8], &[u8])| {
        let key = ctx.key(name);
        ctx.exists(&key)
    };
    if (o.nx && pairs.iter().any(&mut exists)) || (o.xx && !pairs.iter().all(&mut exists)) {
        out.int(0);
        return Ok(());
    }
    for (name, value) in pairs {
        let key = ctx.key(name);
        store(ctx, &key, value, expiry);
        if expiry == Expiry::Clear {
            // The log gets a SET for each, which every reader knows.
            ctx.propagate_as(&[b"SET", name, value]);
        }
    }
    out.int(1);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_redis() {
        assert_eq!(
            hex(b"v8lf0c11xh8ymlqztfd3eeq16kfn4sspw7fqmnuuq3k3t75em5wdizgcdw7uc26nnf961u2jkfzkjytls2kwlj7626sd"),
            "00006c38adf31777"
        );
    }

    #[test]
    fn what_is_missing_is_nothing_in_particular() {
        let compare = |how| Compare { how, with: b"x" };
        assert_eq!(compare(How::Same).holds(None), Ok(false));
        assert_eq!(compare(How::OtherDigest).holds(None), Ok(true));
        assert_eq!(compare(How::Same).holds(Some(Text::Bytes(b"x"))), Ok(true));
        assert!(compare(How::SameDigest).holds(Some(Text::Bytes(b"x"))).is_err());
    }
}
