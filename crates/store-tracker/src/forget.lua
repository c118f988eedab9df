-- Forgets sealed entries of the epoch ledger; their numbers stay in the sums.
-- KEYS: 1 sealed, 2 sums, 3 meta.
-- ARGV: 1 the floor, up to which ids are known to be sealed ('' for no new one); then the epochs.
-- Returns how many were forgotten.

local misplaced = wrong_type(1, 3, 'hash')
if misplaced then
  return misplaced
end

-- The floor only rises: another pruner may have set a higher one.
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
