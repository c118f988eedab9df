-- Removes ids from `epochs:active` that are still sealed in the epoch ledger.
-- KEYS: 1 epochs:active, 2 sealed, 3 open, 4 meta. ARGV: for each id: the member as it is in the set, the id, its sealed entry as it
--   was read ('' for an entry that was forgotten).
-- Returns how many members were removed.

-- A script that fails half-way leaves its first half behind: so nothing may fail once something is written.
for number, expected in ipairs({ 'set', 'hash', 'hash', 'hash' }) do
  local kind = redis.call('TYPE', KEYS[number]).ok
  if kind ~= 'none' and kind ~= expected then
    return redis.error_reply('WRONGTYPE the key ' .. KEYS[number] .. ' holds a ' .. kind .. ', it should be a ' .. expected)
  end
end

-- As numbers of any size: ids have no leading zeros.
local function is_above(one, other)
  return #one > #other or (#one == #other and one > other)
end

local floor = redis.call('HGET', KEYS[4], 'floor')
local removed = {}
for at = 1, #ARGV, 3 do
  local member, id, entry = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local is_sealed
  if entry ~= '' then
    is_sealed = redis.call('HGET', KEYS[2], id) == entry
  else
    -- Up to the floor, every id that is not open was sealed.
    is_sealed = floor and not is_above(id, floor) and redis.call('HEXISTS', KEYS[3], id) == 0
  end
  if is_sealed then
    removed[#removed + 1] = member
  end
end
if #removed == 0 then
  return 0
end
local known = tonumber(redis.call('HGET', KEYS[4], 'active_known') or '')
local count = redis.call('SREM', KEYS[1], unpack(removed))
-- In the same step, so that the next pass does not search for the epochs that have left the set.
if known then
  redis.call('HSET', KEYS[4], 'active_known', string.format('%.0f', math.max(known - count, 0)))
end
return count
