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

/// Writes a report to the log: why, where in the program, what the server was doing.
pub fn report(core: &Core, why: &str, command: &[String]) {
    let config = core.config.load();
    if !config.crash_log_enabled {
        tracing::error!("{why}");
        return;
    }
    let say = |line: &str| tracing::error!("{line}");
    say("=== PEREGRINE BUG REPORT START: Cut & paste starting from here ===");
    say(why);
    say("------ STACK TRACE ------");
    Backtrace::force_capture().to_string().lines().for_each(say);
    say("------ STACK TRACE DONE ------");
    say("------ CURRENT CLIENT INFO ------");
    command.iter().for_each(|line| say(line));
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
