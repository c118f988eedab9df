//! Senders that do harm: each hurts its own connection or message alone, and is counted.

use serde_json::json;
use testkit::wait_until;

use super::{
    common::SOON,
    scene::{Scene, Sender, now, pool_status, proxy_status},
};

/// Waits until a metric has this value at least.
async fn reaches(scene: &Scene, name: &str, value: f64) {
    wait_until(name, SOON, async || scene.metric(name).await >= value).await;
}

fn dropped(reason: &str) -> String {
    format!("state_tracker_peers_dropped_lines_total{{reason=\"{reason}\"}}")
}

fn closed(reason: &str) -> String {
    format!("state_tracker_peers_closed_total{{reason=\"{reason}\"}}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_that_are_no_messages_are_counted_by_reason_and_the_connection_goes_on() {
    let scene = Scene::start(&[("STATE_TRACKER__PEERS__MAX_LINE_BYTES", "2000")]).await;
    let mut sender = Sender::connect(scene.proxy_port()).await;
    let miner = json!({ "downstream_id": 1, "name": "a", "address": null, "hashrate": 1.0, "shares_submitted": 1, "connected_at": 1 });
    let two = json!({ "MinerSnapshot": { "miners": [miner, miner], "timestamp": now() } }).to_string();
    let huge = proxy_status(&[(1, "rig", 1.0)], "a").replace("1.0", "1e999");
    let unknown = pool_status(&[]).replace("\"Mint\"", "\"Bank\"");
    for (line, reason) in [
        (b"\xff\xfe{}".to_vec(), "not_utf8"),
        (b"GET / HTTP/1.1".to_vec(), "syntax"),
        (b"{\"hashrate\": NaN}".to_vec(), "syntax"),
        (b"{}".to_vec(), "shape"),
        (b"{\"downstream_miners\": [], \"timestamp\": 1}".to_vec(), "missing_field"),
        (b"{\"listen_address\": 7, \"timestamp\": 1}".to_vec(), "wrong_type"),
        (huge.into_bytes(), "out_of_range"),
        (unknown.into_bytes(), "unknown_type"),
        (two.into_bytes(), "repeated_id"),
        (vec![b'x'; 3_000], "too_long"),
    ] {
        let name = dropped(reason);
        let before = scene.metric(&name).await;
        sender.raw(&line).await;
        sender.raw(b"\n").await;
        reaches(&scene, &name, before + 1.0).await;
    }
    sender.send(&proxy_status(&[(1, "rig", 1.0)], "192.0.2.1:1")).await;
    scene.until(scene.proxy_http(), "/api/miners", |_, read| read["miners"][0]["name"] == "rig").await;
    // An older picture of the same connection.
    let old = super::scene::proxy_status_at(&[], now() - 500);
    sender.send(&old).await;
    reaches(&scene, &dropped("older"), 1.0).await;
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_without_an_end_closes_its_connection_and_no_other() {
    let scene = Scene::start(&[("STATE_TRACKER__PEERS__MAX_LINE_BYTES", "2000")]).await;
    let mut good = Sender::connect(scene.proxy_port()).await;
    let mut endless = Sender::connect(scene.proxy_port()).await;
    endless.raw(&vec![b'x'; 9_000]).await;
    assert!(endless.is_closed().await);
    reaches(&scene, &closed("endless"), 1.0).await;
    good.send(&proxy_status(&[(1, "rig", 1.0)], "192.0.2.1:1")).await;
    scene.until(scene.proxy_http(), "/api/miners", |_, read| read["miners"][0]["name"] == "rig").await;
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_secret_as_the_first_line_nothing_is_read() {
    let scene = Scene::start(&[("STATE_TRACKER__PEERS__SECRET", "open sesame")]).await;
    for first in ["", "open", "open sesame!", "open sesam3", &proxy_status(&[(1, "rig", 1.0)], "a")] {
        let mut sender = Sender::connect(scene.proxy_port()).await;
        // An empty line is none.
        sender.send(if first.is_empty() { "\r" } else { first }).await;
        sender.send(&proxy_status(&[(1, "rig", 1.0)], "192.0.2.1:1")).await;
        assert!(sender.is_closed().await, "{first}");
    }
    let mut known = Sender::connect(scene.proxy_port()).await;
    known.send("open sesame").await;
    known.send(&proxy_status(&[(2, "known", 1.0)], "192.0.2.1:1")).await;
    let (_, read) =
        scene.until(scene.proxy_http(), "/api/miners", |_, read| read["miners"][0].is_object()).await;
    assert_eq!(read["miners"][0]["name"], "known");
    reaches(&scene, &closed("secret"), 5.0).await;
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_of_a_byte_now_and_then_is_closed_as_a_silent_one_is() {
    for (secret, reason) in [("", "silent"), ("open sesame", "secret")] {
        let settings =
            [("STATE_TRACKER__PEERS__SILENT_TIMEOUT", "1s"), ("STATE_TRACKER__PEERS__SECRET", secret)];
        let scene = Scene::start(&settings).await;
        let mut slow = Sender::connect(scene.proxy_port()).await;
        wait_until(reason, SOON, async || {
            slow.raw(b"{").await;
            scene.metric(&closed(reason)).await >= 1.0
        })
        .await;
        scene.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_beyond_the_limits_and_from_other_networks_are_refused() {
    let scene = Scene::start(&[
        ("STATE_TRACKER__PEERS__CONNECTIONS", "3"),
        ("STATE_TRACKER__PEERS__CONNECTIONS_PER_ADDRESS", "2"),
    ])
    .await;
    let mut open = Vec::new();
    for number in 0..2 {
        let mut sender = Sender::connect(scene.proxy_port()).await;
        sender.send(&proxy_status(&[(number, "rig", 1.0)], "192.0.2.1:1")).await;
        open.push(sender);
    }
    reaches(&scene, "state_tracker_peers_connections", 2.0).await;
    let mut third = Sender::connect(scene.proxy_port()).await;
    assert!(third.is_closed().await);
    reaches(&scene, &closed("too_many"), 1.0).await;
    // A place is free again once one has ended.
    open.pop();
    wait_until("a connection has ended", SOON, async || {
        scene.metric("state_tracker_peers_connections").await < 2.0
    })
    .await;
    let mut next = Sender::connect(scene.proxy_port()).await;
    next.send(&proxy_status(&[(9, "next", 1.0)], "192.0.2.1:1")).await;
    scene.until(scene.proxy_http(), "/api/miners", |_, read| read["miners"][0]["name"] == "next").await;
    scene.stop().await;

    let scene = Scene::start(&[("STATE_TRACKER__PEERS__NETWORKS", "10.0.0.0/8")]).await;
    let mut stranger = Sender::connect(scene.proxy_port()).await;
    assert!(stranger.is_closed().await);
    reaches(&scene, &closed("network"), 1.0).await;
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_connections_and_lines_holds_up_no_other_sender_and_nothing_grows() {
    let scene = Scene::start(&[("STATE_TRACKER__PEERS__CONNECTIONS_PER_ADDRESS", "64")]).await;
    let mut flood = Sender::connect(scene.proxy_port()).await;
    let lines = format!("{}\n", proxy_status(&[(1, "flood", 1.0)], "a")).repeat(200);
    let pouring = tokio::spawn(async move {
        for _ in 0..50 {
            flood.raw(lines.as_bytes()).await;
        }
    });
    for _ in 0..200 {
        drop(Sender::connect(scene.proxy_port()).await);
    }
    wait_until("another sender is shown", SOON, async || {
        // While all places are taken it is refused, and connects again.
        let mut good = Sender::connect(scene.pool_port()).await;
        good.send(&pool_status(&[5])).await;
        scene.json(scene.pool_http(), "/api/connections").await.1[0]["id"] == 5
    })
    .await;
    wait_until("ended connections leave", SOON, async || {
        scene.metric("state_tracker_peers_connections").await <= 2.0
            && scene.metric("state_tracker_peers_connections_waiting").await == 0.0
    })
    .await;
    pouring.abort();
    scene.stop().await;
}
