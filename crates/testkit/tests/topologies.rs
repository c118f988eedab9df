//! Private servers beyond a single plain one: TLS, a Unix socket, sentinels, a cluster.

use std::time::Duration;

use redis::{AsyncCommands, Client, TlsCertificates, cmd};
use testkit::{Authority, MarketProducer, ProducerConfig, RedisCluster, RedisServer, Sentinels};

#[tokio::test]
async fn a_server_with_tls_is_trusted_by_who_trusts_its_authority_and_by_nobody_else() {
    let authority = Authority::new("the one").unwrap();
    let server = RedisServer::builder().tls(authority.server().unwrap()).start().await.unwrap();
    let mut connection = server.connection().await.unwrap();
    let () = connection.set("key", 1).await.unwrap();
    let other = Authority::new("the one").unwrap().certificate().into_bytes();
    let other = TlsCertificates { client_tls: None, root_cert: Some(other) };
    let stranger = Client::build_with_tls(server.url(), other).unwrap();
    let error = stranger.get_multiplexed_async_connection().await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    let plain = Client::open(format!("redis://{}", server.addr())).unwrap();
    assert!(plain.get_multiplexed_async_connection().await.is_err());
}

#[tokio::test]
async fn a_server_that_asks_for_a_client_certificate_lets_in_who_has_one() {
    let authority = Authority::new("the one").unwrap();
    let tls = testkit::Tls { asks_clients: true, ..authority.server().unwrap() };
    let server = RedisServer::builder().tls(tls).start().await.unwrap();
    assert!(server.connection().await.is_ok());
    let anonymous =
        TlsCertificates { client_tls: None, root_cert: Some(authority.certificate().into_bytes()) };
    let anonymous = Client::build_with_tls(server.url(), anonymous).unwrap();
    let refused = match anonymous.get_multiplexed_async_connection().await {
        Ok(mut connection) => connection.get::<_, Option<u64>>("key").await.is_err(),
        Err(_) => true,
    };
    assert!(refused);
}

#[tokio::test]
async fn a_server_listens_on_its_socket_where_it_was_asked_to() {
    let server = RedisServer::builder().unix_socket().start().await.unwrap();
    let client = Client::open(format!("unix://{}", server.socket().display())).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let () = connection.set("key", 1).await.unwrap();
    assert_eq!(server.connection().await.unwrap().get::<_, u64>("key").await.unwrap(), 1);
}

#[tokio::test]
async fn sentinels_promote_the_replica_with_its_data_when_the_master_dies() {
    let mut group = Sentinels::start(Some("secret"), Some("other")).await.unwrap();
    let () = group.master().connection().await.unwrap().set("key", 1).await.unwrap();
    group.replicated().await.unwrap();
    let before = group.master().port();
    group.fail_over().await.unwrap();
    assert_ne!(group.master().port(), before);
    let mut connection = group.master().connection().await.unwrap();
    assert_eq!(connection.get::<_, u64>("key").await.unwrap(), 1);
    let () = connection.set("key", 2).await.unwrap();
}

#[tokio::test]
async fn a_client_of_a_cluster_finds_every_key_also_while_its_slot_moves() {
    let cluster = RedisCluster::start_with(3, Some("secret"), None).await.unwrap();
    let mut client = cluster.client();
    for key in 0..100 {
        let () = client.run(cmd("SET").arg(format!("key{key}")).arg(key)).await.unwrap();
    }
    for node in 0..3 {
        assert!(cluster.keys(node).await.unwrap().len() > 10, "node {node}");
    }
    let slot = cluster.slot("key7").await.unwrap();
    let (from, to) = (cluster.owner(slot).await.unwrap(), (cluster.owner(slot).await.unwrap() + 1) % 3);
    cluster.begin_move(slot, to).await.unwrap();
    let read = async |client: &mut testkit::ClusterClient| -> u64 {
        client.run(cmd("GET").arg("key7")).await.unwrap()
    };
    assert_eq!(read(&mut client).await, 7);
    assert_eq!(cluster.move_some_keys(slot, to, 10).await.unwrap(), 1);
    assert_eq!(read(&mut client).await, 7, "it is at the new node already");
    cluster.finish_move(slot, to).await.unwrap();
    assert_eq!(cluster.owner(slot).await.unwrap(), to);
    assert_ne!(from, to);
    assert_eq!(read(&mut client).await, 7);
}

#[tokio::test]
async fn producers_write_to_a_cluster_what_they_write_to_a_server() {
    let cluster = RedisCluster::start(3).await.unwrap();
    let server = RedisServer::start().await.unwrap();
    let config = ProducerConfig::new("0xP", "0xM");
    let mut scattered = MarketProducer::to_cluster(config.clone(), cluster.client());
    let mut whole = MarketProducer::to_server(config, server.client().unwrap());
    for producer in [&mut scattered, &mut whole] {
        producer.open_epoch(7, 1000).await.unwrap();
        producer.submit(7, 5, 1001).await.unwrap();
        producer.close_epoch(7, 1020).await.unwrap();
        producer.local_batch(7, 1021).await.unwrap();
        producer.aggregated_batch(7, &["validator1"], 1022).await.unwrap();
    }
    assert_eq!(scattered.truth(), whole.truth());
    let mut keys = std::collections::BTreeSet::new();
    for node in 0..3 {
        keys.extend(cluster.keys(node).await.unwrap());
    }
    let all: std::collections::BTreeSet<String> =
        cmd("KEYS").arg("*").query_async(&mut server.connection().await.unwrap()).await.unwrap();
    assert_eq!(keys, all);
}

#[tokio::test]
async fn a_node_that_joins_a_cluster_can_be_given_slots() {
    let mut cluster = RedisCluster::start(3).await.unwrap();
    let new = cluster.join().await.unwrap();
    let slot = cluster.slot("key").await.unwrap();
    cluster.move_slot(slot, new).await.unwrap();
    let mut client = cluster.client();
    let () = client.run(cmd("SET").arg("key").arg(1)).await.unwrap();
    assert_eq!(cluster.keys(new).await.unwrap().into_iter().collect::<Vec<_>>(), ["key"]);
    let mut connection = cluster.node(new).connection().await.unwrap();
    connection.set_response_timeout(Duration::from_secs(1));
    assert_eq!(connection.get::<_, u64>("key").await.unwrap(), 1);
}
