//! What does this server look like? LOLWUT: a little art, and the version.

use crate::commands::prelude::*;
use crate::config::REDIS_VERSION;

/// The family's rows.
pub const COMMANDS: &[Command] = &[Command::new("lolwut", lolwut).arity(-1).flags(READONLY | FAST).doc(
    "server",
    "5.0.0",
    "",
    "Shows the version, and a little art.",
    "[VERSION version:int]",
)];

/// A falcon that dives.
const FALCON: &str =
    "          __\n       .-'  '.___\n  ____/  o     __>\n  '--._      .'\n   __.-'    /\n  '----.___/\n";

/// LOLWUT [VERSION n] [parameters]: version 5 draws rotated squares, 6 a skyline, any other the falcon.
fn lolwut(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let version = if args.left() > 1 && args.word("version") { Some(args.int()?) } else { None };
    let sizes = match version {
        Some(5) => 3,
        Some(6) => 2,
        _ => 0,
    };
    let numbers: Vec<i64> = (0..args.left().min(sizes)).map(|_| args.int()).collect::<Result<_>>()?;
    let number = |at: usize, usual: i64, least: i64, most: i64| {
        numbers.get(at).copied().unwrap_or(usual).clamp(least, most) as usize
    };
    let mut chance = || ctx.worker.rng.next_u64();
    let art = match version {
        Some(5) => squares(number(0, 66, 1, 1000), number(1, 8, 1, 200), number(2, 12, 1, 200), &mut chance),
        Some(6) => skyline(number(0, 80, 1, 1000), number(1, 20, 1, 1000), &mut chance),
        _ => FALCON.to_owned(),
    };
    out.verbatim("txt", format!("{art}\nRedis ver. {REDIS_VERSION} (Peregrine)\n").as_bytes());
    Ok(())
}

/// Rows of squares in braille dots that lose their order on the way down, after Georg Nees, "Schotter" (1968).
fn squares(columns: usize, per_row: usize, per_column: usize, chance: &mut dyn FnMut() -> u64) -> String {
    let width = columns * 2;
    let side = (width as f64 / per_row as f64).max(2.0);
    let height = ((side * per_column as f64) as usize + 4).div_ceil(4) * 4;
    let mut dots = vec![false; width * height];
    for row in 0..per_column {
        for column in 0..per_row {
            let disorder = row as f64 / per_column as f64;
            let mut part = || ((chance() % 2001) as f64 / 1000.0 - 1.0) * disorder;
            let (angle, dx, dy) = (part() * 0.7, part() * side / 3.0, part() * side / 3.0);
            let centre = ((column as f64 + 0.5) * side + dx, (row as f64 + 0.5) * side + dy + 1.0);
            square(centre, side * 0.4, angle, &mut |x, y| {
                if x < width && y < height {
                    dots[y * width + x] = true;
                }
            });
        }
    }
    let mut text = String::new();
    for y in (0..height).step_by(4) {
        for x in (0..width).step_by(2) {
            /// Where the bits of a braille character are.
            const DOTS: [(usize, usize); 8] =
                [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3)];
            let on = |(dx, dy): (usize, usize)| dots[(y + dy) * width + x + dx];
            let bits = (0..8).filter(|&bit| on(DOTS[bit])).fold(0, |bits, bit| bits | 1 << bit);
            text.push(char::from_u32(0x2800 + bits).unwrap_or(' '));
        }
        text.push('\n');
    }
    text
}

/// Calls `set` for the points of a square's outline, given half its side.
fn square(centre: (f64, f64), half: f64, angle: f64, set: &mut dyn FnMut(usize, usize)) {
    let (sin, cos) = angle.sin_cos();
    let steps = (half * 4.0) as usize + 1;
    for step in 0..=steps {
        let along = (step as f64 / steps as f64 * 2.0 - 1.0) * half;
        for (x, y) in [(along, -half), (along, half), (-half, along), (half, along)] {
            let (x, y) = (centre.0 + x * cos - y * sin, centre.1 + x * sin + y * cos);
            if x >= 0.0 && y >= 0.0 {
                set(x as usize, y as usize);
            }
        }
    }
}

/// Houses at night, some of their windows lit.
fn skyline(columns: usize, rows: usize, chance: &mut dyn FnMut() -> u64) -> String {
    let mut picture = vec![vec!['.'; columns]; rows];
    let mut x = 0;
    while x < columns {
        let (wide, high) = (3 + chance() as usize % 8, chance() as usize % rows.max(2));
        for row in picture.iter_mut().skip(rows - high.min(rows)) {
            for (at, cell) in row.iter_mut().enumerate().skip(x).take(wide) {
                *cell = if (at - x) % 2 == 1 && chance().is_multiple_of(3) { '#' } else { ' ' };
            }
        }
        x += wide + chance() as usize % 2;
    }
    picture.into_iter().flat_map(|row| row.into_iter().chain(['\n'])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_have_the_size_that_was_asked_for() {
        let mut n = 0u64;
        let mut chance = || {
            n = n.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            n >> 33
        };
        let text = squares(10, 2, 3, &mut chance);
        assert!(text.lines().all(|line| line.chars().count() == 10) && text.lines().count() > 5);
        let text = skyline(30, 7, &mut chance);
        assert_eq!((text.lines().count(), text.lines().next().map(str::len)), (7, Some(30)));
        squares(1, 1, 1, &mut chance);
        skyline(1, 1, &mut chance);
    }
}
