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
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    subjects: HashMap<String, Subject>,
    /// How many lines were left out without a later line of their subject that says so.
    untold: u64,
    /// When a line last told how many.
    told: Option<Instant>,
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
        Self { clock: clock.clone(), lines, table: Mutex::default() }
    }

    /// Decides whether to log about this subject now: `Some` admits the line, with the number of lines that were suppressed
    /// in the subject's previous minute. Lines that were left out for good are told of in a line of their own, once a minute.
    pub(crate) fn admit(&self, subject: &str) -> Option<u64> {
        let now = self.clock.now();
        let (admitted, left_out) = {
            let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
            (table.admit(subject, self.lines, now), table.left_out(now))
        };
        // Outside the lock: no line is written under it.
        if let Some(left_out) = left_out {
            tracing::warn!(
                left_out,
                "log lines were left out: more than {SUBJECTS} different subjects within a minute; the metric \
                 state_tracker_errors_total counts them all"
            );
        }
        admitted
    }
}

impl Table {
    fn admit(&mut self, subject: &str, lines: u32, now: Instant) -> Option<u64> {
        if let Some(known) = self.subjects.get_mut(subject) {
            // The minute starts with the subject's first line, not with the clock: the first line is never suppressed.
            if now.saturating_duration_since(known.since) >= QUIET {
                let suppressed = known.suppressed;
                *known = Subject { since: now, lines: 1, suppressed: 0 };
                return Some(suppressed);
            }
            if known.lines < lines {
                known.lines += 1;
                return Some(0);
            }
            known.suppressed += 1;
            return None;
        }
        if self.subjects.len() >= SUBJECTS {
            // Expired subjects are removed only when the table is full: that keeps the usual call free of a scan.
            let mut untold = 0;
            self.subjects.retain(|_, known| {
                let is_kept = now.saturating_duration_since(known.since) < QUIET;
                untold += if is_kept { 0 } else { known.suppressed };
                is_kept
            });
            self.untold += untold;
            if self.subjects.len() >= SUBJECTS {
                // A thousand subjects logged within a minute: one more line would not help an operator, its number does.
                self.untold += 1;
                return None;
            }
        }
        self.subjects.insert(subject.to_owned(), Subject { since: now, lines: 1, suppressed: 0 });
        Some(0)
    }

    /// How many lines to tell of now, if some were left out and the last word about it is a minute old.
    fn left_out(&mut self, now: Instant) -> Option<u64> {
        let is_quiet = self.told.is_some_and(|told| now.saturating_duration_since(told) < QUIET);
        if self.untold == 0 || is_quiet {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
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
        assert_eq!(log_throttle.table.lock().expect("not poisoned").subjects.len(), SUBJECTS);
    }

    #[test]
    fn lines_that_no_later_line_counts_are_told_of_once_a_minute() {
        let clock = Clock::manual(Duration::ZERO);
        let log_throttle = LogThrottle::new(&clock);
        let left_out = || log_throttle.table.lock().expect("not poisoned").untold;
        (0..SUBJECTS).for_each(|subject| assert_eq!(log_throttle.admit(&subject.to_string()), Some(0)));
        assert_eq!(left_out(), 0);
        // The first is told of at once, which empties the count.
        assert_eq!((log_throttle.admit("one more"), left_out()), (None, 0));
        (0..99).for_each(|subject| assert_eq!(log_throttle.admit(&format!("more {subject}")), None));
        assert_eq!(left_out(), 99);
        // Suppressed, with a subject that never comes back.
        assert_eq!(log_throttle.admit("7"), None);
        clock.advance(QUIET);
        let told = log_throttle.table.lock().expect("not poisoned").left_out(clock.now());
        assert_eq!(told, Some(99));
        assert_eq!((log_throttle.admit("afterwards"), left_out()), (Some(0), 1));
    }
}
