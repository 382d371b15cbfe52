//! What is one record of the log? A command as RESP bytes, the database that it applies to, and who is to read it.

/// Kinds of readers of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Readers {
    /// The append-only file.
    pub file: bool,
    /// The replicas, and the backlog for those that come back.
    pub replicas: bool,
}

impl Readers {
    /// Nobody.
    pub const NONE: Readers = Readers { file: false, replicas: false };
    /// Everybody.
    pub const ALL: Readers = Readers { file: true, replicas: true };
    /// The file only.
    pub const FILE: Readers = Readers { file: true, replicas: false };
    /// Replicas only.
    pub const REPLICAS: Readers = Readers { file: false, replicas: true };

    /// Those in both.
    pub fn and(self, other: Readers) -> Readers {
        Readers { file: self.file && other.file, replicas: self.replicas && other.replicas }
    }
}

/// A command for the log, as RESP bytes.
#[derive(Debug)]
pub struct Logged {
    /// The database that it applies to.
    pub db: usize,
    /// The encoded command.
    pub bytes: Vec<u8>,
    /// Who is to read it.
    pub to: Readers,
}

impl Logged {
    /// A record for everyone.
    pub fn new(db: usize, bytes: Vec<u8>) -> Self {
        Logged { db, bytes, to: Readers::ALL }
    }
}

/// Encodes a command as RESP.
pub fn encode_command<T: AsRef<[u8]>>(argv: &[T]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(argv.iter().map(|a| a.as_ref().len() + 16).sum());
    let mut digits = itoa::Buffer::new();
    bytes.push(b'*');
    bytes.extend_from_slice(digits.format(argv.len()).as_bytes());
    for arg in argv {
        let arg = arg.as_ref();
        bytes.extend_from_slice(b"\r\n$");
        bytes.extend_from_slice(digits.format(arg.len()).as_bytes());
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(arg);
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_encoded_as_requests() {
        assert_eq!(encode_command(&["SET", "k", ""]), b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n");
    }
}
