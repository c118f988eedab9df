-- The last step of the upgrade of a ledger from version 1 to version 2: sets the sums of hours, unless an epoch was sealed meanwhile.
-- KEYS: 1 sums, 2 meta, 3 hours.
-- ARGV: 1 the number of sealed entries that the hours were computed from; then field and value of each hour.
-- Returns whether the ledger has version 2 now.

local misplaced = wrong_type(1, 3, 'hash')
if misplaced then
  return misplaced
end

local schema = redis.call('HGET', KEYS[2], 'schema')
if schema ~= '1' then
  return schema == '2' and 1 or 0
end
if (redis.call('HGET', KEYS[1], 'entries') or '0') ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[3])
for number = 2, #ARGV, 2 do
  redis.call('HSET', KEYS[3], ARGV[number], ARGV[number + 1])
end
redis.call('HSET', KEYS[2], 'schema', '2')
return 1
