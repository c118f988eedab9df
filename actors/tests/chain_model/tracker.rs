//! The collector's actors in a tree on the clock of the test.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::{NonZeroU64, NonZeroUsize},
    sync::Arc,
    time::Duration,
};

use actors::collector::{
    BatchPreparer, BlockFetcher, Budgets, Cleaner, CollectorMetrics, CollectorServices, CollectorSettings,
    ContractValues, MarketEdge, Notice, Notifier, Progress,
};
use domain::{
    chain::ContractAddress,
    collector::{Followed, RewardRules, Rules},
};
use evm::{ChainConfig, Source, StartBlock};
use retry::RetryPolicy;
use store_collector::{ChainKeys, ChainStore, operations::REMOVE_MARKET};
use supervision::{
    Backoff, Child, Clock, Intensity, Limits, Mailbox, Name, Outcome, Overflow, Policy, Tree, TreeOptions,
};

use super::{
    common::{self, COLLECTOR_POINTS},
    script::{CONTRACT, MARKETS},
    settings::Settings,
};

/// What the configuration of a tracker says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub markets: BTreeSet<usize>,
    /// Whether submitted batches go to the attestor.
    pub attest: bool,
}

pub fn address(market: usize) -> ContractAddress {
    MARKETS[market].parse().expect("an address")
}

/// Removes a market from the chain state, as `state-tracker ledger remove` does: again if a tracker was ahead.
pub async fn remove(redis: &str, market: usize, clock: &Clock) {
    let services = common::services(redis, Duration::from_secs(10), clock);
    let protocol_state: ContractAddress = CONTRACT.parse().expect("an address");
    let store = ChainStore::new(ChainKeys::new(""), protocol_state.to_string(), Vec::new(), true);
    loop {
        let mut session = services.store.session(REMOVE_MARKET).await.expect("a session");
        if let Some(was_followed) = store.remove(&mut session, address(market)).await.expect("removed") {
            return assert!(was_followed, "market {market} was not followed");
        }
    }
}

pub struct Tracker {
    pub tree: Tree,
    pub progress: Arc<Progress>,
}

/// Restarts within milliseconds of the clock, and no timers for anything that is not tested here.
fn policy() -> Policy {
    Policy {
        intensity: Intensity { max_restarts: 100_000, within: Duration::from_secs(1) },
        backoff: Backoff {
            first: Duration::from_millis(1),
            max: Duration::from_millis(5),
            ..Policy::default().backoff
        },
        start_within: Duration::ZERO,
        stall_after: None,
        ..Policy::default()
    }
}

impl Tracker {
    pub async fn start(
        redis: &str,
        nodes: &[String],
        wanted: &Wanted,
        settings: &Settings,
        clock: &Clock,
    ) -> Self {
        let addresses: Vec<ContractAddress> = wanted.markets.iter().map(|market| address(*market)).collect();
        let chain = services(redis, nodes, &addresses, wanted.attest, settings, clock);
        let fetcher = Name::new("block-fetcher");
        let notices = Mailbox::<Notice>::new("notifier", Limits::default(), clock);
        let notifies = |sender: &Name| notices.address(sender, Overflow::DropOldest);
        let chain = CollectorServices { notifier: notifies(&fetcher), ..chain };
        let (mut preparers, mut edges) = (Vec::new(), Vec::new());
        for market in addresses {
            let mailbox = Mailbox::new(format!("preparer-{market}"), Limits::default(), clock);
            edges.push(MarketEdge { market, actor: mailbox.address(&fetcher, Overflow::Coalesce) });
            let of_preparer = CollectorServices { notifier: notifies(mailbox.name()), ..chain.clone() };
            preparers.push(Child::actor(mailbox, move || BatchPreparer::new(of_preparer.clone(), market)));
        }
        let mut children = vec![Child::actor(notices, Notifier::default)];
        children.extend(preparers);
        let (of_values, of_cleaner, of_fetcher) = (chain.clone(), chain.clone(), chain.clone());
        children.push(Child::worker("contract-values", move || ContractValues::new(of_values.clone())));
        children.push(Child::worker("cleaner", move || Cleaner::new(of_cleaner.clone())));
        let fetch = move || BlockFetcher::new(of_fetcher.clone(), edges.clone(), Vec::new());
        children.push(Child::worker(fetcher, fetch));
        let children = children.into_iter().map(|child| child.policy(policy())).collect();
        let options = TreeOptions { clock: clock.clone(), ..TreeOptions::default() };
        let tree = Tree::start(children, options).await.expect("the tree starts");
        Self { tree, progress: chain.progress }
    }

    /// Makes the actors crash or fail at some points from now on; with 0 never again.
    pub fn arm(&self, every: u64) {
        if every > 0 {
            return common::arm_collector(&self.tree, every);
        }
        COLLECTOR_POINTS.iter().for_each(|point| self.tree.failure_points().disarm(point));
    }

    pub async fn stop(self) {
        let report = self.tree.stop(Duration::from_secs(10)).await;
        assert_eq!((report.outcome, report.left_behind), (Outcome::Stopped, 0));
    }
}

fn services(
    redis: &str,
    nodes: &[String],
    markets: &[ContractAddress],
    attest: bool,
    settings: &Settings,
    clock: &Clock,
) -> CollectorServices {
    let services = common::services(redis, Duration::from_secs(10), clock);
    let metrics = CollectorMetrics::register(services.telemetry.meter());
    let protocol_state = CONTRACT.parse().expect("an address");
    let contracts = evm::Contracts { protocol_state, priorities: None };
    let urls = nodes.iter().map(|node| node.parse().expect("a URL")).collect();
    let mut config = ChainConfig::new(urls, contracts);
    // Nodes answer in real time, so their pauses are short.
    let soon = |policy: RetryPolicy| policy.at_most(Duration::from_millis(10));
    config.poll_interval = Duration::from_millis(4);
    config.probe_interval = Duration::from_millis(150);
    config.max_log_range = settings.log_range;
    config.after_failure = soon(config.after_failure);
    config.after_rate_limit = soon(config.after_rate_limit);
    config.after_wrong_answer = soon(config.after_wrong_answer);
    let nobody = Mailbox::<Notice>::new("nobody", Limits::default(), clock);
    let seconds = Duration::from_secs;
    CollectorServices {
        services,
        store: ChainStore::new(ChainKeys::new(""), protocol_state.to_string(), markets.to_vec(), attest),
        source: Source::new(config).expect("a source"),
        lengths: Arc::default(),
        progress: Arc::new(Progress::new(clock)),
        metrics,
        settings: Arc::new(CollectorSettings {
            start: StartBlock::Number(settings.start),
            markets: markets.iter().map(|market| (*market, market.lower())).collect(),
            rules: Rules {
                windows: BTreeMap::new(),
                day_lengths: BTreeMap::new(),
                past_days: 5,
                followed: Followed { attest },
                max_windows: settings.max_windows,
                max_reorg_depth: settings.max_reorg_depth,
                inputs_live: 1_200,
                silence: 30,
                block_time: 2.0,
            },
            old_after: seconds(1_800),
            batch_size: NonZeroUsize::new(settings.batch_size).expect("more than none"),
            rewards: RewardRules { every: NonZeroU64::MIN, piece: NonZeroUsize::MIN, past_days: 5 },
            reports_eligible: true,
            budgets: Budgets::default(),
            prepare_every: seconds(1),
            refresh_every: seconds(600),
            clean_every: seconds(600),
        }),
        notifier: nobody.address("nobody", Overflow::DropOldest),
        workers: Arc::new(tokio::sync::Semaphore::new(2)),
        hand_overs: Arc::default(),
        tells_relayer: false,
    }
}
