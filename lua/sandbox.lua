-- What do scripts see, and what can they not touch?
--
-- Lua 5.1 has no read-only tables, so every shared table is hidden behind a proxy: an empty table
-- whose metatable reads from the hidden one, refuses assignments and hides itself. The invariants:
--
--   * no hidden table is ever handed to a script (as a value, by next, or as a metatable);
--   * a proxy stays empty: assignment goes to __newindex, and what writes without it
--     (rawset, table.insert, setmetatable) refuses proxies below;
--   * every function here works on upvalues only.
--
-- Positions inside this chunk start with the byte 1 and are rewritten to the script's own
-- (locate and plain in sandbox.rs). Replaced functions keep their names in the upvalues, because
-- Lua names them in "bad argument" messages.

local host, raw, redis_api, libraries, is_function_state = ...

local error, type, tostring, select = raw.error, raw.type, raw.tostring, raw.select
local byte, sub, replace = raw.string.byte, raw.string.sub, raw.string.gsub
local READONLY = "Attempt to modify a readonly table"

-- proxy -> hidden table
local hidden = host.tables
local native_setmetatable = raw.setmetatable

local function refuse()
  error(READONLY, 2)
end

-- Hides a table behind a proxy; also returns the proxy's metatable, which scripts never see.
-- `shown` is what getmetatable answers (nil for most).
local function protect(table, shown)
  local proxy = {}
  local metatable = {
    __index = table,
    __newindex = refuse,
    -- Without a metatable of its own a protected table must still not show ours.
    __metatable = shown or false,
  }
  hidden[proxy] = table
  return native_setmetatable(proxy, metatable), metatable
end

local function missing(_, name)
  if type(name) ~= "string" and type(name) ~= "number" then
    error("Second argument to luaProtectedTableError must be a string or number", 2)
  end
  error("Script attempted to access nonexistent global variable '" .. name .. "'", 2)
end

local globals = native_setmetatable({}, { __index = missing })
local shown_globals_metatable = protect({ __index = missing })
local environment, environment_metatable = protect(globals, shown_globals_metatable)

-- Builtins that are safe as they are.
for _, name in raw.ipairs {
  "xpcall", "tostring", "next", "assert", "tonumber", "rawequal", "collectgarbage",
  "getmetatable", "rawset", "pcall", "type", "select", "unpack", "gcinfo", "pairs", "rawget",
  "loadstring", "ipairs", "_VERSION", "load", "error", "setmetatable",
} do
  globals[name] = raw[name]
end
globals._G = environment

local tables = {
  string = {}, table = {}, math = {}, coroutine = {}, os = { clock = raw.os.clock },
  bit = libraries.bit, cjson = libraries.cjson, cmsgpack = libraries.cmsgpack,
  struct = libraries.struct, redis = redis_api,
}
for _, name in raw.ipairs { "string", "table", "math", "coroutine" } do
  for key, value in raw.next, raw[name] do
    tables[name][key] = value
  end
end
tables.math.random, tables.math.randomseed = host.random, host.randomseed

-- ---- raw access ----

do
  -- Everything takes `...`, so that the native function still sees which arguments are absent.
  local next = raw.next
  globals.next = function(...)
    local t = hidden[(...)]
    if t then
      return next(t, select(2, ...))
    end
    return next(...)
  end
  -- Walks a protected table without showing it.
  local function step(t, key)
    return next(hidden[t], key)
  end
  local pairs = raw.pairs
  globals.pairs = function(...)
    local t = ...
    if hidden[t] then
      return step, t, nil
    end
    return pairs(...)
  end
  local foreach = raw.table.foreach
  tables.table.foreach = function(...)
    local t = hidden[(...)]
    if t then
      return foreach(t, select(2, ...))
    end
    return foreach(...)
  end
  local rawget = raw.rawget
  globals.rawget = function(...)
    local t = hidden[(...)]
    if t then
      return rawget(t, select(2, ...))
    end
    return rawget(...)
  end
  local rawset = raw.rawset
  globals.rawset = function(...)
    if hidden[(...)] then
      error(READONLY, 0)
    end
    return rawset(...)
  end
  local setmetatable = raw.setmetatable
  globals.setmetatable = function(...)
    if hidden[(...)] then
      error(READONLY, 0)
    end
    return setmetatable(...)
  end
  local insert = raw.table.insert
  tables.table.insert = function(...)
    if hidden[(...)] then
      error(READONLY, 0)
    end
    return insert(...)
  end
  local getmetatable = raw.getmetatable
  globals.getmetatable = function(...)
    -- Only protected tables hide their metatable as false.
    return getmetatable(...) or nil
  end
end

-- ---- errors ----

-- What a script sees of an error value, and whether it may go on (not after SCRIPT KILL).
local plain, value_of, is_kill = host.plain, host.value_of, host.is_kill

do
  local pcall, xpcall = raw.pcall, raw.xpcall
  local plain_or_kill = host.plain_or_kill

  local function settle(ok, ...)
    if ok then
      return ok, ...
    end
    return false, plain((...))
  end
  -- A kill goes on; everything else has been made plain where it was raised.
  local function settle_handled(ok, ...)
    if not ok and is_kill((...)) then
      error((...), 0)
    end
    return ok, ...
  end
  globals.pcall = function(...)
    local count = select("#", ...)
    if count == 1 then
      -- The handler sees the stack as it was, and with it the line.
      return settle_handled(xpcall((...), plain_or_kill))
    elseif count == 0 then
      return false, "attempt to call a boolean value"
    end
    return settle(pcall(...))
  end

  globals.xpcall = function(...)
    if select("#", ...) < 2 then
      error("\1:0: bad argument #2 to 'xpcall' (value expected)", 0)
    end
    local f, handler = ...
    return settle_handled(xpcall(f, function(err)
      if is_kill(err) then
        return err
      end
      return handler(value_of(err))
    end))
  end

  local function settle_resumed(ok, ...)
    if ok then
      return ok, ...
    end
    return false, value_of((...))
  end
  local resume = raw.coroutine.resume
  tables.coroutine.resume = function(...)
    return settle_resumed(resume(...))
  end
end

-- ---- loading code ----

do
  local loadstring, collectgarbage, concat = raw.loadstring, raw.collectgarbage, raw.table.concat

  -- Compiles text, and only text, with the collector at rest.
  local function compile(code, name)
    local binary = byte(code, 1) == 27
    collectgarbage("stop")
    local chunk, message = loadstring(binary and "\1" .. sub(code, 2) or code, name or code)
    collectgarbage("restart")
    if binary then
      return nil, (replace(message or "unexpected symbol near 'char(27)'",
        "char%(1%)", "char(27)"))
    end
    return chunk, message
  end

  globals.loadstring = function(...)
    local code, name = ...
    if type(code) == "number" then
      code = tostring(code)
    end
    if type(code) ~= "string" or (name ~= nil and type(name) ~= "string") then
      return loadstring(...)
    end
    return compile(code, name)
  end

  local load, xpcall, locate = raw.load, raw.xpcall, host.locate_or_kill
  globals.load = function(...)
    local reader, name = ...
    if type(reader) ~= "function" or (name ~= nil and type(name) ~= "string") then
      return load(...)
    end
    local pieces, count = {}, 0
    while true do
      local ok, piece = xpcall(reader, locate)
      if not ok then
        if is_kill(piece) then
          error(piece, 0)
        end
        return nil, piece
      end
      if piece == nil or piece == "" then
        break
      elseif type(piece) == "number" then
        piece = tostring(piece)
      elseif type(piece) ~= "string" then
        return nil, locate("\1:0: reader function must return a string")
      end
      count = count + 1
      pieces[count] = piece
      if byte(pieces[1], 1) == 27 then
        -- What follows does not make it text.
        break
      end
    end
    return compile(concat(pieces), name or "=(load)")
  end
end

-- ---- limits ----

do
  local collectgarbage = raw.collectgarbage
  -- What one script does to the collector, the next would feel: only looking and collecting work.
  local quiet = { stop = 0, restart = 0, setpause = 200, setstepmul = 200 }
  globals.collectgarbage = function(option, ...)
    local answer = option and quiet[option]
    if answer then
      return answer
    end
    return collectgarbage(option, ...)
  end

  local unpack, tonumber = raw.unpack, raw.tonumber
  local LOWEST, HIGHEST = -2147483648, 2147483647
  globals.unpack = function(...)
    local _, i, j = ...
    if i ~= nil or j ~= nil then
      -- The native function computes the count in 32 bits without looking.
      local first, last = tonumber(i or 1), tonumber(j or 0)
      if first and last and (not (first >= LOWEST and first <= HIGHEST)
          or not (last >= LOWEST and last <= HIGHEST) or last - first >= 8000) then
        -- Whoever returns what is unpacked has no frame any more that could be named.
        error("\1:0: too many results to unpack", 0)
      end
    end
    return unpack(...)
  end

  -- Matching recurs once per pattern item, on the C stack.
  local LONGEST = 400
  local function check(pattern)
    if type(pattern) == "string" and #pattern > LONGEST and host.is_complex(pattern) then
      error("\1:0: pattern too complex", 0)
    end
  end
  local find, match, gmatch, gsub = raw.string.find, raw.string.match, raw.string.gmatch, raw.string.gsub
  tables.string.find = function(...)
    local _, pattern, _, literal = ...
    if not literal then
      check(pattern)
    end
    return find(...)
  end
  tables.string.match = function(...)
    local _, pattern = ...
    check(pattern)
    return match(...)
  end
  tables.string.gmatch = function(...)
    local _, pattern = ...
    check(pattern)
    return gmatch(...)
  end
  tables.string.gfind = tables.string.gmatch
  tables.string.gsub = function(...)
    local _, pattern = ...
    check(pattern)
    return gsub(...)
  end
  local rep = raw.string.rep
  tables.string.rep = function(...)
    local s, n = ...
    if s == "" and n then
      return ""
    end
    return rep(...)
  end
end

-- ---- protection ----

for name, table in raw.next, tables do
  globals[name] = protect(table)
end

-- Methods of strings: the metatable exists once, and shows itself as a protected table.
local string_metatable = raw.getmetatable("")
string_metatable.__index = tables.string
string_metatable.__metatable = protect { __index = globals.string }

if not is_function_state then
  globals.__redis__err__handler = host.locate
end

-- ---- running ----

local scripts = {}
local xpcall, locate = raw.xpcall, host.locate_top

-- The tables of keys and arguments; the first `count` values are keys.
local function split(count, ...)
  if count == 0 then
    return {}, { ... }
  elseif count == 1 then
    return { (...) }, { select(2, ...) }
  end
  local keys = { ... }
  for i = #keys, count + 1, -1 do
    keys[i] = nil
  end
  return keys, { select(count + 1, ...) }
end

local function run_script(script, keys, argv)
  globals.KEYS, globals.ARGV = keys, argv
  return xpcall(scripts[script], locate)
end

local function run_function(callback, keys, argv)
  return xpcall(function()
    return callback(keys, argv)
  end, locate)
end

-- ---- loading libraries ----

-- Runs a library's chunk; all that it sees is `redis`, with what registers and logs.
local load_globals = native_setmetatable({
  redis = protect(native_setmetatable(libraries.loading, { __index = missing })),
}, { __index = missing })

local function load_library(chunk)
  environment_metatable.__index = load_globals
  local ok, err = xpcall(chunk, host.value_of_top)
  environment_metatable.__index = globals
  return ok, err
end

return {
  environment = environment,
  scripts = scripts,
  run_script = function(script, count, ...)
    return run_script(script, split(count, ...))
  end,
  run_script_tables = run_script,
  run_function = function(callback, count, ...)
    return run_function(callback, split(count, ...))
  end,
  run_function_tables = run_function,
  load_library = load_library,
}
