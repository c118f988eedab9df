//! How the kit writes a duration.

use std::time::Duration;

/// A duration as people read it, in whole milliseconds.
pub(crate) fn shown(duration: Duration) -> humantime::FormattedDuration {
    // The limit is half a billion years.
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    humantime::format_duration(Duration::from_millis(millis))
}
