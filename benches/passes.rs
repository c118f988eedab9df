//! Cost and speed of the tracker's passes, against a private Redis.
//!
//! Prints: for 10, 100 and 1,000 unfinished epochs the round trips, bytes and time of a pass, beside the time of the
//! same reads in one raw pipeline; the same for the first pass over a day of epochs; the cost of 100,000 finished
//! epochs in `epochs:active` for later passes; the time from an event to the current epoch that shows it; the memory of
//! an idle process. Times are p50 and p99 of one run; compare ratios, not runs.

#![allow(clippy::expect_used)] // A missing figure ends the run.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use domain::{
    Address,
    tracker::{Datasets, Due, Totals},
};
use state_tracker::{config::Config, service};
use store_redis::Store;
use store_tracker::{Intervals, MarketKeys, MarketStore, Outputs, Reach, Scope};
use testkit::{FaultProxy, MarketProducer, ProducerConfig, RedisServer, producers::unix_now};
use tokio::process::Command;

const PROTOCOL: &str = "0xE88E5f64AEB483d7057645326AdDFA24A3B312DF";
const MARKET: &str = "0x0C2E22fe7526fAeF28E7A58c84f8723dEFcE200c";
const PASSES: usize = 200;
const FIRST_PASSES: usize = 10;
/// The first epoch.
const FIRST: u64 = 23_000_000;
const EVENTS: u64 = 300;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    // `cargo test --benches` only has to see that it compiles.
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
    first().await;
    finished().await;
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

/// Makes one pass; returns whether another one is due at once.
async fn pass(market: &MarketStore, store: &Store, reach: Reach) -> bool {
    let now = unix_now() as f64;
    let mut session =
        store.session(store_redis::Operation::new("bench", "bench")).await.expect("a connection");
    let mut pass = market.discover(&mut session, now, Scope::summary(reach)).await.expect("read");
    market.examine(&mut session, &mut pass).await.expect("read");
    let totals = Totals::of(&pass.seen, "validator1", 3600.0);
    let datasets = Datasets::of(&pass.seen, &totals, 86_400.0, Due::NONE);
    let every = Duration::from_secs(30);
    let intervals = Intervals { summary: every, hourly: every, daily: every, current_epoch: every };
    let outputs = Outputs { datasets: &datasets, intervals: &intervals, original: None };
    market.commit(&mut session, &pass, &totals, outputs).await.expect("written");
    pass.partial
}

fn market() -> MarketStore {
    MarketStore::new(MarketKeys::new(&Address::new(PROTOCOL), &Address::new(MARKET)), "validator1")
}

fn producer(redis: &RedisServer) -> MarketProducer {
    MarketProducer::new(ProducerConfig::new(PROTOCOL, MARKET), &redis.url()).expect("producers")
}

async fn open(producer: &mut MarketProducer, epoch: u64, at: i64) {
    producer.open_epoch(epoch, at).await.expect("opened");
    producer.submit(epoch, 5, at).await.expect("submitted");
    producer.validators(epoch, &["v1", "v2", "v3"], at).await.expect("validators");
}

async fn finish(producer: &mut MarketProducer, epoch: u64, at: i64) {
    producer.close_epoch(epoch, at).await.expect("closed");
    producer.local_batch(epoch, at).await.expect("local batch");
    producer.aggregated_batch(epoch, &["v1", "v2", "validator1"], at).await.expect("aggregated batch");
}

async fn passes(epochs: u64) {
    let redis = RedisServer::start().await.expect("a Redis server");
    let (mut producer, now) = (producer(&redis), unix_now());
    for epoch in FIRST..FIRST + epochs {
        open(&mut producer, epoch, now).await;
    }
    let (market, store) = (market(), service::connect(&config(redis.port(), &[])).expect("a pool"));
    let began = Instant::now();
    pass(&market, &store, Reach::Everything).await;
    let first = began.elapsed();
    let all: Vec<u64> = (FIRST..FIRST + epochs).collect();
    let mut raw = Raw::new(&redis, &Reads { epochs: &all, full: false }).await;
    let (mut times, mut ratios) = (Vec::new(), Vec::new());
    for _ in 0..PASSES {
        let began = Instant::now();
        pass(&market, &store, Reach::New).await;
        times.push(began.elapsed());
        // Pass and raw reads by turns, so that a busy moment of the machine meets both.
        ratios.push(times[times.len() - 1].as_secs_f64() / raw.run().await.as_secs_f64());
    }

    // Counted by a proxy in front of the server, after a first pass has opened the connection.
    let proxy = FaultProxy::start(redis.addr()).await.expect("a proxy");
    let counted = service::connect(&config(proxy.port(), &[])).expect("a pool");
    pass(&market, &counted, Reach::Everything).await;
    proxy.reset_counts();
    for _ in 0..10 {
        pass(&market, &counted, Reach::New).await;
    }
    let counts = proxy.counts();
    let (p50, p99) = percentiles(&mut times);
    println!(
        "{epochs:>7} {:>12.1} {:>10.1} {:>10.1} {first:>12.1?} {p50:>12.1?} {p99:>12.1?} {:>7.2}",
        counts.round_trips as f64 / 10.0,
        counts.bytes_to_server as f64 / 10_000.0,
        counts.bytes_to_client as f64 / 10_000.0,
        median(&mut ratios),
    );
}

/// The first pass of a tracker that finds a day of epochs.
async fn first() {
    let (unfinished, batches) = (1_000, 7_200);
    let redis = RedisServer::start().await.expect("a Redis server");
    let (mut producer, now) = (producer(&redis), unix_now());
    for number in 0..batches {
        let at = now - 86_000 + i64::try_from(number * 85_000 / batches).expect("small");
        open(&mut producer, FIRST + number, at).await;
        finish(&mut producer, FIRST + number, at + 20).await;
    }
    for number in batches..batches + unfinished {
        open(&mut producer, FIRST + number, now).await;
    }
    let all: Vec<u64> = (FIRST..FIRST + batches + unfinished).collect();
    let mut raw = Raw::new(&redis, &Reads { epochs: &all, full: true }).await;
    let (mut times, mut bare, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..FIRST_PASSES {
        let market = market();
        let mut connection = redis.connection().await.expect("a connection");
        let delete =
            "for _, key in ipairs(redis.call('KEYS', '{*}:tracker:*')) do redis.call('DEL', key) end";
        redis::cmd("EVAL").arg(delete).arg(0).query_async::<()>(&mut connection).await.expect("deleted");
        let store = service::connect(&config(redis.port(), &[])).expect("a pool");
        let began = Instant::now();
        while pass(&market, &store, Reach::Everything).await {}
        times.push(began.elapsed());
        bare.push(raw.run().await);
        ratios.push(times[times.len() - 1].as_secs_f64() / bare[bare.len() - 1].as_secs_f64());
    }
    let ((p50, worst), (raw, _)) = (percentiles(&mut times), percentiles(&mut bare));
    println!(
        "\nfirst pass, {unfinished} unfinished epochs and {batches} aggregated batches of a day: p50 {p50:.1?}, \
         slowest {worst:.1?}; the same reads raw {raw:.1?}; median ratio {:.2}",
        median(&mut ratios),
    );
}

/// The cost of finished epochs, which producers leave in `epochs:active`.
async fn finished() {
    let (unfinished, left_behind) = (1_000, 100_000);
    let redis = RedisServer::start().await.expect("a Redis server");
    let (mut producer, now) = (producer(&redis), unix_now());
    for epoch in FIRST..FIRST + unfinished {
        open(&mut producer, epoch, now).await;
    }
    let (market, store) = (market(), service::connect(&config(redis.port(), &[])).expect("a pool"));
    let mut p50s = Vec::new();
    for more in [0, left_behind] {
        let mut connection = redis.connection().await.expect("a connection");
        for chunk in (FIRST - more..FIRST).collect::<Vec<_>>().chunks(1_000) {
            let _: u64 = redis::cmd("SADD")
                .arg(format!("{PROTOCOL}:{MARKET}:epochs:active"))
                .arg(chunk)
                .query_async(&mut connection)
                .await
                .expect("added");
        }
        while pass(&market, &store, Reach::Everything).await {}
        let mut times = Vec::new();
        for _ in 0..PASSES {
            let began = Instant::now();
            pass(&market, &store, Reach::New).await;
            times.push(began.elapsed());
        }
        p50s.push(percentiles(&mut times).0);
    }
    println!(
        "later passes, {unfinished} unfinished epochs: p50 {:.1?}; with {left_behind} finished ids in epochs:active \
         {:.1?}, ratio {:.2}",
        p50s[0],
        p50s[1],
        p50s[1].as_secs_f64() / p50s[0].as_secs_f64()
    );
}

/// The reads of one pass.
struct Reads<'a> {
    epochs: &'a [u64],
    /// It reads the timelines of a whole day and all of `epochs:active`.
    full: bool,
}

/// The same reads as one raw pipeline, whose answers are not read.
struct Raw {
    connection: redis::aio::MultiplexedConnection,
    pipeline: redis::Pipeline,
}

impl Raw {
    async fn new(redis: &RedisServer, reads: &Reads<'_>) -> Self {
        Self { connection: redis.connection().await.expect("a connection"), pipeline: bare(reads) }
    }

    async fn run(&mut self) -> Duration {
        let began = Instant::now();
        let _: Vec<redis::Value> = self.pipeline.query_async(&mut self.connection).await.expect("read");
        began.elapsed()
    }
}

fn bare(reads: &Reads<'_>) -> redis::Pipeline {
    let mut pipeline = redis::pipe();
    let key = |rest: &str| format!("{PROTOCOL}:{MARKET}:{rest}");
    let since = unix_now() - if reads.full { 86_400 } else { 600 };
    pipeline.cmd(if reads.full { "SMEMBERS" } else { "SCARD" }).arg(key("epochs:active"));
    for timeline in ["metrics:epochs:timeline", "metrics:batches:timeline"] {
        pipeline.cmd("ZRANGEBYSCORE").arg(key(timeline)).arg(since).arg("+inf").arg("WITHSCORES");
    }
    pipeline.cmd("HGETALL").arg(format!("{{{PROTOCOL}:{MARKET}}}:tracker:open"));
    for epoch in reads.epochs {
        let info = ["status", "start", "timestamp", "end", "duration", "data_market"];
        pipeline.cmd("HMGET").arg(key(&format!("metrics:epoch:{epoch}:info"))).arg(&info);
        let state = [
            "window_status",
            "window_opened_at",
            "window_closes_at",
            "level1_status",
            "level2_status",
            "onchain_status",
            "submissions_count",
            "phase",
            "last_updated",
        ];
        pipeline.cmd("HMGET").arg(key(&format!("epoch:{epoch}:state"))).arg(&state);
        pipeline.cmd("EXISTS").arg(key(&format!("metrics:batch:local:{epoch}")));
        pipeline.cmd("EXISTS").arg(key(&format!("metrics:batch:aggregated:{epoch}")));
        pipeline.cmd("GET").arg(key(&format!("metrics:batch:{epoch}:validators")));
        let ids = key(&format!("epoch:{epoch}:submissions:ids"));
        pipeline.cmd("ZCARD").arg(&ids);
        pipeline.cmd("ZCOUNT").arg(&ids).arg(0).arg(1).cmd("ZCOUNT").arg(&ids).arg(0).arg(1);
        pipeline.cmd("SCARD").arg(key(&format!("epoch:{epoch}:processed")));
    }
    if reads.full {
        for epoch in reads.epochs {
            pipeline.cmd("SMEMBERS").arg(key(&format!("epoch:{epoch}:validators")));
        }
    } else {
        let keys: Vec<String> =
            reads.epochs.iter().map(|epoch| key(&format!("epoch:{epoch}:validators"))).collect();
        pipeline.cmd("SUNION").arg(keys);
    }
    pipeline
}

/// The time from the write and event of a new epoch to the dataset that shows it.
async fn events() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let config = config(redis.port(), &[("STATE_TRACKER__INTERVALS__WAKE_DEBOUNCE", "1ms")]);
    let service =
        service::Service::start(&config, supervision::TreeOptions::default()).await.expect("started");
    let mut producer = producer(&redis);
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

/// The memory of an idle service.
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

fn median(ratios: &mut [f64]) -> f64 {
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}
