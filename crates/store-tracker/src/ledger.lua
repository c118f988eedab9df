-- Stores entries of the epoch ledger, and seals finished ones: each exactly once.
-- All keys share one hash slot.
-- KEYS: 1 open, 2 sealed, 3 sums, 4 meta, 5 hours, 6 ended, 7 opened, 8 local, 9 aggregated, 10 listed, 11 included,
--   12 prefix of the hours' validators
-- ARGV, times and hours in Unix seconds, '' for what is unknown or missing:
--   1 schema version, 2 now, 3 seconds that hours are kept
--   4 name of the commit, 5 and 6 whether this is its first and its last run ('1' or '0')
--   the mark from which the next pass reads on: 7 earlier entries of the timelines, 8 members of epochs:active
--   the mark that this pass has read: 9 and 10, the same; 11 when the ledger was created, as it was read
--   12 the highest epoch to seal that has a time, else the highest one, 13 its entry, 14 whether it has a time ('1' or '0')
--   15 the number of entries to store; for each: epoch, entry as it was read, new entry, VALIDATORS
--   the number of late changes; for each: epoch, sealed entry as it was read, new sealed entry
--   for each entry to seal, up to the end: epoch, entry as it was read, final entry, seven numbers in the order of NAMES, six times in
--     the order of MOMENTS, VALIDATORS, the number of hours that it adds to; for each hour: its start, epochs, batches, submissions
--   VALIDATORS: the epoch's hour, the number of validators in its aggregated batch, and these
-- An entry that another tracker changed since it was read stays as it is: the next pass merges and tries again. That pass has to read
-- again what belongs to the entry, so the mark stays where it was.
-- Returns how many entries were stored and how many were sealed.
local NAMES = { 'epochs', 'submissions', 'local', 'aggregated', 'included', 'unaccounted', 'late' }
-- The keys from the sixth on: the end of the window, and five moments.
local MOMENTS = { 6, 7, 8, 9, 10, 11 }
local open, sealed, sums, meta, hours, validators = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[12]

local misplaced = wrong_type(1, 5, 'hash') or wrong_type(6, 11, 'zset')
if misplaced then
  return misplaced
end

local schema = redis.call('HGET', meta, 'schema')
if schema and schema ~= ARGV[1] then
  return redis.error_reply('SCHEMA the ledger has version ' .. schema .. ', this program writes version ' .. ARGV[1])
end
local born = redis.call('HGET', meta, 'born') or ''
if not schema then
  redis.call('HSET', meta, 'schema', ARGV[1], 'born', ARGV[2])
end

local at = 15
local function take()
  at = at + 1
  return ARGV[at - 1]
end

-- If the mark is not the one that the pass has read, or that of another ledger, it stays: another tracker has moved it, or the ledger
-- was reset or imported meanwhile and lacks what this pass has seen.
local function is_same_mark()
  local early, known = redis.call('HGET', meta, 'early') or '', redis.call('HGET', meta, 'active_known') or ''
  return early == ARGV[9] and known == ARGV[10] and born == ARGV[11]
end

if ARGV[5] == '1' then
  if is_same_mark() then
    redis.call('HSET', meta, 'pending', ARGV[4])
  else
    redis.call('HDEL', meta, 'pending')
  end
end

-- Whether a value is as it was read; if not, this commit does not move the mark.
local function is_same(held, read)
  if held ~= read then
    redis.call('HDEL', meta, 'pending')
  end
  return held == read
end

local function unchanged(epoch, read)
  if redis.call('HEXISTS', sealed, epoch) == 1 then
    return is_same(nil, read)
  end
  return is_same(redis.call('HGET', open, epoch) or '', read)
end

local oldest = tonumber(ARGV[2]) - tonumber(ARGV[3])
local named = {}
-- Takes VALIDATORS.
local function take_validators(fresh)
  local hour = take()
  for _ = 1, tonumber(take()) do
    local validator = take()
    if fresh and hour ~= '' and tonumber(hour) >= oldest then
      named[hour] = named[hour] or {}
      named[hour][validator] = true
    end
  end
end

local stored, done = 0, 0
for _ = 1, tonumber(take()) do
  local epoch, read, entry = take(), take(), take()
  local fresh = unchanged(epoch, read)
  if fresh then
    redis.call('HSET', open, epoch, entry)
    stored = stored + 1
  end
  take_validators(fresh)
end

for _ = 1, tonumber(take()) do
  local epoch, read, entry = take(), take(), take()
  if is_same(redis.call('HGET', sealed, epoch), read) then
    redis.call('HSET', sealed, epoch, entry)
    redis.call('HINCRBY', sums, 'late', 1)
  end
end

-- Sealed epochs are gathered first and written at the end, with one call for all: so nothing can fail between two of them, and Redis
-- is blocked for a fraction of the time.
local entries, names, moments, added, by_hour = {}, {}, {}, {}, {}
local function push(list, ...)
  for _, value in ipairs({ ... }) do
    list[#list + 1] = value
  end
end
while ARGV[at] do
  local epoch, read, entry = take(), take(), take()
  local fresh = unchanged(epoch, read)
  for _, name in ipairs(NAMES) do
    local number = tonumber(take())
    if fresh then
      added[name] = (added[name] or 0) + number
    end
  end
  for _, key in ipairs(MOMENTS) do
    local moment = take()
    if fresh and moment ~= '' then
      moments[key] = moments[key] or {}
      push(moments[key], moment, epoch)
    end
  end
  take_validators(fresh)
  for _ = 1, tonumber(take()) do
    local start = take()
    for _, name in ipairs({ 'epochs', 'batches', 'submissions' }) do
      local number = tonumber(take())
      -- No dataset shows older hours.
      if fresh and number > 0 and tonumber(start) >= oldest then
        local field = start .. ':' .. name
        by_hour[field] = (by_hour[field] or 0) + number
      end
    end
  end
  if fresh then
    push(entries, epoch, entry)
    push(names, epoch)
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
  for key, list in pairs(moments) do
    redis.call('ZADD', KEYS[key], unpack(list))
  end
  for field, number in pairs(by_hour) do
    redis.call('HINCRBY', hours, field, string.format('%.0f', number))
  end
  -- Three fields an hour: more than those of the hours that are kept means that old ones are left.
  if redis.call('HLEN', hours) > 3 * (tonumber(ARGV[3]) / 3600 + 6) then
    for _, field in ipairs(redis.call('HKEYS', hours)) do
      if (tonumber(string.match(field, '^%d+')) or 0) < oldest then
        redis.call('HDEL', hours, field)
      end
    end
  end
end
for hour, set in pairs(named) do
  local key = validators .. ':' .. hour
  for validator in pairs(set) do
    -- A damaged set of an hour must not tear the sums; a pass that reads the hour reports it.
    redis.pcall('SADD', key, validator)
  end
  redis.call('EXPIRE', key, ARGV[3])
end
if ARGV[12] ~= '' then
  local latest = redis.call('HGET', meta, 'latest')
  local timed = redis.call('HGET', meta, 'latest_timed') or '1'
  local is_later = not latest or ARGV[14] > timed or (ARGV[14] == timed and is_above(ARGV[12], latest))
  if is_later then
    redis.call('HSET', meta, 'latest', ARGV[12], 'latest_entry', ARGV[13], 'latest_timed', ARGV[14])
  end
end
if ARGV[6] == '1' then
  local is_whole = redis.call('HGET', meta, 'pending') == ARGV[4]
  for number, field in pairs({ [7] = 'early', [8] = 'active_known' }) do
    if ARGV[number] == '' then
      redis.call('HDEL', meta, field)
    elseif is_whole then
      redis.call('HSET', meta, field, ARGV[number])
    end
  end
  redis.call('HDEL', meta, 'pending')
end
return { stored, done }
