//! Redis' time follows the clock of the test: its keys expire when the clock says so, those of the tracker too.

use redis::aio::MultiplexedConnection;

/// Takes seconds off the TTL of every key, and deletes those that run out. TTLs are set in whole seconds and the clock moves in whole
/// seconds, so rounding up removes the real time that has passed meanwhile, as long as that is less than a second.
const AGE: &str = "
local seconds, gone = tonumber(ARGV[1]), 0
for _, key in ipairs(redis.call('KEYS', '*')) do
  local left = redis.call('PTTL', key)
  if left >= 0 then
    left = math.ceil(left / 1000) - seconds
    if left > 0 then
      redis.call('EXPIRE', key, left)
    else
      redis.call('DEL', key)
      gone = gone + 1
    end
  end
end
return gone";

/// Lets the keys grow older; returns how many have expired.
pub async fn age(connection: &mut MultiplexedConnection, seconds: i64) -> u64 {
    let mut command = redis::cmd("EVAL");
    command.arg(AGE).arg(0).arg(seconds);
    command.query_async(connection).await.expect("the script runs")
}
