//! The actors of the tree that a configuration describes, known before anything starts. A description of a child can't be
//! read, so this list repeats the names; a test compares it with trees that run.

use actors::collector::COLLECTOR;
use domain::{Address, chain::ContractAddress};

use crate::config::Config;

/// An actor of the tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ListedActor {
    /// Its path.
    pub(crate) path: String,
    /// What it is, in the words of the table of failure points.
    pub(crate) kind: &'static str,
}

/// The kind of every supervisor.
pub(crate) const SUPERVISOR: &str = "supervisor";

/// All actors, the root first, then in the order of their start.
pub(crate) fn actor_list(config: &Config) -> Vec<ListedActor> {
    let mut all = Vec::new();
    let mut add = |path: &str, kind| all.push(ListedActor { path: path.to_owned(), kind });
    let markets = &config.tracker.markets;
    add("root", SUPERVISOR);
    if !config.alerts.url.is_empty() {
        add("alerts", "alerts");
    }
    add("listener", "listener");
    add("markets", SUPERVISOR);
    for market in markets {
        let market = format!("markets/{}", Address::new(market).checksummed());
        add(&market, SUPERVISOR);
        add(&format!("{market}/aggregator"), "aggregator");
        add(&format!("{market}/epoch-tracker"), "epoch tracker");
    }
    if config.index.enabled {
        add("indexer", "indexer");
    }
    if config.collector.is_enabled() {
        add("notifier", "notifier");
        add(COLLECTOR, SUPERVISOR);
        add("collector/block-fetcher", "block fetcher");
        add("collector/batch-preparer", SUPERVISOR);
        for market in markets.iter().filter_map(|market| market.parse::<ContractAddress>().ok()) {
            add(&format!("collector/batch-preparer/{market}"), "batch preparer");
        }
        add("collector/contract-values", "contract values");
        add("collector/cleaner", "cleaner");
        if config.index.enabled {
            add("collector/finalized-batches", "finalized batches");
        }
        if config.relays() {
            for kind in ["relayer", "rewards"] {
                add(&format!("collector/{kind}"), SUPERVISOR);
                for market in markets.iter().filter_map(|market| market.parse::<ContractAddress>().ok()) {
                    add(&format!("collector/{kind}/{market}"), kind);
                }
            }
        }
    }
    if !config.intervals.find.is_zero() {
        add("finder", "finder");
    }
    add("pruner", "pruner");
    if config.api.is_enabled() {
        add(super::read_api::NAME, "read API");
    }
    add_peers(config, &mut add);
    add_campaigns(config, add);
    all
}

/// Those of campaigns.
fn add_campaigns(config: &Config, mut add: impl FnMut(&str, &'static str)) {
    if !config.campaigns.is_enabled() {
        return;
    }
    add("campaigns", SUPERVISOR);
    if config.campaigns.schedules() {
        add("campaigns/scheduler", "campaign scheduler");
        add("campaigns/workers", SUPERVISOR);
        for number in 1..=config.campaigns.workers {
            add(&format!("campaigns/workers/worker-{number}"), "status worker");
        }
        add("campaigns/counter", "campaign counter");
    }
    if config.campaigns.serves() {
        add("campaigns/monitor", "campaign monitor");
        add("campaigns/listener", "campaign listener");
        add("campaigns/jobs", "campaign jobs");
        add("campaigns/gateway", "campaign gateway");
    }
}

/// Those of connected peers.
fn add_peers(config: &Config, mut add: impl FnMut(&str, &'static str)) {
    if !config.peers.is_enabled() {
        return;
    }
    add("peers", SUPERVISOR);
    add("peers/history", "peer history");
    add("peers/state", "peer state");
    add("peers/connections", SUPERVISOR);
    for number in 1..=config.peers.connections {
        add(&format!("peers/connections/connection-{number}"), "peer connection");
    }
    let applications = config.peers.application_names();
    if !applications.is_empty() {
        add("peers/polls", SUPERVISOR);
    }
    for name in applications {
        add(&format!("peers/polls/{name}"), "peer poll");
    }
    for port in ["listener-proxy", "listener-pool"] {
        add(&format!("peers/{port}"), "peer listener");
    }
    for port in ["http-proxy", "http-pool"] {
        add(&format!("peers/{port}"), "peer readers");
    }
}
