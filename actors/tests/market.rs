//! The actors of a market in a private tree, against a real server.

#![allow(clippy::expect_used)] // A test that can't continue panics.

mod common;

use std::time::Duration;

use actors::{
    env::Wake,
    tracker::{
        Aggregator, EpochTracker, Listener, MarketEdges, MarketRegistry, Timing, TrackerServices, WakeEdges,
    },
};
use domain::Address;
use serde_json::Value;
use store_tracker::{DATASETS, Intervals, MarketKeys};
use supervision::{
    ActorHealth, Child, Clock, ExitKind, Intensity, Limits, Mailbox, Name, Policy, Tree, TreeOptions,
};
use testkit::{
    FaultProxy, MarketProducer, ProducerConfig, RedisServer, Truth, producers::unix_now, wait_until,
};

const PROTOCOL: &str = "protocol";
const MARKET: &str = "market";
const SOON: Duration = Duration::from_secs(20);

fn key(rest: &str) -> String {
    format!("{PROTOCOL}:{MARKET}:{rest}")
}

fn ledger(part: &str) -> String {
    format!("{{{PROTOCOL}:{MARKET}}}:tracker:{part}")
}

fn timing() -> Timing {
    common::timing(Duration::from_millis(50))
}

/// A tracker of one market.
struct Tracker {
    tree: Tree,
    tracker: TrackerServices,
}

impl Tracker {
    async fn start(redis: &RedisServer, timing: Timing, stall_after: Duration) -> Self {
        Self::start_at(redis.url(), timing, stall_after).await
    }

    async fn start_at(url: String, timing: Timing, stall_after: Duration) -> Self {
        let clock = Clock::system();
        let services = common::tracker(&url, Duration::from_secs(2), timing, &clock);
        for condition in DATASETS.iter().filter_map(|dataset| dataset.readiness) {
            services.services.readiness.expect(MARKET, condition, SOON);
        }
        let keys = MarketKeys::new(&Address::new(PROTOCOL), &Address::new(MARKET));
        let listener = Name::new("listener");
        let mailbox = |name: &str| Mailbox::<Wake>::new(name, Limits::default(), &clock);
        let (aggregator, epoch_tracker) = (mailbox("aggregator"), mailbox("epoch-tracker"));
        let edges = MarketEdges {
            keys: keys.clone(),
            listener: WakeEdges::new(&listener, &aggregator, &epoch_tracker),
            finder: WakeEdges::new(&Name::new("finder"), &aggregator, &epoch_tracker),
        };
        let policy = Policy {
            intensity: Intensity { max_restarts: 100, within: Duration::from_secs(1) },
            stall_after: Some(stall_after),
            ..Policy::default()
        };
        let shared = || (services.clone(), keys.clone());
        let (of_aggregator, of_tracker, of_listener) = (shared(), shared(), services.clone());
        let registry = MarketRegistry::new(vec![edges]);
        let children = vec![
            Child::actor(aggregator, move || {
                Aggregator::new(of_aggregator.0.clone(), of_aggregator.1.clone())
            }),
            Child::actor(epoch_tracker, move || {
                EpochTracker::new(of_tracker.0.clone(), of_tracker.1.clone())
            }),
            Child::worker(listener, move || Listener::new(of_listener.clone(), registry.clone())),
        ];
        let children = children.into_iter().map(|child| child.policy(policy)).collect();
        let tree = Tree::start(children, TreeOptions::default()).await.expect("the tree starts");
        Self { tree, tracker: services }
    }

    fn actor(&self, name: &str) -> ActorHealth {
        self.tree.health().into_iter().find(|actor| actor.path == name).expect(name)
    }

    /// How often any of them crashed or was replaced.
    fn crashes(&self) -> u64 {
        let crashes = || ExitKind::ALL.into_iter().filter(|kind| kind.is_crash());
        let of = |actor: &ActorHealth| crashes().map(|kind| actor.exits(kind)).sum::<u64>();
        self.tree.health().iter().map(of).sum()
    }

    fn is_ready(&self) -> bool {
        self.tracker.services.readiness.conditions().iter().all(|condition| condition.ok)
    }

    /// The value of a metric, by the beginning of its line.
    fn metric(&self, line: &str) -> f64 {
        let text = self.tracker.services.telemetry.render().expect("metrics");
        let lines = text.lines().filter(|found| found.starts_with(line));
        lines.filter_map(|found| found.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    async fn stop(self) {
        let report = self.tree.stop(Duration::from_secs(5)).await;
        assert_eq!(report.abandoned, Vec::<String>::new());
    }
}

fn producer(redis: &RedisServer) -> MarketProducer {
    MarketProducer::new(ProducerConfig::new(PROTOCOL, MARKET), &redis.url()).expect("producers")
}

async fn run(redis: &RedisServer, words: &[&str]) {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    let mut connection = redis.connection().await.expect("a connection");
    command.query_async::<redis::Value>(&mut connection).await.expect("the command is right");
}

async fn dataset(redis: &RedisServer, name: &str) -> Option<Value> {
    let mut connection = redis.connection().await.expect("a connection");
    let text: Option<String> = redis::cmd("GET").arg(key(name)).query_async(&mut connection).await.ok()?;
    Some(serde_json::from_str(&text?).expect("a dataset is JSON"))
}

async fn totals_reach(redis: &RedisServer, truth: &Truth) {
    let expected = [truth.submissions_total(), truth.epochs_total(), truth.batches_total()];
    wait_until(&format!("totals of {expected:?}"), SOON, async || {
        let summary = dataset(redis, "dashboard:summary").await?;
        let names = ["submissions_total", "epochs_total", "batches_total"];
        (names.map(|name| summary[name].as_u64()) == expected.map(Some)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_keeps_forgetting_scripts_costs_no_epoch_pass_or_crash() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut market = producer(&redis);
    let tracker = Tracker::start(&redis, timing(), SOON).await;
    for epoch in 1..=10 {
        run(&redis, &["SCRIPT", "FLUSH"]).await;
        market.finish_epoch(epoch, 5).await.expect("written");
        totals_reach(&redis, &market.truth()).await;
    }
    wait_until("all is well", SOON, async || tracker.is_ready()).await;
    assert_eq!((tracker.crashes(), tracker.metric("state_tracker_errors_total")), (0, 0.0), "no pass failed");
    tracker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spoilt_ledger_stops_datasets_and_readiness_until_it_is_repaired_and_crashes_nothing() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut market = producer(&redis);
    let tracker = Tracker::start(&redis, timing(), SOON).await;
    market.finish_epoch(1, 5).await.expect("written");
    totals_reach(&redis, &market.truth()).await;
    for part in ["open", "sealed", "sums", "meta"] {
        market.open_epoch(market.truth().epochs_total() + 1, unix_now()).await.expect("opened");
        totals_reach(&redis, &market.truth()).await;
        let exists: bool = {
            let mut connection = redis.connection().await.expect("a connection");
            redis::cmd("EXISTS").arg(ledger(part)).query_async(&mut connection).await.expect("answered")
        };
        assert!(exists, "{part} is in use");
        run(&redis, &["RENAME", &ledger(part), "kept"]).await;
        run(&redis, &["SET", &ledger(part), "foreign"]).await;
        wait_until(&format!("not ready for want of {part}"), SOON, async || {
            let conditions = tracker.tracker.services.readiness.conditions();
            conditions.iter().any(|condition| !condition.ok && condition.detail.contains("wrong_type"))
        })
        .await;
        run(&redis, &["RENAME", "kept", &ledger(part)]).await;
        wait_until("ready again", SOON, async || tracker.is_ready()).await;
        totals_reach(&redis, &market.truth()).await;
    }
    assert_eq!(tracker.crashes(), 0);
    tracker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_ledger_and_a_lost_one_are_counted_for_their_market() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut market = producer(&redis);
    let tracker = Tracker::start(&redis, timing(), SOON).await;
    market.finish_epoch(1, 5).await.expect("written");
    totals_reach(&redis, &market.truth()).await;
    let name = Address::new(MARKET).checksummed().to_owned();
    let faults = |kind: &str| {
        tracker.metric(&format!("state_tracker_ledger_faults_total{{kind=\"{kind}\",market=\"{name}\"}}"))
    };
    assert_eq!((faults("torn"), faults("lost")), (0.0, 0.0));
    run(&redis, &["RENAME", &ledger("sums"), "kept"]).await;
    wait_until("the torn ledger is counted", SOON, async || faults("torn") > 0.0).await;
    run(&redis, &["RENAME", "kept", &ledger("sums")]).await;
    wait_until("ready again", SOON, async || tracker.is_ready()).await;
    assert_eq!(faults("lost"), 0.0);
    run(&redis, &["FLUSHALL"]).await;
    wait_until("the lost ledger is counted", SOON, async || faults("lost") == 1.0).await;
    tracker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_debounce_longer_than_a_stall_is_no_stall() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut market = producer(&redis);
    let timing = Timing {
        intervals: Intervals { current_epoch: Duration::from_secs(30), ..timing().intervals },
        wake_debounce: Duration::from_millis(1200),
        ..timing()
    };
    let tracker = Tracker::start(&redis, timing, Duration::from_millis(300)).await;
    wait_until("it is ready", SOON, async || tracker.is_ready()).await;
    for epoch in 1..=2 {
        market.open_epoch(epoch, unix_now()).await.expect("opened");
        wait_until("the event wakes the epoch tracker", SOON, async || {
            let current = dataset(&redis, "metrics:current_epoch").await?;
            current["epoch_id"].as_str().is_some_and(|shown| shown.parse() == Ok(epoch)).then_some(())
        })
        .await;
    }
    assert_eq!(tracker.crashes(), 0, "{:?}", tracker.actor("epoch-tracker").last_crash);
    tracker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_during_a_pass_starts_another_one() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut market = producer(&redis);
    let current_epoch = Duration::from_secs(600);
    let timing = Timing { intervals: Intervals { current_epoch, ..timing().intervals }, ..timing() };
    let tracker = Tracker::start(&redis, timing, SOON).await;
    wait_until("it is ready", SOON, async || tracker.is_ready()).await;
    // Redis orders members of one score by their text, and ids of one length have the same order as numbers and as texts.
    for epoch in 1001..=1200 {
        market.open_epoch(epoch, unix_now()).await.expect("opened");
        // Pauses of various lengths, so that some events come during the pass of the previous one.
        tokio::time::sleep(Duration::from_micros(epoch * 37 % 7000)).await;
    }
    wait_until("the last of them is shown", SOON, async || {
        dataset(&redis, "metrics:current_epoch").await.filter(|current| current["epoch_id"] == "1200")
    })
    .await;
    tracker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_any_bytes_crash_nothing_and_are_counted() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let tracker = Tracker::start(&redis, timing(), SOON).await;
    wait_until("it is ready", SOON, async || tracker.is_ready()).await;
    let mut connection = redis.connection().await.expect("a connection");
    let huge = vec![b':'; 1 << 20];
    let odd: [&[u8]; 6] = [b"", b":::", b"\xff\xfe\x00", b"epoch", &huge, b"epoch:open:"];
    let mut pipeline = redis::pipe();
    for payload in odd {
        pipeline.cmd("PUBLISH").arg("state:change").arg(payload).ignore();
        pipeline.cmd("PUBLISH").arg(key("state:change")).arg(payload).ignore();
    }
    pipeline.cmd("PUBLISH").arg("state:change").arg("epoch:open:1:2:3\u{0}").ignore();
    pipeline.query_async::<()>(&mut connection).await.expect("published");
    let of = |entity: &str| format!("state_tracker_events_received_total{{entity_type=\"{entity}\"");
    wait_until("all are counted", SOON, async || {
        tracker.metric(&of("epoch")) == 1.0 && tracker.metric(&of("other")) == 12.0
    })
    .await;
    assert_eq!(tracker.metric("state_tracker_changes_processed_total"), 1.0);
    assert_eq!(tracker.crashes(), 0);
    tracker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_redis_is_reported_and_nothing_else_counts_as_a_loss() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut market = producer(&redis);
    let lost = "state_tracker_errors_total{kind=\"lost\"";
    // Several trackers create the ledger at once; ids appear before their other keys.
    let mut trackers = Vec::new();
    for _ in 0..3 {
        trackers.push(Tracker::start(&redis, timing(), SOON).await);
    }
    for epoch in 1..=20 {
        run(&redis, &["SADD", &key("epochs:active"), &epoch.to_string()]).await;
        if epoch % 5 == 0 {
            tokio::time::sleep(Duration::from_millis(120)).await;
        }
        market.finish_epoch(epoch, 5).await.expect("written");
    }
    totals_reach(&redis, &market.truth()).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    for tracker in &trackers {
        assert_eq!(tracker.metric(lost), 0.0);
    }
    run(&redis, &["FLUSHALL"]).await;
    for tracker in &trackers {
        wait_until("the loss is reported", SOON, async || tracker.metric(lost) > 0.0).await;
        assert_eq!(tracker.crashes(), 0);
    }
    for tracker in trackers {
        tracker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_breaks_at_any_moment_of_a_pass_loses_and_doubles_nothing() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let proxy = FaultProxy::start(redis.addr()).await.expect("a proxy");
    let mut market = producer(&redis);
    let tracker = Tracker::start_at(redis.url_at(proxy.addr()), timing(), SOON).await;
    for epoch in 1..=60 {
        market.finish_epoch(epoch, 5).await.expect("written");
        tokio::time::sleep(Duration::from_micros(epoch * 977 % 30_000)).await;
        proxy.cut();
    }
    totals_reach(&redis, &market.truth()).await;
    wait_until("all is well again", SOON, async || tracker.is_ready()).await;
    assert_eq!(tracker.crashes(), 0, "an outage is no crash");
    tracker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreadable_field_keeps_its_value_through_a_crash_and_then_becomes_null() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut market = producer(&redis);
    run(&redis, &["LPUSH", &key("submissionQueue"), "a", "b", "c", "d"]).await;
    let summary = Duration::from_secs(2);
    let timing = Timing { intervals: Intervals { summary, ..timing().intervals }, ..timing() };
    let tracker = Tracker::start(&redis, timing, SOON).await;
    wait_until("the queue is shown", SOON, async || {
        dataset(&redis, "dashboard:summary").await.is_some_and(|summary| summary["submissions_queue"] == 4)
    })
    .await;
    // In one command: a pass between a removal and a write would find the queue empty.
    run(&redis, &["SET", &key("submissionQueue"), "spoilt"]).await;
    market.finish_epoch(1, 5).await.expect("written");
    // The next incarnation makes a pass at once, and has the value only from the dataset.
    assert!(tracker.tree.kill("aggregator"));
    totals_reach(&redis, &market.truth()).await;
    let summary = dataset(&redis, "dashboard:summary").await.expect("just seen");
    assert_eq!((tracker.actor("aggregator").generation, &summary["submissions_queue"]), (2, &Value::from(4)));
    wait_until("the value is given up", SOON, async || {
        dataset(&redis, "dashboard:summary")
            .await
            .is_some_and(|summary| summary["submissions_queue"].is_null())
    })
    .await;
    tracker.stop().await;
}
