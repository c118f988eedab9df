//! The state index in the whole service: it follows running producers through crashes of the indexer, and no other
//! actor notices.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::{collections::BTreeSet, time::Duration};

use common::{MARKETS, SOON, environment, generations_without, key, producer, service, totals_reach};
use redis::aio::MultiplexedConnection;
use supervision::fail::{Fault, When};
use testkit::{LiveRate, RedisServer, Truth, run_live, wait_until};

const CRASHES: u64 = 90;

/// The expected sets of epochs, by the producers' truth.
fn told(truth: &Truth) -> (BTreeSet<String>, BTreeSet<String>) {
    let of = |completed: bool| {
        let epochs = truth.epochs.iter().filter(|(_, epoch)| epoch.opened_at.is_some());
        let epochs = epochs.filter(|(_, epoch)| epoch.aggregated_batch_at.is_some() == completed);
        epochs.map(|(id, _)| id.to_string()).collect()
    };
    (of(true), of(false))
}

async fn members(connection: &mut MultiplexedConnection, key: &str) -> BTreeSet<String> {
    redis::cmd("SMEMBERS").arg(key).query_async(connection).await.expect("a set")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_index_stays_right_through_crashes_that_no_sibling_notices() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    for namespaced in [false, true] {
        let market = MARKETS[usize::from(namespaced)];
        let mut environment = environment(redis.addr());
        for (name, value) in [
            ("DATA_MARKET_ADDRESSES", market),
            ("STATE_TRACKER__INDEX__ENABLED", "true"),
            ("STATE_TRACKER__INDEX__NAMESPACED", if namespaced { "true" } else { "false" }),
            ("STATE_TRACKER__SUPERVISION__MAX_RESTARTS", "1000"),
            ("STATE_TRACKER__SUPERVISION__RESTART_WINDOW", "1s"),
            ("STATE_TRACKER__SUPERVISION__BACKOFF_FIRST", "1ms"),
            ("STATE_TRACKER__SUPERVISION__BACKOFF_MAX", "5ms"),
            // Every crash may charge the same message, which must not become a dead letter.
            ("STATE_TRACKER__MAILBOX__MAX_ATTEMPTS", "100"),
        ] {
            environment.insert(name.to_owned(), value.to_owned());
        }
        let service = service(&environment).await;
        wait_until("the subscription stands", SOON, async || {
            service.tree().failure_points().passages("listener::after_subscribe").0 > 0
        })
        .await;
        let siblings = generations_without(&service, "indexer");
        let rate = LiveRate {
            epoch_every: Duration::from_millis(100),
            submissions_per_epoch: 20,
            batch_delay: Duration::from_millis(50),
            ..LiveRate::default()
        };
        let mut config = producer(market);
        config.window = Duration::from_secs(1);
        let live = run_live(config, &redis.url(), rate).expect("producers");
        let points = service.tree().failure_points();
        for (place, fault) in
            [("indexer::before_commit", Fault::Panic), ("indexer::after_commit", Fault::Error)]
        {
            points.arm(place, "indexer", fault, When::Times(CRASHES / 2));
            wait_until(&format!("crashes at {place}"), 2 * SOON, async || {
                points.passages(place).1 == CRASHES / 2
            })
            .await;
        }
        let truth = live.finish().await.expect("producers end");
        assert!(truth.epochs_total() > 5, "the load was too small to mean anything");
        totals_reach(&redis, market, &truth).await;

        let name = |rest: &str| if namespaced { key(market, rest) } else { rest.to_owned() };
        let (completed, active) = told(&truth);
        wait_until("the index tells what the producers did", SOON, async || {
            members(&mut connection, &name("completed:epochs")).await == completed
                && members(&mut connection, &name("active:epochs")).await == active
        })
        .await;
        let finalizations: u64 = redis::cmd("ZCARD")
            .arg(name("metrics:finalizations:by_time"))
            .query_async(&mut connection)
            .await
            .expect("counted");
        assert_eq!(finalizations, truth.batches_total());
        assert_eq!(generations_without(&service, "indexer"), siblings, "a sibling was restarted");
        let mailbox = common::actor(&service, "indexer").mailbox.expect("it has one");
        assert!(mailbox.is_conserved() && mailbox.dropped + mailbox.dead_lettered == 0, "{mailbox:?}");
        assert_eq!(service.stop().await.left_behind, 0);
    }
}
