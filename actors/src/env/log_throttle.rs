//! The log throttle: it limits the log lines of each subject to one or a few a minute, and counts the suppressed ones.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use supervision::Clock;

/// The period for which a subject's lines are limited.
const QUIET: Duration = Duration::from_secs(60);
/// The most subjects in memory. A subject can contain a key of Redis, so their number has no natural limit.
const SUBJECTS: usize = 1024;

/// Decides which events become log lines.
pub(crate) struct LogThrottle {
    clock: Clock,
    /// The most lines of a subject a minute.
    lines: u32,
    subjects: Mutex<HashMap<String, Subject>>,
}

/// The lines of a subject in its current minute.
struct Subject {
    /// The begin of that minute, which is the time of its first line.
    since: Instant,
    lines: u32,
    suppressed: u64,
}

impl LogThrottle {
    /// A throttle that admits one line a minute for each subject.
    #[must_use]
    pub(crate) fn new(clock: &Clock) -> Self {
        Self::allowing(1, clock)
    }

    /// A throttle that admits this many lines a minute for each subject.
    #[must_use]
    pub(crate) fn allowing(lines: u32, clock: &Clock) -> Self {
        Self { clock: clock.clone(), lines, subjects: Mutex::default() }
    }

    /// Decides whether to log about this subject now: `Some` admits the line, with the number of lines that were suppressed
    /// in the subject's previous minute.
    pub(crate) fn admit(&self, subject: &str) -> Option<u64> {
        let now = self.clock.now();
        let mut subjects = self.subjects.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = subjects.get_mut(subject) {
            // The minute starts with the subject's first line, not with the clock: the first line is never suppressed.
            if now.saturating_duration_since(known.since) >= QUIET {
                let suppressed = known.suppressed;
                *known = Subject { since: now, lines: 1, suppressed: 0 };
                return Some(suppressed);
            }
            if known.lines < self.lines {
                known.lines += 1;
                return Some(0);
            }
            known.suppressed += 1;
            return None;
        }
        if subjects.len() >= SUBJECTS {
            // Expired subjects are removed only when the table is full: that keeps the usual call free of a scan. Their
            // suppressed counts are lost with them.
            subjects.retain(|_, known| now.saturating_duration_since(known.since) < QUIET);
            if subjects.len() >= SUBJECTS {
                // A thousand subjects logged within a minute: one more line would not help an operator.
                return None;
            }
        }
        subjects.insert(subject.to_owned(), Subject { since: now, lines: 1, suppressed: 0 });
        Some(0)
    }
}

/// The field `suppressed` of a log line; `None` leaves the field out when no line was suppressed.
pub(crate) fn field(suppressed: u64) -> Option<u64> {
    Some(suppressed).filter(|&lines| lines > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_gets_one_line_a_minute_and_the_rest_is_counted() {
        let clock = Clock::manual(Duration::ZERO);
        let log_throttle = LogThrottle::new(&clock);
        assert_eq!(log_throttle.admit("a"), Some(0));
        assert_eq!((log_throttle.admit("a"), log_throttle.admit("a")), (None, None));
        assert_eq!(log_throttle.admit("b"), Some(0));
        clock.advance(QUIET);
        assert_eq!(log_throttle.admit("a"), Some(2));
        assert_eq!(log_throttle.admit("a"), None);
    }

    #[test]
    fn a_subject_may_have_several_lines_a_minute() {
        let clock = Clock::manual(Duration::ZERO);
        let log_throttle = LogThrottle::allowing(2, &clock);
        let told = |_| log_throttle.admit("a");
        assert_eq!([1, 2, 3, 4].map(told), [Some(0), Some(0), None, None]);
        clock.advance(QUIET);
        assert_eq!([1, 2, 3].map(told), [Some(2), Some(0), None]);
    }

    #[test]
    fn any_number_of_subjects_takes_bounded_memory() {
        let log_throttle = LogThrottle::new(&Clock::manual(Duration::ZERO));
        for subject in 0..10 * SUBJECTS {
            log_throttle.admit(&subject.to_string());
        }
        assert_eq!(log_throttle.subjects.lock().expect("not poisoned").len(), SUBJECTS);
    }
}
