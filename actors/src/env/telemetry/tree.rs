//! The metrics of the actors and their mailboxes, all read from one list of records a scrape.

use std::sync::{Arc, Mutex};

use opentelemetry::{
    KeyValue, StringValue, Value,
    metrics::{AsyncInstrument, Meter},
};
use supervision::{ActorHealth, ExitKind, MailboxStats, State};

use super::{labels::flag, lock};

type Health = Box<dyn Fn() -> Vec<ActorHealth> + Send + Sync>;

/// Where the records come from, and those of the present scrape.
#[derive(Default)]
pub(super) struct TreeWatch {
    source: Mutex<Option<Health>>,
    records: Mutex<Vec<Record>>,
}

/// A record with its path as it goes into labels, shared between the metrics.
struct Record {
    health: ActorHealth,
    actor: StringValue,
}

/// Whether this metric has the label `actor`.
pub(super) fn owns(metric: &str) -> bool {
    ["state_tracker_actor_", "state_tracker_mailbox_", "state_tracker_dead_letters_"]
        .iter()
        .any(|prefix| metric.starts_with(prefix))
}

impl TreeWatch {
    pub(super) fn observe(&self, health: Health) {
        *lock(&self.source) = Some(health);
    }

    /// Asks for the records, once for all metrics of the scrape that follows.
    pub(super) fn refresh(&self) {
        let health = lock(&self.source).as_ref().map(|health| health()).unwrap_or_default();
        let record = |health: ActorHealth| Record { actor: Arc::<str>::from(&*health.path).into(), health };
        *lock(&self.records) = health.into_iter().map(record).collect();
    }

    /// A watch on no tree yet, and the metrics that read it.
    pub(super) fn observed(meter: &Meter) -> Arc<Self> {
        let watch = Arc::new(Self::default());
        watch.actors(meter);
        watch.mailboxes(meter);
        watch
    }

    fn actors(self: &Arc<Self>, meter: &Meter) {
        let gauge = |name, help, read: fn(&ActorHealth) -> u64| {
            let callback = self.each(move |record, metric: &dyn AsyncInstrument<u64>| {
                metric.observe(read(&record.health), &[record.label()]);
            });
            meter.u64_observable_gauge(name).with_description(help).with_callback(callback).build();
        };
        gauge("state_tracker_actor_up", "Whether the actor runs (1) or not (0).", |actor| {
            flag(actor.state == State::Running)
        });
        gauge(
            "state_tracker_actor_degraded",
            "Whether the actor crashed more often than allowed and is not yet well again.",
            |actor| flag(actor.degraded),
        );
        gauge(
            "state_tracker_actor_wedged",
            "Whether the actor holds its thread and never yields.",
            |actor| flag(actor.wedged),
        );
        gauge("state_tracker_actor_generation", "Incarnations that the actor has had.", |actor| {
            actor.generation
        });
        meter
            .u64_observable_gauge("state_tracker_actor_state")
            .with_description("Always 1; the label tells the state that the actor is in.")
            .with_callback(self.each(|record, metric| {
                metric.observe(1, &record.labels("state", state(record.health.state)));
            }))
            .build();
        meter
            .u64_observable_counter("state_tracker_actor_restarts_total")
            .with_description("Incarnations of the actor that followed another one.")
            .with_callback(self.each(|record, metric| {
                metric.observe(record.health.restarts(), &[record.label()]);
            }))
            .build();
        meter
            .u64_observable_counter("state_tracker_actor_exits_total")
            .with_description("Incarnations of the actor that ended, by reason.")
            .with_callback(self.each(|record, metric| {
                for kind in ExitKind::ALL {
                    metric.observe(record.health.exits(kind), &record.labels("reason", kind.as_str()));
                }
            }))
            .build();
    }

    fn mailboxes(self: &Arc<Self>, meter: &Meter) {
        let gauge = |name, help, read: fn(&MailboxStats) -> u64| {
            let callback = self.each_mailbox(move |record, stats, metric: &dyn AsyncInstrument<u64>| {
                metric.observe(read(stats), &[record.label()]);
            });
            meter.u64_observable_gauge(name).with_description(help).with_callback(callback).build();
        };
        gauge("state_tracker_mailbox_depth", "Messages that wait.", |stats| stats.waiting);
        gauge("state_tracker_mailbox_capacity", "Messages that may wait.", |stats| stats.capacity);
        gauge("state_tracker_mailbox_high_water", "The most messages that ever waited.", |stats| {
            stats.high_water
        });
        gauge("state_tracker_mailbox_bytes", "Bytes that wait.", |stats| stats.bytes);
        meter
            .f64_observable_gauge("state_tracker_mailbox_oldest_age_seconds")
            .with_description("Age of the oldest message that waits or is in hand; 0 without one.")
            .with_callback(self.each_mailbox(|record, stats, metric| {
                metric.observe(seconds(stats.oldest_age_nanos), &[record.label()]);
            }))
            .build();
        meter
            .f64_observable_counter("state_tracker_mailbox_wait_seconds_total")
            .with_description("Time that senders waited for room.")
            .with_callback(self.each_mailbox(|record, stats, metric| {
                metric.observe(seconds(stats.waited_nanos), &[record.label()]);
            }))
            .build();
        meter
            .u64_observable_counter("state_tracker_mailbox_messages_total")
            .with_description("Messages by what became of them.")
            .with_callback(self.each_mailbox(|record, stats, metric| {
                for (outcome, count) in outcomes(stats) {
                    metric.observe(count, &record.labels("outcome", outcome));
                }
            }))
            .build();
        meter
            .u64_observable_counter("state_tracker_dead_letters_total")
            .with_description("Messages given up on.")
            .with_callback(self.each_mailbox(|record, stats, metric| {
                metric.observe(stats.dead_lettered, &[record.label()]);
            }))
            .build();
    }

    fn each<T: 'static>(
        self: &Arc<Self>,
        observe: impl Fn(&Record, &dyn AsyncInstrument<T>) + Send + Sync + 'static,
    ) -> impl Fn(&dyn AsyncInstrument<T>) + Send + Sync + 'static {
        let watch = self.clone();
        move |metric| lock(&watch.records).iter().for_each(|record| observe(record, metric))
    }

    fn each_mailbox<T: 'static>(
        self: &Arc<Self>,
        observe: impl Fn(&Record, &MailboxStats, &dyn AsyncInstrument<T>) + Send + Sync + 'static,
    ) -> impl Fn(&dyn AsyncInstrument<T>) + Send + Sync + 'static {
        self.each(move |record, metric| {
            if let Some(stats) = &record.health.mailbox {
                observe(record, stats, metric);
            }
        })
    }
}

impl Record {
    fn label(&self) -> KeyValue {
        KeyValue::new("actor", Value::String(self.actor.clone()))
    }

    fn labels(&self, key: &'static str, value: &'static str) -> [KeyValue; 2] {
        [self.label(), KeyValue::new(key, value)]
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
    std::time::Duration::from_nanos(nanos).as_secs_f64()
}
