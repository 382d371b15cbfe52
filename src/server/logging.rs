//! What does the server's own log look like? Lines as supervisors and test rigs of Redis expect them:
//! `<pid>:M <day> <month> <year> <time> <level> <text>`, on the standard output or in `logfile`.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, reload};

use crate::config::Config;
use crate::config::choices::{Loglevel, SyslogFacility};

/// Formats one line.
struct Line;

/// Finds the text among an event's fields.
struct Text<'w, 'b>(&'b mut Writer<'w>, fmt::Result);

impl Visit for Text<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.1 = write!(self.0, "{value:?}");
        }
    }
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut w: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let level = match *event.metadata().level() {
            Level::ERROR | Level::WARN => '#',
            Level::INFO => '*',
            Level::DEBUG => '-',
            Level::TRACE => '.',
        };
        let (date, ms) = (Date::of(now.as_secs()), now.subsec_millis());
        write!(w, "{}:M {date}.{ms:03} {level} ", std::process::id())?;
        let mut text = Text(&mut w, Ok(()));
        event.record(&mut text);
        text.1?;
        writeln!(w)
    }
}

/// A civil date and time, UTC.
#[derive(Debug, PartialEq, Eq)]
struct Date {
    year: i64,
    month: usize,
    day: i64,
    seconds: u64,
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl Date {
    /// The date of a unix time in seconds. Source of the arithmetic: Howard Hinnant, "chrono-compatible low-level
    /// date algorithms" (days since 0000-03-01 in eras of 400 years).
    fn of(unix: u64) -> Date {
        let days = i64::try_from(unix / 86_400).unwrap_or(0) + 719_468;
        let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let month = if shifted < 10 { shifted + 2 } else { shifted - 10 };
        Date {
            year: year_of_era + era * 400 + i64::from(month < 2),
            month: usize::try_from(month).unwrap_or(0),
            day: day_of_year - (153 * shifted + 2) / 5 + 1,
            seconds: unix % 86_400,
        }
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (h, m, s) = (self.seconds / 3600, self.seconds / 60 % 60, self.seconds % 60);
        let month = MONTHS.get(self.month).unwrap_or(&"");
        write!(f, "{:02} {month} {} {h:02}:{m:02}:{s:02}", self.day, self.year)
    }
}

/// The log's level, which CONFIG SET can change.
#[derive(Debug, Clone)]
pub struct Log(reload::Handle<LevelFilter, Registry>);

impl Log {
    /// Lets through what `loglevel` says from now on.
    pub fn set_level(&self, level: Loglevel) {
        // It fails only when the log is gone, and then there is nothing to filter.
        let _ = self.0.reload(filter(level));
    }
}

fn filter(level: Loglevel) -> LevelFilter {
    match level {
        Loglevel::Debug => LevelFilter::TRACE,
        Loglevel::Verbose => LevelFilter::DEBUG,
        Loglevel::Notice => LevelFilter::INFO,
        Loglevel::Warning => LevelFilter::WARN,
        Loglevel::Nothing => LevelFilter::OFF,
    }
}

/// Where lines go.
struct Outlets {
    /// The standard output when there is none.
    file: Option<Mutex<File>>,
    syslog: Option<Syslog>,
}

/// The system's log: datagrams of RFC 3164 without the time, which the receiver adds.
struct Syslog {
    socket: UnixDatagram,
    /// The facility's number, shifted to where it belongs.
    facility: u8,
    /// `redis[123]: `
    prefix: String,
}

impl Syslog {
    fn open(config: &Config) -> io::Result<Syslog> {
        let socket = UnixDatagram::unbound()?;
        socket.connect("/dev/log")?;
        // A log that nobody reads must not stop the server.
        socket.set_nonblocking(true)?;
        let facility = match config.syslog_facility {
            SyslogFacility::User => 1,
            SyslogFacility::Local0 => 16,
            SyslogFacility::Local1 => 17,
            SyslogFacility::Local2 => 18,
            SyslogFacility::Local3 => 19,
            SyslogFacility::Local4 => 20,
            SyslogFacility::Local5 => 21,
            SyslogFacility::Local6 => 22,
            SyslogFacility::Local7 => 23,
        };
        let prefix = format!("{}[{}]: ", &*config.syslog_ident, std::process::id());
        Ok(Syslog { socket, facility: facility << 3, prefix })
    }

    fn send(&self, level: Level, line: &[u8]) {
        let severity = match level {
            Level::ERROR | Level::WARN => 4,
            Level::INFO => 5,
            Level::DEBUG => 6,
            Level::TRACE => 7,
        };
        let head = format!("<{}>{}", self.facility | severity, self.prefix);
        let _ = self.socket.send(&[head.as_bytes(), line.trim_ascii_end()].concat());
    }
}

/// Writes one line to all outlets.
struct Outlet<'a> {
    outlets: &'a Outlets,
    level: Level,
}

impl io::Write for Outlet<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(syslog) = &self.outlets.syslog {
            syslog.send(self.level, line);
        }
        match &self.outlets.file {
            Some(file) => file.lock().unwrap_or_else(PoisonError::into_inner).write_all(line)?,
            None => io::stdout().write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

impl<'a> MakeWriter<'a> for Outlets {
    type Writer = Outlet<'a>;

    fn make_writer(&'a self) -> Outlet<'a> {
        Outlet { outlets: self, level: Level::INFO }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Outlet<'a> {
        Outlet { outlets: self, level: *meta.level() }
    }
}

/// Starts the log as the settings say.
///
/// # Errors
/// When `logfile` cannot be written, or there is no syslog.
pub fn start(config: &Config) -> io::Result<Log> {
    let file = match config.logfile.is_empty() {
        true => None,
        false => {
            let path = config.dir.join(&config.logfile);
            Some(Mutex::new(OpenOptions::new().create(true).append(true).open(&path)?))
        }
    };
    let syslog = config.syslog_enabled.then(|| Syslog::open(config)).transpose()?;
    let (filter, handle) = reload::Layer::new(filter(config.loglevel));
    let lines = tracing_subscriber::fmt::layer().event_format(Line).with_writer(Outlets { file, syslog });
    tracing_subscriber::registry().with(filter).with(lines).init();
    // Where a bug shows itself belongs into the log, whatever becomes of the thread.
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!("BUG: {panic}");
        tracing::error!("{}", std::backtrace::Backtrace::force_capture());
    }));
    Ok(Log(handle))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_civil() {
        assert_eq!(Date::of(0).to_string(), "01 Jan 1970 00:00:00");
        assert_eq!(Date::of(951_782_400).to_string(), "29 Feb 2000 00:00:00");
        assert_eq!(Date::of(1_795_374_413).to_string(), "22 Nov 2026 19:06:53");
    }
}
