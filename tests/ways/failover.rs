//! Masters that change and slots that move under a running service, in plain text and over TLS.

use std::time::Duration;

use redis::cmd;
use state_tracker::{config::Config, service::Service};
use testkit::{MarketProducer, RedisCluster, RedisServer, Sentinels, Truth, wait_until};
use tokio::time::Instant;

use super::{Environment, Identity, by_cluster, by_sentinels, dataset, reaches, reaches_on, refusal, set};
use crate::common::{self, MARKETS, PROTOCOL, SOON, have_settled, key, producer, service, shown, written};

/// Intervals too long to matter: whatever happens in time was caused by an event or a new subscription.
const NO_POLLING: [(&str, &str); 2] =
    [("STATE_TRACKER__INTERVALS__SUMMARY", "1h"), ("STATE_TRACKER__INTERVALS__CURRENT_EPOCH", "1h")];

/// How long it may take, once the servers have agreed on the new master, until the subscription is made and the
/// datasets are right: a command under way may use all of its timeout, then there is a pause, then a connection is
/// made.
fn limit(environment: &Environment) -> Duration {
    let redis = Config::load(None, environment.clone()).expect("an allowed configuration").config.redis;
    redis.command_timeout + redis.reconnect_max_interval + redis.connect_timeout
}

/// The number of subscribers at this server.
async fn listeners(server: &RedisServer) -> u64 {
    let mut connection = server.connection().await.expect("a connection");
    let mut ask = cmd("PUBSUB");
    let counted = ask.arg("NUMSUB").arg("state:change").query_async::<(String, u64)>(&mut connection);
    counted.await.expect("counted").1
}

/// The sum of a metric over its labels.
async fn metric(service: &Service, name: &str) -> f64 {
    common::metric(service.http().metrics_address(), name).await
}

fn is_no_crash(service: &Service) {
    let actors = service.tree().health();
    assert!(actors.iter().all(|actor| actor.generation == 1), "it is no crash: {actors:?}");
}

/// What was written before and after a failover.
fn both(before: Truth, after: &MarketProducer) -> Truth {
    let mut all = before;
    all.epochs.extend(after.truth().epochs);
    all
}

async fn survives_a_failover(group: &mut Sentinels, environment: &Environment) {
    let mut market =
        MarketProducer::to_server(producer(MARKETS[0]), group.master().client().expect("a client"));
    for epoch in 1..4 {
        market.finish_epoch(epoch, 3).await.expect("written");
    }
    let service = service(environment).await;
    reaches(group.master(), &market.truth()).await;
    group.replicated().await.expect("replicated");
    group.fail_over().await.expect("a new master");
    let mut later =
        MarketProducer::to_server(producer(MARKETS[0]), group.master().client().expect("a client"));
    for epoch in 4..6 {
        later.finish_epoch(epoch, 3).await.expect("written");
    }
    reaches(group.master(), &both(market.truth(), &later)).await;
    is_no_crash(&service);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failover_the_new_master_is_served_and_totals_are_what_was_written() {
    let mut group = Sentinels::start(Some("secret"), Some("other")).await.expect("sentinels");
    let mut environment = by_sentinels(&group);
    set(&mut environment, &[("REDIS_SENTINEL_MASTER", "nobody")]);
    let unknown = refusal(&environment).await;
    assert!(unknown.contains("redis.sentinel_master"), "{unknown}");
    let environment = by_sentinels(&group);
    survives_a_failover(&mut group, &environment).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_and_masters_that_talk_tls_and_ask_for_our_certificate_are_followed_too() {
    let ours = Identity::new();
    let group = Sentinels::start_with(Some("secret"), Some("other"), Some(&ours.tls)).await;
    let mut group = group.expect("sentinels");
    let mut environment = by_sentinels(&group);
    assert!(refusal(&environment).await.contains("the sentinel at"), "in plain text it is not let in");
    ours.enter(&mut environment);
    survives_a_failover(&mut group, &environment).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_moves_subscription_and_datasets_in_time_without_polling() {
    let mut group = Sentinels::start(Some("secret"), Some("other")).await.expect("sentinels");
    let mut environment = by_sentinels(&group);
    set(&mut environment, &NO_POLLING);
    let mut market =
        MarketProducer::to_server(producer(MARKETS[0]), group.master().client().expect("a client"));
    market.finish_epoch(1, 3).await.expect("written");
    let service = service(&environment).await;
    reaches(group.master(), &market.truth()).await;
    have_settled(&service, MARKETS[0]).await;
    // No interval updates the summary for this one; only the new subscription does.
    market.finish_epoch(2, 3).await.expect("written");
    let mut old = group.master().connection().await.expect("a connection");
    let summary = common::summary(&mut old, MARKETS[0]).await.expect("a summary");
    assert_ne!(shown(&summary), written(&market.truth()));

    group.replicated().await.expect("replicated");
    group.fail_over().await.expect("a new master");
    let agreed = Instant::now();
    wait_until("the subscription has moved", SOON, async || listeners(group.master()).await > 0).await;
    reaches(group.master(), &market.truth()).await;
    let (took, limit) = (agreed.elapsed(), limit(&environment));
    println!("subscription and datasets have moved {took:?} after the servers agreed, of {limit:?}");
    assert!(took < limit, "it took {took:?}, the limit is {limit:?}");

    have_settled(&service, MARKETS[0]).await;
    let [heard, gaps] = ["state_tracker_events_received_total", "state_tracker_subscription_gaps_total"];
    let before = [metric(&service, heard).await, metric(&service, gaps).await];
    let mut later =
        MarketProducer::to_server(producer(MARKETS[0]), group.master().client().expect("a client"));
    later.finish_epoch(3, 3).await.expect("written");
    let connection = group.master().connection().await.expect("a connection");
    wait_until("the event has caused a pass", SOON, async || {
        let current = common::current_epoch(&mut connection.clone(), MARKETS[0]).await;
        current.is_some_and(|current| current["epoch_id"] == "3")
    })
    .await;
    wait_until("the events are counted", SOON, async || metric(&service, heard).await > before[0]).await;
    assert_eq!(metric(&service, gaps).await.to_bits(), before[1].to_bits(), "by the same subscription");
    is_no_crash(&service);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_death_of_the_subscribed_node_moves_subscription_and_datasets() {
    let mut cluster = RedisCluster::start(3).await.expect("a cluster");
    let mut market = MarketProducer::to_cluster(producer(MARKETS[0]), cluster.client());
    let mut environment = by_cluster(&cluster);
    let nodes: Vec<String> = cluster.addrs().iter().map(ToString::to_string).collect();
    set(&mut environment, &NO_POLLING);
    set(&mut environment, &[("REDIS_CLUSTER", &nodes.join(","))]);
    market.finish_epoch(1, 3).await.expect("written");
    let service = service(&environment).await;
    reaches_on(&mut cluster.client(), &market.truth()).await;
    have_settled(&service, MARKETS[0]).await;
    // In a cluster one node publishes and another one is listened to.
    wait_until("the subscription is proven", SOON, async || {
        metric(&service, "state_tracker_subscription_proven").await > 0.0
    })
    .await;
    let mut heard_at = None;
    for node in 0..3 {
        if listeners(cluster.node(node)).await > 0 {
            heard_at = Some(node);
        }
    }
    let dying = heard_at.expect("one of the nodes is listened to");
    let heir = cluster.replicate(dying).await.expect("a replica");
    market.finish_epoch(2, 3).await.expect("written");
    let summary = dataset(&mut cluster.client(), "dashboard:summary").await.expect("a summary");
    assert_ne!(shown(&summary), written(&market.truth()));

    cluster.replicated(dying, heir).await.expect("replicated");
    cluster.node_mut(dying).kill_hard().expect("killed");
    cluster.inherited(heir).await.expect("the replica takes over");
    let agreed = Instant::now();
    reaches_on(&mut cluster.client(), &market.truth()).await;
    wait_until("another node is listened to", SOON, async || {
        for node in (0..4).filter(|node| *node != dying) {
            if listeners(cluster.node(node)).await > 0 {
                return true;
            }
        }
        false
    })
    .await;
    let (took, limit) = (agreed.elapsed(), limit(&environment));
    println!("subscription and datasets have moved {took:?} after the servers agreed, of {limit:?}");
    assert!(took < limit, "it took {took:?}, the limit is {limit:?}");

    have_settled(&service, MARKETS[0]).await;
    let heard = "state_tracker_events_received_total";
    let before = metric(&service, heard).await;
    let mut later = MarketProducer::to_cluster(producer(MARKETS[0]), cluster.client());
    later.finish_epoch(3, 3).await.expect("written");
    let mut client = cluster.client();
    wait_until("the event has caused a pass", SOON, async || {
        let current = dataset(&mut client, "metrics:current_epoch").await;
        current.is_some_and(|current| current["epoch_id"] == "3")
    })
    .await;
    wait_until("the events are counted", SOON, async || metric(&service, heard).await > before).await;
    is_no_crash(&service);
    service.stop().await;
}

async fn survives_a_resharding(cluster: &RedisCluster, environment: &Environment) {
    let mut market = MarketProducer::to_cluster(producer(MARKETS[0]), cluster.client());
    for epoch in 1..6 {
        market.finish_epoch(epoch, 3).await.expect("written");
    }
    let service = service(environment).await;
    let mut client = cluster.client();
    reaches_on(&mut client, &market.truth()).await;
    for node in 0..3 {
        assert!(!cluster.keys(node).await.expect("keys").is_empty(), "node {node} has keys");
    }
    let move_on = async |key: String| {
        let slot = cluster.slot(&key).await.expect("a slot");
        let owner = cluster.owner(slot).await.expect("an owner");
        cluster.move_slot(slot, (owner + 1) % 3).await.expect("moved");
    };
    for epoch in 6..12 {
        move_on(key(MARKETS[0], &format!("epoch:{epoch}:submissions:ids"))).await;
        market.finish_epoch(epoch, 3).await.expect("written");
    }
    move_on(format!("{{{PROTOCOL}:{}}}:tracker:open", MARKETS[0])).await;
    market.finish_epoch(12, 3).await.expect("written");
    reaches_on(&mut client, &market.truth()).await;
    is_no_crash(&service);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_served_while_its_slots_move() {
    let cluster = RedisCluster::start(3).await.expect("a cluster");
    survives_a_resharding(&cluster, &by_cluster(&cluster)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_with_mutual_tls_is_served_while_its_slots_move() {
    let ours = Identity::new();
    let cluster = RedisCluster::start_with(3, Some("secret"), Some(ours.tls.clone())).await;
    let cluster = cluster.expect("a cluster");
    let mut environment = by_cluster(&cluster);
    set(&mut environment, &[("REDIS_PASSWORD", "secret")]);
    assert!(refusal(&environment).await.contains("TLS"), "in plain text it is not let in");
    ours.enter(&mut environment);
    survives_a_resharding(&cluster, &environment).await;
}
