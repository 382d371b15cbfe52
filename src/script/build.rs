//! How is a nested Lua value built from a flat stream, without recursion and without running away
//! with the memory?
//!
//! JSON, MessagePack and replies all arrive as a stream of leaves and of containers that open and
//! close. A [`Builder`] keeps the open containers on a stack of its own.
//!
//! Invariants: depth is bounded by the caller's limit, never by the C stack; nothing is allocated
//! by an announced length; the interpreter's memory limit is checked every [`CHECK_EVERY`] leaves.

use std::borrow::Cow;

use bstr::BStr;
use mlua::{Either, Lua, Result, Table, Value};

use super::fail::Failure;

/// Leaves between two looks at the memory in use.
const CHECK_EVERY: u32 = 256;
/// Bytes of strings between two looks.
const CHECK_BYTES: usize = 1 << 20;

/// A value without children, or a finished container.
pub enum Leaf<'b> {
    /// `nil`: not stored in tables, but it takes its place in an array.
    Nil,
    /// A boolean.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A string.
    Bytes(Cow<'b, [u8]>),
    /// The null of JSON, a light userdata.
    Null,
    /// A table.
    Table(Table),
}

/// What an open container does with the values it is given.
pub enum Kind {
    /// Numbers them from 1.
    Array,
    /// Takes them as key, value, key, value.
    Map,
    /// Maps each to `true`.
    Set,
    /// Drops them (attributes).
    Ignored,
}

struct Frame<'b> {
    table: Table,
    kind: Kind,
    /// Values placed so far, or the next index of an array.
    next: i64,
    key: Option<Leaf<'b>>,
    /// Values still to come; `None` when the stream closes the container itself.
    left: Option<u64>,
    /// The finished table is put into a fresh one under this name.
    wrap: Option<&'static str>,
}

/// Builds values; what is finished at the top level collects in `done`.
pub struct Builder<'l, 'b> {
    lua: &'l Lua,
    frames: Vec<Frame<'b>>,
    done: Vec<Value>,
    limit: usize,
    before: usize,
    placed: u32,
    bytes: usize,
}

/// Bytes as something that enters the interpreter by its fastest way.
pub fn text(bytes: &[u8]) -> Either<&str, &BStr> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Either::Left(text),
        Err(_) => Either::Right(BStr::new(bytes)),
    }
}

impl<'l, 'b> Builder<'l, 'b> {
    /// A builder for values of `lua`. While it lives the interpreter's own limit is off (which
    /// makes single operations several times cheaper) and the builder looks after it.
    pub fn new(lua: &'l Lua) -> Self {
        let before = lua.set_memory_limit(0).unwrap_or(0);
        Self { lua, frames: Vec::new(), done: Vec::new(), limit: before, before, placed: 0, bytes: 0 }
    }

    /// Open containers.
    pub fn depth(&self) -> usize {
        self.frames.len()
    }

    /// Finished top-level values so far.
    pub fn finished(&self) -> usize {
        self.done.len()
    }

    /// Whether the innermost open container is a map.
    pub fn in_map(&self) -> bool {
        matches!(self.frames.last(), Some(Frame { kind: Kind::Map, .. }))
    }

    /// Opens a container that [`Builder::close`] ends.
    pub fn open(&mut self, kind: Kind) -> Result<()> {
        self.push(kind, None, None)
    }

    /// Opens a container of `count` values (pairs count twice), which ends by itself.
    pub fn open_counted(&mut self, kind: Kind, count: u64, wrap: Option<&'static str>) -> Result<()> {
        self.push(kind, Some(count), wrap)?;
        if count == 0 { self.close() } else { Ok(()) }
    }

    fn push(&mut self, kind: Kind, left: Option<u64>, wrap: Option<&'static str>) -> Result<()> {
        self.account(64)?;
        let table = self.lua.create_table()?;
        self.frames.push(Frame { table, kind, next: 1, key: None, left, wrap });
        Ok(())
    }

    /// Closes the innermost container and places it in its parent.
    pub fn close(&mut self) -> Result<()> {
        let Some(frame) = self.frames.pop() else { return Ok(()) };
        match frame.finish(self.lua)? {
            None => Ok(()),
            Some(table) => self.place(Leaf::Table(table)),
        }
    }

    /// Places a value in the innermost container, closing every counted one that it completes.
    pub fn place(&mut self, leaf: Leaf<'b>) -> Result<()> {
        self.account(match &leaf {
            Leaf::Bytes(bytes) => bytes.len(),
            _ => 0,
        })?;
        let mut leaf = leaf;
        loop {
            let Some(frame) = self.frames.last_mut() else {
                let value = into_value(self.lua, leaf)?;
                self.done.push(value);
                return Ok(());
            };
            frame.add(leaf)?;
            let Some(left) = frame.left.as_mut() else { return Ok(()) };
            *left = left.saturating_sub(1);
            if *left > 0 {
                return Ok(());
            }
            let Some(frame) = self.frames.pop() else { return Ok(()) };
            match frame.finish(self.lua)? {
                None => return Ok(()),
                Some(table) => leaf = Leaf::Table(table),
            }
        }
    }

    fn account(&mut self, bytes: usize) -> Result<()> {
        self.placed += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        if self.placed >= CHECK_EVERY || self.bytes >= CHECK_BYTES {
            let about_to = self.bytes;
            self.placed = 0;
            self.bytes = 0;
            if self.limit > 0 && self.lua.used_memory().saturating_add(about_to) > self.limit {
                return Err(Failure::Text(b"not enough memory".to_vec()).into());
            }
        }
        Ok(())
    }

    /// The finished top-level values.
    pub fn finish(mut self) -> Vec<Value> {
        std::mem::take(&mut self.done)
    }
}

impl Drop for Builder<'_, '_> {
    fn drop(&mut self) {
        // Cannot fail: the limit is ours to set, the state is not embedded in a foreign program.
        let _ = self.lua.set_memory_limit(self.before);
    }
}

impl<'b> Frame<'b> {
    /// The finished table, wrapped as asked; `None` for what is dropped.
    fn finish(self, lua: &Lua) -> Result<Option<Table>> {
        match (self.kind, self.wrap) {
            (Kind::Ignored, _) => Ok(None),
            (_, None) => Ok(Some(self.table)),
            (_, Some(name)) => {
                let outer = lua.create_table()?;
                outer.raw_set(name, self.table)?;
                Ok(Some(outer))
            }
        }
    }

    fn add(&mut self, leaf: Leaf<'b>) -> Result<()> {
        match self.kind {
            Kind::Array => {
                let index = self.next;
                self.next += 1;
                store(&self.table, index, leaf)
            }
            Kind::Set => match leaf {
                Leaf::Bytes(bytes) => self.table.raw_set(text(&bytes), true),
                Leaf::Bool(b) => self.table.raw_set(b, true),
                Leaf::Number(n) if !n.is_nan() => self.table.raw_set(n, true),
                Leaf::Table(t) => self.table.raw_set(t, true),
                _ => Err(Failure::Text(b"table index is nil".to_vec()).into()),
            },
            Kind::Map => match self.key.take() {
                None => {
                    self.key = Some(leaf);
                    Ok(())
                }
                Some(Leaf::Bytes(key)) => store(&self.table, text(&key), leaf),
                Some(Leaf::Bool(key)) => store(&self.table, key, leaf),
                Some(Leaf::Number(n)) if n.is_nan() => {
                    Err(Failure::Text(b"table index is NaN".to_vec()).into())
                }
                Some(Leaf::Number(n)) => store(&self.table, n, leaf),
                Some(Leaf::Table(key)) => store(&self.table, key, leaf),
                Some(Leaf::Null) => store(&self.table, Value::NULL, leaf),
                Some(Leaf::Nil) => Err(Failure::Text(b"table index is nil".to_vec()).into()),
            },
            Kind::Ignored => Ok(()),
        }
    }
}

fn store(table: &Table, key: impl mlua::IntoLua, leaf: Leaf<'_>) -> Result<()> {
    match leaf {
        Leaf::Nil => table.raw_set(key, Value::Nil),
        Leaf::Bool(b) => table.raw_set(key, b),
        Leaf::Number(n) => table.raw_set(key, n),
        Leaf::Bytes(bytes) => table.raw_set(key, text(&bytes)),
        Leaf::Null => table.raw_set(key, Value::NULL),
        Leaf::Table(t) => table.raw_set(key, t),
    }
}

fn into_value(lua: &Lua, leaf: Leaf<'_>) -> Result<Value> {
    Ok(match leaf {
        Leaf::Nil => Value::Nil,
        Leaf::Bool(b) => Value::Boolean(b),
        Leaf::Number(n) => Value::Number(n),
        Leaf::Bytes(bytes) => Value::String(lua.create_string(bytes)?),
        Leaf::Null => Value::NULL,
        Leaf::Table(t) => Value::Table(t),
    })
}
