//! Servers that die while a chain is followed: with all that they had acknowledged, and without the last of it.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use redis::aio::MultiplexedConnection;
use testkit::{
    FaultProxy, RedisServer, Sentinels,
    contents::{assert_same, query},
    world::World,
};

use crate::{Process, followed, following, stop, undisturbed};

/// An address without a server.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);
/// More blocks than a window has.
const WINDOW: u64 = 100;

/// The jobs that finalizers find, which they take.
async fn take_all(connection: &mut MultiplexedConnection) -> Vec<String> {
    let mut taken = Vec::new();
    while let Some(job) = query::<Option<String>>(connection, &["RPOP", "finalizerQueue"]).await {
        taken.push(job);
    }
    taken
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_while_a_chain_is_followed_leaves_what_is_left_without_one() {
    let mut world = World::new(41).await;
    world.grow(150).await;
    let mut group = Sentinels::start(Some("secret"), Some("other")).await.expect("sentinels");
    let mut connection = group.master().connection().await.expect("a connection");
    world.collect(&mut connection, 0).await;
    let mut environment = following(group.master().addr(), &world);
    let sentinels: Vec<String> = group.addrs().iter().map(ToString::to_string).collect();
    for (name, value) in [
        ("REDIS_SENTINELS", sentinels.join(",")),
        ("REDIS_SENTINEL_MASTER", Sentinels::MASTER.to_owned()),
        ("REDIS_SENTINEL_PASSWORD", "other".to_owned()),
        ("REDIS_PASSWORD", "secret".to_owned()),
    ] {
        environment.insert(name.to_owned(), value);
    }
    let mut process = Process::start(&environment).await;
    followed(&mut connection, &world).await;
    let mut all = group.master().connection().await.expect("a connection");
    world.grow_collected(30, &mut all).await;
    group.replicated().await.expect("replicated");
    group.fail_over().await.expect("a new master");
    let mut connection = group.master().connection().await.expect("a connection");
    world.grow_collected(30, &mut connection).await;
    followed(&mut connection, &world).await;
    stop(&mut process).await;
    assert_same(&world.left(&mut connection).await, &undisturbed(&world).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_syncs_each_write_and_is_killed_loses_and_repeats_no_hand_over() {
    let mut world = World::new(42).await;
    world.grow(60).await;
    let redis = RedisServer::builder().append_only(true).arg("appendfsync", "always");
    let mut redis = redis.start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    world.collect(&mut connection, 0).await;
    let mut process = Process::start(&following(redis.addr(), &world)).await;
    let mut taken = Vec::new();
    for _ in 0..5 {
        let mut connection = redis.connection().await.expect("a connection");
        world.grow_collected(40, &mut connection).await;
        taken.extend(take_all(&mut connection).await);
        // Somewhere on the way.
        redis.kill_hard().expect("killed");
        redis.restart().await.expect("it starts again");
    }
    let mut connection = redis.connection().await.expect("a connection");
    followed(&mut connection, &world).await;
    taken.extend(take_all(&mut connection).await);
    stop(&mut process).await;
    let distinct: BTreeSet<&String> = taken.iter().collect();
    assert_eq!(distinct.len(), taken.len(), "no batch was queued twice");
    let expected = undisturbed(&world).await;
    let queued = expected.iter().filter(|(key, _)| key.starts_with("finalizerQueue of"));
    let queued: BTreeSet<&String> = queued.flat_map(|(_, content)| &content.words).collect();
    assert_eq!(distinct, queued);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_back_with_older_data_is_brought_up_to_the_chain_and_repeats_the_same_hand_overs()
{
    let mut world = World::new(43).await;
    world.grow(120).await;
    // It keeps what it is told to save, as one that syncs every second may keep what is a second old.
    let mut redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    world.collect(&mut connection, 0).await;
    let proxy = FaultProxy::start(redis.addr()).await.expect("a proxy");
    let mut process = Process::start(&following(proxy.addr(), &world)).await;
    followed(&mut connection, &world).await;
    let mut first = take_all(&mut connection).await;
    query::<()>(&mut connection, &["SAVE"]).await;
    let from = world.height().await;
    world.grow_collected(120, &mut connection).await;
    followed(&mut connection, &world).await;
    let lost = take_all(&mut connection).await;
    assert!(lost.len() > 5, "{lost:?}");
    redis.kill_hard().expect("killed");
    // Nobody reaches it until the collectors have written again what it has lost.
    proxy.set_upstream(NOWHERE);
    redis.restart().await.expect("it starts again");
    let mut connection = redis.connection().await.expect("a connection");
    world.collect(&mut connection, from.saturating_sub(WINDOW)).await;
    proxy.set_upstream(redis.addr());
    followed(&mut connection, &world).await;
    let again = take_all(&mut connection).await;
    stop(&mut process).await;
    let sorted = |jobs: &[String]| jobs.iter().cloned().collect::<BTreeSet<_>>();
    assert_eq!(sorted(&again), sorted(&lost), "what was lost is handed over once more, and the same");
    first.extend(again);
    let expected = undisturbed(&world).await;
    let queued = expected.iter().filter(|(key, _)| key.starts_with("finalizerQueue of"));
    let queued: BTreeSet<String> = queued.flat_map(|(_, content)| content.words.clone()).collect();
    assert_eq!(sorted(&first), queued);
}
