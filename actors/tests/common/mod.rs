//! What the tests of the actors share: the services of actors, at a private server.

#![allow(clippy::expect_used)] // A test that can not go on panics.

use std::time::Duration;

use actors::env::{Rhythm, Services, telemetry::Telemetry};
use redis::IntoConnectionInfo;
use store_redis::{RedisSettings, Store};
use supervision::Clock;

/// The services of a tree at the server of this URL, with this command timeout.
pub(crate) fn services(url: &str, answers_within: Duration, rhythm: Rhythm, clock: &Clock) -> Services {
    let settings = RedisSettings {
        servers: url.into_connection_info().expect("a URL").into(),
        certificates: None,
        shown: url.to_owned(),
        pool_size: 4,
        connect_timeout: answers_within,
        command_timeout: answers_within,
    };
    let store = Store::new(settings).expect("settings");
    let telemetry = Telemetry::with_clock(clock).expect("metrics");
    Services::new(store, telemetry, rhythm, "validator1".to_owned(), clock)
}

/// A pass at this interval; statistics and measurement window as by default.
pub(crate) fn rhythm(every: Duration) -> Rhythm {
    Rhythm {
        summary: every,
        hourly: Duration::from_secs(300),
        daily: Duration::from_secs(3600),
        current_epoch: every,
        wake_debounce: Duration::from_millis(5),
        seal_after: Duration::from_secs(3600),
        measurement_window: Duration::from_secs(86_400),
        reconnect_within: Duration::from_millis(200),
    }
}
