//! Where are things? Places are members of sorted sets whose scores are geohashes; searches are in `geo_search`.

use smallvec::SmallVec;

use crate::commands::prelude::*;
use crate::commands::zsets::Addition;
use crate::util::geohash::{self, Point};
use crate::util::number::{self, SmallBuf};
use crate::value::Zset;
use crate::value::zset::AddFlags;

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    Command::new("geoadd", geoadd).arity(-5).flags(WRITE | DENYOOM).acl(GEO).keys(&[one(RW | UPDATE, 1)]).doc("geo", "3.2.0", "O(log(N)) for each item added, where N is the number of elements in the sorted set.", "Adds named places, or moves them.", "key:key@0 [condition(NX | XX)^6.2.0] [CH=change^6.2.0] data{longitude:dbl latitude:dbl member:str}..."),
    Command::new("geodist", geodist).arity(-4).flags(READONLY).acl(GEO).keys(&[one(RO | ACCESS, 1)]).doc("geo", "3.2.0", "O(1)", "Gets the distance between two places.", "key:key@0 member1:str member2:str [unit(M | KM | FT | MI)]"),
    Command::new("geohash", geohash).arity(-2).flags(READONLY).acl(GEO).keys(&[one(RO | ACCESS, 1)]).doc("geo", "3.2.0", "O(1) for each member requested.", "Gets the places as geohash strings.", "key:key@0 [member:str...]"),
    Command::new("geopos", geopos).arity(-2).flags(READONLY).acl(GEO).keys(&[one(RO | ACCESS, 1)]).doc("geo", "3.2.0", "O(1) for each member requested.", "Gets the coordinates of places.", "key:key@0 [member:str...]"),
];

/// Reads a longitude and a latitude.
pub(super) fn point(args: &mut Args<'_>) -> Result<Point> {
    let (longitude, latitude) = (args.float()?, args.float()?);
    Point::new(longitude, latitude).ok_or_else(|| {
        Error::text(format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}"))
    })
}

/// Reads a unit: metres in one of it.
pub(super) fn unit(args: &mut Args<'_>) -> Result<f64> {
    let error = Error::new("ERR unsupported unit provided. please use M, KM, FT, MI");
    geohash::unit_metres(args.next()?).ok_or(error)
}

/// A distance as all commands write it: four digits behind the point.
pub(super) fn distance_text(metres: f64, unit: f64) -> SmallBuf {
    number::fmt_fixed(metres / unit, 4)
}

/// Writes coordinates.
pub(super) fn reply_point(out: &mut Reply<'_>, point: Point) {
    out.array(2);
    out.double(point.longitude);
    out.double(point.latitude);
}

fn geoadd(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let mut addition = Addition::default();
    let AddFlags { nx, xx, .. } = &mut addition.flags;
    let first = args.position();
    loop {
        match () {
            () if args.word("NX") => *nx = true,
            () if args.word("XX") => *xx = true,
            () if args.word("CH") => addition.ch = true,
            () => break,
        }
    }
    if args.left() == 0 || !args.left().is_multiple_of(3) || (*nx && *xx) {
        return Err(error::SYNTAX);
    }
    let options = args.argv().get(first..args.position()).unwrap_or_default();
    while args.left() > 0 {
        let score = point(args)?.score();
        addition.pairs.push((score, args.next()?));
    }
    // The log gets the ZADD that it comes to.
    let scores: Vec<SmallBuf> = addition.pairs.iter().map(|(score, _)| number::fmt_double(*score)).collect();
    let mut zadd: SmallVec<[&[u8]; 8]> = SmallVec::from_slice(&[b"zadd", key.name]);
    zadd.extend_from_slice(options);
    for (score, (_, member)) in scores.iter().zip(&addition.pairs) {
        zadd.extend_from_slice(&[score.as_ref(), member]);
    }
    addition.run(ctx, &key, out)?;
    ctx.propagate_as(&zadd);
    Ok(())
}

fn geodist(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let (from, to) = (args.next()?, args.next()?);
    let unit = match args.left() {
        0 => 1.0,
        1 => unit(args)?,
        _ => return Err(error::SYNTAX),
    };
    let zset = ctx.read::<Zset>(&key)?;
    let distance = zset.and_then(|zset| {
        let (from, to) = (zset.score(from)?, zset.score(to)?);
        Some(Point::from_score(from).distance(Point::from_score(to)))
    });
    match distance {
        Some(metres) => out.bulk(distance_text(metres, unit).as_ref()),
        None => out.null(),
    }
    Ok(())
}

fn geohash(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let zset = ctx.read::<Zset>(&key)?;
    let members = args.take_rest();
    out.array(members.len());
    for member in members {
        match zset.and_then(|zset| zset.score(member)) {
            Some(score) => out.bulk(&Point::from_score(score).geohash()),
            None => out.null(),
        }
    }
    Ok(())
}

fn geopos(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = ctx.key(args.next()?);
    let zset = ctx.read::<Zset>(&key)?;
    let members = args.take_rest();
    out.array(members.len());
    for member in members {
        match zset.and_then(|zset| zset.score(member)) {
            Some(score) => reply_point(out, Point::from_score(score)),
            None => out.null_array(),
        }
    }
    Ok(())
}
