//! Redis as users run it: the whole service against each kind of real server, and its errors when it is refused.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;
#[path = "ways/doctor.rs"]
mod doctor;
#[path = "ways/failover.rs"]
mod failover;

use std::{collections::BTreeMap, path::PathBuf};

use common::{MARKETS, SOON, environment, key, producer, service, shown, written};
use redis::cmd;
use state_tracker::{config::Config, service::connect};
use tempfile::TempDir;
use testkit::{
    Authority, ClusterClient, MarketProducer, RedisCluster, RedisServer, Sentinels, Tls, Truth, wait_until,
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

/// The environment for the master of these sentinels.
fn by_sentinels(group: &Sentinels) -> Environment {
    let sentinels: Vec<String> = group.addrs().iter().map(ToString::to_string).collect();
    let mut environment = environment(group.master().addr());
    set(
        &mut environment,
        &[
            ("REDIS_SENTINELS", &sentinels.join(",")),
            ("REDIS_SENTINEL_MASTER", Sentinels::MASTER),
            ("REDIS_SENTINEL_PASSWORD", "other"),
            ("REDIS_PASSWORD", "secret"),
        ],
    );
    environment
}

/// The environment for a cluster, with one node named.
fn by_cluster(cluster: &RedisCluster) -> Environment {
    let mut environment = environment(cluster.addrs()[0]);
    environment.remove("REDIS_HOST");
    environment.remove("REDIS_PORT");
    set(&mut environment, &[("REDIS_CLUSTER", &cluster.addrs()[0].to_string())]);
    environment
}

/// Waits until the totals of a server's summary are what was written.
async fn reaches(server: &RedisServer, truth: &Truth) {
    let connection = server.connection().await.expect("a connection");
    wait_until("the totals are right", SOON, async || {
        let summary = common::summary(&mut connection.clone(), MARKETS[0]).await;
        summary.is_some_and(|summary| shown(&summary) == written(truth))
    })
    .await;
}

/// A dataset that a cluster holds.
async fn dataset(client: &mut ClusterClient, name: &str) -> Option<serde_json::Value> {
    let text: Option<String> = client.run(cmd("GET").arg(key(MARKETS[0], name))).await.ok()?;
    Some(serde_json::from_str(&text?).expect("JSON"))
}

/// The same on a cluster.
async fn reaches_on(client: &mut ClusterClient, truth: &Truth) {
    wait_until("the totals are right", SOON, async || {
        let summary = dataset(client, "dashboard:summary").await;
        summary.is_some_and(|summary| shown(&summary) == written(truth))
    })
    .await;
}

/// Checks that a reader of this server sees the totals that were written, before and after an event.
async fn serves(environment: &Environment, server: &RedisServer, market: &mut MarketProducer) {
    market.finish_epoch(1, 3).await.expect("written");
    let service = service(environment).await;
    let mut connection = server.connection().await.expect("a connection");
    for epoch in 2..4 {
        reaches(server, &market.truth()).await;
        market.finish_epoch(epoch, 3).await.expect("written");
        wait_until("the epoch is heard of", SOON, async || {
            let current = common::current_epoch(&mut connection.clone(), MARKETS[0]).await;
            current.is_some_and(|current| current["epoch_id"].as_str() == Some(&epoch.to_string()))
        })
        .await;
    }
    let _: () = cmd("PING").query_async(&mut connection).await.expect("it answers");
    service.stop().await;
}

/// Certificates of a private authority: the servers', and the client's as files.
struct Identity {
    tls: Tls,
    authority: Authority,
    folder: TempDir,
}

impl Identity {
    fn new() -> Self {
        let authority = Authority::new("ours").expect("an authority");
        let tls = Tls { asks_clients: true, ..authority.server().expect("a certificate") };
        Self { tls, authority, folder: tempfile::tempdir().expect("a folder") }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    }

    /// Makes the service use TLS with these certificates.
    fn enter(&self, environment: &mut Environment) {
        let (certificate, private) = self.authority.client().expect("a certificate");
        set(environment, &[("REDIS_TLS", "true")]);
        for (name, file, text) in [
            ("CA_FILE", "ca.pem", self.authority.certificate()),
            ("CERT_FILE", "cert.pem", certificate),
            ("KEY_FILE", "key.pem", private),
        ] {
            let path = self.file(file, &text).display().to_string();
            set(environment, &[(&format!("STATE_TRACKER__REDIS__{name}"), &path)]);
        }
    }
}

/// The refusal, as an operator reads it.
async fn refusal(environment: &Environment) -> String {
    let config = Config::load(None, environment.clone()).expect("an allowed configuration").config;
    let store = connect(&config).expect("settings that make a connection");
    state_tracker::remedy::line(&store.ping().await.expect_err("it is refused"))
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
    market.finish_epoch(1, 3).await.expect("written");
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
    let ours = Identity::new();
    let server = RedisServer::builder().tls(ours.tls.clone()).start().await.expect("a server");
    let other = ours.file("other.pem", &Authority::new("ours").expect("an authority").certificate());

    let mut environment = environment(server.addr());
    assert!(refusal(&environment).await.contains("whether it wants TLS"));
    set(
        &mut environment,
        &[("REDIS_TLS", "true"), ("STATE_TRACKER__REDIS__CA_FILE", &other.display().to_string())],
    );
    let stranger = refusal(&environment).await;
    assert!(stranger.contains("certificate") && stranger.contains("redis.ca_file"), "{stranger}");
    ours.enter(&mut environment);
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
