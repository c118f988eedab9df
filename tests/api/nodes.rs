//! The contract, which is asked for eligible counts that Redis lacks, while its nodes are there, away, or none.

use std::time::Duration;

use serde_json::json;
use testkit::{RedisServer, contents::query, wait_until, world::World};

use crate::{
    client::{Scene, TOKEN, body, post, seed, with_api},
    common::{SOON, following, service},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_eligible_count_that_redis_lacks_is_asked_of_the_contract_and_is_0_while_no_node_answers() {
    let world = World::new(5).await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let market = world.contracts.markets[0].clone();
    let set = async |day: u64, count: u64| {
        let set = world.anvil.set_slot_submissions(&world.contracts, &market, [42, day, count]).await;
        set.expect("the node takes it");
    };
    set(19, 190).await;
    set(18, 180).await;
    world.anvil.mine().await.expect("mined");
    let mut connection = redis.connection().await.expect("a connection");
    let keys = [
        ("CurrentDayKey", "", "20"),
        ("EligibleSlotSubmissionsKey", ".20.42", "7"),
        ("EligibleSlotSubmissionsKey", ".18.42", "8"),
    ];
    for (name, ids, value) in keys {
        let _: () = query(&mut connection, &["SET", &format!("{name}.{market}{ids}"), value]).await;
    }
    let service = service(&with_api(following(redis.addr(), &world))).await;
    let port = service.api().expect("it has a token").address();
    let request = json!({ "token": TOKEN, "dataMarketAddress": market, "slotID": 42, "pastDays": 4 });
    let eligible = async || {
        let answer = post(port, "/totalSubmissions", &request).await;
        let unknown = answer.header("x-eligible-unknown").map(str::to_owned);
        let days = answer.response();
        let counts = days.as_array().expect("a list").iter().map(|day| day["eligibleSubmissions"].as_u64());
        (counts.collect::<Option<Vec<_>>>().expect("numbers"), unknown)
    };
    let expected = (vec![7, 190, 8, 0], None);
    wait_until("the contract is asked", SOON, async || eligible().await == expected).await;

    world.anvil.pause().expect("paused");
    let began = std::time::Instant::now();
    assert_eq!(eligible().await, (vec![7, 0, 8, 0], Some("2".to_owned())));
    assert!(
        began.elapsed() < Duration::from_secs(9),
        "the time for the contract is limited: {:?}",
        began.elapsed()
    );
    world.anvil.resume().expect("resumed");
    wait_until("the contract is asked again", SOON, async || eligible().await == expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_nodes_redis_alone_answers() {
    let mut scene = Scene::new().await;
    seed(&mut scene).await;
    let answer = scene.post("/totalSubmissions", &body(&[("slotID", 42), ("pastDays", 3)])).await;
    assert_eq!(answer.header("x-eligible-unknown"), Some("1"));
    assert_eq!(answer.response()[2], json!({ "day": 18, "eligibleSubmissions": 0, "totalSubmissions": 0 }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_path_answers_while_no_node_can_be_reached() {
    let mut scene = Scene::with(&[("RPC_NODES", "http://127.0.0.1:2")]).await;
    seed(&mut scene).await;
    for (path, request) in crate::refusals::REQUESTS {
        assert_eq!(scene.post(path, &body(request)).await.status, 200, "{path}");
    }
}
