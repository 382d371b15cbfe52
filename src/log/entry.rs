//! What is one record of the log? A command as RESP bytes, and the database that it applies to.

/// A command for the log, as RESP bytes.
#[derive(Debug)]
pub struct Logged {
    /// The database that it applies to.
    pub db: usize,
    /// The encoded command.
    pub bytes: Vec<u8>,
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
