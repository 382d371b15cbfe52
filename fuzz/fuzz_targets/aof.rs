//! What does a damaged append-only file do to its reader? The good part ends where a second look finds it whole, and
//! what can be read of it can be run.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use peregrine::persist::aof::scan::{self, End, Record};
use peregrine::persist::rdb::source::Source;
use peregrine_fuzz::machine::Machine;

thread_local! {
    static MACHINE: RefCell<Machine> = RefCell::new(Machine::new());
}

fuzz_target!(|data: &[u8]| {
    let look =
        |mut bytes: &[u8]| scan::commands(&mut Source::new(&mut bytes), None).expect("memory can be read");
    let found = look(data);
    assert!(found.good <= found.read && found.read <= data.len() as u64, "{found:?}");
    let good = &data[..found.good as usize];
    let again = look(good);
    assert_eq!((again.end, again.good), (End::Whole, found.good), "{found:?}");
    let damage = scan::goes_on(&found, &mut &data[..]).expect("memory can be read");
    assert!(damage.is_none_or(|at| at >= found.good && at < data.len() as u64));

    let (mut input, mut commands) = (good, Vec::new());
    let mut source = Source::new(&mut input);
    while let Ok(record) = scan::record(&mut source) {
        if let Record::Command(argv) = record {
            commands.push(argv);
        }
    }
    MACHINE.with_borrow_mut(|machine| machine.replay(&commands));
});
