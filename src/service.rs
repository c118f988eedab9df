//! Builds the service from a configuration: the tree of actors, and the endpoints.
//!
//! ```text
//! root
//! ├─ alerts             when a webhook is configured
//! ├─ listener
//! ├─ markets
//! │  └─ 0x…            one supervisor a market
//! │     ├─ aggregator
//! │     └─ epoch-tracker
//! ├─ indexer            when the state index is enabled
//! ├─ notifier           when the collector runs
//! ├─ collector          when nodes are configured
//! │  ├─ block-fetcher
//! │  ├─ batch-preparer
//! │  │  └─ 0x…         one a market
//! │  ├─ relayer         when a relayer is configured
//! │  │  └─ 0x…         one lane a market
//! │  ├─ rewards         likewise
//! │  │  └─ 0x…         one a market
//! │  └─ cleaner
//! ├─ finder             unless `intervals.find` is 0
//! ├─ pruner
//! ├─ read-api           when it has a token
//! ├─ peers              when their history has a file
//! │  ├─ history
//! │  ├─ state
//! │  ├─ connections
//! │  │  └─ connection-1…
//! │  ├─ listener-proxy, listener-pool
//! │  └─ http-proxy, http-pool
//! └─ campaigns          when they have a database
//!    ├─ scheduler
//!    ├─ workers
//!    │  └─ worker-1…
//!    ├─ monitor
//!    └─ gateway
//! ```
//!
//! The mailboxes are created first, so that every actor gets its edges before any actor exists. Each edge is declared with its
//! sender, and the tree refuses to start if edges with backpressure form a cycle. Senders are the listener, the finder, the block
//! fetcher and the batch preparers; all of their edges conflate or drop the oldest message, and none waits. Those of the peers'
//! connections do wait for the state (`docs/adr/0019-senders-wait-for-the-state.md`).

#[cfg(feature = "failure-points")]
pub(crate) mod actor_list;
mod alerts;
mod campaigns;
mod collector;
mod migration;
mod operator_files;
mod peer_files;
mod peers;
mod policy;
mod read_api;
mod redis_pool;
mod reload;
mod secret_files;
#[cfg(test)]
mod tests;
mod tracker;
mod vitals;

use std::sync::Arc;

use actors::{
    collector::{CollectorServices, Notice, ProgressSnapshot},
    env::{Services, telemetry::Telemetry},
    tracker::{
        Finder, IndexEdge, Indexer, Listener, MarketEdges, MarketRegistry, Pruner, Timing, TrackerServices,
    },
};
use color_eyre::eyre::{Result, WrapErr};
use store_collector::{ChainKeys, outbox::Outbox};
use store_redis::Store;
use supervision::{Address, Child, Clock, Limits, Mailbox, Name, Overflow, StopReport, Tree, TreeOptions};
use tokio::task::JoinSet;

use crate::{
    api::{NodePool, ReadApi},
    config::Config,
    http::HttpServers,
    outbox::OutboxDesk,
    remedy,
};

pub use campaigns::CampaignPort;
pub(crate) use campaigns::database_settings;
use collector::AcrossReloads;
pub(crate) use collector::{protocol_state, store as collector_store};
pub(crate) use migration::migrate_market;
use operator_files::OperatorSecrets;
pub use peers::PeerPorts;
pub(crate) use policy::run_to_completion;
use policy::{limits, mandatory, policy};
pub(crate) use read_api::{markets as api_markets, reader as api_reader};
pub use reload::Reloaded;
use tracker::{expect_datasets, indexes, market, retention};
pub(crate) use tracker::{intervals, market_keys, quota};
use vitals::ServiceVitals;

/// The configuration that is in effect.
struct InEffect {
    config: Config,
    /// The running collector has other markets than `config`: it must be restarted. It stays set if a reload fails in between.
    collector_is_outdated: bool,
}

/// A running service.
pub struct Service {
    tree: Arc<Tree>,
    http: HttpServers,
    /// The read API, if it runs.
    api: Option<ReadApi>,
    /// The ports of the peers, if they run.
    peers: Option<PeerPorts>,
    /// The port of campaigns, if they run.
    campaigns: Option<CampaignPort>,
    tracker: TrackerServices,
    /// Progress and metrics of the collector, if it runs.
    followed: Option<AcrossReloads>,
    clock: Clock,
    registry: MarketRegistry,
    /// The listener's name, for its edges to markets that a reload adds.
    listener: Name,
    /// The same of the finder.
    finder: Name,
    /// The edge to the indexer, if it runs.
    indexer: Option<IndexEdge>,
    /// The edge to the alerts, if there is a webhook.
    alerts: Option<Address<Notice>>,
    /// The configuration in effect. Its lock lets one reload run at a time.
    in_effect: tokio::sync::Mutex<InEffect>,
    /// Tokens and certificate of the operators' endpoints, and the tasks that read them and those of the peers again.
    secrets: (OperatorSecrets, JoinSet<()>),
}

impl Service {
    /// Binds the endpoints, migrates markets where that is wanted, and starts the tree. Redis may be down: both wait for it. The clock
    /// of `options` is that of all actors; the number of simultaneous restarts comes from the configuration instead.
    ///
    /// # Errors
    /// A port that is taken, or invalid settings.
    pub async fn start(config: &Config, options: TreeOptions) -> Result<Self> {
        let clock = options.clock.clone();
        let services = services(config, &clock)?;
        // The ports first: a second instance that is started by mistake ends here, before it has connected to anything.
        let vitals = Arc::new(ServiceVitals {
            tree: Arc::default(),
            services: services.clone(),
            outbox: outbox_desk(config, &services),
        });
        let tracker = tracker_services(config, services.clone(), &clock);
        let followed = config.collector.is_enabled().then(|| AcrossReloads::new(&services, &clock));
        let secrets = operator_files::read(&config.http)?;
        let (metrics, operator) = (config.http.metrics_address(), config.http.operator_address);
        let security = secrets.files().security();
        let nodes = followed.as_ref().map_or_else(NodePool::default, |followed| followed.nodes.clone());
        let api = read_api::bind(config, &services, security.audit.clone(), nodes)?;
        let peers = peers::bind(config, &services, &security.audit, &clock)?;
        let (alerts, alerting) = alerts::child(config, &services, &vitals.tree, &clock)?.unzip();
        let campaigns = campaigns::bind(config, &services, alerting.as_ref(), &clock)?;
        let http = HttpServers::bind(metrics, operator, security, vitals.clone()).await?;
        migration::at_start(config, &services.store).await?;
        let (listener, finder) = (Name::new("listener"), Name::new("finder"));
        let (registry, indexer, mut children) =
            children(config, &tracker, followed.as_ref(), [&listener, &finder], alerting.as_ref(), &clock)?;
        children.extend(api.as_ref().map(|api| read_api::child(config, api)));
        children.extend(peers.as_ref().map(|ports| peers::child(config, ports, &clock)));
        children.extend(campaigns.iter().map(|port| campaigns::child(config, port)));
        // First, so that it stops last: the others may have something to tell until then.
        let children = alerts.into_iter().chain(children).collect();
        let simultaneous_restarts = config.supervision.simultaneous_restarts;
        let options = TreeOptions { clock: clock.clone(), simultaneous_restarts, ..options };
        let tree = Tree::start(children, options).await;
        let tree = Arc::new(tree.wrap_err("the root of the tree could not be started")?);
        // Weak, here and below: endpoints and metrics outlive the tree during a stop and must not keep it alive.
        vitals.tree.get_or_init(|| Arc::downgrade(&tree));
        let observed = Arc::downgrade(&tree);
        services
            .telemetry
            .observe_tree(move || observed.upgrade().map_or_else(Vec::new, |tree| tree.health()));
        say_where(&http, api.as_ref(), campaigns.as_ref());
        // A lock of tokio, since a reload holds it over awaits.
        let in_effect =
            tokio::sync::Mutex::new(InEffect { config: config.clone(), collector_is_outdated: false });
        let mut reading = JoinSet::new();
        secrets.keep_reading(&mut reading);
        peers.iter().for_each(|ports| ports.keep_reading(&mut reading));
        Ok(Self {
            secrets: (secrets, reading),
            tree,
            http,
            api,
            peers,
            campaigns,
            tracker,
            followed,
            clock,
            registry,
            listener,
            finder,
            indexer,
            alerts: alerting,
            in_effect,
        })
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

    /// The read API, if it runs.
    #[must_use]
    pub fn api(&self) -> Option<&ReadApi> {
        self.api.as_ref()
    }

    /// The ports of the peers, if they run.
    #[must_use]
    pub fn peers(&self) -> Option<&PeerPorts> {
        self.peers.as_ref()
    }

    /// The port of campaigns, if they run.
    #[must_use]
    pub fn campaigns(&self) -> Option<&CampaignPort> {
        self.campaigns.as_ref()
    }

    /// The store of Redis.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.tracker.services.store
    }

    /// The progress of the collector, if it runs.
    #[must_use]
    pub fn chain_progress(&self) -> Option<ProgressSnapshot> {
        self.followed.as_ref().map(|followed| followed.progress.now())
    }

    /// Adds the metric of dropped log lines.
    pub fn observe_log(&self, dropped: impl Fn() -> u64 + Send + Sync + 'static) {
        self.tracker.services.telemetry.observe_log(dropped);
    }

    /// Stops the actors in order, then the endpoints, which show the stop until its end.
    pub async fn stop(self) -> StopReport {
        let shutdown_timeout = self.in_effect.lock().await.config.supervision.shutdown_timeout;
        // Actors before endpoints, so that probes and scrapes see the stop; signals.rs ends the process if it takes too long.
        let report = self.tree.stop(shutdown_timeout).await;
        self.http.stop().await;
        report
    }
}

/// Logs the addresses that clients may use.
fn say_where(http: &HttpServers, api: Option<&ReadApi>, campaigns: Option<&CampaignPort>) {
    let of_api = api.map(|api| api.address().to_string());
    let of_campaigns = campaigns.and_then(CampaignPort::address).map(|address| address.to_string());
    let (metrics, operator) = (http.metrics_address(), http.operator_address());
    tracing::info!(%metrics, %operator, read_api = of_api, campaigns = of_campaigns, "endpoints are open");
}

/// The outbox for operators, where the collector runs. A shadow has none.
fn outbox_desk(config: &Config, services: &Services) -> Option<OutboxDesk> {
    let has_outbox = config.collector.is_enabled() && config.output.prefix.is_empty();
    has_outbox.then(|| OutboxDesk::new(services.store.clone(), Outbox::new(ChainKeys::new(""))))
}

fn services(config: &Config, clock: &Clock) -> Result<Services> {
    let redis = &config.redis;
    let store =
        Store::new(redis_pool::settings(config, redis.pool_size)?)?.with_event_queue(redis.event_queue_bytes);
    let telemetry = Telemetry::new()?;
    telemetry.limit_series(config.http.market_series);
    // Remedies are handed down as a function: actors log them, and know no setting.
    Ok(Services::new(store, telemetry, clock).with_remedy(remedy::of))
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
        // Before the tree starts: `/readyz` must not be 200 in the moment before the first pass.
        expect_datasets(config, &services, market);
    }
    TrackerServices::new(services, timing, config.tracker.sequencer_id.clone(), clock)
}

/// The children of the root, with the market registry that they share and the edge to the indexer, if it runs.
fn children(
    config: &Config,
    tracker: &TrackerServices,
    followed: Option<&AcrossReloads>,
    [listener, finder]: [&Name; 2],
    alerts: Option<&Address<Notice>>,
    clock: &Clock,
) -> Result<(MarketRegistry, Option<IndexEdge>, Vec<Child>)> {
    let policy = policy(&config.supervision);
    let mandatory = mandatory(&config.supervision);
    let limits = limits(&config.mailbox);
    let markets = config.tracker.markets.iter();
    let markets = markets.map(|name| market(config, name, tracker, [listener, finder], clock));
    let (edges, markets): (Vec<MarketEdges>, Vec<Child>) = markets.unzip();
    let registry = MarketRegistry::new(edges);
    let (indexes, index_kept) = (indexes(config, &registry), config.retention.index);
    let inbox =
        Mailbox::new("indexer", Limits { batch: limits.batch.min(Indexer::AT_ONCE), ..limits }, clock);
    let feed = indexes
        .clone()
        // The listener must not wait for the index. A dropped event is missing in the index, and counted.
        .map(|indexes| IndexEdge::new(inbox.address(listener, Overflow::DropOldest), indexes));
    // Without the index the mailbox has no reader and no sender, and is dropped.
    let indexer = feed.clone();
    let index = feed.clone().map(|feed| {
        let (tracker, quota) = (tracker.clone(), tracker::quota(&config.index));
        let make = move || Indexer::new(tracker.clone(), feed.clone(), index_kept).with_quota(quota);
        Child::actor(inbox, make).policy(policy)
    });
    let listen = {
        let (tracker, registry, echo) = (tracker.clone(), registry.clone(), tracker::own_channel(config));
        Child::worker(listener, move || {
            let listener = Listener::new(tracker.clone(), registry.clone()).with_echo(echo.clone());
            match &feed {
                Some(feed) => listener.with_index(feed.clone()),
                None => listener,
            }
        })
    };
    let prune = {
        let (tracker, registry, every) = (tracker.clone(), registry.clone(), config.intervals.prune);
        let retention = retention(&config.retention);
        Child::worker("pruner", move || {
            let pruner = Pruner::new(tracker.clone(), registry.clone(), every, retention);
            match &indexes {
                Some(indexes) => pruner.with_indexes(indexes.clone(), index_kept),
                None => pruner,
            }
        })
    };
    // No market needs another one. One after the other, ten thousand would not stop within the deadline of the process.
    let markets = Child::independent("markets", markets);
    // Mandatory are the listener and the markets: without them no dataset is
    // written. Pruner, index and collector may stay down.
    let mut children = vec![listen.policy(mandatory), markets.policy(mandatory)];
    children.extend(index);
    if let Some(followed) = followed {
        let indexer = indexer.as_ref();
        children.extend(collector::children(config, tracker, followed, &registry, indexer, alerts, clock)?);
    }
    children.extend(find(config, tracker, finder, &registry));
    // Children start in this order and stop in reverse.
    children.push(prune.policy(policy));
    Ok((registry, indexer, children))
}

/// The finder, unless it is switched off.
fn find(config: &Config, tracker: &TrackerServices, name: &Name, registry: &MarketRegistry) -> Option<Child> {
    let (tracker, registry, every) = (tracker.clone(), registry.clone(), config.intervals.find);
    let make = move || Finder::new(tracker.clone(), registry.clone(), every);
    (!every.is_zero()).then(|| Child::worker(name, make).policy(policy(&config.supervision)))
}

/// The store of Redis for commands, which run no service.
///
/// # Errors
/// Invalid settings of Redis.
pub fn connect(config: &Config) -> Result<Store> {
    Ok(services(config, &Clock::system())?.store)
}

/// The path of the block fetcher in a backfill.
pub(crate) const BACKFILL: &str = "backfill";

/// The collector's services for commands, which run no service. Notices go to a mailbox without an owner, which refuses them.
///
/// # Errors
/// Invalid settings of Redis, addresses or URLs.
pub(crate) fn standalone_collector(config: &Config, clock: &Clock) -> Result<CollectorServices> {
    let notices =
        Mailbox::new("notifier", limits(&config.mailbox), clock).address(BACKFILL, Overflow::DropOldest);
    let services = services(config, clock)?;
    collector::collector_services(config, &services, &AcrossReloads::new(&services, clock), notices)
}
