//! Simulated senders against the whole service: `simulate` as a user runs it.

use std::{collections::BTreeMap, net::SocketAddr};

use serde_json::Value;
use testkit::wait_until;

use super::{
    common::{SOON, run},
    scene::Scene,
};

/// Runs `simulate` until it ends: its lines.
async fn simulate(arguments: &[&str]) -> (Option<i32>, String, String) {
    run(&BTreeMap::new(), &[&["simulate"], arguments].concat()).await
}

fn number_before(text: &str, word: &str) -> u64 {
    let (before, _) = text.rsplit_once(word).unwrap_or_else(|| panic!("`{word}` is missing in\n{text}"));
    let digits = before.rsplit(|character: char| !character.is_ascii_digit()).next();
    digits
        .and_then(|digits| digits.parse().ok())
        .unwrap_or_else(|| panic!("no number before `{word}` in\n{text}"))
}

/// Waits until so many sources have miners; their numbers of miners.
async fn miners(scene: &Scene, sources: usize) -> BTreeMap<String, usize> {
    let by_source = |read: &Value| {
        let mut all = BTreeMap::new();
        for miner in read["miners"].as_array().into_iter().flatten() {
            *all.entry(miner["source"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
        all
    };
    let is_there = |read: &Value| by_source(read).len() == sources;
    let (_, read) = scene.until(scene.proxy_http(), "/api/miners", |_, read| is_there(read)).await;
    by_source(&read)
}

const ALL: [(&str, &str); 1] = [("STATE_TRACKER__PEERS__CONNECTIONS", "12")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn simulated_proxies_and_pools_are_shown_and_measured_each_as_a_sender_of_its_own() {
    let scene = Scene::start(&ALL).await;
    let [proxies, pools] = [scene.proxy_port(), scene.pool_port()].map(|port: SocketAddr| port.to_string());
    let common = ["--every", "500ms", "--seed", "7", "--stays", "0s"];
    let of = |more: &[&'static str]| -> Vec<&'static str> { [&common[..], more].concat() };
    let (of_miners, of_pool) = (
        [&["miners", "--to", &proxies][..], &of(&["--senders", "3", "--miners", "4", "--for", "4s"])]
            .concat(),
        [&["pool", "--to", &pools][..], &of(&["--proxies", "6", "--for", "4s"])].concat(),
    );
    let look = async {
        let by_source = miners(&scene, 3).await;
        assert_eq!(by_source.into_values().collect::<Vec<_>>(), [4, 4, 4]);
        let measured = |read: &Value| {
            let all = read["miners"].as_array();
            all.is_some_and(|all| all.iter().all(|miner| miner["measured_hashrate"].as_f64() > Some(1e12)))
        };
        scene.until(scene.proxy_http(), "/api/miners", |_, read| measured(read)).await;
        let six = |read: &Value| read.as_array().is_some_and(|all| all.len() == 6);
        scene.until(scene.pool_http(), "/api/connections", |_, read| six(read)).await;
        let three = |read: &Value| read.as_array().is_some_and(|all| all.len() == 3);
        scene.until(scene.pool_http(), "/api/services", |_, read| three(read)).await;
    };
    let (miners, pool, ()) = tokio::join!(simulate(&of_miners), simulate(&of_pool), look);
    for (code, out, errors) in [&miners, &pool] {
        assert_eq!((*code, errors.as_str()), (Some(0), ""), "{out}");
        assert_eq!(out.lines().count(), 2, "{out}");
        assert!(out.contains("(--seed 7)") && out.contains(" skipped since a newer one was there"), "{out}");
    }
    let (_, out, _) = miners;
    let pictures = number_before(&out, " pictures in ");
    assert!((12..=30).contains(&pictures), "{out}");
    // A status and metrics each; all of them left.
    assert_eq!(number_before(&out, " messages "), 2 * pictures, "{out}");
    let left = number_before(&out, " were sent") + number_before(&out, " skipped");
    assert_eq!(left, 2 * pictures, "{out}");
    assert!(number_before(&out, " connections") >= 3, "{out}");
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn simulated_senders_that_misbehave_are_counted_and_tell_the_secret() {
    let scene = Scene::start(&[
        ("STATE_TRACKER__PEERS__SECRET", "open sesame"),
        ("STATE_TRACKER__PEERS__MAX_LINE_BYTES", "20000"),
    ])
    .await;
    let file = scene.folder.path().join("secret");
    std::fs::write(&file, "open sesame\n").expect("written");
    let (to, file) = (scene.proxy_port().to_string(), file.to_str().expect("a path").to_owned());
    let metric = |name: &str| format!("state_tracker_peers_{name}");
    for (fault, name) in [
        ("garbage", metric("dropped_lines_total{reason=\"syntax\"}")),
        ("lies", metric("clock_total")),
        ("nan", metric("dropped_lines_total{reason=\"out_of_range\"}")),
        ("repeated-ids", metric("dropped_lines_total{reason=\"repeated_id\"}")),
        ("endless", metric("closed_total{reason=\"endless\"}")),
    ] {
        let before = scene.metric(&name).await;
        let arguments = [
            "miners",
            "--to",
            &to,
            "--senders",
            "2",
            "--miners",
            "3",
            "--every",
            "200ms",
            "--seed",
            "1",
            "--secret-file",
            &file,
            "--fault",
            fault,
            "--for",
            "3s",
        ];
        let (code, out, errors) = simulate(&arguments).await;
        assert_eq!((code, errors.as_str()), (Some(0), ""), "{out}");
        assert!(out.contains("each of the last 1 "), "{out}");
        wait_until(&name, SOON, async || scene.metric(&name).await > before).await;
    }
    // The well-behaved one was shown each time, and told the secret.
    assert_eq!(scene.metric(&metric("closed_total{reason=\"secret\"}")).await, 0.0);
    assert!(scene.metric(&metric("messages_total{kind=\"proxy_status\"}")).await >= 5.0);
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_simulated_application_is_polled_shown_and_measured() {
    let listen = format!("127.0.0.1:{}", super::common::free_port().await);
    let sources = format!("pool-a=http://{listen};interval=1s");
    let scene = Scene::start(&[("STATE_TRACKER__PEERS__SOURCES", &sources)]).await;
    let look = async {
        let is_measured = |read: &Value| {
            let all = read["miners"].as_array().filter(|all| all.len() == 30);
            let rate = |miner: &Value| miner["measured_hashrate"].as_f64().unwrap_or_default();
            all.is_some_and(|all| all.iter().map(rate).sum::<f64>() > 1e14)
        };
        scene.until(scene.proxy_http(), "/api/miners", |_, read| is_measured(read)).await;
    };
    let arguments =
        ["sri", "--listen", &listen, "--clients", "30", "--stays", "0s", "--seed", "1", "--for", "8s"];
    let ((code, out, errors), ()) = tokio::join!(simulate(&arguments), look);
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{out}");
    // Each poll asks for the clients and for each one's channels.
    assert!(out.contains("--seed 1") && number_before(&out, " requests came") > 60, "{out}");
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_simulated_is_said_before_anything_is_sent() {
    for (arguments, code, said) in [
        (&["miners", "--to", "nowhere"][..], 1, "give it as HOST:PORT"),
        (&["miners", "--to", "127.0.0.1:1", "--senders", "1000", "--miners", "10000"], 1, "ask for fewer"),
        (&["miners", "--to", "127.0.0.1:1", "--secret-file", "/dev/null"], 1, "the secret must be one line"),
        (&["miners", "--to", "127.0.0.1:1", "--fault", "sleeps"], 2, "repeated-ids"),
        (&["pool", "--to", "127.0.0.1:1", "--every", "1ms"], 2, "from 100ms to 1h"),
        (&["sri", "--listen", "192.0.2.1:1"], 1, "name another address"),
    ] {
        let (exit, out, errors) = simulate(arguments).await;
        assert!(exit == Some(code) && errors.contains(said), "{arguments:?}: {exit:?}\n{out}{errors}");
    }
}
