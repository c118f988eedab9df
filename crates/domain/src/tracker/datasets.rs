//! What one pass makes for readers.

use super::fields::whole_second;
use crate::{
    EpochId,
    tracker::{
        DayStats, Gap, HourStats, MeasurementWindow, Observation, Participation, Summary, SummaryInput,
        Totals,
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
        let window = MeasurementWindow::at(seen.window, &totals.all, now, window_length);
        let hours = || HourStats::hours(second).map(|hour| HourStats::of(seen, totals, hour)).to_vec();
        Self {
            now,
            window,
            summary: Summary::of(&SummaryInput::of(seen, totals, window)),
            participation: Participation::of(seen, totals),
            hours: if due.hourly { hours() } else { Vec::new() },
            day: due.daily.then(|| DayStats::of(seen, totals, second)),
            gaps: seen.gaps().collect(),
        }
    }
}
