//! Following begins where another program has followed the chain before.

use testkit::{
    RedisServer,
    contents::{Contents, assert_same, query},
    world::World,
};

use crate::{
    reach_head,
    tracker::{Setup, Tracker},
    undisturbed,
};

/// What others read, without what is the tracker's own.
fn of_others(all: Contents, but: &str) -> Contents {
    all.into_iter().filter(|(key, _)| !key.starts_with("tracker:") && key != but).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_that_another_program_has_left_open_are_handed_over_once_and_what_it_has_handed_over_is_not()
{
    let mut world = World::new(22).await;
    world.grow(60).await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    world.collect(&mut connection, 0).await;
    // What is the tracker's own gone, this is what its predecessor leaves.
    let before = Tracker::start(&redis.url(), &world.anvil.url(), &world.contracts, Setup::default()).await;
    reach_head(&world, &before).await;
    before.stop().await;
    let own: Vec<String> = query(&mut connection, &["KEYS", "tracker:*"]).await;
    let mut delete = vec!["DEL"];
    delete.extend(own.iter().map(String::as_str));
    assert!(query::<u64>(&mut connection, &delete).await > 4);
    let market = world.contracts.markets[0].clone();
    let marked = format!("EpochMarkerSetKey.{market}");
    let open: u64 = query(&mut connection, &["SCARD", &marked]).await;
    assert!(open > 0, "no window is open");
    // It fell before it had removed the marker of an epoch that it had handed over.
    let handed: u64 = query(&mut connection, &["EXISTS", &format!("BatchCountKey.{market}.101")]).await;
    assert_eq!(handed, 1);
    query::<()>(&mut connection, &["SADD", &marked, "101"]).await;
    let details = format!("EpochMarkerDetailsKey.{market}.101");
    // And one was never more than a name.
    query::<()>(&mut connection, &["SADD", &marked, "nonsense"]).await;

    let start = world.height().await + 1;
    world.grow_collected(40, &mut connection).await;
    let setup = Setup { start, ..Setup::default() };
    let tracker = Tracker::start(&redis.url(), &world.anvil.url(), &world.contracts, setup).await;
    reach_head(&world, &tracker).await;
    let prepared = tracker.chain.progress.now().prepared[&market.parse().expect("an address")];
    assert_eq!(prepared.elsewhere, 1, "{prepared:?}");
    tracker.stop().await;
    query::<()>(&mut connection, &["SREM", &marked, "nonsense"]).await;
    let found = of_others(world.left(&mut connection).await, &details);
    assert_same(&found, &of_others(undisturbed(&world, Setup::default()).await, &details));
    // The day was asked of the contract, or the slots would lack what was submitted in the windows that were taken up.
    assert!(found.keys().any(|key| key.starts_with("SlotSubmissionsKey.")));
}
