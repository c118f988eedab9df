//! The speed of reading old blocks, as a ratio to bare requests for the same blocks in the same run. The node is one of
//! generated blocks in this process, since a chain of this length can't be mined in a minute. The bare requests use one
//! kept connection and read nothing but the number of results. Run it by
//!
//! ```text
//! cargo bench --package evm --bench backfill [-- old | young | limited | unknown]
//! ```
#![allow(clippy::expect_used, missing_docs)] // A failed measurement ends the run.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use domain::chain::{BlockRef, Hash};
use evm::{ChainConfig, ChainError, Contracts, Source, Step};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use testkit::generated_node::KeptConnection;
use testkit::{GeneratedChain, GeneratedNode, NodeLimits};

/// One block in this many releases an epoch, and the next one ends an epoch: 2 events in 20 blocks.
const EVERY: u64 = 20;
const INTERVAL: u64 = 2;
const RANGE: u64 = 2_000;
const HEADERS_AT_ONCE: u64 = 100;
/// The blocks of a part with headers, for which the logs are asked at once.
const PART: u64 = 500;
const ROUNDS: usize = 7;

/// The time for one part.
const TIME: Duration = Duration::from_secs(60);

const OLD: u64 = 400_000;
const YOUNG: u64 = 40_000;
/// Of the node with low limits: blocks in a query, calls in a second, seconds of the first round and of each other one, which reads
/// 400,000 blocks.
const FEW_BLOCKS: u64 = 10;
const CALLS: u64 = 200;
const SECONDS: [u64; 2] = [20, 200];

#[tokio::main]
async fn main() {
    // `cargo test --benches` runs this too, and needs no measurement.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let named: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |name: &str| named.is_empty() || named.iter().any(|named| named == name);
    for latency in [0, 5].map(Duration::from_millis) {
        if wanted("old") {
            old(latency).await;
        }
        if wanted("young") {
            young(latency).await;
        }
    }
    if wanted("limited") {
        limited(true).await;
    }
    if wanted("limited") || wanted("unknown") {
        limited(false).await;
    }
}

struct Bench {
    node: GeneratedNode,
    genesis: BlockRef,
    chain: GeneratedChain,
    connection: KeptConnection,
}

impl Bench {
    async fn new(blocks: u64, limits: NodeLimits) -> Self {
        let chain = GeneratedChain::new(blocks, EVERY, INTERVAL);
        let node = GeneratedNode::start(chain.clone(), limits).expect("a node");
        let genesis =
            BlockRef { number: 0, hash: Hash(chain.hash(0)), parent: Hash([0; 32]), time: chain.time(0) };
        let connection = KeptConnection::open(node.addr()).await.expect("a connection");
        Self { node, genesis, chain, connection }
    }

    fn config(&self) -> ChainConfig {
        let contracts = self.node.contracts();
        let configured = Contracts {
            protocol_state: contracts.protocol_state.parse().expect("an address"),
            priorities: None,
        };
        ChainConfig::new(vec![self.node.url().parse().expect("a URL")], configured)
    }

    fn source(&self) -> Source {
        Source::new(self.config()).expect("a source")
    }

    async fn bare_logs(&mut self, from: u64, to: u64) -> u64 {
        let filter = json!([{
            "address": self.node.contracts().protocol_state,
            "fromBlock": format!("{from:#x}"), "toBlock": format!("{to:#x}"),
        }]);
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_getLogs", "params": filter });
        let (_, answer) = self.connection.post(&call.to_string()).await.expect("answered");
        results(answer)
    }

    async fn bare_headers(&mut self, from: u64, to: u64) {
        let call = |number: u64| json!({ "jsonrpc": "2.0", "id": number, "method": "eth_getBlockByNumber", "params": [format!("{number:#x}"), false] });
        let batch = Value::Array((from..=to).map(call).collect());
        let (_, answer) = self.connection.post(&batch.to_string()).await.expect("answered");
        let answers: Vec<IgnoredAny> = serde_json::from_slice(answer).expect("a batch");
        assert_eq!(answers.len() as u64, to - from + 1);
    }

    async fn bare_events(&mut self, to: u64, range: u64) -> u64 {
        let mut found = 0;
        for from in (1..=to).step_by(range as usize) {
            found += self.bare_logs(from, to.min(from + range - 1)).await;
        }
        found
    }

    async fn bare_blocks(&mut self, to: u64) -> u64 {
        let mut found = 0;
        for from in (1..=to).step_by(PART as usize) {
            let end = to.min(from + PART - 1);
            found += self.bare_logs(from, end).await;
            for from in (from..=end).step_by(HEADERS_AT_ONCE as usize) {
                self.bare_headers(from, end.min(from + HEADERS_AT_ONCE - 1)).await;
            }
        }
        found
    }

    async fn our_events(&self, source: &Source, to: u64) -> u64 {
        let (mut ahead, mut last, mut found) = (source.range(to).events_ahead(TIME), self.genesis, 0);
        loop {
            match ahead.next(&last, deadline()).await {
                Ok(Step::Part(part)) => {
                    found += part.blocks.iter().map(|block| block.events.len() as u64).sum::<u64>();
                    last = part.last;
                }
                Ok(Step::Done) => break,
                // The service repeats a call without an answer after a second.
                Err(ChainError::NoAnswer { .. }) => tokio::time::sleep(Duration::from_secs(1)).await,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((last.number, last.hash), (to, Hash(self.chain.hash(to))));
        found
    }

    async fn our_blocks(&self, source: &Source, to: u64) -> u64 {
        let (mut ahead, mut last, mut found) = (source.range(to).blocks_ahead(TIME), self.genesis, 0);
        while let Step::Part(blocks) = ahead.next(&last, deadline()).await.expect("blocks") {
            found += blocks.iter().map(|block| block.events.len() as u64).sum::<u64>();
            last = blocks.last().expect("a part has blocks").at;
        }
        assert_eq!((last.number, last.hash), (to, Hash(self.chain.hash(to))));
        found
    }
}

/// Events by ranges, beside bare queries with ranges of the same size.
async fn old(latency: Duration) {
    let mut bench = Bench::new(OLD, NodeLimits { latency, ..NodeLimits::default() }).await;
    let (source, events) = (bench.source(), bench.chain.events(OLD));
    let mut figures = Figures::default();
    for _ in 0..=ROUNDS {
        let (bare, ours) = (Instant::now(), bench.bare_events(OLD, RANGE).await);
        assert_eq!(ours, events);
        let bare = bare.elapsed();
        let (ours, found) = (Instant::now(), bench.our_events(&source, OLD).await);
        assert_eq!(found, events);
        figures.add(OLD, ours.elapsed(), bare);
    }
    figures
        .print(&format!("old, {latency:?} latency: {OLD} blocks by their events; limit: bare eth_getLogs"));
}

/// Blocks with headers, beside bare batches of the same size.
async fn young(latency: Duration) {
    let mut bench = Bench::new(YOUNG, NodeLimits { latency, ..NodeLimits::default() }).await;
    let (source, events) = (bench.source(), bench.chain.events(YOUNG));
    let mut figures = Figures::default();
    for _ in 0..=ROUNDS {
        let (bare, found) = (Instant::now(), bench.bare_blocks(YOUNG).await);
        assert_eq!(found, events);
        let bare = bare.elapsed();
        let (ours, found) = (Instant::now(), bench.our_blocks(&source, YOUNG).await);
        assert_eq!(found, events);
        figures.add(YOUNG, ours.elapsed(), bare);
    }
    figures.print(&format!("young, {latency:?} latency: {YOUNG} blocks with headers; limit: bare batches of {HEADERS_AT_ONCE} headers, and eth_getLogs"));
}

/// A node that takes no batches, few blocks and few calls a second. The limit are its own limits, in arithmetic.
async fn limited(is_configured: bool) {
    let limits = NodeLimits {
        blocks: Some(FEW_BLOCKS),
        no_batches: true,
        calls_per_second: Some(CALLS),
        latency: Duration::from_millis(1),
    };
    let mut figures = Figures::default();
    let mut counts = String::new();
    for round in 0..=3 {
        let seconds = SECONDS[round.min(1)];
        let blocks = FEW_BLOCKS * CALLS * seconds;
        // A new node each time, so that each round has to find the limits.
        let bench = Bench::new(blocks, limits).await;
        // A little less than the node allows: requests that are sent evenly do not arrive evenly.
        let rate_limit = is_configured.then(|| NonZeroU32::new(CALLS as u32 * 19 / 20)).flatten();
        let source = Source::new(ChainConfig { rate_limit, ..bench.config() }).expect("a source");
        let ours = Instant::now();
        assert_eq!(bench.our_events(&source, blocks).await, bench.chain.events(blocks));
        figures.add(blocks, ours.elapsed(), Duration::from_secs(seconds));
        counts = format!("{:?}", bench.node.counts());
    }
    let configured = if is_configured { "95 % of its rate configured" } else { "its rate unknown" };
    figures.print(&format!(
        "limited, {configured}: no batches, {FEW_BLOCKS} blocks a query, {CALLS} calls a second; limit: these alone"
    ));
    println!("    {counts}");
}

/// Blocks a second in each round, but for the first one, which warms up.
#[derive(Default)]
struct Figures {
    ours: Vec<f64>,
    limit: Vec<f64>,
    is_warm: bool,
}

impl Figures {
    fn add(&mut self, blocks: u64, ours: Duration, limit: Duration) {
        if std::mem::replace(&mut self.is_warm, true) {
            self.ours.push(blocks as f64 / ours.as_secs_f64());
            self.limit.push(blocks as f64 / limit.as_secs_f64());
        }
    }

    fn print(&self, what: &str) {
        let ratios: Vec<f64> = self.ours.iter().zip(&self.limit).map(|(ours, limit)| ours / limit).collect();
        println!(
            "{what}\n    ours {} blocks/s, limit {} blocks/s, ratio {}",
            spread(&self.ours, 0),
            spread(&self.limit, 0),
            spread(&ratios, 2)
        );
    }
}

/// Median, least and most.
fn spread(values: &[f64], digits: usize) -> String {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let (middle, last) = (values.len() / 2, values.len() - 1);
    format!("{:.digits$} ({:.digits$} to {:.digits$})", values[middle], values[0], values[last])
}

/// The number of results of an answer.
fn results(answer: &[u8]) -> u64 {
    #[derive(Deserialize)]
    struct Answer {
        result: Vec<IgnoredAny>,
    }
    serde_json::from_slice::<Answer>(answer).expect("an answer").result.len() as u64
}

fn deadline() -> tokio::time::Instant {
    tokio::time::Instant::now() + TIME
}
