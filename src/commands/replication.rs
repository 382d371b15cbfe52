//! How do servers become replicas, and clients wait for them?

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::client::registry::ClientType;
use crate::commands::prelude::*;
use crate::dispatch::{block, follow};
use crate::log::Lost;
use crate::persist::aof;
use crate::replication::{Goal, Hello, Phase, Replica, cron, link, replica_name, transfer};
use crate::util::number;

/// Longest address that a replica may say is its own.
const LONGEST_ADDRESS: usize = 46;

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    Command::new("wait", wait)
        .arity(3)
        .flags(BLOCKING)
        .acl(CONNECTION)
        .tips(&["request_policy:all_shards", "response_policy:agg_min"])
        .doc(
            "generic",
            "3.0.0",
            "O(1)",
            "Waits until replicas have acknowledged earlier writes.",
            "numreplicas:int timeout:int",
        ),
    Command::new("waitaof", waitaof)
        .arity(4)
        .flags(BLOCKING)
        .acl(CONNECTION)
        .tips(&["request_policy:all_shards", "response_policy:agg_min"])
        .doc(
            "generic",
            "7.2.0",
            "O(1)",
            "Waits until earlier writes are on disk, here or on replicas.",
            "numlocal:int numreplicas:int timeout:int",
        ),
    Command::new("role", role)
        .arity(1)
        .flags(NOSCRIPT | LOADING | STALE | FAST)
        .acl(CAT_ADMIN | DANGEROUS)
        .doc("server", "2.8.12", "O(1)", "Tells the part that the server plays in replication.", ""),
    Command::new("replicaof", replicaof)
        .arity(3)
        .flags(ADMIN | NOSCRIPT | STALE | NO_ASYNC_LOADING)
        .lock(Lock::All)
        .doc(
            "server",
            "5.0.0",
            "O(1)",
            "Makes the server a replica, or a primary again.",
            "args(host-port{host:str port:int} | no-one{NO ONE})",
        ),
    Command::new("slaveof", replicaof)
        .arity(3)
        .flags(ADMIN | NOSCRIPT | STALE | NO_ASYNC_LOADING)
        .lock(Lock::All)
        .doc(
            "server",
            "1.0.0",
            "O(1)",
            "Makes the server a replica, or a primary again.",
            "args(host-port{host:str port:int} | no-one{NO ONE})",
        )
        .deprecated("5.0.0", "`REPLICAOF`"),
    Command::new("failover", failover).arity(-1).flags(ADMIN | NOSCRIPT | STALE).doc(
        "server",
        "6.2.0",
        "O(1)",
        "Hands the part of the primary to a replica.",
        "[TO target{host:str port:int [FORCE]}] [ABORT] [TIMEOUT milliseconds:int]",
    ),
    Command::new("replconf", replconf)
        .arity(-1)
        .flags(ADMIN | NOSCRIPT | LOADING | STALE | ALLOW_BUSY)
        .doc("server", "3.0.0", "O(1)", "Configures the replication connection that it arrives on.", "")
        .syscmd(),
    Command::new("sync", sync)
        .arity(1)
        .flags(ADMIN | NOSCRIPT | NO_ASYNC_LOADING | NO_MULTI)
        .lock(Lock::All)
        .doc("server", "1.0.0", "", "Makes the connection a replica's, in the old manner.", ""),
    Command::new("psync", psync)
        .arity(-3)
        .flags(ADMIN | NOSCRIPT | NO_ASYNC_LOADING | NO_MULTI)
        .lock(Lock::All)
        .doc(
            "server",
            "2.8.0",
            "",
            "Makes the connection a replica's, which goes on where it was if it can.",
            "replicationid:str offset:int",
        ),
    Command::container("module", MODULE).doc(
        "server",
        "4.0.0",
        "Depends on subcommand.",
        "Looks at modules.",
        "",
    ),
];

const MODULE: &[Command] = &[
    Command::new("unload", module_refused)
        .arity(3)
        .flags(ADMIN | NOSCRIPT | NO_ASYNC_LOADING)
        .also(NEEDS_MODULE)
        .doc("server", "4.0.0", "O(1)", "Unloads a module.", "name:str"),
    Command::new("help", module_help).arity(2).flags(LOADING | STALE).doc(
        "server",
        "5.0.0",
        "O(1)",
        "Lists the subcommands.",
        "",
    ),
    Command::new("list", module_list)
        .arity(2)
        .flags(ADMIN | NOSCRIPT)
        .tips(&["nondeterministic_output_order"])
        .doc("server", "4.0.0", "O(N)", "Lists the loaded modules.", ""),
    Command::new("load", module_refused)
        .arity(-3)
        .flags(ADMIN | NOSCRIPT | NO_ASYNC_LOADING)
        .also(NEEDS_MODULE)
        .doc("server", "4.0.0", "O(1)", "Loads a module.", "path:str [arg:str...]"),
    Command::new("loadex", module_refused)
        .arity(-3)
        .flags(ADMIN | NOSCRIPT | NO_ASYNC_LOADING)
        .also(NEEDS_MODULE)
        .doc(
            "server",
            "7.0.0",
            "O(1)",
            "Loads a module with settings.",
            "path:str [CONFIG configs{name:str value:str}+] [ARGS args:str...]",
        ),
];

fn wait(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let replicas = args.int()?;
    let timeout = millis(ctx, args)?;
    let goal = goal(ctx, false, replicas, false);
    ctx.wait_acknowledged(goal, timeout, out);
    Ok(())
}

fn waitaof(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let local = args.int()?;
    if !(0..=1).contains(&local) {
        return Err(Error::new("ERR value is out of range, value must between 0 and 1"));
    }
    let positive = Error::new("ERR value is out of range, must be positive");
    let replicas = args.int_in(0, i64::MAX, positive)?;
    let timeout = millis(ctx, args)?;
    if local > 0 && ctx.core.persist.aof.state() == aof::State::Off {
        return Err(error::NO_AOF_TO_WAIT_FOR);
    }
    let goal = goal(ctx, local > 0, replicas, true);
    ctx.wait_acknowledged(goal, timeout, out);
    Ok(())
}

/// What acknowledges the client's last write.
fn goal(ctx: &Ctx<'_>, local: bool, replicas: i64, durable: bool) -> Goal {
    let client = &ctx.session.client;
    let (stream, log) = (client.written.load(Ordering::Acquire), client.logged.load(Ordering::Acquire));
    Goal { stream, log, local, replicas: u64::try_from(replicas).unwrap_or(0), durable }
}

/// A time in milliseconds, 0 for ever.
fn millis(ctx: &Ctx<'_>, args: &mut Args<'_>) -> Result<u64> {
    let n = args.int_or(Error::new("ERR timeout is not an integer or out of range"))?;
    let timeout = u64::try_from(n).map_err(|_| error::TIMEOUT_NEGATIVE)?;
    // The end of the wait must not overflow.
    if timeout > (i64::MAX as u64).saturating_sub(ctx.now_ms()) {
        Err(error::TIMEOUT_RANGE)
    } else {
        Ok(timeout)
    }
}

fn role(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let link = ctx.core.replication.link.status();
    let offset = ctx.core.log.mark().offset as i64;
    if let Some((host, port)) = link.primary {
        out.array(5);
        out.bulk(b"slave");
        out.bulk(host.as_bytes());
        out.int(port.into());
        out.bulk(link.state.name().as_bytes());
        out.int(if link.state == link::State::Connected { offset } else { -1 });
        return Ok(());
    }
    let online: Vec<_> =
        ctx.core.replication.all().into_iter().filter(|r| r.phase() == Phase::Online).collect();
    out.array(3);
    out.bulk(b"master");
    out.int(offset);
    out.array(online.len());
    for replica in online {
        let (address, port) = replica.address();
        out.array(3);
        out.bulk(address.as_bytes());
        out.bulk(port.to_string().as_bytes());
        out.bulk(replica.acked[0].load(Ordering::Acquire).to_string().as_bytes());
    }
    Ok(())
}

fn replicaof(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    if ctx.core.cluster.is_some() {
        return Err(Error::new("ERR REPLICAOF not allowed in cluster mode."));
    }
    let (host, port) = (args.next()?, args.next()?);
    let primary = if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
        None
    } else {
        let refusal = || Error::new("ERR Invalid master port");
        let port = number::parse_i64(port).and_then(|n| u16::try_from(n).ok()).ok_or_else(refusal)?;
        Some((String::from_utf8_lossy(host).into_owned(), port))
    };
    if ctx.session.client.kind() == ClientType::Replica {
        // Its stream would end in the middle of a command.
        return Err(Error::new("ERR Command is not valid when client is a replica."));
    }
    let present = ctx.core.replication.link.status().primary;
    if primary == present {
        match primary {
            Some(_) => out.simple("OK Already connected to specified master"),
            None => out.ok(),
        }
        return Ok(());
    }
    match &primary {
        Some((host, port)) => tracing::info!("REPLICAOF {host}:{port} enabled (user request)"),
        None => tracing::info!("MASTER MODE enabled (user request)"),
    }
    follow::aim(ctx.core, primary).map_err(|error| Error::text(format!("ERR {error}")))?;
    out.ok();
    Ok(())
}

fn failover(ctx: &mut Ctx<'_>, args: &mut Args<'_>, _: &mut Reply<'_>) -> Result {
    if ctx.core.cluster.is_some() {
        return Err(Error::new(
            "ERR FAILOVER not allowed in cluster mode. Use CLUSTER FAILOVER command instead.",
        ));
    }
    let (mut abort, mut to, mut timeout) = (false, false, false);
    let alone = args.left() == 1;
    while args.left() > 0 {
        if !timeout && args.left() > 1 && args.word("timeout") {
            if args.int()? <= 0 {
                return Err(Error::new("ERR FAILOVER timeout must be greater than 0"));
            }
            timeout = true;
        } else if alone && args.word("abort") {
            abort = true;
        } else if !to && args.left() > 2 && args.word("to") {
            args.next()?;
            args.int()?;
            to = true;
        } else if !(to && args.word("force")) {
            return Err(error::SYNTAX);
        }
    }
    Err(Error::new(if abort {
        "ERR No failover in progress."
    } else {
        "ERR FAILOVER requires connected replicas."
    }))
}

/// The connection's replica, which begins to be one by introducing itself.
fn replica(ctx: &Ctx<'_>) -> Arc<Replica> {
    ctx.core.replication.greet(&ctx.session.client, ctx.core.clients.mailboxes())
}

fn replconf(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    if args.left() % 2 == 1 {
        return Err(error::SYNTAX);
    }
    let mut ack: [Option<u64>; 2] = [None; 2];
    while args.left() > 0 {
        let name = String::from_utf8_lossy(args.next()?).to_ascii_lowercase();
        let value = args.next()?;
        match name.as_str() {
            "listening-port" => {
                let port = number::parse_i64(value).ok_or(error::NOT_INTEGER)?;
                replica(ctx).hello.lock().port = u16::try_from(port).unwrap_or(0);
            }
            "ip-address" => {
                if value.len() > LONGEST_ADDRESS {
                    return Err(Error::text(format!(
                        "ERR REPLCONF ip-address provided by replica instance is too long: {} bytes",
                        value.len()
                    )));
                }
                replica(ctx).hello.lock().address = String::from_utf8_lossy(value).into_owned();
            }
            "capa" => {
                let replica = replica(ctx);
                let mut hello = replica.hello.lock();
                hello.eof |= value.eq_ignore_ascii_case(b"eof");
                hello.psync2 |= value.eq_ignore_ascii_case(b"psync2");
            }
            "ack" | "fack" => {
                let offset = number::parse_i64(value).and_then(|n| u64::try_from(n).ok());
                ack[usize::from(name == "fack")] = Some(offset.unwrap_or(0));
            }
            "getack" => return Ok(()),
            "rdb-only" => {
                let on = number::parse_i64(value).ok_or(error::NOT_INTEGER)?;
                replica(ctx).hello.lock().rdb_only = on == 1;
            }
            "rdb-filter-only" | "version" | "rdb-channel" | "main-ch-client-id" => {}
            _ => {
                return Err(Error::text(format!("ERR Unrecognized REPLCONF option: {name}")));
            }
        }
    }
    if ack != [None; 2] {
        acknowledge(ctx, ack);
        return Ok(());
    }
    out.ok();
    Ok(())
}

/// A replica says how far it has come, and how far on its disk.
fn acknowledge(ctx: &Ctx<'_>, ack: [Option<u64>; 2]) {
    let core = ctx.core;
    let Some(replica) = core.replication.get(ctx.session.client.id) else { return };
    if replica.phase() == Phase::Greeting {
        return;
    }
    for (acked, offset) in replica.acked.iter().zip(ack) {
        acked.fetch_max(offset.unwrap_or(0), Ordering::AcqRel);
    }
    replica.heard_ms.store(ctx.worker.mono_ms, Ordering::Release);
    if replica.phase() == Phase::Online && !replica.ready.swap(true, Ordering::AcqRel) {
        replica.wake();
    }
    block::answer_acks(core);
}

fn sync(ctx: &mut Ctx<'_>, _: &mut Args<'_>, _: &mut Reply<'_>) -> Result {
    if ctx.session.client.kind() == ClientType::Replica {
        return Ok(());
    }
    has_stream(ctx)?;
    let replica = replica(ctx);
    *replica.hello.lock() = Hello { legacy: true, ..Hello::default() };
    full_sync(ctx, &replica)
}

fn psync(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    if ctx.session.client.kind() == ClientType::Replica {
        return Ok(());
    }
    let (id, offset) = (args.next()?, args.int()?);
    has_stream(ctx)?;
    let replica = replica(ctx);
    let log = &ctx.core.log;
    // A replica asks for the first byte that it does not have.
    let next = u64::try_from(offset).ok().and_then(|next| next.checked_sub(1));
    let behind = match next.map_or(Err(Lost::History), |next| log.resume(&replica.feed, id, next)) {
        Ok(behind) => behind,
        Err(lost) => {
            let counts = &ctx.core.replication.syncs;
            counts[2].fetch_add(u64::from(id != b"?"), Ordering::AcqRel);
            note_lost(&replica, id, offset, lost);
            return full_sync(ctx, &replica);
        }
    };
    ctx.core.replication.syncs[1].fetch_add(1, Ordering::AcqRel);
    ctx.core.replication.enlist(&replica, ctx.worker.mono_ms);
    replica.enter(Phase::Online);
    replica.ready.store(true, Ordering::Release);
    let id = String::from_utf8_lossy(&log.mark().id).into_owned();
    out.simple(&if replica.hello.lock().psync2 { format!("CONTINUE {id}") } else { "CONTINUE".to_owned() });
    tracing::info!(
        "Partial resynchronization request from {} accepted. Sending {behind} bytes of backlog starting from offset {offset}.",
        replica_name(&replica)
    );
    Ok(())
}

/// Logs why a replica gets a snapshot.
fn note_lost(replica: &Replica, id: &[u8], offset: i64, lost: Lost) {
    let name = replica_name(replica);
    match lost {
        _ if id == b"?" => tracing::info!("Full resync requested by replica {name}"),
        Lost::History => tracing::info!(
            "Partial resynchronization not accepted: replica {name} asked for {}:{offset}, which is no part of this history",
            String::from_utf8_lossy(id)
        ),
        Lost::Backlog { start, end } => tracing::info!(
            "Unable to partial resync with replica {name} for lack of backlog: it asked for {offset}, the backlog holds {} to {end}",
            start + 1
        ),
    }
}

/// A replica that does not know how far it is has nothing to send.
fn has_stream(ctx: &Ctx<'_>) -> Result {
    let link = &ctx.core.replication.link;
    if link.is_replica() && !link.is_up() {
        return Err(Error::new("NOMASTERLINK Can't SYNC while not connected with my master"));
    }
    Ok(())
}

/// Puts a replica in line for a snapshot, which begins now if it can.
fn full_sync(ctx: &mut Ctx<'_>, replica: &Replica) -> Result {
    let core = ctx.core;
    tracing::info!("Replica {} asks for synchronization", replica_name(replica));
    core.replication.enlist(replica, ctx.worker.mono_ms);
    if !core.log.is_streaming() {
        let id = crate::util::rng::hex_id().map_err(|_| Error::new("ERR no randomness"))?;
        core.log.new_history(id.as_bytes().try_into().unwrap_or([b'0'; 40]), false);
        core.log.open_stream(ctx.config().repl_backlog_size);
    }
    if cron::starts_now(core.site(), ctx.worker.mono_ms)
        && let Err(error) = transfer::begin(core.site(), &mut ctx.locks)
    {
        tracing::warn!("Can't begin a snapshot for replicas: {error}");
    }
    Ok(())
}

fn module_list(_: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    out.array(0);
    Ok(())
}

/// Allowed or not, no module can be loaded: there is no interface for them.
fn module_refused(_: &mut Ctx<'_>, _: &mut Args<'_>, _: &mut Reply<'_>) -> Result {
    Err(Error::new("ERR Error loading the extension. Please check the server logs."))
}

fn module_help(_: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    help(
        out,
        "MODULE",
        &[
            ("LIST", "Return a list of loaded modules."),
            (
                "LOAD <path> [<arg> ...]",
                "Load a module library from <path>, passing to it any optional arguments.",
            ),
            (
                "LOADEX <path> [[CONFIG NAME VALUE] [CONFIG NAME VALUE]] [ARGS ...]",
                "Load a module library from <path>, while passing it module configurations and optional arguments.",
            ),
            ("UNLOAD <name>", "Unload a module."),
        ],
    );
    Ok(())
}
