-- How is a Lua value written as JSON? The walk over tables, which is cheapest inside the VM.
--
-- Loaded once per interpreter with the functions it needs; returns encode(value, settings...).
-- Uses raw access only, so no script code runs while the state below is in use.

local type, next, rawget, floor, format, find, gsub, concat, error, tables = ...

local HUGE = 1 / 0
-- What lua-cjson escapes: controls, quote, backslash, slash and DEL.
local SPECIAL = '[%z\1-\31"\\/\127]'
-- Nesting that is refused whatever the setting says.
local DEEPEST = 2600

local ESCAPES = {}
for byte = 0, 31 do
  ESCAPES[string.char(byte)] = format("\\u%04x", byte)
end
for char, escape in next, {
  ["\b"] = "\\b", ["\t"] = "\\t", ["\n"] = "\\n", ["\f"] = "\\f", ["\r"] = "\\r",
  ['"'] = '\\"', ["\\"] = "\\\\", ["/"] = "\\/", ["\127"] = "\\u007f",
} do
  ESCAPES[char] = escape
end

-- State of the encoding in progress.
local out, used
local sparse_convert, sparse_ratio, sparse_safe, max_depth, invalid_numbers, number_format

local function fail(what, why)
  error("Cannot serialise " .. what .. ": " .. why, 0)
end

local function quoted(text)
  if find(text, SPECIAL) then
    text = gsub(text, SPECIAL, ESCAPES)
  end
  out[used + 1], out[used + 2], out[used + 3] = '"', text, '"'
  used = used + 3
end

local function number(n)
  used = used + 1
  if n ~= n or n == HUGE or n == -HUGE then
    if invalid_numbers == 0 then
      fail("number", "must not be NaN or Inf")
    elseif invalid_numbers == 2 then
      out[used] = "null"
      return
    elseif n ~= n then
      out[used] = "nan"
      return
    end
  end
  -- table.concat writes numbers with 14 digits, which is the default precision.
  out[used] = number_format and format(number_format, n) or n
end

-- The largest index of a table that has only positive whole numbers as keys; else nil.
local function array_length(t)
  local max, items = 0, 0
  for key in next, t do
    if type(key) ~= "number" or key < 1 or floor(key) ~= key then
      return nil
    end
    if key > max then
      -- A C int: what does not fit becomes the smallest one.
      max = key < 2147483648 and key or -2147483648
    end
    items = items + 1
  end
  if sparse_ratio > 0 and max > items * sparse_ratio and max > sparse_safe then
    if not sparse_convert then
      fail("table", "excessively sparse array")
    end
    return nil
  end
  return max
end

local append

local function append_table(t, depth)
  if depth > max_depth then
    error("Cannot serialise, excessive nesting (" .. depth .. ")", 0)
  end
  t = tables[t] or t
  local length = array_length(t)
  if length and length > 0 then
    used = used + 1
    out[used] = "["
    for i = 1, length do
      if i > 1 then
        used = used + 1
        out[used] = ","
      end
      append(rawget(t, i), depth)
    end
    used = used + 1
    out[used] = "]"
    return
  end
  used = used + 1
  out[used] = "{"
  local first = true
  for key, value in next, t do
    if not first then
      used = used + 1
      out[used] = ","
    end
    first = false
    local kind = type(key)
    if kind == "string" then
      quoted(key)
    elseif kind == "number" then
      used = used + 1
      out[used] = '"'
      number(key)
      used = used + 1
      out[used] = '"'
    else
      fail(kind, "table key must be a number or string")
    end
    used = used + 1
    out[used] = ":"
    append(value, depth)
  end
  used = used + 1
  out[used] = "}"
end

function append(value, depth)
  local kind = type(value)
  if kind == "string" then
    quoted(value)
  elseif kind == "number" then
    number(value)
  elseif kind == "table" then
    append_table(value, depth + 1)
  else
    used = used + 1
    if kind == "boolean" then
      out[used] = value and "true" or "false"
    elseif kind == "nil" or kind == "userdata" then
      -- The only userdata that a script can get hold of is cjson.null.
      out[used] = "null"
    else
      fail(kind, "type not supported")
    end
  end
end

return function(value, convert, ratio, safe, depth, invalid, precision)
  out, used = {}, 0
  sparse_convert, sparse_ratio, sparse_safe = convert, ratio, safe
  max_depth = depth < DEEPEST and depth or DEEPEST
  invalid_numbers = invalid
  number_format = precision ~= 14 and "%." .. precision .. "g" or nil
  append(value, 0)
  local text = concat(out)
  out = nil
  return text
end
