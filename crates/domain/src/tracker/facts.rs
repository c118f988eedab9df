//! What was read of keys, before anything is concluded from it.

use crate::tracker::{Claim, Moment, Reading};

/// What was read of the keys of one epoch. Times are Unix seconds as they were written, by clocks that are not ours.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EpochFacts {
    /// `status` of its info, else `window_status` of its state: whether its window is open.
    pub open: Option<bool>,
    /// When its window opened, by info or state.
    pub start: Option<f64>,
    /// When its window closed, or closes, by info or state.
    pub end: Option<f64>,
    /// How long its window lasts, in seconds.
    pub duration: Option<f64>,
    /// The `data_market` of its info.
    pub data_market: Option<String>,
    /// Its processed submissions. A set that exists has some.
    pub submissions: Reading<u64>,
    /// Those with a time in the last minute and in the last five, where times are kept.
    pub submissions_recent: Option<(u64, u64)>,
    /// The metadata of its local batch exists.
    pub local_batch: bool,
    /// The metadata of its aggregated batch exists.
    pub aggregated_batch: bool,
    /// The validators in its aggregated batch, where they are listed.
    pub batch_validators: Reading<Vec<String>>,
    /// When it was opened, closed, batched locally and aggregated, by the timelines.
    pub timeline: Moments,
    /// Its state hash.
    pub state: Reading<StateHash>,
}

/// What is read of an epoch's state hash.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StateHash {
    /// `submissions_count`, which the tracker writes.
    pub submissions_count: Option<u64>,
    /// `level1_status`
    pub level1: Option<String>,
    /// `level1_completed_at`
    pub level1_at: Option<f64>,
    /// `level2_status`
    pub level2: Option<String>,
    /// `level2_completed_at`
    pub level2_at: Option<f64>,
    /// `onchain_status`
    pub onchain: Option<String>,
}

/// Times of an epoch in the timelines.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moments {
    /// `open:E`
    pub opened: Option<f64>,
    /// `close:E`
    pub closed: Option<f64>,
    /// `local:E`
    pub local: Option<f64>,
    /// `aggregated:E`
    pub aggregated: Option<f64>,
}

impl Moments {
    /// The earlier time of each: two spellings, or two forms of an id, can give an epoch two entries.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        let first = |one: Option<f64>, other: Option<f64>| one.into_iter().chain(other).reduce(f64::min);
        Self {
            opened: first(self.opened, other.opened),
            closed: first(self.closed, other.closed),
            local: first(self.local, other.local),
            aggregated: first(self.aggregated, other.aggregated),
        }
    }
}

impl EpochFacts {
    fn level1_status(&self) -> Option<&str> {
        self.state.value()?.level1.as_deref()
    }

    /// Whether and when it was opened. Any trace of an epoch proves that it was.
    #[must_use]
    pub fn opened(&self, now: f64) -> Moment {
        best([self.timeline.opened, self.start], now).max(Moment::Sometime)
    }

    /// Whether and when its window closed.
    #[must_use]
    pub fn closed(&self, now: f64) -> Moment {
        let by_status = self.open == Some(false);
        // For a closed window `end` is the time of the close; for an open one it is the planned end. A planned end in the future says
        // nothing about a window that was closed early.
        let end = self.end.filter(|_| by_status).filter(|&end| matches!(Claim::of(end, now), Claim::Past(_)));
        best([self.timeline.closed, end], now).max(Moment::if_so(by_status))
    }

    /// Whether and when its local batch was made: any of timeline, metadata and state is proof enough, since each expires on its
    /// own.
    #[must_use]
    pub fn local(&self, now: f64) -> Moment {
        let completed = self.level1_status() == Some("completed");
        let at = self.state.value().and_then(|state| state.level1_at).filter(|_| completed);
        best([self.timeline.local, at], now).max(Moment::if_so(self.local_batch || completed))
    }

    /// Whether and when its aggregated batch was made, in the same way.
    #[must_use]
    pub fn aggregated(&self, now: f64) -> Moment {
        let state = self.state.value();
        let completed = state.is_some_and(|state| state.level2.as_deref() == Some("completed"));
        let at = state.and_then(|state| state.level2_at).filter(|_| completed);
        best([self.timeline.aggregated, at], now).max(Moment::if_so(self.aggregated_batch || completed))
    }

    /// Whether level 1 was skipped.
    #[must_use]
    pub fn is_skipped(&self) -> bool {
        self.level1_status() == Some("skipped")
    }

    /// The times at which something of this epoch happened, as producers wrote them, with their names.
    fn claims(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let Moments { opened, closed, local, aggregated } = self.timeline;
        let state = self.state.value();
        let times = [
            ("open in the epochs timeline", opened),
            ("close in the epochs timeline", closed),
            ("local in the batches timeline", local),
            ("aggregated in the batches timeline", aggregated),
            ("start", self.start),
            ("level1_completed_at", state.and_then(|state| state.level1_at)),
            ("level2_completed_at", state.and_then(|state| state.level2_at)),
        ];
        times.into_iter().filter_map(|(name, at)| Some((name, at?)))
    }

    /// Whether one of its times is ahead of our clock by at most [`AHEAD`](crate::tracker::AHEAD): that event still has to happen.
    #[must_use]
    pub fn is_ahead(&self, now: f64) -> bool {
        self.claims().any(|(_, at)| Claim::of(at, now) == Claim::Ahead)
    }

    /// The times that can't be read, with their names.
    pub fn unreadable_times(&self, now: f64) -> impl Iterator<Item = (&'static str, f64)> {
        self.claims().filter(move |&(_, at)| Claim::of(at, now) == Claim::Unreadable)
    }
}

/// The first of these times that has come, else whether there is one that can't be read.
fn best<const N: usize>(times: [Option<f64>; N], now: f64) -> Moment {
    let moments = times.map(|at| at.map_or(Moment::Never, |at| Moment::claimed(at, now)));
    let first = moments.iter().find(|moment| moment.at().is_some());
    first.copied().unwrap_or_else(|| moments.into_iter().max().unwrap_or_default())
}

/// Counts of the last 24 hours. `None`: could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Day {
    /// Sealed epochs that were opened.
    pub opened: Option<u64>,
    /// Sealed epochs that were aggregated.
    pub aggregated: Option<u64>,
    /// Those of them whose validators are known.
    pub listed: Option<u64>,
    /// Sealed epochs whose aggregated batch names this validator.
    pub included: Option<u64>,
    /// Epochs for which this validator made a local batch, by its own timeline.
    pub level1: Option<u64>,
}

/// The counts of the keys `vpa:*`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Priorities {
    /// `total_priority_assignments`
    pub assignments: Reading<u64>,
    /// `no_priority_count`
    pub none: Reading<u64>,
    /// `total_submissions_success`
    pub succeeded: Reading<u64>,
    /// `total_submissions_failed`
    pub failed: Reading<u64>,
    /// Assignments of the last 24 hours; `None`: could not be read.
    pub assignments_24h: Option<u64>,
    /// Submissions of the last 24 hours; `None`: could not be read.
    pub submissions_24h: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_entries_about_the_same_the_earlier_one_counts() {
        let one = Moments { opened: Some(5.0), closed: Some(9.0), local: None, aggregated: None };
        let other = Moments { opened: Some(7.0), closed: Some(8.0), local: Some(3.0), aggregated: None };
        let both = Moments { opened: Some(5.0), closed: Some(8.0), local: Some(3.0), aggregated: None };
        assert_eq!((one.merge(other), other.merge(one)), (both, both));
    }
}
