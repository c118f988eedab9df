//! The contents of a Redis as its readers see them, so that what two runs have left can be compared key by key. Reads
//! only; panics when the server does not answer, or when a key holds a stream.

#![allow(clippy::expect_used, clippy::panic, clippy::missing_panics_doc)]

use std::collections::{BTreeMap, BTreeSet};

use redis::{FromRedisValue, aio::MultiplexedConnection};

/// The contents of a Redis, by key.
pub type Contents = BTreeMap<String, Content>;

/// The content of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Whether it expires.
    pub expires: bool,
    /// Its value: the elements of a list in their order; members of a set, `field = value` of a hash or `member =
    /// score` of a zset, sorted.
    pub words: Vec<String>,
}

/// Runs a command given as words.
pub async fn query<T: FromRedisValue>(connection: &mut MultiplexedConnection, words: &[&str]) -> T {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command.query_async(connection).await.expect("answered")
}

/// Whether a key is a version of the chain state, which differs between runs that come to the same state.
fn is_version(key: &str) -> bool {
    key.contains("tracker:chain:") && key.ends_with(":version")
}

/// A text without the moment `"expires":…,` at which the submissions of a window expire: it follows from the time of the run.
fn without_moment(text: &str) -> String {
    let mut parts = text.split("\"expires\":");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| all + part.trim_start_matches(|digit: char| digit.is_ascii_digit()))
}

/// The contents of the wanted keys, but for what depends on the time of the run. Nothing may write meanwhile.
pub async fn contents(connection: &mut MultiplexedConnection, wanted: impl Fn(&str) -> bool) -> Contents {
    let mut all = Contents::new();
    for key in query::<Vec<String>>(connection, &["KEYS", "*"]).await {
        if !wanted(&key) || is_version(&key) {
            continue;
        }
        let kind: String = query(connection, &["TYPE", &key]).await;
        let pairs = |pairs: Vec<(String, String)>| -> Vec<String> {
            pairs.into_iter().map(|(name, value)| format!("{name} = {}", without_moment(&value))).collect()
        };
        let mut words = match kind.as_str() {
            "string" => vec![query(connection, &["GET", &key]).await],
            "list" => query(connection, &["LRANGE", &key, "0", "-1"]).await,
            "set" => query(connection, &["SMEMBERS", &key]).await,
            "hash" => pairs(query(connection, &["HGETALL", &key]).await),
            "zset" => pairs(query(connection, &["ZRANGE", &key, "0", "-1", "WITHSCORES"]).await),
            other => panic!("{key} is a {other}"),
        };
        // Only a list has an order of its own; the others are returned in any order.
        if kind != "list" {
            words.sort();
        }
        let expires = query::<i64>(connection, &["TTL", &key]).await >= 0;
        all.insert(key, Content { expires, words });
    }
    all
}

/// The serialised value of a key (`DUMP`), and when it expires in Unix milliseconds; -1 for never.
pub type Dump = (Vec<u8>, i64);

/// All keys byte by byte. A key that expires meanwhile is left out.
pub async fn dumps(connection: &mut MultiplexedConnection) -> BTreeMap<String, Dump> {
    let mut all = BTreeMap::new();
    for key in query::<Vec<String>>(connection, &["KEYS", "*"]).await {
        let Some(bytes) = query::<Option<Vec<u8>>>(connection, &["DUMP", &key]).await else { continue };
        let expires = query(connection, &["PEXPIRETIME", &key]).await;
        all.insert(key, (bytes, expires));
    }
    all
}

/// How many keys that differ are shown.
const SHOWN: usize = 8;

/// Compares key by key, and panics with the differences of the first keys that differ.
#[track_caller]
pub fn assert_same(found: &Contents, expected: &Contents) {
    let keys: BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
    let different: Vec<_> = keys.into_iter().filter(|key| found.get(*key) != expected.get(*key)).collect();
    if different.is_empty() {
        return;
    }
    let only = |key: &String, one: &Contents, other: &Contents| {
        let words = |of: &Contents| of.get(key).map(|content| content.words.clone()).unwrap_or_default();
        let others = words(other);
        let only: Vec<String> = words(one).into_iter().filter(|word| !others.contains(word)).collect();
        (one.get(key).map(|content| content.expires), only)
    };
    let shown: String = different
        .iter()
        .take(SHOWN)
        .map(|key| {
            format!("\n{key}: {:?} instead of {:?}", only(key, found, expected), only(key, expected, found))
        })
        .collect();
    panic!("{} keys differ; what is only there, and whether the key expires:{shown}", different.len());
}
