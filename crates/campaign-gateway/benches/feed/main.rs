//! The feed under load, beside the server of the protocol's own makers in the same run: 5,000 clients in 500 rooms, 50 events a second.
//!
//! The time is from the append of an event to its arrival at a client; 50 of the clients are official ones, in a process of Node. Each
//! server has a process of its own. The bench fails where the gateway misses its limits. `FEED_CLIENTS` and `FEED_SECONDS` change its size.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A bench that can not go on panics.

#[path = "../../tests/common/mod.rs"]
mod common;

mod load;
mod server;
mod wire;

use std::{env, process::ExitCode, time::Duration};

use load::Figures;

/// What the gateway must keep to.
const P50: Duration = Duration::from_millis(2);
const P99: Duration = Duration::from_millis(10);
const KILOBYTES: f64 = 10.0;

/// The size of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) clients: usize,
    pub(crate) official: usize,
    pub(crate) rooms: usize,
    pub(crate) per_second: u64,
    pub(crate) seconds: u64,
}

impl Size {
    fn of_environment() -> Self {
        let number =
            |name: &str, default| env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
        let clients = number("FEED_CLIENTS", 5_000);
        Self {
            clients,
            official: clients / 100,
            rooms: (clients / 10).max(1),
            per_second: 50,
            seconds: number("FEED_SECONDS", 20) as u64,
        }
    }
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    // The gateway's own process.
    if env::args().any(|argument| argument == "serve-feed") {
        runtime.block_on(server::run(Size::of_environment()));
        return ExitCode::SUCCESS;
    }
    let size = Size::of_environment();
    println!(
        "{} clients ({} official) in {} rooms, {} events a second for {} s",
        size.clients, size.official, size.rooms, size.per_second, size.seconds
    );
    let ours = runtime.block_on(load::measure(server::Kind::Ours, size));
    let theirs = runtime.block_on(load::measure(server::Kind::Node, size));
    println!(
        "{:<12} {:>9} {:>9} {:>9} {:>9} {:>12} {:>9}",
        "server", "p50", "p99", "max", "official", "KB a client", "missing"
    );
    show("gateway", &ours);
    show("socket.io", &theirs);
    let keeps = ours.p50 < P50 && ours.p99 < P99 && ours.kilobytes < KILOBYTES && ours.missing == 0;
    println!(
        "limits: p50 {P50:?}, p99 {P99:?}, {KILOBYTES} KB, none missing: {}",
        if keeps { "kept" } else { "MISSED" }
    );
    if keeps { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn show(name: &str, figures: &Figures) {
    let millis = |duration: Duration| format!("{:.2} ms", duration.as_secs_f64() * 1e3);
    let Figures { p50, p99, max, official_p50, kilobytes, missing } = figures;
    println!(
        "{name:<12} {:>9} {:>9} {:>9} {:>9} {kilobytes:>12.1} {missing:>9}",
        millis(*p50),
        millis(*p99),
        millis(*max),
        millis(*official_p50)
    );
}
