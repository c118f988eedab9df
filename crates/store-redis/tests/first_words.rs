//! What a server says before it closes a connection is told, and so is that it has no TLS.

#![allow(clippy::expect_used)] // A test that can not go on panics.

use std::{net::SocketAddr, time::Duration};

use redis::IntoConnectionInfo;
use store_redis::{ErrorKind, Operation, RedisSettings, Store};
use testkit::RedisServer;

fn store(redis: SocketAddr, scheme: &str) -> Store {
    let url = format!("{scheme}://localhost:{}/0", redis.port());
    let settings = RedisSettings {
        servers: url.into_connection_info().expect("a URL").into(),
        certificates: None,
        address: redis.to_string(),
        pool_size: 4,
        connect_timeout: Duration::from_secs(2),
        command_timeout: Duration::from_secs(20),
        check_after: Duration::ZERO,
    };
    Store::new(settings).expect("settings")
}

#[tokio::test]
async fn a_server_with_too_many_clients_is_quoted() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    redis::cmd("CONFIG")
        .arg(&["SET", "maxclients", "1"])
        .query_async::<()>(&mut connection)
        .await
        .expect("set");
    // Whether the first request can be written is a matter of chance.
    for _ in 0..50 {
        let error = store(redis.addr(), "redis").ping().await.expect_err("no client more");
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert!(error.to_string().contains("max number of clients reached"), "{error}");
    }
    for _ in 0..50 {
        let subscribed = store(redis.addr(), "redis").subscribe(vec!["state:change".to_owned()]).await;
        let error = subscribed.err().expect("no subscriber more");
        assert!(error.to_string().contains("max number of clients reached"), "{error}");
    }
    let error =
        store(redis.addr(), "redis").session(Operation::new("test", "test")).await.err().expect("none");
    assert!(error.to_string().contains("max number of clients reached"), "{error}");
}

#[tokio::test]
async fn a_server_without_tls_is_no_slow_one() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let error = store(redis.addr(), "rediss").ping().await.expect_err("no TLS");
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("did not answer the start of TLS"), "{error}");
}
