//! The checks of a look, by name, and the differences that they find.

use std::fmt;

use serde_json::Value;

use crate::range::Range;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// The totals of epochs, batches and submissions.
    Totals,
    /// Totals never fall, and move between two looks only by what has happened.
    TotalsMove,
    /// The measurement window and the rates over it.
    Rates,
    /// The counts of the last one and five minutes.
    Recent,
    /// Submissions of the unfinished epochs.
    Unfinished,
    /// The length of the queue.
    Queue,
    /// `active_validators`
    Validators,
    /// The counts of priorities, and the TTL of `vpa:stats`.
    Priorities,
    /// `stats:current` has the fields of the summary.
    Stats,
    /// Every field is written, as a number; integers without a fraction.
    Form,
    /// Datasets are dated with the pass that wrote them.
    Fresh,
    /// Participation.
    Participation,
    /// There is a current epoch while an epoch is known.
    CurrentExists,
    /// Which epoch is the current one.
    CurrentChoice,
    /// Its phase.
    Phase,
    /// The length of its window.
    WindowLength,
    /// Its other fields.
    CurrentFields,
    /// The running hour and the one before.
    Hours,
    /// The older hours of the last 48.
    OldHours,
    /// The day.
    Day,
    /// Batches count in hours and day by times of their own, also where the opening of their epoch is not known.
    PeriodBatches,
    /// Gaps that are missing.
    GapMissing,
    /// Gaps that are none, or that are closed.
    GapFalse,
    /// `epoch_gaps_count` is the size of `epochs:gaps`.
    GapCount,
    /// `submissions_count` of unfinished epochs.
    StateCount,
    /// All datasets but hours and day expire within 10 s of each other.
    Ttl,
    /// No dataset lapses between two updates.
    Lapse,
    /// Timelines lose what is older than their retention, and nothing else.
    Pruned,
}

/// A difference between the datasets and the truth.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The check that found it.
    pub check: Check,
    /// What is different.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.check, self.what)
    }
}

/// Whether a field is null, since its sources say nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Null {
    /// It is a number.
    No,
    /// It may be null.
    Perhaps,
    /// It is null, once its last value is too old; a number that is computed of nothing is wrong.
    Surely,
}

/// The differences of a look.
#[derive(Debug, Default)]
pub(crate) struct Report(pub(crate) Vec<Difference>);

impl Report {
    pub(crate) fn note(&mut self, check: Check, what: impl Into<String>) {
        self.0.push(Difference { check, what: what.into() });
    }

    /// Reports a condition that does not hold.
    pub(crate) fn demand(&mut self, check: Check, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.note(check, what());
        }
    }

    /// A field that is an integer.
    pub(crate) fn integer(&mut self, dataset: &Value, field: &str) -> Option<u64> {
        let value = dataset[field].as_u64();
        self.demand(Check::Form, value.is_some(), || format!("{field}: {} is no integer", dataset[field]));
        value
    }

    /// A field that is any number.
    pub(crate) fn number(&mut self, dataset: &Value, field: &str) -> Option<f64> {
        let value = dataset[field].as_f64();
        self.demand(Check::Form, value.is_some(), || format!("{field}: {} is no number", dataset[field]));
        value
    }

    /// A field that is an integer of this range, or null.
    pub(crate) fn perhaps(
        &mut self,
        check: Check,
        dataset: &Value,
        field: &str,
        (range, null): (Range, Null),
    ) -> Option<u64> {
        if !self.is_known(check, dataset, field, null) {
            return None;
        }
        // While it can't be computed, it may keep an older value.
        let range = if null == Null::No { range } else { Range::new(0, u64::MAX) };
        self.within(check, dataset, field, range)
    }

    /// Whether a field is not null, where it may be.
    pub(crate) fn is_known(&mut self, check: Check, dataset: &Value, field: &str, null: Null) -> bool {
        let is_null = dataset.get(field).is_some_and(Value::is_null);
        self.demand(check, !is_null || null != Null::No, || format!("{field} is null"));
        !is_null
    }

    /// A field that is an integer of this range.
    pub(crate) fn within(&mut self, check: Check, dataset: &Value, field: &str, range: Range) -> Option<u64> {
        let value = self.integer(dataset, field)?;
        self.demand(check, range.allows(value), || format!("{field}: {value}, but {range} is right"));
        Some(value)
    }
}
