//! The actors and the edges of the whole tree, at its start and after reloads, without Redis.

use std::time::Duration;

use supervision::{Notice, State, What};

use super::*;

const MARKETS: [&str; 2] =
    ["0x0C2E22fe7526fAeF28E7A58c84f8723dEFcE200c", "0x21cb57C1f2352ad215a463DD867b838749CD3b8f"];

const NODE: (&str, &str) = ("RPC_NODES", "http://127.0.0.1:2");

/// An edge: its sender, its reader, and what happens when the mailbox is full.
type Declared = (String, String, Overflow);

/// A configuration without Redis, whose endpoints take any free port.
fn config(markets: &[&str], more: &[(&str, &str)]) -> Config {
    let environment = [
        ("REDIS_PORT", "1".to_owned()),
        ("STATE_TRACKER_METRICS_PORT", "0".to_owned()),
        ("STATE_TRACKER__HTTP__HOST", "127.0.0.1".to_owned()),
        ("STATE_TRACKER__HTTP__OPERATOR_ADDRESS", "127.0.0.1:0".to_owned()),
        ("PROTOCOL_STATE_CONTRACT", "0xE88E5f64AEB483d7057645326AdDFA24A3B312DF".to_owned()),
        ("DATA_MARKET_ADDRESSES", markets.join(",")),
        ("STATE_TRACKER__INDEX__ENABLED", "true".to_owned()),
        ("STATE_TRACKER__INDEX__NAMESPACED", "true".to_owned()),
    ];
    let more = more.iter().map(|(name, value)| (*name, (*value).to_owned()));
    Config::load(None, environment.into_iter().chain(more)).expect("allowed").config
}

async fn start(config: &Config) -> Service {
    Service::start(config, TreeOptions::default()).await.expect("no cycle")
}

/// The edges of a service, sorted. Each one is between two actors of its tree, and none waits.
fn edges(service: &Service) -> Vec<Declared> {
    let edges = all_edges(service);
    assert!(edges.iter().all(|(_, _, overflow)| !overflow.waits()), "{edges:?}");
    edges
}

/// The same, where some may wait.
fn all_edges(service: &Service) -> Vec<Declared> {
    let actors: Vec<_> = service.tree().health().into_iter().map(|actor| actor.path).collect();
    let mut edges = Vec::new();
    for edge in service.tree().edges() {
        assert!(!edge.outside && actors.contains(&edge.from) && actors.contains(&edge.to), "{edge:?}");
        edges.push((edge.from, edge.to, edge.overflow));
    }
    edges.sort();
    edges
}

/// Every edge of a tree without a chain.
fn of_markets(markets: &[&str]) -> Vec<Declared> {
    let actors = markets
        .iter()
        .flat_map(|market| ["aggregator", "epoch-tracker"].map(|actor| format!("markets/{market}/{actor}")));
    let mut expected: Vec<_> = actors
        .flat_map(|path| {
            ["listener", "finder"].map(|from| (from.to_owned(), path.clone(), Overflow::Coalesce))
        })
        .collect();
    expected.push(("listener".to_owned(), "indexer".to_owned(), Overflow::DropOldest));
    expected.sort();
    expected
}

/// Every edge of a tree with a chain.
fn of_chain(markets: &[&str]) -> Vec<Declared> {
    let mut expected = of_markets(markets);
    let fetcher = || "collector/block-fetcher".to_owned();
    expected.push((fetcher(), "notifier".to_owned(), Overflow::DropOldest));
    let finalized = || "collector/finalized-batches".to_owned();
    expected.push((fetcher(), finalized(), Overflow::DropOldest));
    expected.push((finalized(), "indexer".to_owned(), Overflow::DropOldest));
    for market in markets {
        let preparer = format!("collector/batch-preparer/{market}");
        expected.push((fetcher(), format!("markets/{market}/epoch-tracker"), Overflow::Coalesce));
        expected.push((fetcher(), preparer.clone(), Overflow::Coalesce));
        expected.push((preparer, "notifier".to_owned(), Overflow::DropOldest));
    }
    expected.sort();
    expected
}

#[tokio::test]
async fn every_edge_of_the_tree_is_declared_by_an_actor_of_it_and_none_waits() {
    let service = start(&config(&MARKETS, &[])).await;
    assert_eq!(edges(&service), of_markets(&MARKETS));
    service.stop().await;
}

#[tokio::test]
async fn every_edge_of_the_chain_is_declared_by_an_actor_of_it_and_none_waits() {
    let service = start(&config(&MARKETS, &[NODE])).await;
    assert_eq!(edges(&service), of_chain(&MARKETS));
    service.stop().await;
}

#[tokio::test]
async fn every_edge_after_a_reload_is_declared_by_an_actor_of_the_tree_and_none_waits() {
    let [first, _] = MARKETS;
    let service = start(&config(&[first], &[NODE])).await;
    assert_eq!(edges(&service), of_chain(&[first]));
    // The collector is replaced each time, so its edges to the market that stays are those of another block fetcher.
    service.reload(&config(&MARKETS, &[NODE])).await.expect("added");
    assert_eq!(edges(&service), of_chain(&MARKETS));
    service.reload(&config(&[first], &[NODE])).await.expect("removed");
    assert_eq!(edges(&service), of_chain(&[first]));
    service.stop().await;
}

#[tokio::test]
async fn what_each_market_has_of_its_own_is_stopped_at_once() {
    let relayer = ("TX_RELAYER_URL", "http://127.0.0.1:3");
    let service = start(&config(&MARKETS, &[NODE, relayer])).await;
    let groups = ["markets", "collector/batch-preparer", "collector/relayer", "collector/rewards"];
    let is_child = |path: &str, group: &str| path.rsplit_once('/').is_some_and(|(above, _)| above == group);
    let run = async || {
        let health = service.tree().health();
        groups.iter().all(|group| {
            let of_group = health.iter().filter(|actor| is_child(&actor.path, group));
            of_group.filter(|actor| actor.state == State::Running).count() == MARKETS.len()
        })
    };
    testkit::wait_until("what the markets have runs", Duration::from_secs(30), run).await;
    let mut changes = service.tree().subscribe();
    service.stop().await;
    let mut states = Vec::new();
    while let Some(notice) = changes.next().await {
        let Notice::Changed(change) = notice else { panic!("{notice:?}") };
        if let What::State { state, .. } = change.what {
            states.push((change.path, state));
        }
    }
    for group in groups {
        let of_group = states.iter().filter(|(path, _)| is_child(path, group));
        let states: Vec<State> = of_group.map(|(_, state)| *state).collect();
        // One after the other, the second would be asked after the first had stopped.
        assert_eq!(states, [State::Stopping, State::Stopping, State::Stopped, State::Stopped], "{group}");
    }
}

/// Settings of campaigns whose database does not answer, with a port of their own.
const CAMPAIGNS: [(&str, &str); 4] = [
    ("DATABASE_URL", "postgres://nobody@127.0.0.1:1/campaigns"),
    ("STATE_TRACKER__CAMPAIGNS__JWT_SECRET", "a-secret-of-tokens-of-32-bytes-or-more"),
    ("STATE_TRACKER__CAMPAIGNS__GATEWAY_ADDRESS", "127.0.0.1:0"),
    ("STATE_TRACKER__CAMPAIGNS__WORKERS", "2"),
];

/// Settings of peers with two connections, ports of their own, and a history in this file.
fn peers(file: &str) -> [(&str, &str); 7] {
    const ANY: &str = "127.0.0.1:0";
    [
        ("STATE_TRACKER__PEERS__HISTORY", file),
        ("STATE_TRACKER__PEERS__CONNECTIONS", "2"),
        ("STATE_TRACKER__PEERS__SOURCES", "pool=http://127.0.0.1:2"),
        ("STATE_TRACKER__PEERS__PROXY_ADDRESS", ANY),
        ("STATE_TRACKER__PEERS__POOL_ADDRESS", ANY),
        ("STATE_TRACKER__PEERS__PROXY_HTTP_ADDRESS", ANY),
        ("STATE_TRACKER__PEERS__POOL_HTTP_ADDRESS", ANY),
    ]
}

#[tokio::test]
async fn the_connections_and_polls_of_peers_wait_for_their_state_and_nobody_else_waits() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("peers.db");
    let service = start(&config(&MARKETS, &peers(file.to_str().expect("a path")))).await;
    let (waiting, others): (Vec<_>, Vec<_>) =
        all_edges(&service).into_iter().partition(|(_, _, overflow)| overflow.waits());
    let expected = ["connections/connection-1", "connections/connection-2", "polls/pool"]
        .map(|from| (format!("peers/{from}"), "peers/state".to_owned(), Overflow::Wait));
    assert_eq!((waiting, others), (expected.to_vec(), of_markets(&MARKETS)));
    service.stop().await;
}

#[tokio::test]
async fn a_reload_never_puts_two_markets_into_an_index_without_names() {
    let [first, second] = MARKETS;
    let service = start(&config(&[first], &[("STATE_TRACKER__INDEX__NAMESPACED", "false")])).await;
    let before = edges(&service);
    // The configuration is allowed; the index that runs is still the one of the start.
    for markets in [&MARKETS[..], &[second]] {
        let error = service.reload(&config(markets, &[])).await.expect_err("refused");
        assert!(error.to_string().contains("index.namespaced"), "{error:#}");
        assert_eq!(edges(&service), before, "nothing is changed");
    }
    let lower = first.to_lowercase();
    service.reload(&config(&[lower.as_str()], &[])).await.expect("the same market, spelled in another way");
    service.stop().await;
}

#[cfg(feature = "failure-points")]
#[tokio::test]
async fn the_list_of_actors_is_that_of_the_tree_that_runs() {
    use super::actor_list::{SUPERVISOR, actor_list};
    let lower_case = MARKETS[0].to_lowercase();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("peers.db");
    let peers = peers(file.to_str().expect("a path"));
    for (markets, more) in [
        (&MARKETS[..], &[][..]),
        (&MARKETS[..], &[("STATE_TRACKER__INDEX__ENABLED", "false")]),
        (&MARKETS[..], &[NODE]),
        (
            &MARKETS[..],
            &[NODE, ("TX_RELAYER_URL", "http://127.0.0.1:3"), ("SLACK_REPORTING_URL", "http://127.0.0.1:3")],
        ),
        (&[lower_case.as_str()][..], &[NODE]),
        (&MARKETS[..], &peers),
        (&MARKETS[..], &CAMPAIGNS),
        (
            &MARKETS[..],
            &[CAMPAIGNS[0], CAMPAIGNS[1], CAMPAIGNS[2], ("STATE_TRACKER__CAMPAIGNS__SCHEDULER", "false")],
        ),
        (&MARKETS[..], &[CAMPAIGNS[0], ("STATE_TRACKER__CAMPAIGNS__GATEWAY", "false")]),
    ] {
        let config = config(markets, more);
        let service = start(&config).await;
        let running: Vec<_> =
            service.tree().health().into_iter().map(|actor| (actor.path, actor.supervisor)).collect();
        service.stop().await;
        let listed = actor_list(&config).into_iter().map(|actor| (actor.path, actor.kind == SUPERVISOR));
        assert_eq!(listed.collect::<Vec<_>>(), running, "{markets:?} {more:?}");
    }
}
