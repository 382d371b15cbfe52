//! How does a client wait for a list to have elements? BLPOP and its kin: try, and wait if there is nothing.
//!
//! The log gets what a client that never waits would have sent, so that replaying it never waits either.

use crate::commands::lists::{ManyPop, end, move_element, pop_first};
use crate::commands::prelude::*;
use crate::dispatch::ctx::OnTimeout;
use crate::keyspace::waiter::Wish;
use crate::value::Kind;
use crate::value::list::End;

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    Command::new("blpop", blpop)
        .arity(-3)
        .flags(WRITE | BLOCKING)
        .acl(LIST)
        .keys(&[range(RW | ACCESS | DELETE, 1, -2, 1)])
        .doc(
            "list",
            "2.0.0",
            "O(N) for N keys",
            "Takes the first element of the first list that has one, waiting for it if need be.",
            "key:key@0... timeout:dbl",
        ),
    Command::new("brpop", brpop)
        .arity(-3)
        .flags(WRITE | BLOCKING)
        .acl(LIST)
        .keys(&[range(RW | ACCESS | DELETE, 1, -2, 1)])
        .doc(
            "list",
            "2.0.0",
            "O(N) for N keys",
            "Takes the last element of the first list that has one, waiting for it if need be.",
            "key:key@0... timeout:dbl",
        ),
    Command::new("blmove", blmove)
        .arity(6)
        .flags(WRITE | DENYOOM | BLOCKING)
        .acl(LIST)
        .keys(&[one(RW | ACCESS | DELETE, 1), one(RW | INSERT, 2)])
        .doc(
            "list",
            "6.2.0",
            "O(1)",
            "Moves an element from one list to another, waiting for it if need be.",
            "source:key@0 destination:key@1 wherefrom(LEFT | RIGHT) whereto(LEFT | RIGHT) timeout:dbl",
        ),
    Command::new("brpoplpush", brpoplpush)
        .arity(4)
        .flags(WRITE | DENYOOM | BLOCKING)
        .acl(LIST)
        .keys(&[one(RW | ACCESS | DELETE, 1), one(RW | INSERT, 2)])
        .doc(
            "list",
            "2.2.0",
            "O(1)",
            "Moves the last element of a list in front of another, waiting for it if need be.",
            "source:key@0 destination:key@1 timeout:dbl",
        )
        .deprecated("6.2.0", "`BLMOVE` with the `RIGHT` and `LEFT` arguments"),
    Command::new("blmpop", blmpop)
        .arity(-5)
        .flags(WRITE | BLOCKING | MOVABLE_KEYS)
        .acl(LIST)
        .keys(&[numbered(RW | ACCESS | DELETE, 2)])
        .doc(
            "list",
            "7.0.0",
            "O(N+M) for N keys and M elements",
            "Takes elements off the first list that is not empty, waiting for one if need be.",
            "timeout:dbl numkeys:int key:key@0... where(LEFT | RIGHT) [COUNT count:int]",
        ),
];

/// Lists make these commands ready.
const WISH: Wish = Wish { kind: Kind::List, or_gone: false };

fn blpop(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    pop(ctx, args, End::Head, out)
}

fn brpop(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    pop(ctx, args, End::Tail, out)
}

fn pop(ctx: &mut Ctx<'_>, args: &mut Args<'_>, end: End, out: &mut Reply<'_>) -> Result {
    let keys = args.take(args.left().saturating_sub(1))?;
    let timeout = args.timeout(ctx.now_ms())?;
    if !pop_first(ctx, keys, end, out)? {
        ctx.wait_for(args.argv(), keys, WISH, timeout, OnTimeout::NullArray, out);
    }
    Ok(())
}

fn blmove(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let (source, target) = (args.next()?, args.next()?);
    let ends = args.rest();
    let (from, to) = (end(args)?, end(args)?);
    let timeout = args.timeout(ctx.now_ms())?;
    if move_or_wait(ctx, args, (source, target), (from, to), timeout, out)?
        && let [from, to, ..] = ends
    {
        ctx.propagate_as(&[b"LMOVE", source, target, from, to]);
    }
    Ok(())
}

fn brpoplpush(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let (source, target) = (args.next()?, args.next()?);
    let timeout = args.timeout(ctx.now_ms())?;
    if move_or_wait(ctx, args, (source, target), (End::Tail, End::Head), timeout, out)? {
        ctx.propagate_as(&[b"RPOPLPUSH", source, target]);
    }
    Ok(())
}

/// Moves an element from the first key to the second, or waits for one; true when it has been moved.
fn move_or_wait(
    ctx: &mut Ctx<'_>,
    args: &Args<'_>,
    (source, target): (&[u8], &[u8]),
    (from, to): (End, End),
    timeout: u64,
    out: &mut Reply<'_>,
) -> Result<bool> {
    let keys = (ctx.key(source), ctx.key(target));
    if move_element(ctx, &keys.0, &keys.1, from, to, out)? {
        return Ok(true);
    }
    if matches!(ctx.mode, Mode::Direct | Mode::Serving) {
        // A wait that has ended is answered by a null array, though the command's null is that of a string.
        ctx.wait_for(args.argv(), &[source], WISH, timeout, OnTimeout::NullArray, out);
    } else {
        out.null();
    }
    Ok(false)
}

fn blmpop(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let mut timeout = *args;
    args.next()?;
    let pop = ManyPop::parse(args)?;
    let timeout = timeout.timeout(ctx.now_ms())?;
    if !pop.run(ctx, out)? {
        ctx.wait_for(args.argv(), pop.keys, WISH, timeout, OnTimeout::NullArray, out);
    }
    Ok(())
}
