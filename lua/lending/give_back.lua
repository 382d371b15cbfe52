-- Which of these books did the reader really have? Takes them back into a hold.
-- KEYS: lent (hash), hold (set), the reader's counter.  ARGV: reader, book...
-- Returns the number of books taken back; books of others are left alone.

local lent, hold, in_hand = KEYS[1], KEYS[2], KEYS[3]
local reader = ARGV[1]
local taken = 0

for i = 2, #ARGV do
  local book = ARGV[i]
  if redis.call('HGET', lent, book) == reader then
    redis.call('HDEL', lent, book)
    redis.call('SADD', hold, book)
    taken = taken + 1
  end
end

if taken > 0 then
  redis.call('DECRBY', in_hand, taken)
end
return taken
