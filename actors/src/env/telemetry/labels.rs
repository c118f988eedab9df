//! The values that labels may have, so that no input can make series without end.

use opentelemetry::KeyValue;

/// The entity types that a change may name; any other counts as `other`.
pub const ENTITY_TYPES: [&str; 6] = ["submission", "epoch", "part", "batch", "peers", "validation"];

/// What stands for an entity type that is not known.
pub(crate) const OTHER: &str = "other";

/// The label of an entity type.
pub(crate) fn entity(entity_type: &str) -> &'static str {
    ENTITY_TYPES.into_iter().find(|&known| known == entity_type).unwrap_or(OTHER)
}

/// A gauge's value for yes and no.
pub(crate) fn flag(on: bool) -> u64 {
    u64::from(on)
}

/// A dataset that is written for the dashboards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dataset {
    /// `dashboard:summary`, with `stats:current`.
    DashboardSummary,
    /// `metrics:current_epoch`
    CurrentEpoch,
    /// `metrics:participation`
    Participation,
    /// `stats:hourly:…`
    HourlyStats,
    /// `stats:daily`
    DailyStats,
}

impl Dataset {
    /// Every dataset.
    pub const ALL: [Self; 5] = [
        Self::DashboardSummary,
        Self::CurrentEpoch,
        Self::Participation,
        Self::HourlyStats,
        Self::DailyStats,
    ];

    /// The value of the label `dataset_type`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DashboardSummary => "dashboard_summary",
            Self::CurrentEpoch => "current_epoch",
            Self::Participation => "participation",
            Self::HourlyStats => "hourly_stats",
            Self::DailyStats => "daily_stats",
        }
    }

    pub(crate) fn label(self) -> KeyValue {
        KeyValue::new("dataset_type", self.as_str())
    }
}

/// A computation whose duration is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Aggregation {
    /// Summary and participation: one pass over a market.
    CurrentMetrics,
    /// The current epoch.
    CurrentEpoch,
    /// The current and the previous hour.
    HourlyStats,
    /// The last 24 hours.
    DailyStats,
}

impl Aggregation {
    /// Every computation.
    pub const ALL: [Self; 4] =
        [Self::CurrentMetrics, Self::CurrentEpoch, Self::HourlyStats, Self::DailyStats];

    /// The value of the label `aggregation_type`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CurrentMetrics => "current_metrics",
            Self::CurrentEpoch => "current_epoch",
            Self::HourlyStats => "hourly_stats",
            Self::DailyStats => "daily_stats",
        }
    }

    pub(crate) fn label(self) -> KeyValue {
        KeyValue::new("aggregation_type", self.as_str())
    }
}

/// What became of an event on its way into the state index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexOutcome {
    /// Its effect is written, also when it changed nothing.
    Indexed,
    /// One of these: it would have gone backwards, and changed nothing.
    Backwards,
    /// IndexEvents on the common channel where there is an index for each of several markets.
    Unattributed,
    /// It never came to the indexer: the mailbox was full, or its message was given up on.
    Dropped,
    /// An id that is too long to be one.
    Oversized,
    /// The index has no place for it.
    Ignored,
}

impl IndexOutcome {
    /// Every outcome.
    pub const ALL: [Self; 6] =
        [Self::Indexed, Self::Backwards, Self::Unattributed, Self::Dropped, Self::Oversized, Self::Ignored];

    /// The value of the label `outcome`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Indexed => "indexed",
            Self::Backwards => "backwards",
            Self::Unattributed => "unattributed",
            Self::Dropped => "dropped",
            Self::Oversized => "oversized",
            Self::Ignored => "ignored",
        }
    }

    pub(crate) fn label(self) -> KeyValue {
        KeyValue::new("outcome", self.as_str())
    }
}
