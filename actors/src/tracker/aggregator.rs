//! The aggregator: keeps a market's ledger, and writes the datasets that are made from it: `dashboard:summary`,
//! `stats:current`, `metrics:participation`, the statistics of hours and days, the gaps.
//!
//! Touches the market's keys in Redis, and nothing else. Each pass is three round trips whatever the number of
//! epochs, and depends on no pass before it: a crash between any two steps, or two aggregators at once, change
//! no total. What it keeps in memory is for comfort only: the last good values of fields whose input can't be
//! read now, and what the ledger looked like, to notice when Redis has lost it.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use domain::{
    Number,
    tracker::{DayStats, HourStats, MeasurementWindow, Participation, Summary, SummaryInput, Sums, Totals},
};
use retry::{RetryPolicy, table::AGGREGATOR};
use store_tracker::{Datasets, MarketKeys, MarketStore, Pass, Reach, Scope, operations::READ_TIMELINES};
use supervision::{Actor, Clock, Context, Failure, fail};

use super::{
    passes::{Next, PassError, Passes, keep_passing},
    problem::LedgerLost,
};
use crate::env::{
    messages::Look,
    services::Services,
    telemetry::{Aggregation, Dataset as Name},
};

/// The dataset's name in the status.
pub(crate) const DATASET: &str = "summary";

/// After a longer time than this without a pass all is looked at that is still there, in seconds. A pass of the last
/// minutes looks back twice as far, so that what comes some minutes late is seen too.
const RECENT: f64 = 300.0;

/// The actor.
pub struct Aggregator {
    services: Services,
    market: MarketStore,
    /// The original's numbers are shown; the ledger is kept all the same, so that nothing is lost by it.
    original: bool,
    reach: Reach,
    /// When it last passed, in Unix seconds.
    passed: Option<f64>,
    /// When the statistics of hours and of days are due; at once after a start.
    hourly_due: Option<Instant>,
    daily_due: Option<Instant>,
    last_good: HashMap<String, (Number, f64)>,
    /// The ledger's birth and sums at the last pass.
    ledger: Option<(f64, Sums)>,
}

impl Aggregator {
    /// An aggregator of the market with these keys.
    #[must_use]
    pub fn new(services: Services, keys: MarketKeys) -> Self {
        let market = MarketStore::new(keys, &services.validator);
        let (last_good, ledger) = (HashMap::new(), None);
        let (passed, hourly_due, daily_due) = (None, None, None);
        Self {
            services,
            market,
            original: false,
            reach: Reach::Full,
            passed,
            hourly_due,
            daily_due,
            last_good,
            ledger,
        }
    }

    /// The same, showing the original's numbers.
    #[must_use]
    pub fn as_original(self, original: bool) -> Self {
        Self { original, ..self }
    }

    /// The fields; one that can't be computed now keeps its last good value for three intervals.
    fn summary(&mut self, pass: &Pass, totals: &Totals, window: MeasurementWindow) -> Summary {
        let now = pass.seen.now;
        let mut summary = Summary::of(&SummaryInput::of(&pass.seen, totals, window));
        self.remember(pass);
        for (name, value) in summary.fields() {
            if let Some(value) = value {
                self.last_good.insert(name.to_owned(), (value, now));
            }
        }
        let limit = 3.0 * self.services.rhythm.summary.as_secs_f64();
        let last_good = |name: &str| {
            let (value, at) = self.last_good.get(name)?;
            (now - at <= limit).then_some(*value)
        };
        summary.fill_from(last_good);
        summary
    }

    /// Takes over what the incarnation before this one had shown: its good values are not to be lost with it.
    fn remember(&mut self, pass: &Pass) {
        let Some(shown) = pass.shown.as_ref().filter(|_| self.last_good.is_empty()) else { return };
        let Some(at) = shown["updated_at"].as_f64() else { return };
        for (name, value) in shown.as_object().into_iter().flatten() {
            if let Some(value) = Number::from_json(value) {
                self.last_good.insert(name.clone(), (value, at));
            }
        }
    }

    /// Reports a ledger that is younger, or counts less, than the one that was seen before: Redis was emptied,
    /// or restored from an older state.
    fn notice_loss(&mut self, pass: &Pass, totals: &Totals) {
        let (born, sums) = (pass.mark.born, &totals.all);
        let lost =
            self.ledger.as_ref().and_then(|known| LedgerLost::between(self.market(), known, born, sums));
        if let Some(lost) = lost {
            self.services.report(&lost);
        }
        // A ledger that this pass is about to make may be made by another tracker a moment earlier.
        self.ledger = born.map(|born| (born, *sums));
    }
}

impl Passes for Aggregator {
    const DATASET: &'static str = DATASET;
    const RETRY: RetryPolicy = AGGREGATOR;

    fn services(&self) -> &Services {
        &self.services
    }

    fn market(&self) -> &str {
        self.market.keys().market().checksummed()
    }

    fn interval(&self) -> Duration {
        self.services.rhythm.summary
    }

    fn interrupted(&mut self) {
        // Nobody knows what happened meanwhile.
        self.reach = Reach::Full;
    }

    async fn pass(&mut self, look: Option<&Look>, clock: &Clock) -> Result<Next, PassError> {
        if look.is_some_and(|look| look.gap) {
            self.reach = Reach::Full;
        }
        let (began, wall) = (Instant::now(), clock.unix());
        let now = wall.as_secs_f64();
        // After a long sleep (of the machine, or between two passes) the last minutes are not all that is new.
        if self.passed.is_some_and(|passed| now - passed > RECENT) {
            self.reach = Reach::Full;
        }
        fail::point("aggregator::before_read").await?;
        let mut session = self.services.store.session(READ_TIMELINES).await?;
        self.services.telemetry.pool_waited(began.elapsed());
        let is_due = |due: Option<Instant>| due.is_none_or(|due| clock.now() >= due);
        let (hourly, daily) = (is_due(self.hourly_due), is_due(self.daily_due));
        let scope = Scope { reach: self.reach, hourly, daily };
        let pass = self.market.read(&mut session, now, scope).await?;
        self.services.note_faults(&pass.faults);
        fail::point("aggregator::after_read").await?;

        let rhythm = self.services.rhythm.clone();
        let totals = Totals::of(&pass.seen, &self.services.validator, rhythm.seal_after.as_secs_f64());
        self.notice_loss(&pass, &totals);
        let length = rhythm.measurement_window.as_secs_f64();
        let window = MeasurementWindow::at(pass.seen.window, &totals.all, now, length);
        let summary = self.summary(&pass, &totals, window);
        let second = wall.as_secs();
        let hours = || HourStats::hours(second).map(|hour| HourStats::of(&pass.seen, &totals, hour)).to_vec();
        // Totals that lack some make no statistics, which would stand for an interval: those follow with the pass that
        // has them all, at once.
        let again = pass.partial || (pass.missed_epochs && self.reach == Reach::Recent);
        let (hourly, daily) = (hourly && !again, daily && !again);
        let gaps: Vec<_> = pass.seen.gaps().collect();
        let mut original = None;
        if self.original {
            let (heard, gaps) = (self.services.heard.since(), gaps.len() as u64);
            let (datasets, faults) = self.market.original(&mut session, now, &heard, gaps).await?;
            self.services.note_faults(&faults);
            original = Some(datasets);
        }
        let datasets = Datasets {
            summary: &summary,
            window,
            summary_ttl: rhythm.summary_ttl(),
            participation: Participation::of(&pass.seen, &totals),
            participation_ttl: rhythm.participation_ttl(),
            hours: if hourly { hours() } else { Vec::new() },
            day: daily.then(|| DayStats::of(&pass.seen, &totals, second)),
            gaps,
            original,
        };
        fail::point("aggregator::before_commit").await?;
        let written = self.market.commit(&mut session, &pass, &totals, &datasets).await?;
        fail::point("aggregator::after_commit").await?;
        self.services.note_faults(&written.faults);
        if hourly {
            self.hourly_due = Some(clock.now() + rhythm.hourly);
        }
        if daily {
            self.daily_due = Some(clock.now() + rhythm.daily);
        }

        let telemetry = &self.services.telemetry;
        telemetry.round_trips("summary", session.round_trips());
        let made = [
            (Name::DashboardSummary, true),
            (Name::Participation, true),
            (Name::HourlyStats, hourly),
            (Name::DailyStats, daily),
        ];
        for (name, _) in made.into_iter().filter(|(_, made)| *made) {
            telemetry.dataset_generated(name);
            telemetry.dataset_written(self.market(), name, wall);
        }
        telemetry.late_changes(totals.late.len() as u64);
        telemetry.unfinished_epochs(self.market(), totals.unfinished);
        if written.left > 0 {
            // It may have sealed some of them, and counts those; the others are looked at with the next pass.
            let (market, left) = (self.market(), written.left);
            tracing::debug!(market, epochs = left, "another tracker changed these epochs first");
        } else {
            let unaccounted = totals.finished.iter().map(|(_, entry)| entry.sums().unaccounted).sum();
            telemetry.unaccounted_epochs(unaccounted);
        }
        let took = [
            (Aggregation::CurrentMetrics, true),
            (Aggregation::HourlyStats, hourly),
            (Aggregation::DailyStats, daily),
        ];
        for (kind, _) in took.into_iter().filter(|(_, made)| *made) {
            telemetry.aggregation_took(kind, began.elapsed());
        }
        self.passed = Some(now);
        self.reach = if again { Reach::Full } else { Reach::Recent };
        Ok(if again { Next::AtOnce } else { Next::Interval })
    }
}

impl Actor for Aggregator {
    type Message = Look;

    async fn run(&mut self, cx: &mut Context<Look>) -> Result<(), Failure> {
        keep_passing(self, cx).await
    }
}
