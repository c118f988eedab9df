//! Campaigns in the whole service, in release, each figure beside its limit. It fails beyond one.
//!
//! `feed`: from a commit in the users' database until 5,000 clients in 500 rooms have it, beside the protocol's own server, which hears of
//! the same commits by LISTEN, in turns of the same run. `active`: CPU and memory of the service for 1,000 active campaigns at 15 s.
//! `-- feed` measures a part only. `FEED_CLIENTS`, `FEED_SECONDS`, `FEED_TURNS` and `ACTIVE_SECONDS` change the size.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)] // A missing figure ends the run.

mod active;
mod clients;
mod feed;
#[path = "../procfs/mod.rs"]
mod procfs;
mod scene;
mod server;
#[path = "../../crates/campaign-gateway/benches/feed/wire.rs"]
mod wire;

use std::process::ExitCode;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--test") {
        return ExitCode::SUCCESS;
    }
    let chosen: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let is_chosen = |name: &str| chosen.is_empty() || chosen.iter().any(|part| *part == name);
    let mut is_kept = true;
    if is_chosen("active") {
        is_kept &= active::measure().await;
    }
    if is_chosen("feed") {
        is_kept &= feed::measure().await;
    }
    if is_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A number of the environment.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// How many processes were about to run in the last minute: other programs disturb the figures.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}
