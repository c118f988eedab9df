//! Applications of Stratum V2 that are polled: what is shown and measured of them, and what they can't do.

use std::time::Duration;

use serde_json::{Value, json};
use supervision::fail::{Fault, When};
use testkit::{Authority, SriAnswer, SriApp, SriChannel, SriClient, SriMiner, TlsFront, wait_until};

use super::{
    common::{self, SOON},
    scene::{Scene, Sender, metrics, now, pool_status, proxy_status},
};

const SOURCES: &str = "STATE_TRACKER__PEERS__SOURCES";

/// An application with a miner, a proxy, a client that says not what it is, and a miner of Stratum V1.
async fn application() -> SriApp {
    let app = SriApp::start().await.expect("a port");
    app.change(|state| {
        let mut miner = SriClient::new(1, "miner", vec![SriChannel::extended(1, "rig-a", 2e12)]);
        miner.management_ip = Some("198.51.100.77".to_owned());
        let channels = vec![SriChannel::extended(4, "farm", 5e12), SriChannel::standard(5, "farm", 3e12)];
        let proxy = SriClient::new(2, "translator_proxy", channels);
        let unknown = SriClient::new(3, "unknown", vec![SriChannel::standard(9, "rig-b", 1e12)]);
        state.clients = Some(vec![miner, proxy, unknown]);
        state.miners = Some(vec![SriMiner::new(1, "old-rig", "198.51.100.23", 7e12)]);
    });
    app
}

/// From now on, before each poll, each of these users has mined this work more.
fn mine(app: &SriApp, users: &'static [&'static str], work: f64) {
    app.answer(move |state, target, _| {
        if target.ends_with("/clients?offset=0&limit=100") {
            for user in users {
                state.channel(user).expect("a channel").mine(1, work);
            }
        }
        SriAnswer::Right
    });
}

async fn scene(app: &SriApp) -> Scene {
    Scene::start(&[(SOURCES, &format!("pool-a={};interval=1s", app.url()))]).await
}

fn names(read: &Value) -> Vec<&str> {
    let miners = read["miners"].as_array().expect("a list");
    miners.iter().filter_map(|miner| miner["name"].as_str()).collect()
}

fn polls(outcome: &str) -> String {
    format!("state_tracker_peers_polls_total{{outcome=\"{outcome}\"}}")
}

/// Waits until a metric has this value at least.
async fn reaches(scene: &Scene, name: &str, value: f64) {
    wait_until(name, SOON, async || scene.metric(name).await >= value).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_polled_application_is_shown_and_measured_beside_senders() {
    let app = application().await;
    mine(&app, &["rig-a", "farm"], 1.0);
    let scene = scene(&app).await;
    let mut sender = Sender::connect(scene.proxy_port()).await;
    sender.send(&proxy_status(&[(1, "pushed", 1.0)], "192.0.2.1:1")).await;
    let is_measured = |read: &Value| {
        names(read).len() == 4
            && read["miners"].as_array().is_some_and(|all| {
                all.iter()
                    .any(|miner| miner["name"] == "rig-a" && miner["measured_hashrate"].as_f64() > Some(0.0))
            })
    };
    let (_, read) = scene.until(scene.proxy_http(), "/api/miners", |_, read| is_measured(read)).await;
    let miner = |name: &str| {
        let all = read["miners"].as_array().expect("a list");
        all.iter().find(|miner| miner["name"] == name).unwrap_or_else(|| panic!("{name} in {read}")).clone()
    };
    // Work of 1 a second, about, and no rate of another client of its number.
    let rate = miner("rig-a")["measured_hashrate"].as_f64().expect("a rate") / 4_294_967_296.0;
    assert!((0.5..=2.0).contains(&rate), "{rate}");
    assert_eq!(miner("old-rig")["measured_hashrate"], Value::Null);
    assert_eq!(
        (&miner("rig-b")["measured_hashrate"], &miner("rig-b")["hashrate"]),
        (&json!(0.0), &json!(1e12_f32))
    );
    let old = miner("old-rig");
    assert_eq!(
        (&old["id"], &old["hashrate"], &old["source"]),
        (&json!(1), &json!(7e12_f32), &json!("pool-a"))
    );
    assert_eq!((&old["address"], &old["connected_at"]), (&Value::Null, &json!(0)));
    assert_eq!(miner("rig-a")["telemetry"]["model"], "M1");
    let (code, read) = scene.json(scene.pool_http(), "/api/connections").await;
    let proxy = &read[0];
    assert_eq!((code, read.as_array().map(Vec::len)), (200, Some(1)), "{read}");
    assert_eq!(
        (&proxy["id"], &proxy["connection_type"], &proxy["channels"]),
        (&json!(2), &json!("Translator"), &json!([4, 5]))
    );
    assert!(
        proxy["measured_hashrate"].as_f64() > Some(0.0) && proxy["hashrate"] == json!(8e12_f32),
        "{proxy}"
    );
    let (_, read) = scene.json(scene.pool_http(), "/api/sources").await;
    let source = &read["sources"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|one| one["source"] == "pool-a")
        .expect("shown")
        .clone();
    assert_eq!(
        (&source["monitored"], &source["is_stale"]),
        (&json!(["clients", "sv1_clients"]), &json!(false))
    );
    assert_eq!(
        scene.json(scene.proxy_http(), "/health").await,
        (200, json!({ "healthy": true, "stale": [] }))
    );
    // Both reach the history, apart.
    let path = format!("/api/history?from={}&to={}&source=pool-a", now() - 60, now() + 60);
    let both = |read: &Value| {
        read["points"].as_array().is_some_and(|all| {
            all.iter().any(|point| point["measured"].is_object() && point["declared"].is_object())
        })
    };
    let (_, read) = scene.until(scene.proxy_http(), &path, |_, read| both(read)).await;
    let all = read["points"].as_array().expect("points");
    let point = all
        .iter()
        .find(|point| point["measured"].is_object() && point["declared"].is_object())
        .expect("both");
    let declared = point["declared"]["highest"].as_f64().expect("a rate");
    assert!((declared / 18e12 - 1.0).abs() < 1e-6, "{declared}");
    let measured = point["measured"]["mean"].as_f64().expect("a rate") / 4_294_967_296.0;
    assert!((0.5..=4.0).contains(&measured), "{measured}");
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_that_is_away_leaves_no_ghosts_but_its_staleness_and_comes_back() {
    let mut app = application().await;
    let scene = scene(&app).await;
    reaches(&scene, &polls("picture"), 3.0).await;
    app.go_away();
    scene.until(scene.proxy_http(), "/api/miners", |code, read| code == 200 && names(read).is_empty()).await;
    let (code, read) = scene.json(scene.pool_http(), "/api/connections").await;
    assert_eq!((code, read), (200, json!([])));
    assert_eq!(
        scene.json(scene.pool_http(), "/health").await,
        (503, json!({ "healthy": false, "stale": ["pool-a"] }))
    );
    assert!(scene.metric(&polls("connection")).await > 0.0);
    app.come_back().await.expect("the same port");
    scene.until(scene.proxy_http(), "/api/miners", |_, read| names(read).len() == 3).await;
    scene.until(scene.pool_http(), "/health", |code, _| code == 200).await;
    // Who has left is gone with the next picture.
    app.change(|state| state.clients = Some(vec![]));
    scene.until(scene.proxy_http(), "/api/miners", |_, read| names(read) == ["old-rig"]).await;
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_poll_that_fails_empties_no_list() {
    let app = application().await;
    let scene = scene(&app).await;
    reaches(&scene, &polls("picture"), 3.0).await;
    for (answer, outcome) in [
        (SriAnswer::Body("{\"uptime_secs\": \"soon\"}".to_owned()), "unreadable"),
        (SriAnswer::Say(500, String::new()), "status"),
        (SriAnswer::Cut, "connection"),
        (SriAnswer::Huge(5 << 20), "too_large"),
    ] {
        let before = scene.metric(&polls(outcome)).await;
        let mut left = 1;
        app.answer(
            move |_, _, _| if std::mem::take(&mut left) == 1 { answer.clone() } else { SriAnswer::Right },
        );
        let name = polls(outcome);
        wait_until(&name, SOON, async || {
            let (code, read) = scene.json(scene.proxy_http(), "/api/miners").await;
            assert_eq!((code, names(&read).len()), (200, 3), "{outcome}: {read}");
            scene.metric(&name).await > before
        })
        .await;
        let pictures = scene.metric(&polls("picture")).await;
        wait_until("the next picture", SOON, async || {
            let (_, read) = scene.json(scene.proxy_http(), "/api/miners").await;
            assert_eq!(names(&read).len(), 3, "{outcome}: {read}");
            scene.metric(&polls("picture")).await > pictures
        })
        .await;
    }
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_that_hangs_or_lies_holds_up_no_other_source() {
    let (hanging, good) = (application().await, application().await);
    hanging.always(SriAnswer::Hang);
    let sources = format!("hanging={};interval=1s,good={};interval=1s", hanging.url(), good.url());
    let scene = Scene::start(&[(SOURCES, &sources)]).await;
    reaches(&scene, &polls("picture"), 3.0).await;
    scene.until(scene.proxy_http(), "/api/miners", |_, read| names(read).len() == 3).await;
    reaches(&scene, &polls("late"), 1.0).await;
    // A list that changes each time that it is read is shown, and marked.
    let mut last = 1_000;
    good.answer(move |state, target, _| {
        if target.contains("/clients?") {
            last += 1;
            let mut all: Vec<SriClient> = (0..150).map(|id| SriClient::new(id, "miner", vec![])).collect();
            all.extend((0..last % 7).map(|id| SriClient::new(200 + id, "miner", vec![])));
            state.clients = Some(all);
        }
        SriAnswer::Right
    });
    let is_marked = |read: &Value| read["sources"][0]["is_uncertain"] == true;
    scene.until(scene.proxy_http(), "/api/sources", |_, read| is_marked(read)).await;
    reaches(&scene, "state_tracker_peers_uncertain_polls_total", 1.0).await;
    let (_, read) = scene.json(scene.proxy_http(), "/api/miners").await;
    assert!(names(&read).len() >= 150);
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_of_the_application_no_work_is_joined_by_a_number() {
    let app = application().await;
    mine(&app, &["rig-a"], 1.0);
    let scene = scene(&app).await;
    let rate = async || {
        let (_, read) = scene.json(scene.proxy_http(), "/api/miners").await;
        let all = read["miners"].as_array().cloned().unwrap_or_default();
        let miner = all.into_iter().find(|miner| miner["name"] == "rig-a");
        miner.and_then(|miner| miner["measured_hashrate"].as_f64())
    };
    wait_until("a rate", SOON, async || rate().await.is_some()).await;
    // The same numbers and names, and a sum that is larger than before: only the uptime tells.
    app.change(|state| {
        state.restart();
        state.channel("rig-a").expect("a channel").mine(1, 1e9);
    });
    let before = scene.metric(&polls("picture")).await;
    wait_until("three pictures", SOON, async || {
        assert!(rate().await.is_none_or(|rate| rate < 1e6 * 4_294_967_296.0));
        scene.metric(&polls("picture")).await >= before + 3.0
    })
    .await;
    scene.flushed().await;
    let path = format!("/api/history?from={}&to={}&source=pool-a", now() - 60, now() + 60);
    let (_, read) = scene.json(scene.proxy_http(), &path).await;
    let highest = read["points"].as_array().expect("points").iter();
    let highest = highest.filter_map(|point| point["measured"]["highest"].as_f64()).fold(0.0, f64::max);
    assert!((0.0..1e6 * 4_294_967_296.0).contains(&highest), "{highest}");
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_of_an_application_or_of_its_miners_is_nowhere_unless_it_may_be_shown() {
    let addresses = ["198.51.100.23", "198.51.100.77"];
    let mut app = application().await;
    let own = app.addr().to_string();
    let scene = scene(&app).await;
    scene.until(scene.proxy_http(), "/api/miners", |_, read| names(read).len() == 3).await;
    scene.flushed().await;
    let mut texts = Vec::new();
    for path in ["/api/miners", "/api/connections", "/api/sources", "/health", "/api/stats"] {
        texts.push(common::get(scene.proxy_http(), path).await.1.into_bytes());
    }
    app.go_away();
    reaches(&scene, &polls("connection"), 1.0).await;
    let http = scene.service.http();
    texts.push(common::get(http.metrics_address(), "/metrics").await.1.into_bytes());
    for path in ["/health", "/crashes", "/dead-letters"] {
        texts.push(common::get(http.operator_address(), path).await.1.into_bytes());
    }
    for file in std::fs::read_dir(scene.folder.path()).expect("a folder") {
        texts.push(std::fs::read(file.expect("a file").path()).expect("read"));
    }
    for text in texts {
        for address in addresses.iter().chain([&&*own]) {
            let found = text.windows(address.len()).any(|part| part == address.as_bytes());
            assert!(!found, "{address} in {}", String::from_utf8_lossy(&text));
        }
    }
    scene.stop().await;
    app.come_back().await.expect("the same port");
    let source = format!("pool-a={};interval=1s", app.url());
    let open = Scene::start(&[(SOURCES, &source), ("STATE_TRACKER__PEERS__REDACT_IP", "false")]).await;
    let (_, read) = open.until(open.proxy_http(), "/api/miners", |_, read| names(read).len() == 3).await;
    for address in addresses {
        assert!(read.to_string().contains(address), "{address} in {read}");
    }
    open.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_of_a_polling_worker_costs_no_picture_that_was_shown() {
    let app = application().await;
    let scene = scene(&app).await;
    reaches(&scene, &polls("picture"), 3.0).await;
    let points = scene.service.tree().failure_points();
    let restarts = || scene.service.tree().health().iter().map(|actor| actor.restarts()).sum::<u64>();
    let before = restarts();
    points.arm("peer_poll::before_swap", "", Fault::Panic, When::Times(1));
    wait_until("a restart", SOON, async || {
        let (_, read) = scene.json(scene.proxy_http(), "/api/miners").await;
        assert_eq!(names(&read).len(), 3, "{read}");
        restarts() > before
    })
    .await;
    points.disarm("peer_poll::before_swap");
    let pictures = scene.metric(&polls("picture")).await;
    reaches(&scene, &polls("picture"), pictures + 2.0).await;
    scene.until(scene.pool_http(), "/health", |code, _| code == 200).await;
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_behind_tls_is_polled_with_the_authorities_of_its_file_alone() {
    let app = application().await;
    let authority = Authority::new("miners").expect("an authority");
    let front = TlsFront::start(&authority.server().expect("an identity"), app.addr()).await.expect("a port");
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, authority: &Authority| {
        let path = folder.path().join(name);
        std::fs::write(&path, authority.certificate()).expect("written");
        path.to_str().expect("a path").to_owned()
    };
    let own = file("own.pem", &authority);
    let other = file("other.pem", &Authority::new("others").expect("an authority"));
    let url = format!("https://{}", front.addr());
    let sources = format!("known={url};interval=1s;ca_file={own},stranger={url};interval=1s;ca_file={other}");
    let scene = Scene::start(&[(SOURCES, &sources)]).await;
    let (_, read) = scene.until(scene.proxy_http(), "/api/miners", |_, read| names(read).len() == 3).await;
    assert_eq!(read["miners"][0]["source"], "known");
    reaches(&scene, &polls("connection"), 1.0).await;
    let (_, read) = scene.json(scene.proxy_http(), "/api/sources").await;
    assert_eq!(read["sources"].as_array().map(Vec::len), Some(1), "{read}");
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_and_a_proxy_at_one_address_keep_what_each_of_them_measures() {
    let scene = Scene::start(&[]).await;
    let mut proxy = Sender::connect(scene.proxy_port()).await;
    let mut pool = Sender::connect(scene.pool_port()).await;
    proxy.send(&proxy_status(&[(1, "rig", 1.0)], "192.0.2.1:1")).await;
    pool.send(&pool_status(&[1])).await;
    proxy.send(&metrics(&[(1, "rig", 60.0)], now())).await;
    let measured = |read: &Value| read["measured_hashrate"].as_f64();
    let (work, hashes) = (|rate: f64| rate / 4_294_967_296.0, 4_294_967_296.0);
    scene
        .until(scene.proxy_http(), "/api/miners", |_, read| measured(&read["miners"][0]) == Some(hashes))
        .await;
    pool.send(&metrics(&[(1, "proxy", 180.0)], now()).replace("Translator", "Pool")).await;
    scene
        .until(scene.pool_http(), "/api/connections", |_, read| measured(&read[0]).map(work) == Some(3.0))
        .await;
    let (_, read) = scene.json(scene.proxy_http(), "/api/miners").await;
    assert_eq!(measured(&read["miners"][0]).map(work), Some(1.0), "{read}");
    scene.stop().await;
}

// A poll that takes long delays no stop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_waits_for_no_poll() {
    let app = application().await;
    app.always(SriAnswer::Hang);
    let scene = scene(&app).await;
    wait_until("a poll", SOON, async || app.count() > 0).await;
    tokio::time::timeout(Duration::from_secs(4), scene.stop()).await.expect("no poll is waited for");
}
