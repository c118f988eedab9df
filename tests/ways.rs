//! Redis as users run it: the whole service against each kind of real server, and what it says when it is not let in.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::{collections::BTreeMap, path::PathBuf};

use common::{MARKETS, SOON, environment, key, producer, service, shown, written};
use redis::cmd;
use state_tracker::{config::Config, service::connect};
use testkit::{
    Authority, MarketProducer, RedisCluster, RedisServer, Sentinels, producers::unix_now, wait_until,
};

type Environment = BTreeMap<String, String>;

fn set(environment: &mut Environment, more: &[(&str, &str)]) {
    environment.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
}

/// An environment in which Redis is named by a URL.
fn by_url(server: &RedisServer, url: &str) -> Environment {
    let mut environment = environment(server.addr());
    set(&mut environment, &[("REDIS_URL", url)]);
    environment
}

async fn finish(market: &mut MarketProducer, epoch: u64) {
    let now = unix_now();
    market.open_epoch(epoch, now).await.expect("opened");
    market.submit(epoch, 3, now).await.expect("submitted");
    market.close_epoch(epoch, now).await.expect("closed");
    market.local_batch(epoch, now).await.expect("local batch");
    market.aggregated_batch(epoch, &["validator1"], now).await.expect("aggregated batch");
}

/// The service serves: a reader of this server sees the totals that were written, before and after an event.
async fn serves(environment: &Environment, server: &RedisServer, market: &mut MarketProducer) {
    finish(market, 1).await;
    let service = service(environment).await;
    let mut connection = server.connection().await.expect("a connection");
    for epoch in 2..4 {
        let truth = market.truth();
        wait_until("the totals are right", SOON, async || {
            let summary = common::summary(&mut connection.clone(), MARKETS[0]).await;
            summary.is_some_and(|summary| shown(&summary) == written(&truth))
        })
        .await;
        finish(market, epoch).await;
        wait_until("the epoch is heard of", SOON, async || {
            let current = common::current_epoch(&mut connection.clone(), MARKETS[0]).await;
            current.is_some_and(|current| current["epoch_id"].as_str() == Some(&epoch.to_string()))
        })
        .await;
    }
    let _: () = cmd("PING").query_async(&mut connection).await.expect("it answers");
    service.stop().await;
}

/// How the way is refused, as an operator reads it.
async fn refusal(environment: &Environment) -> String {
    let config = Config::load(None, environment.clone()).expect("an allowed configuration").config;
    let store = connect(&config).expect("settings that make a connection");
    store.ping().await.expect_err("it is refused").to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_a_password_is_served_by_who_knows_it() {
    let server = RedisServer::builder().password("se:c/ret").start().await.expect("a server");
    let mut market = MarketProducer::new(producer(MARKETS[0]), &server.url()).expect("producers");
    let mut environment = environment(server.addr());
    assert!(refusal(&environment).await.contains("check redis.username and redis.password"));
    set(&mut environment, &[("REDIS_PASSWORD", "wrong")]);
    assert!(refusal(&environment).await.contains("check redis.username and redis.password"));
    set(&mut environment, &[("REDIS_PASSWORD", "se:c/ret")]);
    serves(&environment, &server, &mut market).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_of_an_access_list_and_another_database_are_used() {
    let server = RedisServer::builder()
        .arg("user", "tracker on >secret ~* &* +@all -@dangerous +info")
        .start()
        .await
        .expect("a server");
    let url = format!("{}/5", server.url().trim_end_matches("/0").trim_end_matches('/'));
    let mut market = MarketProducer::new(producer(MARKETS[0]), &url).expect("producers");
    let mut environment = environment(server.addr());
    set(&mut environment, &[("REDIS_USERNAME", "tracker"), ("REDIS_PASSWORD", "secret"), ("REDIS_DB", "5")]);
    finish(&mut market, 1).await;
    let service = service(&environment).await;
    let mut connection = server.connection().await.expect("a connection");
    let _: () = cmd("SELECT").arg(5).query_async(&mut connection).await.expect("selected");
    let truth = market.truth();
    wait_until("the totals are right", SOON, async || {
        let summary = common::summary(&mut connection.clone(), MARKETS[0]).await;
        summary.is_some_and(|summary| shown(&summary) == written(&truth))
    })
    .await;
    let clients: String = cmd("CLIENT").arg("LIST").query_async(&mut connection).await.expect("listed");
    let of_tracker = clients.lines().filter(|line| line.contains("user=tracker")).count();
    assert!(of_tracker > 0 && clients.contains("lib-name=state-tracker") || of_tracker > 1, "{clients}");
    let _: () = cmd("SELECT").arg(0).query_async(&mut connection).await.expect("selected");
    let keys: u64 = cmd("DBSIZE").query_async(&mut connection).await.expect("counted");
    assert_eq!(keys, 0, "nothing is written to the default database");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_tls_is_trusted_by_its_own_authority_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let authority = Authority::new("ours").expect("an authority");
    let tls = testkit::Tls { asks_clients: true, ..authority.server().expect("a certificate") };
    let server = RedisServer::builder().tls(tls).start().await.expect("a server");
    let (cert, private) = authority.client().expect("a certificate");
    let (ca, cert, private) =
        (file("ca.pem", &authority.certificate()), file("cert.pem", &cert), file("key.pem", &private));
    let other = file("other.pem", &Authority::new("ours").expect("an authority").certificate());

    let mut environment = environment(server.addr());
    assert!(refusal(&environment).await.contains("whether it wants TLS"));
    set(
        &mut environment,
        &[("REDIS_TLS", "true"), ("STATE_TRACKER__REDIS__CA_FILE", &other.display().to_string())],
    );
    let stranger = refusal(&environment).await;
    assert!(stranger.contains("certificate") && stranger.contains("redis.ca_file"), "{stranger}");
    set(
        &mut environment,
        &[
            ("STATE_TRACKER__REDIS__CA_FILE", &ca.display().to_string()),
            ("STATE_TRACKER__REDIS__CERT_FILE", &cert.display().to_string()),
            ("STATE_TRACKER__REDIS__KEY_FILE", &private.display().to_string()),
        ],
    );
    let mut market = MarketProducer::to_server(producer(MARKETS[0]), server.client().expect("a client"));
    serves(&environment, &server, &mut market).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unix_socket_is_a_way_too() {
    let server = RedisServer::builder().unix_socket().start().await.expect("a server");
    let mut market = MarketProducer::new(producer(MARKETS[0]), &server.url()).expect("producers");
    let environment = by_url(&server, &format!("unix://{}", server.socket().display()));
    serves(&environment, &server, &mut market).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failover_the_new_master_is_served_and_totals_are_what_was_written() {
    let mut group = Sentinels::start(Some("secret"), Some("other")).await.expect("sentinels");
    let mut market = MarketProducer::new(producer(MARKETS[0]), &group.master().url()).expect("producers");
    let sentinels: Vec<String> = group.addrs().iter().map(ToString::to_string).collect();
    let mut environment = environment(group.master().addr());
    set(
        &mut environment,
        &[
            ("REDIS_SENTINELS", &sentinels.join(",")),
            ("REDIS_SENTINEL_MASTER", "nobody"),
            ("REDIS_SENTINEL_PASSWORD", "other"),
            ("REDIS_PASSWORD", "secret"),
        ],
    );
    let unknown = refusal(&environment).await;
    assert!(unknown.contains("redis.sentinel_master"), "{unknown}");
    set(&mut environment, &[("REDIS_SENTINEL_MASTER", Sentinels::MASTER)]);
    for epoch in 1..4 {
        finish(&mut market, epoch).await;
    }
    let service = service(&environment).await;
    let truth = market.truth();
    let reaches = async |server: &RedisServer, truth: &testkit::Truth| {
        let connection = server.connection().await.expect("a connection");
        wait_until("the totals are right", SOON, async || {
            let summary = common::summary(&mut connection.clone(), MARKETS[0]).await;
            summary.is_some_and(|summary| shown(&summary) == written(truth))
        })
        .await;
    };
    reaches(group.master(), &truth).await;
    group.replicated().await.expect("replicated");
    group.fail_over().await.expect("a new master");

    let mut later = MarketProducer::new(producer(MARKETS[0]), &group.master().url()).expect("producers");
    for epoch in 4..6 {
        finish(&mut later, epoch).await;
    }
    let mut all = truth;
    all.epochs.extend(later.truth().epochs);
    reaches(group.master(), &all).await;
    let actors = service.tree().health();
    assert!(actors.iter().all(|actor| actor.generation == 1), "a failover is no crash: {actors:?}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_served_while_its_slots_move() {
    let cluster = RedisCluster::start(3).await.expect("a cluster");
    let mut market = MarketProducer::to_cluster(producer(MARKETS[0]), cluster.client());
    let nodes: Vec<String> = cluster.addrs().iter().take(1).map(ToString::to_string).collect();
    let mut environment = environment(cluster.addrs()[0]);
    environment.remove("REDIS_HOST");
    environment.remove("REDIS_PORT");
    set(&mut environment, &[("REDIS_CLUSTER", &nodes.join(","))]);
    for epoch in 1..6 {
        finish(&mut market, epoch).await;
    }
    let service = service(&environment).await;
    let mut client = cluster.client();
    let mut reaches = async |truth: &testkit::Truth| {
        let deadline = tokio::time::Instant::now() + SOON;
        loop {
            let text: Option<String> =
                client.run(cmd("GET").arg(key(MARKETS[0], "dashboard:summary"))).await.expect("read");
            let summary = text.map(|text| serde_json::from_str(&text).expect("JSON"));
            if summary.as_ref().map(shown) == Some(written(truth)) {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "{summary:?}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    reaches(&market.truth()).await;
    for node in 0..3 {
        assert!(!cluster.keys(node).await.expect("keys").is_empty(), "node {node} has keys");
    }
    for epoch in 6..12 {
        let slot =
            cluster.slot(&key(MARKETS[0], &format!("epoch:{epoch}:submissions:ids"))).await.expect("a slot");
        let owner = cluster.owner(slot).await.expect("an owner");
        cluster.move_slot(slot, (owner + 1) % 3).await.expect("moved");
        finish(&mut market, epoch).await;
    }
    let ledger =
        cluster.slot(&format!("{{{}:{}}}:tracker:open", common::PROTOCOL, MARKETS[0])).await.expect("a slot");
    let owner = cluster.owner(ledger).await.expect("an owner");
    cluster.move_slot(ledger, (owner + 1) % 3).await.expect("the ledger is moved");
    finish(&mut market, 12).await;
    reaches(&market.truth()).await;
    let actors = service.tree().health();
    assert!(actors.iter().all(|actor| actor.generation == 1), "a resharding is no crash: {actors:?}");
    service.stop().await;
}
