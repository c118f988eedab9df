-- Stores entries of the epoch ledger, and seals finished ones: each exactly once.
-- All keys share one hash slot.
-- KEYS: 1 open, 2 sealed, 3 sums, 4 hours, 5 meta
-- ARGV: 1 schema version, 2 now, 3 number of entries to store, then for each: epoch, entry as it was read ('' for
--   none), new entry; then for each entry to seal: epoch, entry as it was read, final entry, hour ('' for unknown),
--   and seven numbers in the order of NAMES.
-- An entry that another tracker changed since it was read is left alone: the next pass merges and tries again.
-- Returns how many entries were stored and how many were sealed.
local NAMES = { 'epochs', 'submissions', 'local', 'aggregated', 'included', 'unaccounted', 'late' }
local open, sealed, sums, hours, meta = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]

local schema = redis.call('HGET', meta, 'schema')
if schema and schema ~= ARGV[1] then
  return redis.error_reply('SCHEMA the ledger has version ' .. schema .. ', this program writes version ' .. ARGV[1])
end
if not schema then
  redis.call('HSET', meta, 'schema', ARGV[1], 'born', ARGV[2])
end

local function unchanged(epoch, read)
  return (redis.call('HGET', open, epoch) or '') == read and redis.call('HEXISTS', sealed, epoch) == 0
end

local at, stored, done = 4, 0, 0
for _ = 1, tonumber(ARGV[3]) do
  local epoch, read, entry = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  at = at + 3
  if unchanged(epoch, read) then
    redis.call('HSET', open, epoch, entry)
    stored = stored + 1
  end
end

while ARGV[at] do
  local epoch, read, entry, hour = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  if unchanged(epoch, read) then
    redis.call('HSET', sealed, epoch, entry)
    redis.call('HDEL', open, epoch)
    for number, name in ipairs(NAMES) do
      local value = ARGV[at + 3 + number]
      if value ~= '0' then
        redis.call('HINCRBY', sums, name, value)
        if hour ~= '' then
          redis.call('HINCRBY', hours, hour .. ':' .. name, value)
        end
      end
    end
    done = done + 1
  end
  at = at + 4 + #NAMES
end
return { stored, done }
