-- Writes only if everything still stands as it was read, and nothing else than what is expected lies under the keys that
-- are written. KEYS[1]: the key that the answer is routed by. ARGV, all in one row:
--   guards: how many, then each: key, field ('' for a plain value), '1' or '0' for there or not, value
--   types:  how many, then each: key, type
--   writes: to the end, each: how many words, the words of the command
-- Answers {'done', faults…}, {'changed', key} or {'type', key, type that stands there}; only with 'done' anything was
-- written. A fault is a key and what the server said: a counter that holds no number is left, the others go on.
local at = 0
local function take()
  at = at + 1
  return ARGV[at]
end

local guards = {}
for index = 1, tonumber(take()) do
  guards[index] = { take(), take(), take(), take() }
end
for _ = 1, tonumber(take()) do
  local key, expected = take(), take()
  local there = redis.call('TYPE', key)['ok']
  if there ~= 'none' and there ~= expected then
    return { 'type', key, there }
  end
end
for _, guard in ipairs(guards) do
  local key, field, there, expected = unpack(guard)
  local value
  if field == '' then
    value = redis.call('GET', key)
  else
    value = redis.call('HGET', key, field)
  end
  if (there == '1' and value ~= expected) or (there == '0' and value) then
    return { 'changed', key }
  end
end
local answer = { 'done' }
while at < #ARGV do
  local words = tonumber(take())
  local written = redis.pcall(unpack(ARGV, at + 1, at + words))
  if type(written) == 'table' and written['err'] then
    answer[#answer + 1] = ARGV[at + 2]
    answer[#answer + 1] = written['err']
  end
  at = at + words
end
return answer
