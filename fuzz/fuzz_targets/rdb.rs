//! What does a damaged snapshot file do to its reader? It is refused, and takes no more memory than its bytes are worth.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use peregrine::persist::rdb::Bad;
use peregrine::persist::rdb::decode::Making;
use peregrine::persist::rdb::file::{self, Receiver, Record};
use peregrine::persist::rdb::source::Source;
use peregrine::util::hash::Seed;
use peregrine::value::Limits;
use peregrine_fuzz::{mutate, seeds};

/// What a byte of a file may become in memory: a compressed run grows most.
const GROWTH: usize = 600;
const SLACK: usize = 4 << 20;

/// Keeps everything.
#[derive(Default)]
struct Kept {
    records: Vec<Record>,
    functions: Vec<Vec<u8>>,
}

impl Receiver for Kept {
    fn aux(&mut self, _: &[u8], _: &[u8]) {}
    fn function(&mut self, source: Vec<u8>) -> Result<(), Bad> {
        self.functions.push(source);
        Ok(())
    }
    fn record(&mut self, record: Record) -> Result<(), Bad> {
        self.records.push(record);
        Ok(())
    }
    fn skipped_empty(&mut self, _: &[u8]) {}
}

fuzz_target!(|data: &[u8]| {
    let bytes = seeds::binary(data);
    let before = peregrine::ALLOCATOR.used();
    let (mut input, mut kept) = (&bytes[..], Kept::default());
    let making = Making { limits: Limits::default(), seed: Seed::new([1, 2]) };
    let mut source = Source::new(&mut input);
    // It does not matter what is wrong; a panic would.
    let _ = file::read(&mut source, &making, false, &mut kept);
    assert!(source.offset() <= bytes.len() as u64);
    let took = peregrine::ALLOCATOR.used().saturating_sub(before);
    assert!(took <= bytes.len() * GROWTH + SLACK, "{took} bytes for a file of {}", bytes.len());
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, _seed: u32| {
    mutate::unquoted(data, size, max_size, fuzzer_mutate)
});
