//! The metrics of campaigns. They are read during a scrape; without campaigns there are no series.

use std::sync::{Arc, Mutex, atomic::Ordering::Relaxed};

use opentelemetry::Value;

use super::{
    counts::{Counts, EVENTS, JobOutcome, SummaryOutcome},
    gateway::CampaignGateway,
    shared::Campaigns,
};
use crate::env::{
    lock::lock,
    telemetry::{Emit, Label, Meter, Metric, Observed, Values},
};

const OUTCOME: Label = Label {
    name: "outcome",
    values: Values::Known(|| JobOutcome::ALL.iter().map(|outcome| outcome.label()).collect()),
};
const SUMMARY: Label = Label {
    name: "outcome",
    values: Values::Known(|| SummaryOutcome::ALL.iter().map(|outcome| outcome.label()).collect()),
};
const KIND: Label = Label { name: "kind", values: Values::Known(|| EVENTS.to_vec()) };
const STATE: Label = Label { name: "state", values: Values::Known(|| vec!["waiting", "processing", "dead"]) };
const CONNECT: Label =
    Label { name: "outcome", values: Values::Known(|| vec!["accepted", "refused", "limited"]) };
const JOIN: Label = Label { name: "outcome", values: Values::Known(|| vec!["joined", "refused", "limited"]) };
const RETURN: Label = Label { name: "outcome", values: Values::Known(|| vec!["recovered", "not_recovered"]) };
/// The original's labels.
const QUEUE: Label = Label { name: "queue", values: Values::Known(|| vec!["status"]) };

/// What is observed, once there is something.
#[derive(Default)]
pub(crate) struct Watch {
    campaigns: Mutex<Option<Campaigns>>,
    gateway: Mutex<Option<Arc<CampaignGateway>>>,
}

impl Watch {
    fn counts(&self, read: impl FnOnce(&Counts)) {
        let campaigns = lock(&self.campaigns).clone();
        if let Some(campaigns) = campaigns {
            read(campaigns.counts());
        }
    }

    fn number(&self, emit: Emit<'_>, read: impl FnOnce(&Counts) -> f64) {
        self.counts(|counts| emit(read(counts), &[]));
    }

    fn gateway(&self, read: impl FnOnce(&campaign_gateway::Counts)) {
        let gateway = lock(&self.gateway).clone();
        if let Some(gateway) = gateway {
            read(&gateway.counts());
        }
    }

    fn of_gateway(&self, emit: Emit<'_>, read: impl FnOnce(&campaign_gateway::Counts) -> u64) {
        self.gateway(|counts| emit(read(counts) as f64, &[]));
    }
}

fn each(emit: Emit<'_>, counts: impl IntoIterator<Item = (&'static str, u64)>) {
    counts.into_iter().for_each(|(label, count)| emit(count as f64, &[Value::from(label)]));
}

const fn row(metric: Metric, read: fn(&Watch, Emit<'_>)) -> Observed<Watch> {
    Observed { metric, read }
}

/// The metrics that are read during a scrape.
pub(crate) static OBSERVED: &[Observed<Watch>] = &[
    row(
        Metric::gauge(
            "state_tracker_campaigns_active_runs",
            &[],
            "runs",
            "This many running runs of active campaigns the scheduler found in its last round.",
        ),
        |watch, emit| watch.number(emit, |counts| counts.queue().active as f64),
    ),
    row(
        Metric::gauge(
            "state_tracker_campaigns_jobs",
            &[STATE],
            "jobs",
            "This many status jobs wait, are in work, or are dead letters.",
        ),
        |watch, emit| {
            watch.counts(|counts| {
                let queue = counts.queue();
                let states =
                    [("waiting", queue.waiting), ("processing", queue.in_work), ("dead", queue.dead)];
                each(emit, states);
            });
        },
    ),
    row(
        Metric::gauge(
            "state_tracker_campaigns_oldest_job_seconds",
            &[],
            "seconds",
            "The oldest waiting status job has waited so long.",
        ),
        |watch, emit| watch.number(emit, |counts| counts.queue().oldest.as_secs_f64()),
    ),
    row(
        Metric::counter(
            "state_tracker_campaigns_jobs_queued_total",
            &[],
            "jobs",
            "This many status jobs were queued.",
        ),
        |watch, emit| watch.number(emit, |counts| counts.queued.load(Relaxed) as f64),
    ),
    row(
        Metric::counter(
            "state_tracker_campaigns_jobs_total",
            &[OUTCOME],
            "jobs",
            "This many status jobs succeeded, failed for now or for good, or were lost to another worker.",
        ),
        |watch, emit| watch.counts(|counts| each(emit, counts.jobs())),
    ),
    row(
        Metric::counter(
            "state_tracker_campaigns_summaries_total",
            &[SUMMARY],
            "summaries",
            "This many summaries were written, had not changed, or could not be written.",
        ),
        |watch, emit| watch.counts(|counts| each(emit, counts.summaries())),
    ),
    row(
        Metric::counter(
            "state_tracker_campaigns_unkept_total",
            &[],
            "summaries",
            "This many written summaries are missing in the history, because it could not be written.",
        ),
        |watch, emit| watch.number(emit, |counts| counts.unkept.load(Relaxed) as f64),
    ),
    row(
        Metric::counter(
            "state_tracker_campaigns_computation_seconds_total",
            &[],
            "seconds",
            "The metrics of runs took so long to compute in full, all together.",
        ),
        |watch, emit| watch.number(emit, |counts| counts.computations().together.as_secs_f64()),
    ),
    row(
        Metric::counter(
            "state_tracker_campaigns_computations_total",
            &[],
            "computations",
            "The metrics of a run were computed in full this often.",
        ),
        |watch, emit| watch.number(emit, |counts| counts.computations().many as f64),
    ),
    row(
        Metric::counter(
            "state_tracker_campaigns_counted_total",
            &[],
            "readings",
            "The metrics of a run were read from its counted changes this often, instead of computed.",
        ),
        |watch, emit| watch.number(emit, |counts| counts.counted.load(Relaxed) as f64),
    ),
    row(
        Metric::gauge(
            "state_tracker_campaigns_longest_computation_seconds",
            &[],
            "seconds",
            "The longest computation of a run's metrics since the start.",
        ),
        |watch, emit| watch.number(emit, |counts| counts.computations().longest.as_secs_f64()),
    ),
    row(
        Metric::counter(
            "state_tracker_campaigns_unreadable_total",
            &[],
            "values",
            "This many jobs, latencies and costs could not be read, each time that they were counted.",
        ),
        |watch, emit| watch.number(emit, |counts| counts.unreadable.load(Relaxed) as f64),
    ),
    row(
        Metric::gauge(
            "state_tracker_campaigns_listening",
            &[],
            "listeners",
            "Is 1 while the database tells of changes by itself, 0 while the monitor only polls.",
        ),
        |watch, emit| watch.number(emit, |counts| f64::from(u8::from(counts.is_listening.load(Relaxed)))),
    ),
    row(
        Metric::gauge(
            "state_tracker_campaigns_counting",
            &[],
            "counters",
            "Is 1 while runs are counted by their changes, 0 while each is computed in full.",
        ),
        |watch, emit| watch.number(emit, |counts| f64::from(u8::from(counts.is_counting.load(Relaxed)))),
    ),
    row(
        Metric::gauge(
            "state_tracker_campaigns_stale",
            &[],
            "monitors",
            "Is 1 while the database does not answer the monitor, so that statuses may be old.",
        ),
        |watch, emit| watch.number(emit, |counts| f64::from(u8::from(counts.is_stale.load(Relaxed)))),
    ),
    row(
        Metric::counter(
            "state_tracker_campaigns_events_total",
            &[KIND],
            "events",
            "This many events were appended to the log.",
        ),
        |watch, emit| watch.counts(|counts| each(emit, counts.events())),
    ),
    row(
        Metric::gauge("state_tracker_campaigns_clients", &[], "clients", "This many clients are connected."),
        |watch, emit| watch.of_gateway(emit, |counts| counts.clients),
    ),
    row(
        Metric::gauge("state_tracker_campaigns_rooms", &[], "rooms", "This many rooms have clients."),
        |watch, emit| watch.of_gateway(emit, |counts| counts.rooms),
    ),
    row(
        Metric::counter(
            "state_tracker_campaigns_connects_total",
            &[CONNECT],
            "clients",
            "This many clients were let in, or refused because of their token or of the limits of their user.",
        ),
        |watch, emit| {
            watch.gateway(|counts| {
                let outcomes = [
                    ("accepted", counts.connects),
                    ("refused", counts.connects_refused),
                    ("limited", counts.connects_limited),
                ];
                each(emit, outcomes);
            });
        },
    ),
    row(
        Metric::counter(
            "state_tracker_campaigns_joins_total",
            &[JOIN],
            "joins",
            "This many joins succeeded, were refused, or were too many of their user.",
        ),
        |watch, emit| {
            watch.gateway(|counts| {
                let outcomes = [
                    ("joined", counts.joins),
                    ("refused", counts.joins_refused),
                    ("limited", counts.requests_limited),
                ];
                each(emit, outcomes);
            });
        },
    ),
    row(
        Metric::counter(
            "state_tracker_campaigns_broadcasts_total",
            &[],
            "events",
            "This many events of the log were sent to rooms, or had nobody to be sent to.",
        ),
        |watch, emit| watch.of_gateway(emit, |counts| counts.events),
    ),
    row(
        Metric::counter(
            "state_tracker_campaigns_messages_sent_total",
            &[],
            "messages",
            "This many messages of events were sent to clients.",
        ),
        |watch, emit| watch.of_gateway(emit, |counts| counts.sent),
    ),
    row(
        Metric::counter(
            "state_tracker_campaigns_replaced_total",
            &[],
            "messages",
            "This many waiting statuses of slow clients were replaced by newer ones.",
        ),
        |watch, emit| watch.of_gateway(emit, |counts| counts.replaced),
    ),
    row(
        Metric::counter(
            "state_tracker_campaigns_returns_total",
            &[RETURN],
            "clients",
            "This many clients came back and found their rooms again, or did not.",
        ),
        |watch, emit| {
            watch.gateway(|counts| {
                each(emit, [("recovered", counts.recovered), ("not_recovered", counts.not_recovered)]);
            });
        },
    ),
    row(
        Metric::counter(
            "state_tracker_campaigns_source_errors_total",
            &[],
            "errors",
            "The gateway's questions to the database or to Redis failed this often.",
        ),
        |watch, emit| watch.of_gateway(emit, |counts| counts.source_errors),
    ),
];

/// The same under the names of the original, where they are switched on.
pub(crate) static OLD: &[Observed<Watch>] = &[
    row(
        Metric::gauge(
            "volume_bot_queue_depth",
            &[QUEUE],
            "jobs",
            "This many status jobs wait (the original's name).",
        ),
        |watch, emit| watch.counts(|counts| each(emit, [("status", counts.queue().waiting)])),
    ),
    row(
        Metric::counter(
            "volume_bot_jobs_processed_total",
            &[QUEUE],
            "jobs",
            "This many status jobs succeeded (the original's name).",
        ),
        |watch, emit| watch.counts(|counts| each(emit, [("status", counts.of(JobOutcome::Succeeded))])),
    ),
    row(
        Metric::counter(
            "volume_bot_jobs_failed_total",
            &[QUEUE],
            "jobs",
            "This many status jobs failed for good (the original's name).",
        ),
        |watch, emit| watch.counts(|counts| each(emit, [("status", counts.of(JobOutcome::Dead))])),
    ),
    row(
        Metric::gauge(
            "volume_bot_active_connections",
            &[],
            "clients",
            "This many clients are connected (the original's name).",
        ),
        |watch, emit| watch.of_gateway(emit, |counts| counts.clients),
    ),
    row(
        Metric::gauge(
            "volume_bot_active_campaigns",
            &[],
            "runs",
            "This many running runs of active campaigns there are (the original's name).",
        ),
        |watch, emit| watch.number(emit, |counts| counts.queue().active as f64),
    ),
];

/// The metrics of campaigns. A clone is the same metrics.
#[derive(Clone)]
pub struct CampaignMetrics(Arc<Watch>);

impl CampaignMetrics {
    /// Registers the metrics, and with `old` those under the original's names. They have no series before [`Self::observe`].
    #[must_use]
    pub fn register(meter: &Meter, old: bool) -> Self {
        let watch = Arc::default();
        meter.observe(OBSERVED, &watch);
        if old {
            meter.observe(OLD, &watch);
        }
        Self(watch)
    }

    /// Exposes the counts of these campaigns.
    pub fn observe(&self, campaigns: Campaigns) {
        *lock(&self.0.campaigns) = Some(campaigns);
    }

    /// Exposes the counts of this gateway.
    pub fn observe_gateway(&self, gateway: Arc<CampaignGateway>) {
        *lock(&self.0.gateway) = Some(gateway);
    }
}

/// The rows of the metrics of campaigns.
pub(crate) fn metrics() -> impl Iterator<Item = &'static Metric> {
    OBSERVED.iter().chain(OLD).map(|row| &row.metric)
}
