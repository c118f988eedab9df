//! Listener and indexer in a private tree, against a real server: the index after events, crashes, outages and storms.

#![allow(clippy::expect_used)] // A test that can't continue panics.

mod common;
#[path = "indexer/quota.rs"]
mod quota;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use actors::{
    env::IndexEvents,
    tracker::{
        IndexEdge, Indexer, Indexes, Listener, MarketEdges, MarketRegistry, Pruner, Timing, TrackerServices,
        WakeEdges,
    },
};
use common::timing;
use domain::{Address, tracker::index::Quota};
use redis::aio::MultiplexedConnection;
use store_tracker::{IndexKeys, MarketKeys, Output, Retention};
use supervision::{
    ActorHealth, Backoff, Child, Clock, ExitKind, Intensity, Limits, Mailbox, Name, Overflow, Policy, Tree,
    TreeOptions,
    fail::{Fault, When},
};
use testkit::{FaultProxy, RedisServer, wait_until};

const SOON: Duration = Duration::from_secs(30);
const WEEK: Duration = Duration::from_secs(7 * 86_400);
const COMMON: &str = "state:change";

/// Listener, indexer and pruner of some markets.
struct Tracker {
    tree: Tree,
    tracker: TrackerServices,
}

/// The set-up of a tracker.
struct Setup {
    markets: Vec<&'static str>,
    namespaced: bool,
    limits: Limits,
    kept: Duration,
    quota: Quota,
}

impl Default for Setup {
    fn default() -> Self {
        let limits = Limits { batch: Indexer::AT_ONCE, ..Limits::default() };
        Self { markets: vec!["M"], namespaced: false, limits, kept: WEEK, quota: Quota::default() }
    }
}

impl Tracker {
    async fn start(url: String, setup: Setup) -> Self {
        let clock = Clock::system();
        let timing = Timing { reconnect_within: Duration::from_millis(50), ..timing(Duration::from_secs(1)) };
        let services = common::tracker(&url, Duration::from_secs(2), timing, &clock);
        let keys: Vec<_> = setup
            .markets
            .iter()
            .map(|market| MarketKeys::new(&Address::new("P"), &Address::new(market)))
            .collect();
        let nobody = Mailbox::new("nobody", Limits::default(), &clock);
        let edges: Vec<MarketEdges> = keys
            .iter()
            .map(|keys| MarketEdges {
                keys: keys.clone(),
                listener: WakeEdges::new(&Name::new("test"), &nobody, &nobody),
                finder: WakeEdges::new(&Name::new("test"), &nobody, &nobody),
            })
            .collect();
        let registry = MarketRegistry::new(edges);
        let indexes = if setup.namespaced {
            Indexes::OfMarkets(registry.clone())
        } else {
            Indexes::One(IndexKeys::plain(&Output::default()))
        };
        let listener = Name::new("listener");
        let inbox = Mailbox::<IndexEvents>::new("indexer", setup.limits, &clock);
        let feed = IndexEdge::new(inbox.address(&listener, Overflow::DropOldest), indexes.clone());
        let (of_listener, of_indexer, of_pruner) = (services.clone(), services.clone(), services.clone());
        let (to_indexer, kept, quota) = (feed.clone(), setup.kept, setup.quota);
        let children = vec![
            Child::worker(listener, move || {
                Listener::new(of_listener.clone(), registry.clone()).with_index(to_indexer.clone())
            }),
            Child::actor(inbox, move || {
                Indexer::new(of_indexer.clone(), feed.clone(), kept).with_quota(quota)
            }),
            Child::worker("pruner", move || {
                let retention =
                    Retention { timelines: 86_400, priorities: 86_400, sealed: 8 * 86_400, active: None };
                let every = Duration::from_millis(100);
                let pruner =
                    Pruner::new(of_pruner.clone(), MarketRegistry::new(Vec::new()), every, retention);
                pruner.with_indexes(indexes.clone(), kept)
            }),
        ];
        let policy = Policy {
            intensity: Intensity { max_restarts: 10_000, within: Duration::from_secs(1) },
            backoff: Backoff {
                first: Duration::from_millis(1),
                max: Duration::from_millis(5),
                ..Policy::default().backoff
            },
            ..Policy::default()
        };
        let children = children.into_iter().map(|child| child.policy(policy)).collect();
        let tree = Tree::start(children, TreeOptions::default()).await.expect("the tree starts");
        let tracker = Self { tree, tracker: services };
        wait_until("the subscription is established", SOON, async || {
            tracker.metric("state_tracker_subscription_connected") == 1.0
        })
        .await;
        tracker
    }

    fn indexer(&self) -> ActorHealth {
        self.tree.health().into_iter().find(|actor| actor.path == "indexer").expect("it is there")
    }

    /// The value of a metric, by the beginning of its line.
    fn metric(&self, line: &str) -> f64 {
        let text = self.tracker.services.telemetry.render().expect("metrics");
        let lines = text.lines().filter(|found| found.starts_with(line));
        lines.filter_map(|found| found.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    fn events(&self, outcome: &str) -> f64 {
        self.metric(&format!("state_tracker_index_events_total{{outcome=\"{outcome}\"}}"))
    }

    /// How often Redis refused a write of the indexer.
    fn failed_commits(&self) -> f64 {
        let text = self.tracker.services.telemetry.render().expect("metrics");
        let lines = text.lines().filter(|line| {
            line.starts_with("state_tracker_errors_total") && line.contains("operation=\"index_events\"")
        });
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    async fn stop(self) {
        let report = self.tree.stop(Duration::from_secs(5)).await;
        assert_eq!(report.left_behind, 0);
    }
}

/// Publishes events; the server has received all of them when it returns.
async fn publish(connection: &mut MultiplexedConnection, channel: &str, events: &[Vec<u8>]) {
    for chunk in events.chunks(1000) {
        let mut pipeline = redis::pipe();
        for event in chunk {
            pipeline.cmd("PUBLISH").arg(channel).arg(event.as_slice()).ignore();
        }
        pipeline.query_async::<()>(connection).await.expect("published");
    }
}

fn bytes(events: &[&str]) -> Vec<Vec<u8>> {
    events.iter().map(|event| event.as_bytes().to_vec()).collect()
}

async fn members(connection: &mut MultiplexedConnection, key: &str) -> BTreeSet<String> {
    redis::cmd("SMEMBERS").arg(key).query_async(connection).await.expect("a set")
}

/// The expected index, computed without the code under test: the sets of states and two of the relations.
#[derive(Default)]
struct Truth {
    epochs: BTreeMap<u64, usize>,
    submissions: BTreeMap<String, usize>,
    validators: BTreeMap<u64, BTreeSet<String>>,
}

impl Truth {
    fn storm(epochs: u64) -> (Self, Vec<Vec<u8>>) {
        let (mut truth, mut events) = (Self::default(), Vec::new());
        let (epoch_steps, submission_steps) =
            (["open", "closed", "local", "aggregated"], ["received", "validated", "finalized"]);
        for epoch in 1..=epochs {
            // Not every epoch is completed, and the events of every third one come in reverse.
            let last = (epoch % 4) as usize;
            for step in 0..=last {
                let step = if epoch % 3 == 0 { last - step } else { step };
                let entity = if step < 2 { "epoch" } else { "batch" };
                events.push(format!("{entity}:{}:{epoch}", epoch_steps[step]).into_bytes());
            }
            truth.epochs.insert(epoch, last);
            for submission in 0..5_u64 {
                let id = format!("{epoch}:{submission}:pair:UNI:17:peer");
                let last = ((epoch + submission) % 3) as usize;
                for step in &submission_steps[..=last] {
                    events.push(format!("submission:{step}:{id}").into_bytes());
                }
                truth.submissions.insert(id, last);
            }
            let validator = format!("v:{}", epoch % 7);
            events.push(format!("batch:validator:{validator}:{epoch}").into_bytes());
            truth.validators.entry(epoch).or_default().insert(validator);
        }
        (truth, events)
    }

    async fn stands(&self, connection: &mut MultiplexedConnection) {
        let epochs = |within: &dyn Fn(usize) -> bool| -> BTreeSet<String> {
            self.epochs
                .iter()
                .filter(|(_, last)| within(**last))
                .map(|(epoch, _)| epoch.to_string())
                .collect()
        };
        let submissions = |within: &dyn Fn(usize) -> bool| -> BTreeSet<String> {
            self.submissions.iter().filter(|(_, last)| within(**last)).map(|(id, _)| id.clone()).collect()
        };
        for (key, expected) in [
            ("pending:epochs", BTreeSet::new()),
            ("active:epochs", epochs(&|last| last < 3)),
            ("completed:epochs", epochs(&|last| last == 3)),
            ("active:submissions", submissions(&|last| last < 2)),
            ("rejected:submissions", BTreeSet::new()),
            ("finalized:submissions", submissions(&|last| last == 2)),
        ] {
            assert_eq!(members(connection, key).await, expected, "{key}");
        }
        for (epoch, validators) in &self.validators {
            assert_eq!(members(connection, &format!("epoch:{epoch}:validators")).await, *validators);
        }
        let snapshotted = self.submissions.keys().filter(|id| id.split(':').nth(1) == Some("3"));
        let snapshotted: BTreeSet<String> = snapshotted.cloned().collect();
        assert_eq!(members(connection, "snapshotter:3:submissions").await, snapshotted);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_storm_with_two_hundred_crashes_the_index_has_every_event() {
    const CRASHES: u64 = 200;
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let setup =
        Setup { limits: Limits { max_attempts: 1000, ..Setup::default().limits }, ..Setup::default() };
    let tracker = Tracker::start(redis.url(), setup).await;
    let points = tracker.tree.failure_points();
    points.arm("indexer::before_commit", "indexer", Fault::Panic, When::Times(CRASHES / 2));
    points.arm("indexer::after_commit", "indexer", Fault::Error, When::Times(CRASHES / 2));
    let (truth, events) = Truth::storm(400);
    publish(&mut connection, COMMON, &events).await;
    let all = events.len() as f64;
    wait_until("all events are indexed", 2 * SOON, async || tracker.events("indexed") >= all).await;
    let health = tracker.indexer();
    assert_eq!(health.exits(ExitKind::Panicked) + health.exits(ExitKind::Failed), CRASHES);
    truth.stands(&mut connection).await;
    assert_eq!(tracker.events("dropped"), 0.0);
    let mailbox = health.mailbox.expect("it has one");
    assert!(mailbox.is_conserved() && mailbox.dead_lettered == 0, "{mailbox:?}");
    assert_eq!(
        tracker
            .tree
            .health()
            .iter()
            .filter(|actor| actor.path != "indexer")
            .map(ActorHealth::restarts)
            .sum::<u64>(),
        0
    );
    tracker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_message_that_keeps_crashing_the_indexer_is_dead_lettered() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let tracker = Tracker::start(redis.url(), Setup::default()).await;
    // Taken with others at first, which charges no message; then alone, twice.
    tracker.tree.failure_points().arm("indexer::before_commit", "indexer", Fault::Panic, When::Times(3));
    publish(&mut connection, COMMON, &bytes(&["epoch:open:1"])).await;
    wait_until("it is given up on", SOON, async || {
        tracker.indexer().mailbox.is_some_and(|mailbox| mailbox.dead_lettered == 1)
    })
    .await;
    publish(&mut connection, COMMON, &bytes(&["epoch:open:2"])).await;
    wait_until("the next one is indexed", SOON, async || tracker.events("indexed") == 1.0).await;
    assert_eq!(members(&mut connection, "active:epochs").await, BTreeSet::from(["2".to_owned()]));
    assert_eq!(tracker.events("dropped"), 1.0, "given up on");
    tracker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_keeps_breaking_loses_and_charges_no_received_event() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let proxy = FaultProxy::start(redis.addr()).await.expect("a proxy");
    let tracker = Tracker::start(redis.url_at(proxy.addr()), Setup::default()).await;
    // The messages wait in the mailbox until all events are received, and then through an outage.
    tracker.tree.failure_points().arm(
        "indexer::before_commit",
        "indexer",
        Fault::Delay(Duration::from_millis(300)),
        When::Always,
    );
    let (truth, events) = Truth::storm(50);
    publish(&mut connection, COMMON, &events).await;
    let all = events.len() as f64;
    wait_until("all are received", SOON, async || {
        tracker.metric("state_tracker_events_received_total") >= all
    })
    .await;
    proxy.refuse(true).await.expect("refused");
    for cut in 1..=5 {
        let errors = tracker.failed_commits();
        proxy.cut();
        wait_until(&format!("the indexer meets cut {cut}"), SOON, async || tracker.failed_commits() > errors)
            .await;
    }
    tracker.tree.failure_points().disarm("indexer::before_commit");
    proxy.refuse(false).await.expect("accepted");
    wait_until("all are indexed", SOON, async || tracker.events("indexed") >= all).await;
    truth.stands(&mut connection).await;
    let health = tracker.indexer();
    assert_eq!((health.restarts(), health.mailbox.map(|mailbox| mailbox.dead_lettered)), (0, Some(0)));
    tracker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_indexer_whose_redis_is_away_stops_without_being_killed_and_charges_no_message() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let proxy = FaultProxy::start(redis.addr()).await.expect("a proxy");
    let tracker = Tracker::start(redis.url_at(proxy.addr()), Setup::default()).await;
    // Held until the outage: else the message would be committed before it.
    let hold = Fault::Delay(Duration::from_millis(300));
    tracker.tree.failure_points().arm("indexer::before_commit", "indexer", hold, When::Nth(1));
    publish(&mut connection, COMMON, &bytes(&["epoch:open:1"])).await;
    wait_until("the message is in flight", SOON, async || {
        tracker.indexer().mailbox.is_some_and(|mailbox| mailbox.in_flight == 1)
    })
    .await;
    proxy.refuse(true).await.expect("refused");
    proxy.cut();
    wait_until("the indexer meets the outage", SOON, async || tracker.failed_commits() > 1.0).await;
    tracker.tree.stop(SOON).await;
    let health = tracker.indexer();
    assert_eq!((health.exits(ExitKind::Stopped), health.exits(ExitKind::Killed)), (1, 0));
    let mailbox = health.mailbox.expect("it has one");
    assert_eq!((mailbox.waiting, mailbox.dead_lettered), (1, 0), "{mailbox:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_a_full_redis_refuses_are_neither_counted_nor_charged_and_are_indexed_later() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let tracker = Tracker::start(redis.url(), Setup::default()).await;
    let limit = async |connection: &mut MultiplexedConnection, bytes: u64| {
        let mut command = redis::cmd("CONFIG");
        command.arg(&["SET", "maxmemory"]).arg(bytes);
        command.query_async::<()>(connection).await.expect("set");
    };
    limit(&mut connection, 1).await;
    publish(&mut connection, COMMON, &bytes(&["epoch:open:1"])).await;
    wait_until("the indexer is refused twice", SOON, async || tracker.failed_commits() > 1.0).await;
    assert_eq!(tracker.events("indexed"), 0.0);
    let mailbox = tracker.indexer().mailbox.expect("it has one");
    assert_eq!((mailbox.waiting + mailbox.in_flight, mailbox.dead_lettered), (1, 0), "{mailbox:?}");
    limit(&mut connection, 0).await;
    wait_until("the event is indexed", SOON, async || tracker.events("indexed") == 1.0).await;
    assert_eq!(members(&mut connection, "active:epochs").await, BTreeSet::from(["1".to_owned()]));
    assert_eq!(tracker.indexer().mailbox.expect("it has one").dead_lettered, 0);
    tracker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_market_has_its_own_index_and_events_of_the_common_channel_are_unattributed() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let setup = Setup { markets: vec!["M", "N"], namespaced: true, ..Setup::default() };
    let tracker = Tracker::start(redis.url(), setup).await;
    publish(&mut connection, "P:M:state:change", &bytes(&["epoch:open:1", "submission:received:a:b"])).await;
    publish(&mut connection, "P:N:state:change", &bytes(&["batch:aggregated:1"])).await;
    publish(&mut connection, COMMON, &bytes(&["epoch:open:7", "peers:connected:4"])).await;
    wait_until("all are accounted for", SOON, async || {
        ["indexed", "unattributed", "ignored"].map(|outcome| tracker.events(outcome)) == [3.0, 1.0, 1.0]
    })
    .await;
    assert_eq!(members(&mut connection, "P:M:active:epochs").await, BTreeSet::from(["1".to_owned()]));
    assert_eq!(members(&mut connection, "P:M:active:submissions").await, BTreeSet::from(["a:b".to_owned()]));
    assert_eq!(members(&mut connection, "P:N:completed:epochs").await, BTreeSet::from(["1".to_owned()]));
    let keys: BTreeSet<String> =
        redis::cmd("KEYS").arg("*").query_async(&mut connection).await.expect("listed");
    assert!(keys.iter().all(|key| key.starts_with("P:M:") || key.starts_with("P:N:")), "{keys:?}");
    tracker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_mailbox_drops_the_oldest_with_their_number_and_the_listener_does_not_wait() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let limits = Limits { capacity: 3, bytes: 256 << 10, batch: 1, ..Limits::default() };
    let tracker = Tracker::start(redis.url(), Setup { limits, ..Setup::default() }).await;
    tracker.tree.failure_points().arm("indexer::before_commit", "indexer", Fault::Hang, When::Nth(1));
    let (_, events) = Truth::storm(2000);
    publish(&mut connection, COMMON, &events).await;
    let all = events.len() as f64;
    wait_until("all are received", SOON, async || {
        tracker.metric("state_tracker_events_received_total") >= all
    })
    .await;
    wait_until("the oldest were dropped", SOON, async || {
        tracker.indexer().mailbox.is_some_and(|mailbox| mailbox.dropped > 0)
    })
    .await;
    assert!(tracker.tree.kill("indexer"), "it hangs");
    // The last message is indexed, and reports the gaps before it.
    wait_until("every event is indexed or counted as dropped", SOON, async || {
        tracker.events("indexed") + tracker.events("dropped") == all
    })
    .await;
    assert!(tracker.events("dropped") > 0.0 && tracker.events("indexed") > 0.0);
    tracker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_any_bytes_leave_nothing_in_the_index() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let tracker = Tracker::start(redis.url(), Setup::default()).await;
    let odd: [&[u8]; 8] = [
        b"",
        b":::",
        b"\xff\xfe\x00",
        b"epoch:open:1:2",
        b"epoch:open:NaN",
        b"submission:received:\xff",
        b"batch:validator:::",
        b"epoch:open:1e999",
    ];
    let mut events: Vec<Vec<u8>> = odd.iter().map(|event| event.to_vec()).collect();
    events.push(vec![b':'; 1 << 20]);
    events.push(format!("submission:received:{}", "x".repeat(1 << 20)).into_bytes());
    publish(&mut connection, COMMON, &events).await;
    publish(&mut connection, COMMON, &bytes(&["epoch:open:2.3e+07"])).await;
    wait_until("the last one is indexed", SOON, async || tracker.events("indexed") == 1.0).await;
    assert_eq!(members(&mut connection, "active:epochs").await, BTreeSet::from(["23000000".to_owned()]));
    let keys: BTreeSet<String> =
        redis::cmd("KEYS").arg("*").query_async(&mut connection).await.expect("listed");
    let expected = ["active:epochs", "metrics:epochs:by_time", "state:epoch:23000000"];
    assert_eq!(keys, BTreeSet::from(expected.map(str::to_owned)));
    assert_eq!(tracker.events("oversized"), 1.0);
    assert_eq!(tracker.indexer().restarts(), 0);
    tracker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pruner_empties_an_index_that_is_past_its_retention() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let tracker =
        Tracker::start(redis.url(), Setup { kept: Duration::from_secs(1), ..Setup::default() }).await;
    let (_, events) = Truth::storm(300);
    publish(&mut connection, COMMON, &events).await;
    let all = events.len() as f64;
    wait_until("all are indexed", SOON, async || tracker.events("indexed") >= all).await;
    wait_until("nothing is left", SOON, async || {
        let left: u64 = redis::cmd("DBSIZE").query_async(&mut connection).await.expect("counted");
        left == 0
    })
    .await;
    tracker.stop().await;
}
