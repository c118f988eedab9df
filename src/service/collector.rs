//! The collector's part of the tree, where the configuration names nodes: the block fetcher, a batch preparer for each market,
//! the cleaner, and the notifier that they notify.

use std::{collections::BTreeMap, sync::Arc};

use actors::{
    collector::{
        BLOCKS_CONDITION, BatchPreparer, BlockFetcher, COLLECTOR, Cleaner, CollectorMetrics,
        CollectorServices, CollectorSettings, MarketEdge, Notice, Notifier, Progress,
    },
    env::{Services, stale_after},
    tracker::{MarketEdges, MarketRegistry},
};
use color_eyre::eyre::{Result, WrapErr};
use domain::{chain::ContractAddress, collector::Rules};
use evm::{ChainConfig, Contracts, NodeUrl, Source};
use store_collector::{BLOCK_HASH_TTL, ChainKeys, ChainStore};
use supervision::{Address, Child, Clock, Mailbox, Overflow};

use super::policy::{limits, policy};
use crate::config::{self, Config};

/// Who follows the chain.
pub(super) const FETCHER: &str = "collector/block-fetcher";

/// The keys of the chain's side, and a market's address on it; `None` where no chain is followed.
pub(super) fn of_market(config: &Config, market: &str) -> Option<(ChainKeys, ContractAddress)> {
    let market = market.parse().ok().filter(|_| config.collector.is_followed())?;
    Some((ChainKeys::new(&config.output.prefix), market))
}

/// How far the chain is followed, and the metrics of that: once for a process, however often its actors are replaced.
pub(super) struct Followed {
    pub(super) progress: Arc<Progress>,
    metrics: CollectorMetrics,
}

impl Followed {
    pub(super) fn new(services: &Services, clock: &Clock) -> Self {
        let metrics = CollectorMetrics::register(services.telemetry.meter());
        Self { progress: Arc::new(Progress::new(clock)), metrics }
    }
}

/// Notifier and collector, where a chain is followed.
///
/// # Errors
/// URLs or addresses that are none, which a loaded configuration has not.
pub(super) fn children(
    config: &Config,
    services: &Services,
    followed: &Followed,
    registry: &MarketRegistry,
    clock: &Clock,
) -> Result<Vec<Child>> {
    let notices = Mailbox::<Notice>::new("notifier", limits(&config.mailbox), clock);
    let notifier = notices.address(FETCHER, Overflow::DropOldest);
    let shared = shared(config, services, followed, notifier)?;
    services.readiness.expect_of(
        COLLECTOR,
        BLOCKS_CONDITION,
        stale_after(config.collector.poll_interval.max(config.collector.request_timeout)),
    );
    shared.metrics.observe(shared.source.clone(), shared.progress.clone());

    // None of it is mandatory: a chain that can't be followed takes nothing else down.
    let policy = policy(&config.supervision);
    let (mut edges, mut preparers) = (Vec::new(), Vec::new());
    for (market, _) in shared.settings.markets.clone() {
        let path = format!("collector/batch-preparer/{market}");
        let mailbox = Mailbox::new(path.clone(), limits(&config.mailbox), clock);
        edges.push(MarketEdge { market, actor: mailbox.address(FETCHER, Overflow::Coalesce) });
        let notifier = notices.address(&path, Overflow::DropOldest);
        let shared = CollectorServices { notifier, ..shared.clone() };
        let make = move || BatchPreparer::new(shared.clone(), market);
        preparers.push(Child::actor(market.to_string(), &mailbox, make).policy(policy));
    }
    let clean = {
        let shared = shared.clone();
        Child::source("cleaner", move || Cleaner::new(shared.clone()))
    };
    // Its own copy will do: with each change of the markets all actors of the chain begin anew.
    let trackers: Vec<MarketEdge> = registry.now().iter().filter_map(epoch_tracker).collect();
    let fetch = Child::source("block-fetcher", move || {
        BlockFetcher::new(shared.clone(), edges.clone(), trackers.clone())
    });
    let prepare = Child::supervisor("batch-preparer", preparers).policy(policy);
    let members = vec![fetch.policy(policy), prepare, clean.policy(policy)];
    let notify = Child::actor("notifier", &notices, || Notifier).policy(policy);
    Ok(vec![notify, Child::supervisor(COLLECTOR, members).policy(policy)])
}

/// The edge to a market's epoch tracker, where its address is that of a contract.
fn epoch_tracker(edges: &MarketEdges) -> Option<MarketEdge> {
    let market = edges.keys.market().checksummed().parse().ok()?;
    Some(MarketEdge { market, actor: edges.chain_to_epoch_tracker.clone()? })
}

fn contract(setting: &str, text: &str) -> Result<ContractAddress> {
    text.parse().wrap_err_with(|| format!("{setting} is no address of a contract"))
}

/// The protocol-state contract.
///
/// # Errors
/// An address that is none, which a loaded configuration has not.
pub(crate) fn protocol_state(config: &Config) -> Result<ContractAddress> {
    contract("tracker.protocol", &config.tracker.protocol)
}

/// The markets, each with its spelling in the configuration.
fn named_markets(config: &Config) -> Result<Vec<(ContractAddress, String)>> {
    let markets = config.tracker.markets.iter();
    markets.map(|market| Ok((contract("tracker.markets", market)?, market.clone()))).collect()
}

/// The collector's keys in Redis.
///
/// # Errors
/// Addresses that are none, which a loaded configuration has not.
pub(crate) fn store(config: &Config) -> Result<ChainStore> {
    let protocol_state = protocol_state(config)?;
    let markets = named_markets(config)?.into_iter().map(|(market, _)| market).collect();
    let keys = ChainKeys::new(&config.output.prefix);
    Ok(ChainStore::new(keys, protocol_state.to_string(), markets, config.collector.attestor_queue))
}

/// What the actors of a chain work with, where one is to be followed.
///
/// # Errors
/// URLs or addresses that are none, which a loaded configuration has not.
pub(super) fn shared(
    config: &Config,
    services: &Services,
    followed: &Followed,
    notifier: Address<Notice>,
) -> Result<CollectorServices> {
    let settings = &config.collector;
    let named = named_markets(config)?;
    let priorities = match settings.priorities_contract.as_str() {
        "" => None,
        priorities => Some(contract("collector.priorities_contract", priorities)?),
    };
    let protocol_state = protocol_state(config)?;
    let markets = named.iter().map(|(market, _)| *market).collect();
    let contracts = Contracts { protocol_state, priorities, markets };
    Ok(CollectorServices {
        services: services.clone(),
        store: store(config)?,
        source: Source::new(nodes(settings, contracts)?).wrap_err("the chain can't be followed")?,
        progress: followed.progress.clone(),
        metrics: followed.metrics.clone(),
        settings: Arc::new(following(settings, named)),
        notifier,
        workers: Arc::new(tokio::sync::Semaphore::new(settings.workers)),
    })
}

fn nodes(settings: &config::Collector, contracts: Contracts) -> Result<ChainConfig> {
    let urls = |setting: &str, urls: &[config::Secret]| -> Result<Vec<NodeUrl>> {
        let url = |url: &config::Secret| {
            url.reveal().parse().wrap_err_with(|| format!("{setting} names no node that can be asked"))
        };
        urls.iter().map(url).collect()
    };
    let mut chain = ChainConfig::new(urls("collector.nodes", &settings.nodes)?, contracts);
    chain.archive_nodes = urls("collector.archive_nodes", &settings.archive_nodes)?;
    chain.chain_id = settings.id();
    chain.poll_interval = settings.poll_interval;
    chain.request_timeout = settings.request_timeout;
    chain.max_answer = settings.max_answer_bytes;
    chain.rate_limit = settings.rate();
    chain.max_log_range = settings.max_log_range;
    Ok(chain)
}

fn following(settings: &config::Collector, markets: Vec<(ContractAddress, String)>) -> CollectorSettings {
    CollectorSettings {
        start: settings.start_block,
        markets,
        rules: Rules {
            // The contracts tell.
            windows: BTreeMap::new(),
            max_windows: settings.max_windows,
            max_reorg_depth: settings.max_reorg_depth,
            inputs_live: settings.submissions_ttl.as_secs(),
            silence: settings.close_grace.as_secs(),
            block_time: settings.block_time.as_secs_f64(),
        },
        old_after: std::time::Duration::from_secs(BLOCK_HASH_TTL),
        batch_size: settings.batch_size,
        budgets: settings.budgets(),
        prepare_every: PREPARE_EVERY,
        refresh_every: settings.contract_refresh_interval,
        clean_every: settings.cleanup_interval,
    }
}

/// How often a preparer looks for closed windows when nobody wakes it.
const PREPARE_EVERY: std::time::Duration = std::time::Duration::from_secs(5);
