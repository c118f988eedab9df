-- Stores entries of the epoch ledger, and seals finished ones: each exactly once.
-- All keys share one hash slot.
-- KEYS: 1 open, 2 sealed, 3 sums, 4 hours, 5 meta
-- ARGV: 1 schema version, 2 now, 3 members of epochs:active that are known when this run is over ('' for unknown),
--   4 number of entries to store, then for each: epoch, entry as it was read ('' for none), new entry; then for each
--   entry to seal: epoch, entry as it was read, final entry, hour ('' for unknown), and seven numbers in the order of
--   NAMES.
-- An entry that another tracker changed since it was read is left alone: the next pass merges and tries again.
-- Returns how many entries were stored and how many were sealed.
local NAMES = { 'epochs', 'submissions', 'local', 'aggregated', 'included', 'unaccounted', 'late' }
local open, sealed, sums, hours, meta = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]

-- A script that fails half-way leaves its first half behind: so nothing may fail once something is written.
for _, key in ipairs(KEYS) do
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'none' and kind ~= 'hash' then
    return redis.error_reply('WRONGTYPE the ledger key ' .. key .. ' holds a ' .. kind .. ', it should be a hash')
  end
end

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

local at, stored, done = 5, 0, 0
for _ = 1, tonumber(ARGV[4]) do
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
          -- A damaged number of an hour must not tear the sums; who reads the hour reports it.
          redis.pcall('HINCRBY', hours, hour .. ':' .. name, value)
        end
      end
    end
    done = done + 1
  end
  at = at + 4 + #NAMES
end
if ARGV[3] ~= '' then
  redis.call('HSET', meta, 'active_known', ARGV[3])
end
return { stored, done }
