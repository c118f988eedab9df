-- What the scripts of the epoch ledger share: this text stands before each of them.

-- The error for the first of these keys that holds something else than expected, or nil. A script that fails half-way leaves its
-- first half behind: so each asks before it writes, and nothing fails afterwards.
local function wrong_type(first, last, expected)
  for number = first, last do
    local kind = redis.call('TYPE', KEYS[number]).ok
    if kind ~= 'none' and kind ~= expected then
      return redis.error_reply('WRONGTYPE the ledger key ' .. KEYS[number] .. ' holds a ' .. kind .. ', it should be a ' .. expected)
    end
  end
end

-- As numbers of any size: ids have no leading zeros.
local function is_above(one, other)
  return #one > #other or (#one == #other and one > other)
end

