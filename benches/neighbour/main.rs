//! What another client of the same Redis feels of this program: its latency beside the program with nothing to do, and beside the
//! program with an input that is far larger than usual. In release, with a real Redis server for each input.
//!
//! The inputs: a day's timeline of 8,000,000 members, an epoch of 1,000,000 validators, 1,000,000 stale ids in `epochs:active`, and
//! 8,000,000 members that the pruner removes. For each it prints p50, p99 and the longest wait of the other client, how many commands
//! took Redis longer than 5 ms by its own log, and the most memory of the program. `-- stale` measures one input only;
//! `NEIGHBOUR_SHARE=100` makes each of them a hundredth of its size. It fails beyond a limit.

#![allow(clippy::expect_used)] // A missing figure ends the run.

mod client;
mod inputs;
#[path = "../service/mod.rs"]
mod process;

use std::{process::ExitCode, time::Duration};

use client::{Client, Waits};
use inputs::{INPUTS, Input};
use process::{SOON, Service};
use testkit::{RedisServer, wait_until};

/// How much longer than beside an idle program one in a hundred commands of the other client may take.
const LONGER: Duration = Duration::from_millis(3);
/// The longest command, in microseconds, as Redis measures it.
const LONGEST: u64 = 5_000;
/// The most memory of the program, in MB.
const MEMORY: f64 = 150.0;
/// How long the other client is measured beside the idle program, and at least beside the busy one.
const MEASURED: Duration = Duration::from_secs(10);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--test") {
        return ExitCode::SUCCESS;
    }
    let chosen: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let share = std::env::var("NEIGHBOUR_SHARE").ok().and_then(|share| share.parse().ok()).unwrap_or(1);
    let mut is_kept = true;
    for input in &INPUTS {
        if chosen.is_empty() || chosen.iter().any(|name| *name == input.name) {
            is_kept &= measure(input, share).await;
        }
    }
    if is_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Measures one input, made smaller by this share.
async fn measure(input: &Input, share: u64) -> bool {
    let redis = RedisServer::start().await.expect("a Redis server");
    let idle_program = Service::start(&redis, input.settings).await;
    let idle = Client::start(redis.addr()).during(async { tokio::time::sleep(MEASURED).await }).await;
    idle_program.stop().await;

    let mut connection = redis.connection().await.expect("a connection");
    let count = input.seed(&mut connection, share).await;
    let limit = redis::cmd("CONFIG").arg("SET").arg("slowlog-log-slower-than").arg(LONGEST).clone();
    for command in [limit, redis::cmd("SLOWLOG").arg("RESET").clone()] {
        command.query_async::<()>(&mut connection).await.expect("set");
    }
    let client = Client::start(redis.addr());
    let mut memory = 0.0;
    let busy = client
        .during(async {
            let program = Service::start(&redis, input.settings).await;
            wait_until("it has done its work", 5 * SOON, async || {
                let text = program.ask("/metrics").await;
                input.is_done(&mut redis.connection().await.expect("a connection"), &text).await
            })
            .await;
            tokio::time::sleep(MEASURED).await;
            memory = program.memory();
            program.stop().await;
        })
        .await;
    let slow: Vec<redis::Value> =
        redis::cmd("SLOWLOG").arg("GET").arg(100).query_async(&mut connection).await.expect("its log");
    println!("{}: {count} entries", input.says);
    let shown = |waits: &Waits| {
        format!("p50 {:.2?}, p99 {:.2?}, longest {:.2?}", waits.p50, waits.p99, waits.longest)
    };
    println!(
        "  another client beside an idle program: {}; beside a busy one: {}",
        shown(&idle),
        shown(&busy)
    );
    let more = busy.p99.saturating_sub(idle.p99);
    let mut is_kept = figure(&format!("p99 longer by {more:.2?} (at most {LONGER:?})"), more <= LONGER);
    let commands: Vec<String> = slow.iter().filter_map(client::slow_command).collect();
    is_kept &= figure(
        &format!("commands over {LONGEST} us: {} (0) {}", slow.len(), commands.join(", ")),
        slow.is_empty(),
    );
    is_kept & figure(&format!("memory: {memory:.0} MB (at most {MEMORY:.0})"), memory <= MEMORY)
}

/// Prints a figure beside its limit, and returns whether it is kept.
fn figure(what: &str, is_kept: bool) -> bool {
    println!("  {what}: {}", if is_kept { "kept" } else { "MISSED" });
    is_kept
}
