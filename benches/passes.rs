//! What the tracker costs and how fast it is, against a real Redis of its own.
//!
//! Prints: for 10, 100 and 1,000 unfinished epochs the round trips, bytes and time of a pass, beside the time of
//! the bare minimum of the same reads in one raw pipeline; the time from an event to the current epoch that
//! shows it; the memory of an idle process. Times are p50 and p99 of one run; compare ratios, not runs.

#![allow(clippy::expect_used)] // A figure that can not be had ends the run.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use domain::{Address, MeasurementWindow, Participation, Summary, SummaryInput, Totals};
use state_tracker::{config::Config, service};
use store::{Datasets, MarketKeys, MarketStore, Reach, Scope, Store};
use testkit::{FaultProxy, MarketProducer, ProducerConfig, RedisServer, producers::unix_now};
use tokio::process::Command;

const PROTOCOL: &str = "0xE88E5f64AEB483d7057645326AdDFA24A3B312DF";
const MARKET: &str = "0x0C2E22fe7526fAeF28E7A58c84f8723dEFcE200c";
const PASSES: usize = 200;
const EVENTS: u64 = 300;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    println!("passes of the summary, {PASSES} each after a first one");
    println!(
        "{:>7} {:>12} {:>10} {:>10} {:>12} {:>12} {:>12} {:>7}",
        "epochs", "round trips", "kB out", "kB in", "first", "p50", "p99", "ratio"
    );
    for epochs in [10, 100, 1_000] {
        passes(epochs).await;
    }
    events().await;
    idle().await;
}

fn config(port: u16, more: &[(&str, &str)]) -> Config {
    let mut environment = vec![
        ("REDIS_HOST".to_owned(), "127.0.0.1".to_owned()),
        ("REDIS_PORT".to_owned(), port.to_string()),
        ("PROTOCOL_STATE_CONTRACT".to_owned(), PROTOCOL.to_owned()),
        ("DATA_MARKET_ADDRESSES".to_owned(), MARKET.to_owned()),
        ("STATE_TRACKER_METRICS_PORT".to_owned(), "0".to_owned()),
        ("STATE_TRACKER__HTTP__OPERATOR_ADDRESS".to_owned(), "127.0.0.1:0".to_owned()),
    ];
    environment.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    Config::load(None, environment).expect("a valid configuration").config
}

async fn pass(market: &MarketStore, store: &Store, reach: Reach) {
    let now = unix_now() as f64;
    let mut session = store.session("bench").await.expect("a connection");
    let mut pass = market.discover(&mut session, now, Scope::summary(reach)).await.expect("read");
    market.examine(&mut session, &mut pass).await.expect("read");
    let totals = Totals::of(&pass.seen, "validator1", 3600.0);
    let window = MeasurementWindow::at(pass.seen.window, &totals, now, 86_400.0);
    let summary = Summary::of(&SummaryInput::of(&pass.seen, &totals, window));
    let minute = Duration::from_secs(60);
    let datasets = Datasets {
        summary: &summary,
        window,
        summary_ttl: minute,
        participation: Participation::of(&pass.seen, &totals),
        participation_ttl: minute,
        hours: Vec::new(),
        day: None,
        gaps: Vec::new(),
    };
    market.commit(&mut session, &pass, &totals, &datasets).await.expect("written");
}

async fn passes(epochs: u64) {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut producer =
        MarketProducer::new(ProducerConfig::new(PROTOCOL, MARKET), &redis.url()).expect("producers");
    let now = unix_now();
    for epoch in 0..epochs {
        producer.open_epoch(23_000_000 + epoch, now).await.expect("opened");
        producer.submit(23_000_000 + epoch, 5, now).await.expect("submitted");
        producer.validators(23_000_000 + epoch, &["v1", "v2", "v3"], now).await.expect("validators");
    }
    let market =
        MarketStore::new(MarketKeys::new(&Address::new(PROTOCOL), &Address::new(MARKET)), "validator1");

    let store = service::connect(&config(redis.port(), &[])).expect("a pool");
    let began = Instant::now();
    pass(&market, &store, Reach::Full).await;
    let first = began.elapsed();
    let mut times = Vec::new();
    for _ in 0..PASSES {
        let began = Instant::now();
        pass(&market, &store, Reach::Recent).await;
        times.push(began.elapsed());
    }
    let raw = raw(&redis, epochs).await;

    // Counted between tracker and server, with a connection that is open already.
    let proxy = FaultProxy::start(redis.addr()).await.expect("a proxy");
    let counted = service::connect(&config(proxy.port(), &[])).expect("a pool");
    pass(&market, &counted, Reach::Full).await;
    proxy.reset_counts();
    for _ in 0..10 {
        pass(&market, &counted, Reach::Recent).await;
    }
    let counts = proxy.counts();
    let (p50, p99) = percentiles(&mut times);
    println!(
        "{epochs:>7} {:>12.1} {:>10.1} {:>10.1} {first:>12.1?} {p50:>12.1?} {p99:>12.1?} {:>7.2}",
        counts.round_trips as f64 / 10.0,
        counts.bytes_to_server as f64 / 10_000.0,
        counts.bytes_to_client as f64 / 10_000.0,
        p50.as_secs_f64() / raw.as_secs_f64(),
    );
}

/// The same inputs of each epoch as one bare pipeline, without reading the answers: the p50 of as many runs.
async fn raw(redis: &RedisServer, epochs: u64) -> Duration {
    let mut connection = redis.connection().await.expect("a connection");
    let mut pipeline = redis::pipe();
    for epoch in 23_000_000..23_000_000 + epochs {
        let key = |rest: &str| format!("{PROTOCOL}:{MARKET}:{rest}");
        let info = ["status", "start", "timestamp", "end", "duration", "data_market"];
        pipeline.cmd("HMGET").arg(key(&format!("metrics:epoch:{epoch}:info"))).arg(&info);
        let state = ["window_status", "window_opened_at", "window_closes_at"];
        pipeline.cmd("HMGET").arg(key(&format!("epoch:{epoch}:state"))).arg(&state);
        pipeline.cmd("EXISTS").arg(key(&format!("metrics:batch:local:{epoch}")));
        pipeline.cmd("EXISTS").arg(key(&format!("metrics:batch:aggregated:{epoch}")));
        pipeline.cmd("GET").arg(key(&format!("metrics:batch:{epoch}:validators")));
        let ids = key(&format!("epoch:{epoch}:submissions:ids"));
        pipeline
            .cmd("ZCARD")
            .arg(&ids)
            .cmd("ZCOUNT")
            .arg(&ids)
            .arg(0)
            .arg(1)
            .cmd("ZCOUNT")
            .arg(&ids)
            .arg(0)
            .arg(1);
        pipeline.cmd("SCARD").arg(key(&format!("epoch:{epoch}:processed")));
    }
    let mut times = Vec::new();
    for _ in 0..PASSES {
        let began = Instant::now();
        let _: Vec<redis::Value> = pipeline.query_async(&mut connection).await.expect("read");
        times.push(began.elapsed());
    }
    percentiles(&mut times).0
}

/// From the moment in which producers have written and told of a new epoch to the dataset that shows it.
async fn events() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let config = config(redis.port(), &[("STATE_TRACKER__INTERVALS__WAKE_DEBOUNCE", "1ms")]);
    let service =
        service::Service::start(&config, supervision::WatchSettings::default()).await.expect("started");
    let mut producer =
        MarketProducer::new(ProducerConfig::new(PROTOCOL, MARKET), &redis.url()).expect("producers");
    let mut connection = redis.connection().await.expect("a connection");
    let key = format!("{PROTOCOL}:{MARKET}:metrics:current_epoch");
    let mut times = Vec::new();
    for epoch in 1..=EVENTS {
        let began = Instant::now();
        producer.open_epoch(epoch, unix_now()).await.expect("opened");
        let shown = format!("\"epoch_id\":\"{epoch}\"");
        loop {
            let text: Option<String> =
                redis::cmd("GET").arg(&key).query_async(&mut connection).await.expect("read");
            if text.is_some_and(|text| text.contains(&shown)) {
                break;
            }
        }
        times.push(began.elapsed());
        producer.close_epoch(epoch, unix_now()).await.expect("closed");
    }
    let (p50, p99) = percentiles(&mut times);
    println!("\nevent to current epoch, {EVENTS} epochs, 1 ms debounce: p50 {p50:.1?}, p99 {p99:.1?}");
    service.stop().await;
}

/// The memory of a service that has nothing to do.
async fn idle() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut child = Command::new(env!("CARGO_BIN_EXE_state-tracker"))
        .env_clear()
        .env("REDIS_HOST", "127.0.0.1")
        .env("REDIS_PORT", redis.port().to_string())
        .env("PROTOCOL_STATE_CONTRACT", PROTOCOL)
        .env("DATA_MARKET_ADDRESSES", MARKET)
        .env("STATE_TRACKER_METRICS_PORT", "0")
        .env("STATE_TRACKER__HTTP__OPERATOR_ADDRESS", "127.0.0.1:0")
        .env("STATE_TRACKER__INTERVALS__SUMMARY", "1s")
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary starts");
    tokio::time::sleep(Duration::from_secs(10)).await;
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", child.id().expect("it runs"))).expect("procfs");
    let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("a line").to_owned();
    println!("idle for 10 s with one market: {line}");
    child.kill().await.expect("ended");
}

fn percentiles(times: &mut [Duration]) -> (Duration, Duration) {
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}
