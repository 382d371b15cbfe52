//! Which commands make a value? Those that a base without RDB consists of (`aof-use-rdb-preamble no`), and that anybody
//! can read.
//!
//! What commands cannot say is lost, as with Redis: when consumers were last seen, and how keys were used.

use crate::ds::entry::View;
use crate::log::entry::encode_command;
use crate::persist::rdb::pieces::{At, Miscounted, Progress};
use crate::util::number;
use crate::value::stream::{Group, StreamId};
use crate::value::{Stream, Value};

/// Elements that one command adds.
const TOGETHER: usize = 64;
/// Elements that are written under one lock.
const PIECE: usize = 512;

/// Appends what it is given to a buffer, as commands.
#[derive(Default)]
pub struct Commands {
    /// What has been written.
    pub out: Vec<u8>,
}

/// A command that adds elements to a key, and a new one when it is long.
struct Adding<'c> {
    to: &'c mut Commands,
    name: &'static [u8],
    key: &'c [u8],
    /// Elements, of `each` arguments.
    args: Vec<Vec<u8>>,
    each: usize,
    added: u64,
}

impl Adding<'_> {
    fn add(&mut self, args: impl IntoIterator<Item = Vec<u8>>) {
        self.args.extend(args);
        self.added += 1;
        if self.args.len() >= TOGETHER * self.each {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if !self.args.is_empty() {
            let mut argv = vec![self.name, self.key];
            argv.extend(self.args.iter().map(Vec::as_slice));
            self.to.out.extend(encode_command(&argv));
            self.args.clear();
        }
    }

    fn done(mut self) -> u64 {
        self.flush();
        self.added
    }
}

impl Commands {
    fn command(&mut self, argv: &[&[u8]]) {
        self.out.extend(encode_command(argv));
    }

    /// The database of what follows.
    pub fn select(&mut self, db: usize) {
        self.command(&[b"SELECT", db.to_string().as_bytes()]);
    }

    /// A function library.
    pub fn function(&mut self, source: &[u8]) {
        self.command(&[b"FUNCTION", b"LOAD", source]);
    }

    /// A key with its value.
    pub fn record(&mut self, key: &[u8], view: &View<'_, Value>, expire: Option<u64>) {
        let mut progress = Progress::start(view);
        // Nothing changes while it is written.
        let _ = self.go_on(key, view, &mut progress, true);
        self.expire(key, expire);
    }

    /// When a key expires, once its value is there.
    pub fn expire(&mut self, key: &[u8], at: Option<u64>) {
        if let Some(at) = at {
            self.command(&[b"PEXPIREAT", key, at.to_string().as_bytes()]);
        }
    }

    /// Writes some more of a value, or all the rest. True at its end.
    ///
    /// # Errors
    /// [`Miscounted`] when the value has changed since it was begun, which nobody may do.
    pub fn go_on(
        &mut self,
        key: &[u8],
        view: &View<'_, Value>,
        progress: &mut Progress,
        all: bool,
    ) -> Result<bool, Miscounted> {
        let budget = if all { usize::MAX } else { PIECE };
        let string = |bytes: &[u8]| encode_command(&[b"SET", key, bytes]);
        let wrote = match (view, progress.at) {
            (View::Str(bytes), _) => {
                self.out.extend(string(bytes));
                0
            }
            (View::Int(n), _) => {
                self.out.extend(string(n.to_string().as_bytes()));
                0
            }
            (View::Value(Value::Str(bytes)), _) => {
                self.out.extend(string(bytes));
                0
            }
            (View::Value(Value::List(list)), At::Index(from)) => {
                let mut adding = self.adding(b"RPUSH", key, 1);
                list.iter_from(from).take(budget).for_each(|element| adding.add([element.to_vec()]));
                let n = adding.done();
                progress.at = At::Index(from + n as usize);
                n
            }
            (View::Value(Value::Set(set)), At::Cursor(cursor)) => {
                let mut adding = self.adding(b"SADD", key, 1);
                let mut cursor = cursor;
                loop {
                    cursor = set.scan(cursor, PIECE, |member| adding.add([member.to_vec()]));
                    if cursor == 0 || !all {
                        break;
                    }
                }
                progress.at = At::Cursor(cursor);
                adding.done()
            }
            (View::Value(Value::Zset(zset)), At::Index(from)) => {
                let mut adding = self.adding(b"ZADD", key, 2);
                for (member, score) in zset.range(from..from.saturating_add(budget)) {
                    adding.add([number::fmt_double(score).as_str().into(), member.to_vec()]);
                }
                let n = adding.done();
                progress.at = At::Index(from + n as usize);
                n
            }
            (View::Value(Value::Hash(_)), At::Cursor(_)) => self.hash(key, view, progress, all),
            (View::Value(Value::Stream(stream)), At::Node(from)) => {
                self.stream(key, stream, from, progress, budget)
            }
            _ => 0,
        };
        progress.left = progress.left.checked_sub(wrote).ok_or(Miscounted)?;
        if matches!(progress.at, At::Cursor(0)) && progress.left > 0 {
            return Err(Miscounted);
        }
        Ok(progress.left == 0)
    }

    fn adding<'c>(&'c mut self, name: &'static [u8], key: &'c [u8], each: usize) -> Adding<'c> {
        Adding { to: self, name, key, args: Vec::new(), each, added: 0 }
    }

    fn hash(&mut self, key: &[u8], view: &View<'_, Value>, progress: &mut Progress, all: bool) -> u64 {
        let (View::Value(Value::Hash(hash)), At::Cursor(mut cursor)) = (view, progress.at) else { return 0 };
        let mut expiring: Vec<(Vec<u8>, u64)> = Vec::new();
        let mut adding = self.adding(b"HMSET", key, 2);
        loop {
            cursor = hash.scan(cursor, PIECE, |field| {
                adding.add([field.name.to_vec(), field.value.to_vec()]);
                expiring.extend(field.expire.map(|at| (field.name.to_vec(), at)));
            });
            if cursor == 0 || !all {
                break;
            }
        }
        progress.at = At::Cursor(cursor);
        let wrote = adding.done();
        for (field, at) in expiring {
            self.command(&[b"HPEXPIREAT", key, at.to_string().as_bytes(), b"FIELDS", b"1", &field]);
        }
        wrote
    }

    fn stream(
        &mut self,
        key: &[u8],
        stream: &Stream,
        from: StreamId,
        progress: &mut Progress,
        budget: usize,
    ) -> u64 {
        let mut wrote = 0;
        for entry in stream.range(from..=StreamId::MAX).take(budget) {
            let id = text(entry.id);
            let mut argv: Vec<Vec<u8>> = vec![b"XADD".to_vec(), key.to_vec(), id];
            for (field, value) in entry.fields() {
                argv.extend([field.to_vec(), value.to_vec()]);
            }
            self.out.extend(encode_command(&argv));
            progress.at = At::Node(entry.id.next().unwrap_or(StreamId::MAX));
            wrote += 1;
        }
        if wrote == progress.left {
            self.stream_tail(key, stream);
        }
        wrote
    }

    /// What a stream is besides its entries.
    fn stream_tail(&mut self, key: &[u8], stream: &Stream) {
        let meta = stream.meta();
        if stream.is_empty() {
            // There is no other way to make an empty stream.
            let id = if meta.last_id == StreamId::MIN { b"0-1".to_vec() } else { text(meta.last_id) };
            self.command(&[b"XADD", key, b"MAXLEN", b"0", &id, b"x", b"y"]);
        }
        let (last, deleted) = (text(meta.last_id), text(meta.max_deleted_id));
        let added = meta.entries_added.to_string();
        self.command(&[b"XSETID", key, &last, b"ENTRIESADDED", added.as_bytes(), b"MAXDELETEDID", &deleted]);
        for (name, group) in stream.groups() {
            self.group(key, name, group);
        }
    }

    fn group(&mut self, key: &[u8], name: &[u8], group: &Group) {
        let last = text(group.last_id);
        let read = group.entries_read.map(|n| n.to_string());
        let mut argv: Vec<&[u8]> = vec![b"XGROUP", b"CREATE", key, name, &last];
        if let Some(read) = &read {
            argv.extend([b"ENTRIESREAD", read.as_bytes()]);
        }
        self.command(&argv);
        for (id, consumer) in group.consumers() {
            self.command(&[b"XGROUP", b"CREATECONSUMER", key, name, consumer.name()]);
            for (entry, pending) in group.consumer_pending(id, StreamId::MIN..=StreamId::MAX) {
                let (time, count) = (pending.delivery_time.to_string(), pending.delivery_count.to_string());
                self.command(&[
                    b"XCLAIM",
                    key,
                    name,
                    consumer.name(),
                    b"0",
                    &text(entry),
                    b"TIME",
                    time.as_bytes(),
                    b"RETRYCOUNT",
                    count.as_bytes(),
                    b"JUSTID",
                    b"FORCE",
                ]);
            }
        }
    }
}

fn text(id: StreamId) -> Vec<u8> {
    let mut text = Vec::new();
    id.write_to(&mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::hash::Seed;
    use crate::value::{Hash, Limits, List};

    fn words(commands: &Commands) -> String {
        let text = String::from_utf8(commands.out.clone()).unwrap();
        text.split("\r\n")
            .filter(|l| !l.starts_with(['*', '$']) && !l.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn values_become_commands() {
        let (limits, seed) = (Limits::default(), Seed::new([1, 2]));
        let mut commands = Commands::default();
        commands.record(b"n", &View::Int(7), Some(99));
        let list = Value::List(List::from_elements([&b"a"[..], b"b"], &limits));
        commands.record(b"l", &View::Value(&list), None);
        let mut hash = Hash::new();
        hash.set(b"f", b"v", false, &limits, seed);
        commands.record(b"h", &View::Value(&Value::Hash(hash)), None);
        assert_eq!(words(&commands), "SET n 7 PEXPIREAT n 99 RPUSH l a b HMSET h f v");
    }

    #[test]
    fn long_values_become_many_commands_and_pieces() {
        let limits = Limits::default();
        let elements: Vec<Vec<u8>> = (0..1500).map(|n| n.to_string().into_bytes()).collect();
        let list = Value::List(List::from_elements(elements.iter().map(Vec::as_slice), &limits));
        let view = View::Value(&list);
        let (mut commands, mut progress) = (Commands::default(), Progress::start(&view));
        let mut pieces = 1;
        while !commands.go_on(b"l", &view, &mut progress, false).unwrap() {
            pieces += 1;
        }
        assert_eq!(pieces, 3);
        assert_eq!(words(&commands).matches("RPUSH l").count(), 1500usize.div_ceil(TOGETHER));
    }
}
