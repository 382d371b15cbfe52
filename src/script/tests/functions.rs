//! Do function libraries load, run and go as they do on the real server?

use super::{Fake, Text};
use crate::script::convert::ReplySink;
use crate::script::engine::Settings;
use crate::script::library::{FunctionEngine, Libraries, Restore};

struct Functions {
    libraries: Libraries,
    engine: FunctionEngine,
    host: Fake,
}

impl Functions {
    fn new() -> Self {
        Self {
            libraries: Libraries::new(),
            engine: FunctionEngine::new(Settings::default()),
            host: Fake::default(),
        }
    }

    fn load(&mut self, code: &str) -> String {
        let loaded = self.libraries.load(&mut self.engine, code.as_bytes(), true, &mut self.host);
        match loaded {
            Ok(name) => String::from_utf8(name).unwrap(),
            Err(why) => why,
        }
    }

    fn call(&mut self, name: &str, keys: &[&[u8]], args: &[&[u8]]) -> String {
        let mut out = Text::default();
        match self.libraries.find(name.as_bytes()) {
            None => out.error(b"ERR Function not found", false),
            Some(found) => {
                self.engine.run(&self.libraries, &found, [keys, args], &mut self.host, &mut out);
            }
        }
        String::from_utf8_lossy(&out.out).into_owned()
    }
}

/// Code of a library `t`, and what loading it answers on the real server.
const LOADS: &[(&str, &str)] = &[
    ("y=1", "Error registering functions: ERR user_function:2: Attempt to modify a readonly table"),
    (
        "return y",
        "Error registering functions: ERR user_function:2: Script attempted to access nonexistent global variable 'y'",
    ),
    (
        "local x = math.floor(1.5)",
        "Error registering functions: ERR user_function:2: Script attempted to access nonexistent global variable 'math'",
    ),
    (
        "redis.call('ping')",
        "Error registering functions: ERR user_function:2: Script attempted to access nonexistent global variable 'call'",
    ),
    (
        "redis.register_function('a b',function() end)",
        "Error registering functions: ERR Library names can only contain letters, numbers, or underscores(_) and must be at least one character long",
    ),
    (
        "redis.register_function('a')",
        "Error registering functions: ERR calling redis.register_function with a single argument is only applicable to Lua table (representing named arguments).",
    ),
    (
        "redis.register_function()",
        "Error registering functions: ERR wrong number of arguments to redis.register_function",
    ),
    (
        "redis.register_function({})",
        "Error registering functions: ERR redis.register_function must get a function name argument",
    ),
    (
        "redis.register_function({function_name='a'})",
        "Error registering functions: ERR redis.register_function must get a callback argument",
    ),
    (
        "redis.register_function({function_name='a',callback=1})",
        "Error registering functions: ERR callback argument given to redis.register_function must be a function",
    ),
    (
        "redis.register_function({function_name='a',callback=function() end,foo=1})",
        "Error registering functions: ERR unknown argument given to redis.register_function",
    ),
    (
        "redis.register_function({function_name='a',callback=function() end,flags={'zz'}})",
        "Error registering functions: ERR unknown flag given",
    ),
    (
        "redis.register_function({function_name='a',callback=function() end,flags='zz'})",
        "Error registering functions: ERR flags argument to redis.register_function must be a table representing function flags",
    ),
    (
        "redis.register_function('a',function() end) redis.register_function('a',function() end)",
        "Error registering functions: ERR Function already exists in the library",
    ),
    ("x x", "Error compiling function: user_function:2: '=' expected near 'x'"),
    ("local x = 1", "No functions registered"),
    ("redis.register_function('a',function() end)", "t"),
];

#[test]
fn libraries_load_or_say_why() {
    for (code, expected) in LOADS {
        let mut functions = Functions::new();
        assert_eq!(functions.load(&format!("#!lua name=t\n{code}")), *expected, "{code}");
    }
    let mut functions = Functions::new();
    assert_eq!(functions.load("#!js name=a\n"), "Engine 'js' not found");
    assert!(functions.load("#!lua name=a-b\n").starts_with("Library names can only"));
    functions.host.kill_after = Some(2);
    let timeout = "Error registering functions: ERR FUNCTION LOAD timeout";
    assert_eq!(functions.load("#!lua name=t\nwhile true do end"), timeout);
    functions.host.kill_after = None;
    assert_eq!(functions.load("#!LUA name=t\nredis.register_function('a',function() end)"), "t");
}

#[test]
fn functions_run() {
    let mut functions = Functions::new();
    let library = "#!lua name=lib\n\
        local function set(keys, args) return redis.call('set', keys[1], args[1]) end\n\
        redis.register_function('set', set)\n\
        redis.register_function{function_name='get', callback=function(keys) return redis.call('get', keys[1]) end, flags={'no-writes'}, description='reads'}\n\
        redis.register_function('bad', function() return redis.call('nope') end)\n\
        redis.register_function('raise', function()\n error('x') end)\n\
        redis.register_function('keys', function() return KEYS end)\n\
        redis.register_function('global', function() x = 1 end)\n\
        redis.register_function('register', function() redis.register_function('z', function() end) end)\n\
        redis.register_function('width', function(keys, args) return {#keys, #args} end)";
    assert_eq!(functions.load(library), "lib");
    assert_eq!(functions.call("SET", &[b"k"], &[b"v"]), "+OK\r\n");
    assert_eq!(functions.call("get", &[b"k"], &[]), "$1\r\nv\r\n");
    assert_eq!(functions.call("nope", &[], &[]), "-ERR Function not found\r\n");
    assert_eq!(
        functions.call("bad", &[], &[]),
        "-ERR Unknown Redis command called from script script: bad, on @user_function:5.\r\n"
    );
    assert_eq!(
        functions.call("raise", &[], &[]),
        "-ERR user_function:7: x script: raise, on @user_function:7.\r\n"
    );
    assert_eq!(
        functions.call("keys", &[], &[]),
        "-ERR user_function:8: Script attempted to access nonexistent global variable 'KEYS' script: keys, on @user_function:8.\r\n"
    );
    assert_eq!(
        functions.call("global", &[], &[]),
        "-ERR user_function:9: Attempt to modify a readonly table script: global, on @user_function:9.\r\n"
    );
    assert_eq!(
        functions.call("register", &[], &[]),
        "-ERR user_function:10: attempt to call field 'register_function' (a nil value) script: register, on @user_function:10.\r\n"
    );
    let many: Vec<&[u8]> = vec![b"x"; 150];
    assert_eq!(functions.call("width", &many, &many[..3]), "*2\r\n:150\r\n:3\r\n");
    let (found, index) = functions.libraries.find(b"get").unwrap();
    let info = &found.functions[index];
    assert_eq!(info.flags.names().collect::<Vec<_>>(), ["no-writes"]);
    assert_eq!(info.description.as_deref(), Some(&b"reads"[..]));
    // Another thread loads what it needs.
    let mut other = FunctionEngine::new(Settings::default());
    let mut out = Text::default();
    let found = functions.libraries.find(b"get").unwrap();
    other.run(&functions.libraries, &found, [&[b"k"], &[]], &mut functions.host, &mut out);
    assert_eq!(out.out, b"$1\r\nv\r\n");
}

#[test]
fn libraries_come_and_go_whole() {
    let mut functions = Functions::new();
    let code = |name: &str, function: &str, value: u32| {
        format!("#!lua name={name}\nredis.register_function('{function}', function() return {value} end)")
    };
    assert_eq!(functions.load(&code("a", "f", 1)), "a");
    assert_eq!(functions.load(&code("b", "F", 2)), "Function F already exists");
    assert_eq!(functions.load(&code("b", "g", 2)), "b");
    assert_eq!(functions.load(&code("a", "g", 3)), "Function g already exists");
    assert_eq!(functions.call("f", &[], &[]), ":1\r\n");
    assert_eq!(functions.load(&code("a", "f", 4)), "a");
    assert_eq!(functions.call("f", &[], &[]), ":4\r\n");
    let mut load = |code: &str| {
        let Functions { libraries, engine, host } = &mut functions;
        libraries.load(engine, code.as_bytes(), false, host)
    };
    assert_eq!(load(&code("a", "f", 5)), Err("Library 'a' already exists".into()));
    let (c, d) = (code("a", "f", 6), code("d", "g", 7));
    let mut restore = |codes: &[&String], policy| {
        let Functions { libraries, engine, host } = &mut functions;
        let codes: Vec<&[u8]> = codes.iter().map(|c| c.as_bytes()).collect();
        libraries.restore(engine, &codes, policy, host)
    };
    assert_eq!(restore(&[&c], Restore::Append), Err("Library a already exists".into()));
    assert_eq!(restore(&[&c, &d], Restore::Replace), Err("Function g already exists".into()));
    assert_eq!(restore(&[&c, &d], Restore::Flush), Ok(()));
    assert_eq!(functions.libraries.counts(), (2, 2));
    assert_eq!(functions.call("f", &[], &[]), ":6\r\n");
    assert_eq!(functions.call("g", &[], &[]), ":7\r\n");
    assert!(functions.libraries.delete(b"d") && !functions.libraries.delete(b"d"));
    assert_eq!(functions.call("g", &[], &[]), "-ERR Function not found\r\n");
    functions.libraries.flush();
    assert_eq!(functions.libraries.counts(), (0, 0));
    assert_eq!(functions.libraries.all().len(), 0);
}
