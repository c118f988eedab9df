-- Sets a number in decimal digits, but never to less than what is there. KEYS[1]: the key; ARGV[1]: the number.
-- Answers 1 where it was set, 0 where as much or more stands there. What stands there and is no number is replaced.
local there, number = redis.call('GET', KEYS[1]), ARGV[1]
if there and string.match(there, '^%d+$') then
  -- As texts, for Lua's numbers are exact to 2^53 only.
  there = string.gsub(there, '^0+(%d)', '%1')
  if #there > #number or (#there == #number and there >= number) then
    return 0
  end
end
redis.call('SET', KEYS[1], number)
return 1
