//! The receiver is killed again and again, at any moment: what was in its file stays there, once, and it is true again with the next
//! picture.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use rusqlite::Connection;
use serde_json::Value;
use store_peers::HistoryReader;
use supervision::Clock;
use testkit::{RedisServer, wait_until};

use super::{
    common::{Process, SOON, free_port, get},
    scene::{Scene, Sender, now, proxy_status, settings},
};

/// A quote with a number as its amount: the test knows by it which ones were lost.
fn quote(number: u64, at: u64) -> String {
    format!(r#"{{"QuoteCreated":{{"downstream_id":4,"amount":{number},"timestamp":{at}}}}}"#)
}

/// What SQLite itself finds wrong with the file, with nothing of ours in between.
fn integrity(folder: &Path) -> String {
    let connection = Connection::open(folder.join("peers.db")).expect("it opens");
    connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("it is read")
}

/// The numbers of the quotes in the file, in order.
fn kept(folder: &Path, from: u64) -> Vec<u64> {
    let reader = HistoryReader::open(&folder.join("peers.db")).expect("it opens");
    let at = |time: u64| i64::try_from(time).expect("a time");
    let quotes = reader.quotes(at(from), at(now() + 60), 1_000_000).expect("it is read");
    let mut numbers: Vec<u64> = quotes.into_iter().map(|quote| quote.amount).collect();
    numbers.sort_unstable();
    numbers
}

/// Sends a picture and then quotes without a pause until the receiver is gone; the number of the last quote is in `sent`.
async fn pour(to: SocketAddr, picture: String, sent: Arc<AtomicU64>) {
    let mut sender = Sender::connect(to).await;
    sender.send(&picture).await;
    loop {
        let number = sent.load(Relaxed) + 1;
        if !sender.sends(&quote(number, now())).await {
            return;
        }
        sent.store(number, Relaxed);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The largest number that a reader sees; it is in the file then.
async fn seen(reads: SocketAddr, from: u64) -> u64 {
    let path = format!("/api/quotes?from={from}&to={}", now() + 60);
    let read: Value = serde_json::from_str(&get(reads, &path).await.1).unwrap_or_default();
    let quotes = read["quotes"].as_array().into_iter().flatten();
    quotes.filter_map(|quote| quote["amount"].as_u64()).max().unwrap_or(0)
}

async fn kill_again_and_again(times: u32) {
    let redis = RedisServer::start().await.expect("a Redis server");
    let folder = tempfile::tempdir().expect("a folder");
    let (sends, reads) = (free_port().await, free_port().await);
    let more = [
        ("STATE_TRACKER__PEERS__PROXY_ADDRESS", format!("127.0.0.1:{sends}")),
        ("STATE_TRACKER__PEERS__PROXY_HTTP_ADDRESS", format!("127.0.0.1:{reads}")),
        ("STATE_TRACKER__PEERS__LINES_PER_SECOND", "100000".to_owned()),
    ];
    let environment =
        settings(redis.addr(), folder.path(), &more.each_ref().map(|(name, value)| (*name, value.as_str())));
    let (sends, reads) = (([127, 0, 0, 1], sends).into(), ([127, 0, 0, 1], reads).into());
    let start = now() - 1;
    let mut first = 1;
    for kill in 0..times {
        let mut process = Process::start(&environment).await;
        wait_until("the port is open", SOON, async || tokio::net::TcpStream::connect(sends).await.is_ok())
            .await;
        // Other ids with each life: nothing of the life before may be shown.
        let sent = Arc::new(AtomicU64::new(first - 1));
        let picture = proxy_status(&[(kill, "rig", 1.0)], "192.0.2.1:1");
        let pouring = tokio::spawn(pour(sends, picture, sent.clone()));
        wait_until("the true picture", SOON, async || {
            let read: Value = serde_json::from_str(&get(reads, "/api/miners").await.1).unwrap_or_default();
            let miners = read["miners"].as_array().cloned().unwrap_or_default();
            miners.len() == 1 && miners[0]["id"] == kill
        })
        .await;
        // After some flushes, and at another moment of a flush each time.
        let wanted = first + u64::from(kill % 4) * 20;
        let mut readable = 0;
        wait_until("quotes are in the file", SOON, async || {
            readable = seen(reads, start).await;
            readable >= wanted
        })
        .await;
        tokio::time::sleep(Duration::from_millis(u64::from(kill * 37 % 100))).await;
        process.signal("KILL").await;
        process.exit_code().await;
        pouring.await.expect("it ends with the receiver");
        assert_eq!(integrity(folder.path()), "ok", "after kill {kill}");
        let numbers = kept(folder.path(), start);
        let last = *numbers.last().expect("some are there");
        // Each once and none in between is missing: what is lost is what came last, and was readable by nobody.
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "after kill {kill} some are there twice");
        let of_life = numbers.iter().filter(|number| **number >= first).count() as u64;
        assert_eq!(of_life, last + 1 - first, "after kill {kill} some in between are missing");
        assert!(last >= readable && last <= sent.load(Relaxed) + 1, "{readable} {last} {sent:?}");
        first = sent.load(Relaxed) + 2;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_is_killed_again_and_again_is_true_again_and_loses_only_what_nobody_could_read() {
    kill_again_and_again(5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes: run by make test-all"]
async fn a_receiver_that_is_killed_a_hundred_times_is_true_again_and_loses_only_what_nobody_could_read() {
    kill_again_and_again(100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_arrived_is_in_the_file_after_one_flush_interval() {
    let clock = Clock::manual(Duration::from_secs(now()));
    let flush = ("STATE_TRACKER__PEERS__FLUSH_INTERVAL", "10s");
    let scene = Scene::start_at(clock, &[flush, ("STATE_TRACKER__PEERS__RATE_LIMIT", "100000")]).await;
    let mut sender = Sender::connect(scene.proxy_port()).await;
    let path = format!("/api/quotes?from={}&to={}", scene.now() - 60, scene.now() + 600);
    for number in 1..6_u64 {
        sender.send(&quote(number, scene.now())).await;
        wait_until("it has arrived", SOON, async || scene.messages().await == number).await;
        // A kill from here on would lose it at most until the interval is over: the clock moves by that, and no further.
        scene.pass(Duration::from_secs(10)).await;
        let newest = |read: &Value| {
            read["quotes"].as_array().is_some_and(|all| all.iter().any(|one| one["amount"] == number))
        };
        scene.until(scene.proxy_http(), &path, |_, read| newest(read)).await;
    }
    scene.stop().await;
}
