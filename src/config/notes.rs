//! What is allowed and yet worth a word to the operator. Pure.

use std::collections::BTreeMap;

use super::DEFAULT_ORIGIN;
use super::checks;
use super::settings::Config;

/// What `redis.url` replaces.
const PARTS: [&str; 5] = ["redis.host", "redis.port", "redis.username", "redis.password", "redis.db"];

pub(crate) fn of(config: &Config, origins: &BTreeMap<&'static str, String>) -> Vec<String> {
    let mut notes = Vec::new();
    let names = std::iter::once(("tracker.protocol", &config.tracker.protocol));
    let markets = config.tracker.markets.iter();
    for (key, name) in names.chain(markets.map(|market| ("tracker.markets", market))) {
        if checks::is_broken_address(name) {
            notes.push(format!(
                "{key}: {name:?} begins like an address but is not 0x and 40 hex digits; it is used as it is"
            ));
        }
    }
    let redis = &config.redis;
    if redis.url.is_empty() {
        if !redis.username.is_empty() && redis.password.is_empty() {
            notes.push("redis.username has no effect without redis.password".to_owned());
        }
    } else {
        let replaced: Vec<&str> = PARTS
            .into_iter()
            .filter(|key| origins.get(key).is_some_and(|from| from != DEFAULT_ORIGIN))
            .collect();
        if !replaced.is_empty() {
            notes.push(format!("redis.url replaces {}", replaced.join(", ")));
        }
    }
    if redis.connection_info().is_ok_and(|info| info.redis_settings().db() != 0) {
        notes.push(
            "the original ignored REDIS_DB and used database 0; the Monitor API reads database 0".to_owned(),
        );
    }
    notes
}
