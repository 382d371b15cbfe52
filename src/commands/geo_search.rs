//! Which places are in an area? GEOSEARCH, and GEORADIUS which it replaced.

use crate::commands::geo::{distance_text, point, reply_point, unit};
use crate::commands::prelude::*;
use crate::commands::zsets::store;
use crate::ds::entry::View;
use crate::ds::listpack::LpValue;
use crate::util::geohash::{Form, Point, Search};
use crate::util::number;
use crate::value::zset::{AddFlags, ScoreRange};
use crate::value::{Limits, Typed, Zset};

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::new("georadius", georadius).arity(-6).flags(WRITE | DENYOOM | MOVABLE_KEYS).acl(GEO).keys(&[one(RO | ACCESS, 1), after(OW | UPDATE, "STORE", 6, 0, 1, 0), after(OW | UPDATE, "STOREDIST", 6, 0, 1, 0)]).find_keys(radius_keys).doc("geo", "3.2.0", "O(N+log(M)) where N is the number of elements inside the bounding box of the circular area delimited by center and radius and M is the number of items inside the index.", "Gets or stores the places within a distance of a point.", "key:key@0 longitude:dbl latitude:dbl radius:dbl unit(M | KM | FT | MI) [WITHCOORD] [WITHDIST] [WITHHASH] [count-block{COUNT count:int [ANY^6.2.0]}] [order(ASC | DESC)] [store(STORE storekey/key:key@1 | STOREDIST storedistkey/key:key@2)]").deprecated("6.2.0", "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` argument"),
    Command::new("georadius_ro", georadius_ro).arity(-6).flags(READONLY).acl(GEO).keys(&[one(RO | ACCESS, 1)]).doc("geo", "3.2.10", "O(N+log(M)) where N is the number of elements inside the bounding box of the circular area delimited by center and radius and M is the number of items inside the index.", "Gets the places within a distance of a point.", "key:key@0 longitude:dbl latitude:dbl radius:dbl unit(M | KM | FT | MI) [WITHCOORD] [WITHDIST] [WITHHASH] [count-block{COUNT count:int [ANY^6.2.0]}] [order(ASC | DESC)]").deprecated("6.2.0", "`GEOSEARCH` with the `BYRADIUS` argument"),
    Command::new("georadiusbymember", georadiusbymember).arity(-5).flags(WRITE | DENYOOM | MOVABLE_KEYS).acl(GEO).keys(&[one(RO | ACCESS, 1), after(OW | UPDATE, "STORE", 5, 0, 1, 0), after(OW | UPDATE, "STOREDIST", 5, 0, 1, 0)]).find_keys(radius_keys).doc("geo", "3.2.0", "O(N+log(M)) where N is the number of elements inside the bounding box of the circular area delimited by center and radius and M is the number of items inside the index.", "Gets or stores the places within a distance of another.", "key:key@0 member:str radius:dbl unit(M | KM | FT | MI) [WITHCOORD] [WITHDIST] [WITHHASH] [count-block{COUNT count:int [ANY]}] [order(ASC | DESC)] [store(STORE storekey/key:key@1 | STOREDIST storedistkey/key:key@2)]").deprecated("6.2.0", "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` and `FROMMEMBER` arguments"),
    Command::new("georadiusbymember_ro", georadiusbymember_ro).arity(-5).flags(READONLY).acl(GEO).keys(&[one(RO | ACCESS, 1)]).doc("geo", "3.2.10", "O(N+log(M)) where N is the number of elements inside the bounding box of the circular area delimited by center and radius and M is the number of items inside the index.", "Gets the places within a distance of another.", "key:key@0 member:str radius:dbl unit(M | KM | FT | MI) [WITHCOORD] [WITHDIST] [WITHHASH] [count-block{COUNT count:int [ANY]}] [order(ASC | DESC)]").deprecated("6.2.0", "`GEOSEARCH` with the `BYRADIUS` and `FROMMEMBER` arguments"),
    Command::new("geosearch", geosearch).arity(-7).flags(READONLY).acl(GEO).keys(&[one(RO | ACCESS, 1)]).doc("geo", "6.2.0", "O(N+log(M)) where N is the number of elements in the grid-aligned bounding box area around the shape provided as the filter and M is the number of items inside the shape", "Gets the places in a circle or box.", "key:key@0 from(FROMMEMBER member:str | FROMLONLAT fromlonlat{longitude:dbl latitude:dbl}) by(circle{BYRADIUS radius:dbl unit(M | KM | FT | MI)} | box{BYBOX width:dbl height:dbl unit(M | KM | FT | MI)}) [order(ASC | DESC)] [count-block{COUNT count:int [ANY]}] [WITHCOORD] [WITHDIST] [WITHHASH]"),
    Command::new("geosearchstore", geosearchstore).arity(-8).flags(WRITE | DENYOOM).acl(GEO).keys(&[one(OW | UPDATE, 1), one(RO | ACCESS, 2)]).doc("geo", "6.2.0", "O(N+log(M)) where N is the number of elements in the grid-aligned bounding box area around the shape provided as the filter and M is the number of items inside the shape", "Stores the places in a circle or box at another key.", "destination:key@0 source:key@1 from(FROMMEMBER member:str | FROMLONLAT fromlonlat{longitude:dbl latitude:dbl}) by(circle{BYRADIUS radius:dbl unit(M | KM | FT | MI)} | box{BYBOX width:dbl height:dbl unit(M | KM | FT | MI)}) [order(ASC | DESC)] [count-block{COUNT count:int [ANY]}] [STOREDIST]"),
];

/// The keys of GEORADIUS and GEORADIUSBYMEMBER: the source and the targets of STORE and STOREDIST, which may be
/// given several times; the last one counts.
fn radius_keys(argv: &[&[u8]], keys: &mut Vec<KeyAt>) -> Option<()> {
    argv.get(1)?;
    keys.push(KeyAt { index: 1, flags: RO | ACCESS });
    let mut at = 5;
    while at + 1 < argv.len() {
        if argv[at].eq_ignore_ascii_case(b"STORE") || argv[at].eq_ignore_ascii_case(b"STOREDIST") {
            at += 1;
            keys.push(KeyAt { index: at, flags: OW | UPDATE });
        }
        at += 1;
    }
    Some(())
}

/// The commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// GEORADIUS and GEORADIUSBYMEMBER, which may store unless `read_only`.
    Radius {
        by_member: bool,
        read_only: bool,
    },
    Search,
    SearchStore,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Ascending,
    Descending,
}

/// What is asked for.
struct Query<'a> {
    command: Kind,
    centre: Option<Point>,
    /// The form of the area and its unit.
    area: Option<(Form, f64)>,
    order: Option<Order>,
    count: Option<usize>,
    any: bool,
    with_distance: bool,
    with_hash: bool,
    with_point: bool,
    store: Option<&'a [u8]>,
    store_distance: bool,
    /// FROMMEMBER was said; there is no centre if the key does not exist.
    from_member: bool,
}

/// A place that was found.
struct Found<'v> {
    member: LpValue<'v>,
    score: f64,
    point: Point,
    /// From the centre, metres.
    distance: f64,
}

impl<'a> Query<'a> {
    /// Reads everything behind the keys. Members are looked up in `zset` while reading, as in Redis, so that the
    /// first fault is the one that is reported.
    fn parse(command: Kind, zset: Option<&Zset>, args: &mut Args<'a>) -> Result<Self> {
        let mut q = Query {
            command,
            centre: None,
            area: None,
            order: None,
            count: None,
            any: false,
            with_distance: false,
            with_hash: false,
            with_point: false,
            store: None,
            store_distance: false,
            from_member: false,
        };
        match command {
            Kind::Radius { by_member: false, .. } => {
                q.centre = Some(point(args)?);
                q.area = Some(radius(args)?);
            }
            Kind::Radius { .. } => {
                let member = args.next()?;
                match zset {
                    Some(zset) => {
                        q.centre = Some(place(zset, member)?);
                        q.area = Some(radius(args)?);
                    }
                    // Nothing to measure from: radius and unit are not looked at.
                    None => drop(args.take(2)?),
                }
            }
            Kind::Search | Kind::SearchStore => {}
        }
        while args.left() > 0 {
            if !q.common_option(args)? && !q.store_option(args)? && !q.area_option(zset, args)? {
                return Err(error::SYNTAX);
            }
        }
        Ok(q)
    }

    /// Reads an option that all commands have; false if the next one is none.
    fn common_option(&mut self, args: &mut Args<'a>) -> Result<bool> {
        match () {
            () if args.word("WITHDIST") => self.with_distance = true,
            () if args.word("WITHHASH") => self.with_hash = true,
            () if args.word("WITHCOORD") => self.with_point = true,
            () if args.word("ANY") => self.any = true,
            () if args.word("ASC") => self.order = Some(Order::Ascending),
            () if args.word("DESC") => self.order = Some(Order::Descending),
            () if args.left() > 1 && args.word("COUNT") => {
                let count = args.int()?;
                if count <= 0 {
                    return Err(Error::new("ERR COUNT must be > 0"));
                }
                self.count = Some(usize::try_from(count).unwrap_or(usize::MAX));
            }
            () => return Ok(false),
        }
        Ok(true)
    }

    /// Reads an option about storing.
    fn store_option(&mut self, args: &mut Args<'a>) -> Result<bool> {
        match self.command {
            Kind::Radius { read_only: false, .. } if args.left() > 1 => {
                self.store_distance = match () {
                    () if args.word("STORE") => false,
                    () if args.word("STOREDIST") => true,
                    () => return Ok(false),
                };
                self.store = Some(args.next()?);
                Ok(true)
            }
            Kind::SearchStore if args.word("STOREDIST") => {
                self.store_distance = true;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Reads an option of GEOSEARCH about the area.
    fn area_option(&mut self, zset: Option<&Zset>, args: &mut Args<'a>) -> Result<bool> {
        if matches!(self.command, Kind::Radius { .. }) {
            return Ok(false);
        }
        let lonlat = self.centre.is_some() && !self.from_member;
        let boxed = matches!(self.area, Some((Form::Box { .. }, _)));
        let round = matches!(self.area, Some((Form::Circle { .. }, _)));
        if !lonlat && args.left() > 1 && args.word("FROMMEMBER") {
            let member = args.next()?;
            self.from_member = true;
            if let Some(zset) = zset {
                self.centre = Some(place(zset, member)?);
            }
        } else if !self.from_member && args.left() > 2 && args.word("FROMLONLAT") {
            self.centre = Some(point(args)?);
        } else if !boxed && args.left() > 2 && args.word("BYRADIUS") {
            self.area = Some(radius(args)?);
        } else if !round && args.left() > 3 && args.word("BYBOX") {
            let width = size(args, "ERR need numeric width")?;
            let height = size(args, "ERR need numeric height")?;
            if width < 0.0 || height < 0.0 {
                return Err(Error::new("ERR height or width cannot be negative"));
            }
            self.area = Some((Form::Box { width, height }, unit(args)?));
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// Refuses options that do not go together. `name` is the command as the client wrote it.
    fn check(&self, name: &[u8]) -> Result {
        let searches = !matches!(self.command, Kind::Radius { .. });
        let stores = self.store.is_some() || self.command == Kind::SearchStore;
        if stores && (self.with_distance || self.with_hash || self.with_point) {
            let what = if searches { "GEOSEARCHSTORE" } else { "STORE option in GEORADIUS" };
            let text = format!("ERR {what} is not compatible with WITHDIST, WITHHASH and WITHCOORD options");
            return Err(Error::text(text));
        }
        let name = || error::quote(name);
        if searches && self.centre.is_none() && !self.from_member {
            let text = format!("ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for {}", name());
            return Err(Error::text(text));
        }
        if searches && self.area.is_none() {
            let text = format!("ERR exactly one of BYRADIUS and BYBOX can be specified for {}", name());
            return Err(Error::text(text));
        }
        if self.any && self.count.is_none() {
            return Err(Error::new("ERR the ANY argument requires COUNT argument"));
        }
        Ok(())
    }

    /// The places in the area, ordered and counted as asked for.
    fn find<'v>(&self, zset: Option<&'v Zset>) -> Vec<Found<'v>> {
        let (Some(zset), Some(centre), Some((form, unit))) = (zset, self.centre, self.area) else {
            return Vec::new();
        };
        let search = Search { centre, form, unit };
        let count = self.count.unwrap_or(usize::MAX);
        let mut found = candidates(zset, &search, if self.any { count } else { usize::MAX });
        // Some of many are only of use when they are the closest; any are any.
        let closest = (self.count.is_some() && !self.any).then_some(Order::Ascending);
        match self.order.or(closest) {
            Some(Order::Ascending) => found.sort_by(|a, b| a.distance.total_cmp(&b.distance)),
            Some(Order::Descending) => found.sort_by(|a, b| b.distance.total_cmp(&a.distance)),
            None => {}
        }
        found.truncate(count);
        found
    }

    /// Metres in the unit of the area.
    fn unit(&self) -> f64 {
        self.area.map_or(1.0, |(_, unit)| unit)
    }

    fn reply(&self, found: &[Found<'_>], out: &mut Reply<'_>) {
        out.array(found.len());
        let extras = [self.with_distance, self.with_hash, self.with_point].into_iter().filter(|&x| x).count();
        for place in found {
            if extras > 0 {
                out.array(1 + extras);
            }
            out.element(place.member);
            if self.with_distance {
                out.bulk(distance_text(place.distance, self.unit()).as_ref());
            }
            if self.with_hash {
                out.int(place.score as i64);
            }
            if self.with_point {
                reply_point(out, place.point);
            }
        }
    }

    /// The set to store.
    fn collect(&self, found: &[Found<'_>], limits: &Limits) -> Zset {
        let mut text = itoa::Buffer::new();
        let longest = found.iter().map(|place| place.member.as_bytes(&mut text).len()).max().unwrap_or(0);
        let mut zset = Zset::with_hint(found.len(), longest, limits);
        for place in found {
            let score = if self.store_distance { place.distance / self.unit() } else { place.score };
            // A search around the globe may find a place twice. No score here can be NaN.
            let _ = zset.add(place.member.as_bytes(&mut text), score, AddFlags::default(), limits);
        }
        zset
    }
}

/// Reads one size of a box.
fn size(args: &mut Args<'_>, error: &'static str) -> Result<f64> {
    number::parse_f64(args.next()?).ok_or(Error::new(error))
}

/// Reads a radius and its unit.
fn radius(args: &mut Args<'_>) -> Result<(Form, f64)> {
    let radius = size(args, "ERR need numeric radius")?;
    if radius < 0.0 {
        return Err(Error::new("ERR radius cannot be negative"));
    }
    Ok((Form::Circle { radius }, unit(args)?))
}

/// Where a member is.
fn place(zset: &Zset, member: &[u8]) -> Result<Point> {
    let error = Error::new("ERR could not decode requested zset member");
    zset.score(member).map(Point::from_score).ok_or(error)
}

/// Up to `limit` of the places in an area, as they come.
fn candidates<'v>(zset: &'v Zset, search: &Search, limit: usize) -> Vec<Found<'v>> {
    let mut found = Vec::new();
    for (min, max) in search.ranges() {
        let range = ScoreRange { min, min_open: false, max, max_open: true };
        for (member, score) in zset.range(zset.ranks_by_score(&range)) {
            if found.len() >= limit {
                return found;
            }
            if let Some((point, distance)) = search.contains(score) {
                found.push(Found { member, score, point, distance });
            }
        }
    }
    found
}

fn search(
    ctx: &mut Ctx<'_>,
    args: &mut Args<'_>,
    command: Kind,
    to: Option<&[u8]>,
    out: &mut Reply<'_>,
) -> Result {
    let key = ctx.key(args.next()?);
    ctx.read::<Zset>(&key)?;
    let zset = match ctx.seen(&key) {
        Some(View::Value(value)) => Zset::of(value),
        _ => None,
    };
    let query = Query::parse(command, zset, args)?;
    query.check(args.argv().first().copied().unwrap_or_default())?;
    let found = query.find(zset);
    let Some(to) = to.or(query.store) else {
        query.reply(&found, out);
        return Ok(());
    };
    let (places, result) = (found.len(), query.collect(&found, &ctx.limits()));
    let event = if command == Kind::SearchStore { "geosearchstore" } else { "georadiusstore" };
    out.len(places);
    store(ctx, &ctx.key(to), result, places as u64, event);
    Ok(())
}

fn georadius(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    search(ctx, args, Kind::Radius { by_member: false, read_only: false }, None, out)
}

fn georadius_ro(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    search(ctx, args, Kind::Radius { by_member: false, read_only: true }, None, out)
}

fn georadiusbymember(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    search(ctx, args, Kind::Radius { by_member: true, read_only: false }, None, out)
}

fn georadiusbymember_ro(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    search(ctx, args, Kind::Radius { by_member: true, read_only: true }, None, out)
}

fn geosearch(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    search(ctx, args, Kind::Search, None, out)
}

fn geosearchstore(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let to = args.next()?;
    search(ctx, args, Kind::SearchStore, Some(to), out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_a_key() {
        let found = |text: &str| {
            let argv: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
            let mut keys = Vec::new();
            radius_keys(&argv, &mut keys).unwrap();
            keys.iter().map(|k| k.index).collect::<Vec<_>>()
        };
        assert_eq!(found("GEORADIUS k 1 1 1 km ASC"), [1]);
        assert_eq!(found("GEORADIUS k 1 1 1 km STORE a"), [1, 7]);
        assert_eq!(found("GEORADIUS k 1 1 1 km store a ASC STOREDIST b"), [1, 7, 10]);
        assert_eq!(found("GEORADIUS k 1 1 1 km STORE STORE a"), [1, 7]);
        assert_eq!(found("GEORADIUS k 1 1 1 km STORE"), [1]);
        assert_eq!(found("GEORADIUSBYMEMBER k m 1 km STORE a"), [1, 6]);
    }
}
