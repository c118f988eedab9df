//! With `redact_ip` no byte that leaves the service, or that it stores, is one of an address of a sender or miner: after a day of all
//! kinds of messages, good ones and bad ones. The same search finds them where addresses may be shown.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use state_tracker::peers::ENDPOINTS;
use supervision::{
    Clock,
    fail::{Fault, When},
};
use testkit::wait_until;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    common::SOON,
    scene::{Scene, Sender, now},
};

/// A day in steps of ten minutes.
const STEPS: u64 = 144;
const STEP: Duration = Duration::from_secs(600);
const SECRET: &str = "open sesame";
/// The addresses of senders: two that are served, one without the secret, and one of another network.
const NORTH: Ipv4Addr = Ipv4Addr::new(127, 77, 13, 5);
const SOUTH: Ipv4Addr = Ipv4Addr::new(127, 77, 13, 6);
const UNKNOWN: Ipv4Addr = Ipv4Addr::new(127, 77, 13, 7);
const FOREIGN: Ipv4Addr = Ipv4Addr::new(127, 78, 1, 9);
/// What is searched for: what all addresses of a kind have in common.
const SENDERS: &str = "127.77.13.";
const STRANGERS: &str = "127.78.1.";
const V4: &str = "198.51.100.";
const V6: &str = "2001:db8:5a";
const HOST: &str = "miners.example";
const NEEDLES: [&str; 5] = [SENDERS, STRANGERS, V4, V6, HOST];

/// Addresses in every form that senders use.
const ADDRESSES: [&str; 7] = [
    "198.51.100.23:3333",
    "198.51.100.24",
    "[2001:db8:5a::23]:3333",
    "2001:db8:5a::24",
    "::ffff:198.51.100.25",
    "2001:DB8:5A:0:0:0:0:26",
    "Rig7.miners.example:3333",
];
/// Names that have an address within.
const NAMES: [&str; 7] = [
    "198.51.100.31",
    "rig@198.51.100.32:4444",
    "[2001:db8:5a::33]:1",
    "farm.198.51.100.34.x",
    "wallet.::ffff:198.51.100.35",
    "2001:DB8:5A::36",
    "bc1q.plain",
];

/// Every kind of message, each with addresses wherever it can have one.
fn messages(time: u64) -> Vec<String> {
    let all = || ADDRESSES.iter().zip(NAMES).zip(1_u32..);
    let miners: Vec<Value> = all()
        .map(|((address, name), id)| json!({ "name": name, "id": id, "address": address, "hashrate": 1e12, "shares_submitted": 3, "connected_at": time }))
        .collect();
    let infos: Vec<Value> = all()
        .map(|((address, name), id)| json!({ "name": name, "downstream_id": id, "address": address, "hashrate": 1e12, "shares_submitted": 3, "connected_at": time }))
        .collect();
    let proxies: Vec<Value> = all()
        .map(|((address, _), id)| json!({ "id": id, "address": address, "channels": [1], "shares_submitted": 5, "quotes_created": 1, "ehash_mined": 2, "last_share_at": null, "work_selection": true }))
        .collect();
    let peers: Vec<Value> = all()
        .map(|((address, name), id)| json!({ "downstream_id": id, "name": name, "address": address, "shares_lifetime": 9, "shares_in_window": 3, "sum_difficulty_in_window": 60.0, "window_seconds": 60, "timestamp": time }))
        .collect();
    let connections = json!([{ "downstream_id": 1, "connection_type": "Mint", "hashrate": 1e12, "shares_submitted": 1, "channels": [1], "connected_at": time, "quotes_created": 1, "ehash_mined": 2 }]);
    let services: Vec<Value> = ["Pool", "Mint"]
        .iter()
        .zip(ADDRESSES)
        .map(|(kind, address)| json!({ "service_type": kind, "address": address }))
        .collect();
    let connected = json!({ "id": 1, "address": ADDRESSES[0], "name": NAMES[1], "timestamp": time });
    let mut lines: Vec<String> = [
        json!({ "ehash_balance": 21, "upstream_pool": { "address": ADDRESSES[0] }, "downstream_miners": miners, "blockchain_network": format!("testnet4 {}", ADDRESSES[1]), "timestamp": time }),
        json!({ "services": services, "downstream_proxies": proxies, "listen_address": ADDRESSES[2], "timestamp": time }),
        json!({ "listen_address": ADDRESSES[3], "timestamp": time }),
        json!({ "service_type": "Translator", "downstreams": peers, "timestamp": time }),
        json!({ "service_type": "Pool", "downstreams": peers, "timestamp": time }),
        json!({ "MinerSnapshot": { "miners": infos, "timestamp": time } }),
        json!({ "type": "MinerSnapshot", "miners": infos, "timestamp": time }),
        json!({ "ConnectionSnapshot": { "connections": connections, "timestamp": time } }),
        json!({ "BalanceUpdate": { "balance": 7, "timestamp": time } }),
        json!({ "QuoteCreated": { "downstream_id": 1, "amount": 5, "timestamp": time } }),
        json!({ "DownstreamConnected": connected }),
    ]
    .iter()
    .map(Value::to_string)
    .collect();
    // The shape that readers of proxies know comes last: the lists are those of the newest form.
    lines.push(lines[0].clone());
    lines
}

/// Lines that are no messages, and yet have addresses.
fn faults(time: u64) -> Vec<String> {
    vec![
        "GET / HTTP/1.1 Host: 198.51.100.41:80".to_owned(),
        json!({ "198.51.100.42": { "address": "2001:db8:5a::42" } }).to_string(),
        json!({ "type": "198.51.100.43", "timestamp": time }).to_string(),
        json!({ "listen_address": ["198.51.100.44"], "timestamp": time }).to_string(),
        json!({ "services": [{ "service_type": "2001:db8:5a::45", "address": "x" }], "downstream_proxies": [], "listen_address": "", "timestamp": time }).to_string(),
        format!("{{\"listen_address\":\"{}\",\"timestamp\":1}}", "198.51.100.46 ".repeat(4_000)),
    ]
}

/// What a run of the log has written.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A whole answer, head and body.
async fn answer(address: SocketAddr, path: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.expect("the endpoint is open");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("answered");
    answer
}

/// Everything that leaves the service or that it stores, with where it was found.
async fn everything(scene: &Scene, log: &Log) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let sources = scene.json(scene.proxy_http(), "/api/sources").await.1;
    let sources: Vec<String> = sources["sources"]
        .as_array()
        .expect("sources")
        .iter()
        .map(|source| format!("&source={}", source["source"].as_str().expect("a name")))
        .collect();
    let range = format!("from={}&to={}", scene.now() - 90_000, scene.now() + 1);
    for side in [scene.proxy_http(), scene.pool_http()] {
        // Of the table of all paths: one that is added later is searched too.
        for endpoint in ENDPOINTS {
            for id in 1..=NAMES.len() {
                for source in [""].into_iter().chain(sources.iter().map(String::as_str)) {
                    let path = endpoint.path.replace("{id}", &id.to_string());
                    let path = format!("{path}?{range}{source}&id={id}");
                    all.push((path.clone(), answer(side, &path).await));
                }
                if !endpoint.path.contains("{id}") && endpoint.path != "/api/history" {
                    break;
                }
            }
        }
    }
    let http = scene.service.http();
    for path in ["/metrics", "/livez", "/readyz?verbose"] {
        all.push((path.to_owned(), answer(http.metrics_address(), path).await));
    }
    let crashes =
        scene.service.tree().health().into_iter().map(|actor| format!("/crashes?actor={}", actor.path));
    let operator =
        ["/health", "/dead-letters", "/audit", "/outbox", "/outbox/audit?count=20"].map(str::to_owned);
    for path in operator.into_iter().chain(crashes) {
        all.push((format!("operator {path}"), answer(http.operator_address(), &path).await));
    }
    for file in std::fs::read_dir(scene.folder.path()).expect("a folder") {
        let path = file.expect("a file").path();
        all.push((format!("file {}", path.display()), std::fs::read(path).expect("read")));
    }
    all.push(("the log".to_owned(), log.0.lock().expect("no panic").clone()));
    all
}

/// A day of two senders, with others that are refused.
async fn day(scene: &Scene) {
    let points = scene.service.tree().failure_points();
    let connect = async |from| {
        let mut sender = Sender::connect_from(from, scene.proxy_port()).await;
        sender.send(SECRET).await;
        sender
    };
    let mut senders = [connect(NORTH).await, connect(SOUTH).await];
    wait_until("both are served", SOON, async || {
        scene.metric("state_tracker_peers_connections").await == 2.0
    })
    .await;
    let (mut sent, mut bad) = (0, 0);
    for step in 0..STEPS {
        if step % 24 == 0 {
            // Those that are refused: one of another network, one without the secret, and one too many of an address.
            for from in [FOREIGN, UNKNOWN, SOUTH] {
                let mut refused = Sender::connect_from(from, scene.proxy_port()).await;
                refused.send("no secret 198.51.100.50").await;
                assert!(refused.is_closed().await, "{from}");
            }
        }
        if step == 10 {
            points.arm("peer_state::before_swap", "", Fault::Panic, When::Times(3));
        }
        for sender in &mut senders {
            for line in messages(scene.now()) {
                sender.send(&line).await;
                sent += 1;
            }
            for line in faults(scene.now()) {
                sender.send(&line).await;
                bad += 1;
            }
        }
        wait_until("all is read", SOON, async || {
            let dropped = scene.sum("state_tracker_peers_dropped_lines_total").await;
            let older =
                scene.metric("state_tracker_peers_dropped_lines_total{reason=\"older\"}").await as u64;
            scene.messages().await == sent && dropped - older == bad
        })
        .await;
        scene.leap(STEP).await;
        if step == 10 {
            // Restarted actors come up again.
            scene.pass(Duration::from_secs(30)).await;
            assert!(scene.restarts() > 0, "the state has crashed with a picture in hand");
        }
    }
    // The last pictures are fresh, and their connections are open.
    for sender in &mut senders {
        for line in messages(scene.now()) {
            sender.send(&line).await;
        }
    }
    let many = 2 * NAMES.len();
    scene
        .until(scene.proxy_http(), "/api/miners", |_, read| {
            read["miners"].as_array().is_some_and(|all| all.len() == many)
        })
        .await;
    scene.pass(Duration::from_secs(2)).await;
    scene.flushed().await;
    // In the file's own pages too, and not in its journal alone.
    assert!(scene.folder.path().join("peers.db-wal").exists());
    // An end, so that the log and the health tell of it.
    let [north, _south] = senders;
    drop(north);
    scene.pass(Duration::from_secs(2)).await;
}

/// Where each of the needles was found after a day.
async fn found_after_a_day(redact_ip: &str) -> Vec<(String, &'static str)> {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    // All actors run on this thread.
    let _guard = tracing::subscriber::set_default(subscriber);
    let clock = Clock::manual(Duration::from_secs(now()));
    let scene = Scene::start_at(
        clock,
        &[
            ("STATE_TRACKER__PEERS__REDACT_IP", redact_ip),
            ("STATE_TRACKER__PEERS__SECRET", SECRET),
            ("STATE_TRACKER__PEERS__NETWORKS", "127.77.0.0/16"),
            ("STATE_TRACKER__PEERS__CONNECTIONS_PER_ADDRESS", "1"),
            ("STATE_TRACKER__PEERS__SILENT_TIMEOUT", "2h"),
            ("STATE_TRACKER__PEERS__FORGET_AFTER", "2h"),
            ("STATE_TRACKER__PEERS__MAX_LINE_BYTES", "20000"),
            ("STATE_TRACKER__PEERS__RATE_LIMIT", "100000"),
        ],
    )
    .await;
    day(&scene).await;
    let all = everything(&scene, &log).await;
    let text = String::from_utf8_lossy(&all.last().expect("the log").1).into_owned();
    assert!(text.contains("a line was dropped"), "the log is captured");
    scene.stop().await;
    let has = |text: &[u8], needle: &str| {
        text.windows(needle.len()).any(|part| part.eq_ignore_ascii_case(needle.as_bytes()))
    };
    let places = all.iter().flat_map(|(place, text)| {
        NEEDLES.into_iter().filter(|needle| has(text, needle)).map(|needle| (place.clone(), needle))
    });
    places.collect()
}

#[tokio::test]
async fn after_a_day_of_traffic_no_byte_of_an_address_of_a_sender_or_miner_stands_anywhere() {
    let found = found_after_a_day("true").await;
    assert!(found.is_empty(), "{found:?}");
}

#[tokio::test]
async fn the_same_search_finds_the_addresses_where_they_may_be_shown() {
    let found = found_after_a_day("false").await;
    let is_in =
        |part: &str, needle: &str| found.iter().any(|(place, what)| place.contains(part) && *what == needle);
    for needle in [SENDERS, V4, V6, HOST] {
        assert!(is_in("/api/miners", needle), "{needle}: {found:?}");
    }
    for place in ["/api/stats", "/api/connections", "/api/services"] {
        assert!(is_in(place, V4), "{place}: {found:?}");
    }
    for place in ["/api/sources", "/api/quotes", "/api/balance", "file ", "the log"] {
        assert!(is_in(place, SENDERS), "{place}: {found:?}");
    }
    assert!(is_in("file ", V4) && is_in("file ", V6), "names are stored: {found:?}");
}
