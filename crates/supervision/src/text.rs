//! Durations as text.

use std::time::Duration;

/// A readable duration, in whole milliseconds.
pub(crate) fn shown(duration: Duration) -> humantime::FormattedDuration {
    // `u64::MAX` milliseconds are half a billion years.
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    humantime::format_duration(Duration::from_millis(millis))
}
