//! An aggregator that panics before its commit is restarted alone.

use std::time::Duration;

use state_tracker::{config::Config, service::Service};
use supervision::{
    ExitKind, State, TreeOptions,
    fail::{Fault, When},
};
use testkit::{RedisServer, wait_until};

const MARKET: &str = "0x0C2E22fe7526fAeF28E7A58c84f8723dEFcE200c";

#[tokio::test(flavor = "multi_thread")]
async fn an_aggregator_that_panics_before_its_commit_is_restarted_alone() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let settings = [
        ("REDIS_HOST", redis.addr().ip().to_string()),
        ("REDIS_PORT", redis.addr().port().to_string()),
        ("PROTOCOL_STATE_CONTRACT", "0xE88E5f64AEB483d7057645326AdDFA24A3B312DF".to_owned()),
        ("DATA_MARKET_ADDRESSES", MARKET.to_owned()),
        ("STATE_TRACKER_METRICS_PORT", "0".to_owned()),
        ("STATE_TRACKER__HTTP__OPERATOR_ADDRESS", "127.0.0.1:0".to_owned()),
        ("STATE_TRACKER__INTERVALS__SUMMARY", "100ms".to_owned()),
    ];
    let config = Config::load(None, settings).expect("a valid configuration").config;
    let service = Service::start(&config, TreeOptions::default()).await.expect("it starts");

    // The next two commits of this aggregator panic.
    let points = service.tree().failure_points();
    points.arm("aggregator::before_commit", &format!("{MARKET}/aggregator"), Fault::Panic, When::Times(2));

    let path = format!("markets/{MARKET}/aggregator");
    let actor = || service.tree().health().into_iter().find(|actor| actor.path == path).expect("it exists");
    wait_until("it runs again", Duration::from_secs(30), async || {
        actor().restarts() == 2 && actor().state == State::Running
    })
    .await;
    let (_, failures) = points.passages("aggregator::before_commit");
    assert_eq!((failures, actor().exits(ExitKind::Panicked)), (2, 2));
    let crash = actor().last_crash.expect("a record of the crash");
    assert!(crash.message.contains("aggregator::before_commit"), "{}", crash.message);
    let others = service.tree().health().into_iter().filter(|actor| actor.path != path);
    assert!(others.map(|actor| actor.restarts()).all(|restarts| restarts == 0), "a sibling was restarted");

    // The aggregator commits again.
    let passages = points.passages("aggregator::before_commit").0;
    wait_until("it commits again", Duration::from_secs(30), async || {
        points.passages("aggregator::before_commit").0 > passages
    })
    .await;
    service.stop().await;
}
