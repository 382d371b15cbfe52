//! What can be said about a command? The vocabulary of a table row.
//!
//! A row is one `const` expression in its family's file and the only place where a command is described: arity,
//! COMMAND INFO and DOCS, key extraction, ACL categories, which locks it takes, the gates it passes, all come from it.
//!
//! ```ignore
//! Command::new("get", get).arity(2).flags(READONLY | FAST).acl(STRING).keys(&[one(RO | ACCESS, 1)])
//!     .doc("string", "1.0.0", "O(1)", "Gets the string at a key.", "key:key@0"),
//! ```

use crate::dispatch::args::Args;
use crate::dispatch::core::Core;
use crate::dispatch::ctx::Ctx;
use crate::dispatch::worker::Worker;
use crate::error::Result;
use crate::resp::reply::Reply;

/// Runs a command: reads its arguments, works through the context, writes one reply.
pub type Handler = fn(&mut Ctx<'_>, &mut Args<'_>, &mut Reply<'_>) -> Result;

/// Tells from a request what its command does to its keys.
pub type KeyFlags = fn(&[&[u8]]) -> u16;

/// Finds keys that a row's key specifications cannot express, as positions in the argument vector.
/// `None` means that the arguments make no sense to it.
pub type KeyFinder = fn(&[&[u8]], &mut Vec<KeyAt>) -> Option<()>;

/// Where a key is among the arguments, and what the command may do to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyAt {
    /// Index in the argument vector; the command name is 0.
    pub index: usize,
    /// A union of the key flags below.
    pub flags: u16,
}

macro_rules! bits {
    ($ty:ty, $list:ident: $($(#[$doc:meta])* $name:ident = $bit:literal, $text:literal;)*) => {
        $($(#[$doc])* pub const $name: $ty = 1 << $bit;)*
        /// Every bit with the name that Redis prints for it.
        pub const $list: &[($ty, &str)] = &[$(($name, $text)),*];
    };
}

bits! { u32, FLAG_NAMES:
    /// May change data.
    WRITE = 0, "write";
    /// Reads data and never changes it.
    READONLY = 1, "readonly";
    /// Refused over `maxmemory` when nothing can be evicted.
    DENYOOM = 2, "denyoom";
    /// For operators.
    ADMIN = 3, "admin";
    /// Publishes or subscribes.
    PUBSUB = 4, "pubsub";
    /// Not allowed in scripts.
    NOSCRIPT = 5, "noscript";
    /// May leave the client waiting.
    BLOCKING = 6, "blocking";
    /// Allowed while data is being loaded.
    LOADING = 7, "loading";
    /// Allowed on a replica that lost its primary.
    STALE = 8, "stale";
    /// Not shown to MONITOR.
    SKIP_MONITOR = 9, "skip_monitor";
    /// Never in the slow log.
    SKIP_SLOWLOG = 10, "skip_slowlog";
    /// Implies ASKING in cluster mode.
    ASKING = 11, "asking";
    /// Constant or logarithmic time.
    FAST = 12, "fast";
    /// Allowed before authentication.
    NO_AUTH = 13, "no_auth";
    /// May be called without any key.
    NO_MANDATORY_KEYS = 15, "no_mandatory_keys";
    /// Not while an asynchronous load is under way.
    NO_ASYNC_LOADING = 16, "no_async_loading";
    /// Not inside MULTI.
    NO_MULTI = 17, "no_multi";
    /// Allowed while a script hogs the server.
    ALLOW_BUSY = 18, "allow_busy";
    /// Keys cannot be found by position alone.
    MOVABLE_KEYS = 19, "movablekeys";
}

/// Runs at once inside MULTI instead of being queued (EXEC, DISCARD). Never shown to clients.
pub const RUNS_IN_MULTI: u32 = 1 << 24;
/// Replicas may see it though it is no write (PUBLISH, EVAL): CLIENT PAUSE WRITE holds it back. Never shown to clients.
pub const MAY_REPLICATE: u32 = 1 << 26;
/// Allowed to a RESP2 client that has subscriptions. Never shown to clients.
pub const FOR_SUBSCRIBERS: u32 = 1 << 25;
/// Refused, like writes, while data cannot be made to last (PING). Never shown to clients.
pub const TELLS_HEALTH: u32 = 1 << 27;
/// Allowed where `enable-debug-command` says so. Never shown to clients.
pub const NEEDS_DEBUG: u32 = 1 << 28;
/// Allowed where `enable-module-command` says so. Never shown to clients.
pub const NEEDS_MODULE: u32 = 1 << 29;

bits! { u32, CATEGORY_NAMES:
    /// Keys in general.
    KEYSPACE = 0, "keyspace";
    /// Reads values.
    CAT_READ = 1, "read";
    /// Writes values.
    CAT_WRITE = 2, "write";
    /// Sets.
    SET = 3, "set";
    /// Sorted sets.
    SORTEDSET = 4, "sortedset";
    /// Lists.
    LIST = 5, "list";
    /// Hashes.
    HASH = 6, "hash";
    /// Strings.
    STRING = 7, "string";
    /// Bitmaps.
    BITMAP = 8, "bitmap";
    /// HyperLogLogs.
    HYPERLOGLOG = 9, "hyperloglog";
    /// Geographic indexes.
    GEO = 10, "geo";
    /// Streams.
    STREAM = 11, "stream";
    /// Publish and subscribe.
    CAT_PUBSUB = 12, "pubsub";
    /// Administration.
    CAT_ADMIN = 13, "admin";
    /// Fast commands.
    CAT_FAST = 14, "fast";
    /// All that are not fast.
    CAT_SLOW = 15, "slow";
    /// May block.
    CAT_BLOCKING = 16, "blocking";
    /// Could do harm.
    DANGEROUS = 17, "dangerous";
    /// Connections.
    CONNECTION = 18, "connection";
    /// Transactions.
    TRANSACTION = 19, "transaction";
    /// Scripts and functions.
    SCRIPTING = 20, "scripting";
}

bits! { u16, KEY_FLAG_NAMES:
    /// Read-only.
    RO = 0, "RO";
    /// Read and written.
    RW = 1, "RW";
    /// Overwritten without being read.
    OW = 2, "OW";
    /// Removed.
    RM = 3, "RM";
    /// The value is returned or copied.
    ACCESS = 4, "access";
    /// The value is changed depending on what it was.
    UPDATE = 5, "update";
    /// Something is added to the value, depending on nothing.
    INSERT = 6, "insert";
    /// Something is deleted from the value.
    DELETE = 7, "delete";
    /// Not a key at all, but routed like one.
    NOT_KEY = 8, "not_key";
    /// The specification does not find every key.
    INCOMPLETE = 9, "incomplete";
    /// The flags depend on the arguments.
    VARIABLE_FLAGS = 10, "variable_flags";
}

/// Where the search for keys begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// At this argument.
    Index(i32),
    /// After this word, searched from an argument (negative: backwards from the end).
    Keyword(&'static str, i32),
    /// Cannot be said.
    Unknown,
}

/// Which arguments are keys, counted from where the search begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Find {
    /// From the beginning to `last` (negative: counted from the end of the command; `limit` n > 1 stops
    /// after 1/n of what remains), every `step` arguments.
    Range {
        /// Last key, relative to the first.
        last: i32,
        /// Distance between keys.
        step: i32,
        /// Divider of the remaining arguments.
        limit: i32,
    },
    /// A count at `num`, then keys from `first`, every `step`.
    KeyNum {
        /// Offset of the count.
        num: i32,
        /// Offset of the first key.
        first: i32,
        /// Distance between keys.
        step: i32,
    },
    /// Cannot be said.
    Unknown,
}

/// One specification of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeySpec {
    /// A union of key flags.
    pub flags: u16,
    /// Where to begin.
    pub begin: Begin,
    /// What to take.
    pub find: Find,
}

/// The key at one fixed position.
pub const fn one(flags: u16, index: i32) -> KeySpec {
    range(flags, index, 0, 1)
}

/// Keys from `first` to `last` (relative to the first, or negative from the end), every `step`.
pub const fn range(flags: u16, first: i32, last: i32, step: i32) -> KeySpec {
    KeySpec { flags, begin: Begin::Index(first), find: Find::Range { last, step, limit: 0 } }
}

/// As many keys as the number at `index` says, right behind it.
pub const fn numbered(flags: u16, index: i32) -> KeySpec {
    KeySpec { flags, begin: Begin::Index(index), find: Find::KeyNum { num: 0, first: 1, step: 1 } }
}

/// Keys after a word.
pub const fn after(flags: u16, word: &'static str, from: i32, last: i32, step: i32, limit: i32) -> KeySpec {
    KeySpec { flags, begin: Begin::Keyword(word, from), find: Find::Range { last, step, limit } }
}

/// Keys that only a [`KeyFinder`] can find.
pub const fn unknown(flags: u16) -> KeySpec {
    KeySpec { flags, begin: Begin::Unknown, find: Find::Unknown }
}

/// Which shards a command locks before it runs.
#[derive(Clone, Copy)]
pub enum Lock {
    /// Those of its keys; none when it has no keys.
    Keys,
    /// All of them: it touches keys that its arguments do not name.
    All,
    /// One after the other while it walks (SCAN, DBSIZE); all of them inside a transaction or script.
    Walk,
    /// Those of the queued commands of the client's transaction, and of the keys that it watches.
    Queue,
    /// [`Lock::Keys`] or [`Lock::All`], depending on the arguments.
    Ask(fn(&Core, &Worker, &[&[u8]]) -> LockNeed),
}

/// The answer of [`Lock::Ask`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockNeed {
    /// The shards of the extracted keys.
    Keys,
    /// The same; the keys may become ready in this database too.
    KeysIn(usize),
    /// Every shard.
    All,
}

/// Which arguments are channels that the user must be allowed to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channels {
    /// None.
    None,
    /// The first.
    First,
    /// All.
    All,
    /// All, and they are patterns.
    Patterns,
}

/// What COMMAND DOCS tells.
#[derive(Debug, Clone, Copy)]
pub struct Doc {
    /// The group it is listed in, e.g. `string`.
    pub group: &'static str,
    /// The Redis version that introduced it.
    pub since: &'static str,
    /// Its cost.
    pub complexity: &'static str,
    /// What it does, in one sentence.
    pub summary: &'static str,
    /// Its arguments, in the notation of `dispatch::syntax`.
    pub syntax: &'static str,
    /// The version that deprecated it, and what to use instead.
    pub deprecated: Option<(&'static str, &'static str)>,
    /// True for commands that are not meant for users.
    pub syscmd: bool,
}

/// A row of the command table.
#[derive(Clone, Copy)]
pub struct Command {
    /// Lower-case name; of a subcommand without its container.
    pub name: &'static str,
    /// The handler.
    pub run: Handler,
    /// Number of arguments with the name; negative: at least so many.
    pub arity: i32,
    /// A union of command flags.
    pub flags: u32,
    /// ACL categories that the flags do not imply.
    pub acl: u32,
    /// Where its keys are.
    pub keys: &'static [KeySpec],
    /// Tells what happens to its keys when that depends on the arguments.
    pub key_flags: Option<KeyFlags>,
    /// Finds the keys when `keys` cannot.
    pub find_keys: Option<KeyFinder>,
    /// The argument that names an element of its key's collection: a batch fetches it ahead.
    pub element: Option<u8>,
    /// Where its channels are.
    pub channels: Channels,
    /// What it locks.
    pub lock: Lock,
    /// Hints for proxies.
    pub tips: &'static [&'static str],
    /// Documentation.
    pub doc: Doc,
    /// Subcommands; a container's own handler runs when none is named.
    pub subcommands: &'static [Command],
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Command").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Command {
    /// A row with a name and a handler and nothing else said.
    pub const fn new(name: &'static str, run: Handler) -> Command {
        Command {
            name,
            run,
            arity: -1,
            flags: 0,
            acl: 0,
            keys: &[],
            key_flags: None,
            find_keys: None,
            element: None,
            channels: Channels::None,
            lock: Lock::Keys,
            tips: &[],
            doc: Doc {
                group: "",
                since: "",
                complexity: "",
                summary: "",
                syntax: "",
                deprecated: None,
                syscmd: false,
            },
            subcommands: &[],
        }
    }

    /// A command that has subcommands only.
    pub const fn container(name: &'static str, subcommands: &'static [Command]) -> Command {
        let mut c = Command::new(name, missing_subcommand);
        c.subcommands = subcommands;
        c.arity(-2)
    }

    /// Sets the arity.
    pub const fn arity(mut self, n: i32) -> Command {
        self.arity = n;
        self
    }

    /// Sets the flags.
    pub const fn flags(mut self, flags: u32) -> Command {
        self.flags = flags;
        self
    }

    /// Adds flags that clients never see.
    pub const fn also(mut self, flags: u32) -> Command {
        self.flags |= flags;
        self
    }

    /// Sets the ACL categories beyond those that [`Command::categories`] derives.
    pub const fn acl(mut self, acl: u32) -> Command {
        self.acl = acl;
        self
    }

    /// Sets the key specifications.
    pub const fn keys(mut self, keys: &'static [KeySpec]) -> Command {
        self.keys = keys;
        self
    }

    /// Sets the function that tells what happens to the keys of [`VARIABLE_FLAGS`].
    pub const fn key_flags(mut self, f: KeyFlags) -> Command {
        self.key_flags = Some(f);
        self
    }

    /// Sets the function that finds keys by looking at the arguments.
    pub const fn find_keys(mut self, f: KeyFinder) -> Command {
        self.find_keys = Some(f);
        self
    }

    /// See [`Command::element`].
    pub const fn element(mut self, at: u8) -> Command {
        self.element = Some(at);
        self
    }

    /// Says which arguments are channels.
    pub const fn channels(mut self, channels: Channels) -> Command {
        self.channels = channels;
        self
    }

    /// Sets what it locks, when that is not the shards of its keys.
    pub const fn lock(mut self, lock: Lock) -> Command {
        self.lock = lock;
        self
    }

    /// Sets the tips.
    pub const fn tips(mut self, tips: &'static [&'static str]) -> Command {
        self.tips = tips;
        self
    }

    /// Sets the subcommands of a command that also runs by itself.
    pub const fn subcommands(mut self, subcommands: &'static [Command]) -> Command {
        self.subcommands = subcommands;
        self
    }

    /// Sets the documentation.
    pub const fn doc(
        mut self,
        group: &'static str,
        since: &'static str,
        complexity: &'static str,
        summary: &'static str,
        syntax: &'static str,
    ) -> Command {
        self.doc = Doc { group, since, complexity, summary, syntax, deprecated: None, syscmd: false };
        self
    }

    /// Says since when it is deprecated, and in favour of what.
    pub const fn deprecated(mut self, since: &'static str, instead: &'static str) -> Command {
        self.doc.deprecated = Some((since, instead));
        self
    }

    /// Says that it is internal.
    pub const fn syscmd(mut self) -> Command {
        self.doc.syscmd = true;
        self
    }

    /// True when every one of `flags` is set.
    pub const fn is(&self, flags: u32) -> bool {
        self.flags & flags == flags
    }

    /// All ACL categories: the row's own and those that its flags imply.
    pub const fn categories(&self) -> u32 {
        let mut acl = self.acl;
        if self.flags & WRITE != 0 {
            acl |= CAT_WRITE;
        }
        if self.flags & READONLY != 0 && acl & SCRIPTING == 0 {
            acl |= CAT_READ;
        }
        if self.flags & ADMIN != 0 {
            acl |= CAT_ADMIN | DANGEROUS;
        }
        if self.flags & PUBSUB != 0 {
            acl |= CAT_PUBSUB;
        }
        if self.flags & BLOCKING != 0 {
            acl |= CAT_BLOCKING;
        }
        acl | if self.flags & FAST != 0 { CAT_FAST } else { CAT_SLOW }
    }

    /// First key, last key and step, as clients from before key specifications want them: what its ranges of
    /// adjacent keys from fixed positions come to.
    pub fn legacy_range(&self) -> [i32; 3] {
        let at = |index: i32, last: i32| if last >= 0 { index + last } else { last };
        if let [KeySpec { begin: Begin::Index(index), find: Find::Range { last, step, .. }, .. }] = self.keys
        {
            return [*index, at(*index, *last), *step];
        }
        let (mut first, mut last_key): (Option<i32>, i32) = (None, 0);
        let mut before = 0;
        for spec in self.keys {
            let (Begin::Index(index), Find::Range { last, step: 1, .. }) = (spec.begin, spec.find) else {
                continue;
            };
            if before != 0 && before != index - 1 {
                continue;
            }
            first = Some(first.map_or(index, |n| n.min(index)));
            // A negative last key is behind every other.
            let end = at(index, last);
            last_key = if (end as u32) > (last_key as u32) { end } else { last_key };
            before = last_key;
        }
        first.map_or([0, 0, 0], |first| [first, last_key, 1])
    }

    /// True when the arity admits `argc` arguments, the name included.
    pub const fn admits(&self, argc: usize) -> bool {
        if self.arity >= 0 { argc == self.arity as usize } else { argc >= self.arity.unsigned_abs() as usize }
    }

    /// True when its one key is always the first argument: the case that the hot path is made for.
    pub const fn single_key(&self) -> bool {
        matches!(self.keys, [KeySpec { begin: Begin::Index(1), find: Find::Range { last: 0, .. }, .. }])
            && self.find_keys.is_none()
            && matches!(self.lock, Lock::Keys)
    }
}

/// Never runs: the table finds a container's subcommand or refuses.
fn missing_subcommand(_: &mut Ctx<'_>, _: &mut Args<'_>, _: &mut Reply<'_>) -> Result {
    Err(crate::error::SYNTAX)
}
