-- Moves calls between the stages of a lane, or holds and frees the lane, in one step. KEYS[1]: the lane's hold, a hash, which the
-- answer is routed by. ARGV, all in one row:
--   from:    the stage that the calls are at, a stream
--   to:      the stage that they go to, or '' for none
--   most:    the most calls that `to` keeps: the oldest ones go
--   keeps:   '1' to leave them at `from` as well
--   audit:   the audit log, or ''; then the most that it keeps, and what is written into it
--   holds:   how many, then each: field of the hold, value or '' to remove it
--   notes:   how many, then each: field, value, which are added to each call at its new stage
--   ids:     to the end, the calls
-- Answers how many calls were moved, the fields `paused` and `denied` of the hold, and the first call that is at `from` then.
local at = 0
local function take()
  at = at + 1
  return ARGV[at]
end

local from, to, most, keeps = take(), take(), take(), take()
local audit, audited, text = take(), take(), take()
for _ = 1, tonumber(take()) do
  local field, value = take(), take()
  if value == '' then
    redis.call('HDEL', KEYS[1], field)
  else
    redis.call('HSET', KEYS[1], field, value)
  end
end
local notes = {}
for index = 1, 2 * tonumber(take()) do
  notes[index] = take()
end
local moved = 0
while at < #ARGV do
  local id = take()
  local found = redis.call('XRANGE', from, id, id)[1]
  if found then
    if to ~= '' then
      local fields, known = {}, {}
      -- A call that was at another stage before may have such notes already.
      for index = 1, #notes, 2 do
        known[notes[index]] = true
      end
      for index = 1, #found[2], 2 do
        if not known[found[2][index]] then
          fields[#fields + 1] = found[2][index]
          fields[#fields + 1] = found[2][index + 1]
        end
      end
      for _, note in ipairs(notes) do
        fields[#fields + 1] = note
      end
      redis.call('XADD', to, 'MAXLEN', most, '*', unpack(fields))
    end
    if keeps ~= '1' then
      redis.call('XDEL', from, id)
    end
    moved = moved + 1
  end
end
if audit ~= '' then
  redis.call('XADD', audit, 'MAXLEN', audited, '*', 'action', text, 'calls', moved)
end
local hold = redis.call('HMGET', KEYS[1], 'paused', 'denied')
local first = redis.call('XRANGE', from, '-', '+', 'COUNT', 1)[1]
return { moved, hold[1] or '', hold[2] or '', first and first[1] or '' }
