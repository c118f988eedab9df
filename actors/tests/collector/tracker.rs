//! The collector's actors in a private tree.

use std::{
    collections::BTreeMap,
    num::{NonZeroU64, NonZeroUsize},
    sync::Arc,
    time::Duration,
};

use actors::collector::{
    BatchPreparer, BlockFetcher, Budgets, Cleaner, CollectorMetrics, CollectorServices, CollectorSettings,
    ContractValues, MarketEdge, Notice, Notifier, Progress, Rewards,
};
use actors::env::Wake;
use domain::{
    chain::{ContractAddress, WindowState},
    collector::{ChainState, Followed, RewardRules, Rules},
};
use evm::StartBlock;
use evm::{ChainConfig, Source};
use store_collector::{ChainKeys, ChainStore};
use supervision::{
    ActorHealth, Backoff, Child, Clock, ExitKind, Intensity, Limits, Mailbox, Name, Outcome, Overflow,
    Policy, Tree, TreeOptions, fail::Written,
};
use testkit::{Contracts, wait_until};

use crate::common;

pub const SOON: Duration = Duration::from_secs(120);

/// The settings that differ between tests.
#[derive(Clone, Copy)]
pub struct Setup {
    pub start: StartBlock,
    pub max_chunk: u64,
    pub max_reorg_depth: u64,
    pub max_windows: usize,
    pub inputs_live: u64,
    pub silence: u64,
    pub old_after: Duration,
    pub clean_every: Duration,
    pub budgets: Budgets,
    /// The number of workers; with 0, no market is prepared before the test allows it.
    pub workers: usize,
    pub refresh_every: Duration,
    /// Whether the relayer is told something: its calls stay in the outbox.
    pub told: bool,
    pub policy: Policy,
    /// Failure points that are armed from the first moment: a panic at each passage of the first, an error at each second one of the
    /// next, and so on, in turn.
    pub armed: &'static [&'static str],
}

impl Default for Setup {
    fn default() -> Self {
        let policy = Policy {
            intensity: Intensity { max_restarts: 100_000, within: Duration::from_secs(1) },
            backoff: Backoff {
                first: Duration::from_millis(1),
                max: Duration::from_millis(5),
                ..Policy::default().backoff
            },
            ..Policy::default()
        };
        let day = Duration::from_secs(86_400);
        Self {
            start: StartBlock::Number(1),
            max_chunk: 13,
            max_reorg_depth: 20,
            max_windows: 100,
            inputs_live: 86_400,
            silence: 30,
            old_after: day,
            clean_every: day,
            budgets: Budgets::default(),
            workers: 2,
            refresh_every: Duration::from_secs(3_600),
            told: false,
            policy,
            armed: &[],
        }
    }
}

const TEST: store_redis::Operation = store_redis::Operation::new("test", "test");

pub struct Tracker {
    pub tree: Tree,
    pub chain: CollectorServices,
}

impl Tracker {
    pub async fn start(redis: &str, node: &str, contracts: &Contracts, setup: Setup) -> Self {
        let clock = Clock::system();
        let markets: Vec<ContractAddress> =
            contracts.markets.iter().map(|market| market.parse().expect("an address")).collect();
        let chain = services(redis, node, contracts, &markets, setup, &clock);
        chain.metrics.observe(chain.source.clone(), chain.progress.clone());
        let fetcher = Name::new("block-fetcher");
        let notices = Mailbox::<Notice>::new("notifier", Limits::default(), &clock);
        let notifies = |sender: &Name| notices.address(sender, Overflow::DropOldest);
        let chain = CollectorServices { notifier: notifies(&fetcher), ..chain };
        let (mut preparers, mut edges) = (Vec::new(), Vec::new());
        for market in markets {
            let mailbox = Mailbox::new(format!("preparer-{market}"), Limits::default(), &clock);
            edges.push(MarketEdge { market, actor: mailbox.address(&fetcher, Overflow::Coalesce) });
            let of_preparer = CollectorServices { notifier: notifies(mailbox.name()), ..chain.clone() };
            let waked = setup.told.then(|| {
                let lane = Mailbox::<Wake>::new(format!("lane-{market}"), Limits::default(), &clock);
                let rewards = Mailbox::<Wake>::new(format!("rewards-{market}"), Limits::default(), &clock);
                let of_rewards = CollectorServices { notifier: notifies(rewards.name()), ..chain.clone() };
                let frozen = lane.address(rewards.name(), Overflow::Coalesce);
                let waked = (
                    lane.address(mailbox.name(), Overflow::Coalesce),
                    rewards.address(mailbox.name(), Overflow::Coalesce),
                );
                let make = move || Rewards::new(of_rewards.clone(), market, frozen.clone());
                preparers.push(Child::actor(rewards, make).policy(setup.policy));
                waked
            });
            let make = move || {
                let preparer = BatchPreparer::new(of_preparer.clone(), market);
                match &waked {
                    Some((lane, rewards)) => preparer.waking(lane.clone(), rewards.clone()),
                    None => preparer,
                }
            };
            preparers.push(Child::actor(mailbox, make).policy(setup.policy));
        }
        let mut children = vec![Child::actor(notices, Notifier::default).policy(setup.policy)];
        children.extend(preparers);
        let of_values = chain.clone();
        let values = Child::worker("contract-values", move || ContractValues::new(of_values.clone()));
        children.push(values.policy(setup.policy));
        let of_cleaner = chain.clone();
        let clean = Child::worker("cleaner", move || Cleaner::new(of_cleaner.clone()));
        children.push(clean.policy(setup.policy));
        let of_fetcher = chain.clone();
        let fetch =
            Child::worker(fetcher, move || BlockFetcher::new(of_fetcher.clone(), edges.clone(), Vec::new()));
        children.push(fetch.policy(setup.policy));
        let failure_points = common::faults(setup.armed, 1).map(|(point, fault, when)| Written {
            point: point.to_owned(),
            actor: String::new(),
            fault,
            when,
        });
        let options = TreeOptions { failure_points: failure_points.collect(), ..TreeOptions::default() };
        let tree = Tree::start(children, options).await.expect("the tree starts");
        Self { tree, chain }
    }

    pub async fn chain_state(&self) -> ChainState {
        let mut session = self.chain.services.store.session(TEST).await.expect("a session");
        self.chain.store.of_chain(31_337).load(&mut session).await.expect("loaded").state
    }

    /// Waits until all blocks up to this one are accepted, all closed windows are handed over, and the contract values are written.
    pub async fn caught_up(&self, height: u64, hash: &str) {
        wait_until("the contract values are written", SOON, async || {
            let mut session = self.chain.services.store.session(TEST).await.expect("a session");
            let mut batch = store_redis::Batch::new();
            batch.cmd("HLEN", "DaySizeTableKey");
            batch.cmd("EXISTS", "TotalNodesCount");
            let answers = session.run(TEST, "TotalNodesCount", batch).await.expect("answered");
            let mut replies = store_redis::Replies::new(TEST, answers);
            let [markets, nodes] = [(); 2].map(|()| replies.required::<usize>("").expect("a number"));
            markets >= self.chain.settings.markets.len() && nodes == 1
        })
        .await;
        wait_until(&format!("block {height} is accepted"), SOON, async || {
            let state = self.chain_state().await;
            let closed = |state: &WindowState| matches!(state, WindowState::Closed { .. });
            let prepared = state
                .markets
                .values()
                .all(|market| market.windows.values().all(|window| !closed(&window.state)));
            let checkpoint = state.checkpoint;
            prepared && checkpoint.is_some_and(|at| at.number == height && at.hash.to_string() == hash)
        })
        .await;
    }

    /// Stops it in order: no actor has to be killed.
    pub async fn stop(self) {
        let report = self.tree.stop(Duration::from_secs(10)).await;
        assert_eq!((report.outcome, report.left_behind), (Outcome::Stopped, 0));
        let killed = |actor: &ActorHealth| actor.exits(ExitKind::Killed) > 0;
        assert!(!self.tree.health().iter().any(killed), "{:#?}", self.tree.health());
    }

    /// Its metrics, as they are scraped.
    pub fn metrics(&self) -> String {
        self.chain.services.telemetry.render().expect("metrics can be rendered")
    }

    /// How often its actors crashed.
    pub fn restarts(&self) -> u64 {
        self.tree.health().iter().map(|actor| actor.generation.saturating_sub(1)).sum()
    }
}

fn services(
    redis: &str,
    node: &str,
    contracts: &Contracts,
    markets: &[ContractAddress],
    setup: Setup,
    clock: &Clock,
) -> CollectorServices {
    let services = common::services(redis, Duration::from_secs(10), clock);
    let metrics = CollectorMetrics::register(services.telemetry.meter());
    let protocol_state = contracts.protocol_state.parse().expect("an address");
    let contracts = evm::Contracts { protocol_state, priorities: None };
    let mut config = ChainConfig::new(vec![node.parse().expect("a URL")], contracts);
    config.poll_interval = Duration::from_millis(20);
    config.max_log_range = setup.max_chunk;
    let nobody = Mailbox::<Notice>::new("nobody", Limits::default(), clock);
    CollectorServices {
        services,
        store: ChainStore::new(ChainKeys::new(""), protocol_state.to_string(), markets.to_vec(), true),
        source: Source::new(config).expect("a source"),
        lengths: Arc::default(),
        progress: Arc::new(Progress::new(clock)),
        metrics,
        settings: Arc::new(CollectorSettings {
            start: setup.start,
            markets: markets.iter().map(|market| (*market, market.lower())).collect(),
            rules: Rules {
                windows: BTreeMap::new(),
                day_lengths: BTreeMap::new(),
                past_days: 5,
                followed: Followed { attest: true },
                max_windows: setup.max_windows,
                max_reorg_depth: setup.max_reorg_depth,
                inputs_live: setup.inputs_live,
                silence: setup.silence,
                block_time: 1.0,
            },
            old_after: setup.old_after,
            batch_size: NonZeroUsize::new(5).expect("more than none"),
            rewards: RewardRules {
                every: NonZeroU64::new(10).expect("not 0"),
                piece: NonZeroUsize::new(7).expect("not 0"),
                past_days: 5,
            },
            reports_eligible: true,
            budgets: setup.budgets,
            prepare_every: Duration::from_millis(50),
            refresh_every: setup.refresh_every,
            clean_every: setup.clean_every,
        }),
        notifier: nobody.address("nobody", Overflow::DropOldest),
        workers: Arc::new(tokio::sync::Semaphore::new(setup.workers)),
        hand_overs: Arc::default(),
        tells_relayer: setup.told,
    }
}
