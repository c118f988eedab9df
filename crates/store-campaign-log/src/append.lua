-- Makes an offered state of a run, a job or an alert an event of its campaign, once and in order, in one step.
-- KEYS: the feed of all campaigns (a stream) and the ids (a hash); the log of the campaign (a stream), its state, its versions and
--   its latest events (hashes).
-- ARGV, in this order:
--   channel, campaign, kind, subject
--   rank:      when the offered state was read, a number; an older state than the last one is refused
--   version:   the state's name: the same state has the same one
--   payload:   the event's content
--   seen:      the last id of all that the caller knows, or 0
--   known:     the id under which the caller has received this very version, or 0
--   form:      'lasting' for one whose latest event is kept, 'passing' for one that is forgotten with the log,
--              'silent' for a change that is no event, 'repeated' for a lasting one that is an event whatever was before
--   events, bytes, age, log_ttl, ttl, latest: limits; the ages in seconds
--   tolerance: a rank that is older than the last one by more than this is no older state, but of a clock that was put back
-- Answers what became of it (`new`, `known`, `overtaken`, `noted`) and its id.
local feed, ids, log, state, versions, latest = unpack(KEYS)
local channel, campaign, kind, subject, rank, version, payload = unpack(ARGV, 1, 7)
local seen, known, form = tonumber(ARGV[8]), tonumber(ARGV[9]), ARGV[10]
local events, bytes, age = tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13])
local repeats = form == 'repeated'
if repeats then form = 'lasting' end
local log_ttl, ttl, most_latest, tolerance = ARGV[14], ARGV[15], tonumber(ARGV[16]), tonumber(ARGV[17])

local time = redis.call('TIME')
local clock = tonumber(time[1]) * 1000000 + tonumber(time[2])
-- Lua writes large numbers with an exponent by itself.
local function text(number) return string.format('%.0f', number) end
local at = text(math.floor(clock / 1000))

local function newest(stream)
  local entry = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  return entry and tonumber(string.match(entry[1], '^%d+'))
end
local held = redis.call('HMGET', ids, 'last', 'lost')
local last, lost = tonumber(held[1] or ''), tonumber(held[2] or '') or 0
if not last then
  -- The first event of all, or Redis has lost its data: nothing is known of what was before.
  last = newest(feed) or 0
  lost = clock - 1
end
if math.max(seen, known) > last then
  -- The caller has received events that Redis has lost.
  last = math.max(seen, known)
  lost = last
end
held = redis.call('HMGET', state, 'last', 'gone', 'bytes')
local own, gone, used = tonumber(held[1] or '') or 0, tonumber(held[2] or '') or 0, tonumber(held[3] or '') or 0
local top = newest(log)
if not top then
  -- The log has expired, and all its events with it.
  gone, used = math.max(gone, own), 0
else
  last = math.max(last, top)
end

local field = kind .. '|' .. subject
local function keep(id, event)
  redis.call('HSET', versions, field, text(id) .. ' ' .. rank .. ' ' .. version)
  redis.call('EXPIRE', versions, ttl)
  if event then
    redis.call('HSET', latest, field, text(id) .. ' ' .. text(event) .. ' ' .. at .. ' ' .. payload)
  end
  redis.call('EXPIRE', latest, ttl)
end
local function finish(what, id)
  redis.call('HSET', ids, 'last', text(last), 'lost', text(lost))
  redis.call('HSET', state, 'last', text(own), 'gone', text(gone), 'bytes', text(used))
  redis.call('EXPIRE', ids, ttl)
  redis.call('EXPIRE', state, ttl)
  return { what, text(id) }
end

local id, ranked, name = string.match(redis.call('HGET', versions, field) or '', '^(%d+) (%d+) (.*)$')
if id then
  id, ranked = tonumber(id), tonumber(ranked)
  local newer = tonumber(rank) > ranked
  if name == version and not repeats then
    if newer then keep(id, nil) end
    return finish('known', id)
  end
  if not newer and not repeats and tonumber(rank) + tolerance >= ranked then return finish('overtaken', id) end
elseif known > 0 then
  own = math.max(own, known)
  keep(known, form == 'lasting' and 0 or nil)
  return finish('known', known)
end
if form == 'silent' then
  -- What never was an event needs no end.
  if id then keep(last, nil) end
  return finish('noted', last)
end

local previous = last
last = math.max(last + 1, clock)
own = last
local entry = { 'campaign', campaign, 'kind', kind, 'subject', subject, 'previous', text(previous), 'at', at,
  'form', form, 'payload', payload }
redis.call('XADD', feed, 'MAXLEN', events, text(last) .. '-0', unpack(entry))
redis.call('XADD', log, text(last) .. '-0', unpack(entry))
used = used + #payload
keep(last, form == 'lasting' and previous or nil)

-- At most this many a call: the log shrinks faster than it grows, and no call takes long.
local many = redis.call('XLEN', log)
local dropped = {}
for _, old in ipairs(redis.call('XRANGE', log, '-', text(last - 1) .. '-0', 'COUNT', 64)) do
  local its, fields = tonumber(string.match(old[1], '^%d+')), {}
  if many <= events and used <= bytes and its >= clock - age * 1000000 then break end
  for index = 1, #old[2], 2 do fields[old[2][index]] = old[2][index + 1] end
  dropped[#dropped + 1] = old[1]
  many, used, gone = many - 1, used - #(fields.payload or ''), math.max(gone, its)
  if fields.form == 'passing' then
    local of = fields.kind .. '|' .. fields.subject
    local noted = redis.call('HGET', versions, of)
    if noted and tonumber(string.match(noted, '^%d+')) == its then redis.call('HDEL', versions, of) end
  end
end
if #dropped > 0 then redis.call('XDEL', log, unpack(dropped)) end
redis.call('EXPIRE', log, log_ttl)
redis.call('EXPIRE', feed, log_ttl)

if redis.call('HLEN', latest) > most_latest then
  local oldest, of
  local all = redis.call('HGETALL', latest)
  for index = 1, #all, 2 do
    local its = tonumber(string.match(all[index + 1], '^%d+')) or 0
    if not oldest or its < oldest then oldest, of = its, all[index] end
  end
  redis.call('HDEL', latest, of)
  redis.call('HDEL', versions, of)
end
redis.call('PUBLISH', channel, table.concat({ campaign, kind, subject, text(last), text(previous), at, payload }, '\n'))
return finish('new', last)
