//! What can a client be told when a command fails? The exact texts, once.
//!
//! An [`Error`] is the reply line without its leading `-`: an upper-case code, a space, a sentence. Clients
//! match on the code, so the texts are an interface. Carriage returns and newlines never survive into a reply
//! line: `resp::reply` replaces them.

use std::borrow::Cow;

/// Why a command was refused; what the client reads after `-`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(Cow<'static, str>);

/// What a command handler returns: its reply has been written, or the reason why not.
pub type Result<T = ()> = std::result::Result<T, Error>;

impl Error {
    /// A fixed text, code included.
    pub const fn new(text: &'static str) -> Self {
        Error(Cow::Borrowed(text))
    }

    /// A text made for the occasion, code included.
    pub fn text(text: impl Into<String>) -> Self {
        Error(Cow::Owned(text.into()))
    }

    /// The whole line, e.g. `ERR syntax error`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The bytes of the line: what clients sent is quoted as it was.
    pub fn line(&self) -> Cow<'_, [u8]> {
        if !self.0.chars().any(|c| stand_in(c).is_some()) {
            return Cow::Borrowed(self.0.as_bytes());
        }
        let mut line = Vec::with_capacity(self.0.len());
        for c in self.0.chars() {
            match stand_in(c) {
                Some(byte) => line.push(byte),
                None => line.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        Cow::Owned(line)
    }

    /// The code alone, e.g. `WRONGTYPE`.
    pub fn code(&self) -> &str {
        self.0.split(' ').next().unwrap_or("ERR")
    }

    /// `ERR wrong number of arguments for 'NAME' command`; a subcommand is named `config|get`.
    pub fn arity(name: &str) -> Self {
        Error::text(format!("ERR wrong number of arguments for '{name}' command"))
    }

    /// `ERR invalid expire time in 'NAME' command`.
    pub fn invalid_expire(name: &str) -> Self {
        Error::text(format!("ERR invalid expire time in '{name}' command"))
    }

    /// The reply to a command name that the table does not hold, quoting the name and the first arguments.
    pub fn unknown_command(argv: &[&[u8]]) -> Self {
        let mut args = String::new();
        for arg in argv.iter().skip(1) {
            if args.len() >= 128 {
                break;
            }
            args.push_str(&format!("'{}' ", clip(arg, 128 - args.len())));
        }
        let name = argv.first().map(|n| clip(n, 128)).unwrap_or_default();
        Error::text(format!("ERR unknown command '{name}', with args beginning with: {args}"))
    }

    /// The reply to a subcommand that its container does not have.
    pub fn unknown_subcommand(container: &str, sub: &[u8]) -> Self {
        let help = container.to_ascii_uppercase();
        Error::text(format!("ERR unknown subcommand '{}'. Try {help} HELP.", clip(sub, 128)))
    }
}

/// The first `max` bytes of what a client sent, fit to be quoted in a text. For Redis a text ends at a zero byte.
pub fn clip(bytes: &[u8], max: usize) -> String {
    let end = bytes.len().min(max);
    quote(bytes.get(..end).unwrap_or(bytes))
}

/// What a client sent, up to its first NUL, fit to be quoted in a text. Bytes that are no UTF-8 become characters
/// of a private plane, which `Error::line` turns back.
pub fn quote(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    let mut text = String::with_capacity(end);
    for chunk in bytes.get(..end).unwrap_or_default().utf8_chunks() {
        for c in chunk.valid().chars() {
            match stand_in(c) {
                Some(_) => c.encode_utf8(&mut [0; 4]).bytes().for_each(|b| text.extend(stand_in_for(b))),
                None => text.push(c),
            }
        }
        chunk.invalid().iter().for_each(|b| text.extend(stand_in_for(*b)));
    }
    text
}

/// The first of the 256 characters that stand for bytes.
const STAND_INS: u32 = 0x10_ff00;

fn stand_in_for(byte: u8) -> Option<char> {
    char::from_u32(STAND_INS + u32::from(byte))
}

/// The byte that a character stands for.
fn stand_in(c: char) -> Option<u8> {
    u32::from(c).checked_sub(STAND_INS).and_then(|byte| u8::try_from(byte).ok())
}

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub const $name: Error = Error::new($text);)*
    };
}

texts! {
    /// The key holds a value of another type.
    WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value";
    /// Options that do not fit together, or an unknown one.
    SYNTAX = "ERR syntax error";
    /// An argument should have been a 64-bit integer.
    NOT_INTEGER = "ERR value is not an integer or out of range";
    /// An argument should have been a number.
    NOT_FLOAT = "ERR value is not a valid float";
    /// An integer outside what the command takes.
    OUT_OF_RANGE = "ERR value is out of range";
    /// A count that must not be negative.
    NOT_POSITIVE = "ERR value is out of range, must be positive";
    /// A count that is negated, of which 64 bits cannot hold the opposite.
    NOT_NEGATABLE = "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807";
    /// A range bound of a lexicographic query.
    BAD_LEX_RANGE = "ERR min or max not valid string range item";
    /// A range bound of a score query.
    BAD_SCORE_RANGE = "ERR min or max is not a float";
    /// The command needs an existing key.
    NO_SUCH_KEY = "ERR no such key";
    /// An index outside the collection.
    INDEX_RANGE = "ERR index out of range";
    /// A string would exceed `proto-max-bulk-len`.
    STRING_TOO_LONG = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";
    /// An increment that leaves the 64-bit range.
    OVERFLOW = "ERR increment or decrement would overflow";
    /// An increment that leaves the floating-point range.
    NAN_OR_INFINITY = "ERR increment would produce NaN or Infinity";
    /// Timeouts of blocking commands.
    TIMEOUT_NEGATIVE = "ERR timeout is negative";
    /// Timeouts of blocking commands.
    TIMEOUT_NOT_FLOAT = "ERR timeout is not a float or out of range";
    /// Timeouts of blocking commands.
    TIMEOUT_RANGE = "ERR timeout is out of range";
    /// A database number outside the configured ones.
    DB_RANGE = "ERR DB index is out of range";
    /// An unsigned cursor was expected.
    BAD_CURSOR = "ERR invalid cursor";
    /// A bit offset outside 512 MB.
    BIT_OFFSET = "ERR bit offset is not an integer or out of range";
    /// A bit other than 0 and 1.
    BIT_VALUE = "ERR bit is not an integer or out of range";
    /// A command that the connection must authenticate for.
    NO_AUTH = "NOAUTH Authentication required.";
    /// EXEC after a command of the transaction was refused.
    EXEC_ABORT = "EXECABORT Transaction discarded because of previous errors.";
    /// A write over `maxmemory` that eviction could not make room for.
    OOM = "OOM command not allowed when used memory > 'maxmemory'.";
    /// WAITAOF for a file that there is not.
    NO_AOF_TO_WAIT_FOR = "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.";
    /// A write while fewer than `min-replicas-to-write` replicas follow.
    NO_REPLICAS = "NOREPLICAS Not enough good replicas to write.";
    /// A client's write on a replica.
    READ_ONLY = "READONLY You can't write against a read only replica.";
    /// A replica without its primary does not serve old data.
    MASTER_DOWN = "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.";
    /// The dataset is being loaded.
    LOADING = "LOADING Redis is loading the dataset in memory";
    /// The client waited as the server became a replica.
    NOW_A_REPLICA = "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)";
    /// The client was unblocked by CLIENT UNBLOCK ... ERROR.
    UNBLOCKED = "UNBLOCKED client unblocked via CLIENT UNBLOCK";
    /// A string that should hold a HyperLogLog does not.
    NOT_HLL = "WRONGTYPE Key is not a valid HyperLogLog string value.";
    /// A HyperLogLog that cannot be trusted.
    CORRUPT_HLL = "INVALIDOBJ Corrupted HLL object detected";
    /// A command that may run on this client only outside a script or transaction.
    NO_SCRIPT_HERE = "ERR This Redis command is not allowed from script";
    /// Keys of a command are in different hash slots.
    CROSS_SLOT = "CROSSSLOT Keys in request don't hash to the same slot";
    /// The slot belongs to nobody.
    SLOT_NOT_SERVED = "CLUSTERDOWN Hash slot not served";
    /// The cluster does not cover all slots.
    CLUSTER_DOWN = "CLUSTERDOWN The cluster is down";
    /// The same, and the settings allow reads.
    CLUSTER_READ_ONLY = "CLUSTERDOWN The cluster is down and only accepts read commands";
    /// Cluster commands without cluster mode.
    NO_CLUSTER = "ERR This instance has cluster support disabled";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_can_be_quoted() {
        let line = |sent: &[u8]| Error::text(format!("ERR {}", clip(sent, 8))).line().into_owned();
        assert_eq!(line(b"\xffa\x80"), b"ERR \xffa\x80");
        assert_eq!(line("\u{10ff41}é".as_bytes()), "ERR \u{10ff41}é".as_bytes());
        assert_eq!(line(b"a\0b"), b"ERR a");
        assert_eq!(line(b"123456789"), b"ERR 12345678");
    }

    #[test]
    fn unknown_command_quotes_what_was_sent() {
        let e = Error::unknown_command(&[b"foo", b"a", b"b"]);
        assert_eq!(e.as_str(), "ERR unknown command 'foo', with args beginning with: 'a' 'b' ");
        assert_eq!(e.code(), "ERR");
        let e = Error::unknown_command(&[b"a\0b", b"\0"]);
        assert_eq!(e.as_str(), "ERR unknown command 'a', with args beginning with: '' ");
    }
}
