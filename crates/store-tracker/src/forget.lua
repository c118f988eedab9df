-- Forgets sealed entries of the epoch ledger; their numbers stay in the sums.
-- KEYS: 1 sealed, 2 sums, 3 meta. ARGV: 1 the floor: ids up to it are known to have been sealed, '' for no new one; then the
--   epochs.
-- Returns how many were forgotten.

-- A script that fails half-way leaves its first half behind: so nothing may fail once something is written.
for number = 1, 3 do
  local kind = redis.call('TYPE', KEYS[number]).ok
  if kind ~= 'none' and kind ~= 'hash' then
    return redis.error_reply('WRONGTYPE the ledger key ' .. KEYS[number] .. ' holds a ' .. kind .. ', it should be a hash')
  end
end

-- As numbers of any size: ids have no leading zeros.
local function is_above(one, other)
  return #one > #other or (#one == #other and one > other)
end

-- The floor comes first: no epoch is ever unknown in between. It only rises: another pruner may be further.
local floor = redis.call('HGET', KEYS[3], 'floor')
if ARGV[1] ~= '' and (not floor or is_above(ARGV[1], floor)) then
  redis.call('HSET', KEYS[3], 'floor', ARGV[1])
end
local forgotten = 0
for number = 2, #ARGV do
  forgotten = forgotten + redis.call('HDEL', KEYS[1], ARGV[number])
end
if forgotten > 0 then
  redis.call('HINCRBY', KEYS[2], 'entries', -forgotten)
end
return forgotten
