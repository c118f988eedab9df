//! What the kit costs and how fast it is, each figure beside its goal: throughput, restarts, idle actors, health records,
//! and the price of supervision.
//!
//! `cargo bench -p supervision --bench kit` measures everything in some minutes; `-- restart idle` only these sections.
//! Alternatives run in turns (A B A B…), so that noise of the machine hits all of them, and most figures are ratios within
//! the run. The runtime has two workers. The exit code is 0 whether the goals are met or not.
//!
//! Only [`kit`] uses the interface of the crate.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a bench")]

mod allocator;
mod clocks;
mod health;
mod idle;
mod kit;
mod peers;
mod race;
mod report;
mod restart;
mod throughput;
mod tree_cost;

use std::time::Instant;

use clocks::OtherLoad;
use report::Report;
use tokio::runtime::{Builder, Runtime};

/// A part of the bench: it measures, and adds its figures.
type Section = fn(&Runtime, &mut Report);

const SECTIONS: [(&str, Section); 5] = [
    ("throughput", throughput::measure),
    ("tree_cost", tree_cost::measure),
    ("restart", restart::measure),
    ("idle", idle::measure),
    ("health", health::measure),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` runs this too, and needs no measurement.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let chosen: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut report = Report::default();
    for (name, measure) in SECTIONS {
        if chosen.is_empty() || chosen.iter().any(|section| *section == name) {
            let (began, others) = (Instant::now(), OtherLoad::from_now());
            measure(&runtime, &mut report);
            let others = others.percent().map_or("?".to_owned(), |percent| format!("{percent:.0}"));
            println!("{name}: {:.0?}; other processes used {others} % of the machine", began.elapsed());
        }
    }
    report.print();
}

/// Runs `work` on a worker: the bench's own thread would be a third one.
fn on_worker<F>(runtime: &Runtime, work: F) -> F::Output
where
    F: Future<Output: Send> + Send + 'static,
{
    runtime.block_on(runtime.spawn(work)).expect("the work does not fail")
}

/// A whole number from the environment.
fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().expect("the variable is a whole number"))
}
