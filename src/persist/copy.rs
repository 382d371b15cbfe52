//! How does a second keyspace get the data of this one? As a snapshot that goes through memory: clients wait for no
//! longer than they do for a background save.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::config::REDIS_VERSION;
use crate::persist::rdb::encode::Encoder;
use crate::persist::rdb::file::{self, Preamble};
use crate::persist::rdb::source::Source;
use crate::persist::rdb::{VERSION, op};
use crate::persist::snapshot::{self, Options};
use crate::persist::{Child, World, load, save};

/// How long to wait before the next look whether another background task has ended.
const PATIENCE: Duration = Duration::from_millis(20);

/// Puts the data of `from`, as it is at one moment, into `into`, which is empty. Waits for a background task that is
/// under way. The caller holds no lock of either.
///
/// # Errors
/// When there is no room for it under `maxmemory`, or the server is ending.
pub fn copy(from: World<'_>, into: World<'_>) -> io::Result<()> {
    let most = from.config.load().maxmemory;
    if most > 0 && (crate::ALLOCATOR.used() as u64).saturating_mul(2) > most {
        return Err(io::Error::other("the data would not fit into 'maxmemory' twice"));
    }
    while !from.persist.claim(Child::Copy) {
        if from.persist.ending.load(Ordering::Acquire) {
            return Err(io::Error::other("the server is shutting down"));
        }
        std::thread::sleep(PATIENCE);
    }
    let picture = picture(from);
    from.persist.release();
    let bytes = picture?;
    let mut locks = into.keyspace.locked_all();
    load::stream(into, &mut locks, &mut Source::new(&mut &bytes[..]), load::Rules::default())
        .map_err(|bad| io::Error::other(bad.to_string()))
}

/// The data as a snapshot file holds it, without a checksum.
fn picture(world: World<'_>) -> io::Result<Vec<u8>> {
    let usual = save::options(&world.config.load(), world.now_s());
    let options = Options { version: VERSION, compress: false, delay: 0, ..usual };
    let snapshot = snapshot::begin(&mut world.keyspace.locked_all(), options);
    let mut encoder = Encoder::new(VERSION, false);
    file::begin(&mut encoder, &Preamble { redis_version: REDIS_VERSION, ..Preamble::default() });
    let mut bytes = encoder.out;
    snapshot.walk(world.keyspace, |more| {
        bytes.extend_from_slice(more);
        Ok(())
    })?;
    bytes.push(op::END);
    bytes.extend_from_slice(&[0; 8]);
    Ok(bytes)
}
