-- Is every book in exactly one place, and every counter right? Asks at one instant.
-- KEYS: catalogue, stacks, counter, trolley, lent.
-- Returns the number of books catalogued, followed by one line per complaint.
-- It finds the holds and the readers' counters by KEYS, so it runs alone.

local catalogue, stacks, counter, trolley, lent = unpack(KEYS)
local places, complaints = {}, {}

local function seen(book, where)
  if places[book] then
    table.insert(complaints, book .. ' is both ' .. places[book] .. ' and ' .. where)
  end
  places[book] = where
end

local shelves = redis.call('KEYS', 'library:hold:*')
for _, key in ipairs({stacks, counter, trolley}) do
  table.insert(shelves, key)
end
for _, key in ipairs(shelves) do
  for _, book in ipairs(redis.call('SMEMBERS', key)) do
    seen(book, 'in ' .. key)
  end
end

local has = {}
local loans = redis.call('HGETALL', lent)
for i = 1, #loans, 2 do
  local book, reader = loans[i], loans[i + 1]
  seen(book, 'lent to ' .. reader)
  has[reader] = (has[reader] or 0) + 1
end

local owned = redis.call('SMEMBERS', catalogue)
for _, book in ipairs(owned) do
  if not places[book] then
    table.insert(complaints, book .. ' is nowhere')
  end
  places[book] = nil
end
for book, where in pairs(places) do
  table.insert(complaints, book .. ' is not ours, but ' .. where)
end

for _, key in ipairs(redis.call('KEYS', 'library:reader:*:books')) do
  local reader = string.match(key, '^library:reader:(.*):books$')
  local says = tonumber(redis.call('GET', key))
  if says ~= (has[reader] or 0) then
    table.insert(complaints, key .. ' says ' .. says .. ', has ' .. (has[reader] or 0))
  end
  has[reader] = nil
end
for reader, books in pairs(has) do
  table.insert(complaints, reader .. ' has ' .. books .. ' books and no counter')
end

return {#owned, unpack(complaints)}
