//! The history of peers: what is measured is in the file and in the answers, whatever happens to the process.

use serde_json::Value;
use store_peers::{History, HistoryReader, Level, Limits, Subject, Wanted};
use supervision::fail::{Fault, When};
use testkit::{RedisServer, wait_until};

use super::{
    common::{Process, SOON, free_port, get},
    scene::{Scene, Sender, metrics, now, proxy_status, settings},
};

/// The expected hashes of a difficulty of 1, from the contract.
const HASHES: f64 = 4_294_967_296.0;

/// The sum of a range: points of a rate, each with the length of its step.
fn rates(answer: &Value) -> Vec<f64> {
    let points = answer["data"].as_array().expect("points");
    points.iter().map(|point| point["hashrate_hs"].as_f64().expect("a rate")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn measured_and_declared_rates_are_answered_apart_and_gaps_are_gaps() {
    let scene = Scene::start(&[]).await;
    let mut sender = Sender::connect(scene.proxy_port()).await;
    // The beginning of a point of the answer, so that the pictures before it are in another one.
    let start = now() / 15 * 15;
    // A window of 60 s with a work of 120: 2 units a second, whatever overlaps.
    for at in [start - 10, start - 5, start] {
        sender.send(&metrics(&[(7, "rig", 120.0)], at)).await;
        sender.send(&super::scene::proxy_status_at(&[(7, "rig", 1e12)], at)).await;
        // Its declared rates hold since the picture before: that has to be there.
        scene.until(scene.proxy_http(), "/api/stats", |_, read| read["timestamp"] == at).await;
    }
    let range = format!("?from={}&to={}", start - 300, start + 60);
    let path = format!("/api/downstream/7/hashrate{range}");
    let declared_path = format!("/api/downstream/7/declared-hashrate{range}");
    // The time that was waited for may be that of the metrics: what is declared beside them arrives later.
    for path in [&path, &declared_path] {
        scene
            .until(scene.proxy_http(), path, |_, read| {
                read["data"].as_array().is_some_and(|all| !all.is_empty())
            })
            .await;
    }
    scene.flushed().await;
    let (code, read) = scene.json(scene.proxy_http(), &path).await;
    let all = rates(&read);
    assert!(code == 200 && all.len() >= 2, "{read}");
    assert!(all.iter().all(|rate| (rate / (2.0 * HASHES) - 1.0).abs() < 1e-9), "{read}");
    // Nothing is known of the minutes before.
    let first = read["data"][0]["timestamp"].as_u64().expect("a time");
    assert!(first >= start - 90, "{read}");
    let (_, declared) = scene.json(scene.proxy_http(), &declared_path).await;
    assert!(rates(&declared).iter().all(|rate| (rate / 1e12 - 1.0).abs() < 1e-9), "{declared}");
    assert!(!rates(&declared).is_empty());
    for bad in ["", "?from=5&to=5", "?from=9&to=1", "?from=a&to=1", "?to=1"] {
        let (code, read) = scene.json(scene.proxy_http(), &format!("/api/hashrate{bad}")).await;
        assert!(code == 400 && read["error"].is_string(), "{bad}: {code} {read}");
    }
    let (code, _) = scene.json(scene.proxy_http(), &format!("/api/downstream/x/hashrate{range}")).await;
    assert_eq!(code, 400);
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quotes_and_balances_have_readers() {
    let scene = Scene::start(&[]).await;
    let mut sender = Sender::connect(scene.pool_port()).await;
    let at = now();
    sender.send(&format!(r#"{{"QuoteCreated":{{"downstream_id":4,"amount":99,"timestamp":{at}}}}}"#)).await;
    sender.send(&format!(r#"{{"type":"BalanceUpdate","balance":18446744073709551,"timestamp":{at}}}"#)).await;
    sender.send(r#"{"ShareSubmitted":{"downstream_id":4,"timestamp":1}}"#).await;
    let path = format!("/api/quotes?from={}&to={}", at - 10, at + 10);
    let (_, read) = scene.until(scene.pool_http(), &path, |_, read| read["quotes"][0].is_object()).await;
    assert_eq!((&read["quotes"][0]["amount"], &read["quotes"][0]["downstream_id"]), (&99.into(), &4.into()));
    let (_, read) =
        scene.until(scene.pool_http(), "/api/balance", |_, read| read["balances"][0].is_object()).await;
    assert_eq!(read["balances"][0]["balance"], 18_446_744_073_709_551_u64);
    wait_until("a retired event is known", SOON, async || {
        scene.metric("state_tracker_peers_messages_total{kind=\"retired\"}").await >= 1.0
    })
    .await;
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_receiver_has_a_readable_file_the_true_picture_with_the_next_one_and_counts_no_time_twice() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let folder = tempfile::tempdir().expect("a folder");
    let (sends, reads) = (free_port().await, free_port().await);
    let more = [
        ("STATE_TRACKER__PEERS__PROXY_ADDRESS", format!("127.0.0.1:{sends}")),
        ("STATE_TRACKER__PEERS__PROXY_HTTP_ADDRESS", format!("127.0.0.1:{reads}")),
        ("STATE_TRACKER__PEERS__NAMES", "127.0.0.1=north".to_owned()),
    ];
    let environment =
        settings(redis.addr(), folder.path(), &more.each_ref().map(|(name, value)| (*name, value.as_str())));
    let (sends, reads) = (([127, 0, 0, 1], sends).into(), ([127, 0, 0, 1], reads).into());
    let start = now();
    for kill in 0..5_u32 {
        let mut process = Process::start(&environment).await;
        wait_until("the port is open", SOON, async || tokio::net::TcpStream::connect(sends).await.is_ok())
            .await;
        let mut sender = Sender::connect(sends).await;
        // Other ids with each life: nothing of the life before may be shown.
        sender.send(&proxy_status(&[(kill, "rig", 1.0)], "192.0.2.1:1")).await;
        wait_until("the true picture", SOON, async || {
            let read: Value = serde_json::from_str(&get(reads, "/api/miners").await.1).unwrap_or_default();
            let miners = read["miners"].as_array().cloned().unwrap_or_default();
            miners.len() == 1 && miners[0]["id"] == kill
        })
        .await;
        let path = format!("/api/downstream/{kill}/hashrate?from={}&to={}", start - 600, start + 600);
        wait_until("its work is in the file", SOON, async || {
            sender.send(&metrics(&[(kill, "rig", 60.0)], now())).await;
            let read: Value = serde_json::from_str(&get(reads, &path).await.1).unwrap_or_default();
            read["data"].as_array().is_some_and(|all| !all.is_empty())
        })
        .await;
        process.signal("KILL").await;
        process.exit_code().await;
        assert_eq!(findings(folder.path()), [""; 0], "after kill {kill}");
    }
    // Each life was told of 60 seconds that the others were told of too.
    let (from, to) = (i64::try_from(start).expect("a time") - 600, i64::try_from(now()).expect("a time") + 1);
    let reader = HistoryReader::open(&folder.path().join("peers.db")).expect("it opens");
    let of_source = Wanted::Subject(Subject::Source("north".into()));
    let range = reader.range_of_level(&of_source, Level::Raw, from, to, 2_000).expect("it is read");
    let seconds: f64 = range.points.iter().map(|point| point.both.measured.seconds).sum();
    let most = (now() - start) as f64 + 60.0;
    assert!(seconds >= 60.0 && seconds <= most, "{seconds} of at most {most}");
}

/// What SQLite finds wrong with the file.
fn findings(folder: &std::path::Path) -> Vec<String> {
    let history = History::open(&folder.join("peers.db"), Limits::default());
    history.expect("it opens").check().expect("it is read")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_of_the_history_costs_what_it_had_in_hand_and_nothing_that_comes_after() {
    let scene = Scene::start(&[]).await;
    let mut sender = Sender::connect(scene.proxy_port()).await;
    let points = scene.service.tree().failure_points();
    let quote = |amount: u64| {
        format!(r#"{{"QuoteCreated":{{"downstream_id":4,"amount":{amount},"timestamp":{}}}}}"#, now())
    };
    for (number, point) in ["peer_history::before_write", "peer_history::after_write"].into_iter().enumerate()
    {
        let before = scene.restarts();
        points.arm(point, "", Fault::Panic, When::Times(1));
        wait_until(point, SOON, async || scene.restarts() > before).await;
        points.disarm(point);
        // The writer that crashed has let go of the file.
        let amount = 100 + number as u64;
        sender.send(&quote(amount)).await;
        let path = format!("/api/quotes?from={}&to={}", now() - 60, now() + 60);
        let has = |read: &Value| {
            read["quotes"].as_array().is_some_and(|all| all.iter().any(|quote| quote["amount"] == amount))
        };
        scene.until(scene.proxy_http(), &path, |_, read| has(read)).await;
    }
    scene.stop().await;
}
