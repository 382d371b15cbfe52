//! The `peregrine` binary: arguments, settings, server.

use std::process::ExitCode;

use peregrine::config::cmdline::Invocation;
use peregrine::config::file;
use peregrine::server::Server;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let Invocation::Serve(command) = Invocation::parse(&args) else { return ExitCode::FAILURE };
    let cwd = std::env::current_dir().unwrap_or_default();
    let loaded = match file::load(&command, &mut std::io::stdin(), &cwd) {
        Ok(loaded) => loaded,
        Err(fatal) => {
            eprintln!("{fatal}");
            return ExitCode::FAILURE;
        }
    };
    tracing_subscriber::fmt().init();
    match Server::new(loaded.config, loaded.file).and_then(Server::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
