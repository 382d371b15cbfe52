//! Who is this node of a cluster, and which hash slots does it serve?
//!
//! A cluster has one node today: this one. It serves the slots that it has been given and nobody serves the others;
//! what needs a second node is refused by the commands. There is no bus.
//!
//! Invariants: what a command is routed by ([`Cluster::serves`]) is read without a lock; every change goes to the disk
//! ([`file`]) before it takes effect, so that a slot that has been confirmed is there after a restart.

pub mod courier;
pub mod file;
pub mod slots;

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use rustix::fs::{FlockOperation, flock};

use crate::config::{Config, rewrite};
use crate::util::crc::SLOTS;
use crate::util::rng::hex_id;
use slots::SlotSet;

/// Words of the bitmap of slots.
const WORDS: usize = SLOTS as usize / 64;

/// What a node knows of itself, as the file keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Forty hexadecimal digits.
    pub id: String,
    /// Forty hexadecimal digits that the nodes with the same slots share.
    pub shard: String,
    /// The version of its claim to its slots.
    pub config_epoch: u64,
    /// The newest version that it has seen anywhere.
    pub current_epoch: u64,
    /// The last election that it voted in.
    pub last_vote_epoch: u64,
    /// The slots that it serves.
    pub slots: SlotSet,
}

impl Node {
    /// A node that nobody has met.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn fresh() -> io::Result<Self> {
        Ok(Node {
            id: hex_id()?,
            shard: hex_id()?,
            config_epoch: 0,
            current_epoch: 0,
            last_vote_epoch: 0,
            slots: SlotSet::default(),
        })
    }
}

/// Under which address clients and other nodes are told to find this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Empty as long as nobody has said.
    pub ip: String,
    /// The port for clients.
    pub port: u16,
    /// Their port with TLS; 0 is none.
    pub tls_port: u16,
    /// The port of the bus.
    pub bus_port: u16,
    /// May be empty.
    pub hostname: String,
    /// For people; may be empty.
    pub nodename: String,
}

impl Address {
    /// What the settings announce.
    pub fn of(config: &Config) -> Self {
        let or = |announced: u16, own: u16| if announced > 0 { announced } else { own };
        let base = if config.tls_cluster { config.tls_port } else { config.port };
        let bus = or(config.cluster_port, base.saturating_add(BUS_OFFSET));
        Address {
            ip: config.cluster_announce_ip.to_string(),
            port: or(config.cluster_announce_port, config.port),
            tls_port: or(config.cluster_announce_tls_port, config.tls_port),
            bus_port: or(config.cluster_announce_bus_port, bus),
            hostname: config.cluster_announce_hostname.to_string(),
            nodename: config.cluster_announce_human_nodename.to_string(),
        }
    }
}

/// How far the port of the bus is from that for clients, unless it is configured.
pub const BUS_OFFSET: u16 = 10_000;

/// The node, and what it remembers.
#[derive(Debug)]
pub struct Cluster {
    served: [AtomicU64; WORDS],
    count: AtomicUsize,
    node: Mutex<Node>,
    path: PathBuf,
    /// Held as long as the server runs: no two servers are the same node.
    _lock: File,
}

impl Cluster {
    /// Reads who this node is from the file that the settings name, or makes it somebody new.
    ///
    /// # Errors
    /// When the file cannot be used, or belongs to a server that runs, or tells of nodes that this server cannot reach.
    pub fn open(config: &Config) -> io::Result<Self> {
        let highest = u16::MAX - BUS_OFFSET;
        if config.cluster_port == 0 && config.port > highest {
            return Err(io::Error::other(format!(
                "the port number {} is too high for cluster mode: at most {highest}, or say cluster-port",
                config.port
            )));
        }
        let path = config.dir.join(&config.cluster_config_file);
        let lock = claim(&path)?;
        let text = std::fs::read_to_string(&path)?;
        let node = if text.is_empty() {
            let node = Node::fresh()?;
            tracing::info!("No cluster configuration found, I'm {}", node.id);
            node
        } else {
            let node =
                file::parse(&text).map_err(|why| io::Error::other(format!("{}: {why}", path.display())))?;
            tracing::info!("Node configuration loaded, I'm {}", node.id);
            node
        };
        let cluster = Cluster {
            served: [const { AtomicU64::new(0) }; WORDS],
            count: AtomicUsize::new(0),
            node: Mutex::new(node),
            path,
            _lock: lock,
        };
        cluster.change(config, |_| ())?;
        Ok(cluster)
    }

    /// True when this node serves a slot.
    pub fn serves(&self, slot: u16) -> bool {
        let word = self.served.get(usize::from(slot) / 64).map_or(0, |w| w.load(Ordering::Acquire));
        word & 1 << (slot % 64) != 0
    }

    /// Number of slots that are served.
    pub fn served(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// True when clients are served: there is a slot, and if the settings ask for it, there are all.
    pub fn is_healthy(&self, config: &Config) -> bool {
        let served = self.served();
        served > 0 && (!config.cluster_require_full_coverage || served == usize::from(SLOTS))
    }

    /// What the node knows of itself.
    pub fn node(&self) -> Node {
        self.node.lock().clone()
    }

    /// Changes what the node knows of itself, on the disk first.
    ///
    /// # Errors
    /// Those of the disk; nothing has changed then.
    pub fn change<T>(&self, config: &Config, f: impl FnOnce(&mut Node) -> T) -> io::Result<T> {
        let mut node = self.node.lock();
        let mut changed = node.clone();
        let result = f(&mut changed);
        // The lock is on the file that is there: it is written in place of its content, by a new one.
        rewrite::replace(&self.path, file::text(&changed, &Address::of(config)).as_bytes())?;
        for (word, bits) in self.served.iter().zip(changed.slots.words()) {
            word.store(*bits, Ordering::Release);
        }
        self.count.store(changed.slots.len(), Ordering::Release);
        *node = changed;
        Ok(result)
    }
}

/// Makes sure that no other server uses the file. The lock is on a file beside it, since the file itself is replaced
/// by each change.
fn claim(path: &Path) -> io::Result<File> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_os_string();
    name.push(".lock");
    let lock = OpenOptions::new().create(true).append(true).open(path.with_file_name(name))?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
        tracing::error!(
            "Sorry, the cluster configuration file {} is already used by a different Redis Cluster node. Please \
             make sure that different nodes use different cluster configuration files.",
            path.display()
        );
        io::Error::from(error)
    })?;
    OpenOptions::new().create(true).append(true).open(path)?;
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> (tempfile::TempDir, Config) {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.dir.0 = dir.path().to_path_buf();
        (dir, config)
    }

    #[test]
    fn slots_are_there_after_a_restart() {
        let (_dir, config) = config();
        let cluster = Cluster::open(&config).unwrap();
        assert!(!cluster.is_healthy(&config));
        cluster.change(&config, |node| node.slots.insert(7)).unwrap();
        assert!(cluster.serves(7) && !cluster.serves(8) && cluster.served() == 1);
        let node = cluster.node();
        drop(cluster);
        let again = Cluster::open(&config).unwrap();
        assert_eq!(again.node(), node);
        assert!(again.serves(7));
    }

    #[test]
    fn two_servers_are_never_the_same_node() {
        let (_dir, config) = config();
        let first = Cluster::open(&config).unwrap();
        assert!(Cluster::open(&config).is_err());
        drop(first);
        assert!(Cluster::open(&config).is_ok());
    }

    #[test]
    fn healthy_is_what_the_settings_say() {
        let (_dir, mut config) = config();
        let cluster = Cluster::open(&config).unwrap();
        cluster.change(&config, |node| (1..SLOTS).for_each(|slot| node.slots.insert(slot))).unwrap();
        assert!(!cluster.is_healthy(&config));
        config.cluster_require_full_coverage = false;
        assert!(cluster.is_healthy(&config));
        config.cluster_require_full_coverage = true;
        cluster.change(&config, |node| node.slots.insert(0)).unwrap();
        assert!(cluster.is_healthy(&config));
    }

    #[test]
    fn a_change_that_cannot_be_kept_is_not_made() {
        let (dir, config) = config();
        let cluster = Cluster::open(&config).unwrap();
        dir.close().unwrap();
        assert!(cluster.change(&config, |node| node.slots.insert(7)).is_err());
        assert!(!cluster.serves(7) && cluster.node().slots.is_empty());
    }
}
