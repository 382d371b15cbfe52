//! Which slot is a key in, and is a file intact? CRC16 and CRC64.
