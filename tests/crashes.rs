//! A crash restarts only that actor, and no total changes: the whole tree on a real Redis, under load.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::time::Duration;

use common::{MARKETS, SOON, environment, generations_without, producer, service, totals_reach};
use supervision::{
    ExitKind,
    fail::{Fault, When},
};
use testkit::{LiveRate, RedisServer, event_storm, run_live, wait_until};

/// How often each actor is crashed.
const CRASHES: u64 = 200;
/// Events a second that a storm publishes meanwhile.
const EVENTS_A_SECOND: u64 = 10_000;

/// Where an actor is crashed: before it reads, with its work in flight, and when its work is committed but not
/// acknowledged.
fn places(path: &str) -> &'static [&'static str] {
    match path.rsplit('/').next() {
        Some("listener") => {
            &["listener::after_subscribe", "listener::before_hand_over", "listener::after_hand_over"]
        }
        Some("aggregator") => &[
            "aggregator::before_read",
            "aggregator::after_read",
            "aggregator::before_commit",
            "aggregator::after_commit",
        ],
        Some("finder") => &["finder::before_pause", "finder::before_round", "finder::after_round"],
        Some("pruner") => &["pruner::before_pause", "pruner::before_round", "pruner::after_round"],
        Some("epoch-tracker") => {
            &["epoch_tracker::before_read", "epoch_tracker::before_commit", "epoch_tracker::after_commit"]
        }
        unknown => panic!("no failure points of {unknown:?} are listed here"),
    }
}

/// Intensity: 1,000 in 1 s, so that no number of crashes degrades an actor; backoff 1 to 5 ms; 2 attempts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_crashes_of_each_actor_touch_no_sibling_and_change_no_total() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut environment = environment(redis.addr());
    environment.insert("STATE_TRACKER__INTERVALS__PRUNE".to_owned(), "100ms".to_owned());
    environment.insert("STATE_TRACKER__INTERVALS__FIND".to_owned(), "100ms".to_owned());
    for (name, value) in
        [("MAX_RESTARTS", "1000"), ("RESTART_WINDOW", "1s"), ("BACKOFF_FIRST", "1ms"), ("BACKOFF_MAX", "5ms")]
    {
        environment.insert(format!("STATE_TRACKER__SUPERVISION__{name}"), value.to_owned());
    }
    let rate = LiveRate {
        epoch_every: Duration::from_millis(700),
        submissions_per_epoch: 50,
        batch_delay: Duration::from_millis(150),
        ..LiveRate::default()
    };
    let live: Vec<_> = MARKETS
        .iter()
        .map(|market| {
            let mut config = producer(market);
            config.window = Duration::from_secs(1);
            run_live(config, &redis.url(), rate).expect("producers")
        })
        .collect();
    let service = service(&environment).await;
    let (end_storm, storm_ends) = tokio::sync::oneshot::channel::<()>();
    let storm = tokio::spawn({
        let url = redis.url();
        async move {
            event_storm(&url, 1, EVENTS_A_SECOND, async {
                let _ = storm_ends.await;
            })
            .await
        }
    });

    for path in common::workers(&service) {
        let before = common::actor(&service, &path);
        let siblings = generations_without(&service, &path);
        let places = places(&path);
        let points = service.tree().failure_points();
        let acted = || places.iter().map(|place| points.passages(place).1).sum::<u64>();
        let before_all = acted();
        for (at, place) in places.iter().enumerate() {
            // The remainder goes to the first place.
            let share =
                CRASHES / places.len() as u64 + if at == 0 { CRASHES % places.len() as u64 } else { 0 };
            points.arm(
                place,
                &path,
                if at % 2 == 0 { Fault::Panic } else { Fault::Error },
                When::Times(share),
            );
        }
        let done = || acted() == before_all + CRASHES;
        wait_until(&format!("{CRASHES} crashes of {path}"), 4 * SOON, async || done()).await;
        places.iter().for_each(|place| points.disarm(place));
        let recovered = || common::actor(&service, &path).generation == before.generation + CRASHES;
        wait_until(&format!("{path} runs again"), SOON, async || recovered()).await;
        let after = common::actor(&service, &path);
        let crashed = |kind| after.exits(kind) - before.exits(kind);
        assert_eq!(crashed(ExitKind::Panicked) + crashed(ExitKind::Failed), CRASHES, "{path}");
        assert_eq!(generations_without(&service, &path), siblings, "a sibling of {path} was restarted");
    }

    let _ = end_storm.send(());
    let storm = storm.await.expect("joined").expect("the storm ran");
    assert!(storm.published > 0 && storm.failed_pipelines == 0, "{storm:?}");
    for (live, market) in live.into_iter().zip(MARKETS) {
        let truth = live.finish().await.expect("producers end");
        assert!(truth.submissions_total() > 100, "the load was too small to mean anything");
        totals_reach(&redis, market, &truth).await;
    }
    assert!(
        service
            .tree()
            .health()
            .iter()
            .all(|actor| actor.mailbox.is_none_or(|mailbox| mailbox.is_conserved()))
    );
    assert_eq!(service.stop().await.left_behind, 0);
}
