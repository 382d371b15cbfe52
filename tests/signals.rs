//! What do signals do to the server? It ends without losing anything, or goes on and says why; and it tells what it was
//! doing when somebody has to ask it that way.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use support::server::{Server, peregrine_bin};

fn send(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn wait_for_log(server: &Server, text: &str) {
    wait_until(text, || server.log().contains(text));
}

fn start() -> Server {
    Server::peregrine(&["--enable-debug-command", "yes"])
}

#[test]
fn a_thread_that_hangs_is_told_of() {
    let server = start();
    let mut client = server.connect();
    client.cmd("CONFIG SET watchdog-period 200");
    client.cmd("DEBUG SLEEP 0.6");
    wait_for_log(&server, "--- WATCHDOG TIMER EXPIRED ---");
    wait_for_log(&server, ": runs debug");
    client.cmd("CONFIG SET watchdog-period 0");
    assert!(!server.log().contains("Received SIGALRM"));
    send(server.pid(), Signal::ALARM);
    wait_for_log(&server, "Received SIGALRM");
    assert_eq!(server.log().matches(": runs debug").count(), 1, "once for each command");
    assert_eq!(client.cmd("PING").text(), "PONG");
}

#[test]
fn an_abort_leaves_a_report() {
    let mut server = start();
    send(server.pid(), Signal::ABORT);
    wait_until("it has ended", || !server.is_running());
    for text in ["Peregrine crashed by signal: 6", "io-0: runs no command", "PEREGRINE BUG REPORT END"] {
        assert!(server.log().contains(text), "{}", server.log());
    }
}

#[test]
fn the_first_base_of_the_append_only_file_is_not_given_up() {
    let server = Server::peregrine(&["--shutdown-on-sigterm", "force"]);
    let mut client = server.connect();
    // The setting counts that is in force when the signal comes.
    client.cmd("CONFIG SET shutdown-on-sigterm default");
    client.cmd("CONFIG SET rdb-key-save-delay 10000000");
    client.cmd("SET k v");
    client.cmd("CONFIG SET appendonly yes");
    send(server.pid(), Signal::TERM);
    wait_for_log(&server, "Writing initial AOF, can't exit");
    assert_eq!(client.cmd("GET k").text(), "v");
}

/// A server that serves nobody, with the data of another.
fn without_port(dir: &Path) -> Child {
    Command::new(peregrine_bin())
        .args(["--port", "0", "--key-load-delay", "1000000", "--dir"])
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_server_that_loads_can_be_ended_and_leaves_its_file_alone() {
    let server = start();
    let mut client = server.connect();
    (0..30).for_each(|i| _ = client.cmd(&format!("SET k{i} v")));
    client.cmd("SAVE");
    let dir = tempfile::tempdir().unwrap();
    let from = client.cmd("CONFIG GET dir").items().unwrap()[1].text();
    let file = dir.path().join("dump.rdb");
    std::fs::copy(Path::new(&from).join("dump.rdb"), &file).unwrap();
    let before = std::fs::read(&file).unwrap();
    let mut child = without_port(dir.path());
    // Loading takes half a minute.
    std::thread::sleep(Duration::from_millis(1500));
    assert!(child.try_wait().unwrap().is_none());
    send(child.id(), Signal::TERM);
    let began = Instant::now();
    assert!(child.wait().unwrap().success());
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(std::fs::read(&file).unwrap(), before);
}
