//! Durations as text, and texts within limits.

use std::time::Duration;

/// A readable duration, in whole milliseconds.
pub(crate) fn shown(duration: Duration) -> humantime::FormattedDuration {
    // `u64::MAX` milliseconds are half a billion years.
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    humantime::format_duration(Duration::from_millis(millis))
}

/// The most bytes of a reason that is kept with a crash or a dead letter, whose numbers are limited.
const MOST_TEXT: usize = 4 << 10;

/// `text`, shortened where it is too long to be kept.
pub(crate) fn clipped(mut text: String) -> String {
    if text.len() > MOST_TEXT {
        text.truncate(text.floor_char_boundary(MOST_TEXT));
        text.push('…');
        text.shrink_to_fit();
    }
    text
}
