-- Where do the remaining held books go? Onto the trolley, with a note to shelving.
-- KEYS: hold (set), trolley (set), reshelve (stream).
-- Returns the number of books loaded; leaves the hold empty.

local hold, trolley, reshelve = KEYS[1], KEYS[2], KEYS[3]
local books = redis.call('SMEMBERS', hold)

for _, book in ipairs(books) do
  redis.call('SMOVE', hold, trolley, book)
end
if #books > 0 then
  redis.call('XADD', reshelve, '*', 'books', cjson.encode(books))
end
return #books
