//! Timelines that were never pruned: a pass reads their recent part only, and takes as long as without the rest.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::time::{Duration, Instant};

use common::{NOW, Scene, Tracker, finished_epoch, key};
use store_tracker::Reach;

/// Old entries of each timeline.
const ENTRIES: u32 = 1_000_000;
/// How often a pass is measured; the quickest one counts, since the machine is shared.
const PASSES: usize = 15;
/// How much longer a pass may take, within the error of the measurement.
const TIMES: u32 = 3;
const NOISE: Duration = Duration::from_millis(5);

/// Adds members to a timeline on the server's side, all of them older than a day.
const FILL: &str = "for number = 1, tonumber(ARGV[2]) do
  redis.call('ZADD', KEYS[1], ARGV[1] - number, ARGV[3] .. number)
end";

async fn quickest(tracker: &Tracker, reach: Reach) -> Duration {
    let mut quickest = Duration::MAX;
    for _ in 0..PASSES {
        let began = Instant::now();
        let shown = tracker.try_pass(NOW as f64, reach).await.expect("a pass");
        quickest = quickest.min(began.elapsed());
        assert_eq!(shown.totals(), [Some(4), Some(1), Some(2)], "{reach:?}");
        assert_eq!((&shown.summary["epochs_5m"], &shown.summary["batches_5m"]), (&1.into(), &2.into()));
    }
    quickest
}

#[tokio::test]
async fn a_pass_is_as_quick_over_a_timeline_of_a_million_entries_as_over_a_short_one() {
    let mut scene = Scene::new().await;
    let (mut market, tracker) = (scene.producer(), scene.tracker());
    finished_epoch(&mut market, 23_000_000, 4, NOW - 20).await;
    tracker.full(NOW).await;
    let mut short = Vec::new();
    for reach in [Reach::Recent, Reach::Full] {
        short.push((reach, quickest(&tracker, reach).await));
    }
    for (timeline, member) in
        [("metrics:epochs:timeline", "open:"), ("metrics:batches:timeline", "aggregated:")]
    {
        let (newest, entries) = ((NOW - 90_000).to_string(), ENTRIES.to_string());
        scene.run::<()>("EVAL", &[FILL, "1", &key(timeline), &newest, &entries, member]).await;
        assert!(scene.run::<u32>("ZCARD", key(timeline)).await > ENTRIES);
    }
    for (reach, short) in short {
        let long = quickest(&tracker, reach).await;
        println!(
            "{reach:?}: {short:?} without, {long:?} with {ENTRIES} old entries in each of two timelines"
        );
        assert!(long <= TIMES * short + NOISE, "{reach:?}: {long:?} with, {short:?} without them");
    }
}
