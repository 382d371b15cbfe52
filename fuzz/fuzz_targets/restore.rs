//! What does a forged payload of RESTORE do? It is refused, or it makes a sound value that commands can work on.
//!
//! The input is the payload without its footer, which is made here: nobody guesses checksums.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use peregrine::client::Session;
use peregrine::persist::rdb::encode;
use peregrine_fuzz::machine::Machine;
use peregrine_fuzz::{mutate, seeds};

/// Of the payloads that are tried.
const VERSION: u16 = 12;

/// What is done to the value: those of another type are refused, and harmless.
const TOUCHES: &[&str] = &[
    "APPEND k x",
    "SETRANGE k 3 y",
    "INCR k",
    "BITCOUNT k",
    "PFCOUNT k",
    "PFADD k z",
    "PFMERGE other k",
    "LPUSH k new",
    "LINSERT k BEFORE a b",
    "LSET k -1 c",
    "LREM k 0 a",
    "RPOP k 2",
    "LPOP k",
    "SADD k new 7",
    "SREM k a 1",
    "SPOP k",
    "SINTERSTORE other k k",
    "HSET k new 1",
    "HINCRBY k new 5",
    "HPEXPIRE k 100000 FIELDS 2 new a",
    "HDEL k a",
    "HRANDFIELD k -3 WITHVALUES",
    "HGETALL k",
    "ZADD k 5 new",
    "ZINCRBY k 1 a",
    "ZRANGEBYSCORE k -inf 3",
    "ZREM k a",
    "ZPOPMIN k",
    "ZRANGEBYLEX k - +",
    "XADD k * f v",
    "XGROUP CREATE k fresh 0 MKSTREAM",
    "XREADGROUP GROUP fresh c COUNT 2 STREAMS k >",
    "XAUTOCLAIM k fresh d 0 0",
    "XPENDING k fresh - + 10",
    "XINFO STREAM k FULL",
    "XTRIM k MAXLEN 2",
    "XDEL k 1-1",
    "OBJECT ENCODING k",
    "COPY k copy",
];

thread_local! {
    static MACHINE: RefCell<Machine> = RefCell::new(Machine::new());
}

fn send(machine: &mut Machine, boss: &mut Session, words: &[&[u8]]) -> bool {
    let words: Vec<Vec<u8>> = words.iter().map(|word| word.to_vec()).collect();
    machine.run(boss, &words).first().is_some_and(|reply| !reply.is_error())
}

fuzz_target!(|data: &[u8]| {
    let sealed = encode::seal(seeds::binary(data), VERSION);
    MACHINE.with_borrow_mut(|machine| {
        machine.begin();
        let mut boss = machine.boss();
        send(machine, &mut boss, &[b"FUNCTION", b"RESTORE", &sealed]);
        if send(machine, &mut boss, &[b"RESTORE", b"k", b"0", &sealed]) {
            machine.look();
            for line in TOUCHES {
                machine.ask(&mut boss, line.split(' '));
            }
            machine.look();
        }
        machine.leave(boss);
        machine.end();
    });
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, _seed: u32| {
    mutate::unquoted(data, size, max_size, fuzzer_mutate)
});
