-- Writes only if everything still stands as it was read, and nothing else than what is expected lies under the keys that
-- are written. KEYS[1]: the key that the answer is routed by. ARGV, all in one row:
--   until: the last moment to write, in Unix seconds of this server, or ''
--   guards: how many, then each: key, field ('' for a plain value), '1' or '0' for there or not, value
--   types:  how many, then each: key, type
--   writes: to the end, each: how many words, the words of the command
-- Answers {'done', faults…}, {'late'}, {'changed', key}, {'type', key, type that stands there} or {'denied', key, command}; only
-- with 'done' anything was written. A fault is a key and what the server said: a counter that holds no number is left, the
-- others go on. What a server refuses altogether (it is a replica, its memory is full), it refuses at the first write: that
-- is the answer then, and nothing was written either.
local at = 0
local function take()
  at = at + 1
  return ARGV[at]
end

local last = take()
if last ~= '' and tonumber(redis.call('TIME')[1]) > tonumber(last) then
  return { 'late' }
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
-- From Redis 7 on a script can ask what its user may do, before it has done a part of it.
if redis.acl_check_cmd then
  local look = at
  while look < #ARGV do
    local words = tonumber(ARGV[look + 1])
    if not redis.acl_check_cmd(unpack(ARGV, look + 2, look + 1 + words)) then
      return { 'denied', ARGV[look + 3], ARGV[look + 2] }
    end
    look = look + 1 + words
  end
end
local answer = { 'done' }
local wrote = false
while at < #ARGV do
  local words = tonumber(take())
  local written = redis.pcall(unpack(ARGV, at + 1, at + words))
  if type(written) == 'table' and written['err'] then
    if not wrote or ARGV[at + 1] ~= 'INCRBY' then
      return written
    end
    answer[#answer + 1] = ARGV[at + 2]
    answer[#answer + 1] = written['err']
  end
  wrote = true
  at = at + words
end
return answer
