//! What is in a key? One file per type; each owns its encodings and the switches between them.

pub mod hash;
pub mod hll;
pub mod limits;
pub mod list;
pub mod set;
pub mod stream;
pub mod zset;

pub use hash::Hash;
pub use limits::Limits;
pub use list::List;
pub use set::Set;
pub use stream::Stream;
pub use zset::Zset;

/// A value that is not embedded in its entry. 24 bytes: a tag and what the type keeps inline.
pub enum Value {
    /// A string too long to embed, or one that grows (APPEND, SETRANGE, SETBIT).
    Str(Vec<u8>),
    /// A list.
    List(List),
    /// A set.
    Set(Set),
    /// A sorted set.
    Zset(Zset),
    /// A hash.
    Hash(Hash),
    /// A stream.
    Stream(Box<Stream>),
}

/// The type of a value, as TYPE names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `string`
    String,
    /// `list`
    List,
    /// `set`
    Set,
    /// `zset`
    Zset,
    /// `hash`
    Hash,
    /// `stream`
    Stream,
}

impl Kind {
    /// The name that TYPE replies.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::String => "string",
            Kind::List => "list",
            Kind::Set => "set",
            Kind::Zset => "zset",
            Kind::Hash => "hash",
            Kind::Stream => "stream",
        }
    }
}

/// A type of value that `Ctx::read`, `write` and `create` can be asked for.
pub trait Typed: Sized {
    /// The value as this type.
    fn of(value: &Value) -> Option<&Self>;
    /// The value as this type, to be changed.
    fn of_mut(value: &mut Value) -> Option<&mut Self>;
    /// An empty one.
    fn fresh() -> Value;
}

macro_rules! typed {
    ($($kind:ident: $type:ty = $fresh:expr;)*) => {
        $(impl Typed for $type {
            fn of(value: &Value) -> Option<&Self> {
                if let Value::$kind(v) = value { Some(v) } else { None }
            }
            fn of_mut(value: &mut Value) -> Option<&mut Self> {
                if let Value::$kind(v) = value { Some(v) } else { None }
            }
            fn fresh() -> Value {
                Value::$kind($fresh)
            }
        })*
    };
}

typed! {
    List: List = List::new();
    Set: Set = Set::new();
    Zset: Zset = Zset::new();
    Hash: Hash = Hash::new();
    Stream: Stream = Box::new(Stream::new());
}

/// Elements beyond which a collection is not likely to be in the cache.
const LARGE: usize = 10_000;

impl Value {
    /// Steps of [`Value::prefetch`].
    pub const STEPS: u32 = 3;

    /// The type.
    pub fn kind(&self) -> Kind {
        match self {
            Value::Str(_) => Kind::String,
            Value::List(_) => Kind::List,
            Value::Set(_) => Kind::Set,
            Value::Zset(_) => Kind::Zset,
            Value::Hash(_) => Kind::Hash,
            Value::Stream(_) => Kind::Stream,
        }
    }

    /// The encoding, as OBJECT ENCODING names it; a string is "raw".
    pub fn encoding(&self) -> &'static str {
        match self {
            Value::Str(_) => "raw",
            Value::List(v) => v.encoding(),
            Value::Set(v) => v.encoding(),
            Value::Zset(v) => v.encoding(),
            Value::Hash(v) => v.encoding(),
            Value::Stream(_) => "stream",
        }
    }

    /// A copy that shares nothing with it.
    pub fn duplicate(&self) -> Value {
        match self {
            Value::Str(v) => Value::Str(v.clone()),
            Value::List(v) => Value::List(v.clone()),
            Value::Set(v) => Value::Set(v.duplicate()),
            Value::Zset(v) => Value::Zset(v.duplicate()),
            Value::Hash(v) => Value::Hash(v.clone()),
            Value::Stream(v) => Value::Stream(v.clone()),
        }
    }

    /// Bytes that it owns; those of large values are estimated from `samples` elements or nodes, 0 for all.
    pub fn memory(&self, samples: usize) -> usize {
        match self {
            Value::Str(v) => v.capacity(),
            Value::List(v) => v.memory(samples),
            Value::Set(v) => v.memory(samples),
            Value::Zset(v) => v.memory(),
            Value::Hash(v) => v.memory(samples),
            Value::Stream(v) => v.memory(samples),
        }
    }

    /// Brings what is known of an element of a large collection into the cache, in [`Value::STEPS`] steps: each needs
    /// what the one before it has fetched. Small ones, which are in the cache or are read as a whole, are left alone.
    pub fn prefetch(&self, element: &[u8], step: u32) {
        match self {
            Value::Set(Set::Table(members)) if members.len() > LARGE => members.prefetch_step(element, step),
            Value::Hash(Hash::Table(fields)) if fields.len() > LARGE => fields.prefetch(element, step),
            Value::Zset(Zset::Tree(tree)) if tree.len() > LARGE => tree.prefetch(element, step),
            _ => {}
        }
    }

    /// About how much work freeing it is, in allocations; giving 64 KiB of pages back counts as one.
    pub fn effort(&self) -> usize {
        match self {
            Value::Str(v) => 1 + (v.capacity() >> 16),
            Value::List(v) => v.len() / 64,
            Value::Set(v) => v.len(),
            Value::Zset(v) => v.len(),
            Value::Hash(v) => v.len(),
            Value::Stream(v) => v.nodes().len() + v.groups().len(),
        }
    }
}

impl Value {
    /// Frees about `n` elements; true when nothing is left that takes long. Nothing else is to be asked of it after
    /// that.
    pub fn drain_step(&mut self, n: usize) -> bool {
        match self {
            Value::Str(_) => true,
            Value::List(v) => v.drain_step(n),
            Value::Set(v) => v.drain_step(n),
            Value::Zset(v) => v.drain_step(n),
            Value::Hash(v) => v.drain_step(n),
            Value::Stream(v) => v.drain_step(n),
        }
    }
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.kind().name(), self.encoding())
    }
}
