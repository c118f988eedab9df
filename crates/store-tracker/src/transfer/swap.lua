-- Replaces the present ledger by one that was written under other names, in one step.
-- KEYS: the staged keys, then the key that each of them becomes, then every key that a ledger of this market may have.
-- ARGV: 1 the number of staged keys, 2 '1' to replace a ledger; then for each staged key: the command that counts its elements, their
--   number, its TTL in milliseconds ('' for none).
-- Returns 'imported'; 'exists' where there is a ledger and it is not to be replaced, 'incomplete' where a staged key lacks elements: then
-- nothing was changed.
local staged = tonumber(ARGV[1])
local first = 2 * staged + 1

if ARGV[2] ~= '1' then
  for number = first, #KEYS do
    if redis.call('EXISTS', KEYS[number]) == 1 then
      return 'exists'
    end
  end
end
for number = 1, staged do
  if redis.call(ARGV[3 * number], KEYS[number]) ~= tonumber(ARGV[3 * number + 1]) then
    return 'incomplete'
  end
end

-- A script that fails half-way has written its first half. So a command that the user may not run fails here, on a staged key, which
-- expires; UNLINK is the first command that changes the ledger.
redis.call('RENAME', KEYS[1], KEYS[1])
redis.call('PERSIST', KEYS[1])
redis.call('PEXPIRE', KEYS[1], 60000)

redis.call('UNLINK', unpack(KEYS, first))
for number = 1, staged do
  local key, ttl = KEYS[staged + number], ARGV[3 * number + 2]
  redis.call('RENAME', KEYS[number], key)
  if ttl == '' then
    redis.call('PERSIST', key)
  else
    redis.call('PEXPIRE', key, ttl)
  end
end
return 'imported'
