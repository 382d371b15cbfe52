//! What does `ps` show? A title in the place of the process's arguments.
//!
//! The kernel reads a process's arguments from its memory whenever somebody asks. They are overwritten there, by way
//! of `/proc/self/mem`; a title that is longer goes on in the environment right behind them, which nobody reads after
//! the start. The kernel follows it there when the last byte of the arguments is not zero:
//!
//! ```text
//! before: peregrine\0/etc/redis.conf\0PATH=/bin\0...
//! after:  peregrine *:6379\0\0\0\0\0\0\0\0\0PATH=/bin\0...
//! ```

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;

use crate::config::Config;

/// The process's arguments as they were at the start.
#[derive(Debug)]
pub struct Title {
    /// The name that it was started by.
    name: String,
    config_file: String,
    /// Addresses: the first byte of the arguments, the one behind the last, and the same of the environment.
    room: Option<[u64; 3]>,
}

impl Title {
    /// Takes note of the arguments. Call it before anything else might have changed them.
    pub fn new(name: String, config_file: String) -> Title {
        Title { name, config_file, room: room().ok() }
    }

    /// Shows the title that `proc-title-template` makes of the settings. Where that is not possible nothing happens.
    pub fn show(&self, config: &Config) {
        let title = self.expand(config);
        if let Some([start, arguments_end, end]) = self.room {
            let written = write(start, arguments_end, end, title.as_bytes());
            if let Err(error) = written {
                tracing::debug!("The process title cannot be changed: {error}");
            }
        }
    }

    fn expand(&self, config: &Config) -> String {
        let first =
            config.bind.0.first().map_or_else(|| "*".to_owned(), |a| a.trim_start_matches('-').to_owned());
        let port = if config.port > 0 { config.port } else { config.tls_port };
        let listen = if port > 0 { format!("{first}:{port}") } else { config.unixsocket.to_string() };
        let mut title = String::new();
        let mut rest: &str = &config.proc_title_template;
        // The template has been checked when it was set.
        while let Some((before, after)) = rest.split_once('{') {
            title += before;
            if let Some(after) = after.strip_prefix('{') {
                title.push('{');
                rest = after;
                continue;
            }
            let (name, after) = after.split_once('}').unwrap_or((after, ""));
            title += &match name {
                "title" => self.name.clone(),
                "listen-addr" => listen.clone(),
                "port" => config.port.to_string(),
                "tls-port" => config.tls_port.to_string(),
                "unixsocket" => config.unixsocket.to_string(),
                "config-file" => self.config_file.clone(),
                _ => String::new(),
            };
            rest = after;
        }
        title += rest;
        title.trim_matches(' ').to_owned()
    }
}

/// Where the arguments and the environment are, from `/proc/self/stat`.
fn room() -> io::Result<[u64; 3]> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let field =
        |at: usize| fields.get(at).and_then(|n| n.parse::<u64>().ok()).ok_or(io::ErrorKind::InvalidData);
    let [start, arguments_end, environment, end] = [field(45)?, field(46)?, field(47)?, field(48)?];
    // The environment may be elsewhere; then the title has to do with the room of the arguments.
    let end = if environment == arguments_end { end } else { arguments_end };
    if start == 0 || start >= arguments_end || end < arguments_end {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok([start, arguments_end, end])
}

fn write(start: u64, arguments_end: u64, end: u64, title: &[u8]) -> io::Result<()> {
    let memory = OpenOptions::new().write(true).open("/proc/self/mem")?;
    let most = usize::try_from(end - start - 1).unwrap_or(0);
    let mut bytes = title.get(..most.min(title.len())).unwrap_or_default().to_vec();
    let least = usize::try_from(arguments_end - start).unwrap_or(0);
    bytes.resize(least.max(bytes.len() + 1), 0);
    memory.write_all_at(&bytes, start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_become_titles() {
        let title = Title { name: "peregrine".into(), config_file: "/etc/p.conf".into(), room: None };
        let mut config = Config::default();
        assert_eq!(title.expand(&config), "peregrine *:6379");
        config.proc_title_template =
            crate::config::kinds::text("T {{{title}} {port} {tls-port} {config-file} {server-mode}");
        assert_eq!(title.expand(&config), "T {peregrine} 6379 0 /etc/p.conf");
    }
}
