//! How do files get written? Everything that persists goes through [`Disk`], so that tests can put a disk in its place
//! that forgets what was not made durable.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

/// An open file that is written to. All methods take `&self`: one thread may make durable what another goes on
/// appending to.
pub trait DiskFile: Send + Sync {
    /// Appends all of `bytes`. After an error any prefix of them may be there: see [`DiskFile::cut`].
    ///
    /// # Errors
    /// Those of write(2).
    fn write(&self, bytes: &[u8]) -> io::Result<()>;

    /// Makes everything written so far survive a loss of power.
    ///
    /// # Errors
    /// Those of fdatasync(2). After one, nothing is known of what was written since the last success.
    fn sync(&self) -> io::Result<()>;

    /// Shortens the file to `len` bytes.
    ///
    /// # Errors
    /// Those of ftruncate(2).
    fn cut(&self, len: u64) -> io::Result<()>;

    /// False when the file has been deleted: what is written to it is gone when it is closed.
    fn has_name(&self) -> bool {
        true
    }
}

/// A place for files.
pub trait Disk: Send + Sync {
    /// Makes an empty file, in place of one that is there.
    ///
    /// # Errors
    /// Those of open(2).
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file to append to it; makes it when there is none.
    ///
    /// # Errors
    /// Those of open(2).
    fn append(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file to read it from its beginning.
    ///
    /// # Errors
    /// Those of open(2).
    fn read(&self, path: &Path) -> io::Result<Box<dyn Read + Send>>;

    /// The length of a file in bytes.
    ///
    /// # Errors
    /// Those of stat(2).
    fn len(&self, path: &Path) -> io::Result<u64>;

    /// Shortens a file to `len` bytes, durably.
    ///
    /// # Errors
    /// Those of truncate(2) and fsync(2).
    fn truncate(&self, path: &Path, len: u64) -> io::Result<()>;

    /// Gives a file another name; a file of that name is replaced.
    ///
    /// # Errors
    /// Those of rename(2).
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name, which must be free.
    ///
    /// # Errors
    /// Those of link(2).
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// Those of unlink(2).
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes a directory if there is none.
    ///
    /// # Errors
    /// Those of mkdir(2).
    fn make_dir(&self, path: &Path) -> io::Result<()>;

    /// The names in a directory.
    ///
    /// # Errors
    /// Those of opendir(3).
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Makes the names in a directory survive a loss of power.
    ///
    /// # Errors
    /// Those of fsync(2).
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// True when there is something of this name.
    fn exists(&self, path: &Path) -> bool {
        self.len(path).is_ok()
    }

    /// Makes a directory, if there is none, that survives a loss of power.
    ///
    /// # Errors
    /// Those of [`Disk::make_dir`] and [`Disk::sync_dir`].
    fn ensure_dir(&self, path: &Path) -> io::Result<()> {
        self.make_dir(path)?;
        self.sync_dir(path.parent().unwrap_or(Path::new(".")))
    }

    /// Renames a file that has been made durable, and makes its new name durable.
    ///
    /// # Errors
    /// Those of [`Disk::rename`] and [`Disk::sync_dir`].
    fn publish(&self, from: &Path, to: &Path) -> io::Result<()> {
        let dir = |path: &Path| path.parent().unwrap_or(Path::new(".")).to_owned();
        // First the name that it has: lest another file that once had it gets the new one.
        self.sync_dir(&dir(from))?;
        self.rename(from, to)?;
        self.sync_dir(&dir(to))
    }
}

/// The machine's file systems.
#[derive(Debug, Default)]
pub struct RealDisk;

impl DiskFile for File {
    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file = self;
        file.write_all(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn cut(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn has_name(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        self.metadata().map_or(true, |m| m.nlink() > 0)
    }
}

/// The file, if no other server writes to it.
fn owned(file: File, path: &Path) -> io::Result<File> {
    use rustix::fs::{FlockOperation, flock};
    flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
        let error = io::Error::from(error);
        io::Error::new(error.kind(), format!("{} is in use by another server ({error})", path.display()))
    })?;
    Ok(file)
}

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        // Appending, so that after a cut the next write stands where the file ends.
        let file = owned(OpenOptions::new().append(true).create(true).open(path)?, path)?;
        file.set_len(0)?;
        Ok(Arc::new(file))
    }

    fn append(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(owned(OpenOptions::new().append(true).create(true).open(path)?, path)?))
    }

    fn read(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(File::open(path)?))
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        fs::metadata(path).map(|m| m.len())
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(len)?;
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(if dir.as_os_str().is_empty() { Path::new(".") } else { dir })?.sync_all()
    }
}
