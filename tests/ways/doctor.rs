//! `doctor` with more than one Redis server: each node is examined, and findings name it.

use redis::cmd;
use state_tracker::{
    config::Config,
    doctor::{Report, Scope, Severity, examine},
};
use testkit::{MarketProducer, RedisCluster, RedisServer, Sentinels};

use super::{Environment, by_cluster, by_sentinels, reaches, reaches_on, set};
use crate::common::{self, MARKETS, SOON, have_settled, key, producer, service};

async fn examined(environment: &Environment) -> Report {
    let config = Config::load(None, environment.clone()).expect("an allowed configuration").config;
    let (markets, watch) = (config.tracker.markets.clone(), std::time::Duration::ZERO);
    let scope = Scope { config: &config, markets, time_limit: SOON, watch, findings: Vec::new() };
    examine(scope).await.expect("Redis answers")
}

/// Check and object of each finding, without notes.
fn found(report: &Report) -> Vec<(&'static str, String)> {
    let findings = report.findings.iter().filter(|finding| finding.severity != Severity::Note);
    let mut found: Vec<_> = findings.map(|finding| (finding.check, finding.object.clone())).collect();
    found.sort();
    found
}

/// Sets settings of a server while it runs.
async fn configure(server: &RedisServer, settings: &[(&str, &str)]) {
    let mut connection = server.connection().await.expect("a connection");
    for (name, value) in settings {
        cmd("CONFIG").arg(&["SET", name, value]).query_async::<()>(&mut connection).await.expect("set");
    }
}

const RECOMMENDED: [(&str, &str); 2] = [("appendfsync", "no"), ("appendonly", "yes")];
const EVICTING: [(&str, &str); 2] = [("maxmemory", "100mb"), ("maxmemory-policy", "allkeys-lru")];

/// One market is enough.
fn of_one_market(mut environment: Environment) -> Environment {
    set(&mut environment, &[("DATA_MARKET_ADDRESSES", MARKETS[0])]);
    environment
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_of_a_cluster_and_its_keys_are_examined() {
    let mut cluster = RedisCluster::start(3).await.expect("a cluster");
    let replica = cluster.replicate(1).await.expect("a replica");
    for node in 0..4 {
        configure(cluster.node(node), &RECOMMENDED).await;
    }
    let mut market = MarketProducer::to_cluster(producer(MARKETS[0]), cluster.client());
    market.finish_epoch(1, 3).await.expect("written");
    let environment = of_one_market(by_cluster(&cluster));
    let service = service(&environment).await;
    let mut client = cluster.client();
    reaches_on(&mut client, &market.truth()).await;
    have_settled(&service, MARKETS[0]).await;
    let healthy = examined(&environment).await;
    assert_eq!((found(&healthy), healthy.exit_code().code), (vec![], 0), "{:#?}", healthy.findings);
    let mut all = 0;
    for node in 0..3 {
        all += cluster.keys(node).await.expect("keys").len() as u64;
    }
    // A running service adds and removes keys; all nodes together have far more than any one node.
    assert!(healthy.keys.complete && healthy.keys.examined * 10 > all * 9, "{:?} of {all}", healthy.keys);
    service.stop().await;

    let addrs = cluster.addrs();
    let timeline = key(MARKETS[0], "metrics:epochs:timeline");
    client.run::<()>(cmd("DEL").arg(&timeline)).await.expect("deleted");
    client.run::<()>(cmd("RPUSH").arg(&timeline).arg("open:7")).await.expect("spoilt");
    configure(cluster.node(2), &EVICTING).await;
    configure(cluster.node(replica), &EVICTING).await;
    configure(cluster.node(0), &[("appendonly", "no")]).await;
    let mut wanted = vec![
        ("eviction", format!("{}: maxmemory-policy", addrs[2])),
        ("eviction", format!("{}: maxmemory-policy", addrs[replica])),
        ("persistence", format!("{}: appendonly", addrs[0])),
        ("wrong_type", timeline),
    ];
    wanted.sort();
    let report = examined(&environment).await;
    assert_eq!((found(&report), report.exit_code().code), (wanted, 4), "{:#?}", report.findings);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn master_replica_and_sentinels_are_examined() {
    let mut group = Sentinels::start(Some("secret"), Some("other")).await.expect("sentinels");
    for server in [group.master(), group.replica()] {
        configure(server, &RECOMMENDED).await;
    }
    let mut market =
        MarketProducer::to_server(producer(MARKETS[0]), group.master().client().expect("a client"));
    market.finish_epoch(1, 3).await.expect("written");
    let environment = of_one_market(by_sentinels(&group));
    let service = service(&environment).await;
    reaches(group.master(), &market.truth()).await;
    have_settled(&service, MARKETS[0]).await;
    let healthy = examined(&environment).await;
    assert_eq!((found(&healthy), healthy.exit_code().code), (vec![], 0), "{:#?}", healthy.findings);

    let (master, replica, silent) = (group.master().addr(), group.replica().addr(), group.addrs()[2]);
    configure(group.master(), &[("appendonly", "no")]).await;
    configure(group.replica(), &EVICTING).await;
    group.sentinels()[2].kill_hard().expect("killed");
    let wanted = vec![
        ("eviction", format!("{replica}: maxmemory-policy")),
        ("persistence", format!("{master}: appendonly")),
        ("sentinel", silent.to_string()),
    ];
    let report = examined(&environment).await;
    assert_eq!((found(&report), report.exit_code().code), (wanted, 4), "{:#?}", report.findings);
    // One sentinel of three can't agree on a failover, which the remaining one notices after a moment.
    group.sentinels()[1].kill_hard().expect("killed");
    let left = group.addrs()[0].to_string();
    testkit::wait_until("the last sentinel says so", SOON, async || {
        let report = examined(&environment).await;
        let mut findings = report.findings.iter();
        findings.any(|finding| finding.object == left && finding.problem.contains("NOQUORUM"))
    })
    .await;
    let summary =
        common::summary(&mut group.master().connection().await.expect("a connection"), MARKETS[0]).await;
    assert!(summary.is_some(), "the tracker goes on meanwhile");
    service.stop().await;
}
