//! The metrics of the actors and their mailboxes. All metrics of a scrape are read from one list of health records.
//!
//! Actors of which a supervisor has too many are told together: what only grows is summed, and of a gauge the worst actor is
//! told.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use opentelemetry::{StringValue, Value};
use supervision::{ActorHealth, ExitKind, MailboxStats, State};

use super::{
    markets::Many,
    meter::Meter,
    metric::{Emit, Label, Metric, Observed, Values, flag},
    siblings::kinds,
};
use crate::env::lock::lock;

type Health = Box<dyn Fn() -> Vec<ActorHealth> + Send + Sync>;

/// The source of health records, and the records of the present scrape.
pub(crate) struct TreeWatch {
    source: Mutex<Option<Health>>,
    records: Mutex<Records>,
    many: Many,
}

/// The records of a scrape.
#[derive(Default)]
struct Records {
    /// Those with series of their own.
    single: Vec<Record>,
    /// Those that are told together, by their kind.
    kinds: BTreeMap<String, Vec<Record>>,
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
    Observed {
        metric: Metric::gauge("state_tracker_actor_up", &[ACTOR], "0 or 1", "The actor runs (1) or not (0)."),
        read: |tree, emit| {
            let up = |actor: &ActorHealth| flag(actor.state == State::Running) as f64;
            // The worst is one that does not run.
            tree.chosen(emit, |actor| Some(up(actor)), |actor| -up(actor));
        },
    },
    gauge(
        "state_tracker_actor_degraded",
        "0 or 1",
        |tree, emit| tree.largest(emit, |actor| Some(flag(actor.degraded) as f64)),
        "The actor exceeded its restart limit and is not healthy again (1), or it did not (0).",
    ),
    gauge(
        "state_tracker_actor_wedged",
        "0 or 1",
        |tree, emit| tree.largest(emit, |actor| Some(flag(actor.wedged) as f64)),
        "The actor does not yield its thread (1), or it does (0).",
    ),
    gauge(
        "state_tracker_actor_generation",
        "incarnations",
        |tree, emit| tree.largest(emit, |actor| Some(actor.generation as f64)),
        "The actor has had this many incarnations.",
    ),
    Observed {
        metric: Metric::gauge(
            "state_tracker_actor_state",
            &[ACTOR, STATE],
            "actors",
            "The actor is in the state in the label; of many of a kind, so many are.",
        ),
        read: |tree, emit| tree.sums(emit, |actor, add| add(state(actor.state), 1.0)),
    },
    counter(
        "state_tracker_actor_restarts_total",
        &[ACTOR],
        "restarts",
        |tree, emit| tree.sum(emit, |actor| Some(actor.restarts() as f64)),
        "The supervisor restarted the actor this many times.",
    ),
    counter(
        "state_tracker_actor_exits_total",
        &[ACTOR, REASON],
        "incarnations",
        |tree, emit| {
            tree.sums(emit, |actor, add| {
                // Every kind, also at 0: `rate()` needs the first 0.
                ExitKind::ALL.iter().for_each(|kind| add(kind.as_str(), actor.exits(*kind) as f64));
            });
        },
        "This many incarnations of the actor ended for this reason.",
    ),
    gauge(
        "state_tracker_mailbox_depth",
        "messages",
        |tree, emit| tree.fullest(emit, |stats| stats.waiting as f64),
        "This many messages wait.",
    ),
    gauge(
        "state_tracker_mailbox_capacity",
        "messages",
        |tree, emit| tree.fullest(emit, |stats| stats.capacity as f64),
        "This many messages may wait.",
    ),
    gauge(
        "state_tracker_mailbox_high_water",
        "messages",
        |tree, emit| tree.fullest(emit, |stats| stats.high_water as f64),
        "At most this many messages have waited at once.",
    ),
    gauge(
        "state_tracker_mailbox_bytes",
        "bytes",
        |tree, emit| tree.fullest(emit, |stats| stats.bytes as f64),
        "The waiting messages take this many bytes.",
    ),
    gauge(
        "state_tracker_mailbox_oldest_age_seconds",
        "seconds",
        |tree, emit| tree.largest(emit, |actor| Some(seconds(actor.mailbox.as_ref()?.oldest_age_nanos))),
        "The oldest message that waits or is in flight has this age; 0 without one.",
    ),
    counter(
        "state_tracker_mailbox_wait_seconds_total",
        &[ACTOR],
        "seconds",
        |tree, emit| tree.sum(emit, |actor| Some(seconds(actor.mailbox.as_ref()?.waited_nanos))),
        "Senders waited this long for room in the mailbox.",
    ),
    counter(
        "state_tracker_mailbox_messages_total",
        &[ACTOR, OUTCOME],
        "messages",
        |tree, emit| {
            tree.sums(emit, |actor, add| {
                let counts = actor.mailbox.iter().flat_map(outcomes);
                counts.for_each(|(outcome, count)| add(outcome, count as f64));
            });
        },
        "This many messages had this outcome.",
    ),
    counter(
        "state_tracker_dead_letters_total",
        &[ACTOR],
        "messages",
        |tree, emit| tree.sum(emit, |actor| Some(actor.mailbox.as_ref()?.dead_lettered as f64)),
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
        let kinds = kinds(health.iter().map(|actor| actor.path.as_str()), self.many.limit());
        let mut records = Records::default();
        for (health, kind) in health.into_iter().zip(kinds) {
            let record = Record { actor: Arc::<str>::from(&*health.path).into(), health };
            match kind {
                None => records.single.push(record),
                Some(kind) => records.kinds.entry(kind).or_default().push(record),
            }
        }
        *lock(&self.records) = records;
    }

    /// Registers the metrics, without a source yet.
    pub(super) fn register(meter: &Meter, many: Many) -> Arc<Self> {
        let watch = Arc::new(Self { source: Mutex::default(), records: Mutex::default(), many });
        meter.observe(METRICS, &watch);
        watch
    }

    /// Emits the value of each actor that has one; of many of a kind, the largest.
    fn largest(&self, emit: Emit<'_>, read: fn(&ActorHealth) -> Option<f64>) {
        self.chosen(emit, read, |actor| read(actor).unwrap_or_default());
    }

    /// Emits a value of each mailbox; of many, that of the fullest one, so that depth and capacity are of the same.
    fn fullest(&self, emit: Emit<'_>, read: fn(&MailboxStats) -> f64) {
        let full = |actor: &ActorHealth| {
            let stats = actor.mailbox.as_ref();
            stats.map_or(0.0, |stats| stats.waiting as f64 / stats.capacity.max(1) as f64)
        };
        self.chosen(emit, |actor| actor.mailbox.as_ref().map(read), full);
    }

    /// Emits the value of each actor that has one; of many of a kind, that of the first whose rank is the highest.
    fn chosen(
        &self,
        emit: Emit<'_>,
        read: impl Fn(&ActorHealth) -> Option<f64>,
        rank: impl Fn(&ActorHealth) -> f64,
    ) {
        let records = lock(&self.records);
        for record in &records.single {
            read(&record.health).into_iter().for_each(|value| emit(value, &[record.actor()]));
        }
        for of_kind in records.kinds.values() {
            let ranked = of_kind
                .iter()
                .filter_map(|record| Some((rank(&record.health), read(&record.health)?, record)));
            let chosen = ranked.reduce(|chosen, next| if next.0 > chosen.0 { next } else { chosen });
            if let Some((_, value, record)) = chosen {
                emit(value, &[record.actor()]);
            }
        }
    }

    /// Emits what each actor has counted; of many of a kind, their sum.
    fn sum(&self, emit: Emit<'_>, read: impl Fn(&ActorHealth) -> Option<f64>) {
        let records = lock(&self.records);
        for record in &records.single {
            read(&record.health).into_iter().for_each(|value| emit(value, &[record.actor()]));
        }
        for (kind, of_kind) in &records.kinds {
            let values = of_kind.iter().filter_map(|record| read(&record.health));
            values
                .reduce(|sum, value| sum + value)
                .into_iter()
                .for_each(|sum| emit(sum, &[kind.clone().into()]));
        }
    }

    /// The same by a second label.
    fn sums(&self, emit: Emit<'_>, read: impl Fn(&ActorHealth, &mut dyn FnMut(&'static str, f64))) {
        let records = lock(&self.records);
        for record in &records.single {
            read(&record.health, &mut |label, value| emit(value, &[record.actor(), label.into()]));
        }
        for (kind, of_kind) in &records.kinds {
            let mut sums = BTreeMap::new();
            for record in of_kind {
                read(&record.health, &mut |label, value| *sums.entry(label).or_insert(0.0) += value);
            }
            sums.into_iter().for_each(|(label, sum)| emit(sum, &[kind.clone().into(), label.into()]));
        }
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
