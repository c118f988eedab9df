//! The producers promise that their truth is what is in Redis, whatever happens meanwhile.

#![allow(clippy::unwrap_used)] // A test that cannot be set up fails.

use std::time::Duration;

use futures_util::StreamExt;
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use testkit::producers::unix_now;
use testkit::{
    FaultProxy, LiveRate, MarketProducer, ProducerConfig, RedisServer, SubmissionStore, Truth, event_storm,
    run_live, wait_until,
};

const LONG: Duration = Duration::from_secs(30);

fn config() -> ProducerConfig {
    ProducerConfig { window: Duration::from_millis(200), ..ProducerConfig::new("0xP", "0xM") }
}

fn fast() -> LiveRate {
    LiveRate {
        epoch_every: Duration::from_millis(50),
        submissions_per_epoch: 33,
        batch_delay: Duration::from_millis(20),
        ..LiveRate::default()
    }
}

/// The truth's numbers read back from Redis, by keys that are spelled out again.
async fn assert_redis_agrees(connection: &mut MultiplexedConnection, truth: &Truth) {
    let epochs: Vec<String> = connection.zrange("0xP:0xM:metrics:epochs:timeline", 0, -1).await.unwrap();
    let opened = epochs.iter().filter(|member| member.starts_with("open:")).count() as u64;
    let closed = epochs.iter().filter(|member| member.starts_with("close:")).count();
    assert_eq!(opened, truth.epochs_total());
    assert_eq!(closed, truth.epochs.values().filter(|epoch| epoch.closed_at.is_some()).count());
    let batches: Vec<String> = connection.zrange("0xP:0xM:metrics:batches:timeline", 0, -1).await.unwrap();
    let of_ours = |member: &&String| member.starts_with("local:") || member.starts_with("aggregated:");
    assert_eq!(batches.iter().filter(of_ours).count() as u64, truth.batches_total());
    let own: u64 = connection.zcard("0xP:0xM:metrics:validator:validator1:batches").await.unwrap();
    assert_eq!(own, truth.local_batches());

    let mut submissions = 0;
    for (epoch, expected) in &truth.epochs {
        let count: u64 = connection.zcard(format!("0xP:0xM:epoch:{epoch}:submissions:ids")).await.unwrap();
        assert_eq!(count, expected.submissions, "epoch {epoch}");
        submissions += count;
        let validators: Option<String> =
            connection.get(format!("0xP:0xM:metrics:batch:{epoch}:validators")).await.unwrap();
        let named: Vec<String> =
            validators.map(|text| serde_json::from_str(&text).unwrap()).unwrap_or_default();
        assert_eq!(named, expected.batch_validators);
    }
    assert_eq!(submissions, truth.submissions_total());
}

#[tokio::test]
async fn each_step_is_one_round_trip_and_the_truth_is_what_is_in_redis() {
    let server = RedisServer::start().await.unwrap();
    let proxy = FaultProxy::start(server.addr()).await.unwrap();
    let mut producer = MarketProducer::new(config(), &server.url_at(proxy.addr())).unwrap();
    let now = unix_now();
    producer.open_epoch(1, now).await.unwrap();
    proxy.reset_counts();
    producer.open_epoch(2, now).await.unwrap();
    producer.submit(1, 40, now).await.unwrap();
    producer.submit(1, 2, now + 1).await.unwrap();
    producer.validators(1, &["validator2", "validator3"], now).await.unwrap();
    producer.close_epoch(1, now).await.unwrap();
    producer.local_batch(1, now).await.unwrap();
    producer.aggregated_batch(1, &["validator1", "validator2"], now).await.unwrap();
    producer.vpa(1, 3, true, now).await.unwrap();
    assert_eq!(proxy.counts().round_trips, 8);

    let truth = producer.truth();
    assert_eq!((truth.epochs_total(), truth.submissions_total(), truth.batches_total()), (2, 42, 2));
    assert_eq!((truth.open_epochs(), truth.incomplete_epochs()), (vec![2], vec![2]));
    assert_eq!((truth.inclusions("validator1"), truth.inclusions("validator3")), (1, 0));
    let mut connection = server.connection().await.unwrap();
    assert_redis_agrees(&mut connection, &truth).await;

    let phase: String = connection.hget("0xP:0xM:epoch:1:state", "phase").await.unwrap();
    let duration: String = connection.hget("0xP:0xM:metrics:epoch:1:info", "duration").await.unwrap();
    let success: u64 = connection.hget("0xP:0xM:vpa:stats", "total_submissions_success").await.unwrap();
    assert_eq!((phase.as_str(), duration.as_str(), success), ("onchain_submission", "0.2", 1));
    let timeline: u64 = connection.zcard("0xP:0xM:metrics:submissions:timeline").await.unwrap();
    assert_eq!(timeline, 84, "two forms a submission");
    let keys = ["epochs:active", "epoch:1:validators", "epoch:1:submissions:ids", "epoch:1:state"];
    for (key, expected) in keys.iter().zip([86_400, 7_200, 7_200, 604_800_i64]) {
        let ttl: i64 = connection.ttl(format!("0xP:0xM:{key}")).await.unwrap();
        assert!((expected - 60..=expected).contains(&ttl), "{key}: {ttl}");
    }
}

#[tokio::test]
async fn older_producers_write_the_processed_set_and_no_state() {
    let server = RedisServer::start().await.unwrap();
    let older =
        ProducerConfig { submission_store: SubmissionStore::Processed, epoch_state: false, ..config() };
    let mut producer = MarketProducer::new(older, &server.url()).unwrap();
    producer.open_epoch(1, unix_now()).await.unwrap();
    producer.submit(1, 5, unix_now()).await.unwrap();
    let mut connection = server.connection().await.unwrap();
    assert_eq!(connection.scard::<_, u64>("0xP:0xM:epoch:1:processed").await.unwrap(), 5);
    let absent = ["0xP:0xM:epoch:1:state", "0xP:0xM:epoch:1:submissions:ids", "0xP:0xM:submissionQueue"];
    assert_eq!(connection.exists::<_, u64>(&absent[..]).await.unwrap(), 0);
}

#[tokio::test]
async fn every_event_that_the_truth_counts_is_heard() {
    let server = RedisServer::start().await.unwrap();
    let client = redis::Client::open(server.url()).unwrap();
    let mut subscriber = client.get_async_pubsub().await.unwrap();
    subscriber.subscribe(&["state:change", "0xP:0xM:state:change"]).await.unwrap();
    let config = ProducerConfig { market_channel: true, queue: true, ..config() };
    let mut producer = MarketProducer::new(config, &server.url()).unwrap();
    producer.open_epoch(7, unix_now()).await.unwrap();
    producer.submit(7, 2, unix_now()).await.unwrap();
    producer.aggregated_batch(7, &["validator1"], unix_now()).await.unwrap();
    let expected = producer.truth().events_published;
    assert_eq!(expected, 2 * (1 + 4 + 2));

    let (mut sink, mut messages) = (Vec::new(), subscriber.into_on_message());
    for _ in 0..expected {
        let message = tokio::time::timeout(LONG, messages.next()).await.unwrap().unwrap();
        sink.push(message.get_payload::<String>().unwrap());
    }
    assert_eq!(sink.iter().filter(|event| *event == "epoch:open:7").count(), 2);
    assert_eq!(sink.iter().filter(|event| *event == "batch:validator:validator1:7").count(), 2);
    let depth: u64 = server.connection().await.unwrap().llen("0xP:0xM:submissionQueue").await.unwrap();
    assert_eq!(depth, 2);
}

#[tokio::test]
async fn live_producers_that_finish_leave_every_epoch_complete() {
    let server = RedisServer::start().await.unwrap();
    let live = run_live(config(), &server.url(), fast()).unwrap();
    let seen = live.shared_truth();
    wait_until("five complete epochs", LONG, async || seen.read(Truth::aggregated_batches) >= 5).await;
    let truth = live.finish().await.unwrap();
    assert!(truth.incomplete_epochs().is_empty());
    assert_eq!(truth.submissions_total(), 33 * truth.epochs_total());
    assert_redis_agrees(&mut server.connection().await.unwrap(), &truth).await;
}

#[tokio::test]
async fn live_producers_end_by_themselves_after_the_epochs_asked_for() {
    let server = RedisServer::start().await.unwrap();
    let live = run_live(config(), &server.url(), LiveRate { epochs: Some(3), ..fast() }).unwrap();
    let seen = live.shared_truth();
    wait_until("three complete epochs", LONG, async || seen.read(Truth::aggregated_batches) == 3).await;
    assert_eq!(live.stop().await.unwrap().epochs_total(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_truth_of_live_producers_holds_through_cuts_and_a_hard_kill_of_redis() {
    let mut server = RedisServer::builder().append_only(true).start().await.unwrap();
    let proxy = FaultProxy::start(server.addr()).await.unwrap();
    let live = run_live(config(), &server.url_at(proxy.addr()), fast()).unwrap();
    let seen = live.shared_truth();
    for round in 1..=5 {
        let enough = async || seen.read(Truth::submissions_total) >= round * 100;
        wait_until("more submissions", LONG, enough).await;
        proxy.cut();
    }
    server.kill_hard().unwrap();
    server.restart().await.unwrap();
    let before = seen.read(Truth::epochs_total);
    wait_until("more epochs", LONG, async || seen.read(Truth::epochs_total) > before + 3).await;
    let truth = live.finish().await.unwrap();
    assert!(truth.incomplete_epochs().is_empty());
    assert_redis_agrees(&mut server.connection().await.unwrap(), &truth).await;
}

#[tokio::test]
async fn live_producers_can_be_stopped_while_redis_is_away() {
    let mut server = RedisServer::start().await.unwrap();
    let live = run_live(config(), &server.url(), fast()).unwrap();
    let seen = live.shared_truth();
    wait_until("an epoch", LONG, async || seen.read(Truth::epochs_total) > 0).await;
    server.kill_hard().unwrap();
    let truth = tokio::time::timeout(LONG, live.stop()).await.unwrap().unwrap();
    assert!(truth.epochs_total() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_publishes_at_its_rate_and_reports_what_it_published() {
    let server = RedisServer::start().await.unwrap();
    let url = server.url();
    let report = event_storm(&url, 1, 10_000, tokio::time::sleep(Duration::from_millis(500))).await.unwrap();
    let due = report.elapsed.as_secs_f64() * 10_000.0;
    assert!(report.published as f64 <= due && report.published > 1_000, "{report:?}");
    assert_eq!(report.failed_pipelines, 0);
    let stats: String = redis::cmd("INFO")
        .arg("commandstats")
        .query_async(&mut server.connection().await.unwrap())
        .await
        .unwrap();
    assert!(stats.contains(&format!("cmdstat_publish:calls={},", report.published)), "{stats}");
}

#[tokio::test]
async fn a_storm_without_redis_is_an_error_at_once() {
    let mut server = RedisServer::start().await.unwrap();
    server.kill_hard().unwrap();
    assert!(event_storm(&server.url(), 1, 10, std::future::pending()).await.is_err());
}
