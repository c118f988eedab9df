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
//! ├─ chain              the same
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

mod chain;
mod reload;
#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use actors::{
    Aggregator, DATASETS, EpochTracker, FollowServices, FollowState, IndexEdge, Indexer, Indexes, Listener,
    MarketEdges, Pruner, Rhythm, Roster, Services, telemetry::Telemetry,
};
use color_eyre::eyre::{Result, WrapErr};
use domain::Address;
use store::{IndexKeys, MarketKeys, RedisSettings, Retention, Store};
use supervision::{
    ActorHealth, Backoff, Child, Clock, Crash, DeadLetter, Failure, Intensity, Limits, Mailbox, Overflow,
    Policy, Restart, State, StopReport, Tree, TreeOptions, WatchSettings,
};

use crate::{
    config::{self, Config},
    http::{Condition, HttpServers, Vitals},
};

pub use reload::Reloaded;

/// How old a dataset may be that is written at this interval: three intervals and some slack.
pub(crate) fn stale_after(interval: Duration) -> Duration {
    3 * interval + Duration::from_secs(5)
}

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
    services: Services,
    clock: Clock,
    roster: Roster,
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
        let (metrics, operator) = (config.http.metrics_address(), config.http.operator_address);
        let http = HttpServers::bind(metrics, operator, vitals.clone()).await?;
        let (roster, children) = children(config, &services, &clock)?;
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
        Ok(Self { tree, http, services, clock, roster, present })
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
        &self.services.store
    }

    /// How far the chain is followed, where one is.
    #[must_use]
    pub fn following(&self) -> Option<FollowState> {
        self.services.telemetry.following()
    }

    /// Stops the actors in order, then the endpoints.
    pub async fn stop(self) -> StopReport {
        let shutdown_within = self.present.lock().await.config.supervision.shutdown_within;
        let report = self.tree.stop(shutdown_within).await;
        self.http.stop().await;
        report
    }
}

fn services(config: &Config, clock: &Clock) -> Result<Services> {
    let redis = &config.redis;
    let settings = RedisSettings {
        servers: redis.servers().wrap_err("the settings of Redis make no connection")?,
        certificates: redis.certificates()?,
        shown: redis.address(),
        pool_size: redis.pool_size,
        connect_timeout: redis.connect_timeout,
        command_timeout: redis.command_timeout,
    };
    let intervals = &config.intervals;
    let rhythm = Rhythm {
        summary: intervals.summary,
        hourly: intervals.hourly,
        daily: intervals.daily,
        current_epoch: intervals.current_epoch,
        wake_debounce: intervals.wake_debounce,
        seal_after: config.ledger.seal_after,
        measurement_window: config.ledger.measurement_window,
        reconnect_within: redis.reconnect_within,
    };
    let validator = config.tracker.sequencer_id.clone();
    let services = Services::new(
        Store::new(settings)?.with_event_queue(redis.event_queue_bytes),
        Telemetry::with_clock(clock)?,
        rhythm,
        validator,
        clock,
    );
    for market in &config.tracker.markets {
        expect_datasets(config, &services, market);
    }
    Ok(services)
}

/// Makes readiness depend on the datasets of a market.
fn expect_datasets(config: &Config, services: &Services, market: &str) {
    let (intervals, market) = (&config.intervals, Address::new(market));
    let [summary, current_epoch] = DATASETS;
    // Stale before it expires: readers must not find out first.
    let lives = [
        (summary, intervals.summary, services.rhythm.summary_ttl()),
        (current_epoch, intervals.current_epoch, services.rhythm.current_epoch_ttl()),
    ];
    for (dataset, interval, ttl) in lives {
        services.status.expect(market.checksummed(), dataset, ttl.min(stale_after(interval)));
    }
}

/// The description of the whole tree, and the roster that its actors share.
fn children(config: &Config, services: &Services, clock: &Clock) -> Result<(Roster, Vec<Child>)> {
    let policy = policy(&config.supervision);
    let mandatory = mandatory(&config.supervision);
    let limits = limits(&config.mailbox);
    let markets = config.tracker.markets.iter().map(|name| market(config, name, services, clock));
    let (edges, markets): (Vec<MarketEdges>, Vec<Child>) = markets.unzip();
    let roster = Roster::new(edges);
    let (indexes, index_kept) = (indexes(config, &roster), config.retention.index);
    let inbox =
        Mailbox::new("indexer", Limits { batch: limits.batch.min(Indexer::AT_ONCE), ..limits }, clock);
    let feed = indexes
        .clone()
        .map(|indexes| IndexEdge::new(inbox.address("listener", Overflow::DropOldest), indexes));
    let index = feed.clone().map(|feed| {
        let services = services.clone();
        let make = move || Indexer::new(services.clone(), feed.clone(), index_kept);
        Child::actor("indexer", &inbox, make).policy(policy)
    });
    let listen = {
        let (services, roster) = (services.clone(), roster.clone());
        Child::source("listener", move || {
            let listener = Listener::new(services.clone(), roster.clone());
            match &feed {
                Some(feed) => listener.with_index(feed.clone()),
                None => listener,
            }
        })
    };
    let prune = {
        let (services, roster, every) = (services.clone(), roster.clone(), config.intervals.prune);
        let retention = retention(&config.retention);
        Child::source("pruner", move || {
            let pruner = Pruner::new(services.clone(), roster.clone(), every, retention);
            match &indexes {
                Some(indexes) => pruner.with_indexes(indexes.clone(), index_kept),
                None => pruner,
            }
        })
    };
    let markets = Child::supervisor("markets", markets);
    let mut children = vec![listen.policy(mandatory), markets.policy(mandatory)];
    children.extend(index);
    children.extend(chain::children(config, services, &roster, clock)?);
    children.push(prune.policy(policy));
    Ok((roster, children))
}

/// The actors of one market, and the edges to them.
fn market(config: &Config, market: &str, services: &Services, clock: &Clock) -> (MarketEdges, Child) {
    let mandatory = mandatory(&config.supervision);
    let limits = limits(&config.mailbox);
    let keys = market_keys(config, market);
    let original = config.market(market).compat == config::Compat::Go;
    let name = keys.market().checksummed().to_owned();
    let mailbox = |actor: &str| Mailbox::new(format!("markets/{name}/{actor}"), limits, clock);
    let of_chain = chain::of_market(config, market);
    let (aggregator, epoch_tracker) = (mailbox("aggregator"), mailbox("epoch-tracker"));
    let edges = MarketEdges {
        keys: keys.clone(),
        aggregator: aggregator.address("listener", Overflow::Coalesce),
        epoch_tracker: epoch_tracker.address("listener", Overflow::Coalesce),
        of_chain: of_chain.as_ref().map(|_| epoch_tracker.address(chain::FETCHER, Overflow::Coalesce)),
    };
    let aggregate = {
        let (services, keys) = (services.clone(), keys.clone());
        Child::actor("aggregator", &aggregator, move || {
            Aggregator::new(services.clone(), keys.clone()).as_original(original)
        })
    };
    let track = {
        let services = services.clone();
        Child::actor("epoch-tracker", &epoch_tracker, move || {
            let tracker = EpochTracker::new(services.clone(), keys.clone()).as_original(original);
            match &of_chain {
                Some((keys, market)) => tracker.with_chain(keys.clone(), *market),
                None => tracker,
            }
        })
    };
    let actors = vec![aggregate.policy(mandatory), track.policy(mandatory)];
    (edges, Child::supervisor(name, actors).policy(policy(&config.supervision)))
}

/// The state indexes that are kept: none, the one without a market in its names, or one a market.
fn indexes(config: &Config, roster: &Roster) -> Option<Indexes> {
    match (config.index.enabled, config.index.namespaced) {
        (false, _) => None,
        (true, false) => Some(Indexes::One(IndexKeys::plain(&config.output))),
        (true, true) => Some(Indexes::OfMarkets(roster.clone())),
    }
}

/// The keys of a market as the configuration has them: its second namespace, and where its outputs go.
pub(crate) fn market_keys(config: &Config, market: &str) -> MarketKeys {
    let keys = MarketKeys::new(&Address::new(&config.tracker.protocol), &Address::new(market));
    let keys = keys.with_output(&config.output);
    match config.market(market).priority {
        Some(second) => keys.with_priority(&Address::new(&second.protocol), &Address::new(&second.market)),
        None => keys,
    }
}

fn policy(settings: &config::Supervision) -> Policy {
    Policy {
        intensity: Intensity { max_restarts: settings.max_restarts, within: settings.within },
        backoff: Backoff {
            first: settings.backoff_first,
            max: settings.backoff_max,
            jitter: true,
            reset_after: settings.backoff_reset_after,
        },
        stop_within: settings.stop_within,
        stall_after: Some(settings.stall_after),
        degraded_retry: settings.degraded_retry,
        ..Policy::default()
    }
}

/// The policy of a child that the service can't do without.
fn mandatory(settings: &config::Supervision) -> Policy {
    Policy { give_up_after: Some(settings.give_up_after), ..policy(settings) }
}

fn retention(settings: &config::Retention) -> Retention {
    Retention {
        timelines: settings.timelines.as_secs(),
        priorities: settings.priorities.as_secs(),
        sealed: settings.ledger.as_secs(),
    }
}

fn limits(settings: &config::Mailbox) -> Limits {
    Limits {
        capacity: settings.capacity,
        bytes: settings.bytes,
        batch: settings.batch,
        max_attempts: settings.max_attempts,
        ..Limits::default()
    }
}

/// What the endpoints show. Once the tree is gone there is nothing to show.
struct ServiceVitals {
    /// Set when the tree has been started, which is after the endpoints.
    tree: OnceLock<Weak<Tree>>,
    services: Services,
}

impl ServiceVitals {
    fn tree(&self) -> Option<Arc<Tree>> {
        self.tree.get().and_then(Weak::upgrade)
    }
}

impl Vitals for ServiceVitals {
    fn conditions(&self) -> Vec<Condition> {
        let outside = self.services.status.readiness();
        let outside = outside.into_iter().map(|fact| Condition::new(fact.name, fact.ok, fact.detail));
        let down = |actor: &ActorHealth| {
            actor.degraded
                || actor.wedged
                || matches!(actor.state, State::Stopping | State::Stopped | State::Abandoned)
        };
        let actors = self.actors();
        let down: Vec<&str> =
            actors.iter().filter(|actor| down(actor)).map(|actor| actor.path.as_str()).collect();
        let detail = if down.is_empty() { format!("{} actors", actors.len()) } else { down.join(", ") };
        std::iter::once(Condition::new("actors", down.is_empty() && !actors.is_empty(), detail))
            .chain(outside)
            .collect()
    }

    fn actors(&self) -> Vec<ActorHealth> {
        self.tree().map_or_else(Vec::new, |tree| tree.health())
    }

    fn dead_letters(&self) -> Vec<DeadLetter> {
        self.tree().map_or_else(Vec::new, |tree| tree.dead_letters())
    }

    fn crashes(&self, actor: &str) -> Vec<Crash> {
        self.tree().map_or_else(Vec::new, |tree| tree.crashes(actor))
    }

    fn metrics(&self) -> Result<String, Failure> {
        Ok(self.services.telemetry.render()?)
    }
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
pub(crate) fn following(config: &Config, clock: &Clock) -> Result<FollowServices> {
    let nobody = Mailbox::new("nobody", limits(&config.mailbox), clock);
    let notices = nobody.address(BACKFILL, Overflow::DropOldest);
    chain::shared(config, &services(config, clock)?, notices, clock)
}

/// The policy of what comes to an end by itself, and is given up when it stays down.
pub(crate) fn to_its_end(settings: &config::Supervision) -> Policy {
    Policy { restart: Restart::Transient, give_up_after: Some(Duration::ZERO), ..policy(settings) }
}
