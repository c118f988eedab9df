//! The secrets of a configuration: what no text from outside may show. Pure.

use errors::SHORTEST_SECRET;
use evm::NodeUrl;
use redis::IntoConnectionInfo;
use url::Url;

use super::secret::Secret;
use super::settings::Config;

impl Config {
    /// Every secret, in each form in which a server may repeat it.
    pub fn secrets(&self) -> Vec<String> {
        let passwords = passwords(self).into_iter().map(|(_, password)| password);
        let urls =
            nodes(self).chain(receivers(self)).chain(applications(self)).flat_map(|(_, url)| url.secrets());
        // Who has the path of a webhook may write there.
        let webhook = self.alerts.url.reveal().parse::<Url>().ok().map(|url| url.path().to_owned());
        passwords.chain(urls).chain(webhook.filter(|path| path != "/")).collect()
    }
}

/// A note for each setting whose password is too short to be hidden: in texts from outside it may be a part of any word.
pub(crate) fn short(config: &Config) -> Vec<String> {
    let of_nodes = nodes(config)
        .chain(receivers(config))
        .chain(applications(config))
        .filter_map(|(key, url)| Some((key, url.with_credentials().password()?.to_owned())));
    let all = passwords(config).into_iter().chain(of_nodes);
    let is_short = |text: &str| (1..SHORTEST_SECRET).contains(&text.len());
    let mut keys: Vec<&str> = all.filter(|(_, text)| is_short(text)).map(|(key, _)| key).collect();
    keys.dedup();
    let note = |key| {
        format!(
            "{key}: a password of fewer than {SHORTEST_SECRET} bytes stays visible where a server repeats it, and is easily guessed: \
             use a longer one"
        )
    };
    keys.into_iter().map(note).collect()
}

/// The passwords at Redis, with their settings.
fn passwords(config: &Config) -> Vec<(&'static str, String)> {
    let redis = &config.redis;
    let parts = [
        ("redis.password", &redis.password),
        ("redis.sentinel_password", &redis.sentinel_password),
        ("relayer.token", &config.relayer.token),
        ("api.read_token", &config.api.read_token),
        ("campaigns.jwt_secret", &config.campaigns.jwt_secret),
        ("campaigns.auth_key", &config.campaigns.auth_key),
        ("campaigns.service_token", &config.campaigns.service_token),
    ];
    let parts = parts.map(|(key, password)| (key, password.reveal().to_owned()));
    let of_url = of_redis_url(redis.url.reveal()).into_iter().map(|password| ("redis.url", password));
    let database = config.campaigns.database_url.reveal();
    let of_database =
        of_postgres_url(database).into_iter().map(|password| ("campaigns.database_url", password));
    parts.into_iter().chain(of_url).chain(of_database).collect()
}

fn nodes(config: &Config) -> impl Iterator<Item = (&'static str, NodeUrl)> {
    let collector = &config.collector;
    let lists =
        [("collector.nodes", &collector.nodes), ("collector.archive_nodes", &collector.archive_nodes)];
    // A checked configuration has only URLs of nodes here.
    let parsed = |(key, urls): (_, &Vec<Secret>)| {
        let urls: Vec<_> = urls.iter().filter_map(|url| url.reveal().parse().ok()).collect();
        urls.into_iter().map(move |url| (key, url))
    };
    lists.into_iter().flat_map(parsed)
}

/// The relayer and the webhook, whose URLs may hold what those of nodes may.
fn receivers(config: &Config) -> impl Iterator<Item = (&'static str, NodeUrl)> {
    let urls = [("relayer.url", &config.relayer.url), ("alerts.url", &config.alerts.url)];
    urls.into_iter().filter_map(|(key, url)| Some((key, url.reveal().parse().ok()?)))
}

/// The applications that are polled, likewise.
fn applications(config: &Config) -> impl Iterator<Item = (&'static str, NodeUrl)> {
    let urls = config.peers.read_sources().filter_map(|application| application.url.as_str().parse().ok());
    urls.map(|url| ("peers.sources", url))
}

/// The password of a URL of PostgreSQL, as it is written and as it is sent.
fn of_postgres_url(url: &str) -> Vec<String> {
    let Ok(url) = url.parse::<Url>() else { return Vec::new() };
    let written = url.password().map(str::to_owned);
    let sent = written.as_deref().map(decoded);
    let parameter =
        url.query_pairs().find(|(name, _)| name == "password").map(|(_, value)| value.into_owned());
    written.into_iter().chain(sent).chain(parameter).collect()
}

/// A text without the escapes of a URL.
fn decoded(text: &str) -> String {
    // A query's value has the same escapes, and one more: `+`.
    let query = format!("v={}", text.replace('+', "%2B"));
    url::form_urlencoded::parse(query.as_bytes())
        .next()
        .map_or_else(String::new, |(_, value)| value.into_owned())
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
        assert_eq!(of_postgres_url("postgres://me:p%40ss+1@host/db"), ["p%40ss+1", "p@ss+1"]);
        assert_eq!(of_postgres_url("postgres://host/db?password=p%40ss"), ["p@ss"]);
        assert!(of_postgres_url("postgres://host/db").is_empty() && of_postgres_url("").is_empty());
        assert!(of_redis_url("redis://host:1").is_empty() && of_redis_url("").is_empty());
    }
}
