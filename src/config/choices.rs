//! Which settings are a choice among names, and what are the names?

use crate::config::kinds::choices;

choices! {
    /// Which keys make room when `maxmemory` is reached.
    MaxmemoryPolicy {
        /// The least recently used among keys with an expiry.
        VolatileLru = "volatile-lru",
        /// The least frequently used among keys with an expiry.
        VolatileLfu = "volatile-lfu",
        /// Any key with an expiry.
        VolatileRandom = "volatile-random",
        /// The key that would expire first.
        VolatileTtl = "volatile-ttl",
        /// The least recently used of all keys.
        AllkeysLru = "allkeys-lru",
        /// The least frequently used of all keys.
        AllkeysLfu = "allkeys-lfu",
        /// Any key.
        AllkeysRandom = "allkeys-random",
        /// None: commands that need memory fail instead.
        Noeviction = "noeviction",
    }

    /// The `facility` of messages to syslog.
    SyslogFacility {
        /// LOG_USER.
        User = "user",
        /// LOG_LOCAL0.
        Local0 = "local0",
        /// LOG_LOCAL1.
        Local1 = "local1",
        /// LOG_LOCAL2.
        Local2 = "local2",
        /// LOG_LOCAL3.
        Local3 = "local3",
        /// LOG_LOCAL4.
        Local4 = "local4",
        /// LOG_LOCAL5.
        Local5 = "local5",
        /// LOG_LOCAL6.
        Local6 = "local6",
        /// LOG_LOCAL7.
        Local7 = "local7",
    }

    /// How much the server's own log says.
    Loglevel {
        /// Everything.
        Debug = "debug",
        /// Much of it rarely useful.
        Verbose = "verbose",
        /// What one wants in production.
        Notice = "notice",
        /// Only what is critical.
        Warning = "warning",
        /// Nothing at all.
        Nothing = "nothing",
    }

    /// Who watches over the process.
    Supervised {
        /// Upstart: the process stops itself when it is ready.
        Upstart = "upstart",
        /// Systemd: told through NOTIFY_SOCKET.
        Systemd = "systemd",
        /// Whichever of the two the environment shows.
        Auto = "auto",
        /// Nobody.
        No = "no",
    }

    /// When the append-only file is made durable.
    Appendfsync {
        /// Once a second.
        Everysec = "everysec",
        /// Before the client is answered.
        Always = "always",
        /// When the operating system does it.
        No = "no",
    }

    /// How a replica takes the data of a full synchronisation.
    ReplDisklessLoad {
        /// By way of a file.
        Disabled = "disabled",
        /// Straight from the socket, if it holds no data.
        OnEmptyDb = "on-empty-db",
        /// Straight from the socket, while the present data is kept until the new is whole.
        Swapdb = "swapdb",
    }

    /// Whether TLS clients must show a certificate.
    TlsAuthClients {
        /// They are not asked.
        No = "no",
        /// They must.
        Yes = "yes",
        /// It is checked when they do.
        Optional = "optional",
    }

    /// Whether the process sets its own out-of-memory score.
    OomScoreAdj {
        /// It leaves the score alone.
        No = "no",
        /// Relative to the score it was started with.
        Relative = "yes" | "relative",
        /// To the values as they are.
        Absolute = "absolute",
    }

    /// Which channels a new user may use.
    AclPubsubDefault {
        /// All of them.
        Allchannels = "allchannels",
        /// None.
        Resetchannels = "resetchannels",
    }

    /// Whose payloads are checked to the last byte before they are used.
    SanitizeDumpPayload {
        /// Nobody's.
        No = "no",
        /// Everybody's.
        Yes = "yes",
        /// Those of clients, but not of a primary or of a file.
        Clients = "clients",
    }

    /// Who may do something dangerous.
    Allowed {
        /// Nobody.
        No = "no",
        /// Everybody.
        Yes = "yes",
        /// Connections from this machine.
        Local = "local",
    }

    /// Under which name cluster nodes tell clients about each other.
    EndpointType {
        /// The address.
        Ip = "ip",
        /// The announced host name.
        Hostname = "hostname",
        /// None: the client uses the address that it knows already.
        UnknownEndpoint = "unknown-endpoint",
    }

    /// What happens when a command of a primary or of the append-only file fails.
    PropagationErrorBehavior {
        /// It is counted and logged.
        Ignore = "ignore",
        /// The process stops.
        Panic = "panic",
        /// The process stops if it is a replica.
        PanicOnReplicas = "panic-on-replicas",
    }

    /// Which format version snapshots are written in.
    RdbVersion {
        /// The lowest that can carry the data.
        Auto = "auto",
        /// Redis 5 and later read it.
        V9 = "9",
        /// Redis 7.0 and later read it.
        V10 = "10",
        /// Redis 7.2 and later read it.
        V11 = "11",
        /// Redis 8.0 and later read it.
        V12 = "12",
    }
}

impl Allowed {
    /// Whether a client may, given whether it connects from this machine.
    #[must_use]
    pub fn allows(self, local: bool) -> bool {
        match self {
            Self::No => false,
            Self::Yes => true,
            Self::Local => local,
        }
    }
}

impl MaxmemoryPolicy {
    /// Whether it needs to know how often keys are used, instead of when they were used last.
    #[must_use]
    pub const fn counts_uses(self) -> bool {
        matches!(self, Self::VolatileLfu | Self::AllkeysLfu)
    }
}
