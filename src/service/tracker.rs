//! The tracker's part of the tree: the actors of each market, and the settings that they get.

use actors::{
    env::{Services, stale_after},
    tracker::{Aggregator, EpochTracker, Indexes, MarketEdges, MarketRegistry, TrackerServices, WakeEdges},
};
use domain::{Address, tracker::index::Quota};
use store_tracker::{DATASETS, IndexKeys, Intervals, MarketKeys, Retention, echo_channel};
use supervision::{Child, Clock, Mailbox, Name};

use super::{
    collector,
    policy::{limits, mandatory, policy},
};
use crate::config::{self, Config};

/// How often the datasets are written.
pub(crate) fn intervals(config: &Config) -> Intervals {
    let config::Intervals { summary, hourly, daily, current_epoch, .. } = config.intervals;
    Intervals { summary, hourly, daily, current_epoch }
}

/// Makes readiness depend on the datasets of a market.
pub(super) fn expect_datasets(config: &Config, services: &Services, market: &str) {
    let (intervals, market) = (intervals(config), Address::new(market));
    for dataset in DATASETS {
        let Some(condition) = dataset.readiness else { continue };
        // At most the TTL: `/readyz` must fail before readers find the key expired.
        let limit = dataset.ttl(&intervals).min(stale_after(dataset.interval(&intervals)));
        services.readiness.expect(market.checksummed(), condition, limit);
    }
}

/// The actors of one market, and the edges of listener and finder to them.
pub(super) fn market(
    config: &Config,
    market: &str,
    tracker: &TrackerServices,
    [listener, finder]: [&Name; 2],
    clock: &Clock,
) -> (MarketEdges, Child) {
    let mandatory = mandatory(&config.supervision);
    let limits = limits(&config.mailbox);
    let keys = market_keys(config, market);
    let original = config.market(market).compat == config::Compat::Go;
    let name = keys.market().checksummed().to_owned();
    tracker.metrics.market_added(&name);
    let mailbox = |actor: &str| Mailbox::new(actor, limits, clock);
    let of_chain = collector::of_market(config, market);
    let (aggregator, epoch_tracker) = (mailbox("aggregator"), mailbox("epoch-tracker"));
    let [listener, finder] =
        [listener, finder].map(|sender| WakeEdges::new(sender, &aggregator, &epoch_tracker));
    let edges = MarketEdges { keys: keys.clone(), listener, finder };
    let aggregate = {
        let (tracker, keys) = (tracker.clone(), keys.clone());
        // The closure runs again for each restart: every incarnation starts with
        // clones and without the state of the crashed one.
        Child::actor(aggregator, move || Aggregator::new(tracker.clone(), keys.clone()).as_original(original))
    };
    let track = {
        let tracker = tracker.clone();
        Child::actor(epoch_tracker, move || {
            let actor = EpochTracker::new(tracker.clone(), keys.clone()).as_original(original);
            match &of_chain {
                Some((keys, market)) => actor.with_chain(keys.clone(), *market),
                None => actor,
            }
        })
    };
    let actors = vec![aggregate.policy(mandatory), track.policy(mandatory)];
    (edges, Child::supervisor(name, actors).policy(policy(&config.supervision)))
}

/// The configured state indexes: none, one without a market in its keys, or one a market.
pub(super) fn indexes(config: &Config, registry: &MarketRegistry) -> Option<Indexes> {
    match (config.index.enabled, config.index.namespaced) {
        (false, _) => None,
        (true, false) => Some(Indexes::One(IndexKeys::plain(&config.output))),
        (true, true) => Some(Indexes::OfMarkets(registry.clone())),
    }
}

/// How large each index may become.
pub(crate) fn quota(index: &config::Index) -> Quota {
    Quota { epochs: index.max_epochs, submissions: index.max_submissions, validators: index.max_validators }
}

/// The keys of a market, with its second namespace and the configured output.
pub(crate) fn market_keys(config: &Config, market: &str) -> MarketKeys {
    let keys = MarketKeys::new(&Address::new(&config.tracker.protocol), &Address::new(market));
    let keys = keys.with_output(&config.output);
    match config.market(market).priority {
        Some(second) => keys.with_priority(&Address::new(&second.protocol), &Address::new(&second.market)),
        None => keys,
    }
}

/// The channel on which the listener of this process receives its own messages.
pub(super) fn own_channel(config: &Config) -> String {
    // A fraction of 53 bits: other trackers on the same Redis must have other channels.
    let id = (retry::random() * (1_u64 << 53) as f64) as u64;
    echo_channel(&config.output, &format!("{id:014x}"))
}

pub(super) fn retention(settings: &config::Retention) -> Retention {
    Retention {
        timelines: settings.timelines.as_secs(),
        priorities: settings.priorities.as_secs(),
        sealed: settings.ledger.as_secs(),
        active: (!settings.active.is_zero()).then_some(settings.active.as_secs()),
    }
}
