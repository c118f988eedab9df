//! The labels of the collector's metrics, with their values.

use evm::{FaultKind, LogFaultKind};
use store_collector::outbox::Stage;

use crate::{
    collector::progress::{CallOutcome, nodes},
    env::telemetry::{Label, Values},
};

pub(super) const MARKET: Label = Label { name: "market", values: Values::Configuration };
pub(super) const WINDOW_STATE: Label =
    Label { name: "state", values: Values::Known(|| vec!["unmeasured", "waiting", "open", "closed"]) };
pub(super) const OUTCOME: Label =
    Label { name: "outcome", values: Values::Known(|| vec!["handed_over", "expired", "elsewhere"]) };
pub(super) const STAGE: Label = Label {
    name: "stage",
    values: Values::Known(|| Stage::ALL.iter().map(|stage| stage.as_str()).collect()),
};
pub(super) const CALL_OUTCOME: Label = Label {
    name: "outcome",
    values: Values::Known(|| CallOutcome::ALL.iter().map(|outcome| outcome.label()).collect()),
};
pub(super) const HELD_BY: Label = Label { name: "by", values: Values::Known(|| vec!["operator", "relayer"]) };
pub(super) const CLEANED: Label =
    Label { name: "kind", values: Values::Known(|| vec!["markers", "submissions"]) };
pub(super) const FAULT: Label = Label {
    name: "kind",
    values: Values::Known(|| {
        let of_nodes = FaultKind::ALL.iter().map(|kind| kind.label());
        of_nodes.chain(LogFaultKind::ALL.iter().map(|kind| kind.label())).collect()
    }),
};
pub(super) const NODE_STATE: Label =
    Label { name: "state", values: Values::Known(|| nodes(&[]).map(|(state, _)| state).collect()) };
