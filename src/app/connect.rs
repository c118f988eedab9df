//! `check --connect`: connects to every server of a configuration, and reports how each answered.

use std::{collections::BTreeSet, time::Duration};

use color_eyre::eyre::Result;
use domain::collector::Rules;
use serde::Serialize;
use store_redis::Store;
use store_tracker::{MarketKeys, channels};
use supervision::Clock;
use tokio::time::Instant;

use crate::{
    config::{Config, Secret},
    contracts::submission_windows,
    escape::escaped,
    producers::{self, Advice, Place},
    remedy,
    rights::{self, Missing},
    service,
};

/// Time limit for the answers of one node.
const WITHIN: Duration = Duration::from_secs(10);

/// The result of one connection.
#[derive(Serialize)]
pub(super) struct Connection {
    /// The server, without credentials, and the market if its contract was queried.
    pub(super) server: String,
    pub(super) ok: bool,
    pub(super) detail: String,
    /// What works, but not well, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) warning: Option<String>,
}

impl Connection {
    fn new(server: impl Into<String>, ok: bool, detail: impl Into<String>) -> Self {
        Self { server: server.into(), ok, detail: detail.into(), warning: None }
    }
}

/// Connects to every server of the configuration, and checks rights, chain ids and contracts.
///
/// # Errors
/// Settings that make no connection. A server that does not answer is a connection that is not ok.
pub(super) async fn connect(config: &Config) -> Result<Vec<Connection>> {
    let (mut connections, mut ids) = (redis(config).await?, BTreeSet::new());
    for node in config.collector.nodes.iter().chain(&config.collector.archive_nodes) {
        connections.extend(check_node(config, node, &mut ids).await?);
    }
    // Each node is asked alone, so none can notice that another one is of a different chain.
    if ids.len() > 1 {
        let detail = format!(
            "are of several chains, {ids:?}; name nodes of one chain in collector.nodes, or set collector.chain_id"
        );
        connections.push(Connection::new("nodes", false, detail));
    }
    Ok(connections)
}

async fn redis(config: &Config) -> Result<Vec<Connection>> {
    let store = service::connect(config)?;
    let server = format!("redis {store:?}");
    if let Err(error) =
        // PING needs no right to any key and SUBSCRIBE uses a connection of its own: both must work before rights are examined.
        tokio::try_join!(store.ping(), async { store.subscribe(channels(&[])).await.map(drop) })
    {
        return Ok(vec![Connection::new(server, false, remedy::line(&error))]);
    }
    let missing = rights::missing(config, &store, &config.tracker.markets).await?;
    let named: Vec<String> =
        missing.iter().map(|Missing { object, problem }| format!("{object}: {problem}")).collect();
    if !named.is_empty() {
        let detail = format!("rights are missing: {}; {}", named.join("; "), rights::REMEDY);
        return Ok(vec![Connection::new(server, false, escaped(&detail))]);
    }
    let answers =
        Connection::new(server.clone(), true, "answers, accepts a subscription and grants all rights");
    Ok(std::iter::once(answers).chain(check_producers(config, &store, &server).await).collect())
}

/// Reports the markets that have no producers' key where the tracker reads.
async fn check_producers(config: &Config, store: &Store, server: &str) -> Vec<Connection> {
    let keys: Vec<MarketKeys> =
        config.tracker.markets.iter().map(|market| service::market_keys(config, market)).collect();
    let search = match producers::search(store, &keys).await {
        Ok(search) => search,
        Err(error) => return vec![Connection::new(server, false, remedy::line(&error))],
    };
    let report = |(keys, place): (&MarketKeys, &Place)| {
        let Advice { problem, remedy } = search.advice(place)?;
        // A market may be configured before its producers start; keys that exist elsewhere show a wrong setting.
        let server = format!("{server} market {}", keys.market());
        Some(Connection::new(server, *place == Place::Nowhere, escaped(&format!("{problem}; {remedy}"))))
    };
    keys.iter().zip(&search.places).filter_map(report).collect()
}

/// Asks one node for its newest block, and the contract on it for the submission windows.
async fn check_node(config: &Config, node: &Secret, ids: &mut BTreeSet<u64>) -> Result<Vec<Connection>> {
    // With the other nodes in the pool, a failover would hide that this one is down.
    let mut alone = config.clone();
    (alone.collector.nodes, alone.collector.archive_nodes) = (vec![node.clone()], Vec::new());
    let chain = service::standalone_collector(&alone, &Clock::system())?;
    let (source, deadline) = (&chain.source, Instant::now() + WITHIN);
    // The status shows the URL without its credentials; the configured URL must not be printed.
    let shown = source.status().first().map_or_else(String::new, |status| status.node.to_string());
    let node = format!("node {shown}");
    let head = match source.head(deadline).await {
        Ok(head) => head,
        Err(error) => return Ok(vec![Connection::new(node, false, remedy::line(&error))]),
    };
    // Only nodes that answered: the id is unknown before the first answer.
    ids.extend(source.chain_id());
    let id = source.chain_id().map_or_else(|| "unknown".to_owned(), |id| id.to_string());
    let mut connections =
        vec![Connection::new(node.clone(), true, format!("is at block {}, chain id {id}", head.number))];
    match submission_windows(&chain, service::protocol_state(config)?, deadline).await {
        Ok(windows) => connections.extend(windows.into_iter().map(|(market, window)| {
            let detail = format!("submissions are accepted for {}", errors::rounded(window));
            let warning = of_window(&chain.settings.rules, window);
            Connection { warning, ..Connection::new(format!("{node} market {market}"), true, detail) }
        })),
        Err(error) => connections.push(Connection::new(node, false, remedy::line(&error))),
    }
    Ok(connections)
}

/// The warning about a submission window that is nearly as long as its submissions live.
fn of_window(rules: &Rules, window: Duration) -> Option<String> {
    let (left, needed) = (rules.left_for_batches(window.as_secs()), rules.needed_for_batches());
    let shown = |seconds| errors::rounded(Duration::from_secs(seconds));
    let consequence = match left {
        left if left >= needed => return None,
        0 => "its epochs get no batches".to_owned(),
        left => format!(
            "only {} are left for the batches, and up to {} are needed: epochs may get none",
            shown(left),
            shown(needed)
        ),
    };
    let lives = shown(rules.inputs_live);
    Some(format!(
        "the window is nearly as long as its submissions live (collector.submissions_ttl, {lives}), so {consequence}; \
         shorten the window, or let the collectors keep submissions longer and raise collector.submissions_ttl with them"
    ))
}
