//! What do sequences of commands do to a server? No reply may be malformed or missing, no value unsound, no memory lost.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use peregrine_fuzz::machine::Machine;
use peregrine_fuzz::{mutate, requests};

thread_local! {
    static MACHINE: RefCell<Machine> = RefCell::new(Machine::new());
}

fuzz_target!(|data: &[u8]| {
    MACHINE.with_borrow_mut(|machine| machine.play(&requests::read(data)));
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutate::commands(data, size, max_size, seed, fuzzer_mutate)
});
