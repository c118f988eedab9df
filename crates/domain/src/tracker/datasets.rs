//! What one pass makes for readers.

use super::fields::whole_second;
use crate::{
    EpochId,
    tracker::{
        DayStats, GAP_SHOWN, Gap, HOUR, HourStats, MeasurementWindow, Observation, Participation, Summary,
        SummaryInput, Totals,
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

/// What one pass makes for readers.
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
    /// What follows from what a pass saw; rates are measured over windows of `window_length` seconds.
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
    let shown = seen
        .facts
        .iter()
        .filter(|(epoch, _)| entry(epoch).is_some_and(|entry| entry.closed_within(GAP_SHOWN, seen.now)));
    shown.filter_map(|(epoch, facts)| Some((epoch.clone(), Gap::of(facts, seen.now)?))).collect()
}
