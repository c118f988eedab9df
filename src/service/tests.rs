//! The actors and the edges of the whole tree, without Redis.

use std::time::Duration;

use super::*;

const MARKETS: [&str; 2] =
    ["0x0C2E22fe7526fAeF28E7A58c84f8723dEFcE200c", "0x21cb57C1f2352ad215a463DD867b838749CD3b8f"];

fn configuration(more: &[(&str, &str)]) -> Config {
    let environment = [
        ("PROTOCOL_STATE_CONTRACT", "0xE88E5f64AEB483d7057645326AdDFA24A3B312DF".to_owned()),
        ("DATA_MARKET_ADDRESSES", MARKETS.join(",")),
        ("STATE_TRACKER__INDEX__ENABLED", "true".to_owned()),
        ("STATE_TRACKER__INDEX__NAMESPACED", "true".to_owned()),
    ];
    let environment =
        environment.into_iter().chain(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
    Config::load(None, environment).expect("allowed").config
}

/// Starts a tree without Redis.
async fn tree(config: &Config) -> Tree {
    let clock = Clock::system();
    let services = services(config, &clock).expect("settings that make a connection");
    let followed = config.collector.is_enabled().then(|| Followed::new(&services, &clock));
    let tracker = tracker_services(config, services, &clock);
    let (_registry, children) =
        children(config, &tracker, followed.as_ref(), &clock).expect("settings that fit");
    Tree::start(children, TreeOptions::default()).await.expect("no cycle")
}

/// The edges of the tree, in their order, each between two actors of it.
async fn edges(more: &[(&str, &str)]) -> Vec<(String, String, Overflow)> {
    let tree = tree(&configuration(more)).await;
    let actors: Vec<_> = tree.health().into_iter().map(|actor| actor.path).collect();
    let edges: Vec<_> = tree.edges().into_iter().map(|edge| (edge.from, edge.to, edge.overflow)).collect();
    tree.stop(Duration::from_secs(5)).await;
    for (from, to, overflow) in &edges {
        assert!(actors.contains(from) && actors.contains(to), "{from} -> {to} is between actors of the tree");
        assert!(!overflow.waits(), "{from} -> {to} waits");
    }
    edges
}

/// Every edge of a tree without a chain.
fn of_markets() -> Vec<(String, String, Overflow)> {
    let to = |path: String, overflow| ("listener".to_owned(), path, overflow);
    let mut expected: Vec<_> = MARKETS
        .iter()
        .flat_map(|market| ["aggregator", "epoch-tracker"].map(|actor| format!("markets/{market}/{actor}")))
        .map(|path| to(path, Overflow::Coalesce))
        .collect();
    expected.push(to("indexer".to_owned(), Overflow::DropOldest));
    expected
}

#[tokio::test]
async fn every_edge_of_the_tree_is_declared_by_an_actor_of_it_and_none_waits() {
    assert_eq!(edges(&[]).await, of_markets());
}

#[tokio::test]
async fn every_edge_of_the_chain_is_declared_by_an_actor_of_it_and_none_waits() {
    let mut expected = of_markets();
    let fetcher = || "collector/block-fetcher".to_owned();
    expected.push((fetcher(), "notifier".to_owned(), Overflow::DropOldest));
    for market in MARKETS {
        let preparer = format!("collector/batch-preparer/{market}");
        expected.push((fetcher(), format!("markets/{market}/epoch-tracker"), Overflow::Coalesce));
        expected.push((fetcher(), preparer.clone(), Overflow::Coalesce));
        expected.push((preparer, "notifier".to_owned(), Overflow::DropOldest));
    }
    let mut found = edges(&[("RPC_NODES", "http://127.0.0.1:2")]).await;
    let order = |edges: &mut Vec<(String, String, Overflow)>| {
        edges.sort_by_key(|(from, to, _)| (from.clone(), to.clone()))
    };
    order(&mut expected);
    order(&mut found);
    assert_eq!(found, expected);
}

#[cfg(feature = "failure-points")]
#[tokio::test]
async fn the_list_of_actors_is_that_of_the_tree_that_runs() {
    use super::actor_list::{SUPERVISOR, actor_list};
    for more in [
        &[][..],
        &[("STATE_TRACKER__INDEX__ENABLED", "false")],
        &[("RPC_NODES", "http://127.0.0.1:2")],
        &[("RPC_NODES", "http://127.0.0.1:2"), ("DATA_MARKET_ADDRESSES", &MARKETS[0].to_lowercase())],
    ] {
        let config = configuration(more);
        let tree = tree(&config).await;
        let running: Vec<_> = tree.health().into_iter().map(|actor| (actor.path, actor.supervisor)).collect();
        tree.stop(Duration::from_secs(5)).await;
        let listed = actor_list(&config).into_iter().map(|actor| (actor.path, actor.kind == SUPERVISOR));
        assert_eq!(listed.collect::<Vec<_>>(), running, "{more:?}");
    }
}
