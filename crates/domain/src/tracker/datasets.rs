//! The datasets that one pass makes for readers.

use super::fields::whole_second;
use crate::{
    EpochId,
    tracker::{
        DayStats, EpochFacts, GAP_SHOWN, Gap, HOUR, HourStats, MeasurementWindow, Observation, Participation,
        Summary, SummaryInput, Totals,
    },
};

/// Which statistics a pass makes beside the summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Those of the hours.
    pub hourly: bool,
    /// Those of the day.
    pub daily: bool,
}

impl Due {
    /// All of them.
    pub const ALL: Self = Self { hourly: true, daily: true };
    /// None of them.
    pub const NONE: Self = Self { hourly: false, daily: false };
}

/// The datasets of one pass.
#[derive(Clone, Debug)]
pub struct Datasets {
    /// The moment that it is made for, in Unix seconds.
    pub now: f64,
    /// The window that the rates of the summary were measured in.
    pub window: MeasurementWindow,
    /// `dashboard:summary` and `stats:current`.
    pub summary: Summary,
    /// `metrics:participation`.
    pub participation: Participation,
    /// `stats:hourly:T`, for each of these hours.
    pub hours: Vec<HourStats>,
    /// `stats:daily`.
    pub day: Option<DayStats>,
    /// The gaps of all examined epochs.
    pub gaps: Vec<(EpochId, Gap)>,
}

impl Datasets {
    /// Computes the datasets from what a pass saw. Rates are measured over windows of `window_length` seconds.
    #[must_use]
    pub fn of(seen: &Observation, totals: &Totals, window_length: f64, due: Due) -> Self {
        let (now, second) = (seen.now, whole_second(seen.now));
        let gaps = gaps(seen, totals);
        let window = MeasurementWindow::at(seen.window, &totals.all, now, window_length);
        let hours = seen.hour_validators.keys();
        let hours = hours.map(|&start| HourStats::of(seen, totals, (start, second.min(start + HOUR))));
        // Of the earlier hours only those of which something is known: nothing is said of the others.
        let two = HourStats::hours(second).map(|(start, _)| start);
        let unfinished = HourStats::unfinished(seen.passed, second);
        let hours = hours
            .filter(|hour| two.contains(&hour.start) || unfinished == Some(hour.start) || !hour.is_empty());
        Self {
            now,
            window,
            summary: Summary::of(&SummaryInput::of(seen, totals, window, gaps.len() as u64)),
            participation: Participation::of(seen, totals),
            hours: hours.collect(),
            day: due.daily.then(|| DayStats::of(seen, totals, second)),
            gaps,
        }
    }
}

/// The gaps of the epochs whose window closed within the last hour, at most one each.
fn gaps(seen: &Observation, totals: &Totals) -> Vec<(EpochId, Gap)> {
    let late = |epoch: &EpochId| totals.late.iter().find(|(late, _)| late == epoch).map(|(_, sealed)| sealed);
    let sealed = |epoch: &EpochId| Some(late(epoch).or_else(|| seen.sealed.get(epoch))?.known());
    let entry = |epoch: &EpochId| totals.known(epoch).or_else(|| sealed(epoch));
    let of_one = |(epoch, facts): (&EpochId, &EpochFacts)| {
        let known = entry(epoch).filter(|entry| entry.closed_within(GAP_SHOWN, seen.now))?;
        Some((epoch.clone(), Gap::of(facts, known, seen.now)?))
    };
    seen.facts.iter().filter_map(of_one).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::tracker::{Entry, HourSums, Moment, Reading, Sealed, StateHash};

    const RUNNING: u64 = 1_000 * HOUR;
    const NOW: u64 = RUNNING + 600;

    #[test]
    fn of_the_hours_that_were_asked_for_those_with_something_are_written_and_the_last_two_and_the_unfinished_one()
     {
        let asked = [1, 2, 3, 4, 0].map(|back| RUNNING - back * HOUR);
        let sums = HourSums { epochs: 1, ..HourSums::default() };
        let seen = Observation {
            now: NOW as f64,
            // It ran three hours ago; two and four hours ago nothing is known, or something.
            passed: Some((RUNNING - 3 * HOUR) as f64 + 5.0),
            hours: Some(BTreeMap::from([(RUNNING - 4 * HOUR, sums)])),
            hour_validators: asked.map(|start| (start, Some(BTreeSet::new()))).into(),
            ..Observation::default()
        };
        let datasets = Datasets::of(&seen, &Totals::default(), 86_400.0, Due::NONE);
        let written: Vec<(u64, u64)> = datasets.hours.iter().map(|hour| (hour.start, hour.end)).collect();
        let whole = |back| (RUNNING - back * HOUR, RUNNING - (back - 1) * HOUR);
        assert_eq!(written, [whole(4), whole(3), whole(1), (RUNNING, NOW)]);
        assert!(datasets.day.is_none() && datasets.gaps.is_empty());
    }

    #[test]
    fn gaps_are_those_of_unsealed_sealed_and_late_epochs_whose_window_closed_within_the_hour() {
        let id = |number: u64| EpochId::parse(&number.to_string()).expect("a number");
        let closed = |ago| Entry { closed: Moment::At(NOW - ago), ..Entry::default() };
        let state = Reading::Value(StateHash::default());
        let facts = || EpochFacts { open: Some(false), state: state.clone(), ..EpochFacts::default() };
        let late = Sealed { counted: closed(9_000), late: Some(closed(5)) };
        let seen = Observation {
            now: NOW as f64,
            facts: (1..=5).map(|number| (id(number), facts())).collect(),
            sealed: [(id(2), closed(5).into()), (id(3), closed(3_600).into()), (id(4), closed(9_000).into())]
                .into(),
            ..Observation::default()
        };
        let totals =
            Totals { unsealed: vec![(id(1), closed(5))], late: vec![(id(4), late)], ..Totals::default() };
        let gaps = Datasets::of(&seen, &totals, 86_400.0, Due::NONE).gaps;
        let found: Vec<&str> = gaps.iter().map(|(epoch, _)| epoch.as_str()).collect();
        // The fifth one is in no ledger.
        assert_eq!(found, ["1", "2", "4"]);
        assert!(gaps.iter().all(|(_, gap)| *gap == Gap::Level1));
    }
}
