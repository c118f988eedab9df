//! What every output must know of the configuration: its secrets, and the form of the log.

use redis::IntoConnectionInfo;

use super::logging;
use crate::config::{Config, ConfigErrors, Loaded, LogFormat, Secret};

/// Passes a configuration on. From here on, texts from outside are shown without its secrets, and errors have the form that it asks for,
/// also before there is a log.
///
/// # Errors
/// Those that it gets.
pub fn known(loaded: Result<Loaded, ConfigErrors>) -> Result<Loaded, ConfigErrors> {
    match &loaded {
        Ok(Loaded { config, .. }) => {
            errors::hide(secrets(config));
            logging::expect_json(config.log.format == LogFormat::Json);
        }
        Err(errors) => logging::expect_json(errors.log_is_json()),
    }
    loaded
}

fn secrets(config: &Config) -> Vec<String> {
    let redis = &config.redis;
    let passwords = [&redis.password, &redis.sentinel_password].map(|password| password.reveal().to_owned());
    let nodes = config.collector.nodes.iter().chain(&config.collector.archive_nodes).map(Secret::reveal);
    // A checked configuration has only URLs of nodes here.
    let nodes = nodes.filter_map(|url| url.parse::<evm::NodeUrl>().ok()).flat_map(|url| url.secrets());
    let relayer = &config.relayer;
    let relayer = of_url(relayer.url.reveal()).into_iter().chain([relayer.token.reveal().to_owned()]);
    // Whoever has the path of a webhook may write there.
    let webhook = config.alerts.url.reveal().parse::<url::Url>().ok().map(|url| url.path().to_owned());
    let relayer = relayer.chain(webhook).chain(of_url(config.alerts.url.reveal()));
    passwords.into_iter().chain(of_redis_url(redis.url.reveal())).chain(nodes).chain(relayer).collect()
}

/// The password of a URL, as it is written.
fn of_url(url: &str) -> Vec<String> {
    let Ok(url) = url.parse::<url::Url>() else { return Vec::new() };
    url.password().map(str::to_owned).into_iter().collect()
}

/// The password of a URL of Redis, as it is written and as it is sent.
fn of_redis_url(url: &str) -> Vec<String> {
    let sent =
        url.into_connection_info().ok().and_then(|info| Some(info.redis_settings().password()?.to_owned()));
    // The last @ before the path: a password may contain one.
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let server = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let user = server.rsplit_once('@').map_or("", |(user, _)| user);
    let written = user.split_once(':').map(|(_, password)| password.to_owned());
    sent.into_iter().chain(written).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_of_a_url_is_known_in_both_forms() {
        assert_eq!(of_redis_url("rediss://me:p%40ss@host:1/0"), ["p@ss", "p%40ss"]);
        assert!(of_redis_url("redis://host:1").is_empty() && of_redis_url("").is_empty());
    }
}
