//! Checks of several settings against each other, by their effective values. Pure.

mod campaigns;
mod pairs;

use std::net::SocketAddr;

use figment::value::Value;

use super::checks;
use super::entry::Entry;
use super::problem::Problem;
use super::schema;
use super::setting::Bound;
use super::value::{duration, readable, refused};
use pairs::certificate_with_its_key;

/// Every contradiction. `get` returns `None` for a setting without a usable value; its checks are skipped.
pub(crate) fn problems<'a>(get: impl Fn(&str) -> Option<&'a Entry>) -> Vec<Problem> {
    let mut problems = Vec::new();
    problems.extend(schema::settings().filter_map(|setting| out_of_bound(get(setting.key)?, &get)));
    problems.extend(pass_fits(&get));
    problems.extend(one_second_market(&get));
    problems.extend(index_has_a_market(&get));
    problems.extend(one_way_to_redis(&get));
    problems.extend(cluster_has_one_database(&get));
    problems.extend(certificate_with_its_key("redis.cert_file", "redis.key_file", &get));
    problems.extend(certificate_with_its_key("http.cert_file", "http.key_file", &get));
    problems.extend(tls_has_a_certificate(&get));
    problems.extend(certificate_with_its_key("api.cert_file", "api.key_file", &get));
    problems.extend(certificate_with_its_key("peers.cert_file", "peers.key_file", &get));
    problems.extend(senders_certificates_need_tls(&get));
    problems.extend(strangers_need_a_token(&get));
    problems.extend(chain_has_one_server(&get));
    problems.extend(chain_has_addresses(&get));
    problems.extend(migration_has_markets(&get));
    problems.extend(api_has_addresses(&get));
    problems.extend(same_port(&get));
    problems.extend(application_of_its_own(&get));
    problems.extend(api_port_of_its_own(&get));
    problems.extend(campaigns::problems(get));
    problems
}

/// A value that exceeds the value of the setting that bounds it.
fn out_of_bound<'a>(entry: &Entry, get: impl Fn(&str) -> Option<&'a Entry>) -> Option<Problem> {
    let (words, limit, strict) = match entry.setting.bound.as_ref()? {
        Bound::AtMost(key) => ("at most", get(key)?, false),
        Bound::LessThan(key) => ("less than", get(key)?, true),
    };
    let (value, most) = (size(&entry.value), size(&limit.value));
    (value > most || (strict && value == most)).then(|| {
        let (key, shown, origin) = (limit.setting.key, &limit.shown, &limit.origin);
        entry.refused(&entry.shown, &format!("must be {words} {key}, which is {shown} (from {origin})"))
    })
}

/// A URL, sentinels and a cluster are three ways to find servers, and only one may be set.
fn one_way_to_redis<'a>(get: impl Fn(&str) -> Option<&'a Entry>) -> Option<Problem> {
    let ways = ["redis.url", "redis.sentinels", "redis.cluster"].map(&get);
    let set: Vec<&Entry> = ways.into_iter().flatten().filter(|entry| !entry.is_unset()).collect();
    // The pattern needs two items. With all three set, the second one is reported after the last one is corrected.
    let [first, .., last] = &set[..] else { return None };
    let allowed = format!("must be empty where {} is set (from {})", first.setting.key, first.origin);
    Some(last.refused(&last.shown, &allowed))
}

fn migration_has_markets<'a>(get: impl Fn(&str) -> Option<&'a Entry>) -> Option<Problem> {
    let (at_start, mappings) = (get("migration.at_start")?, get("migration.mappings")?);
    let needed = "must name markets where migration.at_start is set: pairs of addresses OLD:NEW";
    let is_wanted = at_start.value.to_bool() == Some(true);
    (is_wanted && mappings.is_unset()).then(|| mappings.refused(&mappings.shown, needed))
}

fn cluster_has_one_database<'a>(get: impl Fn(&str) -> Option<&'a Entry>) -> Option<Problem> {
    let (cluster, db) = (get("redis.cluster")?, get("redis.db")?);
    let other = db.value.to_i128().is_some_and(|db| db != 0);
    let allowed = "must be 0 when redis.cluster is set: a cluster has no other database";
    (other && !cluster.is_unset()).then(|| db.refused(&db.shown, allowed))
}

fn tls_has_a_certificate<'a>(get: impl Fn(&str) -> Option<&'a Entry>) -> Option<Problem> {
    let (tls, cert) = (get("http.metrics_tls")?, get("http.cert_file")?);
    let allowed = "must be false without http.cert_file and http.key_file: TLS needs a certificate";
    (matches!(tls.value, Value::Bool(_, true)) && cert.is_unset()).then(|| tls.refused(&tls.shown, allowed))
}

/// Without TLS no sender could show a certificate, and each would be let in.
fn senders_certificates_need_tls<'a>(get: impl Fn(&str) -> Option<&'a Entry>) -> Option<Problem> {
    let (authorities, cert) = (get("peers.client_ca_file")?, get("peers.cert_file")?);
    let allowed = "must be empty without peers.cert_file and peers.key_file: senders show certificates within TLS alone";
    (!authorities.is_unset() && cert.is_unset()).then(|| authorities.refused(&authorities.shown, allowed))
}

/// One script writes the checkpoint together with its effects, and a cluster refuses scripts whose keys are in several slots.
fn chain_has_one_server<'a>(get: impl Fn(&str) -> Option<&'a Entry>) -> Option<Problem> {
    let (cluster, nodes) = (get("redis.cluster")?, get("collector.nodes")?);
    (!cluster.is_unset() && !nodes.is_unset()).then(|| {
        let allowed = format!(
            "must be empty where collector.nodes is set (from {}): the collector needs one server, its scripts span keys",
            nodes.origin
        );
        cluster.refused(&cluster.shown, &allowed)
    })
}

/// A filter for a contract that does not exist finds no events and gives no error.
fn chain_has_addresses<'a>(get: impl Fn(&str) -> Option<&'a Entry>) -> Vec<Problem> {
    let Some(nodes) = get("collector.nodes").filter(|nodes| !nodes.is_unset()) else {
        return Vec::new();
    };
    let allowed = format!(
        "must be an address, 0x and 40 hex digits, where collector.nodes is set (from {})",
        nodes.origin
    );
    let protocol = get("tracker.protocol").and_then(|entry| Some((entry.value.as_str()?, entry)));
    let protocol = protocol.filter(|(name, _)| !checks::is_address(name));
    let protocol = protocol.map(|(name, entry)| not_an_address(name, entry, &allowed));
    protocol.into_iter().chain(markets_without_address(&get, &allowed)).collect()
}

/// Clients of the read API name markets by their addresses. Where nodes are set, the rule above has told of it.
fn api_has_addresses<'a>(get: impl Fn(&str) -> Option<&'a Entry>) -> Vec<Problem> {
    let has_no_nodes = get("collector.nodes").is_none_or(Entry::is_unset);
    let token = get("api.read_token").filter(|token| !token.is_unset() && has_no_nodes);
    let allowed = token.map(|token| {
        format!(
            "must be an address, 0x and 40 hex digits, where api.read_token is set (from {})",
            token.origin
        )
    });
    allowed.map(|allowed| markets_without_address(get, &allowed)).unwrap_or_default()
}

/// One sentence for each bad name: the list may have many markets.
fn markets_without_address<'a>(get: impl Fn(&str) -> Option<&'a Entry>, allowed: &str) -> Vec<Problem> {
    let Some(entry) = get("tracker.markets") else { return Vec::new() };
    let names = entry.names().into_iter().filter(|name| !checks::is_address(name));
    names.map(|name| not_an_address(name, entry, allowed)).collect()
}

fn not_an_address(name: &str, entry: &Entry, allowed: &str) -> Problem {
    entry.refused(&refused(entry.setting, &Value::from(name)), allowed)
}

/// A pass waits for Redis up to four times, and once for a connection. The timeouts of Redis must expire first: else a slow
/// server would look like a stalled actor, which is then restarted again and again.
fn pass_fits<'a>(get: impl Fn(&str) -> Option<&'a Entry>) -> Option<Problem> {
    let (command, connect) = (get("redis.command_timeout")?, get("redis.connect_timeout")?);
    let stall = get("supervision.stall_timeout")?;
    let longest = 4 * duration(&command.value)? + duration(&connect.value)?;
    let fits = longest < duration(&stall.value)?;
    (!fits).then(|| {
        let longest = readable(longest);
        let allowed = format!(
            "must be more than 4 × redis.command_timeout + redis.connect_timeout, which is {longest}: a pass over a \
             slow Redis may take that long"
        );
        stall.refused(&stall.shown, &allowed)
    })
}

/// Several markets can't share one second market: each would show the priorities of all.
fn one_second_market<'a>(get: impl Fn(&str) -> Option<&'a Entry>) -> Option<Problem> {
    let (second, markets) = (get("tracker.priority_market")?, get("tracker.markets")?.names().len());
    (markets > 1 && !second.is_unset()).then(|| {
        let allowed = format!(
            "must be empty with several markets, and tracker.markets has {markets}; give each its own: \
             [markets.\"0x…\"] priority.market"
        );
        second.refused(&second.shown, &allowed)
    })
}

/// Without `index.namespaced`, the keys of the state index name no market: several markets would overwrite each other's entries.
fn index_has_a_market<'a>(get: impl Fn(&str) -> Option<&'a Entry>) -> Option<Problem> {
    let yes = |entry: &Entry| matches!(entry.value, Value::Bool(_, true));
    let (enabled, namespaced) = (get("index.enabled")?, get("index.namespaced")?);
    let markets = get("tracker.markets")?.names().len();
    (markets > 1 && yes(enabled) && !yes(namespaced)).then(|| {
        let allowed =
            format!("must be true with index.enabled and several markets, and tracker.markets has {markets}");
        namespaced.refused(&namespaced.shown, &allowed)
    })
}

/// The operators' endpoints show addresses, messages and backtraces: other machines may reach them with a token only.
fn strangers_need_a_token<'a>(get: impl Fn(&str) -> Option<&'a Entry>) -> Option<Problem> {
    let address = get("http.operator_address")?;
    let is_local = address.value.as_str()?.parse::<SocketAddr>().ok()?.ip().to_canonical().is_loopback();
    let has_token =
        ["http.read_token_file", "http.operator_token_file"].map(|key| get(key).map(|file| !file.is_unset()));
    // A token file that can't be used is a problem of its own.
    let is_open = has_token.iter().all(|has| *has == Some(false));
    let allowed = "must be an address of the machine itself, such as 127.0.0.1:9095, without http.read_token_file and \
                   http.operator_token_file: other machines can reach it, and it would ask nobody for a token";
    (!is_local && is_open).then(|| address.refused(&address.shown, allowed))
}

/// A sender and an application of one name would be one source, whose pictures take turns.
fn application_of_its_own<'a>(get: impl Fn(&str) -> Option<&'a Entry>) -> Option<Problem> {
    let (sources, names) = (get("peers.sources")?, get("peers.names")?);
    let senders = names.value.as_str().unwrap_or_default();
    let senders: Vec<&str> = checks::peer_names(senders).flatten().map(|(_, name)| name).collect();
    let applications = sources.names().into_iter().filter_map(|text| checks::application(text).ok());
    let both = applications.into_iter().find(|application| senders.contains(&application.name))?;
    let allowed = format!(
        "must have other names than peers.names (from {}), and both have {}",
        names.origin, both.name
    );
    Some(sources.refused(&sources.shown, &allowed))
}

fn same_port<'a>(get: impl Fn(&str) -> Option<&'a Entry>) -> Option<Problem> {
    let operator = get("http.operator_address")?;
    let port = get("http.metrics_port")?;
    let address: SocketAddr = operator.value.as_str()?.parse().ok()?;
    // Port 0 takes any free port, so two of them differ. Hosts are not compared: 0.0.0.0 includes 127.0.0.1.
    let same = port.value.to_i128() == Some(address.port().into()) && address.port() != 0;
    same.then(|| {
        let allowed = format!(
            "must have a port other than http.metrics_port, which is {} (from {})",
            port.shown, port.origin
        );
        operator.refused(&operator.shown, &allowed)
    })
}

/// The read API has a port of its own, where it runs.
fn api_port_of_its_own<'a>(get: impl Fn(&str) -> Option<&'a Entry>) -> Option<Problem> {
    let (api, _) = (get("api.address")?, get("api.read_token").filter(|token| !token.is_unset())?);
    let port_of = |entry: &Entry| {
        entry.value.as_str()?.parse::<SocketAddr>().ok().map(|address| i128::from(address.port()))
    };
    let port = port_of(api).filter(|port| *port != 0)?;
    let operator = get("http.operator_address").and_then(|entry| Some((port_of(entry)?, entry)));
    let metrics = get("http.metrics_port").and_then(|entry| Some((entry.value.to_i128()?, entry)));
    let (_, other) = [operator, metrics].into_iter().flatten().find(|(of_other, _)| *of_other == port)?;
    let (key, shown, origin) = (other.setting.key, &other.shown, &other.origin);
    Some(api.refused(
        &api.shown,
        &format!("must have a port other than that of {key}, which is {shown} (from {origin})"),
    ))
}

/// A value as a number; durations in nanoseconds. A bound has the kind of the value that it limits.
fn size(value: &Value) -> Option<i128> {
    match duration(value) {
        Some(duration) => i128::try_from(duration.as_nanos()).ok(),
        None => value.to_i128(),
    }
}
