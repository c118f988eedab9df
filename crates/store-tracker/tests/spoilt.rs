//! Single values in Redis are spoilt, at random and as they are kept in `corpus/values`. A pass neither panics nor hangs: it leaves the
//! value out, or refuses with an error that names its key. Afterwards, with the right values back, its numbers are right.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::time::Duration;

use common::{NOW, Scene, finished_epoch};
use store_tracker::Reach;
use testkit::{
    Dice,
    fuzz::{
        Corpus,
        cells::{Cells, Saved},
        inputs_or, seed,
    },
};
use tokio::time::timeout;

/// The time limit of a pass, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

async fn passes_with_spoilt_values(count: u64) {
    let kept = Corpus::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/values")).expect("a corpus");
    let mut scene = Scene::new().await;
    let mut market = scene.producer();
    for epoch in 1..4 {
        let at = NOW - 8_000 + 1_000 * i64::try_from(epoch).expect("small");
        finished_epoch(&mut market, epoch, epoch, at).await;
    }
    market.open_epoch(4, NOW - 60).await.expect("opened");
    market.submit(4, 3, NOW - 50).await.expect("submitted");
    let right = scene.tracker().full(NOW).await;
    let saved = Saved::take(&mut scene.connection).await;
    let cells = Cells::read(&mut scene.connection, kept.inputs()).await;
    assert!(cells.count() > 30, "{}", cells.count());

    let (seed, count) = (seed(), inputs_or(count));
    println!("SEED={seed} FUZZ_INPUTS={count}");
    let mut dice = Dice::new(seed);
    for at in 0..count {
        let spoilt = cells.spoil(&mut scene.connection, &mut dice).await;
        let tracker = scene.tracker();
        for reach in [Reach::New, Reach::Everything] {
            let pass = timeout(PATIENCE, tracker.try_pass((NOW + 30) as f64, reach)).await;
            let pass = pass.unwrap_or_else(|_| panic!("a pass hangs: SEED={seed}, {at}: {spoilt}"));
            if let Err(error) = pass {
                let text = error.to_string();
                assert!(
                    !error.object.is_empty() && text.chars().count() < 1_000,
                    "SEED={seed}, {at}: {spoilt}: {text}"
                );
                assert!(!text.chars().any(char::is_control), "SEED={seed}, {at}: {spoilt}: {text:?}");
            }
        }
        saved.restore(&mut scene.connection).await;
        // What a tracker keeps in memory beside Redis would show here.
        if at % 20 == 0 {
            let again = tracker.try_pass(NOW as f64, Reach::Everything).await.expect("a pass");
            assert_eq!(again.totals(), right.totals(), "SEED={seed}, {at}: {spoilt}");
            saved.restore(&mut scene.connection).await;
        }
    }
}

#[tokio::test]
async fn a_spoilt_value_makes_no_pass_panic_or_hang() {
    passes_with_spoilt_values(400).await;
}

#[tokio::test]
#[ignore = "minutes"]
async fn a_spoilt_value_makes_no_pass_panic_or_hang_for_long() {
    passes_with_spoilt_values(20_000).await;
}
