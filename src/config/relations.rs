//! What must hold between two settings. Looks at effective values only; pure.

use std::net::SocketAddr;

use figment::value::Value;

use super::Entry;
use super::checks;
use super::problem::Problem;

/// `smaller` at most (or below) `larger`.
struct Order {
    smaller: &'static str,
    larger: &'static str,
    strict: bool,
}

const fn at_most(smaller: &'static str, larger: &'static str) -> Order {
    Order { smaller, larger, strict: false }
}

const fn below(smaller: &'static str, larger: &'static str) -> Order {
    Order { smaller, larger, strict: true }
}

static ORDERS: [Order; 6] = [
    at_most("intervals.wake_debounce", "intervals.current_epoch"),
    at_most("supervision.backoff_first", "supervision.backoff_max"),
    at_most("supervision.stop_within", "supervision.shutdown_within"),
    below("supervision.stall_after", "supervision.wedged_after"),
    below("supervision.degraded_retry", "supervision.give_up_after"),
    at_most("mailbox.batch", "mailbox.capacity"),
];

/// Everything that doesn't fit together; settings that `get` has no usable value for are left out.
pub(crate) fn problems<'a>(get: impl Fn(&str) -> Option<&'a Entry>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for order in &ORDERS {
        let (Some(smaller), Some(larger)) = (get(order.smaller), get(order.larger)) else {
            continue;
        };
        let (low, high) = (size(&smaller.value), size(&larger.value));
        if low > high || (order.strict && low == high) {
            let word = if order.strict { "less than" } else { "at most" };
            let allowed =
                format!("{word} {}, which is {} (from {})", order.larger, larger.shown, larger.origin);
            problems.push(Problem::bad_value(order.smaller, &smaller.shown, &smaller.origin, &allowed));
        }
    }
    problems.extend(pass_fits(&get));
    problems.extend(one_second_market(&get));
    problems.extend(index_has_a_market(&get));
    problems.extend(one_way_to_redis(&get));
    problems.extend(cluster_has_one_database(&get));
    problems.extend(certificate_with_its_key(&get));
    problems.extend(chain_has_one_server(&get));
    problems.extend(chain_has_addresses(&get));
    problems.extend(same_port(get));
    problems
}

/// A URL, sentinels and a cluster are three ways to find servers; only one of them can be meant.
fn one_way_to_redis<'a>(get: impl Fn(&str) -> Option<&'a Entry>) -> Option<Problem> {
    let ways = ["redis.url", "redis.sentinels", "redis.cluster"].map(&get);
    let set: Vec<&Entry> =
        ways.into_iter().flatten().filter(|entry| !checks::is_unset(&entry.value)).collect();
    let [first, .., last] = &set[..] else { return None };
    let allowed = format!("empty where {} is set (from {})", first.setting.key, first.origin);
    Some(Problem::bad_value(last.setting.key, &last.shown, &last.origin, &allowed))
}

fn cluster_has_one_database<'a>(get: impl Fn(&str) -> Option<&'a Entry>) -> Option<Problem> {
    let (cluster, db) = (get("redis.cluster")?, get("redis.db")?);
    let other = db.value.to_i128().is_some_and(|db| db != 0);
    (other && !checks::is_unset(&cluster.value)).then(|| {
        Problem::bad_value(
            "redis.db",
            &db.shown,
            &db.origin,
            "0 with redis.cluster: a cluster has no other database",
        )
    })
}

fn certificate_with_its_key<'a>(get: impl Fn(&str) -> Option<&'a Entry>) -> Option<Problem> {
    let (cert, key) = (get("redis.cert_file")?, get("redis.key_file")?);
    let (lacking, other) = match (checks::is_unset(&cert.value), checks::is_unset(&key.value)) {
        (true, false) => (cert, key),
        (false, true) => (key, cert),
        _ => return None,
    };
    let allowed =
        format!("set where {} is set: a certificate and its key belong together", other.setting.key);
    Some(Problem::bad_value(lacking.setting.key, &lacking.shown, &lacking.origin, &allowed))
}

/// The checkpoint moves with its effects in one script, and the keys of those lie in different slots.
fn chain_has_one_server<'a>(get: impl Fn(&str) -> Option<&'a Entry>) -> Option<Problem> {
    let (cluster, nodes) = (get("redis.cluster")?, get("chain.nodes")?);
    let both = !checks::is_unset(&cluster.value) && !checks::is_unset(&nodes.value);
    both.then(|| {
        let allowed = format!(
            "empty where chain.nodes is set (from {}): the chain part needs one server, its scripts span keys",
            nodes.origin
        );
        Problem::bad_value("redis.cluster", &cluster.shown, &cluster.origin, &allowed)
    })
}

/// Names of contracts that do not exist would find no events for ever.
fn chain_has_addresses<'a>(get: impl Fn(&str) -> Option<&'a Entry>) -> Vec<Problem> {
    let Some(nodes) = get("chain.nodes").filter(|nodes| !checks::is_unset(&nodes.value)) else {
        return Vec::new();
    };
    let allowed = format!("{}, where chain.nodes is set (from {})", checks::ADDRESS, nodes.origin);
    let bad = |key, name: &str, entry: &Entry| {
        Problem::bad_value(key, &format!("{name:?}"), &entry.origin, &allowed)
    };
    let protocol = get("tracker.protocol").and_then(|entry| Some((entry.value.as_str()?, entry)));
    let protocol = protocol.filter(|(name, _)| !checks::is_address(name));
    let protocol = protocol.map(|(name, entry)| bad("tracker.protocol", name, entry));
    let markets = get("tracker.markets").into_iter().flat_map(|entry| {
        let names = entry.names().into_iter().filter(|name| !checks::is_address(name));
        names.map(|name| bad("tracker.markets", name, entry)).collect::<Vec<_>>()
    });
    protocol.into_iter().chain(markets).collect()
}

/// A pass waits for Redis up to four times, and once for a connection. It must not be taken for stalled before Redis
/// has been found too slow.
fn pass_fits<'a>(get: impl Fn(&str) -> Option<&'a Entry>) -> Option<Problem> {
    let (command, connect) = (get("redis.command_timeout")?, get("redis.connect_timeout")?);
    let stall = get("supervision.stall_after")?;
    let longest = 4 * checks::duration(&command.value)? + checks::duration(&connect.value)?;
    let fits = longest < checks::duration(&stall.value)?;
    (!fits).then(|| {
        let longest = humantime::format_duration(longest);
        let allowed = format!(
            "more than 4 × redis.command_timeout + redis.connect_timeout, which is {longest}: a pass over a slow Redis \
             may take that long"
        );
        Problem::bad_value("supervision.stall_after", &stall.shown, &stall.origin, &allowed)
    })
}

/// Several markets can't have one second market between them: each would show the priorities of all.
fn one_second_market<'a>(get: impl Fn(&str) -> Option<&'a Entry>) -> Option<Problem> {
    let (second, markets) = (get("tracker.priority_market")?, get("tracker.markets")?.names().len());
    (markets > 1 && !checks::is_unset(&second.value)).then(|| {
        let allowed = format!(
            "empty with several markets, and tracker.markets has {markets}; give each its own: \
             [markets.\"0x…\"] priority.market"
        );
        Problem::bad_value("tracker.priority_market", &second.shown, &second.origin, &allowed)
    })
}

/// The keys of the state index name no market: several would write into one another's.
fn index_has_a_market<'a>(get: impl Fn(&str) -> Option<&'a Entry>) -> Option<Problem> {
    let yes = |entry: &Entry| matches!(entry.value, Value::Bool(_, true));
    let (enabled, namespaced) = (get("index.enabled")?, get("index.namespaced")?);
    let markets = get("tracker.markets")?.names().len();
    (markets > 1 && yes(enabled) && !yes(namespaced)).then(|| {
        let allowed =
            format!("true with index.enabled and several markets, and tracker.markets has {markets}");
        Problem::bad_value("index.namespaced", &namespaced.shown, &namespaced.origin, &allowed)
    })
}

fn same_port<'a>(get: impl Fn(&str) -> Option<&'a Entry>) -> Option<Problem> {
    let operator = get("http.operator_address")?;
    let port = get("http.metrics_port")?;
    let address: SocketAddr = operator.value.as_str()?.parse().ok()?;
    let same = port.value.to_i128() == Some(address.port().into()) && address.port() != 0;
    same.then(|| {
        let allowed =
            format!("another port than http.metrics_port, which is {} (from {})", port.shown, port.origin);
        Problem::bad_value("http.operator_address", &operator.shown, &operator.origin, &allowed)
    })
}

/// Durations in nanoseconds, numbers as they are: only values of one kind are compared.
fn size(value: &Value) -> Option<i128> {
    match checks::duration(value) {
        Some(duration) => i128::try_from(duration.as_nanos()).ok(),
        None => value.to_i128(),
    }
}
