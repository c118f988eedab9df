//! Services of actors at a private server, for the tests of the actors.

#![allow(dead_code, clippy::expect_used)] // Each test binary uses a part; a test that can't continue panics.

use std::time::Duration;

use actors::{
    env::{Services, telemetry::Telemetry},
    tracker::{Timing, TrackerServices},
};
use redis::IntoConnectionInfo;
use store_redis::{RedisSettings, Store};
use store_tracker::Intervals;
use supervision::{
    Clock, Tree,
    fail::{Fault, When},
};

/// The services of a tracker at the server of this URL, with this command timeout.
pub(crate) fn tracker(url: &str, answers_within: Duration, timing: Timing, clock: &Clock) -> TrackerServices {
    TrackerServices::new(services(url, answers_within, clock), timing, "validator1".to_owned(), clock)
}

/// The services of every actor at the server of this URL, with this command timeout.
pub(crate) fn services(url: &str, answers_within: Duration, clock: &Clock) -> Services {
    let settings = RedisSettings {
        servers: url.into_connection_info().expect("a URL").into(),
        certificates: None,
        address: url.to_owned(),
        pool_size: 4,
        connect_timeout: answers_within,
        command_timeout: answers_within,
        check_after: Duration::ZERO,
    };
    let store = Store::new(settings).expect("settings");
    Services::new(store, Telemetry::new().expect("metrics"), clock)
}

/// Passes at this interval; statistics and measurement window as by default.
pub(crate) fn timing(every: Duration) -> Timing {
    Timing {
        intervals: Intervals {
            summary: every,
            hourly: Duration::from_secs(300),
            daily: Duration::from_secs(3600),
            current_epoch: every,
        },
        wake_debounce: Duration::from_millis(5),
        seal_after: Duration::from_secs(3600),
        measurement_window: Duration::from_secs(86_400),
        reconnect_within: Duration::from_millis(200),
    }
}

/// The failure points of the block fetcher and the batch preparers.
pub(crate) const COLLECTOR_POINTS: [&str; 7] = [
    "block_fetcher::before_write",
    "block_fetcher::after_write",
    "block_fetcher::after_checkpoint",
    "batch_preparer::before_read",
    "batch_preparer::after_read",
    "batch_preparer::before_write",
    "batch_preparer::after_write",
];

/// The failure points of the rewards.
pub(crate) const REWARDS_POINTS: [&str; 4] =
    ["rewards::before_read", "rewards::after_read", "rewards::before_write", "rewards::after_write"];

/// Makes each of [`COLLECTOR_POINTS`] fail now and then, with a panic or an error.
pub(crate) fn arm_collector(tree: &Tree, every: u64) {
    arm(tree, &COLLECTOR_POINTS, every);
}

/// The same of these points.
pub(crate) fn arm(tree: &Tree, points: &[&str], every: u64) {
    for (point, fault, when) in faults(points, every) {
        tree.failure_points().arm(point, "", fault, when);
    }
}

/// What each of these points does when: panics and errors in turn, each a little more rarely than the one before.
pub(crate) fn faults<'a>(
    points: &'a [&'a str],
    every: u64,
) -> impl Iterator<Item = (&'a str, Fault, When)> + 'a {
    points.iter().zip(every..).enumerate().map(|(index, (point, every))| {
        (*point, if index % 2 == 0 { Fault::Panic } else { Fault::Error }, When::Every(every))
    })
}
