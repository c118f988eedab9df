-- Raises fields of a hash: each to its new number, unless it holds a larger one.
-- KEYS: 1 the hash. ARGV: 1 TTL in seconds, 0 for none; then for each field: its name, the number.
-- Returns the resulting numbers. A field that holds no number is replaced.
local numbers = {}
for at = 2, #ARGV, 2 do
  local held = redis.call('HGET', KEYS[1], ARGV[at])
  local known = held and string.match(held, '^%d+$') and tonumber(held)
  if known and known >= tonumber(ARGV[at + 1]) then
    numbers[#numbers + 1] = held
  else
    redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1])
    numbers[#numbers + 1] = ARGV[at + 1]
  end
end
if ARGV[1] ~= '0' then
  redis.call('EXPIRE', KEYS[1], ARGV[1])
end
return numbers
