-- Stores entries of the epoch ledger, and seals finished ones: each exactly once.
-- All keys share one hash slot.
-- KEYS: 1 open, 2 sealed, 3 sums, 4 meta, 5 opened, 6 aggregated, 7 included, 8 prefix of the hours' validators
-- ARGV: 1 schema version, 2 now, 3 seconds that an hour's validators are kept,
--   4 members of epochs:active that are known when this run is over ('' for unknown),
--   5 number of entries to store, then for each: epoch, entry as it was read ('' for none), new entry;
--   then the number of late changes, for each: epoch, what is stored of it as it was read, and what shall be;
--   then for each entry to seal: epoch, entry as it was read, final entry, seven numbers in the order of NAMES,
--   when it was opened and aggregated ('' for unknown), its hour ('' for unknown), the number of validators in its
--   aggregated batch, and these.
-- An entry that another tracker changed since it was read is left alone: the next pass merges and tries again.
-- Returns how many entries were stored and how many were sealed.
local NAMES = { 'epochs', 'submissions', 'local', 'aggregated', 'included', 'unaccounted', 'late' }
local open, sealed, sums, meta = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local opened, aggregated, included, validators = KEYS[5], KEYS[6], KEYS[7], KEYS[8]

-- A script that fails half-way leaves its first half behind: so nothing may fail once something is written.
for number = 1, 7 do
  local expected = number <= 4 and 'hash' or 'zset'
  local kind = redis.call('TYPE', KEYS[number]).ok
  if kind ~= 'none' and kind ~= expected then
    return redis.error_reply('WRONGTYPE the ledger key ' .. KEYS[number] .. ' holds a ' .. kind .. ', it should be a ' .. expected)
  end
end

local schema = redis.call('HGET', meta, 'schema')
if schema and schema ~= ARGV[1] then
  return redis.error_reply('SCHEMA the ledger has version ' .. schema .. ', this program writes version ' .. ARGV[1])
end
if not schema then
  redis.call('HSET', meta, 'schema', ARGV[1], 'born', ARGV[2])
end

local at = 5
local function take()
  at = at + 1
  return ARGV[at - 1]
end

local function unchanged(epoch, read)
  return (redis.call('HGET', open, epoch) or '') == read and redis.call('HEXISTS', sealed, epoch) == 0
end

local stored, done = 0, 0
for _ = 1, tonumber(take()) do
  local epoch, read, entry = take(), take(), take()
  if unchanged(epoch, read) then
    redis.call('HSET', open, epoch, entry)
    stored = stored + 1
  end
end

for _ = 1, tonumber(take()) do
  local epoch, read, entry = take(), take(), take()
  if redis.call('HGET', sealed, epoch) == read then
    redis.call('HSET', sealed, epoch, entry)
    redis.call('HINCRBY', sums, 'late', 1)
  end
end

-- What is sealed is gathered first and written at the end, with one call for all epochs: so nothing can fail between
-- two of them, and Redis is held up for a fraction of the time.
local entries, names, moments, hours, added = {}, {}, { {}, {}, {} }, {}, {}
local function push(list, ...)
  for _, value in ipairs({ ... }) do
    list[#list + 1] = value
  end
end
while ARGV[at] do
  local epoch, read, entry = take(), take(), take()
  local numbers = {}
  for number = 1, #NAMES do
    numbers[number] = tonumber(take())
  end
  local opened_at, aggregated_at, hour = take(), take(), take()
  local named = {}
  for number = 1, tonumber(take()) do
    named[number] = take()
  end
  if unchanged(epoch, read) then
    push(entries, epoch, entry)
    push(names, epoch)
    for number, name in ipairs(NAMES) do
      added[name] = (added[name] or 0) + numbers[number]
    end
    if opened_at ~= '' then
      push(moments[1], opened_at, epoch)
    end
    if aggregated_at ~= '' then
      push(moments[2], aggregated_at, epoch)
      if numbers[5] > 0 then
        push(moments[3], aggregated_at, epoch)
      end
    end
    if hour ~= '' then
      hours[hour] = hours[hour] or {}
      for _, validator in ipairs(named) do
        hours[hour][validator] = true
      end
    end
    done = done + 1
  end
end
if done > 0 then
  redis.call('HSET', sealed, unpack(entries))
  redis.call('HDEL', open, unpack(names))
  -- So that a lost `sealed` is noticed, and its epochs are not counted again.
  redis.call('HINCRBY', sums, 'entries', done)
  for _, name in ipairs(NAMES) do
    if added[name] > 0 then
      redis.call('HINCRBY', sums, name, string.format('%.0f', added[name]))
    end
  end
  for number, key in ipairs({ opened, aggregated, included }) do
    if #moments[number] > 0 then
      redis.call('ZADD', key, unpack(moments[number]))
    end
  end
  for hour, set in pairs(hours) do
    local key = validators .. ':' .. hour
    for validator in pairs(set) do
      -- A damaged set of an hour must not tear the sums; who reads the hour reports it.
      redis.pcall('SADD', key, validator)
    end
    redis.call('EXPIRE', key, ARGV[3])
  end
end
if ARGV[4] ~= '' then
  redis.call('HSET', meta, 'active_known', ARGV[4])
end
return { stored, done }
