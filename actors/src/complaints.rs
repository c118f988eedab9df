//! Log lines about things that repeat: one a minute for each subject, with the number of those left out.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use supervision::Clock;

/// How long a subject stays quiet after a line.
const QUIET: Duration = Duration::from_secs(60);
/// How many subjects are told apart; beyond that the oldest knowledge is dropped.
const SUBJECTS: usize = 1024;

/// Decides which complaints become log lines.
pub(crate) struct Complaints {
    clock: Clock,
    subjects: Mutex<HashMap<String, (Instant, u64)>>,
}

impl Complaints {
    /// No complaint has been heard.
    #[must_use]
    pub(crate) fn new(clock: &Clock) -> Self {
        Self { clock: clock.clone(), subjects: Mutex::default() }
    }

    /// Whether to log about this subject now; with it, how many complaints were left out since the last line.
    pub(crate) fn admit(&self, subject: &str) -> Option<u64> {
        let now = self.clock.now();
        let mut subjects = self.subjects.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, left_out)) = subjects.get_mut(subject) {
            if now.saturating_duration_since(*since) < QUIET {
                *left_out += 1;
                return None;
            }
            *since = now;
            return Some(std::mem::take(left_out));
        }
        if subjects.len() >= SUBJECTS {
            subjects.retain(|_, (since, _)| now.saturating_duration_since(*since) < QUIET);
            if subjects.len() >= SUBJECTS {
                return None;
            }
        }
        subjects.insert(subject.to_owned(), (now, 0));
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_gets_one_line_a_minute_and_the_rest_is_counted() {
        let clock = Clock::manual(Duration::ZERO);
        let complaints = Complaints::new(&clock);
        assert_eq!(complaints.admit("a"), Some(0));
        assert_eq!((complaints.admit("a"), complaints.admit("a")), (None, None));
        assert_eq!(complaints.admit("b"), Some(0));
        clock.advance(QUIET);
        assert_eq!(complaints.admit("a"), Some(2));
        assert_eq!(complaints.admit("a"), None);
    }

    #[test]
    fn any_number_of_subjects_takes_bounded_memory() {
        let complaints = Complaints::new(&Clock::manual(Duration::ZERO));
        for subject in 0..10 * SUBJECTS {
            complaints.admit(&subject.to_string());
        }
        assert_eq!(complaints.subjects.lock().expect("not poisoned").len(), SUBJECTS);
    }
}
