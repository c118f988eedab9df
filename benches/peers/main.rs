//! Connected peers in the whole service, in release, each figure beside its limit. It fails beyond one.
//!
//! `load`: 1,000 senders of 100 miners each, every 5 s; CPU and memory of the service, that no picture is skipped, what a day takes of the
//! disk, and the limit of bytes once. It takes a minute; `PEERS_BENCH_SECONDS=600` is ten, and `PEERS_BENCH_SENDS=status` or `metrics` sends
//! one of both. `picture`: from the last byte of a picture of 10,000 miners until a reader has it. `lists`: `/api/miners` of them beside a
//! file of the same bytes, and answers to readers who have it already. `-- load` measures a part only.

#![allow(clippy::expect_used)] // A missing figure ends the run.

mod client;
mod fixed;
mod lists;
mod load;
mod picture;
mod pictures;
#[path = "../procfs/mod.rs"]
mod procfs;
mod service;

use std::process::ExitCode;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--test") {
        return ExitCode::SUCCESS;
    }
    if let [word, plain, packed] = &arguments[..]
        && word == fixed::WORD
    {
        fixed::serve(plain, packed).await;
        return ExitCode::SUCCESS;
    }
    let chosen: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let is_chosen = |name: &str| chosen.is_empty() || chosen.iter().any(|part| *part == name);
    let mut is_kept = true;
    if is_chosen("picture") {
        is_kept &= picture::measure().await;
    }
    if is_chosen("lists") {
        is_kept &= lists::measure().await;
    }
    if is_chosen("load") {
        is_kept &= load::measure().await;
    }
    if is_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints a figure beside its limit, and returns whether it is kept.
fn figure(what: &str, is_kept: bool) -> bool {
    println!("{what}: {}", if is_kept { "kept" } else { "MISSED" });
    is_kept
}
