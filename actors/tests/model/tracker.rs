//! The tracker of the history's market, with its real actors on a clock of the test's own.

use std::time::Duration;

use actors::{Aggregator, DATASETS, EpochTracker, Look, Rhythm, Services, telemetry::Telemetry};
use domain::Address;
use redis::IntoConnectionInfo;
use store::{MarketKeys, RedisSettings, Retention, Store};
use supervision::{Backoff, Child, Clock, Intensity, Limits, Mailbox, Policy, Tree, TreeOptions};

use super::history::{MARKET, OWN, PROTOCOL};

const SECOND: Duration = Duration::from_secs(1);
const DAY: u64 = 86_400;
/// The actors, each of which sleeps when it has nothing to do.
pub const ACTORS: usize = 2;

/// Everything is due with each second of the clock.
fn rhythm() -> Rhythm {
    Rhythm {
        summary: SECOND,
        hourly: SECOND,
        daily: SECOND,
        current_epoch: SECOND,
        wake_debounce: Duration::ZERO,
        seal_after: Duration::from_secs(3600),
        measurement_window: Duration::from_secs(DAY),
        reconnect_within: Duration::from_millis(200),
    }
}

pub struct Tracker {
    pub tree: Tree,
    services: Services,
    keys: MarketKeys,
}

impl Tracker {
    pub async fn start(url: String, clock: &Clock, spelling: usize) -> Self {
        let settings = RedisSettings {
            servers: url.as_str().into_connection_info().expect("a URL").into(),
            certificates: None,
            shown: url,
            pool_size: 4,
            connect_timeout: SECOND,
            command_timeout: 2 * SECOND,
        };
        let telemetry = Telemetry::with_clock(clock).expect("metrics");
        let store = Store::new(settings).expect("settings");
        let services = Services::new(store, telemetry, rhythm(), OWN.to_owned(), clock);
        for dataset in DATASETS {
            services.status.expect(MARKET[0], dataset, SECOND);
        }
        let keys = MarketKeys::new(&Address::new(PROTOCOL[spelling]), &Address::new(MARKET[spelling]));
        let mailbox = |name: &str| Mailbox::<Look>::new(name, Limits::default(), clock);
        let policy = Policy {
            intensity: Intensity { max_restarts: 1000, within: SECOND },
            backoff: Backoff { max: Duration::from_millis(200), ..Policy::default().backoff },
            stall_after: None,
            ..Policy::default()
        };
        let (first, second) = ((services.clone(), keys.clone()), (services.clone(), keys.clone()));
        let children = vec![
            Child::actor("aggregator", &mailbox("aggregator"), move || {
                Aggregator::new(first.0.clone(), first.1.clone())
            }),
            Child::actor("epoch-tracker", &mailbox("epoch-tracker"), move || {
                EpochTracker::new(second.0.clone(), second.1.clone())
            }),
        ];
        let children = children.into_iter().map(|child| child.policy(policy)).collect();
        let options = TreeOptions { clock: clock.clone(), ..TreeOptions::default() };
        let tree = Tree::start(children, options).await.expect("the tree starts");
        Self { tree, services, keys }
    }

    /// Prunes as the pruner does, with the default retention; from when on timelines are kept.
    pub async fn prune(&self, now: u64) -> u64 {
        let retention = Retention { timelines: DAY, priorities: 7 * DAY, sealed: 28 * 3600 };
        let mut session = self.services.store.session("prune").await.expect("a session");
        for prunable in retention.of_market(&self.keys, OWN, now) {
            while session.prune(&prunable, 3).await.expect("pruned") > 0 {}
        }
        let (mut cursor, before) = (0, now - retention.sealed);
        loop {
            (cursor, _) = session.forget_sealed(&self.keys, cursor, before, 3).await.expect("forgotten");
            if cursor == 0 {
                return now - retention.timelines;
            }
        }
    }

    pub async fn stop(self) {
        let report = self.tree.stop(5 * SECOND).await;
        assert_eq!(report.abandoned, Vec::<String>::new());
    }
}
