//! What does a disk do that loses its power, or its temper? A disk in memory behind the server's `Disk`: it keeps what
//! was made durable apart from what was only written, and a crash decides by a seed what becomes of the difference.
//!
//! ```text
//! file    durable bytes | writes and cuts since the last sync, each of which may be lost, and the last of which may tear
//! names   durable names | names given and taken since the directory's last sync, each of which may be lost
//! ```
//!
//! Faults come by a number: the n-th operation fails (EIO, ENOSPC, a short write, a sync that fails and forgets what it
//! was to make durable), or is the last one of the process.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use peregrine::persist::disk::{Disk, DiskFile};

use super::rng::Rng;

/// What a thread that dies in a disk operation panics with.
pub struct Died;

/// What goes wrong at an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing of it is done.
    Error(i32),
    /// A write is done in part, and then fails.
    Short,
    /// The process dies before it.
    Death,
}

/// The operations that can be made to fail from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Writing to a file.
    Write,
    /// Making a file durable.
    Sync,
    /// Everything else.
    Other,
}

/// What a loss of power does to what was not made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The process dies, the machine goes on: nothing is lost.
    Nothing,
    /// What was written survives up to some byte.
    Prefix,
    /// What was written survives up to some byte, and zeros follow.
    Zeros,
    /// Any write may be lost, and its place is filled with zeros.
    Holes,
}

#[derive(Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Cut(u64),
}

#[derive(Clone, Default)]
struct Node {
    now: Vec<u8>,
    durable: Vec<u8>,
    since: Vec<Change>,
}

#[derive(Clone)]
enum Naming {
    Give(PathBuf, usize),
    Take(PathBuf),
    /// From, to: one step.
    Move(PathBuf, PathBuf),
}

#[derive(Clone, Default)]
struct State {
    nodes: Vec<Node>,
    names: BTreeMap<PathBuf, usize>,
    durable: BTreeMap<PathBuf, usize>,
    since: Vec<Naming>,
    operations: u64,
    /// At which operations what goes wrong.
    faults: BTreeMap<u64, Fault>,
    /// How many have.
    struck: u64,
    /// What fails until further notice, and with which error.
    broken: Option<(Call, i32)>,
    /// Whoever makes a file durable waits for this.
    slow: Option<Arc<Mutex<()>>>,
}

/// The disk; its clones are the same disk.
#[derive(Clone, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

/// Directories are nodes of their own kind.
const DIR: usize = usize::MAX;

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Cut(len) => bytes.resize(*len as usize, 0),
        Change::Write(at, data) => {
            let (at, end) = (*at as usize, *at as usize + data.len());
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[at..end].copy_from_slice(data);
        }
    }
}

fn rename(names: &mut BTreeMap<PathBuf, usize>, naming: &Naming) {
    match naming {
        Naming::Give(path, node) => {
            names.insert(path.clone(), *node);
        }
        Naming::Take(path) => {
            names.remove(path);
        }
        Naming::Move(from, to) => {
            if let Some(node) = names.remove(from) {
                names.insert(to.clone(), node);
            }
        }
    }
}

impl Naming {
    fn is_in(&self, dir: &Path) -> bool {
        match self {
            Naming::Give(path, _) | Naming::Take(path) => path.parent() == Some(dir),
            Naming::Move(_, to) => to.parent() == Some(dir),
        }
    }
}

/// What is on it, for those who look for a fault.
impl std::fmt::Display for SimDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.state();
        for (path, node) in &state.names {
            match state.nodes.get(*node) {
                Some(n) if path.to_string_lossy().ends_with("manifest") => {
                    writeln!(
                        f,
                        "  {}: {}",
                        path.display(),
                        String::from_utf8_lossy(&n.now).replace('\n', " | ")
                    )?;
                }
                Some(n) => writeln!(f, "  {}: {} bytes", path.display(), n.now.len())?,
                None => writeln!(f, "  {}/", path.display())?,
            }
        }
        Ok(())
    }
}

impl SimDisk {
    /// An empty disk with a directory.
    pub fn new(dir: &Path) -> SimDisk {
        let disk = SimDisk::default();
        disk.state().names.insert(dir.into(), DIR);
        disk.state().durable.insert(dir.into(), DIR);
        disk
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Another disk that holds the same, and has the same still to lose.
    pub fn fork(&self) -> SimDisk {
        SimDisk(Arc::new(Mutex::new(self.state().clone())))
    }

    /// From now on the operations count from 0, and these go wrong.
    pub fn plan(&self, faults: impl IntoIterator<Item = (u64, Fault)>) {
        let mut state = self.state();
        state.operations = 0;
        state.struck = 0;
        state.faults = faults.into_iter().collect();
    }

    /// How many faults have struck.
    pub fn struck(&self) -> u64 {
        self.state().struck
    }

    /// Every operation of a kind fails, until it is said otherwise.
    pub fn break_down(&self, what: Option<(Call, i32)>) {
        self.state().broken = what;
    }

    /// Who holds this lock keeps everyone waiting who makes a file durable.
    pub fn slow_syncs(&self) -> Arc<Mutex<()>> {
        self.state().slow.get_or_insert_default().clone()
    }

    /// The bytes of a file, and a way to change them.
    pub fn change(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let node = self.find(path).unwrap();
        let mut state = self.state();
        change(&mut state.nodes[node].now);
        state.nodes[node].durable = state.nodes[node].now.clone();
    }

    /// An operation: what is wrong with it.
    fn operation(&self, call: Call) -> io::Result<bool> {
        if let Some((_, code)) = self.state().broken.filter(|(what, _)| *what == call) {
            return Err(io::Error::from_raw_os_error(code));
        }
        let fault = {
            let mut state = self.state();
            let n = state.operations;
            state.operations += 1;
            let fault = state.faults.remove(&n);
            state.struck += u64::from(fault.is_some());
            fault
        };
        match fault {
            None => Ok(false),
            Some(Fault::Short) => Ok(true),
            Some(Fault::Error(code)) => Err(io::Error::from_raw_os_error(code)),
            Some(Fault::Death) => std::panic::resume_unwind(Box::new(Died)),
        }
    }

    /// The process is gone, and maybe the power: what is left is what the next process finds.
    pub fn crash(&self, loss: Loss, rng: &mut Rng) {
        let mut state = self.state();
        let state = &mut *state;
        if loss != Loss::Nothing {
            let mut names = std::mem::take(&mut state.durable);
            for naming in state.since.drain(..).collect::<Vec<_>>() {
                if rng.below(2) == 0 {
                    rename(&mut names, &naming);
                }
            }
            state.names = names;
            // What is in a directory that is gone is gone.
            let dirs: Vec<PathBuf> =
                state.names.iter().filter(|(_, n)| **n == DIR).map(|(path, _)| path.clone()).collect();
            state.names.retain(|path, _| {
                path.parent().is_none_or(|dir| dir == Path::new("/") || dirs.iter().any(|d| d == dir))
            });
            for node in &mut state.nodes {
                survive(node, loss, rng);
            }
        }
        for node in &mut state.nodes {
            node.durable = node.now.clone();
            node.since.clear();
        }
        state.durable = state.names.clone();
        state.since.clear();
        state.faults.clear();
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        self.state().names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn open(&self, path: &Path, empty: bool) -> io::Result<Arc<dyn DiskFile>> {
        self.operation(Call::Other)?;
        let mut state = self.state();
        let known = state.names.get(path).copied();
        if known.is_none() && state.names.get(path.parent().unwrap_or(Path::new("/"))) != Some(&DIR) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let node = known.unwrap_or_else(|| {
            state.nodes.push(Node::default());
            let node = state.nodes.len() - 1;
            state.names.insert(path.into(), node);
            state.since.push(Naming::Give(path.into(), node));
            node
        });
        if empty && !state.nodes[node].now.is_empty() {
            state.nodes[node].now.clear();
            state.nodes[node].since.push(Change::Cut(0));
        }
        Ok(Arc::new(SimFile { disk: self.clone(), node }))
    }

    fn name(&self, naming: Naming) {
        let mut state = self.state();
        rename(&mut state.names, &naming);
        state.since.push(naming);
    }
}

/// What is left of a file.
fn survive(node: &mut Node, loss: Loss, rng: &mut Rng) {
    let changes = std::mem::take(&mut node.since);
    let mut bytes = node.durable.clone();
    let keep = rng.below(changes.len() + 1);
    for (i, change) in changes.iter().enumerate() {
        match (loss, change) {
            (Loss::Holes, Change::Write(at, data)) if rng.below(2) == 0 => {
                let end = *at as usize + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
            }
            (Loss::Holes, change) => apply(&mut bytes, change),
            (_, change) if i < keep => apply(&mut bytes, change),
            (_, Change::Write(at, data)) if i == keep => {
                let torn = Change::Write(*at, data[..rng.below(data.len() + 1)].to_vec());
                apply(&mut bytes, &torn);
                if loss == Loss::Zeros {
                    let more = bytes.len() + rng.below(5000);
                    bytes.resize(more, 0);
                }
            }
            _ => {}
        }
    }
    node.now = bytes;
}

struct SimFile {
    disk: SimDisk,
    node: usize,
}

impl DiskFile for SimFile {
    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let short = self.disk.operation(Call::Write)?;
        let mut state = self.disk.state();
        let node = &mut state.nodes[self.node];
        let done = if short { &bytes[..bytes.len() / 2] } else { bytes };
        let change = Change::Write(node.now.len() as u64, done.to_vec());
        apply(&mut node.now, &change);
        node.since.push(change);
        if short { Err(io::Error::from_raw_os_error(28)) } else { Ok(()) }
    }

    fn sync(&self) -> io::Result<()> {
        let slow = self.disk.state().slow.clone();
        drop(slow.as_ref().map(|slow| slow.lock()));
        let result = self.disk.operation(Call::Sync);
        let mut state = self.disk.state();
        let node = &mut state.nodes[self.node];
        let changes = std::mem::take(&mut node.since);
        // A sync that fails forgets: the next one has nothing to do, and succeeds.
        if result.is_ok() {
            changes.iter().for_each(|change| apply(&mut node.durable, change));
        }
        result.map(|_| ())
    }

    fn cut(&self, len: u64) -> io::Result<()> {
        self.disk.operation(Call::Other)?;
        let mut state = self.disk.state();
        let node = &mut state.nodes[self.node];
        let change = Change::Cut(len);
        apply(&mut node.now, &change);
        node.since.push(change);
        Ok(())
    }

    fn has_name(&self) -> bool {
        self.disk.state().names.values().any(|node| *node == self.node)
    }
}

impl Disk for SimDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.open(path, true)
    }

    fn append(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.open(path, false)
    }

    fn read(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        let node = self.find(path)?;
        Ok(Box::new(Cursor::new(self.state().nodes[node].now.clone())))
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        let node = self.find(path)?;
        Ok(self.state().nodes.get(node).map_or(0, |n| n.now.len() as u64))
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        let file = SimFile { disk: self.clone(), node: self.find(path)? };
        file.cut(len)?;
        file.sync()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.operation(Call::Other)?;
        self.find(from)?;
        self.name(Naming::Move(from.into(), to.into()));
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.operation(Call::Other)?;
        let node = self.find(from)?;
        if self.find(to).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.name(Naming::Give(to.into(), node));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.operation(Call::Other)?;
        self.find(path)?;
        self.name(Naming::Take(path.into()));
        Ok(())
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        self.operation(Call::Other)?;
        if self.find(path).is_err() {
            self.name(Naming::Give(path.into(), DIR));
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        if self.find(dir)? != DIR {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let state = self.state();
        let inside = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.operation(Call::Other)?;
        let mut state = self.state();
        let (here, elsewhere): (Vec<_>, Vec<_>) = state.since.drain(..).partition(|naming| naming.is_in(dir));
        state.since = elsewhere;
        here.iter().for_each(|naming| rename(&mut state.durable, naming));
        Ok(())
    }
}
