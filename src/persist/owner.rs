//! May this server write the snapshot file? Only one may: a server that saves by itself holds a lock beside the file for
//! as long as it does, and another one that would write the same file is refused. Servers that share a directory and
//! write different files, or none, know nothing of each other.
//!
//! ```text
//! dump.rdb         the snapshot: a new file each time, so that no lock could stay on it
//! dump.rdb.lock    empty; locked (flock) by the server that has save points. It stays when the server is gone; the lock
//!                  does not, whatever ended it. Redis takes no notice of it.
//! ```
//!
//! The append-only file needs no such thing: it is locked itself, see [`crate::persist::disk::RealDisk`].

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::config::Config;
use crate::persist::disk::{Disk, DiskFile};

/// The lock that is held, if one is, with its path.
#[derive(Default)]
pub struct Owner(Mutex<Option<(PathBuf, Arc<dyn DiskFile>)>>);

fn lock_of(snapshot: &Path) -> PathBuf {
    let mut name = snapshot.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

fn refusal(snapshot: &Path) -> io::Error {
    io::Error::new(
        io::ErrorKind::WouldBlock,
        format!(
            "{} belongs to another server that is running. Give this one another dir or dbfilename, or no save points (save \"\")",
            snapshot.display()
        ),
    )
}

/// The lock, if nobody else has it. `None` when it cannot be asked for, as in a directory that nobody may write to:
/// that is for the save to complain of.
fn take(disk: &dyn Disk, snapshot: &Path) -> io::Result<Option<Arc<dyn DiskFile>>> {
    match disk.append(&lock_of(snapshot)) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(refusal(snapshot)),
        Err(_) => Ok(None),
    }
}

impl Owner {
    /// Becomes the one that writes the snapshot file of the settings, or lets go of it when they ask for no saves.
    ///
    /// # Errors
    /// When another server is.
    pub fn follow(&self, disk: &dyn Disk, config: &Config) -> io::Result<()> {
        let mut held = self.0.lock();
        if config.save.0.is_empty() {
            *held = None;
            return Ok(());
        }
        let snapshot = config.dir.join(&config.dbfilename);
        let path = std::path::absolute(lock_of(&snapshot))?;
        if held.as_ref().is_some_and(|(of, _)| *of == path) {
            return Ok(());
        }
        *held = take(disk, &snapshot)?.map(|file| (path, file));
        Ok(())
    }

    /// For a save that somebody asked for: goes on, with what keeps others away until it is dropped, unless another
    /// server writes this file.
    ///
    /// # Errors
    /// When another server does.
    pub fn guard(&self, disk: &dyn Disk, snapshot: &Path) -> io::Result<Option<Arc<dyn DiskFile>>> {
        let lock = lock_of(snapshot);
        let held = self.0.lock();
        let own = std::path::absolute(&lock)?;
        if held.as_ref().is_some_and(|(of, _)| *of == own) || !disk.exists(&lock) {
            return Ok(None);
        }
        take(disk, snapshot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::values::{Dir, SavePoint, SavePoints};
    use crate::persist::disk::RealDisk;

    fn config(dir: &Path, name: &str, saves: bool) -> Config {
        let points = if saves { vec![SavePoint { seconds: 60, changes: 1 }] } else { Vec::new() };
        let mut config = Config { dir: Dir(dir.into()), save: SavePoints(points), ..Config::default() };
        config.dbfilename = crate::config::kinds::text(name);
        config
    }

    #[test]
    fn one_server_writes_a_snapshot_file_and_others_write_others() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (Owner::default(), Owner::default());
        let own = config(dir.path(), "dump.rdb", true);
        one.follow(&RealDisk, &own).unwrap();
        one.follow(&RealDisk, &own).unwrap();
        let refused = other.follow(&RealDisk, &own).unwrap_err().to_string();
        assert!(refused.contains("dump.rdb belongs to another server"), "{refused}");
        let snapshot = dir.path().join("dump.rdb");
        assert!(other.guard(&RealDisk, &snapshot).is_err());
        assert!(one.guard(&RealDisk, &snapshot).is_ok());
        // Another file, or none.
        other.follow(&RealDisk, &config(dir.path(), "other.rdb", true)).unwrap();
        Owner::default().follow(&RealDisk, &config(dir.path(), "dump.rdb", false)).unwrap();
        // Who saves no more, or is no more, is in nobody's way.
        one.follow(&RealDisk, &config(dir.path(), "dump.rdb", false)).unwrap();
        other.follow(&RealDisk, &own).unwrap();
        assert!(one.guard(&RealDisk, &snapshot).is_err());
        drop(other);
        one.follow(&RealDisk, &own).unwrap();
    }

    #[test]
    fn where_nobody_saves_a_save_leaves_no_lock_behind() {
        let dir = tempfile::tempdir().unwrap();
        let snapshot = dir.path().join("dump.rdb");
        assert!(Owner::default().guard(&RealDisk, &snapshot).unwrap().is_none());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
