//! The cost of telling the relayer, in release, against a real Redis, a private node and an HTTP server that takes each call at once.
//!
//! Prints: 10,000 calls that wait in the lane of a market, drained by the service, beside as many posts by a bare client on one
//! connection to the same server, and beside that client with one bare write to Redis after each post, by turns; the time from the block
//! that closes the windows to the last call, and the peak memory, for 100 submissions in one market, 1,000 in 5 and 10,000 in 10.
//! Parts of it: `cargo bench --bench relayer -- drain | loads`.

#![allow(clippy::expect_used)] // A missing figure ends the run.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use redis::aio::MultiplexedConnection;
use serde_json::json;
use state_tracker::{config::Config, service::Service};
use supervision::TreeOptions;
use testkit::{
    Anvil, Contracts, Emission, RedisServer, RelayerServer, contents::query, generated_node::KeptConnection,
    wait_until,
};

const MARKET: &str = "0x0c2e22fe7526faef28e7a58c84f8723defce200c";
const CALLS: u64 = 10_000;
const ROUNDS: usize = 5;
const EPOCHS: u64 = 40;
const WINDOW: u64 = 20;
const SOON: Duration = Duration::from_secs(120);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let named: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |name: &str| named.is_empty() || named.iter().any(|named| named == name);
    if wanted("drain") {
        drains().await;
    }
    if wanted("loads") {
        println!(
            "\nfrom the block that closes the windows to the last call of the relayer, {EPOCHS} epochs:"
        );
        for (submissions, markets) in [(100, 1), (1_000, 5), (10_000, 10)] {
            load(submissions, markets).await;
        }
    }
}

async fn drains() {
    let (mut ours, mut bare, mut both) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let figures = (bare_posts(false).await, bare_posts(true).await, drained().await);
        // The first round warms up.
        if round > 0 {
            bare.push(figures.0);
            both.push(figures.1);
            ours.push(figures.2);
        }
    }
    let ratio = |to: &[f64]| spread(ours.iter().zip(to).map(|(ours, to)| ours / to).collect(), 2);
    println!(
        "{CALLS} calls of one lane, in calls/s:\n    bare client, one connection {}\n    the same, and a write to Redis after each {}\n    \
         the lane {}, ratio to the bare client {}, to that with a write {}",
        spread(bare.clone(), 0),
        spread(both.clone(), 0),
        spread(ours.clone(), 0),
        ratio(&bare),
        ratio(&both)
    );
}

fn body(epoch: u64) -> String {
    json!({ "epochID": epoch, "batchSize": 3, "authToken": "token", "dataMarketAddress": MARKET }).to_string()
}

/// Calls a second of a bare client, which writes a key after each where asked.
async fn bare_posts(writes: bool) -> f64 {
    let relayer = RelayerServer::start().await.expect("a relayer");
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let mut client = KeptConnection::open(relayer.addr()).await.expect("a connection");
    let began = Instant::now();
    for epoch in 0..CALLS {
        let (status, _) = client.post(&body(epoch)).await.expect("answered");
        assert_eq!(status, 200);
        if writes {
            let _: String = query(&mut connection, &["SET", "noted", &epoch.to_string()]).await;
        }
    }
    CALLS as f64 / began.elapsed().as_secs_f64()
}

/// Calls a second of the service, from the first call on.
async fn drained() -> f64 {
    let (anvil, contracts) = chain(1).await;
    let relayer = RelayerServer::start().await.expect("a relayer");
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let market = &contracts.markets[0];
    let mut pipe = redis::pipe();
    for epoch in 0..CALLS {
        let call = json!({ "call": "batch_size", "epoch": epoch, "batches": 3 }).to_string();
        let (lane, key) = (format!("tracker:relayer:{market}:waiting"), format!("key-{epoch}"));
        pipe.cmd("XADD").arg(lane).arg("*").arg("key").arg(key).arg("call").arg(call).ignore();
    }
    let written: redis::RedisResult<()> = pipe.query_async(&mut connection).await;
    written.expect("written");
    let service = service(&redis, &anvil, &contracts, &relayer).await;
    wait_until("all calls came", SOON, async || relayer.count() as u64 == CALLS).await;
    let calls = relayer.calls();
    let took = calls[calls.len() - 1].at - calls[0].at;
    assert!(calls.iter().enumerate().all(|(at, call)| call.field("epochID") == at as u64), "in their order");
    service.stop().await;
    (CALLS - 1) as f64 / took.as_secs_f64()
}

async fn service(
    redis: &RedisServer,
    anvil: &Anvil,
    contracts: &Contracts,
    relayer: &RelayerServer,
) -> Service {
    let environment: BTreeMap<String, String> = [
        ("REDIS_HOST", redis.addr().ip().to_string()),
        ("REDIS_PORT", redis.port().to_string()),
        ("PROTOCOL_STATE_CONTRACT", contracts.protocol_state.clone()),
        ("DATA_MARKET_ADDRESSES", contracts.markets.join(",")),
        ("RPC_NODES", anvil.ws_url()),
        ("TX_RELAYER_URL", relayer.url()),
        ("TX_RELAYER_AUTH_WRITE_TOKEN", "token".to_owned()),
        ("STATE_TRACKER_METRICS_PORT", "0".to_owned()),
        ("STATE_TRACKER__HTTP__OPERATOR_ADDRESS", "127.0.0.1:0".to_owned()),
        ("STATE_TRACKER__COLLECTOR__START_BLOCK", "1".to_owned()),
        ("STATE_TRACKER__COLLECTOR__SUBMISSIONS_TTL", "24h".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let config = Config::load(None, environment).expect("a valid configuration").config;
    let service = Service::start(&config, TreeOptions::default()).await.expect("the service starts");
    service.tree().started().await.expect("all actors run");
    service
}

async fn chain(markets: usize) -> (Anvil, Contracts) {
    let anvil = Anvil::start().await.expect("a node");
    let contracts = anvil.deploy(markets).await.expect("contracts");
    for market in &contracts.markets {
        anvil.set_market(&contracts, market, [WINDOW, 86_400_000_000, 10, 7, 7_200]).await.expect("set");
        anvil.emit(&contracts, market, &Emission::DayStarted { day: 7 }).await.expect("emitted");
    }
    anvil.mine().await.expect("mined");
    (anvil, contracts)
}

/// One epoch of each market after another, timed from the block that closes their windows to the last call.
async fn load(submissions: u64, markets: usize) {
    let (anvil, contracts) = chain(markets).await;
    let relayer = RelayerServer::start().await.expect("a relayer");
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let service = service(&redis, &anvil, &contracts, &relayer).await;
    let mut took = Vec::new();
    for epoch in 1..=EPOCHS {
        for market in &contracts.markets {
            let release = Emission::EpochReleased { epoch, begin: 0, end: 1 };
            anvil.emit(&contracts, market, &release).await.expect("emitted");
        }
        anvil.mine().await.expect("mined");
        let height = anvil.height().await.expect("a height");
        let (hash, ..) = anvil.block(height).await.expect("asked").expect("a block");
        for market in &contracts.markets {
            write(&mut connection, market, epoch, &hash, submissions).await;
        }
        let marked = format!("EpochMarkerSetKey.{}", contracts.markets[0].to_lowercase());
        wait_until("the window is open", SOON, async || {
            query::<u64>(&mut connection.clone(), &["SCARD", &marked]).await > 0
        })
        .await;
        anvil.mine_many(1, WINDOW).await.expect("mined");
        let closed = Instant::now();
        let due = epoch as usize * markets;
        wait_until("all are told", SOON, async || relayer.count() >= due).await;
        let last = relayer.calls().iter().map(|call| call.at).max().expect("a call");
        took.push(last.saturating_duration_since(closed).as_secs_f64() * 1e3);
    }
    service.stop().await;
    took.sort_by(f64::total_cmp);
    let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize];
    println!(
        "    {submissions:>6} submissions in {markets:>2} markets: p50 {:.1} ms, p99 {:.1} ms, slowest {:.1} ms; peak memory {} MB",
        at(0.5),
        at(0.99),
        at(1.0),
        memory() >> 20
    );
}

async fn write(
    connection: &mut MultiplexedConnection,
    market: &str,
    epoch: u64,
    hash: &str,
    submissions: u64,
) {
    let market = market.to_lowercase();
    let mut insert = redis::cmd("SADD");
    insert.arg(format!("SnapshotCollector.{market}.{epoch}.{hash}"));
    for submission in 0..submissions {
        insert.arg(format!("{market}.{epoch}.project-{}.{}", submission / 10, submission % 1_000));
    }
    let added: u64 = insert.query_async(connection).await.expect("written");
    assert_eq!(added, submissions);
}

/// Median, least and most.
fn spread(mut values: Vec<f64>, digits: usize) -> String {
    values.sort_by(f64::total_cmp);
    let (middle, last) = (values.len() / 2, values.len() - 1);
    format!("{:.digits$} ({:.digits$} to {:.digits$})", values[middle], values[0], values[last])
}

/// The peak memory of this process, in which service and relayer run, in bytes.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("it tells the most");
    let kilobytes: u64 = line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("a number");
    kilobytes * 1024
}
