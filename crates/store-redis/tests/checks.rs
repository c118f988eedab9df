//! The check of a connection before it is lent again, against a real Redis whose connections are cut.

#![allow(clippy::expect_used)] // A test that can not go on panics.

use std::time::Duration;

use redis::IntoConnectionInfo;
use store_redis::{Batch, RedisSettings, Store, StoreError, operations::PING_REDIS};
use testkit::{FaultProxy, RedisServer};

const SOON: Duration = Duration::from_secs(30);

async fn store(check_after: Duration) -> (RedisServer, FaultProxy, Store) {
    let redis = RedisServer::start().await.expect("a Redis server");
    let proxy = FaultProxy::start(redis.addr()).await.expect("a proxy");
    let address = proxy.addr().to_string();
    let store = Store::new(RedisSettings {
        servers: format!("redis://{address}").into_connection_info().expect("an address").into(),
        certificates: None,
        address,
        pool_size: 1,
        connect_timeout: SOON,
        command_timeout: SOON,
        check_after,
    });
    (redis, proxy, store.expect("a store"))
}

async fn one_read(store: &Store) -> Result<(), StoreError> {
    let mut session = store.session(PING_REDIS).await?;
    let mut batch = Batch::new();
    batch.cmd("EXISTS", "key");
    session.run(PING_REDIS, "key", batch).await.map(drop)
}

fn checks(proxy: &FaultProxy) -> u64 {
    proxy.counts().sent("PING")
}

#[tokio::test]
async fn a_connection_is_checked_before_it_is_lent_again_and_a_broken_one_is_replaced_unseen() {
    let (_redis, proxy, store) = store(Duration::ZERO).await;
    for _ in 0..5 {
        one_read(&store).await.expect("read");
    }
    assert_eq!(checks(&proxy), 4, "all but the new one");
    proxy.cut();
    one_read(&store).await.expect("read over another connection");
}

#[tokio::test]
async fn one_that_was_lent_recently_is_not_checked_and_fails_one_session_if_it_is_broken() {
    let (_redis, proxy, store) = store(Duration::from_secs(3_600)).await;
    for _ in 0..5 {
        one_read(&store).await.expect("read");
    }
    assert_eq!(checks(&proxy), 0);
    proxy.cut();
    one_read(&store).await.expect_err("the connection is broken");
    one_read(&store).await.expect("read over another connection");
}
