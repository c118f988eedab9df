-- Names validators in the hash of an epoch, up to a limit. Each field holds the time of the validator's first batch.
-- KEYS: 1 the hash.
-- ARGV: 1 the limit, 2 the number of fields that name no validator, and these; then for each validator: its field, the time.
-- Returns for each validator 1 if the epoch names it now, else 0.
local others = tonumber(ARGV[2])
local room, linked = tonumber(ARGV[1]) - redis.call('HLEN', KEYS[1]), {}
for at = 3, 2 + others do
  room = room + redis.call('HEXISTS', KEYS[1], ARGV[at])
end
for at = 3 + others, #ARGV, 2 do
  local known = redis.call('HEXISTS', KEYS[1], ARGV[at])
  if known == 0 and room > 0 then
    redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1])
    room, known = room - 1, 1
  end
  linked[#linked + 1] = known
end
return linked
