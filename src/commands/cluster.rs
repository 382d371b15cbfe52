//! How is a cluster looked at and steered? CLUSTER, and what connections say about it.
//!
//! The cluster is this node ([`crate::cluster`]): what needs another one is refused.

use crate::client::registry::READONLY_CLUSTER;
use crate::cluster::slots::SlotSet;
use crate::cluster::{Address, Cluster, Node, file};
use crate::commands::cluster_slot_stats::{slot_stats, syntax_of};
use crate::commands::prelude::*;
use crate::config::choices::EndpointType;
use crate::dispatch::route;
use crate::util::crc::{self, SLOTS};
use crate::util::number;

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    Command::container("cluster", CLUSTER).doc(
        "cluster",
        "3.0.0",
        "Depends on subcommand.",
        "Looks at and steers a cluster.",
        "",
    ),
    Command::new("readonly", readonly).arity(1).flags(LOADING | STALE | FAST).acl(CONNECTION).doc(
        "cluster",
        "3.0.0",
        "O(1)",
        "Lets the connection read from a replica.",
        "",
    ),
    Command::new("readwrite", readwrite).arity(1).flags(LOADING | STALE | FAST).acl(CONNECTION).doc(
        "cluster",
        "3.0.0",
        "O(1)",
        "Takes READONLY back.",
        "",
    ),
    Command::new("asking", asking).arity(1).flags(FAST).acl(CONNECTION).doc(
        "cluster",
        "3.0.0",
        "O(1)",
        "Lets the next command use a slot that is being imported.",
        "",
    ),
];

const CLUSTER: &[Command] = &[
    Command::new("info", info).arity(2).flags(STALE).tips(&["nondeterministic_output"]).doc("cluster", "3.0.0", "O(1)", "Tells how the cluster is doing.", ""),
    Command::new("help", cluster_help).arity(2).flags(LOADING | STALE).doc("cluster", "5.0.0", "O(1)", "Lists the subcommands.", ""),
    Command::new("links", links).arity(2).flags(STALE).tips(&["nondeterministic_output"]).doc("cluster", "7.0.0", "O(N)", "Lists the connections with other nodes.", ""),
    Command::new("slot-stats", slot_stats).lock(Lock::Walk).arity(-4).flags(LOADING | STALE).tips(&["nondeterministic_output", "request_policy:all_shards"]).doc("cluster", "8.2.0", "O(N)", "Tells how much the slots of this node hold.", "filter(SLOTSRANGE slotsrange{start-slot:int end-slot:int} | ORDERBY orderby{metric:str [LIMIT limit:int] [order(ASC | DESC)]})"),
    Command::new("setslot", setslot).arity(-4).flags(ADMIN | STALE | NO_ASYNC_LOADING).doc("cluster", "3.0.0", "O(1)", "Says who serves a slot, or where it moves.", "slot:int subcommand(IMPORTING importing/node-id:str | MIGRATING migrating/node-id:str | NODE node/node-id:str | STABLE)"),
    Command::new("bumpepoch", bumpepoch).arity(2).flags(ADMIN | STALE | NO_ASYNC_LOADING).tips(&["nondeterministic_output"]).doc("cluster", "3.0.0", "O(1)", "Raises the version of this node's claim to its slots.", ""),
    Command::new("reset", reset).lock(Lock::All).arity(-2).flags(ADMIN | NOSCRIPT | STALE).doc("cluster", "3.0.0", "O(N)", "Makes the node forget the cluster.", "[reset-type(HARD | SOFT)]"),
    Command::new("myshardid", myshardid).arity(2).flags(STALE).tips(&["nondeterministic_output"]).doc("cluster", "7.2.0", "O(1)", "The name that nodes with the same slots share.", ""),
    Command::new("keyslot", keyslot).arity(3).flags(STALE).doc("cluster", "3.0.0", "O(N)", "The slot of a key.", "key:str"),
    Command::new("set-config-epoch", set_config_epoch).arity(3).flags(ADMIN | STALE | NO_ASYNC_LOADING).doc("cluster", "3.0.0", "O(1)", "Sets the version of the claim of a new node.", "config-epoch:int"),
    Command::new("count-failure-reports", count_failure_reports).arity(3).flags(ADMIN | STALE).tips(&["nondeterministic_output"]).doc("cluster", "3.0.0", "O(N)", "Counts who says that a node has failed.", "node-id:str"),
    Command::new("failover", failover).arity(-2).flags(ADMIN | STALE | NO_ASYNC_LOADING).doc("cluster", "3.0.0", "O(1)", "Makes a replica the primary of its slots.", "[options(FORCE | TAKEOVER)]"),
    Command::new("addslotsrange", addslotsrange).arity(-4).flags(ADMIN | STALE | NO_ASYNC_LOADING).doc("cluster", "7.0.0", "O(N)", "Gives this node ranges of slots.", "range{start-slot:int end-slot:int}..."),
    Command::new("shards", shards).arity(2).flags(LOADING | STALE).tips(&["nondeterministic_output"]).doc("cluster", "7.0.0", "O(N)", "Describes the nodes by the slots that they share.", ""),
    Command::new("replicate", replicate).arity(3).flags(ADMIN | STALE | NO_ASYNC_LOADING).doc("cluster", "3.0.0", "O(1)", "Makes this node a replica of another.", "node-id:str"),
    Command::new("flushslots", flushslots).lock(Lock::All).arity(2).flags(ADMIN | STALE | NO_ASYNC_LOADING).doc("cluster", "3.0.0", "O(1)", "Takes all slots from this node.", ""),
    Command::new("slots", slots).arity(2).flags(LOADING | STALE).tips(&["nondeterministic_output"]).doc("cluster", "3.0.0", "O(N)", "Lists which node serves which slots.", "").deprecated("7.0.0", "`CLUSTER SHARDS`"),
    Command::new("countkeysinslot", countkeysinslot).lock(Lock::Walk).arity(3).flags(STALE).doc("cluster", "3.0.0", "O(1)", "Counts the keys in a slot.", "slot:int"),
    Command::new("getkeysinslot", getkeysinslot).lock(Lock::Walk).arity(4).flags(STALE).tips(&["nondeterministic_output"]).doc("cluster", "3.0.0", "O(N)", "Names keys in a slot.", "slot:int count:int"),
    Command::new("addslots", addslots).arity(-3).flags(ADMIN | STALE | NO_ASYNC_LOADING).doc("cluster", "3.0.0", "O(N)", "Gives this node slots.", "slot:int..."),
    Command::new("delslots", delslots).lock(Lock::All).arity(-3).flags(ADMIN | STALE | NO_ASYNC_LOADING).doc("cluster", "3.0.0", "O(N)", "Takes slots from this node.", "slot:int..."),
    Command::new("delslotsrange", delslotsrange).lock(Lock::All).arity(-4).flags(ADMIN | STALE | NO_ASYNC_LOADING).doc("cluster", "7.0.0", "O(N)", "Takes ranges of slots from this node.", "range{start-slot:int end-slot:int}..."),
    Command::new("myid", myid).arity(2).flags(STALE).doc("cluster", "3.0.0", "O(1)", "The name of this node.", ""),
    Command::new("replicas", replicas).arity(3).flags(ADMIN | STALE).tips(&["nondeterministic_output"]).doc("cluster", "5.0.0", "O(N)", "Lists the replicas of a node.", "node-id:str"),
    Command::new("slaves", replicas).arity(3).flags(ADMIN | STALE).tips(&["nondeterministic_output"]).doc("cluster", "3.0.0", "O(N)", "Lists the replicas of a node.", "node-id:str").deprecated("5.0.0", "`CLUSTER REPLICAS`"),
    Command::new("forget", forget).arity(3).flags(ADMIN | STALE | NO_ASYNC_LOADING).doc("cluster", "3.0.0", "O(1)", "Makes this node forget another.", "node-id:str"),
    Command::new("saveconfig", saveconfig).arity(2).flags(ADMIN | STALE | NO_ASYNC_LOADING).doc("cluster", "3.0.0", "O(1)", "Writes the file in which the node remembers the cluster.", ""),
    Command::new("nodes", nodes).arity(2).flags(STALE).tips(&["nondeterministic_output"]).doc("cluster", "3.0.0", "O(N)", "Lists the nodes.", ""),
    Command::new("meet", meet).arity(-4).flags(ADMIN | STALE | NO_ASYNC_LOADING).doc("cluster", "3.0.0", "O(1)", "Introduces another node.", "ip:str port:int [cluster-bus-port:int^4.0.0]"),
];

/// The cluster, if the server is a node of one.
fn cluster<'a>(ctx: &Ctx<'a>) -> Result<&'a Cluster> {
    ctx.core.cluster.as_deref().ok_or(error::NO_CLUSTER)
}

/// Changes what the node knows of itself, durably.
fn change<T>(ctx: &Ctx<'_>, f: impl FnOnce(&mut Node) -> T) -> Result<T> {
    cluster(ctx)?
        .change(ctx.config(), f)
        .map_err(|error| Error::text(format!("ERR error saving the cluster node config: {error}")))
}

fn readonly(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    cluster(ctx)?;
    ctx.session.client.set(READONLY_CLUSTER, true);
    out.ok();
    Ok(())
}

fn readwrite(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    cluster(ctx)?;
    ctx.session.client.set(READONLY_CLUSTER, false);
    out.ok();
    Ok(())
}

/// No slot is ever on its way here, so there is nothing to remember.
fn asking(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    cluster(ctx)?;
    out.ok();
    Ok(())
}

fn info(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let cluster = cluster(ctx)?;
    let (node, slots) = (cluster.node(), cluster.served());
    let state = if cluster.is_healthy(ctx.config()) { "ok" } else { "fail" };
    let text = format!(
        "cluster_state:{state}\r\ncluster_slots_assigned:{slots}\r\ncluster_slots_ok:{slots}\r\n\
         cluster_slots_pfail:0\r\ncluster_slots_fail:0\r\ncluster_known_nodes:1\r\ncluster_size:{}\r\n\
         cluster_current_epoch:{}\r\ncluster_my_epoch:{}\r\ncluster_stats_messages_sent:0\r\n\
         cluster_stats_messages_received:0\r\ntotal_cluster_links_buffer_limit_exceeded:0\r\n",
        u8::from(slots > 0),
        node.current_epoch,
        node.config_epoch,
    );
    out.verbatim("txt", text.as_bytes());
    Ok(())
}

fn myid(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    out.bulk(cluster(ctx)?.node().id.as_bytes());
    Ok(())
}

fn myshardid(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    out.bulk(cluster(ctx)?.node().shard.as_bytes());
    Ok(())
}

fn nodes(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let node = cluster(ctx)?.node();
    out.verbatim("txt", file::line(&node, &Address::of(ctx.config())).as_bytes());
    Ok(())
}

fn links(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    cluster(ctx)?;
    out.array(0);
    Ok(())
}

/// What clients are told to connect to; `None` is what they are connected to.
fn endpoint(kind: EndpointType, at: &Address) -> Option<&str> {
    match kind {
        EndpointType::Ip => Some(&at.ip),
        EndpointType::Hostname if at.hostname.is_empty() => Some("?"),
        EndpointType::Hostname => Some(&at.hostname),
        EndpointType::UnknownEndpoint => None,
    }
}

fn slots(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let node = cluster(ctx)?.node();
    let (at, kind) = (Address::of(ctx.config()), ctx.config().cluster_preferred_endpoint_type);
    let mut more: Vec<(&str, &str)> = Vec::new();
    if kind != EndpointType::Ip {
        more.push(("ip", &at.ip));
    }
    if kind != EndpointType::Hostname && !at.hostname.is_empty() {
        more.push(("hostname", &at.hostname));
    }
    let ranges = node.slots.ranges();
    out.array(ranges.len());
    for range in ranges {
        out.array(3);
        out.int(i64::from(*range.start()));
        out.int(i64::from(*range.end()));
        out.array(4);
        out.bulk_or_null(endpoint(kind, &at).map(str::as_bytes));
        out.int(i64::from(at.port));
        out.bulk(node.id.as_bytes());
        out.map(more.len());
        for (name, value) in &more {
            out.bulk(name.as_bytes());
            out.bulk(value.as_bytes());
        }
    }
    Ok(())
}

fn shards(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let node = cluster(ctx)?.node();
    let (at, kind) = (Address::of(ctx.config()), ctx.config().cluster_preferred_endpoint_type);
    out.array(1);
    out.map(2);
    out.bulk(b"slots");
    let ranges = node.slots.ranges();
    out.array(ranges.len() * 2);
    for range in ranges {
        out.int(i64::from(*range.start()));
        out.int(i64::from(*range.end()));
    }
    out.bulk(b"nodes");
    out.array(1);
    let ports = [("port", at.port), ("tls-port", at.tls_port)].into_iter().filter(|(_, port)| *port > 0);
    let mut texts = vec![("ip", at.ip.as_str()), ("endpoint", endpoint(kind, &at).unwrap_or_default())];
    if !at.hostname.is_empty() {
        texts.push(("hostname", &at.hostname));
    }
    texts.push(("role", "master"));
    out.map(ports.clone().count() + texts.len() + 3);
    out.bulk(b"id");
    out.bulk(node.id.as_bytes());
    for (name, port) in ports {
        out.bulk(name.as_bytes());
        out.int(i64::from(port));
    }
    for (name, text) in texts {
        out.bulk(name.as_bytes());
        out.bulk(text.as_bytes());
    }
    out.bulk(b"replication-offset");
    out.int(0);
    out.bulk(b"health");
    out.bulk(b"online");
    Ok(())
}

fn keyslot(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    cluster(ctx)?;
    out.int(i64::from(crc::key_slot(args.next()?)));
    Ok(())
}

fn countkeysinslot(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    cluster(ctx)?;
    let slot = slot_of(args.int()?).ok_or(Error::new("ERR Invalid slot"))?;
    out.len(ctx.slot_len(slot));
    Ok(())
}

fn getkeysinslot(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    cluster(ctx)?;
    let (slot, max) = (args.int()?, args.int()?);
    let (Some(slot), Ok(max)) = (slot_of(slot), usize::try_from(max)) else {
        return Err(Error::new("ERR Invalid slot or number of keys"));
    };
    let mut names: Vec<Box<[u8]>> = Vec::new();
    ctx.each_in_slot(slot, |slot| {
        if names.len() < max {
            names.push(slot.key().into());
        }
    });
    out.bulks(names.iter());
    Ok(())
}

fn slot_of(n: i64) -> Option<u16> {
    u16::try_from(n).ok().filter(|slot| *slot < SLOTS)
}

/// Reads the number of a slot.
pub(crate) fn slot_arg(args: &mut Args<'_>) -> Result<u16> {
    let slot = number::parse_i64(args.next()?).and_then(slot_of);
    slot.ok_or(Error::new("ERR Invalid or out of range slot"))
}

/// Collects slots that are to be added or taken away; each must be free or taken accordingly, and be named once.
struct Picked {
    slots: SlotSet,
    add: bool,
}

impl Picked {
    fn new(add: bool) -> Self {
        Picked { slots: SlotSet::default(), add }
    }

    fn pick(&mut self, cluster: &Cluster, slot: u16) -> Result {
        let served = cluster.serves(slot);
        if self.add && served {
            return Err(Error::text(format!("ERR Slot {slot} is already busy")));
        }
        if !self.add && !served {
            return Err(Error::text(format!("ERR Slot {slot} is already unassigned")));
        }
        if self.slots.contains(slot) {
            return Err(Error::text(format!("ERR Slot {slot} specified multiple times")));
        }
        self.slots.insert(slot);
        Ok(())
    }

    fn apply(self, ctx: &mut Ctx<'_>, out: &mut Reply<'_>) -> Result {
        change(ctx, |node| {
            for slot in self.slots.iter() {
                if self.add { node.slots.insert(slot) } else { node.slots.remove(slot) }
            }
        })?;
        if !self.add {
            route::turn_away(ctx);
        }
        out.ok();
        Ok(())
    }
}

fn by_number(ctx: &mut Ctx<'_>, args: &mut Args<'_>, add: bool, out: &mut Reply<'_>) -> Result {
    let cluster = cluster(ctx)?;
    let mut named = Vec::with_capacity(args.left());
    while args.left() > 0 {
        named.push(slot_arg(args)?);
    }
    let mut picked = Picked::new(add);
    named.into_iter().try_for_each(|slot| picked.pick(cluster, slot))?;
    picked.apply(ctx, out)
}

fn by_range(ctx: &mut Ctx<'_>, args: &mut Args<'_>, add: bool, out: &mut Reply<'_>) -> Result {
    let cluster = cluster(ctx)?;
    if args.left() % 2 == 1 {
        return Err(Error::arity(&ctx.entry.name));
    }
    let mut picked = Picked::new(add);
    while args.left() > 0 {
        let (from, to) = (slot_arg(args)?, slot_arg(args)?);
        if from > to {
            return Err(Error::text(format!(
                "ERR start slot number {from} is greater than end slot number {to}"
            )));
        }
        (from..=to).try_for_each(|slot| picked.pick(cluster, slot))?;
    }
    picked.apply(ctx, out)
}

fn addslots(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    by_number(ctx, args, true, out)
}

fn delslots(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    by_number(ctx, args, false, out)
}

fn addslotsrange(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    by_range(ctx, args, true, out)
}

fn delslotsrange(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    by_range(ctx, args, false, out)
}

fn flushslots(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    cluster(ctx)?;
    if ctx.db_len(0) > 0 {
        return Err(Error::new("ERR DB must be empty to perform CLUSTER FLUSHSLOTS."));
    }
    change(ctx, |node| node.slots.clear())?;
    route::turn_away(ctx);
    out.ok();
    Ok(())
}

fn setslot(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let cluster = cluster(ctx)?;
    let slot = slot_arg(args)?;
    let (left, me) = (args.left(), cluster.node().id);
    let moving = |id: &[u8]| {
        Error::text(if id == me.as_bytes() {
            "ERR A slot cannot move from this node to itself".to_owned()
        } else {
            format!("ERR I don't know about node {}", error::clip(id, 128))
        })
    };
    if left == 2 && args.word("migrating") {
        if !cluster.serves(slot) {
            return Err(Error::text(format!("ERR I'm not the owner of hash slot {slot}")));
        }
        return Err(moving(args.next()?));
    }
    if left == 2 && args.word("importing") {
        if cluster.serves(slot) {
            return Err(Error::text(format!("ERR I'm already the owner of hash slot {slot}")));
        }
        return Err(moving(args.next()?));
    }
    if left == 2 && args.word("node") {
        known(cluster, args.next()?)?;
        change(ctx, |node| node.slots.insert(slot))?;
    } else if !(left == 1 && args.word("stable")) {
        return Err(Error::new(
            "ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP",
        ));
    }
    out.ok();
    Ok(())
}

/// The only node that is known is this one.
fn known(cluster: &Cluster, id: &[u8]) -> Result {
    if cluster.node().id.as_bytes() == id {
        return Ok(());
    }
    Err(Error::text(format!("ERR Unknown node {}", error::clip(id, 128))))
}

fn count_failure_reports(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    known(cluster(ctx)?, args.next()?)?;
    out.int(0);
    Ok(())
}

fn replicas(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    known(cluster(ctx)?, args.next()?)?;
    out.array(0);
    Ok(())
}

fn forget(ctx: &mut Ctx<'_>, args: &mut Args<'_>, _: &mut Reply<'_>) -> Result {
    known(cluster(ctx)?, args.next()?)?;
    Err(Error::new("ERR I tried hard but I can't forget myself..."))
}

fn replicate(ctx: &mut Ctx<'_>, args: &mut Args<'_>, _: &mut Reply<'_>) -> Result {
    known(cluster(ctx)?, args.next()?)?;
    Err(Error::new("ERR Can't replicate myself"))
}

fn failover(ctx: &mut Ctx<'_>, args: &mut Args<'_>, _: &mut Reply<'_>) -> Result {
    cluster(ctx)?;
    let usual = args.left() == 0 || args.word("force") || args.word("takeover");
    Err(if usual { Error::new("ERR You should send CLUSTER FAILOVER to a replica") } else { error::SYNTAX })
}

fn meet(ctx: &mut Ctx<'_>, args: &mut Args<'_>, _: &mut Reply<'_>) -> Result {
    cluster(ctx)?;
    let (ip, port) = (args.next()?, args.next()?);
    let text = |bytes| error::clip(bytes, 128);
    let base = number::parse_i64(port)
        .ok_or_else(|| Error::text(format!("ERR Invalid base port specified: {}", text(port))))?;
    let bus = match args.maybe() {
        Some(bus) => number::parse_i64(bus)
            .ok_or_else(|| Error::text(format!("ERR Invalid bus port specified: {}", text(bus))))?,
        None => base.saturating_add(i64::from(crate::cluster::BUS_OFFSET)),
    };
    let good = |port: i64| (1..=65535).contains(&port);
    let address = std::str::from_utf8(ip).ok().and_then(|ip| ip.parse::<std::net::IpAddr>().ok());
    if address.is_none() || !good(base) || !good(bus) {
        let (ip, port) = (text(ip), text(port));
        return Err(Error::text(format!("ERR Invalid node address specified: {ip}:{port}")));
    }
    Err(Error::new("ERR This server cannot be part of a cluster of several nodes yet"))
}

fn bumpepoch(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let (word, epoch) = change(ctx, |node| {
        let newest = node.current_epoch.max(node.config_epoch);
        if node.config_epoch == 0 || node.config_epoch != newest {
            node.current_epoch = newest + 1;
            node.config_epoch = node.current_epoch;
            return ("BUMPED", node.config_epoch);
        }
        ("STILL", node.config_epoch)
    })?;
    out.simple(&format!("{word} {epoch}"));
    Ok(())
}

fn set_config_epoch(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let cluster = cluster(ctx)?;
    let epoch = args.int()?;
    let Ok(wanted) = u64::try_from(epoch) else {
        return Err(Error::text(format!("ERR Invalid config epoch specified: {epoch}")));
    };
    if cluster.node().config_epoch != 0 {
        return Err(Error::new("ERR Node config epoch is already non-zero"));
    }
    change(ctx, |node| {
        node.config_epoch = wanted;
        node.current_epoch = node.current_epoch.max(wanted);
    })?;
    out.ok();
    Ok(())
}

fn reset(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    cluster(ctx)?;
    if args.left() > 1 {
        return Err(syntax_of(args));
    }
    let hard = args.word("hard");
    if !hard && args.left() > 0 && !args.word("soft") {
        return Err(error::SYNTAX);
    }
    if ctx.db_len(0) > 0 {
        return Err(Error::new("ERR CLUSTER RESET can't be called with master nodes containing keys"));
    }
    let fresh = Node::fresh().map_err(|error| Error::text(format!("ERR no randomness: {error}")))?;
    change(ctx, |node| if hard { *node = fresh } else { node.slots.clear() })?;
    route::turn_away(ctx);
    out.ok();
    Ok(())
}

fn saveconfig(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    change(ctx, |_| ())?;
    out.ok();
    Ok(())
}

fn cluster_help(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    cluster(ctx)?;
    help(out, "CLUSTER", HELP);
    Ok(())
}

const HELP: &[(&str, &str)] = &[
    ("COUNTKEYSINSLOT <slot>", "Number of keys in a slot."),
    ("GETKEYSINSLOT <slot> <count>", "Names of keys in a slot."),
    ("INFO", "State of the cluster."),
    ("KEYSLOT <key>", "Slot of a key."),
    ("MYID", "Name of this node."),
    ("MYSHARDID", "Name that the nodes with the slots of this one share."),
    ("NODES", "A line for each node, as in the file that the node keeps."),
    ("REPLICAS <node-id>", "Replicas of a node."),
    ("SLOTS", "Ranges of slots, and who serves them."),
    ("SLOT-STATS", "What the slots of this node hold."),
    ("SHARDS", "The nodes, by the slots that they share."),
    ("ADDSLOTS <slot> [<slot> ...]", "Gives this node slots."),
    (
        "ADDSLOTSRANGE <start slot> <end slot> [<start slot> <end slot> ...]",
        "Gives this node ranges of slots.",
    ),
    ("BUMPEPOCH", "Raises the version of this node's claim to its slots."),
    ("COUNT-FAILURE-REPORTS <node-id>", "Number of nodes that say that a node has failed."),
    ("DELSLOTS <slot> [<slot> ...]", "Takes slots from this node."),
    (
        "DELSLOTSRANGE <start slot> <end slot> [<start slot> <end slot> ...]",
        "Takes ranges of slots from this node.",
    ),
    ("FAILOVER [FORCE|TAKEOVER]", "Makes a replica a primary."),
    ("FORGET <node-id>", "Forgets another node."),
    ("FLUSHSLOTS", "Takes all slots from this node."),
    ("MEET <ip> <port> [<bus-port>]", "Introduces another node."),
    ("REPLICATE <node-id>", "Makes this node a replica of another."),
    ("RESET [HARD|SOFT]", "Forgets the cluster."),
    ("SET-CONFIG-EPOCH <epoch>", "Sets the version of a new node's claim."),
    (
        "SETSLOT <slot> (IMPORTING <node-id>|MIGRATING <node-id>|STABLE|NODE <node-id>)",
        "Says who serves a slot.",
    ),
    ("SAVECONFIG", "Writes the file that the node keeps."),
    ("LINKS", "Connections with other nodes."),
];
