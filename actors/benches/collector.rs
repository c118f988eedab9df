//! The cost of following a chain, in release, against a private node and a private Redis.
//!
//! Prints: blocks a second of a backfill, beside raw requests for the same ranges in the same run, for old blocks
//! (events only) and young ones (headers in batches, and logs); the time from a block to its effect in Redis; time and
//! memory for batches of 100 submissions in one market, 1,000 in 5 and 10,000 in 10.

#![allow(clippy::expect_used, clippy::panic, unreachable_pub, dead_code)] // A missing figure ends the run.

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/collector/tracker.rs"]
mod tracker;

use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};
use testkit::{Anvil, Contracts, Emission, RedisServer, anvil::post, contents::query};
use tracker::{SOON, Setup, Tracker};

const OLD: u64 = 40_000;
const YOUNG: u64 = 10_000;
const CHUNK: u64 = 2_000;
/// An epoch is released in one of this many blocks.
const RELEASES: u64 = 100;
const HEADS: usize = 200;
const WINDOW: u64 = 20;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    for (blocks, is_old) in [(OLD, true), (YOUNG, false)] {
        backfill(blocks, is_old).await;
    }
    heads().await;
    println!("\n{:>12} {:>8} {:>12} {:>14} {:>12}", "submissions", "markets", "batches", "time", "memory");
    for (submissions, markets) in [(100, 1), (1_000, 5), (10_000, 10)] {
        batches(submissions, markets).await;
    }
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

/// A backfill, and raw requests for the same range: five of each, by turns.
async fn backfill(blocks: u64, is_old: bool) {
    let (anvil, contracts) = chain(1).await;
    let mut epoch = 0;
    while anvil.height().await.expect("a height") < blocks {
        epoch += 1;
        let release = Emission::EpochReleased { epoch, begin: 0, end: 1 };
        anvil.emit(&contracts, &contracts.markets[0], &release).await.expect("emitted");
        anvil.mine_many(RELEASES, 1).await.expect("mined");
    }
    let head = anvil.height().await.expect("a height");
    let (mut ours, mut running, mut raws) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..5 {
        let began = Instant::now();
        if is_old {
            raw_events(&anvil, &contracts, head).await
        } else {
            raw_blocks(&anvil, &contracts, head).await
        }
        raws.push(head as f64 / began.elapsed().as_secs_f64());

        let redis = RedisServer::start().await.expect("a Redis server");
        let old_after = Duration::from_secs(if is_old { 60 } else { 86_400 });
        let setup = Setup { max_chunk: CHUNK, old_after, inputs_live: 1, ..Setup::default() };
        let began = Instant::now();
        let tracker = Tracker::start(&redis.url(), &anvil.url(), &contracts, setup).await;
        // The segments, each with the time at which it was accepted.
        let mut accepted: Vec<(u64, Instant)> = Vec::new();
        while accepted.last().is_none_or(|(number, _)| *number < head) {
            assert!(began.elapsed() < SOON, "{accepted:?} of {head}");
            let now = tracker.chain.progress.now().checkpoint.map_or(0, |checkpoint| checkpoint.number);
            if accepted.last().is_none_or(|(number, _)| now > *number) {
                accepted.push((now, Instant::now()));
            }
            tokio::time::sleep(Duration::from_micros(300)).await;
        }
        ours.push(head as f64 / began.elapsed().as_secs_f64());
        // Without the start, and without the blocks too near to the head for large segments.
        let parts: Vec<_> =
            accepted.iter().filter(|(number, _)| (CHUNK..head - 100).contains(number)).collect();
        if let [(first, from), .., (last, to)] = parts.as_slice() {
            running.push((last - first) as f64 / (*to - *from).as_secs_f64());
        }
        tracker.stop().await;
    }
    let ratio = |ours: &[f64]| {
        let ratios: Vec<f64> = ours.iter().zip(&raws).map(|(ours, raw)| ours / raw).collect();
        spread(ratios, 2)
    };
    let (whole, alone) = (ratio(&ours), ratio(&running));
    let kind = if is_old { "old blocks, by their events" } else { "young blocks, by their headers" };
    println!(
        "backfill of {head} {kind}: {} blocks/s, raw {} blocks/s, ratio {whole}; while it runs, without start and end, {} \
         blocks/s, ratio {alone}",
        spread(ours, 0),
        spread(raws, 0),
        spread(running, 0)
    );
}

/// Median, least and most.
fn spread(mut values: Vec<f64>, digits: usize) -> String {
    values.sort_by(f64::total_cmp);
    let (middle, last) = (values.len() / 2, values.len() - 1);
    format!("{:.digits$} ({:.digits$} to {:.digits$})", values[middle], values[0], values[last])
}

async fn logs(anvil: &Anvil, contracts: &Contracts, from: u64, to: u64) {
    let filter = json!([{
        "fromBlock": format!("{from:#x}"), "toBlock": format!("{to:#x}"), "address": contracts.protocol_state,
    }]);
    let logs = anvil.request("eth_getLogs", filter).await.expect("logs");
    assert!(logs.is_array());
}

async fn raw_events(anvil: &Anvil, contracts: &Contracts, head: u64) {
    for from in (1..=head).step_by(CHUNK as usize) {
        logs(anvil, contracts, from, (from + CHUNK - 1).min(head)).await;
    }
}

/// Headers in batches of 100, and logs.
async fn raw_blocks(anvil: &Anvil, contracts: &Contracts, head: u64) {
    for from in (1..=head).step_by(500) {
        let to = (from + 499).min(head);
        logs(anvil, contracts, from, to).await;
        for from in (from..=to).step_by(100) {
            headers(anvil, from, (from + 99).min(to)).await;
        }
    }
}

/// A batch of requests for headers.
async fn headers(anvil: &Anvil, from: u64, to: u64) {
    let one = |number: u64| {
        json!({ "jsonrpc": "2.0", "id": number, "method": "eth_getBlockByNumber",
                "params": [format!("{number:#x}"), false] })
    };
    let batch = Value::Array((from..=to).map(one).collect());
    let answer = post(anvil.addr(), &batch.to_string()).await.expect("answered");
    let headers: Vec<Value> = serde_json::from_slice(&answer).expect("a batch");
    assert_eq!(headers.len() as u64, to - from + 1);
}

/// The time from a mined block to its effect in Redis.
async fn heads() {
    let (anvil, contracts) = chain(1).await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let tracker = Tracker::start(&redis.url(), &anvil.ws_url(), &contracts, Setup::default()).await;
    let key = format!("{}.CurrentEpochID", contracts.markets[0]);
    let mut took = Vec::new();
    for epoch in 1..=HEADS as u64 {
        let release = Emission::EpochReleased { epoch, begin: 0, end: 1 };
        anvil.emit(&contracts, &contracts.markets[0], &release).await.expect("emitted");
        anvil.mine().await.expect("mined");
        let began = Instant::now();
        while current(&mut connection, &key).await.as_deref() != Some(&*epoch.to_string()) {
            assert!(began.elapsed() < SOON, "epoch {epoch} never came");
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        took.push(began.elapsed().as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize];
    println!(
        "\nfrom a new head (WebSocket) to its effect in Redis: p50 {:.1} ms, p99 {:.1} ms, slowest {:.1} ms, {HEADS} blocks",
        at(0.5),
        at(0.99),
        at(1.0)
    );
    tracker.stop().await;
}

async fn current(connection: &mut MultiplexedConnection, key: &str) -> Option<String> {
    query(connection, &["GET", key]).await
}

/// Batches of one epoch of each market, timed from the block that closes their windows.
async fn batches(submissions: u64, markets: usize) {
    let (anvil, contracts) = chain(markets).await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let release = Emission::EpochReleased { epoch: 1, begin: 0, end: 1 };
    for market in &contracts.markets {
        anvil.emit(&contracts, market, &release).await.expect("emitted");
    }
    anvil.mine_many(2, 1).await.expect("mined");
    let height = anvil.height().await.expect("a height");
    let (hash, ..) = anvil.block(height).await.expect("asked").expect("a block");
    for market in &contracts.markets {
        let mut insert = redis::cmd("SADD");
        insert.arg(format!("SnapshotCollector.{market}.1.{hash}"));
        for submission in 0..submissions {
            insert.arg(format!("{market}.1.project-{}.{}", submission / 10, submission % 1_000));
        }
        let added: u64 = insert.query_async(&mut connection).await.expect("written");
        assert_eq!(added, submissions);
    }
    let tracker = Tracker::start(&redis.url(), &anvil.url(), &contracts, Setup::default()).await;
    tracker.caught_up(height, &hash).await;
    let before = memory();
    let began = Instant::now();
    anvil.mine_many(1, WINDOW).await.expect("mined");
    let counts: Vec<String> =
        contracts.markets.iter().map(|market| format!("BatchCountKey.{market}.1")).collect();
    loop {
        let mut exists = redis::cmd("EXISTS");
        exists.arg(&counts);
        let there: usize = exists.query_async(&mut connection).await.expect("answered");
        if there == counts.len() {
            break;
        }
        assert!(began.elapsed() < SOON, "not all batches came");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let took = began.elapsed();
    let made: u64 = query(&mut connection, &["LLEN", "finalizerQueue"]).await;
    let grown = memory().saturating_sub(before);
    println!("{submissions:>12} {markets:>8} {made:>12} {took:>14.1?} {:>9} kB", grown / 1024);
    tracker.stop().await;
}

/// The peak memory of this process, in which the tracker runs, in bytes.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("it tells the most");
    let kilobytes: u64 = line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("a number");
    kilobytes * 1024
}
