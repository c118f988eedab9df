-- Shared by the scripts of the epoch ledger: this text is put before each of them.

-- The error for the first of these keys that has another type than expected, or nil. A script that fails half-way has written its
-- first half: so each script checks all types before it writes.
local function wrong_type(first, last, expected)
  for number = first, last do
    local kind = redis.call('TYPE', KEYS[number]).ok
    if kind ~= 'none' and kind ~= expected then
      return redis.error_reply('WRONGTYPE the key ' .. KEYS[number] .. ' holds a ' .. kind .. ', it should be a ' .. expected)
    end
  end
end

-- Compares ids as numbers of any size: they have no leading zeros.
local function is_above(one, other)
  return #one > #other or (#one == #other and one > other)
end

