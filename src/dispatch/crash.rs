//! What does the server leave behind when it has to end at once? A report in its log, for whoever looks into it.

use std::backtrace::Backtrace;
use std::sync::atomic::Ordering;

use crate::config::REDIS_VERSION;
use crate::dispatch::core::Core;
use crate::dispatch::ctx::Ctx;
use crate::error::clip;
use crate::persist::aof;

/// Bytes of an argument that a report shows.
const SHOWN: usize = 128;

/// A command and its client, for a report; only the command's name where the settings hide the users' data.
pub fn command(ctx: &Ctx<'_>, argv: &[&[u8]]) -> Vec<String> {
    let client = &ctx.session.client;
    let hide = ctx.config().hide_user_data_from_log;
    let mut lines = vec![format!("client: id={} addr={} db={}", client.id, client.addr, ctx.session.db)];
    lines.extend(argv.iter().enumerate().map(|(n, arg)| {
        if n > 0 && hide {
            format!("argv[{n}]: '*redacted*'")
        } else {
            format!("argv[{n}]: '{}'", clip(arg, SHOWN))
        }
    }));
    lines
}

/// The threads of the process: what those that serve clients do, and what the system knows of each.
fn threads(core: &Core) -> Vec<String> {
    let now = core.clock.monotonic_us();
    let serving = core.stats.threads.iter().take(core.clients.threads()).enumerate().map(|(id, thread)| {
        match thread.running.now() {
            Some((command, began)) => {
                let (name, ms) = (&core.table.entry(command).name, now.saturating_sub(began) / 1000);
                format!("io-{id}: runs {name} for {ms} ms")
            }
            None => format!("io-{id}: runs no command"),
        }
    });
    let mut lines: Vec<String> = serving.collect();
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    lines.extend(tasks.map(|task| {
        let read = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        // Behind the name, which may hold anything: state, .. , and, as the 12th and 13th, ticks spent in and below it.
        let stat = read("stat");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let field = |n: usize| fields.get(n).copied().unwrap_or("?").to_owned();
        let (id, name, wait) = (task.file_name(), read("comm"), read("wchan"));
        format!(
            "thread {} '{}': state={} user_ticks={} system_ticks={} waits_in={wait}",
            id.display(),
            name.trim_end(),
            field(0),
            field(11),
            field(12)
        )
    }));
    lines
}

/// Tells in the log what all threads do. The server goes on.
pub fn tell_threads(core: &Core, why: &str) {
    tracing::error!("{why}");
    tracing::error!("------ THREADS ------");
    threads(core).iter().for_each(|line| tracing::error!("{line}"));
    tracing::error!("------ THREADS DONE ------");
}

/// Somebody has ended the process with a signal: a report, and the end that was asked for.
pub fn killed(core: &Core, signal: i32) -> ! {
    write(core, &format!("Peregrine crashed by signal: {signal}"), &[]);
    std::process::abort()
}

/// Notices commands that run for longer than `watchdog-period`.
pub struct Watchdog {
    /// By thread, when the command began that has been told of last.
    told: Vec<u64>,
}

impl Watchdog {
    /// It has noticed nothing.
    pub fn new(core: &Core) -> Self {
        Watchdog { told: vec![0; core.clients.threads()] }
    }

    /// Looks at all threads; each long command is told of once.
    pub fn look(&mut self, core: &Core) {
        let period = u64::from(core.config.load().watchdog_period) * 1000;
        if period == 0 {
            return;
        }
        let now = core.clock.monotonic_us();
        let mut fresh = false;
        for (told, thread) in self.told.iter_mut().zip(&core.stats.threads) {
            if let Some((_, began)) = thread.running.now()
                && now.saturating_sub(began) >= period
                && *told != began
            {
                *told = began;
                fresh = true;
            }
        }
        if fresh {
            tell_threads(core, "--- WATCHDOG TIMER EXPIRED ---");
        }
    }
}

/// Writes a report to the log: why, where in the program, what the server was doing.
pub fn report(core: &Core, why: &str, command: &[String]) {
    let trace = Backtrace::force_capture().to_string();
    let mut about = vec!["------ STACK TRACE ------"];
    about.extend(trace.lines());
    about.extend(["------ STACK TRACE DONE ------", "------ CURRENT CLIENT INFO ------"]);
    about.extend(command.iter().map(String::as_str));
    write(core, why, &about);
}

/// Writes a report to the log; `about`: what is known about the command that brought it about.
fn write(core: &Core, why: &str, about: &[&str]) {
    let config = core.config.load();
    if !config.crash_log_enabled {
        tracing::error!("{why}");
        return;
    }
    let say = |line: &str| tracing::error!("{line}");
    say("=== PEREGRINE BUG REPORT START: Cut & paste starting from here ===");
    say(why);
    about.iter().copied().for_each(say);
    say("------ THREADS ------");
    threads(core).iter().for_each(|line| say(line));
    say("------ INFO OUTPUT ------");
    let uptime = core.clock.monotonic_us().saturating_sub(core.started_us) / 1_000_000;
    say(&format!("peregrine_version:{} redis_version:{REDIS_VERSION}", env!("CARGO_PKG_VERSION")));
    say(&format!("uptime_in_seconds:{uptime} run_id:{}", core.run_id));
    say(&format!("used_memory:{} maxmemory:{}", crate::ALLOCATOR.used(), config.maxmemory));
    let (blocked, threads) = (core.clients.blocked.load(Ordering::Relaxed), core.clients.threads());
    say(&format!(
        "connected_clients:{} blocked_clients:{blocked} io_threads:{threads}",
        core.clients.count()
    ));
    say(&format!("total_commands_processed:{}", core.stats.sum(|t| &t.processed)));
    say("=== PEREGRINE BUG REPORT END. ===");
}

/// Writes a report, makes the log durable and ends the process.
pub fn end(core: &Core, why: &str, command: &[String]) -> ! {
    report(core, why, command);
    // What has been acknowledged is in the log already; what was being done is not, and never will be.
    if core.persist.aof.state() != aof::State::Off
        && let Err(error) = core.persist.aof.finish(core.world())
    {
        tracing::error!("Fail to fsync the AOF file: {error}.");
    }
    core.crash()
}
