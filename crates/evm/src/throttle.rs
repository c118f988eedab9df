//! Limits log lines about one subject to one a minute, with the number of lines that were left out.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The interval between two lines.
const INTERVAL: Duration = Duration::from_secs(60);

/// The lines about one subject.
#[derive(Debug, Default)]
pub(crate) struct Throttle(Mutex<Lines>);

#[derive(Debug, Default)]
struct Lines {
    logged: Option<Instant>,
    suppressed: u64,
}

impl Throttle {
    /// Whether to log now; returns the number of lines left out since the last one.
    pub(crate) fn should_log(&self) -> Option<u64> {
        let now = Instant::now();
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.logged.is_some_and(|logged| now.saturating_duration_since(logged) < INTERVAL) {
            lines.suppressed += 1;
            return None;
        }
        lines.logged = Some(now);
        Some(std::mem::take(&mut lines.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn lines_about_one_subject_are_logged_once_a_minute() {
        let throttle = Throttle::default();
        assert_eq!([(); 3].map(|()| throttle.should_log()), [Some(0), None, None]);
        tokio::time::advance(INTERVAL).await;
        assert_eq!([(); 2].map(|()| throttle.should_log()), [Some(2), None]);
    }
}
