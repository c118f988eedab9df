//! A service with peers, senders, and the messages that they send.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    pin::pin,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use state_tracker::{config::Config, service::Service};
use supervision::{Clock, TreeOptions};
use testkit::{RedisServer, wait_until};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use super::common::{self, SOON, environment, with};

pub(crate) struct Scene {
    pub(crate) service: Service,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) clock: Clock,
    redis: RedisServer,
}

/// The longest step of a manual clock: the state looks at its connections as often.
const STEP: Duration = Duration::from_millis(250);
/// How long samples wait for their writing.
const FLUSH: &str = "100ms";

/// Lets a manual clock run until this is done.
async fn running<T>(clock: &Clock, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(Duration::from_millis(5)) => clock.freeze(STEP),
        };
    }
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
        ("STATE_TRACKER__PEERS__FLUSH_INTERVAL", FLUSH),
        // Each test has one address for all of its senders.
        ("STATE_TRACKER__PEERS__CONNECTIONS_PER_SECOND", "10000"),
    ];
    with(&with(&environment(redis), &own), more)
}

impl Scene {
    /// Starts a service with these settings besides its own.
    pub(crate) async fn start(more: &[(&str, &str)]) -> Self {
        Self::start_at(Clock::system(), more).await
    }

    /// Starts a service with another clock.
    pub(crate) async fn start_at(clock: Clock, more: &[(&str, &str)]) -> Self {
        let redis = RedisServer::start().await.expect("a Redis server");
        let folder = tempfile::tempdir().expect("a folder");
        let environment = settings(redis.addr(), folder.path(), more);
        let options = TreeOptions { clock: clock.clone(), ..TreeOptions::default() };
        let service = running(&clock, common::service_with(&environment, options)).await;
        Self { service, folder, clock, redis }
    }

    /// The time of the service, in Unix seconds.
    pub(crate) fn now(&self) -> u64 {
        self.clock.unix().as_secs()
    }

    /// Lets a time of the manual clock pass, and the actors do what is due meanwhile.
    pub(crate) async fn pass(&self, time: Duration) {
        let mut left = time;
        while !left.is_zero() {
            let step = left.min(STEP);
            self.leap(step).await;
            left -= step;
        }
    }

    /// Lets the manual clock leap, as if the process had not run meanwhile, and waits until all actors that it wakes have gone on.
    pub(crate) async fn leap(&self, time: Duration) {
        self.clock.freeze(time);
        wait_until("the woken actors go on", SOON, async || self.clock.woken() == 0).await;
    }

    /// How many messages were read, of all kinds.
    pub(crate) async fn messages(&self) -> u64 {
        self.sum("state_tracker_peers_messages_total").await
    }

    /// The sum of a metric over all of its labels.
    pub(crate) async fn sum(&self, name: &str) -> u64 {
        let text = common::get(self.service.http().metrics_address(), "/metrics").await.1;
        let of_metric = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
        let values = of_metric.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
        values.sum::<f64>() as u64
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

    /// Waits until something was written to the file, and nothing waits for it. A manual clock goes on meanwhile, by what a sample waits.
    pub(crate) async fn flushed(&self) {
        let flush = humantime::parse_duration(FLUSH).expect("a duration");
        wait_until("the history is written", SOON, async || {
            self.pass(flush).await;
            self.metric("state_tracker_peers_samples_total{outcome=\"written\"}").await > 0.0
                && self.metric("state_tracker_peers_samples_waiting").await == 0.0
        })
        .await;
    }

    /// The configuration with these settings besides its own.
    pub(crate) fn config(&self, more: &[(&str, &str)]) -> Config {
        let settings = settings(self.redis.addr(), self.folder.path(), more);
        Config::load(None, settings).expect("a valid configuration").config
    }

    pub(crate) async fn stop(self) {
        running(&self.clock, self.service.stop()).await;
    }
}

/// A sender of lines.
pub(crate) struct Sender(TcpStream);

impl Sender {
    pub(crate) async fn connect(to: SocketAddr) -> Self {
        Self(TcpStream::connect(to).await.expect("a connection"))
    }

    /// Connects from this address of the machine.
    pub(crate) async fn connect_from(from: Ipv4Addr, to: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((from, 0).into()).expect("an address of the machine");
        Self(socket.connect(to).await.expect("a connection"))
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

    /// Sends a line; whether the other side is there.
    pub(crate) async fn sends(&mut self, line: &str) -> bool {
        self.0.write_all(format!("{line}\n").as_bytes()).await.is_ok()
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
    /// It may be told something before, such as an alert of TLS.
    pub(crate) async fn is_closed(&mut self) -> bool {
        let mut told = [0; 64];
        let end = async { while self.0.read(&mut told).await.is_ok_and(|bytes| bytes > 0) {} };
        tokio::time::timeout(Duration::from_secs(20), end).await.is_ok()
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
