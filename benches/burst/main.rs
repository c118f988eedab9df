//! A burst of a million events, published in one pipeline, under Redis' default limits of output. In release, beside a program of fifty
//! lines in C that reads the same and only counts lines (`reader.c`, built by `cc`).
//!
//! It prints for each: events a second from the first publication until the last was taken from the socket, CPU seconds, and how often the
//! server cut the connection. Then the same with the state index: how many events a second were indexed, how many were dropped and
//! counted, and the most memory. `BURST_RUNS=5` makes five runs instead of twenty. It fails beyond a limit.

#![allow(clippy::expect_used)] // A missing figure ends the run.

#[path = "../service/mod.rs"]
mod process;
mod publish;
mod reader;
mod service;

use std::{process::ExitCode, time::Duration};

use reader::Reader;
use service::Service;
use testkit::RedisServer;

pub(crate) const EVENTS: u64 = 1_000_000;
pub(crate) const CHANNEL: &str = "state:change";
/// Of the bare reader's rate.
const RATE: f64 = 0.9;
const CPU_SECONDS: f64 = 0.2;
const INDEXED_A_SECOND: f64 = 150_000.0;
/// The index, with room for all events.
const INDEX: [(&str, &str); 2] =
    [("STATE_TRACKER__INDEX__ENABLED", "true"), ("STATE_TRACKER__INDEX__MAX_SUBMISSIONS", "2000000")];
/// How much memory the burst may take with the index, in MB.
const MEMORY: f64 = 100.0;

/// One run of one reader.
pub(crate) struct Run {
    /// From the first publication until the last event was taken from the socket.
    pub(crate) took: Duration,
    /// CPU seconds of the reader.
    pub(crate) cpu: f64,
    /// Whether the server cut the connection.
    pub(crate) is_cut: bool,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--test") {
        return ExitCode::SUCCESS;
    }
    let rounds = std::env::var("BURST_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(20);
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let redis = RedisServer::start().await.expect("a Redis server");
        bare.push(Reader::start(&redis).await.run(&redis).await);
        let service = Service::start(&redis, &[]).await;
        ours.push(service.run(&redis).await);
        service.stop().await;
    }
    let bare = shown("a bare reader", &bare);
    let ours = shown("this program", &ours);
    let mut is_kept = figure(
        format!("rate, of the bare reader's: {:.2} (at least {RATE})", ours.rate / bare.rate),
        ours.rate >= RATE * bare.rate,
    );
    is_kept &= figure(
        format!("CPU: {:.2} s (at most {CPU_SECONDS}; the bare reader {:.2})", ours.cpu, bare.cpu),
        ours.cpu <= CPU_SECONDS,
    );
    is_kept &= figure(
        format!("cut in {} of {rounds} runs (at most 0; the bare reader in {})", ours.cut, bare.cut),
        ours.cut == 0,
    );
    is_kept &= indexed().await;
    if is_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The burst with the state index.
async fn indexed() -> bool {
    let redis = RedisServer::start().await.expect("a Redis server");
    let service = Service::start(&redis, &INDEX).await;
    let before = service.memory();
    let run = service.run(&redis).await;
    let indexed = service.indexed().await;
    let most = service.memory() - before;
    service.stop().await;
    println!(
        "with the index: {} events taken in {:.2} s, cut: {}; {:.0} written in {:.2} s, {:.0} dropped, +{most:.0} MB",
        EVENTS,
        run.took.as_secs_f64(),
        run.is_cut,
        indexed.written,
        (run.took + indexed.took).as_secs_f64(),
        indexed.dropped,
    );
    // From the first publication on.
    let rate = indexed.written / (run.took + indexed.took).as_secs_f64();
    figure(format!("indexed a second: {rate:.0} (at least {INDEXED_A_SECOND:.0})"), rate >= INDEXED_A_SECOND)
        & figure(
            format!(
                "written and dropped, of the events: {:.4} (1)",
                (indexed.written + indexed.dropped) / EVENTS as f64
            ),
            indexed.written + indexed.dropped >= EVENTS as f64,
        )
        & figure(format!("memory: +{most:.0} MB (at most {MEMORY:.0})"), most <= MEMORY)
}

struct Shown {
    rate: f64,
    cpu: f64,
    cut: usize,
}

/// Prints the runs of a reader, and returns their medians.
fn shown(name: &str, runs: &[Run]) -> Shown {
    let sorted = |value: fn(&Run) -> f64| {
        let mut values: Vec<f64> = runs.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let rates = sorted(|run| EVENTS as f64 / run.took.as_secs_f64());
    let cpu = sorted(|run| run.cpu);
    let (half, last) = (runs.len() / 2, runs.len() - 1);
    println!(
        "{name}: {:.0} events/s ({:.0} to {:.0}), {:.3} CPU seconds ({:.3} to {:.3})",
        rates[half], rates[0], rates[last], cpu[half], cpu[0], cpu[last]
    );
    Shown { rate: rates[half], cpu: cpu[half], cut: runs.iter().filter(|run| run.is_cut).count() }
}

fn figure(what: String, is_kept: bool) -> bool {
    println!("{what}: {}", if is_kept { "kept" } else { "MISSED" });
    is_kept
}
