//! Shared by the tests of the whole service: a service in this process or in its own, against real servers, and the
//! datasets as readers find them.

#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used, clippy::expect_used)] // Each test binary uses its part.

use std::{collections::BTreeMap, net::SocketAddr, process::Stdio, time::Duration};

use redis::aio::MultiplexedConnection;
use serde_json::Value;
use state_tracker::{config::Config, service::Service};
use supervision::{ActorHealth, TreeOptions};
use testkit::{ProducerConfig, RedisServer, Truth, contents::query, wait_until, world::World};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
};

pub const PROTOCOL: &str = "0xE88E5f64AEB483d7057645326AdDFA24A3B312DF";
pub const MARKETS: [&str; 2] =
    ["0x0C2E22fe7526fAeF28E7A58c84f8723dEFcE200c", "0x21cb57C1f2352ad215a463DD867b838749CD3b8f"];

/// Long enough for anything that happens at all, on a busy machine.
pub const SOON: Duration = Duration::from_secs(30);

/// The environment of a service for the two markets, with everything happening fast.
pub fn environment(redis: SocketAddr) -> BTreeMap<String, String> {
    [
        ("REDIS_HOST", redis.ip().to_string()),
        ("REDIS_PORT", redis.port().to_string()),
        ("PROTOCOL_STATE_CONTRACT", PROTOCOL.to_owned()),
        ("DATA_MARKET_ADDRESSES", MARKETS.join(",")),
        ("STATE_TRACKER_METRICS_PORT", "0".to_owned()),
        ("STATE_TRACKER__HTTP__HOST", "127.0.0.1".to_owned()),
        ("STATE_TRACKER__HTTP__OPERATOR_ADDRESS", "127.0.0.1:0".to_owned()),
        ("STATE_TRACKER__INTERVALS__SUMMARY", "100ms".to_owned()),
        ("STATE_TRACKER__INTERVALS__CURRENT_EPOCH", "250ms".to_owned()),
        ("STATE_TRACKER__INTERVALS__WAKE_DEBOUNCE", "20ms".to_owned()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// The environment of a service that follows a world.
pub fn following(redis: SocketAddr, world: &World) -> BTreeMap<String, String> {
    let mut all = environment(redis);
    for (name, value) in [
        ("PROTOCOL_STATE_CONTRACT", world.contracts.protocol_state.clone()),
        ("DATA_MARKET_ADDRESSES", world.contracts.markets.join(",")),
        ("RPC_NODES", world.anvil.url()),
        ("BATCH_SIZE", "5".to_owned()),
        ("STATE_TRACKER__COLLECTOR__START_BLOCK", "1".to_owned()),
        ("STATE_TRACKER__COLLECTOR__POLL_INTERVAL", "100ms".to_owned()),
        ("STATE_TRACKER__COLLECTOR__MAX_LOG_RANGE", "17".to_owned()),
        // The time of the tests' chain runs faster than the wall clock.
        ("STATE_TRACKER__COLLECTOR__SUBMISSIONS_TTL", "24h".to_owned()),
    ] {
        all.insert(name.to_owned(), value);
    }
    all
}

/// A service in this process, all of whose actors run.
pub async fn service(environment: &BTreeMap<String, String>) -> Service {
    service_with(environment, TreeOptions::default()).await
}

pub async fn service_with(environment: &BTreeMap<String, String>, options: TreeOptions) -> Service {
    let config = Config::load(None, environment.clone()).expect("a valid configuration").config;
    let service = Service::start(&config, options).await.expect("the service starts");
    service.tree().started().await.expect("all actors run");
    service
}

pub fn producer(market: &str) -> ProducerConfig {
    ProducerConfig::new(PROTOCOL, market)
}

pub fn key(market: &str, rest: &str) -> String {
    format!("{PROTOCOL}:{market}:{rest}")
}

/// `dashboard:summary` of a market, as a reader finds it.
pub async fn summary(connection: &mut MultiplexedConnection, market: &str) -> Option<Value> {
    json(connection, &key(market, "dashboard:summary")).await
}

/// `metrics:current_epoch` of a market.
pub async fn current_epoch(connection: &mut MultiplexedConnection, market: &str) -> Option<Value> {
    json(connection, &key(market, "metrics:current_epoch")).await
}

async fn json(connection: &mut MultiplexedConnection, key: &str) -> Option<Value> {
    let text: Option<String> = redis::cmd("GET").arg(key).query_async(connection).await.ok()?;
    Some(serde_json::from_str(&text?).expect("a dataset is JSON"))
}

/// The last accepted block's number and hash.
pub async fn checkpoint(connection: &mut MultiplexedConnection) -> Option<(u64, String)> {
    let text: Option<String> = query(connection, &["GET", "tracker:chain:checkpoint"]).await;
    let checkpoint: Value = serde_json::from_str(&text?).expect("JSON");
    Some((checkpoint["number"].as_u64()?, checkpoint["hash"].as_str()?.to_owned()))
}

/// The totals that a summary shows: submissions, epochs, batches.
pub fn shown(summary: &Value) -> [Option<u64>; 3] {
    ["submissions_total", "epochs_total", "batches_total"].map(|name| summary[name].as_u64())
}

/// The totals that producers wrote.
pub fn written(truth: &Truth) -> [Option<u64>; 3] {
    [truth.submissions_total(), truth.epochs_total(), truth.batches_total()].map(Some)
}

/// Waits until a market's summary shows what its producers wrote.
pub async fn totals_reach(redis: &RedisServer, market: &str, truth: &Truth) {
    let expected = written(truth);
    let mut last = None;
    let mut connection = redis.connection().await.expect("a connection");
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let seen = summary(&mut connection, market).await.map(|summary| shown(&summary));
        if seen == Some(expected) {
            return;
        }
        last = seen.or(last);
        assert!(
            tokio::time::Instant::now() < deadline,
            "market {market} shows {last:?}, written were {expected:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The record of one actor.
pub fn actor(service: &Service, path: &str) -> ActorHealth {
    service
        .tree()
        .health()
        .into_iter()
        .find(|actor| actor.path == path)
        .unwrap_or_else(|| panic!("no actor {path}"))
}

/// Waits until a market's actors have nothing more to write before their next interval: the message of the subscription
/// is settled, and its pass with it.
pub async fn have_settled(service: &Service, market: &str) {
    let is_settled = |name: &str| {
        let mailbox = actor(service, &format!("markets/{market}/{name}")).mailbox.expect("it has a mailbox");
        mailbox.accepted > 0 && mailbox.waiting == 0 && mailbox.in_flight == 0
    };
    let are_settled = || ["aggregator", "epoch-tracker"].into_iter().all(is_settled);
    wait_until("the market's actors have settled", SOON, async || are_settled()).await;
}

/// The paths of all actors except supervisors.
pub fn workers(service: &Service) -> Vec<String> {
    service.tree().health().into_iter().filter(|actor| !actor.supervisor).map(|actor| actor.path).collect()
}

/// The generations of all actors but one.
pub fn generations_without(service: &Service, path: &str) -> BTreeMap<String, u64> {
    let others = service.tree().health().into_iter().filter(|actor| actor.path != path);
    others.map(|actor| (actor.path, actor.generation)).collect()
}

/// A service in its own process.
pub struct Process {
    pub child: Child,
    pub metrics: SocketAddr,
    pub operator: SocketAddr,
    pub log: tokio::sync::watch::Receiver<String>,
}

impl Process {
    /// Starts it and waits until its endpoints are open.
    pub async fn start(environment: &BTreeMap<String, String>) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_state-tracker"))
            .env_clear()
            .envs(environment)
            .env("STATE_TRACKER__LOG__FORMAT", "json")
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let (log, read) = tokio::sync::watch::channel(String::new());
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                log.send_modify(|all| {
                    all.push_str(&line);
                    all.push('\n');
                });
            }
        });
        let mut opened = read.clone();
        let line =
            tokio::time::timeout(SOON, opened.wait_for(|log| log.contains("endpoints are open"))).await;
        let log = line
            .unwrap_or_else(|_| panic!("it never opened its endpoints: {}", *read.borrow()))
            .expect("it logs")
            .clone();
        let line = log.lines().find(|line| line.contains("endpoints are open")).expect("just found");
        let line: Value = serde_json::from_str(line).expect("a JSON log line");
        let address =
            |name: &str| line[name].as_str().and_then(|text| text.parse().ok()).expect("an address");
        Self { child, metrics: address("metrics"), operator: address("operator"), log: read }
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id().expect("it runs")).expect("a pid")
    }

    pub async fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status().await;
        assert!(status.expect("kill runs").success());
    }

    /// Signals it until it ends: a signal that follows another one too soon is no second one.
    pub async fn signal_until_it_ends(&mut self, name: &str) {
        wait_until("it ends at a second signal", SOON, async || {
            let ended = self.child.try_wait().expect("it is a child").is_some();
            if !ended {
                self.signal(name).await;
            }
            ended
        })
        .await;
    }

    /// Waits for it to end; its exit code, `None` when a signal ended it.
    pub async fn exit_code(&mut self) -> Option<i32> {
        let ended = tokio::time::timeout(SOON, self.child.wait()).await.expect("it ends");
        ended.expect("it is a child").code()
    }

    pub async fn get(&self, address: SocketAddr, path: &str) -> (u16, String) {
        get(address, path).await
    }

    pub async fn wait_ready(&self) {
        wait_until("the service is ready", SOON, async || get(self.metrics, "/readyz").await.0 == 200).await;
    }
}

/// The environment with these settings.
pub fn with(environment: &BTreeMap<String, String>, settings: &[(&str, &str)]) -> BTreeMap<String, String> {
    let own = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    environment.clone().into_iter().chain(own).collect()
}

/// Runs a command of the program until it ends: its exit code, standard output and standard error.
pub async fn run(
    environment: &BTreeMap<String, String>,
    arguments: &[&str],
) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_state-tracker"));
    command.args(arguments).env_clear().envs(environment).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(SOON, command.output()).await.expect("it ends").expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A plain HTTP GET: status and body.
pub async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    ask(address, path, &["Host: localhost"]).await
}

/// The values of a page of metrics, summed over the lines that begin like this: a name, or a name with its first labels.
pub fn sum_of(page: &str, beginning: &str) -> f64 {
    let is_longer_name = |rest: &str| rest.starts_with(|next: char| next.is_alphanumeric() || next == '_');
    let rests = page.lines().filter_map(|line| line.strip_prefix(beginning));
    let values = rests
        .filter(|rest| !is_longer_name(rest))
        .filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok());
    values.sum()
}

/// The same of the page that a service shows now.
pub async fn metric(metrics: SocketAddr, beginning: &str) -> f64 {
    sum_of(&get(metrics, "/metrics").await.1, beginning)
}

/// An HTTP GET with these lines in its head: status and body.
pub async fn ask(address: SocketAddr, path: &str, lines: &[&str]) -> (u16, String) {
    let (head, body) = exchange(address, path, lines).await;
    let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, String::from_utf8(body).expect("a text"))
}

/// The same: head and body as they are.
pub async fn exchange(address: SocketAddr, path: &str, lines: &[&str]) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).await.expect("the endpoint is open");
    let lines = lines.join("\r\n");
    let request = format!("GET {path} HTTP/1.1\r\n{lines}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("answered");
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n").expect("a head");
    let body = answer.split_off(end + 4);
    answer.truncate(end);
    (String::from_utf8(answer).expect("a text"), body)
}

/// A port on which nothing listens, for a server that starts later: a port that a private server has just left, below
/// the ports that the system gives to clients.
pub async fn free_port() -> u16 {
    RedisServer::start().await.expect("a Redis server").port()
}
