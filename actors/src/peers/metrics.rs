//! The metrics of the peers. They are read during a scrape; without peers there are no series.

use std::sync::{Arc, Mutex, atomic::Ordering::Relaxed};

use opentelemetry::Value;
use peer_snapshots::MessageKind;

use super::{
    counts::{Closed, LineFault, poll_outcomes},
    shared::Peers,
};
use crate::env::{
    lock::lock,
    telemetry::{Emit, Label, Meter, Metric, Observed, Values},
};

const KIND: Label = Label {
    name: "kind",
    values: Values::Known(|| MessageKind::ALL.iter().map(|kind| kind.label()).collect()),
};
const REASON: Label = Label { name: "reason", values: Values::Known(LineFault::labels) };
const CLOSED: Label = Label {
    name: "reason",
    values: Values::Known(|| Closed::ALL.iter().map(|reason| reason.label()).collect()),
};
const POLLED: Label = Label { name: "outcome", values: Values::Known(poll_outcomes) };
const OUTCOME: Label = Label { name: "outcome", values: Values::Known(|| vec!["written", "dropped"]) };

/// The peers that are observed, once there are some.
#[derive(Default)]
pub(crate) struct Watch(Mutex<Option<Peers>>);

impl Watch {
    fn peers(&self) -> Option<Peers> {
        lock(&self.0).clone()
    }

    fn number(&self, emit: Emit<'_>, read: impl FnOnce(&Peers) -> f64) {
        if let Some(peers) = self.peers() {
            emit(read(&peers), &[]);
        }
    }
}

fn each(emit: Emit<'_>, counts: impl Iterator<Item = (&'static str, u64)>) {
    counts.for_each(|(label, count)| emit(count as f64, &[Value::from(label)]));
}

/// The metrics that are read during a scrape.
pub(crate) static OBSERVED: &[Observed<Watch>] = &[
    Observed {
        metric: Metric::gauge(
            "state_tracker_peers_connections",
            &[],
            "connections",
            "This many senders are connected.",
        ),
        read: |watch, emit| watch.number(emit, |peers| peers.0.open.len() as f64),
    },
    Observed {
        metric: Metric::gauge(
            "state_tracker_peers_connections_waiting",
            &[],
            "connections",
            "This many connections of senders wait for an actor.",
        ),
        read: |watch, emit| watch.number(emit, |peers| peers.0.waiting.len() as f64),
    },
    Observed {
        metric: Metric::gauge(
            "state_tracker_peers_sources",
            &[],
            "sources",
            "Pictures of this many sources are held.",
        ),
        read: |watch, emit| watch.number(emit, |peers| peers.pictures().sources().len() as f64),
    },
    Observed {
        metric: Metric::gauge(
            "state_tracker_peers_stale_sources",
            &[],
            "sources",
            "This many sources were silent for three of their intervals.",
        ),
        read: |watch, emit| watch.number(emit, |peers| peers.pictures().stale(peers.now()).len() as f64),
    },
    Observed {
        metric: Metric::counter(
            "state_tracker_peers_messages_total",
            &[KIND],
            "messages",
            "This many messages of senders were read.",
        ),
        read: |watch, emit| {
            if let Some(peers) = watch.peers() {
                each(emit, peers.0.counts.messages());
            }
        },
    },
    Observed {
        metric: Metric::counter(
            "state_tracker_peers_dropped_lines_total",
            &[REASON],
            "lines",
            "This many lines of senders were dropped.",
        ),
        read: |watch, emit| {
            if let Some(peers) = watch.peers() {
                each(emit, peers.0.counts.faults());
            }
        },
    },
    Observed {
        metric: Metric::counter(
            "state_tracker_peers_closed_total",
            &[CLOSED],
            "connections",
            "This many connections of senders were refused or closed.",
        ),
        read: |watch, emit| {
            if let Some(peers) = watch.peers() {
                each(emit, peers.0.counts.all_closed());
            }
        },
    },
    Observed {
        metric: Metric::counter(
            "state_tracker_peers_polls_total",
            &[POLLED],
            "polls",
            "Applications were polled this often, and gave a picture or failed.",
        ),
        read: |watch, emit| {
            if let Some(peers) = watch.peers() {
                each(emit, peers.0.counts.polls());
            }
        },
    },
    Observed {
        metric: Metric::counter(
            "state_tracker_peers_uncertain_polls_total",
            &[],
            "polls",
            "This many polled pictures may lack somebody: a list changed each time that it was read, or is too long.",
        ),
        read: |watch, emit| watch.number(emit, |peers| peers.0.counts.uncertain.load(Relaxed) as f64),
    },
    Observed {
        metric: Metric::counter(
            "state_tracker_peers_clock_total",
            &[],
            "pictures",
            "This many pictures claimed to be older than the one that they replaced, which was ahead of our clock.",
        ),
        read: |watch, emit| watch.number(emit, |peers| peers.0.counts.clock.load(Relaxed) as f64),
    },
    Observed {
        metric: Metric::counter(
            "state_tracker_peers_samples_total",
            &[OUTCOME],
            "samples",
            "This many samples were written to the history, or dropped.",
        ),
        read: |watch, emit| {
            if let Some(peers) = watch.peers() {
                let counts = &peers.0.counts;
                each(
                    emit,
                    [("written", counts.written.load(Relaxed)), ("dropped", counts.dropped.load(Relaxed))]
                        .into_iter(),
                );
            }
        },
    },
    Observed {
        metric: Metric::gauge(
            "state_tracker_peers_samples_waiting",
            &[],
            "samples",
            "This many samples wait for the file of the history.",
        ),
        read: |watch, emit| watch.number(emit, |peers| peers.0.pending.samples() as f64),
    },
];

/// The metrics of the peers. A clone is the same metrics.
#[derive(Clone)]
pub struct PeerMetrics(Arc<Watch>);

impl PeerMetrics {
    /// Registers the metrics. They have no series before [`Self::observe`].
    #[must_use]
    pub fn register(meter: &Meter) -> Self {
        let watch = Arc::default();
        meter.observe(OBSERVED, &watch);
        Self(watch)
    }

    /// Exposes the counts of these peers.
    pub fn observe(&self, peers: Peers) {
        *lock(&self.0.0) = Some(peers);
    }
}

/// The rows of the metrics of the peers.
pub(crate) fn metrics() -> impl Iterator<Item = &'static Metric> {
    OBSERVED.iter().map(|row| &row.metric)
}
