//! The `peregrine` binary: arguments, settings, server.

use std::process::ExitCode;

use peregrine::config::REDIS_VERSION;
use peregrine::config::cmdline::Invocation;
use peregrine::config::file;
use peregrine::server::{Server, daemon, logging};

const HELP: &str = "Usage: peregrine [/path/to/redis.conf] [options] [-]
       peregrine -v or --version
       peregrine -h or --help

Every setting of redis.conf is an option: --port 7777 --appendonly yes
A lone - reads settings from the standard input.
See redis.conf.example for all of them.";

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    match Invocation::parse(&args) {
        Invocation::Serve(command) => {
            let cwd = std::env::current_dir().unwrap_or_default();
            match file::load(&command, &mut std::io::stdin(), &cwd) {
                Ok(loaded) => serve(loaded),
                Err(fatal) => {
                    eprintln!("{fatal}");
                    ExitCode::FAILURE
                }
            }
        }
        Invocation::Version => {
            let own = env!("CARGO_PKG_VERSION");
            println!(
                "Redis server v={REDIS_VERSION} sha=00000000:0 malloc=jemalloc bits=64 build=peregrine-{own}"
            );
            ExitCode::SUCCESS
        }
        Invocation::Help => {
            println!("{HELP}");
            ExitCode::SUCCESS
        }
        Invocation::TestMemory | Invocation::CheckSystem => {
            eprintln!("This server does not test the machine; use memtester or your vendor's tools.");
            ExitCode::FAILURE
        }
    }
}

fn serve(loaded: file::Loaded) -> ExitCode {
    match daemon::leave_terminal(&loaded.config) {
        Ok(false) => {}
        Ok(true) => return ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peregrine: cannot run in the background: {error}");
            return ExitCode::FAILURE;
        }
    }
    let ran = logging::start(&loaded.config).and_then(|log| Server::new(loaded, log)).and_then(Server::run);
    if let Err(error) = ran {
        eprintln!("peregrine: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
