//! What does the server's own log look like? Lines as supervisors and test rigs of Redis expect them:
//! `<pid>:M <day> <month> <year> <time> <level> <text>`, on the standard output or in `logfile`.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::config::Config;
use crate::config::choices::Loglevel;

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

/// Starts the log as the settings say.
///
/// # Errors
/// When `logfile` cannot be written.
pub fn start(config: &Config) -> io::Result<()> {
    let level = match config.loglevel {
        Loglevel::Debug => LevelFilter::TRACE,
        Loglevel::Verbose => LevelFilter::DEBUG,
        Loglevel::Notice => LevelFilter::INFO,
        Loglevel::Warning => LevelFilter::WARN,
        Loglevel::Nothing => LevelFilter::OFF,
    };
    let builder = tracing_subscriber::fmt().event_format(Line).with_max_level(level);
    if config.logfile.is_empty() {
        builder.with_writer(io::stdout).init();
    } else {
        let path = config.dir.join(&config.logfile);
        let file: File = OpenOptions::new().create(true).append(true).open(&path)?;
        builder.with_writer(Mutex::new(file)).init();
    }
    Ok(())
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
