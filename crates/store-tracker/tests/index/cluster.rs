//! The index on a cluster, whose keys lie on every master.

use std::{collections::BTreeSet, time::Duration};

use domain::tracker::index::Quota;
use redis::{IntoConnectionInfo, cmd};
use store_redis::{RedisSettings, Servers, Store};
use store_tracker::{Index, IndexKeys, Indexed, Output};
use testkit::RedisCluster;

use crate::scene::{Indexing, NOW, WEEK, apply, changes, life, texts};

fn store(cluster: &RedisCluster) -> Store {
    let seeds = cluster.addrs().into_iter().map(|addr| format!("redis://{addr}/0"));
    let seeds = seeds.map(|url| url.into_connection_info().expect("a URL")).collect();
    Store::new(RedisSettings {
        servers: Servers::Cluster(seeds),
        certificates: None,
        address: "the cluster".to_owned(),
        pool_size: 4,
        connect_timeout: Duration::from_secs(5),
        command_timeout: Duration::from_secs(20),
        check_after: Duration::ZERO,
    })
    .expect("settings")
}

async fn keys(cluster: &RedisCluster) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for node in 0..3 {
        all.extend(cluster.keys(node).await.expect("keys"));
    }
    all
}

#[tokio::test]
async fn an_index_on_three_masters_is_the_same_and_keeps_its_quota() {
    let cluster = RedisCluster::start(3).await.expect("a cluster");
    let (store, index) = (store(&cluster), Index::new(IndexKeys::plain(&Output::default()), WEEK));
    let events = life();
    assert_eq!(apply(&store, &index, NOW, &texts(&events)).await, Indexed::default());
    let mut plain = Indexing::plain().await;
    plain.hear(NOW, &texts(&events)).await;
    assert_eq!(keys(&cluster).await, plain.keys().await.into_iter().collect());

    let quota = Quota { epochs: 20, submissions: 30, validators: 5 };
    let index = index.with_quota(quota);
    let tasks = [0, 1].map(|indexer: u64| {
        let (store, index) = (store.clone(), index.clone());
        tokio::spawn(async move {
            let mut refused = 0;
            for portion in 0..10 {
                let events: Vec<String> = (0..20)
                    .map(|at| at + 20 * (portion + 5 * indexer))
                    .flat_map(|at| {
                        [
                            format!("submission:received:{at}:{at}:p{at}:1:q"),
                            format!("batch:validator:v{at}:{at}"),
                        ]
                    })
                    .collect();
                refused += apply(&store, &index, NOW, &texts(&events)).await.refused;
            }
            refused
        })
    });
    for task in tasks {
        assert!(task.await.expect("it indexed") > 100);
    }
    let mut client = cluster.client();
    for (command, key, most) in [
        ("ZCARD", "metrics:epochs:by_time", quota.epochs),
        ("ZCARD", "metrics:submissions:by_time", quota.submissions),
        ("HLEN", "validators:last_seen", quota.validators),
    ] {
        let many: u64 = client.run(cmd(command).arg(key)).await.expect("counted");
        assert_eq!(many, most, "{key}");
    }
    let many = keys(&cluster).await.len() as u64;
    assert!(many <= quota.most_keys(), "{many}");

    let mut session = store.session(store_redis::Operation::new("test", "test")).await.expect("a session");
    index.apply(&mut session, &changes(NOW, &["epoch:closed:7"]), NOW).await.expect("indexed");
    assert_eq!(session.round_trips(), 4);
}
