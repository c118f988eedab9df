//! A model test: random producers, and trackers of real actors that crash, lose their connections, pause and are restarted, on the
//! clock of the test, over a real Redis whose keys expire with that clock. At every look each dataset is compared with what the
//! crate `reference` derives from what the producers did.
//!
//! A failed run prints its seed. `MODEL_SEED=… cargo test -p actors --test model` runs that history again (or several, separated
//! by commas); `MODEL_HISTORIES=…` sets the number of histories of the long form.

#![allow(clippy::expect_used, clippy::panic, unreachable_pub)] // A test that can't continue panics.

mod aging;
mod consumer;
mod reading;
mod run;
mod small;
mod tracker;

use std::time::{SystemTime, UNIX_EPOCH};

use run::Run;

/// Histories of the quick form, and how many run at once.
const HISTORIES: u64 = 40;
const AT_ONCE: u64 = 4;

/// Runs these histories, some at once.
async fn run(seeds: Vec<u64>) {
    let workers = (0..AT_ONCE).map(|worker| {
        let own: Vec<u64> = seeds.iter().copied().skip(worker as usize).step_by(AT_ONCE as usize).collect();
        tokio::spawn(async move {
            let mut failed = Vec::new();
            for seed in own {
                // The failure was printed where it happened.
                if tokio::spawn(async move { Run::new(seed).await.run().await }).await.is_err() {
                    failed.push(seed);
                }
            }
            failed
        })
    });
    let mut failed = Vec::new();
    for worker in workers.collect::<Vec<_>>() {
        failed.extend(worker.await.expect("a worker does not fail"));
    }
    assert!(failed.is_empty(), "these histories failed, see above: MODEL_SEED={failed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_dataset_shows_what_the_producers_did_whatever_happens_to_the_tracker() {
    let seeds = std::env::var("MODEL_SEED").ok();
    let seeds =
        seeds.map(|seeds| seeds.split(',').map(|seed| seed.trim().parse().expect("a number")).collect());
    run(seeds.unwrap_or_else(|| (1..=HISTORIES).collect())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: new histories at each run, MODEL_HISTORIES of them (1000)"]
async fn every_dataset_shows_what_the_producers_did_in_any_number_of_histories() {
    let first =
        SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as u64 % 1_000_000_000;
    println!("histories from seed {first} on");
    let histories = std::env::var("MODEL_HISTORIES").map_or(1000, |number| number.parse().expect("a number"));
    run((first..first + histories).collect()).await;
}
