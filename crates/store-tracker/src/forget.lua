-- Forgets sealed entries of the epoch ledger; their numbers stay in the sums.
-- KEYS: 1 sealed, 2 sums, 3 meta. ARGV: 1 the floor: ids up to it are known to have been sealed; then the epochs.
-- The floor comes first: no epoch is ever unknown in between. Returns how many were forgotten.
redis.call('HSET', KEYS[3], 'floor', ARGV[1])
local forgotten = 0
for number = 2, #ARGV do
  forgotten = forgotten + redis.call('HDEL', KEYS[1], ARGV[number])
end
redis.call('HINCRBY', KEYS[2], 'entries', -forgotten)
return forgotten
