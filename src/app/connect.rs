//! `check --connect`: connects to every server of a configuration, and reports how each answered.

use std::{collections::BTreeSet, time::Duration};

use color_eyre::eyre::Result;
use domain::collector::Rules;
use serde::Serialize;
use store_collector::operations::READ_CHECKPOINT;
use store_redis::{Store, StoreError};
use store_tracker::{MarketKeys, channels};
use supervision::Clock;
use tokio::time::Instant;

use crate::{
    config::{Config, Secret},
    contracts::submission_windows,
    doctor::{self, Severity},
    escape::escaped,
    producers::{self, Advice, Place},
    protocol::{self, Verdict},
    remedy,
    rights::{self, Missing},
    service,
};

/// Time limit for the answers of one node.
const WITHIN: Duration = Duration::from_secs(10);

/// What finds a mistyped market, which no name here can be asked for.
const NEAREST: &str = ". If one is mistyped, `state-tracker doctor` names the nearest market that has keys";
/// The same for a user with the least rights.
const HIDDEN: &str = ". This user may not ask for keys in other spellings: `state-tracker doctor` finds them, and the nearest market that has \
     keys, by the names of all keys";

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
    // Only where Redis can be used: why it can't is told already.
    if config.collector.is_enabled() && connections.iter().take(1).all(|redis| redis.ok) {
        connections.extend(chain_state(config, ids.first().copied()).await?);
    }
    connections.extend(campaigns(config).await?);
    Ok(connections)
}

/// What the doctor finds of the database of campaigns: it fails with an error, and works with a warning.
async fn campaigns(config: &Config) -> Result<Vec<Connection>> {
    if !config.campaigns.is_enabled() {
        return Ok(Vec::new());
    }
    let findings = doctor::campaigns::examine(config).await?;
    // The last one may be about the port of clients.
    let is_database = |finding: &&doctor::Finding| finding.object.parse::<std::net::SocketAddr>().is_err();
    let server = findings.iter().find(is_database);
    let server = server.map_or_else(String::new, |finding| format!(" {}", finding.object));
    let told = |severity: Severity| {
        let all = findings.iter().filter(|finding| finding.severity == severity);
        let all: Vec<String> = all
            .map(|finding| escaped(&format!("{}; {}", finding.problem, finding.remedy)).into_owned())
            .collect();
        (!all.is_empty()).then(|| all.join(". "))
    };
    let (error, warning) = (told(Severity::Error), told(Severity::Warning));
    let is_ok = error.is_none();
    let detail = error.unwrap_or_else(|| {
        let polls =
            findings.iter().find(|finding| finding.problem.starts_with(doctor::campaigns::NOT_MIGRATED));
        let polls = polls.map_or_else(String::new, |finding| format!("; {}", finding.problem));
        format!("answers, and has the tables and rights{polls}")
    });
    let database = Connection::new(format!("database{server}"), is_ok, detail);
    Ok(vec![Connection { warning, ..database }])
}

async fn redis(config: &Config) -> Result<Vec<Connection>> {
    let store = service::connect(config)?;
    let server = format!("redis {store:?}");
    if let Err(error) =
        // PING needs no right to any key and SUBSCRIBE uses a connection of its own: both must work before rights are examined.
        tokio::try_join!(store.ping(), async { store.subscribe(channels(&[])).await.map(drop) })
    {
        return Ok(failed(&store, server, remedy::line(&error)).await);
    }
    let missing = match rights::missing(config, &store, &config.tracker.markets).await {
        Ok(missing) => missing,
        Err(error) => return Ok(failed(&store, server, remedy::line(error.as_ref())).await),
    };
    let named = |is_for_operators: bool| {
        let missing = missing.iter().filter(|missing| missing.is_for_operators == is_for_operators);
        let named: Vec<String> =
            missing.map(|Missing { object, problem, .. }| format!("{object}: {problem}")).collect();
        let detail =
            || escaped(&format!("rights are missing: {}; {}", named.join("; "), rights::REMEDY)).into_owned();
        (!named.is_empty()).then(detail)
    };
    if let Some(detail) = named(false) {
        return Ok(vec![Connection::new(server, false, detail)]);
    }
    let answers =
        Connection::new(server.clone(), true, "answers, accepts a subscription and grants all rights");
    let warning = named(true).map(|lacks| format!("for doctor, diff and ledger, {lacks}"));
    let answers = Connection { warning, ..answers };
    Ok(std::iter::once(answers).chain(check_producers(config, &store, &server).await).collect())
}

/// Reports a chain state in Redis that is of another chain than the nodes, or of another contract.
async fn chain_state(config: &Config, of_nodes: Option<u64>) -> Result<Option<Connection>> {
    let (store, chain) = (service::connect(config)?, service::collector_store(config)?);
    let examined = async {
        let mut session = store.session(READ_CHECKPOINT).await?;
        chain.examine(&mut session, config.collector.id().or(of_nodes)).await
    };
    let failed = |error: StoreError| {
        Connection::new(format!("redis {store:?} chain state"), false, escaped(&remedy::line(&error)))
    };
    Ok(examined.await.err().map(failed))
}

/// What to report of a server that can't be used: the protocol that speaks there, if it is the wrong one, else the error.
async fn failed(store: &Store, server: String, error: String) -> Vec<Connection> {
    let verdicts = protocol::verdicts(store).await;
    if verdicts.is_empty() {
        return vec![Connection::new(server, false, error)];
    }
    let of_verdict = |Verdict { server, problem, remedy }| {
        Connection::new(format!("redis {server}"), false, format!("{problem}; {remedy}"))
    };
    verdicts.into_iter().map(of_verdict).collect()
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
        let is_nowhere = *place == Place::Nowhere;
        let more = match (is_nowhere, search.hides_spellings) {
            (false, _) => "",
            (true, false) => NEAREST,
            (true, true) => HIDDEN,
        };
        Some(Connection::new(server, is_nowhere, escaped(&format!("{problem}; {remedy}{more}"))))
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
