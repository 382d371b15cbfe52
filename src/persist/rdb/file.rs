//! What is in a snapshot file? A header that says so, records by database, an end with a checksum.

use crate::log::Mark;
use crate::persist::rdb::decode::{self, Decoded, Making};
use crate::persist::rdb::encode::{Encoder, Usage};
use crate::persist::rdb::source::{Len, Source};
use crate::persist::rdb::{Bad, VALKEY_VERSION, VERSION, kind, op};

/// What a file says before its first record.
#[derive(Debug, Clone, Default)]
pub struct Preamble {
    /// The version of Redis whose file it is like.
    pub redis_version: &'static str,
    /// Unix seconds.
    pub created: u64,
    /// Bytes of memory in use.
    pub used_memory: u64,
    /// The file is the base of an append-only file.
    pub aof_base: bool,
    /// Where the replicas' stream stood.
    pub mark: Option<Mark>,
}

/// Writes the beginning of a file.
pub fn begin(encoder: &mut Encoder, preamble: &Preamble) {
    let magic = format!("REDIS{:04}", encoder.version());
    encoder.out.extend_from_slice(magic.as_bytes());
    encoder.aux("redis-ver", preamble.redis_version);
    encoder.aux("redis-bits", "64");
    encoder.aux("ctime", &preamble.created.to_string());
    encoder.aux("used-mem", &preamble.used_memory.to_string());
    if let Some(mark) = preamble.mark {
        encoder.aux("repl-stream-db", &mark.db.map_or(-1, |db| db as i64).to_string());
        encoder.aux("repl-id", &String::from_utf8_lossy(&mark.id));
        encoder.aux("repl-offset", &mark.offset.to_string());
    }
    encoder.aux("aof-base", if preamble.aof_base { "1" } else { "0" });
}

/// A key as it is read from a file.
#[derive(Debug)]
pub struct Record {
    /// Its database.
    pub db: u64,
    /// Its name.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Decoded,
    /// When it expires: unix milliseconds.
    pub expire: Option<u64>,
    /// How it was used.
    pub usage: Usage,
}

/// Receives what is read from a file.
pub trait Receiver {
    /// A name and a value that describe the file.
    fn aux(&mut self, name: &[u8], value: &[u8]);

    /// The source of a function library.
    ///
    /// # Errors
    /// Why it cannot be taken.
    fn function(&mut self, source: Vec<u8>) -> Result<(), Bad>;

    /// A key.
    ///
    /// # Errors
    /// Why it cannot be taken.
    fn record(&mut self, record: Record) -> Result<(), Bad>;

    /// A key whose collection is empty was left out.
    fn skipped_empty(&mut self, key: &[u8]);
}

/// What stands in front of a record.
#[derive(Default)]
struct Pending {
    expire: Option<u64>,
    usage: Option<Usage>,
}

/// Reads a whole file, up to and including its checksum.
///
/// # Errors
/// [`Bad`] at the first thing that is not as it should be; what came before has been received.
pub fn read(
    source: &mut Source<'_>,
    making: &Making,
    verify: bool,
    to: &mut dyn Receiver,
) -> Result<(), Bad> {
    let format = header(source)?;
    let mut db = 0;
    let mut pending = Pending::default();
    loop {
        let code = source.byte()?;
        match code {
            op::EXPIRE => {
                let seconds = i64::from(i32::from_le_bytes(source.array()?));
                pending.expire = Some(instant(seconds.saturating_mul(1000)));
            }
            op::EXPIRE_MS => pending.expire = Some(instant(source.time()?)),
            op::IDLE => pending.usage = Some(Usage::Idle(source.number()?)),
            op::FREQUENCY => pending.usage = Some(Usage::Frequency(source.byte()?)),
            op::SELECT => db = source.number()?,
            op::RESIZE => {
                source.number()?;
                source.number()?;
            }
            op::SLOT_INFO => {
                if source.number()? >= u64::from(crate::util::crc::SLOTS) {
                    return Err(Bad::corrupt("a hash slot out of range"));
                }
                source.number()?;
                source.number()?;
            }
            op::AUX => {
                let (name, value) = (source.string()?, source.string()?);
                to.aux(&name, &value);
            }
            op::FUNCTION => to.function(source.string()?)?,
            op::FUNCTION_EARLY => return Err(Bad::corrupt("Pre-release function format not supported.")),
            op::MODULE_AUX => skip_module(source)?,
            op::END => return end(source, format, verify),
            code => {
                let kind = format.kind(code);
                let key = source.string()?;
                let Pending { expire, usage } = std::mem::take(&mut pending);
                match decode::value(source, kind, making) {
                    Ok(value) => {
                        to.record(Record { db, key, value, expire, usage: usage.unwrap_or(Usage::Unknown) })?;
                    }
                    Err(Bad::Empty) => to.skipped_empty(&key),
                    Err(Bad::Corrupt(why)) => {
                        let key = crate::error::clip(&key, 128);
                        return Err(Bad::Corrupt(format!("{why} (key '{key}')")));
                    }
                    Err(other) => return Err(other),
                }
            }
        }
    }
}

/// An expiry before 1970 is one long past.
fn instant(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or(1).max(1)
}

/// Whose file it is, and its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Redis(u16),
    Valkey,
}

impl Format {
    /// What a type's number in the file means.
    fn kind(self, kind: u8) -> u8 {
        match (self, kind) {
            (Format::Valkey, kind::HASH_EXPIRING_EARLY) => kind::HASH_EXPIRING_VALKEY,
            // These are Redis's alone.
            (Format::Valkey, kind::HASH_EXPIRING_PACKED_EARLY..) => u8::MAX,
            _ => kind,
        }
    }
}

fn header(source: &mut Source<'_>) -> Result<Format, Bad> {
    let magic: [u8; 9] = source.array()?;
    let number = |text: &[u8]| std::str::from_utf8(text).ok().and_then(|text| text.parse::<u16>().ok());
    let unknown = |version: Option<u16>| {
        Bad::Corrupt(format!("Can't handle RDB format version {}", version.unwrap_or_default()))
    };
    if let Some(version) = magic.strip_prefix(b"REDIS") {
        let version = number(version);
        let known = version.filter(|version| (1..=VERSION).contains(version));
        return known.map(Format::Redis).ok_or_else(|| unknown(version));
    }
    match magic.strip_prefix(b"VALKEY").map(number) {
        Some(Some(VALKEY_VERSION)) => Ok(Format::Valkey),
        Some(version) => Err(unknown(version)),
        None => Err(Bad::corrupt("Wrong signature trying to load DB from file")),
    }
}

/// Compares the checksum, which files have since version 5. 0 means that none was made.
fn end(source: &mut Source<'_>, format: Format, verify: bool) -> Result<(), Bad> {
    if matches!(format, Format::Redis(..5)) {
        return Ok(());
    }
    let computed = source.checksum();
    let stored = u64::from_le_bytes(source.array()?);
    if verify && stored != 0 && stored != computed {
        tracing::error!("Wrong RDB checksum expected: ({computed:x}) but got ({stored:x}). Aborting now.");
        return Err(Bad::corrupt("RDB CRC error"));
    }
    Ok(())
}

/// Passes over what a module left, which is made so that this is possible.
fn skip_module(source: &mut Source<'_>) -> Result<(), Bad> {
    source.number()?;
    source.number()?;
    source.number()?;
    loop {
        match source.len_or_form()? {
            Len::Plain(0) => return Ok(()),
            Len::Plain(1 | 2) => {
                source.number()?;
            }
            Len::Plain(3) => {
                source.array::<4>()?;
            }
            Len::Plain(4) => {
                source.array::<8>()?;
            }
            Len::Plain(5) => {
                source.string()?;
            }
            _ => return Err(Bad::corrupt("module data that cannot be skipped")),
        }
    }
}
