//! The random part of the pauses before restarts: within its bounds, different for each actor, and determined by a seed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::time::Duration;

use common::{HOUR, Idles, MINUTE, MS, SECOND, manual, policy, quiet, record};
use supervision::{Backoff, Child, OnLimit, Policy, Tree, TreeOptions};

/// 1,000 restarts an hour; the pauses from `first` to `max` have a random part.
fn jittered(first: Duration, max: Duration) -> Policy {
    let policy = policy((1_000, HOUR), (first, max));
    Policy { backoff: Backoff { jitter: true, ..policy.backoff }, start_within: 2 * HOUR, ..policy }
}

/// Kills the actors at these paths together, and returns the pauses before their restarts, in milliseconds.
async fn pauses<const N: usize>(tree: &Tree, clock: &supervision::Clock, paths: [&str; N]) -> [u64; N] {
    quiet().await;
    let generation = |path: &str| record(tree, path).generation;
    let before = paths.map(generation);
    for path in paths {
        assert!(tree.kill(path));
    }
    quiet().await;
    let mut pauses = [0; N];
    for passed in 1_u64.. {
        clock.advance(MS);
        quiet().await;
        for ((path, pause), before) in paths.iter().zip(&mut pauses).zip(before) {
            if *pause == 0 && generation(path) > before {
                *pause = passed;
            }
        }
        if pauses.iter().all(|&pause| pause > 0) {
            break;
        }
        assert!(passed < 120_000, "no restart: {pauses:?}");
    }
    pauses
}

/// The pauses of two children of one supervisor and two of another one that are killed together, three times.
async fn all_pauses(seed: Option<u64>) -> [[u64; 4]; 3] {
    let clock = manual();
    let child = |name| Child::worker(name, || Idles).policy(jittered(100 * MS, SECOND));
    let group = |name| Child::supervisor(name, vec![child("a"), child("b")]);
    let options = TreeOptions { clock: clock.clone(), seed, ..TreeOptions::default() };
    let tree = Tree::start(vec![group("one"), group("two")], options).await.expect("the root starts");
    let mut rounds = [[0; 4]; 3];
    for round in &mut rounds {
        *round = pauses(&tree, &clock, ["one/a", "one/b", "two/a", "two/b"]).await;
    }
    rounds
}

#[tokio::test]
async fn jitter_shortens_a_pause_by_half_at_most() {
    // Pauses of 100 ms, doubled to 300 ms, without their random part.
    let clock = manual();
    let options = TreeOptions { clock: clock.clone(), ..TreeOptions::default() };
    let child = Child::worker("child", || Idles).policy(jittered(100 * MS, 300 * MS));
    let tree = Tree::start(vec![child], options).await.expect("the root starts");
    for (least, most) in [(50, 100), (100, 200), (150, 300), (150, 300)] {
        let [pause] = pauses(&tree, &clock, ["child"]).await;
        assert!((least..=most).contains(&pause), "{pause} ms, expected from {least} to {most} ms");
    }
}

#[tokio::test]
async fn actors_that_crash_together_restart_apart() {
    // With this seed, no two of the four have the same millisecond.
    for round in all_pauses(Some(1)).await {
        let mut apart = round.to_vec();
        apart.sort_unstable();
        apart.dedup();
        assert_eq!(apart.len(), 4, "{round:?}");
    }
}

#[tokio::test]
async fn a_seed_determines_all_pauses_and_another_seed_others() {
    let first = all_pauses(Some(7)).await;
    assert_eq!(all_pauses(Some(7)).await, first);
    assert_ne!(all_pauses(Some(8)).await, first);
    // 12 pauses of at least 50 values each: two trees without a seed agree once in 10^20 runs.
    assert_ne!(all_pauses(None).await, all_pauses(None).await);
}

#[tokio::test]
async fn the_retries_of_a_degraded_actor_have_a_random_part_too() {
    let clock = manual();
    let degraded = Policy { degraded_retry: MINUTE, on_limit: OnLimit::Degrade, ..jittered(MS, MS) };
    let degraded = Policy { intensity: supervision::Intensity { max_restarts: 0, within: HOUR }, ..degraded };
    let children = ["a", "b"].map(|name| Child::worker(name, || Idles).policy(degraded));
    let options = TreeOptions { clock: clock.clone(), seed: Some(1), ..TreeOptions::default() };
    let tree = Tree::start(children.into(), options).await.expect("the root starts");
    let [a, b] = pauses(&tree, &clock, ["a", "b"]).await;
    assert!((30_000..=60_000).contains(&a) && (30_000..=60_000).contains(&b) && a != b, "{a} ms, {b} ms");
}
