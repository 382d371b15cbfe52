-- Which variables are alive where a script has stopped?
--
-- Called from the hook that stopped it: level 1 of the stack is the function here, level 2 the script's. Our own
-- frames (`prelude` is their source) are nobody's business.

local debug, prelude = ...
local getinfo, getlocal = debug.getinfo, debug.getlocal

-- The variable of this name in the innermost frame that has one: whether there is one, and its value.
local function find(name)
  local level = 2
  while true do
    local frame = getinfo(level, "S")
    if not frame then
      return false
    end
    local i = frame.source == prelude and -1 or 1
    while i > 0 do
      local found, value = getlocal(level, i)
      if not found then
        break
      elseif found == name then
        return true, value
      end
      i = i + 1
    end
    level = level + 1
  end
end

-- The variables of the innermost frame: how many, their names, and their values (which may be nil).
local function all()
  local names, values, i = {}, {}, 1
  while true do
    local name, value = getlocal(2, i)
    if not name then
      return i - 1, names, values
    end
    names[i], values[i] = name, value
    i = i + 1
  end
end

return find, all
