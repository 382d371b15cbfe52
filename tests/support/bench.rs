//! How does a test run commands without a socket, on a clock of its own? On a server that has been built and not started:
//! no thread of it runs, so that the test says what happens, and when.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use peregrine::client::Session;
use peregrine::client::registry::Client;
use peregrine::commands::FAMILIES;
use peregrine::config::cmdline::Invocation;
use peregrine::config::file;
use peregrine::dispatch::call::{self, Outcome};
use peregrine::dispatch::core::Core;
use peregrine::dispatch::worker::Worker;
use peregrine::resp::reply::{Proto, Reply};
use peregrine::server::{Server, logging};
use peregrine::util::clock::{Clock, ManualClock};
use peregrine::util::rng::Rng;

/// When the clock begins, in unix seconds.
pub const NOW_S: u64 = 1_700_000_000;

/// There is one for the process.
static LOG: OnceLock<logging::Log> = OnceLock::new();

/// A server that is not started, one client of it, and its clock.
pub struct Bench {
    /// The clock.
    pub clock: Arc<ManualClock>,
    /// The server's parts.
    pub core: Arc<Core>,
    worker: Worker,
    session: Session,
}

impl Bench {
    /// A server that works in `dir`.
    pub fn new(dir: &Path) -> Bench {
        let dir = dir.to_str().unwrap();
        let args = ["--port", "0", "--save", "", "--loglevel", "warning", "--io-threads", "1", "--dir", dir];
        let args: Vec<_> = args.iter().map(std::ffi::OsString::from).collect();
        let Invocation::Serve(command) = Invocation::parse(&args) else { unreachable!() };
        let loaded = file::load(&command, &mut std::io::empty(), &std::env::temp_dir()).unwrap();
        let log = LOG.get_or_init(|| logging::start(&loaded.config).unwrap()).clone();
        let clock = Arc::new(ManualClock::new(NOW_S * 1_000_000));
        let core = Server::on_clock(clock.clone(), FAMILIES, loaded, log).unwrap().core();
        core.loading.store(false, Ordering::Release);
        let worker = Worker::new(0, &core, Rng::from_os().unwrap());
        let client = Arc::new(Client::new(core.clients.next_id(), 0, "test:1".into(), String::new(), -1, 0));
        core.clients.add(client.clone());
        let session = Session::new(client, core.acl.first_login(), true);
        Bench { clock, core, worker, session }
    }

    /// Runs a request, which is a batch of its own: its reply, and what else it came to.
    pub fn run(&mut self, line: &str) -> (String, Outcome) {
        let argv: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let mut bytes = Vec::new();
        let mut out = Reply::new(&mut bytes, Proto::Resp2);
        self.worker.tick(&self.core);
        let outcome = call::run(&self.core, &mut self.worker, &mut self.session, &argv, None, &mut out);
        (String::from_utf8(bytes).unwrap(), outcome)
    }

    /// The reply to a request.
    pub fn ask(&mut self, line: &str) -> String {
        self.run(line).0
    }

    /// The number that a request is answered with.
    pub fn number(&mut self, line: &str) -> i64 {
        let reply = self.ask(line);
        reply.trim_start_matches("*1\r\n").trim_start_matches(':').trim_end().parse().unwrap()
    }

    /// Somebody sets the clock; the server looks at it at once, or only later.
    pub fn set_clock(&mut self, by_ms: i64, looks: bool) {
        let now = self.clock.now_us().saturating_add_signed(by_ms * 1000);
        self.clock.jump_to_us(now);
        if looks {
            self.core.look_at_clock(0);
        }
    }
}
