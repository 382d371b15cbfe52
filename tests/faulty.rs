//! What becomes of a command that panics? A server with two faulty commands shows it.
//!
//! Started with directives this program is that server, otherwise it is the test (hence no harness).

#![allow(clippy::unwrap_used)]

// Its own tests are compiled here, and have no harness that calls them.
#[allow(unused_imports)]
mod support;

use std::process::ExitCode;

use peregrine::commands::FAMILIES;
use peregrine::config::cmdline::Invocation;
use peregrine::config::file;
use peregrine::dispatch::access::Expiry;
use peregrine::dispatch::args::Args;
use peregrine::dispatch::ctx::Ctx;
use peregrine::dispatch::spec::{Command, OW, UPDATE, WRITE, one};
use peregrine::resp::reply::Reply;
use peregrine::server::{Server, logging};
use support::client::Client;
use support::server;

const FAULTY: &[Command] = &[
    Command::new("fault.early", early).arity(2).flags(WRITE).keys(&[one(OW | UPDATE, 1)]),
    Command::new("fault.late", late).arity(2).flags(WRITE).keys(&[one(OW | UPDATE, 1)]),
];

fn early(_: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> peregrine::error::Result {
    out.simple("half a rep");
    panic!("before anything was changed")
}

fn late(ctx: &mut Ctx<'_>, args: &mut Args<'_>, _: &mut Reply<'_>) -> peregrine::error::Result {
    let key = ctx.key(args.next()?);
    ctx.set_string(&key, b"half a value", Expiry::Clear);
    panic!("after something was changed")
}

fn serve(args: &[std::ffi::OsString]) -> ExitCode {
    let Invocation::Serve(command) = Invocation::parse(args) else { panic!("{args:?}") };
    let cwd = std::env::current_dir().unwrap();
    let loaded = file::load(&command, &mut std::io::stdin(), &cwd).unwrap();
    let log = logging::start(&loaded.config).unwrap();
    let families: Vec<_> = FAMILIES.iter().copied().chain([FAULTY]).collect();
    Server::with_commands(&families, loaded, log).unwrap().run().unwrap();
    ExitCode::SUCCESS
}

fn ask(client: &mut Client, args: &[&str]) -> String {
    client.send(args).unwrap();
    String::from_utf8_lossy(&client.read().unwrap().raw).into_owned()
}

fn test() {
    let own = std::env::current_exe().unwrap();
    let log_on = ["--appendonly", "yes", "--appendfsync", "everysec", "--io-threads", "2"];
    let mut faulty = server::Server::start("faulty", &own, &log_on);
    let mut client = faulty.connect();
    let mut other = faulty.connect();
    assert_eq!(ask(&mut client, &["SET", "kept", "yes"]), "+OK\r\n");

    // Nothing had been changed: an error for the client, a line for the operator, and service goes on.
    let reply = ask(&mut client, &["FAULT.EARLY", "k"]);
    assert_eq!(reply, "-ERR internal error: the command failed, see the server's log\r\n");
    assert!(faulty.log().contains("fault.early panicked and changed nothing"), "{}", faulty.log());
    assert_eq!(ask(&mut client, &["GET", "kept"]), "$3\r\nyes\r\n");
    // Its locks are free, also inside a transaction.
    assert_eq!(ask(&mut other, &["SET", "k", "1"]), "+OK\r\n");
    for (command, reply) in [("MULTI", "+OK"), ("FAULT.EARLY", "+QUEUED"), ("EXEC", "-ERR internal")] {
        let args = if command == "FAULT.EARLY" { &[command, "k"][..] } else { &[command] };
        assert!(ask(&mut client, args).starts_with(reply), "{command}");
    }
    assert_eq!(ask(&mut client, &["INCR", "k"]), ":2\r\n");

    // Something had been changed: nobody may see it or save it, so the server reports and ends, its log intact.
    client.send(&["FAULT.LATE", "k"]).unwrap();
    assert!(client.read().is_err(), "no answer to a command that was never finished");
    for _ in 0..200 {
        if !faulty.is_running() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert!(!faulty.is_running(), "the server went on with data that nobody can vouch for");
    let log = std::fs::read_to_string(faulty.dir.path().join("server.log")).unwrap();
    assert!(log.contains("fault.late panicked after it had changed data"), "{log}");
    assert!(log.contains("BUG REPORT START") && log.contains("argv[1]: 'k'"), "{log}");

    let dir = faulty.dir.path().to_str().unwrap();
    let again = server::Server::start("faulty", &own, &[&log_on[..], &["--dir", dir]].concat());
    let mut client = again.connect();
    assert_eq!(ask(&mut client, &["GET", "k"]), "$1\r\n2\r\n", "what was acknowledged, and no more");
    assert_eq!(ask(&mut client, &["GET", "kept"]), "$3\r\nyes\r\n");
}

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "--port") {
        return serve(&args);
    }
    // A filter on the command line that names other tests.
    if args.iter().any(|arg| {
        !arg.to_string_lossy().starts_with('-') && !"a_command_that_panics".contains(&*arg.to_string_lossy())
    }) {
        return ExitCode::SUCCESS;
    }
    test();
    println!("test a_command_that_panics ... ok\n\ntest result: ok. 1 passed; 0 failed");
    ExitCode::SUCCESS
}
