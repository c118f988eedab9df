//! The cost of following a chain, in release, against a private node and a private Redis.
//!
//! Prints: blocks a second of a backfill from generated blocks, beside `evm` alone and bare requests for the same ranges in
//! the same run, for old blocks (events only) and young ones (headers in batches, and logs); the time from a block to its
//! effect in Redis; time and memory for batches of 100 submissions in one market, 1,000 in 5 and 10,000 in 10. Run parts of
//! it by `cargo bench --package actors --bench collector -- old | young | heads | batches`.

#![allow(clippy::expect_used, clippy::panic, unreachable_pub, dead_code)] // A missing figure ends the run.

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/collector/tracker.rs"]
mod tracker;

use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};
use testkit::{
    Anvil, Contracts, Dice, Emission, GeneratedChain, GeneratedNode, NodeLimits, RedisServer,
    contents::query, generated_node::KeptConnection,
};
use tracker::{SOON, Setup, Tracker};

const OLD: u64 = 400_000;
const YOUNG: u64 = 20_000;
const CHUNK: u64 = 2_000;
/// An epoch is released in one of this many blocks, and another one ends in the next.
const RELEASES: u64 = 20;
const BLOCKS_A_YEAR: f64 = 365.0 * 86_400.0 / 2.0;
const ROUNDS: usize = 5;
const HEADS: usize = 200;
const WINDOW: u64 = 20;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let named: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |name: &str| named.is_empty() || named.iter().any(|named| named == name);
    for latency in [0, 5].map(Duration::from_millis) {
        if wanted("old") {
            backfill(OLD, true, latency).await;
        }
        if wanted("young") {
            backfill(YOUNG, false, latency).await;
        }
    }
    if wanted("heads") {
        heads_by_websocket().await;
        heads_by_polling().await;
    }
    if !wanted("batches") {
        return;
    }
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

/// A backfill of generated blocks, the same blocks read by `evm` alone, and bare requests for them, by turns.
async fn backfill(blocks: u64, is_old: bool, latency: Duration) {
    let chain = GeneratedChain::new(blocks, RELEASES, 2);
    let node = GeneratedNode::start(chain.clone(), NodeLimits { latency, ..NodeLimits::default() });
    let node = node.expect("a node");
    let mut connection = KeptConnection::open(node.addr()).await.expect("a connection");
    let (mut whole, mut alone, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let began = Instant::now();
        let found = bare_blocks(&mut connection, &node.contracts(), blocks, !is_old).await;
        assert_eq!(found, chain.events(blocks));
        let by_bare = blocks as f64 / began.elapsed().as_secs_f64();
        let by_evm = evm_alone(&node, &chain, blocks, is_old).await;
        let by_tracker = whole_way(&node, blocks, is_old).await;
        // The first round warms up.
        if round > 0 {
            bare.push(by_bare);
            alone.push(by_evm);
            whole.push(by_tracker);
        }
    }
    let ratio = |ours: &[f64]| spread(ours.iter().zip(&bare).map(|(ours, bare)| ours / bare).collect(), 2);
    let (of_whole, of_alone) = (ratio(&whole), ratio(&alone));
    let kind = if is_old { "old blocks, by their events" } else { "young blocks, by their headers" };
    let seconds = |speeds: &[f64]| BLOCKS_A_YEAR / median(speeds);
    println!(
        "backfill of {blocks} {kind}, a node with {latency:?} latency, in blocks/s:\n    bare requests {}\n    evm alone {}, \
         ratio {of_alone}\n    nodes to Redis {}, ratio {of_whole}\n    a year of blocks every 2 s: {:.0} s, of which evm alone \
         {:.0} s, and bare requests {:.0} s",
        spread(bare.clone(), 0),
        spread(alone.clone(), 0),
        spread(whole.clone(), 0),
        seconds(&whole),
        seconds(&alone),
        seconds(&bare)
    );
}

/// Blocks a second of a tracker, without the start, and without the blocks too near to the head for large segments.
async fn whole_way(node: &GeneratedNode, head: u64, is_old: bool) -> f64 {
    let redis = RedisServer::start().await.expect("a Redis server");
    let old_after = Duration::from_secs(if is_old { 60 } else { 86_400 });
    let setup = Setup { max_chunk: CHUNK, old_after, inputs_live: 1, ..Setup::default() };
    let tracker = Tracker::start(&redis.url(), &node.url(), &node.contracts(), setup).await;
    let began = Instant::now();
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
    tracker.stop().await;
    let parts: Vec<_> = accepted.iter().filter(|(number, _)| (CHUNK..head - 100).contains(number)).collect();
    let [(first, from), .., (last, to)] = parts.as_slice() else { panic!("few segments: {accepted:?}") };
    (last - first) as f64 / (*to - *from).as_secs_f64()
}

async fn evm_alone(node: &GeneratedNode, chain: &GeneratedChain, head: u64, is_old: bool) -> f64 {
    let contracts = node.contracts();
    let configured = evm::Contracts {
        protocol_state: contracts.protocol_state.parse().expect("an address"),
        priorities: None,
    };
    let config = evm::ChainConfig::new(vec![node.url().parse().expect("a URL")], configured);
    let source = evm::Source::new(evm::ChainConfig { max_log_range: CHUNK, ..config }).expect("a source");
    let soon = || tokio::time::Instant::now() + SOON;
    let [hash, parent] = [chain.hash(0), [0; 32]].map(domain::chain::Hash);
    let mut last = domain::chain::BlockRef { number: 0, hash, parent, time: chain.time(0) };
    let (range, began) = (source.range(head), Instant::now());
    while last.number < head {
        last = if is_old {
            let evm::Step::Part(part) = range.events(&last, soon()).await.expect("events") else { panic!() };
            part.last
        } else {
            let evm::Step::Part(blocks) = range.blocks(&last, soon()).await.expect("blocks") else {
                panic!()
            };
            blocks.last().expect("a block").at
        };
    }
    head as f64 / began.elapsed().as_secs_f64()
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Median, least and most.
fn spread(mut values: Vec<f64>, digits: usize) -> String {
    values.sort_by(f64::total_cmp);
    let (middle, last) = (values.len() / 2, values.len() - 1);
    format!("{:.digits$} ({:.digits$} to {:.digits$})", values[middle], values[0], values[last])
}

/// Bare queries for logs, with headers in batches of 100 or without. Returns the number of logs.
async fn bare_blocks(
    connection: &mut KeptConnection,
    contracts: &Contracts,
    head: u64,
    with_headers: bool,
) -> u64 {
    let (mut found, size) = (0, if with_headers { 500 } else { CHUNK });
    for from in (1..=head).step_by(size as usize) {
        let to = (from + size - 1).min(head);
        let filter = json!([{
            "fromBlock": format!("{from:#x}"), "toBlock": format!("{to:#x}"), "address": contracts.protocol_state,
        }]);
        let call =
            json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_getLogs", "params": filter }).to_string();
        let (_, answer) = connection.post(&call).await.expect("answered");
        // Counted without a parser: nothing can be faster.
        found += answer.windows(10).filter(|window| window == b"\"logIndex\"").count() as u64;
        for from in (from..=to).step_by(100).filter(|_| with_headers) {
            headers(connection, from, (from + 99).min(to)).await;
        }
    }
    found
}

/// A batch of requests for headers.
async fn headers(connection: &mut KeptConnection, from: u64, to: u64) {
    let one = |number: u64| {
        json!({ "jsonrpc": "2.0", "id": number, "method": "eth_getBlockByNumber",
                "params": [format!("{number:#x}"), false] })
    };
    let batch = Value::Array((from..=to).map(one).collect());
    let (status, _) = connection.post(&batch.to_string()).await.expect("answered");
    assert_eq!(status, 200);
}

/// The time from a block to its effect in Redis. Blocks come at random moments, and not before the pause that follows two
/// announcements is over, as on a real chain.
async fn heads_by_websocket() {
    let (anvil, contracts) = chain(1).await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let tracker = Tracker::start(&redis.url(), &anvil.ws_url(), &contracts, Setup::default()).await;
    let key = format!("{}.CurrentEpochID", contracts.markets[0]);
    let (mut from_request, mut from_answer) = (Vec::new(), Vec::new());
    let mut dice = Dice::new(7);
    for epoch in 1..=HEADS as u64 {
        let release = Emission::EpochReleased { epoch, begin: 0, end: 1 };
        anvil.emit(&contracts, &contracts.markets[0], &release).await.expect("emitted");
        tokio::time::sleep(Duration::from_millis(60 + dice.roll(60))).await;
        let asked = Instant::now();
        anvil.mine().await.expect("mined");
        let mined = Instant::now();
        effect(&mut connection, &key, epoch).await;
        from_request.push(asked.elapsed().as_secs_f64() * 1e3);
        from_answer.push(mined.elapsed().as_secs_f64() * 1e3);
    }
    tracker.stop().await;
    println!("\nfrom a new head (WebSocket, anvil) to its effect in Redis, {HEADS} blocks:");
    print_times("since the node said that it has mined", from_answer);
    print_times("since it was asked to mine", from_request);
}

/// As [`heads_by_websocket`], from a node that is polled every 20 ms.
async fn heads_by_polling() {
    let node = GeneratedNode::start(GeneratedChain::new(3, 1, 1), NodeLimits::default()).expect("a node");
    let (contracts, redis) = (node.contracts(), RedisServer::start().await.expect("a Redis server"));
    let mut connection = redis.connection().await.expect("a connection");
    let tracker = Tracker::start(&redis.url(), &node.url(), &contracts, Setup::default()).await;
    let key = format!("{}.CurrentEpochID", contracts.markets[0]);
    effect(&mut connection, &key, 3).await;
    let (mut took, mut dice) = (Vec::new(), Dice::new(7));
    for epoch in 4..4 + HEADS as u64 {
        tokio::time::sleep(Duration::from_micros(60_000 + dice.roll(60_000))).await;
        node.grow(1);
        let grown = Instant::now();
        effect(&mut connection, &key, epoch).await;
        took.push(grown.elapsed().as_secs_f64() * 1e3);
    }
    tracker.stop().await;
    println!("from a new head (polled every 20 ms) to its effect in Redis, {HEADS} blocks:");
    print_times("with the interval", took.clone());
    print_times("less the whole interval", took.iter().map(|took| (took - 20.0).max(0.0)).collect());
    print_times(
        "less half of the interval, its mean",
        took.iter().map(|took| (took - 10.0).max(0.0)).collect(),
    );
}

fn print_times(what: &str, mut took: Vec<f64>) {
    took.sort_by(f64::total_cmp);
    let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize];
    println!("    {what}: p50 {:.1} ms, p99 {:.1} ms, slowest {:.1} ms", at(0.5), at(0.99), at(1.0));
}

/// Waits until this epoch is the current one in Redis.
async fn effect(connection: &mut MultiplexedConnection, key: &str, epoch: u64) {
    let began = Instant::now();
    while current(connection, key).await.as_deref() != Some(&*epoch.to_string()) {
        assert!(began.elapsed() < SOON, "epoch {epoch} never came");
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
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
