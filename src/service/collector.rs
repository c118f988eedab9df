//! The collector's part of the tree, if nodes are configured: the block fetcher, a batch preparer for each market, the contract
//! values, the cleaner, the finalized batches if there is a state index, a lane and the rewards of each market if there is a relayer,
//! and the notifier.

use std::{collections::BTreeMap, sync::Arc};

use actors::{
    collector::{
        BLOCKS_CONDITION, BatchPreparer, BlockFetcher, COLLECTOR, Cleaner, CollectorMetrics,
        CollectorServices, CollectorSettings, ContractValues, MarketEdge, Notice, Notifier, Progress,
        Relayer, Rewards, WindowLengths,
    },
    env::{BatchFinalized, Services, Wake, stale_after},
    tracker::{FinalizedBatches, IndexEdge, MarketEdges, MarketRegistry, TrackerServices},
};
use color_eyre::eyre::{Result, WrapErr};
use domain::{
    chain::ContractAddress,
    collector::{Followed, Rules},
};
use evm::{ChainConfig, Contracts, NodeUrl, Source};
use relay_client::RelayClient;
use store_collector::{BLOCK_HASH_TTL, ChainKeys, ChainStore, outbox::Outbox};
use supervision::{Address, Child, Clock, Mailbox, Name, Overflow};

use super::policy::{limits, policy};
use crate::{
    api::NodePool,
    config::{self, Config},
};

/// The collector's keys and a market's contract address; `None` if the collector does not run.
pub(super) fn of_market(config: &Config, market: &str) -> Option<(ChainKeys, ContractAddress)> {
    let market = market.parse().ok().filter(|_| config.collector.is_enabled())?;
    Some((ChainKeys::new(&config.output.prefix), market))
}

/// Progress, metrics and window lengths of the collector. One for a process: a reload replaces the actors, and a metric can be registered once.
pub(super) struct AcrossReloads {
    pub(super) progress: Arc<Progress>,
    lengths: Arc<WindowLengths>,
    metrics: CollectorMetrics,
    /// The nodes, for the read API.
    pub(super) nodes: NodePool,
}

impl AcrossReloads {
    pub(super) fn new(services: &Services, clock: &Clock) -> Self {
        let metrics = CollectorMetrics::register(services.telemetry.meter());
        Self {
            progress: Arc::new(Progress::new(clock)),
            lengths: Arc::default(),
            metrics,
            nodes: NodePool::default(),
        }
    }
}

/// The notifier and the supervisor of the collector.
///
/// # Errors
/// Invalid URLs or addresses, which a loaded configuration does not have.
pub(super) fn children(
    config: &Config,
    tracker: &TrackerServices,
    followed: &AcrossReloads,
    registry: &MarketRegistry,
    indexer: Option<&IndexEdge>,
    alerts: Option<&Address<Notice>>,
    clock: &Clock,
) -> Result<Vec<Child>> {
    let services = &tracker.services;
    // A new name for each call: a reload replaces the collector, and a name is that of one actor.
    let fetcher = Name::new("block-fetcher");
    let notices = Mailbox::<Notice>::new("notifier", limits(&config.mailbox), clock);
    let notifier = notices.address(&fetcher, Overflow::DropOldest);
    let shared = collector_services(config, services, followed, notifier)?;
    services.readiness.expect_of(
        COLLECTOR,
        BLOCKS_CONDITION,
        // A node may answer as late as its timeout: readiness must not flap with a slow node.
        stale_after(config.collector.poll_interval.max(config.collector.request_timeout)),
    );
    shared.metrics.observe(shared.source.clone(), shared.progress.clone());
    followed.nodes.set(shared.source.clone());

    // Not mandatory: if the chain can't be followed, the datasets must still be written.
    let policy = policy(&config.supervision);
    let OfMarkets { edges, preparers, lanes, rewards } =
        of_markets(config, &shared, &notices, &fetcher, clock)?;
    let values = {
        let shared = shared.clone();
        Child::worker("contract-values", move || ContractValues::new(shared.clone()))
    };
    let clean = {
        let shared = shared.clone();
        Child::worker("cleaner", move || Cleaner::new(shared.clone()))
    };
    // A copy of the registry is enough: a reload that changes the markets replaces all actors of the collector.
    let trackers =
        registry.now().iter().filter_map(|edges| epoch_tracker(edges, &fetcher)).collect::<Vec<_>>();
    let (finalized, told) = match indexer {
        Some(indexer) => {
            let (child, edge) = finalized_batches(config, tracker, indexer, &fetcher, clock);
            (Some(child.policy(policy)), Some(edge))
        }
        None => (None, None),
    };
    let fetch = Child::worker(fetcher, move || {
        let fetcher = BlockFetcher::new(shared.clone(), edges.clone(), trackers.clone());
        match &told {
            Some(edge) => fetcher.telling_of_finalized(edge.clone()),
            None => fetcher,
        }
    });
    // One child a market, here and below, and no market needs another one.
    let prepare = Child::independent("batch-preparer", preparers).policy(policy);
    let mut members = vec![fetch.policy(policy), prepare, values.policy(policy), clean.policy(policy)];
    members.extend(finalized);
    let told = [("relayer", lanes), ("rewards", rewards)].into_iter().filter(|(_, told)| !told.is_empty());
    members.extend(told.map(|(name, told)| Child::independent(name, told).policy(policy)));
    let alerts = alerts.map(|alerts| alerts.for_sender(notices.name()));
    let notify = Child::actor(notices, move || Notifier::passing_on(alerts.clone())).policy(policy);
    Ok(vec![notify, Child::supervisor(COLLECTOR, members).policy(policy)])
}

/// The actors of the markets, and the block fetcher's edges to their batch preparers.
#[derive(Default)]
struct OfMarkets {
    edges: Vec<MarketEdge>,
    preparers: Vec<Child>,
    /// None without a relayer, and none of the next ones.
    lanes: Vec<Child>,
    rewards: Vec<Child>,
}

fn of_markets(
    config: &Config,
    shared: &CollectorServices,
    notices: &Mailbox<Notice>,
    fetcher: &Name,
    clock: &Clock,
) -> Result<OfMarkets> {
    let (mut all, policy) = (OfMarkets::default(), policy(&config.supervision));
    let relayer = config.relays().then(|| config.relayer.client()).transpose()?;
    for (market, _) in shared.settings.markets.clone() {
        let mailbox = Mailbox::new(market.to_string(), limits(&config.mailbox), clock);
        all.edges.push(MarketEdge { market, actor: mailbox.address(fetcher, Overflow::Coalesce) });
        // Each sender has an address of its own, by which the tree knows its edges.
        let notifier = notices.address(mailbox.name(), Overflow::DropOldest);
        let shared = CollectorServices { notifier, ..shared.clone() };
        let told = relayer.clone().map(|client| {
            let (lane, rewards, told) =
                of_relayer(config, &shared, notices, (client, market), mailbox.name(), clock);
            all.lanes.push(lane.policy(policy));
            all.rewards.push(rewards.policy(policy));
            told
        });
        let make = move || match &told {
            Some((relayer, rewards)) => {
                BatchPreparer::new(shared.clone(), market).waking(relayer.clone(), rewards.clone())
            }
            None => BatchPreparer::new(shared.clone(), market),
        };
        all.preparers.push(Child::actor(mailbox, make).policy(policy));
    }
    Ok(all)
}

/// A market's lane of the relayer and its rewards, and the edges to both of the batch preparer of this name.
fn of_relayer(
    config: &Config,
    shared: &CollectorServices,
    notices: &Mailbox<Notice>,
    (client, market): (RelayClient, ContractAddress),
    preparer: &Name,
    clock: &Clock,
) -> (Child, Child, (Address<Wake>, Address<Wake>)) {
    // Calls and plans are in Redis: a message only wakes.
    let [lane, due] = [(); 2].map(|()| Mailbox::new(market.to_string(), limits(&config.mailbox), clock));
    let told = [&lane, &due].map(|mailbox| mailbox.address(preparer, Overflow::Coalesce));
    let frozen = lane.address(due.name(), Overflow::Coalesce);
    let [to_lane, to_rewards] = told;
    let lane = self::lane(config, shared, notices, (client, market), lane);
    (lane, rewards(shared, notices, market, due, frozen), (to_lane, to_rewards))
}

/// A market's lane of the relayer.
fn lane(
    config: &Config,
    shared: &CollectorServices,
    notices: &Mailbox<Notice>,
    (client, market): (RelayClient, ContractAddress),
    mailbox: Mailbox<Wake>,
) -> Child {
    let notifier = notices.address(mailbox.name(), Overflow::DropOldest);
    let shared = CollectorServices { notifier, ..shared.clone() };
    let outbox = Outbox::new(ChainKeys::new(&config.output.prefix));
    Child::actor(mailbox, move || Relayer::new(shared.clone(), client.clone(), outbox.clone(), market))
}

/// A market's rewards, with an edge to its lane.
fn rewards(
    shared: &CollectorServices,
    notices: &Mailbox<Notice>,
    market: ContractAddress,
    mailbox: Mailbox<Wake>,
    lane: Address<Wake>,
) -> Child {
    let notifier = notices.address(mailbox.name(), Overflow::DropOldest);
    let shared = CollectorServices { notifier, ..shared.clone() };
    Child::actor(mailbox, move || Rewards::new(shared.clone(), market, lane.clone()))
}

/// The finalized batches, which tell the indexer, and the block fetcher's edge to them.
fn finalized_batches(
    config: &Config,
    tracker: &TrackerServices,
    indexer: &IndexEdge,
    fetcher: &Name,
    clock: &Clock,
) -> (Child, Address<BatchFinalized>) {
    let mailbox = Mailbox::new("finalized-batches", limits(&config.mailbox), clock);
    // The blocks must not wait for the index.
    let edge = mailbox.address(fetcher, Overflow::DropOldest);
    let (tracker, keys) = (tracker.clone(), ChainKeys::new(&config.output.prefix));
    let indexer = indexer.for_sender(mailbox.name());
    let make = move || FinalizedBatches::new(tracker.clone(), keys.clone(), indexer.clone());
    (Child::actor(mailbox, make), edge)
}

/// The block fetcher's edge to the epoch tracker of a market, if its name is a contract address. Windows of the chain change the
/// current epoch, so the block fetcher wakes the epoch tracker too.
fn epoch_tracker(edges: &MarketEdges, fetcher: &Name) -> Option<MarketEdge> {
    let market = edges.keys.market().checksummed().parse().ok()?;
    Some(MarketEdge { market, actor: edges.listener.epoch_tracker.for_sender(fetcher) })
}

fn contract(setting: &str, text: &str) -> Result<ContractAddress> {
    text.parse().wrap_err_with(|| format!("{setting} is not the address of a contract"))
}

/// The protocol-state contract.
///
/// # Errors
/// An invalid address, which a loaded configuration does not have.
pub(crate) fn protocol_state(config: &Config) -> Result<ContractAddress> {
    contract("tracker.protocol", &config.tracker.protocol)
}

/// The contract addresses of the markets, each with its configured spelling.
fn named_markets(config: &Config) -> Result<Vec<(ContractAddress, String)>> {
    let markets = config.tracker.markets.iter();
    markets.map(|market| Ok((contract("tracker.markets", market)?, market.clone()))).collect()
}

/// The store of the collector.
///
/// # Errors
/// Invalid addresses, which a loaded configuration does not have.
pub(crate) fn store(config: &Config) -> Result<ChainStore> {
    let protocol_state = protocol_state(config)?;
    let markets = named_markets(config)?.into_iter().map(|(market, _)| market).collect();
    let keys = ChainKeys::new(&config.output.prefix);
    Ok(ChainStore::new(keys, protocol_state.to_string(), markets, config.collector.attestor_queue))
}

/// The services that all actors of the collector share.
///
/// # Errors
/// Invalid URLs or addresses, which a loaded configuration does not have.
pub(super) fn collector_services(
    config: &Config,
    services: &Services,
    followed: &AcrossReloads,
    notifier: Address<Notice>,
) -> Result<CollectorServices> {
    let settings = &config.collector;
    let named = named_markets(config)?;
    let priorities = match settings.priorities_contract.as_str() {
        "" => None,
        priorities => Some(contract("collector.priorities_contract", priorities)?),
    };
    let protocol_state = protocol_state(config)?;
    let contracts = Contracts { protocol_state, priorities };
    Ok(CollectorServices {
        services: services.clone(),
        store: store(config)?,
        source: Source::new(nodes(settings, contracts)?).wrap_err("the chain can't be followed")?,
        lengths: followed.lengths.clone(),
        progress: followed.progress.clone(),
        metrics: followed.metrics.clone(),
        settings: Arc::new(collector_settings(settings, &config.rewards, named)),
        notifier,
        // One semaphore for all preparers, also over their restarts: a crash releases its permit.
        workers: Arc::new(tokio::sync::Semaphore::new(workers(settings.workers))),
        hand_overs: Arc::default(),
        tells_relayer: config.relays(),
    })
}

/// How many markets are prepared at once.
fn workers(configured: usize) -> usize {
    let processors = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if configured == 0 { processors() } else { configured }
}

fn nodes(settings: &config::Collector, contracts: Contracts) -> Result<ChainConfig> {
    let urls = |setting: &str, urls: &[config::Secret]| -> Result<Vec<NodeUrl>> {
        let url = |url: &config::Secret| {
            url.reveal().parse().wrap_err_with(|| format!("{setting} contains an invalid URL"))
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

fn collector_settings(
    settings: &config::Collector,
    rewards: &config::Rewards,
    markets: Vec<(ContractAddress, String)>,
) -> CollectorSettings {
    CollectorSettings {
        start: settings.start_block,
        markets,
        rules: Rules {
            // Read from the contracts.
            windows: BTreeMap::new(),
            day_lengths: BTreeMap::new(),
            past_days: rewards.past_days,
            followed: Followed { attest: settings.attestor_queue },
            max_windows: settings.max_windows,
            max_reorg_depth: settings.max_reorg_depth,
            inputs_live: settings.submissions_ttl.as_secs(),
            silence: settings.close_grace.as_secs(),
            block_time: settings.block_time.as_secs_f64(),
        },
        old_after: std::time::Duration::from_secs(BLOCK_HASH_TTL),
        batch_size: settings.batch_size,
        rewards: rewards.rules(),
        reports_eligible: rewards.eligible_notices,
        budgets: settings.budgets(),
        prepare_every: PREPARE_EVERY,
        refresh_every: settings.contract_refresh_interval,
        clean_every: settings.cleanup_interval,
    }
}

/// How often a preparer looks for closed windows without a message from the block fetcher, such as after a backfill.
const PREPARE_EVERY: std::time::Duration = std::time::Duration::from_secs(5);
