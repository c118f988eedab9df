//! How long the first call of a lane has failed, and the pause before it is made again.

use std::time::{Duration, Instant};

use retry::{
    Attempts, clamp_requested,
    table::{RELAYER, RELAYER_AWAY},
};

/// How long a call may fail before the pauses grow, or before one that is refused goes to the dead calls.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The failed attempts of the first call of a lane.
pub(super) struct LaneAttempts {
    /// The call, and when it failed first.
    failing: Option<(String, Instant)>,
    /// The call, and when it was refused first.
    refused: Option<(String, Instant)>,
    soon: Attempts,
    late: Attempts,
    /// Whether it was told that the relayer is away.
    is_told: bool,
}

impl LaneAttempts {
    pub(super) fn new() -> Self {
        let (soon, late) = (Attempts::new(RELAYER), Attempts::new(RELAYER_AWAY));
        Self { failing: None, refused: None, soon, late, is_told: false }
    }

    /// A call was accepted. Returns for how long it had failed, if that was told.
    pub(super) fn accepted(&mut self, now: Instant) -> Option<Duration> {
        let was_told = std::mem::take(&mut self.is_told);
        let failing = self.failing.take().filter(|_| was_told);
        self.refused = None;
        self.soon.succeeded();
        self.late.succeeded();
        failing.map(|(_, since)| now.saturating_duration_since(since))
    }

    /// A call failed that can succeed later. Returns the pause; `asked` is the one that the relayer asks for.
    pub(super) fn later(&mut self, id: &str, asked: Option<Duration>, now: Instant) -> Duration {
        let failing = since(&mut self.failing, id, now);
        let own = self.pause(failing);
        asked.map_or(own, |asked| clamp_requested(asked, own))
    }

    /// Whether it is time to tell that the relayer is away: once, after its patience.
    pub(super) fn should_tell(&mut self, now: Instant) -> bool {
        let failing = self.failing.as_ref().map(|(_, since)| now.saturating_duration_since(*since));
        let is_due = failing.is_some_and(|failing| failing >= PATIENCE) && !self.is_told;
        self.is_told |= is_due;
        is_due
    }

    /// A call was refused. Returns the pause; `None` once it was refused for too long.
    pub(super) fn refused(&mut self, id: &str, now: Instant) -> Option<Duration> {
        let refused = since(&mut self.refused, id, now);
        (refused < PATIENCE).then(|| self.pause(refused))
    }

    /// The pause after having failed for this long. It ends with the patience, where it would reach beyond.
    fn pause(&mut self, failing: Duration) -> Duration {
        match PATIENCE.checked_sub(failing).filter(|rest| !rest.is_zero()) {
            Some(rest) => self.soon.failed().min(rest),
            None => self.late.failed(),
        }
    }
}

/// How long a call has been noted, from now on if another one was.
fn since(noted: &mut Option<(String, Instant)>, id: &str, now: Instant) -> Duration {
    let is_same = noted.as_ref().is_some_and(|(noted, _)| noted == id);
    let (_, since) = match noted {
        Some(noted) if is_same => noted,
        noted => noted.insert((id.to_owned(), now)),
    };
    now.saturating_duration_since(*since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_short_for_ten_seconds_and_grow_to_half_a_minute() {
        let (mut attempts, start) = (LaneAttempts::new(), Instant::now());
        let (mut now, mut pauses) = (start, Vec::new());
        for _ in 0..12 {
            let pause = attempts.later("1-0", None, now);
            pauses.push(pause.as_secs_f64());
            now += pause;
        }
        assert_eq!(pauses[..4], [1.0, 2.0, 4.0, 3.0], "10 s in all, at most 4 s apart");
        // With a quarter of jitter.
        assert!(pauses[4..].iter().all(|pause| (3.0..=37.5).contains(pause)), "{pauses:?}");
        assert!(pauses[11] > 20.0, "{pauses:?}");
        assert_eq!(attempts.accepted(now), None, "nobody was told");
        assert_eq!(attempts.later("2-0", None, now).as_secs(), 1, "the next failure begins anew");
    }

    #[test]
    fn a_refused_call_has_ten_seconds_whatever_failed_before() {
        let (mut attempts, start) = (LaneAttempts::new(), Instant::now());
        let mut now = start + Duration::from_secs(3_600);
        attempts.later("1-0", None, start);
        let mut waited = Duration::ZERO;
        while let Some(pause) = attempts.refused("1-0", now) {
            waited += pause;
            now += pause;
        }
        assert_eq!(waited, PATIENCE);
        assert!(attempts.refused("2-0", now).is_some(), "another call has its own time");
    }

    #[test]
    fn that_the_relayer_is_away_and_back_is_told_once() {
        let (mut attempts, start) = (LaneAttempts::new(), Instant::now());
        attempts.later("1-0", None, start);
        assert!(!attempts.should_tell(start + PATIENCE / 2));
        assert!(attempts.should_tell(start + PATIENCE) && !attempts.should_tell(start + PATIENCE * 2));
        assert_eq!(attempts.accepted(start + PATIENCE * 3), Some(PATIENCE * 3));
        assert_eq!(attempts.accepted(start + PATIENCE * 4), None);
    }

    #[test]
    fn a_pause_that_the_relayer_asks_for_has_limits() {
        let (mut attempts, now) = (LaneAttempts::new(), Instant::now());
        assert_eq!(attempts.later("1-0", Some(Duration::ZERO), now).as_secs(), 1);
        assert_eq!(attempts.later("1-0", Some(Duration::from_secs(17)), now).as_secs(), 17);
        assert_eq!(attempts.later("1-0", Some(Duration::MAX), now), retry::table::LONGEST_REQUESTED);
    }
}
