//! What is known of one epoch, and the sums over epochs.
//!
//! The merge of two entries keeps the most that was ever known. It is commutative, associative and idempotent, so it
//! does not matter who computes an entry, how often or in which order, and an expired key never takes back what it had
//! shown.

use std::collections::BTreeMap;

use crate::tracker::{DEFAULT_WINDOW, EpochFacts, HOUR, LONGEST_WINDOW, Moment, Reading};

#[cfg(test)]
mod tests;

/// What is known of one epoch. Times are whole Unix seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// When the tracker first saw the epoch.
    pub seen: u64,
    /// When it was opened.
    pub opened: Moment,
    /// When its window closed.
    pub closed: Moment,
    /// The planned end of its window; 0 when unknown.
    pub due: u64,
    /// Its processed submissions.
    pub submissions: u64,
    /// When its local batch was made.
    pub local: Moment,
    /// When its aggregated batch was made.
    pub aggregated: Moment,
    /// Whether the validators in its aggregated batch are known.
    pub listed: bool,
    /// Whether these include this validator.
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
        let present = now.max(0.0) as u64;
        let (opened, closed) = (facts.opened(now), facts.closed(now));
        let duration =
            facts.duration.filter(|&duration| duration <= LONGEST_WINDOW).unwrap_or(DEFAULT_WINDOW);
        let by_plan = opened.at().map(|at| at as f64 + duration);
        // A plan further ahead than the longest window is an error of units; the epoch would never be due.
        let end = facts.end.filter(|&end| end > 0.0 && end <= now + LONGEST_WINDOW);
        let due = end.or(by_plan).map_or(0, |at| at as u64);
        let named = facts.batch_validators.value();
        let mut entry = Self {
            seen: present,
            opened,
            closed,
            due,
            submissions: facts.submissions.value().copied().unwrap_or(0),
            local: facts.local(now),
            aggregated: facts.aggregated(now),
            listed: named.is_some(),
            included: named.is_some_and(|named| named.iter().any(|named| named == validator)),
            accounted: false,
        };
        let counted = match facts.submissions {
            Reading::Value(_) => true,
            // No key means no submissions only where it can't have expired yet, and where there would be one.
            Reading::Absent => entry.is_young(now) && !entry.lacks_submissions(),
            Reading::Unreadable => false,
        };
        entry.accounted = counted && entry.is_window_over(now);
        entry
    }

    /// Whether the shorter-lived key of its submissions can't have expired yet.
    fn is_young(&self, now: f64) -> bool {
        self.opened.at().is_some_and(|at| (now.max(0.0) as u64) < at.saturating_add(SUBMISSIONS_KEPT))
    }

    /// Whether it must have had submissions, and none were read: its local batch was made of some. There are producers that write
    /// no key of submissions.
    fn lacks_submissions(&self) -> bool {
        self.local.has_happened() && self.submissions == 0
    }

    /// Whether its submissions are not known, although their key could not have expired: they must not count as none.
    #[must_use]
    pub fn has_unwritten_submissions(&self, facts: &EpochFacts, now: f64) -> bool {
        self.lacks_submissions() && self.is_young(now) && facts.submissions == Reading::Absent
    }

    /// The most that either entry knows.
    #[must_use]
    pub fn merge(&self, other: &Self) -> Self {
        Self {
            // The only time of which the earlier one is kept. 0 is an entry that could not be read, and must not win as
            // the earliest.
            seen: if self.seen == 0 || other.seen == 0 {
                self.seen.max(other.seen)
            } else {
                self.seen.min(other.seen)
            },
            opened: self.opened.max(other.opened),
            closed: self.closed.max(other.closed),
            due: self.due.max(other.due),
            submissions: self.submissions.max(other.submissions),
            local: self.local.max(other.local),
            aggregated: self.aggregated.max(other.aggregated),
            listed: self.listed || other.listed,
            included: self.included || other.included,
            accounted: self.accounted || other.accounted,
        }
    }

    /// Whether its window is closed, or would be by plan.
    fn is_window_over(&self, now: f64) -> bool {
        self.closed.has_happened() || (self.due > 0 && now.max(0.0) as u64 >= self.due)
    }

    /// Whether the epoch is finished: its window is closed and both batches exist, or `seal_after` seconds
    /// have passed since the window closed.
    #[must_use]
    pub fn is_finished(&self, now: f64, seal_after: f64) -> bool {
        let both = self.local.has_happened() && self.aggregated.has_happened();
        both && self.is_window_over(now) || self.is_past_seal_delay(now, seal_after)
    }

    /// Whether `seal_after` seconds have passed since the window closed: the epoch is sealed even if something is missing.
    #[must_use]
    pub fn is_past_seal_delay(&self, now: f64, seal_after: f64) -> bool {
        now.max(0.0) as u64 >= self.end_of_window().saturating_add(seal_after as u64)
    }

    /// Whether a pass that saw these facts has seen all that a finished epoch is sealed with. What can't be read
    /// now may be readable later, and the validators of an aggregated batch may be written a moment after it.
    pub(super) fn is_complete(&self, facts: &EpochFacts, now: f64) -> bool {
        // Older producers write no list of validators, so the wait must end.
        let waited = |at: u64| now.max(0.0) as u64 >= at.saturating_add(VALIDATORS_WITHIN);
        let listed = self.listed || self.aggregated.at().is_some_and(waited);
        listed && !facts.submissions.is_unreadable()
    }

    /// Whether nothing but its id is known.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        self.times().all(|at| at.is_none()) && self.due == 0 && self.submissions == 0 && !self.has_batch()
    }

    fn has_batch(&self) -> bool {
        self.local.has_happened() || self.aggregated.has_happened()
    }

    fn times(&self) -> impl Iterator<Item = Option<u64>> {
        [self.opened, self.closed, self.local, self.aggregated].into_iter().map(Moment::at)
    }

    /// The best known end of its window, in Unix seconds: the close, the planned end, the opening plus the default length, or a batch;
    /// else when the tracker first saw it, so that an epoch without any time is sealed too.
    #[must_use]
    pub fn end_of_window(&self) -> u64 {
        let planned = Some(self.due).filter(|&due| due > 0);
        self.closed
            .at()
            .or(planned)
            .or(self.opened.at().map(|at| at.saturating_add(DEFAULT_WINDOW as u64)))
            .or(self.local.max(self.aggregated).at())
            .unwrap_or(self.seen)
    }

    /// Whether its window closed within `seconds` before `now`, by its best known end; an open one counts too.
    #[must_use]
    pub fn closed_within(&self, seconds: u64, now: f64) -> bool {
        self.end_of_window().saturating_add(seconds) > now.max(0.0) as u64
    }

    /// The latest of its known times, in Unix seconds.
    #[must_use]
    pub fn last_time(&self) -> Option<u64> {
        self.times().flatten().max()
    }

    /// The start of the hour to which the validators of its batch belong: that of its opening. While the opening is not known, that of
    /// the batch, since the list of validators may expire before the opening is told.
    #[must_use]
    pub fn hour_of_validators(&self) -> Option<u64> {
        self.opened.at().or(self.aggregated.at()).map(hour_of)
    }

    /// What it adds to the hours, by their starts: each batch to the hour in which it was made.
    #[must_use]
    pub fn hours(&self) -> BTreeMap<u64, HourSums> {
        let mut hours = BTreeMap::<u64, HourSums>::new();
        if let Some(hour) = self.opened.at().map(hour_of) {
            let sums = hours.entry(hour).or_default();
            (sums.epochs, sums.submissions) = (1, self.submissions);
        }
        for at in [self.local.at(), self.aggregated.at()].into_iter().flatten() {
            hours.entry(hour_of(at)).or_default().batches += 1;
        }
        hours
    }

    /// What it adds to the sums.
    #[must_use]
    pub fn sums(&self) -> Sums {
        Sums {
            epochs: self.opened.has_happened().into(),
            submissions: self.submissions,
            local: self.local.has_happened().into(),
            aggregated: self.aggregated.has_happened().into(),
            included: self.included.into(),
            unaccounted: (self.opened.has_happened() && !self.accounted).into(),
            late: 0,
        }
    }

    /// The stored form: `seen,opened,closed,due,submissions,local,aggregated,flags`, with `-` for what did not happen and `0` for
    /// what happened at an unknown time.
    #[must_use]
    pub fn encode(&self) -> String {
        let time = |moment: Moment| match moment {
            Moment::Never => "-".to_owned(),
            Moment::Sometime => "0".to_owned(),
            Moment::At(second) => second.to_string(),
        };
        format!(
            "{},{},{},{},{},{},{},{}{}{}",
            self.seen,
            time(self.opened),
            time(self.closed),
            self.due,
            self.submissions,
            time(self.local),
            time(self.aggregated),
            if self.included { "i" } else { "" },
            if self.accounted { "a" } else { "" },
            if self.listed { "l" } else { "" },
        )
    }

    /// Reads what [`Entry::encode`] wrote.
    ///
    /// # Errors
    /// [`BadEntry`] for any other text.
    pub fn decode(text: &str) -> Result<Self, BadEntry> {
        let read = || {
            let number = |text: &str| text.parse::<u64>().ok();
            let time = |text: &str| match text {
                "-" => Some(Moment::Never),
                _ => number(text).map(|at| if at == 0 { Moment::Sometime } else { Moment::At(at) }),
            };
            let parts: Vec<&str> = text.split(',').collect();
            let [seen, opened, closed, due, submissions, local, aggregated, flags] = parts[..] else {
                return None;
            };
            // A newer version may write more flags; reading its entry without them would drop what it knows.
            if flags.chars().any(|flag| !"ial".contains(flag)) {
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
                // Entries of the first version have no such flag.
                listed: flags.contains('l') || flags.contains('i'),
            })
        };
        read().ok_or_else(|| BadEntry(text.chars().take(100).collect()))
    }
}

fn hour_of(at: u64) -> u64 {
    at - at % HOUR
}

/// What happened in one hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HourSums {
    /// Epochs opened.
    pub epochs: u64,
    /// Local and aggregated batches made.
    pub batches: u64,
    /// Submissions of the epochs opened.
    pub submissions: u64,
}

impl HourSums {
    /// Both together.
    #[must_use]
    pub fn plus(self, more: Self) -> Self {
        // Saturating: a damaged number in Redis must neither panic nor wrap around.
        Self {
            epochs: self.epochs.saturating_add(more.epochs),
            batches: self.batches.saturating_add(more.batches),
            submissions: self.submissions.saturating_add(more.submissions),
        }
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
