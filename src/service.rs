//! The wiring: from a configuration to a running tree with its endpoints.
//!
//! ```text
//! root
//! ├─ listener
//! ├─ markets
//! │  └─ 0x…            one supervisor a market
//! │     ├─ aggregator
//! │     └─ epoch-tracker
//! ├─ indexer            when the state index is enabled
//! ├─ notifier           when a chain is followed
//! ├─ collector          the same
//! │  ├─ block-fetcher
//! │  ├─ batch-preparer
//! │  │  └─ 0x…         one a market
//! │  └─ cleaner
//! └─ pruner
//! ```
//!
//! The mailboxes are made first, so that every actor can be given its edges before any of them exists. Each edge is
//! declared with its sender; the tree does not start where edges that wait form a cycle. Today all edges are those of the
//! listener, the block fetcher and the batch preparers, and coalesce or drop the oldest: none waits.

mod collector;
mod policy;
mod reload;
#[cfg(test)]
mod tests;
mod tracker;
mod vitals;

use std::sync::{Arc, OnceLock};

use actors::{
    collector::{CollectorServices, ProgressSnapshot},
    env::{Services, telemetry::Telemetry},
    tracker::{IndexEdge, Indexer, Listener, MarketEdges, MarketRegistry, Pruner, Timing, TrackerServices},
};
use color_eyre::eyre::{Result, WrapErr};
use store_redis::{RedisSettings, Store};
use supervision::{Child, Clock, Limits, Mailbox, Overflow, StopReport, Tree, TreeOptions, WatchSettings};

use crate::{config::Config, http::HttpServers, remedy};

use collector::Followed;
pub(crate) use collector::{protocol_state, store as collector_store};
pub(crate) use policy::run_to_completion;
use policy::{limits, mandatory, policy};
pub use reload::Reloaded;
use tracker::{expect_datasets, indexes, market, retention};
pub(crate) use tracker::{intervals, market_keys};
use vitals::ServiceVitals;

/// The configuration that is in effect.
struct Present {
    config: Config,
    /// What follows the chain has to begin anew: its markets are not these.
    chain_is_due: bool,
}

/// A running service.
pub struct Service {
    tree: Arc<Tree>,
    http: HttpServers,
    tracker: TrackerServices,
    /// How far the chain is followed, where one is.
    followed: Option<Followed>,
    clock: Clock,
    registry: MarketRegistry,
    /// What is in effect. One reload at a time.
    present: tokio::sync::Mutex<Present>,
}

impl Service {
    /// Binds the endpoints and starts the tree. Redis need not be there yet.
    ///
    /// # Errors
    /// A port that is taken, or settings that make no connection.
    pub async fn start(config: &Config, watch: WatchSettings) -> Result<Self> {
        let clock = Clock::system();
        let services = services(config, &clock)?;
        // The ports first: a second instance by mistake ends here, before it has touched anything.
        let vitals = Arc::new(ServiceVitals { tree: OnceLock::new(), services: services.clone() });
        let tracker = tracker_services(config, services.clone(), &clock);
        let followed = config.collector.is_followed().then(|| Followed::new(&services, &clock));
        let (metrics, operator) = (config.http.metrics_address(), config.http.operator_address);
        let http = HttpServers::bind(metrics, operator, vitals.clone()).await?;
        let (registry, children) = children(config, &tracker, followed.as_ref(), &clock)?;
        let simultaneous_restarts = config.supervision.simultaneous_restarts;
        let options = TreeOptions { clock: clock.clone(), watch, simultaneous_restarts };
        let tree = Tree::start(children, options).await;
        let tree = Arc::new(tree.wrap_err("the root of the tree could not be started")?);
        vitals.tree.get_or_init(|| Arc::downgrade(&tree));
        let observed = Arc::downgrade(&tree);
        services
            .telemetry
            .observe_tree(move || observed.upgrade().map_or_else(Vec::new, |tree| tree.health()));
        tracing::info!(metrics = %http.metrics_address(), operator = %http.operator_address(), "endpoints are open");
        let present = tokio::sync::Mutex::new(Present { config: config.clone(), chain_is_due: false });
        Ok(Self { tree, http, tracker, followed, clock, registry, present })
    }

    /// The tree.
    #[must_use]
    pub fn tree(&self) -> &Arc<Tree> {
        &self.tree
    }

    /// The endpoints.
    #[must_use]
    pub fn http(&self) -> &HttpServers {
        &self.http
    }

    /// The way to Redis.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.tracker.services.store
    }

    /// How far the chain is followed, where one is.
    #[must_use]
    pub fn following(&self) -> Option<ProgressSnapshot> {
        self.followed.as_ref().map(|followed| followed.progress.now())
    }

    /// Shows how many lines of the log were dropped.
    pub fn observe_log(&self, dropped: impl Fn() -> u64 + Send + Sync + 'static) {
        self.tracker.services.telemetry.observe_log(dropped);
    }

    /// Stops the actors in order, then the endpoints.
    pub async fn stop(self) -> StopReport {
        let shutdown_timeout = self.present.lock().await.config.supervision.shutdown_timeout;
        let report = self.tree.stop(shutdown_timeout).await;
        self.http.stop().await;
        report
    }
}

fn services(config: &Config, clock: &Clock) -> Result<Services> {
    let redis = &config.redis;
    let settings = RedisSettings {
        servers: redis.servers().wrap_err("the settings of Redis make no connection")?,
        certificates: redis.certificates()?,
        address: redis.address(),
        pool_size: redis.pool_size,
        connect_timeout: redis.connect_timeout,
        command_timeout: redis.command_timeout,
    };
    let store = Store::new(settings)?.with_event_queue(redis.event_queue_bytes);
    Ok(Services::new(store, Telemetry::new()?, clock).with_remedy(remedy::of))
}

fn tracker_services(config: &Config, services: Services, clock: &Clock) -> TrackerServices {
    let timing = Timing {
        intervals: intervals(config),
        wake_debounce: config.intervals.wake_debounce,
        seal_after: config.ledger.seal_delay,
        measurement_window: config.ledger.measurement_window,
        reconnect_within: config.redis.reconnect_max_interval,
    };
    for market in &config.tracker.markets {
        expect_datasets(config, &services, market);
    }
    TrackerServices::new(services, timing, config.tracker.sequencer_id.clone(), clock)
}

/// The description of the whole tree, and the registry that its actors share.
fn children(
    config: &Config,
    tracker: &TrackerServices,
    followed: Option<&Followed>,
    clock: &Clock,
) -> Result<(MarketRegistry, Vec<Child>)> {
    let policy = policy(&config.supervision);
    let mandatory = mandatory(&config.supervision);
    let limits = limits(&config.mailbox);
    let markets = config.tracker.markets.iter().map(|name| market(config, name, tracker, clock));
    let (edges, markets): (Vec<MarketEdges>, Vec<Child>) = markets.unzip();
    let registry = MarketRegistry::new(edges);
    let (indexes, index_kept) = (indexes(config, &registry), config.retention.index);
    let inbox =
        Mailbox::new("indexer", Limits { batch: limits.batch.min(Indexer::AT_ONCE), ..limits }, clock);
    let feed = indexes
        .clone()
        .map(|indexes| IndexEdge::new(inbox.address("listener", Overflow::DropOldest), indexes));
    let index = feed.clone().map(|feed| {
        let tracker = tracker.clone();
        let make = move || Indexer::new(tracker.clone(), feed.clone(), index_kept);
        Child::actor("indexer", &inbox, make).policy(policy)
    });
    let listen = {
        let (tracker, registry) = (tracker.clone(), registry.clone());
        Child::source("listener", move || {
            let listener = Listener::new(tracker.clone(), registry.clone());
            match &feed {
                Some(feed) => listener.with_index(feed.clone()),
                None => listener,
            }
        })
    };
    let prune = {
        let (tracker, registry, every) = (tracker.clone(), registry.clone(), config.intervals.prune);
        let retention = retention(&config.retention);
        Child::source("pruner", move || {
            let pruner = Pruner::new(tracker.clone(), registry.clone(), every, retention);
            match &indexes {
                Some(indexes) => pruner.with_indexes(indexes.clone(), index_kept),
                None => pruner,
            }
        })
    };
    let markets = Child::supervisor("markets", markets);
    let mut children = vec![listen.policy(mandatory), markets.policy(mandatory)];
    children.extend(index);
    if let Some(followed) = followed {
        children.extend(collector::children(config, &tracker.services, followed, &registry, clock)?);
    }
    children.push(prune.policy(policy));
    Ok((registry, children))
}

/// The way to Redis that a configuration describes, for checks outside a tree.
///
/// # Errors
/// Settings that make no connection.
pub fn connect(config: &Config) -> Result<Store> {
    Ok(services(config, &Clock::system())?.store)
}

/// The fetcher outside the service.
pub(crate) const BACKFILL: &str = "backfill";

/// What a fetcher of the configured chain works with outside the service. Nobody reads the notices: they are counted.
///
/// # Errors
/// Settings that make no connection, and addresses or URLs that are none.
pub(crate) fn following(config: &Config, clock: &Clock) -> Result<CollectorServices> {
    let nobody = Mailbox::new("nobody", limits(&config.mailbox), clock);
    let notices = nobody.address(BACKFILL, Overflow::DropOldest);
    let services = services(config, clock)?;
    collector::shared(config, &services, &Followed::new(&services, clock), notices)
}
