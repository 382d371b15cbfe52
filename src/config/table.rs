//! Which settings are there? One row each.
//!
//! A row is all that there is to say about a setting: its field in [`Config`], type, default, rule, name,
//! aliases, flags and what it does. The struct, CONFIG GET/SET/REWRITE, the file reader and
//! `redis.conf.example` are made from the rows; there is no second list. A row reads
//!
//! ```text
//! /// What it does.
//! field: Type = default, rule, "name" | "alias", FLAGS;
//! ```

use crate::config::checks;
use crate::config::choices::*;
use crate::config::kinds::{
    Field, How, Limit, Line, Secret, Text, any, choice, int, limit, memory, octal, only_if, optional,
    optional_if, raw_if, secret, text, uint, umemory, yes_no,
};
use crate::config::values::{
    Addresses, Dir, Events, IoThreads, OnSignal, OomScores, OutputLimits, Percentiles, Primary, SavePoints,
    own,
};

/// CONFIG SET may change it: no flag.
pub const LIVE: u16 = 0;
/// It is read when the server starts, and CONFIG SET refuses it.
pub const FIXED: u16 = 1;
/// CONFIG GET shows it by its full name only, never for a pattern; it is for tests of the server.
pub const HIDDEN: u16 = 1 << 1;
/// CONFIG SET refuses it unless `enable-protected-configs` allows.
pub const PROTECTED: u16 = 1 << 2;
/// Its value must not appear in SLOWLOG, MONITOR or the log.
pub const SECRET: u16 = 1 << 3;
/// CONFIG SET refuses it while the data is being loaded.
pub const NOT_LOADING: u16 = 1 << 4;
/// Setting it to the value that it has already still has an effect: the file that it names is read again.
pub const REREAD: u16 = 1 << 5;
/// It is accepted and kept so that existing files and programs work, and changes nothing here.
pub const KEPT: u16 = 1 << 6;
/// Redis has no such setting.
pub const OURS: u16 = 1 << 7;

/// Gives a setting the value that these words say.
pub type Parse = fn(&mut Config, &[&[u8]], How) -> Result<(), String>;

/// A row: what the rest of the server may know about a setting without knowing which it is.
pub struct Setting {
    /// The name in files and in CONFIG commands.
    pub name: &'static str,
    /// Older names, which do the same.
    pub aliases: &'static [&'static str],
    /// The heading in the example file.
    pub section: &'static str,
    /// What it does, one line per line.
    pub doc: &'static str,
    /// The flags of this module.
    pub flags: u16,
    /// Whether the value is several words.
    pub several: bool,
    /// The name of the field, which a test holds against the name.
    pub field: &'static str,
    /// The text that CONFIG GET answers with.
    pub print: fn(&Config) -> Vec<u8>,
    /// Takes a new value.
    pub parse: Parse,
    /// Whether two configurations agree in it.
    pub same: fn(&Config, &Config) -> bool,
    /// The lines of CONFIG REWRITE, given the defaults.
    pub lines: fn(&Config, &Config) -> Vec<Line>,
}

impl Setting {
    /// Whether it has a flag.
    #[must_use]
    pub const fn is(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

impl std::fmt::Debug for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// The largest 32-bit and 64-bit numbers that Redis lets a setting have.
const I32: i64 = i32::MAX as i64;
const I64: i64 = i64::MAX;

macro_rules! settings {
    ($( section $section:literal { $(
        $(#[doc = $doc:literal])+
        $field:ident : $type:ty = $default:expr, $rule:expr, $name:literal $(| $alias:literal)*, $($flag:ident)|+ ;
    )* } )*) => {
        /// Every setting, as an immutable snapshot that threads share; see
        /// [`Live`](crate::config::live::Live).
        #[derive(Clone, Debug, PartialEq)]
        pub struct Config { $($( $(#[doc = $doc])+ pub $field: $type, )*)* }

        impl Default for Config {
            fn default() -> Self {
                Self { $($( $field: $default, )*)* }
            }
        }

        /// Every row, in the order of the example file.
        pub static SETTINGS: &[Setting] = &[ $($( Setting {
            name: $name,
            aliases: &[$($alias),*],
            section: $section,
            doc: concat!($($doc, "\n"),+),
            flags: $($flag)|+,
            several: <$type as Field>::SEVERAL,
            field: stringify!($field),
            print: |config| config.$field.print(&$rule),
            parse: |config, words, how| {
                config.$field = config.$field.parse(words, how, &$rule)?;
                Ok(())
            },
            same: |one, other| one.$field == other.$field,
            lines: |config, defaults| config.$field.lines(&defaults.$field, &$rule),
        }, )*)* ];
    };
}

settings! {
    section "Network" {
        /// Addresses to listen on. One that begins with `-` may be missing on this machine.
        bind: Addresses = Addresses::usual(), own(), "bind", LIVE;
        /// The address that connections to other servers come from; empty leaves it to the system.
        bind_source_addr: Text = text(""), optional(), "bind-source-addr", LIVE;
        /// Refuse clients from other machines as long as the default user has no password and `bind` is the
        /// default.
        protected_mode: bool = true, yes_no(), "protected-mode", LIVE;
        /// The TCP port; 0 is none.
        port: u16 = 6379, int(0, 65535), "port", LIVE;
        /// How many connections may wait to be accepted, if the system allows as many.
        tcp_backlog: i32 = 511, int(0, I32), "tcp-backlog", FIXED;
        /// The path of a Unix socket to listen on; empty is none.
        unixsocket: Text = text(""), optional(), "unixsocket", FIXED;
        /// The permissions of the Unix socket, in octal; 0 leaves them to the umask.
        unixsocketperm: u32 = 0, octal(0o777), "unixsocketperm", FIXED;
        /// Close a connection that was idle for so many seconds; 0 is never.
        timeout: u32 = 0, int(0, I32), "timeout", LIVE;
        /// Probe idle connections after so many seconds, so that dead ones are noticed; 0 is never.
        tcp_keepalive: u32 = 300, int(0, I32), "tcp-keepalive", LIVE;
        /// The mark of the listening sockets, for firewalls and routing; 0 is none.
        socket_mark_id: u32 = 0, uint(0, u32::MAX as i64), "socket-mark-id", FIXED;
        /// How many new connections a thread accepts before it serves the others again.
        max_new_connections_per_cycle: u32 = 10, uint(1, 1000), "max-new-connections-per-cycle", LIVE;
        /// The same for TLS, where each costs a handshake.
        max_new_tls_connections_per_cycle: u32 = 1, uint(1, 1000), "max-new-tls-connections-per-cycle", LIVE;
    }
    section "TLS" {
        /// The TCP port for TLS; 0 is none.
        tls_port: u16 = 0, int(0, 65535), "tls-port", LIVE;
        /// The server's certificate, in PEM.
        tls_cert_file: Text = text(""), optional(), "tls-cert-file", LIVE | REREAD;
        /// The key of the certificate, in PEM.
        tls_key_file: Text = text(""), optional(), "tls-key-file", LIVE | REREAD;
        /// The password of the key.
        tls_key_file_pass: Secret = Secret::default(), secret(), "tls-key-file-pass", LIVE | SECRET;
        /// The certificate to show to other servers; empty is the server's own.
        tls_client_cert_file: Text = text(""), optional(), "tls-client-cert-file", LIVE | REREAD;
        /// The key of that certificate.
        tls_client_key_file: Text = text(""), optional(), "tls-client-key-file", LIVE | REREAD;
        /// The password of that key.
        tls_client_key_file_pass: Secret = Secret::default(), secret(),
            "tls-client-key-file-pass", LIVE | SECRET;
        /// Diffie-Hellman parameters of old TLS versions.
        tls_dh_params_file: Text = text(""), optional(), "tls-dh-params-file", LIVE | REREAD | KEPT;
        /// The authorities that certificates of clients and servers are checked against, in PEM.
        tls_ca_cert_file: Text = text(""), optional(), "tls-ca-cert-file", LIVE | REREAD;
        /// The same as a directory of files.
        tls_ca_cert_dir: Text = text(""), optional(), "tls-ca-cert-dir", LIVE | REREAD;
        /// Whether clients must show a certificate.
        tls_auth_clients: TlsAuthClients = TlsAuthClients::Yes, choice(), "tls-auth-clients", LIVE;
        /// Use TLS for the link of a replica to its primary.
        tls_replication: bool = false, yes_no(), "tls-replication", LIVE;
        /// Use TLS on the cluster bus.
        tls_cluster: bool = false, yes_no(), "tls-cluster", LIVE;
        /// The protocol versions to offer, such as `TLSv1.2 TLSv1.3`; empty is both.
        tls_protocols: Text = text(""), optional(), "tls-protocols", LIVE;
        /// The ciphers of TLS 1.2; here the safe ones are built in.
        tls_ciphers: Text = text(""), optional(), "tls-ciphers", LIVE | KEPT;
        /// The ciphers of TLS 1.3; here the safe ones are built in.
        tls_ciphersuites: Text = text(""), optional(), "tls-ciphersuites", LIVE | KEPT;
        /// Let the server's order of ciphers win over the client's.
        tls_prefer_server_ciphers: bool = false, yes_no(), "tls-prefer-server-ciphers", LIVE | KEPT;
        /// Let clients resume a session with a shorter handshake.
        tls_session_caching: bool = true, yes_no(), "tls-session-caching", LIVE;
        /// How many sessions to remember; 0 is without limit.
        tls_session_cache_size: u32 = 20480, int(0, I32), "tls-session-cache-size", LIVE;
        /// For how many seconds a session can be resumed.
        tls_session_cache_timeout: u32 = 300, int(0, I32), "tls-session-cache-timeout", LIVE | KEPT;
    }
    section "Process" {
        /// Detach from the terminal and run in the background.
        daemonize: bool = false, yes_no(), "daemonize", FIXED;
        /// Whom to tell that the server is ready.
        supervised: Supervised = Supervised::No, choice(), "supervised", FIXED;
        /// The file that the process id is written to; empty is none, or /var/run/redis.pid in the
        /// background.
        pidfile: Text = text(""), optional(), "pidfile", FIXED;
        /// Log only what is at least this important.
        loglevel: Loglevel = Loglevel::Notice, choice(), "loglevel", LIVE;
        /// The file to log to; empty is the standard output.
        logfile: Text = text(""), any(), "logfile", FIXED;
        /// Log to syslog too.
        syslog_enabled: bool = false, yes_no(), "syslog-enabled", FIXED;
        /// The name in syslog.
        syslog_ident: Text = text("redis"), any(), "syslog-ident", FIXED;
        /// The facility in syslog.
        syslog_facility: SyslogFacility = SyslogFacility::Local0, choice(), "syslog-facility", FIXED;
        /// Keep names and values of users out of the log.
        hide_user_data_from_log: bool = false, yes_no(), "hide-user-data-from-log", LIVE;
        /// Log a report when the process crashes.
        crash_log_enabled: bool = true, yes_no(), "crash-log-enabled", LIVE;
        /// Test the memory after a crash.
        crash_memcheck_enabled: bool = true, yes_no(), "crash-memcheck-enabled", LIVE | KEPT;
        /// Exit instead of aborting on a panic.
        use_exit_on_panic: bool = false, yes_no(), "use-exit-on-panic", LIVE | HIDDEN;
        /// Show the logo even when the log is a file.
        always_show_logo: bool = false, yes_no(), "always-show-logo", FIXED | KEPT;
        /// Let the process title tell what the process does.
        set_proc_title: bool = true, yes_no(), "set-proc-title", FIXED;
        /// What the process title tells.
        proc_title_template: Text = text("{title} {listen-addr} {server-mode}"), only_if(checks::title),
            "proc-title-template", LIVE | KEPT;
        /// The number of databases, for SELECT. In cluster mode it is 1.
        databases: usize = 16, int(1, I32), "databases", FIXED;
        /// Threads that serve connections; 0 is one per core, which is the default here.
        io_threads: IoThreads = IoThreads { asked: 0, running: 1 }, own(), "io-threads", FIXED;
        /// How many keys of a batch of commands are fetched from memory ahead of time.
        prefetch_batch_max_size: usize = 16, int(0, 128), "prefetch-batch-max-size", LIVE | HIDDEN | KEPT;
        /// Which cores the server runs on.
        server_cpulist: Text = text(""), optional(), "server-cpulist" | "server_cpulist", FIXED | KEPT;
        /// Which cores background work runs on.
        bio_cpulist: Text = text(""), optional(), "bio-cpulist" | "bio_cpulist", FIXED | KEPT;
        /// Which cores a rewrite of the append-only file runs on.
        aof_rewrite_cpulist: Text = text(""), optional(),
            "aof-rewrite-cpulist" | "aof_rewrite_cpulist", FIXED | KEPT;
        /// Which cores a snapshot runs on.
        bgsave_cpulist: Text = text(""), optional(), "bgsave-cpulist" | "bgsave_cpulist", FIXED | KEPT;
        /// Set the score that decides whom the kernel ends when memory runs out.
        oom_score_adj: OomScoreAdj = OomScoreAdj::No, choice(), "oom-score-adj", LIVE;
        /// That score for a primary, a replica, and a background process.
        oom_score_adj_values: OomScores = OomScores([0, 200, 800]), own(), "oom-score-adj-values", LIVE;
        /// Turn transparent huge pages off for the process.
        disable_thp: bool = true, yes_no(), "disable-thp", FIXED | KEPT;
        /// Warnings about the system that need not stop the start.
        ignore_warnings: Text = text(""), any(), "ignore-warnings", LIVE | KEPT;
        /// How often per second background work is done.
        hz: u32 = 10, int(0, I32), "hz", LIVE;
        /// Do it more often with many clients.
        dynamic_hz: bool = true, yes_no(), "dynamic-hz", LIVE | KEPT;
        /// The locale of SORT ALPHA; empty is the one of the environment.
        locale_collate: Text = text(""), only_if(checks::locale), "locale-collate", LIVE | KEPT;
        /// Stop and log where the server hangs, after so many milliseconds; 0 is never.
        watchdog_period: u32 = 0, int(0, I32), "watchdog-period", LIVE | HIDDEN;
        /// What SIGINT does: `default`, or words of `save nosave now force`.
        shutdown_on_sigint: OnSignal = OnSignal::default(), own(), "shutdown-on-sigint", LIVE;
        /// What SIGTERM does.
        shutdown_on_sigterm: OnSignal = OnSignal::default(), own(), "shutdown-on-sigterm", LIVE;
        /// For how many seconds to wait for replicas before the end; 0 is not at all.
        shutdown_timeout: u32 = 10, int(0, I32), "shutdown-timeout", LIVE;
    }
    section "Security" {
        /// The password of the default user; empty is none.
        requirepass: Secret = Secret::default(), secret(), "requirepass", LIVE | SECRET;
        /// The file of users; empty means that they are defined by `user` lines of this file.
        aclfile: Text = text(""), any(), "aclfile", FIXED;
        /// Which channels a new user may use.
        acl_pubsub_default: AclPubsubDefault = AclPubsubDefault::Resetchannels, choice(),
            "acl-pubsub-default", LIVE;
        /// How many refusals ACL LOG remembers.
        acllog_max_len: usize = 128, int(0, I64), "acllog-max-len", LIVE;
        /// Who may change `dir` and `dbfilename` by CONFIG SET.
        enable_protected_configs: Allowed = Allowed::No, choice(), "enable-protected-configs", FIXED;
        /// Who may use DEBUG.
        enable_debug_command: Allowed = Allowed::No, choice(), "enable-debug-command", FIXED;
        /// Who may use MODULE.
        enable_module_command: Allowed = Allowed::No, choice(), "enable-module-command", FIXED;
        /// Whose payloads RESTORE and replication check to the last byte. Here they always are.
        sanitize_dump_payload: SanitizeDumpPayload = SanitizeDumpPayload::No, choice(),
            "sanitize-dump-payload", LIVE | KEPT;
    }
    section "Clients" {
        /// How many clients may be connected at once.
        maxclients: u32 = 10000, uint(1, u32::MAX as i64), "maxclients", LIVE;
        /// How much memory all clients together may use before the largest are dropped: bytes, or a
        /// percentage of `maxmemory`; 0 is without limit.
        maxmemory_clients: Limit = Limit::Bytes(0), limit(), "maxmemory-clients", LIVE;
        /// How much output may wait for a client of a class before it is dropped: `<class> <hard> <soft>
        /// <seconds>`.
        client_output_buffer_limit: OutputLimits = OutputLimits::usual(), own(),
            "client-output-buffer-limit", LIVE;
        /// How much input a client may have waiting.
        client_query_buffer_limit: usize = 1 << 30, umemory(1 << 20, I64), "client-query-buffer-limit", LIVE;
        /// The largest argument of a command.
        proto_max_bulk_len: usize = 512 << 20, memory(1 << 20, I64), "proto-max-bulk-len", LIVE;
        /// How many keys the server remembers for client-side caching; 0 is without limit.
        tracking_table_max_keys: usize = 1_000_000, uint(0, I64), "tracking-table-max-keys", LIVE;
        /// Which keyspace events to publish: `K` and `E` by key and by event, then the classes `g$lshzxetd` (all of
        /// these are `A`), `m` for misses, `n` for new keys, `o` for overwritten ones, `c` if their type changed.
        notify_keyspace_events: Events = Events::default(), own(), "notify-keyspace-events", LIVE;
    }
    section "Memory" {
        /// How much memory the data may use; 0 is without limit.
        maxmemory: u64 = 0, umemory(0, I64), "maxmemory", LIVE;
        /// What makes room when the limit is reached.
        maxmemory_policy: MaxmemoryPolicy = MaxmemoryPolicy::Noeviction, choice(), "maxmemory-policy", LIVE;
        /// How many keys are compared to find one to evict.
        maxmemory_samples: usize = 5, int(1, 64), "maxmemory-samples", LIVE;
        /// How long to evict before clients are served again: 0 is briefly, 100 until there is room.
        maxmemory_eviction_tenacity: u32 = 10, int(0, 100), "maxmemory-eviction-tenacity", LIVE;
        /// How slowly frequency counters grow.
        lfu_log_factor: u32 = 10, int(0, I32), "lfu-log-factor", LIVE;
        /// After how many minutes frequency counters shrink; 0 is never.
        lfu_decay_time: u32 = 1, int(0, I32), "lfu-decay-time", LIVE;
        /// How hard to look for expired keys, from 1 to 10.
        active_expire_effort: u32 = 1, int(1, 10), "active-expire-effort", LIVE;
        /// Let commands in scripts and transactions delete expired keys that they come across without naming them.
        lazyexpire_nested_arbitrary_keys: bool = true, yes_no(),
            "lazyexpire-nested-arbitrary-keys", LIVE | HIDDEN | KEPT;
        /// Free evicted values in the background. Here large values always are.
        lazyfree_lazy_eviction: bool = false, yes_no(), "lazyfree-lazy-eviction", LIVE | KEPT;
        /// Free expired values in the background. Here large values always are.
        lazyfree_lazy_expire: bool = false, yes_no(), "lazyfree-lazy-expire", LIVE | KEPT;
        /// Free values that a command overwrites in the background. Here large values always are.
        lazyfree_lazy_server_del: bool = false, yes_no(), "lazyfree-lazy-server-del", LIVE | KEPT;
        /// Let DEL do what UNLINK does. Here it does.
        lazyfree_lazy_user_del: bool = false, yes_no(), "lazyfree-lazy-user-del", LIVE | KEPT;
        /// Let FLUSHDB and FLUSHALL work in the background when they do not say.
        lazyfree_lazy_user_flush: bool = false, yes_no(), "lazyfree-lazy-user-flush", LIVE;
        /// Move hash tables to their new size while nothing else is to do.
        activerehashing: bool = true, yes_no(), "activerehashing", LIVE | KEPT;
        /// Move values to use memory with fewer holes.
        activedefrag: bool = false, yes_no(), "activedefrag", LIVE | KEPT;
        /// Holes of fewer bytes are not worth it.
        active_defrag_ignore_bytes: u64 = 100 << 20, umemory(1, I64),
            "active-defrag-ignore-bytes", LIVE | KEPT;
        /// Holes of fewer percent are not worth it.
        active_defrag_threshold_lower: u32 = 10, int(0, 1000), "active-defrag-threshold-lower", LIVE | KEPT;
        /// Holes of so many percent are worth every effort.
        active_defrag_threshold_upper: u32 = 100, int(0, 1000), "active-defrag-threshold-upper", LIVE | KEPT;
        /// The least effort, in percent of a core.
        active_defrag_cycle_min: u32 = 1, int(1, 99), "active-defrag-cycle-min", LIVE | KEPT;
        /// The greatest effort, in percent of a core.
        active_defrag_cycle_max: u32 = 25, int(1, 99), "active-defrag-cycle-max", LIVE | KEPT;
        /// How many elements of a value are moved in one go.
        active_defrag_max_scan_fields: u64 = 1000, int(1, I64), "active-defrag-max-scan-fields", LIVE | KEPT;
        /// Let the allocator return memory in the background.
        jemalloc_bg_thread: bool = true, yes_no(), "jemalloc-bg-thread", LIVE;
    }
    section "Encodings" {
        /// Hashes of up to so many fields are kept compact.
        hash_max_listpack_entries: usize = 512, uint(0, I64),
            "hash-max-listpack-entries" | "hash-max-ziplist-entries", LIVE;
        /// ... whose fields and values have up to so many bytes.
        hash_max_listpack_value: usize = 64, umemory(0, I64),
            "hash-max-listpack-value" | "hash-max-ziplist-value", LIVE;
        /// The size of a list's node: elements, or -1 to -5 for 4, 8, 16, 32, 64 kb.
        list_max_listpack_size: i32 = -2, int(i32::MIN as i64, I32),
            "list-max-listpack-size" | "list-max-ziplist-size", LIVE;
        /// How many nodes at each end of a list stay uncompressed; 0 is all of them.
        list_compress_depth: u32 = 0, int(0, I32), "list-compress-depth", LIVE;
        /// Sets of up to so many integers are kept as a sorted array.
        set_max_intset_entries: usize = 512, uint(0, I64), "set-max-intset-entries", LIVE;
        /// Sets of up to so many members are kept compact.
        set_max_listpack_entries: usize = 128, uint(0, I64), "set-max-listpack-entries", LIVE;
        /// ... whose members have up to so many bytes.
        set_max_listpack_value: usize = 64, uint(0, I64), "set-max-listpack-value", LIVE;
        /// Sorted sets of up to so many members are kept compact.
        zset_max_listpack_entries: usize = 128, uint(0, I64),
            "zset-max-listpack-entries" | "zset-max-ziplist-entries", LIVE;
        /// ... whose members have up to so many bytes.
        zset_max_listpack_value: usize = 64, umemory(0, I64),
            "zset-max-listpack-value" | "zset-max-ziplist-value", LIVE;
        /// HyperLogLogs of up to so many bytes are kept sparse.
        hll_sparse_max_bytes: usize = 3000, umemory(0, I64), "hll-sparse-max-bytes", LIVE;
        /// The size of a stream's node in bytes; 0 is without limit.
        stream_node_max_bytes: usize = 4096, umemory(0, I64), "stream-node-max-bytes", LIVE;
        /// The size of a stream's node in entries; 0 is without limit.
        stream_node_max_entries: u64 = 100, int(0, I64), "stream-node-max-entries", LIVE;
        /// Search vector sets on one thread.
        vset_force_single_threaded_execution: bool = false, yes_no(),
            "vset-force-single-threaded-execution", LIVE | KEPT;
    }
    section "Snapshots" {
        /// Save when so many seconds have passed and so many writes were made: pairs of numbers, on one or
        /// several lines; empty is never.
        save: SavePoints = SavePoints::usual(), own(), "save", LIVE;
        /// Refuse writes after a snapshot failed, so that somebody notices.
        stop_writes_on_bgsave_error: bool = true, yes_no(), "stop-writes-on-bgsave-error", LIVE;
        /// Compress texts in snapshots.
        rdbcompression: bool = true, yes_no(), "rdbcompression", LIVE;
        /// End snapshots with a checksum.
        rdbchecksum: bool = true, yes_no(), "rdbchecksum", FIXED;
        /// The format version of snapshots, for moving data to an older server.
        rdb_version: RdbVersion = RdbVersion::Auto, choice(), "rdb-version", LIVE | OURS;
        /// Keep the snapshot before the present one as well, with `.previous` behind its name.
        rdb_keep_previous: bool = true, yes_no(), "rdb-keep-previous", LIVE | OURS;
        /// The name of the snapshot in `dir`.
        dbfilename: Text = text("dump.rdb"), only_if(checks::dbfilename), "dbfilename", LIVE | PROTECTED;
        /// The directory of the data; the server works in it.
        dir: Dir = Dir(".".into()), own(), "dir", LIVE | PROTECTED | NOT_LOADING;
        /// Delete snapshots that served only to synchronise, on servers that do not persist.
        rdb_del_sync_files: bool = false, yes_no(), "rdb-del-sync-files", LIVE;
        /// Write snapshots to the disk piece by piece, so that the end is not one long wait.
        rdb_save_incremental_fsync: bool = true, yes_no(), "rdb-save-incremental-fsync", LIVE;
        /// Wait for so many microseconds after each key of a snapshot.
        rdb_key_save_delay: i32 = 0, int(i32::MIN as i64, I32), "rdb-key-save-delay", LIVE | HIDDEN;
        /// Wait for so many microseconds after each key that is loaded.
        key_load_delay: i32 = 0, int(i32::MIN as i64, I32), "key-load-delay", LIVE | HIDDEN;
        /// Look at clients each time that so many bytes were loaded.
        loading_process_events_interval_bytes: u64 = 512 << 10, int(1024, I32),
            "loading-process-events-interval-bytes", LIVE | HIDDEN;
    }
    section "Append-only file" {
        /// Log every write to a file that is replayed at the start.
        appendonly: bool = false, yes_no(), "appendonly", LIVE;
        /// What the files' names begin with.
        appendfilename: Text = text("appendonly.aof"), raw_if(checks::appendfilename),
            "appendfilename", FIXED;
        /// The directory of the files, in `dir`.
        appenddirname: Text = text("appendonlydir"), only_if(checks::appenddirname), "appenddirname", FIXED;
        /// When what was logged is made durable.
        appendfsync: Appendfsync = Appendfsync::Everysec, choice(), "appendfsync", LIVE;
        /// Do not make it durable while a snapshot or a rewrite keeps the disk busy.
        no_appendfsync_on_rewrite: bool = false, yes_no(), "no-appendfsync-on-rewrite", LIVE;
        /// Rewrite the file when it has grown by so many percent; 0 is never.
        auto_aof_rewrite_percentage: u32 = 100, int(0, I32), "auto-aof-rewrite-percentage", LIVE;
        /// ... and has at least so many bytes.
        auto_aof_rewrite_min_size: u64 = 64 << 20, memory(0, I64), "auto-aof-rewrite-min-size", LIVE;
        /// Start although the last command of the file is cut off, and drop it.
        aof_load_truncated: bool = true, yes_no(), "aof-load-truncated", LIVE;
        /// Start although up to so many bytes at the end of the file are damaged, and set them aside; 0 is
        /// never.
        aof_load_corrupt_tail_max_size: u64 = 4 << 20, memory(0, I64),
            "aof-load-corrupt-tail-max-size", LIVE | OURS;
        /// Begin a rewritten file with a snapshot.
        aof_use_rdb_preamble: bool = true, yes_no(), "aof-use-rdb-preamble", LIVE;
        /// Note the time in the file, so that it can be cut back to a moment.
        aof_timestamp_enabled: bool = false, yes_no(), "aof-timestamp-enabled", LIVE;
        /// Note checksums in the file, so that damage is found when it is read; Redis passes over them.
        aof_checksums: bool = true, yes_no(), "aof-checksums", LIVE | OURS;
        /// Write a rewritten file to the disk piece by piece.
        aof_rewrite_incremental_fsync: bool = true, yes_no(), "aof-rewrite-incremental-fsync", LIVE;
        /// Keep files that a rewrite has made superfluous.
        aof_disable_auto_gc: bool = false, yes_no(), "aof-disable-auto-gc", LIVE | HIDDEN;
    }
    section "Replication" {
        /// The primary to copy, as host and port; empty for a primary.
        replicaof: Primary = Primary(None), own(), "replicaof" | "slaveof", FIXED;
        /// The user to log in as at the primary.
        masteruser: Text = text(""), optional(), "masteruser", LIVE | SECRET;
        /// The password to log in with at the primary.
        masterauth: Secret = Secret::default(), secret(), "masterauth", LIVE | SECRET;
        /// Answer clients although the link to the primary is down.
        replica_serve_stale_data: bool = true, yes_no(),
            "replica-serve-stale-data" | "slave-serve-stale-data", LIVE;
        /// Refuse writes of clients on a replica.
        replica_read_only: bool = true, yes_no(), "replica-read-only" | "slave-read-only", LIVE;
        /// Send full synchronisations straight to the replicas' sockets.
        repl_diskless_sync: bool = true, yes_no(), "repl-diskless-sync", LIVE;
        /// For how many seconds to wait for more replicas before that.
        repl_diskless_sync_delay: u32 = 5, int(0, I32), "repl-diskless-sync-delay", LIVE;
        /// With so many replicas, do not wait any longer; 0 is to wait always.
        repl_diskless_sync_max_replicas: u32 = 0, int(0, I32), "repl-diskless-sync-max-replicas", LIVE;
        /// How a replica takes a full synchronisation.
        repl_diskless_load: ReplDisklessLoad = ReplDisklessLoad::Disabled, choice(),
            "repl-diskless-load", LIVE | NOT_LOADING;
        /// Use a second connection for the snapshot of a full synchronisation.
        repl_rdb_channel: bool = true, yes_no(), "repl-rdb-channel", LIVE | HIDDEN | KEPT;
        /// How many seconds pass between pings of the primary to its replicas.
        repl_ping_replica_period: u32 = 10, int(1, I32),
            "repl-ping-replica-period" | "repl-ping-slave-period", LIVE;
        /// After how many seconds without a word a link is taken for broken.
        repl_timeout: u32 = 60, int(1, I32), "repl-timeout", LIVE;
        /// Let the system gather small packets to replicas: less bandwidth, more delay.
        repl_disable_tcp_nodelay: bool = false, yes_no(), "repl-disable-tcp-nodelay", LIVE;
        /// How many bytes of the past a replica can catch up on without a full synchronisation.
        repl_backlog_size: u64 = 1 << 20, memory(1, I64), "repl-backlog-size", LIVE;
        /// For how many seconds that is kept when no replica is connected; 0 is for ever.
        repl_backlog_ttl: u64 = 3600, int(0, I64), "repl-backlog-ttl", LIVE;
        /// How many bytes a replica holds back during a full synchronisation; 0 is the limit of its output
        /// class.
        replica_full_sync_buffer_limit: u64 = 0, memory(0, I64), "replica-full-sync-buffer-limit", LIVE;
        /// The lower, the sooner a failover picks this replica; 0 is never.
        replica_priority: u32 = 100, int(0, I32), "replica-priority" | "slave-priority", LIVE;
        /// Let INFO and ROLE of the primary show this replica.
        replica_announced: bool = true, yes_no(), "replica-announced", LIVE;
        /// The address at which others reach this replica; empty is the one of its connection.
        replica_announce_ip: Text = text(""), optional(), "replica-announce-ip" | "slave-announce-ip", LIVE;
        /// The port at which others reach this replica; 0 is `port`.
        replica_announce_port: u16 = 0, int(0, 65535), "replica-announce-port" | "slave-announce-port", LIVE;
        /// Let a replica ignore `maxmemory`: the primary evicts for it.
        replica_ignore_maxmemory: bool = true, yes_no(),
            "replica-ignore-maxmemory" | "slave-ignore-maxmemory", LIVE;
        /// Drop the old data of a full synchronisation in the background.
        replica_lazy_flush: bool = false, yes_no(), "replica-lazy-flush" | "slave-lazy-flush", LIVE;
        /// Let a replica go on when it cannot write what the primary sent to its disk.
        replica_ignore_disk_write_errors: bool = false, yes_no(), "replica-ignore-disk-write-errors", LIVE;
        /// Refuse writes unless so many replicas are connected; 0 is never.
        min_replicas_to_write: u32 = 0, int(0, I32), "min-replicas-to-write" | "min-slaves-to-write", LIVE;
        /// ... and were heard within so many seconds.
        min_replicas_max_lag: u32 = 10, int(0, I32), "min-replicas-max-lag" | "min-slaves-max-lag", LIVE;
        /// What happens when a command from the primary or the append-only file fails.
        propagation_error_behavior: PropagationErrorBehavior = PropagationErrorBehavior::Ignore, choice(),
            "propagation-error-behavior", LIVE;
    }
    section "Cluster" {
        /// Be a node of a cluster.
        cluster_enabled: bool = false, yes_no(), "cluster-enabled", FIXED;
        /// The file in which the node remembers the cluster. Only the node writes it.
        cluster_config_file: Text = text("nodes.conf"), any(), "cluster-config-file", FIXED;
        /// After how many milliseconds without an answer a node is taken for failed.
        cluster_node_timeout: u64 = 15000, int(0, I64), "cluster-node-timeout", LIVE;
        /// How many milliseconds pass between pings on the bus; 0 is as the timeout demands.
        cluster_ping_interval: u64 = 0, int(0, I64), "cluster-ping-interval", LIVE | HIDDEN;
        /// The port of the bus; 0 is `port` plus 10000.
        cluster_port: u16 = 0, int(0, 65535), "cluster-port", FIXED;
        /// The address that others reach this node at; empty is found out.
        cluster_announce_ip: Text = text(""), optional(), "cluster-announce-ip", LIVE;
        /// The port that others reach this node at; 0 is `port`.
        cluster_announce_port: u16 = 0, int(0, 65535), "cluster-announce-port", LIVE;
        /// The same for TLS; 0 is `tls-port`.
        cluster_announce_tls_port: u16 = 0, int(0, 65535), "cluster-announce-tls-port", LIVE;
        /// The same for the bus; 0 is `cluster-port`.
        cluster_announce_bus_port: u16 = 0, int(0, 65535), "cluster-announce-bus-port", LIVE;
        /// The host name of this node; empty is none.
        cluster_announce_hostname: Text = text(""), optional_if(checks::hostname),
            "cluster-announce-hostname", LIVE;
        /// A name of this node for the log; empty is none.
        cluster_announce_human_nodename: Text = text(""), optional_if(checks::nodename),
            "cluster-announce-human-nodename", LIVE;
        /// Under which name nodes are shown to clients.
        cluster_preferred_endpoint_type: EndpointType = EndpointType::Ip, choice(),
            "cluster-preferred-endpoint-type", LIVE;
        /// Answer no one while some slot has no node.
        cluster_require_full_coverage: bool = true, yes_no(), "cluster-require-full-coverage", LIVE;
        /// Let reads go on while the cluster is down.
        cluster_allow_reads_when_down: bool = false, yes_no(), "cluster-allow-reads-when-down", LIVE;
        /// Let sharded publish and subscribe go on while the cluster is down.
        cluster_allow_pubsubshard_when_down: bool = true, yes_no(),
            "cluster-allow-pubsubshard-when-down", LIVE;
        /// Never let this replica take over by itself.
        cluster_replica_no_failover: bool = false, yes_no(),
            "cluster-replica-no-failover" | "cluster-slave-no-failover", LIVE;
        /// A replica that was cut off for so many timeouts does not take over; 0 is that it may always.
        cluster_replica_validity_factor: u32 = 10, int(0, I32),
            "cluster-replica-validity-factor" | "cluster-slave-validity-factor", LIVE;
        /// Let a replica move to a primary that has none.
        cluster_allow_replica_migration: bool = true, yes_no(), "cluster-allow-replica-migration", LIVE;
        /// ... if its own primary keeps so many.
        cluster_migration_barrier: u32 = 1, int(0, I32), "cluster-migration-barrier", LIVE;
        /// How many bytes may wait on a link of the bus before it is dropped; 0 is without limit.
        cluster_link_sendbuf_limit: u64 = 0, umemory(0, I64), "cluster-link-sendbuf-limit", LIVE;
        /// Which percentage of commands is checked for whether a cluster could run it.
        cluster_compatibility_sample_ratio: u32 = 0, int(0, 100),
            "cluster-compatibility-sample-ratio", LIVE | KEPT;
        /// Count what each slot costs, for CLUSTER SLOT-STATS.
        cluster_slot_stats_enabled: bool = false, yes_no(), "cluster-slot-stats-enabled", LIVE;
    }
    section "Scripts and statistics" {
        /// After how many milliseconds of a script others are told BUSY; 0 is never.
        busy_reply_threshold: u64 = 5000, int(0, I64), "busy-reply-threshold" | "lua-time-limit", LIVE;
        /// Give scripts the old functions that could break the sandbox.
        lua_enable_deprecated_api: bool = false, yes_no(), "lua-enable-deprecated-api", FIXED | HIDDEN | KEPT;
        /// SLOWLOG remembers commands of at least so many microseconds; 0 is all, negative is none.
        slowlog_log_slower_than: i64 = 10000, int(-1, I64), "slowlog-log-slower-than", LIVE;
        /// ... and so many of them.
        slowlog_max_len: usize = 128, int(0, I64), "slowlog-max-len", LIVE;
        /// LATENCY remembers events of at least so many milliseconds; 0 is none.
        latency_monitor_threshold: u64 = 0, int(0, I64), "latency-monitor-threshold", LIVE;
        /// Measure each command, for INFO latencystats.
        latency_tracking: bool = true, yes_no(), "latency-tracking", LIVE;
        /// The percentiles that INFO latencystats shows.
        latency_tracking_info_percentiles: Percentiles = Percentiles(vec![50.0, 99.0, 99.9]), own(),
            "latency-tracking-info-percentiles", LIVE;
    }
}
