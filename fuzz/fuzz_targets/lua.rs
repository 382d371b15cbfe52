//! What does hostile Lua do to the interpreter and its libraries? One reply comes, without a line break in an error.
//!
//! ```text
//! #!lua name=...      a library: it is loaded, and each of its functions is called
//! json:TEXT           cjson decodes it; what encodes again decodes to the same text
//! msgpack:BYTES       cmsgpack unpacks them, packs the values, unpacks those
//! struct:FORMAT:BYTES struct unpacks them and packs the values again
//! anything else       a script
//! ```
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use peregrine::script::api::{Host, Tick};
use peregrine::script::cache::{Origin, ScriptCache};
use peregrine::script::convert::ReplySink;
use peregrine::script::engine::{Engine, Settings};
use peregrine::script::library::{FunctionEngine, Libraries};

/// Bytes an interpreter may use.
const MEMORY: usize = 32 << 20;
/// Looks, one each 100,000 instructions, after which a script is stopped.
const PATIENCE: u32 = 2;
/// Inputs after which the interpreters are built anew, so that what one leaves behind can be told from what many do.
const RENEWED: u32 = 2000;

const JSON: &[u8] = b"local ok, v = pcall(cjson.decode, ARGV[1]) if not ok then return v end \
    local fine, text = pcall(cjson.encode, v) if not fine then return text end \
    local again = cjson.encode(cjson.decode(text)) \
    if #again ~= #text then error('SECOND ' .. text .. ' BECAME ' .. again) end return text";
const MSGPACK: &[u8] = b"pcall(cmsgpack.unpack_one, ARGV[1]) pcall(cmsgpack.unpack_limit, ARGV[1], 2, 1) \
    local all = {pcall(cmsgpack.unpack, ARGV[1])} if not all[1] then return all[2] end \
    local packed = cmsgpack.pack(all[2]) \
    if cmsgpack.pack(cmsgpack.unpack(packed)) ~= packed and type(all[2]) ~= 'table' then error('SECOND') end \
    return packed";
const STRUCT: &[u8] =
    b"local got = {pcall(struct.unpack, ARGV[1], ARGV[2])} if not got[1] then return got[2] end \
    pcall(struct.size, ARGV[1]) got[#got] = nil \
    return {pcall(struct.pack, ARGV[1], unpack(got, 2))}";

/// Answers every command with its own arguments, and stops what goes on for too long.
#[derive(Default)]
struct Echo {
    looks: u32,
}

impl Host for Echo {
    fn call(&mut self, argv: &[&[u8]], resp3: bool, reply: &mut Vec<u8>) -> bool {
        let bulk = |text: &[u8]| [format!("${}\r\n", text.len()).as_bytes(), text, b"\r\n"].concat();
        match argv[0] {
            b"nil" if resp3 => reply.extend(b"_\r\n"),
            b"nil" => reply.extend(b"$-1\r\n"),
            b"error" => reply.extend(b"-ERR no\r\n"),
            b"double" if resp3 => reply.extend(b",1.5\r\n"),
            b"map" if resp3 => reply.extend(b"%1\r\n+k\r\n#t\r\n"),
            b"set" if resp3 => reply.extend(b"~2\r\n:1\r\n(12345678901234567890\r\n"),
            b"incr" => reply.extend(b":9007199254740993\r\n"),
            _ => {
                reply.extend(format!("*{}\r\n", argv.len()).bytes());
                argv.iter().for_each(|arg| reply.extend(bulk(arg)));
            }
        }
        argv[0] != b"error"
    }
    fn acl_check(&mut self, argv: &[&[u8]]) -> Option<bool> {
        argv.first().map(|name| name.len() % 2 == 0)
    }
    fn log(&mut self, level: u8, _: &[u8]) {
        assert!(level <= 3);
    }
    fn set_repl(&mut self, flags: u8) {
        assert!(flags <= 3);
    }
    fn tick(&mut self) -> Tick {
        self.looks += 1;
        if self.looks > PATIENCE { Tick::Kill } else { Tick::Continue }
    }
}

/// Counts values, so that there is one; and looks at what may not hold a line break.
struct Count {
    missing: usize,
    error: Option<Vec<u8>>,
}

impl Count {
    fn new() -> Count {
        Count { missing: 1, error: None }
    }
    fn value(&mut self, of: usize) {
        assert!(self.missing > 0, "there is more than one reply");
        self.missing = self.missing - 1 + of;
    }
    fn line(&mut self, text: &[u8]) {
        assert!(!text.contains(&b'\r') && !text.contains(&b'\n'), "{:?}", String::from_utf8_lossy(text));
        self.value(0);
    }
}

impl ReplySink for Count {
    fn integer(&mut self, _: i64) {
        self.value(0);
    }
    fn bulk(&mut self, _: &[u8]) {
        self.value(0);
    }
    fn status(&mut self, text: &[u8]) {
        self.line(text);
    }
    fn error(&mut self, text: &[u8], _: bool) {
        self.line(text);
        self.error = Some(text.to_vec());
    }
    fn array(&mut self, count: usize) {
        self.value(count);
    }
    fn map(&mut self, count: usize) {
        self.value(2 * count);
    }
    fn set(&mut self, count: usize) {
        self.value(count);
    }
    fn double(&mut self, _: f64) {
        self.value(0);
    }
    fn boolean(&mut self, _: bool) {
        self.value(0);
    }
    fn null(&mut self) {
        self.value(0);
    }
    fn big_number(&mut self, digits: &[u8]) {
        self.line(digits);
    }
    fn verbatim(&mut self, _: [u8; 3], _: &[u8]) {
        self.value(0);
    }
}

struct Interpreters {
    engine: Engine,
    cache: ScriptCache,
    functions: FunctionEngine,
    libraries: Libraries,
    inputs: u32,
}

impl Interpreters {
    fn new() -> Interpreters {
        let settings = Settings { memory_limit: MEMORY, ..Settings::default() };
        Interpreters {
            engine: Engine::new(settings),
            cache: ScriptCache::new(),
            functions: FunctionEngine::new(settings),
            libraries: Libraries::new(),
            inputs: 0,
        }
    }

    fn script(&mut self, code: &[u8], args: &[&[u8]]) -> Option<Vec<u8>> {
        let mut sink = Count::new();
        let mut host = Echo::default();
        match self.engine.load(&self.cache, code, Origin::Eval) {
            Ok(script) => self.engine.run(&script, &[b"k1", b"k2"], args, &mut host, &mut sink),
            Err(why) => sink.error(why.as_bytes(), false),
        }
        assert_eq!(sink.missing, 0, "the reply has no end");
        sink.error
    }

    fn library(&mut self, code: &[u8]) {
        let loaded = self.libraries.load(&mut self.functions, code, true, &mut Echo::default());
        match loaded {
            Ok(_) => {
                for library in self.libraries.all() {
                    for index in 0..library.functions.len() {
                        let (mut sink, mut host) = (Count::new(), Echo::default());
                        let found = (library.clone(), index);
                        let arguments: [&[&[u8]]; 2] = [&[b"k1"], &[b"1", b"x"]];
                        self.functions.run(&self.libraries, &found, arguments, &mut host, &mut sink);
                        assert_eq!(sink.missing, 0, "the reply has no end");
                    }
                }
            }
            Err(why) => assert!(!why.contains(['\r', '\n']), "{why:?}"),
        }
        self.libraries.flush();
    }

    /// What is shared by all scripts is as it was.
    fn is_sound(&mut self) {
        let probe = b"if ('x'):rep(3) ~= 'xxx' or math.floor(1.5) ~= 1 or #{unpack({1, 2})} ~= 2 \
            or cjson.encode({1}) ~= '[1]' or redis.call('incr', 'k') < 1 or KEYS[1] ~= 'k1' then \
            error('BROKEN') end";
        let error = self.script(probe, &[]);
        assert_eq!(error.map(|e| String::from_utf8_lossy(&e).into_owned()), None);
    }
}

thread_local! {
    static INTERPRETERS: RefCell<Interpreters> = RefCell::new(Interpreters::new());
}

/// The binding panics when it is made to hold more than fits its stack, which the engine turns into an error; every
/// other panic ends the run.
fn only_ours() {
    let strict = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let binding = info.location().is_some_and(|at| at.file().contains("mlua"));
        if !binding {
            strict(info);
        }
    }));
}

fn one(all: &mut Interpreters, data: &[u8]) {
    let error = match data {
        [b'j', b's', b'o', b'n', b':', text @ ..] => all.script(JSON, &[text]),
        [b'm', b's', b'g', b'p', b'a', b'c', b'k', b':', bytes @ ..] => all.script(MSGPACK, &[bytes]),
        [b's', b't', b'r', b'u', b'c', b't', b':', rest @ ..] => {
            let at = rest.iter().position(|b| *b == b':').unwrap_or(rest.len());
            all.script(STRUCT, &[&rest[..at], rest.get(at + 1..).unwrap_or_default()])
        }
        [b'#', b'!', b'l', b'u', b'a', b' ', b'n', ..] => return all.library(data),
        _ => return drop(all.script(data, &[b"1", b"x"])),
    };
    let text = error.map(|e| String::from_utf8_lossy(&e).into_owned()).unwrap_or_default();
    assert!(!text.contains("SECOND"), "{text}");
}

fuzz_target!(init: only_ours(), |data: &[u8]| {
    INTERPRETERS.with_borrow_mut(|all| {
        one(all, data);
        all.is_sound();
        all.inputs += 1;
        let used = all.engine.used_memory().max(all.functions.used_memory());
        assert!(used <= MEMORY + (1 << 20), "{used} bytes are used");
        if all.inputs.is_multiple_of(RENEWED) {
            *all = Interpreters::new();
        }
    });
});
