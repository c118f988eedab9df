//! The metrics of the actors and their mailboxes. All metrics of a scrape are read from one list of health records.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use opentelemetry::{StringValue, Value};
use supervision::{ActorHealth, ExitKind, MailboxStats, State};

use super::{
    meter::Meter,
    metric::{Emit, Label, Metric, Observed, Values, flag},
};
use crate::env::lock::lock;

type Health = Box<dyn Fn() -> Vec<ActorHealth> + Send + Sync>;

/// The source of health records, and the records of the present scrape.
#[derive(Default)]
pub(crate) struct TreeWatch {
    source: Mutex<Option<Health>>,
    records: Mutex<Vec<Record>>,
}

/// A health record, and its path as a label value. The label shares one string: a scrape copies it some thirty times
/// for each actor.
struct Record {
    health: ActorHealth,
    actor: StringValue,
}

const ACTOR: Label = Label { name: "actor", values: Values::Configuration };
const STATE: Label = Label { name: "state", values: Values::Known(|| STATES.map(state).to_vec()) };
const REASON: Label =
    Label { name: "reason", values: Values::Known(|| ExitKind::ALL.map(ExitKind::as_str).to_vec()) };
const OUTCOME: Label = Label {
    name: "outcome",
    values: Values::Known(|| outcomes(&MailboxStats::default()).map(|(outcome, _)| outcome).to_vec()),
};

const fn gauge(
    name: &'static str,
    unit: &'static str,
    read: fn(&TreeWatch, Emit<'_>),
    sentence: &'static str,
) -> Observed<TreeWatch> {
    Observed { metric: Metric::gauge(name, &[ACTOR], unit, sentence), read }
}

const fn counter(
    name: &'static str,
    labels: &'static [Label],
    unit: &'static str,
    read: fn(&TreeWatch, Emit<'_>),
    sentence: &'static str,
) -> Observed<TreeWatch> {
    Observed { metric: Metric::counter(name, labels, unit, sentence), read }
}

/// The metrics of actors and mailboxes.
pub(crate) static METRICS: &[Observed<TreeWatch>] = &[
    gauge(
        "state_tracker_actor_up",
        "0 or 1",
        |tree, emit| tree.actors(emit, |actor| flag(actor.state == State::Running)),
        "The actor runs (1) or not (0).",
    ),
    gauge(
        "state_tracker_actor_degraded",
        "0 or 1",
        |tree, emit| tree.actors(emit, |actor| flag(actor.degraded)),
        "The actor exceeded its restart limit and is not healthy again (1), or it did not (0).",
    ),
    gauge(
        "state_tracker_actor_wedged",
        "0 or 1",
        |tree, emit| tree.actors(emit, |actor| flag(actor.wedged)),
        "The actor does not yield its thread (1), or it does (0).",
    ),
    gauge(
        "state_tracker_actor_generation",
        "incarnations",
        |tree, emit| tree.actors(emit, |actor| actor.generation),
        "The actor has had this many incarnations.",
    ),
    Observed {
        metric: Metric::gauge(
            "state_tracker_actor_state",
            &[ACTOR, STATE],
            "always 1",
            "The actor is in the state in the label.",
        ),
        read: |tree, emit| {
            tree.each(|record| emit(1.0, &[record.actor(), state(record.health.state).into()]))
        },
    },
    counter(
        "state_tracker_actor_restarts_total",
        &[ACTOR],
        "restarts",
        |tree, emit| tree.actors(emit, ActorHealth::restarts),
        "The supervisor restarted the actor this many times.",
    ),
    counter(
        "state_tracker_actor_exits_total",
        &[ACTOR, REASON],
        "incarnations",
        |tree, emit| {
            tree.each(|record| {
                // Every kind, also at 0: `rate()` needs the first 0.
                for kind in ExitKind::ALL {
                    emit(record.health.exits(kind) as f64, &[record.actor(), kind.as_str().into()]);
                }
            });
        },
        "This many incarnations of the actor ended for this reason.",
    ),
    gauge(
        "state_tracker_mailbox_depth",
        "messages",
        |tree, emit| tree.mailboxes(emit, |stats| stats.waiting as f64),
        "This many messages wait.",
    ),
    gauge(
        "state_tracker_mailbox_capacity",
        "messages",
        |tree, emit| tree.mailboxes(emit, |stats| stats.capacity as f64),
        "This many messages may wait.",
    ),
    gauge(
        "state_tracker_mailbox_high_water",
        "messages",
        |tree, emit| tree.mailboxes(emit, |stats| stats.high_water as f64),
        "At most this many messages have waited at once.",
    ),
    gauge(
        "state_tracker_mailbox_bytes",
        "bytes",
        |tree, emit| tree.mailboxes(emit, |stats| stats.bytes as f64),
        "The waiting messages take this many bytes.",
    ),
    gauge(
        "state_tracker_mailbox_oldest_age_seconds",
        "seconds",
        |tree, emit| tree.mailboxes(emit, |stats| seconds(stats.oldest_age_nanos)),
        "The oldest message that waits or is in flight has this age; 0 without one.",
    ),
    counter(
        "state_tracker_mailbox_wait_seconds_total",
        &[ACTOR],
        "seconds",
        |tree, emit| tree.mailboxes(emit, |stats| seconds(stats.waited_nanos)),
        "Senders waited this long for room in the mailbox.",
    ),
    counter(
        "state_tracker_mailbox_messages_total",
        &[ACTOR, OUTCOME],
        "messages",
        |tree, emit| {
            tree.each(|record| {
                for (outcome, count) in record.health.mailbox.iter().flat_map(outcomes) {
                    emit(count as f64, &[record.actor(), outcome.into()]);
                }
            });
        },
        "This many messages had this outcome.",
    ),
    counter(
        "state_tracker_dead_letters_total",
        &[ACTOR],
        "messages",
        |tree, emit| tree.mailboxes(emit, |stats| stats.dead_lettered as f64),
        "This many messages became dead letters.",
    ),
];

impl TreeWatch {
    pub(super) fn observe(&self, health: Health) {
        *lock(&self.source) = Some(health);
    }

    /// Reads the records, once for all metrics of the scrape that follows: the metrics of an actor must agree.
    pub(super) fn refresh(&self) {
        // Before the other lock is taken: the source walks the whole tree.
        let health = lock(&self.source).as_ref().map(|health| health()).unwrap_or_default();
        let record = |health: ActorHealth| Record { actor: Arc::<str>::from(&*health.path).into(), health };
        *lock(&self.records) = health.into_iter().map(record).collect();
    }

    /// Registers the metrics, without a source yet.
    pub(super) fn register(meter: &Meter) -> Arc<Self> {
        let watch = Arc::new(Self::default());
        meter.observe(METRICS, &watch);
        watch
    }

    fn each(&self, see: impl FnMut(&Record)) {
        lock(&self.records).iter().for_each(see);
    }

    fn actors(&self, emit: Emit<'_>, read: fn(&ActorHealth) -> u64) {
        self.each(|record| emit(read(&record.health) as f64, &[record.actor()]));
    }

    fn mailboxes(&self, emit: Emit<'_>, read: fn(&MailboxStats) -> f64) {
        self.each(|record| {
            if let Some(stats) = &record.health.mailbox {
                emit(read(stats), &[record.actor()]);
            }
        });
    }
}

impl Record {
    fn actor(&self) -> Value {
        Value::String(self.actor.clone())
    }
}

fn outcomes(stats: &MailboxStats) -> [(&'static str, u64); 7] {
    [
        ("accepted", stats.accepted),
        ("handled", stats.handled),
        ("coalesced", stats.coalesced),
        ("dropped", stats.dropped),
        ("dead_lettered", stats.dead_lettered),
        ("refused", stats.refused),
        ("redelivered", stats.redelivered),
    ]
}

const STATES: [State; 8] = [
    State::Waiting,
    State::Starting,
    State::Running,
    State::BackingOff,
    State::Degraded,
    State::Stopping,
    State::Stopped,
    State::Abandoned,
];

fn state(state: State) -> &'static str {
    match state {
        State::Waiting => "waiting",
        State::Starting => "starting",
        State::Running => "running",
        State::BackingOff => "backing_off",
        State::Degraded => "degraded",
        State::Stopping => "stopping",
        State::Stopped => "stopped",
        State::Abandoned => "abandoned",
    }
}

fn seconds(nanos: u64) -> f64 {
    Duration::from_nanos(nanos).as_secs_f64()
}
