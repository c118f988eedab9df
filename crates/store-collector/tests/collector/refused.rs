//! Writes that are refused as a whole: keys of another type, and another chain.

use redis::IntoConnectionInfo;
use store_collector::Outcome;
use store_redis::{ErrorKind, Store};
use testkit::RedisCluster;

use crate::common;
use crate::scene::{Chain, IDENTITY, MARKET, arranged, blocks, chain_store, day, released, submitted};

#[tokio::test]
async fn a_key_of_another_type_is_named_and_nothing_at_all_is_written() {
    let mut chain = Chain::with("", true).await;
    chain.accept(3, 0, vec![]).await;
    for key in [
        "BlockHashByNumberKey.5".to_owned(),
        format!("{MARKET}.CurrentEpochID"),
        format!("EpochMarkerSetKey.{MARKET}"),
        format!("EpochMarkerDetailsKey.{MARKET}.9"),
        "attestorQueue".to_owned(),
        "tracker:chain:undo".to_owned(),
        format!("tracker:chain:{MARKET}:windows"),
        format!("tracker:chain:{MARKET}:market"),
        "tracker:chain:checkpoint".to_owned(),
        "tracker:chain:identity".to_owned(),
    ] {
        let known = chain.load().await;
        let events = vec![released(MARKET, 9, 4), submitted(MARKET, 9, "cid", 4), day(MARKET, 2, 5)];
        let segment = blocks(&known.state, 5, 0, events);
        let after = known.state.apply(&segment, &chain.rules).expect("accepted");
        // The old value is put aside.
        let stood: bool = chain.scene.run("EXISTS", &key).await;
        if stood {
            chain.scene.run::<()>("RENAME", &[&key, "aside"]).await;
        }
        chain.scene.run::<()>("ZADD", &[&key, "1", "member"]).await;
        let before = chain.dump().await;
        let error = chain.commit(&known.basis, &after.effects).await.expect_err("refused");
        assert_eq!((error.kind, &error.object), (ErrorKind::WrongType, &key), "{error}");
        assert_eq!(chain.dump().await, before, "{key}");
        chain.scene.run::<()>("DEL", &key).await;
        if stood {
            chain.scene.run::<()>("RENAME", &["aside", &key]).await;
        }
    }
}

#[tokio::test]
async fn a_hand_over_is_whole_or_not_at_all_and_counters_that_hold_no_number_are_left() {
    let mut chain = Chain::new().await;
    chain.accept(3, 0, vec![day(MARKET, 2, 3)]).await;
    chain.submit(MARKET, 7, 6, 0, &[("a", 1), ("b", 2)]).await;
    chain.accept(17, 0, vec![released(MARKET, 7, 6)]).await;
    let closed = chain.closed(MARKET).await.pop().expect("one is closed");
    let arrangement = arranged(&closed, chain.inputs(&closed).await, 1);
    assert_eq!(arrangement.batches.len(), 2);
    for key in [
        "finalizerQueue".to_owned(),
        format!("BatchCountKey.{MARKET}.7"),
        format!("BatchSubmissionsKey.{MARKET}.7.2"),
        format!("EpochMarkerSetKey.{MARKET}"),
        format!("EpochMarkerDetailsKey.{MARKET}.7"),
        "tracker:chain:identity".to_owned(),
        "tracker:chain:version".to_owned(),
        format!("tracker:chain:{MARKET}:windows"),
        format!("tracker:chain:{MARKET}:market"),
        format!("tracker:chain:{MARKET}:version"),
        format!("tracker:chain:{MARKET}:ended"),
    ] {
        let stood: bool = chain.scene.run("EXISTS", &key).await;
        if stood {
            chain.scene.run::<()>("RENAME", &[&key, "aside"]).await;
        }
        chain.scene.run::<()>("ZADD", &[&key, "1", "member"]).await;
        let before = chain.dump().await;
        let error = chain.hand_over(&closed, &arrangement).await.expect_err("refused");
        assert_eq!((error.kind, &error.object), (ErrorKind::WrongType, &key), "{error}");
        assert_eq!(chain.dump().await, before, "{key}");
        chain.scene.run::<()>("DEL", &key).await;
        if stood {
            chain.scene.run::<()>("RENAME", &["aside", &key]).await;
        }
    }
    let broken = format!("SlotSubmissionsKey.{MARKET}.2.1");
    chain.scene.run::<()>("SET", &[&broken, "no number"]).await;
    let other = format!("SlotSubmissionsKey.{MARKET}.2.2");
    chain.scene.run::<()>("ZADD", &[&other, "1", "member"]).await;
    let Outcome::Done { faults } = chain.hand_over(&closed, &arrangement).await.expect("handed over") else {
        panic!("somebody else has changed it");
    };
    assert_eq!(faults.iter().map(|fault| &fault.key).collect::<Vec<_>>(), [&broken, &other]);
    assert_eq!(chain.scene.run::<String>("GET", &broken).await, "no number");
    assert_eq!(chain.scene.run::<u64>("ZCARD", &other).await, 1);
    assert_eq!(chain.scene.run::<u64>("LLEN", "finalizerQueue").await, 2);
}

#[tokio::test]
async fn what_is_of_another_chain_is_refused_and_not_touched() {
    let mut chain = Chain::new().await;
    chain.accept(3, 0, vec![]).await;
    let before = chain.dump().await;
    let other = chain_store("", "chain 2 contract 0xab", false);
    let error = other.load(&mut chain.session().await).await.expect_err("refused");
    assert_eq!(error.kind, ErrorKind::Foreign);
    assert!(error.to_string().contains(IDENTITY), "{error}");
    assert_eq!(chain.dump().await, before);
}

#[tokio::test]
async fn a_node_of_a_cluster_is_refused_though_it_was_named_as_a_single_server() {
    let cluster = RedisCluster::start(1).await.expect("a cluster");
    let store = Store::new(common::settings(cluster.node(0).addr())).expect("settings");
    let mut session = store.session(store_redis::Operation::new("test", "test")).await.expect("a session");
    let error = chain_store("", IDENTITY, false).load(&mut session).await.expect_err("refused");
    assert_eq!(error.kind, ErrorKind::Topology, "{error}");
    assert!(error.to_string().contains("a single server only"), "{error}");
}

#[tokio::test]
async fn a_server_that_takes_no_writes_is_an_error_and_never_done() {
    // A replica, and a server whose memory is full: the error, and the remedy.
    for (spoil, mend, kind, said) in [
        ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", ErrorKind::ReadOnly, "read only replica"),
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", ErrorKind::WritesRefused, "maxmemory"),
    ] {
        let mut chain = Chain::with("", true).await;
        chain.accept(3, 0, vec![]).await;
        let known = chain.load().await;
        let events = vec![released(MARKET, 9, 4), submitted(MARKET, 9, "cid", 4)];
        let segment = blocks(&known.state, 5, 0, events);
        let after = known.state.apply(&segment, &chain.rules).expect("accepted");
        let before = chain.dump().await;
        run(&mut chain, spoil).await;
        let error = chain.commit(&known.basis, &after.effects).await.expect_err("refused");
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.to_string().contains(said), "{error}");
        assert_eq!(chain.dump().await, before, "{spoil}");
        run(&mut chain, mend).await;
        let done = chain.commit(&known.basis, &after.effects).await.expect("written");
        assert_eq!(done, Outcome::Done { faults: vec![] });
        assert_eq!(chain.load().await.state, after.state);
    }
}

#[tokio::test]
async fn a_user_who_may_not_write_one_of_the_keys_writes_none() {
    let mut chain = Chain::new().await;
    chain.submit(MARKET, 7, 6, 0, &[("a", 1)]).await;
    chain.accept(17, 0, vec![released(MARKET, 7, 6)]).await;
    let closed = chain.closed(MARKET).await.pop().expect("one is closed");
    let arrangement = arranged(&closed, chain.inputs(&closed).await, 1);
    run(&mut chain, "ACL SETUSER weak on >word ~* &* +@all -lpush").await;
    let mut settings = common::settings(chain.scene.redis.addr());
    let url = format!("redis://weak:word@{}/0", chain.scene.redis.addr());
    settings.servers = url.into_connection_info().expect("a URL").into();
    let weak = Store::new(settings).expect("settings");
    let mut session = weak.session(store_redis::Operation::new("test", "test")).await.expect("a session");
    let before = chain.dump().await;
    let error = chain.hand_over_by(&mut session, &closed, &arrangement).await.expect_err("denied");
    assert_eq!((error.kind, error.object.as_str()), (ErrorKind::Denied, "finalizerQueue"), "{error}");
    assert_eq!(chain.dump().await, before);
}

#[tokio::test]
async fn a_user_who_may_not_read_one_key_of_a_transaction_is_denied() {
    let mut chain = Chain::new().await;
    chain.accept(3, 0, vec![]).await;
    run(&mut chain, "ACL SETUSER weak on >word ~* &* +@all -hgetall").await;
    let mut settings = common::settings(chain.scene.redis.addr());
    let url = format!("redis://weak:word@{}/0", chain.scene.redis.addr());
    settings.servers = url.into_connection_info().expect("a URL").into();
    let weak = Store::new(settings).expect("settings");
    let mut session = weak.session(store_redis::Operation::new("test", "test")).await.expect("a session");
    // The first command of the transaction is one that the user may send.
    let error = chain.chain.load(&mut session).await.expect_err("denied");
    assert_eq!(error.kind, ErrorKind::Denied, "{error}");
    assert!(error.to_string().contains("hgetall"), "{error}");
}

/// Runs a command given as one text.
async fn run(chain: &mut Chain, command: &str) {
    let words: Vec<&str> = command.split(' ').collect();
    chain.scene.run::<()>(words[0], &words[1..]).await;
}
