//! The tracker of the history's market, with its real actors on the test's own clock.

use std::time::{Duration, Instant};

use actors::{
    env::{Services, Wake, telemetry::Telemetry},
    tracker::{Aggregator, EpochTracker, Timing, TrackerServices},
};
use domain::Address;
use redis::IntoConnectionInfo;
use store_redis::{RedisSettings, Store};
use store_tracker::{
    DATASETS, Dataset, Intervals, MarketKeys, Retention,
    datasets::{CURRENT_EPOCH, SUMMARY},
    forget_sealed, prune,
};
use supervision::{Backoff, Child, Clock, Intensity, Limits, Mailbox, Policy, State, Tree, TreeOptions};

use super::history::{MARKET, OWN, PROTOCOL};

const SECOND: Duration = Duration::from_secs(1);
const DAY: u64 = 86_400;
/// Nothing in a history takes long, so none of these limits is reached, however busy the machine is.
pub const NEVER: Duration = Duration::from_secs(120);

/// How often a condition is checked.
pub const POLL: Duration = Duration::from_micros(200);

/// Everything is due with each second of the clock.
fn timing() -> Timing {
    Timing {
        intervals: Intervals { summary: SECOND, hourly: SECOND, daily: SECOND, current_epoch: SECOND },
        wake_debounce: Duration::ZERO,
        seal_after: Duration::from_secs(3600),
        measurement_window: Duration::from_secs(DAY),
        reconnect_within: Duration::from_millis(200),
    }
}

/// Whether an actor waits for its restart.
fn is_down(state: State) -> bool {
    matches!(state, State::BackingOff | State::Degraded)
}

/// An awaited event did not happen.
#[derive(Debug)]
pub struct Late;

/// Waits for an event that must happen.
pub async fn until(so: impl Fn() -> bool) -> Result<(), Late> {
    let began = Instant::now();
    while !so() {
        if began.elapsed() > NEVER {
            return Err(Late);
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// The actor whose pass succeeded.
pub struct Passed {
    /// The aggregator's.
    pub totals: bool,
    /// The epoch tracker's.
    pub current: bool,
}

pub struct Tracker {
    pub tree: Tree,
    services: Services,
    keys: MarketKeys,
    clock: Clock,
}

impl Tracker {
    pub async fn start(url: String, clock: &Clock, spelling: usize) -> Self {
        let settings = RedisSettings {
            servers: url.as_str().into_connection_info().expect("a URL").into(),
            certificates: None,
            address: url,
            pool_size: 4,
            connect_timeout: NEVER,
            command_timeout: NEVER,
        };
        let telemetry = Telemetry::new().expect("metrics");
        let store = Store::new(settings).expect("settings");
        let services = Services::new(store, telemetry, clock);
        for condition in DATASETS.iter().filter_map(|dataset| dataset.readiness) {
            // A dataset is fresh if it was written at this moment.
            services.readiness.expect(MARKET[0], condition, Duration::ZERO);
        }
        let tracker = TrackerServices::new(services.clone(), timing(), OWN.to_owned(), clock);
        let keys = MarketKeys::new(&Address::new(PROTOCOL[spelling]), &Address::new(MARKET[spelling]));
        let mailbox = |name: &str| Mailbox::<Wake>::new(name, Limits::default(), clock);
        let policy = Policy {
            intensity: Intensity { max_restarts: 1000, within: SECOND },
            // Restarts with the next second of the clock, and no timers for anything that is not tested here.
            backoff: Backoff {
                max: Duration::from_millis(200),
                reset_after: Duration::ZERO,
                ..Policy::default().backoff
            },
            start_within: Duration::ZERO,
            stall_after: None,
            ..Policy::default()
        };
        let (first, second) = ((tracker.clone(), keys.clone()), (tracker, keys.clone()));
        let children = vec![
            Child::actor(mailbox("aggregator"), move || Aggregator::new(first.0.clone(), first.1.clone())),
            Child::actor(mailbox("epoch-tracker"), move || {
                EpochTracker::new(second.0.clone(), second.1.clone())
            }),
        ];
        let children = children.into_iter().map(|child| child.policy(policy)).collect();
        let options = TreeOptions { clock: clock.clone(), ..TreeOptions::default() };
        let tree = Tree::start(children, options).await.expect("the tree starts");
        Self { tree, services, keys, clock: clock.clone() }
    }

    /// Waits until nothing is under way at this moment of the clock: everything due has ended, with or without a
    /// failure. An error names what does not end.
    pub async fn rest(&self) -> Result<(), String> {
        let sleeps = || format!("{} sleep: {:#?}", self.clock.sleepers(), self.tree.health());
        until(|| self.is_at_rest()).await.map_err(|Late| sleeps())
    }

    /// Whether each actor sleeps until its next pass, or waits for its restart. The clock has a sleeper for each that runs, and one
    /// of their supervisor for all restarts. There are no other timers; see the policy.
    fn is_at_rest(&self) -> bool {
        let health = self.tree.health();
        let actors = || health.iter().filter(|known| !known.supervisor);
        let (running, waiting): (Vec<_>, Vec<_>) = actors().partition(|known| known.state == State::Running);
        waiting.iter().all(|known| is_down(known.state))
            && self.clock.sleepers() == running.len() + usize::from(!waiting.is_empty())
    }

    /// Kills an actor, and waits until it has ended. An actor that is being restarted can't be killed.
    pub async fn kill(&self, path: &str) {
        let ends = || {
            let known = self.tree.health().into_iter().find(|known| known.path == path);
            known.expect("it is in the tree").exits.iter().sum::<u64>()
        };
        let before = ends();
        if self.tree.kill(path) {
            until(|| ends() > before).await.expect("it ends");
        }
    }

    /// Whether, at rest, the last pass of each actor was made at this moment of the clock, and succeeded.
    pub fn passed(&self) -> Passed {
        let (health, conditions) = (self.tree.health(), self.services.readiness.conditions());
        let has_passed = |actor: &str, dataset: &Dataset| {
            let up = health.iter().any(|known| known.path == actor && !is_down(known.state));
            up && conditions
                .iter()
                .any(|known| known.ok && dataset.readiness.is_some_and(|name| known.name.ends_with(name)))
        };
        let current = has_passed("epoch-tracker", &CURRENT_EPOCH);
        Passed { totals: has_passed("aggregator", &SUMMARY), current }
    }

    /// Prunes as the pruner does, with the default retention; returns the start of the kept timelines.
    pub async fn prune(&self, now: u64) -> u64 {
        let retention = Retention { timelines: DAY, priorities: 7 * DAY, sealed: 28 * 3600 };
        let mut session =
            self.services.store.session(store_tracker::operations::PRUNE_TIMELINE).await.expect("a session");
        for prunable in retention.of_market(&self.keys, OWN, now) {
            while prune(&mut session, &prunable, 3).await.expect("pruned") > 0 {}
        }
        let (mut cursor, before) = (0, now - retention.sealed);
        loop {
            (cursor, _) =
                forget_sealed(&mut session, &self.keys, cursor, before, 3).await.expect("forgotten");
            if cursor == 0 {
                return now - retention.timelines;
            }
        }
    }

    pub async fn stop(self) {
        let report = self.tree.stop(5 * SECOND).await;
        assert_eq!(report.abandoned, Vec::<String>::new());
        // Its timers must not count as sleepers of the next one.
        until(|| self.clock.sleepers() == 0).await.expect("its timers end");
    }
}
