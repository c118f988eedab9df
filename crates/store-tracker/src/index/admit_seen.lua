-- Admits validators to the index while its quota has room. The hash holds every admitted validator, and when it was last seen.
-- KEYS: 1 the hash. ARGV: 1 the quota; then for each validator: its id, the time.
-- Returns for each validator 1 if it is in the index now, else 0. A later time replaces an earlier one.
local room, admitted = tonumber(ARGV[1]) - redis.call('HLEN', KEYS[1]), {}
for at = 2, #ARGV, 2 do
  local id, time = ARGV[at], ARGV[at + 1]
  local known = redis.call('HGET', KEYS[1], id)
  if known or room > 0 then
    if not known then
      room = room - 1
    end
    -- A field that holds no number is replaced.
    local held = known and string.match(known, '^%d+$') and tonumber(known)
    if not held or held < tonumber(time) then
      redis.call('HSET', KEYS[1], id, time)
    end
    admitted[#admitted + 1] = 1
  else
    admitted[#admitted + 1] = 0
  end
end
return admitted
