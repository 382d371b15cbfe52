//! What is a server without sockets? Its core, one worker, and sessions that run requests as a connection would.
//!
//! After each request the reply must be one well-formed value; after each input the values must be sound: what
//! counts them agrees with what lists them, and a copy by DUMP and RESTORE is the same.

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use peregrine::ALLOCATOR;
use peregrine::client::Session;
use peregrine::client::message::Message;
use peregrine::client::registry::Client;
use peregrine::client::session::ReplyMode;
use peregrine::config::cmdline::Invocation;
use peregrine::config::file;
use peregrine::dispatch::core::Core;
use peregrine::dispatch::worker::Worker;
use peregrine::dispatch::{block, call, multi, reaper};
use peregrine::pubsub::Space;
use peregrine::resp::reply::Reply;
use peregrine::server::{Server, logging};
use peregrine::util::rng::Rng;

use crate::requests::{self, SETTINGS, Words};
use crate::support::resp::{self, Value};

/// A reply may be so long; then its client is gone, as one over its output limit is.
const LONGEST_REPLY: usize = 16 << 20;
/// What may be in use behind an input beyond what was in use before the first one.
const SLACK: usize = 64 << 20;
/// Keys whose structure is looked at behind an input.
const LOOKED_AT: usize = 64;

/// The server.
pub struct Machine {
    core: Arc<Core>,
    worker: Worker,
    inputs: u64,
    used: usize,
}

impl Machine {
    /// A server that listens nowhere and keeps nothing.
    ///
    /// # Panics
    /// When it cannot be built.
    #[allow(clippy::new_without_default)] // once per process
    pub fn new() -> Machine {
        let args = "--port 0 --save '' --loglevel nothing --io-threads 1 --databases 4 --enable-debug-command yes \
                    --proto-max-bulk-len 1mb";
        let args: Vec<OsString> =
            args.split_whitespace().map(|word| if word == "''" { "".into() } else { word.into() }).collect();
        let Invocation::Serve(command) = Invocation::parse(&args) else {
            panic!("settings and nothing else")
        };
        // Where it is, so that the fuzzer finds its files again.
        let here = std::env::current_dir().expect("a directory");
        let loaded = file::load(&command, &mut std::io::empty(), &here).expect("settings");
        let log = logging::start(&loaded.config).expect("a log");
        let core = Server::new(loaded, log).expect("a server").core();
        core.loading.store(false, Ordering::Release);
        // The server's own hook writes to its log, and a command that panics is answered; here it ends the run.
        std::panic::set_hook(Box::new(|info| {
            eprintln!("{info}\n{}", std::backtrace::Backtrace::force_capture());
            std::process::abort();
        }));
        reaper::start(&core).expect("a thread");
        let worker = Worker::new(0, &core, Rng::new(1));
        Machine { core, worker, inputs: 0, used: 0 }
    }

    /// Runs a sequence of commands on an empty server, and looks at what it has left.
    pub fn play(&mut self, commands: &[Words]) {
        self.begin();
        let mut session = self.connect();
        for words in commands {
            if session.close {
                self.leave(session);
                session = self.connect();
            }
            let subscribes = requests::is_subscription(words);
            if requests::is_harmless(words) && !(subscribes && session.multi.is_some()) {
                self.run(&mut session, words);
            }
        }
        self.leave(session);
        self.look();
        self.end();
    }

    /// Runs what was read from a log on an empty server, as at its start.
    pub fn replay(&mut self, commands: &[Words]) {
        self.begin();
        let mut session = self.boss();
        for words in commands.iter().filter(|words| requests::is_harmless(words)) {
            let argv: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
            let mut bytes = Vec::new();
            let mut out = Reply::new(&mut bytes, session.proto);
            self.worker.tick(&self.core);
            // A name that is not known ends the loading; here the next command is tried.
            let _ = call::replay(&self.core, &mut self.worker, &mut session, &argv, &mut out);
        }
        self.leave(session);
        self.look();
        self.end();
    }

    /// Empties the server, whatever the last input did to it.
    pub fn begin(&mut self) {
        self.worker.rng = Rng::new(1);
        let mut boss = self.boss();
        for line in
            ["FLUSHALL SYNC", "SCRIPT FLUSH SYNC", "FUNCTION FLUSH SYNC", "CONFIG RESETSTAT", "ACL LOG RESET"]
        {
            self.ask(&mut boss, line.split(' '));
        }
        let settings = SETTINGS.iter().flat_map(|(name, value)| [*name, *value]);
        self.ask(&mut boss, ["CONFIG", "SET"].into_iter().chain(settings));
        self.ask(&mut boss, "ACL SETUSER default reset on nopass ~* &* +@all".split(' '));
        if let Value::Array(users) = self.ask(&mut boss, ["ACL", "USERS"]) {
            for user in users.iter().filter_map(Value::bytes).filter(|user| *user != b"default") {
                self.run(&mut boss, &[b"ACL".to_vec(), b"DELUSER".to_vec(), user.to_vec()]);
            }
        }
        self.leave(boss);
    }

    /// Gives everything back, and counts what is left.
    pub fn end(&mut self) {
        self.begin();
        self.inputs += 1;
        let used = ALLOCATOR.used();
        // The first inputs build what stays: interpreters, tables of statistics.
        if self.inputs <= 100 {
            self.used = self.used.max(used);
        }
        assert!(
            used <= self.used + SLACK,
            "{used} bytes are in use on an empty server, which needed {}",
            self.used
        );
    }

    /// A new connection.
    pub fn connect(&mut self) -> Session {
        let id = self.core.clients.next_id();
        let client = Arc::new(Client::new(id, 0, "127.0.0.1:1".into(), "127.0.0.1:2".into(), -1, 0));
        self.core.clients.add(client.clone());
        Session::new(client, self.core.acl.first_login(), self.core.acl.is_open())
    }

    /// A session that everything is allowed to.
    pub fn boss(&mut self) -> Session {
        let mut session = Session::internal(self.connect().client);
        session.db = 0;
        session
    }

    /// Runs a request whose words are text; its first reply.
    pub fn ask<'w>(&mut self, session: &mut Session, words: impl IntoIterator<Item = &'w str>) -> Value {
        let words: Words = words.into_iter().map(|word| word.as_bytes().to_vec()).collect();
        self.run(session, &words).into_iter().next().unwrap_or(Value::Null)
    }

    /// Runs a request and checks how it is answered.
    ///
    /// # Panics
    /// When the reply is not one value of the protocol.
    pub fn run(&mut self, session: &mut Session, words: &[Vec<u8>]) -> Vec<Value> {
        self.worker.tick(&self.core);
        let argv: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let (mut bytes, proto) = (Vec::new(), session.proto);
        call::prepare(&self.core, &mut self.worker);
        let mut out = Reply::new(&mut bytes, proto).at_most(LONGEST_REPLY);
        let outcome = call::run(&self.core, &mut self.worker, session, &argv, None, &mut out);
        let vain = out.is_in_vain();
        assert!(!outcome.postponed, "nobody has paused clients");
        if let Some(blocked) = outcome.blocked {
            assert!(bytes.is_empty(), "who waits is not answered");
            if block::give_up(&self.core, &blocked) {
                blocked.on_timeout.write(&self.core, &mut Reply::new(&mut bytes, session.proto));
            } else {
                bytes = self.served();
            }
        }
        self.core.clients.mailbox(0).take(&mut Vec::new());
        if vain {
            session.close = true;
            return Vec::new();
        }
        let values = values(&bytes);
        let silent = std::mem::take(&mut session.reply_mode) != ReplyMode::On && values.is_empty();
        let one = values.len() == 1 || silent || requests::is_subscription(words);
        let shown = || String::from_utf8_lossy(&requests::write(&[words.to_vec()])).into_owned();
        assert!(one, "{} replies to {}: {}", values.len(), shown(), String::from_utf8_lossy(&bytes));
        values
    }

    /// The reply that has been given, or is just being given, to who has waited.
    fn served(&self) -> Vec<u8> {
        let mut messages = Vec::new();
        loop {
            self.core.clients.mailbox(0).take(&mut messages);
            let reply = messages.drain(..).find_map(|message| match message {
                Message::Served { reply, .. } => Some(reply),
                _ => None,
            });
            if let Some(reply) = reply {
                return reply;
            }
            std::thread::yield_now();
        }
    }

    /// Ends a connection, as it ends when its socket is closed.
    pub fn leave(&mut self, mut session: Session) {
        multi::unwatch_closed(&self.core, &mut session);
        let id = session.client.id;
        for (space, names) in [
            (Space::Channel, session.channels.drain().collect::<Vec<_>>()),
            (Space::Pattern, std::mem::take(&mut session.patterns).into_iter().collect()),
            (Space::Shard, session.shard_channels.drain().collect()),
        ] {
            names.iter().for_each(|name| self.core.pubsub.unsubscribe(space, name, id));
        }
        self.core.clients.monitors.remove(&session.client);
        self.core
            .clients
            .tracking
            .disable(&session.client, std::mem::take(&mut session.prefixes).into_iter());
        self.core.clients.remove(id);
        self.core.clients.mailbox(0).take(&mut Vec::new());
    }

    /// Looks at every value there is.
    ///
    /// # Panics
    /// When one is not sound.
    pub fn look(&mut self) {
        let mut boss = self.boss();
        for db in ["0", "1", "2", "3"] {
            self.ask(&mut boss, ["SELECT", db]);
            let Value::Array(keys) = self.ask(&mut boss, ["KEYS", "*"]) else { panic!("KEYS lists keys") };
            for key in keys.iter().take(LOOKED_AT).filter_map(Value::bytes) {
                self.look_at(&mut boss, key);
            }
        }
        self.leave(boss);
    }

    fn look_at(&mut self, boss: &mut Session, key: &[u8]) {
        let mut ask = |line: &str| {
            let words: Words = line
                .split(' ')
                .map(|w| if w == "KEY" { key.to_vec() } else { w.as_bytes().to_vec() })
                .collect();
            self.run(boss, &words).into_iter().next().unwrap_or(Value::Null)
        };
        let kind = ask("TYPE KEY").text();
        let before = ask("DEBUG DIGEST-VALUE KEY");
        let listed = |value: &Value| value.items().map_or(0, <[Value]>::len) as i64;
        let (count, list) = match kind.as_str() {
            "string" => (ask("STRLEN KEY").number(), ask("GET KEY").bytes().map_or(0, <[u8]>::len) as i64),
            "list" => (ask("LLEN KEY").number(), listed(&ask("LRANGE KEY 0 -1"))),
            "set" => (ask("SCARD KEY").number(), listed(&ask("SMEMBERS KEY"))),
            // Fields whose time is over are counted until they are met, and not listed.
            "hash" => (ask("HLEN KEY").number(), listed(&ask("HKEYS KEY"))),
            "zset" => (ask("ZCARD KEY").number(), listed(&ask("ZRANGE KEY 0 -1"))),
            "stream" => (ask("XLEN KEY").number(), listed(&ask("XRANGE KEY - +"))),
            _ => return,
        };
        if kind == "zset" {
            assert_eq!(ask("ZCOUNT KEY -inf +inf").number(), count, "of {key:?}");
        }
        let until = ask("PEXPIRETIME KEY").number().unwrap_or(0).max(0).to_string().into_bytes();
        let payload = ask("DUMP KEY");
        // A key, or a field, may have expired meanwhile; then there is nothing to compare.
        let (Value::Bulk(payload), true) = (payload, ask("DEBUG DIGEST-VALUE KEY") == before) else { return };
        assert!(
            count == Some(list) || kind == "hash" && count > Some(list),
            "{kind} {key:?} counts {count:?} for {list}"
        );
        let copy = b"the copy".to_vec();
        let mut restore = vec![b"RESTORE".to_vec(), copy.clone(), until, payload.clone()];
        restore.extend([b"REPLACE".to_vec(), b"ABSTTL".to_vec()]);
        let restored = self.run(boss, &restore);
        assert_eq!(restored, [Value::Simple(b"OK".to_vec())], "{kind} {key:?} is dumped as {payload:?}");
        let digest = |of: &[u8]| [b"DEBUG".to_vec(), b"DIGEST-VALUE".to_vec(), of.to_vec()];
        let (again, own) = (self.run(boss, &digest(&copy)), self.run(boss, &digest(key)));
        assert!(again == own || own != [before], "{kind} {key:?} is not what was restored from {payload:?}");
        self.run(boss, &[b"UNLINK".to_vec(), copy]);
    }
}

/// The replies in these bytes.
fn values(mut bytes: &[u8]) -> Vec<Value> {
    let mut values = Vec::new();
    while !bytes.is_empty() {
        match resp::parse(bytes) {
            Ok(Some((value, used))) => {
                values.push(value);
                bytes = &bytes[used..];
            }
            other => panic!("{other:?}: {}", String::from_utf8_lossy(bytes)),
        }
    }
    values
}
