//! How does the server leave its terminal, and how do others find it? `daemonize` and `pidfile`.
//!
//! There is no fork: the process starts itself once more, without a terminal, and ends.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::config::Config;
use crate::config::choices::Supervised;

/// Tells the process that it is the one that stays.
const MARK: &str = "PEREGRINE_DAEMON";
/// The pid file of a daemon that none is configured for.
const USUAL: &str = "/var/run/redis.pid";

/// With `daemonize`, starts the process that stays. True when the caller is not that one and should end.
///
/// # Errors
/// When it cannot be started.
pub fn leave_terminal(config: &Config) -> io::Result<bool> {
    // A supervisor wants the process that it has started.
    if !config.daemonize || supervisor(config).is_some() {
        return Ok(false);
    }
    if std::env::var_os(MARK).is_some() {
        // It fails for the leader of a group, who has no terminal to leave.
        let _ = rustix::process::setsid();
        return Ok(false);
    }
    let mut own = Command::new(std::env::current_exe()?);
    own.args(std::env::args_os().skip(1)).env(MARK, "1");
    own.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    Ok(true)
}

/// The address of the supervisor that is to be told, if there is one: that of systemd.
pub fn supervisor(config: &Config) -> Option<OsString> {
    let wanted = matches!(config.supervised, Supervised::Systemd | Supervised::Auto);
    std::env::var_os("NOTIFY_SOCKET").filter(|address| wanted && !address.is_empty())
}

/// Tells the supervisor how the server is doing, in the words of sd_notify(3): `READY=1`, `STOPPING=1`.
pub fn tell_supervisor(config: &Config, what: &str) {
    let Some(address) = supervisor(config) else { return };
    let told = UnixDatagram::unbound().and_then(|socket| match address.as_bytes() {
        [b'@', name @ ..] => socket.send_to_addr(what.as_bytes(), &SocketAddr::from_abstract_name(name)?),
        _ => socket.send_to(what.as_bytes(), &address),
    });
    if let Err(error) = told {
        tracing::warn!("The supervisor could not be told {what}: {error}");
    }
}

/// A file with the number of the process, as long as this lives.
pub struct PidFile(Option<PathBuf>);

impl PidFile {
    /// Writes the file that the settings ask for. Without it the server is found by other means: that it cannot be
    /// written is only told.
    pub fn write(config: &Config) -> PidFile {
        let path = match (config.pidfile.is_empty(), config.daemonize) {
            (false, _) => config.dir.join(&config.pidfile),
            (true, true) => Path::new(USUAL).to_owned(),
            (true, false) => return PidFile(None),
        };
        match std::fs::write(&path, format!("{}\n", std::process::id())) {
            Ok(()) => PidFile(Some(path)),
            Err(error) => {
                tracing::warn!("Failed to write PID file {}: {error}", path.display());
                PidFile(None)
            }
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            tracing::info!("Removing the pid file.");
            let _ = std::fs::remove_file(path);
        }
    }
}
