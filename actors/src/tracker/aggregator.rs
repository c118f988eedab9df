//! The aggregator: maintains a market's ledger and writes the datasets that are computed from it: `dashboard:summary`,
//! `stats:current`, `metrics:participation`, the statistics of hours and days, the gaps.
//!
//! It touches the market's keys in Redis and nothing else. A usual pass takes three round trips; after an absence it reads long keys
//! in pages. A pass reads on from the mark that the last committed pass has left in the ledger, whichever process made that pass. So
//! neither a crash between any two steps nor two aggregators at once change a total. No total depends on the memory of this actor,
//! which holds the last good values of fields whose input can't be read now, the ledger's last sums, to notice when Redis has lost
//! them, and which statistics are due.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use domain::{
    Number,
    tracker::{Datasets, Due, HOUR, HourStats, Summary, Sums, Totals},
};
use retry::{RetryPolicy, table::AGGREGATOR};
use store_redis::{ErrorKind, Session, StoreError};
use store_tracker::{
    Dataset, MarketKeys, MarketStore, Outputs, Pass, Reach, Scope, Written,
    datasets::{DAILY, HOURLY, SUMMARY},
    operations::READ_TIMELINES,
};
use supervision::{Actor, Clock, Context, Failure, Inbox};

use super::{
    metrics::LedgerFault,
    passes::{Next, PassError, Passes, keep_passing},
    points,
    problem::LedgerLost,
    services::TrackerServices,
};
use crate::env::messages::Wake;

/// The actor.
pub struct Aggregator {
    tracker: TrackerServices,
    market: MarketStore,
    /// Whether the datasets show the original's numbers. The ledger is maintained all the same, so that a market can switch back
    /// to the ledger's numbers.
    original: bool,
    /// Whether this incarnation has made no pass yet.
    is_first: bool,
    /// When the statistics of hours are due, and the start (Unix seconds) of the hour in which they were written last: they are also
    /// due when that hour is over. `None`: at once, as after a start.
    hourly_due: Option<(Instant, u64)>,
    /// Earlier hours, by their starts in Unix seconds, whose statistics have changed since they were written. The first pass of an
    /// incarnation writes all hours.
    stale_hours: BTreeSet<u64>,
    /// When the statistics of the day are due; `None`: at once.
    daily_due: Option<Instant>,
    /// The last known value of each field of the summary, and when it was computed, in Unix seconds.
    last_good: HashMap<String, (Number, f64)>,
    /// When the ledger was created, in Unix seconds, and its totals at the last pass.
    ledger: Option<(f64, Sums)>,
}

impl Aggregator {
    /// An aggregator of the market with these keys.
    #[must_use]
    pub fn new(tracker: TrackerServices, keys: MarketKeys) -> Self {
        let market = MarketStore::new(keys, &tracker.validator);
        let (last_good, ledger) = (HashMap::new(), None);
        Self {
            tracker,
            market,
            original: false,
            is_first: true,
            hourly_due: None,
            stale_hours: BTreeSet::new(),
            daily_due: None,
            last_good,
            ledger,
        }
    }

    /// Chooses whether the datasets show the original's numbers.
    #[must_use]
    pub fn as_original(self, original: bool) -> Self {
        Self { original, ..self }
    }

    /// Fills fields that can't be computed now with their last good values, which are valid for three intervals.
    fn fill(&mut self, summary: &mut Summary, pass: &Pass) {
        let now = pass.seen.now;
        // Before the new values: an empty map is how `remember` recognises a new incarnation.
        self.remember(pass);
        for (name, value) in summary.fields() {
            if let Some(value) = value {
                self.last_good.insert(name.to_owned(), (value, now));
            }
        }
        // Three intervals, as for readiness: longer, and readers would take a stopped input for a constant one.
        let limit = 3.0 * SUMMARY.interval(&self.tracker.timing.intervals).as_secs_f64();
        let last_good = |name: &str| {
            let (value, at) = self.last_good.get(name)?;
            (now - at <= limit).then_some(*value)
        };
        summary.fill_from(last_good);
    }

    /// Takes over the last good values of the previous incarnation, from the dataset that it wrote.
    fn remember(&mut self, pass: &Pass) {
        let Some(written) = pass.last_summary.as_ref().filter(|_| self.last_good.is_empty()) else { return };
        // Their age counts from the dataset, not from this start: a restart must not prolong an old value.
        let Some(at) = written["updated_at"].as_f64() else { return };
        for (name, value) in written.as_object().into_iter().flatten() {
            if let Some(value) = Number::from_json(value) {
                self.last_good.insert(name.clone(), (value, at));
            }
        }
    }

    /// Reports a ledger that is younger, or counts less, than at the last pass: Redis was emptied, or restored from an older
    /// state. Then every dataset is due at once, as after a start.
    fn notice_loss(&mut self, pass: &Pass, totals: &Totals) -> bool {
        let (born, sums) = (pass.mark.born, &totals.all);
        let lost =
            self.ledger.as_ref().and_then(|known| LedgerLost::between(self.market(), known, born, sums));
        if let Some(lost) = &lost {
            // Only reported: the pass goes on with what Redis has, since no other source could restore it.
            self.tracker.services.report(lost);
            self.tracker.metrics.ledger_fault(self.market(), LedgerFault::Lost);
        }
        // `None` before the ledger exists: this pass can't record a time of creation, since another tracker may create the
        // ledger a moment earlier.
        self.ledger = born.map(|born| (born, *sums));
        lost.is_some()
    }

    /// Records what a pass has written and how long it took.
    fn note(&self, totals: &Totals, written: &Written, at: Duration, took: Duration) {
        let metrics = &self.tracker.metrics;
        for dataset in &written.datasets {
            metrics.dataset_written(self.market(), dataset, at);
            metrics.pass_took(dataset, took);
        }
        metrics.late_changes(totals.late.len() as u64);
        metrics.unfinished_epochs(self.market(), totals.unfinished);
        if written.skipped > 0 {
            // The other tracker may have sealed some of them, and has counted those. The next pass reads the rest again.
            let (market, epochs) = (self.market(), written.skipped);
            tracing::debug!(market, epochs, "another tracker changed these epochs first");
        } else {
            let unaccounted = totals.finished.iter().map(|(_, entry)| entry.sums().unaccounted).sum();
            metrics.unaccounted_epochs(unaccounted);
        }
    }
}

/// How long after `now`, in Unix time, the next hour begins.
fn next_hour(now: Duration) -> Duration {
    let hour = Duration::from_secs(HOUR);
    hour - Duration::from_nanos((now.as_nanos() % hour.as_nanos()) as u64)
}

impl Aggregator {
    /// What a pass at `now` (Unix seconds) is made for.
    fn scope(&self, wake: Option<&Wake>, now: f64, at: Instant) -> Scope {
        let is_due = |due: Option<Instant>| due.is_none_or(|due| at >= due);
        let running = HourStats::hours(now as u64)[1].0;
        let hourly = self.hourly_due.is_none_or(|(due, hour)| is_due(Some(due)) || hour != running);
        let due = Due { hourly: hourly || !self.stale_hours.is_empty(), daily: is_due(self.daily_due) };
        let named = wake.map(|wake| wake.named.clone()).unwrap_or_default();
        Scope { reach: Reach::New, first: self.is_first, due, hours: self.stale_hours.clone(), named }
    }

    /// Reads everything that a pass needs, and computes the ledger from it.
    async fn read_totals(
        &self,
        session: &mut Session,
        now: f64,
        scope: Scope,
    ) -> Result<(Pass, Totals), StoreError> {
        let mut pass = self.read(session, now, scope).await?;
        let (validator, seal_after) = (&self.tracker.validator, self.tracker.timing.seal_after.as_secs_f64());
        let totals = Totals::of(&pass.seen, validator, seal_after);
        let unaccounted: Vec<_> = totals.unaccounted().cloned().collect();
        if unaccounted.is_empty() {
            return Ok((pass, totals));
        }
        let epochs = self.market.recover(session, &mut pass, &unaccounted).await?;
        if epochs == 0 {
            return Ok((pass, totals));
        }
        tracing::info!(
            market = self.market(),
            epochs,
            "took expired submissions from the timeline of validations"
        );
        let totals = Totals::of(&pass.seen, validator, seal_after);
        Ok((pass, totals))
    }

    /// Reads everything that a pass needs. A ledger of an earlier version is upgraded before: only here, since a command that only
    /// reads must not write.
    async fn read(&self, session: &mut Session, now: f64, scope: Scope) -> Result<Pass, StoreError> {
        match self.market.read(session, now, scope.clone()).await {
            Err(error) if error.kind == ErrorKind::Foreign && self.market.upgrade(session, now).await? => {
                tracing::info!(market = self.market(), "upgraded the ledger");
                self.market.read(session, now, scope).await
            }
            read => read,
        }
    }

    /// Remembers a pass that was committed, with the statistics that it has written; returns when the next one is due.
    fn plan(&mut self, pass: &Pass, datasets: &Datasets, due: Due, clock: &Clock) -> Next {
        let (timing, now) = (&self.tracker.timing, pass.seen.now as u64);
        // From now and not from the last due time: after an outage one write is enough.
        if due.hourly {
            let running = HourStats::hours(clock.unix().as_secs())[1].0;
            self.hourly_due = Some((clock.now() + HOURLY.interval(&timing.intervals), running));
        }
        if due.daily {
            self.daily_due = Some(clock.now() + DAILY.interval(&timing.intervals));
        }
        // Changed hours that readers still read, and that this pass did not write.
        let past = HourStats::past(now).filter(|start| self.stale_hours.contains(start));
        let is_written = |start: &u64| datasets.hours.iter().any(|hour| hour.start == *start);
        self.stale_hours = past.filter(|start| !is_written(start)).collect();
        self.is_first = false;
        // A pass when the next hour begins, since the statistics of hours are due then.
        if pass.is_incomplete() { Next::AtOnce } else { Next::Within(next_hour(clock.unix())) }
    }
}

impl Passes for Aggregator {
    const DATASET: Dataset = SUMMARY;
    const RETRY: RetryPolicy = AGGREGATOR;

    fn tracker(&self) -> &TrackerServices {
        &self.tracker
    }

    fn market(&self) -> &str {
        self.market.keys().market().checksummed()
    }

    async fn pass(&mut self, wake: Option<&Wake>, clock: &Clock) -> Result<Next, PassError> {
        // Durations are measured in real time; dates come from the tree's clock, which tests control.
        let (began, wall) = (Instant::now(), clock.unix());
        let now = wall.as_secs_f64();
        let scope = self.scope(wake, now, clock.now());
        points::AGGREGATOR_BEFORE_READ.pass().await?;
        let services = self.tracker.services.clone();
        let mut session = services.store.session(READ_TIMELINES).await?;
        services.telemetry.pool_waited(began.elapsed());
        let (pass, totals) = self.read_totals(&mut session, now, scope).await?;
        services.note_faults(&pass.faults);
        points::AGGREGATOR_AFTER_READ.pass().await?;

        let timing = self.tracker.timing.clone();
        // Nothing is written before the commit: a crash in between leaves no trace in Redis.
        let is_lost = self.notice_loss(&pass, &totals);
        // Statistics are written only from complete totals: incomplete ones would stay for an interval of up to an hour. The pass
        // with all epochs follows at once and writes them.
        let due = if pass.is_incomplete() { Due::NONE } else { pass.scope.due };
        let window = timing.measurement_window.as_secs_f64();
        let mut datasets = Datasets::of(&pass.seen, &totals, window, due);
        self.fill(&mut datasets.summary, &pass);
        let mut original = None;
        if self.original {
            // Two more round trips, but only for markets with `compat = "go"`.
            let (events, gaps) = (self.tracker.events.counts(), datasets.gaps.len() as u64);
            let (texts, faults) = self.market.original(&mut session, now, &events, gaps).await?;
            services.note_faults(&faults);
            original = Some(texts);
        }
        let outputs =
            Outputs { datasets: &datasets, intervals: &timing.intervals, original: original.as_ref() };
        // Before the commit, which may take effect although its answer is lost: no later pass would see the change.
        self.stale_hours.extend(totals.changed_hours());
        points::AGGREGATOR_BEFORE_COMMIT.pass().await?;
        let written = self.market.commit(&mut session, &pass, &totals, outputs).await?;
        points::AGGREGATOR_AFTER_COMMIT.pass().await?;
        // After the commit: if it fails, the statistics stay due for the pass that follows.
        services.note_faults(&written.faults);
        services.telemetry.round_trips("summary", session.round_trips());
        services.readiness.produced(self.market(), pass.has_producers());
        self.note(&totals, &written, wall, began.elapsed());
        let next = self.plan(&pass, &datasets, due, clock);
        if is_lost {
            // The statistics were lost with the ledger, and this pass was not made for them.
            (self.is_first, self.hourly_due, self.daily_due) = (true, None, None);
            return Ok(Next::AtOnce);
        }
        Ok(next)
    }
}

impl Actor for Aggregator {
    type Message = Wake;

    async fn run(&mut self, cx: &Context, inbox: &mut Inbox<Wake>) -> Result<(), Failure> {
        keep_passing(self, cx, inbox).await
    }
}
