//! What of cluster commands on a server that is not part of a cluster? They are known, and refused.

use crate::commands::prelude::*;

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    Command::container("cluster", CLUSTER).doc(
        "cluster",
        "3.0.0",
        "Depends on subcommand.",
        "Looks at and steers a cluster.",
        "",
    ),
    Command::new("readonly", disabled).arity(1).flags(LOADING | STALE | FAST).acl(CONNECTION).doc(
        "cluster",
        "3.0.0",
        "O(1)",
        "Lets the connection read from a replica.",
        "",
    ),
    Command::new("readwrite", disabled).arity(1).flags(LOADING | STALE | FAST).acl(CONNECTION).doc(
        "cluster",
        "3.0.0",
        "O(1)",
        "Takes READONLY back.",
        "",
    ),
    Command::new("asking", disabled).arity(1).flags(FAST).acl(CONNECTION).doc(
        "cluster",
        "3.0.0",
        "O(1)",
        "Lets the next command use a slot that is being imported.",
        "",
    ),
];

const CLUSTER: &[Command] = &[
    Command::new("info", disabled).arity(2).flags(STALE).tips(&["nondeterministic_output"]).doc("cluster", "3.0.0", "O(1)", "Part of the cluster protocol; needs cluster mode.", ""),
    Command::new("help", disabled).arity(2).flags(LOADING | STALE).doc("cluster", "5.0.0", "O(1)", "Part of the cluster protocol; needs cluster mode.", ""),
    Command::new("links", disabled).arity(2).flags(STALE).tips(&["nondeterministic_output"]).doc("cluster", "7.0.0", "O(N)", "Part of the cluster protocol; needs cluster mode.", ""),
    Command::new("slot-stats", disabled).arity(-4).flags(LOADING | STALE).tips(&["nondeterministic_output", "request_policy:all_shards"]).doc("cluster", "8.2.0", "O(N)", "Part of the cluster protocol; needs cluster mode.", "filter(SLOTSRANGE slotsrange{start-slot:int end-slot:int} | ORDERBY orderby{metric:str [LIMIT limit:int] [order(ASC | DESC)]})"),
    Command::new("setslot", disabled).arity(-4).flags(ADMIN | STALE | NO_ASYNC_LOADING).doc("cluster", "3.0.0", "O(1)", "Part of the cluster protocol; needs cluster mode.", "slot:int subcommand(IMPORTING importing/node-id:str | MIGRATING migrating/node-id:str | NODE node/node-id:str | STABLE)"),
    Command::new("bumpepoch", disabled).arity(2).flags(ADMIN | STALE | NO_ASYNC_LOADING).tips(&["nondeterministic_output"]).doc("cluster", "3.0.0", "O(1)", "Part of the cluster protocol; needs cluster mode.", ""),
    Command::new("reset", disabled).arity(-2).flags(ADMIN | NOSCRIPT | STALE).doc("cluster", "3.0.0", "O(N)", "Part of the cluster protocol; needs cluster mode.", "[reset-type(HARD | SOFT)]"),
    Command::new("myshardid", disabled).arity(2).flags(STALE).tips(&["nondeterministic_output"]).doc("cluster", "7.2.0", "O(1)", "Part of the cluster protocol; needs cluster mode.", ""),
    Command::new("keyslot", disabled).arity(3).flags(STALE).doc("cluster", "3.0.0", "O(N)", "Part of the cluster protocol; needs cluster mode.", "key:str"),
    Command::new("set-config-epoch", disabled).arity(3).flags(ADMIN | STALE | NO_ASYNC_LOADING).doc("cluster", "3.0.0", "O(1)", "Part of the cluster protocol; needs cluster mode.", "config-epoch:int"),
    Command::new("count-failure-reports", disabled).arity(3).flags(ADMIN | STALE).tips(&["nondeterministic_output"]).doc("cluster", "3.0.0", "O(N)", "Part of the cluster protocol; needs cluster mode.", "node-id:str"),
    Command::new("failover", disabled).arity(-2).flags(ADMIN | STALE | NO_ASYNC_LOADING).doc("cluster", "3.0.0", "O(1)", "Part of the cluster protocol; needs cluster mode.", "[options(FORCE | TAKEOVER)]"),
    Command::new("addslotsrange", disabled).arity(-4).flags(ADMIN | STALE | NO_ASYNC_LOADING).doc("cluster", "7.0.0", "O(N)", "Part of the cluster protocol; needs cluster mode.", "range{start-slot:int end-slot:int}..."),
    Command::new("shards", disabled).arity(2).flags(LOADING | STALE).tips(&["nondeterministic_output"]).doc("cluster", "7.0.0", "O(N)", "Part of the cluster protocol; needs cluster mode.", ""),
    Command::new("replicate", disabled).arity(3).flags(ADMIN | STALE | NO_ASYNC_LOADING).doc("cluster", "3.0.0", "O(1)", "Part of the cluster protocol; needs cluster mode.", "node-id:str"),
    Command::new("flushslots", disabled).arity(2).flags(ADMIN | STALE | NO_ASYNC_LOADING).doc("cluster", "3.0.0", "O(1)", "Part of the cluster protocol; needs cluster mode.", ""),
    Command::new("slots", disabled).arity(2).flags(LOADING | STALE).tips(&["nondeterministic_output"]).doc("cluster", "3.0.0", "O(N)", "Part of the cluster protocol; needs cluster mode.", "").deprecated("7.0.0", "`CLUSTER SHARDS`"),
    Command::new("countkeysinslot", disabled).arity(3).flags(STALE).doc("cluster", "3.0.0", "O(1)", "Part of the cluster protocol; needs cluster mode.", "slot:int"),
    Command::new("getkeysinslot", disabled).arity(4).flags(STALE).tips(&["nondeterministic_output"]).doc("cluster", "3.0.0", "O(N)", "Part of the cluster protocol; needs cluster mode.", "slot:int count:int"),
    Command::new("addslots", disabled).arity(-3).flags(ADMIN | STALE | NO_ASYNC_LOADING).doc("cluster", "3.0.0", "O(N)", "Part of the cluster protocol; needs cluster mode.", "slot:int..."),
    Command::new("delslots", disabled).arity(-3).flags(ADMIN | STALE | NO_ASYNC_LOADING).doc("cluster", "3.0.0", "O(N)", "Part of the cluster protocol; needs cluster mode.", "slot:int..."),
    Command::new("delslotsrange", disabled).arity(-4).flags(ADMIN | STALE | NO_ASYNC_LOADING).doc("cluster", "7.0.0", "O(N)", "Part of the cluster protocol; needs cluster mode.", "range{start-slot:int end-slot:int}..."),
    Command::new("myid", disabled).arity(2).flags(STALE).doc("cluster", "3.0.0", "O(1)", "Part of the cluster protocol; needs cluster mode.", ""),
    Command::new("replicas", disabled).arity(3).flags(ADMIN | STALE).tips(&["nondeterministic_output"]).doc("cluster", "5.0.0", "O(N)", "Part of the cluster protocol; needs cluster mode.", "node-id:str"),
    Command::new("slaves", disabled).arity(3).flags(ADMIN | STALE).tips(&["nondeterministic_output"]).doc("cluster", "3.0.0", "O(N)", "Part of the cluster protocol; needs cluster mode.", "node-id:str").deprecated("5.0.0", "`CLUSTER REPLICAS`"),
    Command::new("forget", disabled).arity(3).flags(ADMIN | STALE | NO_ASYNC_LOADING).doc("cluster", "3.0.0", "O(1)", "Part of the cluster protocol; needs cluster mode.", "node-id:str"),
    Command::new("saveconfig", disabled).arity(2).flags(ADMIN | STALE | NO_ASYNC_LOADING).doc("cluster", "3.0.0", "O(1)", "Part of the cluster protocol; needs cluster mode.", ""),
    Command::new("nodes", disabled).arity(2).flags(STALE).tips(&["nondeterministic_output"]).doc("cluster", "3.0.0", "O(N)", "Part of the cluster protocol; needs cluster mode.", ""),
    Command::new("meet", disabled).arity(-4).flags(ADMIN | STALE | NO_ASYNC_LOADING).doc("cluster", "3.0.0", "O(1)", "Part of the cluster protocol; needs cluster mode.", "ip:str port:int [cluster-bus-port:int^4.0.0]"),
];

fn disabled(_: &mut Ctx<'_>, _: &mut Args<'_>, _: &mut Reply<'_>) -> Result {
    Err(Error::new("ERR This instance has cluster support disabled"))
}
