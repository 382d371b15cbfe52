//! How does the real persistence run without a server? On a disk in memory, with keys that are set to numbers and a log
//! that knows SET: what a test needs to crash it, fill its disk and read what is left.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use peregrine::config::Config;
use peregrine::config::choices::Appendfsync;
use peregrine::config::live::Live;
use peregrine::config::values::{Dir, SavePoints};
use peregrine::ds::entry::View;
use peregrine::keyspace::{Keyspace, Locked};
use peregrine::log::Log;
use peregrine::log::entry::{Logged, encode_command};
use peregrine::persist::aof;
use peregrine::persist::aof::load::Replay;
use peregrine::persist::rdb::Bad;
use peregrine::persist::rdb::decode::Decoded;
use peregrine::persist::{Persist, World, load};
use peregrine::stats::Stats;
use peregrine::util::clock::Clock;
use peregrine::util::hash::Seed;

use super::simdisk::SimDisk;

/// Where the files are.
pub const DIR: &str = "/data";

/// What is kept, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeping {
    /// The append-only file, with this policy.
    Log(Appendfsync),
    /// Snapshots.
    Snapshots,
}

/// Keys and what they were set to.
pub type Data = BTreeMap<u64, u64>;

/// One run of the server, as far as persistence goes.
pub struct Life {
    /// The data.
    pub keyspace: Keyspace,
    /// The settings.
    pub config: Live,
    stats: Stats,
    /// The write log.
    pub log: Log,
    /// What persistence remembers.
    pub persist: Persist,
}

impl Life {
    /// A server that has not started, on what the disk holds.
    pub fn new(disk: &SimDisk, keeping: Keeping, rdb_base: bool, now_s: u64) -> Life {
        let mut config = Config { dir: Dir(DIR.into()), ..Config::default() };
        config.save = SavePoints(Vec::new());
        config.aof_use_rdb_preamble = rdb_base;
        if let Keeping::Log(policy) = keeping {
            config.appendonly = true;
            config.appendfsync = policy;
        }
        let persist = Persist::on(Arc::new(disk.clone()), now_s);
        Life {
            keyspace: Keyspace::new(4, 1, Seed::new([1, 2])),
            config: Live::new(config),
            stats: Stats::new(1, 1),
            log: Log::default(),
            persist,
        }
    }

    /// What persistence works with.
    pub fn world<'a>(&'a self, clock: &'a dyn Clock) -> World<'a> {
        World {
            keyspace: &self.keyspace,
            config: &self.config,
            stats: &self.stats,
            clock,
            log: &self.log,
            persist: &self.persist,
        }
    }

    /// Sets a key of database 0.
    pub fn set(locks: &mut Locked<'_>, name: &[u8], value: &[u8]) {
        let key = locks.keyspace().key(name);
        locks.with_shard(usize::from(key.shard), |shard| {
            shard.remove(0, &key);
            shard.insert(0, &key, load::slot(name, Decoded::Str(value.to_vec()), None));
        });
    }

    /// Starts as the server does.
    ///
    /// # Errors
    /// When there is data that cannot be read: what the log would say.
    pub fn start(&self, clock: &dyn Clock) -> Result<(), String> {
        let world = self.world(clock);
        let on = self.config.load().appendonly;
        let found = on && aof::load::all(world, &mut Player(self)).map_err(|error| error.to_string())?;
        if !found {
            let path = Path::new(DIR).join("dump.rdb");
            load::snapshot_file(world, &mut self.keyspace.locked_none(), &path, load::Rules::default())
                .map_err(|bad| bad.to_string())?;
        }
        if on { aof::load::open(world).map_err(|error| error.to_string()) } else { Ok(()) }
    }

    /// What is there; all keys and values must be numbers, dots aside.
    pub fn data(&self) -> Data {
        let mut data = Data::new();
        let number =
            |bytes: &[u8]| std::str::from_utf8(bytes).unwrap().trim_end_matches('.').parse().unwrap();
        self.keyspace.locked_all().each(|_, shard| {
            for entry in &shard.dbs[0].table {
                let value = match entry.view() {
                    View::Int(n) => n as u64,
                    View::Str(bytes) => number(bytes),
                    View::Value(peregrine::value::Value::Str(bytes)) => number(bytes),
                    View::Value(_) => panic!("a value that nobody made"),
                };
                data.insert(number(entry.key()), value);
            }
        });
        data
    }

    /// An operation: its effect, and the log, under the locks.
    pub fn operate(&self, keys: &[u64], value: &[u8]) -> u64 {
        let mut locks = self.keyspace.locked_all();
        let mut unit = Vec::new();
        for key in keys {
            let name = key.to_string();
            Life::set(&mut locks, name.as_bytes(), value);
            unit.push(Logged::new(0, encode_command(&[b"SET", name.as_bytes(), value])));
        }
        self.log.append(&unit).log
    }
}

/// Runs the commands of the log.
struct Player<'l>(&'l Life);

impl Replay for Player<'_> {
    fn with_locks(&mut self, load: &mut dyn FnMut(&mut Locked<'_>) -> Result<(), Bad>) -> Result<(), Bad> {
        load(&mut self.0.keyspace.locked_none())
    }

    fn begin_file(&mut self) {}

    fn run(&mut self, argv: &[&[u8]]) -> Result<(), String> {
        match argv {
            [b"SET", name, value] => Life::set(&mut self.0.keyspace.locked_none(), name, value),
            [b"SELECT", b"0"] => {}
            other => return Err(format!("{other:?}")),
        }
        Ok(())
    }
}
