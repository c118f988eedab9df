//! What is known of one epoch, and the sums over epochs.
//!
//! The merge of two entries keeps the most that was ever known. It is commutative, associative and idempotent, so it
//! does not matter who computes an entry, how often or in which order, and an expired key never takes back what it had
//! shown.

use crate::tracker::{DEFAULT_WINDOW, EpochFacts, LONGEST_WINDOW};

/// What is known of one epoch. Times are whole Unix seconds; the time 0 means that it happened at an unknown time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// When the tracker first saw it.
    pub seen: u64,
    /// When it was opened.
    pub opened: Option<u64>,
    /// When its window closed.
    pub closed: Option<u64>,
    /// When its window closes by plan; 0 when unknown.
    pub due: u64,
    /// Its processed submissions.
    pub submissions: u64,
    /// When its local batch was made.
    pub local: Option<u64>,
    /// When its aggregated batch was made.
    pub aggregated: Option<u64>,
    /// Whether its aggregated batch names this validator.
    pub included: bool,
    /// Whether all of its submissions are known: they were read after its window had closed, from a key that existed or
    /// could not have expired yet.
    pub accounted: bool,
}

/// A stored entry that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a ledger entry: another program wrote it, or a newer version of this one")]
pub struct BadEntry(pub String);

/// How long producers keep the shorter-lived key of an epoch's submissions, in seconds.
const SUBMISSIONS_KEPT: u64 = 3600;

/// How long after an aggregated batch its list of validators is waited for, in seconds.
const VALIDATORS_WITHIN: u64 = 60;

impl Entry {
    /// What the facts of one pass prove about an epoch.
    #[must_use]
    pub fn observed(facts: &EpochFacts, validator: &str, now: f64) -> Self {
        // A time in the future proves only that it happened. If it were read as now, it would move with every pass, and
        // the epoch would never be over.
        let second = |at: f64| if at <= now { at.max(0.0) as u64 } else { 0 };
        let opened = facts.timeline.opened.or(facts.start).map(second);
        // Each of these implies that it was opened, at an unknown time.
        let was_opened = facts.active || facts.open.is_some() || facts.timeline.closed.is_some();
        // `end` counts with a closed status only: of an open window it is a plan.
        let closed_by_status = (facts.open == Some(false)).then(|| facts.end.map_or(0, second));
        let closed = facts.timeline.closed.map(second).or(closed_by_status);
        let duration =
            facts.duration.filter(|&duration| duration <= LONGEST_WINDOW).unwrap_or(DEFAULT_WINDOW);
        let by_plan = opened.filter(|&at| at > 0).map(|at| at as f64 + duration);
        // A plan further ahead than the longest window is an error of units; the epoch would never be due.
        let end = facts.end.filter(|&end| end <= now + LONGEST_WINDOW);
        let due = end.or(by_plan).map_or(0, |at| at.max(0.0) as u64);
        let batch = |at: Option<f64>, exists: bool| at.map(second).or(exists.then_some(0));
        let named = |validators: &Vec<String>| validators.iter().any(|named| named == validator);
        let present = second(now);
        // A missing key means no submissions only as long as it can't have expired.
        let young = opened.is_some_and(|at| present < at.saturating_add(SUBMISSIONS_KEPT));
        let over = closed.is_some() || (due > 0 && present >= due);
        let counted = facts.has_submissions_key || (young && facts.submissions.is_some());
        Self {
            seen: present,
            opened: opened.or(was_opened.then_some(0)),
            closed,
            due,
            submissions: facts.submissions.unwrap_or(0),
            local: batch(facts.timeline.local, facts.local_batch),
            aggregated: batch(facts.timeline.aggregated, facts.aggregated_batch),
            included: facts.batch_validators.as_ref().is_some_and(named),
            accounted: over && counted,
        }
    }

    /// The most that either entry knows.
    #[must_use]
    pub fn merge(&self, other: &Self) -> Self {
        Self {
            // The only time of which the earlier one wins. 0 is an entry that could not be read, and must not win as
            // the earliest.
            seen: if self.seen == 0 || other.seen == 0 {
                self.seen.max(other.seen)
            } else {
                self.seen.min(other.seen)
            },
            // `None` is below `Some(0)`, and an unknown time below any known one.
            opened: self.opened.max(other.opened),
            closed: self.closed.max(other.closed),
            due: self.due.max(other.due),
            submissions: self.submissions.max(other.submissions),
            local: self.local.max(other.local),
            aggregated: self.aggregated.max(other.aggregated),
            included: self.included || other.included,
            accounted: self.accounted || other.accounted,
        }
    }

    /// Whether the epoch is finished: its window is closed and both batches exist, or `seal_after` seconds
    /// have passed since the window closed.
    #[must_use]
    pub fn is_finished(&self, now: f64, seal_after: f64) -> bool {
        let present = now.max(0.0) as u64;
        let window_over = self.closed.is_some() || (self.due > 0 && present >= self.due);
        let both = self.local.is_some() && self.aggregated.is_some();
        both && window_over || self.is_long_over(now, seal_after)
    }

    /// Whether `seal_after` seconds have passed since the window closed: nothing is waited for any more.
    #[must_use]
    pub fn is_long_over(&self, now: f64, seal_after: f64) -> bool {
        now.max(0.0) as u64 >= self.end_of_window().saturating_add(seal_after as u64)
    }

    /// Whether a pass that saw these facts has seen all that a finished epoch is sealed with. What can't be read
    /// now may be readable later, and the validators of an aggregated batch may be written a moment after it.
    pub(super) fn is_complete(&self, facts: &EpochFacts, now: f64) -> bool {
        // Older producers write no list of validators, so the wait must end.
        let waited = |at: u64| at > 0 && now.max(0.0) as u64 >= at.saturating_add(VALIDATORS_WITHIN);
        let listed = facts.batch_validators.is_some() || self.aggregated.is_some_and(waited);
        listed && facts.submissions.is_some()
    }

    /// Whether nothing but its id is known.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        let timeless = |at: Option<u64>| at.is_none_or(|at| at == 0);
        timeless(self.opened)
            && timeless(self.closed)
            && self.due == 0
            && self.submissions == 0
            && self.local.is_none()
            && self.aggregated.is_none()
    }

    // The best known end: the close, the plan, the opening and the usual length, a batch; else the first sight, so
    // that an epoch without any time is over one day too.
    fn end_of_window(&self) -> u64 {
        let known = |at: Option<u64>| at.filter(|&at| at > 0);
        known(self.closed)
            .or(known(Some(self.due)))
            .or(known(self.opened).map(|at| at.saturating_add(DEFAULT_WINDOW as u64)))
            .or(known(self.local.max(self.aggregated)))
            .unwrap_or(self.seen)
    }

    /// The latest known time.
    #[must_use]
    pub fn last_sign(&self) -> u64 {
        let times = [Some(self.seen), self.opened, self.closed, self.local, self.aggregated];
        times.into_iter().flatten().max().unwrap_or(0)
    }

    /// The start of the hour that its numbers belong to: the one in which it was opened. `None` when that is
    /// not known.
    #[must_use]
    pub fn hour(&self) -> Option<u64> {
        self.opened.filter(|&at| at > 0).map(|at| at - at % 3600)
    }

    /// What it adds to the sums.
    #[must_use]
    pub fn sums(&self) -> Sums {
        Sums {
            epochs: self.opened.is_some().into(),
            submissions: self.submissions,
            local: self.local.is_some().into(),
            aggregated: self.aggregated.is_some().into(),
            included: self.included.into(),
            unaccounted: (self.opened.is_some() && !self.accounted).into(),
            late: 0,
        }
    }

    /// The stored form: `seen,opened,closed,due,submissions,local,aggregated,flags`, with `-` for what did not happen.
    #[must_use]
    pub fn encode(&self) -> String {
        let time = |at: Option<u64>| at.map_or("-".to_owned(), |at| at.to_string());
        format!(
            "{},{},{},{},{},{},{},{}{}",
            self.seen,
            time(self.opened),
            time(self.closed),
            self.due,
            self.submissions,
            time(self.local),
            time(self.aggregated),
            if self.included { "i" } else { "" },
            if self.accounted { "a" } else { "" },
        )
    }

    /// Reads what [`Entry::encode`] wrote.
    ///
    /// # Errors
    /// [`BadEntry`] for any other text.
    pub fn decode(text: &str) -> Result<Self, BadEntry> {
        let read = || {
            let number = |text: &str| text.parse::<u64>().ok();
            let time = |text: &str| if text == "-" { Some(None) } else { number(text).map(Some) };
            let parts: Vec<&str> = text.split(',').collect();
            let [seen, opened, closed, due, submissions, local, aggregated, flags] = parts[..] else {
                return None;
            };
            // A newer version may write more flags; reading its entry without them would drop what it knows.
            if flags.chars().any(|flag| !"ia".contains(flag)) {
                return None;
            }
            Some(Self {
                seen: number(seen)?,
                opened: time(opened)?,
                closed: time(closed)?,
                due: number(due)?,
                submissions: number(submissions)?,
                local: time(local)?,
                aggregated: time(aggregated)?,
                included: flags.contains('i'),
                accounted: flags.contains('a'),
            })
        };
        read().ok_or_else(|| BadEntry(text.chars().take(100).collect()))
    }
}

/// Sums over epochs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Epochs opened.
    pub epochs: u64,
    /// Submissions processed.
    pub submissions: u64,
    /// Local batches.
    pub local: u64,
    /// Aggregated batches.
    pub aggregated: u64,
    /// Aggregated batches that name this validator.
    pub included: u64,
    /// Sealed epochs whose submissions had expired before they were read.
    pub unaccounted: u64,
    /// Changes to epochs that were sealed already.
    pub late: u64,
}

impl Sums {
    /// The names under which the sums are stored, with their values.
    #[must_use]
    pub fn fields(&self) -> [(&'static str, u64); 7] {
        [
            ("epochs", self.epochs),
            ("submissions", self.submissions),
            ("local", self.local),
            ("aggregated", self.aggregated),
            ("included", self.included),
            ("unaccounted", self.unaccounted),
            ("late", self.late),
        ]
    }

    /// Reads stored sums; a missing name counts as 0, an unknown one is ignored.
    #[must_use]
    pub fn from_fields<'a>(fields: impl IntoIterator<Item = (&'a str, u64)>) -> Self {
        let mut sums = Self::default();
        for (name, value) in fields {
            match name {
                "epochs" => sums.epochs = value,
                "submissions" => sums.submissions = value,
                "local" => sums.local = value,
                "aggregated" => sums.aggregated = value,
                "included" => sums.included = value,
                "unaccounted" => sums.unaccounted = value,
                "late" => sums.late = value,
                // `entries` too, which is no sum: it counts the sealed entries.
                _ => {}
            }
        }
        sums
    }

    pub(super) fn plus(self, more: Self) -> Self {
        // Saturating: a damaged number in Redis must neither panic nor wrap around.
        Self {
            epochs: self.epochs.saturating_add(more.epochs),
            submissions: self.submissions.saturating_add(more.submissions),
            local: self.local.saturating_add(more.local),
            aggregated: self.aggregated.saturating_add(more.aggregated),
            included: self.included.saturating_add(more.included),
            unaccounted: self.unaccounted.saturating_add(more.unaccounted),
            late: self.late.saturating_add(more.late),
        }
    }
}
