//! Connected peers in the whole service: senders over real sockets, readers with strict types of their own, and the file of the history.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;
#[path = "peers/history.rs"]
mod history;
#[path = "peers/hostile.rs"]
mod hostile;
#[path = "peers/import.rs"]
mod import;
#[path = "peers/kills.rs"]
mod kills;
#[path = "peers/long.rs"]
mod long;
#[path = "peers/network.rs"]
mod network;
#[path = "peers/page.rs"]
mod page;
#[path = "peers/polled.rs"]
mod polled;
#[path = "peers/redaction.rs"]
mod redaction;
#[path = "peers/scene.rs"]
mod scene;
#[path = "peers/security.rs"]
mod security;
#[cfg(feature = "demo")]
#[path = "peers/simulated.rs"]
mod simulated;

use serde::Deserialize;
use serde_json::json;
use supervision::fail::{Fault, When};
use testkit::wait_until;

use common::SOON;
use scene::{Scene, Sender, metrics, pool_status, proxy_status};

/// `/api/stats` of the proxy side, as the deployed dashboards read it.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProxyStats {
    ehash_balance: u64,
    upstream_pool: Option<Pool>,
    downstream_miners: Vec<Miner>,
    blockchain_network: String,
    timestamp: u64,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pool {
    address: String,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Miner {
    name: String,
    id: u32,
    address: String,
    hashrate: f64,
    shares_submitted: u64,
    connected_at: u64,
}

/// The same of the pool side.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct PoolStats {
    services: Vec<Service>,
    downstream_proxies: Vec<Proxy>,
    listen_address: String,
    timestamp: u64,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Service {
    service_type: ServiceType,
    address: String,
}

#[derive(Debug, PartialEq, Deserialize)]
enum ServiceType {
    Pool,
    Mint,
    JobDeclarator,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Proxy {
    id: u32,
    address: String,
    channels: Vec<u32>,
    shares_submitted: u64,
    quotes_created: u64,
    ehash_mined: u64,
    last_share_at: Option<u64>,
    work_selection: bool,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_the_first_picture_readers_get_503_and_empty_lists_in_the_shape_that_they_know() {
    let scene = Scene::start(&[]).await;
    for side in [scene.proxy_http(), scene.pool_http()] {
        assert_eq!(scene.json(side, "/api/stats").await, (503, json!({ "error": "no data available" })));
        assert_eq!(scene.json(side, "/api/miners").await, (200, json!({ "miners": [] })));
        assert_eq!(scene.json(side, "/api/services").await, (503, json!([])));
        assert_eq!(scene.json(side, "/api/connections").await, (503, json!([])));
        assert_eq!(scene.json(side, "/health").await, (503, json!({ "healthy": false, "stale": [] })));
        let (code, _) = scene.json(side, "/api/nothing").await;
        assert_eq!(code, 404);
    }
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_shape_split_at_any_byte_on_either_port_is_what_strict_readers_see() {
    let scene = Scene::start(&[]).await;
    // The pool's status arrives at the proxies' port, and the other way round: a status is taken by its shape.
    let mut proxy = Sender::connect(scene.pool_port()).await;
    let mut pool = Sender::connect(scene.proxy_port()).await;
    let miners = [(7, "rig-a", 1.5e12), (8, "rig-b", 2.5e12)];
    proxy.send_in_pieces(&proxy_status(&miners, "192.0.2.77:3333"), 3).await;
    pool.send(&format!("{}\r\n\r\n{}", pool_status(&[11, 12]), heartbeat())).await;
    let (_, read) = scene.until(scene.proxy_http(), "/api/stats", |code, _| code == 200).await;
    let stats: ProxyStats = serde_json::from_value(read).expect("a strict reader takes it");
    let names: Vec<_> =
        stats.downstream_miners.iter().map(|miner| (miner.id, miner.name.as_str(), miner.hashrate)).collect();
    assert_eq!(names, miners);
    assert!(stats.upstream_pool.is_some_and(|pool| pool.address.starts_with("peer-")));
    let declared = |read: &serde_json::Value| read["services"].as_array().is_some_and(|all| all.len() == 3);
    let (_, read) = scene.until(scene.pool_http(), "/api/stats", |_, read| declared(read)).await;
    let stats: PoolStats = serde_json::from_value(read).expect("a strict reader takes it");
    let types: Vec<_> = stats.services.iter().map(|service| &service.service_type).collect();
    assert_eq!(types, [&ServiceType::Pool, &ServiceType::Mint, &ServiceType::JobDeclarator]);
    assert_eq!(stats.downstream_proxies.iter().map(|proxy| proxy.id).collect::<Vec<_>>(), [11, 12]);
    // The bare arrays.
    let (code, services) = scene.json(scene.pool_http(), "/api/services").await;
    assert_eq!((code, services.as_array().map(Vec::len)), (200, Some(3)), "{services}");
    let (code, connections) = scene.json(scene.pool_http(), "/api/connections").await;
    assert_eq!((code, connections[1]["id"].as_u64()), (200, Some(12)), "{connections}");
    let (code, miners) = scene.json(scene.proxy_http(), "/api/miners").await;
    assert_eq!((code, miners["miners"][1]["name"].as_str()), (200, Some("rig-b")), "{miners}");
    // The enum form, in both taggings, replaces the picture as a whole.
    let own = |miner: &str| json!([{ "downstream_id": 9, "name": miner, "address": null, "hashrate": 5.0, "shares_submitted": 1, "connected_at": -5 }]);
    for (line, name) in [
        (json!({ "MinerSnapshot": { "miners": own("outer"), "timestamp": scene::now() } }), "outer"),
        (json!({ "type": "MinerSnapshot", "miners": own("inner"), "timestamp": scene::now() }), "inner"),
    ] {
        proxy.send(&line.to_string()).await;
        let shows = |read: &serde_json::Value| read["miners"][0]["name"] == name;
        let (_, read) = scene.until(scene.proxy_http(), "/api/miners", |_, read| shows(read)).await;
        assert_eq!(
            (read["miners"].as_array().map(Vec::len), &read["miners"][0]["connected_at"]),
            (Some(1), &json!(0))
        );
        // It is the newest for those who ask for statistics too.
        let (_, read) = scene.json(scene.proxy_http(), "/api/stats").await;
        let stats: ProxyStats = serde_json::from_value(read).expect("a strict reader takes it");
        assert_eq!(stats.downstream_miners.iter().map(|miner| &*miner.name).collect::<Vec<_>>(), [name]);
    }
    proxy.send(&json!({ "BalanceUpdate": { "balance": 77, "timestamp": scene::now() } }).to_string()).await;
    scene.until(scene.proxy_http(), "/api/stats", |_, read| read["ehash_balance"] == 77).await;
    let (code, health) = scene.json(scene.pool_http(), "/health").await;
    assert_eq!((code, health), (200, json!({ "healthy": true, "stale": [] })));
    scene.stop().await;
}

fn heartbeat() -> String {
    json!({ "listen_address": "192.0.2.99:4444", "timestamp": scene::now() }).to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_that_dies_leaves_empty_lists_with_200_and_its_staleness_and_one_that_comes_back_is_shown() {
    let scene = Scene::start(&[]).await;
    let mut sender = Sender::connect(scene.proxy_port()).await;
    // Pictures one second apart tell the interval, though they arrive at once.
    let start = scene::now() - 3;
    for second in 1..=3 {
        sender.send(&scene::proxy_status_at(&[(1, "rig", 1.0)], start + second)).await;
    }
    scene
        .until(scene.proxy_http(), "/api/miners", |_, read| {
            read["miners"].as_array().is_some_and(|all| all.len() == 1)
        })
        .await;
    drop(sender);
    let is_empty = |read: &serde_json::Value| read["miners"].as_array().is_some_and(Vec::is_empty);
    scene.until(scene.proxy_http(), "/api/miners", |code, read| code == 200 && is_empty(read)).await;
    let (code, read) = scene.json(scene.proxy_http(), "/api/stats").await;
    let stats: ProxyStats = serde_json::from_value(read).expect("a strict reader takes it");
    assert!(code == 200 && stats.downstream_miners.is_empty() && stats.upstream_pool.is_none());
    let (code, health) = scene.json(scene.proxy_http(), "/health").await;
    assert_eq!((code, health["stale"].as_array().map(Vec::len)), (503, Some(1)), "{health}");
    let mut again = Sender::connect(scene.proxy_port()).await;
    again.send(&proxy_status(&[(1, "rig", 1.0)], "192.0.2.1:1")).await;
    scene.until(scene.proxy_http(), "/api/miners", |_, read| !is_empty(read)).await;
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_come_and_go_leave_no_ghosts() {
    let most = ["CONNECTIONS", "CONNECTIONS_PER_ADDRESS"].map(|name| format!("STATE_TRACKER__PEERS__{name}"));
    let scene = Scene::start(&most.each_ref().map(|name| (name.as_str(), "200"))).await;
    // Each is gone before anybody has looked which connections are open.
    for id in 0..100 {
        let mut sender = Sender::connect(scene.proxy_port()).await;
        sender.send(&proxy_status(&[(id, "rig", 1.0)], "192.0.2.1:1")).await;
    }
    let is_empty = |read: &serde_json::Value| read["miners"].as_array().is_some_and(Vec::is_empty);
    scene.until(scene.proxy_http(), "/api/miners", |_, read| !is_empty(read)).await;
    // Their interval is not known: 10 seconds.
    scene.until(scene.proxy_http(), "/api/miners", |code, read| code == 200 && is_empty(read)).await;
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_of_a_sender_or_miner_is_nowhere() {
    let scene = Scene::start(&[]).await;
    let mut sender = Sender::connect(scene.proxy_port()).await;
    for _ in 0..3 {
        sender.send(&proxy_status(&[(1, "rig", 1.0)], "198.51.100.23:3333")).await;
        sender.send(&pool_status(&[3])).await;
        sender.send(&heartbeat()).await;
        sender.send(&metrics(&[(1, "rig", 60.0)], scene::now())).await;
        sender.send("198.51.100.23 is no message").await;
    }
    scene.until(scene.proxy_http(), "/api/miners", |_, read| read["miners"][0]["id"] == 1).await;
    scene.flushed().await;
    let mut texts = Vec::new();
    for side in [scene.proxy_http(), scene.pool_http()] {
        for path in
            ["/api/stats", "/api/miners", "/api/services", "/api/connections", "/health", "/api/balance"]
        {
            texts.push(common::get(side, path).await.1.into_bytes());
        }
    }
    let http = scene.service.http();
    texts.push(common::get(http.metrics_address(), "/metrics").await.1.into_bytes());
    for path in ["/health", "/crashes", "/dead-letters"] {
        texts.push(common::get(http.operator_address(), path).await.1.into_bytes());
    }
    for file in std::fs::read_dir(scene.folder.path()).expect("a folder") {
        texts.push(std::fs::read(file.expect("a file").path()).expect("read"));
    }
    let addresses = ["198.51.100.23", "192.0.2.99", "203.0.113.5"];
    for text in texts {
        for address in addresses {
            let found = text.windows(address.len()).any(|part| part == address.as_bytes());
            assert!(!found, "{address} in {}", String::from_utf8_lossy(&text));
        }
    }
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_of_a_connection_or_of_the_state_costs_that_connection_alone_and_no_picture_that_was_shown() {
    let scene = Scene::start(&[]).await;
    let mut one = Sender::connect(scene.proxy_port()).await;
    one.send(&proxy_status(&[(1, "rig", 1.0)], "192.0.2.1:1")).await;
    let one_miner = |read: &serde_json::Value| read["miners"].as_array().is_some_and(|all| all.len() == 1);
    scene.until(scene.proxy_http(), "/api/miners", |_, read| one_miner(read)).await;
    let points = scene.service.tree().failure_points();
    for point in ["peer_connection::after_read", "peer_state::before_swap", "peer_state::after_swap"] {
        let before = scene.restarts();
        points.arm(point, "", Fault::Panic, When::Times(1));
        let mut other = Sender::connect(scene.pool_port()).await;
        other.send(&pool_status(&[3])).await;
        wait_until(point, SOON, async || scene.restarts() > before).await;
        points.disarm(point);
        let (_, read) = scene.json(scene.proxy_http(), "/api/miners").await;
        assert!(one_miner(&read), "{point}: {read}");
        // Whatever crashed takes the next message.
        let mut next = Sender::connect(scene.pool_port()).await;
        next.send(&pool_status(&[3, 4])).await;
        scene
            .until(scene.pool_http(), "/api/connections", |_, read| {
                read.as_array().is_some_and(|all| all.len() == 2)
            })
            .await;
        next.send(&pool_status(&[3])).await;
    }
    scene.stop().await;
}
