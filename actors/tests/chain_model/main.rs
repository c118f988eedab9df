//! A model test of the collector: random histories of a chain with its nodes, of collectors that write submissions, and of trackers
//! of real actors that crash and are restarted, over a real Redis whose clock is the test's. Whenever the trackers rest, every key of
//! the contract is compared with what follows from the script of the chain.
//!
//! A failed run prints its seed. `CHAIN_SEED=… cargo test -p actors --test chain_model` runs that history again (or several,
//! separated by commas); `CHAIN_HISTORIES=…` sets the number of histories of the long form.

#![allow(clippy::expect_used, clippy::panic, unreachable_pub)] // A test that can't continue panics.

mod clock;
#[path = "../common/mod.rs"]
mod common;
mod history;
mod judge;
mod node;
mod script;
mod settings;
mod tracker;

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use history::History;

/// Histories of the quick form, and how many run at once.
const HISTORIES: u64 = 4;
const AT_ONCE: usize = 4;

/// Runs these histories, some at once; prints what all of them have seen.
async fn run(seeds: Vec<u64>) {
    let workers = (0..AT_ONCE).map(|worker| {
        let own: Vec<u64> = seeds.iter().copied().skip(worker).step_by(AT_ONCE).collect();
        tokio::spawn(async move {
            let (mut failed, mut counts) = (Vec::new(), BTreeMap::<&str, u64>::new());
            for seed in own {
                // The failure was printed where it happened.
                match tokio::spawn(async move { History::new(seed).await.run().await }).await {
                    Ok(seen) => {
                        seen.into_iter().for_each(|(what, many)| *counts.entry(what).or_default() += many)
                    }
                    Err(_) => failed.push(seed),
                }
            }
            (failed, counts)
        })
    });
    let (mut failed, mut counts) = (Vec::new(), BTreeMap::<&str, u64>::new());
    for worker in workers.collect::<Vec<_>>() {
        let (more, seen) = worker.await.expect("a worker does not fail");
        failed.extend(more);
        seen.into_iter().for_each(|(what, many)| *counts.entry(what).or_default() += many);
    }
    println!("{} histories: {counts:?}", seeds.len());
    failed.sort_unstable();
    assert!(failed.is_empty(), "these histories failed, see above: CHAIN_SEED={failed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_holds_what_the_chain_says_whatever_happens_to_it_and_to_the_trackers() {
    let seeds = std::env::var("CHAIN_SEED").ok();
    let seeds =
        seeds.map(|seeds| seeds.split(',').map(|seed| seed.trim().parse().expect("a number")).collect());
    run(seeds.unwrap_or_else(|| (1..=HISTORIES).collect())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes many minutes: new histories at each run, CHAIN_HISTORIES of them (1000)"]
async fn redis_holds_what_the_chain_says_in_any_number_of_histories() {
    let first =
        SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as u64 % 1_000_000_000;
    println!("histories from seed {first} on");
    let histories = std::env::var("CHAIN_HISTORIES").map_or(1000, |number| number.parse().expect("a number"));
    run((first..first + histories).collect()).await;
}
