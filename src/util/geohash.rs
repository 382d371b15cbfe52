//! How do coordinates become sortable integers? The 52-bit geohash behind the GEO commands.
//!
//! ```text
//! bit    51  50  49  48       1   0
//!       lon lat lon lat ... lon lat      26 bits each, most significant first; a double holds them exactly
//! ```
//!
//! Longitude covers -180 to 180 and latitude -85.05112878 to 85.05112878 (EPSG:900913). A prefix of the
//! bits is a rectangle, and all points in it are one range of scores; a search covers its area by nine
//! such rectangles, the one around its centre and its neighbours.
//!
//! Invariant: every floating-point expression has the order of operations of Redis, because what lies
//! on the border, and the last printed digit of a distance, depend on it.

use smallvec::SmallVec;

/// Least and greatest longitude, degrees.
pub const LONGITUDE: (f64, f64) = (-180.0, 180.0);
/// Least and greatest latitude, degrees.
pub const LATITUDE: (f64, f64) = (-85.05112878, 85.05112878);

/// Bits of each coordinate in a score.
const MAX_STEP: u32 = 26;
/// Mean radius of the Earth that Redis uses, metres.
const EARTH_RADIUS: f64 = 6372797.560856;
/// Half of the Earth's circumference in the Mercator projection, metres.
const MERCATOR_MAX: f64 = 20037726.37;
const RADIANS_PER_DEGREE: f64 = std::f64::consts::PI / 180.0;

fn radians(degrees: f64) -> f64 {
    degrees * RADIANS_PER_DEGREE
}

fn degrees(radians: f64) -> f64 {
    radians / RADIANS_PER_DEGREE
}

/// A point on the globe, degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// East is positive.
    pub longitude: f64,
    /// North is positive.
    pub latitude: f64,
}

impl Point {
    /// A point, when both coordinates are in the range GEO accepts.
    pub fn new(longitude: f64, latitude: f64) -> Option<Point> {
        let inside = |(min, max): (f64, f64), value| (min..=max).contains(&value);
        (inside(LONGITUDE, longitude) && inside(LATITUDE, latitude)).then_some(Point { longitude, latitude })
    }

    /// The score of this point in a sorted set.
    pub fn score(self) -> f64 {
        Cell::around(self, MAX_STEP, LATITUDE).bits() as f64
    }

    /// The point a score stands for: the middle of its cell.
    pub fn from_score(score: f64) -> Point {
        let area = Cell::from_bits(score_bits(score), MAX_STEP).area();
        Point {
            longitude: ((area.west + area.east) / 2.0).clamp(LONGITUDE.0, LONGITUDE.1),
            latitude: ((area.south + area.north) / 2.0).clamp(LATITUDE.0, LATITUDE.1),
        }
    }

    /// The standard 11-character geohash (latitude -90 to 90). The last character would need 55 bits
    /// and is always `0`.
    pub fn geohash(self) -> [u8; 11] {
        const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
        let bits = Cell::around(self, MAX_STEP, (-90.0, 90.0)).bits();
        std::array::from_fn(|at| match at {
            10 => b'0',
            _ => ALPHABET[(bits >> (52 - (at + 1) * 5) & 31) as usize],
        })
    }

    /// Great-circle distance in metres, by the haversine formula.
    pub fn distance(self, other: Point) -> f64 {
        let v = ((radians(other.longitude) - radians(self.longitude)) / 2.0).sin();
        if v == 0.0 {
            return latitude_distance(self.latitude, other.latitude);
        }
        let (from, to) = (radians(self.latitude), radians(other.latitude));
        let u = ((to - from) / 2.0).sin();
        let a = u * u + from.cos() * to.cos() * v * v;
        2.0 * EARTH_RADIUS * a.sqrt().asin()
    }
}

/// Distance along a meridian, metres.
fn latitude_distance(from: f64, to: f64) -> f64 {
    EARTH_RADIUS * (radians(to) - radians(from)).abs()
}

/// The bits of any score, even one that no point has, as x86-64 converts a double to 64 bits.
fn score_bits(score: f64) -> u64 {
    const TOP: f64 = (1u64 << 63) as f64;
    let convert = |value: f64| if (-TOP..TOP).contains(&value) { value as i64 } else { i64::MIN } as u64;
    if score >= TOP { convert(score - TOP) ^ 1 << 63 } else { convert(score) }
}

/// The unit of a distance argument: metres in one of it.
pub fn unit_metres(name: &[u8]) -> Option<f64> {
    [("m", 1.0), ("km", 1000.0), ("ft", 0.3048), ("mi", 1609.34)]
        .into_iter()
        .find(|(unit, _)| name.eq_ignore_ascii_case(unit.as_bytes()))
        .map(|(_, metres)| metres)
}

/// A rectangle of the grid that halves the globe `step` times each way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    latitude: u32,
    longitude: u32,
    step: u32,
}

/// Borders in degrees.
struct Area {
    west: f64,
    east: f64,
    south: f64,
    north: f64,
}

impl Cell {
    fn around(point: Point, step: u32, latitudes: (f64, f64)) -> Cell {
        let cells = (1u64 << step) as f64;
        let index = |(min, max): (f64, f64), value: f64| ((value - min) / (max - min) * cells) as u32;
        Cell {
            latitude: index(latitudes, point.latitude),
            longitude: index(LONGITUDE, point.longitude),
            step,
        }
    }

    fn from_bits(bits: u64, step: u32) -> Cell {
        Cell { latitude: every_second_bit(bits), longitude: every_second_bit(bits >> 1), step }
    }

    fn bits(self) -> u64 {
        spread(self.latitude) | spread(self.longitude) << 1
    }

    fn area(self) -> Area {
        let cells = (1u64 << self.step) as f64;
        let border = |(min, max): (f64, f64), index: u32| min + (f64::from(index) / cells) * (max - min);
        Area {
            west: border(LONGITUDE, self.longitude),
            east: border(LONGITUDE, self.longitude.wrapping_add(1)),
            south: border(LATITUDE, self.latitude),
            north: border(LATITUDE, self.latitude.wrapping_add(1)),
        }
    }

    /// The cell so many steps east and north, around the globe.
    fn neighbour(self, east: i32, north: i32) -> Cell {
        let mask = (1 << self.step) - 1;
        // A coordinate on the upper border has one bit more than the mask; it is kept when not moved.
        let shift = |index: u32, by: i32| if by == 0 { index } else { index.wrapping_add_signed(by) & mask };
        Cell { longitude: shift(self.longitude, east), latitude: shift(self.latitude, north), ..self }
    }

    /// The scores in it: from the first up to but without the second.
    fn scores(self) -> (f64, f64) {
        let (bits, shift) = (self.bits(), 52 - self.step * 2);
        ((bits << shift) as f64, ((bits + 1) << shift) as f64)
    }
}

/// Puts bit `i` at position `2i`.
fn spread(value: u32) -> u64 {
    let mut bits = u64::from(value);
    for (shift, mask) in [
        (16, 0x0000_ffff_0000_ffff),
        (8, 0x00ff_00ff_00ff_00ff),
        (4, 0x0f0f_0f0f_0f0f_0f0f),
        (2, 0x3333_3333_3333_3333),
        (1, 0x5555_5555_5555_5555),
    ] {
        bits = (bits | bits << shift) & mask;
    }
    bits
}

/// Takes bit `2i` to position `i`.
fn every_second_bit(bits: u64) -> u32 {
    let mut bits = bits & 0x5555_5555_5555_5555;
    for (shift, mask) in [
        (1, 0x3333_3333_3333_3333),
        (2, 0x0f0f_0f0f_0f0f_0f0f),
        (4, 0x00ff_00ff_00ff_00ff),
        (8, 0x0000_ffff_0000_ffff),
        (16, 0x0000_0000_ffff_ffff),
    ] {
        bits = (bits | bits >> shift) & mask;
    }
    bits as u32
}

/// The form of a search area; sizes in the client's unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Form {
    /// All points no farther than this.
    Circle {
        /// Not negative.
        radius: f64,
    },
    /// All points within half the height and half the width.
    Box {
        /// West to east, not negative.
        width: f64,
        /// South to north, not negative.
        height: f64,
    },
}

/// An area to search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Search {
    /// Its middle.
    pub centre: Point,
    /// Its form and size.
    pub form: Form,
    /// Metres in one unit of the size, see [`unit_metres`].
    pub unit: f64,
}

impl Search {
    /// Whether the point of a score is in the area: the point and its distance from the centre in
    /// metres.
    pub fn contains(&self, score: f64) -> Option<(Point, f64)> {
        let point = Point::from_score(score);
        if let Form::Box { width, height } = self.form {
            let (width, height) = (width * self.unit, height * self.unit);
            let centre = self.centre;
            let same_latitude = Point { longitude: centre.longitude, latitude: point.latitude };
            if latitude_distance(point.latitude, centre.latitude) > height / 2.0
                || point.distance(same_latitude) > width / 2.0
            {
                return None;
            }
            return Some((point, centre.distance(point)));
        }
        let Form::Circle { radius } = self.form else { return None };
        let distance = self.centre.distance(point);
        (distance <= radius * self.unit).then_some((point, distance))
    }

    /// The score ranges (first inclusive, second exclusive) to look through, in Redis's order: the
    /// centre, north, south, east, west, then the corners. A candidate is a result when
    /// [`Search::contains`] says so. As in Redis, of ranges that wrap around the globe only direct
    /// repetitions are left out.
    pub fn ranges(&self) -> SmallVec<[(f64, f64); 9]> {
        let bounds = self.bounding_box();
        let mut step = self.estimate_step();
        let mut centre = Cell::around(self.centre, step, LATITUDE);
        // Near the border of a cell the neighbours may be too small to reach as far as the area does.
        // (An infinite radius gives NaN bounds, which fall short of nothing.)
        let falls_short = |cell: Cell| {
            cell.neighbour(0, 1).area().north < bounds.north
                || cell.neighbour(0, -1).area().south > bounds.south
                || cell.neighbour(1, 0).area().east < bounds.east
                || cell.neighbour(-1, 0).area().west > bounds.west
        };
        if step > 1 && falls_short(centre) {
            step -= 1;
            centre = Cell::around(self.centre, step, LATITUDE);
        }
        let area = centre.area();
        // With fewer steps a neighbour may be needed on both of its sides.
        let prune = step >= 2;
        let useless = |east: i32, north: i32| {
            prune
                && ((north < 0 && area.south < bounds.south)
                    || (north > 0 && area.north > bounds.north)
                    || (east < 0 && area.west < bounds.west)
                    || (east > 0 && area.east > bounds.east))
        };
        const ORDER: [(i32, i32); 9] =
            [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];
        let mut cells: SmallVec<[Cell; 9]> = SmallVec::new();
        for (east, north) in ORDER {
            let cell = centre.neighbour(east, north);
            let repeated = cells.len() > 1 && cells.last() == Some(&cell);
            if !useless(east, north) && !repeated {
                cells.push(cell);
            }
        }
        cells.into_iter().map(Cell::scores).collect()
    }

    /// The box around the area, which is wider away from the equator.
    fn bounding_box(&self) -> Area {
        let (height, width) = match self.form {
            Form::Circle { radius } => (self.unit * radius, self.unit * radius),
            Form::Box { width, height } => (self.unit * (height / 2.0), self.unit * (width / 2.0)),
        };
        let Point { longitude, latitude } = self.centre;
        let tall = degrees(height / EARTH_RADIUS);
        let wide_at = |latitude: f64| degrees(width / EARTH_RADIUS / radians(latitude).cos());
        let wide = if latitude < 0.0 { wide_at(latitude - tall) } else { wide_at(latitude + tall) };
        Area {
            west: longitude - wide,
            east: longitude + wide,
            south: latitude - tall,
            north: latitude + tall,
        }
    }

    /// How fine a grid has cells of about the size of the area.
    fn estimate_step(&self) -> u32 {
        let mut range = self.unit
            * match self.form {
                Form::Circle { radius } => radius,
                Form::Box { width, height } => {
                    ((width / 2.0) * (width / 2.0) + (height / 2.0) * (height / 2.0)).sqrt()
                }
            };
        if range == 0.0 {
            return MAX_STEP;
        }
        let mut step: i32 = 1;
        while range < MERCATOR_MAX {
            range *= 2.0;
            step += 1;
        }
        step -= 2;
        // Meridians come closer towards the poles.
        let latitude = self.centre.latitude.abs();
        step -= i32::from(latitude > 66.0) + i32::from(latitude > 80.0);
        step.clamp(1, MAX_STEP as i32).unsigned_abs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::number::fmt_fixed;
    use proptest::prelude::*;

    fn point(longitude: f64, latitude: f64) -> Point {
        Point::new(longitude, latitude).unwrap()
    }

    #[test]
    fn sicily() {
        let palermo = point(13.361389, 38.115556);
        let catania = point(15.087269, 37.502669);
        assert_eq!(palermo.score(), 3479099956230698.0);
        assert_eq!(catania.score(), 3479447370796909.0);
        let [palermo, catania] = [palermo, catania].map(|p| Point::from_score(p.score()));
        assert_eq!(palermo.geohash(), *b"sqc8b49rny0");
        assert_eq!(catania.geohash(), *b"sqdtr74hyu0");
        assert_eq!((palermo.longitude, palermo.latitude), (13.361389338970184, 38.1155563954963));
        assert_eq!(fmt_fixed(palermo.distance(catania), 4).as_str(), "166274.1516");
        let search = Search { centre: point(15.0, 37.0), form: Form::Circle { radius: 200.0 }, unit: 1000.0 };
        let distance =
            |p: Point| search.contains(p.score()).map(|(_, d)| fmt_fixed(d / 1000.0, 4).to_string());
        assert_eq!(distance(palermo).as_deref(), Some("190.4424"));
        assert_eq!(distance(catania).as_deref(), Some("56.4413"));
        assert_eq!(search.contains(point(20.0, 37.0).score()), None);
    }

    #[test]
    fn limits() {
        assert!(Point::new(180.0, 85.05112878).is_some());
        for (longitude, latitude) in
            [(180.1, 0.0), (0.0, 85.1), (f64::NAN, 0.0), (0.0, f64::NAN), (-181.0, 0.0)]
        {
            assert_eq!(Point::new(longitude, latitude), None);
        }
        // Scores no point has still decode to something on the globe.
        for score in [-1.0, 1e300, f64::INFINITY, f64::NEG_INFINITY, 1e18, 0.5] {
            let point = Point::from_score(score);
            assert!(Point::new(point.longitude, point.latitude).is_some(), "{score}");
        }
        assert_eq!(unit_metres(b"KM"), Some(1000.0));
        assert_eq!(unit_metres(b"yd"), None);
    }

    fn points() -> impl Strategy<Value = Point> {
        (-180.0..180.0, -85.0..85.0).prop_map(|(longitude, latitude)| Point { longitude, latitude })
    }

    proptest! {
        #[test]
        fn scores_read_back(p in points()) {
            let back = Point::from_score(p.score());
            prop_assert!((p.longitude - back.longitude).abs() < 1e-5 && (p.latitude - back.latitude).abs() < 1e-5);
            prop_assert_eq!(back.score(), p.score());
        }

        #[test]
        fn interleaving_reads_back(latitude: u32, longitude: u32) {
            let cell = Cell { latitude, longitude, step: 32 };
            prop_assert_eq!(Cell::from_bits(cell.bits(), 32), cell);
        }

        /// What is in the area is in some range, away from the poles and the date line, where Redis
        /// itself misses points.
        #[test]
        fn ranges_cover_the_area(
            centre in (-90.0..90.0, -60.0..60.0), offset in (-1.0..1.0, -1.0..1.0), size in 1.0..1e6f64, round: bool,
        ) {
            let centre = point(centre.0, centre.1);
            let form = if round { Form::Circle { radius: size } } else { Form::Box { width: size, height: size / 2.0 } };
            let search = Search { centre, form, unit: 1.0 };
            let reach = degrees(size / EARTH_RADIUS);
            let p = point(centre.longitude + offset.0 * reach, centre.latitude + offset.1 * reach);
            if search.contains(p.score()).is_some() {
                let score = p.score();
                prop_assert!(search.ranges().iter().any(|(min, max)| (*min..*max).contains(&score)));
            }
        }
    }
}
