//! A service with peers, senders, and the messages that they send.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use state_tracker::service::Service;
use testkit::{RedisServer, wait_until};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::common::{self, SOON, environment, with};

pub(crate) struct Scene {
    pub(crate) service: Service,
    pub(crate) folder: tempfile::TempDir,
    _redis: RedisServer,
}

/// The settings of peers with ports of their own and a file in this folder.
pub(crate) fn settings(
    redis: SocketAddr,
    folder: &std::path::Path,
    more: &[(&str, &str)],
) -> BTreeMap<String, String> {
    let file = folder.join("peers.db");
    let own = [
        ("STATE_TRACKER__PEERS__HISTORY", file.to_str().expect("a path")),
        ("STATE_TRACKER__PEERS__PROXY_ADDRESS", "127.0.0.1:0"),
        ("STATE_TRACKER__PEERS__POOL_ADDRESS", "127.0.0.1:0"),
        ("STATE_TRACKER__PEERS__PROXY_HTTP_ADDRESS", "127.0.0.1:0"),
        ("STATE_TRACKER__PEERS__POOL_HTTP_ADDRESS", "127.0.0.1:0"),
        ("STATE_TRACKER__PEERS__FLUSH_INTERVAL", "100ms"),
    ];
    with(&with(&environment(redis), &own), more)
}

impl Scene {
    /// Starts a service with these settings besides its own.
    pub(crate) async fn start(more: &[(&str, &str)]) -> Self {
        let redis = RedisServer::start().await.expect("a Redis server");
        let folder = tempfile::tempdir().expect("a folder");
        let service = common::service(&settings(redis.addr(), folder.path(), more)).await;
        Self { service, folder, _redis: redis }
    }

    fn senders(&self) -> Vec<SocketAddr> {
        self.service.peers().expect("peers").senders()
    }

    fn readers(&self) -> Vec<SocketAddr> {
        self.service.peers().expect("peers").readers()
    }

    pub(crate) fn proxy_port(&self) -> SocketAddr {
        self.senders()[0]
    }

    pub(crate) fn pool_port(&self) -> SocketAddr {
        self.senders()[1]
    }

    pub(crate) fn proxy_http(&self) -> SocketAddr {
        self.readers()[0]
    }

    pub(crate) fn pool_http(&self) -> SocketAddr {
        self.readers()[1]
    }

    pub(crate) async fn json(&self, address: SocketAddr, path: &str) -> (u16, Value) {
        let (code, text) = common::get(address, path).await;
        (code, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}")))
    }

    /// The head of an answer to a request with these lines in its head.
    pub(crate) async fn head(&self, address: SocketAddr, path: &str, lines: &[&str]) -> String {
        common::exchange(address, path, &[&["Host: localhost"], lines].concat()).await.0
    }

    /// Asks until the answer is as wanted.
    pub(crate) async fn until(
        &self,
        address: SocketAddr,
        path: &str,
        wanted: impl Fn(u16, &Value) -> bool,
    ) -> (u16, Value) {
        let last = std::sync::Mutex::new((0, Value::Null));
        wait_until(path, SOON, async || {
            let answer = self.json(address, path).await;
            let is_wanted = wanted(answer.0, &answer.1);
            *last.lock().expect("no panic") = answer;
            is_wanted
        })
        .await;
        last.into_inner().expect("no panic")
    }

    /// A metric with its labels, as it is written.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let text = common::get(self.service.http().metrics_address(), "/metrics").await.1;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name} in {text}"))
    }

    /// How often actors were restarted.
    pub(crate) fn restarts(&self) -> u64 {
        self.service.tree().health().iter().map(|actor| actor.restarts()).sum()
    }

    /// Waits until something was written to the file, and nothing waits for it.
    pub(crate) async fn flushed(&self) {
        wait_until("the history is written", SOON, async || {
            self.metric("state_tracker_peers_samples_total{outcome=\"written\"}").await > 0.0
                && self.metric("state_tracker_peers_samples_waiting").await == 0.0
        })
        .await;
    }

    pub(crate) async fn stop(self) {
        self.service.stop().await;
    }
}

/// A sender of lines.
pub(crate) struct Sender(TcpStream);

impl Sender {
    pub(crate) async fn connect(to: SocketAddr) -> Self {
        Self(TcpStream::connect(to).await.expect("a connection"))
    }

    /// Sends a line.
    pub(crate) async fn send(&mut self, line: &str) {
        self.raw(line.as_bytes()).await;
        self.raw(b"\n").await;
    }

    /// Sends bytes; the other side may have closed.
    pub(crate) async fn raw(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes).await;
    }

    /// Sends a line in pieces of so many bytes.
    pub(crate) async fn send_in_pieces(&mut self, line: &str, length: usize) {
        self.0.set_nodelay(true).expect("set");
        for piece in format!("{line}\n").as_bytes().chunks(length) {
            self.0.write_all(piece).await.expect("sent");
            self.0.flush().await.expect("sent");
        }
    }

    /// Waits until the other side has closed the connection.
    pub(crate) async fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        let read = tokio::time::timeout(Duration::from_secs(20), self.0.read(&mut byte)).await;
        matches!(read, Ok(Ok(0) | Err(_)))
    }
}

/// The time, in Unix seconds.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

pub(crate) fn proxy_status(miners: &[(u32, &str, f64)], address: &str) -> String {
    status(miners, address, now())
}

pub(crate) fn proxy_status_at(miners: &[(u32, &str, f64)], timestamp: u64) -> String {
    status(miners, "192.0.2.7:1", timestamp)
}

fn status(miners: &[(u32, &str, f64)], address: &str, timestamp: u64) -> String {
    let miners: Vec<Value> = miners
        .iter()
        .map(|(id, name, hashrate)| {
            json!({
                "name": name, "id": id, "address": address, "hashrate": hashrate, "shares_submitted": 3, "connected_at": now() - 60,
            })
        })
        .collect();
    json!({
        "ehash_balance": 21, "upstream_pool": { "address": "203.0.113.5:34254" }, "downstream_miners": miners,
        "blockchain_network": "testnet4", "timestamp": timestamp,
    })
    .to_string()
}

pub(crate) fn pool_status(proxies: &[u32]) -> String {
    let proxies: Vec<Value> = proxies
        .iter()
        .map(|id| {
            json!({
                "id": id, "address": "203.0.113.5:9", "channels": [1, 2], "shares_submitted": 5, "quotes_created": 1,
                "ehash_mined": 2, "last_share_at": null, "work_selection": true,
            })
        })
        .collect();
    json!({
        "services": [
            { "service_type": "Pool", "address": "203.0.113.5:1" }, { "service_type": "Mint", "address": "203.0.113.5:2" },
        ],
        "downstream_proxies": proxies, "listen_address": "203.0.113.5:1", "timestamp": now(),
    })
    .to_string()
}

/// Windows of 60 s with this work each.
pub(crate) fn metrics(peers: &[(u32, &str, f64)], timestamp: u64) -> String {
    let peers: Vec<Value> = peers
        .iter()
        .map(|(id, name, work)| {
            json!({
                "downstream_id": id, "name": name, "address": "203.0.113.5:7", "shares_lifetime": 9, "shares_in_window": 3,
                "sum_difficulty_in_window": work, "window_seconds": 60, "timestamp": timestamp,
            })
        })
        .collect();
    json!({ "service_type": "Translator", "downstreams": peers, "timestamp": timestamp }).to_string()
}
