//! What does the keyspace table cost, in time and in bytes, beside the standard library's map?
//!
//! `cargo bench --profile fast --bench structures`; `-- --quick` for a first look.

#![allow(missing_docs)] // criterion_group makes public functions
#![allow(clippy::expect_used)]

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use peregrine::ALLOCATOR;
use peregrine::ds::entry::{Entry, View};
use peregrine::ds::table::Table;
use peregrine::util::hash::Seed;
use std::collections::HashMap;
use std::hint::black_box;

type Keys = Table<Entry<Box<u64>>>;
type Map = HashMap<Box<[u8]>, Box<[u8]>>;

const VALUE: [u8; 32] = [b'v'; 32];
/// Keys handled as one batch, as a pipeline would.
const BATCH: usize = 32;

/// The `i`th key, of 16 bytes.
fn key(i: u64) -> [u8; 16] {
    let mut key = *b"key:000000000000";
    let mut rest = i;
    for digit in key[4..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    key
}

/// The numbers below `n`, in an order that has nothing to do with that of allocation.
fn shuffled(n: u64) -> Vec<u64> {
    let mut numbers: Vec<u64> = (0..n).collect();
    numbers.sort_unstable_by_key(|i| (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    numbers
}

fn put(table: &mut Keys, i: u64) {
    let hash = table.hash(&key(i));
    table.insert(hash, Entry::new_str(&key(i), &VALUE, None), false);
}

fn table(n: u64) -> Keys {
    let mut table = Table::new(Seed::fixed());
    (0..n).for_each(|i| put(&mut table, i));
    table
}

fn map(n: u64) -> Map {
    (0..n).map(|i| (Box::from(key(i)), Box::from(VALUE))).collect()
}

fn bytes(_: &mut Criterion) {
    println!("\n{:>9} {:>16} {:>16} {:>16}", "items", "table B/item", "all B/item", "std map B/item");
    for n in [100, 1000, 10_000, 30_000, 100_000, 300_000, 1_000_000] {
        let before = ALLOCATOR.used();
        let ours = table(n);
        let middle = ALLOCATOR.used();
        let std = map(n);
        let after = ALLOCATOR.used();
        let each = |bytes: usize| bytes as f64 / n as f64;
        println!(
            "{n:>9} {:>16.2} {:>16.2} {:>16.2}",
            each(ours.memory()),
            each(middle - before),
            each(after - middle)
        );
        drop((ours, std));
    }
    let (mut keys, mut sum, mut points, mut next) = (Keys::new(Seed::fixed()), 0.0, 0, 1000.0);
    for i in 0..1_000_000 {
        put(&mut keys, i);
        if i as f64 >= next {
            (sum, points, next) = (sum + keys.memory() as f64 / (i + 1) as f64, points + 1, next * 1.01);
        }
    }
    println!("table bytes per item, mean over all sizes from 1k to 1M: {:.2}\n", sum / f64::from(points));
}

fn reads(c: &mut Criterion) {
    for n in [1000u64, 1_000_000] {
        let order = shuffled(n);
        let (ours, std) = (table(n), map(n));
        let mut group = c.benchmark_group("get");
        group.throughput(Throughput::Elements(BATCH as u64));
        let mut batches = order.chunks_exact(BATCH).cycle();
        let mut next = move || batches.next().expect("endless");
        group.bench_function(BenchmarkId::new("table", n), |b| {
            b.iter(|| {
                for i in next() {
                    let key = key(*i);
                    let found = ours.get(ours.hash(&key), &key).expect("present");
                    let View::Str(value) = found.view() else { unreachable!() };
                    black_box(value[0]);
                }
            });
        });
        let mut batches = order.chunks_exact(BATCH).cycle();
        let mut next = move || batches.next().expect("endless");
        group.bench_function(BenchmarkId::new("table, prefetched", n), |b| {
            b.iter(|| {
                let keys: [[u8; 16]; BATCH] = std::array::from_fn(|_| [0; 16]);
                let mut keys = keys;
                let mut hashes = [0; BATCH];
                for ((i, key_), hash) in next().iter().zip(&mut keys).zip(&mut hashes) {
                    *key_ = key(*i);
                    *hash = ours.hash(key_);
                    ours.prefetch(*hash);
                }
                hashes.iter().for_each(|hash| ours.prefetch_item(*hash));
                for (key, hash) in keys.iter().zip(hashes) {
                    let found = ours.get(hash, key).expect("present");
                    let View::Str(value) = found.view() else { unreachable!() };
                    black_box(value[0]);
                }
            });
        });
        let mut batches = order.chunks_exact(BATCH).cycle();
        let mut next = move || batches.next().expect("endless");
        group.bench_function(BenchmarkId::new("table, absent", n), |b| {
            b.iter(|| {
                for i in next() {
                    let key = key(*i + n);
                    black_box(ours.get(ours.hash(&key), &key).is_none());
                }
            });
        });
        let mut batches = order.chunks_exact(BATCH).cycle();
        let mut next = move || batches.next().expect("endless");
        group.bench_function(BenchmarkId::new("std", n), |b| {
            b.iter(|| {
                for i in next() {
                    black_box(std.get(&key(*i)[..]).expect("present")[0]);
                }
            });
        });
    }
}

fn writes(c: &mut Criterion) {
    for n in [1000u64, 1_000_000] {
        let order = shuffled(n);
        let mut group = c.benchmark_group("fill, then remove all");
        group.sample_size(10).throughput(Throughput::Elements(n));
        group.bench_function(BenchmarkId::new("table", n), |b| {
            b.iter_batched(
                || Keys::new(Seed::fixed()),
                |mut keys| {
                    order.iter().for_each(|i| put(&mut keys, *i));
                    for i in &order {
                        let hash = keys.hash(&key(*i));
                        black_box(keys.remove(hash, &key(*i)));
                    }
                    keys
                },
                BatchSize::PerIteration,
            );
        });
        group.bench_function(BenchmarkId::new("std", n), |b| {
            b.iter_batched(
                Map::new,
                |mut map| {
                    for i in &order {
                        map.insert(Box::from(key(*i)), Box::from(VALUE));
                    }
                    for i in &order {
                        black_box(map.remove(&key(*i)[..]));
                    }
                    map
                },
                BatchSize::PerIteration,
            );
        });
        group.finish();
        let mut group = c.benchmark_group("fill");
        group.sample_size(10).throughput(Throughput::Elements(n));
        group.bench_function(BenchmarkId::new("table", n), |b| {
            b.iter_batched(
                || Keys::new(Seed::fixed()),
                |mut keys| {
                    order.iter().for_each(|i| put(&mut keys, *i));
                    keys
                },
                BatchSize::PerIteration,
            );
        });
        group.bench_function(BenchmarkId::new("std", n), |b| {
            b.iter_batched(
                Map::new,
                |mut map| {
                    for i in &order {
                        map.insert(Box::from(key(*i)), Box::from(VALUE));
                    }
                    map
                },
                BatchSize::PerIteration,
            );
        });
    }
}

fn walks(c: &mut Criterion) {
    let n = 1_000_000;
    let mut ours = table(n);
    let mut group = c.benchmark_group("walk");
    group.sample_size(10).throughput(Throughput::Elements(n));
    group.bench_function("scan", |b| {
        b.iter(|| {
            let (mut cursor, mut total) = (0, 0);
            loop {
                cursor = ours.scan(cursor, &mut |item| total += item.key().len());
                if cursor == 0 {
                    break black_box(total);
                }
            }
        });
    });
    group.bench_function("iter", |b| {
        b.iter(|| black_box(ours.iter().map(|item| item.key().len()).sum::<usize>()))
    });
    group.bench_function("scan_marked, no marks", |b| {
        b.iter(|| {
            let mut cursor = 0;
            loop {
                cursor = ours.scan_marked(cursor, 64, &mut |_| unreachable!());
                if cursor == 0 {
                    break;
                }
            }
        });
    });
}

criterion_group!(benches, bytes, reads, writes, walks);
criterion_main!(benches);
