//! Simulations of whole trees: a seed chooses the tree, what its actors do, and what happens to them, on a clock that is driven by
//! hand and on one thread. After each step a model that is written from the documents says whether every promise was kept.
//!
//! `SUPERVISION_SEEDS=10000 cargo test -p supervision --test simulation` runs that many seeds, and
//! `SUPERVISION_SEED=7 cargo test -p supervision --test simulation` runs a single one and prints the end of its trace.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "helpers of tests")]

#[path = "simulation/actors.rs"]
mod actors;
#[path = "simulation/checks.rs"]
mod checks;
#[path = "simulation/driver.rs"]
mod driver;
#[path = "simulation/events.rs"]
mod events;
#[path = "simulation/lives.rs"]
mod lives;
#[path = "simulation/mailboxes.rs"]
mod mailboxes;
#[path = "simulation/message.rs"]
mod message;
#[path = "common/random.rs"]
mod random;
#[path = "simulation/reading.rs"]
mod reading;
#[path = "simulation/runs.rs"]
mod runs;
#[path = "simulation/sending.rs"]
mod sending;
#[path = "simulation/shape.rs"]
mod shape;
#[path = "simulation/steps.rs"]
mod steps;
#[path = "simulation/world.rs"]
mod world;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use runs::{Failed, run};

/// How many seeds a plain test run has.
const SEEDS: u64 = 300;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

#[test]
fn every_promise_holds_in_simulated_trees() {
    if let Some(seed) = number("SUPERVISION_SEED") {
        match run(seed) {
            Ok(passed) => println!("{}\nseed {seed} keeps every promise", passed.trace.join("\n")),
            Err(failed) => panic!("{failed}"),
        }
        return;
    }
    let (next, count) = (AtomicU64::new(0), number("SUPERVISION_SEEDS").unwrap_or(SEEDS));
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let worker = || {
        let (mut failed, mut pauses): (Option<Box<Failed>>, _) = (None, (0, 0));
        loop {
            let seed = next.fetch_add(1, Relaxed);
            if seed >= count {
                return (failed, pauses);
            }
            match run(seed) {
                Ok(passed) => pauses = (pauses.0 + passed.pauses.0, pauses.1 + passed.pauses.1),
                Err(violated) => {
                    // The others stop, too.
                    next.store(count, Relaxed);
                    failed = failed.or(Some(violated));
                }
            }
        }
    };
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().map(|worker| worker.join().expect("a simulation does not panic")).collect()
    });
    let failed = outcomes.iter().filter_map(|(failed, _)| failed.as_ref()).min_by_key(|failed| failed.seed);
    if let Some(failed) = failed {
        panic!("{failed}");
    }
    let (restarts, early) =
        outcomes.iter().fold((0, 0), |all, (_, pauses)| (all.0 + pauses.0, all.1 + pauses.1));
    assert!(count < SEEDS || early > 0, "none of {restarts} pauses was shortened by chance");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let seeds = [3, 17, 4, 25, 8, 11];
    let trace = |seed: u64| match run(seed) {
        Ok(passed) => passed.trace,
        Err(failed) => panic!("{failed}"),
    };
    let first: Vec<Vec<String>> = seeds.map(trace).into();
    // In another order, after others, and beside others.
    let again = std::thread::scope(|scope| {
        let threads: Vec<_> = seeds.iter().rev().map(|&seed| scope.spawn(move || trace(seed))).collect();
        let mut traces: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("a trace")).collect();
        traces.reverse();
        traces
    });
    for ((seed, first), again) in seeds.iter().zip(&first).zip(&again) {
        let at = first.iter().zip(again).position(|(one, other)| one != other);
        if let Some(at) = at {
            panic!("seed {seed} differs at line {at}:\n{}\n{}", first[at], again[at]);
        }
        assert_eq!(first.len(), again.len(), "seed {seed}");
    }
}
