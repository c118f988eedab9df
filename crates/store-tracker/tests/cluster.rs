//! A market on a cluster: its keys are on every master, and passes continue while slots move and masters change.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::{collections::BTreeSet, time::Duration};

use common::{MARKET, NOW, PROTOCOL, Tracker, finished_epoch, key, ledger, written};
use domain::Address;
use redis::{ConnectionInfo, IntoConnectionInfo, Value, cmd};
use store_redis::{ErrorKind, RedisSettings, Servers};
use store_tracker::{MarketKeys, Reach, channels, forget_sealed, prune, prune_active};
use testkit::{ClusterClient, FaultProxy, MarketProducer, ProducerConfig, RedisCluster, wait_until};

const SOON: Duration = Duration::from_secs(20);

struct Scene {
    cluster: RedisCluster,
    client: ClusterClient,
    market: MarketProducer,
    tracker: Tracker,
}

impl Scene {
    /// Three masters with some epochs on them, finished and open ones.
    async fn new() -> Self {
        let cluster = RedisCluster::start(3).await.expect("a cluster");
        let mut market = MarketProducer::to_cluster(ProducerConfig::new(PROTOCOL, MARKET), cluster.client());
        for number in 0..4 {
            finished_epoch(&mut market, 100 + number, 3 + number, NOW - 60).await;
        }
        for number in 0..3 {
            market.open_epoch(200 + number, NOW - 10).await.expect("opened");
            market.submit(200 + number, 2, NOW - 5).await.expect("submitted");
        }
        let tracker = tracker(&cluster);
        Self { client: cluster.client(), tracker, market, cluster }
    }

    /// A pass over everything shows what was written.
    async fn is_right(&self, now: i64) {
        let shown = self.tracker.full(now).await;
        assert_eq!(shown.totals(), written(&self.market.truth()));
        assert_eq!(shown.pass.faults, []);
        assert_eq!(shown.written.faults, []);
    }

    /// Puts a proxy in front of each node, which tracker and producers use from now on.
    async fn behind_proxies(&mut self) -> Vec<FaultProxy> {
        let mut proxies = Vec::new();
        for number in 0..3 {
            let proxy = FaultProxy::start(self.cluster.addrs()[number]).await.expect("a proxy");
            let mut connection = self.cluster.node(number).connection().await.expect("a connection");
            let set: Value = cmd("CONFIG")
                .arg(&["SET", "cluster-announce-port", &proxy.port().to_string()])
                .query_async(&mut connection)
                .await
                .expect("announced");
            assert_eq!(set, Value::Okay);
            proxies.push(proxy);
        }
        let seed = format!("redis://{}/0", proxies[0].addr()).into_connection_info().expect("a URL");
        let ports: BTreeSet<i64> = proxies.iter().map(|proxy| i64::from(proxy.port())).collect();
        wait_until("all nodes announce their proxies", SOON, async || {
            for number in 0..3 {
                let mut connection = self.cluster.node(number).connection().await.expect("a connection");
                let slots: Vec<(i64, i64, Vec<Value>)> =
                    cmd("CLUSTER").arg("SLOTS").query_async(&mut connection).await.expect("slots");
                let seen = slots.iter().filter_map(|(_, _, node)| match node.get(1) {
                    Some(Value::Int(port)) => Some(*port),
                    _ => None,
                });
                if seen.collect::<BTreeSet<_>>() != ports {
                    return false;
                }
            }
            true
        })
        .await;
        self.tracker = Tracker::with(settings(vec![seed]), PROTOCOL, MARKET);
        proxies
    }

    async fn node_of(&self, key: &str) -> usize {
        let slot = self.cluster.slot(key).await.expect("a slot");
        self.cluster.owner(slot).await.expect("an owner")
    }

    async fn summary(&mut self) -> serde_json::Value {
        let text: String = self.client.run(cmd("GET").arg(key("dashboard:summary"))).await.expect("written");
        serde_json::from_str(&text).expect("JSON")
    }
}

fn seeds(cluster: &RedisCluster) -> Vec<ConnectionInfo> {
    let urls = cluster.addrs().into_iter().map(|addr| format!("redis://{addr}/0"));
    urls.map(|url| url.into_connection_info().expect("a URL")).collect()
}

fn settings(seeds: Vec<ConnectionInfo>) -> RedisSettings {
    RedisSettings {
        servers: Servers::Cluster(seeds),
        certificates: None,
        address: "the cluster".to_owned(),
        pool_size: 4,
        connect_timeout: Duration::from_secs(5),
        command_timeout: Duration::from_secs(20),
        check_after: Duration::ZERO,
    }
}

fn tracker(cluster: &RedisCluster) -> Tracker {
    Tracker::with(settings(seeds(cluster)), PROTOCOL, MARKET)
}

/// The slots in which the market has keys, the ledger's last.
async fn slots(cluster: &RedisCluster) -> Vec<u16> {
    let mut slots = BTreeSet::new();
    for node in 0..cluster.addrs().len() {
        for key in cluster.keys(node).await.expect("keys") {
            slots.insert(cluster.slot(&key).await.expect("a slot"));
        }
    }
    let of_ledger = cluster.slot(&ledger("sums")).await.expect("a slot");
    slots.remove(&of_ledger);
    slots.into_iter().chain([of_ledger]).collect()
}

#[tokio::test]
async fn a_market_on_three_masters_is_read_and_written_in_three_round_trips() {
    let scene = Scene::new().await;
    scene.is_right(NOW).await;
    // An epoch is sealed one pass after its end was seen: what is counted must be read after that.
    let shown = scene.tracker.full(NOW + 1).await;
    assert_eq!((shown.written.sealed, shown.totals()), (4, written(&scene.market.truth())));
    let mut all = BTreeSet::new();
    for node in 0..3 {
        let keys = scene.cluster.keys(node).await.expect("keys");
        let (own, others): (Vec<_>, Vec<_>) = keys.iter().partition(|key| key.contains(":tracker:"));
        assert!(others.len() >= 10, "node {node} has {others:?}");
        all.extend([own.is_empty()]);
    }
    assert_eq!(all.len(), 2, "the ledger lies on one of them");
    let mut session = scene.tracker.session().await;
    let pass = scene.tracker.look(&mut session, (NOW + 2) as f64, Reach::New).await.expect("read");
    let shown = scene.tracker.commit(&mut session, pass).await.expect("written");
    assert_eq!(shown.totals(), written(&scene.market.truth()));
    assert_eq!(session.round_trips(), 3);
}

#[tokio::test]
async fn each_node_sees_at_most_four_round_trips_a_pass() {
    let mut scene = Scene::new().await;
    let proxies = scene.behind_proxies().await;
    scene.is_right(NOW).await;
    for number in 0..40 {
        scene.market.open_epoch(300 + number, NOW).await.expect("opened");
    }
    for pass in 1..4 {
        proxies.iter().for_each(FaultProxy::reset_counts);
        let shown = scene.tracker.recent(NOW + pass).await;
        assert_eq!(shown.totals(), written(&scene.market.truth()));
        for (number, proxy) in proxies.iter().enumerate() {
            let counts = proxy.counts();
            assert!((3..=4).contains(&counts.round_trips), "node {number}: {counts:?}");
        }
    }
}

#[tokio::test]
async fn passes_in_the_middle_of_a_resharding_show_what_was_written() {
    let mut scene = Scene::new().await;
    scene.is_right(NOW).await;
    let slots = slots(&scene.cluster).await;
    let (of_ledger, of_producers) = slots.split_last().expect("slots");
    let mut now = NOW;
    // At the same time, every other slot of the producers' keys is being moved between two masters.
    let moving: Vec<u16> = of_producers.iter().copied().step_by(2).collect();
    assert!(moving.len() > 20, "{moving:?}");
    let mut targets = Vec::new();
    for (at, &slot) in moving.iter().enumerate() {
        let to = (scene.cluster.owner(slot).await.expect("an owner") + 1) % 3;
        scene.cluster.begin_move(slot, to).await.expect("begun");
        if at % 2 == 0 {
            scene.cluster.move_some_keys(slot, to, 10).await.expect("moved");
        }
        targets.push((slot, to));
    }
    for epoch in 0..3 {
        now += 1;
        finished_epoch(&mut scene.market, 400 + epoch, 5, now).await;
        let shown = scene.tracker.recent(now).await;
        assert_eq!(shown.totals(), written(&scene.market.truth()));
        assert_eq!((shown.pass.faults, shown.written.faults), (vec![], vec![]));
    }
    for (slot, to) in targets {
        while scene.cluster.move_some_keys(slot, to, 10).await.expect("moved") > 0 {}
        scene.cluster.finish_move(slot, to).await.expect("finished");
        now += 1;
        let shown = scene.tracker.recent(now).await;
        assert_eq!(shown.totals(), written(&scene.market.truth()));
    }
    // The ledger, its scripts and transactions, too.
    for _ in 0..3 {
        let to = (scene.cluster.owner(*of_ledger).await.expect("an owner") + 1) % 3;
        scene.cluster.move_slot(*of_ledger, to).await.expect("moved");
        now += 1;
        let shown = scene.tracker.recent(now).await;
        assert_eq!(shown.totals(), written(&scene.market.truth()));
    }
    // Redirections are remembered: no more round trips than without a resharding.
    let mut session = scene.tracker.session().await;
    let pass = scene.tracker.look(&mut session, now as f64, Reach::New).await.expect("read");
    scene.tracker.commit(&mut session, pass).await.expect("written");
    assert_eq!(session.round_trips(), 3);
    assert_eq!(scene.summary().await["submissions_total"], scene.market.truth().submissions_total());
}

#[tokio::test]
async fn a_pass_while_the_ledger_itself_is_halfway_waits_and_breaks_nothing() {
    let scene = Scene::new().await;
    scene.is_right(NOW).await;
    let slot = scene.cluster.slot(&ledger("sums")).await.expect("a slot");
    let to = (scene.cluster.owner(slot).await.expect("an owner") + 1) % 3;
    scene.cluster.begin_move(slot, to).await.expect("begun");
    assert_eq!(scene.cluster.move_some_keys(slot, to, 2).await.expect("moved"), 2);
    let error = scene.tracker.try_pass((NOW + 1) as f64, Reach::New).await.expect_err("it is halfway");
    assert_eq!(error.kind, ErrorKind::Loading, "{error}");
    assert!(error.kind.is_outage(), "it is waited for");
    while scene.cluster.move_some_keys(slot, to, 10).await.expect("moved") > 0 {}
    scene.cluster.finish_move(slot, to).await.expect("finished");
    scene.is_right(NOW + 2).await;
    // A pass that is under way while the rest arrives is right too.
    let back = (to + 1) % 3;
    scene.cluster.begin_move(slot, back).await.expect("begun");
    scene.cluster.move_some_keys(slot, back, 2).await.expect("moved");
    let (shown, ()) = tokio::join!(scene.tracker.full(NOW + 3), async {
        while scene.cluster.move_some_keys(slot, back, 10).await.expect("moved") > 0 {}
        scene.cluster.finish_move(slot, back).await.expect("finished");
    });
    assert_eq!(shown.totals(), written(&scene.market.truth()));
}

#[tokio::test]
async fn a_master_that_lacks_the_scripts_is_given_them_by_the_pass_that_needs_them() {
    let mut scene = Scene::new().await;
    scene.is_right(NOW).await;
    // One that joins later has never seen them.
    let new = scene.cluster.join().await.expect("a node");
    let slot = scene.cluster.slot(&ledger("sums")).await.expect("a slot");
    scene.cluster.move_slot(slot, new).await.expect("moved");
    for pass in 1..=2 {
        let shown = scene.tracker.recent(NOW + pass).await;
        assert_eq!(shown.totals(), written(&scene.market.truth()), "pass {pass}");
    }
    scene.is_right(NOW + 3).await;
}

#[tokio::test]
async fn a_master_whose_replica_takes_over_is_followed() {
    let mut scene = Scene::new().await;
    scene.is_right(NOW).await;
    let heir = scene.cluster.replicate(1).await.expect("a replica");
    scene.cluster.take_over(heir).await.expect("taken over");
    scene.is_right(NOW + 1).await;
    scene.cluster.node_mut(1).kill_hard().expect("killed");
    let shown = scene.tracker.recent(NOW + 2).await;
    assert_eq!(shown.totals(), written(&scene.market.truth()));
}

/// What the ledger counts as sealed: entries, submissions.
async fn sealed(client: &mut ClusterClient) -> (u64, u64) {
    let (mut entries, mut sums) = (cmd("HLEN"), cmd("HGET"));
    let entries = client.run(entries.arg(ledger("sealed"))).await.expect("read");
    let submissions: Option<u64> =
        client.run(sums.arg(ledger("sums")).arg("submissions")).await.expect("read");
    (entries, submissions.unwrap_or_default())
}

/// A pass seals four epochs; the node of the ledger, or that of the summary, dies before its part of the writes
/// arrives, after the other node has written its part.
async fn half_a_pass_is_written(ledger_dies: bool) {
    let mut scene = Scene::new().await;
    let (of_ledger, summary) = (scene.node_of(&ledger("sums")).await, key("dashboard:summary"));
    if scene.node_of(&summary).await == of_ledger {
        let slot = scene.cluster.slot(&summary).await.expect("a slot");
        scene.cluster.move_slot(slot, (of_ledger + 1) % 3).await.expect("moved");
    }
    let of_summary = scene.node_of(&summary).await;
    let proxies = scene.behind_proxies().await;
    scene.is_right(NOW).await;
    assert_eq!(sealed(&mut scene.client).await, (0, 0));
    let (dying, living) = if ledger_dies { (of_ledger, of_summary) } else { (of_summary, of_ledger) };
    let heir = scene.cluster.replicate(dying).await.expect("a replica");
    let mut session = scene.tracker.session().await;
    let pass = scene.tracker.look(&mut session, (NOW + 1) as f64, Reach::Everything).await.expect("read");
    scene.cluster.replicated(dying, heir).await.expect("replicated");
    proxies[dying].blackhole(true);
    let mut direct = scene.cluster.node(living).connection().await.expect("a connection");
    let (tracker, cluster) = (&scene.tracker, &mut scene.cluster);
    let (committed, ()) = tokio::join!(tracker.commit(&mut session, pass), async {
        wait_until("the other node has its part", SOON, async || {
            if ledger_dies {
                let text: String = cmd("GET").arg(&summary).query_async(&mut direct).await.expect("read");
                serde_json::from_str::<serde_json::Value>(&text).expect("JSON")["updated_at"] == NOW + 1
            } else {
                let mut count = cmd("HLEN");
                count.arg(ledger("sealed")).query_async::<u64>(&mut direct).await.expect("read") == 4
            }
        })
        .await;
        cluster.node_mut(dying).kill_hard().expect("killed");
        proxies[dying].cut();
        proxies[dying].blackhole(false);
    });
    let error = committed.expect_err("half of it is not written");
    let node = format!("the node at {}", proxies[dying].addr());
    assert!(error.kind.is_outage() && error.to_string().contains(&node), "{error}");
    drop(session);

    scene.cluster.usurp(heir).await.expect("the replica takes over");
    scene.client = scene.cluster.client();
    let written_by_then = if ledger_dies { (0, 0) } else { (4, 3 + 4 + 5 + 6) };
    assert_eq!(sealed(&mut scene.client).await, written_by_then);
    let tracker = &scene.tracker;
    wait_until("passes go on", SOON, async || {
        tracker.try_pass((NOW + 2) as f64, Reach::Everything).await.is_ok()
    })
    .await;
    for pass in 3..6 {
        scene.is_right(NOW + pass).await;
        assert_eq!(sealed(&mut scene.client).await, (4, 3 + 4 + 5 + 6), "each of them once");
        assert_eq!(scene.summary().await["submissions_total"], scene.market.truth().submissions_total());
    }
}

#[tokio::test]
async fn a_node_that_dies_after_the_ledger_and_before_the_datasets_doubles_nothing() {
    half_a_pass_is_written(false).await;
}

#[tokio::test]
async fn the_ledgers_node_that_dies_when_datasets_are_written_already_loses_nothing() {
    half_a_pass_is_written(true).await;
}

#[tokio::test]
async fn a_cluster_without_one_of_its_masters_is_waited_for() {
    let mut scene = Scene::new().await;
    scene.is_right(NOW).await;
    scene.cluster.node(1).connection().await.expect("a connection");
    scene.cluster.node_mut(1).pause().expect("hung");
    let mut quick = settings(seeds(&scene.cluster));
    quick.command_timeout = Duration::from_millis(300);
    quick.connect_timeout = Duration::from_millis(300);
    let tracker = Tracker::with(quick, PROTOCOL, MARKET);
    let error = tracker.try_pass((NOW + 1) as f64, Reach::Everything).await.expect_err("a master hangs");
    assert!(error.kind.is_outage(), "{error}");
    scene.cluster.node_mut(1).resume().expect("goes on");
    wait_until("passes go on", SOON, async || {
        tracker.try_pass((NOW + 2) as f64, Reach::Everything).await.is_ok()
    })
    .await;
    scene.is_right(NOW + 3).await;
}

#[tokio::test]
async fn events_of_any_node_are_heard_and_another_node_is_listened_to_when_one_dies() {
    let mut scene = Scene::new().await;
    let keys = MarketKeys::new(&Address::new(PROTOCOL), &Address::new(MARKET));
    let (mut subscriber, mut events) =
        scene.tracker.store.subscribe(channels(std::slice::from_ref(&keys))).await.expect("subscribed");
    let publish = async |node: &testkit::RedisServer, channel: &str, event: &str| {
        let mut connection = node.connection().await.expect("a connection");
        cmd("PUBLISH").arg(channel).arg(event).query_async::<i64>(&mut connection).await.expect("published");
    };
    for node in 0..3 {
        publish(scene.cluster.node(node), "state:change", &format!("epoch:open:{node}")).await;
    }
    publish(scene.cluster.node(0), &key("state:change"), "epoch:open:3").await;
    let mut heard = BTreeSet::new();
    while heard.len() < 4 {
        let event =
            tokio::time::timeout(SOON, events.next()).await.expect("heard in time").expect("connected");
        heard.insert(event.1.to_vec());
    }
    subscriber.ping().await.expect("alive");
    // Each new subscription tries another node, so at the latest the third finds one that lives.
    scene.cluster.node_mut(1).kill_hard().expect("killed");
    let mut subscribed = Vec::new();
    for _ in 0..3 {
        subscribed.extend(scene.tracker.store.subscribe(channels(std::slice::from_ref(&keys))).await.ok());
    }
    assert!(!subscribed.is_empty());
}

#[tokio::test]
async fn statistics_and_pruning_work_on_a_cluster() {
    let mut scene = Scene::new().await;
    scene.is_right(NOW).await;
    scene.is_right(NOW + 1).await;
    let hour = NOW - NOW % 3600;
    let hourly: String =
        scene.client.run(cmd("GET").arg(key(&format!("stats:hourly:{hour}")))).await.expect("written");
    let hourly: serde_json::Value = serde_json::from_str(&hourly).expect("JSON");
    assert_eq!(hourly["epochs"], scene.market.truth().epochs_total());
    let keys = MarketKeys::new(&Address::new(PROTOCOL), &Address::new(MARKET));
    let day = 86_400;
    let retention =
        store_tracker::Retention { timelines: day, priorities: 7 * day, sealed: 8 * day, active: Some(day) };
    let later = NOW as u64 + 9 * day;
    let mut session = scene.tracker.session().await;
    let mut removed = 0;
    for prunable in retention.of_market(&keys, "validator1", later) {
        while let more @ 1.. = prune(&mut session, &prunable, 500).await.expect("pruned") {
            removed += more;
        }
    }
    assert!(removed > 0);
    let left: u64 = scene.client.run(cmd("ZCARD").arg(key("metrics:epochs:timeline"))).await.expect("read");
    assert_eq!(left, 0);
    // Set and ledger lie on different nodes.
    let set = key("epochs:active");
    let before: u64 = scene.client.run(cmd("SCARD").arg(&set)).await.expect("read");
    let mut active = 0;
    for prunable in retention.of_active(&keys, later) {
        let pruned = prune_active(&mut session, &keys, &prunable.key, 0, prunable.before, 500).await;
        active += pruned.expect("pruned").1;
    }
    let left: u64 = scene.client.run(cmd("SCARD").arg(&set)).await.expect("read");
    assert_eq!((active, left), (4, before - 4), "the sealed ones");
    let (cursor, forgotten) =
        forget_sealed(&mut session, &keys, 0, later - 8 * day, 500).await.expect("forgotten");
    assert_eq!((cursor, forgotten), (0, 4));
}

#[tokio::test]
async fn new_ids_in_place_of_pruned_ones_are_found_on_a_cluster() {
    let mut scene = Scene::new().await;
    scene.is_right(NOW).await;
    scene.is_right(NOW + 1).await;
    let (keys, set) = (scene.tracker.market.keys(), key("epochs:active"));
    let mut session = scene.tracker.session().await;
    let later = (NOW + 86_400) as u64;
    let pruned = prune_active(&mut session, keys, &set, 0, later, 500).await;
    assert_eq!(pruned.expect("pruned").1, 4);
    // As many as have left, and without any other trace: the number of members is the same as before.
    let ids = ["901", "902", "903", "904"];
    scene.client.run::<()>(cmd("SADD").arg(&set).arg(&ids)).await.expect("added");
    let next = scene.tracker.look(&mut session, NOW as f64 + 2.0, Reach::New).await.expect("read");
    assert!(next.span.active, "the next pass reads the set");
    let full = scene.tracker.full(NOW + 3).await;
    let [_, epochs, _] = written(&scene.market.truth());
    assert_eq!(full.totals()[1], epochs.map(|epochs| epochs + 4));
}

#[tokio::test]
async fn a_node_that_is_taken_for_a_single_server_and_the_reverse_are_told_apart() {
    let scene = Scene::new().await;
    let mut single = settings(Vec::new());
    single.servers = seeds(&scene.cluster)[0].clone().into();
    let error = Tracker::with(single, PROTOCOL, MARKET)
        .try_pass(NOW as f64, Reach::Everything)
        .await
        .expect_err("a node");
    assert_eq!(error.kind, ErrorKind::Topology, "{error}");

    let server = testkit::RedisServer::start().await.expect("a server");
    let seed = server.url().into_connection_info().expect("a URL");
    let error = Tracker::with(settings(vec![seed]), PROTOCOL, MARKET)
        .store
        .session(store_redis::Operation::new("test", "test"))
        .await
        .err()
        .expect("a single server");
    assert_eq!(error.kind, ErrorKind::Topology, "{error}");
    assert!(error.to_string().contains("it is no node of a cluster"), "{error}");
}
