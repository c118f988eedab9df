-- Admits entities to the index while its quota has room. The zset holds every admitted entity, and when it was first named.
-- KEYS: 1 the zset.
-- ARGV: 1 the quota, 2 the time before which entities are about to be removed; then for each entity: its time, its id.
-- Returns for each entity 1 if it is in the index now and stays, else 0. An earlier time replaces a later one.
local room, oldest, admitted = tonumber(ARGV[1]) - redis.call('ZCARD', KEYS[1]), tonumber(ARGV[2]), {}
for at = 3, #ARGV, 2 do
  local time, id = ARGV[at], ARGV[at + 1]
  local score = redis.call('ZSCORE', KEYS[1], id)
  local known = score and tonumber(score)
  local answer = 0
  if known then
    answer = known >= oldest and 1 or 0
  elseif room > 0 then
    room, answer = room - 1, 1
  end
  if answer == 1 and not (known and known <= tonumber(time)) then
    redis.call('ZADD', KEYS[1], time, id)
  end
  admitted[#admitted + 1] = answer
end
return admitted
