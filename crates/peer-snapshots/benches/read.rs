//! Reading one picture of 10,000 miners, beside `serde_json` alone on the same bytes into a struct of the same fields.
//!
//! It fails below half of that.

#![allow(clippy::expect_used, missing_docs)] // A missing figure ends the run.

use std::{
    hint::black_box,
    process::ExitCode,
    time::{Duration, Instant},
};

use peer_snapshots::{Frame, Framer, MAX_LINE, Message, ProxyMiner, ProxyStatus, Tagging, read};
use serde::Deserialize;

const MINERS: u32 = 10_000;
const ROUNDS: usize = 200;
const LEAST_RATIO: f64 = 0.5;

#[derive(Deserialize)]
#[allow(dead_code)]
struct Plain {
    ehash_balance: u64,
    upstream_pool: Option<String>,
    downstream_miners: Vec<PlainMiner>,
    blockchain_network: String,
    timestamp: u64,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct PlainMiner {
    name: String,
    id: u32,
    address: Option<String>,
    hashrate: f64,
    shares_submitted: u64,
    connected_at: i64,
}

fn picture(in_order: bool) -> Vec<u8> {
    let miner = |number: u32| ProxyMiner {
        name: format!("farm-7.rig-{number}"),
        // Odd, so every id occurs once.
        id: if in_order { number } else { number.wrapping_mul(2_654_435_761) },
        address: Some(format!("10.{}.{}.{}:40122", number >> 16, number >> 8 & 255, number & 255)),
        hashrate: 1.1e14 + f64::from(number) * 123_456.789,
        shares_submitted: u64::from(number) * 17,
        connected_at: 1_700_000_000 + i64::from(number),
    };
    let status = ProxyStatus {
        ehash_balance: 1,
        upstream_pool: None,
        downstream_miners: (0..MINERS).map(miner).collect(),
        blockchain_network: "mainnet".to_owned(),
        timestamp: 1_700_000_000,
    };
    let mut line = Vec::new();
    Message::Proxy(status).write_line(Tagging::Outer, &mut line);
    line
}

/// The shortest times of two, in turns: what else runs on the machine only adds, and adds to both.
fn shortest(mut one: impl FnMut(), mut other: impl FnMut()) -> (Duration, Duration) {
    let time = |run: &mut dyn FnMut()| {
        let before = Instant::now();
        run();
        before.elapsed()
    };
    let rounds = (0..ROUNDS).map(|_| (time(&mut one), time(&mut other)));
    rounds.reduce(|least, round| (least.0.min(round.0), least.1.min(round.1))).expect("rounds")
}

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--test") {
        return ExitCode::SUCCESS;
    }
    let mut is_kept = true;
    for in_order in [true, false] {
        let line = picture(in_order);
        let (plain, ours) = shortest(
            || drop(black_box(serde_json::from_slice::<Plain>(black_box(&line)).expect("JSON"))),
            || {
                let mut framer = Framer::new(MAX_LINE);
                // As it comes from a socket.
                for packet in line.chunks(64 << 10) {
                    let mut input = packet;
                    while let Some(frame) = framer.next(&mut input).expect("an end") {
                        let Frame::Line(line) = frame else { panic!("too long") };
                        drop(black_box(read(black_box(line)).expect("a message")));
                    }
                }
            },
        );
        let ratio = plain.as_secs_f64() / ours.as_secs_f64();
        let order = if in_order { "ids in order" } else { "ids in no order" };
        println!(
            "{MINERS} miners, {} bytes, {order}: framed and read in {ours:?}, serde_json alone {plain:?}, ratio {ratio:.2} (at least {LEAST_RATIO})",
            line.len()
        );
        is_kept &= ratio >= LEAST_RATIO;
    }
    if is_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
