//! The speed of reading old blocks, as a ratio to bare requests for the same blocks in the same run, from a real node
//! on this machine. Run it by `cargo bench --package evm --bench backfill`.
#![allow(clippy::expect_used, missing_docs)] // A failed measurement ends the run.

use std::time::{Duration, Instant};

use domain::chain::BlockRef;
use evm::{ChainConfig, Contracts, Source, Step};
use serde_json::{Value, json};
use testkit::{Anvil, Emission};

const BLOCKS: u64 = 10_000;
/// One block in this many releases an epoch.
const EVERY: u64 = 10;
const CHUNK: u64 = 2_000;
const HEADERS_AT_ONCE: u64 = 100;
const RUNS: usize = 7;

#[tokio::main]
async fn main() {
    // `cargo test --benches` runs this too, and needs no measurement.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let anvil = Anvil::start().await.expect("a node");
    let contracts = anvil.deploy(1).await.expect("contracts");
    for epoch in 1..=BLOCKS / EVERY {
        let release = Emission::EpochReleased { epoch, begin: 0, end: 1 };
        anvil.emit(&contracts, &contracts.markets[0], &release).await.expect("emitted");
        anvil.mine_many(EVERY, 1).await.expect("mined");
    }
    let height = anvil.height().await.expect("a height");
    let (hash, parent, time) = anvil.block(0).await.expect("asked").expect("the first block");
    let genesis = BlockRef {
        number: 0,
        hash: hash.parse().expect("a hash"),
        parent: parent.parse().expect("a hash"),
        time,
    };
    let configured =
        Contracts { protocol_state: contracts.protocol_state.parse().expect("an address"), priorities: None };
    let config = ChainConfig::new(vec![anvil.url().parse().expect("a URL")], configured);
    let source = Source::new(config).expect("a source");

    let (mut logs, mut events, mut bare, mut blocks) = (vec![], vec![], vec![], vec![]);
    for run in 0..=RUNS {
        // Alternating, so that a busy moment of the machine affects all four; the first run warms up.
        let figures = [
            raw_logs(&anvil, &contracts.protocol_state, height).await,
            our_events(&source, &genesis, height).await,
            raw_logs(&anvil, &contracts.protocol_state, height).await + raw_headers(&anvil, height).await,
            our_blocks(&source, &genesis, height).await,
        ];
        if run > 0 {
            for (all, figure) in [&mut logs, &mut events, &mut bare, &mut blocks].into_iter().zip(figures) {
                all.push(figure);
            }
        }
    }
    println!("{height} blocks, an epoch in every {EVERY}th; median of {RUNS}:");
    report("old: events by ranges", "bare eth_getLogs", height, &events, &logs);
    report("young: blocks with headers", "bare batched headers, then eth_getLogs", height, &blocks, &bare);
}

fn report(what: &str, base: &str, height: u64, ours: &[Duration], raw: &[Duration]) {
    let median = |times: &[Duration]| {
        let mut times = times.to_vec();
        times.sort();
        times[times.len() / 2].as_secs_f64()
    };
    let rate = |times: &[Duration]| height as f64 / median(times);
    println!(
        "{what}: {:.0} blocks/s; {base}: {:.0} blocks/s; {:.2} of it",
        rate(ours),
        rate(raw),
        rate(ours) / rate(raw)
    );
}

async fn raw_logs(anvil: &Anvil, contract: &str, height: u64) -> Duration {
    let started = Instant::now();
    let mut found = 0;
    for from in (1..=height).step_by(CHUNK as usize) {
        let to = height.min(from + CHUNK - 1);
        let filter = json!([{ "address": contract, "fromBlock": format!("{from:#x}"), "toBlock": format!("{to:#x}") }]);
        let logs = anvil.request("eth_getLogs", filter).await.expect("logs");
        found += logs.as_array().expect("a list").len();
    }
    assert_eq!(found as u64, BLOCKS / EVERY);
    started.elapsed()
}

async fn raw_headers(anvil: &Anvil, height: u64) -> Duration {
    let started = Instant::now();
    for from in (1..=height).step_by(HEADERS_AT_ONCE as usize) {
        let to = height.min(from + HEADERS_AT_ONCE - 1);
        let call = |number: u64| json!({ "jsonrpc": "2.0", "id": number, "method": "eth_getBlockByNumber", "params": [format!("{number:#x}"), false] });
        let batch = Value::Array((from..=to).map(call).collect());
        let answer = testkit::anvil::post(anvil.addr(), &batch.to_string()).await.expect("answered");
        let answers: Vec<Value> = serde_json::from_slice(&answer).expect("a batch");
        assert_eq!(answers.len() as u64, to - from + 1);
    }
    started.elapsed()
}

async fn our_events(source: &Source, genesis: &BlockRef, height: u64) -> Duration {
    let started = Instant::now();
    let (range, mut last, mut found) = (source.range(height), *genesis, 0);
    while let Step::Part(part) = range.events(&last, deadline()).await.expect("events") {
        found += part.blocks.len() as u64;
        last = part.last;
    }
    assert_eq!((last.number, found), (height, BLOCKS / EVERY));
    started.elapsed()
}

async fn our_blocks(source: &Source, genesis: &BlockRef, height: u64) -> Duration {
    let started = Instant::now();
    let (range, mut last, mut found) = (source.range(height), *genesis, 0);
    while let Step::Part(blocks) = range.blocks(&last, deadline()).await.expect("blocks") {
        found += blocks.iter().map(|block| block.events.len() as u64).sum::<u64>();
        last = blocks.last().expect("a part has blocks").at;
    }
    assert_eq!((last.number, found), (height, BLOCKS / EVERY));
    started.elapsed()
}

fn deadline() -> tokio::time::Instant {
    tokio::time::Instant::now() + Duration::from_secs(60)
}
