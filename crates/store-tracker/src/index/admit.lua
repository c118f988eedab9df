-- Admits entities to the index while its quota has room. The zset holds every admitted entity, and when it was first named.
-- KEYS: 1 the zset. ARGV: 1 the quota; then for each entity: its time, its id.
-- Returns for each entity 1 if it is in the index now, else 0. An earlier time replaces a later one.
local room, admitted = tonumber(ARGV[1]) - redis.call('ZCARD', KEYS[1]), {}
for at = 2, #ARGV, 2 do
  local time, id = ARGV[at], ARGV[at + 1]
  local known = redis.call('ZSCORE', KEYS[1], id)
  if known or room > 0 then
    if not known then
      room = room - 1
    end
    if not known or tonumber(time) < tonumber(known) then
      redis.call('ZADD', KEYS[1], time, id)
    end
    admitted[#admitted + 1] = 1
  else
    admitted[#admitted + 1] = 0
  end
end
return admitted
