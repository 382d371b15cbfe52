//! What does a sorted set of a million members cost, in bytes and in time?

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use peregrine::ds::ranktree::RankTree;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const MEMBERS: u64 = 1_000_000;

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

fn build() -> RankTree {
    let mut tree = RankTree::new();
    for i in 0..MEMBERS {
        let i = shuffle(i) % (MEMBERS * 4);
        tree.insert(&member(i), shuffle(i) as f64);
    }
    tree
}

fn benches(c: &mut Criterion) {
    let before = resident();
    let started = std::time::Instant::now();
    let mut tree = build();
    let (took, n) = (started.elapsed(), tree.len());
    println!(
        "{n} members: {:.1} bytes each counted, {:.1} resident, built in {:.0} ns each",
        tree.memory() as f64 / n as f64,
        (resident() - before) as f64 / n as f64,
        took.as_nanos() as f64 / MEMBERS as f64,
    );
    let mut group = c.benchmark_group("ranktree of 1M");
    group.throughput(Throughput::Elements(1));
    let mut i = 0;
    let mut next = move || {
        i += 1;
        shuffle(i) % (MEMBERS * 4)
    };
    group.bench_function("update score", |b| {
        b.iter_batched(
            || (member(next()), next() as f64),
            |(m, s)| tree.insert(&m, s),
            BatchSize::NumIterations(100_000),
        )
    });
    group.bench_function("score", |b| {
        b.iter_batched(|| member(next()), |m| tree.score(&m), BatchSize::NumIterations(100_000))
    });
    group.bench_function("rank", |b| {
        b.iter_batched(|| member(next()), |m| tree.rank(&m), BatchSize::NumIterations(100_000))
    });
    group.bench_function("range by score, 10 items", |b| {
        b.iter_batched(
            || next() as f64,
            |s| {
                let start = tree.rank_by_score(|x| x < s);
                tree.range(start, start + 10).map(|(m, _)| m.len()).sum::<usize>()
            },
            BatchSize::NumIterations(100_000),
        )
    });
    group.finish();
}

criterion_group! { name = all; config = Criterion::default().sample_size(10); targets = benches }
criterion_main!(all);
