//! Notes about valid values that are probably mistakes. Pure.

use std::collections::{BTreeMap, BTreeSet};

use http_server::SHORTEST;
use store_redis::Servers;

use super::checks;
use super::credentials;
use super::entry::Entry;
use super::loaded::DEFAULT_ORIGIN;
use super::oddity::oddity;
use super::settings::Config;
use super::value::cut;

/// The settings that `redis.url` replaces.
const PARTS: [&str; 5] = ["redis.host", "redis.port", "redis.username", "redis.password", "redis.db"];

/// Notes about secrets that look mangled. The server would only say that the password is wrong.
pub(crate) fn mangled(entries: &[Entry]) -> Vec<String> {
    let note = |Entry { setting, value, origin, .. }: &Entry| {
        let odd = oddity(value.as_str().filter(|_| setting.secret)?)?;
        Some(format!(
            "{} (from {origin}) {odd}, which is used as a part of it: remove it there if it is none",
            setting.key
        ))
    };
    entries.iter().filter_map(note).collect()
}

pub(crate) fn of(config: &Config, origins: &BTreeMap<&'static str, String>) -> Vec<String> {
    let mut notes = addresses(config);
    notes.extend(credentials::short(config));
    let redis = &config.redis;
    if redis.url.is_empty() {
        if !redis.username.is_empty() && redis.password.is_empty() {
            notes.push("redis.username has no effect without redis.password".to_owned());
        }
    } else {
        let replaced: Vec<&str> = PARTS
            .into_iter()
            // A default that is replaced is no surprise.
            .filter(|key| origins.get(key).is_some_and(|from| from != DEFAULT_ORIGIN))
            .collect();
        if !replaced.is_empty() {
            notes.push(format!("redis.url replaces {}", replaced.join(", ")));
        }
    }
    let is_other_db =
        |servers| matches!(servers, Servers::Single(server) if server.redis_settings().db() != 0);
    if redis.servers().is_ok_and(is_other_db) {
        notes.push(
            "the original ignored REDIS_DB and used database 0; the Monitor API reads database 0".to_owned(),
        );
    }
    if !config.output.prefix.is_empty() {
        notes.push(format!(
            "output.prefix is {:?}: everything is written under it, and no key of the producers is changed or pruned",
            config.output.prefix
        ));
    }
    notes.extend(relayer(config));
    let configured: Vec<_> = config.tracker.markets.iter().filter_map(|market| market.parse().ok()).collect();
    for migration in config.migration.all().iter().filter(|it| !configured.contains(&it.to)) {
        notes.push(format!(
            "migration.mappings copies to market {}, which tracker.markets does not name: is it mistyped?",
            migration.to
        ));
    }
    if config.migration.at_start && !config.migrates() {
        let text = "migration.at_start has no effect under output.prefix: a shadow migrates no market";
        notes.push(text.to_owned());
    }
    let http = &config.http;
    if !http.operator_address.ip().to_canonical().is_loopback() && http.cert_file.is_empty() {
        notes.push(format!(
            "http.operator_address: {} can be reached from other machines, and tokens go there unencrypted: set http.cert_file and \
             http.key_file, unless a proxy in front of it speaks TLS",
            http.operator_address
        ));
    }
    notes.extend(read_api(config));
    notes.extend(senders(config));
    notes
}

/// Notes about the ports for senders of peers.
fn senders(config: &Config) -> Vec<String> {
    let peers = &config.peers;
    if !peers.is_enabled() || !peers.cert_file.is_empty() {
        return Vec::new();
    }
    let ports = [("peers.proxy_address", peers.proxy_address), ("peers.pool_address", peers.pool_address)];
    let is_open = |(_, address): &(_, std::net::SocketAddr)| !address.ip().to_canonical().is_loopback();
    let note = |(key, address)| {
        format!(
            "{key}: {address} can be reached from other machines, and pictures and the secret go there unencrypted: set \
             peers.cert_file and peers.key_file, unless a tunnel encrypts them"
        )
    };
    ports.into_iter().filter(is_open).map(note).collect()
}

/// Notes about the read API.
fn read_api(config: &Config) -> Vec<String> {
    let api = &config.api;
    if !api.is_enabled() {
        return Vec::new();
    }
    let mut notes = Vec::new();
    let is_short = |token: &str| !token.is_empty() && token.chars().count() < SHORTEST;
    if api.read_token.reveal().lines().map(str::trim).any(is_short) {
        notes.push(format!(
            "api.read_token (AUTH_READ_TOKEN) has fewer than {SHORTEST} characters: it may be guessed"
        ));
    }
    if !api.address.ip().to_canonical().is_loopback() && api.cert_file.is_empty() {
        notes.push(format!(
            "api.address: {} can be reached from other machines, and tokens go there unencrypted: set api.cert_file and api.key_file, \
             unless a proxy in front of it speaks TLS",
            api.address
        ));
    }
    if !config.collector.is_enabled() {
        let text = "the read API asks no contract, since collector.nodes (RPC_NODES) is not set: an eligible count that Redis lacks is 0";
        notes.push(text.to_owned());
    }
    notes
}

/// A relayer that would be told nothing, or that would not let us in.
fn relayer(config: &Config) -> Option<String> {
    let note = match &config.relayer {
        relayer if !relayer.is_enabled() => return None,
        _ if !config.collector.is_enabled() => {
            "relayer.url has no effect without collector.nodes: only the collector tells the relayer something"
        }
        _ if !config.output.prefix.is_empty() => {
            "relayer.url has no effect under output.prefix: a shadow tells the relayer nothing"
        }
        relayer if relayer.token.is_empty() => {
            "relayer.token is empty: most relayers deny access without it, and then the calls wait"
        }
        relayer if relayer.url.reveal().starts_with("http:") => {
            "relayer.url begins with http: token and calls go there unencrypted"
        }
        _ => return None,
    };
    Some(note.to_owned())
}

/// Notes about names of contracts that are probably mistyped.
fn addresses(config: &Config) -> Vec<String> {
    let names = std::iter::once(("tracker.protocol", &config.tracker.protocol));
    let markets = config.tracker.markets.iter();
    let second = config.markets.values().filter_map(|market| market.priority.as_ref());
    let second = second
        .flat_map(|second| [("priority.protocol", &second.protocol), ("priority.market", &second.market)]);
    // A half of a second namespace that was taken from the market is noted with the market already.
    let own: BTreeSet<&String> = config.tracker.markets.iter().chain([&config.tracker.protocol]).collect();
    let second: BTreeSet<_> = second.filter(|(_, name)| !own.contains(name)).collect();
    let all = names.chain(markets.map(|market| ("tracker.markets", market))).chain(second);
    let note = |(key, name): (&str, &String)| {
        if let Some(wrong) = checks::nearly_an_address(name) {
            return Some(format!(
                "{key}: {name:?} is nearly an address (0x and 40 hex digits), so it is probably mistyped: {wrong}; it is \
                 used as it is"
            ));
        }
        if !checks::is_address(name) {
            let name = cut(format!("{name:?}"));
            return Some(format!(
                "{key}: {name} is not an address (0x and 40 hex digits); it is used as it is"
            ));
        }
        let right = checks::right_checksum(name)?;
        Some(format!(
            "{key}: {name} has a wrong checksum, so it may be mistyped; with these digits it is {right}"
        ))
    };
    all.filter_map(note).collect()
}
