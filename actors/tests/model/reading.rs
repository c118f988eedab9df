//! Reads every dataset of the market back from Redis, in one moment.

use std::collections::BTreeMap;

use redis::{FromRedisValue, aio::MultiplexedConnection, from_redis_value};
use reference::{CHECKSUM, Shown, full};
use serde_json::Value;

const JSON: [&str; 4] =
    ["dashboard:summary", "metrics:participation", "metrics:current_epoch", "stats:daily"];
const OTHERS: [&str; 3] = ["stats:current", "epochs:gaps", "vpa:stats"];

fn next<T: FromRedisValue>(answers: &mut impl Iterator<Item = redis::Value>) -> T {
    from_redis_value(answers.next().expect("answered")).expect("of this type")
}

/// Everything that readers see. `states` are the names of the epochs' states.
pub async fn read(connection: &mut MultiplexedConnection, states: &[(u64, String)]) -> Shown {
    let hours: Vec<String> = redis::cmd("KEYS")
        .arg(full(CHECKSUM, "stats:hourly:*"))
        .query_async(connection)
        .await
        .expect("listed");
    let stats: Vec<String> =
        redis::cmd("KEYS").arg("*:vpa:stats").query_async(connection).await.expect("listed");
    let mut pipe = redis::pipe();
    pipe.atomic();
    for name in JSON {
        pipe.get(full(CHECKSUM, name));
    }
    pipe.hgetall(full(CHECKSUM, OTHERS[0])).zrange(full(CHECKSUM, OTHERS[1]), 0, -1);
    for name in JSON.iter().chain(&OTHERS[..2]) {
        pipe.ttl(full(CHECKSUM, name));
    }
    for hour in &hours {
        pipe.get(hour).ttl(hour);
    }
    for name in &stats {
        pipe.ttl(name);
    }
    for (_, state) in states {
        pipe.exists(state).hget(state, "submissions_count");
    }
    let answers: Vec<redis::Value> = pipe.query_async(connection).await.expect("read");
    let mut answers = answers.into_iter();
    let mut json = || {
        let text: Option<String> = next(&mut answers);
        text.map_or(Value::Null, |text| serde_json::from_str(&text).expect("a dataset is JSON"))
    };
    let [summary, participation, current, day] = [json(), json(), json(), json()];
    let stats_hash: BTreeMap<String, String> = next(&mut answers);
    let gaps: Vec<String> = next(&mut answers);
    let mut shown = Shown { summary, participation, current, day, stats: stats_hash, ..Shown::default() };
    shown.gaps = gaps.into_iter().collect();
    for name in JSON.iter().chain(&OTHERS[..2]) {
        note_ttl(&mut shown, name, next(&mut answers));
    }
    for hour in &hours {
        let (text, ttl): (Option<String>, i64) = (next(&mut answers), next(&mut answers));
        let start: i64 = hour.rsplit(':').next().and_then(|text| text.parse().ok()).expect("a second");
        if let Some(text) = text {
            shown.hours.insert(start, serde_json::from_str(&text).expect("an hour is JSON"));
            note_ttl(&mut shown, &format!("stats:hourly:{start}"), ttl);
        }
    }
    for _ in &stats {
        note_ttl(&mut shown, OTHERS[2], next(&mut answers));
    }
    for (epoch, _) in states {
        let (exists, count): (bool, Option<String>) = (next(&mut answers), next(&mut answers));
        if exists {
            shown.counts.insert(*epoch, count);
        }
    }
    shown
}

fn note_ttl(shown: &mut Shown, name: &str, ttl: i64) {
    // Negative: there is no such key, or it never expires. The second is a fault, which the checks see as a missing TTL.
    if ttl >= 0 {
        // TTL rounds to the next second; a moment of real time has passed since it was set.
        shown.ttls.insert(name.to_owned(), ttl);
    }
}
