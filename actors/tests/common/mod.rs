//! What the tests of the actors share: the services of actors, at a private server.

#![allow(dead_code, clippy::expect_used)] // Each test binary uses its part; a test that can not go on panics.

use std::time::Duration;

use actors::{
    env::{Services, telemetry::Telemetry},
    tracker::{Rhythm, TrackerServices},
};
use redis::IntoConnectionInfo;
use store_redis::{RedisSettings, Store};
use store_tracker::Intervals;
use supervision::Clock;

/// The services of a tracker at the server of this URL, with this command timeout.
pub(crate) fn tracker(url: &str, answers_within: Duration, rhythm: Rhythm, clock: &Clock) -> TrackerServices {
    TrackerServices::new(services(url, answers_within, clock), rhythm, "validator1".to_owned(), clock)
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
    };
    let store = Store::new(settings).expect("settings");
    Services::new(store, Telemetry::new().expect("metrics"), clock)
}

/// A pass at this interval; statistics and measurement window as by default.
pub(crate) fn rhythm(every: Duration) -> Rhythm {
    Rhythm {
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
