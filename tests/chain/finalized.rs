//! What the chain has finalised, in the state index.

use std::collections::BTreeSet;

use domain::Address;
use redis::aio::MultiplexedConnection;
use supervision::fail::{Fault, When};
use testkit::{Emission, RedisServer, contents::query, wait_until, world::World};

use crate::{SOON, following, service};

/// A submission's id in the index, and its key for the chain.
fn names(market: &str, project: &str, slot: u64) -> (String, String) {
    let cid = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWKPbdG";
    (format!("77-{project}-{slot}-{cid}"), format!("{}.77.{project}.{slot}", market.to_lowercase()))
}

async fn members(connection: &mut MultiplexedConnection, key: &str) -> BTreeSet<String> {
    query(connection, &["SMEMBERS", key]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn submissions_are_finalized_in_the_index_once_the_chain_has_finalised_all_batches_of_their_epoch() {
    let mut world = World::new(31).await;
    world.set_window(3).await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let mut environment = following(redis.addr(), &world);
    for (name, value) in [
        ("BATCH_SIZE", "1"),
        ("STATE_TRACKER__INDEX__ENABLED", "true"),
        ("STATE_TRACKER__INDEX__NAMESPACED", "true"),
        ("STATE_TRACKER__SUPERVISION__BACKOFF_FIRST", "1ms"),
    ] {
        environment.insert(name.to_owned(), value.to_owned());
    }
    let service = service(&environment).await;
    let points = service.tree().failure_points();
    for point in ["finalized_batches::before_read", "finalized_batches::after_send"] {
        points.arm(point, "", Fault::Panic, When::Nth(1));
    }
    let market = world.contracts.markets[0].clone();
    let [protocol, address] = [&world.contracts.protocol_state, &market].map(|it| Address::new(it));
    let space = format!("{}:{}", protocol.checksummed(), address.checksummed());
    wait_until("the subscription stands", SOON, async || points.passages("listener::after_subscribe").0 > 0)
        .await;
    // Two projects are in a batch each; the third one was rejected, and the fourth one is in no batch.
    let batched = [names(&market, "a", 1), names(&market, "b", 2), names(&market, "b", 3)];
    let rejected = names(&market, "a", 4);
    let left_out = names(&market, "c", 5);
    let mut told: Vec<String> = Vec::new();
    told.extend(batched.iter().map(|(id, _)| format!("submission:validated:{id}")));
    told.extend([
        format!("submission:rejected:{}", rejected.0),
        format!("submission:received:{}", left_out.0),
    ]);
    for payload in &told {
        let _: u64 = query(&mut connection, &["PUBLISH", &format!("{space}:state:change"), payload]).await;
    }
    wait_until("they are indexed", SOON, async || {
        members(&mut connection.clone(), &format!("{space}:epoch:77:submissions")).await.len() == 5
    })
    .await;
    world.emit(&market, &Emission::EpochReleased { epoch: 77, begin: 0, end: 1 }).await;
    world.mine().await;
    let (hash, ..) = world.anvil.block(world.height().await).await.expect("asked").expect("the head");
    let set = format!("SnapshotCollector.{}.77.{hash}", market.to_lowercase());
    let mut words = vec!["SADD", &set];
    words.extend(batched.iter().chain([&rejected]).map(|(_, key)| key.as_str()));
    let _: u64 = query(&mut connection, &words).await;
    for _ in 0..5 {
        world.mine().await;
    }
    let count = format!("BatchCountKey.{}.77", market.to_lowercase());
    wait_until("the batches are handed over", SOON, async || {
        query::<Option<u64>>(&mut connection.clone(), &["GET", &count]).await == Some(2)
    })
    .await;
    let finalized = format!("{space}:finalized:submissions");
    for (marker, cid, ids) in [("101", "one", &[][..]), ("102", "one", &[]), ("103", "two", &batched)] {
        let taken = || points.passages("finalized_batches::after_send").0;
        let before = taken();
        world.emit(&market, &Emission::BatchFinalized { epoch: 77, cid: cid.to_owned() }).await;
        world.mine().await;
        wait_until("it is told of", SOON, async || taken() > before).await;
        // The indexer takes messages in their order: what was sent before this one is written with it.
        let channel = format!("{space}:state:change");
        let _: u64 = query(&mut connection, &["PUBLISH", &channel, &format!("epoch:open:{marker}")]).await;
        wait_until("what was sent is indexed", SOON, async || {
            members(&mut connection.clone(), &format!("{space}:active:epochs")).await.contains(marker)
        })
        .await;
        let expected: BTreeSet<String> = ids.iter().map(|(id, _)| id.clone()).collect();
        assert_eq!(members(&mut connection, &finalized).await, expected, "after {marker}");
    }
    let of = |set: &str| format!("{space}:{set}:submissions");
    assert_eq!(members(&mut connection, &of("rejected")).await, [rejected.0].into());
    assert_eq!(members(&mut connection, &of("active")).await, [left_out.0].into());
    for point in ["finalized_batches::before_read", "finalized_batches::after_send"] {
        assert!(points.passages(point).1 > 0, "it has crashed at {point}");
    }
    service.stop().await;
}
