//! The cost of the service for its machine and its Redis, in release.
//!
//! Prints: the latency of another Redis client while a million entries are pruned, and without pruning; CPU and memory
//! of the process with 1, 10, 100 and 1,000 markets at the default intervals; the size of the ledger of a day's epochs
//! in Redis. One run each; compare within a run.

#![allow(clippy::expect_used)] // A missing figure ends the run.

#[path = "procfs/mod.rs"]
mod procfs;

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use procfs::{cpu, memory};
use redis::aio::MultiplexedConnection;
use testkit::{MarketProducer, ProducerConfig, RedisServer, producers::unix_now, wait_until};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::{Child, Command},
};

const PROTOCOL: &str = "0xE88E5f64AEB483d7057645326AdDFA24A3B312DF";
const MARKET: &str = "0x0C2E22fe7526fAeF28E7A58c84f8723dEFcE200c";
const ENTRIES: u64 = 1_000_000;
/// An epoch every 12 s.
const EPOCHS_A_DAY: u64 = 7_200;
const MEASURE: Duration = Duration::from_secs(35);
const SOON: Duration = Duration::from_secs(120);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    pruning().await;
    ledger().await;
    println!("\n{:>8} {:>10} {:>14} {:>10}", "markets", "CPU", "CPU a market", "RSS");
    for markets in [1, 10, 100, 1_000] {
        cost(markets).await;
    }
}

fn start(redis: &RedisServer, markets: &str, more: &[(&str, &str)]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_state-tracker"))
        .env_clear()
        .env("REDIS_HOST", "127.0.0.1")
        .env("REDIS_PORT", redis.port().to_string())
        .env("PROTOCOL_STATE_CONTRACT", PROTOCOL)
        .env("DATA_MARKET_ADDRESSES", markets)
        .env("STATE_TRACKER_METRICS_PORT", "0")
        .env("STATE_TRACKER__HTTP__OPERATOR_ADDRESS", "127.0.0.1:0")
        .envs(more.iter().copied())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary starts")
}

/// The sorted latencies of a `PING`, a millisecond apart, until `ends`.
async fn waits(redis: &RedisServer, mut ends: impl AsyncFnMut() -> bool) -> Vec<Duration> {
    let mut stream = TcpStream::connect(redis.addr()).await.expect("connected");
    stream.set_nodelay(true).expect("set");
    let (mut times, mut answer) = (Vec::new(), [0; 64]);
    // Asked once in 64 requests only: the question is a request too, and would be measured.
    while times.len() % 64 != 0 || times.is_empty() || !ends().await {
        let began = Instant::now();
        stream.write_all(b"PING\r\n").await.expect("sent");
        let _ = stream.read(&mut answer).await.expect("answered");
        times.push(began.elapsed());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    times.sort_unstable();
    times
}

fn shown(times: &[Duration]) -> String {
    let at = |share: usize| times[(times.len() * share / 1_000).min(times.len() - 1)];
    format!("p50 {:.2?}, p99 {:.2?}, slowest {:.2?}, {} requests", at(500), at(990), at(1_000), times.len())
}

async fn pruning() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let key = format!("{PROTOCOL}:{MARKET}:metrics:submissions:timeline");
    let old = unix_now() - 2 * 86_400;
    for chunk in 0..ENTRIES / 1_000 {
        let mut add = redis::cmd("ZADD");
        add.arg(&key);
        for member in 1_000 * chunk..1_000 * (chunk + 1) {
            add.arg(old).arg(format!("received:23000000:{member}:pair:UNI:1763900000:peer"));
        }
        let _: u64 = add.query_async(&mut connection).await.expect("added");
    }
    let mut rounds = 0;
    let before = waits(&redis, async || {
        rounds += 1;
        rounds > 30
    })
    .await;
    let _child = start(&redis, MARKET, &[("STATE_TRACKER__INTERVALS__PRUNE", "100ms")]);
    let began = Instant::now();
    let left = async |connection: &mut MultiplexedConnection| -> u64 {
        redis::cmd("ZCARD").arg(&key).query_async(connection).await.expect("counted")
    };
    let during = waits(&redis, async || left(&mut connection.clone()).await == 0).await;
    println!("another client without pruning: {}", shown(&before));
    println!("while {ENTRIES} entries are pruned in {:.1?}: {}", began.elapsed(), shown(&during));
}

async fn ledger() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut producer =
        MarketProducer::new(ProducerConfig::new(PROTOCOL, MARKET), &redis.url()).expect("producers");
    let now = unix_now();
    for epoch in 0..EPOCHS_A_DAY {
        let at = now - 86_000 + i64::try_from(epoch * 85_000 / EPOCHS_A_DAY).expect("small");
        producer.open_epoch(23_000_000 + epoch, at).await.expect("opened");
        producer.submit(23_000_000 + epoch, 5, at).await.expect("submitted");
        producer.close_epoch(23_000_000 + epoch, at + 20).await.expect("closed");
        producer.local_batch(23_000_000 + epoch, at + 21).await.expect("local batch");
        producer
            .aggregated_batch(23_000_000 + epoch, &["v1", "validator1"], at + 22)
            .await
            .expect("aggregated");
    }
    let _child = start(&redis, MARKET, &[("STATE_TRACKER__INTERVALS__SUMMARY", "1s")]);
    let connection = redis.connection().await.expect("a connection");
    let key = |part: &str| format!("{{{PROTOCOL}:{MARKET}}}:tracker:{part}");
    wait_until("all are sealed", SOON, async || {
        let sealed: u64 = redis::cmd("HLEN")
            .arg(key("sealed"))
            .query_async(&mut connection.clone())
            .await
            .expect("counted");
        sealed == EPOCHS_A_DAY
    })
    .await;
    let mut bytes = 0;
    for part in ["open", "sealed", "sums", "meta", "opened", "aggregated", "included"] {
        let size: Option<u64> = redis::cmd("MEMORY")
            .arg("USAGE")
            .arg(key(part))
            .arg("SAMPLES")
            .arg(0)
            .query_async(&mut connection.clone())
            .await
            .expect("measured");
        bytes += size.unwrap_or(0);
    }
    println!(
        "the ledger of a day, {EPOCHS_A_DAY} epochs: {} kB, {} bytes an epoch",
        bytes / 1_000,
        bytes / EPOCHS_A_DAY
    );
}

async fn cost(markets: usize) {
    let redis = RedisServer::start().await.expect("a Redis server");
    let names: Vec<String> = (0..markets).map(|market| format!("market-{market}")).collect();
    let now = unix_now();
    for name in &names {
        let mut producer =
            MarketProducer::new(ProducerConfig::new(PROTOCOL, name), &redis.url()).expect("producers");
        for epoch in 1..4 {
            producer.open_epoch(epoch, now).await.expect("opened");
            producer.submit(epoch, 5, now).await.expect("submitted");
        }
    }
    let child = start(&redis, &names.join(","), &[]);
    let connection = redis.connection().await.expect("a connection");
    let last = format!("{PROTOCOL}:market-{}:dashboard:summary", markets - 1);
    wait_until("all have a summary", SOON, async || {
        redis::cmd("EXISTS").arg(&last).query_async::<bool>(&mut connection.clone()).await.expect("asked")
    })
    .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let pid = child.id().expect("it runs");
    let before = cpu(pid);
    tokio::time::sleep(MEASURE).await;
    let used = (cpu(pid) - before) / MEASURE.as_secs_f64() * 100.0;
    println!(
        "{markets:>8} {used:>9.2}% {:>13.4}% {:>7.1} MB",
        used / markets as f64,
        memory(pid, "VmRSS:") / 1e6
    );
}
