//! What is in the databases? INFO keyspace, and the distribution of the sizes of keys.

use std::fmt::Write;

use crate::commands::prelude::*;
use crate::ds::entry::View;
use crate::keyspace::db::Db;
use crate::value::{Kind, Value};

/// With so many keys a distribution is not worked out unasked.
const MANY: usize = 100_000;

/// So many keys of a shard are walked through for an exact number.
const FEW: usize = 1000;

/// The types in the order in which distributions are printed, with what is counted of each.
const KINDS: &[(Kind, &str)] = &[
    (Kind::String, "strings_sizes"),
    (Kind::List, "lists_items"),
    (Kind::Set, "sets_items"),
    (Kind::Zset, "zsets_items"),
    (Kind::Hash, "hashes_items"),
];

/// Calls `f` for every database in every shard.
fn each_db(ctx: &mut Ctx<'_>, mut f: impl FnMut(usize, &Db)) {
    for shard in 0..ctx.keyspace().shard_count() {
        ctx.locks.with_shard(shard, |shard| shard.dbs.iter().enumerate().for_each(|(n, db)| f(n, db)));
    }
}

/// How many hashes have fields that expire: counted while that takes no time to speak of. The database itself knows
/// how many there may be at most, and finds out with every round of the sweep.
fn hashes_with_expiring_fields(db: &Db) -> usize {
    if db.field_expires == 0 || db.table.len() > FEW {
        return db.field_expires;
    }
    let expires = |view: View<'_, Value>| match view {
        View::Value(Value::Hash(hash)) => hash.next_expiry().is_some(),
        _ => false,
    };
    db.table.iter().filter(|slot| slot.mark() && expires(slot.view())).count()
}

pub(super) fn keyspace(ctx: &mut Ctx<'_>, text: &mut String) -> std::fmt::Result {
    let mut totals = vec![[0usize; 3]; ctx.keyspace().databases()];
    each_db(ctx, |n, db| {
        let found = [db.table.len(), db.expires, hashes_with_expiring_fields(db)];
        totals[n].iter_mut().zip(found).for_each(|(sum, n)| *sum += n);
    });
    let left = ctx.core.upkeep.time_left.lock();
    for (i, [keys, expires, fields]) in totals.iter().enumerate().filter(|(_, t)| t[0] > 0) {
        let ttl = left.get(i).filter(|_| *expires > 0).map_or(0, |ms| *ms as u64);
        write!(text, "db{i}:keys={keys},expires={expires},avg_ttl={ttl},subexpiry={fields}\r\n")?;
    }
    Ok(())
}

/// True when walking through all keys takes no time to speak of.
pub(super) fn is_small(ctx: &mut Ctx<'_>) -> bool {
    let mut keys = 0;
    each_db(ctx, |_, db| keys += db.table.len());
    keys <= MANY
}

/// The size of a value as the distributions count it: bytes of a string, elements of anything else.
fn size(view: &View<'_, Value>) -> Option<(Kind, usize)> {
    Some(match view {
        View::Int(n) => (Kind::String, itoa::Buffer::new().format(*n).len()),
        View::Str(bytes) => (Kind::String, bytes.len()),
        View::Value(Value::List(list)) => (Kind::List, list.len()),
        View::Value(Value::Set(set)) => (Kind::Set, set.len()),
        View::Value(Value::Zset(zset)) => (Kind::Zset, zset.len()),
        View::Value(Value::Hash(hash)) => (Kind::Hash, hash.len()),
        View::Value(_) => return None,
    })
}

/// For each database and type, how many keys have a size from one power of two up to the next. It takes a walk through
/// all keys.
pub(super) fn keysizes(ctx: &mut Ctx<'_>, text: &mut String) -> std::fmt::Result {
    let mut found = vec![[[0usize; 65]; 5]; ctx.keyspace().databases()];
    each_db(ctx, |n, db| {
        for slot in db.table.iter() {
            let Some((kind, size)) = size(&slot.view()) else { continue };
            let bin = size.checked_ilog2().map_or(0, |log| log as usize + 1);
            if let Some(row) = KINDS.iter().position(|(known, _)| *known == kind) {
                found[n][row][bin] += 1;
            }
        }
    });
    for (n, rows) in found.iter().enumerate() {
        for ((_, name), bins) in KINDS.iter().zip(rows) {
            let used = bins.iter().enumerate().filter(|(_, count)| **count > 0);
            let list: Vec<String> = used.map(|(bin, count)| format!("{}={count}", human(bin))).collect();
            if !list.is_empty() {
                write!(text, "db{n}_distrib_{name}:{}\r\n", list.join(","))?;
            }
        }
    }
    Ok(())
}

/// The lower bound of a bin: 0, 1, 2, 4, ... 512, 1K, 2K, ...
fn human(bin: usize) -> String {
    const UNITS: [&str; 7] = ["", "K", "M", "G", "T", "P", "E"];
    let Some(log) = bin.checked_sub(1) else { return "0".to_owned() };
    format!("{}{}", 1u64 << (log % 10), UNITS.get(log / 10).unwrap_or(&""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_powers_of_two() {
        assert_eq!([0, 1, 2, 10, 11, 12, 21].map(human), ["0", "1", "2", "512", "1K", "2K", "1M"]);
    }
}
