//! What the fault proxy promises, in front of a real Redis.

#![allow(clippy::unwrap_used)] // A test that cannot be set up fails.

use std::time::Duration;

use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use testkit::{FaultProxy, ProxyCounts, RedisServer, wait_until};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(150);

async fn connect(server: &RedisServer, proxy: &FaultProxy) -> redis::RedisResult<MultiplexedConnection> {
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(LONG));
    redis::Client::open(server.url_at(proxy.addr()))?
        .get_multiplexed_async_connection_with_config(&config)
        .await
}

async fn set_up() -> (RedisServer, FaultProxy, MultiplexedConnection) {
    let server = RedisServer::start().await.unwrap();
    let proxy = FaultProxy::start(server.addr()).await.unwrap();
    let mut connection = connect(&server, &proxy).await.unwrap();
    let () = redis::cmd("PING").query_async(&mut connection).await.unwrap();
    proxy.reset_counts();
    (server, proxy, connection)
}

#[tokio::test]
async fn a_pipeline_of_100_commands_is_one_round_trip() {
    let (_server, proxy, mut connection) = set_up().await;
    let mut pipe = redis::pipe();
    for key in 0..100 {
        pipe.set(key, "value").ignore();
    }
    let () = pipe.query_async(&mut connection).await.unwrap();
    let counts = proxy.counts();
    assert_eq!((counts.round_trips, counts.commands, counts.connections), (1, 100, 0));
    assert_eq!(counts.command_names.get("SET"), Some(&100));
    assert_eq!(counts.bytes_to_client, 500, "100 times +OK");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_of_megabytes_is_one_round_trip() {
    let (_server, proxy, mut connection) = set_up().await;
    let binary: Vec<u8> = (0..1_003_u32).map(|byte| if byte % 7 == 0 { b'\r' } else { b'*' }).collect();
    for _ in 0..10 {
        let mut pipe = redis::pipe();
        for key in 0..3_000 {
            pipe.set(key, &binary).ignore();
        }
        let () = pipe.query_async(&mut connection).await.unwrap();
    }
    let counts = proxy.counts();
    assert_eq!((counts.round_trips, counts.commands), (10, 30_000), "{counts:?}");
    assert!(counts.direction_changes >= 10);
}

#[tokio::test]
async fn three_gets_one_after_another_are_three_round_trips() {
    let (_server, proxy, mut connection) = set_up().await;
    for _ in 0..3 {
        let _: Option<String> = connection.get("key").await.unwrap();
    }
    let counts = proxy.counts();
    assert_eq!((counts.round_trips, counts.direction_changes, counts.commands), (3, 3, 3));
    proxy.reset_counts();
    assert_eq!(proxy.counts(), ProxyCounts::default());
}

#[tokio::test]
async fn round_trips_of_a_subscriber_are_listed_apart() {
    let (server, proxy, mut connection) = set_up().await;
    let client = redis::Client::open(server.url_at(proxy.addr())).unwrap();
    let mut subscriber = client.get_async_pubsub().await.unwrap();
    subscriber.subscribe("state:change").await.unwrap();
    proxy.reset_counts();
    for _ in 0..5 {
        let _: u64 = connection.publish("state:change", "epoch:open:1").await.unwrap();
    }
    subscriber.subscribe("another").await.unwrap();
    let counts = proxy.counts();
    assert_eq!((counts.round_trips, counts.subscriber_round_trips), (5, 1));
    let subscribers: Vec<bool> = proxy.connections().iter().map(|connection| connection.subscriber).collect();
    assert_eq!(subscribers, [false, true]);
}

#[tokio::test]
async fn a_cut_closes_what_is_open_and_lets_new_connections_in() {
    let (server, proxy, mut connection) = set_up().await;
    proxy.cut();
    assert!(connection.get::<_, Option<String>>("key").await.is_err());
    wait_until("the end of the connection", LONG, async || proxy.open_connections() == 0).await;
    let mut connection = connect(&server, &proxy).await.unwrap();
    assert_eq!(connection.get::<_, Option<String>>("key").await.unwrap(), None);
    assert_eq!(proxy.counts().connections, 1);
}

#[tokio::test]
async fn a_refusing_proxy_refuses_new_connections_and_keeps_the_old() {
    let (server, proxy, mut connection) = set_up().await;
    proxy.refuse(true).await.unwrap();
    let refused = TcpStream::connect(proxy.addr()).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    assert_eq!(connection.get::<_, Option<String>>("key").await.unwrap(), None);
    proxy.refuse(false).await.unwrap();
    assert!(connect(&server, &proxy).await.is_ok());
}

#[tokio::test]
async fn a_black_hole_keeps_connections_open_silent_and_loses_nothing() {
    let (_server, proxy, mut connection) = set_up().await;
    proxy.blackhole(true);
    connection.set_response_timeout(SHORT);
    assert!(connection.set::<_, _, ()>("key", 1).await.unwrap_err().is_timeout());
    let mut silent = TcpStream::connect(proxy.addr()).await.unwrap();
    assert!(tokio::time::timeout(SHORT, silent.read_u8()).await.is_err(), "open and silent");
    proxy.blackhole(false);
    connection.set_response_timeout(LONG);
    assert_eq!(connection.get::<_, Option<u64>>("key").await.unwrap(), Some(1));
}

#[tokio::test]
async fn a_black_hole_can_be_cut() {
    let (_server, proxy, mut connection) = set_up().await;
    proxy.blackhole(true);
    proxy.cut();
    assert!(!connection.get::<_, Option<u64>>("key").await.unwrap_err().is_timeout());
}

#[tokio::test]
async fn a_delay_holds_back_each_direction() {
    let (_server, proxy, mut connection) = set_up().await;
    proxy.delay(Duration::from_millis(40));
    let started = std::time::Instant::now();
    let _: Option<u64> = connection.get("key").await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(80));
}

#[tokio::test]
async fn new_connections_go_to_the_new_upstream() {
    let (first, proxy, mut connection) = set_up().await;
    let second = RedisServer::start().await.unwrap();
    let () = second.connection().await.unwrap().set("key", 2).await.unwrap();
    proxy.set_upstream(second.addr());
    assert_eq!(connection.get::<_, Option<u64>>("key").await.unwrap(), None);
    let mut connection = connect(&first, &proxy).await.unwrap();
    assert_eq!(connection.get::<_, Option<u64>>("key").await.unwrap(), Some(2));
}

#[tokio::test]
async fn a_dead_upstream_closes_the_connection() {
    let (mut server, proxy, mut connection) = set_up().await;
    server.kill_hard().unwrap();
    assert!(!connection.get::<_, Option<u64>>("key").await.unwrap_err().is_timeout());
    wait_until("the end of the connection", LONG, async || proxy.open_connections() == 0).await;
}

#[tokio::test]
async fn a_dropped_proxy_closes_its_port_and_its_connections() {
    let (_server, proxy, mut connection) = set_up().await;
    let addr = proxy.addr();
    proxy.blackhole(true);
    drop(proxy);
    assert!(!connection.get::<_, Option<u64>>("key").await.unwrap_err().is_timeout());
    wait_until("the port to be closed", LONG, async || TcpStream::connect(addr).await.is_err()).await;
}

#[tokio::test]
async fn a_held_request_reaches_the_server_after_its_release_and_others_pass() {
    let (server, proxy, mut connection) = set_up().await;
    let mut other = connect(&server, &proxy).await.unwrap();
    proxy.hold_requests("SET");
    let set = tokio::spawn(async move { connection.set::<_, _, ()>("key", 1).await });
    wait_until("it is held", LONG, async || proxy.held() == 1).await;
    assert!(!other.exists::<_, bool>("key").await.unwrap());
    proxy.release();
    set.await.unwrap().unwrap();
    assert_eq!(other.get::<_, u64>("key").await.unwrap(), 1);
}

#[tokio::test]
async fn an_answer_that_is_held_belongs_to_what_the_server_has_done() {
    let (server, proxy, mut connection) = set_up().await;
    let mut other = connect(&server, &proxy).await.unwrap();
    proxy.hold_answers("SET");
    let set = tokio::spawn(async move { connection.set::<_, _, ()>("key", 1).await });
    wait_until("it is held", LONG, async || proxy.held() == 1).await;
    assert!(!set.is_finished());
    assert_eq!(other.get::<_, u64>("key").await.unwrap(), 1);
    proxy.release();
    set.await.unwrap().unwrap();
}

#[tokio::test]
async fn one_command_of_a_pipeline_or_transaction_is_refused_and_the_others_are_answered() {
    let redis = RedisServer::start().await.unwrap();
    let proxy = FaultProxy::start(redis.addr()).await.unwrap();
    let client = redis::Client::open(format!("redis://127.0.0.1:{}/0", proxy.port())).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    for atomic in [false, true] {
        let mut pipeline = redis::pipe();
        if atomic {
            pipeline.atomic();
        }
        pipeline.cmd("SET").arg("a").arg(1).cmd("INCR").arg("n").cmd("SET").arg("b").arg(2);
        proxy.refuse_command(Some("set"), 1, "OOM no memory");
        let error = pipeline.query_async::<Vec<redis::Value>>(&mut connection).await.unwrap_err();
        assert!(error.to_string().contains("OOM"), "{error}");
        let values: (Option<u64>, Option<u64>, Option<u64>) =
            redis::cmd("MGET").arg(&["a", "n", "b"]).query_async(&mut connection).await.unwrap();
        assert_eq!(values, (Some(1), Some(1), None), "atomic: {atomic}");
    }
    assert_eq!(proxy.refused_commands(), 2);
}
