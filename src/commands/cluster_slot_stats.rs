//! How much do the slots of this node hold? CLUSTER SLOT-STATS.
//!
//! Keys are counted when they are asked for. Time and traffic are not accounted for by slot.

use std::cmp::Reverse;

use crate::commands::cluster::slot_arg;
use crate::commands::prelude::*;
use crate::util::crc::SLOTS;

pub(crate) fn slot_stats(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let Some(cluster) = &ctx.core.cluster else { return Err(error::NO_CLUSTER) };
    if args.left() == 3 && args.word("slotsrange") {
        let (from, to) = (slot_arg(args)?, slot_arg(args)?);
        if from > to {
            return Err(Error::text(format!(
                "ERR Start slot number {from} is greater than end slot number {to}"
            )));
        }
        let slots: Vec<u16> = (from..=to).filter(|slot| cluster.serves(*slot)).collect();
        let stats: Vec<(u16, usize)> = slots.into_iter().map(|slot| (slot, ctx.slot_len(slot))).collect();
        reply(&stats, out);
        return Ok(());
    }
    if !args.word("orderby") {
        return Err(syntax_of(args));
    }
    if !args.word("key-count") {
        return Err(Error::new("ERR Unrecognized sort metric for ORDERBY."));
    }
    let (limit, ascending) = order(args)?;
    let slots = cluster.node().slots;
    let mut stats: Vec<(u16, usize)> = slots.iter().map(|slot| (slot, ctx.slot_len(slot))).collect();
    if ascending {
        stats.sort_by_key(|(slot, keys)| (*keys, *slot));
    } else {
        stats.sort_by_key(|(slot, keys)| (Reverse(*keys), *slot));
    }
    stats.truncate(limit);
    reply(&stats, out);
    Ok(())
}

/// The error of arguments that fit no form, with the subcommand as it was sent.
pub(crate) fn syntax_of(args: &Args<'_>) -> Error {
    let sub = error::clip(args.argv().get(1).copied().unwrap_or_default(), 128);
    Error::text(format!("ERR unknown subcommand or wrong number of arguments for '{sub}'. Try CLUSTER HELP."))
}

/// LIMIT, and whether the smallest come first.
fn order(args: &mut Args<'_>) -> Result<(usize, bool)> {
    const TWICE: Error = Error::new("ERR Multiple filters of the same type are disallowed.");
    let (mut limit, mut ascending) = (None, None);
    while args.left() > 0 {
        if args.left() > 1 && args.word("limit") {
            let range = Error::new("ERR Limit has to lie in between 1 and 16384 (maximum number of slots).");
            let n = args.int_in(1, i64::from(SLOTS), range)?;
            if limit.replace(n as usize).is_some() {
                return Err(TWICE);
            }
        } else if args.word("asc") {
            if ascending.replace(true).is_some() {
                return Err(TWICE);
            }
        } else if args.word("desc") {
            if ascending.replace(false).is_some() {
                return Err(TWICE);
            }
        } else {
            return Err(error::SYNTAX);
        }
    }
    Ok((limit.unwrap_or(usize::from(SLOTS)), ascending.unwrap_or(false)))
}

fn reply(stats: &[(u16, usize)], out: &mut Reply<'_>) {
    out.array(stats.len());
    for (slot, keys) in stats {
        out.array(2);
        out.int(i64::from(*slot));
        out.map(1);
        out.bulk(b"key-count");
        out.len(*keys);
    }
}
