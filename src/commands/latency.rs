//! What took long, and how long do commands take? LATENCY.

use std::fmt::Write;

use crate::commands::prelude::*;
use crate::dispatch::table::Entry;
use crate::stats::histogram::Distribution;
use crate::stats::latency::Series;

/// The family's rows.
pub const COMMANDS: &[Command] = &[Command::container("latency", LATENCY).doc(
    "server",
    "2.8.13",
    "Depends on subcommand.",
    "Looks at what took long.",
    "",
)];

/// What most subcommands have in common.
const FOR_OPERATORS: u32 = ADMIN | NOSCRIPT | LOADING | STALE;
const TIPS: &[&str] = &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"];

const LATENCY: &[Command] = &[
    Command::new("doctor", latency_doctor).arity(2).flags(FOR_OPERATORS).tips(TIPS).doc(
        "server",
        "2.8.13",
        "O(1)",
        "Reports on what took long, in words.",
        "",
    ),
    Command::new("help", latency_help).arity(2).flags(LOADING | STALE).doc(
        "server",
        "2.8.13",
        "O(1)",
        "Lists the subcommands.",
        "",
    ),
    Command::new("latest", latency_latest).arity(2).flags(FOR_OPERATORS).tips(TIPS).doc(
        "server",
        "2.8.13",
        "O(1)",
        "The last sample of each kind of event, and the longest ever.",
        "",
    ),
    Command::new("graph", latency_graph).arity(3).flags(FOR_OPERATORS).tips(TIPS).doc(
        "server",
        "2.8.13",
        "O(1)",
        "Draws the samples of one kind of event.",
        "event:str",
    ),
    Command::new("histogram", latency_histogram).arity(-2).flags(FOR_OPERATORS).tips(TIPS).doc(
        "server",
        "7.0.0",
        "O(N) where N is the number of commands with latency information being retrieved.",
        "How long commands take, as cumulative distributions.",
        "[command:str...]",
    ),
    Command::new("reset", latency_reset)
        .arity(-2)
        .flags(FOR_OPERATORS)
        .tips(&["request_policy:all_nodes", "response_policy:agg_sum"])
        .doc(
            "server",
            "2.8.13",
            "O(1)",
            "Forgets the samples of some kinds of events, or of all.",
            "[event:str...]",
        ),
    Command::new("history", latency_history).arity(3).flags(FOR_OPERATORS).tips(TIPS).doc(
        "server",
        "2.8.13",
        "O(1)",
        "The samples of one kind of event.",
        "event:str",
    ),
];

fn latency_latest(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let all = ctx.core.stats.latency.all();
    out.array(all.len());
    for (name, series) in all {
        let (time, ms) = series.samples.back().map_or((0, 0), |last| (last.time, last.ms));
        out.array(4);
        out.bulk(name.as_bytes());
        [time, ms, series.max].into_iter().for_each(|n| out.len(n as usize));
    }
    Ok(())
}

fn latency_history(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let series = ctx.core.stats.latency.series(args.next()?).unwrap_or_default();
    out.array(series.samples.len());
    for sample in &series.samples {
        out.array(2);
        out.len(sample.time as usize);
        out.len(sample.ms as usize);
    }
    Ok(())
}

fn latency_reset(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let monitor = &ctx.core.stats.latency;
    out.len(match args.take_rest() {
        [] => monitor.reset(None),
        some => some.iter().map(|event| monitor.reset(Some(event))).sum(),
    });
    Ok(())
}

fn latency_histogram(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let table = &ctx.core.table;
    let chosen: Vec<&Entry> = if args.left() == 0 {
        table.entries().iter().collect()
    } else {
        let named = args.take_rest().iter().filter_map(|name| table.by_name(name));
        named
            .flat_map(|e| std::iter::once(e).chain(e.subcommands.iter().map(|&sub| table.entry(sub))))
            .collect()
    };
    let found: Vec<(&Entry, Distribution)> =
        chosen.into_iter().filter_map(|e| Some((e, ctx.core.stats.distribution(e.id)?))).collect();
    out.map(found.len());
    for (entry, calls) in found {
        out.bulk(entry.name.as_bytes());
        out.map(2);
        out.bulk(b"calls");
        out.len(calls.total as usize);
        out.bulk(b"histogram_usec");
        let steps = calls.cumulative();
        out.map(steps.len());
        for (micros, count) in steps {
            out.len(micros as usize);
            out.len(count as usize);
        }
    }
    Ok(())
}

fn latency_graph(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let event = args.next()?;
    let Some(series) = ctx.core.stats.latency.series(event) else {
        let event = error::quote(event);
        return Err(Error::text(format!("ERR No samples available for event '{event}'")));
    };
    let graph = graph(&error::clip(event, 128), &series, ctx.now_ms() / 1000);
    out.verbatim("txt", graph.as_bytes());
    Ok(())
}

/// Samples next to each other in a graph.
const COLUMNS: usize = 80;
/// Lines of text that a bar can fill, and the heights that it can have in each of them.
const ROWS: usize = 4;
const HEIGHTS: &[u8] = b"_o#";

/// Bars of the samples, the longest as high as all lines; below each how long ago it was.
///
/// ```text
///  #
///  #
/// _#
///
/// 42
/// ss
/// ```
fn graph(event: &str, series: &Series, now_s: u64) -> String {
    let times = || series.samples.iter().map(|sample| sample.ms);
    let (low, high) = (times().min().unwrap_or(0), times().max().unwrap_or(0));
    let mut text = format!("{event} - high {high} ms, low {low} ms (all time high {} ms)\n", series.max);
    text += &"-".repeat(COLUMNS);
    text.push('\n');
    let columns: Vec<(u64, String)> = series
        .samples
        .iter()
        .map(|sample| {
            let steps = (ROWS * HEIGHTS.len()) as u64;
            let height = ((sample.ms - low) * steps).checked_div(high - low).unwrap_or(0).min(steps - 1);
            (height, ago(now_s.saturating_sub(sample.time)))
        })
        .collect();
    for (n, part) in columns.chunks(COLUMNS).enumerate() {
        if n > 0 {
            text.push('\n');
        }
        draw(part, &mut text);
    }
    text
}

fn draw(columns: &[(u64, String)], text: &mut String) {
    let mut line = |cell: &dyn Fn(&(u64, String)) -> char| {
        text.extend(columns.iter().map(cell));
        text.push('\n');
    };
    for row in (0..ROWS).rev() {
        let floor = (row * HEIGHTS.len()) as u64;
        line(&|(height, _)| match height.checked_sub(floor) {
            None => ' ',
            Some(above) => HEIGHTS.get(above as usize).map_or('|', |c| char::from(*c)),
        });
    }
    line(&|_| ' ');
    let longest = columns.iter().map(|(_, label)| label.len()).max().unwrap_or(0);
    for at in 0..longest {
        line(&|(_, label)| label.as_bytes().get(at).map_or(' ', |c| char::from(*c)));
    }
}

/// A time span in its largest unit.
fn ago(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn latency_doctor(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let all = ctx.core.stats.latency.all();
    let threshold = ctx.config().latency_monitor_threshold;
    let mut text = String::new();
    let _ = match (all.as_slice(), threshold) {
        ([], 0) => writeln!(
            text,
            "The latency monitor is off, so there is nothing to report. \
             CONFIG SET latency-monitor-threshold <milliseconds> turns it on."
        ),
        ([], _) => {
            writeln!(text, "Nothing has taken {threshold} ms or longer since the samples were last reset.")
        }
        (found, _) => report(found, ctx, &mut text),
    };
    out.verbatim("txt", text.as_bytes());
    Ok(())
}

fn report(all: &[(&str, Series)], ctx: &Ctx<'_>, text: &mut String) -> std::fmt::Result {
    let now = ctx.now_ms() / 1000;
    write!(text, "These took longer than they should:\n\n")?;
    for (n, (event, series)) in all.iter().enumerate() {
        let count = series.samples.len().max(1) as u64;
        let average = series.samples.iter().map(|s| s.ms).sum::<u64>() / count;
        let deviation = series.samples.iter().map(|s| s.ms.abs_diff(average)).sum::<u64>() / count;
        let since = series.samples.front().map_or(0, |first| now.saturating_sub(first.time)).max(1);
        writeln!(
            text,
            "{}. {event}: {count} latency spikes (average {average}ms, mean deviation {deviation}ms, period {:.2} \
             sec). Worst all time event {}ms.",
            n + 1,
            since as f64 / count as f64,
            series.max
        )?;
    }
    write!(text, "\nWhat may help:\n\n")?;
    for (event, _) in all {
        writeln!(text, "- {event}: {}", advice(event, ctx))?;
    }
    Ok(())
}

fn advice(event: &str, ctx: &Ctx<'_>) -> String {
    let config = ctx.config();
    let micros = config.latency_monitor_threshold.saturating_mul(1000);
    match event {
        "command"
            if !(0..=i64::try_from(micros).unwrap_or(i64::MAX)).contains(&config.slowlog_log_slower_than) =>
        {
            format!("let SLOWLOG show which commands they are: CONFIG SET slowlog-log-slower-than {micros}.")
        }
        "command" => "look at SLOWLOG GET for commands that touch many elements at once.".to_owned(),
        "fast-command" => {
            "even cheap commands were slow, so look for what else uses the processors.".to_owned()
        }
        "expire-cycle" => "many keys end at the same time; spread their times, or raise hz.".to_owned(),
        "eviction-cycle" => {
            "memory is far over maxmemory at times; lower maxmemory in smaller steps.".to_owned()
        }
        _ => "the disk is slow; see whether others use it, and what appendfsync asks of it.".to_owned(),
    }
}

fn latency_help(_: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    help(
        out,
        "LATENCY",
        &[
            ("DOCTOR", "Reports on what took long, in words."),
            ("GRAPH <event>", "Draws the samples of one kind of event."),
            ("HISTORY <event>", "The samples of one kind of event."),
            ("LATEST", "The last sample of each kind of event, and the longest ever."),
            ("RESET [<event> ...]", "Forgets the samples of some kinds of events, or of all."),
            ("HISTOGRAM [COMMAND ...]", "How long commands take, as cumulative distributions."),
        ],
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::latency::{Event, Monitor};

    #[test]
    fn graphs_are_bars_with_their_age() {
        let monitor = Monitor::default();
        for (time, ms) in [(100, 10), (110, 20), (4000, 15), (4001, 10)] {
            monitor.record(1, Event::Command, time * 1000, ms * 1000);
        }
        let series = monitor.series(b"command").unwrap();
        let drawn = graph("command", &series, 4010);
        let lines: Vec<&str> = drawn.lines().collect();
        assert_eq!(lines[0], "command - high 20 ms, low 10 ms (all time high 20 ms)");
        assert_eq!(lines[1], "-".repeat(80));
        assert_eq!(lines[2..], [" #  ", " |_ ", " || ", "_||_", "    ", "1119", "hh0s", "  s "]);
    }
}
