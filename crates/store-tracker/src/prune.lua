-- Removes the oldest members of a zset, at most a slice of them.
-- KEYS: 1 the zset. ARGV: 1 scores below this go, 2 how many members at most.
local old = redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. ARGV[1])
if old == 0 then
  return 0
end
return redis.call('ZREMRANGEBYRANK', KEYS[1], 0, math.min(old, tonumber(ARGV[2])) - 1)
