//! What does a sorted set of a million members cost, in bytes and in time?

use peregrine::ds::ranktree::RankTree;

const MEMBERS: u64 = 1_000_000;
/// Members are drawn from this many.
const SPACE: u64 = 2 * MEMBERS;

/// The `i`th member, of 16 bytes; the order of members has nothing to do with that of numbers.
fn member(i: u64) -> [u8; 16] {
    let mut text = *b"element:00000000";
    let mut rest = i;
    for byte in text[8..].iter_mut().rev() {
        *byte = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    text
}

/// A cheap sequence of numbers without a pattern.
fn shuffle(i: u64) -> u64 {
    let x = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 20
}

/// Resident bytes of this process.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).map_or(0, |n: usize| n * 4096)
}

/// Processor time of this thread in nanoseconds: other load on the machine does not count.
fn cpu() -> u64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    (t.tv_sec * 1_000_000_000 + t.tv_nsec) as u64
}

fn measure<T>(what: &str, times: u64, mut f: impl FnMut(u64) -> T) {
    let started = cpu();
    for i in 0..times {
        std::hint::black_box(f(i));
    }
    println!("{what:<28} {:>7.0} ns", (cpu() - started) as f64 / times as f64);
}

fn main() {
    let before = resident();
    let mut tree = RankTree::new();
    measure("build", MEMBERS, |i| tree.insert(&member(shuffle(i) % SPACE), shuffle(i + 1) as f64));
    while (tree.len() as u64) < MEMBERS {
        let i = tree.len() as u64 + SPACE;
        tree.insert(&member(i), shuffle(i) as f64);
    }
    println!(
        "{} members: {:.1} bytes each counted, {:.1} resident",
        tree.len(),
        tree.memory() as f64 / tree.len() as f64,
        (resident() - before) as f64 / tree.len() as f64,
    );
    measure("nothing but the numbers", 500_000, |i| (member(shuffle(i) % SPACE), shuffle(i ^ 5)));
    measure("insert or new score", 500_000, |i| {
        tree.insert(&member(shuffle(i << 20) % SPACE), shuffle(i ^ 5) as f64)
    });
    measure("score", 500_000, |i| tree.score(&member(shuffle(i) % SPACE)));
    measure("rank", 500_000, |i| tree.rank(&member(shuffle(i) % SPACE)));
    measure("range by score, 10 items", 500_000, |i| {
        let start = tree.rank_by_score(|x| x < shuffle(i) as f64);
        tree.range(start, start + 10).map(|(m, _)| m.len()).sum::<usize>()
    });
    measure("remove", 500_000, |i| tree.remove(&member(shuffle(i) % SPACE)));
}
