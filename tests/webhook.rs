//! Alerts of the whole service to a real receiver: what it gets of crashes and notices, and what happens while it is away.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use common::{MARKETS, SOON, environment, following, service, with};
use serde::Deserialize;
use testkit::{RedisServer, RelayerAnswer, RelayerCall, RelayerServer, wait_until, world::World};

/// What receivers of the original read, and nothing else.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Report {
    process_name: String,
    error_msg: String,
    timestamp: String,
    severity: String,
}

fn report(call: &RelayerCall) -> Report {
    serde_json::from_str(&call.body).expect("the form of the original")
}

fn alerting(environment: &BTreeMap<String, String>, receiver: &RelayerServer) -> BTreeMap<String, String> {
    with(environment, &[("SLACK_REPORTING_URL", &format!("{}/services/secret-path", receiver.url()))])
}

/// The value of a metric with one label.
async fn count(metrics: SocketAddr, series: &str) -> Option<u64> {
    let text = common::get(metrics, "/metrics").await.1;
    text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_is_reported_once_with_path_message_and_number_however_often_it_comes() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let receiver = RelayerServer::start().await.expect("a receiver");
    let service = service(&alerting(&environment(redis.addr()), &receiver)).await;
    let path = format!("markets/{}/aggregator", MARKETS[0]);
    for crash in 1..=5_u64 {
        wait_until("it runs", SOON, async || {
            common::actor(&service, &path).state == supervision::State::Running
        })
        .await;
        assert!(service.tree().kill(&path), "it was there");
        wait_until("it was restarted", SOON, async || common::actor(&service, &path).generation > crash)
            .await;
    }
    wait_until("it is reported", SOON, async || receiver.count() > 0).await;
    let metrics = service.http().metrics_address();
    wait_until("it is counted", SOON, async || {
        count(metrics, "state_tracker_alerts_total{outcome=\"sent\"}").await == Some(1)
    })
    .await;
    let calls = receiver.calls();
    let Report { process_name, error_msg, timestamp, severity } = report(&calls[0]);
    assert_eq!((calls[0].path.as_str(), process_name.as_str()), ("/services/secret-path", path.as_str()));
    assert!(error_msg.contains(&format!("the actor {path} crashed")), "{error_msg}");
    assert!(error_msg.contains(&format!("/crashes?actor={path}")), "{error_msg}");
    assert_eq!(severity, "High");
    humantime::parse_rfc3339(&timestamp).expect("a time");
    service.stop().await;
    assert_eq!(receiver.count(), 1, "the others are told together, later");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notices_reach_the_receiver_and_their_end_too() {
    let mut world = World::new(41).await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let (receiver, mut relayer) =
        (RelayerServer::start().await.expect("a receiver"), RelayerServer::start().await.expect("a relayer"));
    world.grow_collected(60, &mut connection).await;
    relayer.go_away();
    let environment = with(
        &alerting(&following(redis.addr(), &world), &receiver),
        &[("TX_RELAYER_URL", &relayer.url()), ("TX_RELAYER_AUTH_WRITE_TOKEN", "a-token-of-this-test")],
    );
    let service = service(&environment).await;
    let told = |name: &str| {
        let calls = receiver.calls();
        calls
            .iter()
            .map(report)
            .filter(|report| report.process_name == name)
            .map(|report| report.error_msg)
            .collect::<Vec<_>>()
    };
    wait_until("both lanes tell it", SOON, async || told("relayer_away").len() == 2).await;
    relayer.come_back().await.expect("it comes back");
    wait_until("both lanes are well again", 2 * SOON, async || told("relayer_away").len() == 4).await;
    assert!(told("relayer_away")[2..].iter().all(|text| text.contains("accepts calls of market")));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_hangs_or_refuses_holds_up_nothing_and_what_is_lost_is_counted() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let receiver = RelayerServer::start().await.expect("a receiver");
    receiver.always(RelayerAnswer::Hang);
    let environment =
        with(&alerting(&environment(redis.addr()), &receiver), &[("STATE_TRACKER__ALERTS__TIMEOUT", "1s")]);
    let service = service(&environment).await;
    let metrics = service.http().metrics_address();
    assert!(service.tree().kill("listener"), "it was there");
    wait_until("an alert is under way", SOON, async || receiver.count() > 0).await;
    wait_until("it is ready all the same", SOON, async || common::get(metrics, "/readyz").await.0 == 200)
        .await;
    wait_until("it is tried again", SOON, async || receiver.count() > 1).await;
    receiver.always(RelayerAnswer::Say(404, None));
    wait_until("it is given up, and counted", SOON, async || {
        count(metrics, "state_tracker_alerts_total{outcome=\"undelivered\"}").await == Some(1)
    })
    .await;
    assert_eq!(common::actor(&service, "alerts").restarts(), 0);
    let began = std::time::Instant::now();
    receiver.always(RelayerAnswer::Hang);
    assert!(service.tree().kill("pruner"), "it was there");
    wait_until("another one is under way", SOON, async || {
        count(metrics, "state_tracker_alerts_waiting").await == Some(1)
    })
    .await;
    service.stop().await;
    assert!(began.elapsed() < Duration::from_secs(20), "a stop waits for no receiver");
}
