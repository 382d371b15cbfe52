-- Is there room on the quick shelf? Moves as many held books there as fit.
-- KEYS: hold (set), counter (set).  ARGV: how many books the counter can hold.
-- Returns the number of books moved.

local hold, counter = KEYS[1], KEYS[2]
local room = tonumber(ARGV[1]) - redis.call('SCARD', counter)
if room <= 0 then
  return 0
end

local books = redis.call('SPOP', hold, room)
if #books > 0 then
  redis.call('SADD', counter, unpack(books))
end
return #books
