//! The `peregrine` binary: arguments, settings, server.

use std::io::{self, BufReader};
use std::path::Path;
use std::process::ExitCode;

use peregrine::config::REDIS_VERSION;
use peregrine::config::cmdline::Invocation;
use peregrine::config::file;
use peregrine::persist::check::{AofCheck, Console, Failed};
use peregrine::persist::disk::RealDisk;
use peregrine::server::{Server, daemon, logging};
use peregrine::util::clock::{Clock, SystemClock};

const HELP: &str = "Usage: peregrine [/path/to/redis.conf] [options] [-]
       peregrine --check-rdb FILE
       peregrine --check-aof [--fix] [--truncate-to-timestamp SECONDS] FILE|MANIFEST
       peregrine -v or --version
       peregrine -h or --help

Every setting of redis.conf is an option: --port 7777 --appendonly yes
A lone - reads settings from the standard input.
See redis.conf.example for all of them.";

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let program = args.next().unwrap_or_default();
    let args: Vec<_> = args.collect();
    match Invocation::parse_as(Path::new(&program), &args) {
        Invocation::Serve(command) => {
            let cwd = std::env::current_dir().unwrap_or_default();
            match file::load(&command, &mut io::stdin(), &cwd) {
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
        Invocation::CheckRdb(args) => match args.as_slice() {
            [path] => check(|console, now_ms| console.rdb(Path::new(path), now_ms)),
            _ => usage("--check-rdb FILE"),
        },
        Invocation::CheckAof(args) => match AofCheck::parse(&args) {
            Some(wish) => check(|console, now_ms| console.aof(&wish, now_ms)),
            None => usage("--check-aof [--fix] [--truncate-to-timestamp SECONDS] FILE|MANIFEST"),
        },
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

fn usage(how: &str) -> ExitCode {
    eprintln!("Usage: peregrine {how}");
    ExitCode::FAILURE
}

fn check(run: impl FnOnce(&mut Console<'_>, u64) -> Result<(), Failed>) -> ExitCode {
    let (mut input, mut out) = (BufReader::new(io::stdin()), io::stdout());
    let mut console = Console { disk: &RealDisk, input: &mut input, out: &mut out };
    match run(&mut console, SystemClock::new().now_ms()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed) => ExitCode::FAILURE,
    }
}
