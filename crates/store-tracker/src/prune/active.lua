-- Removes ids from `epochs:active` that are still sealed in the epoch ledger.
-- KEYS: 1 epochs:active, 2 sealed, 3 open, 4 meta.
-- ARGV: for each id: the member of the set, the id, its sealed entry as it was read ('' for a forgotten one).
-- Returns how many members were removed.

local misplaced = wrong_type(1, 1, 'set') or wrong_type(2, 4, 'hash')
if misplaced then
  return misplaced
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
-- In the same step, so that the next pass does not take the removed ids for a change that it missed.
if known then
  redis.call('HSET', KEYS[4], 'active_known', string.format('%.0f', math.max(known - count, 0)))
end
return count
