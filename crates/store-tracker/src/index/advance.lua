-- Moves the state of one entity of the index, by each step that is allowed from the state reached so far.
-- KEYS: 1 the entity's hash. ARGV: 1 TTL in seconds; then for each step: its time, the state, the number of states
-- from which it is entered, and these. It is entered from no state at all, too.
-- Returns the state before ('' for none) and the state now.
local before = redis.call('HGET', KEYS[1], 'state') or ''
local state, at = before, 2
while at < #ARGV do
  local time, to, count = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  local moves = state == ''
  for number = at + 3, at + 2 + count do
    moves = moves or ARGV[number] == state
  end
  if moves then
    state = to
    redis.call('HSET', KEYS[1], 'state', to, 'updated_at', time, to .. '_at', time)
  end
  at = at + 3 + count
end
redis.call('EXPIRE', KEYS[1], ARGV[1])
return { before, state }
