//! Is Lua harmless, whatever it tries? Scripts that have broken servers, or would like to; then what scripts may cost,
//! what one leaves to the next, and where their writes go.
//!
//! After each script another connection is served and the replies are in step with the requests. Where Redis 8.2.3 has
//! an answer, it is the same, byte for byte.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::{Duration, Instant};

use support::client::Client;
use support::server::Server;
use support::text::render;

/// Scripts that Redis answers, and we the same.
const SAME: &[&str] = &[
    "return package.loadlib",
    "return require('os')",
    "return io.open('/etc/passwd')",
    "return os.execute('id')",
    "return debug.getinfo(1)",
    "return dofile('/etc/passwd')",
    "return loadfile('/etc/passwd')",
    "return type(os.clock())",
    "local n = 0 for _ in pairs(os) do n = n + 1 end return n",
    "return os.getenv('PATH')",
    "print(1)",
    "newproxy(true)",
    "module('x')",
    "return getfenv(1)",
    "setfenv(1, {})",
    "redis.call = nil",
    "redis.foo = 1",
    "string.rep = nil",
    "string.x = 1",
    "cjson.x = 1",
    "bit.x = 1",
    "math.random = nil",
    "table.insert(_G, 1)",
    "_G.x = 1",
    "x = 1",
    "rawset(_G, 'x', 1)",
    "rawset(string, 'x', 1)",
    "rawset(redis, 'x', 1)",
    "setmetatable(_G, {})",
    "setmetatable(string, {})",
    "getmetatable(_G).__index = nil",
    "getmetatable('').__index = nil",
    "getmetatable('').x = 1",
    "rawset(getmetatable(''), 'x', 1)",
    "setmetatable(getmetatable(''), {})",
    "return tostring(getmetatable(1))",
    "getmetatable(_G).__newindex = nil",
    "for k in pairs(redis) do redis[k] = nil end",
    "return loadstring(string.dump(function() return 1 end))()",
    r"return loadstring('\27Lua')",
    "local a = {} for i=1,7999 do a[i]=i end return redis.call('lpush','l',unpack(a))",
    "local a = {} for i=1,8001 do a[i]=i end return redis.call('lpush','l2',unpack(a))",
    "return unpack({}, 1, 2147483647)",
    "return unpack({}, -2147483648, 2147483647)",
    "return unpack({}, 0, 2147483647)",
    "return select('#', unpack({}, 1, 7000))",
    "return {string.byte(('x'):rep(10), 1, 2147483647)}",
    "return #{string.byte(('x'):rep(8000), 1, -1)}",
    "local t = {} for i=1,100 do t = {t} end return #cjson.encode(t)",
    "local t = {} for i=1,1001 do t = {t} end return cjson.encode(t)",
    "return cjson.decode(('['):rep(1001) .. (']'):rep(1001))",
    "return cjson.decode(('['):rep(1000000))",
    r#"return cjson.decode('{"a":' .. ('['):rep(2000))"#,
    "return cjson.encode({[1e9]=1})",
    "return cjson.encode({[2^31]=1})",
    "return cjson.encode(0/0)",
    "return cjson.encode(1/0)",
    "return cjson.decode('[1e999]')",
    "return cjson.decode('nan')",
    r#"return cjson.decode('"\\ud800"')"#,
    "return cjson.encode(function() end)",
    "local t = {} t.t = t return cjson.encode(t)",
    "local t = {} t.t = t return #cmsgpack.pack(t)",
    "local t = {} for i=1,17 do t = {t} end return #cmsgpack.pack(t)",
    r"return #cmsgpack.unpack(('\145'):rep(100) .. '\1')",
    r"return cmsgpack.unpack(('\145'):rep(1000000))",
    r"return cmsgpack.unpack('\221\255\255\255\255')",
    r"return cmsgpack.unpack('\223\255\255\255\255')",
    r"return cmsgpack.unpack('\219\255\255\255\255abc')",
    r"return cmsgpack.unpack('\198\255\255\255\255abc')",
    "return cmsgpack.unpack('')",
    r"return cmsgpack.unpack_limit('\1\2', 2, -1)",
    r"return cmsgpack.unpack_one('\1\2', 100)",
    "return bit.tohex(65535, -2147483648)",
    "return bit.tohex(1, 2147483647)",
    "return bit.tohex(0/0)",
    "return bit.lshift(1, 2147483648)",
    "return bit.bor(2^53)",
    "return struct.pack('>I2147483648', 10)",
    "return struct.pack('>I100', 10)",
    "return struct.pack('i99999999999999999999', 1)",
    "return struct.unpack('>I8', 'abc')",
    "return struct.unpack('s', 'abc')",
    "return struct.unpack('c0', 'abc')",
    "return struct.unpack('c100', 'abc')",
    "return struct.unpack('I4', 'abcd', 4294967297)",
    "return struct.unpack('I4', 'abcd', -1)",
    "return struct.unpack('I4', 'abcd', 0)",
    "return #struct.pack('!1024 d', 1)",
    "return struct.pack('!3 d', 1)",
    "return struct.size('c2147483647c2147483647')",
    "return struct.size('x' .. ('i16'):rep(10))",
    "return loadstring('return [' .. ('='):rep(100000) .. '[ x')",
    "return loadstring('return [===[ x ]==]')",
    "return loadstring('x = ' .. ('('):rep(100000))",
    "return loadstring('return ' .. ('{'):rep(100000))",
    "return loadstring('a' .. ('.a'):rep(1000000))",
    "return loadstring(('do '):rep(1000))",
    "collectgarbage('stop') return collectgarbage('count') > 0",
    "collectgarbage('setpause', 0) collectgarbage('step', 0) return 1",
    "collectgarbage('nonsense')",
    "local s = 'return {' .. ('{},'):rep(10000) .. '}' for i=1,10 do collectgarbage() loadstring(s) end return 1",
    "return setmetatable({}, {__index = function() error('x') end})",
    "return setmetatable({1,2}, {__index = function() error('x') end, __len = function() return 1000000 end})",
    "return setmetatable({ok='x'}, {__gc = 1})",
    "return {err=setmetatable({}, {__tostring = error})}",
    r"return {err='a\r\n:1'}",
    r"return {ok='a\r\n:1'}",
    r"return redis.error_reply('x\r\n+OK\r\n')",
    r"return redis.status_reply('x\r\n+OK\r\n')",
    "error(setmetatable({}, {__tostring = function() return 'x' end}))",
    "error()",
    "error(nil)",
    r"return {big_number='1\r\n:2'}",
    "return {double=1/0}",
    "return {map={}}",
    r"return {format='txt\r\n', string='x'}",
    r"return {verbatim_string={format='abcd', string='x\r\n'}}",
    "return string.format('%99999d', 1)",
    "return string.format('%s', setmetatable({}, {__tostring = function() return 1 end}))",
    "return ('x'):rep(-1)",
    "return string.find('a', ('('):rep(100))",
    "return string.find('a', '%')",
    "return string.gsub('abc', '', ('x'):rep(100))",
    "return string.format(('%s'):rep(300), 1)",
    "local function f() return f() + 1 end return f()",
    "local function f() return f() end f = nil return 1",
    "return tostring(nil) .. tostring({}):sub(1, 5)",
    "return #redis.sha1hex(('x'):rep(1000000))",
    "local co = coroutine.wrap(function() return redis.call('ping') end) return co()",
    "return coroutine.wrap(function() coroutine.yield(1) end)()",
    "coroutine.yield(1)",
    "return table.concat({}, 'x', 1, 2147483647)",
    "return table.concat({1,2}, 'x', 2147483646, 2147483647)",
    "table.sort({3,1,2,5,4,9,8}, function() return true end) return 1",
    "local t = {1,2,3} table.sort(t, function() error('x') end)",
    "table.remove({}, 2147483647) return 1",
    "table.insert({}, 2147483647, 1) return 1",
    "return #table.concat({('x'):rep(1000)}, ('y'):rep(1000))",
    "return math.random(0)",
    "return math.random(2^31)",
    "return tonumber(('1'):rep(10000), 36)",
    "return tostring(tonumber('0x' .. ('f'):rep(1000)))",
    "return pcall(error)",
    "return xpcall(error)",
    "return redis.call()",
    "return redis.call(1/0)",
    "return redis.call({})",
    "return redis.pcall('set', 'k', {})",
    "return redis.setresp(4)",
    "return redis.set_repl(99)",
    "return redis.log(99, 'x')",
    "return redis.acl_check_cmd('nosuch')",
    "return KEYS[1] == nil and ARGV[1]",
    "KEYS = nil return 1",
    "return redis.call('eval', 'return 1', 0)",
    "return redis.call('multi')",
    "return redis.call('subscribe', 'x')",
    "return redis.call('blpop', 'nokey', 0)",
    r"return load(function() return '\27Lua' end)",
    "return (getmetatable(tostring))",
];

/// Scripts that Redis does not survive, or not in step: what the reply begins with here.
const OURS: &[(&str, &str)] = &[
    // Line breaks in errors: Redis sends them as they are.
    (r"error({err='a\r\n:1'})", "-a  :1 script: "),
    (r"error('a\r\n:1')", "-ERR user_script:1: a  :1 script: "),
    // Backtracking without end, on the C stack.
    (
        "return ('a'):rep(1000):find(('a?'):rep(1000) .. ('a'):rep(1000))",
        "-ERR user_script:1: pattern too complex",
    ),
    // More memory than scripts may have.
    ("local s = 'x' while true do s = s .. s end", "-ERR"),
    ("local s = ('x'):rep(2^28) return #cjson.encode({s, s, s})", "-ERR"),
    ("local s = ('x'):rep(2^28) return #cmsgpack.pack(s, s, s)", "-ERR"),
];

fn ask(client: &mut Client, args: &[&str]) -> String {
    client.send(args).unwrap();
    let reply = client.read_within(Duration::from_secs(60)).unwrap();
    render(&reply.unwrap_or_else(|| panic!("{args:?} was not answered")).value)
}

/// A reply without addresses, which differ from run to run.
fn plain(reply: &str) -> String {
    let mut parts = reply.split("0x");
    let first = parts.next().unwrap_or_default().to_owned();
    parts
        .fold(first, |text, part| text + "ADDRESS" + part.trim_start_matches(|c: char| c.is_ascii_hexdigit()))
}

#[test]
fn hostile_scripts_read_the_same_as_with_redis() {
    let (ours, oracle) = (Server::peregrine(&[]), Server::oracle(&[]));
    let (mut a, mut b, mut other) = (ours.connect(), oracle.connect(), ours.connect());
    for script in SAME {
        let (mine, theirs) = (ask(&mut a, &["EVAL", script, "0"]), ask(&mut b, &["EVAL", script, "0"]));
        assert_eq!(plain(&mine), plain(&theirs), "{script}");
        assert_eq!(ask(&mut a, &["PING"]), "+PONG", "out of step after: {script}");
        assert_eq!(ask(&mut other, &["PING"]), "+PONG", "others, after: {script}");
    }
}

#[test]
fn what_breaks_redis_is_answered_and_given_back() {
    let server = Server::peregrine(&[]);
    let (mut client, mut other) = (server.connect(), server.connect());
    ask(&mut client, &["EVAL", "return 1", "0"]);
    let memory = |client: &mut Client| -> u64 {
        let info = ask(client, &["INFO", "memory"]);
        let at = info.split("used_memory:").nth(1).unwrap();
        at.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
    };
    let before = memory(&mut client);
    for (script, begins) in OURS {
        let reply = ask(&mut client, &["EVAL", script, "0"]);
        assert!(reply.starts_with(begins), "{script}: {reply}");
        assert_eq!(ask(&mut client, &["PING"]), "+PONG", "out of step after: {script}");
        assert_eq!(ask(&mut other, &["PING"]), "+PONG", "others, after: {script}");
    }
    let after = memory(&mut client);
    assert!(after < before + (64 << 20), "{before} bytes have become {after}");
}

#[test]
fn no_script_changes_what_another_sees() {
    let server = Server::peregrine(&["--io-threads", "1"]);
    let mut admin = server.connect();
    ask(&mut admin, &["ACL", "SETUSER", "u", "on", ">p", "~*", "+@all"]);
    let mut user = server.connect();
    ask(&mut user, &["AUTH", "u", "p"]);
    let probe = "local n = 0 for k in pairs(_G) do n = n + 1 end return {n, string.rep('x', 3), #redis.sha1hex(''), \
                 tostring(string.x), ('a'):upper(), type(redis.call), math.floor(2.5), cjson.encode({1})}";
    let before = ask(&mut admin, &["EVAL", probe, "0"]);
    let stains = [
        "redis.call = function() return 'stolen' end",
        "redis['pcall'] = error",
        "string.upper = function() return 'stolen' end",
        "getmetatable('').__index = function() return error end",
        "getmetatable('').__index.upper = function() return 'stolen' end",
        "setmetatable(_G, {__index = function() return 1 end})",
        "rawset(_G, 'x', 1)",
        "local m = getmetatable(_G) m.__index = nil",
        "table.insert(math, 'x')",
        "math.floor, math.x = nil, 1",
        "cjson.encode = nil",
        "cjson.encode_sparse_array(true, 1, 1) cjson.encode_max_depth(1) cjson.decode_max_depth(1)",
        "KEYS[1] = 'x' ARGV[1] = 'y' KEYS.x = 1",
        "redis.setresp(3)",
        "collectgarbage('stop')",
        "local t = setmetatable({}, {__gc = function() end, __mode = 'k'}) t[1] = t",
        "local f = loadstring('x = 1') f()",
        "for k, v in pairs(string) do string[k] = nil end",
        "next(_G) for k in pairs(_G) do rawset(_G, k, nil) end",
        "string.gsub('x', '.', function() redis.call = 1 end)",
        "local co = coroutine.create(function() _G.y = 1 end) coroutine.resume(co)",
        "xpcall(function() error('x') end, function() string.z = 1 end)",
    ];
    for stain in stains {
        ask(&mut user, &["EVAL", stain, "1", "k", "a"]);
        assert_eq!(ask(&mut admin, &["EVAL", probe, "0"]), before, "{stain}");
    }
    // Nor does a library, for scripts or for other libraries.
    for (i, stain) in stains.iter().enumerate() {
        let code =
            format!("#!lua name=l{i}\nredis.register_function('f{i}', function(keys, args) {stain} end)");
        ask(&mut user, &["FUNCTION", "LOAD", &code]);
        ask(&mut user, &["FCALL", &format!("f{i}"), "0"]);
        assert_eq!(ask(&mut admin, &["EVAL", probe, "0"]), before, "{stain}");
    }
    let code = "#!lua name=honest\nredis.register_function('honest', function() return ('a'):upper() .. redis.call('PING').ok end)";
    ask(&mut admin, &["FUNCTION", "LOAD", code]);
    assert_eq!(ask(&mut admin, &["FCALL", "honest", "0"]), "\"APONG\"");
}

#[test]
fn scripts_may_be_forgotten_while_they_run() {
    let server = Server::peregrine(&["--io-threads", "2", "--busy-reply-threshold", "0"]);
    let code = "#!lua name=spin\nredis.register_function('spin', function() for i = 1, 3e6 do end return 'done' end)";
    let mut clients: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    ask(&mut clients[0], &["FUNCTION", "LOAD", code]);
    for round in 0..5 {
        let script = format!("for i = 1, 3e6 do end return {round}");
        clients[0].send(&["EVAL", &script, "0"]).unwrap();
        clients[1].send(&["FCALL", "spin", "0"]).unwrap();
        for (flush, how) in
            [("SCRIPT", "ASYNC"), ("FUNCTION", "ASYNC"), ("SCRIPT", "SYNC"), ("FUNCTION", "SYNC")]
        {
            assert_eq!(ask(&mut clients[2], &[flush, "FLUSH", how]), "+OK");
        }
        let (a, b) = (clients[0].read().unwrap(), clients[1].read().unwrap());
        assert_eq!(render(&a.value), format!(":{round}"));
        let b = render(&b.value);
        assert!(b == "\"done\"" || b == "-ERR Function not found", "{b}");
        ask(&mut clients[2], &["FUNCTION", "LOAD", code]);
    }
}

#[test]
fn thousands_of_libraries_and_scripts_fit() {
    let server = Server::peregrine(&["--io-threads", "1"]);
    let mut client = server.connect();
    for i in 0..9000 {
        let code = format!("#!lua name=l{i}\nredis.register_function('f{i}', function() return {i} end)");
        assert_eq!(ask(&mut client, &["FUNCTION", "LOAD", &code]), format!("\"l{i}\""));
    }
    for i in [0, 4000, 8999] {
        assert_eq!(ask(&mut client, &["FCALL", &format!("f{i}"), "0"]), format!(":{i}"));
    }
    assert_eq!(ask(&mut client, &["FUNCTION", "DELETE", "l4000"]), "+OK");
    assert_eq!(ask(&mut client, &["FCALL", "f4000", "0"]), "-ERR Function not found");
    assert_eq!(ask(&mut client, &["FCALL", "f4001", "0"]), ":4001");
}

#[test]
fn writes_go_where_the_script_says() {
    let primary = Server::peregrine(&["--appendonly", "yes", "--enable-debug-command", "yes"]);
    let replica = Server::peregrine(&["--replicaof", &format!("127.0.0.1 {}", primary.port)]);
    let (mut to, mut from) = (primary.connect(), replica.connect());
    let within = |ready: &mut dyn FnMut() -> bool| {
        let began = Instant::now();
        while !ready() {
            assert!(began.elapsed() < Duration::from_secs(20), "it did not happen");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    within(&mut || ask(&mut from, &["INFO", "replication"]).contains("master_link_status:up"));
    let script = "redis.call('set', 'a', 1) redis.set_repl(redis.REPL_NONE) redis.call('set', 'b', 2)
        redis.set_repl(redis.REPL_AOF) redis.call('set', 'c', 3)
        redis.set_repl(redis.REPL_REPLICA) redis.call('set', 'd', 4)
        redis.set_repl(redis.REPL_ALL) redis.call('set', 'e', 5)";
    ask(&mut to, &["EVAL", script, "5", "a", "b", "c", "d", "e"]);
    let all = ["MGET", "a", "b", "c", "d", "e"];
    within(&mut || ask(&mut from, &all) == "[ \"1\" $-1 $-1 \"4\" \"5\" ]");
    assert_eq!(ask(&mut to, &all), "[ \"1\" \"2\" \"3\" \"4\" \"5\" ]");
    assert_eq!(ask(&mut to, &["DEBUG", "LOADAOF"]), "+OK");
    assert_eq!(ask(&mut to, &all), "[ \"1\" $-1 \"3\" $-1 \"5\" ]");
}

#[test]
fn refused_calls_are_counted_as_with_redis() {
    let counts = |server: &Server| {
        let mut client = server.connect();
        ask(&mut client, &["SET", "str", "x"]);
        ask(&mut client, &["CONFIG", "RESETSTAT"]);
        let script = "redis.pcall('set', 'a') redis.pcall('nosuch') redis.pcall('multi') redis.pcall('lpush', 'str', 'x')";
        ask(&mut client, &["EVAL", script, "0"]);
        ask(&mut client, &["EVAL_RO", "return redis.call('set', 'a', 'b')", "0"]);
        let info = ask(&mut client, &["INFO", "commandstats"]) + &ask(&mut client, &["INFO", "errorstats"]);
        let lines = info.split("\\r\\n").filter(|line| !line.contains("config") && !line.contains("info"));
        let mut lines: Vec<String> = lines
            .map(|line| {
                line.split(',').filter(|field| !field.starts_with("usec")).collect::<Vec<_>>().join(",")
            })
            .collect();
        lines.sort();
        lines
    };
    assert_eq!(counts(&Server::peregrine(&[])), counts(&Server::oracle(&[])));
}
